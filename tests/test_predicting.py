"""What is saved: it opens with Hugging Face's own classes, says what its record says, and labels sentences."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import small
import torch
import transformers
from safetensors.numpy import load_file
from scipy.special import softmax

import rtlab
from rtlab.encoders import load_encoder
from rtlab.running import model_folder
from rtlab.saved_models.long_texts import cut
from rtlab.saved_models.opening import load_model
from rtlab.saved_models.predicting import as_text, label

METHODS = ("svm", "full", "lora", "contrastive")
CLASSIFIERS = {"svm": "svm.safetensors", "contrastive": "head.safetensors"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of each method on two classes and on three, with its record and the test split's sentences."""
    models, output_dir = {}, tmp_path_factory.mktemp("saved")
    for names in (small.TWO, small.THREE):
        data = small.data_folder(tmp_path_factory.mktemp("data") / "reviews", names)
        for method in METHODS:
            experiment = small.experiment(data, method=method, max_length=30, learning_rate=5e-3)
            record = rtlab.run(experiment, output_dir=output_dir, device="cpu", save_model=True)
            models[method, names] = SimpleNamespace(
                record=record,
                folder=model_folder(output_dir, record),
                names=names,
                texts=small.read(data, "test", names)[0],
                logits=np.array(record.predictions["test"].logits),
            )
    return models


def case_name(case):
    method, names = case
    return f"{method}-{len(names)}"


@pytest.fixture(params=[(method, names) for method in METHODS for names in (small.TWO, small.THREE)], ids=case_name)
def model(request, saved):
    return saved[request.param]


