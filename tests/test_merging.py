"""merge: a plain checkpoint that says what the adapter says, with its names; or one clear line, and nothing written."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import small
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification, pipeline

import rtlab as lab
from rtlab.running import model_folder
from rtlab.saved_models import merging
from rtlab.saved_models.merging import MergeFailedError, merge

NAMES = ('it\'s "bad"', "fair", "gut ü")
ADAPTERS = {
    "lora-native": (NAMES, {"engine": "native"}),
    "lora-trainer-bf16": (small.TWO, {"precision": "bf16", "encoder": "tiny-bert"}),
    "ia3": (NAMES, {"peft_type": "IA3", "settings": {}}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Adapters, and what is none, with the test split's sentences."""
    folder, found = tmp_path_factory.mktemp("merging"), {}
    others = {"full": (small.TWO, {"method": "full"}), "svm": (small.TWO, {"method": "svm"})}
    for name, (names, fields) in (ADAPTERS | others).items():
        data = small.data_folder(folder / name / "reviews", names)
        asked = small.experiment(
            data, **{"method": "lora", "max_length": 30, "learning_rate": 1e-2, "max_steps": 2} | fields
        )
        record = lab.run(asked, output_dir=folder / name, device="cpu", save_model=True)
        found[name] = SimpleNamespace(
            folder=model_folder(folder / name, record),
            record=record,
            texts=small.read(data, "test", names)[0],
            names=sorted(names),
        )
    return found


@pytest.mark.parametrize("name", ["lora-native", "lora-trainer-bf16", "ia3"])
def test_a_merged_adapter_is_a_plain_checkpoint_with_names(models, tmp_path, name):
    adapter, to = models[name], tmp_path / "deep" / "merged"
    found = merge(adapter.folder, to, device="cpu")
    assert (found.id, list(found.label_names), found.apart <= 1e-4) == (adapter.record.id, adapter.names, True)
    assert not list(to.glob("adapter*"))
    assert AutoModelForSequenceClassification.from_pretrained(to).config.id2label == dict(enumerate(adapter.names))

    logits_NC = adapter.record.predictions["test"].logits
    classify = pipeline("text-classification", str(to), function_to_apply="none", top_k=None)
    said = classify(adapter.texts, truncation=True, max_length=30)
    plain_NC = [[{one["label"]: one["score"] for one in each}[name] for name in adapter.names] for each in said]
    np.testing.assert_allclose(plain_NC, logits_NC, rtol=0, atol=0.1 if "bf16" in name else 1e-4)

    ours, before = (lab.predict(each, adapter.texts, device="cpu") for each in (to, adapter.folder))
    for one, other in zip(ours, before, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=0.03 if "bf16" in name else 1e-4)
    text = (to / "README.md").read_text(encoding="utf-8")
    assert "merged into its encoder" in text
    assert 'pipeline("text-classification", "."' in text
    assert list(to.parent.iterdir()) == [to]


def test_an_encoder_of_another_task_does_not_make_the_pipeline_answer_otherwise(models, tmp_path):
    """Its configuration may say that a sentence has several labels, or ask for what a configuration may not keep."""
    from rtlab.encoders import load_encoder

    encoder = shutil.copytree(load_encoder("tiny-bert").path, tmp_path / "encoder")
    odd = {"problem_type": "multi_label_classification", "output_attentions": True, "chunk_size_feed_forward": 4}
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | odd))
    data = small.data_folder(tmp_path / "reviews")
    asked = small.experiment(data, method="lora", encoder=str(encoder), max_steps=1)
    record = lab.run(asked, output_dir=tmp_path, device="cpu", save_model=True)
    merge(model_folder(tmp_path, record), tmp_path / "merged", device="cpu")
    (said,) = pipeline("text-classification", str(tmp_path / "merged"), top_k=None)(["fine"])
    assert sum(one["score"] for one in said) == pytest.approx(1)


# What cannot be merged


def check_nothing(folder):
    assert list(folder.iterdir()) == []


REFUSED = {
    "full": r"model must be an adapter to be merged; got .*, a fully fine-tuned encoder, a plain checkpoint already",
    "svm": r"model must be an adapter to be merged; got .*, linear SVM",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged_is_refused(models, tmp_path, name):
    with pytest.raises(ValueError, match=REFUSED[name]) as refused:
        merge(models[name].folder, tmp_path / "merged", device="cpu")
    assert "\n" not in str(refused.value)
    check_nothing(tmp_path)


def test_a_kind_that_peft_cannot_merge_is_refused(models, tmp_path, monkeypatch):
    def cannot(*_, **__):
        raise NotImplementedError("This method is not supported for this kind.")

    monkeypatch.setattr("peft.tuners.tuners_utils.BaseTuner.merge_and_unload", cannot)
    with pytest.raises(ValueError, match=r"^model must be an adapter that PEFT can merge; got .*: This method is not"):
        merge(models["ia3"].folder, tmp_path / "merged", device="cpu")
    check_nothing(tmp_path)


def not_finite(folder):
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor * np.float32(np.nan) for name, tensor in load_file(weights).items()}, weights)
    description = folder / "rtlab.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"files": {}}))


