"""Device, precision, seeds, timers, peak memory, and the share of other processes."""

import os
import platform
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rtlab import environment
from rtlab.environment import (
    OtherProcesses,
    Stopwatch,
    find_device,
    peak_memory,
    peak_reserved_memory,
    reset_peak_memory,
    seed_everything,
    set_precision,
    slow_precision,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a CUDA device here")


@pytest.fixture
def precision_kept():
    """torch's precision flags are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture
def pretended_gpu(monkeypatch):
    """torch speaks of a GPU that is not there; the value is the list of calls that reached it."""
    calls = []
    answers = {
        "is_available": True,
        "get_device_name": "NVIDIA H200",
        "get_device_capability": (9, 0),
        "max_memory_allocated": 12345,
        "max_memory_reserved": 23456,
        "synchronize": None,
        "reset_peak_memory_stats": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name, answer=answer: calls.append(name) or answer)
    return calls


# Device


@no_cuda
def test_without_a_gpu_the_cpu_is_found_and_no_other():
    assert find_device() == find_device("cpu") == CPU
    for name in ("cuda", "cuda:0", "mps", "gpu", ""):
        with pytest.raises(ValueError, match=rf"^device must be one of those here \(cpu\); got '{name}'$"):
            find_device(name)


def test_a_gpu_is_found_where_there_is_one(pretended_gpu):
    assert find_device() == find_device("cuda") == CUDA
    assert find_device("cpu") == CPU
    with pytest.raises(ValueError, match=r"^device must be one of those here \(cpu, cuda\); got 'gpu'$"):
        find_device("gpu")


# Precision


def test_tf32_is_refused_on_the_cpu_and_nothing_changes(precision_kept):
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    with pytest.raises(
        ValueError, match=r"^precision 'tf32' needs an NVIDIA GPU .*; got device 'cpu'; fp32 or bf16 would do$"
    ):
        set_precision("tf32", CPU)
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32 is False


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_left_in_fp32_is_full_fp32(precision_kept, precision):
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    set_precision(precision, CPU)
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32 is False


def test_tf32_is_set_on_a_gpu_that_has_it_and_refused_on_an_older_one(precision_kept, pretended_gpu, monkeypatch):
    for capability in ((8, 0), (9, 0), (12, 1)):
        set_precision("fp32", CUDA)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, capability=capability: capability)
        set_precision("tf32", CUDA)
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 is True
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(ValueError, match="Ampere generation or later; got device 'cuda'"):
        set_precision("tf32", CUDA)


def test_bf16_is_called_slow_where_there_are_no_units_for_it(pretended_gpu, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert re.fullmatch(
        r"precision 'bf16' is fast on CPUs with AMX; on .+ fp32 would be faster",
        slow_precision("bf16", CPU),
    )
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert slow_precision("bf16", CPU) is None
    for capability, slow in (((7, 5), True), ((8, 0), False), ((9, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, capability=capability: capability)
        assert (slow_precision("bf16", CUDA) is not None) == slow
    assert slow_precision("fp32", CPU) is None


# Seeds


def test_a_seed_decides_the_draws_of_python_numpy_and_torch():
    def draws(seed):
        seed_everything(seed)
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002 — the state that is seeded

    assert draws(1) == draws(1)
    assert all(one != other for one, other in zip(draws(1), draws(2), strict=True))


# Time


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set forward: `clock(seconds)`."""
    now = [1000.0]

    def forward(seconds):
        now[0] += seconds

    monkeypatch.setattr(environment.time, "perf_counter", lambda: now[0])
    return forward


def test_phases_are_timed_apart_and_add_up(clock):
    watch = Stopwatch(CPU)
    assert watch.seconds == {}
    for phase, seconds in (("load", 1.0), ("train", 2.0), ("load", 4.0)):
        clock(100.0)  # between phases nothing is counted
        with watch.phase(phase):
            clock(seconds)
    assert watch.seconds == {"load": 5.0, "train": 2.0}


def test_what_is_within_a_phase_is_not_its(clock):
    watch = Stopwatch(CPU)
    with watch.phase("train"):
        clock(2.0)
        for _ in range(2):
            with watch.phase("evaluate"):
                clock(10.0)
        clock(1.0)
    assert watch.seconds == {"evaluate": 20.0, "train": 3.0}


def test_phases_that_have_not_ended_are_counted_so_far(clock):
    watch = Stopwatch(CPU)
    with watch.phase("train"):
        clock(2.0)
        with watch.phase("evaluate"):
            clock(10.0)
            assert watch.so_far() == {"evaluate": 10.0, "train": 2.0}
            assert watch.seconds == {}
        clock(1.0)
        assert watch.so_far() == {"evaluate": 10.0, "train": 3.0}
    assert watch.seconds == watch.so_far() == {"evaluate": 10.0, "train": 3.0}


def test_a_phase_that_fails_is_timed_too(clock):
    watch = Stopwatch(CPU)

    def fail():
        with watch.phase("train"):
            clock(3.0)
            raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^no$"):
            fail()
    assert watch.seconds == {"train": 6.0}


def test_the_device_is_synchronised_at_both_ends(clock, pretended_gpu):
    watch = Stopwatch(CUDA)
    with watch.phase("train"):
        assert pretended_gpu == ["synchronize"]
    assert pretended_gpu == ["synchronize", "synchronize"]
    with Stopwatch(CPU).phase("train"):
        pass
    assert len(pretended_gpu) == 2


# Memory

MEGABYTE = 10**6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_the_peak_rises_with_what_is_allocated_and_falls_at_a_reset():
    reset_peak_memory(CPU)
    on_device, before = peak_memory(CPU)
    assert on_device is None
    block = np.ones(200 * MEGABYTE, dtype=np.uint8)
    held = peak_memory(CPU)[1]
    del block
    freed = peak_memory(CPU)[1]
    reset_peak_memory(CPU)
    after = peak_memory(CPU)[1]
    assert held - before == pytest.approx(200 * MEGABYTE, abs=20 * MEGABYTE)
    assert freed == pytest.approx(held, abs=20 * MEGABYTE)
    assert after == pytest.approx(before, abs=20 * MEGABYTE)


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep")
def test_what_an_earlier_run_freed_is_in_no_later_peak():
    """The C library keeps what is freed, once a run has told it so: a study in one process would show the largest."""
    code = (
        "import torch; from rtlab.environment import keep_freed_memory, peak_memory, reset_peak_memory\n"
        "cpu = torch.device('cpu'); keep_freed_memory(); reset_peak_memory(cpu); before = peak_memory(cpu)[1]\n"
        "blocks = [torch.ones(2_000_000) for _ in range(25)]; del blocks\n"
        "reset_peak_memory(cpu); print(peak_memory(cpu)[1] - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40 * MEGABYTE


def test_the_system_tells_its_peak_in_units_of_1024_bytes(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda _: "Name:\tpython\nVmPeak:\t  9 kB\nVmHWM:\t  5 kB\nVmRSS:\t  3 kB\n")
    assert peak_memory(CPU) == (None, 5 * 1024)


@pytest.mark.parametrize("status", [None, "Name:\tpython\nVmRSS:\t  5 kB\n"], ids=["no /proc", "no peak in it"])
@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_where_the_system_tells_no_peak_it_is_the_whole_processs(monkeypatch, status, system, unit):
    def read_text(self):
        if status is None:
            raise FileNotFoundError(self)
        return status

    def write_text(self, _):
        raise PermissionError(self)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(sys, "platform", system)
    reset_peak_memory(CPU)
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert peak_memory(CPU) == (None, pytest.approx(whole, rel=0.05))


def test_a_gpus_peak_is_its_allocators(pretended_gpu):
    reset_peak_memory(CUDA)
    assert pretended_gpu == ["reset_peak_memory_stats"]
    on_device, on_host = peak_memory(CUDA)
    assert on_device == 12345
    assert peak_reserved_memory(CUDA) == 23456
    assert peak_reserved_memory(CPU) is None
    assert on_host > 10 * MEGABYTE


# Other processes


@pytest.fixture
def machine(monkeypatch):
    """A machine of four cores whose counters stand still until they are set: `machine(all=…, own=…, wall=…)`, seconds.

    `text` is what `/proc/stat` then holds, or an error that reading it raises.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    now = {"all": 1000.0, "own": 10.0, "wall": 50.0, "text": None}

    def read_text(self):
        assert self == Path("/proc/stat")
        if isinstance(now["text"], Exception):
            raise now["text"]
        parts = [0.5, 0.125, 0.125, 7, 7, 0.0625, 0.0625, 0.125]  # user nice system idle iowait irq softirq steal
        counted = [round(ticks * now["all"] * part) for part in parts]
        return f"cpu  {' '.join(map(str, counted))} 5 6\ncpu0 1 2 3\n" if now["text"] is None else now["text"]

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "times", lambda: (now["own"] / 2, now["own"] / 4, now["own"] / 8, now["own"] / 8, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(environment.time, "perf_counter", lambda: now["wall"])
    return lambda **changes: now.update(changes)


def test_others_are_all_but_this_process_and_its_children(machine):
    others = OtherProcesses()
    assert others.share() == 0.0  # no time has gone by
    machine(all=1016.0, own=10.0, wall=58.0)
    assert others.share() == pytest.approx(0.5)  # 16 of 32 seconds
    machine(own=22.0)
    assert others.share() == pytest.approx(0.125)
    machine(own=26.0)
    assert others.share() == 0.0


def test_the_share_is_of_the_time_since_the_beginning(machine):
    machine(all=2000.0, own=500.0, wall=1000.0)
    others = OtherProcesses()
    machine(all=2008.0, own=504.0, wall=1004.0)
    assert others.share() == pytest.approx(0.25)


def test_counters_that_do_not_agree_make_no_share_beyond_its_range(machine):
    others = OtherProcesses()
    machine(own=11.0, wall=51.0)
    assert others.share() == 0.0
    machine(all=1100.0)
    assert others.share() == 1.0


@pytest.mark.parametrize(
    "text",
    [FileNotFoundError(), PermissionError(), "", "cpu  1 2 3\n", "cpu  a b c d e f g h\n", f"cpu {' 0' * 10}\n"],
    ids=repr,
)
def test_where_the_system_does_not_tell_the_share_is_unknown(machine, text):
    known = OtherProcesses()
    machine(text=text)
    assert known.share() is None
    unknown = OtherProcesses()
    machine(text=None)
    assert unknown.share() is None


BUSY = """
import sys, time
while time.process_time() < 0.5:
    pass
print(time.process_time(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(OtherProcesses().share() is None, reason="the system does not tell")
def test_of_a_run_that_goes_on_the_larger_share_counts(machine):
    others = OtherProcesses()
    others.begin(0.25)
    machine(all=1016.0, own=10.0, wall=58.0)
    assert others.share() == pytest.approx(0.5)
    others.begin(0.75)
    assert others.share() == 0.75


def test_a_busy_child_is_seen():
    """It counts as another one until it has ended; what it says that it used is in what the others used."""
    start = time.perf_counter()
    others = OtherProcesses()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        used_s = float(child.stdout.readline())
        share = others.share()
        there_s = (time.perf_counter() - start) * os.cpu_count()
        child.stdin.close()
    ticks_s = 4 / os.sysconf("SC_CLK_TCK")  # each counter is rounded
    assert share * there_s > used_s - ticks_s


# On a real GPU


@needs_cuda
def test_the_gpu_is_found():
    assert find_device() == CUDA


@needs_cuda
def test_the_stopwatch_waits_for_the_gpu():
    def work():
        for _ in range(50):
            torch.mm(square, square)

    square = torch.rand(4096, 4096, device="cuda")
    watch = Stopwatch(CUDA)
    work()
    with watch.phase("waited"):
        work()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    assert watch.seconds["waited"] == pytest.approx(begin.elapsed_time(end) / 1000, rel=0.5)


@needs_cuda
def test_the_gpus_peak_rises_with_what_is_allocated_and_falls_at_a_reset():
    reset_peak_memory(CUDA)
    before = peak_memory(CUDA)[0]
    block = torch.ones(200 * MEGABYTE, dtype=torch.uint8, device="cuda")
    held = peak_memory(CUDA)[0]
    del block
    reset_peak_memory(CUDA)
    assert held - before == pytest.approx(200 * MEGABYTE, abs=4 * MEGABYTE)
    assert peak_memory(CUDA)[0] == pytest.approx(before, abs=4 * MEGABYTE)


@needs_cuda
def test_tf32_changes_products_on_the_gpu_and_fp32_does_not(precision_kept):
    torch.manual_seed(0)
    square = torch.rand(512, 512, device="cuda")
    exact = square.double() @ square.double()
    error = {}
    for precision in ("fp32", "tf32"):
        set_precision(precision, CUDA)
        error[precision] = float(((square @ square).double() - exact).abs().max())
    assert error["tf32"] > 10 * error["fp32"]


# Interrupts

ENDED_BY = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit, signal.SIGHUP: SystemExit}


@pytest.fixture
def ending():
    """Handlers as the command line has them, and the tests' own again after it."""
    before = {number: signal.getsignal(number) for number in ENDED_BY}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("second", ENDED_BY)
@pytest.mark.parametrize("first", ENDED_BY)
def test_interrupts_wait_and_the_first_comes_after(ending, first, second):
    done = []

    def work():
        with environment.interrupts_wait():
            with environment.interrupts_wait():
                signal.raise_signal(first)
                signal.raise_signal(second)
                done.append("inner")
            done.append("outer")

    with pytest.raises(ENDED_BY[first]):
        work()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_so(ending):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with environment.interrupts_wait():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_in_another_thread_nothing_waits():
    done = []

    def work():
        with environment.interrupts_wait():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


@pytest.mark.parametrize(("number", "error"), ENDED_BY.items())
def test_what_a_signal_raises_and_a_library_loses_is_raised_again(ending, number, error):
    environment.end_if_asked()
    with environment.ended_by_signals():
        with pytest.raises(error):  # as in a destructor
            signal.raise_signal(number)
        with pytest.raises(error):
            environment.end_if_asked()
    environment.end_if_asked()


@pytest.mark.parametrize("number", ENDED_BY)
def test_after_the_first_signal_others_are_ignored_where_that_is_asked_for(ending, number):
    before = {each: signal.getsignal(each) for each in ENDED_BY}

    def work():
        with environment.ended_by_signals(once=True):
            try:
                signal.raise_signal(number)
            finally:
                for each in ENDED_BY:
                    signal.raise_signal(each)

    with pytest.raises(ENDED_BY[number]):
        work()
    assert {each: signal.getsignal(each) for each in ENDED_BY} == before
