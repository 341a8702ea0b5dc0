"""The native engine compares itself with the plain model before it trains, and is refused where they differ."""

import dataclasses
import importlib
import random

import numpy as np
import pytest
import small
import torch

import rtlab
from rtlab.engines import attention, layouts, native, operations, self_check
from rtlab.engines.agreement import MANY, TOLERANCE, allowed, disagreement, spread
from rtlab.engines.native import NativeEngine
from rtlab.engines.self_check import plain_logits


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("self-check") / "reviews", small.THREE)


def asked(data, **fields):
    return small.experiment(data, **{"engine": "native", "max_length": 40} | fields)


# Faults that train something else, without an error


def of_layouts(change):
    """A fault in where tokens lie: of a layout's fields."""

    def break_it(monkeypatch):
        layout = layouts.Packer.layout

        def wrong(self, rows_S, **how):
            right = layout(self, rows_S, **how)
            return dataclasses.replace(right, **change(right))

        monkeypatch.setattr(layouts.Packer, "layout", wrong)

    return break_it


def mixed(monkeypatch):
    """Every token attends to all of the row."""

    def attend(query, key, value, layout, *, firsts=False, scale, dropout, masks=None):
        q, k, v = (part.transpose(0, 1) for part in (query, key, value))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale).transpose(0, 1)

    monkeypatch.setattr(attention, "attend", attend)


def scaled(monkeypatch):
    attend = attention.attend
    monkeypatch.setattr(attention, "attend", lambda *parts, scale, **how: attend(*parts, scale=scale * 1.05, **how))


def other_activation(monkeypatch):
    """A product of our own that forgets the bias."""
    linear = operations._linear
    monkeypatch.setattr(operations, "_linear", lambda *given: linear(*given) - 0.02)


def other_rows(monkeypatch):
    """The word embedding that a run trains, put together in another order."""

    class Wrong(native.UsedRows):
        def __init__(self, *given, **how):
            super().__init__(*given, **how)
            with torch.no_grad():
                self._module.weight.copy_(self._module.weight.roll(1, 0))

    monkeypatch.setattr(native, "UsedRows", Wrong)


def of_what_is_added(change):
    """A fault in what an adapter adds, of its weights and scale; nothing shows while it adds zero."""

    def break_it(monkeypatch):
        adapted = operations._Adapted.apply
        monkeypatch.setattr(
            operations._Adapted, "apply", lambda *given: adapted(*given[:4], *change(*given[4:7]), *given[7:])
        )

    return break_it


ADDED = {
    "scale of what is added": of_what_is_added(lambda down, up, scale: (down, up, scale * 1.05)),
    "nothing is added": of_what_is_added(lambda down, up, scale: (down, up, scale * 0.0)),
    "parts that are added in another order": of_what_is_added(lambda down, up, scale: (down.flip(0), up, scale)),
}
FAULTS = {
    "positions": of_layouts(lambda right: {"positions_1T": right.positions_1T + 1}),
    "first tokens": of_layouts(lambda right: {"first_S": right.first_S + 1}),
    "words": of_layouts(lambda right: {"ids_1T": right.ids_1T.roll(1, 1)}),
    "sentences that see each other": mixed,
    "scale of attention": scaled,
    "a product of ours": other_activation,
    "rows of the embedding": other_rows,
    **ADDED,
}


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        *(("full", fault) for fault in FAULTS if fault not in ADDED),
        *(("lora", fault) for fault in FAULTS if fault != "rows of the embedding"),
    ],
)
def test_a_fault_is_refused_before_anything_is_trained(data, tmp_path, monkeypatch, fault, method):
    FAULTS[fault](monkeypatch)
    trained = []
    with pytest.raises(rtlab.RunFailedError, match="--engine trainer would do") as failed:
        rtlab.run(
            asked(data, method=method), output_dir=tmp_path, device="cpu", progress=lambda *it: trained.append(it)
        )
    assert trained == []
    record = failed.value.record
    assert (record.status, record.scores) == ("failed", {})
    said = (
        "ValueError: engine 'native' does not compute what plain transformers does with encoder tiny-distilbert in fp32"
    )
    assert record.error.startswith(said)
    assert "\n" not in record.error


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("LOHA", "peft.tuners.loha.layer.LoHaLayer"),  # starts as a product with zero
        ("HRA", "peft.tuners.hra.layer.HRALinear"),  # as reflections that undo each other
        ("IA3", "peft.tuners.ia3.layer.Linear"),  # as factors of 1
    ],
)
def test_a_fault_in_what_another_kind_adds_is_found(kind, layer, data, monkeypatch):
    """On the packed row alone, which is one."""
    task = small.task(asked(data, method="lora", peft_type=kind))
    module, _, name = layer.rpartition(".")
    of = getattr(importlib.import_module(module), name)
    whole = of.forward
    monkeypatch.setattr(of, "forward", lambda self, x: whole(self, x) if len(x) > 1 else self.base_layer(x))
    with pytest.raises(ValueError, match="does not compute what plain transformers does"):
        NativeEngine(task)


