"""Learning rates: transformers' own, step by step."""

import numpy as np
import pytest
import torch
from transformers import TrainingArguments, get_scheduler

from rtlab.engines.schedule import learning_rates, warmup_steps
from rtlab.recipe import Recipe

STEPS = 30


@pytest.mark.parametrize("warmup", [0, 0.06, 0.5, 1, 7, 30, 40])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates_are_those_of_transformers(tmp_path, schedule, warmup):
    recipe = Recipe(schedule=schedule, warmup=warmup, learning_rate=1e-3)
    warm = TrainingArguments(output_dir=tmp_path, warmup_steps=warmup, report_to="none").get_warmup_steps(STEPS)
    assert warmup_steps(recipe, STEPS) == warm
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warm, num_training_steps=STEPS)
    expected = []
    for _ in range(STEPS):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(learning_rates(recipe, STEPS), expected, rtol=1e-12, atol=0)


def test_the_labs_rates_are_to_the_digit_what_they_were():
    expected = [2e-5 * (STEPS - step) / STEPS for step in range(STEPS)]
    assert learning_rates(Recipe(), STEPS).tolist() == expected
