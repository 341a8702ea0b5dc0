"""What of a data set makes results worth less than they look, each with examples: leaks, contradictions, imbalance."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import shorten

from rtlab.data.missing import is_missing_word
from rtlab.data.splits import Split, Splits

EXAMPLES = 3
UNEVEN = 3  # times as many sentences in the largest class of train as in the smallest
NEARLY_EMPTY = 2  # letters and digits; sentences with fewer say nothing, nor do those that are `nan` or the like


def find_warnings(
    splits: Splits, word_pieces: Mapping[str, Sequence[int]] | None = None, max_length: int = 0
) -> tuple[str, ...]:
    """What a reader of results should know before anything is trained.

    Args:
        splits: the data set.
        word_pieces: split to the word pieces of each sentence, special tokens included; None where nobody counted.
        max_length: word pieces that are kept of a sentence.

    Returns:
        A sentence or two for each finding, with examples; nothing where there is none.
    """
    return (
        *_shared(splits),
        *_contradictions(splits),
        *_nearly_empty(splits),
        *_imbalance(splits),
        *(() if word_pieces is None else _too_long(splits, word_pieces, max_length)),
    )


def _shared(splits: Splits) -> Iterator[str]:
    parts = dict(splits.items())
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        known = {*parts[first].texts}
        if found := [text for text in parts[second].texts if text in known]:
            are = "sentence of {} is" if len(found) == 1 else "sentences of {} are"
            yield f"{len(found):,} {are.format(second)} in {first}, too, such as {_examples(found)}."


def _contradictions(splits: Splits) -> Iterator[str]:
    first_label: dict[str, int] = {}
    labels_of: dict[str, set[int]] = {}
    for split in (splits.train, splits.validation, splits.test):
        for text, label in zip(split.texts, split.labels, strict=True):
            if first_label.setdefault(text, label) != label:
                labels_of.setdefault(text, {first_label[text]}).add(label)
    if labels_of:
        text, labels = next(iter(labels_of.items()))
        names = " and ".join(repr(_short(splits.label_names[label])) for label in sorted(labels))
        what = "sentence occurs" if len(labels_of) == 1 else "sentences occur"
        yield f"{len(labels_of):,} {what} with different labels, such as {_examples(labels_of)}; the first is {names}."


def _nearly_empty(splits: Splits) -> Iterator[str]:
    for name, split in splits.items():
        found = [text for text in split.texts if _says_nothing(text)]
        if found:
            are = "sentence of {} is" if len(found) == 1 else "sentences of {} are"
            yield f"{len(found):,} {are.format(name)} nearly empty, such as {_examples(found)}."


def _says_nothing(text: str) -> bool:
    return len(text) < 40 and (sum(map(str.isalnum, text)) < NEARLY_EMPTY or is_missing_word(text))


def _imbalance(splits: Splits) -> Iterator[str]:
    counts = Counter(splits.train.labels)
    (most, largest), *_, (least, smallest) = counts.most_common()
    if largest >= UNEVEN * smallest:
        names = splits.label_names
        yield (
            f"Imbalance: of {len(splits.train):,} sentences of train {largest:,} are {_short(names[most])!r} and "
            f"{smallest:,} {_short(names[least])!r}; always saying {_short(names[most])!r} gives an accuracy of "
            f"{_share(splits.test, most):.2f} on test."
        )


def _share(split: Split, label: int) -> float:
    return split.labels.count(label) / len(split)


def _too_long(splits: Splits, word_pieces: Mapping[str, Sequence[int]], max_length: int) -> Iterator[str]:
    for name, split in splits.items():
        pieces = word_pieces[name]
        long = [row for row, length in enumerate(pieces) if length > max_length]
        if long:
            cut = sum(pieces[row] - max_length for row in long)
            have = f"sentence of {name} has" if len(long) == 1 else f"sentences of {name} have"
            yield (
                f"{len(long):,} {have} more than {max_length} word pieces ({len(long) / len(split):.1%}); "
                f"{cut:,} word pieces are cut ({cut / sum(pieces):.1%} of all), such as the end of "
                f"{_examples(split.texts[row] for row in long[:1])}."
            )


def _examples(texts: Iterable[str]) -> str:
    shown = list(dict.fromkeys(_short(text) for text, _ in zip(texts, range(1000), strict=False)))[:EXAMPLES]
    return ", ".join(map(repr, shown))


def _short(text: str) -> str:
    return shorten(text[:1000], 60, placeholder=" …") or text[:60]
