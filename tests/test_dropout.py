"""Dropout's factors: how many are dropped, that none tells about another, that a seed decides them."""

import math

import pytest
import torch

from rtlab.engines import dropout
from rtlab.engines.dropout import Masks, draw


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5])
def test_as_many_are_dropped_as_asked_and_the_mean_is_kept(probability):
    torch.manual_seed(0)
    factors = draw(501_000, probability)
    dropped = (factors == 0).double().mean()
    assert abs(dropped - probability) < 4 * math.sqrt(probability * (1 - probability) / len(factors))
    kept = factors[factors != 0].unique()
    assert kept.tolist() == pytest.approx([1 / (1 - probability)], rel=1e-4)


@pytest.mark.parametrize(("probability", "dropped"), [(1e-9, 1), (1 - 1e-9, 2**16 - 1)])
def test_a_probability_is_never_rounded_to_0_or_1(probability, dropped):
    torch.manual_seed(0)
    factors = draw(2**21, probability)
    assert factors.max().item() == pytest.approx(2**16 / (2**16 - dropped))
    assert 0 < (factors == 0).sum() < len(factors)


@pytest.mark.parametrize("longest", [2**22, 50_000], ids=["one draw", "a draw for each mask"])
def test_the_factors_are_drawn_apart(longest, monkeypatch):
    """Four share a random number: none of them may tell about another, nor one mask about the next."""
    monkeypatch.setattr(dropout, "LONGEST_DRAW", longest)
    torch.manual_seed(1)
    masks = Masks()
    dropped = (torch.stack([masks.keep(torch.empty(40_000), 0.5) for _ in range(2)]) == 0).double().flatten()
    for lag in (1, 2, 3, 4, 40_000):
        together = (dropped[:-lag] * dropped[lag:]).mean()
        assert abs(together - 0.25) < 4 * math.sqrt(0.25 * 0.75 / (len(dropped) - lag)) + 0.002


def test_the_seed_decides_the_masks():
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks = Masks()
        runs.append(torch.cat([masks.keep(torch.empty(7, 9), probability) for probability in (0.4, 0.2, 0.4)]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_masks_have_the_shape_type_and_probability_asked_for_and_share_nothing():
    torch.manual_seed(0)
    masks = Masks()
    kinds = [((3, 5), 0.5, torch.float32), ((2000,), 0.5, torch.float32), ((50, 40), 0.9, torch.float32)]
    kinds += [((70, 30), 0.5, torch.bfloat16), ((2, 1), 0.5, torch.float32), ((5000,), 0.5, torch.float32)]
    held = []
    for shape, probability, dtype in kinds:
        mask = masks.keep(torch.empty(shape, dtype=dtype), probability)
        assert (mask.shape, mask.dtype) == (shape, dtype)
        kept = mask[mask != 0].float()
        torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - probability)), rtol=1e-2, atol=0)
        held.append((mask, mask.clone()))
        mask_bytes = range(mask.data_ptr(), mask.data_ptr() + mask.nbytes)
        assert not any(other.data_ptr() in mask_bytes or mask.data_ptr() == other.data_ptr() for other, _ in held[:-1])
    assert all(torch.equal(mask, before) for mask, before in held)


def test_draws_grow_to_a_limit(monkeypatch):
    sizes = []

    def counted(many, *kind):
        sizes.append(many)
        return draw(many, *kind)

    monkeypatch.setattr(dropout, "draw", counted)
    monkeypatch.setattr(dropout, "LONGEST_DRAW", 1000)
    masks = Masks()
    for _ in range(30):
        masks.keep(torch.empty(100), 0.1)
    masks.keep(torch.empty(3000), 0.1)
    assert sizes == [200, 400, 800, 1000, 1000, 3000]
