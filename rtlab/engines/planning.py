"""The batches of a whole run of the native engine, which of them are one optimizer step, and a rank's part of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import Shape, plan_epoch, shape_of
from rtlab.engines.ranks import Ranks
from rtlab.recipe import Recipe

# See `rtlab.batches.shape_of`. For each number of tokens CUDA captures a step, and oneDNN on a CPU makes code for each
# kind of product: both take time and memory.
SHAPE_STEP = {"cpu": 2, "cuda": 8}

# Rows of the training split, and the shape that they are given.
Batch = tuple[NDArray[np.int64], Shape]
# The batches of one optimizer step.
Batches = tuple[Batch, ...]


def plan_run(
    recipe: Recipe, lengths_N: NDArray[np.int64], *, max_length: int, seed: int, shape_step: int
) -> Iterator[Batches]:
    """The batches of each optimizer step of the whole run, with their shapes.

    Args:
        recipe: How to train.
        lengths_N: Tokens of each sentence.
        max_length: What `fixed` pads to.
        seed: Decides the order.
        shape_step: As `rtlab.batches.shape_of`.
    """
    left = recipe.max_steps
    for epoch in range(recipe.epochs):
        plan = plan_epoch(lengths_N, padding=recipe.padding, batch_size=recipe.batch_size, seed=seed, epoch=epoch)
        steps = range(0, len(plan.batches), recipe.accumulate)
        for begin in steps[:left]:
            yield tuple(
                (rows_S, shape_of(lengths_N[rows_S], padding=recipe.padding, max_length=max_length, step=shape_step))
                for rows_S in plan.batches[begin : begin + recipe.accumulate]
            )
        if left is not None:
            left = max(0, left - len(steps))


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one of several ranks does of an optimizer step.

    Attributes:
        batches: Its batches.
        whole: Those of all ranks together.
        idle: Whether there are fewer sentences than ranks: its one sentence is another's too, and counts for nothing.
    """

    batches: Batches
    whole: Batches
    idle: bool = False


def part_of(batches: Batches, ranks: Ranks, shape: Callable[[NDArray[np.int64]], Shape]) -> Part:
    """A rank's part of an optimizer step.

    Args:
        batches: Of the step.
        ranks: Which rank of how many.
        shape: Gives the shape of a batch of these rows.
    """
    if ranks.alone:
        return Part(batches=batches, whole=batches)
    rows = [own_S for rows_S, _ in batches if len(own_S := ranks.part(rows_S))]
    idle = not rows
    if idle:
        rows = [batches[0][0][:1]]
    return Part(batches=tuple((rows_S, shape(rows_S)) for rows_S in rows), whole=batches, idle=idle)
