"""The named matrices: what the lab runs, as tuples of experiments."""

import dataclasses
from typing import Any, Literal, get_args

from rtlab.experiment import Engine, Experiment, LoraSettings, Padding

Study = Literal["smoke", "embedded", "lab"]

FIRST_SEED = 42
TIMED = 160  # sentences a split; ten steps at the lab's batch size, enough to time fixed padding by

_R8, _R16 = LoraSettings(rank=8, alpha=32), LoraSettings(rank=16, alpha=64)
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
            base = Experiment(encoder="tiny-distilbert", dataset="corpus", epochs=1, limit=48, max_length=96)
            cases = _lab_matrix(base)
        case "embedded":
            cases = _embedded()
        case "lab":
            cases = _lab_matrix(Experiment())
        case _:
            raise ValueError(f"study must be one of {', '.join(get_args(Study))}; got {name!r}")
    given: dict[str, Any] = {"encoder": encoder, "dataset": dataset, "epochs": epochs}
    changes = {field: value for field, value in given.items() if value is not None}
    return tuple(
        dataclasses.replace(case, **changes, seed=FIRST_SEED + seed, limit=_least(case.limit, limit))
        for case in cases
        if engine is None or case.engine in (engine, None)
        for seed in range(seeds)
    )


def _lab_matrix(base: Experiment) -> list[Experiment]:
    """SVM; full and LoRA under dynamic and fixed padding at the lab's rates; then higher rates, bucketed, native."""
    replace = dataclasses.replace
    paddings: tuple[Padding, ...] = ("dynamic", "fixed")
    full = [
        replace(base, method="full", padding=padding, learning_rate=rate) for padding in paddings for rate in _LAB_RATES
    ]
    lora = [
        _lora(base, padding=padding, learning_rate=rate, modules=modules, size=size)
        for size in (_R8, _R16)
        for padding in paddings
        for rate in _LAB_RATES
        for modules in ("attention", "attention+mlp")
    ]
    beyond = [_lora(base, learning_rate=rate, size=_R8) for rate in (5e-4, 1e-3)]
    bucketed = [
        replace(base, method="full", padding="bucketed", learning_rate=2e-5),
        _lora(base, padding="bucketed", learning_rate=2e-4, size=_R8),
    ]
    return [*_svm(base), *full, *lora, *beyond, *bucketed, *_native(base)]


def _embedded() -> list[Experiment]:
    """One epoch of each method at the lab's rates and LoRA's better one; fixed padding is timed on few sentences."""
    replace = dataclasses.replace
    base = Experiment(encoder="minilm", dataset="corpus", epochs=1)
    few = replace(base, limit=TIMED)
    timed: tuple[Padding, ...] = ("dynamic", "fixed")
    return [
        *_svm(base),
        *(replace(base, learning_rate=rate) for rate in _LAB_RATES),
        *(_lora(base, learning_rate=rate, size=_R8) for rate in (*_LAB_RATES, 1e-3)),
        replace(base, padding="bucketed"),
        *(replace(few, padding=padding) for padding in timed),
        *(_lora(few, padding=padding, learning_rate=2e-5, size=_R8) for padding in timed),
        *_native(base),
    ]


def _native(base: Experiment) -> list[Experiment]:
    """The native engine, packed, at the rates that the reference runs at; and padded as the reference pads."""
    native = dataclasses.replace(base, engine="native", padding="packed")
    full = [dataclasses.replace(native, learning_rate=rate) for rate in _LAB_RATES]
    lora = [_lora(native, padding="packed", learning_rate=rate, size=_R8) for rate in (*_LAB_RATES, 1e-3)]
    padded = dataclasses.replace(native, padding="dynamic")
    return [*full, *lora, padded, _lora(padded, learning_rate=1e-3, size=_R8)]


def _svm(base: Experiment) -> list[Experiment]:
    return [
        dataclasses.replace(base, method="svm", pooling="cls"),
        dataclasses.replace(base, method="svm", pooling="mean"),
    ]


def _lora(
    base: Experiment,
    *,
    learning_rate: float,
    size: LoraSettings,
    padding: Padding = "dynamic",
    modules: str = "attention",
) -> Experiment:
    lora = dataclasses.replace(size, target_modules=(modules,))
    return dataclasses.replace(base, method="lora", padding=padding, learning_rate=learning_rate, lora=lora)


def _least(*limits: int | None) -> int | None:
    """The smallest of the limits that there are."""
    return min((limit for limit in limits if limit is not None), default=None)
