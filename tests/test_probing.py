"""What tokenizer and encoder make of sentences: special tokens, padding, truncation, shapes, parameters."""

import dataclasses
import json
import logging

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rtlab.encoders import Encoder, load_encoder
from rtlab.probing import MAX_LENGTH, SENTENCES, as_text, probe

CLS, SEP, PAD = 101, 102, 0  # BERT's uncased vocabulary
TINY = ("tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra")


@pytest.fixture(scope="module")
def found():
    return probe(encoder="minilm")


@pytest.fixture(scope="module")
def uncut():
    """Ids of the whole sentences, by the tokenizer alone."""
    tokenizer = AutoTokenizer.from_pretrained(load_encoder("minilm").path)
    return [tokenizer(text)["input_ids"] for text in SENTENCES]


def real(sentence):
    """The ids that are no padding."""
    return [index for index, kept in zip(sentence.input_ids, sentence.attention_mask, strict=True) if kept]


def test_every_sentence_begins_with_cls_and_ends_with_sep(found):
    for sentence in found.sentences:
        ids = real(sentence)
        assert (ids[0], ids[-1]) == (CLS, SEP)
        assert not {CLS, SEP, PAD} & set(ids[1:-1])
    assert dict(found.special_tokens)["cls_token"] == ("[CLS]", CLS)
    assert dict(found.special_tokens)["sep_token"] == ("[SEP]", SEP)
    assert dict(found.special_tokens)["pad_token"] == ("[PAD]", PAD)


def test_ids_and_tokens_are_the_vocabularys(found):
    first = found.sentences[0]
    assert first.text == SENTENCES[0]
    assert real(first) == [101, 1037, 5168, 3048, 2143, 2008, 7796, 2015, 2296, 7697, 1012, 102]
    assert " ".join(first.tokens[:12]) == "[CLS] a quietly moving film that earn ##s every tear . [SEP]"
    assert found.vocabulary_size == 30_522


def test_padding_goes_to_the_longest_and_is_masked(found):
    kept = [sum(sentence.attention_mask) for sentence in found.sentences]
    assert kept == [12, 12, 16, 32]
    for sentence, number in zip(found.sentences, kept, strict=True):
        padding = 32 - number
        assert sentence.attention_mask == (1,) * number + (0,) * padding
        assert sentence.input_ids[number:] == (PAD,) * padding
        assert sentence.tokens[number:] == ("[PAD]",) * padding


def test_only_the_longest_is_cut_and_keeps_its_sep(found, uncut):
    assert [sentence.word_pieces for sentence in found.sentences] == [len(ids) for ids in uncut] == [12, 12, 16, 34]
    for sentence, ids in zip(found.sentences[:3], uncut, strict=False):
        assert real(sentence) == ids
    assert real(found.sentences[3]) == [*uncut[3][: MAX_LENGTH - 1], SEP]


def test_nothing_is_cut_where_there_is_room(uncut):
    found = probe(encoder="minilm", max_length=100)
    assert [real(sentence) for sentence in found.sentences] == uncut
    assert found.hidden_shape == (4, 34, 384)


def test_the_hidden_state_has_a_vector_for_every_token(found):
    assert found.hidden_shape == (4, 32, 384)
    assert probe(["dull"], encoder="minilm").hidden_shape == (1, 3, 384)
    assert probe(["dull", "a dull film"], encoder="tiny-bert").hidden_shape == (2, 5, 64)


def test_distilbert_has_768_features_and_its_known_parameters():
    found = probe(["dull"], encoder="distilbert-random")
    assert found.hidden_shape == (1, 3, 768)
    assert found.max_positions == 512
    assert found.parameters == {
        "encoder: embeddings": 23_835_648,  # (30,522 + 512 + 2) × 768
        "encoder: transformer": 42_527_232,  # 6 × 7,087,872
        "head: pre_classifier": 590_592,
        "head: classifier": 1_538,
        "all": 66_955_010,  # as the field knows DistilBertForSequenceClassification
    }


def test_the_parameters_of_a_bert(found):
    assert found.parameters == {
        "encoder: embeddings": (30_522 + 512 + 2 + 2) * 384,
        "encoder: encoder": 10_646_784,
        "encoder: pooler": 384 * 385,
        "head: classifier": 2 * 385,
        "all": 22_713_986,
    }


@pytest.mark.parametrize("name", TINY)
def test_the_parts_add_up_to_the_model(name):
    found = probe(["a dull film ."], encoder=name)
    model = AutoModelForSequenceClassification.from_pretrained(load_encoder(name).path, num_labels=2)
    parts = dict(found.parameters)
    everything = parts.pop("all")
    assert everything == sum(parameter.numel() for parameter in model.parameters())
    assert sum(parts.values()) == everything
    assert all(parts.values())
    assert {part.partition(":")[0] for part in parts} == {"encoder", "head"}
    head = sum(p.numel() for n, p in model.named_parameters() if not n.startswith(model.base_model_prefix))
    assert sum(number for part, number in parts.items() if part.startswith("head: ")) == head
    assert found.hidden_shape == (1, 6, 64)


