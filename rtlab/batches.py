"""Which sentences go together, and what padding that costs.

Every padding strategy is index arithmetic first: a plan names the rows of each batch, every row exactly once, from
lengths and a seed alone, in numpy. Only `padded` makes tensors' worth of numbers out of a plan.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from rtlab.recipe import Padding
from rtlab.tokens import Tokens

MEGABATCH = 50  # batches that are sorted by length together; Hugging Face's LengthGroupedSampler takes 50 as well


@dataclass(frozen=True)
class BatchPlan:
    """The batches of one pass over a split.

    Attributes:
        batches: Row numbers of each batch, int64; together every row of the split exactly once.
    """

    batches: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, kw_only=True)
class PaddingCost:
    """What one pass computes: tokens of the sentences, and padding beside them."""

    real_tokens: int
    padding_tokens: int

    @property
    def ratio(self) -> float:
        """Computed tokens over real tokens; 1 where nothing is padded."""
        return (self.real_tokens + self.padding_tokens) / self.real_tokens


def plan_epoch(lengths: NDArray[np.int64], *, padding: Padding, batch_size: int, seed: int, epoch: int) -> BatchPlan:
    """The batches of one training epoch, in a random order that seed and epoch decide.

    `fixed`, `dynamic` and `packed` draw batches at random. `bucketed` sorts within groups of `MEGABATCH` random
    batches, cuts those into batches of similar length, and shuffles the batches. The last, partial batch is kept.

    Args:
        lengths: Tokens per sentence, (N,).
        padding: The strategy.
        batch_size: Sentences per batch.
        seed: The experiment's seed.
        epoch: Number of the epoch, from 0.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    if padding != "bucketed":
        return BatchPlan(_cut(order, batch_size))
    groups = _cut(order, batch_size * MEGABATCH)
    batches = [
        batch for group in groups for batch in _cut(group[np.argsort(lengths[group], kind="stable")], batch_size)
    ]
    return BatchPlan(tuple(batches[i] for i in random.permutation(len(batches))))


def plan_by_length(lengths: NDArray[np.int64], *, batch_size: int) -> BatchPlan:
    """Batches in falling order of length: the least padding there is, and what does not fit fails first.

    Args:
        lengths: Tokens per sentence, (N,).
        batch_size: Sentences per batch.
    """
    return BatchPlan(_cut(np.argsort(-lengths, kind="stable"), batch_size))


def plan_by_tokens(lengths: NDArray[np.int64], *, budget: int) -> BatchPlan:
    """Batches in falling order of length, each of as many sentences as a number of tokens holds, without padding.

    Args:
        lengths: Tokens per sentence, (N,).
        budget: Most tokens of a batch; a longer sentence is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    batches = []
    start = taken = 0
    while start < len(order):
        end = max(start + 1, int(np.searchsorted(ends, taken + budget, side="right")))
        batches.append(order[start:end])
        start, taken = end, int(ends[end - 1])
    return BatchPlan(tuple(batches))


@dataclass(frozen=True, order=True, kw_only=True)
class Shape:
    """What decides how large a batch's tensors are; batches of one shape can share a captured step.

    Attributes:
        sentences: Sentences of the batch.
        slot: Tokens that each sentence is padded to; `None` where they are packed.
        total: Tokens of the batch, padding counted.
    """

    sentences: int
    slot: int | None
    total: int


def shape_of(lengths: NDArray[np.int64], *, padding: Padding, max_length: int, step: int) -> Shape:
    """The shape that a batch is given under a padding strategy.

    Args:
        lengths: Tokens of each of the batch's sentences, (S,).
        padding: The strategy.
        max_length: The slot of `fixed`.
        step: What slots are rounded up to a multiple of, and totals of packed batches to a multiple of 8 times; 1
            rounds nothing. Rounding makes few shapes out of many, at the cost of some padding.
    """
    if padding == "packed":
        total = round_up(int(lengths.sum()), 1 if step == 1 else 8 * step)
        return Shape(sentences=len(lengths), slot=None, total=total)
    slot = max_length if padding == "fixed" else min(round_up(int(lengths.max()), step), max_length)
    return Shape(sentences=len(lengths), slot=slot, total=slot * len(lengths))


def round_up(number: int, step: int) -> int:
    """The least multiple of `step` that is not below a number."""
    return -(-number // step) * step


def padding_cost(plan: BatchPlan, lengths: NDArray[np.int64], *, padding: Padding, max_length: int) -> PaddingCost:
    """Tokens that a plan computes under a padding strategy.

    Args:
        plan: The batches.
        lengths: Tokens per sentence, (N,).
        padding: `fixed` computes `max_length` tokens per sentence, `packed` only the real ones, the others the
            longest sentence's number for each of a batch; what an engine rounds up (`shape_of`) is not counted.
        max_length: The length of `fixed`.
    """
    real = int(lengths.sum())
    match padding:
        case "fixed":
            computed = len(lengths) * max_length
        case "packed":
            computed = real
        case _:
            computed = sum(len(rows) * int(lengths[rows].max()) for rows in plan.batches)
    return PaddingCost(real_tokens=real, padding_tokens=computed - real)


def padding_costs(
    lengths: NDArray[np.int64], *, batch_size: int, max_length: int, seed: int
) -> dict[Padding, PaddingCost]:
    """What the first epoch computes under every padding strategy.

    Args:
        lengths: Tokens per sentence of the training split, (N,).
        batch_size: Sentences per batch.
        max_length: The length of `fixed`.
        seed: The experiment's seed.
    """
    costs: dict[Padding, PaddingCost] = {}
    for padding in get_args(Padding):
        plan = plan_epoch(lengths, padding=padding, batch_size=batch_size, seed=seed, epoch=0)
        costs[padding] = padding_cost(plan, lengths, padding=padding, max_length=max_length)
    return costs


def padded(tokens: Tokens, rows: NDArray[np.int64], *, pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One batch, padded on the right to its longest sentence.

    Args:
        tokens: The split.
        rows: Rows of the batch, (B,).
        pad_id: The tokenizer's padding token.

    Returns:
        Token ids and attention mask (1 at real tokens), both (B, L) int64.
    """
    starts_B1 = tokens.offsets[rows][:, None]
    lengths_B1 = tokens.lengths[rows][:, None]
    positions_L = np.arange(int(lengths_B1.max()))[None]
    mask_BL = positions_L < lengths_B1
    ids_BL = np.where(mask_BL, tokens.ids[np.where(mask_BL, starts_B1 + positions_L, 0)], pad_id)
    return ids_BL.astype(np.int64), mask_BL.astype(np.int64)


def _cut(rows: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], ...]:
    return tuple(rows[start : start + size] for start in range(0, len(rows), size))
