"""Which columns hold the sentences and the labels: as asked for, by their usual names, or the only ones that look so.

Nothing is guessed where two would do: both are named, with the options that decide.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rtlab.data.labels import is_whole
from rtlab.data.missing import NUMBER, is_nothing
from rtlab.data.row import Row, Rows, reads_as_a_row
from rtlab.experiment import DatasetOptions

SAMPLE = 1000  # rows by which columns are judged
LONGEST_LOOKED_AT = 1000  # characters of each

TEXTS = frozenset(
    (
        *("text", "texts", "sentence", "sentences", "review", "reviews", "review_text", "review_body"),
        *("reviewtext", "comment", "comments", "comment_text", "tweet", "tweets", "tweet_text", "body", "content"),
        *("contents", "message", "messages", "sms", "email", "mail", "document", "doc", "utterance", "phrase"),
        *("post", "headline", "query", "question", "input", "input_text", "text_content", "sentence_text"),
        *("feedback", "opinion"),
    )
)
LABELS = frozenset(
    (
        *("label", "labels", "class", "classes", "class_label", "class_index", "category", "categories"),
        *("sentiment", "sentiments", "sentiment_label", "airline_sentiment", "stars", "star", "star_rating"),
        *("rating", "ratings", "target", "targets", "polarity", "score", "topic", "topics", "intent", "intents"),
        *(
            "emotion",
            "emotions",
            "label_name",
            "gold",
            "gold_label",
            "coarse_label",
            "fine_label",
            "tag",
            "is_spam",
            "y",
        ),
    )
)
SPLITS = frozenset(("split", "splits", "set", "subset", "partition", "fold", "data_split"))
PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("sent1", "sent2"),
    ("premise", "hypothesis"),
    ("question", "answer"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "passage"),
    ("question1", "question2"),
    ("query", "passage"),
    ("query", "document"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
    ("anchor", "positive"),
    ("context", "response"),
)
LONGEST_NAME = 60  # characters of a column's name; what is longer is a sentence


@dataclass(frozen=True)
class Columns:
    """The columns that are read.

    Attributes:
        text: that of the sentences.
        label: that of the labels, None where there is none.
        split: that of the split, None where it was not asked for.
        notes: what was assumed, a sentence each.
    """

    text: str
    label: str | None
    split: str | None = None
    notes: tuple[str, ...] = ()


def choose_columns(rows: Rows, options: DatasetOptions, *, labelled: bool = True) -> Columns:
    """Find the columns of the sentences and the labels.

    Args:
        rows: the file.
        options: the names that were asked for.
        labelled: whether labels are needed; where they are not, a file without them will do.

    Raises:
        ValueError: a column that was asked for is not there; no column would do, or several would; the file has no line
            of column names; its rows have two texts or several labels each.
    """
    if not rows.columns:
        raise ValueError(f"{rows.where}: no rows; some of each class would do")
    sample = [row for row in islice(rows.read(), SAMPLE) if row.fault is None]
    _check_asked(rows, options)
    _check_header(rows, options, sample)
    split = options.split_column
    free = [name for name in rows.columns if name not in (split, options.text_column, options.label_column)]
    held = {name: _held(sample, name) for name in free}
    label = options.label_column or (_by_name(rows, free, LABELS, "label", held) if labelled else None)
    text = options.text_column or _text(rows, free, held, label, labelled)
    if label is None and labelled:
        label = _label(rows, [name for name in free if name != text], held)
    return Columns(text, label, split, _notes(rows, text, label, options, sample))


def _check_asked(rows: Rows, options: DatasetOptions) -> None:
    for option in ("text_column", "label_column", "split_column"):
        name = getattr(options, option)
        if name is not None and name not in rows.columns:
            raise ValueError(
                f"{option} must be a column of {rows.where}; got {name!r}; {_named(rows.columns)} would do"
            )


def _check_header(rows: Rows, options: DatasetOptions, sample: Sequence[Row]) -> None:
    """Refuse a file that begins with a row in place of names: its first sentence would be lost in silence."""
    if not rows.header_line:
        return
    if {options.text_column, options.label_column, options.split_column} - {None}:
        return
    usual = TEXTS | LABELS | SPLITS | {name for pair in PAIRS for name in pair}
    named = any(_plain(name) in usual for name in rows.columns)
    if not named and sample and len(_usual_names([*sample[0].values.values()], usual)) > 1:
        raise ValueError(
            f"{rows.where}: {rows.unit} {sample[0].number} reads as column names, and so does what stands above; one "
            "line of them would do"
        )
    values = {name: {str(row.values[name]).strip() for row in sample} for name in rows.columns}
    kinds = [name for name in rows.columns if _plain(name) in LABELS] if named else rows.columns
    if any(name in values[name] for name in kinds if name) or (
        not named
        and any(_is_number(name) or len(name) > LONGEST_NAME or len(name.split()) > 4 for name in rows.columns)
    ):
        raise ValueError(reads_as_a_row(rows.where, rows.header_line, rows.columns))


def _usual_names(values: Sequence[object], usual: frozenset[str]) -> frozenset[str]:
    return usual & {_plain(str(value)) for value in values}


def _by_name(
    rows: Rows, free: Sequence[str], usual: frozenset[str], role: str, held: Mapping[str, list[object]]
) -> str | None:
    found = [name for name in free if _plain(name) in usual]
    if len(found) > 1:  # of which some may hold what cannot be meant: real numbers as labels, one word in all rows
        unfit = _is_real if role == "label" else _is_one
        found = [name for name in found if not unfit(held[name])] or found
    if len(found) > 1:
        raise ValueError(_two(rows, found, role))
    return found[0] if found else None


def _text(rows: Rows, free: Sequence[str], held: Mapping[str, list[object]], label: str | None, labelled: bool) -> str:
    """The column of the sentences, which was not asked for."""
    plain = {_plain(name): name for name in free if name != label}
    for pair in PAIRS:
        if all(name in plain for name in pair):
            both = " and ".join(repr(plain[name]) for name in pair)
            raise ValueError(
                f"{rows.where}: two texts a row (columns {both}), and one is classified; one text a row, or "
                "--text-column for one of them, would do"
            )
    others = [name for name in free if name != label]
    if (usual := _by_name(rows, others, TEXTS, "text", held)) is not None:
        return usual
    if not labelled and len(others) == 1:
        return others[0]
    alike = [name for name in others if _is_text_like(held[name])]
    alike = alike or [name for name in others if _is_varied(held[name])]
    if len(alike) > 1:
        raise ValueError(_two(rows, alike, "text"))
    if not alike:
        raise ValueError(_none(rows, "text"))
    return alike[0]


def _label(rows: Rows, free: Sequence[str], held: Mapping[str, list[object]]) -> str:
    """The column of the labels, which was not asked for and has no usual name."""
    alike = [name for name in free if _is_label_like(held[name])]
    flags = [name for name in alike if {str(value).strip() for value in held[name]} <= {"0", "1", "True", "False"}]
    if len(flags) > 1:
        raise ValueError(
            f"{rows.where}: several labels a row (columns {_named(flags)} hold 0 and 1); one label a row, "
            "or --label-column for one of them, would do"
        )
    if len(alike) > 1:
        raise ValueError(_two(rows, alike, "label"))
    if not alike:
        raise ValueError(_none(rows, "label"))
    return alike[0]


def _two(rows: Rows, found: Sequence[str], role: str) -> str:
    both = f"columns {_named(found, ' and ')} could each be the {role}"
    return f"{rows.where}: {both}; --{role}-column with one of them would do"


def _none(rows: Rows, role: str) -> str:
    if rows.header_line and len(rows.columns) == 1 and not rows.columns[0].isidentifier():
        return (
            f"{rows.where}: one column alone ({rows.columns[0]!r:.60}); two, parted by comma, tab, semicolon or pipe, "
            "with a first line text,label would do"
        )
    there = _named(rows.columns) or "none"
    return (
        f"{rows.where}: no column {role!r}, nor another that is surely the {role} (columns: {there}); "
        f"--{role}-column with one of them, or a column {role!r}, would do"
    )


def _notes(rows: Rows, text: str, label: str | None, options: DatasetOptions, sample: Sequence[Row]) -> tuple[str, ...]:
    notes = [note for name, note in rows.column_notes.items() if name in (text, label)]
    if text not in ("text", options.text_column):
        notes.append(f"Texts are column {text!r}.")
    if label is not None and label not in ("label", options.label_column):
        notes.append(f"Labels are column {label!r}.")
    if options.split_column is None:
        for name in rows.columns:
            said = {str(row.values.get(name)).strip().lower() for row in sample}
            if _plain(name) in SPLITS and "train" in said and name not in (text, label):
                notes.append(f"Column {name!r} was not used; --split-column {name} would take the splits from it.")
    return tuple(notes)


def _held(sample: Sequence[Row], name: str) -> list[object]:
    """What stands in a column of the sample, without what is missing; nothing where more than half is."""
    values = (row.values.get(name) for row in sample)
    held = [value for value in values if not is_nothing(value) and value != "" and not str(value).isspace()]
    return held if len(held) * 2 >= len(sample) else []


def _is_text_like(values: Sequence[object]) -> bool:
    """Whether a column holds sentences: words, two or more of them in the middle value, and mostly different ones."""
    texts = [value for value in values if isinstance(value, str)]
    if not texts or len(texts) < len(values):
        return False
    texts = [text[:LONGEST_LOOKED_AT] for text in texts]
    words = sorted(len(text.split()) for text in texts)
    letters = sum(sign.isalpha() for text in texts for sign in text)
    signs = sum(not sign.isspace() for text in texts for sign in text)
    return words[len(words) // 2] >= 2 and letters > signs / 2 and len({*texts}) > len(texts) / 4


def _is_varied(values: Sequence[object]) -> bool:
    """Whether a column holds texts without spaces, as some languages write them: with letters, and mostly different."""
    texts = [value for value in values if isinstance(value, str) and not _is_number(value)]
    letters = sum(any(map(str.isalpha, text[:LONGEST_LOOKED_AT])) for text in texts)
    return 0 < len(values) == letters and len({*texts}) > len(texts) * 3 / 4


def _is_real(values: Sequence[object]) -> bool:
    """Whether a column holds real numbers, which are no classes."""
    kinds = {str(value).strip() for value in values}
    return all(map(_is_number, kinds)) and not all(map(is_whole, kinds))


def _is_one(values: Sequence[object]) -> bool:
    """Whether a column holds one word in all of several rows, or next to nothing."""
    kinds = {str(value) for value in values}
    return not values or (len(values) > 1 and len(kinds) == 1 and len(kinds.pop().split()) < 2)


def _is_label_like(values: Sequence[object]) -> bool:
    """Whether a column holds classes: two or more different values, each of which occurs twice on average."""
    if any(isinstance(value, list | dict | bytes) for value in values):
        return False
    kinds = {str(value).strip() for value in values}
    if any(_is_number(kind) and not is_whole(kind) for kind in kinds):
        return False
    return 2 <= len(kinds) <= len(values) / 2


def is_usual_label(name: str) -> bool:
    """Whether a column's name is one of those that labels usually have."""
    return _plain(name) in LABELS


def _is_number(text: str) -> bool:
    return NUMBER.fullmatch(text.strip()) is not None


def _plain(name: str) -> str:
    """A column's name in lower case, its words joined by `_`."""
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def _named(names: Sequence[str], last: str = ", ") -> str:
    shown = [f"{name!r:.60}" for name in names[:8]]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(shown[:-1]) + last + shown[-1] if len(shown) > 1 and last != ", " else ", ".join(shown)) + more
