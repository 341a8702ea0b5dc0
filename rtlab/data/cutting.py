"""Validation and test cut out of sentences that have none: the same each time, stratified, equal sentences together.

Which sentences go is decided by a digest of each, never by a run's seed or the rows' order: a sentence that is added
moves few others. Equal sentences (white space apart) go together, whatever their labels, so that none leaks.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

from rtlab.data.splits import Split

SHARE = 10  # one sentence in ten
LEAST_LEFT = 2  # sentences of each class that stay in train


def cut(where: str, split: Split, parts: Sequence[str]) -> dict[str, Split]:
    """Cut a tenth of a split's sentences for each part; the rest is `train`. The order is kept.

    Each part has a tenth of all sentences, and of each class a tenth to within one sentence, where equal sentences and
    small classes allow it: of each class at least two stay, and a class of four or more goes into every part that has
    room for all such classes.

    Args:
        where: what is cut, for messages.
        split: the sentences.
        parts: names of what is cut out, each a tenth of the whole.

    Returns:
        `train` and the parts.

    Raises:
        ValueError: there are too few sentences for two classes in each part.
    """
    counts = Counter(split.labels)
    left = dict(counts)
    part_of = ["train"] * len(split)
    groups = _groups(split)
    for name in parts:
        shares = _shares(counts, max(round(len(split) / SHARE), 2), len(parts))
        for label in groups:
            taken, groups[label] = _take(split, groups[label], shares[label], left)
            for row in chain.from_iterable(taken):
                part_of[row] = name
    found = {name: _rows(split, [row for row, its in enumerate(part_of) if its == name]) for name in ("train", *parts)}
    for name in parts:
        if len({*found[name].labels}) < 2:
            different = len({*split.texts})
            few = f"{len(split)} sentences ({different} different, of the rarest class {min(counts.values())})"
            few += f" are too few to cut {name} from"
            raise ValueError(f"{where}: {few}; more of each class, or a file for {name}, would do")
    return found


def _groups(split: Split) -> dict[int, list[list[int]]]:
    """Rows of equal sentences together, by the class that most of them have, in the order of the sentences' digests."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(split.texts):
        rows_of[" ".join(text.split())].append(row)
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for text in sorted(rows_of, key=_digest):
        of_class[_commonest(split, rows_of[text])].append(rows_of[text])
    return of_class


def _take(
    split: Split, groups: Sequence[list[int]], share: int, left: dict[int, int]
) -> tuple[list[list[int]], list[list[int]]]:
    """Whole groups up to a share of sentences, and the groups that remain."""
    taken, remaining = [], []
    for group in groups:
        its = Counter(split.labels[row] for row in group) if share else Counter[int]()
        if len(group) <= share and all(left[label] - count >= LEAST_LEFT for label, count in its.items()):
            taken.append(group)
            share -= len(group)
            for label, count in its.items():
                left[label] -= count
        else:
            remaining.append(group)
    return taken, remaining


def _shares(counts: Mapping[int, int], size: int, parts: int) -> dict[int, int]:
    """Sentences of each class in a part of `size`: in proportion, by largest remainders; one each where that fits."""
    total = sum(counts.values())
    able = [label for label in counts if counts[label] >= LEAST_LEFT + parts]
    least = {label: int(label in able and len(able) <= size) for label in counts}
    shares = {label: max(size * count // total, least[label]) for label, count in counts.items()}
    by_remainder = sorted(counts, key=lambda label: (-(size * counts[label] % total), counts[label], label))
    for label in by_remainder:
        if sum(shares.values()) >= size:
            break
        shares[label] += shares[label] == size * counts[label] // total
    while sum(shares.values()) > size and max(shares.values()) > 1:
        shares[max(shares, key=lambda label: (shares[label], label))] -= 1
    return shares


def _commonest(split: Split, rows: Sequence[int]) -> int:
    """The label that most rows have; of equally many the lowest."""
    counts = Counter(split.labels[row] for row in rows)
    return max(counts, key=lambda label: (counts[label], -label))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _rows(split: Split, rows: Sequence[int]) -> Split:
    return Split(tuple(split.texts[row] for row in rows), tuple(split.labels[row] for row in rows))
