"""Files as bytes: plain or compressed, unfolded as a stream and never beyond a bound, and what their bytes are.

A compressed file of 10 MB can unfold to hundreds of GB, so a first pass counts what a file holds in constant memory and
stops at a bound; only then is anything kept. The price is that a file is read twice, which takes some 0.5 s a GB.
"""

import codecs
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from rtlab.hub import one_line

# What is read of one file: three times the sentences of the largest public sets of reviews.
MOST_BYTES = 2 * 2**30
MOST_ROWS = 5_000_000
LONGEST_LINE = 2**24  # characters
MOST_UNFOLDED = 100  # times the compressed size, beyond `FREELY_UNFOLDED`: texts unfold to 3 to 20 times theirs
FREELY_UNFOLDED = 2**28
OBJECTS_A_ROW = 4  # of JSON, at most, where a file's rows are estimated: a row may hold other objects
CHUNK = 2**20
MOST_BEYOND_ASCII = 0.3  # of the bytes of a text in Latin-1; in French or Czech they are some 5 to 10 %

SHEET = "a spreadsheet; its sheet saved as CSV (in Excel: File, Save As, CSV UTF-8) would do"
COMPRESSED = (".gz", ".zst", ".zstd", ".zip")
_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_READ_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)
_UNDECODED = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_ASCII = bytes(range(0x80))
# Bytes that are letters or signs in Windows-1252 and control characters in Latin-1; five of them are neither.
_WINDOWS, _NEITHER = frozenset(range(0x80, 0xA0)), frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))


@dataclass(frozen=True)
class Survey:
    """What the bytes of a text file are.

    Attributes:
        encoding: as `codecs` calls it; undecodable bytes of UTF-8 come as lone surrogates (`surrogateescape`).
        line_end: what ends a line: a line feed, or in files without any a carriage return.
        beyond: how the file is larger than what is read, None where it is not.
        note: what was assumed of its encoding, None where nothing was.
    """

    encoding: str
    line_end: str
    beyond: str | None
    note: str | None

    @property
    def errors(self) -> str:
        """How undecodable bytes are read; UTF-16 has no bytes that could be escaped."""
        return "surrogatepass" if self.encoding == "utf-16" else "surrogateescape"


def data_name(path: Path) -> str:
    """The name that tells a file's format: without `.gz` or `.zst`, and that of a zip's only member.

    Raises:
        ValueError: a zip that cannot be read, or has not exactly one file.
    """
    match path.suffix.lower():
        case ".zip":
            with _readable(path), zipfile.ZipFile(path) as archive:
                return PurePosixPath(_member(archive, path).filename).name
        case ".gz" | ".zst" | ".zstd":
            return path.stem
    return path.name


@dataclass(frozen=True)
class Archive:
    """What a zip says of itself.

    Attributes:
        names: of its files.
        kind: what its file `mimetype` holds, as office documents have one; empty where there is none.
    """

    names: tuple[str, ...]
    kind: bytes


def beginning(path: Path, size: int) -> tuple[bytes, Archive | None]:
    """A file's first bytes, decompressed where it is compressed; those of the only file in a zip, and what the zip is.

    Args:
        path: the file.
        size: bytes, at most.

    Returns:
        The bytes, none of a zip of several files; and the zip, None where it is none.

    Raises:
        ValueError: the file cannot be read or decompressed.
    """
    with _readable(path), path.open("rb") as file:
        first = file.read(size)
        if first.startswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                return _beginning_of_zip(archive, size)
    if first.startswith((_GZIP, _ZSTD)):
        with unfolded(path) as stream:
            return stream.read(size), None
    return first, None


def _beginning_of_zip(archive: zipfile.ZipFile, size: int) -> tuple[bytes, Archive]:
    names = tuple(archive.namelist())

    def read(name: str) -> bytes:
        with archive.open(name) as stream:
            return stream.read(size)

    encrypted = any(one.flag_bits & 1 for one in archive.infolist())
    first = read(names[0]) if len(names) == 1 and not encrypted else b""
    return first, Archive(names, read("mimetype") if "mimetype" in names and not encrypted else b"")


