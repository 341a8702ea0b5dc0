"""Trials of a choice side by side: how many at once, each in a process of its own, and the same answer as without."""

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from types import SimpleNamespace

import dying
import numpy as np
import pytest
import small

import rtlab
from rtlab.choosing import at_once, choose
from rtlab.choosing.at_once import soonest
from rtlab.choosing.budget import Budget
from rtlab.choosing.deciding import decide
from rtlab.choosing.folds import FOLDS, whole
from rtlab.choosing.question import Question
from rtlab.choosing.results import Result
from rtlab.choosing.search import search
from rtlab.choosing.standing import Standing
from rtlab.choosing.trials import Trials
from rtlab.choosing.ways import FAMILIES, RATES, Extent, ways
from rtlab.data import load_splits
from rtlab.ending import StoppedError
from rtlab.engines.native import NativeEngine
from rtlab.experiment import Experiment
from rtlab.records import Predictions
from rtlab.scheduling import processes

TWO_IN_STEPS = ("words", "svm", "lora", "full")
PACES = {"words": 0.0005, "svm": 0.004, "contrastive": 0.02, "lora": 0.013, "full": 0.017}

# How many


@pytest.fixture
def cores(monkeypatch):
    """Two runs at once do half as much again as one, four twice as much; a process starts at once."""
    monkeypatch.setattr(at_once, "START_S", 0.0)
    monkeypatch.setattr(at_once, "work_at_once", lambda _, number: ({1: 1.0, 2: 1.5, 3: 1.5, 4: 2.0}[number], ""))


@pytest.mark.parametrize(
    ("seconds", "jobs", "number", "until"),
    [
        ([], 4, 1, 0),
        ([9], 4, 1, 9),
        ([9, 9], 1, 1, 18),
        ([9, 9], 2, 2, 12),
        ([9, 9], 4, 2, 12),
        ([9, 9, 9], 2, 2, 24),  # two rounds, in the second of which one has half of the cores
        ([9, 9, 9], 4, 3, 18),
        ([9] * 4, 4, 4, 18),
        ([9] * 5, 4, 2, 36),  # three rounds of two take as long as two rounds of four
    ],
)
def test_as_many_are_done_at_once_as_end_soonest(cores, seconds, jobs, number, until):
    assert soonest(seconds, jobs, "cpu") == (number, until)


def test_what_takes_less_than_the_start_of_a_process_is_done_one_after_another(cores, monkeypatch):
    monkeypatch.setattr(at_once, "START_S", 6.0)
    assert soonest([1.0] * 10, 4, "cpu") == (1, 10)
    assert soonest([100.0] * 4, 4, "cpu") == (4, 6 + 200)


@pytest.mark.parametrize("jobs", [0, -1, 2.0, True])
def test_no_number_of_jobs_is_refused(jobs):
    with pytest.raises(ValueError, match=rf"^jobs must be a whole number of at least 1; got {jobs}$"):
        choose("nowhere.csv", jobs=jobs)


# The search with made runs


class AtOnce(SimpleNamespace):
    """Trials that take made times, the sum of them as far as the cores are shared; all score alike."""

    def __init__(self, budget, jobs):
        super().__init__(budget=budget, jobs=jobs, now=0.0, sentences=8000, sample=2000, held_out=(1000,), batches=[])

    left = property(lambda self: self.budget - self.now)

    def after(self, *_):
        return 0.0

    def planned(self, plan):
        return plan()

    def probe(self, _):
        self.now += 1.0

    def cost(self, way, extent, _seed=0):
        return 1 + PACES[way.family] * (extent.sentences * way.passes(extent.epochs) + 300)

    def together(self, seconds, _):
        return soonest(seconds, self.jobs, "cpu")[1]

    def run_all(self, ways, extent, seed):
        assert self.now <= self.budget
        self.batches.append([way.name for way in ways])
        self.now += self.together([self.cost(way, extent) for way in ways], extent)
        return [(way, self.result(way, extent, seed)) for way in ways]

    def result(self, way, extent, seed):
        labels_N, logits_NC = np.tile([0, 1], 500), np.zeros((1000, 2), dtype=np.float32)
        logits_NC[np.arange(1000), np.where(np.arange(1000) % 5 == 0, 1 - labels_N, labels_N)] = 1
        return Result(
            experiment=Experiment(method=way.lasting(extent.epochs), seed=seed),
            extent=extent,
            seconds=self.cost(way, extent),
            held_out=Predictions(labels=labels_N.astype(np.int32), logits=logits_NC),
            rows=np.arange(1000),
            records=(),
        )


