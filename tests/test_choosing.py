"""How a way is chosen: the search with made runs, whose costs and accuracies are known, and whole choices, small."""

import csv
import dataclasses
import json
import math
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import odd_encoders
import pytest
from small import data_folder

import rtlab
from rtlab.choosing import NoChoiceError, choose, choosing
from rtlab.choosing.budget import GRACE_S, Budget, seconds_of
from rtlab.choosing.commands import command
from rtlab.choosing.costs import Pace
from rtlab.choosing.deciding import decide
from rtlab.choosing.describing import say_at_chance, say_on_fewer, say_why
from rtlab.choosing.errors import suspects
from rtlab.choosing.expecting import estimate
from rtlab.choosing.folds import (
    ENOUGH,
    FOLDS,
    HELD_OUT,
    LEAST_TEST,
    bounded,
    folds_of,
    folds_of_train,
    joined,
    whole,
)
from rtlab.choosing.halving import LEAST_HELD_OUT, STEPS_LEAST
from rtlab.choosing.halving import folds_of as folds_to_compare_on
from rtlab.choosing.results import FailedError, Result, one_by_one
from rtlab.choosing.search import SEEDS, search
from rtlab.choosing.standing import Standing, difference, estimated, levels, score
from rtlab.choosing.trials import PROBED
from rtlab.choosing.ways import FAMILIES, RATES, Extent, ways
from rtlab.data import Split, Splits, load_splits
from rtlab.ending import StoppedError
from rtlab.engines import svm
from rtlab.experiment import DatasetOptions, Experiment
from rtlab.records import Predictions
from rtlab.running import Run

LABELS_N = np.tile([0, 1], 500).astype(np.int32)
TWO_IN_STEPS = ("words", "svm", "lora", "full")


class Bench:
    """Runs that take made times and come to made accuracies, in place of real ones.

    Args:
        budget: Seconds.
        sentences: Training sentences that there are.
        accuracy: Gives that of a way after so many sentences and epochs.
        pace: Seconds that a sentence takes in training, by family; labelling takes a third of it.
        fails: Names of ways that fail, or families whose probe does.
        rough: What a trial takes, as a multiple of its estimate.
        alone: Sentences of validation, where ways are compared on folds as well.
    """

    def __init__(self, budget, accuracy, *, sentences=8000, pace=None, fails=(), rough=1.0, alone=None):
        self.now, self.budget, self.sentences, self.accuracy = 0.0, budget, sentences, accuracy
        self.alone = len(LABELS_N) if alone is None else alone
        self.pace = {"words": 0.0005, "svm": 0.004, "contrastive": 0.02, "lora": 0.013, "full": 0.017} | (pace or {})
        self.fails, self.rough, self.ran = fails, rough, []

    sample = 2000

    later = 0.0  # what comes after the search, as a multiple of the cost of what is recommended

    @property
    def held_out(self):
        return self.alone, *(len(self.rows(folds)) for folds in range(1, FOLDS + 1) if self.alone < len(LABELS_N))

    def rows(self, folds):
        """What some folds hold out, or validation alone (0), which lies in all of them."""
        every = np.arange(len(LABELS_N))
        return every[every % FOLDS < folds] if folds else every[: self.alone]

    def on(self, extent):
        """On how many folds a trial is done; 0 for validation alone."""
        most = len(self.held_out) - 1
        return most if extent.folds is None else min(most, extent.folds)

    def after(self, way, extent):
        again = self.cost(way, dataclasses.replace(extent, folds=0)) if self.on(extent) else 0.0
        return again + self.later * self.cost(way, extent)

    def planned(self, plan):
        return plan()

    @property
    def left(self):
        return self.budget - self.now

    def cost(self, way, extent, seed=0):
        seen = extent.sentences * way.passes(extent.epochs)
        return max(1, self.on(extent)) * (1 + self.pace[way.family] * (seen + len(LABELS_N) / 3))

    def probe(self, way):
        self._spend(1.0)
        if way.family in self.fails:
            raise FailedError("it has no attention")

    def run(self, way, extent, seed):
        sentences, epochs = extent.sentences, extent.epochs
        self._spend(self.rough * self.cost(way, extent))
        if way.name in self.fails:
            raise FailedError("the loss of step 3 is nan")
        self.ran.append((way, sentences, epochs, seed))
        rows = self.rows(self.on(extent))
        draws = np.random.default_rng([seed, len(way.name), sum(map(ord, way.name))])
        right_N = draws.permutation(len(LABELS_N)) < round(self.accuracy(way, sentences, epochs) * len(LABELS_N))
        logits_NC = np.zeros((len(LABELS_N), 2), dtype=np.float32)
        logits_NC[np.arange(len(LABELS_N)), np.where(right_N, LABELS_N, 1 - LABELS_N)] = 1
        return Result(
            experiment=Experiment(
                method=way.lasting(epochs), seed=seed, train_sentences=sentences if sentences < self.sentences else None
            ),
            extent=extent,
            seconds=self.cost(way, extent),
            held_out=Predictions(labels=LABELS_N[rows], logits=logits_NC[rows]),
            rows=rows,
            records=(),
        )

    jobs = 1

    def together(self, seconds, extent):
        return sum(seconds)

    def run_all(self, ways, extent, seed):
        return one_by_one(self.run, ways, extent, seed)

    def _spend(self, seconds):
        if seconds > self.left:
            self.now = self.budget
            raise StoppedError("the budget was spent")
        self.now += seconds


def learned(best, halfway=400):
    """Accuracy that rises with what is seen, towards that of a family or of a way by its name."""

    def accuracy(way, sentences, epochs):
        goal = best.get(way.name, best.get(way.family, 0.5))
        return 0.5 + (goal - 0.5) * (1 - 0.5 ** (sentences * epochs / halfway))

    return accuracy


def searched(bench, families=TWO_IN_STEPS, *, metric="accuracy", margin=0.01):
    standings = [Standing(way=way) for way in ways(families, "native")]
    search(standings, bench, metric=metric, margin=margin, seed=42)
    return standings


def named(standings, name):
    return next(one for one in standings if one.way.name.startswith(name))


BEST = {"words": 0.76, "svm": 0.80, "contrastive": 0.81, "lora": 0.83, "full": 0.82}


@pytest.mark.parametrize("budget", [3, 5, 20, 60, 120, 300, 600, 1800, 7200, 36_000])
@pytest.mark.parametrize("sentences", [50, 500, 8000, 200_000])
@pytest.mark.parametrize("families", [TWO_IN_STEPS, FAMILIES], ids=len)
def test_the_budget_holds_and_there_is_an_answer(budget, sentences, families):
    bench = Bench(budget, learned(BEST), sentences=sentences)
    standings = searched(bench, families)
    assert bench.now <= budget
    assert decide(standings, "accuracy", 0.01) is not None
    assert all(one.why for one in standings)
    assert {one.status for one in standings} <= {"finished", "stopped", "left out"}
    assert all((one.status == "left out") == (not one.results) for one in standings)
    assert len(bench.ran) == len(set(bench.ran))  # no trial tells anything twice


@pytest.mark.parametrize("budget", range(60, 1000, 20))
@pytest.mark.parametrize("sentences", [100, 500, 2000])
def test_whole_training_is_compared_on_as_many_folds_as_there_is_room_for(budget, sentences):
    bench = Bench(budget, learned(BEST), sentences=sentences, alone=120, pace={"lora": 0.003, "full": 0.004})
    began, real = {}, bench.run

    def run(way, extent, seed):
        began.setdefault(way.family, (bench.left, extent))
        return real(way, extent, seed)

    bench.run = run
    standings = searched(bench)
    decision = decide(standings, "accuracy", 0.01)
    assert bench.now + bench.after(decision.recommended.way, decision.recommended.largest[0].extent) <= budget
    trained = {one.way.family: one for one in standings if not one.way.fitted and one.results}
    for one in trained.values():
        assert len({trial.extent for trial in one.largest}) == 1  # seeds hold out the same sentences
    whole = max(5 * sentences, 300 * 16)
    for left, extent in [began["full"]] if trained else []:
        if extent.folds not in (0, FOLDS) and extent.seen >= 0.9 * whole:
            more, way = dataclasses.replace(extent, folds=extent.folds + 1), trained["full"].way
            assert bench.cost(way, more) + bench.after(way, more) > 0.9 * left
    assert len({one.largest[0].extent.folds for one in trained.values()}) <= 1  # what is compared is so on the same


@pytest.mark.parametrize(
    ("budget", "epochs", "folds"), [(90, 7, 0), (180, 10, 0), (240, 7, 2), (400, 7, 4), (500, 8, 5), (580, 10, 5)]
)
def test_more_time_goes_into_folds_and_into_whole_training(budget, epochs, folds):
    """Once there is room for two ways that are trained for three quarters of it."""
    bench = Bench(budget, learned(BEST), sentences=500, alone=120, pace={"lora": 0.005, "full": 0.01})
    trained = {one.way.family: one.largest for one in searched(bench) if not one.way.fitted and one.results}
    assert trained.keys() == {"lora", "full"}
    assert {one.extent for trials in trained.values() for one in trials} == {Extent(500, epochs, folds)}


@pytest.mark.parametrize(("budget", "rates"), [(300, 1), (500, 2)])
def test_what_is_left_goes_to_other_rates_of_the_best_before_it_goes_to_seeds(budget, rates):
    """Of one way alone seeds would decide nothing."""
    bench = Bench(budget, learned(BEST), sentences=2000, alone=120, pace={"full": 0.004})
    full = searched(bench, ("full",))
    assert [len(one.results) for one in full] == [1] * rates + [0] * (3 - rates)
    assert {one.largest[0].extent for one in full[:rates]} == {Extent(2000, 5, FOLDS)}
    assert {one.why for one in full[rates:]} == {"the budget has room for fewer learning rates"}
    again = bench.cost(full[0].way, Extent(2000, 5)) + bench.after(full[0].way, Extent(2000, 5))
    assert again > 0.9 * bench.left  # so it is


