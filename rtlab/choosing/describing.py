"""How each way came out, as a value for people."""

from collections.abc import Sequence
from dataclasses import replace

from rtlab.choice import Candidate, ChoiceMetric, Trial
from rtlab.choosing.commands import command
from rtlab.choosing.deciding import Decision
from rtlab.choosing.standing import Standing, interval, score
from rtlab.choosing.trials import Question


def say_why(standings: Sequence[Standing], decision: Decision, metric: ChoiceMetric, margin: float) -> None:
    """Say of each way that was compared to the end how it came out."""
    undecided = {one.name for one in decision.undecided}
    best = decision.better or decision.recommended
    for one in standings:
        if one.status != "finished":
            continue
        behind = 100 * (score(best.largest, metric) - score(one.largest, metric))
        if one is decision.recommended:
            one.why = "recommended" if one is best else f"recommended: within {margin:g} points of the best"
        elif one is best:
            ahead = 100 * (score(one.largest, metric) - score(decision.recommended.largest, metric))
            one.why = f"the best, by {ahead:.1f} points"
        else:
            one.why = f"{behind:.1f} points behind the best"
        one.why += ", undecided" if one.way.name in undecided else ""


def candidate_of(standing: Standing, question: Question, metric: ChoiceMetric) -> Candidate:
    """A way as it stands, for people; test comes later."""
    way, largest = standing.way, standing.largest
    experiment = largest[0].experiment if largest else replace(question.usual, method=way.method)
    records = [record for one in largest for record in one.records]
    timed = [(record.timing, record) for record in records if record.timing is not None]
    held_out = (
        ("test",) if way.family == "svm" else ("validation", "test")
    )  # an SVM reads validation while it is trained
    labelled = sum(len(record.predictions[split].labels) for _, record in timed for split in held_out)
    recipe = experiment.method.recipe
    return Candidate(
        name=way.name,
        method=way.family,
        experiment=experiment,
        command=command(experiment),
        status=standing.status,
        why=standing.why,
        validation=interval(standing, metric) if largest else None,
        seconds=sum(timing.seconds for timing, _ in timed) / len(timed) if timed else None,
        seconds_per_1000=1000 * sum(timing.evaluate_s for timing, _ in timed) / labelled if labelled else None,
        parameters=next((record.counts.parameters_trained for record in records if record.counts is not None), None),
        trials=tuple(
            Trial(
                sentences=one.sentences,
                epochs=None if recipe is None else one.epochs,
                seed=one.experiment.seed,
                validation=score([one], metric),
                seconds=one.seconds,
                run=one.records[0].id,
            )
            for one in standing.results
        ),
    )