def without_head(folder):
    weights = folder / "adapter_model.safetensors"
    kept = {name: tensor for name, tensor in load_file(weights).items() if "classifier" not in name}
    save_file(kept, weights)


DAMAGE = {
    "no head": without_head,
    "no numbers": not_finite,
    "cut off": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\0" * 9),
    "pickled": lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
    "no settings": lambda folder: (folder / "adapter_config.json").unlink(),
    "no description": lambda folder: (folder / "rtlab.json").unlink(),
    "another encoder": lambda folder: (folder / "rtlab.json").write_text(
        json.dumps(json.loads((folder / "rtlab.json").read_text()) | {"encoder": "tiny-bert"})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_adapter_is_refused(models, tmp_path, damage):
    adapter = shutil.copytree(models["lora-native"].folder, tmp_path / "adapter")
    DAMAGE[damage](adapter)
    with pytest.raises(ValueError, match=r"^model ") as refused:
        merge(adapter, tmp_path / "merged", device="cpu")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [adapter]


@pytest.mark.parametrize("what", ["file", "full", "link"])
def test_an_output_directory_that_is_not_free_is_refused(models, tmp_path, what):
    to = tmp_path / "to"
    match what:
        case "file":
            to.write_text("kept")
        case "full":
            to.mkdir()
            (to / "kept").write_text("kept")
        case _:
            to.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"output_dir must be a new or an empty directory; got .*to, which holds"):
        merge(models["lora-native"].folder, to, device="cpu")
    assert list(tmp_path.iterdir()) == [to]
    assert what != "full" or [path.name for path in to.iterdir()] == ["kept"]


def test_an_empty_output_directory_is_taken(models, tmp_path):
    (tmp_path / "to").mkdir()
    merge(models["lora-native"].folder, tmp_path / "to", device="cpu")
    assert (tmp_path / "to" / "rtlab.json").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=repr)
@pytest.mark.parametrize("at", ["_merge", "describe"])
def test_a_merge_that_ends_early_leaves_nothing(models, tmp_path, monkeypatch, error, at):
    def end(*_, **__):
        raise error

    monkeypatch.setattr(merging, at, end)
    with pytest.raises(type(error)):
        merge(models["lora-native"].folder, tmp_path / "merged", device="cpu")
    check_nothing(tmp_path)


def other_values(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layer.0.attention.v_lin.weight"))
    save_file(tensors | {name: tensors[name] * np.float32(1.02)}, folder / "model.safetensors", {"format": "pt"})


def other_names(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))


@pytest.mark.parametrize(
    ("damage", "said"), [(other_values, r"logits of 6 sentences differ"), (other_names, "calls its classes a, b, c")]
)
def test_a_checkpoint_that_says_something_else_is_not_kept(models, tmp_path, monkeypatch, damage, said):
    written = merging._merge

    def wrongly(source, to, *rest):
        logits = written(source, to, *rest)
        damage(to)
        return logits

    monkeypatch.setattr(merging, "_merge", wrongly)
    with pytest.raises(MergeFailedError, match=said):
        merge(models["lora-native"].folder, tmp_path / "merged", device="cpu")
    check_nothing(tmp_path)


# The verb


def test_the_verb_says_what_it_did_and_predict_reads_it(models, rtlab, tmp_path):
    adapter = models["lora-native"]
    done = rtlab("merge", "--model", adapter.folder, "--output-dir", "merged", "--device", "cpu", "--json", "said.json")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"LORA adapter {adapter.record.id} merged into tiny-distilbert: logits of 6 sentences ")
    assert done.out.endswith("\nmodel   merged\n")
    said = json.loads((tmp_path / "said.json").read_text())
    assert (said["id"], said["label_names"]) == (adapter.record.id, adapter.names)
    answer = rtlab("predict", adapter.texts[0], "--model", "merged", "--json", "-")
    assert answer.status == 0
    assert json.loads(answer.out)[0]["label"] in adapter.names


def test_the_verb_refuses_in_one_line(models, rtlab, tmp_path):
    done = rtlab("merge", "--model", models["svm"].folder, "--output-dir", "merged")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("rtlab: --model must be an adapter to be merged; got ")
    assert done.err.count("\n") == 1
    check_nothing(tmp_path)


def test_a_merge_that_fails_is_one_line_too(models, rtlab, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "disagreement", lambda *_: "they differ")
    done = rtlab("merge", "--model", models["lora-native"].folder, "--output-dir", "merged", "--device", "cpu")
    said = "rtlab: the merged checkpoint does not say what the adapter says: they differ; nothing was written\n"
    assert (done.status, done.out, done.err) == (1, "", said)
    check_nothing(tmp_path)
