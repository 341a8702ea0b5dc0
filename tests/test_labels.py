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
        (["1,0", "2,0"], "csv", ("1", "2")),
        (["+1", "-1"], "csv", ("-1", "1")),
        (["007", "7", "8"], "csv", ("007", "7", "8")),  # codes, not numbers
        ([True, False], "jsonl", ("false", "true")),
        (["True", "False"], "csv", ("False", "True")),
        (["true", "false"], "csv", ("false", "true")),
        (["yes", "no"], "csv", ("no", "yes")),
        ([" spam", "ham  "], "csv", ("ham", "spam")),
        (["spam ", "ham"], "jsonl", ("ham", "spam")),
        (["NA", "EU", "AS"], "csv", ("AS", "EU", "NA")),  # a name among names in capitals
        (["none", "favor", "against"], "csv", ("against", "favor", "none")),
        (["NONE", "HATE"], "jsonl", ("HATE", "NONE")),
        (["unknown", "good", "bad"], "csv", ("bad", "good", "unknown")),
        (["!", "-"], "csv", ("!", "-")),
        (["?", "!", "."], "csv", ("!", ".", "?")),
        (["très bien", "bien"], "csv", ("bien", "très bien")),
        (["a, b", "c"], "csv", ("a, b", "c")),
        (["5 stars", "10 stars"], "csv", ("10 stars", "5 stars")),
        (["9" * 30, "1"], "csv", ("1", "9" * 30)),
        (["(1)", "(2)"], "csv", ("(1)", "(2)")),
        (["[a]", "[b]"], "csv", ("[a]", "[b]")),
    ],
)
def test_labels_become_classes(tmp_path, labels, form, names):
    splits = loaded(tmp_path, labels, form=form)
    assert splits.label_names == names
    first = {
        text: label for split in splits.items() for text, label in zip(split[1].texts, split[1].labels, strict=True)
    }
    written = [str(label).strip().lower().removesuffix(".0").removesuffix(",0").lstrip("+") for label in labels]
    for row, text in enumerate(TEXTS):
        assert names[first[text]].lower() == written[row % len(labels)]


