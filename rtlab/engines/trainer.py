"""The reference engine: Hugging Face's `Trainer`, collator, sampler and optimizer, and PEFT's LoRA.

It is the oracle that faster engines are held against, so it uses none of our batching, and its data come tokenized
by Hugging Face's own means. Ours is only what is asked of it and what is read off it; two hooks on the model take
down each step's loss and token counts without synchronising the device.
"""

import math
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtlab.encoders import Encoder
from rtlab.engines.adapting import classifier, mean_of_last_epoch, parameters, save
from rtlab.engines.outcome import Evaluate, NonFiniteLossError, OnLog, Outcome, Progress, Train
from rtlab.environment import Stopwatch, seed_everything
from rtlab.experiment import Experiment
from rtlab.records import Counts, LogEntry


def build(
    experiment: Experiment,
    encoder: Encoder,
    data: Any,
    *,
    target_modules: Sequence[str],
    device: Any,
    progress: Progress,
    on_log: OnLog,
) -> Train:
    """Build the model and Hugging Face's `Trainer` for it.

    Args:
        experiment: An experiment of method `full` or `lora`.
        encoder: The encoder that is adapted.
        data: The tokenized `datasets.DatasetDict`, padded already where `padding` is `fixed`.
        target_modules: Names of the modules that LoRA adapts; unused by `full`.
        device: torch device.
        progress: Called after each step and each evaluated batch.
        on_log: Called with each logging interval.

    Returns:
        The function that trains. It raises `NonFiniteLossError` if a step's loss is NaN or infinite, found at the end
        of its logging interval, or if the gradient's norm then is; evaluation does if the logits are.
    """
    watch = Stopwatch(device)
    seed_everything(experiment.seed)
    with watch.phase("load"):
        model = classifier(experiment, encoder, data["train"].features["label"].names, target_modules)
        steps = _StepLog(model)
        with tempfile.TemporaryDirectory() as scratch:  # Trainer makes its directory at once, and keeps nothing in it
            trainer = build_trainer(experiment, encoder, model, data["train"], device=device, output_dir=scratch)
        callback = _callback(steps, progress, on_log)
        trainer.add_callback(callback)

    def train() -> Evaluate:
        with watch.phase("train"):
            train_loss = trainer.train().training_loss

        def evaluate() -> Outcome:
            with watch.phase("evaluate"):
                logits = _evaluate(trainer, callback, data)
            steps.check()
            if not all(np.isfinite(logits_NC).all() for logits_NC in logits.values()):
                last = len(steps.losses())
                raise NonFiniteLossError(last, f"after step {last}, the last, the logits are not finite")
            per_epoch = math.ceil(len(data["train"]) / (experiment.batch_size or 1))
            return Outcome(
                logits=logits,
                counts=_counts(model, steps),
                seconds=watch.seconds,
                save=lambda folder: save(model, encoder, folder),
                history=tuple(steps.history),
                train_loss=float(train_loss),
                final_loss=mean_of_last_epoch(steps.losses(), per_epoch),
            )

        return evaluate

    return train


def _evaluate(trainer: Any, callback: Any, data: Any) -> dict[str, NDArray[np.float32]]:
    trainer.args.train_sampling_strategy = "random"  # else predict() groups by length as well, and shuffles
    logits = {}
    for split in ("validation", "test"):
        callback.evaluate(split)
        logits[split] = np.asarray(trainer.predict(data[split]).predictions, dtype=np.float32)
    return logits


def build_trainer(
    experiment: Experiment, encoder: Encoder, model: Any, train: Any, *, device: Any, output_dir: str
) -> Any:
    """Hugging Face's `Trainer` with the lab's recipe: AdamW without decay, linear to 0, clipping at 1."""
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

    assert experiment.epochs is not None, "a normalised training experiment has epochs"
    assert experiment.batch_size is not None, "a normalised training experiment has a batch size"
    all_steps = experiment.epochs * math.ceil(len(train) / experiment.batch_size)
    arguments = TrainingArguments(
        output_dir=output_dir,
        learning_rate=experiment.learning_rate,
        num_train_epochs=experiment.epochs,
        max_steps=min(experiment.max_steps or all_steps, all_steps),  # Trainer would run more epochs to reach it
        per_device_train_batch_size=experiment.batch_size,
        per_device_eval_batch_size=experiment.batch_size,
        weight_decay=0.0,
        max_grad_norm=1.0,
        lr_scheduler_type="linear",
        warmup_steps=0,
        train_sampling_strategy="group_by_length" if experiment.padding == "bucketed" else "random",
        bf16=experiment.precision == "bf16",
        tf32=experiment.precision == "tf32",
        logging_steps=experiment.logging_steps,
        logging_nan_inf_filter=False,  # it hides a non-finite loss, and synchronises every step to do so
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=experiment.seed,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else Trainer splits each batch over every GPU it sees, which is another experiment
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train,
        processing_class=encoder.tokenizer,
        data_collator=DataCollatorWithPadding(encoder.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)  # standard output is the command line's
    return trainer


class _StepLog:
    """Loss and token counts of each training step, kept on the device until they are read."""

    def __init__(self, model: Any) -> None:
        self.history: list[LogEntry] = []
        self.samples = 0
        self._losses: list[Any] = []
        self._real: list[Any] = []
        self._computed = 0
        self._checked = 0
        model.register_forward_hook(self._take_down, with_kwargs=True)

    def _take_down(self, model: Any, _arguments: Any, inputs: dict[str, Any], outputs: Any) -> None:
        if model.training:
            self._losses.append(outputs.loss.detach())
            self._real.append(inputs["attention_mask"].sum())
            self._computed += inputs["attention_mask"].numel()
            self.samples += len(inputs["attention_mask"])

    def check(self) -> None:
        """Raise if a loss since the last check is not finite."""
        for step, loss in enumerate(self.losses()[self._checked :], start=self._checked + 1):
            if not math.isfinite(loss):
                raise NonFiniteLossError(step, f"the loss of step {step} is {loss}")
        self._checked = len(self._losses)

    def losses(self) -> list[float]:
        import torch

        return [float(loss) for loss in torch.stack(self._losses).tolist()]

    def tokens(self) -> tuple[int, int]:
        """Real and padding tokens of all steps."""
        import torch

        real = int(torch.stack(self._real).sum())
        return real, self._computed - real


def _callback(steps: _StepLog, progress: Progress, on_log: OnLog) -> Any:
    """What Trainer calls: progress, the history, and the watch for a non-finite loss."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]  # Trainer takes callbacks as subclasses only
        def evaluate(self, split: str) -> None:
            self.phase, self.evaluated = f"evaluating {split}", 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            progress("training", state.global_step, state.max_steps)
            if state.global_step >= state.max_steps:
                control.should_log = True  # the last interval may be a short one
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
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
            self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any
        ) -> None:
            self.evaluated += 1
            progress(self.phase, self.evaluated, len(eval_dataloader))

    return Watch()


def _counts(model: Any, steps: _StepLog) -> Counts:
    real, padding = steps.tokens()
    return Counts(
        **vars(parameters(model)),
        steps=len(steps.losses()),
        samples=steps.samples,
        real_tokens=real,
        padding_tokens=padding,
    )
