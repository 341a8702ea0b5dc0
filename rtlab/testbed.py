"""What a time depends on and a score does not: device, threads, versions, and the code that trained and evaluated.

Times are averaged within one testbed only. No host name and no path is in it.
"""

import ast
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.values import Json

if TYPE_CHECKING:
    import torch

PACKAGES = (
    *("torch", "transformers", "tokenizers", "peft", "accelerate", "datasets"),
    *("scikit-learn", "numpy", "scipy", "pandas", "rtlab"),
)
_PACKAGE = Path(__file__).parent
# Imported by engines, yet no part of how they train and evaluate: what finds, loads, checks, names and records.
_NOT_TIMED = (
    *("architectures", "data", "encoders", "experiment", "hub", "methods", "metrics", "recipe", "records", "settings"),
    *("testbed", "values"),
)


@dataclass(frozen=True, kw_only=True)
class Testbed:
    """What runs must have in common for their times to be averaged.

    Attributes:
        device: A GPU's product name; a processor's name with family and model, which tell generations apart.
        threads: torch's threads.
        torch: Version.
        transformers: Version.
        peft: Version.
        tokenizers: Version.
        code: `code_digest` of the engine.
        ranks: Processes that shared the run.
        by_blas: Kinds of matrix products that torch's BLAS computes (`rtlab.engines.products`).
    """

    device: str
    threads: int
    torch: str
    transformers: str
    peft: str
    tokenizers: str
    code: str
    ranks: int = 1
    by_blas: str = ""

    @property
    def name(self) -> str:
        """The device with its threads, where they are what computes, and the ranks, where there are several."""
        name = self.device if self.device.startswith("NVIDIA") else f"{self.device}, {self.threads} threads"
        return name if self.ranks == 1 else f"{name}, {self.ranks} ranks"


def testbed(device: "torch.device | None", engine: str) -> Testbed:
    """The testbed of this process.

    Args:
        device: Where it computes; `None` for a processor without torch.
        engine: `trainer`, `native`, `svm` or `words`.
    """
    versions = _versions()
    return Testbed(
        device=device_name(device),
        threads=threads(),
        torch=versions["torch"],
        transformers=versions["transformers"],
        peft=versions["peft"],
        tokenizers=versions["tokenizers"],
        code=code_digest(engine),
    )


def device_name(device: "torch.device | None") -> str:
    """What the device calls itself: a GPU's product name, or the processor's with its family and model."""
    if device is None or device.type != "cuda":
        return _processor()
    import torch

    return str(torch.cuda.get_device_name(device))


def fingerprint(device: "torch.device | None") -> dict[str, Json]:
    """What else produced a record: driver, versions, precision flags, and the state of the checkout."""
    return {
        "device": device_name(device),
        "device_type": "cpu" if device is None else device.type,
        **_of_torch(device),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": dict(_versions()),
        **_checkout(),
    }


def _of_torch(device: "torch.device | None") -> dict[str, Json]:
    """What only torch knows; nothing where it is not used."""
    if device is None:
        return {}
    import torch

    cuda = device.type == "cuda"
    return {
        "driver": _nvidia_driver() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def threads() -> int:
    """Threads that torch computes with, or would in this process: it is not loaded for this."""
    if (loaded := sys.modules.get("torch")) is not None:
        return int(loaded.get_num_threads())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if (given := os.environ.get(name, "")).isdecimal() and int(given) > 0:
            return min(int(given), _cores())  # as MKL does
    return _cores()


@cache
def _cores() -> int:
    """Physical cores that this process may use; logical ones where the system does not tell them apart."""
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for number in there:
        with contextlib.suppress(OSError):
            topology = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
            siblings.add((topology / "thread_siblings_list").read_text().strip())
    return len(siblings) or len(there)


@cache
def code_digest(engine: str) -> str:
    """16 hexadecimal digits over the modules that train and evaluate with an engine, comments and docstrings left out.

    The modules are those that the engine's module imports, and those that these import, and so on. A process takes the
    digest once, so that it speaks of the sources that the process began with.

    Args:
        engine: `trainer`, `native` or `svm`.
    """
    digest = hashlib.sha256()
    for source in modules_of(engine):
        tree = ast.parse(source.read_bytes())
        digest.update(f"{source.relative_to(_PACKAGE).as_posix()}\0{_written(_bare(tree))}\0".encode())
    return digest.hexdigest()[:16]


def modules_of(engine: str) -> tuple[Path, ...]:
    """The sources that `code_digest` is taken over."""
    found: dict[Path, None] = {}
    waiting = [_PACKAGE / "engines" / f"{engine}.py"]
    while waiting:
        source = waiting.pop()
        if source not in found:
            found[source] = None
            waiting += _imported(source)
    return tuple(sorted(found))


def _imported(source: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rtlab"):
            for name in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)):
                parts = name.split(".")[1:]
                path = _PACKAGE.joinpath(*parts).with_suffix(".py")
                if parts and parts[0] not in _NOT_TIMED and path.is_file():
                    yield path


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings; comments are not in it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _written(node: object) -> str:
    """A tree as text that is the same under every version of Python: what is empty, and where it stands, left out."""
    if isinstance(node, list):
        return f"[{','.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind")
    return f"{type(node).__name__}({','.join(f'{name}={_written(value)}' for name, value in fields)})"


@cache
def _processor() -> str:
    """Such as `AMD EPYC (family 25, model 17)`: a virtual machine hides the rest of the name, and Arm has none."""
    told = _cpuinfo()
    name = told.get("model name") or platform.processor() or platform.machine()
    numbers = {"family": "cpu family", "model": "model", "implementer": "CPU implementer", "part": "CPU part"}
    generation = ", ".join(f"{word} {told[field]}" for word, field in numbers.items() if field in told)
    return f"{name} ({generation})" if generation else name


def _cpuinfo() -> Mapping[str, str]:
    """What Linux tells of the first core."""
    told: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    return told


@cache
def _versions() -> Mapping[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@cache
def _nvidia_driver() -> str | None:
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")


@cache
def _checkout() -> Mapping[str, str | bool | None]:
    """Commit of the checkout that the package lies in, and whether its sources differ; `None` for an installed one.

    What lies untracked under `results/` is what runs leave there, and makes nothing dirty.
    """
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    git = ("git", "-C", str(root))
    status = _output(*git, "status", "--porcelain", "--", ":/", ":(exclude,top)results")
    return {"commit": _output(*git, "rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
