"""The native engine: the reference's optimisation, without what the reference spends around it.

Model modules, batch size, AdamW, schedule, clipping and dropout rates are the reference's. Gone are padding (`packed`
rounds a batch up at most; the other strategies are there to compare), the data loader, synchronisation at each step,
the last layer's work for rows that nobody reads, the optimizer's for words that no sentence has, and on CUDA, by
replaying captured steps, the launches. The trade-off: it takes encoders whose attention transformers lets one replace,
and it draws other random numbers than the reference, so runs of the two agree in distribution, and number by number
only without dropout. `tests/test_native.py` shows the latter.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.batches import Shape, plan_epoch, shape_of
from rtlab.encoders import Encoder
from rtlab.engines import operations
from rtlab.engines.adapting import classifier, mean_of_last_epoch, parameters, save
from rtlab.engines.capture import CapturedSteps
from rtlab.engines.dropout import Masks
from rtlab.engines.layouts import Layout, Packer
from rtlab.engines.outcome import (
    Evaluate,
    NonFiniteLossError,
    OnLog,
    Outcome,
    Progress,
    Train,
    does_not_fit,
    out_of_memory,
)
from rtlab.engines.packing import forward, layers, pack
from rtlab.engines.reading import read
from rtlab.engines.vocabulary import UsedRows
from rtlab.environment import Stopwatch, keep_freed_memory, seed_everything
from rtlab.experiment import Experiment
from rtlab.records import Counts, LogEntry
from rtlab.tokens import TokenizedSplits, Tokens

CLIP = 1.0  # largest norm of all gradients together
REHEARSALS = 2  # batches of two sizes: after the second, torch.compile takes sizes as variable
# See `rtlab.batches.shape_of`. For each number of tokens CUDA captures a step, and oneDNN on a CPU makes code for each
# kind of product: both take time and memory.
SHAPE_STEP = {"cpu": 2, "cuda": 8}


def build(
    experiment: Experiment,
    encoder: Encoder,
    tokens: TokenizedSplits,
    label_names: Sequence[str],
    *,
    target_modules: Sequence[str],
    device: torch.device,
    progress: Progress,
    on_log: OnLog,
) -> Train:
    """Build the model and, on CUDA, capture its steps.

    Args:
        experiment: An experiment of method `full` or `lora` on engine `native`.
        encoder: The encoder that is adapted; it `packs`.
        tokens: The three splits.
        label_names: The classes.
        target_modules: Names of the modules that LoRA adapts; unused by `full`.
        device: torch device.
        progress: Called after each step and each evaluated batch.
        on_log: Called with each logging interval.

    Returns:
        The function that trains. It raises `NonFiniteLossError` if a step's loss or gradient norm is NaN or infinite,
        found at the end of its logging interval, and `MemoryError` if a batch does not fit; evaluation does the former
        if the logits are not finite.
    """
    watch = Stopwatch(device)
    seed_everything(experiment.seed)
    if device.type == "cpu":
        keep_freed_memory()
    with watch.phase("load"):
        plan = list(plan_run(experiment, tokens.train.lengths, SHAPE_STEP[device.type]))
        model = pack(classifier(experiment, encoder, label_names, target_modules).to(device))
        words = _used_rows(model, encoder, tokens.train, plan) if experiment.method == "full" else None
        masks = Masks()
        if experiment.compile:
            for layer in layers(model):
                layer.compile(dynamic=True)
        elif device.type == "cpu":
            operations.install(model, masks)
        packer = Packer(tokens.train if words is None else words.tokens, encoder, device=device)
        step = Step(experiment, model, packer, tokens.train.labels, masks, steps=len(plan), device=device)
    with watch.phase("warmup"):
        if experiment.compile:
            step.rehearse(plan[:REHEARSALS])
        run = step.eager if device.type == "cpu" else CapturedSteps(step, plan)

    def train() -> Evaluate:
        seed_everything(experiment.seed)  # whatever was drawn between building and training
        model.train()
        with watch.phase("train"):
            history = _train(experiment, plan, run, step, progress, on_log)
            if words is not None:
                words.restore()

        def evaluate() -> Outcome:
            with watch.phase("evaluate"):
                scores = _evaluate(experiment, model, encoder, tokens, progress)
            losses = step.losses()
            if not all(np.isfinite(logits_NC).all() for logits_NC in scores.values()):
                raise NonFiniteLossError(len(plan), f"after step {len(plan)}, the last, the logits are not finite")
            per_epoch = -(-len(tokens.train) // _batch_size(experiment))
            return Outcome(
                logits=scores,
                counts=_counts(model, plan, tokens.train.lengths),
                seconds=watch.seconds,
                save=lambda folder: save(model, encoder, folder),
                history=history,
                train_loss=sum(losses) / len(losses),
                final_loss=mean_of_last_epoch(losses, per_epoch),
            )

        return evaluate

    return train


class Step:
    """One optimizer step, all of it on the device: layout, forward, backward, clipping, AdamW, schedule, history.

    Args:
        experiment: The recipe.
        model: The packed model on its device.
        packer: The training split.
        labels_N: Its classes.
        masks: Where attention takes dropout's factors from, on a CPU.
        steps: Steps of the run: where the learning rate reaches 0.
        device: torch device.
    """

    def __init__(
        self,
        experiment: Experiment,
        model: Any,
        packer: Packer,
        labels_N: NDArray[np.int64],
        masks: Masks,
        *,
        steps: int,
        device: torch.device,
    ) -> None:
        assert experiment.learning_rate is not None, "a normalised training experiment has a learning rate"
        self.model = model
        self.device = device
        self.packer = packer
        self.masks = masks
        self.rate = experiment.learning_rate
        self.steps = steps
        self.labels_N = torch.from_numpy(labels_N).to(device)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.learning_rate = torch.zeros((), device=device)
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=self.learning_rate,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.0,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.done = torch.zeros(1, dtype=torch.int64, device=device)
        self.losses_N, self.norms_N = (torch.zeros(steps, device=device) for _ in range(2))
        self._autocast = experiment.precision == "bf16"

    def eager(self, rows_S: NDArray[np.int64], shape: Shape) -> None:
        """Do a step."""
        layout = self.packer.layout(rows_S, slot=shape.slot, total=shape.total)
        self(layout, torch.from_numpy(rows_S).to(self.device))

    def __call__(self, layout: Layout, rows_S: torch.Tensor) -> None:
        """Do a step on a batch that is laid out, of the sentences `rows_S`, without waiting for the device."""
        loss = self._loss(layout, rows_S)
        loss.backward()
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.learning_rate.copy_((self.rate * (self.steps - self.done.double()) / self.steps)[0])
        # As `clip_grad_norm_`, but AdamW divides on its way: one pass over the gradients less.
        self.optimizer.grad_scale = ((norm + 1e-6) / CLIP).clamp(min=1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses_N.index_copy_(0, self.done, loss.detach()[None])
        self.norms_N.index_copy_(0, self.done, norm[None])
        self.done += 1

    def _loss(self, layout: Layout, rows_S: torch.Tensor) -> torch.Tensor:
        # A captured step may keep no casts of weights from one step to the next.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast, cache_enabled=False):
            scores_SC = forward(self.model, layout, self.masks).logits
        return torch.nn.functional.cross_entropy(scores_SC.float(), self.labels_N.index_select(0, rows_S))

    def rehearse(self, batches: Sequence[tuple[NDArray[np.int64], Shape]]) -> None:
        """Go forward and backward, so that what is compiled is compiled, and leave no trace."""
        self.model.train()
        for rows_S, shape in batches:
            layout = self.packer.layout(rows_S, slot=shape.slot, total=shape.total)
            self._loss(layout, torch.from_numpy(rows_S).to(self.device)).backward()
            self.optimizer.zero_grad(set_to_none=True)

    def losses(self) -> list[float]:
        """Loss of every step done; waits for the device."""
        losses: list[float] = self.losses_N[: int(self.done)].tolist()
        return losses

    def check(self, begin: int, end: int) -> None:
        """Raise if a loss or a gradient's norm of these steps, counted from 0, is not finite; waits for the device."""
        for what, values_N in (("loss", self.losses_N), ("gradient norm", self.norms_N)):
            for step, value in enumerate(values_N[begin:end].tolist(), start=begin + 1):
                if not np.isfinite(value):
                    raise NonFiniteLossError(step, f"the {what} of step {step} is {value}")

    def entry(self, begin: int, end: int, *, per_epoch: int) -> LogEntry:
        """The logging interval of these steps, counted from 0."""
        return LogEntry(
            step=end,
            epoch=end / per_epoch,
            loss=float(self.losses_N[begin:end].mean()),
            learning_rate=self.rate * (self.steps - end + 1) / self.steps,
            gradient_norm=float(self.norms_N[end - 1]),
        )


