"""The answer of `choose`: which way to take for a data set, what it costs and buys, and what was tried for that.

Scores of validation are what a way was chosen by; test was looked at for what is recommended, and for its runners-up,
once they were. Names in JSON are those of the fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rtlab.experiment import Experiment
from rtlab.statistics import Interval
from rtlab.values import Json

ChoiceMetric = Literal["accuracy", "macro-f1"]
# How trying a candidate ended: compared with as much as the best was given, given up before, not begun, or refused.
Ended = Literal["finished", "stopped", "left out", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of a candidate: what it came to with so much training.

    Attributes:
        sentences: Training sentences.
        epochs: Passes over them; `None` of a classifier that is fitted.
        seed: Of the run.
        validation: The metric, on validation or on held-out folds.
        seconds: From its start to its end.
        run: Id of its record; of one that was cross-validated, of the first fold's.
    """

    sentences: int
    epochs: int | None
    seed: int
    validation: float
    seconds: float
    run: str

    def to_json(self) -> dict[str, Json]:
        """The trial as JSON types."""
        return {
            "sentences": self.sentences,
            "epochs": self.epochs,
            "seed": self.seed,
            "validation": self.validation,
            "seconds": self.seconds,
            "run": self.run,
        }


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way that was considered.

    Attributes:
        name: Such as `words` or `lora, lr 1e-03`; unique in a choice.
        method: Such as `words`, `svm`, `lora`, `full`.
        experiment: Its largest trial, or what was to be tried.
        command: The command line that repeats it.
        status: How trying it ended.
        why: Why it ended so, in a clause.
        validation: The metric over all seeds of its largest trial, with its interval; `None` if there is none.
        test: The same on test, of those for which it was looked at.
        seconds: What training it took, the mean of its largest trials; `None` where that was not measured.
        seconds_per_1000: What labelling 1,000 sentences took.
        parameters: Trained parameters.
        trials: All of them, in order.
    """

    name: str
    method: str
    experiment: Experiment
    command: str
    status: Ended
    why: str
    validation: Interval | None = None
    test: Interval | None = None
    seconds: float | None = None
    seconds_per_1000: float | None = None
    parameters: int | None = None
    trials: tuple[Trial, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The candidate as JSON types."""
        return {
            "name": self.name,
            "method": self.method,
            "experiment": self.experiment.to_json(),
            "command": self.command,
            "status": self.status,
            "why": self.why,
            "scores": {
                "validation": None if self.validation is None else self.validation.to_json(),
                "test": None if self.test is None else self.test.to_json(),
            },
            "seconds": self.seconds,
            "seconds_per_1000": self.seconds_per_1000,
            "parameters": self.parameters,
            "trials": [trial.to_json() for trial in self.trials],
        }


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """A way that may be the better choice, for all that these sentences and runs tell.

    Attributes:
        name: Of the candidate.
        difference: Its metric on validation minus that of what is recommended, with its interval over sentences, and
            over seeds where there are several.
        tells: About what would tell, in a clause.
        sentences: About how many sentences of validation would; `None` if no number of them.
        minutes: About how many minutes of further seeds would; `None` if no number of seeds.
    """

    name: str
    difference: Interval
    tells: str
    sentences: int | None
    minutes: float | None

    def to_json(self) -> dict[str, Json]:
        """It as JSON types."""
        return {
            "name": self.name,
            "difference": self.difference.to_json(),
            "tells": self.tells,
            "sentences": self.sentences,
            "minutes": self.minutes,
        }


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A sentence of test that what is recommended labels wrongly.

    Attributes:
        text: The sentence.
        label: What it is labelled as.
        predicted: What the model says.
        probability: How sure it is of that.
    """

    text: str
    label: str
    predicted: str
    probability: float

    def to_json(self) -> dict[str, Json]:
        """It as JSON types."""
        return {
            "text": self.text,
            "label": self.label,
            "predicted": self.predicted,
            "probability": self.probability,
        }


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A training sentence whose label is probably wrong, by models that were trained without it.

    Attributes:
        text: The sentence.
        label: What it is labelled as.
        probably: What it seems to be.
        probability: How sure these models are of that.
    """

    text: str
    label: str
    probably: str
    probability: float

    def to_json(self) -> dict[str, Json]:
        """It as JSON types."""
        return {
            "text": self.text,
            "label": self.label,
            "probably": self.probably,
            "probability": self.probability,
        }


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer.

    Attributes:
        dataset: Name of the data set.
        classes: Names of its classes.
        sentences: Split to its number of sentences, as they were used.
        encoder: Name of the encoder; `None` where words alone were compared.
        metric: What is compared.
        margin: By how much the cheapest way may score less than the best, as a share: 0.01 for a point.
        budget_s: Seconds that were allowed.
        seconds: What it took.
        folds: Of how many folds a score of validation is pooled; 1 for the validation split as it is.
        recommended: Name of the candidate.
        cheaper: The next cheaper way, if there is one; its name.
        better: The way that scored best on validation, if another; its name.
        candidates: All that were considered, the cheapest first.
        undecided: Those that may be the better choice.
        interrupted: Whether it was ended early, so that this is the best answer so far.
        warnings: What was found in the data, and what else to know.
        size: Bytes of the saved model; `None` if none was saved.
        saved_to: The folder's name.
        mistakes: The surest on test, where they were asked for.
        suspects: Training sentences with labels that are probably wrong, likewise.
    """

    dataset: str
    classes: tuple[str, ...]
    sentences: Mapping[str, int]
    encoder: str | None
    metric: ChoiceMetric
    margin: float
    budget_s: float
    seconds: float
    folds: int
    recommended: str
    cheaper: str | None
    better: str | None
    candidates: tuple[Candidate, ...]
    undecided: tuple[Undecided, ...] = ()
    interrupted: bool = False
    warnings: tuple[str, ...] = ()
    size: int | None = None
    saved_to: str | None = None
    mistakes: tuple[Mistake, ...] = ()
    suspects: tuple[Suspect, ...] = ()

    def candidate(self, name: str | None) -> Candidate | None:
        """The candidate of this name."""
        return next((one for one in self.candidates if one.name == name), None)

    @property
    def way(self) -> Candidate:
        """What is recommended."""
        return next(one for one in self.candidates if one.name == self.recommended)

    @property
    def left_out(self) -> tuple[Candidate, ...]:
        """What was not compared."""
        return tuple(one for one in self.candidates if one.status in ("left out", "failed"))

    def to_json(self) -> dict[str, Json]:
        """The choice as JSON types."""
        return {
            "dataset": self.dataset,
            "classes": list(self.classes),
            "sentences": dict(self.sentences),
            "encoder": self.encoder,
            "metric": self.metric,
            "margin": self.margin,
            "budget": self.budget_s,
            "seconds": self.seconds,
            "folds": self.folds,
            "recommended": {**self.way.to_json(), "bytes": self.size, "saved_to": self.saved_to},
            "cheaper": self.cheaper,
            "better": self.better,
            "candidates": [one.to_json() for one in self.candidates],
            "undecided": [one.to_json() for one in self.undecided],
            "left_out": [{"name": one.name, "why": one.why} for one in self.left_out],
            "interrupted": self.interrupted,
            "warnings": list(self.warnings),
            "mistakes": [one.to_json() for one in self.mistakes],
            "suspects": [one.to_json() for one in self.suspects],
        }
