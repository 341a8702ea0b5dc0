"""How tables put things: experiments in words, numbers with their spread, and where they come from."""

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import mean, stdev

from rtlab.experiment import Experiment, LoraSettings
from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, Place
from rtlab.statistics import Interval

METHODS = {"svm": "linear SVM", "full": "full fine-tuning", "lora": "LoRA"}
USUAL = {name: getattr(Experiment(), name) for name in ("batch_size", "max_length", "precision", "logging_steps")}
NONE = "–"
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"  # by its name: it looks like another letter

_FEATURES = {"cls": "[CLS] features", "mean": "mean-pooled features"}
_RECIPE = {  # fields beside those that a setup is known by, as words around their value
    "engine": "engine {}",
    "compile": "compiled",
    "epochs": "{} epochs",
    "max_steps": "cut at {} steps",
    "batch_size": "batch size {}",
    "max_length": "max length {}",
    "precision": "{}",
    "logging_steps": "logged every {} steps",
    "limit": "{} sentences a split",
    "lora.dropout": "LoRA dropout {}",
}
_GOES_WITHOUT_SAYING = {
    "compile": False,
    "logging_steps": USUAL["logging_steps"],
    "precision": USUAL["precision"],
    "lora.dropout": LoraSettings().dropout,
}


def settings(experiment: Experiment) -> str:
    """What tells an experiment from others of its method, in words; `USUAL` values go without saying."""
    if experiment.method == "svm":
        parts = [_FEATURES[str(experiment.pooling)]]
    else:
        parts = [f"{experiment.padding} padding", f"lr {experiment.learning_rate:g}"]
        epochs = f"{experiment.epochs} epoch{'s' if experiment.epochs != 1 else ''}"
        parts.append(epochs if experiment.max_steps is None else f"at most {experiment.max_steps} steps")
        if experiment.engine != Experiment().engine:
            parts.append(f"engine {experiment.engine}{', compiled' if experiment.compile else ''}")
    if experiment.lora is not None:
        lora = experiment.lora
        dropout = "" if lora.dropout == LoraSettings().dropout else f", dropout {lora.dropout:g}"
        parts.insert(0, f"rank {lora.rank}, alpha {lora.alpha}{dropout} on {' '.join(lora.target_modules)}")
    given = {name: getattr(experiment, name) for name in USUAL}
    parts += [f"{n.replace('_', ' ')} {v}" for n, v in given.items() if v not in (None, USUAL[n])]
    return ", ".join(parts)


