"""Contrastive fine-tuning: its loss by definition, both engines alike, and a model that is what was trained."""

import math
import time

import numpy as np
import pytest
import small
import torch
import transformers
from safetensors.torch import load_file

import rtlab
from rtlab.batches import plan_epoch
from rtlab.engines import contrastive, linear, losses
from rtlab.engines.losses import loss_of, supervised_contrastive
from rtlab.engines.native import NativeEngine
from rtlab.engines.trainer import TrainerEngine
from rtlab.records import load
from rtlab.running import model_folder
from rtlab.saved_models.opening import load_model
from rtlab.tokens import token_arrays

MAX_LENGTH = 24  # cuts some sentences
BATCH = 8
TRAIN = 12 * BATCH + 3  # 13 steps, the last on a partial batch

# The loss


def by_definition(features, labels, temperature):
    """L_out of Khosla et al. (2020), as it is written there, over the sentences that have their like."""
    unit = [row / math.sqrt(sum(value * value for value in row)) for row in np.asarray(features, dtype=np.float64)]
    found = []
    for i, own in enumerate(unit):
        others = [j for j in range(len(unit)) if j != i]
        alike = [j for j in others if labels[j] == labels[i]]
        if alike:
            every = sum(math.exp(own @ unit[j] / temperature) for j in others)
            found.append(-sum(math.log(math.exp(own @ unit[p] / temperature) / every) for p in alike) / len(alike))
    return sum(found) / len(found) if found else 0.0


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 1, 0, 0], [0, 1, 2, 3, 0], [0, 0], [0, 1], [2], [0, 0, 0, 0]], ids=str)
def test_the_loss_is_the_papers(labels, temperature):
    features = np.random.default_rng(len(labels)).normal(size=(len(labels), 5))
    found = supervised_contrastive(torch.tensor(features), torch.tensor(labels), temperature=temperature)
    assert float(found) == pytest.approx(by_definition(features, labels, temperature), rel=1e-12)


@pytest.mark.parametrize("labels", [[0, 1, 2], [1]], ids=str)
def test_where_no_sentence_has_its_like_nothing_is_learnt(labels):
    """A last batch of one sentence, or more classes than sentences: no NaN."""
    features = torch.randn(len(labels), 4, requires_grad=True)
    loss = supervised_contrastive(features, torch.tensor(labels), temperature=0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not features.grad.any()


def test_the_loss_is_small_where_classes_lie_apart():
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])
    loss = loss_of(rtlab.Contrastive())
    assert float(loss(apart, torch.tensor([0, 0, 1, 1]))) < 0.01 < float(loss(apart, torch.tensor([0, 1, 0, 1])))


# The engines


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contrastive")


@pytest.fixture(scope="module")
def data(folder):
    return small.data_folder(folder / "data", small.THREE, TRAIN, 20)


def asked_of(data, encoder, engine, padding=None):
    return small.experiment(
        data,
        method="contrastive",
        encoder=str(encoder.path),
        engine=engine,
        padding=padding,
        batch_size=BATCH,
        max_length=MAX_LENGTH,
        learning_rate=1e-4,
        seed=1,
    )


