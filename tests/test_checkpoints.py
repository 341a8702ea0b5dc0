"""The files of an encoder: no code of its own is run, none outside its directory is read, all are in the digest."""

import json
from pathlib import Path

import odd_encoders as odd
import pytest

from rtlab.encoders import load_encoder
from rtlab.encoders.checkpoints import weight_files

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 267954768\n"
PLACEHOLDERS = {
    "is a pointer of Git LFS in its place; git lfs pull, in that directory, would do": POINTER,
    "is a page of a web site in its place": b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "is empty": b"",
}
CODE = """
from pathlib import Path
Path({!r}).write_text("ran")
from transformers import BertConfig as Config, BertModel as Model, BertTokenizerFast as Tokenizer
"""


@pytest.fixture
def encoder(tmp_path):
    return odd.write(tmp_path / "mine")


@pytest.mark.parametrize(("said", "contents"), PLACEHOLDERS.items(), ids=["pointer", "page", "empty"])
def test_what_lies_in_a_files_place_is_called_what_it_is(said, contents, encoder):
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        whole = (encoder / file).read_bytes()
        (encoder / file).write_bytes(contents)
        with pytest.raises(ValueError, match=rf"must hold its files whole; got 'mine', whose {file} {said}") as refusal:
            load_encoder(str(encoder))
        assert "\n" not in str(refusal.value)
        (encoder / file).write_bytes(whole)
    load_encoder(str(encoder))


def test_a_configuration_of_nothing_or_of_other_types_is_called_that(encoder):
    whole = (encoder / "config.json").read_text()
    for contents in ("{}", "[]", '"bert"'):
        (encoder / "config.json").write_text(contents)
        with pytest.raises(
            ValueError, match=r"must be described by its config\.json; got 'mine', whose config\.json holds"
        ):
            load_encoder(str(encoder))
    (encoder / "config.json").write_text(whole)
    odd.change(encoder, hidden_size="16")
    with pytest.raises(ValueError, match=r"cannot be read \(Validation error for field 'hidden_size': .*expected int"):
        load_encoder(str(encoder))


def test_a_pointer_in_a_shards_place(sharded):
    shard = next(sharded.glob("model-*.safetensors"))
    shard.write_bytes(POINTER)
    with pytest.raises(ValueError, match=rf"whose {shard.name} is a pointer of Git LFS"):
        load_encoder(str(sharded))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1e300])
def test_weights_that_are_no_numbers_are_refused(number, encoder):
    """At one place of one tensor; of 64 bits they may be too large for what trains."""

    def spoil(weights):
        tensor = weights["encoder.layer.1.output.dense.weight"].double()
        tensor[3, 5] = number
        return weights | {"encoder.layer.1.output.dense.weight": tensor}

    odd.rewrite(encoder, spoil)
    with pytest.raises(ValueError, match=r"finite weights; got 'mine', whose encoder\.layer\.1\.output\.dense\.weight"):
        load_encoder(str(encoder)).base()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("file", "of"), [("config.json", "Config"), ("tokenizer_config.json", "Tokenizer")])
def test_code_of_an_encoders_own_is_refused_at_once(file, of, known, encoder, tmp_path, monkeypatch):
    """Where its type is unknown transformers would ask on the terminal, whether the code is there or on the hub."""
    (encoder / "own.py").write_text(CODE.format(str(tmp_path / "ran")))
    odd.change(encoder, file, auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    if of == "Tokenizer":
        odd.change(encoder, file, auto_map={"AutoTokenizer": [None, "someone/repo--own.Tokenizer"]})
    if not known:
        odd.change(encoder, model_type="no-such-type")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    with pytest.raises(ValueError, match=rf"must need no code .*; got 'mine', whose {file} asks for Python code") as it:
        load_encoder(str(encoder))
    assert "\n" not in str(it.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "training_args.bin", "adapter_model.bin", "optimizer.pt"])
def test_a_pickle_beside_the_weights_is_not_read(file, encoder):
    digest = load_encoder(str(encoder)).sha256
    (encoder / file).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    found = load_encoder(str(encoder))
    assert found.sha256 == digest
    found.base()


def test_an_adapter_beside_the_weights_is_not_read(encoder):
    """transformers would put it into the model, or read the encoder that it names."""
    before = load_encoder(str(encoder)).base().state_dict()
    settings = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "someone/else"}
    (encoder / "adapter_config.json").write_text(json.dumps(settings))
    after = load_encoder(str(encoder)).base().state_dict()
    assert all(tensor.equal(after[name]) for name, tensor in before.items())


@pytest.fixture
def sharded(encoder):
    base = load_encoder(str(encoder)).base()
    (encoder / "model.safetensors").unlink()
    base.save_pretrained(encoder, max_shard_size="10KB")
    return encoder


def point(encoder, to):
    """Have an index name another file for its first tensor."""
    index = json.loads((encoder / "model.safetensors.index.json").read_text())
    shard = next(iter(index["weight_map"].values()))
    index["weight_map"] = {tensor: to if of == shard else of for tensor, of in index["weight_map"].items()}
    (encoder / "model.safetensors.index.json").write_text(json.dumps(index))
    return encoder / shard


@pytest.mark.parametrize("way", ["up", "absolute", "down and up", "link"])
def test_an_index_that_points_out_of_its_folder_is_refused(way, sharded, tmp_path):
    names = {
        "up": "../outside.safetensors",
        "absolute": str(tmp_path / "outside.safetensors"),
        "down and up": "mine/../../outside.safetensors",
        "link": "inside.safetensors",
    }
    shard = point(sharded, names[way])
    shard.rename(tmp_path / "outside.safetensors")
    if way == "link":
        (sharded / "inside.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(ValueError, match=r"got mine, whose .*side\.safetensors lies outside of it$"):
        load_encoder(str(sharded))


def test_an_index_may_name_no_pickle(sharded):
    point(sharded, "pytorch_model.bin").rename(sharded / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"must have its weights as safetensors; got mine, whose .* pytorch_model\.bin"
    ):
        load_encoder(str(sharded))


def test_links_within_the_hubs_cache_are_followed(sharded, tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(sharded.iterdir())):
        file.rename(blobs / f"{number:064x}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"{number:064x}")
    assert len(weight_files(snapshot)) > 2
    load_encoder(str(snapshot)).base()


def test_the_digest_sees_tokens_that_another_file_adds(encoder):
    """They overrule tokenizer.json: a text that holds one is other tokens."""
    before = load_encoder(str(encoder))
    specials = before.tokenizer.init_kwargs.get("added_tokens_decoder", {})
    assert isinstance(specials, dict)
    settings = json.loads((encoder / "tokenizer_config.json").read_text())
    tokens = settings.get("added_tokens_decoder", {})
    tokens[str(len(before.tokenizer))] = {
        **dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word", "special"), False),
        "content": "good film",
    }
    odd.change(encoder, "tokenizer_config.json", added_tokens_decoder=tokens)
    after = load_encoder(str(encoder))
    assert after.tokenizer("a good film").input_ids != before.tokenizer("a good film").input_ids
    assert after.sha256 != before.sha256


def test_a_whole_file_may_be_a_link(encoder, tmp_path):
    """People keep weights on another disk; no index decides where."""
    (encoder / "model.safetensors").rename(tmp_path / "elsewhere")
    (encoder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    load_encoder(str(encoder)).base()
