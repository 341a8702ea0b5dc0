"""Every weight of an encoder is read, or drawn, trained and saved, or the run is refused before anything is written."""

import dataclasses
import json
import re

import numpy as np
import odd_encoders as odd
import peft
import pytest
import small
import torch
import transformers
from safetensors.torch import load_file

import rtlab
from rtlab.encoders import checked, load_encoder
from rtlab.engines.models import parameters
from rtlab.preparing import prepare
from rtlab.running import model_folder

QUERY = "encoder.layer.1.attention.self.query.weight"


# transformers before 5.23 scripts parts of DeBERTa, which torch will no longer do.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def data(folder):
    return small.data_folder(folder / "data", small.THREE, train=24, held_out=6)


@pytest.fixture(scope="module")
def written(folder):
    """Encoders by architecture and by the class of transformers that was saved."""
    made = {}

    def write(kind, of="AutoModel", **settings):
        key = (kind, of, *settings.items())
        if key not in made:
            made[key] = odd.write(folder / f"{kind}-{of}-{len(made)}", kind, of, **settings)
        return made[key]

    return write


def run(data, encoder, method, folder, **fields):
    """A run of two steps, and the folder of its model."""
    asked = small.experiment(data, encoder=str(encoder), method=method, max_length=24, max_steps=2, **fields)
    record = rtlab.run(asked, output_dir=folder, device="cpu", save_model=True)
    assert (record.status, record.error) == ("ok", None)
    return record, model_folder(folder, record)


# What does not fit


def without(weights):
    return {name: tensor for name, tensor in weights.items() if name != QUERY}


def renamed(weights):
    return {name.replace("self.query", "self.q"): tensor for name, tensor in weights.items()}


def prefixed(weights):
    return {f"module.{name}": tensor for name, tensor in weights.items()}


def reshaped(weights):
    return weights | {QUERY: torch.zeros(16, 8)}


def quantized(weights):
    return weights | {QUERY: torch.zeros(16, 16, dtype=torch.int8)}


def one_more(weights):
    return weights | {"encoder.layer.0.extra.weight": torch.zeros(2)}


SPOILT = {
    "missing": (without, rf"lack 1 of the tensors .* \(bert\.{QUERY}\)"),
    "renamed": (renamed, r"lack 4 .*query\.bias.*, …\) and hold 4 .*self\.q\.bias"),
    "prefixed": (prefixed, r"lack \d+ .* and hold \d+ .*module\."),
    "another shape": (reshaped, rf"hold 1 of another shape \(bert\.{QUERY}: \[16, 8\] for \[16, 16\]\)"),
    "one more": (one_more, r"hold 1 that it does not ask for \(.*encoder\.layer\.0\.extra\.weight\)"),
    "quantized": (quantized, rf"floats of 16 bits or more; got 'spoilt', whose {QUERY} is int8"),
    "nothing": (lambda _: {}, r"lack \d+ of the tensors"),
}


def refused(data, encoder, match, method="full", **fields):
    with pytest.raises(ValueError, match=match) as refusal:
        prepare(small.experiment(data, encoder=str(encoder), method=method, max_length=24, **fields), device="cpu")
    assert "\n" not in str(refusal.value)
    assert "would do" in str(refusal.value)


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("method", ["svm", "lora"])
def test_weights_that_do_not_fit_are_refused(spoil, said, method, written, data, tmp_path):
    encoder = odd.rewrite(odd.copy(written("bert"), tmp_path / "spoilt"), spoil)
    said = said.replace(r"bert\.", "") if method == "svm" else said
    refused(data, encoder, said, method)


@pytest.mark.parametrize("of", ["AutoModel", "AutoModelForMaskedLM"])
@pytest.mark.parametrize(("layers", "said"), [(1, "hold 16 that it does not ask for"), (3, "lack 16 of the tensors")])
def test_a_configuration_of_other_layers_is_refused(of, layers, said, written, data, tmp_path):
    encoder = odd.change(odd.copy(written("bert", of), tmp_path / "spoilt"), num_hidden_layers=layers)
    refused(data, encoder, rf"{said} .*layer\.")


@pytest.mark.parametrize("contents", [b"\x10\0\0\0\0\0\0\0{}", None], ids=["no header", "cut"])
def test_a_damaged_file_is_refused(contents, written, data, tmp_path):
    encoder = odd.copy(written("bert"), tmp_path / "spoilt")
    path = encoder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if contents is None else contents)
    refused(data, encoder, r"must hold whole safetensors; got 'spoilt', whose model\.safetensors cannot be read \(.+\)")