def test_where_one_way_fails_the_other_goes_on():
    name = ways(("full",), "native")[0].name
    bench = Bench(500, learned(BEST), sentences=500, alone=120, pace={"lora": 0.005, "full": 0.01}, fails=(name,))
    standings = searched(bench)
    lora = named(standings, "LoRA")
    assert named(standings, name).status == "failed"
    assert [one.extent for one in lora.results] == [Extent(500, 8, 5)]
    others = {one.why for one in standings if one.way.family == "lora" and one is not lora}
    assert others == {"the budget has room for fewer learning rates"}
    assert bench.now <= 500


@pytest.mark.parametrize(
    ("held_out", "folds"),
    [
        ((1000,), [0]),
        ((30,), [0]),  # without folds it is all that there is
        ((120, 200, 400, 600, 800, 1000), [5, 4, 3, 2, 0]),
        ((99, 200, 400, 600, 800, 1000), [5, 4, 3, 2, 1]),
        ((20, 24, 48, 72, 101, 120), [5, 4]),  # fewer of them hold out too little
        ((5, 6, 12, 18, 24, 30), [5]),
    ],
)
def test_ways_may_be_compared_on_what_tells_something(held_out, folds):
    assert folds_to_compare_on(SimpleNamespace(held_out=held_out)) == folds


@pytest.mark.parametrize("later", [0.25, 1.5])
@pytest.mark.parametrize("budget", [60, 120, 600, 1800])
def test_what_comes_after_has_its_time(later, budget):
    bench = Bench(budget, learned(BEST))
    bench.later = later
    decision = decide(searched(bench), "accuracy", 0.01)
    most = decision.recommended.largest[0]
    assert later * bench.cost(decision.recommended.way, most.extent) <= bench.left


@pytest.mark.parametrize("budget", range(100, 240, 20))
def test_time_for_what_comes_after_the_best_is_not_spent_on_others(budget):
    accuracy = learned({"words": 0.70, "svm": 0.75, "lora": 0.88, "full": 0.80})
    bench = Bench(budget, accuracy, sentences=400, pace={"svm": 0.06, "lora": 0.01, "full": 0.02})
    bench.after = lambda way, *_: 60.0 if way.family == "lora" else 0.0
    recommended = decide(searched(bench), "accuracy", 0.01).recommended.way
    assert bench.after(recommended) <= bench.left


@pytest.mark.parametrize("rough", [0.5, 2.0, 5.0])
def test_estimates_may_be_rough(rough):
    bench = Bench(600, learned(BEST), rough=rough)
    assert decide(searched(bench), "accuracy", 0.01) is not None
    assert bench.now <= 600


def test_with_enough_time_the_best_rate_is_found_trained_whole_and_repeated():
    best = BEST | {named([Standing(way=way) for way in ways(FAMILIES, "native")], "LoRA").way.name: 0.8}
    second = ways(("lora",), "native")[1].name
    best[second] = 0.86
    bench = Bench(36_000, learned(best, halfway=2000))
    standings = searched(bench)
    decision = decide(standings, "accuracy", 0.01)
    assert decision.recommended.way.name == second
    assert {one.extent.epochs for one in decision.recommended.largest} == {5}
    assert {one.extent.sentences for one in decision.recommended.largest} == {8000}
    assert [one.experiment.seed for one in decision.recommended.largest] == [42 + n for n in range(SEEDS)]
    lost = named(standings, ways(("lora",), "native")[0].name)
    assert lost.status == "stopped"
    assert " against " in lost.why


def test_the_first_rung_gives_little_to_many_and_the_last_much_to_few():
    bench = Bench(36_000, learned(BEST, halfway=2000))
    searched(bench, ("lora", "full"))
    seen = [sentences * epochs for _, sentences, epochs, _ in bench.ran]
    first = [one for one in seen if one == seen[0]]
    assert len(first) == len(RATES["lora"]) + len(RATES["full"])
    assert max(seen) == 5 * 8000
    assert seen[0] == pytest.approx(max(seen) / 9, rel=0.02)
    assert seen.count(max(seen)) <= 2 * SEEDS  # of each family's best at most


def test_few_sentences_are_seen_often():
    bench = Bench(600, learned(BEST, halfway=500), sentences=100)
    standings = searched(bench)
    most = max(standings, key=lambda one: max((trial.extent.epochs for trial in one.results), default=0)).largest[0]
    assert most.extent == Extent(100, 48, 0)  # 300 steps of 16


def test_what_does_not_fit_on_folds_is_compared_on_validation_alone():
    bench = Bench(90, learned(BEST), sentences=500, alone=120)
    standings = searched(bench)
    trained = [one for one in standings if not one.way.fitted and one.results]
    assert trained
    assert {one.largest[0].extent.folds for one in trained} == {0}
    assert {len(one.largest[0].rows) for one in trained} == {120}
    fitted = [one for one in standings if one.way.fitted and one.results]
    assert {len(one.largest[0].rows) for one in fitted} == {len(LABELS_N)}
    assert bench.now <= 90


@pytest.mark.parametrize(
    ("budget", "alone", "folds"), [(3600, 60, {FOLDS}), (90, LEAST_HELD_OUT - 1, {1}), (80, LEAST_HELD_OUT - 1, set())]
)
def test_folds_it_is_where_they_fit_or_validation_says_nothing(budget, alone, folds):
    bench = Bench(budget, learned(BEST), sentences=500, alone=alone)
    trained = [one for one in searched(bench) if not one.way.fitted and one.results]
    assert {one.largest[0].extent.folds for one in trained} == folds


def test_what_does_not_fit_is_said_and_not_begun():
    bench = Bench(60, learned(BEST))
    standings = searched(bench)
    assert {one.way.family for one in standings if one.results} == {"words", "svm"}
    lora = named(standings, "LoRA")
    assert lora.status == "left out"
    assert lora.why.startswith("about ")
    assert "s left" in lora.why


def test_what_is_too_dear_is_said_with_what_comes_after_it():
    bench = Bench(50, learned(BEST), sentences=500, alone=LEAST_HELD_OUT - 1)
    lora = named(searched(bench, ("words", "lora")), "LoRA")
    assert lora.status == "left out"
    needed, left = map(float, re.fullmatch(r"about (\d+) s, with (\d+) s left", lora.why).groups())
    least = Extent(500, round(STEPS_LEAST * 16 / 500), 1)
    assert bench.cost(lora.way, least) < left < needed
    assert needed == pytest.approx(bench.cost(lora.way, least) + bench.after(lora.way, least), abs=1)


def test_what_was_too_dear_for_its_share_is_tried_where_the_time_is_left():
    bench = Bench(16, learned(BEST), sentences=2000, pace={"svm": 0.005, "lora": 0.5, "full": 0.5})
    standings = searched(bench)
    assert named(standings, "SVM, mean-pooled features with words").results
    assert {one.status for one in standings if not one.way.fitted} == {"left out"}
    assert bench.now <= 16


@pytest.mark.parametrize("budget", [2.5, 3, 4])
def test_what_costs_the_same_however_many_sentences_may_still_be_too_dear(budget):
    bench = Bench(budget, learned(BEST), sentences=2000, pace={"svm": 0.0})
    standings = searched(bench, ("words", "svm"))
    assert decide(standings, "accuracy", 0.01) is not None
    assert bench.now <= budget


def test_where_only_one_way_fits_that_is_full_fine_tuning_at_its_usual_rate():
    bench = Bench(250, learned(BEST), sentences=2000)
    standings = searched(bench)
    (tried,) = (one.way for one in standings if not one.way.fitted and one.results)
    assert (tried.family, tried.rank) == ("full", 0)
    why = {one.way.family: one.why for one in standings if not one.way.fitted and one.way is not tried}
    assert why == {"full": "the budget has room for fewer learning rates", "lora": "the budget has room for fewer ways"}


def test_pairs_come_first_and_take_the_root_of_as_many_epochs():
    bench = Bench(250, learned(BEST), sentences=2000)
    standings = searched(bench, FAMILIES)
    tried = [one for one in standings if not one.way.fitted and one.results]
    assert (tried[0].way.family, tried[0].way.rank) == ("contrastive", 0)
    assert tried[0].largest[0].extent == Extent(2000, 5, None if len(bench.held_out) > 1 else 0)
    assert tried[0].largest[0].experiment.method.recipe.epochs == 3
    few = next(way for way in ways(FAMILIES, "native") if way.family == "contrastive")
    assert [few.passes(epochs) for epochs in (1, 2, 4, 5, 43)] == [1, 2, 2, 3, 7]
    assert {way.passes(4) for way in ways(TWO_IN_STEPS, "native")} == {4}


@pytest.mark.parametrize(
    ("budget", "tried"),
    [
        (160, {"contrastive": 1}),
        (400, {"contrastive": 1, "full": 1}),
        (600, {"contrastive": 1, "full": 1, "lora": 1}),
        (700, {"contrastive": 1, "full": 1, "lora": 2}),  # of the best
        (3000, {"contrastive": 3, "full": 3, "lora": 3}),
    ],
)
def test_more_time_goes_into_more_families_then_into_rates(budget, tried):
    bench = Bench(budget, learned(BEST), sentences=2000)
    found = Counter(one.way.family for one in searched(bench, FAMILIES) if not one.way.fitted and one.results)
    assert found == tried


