"""The reference engine against plain Trainer and PEFT, in a script that shares nothing with rtlab."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtlab.encoders.built_in import locate
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full
from rtlab.recipe import Recipe
from rtlab.running import run

SCRIPT = Path(__file__).with_name("plain_trainer.py")
METHODS = {
    "full": lambda recipe: Full(recipe=Recipe(learning_rate=2e-5, **recipe)),
    "lora": lambda recipe: Adapter(recipe=Recipe(learning_rate=1e-3, **recipe)),
}


def check(encoder, dataset, steps, tmp_path):
    """Both train so many steps by each method; the losses of all of them are the same to 1e-5."""
    command = [sys.executable, str(SCRIPT), ",".join(METHODS), str(locate(encoder)), str(dataset), str(steps)]
    plain = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert plain.returncode == 0, plain.stderr
    expected = json.loads(plain.stdout.splitlines()[-1])
    recipe = {"max_steps": steps, "logging_steps": 1, "epochs": 100}
    for name, method in METHODS.items():
        experiment = Experiment(encoder=encoder, dataset=str(dataset), method=method(recipe))
        record = run(experiment, output_dir=tmp_path, device="cpu")
        losses = [entry.loss for entry in record.history]
        assert len(losses) == len(expected[name]) == steps
        np.testing.assert_allclose(losses, expected[name], rtol=0, atol=1e-5, err_msg=name)


def test_a_small_run_has_the_losses_of_plain_trainer(tmp_path):
    folder = tmp_path / "polarity"
    folder.mkdir()
    for name, words in (("pos", "warm witty moving"), ("neg", "dull clumsy stale")):
        lines = [f"a {word} film , number {n} of many ." for n in range(20) for word in words.split()]
        (folder / f"rt-polarity.{name}").write_text("\n".join(lines) + "\n", encoding="latin-1")
    check("tiny-bert", folder, 9, tmp_path)  # an epoch and a little more


@pytest.mark.thorough
def test_a_hundred_steps_have_the_losses_of_plain_trainer(real_data, tmp_path):
    check("minilm", real_data, 100, tmp_path)
