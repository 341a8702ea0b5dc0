"""Validation during training: it changes nothing of it, and keeps and ends alike on both engines."""

import json
import shutil

import numpy as np
import pytest
import small
import torch
import transformers

import rtlab
from rtlab.encoders import load_encoder
from rtlab.engines.engine import NonFiniteLossError
from rtlab.engines.native import NativeEngine
from rtlab.engines.trainer import TrainerEngine
from rtlab.engines.validating import Validation
from rtlab.metrics import log_loss, scores
from rtlab.recipe import Recipe
from rtlab.records import load
from rtlab.running import Run

ENGINES = {"trainer": TrainerEngine, "native": NativeEngine}
# All sentences in one batch: so both engines do the same steps. The loss on validation is least on the way.
WHOLE = {"batch_size": small.TRAIN, "epochs": 8, "learning_rate": 3e-3, "schedule": "constant", "padding": "dynamic"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("validating") / "data", small.THREE)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder without dropout."""
    folder = tmp_path_factory.mktemp("encoder") / "it"
    shutil.copytree(load_encoder("tiny-bert").path, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {name: 0.0 for name in config if "dropout" in name and isinstance(config[name], float)}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def trained(data, engine, encoder="tiny-bert", method="full", **fields):
    """An engine that has trained, and what that came to."""
    made = ENGINES[engine](small.task(small.experiment(data, method, encoder=encoder, engine=engine, **fields)))
    return made, made.train()


# Both engines


@pytest.mark.parametrize("method", ["full", "lora"])
def test_both_engines_find_keep_and_end_alike(data, encoder, method):
    settings = {"settings": {"r": 8, "lora_alpha": 32, "lora_dropout": 0.0}} if method == "lora" else {}
    asked = WHOLE | settings | {"evaluate": "epoch", "keep": "best", "patience": 2, "metric": "loss"}
    (reference, expected), (native, found) = (trained(data, engine, encoder, method, **asked) for engine in ENGINES)
    assert len(expected.validated) == len(found.validated) > 2
    for one, other in zip(found.validated, expected.validated, strict=True):
        assert (one.step, one.epoch, one.accuracy) == (other.step, other.epoch, other.accuracy)
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
    assert found.chosen == expected.chosen
    assert found.counts == expected.counts
    np.testing.assert_allclose(native.evaluate("test"), reference.evaluate("test"), atol=5e-3, rtol=0)


def test_trainer_itself_keeps_the_same_and_ends_at_the_same_step(data, encoder, tmp_path):
    """Hugging Face's own `load_best_model_at_end` and `EarlyStoppingCallback`."""
    asked = WHOLE | {"evaluate": "epoch", "keep": "best", "patience": 2, "metric": "macro-f1"}
    reference, found = trained(data, "trainer", encoder, **asked)
    own = ENGINES["trainer"](small.task(small.experiment(data, encoder=encoder, **WHOLE)))
    arguments = own._trainer.args
    arguments.output_dir, arguments.eval_strategy, arguments.save_strategy = str(tmp_path), "epoch", "epoch"
    arguments.load_best_model_at_end, arguments.metric_for_best_model = True, "macro_f1"
    arguments.greater_is_better = True

    def measure(said):
        return {"macro_f1": scores(said.label_ids, said.predictions.argmax(axis=1), num_labels=3).macro_f1}

    own._trainer.compute_metrics = measure
    own._trainer.eval_dataset = own._data["validation"]
    own._trainer.control = transformers.TrainerControl()
    own._trainer.add_callback(transformers.EarlyStoppingCallback(early_stopping_patience=2))
    own._callback.evaluate(lambda *_: None)
    transformers.set_seed(42)
    own._trainer.train()
    assert found.counts.steps == own._trainer.state.global_step < WHOLE["epochs"]
    assert found.chosen["step"] == int(own._trainer.state.best_model_checkpoint.rpartition("-")[2])
    np.testing.assert_allclose(own.evaluate("test"), reference.evaluate("test"), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("engine", "padding", "method"),
    [
        *(("trainer", "bucketed", "full"), ("trainer", "dynamic", "lora")),
        *(("native", "packed", "full"), ("native", "dynamic", "lora")),
    ],
)
def test_to_evaluate_changes_nothing_of_training(data, engine, padding, method):
    """With dropout, whose draws would move, and batches whose order would."""
    (plain, expected), (watched, found) = (
        trained(data, engine, method=method, padding=padding, epochs=2, **fields) for fields in ({}, {"evaluate": 4})
    )
    assert found.history == expected.history
    assert found.counts == expected.counts
    assert [(entry.step, entry.epoch) for entry in found.validated] == [(4, 4 / 6), (8, 8 / 6), (12, 2.0)]
    assert not expected.validated
    np.testing.assert_array_equal(watched.evaluate("test"), plain.evaluate("test"))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_kept_is_what_a_run_that_ends_there_has(data, engine):
    asked = {"epochs": 4, "learning_rate": 1e-2, "schedule": "constant"}
    kept, found = trained(data, engine, evaluate=3, keep="best", **asked)
    step = int(found.chosen["step"])
    accuracies = [entry.accuracy for entry in found.validated]
    assert step == found.validated[int(np.argmax(accuracies))].step < found.counts.steps
    ended, _ = trained(data, engine, max_steps=step, **asked)
    np.testing.assert_array_equal(kept.evaluate("test"), ended.evaluate("test"))
    right_N = kept.evaluate("validation").argmax(axis=1) == small.read(data, "validation", small.THREE)[1]
    assert right_N.mean() == max(accuracies)