def plan_run(
    experiment: Experiment, lengths_N: NDArray[np.int64], shape_step: int
) -> Iterator[tuple[NDArray[np.int64], Shape]]:
    """The batches of the whole run, with their shapes (`rtlab.batches.shape_of`)."""
    assert experiment.epochs is not None, "a normalised training experiment has epochs"
    assert experiment.padding is not None, "a normalised training experiment has a padding"
    left = experiment.max_steps
    for epoch in range(experiment.epochs):
        plan = plan_epoch(
            lengths_N,
            padding=experiment.padding,
            batch_size=_batch_size(experiment),
            seed=experiment.seed,
            epoch=epoch,
        )
        for rows_S in plan.batches[:left]:
            yield (
                rows_S,
                shape_of(
                    lengths_N[rows_S], padding=experiment.padding, max_length=experiment.max_length, step=shape_step
                ),
            )
        if left is not None:
            left = max(0, left - len(plan.batches))


def _used_rows(
    model: Any, encoder: Encoder, tokens: Tokens, plan: Sequence[tuple[NDArray[np.int64], Shape]]
) -> UsedRows:
    rows_S = np.concatenate([rows_S for rows_S, _ in plan])
    return UsedRows(model, tokens, rows_S, padding=int(encoder.tokenizer.pad_token_id))