def test_where_not_all_rates_fit_the_usual_ones_are_tried():
    bench = Bench(400, learned(BEST), sentences=2000)
    standings = searched(bench)
    tried = [one.way for one in standings if not one.way.fitted and one.results]
    assert [(way.family, way.rank) for way in tried] == [("lora", 0), ("full", 0)]
    others = [one for one in standings if not one.way.fitted and one.way.rank]
    assert {one.why for one in others} == {"the budget has room for fewer learning rates"}


def test_many_sentences_are_sampled():
    bench = Bench(120, learned(BEST), sentences=1_000_000)
    standings = searched(bench)
    words = named(standings, "words")
    assert words.results[0].extent.sentences == 2000
    assert 2000 < words.largest[0].extent.sentences < 1_000_000
    assert words.largest[0].experiment.train_sentences == words.largest[0].extent.sentences


def test_no_comparison_rests_on_a_few_steps():
    for budget in (100, 150, 200, 300, 500):
        bench = Bench(budget, learned(BEST))
        searched(bench)
        steps = [sentences * epochs / 16 for way, sentences, epochs, _ in bench.ran if not way.fitted]
        assert all(one >= STEPS_LEAST - 1 for one in steps)


def test_a_family_that_is_refused_is_left_and_the_rest_go_on():
    standings = searched(Bench(3600, learned(BEST), fails=("lora",)))
    lora = [one for one in standings if one.way.family == "lora"]
    assert {one.status for one in lora} == {"failed"}
    assert lora[0].why == "it has no attention"
    assert named(standings, "full").results
    assert decide(standings, "accuracy", 0.01).recommended.way.family == "full"


def test_a_rate_that_diverges_is_left_and_the_rest_go_on():
    name = ways(("full",), "native")[2].name
    standings = searched(Bench(3600, learned(BEST), fails=(name,)))
    assert (named(standings, name).status, named(standings, name).why) == ("failed", "the loss of step 3 is nan")
    assert sum(bool(one.results) for one in standings if one.way.family == "full") == 2


def test_seeds_are_spent_on_what_may_win():
    hopeless = BEST | {"full": 0.7}
    bench = Bench(36_000, learned(hopeless, halfway=2000))
    standings = searched(bench)
    assert max(len(one.largest) for one in standings if one.way.family == "lora") == SEEDS
    assert all(len(one.largest) <= 1 for one in standings if one.way.family == "full")


# Deciding


def stood(way, accuracy, seeds=1):
    """A standing whose runs came to an accuracy."""
    bench = Bench(math.inf, lambda *_: accuracy)
    results = [bench.run(way, Extent(bench.sentences), 42 + seed) for seed in range(seeds)]
    return Standing(way=way, results=results, status="finished")


def four(words, svm, lora, full, seeds=1):
    every = ways(TWO_IN_STEPS, "native")
    first = {family: next(way for way in every if way.family == family) for family in TWO_IN_STEPS}
    return [
        stood(first["words"], words),
        stood(first["svm"], svm),
        stood(first["lora"], lora, seeds),
        stood(first["full"], full, seeds),
    ]


@pytest.mark.parametrize(
    ("margin", "recommended", "cheaper", "better"),
    [
        (0.0, "full", "lora", None),
        (0.01, "lora", "svm", "full"),
        (0.05, "svm", "words", "full"),
        (0.5, "words", None, "full"),
    ],
)
def test_the_cheapest_within_the_margin_is_recommended(margin, recommended, cheaper, better):
    found = decide(four(0.75, 0.80, 0.82, 0.825), "accuracy", margin)
    names = [None if one is None else one.way.family for one in (found.recommended, found.cheaper, found.better)]
    assert names == [recommended, cheaper, better]


def on_rows(standing, rows, folds):
    """A way whose one trial held out so much of what it did."""
    (found,) = standing.results
    held_out = Predictions(labels=LABELS_N[rows], logits=found.held_out.logits[rows])
    extent = dataclasses.replace(found.extent, folds=folds)
    standing.results = [dataclasses.replace(found, rows=rows, held_out=held_out, extent=extent)]


def test_ways_on_fewer_folds_are_compared_with_the_best_of_those_on_more():
    """So what stands between the two of them is what is estimated on the sentences that both held out."""
    words, svm, lora, full = four(0.60, 0.75, 0.80, 0.82)
    on_rows(full, np.arange(800), 4)
    on_rows(lora, np.arange(400), 2)
    every = [words, svm, lora, full]
    level = levels(every, "accuracy")
    assert list(level) == every

    def apart(one, other, number):
        rows = np.arange(number)
        return estimated(one.largest, "accuracy", rows) - estimated(other.largest, "accuracy", rows)

    assert level[full] == pytest.approx(level[svm] + apart(full, svm, 800))
    assert level[full] > level[svm]
    assert level[lora] == pytest.approx(level[full] + apart(lora, full, 400))


def test_what_was_compared_on_fewer_folds_is_said():
    splits = made(60, 40)
    question = choosing.Question(usual=Experiment(), splits=splits, folds=folds_of(splits), encoder=None)
    words, svm, lora, full = four(0.60, 0.75, 0.80, 0.82)
    for one, folds in ((words, FOLDS), (svm, FOLDS), (full, 4), (lora, 2)):
        on_rows(one, np.arange(200 * folds), folds)
        one.results = [dataclasses.replace(one.results[0], records=(None,) * folds)]
    there = [float((svm.results[0].held_out.classes == LABELS_N)[:number].mean()) for number in (800, 400)]
    said = "The budget had no room for {} on 5 folds: compared on the {} sentences of {} of them"
    assert say_on_fewer([words, svm, lora, full], question, "accuracy") == [
        f"{said.format('full', 800, 4)}, where {svm.way.name} has {there[0]:.3f}.",
        f"{said.format('lora', 400, 2)}, where {svm.way.name} has {there[1]:.3f}.",
    ]
    assert say_on_fewer([lora, full], question, "accuracy") == [
        said.format("full", 800, 4) + ".",
        said.format("lora", 400, 2) + ".",
    ]
    assert say_on_fewer([words, svm], question, "accuracy") == []


def test_a_way_on_validation_alone_is_compared_on_what_it_has_in_common_with_the_others():
    words, svm, lora, _ = four(0.60, 0.75, 0.75, 0.0)
    (result,), (other,) = svm.results, lora.results
    easy = np.flatnonzero(result.held_out.classes == result.held_out.labels)[:100]  # for the SVM, which must not count
    lora.results = [
        dataclasses.replace(
            other, rows=easy, held_out=Predictions(labels=LABELS_N[easy], logits=other.held_out.logits[easy])
        )
    ]
    there = (other.held_out.classes == other.held_out.labels)[easy].mean()
    level = levels([words, svm, lora], "accuracy")
    assert (level[words], level[svm]) == (0.60, 0.75)
    sure = (there, 0.75)  # as all of a way's labels here are equally sure, its probabilities are its score
    apart = [estimate(score, expected, len(easy)) for score, expected in zip((there, 1.0), sure, strict=True)]
    assert level[lora] == pytest.approx(0.75 + apart[0] - apart[1], abs=5e-4)  # of one class they are a little surer
    assert difference(lora, svm, "accuracy").value == pytest.approx(there - 1)
    shuffled = np.random.default_rng(0).permutation(len(LABELS_N))  # an order is not a set
    svm.results = [
        dataclasses.replace(
            result,
            rows=shuffled,
            held_out=Predictions(labels=LABELS_N[shuffled], logits=result.held_out.logits[shuffled]),
        )
    ]
    assert levels([words, svm, lora], "accuracy") == level


def doubtful(result, sure):
    """A trial some of whose right labels are hardly surer than its wrong ones: those are right by luck."""
    right_N = result.held_out.classes == result.held_out.labels
    surely_N = right_N & (np.random.default_rng(1).random(len(right_N)) < sure)
    logits_NC = np.where(surely_N[:, None], 20.0, 0.1) * result.held_out.logits
    return dataclasses.replace(result, held_out=Predictions(labels=result.held_out.labels, logits=logits_NC))


def test_what_is_recommended_and_goes_on_has_the_best_estimate_and_not_the_best_score():
    words, svm, lora, full = four(0.60, 0.70, 0.80, 0.81)
    full.results, lora.results = [doubtful(full.results[0], 0.2)], [doubtful(lora.results[0], 0.9)]
    assert score(lora.results, "accuracy") < score(full.results, "accuracy")
    assert estimated(lora.results, "accuracy") > estimated(full.results, "accuracy")
    every = [words, svm, lora, full]
    found = decide(every, "accuracy", 0.0)
    assert (found.recommended, found.better) == (lora, None)
    say_why(every, found, "accuracy", 0.0)
    behind = 100 * (levels(every, "accuracy")[lora] - levels(every, "accuracy")[full])
    assert full.why.startswith(f"{behind:.1f} points behind the best by estimate")


def test_what_goes_on_to_the_last_rung_has_the_best_estimate(monkeypatch):
    usual, other, _ = (way.name for way in ways(("full",), "native"))
    plain = Bench.run

    def run(bench, way, extent, seed):
        return doubtful(plain(bench, way, extent, seed), 0.2 if way.name == usual else 0.9)

    monkeypatch.setattr(Bench, "run", run)
    accuracies = {usual: 0.81, other: 0.80}
    standings = searched(Bench(3600, lambda way, *_: accuracies.get(way.name, 0.6)), ("words", "full"))
    assert named(standings, usual).status == "stopped"
    assert named(standings, other).status == "finished"


def test_little_training_rules_out_no_family():
    """Where one has learned nothing yet after the first rungs and is the best in the end."""

    def accuracy(way, _sentences, epochs, *_):
        late = 0.9 if epochs >= 5 else 0.5
        return {"words": 0.5, "svm": 0.6, "lora": late, "full": 0.8}[way.family]

    standings = searched(Bench(36_000, accuracy))
    assert decide(standings, "accuracy", 0.01).recommended.way.family == "lora"


