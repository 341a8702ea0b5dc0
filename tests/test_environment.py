"""Device, precision, seeds, timers, peak memory, fingerprint, and the digest of the code."""

import ast
import json
import os
import platform
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rtlab import environment
from rtlab.environment import (
    Stopwatch,
    code_digest,
    device_name,
    find_device,
    fingerprint,
    peak_memory,
    reset_peak_memory,
    seed_everything,
    set_precision,
    slow_precision,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
PACKAGE = Path(environment.__file__).parent
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a CUDA device here")


@pytest.fixture
def caches():
    """What is read once per process is read again, in the test and after it."""
    cached = [getattr(environment, name) for name in ("_processor", "_versions", "_nvidia_driver", "_checkout")]

    def clear():
        for function in (*cached, code_digest):
            function.cache_clear()

    clear()
    yield
    clear()


@pytest.fixture
def precision_kept():
    """torch's precision flags are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture
def pretended_gpu(monkeypatch, caches):
    """torch speaks of a GPU that is not there; the value is the list of calls that reached it."""
    calls = []
    answers = {
        "is_available": True,
        "get_device_name": "NVIDIA H200",
        "get_device_capability": (9, 0),
        "max_memory_allocated": 12345,
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


def test_a_processors_name_counts_its_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = device_name(CPU)
        torch.set_num_threads(2)
        two = device_name(CPU)
    finally:
        torch.set_num_threads(threads)
    assert one.endswith(", 1 threads")
    assert two.endswith(", 2 threads")
    assert one.removesuffix(", 1 threads") == fingerprint(CPU)["processor"] != ""


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: Xeon: the second\nmodel name\t: other\n", "Xeon: the second"),
        ("processor\t: 0\nBogoMIPS\t: 50\n", "a-machine"),  # Arm names no model
        (None, "a-machine"),
    ],
)
def test_the_processor_is_named_by_the_system_or_else_by_its_kind(monkeypatch, caches, cpuinfo, name):
    def read_text(self):
        if cpuinfo is None:
            raise FileNotFoundError(self)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "a-machine")
    assert device_name(CPU).rpartition(",")[0] == name


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
        r"precision 'bf16' is fast on CPUs with AMX; on .+, \d+ threads fp32 would be faster",
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
    assert on_host > 10 * MEGABYTE


# Fingerprint


def test_the_fingerprint_tells_what_the_design_asks_for():
    found = fingerprint(CPU)
    assert set(found) == {
        *("device", "device_type", "driver", "cuda", "processor", "cores", "threads", "matmul_precision"),
        *("platform", "python", "versions", "commit", "dirty"),
    }
    assert found["device"] == device_name(CPU)
    assert found["device_type"] == "cpu"
    assert found["driver"] is found["cuda"] is None
    assert found["cores"] == os.cpu_count()
    assert found["threads"] == torch.get_num_threads()
    assert found["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert {"transformers", "peft", "datasets", "scikit-learn", "numpy"} <= set(found["versions"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_fingerprint_holds_no_host_name_and_no_path(monkeypatch, caches, tmp_path):
    names = {socket.gethostname(), platform.node()} - {""}
    monkeypatch.setattr(socket, "gethostname", lambda: "an-unlikely-host")
    monkeypatch.setattr(platform, "node", lambda: "an-unlikely-host")
    monkeypatch.chdir(tmp_path)
    text = json.dumps(fingerprint(CPU))
    for word in ("an-unlikely-host", *names):
        assert not re.search(rf"\b{re.escape(word)}\b", text)
    for path in (Path.home(), Path.cwd(), PACKAGE.parent, Path(sys.prefix)):
        assert str(path) not in text
    assert not re.search(r'["\s]/\w', text)


def test_the_fingerprint_of_a_gpu_names_its_driver(pretended_gpu, monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && echo 570.1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = fingerprint(CUDA)
    assert (found["device"], found["device_type"], found["driver"]) == ("NVIDIA H200", "cuda", "570.1")
    assert found["cuda"] == torch.version.cuda
    assert found["processor"] != "NVIDIA H200"


def test_without_the_drivers_tool_the_driver_is_unknown(pretended_gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fingerprint(CUDA)["driver"] is None


def git(folder, *arguments):
    who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_the_fingerprint_tells_commit_and_changes_of_the_checkout(monkeypatch, caches, tmp_path):
    source = tmp_path / "rtlab" / "environment.py"
    source.parent.mkdir()
    source.write_text("")
    monkeypatch.setattr(environment, "__file__", str(source))

    def state():
        environment._checkout.cache_clear()
        found = fingerprint(CPU)
        return found["commit"], found["dirty"]

    assert state() == (None, None)  # an installed package
    git(tmp_path, "init", "--quiet")
    assert state() == (None, True)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert state() == (commit, False)
    source.write_text("changed")
    assert state() == (commit, True)
    monkeypatch.setenv("PATH", "")
    assert state() == (None, None)  # no git


# The digest of the code


def package_imports(path):
    """Modules of rtlab that a source imports, inside functions too, as their files."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rtlab":
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "rtlab"]
        else:
            continue
        for name in names:
            stem = PACKAGE.joinpath(*name.split(".")[1:])
            yield from (file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file())


