"""Where data sets come from, as tables: a file, a directory, a saved folder, the hub, the corpus, rt-polarity.

A data set is named, opened, its columns found, its rows read; what was assumed on the way is noted. Nothing is cut here
and no label is judged: that is `rtlab.data.reviews`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

from rtlab import hub
from rtlab.data import corpus
from rtlab.data.class_folders import open_class_folders
from rtlab.data.columns import Columns, choose_columns, is_usual_label
from rtlab.data.labels import Places, Table
from rtlab.data.layout import by_synonym, find_layout, split_of
from rtlab.data.row import Rows
from rtlab.data.rows import FORMATS, open_rows
from rtlab.data.saved import is_saved, saved_layout
from rtlab.data.snapshot import opened_snapshot
from rtlab.data.splits import SPLIT_NAMES
from rtlab.data.tables import read_tables
from rtlab.experiment import DEFAULT_DATASET, DatasetOptions

HUB_REVISION = "aa13bc287fa6fcab6daf52f0dfb9994269ffea28"
# What is taken from the hub: tables, and the card that says how to read them. No scripts, no pickles.
HUB_FILES = (
    *("*.parquet", "*.csv", "*.tsv", "*.json", "*.jsonl", "*.arrow", "README.md"),
    *("*.csv.gz", "*.tsv.gz", "*.json.gz", "*.jsonl.gz", "*.csv.zst", "*.json.zst", "*.jsonl.zst"),
)

# The sizes of the default's splits; the built-in corpus has the same.
SIZES = (8530, 1066, 1066)

ALTERNATIVES = (
    "'corpus' (built in), a directory with rt-polarity.pos and rt-polarity.neg, "
    "a file of sentences and labels, or a directory with train, validation and test, as .csv, .jsonl or .parquet "
    "would do"
)
_POLARITY = {"rt-polarity.pos": 1, "rt-polarity.neg": 0}  # in this order, for the hub's splits have the positives first
_POLARITY_NAMES = ("neg", "pos")  # the hub's names, so that both sources have one digest


@dataclass(frozen=True)
class Tables:
    """A data set as its files have it.

    Attributes:
        name: `corpus`, the hub id, or the name of the file or directory (never a path: records carry it).
        revision: the hub commit, None for what is not on the hub.
        tables: split to table, `train` the first; one table under "" where no split is named.
        notes: what was assumed, a sentence each.
    """

    name: str
    revision: str | None
    tables: Mapping[str, Table]
    notes: tuple[str, ...] = ()


def load_tables(dataset: str, options: DatasetOptions, *, limit: int | None = None) -> Tables:
    """Read a data set, all of it, in the splits that it names.

    Args:
        dataset: as `rtlab.data.load_splits` takes it.
        options: how it is read where its files leave that open.
        limit: sentences per split that will be kept; a file beyond what is read is read only where one is given.

    Raises:
        ValueError: One line with what was given, what was found (file and line where there is one) and what would do.
    """
    path = Path.home() / dataset[2:] if dataset.startswith("~/") else Path(dataset)
    if dataset == "corpus":
        _need_no_options(dataset, options)
        return _corpus()
    if dataset and path.exists():
        if options.config is not None:
            given = f"got {options.config!r} for {str(path)!r}, which has none"
            raise ValueError(
                f"dataset_config must name a configuration of a hub data set; {given}; leaving it out would do"
            )
        return _from_path(path, options, limit)
    if hub.is_id(dataset):
        return _from_hub(dataset, options, limit)
    raise ValueError(f"dataset {dataset!r}: no such file or directory, and no hub id (owner/name); {ALTERNATIVES}")


def _need_no_options(dataset: str, options: DatasetOptions) -> None:
    for option in ("text_column", "label_column", "split_column", "config"):
        if (given := getattr(options, option)) is not None:
            name = "dataset_config" if option == "config" else option
            raise ValueError(f"{name} must be left out for {dataset}, which has no columns; got {given!r}")


@cache
def _corpus() -> Tables:
    texts, labels = corpus.generate(sum(SIZES))
    bounds = zip(SPLIT_NAMES, pairwise(accumulate(SIZES, initial=0)), strict=True)
    tables = {
        name: _table(f"corpus, {name}", texts[start:stop], labels[start:stop], ("negative", "positive"))
        for name, (start, stop) in bounds
    }
    return Tables("corpus", None, tables)


def _from_path(path: Path, options: DatasetOptions, limit: int | None) -> Tables:
    name = path.resolve().name
    if not path.is_dir():
        opened: dict[str, Sequence[Rows]] = {"": (open_rows(path),)}
        return Tables(name, None, *_read(opened, options, limit))
    if any((path / file).is_file() for file in _POLARITY):
        _need_no_options("rt-polarity's files", options)
        return Tables(name, None, _polarity(path))
    if not is_saved(path) and (found := open_class_folders(path)) is not None:
        tables, notes = _read({split: (rows,) for split, rows in found.opened.items()}, options, limit)
        return Tables(name, None, tables, (*found.notes, *notes))
    layout = saved_layout(path) if is_saved(path) else find_layout(path)
    opened = {split: tuple(map(open_rows, files)) for split, files in layout.files.items()}
    tables, notes = _read(opened, options, limit)
    return Tables(name, None, tables, (*layout.notes, *notes))


def _from_hub(dataset: str, options: DatasetOptions, limit: int | None) -> Tables:
    pinned = dataset == DEFAULT_DATASET
    snapshot = hub.snapshot(
        dataset,
        kind="dataset",
        option="dataset",
        revision=HUB_REVISION if pinned else None,
        files=HUB_FILES,
        needed=[f"*{split}*" for split in SPLIT_NAMES] if pinned else [],
        alternatives=ALTERNATIVES,
    )
    with opened_snapshot(snapshot.path, dataset, options.config) as there:
        chosen, notes = by_synonym(f"dataset {dataset!r}", tuple(there))
        if not chosen and len(there) == 1:
            chosen, notes = {"": next(iter(there))}, ()
        tables, more = _read({split: (there[name],) for split, name in chosen.items()}, options, limit)
    return Tables(dataset, snapshot.revision, tables, (*notes, *more))


def _read(
    opened: Mapping[str, Sequence[Rows]], options: DatasetOptions, limit: int | None
) -> tuple[dict[str, Table], tuple[str, ...]]:
    """The tables of files that are opened, and what was assumed; the columns are those of train."""
    if options.split_column is not None:
        return _read_by_column([rows for files in opened.values() for rows in files], options, limit)
    first = opened.get("train") or opened.get("") or next(iter(opened.values()))
    columns = choose_columns(first[0], options)
    tables, notes = {}, list[str]()
    for split, files in opened.items():
        of_split = [_columns_in(rows, columns) for rows in files]
        read = read_tables(files, of_split[0], options, limit=limit)
        tables[split] = read.tables.get("") or _nothing(files[0])
        notes += [note for note in read.notes if note not in notes]
    return tables, tuple(notes)


def _read_by_column(
    files: Sequence[Rows], options: DatasetOptions, limit: int | None
) -> tuple[dict[str, Table], tuple[str, ...]]:
    columns = choose_columns(files[0], options)
    for rows in files[1:]:
        _columns_in(rows, columns)
    read = read_tables(files, columns, options, limit=limit)
    chosen, _ = by_synonym(files[0].where, tuple(read.tables))
    left_out = [
        f"Split {name!r} was left out, {len(table.texts):,} sentences."
        for name, table in read.tables.items()
        if name not in chosen.values()
    ]
    for name in read.tables:
        if (meant := split_of(name)) in chosen and chosen[meant] != name:
            raise ValueError(
                f"split_column must say each split in one way; got {options.split_column!r}, which says {name!r} and "
                f"{chosen[meant]!r}"
            )
    if "train" not in chosen:
        said = ", ".join(f"{name!r:.40}" for name in [*read.tables][:8])
        given = f"got {options.split_column!r}, which says {said}"
        raise ValueError(
            f"split_column must say train of some rows; {given}; leaving it out, which cuts them, would do"
        )
    return {split: read.tables[name] for split, name in chosen.items()}, (*left_out, *read.notes)


def _columns_in(rows: Rows, columns: Columns) -> Columns:
    """The columns as far as a file has them: labels may be missing where no other column could be meant for them."""
    missing = [name for name in (columns.text, columns.label, columns.split) if name and name not in rows.columns]
    if not missing:
        return columns
    if missing == [columns.label] and not any(is_usual_label(name) for name in rows.columns):
        return replace(columns, label=None)
    there = ", ".join(map(repr, rows.columns[:8])) or "none"
    raise ValueError(
        f"{rows.where}: no column {' and no '.join(map(repr, missing))} (columns: {there}); those of train would do"
    )


def _polarity(path: Path) -> dict[str, Table]:
    found = [file for file in _POLARITY if (path / file).is_file()]
    if len(found) < len(_POLARITY):
        missing = next(file for file in _POLARITY if file not in found)
        raise ValueError(f"dataset {str(path)!r}: no file {missing} (there is {found[0]}); {ALTERNATIVES}")
    if others := [file.name for file in sorted(path.iterdir()) if file.suffix in FORMATS and split_of(file.stem)]:
        there = ", ".join([*found, *others])
        raise ValueError(f"dataset {str(path)!r}: ambiguous, there are {there}; one data set a directory would do")
    rows: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLIT_NAMES}
    for file, label in _POLARITY.items():
        lines = _lines(path / file)
        bounds = (0, int(len(lines) * 0.8 + 0.5), int(len(lines) * 0.9 + 0.5), len(lines))
        for split, (start, stop) in zip(SPLIT_NAMES, pairwise(bounds), strict=True):
            rows[split] += [(line, label) for line in lines[start:stop]]
    return {
        split: _table(f"{path}, {split}", [text for text, _ in part], [label for _, label in part], _POLARITY_NAMES)
        for split, part in rows.items()
    }


def _lines(path: Path) -> list[str]:
    """The sentences of an original file, without Unicode's white space around them, as in the hub's data set.

    Blank lines are none.
    """
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({hub.one_line(error)}); a readable file would do") from error
    # Only "\n" ends a line: sentences hold U+0085 (Windows' code page: an ellipsis), at which str.splitlines() breaks.
    return [sentence for line in text.split("\n") if (sentence := line.strip())]


def _table(where: str, texts: Sequence[str], labels: Sequence[int], names: tuple[str, ...]) -> Table:
    """A table of our own making, whose rows are counted from 1."""
    places = Places((where,), "row", bytes(len(texts)), range(1, len(texts) + 1))
    return Table(places, texts, labels, names)


def _nothing(rows: Rows) -> Table:
    """The table of a file without rows."""
    return Table(Places((rows.where,), rows.unit, (), ()), (), ())
