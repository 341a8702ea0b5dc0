"""What is cut out of train: every sentence once, equal ones together, stratified, and the same each time."""

from collections import Counter

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.data import Split
from rtlab.data.cutting import cut

PARTS = st.sampled_from([("validation", "test"), ("validation",), ("test",)])


def key(text):
    return " ".join(text.split())


def rows(split):
    return list(zip(split.texts, split.labels, strict=True))


def numbered(labels):
    return Split(tuple(f"sentence {row}" for row in range(len(labels))), tuple(labels))


def cut_or_none(split, parts):
    try:
        return cut("a.csv", split, parts)
    except ValueError as error:
        assert "too few to cut" in str(error)  # noqa: PT017  # it may be raised or not
        return None


@given(strategies.sentences(), PARTS)
def test_every_sentence_is_in_one_part_in_order_and_equal_ones_are_together(split, parts):
    found = cut_or_none(split, parts)
    if found is None:
        return
    assert list(found) == ["train", *parts]
    assert Counter(row for part in found.values() for row in rows(part)) == Counter(rows(split))
    for part in found.values():
        rest = iter(rows(split))
        assert all(row in rest for row in rows(part))  # in the order of the file
    homes = [{key(text) for text in part.texts} for part in found.values()]
    assert sum(map(len, homes)) == len({key(text) for text in split.texts})
    assert all(len({*found[name].labels}) > 1 for name in parts)


@given(strategies.sentences(), PARTS)
def test_at_least_two_sentences_of_each_class_stay(split, parts):
    found = cut_or_none(split, parts)
    if found is not None:
        left, whole = Counter(found["train"].labels), Counter(split.labels)
        assert all(left[label] >= min(2, count) for label, count in whole.items())


@given(strategies.sentences(), PARTS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing(split, parts, random):
    """Where each sentence has one label: which go is decided by what they are."""
    once = dict(zip(split.texts, split.labels, strict=True))
    once = {key(text): (text, label) for text, label in once.items()}
    texts, labels = zip(*once.values(), strict=True)
    order = random.sample(range(len(texts)), len(texts))
    shuffled = Split(tuple(texts[row] for row in order), tuple(labels[row] for row in order))
    one, other = cut_or_none(Split(texts, labels), parts), cut_or_none(shuffled, parts)
    assert (one is None) == (other is None)
    if one is not None:
        assert all({*rows(one[name])} == {*rows(other[name])} for name in one)


@pytest.mark.parametrize(
    ("labels", "sizes", "classes"),
    [
        ([0, 1] * 5, (6, 2, 2), 2),
        ([0, 1] * 50, (80, 10, 10), 2),
        ([0] * 95 + [1] * 5, (80, 10, 10), 2),
        ([row % 3 for row in range(1000)], (800, 100, 100), 3),
        ([row % 150 for row in range(1500)], (1200, 150, 150), 150),
        ([row % 150 for row in range(600)], (480, 60, 60), 60),
    ],
)
def test_sizes_and_classes(labels, sizes, classes):
    found = cut("a.csv", numbered(labels), ("validation", "test"))
    assert tuple(map(len, found.values())) == sizes
    assert all(len({*found[name].labels}) == classes for name in ("validation", "test"))
    counts, of_test = Counter(labels), Counter(found["test"].labels)
    if min(counts.values()) >= 10:
        assert all(abs(of_test[label] - count / 10) <= 1 for label, count in counts.items())


def test_it_is_the_same_in_every_version():
    """Records of people's own files are compared over years: a change of the cut changes every id of theirs."""
    found = cut("a.csv", numbered([0, 1] * 10), ("validation", "test"))
    assert found["validation"].texts == ("sentence 13", "sentence 14")
    assert found["test"].texts == ("sentence 0", "sentence 1")


def test_a_sentence_that_is_added_moves_few_others():
    before = cut("a.csv", numbered([0, 1] * 100), ("validation", "test"))
    after = cut("a.csv", numbered([0, 1] * 101), ("validation", "test"))
    moved = {*before["test"].texts} - {*after["test"].texts}
    assert len(moved) <= 3


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 1, 1], [0] * 98 + [1] * 2])
def test_too_few_sentences_are_refused(labels):
    with pytest.raises(ValueError, match=r"a\.csv: \d+ sentences \(.*, of the rarest class [12]\) are too few to cut"):
        cut("a.csv", numbered(labels), ("validation", "test"))


def test_equal_sentences_of_all_a_class_stay():
    split = Split(tuple(["same"] * 20 + [f"other {row}" for row in range(20)]), (0,) * 20 + (1,) * 20)
    with pytest.raises(ValueError, match="too few to cut"):
        cut("a.csv", split, ("test",))
