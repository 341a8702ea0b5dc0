"""SetFit, which a person might use in place of `choose`, on the sentences of its study: `tox -e setfit -- DATASET`.

Pairs of sentences as in its paper (Tunstall et al., "Efficient few-shot learning without prompts", 2022): 20 rounds of
them, one epoch, a logistic regression on what the encoder gives then. It has an environment of its own; each run that
is not there yet is written to results/choosing/setfit/, and `regret.py` reads them.
"""

import json
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

from rtlab.data import Split, load_splits
from rtlab.encoders import load_encoder
from rtlab.environment import OtherProcesses, seed_everything
from rtlab.testbed import device_name, threads
from rtlab.writing import write_whole

SIZES = (100, 500)  # training sentences; more take longer than ten minutes on two cores
SEEDS = (42, 43, 44)
ROUNDS = 20
FOLDER = Path(__file__).parents[1] / "results" / "choosing" / "setfit"


def run(dataset: str, sentences: int, seed: int) -> dict[str, object]:
    """Train on so many sentences, drawn as the study draws them, and label validation and test.

    Args:
        dataset: Its directory.
        sentences: Of train.
        seed: Draws them, and what is random in training.

    Returns:
        Right answers of each held-out sentence by split, seconds, versions and the machine.
    """
    splits, encoder = load_splits(dataset), load_encoder("minilm")
    train = splits.drawn(sentences, seed=seed).train
    others = OtherProcesses()
    start = time.perf_counter()
    seed_everything(seed)
    model = SetFitModel.from_pretrained(str(encoder.path))
    with tempfile.TemporaryDirectory() as folder:
        asked = TrainingArguments(
            output_dir=folder,
            num_iterations=ROUNDS,
            num_epochs=1,
            batch_size=16,
            seed=seed,
            save_strategy="no",
            report_to="none",
        )
        Trainer(model=model, args=asked, train_dataset=_dataset(train)).train()
    trained = time.perf_counter()
    right = {name: _right(model, split) for name, split in splits.items() if name != "train"}
    return {
        "sentences": sentences,
        "seed": seed,
        "right": right,
        "seconds": {"train": trained - start, "evaluate": time.perf_counter() - trained},
        "others": others.share(),
        "device": device_name(None),
        "threads": threads(),
        "versions": {name: version(name) for name in ("setfit", "sentence-transformers", "transformers", "torch")},
    }


def _dataset(split: Split) -> Dataset:
    return Dataset.from_dict({"text": list(split.texts), "label": list(split.labels)})


def _right(model: SetFitModel, split: Split) -> list[int]:
    """1 for each sentence that is labelled rightly, else 0."""
    said = model.predict(list(split.texts), as_numpy=True)
    return [int(one == label) for one, label in zip(said, split.labels, strict=True)]


if __name__ == "__main__":
    for seed, sentences in product(SEEDS, SIZES):
        file = FOLDER / f"{sentences}-{seed}.json"
        if not file.exists():
            write_whole(file, json.dumps(run(sys.argv[1], sentences, seed)) + "\n")