def _train(
    experiment: Experiment,
    plan: Sequence[tuple[NDArray[np.int64], Shape]],
    run: Callable[[NDArray[np.int64], Shape], None],
    step: Step,
    progress: Progress,
    on_log: OnLog,
) -> tuple[LogEntry, ...]:
    """The training loop."""
    assert experiment.logging_steps is not None, "a normalised training experiment has an interval"
    history: list[LogEntry] = []
    logged = 0
    per_epoch = -(-len(step.labels_N) // _batch_size(experiment))
    for done, (rows_S, shape) in enumerate(plan, start=1):
        try:
            run(rows_S, shape)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise does_not_fit(
                f"step {done}", sentences=shape.sentences, tokens=shape.total, device=step.device.type
            ) from error
        progress("training", done, len(plan))
        if done % experiment.logging_steps == 0 or done == len(plan):
            step.check(logged, done)
            history.append(step.entry(logged, done, per_epoch=per_epoch))
            on_log(history[-1])
            logged = done
    return tuple(history)


def _evaluate(
    experiment: Experiment,
    model: Any,
    encoder: Encoder,
    tokens: TokenizedSplits,
    progress: Progress,
) -> dict[str, NDArray[np.float32]]:
    model.eval()
    scores = {}
    # What is read without gradients would be compiled anew, for longer than it takes.
    with torch.compiler.set_stance("force_eager") if experiment.compile else contextlib.nullcontext():
        for name, split in (("validation", tokens.validation), ("test", tokens.test)):

            def report(done: int, of: int, name: str = name) -> None:
                progress(f"evaluating {name}", done, of)

            scores[name], _ = read(
                model, split, encoder, what="logits", precision=experiment.precision, progress=report
            )
    return scores


def _counts(model: Any, plan: Sequence[tuple[NDArray[np.int64], Shape]], lengths_N: NDArray[np.int64]) -> Counts:
    real = sum(int(lengths_N[rows_S].sum()) for rows_S, _ in plan)
    return Counts(
        **vars(parameters(model)),
        steps=len(plan),
        samples=sum(shape.sentences for _, shape in plan),
        real_tokens=real,
        padding_tokens=sum(shape.total for _, shape in plan) - real,
    )


def _batch_size(experiment: Experiment) -> int:
    assert experiment.batch_size is not None, "a normalised training experiment has a batch size"
    return experiment.batch_size
