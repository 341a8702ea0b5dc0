"""The setups of the study `evidence` that claims and findings are judged by, and the quantities that compare them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm
from rtlab.recipe import Padding, Recipe
from rtlab.reporting.frame import TIMES, Cell, setup_fields
from rtlab.reporting.measures import (
    SEEDS_FOR_EQUALITY,
    Measure,
    accuracy_difference,
    lead_over_the_best,
    over_seeds,
    time_ratio,
)
from rtlab.reporting.quantities import FEWEST_RUNS, SHOWN, Quantity, Range
from rtlab.reporting.wording import listed, setup
from rtlab.statistics import MARGIN
from rtlab.studies import EVIDENCE, LONGEST, TIMED, study

POINT = 0.01
ABOVE_0, ABOVE_1 = Range(low=0, text="above 0"), Range(low=1, text="above 1")
LESS, NO_GAIN = Range(0, 1, "below 1"), Range(high=POINT, text=f"below {POINT:+.4f}")
NATIVE = Recipe(engine="native")
ENGINES = {"trainer": Recipe(), "native": NATIVE}
ONCE = replace(NATIVE, epochs=1)
CLS, MEAN = (Experiment(method=Svm(pooling=pooling)) for pooling in ("cls", "mean"))


def full(recipe: Recipe = NATIVE, rate: float = 2e-5) -> Experiment:
    """Full fine-tuning, by default as the lab's recipe has it, on the native engine."""
    return Experiment(method=Full(recipe=replace(recipe, learning_rate=rate)))


def lora(recipe: Recipe = NATIVE, rate: float = 1e-3, modules: str = "attention", r: int = 8) -> Experiment:
    """LoRA, by default at its best known rate, on the native engine."""
    settings = {"r": r, "lora_alpha": 4 * r}
    return Experiment(
        method=Adapter(recipe=replace(recipe, learning_rate=rate), target_modules=(modules,), settings=settings)
    )


BOTH = {"full": full, "LoRA": lora}


def once(engine: str) -> Recipe:
    """One whole epoch with an engine's usual padding, which is run for its time."""
    return ONCE if engine == "native" else Recipe(epochs=1)


def padded(name: str, padding: Padding, engine: str = "native") -> Experiment:
    """Few sentences under a padding, for its time."""
    recipe = replace(once(engine), padding=padding)
    return replace(BOTH[name](recipe), limit=TIMED)


def short(name: str, padding: Padding) -> Experiment:
    """Two epochs of sentences that fixed padding fills to the longest of all: for what padding does to accuracy."""
    recipe = Recipe(engine="native", padding=padding, epochs=2)
    return replace(BOTH[name](recipe), max_length=LONGEST)


def difference(what: str, a: Experiment, b: Experiment, stated: Range = SHOWN, *, runs: int = FEWEST_RUNS) -> Quantity:
    """Test accuracy of `a` less that of `b`."""
    return Quantity(what, (a, b), accuracy_difference, form="{:+.4f}", runs=runs, stated=stated)


def alike(what: str, a: Experiment, b: Experiment, margin: float, *, runs: int = FEWEST_RUNS) -> Quantity:
    """The same, which must lie within a margin around 0."""
    return difference(what, a, b, Range(-margin, margin, f"within ± {margin:.4f}"), runs=runs)


def as_good(what: str, a: Experiment, b: Experiment) -> Quantity:
    """The same, within the margin and resting on as many seeds as everywhere where accuracy is equal."""
    return alike(what, a, b, MARGIN, runs=SEEDS_FOR_EQUALITY)


def faster(what: str, slow: Experiment, fast: Experiment) -> Quantity:
    """How many times as fast the second is, which must be more than once."""
    return Quantity(what, (slow, fast), time_ratio, form="{:.2f} ×", timed=True, stated=ABOVE_1)


def share(what: str, a: Experiment, b: Experiment, of: Measure = time_ratio) -> Quantity:
    """The first one's time, or peak memory, over that of the second, which must be less than all of it."""
    return Quantity(what, (a, b), of, form="{:.3f}", timed=True, stated=LESS)


def lead(chosen: Experiment, other: Experiment, *rivals: Experiment) -> Quantity:
    """Test accuracy of `chosen` less that of the best other one, which must lie above 0."""
    best = difference("2e-05 − the best other rate", chosen, other, ABOVE_0)
    return replace(best, measure=lead_over_the_best, rivals=rivals)


def shown(column: str, form: str, **of: Experiment) -> tuple[Quantity, ...]:
    """Figures that are only shown, by their names."""
    return tuple(
        Quantity(what, (one,), over_seeds(column), form=form, timed=column in TIMES) for what, one in of.items()
    )


def waits_for(experiments: Sequence[Experiment], *, of_lab: bool = False) -> str:
    """What would be run: parts of the study, and setups that none of them has; or the lab's setups."""
    if of_lab:
        return f"runs of {' and '.join(experiment.label for experiment in experiments)} by the lab's recipe"
    parts = [_parts().get(tuple(setup_fields(experiment).values())) for experiment in experiments]
    numbers = [f"--part {number}" for number in sorted({part for part in parts if part is not None})]
    names = [setup(experiment) for experiment, part in zip(experiments, parts, strict=True) if part is None]
    words = [f"rtlab sweep evidence {' and '.join(numbers)}"] if numbers else []
    return f"runs of {listed([*words, *names])}"


@cache
def _parts() -> Mapping[tuple[Cell, ...], int]:
    """The first part of the study that has a setup, whatever its encoder, data set and seed."""
    numbers = range(len(EVIDENCE), 0, -1)
    return {tuple(setup_fields(one).values()): n for n in numbers for one in study("evidence", part=n, seeds=1)}