@pytest.mark.parametrize("padding", ["fixed", "dynamic", "bucketed"])
def test_padded_batches_are_checked_too(data, tmp_path, monkeypatch, padding):
    FAULTS["positions"](monkeypatch)
    with pytest.raises(rtlab.RunFailedError, match="--engine trainer would do"):
        rtlab.run(asked(data, padding=padding), output_dir=tmp_path, device="cpu")


def test_a_fault_in_the_runs_precision_alone_is_found(data, tmp_path, monkeypatch):
    attend = attention.attend

    def wrong_in_bf16(query, *rest, **how):
        output = attend(query, *rest, **how)
        return output * 1.5 if query.dtype == torch.bfloat16 else output

    monkeypatch.setattr(attention, "attend", wrong_in_bf16)
    rtlab.run(asked(data, max_steps=1), output_dir=tmp_path, device="cpu")
    with pytest.warns(UserWarning, match="bf16"), pytest.raises(rtlab.RunFailedError, match=r"in bf16 .*trainer"):
        rtlab.run(asked(data, precision="bf16"), output_dir=tmp_path, device="cpu")


def test_the_command_line_says_it_in_one_line(data, rtlab, monkeypatch):
    FAULTS["positions"](monkeypatch)
    done = rtlab("finetune", "--encoder", "tiny-distilbert", "--dataset", data, "--engine", "native", "--device", "cpu")
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "--engine trainer would do" in done.err


# What is right


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("encoder", ["tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra"])
def test_what_is_right_is_taken_for_right(data, encoder, precision, recwarn):
    for seed in range(3):
        NativeEngine(small.task(asked(data, encoder=encoder, precision=precision, seed=seed)))


