"""The batches of a whole run of the native engine, and which of them are one optimizer step."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import Shape, plan_epoch, shape_of
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
