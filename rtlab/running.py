"""One run, start to end: the only place where data, encoder, tokens and engine are put together.

What cannot work is refused before anything is computed or written. From then on every ending leaves a record, a
failure's too.
"""

import contextlib
import dataclasses
import gc
import secrets
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np

from rtlab import environment, records
from rtlab.data import Splits
from rtlab.encoders import Encoder
from rtlab.ending import one_line_of, status_of, without_folders
from rtlab.engines.engine import Encoding, Engine, NonFiniteLossError, OnLog, Progress, Task, Training
from rtlab.engines.ranks import Ranks, ranks_here
from rtlab.engines.resuming import Checkpoints, asked_for, check_able
from rtlab.experiment import Experiment
from rtlab.methods import RESULTS, Contrastive, Words
from rtlab.metrics import scores
from rtlab.over_ranks import OwnTime, largest
from rtlab.preparing import Prepared, check_writable, prepare
from rtlab.rank_endings import RankEndings
from rtlab.records import HeldOut, Memory, Predictions, RunRecord, Source, Status, Timing
from rtlab.records.record import UNDISTURBED
from rtlab.saved_models import saving
from rtlab.saved_models.reloading import SavedModelError
from rtlab.testbed import code_digest, fingerprint
from rtlab.values import clean

OUTPUT = Path("results")


class RunFailedError(RuntimeError):
    """A run ended without a result.

    Attributes:
        record: The record that it left.
        path: Where that lies; the folder of records, if another of several ranks wrote it.
    """

    def __init__(self, record: RunRecord, path: Path) -> None:
        super().__init__(f"the run ended with status {record.status!r}: {record.error}")
        self.record = record
        self.path = path


