"""Rows of Parquet and Arrow files, a batch at a time; types and class names are as the file's schema has them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.data.row import Row, Rows
from rtlab.data.streams import MOST_BYTES, MOST_ROWS
from rtlab.hub import one_line

if TYPE_CHECKING:
    import pyarrow

BATCH = 1000


def open_parquet(path: Path) -> Rows:
    """A Parquet file.

    Raises:
        ValueError: the file is none, or damaged.
    """
    import pyarrow.parquet

    with _readable(path, "parquet"), pyarrow.parquet.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        size = sum(
            file.metadata.row_group(group).column(column).total_uncompressed_size
            for group in range(file.metadata.num_row_groups)
            for column in range(file.metadata.num_columns)
        )
    # A repeated text is stored once: as a dictionary it is so in memory, too.
    texts = [field.name for field in schema if _is_text(field.type)]

    def read() -> Iterator[Row]:
        with _readable(path, "parquet"), pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            yield from numbered(file.iter_batches(batch_size=BATCH))

    return _rows(path, schema, read, _beyond(rows, size))


def open_arrow(path: Path) -> Rows:
    """An Arrow IPC file or stream, as `datasets` and `pyarrow` write it.

    Raises:
        ValueError: the file is neither, or damaged.
    """
    with _readable(path, "arrow"), _ipc(path) as reader:
        schema = reader.schema

    def batches(reader: "pyarrow.ipc.RecordBatchReader") -> Iterator["pyarrow.RecordBatch"]:
        whole = reader if not hasattr(reader, "num_record_batches") else _of_file(reader)
        for batch in whole:
            batch.validate(full=True)  # a damaged file's offsets may point anywhere
            yield from (batch.slice(start, BATCH) for start in range(0, batch.num_rows, BATCH))

    def read() -> Iterator[Row]:
        with _readable(path, "arrow"), _ipc(path) as reader:
            yield from numbered(batches(reader))

    return _rows(path, schema, read, None)


def declared_classes(schema: "pyarrow.Schema") -> dict[str, tuple[str, ...]]:
    """The class names of `datasets.ClassLabel` columns, which `datasets` notes in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        within = {name: _within_lists(of) for name, of in features.items()}
        return {name: tuple(of["names"]) for name, of in within.items() if isinstance(of, Mapping) and "names" in of}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return {}


def _within_lists(feature: object) -> object:
    """What a feature is a list of, as `datasets` describes lists now and did before; of no list, itself."""
    while isinstance(feature, list) or (isinstance(feature, Mapping) and "feature" in feature):
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    return feature


def _rows(path: Path, schema: "pyarrow.Schema", read: Callable[[], Iterator[Row]], beyond: str | None) -> Rows:
    names = tuple(schema.names)
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: two columns are called {twice!r}; a name for each would do")
    return Rows(where=str(path), columns=names, unit="row", read=read, classes=declared_classes(schema), beyond=beyond)


def numbered(batches: Iterator["pyarrow.RecordBatch"]) -> Iterator[Row]:
    """The rows of record batches, counted from 1."""
    number = 0
    for batch in batches:
        names = batch.schema.names
        for values in zip(*map(_values, batch.columns), strict=True):
            number += 1
            yield Row(number, dict(zip(names, values, strict=True)))


def _values(column: "pyarrow.Array") -> list[object]:
    """A column's values; those of a dictionary are one object each, however often they occur."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        found = _values(column.dictionary)
        return [None if index is None else found[index] for index in column.indices.to_pylist()]
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:  # which rows these are is told by the row
        some: list[bytes | None] = column.cast(pyarrow.binary()).to_pylist()
        values = [None if each is None else each.decode("utf-8", "surrogateescape") for each in some]
    return values


def _of_file(reader: "pyarrow.ipc.RecordBatchFileReader") -> Iterator["pyarrow.RecordBatch"]:
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def _is_text(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _beyond(rows: int, size: int) -> str | None:
    if rows > MOST_ROWS:
        return f"{rows:,} rows, more than the {MOST_ROWS:,} that are read"
    if size > MOST_BYTES:
        return f"{size:,} bytes unfolded, more than the {MOST_BYTES / 2**30:g} GiB that are read"
    return None


@contextmanager
def _ipc(path: Path) -> Iterator["pyarrow.ipc.RecordBatchReader"]:
    import pyarrow.ipc

    with pyarrow.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
        with opened as reader:
            yield reader


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no readable {kind} file ({one_line(error)}); a whole one would do") from error
