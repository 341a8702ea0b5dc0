"""What a run needs, loaded and checked before anything is computed or written."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rtlab import environment
from rtlab.architectures import PACKED
from rtlab.data import Split, Splits, load_splits
from rtlab.encoders import Encoder, checked, load_encoder, packs, target_modules
from rtlab.encoders.modules import check_frozen, check_settings
from rtlab.engines.features import KnownFeatures
from rtlab.engines.schedule import warmup_steps
from rtlab.engines.tfidf import check_terms
from rtlab.experiment import Experiment, identity
from rtlab.methods import Adapter, Contrastive, Full, Method, Reads, Svm, Words
from rtlab.recipe import Engine, Recipe
from rtlab.soundness import check_first_token, check_padding, check_sentences
from rtlab.testbed import Testbed, testbed

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An experiment whose parts are all there and fit together.

    Attributes:
        experiment: What to do.
        splits: Sentences and labels.
        encoder: What is adapted; `None` for a method that reads none.
        target_modules: What an adapter's target modules resolve to; empty for other methods.
        id: Identity of the run.
        device: Where to compute; `None` for the processor, without torch.
        load_s: Seconds that loading took.
        features: What is known of sentences, for a classifier on features; `None` where all are to be read.
    """

    experiment: Experiment
    splits: Splits
    encoder: Encoder | None
    target_modules: tuple[str, ...]
    id: str
    device: "torch.device | None"
    load_s: float
    features: KnownFeatures | None = None

    @property
    def testbed(self) -> Testbed:
        """What times of the run depend on, done in this process."""
        engine = self.experiment.engine
        here = testbed(self.device, engine)
        if self.device is None or self.device.type != "cpu" or engine not in ("native", "svm"):
            return here
        from rtlab.engines.products import fastest

        return replace(here, by_blas=", ".join(fastest().by_blas))


def _modules(encoder: Encoder, method: Method) -> tuple[str, ...]:
    """The modules of an encoder that an adapter adapts; refused where it has no such, or none to freeze."""
    if method.recipe is not None and method.recipe.freeze_layers:
        check_frozen(encoder, method.recipe.freeze_layers, head=method.reads == "logits")
    if not isinstance(method, Adapter):
        return ()
    from rtlab.engines.adapters import adapter_config, check_kind

    check_kind(method.peft_type)
    modules = target_modules(encoder, method.target_modules, method.peft_type)
    check_settings(encoder, method)
    adapter_config(method, modules, encoder.config.model_type)
    return modules


def _check_tokens(encoder: Encoder, reads: Reads, max_length: int, splits: Splits) -> None:
    """Refuse sentences that the encoder cannot take, and reading it where its tokenizer puts no token."""
    check_first_token(encoder, reads)
    for name, split in splits.items():
        check_sentences(encoder, split.texts, max_length, option=f"dataset (its {name} split)")


