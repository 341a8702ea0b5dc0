"""One experiment, start to end: the only place where data, encoder, tokens and engine are put together.

What cannot work is refused before anything is computed or written. From then on every ending leaves a record, a
failure's too.
"""

import dataclasses
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rtlab import environment, records
from rtlab.data import Splits, load_splits
from rtlab.encoders import Encoder, load_encoder, target_modules
from rtlab.engines.outcome import NonFiniteLossError, OnLog, Outcome, Progress
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
    environment.reset_peak_memory(prepared.device)
    folder = Path(output_dir) / "records"
    try:
        outcome, prepare_s = _fit(prepared, progress or _ignore, on_log or _ignore)
        record = _finished(prepared, outcome, prepare_s)
        if save_model:
            _save_model(prepared, outcome, model_folder(output_dir, record))
        records.save(record, folder)
    except BaseException as error:
        record = _unfinished(prepared, error)
        path = records.save(record, folder)
        if not isinstance(error, Exception):
            raise
        raise RunFailedError(record, path) from error
    return record


def record_path(output_dir: Path | str, record: RunRecord) -> Path:
    """Where `run` writes a record: below `output_dir`/records."""
    return Path(output_dir) / "records" / records.file_name(record)


def model_folder(output_dir: Path | str, record: RunRecord) -> Path:
    """Where `run` saves the model of a record: `output_dir`/models/METHOD-ID."""
    return Path(output_dir) / "models" / f"{record.experiment.method}-{record.id}"


def prepare(experiment: Experiment, *, device: str | None = None) -> Prepared:
    """Load everything that an experiment names, and check that it fits together; nothing is written.

    Raises:
        ValueError: If something is not there or does not fit; the message names it and what would do.
    """
    start = time.perf_counter()
    where = environment.find_device(device)
    environment.set_precision(experiment.precision, where)
    splits = load_splits(experiment.dataset, limit=experiment.limit)
    encoder = load_encoder(experiment.encoder)
    if experiment.max_length > encoder.max_positions:
        raise ValueError(
            f"max_length must be at most {encoder.max_positions}, the positions of encoder {encoder.name}; "
            f"got {experiment.max_length}"
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


def check_writable(folder: Path) -> None:
    """Check that a folder, and `records` and `models` in it, can be made or written, without leaving anything behind.

    Raises:
        ValueError: If one is a file, or cannot be written.
    """
    for part in (folder, folder / "records", folder / "models"):
        there = next(path for path in (part.absolute(), *part.absolute().parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"output directory must be a directory; got {folder}, where {there.name} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"output directory must be writable; got {folder}: no permission to write in {there}")


def _fit(prepared: Prepared, progress: Progress, on_log: OnLog) -> tuple[Outcome, float]:
    experiment, encoder = prepared.experiment, prepared.encoder
    options: dict[str, Any] = {"device": prepared.device, "progress": progress}
    start = time.perf_counter()
    if experiment.method == "svm":
        from rtlab.engines import svm

        tokens = tokenize(prepared.splits, encoder.tokenizer, max_length=experiment.max_length)
        prepare_s = time.perf_counter() - start
        return svm.fit(experiment, encoder, tokens, **options), prepare_s
    from rtlab.engines import trainer

    data = dataset_dict(
        prepared.splits,
        encoder.tokenizer,
        max_length=experiment.max_length,
        padding="fixed" if experiment.padding == "fixed" else "none",
    )
    prepare_s = time.perf_counter() - start
    outcome = trainer.fit(experiment, encoder, data, target_modules=prepared.target_modules, on_log=on_log, **options)
    return outcome, prepare_s


def _finished(prepared: Prepared, outcome: Outcome, prepare_s: float) -> RunRecord:
    predictions, split_scores = {}, {}
    for name, logits_NC in outcome.logits.items():
        labels = getattr(prepared.splits, name).labels
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
    import torch

    if isinstance(error, NonFiniteLossError):
        return "nan"
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "cancelled"
    # torch's CPU allocator raises a plain RuntimeError
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "oom"
    return "failed"


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
