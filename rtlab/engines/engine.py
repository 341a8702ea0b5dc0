"""What an engine is, what it is given, and what may go wrong in it."""

import errno
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rtlab.data import Splits
from rtlab.encoders import Encoder
from rtlab.engines.resuming import Checkpoints
from rtlab.environment import Stopwatch
from rtlab.experiment import Experiment
from rtlab.records import Counts, HeldOut, LogEntry, Validated

if TYPE_CHECKING:
    import torch

# Called with a phase, the units of it that are done, and their number.
Progress = Callable[[str, int, int], None]
# Called with each entry of the loss history as it is made.
OnLog = Callable[[LogEntry], None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an engine that reads an encoder is given.

    Attributes:
        experiment: What to do.
        splits: Sentences and labels.
        encoder: What is adapted.
        target_modules: Names of the modules that an adapter adapts; empty for other methods.
        device: Where to compute.
        progress: Called after each step and each evaluated batch.
        on_log: Called with each logging interval.
        watch: Takes the seconds of the phases `prepare` (tokenizing), `load`, `warmup`, `train` and `evaluate`.
        checkpoints: Of the run, for engines that write them.
    """

    experiment: Experiment
    splits: Splits
    encoder: Encoder
    target_modules: tuple[str, ...]
    device: "torch.device"
    progress: Progress
    on_log: OnLog
    watch: Stopwatch
    checkpoints: Checkpoints | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training came to.

    Attributes:
        counts: Parameters, steps, tokens.
        history: Loss and learning rate over the steps; empty for an SVM.
        validated: Scores on validation during training.
        train_loss: Mean loss over all steps; `None` for an SVM.
        final_loss: Mean loss over the steps of the last epoch that was begun; `None` for an SVM.
        chosen: What was chosen, by name.
        strongest: Of each class the terms that speak for it most, where there are terms.
    """

    counts: Counts
    history: tuple[LogEntry, ...] = ()
    validated: tuple[Validated, ...] = ()
    train_loss: float | None = None
    final_loss: float | None = None
    chosen: Mapping[str, float] = field(default_factory=dict)
    strongest: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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


class Encoding(Engine, Protocol):
    """An engine that trains an encoder; what it evaluates is its features, (N, D) fp32, in place of scores."""

    def training_features(self) -> NDArray[np.float32]:
        """The features of the training sentences, (N, D) fp32; their time is training's."""


class NonFiniteLossError(ArithmeticError):
    """The training loss, its gradient, or what came of them is NaN or infinite.

    Args:
        step: The optimizer step at which that was found, from 1: for the loss, the first such one.
        finding: What is not finite, with the step.
    """

    def __init__(self, step: int, finding: str) -> None:
        super().__init__(f"{finding}; a lower learning rate or precision fp32 may do")
        self.step = step


# How libraries say it that have no error of their own for it: torch, for CUDA's libraries and worker processes too,
# C++, Rust, and the system's own words with the number of the error.
_NO_MEMORY = re.compile(
    r"can't allocate memory|DefaultCPUAllocator: not enough memory|std::bad_alloc|(CUDA|HIP|MPS)[\w ]* out of memory"
    r"|CUDA error: out of memory|(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT)_(STATUS_)?(ALLOC|ALLOCATION)_FAILED"
    r"|cudaErrorMemoryAllocation|memory allocation of \d+ bytes failed|Cannot allocate memory \((os error )?12\)"
    r"|\[Errno 12\]|is killed by signal: Killed"
)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: by an error's type, its number, its library's words, or behind or within another error.

    A step that does not fit while it is captured ends in the error of a capture that was cut short. Words count in
    errors of the types alone in which libraries say so, since others may quote whatever a file holds.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:  # two errors may name each other
            continue
        if _says_no_memory(one):
            return True
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return False


def _says_no_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Rust's libraries raise plain ones: tokenizers Exception itself, safetensors one of its own.
    plain = isinstance(error, RuntimeError) or type(error) is Exception or type(error).__name__ == "SafetensorError"
    return plain and _NO_MEMORY.search(str(error)) is not None


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
