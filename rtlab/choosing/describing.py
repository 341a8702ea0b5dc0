"""How each way came out, as a value for people."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from rtlab.choice import METRICS, Candidate, Trial, points
from rtlab.choosing.commands import command
from rtlab.choosing.deciding import Decision
from rtlab.choosing.question import Question
from rtlab.choosing.results import Result
from rtlab.choosing.standing import Standing, by_sentence, estimated, interval, levels, score, scores_of
from rtlab.recipe import ChoiceMetric
from rtlab.records import RunRecord
from rtlab.values import one_line


def say_why(standings: Sequence[Standing], decision: Decision, metric: ChoiceMetric, margin: float) -> None:
    """Say of each way that was compared to the end how it came out."""
    undecided = {one.name for one in decision.undecided}
    best = decision.better or decision.recommended
    level = levels(standings, metric)
    for one in standings:
        if one.status != "finished":
            continue
        behind = 100 * (level[best] - level[one])
        if one is decision.recommended:
            one.why = "recommended" if one is best else f"recommended: within {points(margin)} of the best"
        elif one is best:
            ahead = 100 * (level[one] - level[decision.recommended])
            one.why = f"the best by estimate, by {ahead:.1f} points"
        else:
            one.why = f"{behind:.1f} points behind the best by estimate"
        one.why += ", undecided" if one.way.name in undecided else ""


def say_on_fewer(standings: Sequence[Standing], question: Question, metric: ChoiceMetric) -> list[str]:
    """Which ways were compared on some folds or on validation alone, with what the best on all folds has there."""
    every, compared = len(question.folds), [one for one in standings if one.results]
    on = {one: len(one.largest[0].records) if one.largest[0].extent.folds != 0 else 0 for one in compared}
    best = max(
        (one for one in compared if on[one] == every), key=lambda one: estimated(one.largest, metric), default=None
    )
    said = []
    for folds in sorted({number for number in on.values() if number < every and every > 1}, reverse=True):
        several = [one for one in compared if on[one] == folds]
        names, rows = " and ".join(dict.fromkeys(one.way.family for one in several)), several[0].largest[0].rows
        there = (
            "" if best is None else f", where {best.way.name} has {scores_of(best.largest, metric, rows).mean():.3f}"
        )
        said.append(
            f"The budget had no room for {names} on {every} folds: compared on the {len(rows):,} sentences of "
            f"{f'{folds} of them' if folds else 'validation alone'}{there}."
        )
    return said


def say_at_chance(one: Standing, metric: ChoiceMetric, classes: Sequence[str]) -> str | None:
    """That a way is not shown to beat always saying the largest class, where that is so."""
    labels_N = one.largest[0].held_out.labels
    largest = int(np.bincount(labels_N).argmax())
    always = float(by_sentence(labels_N, np.full((1, len(labels_N)), largest), metric).mean())
    if interval(one, metric).low > always:
        return None
    return (
        f"{one.way.name} is not shown to beat always saying {one_line(classes[largest])}, whose {METRICS[metric]} is "
        f"{always:.3f}: what is recommended may be of no use."
    )


def candidates_of(standings: Sequence[Standing], question: Question, metric: ChoiceMetric) -> tuple[Candidate, ...]:
    """The ways as they stand, for people; test comes later."""
    level = levels(standings, metric)
    return tuple(_candidate(one, level.get(one), question, metric) for one in standings)


def _candidate(standing: Standing, level: float | None, question: Question, metric: ChoiceMetric) -> Candidate:
    way, largest = standing.way, standing.largest
    experiment = largest[0].experiment if largest else replace(question.usual, method=way.method)
    records = [record for one in _timed(largest) for record in one.records]
    recipe = experiment.method.recipe
    return Candidate(
        name=way.name,
        method=way.family,
        experiment=experiment,
        command=command(experiment),
        status=standing.status,
        why=standing.why,
        validation=interval(standing, metric) if largest else None,
        folds=len(largest[0].records) if largest and question.folded(largest[0].extent) else 0,
        estimate=level,
        seconds=fmean(map(_to_train, records)) if records else None,
        seconds_per_1000=fmean(map(_to_label, records)) if records else None,
        parameters=next((record.counts.parameters_trained for record in records if record.counts is not None), None),
        trials=tuple(
            Trial(
                sentences=one.extent.sentences,
                epochs=None if recipe is None else standing.way.passes(one.extent.epochs),
                seed=one.experiment.seed,
                validation=score([one], metric),
                seconds=one.seconds,
                run=one.records[0].id,
            )
            for one in standing.results
        ),
    )


def _timed(results: Sequence[Result]) -> Sequence[Result]:
    """Those whose times count: of runs alone, where there are such."""
    return [one for one in results if not one.beside] or results


def timed_by(candidate: Candidate, results: Sequence[Result]) -> Candidate:
    """A candidate whose own times are of runs beside others, with those of other results of it."""
    records = [record for one in results for record in one.records]
    return replace(candidate, seconds=fmean(map(_to_train, records)), seconds_per_1000=fmean(map(_to_label, records)))


def only_beside(results: Sequence[Result]) -> bool:
    """Whether there are times of runs beside others alone."""
    return bool(results) and all(one.beside for one in results)


def say_beside(standings: Sequence[Standing], tested: Mapping[str, Sequence[Result]]) -> str | None:
    """That the times of some ways are of runs beside others, where that is so."""
    names = [one.way.name for one in standings if only_beside(tested.get(one.way.name) or one.largest)]
    if not names:
        return None
    return f"Times of runs beside others, longer than those of runs alone, are stated of {'; '.join(names)}."


def _to_train(record: RunRecord) -> float:
    """Seconds of training, with what comes before it: word pieces or terms of the sentences."""
    assert record.timing is not None, "a run with a result has one"
    return record.timing.prepare_s + record.timing.seconds


def _to_label(record: RunRecord) -> float:
    """Seconds of labelling 1,000 sentences, with their word pieces or terms; not with loading a model."""
    timing, counts = record.timing, record.counts
    assert timing is not None, "a run with a result has one"
    assert counts is not None, "likewise"
    recipe = record.experiment.method.recipe
    held_out = sum(len(said.labels) for said in record.predictions.values())
    every = held_out + counts.samples / (1 if recipe is None else recipe.epochs)
    return 1000 * (timing.prepare_s / every + timing.evaluate_s / held_out)
