"""One optimizer step of the native engine, all of it on the device, done eagerly or captured (`rtlab.engines.capture`).

It is the reference's: the mean loss over the batch, gradients clipped together, AdamW, a learning rate for each step.
Several ranks go forward and backward each on its part, captured or not; then loss and gradients, laid in one row, are
summed over all of them in one exchange, outside of what is captured, and each takes the same step.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.engines.dropout import Masks
from rtlab.engines.engine import NonFiniteLossError
from rtlab.engines.layouts import Layout, Packer
from rtlab.engines.losses import loss_of
from rtlab.engines.packing import forward, mean_of_tokens
from rtlab.engines.planning import Batch, Part
from rtlab.engines.ranks import ALONE, Ranks
from rtlab.engines.reading import taken
from rtlab.engines.schedule import learning_rates
from rtlab.experiment import Precision
from rtlab.methods import Method
from rtlab.recipe import Recipe
from rtlab.records import LogEntry

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Trainer's own words for what is not decayed, searched in names in lower case.
_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


class Step:
    """One optimizer step, all of it on the device: layout, forward, backward, clipping, AdamW, schedule, history.

    Args:
        method: What is trained, and how.
        precision: `bf16` runs under autocast.
        model: The packed model on its device.
        packer: The training split.
        labels_N: Its classes, each of C at least once.
        masks: Where attention takes dropout's factors from, on a CPU.
        steps: Steps of the run.
        device: torch device.
        ranks: Who shares the run.
    """

    def __init__(
        self,
        method: Method,
        precision: Precision,
        model: "PreTrainedModel",
        packer: Packer,
        labels_N: NDArray[np.int64],
        masks: Masks,
        *,
        steps: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        recipe = method.recipe
        assert recipe is not None, "it is trained in steps"
        assert method.reads is not None, "and reads an encoder"
        self.model = model
        self.device = device
        self.packer = packer
        self.masks = masks
        self.rates_N = torch.from_numpy(learning_rates(recipe, steps)).to(device)
        self.limit = recipe.max_grad_norm or math.inf
        self.weights_C = class_weights(recipe, labels_N, device)
        self._weight_N = np.ones(len(labels_N))
        if self.weights_C is not None:
            self._weight_N = self.weights_C.double().cpu().numpy()[labels_N]
        self._reads = method.reads
        self._loss_of = loss_of(method, self.weights_C)
        self.labels_N = torch.from_numpy(labels_N).to(device)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.learning_rate = torch.zeros((), device=device)
        self.optimizer = torch.optim.AdamW(
            decayed(model, recipe.weight_decay),
            lr=self.learning_rate,
            betas=(0.9, 0.999),
            eps=1e-8,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.done = torch.zeros(1, dtype=torch.int64, device=device)
        self.losses_N, self.norms_N = (torch.zeros(steps, device=device) for _ in range(2))
        self._autocast = precision == "bf16"
        self._ranks = ranks
        self.share = torch.ones((), device=device)  # of a captured batch in the step that several ranks do
        self._row = torch.empty(0)  # gradients, one after another, and the loss
        self._in_row: list[torch.nn.Parameter] = []

    def eager(self, part: Part) -> None:
        """Do this rank's part of a step, its batches as if they were one, and with the others the step."""
        loss = torch.zeros((), device=self.device)
        for share, (rows_S, shape) in zip(self.shares(part), part.batches, strict=True):
            layout = self.packer.layout(rows_S, slot=shape.slot, total=shape.total)
            of_batch = self._loss(layout, torch.from_numpy(rows_S).to(self.device)) * share
            of_batch.backward()
            loss += of_batch.detach()
        if self._ranks.alone:
            self._update(loss)
        else:
            self._lay(loss)
            self.exchange()

    def __call__(self, layout: Layout, rows_S: torch.Tensor) -> None:
        """Do a step on a batch that is laid out, of the sentences `rows_S`, without waiting for the device.

        Where several ranks do it, it ends before their `exchange`.
        """
        loss = self._loss(layout, rows_S)
        if not self._ranks.alone:
            loss = loss * self.share
        loss.backward()
        if self._ranks.alone:
            self._update(loss.detach())
        else:
            self._lay(loss.detach())

    def exchange(self) -> None:
        """Sum loss and gradients over all ranks, and move the weights."""
        self._ranks.add(self._row)
        *parts, loss = self._row.split([*(parameter.numel() for parameter in self._in_row), 1])
        for parameter, part in zip(self._in_row, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        self._update(loss[0])

    def shares(self, part: Part) -> list[float]:
        """What the mean loss of each batch counts for in the mean over all sentences of a step, weighted as they are.

        Those of all ranks together are 1.
        """
        if part.idle:
            return [0.0]
        weights, of = (
            [float(self._weight_N[rows_S].sum()) for rows_S, _ in batches] for batches in (part.batches, part.whole)
        )
        return [weight / sum(of) for weight in weights]

    def _lay(self, loss: torch.Tensor) -> None:
        """Lay gradients and loss into the row; a captured step finds it where it was at first."""
        if not self._in_row:
            self._in_row = [parameter for parameter in self.trained if parameter.grad is not None]
            self._row = torch.empty(sum(map(torch.numel, self._in_row)) + 1, device=self.device)
        gradients = [parameter.grad.reshape(-1) for parameter in self._in_row if parameter.grad is not None]
        assert len(gradients) == len(self._in_row), "each step has a gradient for the same parameters"
        torch.cat([*gradients, loss.reshape(1)], out=self._row)
        for parameter in self._in_row:
            parameter.grad = None

    def _update(self, loss: torch.Tensor) -> None:
        """Move the weights by the gradients that there are."""
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.learning_rate.copy_(self.rates_N.index_select(0, self.done)[0])
        # As `clip_grad_norm_`, but AdamW divides on its way: one pass over the gradients less.
        self.optimizer.grad_scale = ((norm + 1e-6) / self.limit).clamp(min=1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses_N.index_copy_(0, self.done, loss[None])
        self.norms_N.index_copy_(0, self.done, norm[None])
        self.done += 1

    def _loss(self, layout: Layout, rows_S: torch.Tensor) -> torch.Tensor:
        # A captured step may keep no casts of weights from one step to the next.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast, cache_enabled=False):
            read_SC = self.read(layout)
        return self._loss_of(read_SC.float(), self.labels_N.index_select(0, rows_S))

    def read(self, layout: Layout) -> torch.Tensor:
        """What is read off a batch's sentences: logits, (S, C), or features, (S, D)."""
        output = forward(self.model, layout, self.masks)
        return taken(output, self._reads, partial(mean_of_tokens, layout=layout))

    def rehearse(self, batches: Sequence[Batch]) -> None:
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

    def entry(self, begin: int, end: int, *, epoch: float) -> LogEntry:
        """The logging interval of these steps, counted from 0, at whose end so many epochs are done."""
        return LogEntry(
            step=end,
            epoch=epoch,
            loss=float(self.losses_N[begin:end].mean()),
            learning_rate=float(self.rates_N[end - 1]),
            gradient_norm=float(self.norms_N[end - 1]),
        )


def class_weights(recipe: Recipe, labels_N: NDArray[np.int64], device: torch.device) -> torch.Tensor | None:
    """What a sentence of each class counts for, (C,) fp32; `None` where all count the same."""
    if recipe.class_weights == "equal":
        return None
    counts_C = np.bincount(labels_N)
    return torch.from_numpy((len(labels_N) / (len(counts_C) * counts_C)).astype(np.float32)).to(device)


def decayed(model: "PreTrainedModel", weight_decay: float) -> list[dict[str, object]]:
    """The parameters that are trained, in the groups in which Trainer decays them."""
    if not weight_decay:
        return [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.0}]
    norms = {f"{name}." for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            whole = not _UNDECAYED.search(name.lower()) and name[: name.rfind(".") + 1] not in norms
            groups[whole].append(parameter)
    return [
        {"params": params, "weight_decay": weight_decay if whole else 0.0} for whole, params in groups.items() if params
    ]
