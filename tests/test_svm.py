"""The SVM on frozen features: the features, the fit, the probabilities, and what is saved of them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import small
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from sklearn.svm import LinearSVC

import rtlab
from rtlab.batches import PaddingCost
from rtlab.data import corpus, load_splits
from rtlab.encoders import load_encoder
from rtlab.engines import linear, svm
from rtlab.engines.features import KnownFeatures
from rtlab.engines.linear import Linear
from rtlab.engines.reading import read, readable
from rtlab.metrics import scores
from rtlab.preparing import prepare
from rtlab.running import Run, model_folder
from rtlab.tokens import token_arrays

SENTENCES = corpus.generate(150)[0]  # more than two batches


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svm")
    return {names: small.data_folder(folder / str(len(names)), names) for names in (small.TWO, small.THREE)}


@pytest.fixture(scope="module", params=[small.TWO, small.THREE], ids=["two classes", "three classes"])
def fitted(request, data, tmp_path_factory):
    """An SVM's run, and the features of every split as Hugging Face alone gives them."""
    names, output_dir = request.param, tmp_path_factory.mktemp("results")
    experiment = small.experiment(data[names], method="svm", pooling="mean", seed=5)
    splits = {name: small.read(data[names], name, names) for name in ("train", "validation", "test")}
    record = rtlab.run(experiment, output_dir=output_dir, device="cpu", save_model=True)
    path = load_encoder("tiny-distilbert").path
    features = {name: one_by_one(path, texts, "mean") for name, (texts, _) in splits.items()}
    return SimpleNamespace(
        record=record,
        folder=model_folder(output_dir, record),
        features=features,
        labels={name: np.array(labels) for name, (_, labels) in splits.items()},
    )


