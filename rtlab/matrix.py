"""A study as a value: cases, each an experiment with the number of its seeds; and the file that keeps one.

Its file is JSON in the form of records: `{"schema": 1, "cases": [{"experiment": {…}, "seeds": 3}, …]}`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Self

from rtlab.experiment import AS_IT_IS, DatasetOptions, Experiment, Precision
from rtlab.methods import Adapter, Contrastive, Full, Method, Svm, Words
from rtlab.recipe import PADDINGS, Engine, Padding, Recipe
from rtlab.values import Json, check_whole, from_json
from rtlab.writing import write_whole

SCHEMA = 1
MOST_RUNS = 100_000  # ten times as many as reports are made to show
LARGEST_FILE = 16 * 2**20  # bytes; a case takes less than 2,000


@dataclass(frozen=True, kw_only=True)
class Case:
    """An experiment, and under how many seeds it is run, counted from its own."""

    experiment: Experiment
    seeds: int = 1

    def __post_init__(self) -> None:
        check_whole("seeds", self.seeds)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A study.

    Attributes:
        cases: What is run, in this order.
        schema: Number of the file's form.

    Raises:
        ValueError: If there are no cases.
    """

    cases: tuple[Case, ...]
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}; got {self.schema}")
        if not self.cases:
            raise ValueError("cases must hold at least one experiment; got none")
        if (runs := sum(case.seeds for case in self.cases)) > MOST_RUNS:
            raise ValueError(f"cases must come to at most {MOST_RUNS:,} runs, with fewer seeds; got {runs:,}")

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """All cases with the first seed, then with the next, so that cases alternate; none occurs twice."""
        return tuple(
            dict.fromkeys(
                replace(case.experiment, seed=case.experiment.seed + seed)
                for seed in range(max(case.seeds for case in self.cases))
                for case in self.cases
                if seed < case.seeds
            )
        )

    def changed(
        self,
        *,
        encoder: str | None = None,
        dataset: str | None = None,
        options: DatasetOptions = AS_IT_IS,
        engine: Engine | None = None,
        seeds: int | None = None,
        epochs: int | None = None,
        limit: int | None = None,
        train_sentences: int | None = None,
        precision: Precision | None = None,
    ) -> "Matrix":
        """The study with other values in place of its own, where they are given.

        Args:
            encoder: Replaces the encoder.
            dataset: Replaces the data set.
            options: How it is read, where that is not as it is.
            engine: Keeps the cases of this engine, and those that have no recipe.
            seeds: Seeds per case.
            epochs: Replaces the number of epochs.
            limit: Sentences kept per split, at most what a case keeps itself.
            train_sentences: Replaces the training sentences that are drawn.
            precision: Replaces the encoder's arithmetic.

        Raises:
            ValueError: If a value is out of range, or no case is left.
        """
        kept = [
            case
            for case in self.cases
            if engine is None or case.experiment.method.recipe is None or case.experiment.engine == engine
        ]
        if not kept:
            raise ValueError(f"engine must be one that the study has cases of; got {engine}")
        return Matrix(
            cases=tuple(
                Case(
                    experiment=replace(
                        case.experiment,
                        encoder=encoder or case.experiment.encoder,
                        dataset=dataset or case.experiment.dataset,
                        dataset_options=case.experiment.dataset_options if options == AS_IT_IS else options,
                        method=_lasting(case.experiment.method, epochs),
                        limit=min((one for one in (case.experiment.limit, limit) if one is not None), default=None),
                        train_sentences=case.experiment.train_sentences if train_sentences is None else train_sentences,
                        precision=precision or case.experiment.precision,
                    ),
                    seeds=case.seeds if seeds is None else seeds,
                )
                for case in kept
            )
        )

    def to_json(self) -> Json:
        """The study as JSON types."""
        cases: list[Json] = [{"experiment": case.experiment.to_json(), "seeds": case.seeds} for case in self.cases]
        return {"schema": self.schema, "cases": cases}

    @classmethod
    def from_json(cls, fields: Json) -> Self:
        """The study that `to_json` wrote.

        Raises:
            ValueError: If it holds anything else.
        """
        return from_json(cls, fields, "study")

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_whole(path, json.dumps(self.to_json(), allow_nan=False, indent=1) + "\n")


