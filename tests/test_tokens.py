"""Sentences as flat token arrays, and as a `DatasetDict`."""

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtlab.data import Split, Splits, corpus
from rtlab.dataset_dict import dataset_dict
from rtlab.encoders import load_encoder
from rtlab.tokens import Tokens, token_arrays, token_lists, tokenize

TEXTS = ("a good film .", "", "not the best film in this long , long year !", "unheard-of wörds 🎬", "good")
WORDS = st.sampled_from((*corpus.vocabulary()[:50], "unheard", "GOOD", "é", ".", " ", "\x85"))
SENTENCES = st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=8)


@pytest.fixture(scope="module", params=["tiny-bert", "tiny-roberta"])
def tokenizer(request):
    return load_encoder(request.param).tokenizer


@pytest.fixture(scope="module")
def splits():
    texts, labels = corpus.generate(12, seed=3)
    parts = (Split(texts[at : at + 4], labels[at : at + 4]) for at in (0, 4, 8))
    return Splits("made", None, ("negative", "positive"), *parts)


def alone(text, tokenizer, max_length=512):
    """One sentence's token ids, tokenized without the others: the slow reference."""
    return tokenizer(text, truncation=True, max_length=max_length)["input_ids"]


def rows(tokens):
    """Token ids of each sentence, cut out of the flat array."""
    return [tokens.ids[begin:end].tolist() for begin, end in zip(tokens.offsets, tokens.offsets[1:], strict=False)]


@settings(max_examples=50)
@given(texts=SENTENCES, max_length=st.integers(3, 20))
def test_the_flat_array_holds_each_sentences_own_tokens(tokenizer, texts, max_length):
    tokens = token_arrays(texts, tokenizer, max_length)
    expected = [alone(text, tokenizer, max_length) for text in texts]
    assert rows(tokens) == expected == (token_lists(texts, tokenizer, max_length) if texts else [])
    assert tokens.lengths.tolist() == [len(ids) for ids in expected]
    assert len(tokens) == len(texts)
    assert tokens.offsets[0] == 0
    assert tokens.offsets[-1] == len(tokens.ids)


def test_the_types_are_the_stated_ones(tokenizer):
    for texts in (TEXTS, ()):
        tokens = token_arrays(texts, tokenizer, 512)
        assert (tokens.ids.dtype, tokens.offsets.dtype, tokens.labels.dtype) == (np.int32, np.int64, np.int64)
        assert (tokens.ids.ndim, tokens.offsets.shape) == (1, (len(texts) + 1,))
        assert tokens.lengths.dtype == np.int64


def test_labels_are_kept_and_are_0_where_none_are_given(tokenizer):
    assert token_arrays(TEXTS, tokenizer, 512, labels=(2, 0, 1, 1, 0)).labels.tolist() == [2, 0, 1, 1, 0]
    assert token_arrays(TEXTS, tokenizer, 512).labels.tolist() == [0] * 5
    assert token_arrays([], tokenizer, 512).labels.tolist() == []


def test_an_empty_sentence_is_its_special_tokens(tokenizer):
    assert rows(token_arrays([""], tokenizer, 512)) == [[tokenizer.cls_token_id, tokenizer.sep_token_id]]


def test_truncation_keeps_the_first_word_pieces_between_the_special_tokens(tokenizer):
    [whole] = rows(token_arrays(TEXTS[2:3], tokenizer, 512))
    [cut] = rows(token_arrays(TEXTS[2:3], tokenizer, 5))
    assert cut == [*whole[:4], tokenizer.sep_token_id]
    assert len(whole) > 5


def test_the_three_splits_are_tokenized_each_with_its_labels(splits, tokenizer):
    tokenized = tokenize(splits, tokenizer, max_length=16)
    for name, split in splits.items():
        tokens = getattr(tokenized, name)
        assert isinstance(tokens, Tokens)
        assert rows(tokens) == [alone(text, tokenizer, 16) for text in split.texts]
        assert tokens.labels.tolist() == list(split.labels)


# The DatasetDict


def test_the_dataset_dict_has_the_labs_columns(splits, tokenizer):
    data = dataset_dict(splits, tokenizer, max_length=512)
    assert list(data) == ["train", "validation", "test"]
    for name, split in splits.items():
        columns = data[name]
        assert columns.column_names == ["text", "label", "input_ids", "attention_mask"]
        assert columns["text"][:] == list(split.texts)
        assert columns["label"][:] == list(split.labels)
        assert columns["input_ids"][:] == [alone(text, tokenizer) for text in split.texts]
        assert columns["attention_mask"][:] == [[1] * len(ids) for ids in columns["input_ids"]]
        assert columns.features["label"].names == ["negative", "positive"]


def test_fixed_padding_is_to_the_maximum_and_masked(splits, tokenizer):
    data = dataset_dict(splits, tokenizer, max_length=40, padding="fixed")
    for name, split in splits.items():
        for text, ids, mask in zip(split.texts, data[name]["input_ids"], data[name]["attention_mask"], strict=True):
            real = alone(text, tokenizer, 40)
            missing = 40 - len(real)
            assert ids == real + [tokenizer.pad_token_id] * missing
            assert mask == [1] * len(real) + [0] * missing


def test_both_forms_are_cut_at_the_same_length(splits, tokenizer):
    data = dataset_dict(splits, tokenizer, max_length=7)
    assert data["train"]["input_ids"][:] == rows(tokenize(splits, tokenizer, max_length=7).train)
    assert {len(ids) for ids in data["train"]["input_ids"]} <= set(range(8))


def test_padding_leaves_no_trace_in_the_tokenizer(splits, tokenizer):
    before = rows(token_arrays(TEXTS, tokenizer, 512))
    dataset_dict(splits, tokenizer, max_length=9, padding="fixed")
    assert rows(token_arrays(TEXTS, tokenizer, 512)) == before
    assert dataset_dict(splits, tokenizer, max_length=512)["test"]["input_ids"][0] == alone(
        splits.test.texts[0], tokenizer
    )


@pytest.mark.parametrize("padding", ["none", "fixed"])
def test_the_dataset_dict_is_saved_and_loaded(splits, tokenizer, tmp_path, padding):
    data = dataset_dict(splits, tokenizer, max_length=30, padding=padding)
    data.save_to_disk(str(tmp_path / "data"))
    loaded = datasets.load_from_disk(str(tmp_path / "data"))
    for name, split in data.items():
        assert loaded[name].features == split.features
        assert loaded[name].to_dict() == split.to_dict()


def test_any_number_of_classes_will_do(tokenizer):
    part = Split(("good", "bad", "so so"), (2, 0, 1))
    data = dataset_dict(Splits("made", None, ("bad", "middling", "good"), part, part, part), tokenizer, max_length=8)
    assert data["test"].features["label"].names == ["bad", "middling", "good"]
    assert data["test"]["label"][:] == [2, 0, 1]