def one_by_one(path, sentences, pooling, max_length=512):
    """Features without batches, so without padding, order or mask: one sentence, one forward pass."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path).eval()
    rows = []
    for sentence in sentences:
        inputs = tokenizer(sentence, return_tensors="pt", truncation=True, max_length=max_length)
        with torch.no_grad():
            hidden_LD = model(**inputs).last_hidden_state[0]
        rows.append(hidden_LD[0] if pooling == "cls" else hidden_LD.mean(dim=0))
    return torch.stack(rows).numpy()


def extract(encoder, sentences, pooling, max_length=512, **options):
    tokens = token_arrays(sentences, encoder.tokenizer, max_length)
    model = readable(encoder.base(), encoder, pooling)
    return read(model, tokens, encoder, what=pooling, **{"precision": "fp32"} | options)


# Features


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-roberta", "tiny-electra"])
def test_features_are_those_of_each_sentence_alone(name, pooling):
    encoder = load_encoder(name)
    features_ND, _ = extract(encoder, SENTENCES, pooling)
    assert features_ND.dtype == np.float32
    np.testing.assert_allclose(features_ND, one_by_one(encoder.path, SENTENCES, pooling), atol=1e-5, rtol=0)


def test_features_stop_at_max_length():
    encoder = load_encoder("tiny-bert")
    features_ND, cost = extract(encoder, SENTENCES, "mean", max_length=9)
    np.testing.assert_allclose(features_ND, one_by_one(encoder.path, SENTENCES, "mean", 9), atol=1e-5, rtol=0)
    assert cost.real_tokens == sum(min(9, len(encoder.tokenizer(text)["input_ids"])) for text in SENTENCES)


def test_a_batch_is_padded_to_a_multiple_of_64_tokens_and_progress_is_told():
    encoder = load_encoder("tiny-distilbert")
    real = sum(len(encoder.tokenizer(text)["input_ids"]) for text in SENTENCES)
    calls = []
    _, cost = extract(encoder, SENTENCES, "cls", progress=lambda *done: calls.append(done))
    assert len(calls) == 3
    assert cost.real_tokens == real
    assert 0 <= cost.padding_tokens < 3 * 64
    assert (cost.real_tokens + cost.padding_tokens) % 64 == 0
    assert calls == sorted(calls)
    assert calls[-1] == (150, 150)


def mpnet(folder):
    """An encoder that cannot be packed, as its attention is its own."""
    config = transformers.MPNetConfig(
        vocab_size=load_encoder("tiny-roberta").config.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.2,
    )
    transformers.set_seed(0)
    transformers.MPNetModel(config).save_pretrained(folder)
    load_encoder("tiny-roberta").tokenizer.save_pretrained(folder)
    return load_encoder(str(folder))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_encoder_that_cannot_be_packed_is_padded_in_length_order(pooling, tmp_path):
    encoder = mpnet(tmp_path / "mpnet")
    lengths = sorted((len(encoder.tokenizer(text)["input_ids"]) for text in SENTENCES), reverse=True)
    computed = sum(len(batch) * batch[0] for batch in (lengths[:64], lengths[64:128], lengths[128:]))
    calls = []
    features_ND, cost = extract(encoder, SENTENCES, pooling, progress=lambda *done: calls.append(done))
    np.testing.assert_allclose(features_ND, one_by_one(encoder.path, SENTENCES, pooling), atol=1e-5, rtol=0)
    assert (cost.real_tokens, cost.padding_tokens) == (sum(lengths), computed - sum(lengths))
    assert calls == [(64, 150), (128, 150), (150, 150)]


def test_no_gradients_are_kept():
    """A graph that nobody uses would cost memory: the encoder runs in inference mode."""
    modes = []
    encoder = load_encoder("tiny-distilbert")
    model = readable(encoder.base(), encoder, "cls")
    model.register_forward_hook(lambda *_: modes.append((torch.is_inference_mode_enabled(), model.training)))
    read(model, token_arrays(SENTENCES[:3], encoder.tokenizer, 512), encoder, what="cls", precision="fp32")
    assert modes == [(True, False)]


def test_bf16_features_are_coarser_and_near():
    encoder = load_encoder("tiny-distilbert")
    exact_ND, _ = extract(encoder, SENTENCES[:20], "cls")
    coarse_ND, _ = extract(encoder, SENTENCES[:20], "cls", precision="bf16")
    difference = np.abs(exact_ND - coarse_ND).max()
    assert 1e-4 < difference < 0.5
    assert coarse_ND.dtype == np.float32


# The fit


def reference(fitted):
    return LinearSVC(random_state=5, max_iter=10_000).fit(fitted.features["train"], fitted.labels["train"])


def as_logits(decision):
    return np.stack([-decision / 2, decision / 2], axis=1) if decision.ndim == 1 else decision


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_fit_is_scikit_learns(fitted, split):
    expected_NC = as_logits(reference(fitted).decision_function(fitted.features[split]))
    np.testing.assert_allclose(fitted.record.predictions[split].logits, expected_NC, atol=1e-3, rtol=1e-3)
    assert list(fitted.record.predictions[split].labels) == fitted.labels[split].tolist()


def test_scores_are_those_of_the_predicted_classes(fitted):
    svc = reference(fitted)
    for split in ("validation", "test"):
        predicted = svc.predict(fitted.features[split])
        expected = scores(fitted.labels[split], predicted, num_labels=len(svc.classes_))
        assert fitted.record.scores[split] == expected


def test_what_is_counted(fitted):
    counts, classes = fitted.record.counts, len(set(fitted.labels["train"]))
    rows = 1 if classes == 2 else classes
    encoder = sum(weights.numel() for weights in load_encoder("tiny-distilbert").base().parameters())
    assert counts.parameters_head == counts.parameters_trained == rows * 65
    assert counts.parameters_total == encoder + rows * 65
    assert (counts.parameters_encoder, counts.parameters_adapter, counts.steps) == (0, 0, None)
    assert counts.samples == small.TRAIN
    record = fitted.record
    assert (record.history, record.train_loss, record.final_loss, record.timing.steps_per_s) == ((), None, None, None)


def test_two_classes_share_a_decision_value():
    coef, intercept = np.array([[2.0, -1.0]]), np.array([0.5])
    features_ND = np.array([[1.0, 1.0], [0.0, 3.0]], dtype=np.float32)
    logits_NC = Linear(coef_CD=coef, intercept_C=intercept).logits(features_ND)
    np.testing.assert_array_equal(logits_NC, np.array([[-0.75, 0.75], [1.25, -1.25]], dtype=np.float32), strict=True)
    np.testing.assert_allclose(softmax(logits_NC, axis=1)[:, 1], expit([1.5, -2.5]), rtol=1e-6)


def test_more_classes_have_a_decision_value_each():
    coef, intercept = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([0.0, 10.0, -1.0])
    logits_NC = Linear(coef_CD=coef, intercept_C=intercept).logits(np.array([[2.0, 3.0]], dtype=np.float32))
    np.testing.assert_array_equal(logits_NC, np.array([[2, 13, 4]], dtype=np.float32), strict=True)


# Probabilities


def log_loss(logits_NC, labels_N, temperature=1.0):
    return -log_softmax(logits_NC / temperature, axis=1)[np.arange(len(labels_N)), labels_N].mean()


def drawn(seed, classes, scale, size=400):
    """Logits whose softmax at temperature `scale` is the truth, and labels drawn from it."""
    random = np.random.default_rng(seed)
    logits_NC = 2 * random.standard_normal((size, classes))
    labels_N = np.array([random.choice(classes, p=row) for row in softmax(logits_NC, axis=1)])
    return (scale * logits_NC).astype(np.float32), labels_N


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.05, 20))
def test_the_temperature_is_the_best_one_and_keeps_every_label(seed, classes, scale):
    logits_NC, labels_N = drawn(seed, classes, scale)
    temperature = linear.fit_temperature(logits_NC, labels_N)
    best = log_loss(logits_NC, labels_N, temperature)
    for other in (1.0, temperature * 1.05, temperature / 1.05):
        assert best <= log_loss(logits_NC, labels_N, other) + 1e-9
    assert np.array_equal((logits_NC / temperature).argmax(axis=1), logits_NC.argmax(axis=1))


@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_the_temperature_undoes_a_scale(scale):
    logits_NC, labels_N = drawn(0, 3, scale, size=20_000)
    assert linear.fit_temperature(logits_NC, labels_N) == pytest.approx(scale, rel=0.05)


def test_the_temperature_is_fitted_on_validation_and_lowers_its_log_loss(fitted):
    temperature = linear.load(fitted.folder / svm.CLASSIFIER).temperature
    predictions = fitted.record.predictions["validation"]
    logits_NC, labels_N = np.array(predictions.logits), np.array(predictions.labels)
    assert temperature == pytest.approx(linear.fit_temperature(logits_NC.astype(np.float32), labels_N), rel=1e-6)
    assert temperature != pytest.approx(1, rel=0.01)
    assert log_loss(logits_NC, labels_N, temperature) < log_loss(logits_NC, labels_N)


# On disk


@pytest.mark.parametrize("classes", [1, 3])
def test_saving_and_loading_is_exact(tmp_path, classes):
    random = np.random.default_rng(0)
    coef_CD, intercept_C = random.standard_normal((classes, 7)), random.standard_normal(classes)
    model = Linear(coef_CD=np.asfortranarray(coef_CD), intercept_C=intercept_C, temperature=1 / 3)
    linear.save(tmp_path / "it", model)  # safetensors keeps no strides
    loaded = linear.load(tmp_path / "it")
    np.testing.assert_array_equal(loaded.coef_CD, coef_CD, strict=True)
    np.testing.assert_array_equal(loaded.intercept_C, intercept_C, strict=True)
    assert loaded.temperature == 1 / 3


# Real sentences


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory):
    """Mean pooling through the front door; the first tokens' vectors are taken down in the same passes.

    Features of 10,662 sentences take a minute, so each sentence goes through the encoder once.
    """
    encoder, splits = load_encoder("minilm"), load_splits(str(real_data))
    first_tokens = []
    base = type(encoder).base

    def listened(self):
        def take_down(_, __, given, output):
            first_tokens.append(output.last_hidden_state[0, given["packing"].first_S].numpy())

        model = base(self)
        model.register_forward_hook(take_down, with_kwargs=True)
        return model

    experiment = rtlab.Experiment(encoder="minilm", dataset=str(real_data), method=rtlab.Svm(pooling="mean"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(encoder), "base", listened)
        record = rtlab.run(experiment, output_dir=tmp_path_factory.mktemp("real"), device="cpu")
    in_length_order = np.concatenate(first_tokens)
    cls, done = {}, 0
    for name, split in splits.items():
        lengths = token_arrays(split.texts, encoder.tokenizer, 512).lengths
        cls[name] = np.empty((len(split), 384), dtype=np.float32)
        cls[name][np.argsort(-lengths, kind="stable")] = in_length_order[done : done + len(split)]
        done += len(split)
    return SimpleNamespace(record=record, splits=splits, cls=cls)


@pytest.mark.thorough
def test_mean_pooling_on_real_sentences(real):
    assert 0.76 <= real.record.scores["test"].accuracy <= 0.78
    assert 0.75 <= real.record.scores["validation"].accuracy <= 0.80


@pytest.mark.thorough
def test_first_tokens_on_real_sentences(real):
    labels_N = np.array(real.splits.train.labels)
    logits_NC = linear.fit(real.cls["train"], labels_N, classifier="svm", c=1.0, seed=42).logits(real.cls["test"])
    accuracy = scores(real.splits.test.labels, logits_NC.argmax(axis=1), num_labels=2).accuracy
    assert 0.72 <= accuracy <= 0.74


def test_packed_computes_far_fewer_tokens_than_padded_in_file_order(real_data):
    """Tokens that the encoder is given, for the same features: their ratio is what the time's comes from."""
    encoder = load_encoder("minilm")
    texts = load_splits(str(real_data), limit=100).train.texts
    tokens = token_arrays(texts, encoder.tokenizer, 512)
    plain, packed = encoder.base(), readable(encoder.base(), encoder, "cls")
    computed = []
    for model in (plain, packed):
        model.register_forward_hook(lambda _, __, output: computed.append(output.last_hidden_state.shape[:2].numel()))
    rows = []
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            inputs = encoder.tokenizer(list(texts[start : start + 64]), padding=True, return_tensors="pt")
            rows.append(plain(**inputs).last_hidden_state[:, 0].numpy())
    slow, computed[:] = sum(computed), []
    features_ND = read(packed, tokens, encoder, what="cls", precision="fp32")[0]
    np.testing.assert_allclose(features_ND, np.concatenate(rows), atol=1e-5, rtol=0)
    assert slow / sum(computed) > 1.5


