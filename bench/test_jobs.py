"""Two runs at once with half of the threads each, against one run with all of them: the work done in the same time.

By turns and in fresh processes. The work of two at once is the sum of what each does in a second of its training,
warm-up included; it speaks of this machine in this run alone.
"""

from dataclasses import replace

import pytest

from rtlab.environment import find_device
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full
from rtlab.recipe import Recipe
from rtlab.records import load
from rtlab.scheduling.planning import plan
from rtlab.scheduling.sweep import sweep
from rtlab.statistics import ratio_of_times
from rtlab.testbed import threads

RATES = {"full": 2e-5, "lora": 1e-3}


def test_two_runs_at_once_against_one(benchmark, request, base, size, device, notes, tmp_path, method):
    small = request.config.option.study == "smoke"
    if not small and find_device(device).type != "cpu":
        pytest.skip("runs share the cores where these compute: --device cpu")
    if not small and threads() < 2:
        pytest.skip("there is one thread, which two runs cannot divide")
    if not small and base.dataset == "corpus":
        pytest.skip("real sentences are as long as they are: --dataset, or RTLAB_DATASET")
    recipe = Recipe(
        engine="native", learning_rate=RATES[method], max_steps=size.steps, epochs=base.method.recipe.epochs
    )
    way = Full(recipe=recipe) if method == "full" else Adapter(recipe=recipe)
    pair = [replace(base, method=way, seed=seed) for seed in (Experiment.seed, Experiment.seed + 1)]
    alone, at_once = [], []

    def one_round():
        folder = tmp_path / str(len(alone))
        alone.extend(seconds(pair[:1], folder / "alone", jobs=1))
        at_once.append(1 / sum(1 / each for each in seconds(pair, folder / "at once", jobs=2)))

    benchmark.pedantic(one_round, rounds=size.rounds)
    work = ratio_of_times(alone, at_once)
    benchmark.extra_info.update(work=work.value, work_low=work.low, work_high=work.high, threads=threads())
    notes.append(f"{benchmark.name}: work {work.value:.4g}, from {work.low:.4g} to {work.high:.4g}")


def seconds(experiments, folder, *, jobs):
    """Training of each, with its warm-up."""
    done = sweep(plan(experiments, device="cpu"), output_dir=folder, device="cpu", jobs=jobs)
    return [load(one.path).timing.seconds for one in done]
