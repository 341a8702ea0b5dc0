"""Records of delimited text in any dialect: no record is swallowed by a stray quote in silence.

The standard library's reader parses what has quotes, strictly; a line without any is split. pandas is not used: it
guesses (`NA` is missing, `007` is 7, one column too many is an index), and a guess here changes an experiment silently.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MOST_LINES = 1000  # in one quoted text; more are a quote that was never closed
LONGEST_FIELD = 2**24
_ESCAPE = re.compile(r"\\(.)?", re.DOTALL)


@dataclass(frozen=True)
class Dialect:
    """How fields are told apart.

    Attributes:
        delimiter: between fields.
        quote: around fields that hold delimiters; empty where quotes are signs like others.
        spaced: whether spaces between a delimiter and a field are part of neither.
        escaped: whether a backslash takes the meaning of a quote, a delimiter or a backslash behind it.
    """

    delimiter: str
    quote: str = '"'
    spaced: bool = False
    escaped: bool = False


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        line: at which it begins.
        fields: None where the quotes do not fit.
        error: why they do not.
    """

    line: int
    fields: tuple[str, ...] | None
    error: str = ""


def read_records(lines: Iterator[str], dialect: Dialect, first: int = 1) -> Iterator[Record]:
    """Records with the lines at which they begin; blank lines are none.

    Where quotes do not fit, the record is its first line alone, and reading goes on with the next: a stray quote costs
    its own row and no other.

    Args:
        lines: with their ends.
        dialect: how fields are told apart.
        first: number of the first line.
    """
    csv.field_size_limit(LONGEST_FIELD)
    again: deque[str] = deque()
    number = first
    while (line := again.popleft() if again else next(lines, None)) is not None:
        if _is_plain(line, dialect):
            text = line.rstrip("\r\n")
            if text.strip() or dialect.delimiter in text:
                fields = text.split(dialect.delimiter)
                yield Record(number, tuple(field.lstrip(" ") for field in fields) if dialect.spaced else tuple(fields))
            number += 1
            continue
        taken: list[str] = []
        again.appendleft(line)
        try:
            yield Record(number, tuple(next(_reader(_taking(lines, again, taken), dialect))))
            number += len(taken)
        except csv.Error as error:
            yield Record(number, None, _plain(error, line))
            again.extendleft(reversed(taken[1:]))
            number += 1


def _is_plain(line: str, dialect: Dialect) -> bool:
    """Whether a line is parted at its delimiters, whatever else it holds."""
    return not (dialect.quote and dialect.quote in line) and not (dialect.escaped and "\\" in line)


def _reader(lines: Iterator[str], dialect: Dialect) -> Iterator[list[str]]:
    return csv.reader(
        (_as_read(line, dialect) for line in lines),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar="\\" if dialect.escaped else None,
        skipinitialspace=dialect.spaced,
        strict=True,
    )


def _as_read(line: str, dialect: Dialect) -> str:
    """A line as the library's reader takes it.

    It takes away every backslash, also one that escapes nothing, and finds text in the spaces behind a closing quote.
    """
    if dialect.escaped:
        meant = (dialect.quote, dialect.delimiter, "\\")
        line = _ESCAPE.sub(lambda found: found[0] if found[1] in meant else "\\\\" + (found[1] or ""), line)
    return _behind_a_quote(dialect).sub(dialect.quote, line) if dialect.spaced else line


@lru_cache
def _behind_a_quote(dialect: Dialect) -> re.Pattern[str]:
    """A closing quote with spaces behind it: one that is not half of a doubled one."""
    quote, delimiter = re.escape(dialect.quote), re.escape(dialect.delimiter)
    return re.compile(rf"(?<!{quote}){quote} +(?={delimiter}|[\r\n]*\Z)")


def _taking(lines: Iterator[str], again: deque[str], taken: list[str]) -> Iterator[str]:
    """The lines that are still to be read, noting which were taken."""
    while (line := again.popleft() if again else next(lines, None)) is not None:
        taken.append(line)
        if len(taken) > MOST_LINES:
            raise csv.Error(f"a quote that is not closed within {MOST_LINES:,} lines")
        yield line


def _plain(error: csv.Error, line: str) -> str:
    """What the reader means by its error."""
    if "unexpected end of data" in str(error):
        return "a quote that is never closed"
    if "expected after" in str(error):
        behind = " (behind a backslash: a doubled quote would do)" if '\\"' in line else ""
        return f"text behind a closing quote{behind}"
    return str(error)
