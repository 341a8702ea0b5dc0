"""What is said of a saved model on labelled sentences: the numbers, whose labels they are, and where they are kept."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import sklearn.metrics
import small

import rtlab as library
from rtlab.preparing import splits_of
from rtlab.records import load_records
from rtlab.running import model_folder
from rtlab.saved_models.evaluating import evaluate, match_labels
from rtlab.saved_models.evaluation_text import as_text
from rtlab.saved_models.overlap import seen_in_training, sentence_digests
from rtlab.saved_models.predicting import NotFiniteError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models on two classes and on three, with their records and data sets."""
    place, found = tmp_path_factory.mktemp("trained"), {}
    for names in (small.TWO, small.THREE):
        data = small.data_folder(place / f"reviews{len(names)}", names)
        record = library.run(small.experiment(data, method="svm"), output_dir=place, save_model=True, device="cpu")
        found[len(names)] = (model_folder(place, record), data, record)
    return found


def write(path, rows, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_those_of_the_record_and_of_scikit_learn(trained, classes):
    folder, data, record = trained[classes]
    found = evaluate(folder, str(data), output_dir=None, device="cpu", show_errors=100)
    true_N, predicted_N = record.predictions["test"].labels, record.predictions["test"].classes
    assert found.accuracy.value == pytest.approx(record.scores["test"].accuracy)
    assert found.accuracy.over == found.macro_f1.over == "sentences"
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high
    assert found.confusion == tuple(map(tuple, sklearn.metrics.confusion_matrix(true_N, predicted_N).tolist()))
    assert found.macro_f1.value == pytest.approx(sklearn.metrics.f1_score(true_N, predicted_N, average="macro"))
    expected = sklearn.metrics.precision_recall_fscore_support(true_N, predicted_N, zero_division=np.nan)
    for one, precision, recall, f1, support in zip(found.by_class, *expected, strict=True):
        assert one.support == support
        for interval, value in ((one.precision, precision), (one.recall, recall), (one.f1, f1)):
            assert (interval is None) == bool(np.isnan(value))
            assert interval is None or (
                interval.value == pytest.approx(value) and interval.low <= value <= interval.high
            )
    assert (found.model.id, found.dataset.split, found.dataset.sentences) == (record.id, "test", len(true_N))
    assert len(found.errors) == (true_N != predicted_N).sum()


def test_the_errors_are_wrong_the_surest_first_and_say_where_they_stand(trained):
    folder, data, _ = trained[3]
    every = evaluate(folder, str(data), output_dir=None, show_errors=100).errors
    assert len(every) > 2
    assert [one.probability for one in every] == sorted((one.probability for one in every), reverse=True)
    texts, labels = small.read(data, "test", small.THREE)
    for one in every:
        row = texts.index(one.text)
        assert (one.place, one.label) == (f"test.csv, line {row + 2}", small.THREE[labels[row]])
        assert one.predicted != one.label
    assert evaluate(folder, str(data), output_dir=None, show_errors=2).errors == every[:2]
    assert evaluate(folder, str(data), output_dir=None, show_errors=0).errors == ()


def test_labels_are_matched_by_name(trained, tmp_path):
    folder, data, _ = trained[2]
    texts, labels = small.read(data, "test")
    names = {"of another case": ("NEGATIVE", "Positive"), "as they are": small.TWO}
    found = [
        evaluate(
            folder,
            str(write(tmp_path / "mine.csv", [(t, called[i]) for t, i in zip(texts, labels, strict=True)])),
            output_dir=None,
        )
        for called in names.values()
    ]
    assert found[0].labels == {"NEGATIVE": "negative", "Positive": "positive"}
    assert found[1].labels == {"negative": "negative", "positive": "positive"}
    assert found[0].confusion == found[1].confusion
    assert found[0].dataset.split == "all"
    assert "No splits are named: all sentences are evaluated." in found[0].dataset.notes


@pytest.mark.parametrize(
    ("names", "known", "expected"),
    [
        (["a", "B"], ["A", "b"], {"a": "A", "B": "b"}),
        (["a"], ["a", "A"], {"a": "a"}),
        (["5", "20"], ["20", "5"], {"5": "5", "20": "20"}),
        (["stra\u00dfe"], ["STRASSE", "x"], {"stra\u00dfe": "STRASSE"}),
        (["a", "c"], ["a", "b"], "label 'c'; it knows 'a', 'b'"),
        (["\u00c4"], ["\u00e4", "\u00c4\u00c4"], {"\u00c4": "\u00e4"}),
        (["x"], ["X", "\uff38", "y"], {"x": "X"}),
        (["yes"], ["YES", "Yes"], "label 'yes'"),
        (["0"], ["negative", "positive"], "label '0'; it knows 'negative', 'positive'"),
    ],
)
def test_which_label_is_which_class(names, known, expected):
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            match_labels(names, known, "dataset 'x'")
    else:
        assert match_labels(names, known, "dataset 'x'") == expected


def test_a_file_may_lack_classes(trained, tmp_path):
    folder, _, _ = trained[3]
    file = write(tmp_path / "one.csv", [("a fine film", "good"), ("a dull film", "good")])
    found = evaluate(folder, str(file), output_dir=None)
    bad, fair, good = found.by_class
    assert (bad.support, fair.support, good.support) == (0, 0, 2)
    assert (bad.recall, fair.recall) == (None, None)
    assert found.macro_f1.value == pytest.approx(good.f1.value), "over the classes that the file has"
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()
    assert "–" in as_text(found)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("a", "mixed")], ("text", "label"), r"does not know the label 'mixed'; it knows 'negative', 'positive'"),
        ([("a", "negative"), ("", "positive")], ("text", "label"), r"1 row without a text \(line 3\)"),
        ([("a", ""), ("b", "")], ("text", "label"), r"no labels; a column of labels would do"),
        ([], ("text", "label"), r"no sentences"),
        ([("a film",)], ("text",), r"no column 'label'"),
    ],
)
def test_what_cannot_be_evaluated(trained, tmp_path, rows, header, message):
    file = write(tmp_path / "mine.csv", rows, header)
    with pytest.raises(ValueError, match=message):
        evaluate(trained[2][0], str(file), output_dir=tmp_path / "results")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_split_that_is_asked_for(trained, tmp_path):
    folder, data, _ = trained[2]
    assert evaluate(folder, str(data), split="validation", output_dir=None).dataset.split == "validation"
    texts = [f"sentence {number} of many" for number in range(40)]
    file = write(tmp_path / "mine.csv", [(text, small.TWO[number % 2]) for number, text in enumerate(texts)])
    held_out = library.load_splits(str(file)).test
    found = evaluate(folder, str(file), split="test", output_dir=None, show_errors=40)
    assert found.dataset.sentences == len(held_out), "what a training run would hold out"
    assert {one.text for one in found.errors} <= set(held_out.texts)
    assert evaluate(folder, str(file), output_dir=None).dataset.sentences == 40
    (tmp_path / "data").mkdir()
    file.rename(tmp_path / "data" / "train.csv")
    assert evaluate(folder, str(tmp_path / "data"), output_dir=None).dataset.sentences == len(held_out), (
        "by default too"
    )
    with pytest.raises(ValueError, match="split must be one of train, validation, test; got 'dev'"):
        evaluate(folder, str(data), split="dev", output_dir=None)


