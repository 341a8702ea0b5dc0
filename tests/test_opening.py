"""A saved model that was damaged, mixed, half copied or saved by others is an error of one line, and never a label."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import small
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

import rtlab
from rtlab.encoders import load_encoder
from rtlab.running import model_folder
from rtlab.saved_models.description import read_description, write_description
from rtlab.saved_models.opening import load_model

METHODS = ("svm", "full", "lora", "contrastive")
WEIGHTS = {
    "svm": "svm.safetensors",
    "full": "model.safetensors",
    "lora": "adapter_model.safetensors",
    "contrastive": "model.safetensors",
}
# As many numbers of the same meaning: only a digest tells them apart.
ALIKE = {("svm", "{} of bert"), ("contrastive", "{} of three")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of each method on two classes; and others: on three, on another encoder, of another rank."""
    place = tmp_path_factory.mktemp("saved")
    two, three = small.data_folder(place / "two"), small.data_folder(place / "three", small.THREE)
    asked = {method: {"dataset": two, "method": method} for method in METHODS}
    asked |= {f"{method} of three": {"dataset": three, "method": method} for method in METHODS}
    asked |= {f"{method} of bert": {"dataset": two, "method": method, "encoder": "tiny-bert"} for method in METHODS}
    asked["lora of rank 4"] = {"dataset": two, "method": "lora", "settings": {"r": 4}}
    folders = {}
    for name, fields in asked.items():
        steps = {} if fields["method"] == "svm" else {"max_steps": 1}
        record = rtlab.run(small.experiment(**fields, **steps), output_dir=place, device="cpu", save_model=True)
        folders[name] = model_folder(place, record)
    return folders


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of a saved model, with digests of its files or, as models were saved before there were any, without."""

    def make(name, *, digests):
        folder = shutil.copytree(saved[name], tmp_path / "model")
        if not digests:
            described(folder, files={})
        return folder

    return make


def described(folder, **changes):
    """Change fields of a model's description."""
    path = folder / "rtlab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(file, change):
    save_file(change(load_file(file)), file, {"format": "pt"})


def without_first(tensors):
    return dict(list(tensors.items())[1:])


def renamed(tensors):
    return {name.replace("lin", "linear").replace("coef", "weights"): tensor for name, tensor in tensors.items()}


def wider(tensors):
    return {name: np.concatenate([tensor, tensor]) for name, tensor in tensors.items()}


def spoilt(tensors):
    """One number of the last layer, or of an SVM, is NaN."""
    name = next((name for name in tensors if "layer.1" in name and tensors[name].ndim == 2), "coef")
    tensors[name][0, 0] = np.nan
    return tensors


def truncated(file):
    file.write_bytes(file.read_bytes()[:-100])


DAMAGE = {
    "weights gone": lambda file: file.unlink(),
    "weights empty": lambda file: file.write_bytes(b""),
    "weights truncated": truncated,
    "weights of zeros": lambda file: file.write_bytes(bytes(1000)),
    "weights that are a pickle": lambda file: file.write_bytes(b"\x80\x02}q\x00."),
    "weights that point to Git LFS": lambda file: file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    "a number that is none": lambda file: change_tensors(file, spoilt),
    "a tensor missing": lambda file: change_tensors(file, without_first),
    "tensors renamed": lambda file: change_tensors(file, renamed),
    "tensors of another shape": lambda file: change_tensors(file, wider),
    "a tensor too many": lambda file: change_tensors(
        file, lambda tensors: tensors | {"spare": np.ones(2, dtype=np.float32)}
    ),
}


