"""What `explore` warns of, with examples, and that it is silent where there is nothing."""

import json

import pytest

from rtlab.data import Split, Splits
from rtlab.data.findings import find_warnings

TRAIN = [(f"train sentence {row}", row % 2) for row in range(10)]
VALIDATION = [(f"validation sentence {row}", row % 2) for row in range(4)]
TEST = [(f"test sentence {row}", row % 2) for row in range(4)]


def warnings(train=TRAIN, validation=VALIDATION, test=TEST, *, pieces=5, max_length=8):
    parts = [Split(*map(tuple, zip(*rows, strict=True))) for rows in (train, validation, test)]
    splits = Splits("made", None, ("neg", "pos"), *parts)
    lengths = {name: [pieces] * len(split) for name, split in splits.items()}
    return find_warnings(splits, lengths, max_length)


def test_a_clean_data_set_has_no_warnings():
    assert warnings() == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"test": [*TEST, TRAIN[3], TRAIN[4]]},
            ["2 sentences of test are in train, too, such as 'train sentence 3', 'train sentence 4'."],
        ),
        (
            {"validation": [*VALIDATION, TRAIN[3]], "test": [*TEST, TRAIN[3]]},
            [
                "1 sentence of validation is in train, too, such as 'train sentence 3'.",
                "1 sentence of test is in train, too, such as 'train sentence 3'.",
                "1 sentence of test is in validation, too, such as 'train sentence 3'.",
            ],
        ),
        (
            {"train": [*TRAIN, ("train sentence 3", 0)]},
            [
                "1 sentence occurs with different labels, such as 'train sentence 3'; the first is 'neg' and 'pos'.",
            ],
        ),
        (
            {"train": [*TRAIN, ("...", 0), ("a", 1), ("?", 0)]},
            ["3 sentences of train are nearly empty, such as '...', 'a', '?'."],
        ),
        (
            {"train": [*TRAIN, *((f"more {row}", 1) for row in range(10))]},
            [
                "Imbalance: of 20 sentences of train 15 are 'pos' and 5 'neg'; always saying 'pos' gives an accuracy "
                "of 0.50 on test.",
            ],
        ),
        (
            {"pieces": 10, "test": [("a very long test sentence that goes on " + "and on " * 50, 0)]},
            [
                "10 sentences of train have more than 8 word pieces (100.0%); 20 word pieces are cut (20.0% of all), "
                "such as the end of 'train sentence 0'.",
                "4 sentences of validation have more than 8 word pieces (100.0%); 8 word pieces are cut (20.0% of "
                "all), such as the end of 'validation sentence 0'.",
                "1 sentence of test has more than 8 word pieces (100.0%); 2 word pieces are cut (20.0% of all), such "
                "as the end of 'a very long test sentence that goes on and on and on and …'.",
            ],
        ),
    ],
    ids=["shared", "shared by all", "contradiction", "nearly empty", "imbalance", "too long"],
)
def test_each_kind_is_found(changes, expected):
    assert list(warnings(**changes)) == expected


def test_explore_gives_them_as_text_and_json(rtlab, tmp_path):
    rows = [*TRAIN, *TRAIN[:1]] * 3 + [("train sentence 1", 0)]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    command = ("explore", "--dataset", tmp_path, "--encoder", "tiny-bert", "--max-length", "4")
    found = json.loads(rtlab(*command, "--json", "-").out)["warnings"]
    assert len(found) == 3 + 1 + 3
    text = rtlab(*command).out
    assert all(f"warning: {warning}\n" in text for warning in found)


def test_many_classes_are_rows_of_the_text(rtlab, tmp_path):
    rows = [f"sentence {row},class {row % 20}" for row in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    done = rtlab("explore", "--dataset", tmp_path / "a.csv", "--encoder", "tiny-bert")
    assert [line.split() for line in done.out.splitlines() if line.startswith("class 7 ")] == [
        ["class", "7", "16", "2", "2"]
    ]
    assert max(map(len, done.out.splitlines())) < 160
