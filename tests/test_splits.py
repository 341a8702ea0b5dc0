"""Splits: their digest, their reduction to a limit, and what `check` counts."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.data import Checks, Split, Splits, check


def data_set(train, validation=None, test=None, names=("neg", "pos"), **changes):
    """A data set of (text, label) rows; validation and test are train's where they are not given."""
    parts = (Split(*map(tuple, zip(*(rows or train), strict=True))) for rows in (train, validation, test))
    return replace(Splits("made", None, names, *parts), **changes)


ROWS = [("good", 1), ("bad", 0), ("fine", 1), ("dull", 0)]


def test_a_split_has_a_label_for_each_text():
    with pytest.raises(ValueError, match=r"labels: 1 for 2 texts; .* would do"):
        Split(("a", "b"), (0,))


def test_items_are_in_order():
    assert [name for name, _ in data_set(ROWS).items()] == ["train", "validation", "test"]
    assert data_set(ROWS).num_labels == 2
    assert len(data_set(ROWS).train) == 4


def test_import_is_light(run_python):
    heavy = ["torch", "pandas", "datasets", "pyarrow", "huggingface_hub", "numpy"]
    done = run_python("import sys, rtlab.data; print(*{*sys.argv[1:]} & {*sys.modules})", *heavy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


# The digest


def test_the_digest_is_of_contents():
    one, other = data_set(ROWS), data_set(list(ROWS), name="other", revision="abc")
    assert one.sha256 == other.sha256
    assert len(one.sha256) == 64


def test_the_digest_is_the_same_in_every_version():
    """It names records: a change of the encoding makes every stored id stale, so it must be on purpose."""
    assert data_set(ROWS).sha256 == "e4131369763b7925c11cd9872fdeb51fadca743d5ade8b4db8abb9e5a090ff5e"


@given(strategies.splits(max_size=6), st.data())
def test_the_digest_sees_every_text_and_label(splits, data):
    name = data.draw(st.sampled_from(["train", "validation", "test"]))
    old = getattr(splits, name)
    row = data.draw(st.integers(0, len(old) - 1))
    text = data.draw(st.text(max_size=8).filter(lambda text: text != old.texts[row]))
    label = data.draw(st.integers(0, 9).filter(lambda label: label != old.labels[row]))
    for changed in (
        replace(old, texts=(*old.texts[:row], text, *old.texts[row + 1 :])),
        replace(old, labels=(*old.labels[:row], label, *old.labels[row + 1 :])),
        Split((*old.texts, text), (*old.labels, label)),
    ):
        assert replace(splits, **{name: changed}).sha256 != splits.sha256


@given(strategies.splits(max_size=6), st.data())
def test_the_digest_is_not_fooled_by_moved_characters(splits, data):
    """Texts that join to the same string, in adjacent rows, in adjacent splits, or in the class names."""
    whole = data.draw(st.text(min_size=1, max_size=8))
    cut, other = data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2, unique=True))
    pairs = [(whole[:at], whole[at:]) for at in (cut, other)]
    rows = [Split(pair, (0, 0)) for pair in pairs]
    assert len({replace(splits, train=split).sha256 for split in rows}) == 2
    ends = [{"train": Split(pair[:1], (0,)), "validation": Split(pair[1:], (0,))} for pair in pairs]
    assert len({replace(splits, **parts).sha256 for parts in ends}) == 2
    assert len({replace(splits, label_names=pair).sha256 for pair in pairs}) == 2


def test_the_digest_sees_where_a_split_ends():
    one = data_set(ROWS[:2], ROWS[2:] + ROWS[:2], ROWS)
    assert one.sha256 != data_set(ROWS, ROWS[:2], ROWS).sha256


def test_the_digest_takes_any_string():
    assert data_set([("\ud800", 0), ("", 1)]).sha256 != data_set([("\ud801", 0), ("", 1)]).sha256


# The limit


