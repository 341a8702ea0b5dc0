"""How tables put things: experiments in words, numbers with their spread, and where they come from."""

import math
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from rtlab.experiment import Experiment
from rtlab.methods import LORA, TITLES, Adapter
from rtlab.recipe import Padding, Recipe
from rtlab.records import RunRecord
from rtlab.reporting.groups import SPLITS, Group, Place, grouped, without_code
from rtlab.statistics import Interval
from rtlab.testbed import Testbed

NONE = "–"
MOST_NAMES = 12  # in a line


# What figures of the frame are called, with their units, and how many digits of them are shown.
FIGURES: Mapping[str, tuple[str, int]] = {
    "training (s)": ("train_s", 1),
    "warm-up (s)": ("warmup_s", 1),
    "samples/s": ("samples_per_s", 1),
    "steps/s": ("steps_per_s", 2),
    "training loss": ("train_loss", 4),
    "loss of last epoch": ("final_loss", 4),
    **{f"{split} {name}": (f"{split}_{name.lower()}", 4) for split in SPLITS for name in ("accuracy", "F1")},
}


def method_order(name: str) -> tuple[int, str]:
    """Key that sorts names of methods: the usual ones first."""
    return [*TITLES, name].index(name), name


def setups(experiments: Sequence[Experiment]) -> tuple[list[str], str]:
    """Short names of experiments that stand together, and what all of them have in common.

    This is the one way in which an experiment is named for people; what they type is its label.

    Returns:
        For each experiment such as `LoRA r8 … attention, dynamic, lr 1e-03`, with whatever else is not the same for
        all; and the rest of the recipe, such as `5 epochs, batch size 16, max length 512`.
    """
    recipes = [_recipe(experiment) for experiment in experiments]
    texts = dict.fromkeys(said for recipe in recipes for said in recipe.items())
    counts = Counter(name for name, _ in texts)
    shared = {name: text for name, text in texts if counts[name] == 1}
    names = [
        ", ".join([experiment.method.setup, *(text for name, text in recipe.items() if text and name not in shared)])
        for experiment, recipe in zip(experiments, recipes, strict=True)
    ]
    return names, ", ".join(filter(None, shared.values()))


def setup(experiment: Experiment) -> str:
    """One experiment in full."""
    [name], common = setups([experiment])
    return ", ".join(filter(None, (name, common)))


def adapted(experiment: Experiment) -> str:
    """What a setup's name begins with, whatever the recipe: the method, with the size and modules of an adapter."""
    return experiment.method.setup.partition(", ")[0]


def _recipe(experiment: Experiment) -> dict[str, str]:
    """Words for what is left, by field; empty for what is usual, or not limited."""
    method, recipe, words = experiment.method, experiment.method.recipe, {}
    if recipe is not None:
        every = recipe.logging_steps
        words = {
            "engine": f"engine {recipe.engine}",
            "compile": "compiled" if recipe.compile else "",
            "epochs": plural(recipe.epochs, "epoch"),
            "max_steps": "" if recipe.max_steps is None else f"cut at {plural(recipe.max_steps, 'step')}",
            "batch_size": f"batch size {recipe.batch_size}",
            **recipe.knobs,
            "logging_steps": "" if every == Recipe.logging_steps else f"logged every {plural(every, 'step')}",
        }
    if method.reads is not None:
        words["max_length"] = f"max length {experiment.max_length}"
        words["precision"] = "" if experiment.precision == "fp32" else experiment.precision
    words["limit"] = "" if experiment.limit is None else f"{plural(experiment.limit, 'sentence')} a split"
    drawn = experiment.train_sentences
    words["train_sentences"] = "" if drawn is None else plural(drawn, "training sentence")
    if isinstance(method, Adapter):  # its short name has the first two; of the others what is not LoRA's usual one
        rest = {k: v for k, v in method.settings.items() if k not in ("r", "lora_alpha") and (k, v) not in LORA.items()}
        words["settings"] = ", ".join(
            f"{name.replace('_', ' ').replace('lora', 'LoRA')} "
            f"{' '.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in rest.items()
        )
    return words


