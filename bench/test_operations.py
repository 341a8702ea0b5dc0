"""What the native engine does its own way on a CPU, by turns with torch's way, at the sizes of a batch of minilm.

A ratio is a median over rounds of torch's time to ours in the same round; least and most are those of the middle half.
"""

import time
from statistics import median, quantiles

import pytest
import torch

from rtlab.engines.dropout import Masks
from rtlab.engines.products import KINDS, Products, fastest
from rtlab.environment import find_device, keep_freed_memory

TOKENS = {"smoke": 32, "embedded": 438, "lab": 438}
ROUNDS = {"smoke": 5, "embedded": 200, "lab": 200}
WIDTH, INNER = 384, 1536
MASKS = 2 * 13  # behind the embedding, and behind attention and feed-forward of each of six layers


@pytest.fixture
def tokens(request, device):
    if find_device(device).type == "cuda":
        pytest.skip("these operations are a CPU's")
    keep_freed_memory()
    return TOKENS[request.config.option.study]


@pytest.mark.parametrize("layer", ["up", "down", "square"])
@pytest.mark.parametrize("what", ["forward", "towards_inputs", "towards_weights"])
def test_product(benchmark, request, notes, tokens, what, layer):
    """torch's own library against the one that is taken here; they may be the same."""
    inputs, outputs = {"up": (WIDTH, INNER), "down": (INNER, WIDTH), "square": (WIDTH, WIDTH)}[layer]
    x, d, weight = torch.randn(tokens, inputs), torch.randn(tokens, outputs), torch.randn(outputs, inputs)
    of = {"forward": (x, weight), "towards_inputs": (d, weight), "towards_weights": (d, x)}[what]
    blas, here = (getattr(products, what) for products in (Products(KINDS), fastest()))
    torchs, ours = by_turns(benchmark, request, notes, lambda: blas(*of), lambda: here(*of))
    torch.testing.assert_close(ours, torchs, atol=1e-3, rtol=1e-4)


def test_masks(benchmark, request, notes, tokens):
    """As many as two steps take beside their attention's: more than one draw gives."""
    ones, masks = torch.ones(tokens, WIDTH), Masks()
    torchs, ours = by_turns(
        benchmark,
        request,
        notes,
        lambda: [torch.nn.functional.dropout(ones, 0.1) for _ in range(MASKS)][-1],
        lambda: [masks.keep(ones, 0.1) for _ in range(MASKS)][-1],
    )
    assert float((ours == 0).double().mean()) == pytest.approx(float((torchs == 0).double().mean()), abs=0.03)


def by_turns(benchmark, request, notes, torchs, ours):
    """What each gives; times and their ratio go into the benchmark."""
    theirs_s, ours_s = [], []
    found = []

    def set_up():
        begin = time.perf_counter()
        found[:] = [torchs()]
        theirs_s.append(time.perf_counter() - begin)

    def timed():
        begin = time.perf_counter()
        found.append(ours())
        ours_s.append(time.perf_counter() - begin)

    benchmark.group = "operations"
    benchmark.pedantic(timed, setup=set_up, rounds=ROUNDS[request.config.option.study], warmup_rounds=1)
    ratios = [slow / fast for slow, fast in zip(theirs_s, ours_s, strict=True)]
    least, _, most = quantiles(ratios, n=4)
    benchmark.extra_info.update(
        ratio=median(ratios), ratio_least=least, ratio_most=most, torch_s=median(theirs_s), ours_s=median(ours_s)
    )
    notes.append(
        f"{benchmark.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in benchmark.extra_info.items())
    )
    return found
