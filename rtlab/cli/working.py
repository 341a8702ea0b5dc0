"""The verbs that train."""

import contextlib
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from rtlab import methods
from rtlab.cli.adapting import LoraOptions, PeftOptions
from rtlab.cli.options import (
    DONE,
    FAILED,
    NO_CHECKPOINTS,
    Checkpointing,
    Data,
    Leaving,
    Output,
    Running,
    Sentences,
    Training,
    optional,
    say,
)
from rtlab.experiment import Experiment
from rtlab.methods import Classifier, Full, Method, Pooling
from rtlab.progress import Bars
from rtlab.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Words:
    """Fit a linear classifier on TF-IDF of words, without an encoder: a few seconds, and what all else has to beat."""

    characters: bool = False
    """Count 2 to 5 characters within words in place of words and pairs of words."""
    classifier: Classifier = "svm"
    """A linear SVM, or logistic regression."""
    c: Annotated[float | None, optional("FLOAT", "the best of five by cross-validation")] = None
    """Inverse strength of the regularisation."""
    sentences: Sentences
    leaving: Leaving
    output: Output

    def __call__(self) -> int:
        experiment = Experiment(
            dataset=self.sentences.dataset,
            method=methods.Words(characters=self.characters, classifier=self.classifier, c=self.c),
            seed=self.leaving.seed,
            train_sentences=self.leaving.train_sentences,
            limit=self.sentences.limit,
            dataset_options=self.sentences.reading.options,
        )
        return _run(experiment, self.leaving, self.output)


@dataclass(frozen=True, kw_only=True)
class Svm:
    """Fit a linear SVM on features of the frozen encoder (lab step e13)."""

    pooling: Pooling = "cls"
    """Feature of a sentence: its first token, or the mean over its tokens."""
    with_words: bool = False
    """Put TF-IDF of words beside the features, its share chosen by cross-validation."""
    classifier: Classifier = "svm"
    """A linear SVM, or logistic regression."""
    c: float = 1.0
    """Inverse strength of the regularisation."""
    tune_c: bool = False
    """Choose C out of five by cross-validation."""
    data: Data
    running: Running
    output: Output

    def __call__(self) -> int:
        if self.tune_c and self.c != 1.0:
            raise ValueError(f"tune_c chooses C itself; got c {self.c:g} beside it; one of the two would do")
        method = methods.Svm(
            pooling=self.pooling,
            with_words=self.with_words,
            classifier=self.classifier,
            c=None if self.tune_c else self.c,
        )
        return _adapt(method, self.data, self.running, self.output)


@dataclass(frozen=True, kw_only=True)
class _InSteps(ABC):
    """What verbs that train in steps have in common."""

    training: Training
    data: Data
    running: Running
    checkpointing: Checkpointing
    output: Output

    @abstractmethod
    def method(self, recipe: Recipe) -> Method:
        """What is trained by a recipe."""

    def __call__(self) -> int:
        recipe = self.training.recipe(self.data.encoder, self.running.device)
        return _adapt(self.method(recipe), self.data, self.running, self.output, self.checkpointing)


@dataclass(frozen=True, kw_only=True)
class Finetune(_InSteps):
    """Train every weight of the encoder and a classification head (lab step e23)."""

    def method(self, recipe: Recipe) -> Method:
        """Full fine-tuning."""
        return Full(recipe=recipe)


@dataclass(frozen=True, kw_only=True)
class Contrastive(_InSteps):
    """Train the encoder on pairs of sentences, and a logistic regression on its features: for few sentences."""

    temperature: float = 0.1
    """What cosine similarities are divided by in the loss."""

    def method(self, recipe: Recipe) -> Method:
        """Contrastive fine-tuning."""
        return methods.Contrastive(recipe=recipe, temperature=self.temperature)


@dataclass(frozen=True, kw_only=True)
class Lora(_InSteps):
    """Train a LoRA adapter and a classification head on the frozen encoder (lab step e31)."""

    adapter: LoraOptions

    def method(self, recipe: Recipe) -> Method:
        """LoRA."""
        return self.adapter.adapter(recipe, self.data.encoder)


@dataclass(frozen=True, kw_only=True)
class Adapt(_InSteps):
    """Train any of PEFT's adapters and a classification head on the frozen encoder."""

    adapter: PeftOptions

    def method(self, recipe: Recipe) -> Method:
        """An adapter of any kind."""
        return self.adapter.adapter(recipe, self.data.encoder)


def _adapt(
    method: Method, data: Data, running: Running, output: Output, checkpointing: Checkpointing = NO_CHECKPOINTS
) -> int:
    """Run a method that reads an encoder."""
    experiment = Experiment(
        encoder=data.encoder,
        dataset=data.sentences.dataset,
        method=method,
        max_length=running.max_length,
        precision=running.precision,
        seed=running.leaving.seed,
        train_sentences=running.leaving.train_sentences,
        limit=data.sentences.limit,
        dataset_options=data.sentences.reading.options,
    )
    return _run(experiment, running.leaving, output, device=running.device, checkpointing=checkpointing)


def _run(
    experiment: Experiment,
    leaving: Leaving,
    output: Output,
    *,
    device: str | None = None,
    checkpointing: Checkpointing = NO_CHECKPOINTS,
) -> int:
    """Run an experiment with a bar, save what it trained, and print what came of it."""
    from rtlab.reporting.tables import summary
    from rtlab.running import Run, RunFailedError, model_folder
    from rtlab.tracking import Tracker, require_wandb, wandb_run

    if leaving.use_wandb:
        require_wandb()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # whatever a library likes to print
        bars = stack.enter_context(Bars(sys.stderr))
        tracker: Tracker | None = None
        run = Run(
            experiment,
            output_dir=leaving.output_dir,
            save_model=True,
            device=device,
            progress=bars.update,
            on_log=lambda entry: None if tracker is None else tracker.log(entry),
            checkpoint_minutes=checkpointing.checkpoint_minutes,
            resume=checkpointing.resume,
        )
        say(run.prepared.splits.notes)
        if leaving.use_wandb and run.ranks.first:  # a wrong request was refused by now
            tracker = stack.enter_context(wandb_run(experiment, name=leaving.run_name, folder=leaving.output_dir))
        try:
            record = run.execute()
        except RunFailedError:
            if run.path is None:  # another rank has recorded it, and says so
                raise SystemExit(FAILED) from None
            raise
        if tracker is not None:
            tracker.finish(record)
    if not run.ranks.first:
        return DONE
    where = f"record  {run.path}\nmodel   {record.error or model_folder(leaving.output_dir, record)}"
    try:
        output.emit(record.to_json(), f"{summary(record)}\n\n{where}")
    except OSError as error:
        error.add_note(f"record {run.path}")  # nothing is lost
        raise
    if record.error is None:
        return DONE
    print(f"rtlab: {record.error}", file=sys.stderr)
    return FAILED