def limits(splits):
    return st.integers(splits.num_labels, 3 * max(len(split) for _, split in splits.items()) // 2 + splits.num_labels)


@given(strategies.splits(), st.data())
def test_a_limited_split_is_a_stratified_part_in_order(splits, data):
    limit = data.draw(limits(splits))
    limited = splits.limited(limit)
    assert (limited.name, limited.revision, limited.label_names) == (splits.name, splits.revision, splits.label_names)
    for (_, whole), (_, part) in zip(splits.items(), limited.items(), strict=True):
        assert len(part) == min(limit, len(whole))
        rows = iter(zip(whole.texts, whole.labels, strict=True))
        assert all(row in rows for row in zip(part.texts, part.labels, strict=True))
        wanted = {label: limit * count / len(whole) for label, count in Counter(whole.labels).items()}
        counts = Counter(part.labels)
        assert counts.keys() == wanted.keys()
        if len(whole) > limit:
            assert all(counts[label] == 1 or counts[label] < share + 1 for label, share in wanted.items())
            if min(wanted.values()) >= 1:
                assert all(abs(counts[label] - share) < 1 for label, share in wanted.items())


@given(strategies.splits(), st.data())
def test_a_limited_split_takes_the_first_of_each_class(splits, data):
    limited = splits.limited(data.draw(limits(splits)))
    for label in range(splits.num_labels):
        whole, part = (
            [text for text, its in zip(each.train.texts, each.train.labels, strict=True) if its == label]
            for each in (splits, limited)
        )
        assert part == whole[: len(part)]


@given(strategies.splits(), st.data())
def test_limiting_is_deterministic(splits, data):
    limit = data.draw(limits(splits))
    assert splits.limited(limit) == replace(splits).limited(limit)
    assert splits.limited(limit).limited(limit) == splits.limited(limit)


def test_a_large_class_leaves_room_for_the_small():
    rows = [(f"a{row}", 0) for row in range(97)] + [("b", 1), ("c", 2), ("d", 2)]
    limited = data_set(rows, names=("a", "b", "c")).limited(10)
    assert limited.train.labels == (0,) * 8 + (1, 2)
    assert limited.train.texts[:2] == ("a0", "a1")


@given(strategies.splits(), st.integers(-3, 4))
def test_a_limit_must_hold_every_class(splits, limit):
    if limit < splits.num_labels:
        with pytest.raises(ValueError, match=rf"^limit {limit}: too few for {splits.num_labels} classes; .* would do$"):
            splits.limited(limit)
    else:
        splits.limited(limit)


# Drawn training sentences


def drawn_rows(splits, sentences, seed):
    """The numbers of the training rows that are drawn; every row tells its own."""
    own = tuple(f"row {row}" for row in range(len(splits.train)))
    return [
        int(text[4:])
        for text in replace(splits, train=Split(own, splits.train.labels)).drawn(sentences, seed=seed).train.texts
    ]


@given(strategies.splits(), st.integers(0, 3), st.data())
def test_drawn_sentences_are_nested_stratified_and_in_order(splits, seed, data):
    labels, most = splits.train.labels, len(splits.train)
    least = len(set(labels))
    fewer, more = sorted(data.draw(st.tuples(*[st.integers(least, most)] * 2)))
    rows = drawn_rows(splits, more, seed)
    assert len(rows) == more
    assert rows == sorted(set(rows))
    assert set(drawn_rows(splits, fewer, seed)) <= set(rows)
    assert {labels[row] for row in rows} == set(labels)
    if min(shares := [more * count / most for count in Counter(labels).values()]) >= 1 and len(shares) == 2:
        assert all(
            abs(Counter(labels[row] for row in rows)[label] - more * count / most) < 1
            for label, count in Counter(labels).items()
        )


@pytest.mark.parametrize("counts", [(2, 5, 5), (2, 6, 9), (97, 1, 2)])
def test_no_class_loses_a_sentence_when_more_are_drawn(counts):
    """By largest remainders the small class of the first two would: of 9 it has fewer than of 8, of 13 than of 12."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    splits = data_set([(str(row), label) for row, label in enumerate(labels)], names=("a", "b", "c"))
    rows = [set(drawn_rows(splits, number, 42)) for number in range(3, len(labels) + 1)]
    assert all(fewer < more for fewer, more in pairwise(rows))


@given(strategies.splits(), st.data())
def test_what_is_drawn_leaves_the_rest_and_the_digest(splits, data):
    number = data.draw(st.integers(len(set(splits.train.labels)), len(splits.train)))
    drawn = splits.drawn(number, seed=7)
    assert drawn == replace(splits).drawn(number, seed=7)
    assert replace(drawn, train=splits.train, drawn_from=None) == splits
    assert drawn.sha256 == splits.sha256
    assert splits.drawn(len(splits.train), seed=7).train == splits.train


DRAWN = [2, 16, 17, 18, 19]  # what ids of runs stand for: it never changes


def test_the_seed_draws_and_does_so_in_every_version():
    splits = data_set([(str(row), row % 2) for row in range(20)])
    assert drawn_rows(splits, 5, 42) == DRAWN
    assert drawn_rows(splits, 5, 43) != DRAWN


@pytest.mark.parametrize("number", [-1, 0, 2, 101, 2**70])
def test_a_draw_must_hold_every_class_and_no_more_than_there_is(number):
    rows = [(f"a{row}", 0) for row in range(97)] + [("b", 1), ("c", 2), ("d", 2)]
    splits = data_set(rows, names=("a", "b", "c"))
    range_ = "at least 3, one of each class" if number < 3 else "at most 100, all there are"
    with pytest.raises(ValueError, match=rf"^train_sentences must be {range_}; got {number}$"):
        splits.drawn(number, seed=0)
    assert Counter(splits.drawn(50, seed=0).train.labels) == {0: 48, 1: 1, 2: 1}


# The checks


def test_checks_count():
    splits = data_set(
        train=[("good", 1), ("good", 0), ("bad", 0), (" \u00a0", 0), ("", 0), ("good", 1)],
        validation=[("good", 1), ("bad", 0), ("bad", 0), ("new", 1)],
        test=[("new", 1), ("é", 0)],
    )
    checks = check(splits)
    assert [name for name, _ in checks.items()] == ["train", "validation", "test"]
    assert [split.size for _, split in checks.items()] == [6, 4, 2]
    assert [split.label_counts for _, split in checks.items()] == [(4, 2), (2, 2), (1, 1)]
    assert [split.empty for _, split in checks.items()] == [2, 0, 0]
    assert [split.duplicates for _, split in checks.items()] == [2, 1, 0]
    assert [split.hub_bytes for _, split in checks.items()] == [6 * 12 + 4 + 4 + 3 + 3 + 0 + 4, 4 * 12 + 13, 2 * 12 + 5]
    assert checks.shared == (("train", "validation", 3), ("train", "test", 0), ("validation", "test", 1))


@given(strategies.splits())
def test_checks_of_anything(splits):
    checks = check(splits)
    assert isinstance(checks, Checks)
    for (_, counted), (_, split) in zip(checks.items(), splits.items(), strict=True):
        assert sum(counted.label_counts) == counted.size == len(split)
        assert counted.duplicates == counted.size - len(set(split.texts))
