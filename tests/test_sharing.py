"""Runs that several sweeps share: a claim is one sweep's, and ends with its process."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtlab.scheduling.sharing import FOLDER, claim, remove_dead_claims

HOLD = """
import sys
from pathlib import Path
from rtlab.scheduling.sharing import claim
with claim(Path(sys.argv[1]), sys.argv[2]) as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has a claim until its standard input is closed."""
    started = []

    def start(run="a"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), run],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"True\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def has(folder, run="a"):
    with claim(folder, run) as ours:
        return ours


def test_a_claim_is_one_processes_and_others_are_free(tmp_path, holder):
    process = holder()
    assert not has(tmp_path)
    assert has(tmp_path, "b")
    process.stdin.close()
    process.wait()
    assert has(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_one_sweeps_within_a_process_too(tmp_path):
    with claim(tmp_path, "a") as ours, claim(tmp_path, "a") as theirs:
        assert (ours, theirs) == (True, False)


def test_a_claim_ends_with_its_process(tmp_path, holder):
    process = holder()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["a.lock"]
    assert has(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_dead_left_is_removed_and_what_the_living_hold_is_not(tmp_path, holder):
    dead = holder("a")
    dead.kill()
    dead.wait()
    holder("b")
    (tmp_path / FOLDER / "notes.txt").write_text("mine")
    remove_dead_claims(tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["b.lock", "notes.txt"]
    assert not has(tmp_path, "b")


def test_who_waits_has_it_when_the_other_is_done(tmp_path, holder, monkeypatch):
    from rtlab.scheduling import sharing

    process, whole = holder(), sharing.lock

    def observed(descriptor, *, wait):
        if not process.stdin.closed:
            assert not whole(descriptor)  # the other has it still
            process.stdin.close()
        return whole(descriptor, wait=wait)

    monkeypatch.setattr(sharing, "lock", observed)
    with claim(tmp_path, "a", wait=True) as ours:
        assert ours
        assert (tmp_path / FOLDER / "a.lock").exists()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    from rtlab.scheduling import sharing

    whole, calls = sharing.lock, []

    def removed_first(descriptor, *, wait):
        if not calls:
            (tmp_path / FOLDER / "a.lock").unlink()  # as its last holder does
        calls.append(descriptor)
        return whole(descriptor, wait=wait)

    monkeypatch.setattr(sharing, "lock", removed_first)
    with claim(tmp_path, "a") as ours:
        assert ours
        assert (tmp_path / FOLDER / "a.lock").exists()
    assert len(calls) == 2


def test_an_interrupt_ends_waiting_and_leaves_nothing_open(tmp_path, holder, monkeypatch):
    from rtlab.scheduling import sharing

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    holder()
    before = len(list(Path("/dev/fd").iterdir()))
    monkeypatch.setattr(sharing, "lock", interrupted)
    with pytest.raises(KeyboardInterrupt), claim(tmp_path, "a", wait=True):
        pass
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_without_locks_it_is_said_and_every_sweep_does_its_runs(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.warns(UserWarning, match=r"without locks \(No locks available\): another sweep into it would do"):
        assert has(tmp_path)