def test_a_shard_that_lacks_a_tensor_is_refused(written, data, tmp_path):
    encoder = odd.copy(written("bert"), tmp_path / "spoilt")
    (encoder / "model.safetensors").unlink()
    load_encoder(str(written("bert"))).base().save_pretrained(encoder, max_shard_size="10KB")
    prepare(small.experiment(data, encoder=str(encoder), max_length=24), device="cpu")
    index = json.loads((encoder / "model.safetensors.index.json").read_text())
    shard = encoder / index["weight_map"][QUERY]
    shard.rename(encoder / "model.safetensors")
    odd.rewrite(encoder, without)
    (encoder / "model.safetensors").rename(shard)
    refused(data, encoder, re.escape(QUERY))


def test_nothing_is_written_for_an_encoder_that_does_not_fit(rtlab, written, data, tmp_path):
    encoder = odd.rewrite(odd.copy(written("bert"), tmp_path / "spoilt"), renamed)
    done = rtlab("finetune", "--dataset", data, "--encoder", encoder, "--max-length", 24, "--output-dir", "out")
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert "encoder must hold all weights of its body" in done.err
    assert not (tmp_path / "out").exists()


def test_weights_that_a_configuration_calls_quantized_are_refused_at_once(written, tmp_path):
    encoder = odd.change(odd.copy(written("bert"), tmp_path / "spoilt"), quantization_config={"quant_method": "gptq"})
    with pytest.raises(ValueError, match=r"whose config\.json says that they are quantized"):
        load_encoder(str(encoder))


def test_an_encoder_of_no_layers_is_refused(data, tmp_path):
    encoder = odd.write(tmp_path / "none", "bert", num_hidden_layers=0)
    for method in ("full", "svm"):
        refused(data, encoder, "must have transformer layers; got 'none'", method)


def test_a_configuration_that_makes_no_model_is_refused(written, data, tmp_path):
    encoder = odd.change(odd.copy(written("bert"), tmp_path / "spoilt"), num_attention_heads=3)
    refused(data, encoder, r"encoder 'spoilt' cannot be made into a model \(The hidden size .*\)")
    refused(data, encoder, r"encoder spoilt|encoder 'spoilt' cannot be made into a model", "lora")


@pytest.mark.parametrize("method", ["full", "svm"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "bert-generation",
            "must be of a type that transformers classifies sequences with; got 'spoilt', of type bert-g",
        ),
        ("timm_wrapper_none", "cannot be read"),
    ],
)
def test_a_type_without_a_classifier_is_refused(kind, said, method, written, data, tmp_path):
    encoder = odd.change(odd.copy(written("bert"), tmp_path / "spoilt"), model_type=kind, architectures=[])
    if (kind, method) == ("bert-generation", "svm"):
        said = "encoder must hold all weights of its body"
    refused(data, encoder, said, method)


def test_weights_under_another_name_are_refused(written, data, tmp_path):
    encoder = odd.copy(written("bert"), tmp_path / "spoilt")
    (encoder / "model.safetensors").rename(encoder / "weights.safetensors")
    refused(data, encoder, r"must hold model\.safetensors, or .*; got 'spoilt', which has weights\.safetensors")


# Poolers and heads

ENGINES = [("bert", "trainer"), ("bert", "native"), ("albert", "trainer"), ("deberta-v2", "trainer")]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("kind", "engine"), ENGINES)
def test_a_pooler_that_is_missing_is_drawn_trained_saved_and_counted(kind, engine, method, written, data, tmp_path):
    """By masked-language training a checkpoint has none; DeBERTa's is never in one."""
    adapter = {"target_modules": ("query_proj",) if kind.startswith("deberta") else ("query",)}
    fields = {"engine": engine, **(adapter if method == "lora" else {})}
    record, folder = run(data, written(kind, "AutoModelForMaskedLM"), method, tmp_path / "one", **fields)
    again, _ = run(data, written(kind, "AutoModelForMaskedLM"), method, tmp_path / "two", **fields)
    assert record.train_loss == again.train_loss
    assert record.counts.parameters_head == 16 * 16 + 16 + 3 * 16 + 3
    assert any("pooler" in note for note in record.encoder.notes) == (kind != "deberta-v2")
    assert any("is not used: one of 3 classes" in note for note in record.encoder.notes)
    stored = load_file(folder / ("adapter_model.safetensors" if method == "lora" else "model.safetensors"))
    assert any("pooler" in name for name in stored)
    texts = small.read(data, "test", small.THREE)[0]
    classes = {"num_labels": 3} if method == "lora" else {}
    of = peft.AutoPeftModelForSequenceClassification if method == "lora" else None
    of = of or transformers.AutoModelForSequenceClassification
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, max_length=24, return_tensors="pt"
    )
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = of.from_pretrained(folder, **classes).eval()
        with torch.inference_mode():
            logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        np.testing.assert_allclose(logits.numpy(), record.predictions["test"].logits, atol=1e-5)
    first, second = (rtlab.predict(folder, texts, device="cpu") for _ in range(2))
    assert first == second
    assert [p.label for p in first] == [small.THREE[row.argmax()] for row in record.predictions["test"].logits]