def by_hand(data, encoder, padding):
    """Losses, features of test and weights of a plain padded loop; of rtlab's there is the plan of batches alone."""
    texts, labels = small.read(data, "train", small.THREE)
    lengths = token_arrays(texts, encoder.tokenizer, MAX_LENGTH).lengths
    batches = plan_epoch(lengths, padding=padding, batch_size=BATCH, seed=1, epoch=0).batches
    model = transformers.AutoModel.from_pretrained(encoder.path, attn_implementation="sdpa").train()
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder.path)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    found = []

    def features(some):
        inputs = tokenizer(some, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"]
        return torch.stack([one[kept.bool()].mean(0) for one, kept in zip(hidden, mask, strict=True)])

    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = 1e-4 * (len(batches) - step) / len(batches)
        unit = torch.nn.functional.normalize(features([texts[row] for row in rows]))
        of_sentences = []
        for i, row in enumerate(rows):
            others = [j for j in range(len(rows)) if j != i]
            alike = [others.index(j) for j in others if labels[rows[j]] == labels[row]]
            if alike:
                of_sentences.append(-torch.log_softmax(unit[others] @ unit[i] / 0.1, dim=0)[alike].mean())
        loss = torch.stack(of_sentences).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(float(loss.detach()))
    model.eval()
    with torch.no_grad():
        return found, features(small.read(data, "test", small.THREE)[0]).numpy()


def trained(engine):
    training = engine.train()
    return [entry.loss for entry in training.history], engine.evaluate("test")


@pytest.mark.parametrize("padding", ["packed", "dynamic"])
@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra"])
def test_native_trains_as_a_plain_loop_does(name, padding, data, folder):
    encoder = small.without_dropout(name, folder)
    found, features = trained(NativeEngine(small.task(asked_of(data, encoder, "native", padding))))
    expected, of_loop = by_hand(data, encoder, padding)
    assert len(found) == 13
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(features, of_loop, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-bert"])
def test_the_reference_trains_as_a_plain_loop_does(name, data, folder, monkeypatch):
    encoder = small.without_dropout(name, folder)
    lengths = token_arrays(small.read(data, "train", small.THREE)[0], encoder.tokenizer, MAX_LENGTH).lengths
    plan = plan_epoch(lengths, padding="dynamic", batch_size=BATCH, seed=1, epoch=0)
    order = small.Order([int(row) for batch in plan.batches for row in batch])
    monkeypatch.setattr(transformers.Trainer, "_get_train_sampler", lambda *_: order)
    found, features = trained(TrainerEngine(small.task(asked_of(data, encoder, "trainer"))))
    expected, of_loop = by_hand(data, encoder, "dynamic")
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(features, of_loop, atol=1e-3, rtol=0)


def test_another_loss_is_found_out(data, folder, monkeypatch):
    """The comparison bites: each sentence counted among its own like."""
    encoder = small.without_dropout("tiny-bert", folder)
    expected, _ = by_hand(data, encoder, "packed")

    def with_itself(features_SD, labels_S, *, temperature):
        unit_SD = torch.nn.functional.normalize(features_SD, dim=1)
        alike_SS = labels_S[:, None] == labels_S
        likely_SS = (unit_SD @ unit_SD.T / temperature).log_softmax(dim=1)
        return -((likely_SS * alike_SS).sum(dim=1) / alike_SS.sum(dim=1)).mean()

    monkeypatch.setattr(losses, "supervised_contrastive", with_itself)
    found, _ = trained(NativeEngine(small.task(asked_of(data, encoder, "native", "packed"))))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


# A run, and its model


@pytest.fixture(scope="module", params=["native", "trainer"])
def done(request, data, tmp_path_factory):
    """The record of a run whose model is saved, and its folder."""
    output = tmp_path_factory.mktemp(request.param)
    asked = small.experiment(data, method="contrastive", encoder="tiny-bert", engine=request.param, epochs=2)
    record = rtlab.run(asked, output_dir=output, save_model=True, device="cpu")
    return record, output, model_folder(output, record)


def test_a_run_is_recorded_as_any_other(done):
    record, output, _ = done
    assert record.status == "ok"
    (file,) = (output / "records").iterdir()
    assert load(file).experiment == record.experiment
    counts, head = record.counts, 3 * 64 + 3
    assert counts.parameters_head == head
    assert counts.parameters_adapter == 0
    assert counts.parameters_encoder + head == counts.parameters_trained == counts.parameters_total
    assert (counts.samples, counts.steps) == (2 * TRAIN, 26)
    assert len(record.history) == 26
    assert {split: said.logits.shape for split, said in record.predictions.items()} == {
        "validation": (20, 3),
        "test": (20, 3),
    }


@pytest.mark.parametrize(("name", "of"), [("native", NativeEngine), ("trainer", TrainerEngine)])
def test_reading_the_training_sentences_is_a_part_of_training(name, of, data, monkeypatch):
    task = small.task(small.experiment(data, method="contrastive", encoder="tiny-bert", engine=name))
    engine = contrastive.ContrastiveEngine(task, of(task))
    logits = of._logits

    def slow(*given):
        time.sleep(2)
        return logits(*given)

    monkeypatch.setattr(of, "_logits", slow)
    start = time.perf_counter()
    engine.train()
    assert "evaluate" not in task.watch.seconds
    assert 2 < task.watch.seconds["train"] < time.perf_counter() - start


@pytest.mark.parametrize("name", ["native", "trainer"])
def test_features_that_are_not_finite_are_told_as_such(name, data, tmp_path):
    asked = small.experiment(data, method="contrastive", engine=name, learning_rate=1e38, max_steps=1)
    with pytest.raises(rtlab.RunFailedError) as failed:
        rtlab.run(asked, output_dir=tmp_path, device="cpu")
    assert failed.value.record.status == "nan"
    assert "not finite" in failed.value.record.error


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("padding", ["fixed", "bucketed"])
@pytest.mark.parametrize("engine", ["native", "trainer"])
def test_any_padding_and_precision_is_saved_as_it_was_trained(engine, padding, precision, data, tmp_path):
    """The saved model is loaded again by plain transformers, and compared."""
    fields = {"engine": engine, "padding": padding, "precision": precision, "max_length": MAX_LENGTH}
    record = rtlab.run(
        small.experiment(data, method="contrastive", **fields), output_dir=tmp_path, device="cpu", save_model=True
    )
    assert record.error is None


def test_a_class_whose_sentences_stand_alone_in_their_batches_is_learnt(tmp_path):
    """Of each class there are two sentences: few batches have both."""
    names = tuple(f"class {number}" for number in range(20))
    folder = small.data_folder(tmp_path / "many", names, train=40, held_out=20)
    record = rtlab.run(
        small.experiment(folder, method="contrastive", engine="native"), output_dir=tmp_path, device="cpu"
    )
    assert record.status == "ok"
    assert record.predictions["test"].logits.shape == (20, 20)


def test_its_model_labels_as_the_run_did(done, data):
    record, _, folder = done
    texts, _ = small.read(data, "test", small.THREE)
    temperature = linear.load(folder / contrastive.CLASSIFIER).temperature
    assert temperature != 1
    found = load_model(folder).logits(texts)
    np.testing.assert_allclose(found, record.predictions["test"].logits / temperature, atol=1e-3)


def test_plain_transformers_reads_its_encoder(done):
    _, _, folder = done
    model, report = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert all(name.startswith("pooler.") for name in report["missing_keys"])  # nobody reads it, and none was trained
    weights = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items() if name in weights)


def test_a_model_without_its_classifier_is_refused(done, tmp_path):
    _, _, folder = done
    for file in folder.iterdir():
        if file.name != contrastive.CLASSIFIER:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"^model must hold head\.safetensors, as rtlab saved it; got "):
        load_model(tmp_path)


