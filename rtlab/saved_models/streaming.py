"""Sentences as they come, and their labels in the same order: memory is that of a window, however much comes.

A window is what there is: whatever a pipe holds, up to some hundred thousand bytes, or the one line that somebody
typed. Within it sentences are computed together, those of similar length in one batch; so a slow producer has its
answers at once, and a fast one at full speed.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rtlab.data.columns import Columns, choose_columns
from rtlab.data.foreign import refuse_foreign
from rtlab.data.row import Fault, Rows
from rtlab.data.rows import FORMATS, SHEETS, open_rows
from rtlab.data.streams import COMPRESSED
from rtlab.data.tables import NO_TEXT, checked_text
from rtlab.experiment import DatasetOptions
from rtlab.saved_models.opening import LoadedModel
from rtlab.saved_models.predicting import NONE_GIVEN, WINDOW, Prediction, check_text, label, not_finite
from rtlab.values import Json, one_line

AT_ONCE = 2**18  # bytes; a pipe gives 2**16 at most
LONGEST_LINE = 2**24  # bytes


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to label.

    Attributes:
        place: Where it stands, such as `line 3`, for errors.
        text: The sentence; nothing where a line is blank.
        fields: Column to value of the row that it stands in.
    """

    place: str
    text: str
    fields: Mapping[str, object]


# Items that are computed together, and their labels: `None` for a blank line.
Window = tuple[Item, ...]
Labelled = tuple[tuple[Item, Prediction | None], ...]

TEXT = "text"  # column of a sentence that stands in no row
BLANK = Item(place="", text="", fields={TEXT: ""})


def words(sentences: Sequence[str]) -> Iterator[Window]:
    """Sentences that were given one by one."""
    for number, text in enumerate(sentences, start=1):
        check_text(f"sentences must be texts of valid Unicode; got for sentence {number}", text)
        yield (Item(place=f"sentence {number}", text=text, fields={TEXT: text}),)


def lines(stream: BinaryIO, name: str) -> Iterator[Window]:
    """Sentences of a UTF-8 stream, one a line, as they come.

    Only a line feed ends a line. White space around a sentence is no part of it, nor is a byte order mark.

    Args:
        stream: What is read; buffered.
        name: What it is called in errors.

    Raises:
        ValueError: At a line that is not UTF-8 or has more than 16 MiB; the lines before it were given.
    """
    number = 1
    for ended in _ends(stream, name):
        window, wrong = _decoded(ended, number)
        for start in range(0, len(window), WINDOW):
            yield window[start : start + WINDOW]
        number += len(window)
        if wrong is not None:
            raise ValueError(f"{_expected(name)} ({wrong})")


def is_table(file: str) -> bool:
    """Whether a file's name says that it holds rows of columns; else it holds sentences, one a line."""
    return Path(file).suffix.lower() in (*FORMATS, *COMPRESSED, *SHEETS)


def rows(file: str, options: DatasetOptions, said: Callable[[str], None]) -> tuple[tuple[str, ...], Iterator[Window]]:
    """Sentences of a table, with the other columns of their rows; a row without a text is a blank line.

    Args:
        file: What `rtlab.data.rows` reads.
        options: Which column holds the texts; whether rows that cannot be read are left out.
        said: Called with what was assumed of the file, and with each row that is left out.

    Returns:
        The columns, and the windows.

    Raises:
        ValueError: If the file cannot be read, or no column is surely that of the texts; of the windows, at a row that
            cannot be read.
    """
    table = open_rows(Path(file))
    columns = choose_columns(table, options, labelled=False)
    for note in (*table.notes, *columns.notes):
        said(note)
    return table.columns, _windows(table, columns, options, said)


def _windows(table: Rows, columns: Columns, options: DatasetOptions, said: Callable[[str], None]) -> Iterator[Window]:
    bad: list[str] = []  # the first two
    count = 0
    window: list[Item] = []
    for row in table.read():
        place = f"{table.unit} {row.number}"
        text, fault = checked_text(row, columns)
        if fault is None or fault == NO_TEXT:
            window.append(Item(place=place, text=text, fields=row.values))
        elif not options.skip_bad_rows:
            yield tuple(window)
            raise ValueError(
                f"{table.where}: a row {_fault(fault, place)}; a row without, or --skip-bad-rows to leave it out, "
                "would do"
            )
        else:
            count, bad = count + 1, [*bad, _fault(fault, place)][:2]
        if len(window) == WINDOW:
            yield tuple(window)
            window = []
    yield tuple(window)
    if count:
        said(f"left out of {table.where}: {count:,} row{'s' * (count > 1)} ({', '.join(bad)}{', …' * (count > 2)})")


