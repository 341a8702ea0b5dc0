"""The learning rate of each step: warm-up, then linear or half a cosine to 0, or constant, as transformers has them."""

import math

import numpy as np
from numpy.typing import NDArray

from rtlab.recipe import Recipe


def warmup_steps(recipe: Recipe, steps: int) -> int:
    """Steps over which the rate rises from 0 to its peak."""
    return int(recipe.warmup) if recipe.warmup >= 1 else math.ceil(steps * recipe.warmup)


def learning_rates(recipe: Recipe, steps: int) -> NDArray[np.float64]:
    """The rate of each step of a run, (steps,)."""
    warm, peak = warmup_steps(recipe, steps), recipe.learning_rate
    at_N = np.arange(steps, dtype=np.float64)
    left = max(1, steps - warm)
    after_N = {
        "linear": peak * (steps - at_N) / left,
        "cosine": peak * 0.5 * (1.0 + np.cos(math.pi * (at_N - warm) / left)),
        "constant": np.full(steps, peak),
    }
    rates_N: NDArray[np.float64] = np.where(at_N < warm, peak * at_N / max(1, warm), after_N[recipe.schedule])
    return rates_N
