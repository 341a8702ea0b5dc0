"""Small data sets and experiments, so that a run takes half a second; for tests that run something."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import torch

import rtlab
from rtlab.choice import Candidate, Choice, Trial, Undecided
from rtlab.data import corpus
from rtlab.encoders import Encoder, load_encoder
from rtlab.engines.engine import Task
from rtlab.environment import Stopwatch
from rtlab.matrix import Case, Matrix
from rtlab.preparing import prepare
from rtlab.statistics import Interval
from rtlab.tokens import Tokens

TRAIN, HELD_OUT = 42, 20  # 42 sentences in batches of 8: the last batch is a partial one
TWO, THREE = ("negative", "positive"), ("bad", "fair", "good")


def data_folder(folder: Path, names=TWO, train=TRAIN, held_out=HELD_OUT) -> Path:
    """Write a data set of the built-in corpus's sentences, with classes of these names, as CSV files."""
    folder.mkdir(parents=True)
    texts, _ = corpus.generate(train + 2 * held_out)
    rows = [(text, names[row % len(names)]) for row, text in enumerate(texts)]
    parts = {"train": rows[:train], "validation": rows[train : train + held_out], "test": rows[train + held_out :]}
    for split, part in parts.items():
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    return folder


def read(folder: Path, split: str, names=TWO) -> tuple[list[str], list[int]]:
    """Texts and class indices of a split that `data_folder` wrote."""
    with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [names.index(row["label"]) for row in rows]


RECIPE = {"epochs": 1, "batch_size": 8, "logging_steps": 1, "learning_rate": 1e-3}


def experiment(dataset: Path, method: str = "full", **fields) -> rtlab.Experiment:
    """An experiment on such a data set, from flat fields; training takes one epoch of batches of 8, logs every step."""
    of_recipe, of_adapter, of_svm = (
        {name: fields.pop(name) for name in list(fields) if name in names}
        for names in (
            {field.name for field in dataclasses.fields(rtlab.Recipe)},
            {"peft_type", "target_modules", "settings"},
            {"pooling"},
        )
    )
    recipe = rtlab.Recipe(**RECIPE | of_recipe)
    methods = {
        "svm": lambda: rtlab.Svm(**of_svm),
        "full": lambda: rtlab.Full(recipe=recipe),
        "lora": lambda: rtlab.Adapter(recipe=recipe, **of_adapter),
        "contrastive": lambda: rtlab.Contrastive(recipe=recipe),
    }
    return rtlab.Experiment(**{"encoder": "tiny-distilbert"} | fields, dataset=str(dataset), method=methods[method]())


def without_dropout(name: str, folder: Path) -> Encoder:
    """A copy of an encoder whose configuration has no dropout, made in a folder once."""
    if not (copy := folder / name).exists():
        shutil.copytree(load_encoder(name).path, copy)
        file = copy / "config.json"
        config = json.loads(file.read_text())
        dropouts = {key: 0.0 for key, value in config.items() if "dropout" in key and isinstance(value, float)}
        assert dropouts
        file.write_text(json.dumps(config | dropouts))
    return load_encoder(str(copy))


def matrix(*experiments: rtlab.Experiment) -> Matrix:
    """A study of experiments, each a case by itself."""
    return Matrix(cases=tuple(Case(experiment=one) for one in experiments))


def choice(record: rtlab.RunRecord, **changes) -> Choice:
    """A choice of what left this record, out of three ways; its candidates' scores are made up."""
    interval = Interval(value=0.75, low=0.7, high=0.8, over="sentences and seeds")
    trials = tuple(
        Trial(sentences=TRAIN, epochs=1, seed=seed, validation=0.75, seconds=1.0, run=record.id) for seed in (1, 2)
    )
    way = Candidate(
        name="the way, lr 1e-03",
        method=record.experiment.method.name,
        experiment=record.experiment,
        command="rtlab lora --dataset '/home/somebody/my reviews.csv' --learning-rate 1e-3 --adapter=/home/x/a.json",
        status="finished",
        why="scores best",
        validation=interval,
        estimate=0.745,
        test=interval,
        seconds=3.25,
        trials=trials,
    )
    words = dataclasses.replace(way, name="words", status="stopped", why="5 points behind", test=None)
    full = dataclasses.replace(way, name="full", status="left out", why="no time for it", validation=None, trials=())
    fields = {
        "asked": "rtlab choose",
        "dataset": record.dataset.name,
        "classes": record.dataset.classes,
        "sentences": {"train": TRAIN, "validation": HELD_OUT, "test": HELD_OUT},
        "encoder": None if record.encoder is None else record.encoder.name,
        "metric": "accuracy",
        "margin": 0.01,
        "budget_s": 60.0,
        "seconds": 50.0,
        "folds": 0,
        "recommended": way.name,
        "cheaper": "words",
        "better": None,
        "candidates": (words, way, full),
        "undecided": (
            Undecided(name="words", difference=interval, tells="3 more seeds would tell", sentences=None, minutes=2.0),
        ),
        "warnings": ("2 sentences stand in train and in test.",),
    }
    return Choice(**fields | changes)


def task(asked: rtlab.Experiment, device: str = "cpu") -> Task:
    """What an engine is given to do an experiment, nobody listening."""
    prepared = prepare(asked, device=device)
    return Task(
        experiment=asked,
        splits=prepared.splits,
        encoder=prepared.encoder,
        target_modules=prepared.target_modules,
        device=prepared.device,
        progress=lambda *_: None,
        on_log=lambda _: None,
        watch=Stopwatch(prepared.device),
    )


def numbered(lengths: np.ndarray) -> Tokens:
    """A split of sentences of these lengths, whose ids tell each token from every other."""
    return Tokens(
        ids=np.arange(1000, 1000 + lengths.sum(), dtype=np.int32),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        labels=np.zeros(len(lengths), dtype=np.int64),
    )


class Order(torch.utils.data.Sampler):
    """A sampler that gives these rows in this order, in place of Trainer's."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)

    def __len__(self):
        return len(self.rows)
