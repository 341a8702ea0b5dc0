"""All records as one pandas table, a row a run: what a notebook gets, and what tables, figures and claims group."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rtlab.architectures import ARCHITECTURES
from rtlab.experiment import Experiment
from rtlab.methods import LORA, Adapter
from rtlab.recipe import Recipe
from rtlab.records import RunRecord
from rtlab.settings import Settings
from rtlab.values import to_json

if TYPE_CHECKING:
    import pandas as pd

Cell: TypeAlias = str | int | float | bool | None

_HOLDS_BY_NAME = (dict, Settings)
_IS_CELL = (str, int, float)
_GROUPS = {frozenset(names): group for row in ARCHITECTURES.values() for group, names in row.groups.items()}


def _at(path: str, *, finished: bool = False) -> Callable[[object], Cell]:
    """A column that is found by names such as `timing.load_s`; empty where one of them is missing or None.

    One of `finished` runs is empty for those that failed, whatever they keep, so that no mean has a failure in it.
    """
    names = path.split(".")

    def column(found: object) -> Cell:
        if finished and getattr(found, "status", None) != "ok":
            return None
        for name in names:
            part = getattr(found, name, None)
            if part is None and isinstance(found, _HOLDS_BY_NAME):
                part = found.get(name)
            if part is None:
                return None
            found = part
        return found if isinstance(found, _IS_CELL) else json.dumps(to_json(found))

    return column


def _each(part: str, *names: str, finished: bool = False) -> dict[str, Callable[[object], Cell]]:
    """Columns that are named as what they hold."""
    return {name: _at(f"{part}.{name}", finished=finished) for name in names}


def _of_encoder(name: str) -> Callable[[Experiment], Cell]:
    """A field that says how an encoder is read; empty for a method that reads none."""
    return lambda experiment: None if experiment.method.reads is None else getattr(experiment, name)


def _modules(experiment: Experiment) -> Cell:
    """Target modules joined by `+`; those of a group by its name, also where they were spelt out."""
    method = experiment.method
    if not isinstance(method, Adapter):
        return None
    return _GROUPS.get(frozenset(method.target_modules), "+".join(method.target_modules))


def _other_settings(experiment: Experiment) -> Cell:
    """An adapter's settings that have no column of their own, as JSON."""
    settings = getattr(experiment.method, "settings", {})
    rest = {name: to_json(value) for name, value in settings.items() if name not in LORA}
    return json.dumps(rest, sort_keys=True) if rest else None


# What an experiment is but for its encoder, data set and seed. A field that is added to a method belongs here too.
SETUP: Mapping[str, Callable[[Experiment], Cell]] = {
    "method": _at("method.name"),
    **_each("method", "pooling", "with_words", "characters", "classifier", "c", "temperature"),
    **_each("method.recipe", *Recipe.__dataclass_fields__),
    "peft_type": _at("method.peft_type"),
    "target_modules": _modules,
    **_each("method.settings", *LORA),
    "settings": _other_settings,
    **{name: _of_encoder(name) for name in ("max_length", "precision")},
    **{name: _at(name) for name in ("limit", "train_sentences")},
}
# What depends on the testbed.
TIMES: Mapping[str, Callable[[RunRecord], Cell]] = {
    **_each("timing", "seconds", "load_s", "prepare_s", "warmup_s", "train_s", "evaluate_s", finished=True),
    **_each("timing", "samples_per_s", "steps_per_s", "tokens_per_s", "padded_tokens_per_s", finished=True),
    **_each("memory", "peak_device", "peak_reserved", "peak_host", finished=True),
}


def _of_experiment(column: Callable[[Experiment], Cell]) -> Callable[[RunRecord], Cell]:
    return lambda record: column(record.experiment)


COLUMNS: Mapping[str, Callable[[RunRecord], Cell]] = {
    **{name: _at(name) for name in ("id", "status")},
    "encoder": _at("encoder.name"),
    "dataset": _at("dataset.name"),
    **{name: _of_experiment(column) for name, column in SETUP.items()},
    "seed": _at("experiment.seed"),
    **{
        f"{split}_{name}": _at(f"scores.{split}.{name}", finished=True)
        for split in ("validation", "test")
        for name in ("accuracy", "precision", "recall", "f1", "macro_f1")
    },
    **{name: _at(name, finished=True) for name in ("train_loss", "final_loss")},
    **TIMES,
    "others": _at("timing.others"),
    "undisturbed": _at("undisturbed"),
    **_each("counts", *(f"parameters_{part}" for part in ("trained", "total", "encoder", "adapter", "head"))),
    **_each("counts", "steps", "samples", "real_tokens", "padding_tokens"),
    "testbed": _at("testbed.name"),
    **_each("testbed", "device", "threads", "ranks", "torch", "transformers", "peft", "tokenizers", "code"),
    "encoder_sha256": _at("encoder.sha256"),
    "dataset_sha256": _at("dataset.sha256"),
    **{name: _at(name) for name in ("results", "created_at", "error")},
}
_WHOLE = (
    *("epochs", "batch_size", "accumulate", "freeze_layers", "max_steps", "logging_steps"),
    *("patience", "max_length", "limit", "train_sentences", "seed", "threads", "ranks"),
    *("steps", "samples", "real_tokens", "padding_tokens", "peak_device", "peak_reserved", "peak_host", "results"),
    *(name for name in COLUMNS if name.startswith("parameters_")),
)


def setup_fields(experiment: Experiment) -> dict[str, Cell]:
    """The columns that say what an experiment is."""
    return {name: column(experiment) for name, column in SETUP.items()}


def frame(records: Iterable[RunRecord], columns: Sequence[str] = tuple(COLUMNS)) -> "pd.DataFrame":
    """Records as a table, a row each, in their order; what a run does not have is missing.

    Args:
        records: Records of any kind; what `rtlab.load_records(folder).records` gives.
        columns: The columns to make; all by default.

    Returns:
        Columns are named as the fields that they come from. `method` is `svm`, `full` or the kind of adapter;
        `target_modules` are joined by `+`; `settings` are an adapter's other settings as JSON; `seconds` is training
        with its warm-up; `others` the share of processor time that other processes took; memory is in bytes. Scores,
        losses, times and memory are those of finished runs alone.
    """
    import pandas as pd  # not above: tables group records without it, and it takes a second to import

    rows = list(records)
    cells = {name: [COLUMNS[name](record) for record in rows] for name in columns}
    return pd.DataFrame({name: _whole(values) if name in _WHOLE else values for name, values in cells.items()})


def _whole(cells: Sequence[Cell]) -> "pd.Series[int] | pd.Series[float]":
    """Whole numbers that may be missing; as floats where one is too large for 64 bits."""
    import pandas as pd

    numbers = [None if cell is None else int(cell) for cell in cells]
    fit = all(number is None or abs(number) < 2**63 for number in numbers)
    return pd.Series(numbers, dtype="Int64") if fit else pd.Series(numbers, dtype="float64")
