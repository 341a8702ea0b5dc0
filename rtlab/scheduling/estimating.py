"""About what a run will take, time and memory, by records of runs like it: good for planning, and for nothing else."""

import re
from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean, median
from typing import NamedTuple

from rtlab.encoders import Encoder
from rtlab.experiment import Experiment
from rtlab.methods import Adapter
from rtlab.preparing import Prepared
from rtlab.records import RunRecord, Source
from rtlab.testbed import testbed

_MOST_TAKEN = 0.95  # of the machine, by others: of a run that had next to nothing left, nothing can be told

_LIBRARIES = 10**9  # bytes
_COPIES = 8  # weights, gradients, AdamW's two moments; and as many again


class Estimate(NamedTuple):
    """How long a run takes on a machine that does nothing else.

    Attributes:
        seconds: From its start to its record.
        disturbed: Whether it rests on runs that other processes disturbed, for want of others.
    """

    seconds: float
    disturbed: bool


class Took(NamedTuple):
    """A run that was done.

    Attributes:
        experiment: What it was.
        estimate: What was told beforehand; `None` if nothing was.
        seconds: What it took.
    """

    experiment: Experiment
    estimate: Estimate | None
    seconds: float


def time_left(
    took: Iterable[Took], waiting: Iterable[tuple[Experiment, Estimate | None]], *, jobs: int = 1, work: float = 1.0
) -> float | None:
    """Seconds that runs which wait, or are in flight, will take from their beginning, by those that were done.

    Each takes what its case took under other seeds; else its estimate, scaled by what runs took of theirs; else the
    mean of the runs that were done.

    Args:
        took: What was done.
        waiting: What is left, with estimates.
        jobs: Runs at once.
        work: What they do in the time in which one run alone does 1 (`rtlab.scheduling.jobs.work_at_once`): estimates
            are of runs alone, and scaled by it where nothing was done yet.

    Returns:
        The seconds: those of all divided by the jobs, or those of the longest, if they are more; `None` if of one of
        them nothing can be told.
    """
    cases: dict[Experiment, list[float]] = {}
    done = list(took)
    for one in done:
        cases.setdefault(replace(one.experiment, seed=0), []).append(one.seconds)
    told = [(one.estimate.seconds, one.seconds) for one in done if one.estimate is not None]
    estimated, passed = map(sum, zip(*told, strict=True)) if told else (0.0, 0.0)
    pace = passed / estimated if estimated > 0 else jobs / work
    each = [
        fmean(cases[case])
        if (case := replace(experiment, seed=0)) in cases
        else found.seconds * pace
        if found is not None
        else fmean(one.seconds for one in done)
        if done
        else None
        for experiment, found in waiting
    ]
    known = [seconds for seconds in each if seconds is not None]
    return max(sum(known) / jobs, max(known, default=0.0)) if len(known) == len(each) else None


def estimate(prepared: Prepared, records: Iterable[RunRecord]) -> Estimate | None:
    """How long a run takes, by the runs that are most alike, for so many sentences.

    Runs of the same encoder, method and engine are looked at, and of them those that are most alike: on such a device,
    undisturbed, on this very generation of it, padded alike, on this data set, on as many sentences, with the same
    target modules and settings. Of undisturbed ones the median counts. What disturbed ones took is scaled by what
    others left them of the cores that they computed on, and the fastest counts, on however many sentences it was:
    others, and a pause, of which no record tells, only make a run longer.

    Args:
        prepared: The run.
        records: What there is, disturbed or not.

    Returns:
        The estimate; `None` if there are no such runs.
    """
    here = testbed(prepared.device, prepared.experiment.engine).name
    rated = [
        (_likeness(record, prepared, here), record)
        for record in records
        if record.timing is not None
        and record.counts is not None
        and _digest(record.encoder) == _digest(prepared.encoder)
        and _kind(record.experiment) == _kind(prepared.experiment)
    ]
    best = max((likeness for likeness, _ in rated), default=None)
    alike = [record for likeness, record in rated if likeness == best]
    if not alike:
        return None
    seconds = [_scaled(record, prepared) for record in alike]
    if alike[0].undisturbed:
        return Estimate(median(seconds), disturbed=False)
    return Estimate(min(seconds), disturbed=True)