@pytest.mark.parametrize("engine", ENGINES)
def test_patience_ends_a_run_as_its_last_step_would(data, engine):
    asked = {"epochs": 9, "learning_rate": 1e-2, "schedule": "constant", "logging_steps": 4}
    last, found = trained(data, engine, evaluate=3, patience=1, metric="loss", **asked)
    losses = [entry.loss for entry in found.validated]
    assert losses[-1] >= losses[-2]
    steps = found.validated[-1].step
    assert found.counts.steps == steps < 54
    assert found.history[-1].step == steps
    assert not found.chosen  # the last is kept
    ended, expected = trained(data, engine, max_steps=steps, **asked)
    assert found.counts == expected.counts
    assert found.history == expected.history
    assert (found.train_loss, found.final_loss) == (expected.train_loss, expected.final_loss)
    np.testing.assert_array_equal(last.evaluate("test"), ended.evaluate("test"))


# A run


def test_a_record_says_what_was_found_and_what_was_kept(data, tmp_path):
    asked = small.experiment(data, engine="native", epochs=3, learning_rate=1e-2, evaluate="epoch", keep="best")
    run = Run(asked, output_dir=tmp_path, save_model=True, device="cpu")
    record = run.execute()
    assert load(run.path) == record
    accuracies = [entry.accuracy for entry in record.validated]
    assert [entry.epoch for entry in record.validated] == [1, 2, 3]
    assert record.scores["validation"].accuracy == max(accuracies)
    assert record.chosen["epoch"] == 1 + accuracies.index(max(accuracies))
    assert record.error is None  # what was saved is what was evaluated


def test_evaluation_is_not_counted_as_training(data):
    engine, task = None, small.task(small.experiment(data, engine="native", evaluate=1))
    engine = NativeEngine(task)
    engine.train()
    seconds = task.watch.seconds
    assert seconds["evaluate"] > 0
    before = seconds["evaluate"]
    engine.evaluate("validation")
    assert seconds["evaluate"] > before


# Parts


def logits(*classes):
    """Logits that say these classes out of three."""
    return np.eye(3, dtype=np.float32)[list(classes)]


def validation(recipe, steps=10, per_epoch=4, labels=(0, 1, 2)):
    weight = torch.nn.Parameter(torch.zeros(2))
    return Validation(recipe, labels, [weight], per_epoch=per_epoch, steps=steps), weight


def taken(validation, weight, *said):
    for step, classes in enumerate(said, start=1):
        with torch.no_grad():
            weight.fill_(step)
        validation.take(logits(*classes), step=step, epoch=step / 4)


