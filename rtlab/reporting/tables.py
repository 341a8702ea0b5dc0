"""The lab's tables, out of records, for a terminal and for the README.

Each table is made of one sub-table for every place (encoder, data set, device), whose caption says where its numbers
come from. A row is a group of runs that differ in the seed alone: mean ± standard deviation over its n seeds, an
accuracy with its 95 % interval. The tables that compare hold only rows with something to compare them to, which
differs from them in nothing but the thing compared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, Place, families, groups, latest, place_of
from rtlab.reporting.wording import METHODS, NONE, order, origin, pipes, score, settings, setups, spread, times, wrapped
from rtlab.statistics import Interval, accuracy_interval, ratio_of_times

__all__ = ["LEGEND", "METHODS", "TABLES", "Table", "as_text", "summary", "tables"]

LEGEND = (
    "A row is n runs that differ in the seed alone: mean ± standard deviation; "
    "in brackets the 95 % interval of the mean (accuracies: bootstrap over sentences and seeds)."
)

_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Measured:
    """A group and what takes long to compute, so that all its tables share it."""

    group: Group
    accuracies: Mapping[str, Interval]

    def accuracy(self, split: str) -> str:
        """The cell of a split's accuracy."""
        return score(self.group.values(f"scores.{split}.accuracy"), self.accuracies.get(split))

    def mean(self, field: str, digits: int) -> str:
        """The cell of any other figure."""
        return spread(self.group.values(field), digits)


Row = dict[str, str]
Family = Sequence[Measured]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a table shows.

    Attributes:
        title: Its heading.
        methods: The methods whose runs it is made of.
        rows: The cells of a group, by column, given its family; the setup's name is put before them.
        contrast: The field in which alone a family differs; `None` for a table of all there is.
        with_it: Fields that may differ with it.
        needs: What to record for the table to have something to show.
    """

    title: str
    methods: Sequence[str]
    rows: Callable[[Measured, Family], Iterable[Row]]
    contrast: str | None = None
    with_it: tuple[str, ...] = ()
    needs: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: its name among the README's markers, its heading, its markdown, and whether it has rows."""

    name: str
    title: str
    text: str
    shows: bool


def tables(records: Iterable[RunRecord]) -> tuple[Table, ...]:
    """All tables of `TABLES`, in its order.

    Of several records of one run on one device, made by different states of the code, the latest counts. Runs without
    a result are counted below the tables that they would have been in, and averaged in none.

    Args:
        records: Records of any kind, in order of creation.
    """
    kept = latest(records)
    measured = _measure(sorted(groups(kept), key=lambda group: (group.place, order(group))))
    lost = [record for record in kept if record.status != "ok"]
    return tuple(_table(name, kind, measured, lost) for name, kind in TABLES.items())


def as_text(made: Sequence[Table]) -> str:
    """The tables that have something to show, under their headings, for a terminal."""
    shown = [f"## {table.title}\n\n{table.text}" for table in made if table.shows]
    return "\n\n".join([*shown, wrapped(LEGEND)]) if shown else "No records yet."


def summary(record: RunRecord) -> str:
    """What one finished run came to, for a terminal."""
    timing, counts, memory = record.timing, record.counts, record.memory
    assert timing, "a run with a result has all three"
    assert counts, "a run with a result has all three"
    assert memory, "a run with a result has all three"
    rows = [
        [split, *(f"{value:.4f}" for value in (s.accuracy, s.precision, s.recall, s.f1))]
        for split, s in record.scores.items()
    ]
    table = tabulate(
        rows, headers=["split", "accuracy", "precision", "recall", "F1"], tablefmt="simple", disable_numparse=True
    )
    losses = (
        "" if record.train_loss is None else f", mean loss {record.train_loss:.4f}, last epoch {record.final_loss:.4f}"
    )
    return (
        f"{METHODS[record.experiment.method]} of {record.encoder.name} on {record.dataset.name} "
        f"({settings(record.experiment)}, seed {record.experiment.seed})\n\n{table}\n\n"
        f"trained {counts.parameters_trained:,} of {counts.parameters_total:,} parameters "
        f"in {timing.train_s:.1f} s ({timing.samples_per_s:.1f} samples/s){losses}\n"
        f"loading {timing.load_s:.1f} s, tokenizing {timing.prepare_s:.1f} s, evaluating {timing.evaluate_s:.1f} s, "
        f"peak host memory {memory.peak_host / 2**30:.2f} GiB"
    )


