"""What trials are done on: a data set, or folds of one whose validation split is too small to compare much on."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtlab.data import Split, Splits

ENOUGH = 300  # sentences of validation, on which an accuracy of 0.8 is known to within 4.5 points
FOLDS = 5
LEAST_TEST = 32  # sentences of test that a fold keeps: a run labels some, at which nobody looks


HELD_OUT = 2000  # sentences of validation and of test that are used, at most: more cost time, and tell little more


def bounded(splits: Splits) -> tuple[Splits, tuple[str, ...]]:
    """The data set with no more held-out sentences than are needed, and what is to be said of that."""
    small = splits.limited(max(HELD_OUT, splits.num_labels))
    notes = tuple(
        f"Of {len(split):,} sentences of {name} {HELD_OUT:,} are used, of each class in proportion."
        for name, split in splits.items()
        if name != "train" and len(split) > HELD_OUT
    )
    return (replace(splits, validation=small.validation, test=small.test), notes) if notes else (splits, ())


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A data set to do a trial on.

    Attributes:
        splits: Its splits.
        rows: Where its validation stands in train and validation of the whole, joined, (N,).
    """

    splits: Splits
    rows: NDArray[np.int64]


def whole(splits: Splits) -> Part:
    """The data set as it is."""
    return Part(splits=splits, rows=len(splits.train) + np.arange(len(splits.validation)))


def folds_of(splits: Splits) -> tuple[Part, ...]:
    """What ways are compared on: the data set as it is, or folds of train and validation where validation is small.

    Of folds each sentence of the two is held out once. Equal sentences stay together, white space apart; otherwise
    each class is spread evenly, by the sentences' digests. A few sentences of test are in all: nobody looks at them.
    """
    return (whole(splits),) if len(splits.validation) >= ENOUGH else _folds(joined(splits))


def folds_of_train(splits: Splits) -> tuple[Part, ...]:
    """The same of train alone, for who wants to know of its sentences."""
    return _folds(splits)


def joined(splits: Splits) -> Splits:
    """The data set with validation added to train."""
    train, validation = splits.train, splits.validation
    both = Split(train.texts + validation.texts, train.labels + validation.labels)
    return replace(splits, train=both, notes=())


def _folds(splits: Splits) -> tuple[Part, ...]:
    fold_of = np.array(splits.train.fold_of(FOLDS))
    few = splits.limited(max(LEAST_TEST, splits.num_labels))
    return tuple(
        Part(
            splits=replace(
                few,
                train=_rows_of(splits.train, np.flatnonzero(fold_of != fold)),
                validation=_rows_of(splits.train, np.flatnonzero(fold_of == fold)),
            ),
            rows=np.flatnonzero(fold_of == fold),
        )
        for fold in np.unique(fold_of)
    )


def _rows_of(split: Split, rows_N: NDArray[np.int64]) -> Split:
    rows = rows_N.tolist()
    return Split(tuple(split.texts[row] for row in rows), tuple(split.labels[row] for row in rows))
