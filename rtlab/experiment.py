"""What a run is asked to do: one frozen, validated value that decides its result, and nothing else.

Two equal experiments are the same run. A method is a value with the fields that it has and no others, so there is
nothing to leave empty: `match` tells methods apart. Where a run computes (device,
threads) and where it writes are no part of an experiment: they do not decide its result.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Literal, Self, get_args

from rtlab.methods import LORA, RESULTS, Adapter, Full, Method
from rtlab.recipe import Recipe
from rtlab.values import Json, check_one_of, check_whole, clean, from_json, to_json

Precision = Literal["fp32", "tf32", "bf16"]

DEFAULT_ENCODER = "distilbert/distilbert-base-uncased"
DEFAULT_DATASET = "cornell-movie-review-data/rotten_tomatoes"

SHORTEST = 3  # [CLS], one word piece, [SEP]
LARGEST_SEED = 2**32 - 1  # what numpy's generators take


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """How a data set is read where its files leave that open. What is read counts for a run's identity, not these.

    Attributes:
        config: Configuration of a hub data set that has several.
        text_column: Column of the sentences.
        label_column: Column of the labels.
        split_column: Column that says which split a row belongs to.
        skip_bad_rows: Whether rows that cannot be used are left out, and counted, instead of refused.
    """

    config: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    skip_bad_rows: bool = False


AS_IT_IS = DatasetOptions()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One point of a lab's matrix.

    Attributes:
        encoder: Hub id, local directory, or built-in name (`rtlab.encoders`); `None` for a method that reads none,
            to which `max_length` and `precision` mean nothing either.
        dataset: Hub id, file, local directory, or `corpus` (`rtlab.data`).
        dataset_options: How it is read.
        method: What is trained, and how: `Words`, `Svm`, `Full`, `Contrastive` or `Adapter`.
        max_length: Word pieces kept of a sentence, special tokens included.
        precision: Arithmetic of the encoder: `fp32`, `tf32` (CUDA) or `bf16` (autocast, fp32 master weights).
        seed: Moves the head's initialisation, the data order, dropout, the SVM's solver, and which training sentences
            are drawn.
        limit: Sentences kept per split, `None` for all.
        train_sentences: Training sentences that are drawn by the seed, of what a limit leaves: stratified, and fewer
            are among more. Validation and test stay as they are. `None` for all.

    Raises:
        ValueError: If a field is out of range; the message names the field, what was given and what would do.
    """

    encoder: str | None = DEFAULT_ENCODER
    dataset: str = DEFAULT_DATASET
    dataset_options: DatasetOptions = DatasetOptions()
    method: Method = Full()
    max_length: int = 512
    precision: Precision = "fp32"
    seed: int = 42
    limit: int | None = None
    train_sentences: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method):
            raise ValueError(
                f"method must be a Words, Svm, Full, Contrastive or Adapter, such as Full(); got {self.method!r}"
            )
        if self.method.reads is None:  # then these decide nothing, and two experiments that differ in them are one
            for name, value in (("encoder", None), ("max_length", Experiment.max_length), ("precision", "fp32")):
                object.__setattr__(self, name, value)
        else:
            _check_source("encoder", self.encoder)
        _check_source("dataset", self.dataset)
        check_one_of("precision", self.precision, get_args(Precision))
        check_whole("max_length", self.max_length, at_least=SHORTEST)
        check_whole("seed", self.seed, at_least=0)
        if self.seed > LARGEST_SEED:
            raise ValueError(f"seed must be at most {LARGEST_SEED}; got {self.seed!r}")
        if self.limit is not None:
            check_whole("limit", self.limit)
        if self.train_sentences is not None:
            check_whole("train_sentences", self.train_sentences)
            if self.limit is not None and self.train_sentences > self.limit:
                raise ValueError(
                    f"train_sentences must be at most the limit, {self.limit} sentences a split, of which they are "
                    f"drawn; got {self.train_sentences}"
                )

    @property
    def engine(self) -> str:
        """Who does it: the recipe's engine, or the method's own; the names of `rtlab.methods.RESULTS`."""
        return self.method.engine

    @property
    def chance(self) -> bool:
        """Whether other seeds could give other scores: it is trained in steps, or its sentences are drawn."""
        return self.method.recipe is not None or self.train_sentences is not None

    @property
    def label(self) -> str:
        """A short readable name of the point in the matrix, such as `lora-dynamic-lr1e-03-r8-attention`.

        The engine is named where it is not the reference.
        """
        return self.method.label

    @property
    def title(self) -> str:
        """The label with what tells runs of one label apart: sentences, epochs and the like unless usual; the seed."""
        parts = [self.label]
        if self.limit is not None:
            parts.append(f"{self.limit} sentences a split")
        if self.train_sentences is not None:
            parts.append(f"{self.train_sentences} training sentences")
        recipe = self.method.recipe
        if recipe is not None and recipe.epochs != Recipe.epochs:
            parts.append(f"{recipe.epochs} epoch{'s' if recipe.epochs > 1 else ''}")
        if isinstance(self.method, Adapter):
            settings = self.method.settings.items()
            parts += [f"{name} {clean(value)}" for name, value in settings if name not in LORA]
        if self.max_length != Experiment.max_length:
            parts.append(f"max length {self.max_length}")
        return ", ".join([*parts, f"seed {self.seed}"])

    def to_json(self) -> dict[str, Json]:
        """All fields as JSON types."""
        return {**_fields(self), "method": {"kind": _kind(self.method), **_fields(self.method)}}

    @classmethod
    def from_json(cls, fields: Json) -> Self:
        """The experiment that `to_json` wrote; a field that is not there has its default.

        Raises:
            ValueError: If a field is not an experiment's, or its value is out of range.
        """
        return from_json(cls, fields, "experiment")