def deciding():
    """What decides a run's numbers: `running`, and whatever it imports, directly or not; all of a package of ours."""
    reached, frontier = set(), {PACKAGE / "running.py"}
    while frontier:
        reached |= frontier
        folders = {path.parent for path in frontier} - {PACKAGE}
        frontier = {found for path in frontier for found in package_imports(path)}
        frontier |= {path for folder in folders for path in folder.rglob("*.py")}
        frontier -= {*reached, PACKAGE / "__init__.py"}
    return reached


def sources():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.fixture
def copied(tmp_path, monkeypatch, caches):
    """A copy of the package's sources that `code_digest` reads."""
    for path in sources():
        target = tmp_path / "rtlab" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / path, target)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "rtlab" / "environment.py"))
    return tmp_path / "rtlab"


def test_every_name_in_code_is_there():
    assert [name for name in environment.CODE if not (PACKAGE / name).exists()] == []


def test_the_digest_does_not_depend_on_where_the_package_lies(copied, monkeypatch):
    here = code_digest.__wrapped__()
    (copied / "__pycache__").mkdir()
    (copied / "__pycache__" / "running.cpython-311.pyc").write_bytes(b"compiled")
    (copied / "data" / "notes.txt").write_text("no source")
    assert code_digest() == here
    assert re.fullmatch(r"[0-9a-f]{16}", here)
    monkeypatch.setattr(environment, "__file__", str(PACKAGE / "environment.py"))
    assert code_digest.__wrapped__() == here


@pytest.mark.parametrize("path", sources(), ids=str)
def test_the_digest_changes_with_what_decides_a_run_and_with_nothing_else(copied, path):
    before = code_digest.__wrapped__()
    with (copied / path).open("a") as file:
        file.write("\n")
    decides = PACKAGE / path in deciding()
    assert (code_digest.__wrapped__() != before) == decides


def test_the_digest_changes_with_a_new_module_a_lost_one_and_a_renamed_one(copied):
    digests = [code_digest.__wrapped__()]
    (copied / "engines" / "new.py").write_text("")
    digests.append(code_digest.__wrapped__())
    (copied / "engines" / "new.py").rename(copied / "engines" / "other.py")
    digests.append(code_digest.__wrapped__())
    (copied / "engines" / "other.py").unlink()
    assert code_digest.__wrapped__() == digests[0]
    assert len(set(digests)) == 3


def test_what_only_looks_at_runs_decides_none():
    """The closure above is not all there is: else the test of the digest would test nothing."""
    looking = {PACKAGE / name for name in ("cli/__init__.py", "lab_steps.py", "progress.py", "reporting/tables.py")}
    assert not looking & deciding()
    assert {PACKAGE / name for name in ("experiment.py", "hub.py", "engines/svm.py", "data/corpus.py")} <= deciding()


# On a real GPU


@needs_cuda
def test_the_gpu_is_found_and_named():
    assert find_device() == CUDA
    found = fingerprint(CUDA)
    assert found["device"] == torch.cuda.get_device_name()
    assert re.fullmatch(r"[\d.]+", found["driver"])
    assert found["cuda"] == torch.version.cuda
    json.dumps(found, allow_nan=False)


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
