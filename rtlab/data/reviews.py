"""Where data sets come from: the built-in corpus, a directory, or the Hugging Face hub.

The default is the sentence polarity data set of Pang and Lee ("Seeing stars: Exploiting class relationships for
sentiment categorization with respect to rating scales", ACL 2005), as the hub has it or as its authors published it:
they give the same splits, class names and digest. Whatever the source, all rows pass the same checks before anything is
trained on them: one bad label is an error here, not a strange number in a table later.
"""

from collections.abc import Mapping
from functools import cache
from itertools import accumulate, chain, pairwise
from pathlib import Path

from rtlab import hub
from rtlab.data import corpus
from rtlab.data.splits import SPLIT_NAMES, Splits
from rtlab.data.tables import FORMATS, Table, encode, read_file, read_snapshot
from rtlab.experiment import DEFAULT_DATASET, DatasetOptions

HUB_REVISION = "aa13bc287fa6fcab6daf52f0dfb9994269ffea28"
# What is taken from the hub: tables, and the card that says how to read them. No scripts, no pickles.
HUB_FILES = ("*.parquet", "*.csv", "*.tsv", "*.json", "*.jsonl", "README.md")

# The sizes of the default's splits; the built-in corpus has the same.
SIZES = (8530, 1066, 1066)

AS_IT_IS = DatasetOptions()
_ALTERNATIVES = (
    "'corpus' (built in), a directory with rt-polarity.pos and rt-polarity.neg, "
    "or one with train, validation and test as .parquet, .csv or .jsonl would do"
)
_POLARITY = {"rt-polarity.pos": 1, "rt-polarity.neg": 0}  # in this order, for the hub's splits have the positives first
_POLARITY_NAMES = ("neg", "pos")  # the hub's names, so that both sources have one digest


def load_splits(
    dataset: str = DEFAULT_DATASET, *, limit: int | None = None, options: DatasetOptions = AS_IT_IS
) -> Splits:
    """Load a data set in its three splits, checked.

    An existing directory goes before a hub id of the same name, `corpus` before both.

    Args:
        dataset: One of

            - `corpus`: the built-in corpus, 8530 / 1066 / 1066 generated sentences.
            - A directory with the original `rt-polarity.pos` and `rt-polarity.neg`: Latin-1, one sentence a line, cut
              80/10/10 in file order per class, positives first.
            - A directory with `train`, `validation` and `test` as `.parquet`, `.csv` or `.jsonl` (UTF-8), each with the
              columns `text` and `label`; labels are 0..k-1 or strings, of any number of classes.
            - `owner/name`: a data set on the hub with those splits and columns; the default is pinned (`HUB_REVISION`).
        options: How it is read where its files leave that open.
        limit: At most so many sentences per split, see `Splits.limited`; None for all.

    Returns:
        The splits. Texts are as in the source; only rt-polarity lines are stripped, as the hub's are.

    Raises:
        ValueError: One line with what was given, what was found (file and row where there is one) and what would do.
    """
    if options != AS_IT_IS:
        raise ValueError(f"dataset {dataset!r}: {options} was asked for, which is not read yet")
    splits = _load(dataset)
    return splits if limit is None else splits.limited(limit)


def _load(dataset: str) -> Splits:
    if dataset == "corpus":
        return _corpus()
    path = Path.home() / dataset[2:] if dataset.startswith("~/") else Path(dataset)
    if dataset and path.exists():
        return _directory(path)
    if hub.is_id(dataset):
        return _from_hub(dataset)
    raise ValueError(f"dataset {dataset!r}: no such directory, and no hub id (owner/name); {_ALTERNATIVES}")


@cache
def _corpus() -> Splits:
    texts, labels = corpus.generate(sum(SIZES))
    tables = {
        name: Table(f"corpus, {name}", texts[start:stop], labels[start:stop], ("negative", "positive"))
        for name, (start, stop) in zip(SPLIT_NAMES, pairwise(accumulate(SIZES, initial=0)), strict=True)
    }
    return _splits("corpus", None, tables)


def _directory(path: Path) -> Splits:
    if not path.is_dir():
        raise ValueError(f"dataset {str(path)!r}: a file, where a directory is expected; {_ALTERNATIVES}")
    polarity = [name for name in _POLARITY if (path / name).is_file()]
    files = {split: [f"{split}{end}" for end in FORMATS if (path / f"{split}{end}").is_file()] for split in SPLIT_NAMES}
    found = [*polarity, *chain(*files.values())]
    expected = {name: name in found for name in _POLARITY} if polarity else {name: any(files[name]) for name in files}
    missing = [name for name, is_there in expected.items() if not is_there]
    if missing:
        there = f"there are {', '.join(found)}" if found else "nor rt-polarity.pos and rt-polarity.neg"
        raise ValueError(f"dataset {str(path)!r}: no file for {', '.join(missing)} ({there}); {_ALTERNATIVES}")
    if len(found) > len(expected):
        raise ValueError(f"dataset {str(path)!r}: ambiguous, there are {', '.join(found)}; one file a split would do")
    tables = _polarity(path) if polarity else {split: read_file(path / names[0]) for split, names in files.items()}
    return _splits(path.resolve().name, None, tables)


def _polarity(path: Path) -> dict[str, Table]:
    rows: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLIT_NAMES}
    for file, label in _POLARITY.items():
        lines = _lines(path / file)
        bounds = (0, int(len(lines) * 0.8 + 0.5), int(len(lines) * 0.9 + 0.5), len(lines))
        for split, (start, stop) in zip(SPLIT_NAMES, pairwise(bounds), strict=True):
            rows[split] += [(line, label) for line in lines[start:stop]]
    return {
        split: Table(
            where=f"{path}, {split}",
            texts=tuple(text for text, _ in part),
            labels=tuple(label for _, label in part),
            label_names=_POLARITY_NAMES,
        )
        for split, part in rows.items()
    }


def _lines(path: Path) -> list[str]:
    """The sentences of an original file, without Unicode's white space around them, as in the hub's data set."""
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({hub.one_line(error)}); a readable file would do") from error
    # Only "\n" ends a line: sentences hold U+0085 (Windows' code page: an ellipsis), at which str.splitlines() breaks.
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _from_hub(dataset: str) -> Splits:
    pinned = dataset == DEFAULT_DATASET
    snapshot = hub.snapshot(
        dataset,
        kind="dataset",
        option="dataset",
        revision=HUB_REVISION if pinned else None,
        files=HUB_FILES,
        needed=[f"*{split}*" for split in SPLIT_NAMES] if pinned else [],
        alternatives=_ALTERNATIVES,
    )
    tables = read_snapshot(snapshot.path, dataset)
    missing = [split for split in SPLIT_NAMES if split not in tables]
    if missing:
        there = f"no {' and no '.join(missing)} split on the hub (splits: {', '.join(tables)})"
        raise ValueError(f"dataset {dataset!r}: {there}; {_ALTERNATIVES}")
    return _splits(dataset, snapshot.revision, {split: tables[split] for split in SPLIT_NAMES})


def _splits(name: str, revision: str | None, tables: Mapping[str, Table]) -> Splits:
    names, parts = encode(tables)
    return Splits(name, revision, names, parts["train"], parts["validation"], parts["test"])