def test_of_equals_the_cheapest_is_recommended():
    assert decide(four(0.8, 0.8, 0.8, 0.8), "accuracy", 0.0).recommended.way.family == "words"


def test_what_the_sentences_leave_open_is_undecided_and_says_what_would_tell():
    found = decide(four(0.60, 0.795, 0.82, 0.825), "accuracy", 0.01)
    undecided = {one.name.split(",")[0].split(" ")[0]: one for one in found.undecided}
    assert "words" not in undecided  # far behind
    assert undecided["SVM"].difference.value == pytest.approx(-0.025)
    assert undecided["SVM"].sentences > len(LABELS_N)
    assert f"about {undecided['SVM'].sentences:,} sentences" in undecided["SVM"].tells
    assert "better by more than 1 point" in undecided["full"].tells


def test_more_seeds_are_named_where_they_would_tell():
    every = four(0.60, 0.70, 0.80, 0.80, seeds=2)
    lora, full = every[2:]
    full.results[0] = stood(full.way, 0.70).results[0]
    full.results[1] = stood(full.way, 0.94, 2).results[1]
    found = decide(every, "accuracy", 0.0)
    assert found.recommended in (lora, full)
    assert any(one.minutes for one in found.undecided) or any("no number" in one.tells for one in found.undecided)


def test_nothing_tried_is_no_decision():
    assert decide([Standing(way=way) for way in ways(FAMILIES, "native")], "accuracy", 0.01) is None


def test_macro_f1_counts_classes_alike():
    standing = four(0.9, 0.9, 0.9, 0.9)[0]
    (result,) = standing.results
    labels_N = np.array([0] * 950 + [1] * 50, dtype=np.int32)
    logits_NC = np.tile(np.array([1, 0], dtype=np.float32), (1000, 1))
    always = dataclasses.replace(result, held_out=Predictions(labels=labels_N, logits=logits_NC))
    assert score([always], "accuracy") == pytest.approx(0.95)
    assert score([always], "macro-f1") == pytest.approx((2 * 0.95 / 1.95) / 2)


# The parts


def test_without_an_encoder_words_are_left():
    assert {way.family for way in ways(FAMILIES, None)} == {"words"}
    with pytest.raises(ValueError, match=r"candidates must hold one that needs no encoder.*got lora"):
        ways(("lora",), None)


def test_no_two_ways_have_a_name():
    names = [way.name for way in ways(FAMILIES, "trainer")]
    assert len(set(names)) == len(names)


def test_an_unknown_candidate_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="candidates must be among words, svm, contrastive, lora, full; got 'bert'"):
        choose("nowhere.csv", candidates=("words", "bert"))


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("90s", 90), ("1.5h", 5400), (" 2M ", 120)])
def test_a_budget_is_a_time(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0m", "-3m", "m", "nanm", "infh", "ten minutes", "1e400h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"budget must be a time such as 30m, 90s or 1\.5h"):
        seconds_of(text)


def test_a_budget_is_spent_but_for_the_first_result():
    now = 100.0
    budget = Budget(10, spent=4, clock=lambda: now)
    budget.check()
    assert (budget.spent, budget.left) == (4, 6)
    now += 6 + GRACE_S - 1
    budget.check()
    budget.begun()
    with pytest.raises(StoppedError, match="the budget was spent"):
        budget.check()


def made(train, validation, test=40, names=("a", "b")):
    def split(number, first):
        rows = range(first, first + number)
        return Split(tuple(f"sentence {row}" for row in rows), tuple(row % len(names) for row in rows))

    return Splits("made", None, names, split(train, 0), split(validation, 10_000), split(test, 20_000))


def test_a_large_validation_split_is_taken_as_it_is():
    splits = made(100, ENOUGH)
    (part,) = folds_of(splits)
    assert part.splits == splits
    assert part.rows.tolist() == [*range(100, 100 + ENOUGH)]


def test_of_folds_each_sentence_is_held_out_once():
    splits = made(201, 40, names=("a", "b", "c"))
    parts = folds_of(splits)
    assert len(parts) == FOLDS
    folds = [part.splits for part in parts]
    held_out = [row for fold in folds for row in zip(fold.validation.texts, fold.validation.labels, strict=True)]
    every = [*zip(joined(splits).train.texts, joined(splits).train.labels, strict=True)]
    assert sorted(held_out) == sorted(every)
    assert held_out == [every[row] for part in parts for row in part.rows]
    assert [every[row] for row in whole(splits).rows] == [
        *zip(splits.validation.texts, splits.validation.labels, strict=True)
    ]
    for fold in folds:
        assert {*fold.train.texts} | {*fold.validation.texts} == {text for text, _ in every}
        assert not {*fold.train.texts} & {*fold.validation.texts}
        assert fold.test == splits.limited(LEAST_TEST).test
        counts = np.bincount(fold.validation.labels)
        assert counts.max() - counts.min() <= 1
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def trials_of(splits, folder, **changes):
    question = choosing.Question(usual=Experiment(), splits=splits, folds=folds_of(splits), encoder=None)
    return choosing.Trials(
        **{"question": question, "budget": Budget(60), "folder": folder, "save_models": False} | changes
    )


@pytest.mark.parametrize(("refit", "more"), [(False, 0.0), (True, 1 + 100 * 2 * 0.1 + 80 * 0.01)])
def test_what_comes_after_a_trial_is_all_of_train_and_what_is_refitted(refit, more, tmp_path):
    splits, (way, *_) = made(60, 40), ways(("lora",), "native")
    trials = trials_of(splits, tmp_path, refit=refit)
    trials._costs.set(way, Pace(sentence=0.1, held_out=0.01, start=1.0))
    whole_s = 1 + 60 * 2 * 0.1 + 80 * 0.01
    assert trials.cost(way, Extent(80, 2), 42) == pytest.approx(FOLDS * (1 + 80 * 2 * 0.1 + (20 + LEAST_TEST) * 0.01))
    assert trials.cost(way, Extent(80, 2, folds=0), 42) == pytest.approx(whole_s)
    assert trials.after(way, Extent(80, 2)) == pytest.approx(whole_s + more)
    assert trials.after(way, Extent(80, 2, folds=0)) == pytest.approx(more)


def test_what_is_recorded_costs_nothing_and_no_sentences_can_be_priced(tmp_path):
    """That of none is what a trial costs beside its sentences."""
    trials, (way, *_) = trials_of(made(60, 400), tmp_path), ways(("lora",), "native")
    trials._costs.set(way, Pace(sentence=0.1, held_out=0.01, start=1.0))
    assert trials.cost(way, Extent(0), 42) == pytest.approx(1 + 440 * 0.01)
    recorded = trials._experiment(way, Extent(30, 2), 43, trials.question.whole)
    sha256 = trials.question.splits.sha256
    trials._known["a"] = SimpleNamespace(experiment=recorded, dataset=SimpleNamespace(sha256=sha256))
    assert trials.cost(way, Extent(30, 2), 43) == 0
    assert all(
        trials.cost(way, *other) > 0 for other in ((Extent(30, 2), 42), (Extent(30, 3), 43), (Extent(60, 2), 43))
    )


@pytest.mark.parametrize(("characters", "sample"), [(100, 2000), (1000, 500), (50_000, 20)])
def test_of_long_texts_a_first_trial_takes_fewer(characters, sample, tmp_path):
    splits = made(60, 40)
    long = tuple(text.ljust(characters, "a") for text in splits.train.texts)
    splits = dataclasses.replace(
        splits, train=Split(long, splits.train.labels), validation=Split(long, splits.train.labels)
    )
    assert trials_of(splits, tmp_path).sample == sample


def test_characters_are_not_tried_where_words_took_long_already():
    bench = Bench(60, learned(BEST), sentences=30_000, pace={"words": 0.01})
    words, characters, *_ = searched(bench, ("words",))
    assert words.results[0].extent.sentences == bench.sample
    assert not characters.results
    assert re.fullmatch(r"about \d+ s, with \d+ s left", characters.why)
    real, recorded = bench.cost, Extent(bench.sample)
    bench.cost = lambda way, extent, _seed=0: 0.0 if extent == recorded else real(way, extent)
    assert searched(bench, ("words",))[1].results  # it was tried by an earlier process


def test_folds_may_have_more_training_sentences_than_the_limit(tmp_path):
    """They are made of train and validation."""
    splits, (way, *_) = made(60, 40), ways(("lora",), "native")
    trials = trials_of(splits, tmp_path)
    trials.question = dataclasses.replace(trials.question, usual=Experiment(limit=60))
    fold, whole_of = trials.question.folds[0], trials.question.whole
    assert len(fold.splits.train) == 80
    assert trials._experiment(way, Extent(70), 42, fold).train_sentences == 70
    assert trials._experiment(way, Extent(80), 42, fold).limit is None
    assert trials._experiment(way, Extent(80), 42, whole_of).limit == 60


def test_pairs_cost_their_passes_and_reading_what_they_were_trained_on(tmp_path):
    splits, (way, *_) = made(60, 400), ways(("contrastive",), "native")
    trials = trials_of(splits, tmp_path)
    trials._costs.set(way, Pace(sentence=0.1, held_out=0.01, start=1.0))
    seconds = 1 + 60 * 3 * 0.1 + (60 + 400 + 40) * 0.01
    assert trials.cost(way, Extent(60, 5), 42) == pytest.approx(seconds)
    counts = SimpleNamespace(samples=60 * 3)
    timing = SimpleNamespace(seconds=60 * 3 * 0.1 + 60 * 0.01, evaluate_s=440 * 0.01, total=seconds)
    held_out = {"validation": SimpleNamespace(labels=range(400)), "test": SimpleNamespace(labels=range(40))}
    ran = Experiment(method=way.lasting(5))
    record = SimpleNamespace(experiment=ran, predictions=held_out, timing=timing, counts=counts)
    trials._costs.set(way, Pace(sentence=9.0))
    trials._costs.learn(way, SimpleNamespace(extent=Extent(60, 5), records=(record,), seconds=seconds))
    assert trials.cost(way, Extent(60, 5), 42) == pytest.approx(seconds)  # what it took, it is told to take
    trials._costs.set(way, Pace(sentence=9.0))
    trials._costs.recall(way, record)  # of an earlier process
    assert trials.cost(way, Extent(60, 5), 42) == pytest.approx(seconds)


