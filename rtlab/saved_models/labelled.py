"""Labelled sentences to evaluate a model on: one split of a data set, or a file without splits as a whole."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rtlab.data import Splits, load_splits
from rtlab.data.labels import Places, Table, named
from rtlab.data.sources import Tables, load_tables
from rtlab.data.splits import SPLIT_NAMES
from rtlab.experiment import DatasetOptions
from rtlab.values import check_one_of

WHOLE = "all"  # the split of a data set that has none


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Sentences and their labels, as the data set calls them.

    Attributes:
        name: Of the data set; never a path.
        revision: Commit on the hub, if it came from there.
        split: Which split they are; `all` where there is none.
        texts: The sentences.
        labels: Of each its label.
        label_names: The labels that occur.
        places: Where each stands; `None` where a split was cut.
        notes: What was assumed, a sentence each.
    """

    name: str
    revision: str | None
    split: str
    texts: Sequence[str]
    labels: Sequence[str]
    label_names: tuple[str, ...]
    places: Places | None
    notes: tuple[str, ...]

    def place(self, row: int) -> str:
        """Where a sentence stands, without a folder."""
        if self.places is None:
            return f"{self.split}, row {row + 1}"
        file = self.places.files[self.places.file_of[row]]
        return f"{Path(file).name}, {self.places.unit} {self.places.numbers[row]}"

    @cached_property
    def sha256(self) -> str:
        """Digest of sentences and labels, in their order."""
        digest = hashlib.sha256()
        for text, label in zip(self.texts, self.labels, strict=True):
            digest.update(json.dumps([text, label]).encode() + b"\n")
        return digest.hexdigest()


def labelled_sentences(dataset: str, split: str | None, options: DatasetOptions, *, trained_on: str) -> Sentences:
    """Read what a model is evaluated on.

    Args:
        dataset: As `rtlab.data.load_splits` takes it.
        split: Which split; by default test, and of a data set without splits all of it. One that is not there by
            itself is cut as for a training run.
        options: How it is read where its files leave that open.
        trained_on: The data set of the model's own run.

    Raises:
        ValueError: If it cannot be read, or has no such split, no sentences or no labels.
    """
    if split is not None:
        check_one_of("split", split, SPLIT_NAMES)
    found = load_tables(dataset, options)
    wanted = split if split is not None else "" if "" in found.tables else "test"
    if wanted not in found.tables:
        return _of_splits(load_splits(dataset, options=options), wanted)
    return _of_table(found, wanted, _warning(found, wanted, trained_on))


def _of_splits(splits: Splits, name: str) -> Sentences:
    split = dict(splits.items())[name]
    return Sentences(
        name=splits.name,
        revision=splits.revision,
        split=name,
        texts=split.texts,
        labels=[splits.label_names[label] for label in split.labels],
        label_names=splits.label_names,
        places=None,
        notes=splits.notes,
    )


def _of_table(found: Tables, split: str, warning: tuple[str, ...]) -> Sentences:
    table = found.tables[split]
    _check(table, found.name, split)
    names, words = named({split: table})
    return Sentences(
        name=found.name,
        revision=found.revision,
        split=split or WHOLE,
        texts=table.texts,
        labels=words[split],
        label_names=names,
        places=table.places,
        notes=(*found.notes, *warning),
    )


def _check(table: Table, name: str, split: str) -> None:
    if not table.texts:
        raise ValueError(f"{table.places}: no sentences; some of each class would do")
    if all(label is None for label in table.labels):
        others = f", or --split for another split of {name}," if split else ""
        raise ValueError(f"{table.places}: no labels; a column of labels{others} would do")


def _warning(found: Tables, split: str, trained_on: str) -> tuple[str, ...]:
    """What is to be said of sentences that the model may have been trained on."""
    whole = () if split else ("No splits are named: all sentences are evaluated.",)
    if split == "test" or Path(trained_on).name != found.name:
        return whole
    return (
        *whole,
        f"The model was trained on a data set of this name, {found.name}: if it is the same one, scores of sentences "
        f"that it was trained on are too high{'' if split else '; --split test takes those that it was not'}.",
    )