@contextmanager
def unfolded(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes as a stream, decompressed where it is gzip, zstd or a zip of one file (told by its first bytes).

    Raises:
        ValueError: the file cannot be read or decompressed, also while the stream is read.
    """
    with _readable(path), path.open("rb") as file:
        match file.read(4):
            case start if start.startswith(_GZIP):
                import gzip

                with gzip.open(path) as stream:
                    yield io.BufferedReader(stream)
            case start if start == _ZSTD:
                import pyarrow

                with pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd") as stream:
                    yield stream
            case start if start == _ZIP:
                with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as stream:
                    yield stream
            case _:
                file.seek(0)
                yield file


def survey(path: Path, *, objects: bool = False) -> Survey:
    """Read a text file through once, in constant memory and up to the bounds, to see what it is.

    Args:
        path: the file.
        objects: whether rows are JSON objects, which need no line each.

    Raises:
        ValueError: the file cannot be read, or holds no text in an encoding that is read.
    """
    size = lines = objects_begun = zeros = undecoded = valid = high = 0
    bytes_seen: set[int] = set()
    beyond, has_feed = None, False
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with unfolded(path) as stream:
        start = chunk = stream.read(CHUNK)
        while chunk:
            size, zeros = size + len(chunk), zeros + chunk.count(0)
            lines, objects_begun = lines + chunk.count(b"\n"), objects_begun + (chunk.count(b"{") if objects else 0)
            if beyond := _beyond(size, max(lines, objects_begun // OBJECTS_A_ROW), path.stat().st_size):
                break
            text = decoder.decode(chunk)
            if not text.isascii():
                undecoded += len(_UNDECODED.findall(text))
                valid += len(_BEYOND_ASCII.findall(text))
                bytes_seen |= {*chunk}
                high += len(chunk.translate(None, _ASCII))
            chunk = stream.read(CHUNK)
        undecoded += 0 if beyond else len(decoder.decode(b"", final=True))
        has_feed = lines > 0
    encoding = _encoding(path, start, zeros / max(size, 1), undecoded, valid, frozenset(bytes_seen))
    if encoding in ("cp1252", "latin-1") and high > size * MOST_BEYOND_ASCII:
        found = f"no UTF-8, and hardly Latin-1 ({high / size:.0%} of its bytes are beyond ASCII, as of Cyrillic or"
        raise ValueError(f"{path}: {found} Chinese in an older encoding); the same file saved as UTF-8 would do")
    return Survey(encoding, "\n" if has_feed else "\r", beyond, _note(path, encoding))


def text_of(stream: IO[bytes], found: Survey) -> io.TextIOWrapper:
    """A stream of bytes as text, without a byte order mark, its line ends as they are."""
    return io.TextIOWrapper(stream, found.encoding, found.errors, newline=found.line_end)


def lines_of(path: Path, found: Survey) -> Iterator[str]:
    """The lines of a text file, with their ends.

    Raises:
        ValueError: the file cannot be read, or has a line of more than `LONGEST_LINE` characters.
    """
    number = 0
    with unfolded(path) as stream, text_of(stream, found) as text:
        try:
            while line := text.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise ValueError(
                        f"{path}, line {number}: longer than {LONGEST_LINE:,} characters; shorter texts would do"
                    )
                yield line
        except UnicodeDecodeError as error:
            what = f"behind line {number} there are bytes that are no {found.encoding.upper()} ({error.reason})"
            raise ValueError(f"{path}: {what}; the same file saved as UTF-8 would do") from error


def refuse_beyond(path: Path, beyond: str) -> None:
    """Refuse (`ValueError`) a file that is larger than what is read."""
    raise ValueError(f"{path}: {beyond}; a smaller file, or --limit N, which reads the first rows alone, would do")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)}); a whole, readable file would do") from error


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The only file in a zip; what macOS and folders add does not count."""
    members = [
        one
        for one in archive.infolist()
        if not one.is_dir() and not PurePosixPath(one.filename).name.startswith(".") and "__MACOSX" not in one.filename
    ]
    if any(one.filename == "[Content_Types].xml" for one in members):  # renamed .zip, where its name is looked at first
        raise ValueError(f"{path}: {SHEET}")
    if len(members) != 1:
        raise ValueError(f"{path}: a zip of {len(members)} files; a zip of one, or the unpacked directory would do")
    if members[0].flag_bits & 1:
        raise ValueError(f"{path}: an encrypted zip; the unpacked file would do")
    return members[0]


def _beyond(size: int, rows: int, on_disk: int) -> str | None:
    if size > max(MOST_UNFOLDED * on_disk, FREELY_UNFOLDED):
        return f"unfolds to more than {MOST_UNFOLDED} times its size"
    if rows > MOST_ROWS:
        return f"more than the {MOST_ROWS:,} rows that are read"
    if size > MOST_BYTES:
        return f"more than the {MOST_BYTES / 2**30:g} GiB that are read (unfolded, where it is compressed)"
    return None


def _encoding(path: Path, start: bytes, zeros: float, undecoded: int, valid: int, seen: frozenset[int]) -> str:
    """UTF-8 unless a mark says otherwise, or bytes do that are no UTF-8 in a file with next to nothing that is."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise ValueError(f"{path}: UTF-32; the same file saved as UTF-8 would do")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if zeros > 0.1:
        found = "binary, or UTF-16 without a byte order mark (a tenth of its bytes or more are NUL)"
        raise ValueError(f"{path}: {found}; the same file saved as UTF-8 would do")
    if undecoded <= valid or seen & _NEITHER:
        return "utf-8"
    return "cp1252" if seen & _WINDOWS else "latin-1"


def _note(path: Path, encoding: str) -> str | None:
    match encoding:
        case "latin-1":
            return f"{path.name} is no UTF-8 and was read as Latin-1."
        case "cp1252":
            return f"{path.name} is no UTF-8 and was read as Latin-1 with the signs of Windows-1252."
    return None
