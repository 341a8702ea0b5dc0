"""Several runs at once: as many as there is room for, each on a part of the machine, and none harms another."""

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import dying
import numpy as np
import pytest
import small

import rtlab as library
from rtlab.running import run
from rtlab.scheduling import jobs, processes
from rtlab.scheduling.jobs import fitting, free_memory, rooms, work_at_once
from rtlab.scheduling.planning import plan
from rtlab.scheduling.processes import Room
from rtlab.scheduling.sweep import sweep


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("jobs") / "reviews")


@pytest.fixture(scope="module")
def planned(data):
    return plan([small.experiment(data, method="svm", seed=seed) for seed in range(4)])


@pytest.fixture
def forked(monkeypatch):
    """Runs are forked from this process, which has imported everything."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(processes.multiprocessing, "get_context", lambda _: fork)


# Doing them


def test_two_at_once_come_to_what_one_after_another_does(data, tmp_path, monkeypatch):
    """In fresh processes, which have the threads that they say, from torch's import on."""
    monkeypatch.setattr(jobs, "threads", lambda: 4)
    before = {name: os.environ.get(name) for name in Room("cpu", 2).variables}
    experiments = [small.experiment(data, method=name) for name in ("full", "lora")]
    done = list(sweep(plan(experiments), output_dir=tmp_path / "at once", jobs=2))
    assert {name: os.environ.get(name) for name in before} == before
    assert [one.recorded for one in done] == ["ok", "ok"]
    assert all(one.seconds > 0 for one in done)
    there = {record.id: record for record in library.load_records(tmp_path / "at once" / "records").records}
    for one in experiments:
        alone = run(one, output_dir=tmp_path / "alone")
        beside = there[alone.id]
        assert (beside.testbed.threads, beside.environment["threads"]) == (2, 2)
        assert not beside.undisturbed
        for split, said in alone.predictions.items():
            np.testing.assert_allclose(beside.predictions[split].logits, said.logits, atol=1e-4)