def test_the_encoder_is_given_the_mask(monkeypatch):
    """Without it padding would be read, and the short sentence's vectors would be others than they are alone."""
    seen = []
    classifier = Encoder.classifier

    def watched(encoder, label_names):
        model = classifier(encoder, label_names)
        model.base_model.register_forward_hook(
            lambda _module, _arguments, inputs, outputs: seen.append((inputs, outputs.last_hidden_state)),
            with_kwargs=True,
        )
        return model

    monkeypatch.setattr(Encoder, "classifier", watched)
    probe(["dull", "a long and dull film about a boxer ."], encoder="tiny-distilbert")
    probe(["dull"], encoder="tiny-distilbert")
    (batch, batch_BLD), (_, alone_BLD) = seen
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * 8, [1] * 11]
    torch.testing.assert_close(batch_BLD[0, :3], alone_BLD[0], rtol=0, atol=1e-5)


def test_long_sentences_are_no_reason_to_warn(caplog):
    transformers = logging.getLogger("transformers")
    transformers.addHandler(caplog.handler)
    try:
        found = probe(["dull " * 600], encoder="tiny-bert")
    finally:
        transformers.removeHandler(caplog.handler)
    assert found.sentences[0].word_pieces == 602
    assert caplog.messages == []


@pytest.mark.parametrize("max_length", [-1, 0, 2, 513])
def test_max_length_lies_within_the_positions(max_length):
    with pytest.raises(ValueError, match=rf"^max_length must lie in 3 … 512 for encoder tiny-bert; got {max_length}$"):
        probe(encoder="tiny-bert", max_length=max_length)


@pytest.mark.parametrize(("max_length", "tokens"), [(3, 3), (512, 512)])
def test_the_ends_of_the_positions_are_within(max_length, tokens):
    found = probe(["dull " * 600], encoder="tiny-roberta", max_length=max_length)
    assert found.hidden_shape == (1, tokens, 64)


def test_without_sentences_there_is_nothing_to_probe():
    with pytest.raises(ValueError, match=r"^sample_text must hold at least one sentence; got none$"):
        probe([], encoder="tiny-bert")


def test_the_text_shows_rows_shape_and_parameters():
    text = as_text(
        probe(["a dull film .", "dull", "a dull film about a boxer and a car ."], encoder="minilm", max_length=8)
    )
    assert text.startswith("minilm: 30,522 tokens, up to 512 positions\nspecial tokens: ")
    assert "[CLS] 101" in text.splitlines()[1]
    assert "[SEP] 102" in text.splitlines()[1]
    assert (
        "dull\n"
        "  3 tokens; 5 of padding\n"
        "  tokens          [CLS] dull [SEP] [PAD] [PAD] [PAD] [PAD] [PAD]\n"
        "  input_ids       101 10634 102 0 0 0 0 0\n"
        "  attention_mask  1 1 1 0 0 0 0 0\n"
    ) in text
    assert (
        "\n  12 tokens, 4 cut off at 8; 0 of padding\n  tokens          [CLS] a dull film about a boxer [SEP]\n" in text
    )
    assert "\nhidden state: (3, 8, 384) (sentences, tokens, hidden size)\n" in text
    assert text.splitlines()[-1].split() == ["all", "22,713,986"]


def test_the_text_names_a_special_token_once():
    """RoBERTa's tokenizers give one token two roles."""
    found = probe(["dull"], encoder="tiny-roberta")
    twice = {**found.special_tokens, "bos_token": found.special_tokens["cls_token"]}
    assert as_text(dataclasses.replace(found, special_tokens=twice)).splitlines()[1].count("<s> 0") == 1


def test_the_command_line_says_the_same(found, rtlab):
    done = rtlab("probe", "--encoder", "minilm")
    assert (done.status, done.out, done.err) == (0, as_text(found) + "\n", "")
    done = rtlab("probe", "--encoder", "minilm", "--json", "-")
    assert json.loads(done.out) == json.loads(json.dumps(found.to_json()))
    assert json.loads(done.out)["sentences"][0]["input_ids"][:2] == [101, 1037]


def test_sentences_and_length_come_from_the_command_line(rtlab):
    given = ("--sample-text", "a dull film", "never a dull one .", "--max-length", "5")
    done = rtlab("probe", "--encoder", "tiny-distilbert", *given, "--json", "-")
    said = json.loads(done.out)
    assert [sentence["text"] for sentence in said["sentences"]] == ["a dull film", "never a dull one ."]
    assert [sentence["attention_mask"] for sentence in said["sentences"]] == [[1] * 5] * 2
    assert (said["max_length"], said["hidden_shape"]) == (5, [2, 5, 64])
