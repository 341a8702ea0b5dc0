"""What trying a way came to: a result, or why there is none."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.choosing.expecting import probabilities_of
from rtlab.choosing.ways import Extent, Way
from rtlab.ending import StoppedError
from rtlab.experiment import Experiment
from rtlab.records import Predictions, RunRecord


class FailedError(Exception):
    """A trial ended without a result; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a trial came to.

    Attributes:
        experiment: What was run; of folds, what the whole train split would be.
        extent: How much it did.
        seconds: From its start to its end, all folds together.
        held_out: Labels and logits of validation, or of all folds one after another, (N,) and (N, C).
        rows: Where these sentences stand in train and validation of the data set, joined, (N,).
        records: Of its runs, a fold each.
        model: Where the model was saved, if it was.
        beside: Whether other runs were done beside it, so that its times are none of a run alone.
    """

    experiment: Experiment
    extent: Extent
    seconds: float
    held_out: Predictions
    rows: NDArray[np.int64]
    records: tuple[RunRecord, ...]
    model: Path | None = None
    beside: bool = False

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """How probable each label of these sentences is, (N, C), see `probabilities_of`."""
        return probabilities_of(self.held_out)


Tried = Result | FailedError | StoppedError  # what trying a way came to


def one_by_one(
    run: Callable[[Way, Extent, int], Result], ways: Sequence[Way], extent: Extent, seed: int
) -> Iterator[tuple[Way, Tried]]:
    """Try ways one after another, each with what it came to before the next is begun."""
    for way in ways:
        found: Tried
        try:
            found = run(way, extent, seed)
        except (FailedError, StoppedError) as error:
            found = error
        yield way, found
