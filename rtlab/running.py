"""One experiment, start to end: the only place where data, encoder, tokens and engine are put together.

What cannot work is refused before anything is computed or written. From then on every ending leaves a record, a
failure's too.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rtlab import environment, records
from rtlab.data import Splits, load_splits
from rtlab.encoders import KEY_VALUE, Encoder, load_encoder, target_modules
from rtlab.engines.outcome import NonFiniteLossError, OnLog, Outcome, Progress, Train, out_of_memory
from rtlab.experiment import Experiment, identity
from rtlab.metrics import scores
from rtlab.records import Memory, Predictions, RunRecord, Source, Status, Timing
from rtlab.tokens import dataset_dict, tokenize

RESULTS = Path("results")
DESCRIPTION = "rtlab.json"  # beside a saved model: how it was made, and how to feed it


class RunFailedError(RuntimeError):
    """A run ended without a result.

    Attributes:
        record: The record that it left.
        path: Where that lies.
    """

    def __init__(self, record: RunRecord, path: Path) -> None:
        super().__init__(f"the run ended with status {record.status!r}: {record.error}")
        self.record = record
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An experiment whose parts are all there.

    Attributes:
        id: Identity of the run.
        target_modules: What LoRA's target modules resolve to; empty for other methods.
        load_s: Seconds that loading took.
    """

    experiment: Experiment
    splits: Splits
    encoder: Encoder
    target_modules: tuple[str, ...]
    id: str
    device: Any
    load_s: float


def run(
    experiment: Experiment,
    *,
    output_dir: Path | str = RESULTS,
    save_model: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    on_log: OnLog | None = None,
) -> RunRecord:
    """Execute an experiment and write its record to `output_dir`/records.

    Args:
        experiment: What to do.
        output_dir: Folder of results.
        save_model: Whether to save what was trained, to `model_folder`.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        progress: Called with a phase, its units done and their number.
        on_log: Called with each entry of the loss history as it is made.

    Returns:
        The record, as it was written.

    Raises:
        ValueError: If the request cannot work; nothing was written.
        RunFailedError: If the run failed; its record was written, with status `nan`, `oom` or `failed`.
        KeyboardInterrupt: If it was interrupted; a record with status `cancelled` was written.
    """
    check_writable(Path(output_dir))
    prepared = prepare(experiment, device=device)
    return execute(prepared, output_dir=output_dir, save_model=save_model, progress=progress, on_log=on_log)


