"""What small runs of every method, engine and padding came to, kept: losses of each step, logits, ids.

Where an engine's numbers moved on purpose, raise its version in `rtlab.methods.RESULTS`, which makes all of its
records old, and write the file anew: `python tests/test_golden.py`.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import rtlab
from rtlab.methods import RESULTS
from rtlab.preparing import prepare

FILE = Path(__file__).with_name("golden.json")
TOLERANCE = 1e-4  # of losses and logits: processors and libraries round differently


def trained(method, engine, padding):
    rate = {"full": 1e-4, "lora": 1e-3, "contrastive": 1e-4}[method]
    recipe = rtlab.Recipe(engine=engine, padding=padding, learning_rate=rate, epochs=2, batch_size=8, logging_steps=1)
    return {"full": rtlab.Full, "lora": rtlab.Adapter, "contrastive": rtlab.Contrastive}[method](recipe=recipe)


def experiments():
    """Every method, engine and padding on one architecture, and each engine's usual padding on the others."""
    paddings = {"trainer": ("fixed", "dynamic", "bucketed"), "native": ("fixed", "dynamic", "bucketed", "packed")}
    methods = {f"svm-{pooling}": ("tiny-distilbert", rtlab.Svm(pooling=pooling)) for pooling in ("cls", "mean")}
    methods["svm-mean-tuned"] = ("tiny-distilbert", rtlab.Svm(pooling="mean", c=None))
    methods["svm-mean-words-tuned"] = ("tiny-distilbert", rtlab.Svm(pooling="mean", with_words=True, c=None))
    methods["words"] = ("tiny-distilbert", rtlab.Words())
    for method in ("full", "lora"):
        for engine, known in paddings.items():
            for padding in known:
                name = f"{method}-{engine}-{padding}"
                methods[name] = ("tiny-distilbert", trained(method, engine, padding))
            for encoder in ("tiny-bert", "tiny-roberta", "tiny-electra"):
                methods[f"{method}-{engine}-{encoder}"] = (encoder, trained(method, engine, None))
    for engine in paddings:
        methods[f"contrastive-{engine}"] = ("tiny-bert", trained("contrastive", engine, None))
    return {
        name: rtlab.Experiment(encoder=encoder, dataset="corpus", method=method, limit=20, max_length=64)
        for name, (encoder, method) in methods.items()
    }


def ran(experiment):
    """What is kept of a run of two epochs of three steps."""
    with tempfile.TemporaryDirectory() as folder:
        record = rtlab.run(experiment, output_dir=folder, device="cpu")
    return {
        "id": record.id,
        "encoder": None if record.encoder is None else record.encoder.sha256,
        "results": record.results,
        "losses": [entry.loss for entry in record.history],
        "logits": {split: found.to_json()["logits"] for split, found in record.predictions.items()},
    }


@pytest.fixture(scope="module")
def kept():
    return json.loads(FILE.read_text())


def test_every_run_is_kept(kept):
    assert set(kept) == set(experiments())


@pytest.mark.parametrize("name", experiments())
def test_a_run_comes_to_what_it_came_to(name, kept):
    experiment = experiments()[name]
    found, expected = ran(experiment), kept[name]
    assert found["results"] == expected["results"] == RESULTS[experiment.engine]
    moved = f"the results of engine {experiment.engine} moved: raise RESULTS in rtlab/methods.py (see the module)"
    pairs = [(found["losses"], expected["losses"])]
    pairs += [(found["logits"][split], expected["logits"][split]) for split in ("validation", "test")]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE, err_msg=moved)
        if name.startswith("contrastive"):  # whose classifier is regularised until its logits are small
            np.testing.assert_allclose(one, other, rtol=0, atol=10 * TOLERANCE * np.abs(other).max(), err_msg=moved)


@pytest.mark.parametrize("name", experiments())
def test_an_id_stays(name, kept):
    """The random encoders' files name the version of transformers that wrote them; with another, ids are others."""
    prepared = prepare(experiments()[name], device="cpu")
    if prepared.encoder is not None and prepared.encoder.sha256 != kept[name]["encoder"]:
        pytest.skip("the random encoders of these versions are not those of the kept ids")
    assert prepared.id == kept[name]["id"]


def test_one_thread_computes_them():
    """As the tests' own environment asks for, before torch is imported: with more, sums have other last digits."""
    assert torch.get_num_threads() == 1


def main():
    torch.set_num_threads(1)
    found = {name: ran(experiment) for name, experiment in experiments().items()}
    FILE.write_text(json.dumps(found, separators=(",", ":")).replace("},", "},\n") + "\n")


if __name__ == "__main__":
    sys.exit(main())