def test_sentences_that_the_model_was_trained_on_are_known_again(trained, tmp_path):
    """By what they are, under any name and in any order; some of them as long as the run's data lie there."""
    folder, data, _ = trained[2]

    def notes(dataset, model=folder, **options):
        return evaluate(model, str(dataset), output_dir=None, **options).dataset.notes

    assert notes(data) == ()
    assert notes(data, split="validation") == ()
    whole = "All of these sentences are among those that the model was trained on: scores of them are too high."
    assert whole in notes(data, split="train")
    texts, labels = small.read(data, "train")
    rows = [(text, small.TWO[label]) for text, label in zip(texts, labels, strict=True)]
    renamed = write(tmp_path / "other.csv", rows[::-1])
    assert whole in notes(renamed)
    some = write(tmp_path / "some.csv", [*rows[:3], ("quite another film", "positive")])
    said = "3 of these 4 sentences are among those that the model was trained on: scores of them are too high; --split"
    assert any(note.startswith(said) for note in notes(some))
    moved = shutil.copytree(folder, tmp_path / "moved")
    description = json.loads((moved / "rtlab.json").read_text())
    description["experiment"]["dataset"] = str(tmp_path / "no-more" / data.name)
    (moved / "rtlab.json").write_text(json.dumps(description))
    assert whole in notes(renamed, moved)
    assert not any("trained on" in note for note in notes(some, moved))
    del description["sentences"]  # as models were saved before
    (moved / "rtlab.json").write_text(json.dumps(description))
    assert notes(data, moved, split="train")[0].startswith("The model was trained on a data set of this name, reviews2")
    assert notes(data, moved) == ()


