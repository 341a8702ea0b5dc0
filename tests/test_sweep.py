"""A study, run after run: what is recorded is left out, failures are survived, kills cost the run in flight."""

import dataclasses
import itertools
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import dying
import odd_encoders as odd
import pytest
import small

import rtlab as library
from rtlab import preparing, records, testbed
from rtlab.engines.svm import SvmEngine
from rtlab.running import run
from rtlab.scheduling import planning, processes, sweep
from rtlab.scheduling.planning import FINISHED, plan
from rtlab.studies import TIMED, study

# A sweep of SVMs over three seeds; in a file, as a run's fresh process reads it too.
SWEEP = """
import signal, sys
from pathlib import Path
import small
from rtlab import running, studies
from rtlab.cli import main
def three(*_, **__):
    return small.matrix(*(small.experiment(Path(sys.argv[1]), method="svm", seed=seed) for seed in range(3)))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever it inherited
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    studies.matrix = three
    sys.exit(main(["sweep", "smoke", *sys.argv[2:]]))
"""

# The last of the three never ends, and says when it trains.
ENDLESS = SWEEP.replace(
    "def three",
    """
import time
whole = running.Run.train
def train(self):
    if self.prepared.experiment.seed == 2:
        print("training", file=sys.stderr, flush=True)
        time.sleep(600)
    whole(self)
running.Run.train = train
def three""",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("sweep") / "reviews")


@pytest.fixture(scope="module")
def svm(data):
    return small.experiment(data, method="svm")


@pytest.fixture(scope="module")
def done(svm, tmp_path_factory):
    """The record of a finished run, undisturbed."""
    record = run(svm, output_dir=tmp_path_factory.mktemp("done"))
    return dataclasses.replace(record, timing=dataclasses.replace(record.timing, others=0.01))


def ended(record, status):
    """The record of a run that ended like this."""
    if status == "ok":
        return record
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None}
    return dataclasses.replace(record, status=status, error="boom", **nothing)


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.json")}


# What is left out


@pytest.mark.parametrize(
    ("statuses", "to_do", "recorded"),
    [
        ((), True, None),
        (("ok",), False, "ok"),
        (("nan",), False, "nan"),
        (("failed",), True, "failed"),
        (("oom",), True, "oom"),
        (("cancelled",), True, "cancelled"),
        (("oom", "failed"), True, "failed"),
        (("failed", "ok"), False, "ok"),
        (("ok", "cancelled"), False, "ok"),
        (("nan", "oom"), False, "nan"),
        (("nan", "ok"), False, "ok"),
    ],
    ids=str,
)
def test_what_ended_is_left_out_and_what_was_cut_short_is_not(svm, done, statuses, to_do, recorded):
    [planned] = plan([svm], [ended(done, status) for status in statuses])
    assert (planned.to_do, planned.recorded, planned.id) == (to_do, recorded, done.id)


def test_a_record_counts_at_any_depth_and_under_any_name(svm, done, rtlab, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rtlab.studies.matrix", lambda *_, **__: small.matrix(svm, svm, dataclasses.replace(svm, seed=7))
    )
    path = records.save(done, tmp_path / "results" / "records")
    place = tmp_path / "results" / "records" / "2026" / "autumn" / "mine.json"
    place.parent.mkdir(parents=True)
    path.rename(place)
    said = rtlab("sweep", "smoke", "--dry-run")
    first, second, last = said.out.splitlines()
    assert first == f"ok         {done.id}  svm-cls, seed 42"
    assert second.startswith("to do      ")
    assert second.endswith("  svm-cls, seed 7, about 1 min")
    assert last == "1 recorded already, 1 to do: about 1 min"
    assert (said.status, said.err) == (0, "")


