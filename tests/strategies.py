"""What property tests draw from; one strategy a thing, shared by all test modules."""

import dataclasses
from datetime import UTC
from typing import get_args

import numpy as np
from hypothesis import strategies as st

from rtlab.data import Split, Splits
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Classifier, Contrastive, Full, Svm, Words
from rtlab.metrics import scores
from rtlab.recipe import ClassWeights, Metric, Recipe, Schedule
from rtlab.records import Counts, LogEntry, Memory, Predictions, RunRecord, Source, Timing, Validated
from rtlab.testbed import Testbed


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
COUNTS = st.integers(0, 2**63 - 1)
AMOUNTS = AT_LEAST_0 = st.floats(0, allow_nan=False, allow_infinity=False)
TERMS = st.lists(st.text(max_size=5), max_size=3).map(tuple)
NAMES = st.text(min_size=1).filter(str.strip)
SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=2) | st.dictionaries(st.text(max_size=5), parts, max_size=2),
    max_leaves=5,
)


@st.composite
def recipes(draw, **chosen):
    """A recipe; keyword arguments choose some of its fields."""
    engine = chosen.get("engine") or draw(st.sampled_from(("trainer", "native")))
    paddings = ("fixed", "dynamic", "bucketed", *(("packed",) if engine == "native" else ()))
    fields = {
        "engine": st.just(engine),
        "padding": st.none() | st.sampled_from(paddings),
        "learning_rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False) | POSITIVE,
        "epochs": POSITIVE,
        "batch_size": POSITIVE,
        "max_steps": st.none() | POSITIVE,
        "logging_steps": POSITIVE,
        "compile": st.booleans() if engine == "native" else st.just(False),
        "warmup": st.floats(0, 1) | st.integers(1, 1000).map(float),
        "schedule": st.sampled_from(get_args(Schedule)),
        "weight_decay": AT_LEAST_0,
        "max_grad_norm": AT_LEAST_0,
        "class_weights": st.sampled_from(get_args(ClassWeights)),
        "label_smoothing": st.floats(0, 1, exclude_max=True),
        "accumulate": POSITIVE,
        "freeze_layers": st.just(0),  # an adapter takes no other
        **draw(
            st.just({})
            | st.builds(
                lambda evaluate, patience, metric: {
                    "evaluate": st.just(evaluate),
                    "keep": st.just("best"),
                    "patience": st.just(patience),
                    "metric": st.just(metric),
                },
                st.just("epoch") | POSITIVE,
                st.none() | POSITIVE,
                st.sampled_from(get_args(Metric)),
            )
        ),
    }
    return Recipe(**draw(st.fixed_dictionaries(fields | {name: st.just(value) for name, value in chosen.items()})))


LINEAR = {"classifier": st.sampled_from(get_args(Classifier)), "c": st.none() | st.floats(1e-6, 1e6)}


def words():
    """Words alone."""
    return st.builds(Words, characters=st.booleans(), **LINEAR)


def svms():
    """An SVM."""
    return st.builds(Svm, pooling=st.sampled_from(("cls", "mean")), with_words=st.booleans(), **LINEAR)


def fulls():
    """Full fine-tuning."""
    return st.builds(Full, recipe=recipes() | recipes(freeze_layers=2))


@st.composite
def adapters(draw):
    """An adapter: LoRA with any of its settings given, or another kind."""
    kind = draw(st.just("LORA") | st.sampled_from(("IA3", "LOHA", "VERA")))
    settings = draw(st.dictionaries(st.text(max_size=8).filter("target_modules".__ne__), ANY_JSON, max_size=3))
    if kind == "LORA":
        own = {"r": POSITIVE, "lora_alpha": POSITIVE, "lora_dropout": st.floats(0, 1, exclude_max=True)}
        settings |= draw(st.fixed_dictionaries({}, optional=own))
    return Adapter(
        recipe=draw(recipes()),
        peft_type=kind,
        target_modules=tuple(draw(st.lists(st.sampled_from(MODULES), min_size=1, max_size=4))),
        settings=settings,
    )


def contrastives():
    """Contrastive fine-tuning, of recipes that suit pairs."""
    usual = {"class_weights": "equal", "label_smoothing": 0.0, "accumulate": 1, "evaluate": None}
    usual |= {"keep": "last", "patience": None, "metric": "accuracy"}
    of_pairs = recipes().map(lambda one: dataclasses.replace(one, batch_size=max(2, one.batch_size), **usual))
    return st.builds(
        Contrastive,
        recipe=of_pairs,
        temperature=st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False),
    )


