"""A choice as text."""

import dataclasses

import pytest

from rtlab.choice import Candidate, Choice, Mistake, Suspect, Trial, Undecided
from rtlab.experiment import Experiment
from rtlab.methods import Words
from rtlab.reporting.choice_text import as_text, choice_block
from rtlab.reporting.markup import as_html, as_markdown
from rtlab.reporting.markup import as_text as blocks_as_text
from rtlab.statistics import Interval


def candidate(name, method, validation, test=None, *, status="finished", why="compared", seconds=4.0):
    return Candidate(
        name=name,
        method=method,
        experiment=Experiment(method=Words()),
        command=f"rtlab {method} --dataset mine.csv",
        status=status,
        why=why,
        validation=None
        if validation is None
        else Interval(value=validation, low=validation - 0.02, high=validation + 0.02),
        estimate=None if validation is None else validation - 0.005,
        test=None if test is None else Interval(value=test, low=test - 0.03, high=test + 0.03),
        seconds=None if validation is None else seconds,
        seconds_per_1000=None if validation is None else 0.04,
        trials=()
        if validation is None
        else (
            Trial(sentences=500, epochs=None, seed=42, validation=0.7, seconds=1.0, run="a" * 16),
            *(
                Trial(sentences=8530, epochs=3, seed=seed, validation=0.8, seconds=300.0, run="b" * 16)
                for seed in (42, 43)
            ),
        ),
    )


@pytest.fixture
def choice():
    return Choice(
        asked="rtlab choose --dataset mine.csv",
        dataset="mine",
        classes=("a", "b"),
        sentences={"train": 8530, "validation": 1066, "test": 1066},
        encoder="minilm",
        metric="accuracy",
        margin=0.01,
        budget_s=1800,
        seconds=1234.5,
        folds=0,
        recommended="LoRA",
        cheaper="words",
        better="full",
        candidates=(
            candidate("words", "words", 0.76, 0.79),
            candidate("LoRA", "lora", 0.82, 0.83, seconds=480),
            candidate("full", "full", 0.825, 0.82),
            *(candidate(f"other {n}", "svm", None, status="left out", why=f"about {n} s, 3 s left") for n in range(5)),
        ),
        undecided=(
            Undecided(
                name="full",
                difference=Interval(value=0.005, low=-0.01, high=0.02),
                tells="about 5,000 sentences would tell whether it is better",
                sentences=5000,
                minutes=None,
            ),
        ),
    )


def test_the_lines(choice):
    assert as_text(choice).splitlines() == [
        "recommended: LoRA, trained on 8,530 sentences, 3 epochs, 2 seeds",
        "scores: test accuracy 0.8300 [0.800, 0.860], validation accuracy 0.8200 [0.800, 0.840], estimate 0.8150",
        "costs: 8 min of training, 0.0400 s to label 1,000 sentences",
        "best of the cheaper: words: test accuracy 0.7900 [0.760, 0.820], estimate 0.7550, 4.00 s of training",
        "best of all: full: test accuracy 0.8200 [0.790, 0.850], estimate 0.8200, 4.00 s of training",
        "undecided: full, validation accuracy differs by +0.0050 [-0.010, +0.020]; "
        "about 5,000 sentences would tell whether it is better",
        "left out: other 0: about 0 s, 3 s left",
        "left out: other 1: about 1 s, 3 s left",
        "left out: other 2: about 2 s, 3 s left",
        "left out: 2 more",
        "again: rtlab lora --dataset mine.csv",
        "spent: 20 min 34 s of 30 min, on 9 trials",
    ]


def test_what_was_compared_on_folds_is_trained_on_all_of_train(choice):
    """Each fold has fewer sentences; of a sample it is the sample."""
    way = choice.way
    trials = tuple(dataclasses.replace(one, sentences=6824) for one in way.trials)
    folded = dataclasses.replace(way, folds=5, trials=trials)
    others = [one for one in choice.candidates if one is not way]
    text = as_text(dataclasses.replace(choice, candidates=(*others, folded)))
    assert text.startswith("recommended: LoRA, trained on 8,530 sentences, 3 epochs\n")  # once, under one seed
    assert ", accuracy over 5 folds under 2 seeds 0.8200 [0.800, 0.840], estimate 0.8150\n" in text
    sampled = dataclasses.replace(folded, experiment=dataclasses.replace(way.experiment, train_sentences=2000))
    text = as_text(dataclasses.replace(choice, candidates=(*others, sampled)))
    assert text.startswith("recommended: LoRA, trained on 2,000 sentences, 3 epochs")


def test_what_was_ended_early_says_so_and_has_no_test(choice):
    every = [dataclasses.replace(one, test=None) for one in choice.candidates]
    text = as_text(dataclasses.replace(choice, interrupted=True, candidates=tuple(every), undecided=()))
    assert text.startswith("recommended so far (it was ended early): LoRA")
    assert "scores: validation accuracy 0.8200 [0.800, 0.840], estimate 0.8150\n" in text
    assert "best of the cheaper: words: validation accuracy 0.7600 [0.740, 0.780], estimate 0.7550" in text
    assert "no other way that was compared may be the better choice" in text


def test_what_is_not_known_is_not_said(choice):
    unknown = {
        "test": None,
        "validation": None,
        "estimate": None,
        "seconds": None,
        "seconds_per_1000": None,
        "trials": (),
    }
    every = [dataclasses.replace(one, **unknown) for one in choice.candidates]
    lines = as_text(dataclasses.replace(choice, candidates=tuple(every))).splitlines()
    assert lines[:4] == [
        "recommended: LoRA, which was not trained",
        "scores: not known",
        "costs: not known",
        "best of the cheaper: words: validation accuracy –",
    ]


def test_a_model_and_errors_are_shown_and_move_no_cursor(choice):
    text = as_text(
        dataclasses.replace(
            choice,
            saved_to="my-model",
            size=91_000_000,
            mistakes=(Mistake(text="good\n\x1b[2J", label="a", predicted="b", probability=0.987),),
            suspects=(Suspect(text="bad", label="b", probably="a", probability=0.9),),
        )
    )
    assert "model: my-model (91.0 MB)" in text
    assert "surely wrong on test: b for a, 0.99 sure: good \ufffd[2J" in text.splitlines()
    assert "label probably wrong: b for a, 0.90 sure: bad" in text.splitlines()


def test_a_file_shows_the_line_that_asked_and_the_last_answer(choice):
    earlier = dataclasses.replace(choice, recommended="words")
    block = choice_block([earlier, choice])
    text = f"$ rtlab choose --dataset mine.csv\n{as_text(choice, shown=1)}"
    assert as_markdown(block) == f"```\n{text}\n```"
    assert blocks_as_text([block]) == f"## A choice\n\n{text}"
    assert as_html(block, most=10) == f"<pre>{text}</pre>"
    assert as_markdown(choice_block([])) == "No choice was made yet."


def test_no_sentence_ends_the_listing(choice):
    mistake = Mistake(text="```\n# a heading", label="a", predicted="b", probability=1.0)
    text = as_markdown(choice_block([dataclasses.replace(choice, mistakes=(mistake,))]))
    assert text.count("```") == 2
    assert "\n# a heading" not in text
