"""What the report's script draws from: the table of runs, loss curves, points of accuracy over time, predictions.

A page of many records stays small. The table is columns of numbers and of indices into lists of texts. Loss curves and
predictions of `IN_FULL` runs are in it, one of each setup first: losses thinned to `CURVE_POINTS`, a predicted class as
one character, and logits, where they were read, as 16 bits (steps of 1/32767 of the run's largest). True labels, which
runs on one data set share, are kept once.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import count
from math import isfinite
from statistics import mean

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rtlab.methods import TITLES, method_title
from rtlab.recipe import Recipe
from rtlab.records import Classes, LogEntry, Predictions, RunRecord
from rtlab.reporting.classes import class_names
from rtlab.reporting.frame import COLUMNS, Cell
from rtlab.reporting.groups import by_place, groups, machines, place_of, would_be
from rtlab.reporting.kinds import shown_first
from rtlab.reporting.markup import clean
from rtlab.reporting.wording import FIGURES, contents, setups
from rtlab.statistics import mean_interval
from rtlab.values import Json, one_line

IN_FULL = 300
CURVE_POINTS = 200
LOGIT_STEPS = 2**15 - 1
# Columns of the frame whose values a menu offers.
MENUS = ("method", "padding", "learning_rate", "target_modules", "engine", "seed", "encoder", "dataset", "testbed")
NUMBERS = ("test accuracy", "test F1", "training (s)", "samples/s")

Texts = Mapping[str, Mapping[str, Sequence[str]]]
"""SHA-256 of a data set -> split -> its sentences, in order."""


def page_data(records: Sequence[RunRecord], texts: Texts) -> dict[str, Json]:
    """The report's data, as JSON types.

    Args:
        records: The runs, in the order of the run table.
        texts: Sentences to show; those of data sets that no record used are left out.
    """
    names = run_names(records)
    labels: dict[str, int] = {}
    classes: dict[tuple[str, ...], int] = {}
    used = {record.dataset.sha256 for record in records}
    return {
        "table": _run_table(records, names),
        "runs": [_in_full(records[number], number, labels, classes) for number in in_full(records)],
        "labels": list(labels),
        "classes": [list(names) for names in classes],
        "methods": [
            [name, method_title(name)] for name in dict.fromkeys([*TITLES, *map(str, _column(records, "method"))])
        ],
        "texts": {sha256: splits for sha256, splits in texts.items() if sha256 in used},
        **_points(records),
    }


def run_names(records: Sequence[RunRecord]) -> list[str]:
    """A name for each run: its setup, with its seed; no two are the same."""
    alone, _ = setups([record.experiment for record in records])
    several = len({record.worked_on for record in records}) > 1
    names = [
        clean(f"{name}, seed {record.experiment.seed}" + f", {record.worked_on}" * several)
        for name, record in zip(alone, records, strict=True)
    ]
    counts, number = Counter(names), defaultdict[str, "count[int]"](lambda: count(1))
    return [f"{name}, record {next(number[name])} of {counts[name]}" if counts[name] > 1 else name for name in names]


def in_full(records: Sequence[RunRecord]) -> list[int]:
    """Numbers of the runs whose losses and predictions are in the page: one of each setup first, in their order."""
    rank = defaultdict[tuple[object, ...], "count[int]"](count)
    asked = ((place_of(record), record.experiment) for record in records)
    ranks = [next(rank[place, e.method, e.max_length, e.precision, e.train_sentences]) for place, e in asked]
    known = [number for number, record in enumerate(records) if record.predictions or record.history]
    return sorted(sorted(known, key=lambda number: (ranks[number], number))[:IN_FULL])


def environments(records: Sequence[RunRecord]) -> list[tuple[Mapping[str, Json], int]]:
    """The environments of the records, each once, with how many runs were made in it."""
    known = {repr(record.environment): record.environment for record in records}
    counts = Counter(repr(record.environment) for record in records)
    return [(environment, counts[key]) for key, environment in known.items()]


def _column(records: Sequence[RunRecord], name: str) -> list[Cell]:
    """A column of the frame."""
    return [COLUMNS[name](record) for record in records]


def _run_table(records: Sequence[RunRecord], names: Sequence[str]) -> list[Json]:
    """The columns of the run table: numbers with their digits, or texts as indices into a list of them."""
    number_of = {repr(environment): number for number, (environment, _) in enumerate(environments(records), 1)}
    found = ((title, *FIGURES[title]) for title in NUMBERS)
    accuracy, *numbers = (_numbers(title, digits, _column(records, name)) for title, name, digits in found)
    peaks = zip(_column(records, "peak_device"), _column(records, "peak_host"), strict=True)
    memory = [device or host for device, host in peaks]
    # Over sentences: a single run knows nothing of other seeds.
    spans = (would_be(record).accuracies.get("test") if record.status == "ok" else None for record in records)
    return [
        {"title": "run", "texts": list(names)},
        _coded("status", _column(records, "status"), menu=True),
        accuracy,
        {"title": "95 %", "texts": ["" if of is None else f"{of.low:.3f} – {of.high:.3f}" for of in spans]},
        *numbers,
        _numbers("peak memory (GiB)", 2, [None if peak is None else float(peak) / 2**30 for peak in memory]),
        *(_coded(_in_words(name), _column(records, name), menu=True) for name in MENUS),
        _coded("created (UTC)", [record.created_at[:19].replace("T", " ") for record in records]),
        _coded("environment", [number_of[repr(record.environment)] for record in records], menu=True),
        _coded("id", [record.id for record in records]),
        {"title": "error", "errors": {str(n): clean(record.error) for n, record in enumerate(records) if record.error}},
    ]


def _in_words(name: str) -> str:
    return "data set" if name == "dataset" else name.replace("_", " ")


def _numbers(title: str, digits: int, values: Sequence[Cell]) -> dict[str, Json]:
    """A column of numbers, six digits of each, and how many behind the point are shown."""
    rounded = [None if value is None else float(f"{value:.6g}") for value in values]
    return {"title": title, "digits": digits, "values": rounded}


def _coded(title: str, values: Sequence[Cell], *, menu: bool = False) -> dict[str, Json]:
    """A column as indices into its distinct texts; -1 is empty."""
    texts = [value if value is None else f"{value:g}" if isinstance(value, float) else clean(value) for value in values]
    codes, known = pd.factorize(np.array(texts, dtype=object))
    numbers = all(isinstance(value, int | float) for value in values if value is not None)
    return {"title": title, "codes": codes.tolist(), "known": list(known), "menu": menu, "number": numbers}


def _in_full(
    record: RunRecord, number: int, labels: dict[str, int], classes: dict[tuple[str, ...], int]
) -> dict[str, Json]:
    """A run's losses and predictions; labels and names of classes, which runs share, go into the lists of them."""
    num_labels = max((found.num_labels for found in record.predictions.values()), default=0)
    names = class_names(record.dataset.classes, num_labels)
    return {
        "run": number,
        "dataset": record.dataset.sha256,
        "classes": classes.setdefault(names, len(classes)),
        "strongest": [[clean(name), ", ".join(map(one_line, terms))] for name, terms in record.strongest.items()],
        "loss": _thinned(record.history),
        "validated": [[entry.step, float(f"{entry.loss:.6g}")] for entry in record.validated],
        "kept": record.chosen.get("step"),
        "splits": {split: _packed(found, labels) for split, found in record.predictions.items() if len(found.labels)},
    }


