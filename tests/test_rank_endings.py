"""Which of several ranks records how their run ended, and as what; `tests/test_ranks.py` has whole runs that end so."""

import signal
import subprocess
import sys
import threading

import pytest
import torch

from rtlab import rank_endings
from rtlab.engines.engine import NonFiniteLossError
from rtlab.engines.ranks import Ranks
from rtlab.rank_endings import RankEndings, first_to

DIED = "rank {} of 2 died without a word, as a process does that is killed"


@pytest.fixture
def held(monkeypatch):
    """What the ranks of the test tell each other, in this process."""
    everything = torch.distributed.HashStore()
    monkeypatch.setattr(rank_endings, "store", lambda name: torch.distributed.PrefixStore(name, everything))


@pytest.fixture
def ended_process():
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def two(held):
    """What two ranks know of each other."""
    both = [RankEndings(ranks, "run") for ranks in Ranks(number=2).all()]
    for one in both:
        one.meet()
    return both


def gone(*_):
    raise torch.distributed.DistNetworkError("the connection was closed")


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (MemoryError(), ("oom", "MemoryError")),
        (
            NonFiniteLossError(3, "no"),
            ("nan", "NonFiniteLossError: no; a lower learning rate or precision fp32 may do"),
        ),
        (ValueError("no"), ("failed", "ValueError: no")),
    ],
)
def test_the_first_that_meets_an_error_records_it(two, error, recorded):
    first, second = two
    assert second.recorded_as(error) == recorded
    assert first.recorded_as(RuntimeError("connection closed by peer")) is None


@pytest.mark.parametrize("error", [RuntimeError("connection closed by peer"), SystemExit(143), KeyboardInterrupt()])
def test_a_rank_that_was_killed_is_why(two, error, ended_process):
    first, _ = two
    first._processes = {1: ended_process}
    assert first.recorded_as(error) == ("failed", DIED.format(1))


def test_who_left_in_order_did_not_die(two, ended_process):
    first, second = two
    first._processes = {1: ended_process}
    assert first.dead() == 1
    second.leave()
    assert first.dead() is None
    assert first.recorded_as(SystemExit(143)) == ("cancelled", "SystemExit: 143")
    first.see_off()


def test_a_library_s_own_error_is_recorded_when_nobody_died(two, monkeypatch):
    monkeypatch.setattr(rank_endings, "LOOK_S", 0.1)
    assert two[0].recorded_as(RuntimeError("no")) == ("failed", "RuntimeError: no")


def test_processes_of_another_machine_are_not_looked_for(held, monkeypatch):
    names = iter(("here", "there", "here", "there"))
    monkeypatch.setattr(rank_endings, "machine", lambda: next(names))
    first, second = (RankEndings(ranks, "run") for ranks in Ranks(number=2).all())
    for one in (first, second):
        one.meet()
        assert one._processes == {}


def test_a_thread_records_a_death_where_its_process_hears_nothing(two, ended_process, monkeypatch):
    first, _ = two
    left, recorded = threading.Event(), []
    monkeypatch.setattr(rank_endings, "PATIENCE_S", 0.01)
    monkeypatch.setattr(
        rank_endings.os, "_exit", lambda status: (recorded.append(status), left.set(), first._over.set())
    )
    first._processes = {1: ended_process}
    first.watch(lambda *said: recorded.append(said))
    assert left.wait(60)
    assert recorded == [("failed", DIED.format(1)), 1]


def test_and_leaves_it_to_its_process_otherwise(two, ended_process, monkeypatch):
    first, _ = two
    recorded = []
    monkeypatch.setattr(rank_endings.os, "_exit", recorded.append)
    started = set(threading.enumerate())
    first._processes = {1: ended_process}
    first.watch(lambda *said: recorded.append(said))
    [thread] = set(threading.enumerate()) - started
    first.leave()
    thread.join(60)
    assert not thread.is_alive()
    assert recorded == []


def test_where_nobody_holds_what_ranks_tell_the_lowest_records(two, ended_process, monkeypatch):
    """Where the first rank held it, and is dead."""
    first, second = two
    for name in ("add", "check", "set", "wait"):
        monkeypatch.setattr(torch.distributed.PrefixStore, name, gone)
    assert second.recorded_as(RuntimeError("connection closed by peer")) is None
    second._processes = {0: ended_process}
    assert second.recorded_as(RuntimeError("connection closed by peer")) == ("failed", DIED.format(0))
    first.see_off()
    assert [first_to("tell", or_else=or_else) for or_else in (False, True)] == [False, True]


def test_whether_a_process_is_gone_where_there_is_no_proc(ended_process, monkeypatch):
    def refused(*_):
        raise PermissionError

    assert rank_endings._is_gone(ended_process)
    assert not rank_endings._is_gone(rank_endings.os.getpid())
    monkeypatch.setattr(rank_endings.Path, "read_text", gone_file)
    assert rank_endings._is_gone(ended_process)
    assert not rank_endings._is_gone(rank_endings.os.getpid())
    monkeypatch.setattr(rank_endings.os, "kill", refused)
    assert not rank_endings._is_gone(ended_process)


def gone_file(*_):
    raise FileNotFoundError


def test_a_process_whose_status_nobody_asked_for_is_gone():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not rank_endings._is_gone(process.pid)
    process.send_signal(signal.SIGKILL)
    while not rank_endings._is_gone(process.pid):
        pass
    assert process.wait() == -signal.SIGKILL
    process.stdin.close()
