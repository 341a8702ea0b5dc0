"""The reference engine: Hugging Face's `Trainer`, collator, sampler and optimizer, and PEFT's adapters.

It is the oracle that faster engines are held against, so it uses none of our batching, and its data come tokenized
by Hugging Face's own means. Ours is only what is asked of it, what is read off it (`rtlab.engines.watching`), and
when validation is evaluated and which weights are kept, which both engines share and tests hold against Trainer's own.

Several ranks share a run by Trainer's own means, DistributedDataParallel and its mean over ranks. Two things of it are
mended, which would make the run another one: its sampler gives each rank whole batches, and repeats sentences until all
have as many; and a mean of means counts a sentence for more, the fewer its rank has.
"""

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rtlab.dataset_dict import dataset_dict
from rtlab.encoders import Encoder
from rtlab.engines.engine import Task, Training, mean_of_last_epoch
from rtlab.engines.models import parameters, save, to_train
from rtlab.engines.ranks import ALONE, Ranks
from rtlab.engines.validating import Validation
from rtlab.engines.watching import StepLog, callback
from rtlab.environment import seed_everything
from rtlab.methods import Contrastive
from rtlab.recipe import Recipe
from rtlab.records import Counts, HeldOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from datasets import Dataset
    from transformers import (
        PreTrainedModel,
        Trainer,
        TrainerState,
    )
    from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

    Loss = Callable[..., torch.Tensor]
    Collator = Callable[[list[object]], dict[str, torch.Tensor]]

IGNORED = -100  # the label of what torch's cross-entropy leaves out