def _svm(row: Measured, _: Family) -> Iterator[Row]:
    for split in _SPLITS:
        others = {name: row.mean(f"scores.{split}.{name.lower()}", 4) for name in ("precision", "recall", "F1")}
        yield {"split": split, "accuracy": row.accuracy(split), **others}


def _padding(row: Measured, family: Family) -> Iterator[Row]:
    yield {**_speed(row), "padding tokens": _padding_share(row), **_faster(row, family, {"padding": "fixed"})}


def _methods(row: Measured, _: Family) -> Iterator[Row]:
    yield {"encoder/adapter + head": _parameters(row), "training (s)": row.mean("timing.train_s", 1), **_scores(row)}


def _learning_rates(row: Measured, _: Family) -> Iterator[Row]:
    losses = {"training loss": row.mean("train_loss", 4), "loss of last epoch": row.mean("final_loss", 4)}
    yield losses | {f"{split} accuracy": row.accuracy(split) for split in _SPLITS}


def _target_modules(row: Measured, _: Family) -> Iterator[Row]:
    yield {"adapter + head": _parameters(row), "samples/s": row.mean("timing.samples_per_s", 1), **_scores(row)}


def _engines(row: Measured, family: Family) -> Iterator[Row]:
    first = {"warm-up (s)": row.mean("timing.warmup_s", 1), **_speed(row)}
    yield {**first, "test accuracy": row.accuracy("test"), **_faster(row, family, _REFERENCE)}


def _scores(row: Measured) -> Row:
    accuracies = {f"{split} accuracy": row.accuracy(split) for split in _SPLITS}
    return accuracies | {"test F1": row.mean("scores.test.f1", 4)}


def _speed(row: Measured) -> Row:
    device = row.group.values("memory.peak_device")
    memory = device or row.group.values("memory.peak_host")
    return {
        "training (s)": row.mean("timing.train_s", 1),
        "samples/s": row.mean("timing.samples_per_s", 1),
        "steps/s": row.mean("timing.steps_per_s", 2),
        f"peak {'device' if device else 'host'} GiB": spread([value / 2**30 for value in memory], 2),
    }


def _padding_share(row: Measured) -> str:
    counts = [record.counts for record in row.group.records if record.counts]
    return f"{spread([100 * c.padding_tokens / (c.padding_tokens + c.real_tokens) for c in counts], 1)} %"


def _parameters(row: Measured) -> str:
    counts = row.group.records[0].counts
    assert counts, "a finished run has counts"
    return f"{counts.parameters_encoder + counts.parameters_adapter:,} + {counts.parameters_head:,}"


def _faster(row: Measured, family: Family, base: Mapping[str, str]) -> Row:
    """How many times less training time a sentence takes than in the row with these fields; warm-up is training."""
    column = f"speed-up over {', '.join(base.values())}"
    of_base = (
        other.group
        for other in family
        if all(getattr(other.group.experiment, field) == value for field, value in base.items())
    )
    slow = next(of_base, None)
    if slow is None or slow is row.group:
        return {column: NONE if slow is None else "1"}
    return {column: times(ratio_of_times(slow.seconds_per_sentence(), row.group.seconds_per_sentence()))}


_REFERENCE = {"engine": "trainer", "padding": "dynamic"}

