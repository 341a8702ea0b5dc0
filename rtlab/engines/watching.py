"""What the reference engine reads off Hugging Face's `Trainer` while it trains: losses, tokens, and when to validate.

Losses and token counts are taken down by a hook on the model, without synchronising the device.
"""

import functools
import math
import operator
from typing import TYPE_CHECKING

from rtlab.engines.engine import NonFiniteLossError, OnLog, Progress
from rtlab.engines.ranks import ALONE, Ranks
from rtlab.records import LogEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.modeling_outputs import SequenceClassifierOutput


class StepLog:
    """Loss and token counts of each training step, over all ranks, kept on the device until they are read.

    Args:
        model: What is trained.
        ranks: Who shares the run; all of them read at the same steps.
    """

    def __init__(self, model: "PreTrainedModel", ranks: Ranks = ALONE) -> None:
        self.history: list[LogEntry] = []
        self._ranks = ranks
        self._samples = self._idle = 0
        self._parts: list[torch.Tensor] = []  # of the step that is being done, a batch each
        self._losses: list[torch.Tensor] = []  # not yet read
        self._read: list[float] = []
        self._real: list[torch.Tensor] = []
        self._computed = 0
        model.register_forward_hook(self._take_down, with_kwargs=True)

    def _take_down(
        self,
        model: "PreTrainedModel",
        _arguments: object,
        inputs: "dict[str, torch.Tensor]",
        outputs: "SequenceClassifierOutput",
    ) -> None:
        if model.training:
            if outputs.loss is not None:
                self.take(outputs.loss)
            self._real.append(inputs["attention_mask"].sum())
            self._computed += inputs["attention_mask"].numel()
            self._samples += len(inputs["attention_mask"])

    def take(self, loss: "torch.Tensor") -> None:
        """Keep the loss of a batch, as a part of its step's."""
        self._parts.append(loss.detach().clone())  # Trainer multiplies it in place by the number of ranks

    def leave_out(self, tokens: int) -> None:
        """A sentence of so many tokens is to go through the model and counts for nothing: they are padding."""
        self._samples -= 1
        self._idle += tokens

    def close(self) -> None:
        """A step is done."""
        self._losses.append(functools.reduce(operator.add, self._parts))
        self._parts.clear()

    def check(self) -> None:
        """Raise if a loss since the last check is not finite."""
        begin = len(self._read)
        for step, loss in enumerate(self.losses()[begin:], start=begin + 1):
            if not math.isfinite(loss):
                raise NonFiniteLossError(step, f"the loss of step {step} is {loss}")

    def losses(self) -> list[float]:
        """Loss of every step; what has come since the last call is read off the device."""
        import torch

        if self._losses:
            losses_N = torch.stack(self._losses)
            self._ranks.add(losses_N)
            self._read += losses_N.tolist()
            self._losses.clear()
        return self._read

    def tokens(self) -> tuple[int, int, int]:
        """Sentences, and real and padding tokens, of all steps."""
        import torch

        real = int(torch.stack(self._real).sum()) - self._idle
        counts = torch.tensor([self._samples, real, self._computed - real])
        self._ranks.add(counts)
        samples, real, padding = counts.tolist()
        return samples, real, padding


def callback(
    steps: StepLog, progress: Progress, on_log: OnLog, validate: "Callable[[TrainerState], bool]"
) -> "TrainerCallback":
    """What Trainer calls: progress, validation, the history, and the watch for a non-finite loss."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]  # Trainer takes callbacks as subclasses only
        def evaluate(self, progress: "Callable[[int, int], None]") -> None:
            self.progress, self.evaluated = progress, 0

        def on_step_end(
            self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: object
        ) -> "TrainerControl":
            steps.close()
            progress("training", state.global_step, state.max_steps)
            if validate(state):
                control.should_training_stop = True
            if control.should_training_stop or state.global_step >= state.max_steps:
                control.should_log = True  # the last interval may be a short one
            return control

        def on_log(
            self,
            args: "TrainingArguments",
            state: "TrainerState",
            control: "TrainerControl",
            logs: dict[str, float],
            **_: object,
        ) -> None:
            if "loss" not in logs:
                return
            steps.check()
            entry = LogEntry(
                step=state.global_step,
                epoch=float(logs["epoch"]),
                loss=float(logs["loss"]),
                learning_rate=float(logs["learning_rate"]),
                gradient_norm=float(logs["grad_norm"]),
            )
            if not math.isfinite(entry.gradient_norm):
                raise NonFiniteLossError(entry.step, f"the gradient norm of step {entry.step} is {entry.gradient_norm}")
            steps.history.append(entry)
            on_log(entry)

        def on_prediction_step(
            self,
            args: "TrainingArguments",
            state: "TrainerState",
            control: "TrainerControl",
            eval_dataloader: "torch.utils.data.DataLoader[object]",
            **_: object,
        ) -> None:
            self.evaluated += 1
            self.progress(self.evaluated, len(eval_dataloader))

    return Watch()
