"""The record that a run leaves, and the folder it lies in.

A record is one JSON file, complete in itself, written whole or not at all: to a temporary file beside its place,
flushed to the disk, then renamed. It holds no sentence of a data set, no path and no host name. Reading needs
neither torch nor pandas.
"""

import contextlib
import dataclasses
import gc
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from rtlab.experiment import Experiment
from rtlab.metrics import Scores

SCHEMA = 1
Status = Literal["ok", "failed", "oom", "nan", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set or an encoder: its name (never a path), its hub revision, and the SHA-256 of its contents."""

    name: str
    revision: str | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a run says of one split, sentence by sentence, in the split's order.

    Attributes:
        labels: True classes, (N,).
        logits: One score per class, (N, C), as fp32 values; for a two-class SVM (-d/2, d/2) of its decision value d.
    """

    labels: Sequence[int] | NDArray[np.int32]
    logits: Sequence[Sequence[float]] | NDArray[np.float32]

    def compact(self) -> "Predictions":
        """The same as arrays, in a twentieth of the memory.

        Raises:
            ValueError: If it is not one label and as many scores for each sentence.
            ArithmeticError: If a number is beyond 32 bits.
        """
        with np.errstate(over="raise"):
            labels_N, logits_NC = np.asarray(self.labels, dtype=np.int32), np.asarray(self.logits, dtype=np.float32)
        if labels_N.ndim != 1 or logits_NC.ndim != 2 or len(labels_N) != len(logits_NC):
            raise ValueError(f"labels and logits must be (N,) and (N, C); got {labels_N.shape} and {logits_NC.shape}")
        return Predictions(labels=labels_N, logits=logits_NC)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds by phase, the device synchronised at both ends of each, and training throughput.

    Attributes:
        load_s: Reading data set and encoder, building the model.
        prepare_s: Tokenizing.
        warmup_s: Compilation and capture before the first step; not part of `train_s`.
        train_s: Training; for an SVM, extracting the training features and fitting.
        evaluate_s: Logits of validation and test.
        samples_per_s: Training sentences per second of `train_s`.
        steps_per_s: Optimizer steps per second; `None` for an SVM.
        tokens_per_s: Real tokens per second of training.
        padded_tokens_per_s: Tokens per second of training, padding counted.
    """

    load_s: float
    prepare_s: float
    warmup_s: float
    train_s: float
    evaluate_s: float
    samples_per_s: float
    steps_per_s: float | None
    tokens_per_s: float
    padded_tokens_per_s: float


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there was of what.

    Attributes:
        parameters_total: Parameters of encoder, adapter and head together.
        parameters_encoder: Parameters of the encoder that were trained: all or none.
        parameters_adapter: Parameters of the LoRA adapter.
        parameters_head: Parameters of the classification head, which every method trains.
        steps: Optimizer steps; `None` for an SVM.
        samples: Sentences that went through training, each epoch counted.
        real_tokens: Tokens of those sentences.
        padding_tokens: Padding computed beside them.
    """

    parameters_total: int
    parameters_encoder: int
    parameters_adapter: int
    parameters_head: int
    steps: int | None
    samples: int
    real_tokens: int
    padding_tokens: int

    @property
    def parameters_trained(self) -> int:
        """Parameters that training changed."""
        return self.parameters_encoder + self.parameters_adapter + self.parameters_head


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak bytes over the run: allocated on the device (`None` on the CPU) and resident on the host."""

    peak_device: int | None
    peak_host: int


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One logging interval: the mean loss over it; learning rate and gradient norm (before clipping) at its end."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One execution of one experiment.

    Attributes:
        id: `rtlab.experiment.identity` of the run.
        code: `rtlab.environment.code_digest` of the sources that ran.
        status: `ok`, or how the run ended: `failed`, `oom`, `nan`, `cancelled`. Then the measured fields are empty.
        error: One line that says what went wrong.
        scores: Split (`validation`, `test`) to scores.
        predictions: Split to logits and labels.
        history: One entry per logging interval.
        train_loss: Mean loss over all steps, as Hugging Face's `Trainer` states it.
        final_loss: Mean loss over the steps of the last epoch that was begun.
        environment: `rtlab.environment.fingerprint`.
        created_at: UTC, ISO 8601.
    """

    experiment: Experiment
    id: str
    code: str
    status: Status
    dataset: Source
    encoder: Source
    environment: Mapping[str, Any]
    created_at: str
    error: str | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    timing: Timing | None = None
    counts: Counts | None = None
    memory: Memory | None = None
    history: tuple[LogEntry, ...] = ()
    train_loss: float | None = None
    final_loss: float | None = None
    schema: int = SCHEMA

    @property
    def file_name(self) -> str:
        """Name of the record's file, `file_name` of its id, device and code."""
        return file_name(self.id, str(self.environment["device"]), self.code)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types, the schema's number first."""
        fields = dataclasses.asdict(self) | {"experiment": self.experiment.to_json()}
        return {"schema": fields.pop("schema"), **fields}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "RunRecord":
        """The record that `to_json` wrote.

        Raises:
            ValueError: If it is of another schema, or what every reader relies on is not there.
            KeyError, TypeError: If fields are missing or not a record's.
        """
        if fields["schema"] != SCHEMA:
            raise ValueError(f"the record is of schema {fields['schema']}, and this rtlab reads schema {SCHEMA}")
        parts: dict[str, Any] = {
            "experiment": Experiment.from_json(fields["experiment"]),
            "scores": {split: Scores(**s) for split, s in fields["scores"].items()},
            "predictions": {split: Predictions(**p) for split, p in fields["predictions"].items()},
            "history": tuple(LogEntry(**entry) for entry in fields["history"]),
            "dataset": Source(**fields["dataset"]),
            "encoder": Source(**fields["encoder"]),
        }
        for name, part in (("timing", Timing), ("counts", Counts), ("memory", Memory)):
            parts[name] = None if fields[name] is None else part(**fields[name])
        record = cls(**{**fields, **parts})
        _check(record)
        return record


class Loaded(NamedTuple):
    """What a folder of records holds: those that could be read, oldest first, and for each broken file why not."""

    records: tuple[RunRecord, ...]
    broken: Mapping[Path, str]


def file_name(run: str, device: str, code: str) -> str:
    """Where a record lies in its folder: so another device, or another state of the code, is another record.

    Args:
        run: Id of the run.
        device: The device's name.
        code: Digest of the code.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return f"{run}-{slug}-{code}.json"


def save(record: RunRecord, folder: Path) -> Path:
    """Write a record, whole or not at all, over an older one of the same id, device and code.

    Raises:
        ValueError: If the record holds NaN or infinity, which JSON has no word for.
        OSError: If the folder cannot be written.
    """
    text = json.dumps(record.to_json(), allow_nan=False)
    path = folder / record.file_name
    write_whole(path, text + "\n")
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash at any moment, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path, *, compact: bool = False) -> RunRecord:
    """Read one record.

    Args:
        path: Its file.
        compact: Whether to hold its predictions as arrays: for readers of many records, who save none.

    Raises:
        ValueError: If the file is no record; the message names it.
        OSError: If it cannot be read.
    """
    try:
        record = RunRecord.from_json(json.loads(path.read_bytes(), parse_constant=_refuse))
        if not compact:
            return record
        predictions = {split: found.compact() for split, found in record.predictions.items()}
        return dataclasses.replace(record, predictions=predictions)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise ValueError(
            f"{path} is not a readable record ({what}); move it away or run its experiment again"
        ) from error


def load_records(folder: Path, *, compact: bool = False) -> Loaded:
    """Read every record of a folder, as `load` does; a broken file is named and stops none of the others."""
    records, broken = [], {}
    with _no_garbage_collection():
        for path in sorted(folder.glob("*.json")):
            try:
                records.append(load(path, compact=compact))
            except (ValueError, OSError) as error:
                broken[path] = str(error)
    return Loaded(tuple(sorted(records, key=lambda record: (record.created_at, record.id))), broken)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Decoded JSON holds no cycles: 1,000 records load in 1.05 s of computing instead of 1.40 (2 cores, n = 2)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def logits_as_json(logits_NC: NDArray[np.float32]) -> list[list[float]]:
    """fp32 logits (N, C) as the shortest decimals that give the same fp32 values back."""
    return [[float(str(value)) for value in row] for row in logits_NC]


def _check(record: RunRecord) -> None:
    """Refuse what readers of many records would stumble over; so one broken file stops none of the others."""
    versions = record.environment["versions"]
    texts = (record.id, record.code, record.created_at, record.environment["device"])
    if not all(isinstance(text, str) for text in (*texts, versions["torch"], versions["transformers"])):
        raise ValueError("id, code, created_at, device and versions must be text")
    if record.status not in get_args(Status):
        raise ValueError(f"status must be one of {', '.join(get_args(Status))}; got {record.status!r}")
    measured = (record.timing, record.counts, record.memory)
    if record.status == "ok" and (None in measured or not {"validation", "test"} <= set(record.scores)):
        raise ValueError("a run with a result has scores of validation and test, timing, counts and memory")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