@pytest.mark.parametrize("budget", [150, 300, 600, 1800, 7200])
@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_the_plan_goes_by_what_is_done_at_once(cores, budget, jobs):
    trying, standings = AtOnce(budget, jobs), [Standing(way=way) for way in ways(TWO_IN_STEPS, "native")]
    search(standings, trying, metric="accuracy", margin=0.01, seed=42)
    assert trying.now <= budget
    assert decide(standings, "accuracy", 0.01) is not None
    assert (max(map(len, trying.batches)) > 1) == (budget >= 1800)  # a rung is asked for as one
    if jobs > 1:
        alone, others = AtOnce(budget, 1), [Standing(way=way) for way in ways(TWO_IN_STEPS, "native")]
        search(others, alone, metric="accuracy", margin=0.01, seed=42)
        more = sum(trained(standings)) - sum(trained(others))
        assert more > 0 if budget == 1800 else more >= 0  # with less one way is trained, with more all are whole


class OnFolds(AtOnce):
    """Where validation has 100 of 600 sentences: a trial on folds is as many runs."""

    def __init__(self, budget, jobs):
        super().__init__(budget, jobs)
        self.sentences, self.held_out = 500, (100, 120, 240, 360, 480, 600)

    def on(self, extent):
        return FOLDS if extent.folds is None else extent.folds

    def after(self, way, extent):
        return super().cost(way, extent) if self.on(extent) else 0.0

    def cost(self, way, extent, _seed=0):
        return max(1, self.on(extent)) * super().cost(way, extent)

    def together(self, seconds, extent):
        parts = max(1, self.on(extent))
        return soonest([one / parts for one in seconds for _ in range(parts)], self.jobs, "cpu")[1]

    def result(self, way, extent, seed):
        rows = np.arange(self.held_out[self.on(extent)])
        found = super().result(way, extent, seed)
        held_out = Predictions(labels=found.held_out.labels[rows], logits=found.held_out.logits[rows])
        return dataclasses.replace(found, rows=rows, held_out=held_out)


@pytest.mark.parametrize("budget", [150, 300, 600, 1800, 7200])
@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_the_budget_holds_with_all_families(cores, budget, jobs):
    for trying in (AtOnce(budget, jobs), OnFolds(budget, jobs)):
        standings = [Standing(way=way) for way in ways(FAMILIES, "native")]
        search(standings, trying, metric="accuracy", margin=0.01, seed=42)
        assert trying.now <= budget
        assert decide(standings, "accuracy", 0.01) is not None
        tried = {one.way.family for one in standings if one.results and not one.way.fitted}
        assert tried in ({"contrastive"}, {"contrastive", "full"}, {"contrastive", "full", "lora"})


@pytest.mark.parametrize("budget", [360, 480, 600])
def test_more_folds_fit_where_runs_are_done_at_once(cores, budget):
    folds = []
    for jobs in (1, 2):
        trying, standings = OnFolds(budget, jobs), [Standing(way=way) for way in ways(TWO_IN_STEPS, "native")]
        search(standings, trying, metric="accuracy", margin=0.01, seed=42)
        assert trying.now <= budget
        folds.append(next(one.largest[0].extent.folds for one in standings if one.way.family == "full" and one.results))
    assert folds[0] < folds[1]


def trained(standings):
    """Sentences that each trial saw of what is trained in steps."""
    return [one.extent.seen for standing in standings if not standing.way.fitted for one in standing.results]


# Doing them


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("at-once") / "reviews", train=60, held_out=40)


@pytest.fixture
def usual(folder, tmp_path):
    return {
        "dataset": str(folder),
        "encoder": "tiny-bert",
        "budget": "60m",
        "output_dir": tmp_path / "out",
        "device": "cpu",
        "candidates": ("lora",),
        "jobs": 2,
    }


