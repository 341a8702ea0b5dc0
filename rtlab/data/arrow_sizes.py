"""How large an Arrow file is before anything of it is unfolded: rows and bytes of each of its messages.

A buffer may be compressed, and a file of a few MB unfold to many GB. The format says how large it gets: each message's
description has the number of its rows, and each compressed buffer begins with its own size. Source: the Arrow columnar
format, "Serialization and Interprocess Communication (IPC)", `Message.fbs` and `File.fbs`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

MAGIC = b"ARROW1"
# Places of fields in the tables of the format's description.
_HEADER_TYPE, _HEADER = 1, 2  # of a message
_DICTIONARIES, _BATCHES = 2, 3  # of a file's footer
_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3  # of a record batch
_DICTIONARY_DATA = 1
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # kinds of messages
_BUFFER, _BLOCK = 16, 24  # bytes of an entry


@dataclass(frozen=True)
class Size:
    """What a message unfolds to.

    Attributes:
        rows: those of a batch of records; none of a dictionary.
        size: bytes, unfolded.
        is_dictionary: whether it is one, which belongs to batches.
    """

    rows: int
    size: int
    is_dictionary: bool


def sizes(source: "pyarrow.MemoryMappedFile") -> Iterator[Size]:
    """The sizes of a file's or stream's messages, of which nothing is unfolded.

    Raises:
        pyarrow.ArrowInvalid: the description is damaged.
    """
    import pyarrow

    try:
        for message in _messages(source):
            if (found := _size(memoryview(message.metadata), message.body)) is not None:
                yield found
    except (struct.error, IndexError, OverflowError) as error:
        raise pyarrow.ArrowInvalid(f"a damaged description: {error}") from error


def _messages(source: "pyarrow.MemoryMappedFile") -> Iterator["pyarrow.ipc.Message"]:
    import pyarrow.ipc

    size = source.size()
    source.seek(0)
    if source.read(len(MAGIC)) != MAGIC:
        source.seek(0)
        yield from pyarrow.ipc.MessageReader.open_stream(source)
        return
    source.seek(size - 4 - len(MAGIC))
    (length,) = struct.unpack("<i", source.read(4))
    source.seek(max(size - 4 - len(MAGIC) - length, 0))
    footer = memoryview(source.read(max(length, 0)))
    root = _root(footer)
    for place in (_DICTIONARIES, _BATCHES):
        for at in _vector(footer, root, place, _BLOCK):
            (offset,) = struct.unpack_from("<q", footer, at)
            source.seek(offset)
            yield pyarrow.ipc.read_message(source)


def _size(table: memoryview, body: "pyarrow.Buffer | None") -> Size | None:
    """What a message unfolds to; None where it is a schema."""
    root = _root(table)
    kind_at = _field(table, root, _HEADER_TYPE)
    kind = table[kind_at] if kind_at else 0
    batch = _table(table, root, _HEADER)
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH) or not batch:
        return None
    if kind == _DICTIONARY_BATCH:
        batch = _table(table, batch, _DICTIONARY_DATA)
    rows_at = _field(table, batch, _ROWS)
    rows = struct.unpack_from("<q", table, rows_at)[0] if rows_at else 0
    compressed = bool(_field(table, batch, _COMPRESSION))
    data = memoryview(body or b"")
    size = 0
    for at in _vector(table, batch, _BUFFERS, _BUFFER):
        offset, length = struct.unpack_from("<qq", table, at)
        if offset < 0 or length < 0:
            raise struct.error("a buffer of less than no bytes")
        unfolded = struct.unpack_from("<q", data, offset)[0] if compressed and length >= 8 else length
        if unfolded < -1:
            raise struct.error("a buffer of less than no bytes")
        size += length if unfolded == -1 else unfolded  # -1: stored as it is
    return Size(0 if kind == _DICTIONARY_BATCH else rows, size, kind == _DICTIONARY_BATCH)


def _root(table: memoryview) -> int:
    return int(struct.unpack_from("<I", table, 0)[0])


def _field(data: memoryview, table: int, place: int) -> int:
    """Where a field of a table stands, 0 where the table has none."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, fields)
    at = 4 + 2 * place
    offset = struct.unpack_from("<H", data, fields + at)[0] if at < size else 0
    return table + int(offset) if offset else 0


def _table(data: memoryview, table: int, place: int) -> int:
    at = _field(data, table, place)
    return at + int(struct.unpack_from("<I", data, at)[0]) if at else 0


def _vector(data: memoryview, table: int, place: int, entry: int) -> range:
    """Where the entries of a vector stand."""
    if not (at := _table(data, table, place)):
        return range(0)
    (count,) = struct.unpack_from("<I", data, at)
    if count > len(data) // entry:
        raise struct.error("a list longer than its description")
    return range(at + 4, at + 4 + count * entry, entry)
