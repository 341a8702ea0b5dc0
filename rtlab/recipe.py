"""How a method that is trained in steps is trained: engine, padding, learning rate, epochs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rtlab.values import check_one_of, check_whole, is_number, shown

Engine = Literal["trainer", "native"]
Padding = Literal["fixed", "dynamic", "bucketed", "packed"]
Schedule = Literal["linear", "cosine", "constant"]
ClassWeights = Literal["equal", "balanced"]
Keep = Literal["last", "best"]
Metric = Literal["accuracy", "f1", "macro-f1", "loss"]
ChoiceMetric = Literal["accuracy", "macro-f1"]  # what `choose` compares ways by

# What each engine can do, its usual one first.
PADDINGS: Mapping[Engine, tuple[Padding, ...]] = {
    "trainer": ("dynamic", "fixed", "bucketed"),
    "native": ("packed", "fixed", "dynamic", "bucketed"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How `Full`, `Contrastive` and `Adapter` are trained.

    Attributes:
        engine: Who trains: `trainer`, Hugging Face's `Trainer` with PEFT, or `native`, the same mathematics faster.
        padding: How sentences become batches; where none is given, `dynamic` on `trainer` and `packed` on `native`.
        learning_rate: Its peak.
        epochs: Passes over the training split.
        batch_size: Sentences per batch.
        max_steps: Optimizer steps to stop after, `None` for all.
        logging_steps: Steps per entry of the loss history.
        compile: Whether `native` compiles the encoder's layers with torch.compile, which takes a minute or so and pays
            in long runs on CUDA.
        warmup: Steps over which the learning rate rises from 0: below 1 a share of all, from 1 on their number.
        schedule: How it goes on: `linear` to 0, half a `cosine` to 0, or `constant`.
        weight_decay: Decoupled decay (Loshchilov & Hutter, 2019) of all weights but biases and norms, which Trainer
            leaves out, too.
        max_grad_norm: Largest norm of all gradients together, beyond which they are scaled down; 0 for no limit.
        class_weights: What a sentence counts for in the loss: `equal`, or `balanced`: inversely to how frequent its
            class is in the training split, in a weighted mean over the batch.
        label_smoothing: Share of each label that is spread over all classes (Szegedy et al., 2016).
        accumulate: Batches per optimizer step, whose gradients are those of one batch of all their sentences; the last
            step of an epoch may have fewer.
        freeze_layers: Layers of the encoder, from the first on, that are not trained, nor are its embeddings then. Not
            for `Adapter`, under which none is.
        evaluate: When validation is evaluated during training: at the end of each `epoch`, or after each so many steps,
            and at the end of training; `None` for not at all.
        keep: Which weights are evaluated on test, and saved: the `last`, or the `best` on validation.
        patience: Evaluations without a better one after which training ends; `None` for no such end.
        metric: What the best is by: on validation the largest accuracy, F1 or macro-F1, or the least loss, which is the
            plain mean; of equal ones the earliest.

    Raises:
        ValueError: If a field is out of range; the message names the field, what was given and what would do.
    """

    engine: Engine = "trainer"
    padding: Padding = None  # type: ignore[assignment]  # it is given the engine's usual one at once
    learning_rate: float = 2e-5
    epochs: int = 5
    batch_size: int = 16
    max_steps: int | None = None
    logging_steps: int = 50
    compile: bool = False
    warmup: float = 0.0
    schedule: Schedule = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    class_weights: ClassWeights = "equal"
    label_smoothing: float = 0.0
    accumulate: int = 1
    freeze_layers: int = 0
    evaluate: Literal["epoch"] | int | None = None
    keep: Keep = "last"
    patience: int | None = None
    metric: Metric = "accuracy"

    def __post_init__(self) -> None:
        check_one_of("engine", self.engine, get_args(Engine))
        if self.padding is None:
            object.__setattr__(self, "padding", PADDINGS[self.engine][0])
        check_one_of("padding", self.padding, get_args(Padding))
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be True or False; got {self.compile!r}")
        if self.engine == "trainer" and self.compile:
            raise ValueError("compile is not possible on engine 'trainer'; got True; engine native would do")
        if self.padding not in PADDINGS[self.engine]:
            able = " or ".join(engine for engine, paddings in PADDINGS.items() if self.padding in paddings)
            raise ValueError(
                f"padding {self.padding!r} is not possible on engine {self.engine!r}, which takes "
                f"{', '.join(PADDINGS[self.engine])}; one of these would do, or engine {able}"
            )
        if not is_number(self.learning_rate) or not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be finite and above 0, such as 2e-5; got {self.learning_rate!r}")
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        self._check_knobs()
        for name in ("epochs", "batch_size", "logging_steps", "accumulate"):
            check_whole(name, getattr(self, name))
        check_whole("freeze_layers", self.freeze_layers, at_least=0)
        if self.max_steps is not None:
            check_whole("max_steps", self.max_steps)
        self._check_evaluation()

    def _check_knobs(self) -> None:
        check_one_of("schedule", self.schedule, get_args(Schedule))
        check_one_of("class_weights", self.class_weights, get_args(ClassWeights))
        for name in ("warmup", "weight_decay", "max_grad_norm", "label_smoothing"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be finite and at least 0; got {value!r}")
            object.__setattr__(self, name, abs(float(value)))  # -0.0 equals 0.0, but not in JSON
        if self.warmup > 1 and self.warmup != int(self.warmup):
            raise ValueError(f"warmup must be below 1, a share of all steps, or whole; got {self.warmup!r}")
        if self.label_smoothing >= 1:
            raise ValueError(f"label_smoothing must be below 1; got {self.label_smoothing!r}")

    def _check_evaluation(self) -> None:
        if self.evaluate not in (None, "epoch"):
            if not isinstance(self.evaluate, int) or isinstance(self.evaluate, bool) or self.evaluate < 1:
                raise ValueError(
                    f"evaluate must be epoch, or a whole number of steps of at least 1; got {shown(self.evaluate)}"
                )
            check_whole("evaluate", self.evaluate)
        check_one_of("keep", self.keep, get_args(Keep))
        check_one_of("metric", self.metric, get_args(Metric))
        if self.patience is not None:
            check_whole("patience", self.patience)
        for name, value, usual in (("keep", self.keep, "last"), ("patience", self.patience, None)):
            if self.evaluate is None and value != usual:
                raise ValueError(
                    f"{name} goes by evaluations during training, which are not asked for; got {value!r}; "
                    "evaluate epoch beside it would do"
                )
        if self.metric != "accuracy" and self.keep == "last" and self.patience is None:
            raise ValueError(
                f"metric says which weights are best, which neither keep nor patience asks for; got {self.metric!r}; "
                "keep best beside it would do"
            )

    def steps_per_epoch(self, sentences: int) -> int:
        """Optimizer steps of one pass over so many sentences."""
        return math.ceil(math.ceil(sentences / self.batch_size) / self.accumulate)

    def steps(self, sentences: int) -> int:
        """Optimizer steps of a whole run on so many sentences, if it does not end for want of patience."""
        every = self.epochs * self.steps_per_epoch(sentences)
        return every if self.max_steps is None else min(self.max_steps, every)

    def evaluations(self, sentences: int) -> int:
        """How often validation is evaluated meanwhile."""
        every = self.steps_per_epoch(sentences) if self.evaluate == "epoch" else self.evaluate
        return 0 if every is None else math.ceil(self.steps(sentences) / every)

    @property
    def label(self) -> str:
        """A short readable name, such as `native-packed-lr2e-05`; the engine is named where it is not the reference."""
        engine = "" if self.engine == "trainer" else f"{self.engine}-"
        more = "".join(f"-{text}" for text in self.knobs.values() if text).replace(" ", "-")
        return f"{engine}{self.padding}{'-compiled' if self.compile else ''}-lr{rate_text(self.learning_rate)}{more}"

    @property
    def knobs(self) -> dict[str, str]:
        """What is asked of the optimisation, by field, in a word and a number; empty where it is the lab's."""
        return {
            name: "" if getattr(self, name) == getattr(Recipe, name) else word(self) for name, word in _KNOBS.items()
        }


_KNOBS: Mapping[str, Callable[[Recipe], str]] = {
    "warmup": lambda recipe: f"warm-up {number_text(recipe.warmup)}",
    "schedule": lambda recipe: recipe.schedule,
    "weight_decay": lambda recipe: f"decay {number_text(recipe.weight_decay)}",
    "max_grad_norm": lambda recipe: f"clip {number_text(recipe.max_grad_norm)}" if recipe.max_grad_norm else "no clip",
    "class_weights": lambda recipe: f"{recipe.class_weights} classes",
    "label_smoothing": lambda recipe: f"smoothed {number_text(recipe.label_smoothing)}",
    "accumulate": lambda recipe: f"accumulate {recipe.accumulate}",
    "freeze_layers": lambda recipe: f"frozen {recipe.freeze_layers}",
    "evaluate": lambda recipe: f"evaluated each {recipe.evaluate}{' steps' * (recipe.evaluate != 'epoch')}",
    "keep": lambda recipe: f"{recipe.keep} kept",
    "patience": lambda recipe: f"patience {recipe.patience}",
    "metric": lambda recipe: f"by {recipe.metric}",
}


def rate_text(rate: float) -> str:
    """A learning rate with as many digits as it has, such as `2e-05`."""
    return next(text for digits in range(17) if float(text := f"{rate:.{digits}e}") == rate)


def number_text(number: float) -> str:
    """A number with as many digits as it has, such as `0.3` or `10`."""
    return next(text for digits in range(6, 18) if float(text := f"{number:.{digits}g}") == number)
