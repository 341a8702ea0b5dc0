"""Labels as a column holds them, without what is written where there is none: `NaN`, `?`, `unknown`, an empty list.

Programs write a missing label as a word: pandas `nan`, Python `None`, R `NA`, databases `NULL`, people `?`. In a file
of numbers each of them is missing; among words some could be a class, and what is taken for one is said. A split that
holds nothing else has hidden labels.
"""

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

# Never the name of a class.
NEVER_A_CLASS = frozenset(
    (
        *("nan", "-nan", "+nan", "nat", "null", "(null)", "<null>", "<na>", "#na", "#n/a", "n/a", "\\n", "undefined"),
        *("#value!", "#ref!", "#name?", "#div/0!", "#num!", "#null!", "1.#qnan", "-1.#ind", "1.#ind"),
        *("unlabeled", "unlabelled", "unannotated", "no label", "no_label", "nolabel", "not labeled", "not labelled"),
    )
)
# Missing in these spellings only: other ones, and `NA` among names in capitals, are classes.
AS_PROGRAMS_WRITE = frozenset(("None", "NA", "na"))
# Missing among numbers, and where a split holds nothing else.
PERHAPS_A_CLASS = frozenset(
    (
        *("none", "na", "n.a.", "nil", "unknown", "unk", "<unk>", "hidden", "missing", "unsup", "tbd", "todo"),
        *("not available", "not given", "withheld", "secret", "placeholder", "blank", "empty"),
    )
)
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SIGNS = re.compile(r"[?.\-\u2013\u2014_]+")  # a question mark, dashes, dots: no letter and no digit


@dataclass(frozen=True)
class Cleaned:
    """The labels of a split.

    Attributes:
        labels: without outer spaces; None where there is none.
        notes: what was assumed, a sentence each.
    """

    labels: list[object]
    notes: tuple[str, ...] = ()


def is_nothing(value: object) -> bool:
    """Whether a value stands for none: null, or not a number."""
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def is_missing_word(text: str) -> bool:
    """Whether a text is a word that programs write for a missing one, and that is no name of a class."""
    word = text.strip()
    return word in AS_PROGRAMS_WRITE or word.lower() in NEVER_A_CLASS


def is_hidden_word(text: str) -> bool:
    """Whether a label could be one that stands for a hidden label: a word for none, a sign, a number below zero."""
    return _could_be_none(text) or re.fullmatch(r"-\d+(\.0*)?", text, re.ASCII) is not None


def cleaned(labels: Sequence[object]) -> Cleaned:
    """Labels without outer spaces, None where there is none, and lists of one label as that label.

    Args:
        labels: what the column holds in one split.
    """
    listed = _lists_in_words({label for label in labels if isinstance(label, str)})
    notes = []
    values = [listed.get(label, label) if isinstance(label, str) else label for label in labels]
    if any(isinstance(value, list | tuple) for value in values):
        values = [*map(_only, values)]
        notes.append("Labels stand in lists of one each.")
    plain = [*map(_plain, values)]
    kinds = {label for label in plain if isinstance(label, str)}
    others = any(label is not None and not isinstance(label, str) for label in plain)
    missing = _missing(kinds, others)
    kept = sorted(kind for kind in kinds - missing if _could_be_none(kind))
    notes += [f"Label {kind!r} is taken for a class." for kind in kept]
    return Cleaned([None if isinstance(label, str) and label in missing else label for label in plain], tuple(notes))


def _missing(kinds: Iterable[str], others: bool) -> set[str]:
    """Which of a split's words stand for no label."""
    kinds = {*kinds}
    candidates = {kind for kind in kinds if _could_be_none(kind)}
    classes = kinds - candidates
    if (others and not classes) or all(map(NUMBER.fullmatch, classes)):  # so where there are none
        return candidates
    signs = {kind for kind in candidates if _SIGNS.fullmatch(kind)}
    found = {kind for kind in candidates if kind.lower() in NEVER_A_CLASS}
    if len(signs) == 1 and all(any(map(str.isalnum, kind)) for kind in classes):  # and not `+` beside `-`
        found |= signs
    in_capitals = all(map(str.isupper, classes))
    return found | {kind for kind in candidates & AS_PROGRAMS_WRITE if not (kind == "NA" and in_capitals)}


def _could_be_none(kind: str) -> bool:
    word = kind.lower()
    return word in NEVER_A_CLASS or word in PERHAPS_A_CLASS or _SIGNS.fullmatch(kind) is not None


def _plain(value: object) -> object:
    match value:
        case str():
            return value.strip() or None
        case Decimal() if not is_nothing(value):
            return int(value) if value == value.to_integral_value() else float(value)
    return None if is_nothing(value) else value


def _only(value: object) -> object:
    """The only label of a list, nothing of an empty one; a list of several as it is."""
    while isinstance(value, list | tuple) and len(value) <= 1:
        value = value[0] if value else None
    return value


def _lists_in_words(kinds: Iterable[str]) -> Mapping[str, object]:
    """Lists that were written as text (`['good']`, `[1, 2]`), where all labels of a split are such."""
    found: dict[str, object] = {}
    for kind in kinds:
        text = kind.strip()
        if text and not is_missing_word(text):
            if (text[0], text[-1]) not in (("[", "]"), ("(", ")")):
                return {}
            try:
                found[kind] = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return {}
            if not isinstance(found[kind], list | tuple):  # `(1)`
                return {}
    return found