def _fault(fault: Fault, place: str) -> str:
    return f"{fault.kind} ({place}{': ' if fault.detail else ''}{fault.detail})"


def label_windows(model: LoadedModel, windows: Iterable[Window]) -> Iterator[Labelled]:
    """Label windows one after another.

    Args:
        model: The model.
        windows: What to label.

    Returns:
        The items of each window with their labels. Blank lines in front wait for the first sentence.

    Raises:
        NotFiniteError: At the first sentence whose scores are NaN or infinite; what is before it was given.
        ValueError: If there was no sentence at all.
    """
    blank, some = 0, False
    for window in windows:
        if not some and all(item is BLANK for item in window):
            blank += len(window)
            continue
        if blank:
            yield tuple(itertools.repeat((BLANK, None), blank))
        sentences = [item.text for item in window if item.text]
        blank, some = 0, some or bool(sentences)
        yield from _labelled(window, iter(label(model, sentences)))
    if not some:
        raise ValueError(NONE_GIVEN)


def open_lines(file: str) -> BinaryIO:
    """A file of sentences, one a line.

    Raises:
        ValueError: If it cannot be opened, or its first bytes say that it holds no sentences.
    """
    path = Path(file)
    try:
        if path.is_file():  # a pipe's first bytes would be lost
            refuse_foreign(path, path.suffix)
        return path.open("rb")  # whoever asked closes it
    except OSError as error:
        raise ValueError(f"{_expected(file)} ({error})") from error
    except ValueError as error:
        raise ValueError(f"file {error}") from error


def as_line(item: Item, prediction: Prediction | None) -> str:
    """A label for a terminal, or for a program that takes lines apart at tabs: label, its probability, sentence."""
    if prediction is None:
        return ""
    return f"{one_line(prediction.label)}\t{prediction.probabilities[prediction.label]:.3f}\t{one_line(item.text)}"


def as_json(item: Item, prediction: Prediction | None) -> dict[str, Json]:
    """A label as JSON types; a blank line has none."""
    if prediction is None:
        return {"text": item.text, "label": None, "probabilities": None}
    return {"text": item.text, "label": prediction.label, "probabilities": dict(prediction.probabilities)}


def _labelled(window: Window, found: Iterator[Prediction | None]) -> Iterator[Labelled]:
    """The window with its labels: whole, or up to a sentence that has none."""
    labelled: list[tuple[Item, Prediction | None]] = []
    for item in window:
        prediction = next(found) if item.text else None
        if item.text and prediction is None:
            yield tuple(labelled)
            raise not_finite(item.place, item.text)
        labelled.append((item, prediction))
    yield tuple(labelled)


def _ends(stream: BinaryIO, name: str) -> Iterator[list[bytes]]:
    """The lines that have ended, whenever some have."""
    parts: list[bytes] = []  # of a line that has not: joined once, however long it grows
    size = number = 0
    while data := _read(stream, name):
        first, *others = data.split(b"\n")
        parts.append(first)
        size += len(first)
        if others:
            yield [b"".join(parts), *others[:-1]]
            number += len(others)
            parts, size = [others[-1]], len(others[-1])
        if size > LONGEST_LINE:
            raise ValueError(f"{_expected(name)} (line {number + 1} has more than {LONGEST_LINE:,} bytes)")
    if size:
        yield [b"".join(parts)]


def _read(stream: BinaryIO, name: str) -> bytes:
    """What there is, at least a byte; nothing at the end."""
    try:
        data: bytes = stream.read1(AT_ONCE)  # type: ignore[attr-defined]  # buffered streams have it
    except OSError as error:
        raise ValueError(f"{_expected(name)} ({error})") from error
    return data


def _decoded(ended: list[bytes], first: int) -> tuple[Window, str | None]:
    """Lines as items up to the first that is not UTF-8, and what is wrong with that one."""
    items: list[Item] = []
    for number, line in enumerate(ended, start=first):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            return tuple(items), f"line {number}, byte {error.start + 1}: 0x{line[error.start]:02x} is not UTF-8"
        text = (text.removeprefix("\ufeff") if number == 1 else text).strip()
        items.append(Item(place=f"line {number}", text=text, fields={TEXT: text}) if text else BLANK)
    return tuple(items), None


def _expected(name: str) -> str:
    return f"file must be a readable UTF-8 text, one sentence a line, or -; got {name}"