def test_another_encoder_under_its_classifier_is_refused(done, data, tmp_path):
    """Mixed from two, it would label otherwise and say nothing."""
    _, _, folder = done
    other = rtlab.run(
        small.experiment(data, method="contrastive", encoder="tiny-bert", engine="native", seed=7),
        output_dir=tmp_path / "results",
        save_model=True,
        device="cpu",
    )
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for file in folder.iterdir():
        (mixed / file.name).write_bytes(file.read_bytes())
    (mixed / "model.safetensors").write_bytes(
        (model_folder(tmp_path / "results", other) / "model.safetensors").read_bytes()
    )
    with pytest.raises(ValueError, match=r"is not as it was saved: model\.safetensors has changed"):
        load_model(mixed)


def test_several_ranks_cannot_share_it(data, monkeypatch):
    from rtlab import running
    from rtlab.engines.ranks import Ranks

    asked = small.experiment(data, method="contrastive", engine="native")
    with pytest.raises(ValueError, match=r"^method contrastive is of one process; got 2 ranks; "):
        running._check_shared(Ranks(rank=0, number=2), asked)


def test_frozen_layers_stay(data, tmp_path):
    asked = small.experiment(data, method="contrastive", encoder="tiny-bert", engine="native", freeze_layers=1)
    record = rtlab.run(asked, output_dir=tmp_path, save_model=True, device="cpu")
    before = dict(small.task(asked).encoder.base().named_parameters())
    after = load_file(model_folder(tmp_path, record) / "model.safetensors")
    same = {name for name, value in after.items() if name in before and torch.equal(value, before[name])}
    assert any(name.startswith("embeddings.") for name in same)
    assert {name.split(".")[2] for name in same if name.startswith("encoder.layer.")} == {"0"}
    assert any(name.startswith("encoder.layer.1.") for name in set(after) - same)


@pytest.mark.parametrize("engine", ["native", "trainer"])
def test_the_same_experiment_is_the_same_run(engine, data, tmp_path):
    asked = small.experiment(data, method="contrastive", encoder="tiny-bert", engine=engine)
    one, other = (rtlab.run(asked, output_dir=tmp_path / name, device="cpu") for name in "ab")
    np.testing.assert_array_equal(one.predictions["test"].logits, other.predictions["test"].logits)
