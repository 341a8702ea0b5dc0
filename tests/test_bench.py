"""`pytest bench` in a process of its own: records at once, saved benchmarks, failures, kills."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import rtlab
from rtlab.experiment import Experiment
from rtlab.matrix import Case, Matrix
from rtlab.methods import Svm, Words

ROOT = Path(__file__).parent.parent


def words(output_dir, *arguments):
    return "bench/test_study.py", "-p", "no:cacheprovider", "--output-dir", output_dir, *arguments


@pytest.fixture(scope="module")
def bench(forkserver):
    return lambda *given, **changes: forkserver.run("pytest", *words(*given), cwd=ROOT, **changes)


@pytest.fixture
def start_bench(forkserver):
    return lambda *given: forkserver.start("pytest", *words(*given), cwd=ROOT)


@pytest.fixture(scope="module")
def saved(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    storage = f"--benchmark-storage=file://{folder}/benchmarks"
    cases = ["-k", "svm-cls or full-dynamic-lr2e-05"]
    done = bench(folder, "--limit", 16, "--seeds", 2, "--benchmark-save=two", storage, *cases)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (folder / "benchmarks").rglob("0001_two.json")
    return folder, done.stdout, json.loads(file.read_text())


def test_seeds_are_rounds_and_each_leaves_a_record(saved):
    folder, _, found = saved
    assert {case["stats"]["rounds"] for case in found["benchmarks"]} == {2}
    records = rtlab.load_records(folder / "records").records
    assert sorted((r.experiment.label[:4].rstrip("-"), r.experiment.seed) for r in records) == [
        *(("full", seed) for seed in (42, 43)),
        *(("svm", seed) for seed in (42, 43)),
    ]


def test_the_timed_part_is_training(saved):
    """It holds warm-up and training, and not the phases around them, however busy the machine is."""
    folder, _, found = saved
    records = rtlab.load_records(folder / "records").records
    for case in found["benchmarks"]:
        times = [record.timing for record in records if record.experiment.label.startswith(case["group"])]
        trained = [time.warmup_s + time.train_s for time in times]
        around = [time.load_s + time.prepare_s + time.evaluate_s for time in times]
        assert case["stats"]["min"] >= min(trained)
        assert case["stats"]["total"] >= sum(trained)
        assert case["stats"]["total"] < sum(trained) + sum(around)


def test_a_saved_benchmark_holds_figures_and_names_no_machine(saved):
    _, _, found = saved
    for case in found["benchmarks"]:
        assert 0 <= case["extra_info"]["test_accuracy"] <= 1
        assert all(isinstance(value, int | float) for value in case["extra_info"].values())
    assert "node" not in found["machine_info"]
    assert found["machine_info"]["rtlab"]["device"]


def test_the_end_shows_scores_beside_times(saved):
    _, output, _ = saved
    assert " methods compared " in output
    (row,) = [line for line in output.splitlines() if line.startswith("| full, dynamic, lr 2e-05 ")][:1]
    assert " test accuracy |" in output  # its time is missing where other tests kept the machine busy
    assert row.count("|") > 8


def test_another_devices_benchmarks_are_not_compared_unasked(bench, saved, tmp_path):
    _, _, found = saved
    found["machine_info"]["rtlab"]["testbed"] = "NVIDIA H200"
    (tmp_path / "0001_there.json").write_text(json.dumps(found))
    compare = f"--benchmark-compare={tmp_path / '0001_there.json'}"
    refused = bench(tmp_path, "--collect-only", compare)
    assert refused.returncode != 0
    assert "with NVIDIA H200; --other-devices does so all the same" in refused.stdout + refused.stderr
    assert bench(tmp_path, "--collect-only", compare, "--other-devices").returncode == 0


def test_a_failing_case_leaves_a_record_and_the_others_go_on(bench, tmp_path):
    plugin = tmp_path / "diverge.py"
    plugin.write_text(
        "import dataclasses\nfrom rtlab import methods, studies\n"
        "def diverging(recipe):\n"
        "    return [methods.Full(recipe=dataclasses.replace(recipe, learning_rate=1e30)), methods.Svm()]\n"
        "studies._lab_matrix = diverging\n"
    )
    done = bench(tmp_path / "out", "--limit", 16, "-p", "diverge", "-o", f"pythonpath=. {tmp_path}")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    records = rtlab.load_records(tmp_path / "out" / "records").records
    assert sorted((r.experiment.engine, r.status) for r in records) == [("svm", "ok"), ("trainer", "nan")]


def test_a_kill_costs_the_run_in_flight_and_nothing_else(start_bench, tmp_path):
    process = start_bench(tmp_path, "--limit", 16, "-k", "full")
    while len(list(tmp_path.glob("records/*.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    records, broken = rtlab.load_records(tmp_path / "records")
    assert len(records) >= 2
    assert not broken
    assert {record.status for record in records} == {"ok"}


def test_ctrl_c_saves_the_cases_that_are_done(start_bench, tmp_path):
    storage = f"--benchmark-storage=file://{tmp_path}/benchmarks"
    process = start_bench(tmp_path, "--limit", 16, "--benchmark-save=cut", storage)  # 33 cases, lest it be over
    # The second case's record says that the first case is over; its own is written before the benchmark has its time.
    while len(list(tmp_path.glob("records/*.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 2, output
    (file,) = (tmp_path / "benchmarks").rglob("0001_cut.json")
    saved = len(json.loads(file.read_text())["benchmarks"])
    records, broken = rtlab.load_records(tmp_path / "records")
    assert not broken
    assert {record.status for record in records} <= {"ok", "cancelled"}
    assert 1 <= saved <= sum(record.status == "ok" for record in records)


def test_the_lab_without_cuda_is_skipped_with_that_reason(bench, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here, so the study would run")
    done = bench(tmp_path, "--study", "lab", "--encoder", "tiny-distilbert", "--dataset", "corpus")
    assert done.returncode == 0
    assert "there is no CUDA device; --device cpu runs it all the same" in done.stdout


def test_a_study_without_comparisons_of_engines_is_measured_alone(forkserver):
    asked = ("--study", "evidence", "--part", "1", "--collect-only", "-q", "-p", "no:cacheprovider")
    done = forkserver.run("pytest", "bench", *asked, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "bench/test_study.py::test_run[svm-cls]" in done.stdout
    assert "test_engines" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", 0], "seeds must be a whole number of at least 1; got 0"),
        (["--limit", 0], "limit must be a whole number of at least 1; got 0"),
        (["--benchmark-disable"], "pytest bench always measures; without --benchmark-disable it would"),
        (
            ["--study", "labs"],
            "study must be one of smoke, embedded, lab, evidence, labels, or a file that --save-study",
        ),
    ],
)
def test_options_that_cannot_be(bench, tmp_path, arguments, message):
    done = bench(tmp_path, *arguments)
    assert done.returncode == 4
    assert message in done.stdout + done.stderr


@pytest.fixture
def on_gpu(tmp_path):
    """`bench/on_gpu.sh` with a Python in front that writes down what it is asked for, and fails at what is said."""

    def run(fails, *arguments):
        python = tmp_path / "bin" / "python"
        python.parent.mkdir(exist_ok=True)
        python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$*" in {fails}) exit 3;; esac\n')
        python.chmod(0o755)
        (tmp_path / "asked").write_text("")
        path = f"{python.parent}:{os.environ['PATH']}"
        script = ["bash", ROOT / "bench" / "on_gpu.sh", *arguments]
        done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False)
        return done, (tmp_path / "asked").read_text().splitlines()

    return run


def test_on_a_gpu_a_part_that_fails_stops_none_and_is_done_again(on_gpu, tmp_path):
    out = tmp_path / "out"
    done, asked = on_gpu("*speedrun*|*sweep*", out)
    steps = [line.split("\t") for line in (out / "steps.tsv").read_text().splitlines()]
    assert {name: status for name, _, status in steps if status != "0"} == dict.fromkeys(
        ("speedrun", "evidence", "evidence-reference"), "3"
    )
    assert len(steps) == len(asked) == 11
    assert "--device cuda" in asked[1]
    assert all((out / "logs" / f"{name}.log").exists() for name, _, _ in steps)
    assert "evidence-reference\t0\t3" in done.stdout
    _, again = on_gpu("nothing", out)
    assert [words.split(" --")[0] for words in again] == ["-m pytest bench -p no:cacheprovider"] + [
        "-m rtlab sweep evidence"
    ] * 2
    assert on_gpu("nothing", out)[1] == []


def test_on_a_cpu_nothing_is_asked_for_in_tf32(on_gpu, tmp_path):
    _, asked = on_gpu("nothing", tmp_path / "out", "--device", "cpu", "--tiny")
    assert not [words for words in asked if "tf32" in words or "cuda --" in words]
    assert all("tiny-distilbert" in words for words in asked[1:])


@pytest.mark.parametrize("arguments", [(), ("--tiny",), ("out", "--large")])
def test_on_a_gpu_options_that_cannot_be_are_said(on_gpu, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done, asked = on_gpu("nothing", *(tmp_path / word if word == "out" else word for word in arguments))
    assert done.returncode == 2
    assert "--tiny" in done.stderr
    assert asked == []


def test_a_study_out_of_a_file_runs_and_tells_its_cases_apart(bench, tmp_path):
    """Two encoders have cases of one label, and drawn sentences their number in the name."""
    words = Case(experiment=Experiment(dataset="corpus", method=Words(), limit=24, train_sentences=12), seeds=2)
    encoders = ("tiny-bert", "tiny-distilbert")
    svms = [Experiment(encoder=name, dataset="corpus", method=Svm(), limit=24) for name in encoders]
    Matrix(cases=(words, *(Case(experiment=one) for one in svms))).save(tmp_path / "mine.json")
    storage = f"--benchmark-storage=file://{tmp_path}/benchmarks"
    done = bench(tmp_path / "out", "--study", tmp_path / "mine.json", storage, "--benchmark-save=mine")
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (tmp_path / "benchmarks").rglob("0001_mine.json")
    cases = {case["name"]: case["stats"]["rounds"] for case in json.loads(file.read_text())["benchmarks"]}
    assert cases == {
        "test_run[words-of24-drawn12]": 2,
        "test_run[svm-cls-24-tiny-bert-corpus]": 1,
        "test_run[svm-cls-24-tiny-distilbert-corpus]": 1,
    }
    records = rtlab.load_records(tmp_path / "out" / "records").records
    assert sorted((record.experiment.method.name, record.experiment.seed) for record in records) == [
        *(("svm", 42), ("svm", 42)),
        *(("words", 42), ("words", 43)),
    ]