def load(path: Path) -> Matrix:
    """Read what `Matrix.save` wrote.

    Raises:
        ValueError: If the file cannot be read, or is no study.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
        fields: Json = json.loads(path.read_text(encoding="utf-8"))
        return Matrix.from_json(fields)
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"study must be a file that --save-study wrote; got {str(path)!r}: {why}") from error


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a study is made of: every combination of these, but for what means nothing to a method.

    Attributes:
        methods: `words`, `svm`, `full`, `lora`, `contrastive`.
        encoders: For methods that read one.
        datasets: Where sentences come from.
        options: How these are read.
        engines: For methods that are trained in steps; an encoder's usual one where there are none.
        paddings: Of these each engine takes those that it can; its usual one where there are none.
        learning_rates: Of the recipe.
        epochs: Of the recipe.
        target_modules: Sets of them, for adapters.
        train_sentences: Training sentences to draw; `None` for all.
        limit: Sentences kept per split, `None` for all.
        seeds: Of each case with chance in it; others have one.
    """

    methods: tuple[str, ...]
    encoders: tuple[str, ...]
    datasets: tuple[str, ...]
    options: DatasetOptions = AS_IT_IS
    engines: tuple[Engine, ...] = ()
    paddings: tuple[Padding, ...] = ()
    learning_rates: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    target_modules: tuple[tuple[str, ...], ...] = ()
    train_sentences: tuple[int | None, ...] = (None,)
    limit: int | None = None
    seeds: int = 1

    def matrix(self, usual_engine: Callable[[str], Engine]) -> Matrix:
        """The study.

        Args:
            usual_engine: Gives an encoder's usual engine.

        Raises:
            ValueError: If a value is out of range, or means nothing to any of the methods.
        """
        self._check()
        check_whole("seeds", self.seeds)
        found = [
            Experiment(
                encoder=encoder,
                dataset=dataset,
                dataset_options=self.options,
                method=method,
                limit=self.limit,
                train_sentences=number,
            )
            for encoder, dataset, number in product(self.encoders, self.datasets, self.train_sentences)
            for name in self.methods
            for method in self._methods(name, encoder, usual_engine)
        ]
        return Matrix(
            cases=tuple(Case(experiment=one, seeds=self.seeds if one.chance else 1) for one in dict.fromkeys(found))
        )

    def _check(self) -> None:
        """Refuse what means nothing to any of the methods."""
        for name in self.methods:
            if name not in _METHODS:
                raise ValueError(f"methods must be of {', '.join(_METHODS)}, separated by commas; got {name!r}")
        given = {
            "encoder": len(self.encoders) > 1,
            "engine": bool(self.engines),
            "padding": bool(self.paddings),
            "learning_rate": bool(self.learning_rates),
            "epochs": bool(self.epochs),
            "target_modules": bool(self.target_modules),
        }
        for field, is_given in given.items():
            able = _MEANS_SOMETHING_TO.get(field, _IN_STEPS)
            if is_given and not set(able) & set(self.methods):
                raise ValueError(
                    f"{field} means nothing to {', '.join(self.methods)}; beside it {' or '.join(able)} would do"
                )

    def _methods(self, name: str, encoder: str, usual_engine: Callable[[str], Engine]) -> Iterator[Method]:
        match name:
            case "words":
                yield Words()
            case "svm":
                yield Svm()
            case "full":
                yield from (Full(recipe=recipe) for recipe in self._recipes(encoder, usual_engine))
            case "contrastive":
                yield from (Contrastive(recipe=recipe) for recipe in self._recipes(encoder, usual_engine))
            case _:
                modules = self.target_modules or (("attention",),)
                for recipe, names in product(self._recipes(encoder, usual_engine), modules):
                    yield Adapter(recipe=recipe, target_modules=names)

    def _recipes(self, encoder: str, usual_engine: Callable[[str], Engine]) -> Iterator[Recipe]:
        engines = self.engines or (usual_engine(encoder),)
        nowhere = [padding for padding in self.paddings if not any(padding in PADDINGS[one] for one in engines)]
        for engine in engines:
            able = [padding for padding in self.paddings if padding in PADDINGS[engine]]
            paddings: Sequence[Padding] = [*able, *nowhere] if self.paddings else [PADDINGS[engine][0]]
            rates, lengths = self.learning_rates or (Recipe.learning_rate,), self.epochs or (Recipe.epochs,)
            for padding, rate, epochs in product(paddings, rates, lengths):
                yield Recipe(engine=engine, padding=padding, learning_rate=rate, epochs=epochs)


_METHODS = ("words", "svm", "full", "lora", "contrastive")
_IN_STEPS = ("full", "lora", "contrastive")
_MEANS_SOMETHING_TO: Mapping[str, tuple[str, ...]] = {"encoder": ("svm", *_IN_STEPS), "target_modules": ("lora",)}


def _lasting(method: Method, epochs: int | None) -> Method:
    if epochs is None or method.recipe is None:
        return method
    return replace(method, recipe=replace(method.recipe, epochs=epochs))
