"""All records as one pandas table, a row a run: what a notebook gets, and what tables, figures and claims group."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import pandas as pd

from rtlab.experiment import Experiment
from rtlab.methods import LORA, Adapter, Recipe, Svm
from rtlab.records import RunRecord
from rtlab.values import to_json

Cell: TypeAlias = str | int | float | bool | None
Column: TypeAlias = Callable[[RunRecord], Cell]

PLACE = ("encoder", "dataset", "encoder_sha256", "dataset_sha256")


def method_name(experiment: Experiment) -> str:
    """`svm`, `full`, or the kind of adapter in lower case, such as `lora`."""
    method = experiment.method
    return method.peft_type.lower() if isinstance(method, Adapter) else type(method).__name__.lower()


def _of(*path: str) -> Column:
    """A column that is found by these attributes; empty where one of them is missing or None."""

    def column(record: RunRecord) -> Cell:
        value: object = record
        for name in path:
            value = getattr(value, name, None)
        return value if value is None or isinstance(value, str | int | float) else str(value)

    return column


def _finished(column: Column) -> Column:
    """A column that is empty for runs that failed, whatever their records keep: who averages it averages no failure."""
    return lambda record: column(record) if record.status == "ok" else None


def _score(split: str, name: str) -> Column:
    return _finished(lambda record: getattr(record.scores.get(split), name, None))


def _modules(record: RunRecord) -> Cell:
    method = record.experiment.method
    return "+".join(method.target_modules) if isinstance(method, Adapter) else None


def _setting(name: str) -> Column:
    def column(record: RunRecord) -> Cell:
        value = getattr(record.experiment.method, "settings", {}).get(name)
        return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(to_json(value))

    return column


def _other_settings(record: RunRecord) -> Cell:
    """An adapter's settings that have no column of their own, as JSON."""
    method = record.experiment.method
    if not isinstance(method, Adapter):
        return None
    rest = {name: to_json(value) for name, value in method.settings.items() if name not in LORA}
    return json.dumps(rest, sort_keys=True) if rest else None


def _seconds(record: RunRecord) -> Cell:
    timing = record.timing
    return None if timing is None else timing.warmup_s + timing.train_s


def _trained(record: RunRecord) -> Cell:
    return None if record.counts is None else record.counts.parameters_trained


# What an experiment is but for its encoder, data set and seed. A field that is added to a method belongs here too.
SETUP: Mapping[str, Column] = {
    "method": lambda record: method_name(record.experiment),
    "pooling": _of("experiment", "method", "pooling"),
    **{name: _of("experiment", "method", "recipe", name) for name in Recipe.__dataclass_fields__},
    "peft_type": _of("experiment", "method", "peft_type"),
    "target_modules": _modules,
    **{name: _setting(name) for name in LORA},
    "settings": _other_settings,
    **{name: _of("experiment", name) for name in ("max_length", "precision", "limit")},
}
SCORES: Mapping[str, Column] = {
    f"{split}_{name}": _score(split, name)
    for split in ("validation", "test")
    for name in ("accuracy", "precision", "recall", "f1")
}
# What depends on the testbed.
TIMES: Mapping[str, Column] = {
    "seconds": _finished(_seconds),
    **{
        name: _finished(_of("timing", name))
        for name in (
            *("load_s", "prepare_s", "warmup_s", "train_s", "evaluate_s"),
            *("samples_per_s", "steps_per_s", "tokens_per_s", "padded_tokens_per_s"),
        )
    },
    **{name: _finished(_of("memory", name)) for name in ("peak_device", "peak_host")},
}
COLUMNS: Mapping[str, Column] = {
    "id": _of("id"),
    "status": _of("status"),
    "encoder": _of("encoder", "name"),
    "dataset": _of("dataset", "name"),
    **SETUP,
    "seed": _of("experiment", "seed"),
    **SCORES,
    **{name: _finished(_of(name)) for name in ("train_loss", "final_loss")},
    **TIMES,
    "others": _of("timing", "others"),
    "undisturbed": _of("undisturbed"),
    "parameters_trained": _trained,
    **{
        name: _of("counts", name)
        for name in (
            *("parameters_total", "parameters_encoder", "parameters_adapter", "parameters_head"),
            *("steps", "samples", "real_tokens", "padding_tokens"),
        )
    },
    "testbed": _of("testbed", "name"),
    **{
        name: _of("testbed", name)
        for name in ("device", "threads", "ranks", "torch", "transformers", "peft", "tokenizers", "code")
    },
    "encoder_sha256": _of("encoder", "sha256"),
    "dataset_sha256": _of("dataset", "sha256"),
    "results": _of("results"),
    "created_at": _of("created_at"),
    "error": _of("error"),
}
_WHOLE = (
    *("epochs", "batch_size", "max_steps", "logging_steps", "max_length", "limit", "seed", "threads", "ranks"),
    *("steps", "samples", "real_tokens", "padding_tokens", "peak_device", "peak_host", "results"),
    *(name for name in COLUMNS if name.startswith("parameters_")),
)


def frame(records: Iterable[RunRecord], columns: Sequence[str] = tuple(COLUMNS)) -> pd.DataFrame:
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
    rows = list(records)
    cells = {name: [COLUMNS[name](record) for record in rows] for name in columns}
    return pd.DataFrame({name: _whole(values) if name in _WHOLE else values for name, values in cells.items()})


def _whole(cells: Sequence[Cell]) -> "pd.Series[int] | pd.Series[float]":
    """Whole numbers that may be missing; as floats where one is too large for 64 bits."""
    numbers = [None if cell is None else int(cell) for cell in cells]
    fit = all(number is None or abs(number) < 2**63 for number in numbers)
    return pd.Series(numbers, dtype="Int64") if fit else pd.Series(numbers, dtype="float64")


def is_chance_free(experiment: Experiment) -> bool:
    """Whether another seed gives the same result."""
    return isinstance(experiment.method, Svm)