@pytest.mark.parametrize(
    "settings", [{}, {"use_rslora": True}, {"lora_alpha": 10**6}, {"init_lora_weights": False}, {"use_dora": True}]
)
def test_an_adapter_is_exercised_and_then_what_it_was(data, settings, monkeypatch):
    """Bit for bit, also where the check refuses; and large scales are no fault."""
    task = small.task(asked(data, method="lora", settings=settings))
    monkeypatch.setattr(native, "plain_logits", lambda *_: None)
    monkeypatch.setattr(native, "check", lambda *_: None)
    unchecked = NativeEngine(task)._model.state_dict()
    monkeypatch.undo()
    model = NativeEngine(task)._model
    assert all(torch.equal(weight, unchecked[name]) for name, weight in model.state_dict().items())
    ups = [name for name in unchecked if "lora_B" in name]
    meanwhile = {}

    def refuse():
        meanwhile.update({name: weight.clone() for name, weight in model.state_dict().items()})
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"), self_check.adapter_exercised(model):
        refuse()
    assert {name for name, weight in meanwhile.items() if not torch.equal(weight, unchecked[name])} == {*ups}
    assert all(torch.equal(weight, unchecked[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_no_generator_is_moved(data, method, monkeypatch):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002  # what libraries draw from

    NativeEngine(small.task(asked(data, method=method)))
    with_check = states()
    monkeypatch.setattr(native, "plain_logits", lambda *_: None)
    monkeypatch.setattr(native, "check", lambda *_: None)
    NativeEngine(small.task(asked(data, method=method)))
    assert states() == with_check


def test_the_plain_model_shares_nothing_with_the_packed_one(data, monkeypatch):
    """Whatever of ours is broken, it gives what transformers' own model gives for each sentence by itself."""
    task = small.task(asked(data))
    torch.manual_seed(0)
    model = task.encoder.classifier(task.splits.label_names).eval()
    for fault in ("positions", "sentences that see each other", "a product of ours"):
        FAULTS[fault](monkeypatch)
    rows_S = np.array([3, 0, 7])
    found = plain_logits(model, task, rows_S)
    assert set(found) == {"fp32"}
    for row, logits_C in zip(rows_S, found["fp32"], strict=True):
        inputs = task.encoder.tokenizer(
            task.splits.train.texts[row], return_tensors="pt", truncation=True, max_length=40
        )
        with torch.no_grad():
            np.testing.assert_allclose(logits_C, model(**inputs).logits[0], rtol=0, atol=1e-5)


def test_logits_that_are_no_numbers_are_left_to_training(data, tmp_path, monkeypatch):
    plain = self_check.plain_logits
    monkeypatch.setattr(native, "plain_logits", lambda *it: {"fp32": plain(*it)["fp32"] * np.float32(np.nan)})
    rtlab.run(asked(data, max_steps=1), output_dir=tmp_path, device="cpu")


# Which sentences, and what they cost


@pytest.mark.parametrize("many", [1, 2, 5, 6, 7, 100])
def test_the_shortest_and_the_longest_sentence_are_among_a_few(many):
    lengths_N = np.random.default_rng(0).permutation(many) + 3
    rows_S = spread(lengths_N)
    assert len(set(rows_S.tolist())) == len(rows_S) == min(many, MANY)
    assert {lengths_N[rows_S].min(), lengths_N[rows_S].max()} == {lengths_N.min(), lengths_N.max()}


def test_the_sentences_are_those_that_the_run_reads(data):
    engine = NativeEngine(small.task(asked(data, max_steps=1)))
    read = set(engine._batches[0][0].tolist())
    assert set(engine._checked_rows().tolist()) <= read


def test_a_check_costs_less_than_a_fiftieth_of_an_epoch():
    """In tokens that go forward, of which an epoch's go backward too: on a quarter of the usual data set."""
    recipe = rtlab.Recipe(engine="native", epochs=1)
    asked = rtlab.Experiment(
        encoder="tiny-distilbert", dataset="corpus", method=rtlab.Full(recipe=recipe), limit=2000, precision="fp32"
    )
    task, seen = small.task(asked), []
    embed = torch.nn.functional.embedding

    def counted(ids, weight, *rest, **how):
        if weight.shape[0] > 512:  # words, not positions
            seen.append(ids.numel())
        return embed(ids, weight, *rest, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "embedding", counted)
        engine = NativeEngine(task)
    epoch = sum(shape.total for _, shape in engine._batches)
    assert len(seen) >= 1
    assert 0 < sum(seen) < 0.02 * epoch


# How far apart is too far


def test_a_difference_is_measured_against_the_largest_logit():
    expected_SC = np.array([[100.0, -50.0]], dtype=np.float32)
    most = allowed(expected_SC, expected_SC, "fp32", least=1e-5)
    assert most == pytest.approx(1e-2)
    assert disagreement(expected_SC + np.float32(0.009), expected_SC, most) is None
    assert "differ by up to 0.011" in disagreement(expected_SC + np.float32(0.011), expected_SC, most)


def test_what_rounding_does_to_these_very_logits_counts():
    rounded_SC = np.array([[0.01, -0.01]], dtype=np.float32)
    assert allowed(rounded_SC, rounded_SC, "bf16", least=0.0) == pytest.approx(TOLERANCE["bf16"] * 0.01)
    assert allowed(rounded_SC, rounded_SC + np.float32(0.001), "bf16", least=0.0) == pytest.approx(0.008)


def test_no_number_agrees_with_nothing_and_another_shape_neither():
    ones_SC = np.ones((2, 2), dtype=np.float32)
    assert disagreement(ones_SC * np.float32(np.nan), ones_SC, 1.0) is not None
    assert disagreement(np.ones((2, 3), dtype=np.float32), ones_SC, 1.0) == "3 logits for each sentence instead of 2"
