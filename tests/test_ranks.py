"""A run that several ranks share is the run that one process does: the same id, losses, weights, logits and counts.

Rank 0 is the test's own process, and the others are forked; a few runs are whole ones under torchrun.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import faulty_ranks
import numpy as np
import pytest
import small
import torch
from safetensors.torch import load_file

from rtlab.encoders import load_encoder
from rtlab.engines import ranks as ranks_module
from rtlab.engines.models import classifier, save
from rtlab.environment import seed_everything
from rtlab.records import load

FAULTY = Path(faulty_ranks.__file__)
UNEVEN = ("bad", "fair", "bad", "good", "bad")  # classes of these shares
SEED = 1  # see tests/test_native.py
TRAIN = ("--batch-size", "8", "--epochs", "2", "--logging-steps", "1", "--seed", SEED, "--device", "cpu")
OF_METHOD = {
    "finetune": ("--learning-rate", "2e-4"),
    "lora": ("--learning-rate", "1e-3", "--rank", "4", "--alpha", "16", "--dropout", "0"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def data(folder):
    """42 sentences in batches of 8: the last batch has 2, of which three ranks have one, one and none."""
    return small.data_folder(folder / "data", UNEVEN)


@pytest.fixture(scope="module")
def encoders(folder):
    """Encoders without dropout."""
    made = {}
    for name in ("tiny-bert", "tiny-distilbert"):
        made[name] = folder / name
        shutil.copytree(load_encoder(name).path, made[name])
        file = made[name] / "config.json"
        config = json.loads(file.read_text())
        dropouts = {key: 0.0 for key, value in config.items() if "dropout" in key and isinstance(value, float)}
        file.write_text(json.dumps(config | dropouts))
    return made


@pytest.fixture
def held():
    """What torchrun does for its processes: it holds keys and values for them."""
    return torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


def place(held, number, rank):
    """What it tells one of them."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(number),
        "WORLD_SIZE": str(number),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(held.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


@pytest.fixture
def shared(rtlab, forkserver, held, tmp_path):
    """Run a command line as several ranks: `shared(2, "finetune", …)` gives what each came to, the first one first."""

    def run(number, *command, fault=None):
        """With a fault of `faulty_ranks` in all of them, which the test has put into its own process."""
        program = ["rtlab"] if fault is None else [FAULTY, fault]
        others = [
            forkserver.start(*program, *command, cwd=tmp_path, **place(held, number, rank)) for rank in range(1, number)
        ]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in place(held, number, 0).items():
                patch.setenv(name, value)
            try:
                first = rtlab(*command)
            finally:
                ranks_module._connection.cache_clear()
                if torch.distributed.is_initialized():
                    torch.distributed.destroy_process_group()
        found = [other.communicate() for other in others]
        return [
            first,
            *(
                SimpleNamespace(status=other.returncode, out=out, err=err)
                for other, (out, err) in zip(others, found, strict=True)
            ),
        ]

    return run


def result(folder):
    """The one record that a run left, and the weights that it saved."""
    [record] = (folder / "records").iterdir()
    [weights] = (folder / "models").glob("*/*.safetensors")
    return load(record), load_file(weights)


def start_weights(record, data, encoder, folder):
    """What a run began with, by the names under which it is saved."""
    asked = dataclasses.replace(record.experiment, dataset=str(data), encoder=str(encoder))
    task = small.task(asked)
    seed_everything(SEED)
    folder.mkdir()
    save(classifier(task), task.encoder, folder)
    [weights] = folder.glob("*.safetensors")
    return load_file(weights)


def check_same(found, expected, start, number):
    """Losses within 1e-5, weights as in the equality tests, logits, counts over all ranks."""
    (record, weights), (one, of_one) = found, expected
    assert record.id == one.id
    assert record.experiment == one.experiment
    assert (record.testbed.ranks, one.testbed.ranks) == (number, 1)
    assert len(record.history) == len(one.history) > 5
    for name in ("loss", "gradient_norm", "learning_rate"):
        moved = [getattr(entry, name) for entry in record.history]
        np.testing.assert_allclose(moved, [getattr(entry, name) for entry in one.history], rtol=1e-5, atol=1e-5)
    assert [entry.epoch for entry in record.history] == [entry.epoch for entry in one.history]
    assert record.train_loss == pytest.approx(one.train_loss, abs=1e-5)
    assert record.final_loss == pytest.approx(one.final_loss, abs=1e-5)
    assert record.chosen == one.chosen
    assert [entry.step for entry in record.validated] == [entry.step for entry in one.validated]
    np.testing.assert_allclose([v.loss for v in record.validated], [v.loss for v in one.validated], atol=1e-5)
    changed = {"padding_tokens": 0}
    assert dataclasses.replace(record.counts, **changed) == dataclasses.replace(one.counts, **changed)
    assert weights.keys() == of_one.keys() == start.keys()
    moved = 0
    for name, weight in of_one.items():
        if name.endswith(("key.bias", "k_lin.bias")):  # their gradient is 0, and AdamW makes noise as large as signal
            continue
        distance = (weight - start[name]).norm()
        moved += bool(distance > 0)
        assert (weights[name] - weight).norm() <= 1e-2 * distance, name
    assert moved > 10
    for split, predictions in one.predictions.items():
        np.testing.assert_allclose(record.predictions[split].logits, predictions.logits, atol=1e-4, rtol=0)


BEST = ("--evaluate", "2", "--keep", "best", "--metric", "loss")
EVERYTHING = ("--class-weights", "balanced", "--accumulate", "2", "--weight-decay", "0.01", "--warmup", "0.2", *BEST)
CASES = {
    ("native", "finetune", 3, "tiny-bert"): EVERYTHING,
    ("native", "lora", 2, "tiny-distilbert"): ("--padding", "dynamic"),
    ("trainer", "lora", 3, "tiny-distilbert"): EVERYTHING,
    ("trainer", "finetune", 2, "tiny-bert"): (),
}
GRID = {
    ("native", "finetune", 2, "tiny-distilbert"): (),
    ("native", "finetune", 2, "tiny-bert"): ("--padding", "bucketed", "--class-weights", "balanced"),
    ("native", "lora", 3, "tiny-bert"): (*EVERYTHING, "--patience", "2"),
    ("native", "finetune", 3, "tiny-distilbert"): ("--padding", "fixed", "--max-length", "40", "--freeze-layers", "1"),
    ("trainer", "finetune", 3, "tiny-bert"): (*EVERYTHING, "--padding", "bucketed"),
    ("trainer", "finetune", 2, "tiny-distilbert"): ("--padding", "bucketed", "--label-smoothing", "0.1"),
    ("trainer", "lora", 2, "tiny-bert"): ("--padding", "fixed", "--max-length", "40"),
    ("trainer", "lora", 3, "tiny-bert"): ("--class-weights", "balanced"),
}


@pytest.mark.parametrize(
    ("case", "options"),
    [*CASES.items(), *(pytest.param(*cell, marks=pytest.mark.thorough) for cell in GRID.items())],
    ids=lambda part: "-".join(map(str, part)),
)
def test_a_shared_run_is_the_run_of_one_process(case, options, rtlab, shared, data, encoders, tmp_path):
    check_case(case, options, rtlab, shared, data, encoders, tmp_path)


def check_case(case, options, rtlab, shared, data, encoders, folder, fault=None):
    """Do a run in one process and in several, and compare them."""
    engine, verb, number, encoder = case
    fixed = (verb, "--engine", engine, "--encoder", encoders[encoder], "--dataset", data, *TRAIN, *OF_METHOD[verb])
    alone = rtlab(*fixed, *options, "--output-dir", folder / "one")
    assert alone.status == 0, alone.err
    first, *others = shared(number, *fixed, *options, "--output-dir", folder / "all", fault=fault)
    assert first.status == 0, first.err
    for other in others:
        assert (other.status, other.out, other.err) == (0, "", "")
    expected, found = result(folder / "one"), result(folder / "all")
    start = start_weights(expected[0], data, encoders[encoder], folder / "start")
    check_same(found, expected, start, number)


# The tests bite


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("engine", "fault"), [(engine, fault) for engine, faults in faulty_ranks.FAULTS.items() for fault in faults]
)
def test_a_fault_is_found_out(engine, fault, rtlab, shared, data, encoders, tmp_path, monkeypatch):
    fault(monkeypatch.setattr)
    case = engine, "finetune", 3, "tiny-bert"
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_case(case, (), rtlab, shared, data, encoders, tmp_path, fault.__name__)