TABLES: Mapping[str, Kind] = {
    "svm": Kind(title="SVM baseline", methods=("svm",), rows=_svm, needs="a run of `rtlab svm`"),
    "padding-full": Kind(
        title="Padding, full fine-tuning",
        methods=("full",),
        rows=_padding,
        contrast="padding",
        needs="runs of full fine-tuning that differ in `--padding` alone",
    ),
    "padding-lora": Kind(
        title="Padding, LoRA",
        methods=("lora",),
        rows=_padding,
        contrast="padding",
        needs="runs of LoRA that differ in `--padding` alone",
    ),
    "methods": Kind(title="Methods", methods=tuple(METHODS), rows=_methods, needs="a run of any method"),
    "learning-rates": Kind(
        title="Learning rates",
        methods=("full", "lora"),
        rows=_learning_rates,
        contrast="learning_rate",
        needs="runs that differ in `--lr` alone",
    ),
    "target-modules": Kind(
        title="Target modules",
        methods=("lora",),
        rows=_target_modules,
        contrast="lora.target_modules",
        needs="runs of LoRA that differ in `--target-modules` alone",
    ),
    "engines": Kind(
        title="Engines",
        methods=("full", "lora"),
        rows=_engines,
        contrast="engine",
        with_it=("padding", "compile"),
        needs="runs that differ in `--engine`, and in nothing else but its `--padding` and `--compile`",
    ),
}


def _measure(found: Sequence[Group]) -> list[Measured]:
    """All groups with the intervals of their accuracies, which are computed together."""
    known = [(number, split) for number, g in enumerate(found) for split in _SPLITS if g.has_predictions(split)]
    intervals = [accuracy_interval(found[number].correct(split)) for number, split in known]
    accuracies: list[dict[str, Interval]] = [{} for _ in found]
    for (number, split), interval in zip(known, intervals, strict=True):
        accuracies[number][split] = interval
    return [Measured(group, of) for group, of in zip(found, accuracies, strict=True)]


def _table(name: str, kind: Kind, measured: Sequence[Measured], lost: Sequence[RunRecord]) -> Table:
    by_place: dict[Place, list[Family]] = {}
    for family in _families([row for row in measured if row.group.experiment.method in kind.methods], kind):
        by_place.setdefault(family[0].group.place, []).append(family)
    left_out = [place_of(record) for record in lost if record.experiment.method in kind.methods]
    everywhere = kind.contrast is None  # a table of all there is also names the places of failures alone
    places = sorted({*by_place, *(left_out if everywhere else ())})
    parts = [_at(place, kind, by_place.get(place, []), left_out.count(place), lost) for place in places]
    nothing = f"Nothing to show yet: it takes {kind.needs}."
    return Table(name=name, title=kind.title, text="\n\n".join(parts) or nothing, shows=bool(parts))


def _families(rows: Sequence[Measured], kind: Kind) -> list[Family]:
    """The rows that have others to be compared to, with those; each by itself if nothing is compared.

    A run that was cut short says nothing of the accuracy that its recipe reaches: it stands by itself only where there
    is no whole one of its method.
    """
    if kind.contrast is None:
        whole = {_method_there(row) for row in rows if row.group.experiment.max_steps is None}
        return [[row] for row in rows if row.group.experiment.max_steps is None or _method_there(row) not in whole]
    of = {id(row.group): row for row in rows}
    found = families([row.group for row in rows], kind.contrast, *kind.with_it)
    return [[of[id(group)] for group in family] for family in found]


def _method_there(row: Measured) -> tuple[Place, str]:
    return row.group.place, row.group.experiment.method


def _at(place: Place, kind: Kind, found: Sequence[Family], left_out: int, lost: Sequence[RunRecord]) -> str:
    """The sub-table of a place, with its caption above and its failures below."""
    rows = [(row, family) for family in found for row in family]
    names, common = setups([row.group.experiment for row, _ in rows])
    records = [record for row, _ in rows for record in row.group.records]
    caption = origin(place, records or [record for record in lost if place_of(record) == place])
    cells = [
        {"setup": name, **more, "n": str(len(row.group.records))}
        for name, (row, family) in zip(names, rows, strict=True)
        for more in kind.rows(row, family)
    ]
    note = f"{left_out} run{'s' if left_out != 1 else ''} without a result left out."
    return "\n\n".join(
        [
            wrapped(f"{caption} Common recipe: {common}." if common else caption),
            *([pipes(cells, left=("setup", "split"))] if cells else []),
            *([note] if left_out else []),
        ]
    )