def methods():
    """A method of any kind."""
    return words() | svms() | fulls() | adapters() | contrastives()


def experiments(**chosen):
    """An experiment; keyword arguments choose some of its fields."""
    fields = {
        "encoder": NAMES,
        "dataset": NAMES,
        "method": methods(),
        "max_length": st.integers(3, 512),
        "precision": st.sampled_from(("fp32", "tf32", "bf16")),
        "seed": st.integers(0, 2**32 - 1),
        "limit": st.none() | POSITIVE,
        "train_sentences": st.none() | st.just(1),  # no limit is below that
    }
    return st.builds(Experiment, **fields | {name: st.just(value) for name, value in chosen.items()})


def finite_fp32(rows, columns):
    """An array (rows, columns) of any finite fp32 numbers, by their bits: subnormal ones and -0.0 among them."""
    bits = st.binary(min_size=4 * rows * columns, max_size=4 * rows * columns)
    arrays = bits.map(lambda data: np.frombuffer(data, dtype=np.float32).reshape(rows, columns))
    return arrays.map(lambda array: np.where(np.isfinite(array), array, np.float32(-0.0)))


@st.composite
def predictions(draw, classes: int):
    """Labels and logits of a few sentences."""
    rows = draw(st.integers(1, 5))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return Predictions(labels=np.array(labels, dtype=np.int32), logits=draw(finite_fp32(rows, classes)))


def sources():
    """A data set or an encoder as records name it."""
    return st.builds(Source, name=st.text(), revision=st.none() | st.text(), sha256=SHA256)


def testbeds():
    """A testbed of any device and versions."""
    texts = dict.fromkeys(("device", "torch", "transformers", "peft", "tokenizers"), st.text(max_size=8))
    return st.builds(Testbed, **texts, threads=POSITIVE, code=SHA256.map(lambda digest: digest[:16]), ranks=POSITIVE)


def environments():
    """A fingerprint, reduced to what readers of records use, and one thing more."""
    versions = st.fixed_dictionaries({"torch": st.text(), "transformers": st.text()})
    return st.fixed_dictionaries({"device": st.text(min_size=1), "versions": versions, "more": ANY_JSON})


@st.composite
def run_records(draw, statuses=("ok", "failed", "oom", "nan", "cancelled")):
    """A record as it loads from its file: scores follow from logits; a run without a result has no measurements."""
    fields = {
        "experiment": (asked := draw(experiments())),
        "id": draw(SHA256)[:16],
        "results": draw(POSITIVE),
        "status": draw(st.sampled_from(statuses)),
        "dataset": draw(sources()),
        "encoder": None if asked.method.reads is None else draw(sources()),
        "testbed": draw(testbeds()),
        "environment": draw(environments()),
        "created_at": draw(st.datetimes(timezones=st.just(UTC))).isoformat(),
        "error": draw(st.none() | st.text()),
    }
    if fields["status"] != "ok":
        return RunRecord(**fields)
    classes = draw(st.integers(2, 4))
    names = draw(st.just([]) | st.lists(st.text(), min_size=classes, max_size=classes, unique=True))
    fields["dataset"] = dataclasses.replace(fields["dataset"], classes=tuple(names))
    said = {split: draw(predictions(classes)) for split in ("validation", "test")}
    amounts = {field.name: AMOUNTS for field in dataclasses.fields(Timing)}
    amounts |= {"steps_per_s": st.none() | AMOUNTS, "others": st.none() | st.floats(0, 1)}
    counts = {field.name: COUNTS for field in dataclasses.fields(Counts)} | {"steps": st.none() | COUNTS}
    entry = {field.name: AMOUNTS for field in dataclasses.fields(LogEntry)} | {"step": COUNTS}
    shares = dict.fromkeys(("accuracy", "f1", "macro_f1"), st.floats(0, 1))
    validated = {"step": COUNTS, "epoch": AMOUNTS, "loss": AMOUNTS, **shares}
    return RunRecord(
        **fields,
        scores={split: scores(p.labels, p.classes, num_labels=classes) for split, p in said.items()},
        predictions=said,
        timing=draw(st.builds(Timing, **amounts)),
        counts=draw(st.builds(Counts, **counts)),
        memory=draw(
            st.builds(Memory, peak_device=st.none() | COUNTS, peak_host=COUNTS, peak_reserved=st.none() | COUNTS)
        ),
        history=tuple(draw(st.lists(st.builds(LogEntry, **entry), max_size=3))),
        validated=tuple(draw(st.lists(st.builds(Validated, **validated), max_size=2))),
        train_loss=draw(st.none() | AMOUNTS),
        final_loss=draw(st.none() | AMOUNTS),
        chosen=draw(st.dictionaries(st.text(max_size=5), AMOUNTS, max_size=2)),
        strongest=draw(
            st.dictionaries(st.sampled_from(names), st.lists(st.text(max_size=5), max_size=3).map(tuple), max_size=2)
            if names
            else st.just({})
        ),
    )


