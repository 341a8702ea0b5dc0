"""Labels as people write them, as classes: numbers with gaps, true and false, words; the train split says which.

First every label gets its class's name (`named`): outer spaces go, `1.0` is `1`, a `ClassLabel`'s index is its name.
Then names become indices (`encode`), in number order where all are numbers and alphabetical otherwise.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rtlab.data.missing import NUMBER, is_hidden_word
from rtlab.data.splits import Split

Kind = Literal["numbers", "booleans", "words"]

_WHOLE = re.compile(r"([+-]?(?:0|[1-9]\d*))(?:\.0*|,00?)?", re.ASCII)  # 1,000 may be a thousand
_SEPARATORS = re.compile(r"[,;|]")


@dataclass(frozen=True)
class Places:
    """Where the rows of a split stand.

    Attributes:
        files: the files, or splits of them, as messages name them.
        unit: what is counted in them: lines or rows.
        file_of: index of each row's file.
        numbers: line or row of each row.
    """

    files: tuple[str, ...]
    unit: str
    file_of: Sequence[int]
    numbers: Sequence[int]

    def of(self, row: int) -> str:
        """A row's place, for messages."""
        return f"{self.files[self.file_of[row]]}, {self.unit} {self.numbers[row]}"

    def __str__(self) -> str:
        return self.files[0]


@dataclass(frozen=True)
class Table:
    """One split as its files have it: texts that can be used, and labels as they stand there.

    Attributes:
        places: where each row stands.
        texts: the sentences.
        labels: what the label column holds; None where nothing stands there.
        class_names: the names that the file itself declares (`datasets.ClassLabel`), None where it declares none.
        typed: whether the format tells a number from a text; CSV does not.
    """

    places: Places
    texts: Sequence[str]
    labels: Sequence[object]
    class_names: tuple[str, ...] | None = None
    typed: bool = True


def is_whole(text: str) -> bool:
    """Whether a text is a whole number, perhaps written as a float; `007` is none, but a word."""
    return _WHOLE.fullmatch(text) is not None


