"""What a file is that holds no rows, told by its first bytes: a pointer, a web page, a program, a database, a pickle.

Such files bear the names of data often enough: what was downloaded was a page, a repository was cloned without its
large files, a sheet was renamed. Nothing is opened here; the table below holds what is known by its beginning.
"""

from collections.abc import Mapping
from pathlib import Path

from rtlab.data.streams import SHEET, Archive, beginning

BEGINNING = 4096  # bytes that are looked at
DELIMITED = (".csv", ".tsv", ".tab")

_SAVED = "the same data saved as CSV or Parquet would do"
_UNPACKED = "the file within it, unpacked, would do"
_IMAGE = f"an image; {_SAVED}"
_PROGRAM = "a program; a file of sentences and labels would do"
_PICKLE = f"a pickle, which could run code and is never opened; {_SAVED}"
_GET = "a {} pointer, not the data; the file that `{}` gets would do"
_R = "a data file of R; its table as CSV (in R: write.csv) would do"
_FASTTEXT = "lines of fastText (__label__NAME and a text); a CSV file with columns text and label would do"
_PAGE = "a web page (HTML), not the data; the file behind its download link would do"

# What a file begins with, and what is said of it. None of these is how a table of sentences begins.
_BEGINNINGS: Mapping[bytes, str] = {
    b"version https://git-lfs.github.com/spec/": _GET.format("Git LFS", "git lfs pull"),
    b"/annex/objects/": _GET.format("git-annex", "git annex get"),
    b"%PDF-": f"a PDF; {_SAVED}",
    b"{\\rtf": f"a document (RTF); {_SAVED}",
    b"\xd0\xcf\x11\xe0": SHEET,
    b"SQLite format 3\0": "an SQLite database; one table of it, saved as CSV, would do",
    **dict.fromkeys((*(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5)), b"(dp0\n", b"(lp0\n"), _PICKLE),
    **dict.fromkeys((b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"X\n\0\0\0"), _R),
    **dict.fromkeys((b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!/"), _PROGRAM),
    **dict.fromkeys((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"), _IMAGE),
    b"BZh91AY": f"compressed by bzip2; {_UNPACKED}",
    b"\xfd7zXZ\0": f"compressed by xz; {_UNPACKED}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive; {_UNPACKED}",
    b"Rar!\x1a\x07": f"a RAR archive; {_UNPACKED}",
    b"\x89HDF\r\n": f"an HDF5 file; {_SAVED}",
    b"\x93NUMPY": f"a NumPy array; {_SAVED}",
    b"FEA1": f"a Feather file of version 1; {_SAVED}",
    b"Obj\x01": f"an Avro file; {_SAVED}",
    b"PK\x05\x06": "an empty zip; a zip of one file would do",
}
_MARKUP: Mapping[bytes, str] = {
    **dict.fromkeys((b"<!doctype html", b"<html", b"<head", b"<body"), _PAGE),
    **dict.fromkeys((b"<?xml", b"<!doctype", b"<error>"), f"XML, and no rows; {_SAVED}"),
    b"@relation": f"an ARFF file of Weka's; {_SAVED}",
    b"__label__": _FASTTEXT,
}
# What is read, but goes by its name.
_RENAMED: Mapping[bytes, str] = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}
# What is told by two marks: one alone begins a table of `ORCID` or `MZ`, too.
_TAR = (257, b"ustar")
_ZEROS_FOLLOW: Mapping[bytes, str] = {b"MZ": _PROGRAM, b"ORC": f"an ORC file; {_SAVED}"}


def refuse_foreign(path: Path, suffix: str) -> None:
    """Refuse a file whose first bytes, decompressed where it is compressed, say that it holds no rows.

    Args:
        path: the file.
        suffix: of its name, which tells the format that it should have.

    Raises:
        ValueError: it is something else; one line that says what, and what would do.
    """
    first, archive = beginning(path, BEGINNING)
    if archive is not None and (what := _of_archive(archive)):
        raise ValueError(f"{path}: {what}")
    own = _RENAMED.get(first[:6]) or _RENAMED.get(first[:4])
    what = _of_bytes(first) or (_of_text(first, suffix, own) if own != suffix else None)
    if what:
        raise ValueError(f"{path}: {what}")


def text_without_a_format(path: Path) -> str | None:
    """What stands in a file whose name tells no format, and what would do; None where its first line does not tell."""
    try:
        first, _ = beginning(path, BEGINNING)
    except ValueError:  # what matters is its name
        return None
    line = first.splitlines()[0] if first.strip() else b""
    if line.startswith(b"__label__"):
        return _FASTTEXT
    if b"\t" in line and b"\0" not in first:
        return "with tabs in its lines; the same file named .tsv, with a first line of column names, would do"
    return None


def _of_archive(archive: Archive) -> str | None:
    """What a zip is that holds no file of rows, by the names in it."""
    names = {*archive.names}
    if "[Content_Types].xml" in names:
        return SHEET if not any(name.startswith(("word/", "ppt/")) for name in names) else f"a document; {_SAVED}"
    if archive.kind.startswith(b"application/vnd.oasis.opendocument"):
        return SHEET if b"spreadsheet" in archive.kind else f"a document; {_SAVED}"
    if any(name.endswith("data.pkl") for name in names):
        return f"a file of PyTorch's, of pickles, which could run code and are never opened; {_SAVED}"
    if names and all(name.endswith(".npy") for name in names):
        return f"NumPy arrays; {_SAVED}"
    return None


def _of_bytes(first: bytes) -> str | None:
    if found := next((what for start, what in _BEGINNINGS.items() if first.startswith(start)), None):
        return found
    at, mark = _TAR
    if first[at:].startswith(mark):
        return f"a tar archive; {_UNPACKED}"
    return next(
        (what for start, what in _ZEROS_FOLLOW.items() if first.startswith(start) and b"\0" in first[:64]), None
    )


def _of_text(first: bytes, suffix: str, renamed: str | None) -> str | None:
    """What stands in a file that is not of the format that its name says."""
    if renamed:
        return f"a file of format {renamed}, under another name; the same file named {renamed} would do"
    bare = _bare(first)
    if found := next((what for start, what in _MARKUP.items() if bare.startswith(start)), None):
        return found
    if suffix in DELIMITED and bare.startswith((b'{"', b'[{"', b'{ "', b"[\n", b"[ {", b"{\n")):
        return "JSON, under another name; the same file named .json would do"
    return None


def _bare(first: bytes) -> bytes:
    """The beginning in lower case, without a byte order mark and white space before it."""
    return first.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
