"""Rows out of a person's file, whatever its format: one at a time, with all columns, in constant memory."""

from pathlib import Path

from rtlab.data.arrow_rows import open_arrow, open_parquet
from rtlab.data.delimited import open_delimited
from rtlab.data.foreign import DELIMITED, refuse_foreign, text_without_a_format
from rtlab.data.json_rows import open_json
from rtlab.data.row import Rows
from rtlab.data.streams import SHEET, data_name

JSON, COLUMNS = (".json", ".jsonl", ".ndjson"), (".parquet", ".arrow")
FORMATS = (*DELIMITED, *JSON, *COLUMNS)
TAKEN = ".csv, .tsv, .json, .jsonl, .parquet or .arrow, the first four also as .gz, .zst or a zip of one file"
SHEETS = (".xls", ".xlsx", ".xlsm", ".ods", ".numbers")


def format_of(path: Path) -> str:
    """The suffix that tells a file's format, compressed or not.

    Raises:
        ValueError: it is none that is read; the message says what would do.
    """
    name = data_name(path)
    suffix = Path(name).suffix.lower()
    if suffix in SHEETS:
        raise ValueError(f"{path}: {SHEET}")
    if suffix not in FORMATS or (suffix in COLUMNS and name != path.name):
        kind = f"of format {suffix}" if suffix else "without a suffix that tells its format"
        if suffix not in COLUMNS and (what := text_without_a_format(path)):
            raise ValueError(f"{path}: a file {kind}, {what}")
        raise ValueError(f"{path}: a file {kind}; {TAKEN} would do")
    return suffix


def open_rows(path: Path) -> Rows:
    """A file as rows, nothing read yet but its beginning.

    Args:
        path: csv, tsv, json (array or lines), jsonl, parquet or arrow; text formats also as gzip, zstd or a zip of one
            file.

    Raises:
        ValueError: the format is none of these, or the file cannot be read.
    """
    if not path.is_file():  # a pipe could be read once only
        raise ValueError(f"{path}: no regular file; a file on disk would do")
    suffix = format_of(path)
    refuse_foreign(path, suffix)
    match suffix:
        case ".csv" | ".tsv" | ".tab":
            return open_delimited(path, data_name(path))
        case ".parquet":
            return open_parquet(path)
        case ".arrow":
            return open_arrow(path)
    return open_json(path)