def test_a_pooler_that_was_trained_moved(written, data, tmp_path):
    """With a learning rate that is seen; the head's twin of the seed is drawn before it."""
    moved = []
    for rate in (1e-30, 1e-2):
        _, folder = run(data, written("bert", "AutoModelForMaskedLM"), "lora", tmp_path / str(rate), learning_rate=rate)
        moved.append(load_file(folder / "adapter_model.safetensors"))
    assert any("pooler" in name for name in moved[0])
    for name in moved[0]:
        if "pooler" in name or "classifier" in name:
            assert not torch.equal(moved[0][name], moved[1][name]), name


def test_an_adapter_saved_without_its_pooler_is_refused(written, data, tmp_path):
    _, folder = run(data, written("bert", "AutoModelForMaskedLM"), "lora", tmp_path)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["modules_to_save"] = ["classifier", "score"]
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    description = json.loads((folder / "rtlab.json").read_text())
    (folder / "rtlab.json").write_text(json.dumps(description | {"files": {}}))  # as before there were digests
    with pytest.raises(ValueError, match=r"has weights of another model: it does not need .*bert\.pooler\.dense"):
        rtlab.predict(folder, ["fine"], device="cpu")


@pytest.mark.parametrize("of", ["AutoModelForMaskedLM", "AutoModelForSequenceClassification"])
def test_features_of_an_svm_owe_nothing_to_what_was_drawn(of, written, data, tmp_path):
    logits = []
    for seed in (1, 2):
        asked = small.experiment(data, encoder=str(written("bert", of)), method="svm", max_length=24, seed=seed)
        torch.manual_seed(seed)
        record = rtlab.run(asked, output_dir=tmp_path, device="cpu")
        logits.append(record.predictions["test"].logits)
        assert record.encoder.notes == ()
    np.testing.assert_allclose(*logits, atol=1e-4)  # the SVM's own solver takes the seed


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra"])
def test_a_head_that_the_checkpoint_brings_is_not_used(kind, classes, written, folder):
    """A fresh one is the same as without it, of the data's classes."""
    own = load_encoder(str(written(kind, "AutoModelForSequenceClassification", num_labels=classes)))
    heads = []
    for encoder in (own, own, load_encoder(str(written(kind)))):
        torch.manual_seed(7)
        model = checked(encoder, small.THREE).classifier(small.THREE)
        heads.append({n: t for n, t in model.state_dict().items() if not n.startswith(f"{model.base_model_prefix}.")})
    stored = load_file(own.path / "model.safetensors")
    for name, tensor in heads[0].items():
        assert torch.equal(tensor, heads[1][name])
        assert torch.equal(tensor, heads[2][name])
        assert not torch.equal(tensor, stored[name]) or not tensor.any()  # biases are zero
    assert len(checked(own, small.THREE).notes) == 1


def test_a_model_that_was_saved_is_read_with_its_head(written, data, tmp_path):
    _, folder = run(data, written("bert"), "full", tmp_path)
    encoder = load_encoder(str(folder))
    stored = load_file(folder / "model.safetensors")
    for name, tensor in encoder.saved_classifier(small.THREE).state_dict().items():
        assert torch.equal(tensor, stored[name]), name
    with pytest.raises(ValueError, match=r"classifier\.weight: \[3, 16\] for \[2, 16\]"):
        encoder.saved_classifier(small.TWO)
    with pytest.raises(ValueError, match=r"lack 2 of the tensors .*classifier\.bias, classifier\.weight"):
        load_encoder(str(written("bert"))).saved_classifier(small.TWO)


def test_checking_draws_nothing(written):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    checked(load_encoder(str(written("bert", "AutoModelForMaskedLM"))), small.TWO)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_modules_that_a_user_has_trained_along_are_the_adapters(written, data):
    asked = small.experiment(
        data, encoder=str(written("bert")), method="lora", max_length=24, settings={"modules_to_save": ["LayerNorm"]}
    )
    task = small.task(asked)
    from rtlab.engines.models import classifier

    counts = parameters(classifier(task), task.encoder)
    assert counts.parameters_head == 3 * 16 + 3
    lora = 2 * 4 * 8 * (16 + 16)
    assert counts.parameters_adapter == lora + 5 * 2 * 16  # of the embeddings, and two of each layer
    assert counts.parameters_encoder == 0


def test_an_encoder_keeps_its_notes(written):
    encoder = dataclasses.replace(load_encoder(str(written("bert", "AutoModelForMaskedLM"))), notes=("One.",))
    assert checked(encoder, small.TWO).notes[0] == "One."
    assert checked(encoder, None) == encoder
