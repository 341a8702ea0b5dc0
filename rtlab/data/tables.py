"""From the rows of files to texts and labels that can be used, with every row that cannot be counted and named.

A row is bad whose text or label is missing or empty, that is wider or narrower than the others, or that could not be
read; so is one in which a stray quote has swallowed others. Bad rows are refused, or left out where that was asked for,
and never in silence. Blank lines are no rows.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from pathlib import Path
from sys import intern

from rtlab.data.columns import Columns
from rtlab.data.labels import Places, Table
from rtlab.data.missing import cleaned, is_nothing
from rtlab.data.row import Fault, Row, Rows
from rtlab.data.streams import LONGEST_LINE, MOST_BYTES, MOST_ROWS, refuse_beyond
from rtlab.experiment import DatasetOptions

# Of a file that is beyond what is read, a limit takes its sentences from so many first rows.
ROWS_FOR_A_LIMIT = 100_000

NO_TEXT, NO_LABEL, NO_SPLIT = Fault("without a text"), Fault("without a label"), Fault("without a split")
_SURROGATE, _ESCAPED = re.compile("[\ud800-\udfff]"), re.compile("[\udc80-\udcff]")

Faults = dict[str, tuple[int, tuple[str, ...]]]  # kind to how many, and the first two


@dataclass(frozen=True)
class Read:
    """What files of rows hold.

    Attributes:
        tables: by the split that their split column says, in lower case; one table under "" where none is read.
        notes: what was assumed, a sentence each.
    """

    tables: dict[str, Table]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Gathered:
    """Rows on their way into tables, column by column."""

    texts: list[str] = field(default_factory=list)
    labels: list[object] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    file_of: "array[int]" = field(default_factory=lambda: array("i"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))

    def keep(self, kept: Sequence[bool]) -> "_Gathered":
        """The rows that are marked."""
        if all(kept):
            return self
        return _Gathered(
            texts=[*compress(self.texts, kept)],
            labels=[*compress(self.labels, kept)],
            splits=[*compress(self.splits, kept)],
            file_of=array("i", compress(self.file_of, kept)),
            numbers=array("q", compress(self.numbers, kept)),
        )


def read_tables(opened: Sequence[Rows], columns: Columns, options: DatasetOptions, *, limit: int | None = None) -> Read:
    """Read files of one split, or of those that their split column says, as one.

    Args:
        opened: the files, in order.
        columns: what is read of them.
        options: whether bad rows are left out.
        limit: sentences that will be kept; a file beyond what is read is read only where one is given.

    Raises:
        ValueError: a file cannot be read or lacks a column, or there are bad rows.
    """
    _check_alike(opened, columns)
    found, faults, size = _Gathered(), Faults(), 0
    notes = [*columns.notes]
    suspects: list[tuple[int, int, str]] = []
    for index, rows in enumerate(opened):
        number, note = _rows_to_read(rows, limit)
        notes += [*rows.notes, *note]
        for row in islice(rows.read(), number):
            text, fault = checked_text(row, columns)
            if fault is not None:
                _count(faults, opened, index, row.number, fault)
                continue
            suspects += [(len(found.texts), line, label) for line, label in _labels_within(row, columns)]
            found.texts.append(text)
            found.labels.append(_interned(row.values.get(columns.label) if columns.label else None))
            found.splits.append(intern(str(row.values[columns.split]).strip().lower()) if columns.split else "")
            found.file_of.append(index)
            found.numbers.append(row.number)
            size += len(text)
            if len(found.texts) > MOST_ROWS or size > MOST_BYTES:
                most = f"{MOST_ROWS:,} rows, or the {MOST_BYTES / 2**30:g} GiB,"
                refuse_beyond(Path(rows.where), f"more than the {most} that are read")
    found = _without_swallowers(found, suspects, opened, faults)
    tables = {split: _table(found, split, opened, columns, faults, notes) for split in dict.fromkeys(found.splits)}
    if faults:
        where = Path(opened[0].where)
        worded = any("'" in place for place in faults.get(NO_LABEL.kind, (0, ()))[1])
        if not options.skip_bad_rows:
            renamed = " another name where it is a class," if worded else ""
            raise ValueError(
                f"{where}: {_said(faults)}; rows without these,{renamed} or --skip-bad-rows to leave them out, would do"
            )
        notes.append(f"Left out of {where.name}: {_said(faults)}.")
    return Read(tables, tuple(dict.fromkeys(notes)))


def _check_alike(opened: Sequence[Rows], columns: Columns) -> None:
    """Refuse files whose labels cannot be read as one column: the same number would be two classes."""
    first = opened[0]
    for rows in opened[1:]:
        ours, theirs = (one.classes.get(columns.label or "") for one in (first, rows))
        if ours != theirs:
            said = [f"classes {', '.join(names)}" if names else "no names of classes" for names in (ours, theirs)]
            raise ValueError(
                f"{rows.where}: {said[1]}, but {first.where} has {said[0]}; the same classes in the same order would do"
            )
        if rows.typed != first.typed:
            raise ValueError(
                f"{rows.where} and {first.where}: one of them alone tells numbers from texts; one format would do"
            )


def _rows_to_read(rows: Rows, limit: int | None) -> tuple[int | None, list[str]]:
    """How many rows are read, None for all, and what is to be said of that."""
    if rows.beyond is None:
        return None, []
    if limit is None:
        refuse_beyond(Path(rows.where), rows.beyond)
    number = max(ROWS_FOR_A_LIMIT, 10 * (limit or 0))
    return number, [f"Of {Path(rows.where).name} the first {number:,} rows were read ({rows.beyond})."]


def checked_text(row: Row, columns: Columns) -> tuple[str, Fault | None]:
    """A row's text, and why the row cannot be used, None where it can."""
    text = row.values.get(columns.text)
    if row.fault is not None:
        return "", row.fault
    if is_nothing(text):
        return "", NO_TEXT
    if not isinstance(text, str):
        return "", Fault("with a text that is no string", f"{text!r:.60} is of type {type(text).__name__}")
    if not text or text.isspace():
        return "", NO_TEXT
    if len(text) > LONGEST_LINE:
        return "", Fault("with a text beyond what is read", f"{len(text):,} characters")
    if columns.split and not str(row.values.get(columns.split) or "").strip():
        return "", NO_SPLIT
    label = row.values.get(columns.label) if columns.label else None
    return text, _unreadable(text) or (_unreadable(label) if isinstance(label, str) else None)