def _check_results(
    encoder: Encoder, method: Method, modules: tuple[str, ...], max_length: int, train: tuple[str, ...]
) -> None:
    """Refuse an encoder whose results depend on padding, and an adapter that does not suit it."""
    assert method.reads is not None, "a method that reads no encoder has none"
    check_padding(encoder, train, max_length, method.reads)
    if isinstance(method, Adapter):
        from rtlab.engines.trial import check_adapter

        check_adapter(encoder, method, modules, train, max_length)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What an encoder is checked for, each check a function of all that it depends on; each may refuse (`ValueError`).

    Attributes:
        modules: Gives the modules that a method adapts.
        tokens: Looks at the sentences as tokens.
        weights: Reads all weights, under a head for these classes or under none, and gives the encoder.
        results: Tries sentences padded, and an adapter.
    """

    modules: Callable[[Encoder, Method], tuple[str, ...]] = _modules
    tokens: Callable[[Encoder, Reads, int, Splits], None] = _check_tokens
    weights: Callable[[Encoder, tuple[str, ...] | None], Encoder] = checked
    results: Callable[[Encoder, Method, tuple[str, ...], int, tuple[str, ...]], None] = _check_results

    @classmethod
    def remembered(cls) -> Self:
        """The same, each done once for what it depends on: for as long as no file of an encoder changes."""
        return cls(
            modules=cache(_modules), tokens=cache(_check_tokens), weights=cache(checked), results=cache(_check_results)
        )


CHECKS = Checks()


def prepare(
    experiment: Experiment,
    *,
    device: str | None = None,
    load_splits: Callable[..., Splits] = load_splits,
    load_encoder: Callable[[str], Encoder] = load_encoder,
    checks: Checks = CHECKS,
    elsewhere: bool = False,
) -> Prepared:
    """Load everything that an experiment names, and check that it fits together; nothing is written.

    A precision that is slow on the device gives a `UserWarning`.

    Args:
        experiment: What to do.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        load_splits: In place of `rtlab.data.load_splits`, for callers who prepare many experiments on few data sets.
        load_encoder: In place of `rtlab.encoders.load_encoder`, likewise.
        checks: In place of `Checks()`, likewise.
        elsewhere: Whether another machine does it: then the device is its, and is not looked at here.

    Raises:
        ValueError: If something is not there or does not fit; the message names it and what would do.
    """
    start = time.perf_counter()
    where = None if experiment.method.reads is None else environment.find_device("cpu" if elsewhere else device)
    if where is not None and not elsewhere:
        environment.set_precision(experiment.precision, where)
        if (slow := environment.slow_precision(experiment.precision, where)) is not None:
            warnings.warn(slow, stacklevel=2)
    splits = splits_of(experiment, load_splits)
    _check_words(experiment.method, splits)
    _check_training(experiment.method, splits.train)
    encoder: Encoder | None = None
    modules: tuple[str, ...] = ()
    if experiment.encoder is not None:
        encoder = load_encoder(experiment.encoder)
        _check_request(experiment, encoder)
        encoder, modules = _sound(experiment, encoder, splits, checks)
    digest = None if encoder is None else encoder.sha256
    return Prepared(
        experiment=experiment,
        splits=splits,
        encoder=encoder,
        target_modules=modules,
        id=identity(experiment, dataset_sha256=splits.sha256, encoder_sha256=digest, target_modules=modules),
        device=where,
        load_s=time.perf_counter() - start,
    )


def splits_of(experiment: Experiment, load_splits: Callable[..., Splits] = load_splits) -> Splits:
    """The sentences of an experiment: its data set, limited, and the training sentences drawn that it asks for.

    Args:
        experiment: What names them.
        load_splits: In place of `rtlab.data.load_splits`.

    Raises:
        ValueError: If they are not there.
    """
    splits = load_splits(experiment.dataset, limit=experiment.limit, options=experiment.dataset_options)
    number = experiment.train_sentences
    return splits if number is None else splits.drawn(number, seed=experiment.seed)


def _check_request(experiment: Experiment, encoder: Encoder) -> None:
    """Refuse sentences that are longer than the encoder has positions, and an engine that cannot take it."""
    encoder.check_length(experiment.max_length)
    if experiment.engine == "native" and not encoder.packs:
        raise ValueError(f"engine 'native' takes {_why_not_packed(encoder)}; engine trainer would do")


def _sound(experiment: Experiment, encoder: Encoder, splits: Splits, checks: Checks) -> tuple[Encoder, tuple[str, ...]]:
    """The encoder, all of its weights read, and the modules that the method adapts; refused where anything is wrong."""
    method, max_length = _without_training(experiment.method), experiment.max_length
    assert method.reads is not None, "a method that reads no encoder has none"
    modules = checks.modules(encoder, method)
    checks.tokens(encoder, method.reads, max_length, splits)
    encoder = checks.weights(encoder, splits.label_names if method.reads == "logits" else None)
    checks.results(encoder, method, modules, max_length, splits.train.texts)
    return encoder, modules


def _without_training(method: Method) -> Method:
    """A method without how it is trained, or fitted on features: no check of an encoder depends on that."""
    match method:
        case Full(recipe=recipe):
            return Full(recipe=Recipe(freeze_layers=recipe.freeze_layers))
        case Contrastive(recipe=recipe):
            return Contrastive(recipe=Recipe(freeze_layers=recipe.freeze_layers))
        case Adapter():
            return replace(method, recipe=Recipe())
        case Svm(pooling=pooling):
            return Svm(pooling=pooling)
        case _:
            return method


def _check_words(method: Method, splits: Splits) -> None:
    """Refuse sentences of which a method that counts words can make nothing."""
    match method:
        case Words(characters=characters):
            would_do = "sentences of text would do" if characters else "terms of characters (--characters) may do"
        case Svm(with_words=True):
            characters, would_do = False, "features alone, without words, would do"
        case _:
            return
    check_terms(splits.train.texts, characters=characters, option="dataset (its train split)", would_do=would_do)


def _check_training(method: Method, train: Split) -> None:
    """Refuse training that comes to nothing: pairs that there are none of, and one step, whose rate is 0.

    A rate that does not reach its peak gives a `UserWarning`.
    """
    if isinstance(method, Contrastive) and len(set(train.labels)) == len(train):
        raise ValueError(
            f"dataset (its train split) must have two sentences of a class for method contrastive, a pair; got "
            f"{len(train)} of as many classes; more sentences would do"
        )
    recipe = method.recipe
    if recipe is None or warmup_steps(recipe, steps := recipe.steps(len(train))) < steps:
        return
    if steps == 1:
        raise ValueError(
            f"warmup must leave a step after it, for in its first step the rate is 0; got {recipe.warmup:g} with 1 "
            "step; warmup 0, or more epochs, would do"
        )
    warnings.warn(
        f"the learning rate does not reach its peak: warmup is {recipe.warmup:g}, and the training has {steps:,} steps",
        stacklevel=3,
    )


def _why_not_packed(encoder: Encoder) -> str:
    kind = encoder.config.model_type
    if kind in PACKED:
        return (
            f"encoders whose tokens see all others of a sentence; got {encoder.name}, whose config.json says "
            "is_decoder: its tokens see those before them alone"
        )
    return f"encoders of type {', '.join(PACKED)}; got {encoder.name}, which is of type {kind}"


def usual_engine(encoder: str, device: str | None = None) -> Engine:
    """The engine for who does not name one: `native` on the device where it is proven, if it takes the encoder.

    Args:
        encoder: What is to be adapted.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Raises:
        ValueError: If the device or the encoder is not there.
    """
    return "native" if environment.find_device(device).type == "cpu" and packs(encoder) else "trainer"


def check_writable(folder: Path, *, option: str = "output_dir", within: Sequence[str] = ("records", "models")) -> None:
    """Check that a folder, and those within it, can be made or written, without leaving anything behind.

    Args:
        folder: The folder.
        option: What gave it, for messages.
        within: Names of folders in it.

    Raises:
        ValueError: If one is a file, or cannot be written.
    """
    for part in (folder, *(folder / name for name in within)):
        there = next(path for path in (part.absolute(), *part.absolute().parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{option} must be a directory; got {folder}, where {there.name} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"{option} must be writable; got {folder}: no permission to write in {there}")
