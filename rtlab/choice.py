"""The answer of `choose`: which way to take for a data set, what it costs and buys, and what was tried for that.

Ways were chosen by estimates that scores of validation gave; test was looked at for what is recommended, and for its
runners-up, once they were. Names in JSON are those of the fields.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from rtlab.experiment import Experiment
from rtlab.recipe import ChoiceMetric, number_text
from rtlab.statistics import Interval
from rtlab.values import Json, from_json, one_line, shown, to_json

FOLDER = "choices"  # within the folder of results
PAGE = "choice.html"  # there, and beside the model that is handed over
METRICS: Mapping[ChoiceMetric, str] = {"accuracy": "accuracy", "macro-f1": "macro-F1"}  # in words
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
        folds: Of how many folds it is pooled; 0 for the validation split as it is.
        estimate: What ways are compared by: what the metric would be on many more sentences, by what was scored and by
            how probable each label is. A way that was compared on fewer sentences than the best stands as far from it
            as on those. `None` likewise.
        test: The metric on test with its interval, of those for which it was looked at.
        seconds: What training it took, tokenizing included, the mean of its largest trials; `None` without one.
        seconds_per_1000: What labelling 1,000 sentences took, tokenizing included, loading a model not.
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
    folds: int = 0
    estimate: float | None = None
    test: Interval | None = None
    seconds: float | None = None
    seconds_per_1000: float | None = None
    parameters: int | None = None
    trials: tuple[Trial, ...] = ()

    @property
    def largest(self) -> tuple[Trial, ...]:
        """The trials with most training, one per seed."""
        seen = [one.sentences * (one.epochs or 1) for one in self.trials]
        return tuple(one for one, its in zip(self.trials, seen, strict=True) if its == max(seen))

    def to_json(self) -> dict[str, Json]:
        """The candidate as JSON types."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: self.experiment.to_json() if name == "experiment" else to_json(one) for name, one in fields.items()
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


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer.

    Attributes:
        asked: The command line that asks for it.
        dataset: Name of the data set.
        classes: Names of its classes.
        sentences: Split to its number of sentences, as they were used.
        encoder: Name of the encoder; `None` where words alone were compared.
        metric: What is compared.
        margin: By how much the estimate of the cheapest way may be below the best, as a share: 0.01 for a point.
        budget_s: Seconds that were allowed.
        seconds: What it took.
        folds: On how many folds ways were compared, where time allowed; 0 for the validation split as it is.
        recommended: Name of the candidate.
        cheaper: The best of the cheaper ways, if there are such; its name.
        better: The way whose estimate is the best, if another; its name.
        candidates: All that were considered, the cheapest first.
        undecided: Those that may be the better choice.
        interrupted: Whether it was ended early, so that this is the best answer so far.
        warnings: What was found in the data, and what else to know.
        size: Bytes of the saved model; `None` if none was saved.
        saved_to: The folder's name.
        mistakes: The surest on test, where they were asked for.
        suspects: Training sentences with labels that are probably wrong, likewise.
    """

    asked: str
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
        """The choice as JSON types; what is recommended in full, and what was left out apart, as well."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        way = self.way
        scores = {"validation": way.validation, "test": way.test}
        return {
            **{name: to_json(value) for name, value in fields.items() if name != "candidates"},
            "recommended": {**way.to_json(), "scores": to_json(scores), "bytes": self.size, "saved_to": self.saved_to},
            "candidates": [one.to_json() for one in self.candidates],
            "left_out": [{"name": one.name, "why": one.why} for one in self.left_out],
        }

    @classmethod
    def from_json(cls, fields: Json) -> Self:
        """The choice that `to_json` wrote.

        Raises:
            ValueError: If it holds anything else.
        """
        recommended = fields.get("recommended") if isinstance(fields, Mapping) else None
        if not isinstance(fields, Mapping) or not isinstance(recommended, Mapping):
            raise ValueError(f"choice must be an object in which one is recommended; got {shown(fields)}")
        own = {name: value for name, value in fields.items() if name != "left_out"}
        found = from_json(cls, {**own, "recommended": recommended.get("name")}, "choice")
        if found.candidate(found.recommended) is None:
            raise ValueError(f"choice.recommended must be the name of a candidate; got {shown(found.recommended)}")
        return found


def points(share: float) -> str:
    """A share in points, such as `1 point` or `0.5 points`."""
    number = number_text(round(100 * share, 4))
    return f"{number} point{'s' * (number != '1')}"


def read_all(folder: Path) -> tuple[tuple[Choice, ...], dict[Path, str]]:
    """The choices that were made within a folder of results, oldest first, and of each bad file why it is none."""
    found, broken = [], {}
    for path in sorted((folder / FOLDER).glob("*/choice.json"), key=lambda path: path.parent.name.rpartition("-")[2]):
        try:
            found.append(read(path))
        except ValueError as error:
            broken[path] = str(error)
    return tuple(found), broken


def read(path: Path) -> Choice:
    """Read a choice that was written as JSON.

    Raises:
        ValueError: If the file cannot be read, or holds no choice; the message names it.
    """
    try:
        fields: Json = json.loads(path.read_bytes())
        return Choice.from_json(fields)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no readable choice ({one_line(str(error))}); move it away") from error
