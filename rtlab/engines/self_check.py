"""The native engine's check of itself: the model that it is about to train, packed, against itself before it was.

A version of transformers that calls attention in another way, or an architecture that differs in a detail from its kin,
would train something else without an error. So a handful of the run's own sentences goes through the plain model,
padded by the tokenizer, before it is packed, and through the engine's own path after: in fp32, in which a fault cannot
hide in rounding, and in the run's precision. An adapter starts as zero, and so would whatever is wrong in what it adds:
both times, and only then, it has weights of a draw of its own.

Shapes: S sentences, C classes, or features where the method reads those.
"""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.batches import Shape
from rtlab.engines.agreement import LEAST, allowed, disagreement
from rtlab.engines.engine import Task
from rtlab.engines.reading import masked_mean, taken
from rtlab.engines.step import Step
from rtlab.environment import set_precision
from rtlab.experiment import Precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOVED = 0.1  # how far weights of an adapter are moved that do not start as zero, or not in LoRA's way
TRAINED_ALONG = "modules_to_save"  # what PEFT calls copies of whole modules, such as the head, that start as they were

Logits = Mapping[Precision, NDArray[np.float32]]


def plain_logits(model: "PreTrainedModel", task: Task, rows_S: NDArray[np.int64]) -> Logits:
    """What transformers' own model gives for sentences of the training split, (S, C); it uses nothing of ours.

    Args:
        model: What is trained, on its device, as it was loaded; it is left in evaluation mode.
        task: The run.
        rows_S: The sentences.
    """
    inputs = task.encoder.tokenizer(
        [task.splits.train.texts[row] for row in rows_S],
        truncation=True,
        max_length=task.experiment.max_length,
        padding=True,
        padding_side="right",  # else transformers counts positions from the padding on
        return_tensors="pt",
    ).to(task.device)
    reads, mean = task.experiment.method.reads, partial(masked_mean, mask_SL=inputs["attention_mask"])
    assert reads is not None, "it reads an encoder"
    model.eval()
    found: dict[Precision, NDArray[np.float32]] = {}
    with adapter_exercised(model):
        for precision in _precisions(task):
            with _evaluating(task, precision):
                found[precision] = np.asarray(taken(model(**inputs), reads, mean).float().cpu())
    return found


def check(step: Step, task: Task, rows_S: NDArray[np.int64], shape: Shape, plain: Logits) -> None:
    """Compare what the engine computes with what the plain model gave.

    Args:
        step: The step that the run is made of, its model in evaluation mode.
        task: The run.
        rows_S: The sentences.
        shape: Of their batch.
        plain: What `plain_logits` gave for them.

    Raises:
        ValueError: If they differ by more than rounding explains.
    """
    if not np.isfinite(plain["fp32"]).all():
        return  # there is nothing to compare with; the first step's loss will show it
    layout = step.packer.layout(rows_S, slot=shape.slot, total=shape.total)
    for precision in _precisions(task):
        with adapter_exercised(step.model), _evaluating(task, precision):
            found_SC = np.asarray(step.read(layout).float().cpu())
        most = allowed(plain[precision], plain["fp32"], precision, least=LEAST)
        if (said := disagreement(found_SC, plain[precision], most)) is not None:
            raise ValueError(
                f"engine 'native' does not compute what plain transformers does with encoder {task.encoder.name} "
                f"in {precision} ({said}); --engine trainer would do"
            )


@contextlib.contextmanager
def adapter_exercised(model: "PreTrainedModel") -> Iterator[None]:
    """Meanwhile what an adapter adds is no zero, and about as large as what it is added to; then all is as it was.

    The weights of LoRA that start as zero are drawn, always the same, from a generator of their own; all other weights
    of adapters are moved by such draws, since some kinds start where two of their weights cancel each other.

    Args:
        model: With PEFT's adapter, or without: then nothing is done.
    """
    draws = torch.Generator().manual_seed(0)
    before: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        with torch.no_grad():
            for weight, size in _of_adapter(model):
                before.append((weight, weight.clone()))
                drawn = torch.randn(weight.shape, generator=draws).to(weight.device) * (MOVED if size is None else size)
                weight.copy_(weight + drawn if size is None else drawn)
        yield
    finally:
        with torch.no_grad():
            for weight, as_it_was in before:
                weight.copy_(as_it_was)


def _of_adapter(model: "PreTrainedModel") -> Iterator[tuple[torch.Tensor, float | None]]:
    """Weights that an adapter adds by, and of those to be drawn anew how large; of LoRA those that start as zero."""
    loras: set[int] = set()
    for module in model.modules():
        for name, up in (getattr(module, "lora_B", None) or {}).items():
            if not isinstance(up, torch.nn.Module):
                continue
            loras.update(map(id, module.parameters()))
            size = 1 / (abs(module.scaling[name]) or 1) / up.weight.shape[1] ** 0.5
            yield from ((weight, size) for weight in up.parameters())
            yield from ((weight, None) for weight in module.lora_A[name].parameters() if not weight.any())
    if hasattr(model, "peft_config"):
        for name, weight in model.named_parameters():
            if weight.requires_grad and id(weight) not in loras and f".{TRAINED_ALONG}." not in name:
                yield weight, None


def _precisions(task: Task) -> tuple[Precision, ...]:
    return tuple(dict.fromkeys(("fp32", task.experiment.precision)))


@contextlib.contextmanager
def _evaluating(task: Task, precision: Precision) -> Iterator[None]:
    """Without gradients, in a precision, and without compiling anew for it, which takes longer than it does."""
    autocast = torch.autocast(task.device.type, torch.bfloat16, enabled=precision == "bf16")
    set_precision(precision, task.device)
    try:
        with torch.inference_mode(), autocast, torch.compiler.set_stance("force_eager"):
            yield
    finally:
        set_precision(task.experiment.precision, task.device)
