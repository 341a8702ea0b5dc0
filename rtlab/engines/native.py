"""The native engine: the reference's optimisation, without what the reference spends around it.

Model modules, batch size, AdamW, schedule, clipping and dropout rates are the reference's. Gone are padding (`packed`
rounds a batch up at most; the other strategies are there to compare), the data loader, synchronisation at each step,
the last layer's work for rows that nobody reads, the optimizer's for words that no sentence has, and on CUDA, by
replaying captured steps, the launches. The trade-off: it takes encoders whose attention transformers lets one replace,
and it draws other random numbers than the reference, so runs of the two agree in distribution, and number by number
only without dropout. `tests/test_native.py` shows the latter.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.batches import Shape, shape_of
from rtlab.engines import operations
from rtlab.engines.agreement import spread
from rtlab.engines.capture import CapturedSteps
from rtlab.engines.dropout import Masks
from rtlab.engines.engine import Task, Training, does_not_fit, mean_of_last_epoch, out_of_memory
from rtlab.engines.layouts import Packer
from rtlab.engines.models import parameters, save, to_train
from rtlab.engines.packing import layers, pack
from rtlab.engines.planning import SHAPE_STEP, Batch, Batches, Part, part_of, plan_run
from rtlab.engines.ranks import ALONE, Ranks
from rtlab.engines.reading import read
from rtlab.engines.resuming import Facts
from rtlab.engines.self_check import check, plain_logits
from rtlab.engines.state import gather, put_back, told_by_first
from rtlab.engines.step import Step
from rtlab.engines.validating import Validation
from rtlab.engines.vocabulary import UsedRows
from rtlab.environment import keep_freed_memory, seed_everything
from rtlab.methods import Contrastive, Full
from rtlab.records import Counts, HeldOut, LogEntry
from rtlab.tokens import Tokens, tokenize

CAPTURED = ("full", "lora")  # methods whose steps CUDA captures; nobody has shown that those of others can be
REHEARSALS = 2  # batches of two sizes: after the second, torch.compile takes sizes as variable


class NativeEngine:
    """Trains with steps of its own, on sentences that are packed or padded.

    A loss or a gradient's norm that is not finite is found at the end of its logging interval.

    Args:
        task: Of method `Full`, `Adapter` or `Contrastive`, with an encoder that `packs`.
        ranks: Who shares the run.
    """

    def __init__(self, task: Task, ranks: Ranks = ALONE) -> None:
        experiment, method = task.experiment, task.experiment.method
        assert method.recipe is not None, "it trains in steps"
        self._task, self._recipe, self._ranks = task, method.recipe, ranks
        with task.watch.phase("prepare"):
            self._tokens = tokenize(task.splits, task.encoder.tokenizer, max_length=experiment.max_length)
        seed_everything(experiment.seed)
        if task.device.type == "cpu":
            keep_freed_memory()
        with task.watch.phase("load"):
            self._plan = list(
                plan_run(
                    self._recipe,
                    self._tokens.train.lengths,
                    max_length=experiment.max_length,
                    seed=experiment.seed,
                    shape_step=SHAPE_STEP[task.device.type],
                )
            )
            model = to_train(task).to(task.device)
            checked_S = self._checked_rows()
            plain_SC = plain_logits(model, task, checked_S)
            self._model = pack(model, first_tokens=method.reads != "mean")
            # Decay moves the rows that no sentence has, too; frozen, none is moved.
            few = isinstance(method, Full | Contrastive) and not (
                self._recipe.weight_decay or self._recipe.freeze_layers
            )
            self._words = self._used_rows() if few else None
            masks = Masks()
            if self._recipe.compile:
                for layer in layers(self._model):
                    layer.compile(dynamic=True)
            elif task.device.type == "cpu":
                operations.install(self._model, masks)
            train = self._tokens.train if self._words is None else self._words.tokens
            self._step = Step(
                method,
                experiment.precision,
                self._model,
                Packer(train, task.encoder, device=task.device),
                self._tokens.train.labels,
                masks,
                steps=len(self._plan),
                device=task.device,
                ranks=ranks,
            )
            check(self._step, task, checked_S, self._shape(checked_S), plain_SC)
            self._validation = Validation(
                self._recipe,
                self._tokens.validation.labels,
                self._step.trained,
                per_epoch=self._per_epoch,
                steps=len(self._plan),
            )

    def train(self) -> Training:
        """Train; see `rtlab.engines.engine.Engine`."""
        seed, watch = self._task.experiment.seed, self._task.watch
        seed_everything(seed)  # whatever was drawn between building and training
        with watch.phase("warmup"):
            if self._recipe.compile:
                self._step.rehearse(self._own(self._ranks)[:REHEARSALS])
            step = self._captured() if self._captures else self._eagerly
        seed_everything(self._ranks.seed(seed))
        self._model.train()
        state = None
        if (checkpoints := self._task.checkpoints) is not None:
            state = told_by_first(checkpoints.read() if self._ranks.first else None, self._ranks)
        if state is not None:
            put_back(state, self._step, self._validation, watch, self._ranks)
        with watch.phase("train"):
            history = self._do(step, None if state is None else state.facts)
            chosen = self._validation.restore()
            if self._words is not None:
                self._words.restore()
        losses = self._step.losses()
        return Training(
            counts=self._counts(),
            history=history,
            validated=tuple(self._validation.found),
            train_loss=sum(losses) / len(losses),
            final_loss=mean_of_last_epoch(losses, self._per_epoch),
            chosen=chosen,
        )

    def training_features(self) -> NDArray[np.float32]:
        """The features of the training sentences; see `rtlab.engines.engine.Encoding`."""
        with self._task.watch.phase("train"):
            return self._logits("train", lambda done, of: self._task.progress("features of train", done, of))

    def evaluate(self, split: HeldOut) -> NDArray[np.float32]:
        """Logits of a split; see `rtlab.engines.engine.Engine`."""
        with self._task.watch.phase("evaluate"):
            return self._logits(split, lambda done, of: self._task.progress(f"evaluating {split}", done, of))

    def _logits(self, split: Literal["train"] | HeldOut, progress: Callable[[int, int], None]) -> NDArray[np.float32]:
        """Logits of a split, or what else the method reads off its sentences."""
        tokens: Tokens = getattr(self._tokens, split)
        self._model.eval()
        # What is read without gradients would be compiled anew, for longer than it takes.
        eager = torch.compiler.set_stance("force_eager") if self._recipe.compile else contextlib.nullcontext()
        with eager:
            if self._ranks.alone:
                return self._read(tokens, progress)
            rows_S = self._ranks.part(np.arange(len(tokens)))
            empty_0C = np.empty((0, self._task.splits.num_labels), dtype=np.float32)
            part_SC = self._read(taken(tokens, rows_S), progress) if len(rows_S) else empty_0C
            return self._ranks.interleaved(part_SC, len(tokens))

    def _read(self, tokens: Tokens, progress: Callable[[int, int], None]) -> NDArray[np.float32]:
        reads = self._task.experiment.method.reads
        assert reads is not None, "it reads an encoder"
        logits_SC, _ = read(
            self._model,
            tokens,
            self._task.encoder,
            what=reads,
            precision=self._task.experiment.precision,
            progress=progress,
        )
        return logits_SC

    def save(self, folder: Path) -> None:
        """Write the checkpoint; see `rtlab.engines.engine.Engine`."""
        save(self._model, self._task.encoder, folder)

    @property
    def _batches(self) -> Sequence[Batch]:
        """The batches of all steps."""
        return [batch for batches in self._plan for batch in batches]

    def _part(self, batches: Batches) -> Part:
        """This rank's part of a step."""
        return part_of(batches, self._ranks, self._shape)

    def _own(self, ranks: Ranks) -> Sequence[Batch]:
        """A rank's batches of all steps."""
        return [batch for batches in self._plan for batch in part_of(batches, ranks, self._shape).batches]

    @property
    def _per_epoch(self) -> int:
        return self._recipe.steps_per_epoch(len(self._tokens.train))

    @property
    def _captures(self) -> bool:
        """Whether steps are captured; those of several batches, pairs, or adapters but LoRA are done eagerly."""
        known = self._task.experiment.method.name in CAPTURED
        return self._task.device.type == "cuda" and known and self._recipe.accumulate == 1

    def _eagerly(self, batches: Batches) -> None:
        self._step.eager(self._part(batches))

    def _captured(self) -> Callable[[Batches], None]:
        captured = CapturedSteps(self._step, self._own(self._ranks))

        def step(batches: Batches) -> None:
            part = self._part(batches)
            [batch] = part.batches
            if self._ranks.alone:
                captured(*batch)
                return
            [share] = self._step.shares(part)
            self._step.share.fill_(share)
            captured(*batch)
            self._step.exchange()

        return step

    def _used_rows(self) -> UsedRows:
        rows_S = np.concatenate([rows_S for rows_S, _ in self._batches])
        # The tokenizer's padding token and the embedding's are two settings.
        padding = max(
            int(self._task.encoder.tokenizer.pad_token_id), self._model.get_input_embeddings().padding_idx or 0
        )
        return UsedRows(self._model, self._tokens.train, rows_S, padding=padding)

    def _do(self, step: Callable[[Batches], None], begun: Facts | None) -> tuple[LogEntry, ...]:
        """The training loop, from its beginning or from where it was."""
        history: list[LogEntry] = [] if begun is None else list(begun.history)
        logged, begin = (0, 0) if begun is None else (begun.logged, begun.done)
        done = begin
        for done, batches in enumerate(self._plan[begin:], start=begin + 1):
            try:
                step(batches)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                shape = max((shape for _, shape in self._part(batches).batches), key=lambda shape: shape.total)
                raise does_not_fit(
                    f"step {done}", sentences=shape.sentences, tokens=shape.total, device=self._task.device.type
                ) from error
            self._task.progress("training", done, len(self._plan))
            if self._validation.due(done):
                self._step.check(logged, done)
                self._validation.take(self._validated(done), step=done, epoch=self._epoch(done))
            last = done == len(self._plan) or self._validation.enough
            if done % self._recipe.logging_steps == 0 or last:
                self._step.check(logged, done)
                history.append(self._step.entry(logged, done, epoch=self._epoch(done)))
                self._task.on_log(history[-1])
                logged = done
            if last:
                break
            self._checkpoint(history, logged)
        del self._plan[done:]
        return tuple(history)

    def _checkpoint(self, history: list[LogEntry], logged: int) -> None:
        """Write a checkpoint where one is due; its time is not training's."""
        checkpoints, watch = self._task.checkpoints, self._task.watch
        if checkpoints is not None and self._ranks.as_first(checkpoints.due()):
            with watch.phase("checkpoint"):
                parts = self._step, self._validation, watch, checkpoints
                state = gather(*parts, history=history, logged=logged, ranks=self._ranks)
                if self._ranks.first:
                    checkpoints.write(state)

    def _validated(self, done: int) -> NDArray[np.float32]:
        """Logits of validation after some steps."""
        whole = contextlib.nullcontext() if self._words is None else self._words.restored()
        with whole, self._task.watch.phase("evaluate"):
            logits_NC = self._logits("validation", lambda *_: self._task.progress("training", done, len(self._plan)))
        self._model.train()
        return logits_NC

    def _epoch(self, done: int) -> float:
        """Epochs that so many steps are, counted in batches as Trainer counts."""
        whole, steps = divmod(done, self._per_epoch)
        per_epoch = math.ceil(len(self._tokens.train) / self._recipe.batch_size)
        return (whole * per_epoch + steps * self._recipe.accumulate) / per_epoch

    def _counts(self) -> Counts:
        lengths_N = self._tokens.train.lengths
        real = sum(int(lengths_N[rows_S].sum()) for rows_S, _ in self._batches)
        computed = sum(shape.total for ranks in self._ranks.all() for _, shape in self._own(ranks))
        return Counts(
            **vars(parameters(self._model, self._task.encoder)),
            steps=len(self._plan),
            samples=sum(shape.sentences for _, shape in self._batches),
            real_tokens=real,
            padding_tokens=computed - real,
        )

    def _checked_rows(self) -> NDArray[np.int64]:
        """Of the sentences that the run reads, those that the engine checks itself on."""
        rows_N = np.unique(np.concatenate([rows_S for rows_S, _ in self._batches]))
        return rows_N[spread(self._tokens.train.lengths[rows_N])]

    def _shape(self, rows_S: NDArray[np.int64]) -> Shape:
        """Of a batch of these sentences, as the run's own."""
        return shape_of(
            self._tokens.train.lengths[rows_S],
            padding=self._recipe.padding,
            max_length=self._task.experiment.max_length,
            step=SHAPE_STEP[self._task.device.type],
        )


def taken(tokens: Tokens, rows_S: NDArray[np.int64]) -> Tokens:
    """Some sentences of a split, at least one, in the order of their rows."""
    return Tokens(
        ids=np.concatenate([tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]] for row in rows_S]),
        offsets=np.cumsum([0, *tokens.lengths[rows_S]], dtype=np.int64),
        labels=tokens.labels[rows_S],
    )
