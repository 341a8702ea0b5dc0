"""An evaluation as text for a terminal."""

from collections.abc import Sequence

from tabulate import tabulate

from rtlab.saved_models.evaluating import Evaluation
from rtlab.statistics import Interval
from rtlab.values import one_line

SHOWN_CLASSES = 12  # of more the confusion matrix is wider than a terminal; the file has it


def as_text(found: Evaluation) -> str:
    """A result for a terminal: scores, scores by class, who is taken for whom, and the surest errors."""
    of, on = found.model, found.dataset
    parts = [
        f"model     {of.label} {of.id}\n"
        f"data set  {one_line(on.name)}, {on.split}: {on.sentences:,} sentences ({on.sha256[:8]})\n"
        f"accuracy  {_shown(found.accuracy)}\n"
        f"macro-F1  {_shown(found.macro_f1)}\n"
        "in brackets the 95 % interval over sentences",
        _table(
            ["class", "precision", "recall", "F1", "sentences"],
            [
                [one_line(one.label), _shown(one.precision), _shown(one.recall), _shown(one.f1), f"{one.support:,}"]
                for one in found.by_class
            ],
        ),
    ]
    if len(found.by_class) <= SHOWN_CLASSES:
        labels = [one_line(one.label) for one in found.by_class]
        rows = [[label, *map(str, counts)] for label, counts in zip(labels, found.confusion, strict=True)]
        parts.append(_table(["is \\ predicted", *labels], rows))
    if found.errors:
        rows = [
            [one_line(e.label), one_line(e.predicted), f"{e.probability:.3f}", one_line(e.place), one_line(e.text)]
            for e in found.errors
        ]
        parts.append(_table(["label", "predicted", "probability", "place", "sentence"], rows))
    return "\n\n".join(parts)


def _shown(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.value:.4f} [{interval.low:.3f}, {interval.high:.3f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers=header, tablefmt="simple", disable_numparse=True)
