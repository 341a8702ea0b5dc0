"""Rows of Parquet and Arrow files, a batch at a time; types and class names are as the file's schema has them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.data.arrow_sizes import Size, sizes
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
    with _readable(path, "arrow"), _ipc(path) as (source, reader):
        schema, messages = reader.schema, [*sizes(source)]
    batch_sizes = _batch_sizes(messages)

    def batches(reader: "pyarrow.ipc.RecordBatchReader") -> Iterator["pyarrow.RecordBatch"]:
        whole = iter(reader) if not hasattr(reader, "num_record_batches") else _of_file(reader)
        for _, batch in zip(_checked(path, batch_sizes), whole, strict=True):
            batch.validate(full=True)  # a damaged file's offsets may point anywhere
            yield from (batch.slice(start, BATCH) for start in range(0, batch.num_rows, BATCH))

    def read() -> Iterator[Row]:
        with _readable(path, "arrow"), _ipc(path) as (_, reader):
            yield from numbered(batches(reader))

    beyond = _beyond(sum(each.rows for each in messages), sum(each.size for each in messages))
    with _readable(path, "arrow"):  # names may be damaged, too
        return _rows(path, schema, read, beyond)


def _checked(path: Path, batch_sizes: Iterable[int]) -> Iterator[int]:
    """The sizes of batches, each refused where it is too large: to be asked for before the batch unfolds."""
    for size in batch_sizes:
        if size > MOST_BYTES:
            what = f"a batch of rows of {size:,} bytes unfolded, more than the {MOST_BYTES / 2**30:g} GiB that are read"
            raise ValueError(f"{path}: {what}; smaller batches would do")
        yield size


def _batch_sizes(messages: Sequence[Size]) -> list[int]:
    """What each batch of rows unfolds to, with the dictionaries that are read before it."""
    found, before = [], 0
    for message in messages:
        before += message.size
        if not message.is_dictionary:
            found.append(before)
            before = 0
    return found


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
    return Rows(
        where=str(path),
        columns=names,
        unit="row",
        read=read,
        classes=declared_classes(schema),
        beyond=beyond,
        column_notes={
            each.name: f"Column {each.name!r} holds bytes and was read as UTF-8."
            for each in schema
            if _is_bytes(each.type)
        },
    )


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
    if _is_bytes(column.type):
        return _decoded(column.to_pylist())
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:  # which rows these are is told by the row
        return _decoded(column.cast(pyarrow.binary()).to_pylist())
    return values


def _decoded(values: Sequence[bytes | None]) -> list[object]:
    return [None if each is None else each.decode("utf-8", "surrogateescape") for each in values]


def _of_file(reader: "pyarrow.ipc.RecordBatchFileReader") -> Iterator["pyarrow.RecordBatch"]:
    return (reader.get_batch(number) for number in range(reader.num_record_batches))


def _is_text(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _is_bytes(kind: "pyarrow.DataType") -> bool:
    """Whether a column holds bytes, as programs write texts that know no type of texts."""
    import pyarrow

    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _beyond(rows: int, size: int) -> str | None:
    if rows > MOST_ROWS:
        return f"{rows:,} rows, more than the {MOST_ROWS:,} that are read"
    if size > MOST_BYTES:
        return f"{size:,} bytes unfolded, more than the {MOST_BYTES / 2**30:g} GiB that are read"
    return None


@contextmanager
def _ipc(path: Path) -> Iterator[tuple["pyarrow.MemoryMappedFile", "pyarrow.ipc.RecordBatchReader"]]:
    import pyarrow.ipc

    with pyarrow.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
        with opened as reader:
            yield source, reader


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no readable {kind} file ({one_line(error)}); a whole one would do") from error