def test_equal_sentences_are_in_one_fold():
    splits = made(100, 40)
    twice = Split(splits.train.texts * 2, splits.train.labels + tuple(1 - label for label in splits.train.labels))
    for part in folds_of(dataclasses.replace(splits, train=twice)):
        assert not {*part.splits.train.texts} & {*part.splits.validation.texts}


def test_folds_of_train_are_of_train_alone():
    splits = made(100, 400, test=400)
    folds = [part.splits for part in folds_of_train(splits)]
    assert sum(len(fold.validation) for fold in folds) == 100
    assert len(folds[0].test) < 50


def test_of_many_held_out_sentences_enough_are_used():
    splits = made(100, HELD_OUT + 5, test=50)
    small, notes = bounded(splits)
    assert (len(small.train), len(small.validation), len(small.test)) == (100, HELD_OUT, 50)
    assert notes == (
        f"Of {HELD_OUT + 5:,} sentences of validation {HELD_OUT:,} are used, of each class in proportion.",
    )
    assert bounded(small) == (small, ())


EXPERIMENTS = [
    rtlab.Experiment(encoder="minilm", dataset="my file.csv", method=method, seed=seed, train_sentences=few)
    for method in (
        *(way.lasting(3) for way in ways(FAMILIES, "native")),
        rtlab.Full(recipe=rtlab.Recipe(engine="trainer", learning_rate=2e-5)),
        rtlab.Adapter(recipe=rtlab.Recipe(engine="native", learning_rate=1e-3, epochs=1)),
    )
    for seed, few in ((42, None), (7, 300))
]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.title)
def test_a_command_repeats_its_experiment(experiment, rtlab, monkeypatch):
    from rtlab import running

    class Asked(Exception):
        pass

    def run(asked, **_):
        raise Asked(asked)

    options = DatasetOptions(text_column="the text", skip_bad_rows=True)
    experiment = dataclasses.replace(experiment, dataset_options=options)
    monkeypatch.setattr(running, "Run", run)
    monkeypatch.setattr("rtlab.cli._failed", lambda error, _: found.append(error.args[0]) or 1)
    found = []
    program, *words = shlex.split(command(experiment))
    assert program == "rtlab"
    rtlab(*words)
    assert found == [experiment]


def test_suspects_are_those_that_confident_models_contradict():
    labels_N = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    of_one_N = np.array([0.1, 0.2, 0.95, 0.45, 0.9, 0.8, 0.05, 0.6])
    probabilities_NC = np.stack([1 - of_one_N, of_one_N], axis=1)
    assert suspects(probabilities_NC, labels_N) == [(2, 1), (6, 0)]
    assert suspects(probabilities_NC[:2], labels_N[:2]) == []


def test_most_of_the_suspects_are_labels_that_were_flipped():
    draws = np.random.default_rng(0)
    true_N = draws.integers(0, 3, 3000)
    logits_NC = draws.normal(size=(3000, 3)) + 3 * np.eye(3)[true_N]
    flipped_N = draws.random(3000) < 0.1
    labels_N = np.where(flipped_N, (true_N + draws.integers(1, 3, 3000)) % 3, true_N)
    probabilities_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    found = suspects(probabilities_NC, labels_N)[: int(flipped_N.sum())]
    assert np.mean([flipped_N[row] for row, _ in found]) > 0.8
    assert np.mean([label == true_N[row] for row, label in found if flipped_N[row]]) > 0.95


# Whole choices


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data_folder(tmp_path_factory.mktemp("data") / "reviews", train=60, held_out=40)


@pytest.fixture
def usual(folder, tmp_path):
    """What the choices of these tests have in common."""
    return {
        "dataset": str(folder),
        "encoder": "tiny-bert",
        "budget": "20m",
        "output_dir": tmp_path / "out",
        "device": "cpu",
    }


@pytest.fixture
def short(monkeypatch):
    """Training counts as whole after a few steps, and under two seeds."""
    for name, value in {"EPOCHS": 1, "STEPS_ENOUGH": 6, "STEPS_LEAST": 2}.items():
        monkeypatch.setattr(f"rtlab.choosing.halving.{name}", value)
    monkeypatch.setattr("rtlab.choosing.search.SEEDS", 2)


@pytest.fixture
def unfolded(monkeypatch):
    """Small validation splits are taken as they are."""
    monkeypatch.setattr("rtlab.choosing.folds.ENOUGH", 2)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_a_choice(usual, short, unfolded, tmp_path):
    found = choose(**usual, candidates=("words", "svm", "lora"), save_to=tmp_path / "model", show_errors=2)
    assert [one.status for one in found.candidates].count("finished") == 5
    assert found.folds == 0
    assert found.way.test is not None
    assert found.way.status == "finished"
    (place,) = (usual["output_dir"] / "choices").iterdir()
    written = json.loads((place / "choice.json").read_text())
    assert written == found.to_json()
    assert written["recommended"]["name"] == found.recommended
    assert {"method", "experiment", "command", "scores", "seconds", "bytes", "seconds_per_1000"} <= {
        *written["recommended"]
    }
    assert {"candidates", "undecided", "left_out", "seconds", "warnings"} <= {*written}
    assert not (usual["output_dir"] / "records").exists()  # no table looks there
    assert not (place / "models").exists()
    assert rtlab.predict(tmp_path / "model", ["never dull ."])[0].label in found.classes
    assert found.size > 0
    assert len(found.mistakes) <= 2
    records, _ = rtlab.load_records(place / "records")
    words = next(one for one in records if one.id == found.candidates[0].trials[0].run)
    every = 60 + 40 + 40
    at_least = 1000 * words.timing.prepare_s / every  # to count a sentence's words takes time too
    assert at_least < found.candidates[0].seconds_per_1000 < 1.5 * at_least
    assert found.candidates[0].seconds == pytest.approx(words.timing.prepare_s + words.timing.train_s)


def test_what_was_killed_goes_on_from_its_records(usual, short, monkeypatch):
    ran = []
    real = choosing.Trials._run

    def killed(self, way, *rest, **how):
        if len(ran) == 3:
            raise SystemExit(143)
        ran.append(way.name)
        return real(self, way, *rest, **how)

    monkeypatch.setattr(choosing.Trials, "_run", killed)
    with pytest.raises(SystemExit):
        choose(**usual, candidates=("words", "svm"))
    monkeypatch.setattr(choosing.Trials, "_run", real)
    (place,) = (usual["output_dir"] / "choices").iterdir()
    before = {path: path.read_bytes() for path in files(place / "records")}
    assert len(before) == 3 * FOLDS
    found = choose(**usual, candidates=("words", "svm"))
    assert [*(usual["output_dir"] / "choices").iterdir()] == [place]
    assert found.folds == FOLDS
    after = files(place / "records")
    assert all(path.read_bytes() == text for path, text in before.items())
    assert len(after) == 4 * FOLDS + len({found.recommended, found.cheaper, found.better} - {None})


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_what_is_recorded_stands_though_no_time_is_left(usual, short, unfolded, monkeypatch):
    """What was killed once all was tried has nothing more to run, and a second that is left is enough for that."""
    real = choosing.decide

    def killed(*_):
        raise SystemExit(143)

    monkeypatch.setattr("rtlab.choosing.choosing.decide", killed)
    with pytest.raises(SystemExit):
        choose(**usual, candidates=("words", "svm", "lora"))
    monkeypatch.setattr("rtlab.choosing.choosing.decide", real)
    (place,) = (usual["output_dir"] / "choices").iterdir()
    state = json.loads((place / "state.json").read_text())
    (place / "state.json").write_text(json.dumps({**state, "seconds": 20 * 60 + 100}))
    before = files(place / "records")
    found = choose(**usual, candidates=("words", "svm", "lora"))
    assert files(place / "records") == before
    assert sum(len(one.trials) for one in found.candidates) == len(before)
    assert [one.status for one in found.candidates].count("finished") == 5


@pytest.mark.parametrize(
    ("family", "of", "done", "seconds", "left", "early"),
    [
        ("lora", 5, 0, 0.0, 0.0, False),  # one it is in any case
        ("lora", 5, 1, 10.0, 0.0, True),
        ("lora", 5, 3, 60.0, 39.9, True),  # another takes 20 s, and all of train afterwards as long
        ("lora", 5, 3, 60.0, 40.1, False),
        ("lora", 5, 4, 4.0, 12.9, True),  # all of train takes 12 s, as it was estimated
        ("lora", 5, 4, 4.0, 13.1, False),
        ("lora", 1, 2, 30.0, 0.0, False),
        ("words", 5, 3, 30.0, 0.0, False),
    ],
)
def test_folds_end_early_where_no_time_is_left_for_another(family, of, done, seconds, left, early, tmp_path):
    splits, (way, *_) = made(60, 40), ways((family,), "native")
    trials = trials_of(splits, tmp_path, budget=SimpleNamespace(left=left))
    trials._costs.set(way, Pace(sentence=0.1, held_out=0.05, start=2.0))
    assert trials._ends_early(way, Extent(60, 1), done, of, seconds) == early