def by_hugging_face(model, folder, texts):
    """Logits of sentences, one at a time, from a model and the tokenizer beside it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = [tokenizer(text, return_tensors="pt", truncation=True, max_length=30) for text in texts]
    with torch.no_grad():
        return np.concatenate([model.eval()(**each).logits.numpy() for each in inputs])


# Plain checkpoints


@pytest.mark.parametrize("names", [small.TWO, small.THREE], ids=[2, 3])
def test_a_fine_tuned_checkpoint_is_a_plain_one(saved, names):
    full = saved["full", names]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(full.folder)
    logits_NC = by_hugging_face(model, full.folder, full.texts)
    np.testing.assert_allclose(logits_NC, full.logits, atol=1e-5, rtol=0)
    assert model.config.id2label == dict(enumerate(names))
    assert model.config.label2id == {name: index for index, name in enumerate(names)}


@pytest.mark.parametrize("names", [small.TWO, small.THREE], ids=[2, 3])
def test_an_adapter_is_a_plain_one(saved, names):
    """An adapter's checkpoint does not say how many classes there are, unless they are two: PEFT wants to be told."""
    lora = saved["lora", names]
    classes = {} if names == small.TWO else {"num_labels": len(names)}
    model = peft.AutoPeftModelForSequenceClassification.from_pretrained(lora.folder, **classes)
    np.testing.assert_allclose(by_hugging_face(model, lora.folder, lora.texts), lora.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("names", [small.TWO, small.THREE], ids=[2, 3])
def test_an_svm_is_a_few_arrays(saved, names):
    svm = saved["svm", names]
    encoder = load_encoder("tiny-distilbert")
    model = transformers.AutoModel.from_pretrained(encoder.path).eval()
    tensors = load_file(svm.folder / "svm.safetensors")
    for text, logits_C in zip(svm.texts, svm.logits, strict=True):
        inputs = encoder.tokenizer(text, return_tensors="pt", truncation=True, max_length=30)
        with torch.no_grad():
            feature_D = model(**inputs).last_hidden_state[0, 0].numpy()
        decision = tensors["coef"] @ feature_D + tensors["intercept"]
        expected = [-decision[0] / 2, decision[0] / 2] if len(names) == 2 else decision
        np.testing.assert_allclose(expected, logits_C, atol=1e-5, rtol=1e-5)


def test_nothing_is_pickled(model):
    names = {path.name for path in model.folder.rglob("*")}
    assert "rtlab.json" in names
    assert any(name.endswith(".safetensors") for name in names)
    assert {name.rpartition(".")[2] for name in names} <= {"safetensors", "json", "md"}


def test_the_description_says_how_the_model_was_made(model):
    description = json.loads((model.folder / "rtlab.json").read_text())
    assert description["id"] == model.record.id
    assert description["label_names"] == list(model.names)
    assert (description["encoder"], description["encoder_sha256"]) == ("tiny-distilbert", model.record.encoder.sha256)


# Labels and probabilities


def test_probabilities_are_the_softmax_of_the_records_logits(model):
    predictions = rtlab.predict(model.folder, model.texts, device="cpu")
    temperature = 1.0
    if (name := model.record.experiment.method.name) in CLASSIFIERS:
        temperature = load_file(model.folder / CLASSIFIERS[name])["temperature"][0]
        assert abs(temperature - 1) > 0.01
    expected_NC = softmax(model.logits / temperature, axis=1)
    found_NC = [list(prediction.probabilities.values()) for prediction in predictions]
    np.testing.assert_allclose(found_NC, expected_NC, atol=1e-5, rtol=0)
    assert [tuple(prediction.probabilities) for prediction in predictions] == [model.names] * len(model.texts)
    assert [prediction.label for prediction in predictions] == [model.names[row.argmax()] for row in model.logits]
    assert [prediction.text for prediction in predictions] == model.texts
    assert len({prediction.label for prediction in predictions}) > 1, "else order and names are not tested"


def test_a_sentence_does_not_depend_on_its_neighbours(model):
    """Not on their order, their lengths, their number (more than two batches of 64), nor on being alone."""
    many = [text for text in model.texts for _ in range(7)][::-1]
    together = {p.text: p.probabilities for p in rtlab.predict(model.folder, many, device="cpu")}
    assert [p.text for p in rtlab.predict(model.folder, many, device="cpu")] == many
    for text in model.texts[:3]:
        (alone,) = rtlab.predict(model.folder, [text], device="cpu")
        assert alone.probabilities == pytest.approx(together[text], abs=1e-5)
        assert sum(alone.probabilities.values()) == pytest.approx(1)


def test_a_relative_folder_that_is_called_like_a_built_in_encoder(saved, tmp_path, monkeypatch):
    full = saved["full", small.TWO]
    shutil.copytree(full.folder, tmp_path / "tiny-bert")
    monkeypatch.chdir(tmp_path)
    expected = rtlab.predict(full.folder, full.texts[:3], device="cpu")
    assert rtlab.predict("tiny-bert", full.texts[:3], device="cpu") == expected


@pytest.mark.parametrize("method", ["full", "contrastive"])
def test_a_fine_tuned_model_is_complete_without_its_encoder(saved, tmp_path, monkeypatch, method):
    one = saved[method, small.TWO]
    expected = rtlab.predict(one.folder, one.texts[:3], device="cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert rtlab.predict(one.folder, one.texts[:3], device="cpu") == expected
    assert not (tmp_path / "empty").exists()


# An encoder in a directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """An adapter and an SVM on an encoder whose directory is called like a built-in one."""
    folder = tmp_path_factory.mktemp("directory")
    encoder = shutil.copytree(load_encoder("tiny-bert").path, folder / "tiny-distilbert")
    data = small.data_folder(folder / "reviews")
    models = {}
    for method in ("svm", "lora"):
        experiment = small.experiment(data, encoder=str(encoder), method=method, max_steps=2)
        record = rtlab.run(experiment, output_dir=folder, device="cpu", save_model=True)
        models[method] = model_folder(folder, record)
    return SimpleNamespace(encoder=encoder, models=models, texts=small.read(data, "test")[0][:3])


@pytest.mark.parametrize("method", ["svm", "lora"])
def test_an_encoder_that_changed_since_training_is_refused(directory, method):
    rtlab.predict(directory.models[method], directory.texts, device="cpu")
    config = directory.encoder / "config.json"
    before = config.read_text()
    try:
        config.write_text(before + " ")
        with pytest.raises(ValueError, match=r"was trained on encoder .* with digest [0-9a-f]{12}; got one with"):
            rtlab.predict(directory.models[method], directory.texts, device="cpu")
    finally:
        config.write_text(before)


@pytest.mark.parametrize("method", ["svm", "lora"])
def test_an_encoder_that_is_gone_is_named(directory, method, tmp_path):
    away = directory.encoder.rename(tmp_path / "away")
    try:
        with pytest.raises(ValueError, match=rf"encoder must be .*got '{directory.encoder}'"):
            rtlab.predict(directory.models[method], directory.texts, device="cpu")
    finally:
        away.rename(directory.encoder)


# What is refused


def test_no_sentences(saved):
    with pytest.raises(ValueError, match=r"sentences must hold at least one; got none: .*--file"):
        rtlab.predict(saved["svm", small.TWO].folder, [])


@pytest.mark.parametrize("given", ["a fine film", "", ["fine", None], ["fine", 3], ["fine", float("nan")], ["\ud800"]])
def test_what_is_no_list_of_texts(saved, given):
    with pytest.raises(ValueError, match=r"^sentences must "):
        rtlab.predict(saved["svm", small.TWO].folder, given)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_sentence_that_a_model_has_no_scores_of_is_named(saved, monkeypatch, broken):
    """NaN is no label, though `argmax` gives one."""
    found = np.array([[1.0, 2.0], [broken, 1.0]])
    monkeypatch.setattr("rtlab.saved_models.opening.EncoderModel.logits", lambda *_: found)
    with pytest.raises(ArithmeticError, match=r"scores of sentence 2 are not finite, so it has no label: 'dull �'"):
        rtlab.predict(saved["svm", small.TWO].folder, ["fine", "dull \x1b"])


# Very long texts


LONG = {
    "many words": "a good film " * 20_000,
    "many lines": "a good\n film\t" * 20_000,
    "words after blanks": " " * 100_000 + "a good film " * 10_000,
    "one long word first": "a" * 40_000 + " a good film" * 5_000,
    "a long word among few": "a good film " * 15
    + "b" * 40_000
    + " never dull" * 5_000
    + " "
    + "b" * 40_000
    + " a film" * 20,
    "no blanks": "\u96fb\u5f71" * 50_000,
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_very_long_text_is_cut_before_its_tokens_are_made(text, side):
    """The tokenizer takes 200 bytes a character, and throws all but `max_length` tokens away."""
    tokenizer = load_encoder("minilm").tokenizer
    tokenizer.truncation_side = side
    part = cut(text, tokenizer, 64)
    assert len(part) <= len(text) / 1.5
    ids, expected = (tokenizer(one, truncation=True, max_length=64).input_ids for one in (part, text))
    assert ids == expected


def test_a_text_without_words_is_refused_and_a_short_one_left_as_it_is():
    tokenizer = load_encoder("minilm").tokenizer
    assert cut("a good film", tokenizer, 64) == "a good film"
    with pytest.raises(
        ValueError, match=r"sentences must have words; got one of 3,000,000 characters that begins 'aaa"
    ):
        cut("a" * 3_000_000, tokenizer, 64)


def test_long_texts_are_labelled_as_their_beginnings(saved):
    model = load_model(saved["full", small.TWO].folder, device="cpu")
    long = "never dull . " * 10_000
    one, other = label(model, [long, long[:2000]])
    assert one.probabilities == other.probabilities
    assert one.text == long


@pytest.mark.parametrize(
    "contents", [None, "{", "[]", '"text"', "{}", '{"experiment": {}, "label_names": [], "encoder": "minilm"}']
)
def test_a_directory_that_rtlab_did_not_write(saved, tmp_path, contents):
    """A Hugging Face checkpoint alone does not say how long sentences may be, nor which device arithmetic to use."""
    folder = shutil.copytree(saved["full", small.TWO].folder, tmp_path / "model")
    (folder / "rtlab.json").unlink()
    if contents is not None:
        (folder / "rtlab.json").write_text(contents)
    with pytest.raises(ValueError, match=r"model must be a directory that rtlab .* saved, with rtlab.json in it; got"):
        rtlab.predict(folder, ["fine"])


@pytest.mark.parametrize("what", ["nothing", "file"])
def test_no_directory_at_all(tmp_path, what):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=rf"model must be a directory .*; got {tmp_path / what}"):
        rtlab.predict(tmp_path / what, ["fine"])


@pytest.mark.parametrize(("method", "weights"), [("svm", "svm"), ("lora", "adapter_model")])
def test_weights_that_are_gone_or_pickled(saved, tmp_path, method, weights):
    """PEFT alone would read the pickle."""
    folder = shutil.copytree(saved[method, small.TWO].folder, tmp_path / "model")
    (folder / f"{weights}.safetensors").rename(folder / f"{weights}.bin")
    with pytest.raises(ValueError, match=rf"model must hold {weights}\.safetensors, .*; got {folder}, without it"):
        rtlab.predict(folder, ["fine"])


# Their table


def test_the_table_has_a_line_for_each_sentence(saved):
    svm = saved["svm", small.TWO]
    predictions = rtlab.predict(svm.folder, svm.texts[:2], device="cpu")
    header, _, *rows = as_text(predictions).splitlines()
    assert header.split() == ["label", "probability", "sentence"]
    for row, prediction in zip(rows, predictions, strict=True):
        probability = max(prediction.probabilities.values())
        assert row.split(maxsplit=2) == [prediction.label, f"{probability:.3f}", prediction.text]
