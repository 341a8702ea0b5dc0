"""What a recipe asks of the optimisation means the same on both engines; without dropout, number by number."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import small
import torch
import transformers

from rtlab.batches import plan_epoch
from rtlab.encoders import load_encoder
from rtlab.engines import step
from rtlab.engines.native import NativeEngine
from rtlab.engines.step import class_weights, decayed
from rtlab.engines.trainer import TrainerEngine
from rtlab.recipe import Recipe

BATCH, SEED = 4, 1
KNOBS = {
    "warm-up": {"warmup": 0.3},
    "warm-up steps": {"warmup": 3},
    "cosine": {"schedule": "cosine"},
    "constant": {"schedule": "constant", "warmup": 2},
    "decay": {"weight_decay": 0.3},
    "clipping": {"max_grad_norm": 0.05},
    "no clipping": {"max_grad_norm": 0},
    "balanced": {"class_weights": "balanced"},
    "smoothing": {"label_smoothing": 0.2},
    "accumulation": {"batch_size": 2, "accumulate": 2},
    "frozen": {"freeze_layers": 1},
    "all frozen": {"freeze_layers": 2},
    "together": {
        "warmup": 0.2,
        "schedule": "cosine",
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "batch_size": 1,
        "accumulate": 3,
        "freeze_layers": 1,
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes, of which one is rare."""
    folder = small.data_folder(tmp_path_factory.mktemp("knobs") / "data", small.THREE, 50, 20)
    lines = (folder / "train.csv").read_text().splitlines()
    rare = [line for number, line in enumerate(lines) if not (line.endswith(",good") and number % 4)]
    (folder / "train.csv").write_text("\n".join(rare) + "\n")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder without dropout."""
    folder = tmp_path_factory.mktemp("encoder") / "it"
    shutil.copytree(load_encoder("tiny-bert").path, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {name: 0.0 for name in config if "dropout" in name and isinstance(config[name], float)}
    (folder / "config.json").write_text(json.dumps(config))
    return load_encoder(str(folder))


def of_method(knob, method):
    """A knob as a method takes it: under an adapter all layers are frozen anyway."""
    return {name: value for name, value in KNOBS[knob].items() if method == "full" or name != "freeze_layers"}


def asked(data, encoder, method, engine, **knobs):
    adapter = {"settings": {"r": 8, "lora_alpha": 32, "lora_dropout": 0.0}} if method == "lora" else {}
    return small.experiment(
        data,
        method,
        encoder=str(encoder.path),
        engine=engine,
        seed=SEED,
        **{"padding": "dynamic", "batch_size": BATCH} | adapter | knobs,
    )


def results(engine):
    training = engine.train()
    history = [(entry.loss, entry.learning_rate, entry.gradient_norm) for entry in training.history]
    return np.array(history), engine.evaluate("test")


def both(data, encoder, method, monkeypatch, mutant=None, **knobs):
    """Losses, rates and norms by step, and logits, of the reference and of the native engine on the same batches."""
    task = small.task(asked(data, encoder, method, "native", **knobs))
    lengths_N = NativeEngine(task)._tokens.train.lengths
    plan = plan_epoch(lengths_N, padding="dynamic", batch_size=BATCH, seed=SEED, epoch=0)
    order = list(itertools.chain.from_iterable(batch.tolist() for batch in plan.batches))
    monkeypatch.setattr(transformers.Trainer, "_get_train_sampler", lambda *_: small.Order(order))
    expected = results(TrainerEngine(small.task(asked(data, encoder, method, "trainer", **knobs))))
    if mutant is not None:
        mutant(monkeypatch)
    return expected, results(NativeEngine(task))


def check(expected, found):
    assert len(expected[0]) == len(found[0]) >= 10
    np.testing.assert_allclose(found[0][:, 0], expected[0][:, 0], rtol=1e-3)
    np.testing.assert_allclose(found[0][:, 1], expected[0][:, 1], rtol=1e-9)
    np.testing.assert_allclose(found[0][:, 2], expected[0][:, 2], rtol=1e-2)
    np.testing.assert_allclose(found[1], expected[1], atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("method", "knob"), [(method, knob) for method in ("full", "lora") for knob in KNOBS if of_method(knob, method)]
)
def test_a_knob_means_the_same_on_both_engines(data, encoder, monkeypatch, knob, method):
    check(*both(data, encoder, method, monkeypatch, **of_method(knob, method)))


@pytest.mark.parametrize("knob", sorted({*KNOBS} - {"accumulation"}))  # which takes one large batch apart
def test_a_knob_changes_something(data, encoder, knob):
    """So that a knob that both engines ignore is found."""
    size = {"batch_size": KNOBS[knob].get("batch_size", BATCH) * KNOBS[knob].get("accumulate", 1)}
    usual, other = (
        results(NativeEngine(small.task(asked(data, encoder, "full", "native", **fields))))
        for fields in (size, KNOBS[knob])
    )
    assert np.abs(usual[1] - other[1]).max() > 1e-4


@pytest.mark.parametrize("loss", [{}, {"class_weights": "balanced", "label_smoothing": 0.1}], ids=["plain", "weighted"])
@pytest.mark.parametrize(("engine", "made"), [("trainer", TrainerEngine), ("native", NativeEngine)])
def test_batches_of_a_step_are_one_large_batch(data, encoder, engine, made, loss):
    """The last step's, too, which has fewer of them, and the last one a sentence or two."""
    large, small_ones = (
        made(small.task(asked(data, encoder, "full", engine, epochs=2, **loss, **fields))).train()
        for fields in ({"batch_size": 12}, {"batch_size": 3, "accumulate": 4})
    )
    assert small_ones.counts.steps == large.counts.steps
    assert small_ones.counts.samples == large.counts.samples
    assert len(small_ones.history) == len(large.history) == large.counts.steps
    for one, other in zip(small_ones.history, large.history, strict=True):
        assert one.learning_rate == other.learning_rate
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)
    assert small_ones.final_loss == pytest.approx(large.final_loss, rel=1e-4)
    assert small_ones.history[-1].epoch == 2


