"""How many runs there is room for at once, and what of the machine each has."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from rtlab.environment import find_device
from rtlab.scheduling.planning import Planned
from rtlab.scheduling.processes import Room
from rtlab.testbed import threads
from rtlab.values import check_whole

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")  # version 2, as a container sees its own
GIGABYTE = 10**9
# What runs on parts of the cores do, against one on all: a low guess; `bench/test_jobs.py` measures it.
_SHARED_WORK = 1.1


def fitting(
    planned: Iterable[Planned], jobs: int, *, device: str | None = None, jobs_per_gpu: int | None = None
) -> tuple[int, str | None]:
    """How many of so many runs at once there is room for: on the GPUs or cores, and in free memory; at least one.

    A GPU's own memory is not looked at: how many share one is the caller's to say.

    Args:
        planned: The runs.
        jobs: How many are asked for.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        jobs_per_gpu: Runs that may share a GPU; `None` for one.

    Returns:
        The number, and a sentence that says why it is a smaller one than `jobs`; `None` if it is not.

    Raises:
        ValueError: If a number is no whole one of at least 1, the device is not there, or `jobs_per_gpu` stands without
            CUDA.
    """
    for name, value in (("jobs", jobs), ("jobs_per_gpu", jobs_per_gpu)):
        if value is not None:
            check_whole(name, value)
    if jobs == 1 and jobs_per_gpu is None:
        return 1, None
    cuda = find_device(device).type == "cuda"
    if jobs_per_gpu is not None and not cuda:
        raise ValueError(f"jobs_per_gpu means something on CUDA alone; got {jobs_per_gpu} on the CPU")
    least, why = jobs, None
    if cuda and (most := len(gpus()) * (jobs_per_gpu or 1)) < least:
        least, why = most, f"{len(gpus())} GPU{'s' if len(gpus()) > 1 else ''}, {jobs_per_gpu or 1} a GPU"
    if not cuda and (cores := os.cpu_count() or 1) < least:
        least, why = cores, f"this machine has {cores} core{'s' if cores > 1 else ''}"
    needs = sorted((one.memory for one in planned if one.to_do), reverse=True)
    free = free_memory()
    while free is not None and least > 1 and sum(needs[:least]) > free:
        least -= 1
        why = f"{free / GIGABYTE:.1f} GB of memory are free, and a run needs up to {needs[0] / GIGABYTE:.1f} GB"
    said = None if why is None else f"{least} run{'s' if least > 1 else ''} at once in place of {jobs}: {why}."
    return least, said


def rooms(device: str | None, jobs: int) -> list[Room]:
    """What each of so many runs at once has: an equal part of the threads, and one GPU after another."""
    if jobs == 1:
        return [Room(device)]
    there = gpus() if find_device(device).type == "cuda" else [None]
    each = max(1, threads() // jobs)
    return [Room(device, each, there[number % len(there)]) for number in range(jobs)]


def work_at_once(device: str | None, jobs: int) -> tuple[float, str]:
    """What so many runs at once do in the time in which one alone does 1, about, and why, in a clause.

    Args:
        device: `cpu` or `cuda`; CUDA where there is one by default.
        jobs: The runs.
    """
    if jobs == 1:
        return 1.0, "one after another"
    if find_device(device).type == "cuda":
        used = min(jobs, len(gpus()))
        return float(used), "each has a GPU" if used == jobs else f"they share {used} GPU{'s' if used > 1 else ''}"
    alone = threads()
    used = min(jobs * max(1, alone // jobs), max(alone, os.cpu_count() or 1))
    why = f"they compute on {used} core{'s' if used > 1 else ''}, one alone on {alone}"
    return min(float(jobs), _SHARED_WORK * used / alone), why


def free_memory() -> int | None:
    """Bytes of memory that new processes may take, of the machine's and of this container's; `None` if not known."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = _MEMINFO.read_text().splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with contextlib.suppress(OSError, ValueError, StopIteration):  # without a limit it says `max`
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        cached = int(next(line.split()[1] for line in lines if line.startswith("inactive_file ")))
        found.append(max(0, limit - used + cached))
    return min(found, default=None)


def gpus() -> list[str | None]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    there = torch.cuda.device_count()
    return list(named[:there] or map(str, range(there)))
