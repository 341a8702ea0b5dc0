"""Labels as people write them, and the classes that they are."""

import csv
import json
from pathlib import Path

import pytest

from rtlab.data import load_splits

TEXTS = [f"sentence number {row}" for row in range(60)]


def loaded(folder: Path, labels, *, form="csv"):
    """A file of sentences that bear these labels in turn."""
    rows = [{"text": text, "label": labels[row % len(labels)]} for row, text in enumerate(TEXTS)]
    path = folder / f"a.{form}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if form == "csv":
            csv.writer(file).writerows([("text", "label"), *(row.values() for row in rows)])
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return load_splits(str(path))


@pytest.mark.parametrize(
    ("labels", "form", "names"),
    [
        ([2, 1], "csv", ("1", "2")),
        ([-1, 1], "csv", ("-1", "1")),
        ([1, 0, -1], "jsonl", ("-1", "0", "1")),
        ([20, 5], "csv", ("5", "20")),
        ([20, 5], "jsonl", ("5", "20")),
        (["20", "5"], "jsonl", ("5", "20")),
        (["1.0", "2.0", "10.0"], "csv", ("1", "2", "10")),
        ([1.0, 2.0, 10.0], "jsonl", ("1", "2", "10")),
        (["1", "2.0"], "csv", ("1", "2")),
        ([1, 2.0], "jsonl", ("1", "2")),
        (["+1", "-1"], "csv", ("-1", "1")),
        (["007", "7", "8"], "csv", ("007", "7", "8")),  # codes, not numbers
        ([True, False], "jsonl", ("false", "true")),
        (["True", "False"], "csv", ("False", "True")),
        (["true", "false"], "csv", ("false", "true")),
        (["yes", "no"], "csv", ("no", "yes")),
        ([" spam", "ham  "], "csv", ("ham", "spam")),
        (["spam ", "ham"], "jsonl", ("ham", "spam")),
        (["NA", "other"], "csv", ("NA", "other")),  # a word among words
        (["très bien", "bien"], "csv", ("bien", "très bien")),
        (["a, b", "c"], "csv", ("a, b", "c")),
        (["5 stars", "10 stars"], "csv", ("10 stars", "5 stars")),
        (["9" * 30, "1"], "csv", ("1", "9" * 30)),
    ],
)
def test_labels_become_classes(tmp_path, labels, form, names):
    splits = loaded(tmp_path, labels, form=form)
    assert splits.label_names == names
    first = {
        text: label for split in splits.items() for text, label in zip(split[1].texts, split[1].labels, strict=True)
    }
    written = [str(label).strip().lower().removesuffix(".0").lstrip("+") for label in labels]
    for row, text in enumerate(TEXTS):
        assert names[first[text]].lower() == written[row % len(labels)]


@pytest.mark.parametrize(
    ("labels", "form", "expected"),
    [
        (["0.5", "1"], "csv", "line 2: label 0.5 is a real number, as for a regression"),
        (["0,5", "1,25"], "csv", "line 2: label 0,5 is a real number"),
        ([0.5, 1], "jsonl", "line 1: label 0.5 is a real number"),
        ([float("inf"), 1], "jsonl", "line 1: label inf is a real number"),
        ([[0, 1], [1]], "jsonl", "line 1: several labels a row ([0, 1])"),
        ([{"a": 1}], "jsonl", "line 1: several labels a row ({'a': 1})"),
        (["rude", "toxic", "rude, toxic"], "csv", "line 4: several labels a row ('rude, toxic')"),
        (
            ["a", "b", "A"],
            "csv",
            "labels 'A', 'a' differ in case or spaces alone; one spelling for each class would do",
        ),
        (["not ok", "ok", "notok"], "csv", "labels 'not ok', 'notok' differ in case or spaces alone"),
        (["straße", "weg", "STRASSE"], "csv", "labels 'STRASSE', 'straße' differ in case or spaces alone"),
        (["e\u0301t", "\u00e9t", "x"], "csv", "differ in case or spaces alone"),
        (["0", "1", "nan"], "csv", "20 rows without a label (line 4; line 7; …)"),
        (["0", "1", "?"], "csv", "20 rows without a label (line 4; line 7; …)"),
        (["a", "b", ""], "csv", "20 rows without a label (line 4; line 7; …)"),
        (["a", "b", " "], "jsonl", "20 rows without a label (line 3; line 6; …)"),
        ([1, "a"], "jsonl", "line 1: labels of two types, 1 and, in "),
        ([1, True], "jsonl", "line 1: labels of two types, 1 and, in "),
        (["a"], "csv", "the only label is 'a'; sentences of two or more classes would do"),
        ([None], "jsonl", "no labels; a label in every row of train would do"),
        ([""], "csv", "no labels; a label in every row of train would do"),
        (
            TEXTS,
            "csv",
            "line 2: the only sentence of class 'sentence number 0' in train (classes with one sentence: 60)",
        ),
    ],
)
def test_labels_that_will_not_do(tmp_path, labels, form, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        loaded(tmp_path, labels, form=form)
    assert expected in str(caught.value)


def of_splits(folder, **labels):
    """A directory of a file for each split, its sentences bearing the given labels in turn."""
    for split, its in labels.items():
        rows = [f"{split} {text},{its[row % len(its)]}\n" for row, text in enumerate(TEXTS)]
        (folder / f"{split}.csv").write_text("text,label\n" + "".join(rows))
    return load_splits(str(folder))


def test_a_test_whose_labels_are_hidden_is_replaced_by_validation(tmp_path):
    for number, hidden in enumerate((["-1"], ["-1.0"], [""])):
        folder = tmp_path / str(number)
        folder.mkdir()
        splits = of_splits(folder, train=[0, 1], dev=[0, 1], test=hidden)
        assert [len(split) for _, split in splits.items()] == [54, 6, 60]
        assert splits.test.texts[0].startswith("dev")
        assert splits.validation.texts[0].startswith("train")
        assert splits.notes[0] == "The labels of test are hidden: validation serves as test."


def test_a_test_without_a_column_of_labels_has_hidden_ones(tmp_path):
    for header, row in (("text", "a good film"), ("index\ttext", "0\ta good film")):
        (tmp_path / "test.tsv").write_text(f"{header}\n{row}\n")
        for name in ("train", "dev"):
            rows = "".join(f"{text}\t{row % 2}\n" for row, text in enumerate(TEXTS))
            (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{rows}")
        assert load_splits(str(tmp_path)).notes[0] == "The labels of test are hidden: validation serves as test."


def test_minus_one_is_a_class_where_train_has_it(tmp_path):
    splits = of_splits(tmp_path, train=[-1, 1], dev=[-1, 1], test=[-1, 1])
    assert (splits.label_names, splits.notes) == (("-1", "1"), ())


def test_hidden_test_and_no_validation(tmp_path):
    splits = of_splits(tmp_path, train=[0, 1], test=[-1])
    assert [len(split) for _, split in splits.items()] == [48, 6, 6]
    assert splits.notes[0] == "The labels of test are hidden: left out."


def test_some_hidden_labels_are_no_hidden_split(tmp_path):
    with pytest.raises(ValueError, match=r"test\.csv, line 3: label '-1' is not in train, which has '0', '1'; one of"):
        of_splits(tmp_path, train=[0, 1], dev=[0, 1], test=[0, -1])


def test_spaces_and_floats_are_one_class_across_splits(tmp_path):
    splits = of_splits(tmp_path, train=["1", " 2 "], dev=["1.0", "2"], test=["2.0 ", "1"])
    assert splits.label_names == ("1", "2")
    assert splits.test.labels[:2] == (1, 0)