def test_no_run_is_done_twice(usual, short, unfolded, monkeypatch):
    """Two trials of a way may be as many passes over as many sentences, where others have more."""
    monkeypatch.setattr("rtlab.choosing.ways.Way.passes", lambda *_: 1)
    monkeypatch.setattr("rtlab.choosing.halving.STEPS_ENOUGH", 200)
    choose(**usual, candidates=("contrastive",))
    ids = [json.loads(path.read_text())["id"] for path in files(usual["output_dir"]) if path.parent.name == "records"]
    assert len(ids) == len(set(ids)) > 3


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_a_way_whose_folds_ended_early_is_compared_on_those_and_handed_over(usual, short, monkeypatch, tmp_path):
    monkeypatch.setattr(choosing.Trials, "_ends_early", lambda *asked: asked[4] > 1 and asked[3] >= 3)
    found = choose(**usual, candidates=("lora",), save_to=tmp_path / "model", refit=True, metric="macro-f1")
    assert {one.folds for one in found.candidates if one.validation is not None} == {3}
    assert any("on 5 folds: compared on the" in one and "sentences of 3 of them." in one for one in found.warnings)
    assert found.way.test is not None
    assert rtlab.predict(tmp_path / "model", ["never dull ."])[0].label in found.classes


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_training_that_has_no_time_for_folds_is_compared_on_validation_and_run_once(
    usual, short, monkeypatch, tmp_path
):
    real = choosing.Trials.cost
    monkeypatch.setattr("rtlab.choosing.halving.LEAST_HELD_OUT", 2)
    monkeypatch.setattr(
        choosing.Trials,
        "cost",
        lambda self, way, extent, seed: 1e9 if extent.folds != 0 and not way.fitted else real(self, way, extent, seed),
    )
    found = choose(**usual, candidates=("words", "lora"), save_to=tmp_path / "model", margin=0)
    assert found.folds == FOLDS
    words, _, lora, *_ = found.candidates
    assert (words.folds, lora.folds) == (FOLDS, 0)
    held_out = found.sentences["validation"]
    assert any(
        re.fullmatch(
            rf"The budget had no room for lora on {FOLDS} folds: compared on the {held_out} sentences of validation "
            r"alone, where words, .* has 0\.\d{3}\.",
            one,
        )
        for one in found.warnings
    )
    (place,) = (usual["output_dir"] / "choices").iterdir()
    records, _ = rtlab.load_records(place / "records")
    trained = [one.experiment for one in records if one.experiment.method.name == "lora"]
    assert len(trained) == sum(len(one.trials) for one in found.candidates if one.method == "lora")
    assert None in {one.train_sentences for one in trained}  # all of train, which folds have not


def test_what_was_killed_among_the_rungs_keeps_its_plan(usual, short, unfolded, monkeypatch):
    """Though the time that is left is another one now."""
    real, ran = choosing.Trials._run, []

    def killed(self, way, *rest, **how):
        found = real(self, way, *rest, **how)
        ran.append((way.name, *rest[:2]))
        if len(ran) == 3:
            raise SystemExit(143)
        return found

    monkeypatch.setattr(choosing.Trials, "_run", killed)
    with pytest.raises(SystemExit):
        choose(**usual, candidates=("lora",))
    monkeypatch.setattr("rtlab.choosing.halving.ALL_OF_LEFT", 0.001)  # with this alone there would be no plan
    choose(**usual, candidates=("lora",))
    assert ran[3:6] == ran[:3]
    assert len(ran) > 6


def test_what_is_finished_is_left_alone(usual, short):
    first = choose(**usual, candidates=("words",))
    (place,) = (usual["output_dir"] / "choices").iterdir()
    text = (place / "choice.json").read_text()
    second = choose(**usual, candidates=("words",))
    assert second.recommended == first.recommended
    assert (place / "choice.json").read_text() == text
    assert len([*(usual["output_dir"] / "choices").iterdir()]) == 2


def test_an_interrupted_choice_gives_the_best_so_far(usual, short, unfolded):
    def progress(phase, *_):
        if "LoRA" in phase:
            raise KeyboardInterrupt

    found = choose(**usual, progress=progress)
    assert found.interrupted
    (place,) = (usual["output_dir"] / "choices").iterdir()
    assert json.loads((place / "choice.json").read_text())["interrupted"]
    assert found.way.method in ("words", "svm")
    assert found.way.test is None  # test is looked at once, at the end
    assert found.candidate(next(one.name for one in found.candidates if one.method == "full")).status == "left out"
    assert not choose(**usual).interrupted  # asked again, it goes on
    assert [*(usual["output_dir"] / "choices").iterdir()] == [place]


def test_interrupted_before_anything_there_is_no_answer(usual, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(choosing.Trials, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        choose(**usual)
    assert [path.name for path in files(usual["output_dir"])] == ["state.json"]  # the time that it took


def test_with_hardly_any_time_words_are_answered(usual):
    found = choose(**usual | {"budget": "0.5s"})
    assert found.recommended.startswith("words")
    assert found.left_out


def test_where_nothing_fits_it_says_what_would_do(usual):
    with pytest.raises(NoChoiceError, match=r"a larger budget, or words among the candidates, would do$"):
        choose(**usual | {"budget": "0.5s"}, candidates=("lora",))


def test_where_all_fail_it_says_why(usual, monkeypatch):
    def failing(*_, **__):
        raise FailedError("no memory")

    monkeypatch.setattr(choosing.Trials, "run", failing)
    with pytest.raises(NoChoiceError, match="words, SVM: no memory"):
        choose(**usual, candidates=("words",))


def test_an_encoder_that_cannot_be_had_leaves_words_and_is_named(usual):
    said = []
    found = choose(**usual | {"encoder": "nobody/nothing"}, say=said.append)
    assert {one.method for one in found.candidates} == {"words"}
    assert found.encoder is None
    assert any("The encoder cannot be had, so words alone are compared" in one for one in said)


def test_without_a_name_the_best_encoder_at_hand_is_taken(usual, monkeypatch):
    tried = []

    def load(name):
        tried.append(name)
        if name != "minilm":
            raise ValueError("the hub cannot be reached")
        return rtlab.load_encoder("tiny-bert")

    monkeypatch.setattr("rtlab.choosing.looking.load_encoder", load)
    said = []
    choose(**usual | {"encoder": None, "budget": "0.5s"}, say=said.append)
    assert tried == ["distilbert/distilbert-base-uncased", "minilm"]
    assert any(one.startswith("No encoder was named: minilm is taken;") for one in said)


def rows(folder, name, rows):
    path = folder / name
    path.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n")
    return path


def test_data_that_make_any_answer_void_are_refused(usual, tmp_path):
    few = rows(tmp_path, "few.csv", [(f"sentence {row}", "ab"[row % 10 == 0]) for row in range(100)])
    with pytest.raises(ValueError, match=r"would make any answer void: class 'b' has . sentences.*--anyway"):
        choose(**usual | {"dataset": str(few)})
    assert not usual["output_dir"].exists()
    found = choose(**usual | {"dataset": str(few), "budget": "0.5s"}, anyway=True)
    assert any(one.startswith("The answer may be void: class 'b'") for one in found.warnings)


def test_of_many_rare_classes_one_is_named(usual, tmp_path):
    rare = rows(tmp_path, "rare.csv", [(f"sentence {row}", f"class {row % 40}") for row in range(400)])
    with pytest.raises(
        ValueError, match=r"void: class 'class \d+' has \d+ sentences.*, and 39 more have fewer than 20;"
    ):
        choose(**usual | {"dataset": str(rare)})
    found = choose(**usual | {"dataset": str(rare)}, candidates=("words",), anyway=True)
    assert sum("may be void" in one for one in found.warnings) == 1


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_an_encoder_of_few_positions_reads_as_much_as_it_can_and_that_is_said(usual, short, unfolded, tmp_path):
    folder = str(odd_encoders.write(tmp_path / "short", max_position_embeddings=32))
    sentences = [(f"{('fine', 'dull')[row % 2]} " * 40 + str(row), row % 2) for row in range(200)]
    long = rows(tmp_path, "long.csv", sentences)
    found = choose(**usual | {"encoder": folder, "dataset": str(long)}, candidates=("words", "svm", "lora"))
    assert {one.status for one in found.candidates} <= {"finished", "stopped"}
    assert "About 100.0% of the sentences of train have more than 32 word pieces: ways" in str(found.warnings)
    assert "--max-length 32" in next(one.command for one in found.candidates if one.method == "svm")


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_as_many_word_pieces_are_read_as_are_asked_for(usual, short, unfolded, monkeypatch, tmp_path):
    found = choose(**usual, candidates=("words", "svm", "lora"), max_length=8)
    assert "of the sentences of train have more than 8 word pieces" in str(found.warnings)
    assert shlex.join(["--max-length", "8"]) in found.asked
    (place,) = (usual["output_dir"] / "choices").iterdir()
    records, _ = rtlab.load_records(place / "records")
    asked = {(one.experiment.method.name, one.experiment.max_length) for one in records}
    assert asked == {("words", 512), ("svm", 8), ("lora", 8)}


def test_a_choice_of_other_word_pieces_is_another(usual, short, unfolded):
    def progress(phase, *_):
        if "SVM, mean" in phase:
            raise KeyboardInterrupt

    for max_length in (None, 8):
        assert choose(**usual, candidates=("words", "svm"), progress=progress, max_length=max_length).interrupted
    assert len([*(usual["output_dir"] / "choices").iterdir()]) == 2


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
@pytest.mark.parametrize("kind", odd_encoders.KINDS)
def test_whatever_the_encoder_words_are_answered_and_the_rest_goes_on_or_says_why(usual, short, tmp_path, kind):
    folder = str(odd_encoders.write(tmp_path / kind, kind))
    found = choose(**usual | {"encoder": folder}, candidates=("words", "svm", "lora", "full"))
    assert all(one.trials for one in found.candidates if one.method == "words")
    refused = [one for one in found.candidates if one.status in ("failed", "left out")]
    assert all(len(one.why) > 20 for one in refused)
    assert found.way.test is not None


def test_sentences_that_splits_share_are_refused(usual, tmp_path):
    leaking = tmp_path / "leaking"
    leaking.mkdir()
    for name, first in (("train", 0), ("validation", 100), ("test", 99)):
        rows(leaking, f"{name}.csv", [(f"sentence {row}", "ab"[row % 2]) for row in range(first, first + 100)])
    with pytest.raises(ValueError, match="sentences of test are in train"):
        choose(**usual | {"dataset": str(leaking)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "soon"}, "budget must be a time"),
        ({"margin": -1}, "margin must be 0 to 50 points; got -1"),
        ({"margin": math.nan}, "margin must be 0 to 50 points"),
        ({"metric": "f1"}, "metric must be one of accuracy, macro-f1"),
        ({"candidates": ("svm", "trees")}, "candidates must be among"),
        ({"candidates": "words"}, "candidates must be some of words, svm, contrastive, lora, full; got 'words'"),
        ({"candidates": ()}, "candidates must be some of words, svm, contrastive, lora, full; got none"),
        ({"candidates": None}, "candidates must be some of"),
        ({"budget": 20}, "budget must be a time such as 30m, 90s or 1.5h, above 0; got 20"),
        ({"show_errors": -1}, "show_errors must be a whole number of at least 0"),
        ({"refit": True}, "refit is for the model that is saved"),
    ],
)
def test_a_request_that_cannot_work_is_refused_and_leaves_nothing(usual, changes, message):
    with pytest.raises(ValueError, match=message):
        choose(**usual | changes)
    assert not files(usual["output_dir"])


