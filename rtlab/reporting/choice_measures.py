"""What is read off a choice, and how it is put, for its page and its figures alike."""

from math import isfinite

from rtlab.choice import METRICS, Candidate, Choice
from rtlab.reporting.wording import NONE, score
from rtlab.statistics import Interval
from rtlab.values import one_line

NAME = 80  # characters of a name


def brief(name: str, most: int = NAME) -> str:
    """A name's beginning, as one line that a screen only shows."""
    line = one_line(name)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def metric(choice: Choice) -> str:
    """What is compared, in words."""
    return METRICS[choice.metric]


def measured(choice: Choice, *of: Candidate) -> str:
    """What ways were chosen by, these or all: the metric, and what it was measured on."""
    folds = {one.folds for one in of or choice.candidates if one.validation is not None}
    if max(folds, default=1) == 1:
        return f"validation {metric(choice)}"
    alone = " or validation alone" if 1 in folds else ""
    return f"{metric(choice)} over {max(folds)} folds{alone}"


def best_score(choice: Choice) -> float | None:
    """The best score on validation: that of the way named as the better one, or else of what is recommended."""
    best = choice.candidate(choice.better) or choice.way
    return None if best.validation is None else best.validation.value


def costed(one: Candidate) -> bool:
    """Whether a way was scored and its training time is known."""
    return one.validation is not None and one.seconds is not None


def scored(found: Interval | None) -> str:
    """A score with its 95 % interval, where these are known."""
    if found is None:
        return NONE
    return score([found.value], found if isfinite(found.low) and isfinite(found.high) else None)


def scores_by_size(one: Candidate) -> dict[int, list[float]]:
    """The scores of a way's seeds by training sentences, fewest first; of each number those of most epochs."""
    epochs = {trial.sentences: max(_epochs(one, trial.sentences)) for trial in one.trials}
    return {
        size: [t.validation for t in one.trials if t.sentences == size and (t.epochs or 0) == epochs[size]]
        for size in sorted(epochs)
    }


def _epochs(one: Candidate, sentences: int) -> list[int]:
    return [trial.epochs or 0 for trial in one.trials if trial.sentences == sentences]