def plural(number: int, noun: str) -> str:
    """Such as `1 run`, `2 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Iterable[str]) -> str:
    """Different names in their order, and how many more than a line has room for."""
    known = list(dict.fromkeys(names))
    return ", ".join(known[:MOST_NAMES]) + (f", and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else "")


def order(group: Group) -> tuple[object, ...]:
    """Key that sorts groups of one place: runs cut short last, then by method, adapter, learning rate, padding."""
    fields = group.fields
    padding, modules = fields["padding"], str(fields["target_modules"] or "")
    return (
        not group.whole,
        method_order(group.method),
        *(modules.count("+"), modules),
        *(float(fields["r"] or 0), float(fields["lora_alpha"] or 0), float(fields["learning_rate"] or 0)),
        fields["engine"] != Recipe.engine,
        get_args(Padding).index(padding) if padding else -1,
        float(fields["train_sentences"] or math.inf),
        sorted(_recipe(group.experiment).items()),
        group.results,
    )


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, with the standard deviation where there are two or more."""
    if not values:
        return NONE
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    with np.errstate(over="ignore", invalid="ignore"):
        return f"{np.mean(values):,.{digits}f} ± {np.std(values, ddof=1):,.{digits}f}"


def score(values: Sequence[float], interval: Interval | None = None) -> str:
    """A score as `spread`, with the 95 % interval of its mean."""
    known = interval is not None and math.isfinite(interval.high - interval.low)
    return spread(values, 4) + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval and known else "")


def difference(found: Interval) -> str:
    """A difference, with its 95 % interval."""
    value, low, high = (round(number, 6) + 0.0 for number in (found.value, found.low, found.high))  # -0 is 0
    return f"{value:+.4f} [{low:+.3f}, {high:+.3f}]"


def times(ratio: Interval) -> str:
    """A ratio, with its 95 % interval where there is one."""
    low, high = significant(ratio.low), significant(ratio.high)
    known = 0 < ratio.low < ratio.high < math.inf
    return f"{significant(ratio.value)} ×" + (f" [{low}, {high}]" if known else "")


def significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 2 if value <= 0 or math.isinf(value) else max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(digits, 4)}f}"


def duration(seconds: float) -> str:
    """A time to be read at a glance, such as `0.42 s`, `12.5 s`, `4 min 10 s` or `1 h 5 min`."""
    if round(seconds) < 60:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h" + (f" {minutes} min" if minutes else "")


def contents(place: Place, machines: Iterable[str] = ()) -> str:
    """Encoder and data set of a place, by name and contents, and the machines there."""
    encoder = f"encoder {place.encoder} ({place.encoder_sha256[:8]}), " if place.encoder else ""
    on = "; ".join(filter(None, machines))
    return f"{encoder}data set {place.dataset} ({place.dataset_sha256[:8]})" + (f", on {on}" if on else "")


def begun(text: str) -> str:
    """A text as a sentence begins."""
    return text[:1].upper() + text[1:]


def dates(records: Iterable[RunRecord]) -> str:
    """The day, or the first and the last one, that records were made on."""
    days = sorted({record.created_at[:10] for record in records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def versions(testbed: Testbed) -> str:
    """A testbed's name with the versions that decide most of its times."""
    return f"{testbed.name}; torch {testbed.torch}, transformers {testbed.transformers}"


def legend(letters: Mapping[tuple[str, Testbed], str]) -> list[str]:
    """What each letter stands for; of testbeds that differ in rtlab's own code alone, only that."""
    texts = {letter: versions(testbed) for (_, testbed), letter in letters.items()}
    first: dict[str, str] = {}
    for letter in sorted(texts):
        first.setdefault(texts[letter], letter)
    return [
        f"{letter}: {texts[letter] if letter == same else f'as {same}, under other code of rtlab'}"
        for letter in sorted(texts)
        for same in [first[texts[letter]]]
    ]


def letters(testbeds: Iterable[tuple[str, Testbed]]) -> Mapping[tuple[str, Testbed], str]:
    """Letters that tell apart the testbeds of some rows, given by engine and testbed; none where there is but one.

    Two engines differ in their code on one and the same testbed, so only two states of one engine's code are two.
    """
    every = [*dict.fromkeys(testbeds)]
    states = grouped(every, lambda at: (at[0], without_code(at[1])))
    keys = {at: (machine, number) for (_, machine), found in states.items() for number, at in enumerate(found)}
    alphabet = [*string.ascii_uppercase, *(f"T{number}" for number in range(len(keys)))]
    known = dict(zip(dict.fromkeys(keys[at] for at in every), alphabet, strict=False))
    return {} if len(known) < 2 else {at: known[key] for at, key in keys.items()}
