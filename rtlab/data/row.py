"""A row of a person's file with all its columns, and what is known of the file that it stands in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Fault(NamedTuple):
    """Why a row cannot be used.

    Attributes:
        kind: what all rows of this kind have in common, as it stands behind "2 rows".
        detail: what this one has, "" where the kind says it all.
    """

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        number: where it begins: its line, or its row or file where the format has no lines; counted from 1.
        values: column to value, in the file's order; texts where the format has no types. Empty for a row that could
            not be read.
        fault: why it could not be read, None where it could.
        within: lines within a quoted field that read as rows themselves, as (line, column to value).
    """

    number: int
    values: Mapping[str, object]
    fault: Fault | None = None
    within: tuple[tuple[int, Mapping[str, object]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A file of rows.

    Attributes:
        where: the file as messages name it.
        columns: names of the columns, in the file's order.
        unit: what `Row.number` counts.
        read: reads the file from its beginning; `ValueError` where it is damaged.
        typed: whether the format tells a number from a text.
        header_line: the line of the column names, where a first row could stand by mistake; 0 where they have none.
        classes: column to the class names that the file itself declares for it (`datasets.ClassLabel`).
        beyond: how the file is larger than what is read, None where it is not.
        notes: what was assumed, a sentence each.
        column_notes: column to what was assumed of it, which is said where it is used.
    """

    where: str
    columns: tuple[str, ...]
    unit: Literal["line", "row", "file"]
    read: Callable[[], Iterator[Row]]
    typed: bool = True
    header_line: int = 0
    classes: Mapping[str, tuple[str, ...]]
    beyond: str | None = None
    notes: tuple[str, ...] = ()
    column_notes: Mapping[str, str] = field(default_factory=dict)


def reads_as_a_row(where: str, line: int, names: Sequence[str]) -> str:
    """What is said of a file that begins with a row in place of column names."""
    shown = ", ".join(f"{name!r:.40}" for name in names[:3])
    return f"{where}: line {line} reads as a row, not as column names ({shown}); a first line text,label would do"
