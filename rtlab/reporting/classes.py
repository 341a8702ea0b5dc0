"""How well each class is told from the others: F1 by class, and what was taken for what.

Everything is a mean over the seeds of a group. Where there are many classes, the worst ones are shown and the rest is
counted: a table of 150 rows says less than one of twelve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtlab.metrics import class_scores, confusion
from rtlab.reporting.groups import Group
from rtlab.reporting.markup import clean, simple
from rtlab.reporting.wording import NONE
from rtlab.values import Json

MOST = 12  # classes that are shown
IMBALANCED = 0.7  # share of the largest class above which accuracy alone misleads
TITLES = ("precision", "recall", "F1", "taken for")
_LONGEST = 32  # characters of a name


@dataclass(frozen=True, kw_only=True, eq=False)
class ByClass:
    """What a group says of the C classes of one split.

    Attributes:
        names: The classes.
        support_C: Sentences that are of each class.
        scores_3C: Precision, recall and F1; mean over seeds.
        counts_CC: Sentences of each class (a row) that were taken for each class; mean over seeds.
    """

    names: tuple[str, ...]
    support_C: NDArray[np.int64]
    scores_3C: NDArray[np.float64]
    counts_CC: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """Share of the largest class: the accuracy of always saying it."""
        return float(self.support_C.max() / self.support_C.sum())

    @property
    def needed(self) -> bool:
        """Whether accuracy and F1 leave out what matters: there are more classes than two, or one of two is rare."""
        return len(self.names) > 2 or self.largest > IMBALANCED

    def to_json(self) -> dict[str, Json]:
        """Scores of each class by name, and the confusion matrix, as JSON types."""
        rows = zip(self.names, self.support_C.tolist(), self.scores_3C.T.tolist(), strict=True)
        by_class: Json = [
            {"class": name, "support": support, **dict(zip(("precision", "recall", "f1"), scores, strict=True))}
            for name, support, scores in rows
        ]
        return {"by_class": by_class, "confusion": self.counts_CC.tolist()}


def by_class(group: Group, split: str) -> ByClass:
    """What a group that has predictions of a split says of its classes."""
    there = group.held_out(split)
    hits_SCC = [confusion(there.labels, said_N, num_labels=there.num_labels) for said_N in group.predicted(split)]
    return ByClass(
        names=class_names(group.scored[0].dataset.classes, there.num_labels),
        support_C=hits_SCC[0].sum(axis=1),
        scores_3C=np.mean([class_scores(hits_CC) for hits_CC in hits_SCC], axis=0),
        counts_CC=np.mean(hits_SCC, axis=0),
    )


def class_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    """The names of classes as they are shown: their numbers where nobody wrote names down."""
    shown = [clean(name) for name in names] or [str(number) for number in range(count)]
    return tuple(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in shown)


def of_one(found: ByClass) -> str:
    """Precision, recall and F1 by class, and what each was taken for, for a terminal."""

    def cells(number: int) -> dict[str, str]:
        scores = [f"{score:.4f}" for score in found.scores_3C[:, number]]
        return dict(zip(TITLES, [*scores, _taken_for(found, number)], strict=True))

    return _table(found, found.scores_3C[-1], cells)


def side_by_side(sides: Mapping[str, ByClass], split: str) -> str:
    """F1 by class of several groups on the same sentences, and their confusion matrices, for a terminal."""
    first = next(iter(sides.values()))
    lowest_C = np.min([found.scores_3C[-1] for found in sides.values()], axis=0)

    def cells(number: int) -> dict[str, str]:
        row = {}
        for name, found in sides.items():
            row[f"F1 of {name}"] = f"{found.scores_3C[-1, number]:.4f}"
            if len(first.names) == 2:
                row[f"{name}: {' / '.join(first.names)}"] = " / ".join(map(_count, found.counts_CC[number]))
            elif len(first.names) > MOST:
                row[f"{name} took it for"] = _taken_for(found, number)
        return row

    parts = [f"By class, {split}; counts are means over seeds:", _table(first, lowest_C, cells)]
    for name, found in sides.items() if 2 < len(first.names) <= MOST else ():
        counts = zip(found.names, ([*map(_count, counts_C)] for counts_C in found.counts_CC), strict=True)
        matrix = [{"": said, **dict(zip(found.names, cells, strict=True))} for said, cells in counts]
        parts.append(f"\n{name} took a class (row) for a class (column):\n{simple(matrix)}")
    return "\n".join(parts)


def _table(found: ByClass, f1_C: NDArray[np.float64], cells: Callable[[int], Mapping[str, str]]) -> str:
    """A row for each class, or for the worst ones of many, those first of which there are sentences."""
    count, shown = len(f1_C), range(len(f1_C))
    if count > MOST:
        shown = np.lexsort((f1_C, found.support_C == 0))[:MOST].tolist()
    rows = [{"class": found.names[n], "sentences": f"{found.support_C[n]:,}", **cells(n)} for n in shown]
    more = f"\nand {count - MOST} more classes, which are better or have no sentences" if count > MOST else ""
    return simple(rows) + more


def _taken_for(found: ByClass, number: int) -> str:
    """The classes that a class was most often taken for, itself left out."""
    wrong_C = np.where(np.arange(len(found.names)) == number, 0, found.counts_CC[number])
    worst = [other for other in np.argsort(-wrong_C, kind="stable")[:3].tolist() if wrong_C[other] > 0]
    return ", ".join(f"{found.names[other]} ({_count(wrong_C[other])})" for other in worst) or NONE


def _count(count: float) -> str:
    """A mean number of sentences, whole where it is."""
    return f"{count:,.0f}" if count == round(count) else f"{count:,.1f}"