def test_beside_others_a_time_counts_as_disturbed_even_where_the_system_does_not_tell(data, tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.environment.OtherProcesses.share", lambda _: None)
    one = small.experiment(data, method="svm")
    assert library.running.Run(one, output_dir=tmp_path).execute().undisturbed
    assert not library.running.Run(one, output_dir=tmp_path, beside=True).execute().undisturbed
    monkeypatch.setattr("rtlab.environment.OtherProcesses.share", lambda _: 0.5)
    assert library.running.Run(one, output_dir=tmp_path, beside=True).execute().timing.others == 0.5


def of_the_second_killed(experiment, *others):
    dying.killed() if experiment.seed == 1 else processes_run_one(experiment, *others)


processes_run_one = processes._run_one


def test_a_run_that_is_killed_takes_no_other_with_it(planned, tmp_path, monkeypatch, forked):
    monkeypatch.setattr(processes, "_run_one", of_the_second_killed)
    done = {one.experiment.seed: one for one in sweep(planned, output_dir=tmp_path, jobs=3)}
    assert {seed: one.recorded for seed, one in done.items()} == {0: "ok", 1: "oom", 2: "ok", 3: "ok"}
    found = library.load_records(tmp_path / "records").records
    assert sorted(record.id for record in found) == sorted(one.id for one in planned)
    [killed] = [record for record in found if record.status == "oom"]
    assert killed.testbed.threads == rooms("cpu", 3)[0].threads
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    assert not multiprocessing.active_children()


def deaf(experiment, folder, *_):
    """One that ends by no signal that can be ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    (Path(folder) / f"deaf{experiment.seed}").touch()
    time.sleep(600)


def until_deaf(folder, number):
    while len(list(folder.glob("deaf*"))) < number:
        time.sleep(0.02)


def test_an_interrupt_ends_all_and_each_leaves_its_record(planned, tmp_path, monkeypatch, forked):
    monkeypatch.setattr(processes, "_run_one", deaf)
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)

    def interrupt():
        until_deaf(tmp_path, 3)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(sweep(planned, output_dir=tmp_path, jobs=3))
    finally:
        sender.join()
        signal.signal(signal.SIGINT, before)
    all_ended(tmp_path, planned[:3])


def all_ended(folder, begun):
    assert not multiprocessing.active_children()
    found = library.load_records(folder / "records").records
    assert sorted(record.id for record in found) == sorted(one.id for one in begun)
    assert {record.status for record in found} == {"cancelled"}
    assert not (folder / ".running").exists()


def first_left_others_deaf(experiment, folder, *others):
    deaf(experiment, folder, *others) if experiment.seed else dying.left()


def test_an_error_of_who_asks_ends_all_as_well(planned, tmp_path, monkeypatch, forked):
    monkeypatch.setattr(processes, "_run_one", first_left_others_deaf)
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)
    runs = sweep(planned, output_dir=tmp_path, jobs=2)
    assert next(runs).recorded == "failed"
    runs.close()
    assert not multiprocessing.active_children()
    found = library.load_records(tmp_path / "records").records
    assert sorted(record.status for record in found) == ["cancelled", "failed"]


SHARED = """
import multiprocessing, sys
fork = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda _: fork
from rtlab.cli import main
sys.exit(main(["sweep", *sys.argv[1:]]))
"""


def test_two_sweeps_of_two_at_once_lose_and_double_nothing(data, forkserver, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(SHARED)
    made = "--methods svm --encoder tiny-distilbert --train-sentences 10,12 --seeds 3"
    words = *made.split(), "--jobs", "2", "--output-dir", "out"
    started = [forkserver.start(script, *words, "--dataset", data, cwd=tmp_path) for _ in range(2)]
    for process in started:
        assert process.wait() == 0, process.err.read_text()
        assert "Traceback" not in process.err.read_text()
    found = library.load_records(tmp_path / "out" / "records").records
    assert len({record.id for record in found}) == len(found) == 6
    assert {record.status for record in found} == {"ok"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["records"]


# How many


def sized(planned, *sizes):
    return [dataclasses.replace(one, memory=size) for one, size in zip(planned, sizes, strict=False)]


@pytest.mark.parametrize(
    ("free", "asked", "fit"), [(100, 4, 4), (99, 4, 3), (70, 4, 2), (69, 4, 1), (1, 4, 1), (1, 1, 1), (None, 4, 4)]
)
def test_no_more_than_fit_into_memory_are_begun_and_at_least_one(planned, monkeypatch, free, asked, fit):
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(jobs, "free_memory", lambda: free)
    found, said = fitting(sized(planned, 10, 40, 30, 20), asked, device="cpu")
    assert found == fit
    assert (said is None) == (fit == asked)


def test_fewer_are_said_in_a_line(planned, monkeypatch):
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(jobs, "free_memory", lambda: 3 * 10**9)
    assert fitting(sized(planned, 2 * 10**9, 2 * 10**9), 2, device="cpu") == (
        1,
        "1 run at once in place of 2: 3.0 GB of memory are free, and a run needs up to 2.0 GB.",
    )


@pytest.mark.parametrize(("cores", "why"), [(2, "2 cores"), (1, "1 core"), (None, "1 core")])
def test_no_more_are_begun_than_there_are_cores(planned, monkeypatch, cores, why):
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(jobs, "free_memory", lambda: None)
    found, said = fitting(planned, 9, device="cpu")
    assert found == (cores or 1)
    assert said.endswith(f" at once in place of 9: this machine has {why}.")


def test_memory_is_that_of_runs_alike_or_else_by_the_weights(data, tmp_path):
    asked = small.experiment(data, method="svm")
    weights = sum(path.stat().st_size for path in plan([asked])[0].prepared.encoder.path.glob("*.safetensors"))
    assert weights > 0
    assert plan([asked])[0].memory == 10**9 + 8 * weights
    record = run(asked, output_dir=tmp_path)
    again = dataclasses.replace(asked, seed=7)
    assert plan([again], [record])[0].memory == record.memory.peak_host
    assert plan([small.experiment(data)], [record])[0].memory == 10**9 + 8 * weights


def test_free_memory_is_the_least_of_what_machine_and_container_say(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(jobs, "_CGROUP", tmp_path)
    assert free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    5 kB\n")
    assert free_memory() == 5 * 1024
    for name, text in {"max": "max", "current": "2000", "stat": "anon 1\ninactive_file 100\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory() == 5 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert free_memory() == 1100


@pytest.fixture
def gpus(monkeypatch):
    """A machine that has so many GPUs, as far as counting goes."""
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(jobs, "free_memory", lambda: None)
    monkeypatch.setattr(jobs, "threads", lambda: 9)


def test_on_cuda_each_run_has_a_gpu_and_a_part_of_the_threads(gpus, monkeypatch):
    assert rooms("cuda", 1) == [Room("cuda")]
    assert rooms("cuda", 2) == [Room("cuda", 4, "0"), Room("cuda", 4, "1")]
    assert [room.gpu for room in rooms(None, 4)] == ["0", "1", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-x")
    assert [room.variables["CUDA_VISIBLE_DEVICES"] for room in rooms("cuda", 2)] == ["3", "GPU-x"]
    assert [room.gpu for room in rooms("cpu", 2)] == [None, None]


def test_on_cuda_no_more_are_begun_than_gpus_take(gpus, planned):
    assert fitting(planned, 3, device="cuda") == (2, "2 runs at once in place of 3: 2 GPUs, 1 a GPU.")
    assert fitting(planned, 4, device="cuda", jobs_per_gpu=2) == (4, None)
    assert fitting(planned, 2) == (2, None)


def test_gpus_of_their_own_do_as_much_more_work_and_a_shared_one_no_more(gpus):
    assert work_at_once(None, 1) == (1.0, "one after another")
    assert work_at_once(None, 2) == (2.0, "each has a GPU")
    assert work_at_once("cuda", 4) == (2.0, "they share 2 GPUs")


@pytest.mark.parametrize(
    ("jobs_", "threads", "cores", "work", "why"),
    [
        (1, 2, 2, 1.0, "one after another"),
        (2, 2, 2, 1.1, "they compute on 2 cores, one alone on 2"),
        (4, 2, 2, 1.1, "they compute on 2 cores, one alone on 2"),
        (2, 1, 2, 2.0, "they compute on 2 cores, one alone on 1"),
        (2, 1, 1, 1.1, "they compute on 1 core, one alone on 1"),
        (2, 5, 8, 0.88, "they compute on 4 cores, one alone on 5"),
    ],
)
def test_cores_that_are_shared_do_little_more_work(monkeypatch, jobs_, threads, cores, work, why):
    monkeypatch.setattr(jobs, "threads", lambda: threads)
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: cores)
    assert work_at_once("cpu", jobs_) == (pytest.approx(work), why)


def test_what_is_no_number_is_refused(rtlab):
    said = rtlab("sweep", "smoke", "--jobs", "x")
    assert said.status == 2
    words = " ".join(said.err.split())
    assert "Error parsing --jobs: " in words
    assert "invalid literal for int()" in words