@pytest.mark.parametrize(
    ("labels", "form", "expected"),
    [
        (["0.5", "1"], "csv", "line 2: label 0.5 is a real number, as for a regression"),
        (["0,5", "1,25"], "csv", "line 2: label 0,5 is a real number"),
        (["1,000", "2,000"], "csv", "line 2: label 1,000 is a real number"),
        ([0.5, 1], "jsonl", "line 1: label 0.5 is a real number"),
        ([float("inf"), 1], "jsonl", "line 1: label inf is a real number"),
        ([[0, 1], [1]], "jsonl", "line 1: several labels a row ([0, 1])"),
        ([{"a": 1}], "jsonl", "line 1: several labels a row ({'a': 1})"),
        (["rude", "toxic", "rude, toxic"], "csv", "line 4: several labels a row ('rude, toxic')"),
        (
            ["a", "b", "A"],
            "csv",
            "a.csv, line 4: labels 'A', 'a' differ in case or spaces alone ('a' in ",
        ),
        (["not ok", "ok", "notok"], "csv", "labels 'not ok', 'notok' differ in case or spaces alone"),
        (["straße", "weg", "STRASSE"], "csv", "labels 'STRASSE', 'straße' differ in case or spaces alone"),
        (["e\u0301t", "\u00e9t", "x"], "csv", "differ in case or spaces alone"),
        (["pos", "neg", "pos\u200b"], "csv", "differ in case or spaces alone"),
        *(
            (["0", "1", word], "csv", f"20 rows without a label (line 4: '{word}'; line 7: '{word}'; …); rows without")
            for word in ("nan", "?", "unknown", "none", "-", "TBD")
        ),
        *(
            (["pos", "neg", word], form, f": '{word}'; …); rows without these, another name where it is a class, or --")
            for word in ("nan", "NaN", "null", "NULL", "None", "NA", "<NA>", "#N/A", "?", "--", "unlabeled")
            for form in ("csv", "jsonl")
        ),
        (["Low", "High", "None"], "csv", "20 rows without a label (line 4: 'None'; line 7: 'None'; …)"),
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


HIDDEN = ("-1", "-1.0", "", "-100", "?", "unknown", "null", "NaN", "None", "N/A", "hidden", "UNK", "-", "NA")


@pytest.mark.parametrize("train", [[0, 1], ["pos", "neg"]], ids=["numbers", "words"])
@pytest.mark.parametrize("hidden", [*((label,) for label in HIDDEN), ("?", "", "unknown")])
def test_a_test_whose_labels_are_hidden_is_replaced_by_validation(tmp_path, train, hidden):
    splits = of_splits(tmp_path, train=train, dev=train, test=hidden)
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


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (
            [0, 1],
            [0, -1],
            "test.csv, line 3: label '-1' is not in train, which has '0', '1'; one of those, or where it ",
        ),
        (["a", "b"], ["a", "unknown"], "it stands for a hidden label no labels in all of test, would do"),
        (
            ["a", "b"],
            ["a", "?"],
            "test.csv: 30 rows without a label (line 3: '?'; line 5: '?'; …); rows without these,",
        ),
        ([-1, 1], [-1, -1], "test.csv: the only label is '-1'; sentences of two or more classes, or"),
        ([0, 1], [0, 0], "test.csv: the only label is '0'; sentences of two or more classes, or no labels where they "),
    ],
)
def test_some_hidden_labels_are_no_hidden_split(tmp_path, train, test, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        of_splits(tmp_path, train=train, dev=train, test=test)
    assert expected in str(caught.value)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_spellings_that_differ_between_splits_are_named_where_they_stand(tmp_path, split):
    labels = dict.fromkeys(("train", "dev", "test"), ("Pos", "Neg")) | {split: ["Pos", "neg"]}
    with pytest.raises(ValueError, match="differ in case") as caught:
        of_splits(tmp_path, **labels)
    assert str(caught.value) == (
        f"{tmp_path / split}.csv, line 3: labels 'Neg', 'neg' differ in case or spaces alone ('Neg' in "
        f"{tmp_path / 'train.csv'}, line 3); one spelling for each class would do"
    )


@pytest.mark.parametrize(("word", "names"), [("none", ("a", "b", "none")), ("NA", ("A", "B", "NA"))])
def test_a_word_that_could_be_missing_is_said_to_be_a_class(tmp_path, word, names):
    splits = loaded(tmp_path, names)
    assert splits.notes[0] == f"Label {word!r} is taken for a class."


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        ([["b"], ["a"]], "jsonl"),
        (["['b']", '["a"]'], "csv"),
        ([[["b"]], "a"], "jsonl"),
        (['["b"]', "['a']"], "jsonl"),
        (["('b',)", "('a',)"], "csv"),
    ],
)
def test_a_list_of_one_label_is_that_label(tmp_path, labels, form):
    splits = loaded(tmp_path, labels, form=form)
    assert splits.label_names == ("a", "b")
    assert splits.notes[0] == "Labels stand in lists of one each."


def test_the_first_list_of_several_is_named(tmp_path):
    for labels, form in (([["a"], ["b"], ["a", "b"]], "jsonl"), (["['a']", "['b']", "['a', 'b']"], "csv")):
        with pytest.raises(ValueError, match=r"line [34]: several labels a row \(\['a', 'b'\]\); one label a row"):
            loaded(tmp_path, labels, form=form)
    with pytest.raises(ValueError, match=r"20 rows without a label \(line 3; line 6; …\)"):
        loaded(tmp_path, [["a"], ["b"], []], form="jsonl")


def test_spaces_and_floats_are_one_class_across_splits(tmp_path):
    splits = of_splits(tmp_path, train=["1", " 2 "], dev=["1.0", "2"], test=["2.0 ", "1"])
    assert splits.label_names == ("1", "2")
    assert splits.test.labels[:2] == (1, 0)
