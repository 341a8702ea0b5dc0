"""The verbs that train."""

import contextlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rtlab import methods
from rtlab.cli.options import (
    AS_IT_IS,
    DONE,
    FAILED,
    NO_CHECKPOINTS,
    TEXT,
    Checkpointing,
    Data,
    Device,
    Leaving,
    LoraOptions,
    Output,
    Reading,
    Running,
    Sentences,
    Training,
    optional,
    recorded,
    say,
)
from rtlab.experiment import Experiment
from rtlab.methods import Classifier, Full, Method, Pooling
from rtlab.progress import Bars
from rtlab.recipe import Engine
from rtlab.studies import Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtlab.scheduling.sweep import Planned


@dataclass(frozen=True, kw_only=True)
class Words:
    """Fit a linear classifier on TF-IDF of words, without an encoder: a few seconds, and what all else has to beat."""

    characters: bool = False
    """Count 2 to 5 characters within words in place of words and pairs of words."""
    classifier: Classifier = "svm"
    """A linear SVM, or logistic regression."""
    c: Annotated[float | None, optional("FLOAT", "the best of five on validation")] = None
    """Inverse strength of the regularisation."""
    sentences: Sentences
    leaving: Leaving
    output: Output

    def __call__(self) -> int:
        experiment = Experiment(
            dataset=self.sentences.dataset,
            method=methods.Words(characters=self.characters, classifier=self.classifier, c=self.c),
            seed=self.leaving.seed,
            limit=self.sentences.limit,
            dataset_options=self.sentences.reading.options,
        )
        return _run(experiment, self.leaving, self.output)


