"""Odd encoders give on both engines what plain transformers gives a sentence alone; or they are refused in one line."""

import csv
import json

import numpy as np
import odd_encoders as odd
import pytest
import small
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import rtlab
from rtlab.encoders import load_encoder
from rtlab.engines import packing
from rtlab.engines.layouts import Packer
from rtlab.engines.packing import pack
from rtlab.preparing import prepare
from rtlab.probing import as_text, probe
from rtlab.running import model_folder
from rtlab.tokens import token_arrays

MAX_LENGTH = 24


# transformers before 5.23 scripts parts of DeBERTa, which torch will no longer do.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("odd")


@pytest.fixture(scope="module")
def data(folder):
    """Some sentences hold a padding token, of BERT or of RoBERTa."""
    made = small.data_folder(folder / "data", train=16, held_out=8)
    for file in made.glob("*.csv"):
        with file.open(newline="") as stream:
            first, *rows = csv.reader(stream)
        rows = [
            (f"[PAD] a fine [PAD] film <pad> {text}" if at % 3 == 0 else text, of) for at, (text, of) in enumerate(rows)
        ]
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([first, *rows])
    return made


def word_tokenizer(*, special=True, pad="[PAD]", words=60, **more):
    """A tokenizer of words; without `special` it adds no tokens to a sentence."""
    from rtlab.data import corpus

    ids = {token: at for at, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *corpus.vocabulary()[:words]])}
    of = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    of.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        of.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=of, pad_token=pad, unk_token="[UNK]", **more)


def half(folder):
    load_encoder(str(folder)).base().half().save_pretrained(folder)


def in_shards(folder):
    base = load_encoder(str(folder)).base()
    (folder / "model.safetensors").unlink()
    base.save_pretrained(folder, max_shard_size="10KB")


def tokenizer_says(**settings):
    return lambda folder: odd.change(folder, "tokenizer_config.json", **settings)


ASKED = {"output_hidden_states": True, "output_attentions": True, "return_dict": False, "use_cache": True}
# Settings of the configuration, and what else is done to the directory.
ODD = {
    "nothing": ({}, None),
    "padding on the left": ({}, tokenizer_says(padding_side="left")),
    "truncation on the left": ({}, tokenizer_says(truncation_side="left")),
    "other padding": ({"pad_token_id": 9}, None),
    "padding of the configuration": ({}, lambda folder: odd.change(folder, pad_token_id=None)),
    "last padding": ({}, lambda folder: odd.change(folder, pad_token_id=odd.rows(folder) - 1)),
    "short limit of the tokenizer": ({}, tokenizer_says(model_max_length=8)),
    "more outputs": ({}, lambda folder: odd.change(folder, **ASKED, torchscript=True)),
    "attention that is not installed": ({}, lambda folder: odd.change(folder, attn_implementation="flash_attention_2")),
    "feed-forward in chunks": ({"chunk_size_feed_forward": 5}, None),
    "half precision": ({}, half),
    "shards": ({}, in_shards),
    "no special tokens": ({"tokenizer": word_tokenizer(special=False)}, None),
    "few words": ({"tokenizer": word_tokenizer(pad="[UNK]")}, None),
    "tied": ({"tie_word_embeddings": True}, None),
    "of another task": ({"problem_type": "multi_label_classification", "num_labels": 7}, None),
}
ADAPTED = ("padding on the left", "more outputs", "half precision")  # the rest is read before method and type matter


def made(folder, kind, oddity):
    settings, also = ODD[oddity]
    encoder = odd.write(folder / "encoder", kind, **odd.dropout_off(kind), **settings)
    if also is not None:
        also(encoder)
    return encoder


def ran(data, encoder, method, engine, folder, **fields):
    """Three steps on all sentences at once, so that no order matters."""
    asked = small.experiment(
        data,
        encoder=str(encoder),
        method=method,
        engine=engine,
        max_length=MAX_LENGTH,
        batch_size=16,
        epochs=3,
        learning_rate=1e-3,
        **({"settings": {"lora_dropout": 0.0}} if method == "lora" else {}),
        **fields,
    )
    record = rtlab.run(asked, output_dir=folder / engine, device="cpu", save_model=True)
    return record, model_folder(folder / engine, record)


