"""A choice as JSON, and back."""

import json

import pytest

from rtlab.choice import Candidate, Choice, Mistake, Suspect, Trial, Undecided, read, read_all
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Words
from rtlab.recipe import Recipe
from rtlab.statistics import Interval

SCORE = Interval(value=0.8, low=0.75, high=0.85, over="sentences")
CHOICE = Choice(
    asked="rtlab choose --dataset mine.csv",
    dataset="mine",
    classes=("a", "b"),
    sentences={"train": 80, "validation": 10, "test": 10},
    encoder="minilm",
    metric="macro-f1",
    margin=0.01,
    budget_s=60.0,
    seconds=59.5,
    folds=5,
    recommended="LoRA",
    cheaper="words",
    better=None,
    candidates=(
        Candidate(
            name="words",
            method="words",
            experiment=Experiment(dataset="mine.csv", method=Words()),
            command="rtlab words",
            status="left out",
            why="no time",
        ),
        Candidate(
            name="LoRA",
            method="lora",
            experiment=Experiment(encoder="minilm", dataset="mine.csv", method=Adapter(recipe=Recipe(engine="native"))),
            command="rtlab lora",
            status="finished",
            why="recommended",
            validation=SCORE,
            test=SCORE,
            seconds=3.5,
            seconds_per_1000=1.0,
            parameters=1000,
            trials=(Trial(sentences=80, epochs=3, seed=42, validation=0.8, seconds=4.0, run="a" * 16),),
        ),
    ),
    undecided=(Undecided(name="words", difference=SCORE, tells="no number", sentences=None, minutes=2.0),),
    interrupted=True,
    warnings=("a word",),
    size=100,
    saved_to="model",
    mistakes=(Mistake(text="t", label="a", predicted="b", probability=0.9),),
    suspects=(Suspect(text="t", label="a", probably="b", probability=0.9),),
)


def test_it_comes_back_as_it_was(tmp_path):
    file = tmp_path / "choice.json"
    file.write_text(json.dumps(CHOICE.to_json(), allow_nan=False))
    assert read(file) == CHOICE


def test_what_people_ask_of_it_is_there():
    fields = CHOICE.to_json()
    recommended = fields["recommended"]
    assert recommended["method"] == "lora"
    assert recommended["scores"]["test"]["value"] == 0.8
    assert (recommended["seconds"], recommended["bytes"], recommended["seconds_per_1000"]) == (3.5, 100, 1.0)
    assert recommended["experiment"]["method"]["kind"] == "adapter"
    assert fields["left_out"] == [{"name": "words", "why": "no time"}]
    assert [one["status"] for one in fields["candidates"]] == ["left out", "finished"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [], "must be an object in which one is recommended"),
        (lambda fields: {**fields, "recommended": None}, "must be an object in which one is recommended"),
        (lambda fields: {**fields, "recommended": {"name": "BERT"}}, "must be the name of a candidate; got 'BERT'"),
        (lambda fields: {**fields, "seconds": "long"}, "choice.seconds must be a finite number"),
        (lambda fields: {**fields, "more": 1}, "more"),
        (lambda fields: {**fields, "candidates": [{}]}, "choice.candidates"),
    ],
)
def test_what_is_no_choice_is_refused_and_named(tmp_path, change, message):
    file = tmp_path / "choice.json"
    file.write_text(json.dumps(change(CHOICE.to_json())))
    with pytest.raises(ValueError, match=rf"choice.json is no readable choice \(.*{message}"):
        read(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no readable choice"):
        read(tmp_path / "choice.json")


def test_the_choices_of_a_folder_are_in_order_of_time_and_bad_files_are_named(tmp_path):
    for name, seconds in (("b-20260102000000", 2.0), ("a-20260103000000", 3.0), ("c-20260101000000", 1.0)):
        folder = tmp_path / "choices" / name
        folder.mkdir(parents=True)
        (folder / "choice.json").write_text(json.dumps({**CHOICE.to_json(), "seconds": seconds}))
    bad = tmp_path / "choices" / "bad-20260101000000" / "choice.json"
    bad.parent.mkdir()
    bad.write_text("{")
    (tmp_path / "choices" / "unfinished-20260101000000").mkdir()
    found, broken = read_all(tmp_path)
    assert [one.seconds for one in found] == [1.0, 2.0, 3.0]
    assert [*broken] == [bad]
    assert read_all(tmp_path / "nothing") == ((), {})
