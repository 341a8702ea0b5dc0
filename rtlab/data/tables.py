"""From files with a `text` and a `label` column to texts and class indices, with errors that name the file and the row.

Two steps: a reader per format returns a `Table` (texts checked, labels as they stand in the file), then `encode` turns
the labels of all splits into class indices, which train alone defines. The readers use the standard library and
pyarrow, not pandas: pandas guesses (`NA` is missing, `007` is 7, one column too many is an index), and a guess here
changes an experiment silently.

Rows are counted from 1, a CSV file's header not included; in a `.jsonl` file the row is the line.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rtlab.data.splits import Split
from rtlab.hub import one_line, quiet

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

FORMATS = (".parquet", ".csv", ".jsonl")
COLUMNS = ("text", "label")

Label = int | str
Classes = dict[tuple[type, Label], int]


@dataclass(frozen=True)
class Table:
    """One split as its file has it.

    Attributes:
        where: the file, or the split, as messages name it.
        texts: the sentences, all of them usable strings.
        labels: what the label column holds, unchecked.
        label_names: the class names that the file itself declares (`datasets.ClassLabel`), None where it declares none.
        typed: whether the format tells a number from a string; CSV does not.
    """

    where: str
    texts: tuple[str, ...]
    labels: tuple[object, ...]
    label_names: tuple[str, ...] | None = None
    typed: bool = True


def read_file(path: Path) -> Table:
    """Read one `.parquet`, `.csv` or `.jsonl` file.

    Args:
        path: the file; its suffix says how to read it. Text files are UTF-8, a byte order mark is skipped.

    Returns:
        Its rows, texts checked.

    Raises:
        ValueError: the file cannot be read or decoded, a column is missing, or a row has no usable text.
    """
    readers = {".parquet": _read_parquet, ".csv": _read_csv, ".jsonl": _read_jsonl}
    return readers[path.suffix](path)


def read_snapshot(path: Path, dataset: str) -> dict[str, Table]:
    """Read a hub data set's files with `datasets.load_dataset`, which knows its card's file patterns and class names.

    Args:
        path: the directory of the files.
        dataset: the hub id, for messages.

    Returns:
        Split name to table, for all the splits there are.

    Raises:
        ValueError: the files cannot be read, a column is missing, or a row has no usable text.
    """
    import datasets
    import huggingface_hub.utils

    # Its Arrow files go to a scratch directory: they take 0.2 s, and no stale or half-written copy can ever be met.
    with (
        quiet(datasets.utils),
        quiet(huggingface_hub.utils),  # which reads the card
        TemporaryDirectory(prefix="rtlab-") as scratch,
    ):
        try:
            splits = datasets.load_dataset(str(path), cache_dir=scratch)
        # Somebody else's files and card: it raises everything, down to AttributeError for a feature oddly described.
        except Exception as error:
            found = one_line(error.__cause__ or error).replace(str(path), dataset)
            raise ValueError(f"dataset {dataset!r}: {found}; what `datasets` reads without options would do") from error
        return {name: _from_rows(f"dataset {dataset!r}, {name}", rows) for name, rows in splits.items()}


def encode(tables: Mapping[str, Table]) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Turn the labels of all splits into class indices; the train split says which classes there are.

    Integers must be 0..k-1 and are named by the file's `ClassLabel` or by their digits; strings are sorted; booleans
    are `false` 0 and `true` 1. CSV labels are numbers where all of train's are.

    Args:
        tables: split name to table, with `train` among them.

    Returns:
        The class names, and the splits by name.

    Raises:
        ValueError: a split that is empty or has one class only; a label that is missing, of another type, not 0..k-1 or
            not in train, with its file and row.
    """
    train = tables["train"]
    numeric = all(type(label) is int if train.typed else _number(label) is not None for label in train.labels)
    labels = {name: _checked_labels(table, numeric) for name, table in tables.items()}
    classes = _classes(train, labels["train"])
    names = _names(train, tuple(label for _, label in classes))
    for table in tables.values():
        if table.label_names not in (None, train.label_names):
            both = f"classes {table.label_names}, but {train.where} has {train.label_names}"
            raise ValueError(f"{table.where}: {both}; the same classes in the same order would do")
    return names, {name: _split(table, labels[name], classes) for name, table in tables.items()}


def _from_rows(where: str, rows: "Dataset") -> Table:
    _need_columns(where, rows.column_names)
    names = getattr(rows.features["label"], "names", None)
    return _table(where, rows["text"][:], rows["label"][:], tuple(names) if names else None)


def _read_csv(path: Path) -> Table:
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        found = f"malformed CSV at line {reader.line_num} ({one_line(error)})"
        raise ValueError(f"{path}: {found}; CSV with quotes around its texts would do") from error
    header = rows[0] if rows else []
    _need_columns(str(path), header)
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            found = f"{len(row)} fields for {len(header)} columns"
            raise ValueError(f"{path}, row {number}: {found}; quotes around texts with commas would do")
    # An empty field is the only way of a CSV file to say that there is nothing.
    texts, labels = ([row[header.index(column)] or None for row in rows[1:]] for column in COLUMNS)
    return Table(str(path), tuple(_checked_texts(str(path), texts)), tuple(labels), typed=False)


