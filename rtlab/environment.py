"""Where a run computes and what it costs: device, precision, seeds, timers, peak memory, and who else was busy.

Everything here touches process-wide state of the machine or of torch, which is why it has a module of its own.
"""

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.testbed import device_name

if TYPE_CHECKING:
    import torch

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what asks a process to end
_asked: list[int] = []  # those of them that came
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def find_device(name: str | None = None) -> "torch.device":
    """The device to compute on: the one named, else CUDA where there is one, else the CPU.

    Raises:
        ValueError: If the device named is not there, or as `check_docstrings`.
    """
    check_docstrings()
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    if name not in there:
        raise ValueError(f"device must be one of those here ({', '.join(there)}); got {name!r}")
    return torch.device(name)


def check_docstrings() -> None:
    """Refuse (`ValueError`) a Python without docstrings: transformers 5 makes parts of its own from them."""
    if sys.flags.optimize > 1:
        raise ValueError("python -OO takes away docstrings that transformers needs to load a model; python -O would do")


def set_precision(precision: str, device: "torch.device") -> None:
    """Set torch's process-wide matrix arithmetic: TF32 where asked for, full fp32 otherwise.

    `bf16` is autocast, which the engines apply themselves; what they leave in fp32 then stays fp32.

    Raises:
        ValueError: If the device has no such arithmetic.
    """
    import torch

    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise ValueError(
            f"precision 'tf32' needs an NVIDIA GPU of the Ampere generation or later; got device {device.type!r}; "
            "fp32 or bf16 would do"
        )
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def slow_precision(precision: str, device: "torch.device") -> str | None:
    """A sentence where the device computes in a precision without units for it: as right, and no faster than fp32."""
    import torch

    if precision != "bf16":
        return None
    if device.type == "cuda":
        fast, those = torch.cuda.get_device_capability(device) >= (8, 0), "GPUs of the Ampere generation or later"
    else:
        fast, those = torch.cpu._is_amx_tile_supported(), "CPUs with AMX"
    return None if fast else f"precision 'bf16' is fast on {those}; on {device_name(device)} fp32 would be faster"


@contextlib.contextmanager
def ended_by_signals(*, once: bool = False) -> Iterator[None]:
    """Meanwhile Ctrl-C, SIGTERM and a hang-up end this process by an exception, so that a run leaves its record.

    What is ignored, as under `nohup`, stays so.

    Args:
        once: Whether all that come after the first are ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return

    def end(number: int, _: object) -> None:
        _asked.append(number)
        for each in before if once else ():
            signal.signal(each, signal.SIG_IGN)
        end_if_asked()

    before = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def end_if_asked() -> None:
    """End this process if a signal has asked for it; to be called at times, for an exception may be lost.

    What a signal's handler raises in a destructor, a callback from C, or an import that forgives errors is lost there.

    Raises:
        KeyboardInterrupt, SystemExit: If so.
    """
    if _asked:
        raise KeyboardInterrupt if _asked[-1] == signal.SIGINT else SystemExit(128 + _asked[-1])


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Meanwhile Ctrl-C, SIGTERM and a hang-up wait, for what must be written whole; the first of them comes after it.

    A mask would not do: other threads of torch take the signal, and Python runs its handler all the same.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal's handler runs in another
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (every device), as `transformers.set_seed` does."""
    from transformers import set_seed

    set_seed(seed)


class Stopwatch:
    """Seconds of named phases, with the device synchronised at both ends of each.

    Attributes:
        seconds: Phase name to seconds; a phase that is entered twice adds up. What is within another is not its.
    """

    def __init__(self, device: "torch.device | None") -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[tuple[str, float, float]] = []  # phases, their beginnings, what was counted then

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the `with` block to phase `name`, also where the block raises."""
        self._open.append((name, self._now(), sum(self.seconds.values())))
        try:
            yield
        finally:
            _add(self.seconds, self._open.pop(), self._now())

    def so_far(self) -> dict[str, float]:
        """As `seconds`, with the phases that have not ended."""
        now, seconds = self._now(), dict(self.seconds)
        for phase in reversed(self._open):
            _add(seconds, phase, now)
        return seconds

    def _now(self) -> float:
        if _on_cuda(self.device):
            import torch

            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _add(seconds: dict[str, float], phase: tuple[str, float, float], now: float) -> None:
    """Add a phase, without what has been counted within it."""
    name, start, before = phase
    within = sum(seconds.values()) - before
    seconds[name] = seconds.get(name, 0.0) + now - start - within


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what is allocated next, for the rest of this process.

    By default it gives large blocks back to the kernel, which fills them with zeros when they are asked for again, at
    each step. Where the library is another than glibc, nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def cache_folder(kind: str) -> Path:
    """Where files of a kind are kept between processes, below the user's cache; it need not be there.

    Raises:
        RuntimeError: If the user has no home.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "rtlab" / kind


def reset_peak_memory(device: "torch.device | None") -> None:
    """Forget earlier peaks, so that `peak_memory` speaks of what follows; what is free goes back to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # the C library's own, where it is glibc
        ctypes.CDLL(None).malloc_trim(0)
    if _on_cuda(device):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is the whole process's so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: "torch.device | None") -> tuple[int | None, int]:
    """Peak bytes since the last reset: allocated on the device (`None` on the CPU), resident on the host."""
    on_device = None
    if _on_cuda(device):
        import torch

        on_device = int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return on_device, int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return on_device, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_reserved_memory(device: "torch.device | None") -> int | None:
    """Peak bytes that torch has reserved on the device since the last reset; `None` on the CPU.

    A captured step's replay uses memory that was allocated at its capture, and that the allocator then only reserves.
    """
    if not _on_cuda(device):
        return None
    import torch

    return int(torch.cuda.max_memory_reserved(device))


def _on_cuda(device: "torch.device | None") -> bool:
    """Whether it is a GPU; a run that uses no torch has no device."""
    return device is not None and device.type == "cuda"


class OtherProcesses:
    """Measures how busy the machine is with anything but this process, from its construction on."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, before: float | None) -> None:
        """Begin anew, in a run that goes on: others took `before` of an earlier part, and the larger share counts."""
        self._before, self._start = before or 0.0, _busy_s()

    def share(self) -> float | None:
        """Share of all cores' time that others took so far, in [0, 1]; `None` where the system does not tell."""
        now = _busy_s()
        if self._start is None or now is None:
            return None
        (all_s, own_s, wall_s), (all_0_s, own_0_s, wall_0_s) = now, self._start
        there_s = (wall_s - wall_0_s) * (os.cpu_count() or 1)
        share = min(1.0, max(0.0, (all_s - all_0_s) - (own_s - own_0_s)) / there_s) if there_s > 0 else 0.0
        return max(share, self._before)


def _busy_s() -> tuple[float, float, float] | None:
    """Processor seconds of the whole machine, those of this process, and the time; steal is others' time, too."""
    with contextlib.suppress(OSError, ValueError):
        fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
        busy_s = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        if busy_s > 0:  # some sandboxes show zeros
            return busy_s, sum(os.times()[:4]), time.perf_counter()
    return None
