"""A study over many processes: what is recorded is left out, failures are survived, kills cost the run in flight."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import small

import rtlab
from rtlab import environment, records, sweep
from rtlab.running import run

SWEEP = """
import sys
import small
from rtlab import sweep
if __name__ == "__main__":
    from pathlib import Path
    experiments = [small.experiment(Path(sys.argv[1]), method="svm", seed=seed) for seed in range(3)]
    for one in sweep.sweep(sweep.plan(experiments, output_dir=sys.argv[2]), output_dir=sys.argv[2]):
        assert one.recorded == "ok", one
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("sweep") / "reviews")


def ids(folder):
    return sorted(record.id for record in rtlab.load_records(folder / "records").records)


def test_recorded_runs_are_left_out_and_cancelled_ones_are_not(data, tmp_path):
    experiments = [small.experiment(data, method="svm", seed=seed) for seed in (1, 2, 3)]
    done = run(experiments[0], output_dir=tmp_path)
    cancelled = records.RunRecord(
        **{**vars(run(experiments[1], output_dir=tmp_path)), "status": "cancelled", "scores": {}, "predictions": {}}
    )
    records.save(cancelled, tmp_path / "records")
    planned = sweep.plan([*experiments, experiments[0]], output_dir=tmp_path)
    assert [(one.experiment.seed, one.recorded) for one in planned] == [(1, "ok"), (2, None), (3, None)]
    assert planned[0].path == tmp_path / "records" / done.file_name


def test_a_failure_is_recorded_and_the_others_go_on(data, tmp_path):
    diverging = small.experiment(data, learning_rate=1e30)
    fine = small.experiment(data, method="svm")
    swept = list(sweep.sweep(sweep.plan([diverging, fine], output_dir=tmp_path), output_dir=tmp_path))
    assert [one.recorded for one in swept] == ["nan", "ok"]
    again = sweep.plan([diverging, fine], output_dir=tmp_path)
    assert [one.recorded for one in again] == ["nan", "ok"]
    assert list(sweep.sweep(again, output_dir=tmp_path)) == []


@pytest.mark.thorough
def test_killed_at_random_moments_it_ends_with_the_same_records(data, tmp_path):
    command = [sys.executable, "-c", SWEEP, str(data), str(tmp_path)]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    moments = random.Random(7)
    for _ in range(2):
        process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(4, 10))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not rtlab.load_records(tmp_path / "records").broken
    subprocess.run(command, env=variables, check=True, timeout=120)
    experiments = [small.experiment(data, method="svm", seed=seed) for seed in range(3)]
    assert ids(tmp_path) == sorted(one.path.name[:16] for one in sweep.plan(experiments, output_dir=tmp_path))
    assert all(record.status == "ok" for record in rtlab.load_records(tmp_path / "records").records)


def test_changed_sources_end_a_sweep(data, tmp_path, monkeypatch):
    planned = sweep.plan([small.experiment(data, method="svm")], output_dir=tmp_path)
    monkeypatch.setattr(environment, "CODE", environment.CODE[:-1])
    with pytest.raises(ValueError, match="the sources of rtlab changed during the sweep"):
        list(sweep.sweep(planned, output_dir=tmp_path))


def test_a_dry_run_lists_and_does_nothing(rtlab, tmp_path):
    done = rtlab("sweep", "smoke", "--dry-run", "--limit", 8, "--output-dir", tmp_path / "out")
    assert done.status == 0
    assert done.out.count("to do") == 34
    assert "0 recorded already, 33 to do" in done.out
    assert not (tmp_path / "out").exists()
