"""Data sets on which it is harder to choose, made from the real sentences and from the built-in corpus.

    python bench/altered.py DATASET FOLDER

writes each below FOLDER as train.csv, validation.csv and test.csv, the same each time.
"""

import csv
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from random import Random

from rtlab.data import Split, Splits, load_splits
from rtlab.data.corpus import generate
from rtlab.recipe import ChoiceMetric

METRICS: dict[str, ChoiceMetric] = {"flipped": "accuracy", "uneven": "macro-f1", "three-classes": "accuracy"}
FLIPPED = 0.2  # share of training labels
TO_ONE = 9  # sentences of the first class to one of the second
SIZES = {"train": 8530, "validation": 1066, "test": 1066}  # of what is made from the corpus
SHORT = 14  # words of each of the two sentences that one of three classes has: together as many as a real one
SEED = 42


def flipped(splits: Splits) -> dict[str, Split]:
    """A share of the training sentences of each of two classes have the other's label."""
    train, random = splits.train, Random(SEED)
    turned = {row for label in (0, 1) for row in _some(train, label, FLIPPED, random)}
    labels = tuple(1 - label if row in turned else label for row, label in enumerate(train.labels))
    return {"train": Split(train.texts, labels), "validation": splits.validation, "test": splits.test}


def uneven(splits: Splits) -> dict[str, Split]:
    """Of the second class, everywhere, so few sentences that there are `TO_ONE` of the first to one."""
    return {name: _uneven(getattr(splits, name)) for name in SIZES}


def _uneven(split: Split) -> Split:
    random, (first, second) = Random(SEED), map(split.labels.count, (0, 1))
    kept = sorted(_some(split, 0, 1.0, random) + _some(split, 1, first / TO_ONE / second, random))
    return Split(tuple(split.texts[row] for row in kept), tuple(split.labels[row] for row in kept))


def _some(split: Split, label: int, share: float, random: Random) -> list[int]:
    """A share of the rows of a class."""
    rows = [row for row, of in enumerate(split.labels) if of == label]
    return random.sample(rows, round(share * len(rows)))


def three_classes() -> dict[str, Split]:
    """Two sentences of the corpus each: both negative (0), one of each (1), both positive (2)."""
    every = _of_three_classes()
    parts = {name: list(islice(every, size)) for name, size in SIZES.items()}
    return {name: Split(*map(tuple, zip(*rows, strict=True))) for name, rows in parts.items()}


def _of_three_classes() -> Iterator[tuple[str, int]]:
    random, sides = Random(SEED), (_short(0), _short(1))
    while True:
        label = random.randrange(3)
        first = random.randrange(2) if label == 1 else label // 2
        yield f"{next(sides[first])} {next(sides[label - first])}", label


def _short(side: int) -> Iterator[str]:
    """Short sentences of one label, without end."""
    for seed in count(1):
        for text, label in zip(*generate(20_000, seed), strict=True):
            if label == side and len(text.split()) <= SHORT:
                yield text


def write(parts: dict[str, Split], names: tuple[str, ...], folder: Path) -> None:
    """Write a data set as people have theirs."""
    folder.mkdir(parents=True)
    for part, split in parts.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("text", "label"))
            rows.writerows((text, names[label]) for text, label in zip(split.texts, split.labels, strict=True))


if __name__ == "__main__":
    real, to = load_splits(sys.argv[1]), Path(sys.argv[2])
    write(flipped(real), real.label_names, to / "flipped")
    write(uneven(real), real.label_names, to / "uneven")
    write(three_classes(), ("negative", "mixed", "positive"), to / "three-classes")
