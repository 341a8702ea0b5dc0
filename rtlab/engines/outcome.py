"""What every engine gives back, and what it may report on its way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.records import Counts, LogEntry

# Called with a phase, the units of it that are done, and their number.
Progress = Callable[[str, int, int], None]
# Called with each entry of the loss history as it is made.
OnLog = Callable[[LogEntry], None]


class NonFiniteLossError(ArithmeticError):
    """The training loss, its gradient, or what came of them is NaN or infinite.

    Args:
        step: The optimizer step at which that was found, from 1: for the loss, the first such one.
        finding: What is not finite, with the step.
    """

    def __init__(self, step: int, finding: str) -> None:
        super().__init__(f"{finding}; a lower learning rate or precision fp32 may do")
        self.step = step


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch says so in an error of its own, on a CPU in a plain one, or behind another.

    A step that does not fit while it is captured ends in the error of a capture that was cut short.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return True
    return error.__context__ is not None and out_of_memory(error.__context__)


def does_not_fit(what: str, *, sentences: int, tokens: int, device: str) -> MemoryError:
    """The error that tells a user which batch was tried."""
    return MemoryError(
        f"{what}, a batch of {sentences} sentences and {tokens} tokens, did not fit into the memory of {device}; "
        "a smaller batch_size or max_length would do"
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one experiment.

    Attributes:
        logits: Split (`validation`, `test`) to one score per class, (N, C) fp32, in the split's order.
        counts: Parameters, steps, tokens.
        seconds: Phase (`load`, `warmup`, `train`, `evaluate`) to seconds.
        save: Writes what was trained into a new directory.
        history: Loss and learning rate over the steps; empty for an SVM.
        train_loss: Mean loss over all steps.
        final_loss: Mean loss over the steps of the last epoch.
    """

    logits: Mapping[str, NDArray[np.float32]]
    counts: Counts
    seconds: Mapping[str, float]
    save: Callable[[Path], None]
    history: tuple[LogEntry, ...] = ()
    train_loss: float | None = None
    final_loss: float | None = None


# An engine's `build` gives a function that trains, once, and that gives one that evaluates: so each phase can be timed
# alone, and none can be called before its turn.
Evaluate = Callable[[], Outcome]
Train = Callable[[], Evaluate]