@dataclass(frozen=True, kw_only=True)
class Svm:
    """Fit a linear SVM on features of the frozen encoder (lab step e13)."""

    pooling: Pooling = "cls"
    """Feature of a sentence: its first token, or the mean over its tokens."""
    with_words: bool = False
    """Put TF-IDF of words beside the features, its share chosen on validation."""
    classifier: Classifier = "svm"
    """A linear SVM, or logistic regression."""
    c: float = 1.0
    """Inverse strength of the regularisation."""
    tune_c: bool = False
    """Choose C out of five on validation."""
    data: Data
    running: Running
    output: Output

    def __call__(self) -> int:
        if self.tune_c and self.c != 1.0:
            raise ValueError(f"tune_c chooses C itself; got c {self.c:g} beside it; one of the two would do")
        method = methods.Svm(
            pooling=self.pooling,
            with_words=self.with_words,
            classifier=self.classifier,
            c=None if self.tune_c else self.c,
        )
        return _adapt(method, self.data, self.running, self.output)


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Train every weight of the encoder and a classification head (lab step e23)."""

    training: Training
    data: Data
    running: Running
    checkpointing: Checkpointing
    output: Output

    def __call__(self) -> int:
        recipe = self.training.recipe(self.data.encoder, self.running.device)
        return _adapt(Full(recipe=recipe), self.data, self.running, self.output, self.checkpointing)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Train a LoRA adapter and a classification head on the frozen encoder (lab step e31)."""

    adapter: LoraOptions
    training: Training
    data: Data
    running: Running
    checkpointing: Checkpointing
    output: Output

    def __call__(self) -> int:
        recipe = self.training.recipe(self.data.encoder, self.running.device)
        return _adapt(self.adapter.adapter(recipe), self.data, self.running, self.output, self.checkpointing)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Run a study, each run in a fresh process, leaving out what is recorded already (the lab's run_experiments.sh)."""

    study: tyro.conf.Positional[Study]
    """The matrix: smoke, embedded, lab or evidence."""
    encoder: Annotated[str | None, optional("STR", "the study's")] = None
    """In place of the study's encoder."""
    dataset: Annotated[str | None, optional("STR", "RTLAB_DATASET, or the study's")] = None
    """In place of the study's data set."""
    engine: Annotated[Engine | None, optional("{trainer,native}", "all")] = None
    """Only the experiments of this engine."""
    part: Annotated[int | None, optional("{1,2,3,4}", "all")] = None
    """Only one part of evidence: headline, learning rates, capacity, padding and time."""
    seeds: Annotated[int | None, optional("INT", "the study's")] = None
    """Seeds per case, counted from 42."""
    epochs: Annotated[int | None, optional("INT", "the study's")] = None
    """In place of the study's epochs."""
    limit: Annotated[int | None, optional("INT", "the study's")] = None
    """Sentences kept per split."""
    reading: Reading = AS_IT_IS
    device: Device = None
    """Where to compute."""
    output_dir: Path = Path("results")
    """Folder for the records (records/)."""
    retime: bool = False
    """Repeat finished runs that were not timed on this testbed, or not undisturbed."""
    dry_run: bool = False
    """List what would be done, and do nothing."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> int:
        from rtlab.preparing import check_writable
        from rtlab.scheduling.sweep import plan, sweep
        from rtlab.studies import study

        experiments = study(
            self.study,
            encoder=self.encoder,
            dataset=self.dataset or (os.environ.get("RTLAB_DATASET") if self.study != "smoke" else None),
            engine=self.engine,
            part=self.part,
            seeds=self.seeds,
            epochs=self.epochs,
            limit=self.limit,
        )
        experiments = tuple(replace(one, dataset_options=self.reading.options) for one in experiments)
        check_writable(self.output_dir)
        planned = plan(experiments, recorded(self.output_dir)[0], device=self.device, retime=self.retime)
        say(dict.fromkeys(note for one in planned if one.prepared for note in one.prepared.splits.notes))
        to_do = [one for one in planned if one.to_do]
        for one in planned:
            before = f" ({one.recorded} before)" if one.to_do and one.recorded else ""
            print(f"{'to do' if one.to_do else one.recorded:9}  {one.id}  {one.experiment.title}{before}")
        print(f"{len(planned) - len(to_do)} recorded already, {len(to_do)} to do{_hours(to_do)}")
        if self.dry_run:
            return DONE
        failed = 0
        with Bars(sys.stderr) as bars:
            for number, one in enumerate(sweep(to_do, output_dir=self.output_dir, device=self.device), start=1):
                failed += one.recorded != "ok"
                by = " (by another sweep)" if one.by_another else ""
                print(f"{one.recorded:9}  {one.id}  {one.experiment.title}{by}", flush=True)
                bars.update("runs", number, len(to_do))
        print(f"{len(to_do) - failed} done, {failed} failed; records in {self.output_dir / 'records'}")
        return FAILED if failed else DONE


def _hours(to_do: "Sequence[Planned]") -> str:
    """How long that takes, in words."""
    known = [one.estimate for one in to_do if one.estimate is not None]
    if not known:
        return ""
    seconds = sum(one.seconds for one in known)
    time = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
    others = "" if len(known) == len(to_do) else f" for {len(known)} of them; nothing like the others is recorded"
    scaled = sum(one.disturbed for one in known)
    by = f"; {scaled} of them by runs that other processes disturbed, scaled to a quiet machine" if scaled else ""
    return f": about {time}{others}{by}"


def _adapt(
    method: Method, data: Data, running: Running, output: Output, checkpointing: Checkpointing = NO_CHECKPOINTS
) -> int:
    """Run a method that reads an encoder."""
    experiment = Experiment(
        encoder=data.encoder,
        dataset=data.sentences.dataset,
        method=method,
        max_length=running.max_length,
        precision=running.precision,
        seed=running.leaving.seed,
        limit=data.sentences.limit,
        dataset_options=data.sentences.reading.options,
    )
    return _run(experiment, running.leaving, output, device=running.device, checkpointing=checkpointing)


def _run(
    experiment: Experiment,
    leaving: Leaving,
    output: Output,
    *,
    device: str | None = None,
    checkpointing: Checkpointing = NO_CHECKPOINTS,
) -> int:
    """Run an experiment with a bar, save what it trained, and print what came of it."""
    from rtlab.reporting.tables import summary
    from rtlab.running import Run, model_folder
    from rtlab.tracking import Tracker, require_wandb, wandb_run

    if leaving.use_wandb:
        require_wandb()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # whatever a library likes to print
        bars = stack.enter_context(Bars(sys.stderr))
        tracker: Tracker | None = None
        run = Run(
            experiment,
            output_dir=leaving.output_dir,
            save_model=True,
            device=device,
            progress=bars.update,
            on_log=lambda entry: None if tracker is None else tracker.log(entry),
            checkpoint_minutes=checkpointing.checkpoint_minutes,
            resume=checkpointing.resume,
        )
        say(run.prepared.splits.notes)
        if leaving.use_wandb:  # a wrong request was refused by now
            tracker = stack.enter_context(wandb_run(experiment, name=leaving.run_name, folder=leaving.output_dir))
        record = run.execute()
        if tracker is not None:
            tracker.finish(record)
    where = f"record  {run.path}\nmodel   {record.error or model_folder(leaving.output_dir, record)}"
    try:
        output.emit(record.to_json(), f"{summary(record)}\n\n{where}")
    except OSError as error:
        error.add_note(f"record {run.path}")  # nothing is lost
        raise
    if record.error is None:
        return DONE
    print(f"rtlab: {record.error}", file=sys.stderr)
    return FAILED