@pytest.mark.parametrize("digests", [True, False], ids=["digests", "none"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights(copy, method, damage, digests):
    folder = copy(method, digests=digests)
    DAMAGE[damage](folder / WEIGHTS[method])
    said = {"weights that point to Git LFS": "git lfs pull"}
    if not digests:
        said["a number that is none"] = "NaN or infinity"
    assert said.get(damage, "") in refused(folder, r"^model ")


@pytest.mark.parametrize("file", ["rtlab.json", "config.json", "tokenizer.json"])
def test_a_clone_without_its_files(copy, file):
    folder = copy("full", digests=True)
    for contents, said in (("<html>Sign in</html>", "is a page of a web site in its place"), ("", "is empty")):
        (folder / file).write_text(contents)
        assert f"{file} {said}" in refused(folder, "is not as it was saved")


def refused(folder, message):
    """The error of a folder: one line that names it."""
    with pytest.raises(ValueError, match=message) as refusal:
        load_model(folder, device="cpu")
    said = str(refusal.value)
    assert "\n" not in said
    assert str(folder) in said
    return said


@pytest.mark.parametrize("digests", [True, False], ids=["digests", "none"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("other", ["{} of three", "{} of bert"])
def test_weights_of_another_model(copy, saved, method, other, digests):
    folder = copy(method, digests=digests)
    shutil.copy(saved[other.format(method)] / WEIGHTS[method], folder)
    if not digests and (method, other) in ALIKE:
        return
    refused(folder, r"^model ")


PARTS = {  # what of another model lies in a folder
    "full": [("config.json", "full of bert"), ("config.json", "full of three"), ("adapter_config.json", "lora")],
    "lora": [
        ("adapter_config.json", "lora of bert"),
        ("adapter_config.json", "lora of rank 4"),
        ("rtlab.json", "lora of three"),
        ("rtlab.json", "lora of bert"),
        ("rtlab.json", "full"),
        ("rtlab.json", "svm"),
    ],
    "svm": [("rtlab.json", "svm of three"), ("rtlab.json", "lora"), ("adapter_config.json", "lora")],
    "contrastive": [
        ("head.safetensors", "contrastive of three"),
        ("rtlab.json", "contrastive of three"),
        ("rtlab.json", "full"),
        ("adapter_config.json", "lora"),
    ],
}


@pytest.mark.parametrize("digests", [True, False], ids=["digests", "none"])
@pytest.mark.parametrize(("method", "part", "other"), [(m, *both) for m, parts in PARTS.items() for both in parts])
def test_a_folder_mixed_from_two(copy, saved, method, part, other, digests):
    folder = copy(method, digests=digests)
    shutil.copy(saved[other] / part, folder)
    if not digests and part == "rtlab.json":
        described(folder, files={})
    refused(folder, r"^model ")


@pytest.mark.parametrize("digests", [True, False], ids=["digests", "none"])
@pytest.mark.parametrize(
    ("method", "file", "contents"),
    [
        ("full", "config.json", None),
        ("full", "config.json", "{"),
        ("full", "config.json", "[]"),
        ("full", "config.json", '{"model_type": "nope"}'),
        ("full", "tokenizer.json", None),
        ("full", "tokenizer.json", "{}"),
        ("lora", "adapter_config.json", None),
        ("lora", "adapter_config.json", "{"),
        ("lora", "adapter_config.json", "[]"),
        ("lora", "adapter_config.json", "{}"),
        ("lora", "adapter_config.json", '{"peft_type": "NOPE"}'),
    ],
)
def test_a_file_that_is_gone_or_garbled(copy, method, file, contents, digests):
    folder = copy(method, digests=digests)
    (folder / file).unlink()
    if contents is not None:
        (folder / file).write_text(contents)
    refused(folder, r"^model ")


@pytest.mark.parametrize("changes", [{"lora_alpha": 64}, {"peft_type": "ADALORA"}, {"target_modules": "all-linear"}])
def test_another_adapter_of_the_same_shapes(copy, changes):
    """Weights of the same shapes, scaled otherwise, give other labels."""
    folder = copy("lora", digests=False)
    change_json(folder / "adapter_config.json", **changes)
    assert f"its adapter_config.json has {next(iter(changes))} " in refused(folder, "mixed from two")


def test_names_of_classes_that_differ(copy):
    """Whoever renames the classes in one place only would see one name here and another in `pipeline`."""
    folder = copy("full", digests=False)
    described(folder, label_names=["bad", "good"])
    assert "names the classes ['negative', 'positive'], its rtlab.json ['bad', 'good']" in refused(folder, "mixed")


DESCRIPTIONS = {
    "no list of names": {"label_names": "good"},
    "one class": {"label_names": ["good"]},
    "a name twice": {"label_names": ["good", "good"]},
    "no method": {"experiment": {}},
    "another schema": {"schema": 99},
    "no digest": {"encoder_sha256": None},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("changes", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_that_is_none(copy, method, changes):
    folder = copy(method, digests=True)
    described(folder, **changes)
    if changes != {"experiment": {}}:
        refused(
            folder,
            r"^model must be a directory that rtlab .* saved, with rtlab.json in it; got .*\(rtlab\.json|label|encoder",
        )
    elif method != "full":
        refused(folder, r"^model ")  # all defaults: full fine-tuning


@pytest.mark.parametrize("contents", [b"\xff\xfe{", b"{" * 5000, b"[" * 100_000, b"null", b'{"id": NaN}'])
def test_a_description_that_is_garbled(copy, contents):
    folder = copy("full", digests=True)
    (folder / "rtlab.json").write_bytes(contents)
    refused(folder, r"^model must be a directory that rtlab .* saved")


FOREIGN = {
    "a PEFT adapter": ("lora", (), "a PEFT adapter that rtlab did not save"),
    "a checkpoint": ("full", (), "a Hugging Face checkpoint that rtlab did not save"),
    "sentence-transformers": ("full", ("modules.json",), "a sentence-transformers model"),
}


@pytest.mark.parametrize(("like", "more", "what"), FOREIGN.values(), ids=FOREIGN)
def test_a_model_that_somebody_else_saved_is_called_what_it_is(copy, like, more, what):
    folder = copy(like, digests=True)
    (folder / "rtlab.json").unlink()
    for name in more:
        (folder / name).write_text("[]")
    assert f"({what}: its labels, max_length and precision are not known)" in refused(folder, "saved")


@pytest.mark.parametrize("kind", ["empty", "file", "nothing", "records"])
def test_what_is_no_model_at_all(tmp_path, kind):
    folder = tmp_path / "given"
    if kind == "file":
        folder.write_text("")
    elif kind != "nothing":
        folder.mkdir()
    if kind == "records":
        (folder / "0.json").write_text("{}")
    refused(folder, r"^model must be a directory that rtlab .* saved, with rtlab.json in it; got")


def test_an_adapter_that_leaves_weights_to_chance_is_refused(copy):
    """Such as one whose encoder came without its pooler, and that does not hold it: other labels at each call."""
    folder = copy("lora", digests=False)
    tensors = load_file(folder / WEIGHTS["lora"])
    kept = {name: tensor for name, tensor in tensors.items() if "pre_classifier" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, folder / WEIGHTS["lora"], {"format": "pt"})
    change_json(folder / "adapter_config.json", modules_to_save=["score"])
    assert "pre_classifier" in refused(folder, "weights of another model")


def test_an_adapter_without_its_head_is_refused_also_where_its_encoder_brings_one(copy, saved, tmp_path):
    encoder = shutil.copytree(saved["full"], tmp_path / "encoder")
    for name in ("rtlab.json", "README.md"):
        (encoder / name).unlink(missing_ok=True)
    folder = copy("lora", digests=False)
    described(folder, encoder=str(encoder), encoder_sha256=load_encoder(str(encoder)).sha256)
    load_model(folder, device="cpu")
    change_tensors(
        folder / WEIGHTS["lora"], lambda tensors: {n: t for n, t in tensors.items() if "classifier" not in n}
    )
    assert "classifier" in refused(folder, "weights of another model")


@pytest.mark.parametrize("method", METHODS)
def test_a_readme_or_notes_beside_it_do_not_matter(copy, method):
    folder = copy(method, digests=True)
    (folder / "README.md").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    load_model(folder, device="cpu")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json", "vocab.txt", "modeling.py"])
def test_a_file_that_was_added_and_would_be_read(copy, name):
    folder = copy("full", digests=True)
    (folder / name).write_text("{ }")
    refused(folder, rf"{name}")


def test_a_model_that_was_trained_in_tf32_is_used_in_fp32_where_there_is_none(copy):
    folder = copy("full", digests=True)
    experiment = json.loads((folder / "rtlab.json").read_text())["experiment"]
    described(folder, experiment=experiment | {"precision": "tf32"})
    assert load_model(folder, device="cpu").precision == "fp32"


def test_memory_that_runs_out_is_no_damaged_folder(copy, monkeypatch):
    folder = copy("svm", digests=True)

    def full(*_):
        raise MemoryError("no more")

    monkeypatch.setattr("rtlab.saved_models.opening.load_encoder", full)
    with pytest.raises(MemoryError):
        load_model(folder, device="cpu")


def test_an_encoder_of_another_size_under_an_svm(copy):
    folder = copy("svm", digests=False)
    half = {"coef": np.ones((1, 32)), "intercept": np.ones(1), "temperature": np.ones(1)}
    save_file(half, folder / WEIGHTS["svm"])
    assert "shape (1, 32); 2 classes on 64 features" in refused(folder, "linear classifier")
    for temperature in (0.0, -1.0, np.nan, np.inf):
        save_file(half | {"coef": np.ones((1, 64)), "temperature": np.array([temperature])}, folder / WEIGHTS["svm"])
        refused(folder, "temperature")


# A temperature


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("temperature", [0.25, 3])
def test_logits_are_divided_by_a_temperature_and_labels_stay(copy, method, temperature):
    folder, texts = copy(method, digests=True), ["never dull .", "a mess of a film ."]
    plain_NC = load_model(folder, device="cpu").logits(texts)
    before = rtlab.predict(folder, texts, device="cpu")
    described(folder, temperature=temperature)
    np.testing.assert_allclose(load_model(folder, device="cpu").logits(texts), plain_NC / temperature, rtol=1e-6)
    after = rtlab.predict(folder, texts, device="cpu")
    assert [one.label for one in after] == [one.label for one in before]
    for one, row in zip(after, softmax(plain_NC / temperature, axis=1), strict=True):
        assert list(one.probabilities.values()) == pytest.approx(row.tolist(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_description_without_a_temperature_reads_as_before(saved, method):
    assert "temperature" not in json.loads((saved[method] / "rtlab.json").read_text())
    assert read_description(saved[method]).temperature == 1


@pytest.mark.parametrize("temperature", [0, -1.5, float("nan"), float("inf"), "2", True, None])
def test_a_temperature_that_is_none(copy, temperature):
    folder = copy("full", digests=True)
    described(folder, temperature=temperature)
    refused(folder, "temperature must be (a finite number|finite and above 0); got ")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_not_described(saved, temperature):
    with pytest.raises(ValueError, match=r"^temperature must be finite and above 0; got "):
        dataclasses.replace(read_description(saved["full"]), temperature=temperature)


def test_an_svm_has_its_temperature_in_its_own_file(copy):
    """Else it would be divided by both."""
    folder = copy("svm", digests=True)
    described(folder, temperature=1)
    load_model(folder, device="cpu")
    described(folder, temperature=2)
    refused(folder, r"temperature must be 1 of a linear classifier, whose own file holds it; got 2")


def test_a_description_that_is_written_again_is_the_same(copy):
    folder = copy("lora", digests=True)
    text = (folder / "rtlab.json").read_text()
    write_description(folder, read_description(folder))
    assert (folder / "rtlab.json").read_text() == text
    write_description(folder, dataclasses.replace(read_description(folder), temperature=1.5))
    assert read_description(folder).temperature == 1.5


def test_what_is_loaded_says_what_it_is(saved):
    loaded = load_model(saved["lora of three"], device="cpu")
    assert loaded.description.label_names == small.THREE
    assert loaded.encoder.sha256 == load_encoder("tiny-distilbert").sha256