# Features that are known


@pytest.fixture
def reads(monkeypatch):
    """How many sentences were read, each time that some were."""
    found, real = [], svm.read

    def counted(model, tokens, *rest, **how):
        found.append(len(tokens))
        return real(model, tokens, *rest, **how)

    monkeypatch.setattr(svm, "read", counted)
    return found


def test_what_is_known_is_not_read_again_changes_nothing_and_counts_as_if_it_had_been(data, reads, tmp_path):
    experiment = small.experiment(data[small.TWO], method="svm", pooling="mean")
    alone = Run(experiment, output_dir=tmp_path / "alone", device="cpu").execute()
    whole = [small.TRAIN, small.HELD_OUT, small.HELD_OUT]
    assert sorted(reads) == sorted(whole)
    known = KnownFeatures()
    prepared = dataclasses.replace(prepare(experiment, device="cpu"), features=known)
    first = Run(experiment, output_dir=tmp_path / "first", prepared=prepared).execute()
    assert sum(reads) == 2 * sum(whole)
    assert known.know(prepared.splits.train.texts, "mean")
    assert not known.know(prepared.splits.train.texts, "cls")
    second = Run(experiment, output_dir=tmp_path / "second", prepared=prepared).execute()
    assert sum(reads) == 2 * sum(whole)
    for found in (first, second):
        for split in ("validation", "test"):
            np.testing.assert_array_equal(found.predictions[split].logits, alone.predictions[split].logits)
        assert found.counts.real_tokens == alone.counts.real_tokens
    seconds = sum(known._known["mean", text][1] for text in prepared.splits.train.texts)
    assert second.timing.train_s > seconds > 0
    assert second.timing.evaluate_s > sum(known._known["mean", text][1] for text in prepared.splits.test.texts)


def test_a_sentence_that_is_there_twice_is_read_once_and_each_pooling_apart():
    read_off = []

    def read_some(texts):
        read_off.append(list(texts))
        return np.array([[len(text)] for text in texts], dtype=np.float32), PaddingCost(real_tokens=1, padding_tokens=7)

    known = KnownFeatures()
    found = known.of(["a", "bb", "a"], "mean", read_some)
    assert found.features.tolist() == [[1], [2], [1]]
    assert (found.padding_tokens, found.known_s) == (7, 0)
    again = known.of(["ccc", "bb"], "mean", read_some)
    assert again.features.tolist() == [[3], [2]]
    assert again.known_s > 0
    known.of(["bb"], "cls", read_some)
    assert read_off == [["a", "bb"], ["ccc"], ["bb"]]
    assert known.of(["bb", "bb"], "cls", read_some).padding_tokens == 0