def memory(prepared: Prepared, records: Iterable[RunRecord]) -> int:
    """Bytes of the host's memory that a run needs: the most that one like it has taken.

    That is one of its encoder, method, engine and padding, with batches and sentences as long.

    Where there is none: what a process takes that has loaded the libraries, and of the encoder's weights as many
    copies as training them has in fp32, and as much again for what is computed between them.

    Args:
        prepared: The run.
        records: What there is.
    """
    taken = [
        record.memory.peak_host
        for record in records
        if record.memory is not None
        and _digest(record.encoder) == _digest(prepared.encoder)
        and _kind(record.experiment) == _kind(prepared.experiment)
        and _shape(record.experiment) == _shape(prepared.experiment)
    ]
    if taken:
        return max(taken)
    weights = () if prepared.encoder is None else prepared.encoder.path.glob("*.safetensors")
    return _LIBRARIES + _COPIES * sum(path.stat().st_size for path in weights)


def _digest(encoder: Source | Encoder | None) -> str | None:
    return None if encoder is None else encoder.sha256


def _kind(experiment: Experiment) -> tuple[str, ...]:
    return experiment.method.name, experiment.engine


def _shape(experiment: Experiment) -> tuple[object, ...]:
    """What the size of a batch depends on."""
    recipe = experiment.method.recipe
    return experiment.max_length, *(() if recipe is None else (recipe.padding, recipe.batch_size))


def _likeness(record: RunRecord, prepared: Prepared, testbed_name: str) -> tuple[bool, ...]:
    """What is alike, the weightiest first."""
    wanted = prepared.experiment
    method, other = wanted.method, record.experiment.method
    recipe, others = method.recipe, other.recipe
    return (
        _any_generation(record.testbed.name) == _any_generation(testbed_name),
        record.undisturbed,
        record.testbed.name == testbed_name,
        recipe is None or others is None or recipe.padding == others.padding,
        record.dataset.name == prepared.splits.name,
        not record.undisturbed
        or (record.experiment.limit, record.experiment.train_sentences) == (wanted.limit, wanted.train_sentences),
        not (isinstance(method, Adapter) and isinstance(other, Adapter))
        or (method.target_modules, method.settings) == (other.target_modules, other.settings),
    )


def _any_generation(testbed_name: str) -> str:
    """A testbed's name without its processor's family and model: these matter less than who else was busy."""
    return re.sub(r" \([^)]*\)", "", testbed_name)


def _scaled(record: RunRecord, prepared: Prepared) -> float:
    """The seconds of a recorded run, had it had the machine for itself, for the sentences of another."""
    timing, counts = record.timing, record.counts
    assert timing is not None, "runs without a time are left out"
    assert counts is not None, "a run with a time has counted"
    splits, experiment = prepared.splits, prepared.experiment
    sentences = samples(experiment, len(splits.train))
    recipe = experiment.method.recipe
    if recipe is not None and recipe.padding == "fixed":  # its tokens are known before anything is tokenized
        training = sentences * experiment.max_length / timing.padded_tokens_per_s
    else:
        training = sentences * timing.train_s / counts.samples
    sizes = {split: len(found.labels) for split, found in record.predictions.items()}
    held_out = sum(sizes.values()) + len(record.validated) * sizes["validation"]
    evaluations = 0 if recipe is None else recipe.evaluations(len(splits.train))
    wanted = (1 + evaluations) * len(splits.validation) + len(splits.test)
    reading = (timing.prepare_s + timing.evaluate_s) / held_out * wanted
    return (timing.load_s + timing.warmup_s + training + reading) * _left_to(record)


def _left_to(record: RunRecord) -> float:
    """What others left a run of the cores that it computed on, as a share: 1 where as many as its threads were free."""
    if record.undisturbed or record.timing is None:
        return 1.0
    threads, cores = record.testbed.threads, record.environment.get("cores")
    there = cores if isinstance(cores, int) and cores > threads else threads
    return min(1.0, (1 - min(record.timing.others or 0.0, _MOST_TAKEN)) * there / threads)


def samples(experiment: Experiment, train: int) -> int:
    """Sentences that go through training, of so many there are."""
    recipe = experiment.method.recipe
    if recipe is None:
        return train
    every = train * recipe.epochs
    return every if recipe.max_steps is None else min(every, recipe.max_steps * recipe.batch_size * recipe.accumulate)
