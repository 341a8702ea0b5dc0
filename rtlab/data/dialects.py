"""The dialect of a delimited file, by its first lines: delimiter, quotes, escapes, and what stands above the names.

A variant is taken where more of the first records fit the column names under it than under plain CSV, or where every
line shows it. What differs from plain CSV is said.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rtlab.data.csv_records import Dialect, Record, read_records

DELIMITERS = (",", "\t", ";", "|")
_SHARE = 0.9  # of the first lines that stand in single quotes
_QUOTED = re.compile(r' *"(?:[^"]|"")*" *')


@dataclass(frozen=True)
class Form:
    """What is known of a file by its first lines.

    Attributes:
        dialect: how fields are told apart.
        above: lines above the column names.
        header: the column names as they stand there.
        notes: what was assumed, a sentence each.
    """

    dialect: Dialect
    above: int
    header: Record
    notes: tuple[str, ...] = ()


def find_form(name: str, start: Sequence[str], preferred: str) -> Form:
    """Find a file's dialect.

    Args:
        name: of the file, for notes.
        start: its first lines, at least one that is not blank.
        preferred: the delimiter that its name says, "" for none.
    """
    above = next(number for number, line in enumerate(start) if line.strip())
    declared = re.fullmatch(r'"?sep=(.)"?[\r\n]*', start[above], re.IGNORECASE)  # as Excel writes it
    above += 1 if declared else 0
    comments = _comments(start[above:], declared[1] if declared else "")
    above += comments
    rest = [line for line in start[above:] if line.strip()]
    dialect = _dialect(rest, declared[1] if declared else _delimiter(rest, preferred))
    header = _fitted([*read_records(iter(start[above:]), dialect, above + 1)] or [Record(above + 1, ())])
    notes = [f"Comments above the columns of {name}: {comments} lines."] if comments else []
    return Form(dialect, above, header, (*notes, *_notes(name, dialect)))


def _fitted(records: Sequence[Record]) -> Record:
    """The column names, where they or all rows alone end with a delimiter; else as they are."""
    header, rows = records[0], [record.fields for record in records[1:] if record.fields is not None]
    names = header.fields or ()
    wider = {len(fields) - len(names) for fields in rows}
    if wider == {1} and not any(fields[-1].strip() for fields in rows):
        return replace(header, fields=(*names, ""))
    return replace(header, fields=names[:-1]) if wider == {-1} and len(names) > 1 and not names[-1].strip() else header


def quotes_are_signs(lines: Iterator[str], width: int) -> bool:
    """Whether the quotes of a file with tabs enclose nothing: parted at its tabs alone, every line is as wide as a row.

    One field at least begins with a quote and goes on behind the next, or has no second one: as CSV it would be broken.
    Many programs write tabs so, as texts hold none. Where half of the lines have a field in quotes, or a quote is
    doubled within one, quotes are quotes, and the broken one is damage.
    """
    number = enclosed = 0
    stray = False
    for line in lines:
        fields = line.rstrip("\r\n").split("\t")
        if line.strip() and len(fields) != width:
            return False
        number += 1
        if '"' in line:
            quoted = [field for field in fields if _QUOTED.fullmatch(field)]
            if any('""' in field.strip(' "') for field in quoted):
                return False
            enclosed += bool(quoted)
            stray = stray or any(field.startswith('"') for field in fields if field not in quoted)
    return stray and enclosed * 2 < number


def _comments(lines: Sequence[str], delimiter: str) -> int:
    """How many first lines begin with `#` and are no column names: they have not as many fields as the line below."""
    first = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    if not first:
        return 0
    delimiter = delimiter or _delimiter(lines[first:], "")
    width = lines[first].count(delimiter)
    return first if all(line.count(delimiter) != width for line in lines[:first] if line.strip()) else 0


def _delimiter(start: Sequence[str], preferred: str) -> str:
    """The delimiter under which most of the first records are as wide as the first of them."""
    if not start:
        return ","
    if preferred and preferred in start[0]:
        return preferred
    best, most = ",", (0.0, 1)
    for delimiter in DELIMITERS:
        widths = [len(record.fields or ()) for record in read_records(iter(start), Dialect(delimiter))]
        if not widths or widths[0] < 2:
            continue
        found = (Counter(widths)[widths[0]] / len(widths), widths[0])
        if found > most:
            best, most = delimiter, found
    return best


def _dialect(start: Sequence[str], delimiter: str) -> Dialect:
    """The dialect under which most of the first records are as wide as the column names."""
    plain = Dialect(delimiter)
    header = next(read_records(iter(start), plain), Record(1, ()))
    behind = (header.fields or ())[1:]
    if bool(behind) and all(field.startswith(" ") for field in behind):
        plain = replace(plain, spaced=True)
    if _in_single_quotes(start[1:], delimiter):
        plain = replace(plain, quote="'")
    if _quotes_behind_spaces(start[1:], plain):
        plain = replace(plain, spaced=True)
    candidates = [plain, replace(plain, spaced=True)]
    if any(f"\\{sign}" in line for line in start for sign in (plain.quote, delimiter)):
        candidates += [replace(each, escaped=True) for each in candidates]
    return max(candidates, key=lambda each: _fitting(start, each))  # of equal ones the first


def _fitting(start: Sequence[str], dialect: Dialect) -> int:
    """How many records are as wide as the first."""
    records = [*read_records(iter(start), dialect)]
    width = len(records[0].fields or ()) if records else 0
    return sum(record.fields is not None and len(record.fields) == width for record in records)


def _in_single_quotes(lines: Sequence[str], delimiter: str) -> bool:
    """Whether nearly every line has a field that single quotes enclose, and hardly any one that double quotes do."""
    sign = re.escape(delimiter)
    begins, ends = re.compile(rf"(?:^|{sign}) ?'"), re.compile(rf"' ?(?:{sign}|[\r\n]*\Z)")
    double = re.compile(rf'(?:^|{sign}) ?"')
    if len(lines) < 2 or sum(map(bool, map(double.search, lines))) > len(lines) * (1 - _SHARE):
        return False
    found = sum(bool(begins.search(line) and ends.search(line)) for line in lines)
    return found >= len(lines) * _SHARE


def _quotes_behind_spaces(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether a field of each line begins with spaces and a quote that another closes: the spaces are none of its."""
    sign, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    begins = re.compile(rf"(?:^|{sign}) +{quote}.*{quote} *(?:{sign}|[\r\n]*\Z)")
    return len(lines) > 1 and sum(bool(begins.search(line)) for line in lines) >= len(lines) * _SHARE


def _notes(name: str, dialect: Dialect) -> Iterator[str]:
    if dialect.quote == "'":
        yield f"Fields of {name} stand in single quotes."
    if dialect.escaped:
        yield f"A backslash in {name} takes the meaning of the quote or delimiter behind it."