def _unreadable(text: str) -> Fault | None:
    """What no tokenizer can read: undecodable bytes, half of a surrogate pair (JSON can spell it), NUL."""
    if not text.isascii() and _SURROGATE.search(text):
        return Fault("with undecodable bytes" if _ESCAPED.search(text) else "with half of a surrogate pair")
    return Fault("with a NUL character") if "\0" in text else None


def _interned(value: object) -> object:
    return intern(value.strip()) if type(value) is str else value


def _labels_within(row: Row, columns: Columns) -> Iterator[tuple[int, str]]:
    """Of lines in a quoted field that are as wide as a row: the line, and what stands where a label would."""
    for line, values in row.within:
        if columns.label and (label := str(values.get(columns.label, "")).strip()):
            yield line, label


def _without_swallowers(
    found: _Gathered, suspects: Iterable[tuple[int, int, str]], opened: Sequence[Rows], faults: Faults
) -> _Gathered:
    """Without the rows in which another stands: a line as wide as a row, with a known label at its place."""
    if not suspects:
        return found
    known = {str(label) for label in found.labels}
    bad = {row: line for row, line, label in suspects if label in known}
    for row, line in bad.items():
        fault = Fault("with a quote that is not closed", f"line {line} within it reads as a row itself")
        _count(faults, opened, found.file_of[row], found.numbers[row], fault)
    return found.keep([row not in bad for row in range(len(found.texts))])


def _table(
    found: _Gathered, split: str, opened: Sequence[Rows], columns: Columns, faults: Faults, notes: list[str]
) -> Table:
    """The table of a split. Where labels are missing, but not all of them, those rows are bad."""
    own = found.keep([each == split for each in found.splits])
    read = cleaned(own.labels)
    labels = read.labels
    notes += read.notes
    there = [label is not None for label in labels]
    if any(there):
        for row in (row for row, is_there in enumerate(there) if not is_there):
            written = own.labels[row]
            detail = f"{written!r:.60}" if isinstance(written, str) and written else ""
            _count(faults, opened, own.file_of[row], own.numbers[row], Fault(NO_LABEL.kind, detail))
        own, labels = own.keep(there), [*compress(labels, there)]
    return Table(
        places=Places(
            files=tuple(f"{rows.where}, {split}" if split else rows.where for rows in opened),
            unit=opened[0].unit,
            file_of=own.file_of,
            numbers=own.numbers,
        ),
        texts=own.texts,
        labels=labels,
        class_names=opened[0].classes.get(columns.label or ""),
        typed=opened[0].typed,
    )


def _count(faults: Faults, opened: Sequence[Rows], file: int, number: int, fault: Fault) -> None:
    before, shown = faults.get(fault.kind, (0, ()))
    rows = opened[file]
    name = f"{Path(rows.where).name}, " if len(opened) > 1 else ""
    place = f"{name}{rows.unit} {number}" + (f": {fault.detail}" if fault.detail else "")
    faults[fault.kind] = (before + 1, (*shown, place) if before < 2 else shown)


def _said(faults: Faults) -> str:
    return ", ".join(
        f"{count:,} row{'' if count == 1 else 's'} {kind} ({'; '.join(shown)}{'; …' if count > 2 else ''})"
        for kind, (count, shown) in faults.items()
    )