def test_it_says_about_how_long_what_is_to_do_will_take(svm, done, rtlab, tmp_path, monkeypatch):
    others = [dataclasses.replace(svm, seed=seed) for seed in range(5)]
    unlike = dataclasses.replace(svm, encoder="tiny-bert")
    monkeypatch.setattr("rtlab.studies.matrix", lambda *_, **__: small.matrix(*others, unlike))
    nothing = dict.fromkeys(("load_s", "prepare_s", "warmup_s", "evaluate_s"), 0.0)
    slow = dataclasses.replace(done, timing=dataclasses.replace(done.timing, train_s=3600.0, **nothing))
    records.save(slow, tmp_path / "results" / "records")
    assert rtlab("sweep", "smoke", "--dry-run").out.splitlines()[-1] == (
        "0 recorded already, 6 to do: about 5.0 hours for 5 of them; nothing like the others is recorded"
    )
    monkeypatch.setattr("rtlab.scheduling.jobs.free_memory", lambda: None)
    monkeypatch.setattr("rtlab.scheduling.jobs.threads", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert rtlab("sweep", "smoke", "--dry-run", "--jobs", 2).out.splitlines()[-1] == (
        "0 recorded already, 6 to do: about 4.5 hours for 5 of them; nothing like the others is recorded; 2 at once "
        "are taken to do 1.1 times the work of one: they compute on 2 cores, one alone on 2"
    )


@pytest.mark.parametrize("status", ["failed", "oom", "cancelled"])
def test_what_is_tried_again_is_said(svm, done, rtlab, tmp_path, monkeypatch, status):
    monkeypatch.setattr("rtlab.studies.matrix", lambda *_, **__: small.matrix(svm))
    records.save(ended(done, status), tmp_path / "results" / "records")
    said = rtlab("sweep", "smoke", "--dry-run")
    assert said.out == f"to do      {done.id}  svm-cls, seed 42 ({status} before)\n0 recorded already, 1 to do\n"


def test_a_bad_record_is_named_and_the_others_count(svm, done, rtlab, tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.studies.matrix", lambda *_, **__: small.matrix(svm))
    path = records.save(done, tmp_path / "results" / "records")
    (path.parent / "bad.json").write_text('{"schema": 2')
    said = rtlab("sweep", "smoke", "--dry-run")
    assert (said.status, said.out.splitlines()[-1]) == (0, "1 recorded already, 0 to do")
    [line] = said.err.splitlines()
    assert line.startswith("rtlab: left out: results/records/bad.json is no readable record (")


def elsewhere(record):
    return dataclasses.replace(record, testbed=dataclasses.replace(record.testbed, threads=64))


def disturbed(record):
    return dataclasses.replace(record, timing=dataclasses.replace(record.timing, others=0.2))


def not_measured(record):
    return dataclasses.replace(record, timing=dataclasses.replace(record.timing, others=None))


RETIMED = {
    "here": ([lambda one: one], False),
    "here, not measured": ([not_measured], False),
    "elsewhere": ([elsewhere], True),
    "disturbed": ([disturbed], True),
    "one of several": ([elsewhere, disturbed, lambda one: one], False),
    "none of several": ([elsewhere, disturbed, lambda one: ended(one, "failed")], True),
    "diverged": ([lambda one: elsewhere(ended(one, "nan"))], False),
    "failed": ([lambda one: ended(one, "failed")], True),
    "never": ([], True),
}


@pytest.mark.parametrize(("there", "to_do"), RETIMED.values(), ids=RETIMED)
def test_retime_repeats_what_was_not_timed_here_undisturbed(svm, done, there, to_do):
    recorded = [change(done) for change in there]
    [planned] = plan([svm], recorded, retime=True)
    assert planned.to_do == to_do
    if "ok" in [record.status for record in recorded]:
        assert not plan([svm], recorded)[0].to_do


def test_a_study_loads_its_data_and_digests_its_encoder_once(monkeypatch):
    calls = []
    for name, owner in (("load_splits", planning), ("digest", sys.modules["rtlab.encoders.encoder"])):
        whole = getattr(owner, name)

        def counted(*arguments, whole=whole, name=name, **options):
            calls.append((name, options["limit"]) if "limit" in options else (name,))
            return whole(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)
    planned = plan(study("smoke", seeds=2, limit=8))
    assert len(planned) == 66
    assert sorted(calls) == [("digest",), ("load_splits", 8)]
    calls.clear()
    plan(study("embedded", encoder="tiny-distilbert", limit=200))
    assert sorted(calls) == [("digest",), ("load_splits", TIMED), ("load_splits", 200)]


CHECKS = ("_modules", "_check_tokens", "checked", "_check_results")


def test_a_study_checks_its_encoder_once_for_all_that_a_check_depends_on(data, monkeypatch):
    calls = []
    for name in CHECKS:
        whole = getattr(preparing, name)

        def counted(*arguments, whole=whole, name=name):
            calls.append(name)
            return whole(*arguments)

        monkeypatch.setattr(preparing, name, counted)

    def numbers(*methods, **fields):
        calls.clear()
        rates = [dict(method, seed=seed, **fields) for method in methods for seed in range(3)]
        assert len(plan([small.experiment(data, **one) for one in rates])) == len(rates)
        return tuple(calls.count(name) for name in CHECKS)

    full = [{"method": "full", "learning_rate": rate, "engine": "native"} for rate in (1e-3, 1e-4)]
    assert numbers(*full) == (1, 1, 1, 1)
    lora = [{"method": "lora", "learning_rate": rate, "settings": {"r": 4}} for rate in (1e-3, 1e-4)]
    assert numbers(*full, *lora) == (2, 1, 1, 2)  # the same weights under the same head, on the same sentences
    more = [{"method": "lora", "settings": {"r": 8}}, {"method": "full", "freeze_layers": 1}]
    assert numbers(*full, *lora, *more) == (4, 1, 1, 4)
    assert numbers({"method": "svm"}, {"method": "svm", "pooling": "mean"}, *full) == (3, 3, 2, 3)
    assert numbers(*full, max_length=24) == (1, 1, 1, 1)
    assert numbers({"method": "full"}, train_sentences=20) == (1, 3, 1, 3)  # each seed draws other sentences


def test_what_was_found_sound_is_looked_at_anew_by_the_next_plan(data, tmp_path):
    encoder = odd.write(tmp_path / "mine")
    asked = [small.experiment(data, encoder=str(encoder), max_length=24, seed=seed) for seed in range(2)]
    assert len(plan(asked)) == 2
    odd.rewrite(encoder, lambda weights: dict(list(weights.items())[1:]))
    with pytest.raises(ValueError, match="whose weights lack 1 of"):
        plan(asked)


def test_a_study_that_cannot_work_is_refused_whole(svm, data):
    with pytest.raises(ValueError, match="max_length must be at most 512"):
        plan([svm, dataclasses.replace(svm, max_length=513)])


def test_a_dry_run_lists_and_does_nothing(rtlab, tmp_path):
    said = rtlab("sweep", "smoke", "--dry-run", "--limit", 8, "--output-dir", tmp_path / "out")
    assert (said.status, said.err) == (0, "")
    assert said.out.count("to do") == 34
    assert "0 recorded already, 33 to do" in said.out
    assert not (tmp_path / "out").exists()


# What is made from options


@pytest.fixture
def own(rtlab, data):
    """`rtlab sweep` with options that make a study of the tiny encoder."""
    return lambda *words: rtlab("sweep", "--encoder", "tiny-distilbert", "--dataset", data, *words)


def test_options_make_a_study_that_its_file_repeats(own, rtlab, tmp_path):
    flags = "--methods words,svm,full --lr 1e-3,2e-5 --epochs 1 --seeds 2 --train-sentences 10 --dry-run"
    made = own(*flags.split())
    assert made.status == 0, made.err
    lines = made.out.splitlines()
    assert [line.split("  ")[-1] for line in lines[:4]] == [
        "words, 10 training sentences, seed 42",
        "svm-cls, 10 training sentences, seed 42",
        "full-native-packed-lr1e-03, 10 training sentences, 1 epoch, seed 42",
        "full-native-packed-lr2e-05, 10 training sentences, 1 epoch, seed 42",
    ]
    assert lines[8:] == ["0 recorded already, 8 to do"]
    saved = own(*["--methods", "words", "--train-sentences", "10,20", "--save-study", "mine.json"])
    assert saved.status == 0, saved.err
    assert "study written to mine.json" in saved.out
    assert re.fullmatch(r"runs 1/2, about \d+ min left, until \d\d:\d\d( on \d\d \w+)?\nruns 2/2\n", saved.err)
    again = rtlab("sweep", "mine.json")
    assert (again.status, again.out.splitlines()[-2]) == (0, "2 recorded already, 0 to do")
    more = rtlab("sweep", "mine.json", "--seeds", 3, "--dry-run")
    assert re.match(r"2 recorded already, 4 to do: about \d+ min", more.out.splitlines()[-1])
    assert rtlab("sweep", "mine.json", "--train-sentences", "10", "--dry-run").out.count("\n") == 2
    too_many = own("--methods", "words", "--train-sentences", "43", "--save-study", "not.json")
    assert too_many.err == "rtlab: --train-sentences must be at most 42, all there are; got 43\n"
    assert not (tmp_path / "not.json").exists()


STUDY = "study must be one of smoke, embedded, lab, evidence, labels, or a file that --save-study wrote"
REFUSED = {
    "": f"{STUDY}, or made from --methods, such as --methods words,svm,lora,full; got none of them",
    "labs": f"{STUDY}; got 'labs'",
    "lab --methods svm": "--methods makes a study of its own; got it beside 'lab'; one of the two would do",
    "lab --lr 1e-3": "--lr makes a study of its own; got it beside 'lab'; one of the two would do",
    "smoke --epochs 1,2": "--epochs must be one value beside a study; got '1,2'",
    "smoke --engine both": "--engine must be one of trainer, native; got 'both'",
    "--methods svm --part 1": "--part must be of the study evidence; got 1 beside --methods",
    "--methods svm,": "--methods must be values, separated by commas; got 'svm,'",
    "--methods full --lr x": "--lr must be numbers, separated by commas; got 'x'",
    "--methods full --lr 0": "--lr must be finite and above 0, such as 2e-5; got 0.0",
    "--methods full --epochs 1.5": "--epochs must be whole numbers, separated by commas; got '1.5'",
    "--methods full --padding none": "--padding must be one of fixed, dynamic, bucketed, packed; got 'none'",
    "--methods svm --lr 1": "--lr means nothing to svm; beside it full or lora or contrastive would do",
    "--methods lora --target-modules attention,q_lin+nope": "--target-modules must be among q_lin, k_lin",
    "--methods svm --limit 20 --train-sentences 21": "--train-sentences must be at most the limit, 20 sentences",
    "--methods svm --save-study no/such/folder.json": "--save-study must be a file in a writable directory",
    "--methods svm --seeds 0": "--seeds must be a whole number of at least 1; got 0",
    "smoke --jobs 0": "--jobs must be a whole number of at least 1; got 0",
    "smoke --jobs 2 --jobs-per-gpu 0": "--jobs-per-gpu must be a whole number of at least 1; got 0",
    "smoke --jobs-per-gpu 2 --device cpu": "--jobs-per-gpu means something on CUDA alone; got 2 on the CPU",
    "smoke --jobs 2 --retime": "--jobs must be 1 for times: runs at once disturb each other; got 2",
    "smoke --shard 3/2": "--shard must be I/N, such as 1/4, with I from 1 to N; got '3/2'",
    "smoke --shard 0/2": "--shard must be I/N, such as 1/4, with I from 1 to N; got '0/2'",
    "smoke --shard a/b": "--shard must be I/N, such as 1/4, with I from 1 to N; got 'a/b'",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_study_that_cannot_be_is_refused_in_a_line(rtlab, tmp_path, line):
    done = rtlab("sweep", *line.split(), "--encoder", "tiny-distilbert", "--dataset", "corpus")
    assert done.status == 2
    assert done.err.startswith(f"rtlab: {REFUSED[line]}")
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_ray_it_says_how_to_get_it(rtlab, monkeypatch):
    monkeypatch.delitem(sys.modules, "rtlab.scheduling.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = rtlab("sweep", "smoke", "--ray", "local")
    assert (done.status, done.err) == (
        2,
        "rtlab: --ray needs the package ray, which is not installed: pip install 'rtlab[cluster]'\n",
    )


def test_a_path_that_is_there_may_have_a_comma(rtlab, tmp_path):
    small.data_folder(tmp_path / "good,bad")
    done = rtlab("sweep", "--methods", "words", "--dataset", "good,bad", "--dry-run")
    assert done.out.splitlines()[-1] == "0 recorded already, 1 to do"


# What is run


def test_the_same_sentences_under_two_names_are_one_run(data, rtlab, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(data, tmp_path / name)
    done = rtlab("sweep", "--methods", "words", "--dataset", "one,two")
    assert done.status == 0, done.err
    assert "0 recorded already, 1 to do" in done.out
    assert done.out.splitlines()[-1].startswith("1 done, 0 failed")


def test_a_failure_is_recorded_and_the_others_go_on(data, svm, rtlab, tmp_path, monkeypatch):
    experiments = (small.experiment(data, learning_rate=1e30), svm)
    monkeypatch.setattr("rtlab.studies.matrix", lambda *_, **__: small.matrix(*experiments))
    said = rtlab("sweep", "smoke", "--device", "cpu")
    assert said.status == 1
    ids = [one.id for one in plan(experiments)]
    titles = [one.title for one in experiments]
    assert said.out.splitlines() == [
        *(f"to do      {i}  {title}" for i, title in zip(ids, titles, strict=True)),
        "0 recorded already, 2 to do",
        *(f"{status:9}  {i}  {title}" for status, i, title in zip(("nan", "ok"), ids, titles, strict=True)),
        "1 done, 1 failed; records in results/records",
    ]
    assert re.fullmatch(r"runs 1/2, about \d+ min left, until \d\d:\d\d( on \d\d \w+)?\nruns 2/2\n", said.err)
    loaded = library.load_records(tmp_path / "results" / "records")
    assert {record.id: record.status for record in loaded.records} == dict(zip(ids, ("nan", "ok"), strict=True))
    before = everything(tmp_path)
    again = rtlab("sweep", "smoke", "--device", "cpu")
    assert (again.status, again.out.splitlines()[2:]) == (
        0,
        ["2 recorded already, 0 to do", "0 done, 0 failed; records in results/records"],
    )
    assert everything(tmp_path) == before


# How the process of a run can end without a record, and what the sweep records then.
DEATHS = {
    dying.killed: ("oom", "its process was killed (signal 9): most likely out of memory"),
    dying.segmentation_fault: ("failed", "its process died of signal 11 (SIGSEGV)"),
    dying.aborted: ("failed", "its process died of signal 6 (SIGABRT)"),
    dying.left: ("failed", "its process ended with status 3 and left no record"),
    dying.silent: ("failed", "its process ended with status 0 and left no record"),
    dying.no_memory: ("oom", "MemoryError:"),
    dying.no_file: ("failed", "ValueError: no file 'x.csv'\ufffd[2J"),
}


@pytest.mark.parametrize(("death", "ended"), DEATHS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_the_sweep_records_what_a_process_could_not(svm, tmp_path, monkeypatch, capfd, death, ended):
    monkeypatch.setattr(processes, "_run_one", death)
    [one] = sweep.sweep(plan([svm]), output_dir=tmp_path)
    assert (one.recorded, one.to_do) == (ended[0], True)
    record = records.load(one.path)
    assert (record.id, record.status, record.error) == (one.id, *ended)
    assert record.experiment.method == svm.method
    assert plan([svm], [record])[0].to_do
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_process_that_dies_after_its_record_has_that(svm, done, tmp_path, monkeypatch):
    ready = records.save(done, tmp_path / "ready")
    monkeypatch.setattr(processes, "_run_one", dying.killed_after_its_record)
    [one] = sweep.sweep(plan([svm]), output_dir=tmp_path / "results")
    assert one.recorded == "ok"
    assert list((tmp_path / "results" / "records").iterdir()) == [one.path]
    assert one.path.name == ready.name


def test_the_other_runs_go_on(svm, rtlab, tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.studies.matrix", lambda *_, **__: small.matrix(svm, dataclasses.replace(svm, seed=7)))
    monkeypatch.setattr(processes, "_run_one", dying.killed)
    said = rtlab("sweep", "smoke")
    assert said.status == 1
    assert said.out.splitlines()[-1] == "0 done, 2 failed; records in results/records"
    assert [line.split()[0] for line in said.out.splitlines()[3:5]] == ["oom", "oom"]


def test_changed_sources_end_a_sweep(svm, tmp_path, monkeypatch):
    planned = plan([svm])
    testbed.code_digest("svm")
    whole = testbed.modules_of
    monkeypatch.setattr(testbed, "modules_of", lambda engine: whole(engine)[:-1])
    with pytest.raises(ValueError, match="the sources of rtlab changed during the sweep; start it again"):
        list(sweep.sweep(planned, output_dir=tmp_path))


def test_a_folder_that_cannot_be_written_is_refused_before_a_run(svm, tmp_path):
    (tmp_path / "records").write_text("")
    with pytest.raises(ValueError, match="output_dir must be a directory"):
        list(sweep.sweep(plan([svm]), output_dir=tmp_path))


# What is finished stays


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), KeyboardInterrupt()], ids=repr)
def test_a_finished_record_stays_when_its_run_is_repeated_and_ends_early(svm, tmp_path, monkeypatch, error):
    first = run(svm, output_dir=tmp_path)
    before = everything(tmp_path)

    def fail(*_):
        raise error

    monkeypatch.setattr(SvmEngine, "evaluate", fail)
    with pytest.raises((library.RunFailedError, KeyboardInterrupt)):
        run(svm, output_dir=tmp_path)
    after = everything(tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) == 2
    [planned] = plan([svm], library.load_records(tmp_path / "records").records)
    assert (planned.to_do, planned.recorded, planned.id) == (False, "ok", first.id)


THOROUGH = pytest.mark.thorough


@pytest.fixture(params=["forked", pytest.param("fresh", marks=THOROUGH)])
def start(request, tmp_path_factory):
    """Starts a sweep: it and its runs forked from a process that has imported everything, or each as a sweep has it."""
    folder, numbers = tmp_path_factory.mktemp("programs"), itertools.count()

    def begin(data, output_dir, *words, program=SWEEP):
        script = folder / f"program{next(numbers)}.py"
        if request.param == "fresh":
            script.write_text(program)
            return fresh(script, data, "--output-dir", output_dir, *words)
        forking = "import multiprocessing\nfork = multiprocessing.get_context('fork')\n"
        script.write_text(f"{forking}multiprocessing.get_context = lambda _: fork\n{program}")
        server = request.getfixturevalue("forkserver")
        return server.start(script, data, "--output-dir", output_dir, *words, cwd=folder)

    return begin


def fresh(script, *words):
    """A process as the forkserver's: its output in files."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out, err = script.with_suffix(".out"), script.with_suffix(".err")
    with out.open("w") as to, err.open("w") as errors:
        command = [sys.executable, str(script), *map(str, words)]
        process = subprocess.Popen(command, env=variables, stdout=to, stderr=errors, start_new_session=True)
    process.out, process.err = out, err
    return process


def until_it_trains(process):
    """Until the last run does, which never ends."""
    while "training" not in process.err.read_text():
        assert process.poll() is None, process.err.read_text()
        time.sleep(0.02)


def test_interrupted_it_ends_with_status_130_and_keeps_what_is_finished(data, svm, start, tmp_path):
    """Each of the runs is a repetition; the interrupt reaches sweep and run, as the terminal sends it."""
    for seed in range(3):
        record = run(dataclasses.replace(svm, seed=seed), output_dir=tmp_path / "apart")
        records.save(elsewhere(record), tmp_path / "records")
    finished = everything(tmp_path)
    process = start(data, tmp_path, "--retime", program=ENDLESS)
    until_it_trains(process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    assert process.err.read_text().splitlines()[-1] == "rtlab: interrupted"
    after = everything(tmp_path)
    assert {path: after[path] for path in finished} == finished
    found = library.load_records(tmp_path / "records")
    assert not found.broken
    assert sorted(record.status for record in found.records) == ["cancelled", *["ok"] * 5]
    assert not list(tmp_path.rglob("*.part"))


def all_of_three(folder, data):
    """Whether the records below a folder are those of the whole sweep."""
    experiments = [small.experiment(data, method="svm", seed=seed) for seed in range(3)]
    found = library.load_records(folder / "records")
    assert not found.broken
    assert sorted(record.id for record in found.records) == sorted(one.id for one in plan(experiments))
    return {record.status for record in found.records} == {"ok"}


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=THOROUGH)]
)
def test_a_signal_to_the_sweep_alone_reaches_the_run(sent, status, data, start, tmp_path):
    """As `kill` or an editor sends it: no terminal tells the run."""
    process = start(data, tmp_path, program=ENDLESS)
    until_it_trains(process)
    process.send_signal(sent)
    assert process.wait() == status
    assert "Traceback" not in process.err.read_text()
    found = library.load_records(tmp_path / "records").records
    assert sorted(record.status for record in found) == ["cancelled", "ok", "ok"]


def test_killed_it_ends_with_the_same_records(data, start, tmp_path):
    process = start(data, tmp_path, program=ENDLESS)
    until_it_trains(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = everything(tmp_path)
    process = start(data, tmp_path)
    assert process.wait() == 0, process.err.read_text()
    assert "2 recorded already, 1 to do" in process.out.read_text()
    after = everything(tmp_path)
    assert {path: after[path] for path in before} == before
    assert all_of_three(tmp_path, data)


@pytest.mark.thorough
def test_killed_at_random_moments_it_ends_with_the_same_records(data, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(SWEEP)
    moments = random.Random(7)
    for _ in range(10):
        process = fresh(script, data, "--output-dir", tmp_path)
        time.sleep(moments.uniform(0, 10))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not library.load_records(tmp_path / "records").broken
    process = fresh(script, data, "--output-dir", tmp_path)
    assert process.wait() == 0, process.err.read_text()
    assert all_of_three(tmp_path, data)


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_that_does_not_end_is_killed_and_recorded_whatever_else_is_sent(svm, tmp_path, monkeypatch, times):
    monkeypatch.setattr(processes, "_run_one", dying.deaf)
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)
    planned = plan([svm])

    def interrupt():
        while not (tmp_path / "deaf").exists():
            time.sleep(0.02)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(sweep.sweep(planned, output_dir=tmp_path))
    finally:
        sender.join()
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()
    [record] = library.load_records(tmp_path / "records").records
    assert (record.id, record.status) == (planned[0].id, "cancelled")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deaf", "records"]


# Two sweeps into one folder


def test_two_sweeps_share_the_runs_and_both_end_when_all_are_done(data, start, tmp_path):
    first, second = start(data, tmp_path), start(data, tmp_path)
    assert (first.wait(), second.wait()) == (0, 0), first.err.read_text() + second.err.read_text()
    assert all_of_three(tmp_path, data)  # each once
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    for process in (first, second):
        assert " done, 0 failed; records in " in process.out.read_text().splitlines()[-1]
        assert "Traceback" not in process.err.read_text()


HOLD = """
import sys
from pathlib import Path
from rtlab.scheduling.sharing import claim
folder = Path(sys.argv[1])
with claim(folder, sys.argv[2]):
    print("claimed", flush=True)
    word = sys.stdin.readline().strip()
    if word == "done":
        (folder / "records").mkdir(exist_ok=True)
        [ready] = (folder.parent / "ready").iterdir()
        ready.rename(folder / "records" / ready.name)
"""


@pytest.fixture
def other_sweep(tmp_path, monkeypatch):
    """A process that has a run, and ends in one way or the other once this one waits for it."""
    started = []

    def begin(run, ending):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "results"), run],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "claimed\n"

        def waiting(message, **_):
            assert message == "1 run is being done by another sweep; waiting for it"
            if ending == "killed":
                process.kill()
            else:
                process.stdin.write(f"{ending}\n")
                process.stdin.flush()

        monkeypatch.setattr(sweep.warnings, "warn", waiting)

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("status", ["ok", "nan", "failed", "oom"])
def test_what_another_sweep_does_meanwhile_is_not_done_again(svm, done, tmp_path, monkeypatch, other_sweep, status):
    """Not even what failed: it was tried just now."""
    records.save(ended(done, status), tmp_path / "ready")
    other_sweep(done.id, "done")
    monkeypatch.setattr(processes, "_run_one", dying.killed)
    first, last = sweep.sweep(plan([svm, dataclasses.replace(svm, seed=7)]), output_dir=tmp_path / "results")
    assert (first.recorded, first.by_another) == ("oom", False)  # the run that was free came first
    assert (last.recorded, last.by_another, last.id) == (status, True, done.id)
    assert last.to_do == (status not in FINISHED)


@pytest.mark.parametrize("ending", ["killed", "nothing"])
def test_what_another_sweep_leaves_undone_is_done(svm, done, tmp_path, monkeypatch, other_sweep, ending):
    other_sweep(done.id, ending)
    monkeypatch.setattr(processes, "_run_one", dying.left)
    [one] = sweep.sweep(plan([svm]), output_dir=tmp_path / "results")
    assert (one.recorded, one.by_another) == ("failed", False)


def test_a_cancelled_run_of_another_sweep_is_done(svm, done, tmp_path, monkeypatch, other_sweep):
    records.save(ended(done, "cancelled"), tmp_path / "ready")
    other_sweep(done.id, "done")
    monkeypatch.setattr(processes, "_run_one", dying.left)
    [one] = sweep.sweep(plan([svm]), output_dir=tmp_path / "results")
    assert (one.recorded, one.by_another) == ("failed", False)


@pytest.mark.parametrize(("change", "again"), [(lambda one: one, False), (elsewhere, True), (disturbed, True)])
def test_for_a_time_another_sweeps_run_counts_if_it_has_that_time(svm, done, tmp_path, monkeypatch, change, again):
    planned = plan([svm], retime=True)
    records.save(change(done), tmp_path / "records")
    monkeypatch.setattr(processes, "_run_one", dying.left)
    [one] = sweep.sweep(planned, output_dir=tmp_path)
    assert one.by_another != again
    assert one.recorded == ("failed" if again else "ok")


def test_what_was_known_is_no_news(svm, done, tmp_path, monkeypatch):
    failed = ended(done, "failed")
    records.save(failed, tmp_path / "records")
    monkeypatch.setattr(processes, "_run_one", dying.left)
    [one] = sweep.sweep(plan([svm], [failed]), output_dir=tmp_path)
    assert not one.by_another
    assert len(list((tmp_path / "records").iterdir())) == 2
