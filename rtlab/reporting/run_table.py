"""The report's table of all runs; `report.js` filters and sorts it, and it can be read without."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtlab.records import Predictions, RunRecord
from rtlab.reporting.markup import escape
from rtlab.statistics import CONFIDENCE

GIB = 2**30
CAPTION = "Accuracy and F1 are of the test split; the interval is Wilson's, 95 %, over its sentences."


class Column(NamedTuple):
    """A column: its title, whether it sorts as a number, and whether it gets a menu of its values."""

    title: str
    number: bool = False
    menu: bool = False


class Cell(NamedTuple):
    """A cell: its text, the number that it sorts by, and a remark in a softer colour."""

    text: str
    value: float | None = None
    remark: str = ""


COLUMNS = (
    Column("run"),
    Column("status", menu=True),
    Column("test accuracy", number=True),
    Column("test F1", number=True),
    Column("training (s)", number=True),
    Column("samples/s", number=True),
    Column("peak memory (GiB)", number=True),
    Column("method", menu=True),
    Column("padding", menu=True),
    Column("learning rate", number=True, menu=True),
    Column("target modules", menu=True),
    Column("engine", menu=True),
    Column("seed", number=True, menu=True),
    Column("encoder", menu=True),
    Column("data set", menu=True),
    Column("device", menu=True),
    Column("created (UTC)"),
    Column("environment", number=True, menu=True),
)


def run_table(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    """All runs as an HTML table, a `tbody` each, with the error of a failed run as its second row.

    Args:
        records: The runs.
        names: A name for each.
    """
    environments = distinct_environments(records)
    bodies = "\n".join(
        _body(name, record, environments.index(record.environment) + 1)
        for name, record in zip(names, records, strict=True)
    )
    heads = "".join(map(_head, COLUMNS))
    return f"<table>\n<caption><span>{CAPTION}</span></caption>\n<thead><tr>{heads}</tr></thead>\n{bodies}\n</table>"


def distinct_environments(records: Sequence[RunRecord]) -> list[Mapping[str, Any]]:
    """The environments of the records, each once, in order of first use."""
    found: list[Mapping[str, Any]] = []
    for record in records:
        if record.environment not in found:
            found.append(record.environment)
    return found


def _head(column: Column) -> str:
    kind = ' class="number"' if column.number else ""
    menu = " data-filter" if column.menu else ""
    return f'<th scope="col"{kind}{menu}><button type="button">{escape(column.title)}</button></th>'


def _body(name: str, record: RunRecord, environment: int) -> str:
    error = ""
    if record.error is not None:
        error = f'\n<tr class="error"><td colspan="{len(COLUMNS)}"><span>{escape(record.error)}</span></td></tr>'
    link = f'<td class="number" data-value="{environment}"><a href="#environment-{environment}">{environment}</a></td>'
    cells = "".join(map(_cell, (Cell(record.status), *_results(record), *_settings(record)), COLUMNS[1:-1]))
    return f'<tbody>\n<tr><th scope="row">{escape(name)}</th>{cells}{link}</tr>{error}\n</tbody>'


def _cell(cell: Cell, column: Column) -> str:
    lost = column.title == "status" and cell.text != "ok"
    kind = ' class="number"' if column.number else ' class="bad"' if lost else ""
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    remark = f' <span class="interval">{escape(cell.remark)}</span>' if cell.remark else ""
    return f"<td{kind}{value}>{escape(cell.text)}{remark}</td>"


def _settings(record: RunRecord) -> Iterator[Cell]:
    """Method to date; what a method does not use stays empty."""
    experiment = record.experiment
    yield Cell(experiment.method)
    yield Cell(experiment.padding or "")
    yield _number(experiment.learning_rate, "{:g}")
    yield Cell(" ".join(experiment.lora.target_modules) if experiment.lora else "")
    yield Cell(experiment.engine or "")
    yield Cell(str(experiment.seed), experiment.seed)
    yield Cell(record.encoder.name)
    yield Cell(record.dataset.name)
    yield Cell(record.environment["device"])
    yield Cell(record.created_at[:19].replace("T", " "))


def _results(record: RunRecord) -> Iterator[Cell]:
    """Test accuracy to peak memory; empty for a run without a result."""
    test, timing, memory = record.scores.get("test"), record.timing, record.memory
    if test is None or timing is None or memory is None:
        yield from [Cell("")] * 5
        return
    yield _number(test.accuracy, "{:.4f}")._replace(remark=_interval(record.predictions.get("test")))
    yield _number(test.f1, "{:.4f}")
    yield _number(timing.train_s, "{:.1f}")
    yield _number(timing.samples_per_s, "{:.1f}")
    kind, peak = ("host", memory.peak_host) if memory.peak_device is None else ("device", memory.peak_device)
    yield _number(peak / GIB, "{:.2f}")._replace(remark=kind)


def _number(value: float | None, form: str) -> Cell:
    return Cell("") if value is None else Cell(form.format(value), value)


def _interval(predictions: Predictions | None) -> str:
    """Wilson's 95 % interval of the accuracy, over sentences alone: a single run knows nothing of other seeds."""
    if predictions is None or not len(predictions.labels):
        return ""
    from scipy.stats import binomtest

    right_N = np.asarray(predictions.logits).argmax(axis=1) == np.asarray(predictions.labels)
    interval = binomtest(int(right_N.sum()), len(right_N)).proportion_ci(CONFIDENCE, method="wilson")
    return f"{interval.low:.3f} – {interval.high:.3f}"
