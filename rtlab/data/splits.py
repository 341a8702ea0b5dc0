"""A data set as the lab sees it: texts and class indices in three splits, and what can be checked about them.

Plain tuples of `str` and `int`: they compare and hash by content, travel between processes unchanged, need no library.
The trade-off is memory: all is held at once (the default data set is 1.3 MB, a million sentences are some 200 MB).
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from heapq import heapify, heapreplace

SPLIT_NAMES = ("train", "validation", "test")

# What the hub's "dataset size" counts per row beside the text: 8 bytes of label (int64) and 4 of string offset (Arrow).
HUB_ROW_BYTES = 12


@dataclass(frozen=True)
class Split:
    """Sentences with their classes, in file order.

    Attributes:
        texts: the sentences.
        labels: per sentence its class, an index into `Splits.label_names`.

    Raises:
        ValueError: the two are of different lengths.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise ValueError(f"labels: {len(self.labels)} for {len(self.texts)} texts; one label a text would do")

    def __len__(self) -> int:
        return len(self.texts)

    def fold_of(self, folds: int) -> list[int]:
        """Of each sentence which of so many folds holds it out.

        Equal sentences are in one, white space apart; otherwise each class is spread evenly, by the sentences' digests.
        """
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(self.texts):
            rows_of[" ".join(text.split())].append(row)
        of_class: Counter[tuple[int, int]] = Counter()
        sizes: Counter[int] = Counter()
        found = [0] * len(self)
        for text in sorted(rows_of, key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()):
            rows = rows_of[text]
            label = self.labels[rows[0]]
            fold = min(range(folds), key=lambda fold: (of_class[label, fold], sizes[fold], fold))
            of_class[label, fold] += len(rows)
            sizes[fold] += len(rows)
            for row in rows:
                found[row] = fold
        return found


@dataclass(frozen=True)
class Splits:
    """A whole data set.

    Attributes:
        name: `corpus`, the hub id, or the name of the directory (never a path: records carry it).
        revision: the hub commit, None for what is not on the hub.
        label_names: class index to class name.
        train: what methods learn from.
        validation: what choices are made on.
        test: what results are reported on.
        notes: what was assumed when it was read, a sentence each; no part of the digest.
        drawn_from: digest of the data set that its training sentences were drawn from; None where it has them all.
    """

    name: str
    revision: str | None
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    drawn_from: str | None = None

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    def items(self) -> tuple[tuple[str, Split], ...]:
        """The splits with their names: train, validation, test."""
        return (("train", self.train), ("validation", self.validation), ("test", self.test))

    @cached_property
    def sha256(self) -> str:
        """Digest of the contents: the class names, and the texts and labels of each split; not `name` and `revision`.

        Every text and number goes in with a fixed-length prefix, so no two different data sets feed the same bytes.
        Where training sentences were drawn, it is that of the data set as given: held-out sentences are the same, and
        what was drawn follows from the seed and the number.

        Returns:
            64 hexadecimal digits.
        """
        if self.drawn_from is not None:
            return self.drawn_from
        digest = hashlib.sha256()
        for piece in _pieces(self):
            digest.update(piece)
        return digest.hexdigest()

    def limited(self, limit: int) -> "Splits":
        """The same data set with at most `limit` sentences per split.

        Stratified: classes keep their proportions to within one sentence, and each keeps at least one. Of each class it
        takes the first sentences in file order: no seed, and the order stays. A split that is small enough stays whole.

        Args:
            limit: sentences per split, at least the number of classes.

        Returns:
            A data set with the same name, revision and class names.

        Raises:
            ValueError: `limit` is smaller than the number of classes.
        """
        if limit < self.num_labels:
            raise ValueError(
                f"limit {limit}: too few for {self.num_labels} classes; {self.num_labels} or more would do"
            )
        train, validation, test = (_limited(split, limit) for _, split in self.items())
        return replace(self, train=train, validation=validation, test=test)

    def drawn(self, sentences: int, *, seed: int) -> "Splits":
        """The same data set with so many training sentences, drawn by the seed; validation and test stay whole.

        Stratified: each class has at least one, and the others keep their proportions. Nested: of one seed, fewer
        sentences are among more. The order stays.

        Args:
            sentences: Training sentences, at least the number of classes.
            seed: Draws them.

        Returns:
            A data set with the digest of this one.

        Raises:
            ValueError: `sentences` is smaller than the number of classes, or larger than the train split.
        """
        least, most = len(set(self.train.labels)), len(self.train)
        if not least <= sentences <= most:
            would_do = f"at least {least}, one of each class" if sentences < least else f"at most {most}, all there are"
            raise ValueError(f"train_sentences must be {would_do}; got {sentences}")
        rows_of: dict[int, list[int]] = {}
        for row in sorted(range(most), key=lambda row: hashlib.sha256(f"{seed} {row}".encode()).digest()):
            rows_of.setdefault(self.train.labels[row], []).append(row)
        shares = _nested_shares(Counter(self.train.labels), sentences)
        train = _rows(self.train, sorted(row for label, rows in rows_of.items() for row in rows[: shares[label]]))
        return replace(self, train=train, drawn_from=self.sha256)


