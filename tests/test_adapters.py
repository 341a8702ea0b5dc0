"""PEFT's kinds of adapter: each trains alike on both engines, or is refused with the reason; docs/adapters.md says so.

Where PEFT has another kind, or an adapter another number of parameters, write the tables of docs/adapters.md anew:
`python tests/test_adapters.py`.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import peft
import pytest
import small
import torch
import transformers

import rtlab
from rtlab.batches import plan_epoch
from rtlab.encoders import load_encoder, target_modules
from rtlab.engines.adapters import (
    _REFUSED,
    NO_SETTINGS,
    REFUSED_KINDS,
    adapter_config,
    check_fields,
    known_kinds,
    usual_modules,
)
from rtlab.engines.models import parameters, with_adapter
from rtlab.engines.native import NativeEngine
from rtlab.engines.trainer import TrainerEngine
from rtlab.methods import Adapter
from rtlab.preparing import prepare
from rtlab.settings import in_words
from rtlab.tokens import token_arrays

DOCS = Path(__file__).parent.parent / "docs" / "adapters.md"
BATCH, TRAIN = 4, 11 * 4 + 2  # 12 steps, the last on a partial batch
LOSSES, LOGITS = 1e-3, 5e-3  # relative, absolute

# Every kind, with settings that suit 64 numbers a token where PEFT's defaults do not; and LoRA's other ways.
ROWS = {
    "LORA": {},
    **{
        f"LORA, {name}={value}": {name: value}
        for name, value in (
            *(("use_dora", True), ("use_rslora", True), ("bias", "all")),
            *(("init_lora_weights", start) for start in ("gaussian", "orthogonal", "olora", "pissa", "mica")),
        )
    },
    "ADAMSS": {},
    "BEFT": {},
    "BOFT": {},
    "C3A": {"block_size": 8},
    "DEFT": {},
    "DELORA": {"delora_lambda": 5},
    "FOURIERFT": {"n_frequency": 100},
    "FROD": {},
    "GLORA": {},
    "GRALORA": {},
    "HIRA": {},
    "HRA": {},
    "IA3": {},
    "LN_TUNING": {},
    "LOHA": {},
    "LOKR": {},
    "MISS": {},
    "OFT": {"oft_block_size": 8},
    "OSF": {},
    "PEANUT": {},
    "PSOFT": {},
    "PVERA": {},
    "RANDLORA": {},
    "ROAD": {"group_size": 16},
    "SHIRA": {},
    "SUPERTUNING": {},
    "TINYLORA": {},
    "UNILORA": {},
    "VBLORA": {"vector_length": 8},
    "VERA": {},
    "WAVEFT": {"n_frequency": 100},
}
QUICK = ("LORA, use_dora=True", "IA3", "LN_TUNING", "LOHA", "OFT")
DRAWS = ("PVERA",)  # a new sample of its weights at each step: two engines cannot draw the same


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def data(folder):
    return small.data_folder(folder / "data", train=TRAIN, held_out=10)


@pytest.fixture(scope="module")
def encoder(folder):
    """tiny-distilbert without dropout."""
    copy = shutil.copytree(load_encoder("tiny-distilbert").path, folder / "encoder")
    config = json.loads((copy / "config.json").read_text())
    dropouts = {name: 0.0 for name, value in config.items() if "dropout" in name and isinstance(value, float)}
    (copy / "config.json").write_text(json.dumps(config | dropouts))
    return copy


def adapter(row, **recipe):
    """The adapter of a row, on the modules that are usual for its kind."""
    kind = row.partition(",")[0]
    modules, beside = usual_modules(load_encoder("tiny-distilbert"), kind)
    without_dropout = {"lora_dropout": 0.0} if kind == "LORA" else {}
    return Adapter(
        recipe=rtlab.Recipe(**small.RECIPE | {"batch_size": BATCH} | recipe),
        peft_type=kind,
        target_modules=modules,
        settings={**without_dropout, **beside, **ROWS[row]},
    )


def asked(data, encoder, row, **recipe):
    return rtlab.Experiment(
        encoder=str(encoder), dataset=str(data), method=adapter(row, **recipe), max_length=24, seed=1
    )


def by_native(data, encoder, row):
    return results(NativeEngine(small.task(asked(data, encoder, row, engine="native", padding="packed"))))


def by_trainer(data, encoder, row):
    """The reference, on sentences in the order in which native takes them."""
    experiment = asked(data, encoder, row, engine="trainer")
    lengths_N = token_arrays(small.read(data, "train")[0], load_encoder(str(encoder)).tokenizer, 24).lengths
    plan = plan_epoch(lengths_N, padding="packed", batch_size=BATCH, seed=experiment.seed, epoch=0)
    order = [int(row) for rows in plan.batches for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.Trainer, "_get_train_sampler", lambda *_: small.Order(order))
        return results(TrainerEngine(small.task(experiment)))


def results(engine):
    """Losses of the steps, test logits, counts of parameters, and how many tensors of the adapter were moved."""
    trained = {
        name: weight
        for name, weight in engine._model.named_parameters()
        if weight.requires_grad and "modules_to_save" not in name
    }
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    training = engine.train()
    moved = sum(not torch.equal(weight, before[name]) for name, weight in trained.items())
    return [entry.loss for entry in training.history], engine.evaluate("test"), training.counts, moved


@pytest.mark.parametrize("row", [pytest.param(row, marks=() if row in QUICK else pytest.mark.thorough) for row in ROWS])
def test_a_kind_trains_on_native_as_on_the_reference(row, data, encoder):
    losses, logits_NC, counts, moved = by_native(data, encoder, row)
    expected, expected_NC, expected_counts, _ = by_trainer(data, encoder, row)
    assert len(losses) == len(expected) == 12
    assert moved > 0
    if row in DRAWS:
        np.testing.assert_allclose(losses, expected, rtol=0.1)
    else:
        np.testing.assert_allclose(losses, expected, rtol=LOSSES)
        np.testing.assert_allclose(logits_NC, expected_NC, rtol=0, atol=LOGITS)
    for name in ("total", "encoder", "adapter", "head"):
        assert getattr(counts, f"parameters_{name}") == getattr(expected_counts, f"parameters_{name}")
    assert trained_row(row, counts.parameters_adapter) in DOCS.read_text().splitlines()


def test_a_faulty_adapter_on_packed_tokens_would_show(data, encoder, monkeypatch):
    """What an adapter adds, a hundredth less on native."""
    from peft.tuners.ia3.layer import Linear

    whole = Linear.forward
    expected, *_ = by_trainer(data, encoder, "IA3")
    monkeypatch.setattr("rtlab.engines.native.check", lambda *_: None)
    monkeypatch.setattr(Linear, "forward", lambda self, x: 0.99 * whole(self, x))
    losses, *_ = by_native(data, encoder, "IA3")
    assert np.abs(np.array(losses) / expected - 1).max() > LOSSES


# The tables


def trained_row(row, of_adapter):
    kind, method = row.partition(",")[0], adapter(row)
    equal = "in distribution: it draws at each step" if row in DRAWS else "yes"
    settings = " ".join(f"{name}={value}" for name, value in ROWS[row].items())
    modules = " ".join(method.target_modules)
    return f"| {kind} | {settings} | {modules} | trainer, native | {equal} | {of_adapter:,} |"


def refused_row(kind):
    return f"| {kind} | {REFUSED_KINDS[kind]} |"


def rows_of_docs(heading):
    """The rows of the table below a heading, its two first lines left out."""
    part = DOCS.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in part.splitlines() if line.startswith("|")][2:]


def test_the_tables_have_each_of_pefts_kinds_once():
    kinds = {str(kind.value) for kind in peft.PEFT_TYPE_TO_CONFIG_MAPPING}
    assert {row.partition(",")[0] for row in ROWS} == {*known_kinds()} == kinds - {*REFUSED_KINDS}
    assert rows_of_docs("Refused") == [refused_row(kind) for kind in REFUSED_KINDS]
    found = [line.rpartition(" | ")[0] for line in rows_of_docs("Trained")]
    assert found == [trained_row(row, 0).rpartition(" | ")[0] for row in ROWS]


@pytest.mark.thorough
def test_the_numbers_of_parameters_are_those_of_the_models():
    assert rows_of_docs("Trained") == trained_rows()


def trained_rows():
    return [trained_row(row, counted(adapter(row)).parameters_adapter) for row in ROWS]


def counted(method, name="tiny-distilbert"):
    encoder = load_encoder(name)
    torch.manual_seed(0)
    modules = target_modules(encoder, method.target_modules, method.peft_type)
    return parameters(with_adapter(encoder.classifier(small.TWO), encoder, method, modules), encoder)


# Refused by name


@pytest.mark.parametrize("kind", REFUSED_KINDS)
def test_a_kind_that_cannot_be_right_is_refused_with_the_reason(kind, data):
    for engine in ("trainer", "native"):
        experiment = rtlab.Experiment(
            encoder="tiny-bert",
            dataset=str(data),
            method=Adapter(recipe=rtlab.Recipe(engine=engine), peft_type=kind),
        )
        said = f"peft_type must be a kind that can be trained here; got {kind}: {REFUSED_KINDS[kind]}; LORA would do"
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            prepare(experiment, device="cpu")


SETTINGS = {
    "the nearest": (
        "LOHA",
        {"alhpa": 3},
        "settings must be fields of PEFT's LOHA adapters; got 'alhpa'; alpha would do",
    ),
    "none is near": ("BEFT", {"r": 4}, "got 'r'; its fields are init_weights, modules_to_save, target_modules"),
    "what the run decides": (
        "IA3",
        {"peft_version": "1"},
        "settings must not hold peft_version, which the run decides",
    ),
    "a call after each step": ("ADAMSS", {"use_asa": True}, "use_asa must be left out; got True: it chooses subspaces"),
    "a term in the loss": ("LORA", {"kasa_config": {"beta": 1e-4, "gamma": 1e-3}}, "kasa_config must be left out"),
    "quantized weights": ("LORA", {"use_qalora": True}, "use_qalora must be left out; got True: it is for quantized"),
    **{
        f"data: {start}": ("LORA", {"init_lora_weights": start}, f"init_lora_weights must be a start .* got {start}: ")
        for start in ("corda", "eva", "lora_ga")
    },
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_would_be_without_effect_is_refused(case):
    kind, settings, said = SETTINGS[case]
    with pytest.raises(ValueError, match=said) as refusal:
        adapter_config(Adapter(peft_type=kind, settings=settings), ("q_lin",), "distilbert")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("LORA", {"use_rslora": "False"}),
        ("LORA", {"use_dora": 1}),
        ("LORA", {"layers_to_transform": [0, "1"]}),
        ("LOHA", {"alpha": "x"}),
        ("LOHA", {"rank_dropout": True}),
        ("OFT", {"bias": "some"}),
        ("LOHA", {"init_weights": "random"}),
    ],
)
def test_a_setting_of_another_type_is_refused(kind, settings):
    """PEFT takes the text `False` for true."""
    [(name, value)] = settings.items()
    said = re.escape(f"settings must be of PEFT's types; got {value!r} for {name}; ")
    with pytest.raises(ValueError, match=f"^{said}.* would do$"):
        check_fields(kind, settings)


@pytest.mark.parametrize("kind", known_kinds())
def test_what_peft_itself_writes_is_of_its_types(kind):
    written = json.loads(json.dumps(known_kinds()[kind]().to_dict(), default=list))
    refused = _REFUSED.get(kind, {})
    check_fields(kind, {name: v for name, v in written.items() if name not in (*NO_SETTINGS, *refused)})


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (bool, "true or false"),
        (float, "a number"),
        (list[str] | str | None, "a list or a text"),
        (int | list[int], "a number or a list"),
        (Literal["none", "all"] | bool, "none or all or true or false"),
        (dict, "an object"),
        (Path, "Path"),
    ],
)
def test_a_type_is_said_in_words(hint, said):
    assert in_words(hint) == said


def test_a_setting_of_either_type_is_taken():
    for settings in ({"init_lora_weights": False}, {"init_lora_weights": "pissa_niter_4"}, {"lora_alpha": 16}):
        check_fields("LORA", settings)
    check_fields("LOHA", {"rank_dropout": 0, "alpha": 1.5})  # a whole number for one that is not, and the other way
    check_fields("LORA", {"lora_alpha": 32.0, "use_dora": None, "eva_config": None, "layer_replication": [[0, 1]]})
    check_fields("LORA", {"layers_to_transform": 1, "exclude_modules": ["a"], "rank_pattern": {"q_lin": 4}})


def test_a_setting_that_is_off_is_taken():
    adapter_config(Adapter(settings={"use_qalora": False, "kasa_config": None}), ("q_lin",), "distilbert")


# What is adapted where nobody says


@pytest.mark.parametrize(
    ("kind", "name", "modules", "settings"),
    [
        ("LORA", "tiny-bert", ("attention",), {}),  # as rtlab lora
        ("LOHA", "tiny-bert", ("query", "value"), {}),  # PEFT names these
        ("LOHA", "tiny-distilbert", ("attention",), {}),  # and none here
        ("IA3", "tiny-bert", ("key", "value", "output.dense"), {"feedforward_modules": ["output.dense"]}),
        ("IA3", "tiny-distilbert", ("attention", "lin2"), {"feedforward_modules": ["lin2"]}),
        ("LN_TUNING", "tiny-bert", ("norms",), {}),
    ],
)
def test_the_usual_modules(kind, name, modules, settings):
    assert usual_modules(load_encoder(name), kind) == (modules, settings)


def test_names_of_pefts_that_are_not_there_are_not_taken(monkeypatch):
    tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType.LOHA]
    monkeypatch.setattr(tuner, "target_module_mapping", {"bert": ["query", "gone"]})
    assert usual_modules(load_encoder("tiny-bert"), "LOHA") == (("attention",), {})


# Parameters


PLAIN = 2 * 4 * 8 * (64 + 64)  # LoRA: layers × modules × rank × (in + out)


@pytest.mark.parametrize(
    ("kind", "modules", "settings", "added", "others"),
    [
        ("LORA", "attention", {}, PLAIN, ()),
        ("LORA", "attention", {"layers_to_transform": (1,)}, PLAIN // 2, ()),
        ("LORA", "attention", {"modules_to_save": ("lin1",)}, PLAIN, (r"distilbert.*\.lin1\.",)),
        ("LORA", "attention", {"modules_to_save": ("classifier",)}, PLAIN, ()),
        ("LORA", "attention", {"bias": "all"}, PLAIN, (r"distilbert.*\.bias$",)),
        ("LORA", "attention", {"bias": "lora_only"}, PLAIN, (r"distilbert.*(q|k|v|out)_lin\.bias$",)),
        ("LN_TUNING", "norms", {}, 2 * 2 * 2 * 64, ()),
    ],
)
def test_parameters_are_counted_apart(kind, modules, settings, added, others):
    """The adapter's are those that it adds, and the encoder's own that it trains; the head's are the head's."""
    found = counted(Adapter(peft_type=kind, target_modules=modules, settings=settings))
    plain = load_encoder("tiny-distilbert").classifier(small.TWO)
    sizes = {name: weight.numel() for name, weight in plain.named_parameters()}
    along = sum(size for name, size in sizes.items() if any(re.search(pattern, name) for pattern in others))
    assert (along > 0) == bool(others)
    assert found.parameters_adapter == added + along
    assert found.parameters_head == sum(size for name, size in sizes.items() if "classifier" in name)
    assert (found.parameters_encoder, found.parameters_total) == (0, sum(sizes.values()) + added)


def main():
    torch.set_num_threads(1)
    text = DOCS.read_text()
    tables = {"Trained": trained_rows(), "Refused": [refused_row(kind) for kind in REFUSED_KINDS]}
    for heading, rows in tables.items():
        head, _, rest = text.partition(f"\n## {heading}\n")
        lines = rest.splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith("|:--"))
        after = next((n for n, line in enumerate(lines) if n > first and not line.startswith("|")), len(lines))
        text = "\n".join([f"{head}\n## {heading}", *lines[: first + 1], *rows, *lines[after:]]) + "\n"
    DOCS.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