@pytest.fixture
def quick(monkeypatch):
    """Little training, no folds; processes are forked from this one, which has imported everything."""
    for name, value in {"EPOCHS": 1, "STEPS_ENOUGH": 6, "STEPS_LEAST": 2}.items():
        monkeypatch.setattr(f"rtlab.choosing.halving.{name}", value)
    monkeypatch.setattr("rtlab.choosing.search.SEEDS", 2)
    monkeypatch.setattr("rtlab.choosing.folds.ENOUGH", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(at_once, "START_S", 0.0)
    monkeypatch.setattr(at_once, "work_at_once", lambda _, number: (float(number), ""))
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(processes.multiprocessing, "get_context", lambda _: fork)


def recorded(usual):
    (place,) = (usual["output_dir"] / "choices").iterdir()
    assert [path for path in place.rglob("*") if path.name == ".running"] == []
    return rtlab.load_records(place / "records").records


def test_side_by_side_the_answer_is_that_of_one_after_another(usual, quick, tmp_path):
    found = choose(**usual, save_to=tmp_path / "model")
    one_by_one = {**usual, "jobs": 1, "output_dir": tmp_path / "one"}
    alone = choose(**one_by_one, save_to=tmp_path / "other")
    assert "--jobs 2" in found.asked
    assert "jobs" not in alone.asked
    assert (found.recommended, found.better) == (alone.recommended, alone.better)
    for one, other in zip(found.candidates, alone.candidates, strict=True):
        assert (one.status, one.validation, one.test) == (other.status, other.validation, other.test)
        assert [trial.run for trial in one.trials] == [trial.run for trial in other.trials]
    assert {one.id for one in recorded(usual)} == {one.id for one in recorded(one_by_one)}
    assert rtlab.predict(tmp_path / "model", ["never dull ."])[0].label in found.classes


def test_what_was_beside_others_is_said_and_what_went_furthest_was_timed_alone(usual, quick, monkeypatch):
    monkeypatch.setattr("rtlab.environment.OtherProcesses.share", lambda _: 0.0)
    found = choose(**usual | {"candidates": ("lora", "full")})
    of_id = {record.id: record for record in recorded(usual)}
    alone = {
        one.name: [of_id[trial.run] for trial in one.largest if of_id[trial.run].undisturbed]
        for one in found.candidates
    }
    assert all(alone[one.name] for one in found.candidates if one.status == "finished")
    beside = {name for name, records in alone.items() if not records}
    assert 0 < len(beside) < len(found.candidates)
    (said,) = [one for one in found.warnings if one.startswith("Times of runs beside others")]
    for one in found.candidates:
        assert (one.name in said) == (one.name in beside)
        timed = alone[one.name] or [of_id[trial.run] for trial in one.largest]
        assert one.seconds == pytest.approx(
            sum(run.timing.prepare_s + run.timing.seconds for run in timed) / len(timed)
        )


def test_of_folds_side_by_side_what_is_recommended_is_timed_alone_on_train(usual, quick, monkeypatch):
    monkeypatch.setattr("rtlab.environment.OtherProcesses.share", lambda _: 0.0)
    monkeypatch.setattr("rtlab.choosing.folds.ENOUGH", 300)
    monkeypatch.setattr("rtlab.choosing.folds.FOLDS", 2)
    monkeypatch.setattr("rtlab.choosing.search.SEEDS", 1)
    found = choose(**usual, margin=0)
    assert found.way.folds == 2
    whole = load_splits(usual["dataset"]).sha256
    [timing] = [
        record.timing
        for record in recorded(usual)
        if record.dataset.sha256 == whole and record.experiment.method == found.way.experiment.method
    ]
    assert found.way.seconds == pytest.approx(timing.prepare_s + timing.seconds)
    assert timing.others == 0
    assert not any("Times of runs beside others" in one and found.recommended in one for one in found.warnings)
    assert all(one.timing.others for one in recorded(usual) if one.dataset.sha256 != whole)


run_one = processes._run_one


def second_rate(experiment):
    return experiment.method.recipe.learning_rate == RATES["lora"][1]


def of_the_second_rate_killed(experiment, *others):
    dying.killed() if second_rate(experiment) else run_one(experiment, *others)


def test_a_trial_that_dies_takes_no_other_with_it(usual, quick, monkeypatch):
    monkeypatch.setattr(processes, "_run_one", of_the_second_rate_killed)
    found = choose(**usual)
    first, second, third = found.candidates
    assert (second.status, second.trials) == ("failed", ())
    assert second.why == "its process was killed (signal 9): most likely out of memory"
    assert first.trials
    assert third.trials
    assert [one.status for one in recorded(usual)].count("oom") == 1


def test_a_disk_that_is_full_loses_no_answer(usual, quick, monkeypatch):
    from rtlab.records import files

    real = files.write_whole

    def full(path, text):
        if f'"learning_rate": {RATES["lora"][1]}' in text:
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr(files, "write_whole", full)
    found = choose(**usual | {"candidates": ("words", "lora")})
    assert [one.status for one in found.candidates if one.method == "words"] == ["finished"] * 2
    second = found.candidates[3]
    assert second.status == "failed"
    assert second.why.startswith("[Errno 28] No space left on device")
    assert not multiprocessing.active_children()


def of_the_second_rate_deaf(experiment, folder, *others):
    dying.deaf(experiment, folder) if second_rate(experiment) else run_one(experiment, folder, *others)


def test_an_interrupt_gives_the_best_so_far_and_the_same_question_goes_on(usual, quick, monkeypatch):
    """One trial has ended, and another would never end."""
    monkeypatch.setattr(processes, "_run_one", of_the_second_rate_deaf)
    monkeypatch.setattr(at_once, "PATIENCE_S", 0.2)
    place = usual["output_dir"] / "choices"

    def interrupt():
        while not ([*place.glob("*/deaf")] and len([*place.glob("*/state.json")]) and len(ended) == 2):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    ended = []
    put_together = Trials._try

    def counted(self, *given, **how):
        found = put_together(self, *given, **how)
        ended.append(found)
        return found

    monkeypatch.setattr(Trials, "_try", counted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        found = choose(**usual)
    finally:
        sender.join()
        signal.signal(signal.SIGINT, before)
    assert found.interrupted
    assert not multiprocessing.active_children()
    first, second, third = found.candidates
    assert (len(first.trials), len(second.trials), len(third.trials)) == (1, 0, 1)
    assert found.recommended in (first.name, third.name)
    assert sorted(one.status for one in recorded(usual)) == ["cancelled", "ok", "ok"]
    monkeypatch.setattr(processes, "_run_one", run_one)
    again = choose(**usual)
    assert not again.interrupted
    assert all(one.trials for one in again.candidates)
    ids = [one.id for one in recorded(usual) if one.status == "ok"]
    assert len(ids) == len(set(ids))


def test_where_the_budget_is_spent_all_in_flight_are_stopped(folder, quick, monkeypatch, tmp_path):
    def lasting(self):
        for step in range(6000):  # a minute
            self._task.progress("training", step, 6000)
            time.sleep(0.01)

    monkeypatch.setattr(NativeEngine, "train", lasting)
    splits, encoder = load_splits(str(folder)), rtlab.load_encoder("tiny-bert")
    trials = Trials(
        question=Question(
            usual=Experiment(encoder=encoder.source, dataset=str(folder)),
            splits=splits,
            folds=(whole(splits),),
            encoder=encoder,
            device="cpu",
        ),
        budget=Budget(2),
        folder=tmp_path,
        save_models=False,
        jobs=2,
    )
    trials.budget.begun()
    monkeypatch.setattr(Trials, "cost", lambda *_: 1.0)
    every = ways(("lora",), "native")
    tried = dict(trials.run_all(every, Extent(len(splits.train)), 42))
    assert {*tried} == {*every}
    assert all(isinstance(one, StoppedError) and str(one) == "the budget was spent" for one in tried.values())
    assert not multiprocessing.active_children()
    assert {one.status for one in rtlab.load_records(tmp_path / "records").records} == {"cancelled"}
