"""A saved model is the trained one, or the run says that it is not; what lies beside it loads it in plain libraries."""

import dataclasses
import functools
import json
import re
import shutil
import socket
import subprocess
import sys
import weakref
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
import small
import torch
from safetensors.numpy import load_file, save_file

import rtlab
from rtlab.encoders import load_encoder
from rtlab.records import load
from rtlab.reporting.groups import groups, lost_runs
from rtlab.running import model_folder
from rtlab.saved_models import saving
from rtlab.saved_models.reloading import SavedModelError, check_saved
from rtlab.scheduling.planning import plan

# Names that mean something to Python, to markdown or to a terminal.
ODD = ('it\'s "bad"', "fa\u202eir\n```\n# heading", "\x1b[31mgut ü")
METHODS = {
    "svm": {"method": "svm", "pooling": "mean"},
    "full-trainer": {"method": "full"},
    "full-native": {"method": "full", "engine": "native"},
    "lora-trainer": {"method": "lora"},
    "lora-native": {"method": "lora", "engine": "native"},
    "contrastive-native": {"method": "contrastive", "engine": "native"},
    "contrastive-trainer": {"method": "contrastive"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("saving") / "reviews", small.THREE)


def run(dataset, output_dir, **fields):
    asked = small.experiment(dataset, **{"max_length": 30, "learning_rate": 5e-3} | fields)
    return rtlab.run(asked, output_dir=output_dir, device="cpu", save_model=True)


# What is saved otherwise than it was trained


def edited(name, change):
    """Damage: a change of the tensors of a file."""

    def damage(folder):
        tensors = load_file(folder / name)
        changed = change(tensors)
        save_file(tensors if changed is None else changed, folder / name, metadata={"format": "pt"})

    return damage


def without(part):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def larger(part):
    def change(tensors):
        for name in tensors:
            if part in name:
                tensors[name] = tensors[name] * np.asarray(1.01, tensors[name].dtype)

    return change


def with_setting(name, change):
    """Damage: a change of a configuration."""

    def damage(folder):
        settings = json.loads((folder / name).read_text())
        change(settings)
        (folder / name).write_text(json.dumps(settings))

    return damage


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def other_words(folder):
    """Damage: a tokenizer that takes each word for another one."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    last = max(words.values())
    tokenizer["model"]["vocab"] = {word: i if i < 5 else last + 5 - i for word, i in words.items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def other_names(settings):
    settings["id2label"] = {index: f"LABEL_{index}" for index in settings["id2label"]}


FULL, ADAPTER = "model.safetensors", "adapter_model.safetensors"
DAMAGE = {
    "full-trainer": {
        "no head": edited(FULL, without("classifier.weight")),
        "a body tensor less": edited(FULL, without("layer.1.ffn.lin1.weight")),
        "other values": edited(FULL, larger("layer.0.attention.v_lin.weight")),
        "cut off": cut(FULL),
        "nothing in it": lambda folder: (folder / FULL).write_bytes(b""),
        "no file": lambda folder: (folder / FULL).unlink(),
        "other names": with_setting("config.json", other_names),
        "a layer less": with_setting("config.json", lambda settings: settings.update(n_layers=1)),
        "other words": other_words,
    },
    "lora-trainer": {
        "no head": edited(ADAPTER, without("classifier")),
        "half an adapter": edited(ADAPTER, without("lora_B")),
        "other values": edited(ADAPTER, larger("lora_B")),
        "cut off": cut(ADAPTER),
        "another scale": with_setting("adapter_config.json", lambda settings: settings.update(lora_alpha=2)),
        "no settings": lambda folder: (folder / "adapter_config.json").unlink(),
        "other words": other_words,
    },
    "svm": {
        "other values": edited("svm.safetensors", larger("coef")),
        "a class less": edited("svm.safetensors", lambda tensors: {n: t[:2] for n, t in tensors.items()}),
        "no intercept": edited("svm.safetensors", without("intercept")),
    },
    "contrastive-trainer": {
        "other values": edited("head.safetensors", larger("coef")),
        "another encoder": edited("model.safetensors", larger("layer.1")),
        "no intercept": edited("head.safetensors", without("intercept")),
        "no classifier": lambda folder: (folder / "head.safetensors").unlink(),
        "other words": other_words,
    },
}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """What is checked of a run of each method: its folder, what was prepared, and logits."""
    patch, found = pytest.MonkeyPatch(), {}
    for name in ("svm", "full-trainer", "lora-trainer", "contrastive-trainer"):
        patch.setattr(
            "rtlab.saved_models.saving.check_saved", lambda *checked, name=name: found.update({name: checked})
        )
        run(data, tmp_path_factory.mktemp("trained"), **METHODS[name])
    patch.undo()
    return found


@pytest.mark.parametrize(("name", "damage"), [(name, damage) for name in DAMAGE for damage in DAMAGE[name]])
def test_a_model_that_is_saved_otherwise_is_found_out(trained, tmp_path, name, damage):
    folder, prepared, logits_NC = trained[name]
    copy = shutil.copytree(folder, tmp_path / "copy")
    check_saved(copy, prepared, logits_NC)
    DAMAGE[name][damage](copy)
    with pytest.raises(
        SavedModelError, match=r"the saved model (is not the trained one|cannot be loaded): \S"
    ) as found:
        check_saved(copy, prepared, logits_NC)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("name", "damage"), [("svm", "other values"), ("full-native", "cut off"), ("lora-native", "no head")]
)
def test_a_model_that_is_saved_otherwise_fails_the_run(data, tmp_path, monkeypatch, name, damage):
    write = saving.write

    def write_wrongly(engine, folder):
        write(engine, folder)
        DAMAGE[name.replace("native", "trainer")][damage](folder)

    monkeypatch.setattr(saving, "write", write_wrongly)
    with pytest.raises(rtlab.RunFailedError, match="the saved model ") as failed:
        run(data, tmp_path, **METHODS[name])
    record = failed.value.record
    check_failed(record, failed.value.path)
    folder = model_folder(tmp_path, record)
    assert not (folder / "rtlab.json").exists()
    assert not (folder / "README.md").exists()
    with pytest.raises(ValueError, match="model must be a directory that rtlab"):
        rtlab.predict(folder, ["fine"])


def check_failed(record, path):
    """Its scores are kept, and go nowhere."""
    assert load(path) == record
    assert record.status == "failed"
    assert re.match(r"the saved model (is not the trained one|cannot be loaded): ", record.error)
    assert "\n" not in record.error
    assert "/" not in record.error
    assert set(record.scores) == set(record.predictions) == {"validation", "test"}
    assert groups([record]) == ()
    assert lost_runs([record]) == (record,)
    row = rtlab.frame([record]).iloc[0]
    assert row[["test_accuracy", "validation_f1", "seconds", "samples_per_s", "train_loss"]].isna().all()


def test_a_sweep_tries_a_run_again_that_saved_another_model(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rtlab.saved_models.saving.check_saved", raising(SavedModelError("the saved model is not the trained one"))
    )
    with pytest.raises(rtlab.RunFailedError) as failed:
        run(data, tmp_path)
    asked = small.experiment(data, max_length=30, learning_rate=5e-3)
    (planned,) = plan([asked], [failed.value.record], device="cpu")
    assert (planned.to_do, planned.recorded) == (True, "failed")


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def test_a_failed_runs_scores_are_in_no_mean(data, tmp_path, monkeypatch):
    good = run(data, tmp_path)
    bad = dataclasses.replace(good, status="failed", error="the saved model is not the trained one", id="0" * 16)
    found = rtlab.frame([good, bad]).groupby("method")["test_accuracy"]
    assert found.count().tolist() == [1]
    assert found.mean().tolist() == [good.scores["test"].accuracy]
    (group,) = groups([good, bad])
    assert group.scored == (good,)


def test_an_earlier_description_does_not_stay_beside_another_model(data, tmp_path, monkeypatch):
    folder = model_folder(tmp_path, run(data, tmp_path))
    assert (folder / "rtlab.json").is_file()
    monkeypatch.setattr(
        "rtlab.saved_models.saving.check_saved", raising(SavedModelError("the saved model is not the trained one"))
    )
    with pytest.raises(rtlab.RunFailedError):
        run(data, tmp_path)
    assert not (folder / "rtlab.json").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("out\nof luck")], ids=repr)
def test_a_model_that_cannot_be_loaded_again_fails_the_run(data, tmp_path, monkeypatch, error):
    monkeypatch.setattr("rtlab.saved_models.reloading.load_saved", raising(error))
    with pytest.raises(rtlab.RunFailedError, match=f"cannot be loaded: {type(error).__name__}") as failed:
        run(data, tmp_path)
    check_failed(failed.value.record, failed.value.path)


def test_an_interrupt_while_the_model_is_loaded_again_loses_no_scores(data, tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.saved_models.reloading.load_saved", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path)
    (path,) = (tmp_path / "records").iterdir()
    record = load(path)
    assert (record.status, record.error) == ("ok", "the model was not saved: KeyboardInterrupt")
    assert not (model_folder(tmp_path, record) / "rtlab.json").exists()


@pytest.mark.parametrize("engine", ["trainer", "native"])
def test_weights_that_the_checkpoint_lacks_are_not_drawn_as_in_training(data, tmp_path, monkeypatch, engine):
    """Without dropout the generator stands, after one step, where it stood when the model was built."""
    encoder = load_encoder("tiny-bert")
    folder = shutil.copytree(encoder.path, tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    write = saving.write

    def write_and_take_the_pooler(engine, to):
        write(engine, to)
        edited(FULL, without("pooler"))(folder)

    monkeypatch.setattr(saving, "write", write_and_take_the_pooler)
    with pytest.raises(rtlab.RunFailedError, match="logits of 6 sentences differ"):
        run(data, tmp_path, method="lora", engine=engine, encoder=str(folder), max_steps=1)


# What is saved as it was trained


@pytest.mark.parametrize("name", METHODS)
def test_bf16_is_not_taken_for_a_fault(data, tmp_path, name, recwarn):
    record = run(data, tmp_path, precision="bf16", **METHODS[name])
    assert (record.status, record.error) == ("ok", None)


@pytest.mark.parametrize("name", METHODS)
def test_a_check_draws_nothing_asks_nobody_and_is_in_no_time(data, tmp_path, monkeypatch, name):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", raising(AssertionError("the network was asked")))
    before, calls = [], []

    one = rtlab.Run(small.experiment(data, **METHODS[name]), output_dir=tmp_path, device="cpu", save_model=True)

    def checked(folder, prepared, logits_NC):
        before.append(torch.get_rng_state())
        seconds = dict(one._watch.seconds)
        check_saved(folder, prepared, logits_NC)
        calls.append(seconds == one._watch.seconds)

    monkeypatch.setattr("rtlab.saved_models.saving.check_saved", checked)
    one.execute()
    assert calls == [True]
    assert torch.equal(torch.get_rng_state(), before[0])


@pytest.mark.parametrize("name", METHODS)
def test_two_models_are_never_there_at_once(data, tmp_path, monkeypatch, name):
    asked = small.experiment(data, max_length=30, **METHODS[name])
    one = rtlab.Run(asked, output_dir=tmp_path, device="cpu", save_model=True)
    one.build()
    model = weakref.ref(getattr(one._engine, "_encoding", one._engine)._model)
    alive = []
    monkeypatch.setattr("rtlab.saved_models.saving.check_saved", lambda *_: alive.append(model() is not None))
    one.train()
    one.finish()
    assert alive == [False]


def test_a_model_whose_logits_padding_moves_is_asked_about_a_batch_of_the_run(data, tmp_path, monkeypatch):
    """As with encoders that read a little of the padding: the run's own padding gives the run's own logits."""
    from transformers import DistilBertForSequenceClassification as Model

    forward = Model.forward

    @functools.wraps(forward)  # Trainer looks at what it takes
    def moved(self, input_ids=None, attention_mask=None, **rest):
        output = forward(self, input_ids=input_ids, attention_mask=attention_mask, **rest)
        output.logits = output.logits + (1 - attention_mask.float()).sum(1, keepdim=True)
        return output

    monkeypatch.setattr(Model, "forward", moved)
    for padding in ("dynamic", "fixed"):
        assert run(data, tmp_path, method="full", padding=padding).error is None


# The README.md beside it


CARDS = {
    **{f"{name}, odd names": (ODD, METHODS[name]) for name in ("svm", "full-native", "lora-native")},
    "lora, two classes": (small.TWO, METHODS["lora-trainer"]),
    "lora, a directory": (small.THREE, METHODS["lora-trainer"]),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Models moved to where they are new."""
    folder, models = tmp_path_factory.mktemp("readme"), {}
    encoder = shutil.copytree(load_encoder("tiny-bert").path, folder / "my encoder")
    for name, (names, fields) in CARDS.items():
        data = small.data_folder(folder / name / "reviews", names)
        of = {"encoder": str(encoder)} if "directory" in name else {}
        record = run(data, folder, **fields, **of)
        moved = shutil.copytree(model_folder(folder, record), folder / "moved" / name)
        texts, _ = small.read(data, "test", names)
        models[name] = SimpleNamespace(folder=moved, record=record, texts=texts, names=sorted(names))
    return models


ASK = """
import json, os, re, sys, torch

for folder, texts in json.loads(sys.stdin.read()):
    os.chdir(folder)
    names = {}
    exec(re.search(r"```python\\n(.*?)\\n```\\n", open("README.md", encoding="utf-8").read(), re.DOTALL)[1], names)
    if "model" in names:
        model, tokenizer = names["model"].eval(), names["tokenizer"]
        with torch.no_grad():
            inputs = (tokenizer(text, truncation=True, max_length=30, return_tensors="pt") for text in texts)
            logits = [model(**each).logits[0].tolist() for each in inputs]
        print(json.dumps([logits, list(model.config.id2label.values()), model.config.label2id]))
    elif "classify" in names:
        print(json.dumps([[answer["label"] for answer in names["classify"](texts)]]))
    else:
        print(json.dumps([[one.label for one in names["rtlab"].predict(".", texts)]]))
"""


def test_the_lines_of_a_readme_load_the_model_with_its_names(saved):
    """In a fresh process, in the folder's new place."""
    asked = json.dumps([[str(model.folder), model.texts] for model in saved.values()])
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for (name, model), line in zip(saved.items(), done.stdout.splitlines(), strict=True):
        found, *names = json.loads(line)
        logits_NC = model.record.predictions["test"].logits
        if name.startswith("lora"):
            np.testing.assert_allclose(found, logits_NC, rtol=0, atol=1e-4)
            assert names == [model.names, {name: index for index, name in enumerate(model.names)}]
        else:
            assert found == [model.names[index] for index in logits_NC.argmax(axis=1)]


@pytest.mark.parametrize("name", CARDS)
def test_a_readme_says_what_the_model_is(saved, name):
    model = saved[name]
    text, record = (model.folder / "README.md").read_text(encoding="utf-8"), model.record
    for fact in (
        record.id,
        record.encoder.name,
        record.encoder.sha256[:8],
        record.dataset.name,
        *map(repr, model.names),
    ):
        assert fact in text
    assert f"test        accuracy {record.scores['test'].accuracy:.4f}" in text
    assert not re.search(r"(?<![\w.`~])/\w", text), "no folder of this machine"
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert re.findall("^(?:#|```|---).*", text, re.MULTILINE)[3:] == ["```python", "```"], "no name opens anything"


def test_a_readme_names_an_encoder_of_the_hub_by_its_revision(saved):
    from rtlab.saved_models.card import model_card

    encoder = dataclasses.replace(load_encoder("tiny-bert"), name="owner/name", revision="f" * 40, source="owner/name")
    text = model_card(small.experiment("reviews", method="lora"), encoder, ["a", "b"], {"run": "0" * 16})
    assert f"from_pretrained('owner/name', revision='{'f' * 40}', id2label={{0: 'a', 1: 'b'}}, " in text
    assert 'base_model: "owner/name"' in text
    assert "PeftConfig" not in text