@dataclass(frozen=True)
class SplitCheck:
    """Counts of one split.

    Attributes:
        size: sentences.
        label_counts: sentences per class index.
        empty: texts that are nothing or only white space.
        duplicates: sentences that repeat an earlier text of the same split, exactly.
        hub_bytes: UTF-8 bytes of the texts plus 12 a row: what the hub states as the split's size.
    """

    size: int
    label_counts: tuple[int, ...]
    empty: int
    duplicates: int
    hub_bytes: int


@dataclass(frozen=True)
class Checks:
    """What `check` counted.

    Attributes:
        train: counts of the train split.
        validation: counts of the validation split.
        test: counts of the test split.
        shared: per pair of splits (first, second, sentences of the second whose exact text is in the first, too).
    """

    train: SplitCheck
    validation: SplitCheck
    test: SplitCheck
    shared: tuple[tuple[str, str, int], ...]

    def items(self) -> tuple[tuple[str, SplitCheck], ...]:
        """The counts with the names of their splits: train, validation, test."""
        return (("train", self.train), ("validation", self.validation), ("test", self.test))


def check(splits: Splits) -> Checks:
    """Count what a reader of results wants to know about their data: sizes, balance, empty texts, duplicates, leaks.

    Args:
        splits: the data set.

    Returns:
        The counts; nothing is judged, nothing raised.
    """
    pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
    parts = dict(splits.items())
    shared = tuple((first, second, _shared(parts[first], parts[second])) for first, second in pairs)
    train, validation, test = (_check(split, splits.num_labels) for _, split in splits.items())
    return Checks(train, validation, test, shared)


def _check(split: Split, num_labels: int) -> SplitCheck:
    counts = Counter(split.labels)
    return SplitCheck(
        size=len(split),
        label_counts=tuple(counts[label] for label in range(num_labels)),
        empty=sum(not text.strip() for text in split.texts),
        duplicates=len(split) - len(set(split.texts)),
        hub_bytes=sum(len(_utf8(text)) + HUB_ROW_BYTES for text in split.texts),
    )


def _shared(first: Split, second: Split) -> int:
    known = set(first.texts)
    return sum(text in known for text in second.texts)


def _limited(split: Split, limit: int) -> Split:
    if len(split) <= limit:
        return split
    left = _shares(Counter(split.labels), limit)
    kept = []
    for row, label in enumerate(split.labels):
        if left[label]:
            left[label] -= 1
            kept.append(row)
    return _rows(split, kept)


def _rows(split: Split, rows: Sequence[int]) -> Split:
    return Split(tuple(split.texts[row] for row in rows), tuple(split.labels[row] for row in rows))


def _shares(counts: Mapping[int, int], limit: int) -> dict[int, int]:
    """Sentences per class: one each, every further one to the class furthest below its proportion (ties: lower label).

    In integers, scaled by the total, so that no rounding decides. No class is ever given more than it has.
    """
    total = sum(counts.values())
    shares = dict.fromkeys(counts, 1)
    surplus = [(total - limit * count, label) for label, count in counts.items()]
    heapify(surplus)
    for _ in range(limit - len(counts)):
        least, label = surplus[0]
        shares[label] += 1
        heapreplace(surplus, (least + total, label))
    return shares


def _nested_shares(counts: Mapping[int, int], sentences: int) -> dict[int, int]:
    """Sentences per class: one each, every further one by Sainte-Laguë's divisors (ties: lower label).

    Unlike `_shares`, no class ever loses one when there are more in all. No class is ever given more than it has.
    """
    shares = dict.fromkeys(counts, 1)
    waiting = [(-Fraction(count, 3), label) for label, count in counts.items()]
    heapify(waiting)
    for _ in range(sentences - len(counts)):
        label = waiting[0][1]
        shares[label] += 1
        heapreplace(waiting, (-Fraction(counts[label], 2 * shares[label] + 1), label))
    return shares


def _pieces(splits: Splits) -> Iterable[bytes]:
    yield _number(splits.num_labels)
    for name in splits.label_names:
        yield from _prefixed(name)
    for split in (splits.train, splits.validation, splits.test):
        yield _number(len(split))
        for text, label in zip(split.texts, split.labels, strict=True):
            yield _number(label)
            yield from _prefixed(text)


def _prefixed(text: str) -> tuple[bytes, bytes]:
    encoded = _utf8(text)
    return _number(len(encoded)), encoded


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _utf8(text: str) -> bytes:
    # "surrogatepass": a count or a digest must not fail on a text that only the loader has reason to refuse.
    return text.encode("utf-8", "surrogatepass")
