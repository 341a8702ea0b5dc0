"""What property tests draw from; one strategy a thing, shared by all test modules."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from rtlab.data import Split, Splits
from rtlab.experiment import Experiment
from rtlab.metrics import Scores
from rtlab.records import Counts, LogEntry, Memory, Predictions, RunRecord, Source, Timing, logits_as_json


@st.composite
def split(draw, num_labels: int, max_size: int = 40):
    """A split of at least one sentence; its labels are any of the classes."""
    labels = draw(st.lists(st.integers(0, num_labels - 1), min_size=1, max_size=max_size))
    texts = draw(st.lists(st.text(max_size=8), min_size=len(labels), max_size=len(labels)))
    return Split(tuple(texts), tuple(labels))


@st.composite
def splits(draw, max_labels: int = 5, max_size: int = 40):
    """A data set of two to `max_labels` classes."""
    names = draw(st.lists(st.text(max_size=8), min_size=2, max_size=max_labels, unique=True))
    train, validation, test = (draw(split(len(names), max_size)) for _ in range(3))
    return Splits("drawn", None, tuple(names), train, validation, test)


MODULES = ("q_lin", "k_lin", "v_lin", "lin1", "attention", "attention+mlp")
POSITIVE = st.integers(1, 10**6)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)


def lora_settings():
    """Settings of an adapter, each in its range."""
    return st.builds(
        LoraSettings,
        rank=POSITIVE,
        alpha=POSITIVE,
        dropout=st.floats(0, 1, exclude_max=True),
        target_modules=st.lists(st.sampled_from(MODULES), min_size=1, max_size=4).map(tuple),
    )


def experiment_fields(**chosen):
    """Every field of an experiment, those too that its method does not use; keyword arguments choose some of them."""
    fields = {
        "encoder": st.text(min_size=1).filter(str.strip),
        "dataset": st.text(min_size=1).filter(str.strip),
        "method": st.sampled_from(("svm", "full", "lora")),
        "engine": st.sampled_from(("trainer", "native")),
        "padding": st.sampled_from((None, "fixed", "dynamic", "bucketed")),
        "max_length": st.integers(3, 512),
        "learning_rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False) | POSITIVE,
        "epochs": POSITIVE,
        "batch_size": POSITIVE,
        "precision": st.sampled_from(("fp32", "tf32", "bf16")),
        "lora": st.none() | lora_settings(),
        "pooling": st.sampled_from(("cls", "mean")),
        "logging_steps": POSITIVE,
        "seed": st.integers(0, 2**32 - 1),
        "max_steps": st.none() | POSITIVE,
        "limit": st.none() | POSITIVE,
    }
    return st.fixed_dictionaries(fields | {name: st.just(value) for name, value in chosen.items()})


def experiments(**chosen):
    """An experiment; keyword arguments choose some of its fields."""
    return experiment_fields(**chosen).map(lambda fields: Experiment(**fields))


def finite_fp32(rows, columns):
    """An array (rows, columns) of any finite fp32 numbers, by their bits: subnormal ones and -0.0 among them."""
    bits = st.binary(min_size=4 * rows * columns, max_size=4 * rows * columns)
    arrays = bits.map(lambda data: np.frombuffer(data, dtype=np.float32).reshape(rows, columns))
    return arrays.map(lambda array: np.where(np.isfinite(array), array, np.float32(-0.0)))


@st.composite
def predictions(draw):
    """Labels and logits of a few sentences, as a loaded record holds them."""
    rows, classes = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return Predictions(labels=labels, logits=logits_as_json(draw(finite_fp32(rows, classes))))


def sources():
    """A data set or an encoder as records name it."""
    return st.builds(Source, name=st.text(), revision=st.none() | st.text(), sha256=SHA256)


def environments():
    """A fingerprint, reduced to what readers of records use."""
    versions = st.fixed_dictionaries({"torch": st.text(), "transformers": st.text()})
    return st.fixed_dictionaries(
        {"device": st.text(min_size=1), "versions": versions, "dirty": st.none() | st.booleans()}
    )


@st.composite
def run_records(draw):
    """A record as it loads from its file; one of a run without a result holds no measurements."""
    fields = {
        "experiment": draw(experiments()),
        "id": draw(SHA256)[:16],
        "code": draw(SHA256)[:16],
        "status": draw(st.sampled_from(("ok", "failed", "oom", "nan", "cancelled"))),
        "dataset": draw(sources()),
        "encoder": draw(sources()),
        "environment": draw(environments()),
        "created_at": draw(st.datetimes()).isoformat(),
    }
    if fields["status"] != "ok":
        return RunRecord(**fields, error=draw(st.text()))
    share = st.floats(0, 1)
    scores = st.builds(Scores, accuracy=share, precision=share, recall=share, f1=share)
    numbers = {name.name: NUMBERS for name in dataclasses.fields(Timing)}
    entry = {name.name: NUMBERS for name in dataclasses.fields(LogEntry)} | {"step": POSITIVE}
    return RunRecord(
        **fields,
        scores={"validation": draw(scores), "test": draw(scores)},
        predictions={"validation": draw(predictions()), "test": draw(predictions())},
        timing=draw(st.builds(Timing, **numbers | {"steps_per_s": st.none() | NUMBERS})),
        counts=draw(st.builds(Counts, **{name.name: POSITIVE for name in dataclasses.fields(Counts)})),
        memory=draw(st.builds(Memory, peak_device=st.none() | POSITIVE, peak_host=POSITIVE)),
        history=tuple(draw(st.lists(st.builds(LogEntry, **entry), max_size=3))),
        train_loss=draw(st.none() | NUMBERS),
        final_loss=draw(st.none() | NUMBERS),
    )


def lengths(max_size=200):
    """Tokens per sentence of a split, as an int64 array; two tokens are the least, the special ones."""
    numbers = st.lists(st.integers(2, 80), min_size=1, max_size=max_size)
    return numbers.map(lambda values: np.array(values, dtype=np.int64))
