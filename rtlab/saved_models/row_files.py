"""Rows written one by one into a file, as CSV, TSV or JSON lines: whole or not at all, in constant memory."""

import contextlib
import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rtlab.writing import whole_file

FORMATS = (".csv", ".tsv", ".jsonl")

WriteRow = Callable[[Mapping[str, object]], object]


def check_format(option: str, path: Path) -> None:
    """Refuse (`ValueError`) a file whose name does not say how it is written."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{option} must end in {', '.join(FORMATS)}; got {str(path)!r}")


@contextlib.contextmanager
def row_file(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    """A file that rows are written into.

    Args:
        path: The file, which takes its name only when the block ends without an error.
        columns: What a CSV or TSV file holds of each row.

    Returns:
        What writes a row. In a CSV or TSV file a value that is no text is written as JSON, and nothing as an empty
        field.
    """
    with whole_file(path) as file:
        if path.suffix.lower() == ".jsonl":
            yield lambda row: print(json_line(row), file=file)
            return
        writer = csv.writer(_Lines(file), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writerow(columns)
        yield lambda row: writer.writerow([_field(row.get(column)) for column in columns])


@dataclass(frozen=True)
class _Lines:
    """What the writer's lines go through: told to end them in a line feed alone, it leaves a carriage return bare."""

    file: TextIO

    def write(self, line: str) -> int:
        return self.file.write(line.removesuffix("\r\n") + "\n")


def json_line(row: Mapping[str, object]) -> str:
    """A row as one line of JSON, which has no word for NaN and infinity: they are nothing there."""
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
    return json.dumps(known, allow_nan=False, default=str)


def _field(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
