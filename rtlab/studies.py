"""The named matrices: what the lab runs, as tuples of experiments."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Engine, Full, Method, Padding, Recipe, Svm

Study = Literal["smoke", "embedded", "lab"]

FIRST_SEED = 42
TIMED = 160  # sentences a split; ten steps at the lab's batch size, enough to time fixed padding by

_LAB_RATES = (2e-5, 2e-4)


def study(
    name: Study,
    *,
    encoder: str | None = None,
    dataset: str | None = None,
    engine: Engine | None = None,
    seeds: int = 1,
    epochs: int | None = None,
    limit: int | None = None,
) -> tuple[Experiment, ...]:
    """The experiments of a study, case by case, the seeds of a case together.

    Args:
        name: `smoke` (the lab's whole matrix on a tiny encoder and a few built-in sentences), `embedded` (the packaged
            encoder, one epoch, and fixed against dynamic padding timed on few sentences), or `lab` (the original
            experiment and what goes beyond it).
        encoder: Replaces the study's encoder.
        dataset: Replaces the study's data set.
        engine: Keeps the cases of this engine, and the SVM's, which has none.
        seeds: Seeds per case, counted from 42.
        epochs: Replaces the study's number of epochs.
        limit: Sentences kept per split, at most what the study keeps itself.

    Raises:
        ValueError: If there is no such study, or a value is out of range.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    match name:
        case "smoke":
            base = Experiment(encoder="tiny-distilbert", dataset="corpus", limit=48, max_length=96)
            cases = _of_methods(base, _lab_matrix(Recipe(epochs=1)))
        case "embedded":
            base = Experiment(encoder="minilm", dataset="corpus")
            cases = [*_of_methods(base, _embedded()), *_of_methods(replace(base, limit=TIMED), _timed_paddings())]
        case "lab":
            cases = _of_methods(Experiment(), _lab_matrix(Recipe()))
        case _:
            raise ValueError(f"study must be one of {', '.join(get_args(Study))}; got {name!r}")
    return tuple(
        replace(
            case,
            encoder=encoder or case.encoder,
            dataset=dataset or case.dataset,
            method=case.method if epochs is None else _lasting(case.method, epochs),
            seed=FIRST_SEED + seed,
            limit=min((one for one in (case.limit, limit) if one is not None), default=None),
        )
        for case in cases
        if engine is None or case.engine in (engine, "svm")
        for seed in range(seeds)
    )


def _of_methods(base: Experiment, methods: Sequence[Method]) -> list[Experiment]:
    return [replace(base, method=method) for method in methods]


def _lab_matrix(recipe: Recipe) -> list[Method]:
    """SVM; full and LoRA under dynamic and fixed padding at the lab's rates; then higher rates, bucketed, native."""
    paddings: tuple[Padding, ...] = ("dynamic", "fixed")
    full = [_full(recipe, rate, padding=padding) for padding in paddings for rate in _LAB_RATES]
    lora = [
        _lora(recipe, rate, padding=padding, modules=modules, r=r)
        for r in (8, 16)
        for padding in paddings
        for rate in _LAB_RATES
        for modules in ("attention", "attention+mlp")
    ]
    beyond = [_lora(recipe, rate) for rate in (5e-4, 1e-3)]
    bucketed: list[Method] = [_full(recipe, 2e-5, padding="bucketed"), _lora(recipe, 2e-4, padding="bucketed")]
    return [*_svms(), *full, *lora, *beyond, *bucketed, *_native(recipe)]


def _embedded() -> list[Method]:
    """One epoch of each method at the lab's rates and LoRA's better one."""
    recipe = Recipe(epochs=1)
    full = [_full(recipe, rate) for rate in _LAB_RATES]
    lora = [_lora(recipe, rate) for rate in (*_LAB_RATES, 1e-3)]
    return [*_svms(), *full, *lora, _full(recipe, 2e-5, padding="bucketed"), *_native(recipe)]


def _timed_paddings() -> list[Method]:
    """Fixed against dynamic padding, for few sentences."""
    recipe = Recipe(epochs=1)
    paddings: tuple[Padding, ...] = ("dynamic", "fixed")
    full = [_full(recipe, 2e-5, padding=padding) for padding in paddings]
    return [*full, *(_lora(recipe, 2e-5, padding=padding) for padding in paddings)]


def _native(recipe: Recipe) -> list[Method]:
    """The native engine, packed, at the rates that the reference runs at; and padded as the reference pads."""
    native = replace(recipe, engine="native", padding="packed")
    full = [_full(native, rate) for rate in _LAB_RATES]
    lora = [_lora(native, rate) for rate in (*_LAB_RATES, 1e-3)]
    return [*full, *lora, _full(native, 2e-5, padding="dynamic"), _lora(native, 1e-3, padding="dynamic")]


def _svms() -> list[Method]:
    return [Svm(pooling="cls"), Svm(pooling="mean")]


def _full(recipe: Recipe, learning_rate: float, *, padding: Padding | None = None) -> Full:
    return Full(recipe=replace(recipe, learning_rate=learning_rate, padding=padding or recipe.padding))


def _lora(
    recipe: Recipe, learning_rate: float, *, padding: Padding | None = None, modules: str = "attention", r: int = 8
) -> Adapter:
    of_full = _full(recipe, learning_rate, padding=padding)
    return Adapter(recipe=of_full.recipe, target_modules=(modules,), settings={"r": r, "lora_alpha": 4 * r})


def _lasting(method: Method, epochs: int) -> Method:
    return method if isinstance(method, Svm) else replace(method, recipe=replace(method.recipe, epochs=epochs))