def identity(
    experiment: Experiment, *, dataset_sha256: str, encoder_sha256: str | None, target_modules: tuple[str, ...] = ()
) -> str:
    """The id of a run: 16 hexadecimal digits of the SHA-256 over what decides its result.

    Only fields that differ from their default are in it, so that a field which is added later leaves every id as it
    was. Data set and encoder count as contents, not as names or paths, and target modules as the modules that they
    resolve to, in any order; so a copied directory or a spelt-out group is the same run. The results version of the
    engine (`RESULTS`) is in it too.

    Args:
        experiment: What is asked for.
        dataset_sha256: Digest of the sentences and labels that are used.
        encoder_sha256: Digest of the encoder's weights, configuration and tokenizer; `None` if it reads none.
        target_modules: What an adapter's target modules resolve to; empty for other methods.
    """
    method = experiment.method
    of_method = {"kind": _kind(method), **_changed(method)}
    if isinstance(method, Adapter):
        of_method |= {"settings": to_json(method.settings), "target_modules": sorted(target_modules)}
    hashed = {
        **_changed(dataclasses.replace(experiment, dataset_options=DatasetOptions())),
        "method": of_method,
        "dataset": dataset_sha256,
        "encoder": encoder_sha256,
        "results": RESULTS[experiment.engine],
    }
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]


def _check_source(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a hub id, a directory or a built-in name; got {value!r}")


def _kind(method: Method) -> str:
    """What `rtlab.values.from_json` tells methods apart by."""
    return type(method).__name__.lower()


def _fields(value: Experiment | Method) -> dict[str, Json]:
    return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _changed(value: Experiment | Method | Recipe) -> dict[str, Json]:
    """Fields that differ from their default, as JSON types."""
    given = {field.name: (getattr(value, field.name), field.default) for field in dataclasses.fields(value)}
    return {
        name: _changed(now) if isinstance(now, Recipe) else to_json(now)
        for name, (now, default) in given.items()
        if now != default and not isinstance(now, Method)
    }
