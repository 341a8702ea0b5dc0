"""A data set by its name, in three splits, checked: what every method is trained and measured on.

The default is the sentence polarity data set of Pang and Lee ("Seeing stars: Exploiting class relationships for
sentiment categorization with respect to rating scales", ACL 2005), as the hub has it or as its authors published it:
they give the same splits, class names and digest. Whatever the source, all rows pass the same checks before anything is
trained on them: one bad label is an error here, not a strange number in a table later.
"""

from collections.abc import Mapping
from functools import cache

from rtlab.data.cutting import cut
from rtlab.data.labels import Table, encode, is_whole
from rtlab.data.sources import ALTERNATIVES, HUB_REVISION, Tables, load_tables
from rtlab.data.splits import Split, Splits
from rtlab.experiment import AS_IT_IS, DEFAULT_DATASET, DatasetOptions

__all__ = ["HUB_REVISION", "load_splits"]

HELD_OUT = ("validation", "test")


def load_splits(
    dataset: str = DEFAULT_DATASET, *, limit: int | None = None, options: DatasetOptions = AS_IT_IS
) -> Splits:
    """Load a data set in its three splits, checked.

    An existing file or directory goes before a hub id of the same name, `corpus` before both.

    Args:
        dataset: One of

            - `corpus`: the built-in corpus, 8530 / 1066 / 1066 generated sentences.
            - A directory with the original `rt-polarity.pos` and `rt-polarity.neg`: Latin-1, one sentence a line, cut
              80/10/10 in file order per class, positives first.
            - A file: csv, tsv, json, jsonl, parquet or arrow, with a column of sentences and one of labels; the
              first four also as gzip, zstd or a zip of one file.
            - A directory of such files, whose names, or whose folders' names, say which split they are; or one that
              `datasets` saved with `save_to_disk`.
            - `owner/name`: a data set on the hub; the default is pinned (`HUB_REVISION`).
        limit: At most so many sentences per split, see `Splits.limited`; None for all.
        options: How it is read where its files leave that open.

    Returns:
        The splits; what was assumed stands in their `notes`. Texts are as in the source; only rt-polarity lines are
        stripped, as the hub's are. What names no validation or test gets them from train: a tenth each, the same each
        time, see `rtlab.data.cutting`.

    Raises:
        ValueError: One line with what was given, what was found (file and line where there is one) and what would do.
    """
    splits = (
        _corpus()
        if dataset == "corpus" and options == AS_IT_IS
        else _splits(load_tables(dataset, options, limit=limit))
    )
    return splits if limit is None else splits.limited(limit)


@cache
def _corpus() -> Splits:
    return _splits(load_tables("corpus", AS_IT_IS))


def _splits(found: Tables) -> Splits:
    tables, hidden = _without_hidden(found.tables)
    train = tables.pop("train", None) or tables.pop("", None)
    if train is None:
        there = ", ".join(found.tables)
        do = "train among the names of its files or folders, or --dataset with one file itself, which is cut, would do"
        raise ValueError(
            f"dataset {found.name!r}: no train split (there is {there}); {ALTERNATIVES if found.revision else do}"
        )
    if train.labels and all(label is None for label in train.labels):
        raise ValueError(f"{train.places}: no labels; a label in every row of train would do")
    names, parts, more = encode({"train": train, **tables})
    unsplit = "" in found.tables
    parts, cuts = _with_held_out(f"dataset {found.name!r}", parts, hidden, unsplit)
    notes = (*found.notes, *more, *cuts)
    return Splits(found.name, found.revision, names, parts["train"], parts["validation"], parts["test"], notes)


def _without_hidden(tables: Mapping[str, Table]) -> tuple[dict[str, Table], tuple[str, ...]]:
    """The tables without the held-out splits whose labels are hidden.

    They are all missing, or all one number below zero (-1 as in GLUE, -100) where train has none such.
    """
    train = tables.get("train")
    trained = train is not None and any(map(_is_below_zero, {str(label) for label in train.labels}))
    hidden = tuple(
        name
        for name in HELD_OUT
        if name in tables and tables[name].texts and _is_hidden({str(label) for label in tables[name].labels}, trained)
    )
    return {name: table for name, table in tables.items() if name not in hidden}, hidden


def _is_hidden(labels: set[str], trained_below_zero: bool) -> bool:
    one = next(iter(labels)) if len(labels) == 1 else ""
    return one == "None" or (_is_below_zero(one) and not trained_below_zero)


def _is_below_zero(label: str) -> bool:
    return label.startswith("-") and is_whole(label)


def _with_held_out(
    where: str, parts: Mapping[str, Split], hidden: tuple[str, ...], unsplit: bool
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """All three splits, those that are missing cut from train; and what was done for it."""
    parts, notes = dict(parts), []
    if "test" in hidden and "validation" in parts:
        parts["test"] = parts.pop("validation")
        notes.append("The labels of test are hidden: validation serves as test.")
    elif hidden:
        notes.append(f"The labels of {' and '.join(hidden)} are hidden: left out.")
    missing = [name for name in HELD_OUT if name not in parts]
    if not missing:
        return parts, tuple(notes)
    parts |= cut(where, parts["train"], missing)
    if unsplit:
        notes.append("No splits are named: a tenth of the sentences is validation, a tenth test, the rest train")
    else:
        notes.append(
            f"There is no {' and no '.join(missing)}: a tenth of train each"
            if len(missing) > 1
            else f"A tenth of train is {missing[0]}"
        )
    notes[-1] += "; the same each time, stratified, equal sentences together."
    return parts, tuple(notes)
