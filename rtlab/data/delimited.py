"""Rows of CSV and TSV: the dialect found, line numbers kept, and no row swallowed by a stray quote in silence."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rtlab.data.csv_records import Dialect, Record, read_records
from rtlab.data.dialects import Form, find_form, quotes_are_signs
from rtlab.data.row import Fault, Row, Rows, reads_as_a_row
from rtlab.data.streams import Survey, lines_of, survey

SAMPLE = 100  # lines that the dialect is found by

OUT_OF_PLACE = "with a quote out of place"
OF_ANOTHER_WIDTH = "of another width"
REPEATED = "with the column names once more"


def open_delimited(path: Path, name: str) -> Rows:
    """A CSV or TSV file.

    Args:
        path: the file.
        name: its name as to format: a file called `.tsv` has tabs, whatever else its lines hold.

    Raises:
        ValueError: the file cannot be read, or its first line names a column twice.
    """
    found = survey(path)
    start = [*islice(lines_of(path, found), SAMPLE)]
    if not any(map(str.strip, start)):
        start = [*islice((line for line in lines_of(path, found) if line.strip()), 1)]
    if not start:
        raise ValueError(f"{path}: empty; a line of column names and a row for each sentence would do")
    form = find_form(path.name, start, "\t" if name.lower().endswith((".tsv", ".tab")) else "")
    if form.header.fields is None:
        raise ValueError(f"{path}, line {form.header.line}: {form.header.error}; a line of column names would do")
    dialect, notes = _without_quotes(path, found, form)
    columns = _column_names(path, form.header)

    def read() -> Iterator[Row]:
        lines = islice(lines_of(path, found), form.above, None)
        for record in islice(read_records(lines, dialect, form.above + 1), 1, None):
            yield _row(record, columns, dialect.delimiter)

    return Rows(
        where=str(path),
        columns=columns,
        unit="line",
        read=read,
        typed=False,
        header_line=form.header.line,
        classes={},
        beyond=found.beyond,
        notes=((found.note,) if found.note else ()) + notes,
    )


def _without_quotes(path: Path, found: Survey, form: Form) -> tuple[Dialect, tuple[str, ...]]:
    """The dialect, in which the quotes of a file with tabs may be signs like others; and what was assumed."""
    dialect = form.dialect
    if dialect.delimiter == "\t" and dialect.quote == '"' and not dialect.escaped and not found.beyond:
        lines = islice(lines_of(path, found), form.header.line, None)
        if quotes_are_signs(lines, len(form.header.fields or ())):
            note = f"Quotes in {path.name} enclose no fields and are signs of its texts."
            return replace(dialect, quote=""), (*form.notes, note)
    return dialect, form.notes


def _row(record: Record, columns: tuple[str, ...], delimiter: str) -> Row:
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


def _bare(name: str) -> str:
    """A column's name without spaces around it, and without a byte order mark that another was put before."""
    return name.strip().lstrip("\ufeff").strip()


def _column_names(path: Path, header: Record) -> tuple[str, ...]:
    """The names of the columns; those without one are named by their place."""
    fields = header.fields or ()
    if any("\udc80" <= sign <= "\udcff" for field in fields for sign in field):
        raise ValueError(f"{path}: undecodable bytes in the column names; the same file saved as UTF-8 would do")
    names = tuple(_bare(field) or f"column {number}" for number, field in enumerate(fields, 1))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        if not any(map(str.isidentifier, twice)):  # `0`, a date, a sentence: no name, but a value
            raise ValueError(reads_as_a_row(str(path), header.line, names))
        raise ValueError(f"{path}: two columns are called {twice[0]!r}; a name for each would do")
    return names
