"""Where a run computes and what it costs: device, precision, seeds, timers, peak memory, and the fingerprint.

Everything here touches process-wide state of the machine or of torch, which is why it has a room of its own.
torch is imported inside the functions: reporting reads fingerprints on machines that have none.
"""

import contextlib
import ctypes
import gc
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = (
    *("torch", "transformers", "tokenizers", "peft", "accelerate", "datasets"),
    *("scikit-learn", "numpy", "scipy", "pandas", "rtlab"),
)
# What decides a record's numbers: rooms L0 to L4 of the design. What only looks at runs is left out, so that a
# new table does not make records stale.
CODE = (
    *(
        "experiment.py",
        "metrics.py",
        "environment.py",
        "hub.py",
        "built_in.py",
        "encoders.py",
        "tokens.py",
        "batches.py",
        "running.py",
        "records.py",
    ),
    *("data", "engines"),
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def find_device(name: str | None = None) -> "torch.device":
    """The device to compute on: the one named, else CUDA where there is one, else the CPU.

    Raises:
        ValueError: If the device named is not there.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    if name not in there:
        raise ValueError(f"device must be one of those here ({', '.join(there)}); got {name!r}")
    return torch.device(name)


def device_name(device: "torch.device") -> str:
    """What the device calls itself: a GPU's product name, or the processor's with the number of threads."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{_processor()}, {torch.get_num_threads()} threads"


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


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (every device), as `transformers.set_seed` does."""
    from transformers import set_seed

    set_seed(seed)


class Stopwatch:
    """Seconds of named phases, with the device synchronised at both ends of each.

    Attributes:
        seconds: Phase name to seconds; a phase that is entered twice adds up.
    """

    def __init__(self, device: "torch.device") -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the `with` block to phase `name`, also where the block raises."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what is allocated next, for the rest of this process.

    By default it gives large blocks back to the kernel, which fills them with zeros when they are asked for again, at
    each step. Where the library is another than glibc, nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def reset_peak_memory(device: "torch.device") -> None:
    """Forget earlier peaks, so that `peak_memory` speaks of what follows; what is free goes back to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # the C library's own, where it is glibc
        ctypes.CDLL(None).malloc_trim(0)
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak is the whole process's so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: "torch.device") -> tuple[int | None, int]:
    """Peak bytes since the last reset: allocated on the device (`None` on the CPU), resident on the host."""
    on_device = None
    if device.type == "cuda":
        import torch

        on_device = int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return on_device, int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return on_device, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fingerprint(device: "torch.device") -> dict[str, Any]:
    """What produced a record: device, driver, versions, precision flags, threads, and the state of the checkout.

    Holds no host name and no path.
    """
    import torch

    cuda = device.type == "cuda"
    return {
        "device": device_name(device),
        "device_type": device.type,
        "driver": _nvidia_driver() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
        **_checkout(),
    }


@cache
def code_digest() -> str:
    """16 hexadecimal digits over the sources that decide a run's numbers.

    Not a git commit: committing a record must not make it stale.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in CODE:
        path = package / name
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{source.relative_to(package).as_posix()}\0".encode() + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@cache
def _nvidia_driver() -> str | None:
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")


@cache
def _checkout() -> dict[str, str | bool | None]:
    """Commit of the checkout that the package lies in and whether it is changed; `None` for an installed package."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    git = ("git", "-C", str(root))
    status = _output(*git, "status", "--porcelain")
    return {"commit": _output(*git, "rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