@pytest.mark.parametrize(
    ("kind", "method", "oddity"),
    [
        *(("bert", "full", oddity) for oddity in ODD),
        *(("roberta", "lora", oddity) for oddity in ADAPTED),
        ("roberta", "full", "other padding"),  # by which positions are counted
    ],
)
def test_an_odd_encoder_is_right_on_both_engines(kind, method, oddity, data, tmp_path):
    encoder = made(tmp_path, kind, oddity)
    reference, folder = ran(data, encoder, method, "trainer", tmp_path)
    native, _ = ran(data, encoder, method, "native", tmp_path)
    losses = [[entry.loss for entry in record.history] for record in (reference, native)]
    np.testing.assert_allclose(*losses, atol=1e-5)
    for split in ("validation", "test"):
        logits = [record.predictions[split].logits for record in (reference, native)]
        np.testing.assert_allclose(*logits, atol=1e-4)
    if method == "full":
        alone = by_plain_transformers(folder, small.read(data, "test")[0])
        np.testing.assert_allclose(reference.predictions["test"].logits, alone, atol=1e-4)


def by_plain_transformers(folder, texts):
    """Each sentence alone, so without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return np.concatenate(
            [
                model(**tokenizer(text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")).logits
                for text in texts
            ]
        )


@pytest.mark.parametrize("padding", [None, 9])
@pytest.mark.parametrize("kind", ["roberta", "camembert", "bert"])
def test_padding_in_a_text_has_the_positions_that_transformers_gives_it(kind, padding, data, folder):
    """RoBERTa counts only tokens that are not its configuration's padding, whatever the tokenizer pads with."""
    settings = {} if padding is None else {"pad_token_id": padding}
    encoder = load_encoder(str(odd.write(folder / f"{kind}-{padding}", kind, **settings)))
    texts = small.read(data, "train")[0]
    tokens = token_arrays(texts, encoder.tokenizer, MAX_LENGTH)
    assert (tokens.ids == encoder.config.pad_token_id).any() == (padding is None)
    packed = pack(encoder.base(), first_tokens=False).eval()
    layout = Packer(tokens, encoder, device=torch.device("cpu")).layout(np.arange(len(texts)))
    plain = encoder.base()
    with torch.inference_mode():
        found = packing.forward(packed, layout).last_hidden_state[0]
        for begin, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
            ids = torch.from_numpy(tokens.ids[begin:end]).long()[None]
            expected = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            torch.testing.assert_close(found[begin:end], expected, atol=1e-5, rtol=1e-5)


NAMES = {
    "bert": ("attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout"),
    "electra": ("attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout"),
    "roberta": ("attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout"),
    "distilbert": ("attention_dropout", "dropout", "seq_classif_dropout"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_dropout_under_each_of_its_names_reaches_the_native_engine(kind, folder, monkeypatch):
    attention, hidden, head = NAMES[kind]
    encoder = load_encoder(str(odd.write(folder / kind, kind, **{attention: 0.25, hidden: 0.375, head: 0.5})))
    seen = []
    monkeypatch.setattr(
        "rtlab.engines.attention.attend", lambda query, *_, dropout, **__: seen.append(dropout) or query
    )
    model = pack(encoder.classifier(small.TWO)).train()
    rates = {module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    assert rates >= {0.375, 0.5}
    tokens = token_arrays(["a fine film", "dull"], encoder.tokenizer, MAX_LENGTH)
    packing.forward(model, Packer(tokens, encoder, device=torch.device("cpu")).layout(np.arange(2)))
    assert seen == [0.25, 0.25]


# Architectures

REFUSED = {
    "xlnet": "the same result with padding behind it",
    "fnet": "the same result with padding behind it",
    "convbert": "the same result with padding behind it",
    "nystromformer": "must take sentences of any length, padded",
    "t5": "must be an encoder alone",
    "bart": "must be an encoder alone",
}
TAKEN = (
    "mpnet",
    "albert",
    "deberta",
    "deberta-v2",
    "ernie",
    "modernbert",
    "mobilebert",
    "squeezebert",
    "longformer",
    "funnel",
)


@pytest.mark.parametrize("kind", REFUSED)
def test_an_architecture_that_would_train_wrongly_is_refused(kind, data, tmp_path):
    encoder = odd.write(tmp_path / kind, kind)
    for engine in ("trainer", "native"):
        asked = small.experiment(data, encoder=str(encoder), max_length=MAX_LENGTH, engine=engine)
        with pytest.raises(ValueError, match="engine trainer would do|" + REFUSED[kind]) as refusal:
            prepare(asked, device="cpu")
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [*TAKEN, "big_bird", "gpt2", "llama"])
def test_an_architecture_without_a_row_is_right_on_the_reference_engine(kind, data, tmp_path):
    encoder = odd.write(tmp_path / kind, kind, **odd.dropout_off(kind))
    record, folder = ran(data, encoder, "full", "trainer", tmp_path)
    texts = small.read(data, "test")[0]
    np.testing.assert_allclose(record.predictions["test"].logits, by_plain_transformers(folder, texts), atol=1e-4)
    found = [max(p.probabilities.values()) for p in rtlab.predict(folder, texts, device="cpu")]
    expected = torch.softmax(torch.tensor(record.predictions["test"].logits), 1).max(1).values
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "settings"), [("gpt2", {}), ("llama", {}), ("longformer", {}), ("bert", {"is_decoder": True})]
)
def test_a_first_token_that_sees_no_other_is_no_feature(kind, settings, data, tmp_path):
    encoder = odd.write(tmp_path / kind, kind, **settings)
    asked = small.experiment(data, encoder=str(encoder), method="svm", max_length=MAX_LENGTH)
    with pytest.raises(ValueError, match="must read a sentence from a token that sees all others"):
        prepare(asked, device="cpu")
    prepare(small.experiment(data, encoder=str(encoder), method="svm", pooling="mean", max_length=MAX_LENGTH))


