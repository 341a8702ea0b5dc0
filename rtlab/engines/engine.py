"""What an engine is, what it is given, and what may go wrong in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rtlab.data import Splits
from rtlab.encoders import Encoder
from rtlab.environment import Stopwatch
from rtlab.experiment import Experiment
from rtlab.records import Counts, HeldOut, LogEntry

if TYPE_CHECKING:
    import torch

# Called with a phase, the units of it that are done, and their number.
Progress = Callable[[str, int, int], None]
# Called with each entry of the loss history as it is made.
OnLog = Callable[[LogEntry], None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an engine is given.

    Attributes:
        experiment: What to do.
        splits: Sentences and labels.
        encoder: What is adapted.
        target_modules: Names of the modules that an adapter adapts; empty for other methods.
        device: Where to compute.
        progress: Called after each step and each evaluated batch.
        on_log: Called with each logging interval.
        watch: Takes the seconds of the phases `prepare` (tokenizing), `load`, `warmup`, `train` and `evaluate`.
    """

    experiment: Experiment
    splits: Splits
    encoder: Encoder
    target_modules: tuple[str, ...]
    device: "torch.device"
    progress: Progress
    on_log: OnLog
    watch: Stopwatch


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training came to.

    Attributes:
        counts: Parameters, steps, tokens.
        history: Loss and learning rate over the steps; empty for an SVM.
        train_loss: Mean loss over all steps; `None` for an SVM.
        final_loss: Mean loss over the steps of the last epoch that was begun; `None` for an SVM.
    """

    counts: Counts
    history: tuple[LogEntry, ...] = ()
    train_loss: float | None = None
    final_loss: float | None = None


class Engine(Protocol):
    """Trains and evaluates one task, whose model it has built; `train` comes first, and once."""

    def train(self) -> Training:
        """Warm up, and train.

        Raises:
            NonFiniteLossError: If a step's loss or gradient norm is NaN or infinite.
            MemoryError: If a batch does not fit; it says which was tried.
        """

    def evaluate(self, split: HeldOut) -> NDArray[np.float32]:
        """One score per class for each sentence of a split, (N, C) fp32, in the split's order."""

    def save(self, folder: Path) -> None:
        """Write what was trained into a directory."""


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


def mean_of_last_epoch(losses: Sequence[float], per_epoch: int) -> float:
    """Mean loss over the steps of the last epoch that was begun.

    Args:
        losses: Of each step.
        per_epoch: Steps of a whole epoch.
    """
    last = losses[(len(losses) - 1) // per_epoch * per_epoch :]
    return sum(last) / len(last)