def _read_jsonl(path: Path) -> Table:
    # Only "\n" ends a line: JSON strings may hold U+2028, U+0085 and all else that str.splitlines() breaks at.
    lines = _decoded(path).split("\n")
    if not lines[-1].strip():
        lines.pop()
    rows = [_json_object(f"{path}, line {number}", line) for number, line in enumerate(lines, 1)]
    _need_columns(str(path), tuple(rows[0]) if rows else ())
    texts, labels = ([row.get(column) for row in rows] for column in COLUMNS)
    return _table(str(path), texts, labels)


def _json_object(where: str, line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        # Its own message says "line 1", of the line.
        found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else one_line(error)
        raise ValueError(f"{where}: malformed JSON ({found}); one object a line would do") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: JSON, but of type {type(value).__name__}; one object a line would do")
    return value


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = file.read(columns=[name for name in COLUMNS if name in schema.names]).to_pydict()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no readable parquet file ({one_line(error)}); a whole one would do") from error
    _need_columns(str(path), schema.names)
    return _table(str(path), columns["text"], columns["label"], _declared_names(schema))


def _declared_names(schema: "pyarrow.Schema") -> tuple[str, ...] | None:
    """The class names of a `datasets.ClassLabel` column, which `datasets` notes in the schema's metadata."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        return tuple(info["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
        return data.decode("utf-8").removeprefix("\ufeff")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)}); a readable file would do") from error
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise ValueError(f"{path}: not UTF-8 ({found}); the same file saved as UTF-8 would do") from error


def _need_columns(where: str, columns: Sequence[str]) -> None:
    missing = [repr(name) for name in COLUMNS if name not in columns]
    if missing:
        there = ", ".join(map(repr, columns)) or "none"
        raise ValueError(
            f"{where}: no column {' and no '.join(missing)} (columns: {there}); 'text' and 'label' would do"
        )


def _table(
    where: str, texts: Sequence[object], labels: Sequence[object], names: tuple[str, ...] | None = None
) -> Table:
    return Table(where, tuple(_checked_texts(where, texts)), tuple(labels), names)


def _checked_texts(where: str, texts: Sequence[object]) -> Iterator[str]:
    for row, text in enumerate(texts, 1):
        if _is_nothing(text):
            raise ValueError(f"{where}, row {row}: no text; a string in every row would do")
        if not isinstance(text, str):
            found = f"text {text!r:.60} is of type {type(text).__name__}"
            raise ValueError(f"{where}, row {row}: {found}; a string would do")
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            # JSON can spell half of a surrogate pair; no tokenizer can read it.
            raise ValueError(f"{where}, row {row}: half of a surrogate pair in the text; valid Unicode would do")
        yield text


def _checked_labels(table: Table, numeric: bool) -> tuple[Label, ...]:
    labels = table.labels
    if not table.typed and numeric:
        labels = tuple(label if (number := _number(label)) is None else number for label in labels)
    return tuple(_checked_label(f"{table.where}, row {row}", label) for row, label in enumerate(labels, 1))


def _checked_label(where: str, label: object) -> Label:
    if _is_nothing(label) or label == "":
        raise ValueError(f"{where}: no label; an integer or a string in every row would do")
    if not isinstance(label, int | str):
        found = f"label {label!r:.60} is of type {type(label).__name__}"
        raise ValueError(f"{where}: {found}; integers 0..k-1 or strings would do")
    if isinstance(label, int) and label < 0:
        # -1 is the hub's habit for a test split whose labels are kept secret.
        raise ValueError(f"{where}: negative label {label}; integers 0..k-1 or strings would do")
    return label


def _number(label: object) -> int | float | None:
    """What a CSV field says as a number, None where it is none."""
    for number in (int, float):
        try:
            return number(str(label))
        except ValueError:
            continue
    return None


def _classes(train: Table, labels: Sequence[Label]) -> Classes:
    """The labels of train, each with its class index; the type belongs to the key, because to Python True is 1."""
    for row, label in enumerate(labels, 1):
        if type(label) is not type(labels[0]):
            both = f"{labels[0]!r:.60} in row 1 and {label!r:.60} in row {row}"
            raise ValueError(f"{train.where}: labels of two types, {both}; only integers or only strings would do")
    return {(type(label), label): index for index, label in enumerate(sorted({*labels}))}


def _names(train: Table, found: Sequence[Label]) -> tuple[str, ...]:
    if not all(type(label) is int for label in found):
        return tuple(label if isinstance(label, str) else str(label).lower() for label in found)
    names = train.label_names or tuple(map(str, range(len(found))))
    if tuple(found) != tuple(range(len(names))):
        declared = f" of {len(names)} classes declared, {_some(names)}" if train.label_names else ""
        what = f"integer labels {_some(found)}{declared}"
        raise ValueError(f"{train.where}: {what}; 0..k-1 without a gap, or strings would do")
    return names


def _split(table: Table, labels: Sequence[Label], classes: Classes) -> Split:
    if not labels:
        raise ValueError(f"{table.where}: no sentences; some of each class would do")
    for row, label in enumerate(labels, 1):
        if (type(label), label) not in classes:
            found = f"label {label!r:.60} is not in train, which has {_some([label for _, label in classes])}"
            raise ValueError(f"{table.where}, row {row}: {found}; one of those would do")
    if len(set(labels)) == 1:
        raise ValueError(
            f"{table.where}: the only label is {labels[0]!r:.60}; sentences of two or more classes would do"
        )
    return Split(table.texts, tuple(classes[type(label), label] for label in labels))


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _some(values: Sequence[Label]) -> str:
    shown = ", ".join(f"{value!r:.60}" for value in values[:8])
    return shown if len(values) <= 8 else f"{shown} and {len(values) - 8} more"
