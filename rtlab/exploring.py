"""What a data set holds, before anything is trained on it (lab step e11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from rtlab.data import Checks, Splits, check, load_splits
from rtlab.data.findings import find_warnings
from rtlab.encoders import Encoder, load_encoder
from rtlab.experiment import AS_IT_IS, DEFAULT_DATASET, SHORTEST, DatasetOptions, Experiment
from rtlab.values import Json, check_whole, clean, to_json

PERCENTILES = (0, 25, 50, 75, 90, 99, 100)
MOST_COLUMNS = 8  # classes that are columns, and whose samples are shown as text
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
        word_pieces: Split to lengths in word pieces of `encoder`, special tokens included, however many it could take;
            empty where no encoder was named.
        encoder: Whose tokenizer counted; `None` where none did.
        samples: Label name to the first sentences of the training split that bear it.
        notes: What was assumed when it was read, a sentence each.
        warnings: What makes results on it worth less than they look, with examples.
        max_length: Word pieces beyond which a sentence would be cut; `None` where none were counted.
    """

    name: str
    revision: str | None
    sha256: str
    label_names: tuple[str, ...]
    checks: Checks
    words: Mapping[str, Lengths]
    word_pieces: Mapping[str, Lengths]
    encoder: str | None
    samples: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    max_length: int | None

    def to_json(self) -> Json:
        """The description as JSON types."""
        return to_json(self)


def explore(
    dataset: str = DEFAULT_DATASET,
    *,
    encoder: str | None = None,
    limit: int | None = None,
    samples: int = 3,
    max_length: int | None = None,
    options: DatasetOptions = AS_IT_IS,
) -> Exploration:
    """Describe a data set: sizes, balance, lengths, duplicates, samples.

    Args:
        dataset: Hub id, file, directory, or `corpus`.
        encoder: The encoder whose word pieces are counted; without one lengths are in words, and nothing needs torch.
        limit: Sentences kept per split, `None` for all.
        samples: Sentences shown per label.
        max_length: Word pieces beyond which a sentence would be cut, special tokens included; 512 by default.
        options: How the data set is read where its files leave that open.

    Raises:
        ValueError: If data set or encoder cannot be loaded, or `max_length` is given without an encoder.
    """
    if max_length is not None:
        check_whole("max_length", max_length, at_least=SHORTEST)
        if encoder is None:
            raise ValueError(
                f"max_length counts an encoder's word pieces; got {max_length} and no encoder; naming one would do"
            )
    splits = load_splits(dataset, limit=limit, options=options)
    loaded = None if encoder is None else load_encoder(encoder)
    most = None if loaded is None else max_length or Experiment.max_length
    counted = {} if loaded is None else {name: word_pieces(split.texts, loaded) for name, split in splits.items()}
    return Exploration(
        name=splits.name,
        revision=splits.revision,
        sha256=splits.sha256,
        label_names=splits.label_names,
        checks=check(splits),
        words={name: _lengths([len(text.split()) for text in split.texts]) for name, split in splits.items()},
        word_pieces={name: _lengths(pieces) for name, pieces in counted.items()},
        encoder=None if loaded is None else loaded.name,
        samples=_samples(splits, samples),
        notes=splits.notes,
        warnings=find_warnings(splits) if most is None else find_warnings(splits, counted, most),
        max_length=most,
    )


def as_text(exploration: Exploration) -> str:
    """The description as tables for a terminal; its notes are said on standard error, as by every verb."""
    checks = exploration.checks
    few = len(exploration.label_names) <= MOST_COLUMNS
    sizes = [
        [name, *(f"{n:,}" for n in (s.size, *(s.label_counts if few else ()), s.empty, s.duplicates, s.hub_bytes))]
        for name, s in checks.items()
    ]
    lengths = [
        [split, unit, f"{found[split].mean:.1f}", *(f"{value:.0f}" for value in found[split].percentiles)]
        for unit, found in (("words", exploration.words), ("word pieces", exploration.word_pieces))
        for split in found
    ]
    names = [clean(name) for name in exploration.label_names]
    sizes_headers = ["split", "sentences", *(names if few else ()), "empty", "duplicates", "bytes"]
    of_classes = zip(names, *(check.label_counts for _, check in checks.items()), strict=True)
    classes = [[name, *(f"{count:,}" for count in counts)] for name, *counts in of_classes]
    shared = ", ".join(f"{first} and {second} {count}" for first, second, count in checks.shared)
    title = exploration.name + (f" at revision {exploration.revision}" if exploration.revision else "")
    parts = [
        f"{title}\nsha256 {exploration.sha256}",
        *(["\n".join(f"warning: {warning}" for warning in exploration.warnings)] if exploration.warnings else []),
        _table(sizes, sizes_headers, left=1),
        *([] if few else [_table(classes, ["class", *(name for name, _ in checks.items())], left=1)]),
        f"sentences in two splits: {shared}",
        f"lengths ({_units(exploration.encoder)})\n"
        + _table(lengths, ["split", "unit", "mean", *_percentile_names()], left=2),
        *(
            "\n".join([f"{clean(name)}:", *(f"  {clean(text)}" for text in texts)])
            for name, texts in [*exploration.samples.items()][:MOST_COLUMNS]
        ),
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


def word_pieces(texts: Sequence[str], encoder: Encoder) -> list[int]:
    """Word pieces of each text, special tokens included; few texts at a time, as a tokenizer's answer is large."""
    parts = (list(texts[start : start + TOGETHER]) for start in range(0, len(texts), TOGETHER))
    return [len(ids) for part in parts for ids in encoder.tokenizer(part, verbose=False)["input_ids"]]


def _units(encoder: str | None) -> str:
    """What lengths are in."""
    if encoder is None:
        return "in words; --encoder NAME adds its word pieces"
    return f"word pieces of {encoder}, special tokens included"


def _percentile_names() -> list[str]:
    return ["min" if p == 0 else "max" if p == 100 else f"{p} %" for p in PERCENTILES]


def _samples(splits: Splits, number: int) -> dict[str, tuple[str, ...]]:
    rows = list(zip(splits.train.texts, splits.train.labels, strict=True))
    return {
        name: tuple(text for text, label in rows if label == index)[:number]
        for index, name in enumerate(splits.label_names)
    }