# The tests bite: what a faulty engine might do, done to it


def decay_on_all(monkeypatch):
    monkeypatch.setattr(
        step, "decayed", lambda model, decay: [{"params": list(model.parameters()), "weight_decay": decay}]
    )


def late_warm_up(monkeypatch):
    plain = step.learning_rates
    monkeypatch.setattr(step, "learning_rates", lambda recipe, steps: np.roll(plain(recipe, steps), 1))


def unweighted(monkeypatch):
    """A mean over the sentences, whatever they count for."""
    plain = torch.nn.functional.cross_entropy

    def loss(scores_SC, labels_S, weight=None, **named):
        return plain(scores_SC, labels_S, weight=weight, reduction="none", **named).mean()

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", loss)


def equal_shares(monkeypatch):
    """Each batch of a step counts the same, however many sentences it has and what these count for."""
    monkeypatch.setattr(step.Step, "shares", lambda _, part: [1 / len(part.batches)] * len(part.batches))


MUTANTS = {decay_on_all: "decay", late_warm_up: "warm-up", unweighted: "balanced", equal_shares: "together"}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_faulty_engine_is_found_out(data, encoder, monkeypatch, mutant):
    expected, found = both(data, encoder, "full", monkeypatch, mutant, **KNOBS[MUTANTS[mutant]])
    with pytest.raises(AssertionError):
        check(expected, found)


def test_decay_moves_rows_that_no_sentence_has(data, encoder):
    """The native engine leaves such rows alone where nothing moves them; the reference decays them."""
    texts, _ = small.read(data, "train", small.THREE)
    used = set(itertools.chain.from_iterable(encoder.tokenizer(texts).input_ids)) | {encoder.tokenizer.pad_token_id}
    unused = sorted(set(range(encoder.config.vocab_size)) - used)
    rows = []
    for engine, made in (("trainer", TrainerEngine), ("native", NativeEngine)):
        trained = made(small.task(asked(data, encoder, "full", engine, weight_decay=0.5)))
        trained.train()
        rows.append(trained._model.get_input_embeddings().weight.detach()[unused])
    before = encoder.base().get_input_embeddings().weight.detach()[unused]
    assert (rows[0] != before).any(dim=1).all()
    torch.testing.assert_close(rows[1], rows[0], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("engine", "made"), [("trainer", TrainerEngine), ("native", NativeEngine)])
def test_frozen_layers_stay_as_they_are_and_are_not_counted(data, encoder, engine, made):
    trained = made(small.task(asked(data, encoder, "full", engine, freeze_layers=1)))
    before = {name: value.clone() for name, value in trained._model.state_dict().items()}
    counts = trained.train().counts
    after = trained._model.state_dict()
    moved = {name for name, value in after.items() if (value != before[name]).any()}
    still = {name for name in before if "embeddings" in name or ".layer.0." in name}
    assert moved
    assert not moved & still
    assert {name for name in before if ".layer.1." in name and not name.endswith("key.bias")} <= moved
    sizes = {name: value.numel() for name, value in before.items()}
    assert counts.parameters_encoder + counts.parameters_head == sum(sizes[name] for name in {*before} - still)
    assert counts.parameters_total == sum(sizes.values())


def test_nothing_is_computed_backward_through_frozen_layers(data, encoder):
    engine = NativeEngine(small.task(asked(data, encoder, "full", "native", freeze_layers=1)))
    hidden = []
    for layer in engine._model.base_model.encoder.layer:
        layer.register_forward_hook(lambda _, __, output: hidden.append(output))
    engine._model.train()
    engine._step.eager(engine._part(engine._plan[0]))
    assert [part.requires_grad for part in hidden] == [False, True]


# Parts


def test_the_parameters_that_decay_are_trainers(encoder):
    for model in (encoder.classifier(("a", "b")), load_encoder("tiny-roberta").classifier(("a", "b"))):
        trainer = transformers.Trainer.__new__(transformers.Trainer)
        names = set(trainer.get_decay_parameter_names(model))
        expected = {id(parameter) for name, parameter in model.named_parameters() if name in names}
        groups = {group["weight_decay"]: {id(one) for one in group["params"]} for group in decayed(model, 0.1)}
        assert groups[0.1] == expected
        assert groups[0.0] == {id(one) for one in model.parameters()} - expected


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels_N = np.array([0] * 7 + [1] * 2 + [2])
    found = class_weights(Recipe(class_weights="balanced"), labels_N, torch.device("cpu"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels_N)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert class_weights(Recipe(), labels_N, torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("warmup", "weight_decay", "max_grad_norm") for value in (-1, float("nan"), "1")),
        *(("label_smoothing", value) for value in (-0.1, 1, float("inf"))),
        *(("warmup", 2.5), ("schedule", "step"), ("class_weights", "rare")),
    ],
)
def test_a_knob_out_of_range_is_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field} must be "):
        Recipe(**{field: value})


def test_a_label_and_words_name_what_is_not_the_labs():
    together = Recipe(**KNOBS["together"] | {"batch_size": Recipe.batch_size})
    assert together.label == (
        "dynamic-lr2e-05-warm-up-0.2-cosine-decay-0.1-clip-0.5-balanced-classes-smoothed-0.1-accumulate-3-frozen-1"
    )
    assert dataclasses.replace(together, **{name: getattr(Recipe, name) for name in together.knobs}) == Recipe()
