"""What a data set holds, before anything is trained on it (lab step e11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from rtlab.data import Checks, Splits, check, load_splits
from rtlab.encoders import Encoder, load_encoder
from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER
from rtlab.values import Json, to_json

PERCENTILES = (0, 25, 50, 75, 90, 99, 100)
TOGETHER = 1000  # texts that are tokenized at once


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths of one split's sentences: the mean, and the percentiles of `PERCENTILES`."""

    mean: float
    percentiles: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """A data set described.

    Attributes:
        name: Its name.
        revision: Its revision on the hub, if it came from there.
        sha256: Digest of its sentences and labels.
        label_names: Names of the classes.
        checks: Sizes, balance, empty texts, duplicates.
        words: Split to lengths in words (parts between white space).
        word_pieces: Split to lengths in word pieces of `encoder`, special tokens included, however many it could take.
        encoder: Whose tokenizer counted.
        samples: Label name to the first sentences of the training split that bear it.
    """

    name: str
    revision: str | None
    sha256: str
    label_names: tuple[str, ...]
    checks: Checks
    words: Mapping[str, Lengths]
    word_pieces: Mapping[str, Lengths]
    encoder: str
    samples: Mapping[str, tuple[str, ...]]

    def to_json(self) -> Json:
        """The description as JSON types."""
        return to_json(self)


def explore(
    dataset: str = DEFAULT_DATASET, *, encoder: str = DEFAULT_ENCODER, limit: int | None = None, samples: int = 3
) -> Exploration:
    """Describe a data set: sizes, balance, lengths, duplicates, samples.

    Args:
        dataset: Hub id, directory, or `corpus`.
        encoder: The encoder whose word pieces are counted.
        limit: Sentences kept per split, `None` for all.
        samples: Sentences shown per label.

    Raises:
        ValueError: If data set or encoder cannot be loaded.
    """
    splits = load_splits(dataset, limit=limit)
    loaded = load_encoder(encoder)
    return Exploration(
        name=splits.name,
        revision=splits.revision,
        sha256=splits.sha256,
        label_names=splits.label_names,
        checks=check(splits),
        words={name: _lengths([len(text.split()) for text in split.texts]) for name, split in splits.items()},
        word_pieces={name: _lengths(_word_pieces(split.texts, loaded)) for name, split in splits.items()},
        encoder=loaded.name,
        samples=_samples(splits, samples),
    )


def as_text(exploration: Exploration) -> str:
    """The description as tables for a terminal."""
    checks = exploration.checks
    sizes = [
        [name, *(f"{n:,}" for n in (s.size, *s.label_counts, s.empty, s.duplicates, s.hub_bytes))]
        for name, s in checks.items()
    ]
    lengths = [
        [split, unit, f"{found[split].mean:.1f}", *(f"{value:.0f}" for value in found[split].percentiles)]
        for unit, found in (("words", exploration.words), ("word pieces", exploration.word_pieces))
        for split in found
    ]
    sizes_headers = ["split", "sentences", *exploration.label_names, "empty", "duplicates", "bytes"]
    shared = ", ".join(f"{first} and {second} {count}" for first, second, count in checks.shared)
    title = exploration.name + (f" at revision {exploration.revision}" if exploration.revision else "")
    parts = [
        f"{title}\nsha256 {exploration.sha256}",
        _table(sizes, sizes_headers, left=1),
        f"sentences in two splits: {shared}",
        f"lengths (word pieces of {exploration.encoder}, special tokens included)\n"
        + _table(lengths, ["split", "unit", "mean", *_percentile_names()], left=2),
        *("\n".join([f"{name}:", *(f"  {text}" for text in texts)]) for name, texts in exploration.samples.items()),
    ]
    return "\n\n".join(parts)


def _table(rows: list[list[str]], headers: list[str], *, left: int) -> str:
    """Rows of text under headers, the first `left` columns to the left and numbers to the right."""
    aligned = ("left",) * left + ("right",) * (len(headers) - left)
    return tabulate(rows, headers=headers, tablefmt="simple", colalign=aligned, disable_numparse=True)


def _lengths(lengths: list[int]) -> Lengths:
    return Lengths(
        mean=float(np.mean(lengths)), percentiles=tuple(float(p) for p in np.percentile(lengths, PERCENTILES))
    )


def _word_pieces(texts: Sequence[str], encoder: Encoder) -> list[int]:
    """Word pieces of each text, special tokens included; few texts at a time, as a tokenizer's answer is large."""
    parts = (list(texts[start : start + TOGETHER]) for start in range(0, len(texts), TOGETHER))
    return [len(ids) for part in parts for ids in encoder.tokenizer(part, verbose=False)["input_ids"]]


def _percentile_names() -> list[str]:
    return ["min" if p == 0 else "max" if p == 100 else f"{p} %" for p in PERCENTILES]


def _samples(splits: Splits, number: int) -> dict[str, tuple[str, ...]]:
    rows = list(zip(splits.train.texts, splits.train.labels, strict=True))
    return {
        name: tuple(text for text, label in rows if label == index)[:number]
        for index, name in enumerate(splits.label_names)
    }
