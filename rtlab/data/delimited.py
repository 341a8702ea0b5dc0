"""Rows of CSV and TSV files: the delimiter found, line numbers kept, and no row swallowed by a stray quote in silence.

The standard library's reader parses what has quotes, strictly; a line without any is split. pandas is not used: it
guesses (`NA` is missing, `007` is 7, one column too many is an index), and a guess here changes an experiment silently.
"""

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rtlab.data.row import Fault, Row, Rows
from rtlab.data.streams import lines_of, survey

DELIMITERS = (",", "\t", ";", "|")
SAMPLE = 100  # records that the delimiter is found by
MOST_LINES = 1000  # in one quoted text; more are a quote that was never closed
LONGEST_FIELD = 2**24

OUT_OF_PLACE = "with a quote out of place"
OF_ANOTHER_WIDTH = "of another width"
REPEATED = "with the column names once more"


@dataclass(frozen=True)
class _Record:
    line: int
    fields: tuple[str, ...] | None  # None where the quotes do not fit
    error: str = ""


def open_delimited(path: Path, name: str) -> Rows:
    """A CSV or TSV file.

    Args:
        path: the file.
        name: its name as to format: a file called `.tsv` has tabs, whatever else its lines hold.

    Raises:
        ValueError: the file cannot be read, or its first line names a column twice.
    """
    found = survey(path)
    preferred = "\t" if name.lower().endswith((".tsv", ".tab")) else ""
    start = list(islice((line for line in lines_of(path, found) if line.strip()), SAMPLE))
    if not start:
        raise ValueError(f"{path}: empty; a line of column names and a row for each sentence would do")
    declared = re.fullmatch(r"sep=(.)[\r\n]*", start[0], re.IGNORECASE)  # as Excel writes it
    skipped = 1 if declared else 0
    delimiter = declared[1] if declared else _delimiter(start, preferred)
    header = next(_records(iter(start[skipped:]), delimiter), _Record(1, ()))
    behind = (header.fields or ())[1:]
    spaced = bool(behind) and all(field.startswith(" ") for field in behind)
    header = next(_records(iter(start[skipped:]), delimiter, spaced=spaced), header)
    if header.fields is None:
        raise ValueError(f"{path}, line 1: {header.error}; a line of column names would do")
    columns = _column_names(path, header.fields)

    def read() -> Iterator[Row]:
        records = _records(lines_of(path, found), delimiter, spaced=spaced)
        for record in islice(records, skipped + 1, None):
            yield _row(record, columns, delimiter)

    return Rows(
        where=str(path),
        columns=columns,
        unit="line",
        read=read,
        typed=False,
        headed=True,
        classes={},
        beyond=found.beyond,
        notes=(found.note,) if found.note else (),
    )


def _row(record: _Record, columns: tuple[str, ...], delimiter: str) -> Row:
    if record.fields is None:
        return Row(record.line, {}, Fault(OUT_OF_PLACE, record.error))
    if len(record.fields) != len(columns):
        fields = "field" if len(record.fields) == 1 else "fields"
        detail = f"{len(record.fields)} {fields} for {len(columns)} columns"
        return Row(record.line, {}, Fault(OF_ANOTHER_WIDTH, detail))
    if [*map(_bare, record.fields)] == [_bare(name) for name in columns]:  # as where files were joined
        return Row(record.line, {}, Fault(REPEATED))
    within = tuple(
        (record.line + offset, dict(zip(columns, fields, strict=True)))
        for offset, fields in _rows_within(record.fields, delimiter)
    )
    return Row(record.line, dict(zip(columns, record.fields, strict=True)), None, within)


def _rows_within(fields: Sequence[str], delimiter: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Lines of a quoted field that are as wide as a row, alone or with the fields beside them; with their offsets.

    Fields beside the line are given as "": only what stands in the line itself can tell that it is a row.
    """
    above = 0
    for index, field in enumerate(fields):
        pieces = re.split(r"\r\n|\n|\r", field)
        for offset, piece in enumerate(pieces if len(pieces) > 1 else ()):
            own = piece.split(delimiter)
            before = [""] * (index if offset == 0 else 0)
            after = [""] * (len(fields) - index - 1 if offset == len(pieces) - 1 else 0)
            for candidate in ([*before, *own, *after], own):
                if len(candidate) == len(fields) and len(own) > 1:
                    yield above + offset, candidate
                    break
        above += len(pieces) - 1


def _records(lines: Iterator[str], delimiter: str, *, spaced: bool = False) -> Iterator[_Record]:
    """Records with the lines at which they begin; blank lines are none. A space behind each delimiter may be its own.

    Where quotes do not fit, the record is its first line alone, and reading goes on with the next: a stray quote costs
    its own row and no other.
    """
    csv.field_size_limit(LONGEST_FIELD)
    again: deque[str] = deque()
    line_number = 1
    while (first := again.popleft() if again else next(lines, None)) is not None:
        if '"' not in first:
            text = first.rstrip("\r\n")
            if text.strip() or delimiter in text:
                fields = text.split(delimiter)
                yield _Record(line_number, tuple(field.lstrip(" ") for field in fields) if spaced else tuple(fields))
            line_number += 1
            continue
        taken: list[str] = []
        again.appendleft(first)
        try:
            fields = next(
                csv.reader(_taking(lines, again, taken), delimiter=delimiter, strict=True, skipinitialspace=spaced)
            )
            yield _Record(line_number, tuple(fields))
            line_number += len(taken)
        except csv.Error as error:
            yield _Record(line_number, None, _plain(error))
            again.extendleft(reversed(taken[1:]))
            line_number += 1


def _taking(lines: Iterator[str], again: deque[str], taken: list[str]) -> Iterator[str]:
    """The lines that are still to be read, noting which were taken."""
    while (line := again.popleft() if again else next(lines, None)) is not None:
        taken.append(line)
        if len(taken) > MOST_LINES:
            raise csv.Error(f"a quote that is not closed within {MOST_LINES:,} lines")
        yield line


def _plain(error: csv.Error) -> str:
    """What the reader means by its error."""
    if "unexpected end of data" in str(error):
        return "a quote that is never closed"
    if "expected after" in str(error):
        return "text behind a closing quote"
    return str(error)


def _delimiter(start: Sequence[str], preferred: str) -> str:
    """The delimiter under which most of the first records are as wide as the first of them."""
    if not start:
        return ","
    if preferred and preferred in start[0]:
        return preferred
    best, most = ",", (0.0, 1)
    for delimiter in DELIMITERS:
        widths = [len(record.fields or ()) for record in _records(iter(start), delimiter)]
        if not widths or widths[0] < 2:
            continue
        found = (Counter(widths)[widths[0]] / len(widths), widths[0])
        if found > most:
            best, most = delimiter, found
    return best


def _bare(name: str) -> str:
    """A column's name without spaces around it, and without a byte order mark that another was put before."""
    return name.strip().lstrip("\ufeff").strip()


def _column_names(path: Path, fields: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns; those without one are named by their place."""
    if any("\udc80" <= sign <= "\udcff" for field in fields for sign in field):
        raise ValueError(f"{path}: undecodable bytes in the column names; the same file saved as UTF-8 would do")
    names = tuple(_bare(field) or f"column {number}" for number, field in enumerate(fields, 1))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{path}: two columns are called {twice[0]!r}; a name for each would do")
    return names