def named(tables: Mapping[str, Table]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The classes' names, and the name of each sentence's class.

    Args:
        tables: split name to table, the one that says which classes there are first; no label may be missing.

    Returns:
        The names, in number order or alphabetical, and the names of all labels by split. A split after the first may
        have names that the first lacks.

    Raises:
        ValueError: labels that are no classes (real numbers, several a row, of two types), that differ in case or
            inner spaces alone, or classes of one name.
    """
    first = next(iter(tables.values()))
    declared = first.class_names
    for table in tables.values():
        if table.class_names not in (None, declared):
            both = f"classes {table.class_names}, but {first.places} has {declared}"
            raise ValueError(f"{table.places}: {both}; the same classes in the same order would do")
    kind = _kind(first)
    words = {split: _words(table, kind, declared) for split, table in tables.items()}
    of_first = {*words[next(iter(tables))]}
    names = [name for name in declared if name in of_first] if declared else _ordered(of_first, kind)
    _check_alike(tables, words, declared)
    if kind == "words" and declared is None:
        _check_several(first, of_first)
    return tuple(names), words


def encode(tables: Mapping[str, Table]) -> tuple[tuple[str, ...], dict[str, Split], tuple[str, ...]]:
    """Turn the labels of all splits into class indices; the train split says which classes there are.

    Args:
        tables: split name to table, `train` the first.

    Returns:
        The class names, the splits by name, and what was assumed.

    Raises:
        ValueError: as `named`; a split that is empty or has one class only; a label that train lacks; a class with one
            sentence in train.
    """
    for table in tables.values():
        if not table.texts:
            raise ValueError(f"{table.places}: no sentences; some of each class would do")
    names, words = named(tables)
    _check_counts(tables["train"], words["train"])
    index = {name: number for number, name in enumerate(names)}
    for split, table in tables.items():
        _check_known(split, table, words[split], names)
    declared = tables["train"].class_names or ()
    without = [name for name in declared if name not in index]
    notes = (f"Classes without a sentence in train were left out: {_some(without)}.",) if without else ()
    splits = {
        split: Split(tuple(table.texts), tuple(index[word] for word in words[split])) for split, table in tables.items()
    }
    return names, splits, notes


def _kind(table: Table) -> Kind:
    """What the labels of train are, all of them."""
    rows_of: dict[type, int] = {}
    for row, label in enumerate(table.labels):
        if type(label) not in rows_of:
            rows_of[type(label)] = row
    first_of = {_type_of(table, row, table.labels[row]): row for row in reversed(rows_of.values())}
    if len(first_of) > 1:
        one, other = sorted(first_of.values())[:2]
        both = f"{table.labels[one]!r:.60} and, in {table.places.of(other)}, {table.labels[other]!r:.60}"
        raise ValueError(f"{table.places.of(one)}: labels of two types, {both}; only numbers or only texts would do")
    if bool in first_of:
        return "booleans"
    if int in first_of:
        _check_real(table, [str(label) for label in table.labels])
        return "numbers"
    words = {str(label) for label in {*table.labels}}
    if all(map(NUMBER.fullmatch, words)) and not any(re.match(r"[+-]?0\d", word) for word in words):
        _check_real(table, [str(label) for label in table.labels])
        return "numbers"
    return "words"


def _type_of(table: Table, row: int, label: object) -> type:
    """The type of a label, whole numbers and floats one; others than numbers, true, false and texts are refused."""
    match label:
        case bool():
            return bool
        case int() | float():
            return int
        case str():
            return str
        case list() | tuple() | dict():
            found = f"several labels a row ({label!r:.60})"
            raise ValueError(f"{table.places.of(row)}: {found}; one label a row would do")
    found = f"label {label!r:.60} is of type {type(label).__name__}"
    raise ValueError(f"{table.places.of(row)}: {found}; whole numbers, true and false, or texts would do")


def _check_real(table: Table, labels: Sequence[str]) -> None:
    for row, label in enumerate(labels):
        if not is_whole(label):
            found = f"label {label:.40} is a real number, as for a regression"
            raise ValueError(f"{table.places.of(row)}: {found}; whole numbers or texts as classes would do")


def _words(table: Table, kind: Kind, declared: tuple[str, ...] | None) -> list[str]:
    """The class names of a split's labels; a label of another kind than train's keeps its own text."""
    name_of: dict[tuple[type, object], str] = {}
    words = []
    for row, label in enumerate(table.labels):
        key = (type(label), label)
        if key not in name_of:
            name_of[key] = _word(table, row, label, kind, declared)
        words.append(name_of[key])
    return words


def _word(table: Table, row: int, label: object, kind: Kind, declared: tuple[str, ...] | None) -> str:
    if _type_of(table, row, label) is bool:
        return str(label).lower() if kind == "booleans" else str(label)
    text = str(label)
    if kind == "booleans" and text.lower() in ("false", "true"):
        return text.lower()
    if kind != "numbers" or (whole := _WHOLE.fullmatch(text)) is None:
        return text
    number = int(whole[1])
    if declared is None:
        return str(number)
    if not 0 <= number < len(declared):
        what = f"label {number} is none of the {len(declared)} declared classes {_some(declared)}"
        raise ValueError(f"{table.places.of(row)}: {what}; 0 to {len(declared) - 1} would do")
    return declared[number]


def _ordered(names: Iterable[str], kind: Kind) -> list[str]:
    return sorted(names, key=int) if kind == "numbers" else sorted(names)


def _check_alike(
    tables: Mapping[str, Table], words: Mapping[str, Sequence[str]], declared: tuple[str, ...] | None
) -> None:
    """Refuse names of which one was meant: of a same name, or that differ in case or spaces (of any width) alone."""
    first = str(next(iter(tables.values())).places)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in declared or sorted({word for each in words.values() for word in each}):
        signs = unicodedata.normalize("NFC", name).casefold()
        alike["".join(sign for sign in signs if not sign.isspace() and unicodedata.category(sign) != "Cf")].append(name)
    for found in alike.values():
        if len({*found}) > 1:
            places = _first_places(tables, words, {*found})
            other = next((f" ({name!r:.60} in {place})" for name, place in [*places.items()][:-1]), "")
            where = [first, *places.values()][-1]
            both = f"labels {_some(found)} differ in case or spaces alone{other}"
            raise ValueError(f"{where}: {both}; one spelling for each class would do")
        if len(found) > 1:
            raise ValueError(f"{first}: two classes are called {found[0]!r:.60}; a name for each would do")


def _first_places(tables: Mapping[str, Table], words: Mapping[str, Sequence[str]], names: set[str]) -> dict[str, str]:
    """Where each of some names stands first, in the order of the splits and their rows."""
    found: dict[str, str] = {}
    for split, table in tables.items():
        for row, word in enumerate(words[split]):
            if word in names and word not in found:
                found[word] = table.places.of(row)
    return found


def _check_several(table: Table, names: set[str]) -> None:
    """Refuse labels that are lists of other labels, such as `toxic,insult` beside `toxic` and `insult`."""
    for name in sorted(names):
        parts = [part.strip() for part in _SEPARATORS.split(name)]
        if len(parts) > 1 and {*parts} <= names:
            row = [str(label) for label in table.labels].index(name)
            raise ValueError(f"{table.places.of(row)}: several labels a row ({name!r:.60}); one label a row would do")


def _check_known(split: str, table: Table, words: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a label that train lacks, and a split of one class."""
    unknown = {*words} - {*names}
    if row := next((row for row, word in enumerate(words, 1) if word in unknown), None):
        found = f"label {words[row - 1]!r:.60} is not in train, which has {_some(names)}"
        do = "one of those would do"
        if is_hidden_word(words[row - 1]):
            do = f"one of those, or where it stands for a hidden label no labels in all of {split}, would do"
        raise ValueError(f"{table.places.of(row - 1)}: {found}; {do}")
    if len({*words}) == 1:
        hidden = "" if split == "train" else ", or no labels where they are hidden,"
        raise ValueError(
            f"{table.places}: the only label is {words[0]!r:.60}; sentences of two or more classes{hidden} would do"
        )


def _check_counts(table: Table, words: Sequence[str]) -> None:
    counts = Counter(words)
    if once := sorted(name for name, count in counts.items() if count == 1):
        place = table.places.of(list(words).index(once[0]))
        raise ValueError(
            f"{place}: the only sentence of class {once[0]!r:.60} in train (classes with one sentence: {len(once)}); "
            "two or more of each class would do"
        )


def _some(values: Sequence[object]) -> str:
    shown = ", ".join(f"{value!r:.60}" for value in values[:8])
    return shown if len(values) <= 8 else f"{shown} and {len(values) - 8} more"
