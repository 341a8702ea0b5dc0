"""The page of a choice: what is on it, what never is, and how it looks in a browser."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from rtlab.choice import Candidate, Choice, Mistake, Suspect, Trial, Undecided
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm, Words
from rtlab.recipe import Recipe
from rtlab.reporting.choice_page import choice_page
from rtlab.statistics import Interval

SVG = "{http://www.w3.org/2000/svg}"


def interval(value, reach=0.02, over="sentences"):
    return Interval(value=value, low=value - reach, high=value + reach, over=over)


def lora(rate, epochs=3):
    return Experiment(method=Adapter(recipe=Recipe(learning_rate=rate, epochs=epochs, engine="native")))


def trials(points, *, epochs=None, seeds=(1,)):
    """Trials on these numbers of sentences, with these scores."""
    return tuple(
        Trial(
            sentences=size,
            epochs=epochs,
            seed=seed,
            validation=score + 0.004 * (seed - 1),
            seconds=size / 100,
            run=f"{size:016x}",
        )
        for size, score in points.items()
        for seed in seeds
    )


def way(name, experiment, score=None, seconds=None, *, status="finished", why="", points=None, **changes):
    """A candidate; without a score it was not compared."""
    method = experiment.method
    epochs = None if method.recipe is None else method.recipe.epochs
    fields = {
        "name": name,
        "method": method.name,
        "experiment": experiment,
        "command": f"rtlab {method.name} --dataset mine.csv",
        "status": status,
        "why": why or "it was given as much training as the best",
        "validation": None if score is None else interval(score),
        "seconds": seconds,
        "seconds_per_1000": None if seconds is None else seconds / 100,
        "parameters": None if score is None else 1000,
        "trials": trials(points or {}, epochs=epochs),
    }
    return Candidate(**fields | changes)


WORDS = way("words", Experiment(method=Words()), 0.761, 0.42, points={500: 0.68, 2000: 0.73, 8530: 0.761})
SVM = way("svm", Experiment(method=Svm(pooling="mean")), 0.782, 21.5, points={500: 0.74, 2000: 0.765, 8530: 0.782})
LORA = way(
    "lora, lr 1e-03",
    lora(1e-3),
    0.842,
    251.0,
    points={500: 0.77, 2000: 0.815, 8530: 0.842},
    test=interval(0.8352, 0.022, "sentences and seeds"),
    parameters=148_994,
    command="rtlab lora --dataset mine.csv --encoder minilm --epochs 3 --lr 1e-3",
)
SLOW = way(
    "lora, lr 3e-04",
    lora(3e-4),
    0.79,
    84.0,
    status="stopped",
    why="on 2,000 sentences it scored 2.5 points less than the best",
    points={500: 0.71, 2000: 0.79},
)
FULL = way(
    "full, lr 2e-05",
    Experiment(method=Full()),
    0.848,
    980.0,
    points={500: 0.75, 2000: 0.81, 8530: 0.848},
    test=interval(0.841),
)
LEFT_OUT = way("full, lr 5e-05", Experiment(method=Full()), status="left out", why="it would take 40 min more")
FAILED = way("ia3, lr 1e-03", lora(2e-3), status="failed", why="OutOfMemoryError: 24 GiB wanted")
UNDECIDED = Undecided(
    name="full, lr 2e-05",
    difference=interval(0.006, 0.011),
    tells="about 4,200 sentences of validation, or 25 minutes of further seeds",
    sentences=4200,
    minutes=25.4,
)
WARNINGS = ("12 sentences of test are in train too", "the class neutral has 3 sentences in validation")
CHOICE = Choice(
    dataset="mine.csv",
    classes=("neg", "pos"),
    sentences={"train": 8530, "validation": 1066, "test": 1066},
    encoder="minilm",
    metric="accuracy",
    margin=0.01,
    budget_s=1800.0,
    seconds=1512.0,
    folds=1,
    recommended=LORA.name,
    cheaper="svm",
    better=FULL.name,
    candidates=(WORDS, SVM, SLOW, LORA, FULL, LEFT_OUT, FAILED),
    undecided=(UNDECIDED,),
    warnings=WARNINGS,
    size=91_000_000,
    saved_to="chosen",
    mistakes=(Mistake(text="not as bad as it sounds", label="pos", predicted="neg", probability=0.9934),),
    suspects=(Suspect(text="a triumph from start to finish", label="neg", probably="pos", probability=0.9871),),
)

NASTY = (
    "a\x1b[2Jb \u202egnp \u2066c \u200bd \0e \x9bf \ufeff <b>\"'&</b> </script><script>alert(1)</script> ]]> $x$ \ud800"
)
LONG = "very " * 2000
HEBREW = "\u05e1\u05e8\u05d8 \u05e0\u05d4\u05d3\u05e8, 10/10!"


def hostile(text):
    """A choice in which all that may come out of a data set or an error is this text."""
    ways = tuple(
        replace(one, name=f"{number} {text}", method=f"m{number}{text}", why=text, command=f"rtlab words {text}")
        for number, one in enumerate(CHOICE.candidates)
    )
    return replace(
        CHOICE,
        dataset=text,
        encoder=text,
        classes=(text, f"{text} too"),
        sentences={"train": 1, text: 2},
        recommended=ways[3].name,
        cheaper=ways[1].name,
        better=ways[4].name,
        candidates=ways,
        undecided=(replace(UNDECIDED, name=ways[4].name, tells=text),),
        warnings=(text, text),
        saved_to=text,
        mistakes=(Mistake(text=text, label=text, predicted=text, probability=1.0),),
        suspects=(Suspect(text=text, label=text, probably=text, probability=1.0),),
    )


HOSTILE = hostile(NASTY)