def test_only_sentences_that_were_drawn_are_known_again(tmp_path):
    data = small.data_folder(tmp_path / "reviews")
    drawn = dataclasses.replace(small.experiment(data, "svm"), train_sentences=10, seed=3)
    splits = splits_of(drawn)
    texts, _ = small.read(data, "train")
    assert len(splits.train) == 10
    assert seen_in_training(texts, str(data), drawn, sentence_digests(splits)) == 10
    assert seen_in_training(splits.train.texts[:4], str(data), drawn, sentence_digests(splits)) == 4


def test_a_result_is_added_beside_the_records_and_names_no_folder(trained, tmp_path):
    folder, data, record = trained[2]
    results = tmp_path / "results"
    found = [evaluate(str(folder), str(data), output_dir=results) for _ in range(2)]
    files = sorted((results / "evaluations").iterdir())
    assert len(files) == 2
    assert {path.name.partition("-")[0] for path in files} == {record.id}
    assert [json.loads(path.read_text()) for path in files] == [found[0].to_json()] * 2 or found[0] != found[1]
    assert all(str(data.parent) not in path.read_text() for path in files)
    assert load_records(results / "records") == ((), {})
    assert sorted(path.name for path in results.iterdir()) == ["evaluations"]


def test_digests_follow_what_is_evaluated(trained, tmp_path):
    folder, _, _ = trained[2]
    rows = [("a", "negative"), ("b", "positive")]
    digests = {
        evaluate(folder, str(write(tmp_path / name, these)), output_dir=None).dataset.sha256
        for name, these in (
            ("x.csv", rows),
            ("y.csv", rows),
            ("z.csv", rows[::-1]),
            ("w.csv", [("a", "positive"), ("b", "negative")]),
        )
    }
    assert len(digests) == 3


def test_scores_that_are_not_finite_leave_nothing(trained, tmp_path, monkeypatch):
    folder, data, _ = trained[2]
    monkeypatch.setattr(
        "rtlab.saved_models.opening.EncoderModel.logits", lambda _, tokens: np.full((len(tokens), 2), np.inf)
    )
    with pytest.raises(NotFiniteError, match=r"scores of test.csv, line 2 are not finite"):
        evaluate(folder, str(data), output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


# The command line


def test_evaluate(rtlab, trained, tmp_path):
    folder, data, record = trained[3]
    done = rtlab("evaluate", "--model", folder, "--dataset", data, "--show-errors", 1, "--json", "found.json")
    assert done.status == 0
    [file] = (tmp_path / "results" / "evaluations").iterdir()
    said = json.loads((tmp_path / "found.json").read_text())
    assert said == json.loads(file.read_text())
    assert (said["model"]["id"], len(said["errors"])) == (record.id, 1)
    assert done.out.endswith(f"\nevaluation  {file.relative_to(tmp_path)}\n")
    for word in ("accuracy  0.", "macro-F1  0.", "bad ", "precision", "is \\ predicted", "probability"):
        assert word in done.out
    assert done.err.splitlines() == ["evaluating 20/20"]


def test_evaluate_says_what_was_assumed_and_prints_what_is_harmless(rtlab, trained, tmp_path):
    rows = [("a \x1b[31m fine\u202e film", name) for name in small.THREE]
    write(tmp_path / "mine.csv", rows, ("review", "stars"))
    done = rtlab("evaluate", "--model", trained[3][0], "--dataset", "mine.csv")
    assert done.status == 0
    assert "rtlab: Texts are column 'review'." in done.err
    assert done.out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--model", "nowhere"], "--model must be a directory that rtlab"),
        (["--dataset", "nowhere"], "--dataset 'nowhere': no such file or directory"),
        (["--show-errors", "-1"], "--show-errors must be a whole number of at least 0; got -1"),
        (["--output-dir", "file"], "--output-dir must be a directory; got file, where file is a file"),
        (["--text-column", "nope"], "--text-column must be a column of"),
    ],
)
def test_a_wrong_request_is_one_line(rtlab, trained, tmp_path, given, message):
    (tmp_path / "file").write_text("")
    folder, data, _ = trained[2]
    done = rtlab("evaluate", "--model", folder, "--dataset", data, *given)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtlab: {message}")
    assert len(done.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_model_without_scores_is_a_failure(rtlab, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rtlab.saved_models.opening.EncoderModel.logits", lambda _, tokens: np.full((len(tokens), 2), np.nan)
    )
    folder, data, _ = trained[2]
    done = rtlab("evaluate", "--model", folder, "--dataset", data)
    assert (done.status, done.out, list(tmp_path.iterdir())) == (1, "", [])
    assert done.err.startswith("rtlab: the model's scores of test.csv, line 2 are not finite")
