"""What a choice is about: sentences, an encoder, and what trials are done on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rtlab.choosing.folds import Part, joined, whole
from rtlab.choosing.ways import Extent
from rtlab.data import Splits
from rtlab.encoders import Encoder
from rtlab.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about: sentences, an encoder, and what all trials have in common.

    Attributes:
        usual: The experiment whose method, seed and training sentences are a trial's own.
        splits: The data set.
        folds: What ways are compared on (`rtlab.choosing.folds`).
        encoder: The encoder; `None` where there is none.
        device: Where to compute.
    """

    usual: Experiment
    splits: Splits
    folds: tuple[Part, ...]
    encoder: Encoder | None
    device: str | None = None

    @cached_property
    def sentences(self) -> int:
        """Training sentences that all folds have."""
        return min(len(fold.splits.train) for fold in self.folds)

    @cached_property
    def whole(self) -> Part:
        """The data set as it is."""
        return whole(self.splits)

    @cached_property
    def refitted(self) -> Part:
        """The data set with validation in train as well."""
        return replace(self.whole, splits=joined(self.splits))

    def parts(self, extent: Extent) -> tuple[Part, ...]:
        """What a trial is done on."""
        return (self.whole,) if extent.folds == 0 else self.folds[: extent.folds]

    def number_of_folds(self, parts: Sequence[Part]) -> int:
        """How many folds these are; 0 of the data set as it is."""
        return len(parts) if len(parts) > 1 or (len(self.folds) > 1 and parts[0] in self.folds) else 0

    def folded(self, extent: Extent) -> bool:
        """Whether a trial is done on folds."""
        return self.number_of_folds(self.parts(extent)) > 0

    def trained_on(self, sentences: int, part: Part) -> int:
        """Of so many training sentences those that there are in a part; all folds have is all that a part has."""
        there = len(part.splits.train)
        return there if sentences >= self.sentences else min(sentences, there)
