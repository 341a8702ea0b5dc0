"""Matrix products of a linear layer in fp32 on a CPU, each kind of them by the faster of two libraries.

torch takes products to its BLAS (MKL on x86). oneDNN, which comes with it, is twice as fast on one processor and slower
on the next, and not for all kinds alike (`bench/test_operations.py` compares them). So it is measured on the machine,
once for a processor, threads and torch, and kept in the user's cache: results of the two differ in their last digits,
and equal runs must be equal.

Shapes: T rows, I inputs, O outputs.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import median

import torch

from rtlab.environment import cache_folder
from rtlab.testbed import device_name
from rtlab.writing import new_folder

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

# Forward, towards the inputs, and towards the weights of layers that have as many outputs as inputs or more, or fewer.
KINDS = ("forward", "inputs", "weights", "narrow weights")
_ROWS, _WIDTH = 438, 384  # a batch of minilm's
_LAYERS = ((_WIDTH, _WIDTH), (4 * _WIDTH, _WIDTH), (_WIDTH, 4 * _WIDTH))  # outputs and inputs
_ROUNDS = 9
_FASTER = 1.05  # what BLAS must be to be taken, so that noise decides nothing


@dataclass(frozen=True)
class Products:
    """The products; no gradient flows.

    Attributes:
        by_blas: Those of `KINDS` that torch's BLAS computes; it computes whatever is not fp32, too.
    """

    by_blas: tuple[str, ...]

    def forward(self, x_TI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
        """x·Wᵀ + b, (T, O)."""
        if x_TI.dtype != torch.float32 or "forward" in self.by_blas:
            return torch.nn.functional.linear(x_TI, weight_OI, bias_O)
        return _onednn(x_TI, weight_OI, bias_O)

    def towards_inputs(self, d_TO: torch.Tensor, weight_OI: torch.Tensor) -> torch.Tensor:
        """d·W, (T, I)."""
        if d_TO.dtype != torch.float32 or "inputs" in self.by_blas:
            return d_TO @ weight_OI
        return _onednn(d_TO, weight_OI.T)

    def towards_weights(self, d_TO: torch.Tensor, x_TI: torch.Tensor) -> torch.Tensor:
        """dᵀ·x, (O, I)."""
        kind = "weights" if d_TO.shape[1] >= x_TI.shape[1] else "narrow weights"
        if d_TO.dtype != torch.float32 or kind in self.by_blas:
            return d_TO.T @ x_TI
        return _onednn(d_TO.T, x_TI.T)


def _onednn(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """left·rightᵀ + bias."""
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return found


def fastest() -> Products:
    """The products as this machine does them fastest; measured if it is not known yet."""
    return _fastest(torch.get_num_threads()) if ONEDNN else Products(KINDS)


@cache
def _fastest(threads: int) -> Products:
    machine = {"processor": device_name(None), "threads": threads, "torch": torch.__version__}
    digest = hashlib.sha256(json.dumps(machine).encode()).hexdigest()[:12]
    try:
        place = cache_folder("products") / digest
        if not place.exists():
            measured = json.dumps({**machine, "by_blas": _measured()})
            try:
                with new_folder(place) as part:
                    (part / "products.json").write_text(measured)
            except OSError:
                if not place.exists():  # else another process was first
                    raise
        return _read(place / "products.json")
    except (OSError, RuntimeError):  # no home, one that nobody may write, or a full disk
        return Products(())


def _read(file: Path) -> Products:
    """What was measured before; all is oneDNN's where that cannot be read."""
    try:
        kinds = json.loads(file.read_text())["by_blas"]
        return Products(tuple(kind for kind in KINDS if kind in kinds))
    except (OSError, ValueError, TypeError, KeyError):
        return Products(())


def _measured() -> list[str]:
    """The kinds that BLAS is the faster for, by turns with oneDNN."""
    by = {"BLAS": Products(KINDS), "oneDNN": Products(())}
    calls = {name: _calls(products) for name, products in by.items()}
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(1 + _ROUNDS):
        for kind in KINDS:
            for name in by:
                begin = time.perf_counter()
                for call in calls[name][kind]:
                    call()
                seconds.setdefault((name, kind), []).append(time.perf_counter() - begin)
    typical = {which: median(taken[1:]) for which, taken in seconds.items()}  # the first makes oneDNN's code
    return [kind for kind in KINDS if _FASTER * typical["BLAS", kind] < typical["oneDNN", kind]]


def _calls(products: Products) -> Mapping[str, Sequence[Callable[[], torch.Tensor]]]:
    """Each kind of product on each of the layers that have it; on ones, so that nobody's random numbers move."""
    calls: dict[str, list[Callable[[], torch.Tensor]]] = {kind: [] for kind in KINDS}
    for outputs, inputs in _LAYERS:
        x_TI, d_TO, weight_OI = (torch.ones(*of) for of in ((_ROWS, inputs), (_ROWS, outputs), (outputs, inputs)))
        calls["forward"].append(partial(products.forward, x_TI, weight_OI))
        calls["inputs"].append(partial(products.towards_inputs, d_TO, weight_OI))
        kind = "weights" if outputs >= inputs else "narrow weights"
        calls[kind].append(partial(products.towards_weights, d_TO, x_TI))
    return calls