def example_record(**changes):
    """A finished run in which every field is filled, for tests by hand; keyword arguments choose some of its fields."""
    said = Predictions(
        labels=np.array([0, 1, 1, 0], dtype=np.int32),
        logits=np.array([[0.5, -0.5], [0.25, 1.0], [0.1, -1 / 3], [2.0, 1.5]], dtype=np.float32),
    )
    found = scores(said.labels, said.classes, num_labels=2)
    fields = {
        "experiment": Experiment(encoder="minilm", dataset="corpus", method=Adapter()),
        "id": "0123456789abcdef",
        "results": 1,
        "status": "ok",
        "dataset": Source(name="corpus", revision=None, sha256="d" * 64),
        "encoder": Source(name="minilm", revision="main", sha256="e" * 64),
        "testbed": Testbed(
            device="NVIDIA H200",
            threads=2,
            torch="2.13.0",
            transformers="5.23.0",
            peft="0.21.2",
            tokenizers="0.23.3",
            code="c" * 16,
        ),
        "environment": {"device": "NVIDIA H200", "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
        "created_at": "2026-01-02T03:04:05+00:00",
        "scores": {"validation": found, "test": found},
        "predictions": {"validation": said, "test": said},
        "timing": Timing(**dict.fromkeys((field.name for field in dataclasses.fields(Timing)), 0.25)),
        "counts": Counts(**dict.fromkeys((field.name for field in dataclasses.fields(Counts)), 7)),
        "memory": Memory(peak_device=None, peak_host=2**30),
        "history": (LogEntry(step=50, epoch=0.5, loss=0.7, learning_rate=1e-5, gradient_norm=1.25),),
        "validated": (Validated(step=50, epoch=0.5, loss=0.6, accuracy=0.75, f1=0.8, macro_f1=0.7),),
        "train_loss": 0.6,
        "final_loss": 0.5,
        "chosen": {"c": 0.3},
        "strongest": {},
    }
    return RunRecord(**fields | changes)


def lengths(max_size=200):
    """Tokens per sentence of a split, as an int64 array; two tokens are the least, the special ones."""
    numbers = st.lists(st.integers(2, 80), min_size=1, max_size=max_size)
    return numbers.map(lambda values: np.array(values, dtype=np.int64))


# Signs that any file can hold: no halves of surrogate pairs, and no NUL, which is refused.
SIGNS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")


@st.composite
def file_rows(draw):
    """Rows of a file with a text and a word or two beside it; no row is blank."""
    names = draw(st.lists(st.text("abcxyz_", min_size=1, max_size=6), min_size=2, max_size=4, unique=True))
    words = st.text(SIGNS, min_size=1, max_size=12).filter(str.strip)
    return draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, words)), min_size=1, max_size=8))


@st.composite
def sentences(draw, max_size: int = 60):
    """A split of sentences to be cut: some equal, some equal but for white space, some of several classes."""
    words = st.sampled_from(["good", "bad", "so", "dull", "fine", " ", "  ", "\n"])
    texts = st.lists(words, min_size=1, max_size=4).map("".join)
    rows = draw(st.lists(st.tuples(texts, st.integers(0, 3)), min_size=2, max_size=max_size))
    numbers = draw(st.lists(st.integers(0, 40), min_size=len(rows), max_size=len(rows)))
    return Split(tuple(f"{text} {n}" for (text, _), n in zip(rows, numbers, strict=True)), tuple(n for _, n in rows))