@pytest.mark.parametrize(
    ("kind", "first", "most"),
    [("longformer", 1, 63), ("mpnet", 1, 63), ("modernbert", 0, 64), ("deberta-v2", 0, 64), ("funnel", 0, None)],
)
def test_positions_are_counted_as_the_architecture_does(kind, first, most, folder):
    encoder = load_encoder(str(odd.write(folder / f"positions-{kind}", kind)))
    pad = encoder.tokenizer.pad_token_id
    assert (encoder.first_position, encoder.max_positions) == ((pad + 1, 64 - pad - 1) if first else (0, most))
    if most is None:
        encoder.check_length(10**6)
        assert "any number of positions" in as_text(probe(["a film"], encoder=str(encoder.path), device="cpu"))
    else:
        with pytest.raises(ValueError, match="max_length must be at most"):
            encoder.check_length(encoder.max_positions + 1)


def test_token_types_that_are_not_passed_are_refused(data, tmp_path):
    tokenizer = word_tokenizer(model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:2 $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    encoder = odd.write(tmp_path / "bert", "bert", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="whose tokenizer gives types 0, 2"):
        prepare(small.experiment(data, encoder=str(encoder), max_length=MAX_LENGTH), device="cpu")


# Sentences


def test_a_token_without_a_row_is_refused_where_it_occurs(data, tmp_path):
    encoder = odd.write(tmp_path / "mine", "bert")
    rows = odd.rows(encoder)
    tokenizer = load_encoder(str(encoder)).tokenizer
    tokenizer.add_tokens(["never-seen"])
    tokenizer.save_pretrained(encoder)
    asked = small.experiment(data, encoder=str(encoder), max_length=MAX_LENGTH)
    prepare(asked, device="cpu")
    tokenizer.add_tokens(["a fine"])
    tokenizer.save_pretrained(encoder)
    with pytest.raises(
        ValueError, match=rf"{rows} rows of embeddings for {rows + 2} entries .*: sentence \d+ holds 'a fine'"
    ):
        prepare(asked, device="cpu")


def test_padding_without_a_row_is_refused(data, tmp_path):
    encoder = odd.write(tmp_path / "mine", "bert")
    tokenizer = load_encoder(str(encoder)).tokenizer
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    tokenizer.save_pretrained(encoder)
    with pytest.raises(ValueError, match=rf"whose padding token is number {odd.rows(encoder)}, with"):
        prepare(small.experiment(data, encoder=str(encoder), max_length=MAX_LENGTH), device="cpu")


@pytest.mark.parametrize("method", ["svm", "full"])
def test_sentences_of_no_tokens_and_first_tokens_that_are_words(method, data, tmp_path):
    encoder = odd.write(tmp_path / "mine", "bert", tokenizer=word_tokenizer(special=False))
    asked = small.experiment(data, encoder=str(encoder), method=method, max_length=MAX_LENGTH)
    if method == "svm":
        with pytest.raises(ValueError, match=r"pooling 'cls' needs .* mean would do"):
            prepare(asked, device="cpu")
        return
    prepare(asked, device="cpu")
    spoilt = small.data_folder(tmp_path / "data")
    with (spoilt / "test.csv").open("a") as file:
        file.write("\u200b,positive\n")
    tokenizer = json.loads((encoder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "\u200b"}, "content": ""}
    (encoder / "tokenizer.json").write_text(json.dumps(tokenizer))
    asked = small.experiment(spoilt, encoder=str(encoder), max_length=MAX_LENGTH)
    with pytest.raises(ValueError, match=r"dataset \(its test split\) must hold sentences of at least one token; got"):
        prepare(asked, device="cpu")
