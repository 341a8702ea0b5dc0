"""Labelled sentences to evaluate a model on: one split of a data set, or a file without splits as a whole."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rtlab.data import Splits, load_splits
from rtlab.data.labels import Places, Table, named
from rtlab.data.sources import Tables, load_tables
from rtlab.data.splits import SPLIT_NAMES
from rtlab.experiment import DatasetOptions
from rtlab.saved_models.description import Description
from rtlab.saved_models.overlap import seen_in_training
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


def labelled_sentences(
    dataset: str, split: str | None, options: DatasetOptions, *, description: Description
) -> Sentences:
    """Read what a model is evaluated on; sentences that it was trained on are said in the notes.

    Args:
        dataset: As `rtlab.data.load_splits` takes it.
        split: Which split; by default test, and of a data set without splits all of it. One that is not there by
            itself is cut as for a training run.
        options: How it is read where its files leave that open.
        description: Of the model.

    Raises:
        ValueError: If it cannot be read, or has no such split, no sentences or no labels.
    """
    if split is not None:
        check_one_of("split", split, SPLIT_NAMES)
    found = load_tables(dataset, options)
    wanted = split if split is not None else "" if "" in found.tables else "test"
    if wanted not in found.tables:
        sentences = _of_splits(load_splits(dataset, options=options), wanted)
    else:
        sentences = _of_table(found, wanted)
    return replace(sentences, notes=(*sentences.notes, *_warning(sentences, dataset, description)))


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


def _of_table(found: Tables, split: str) -> Sentences:
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
        notes=found.notes if split else (*found.notes, "No splits are named: all sentences are evaluated."),
    )


def _check(table: Table, name: str, split: str) -> None:
    if not table.texts:
        raise ValueError(f"{table.places}: no sentences; some of each class would do")
    if all(label is None for label in table.labels):
        others = f", or --split for another split of {name}," if split else ""
        raise ValueError(f"{table.places}: no labels; a column of labels{others} would do")


def _warning(sentences: Sentences, dataset: str, description: Description) -> tuple[str, ...]:
    """What is to be said of sentences that the model was trained on, or may have been."""
    trained_by, texts = description.experiment, sentences.texts
    seen = seen_in_training(texts, dataset, trained_by, description.sentences)
    others = "; --split test takes those that it was not" if sentences.split == WHOLE and seen != len(texts) else ""
    if seen:
        which = "All of these sentences" if seen == len(texts) else f"{seen:,} of these {len(texts):,} sentences"
        return (f"{which} are among those that the model was trained on: scores of them are too high{others}.",)
    if seen == 0 or sentences.split == "test" or Path(trained_by.dataset).name != sentences.name:
        return ()
    return (
        f"The model was trained on a data set of this name, {sentences.name}: if it is the same one, scores of "
        f"sentences that it was trained on are too high{others}.",
    )