class Run:
    """One execution of one experiment, in three phases, each of which leaves a record if it fails.

    `execute` does them one after another. Who times training alone, as the bench does, calls them apart. Under torchrun
    each of its processes does a part of the run, and the first one leaves the record and the model.

    Args:
        experiment: What to do.
        output_dir: Folder of results.
        save_model: Whether to save what was trained, to `model_folder`.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        progress: Called with a phase, its units done and their number.
        on_log: Called with each entry of the loss history as it is made.
        prepared: The experiment as `prepare` gives it, where that was done already.
        checkpoint_minutes: After how many minutes of training its state is written, to `output_dir`/checkpoints/ID;
            `None` for never.
        resume: Whether to go on from where a run of the same id was when it was last written.
        beside: Whether other runs may be done beside it: then its time stands in no table, whatever the processor's
            time tells, for they share the memory's bandwidth, too.

    Attributes:
        path: Where the record lies, once this process has written one.
        ranks: Who shares the run.

    Raises:
        ValueError: If the request cannot work; nothing was written.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        output_dir: Path | str = OUTPUT,
        save_model: bool = False,
        device: str | None = None,
        progress: Progress | None = None,
        on_log: OnLog | None = None,
        prepared: Prepared | None = None,
        checkpoint_minutes: float | None = None,
        resume: bool = False,
        beside: bool = False,
    ) -> None:
        code_digest(experiment.engine)  # taken before anything else, and once a process
        self.ranks = ranks_here()
        asked = asked_for(minutes=checkpoint_minutes, resume=resume)
        _check_shared(self.ranks, experiment)
        check_writable(Path(output_dir), within=("records", "models", *(("checkpoints",) if asked else ())))
        if not self.ranks.alone:
            self.ranks.take_gpu(environment.find_device(device))
        self.prepared = prepared or prepare(experiment, device=device)
        self.path: Path | None = None
        self._output_dir = Path(output_dir)
        self._save_model = save_model
        if not self.ranks.first:
            progress = on_log = None  # of one run, and not of each part
        self._progress, self._on_log = _until_asked_to_end(progress or _ignore), on_log or _ignore
        self._testbed = dataclasses.replace(self.prepared.testbed, ranks=self.ranks.number)
        self._environment = fingerprint(self.prepared.device)  # with the commit that runs, whatever comes after it
        self._watch = environment.Stopwatch(self.prepared.device)
        self._others: float | None = None
        self._beside = beside
        self._checkpoints: Checkpoints | None = None
        if asked is not None:
            check_able(asked, experiment.engine, self.prepared.device)
            self._checkpoints = Checkpoints(
                Path(output_dir) / "checkpoints" / self.prepared.id,
                minutes=checkpoint_minutes,
                resume=resume,
                testbed=self._testbed,
            )
        self._endings: RankEndings | None = None
        self._ended = False
        if not self.ranks.alone:
            self._endings = self._meet()

    def _meet(self) -> RankEndings:
        """Meet the other ranks, which must have been given the same run."""
        device = self.prepared.device
        assert device is not None, "what ranks share computes on one"
        self.ranks.join(device)
        told = self.ranks.bytes_of_all(f"{self.prepared.id} {secrets.token_hex(8)}".encode())
        ids, names = zip(*(one.decode().split() for one in told), strict=True)
        if len(set(ids)) > 1:
            raise ValueError(f"all ranks must be given the same run; got those of the ids {', '.join(ids)}")
        endings = RankEndings(self.ranks, names[0])
        endings.meet()
        endings.watch(lambda status, error: self.keep(self._record(status=status, error=error)))
        return endings

    def execute(self) -> RunRecord:
        """Do all of it; returns and errors as `finish`."""
        with self._recording():  # what interrupts between two phases is recorded as well
            environment.end_if_asked()
            self.build()
            self.train()
            return self.finish()

    def build(self) -> None:
        """Tokenize, and build the model: all that comes before training.

        Raises:
            RunFailedError: If that failed; its record was written, with status `oom` or `failed`.
            KeyboardInterrupt, SystemExit: If it was interrupted; a record with status `cancelled` was written.
        """
        prepared = self.prepared
        with self._recording():
            environment.reset_peak_memory(prepared.device)
            self._engine = _engine(
                prepared,
                progress=self._progress,
                on_log=self._on_log,
                watch=self._watch,
                checkpoints=self._checkpoints,
                ranks=self.ranks,
            )

    def train(self) -> None:
        """Warm up and train; errors as `build`, and status `nan`."""
        with self._recording():
            others, own = environment.OtherProcesses(), OwnTime()
            if self._checkpoints is not None:
                self._checkpoints.others = others
            self._training = self._engine.train()
            share = own.others_share(others.share(), self.ranks)
            self._others = max(UNDISTURBED, share or 0.0) if self._beside else share

    def finish(self) -> RunRecord:
        """Evaluate, save the model if asked to, and write the record; errors as `train`.

        Returns:
            The record, as it was written. If the model could not be saved, it is `ok` and its `error` says why.

        Raises:
            RunFailedError: Also if what was saved is not what was trained; the record, `failed`, keeps its scores.
        """
        with self._recording():
            record = self._evaluated()
            if self._endings is not None:
                self._endings.leave()
        if not self.ranks.first:
            return record
        try:
            if self._save_model:
                self._save(record)
        except SavedModelError as error:
            record = dataclasses.replace(record, status="failed", error=without_folders(str(error)))
        except BaseException as error:
            record = dataclasses.replace(record, error=f"the model was not saved: {one_line_of(error)}")
            if not isinstance(error, Exception):
                raise
        finally:
            path = self.keep(record)
            if self._endings is not None:
                self._endings.see_off()
        if self._checkpoints is not None and record.status == "ok":
            self._checkpoints.remove()
        if record.status != "ok":
            raise RunFailedError(record, path)
        return record

    def leave(self, status: Status, error: str, *, threads: int | None = None) -> Path:
        """Leave the record of this run, which another process did and could not record; gives its file.

        Args:
            status: How it ended.
            error: Why.
            threads: What that process computed with; `None` if it was as many as this one does.
        """
        if threads is not None:
            self._testbed = dataclasses.replace(self._testbed, threads=threads)
            self._environment = self._environment | {"threads": threads}
        return self.keep(self._record(status=status, error=without_folders(clean(error))))

    def keep(self, record: RunRecord) -> Path:
        """Add the record; an interrupt waits for it. Where it cannot be written it is kept elsewhere, as it cost hours.

        Raises:
            OSError: If it cannot be written where it belongs; a note of the error says where it is.
        """
        with environment.interrupts_wait():
            try:
                self.path = records.save(record, self._output_dir / "records")
            except OSError as error:
                self.path = records.save(record, Path(tempfile.mkdtemp(prefix="rtlab-")))
                error.add_note(f"the record is {self.path}; move it to {self._output_dir / 'records'}")
                raise
        return self.path

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        """Leave a record of whatever ends the block early, unless there is one already, or another rank leaves it."""
        try:
            yield
        except BaseException as error:
            if self._ended or self.path is not None:
                raise
            self._ended = True
            path = self._output_dir / "records"
            with self._ended_once(), environment.interrupts_wait():  # an impatient second Ctrl-C
                own = status_of(error), one_line_of(error)
                found = own if self._endings is None else self._endings.recorded_as(error)
                status, said = found or own
                record = self._record(status=status, error=said)
                if found is not None:
                    path = self.keep(record)
            if not isinstance(error, Exception) and (status, said) == own:
                raise
            raise RunFailedError(record, path) from error

    @contextlib.contextmanager
    def _ended_once(self) -> Iterator[None]:
        """Of several ranks, pass over the signal with which torchrun ends all once one has ended."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            if self._endings is None:
                raise

    def _evaluated(self) -> RunRecord:
        """The record of a run with a result."""
        splits, training = self.prepared.splits, self._training
        predictions, split_scores = {}, {}
        for split in get_args(HeldOut):
            logits_NC = self._engine.evaluate(split)
            if not np.isfinite(logits_NC).all():
                raise NonFiniteLossError(training.counts.steps or 0, f"the logits of {split} are not finite")
            labels_N = np.asarray(getattr(splits, split).labels, dtype=np.int32)
            predictions[split] = Predictions(labels=labels_N, logits=logits_NC)
            split_scores[split] = scores(labels_N, logits_NC.argmax(axis=1), num_labels=splits.num_labels)
        return dataclasses.replace(
            self._record(status="ok"),
            scores=split_scores,
            predictions=predictions,
            timing=self._timing(training),
            counts=training.counts,
            memory=self._memory(),
            history=training.history,
            validated=training.validated,
            train_loss=training.train_loss,
            final_loss=training.final_loss,
            chosen=training.chosen,
            strongest=training.strongest,
        )

    def _memory(self) -> Memory:
        """Peaks; of several ranks those of the one that took most."""
        on_device, on_host = environment.peak_memory(self.prepared.device)
        reserved = environment.peak_reserved_memory(self.prepared.device)
        on_device, reserved, host = largest((on_device, reserved, on_host), self.ranks)
        return Memory(peak_device=on_device, peak_host=host or on_host, peak_reserved=reserved)

    def _timing(self, training: Training) -> Timing:
        counts, seconds = training.counts, self._watch.seconds
        train_s = seconds["train"]
        return Timing(
            load_s=self.prepared.load_s + seconds.get("load", 0.0),
            prepare_s=seconds["prepare"],
            warmup_s=seconds.get("warmup", 0.0),
            train_s=train_s,
            evaluate_s=seconds["evaluate"],
            samples_per_s=counts.samples / train_s,
            steps_per_s=None if counts.steps is None else counts.steps / train_s,
            tokens_per_s=counts.real_tokens / train_s,
            padded_tokens_per_s=(counts.real_tokens + counts.padding_tokens) / train_s,
            others=self._others,
        )

    def _record(self, *, status: Status, error: str | None = None) -> RunRecord:
        """The record, as far as it is known before a result."""
        experiment, splits, encoder = self.prepared.experiment, self.prepared.splits, self.prepared.encoder
        return RunRecord(
            experiment=dataclasses.replace(
                experiment, dataset=splits.name, encoder=None if encoder is None else encoder.name
            ),
            id=self.prepared.id,
            results=RESULTS[experiment.engine],
            status=status,
            error=error,
            dataset=dataclasses.replace(_source(splits), classes=splits.label_names),
            encoder=None if encoder is None else _source(encoder),
            testbed=self._testbed,
            environment=self._environment,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _save(self, record: RunRecord) -> None:
        folder = model_folder(self._output_dir, record)
        saving.write(self._engine, folder)
        del self._engine  # there may be no room for two
        gc.collect()
        saving.check_and_describe(folder, self.prepared, record)


def run(
    experiment: Experiment,
    *,
    output_dir: Path | str = OUTPUT,
    save_model: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    on_log: OnLog | None = None,
) -> RunRecord:
    """Execute an experiment and add its record to `output_dir`/records.

    Args:
        experiment: What to do.
        output_dir: Folder of results.
        save_model: Whether to save what was trained, to `model_folder`.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        progress: Called with a phase, its units done and their number.
        on_log: Called with each entry of the loss history as it is made.

    Returns:
        The record, as it was written. If the model could not be saved, it is `ok` and its `error` says why.

    Raises:
        ValueError: If the request cannot work; nothing was written.
        RunFailedError: If the run failed, or saved another model than it trained; its record was written, with status
            `nan`, `oom` or `failed`.
        KeyboardInterrupt, SystemExit: If it was interrupted; a record with status `cancelled` was written.
    """
    return Run(
        experiment, output_dir=output_dir, save_model=save_model, device=device, progress=progress, on_log=on_log
    ).execute()


def model_folder(output_dir: Path | str, record: RunRecord) -> Path:
    """Where the model of a record is saved: `output_dir`/models/METHOD-ID."""
    return Path(output_dir) / "models" / f"{record.experiment.label.partition('-')[0]}-{record.id}"


def _engine(
    prepared: Prepared,
    *,
    progress: Progress,
    on_log: OnLog,
    watch: environment.Stopwatch,
    checkpoints: Checkpoints | None,
    ranks: Ranks,
) -> Engine:
    """The engine that does it; imported here, as each imports what the others do not need."""
    experiment, encoder, device = prepared.experiment, prepared.encoder, prepared.device
    if isinstance(experiment.method, Words):
        from rtlab.engines.words import WordsEngine

        return WordsEngine(experiment.method, prepared.splits, seed=experiment.seed, watch=watch)
    assert encoder is not None, "all other methods read one"
    assert device is not None, "and torch computes it"
    environment.set_precision(experiment.precision, device)
    task = Task(
        experiment=experiment,
        splits=prepared.splits,
        encoder=encoder,
        target_modules=prepared.target_modules,
        device=device,
        progress=progress,
        on_log=on_log,
        watch=watch,
        checkpoints=checkpoints,
    )
    if experiment.engine == "svm":
        from rtlab.engines.svm import SvmEngine

        return SvmEngine(task, prepared.features)
    engine = _training(task, ranks)
    if isinstance(experiment.method, Contrastive):
        from rtlab.engines.contrastive import ContrastiveEngine

        return ContrastiveEngine(task, engine)
    return engine


def _training(task: Task, ranks: Ranks) -> Encoding:
    """The engine that trains in steps."""
    if task.experiment.engine == "native":
        from rtlab.engines.native import NativeEngine

        return NativeEngine(task, ranks)
    from rtlab.engines.trainer import TrainerEngine

    return TrainerEngine(task, ranks)


def _check_shared(ranks: Ranks, experiment: Experiment) -> None:
    """Refuse (`ValueError`) what several ranks cannot share."""
    alone = experiment.method.recipe is None or isinstance(experiment.method, Contrastive)
    if not ranks.alone and alone:
        raise ValueError(
            f"method {experiment.method.name} is of one process; got {ranks.number} ranks; without torchrun it would do"
        )


def _source(of: Splits | Encoder) -> Source:
    return Source(name=of.name, revision=of.revision, sha256=of.sha256, notes=of.notes)


def _until_asked_to_end(progress: Progress) -> Progress:
    """A run's progress, at which it ends if a signal's exception was lost in a library."""

    def update(phase: str, done: int, total: int) -> None:
        environment.end_if_asked()
        progress(phase, done, total)

    return update


def _ignore(*_: object) -> None:
    """Where nobody listens."""