class TrainerEngine:
    """Trains with Hugging Face's `Trainer`.

    A loss or a gradient's norm that is not finite is found at the end of its logging interval.

    Args:
        task: Of method `Full`, `Adapter` or `Contrastive`.
        ranks: Who shares the run.
    """

    def __init__(self, task: Task, ranks: Ranks = ALONE) -> None:
        experiment, method = task.experiment, task.experiment.method
        assert method.recipe is not None, "it trains in steps"
        self._task, self._ranks = task, ranks
        with task.watch.phase("prepare"):
            self._data = dataset_dict(
                task.splits,
                task.encoder.tokenizer,
                max_length=experiment.max_length,
                padding="fixed" if method.recipe.padding == "fixed" else "none",
            )
        self._per_epoch = method.recipe.steps_per_epoch(len(self._data["train"]))
        seed_everything(experiment.seed)
        with task.watch.phase("load"):
            self._model = to_train(task)
            if method.reads != "logits":
                self._model.register_forward_hook(_features, with_kwargs=True)
            self._steps = StepLog(self._model, ranks)
            loss = self._loss()
            with tempfile.TemporaryDirectory() as scratch:  # Trainer makes it at once, and keeps nothing in it
                self._trainer = build_trainer(task, self._model, self._data["train"], output_dir=scratch, loss=loss)
            if isinstance(loss, _Loss):
                loss.weigh(self._trainer)
            if not ranks.alone:
                _take_parts(self._trainer, ranks)
            self._validation = Validation(
                method.recipe,
                task.splits.validation.labels,
                [parameter for parameter in self._model.parameters() if parameter.requires_grad],
                per_epoch=self._per_epoch,
                steps=self._trainer.args.max_steps,
            )
            self._callback = callback(self._steps, task.progress, task.on_log, self._validate)
            self._trainer.add_callback(self._callback)

    def train(self) -> Training:
        """Train; see `rtlab.engines.engine.Engine`."""
        # Whatever was drawn between building and training; the order of sentences is the first rank's.
        seed_everything(self._ranks.seed(self._task.experiment.seed))
        with self._task.watch.phase("train"):
            train_loss = self._trainer.train().training_loss
            chosen = self._validation.restore()
        losses = self._steps.losses()
        return Training(
            counts=_counts(self._model, self._task.encoder, self._steps),
            history=tuple(self._steps.history),
            validated=tuple(self._validation.found),
            train_loss=float(train_loss),
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

    def _logits(self, split: Literal["train"] | HeldOut, progress: "Callable[[int, int], None]") -> NDArray[np.float32]:
        """Logits of a split, or what else the method reads off its sentences."""
        self._trainer.args.train_sampling_strategy = "random"  # else predict() groups by length, and shuffles
        self._callback.evaluate(progress)
        data = self._data[split]
        if self._task.experiment.method.reads != "logits":
            data = data.remove_columns("label")  # an encoder alone takes none
        return np.asarray(self._trainer.predict(data).predictions, dtype=np.float32)

    def _loss(self) -> "Loss | None":
        """What Trainer is to call in place of the model's own loss, if anything."""
        method = self._task.experiment.method
        assert method.recipe is not None, "it trains in steps"
        if isinstance(method, Contrastive):
            return _Contrast(method, self._steps)
        another = _asks_for_another(method.recipe) or not self._ranks.alone
        return _Loss(method.recipe, self._task, self._steps, self._ranks) if another else None

    def _validate(self, state: "TrainerState") -> bool:
        """Evaluate validation where that is due; gives whether training is to end."""
        done, of, epoch = state.global_step, state.max_steps, state.epoch
        if self._validation.due(done):
            import torch

            self._steps.check()
            # A data loader draws a number, which would be another of dropout's.
            with self._task.watch.phase("evaluate"), torch.random.fork_rng(devices=[]):
                logits_NC = self._logits("validation", lambda *_: self._task.progress("training", done, of))
            self._validation.take(logits_NC, step=done, epoch=float(epoch))
        return self._validation.enough

    def save(self, folder: Path) -> None:
        """Write the checkpoint; see `rtlab.engines.engine.Engine`."""
        save(self._model, self._task.encoder, folder)


def build_trainer(
    task: Task, model: "PreTrainedModel", train: "Dataset", *, output_dir: str, loss: "Loss | None" = None
) -> "Trainer":
    """Hugging Face's `Trainer`, asked for the recipe.

    Args:
        task: Of a method that is trained in steps.
        model: What is trained.
        train: The tokenized training split, padded already where `padding` is `fixed`.
        output_dir: Where Trainer may write.
        loss: In place of the model's own.
    """
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

    experiment, recipe = task.experiment, task.experiment.method.recipe
    assert recipe is not None, "it trains in steps"
    arguments = TrainingArguments(
        output_dir=output_dir,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.steps(len(train)),  # Trainer would run more epochs to reach it
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm or math.inf,  # at 0 it would not tell the norm
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        warmup_steps=recipe.warmup,
        train_sampling_strategy="group_by_length" if recipe.padding == "bucketed" else "random",
        bf16=experiment.precision == "bf16",
        tf32=experiment.precision == "tf32",
        logging_steps=recipe.logging_steps,
        logging_nan_inf_filter=False,  # it hides a non-finite loss, and synchronises every step to do so
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=experiment.seed,
        use_cpu=task.device.type == "cpu",
        dataloader_pin_memory=task.device.type == "cuda",
        ddp_find_unused_parameters=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else Trainer splits each batch over every GPU it sees, which is another experiment
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train,
        processing_class=task.encoder.tokenizer,
        data_collator=DataCollatorWithPadding(task.encoder.tokenizer),
        compute_loss_func=loss,
    )
    trainer.remove_callback(PrinterCallback)  # standard output is the command line's
    return trainer


def _asks_for_another(recipe: Recipe) -> bool:
    """Whether the loss is another than the model's own, the plain mean over a batch."""
    return recipe.class_weights != "equal" or bool(recipe.label_smoothing) or recipe.accumulate > 1


class _Loss:
    """What Trainer is to call in place of the model's own loss: a weighted mean over all sentences of a step.

    Args:
        recipe: How to train.
        task: The run.
        steps: Takes down the loss of each batch.
        ranks: Who shares the run.
    """

    def __init__(self, recipe: Recipe, task: Task, steps: "StepLog", ranks: Ranks) -> None:
        import torch

        weights_C: torch.Tensor | None = None
        if recipe.class_weights == "balanced":
            from sklearn.utils.class_weight import compute_class_weight

            labels_N = np.asarray(task.splits.train.labels)
            balanced_C = compute_class_weight("balanced", classes=np.unique(labels_N), y=labels_N)
            weights_C = torch.as_tensor(balanced_C, dtype=torch.float32, device=task.device)
        self._steps, self._weights_C, self._ranks, self._device = steps, weights_C, ranks, task.device
        self._sum = torch.nn.CrossEntropyLoss(weight=weights_C, label_smoothing=recipe.label_smoothing, reduction="sum")

    def __call__(
        self, outputs: "SequenceClassifierOutput", labels_S: "torch.Tensor", *, num_items_in_batch: "torch.Tensor"
    ) -> "torch.Tensor":
        """The part of a batch in the mean over its step, whose sentences count for `num_items_in_batch` together."""
        found: torch.Tensor = self._sum(outputs.logits.float(), labels_S) / num_items_in_batch
        if outputs.logits.requires_grad:
            self._steps.take(found)
        return found

    def weigh(self, trainer: "Trainer") -> None:
        """Have Trainer count the sentences of a step by their weights, where it counts them one each."""
        if self._weights_C is None and self._ranks.alone:
            return
        batches_of = trainer.get_batch_samples

        def weighed(*given: object) -> "tuple[list[dict[str, torch.Tensor]], torch.Tensor]":
            batches, _ = batches_of(*given)
            return batches, self._weight_of_all(batches)

        trainer.get_batch_samples = weighed

    def _weight_of_all(self, batches: "list[dict[str, torch.Tensor]]") -> "torch.Tensor":
        """What the sentences of a step count for together, those of all ranks; an ignored one is left out."""
        import torch

        weight = torch.zeros((), device=self._device)
        for batch in batches:
            labels_S = batch["labels"].to(self._device)
            if (counted_S := labels_S[labels_S != IGNORED]).numel():
                weight += len(counted_S) if self._weights_C is None else self._weights_C[counted_S].sum()
            else:
                self._steps.leave_out(int(batch["attention_mask"].sum()))
        self._ranks.add(weight)
        return weight


class _Contrast:
    """What Trainer is to call in place of a loss over single sentences.

    Args:
        method: What is trained.
        steps: Takes down the loss of each batch.
    """

    def __init__(self, method: Contrastive, steps: "StepLog") -> None:
        from rtlab.engines.losses import loss_of

        self._steps, self._loss_of = steps, loss_of(method)

    def __call__(
        self, outputs: "SequenceClassifierOutput", labels_S: "torch.Tensor", *, num_items_in_batch: "torch.Tensor"
    ) -> "torch.Tensor":
        """The loss of a batch."""
        found = self._loss_of(outputs.logits, labels_S)
        self._steps.take(found)
        return found


def _features(
    _model: "PreTrainedModel",
    _arguments: object,
    inputs: "dict[str, torch.Tensor]",
    output: "BaseModelOutput",
) -> "SequenceClassifierOutput":
    """What an encoder gives, with its features, means over tokens, in the place in which Trainer looks for logits."""
    from transformers.modeling_outputs import SequenceClassifierOutput

    mask_SL1 = inputs["attention_mask"][..., None]
    return SequenceClassifierOutput(logits=(output.last_hidden_state.float() * mask_SL1).sum(1) / mask_SL1.sum(1))


def _take_parts(trainer: "Trainer", ranks: Ranks) -> None:
    """Have Trainer give each rank its part of each batch of a run of one process, no sentence twice."""
    from torch.utils.data import DataLoader

    whole = trainer.get_train_dataloader

    def parts() -> "DataLoader[dict[str, torch.Tensor]]":
        loader = whole()
        return DataLoader(
            loader.dataset,
            batch_sampler=_Parts(loader.batch_sampler.batch_sampler, ranks),
            collate_fn=_collating(loader.collate_fn, loader.dataset),
            pin_memory=loader.pin_memory,
        )

    trainer.get_train_dataloader = parts


class _Parts:
    """A rank's rows of each batch, none where there are fewer than ranks.

    Args:
        whole: The batches as Trainer draws them, of which those of the first rank are taken.
        ranks: Who shares them.
    """

    def __init__(self, whole: "torch.utils.data.BatchSampler", ranks: Ranks) -> None:
        self._whole, self._ranks = whole, ranks

    def __len__(self) -> int:
        return len(self._whole)

    def __iter__(self) -> "Iterator[list[int]]":
        import torch

        batches = list(self._whole)
        rows_N = torch.tensor([row for batch in batches for row in batch])
        self._ranks.from_first(rows_N)
        for rows_S in rows_N.split([*map(len, batches)]):
            part_S: list[int] = rows_S.tensor_split(self._ranks.number)[self._ranks.rank].tolist()
            yield part_S


def _collating(collator: "Collator", dataset: "Dataset") -> "Collator":
    """A collator that gives a rank without a sentence one to ignore: all must go forward and backward."""

    def collate(rows: list[object]) -> "dict[str, torch.Tensor]":
        if rows:
            return collator(rows)
        batch = collator([dataset[0]])
        batch["labels"].fill_(IGNORED)
        return batch

    return collate


def _counts(model: "PreTrainedModel", encoder: Encoder, steps: StepLog) -> Counts:
    samples, real, padding = steps.tokens()
    return Counts(
        **vars(parameters(model, encoder)),
        steps=len(steps.losses()),
        samples=samples,
        real_tokens=real,
        padding_tokens=padding,
    )