@pytest.mark.parametrize(
    ("evaluate", "steps"), [("epoch", [4, 8, 10]), (3, [3, 6, 9, 10]), (5, [5, 10]), (99, [10]), (None, [])]
)
def test_when_it_is_due(evaluate, steps):
    found, _ = validation(Recipe(evaluate=evaluate))
    assert [step for step in range(1, 11) if found.due(step)] == steps
    assert Recipe(evaluate=evaluate, batch_size=4, max_steps=10).evaluations(16) == len(steps)


def test_of_equals_the_earliest_is_kept():
    found, weight = validation(Recipe(evaluate=1, keep="best"))
    taken(found, weight, (0, 0, 0), (0, 1, 0), (0, 0, 2), (0, 0, 0))
    assert found.restore() == {"step": 2, "epoch": 0.5}
    assert weight.tolist() == [2, 2]


def test_the_last_is_kept_unless_the_best_is_asked_for():
    found, weight = validation(Recipe(evaluate=1))
    taken(found, weight, (0, 1, 2), (0, 0, 0))
    assert found.restore() == {}
    assert weight.tolist() == [2, 2]


def test_patience_counts_from_the_best():
    found, weight = validation(Recipe(evaluate=1, patience=2))
    ended = []
    for classes in ((0, 0, 0), (0, 1, 0), (0, 0, 0), (0, 1, 0)):
        taken(found, weight, classes)
        ended.append(found.enough)
    assert ended == [False, False, False, True]
    assert not validation(Recipe(evaluate=1, patience=1))[0].enough


@pytest.mark.parametrize(
    ("metric", "step"),
    [("accuracy", 1), ("f1", 2), ("macro-f1", 2), ("loss", 3)],
)
def test_each_metric_may_choose_another(metric, step):
    labels = (0, 0, 0, 0, 1, 2)
    found, _ = validation(Recipe(evaluate=1, keep="best", metric=metric), labels=labels)
    for number, said in enumerate(
        (logits(0, 0, 0, 0, 0, 0) * 9, logits(0, 1, 2, 1, 1, 2) * 9, logits(1, 1, 1, 1, 1, 1) / 9), start=1
    ):
        found.take(said, step=number, epoch=number)
    assert found.restore()["step"] == step


def test_logits_that_are_not_finite_end_the_run():
    found, _ = validation(Recipe(evaluate=1))
    with pytest.raises(NonFiniteLossError, match="the logits of validation are not finite after step 7"):
        found.take(np.array([[np.nan, 0, 0]] * 3, dtype=np.float32), step=7, epoch=1)


def test_the_loss_is_torchs_cross_entropy():
    random = np.random.default_rng(0)
    logits_NC, labels_N = random.normal(size=(30, 4)) * 50, random.integers(0, 4, 30)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits_NC), torch.from_numpy(labels_N))
    assert log_loss(labels_N, logits_NC) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"evaluate": "step"}, "evaluate must be epoch, or a whole number of steps of at least 1; got 'step'"),
        *(({"evaluate": value}, "evaluate must be epoch, or a whole number") for value in (0, -1, True, 1.5)),
        ({"evaluate": 1, "keep": "first"}, "keep must be one of last, best; got 'first'"),
        ({"evaluate": 1, "patience": 0}, "patience must be a whole number of at least 1; got 0"),
        (
            {"patience": 2},
            "patience goes by evaluations during training, which are not asked for; got 2; evaluate epoch",
        ),
        ({"keep": "best"}, "keep goes by evaluations during training, which are not asked for; got 'best'; evaluate"),
        ({"evaluate": 1, "metric": "loss"}, "metric says which weights are best, which neither keep nor patience asks"),
        ({"metric": "f1"}, "metric says which weights are best"),
        ({"evaluate": 1, "metric": "auc"}, "metric must be one of accuracy, f1, macro-f1, loss; got 'auc'"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Recipe(**fields)


def test_a_label_names_them():
    asked = Recipe(evaluate="epoch", keep="best", patience=3, metric="macro-f1")
    assert asked.label == "dynamic-lr2e-05-evaluated-each-epoch-best-kept-patience-3-by-macro-f1"
    assert Recipe(evaluate=50).knobs["evaluate"] == "evaluated each 50 steps"
    assert (
        rtlab.Experiment.from_json(rtlab.Experiment(method=rtlab.Full(recipe=asked)).to_json()).method.recipe == asked
    )