def test_the_command_line(rtlab, folder, tmp_path):
    line = ("choose", "--dataset", folder, "--encoder", "tiny-bert", "--candidates", "words, svm", "--device", "cpu")
    done = rtlab(*line, "--json", "choice.json")
    assert done.status == 0
    assert done.out.startswith("recommended: ")
    assert "again: rtlab " in done.out
    written = json.loads((tmp_path / "choice.json").read_text())
    assert done.out.splitlines()[0].startswith(f"recommended: {written['recommended']['name']}")
    assert rtlab(*line, "--budget", "soon").status == 2


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_elsewhere_than_on_a_terminal_each_trial_is_a_line_however_many_folds(rtlab, short, folder):
    line = ("choose", "--dataset", folder, "--encoder", "tiny-bert", "--candidates", "words,lora", "--device", "cpu")
    trials = [line for line in rtlab(*line).err.splitlines() if not line.startswith("rtlab: ")]
    words = r"words, SVM: 80 sentences, seed 42, 5 folds; \d+\.\d min left"
    assert re.fullmatch(words, trials[0])
    assert re.fullmatch(r"LoRA.*, lr 1e-03: \d+ sentences, \d+ epochs?, seed 42, 5 folds; \d+\.\d min left", trials[2])
    (place,) = Path("results/choices").iterdir()
    written = json.loads((place / "choice.json").read_text())
    tried = sum(len(one["trials"]) for one in written["candidates"])
    looked_at = {written["recommended"]["name"], written["cheaper"], written["better"]} - {None}
    assert len(trials) == tried + len(looked_at)
    assert re.fullmatch(r".*: 60 sentences.*, seed 42; \d+\.\d min left", trials[-1])  # on all of train


