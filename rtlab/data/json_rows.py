"""Rows of JSON files: an array of objects, read element by element, or one object a line."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rtlab.data.row import Fault, Row, Rows
from rtlab.data.streams import CHUNK, LONGEST_LINE, Survey, lines_of, survey, text_of, unfolded
from rtlab.hub import one_line

SAMPLE = 1000  # rows whose fields are the columns
MALFORMED = "of malformed JSON"
_FORMS = "an array of objects, or one a line, would do"
_SPACE = re.compile(r"[ \t\r\n]*")


def open_json(path: Path) -> Rows:
    """A file of JSON: an array, or lines.

    Raises:
        ValueError: the file cannot be read, or is of neither form.
    """
    found = survey(path, objects=True)
    first = _first_sign(path, found)
    if not first:
        raise ValueError(f"{path}: empty; {_FORMS}")
    is_array = first == "["

    def read() -> Iterator[Row]:
        return _of_array(path, found) if is_array else _of_lines(path, found)

    start = [*islice(read(), SAMPLE)]
    columns = dict.fromkeys(name for row in start for name in row.values)
    if not is_array and len(start) == 1 and _holds_all([*start[0].values.values()]):
        held = ", ".join(map(repr, [*columns][:3]))
        raise ValueError(f"{path}: one object that holds all rows ({held}); {_FORMS}")
    if start and not columns:
        what = start[0].fault.detail if start[0].fault else "an object without fields"
        where = f"{'row' if is_array else 'line'} {start[0].number}: {what}"
        raise ValueError(f"{path}: no row that can be read ({where}); {_FORMS}")
    return Rows(
        where=str(path),
        columns=tuple(columns),
        unit="row" if is_array else "line",
        read=read,
        classes={},
        beyond=found.beyond,
        notes=(found.note,) if found.note else (),
    )


def _holds_all(values: Sequence[object]) -> bool:
    """Whether an object is not a row, but a table by columns, one within another, or a list of rows beside a title."""
    is_row = any(isinstance(value, str) and " " in value for value in values)
    listed = any(isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict) for value in values)
    return (listed and not is_row) or (bool(values) and all(isinstance(value, list | dict) for value in values))


def _first_sign(path: Path, found: Survey) -> str:
    with unfolded(path) as stream, text_of(stream, found) as text:
        return text.read(CHUNK).lstrip()[:1]


def _of_lines(path: Path, found: Survey) -> Iterator[Row]:
    for number, line in enumerate(lines_of(path, found), 1):
        if line.strip():
            yield _row(number, line)


def _row(number: int, text: str) -> Row:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        # Its own message says "line 1", of the line.
        found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else one_line(error)
        return Row(number, {}, Fault(MALFORMED, found))
    return _of_value(number, value)


def _of_value(number: int, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(number, {}, Fault("that is no JSON object", f"JSON of type {type(value).__name__}"))
    return Row(number, value)


def _of_array(path: Path, found: Survey) -> Iterator[Row]:
    """The elements of an array, of which no more is held than one and a piece of the file."""
    with unfolded(path) as stream, text_of(stream, found) as text:
        buffer, at, number = text.read(CHUNK), 0, 0
        while True:
            try:
                element = _element(buffer, at, "," if number else "[")
            except (ValueError, RecursionError) as error:
                more = "" if len(buffer) - at > LONGEST_LINE else text.read(CHUNK + len(buffer) - at)
                if not more or isinstance(error, RecursionError):
                    what = f"malformed JSON ({one_line(error)})"
                    raise ValueError(f"{path}, row {number + 1}: {what}; an array of objects would do") from error
                buffer, at = buffer[at:] + more, 0
                continue
            if element is None:
                _check_end(path, buffer[at:] + text.read(CHUNK))
                return
            value, at = element
            number += 1
            yield _of_value(number, value)


def _check_end(path: Path, rest: str) -> None:
    if behind := rest.lstrip().removeprefix("[").lstrip().removeprefix("]").strip():
        raise ValueError(f"{path}: {behind[:20]!r} behind the array's end; one array of objects would do")


def _element(buffer: str, at: int, before: str) -> tuple[object, int] | None:
    """The value behind a bracket or a comma, and where it ends; None at the array's end."""
    at = _behind_space(buffer, at)
    if before == "," and buffer.startswith("]", at):
        return None
    if not buffer.startswith(before, at):
        raise ValueError(f"no {before!r} before an element")
    at = _behind_space(buffer, at + 1)
    if before == "[" and buffer.startswith("]", at):
        return None
    return _DECODER.raw_decode(buffer, at)


def _behind_space(buffer: str, at: int) -> int:
    found = _SPACE.match(buffer, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice in one object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_no_key_twice)
