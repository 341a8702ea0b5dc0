"""What is handed over: a model that every verb takes, with its temperature and card, whole or not at all."""

import csv
import dataclasses
import errno
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import small
from safetensors.numpy import load_file
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, pipeline

import rtlab
from rtlab.data import corpus
from rtlab.metrics import expected_calibration_error
from rtlab.running import model_folder
from rtlab.saved_models import handing_over
from rtlab.saved_models.calibrating import calibrated
from rtlab.saved_models.description import read_description
from rtlab.saved_models.handing_over import check_target, hand_over
from rtlab.saved_models.merging import merge

METHODS = {
    "words": rtlab.Words(classifier="logistic"),
    "svm": rtlab.Svm(pooling="mean"),
    "full": rtlab.Full(recipe=rtlab.Recipe(**small.RECIPE, engine="native")),
    "contrastive": rtlab.Contrastive(recipe=rtlab.Recipe(**small.RECIPE, engine="native")),
    "lora": rtlab.Adapter(recipe=rtlab.Recipe(**small.RECIPE | {"learning_rate": 1e-2}, engine="native")),
}
WITH_FIELD = ("full", "lora")
CLASSIFIERS = {"words": "classifier.safetensors", "svm": "svm.safetensors", "contrastive": "head.safetensors"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of each method that saved its model, with the test split's sentences."""
    folder, found = tmp_path_factory.mktemp("handing"), {}
    data = folder / "reviews"
    data.mkdir()
    rows = [  # easy sentences of which some have the wrong label: no method has all of them, none is at chance
        (f"{('dull', 'funny')[number % 2]} : {text}", small.TWO[(number + (number % 8 == 0)) % 2])
        for number, text in enumerate(corpus.generate(400)[0])
    ]
    for split, part in (("train", rows[:160]), ("validation", rows[160:280]), ("test", rows[280:])):
        with (data / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    texts, labels = small.read(data, "test")
    for name, method in METHODS.items():
        encoder = None if name == "words" else "tiny-distilbert"
        asked = rtlab.Experiment(dataset=str(data), encoder=encoder, method=method, max_length=30)
        record = rtlab.run(asked, output_dir=folder, device="cpu", save_model=True)
        assert 0.05 < calibrated(record).temperature < 25, "else nothing of it is tested"
        found[name] = SimpleNamespace(
            folder=model_folder(folder, record), record=record, texts=texts, labels=labels, data=data
        )
    return found


@pytest.fixture
def model(saved, tmp_path):
    """A copy of a model of some name, since it is moved, with the rest of it."""

    def make(name, folder="source"):
        copy = shutil.copytree(saved[name].folder, tmp_path / folder)
        return SimpleNamespace(**vars(saved[name]) | {"folder": copy})

    return make


def handed(model, to, *, refit=False, **changes):
    choice = small.choice(model.record, **changes)
    return hand_over(model.folder, to, choice=choice, record=model.record, refit=refit)


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


# What is handed over


@pytest.mark.parametrize("name", METHODS)
def test_a_model_is_moved_with_its_temperature_and_says_the_same(model, tmp_path, name):
    one, to = model(name), tmp_path / "deep" / "to"
    files = contents(one.folder)
    temperature = calibrated(one.record).temperature
    before = rtlab.predict(one.folder, one.texts, device="cpu")

    size = handed(one, to)
    assert not one.folder.exists()
    assert contents(to) == files
    assert size == sum(file.stat().st_size for file in to.iterdir())
    assert contents(to.parent) == ["to"]
    assert len({file.stat().st_mode for file in to.iterdir()}) == 1, "a file that others cannot read"

    after = rtlab.predict(to, one.texts, device="cpu")
    assert [said.label for said in after] == [said.label for said in before]
    expected_NC = softmax(one.record.predictions["test"].logits / temperature, axis=1)
    found_NC = np.array([list(said.probabilities.values()) for said in after])
    np.testing.assert_allclose(found_NC, expected_NC, atol=1e-5, rtol=0)
    assert np.abs(found_NC - softmax(one.record.predictions["test"].logits, axis=1)).max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_a_temperature_is_in_one_place(model, tmp_path, name):
    one, to = model(name), tmp_path / "to"
    temperature = calibrated(one.record).temperature
    handed(one, to)
    assert read_description(to).temperature == (temperature if name in WITH_FIELD else 1)
    assert ("temperature" in json.loads((to / "rtlab.json").read_text())) == (name in WITH_FIELD)
    if name in CLASSIFIERS:
        assert load_file(to / CLASSIFIERS[name])["temperature"].tolist() == [temperature]


def hotter(record):
    """A record whose logits are four times as large, as those of a model that was trained again may be."""
    predictions = {
        split: dataclasses.replace(found, logits=found.logits * np.float32(4))
        for split, found in record.predictions.items()
    }
    return dataclasses.replace(record, predictions=predictions, id="f" * 16)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_was_trained_again_has_the_temperature_of_the_one_before(model, saved, tmp_path, name):
    """What it says of validation, which it was trained on, is worth nothing."""
    one, to = model(name), tmp_path / "to"
    before = hotter(one.record)
    temperature = calibrated(before).temperature
    assert temperature == pytest.approx(4 * calibrated(one.record).temperature, rel=0.01)
    hand_over(one.folder, to, choice=small.choice(before), record=before, refit=True)
    there = read_description(to)
    assert there.id == saved[name].record.id
    if name in CLASSIFIERS:
        assert load_file(to / CLASSIFIERS[name])["temperature"].tolist() == [temperature]
    else:
        assert there.temperature == temperature
    card = (to / "README.md").read_text()
    assert "trained on train and validation together" in card
    assert f"Run {there.id}, and that of its scores {'f' * 16};" in card


def test_evaluate_merge_and_plain_libraries_take_it(model, tmp_path):
    full, lora = model("full", "one"), model("lora", "other")
    for one, to in ((full, tmp_path / "full"), (lora, tmp_path / "lora")):
        handed(one, to)
    record, found = full.record, rtlab.evaluate(tmp_path / "full", str(full.data), output_dir=None, device="cpu")
    assert found.accuracy.value == record.scores["test"].accuracy
    logits_NC, temperature = record.predictions["test"].logits, calibrated(record).temperature
    wrong_N = logits_NC.argmax(axis=1) != np.array(full.labels)
    surest = softmax(logits_NC / temperature, axis=1)[wrong_N].max()
    assert found.errors[0].probability == pytest.approx(surest, abs=1e-5)

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "full")
    assert plain.config.id2label == dict(enumerate(small.TWO))
    classify = pipeline("text-classification", str(tmp_path / "full"), truncation=True, max_length=30)
    assert [said["label"] for said in classify(full.texts)] == [small.TWO[row.argmax()] for row in logits_NC]

    merge(tmp_path / "lora", tmp_path / "merged", device="cpu")
    assert read_description(tmp_path / "merged").temperature == calibrated(lora.record).temperature
    for said, whole in zip(
        *(rtlab.predict(tmp_path / folder, lora.texts[:9], device="cpu") for folder in ("lora", "merged")), strict=True
    ):
        assert whole.probabilities == pytest.approx(said.probabilities, abs=1e-4)


def test_probabilities_of_evaluate_are_the_calibrated_ones(model, tmp_path):
    """Their calibration error on test is the one that the card states."""
    one, to = model("lora"), tmp_path / "to"
    handed(one, to)
    said = rtlab.predict(to, one.texts, device="cpu")
    logits_NC = np.log([list(each.probabilities.values()) for each in said])
    stated = calibrated(one.record).after["test"]
    assert expected_calibration_error(one.labels, logits_NC) == pytest.approx(stated, abs=1e-3)
    assert f"| after | {calibrated(one.record).after['validation']:.4f} | {stated:.4f} |" in (
        to / "README.md"
    ).read_text(encoding="utf-8")


def test_the_command_line_takes_it(model, tmp_path, rtlab):
    one = model("full")
    handed(one, tmp_path / "to")
    done = rtlab("predict", "--model", "to", "--device", "cpu", "--json", "-", *one.texts[:2])
    assert done.status == 0
    temperature = calibrated(one.record).temperature
    expected_NC = softmax(one.record.predictions["test"].logits[:2] / temperature, axis=1)
    for said, row in zip(json.loads(done.out), expected_NC, strict=True):
        assert list(said["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-5)


# Where to


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_another_file_system(model, tmp_path, monkeypatch, links):
    one = model("svm")
    if not links:

        def cannot(*_, **__):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", cannot)
    (tmp_path / "to").mkdir()
    check_target(tmp_path / "to")
    coefficients = load_file(one.folder / "svm.safetensors")["coef"]
    handed(one, tmp_path / "to")
    assert np.array_equal(load_file(tmp_path / "to" / "svm.safetensors")["coef"], coefficients)
    assert not one.folder.exists()


def test_an_earlier_model_is_replaced_and_a_link_followed(model, tmp_path):
    handed(model("full", "first"), tmp_path / "place")
    (tmp_path / "link").symlink_to("place")
    second = model("words", "second")
    check_target(tmp_path / "link")
    handed(second, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read_description(tmp_path / "place").id == second.record.id
    assert not (tmp_path / "place" / "model.safetensors").exists()
    assert contents(tmp_path) == ["link", "place"]


def test_an_earlier_model_that_was_damaged_is_replaced_too(model, tmp_path):
    handed(model("full", "first"), tmp_path / "to")
    (tmp_path / "to" / "model.safetensors").write_bytes(b"")
    described = tmp_path / "to" / "rtlab.json"  # as before there were digests
    described.write_text(json.dumps(json.loads(described.read_text()) | {"files": {}}))
    handed(model("words", "second"), tmp_path / "to")
    assert read_description(tmp_path / "to").encoder is None


REFUSED = {
    "a file": lambda to: to.write_text("x"),
    "a file where a directory is needed": lambda to: to.parent.joinpath("to").write_text("x"),
    "notes": lambda to: (to.mkdir(), (to / "notes.txt").write_text("mine")),
    "a hidden file": lambda to: (to.mkdir(), (to / ".git").mkdir()),
    "somebody's checkpoint": lambda to: (to.mkdir(), (to / "config.json").write_text("{}")),
    "a description of something else": lambda to: (to.mkdir(), (to / "rtlab.json").write_text('{"id": 3}')),
    "a description that is a directory": lambda to: (to / "rtlab.json").mkdir(parents=True),
}


@pytest.mark.parametrize("there", REFUSED)
def test_what_is_no_model_is_refused_and_stays(model, tmp_path, there):
    to = tmp_path / "to"
    REFUSED[there](to)
    one = model("words")
    before = sorted(tmp_path.rglob("*"))
    for refuse in (lambda: check_target(to), lambda: handed(one, to)):
        with pytest.raises(ValueError, match=r"^save_to must be a new or an empty directory, or one that .*; got ") as (
            found
        ):
            refuse()
        assert "\n" not in str(found.value)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_model_with_something_of_the_users_beside_it_is_refused(model, tmp_path):
    handed(model("words", "first"), tmp_path / "to")
    check_target(tmp_path / "to")
    for name in ("notes\n.txt", "deeper"):
        (tmp_path / "to" / name).mkdir()
        with pytest.raises(ValueError, match=rf"which holds {name.split()[0]}"):
            check_target(tmp_path / "to")
        (tmp_path / "to" / name).rmdir()


def test_a_directory_that_cannot_be_exchanged_is_refused(model, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match=r"got \., in which this process runs; one within it would do"):
        check_target(handing_over.Path())
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    with pytest.raises(ValueError, match="where a file system is mounted; one within it would do"):
        check_target(tmp_path)
    check_target(tmp_path / "new")


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="save_to must be writable"):
        check_target(tmp_path / "to")


def test_a_place_within_the_run_s_own_model_is_refused(model, tmp_path):
    one = model("words")
    for to in (one.folder, one.folder / "to"):
        with pytest.raises(ValueError, match="save_to must lie outside the folder of the run's own model"):
            handed(one, to)
    read_description(one.folder)


# Whole or not at all


def test_a_damaged_model_is_refused_and_what_was_there_stays(model, tmp_path):
    handed(model("words", "first"), tmp_path / "to")
    one = model("full", "second")
    (one.folder / "model.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(ValueError, match=r"is not as it was saved: model\.safetensors has changed"):
        handed(one, tmp_path / "to")
    assert one.folder.is_dir()
    assert read_description(tmp_path / "to").encoder is None
    assert contents(tmp_path) == ["second", "to"]


def test_the_run_s_own_model_stays_as_it_was_until_the_end(model, tmp_path, monkeypatch):
    """Its files are linked, so the one that changes is not written over."""
    one = model("svm")
    description = read_description(one.folder)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(handing_over, "share", fail)
    other = hotter(one.record)
    with pytest.raises(OSError, match="No space left"):
        hand_over(one.folder, tmp_path / "to", choice=small.choice(other), record=other, refit=True)
    assert read_description(one.folder) == description
    assert contents(tmp_path) == ["source"]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path

sys.path.insert(0, "tests")
import small
from rtlab.records import load
from rtlab.saved_models.description import read_description
from rtlab.saved_models.handing_over import hand_over

old, new, record, folder = map(Path, sys.argv[1:])
record = load(record)
choice = small.choice(record)
changes = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "ctypes.dlsym", "shutil.rmtree")
hand_over(shutil.copytree(new, folder / "first"), folder / "tried", choice=choice, record=record, refit=False)
moment, found = 0, []
while True:
    moment += 1
    place = shutil.copytree(old, folder / "place", dirs_exist_ok=False)
    source = shutil.copytree(new, folder / "source", dirs_exist_ok=True)
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event, _):
            global count
            if event in changes or (event == "open" and _[2] & (os.O_WRONLY | os.O_RDWR)):
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        hand_over(source, place, choice=choice, record=record, refit=False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    there = read_description(place)
    beside = (place / "README.md").read_text(encoding="utf-8")
    if there.id not in beside or ("## Calibration" in beside) != (there.id == record.id):
        sys.exit(f"a mix at moment {moment}")
    found.append(there.id == record.id)
    if not found[-1]:
        read_description(source)
    shutil.rmtree(place)
    if status == 0:
        break
print(moment, sum(found), len([name for name in os.listdir(folder) if "rtlab-" in name]))
"""


def test_a_kill_at_any_moment_leaves_the_former_or_the_new_model(saved, tmp_path, run_python):
    """Killed at each change of the file system in turn, of which there are some; leftovers are cleared away."""
    old, new = saved["svm"], saved["words"]
    path = rtlab.records.save(new.record, tmp_path / "records")
    (tmp_path / "work").mkdir()
    done = run_python(KILLED, old.folder, new.folder, path, tmp_path / "work", timeout=300)
    assert done.returncode == 0, done.stderr
    moments, of_the_new, left = map(int, done.stdout.split())
    assert moments > 20
    assert 1 < of_the_new < moments
    assert left == 0