def test_interrupted_while_test_is_looked_at_the_decision_stands(usual, short, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(choosing.Trials, "run_whole", interrupted)
    found = choose(**usual, candidates=("words",))
    assert found.interrupted
    assert found.way.validation is not None
    assert found.way.test is None
    assert [*(usual["output_dir"] / "choices").glob("*/choice.json")]


def test_a_disk_that_is_full_loses_no_answer(usual, short, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(choosing, "write_whole", full)
    found = choose(**usual, candidates=("words",))
    assert found.way.test is not None
    assert found.warnings[-1].startswith("The choice was not written to ")
    assert "No space left on device" in found.warnings[-1]


def test_a_run_that_cannot_be_recorded_is_a_failed_candidate(usual, short, monkeypatch):
    from rtlab.records import files as of_records

    real = of_records.write_whole

    def full(path, text):
        if '"characters": true' in text:
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr(of_records, "write_whole", full)
    found = choose(**usual, candidates=("words",))
    assert [one.status for one in found.candidates] == ["finished", "failed"]
    assert "No space left on device" in found.candidates[1].why


def test_many_classes(usual, short, tmp_path):
    many = rows(tmp_path, "many.csv", [(f"word{row % 20} number {row}", f"class {row % 20}") for row in range(600)])
    found = choose(**usual | {"dataset": str(many)}, candidates=("words", "svm"))
    assert len(found.classes) == 20
    assert found.way.validation.value > 0.5


def test_one_sentence_with_two_labels(usual, short, tmp_path):
    pairs = [(f"sentence {row // 2}", "ab"[row % 2]) for row in range(300)]
    found = choose(**usual | {"dataset": str(rows(tmp_path, "pairs.csv", pairs))}, candidates=("words",))
    assert any("with different labels" in one for one in found.warnings)
    assert found.way.validation.value == pytest.approx(0.5, abs=0.05)


def test_a_model_that_cannot_be_refitted_is_saved_as_it_was_tried(usual, short, unfolded, monkeypatch, tmp_path):
    def slow(*_, **__):
        raise StoppedError("the budget was spent")

    monkeypatch.setattr(choosing.Trials, "train_again", slow)
    found = choose(**usual, candidates=("words",), save_to=tmp_path / "model", refit=True)
    assert found.warnings[-1] == "The saved model knows train alone: the budget was spent."
    assert rtlab.predict(tmp_path / "model", ["never dull ."])


def test_where_the_refitted_model_is_not_saved_that_of_train_is_and_says_so(
    usual, short, unfolded, monkeypatch, tmp_path
):
    real = choosing.Trials._run

    def unsaved(self, *rest, needed=False, **how):
        found = real(self, *rest, needed=needed, **how)
        return dataclasses.replace(found, model=None) if needed else found

    monkeypatch.setattr(choosing.Trials, "_run", unsaved)
    found = choose(**usual, candidates=("words",), save_to=tmp_path / "model", refit=True)
    assert found.warnings[-1].startswith("The saved model knows train alone: ")
    assert found.saved_to == "model"
    (place,) = (usual["output_dir"] / "choices").iterdir()
    described = json.loads((tmp_path / "model" / "rtlab.json").read_text())
    assert described["id"] == found.way.trials[-1].run
    assert "train and validation" not in (tmp_path / "model" / "README.md").read_text().partition("## Limits")[0]
    assert place.exists()


def test_a_refitted_model_knows_validation_too(usual, short, unfolded, tmp_path):
    found = choose(**usual, candidates=("words",), save_to=tmp_path / "model", refit=True)
    assert found.saved_to == "model"
    (place,) = (usual["output_dir"] / "choices").iterdir()
    records, _ = rtlab.load_records(place / "records")
    most = max(records, key=lambda record: record.counts.samples)
    assert most.counts.samples == 60 + 40
    described = json.loads((tmp_path / "model" / "rtlab.json").read_text())
    assert described["id"] == most.id
    again = choose(**usual, candidates=("words",), save_to=tmp_path / "model")  # in place of the former one
    assert again.saved_to == "model"
    assert json.loads((tmp_path / "model" / "rtlab.json").read_text())["id"] != most.id


def test_what_was_compared_on_some_sentences_is_refitted_on_as_many(usual, short, unfolded, monkeypatch, tmp_path):
    """On all of them it might take many times what the budget has."""
    monkeypatch.setattr("rtlab.choosing.trials.SAMPLE", 40)
    monkeypatch.setattr("rtlab.choosing.search._affordable", lambda *_, **__: 30)
    found = choose(**usual, candidates=("words",), save_to=tmp_path / "model", refit=True)
    assert found.way.trials[-1].sentences == 30
    described = json.loads((tmp_path / "model" / "rtlab.json").read_text())
    (place,) = (usual["output_dir"] / "choices").iterdir()
    records, _ = rtlab.load_records(place / "records")
    refitted = next(one for one in records if one.id == described["id"])
    assert refitted.id != found.way.trials[-1].run
    assert refitted.counts.samples == 30


def test_a_place_that_was_taken_meanwhile_loses_no_answer(usual, short, unfolded, monkeypatch, tmp_path):
    def taken(*_, **__):
        (tmp_path / "model").write_text("somebody else's")
        raise ValueError("save_to must be a new or an empty directory")

    real = choosing.hand_over
    monkeypatch.setattr(choosing, "hand_over", taken)
    asked = {**usual, "candidates": ("words",), "save_to": tmp_path / "model"}
    found = choose(**asked)
    assert found.way.test is not None
    assert found.warnings[-1] == "The model was not saved: save_to must be a new or an empty directory."
    monkeypatch.setattr(choosing, "hand_over", real)
    (tmp_path / "model").unlink()  # once there is room
    records = files(usual["output_dir"] / "choices")
    again = choose(**asked)
    assert (again.saved_to, again.recommended) == ("model", found.recommended)
    assert {path for path in records if path.parent.name == "records"} == {
        path for path in files(usual["output_dir"] / "choices") if path.parent.name == "records"
    }
    assert rtlab.predict(tmp_path / "model", ["never dull ."])
    choose(**asked)  # and that one is finished
    assert len([*(usual["output_dir"] / "choices").iterdir()]) == 2


def test_what_can_never_be_handed_over_is_not_tried_for_ever(usual, short, unfolded, monkeypatch, tmp_path):
    """A model that is damaged, say: asked for again, the choice begins anew."""

    def damaged(*_, **__):
        raise ValueError("the model is damaged")

    monkeypatch.setattr(choosing, "hand_over", damaged)
    asked = {**usual, "candidates": ("words",), "save_to": tmp_path / "model"}
    for number in (1, 2):
        assert choose(**asked).warnings[-1] == "The model was not saved: the model is damaged."
        assert len([*(usual["output_dir"] / "choices").iterdir()]) == number


def test_where_nothing_was_tried_to_its_end_the_whole_budget_is_there_again(usual, short, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(choosing, "Budget", lambda seconds, **more: Budget(seconds, clock=lambda: now[0], **more))

    def fails(*_, **__):
        now[0] += 3600
        raise FailedError("the GPU is busy")

    with monkeypatch.context() as patched:
        patched.setattr(choosing.Trials, "run", fails)
        with pytest.raises(NoChoiceError, match="the GPU is busy"):
            choose(**usual, candidates=("words",))
    assert choose(**usual, candidates=("words",)).way.method == "words"


def test_to_look_for_wrong_labels_is_priced_by_its_own_folds(tmp_path):
    """Though the way itself has been tried on all of train."""
    splits, (way, *_) = made(60, 400), ways(("words",), None)
    trials = trials_of(splits, tmp_path)
    trials._costs.set(way, Pace(sentence=0.1))
    done = trials._experiment(way, Extent(60), 42, trials.question.whole)
    trials._known["a"] = SimpleNamespace(experiment=done, dataset=SimpleNamespace(sha256=splits.sha256))
    assert trials.cost(way, Extent(60), 42) == 0
    held_out = 60 + FOLDS * LEAST_TEST
    assert trials.cost_on(way, folds_of_train(splits)) == pytest.approx(0.1 * (60 * (FOLDS - 1) + held_out), rel=0.01)


def test_of_many_files_that_were_not_copied_the_first_says_why(usual, short, unfolded, monkeypatch, tmp_path):
    def full(*_, **__):
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device"), ("c", "d", "likewise")])

    monkeypatch.setattr(choosing, "hand_over", full)
    found = choose(**usual, candidates=("words",), save_to=tmp_path / "model")
    assert found.warnings[-1] == "The model was not saved: [Errno 28] No space left on device."


def test_the_time_of_a_trial_that_was_interrupted_counts(usual, short, unfolded, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(choosing, "Budget", lambda seconds, **more: Budget(seconds, clock=lambda: now[0], **more))

    def progress(phase, *_):
        if "LoRA" in phase and "training" in phase:
            now[0] += 100
            raise KeyboardInterrupt

    assert choose(**usual, candidates=("words", "lora"), progress=progress).interrupted
    (place,) = (usual["output_dir"] / "choices").iterdir()
    assert json.loads((place / "state.json").read_text())["seconds"] >= 100
    assert choose(**usual, candidates=("words", "lora")).seconds >= 100


def test_what_has_no_score_on_test_says_why(usual, short, monkeypatch):
    def spent(*_, **__):
        raise StoppedError("the budget was spent")

    monkeypatch.setattr(choosing.Trials, "run_whole", spent)
    found = choose(**usual, candidates=("words",))
    assert found.way.test is None
    assert f"There is no score on test of {found.recommended}: the budget was spent." in found.warnings


@pytest.mark.parametrize(
    ("right", "metric", "said"),
    [
        (0.5, "accuracy", "is not shown to beat always saying a, whose accuracy is 0.500: "),
        (0.7, "accuracy", None),
        (0.5, "macro-f1", None),  # always saying one of two has a macro-F1 of a third
    ],
)
def test_what_is_recommended_though_nothing_was_learned_is_said(right, metric, said):
    bench = Bench(60, lambda *_: right)
    standing = Standing(way=ways(("words",), None)[0], results=[bench.run(ways(("words",), None)[0], Extent(8000), 1)])
    found = say_at_chance(standing, metric, ("a", "b"))
    assert (found is None) if said is None else (said in found)


@pytest.mark.parametrize(("family", "words"), [("words", False), ("svm", True)])
def test_where_nothing_was_tried_what_would_do_is_not_what_was(family, words):
    standings = [Standing(way=way, why="the budget was spent") for way in ways((family,), "native")]
    assert ("words among the candidates" in choosing._nothing(standings)) == words


def test_a_place_that_holds_something_else_is_refused_at_once(usual, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"save_to must be .* which holds"):
        choose(**usual, save_to=tmp_path)


def test_a_model_that_was_not_saved_is_a_failure_and_said(rtlab, folder, tmp_path, monkeypatch):
    def taken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(choosing, "hand_over", taken)
    monkeypatch.setattr("rtlab.choosing.folds.ENOUGH", 2)
    line = ("choose", "--dataset", folder, "--candidates", "words", "--save-to", tmp_path / "model")
    done = rtlab(*line)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("rtlab: The model was not saved: [Errno 28] No space left on device")
    assert done.out.startswith("recommended: ")


def test_a_trial_that_overruns_the_budget_is_stopped_and_recorded(usual, short, unfolded, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(choosing, "Budget", lambda seconds, **more: Budget(seconds, clock=lambda: now[0], **more))

    def progress(phase, *_):
        if "LoRA" in phase and "training" in phase:
            now[0] += 3600

    found = choose(**usual, candidates=("words", "lora"), progress=progress)
    lora = next(one for one in found.candidates if one.method == "lora")
    assert (lora.status, lora.why) == ("left out", "the budget was spent")
    assert found.way.method == "words"
    (place,) = (usual["output_dir"] / "choices").iterdir()
    records, _ = rtlab.load_records(place / "records")
    assert [one.status for one in records].count("cancelled") == 1


def flipped(splits, share, folder):
    """The data set as files, with labels of so large a share of train flipped; the sentences whose label was."""
    draws = np.random.default_rng(0)
    wrong = {text for text in splits.train.texts if draws.random() < share}
    folder.mkdir()
    for name, split in splits.items():
        labels = [
            1 - label if name == "train" and text in wrong else label
            for text, label in zip(split.texts, split.labels, strict=True)
        ]
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(split.texts, labels, strict=True)])
    return folder, wrong


def test_sentences_whose_labels_were_flipped_are_suspected_first(usual, tmp_path):
    noisy, wrong = flipped(load_splits("corpus", limit=2000), 0.1, tmp_path / "noisy")
    asked = {**usual, "dataset": str(noisy), "candidates": ("words",)}
    found = [one.text in wrong for one in choose(**asked, show_errors=100).suspects]
    assert len(found) == 100
    assert np.mean(found[:20]) > 0.5
    assert np.mean(found) > 0.35  # by chance a tenth


@pytest.mark.thorough
@pytest.mark.parametrize(("share", "of_20", "of_100"), [(0.05, 0.6, 0.5), (0.2, 0.8, 0.7)])
def test_on_real_sentences_too(real_data, usual, tmp_path, share, of_20, of_100):
    """The real ones hold wrong labels of their own, which count as false alarms here."""
    noisy, wrong = flipped(load_splits(str(real_data)), share, tmp_path / "noisy")
    asked = {**usual, "dataset": str(noisy), "candidates": ("words",), "anyway": True}
    found = [one.text in wrong for one in choose(**asked, show_errors=100).suspects]
    assert np.mean(found[:20]) >= of_20
    assert np.mean(found) >= of_100


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_an_encoder_reads_a_sentence_once_whatever_the_number_of_folds_and_ways(usual, short, monkeypatch):
    read, real = [], svm.read

    def counted(model, tokens, *rest, **how):
        read.append(len(tokens))
        return real(model, tokens, *rest, **how)

    monkeypatch.setattr(svm, "read", counted)
    found = choose(**usual, candidates=("svm",))
    assert found.folds == FOLDS
    assert [one.status for one in found.candidates] == ["finished", "finished"]
    probed = read.pop(0)
    assert probed <= PROBED
    assert sum(read) <= 60 + 40 + 40


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")  # random features
def test_no_more_models_lie_on_disk_than_may_be_handed_over(usual, short, unfolded, monkeypatch, tmp_path):
    """One a way at most, of its largest trial's first seed."""
    real, most = choosing.Trials.run, {}

    def counted(self, way, *rest):
        found = real(self, way, *rest)
        most[way.name] = sum(1 for _ in (self.folder / "models").iterdir())
        return found

    monkeypatch.setattr(choosing.Trials, "run", counted)
    found = choose(**usual, candidates=("words", "lora"), save_to=tmp_path / "model")
    tried = [one for one in found.candidates if one.trials]
    assert sum(len(one.trials) for one in tried) > len(tried)
    assert max(most.values()) <= len(tried)
    assert found.saved_to == "model"


def test_an_interrupted_choice_that_is_to_save_a_model_runs_nothing_twice(
    usual, short, unfolded, monkeypatch, tmp_path
):
    def progress(phase, *_):
        if "LoRA" in phase:
            raise KeyboardInterrupt

    asked = {**usual, "candidates": ("words", "lora"), "save_to": tmp_path / "model"}
    first = choose(**asked, progress=progress)
    assert first.interrupted
    assert first.warnings[-1].startswith("The model was not saved: the choice was ended early; asked for again")
    ran, real = [], Run.execute
    monkeypatch.setattr(Run, "execute", lambda self: ran.append(self.prepared.experiment.method) or real(self))
    found = choose(**asked)
    assert not found.interrupted
    assert "words" not in {method.name for method in ran}  # nor is its model made again
    assert found.saved_to == "model"
