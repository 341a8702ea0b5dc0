"""Records: what a run leaves, and the folder that they are added to and read from."""

from rtlab.records.files import Loaded, load, load_records, save
from rtlab.records.record import (
    Classes,
    Counts,
    HeldOut,
    LogEntry,
    Memory,
    Predictions,
    RunRecord,
    Source,
    Status,
    Timing,
    Validated,
)
from rtlab.writing import write_whole

__all__ = [
    "Classes",
    "Counts",
    "HeldOut",
    "Loaded",
    "LogEntry",
    "Memory",
    "Predictions",
    "RunRecord",
    "Source",
    "Status",
    "Timing",
    "Validated",
    "load",
    "load_records",
    "save",
    "write_whole",
]