def setups(experiments: Sequence[Experiment]) -> tuple[list[str], str]:
    """Short names of experiments that stand together, and what all of them have in common.

    Returns:
        For each experiment such as `LoRA r8 … attention, dynamic, lr 1e-03`, with whatever else is not the same for
        all; and the rest of the recipe, such as `5 epochs, batch size 16, max length 512`.
    """
    recipes = [_recipe(experiment) for experiment in experiments]
    shared = {}
    for name in _RECIPE:
        values = {recipe[name] for recipe in recipes if name in recipe}
        if len(values) == 1:
            shared[name] = values.pop()
    names = [
        ", ".join([_core(experiment), *filter(None, (recipe[name] for name in recipe if name not in shared))])
        for experiment, recipe in zip(experiments, recipes, strict=True)
    ]
    return names, ", ".join(filter(None, shared.values()))


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, with the standard deviation where there are two or more."""
    if not values:
        return NONE
    text = f"{mean(values):,.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):,.{digits}f}"


def score(values: Sequence[float], interval: Interval | None = None) -> str:
    """A score as `spread`, with the 95 % interval of its mean."""
    return spread(values, 4) + ("" if interval is None else f" [{interval.low:.3f}, {interval.high:.3f}]")


def times(ratio: Interval) -> str:
    """A ratio, with its 95 % interval where there is one."""
    known = 0 < ratio.low < ratio.high < math.inf
    return f"{_significant(ratio.value)} ×" + (
        f" [{_significant(ratio.low)}, {_significant(ratio.high)}]" if known else ""
    )


def origin(place: Place, records: Iterable[RunRecord]) -> str:
    """Where numbers come from: contents, device, versions, dates."""
    versions, dates = set(), set()
    for record in records:
        of = record.environment["versions"]
        versions.add(f"torch {of['torch']}, transformers {of['transformers']}")
        dates.add(record.created_at[:10])
    span = min(dates) if len(dates) == 1 else f"{min(dates)} to {max(dates)}"
    return plain(
        f"Encoder `{place.encoder.replace('`', '')}` ({place.encoder_sha256[:8]}), "
        f"data set `{place.dataset.replace('`', '')}` ({place.dataset_sha256[:8]}), "
        f"on {place.device}; {'; '.join(sorted(versions))}; {span}."
    )


def pipes(rows: Sequence[Mapping[str, str]], *, left: Collection[str] = ()) -> str:
    """Rows, one or more, as a markdown table that reads as well in a terminal.

    Args:
        rows: Cells by column; all rows have the first one's columns.
        left: Columns that are aligned to the left, as text is; the others are numbers.
    """
    widths = {name: max(3, len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    rules = {name: f":{'-' * (width - 1)}"[:: 1 if name in left else -1] for name, width in widths.items()}
    sides = {name: "<" if name in left else ">" for name in widths}
    return "\n".join(
        f"| {' | '.join(f'{line[name]:{sides[name]}{width}}' for name, width in widths.items())} |"
        for line in ({name: name for name in widths}, rules, *rows)
    )


def wrapped(text: str) -> str:
    """A paragraph in lines that fit a terminal; to markdown it is the same paragraph."""
    return textwrap.fill(text, width=120, break_long_words=False, break_on_hyphens=False)


def plain(text: str) -> str:
    """Text without what markdown, or the README's markers, would take for more than text."""
    return " ".join(text.replace("<", "").replace("|", "/").split())


def order(group: Group) -> tuple[object, ...]:
    """Key that sorts groups of one place: by method, adapter, modules, learning rate, padding, then the rest."""
    e = group.experiment
    lora = (e.lora.rank, e.lora.alpha, len(e.lora.target_modules), e.lora.target_modules) if e.lora else ()
    paddings = {"fixed": 0, "dynamic": 1, "bucketed": 2, "packed": 3}
    return (
        list(METHODS).index(e.method),
        lora,
        e.learning_rate or 0,
        paddings.get(str(e.padding), 4),
        e.engine != Experiment().engine,
        [text for _, text in sorted(_recipe(e).items())],
    )


def _core(experiment: Experiment) -> str:
    if experiment.method == "svm":
        return f"SVM, {_FEATURES[str(experiment.pooling)]}"
    rate = f"{experiment.learning_rate:.0e}"
    rate = rate if float(rate) == experiment.learning_rate else f"{experiment.learning_rate:g}"
    method = "full"
    if experiment.lora is not None:
        lora = experiment.lora
        method = f"LoRA r{lora.rank} {ALPHA}{lora.alpha} {plain(' '.join(lora.target_modules))}"
    return f"{method}, {experiment.padding}, lr {rate}"


def _recipe(experiment: Experiment) -> dict[str, str]:
    """Words for every field of `_RECIPE` that the method uses; none for what is usual, or not limited."""
    given = {name: getattr(experiment, name) for name in _RECIPE if "." not in name}
    given["compile"] = bool(experiment.compile)
    given["lora.dropout"] = None if experiment.lora is None else experiment.lora.dropout
    unlimited = ("limit",) if experiment.method == "svm" else ("limit", "max_steps")
    return {
        name: "" if value in (None, _GOES_WITHOUT_SAYING.get(name)) else _words(name, value)
        for name, value in given.items()
        if value is not None or name in unlimited
    }


def _words(name: str, value: object) -> str:
    text = _RECIPE[name].format(f"{value:,}" if isinstance(value, int) else value)
    return text if value != 1 else text.removesuffix("s")


def _significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 2 if value <= 0 else max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(digits, 4)}f}"
