"""The named matrices: what the lab runs."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Literal, get_args

from rtlab.experiment import Experiment
from rtlab.matrix import Case, Matrix, load
from rtlab.methods import Adapter, Contrastive, Full, Method, Svm, Words
from rtlab.recipe import PADDINGS, Engine, Padding, Recipe

Study = Literal["smoke", "embedded", "lab", "evidence", "labels"]

FIRST_SEED = Experiment.seed
TIMED = 160  # sentences a split; ten steps at the lab's batch size, enough to time fixed padding by

EVIDENCE = ("headline", "learning rates", "capacity", "padding and time", "ways and recipe")  # its parts, from 1

_LAB_RATES = (2e-5, 2e-4)
_WORDS: tuple[Method, ...] = (Words(), Svm(pooling="mean", with_words=True))
LONGEST = 96  # no sentence of rotten_tomatoes has more word pieces

LABELLED = (50, 100, 200, 500, 1_000, 2_000, 4_000, None)  # training sentences; None are all
LEAST_STEPS = 300  # of few sentences, so that what is compared is how many there are, and not how long it trained


def study(
    name: str,
    *,
    encoder: str | None = None,
    dataset: str | None = None,
    engine: Engine | None = None,
    part: int | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    train_sentences: int | None = None,
) -> tuple[Experiment, ...]:
    """The experiments of a study: all cases with the first seed, then with the next, so that cases alternate.

    Args:
        name: As `matrix`.
        encoder: Replaces the study's encoder.
        dataset: Replaces the study's data set.
        engine: Keeps the cases of this engine, and the SVM's, which has none.
        part: Keeps one part of `evidence`, counted from 1: see `EVIDENCE`.
        seeds: Seeds per case, counted from 42; by default one, in `labels` three, and up to five in `evidence`. A
            method without chance has one in these.
        epochs: Replaces the study's number of epochs.
        limit: Sentences kept per split, at most what the study keeps itself.
        train_sentences: Replaces the number of training sentences that are drawn.

    Raises:
        ValueError: If there is no such study, or a value is out of range.
    """
    changed = matrix(name, part=part).changed(
        encoder=encoder,
        dataset=dataset,
        engine=engine,
        seeds=seeds,
        epochs=epochs,
        limit=limit,
        train_sentences=train_sentences,
    )
    return changed.experiments


def matrix(name: str, *, part: int | None = None) -> Matrix:
    """A study by its name, or out of its file.

    Args:
        name: `smoke` (the lab's whole matrix on a tiny encoder and a few built-in sentences), `embedded` (the packaged
            encoder, one epoch, and fixed against dynamic padding timed on few sentences), `lab` (the original
            experiment and what goes beyond it), `evidence` (the packaged encoder over five seeds and the lab's five
            epochs: hours, in parts), `labels` (each way on 50 training sentences to all, over three seeds: hours), or
            a file that `Matrix.save` wrote.
        part: Keeps one part of `evidence`, counted from 1: see `EVIDENCE`.

    Raises:
        ValueError: If there is no such study.
    """
    if part is not None and (name != "evidence" or not 1 <= part <= len(EVIDENCE)):
        raise ValueError(f"part must be 1 to {len(EVIDENCE)}, of the study evidence; got {part} of {name}")
    packaged = Experiment(encoder="minilm", dataset="corpus")
    match name:
        case "smoke":
            base = Experiment(encoder="tiny-distilbert", dataset="corpus", limit=48, max_length=96)
            cases = _repeated(base, _lab_matrix(Recipe(epochs=1)), seeds=1)
        case "embedded":
            timed = _repeated(replace(packaged, limit=TIMED), _timed_paddings(), seeds=1)
            cases = [*_repeated(packaged, _embedded(), seeds=1), *timed]
        case "lab":
            cases = _repeated(Experiment(), _lab_matrix(Recipe()), seeds=1)
        case "evidence":
            parts = (_headline, _learning_rates, _capacity, _padding_and_time, _ways_and_recipe)
            cases = [case for make in (parts if part is None else parts[part - 1 : part]) for case in make(packaged)]
        case "labels":
            cases = _labels(packaged)
        case _ if Path(name).exists():
            return load(Path(name))
        case _:
            known = ", ".join(get_args(Study))
            raise ValueError(f"study must be one of {known}, or a file that --save-study wrote; got {name!r}")
    return Matrix(cases=tuple(cases))


def _repeated(base: Experiment, methods: Sequence[Method], seeds: int = 5) -> list[Case]:
    """A case of each method, with one seed where there is no chance in it."""
    experiments = [replace(base, method=method) for method in methods]
    return [Case(experiment=one, seeds=seeds if one.chance else 1) for one in experiments]


def _headline(base: Experiment) -> list[Case]:
    """The SVM, and both other methods at their best known rate, on either engine."""
    return _repeated(base, [*_svms(), *_both_engines(Recipe())])


def _learning_rates(base: Experiment) -> list[Case]:
    recipe = Recipe(engine="native")
    between: list[Method] = [_full(recipe, 5e-5), _lora(recipe, 5e-4)]
    others: list[Method] = [_full(recipe, 2e-4), _lora(recipe, 2e-5), _lora(recipe, 2e-4)]
    return [*_repeated(base, others), *_repeated(base, between, seeds=3)]


def _capacity(base: Experiment) -> list[Case]:
    """More rank, and more target modules, at LoRA's best and at the lab's rate."""
    recipe = Recipe(engine="native")
    rank: list[Method] = [_lora(recipe, rate, r=16) for rate in (1e-3, 2e-5)]
    return _repeated(base, [*rank, *(_lora(recipe, rate, modules="attention+mlp") for rate in (1e-3, 2e-5))])


def _padding_and_time(base: Experiment) -> list[Case]:
    """A whole epoch of the headline's setups, timed; what padding costs in time; and in accuracy, if anything."""
    once = Recipe(epochs=1)
    timed: list[Method] = [
        of(replace(once, engine=engine, padding=padding))
        for of in (_usual_full, _usual_lora)
        for engine in get_args(Engine)
        for padding in get_args(Padding)
        if padding in PADDINGS[engine]
    ]
    compared: list[Method] = [
        of(Recipe(engine="native", padding=padding, epochs=2))
        for of in (_usual_full, _usual_lora)
        for padding in ("fixed", "dynamic")
    ]
    return [
        *_repeated(base, _both_engines(once)),
        *_repeated(replace(base, limit=TIMED), timed),
        *_repeated(replace(base, max_length=LONGEST), compared),
    ]


