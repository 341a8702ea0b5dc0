"""Whether the interval that a choice states for test holds what it should, selection included."""

from types import SimpleNamespace

import numpy as np
import pytest

from rtlab.choosing.deciding import decide
from rtlab.choosing.results import Result
from rtlab.choosing.standing import Standing, interval_on_test
from rtlab.choosing.ways import Extent, Way
from rtlab.data import Split, Splits, corpus
from rtlab.engines.words import WordsEngine
from rtlab.environment import Stopwatch
from rtlab.experiment import Experiment
from rtlab.methods import Words
from rtlab.records import Predictions

POPULATION, TRAIN, HELD_OUT = 4000, 80, 150
WAYS = [Way("words", Words(c=c)) for c in (0.03, 0.3, 3.0)]


def drawn(draws, texts, labels):
    """A small data set out of a large one, and the rest of it as test."""
    order = draws.permutation(len(texts))
    parts = np.split(order, [TRAIN, TRAIN + HELD_OUT])
    train, validation, test = (Split(tuple(texts[r] for r in p), tuple(int(labels[r]) for r in p)) for p in parts)
    return Splits("drawn", None, ("negative", "positive"), train, validation, test)


def chosen(splits, seed):
    """The interval that is stated, on the first sentences of test, and the accuracy on all of them."""
    standings, rights = [], {}
    for way in WAYS:
        engine = WordsEngine(way.method, splits, seed=seed, watch=Stopwatch(None))
        engine.train()
        test_N = np.asarray(splits.test.labels)
        logits_NC = engine.evaluate("test")
        rights[way.name] = float((logits_NC.argmax(axis=1) == test_N).mean())
        said = Predictions(labels=test_N[:HELD_OUT], logits=logits_NC[:HELD_OUT])
        standings.append(
            Standing(
                way=way,
                status="finished",
                results=[
                    Result(
                        experiment=Experiment(method=way.method),
                        extent=Extent(TRAIN),
                        seconds=1.0,
                        rows=np.arange(HELD_OUT),
                        held_out=Predictions(
                            labels=np.asarray(splits.validation.labels), logits=engine.evaluate("validation")
                        ),
                        records=(SimpleNamespace(predictions={"test": said}),),
                    )
                ],
            )
        )
    recommended = decide(standings, "accuracy", 0.01).recommended
    return interval_on_test(recommended.results, "accuracy"), rights[recommended.way.name]


def coverage(number):
    texts, labels = corpus.generate(POPULATION)
    draws = np.random.default_rng(0)
    covered = [
        interval.low <= truth <= interval.high
        for interval, truth in (chosen(drawn(draws, texts, labels), seed) for seed in range(number))
    ]
    return np.mean(covered)


def test_most_intervals_cover():
    assert coverage(8) >= 0.7


@pytest.mark.thorough
def test_as_many_intervals_cover_as_they_say():
    assert 0.94 <= coverage(2000) <= 0.985
