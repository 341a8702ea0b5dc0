"""Runs, sweeps and benches, killed at random moments: a record that was once complete stays, byte for byte.

Only the command line and the format of a record are used. A moment is drawn from as long as the thing itself takes
here, so a slow machine kills no earlier in the work than a fast one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

import rtlab

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parent.parent
KILLS = {"run": 216, "sweep": 48, "bench": 48}  # 300 and some, over the parts
PARTS = 4  # tests of each kind, so that workers share them
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
TINY = ("--encoder", "tiny-distilbert", "--dataset", "corpus", "--limit", "16", "--device", "cpu")
TRAINED = ("--epochs", "1", "--batch-size", "4", *TINY)
RUNS = (
    ("svm", *TINY),
    ("finetune", *TRAINED),
    ("lora", *TRAINED),
    ("finetune", "--engine", "native", *TRAINED),
    ("lora", "--engine", "native", *TRAINED),
)


class Kept:
    """The records of a folder that were seen complete, and whether they still are."""

    def __init__(self, folder):
        self.folder = folder / "records"
        self.seen = {}

    def look(self):
        """Every record that is there parses, whenever one looks; those with a result are kept in mind."""
        for path in self.folder.glob("*.json"):
            if path not in self.seen:
                text = path.read_bytes()
                if json.loads(text)["status"] == "ok":
                    self.seen[path] = text

    def check(self):
        self.look()
        assert {path: path.read_bytes() for path in self.seen} == self.seen
        loaded = rtlab.load_records(self.folder)
        assert loaded.broken == {}
        assert len(loaded.records) == len(list(self.folder.glob("*.json")))
        assert {record.status for record in loaded.records} <= {"ok", "cancelled"}

    def wait(self, seconds, ended, enough=sys.maxsize):
        """Look on for so many seconds, until it has ended, or until so many records are complete."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(self.seen) < enough and not ended():
            self.look()
            time.sleep(0.01)


class Session:
    """A command line in a session of its own, as one that was started at a terminal."""

    def __init__(self, start_process, command):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = start_process([sys.executable, "-m", *command], cwd=ROOT, start_new_session=True, **quiet)

    def ended(self):
        return self.process.poll() is not None

    def end(self, by):
        """Send a signal, to its children too where a terminal would, and wait until no process of it is left."""
        if by == signal.SIGINT:
            os.killpg(self.process.pid, by)
        else:
            self.process.send_signal(by)
        self.process.wait()
        while self.goes_on():
            time.sleep(0.01)

    def goes_on(self):
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def share(kind, part):
    """The signals of a part's kills, each of the three as often as the others."""
    return [SIGNALS[number % len(SIGNALS)] for number in range(part, KILLS[kind], PARTS)]


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_runs_take_no_record_with_them(forkserver, tmp_path, part):
    moments = random.Random(f"run {part}")
    kept = Kept(tmp_path)
    signals = share("run", part)

    def start(number):
        run = RUNS[number % len(RUNS)]
        return forkserver.start("rtlab", *run, "--seed", number, "--output-dir", tmp_path, cwd=tmp_path)

    taken = []  # seconds of each kind of run
    for number in range(len(RUNS)):
        begin = time.monotonic()
        done = start(number)
        assert done.wait() == 0, done.communicate()
        taken.append(time.monotonic() - begin)
    kept.check()
    assert len(kept.seen) == len(RUNS)

    number = len(RUNS)
    while signals:
        process = start(number)
        kept.wait(moments.uniform(0, taken[number % len(RUNS)]), lambda: False)
        process.send_signal(signals[-1])
        if process.wait() != 0:
            signals.pop()
        kept.check()
        number += 1

    for again in range(number):
        if not any(json.loads(text)["experiment"]["seed"] == again for text in kept.seen.values()):
            done = start(again)
            assert done.wait() == 0, done.communicate()
    kept.check()
    assert len(kept.seen) == number


@pytest.mark.parametrize("part", range(PARTS))
def test_a_killed_sweep_goes_on_where_it_was(start_process, tmp_path, part):
    moments = random.Random(f"sweep {part}")
    signals = share("sweep", part)
    longest = None
    for study in count():
        folder = tmp_path / str(study)
        # The SVM's two and the native engine's seven.
        sweep = ["rtlab", "sweep", "smoke", "--engine", "native", "--limit", "8", "--output-dir", str(folder)]
        kept = Kept(folder)
        while signals and len(kept.seen) < 9:
            session = Session(start_process, sweep)
            if longest is None:
                begin = time.monotonic()
                kept.wait(300, session.ended, enough=2)
                longest = time.monotonic() - begin
            else:
                kept.wait(moments.uniform(0, longest), session.ended)
            if not session.ended():
                session.end(signals.pop())
            kept.check()
        if not signals:
            break
    final = Session(start_process, sweep)
    assert final.process.wait() == 0
    kept.check()
    assert len(kept.seen) == 9
    every, broken = rtlab.load_records(kept.folder)
    assert not broken
    assert sum(record.status == "ok" for record in every) == 9
    assert {record.status for record in every} <= {"ok", "cancelled"}  # those that were told to end say so


@pytest.mark.parametrize("part", range(PARTS))
def test_a_killed_bench_keeps_what_is_done(start_process, tmp_path, part):
    moments = random.Random(f"bench {part}")
    longest = None
    for number, by in enumerate(share("bench", part)):
        kept = Kept(tmp_path / str(number))  # a bench does every case anew, over the record of an earlier one
        cases = ["bench/test_study.py", "-k", "native or svm", "-p", "no:cacheprovider", "--limit", "8"]
        session = Session(start_process, ["pytest", *cases, "--output-dir", str(tmp_path / str(number))])
        begin = time.monotonic()
        kept.wait(300 if longest is None else moments.uniform(0, longest), session.ended, enough=7)
        longest = longest or time.monotonic() - begin
        assert not session.ended(), "nine cases were done before seven"
        session.end(by)
        kept.check()