def _ways_and_recipe(base: Experiment) -> list[Case]:
    """Words, alone and beside features; pairs; the usual methods with more of a recipe; two other adapters.

    More of a recipe are warm-up, decay and the best epoch. DoRA (Liu et al., 2024) at LoRA's rate; IA3 (Liu et al.,
    2022) at its paper's.
    """
    recipe = Recipe(engine="native", warmup=0.06, weight_decay=0.01, evaluate="epoch", keep="best")
    adapters = [
        Adapter(recipe=Recipe(engine="native", learning_rate=1e-3), settings={"use_dora": True}),
        Adapter(recipe=Recipe(engine="native", learning_rate=3e-3), peft_type="IA3", target_modules=("attention+mlp",)),
    ]
    pairs = _contrastive(Recipe.epochs)
    return _repeated(base, [*_WORDS, pairs, _usual_full(recipe), _usual_lora(recipe), *adapters])


def _labels(base: Experiment) -> list[Case]:
    """Every way at its best rate of the evidence, on few training sentences and on more."""
    return [
        case
        for number in LABELLED
        for case in _repeated(replace(base, train_sentences=number), _ways(_epochs(number)), seeds=3)
    ]


def _ways(epochs: int) -> list[Method]:
    recipe = Recipe(engine="native", epochs=epochs)
    in_steps = (_contrastive(epochs), _usual_lora(recipe), _usual_full(recipe))
    return [_WORDS[0], Svm(pooling="mean"), _WORDS[1], *in_steps]


def _epochs(sentences: int | None) -> int:
    """The lab's epochs, or more where these are less than `LEAST_STEPS`."""
    steps = ceil((sentences or LEAST_STEPS * Recipe.batch_size) / Recipe.batch_size)
    return max(Recipe.epochs, ceil(LEAST_STEPS / steps))


def _both_engines(recipe: Recipe) -> list[Method]:
    """Full fine-tuning and LoRA on the reference with dynamic padding, and on the native engine packed."""
    recipes = [replace(recipe, engine=engine, padding=PADDINGS[engine][0]) for engine in get_args(Engine)]
    return [of(recipe) for of in (_usual_full, _usual_lora) for recipe in recipes]


def _usual_full(recipe: Recipe) -> Method:
    return _full(recipe, 2e-5)


def _usual_lora(recipe: Recipe) -> Method:
    return _lora(recipe, 1e-3)


def _contrastive(epochs: int) -> Contrastive:
    """At its best known rate, for as much training as other ways have in so many epochs."""
    rate, passes = 5e-5, Contrastive.passes(epochs)
    return Contrastive(recipe=Recipe(engine="native", learning_rate=rate, warmup=0.06, epochs=passes))


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