def _points(records: Sequence[RunRecord]) -> dict[str, Json]:
    """Groups of runs as points of accuracy over time, and where: a place and a machine.

    A run that was cut short says nothing of the accuracy that its recipe reaches, and is left out. What is shown first
    has the number of its recipe, by which its engines are joined. What there is no interval of, with one seed or
    without predictions, has no bar.
    """
    points: list[Json] = []
    places: list[str] = []
    for place, every in by_place(group for group in groups(records) if group.whole).items():
        for machine in machines(every):
            here = [timed for group in every if (timed := group.timed_on(machine)).timed]
            recipes = {id(group): at for at, family in enumerate(shown_first(here)) for group in family}
            for group, name in zip(here, setups([group.experiment for group in here])[0], strict=True):
                time, accuracy = mean_interval(group.values("seconds")), group.accuracies.get("test")
                points.append(
                    {
                        "name": clean(name),
                        "method": group.method,
                        "reference": group.fields["engine"] == Recipe.engine,
                        "seeds": group.points,
                        "seconds": time.value,
                        "accuracy": group.mean("test_accuracy"),
                        "secondsSpan": [time.low, time.high] if isfinite(time.high) else None,
                        "accuracySpan": None if accuracy is None else [accuracy.low, accuracy.high],
                        "place": len(places),
                        "recipe": recipes.get(id(group)),
                    }
                )
            places.append(clean(contents(place, [machine.name])))
    counts = Counter(places)
    return {"points": points, "places": [n if counts[n] == 1 else f"{n}, {i + 1}" for i, n in enumerate(places)]}


def _thinned(history: Sequence[LogEntry]) -> list[Json]:
    """(step, loss) per entry, or per few entries: their mean loss, at the last one's step."""
    few = -(-len(history) // CURVE_POINTS)
    parts = [history[start : start + few] for start in range(0, len(history), few or 1)]
    return [[part[-1].step, float(f"{mean(entry.loss for entry in part):.6g}")] for part in parts]


def _packed(found: Predictions | Classes, labels: dict[str, int]) -> dict[str, Json]:
    """One split's predictions; the true labels go into `labels`, unless they are there."""
    packed: dict[str, Json] = {
        "labels": labels.setdefault(_characters(found.labels), len(labels)),
        "predicted": _characters(found.classes),
    }
    if isinstance(found, Predictions):
        logits_NC = found.logits.astype(np.float64)
        largest = float(np.abs(logits_NC).max()) or 1.0
        steps = np.rint(logits_NC / largest * LOGIT_STEPS).astype("<i2")
        packed |= {"logits": base64.b64encode(steps.tobytes()).decode(), "largest": float(f"{largest:.6g}")}
    return packed


def _characters(classes: NDArray[np.integer]) -> str:
    """Classes as one character each, counted from "0" to "~", then through the ideographs: all of them are visible."""
    return "".join(chr(number + (ord("0") if number < 79 else 0x4E00)) for number in classes.tolist())