def execute(
    prepared: Prepared,
    *,
    output_dir: Path | str = RESULTS,
    save_model: bool = False,
    progress: Progress | None = None,
    on_log: OnLog | None = None,
) -> RunRecord:
    """The second half of `run`, for an experiment that is prepared already; arguments and errors as there."""
    with recording_failure(prepared, output_dir):
        started = start(prepared, progress=progress, on_log=on_log)
        outcome = started.train()()
        return finish(started, outcome, output_dir=output_dir, save_model=save_model)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run whose model is built.

    Attributes:
        train: Trains, once, and gives the function that evaluates.
        prepare_s: Seconds that tokenizing took.
    """

    prepared: Prepared
    train: Train
    prepare_s: float


def start(prepared: Prepared, *, progress: Progress | None = None, on_log: OnLog | None = None) -> Started:
    """Tokenize, and build the model: all that comes before training."""
    environment.reset_peak_memory(prepared.device)
    environment.set_precision(prepared.experiment.precision, prepared.device)
    begin = time.perf_counter()
    data = _tokenized(prepared)
    prepare_s = time.perf_counter() - begin
    train = _build(prepared, data, progress or _ignore, on_log or _ignore)
    return Started(prepared=prepared, train=train, prepare_s=prepare_s)


def finish(
    started: Started, outcome: Outcome, *, output_dir: Path | str = RESULTS, save_model: bool = False
) -> RunRecord:
    """Write the record of a run, and its model if asked to."""
    record = _finished(started.prepared, outcome, started.prepare_s)
    if save_model:
        _save_model(started.prepared, outcome, model_folder(output_dir, record))
    records.save(record, Path(output_dir) / "records")
    return record


@contextlib.contextmanager
def recording_failure(prepared: Prepared, output_dir: Path | str) -> Iterator[None]:
    """Leave a record of whatever ends the block early.

    Raises:
        RunFailedError: In place of an exception.
        KeyboardInterrupt, SystemExit: As they are.
    """
    try:
        yield
    except BaseException as error:
        record = _unfinished(prepared, error)
        path = records.save(record, Path(output_dir) / "records")
        if not isinstance(error, Exception):
            raise
        raise RunFailedError(record, path) from error


def record_path(output_dir: Path | str, record: RunRecord) -> Path:
    """Where `run` writes a record: below `output_dir`/records."""
    return Path(output_dir) / "records" / record.file_name


def model_folder(output_dir: Path | str, record: RunRecord) -> Path:
    """Where `run` saves the model of a record: `output_dir`/models/METHOD-ID."""
    return Path(output_dir) / "models" / f"{record.experiment.method}-{record.id}"


def prepare(experiment: Experiment, *, device: str | None = None) -> Prepared:
    """Load everything that an experiment names, and check that it fits together; nothing is written.

    A precision that is slow on the device gives a `UserWarning`.

    Raises:
        ValueError: If something is not there or does not fit; the message names it and what would do.
    """
    start = time.perf_counter()
    where = environment.find_device(device)
    environment.set_precision(experiment.precision, where)
    if (slow := environment.slow_precision(experiment.precision, where)) is not None:
        warnings.warn(slow, stacklevel=2)
    splits = load_splits(experiment.dataset, limit=experiment.limit)
    encoder = load_encoder(experiment.encoder)
    if experiment.max_length > encoder.max_positions:
        raise ValueError(
            f"max_length must be at most {encoder.max_positions}, the positions of encoder {encoder.name}; "
            f"got {experiment.max_length}"
        )
    if experiment.engine == "native" and not encoder.packs:
        raise ValueError(
            f"engine 'native' takes encoders of type {', '.join(KEY_VALUE)}; got {encoder.name}, which is of type "
            f"{encoder.config.model_type}; engine trainer would do"
        )
    modules = () if experiment.lora is None else target_modules(encoder, experiment.lora.target_modules)
    return Prepared(
        experiment=experiment,
        splits=splits,
        encoder=encoder,
        target_modules=modules,
        id=identity(experiment, dataset_sha256=splits.sha256, encoder_sha256=encoder.sha256, target_modules=modules),
        device=where,
        load_s=time.perf_counter() - start,
    )


def check_writable(folder: Path, *, option: str = "output_dir", within: Sequence[str] = ("records", "models")) -> None:
    """Check that a folder, and those within it, can be made or written, without leaving anything behind.

    Args:
        folder: The folder.
        option: What gave it, for messages.
        within: Names of folders in it.

    Raises:
        ValueError: If one is a file, or cannot be written.
    """
    for part in (folder, *(folder / name for name in within)):
        there = next(path for path in (part.absolute(), *part.absolute().parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{option} must be a directory; got {folder}, where {there.name} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"{option} must be writable; got {folder}: no permission to write in {there}")


def _tokenized(prepared: Prepared) -> Any:
    """Tokens in the form that the engine wants."""
    experiment, tokenizer = prepared.experiment, prepared.encoder.tokenizer
    if experiment.engine != "trainer":
        return tokenize(prepared.splits, tokenizer, max_length=experiment.max_length)
    padding: Literal["fixed", "none"] = "fixed" if experiment.padding == "fixed" else "none"
    return dataset_dict(prepared.splits, tokenizer, max_length=experiment.max_length, padding=padding)


def _build(prepared: Prepared, data: Any, progress: Progress, on_log: OnLog) -> Train:
    experiment, encoder = prepared.experiment, prepared.encoder
    if experiment.method == "svm":
        from rtlab.engines import svm

        return svm.build(experiment, encoder, data, device=prepared.device, progress=progress)
    common: Mapping[str, Any] = {
        "target_modules": prepared.target_modules,
        "device": prepared.device,
        "progress": progress,
        "on_log": on_log,
    }
    if experiment.engine == "native":
        from rtlab.engines import native

        return native.build(experiment, encoder, data, prepared.splits.label_names, **common)
    from rtlab.engines import trainer

    return trainer.build(experiment, encoder, data, **common)


def _finished(prepared: Prepared, outcome: Outcome, prepare_s: float) -> RunRecord:
    predictions, split_scores = {}, {}
    for name, logits_NC in outcome.logits.items():
        labels = list(getattr(prepared.splits, name).labels)  # as it will be read back
        predictions[name] = Predictions(labels=labels, logits=records.logits_as_json(logits_NC))
        split_scores[name] = scores(labels, logits_NC.argmax(axis=1), num_labels=prepared.splits.num_labels)
    on_device, on_host = environment.peak_memory(prepared.device)
    return _record(
        prepared,
        status="ok",
        scores=split_scores,
        predictions=predictions,
        timing=_timing(outcome, load_s=prepared.load_s, prepare_s=prepare_s),
        counts=outcome.counts,
        memory=Memory(peak_device=on_device, peak_host=on_host),
        history=outcome.history,
        train_loss=outcome.train_loss,
        final_loss=outcome.final_loss,
    )


def _timing(outcome: Outcome, *, load_s: float, prepare_s: float) -> Timing:
    counts, seconds = outcome.counts, outcome.seconds
    train_s = seconds["train"]
    return Timing(
        load_s=load_s + seconds["load"],
        prepare_s=prepare_s,
        warmup_s=seconds.get("warmup", 0.0),
        train_s=train_s,
        evaluate_s=seconds["evaluate"],
        samples_per_s=counts.samples / train_s,
        steps_per_s=None if counts.steps is None else counts.steps / train_s,
        tokens_per_s=counts.real_tokens / train_s,
        padded_tokens_per_s=(counts.real_tokens + counts.padding_tokens) / train_s,
    )


def _unfinished(prepared: Prepared, error: BaseException) -> RunRecord:
    return _record(prepared, status=_status(error), error=_one_line(error))


def _status(error: BaseException) -> Status:
    if isinstance(error, NonFiniteLossError):
        return "nan"
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "cancelled"
    return "oom" if out_of_memory(error) else "failed"


def _one_line(error: BaseException) -> str:
    """An exception in one line, without the folders of any absolute path in it: a record names no machine."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return re.sub(r"(?<![\w.])/(?:[^\s/'\":]+/)+", "", text)


def _record(prepared: Prepared, *, status: Status, **fields: Any) -> RunRecord:
    splits, encoder = prepared.splits, prepared.encoder
    return RunRecord(
        experiment=dataclasses.replace(prepared.experiment, dataset=splits.name, encoder=encoder.name),
        id=prepared.id,
        code=environment.code_digest(),
        status=status,
        dataset=Source(name=splits.name, revision=splits.revision, sha256=splits.sha256),
        encoder=Source(name=encoder.name, revision=encoder.revision, sha256=encoder.sha256),
        environment=environment.fingerprint(prepared.device),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **fields,
    )


def _save_model(prepared: Prepared, outcome: Outcome, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    outcome.save(folder)
    encoder = prepared.encoder
    description: Mapping[str, Any] = {
        "id": prepared.id,
        "experiment": prepared.experiment.to_json(),
        "label_names": list(prepared.splits.label_names),
        "encoder": encoder.source,
        "encoder_sha256": encoder.sha256,
    }
    records.write_whole(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def _ignore(*_: Any) -> None:
    """Where nobody listens."""
