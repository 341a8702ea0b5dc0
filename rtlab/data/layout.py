"""Which files of a directory are which split: by their names, by their folders', or one file that is the whole."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtlab.data.rows import FORMATS, SHEETS, TAKEN, format_of
from rtlab.data.splits import SPLIT_NAMES
from rtlab.data.streams import COMPRESSED, data_name

# Names that stand for a split, as parts of a file's or a folder's name.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "valid", "validate", "val", "dev", "eval", "evaluation", "development"),
    "test": ("test", "testing", "tst"),
}
SYNONYMS: Mapping[str, str] = {
    f"{before}{name}{behind}": split
    for split, names in _NAMES.items()
    for name in names
    for before, behind in (("", ""), ("", "set"), ("", "data"), ("", "file"), ("", "split"), ("x", ""))
}
_SHARD = re.compile(r"(?P<name>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]{8,})?(?P<rest>\..*)?")
_COUNTS_NO_SHARDS = re.compile(
    r"(?:\bv|ver|version|fold|seed|run|trial|epoch|level|class|label)[^a-z]*$", re.IGNORECASE
)
# What lies beside data and is none.
_BESIDE = re.compile(
    r"(readme|license|licence|dataset_infos?|state|_?metadata|.*config.*|package|_success|_committed|_started|\..*)\b.*",
    re.IGNORECASE,
)
_FEW = 8


@dataclass(frozen=True)
class Layout:
    """Which files are which split.

    Attributes:
        files: split name to its files, in order; "" for files that name none.
        notes: what was assumed, a sentence each.
    """

    files: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...] = ()


def split_of(name: str) -> str | None:
    """The split that a name stands for (`my-train_v2`, `dev`, `Test`), None where it stands for none.

    Raises:
        ValueError: it stands for two.
    """
    found: dict[str, None] = {}
    for words in (re.findall(r"[a-z]+", name.lower()), re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)):
        found = found or dict.fromkeys(SYNONYMS[word.lower()] for word in words if word.lower() in SYNONYMS)
    if len(found) > 1:
        raise ValueError(f"{name!r} stands for {' and '.join(found)}; a name for each would do")
    return next(iter(found), None)


def by_synonym(where: str, names: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The splits that names stand for, an exact one before its synonyms; and which names were left out.

    Raises:
        ValueError: several names stand for one split.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[name if name in SPLIT_NAMES else split_of(name) or ""].append(name)
    chosen = {}
    for split in (split for split in SPLIT_NAMES if split in found):
        if len(found[split]) > 1 and split not in found[split]:
            raise ValueError(
                f"{where}: splits {' and '.join(map(repr, found[split]))} could each be {split}; one would do"
            )
        chosen[split] = split if split in found[split] else found[split][0]
    left_out = [name for name in names if name not in chosen.values()]
    return chosen, tuple(f"Split {name!r} was left out." for name in left_out)


def find_layout(folder: Path) -> Layout:
    """Find the splits of a directory, at any depth.

    Raises:
        ValueError: there are no files of data, one names two splits, a split has several that are no shards of one
            another, shards are missing, or several name no split.
    """
    there = [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_hidden(path, folder)]
    inside = [path for path in there if is_data(path)]
    others = [path for path in there if path not in inside and not is_beside(path)]
    _check_others(folder, inside, others)
    by_split: dict[str, list[Path]] = defaultdict(list)
    for path in inside:
        by_split[_split_of_path(path, folder) or ""].append(path)
    unnamed = by_split.pop("", [])
    if by_split:
        files = {split: _of_one_split(folder, by_split[split]) for split in SPLIT_NAMES if split in by_split}
        unread = [path.name for path in (*unnamed, *(path for path in others if split_of(path.stem)))]
        notes = [f"Not read: {', '.join(unread[:_FEW])}{' …' if len(unread) > _FEW else ''}."] if unread else []
        return Layout(files, (*notes, *_notes_of_several(files)))
    files = {"": _of_one_split(folder, unnamed)}
    return Layout(files, tuple(_notes_of_several(files)))


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder of a directory that it lies in, is none of a person's."""
    return any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)


def is_beside(path: Path) -> bool:
    """Whether a file's name is one of those that lie beside data."""
    return _BESIDE.fullmatch(path.name) is not None


def is_data(path: Path) -> bool:
    """Whether a file's name says that it holds rows."""
    if is_beside(path) or path.suffix.lower() not in (*FORMATS, *COMPRESSED):
        return False
    return Path(data_name(path)).suffix.lower() in FORMATS


def _check_others(folder: Path, inside: Sequence[Path], others: Sequence[Path]) -> None:
    """Refuse a directory without data, and a split in a spreadsheet, by what is said of such a file alone."""
    sheets = [path for path in others if path.suffix.lower() in SHEETS and (not inside or split_of(path.stem))]
    if sheets:
        format_of(sheets[0])
    if not inside:
        names = ", ".join(path.relative_to(folder).as_posix() for path in others[:_FEW])
        what = f"no file that can be read (there are {names})" if others else "empty"
        # `X.train`: what stands behind the dot tells the split, and nothing the format.
        split = next((path.name for path in others if split_of(path.suffix)), None)
        renamed = f", named {split}.csv or {split}.tsv, say," if split else ""
        raise ValueError(f"dataset {str(folder)!r}: {what}; {TAKEN}{renamed} would do")


def _split_of_path(path: Path, folder: Path) -> str | None:
    """By the file's name, else by the nearest folder's; what lies above the data set has no say."""
    return _split_of_parts((_stem(path), *reversed(path.relative_to(folder).parts[:-1])), folder)


def split_of_folders(path: Path, folder: Path) -> str | None:
    """The split of a folder within a directory, by its name or the nearest one's above it.

    Raises:
        ValueError: a name stands for two splits.
    """
    return _split_of_parts(tuple(reversed(path.relative_to(folder).parts)), folder)


def _split_of_parts(parts: Sequence[str], folder: Path) -> str | None:
    for part in parts:
        try:
            if split := split_of(part):
                return split
        except ValueError as error:
            raise ValueError(f"dataset {str(folder)!r}: {error}") from error
    return None


def _of_one_split(folder: Path, paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files of one split, in order: one, the shards of one, or all that a folder with the split's name holds."""
    if len(paths) == 1 and not _SHARD.fullmatch(paths[0].name):
        return tuple(paths)
    shards = [match for path in paths if (match := _SHARD.fullmatch(path.name))]
    names = [path.relative_to(folder).as_posix() for path in paths]
    if len(shards) == len(paths):
        return _whole(folder, paths, shards)
    alike = len({(path.parent, format_of(path), path.suffix) for path in paths}) == 1
    if alike and (numbered := _numbered(paths)):
        return numbered
    if alike and paths[0].parent != folder and not any(split_of(_stem(path)) for path in paths):
        return tuple(paths)
    shown = ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
    raise ValueError(
        f"dataset {str(folder)!r}: ambiguous, there are {shown}; one file, or shards of one, for each of train, "
        "validation and test would do"
    )


def _stem(path: Path) -> str:
    """A file's name without what tells its format and compression."""
    name = path.name
    while (suffix := Path(name).suffix).lower() in (*FORMATS, *COMPRESSED):
        name = name.removesuffix(suffix)
    return name


def _numbered(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Files whose names differ in a number alone, which counts from 0 or 1 without a gap, in its order; else nothing.

    Numbers of versions, folds and the like, and years, count something else.
    """
    parts = [re.split(r"(\d+)", _stem(path)) for path in paths]
    if len(paths) < 2 or len({len(each) for each in parts}) > 1:
        return ()
    places = [place for place, pieces in enumerate(zip(*parts, strict=True)) if len({*pieces}) > 1]
    if len(places) != 1 or places[0] % 2 == 0 or _COUNTS_NO_SHARDS.search(parts[0][places[0] - 1]):
        return ()
    numbers = sorted(int(each[places[0]]) for each in parts)
    if numbers not in ([*range(len(paths))], [*range(1, len(paths) + 1)]):
        return ()
    return tuple(sorted(paths, key=lambda path: int(re.split(r"(\d+)", _stem(path))[places[0]])))


def _whole(folder: Path, paths: Sequence[Path], shards: Sequence[re.Match[str]]) -> tuple[Path, ...]:
    """Shards in their order, none of them missing."""
    kinds = [
        (path.parent, shard["name"], shard["count"], shard["rest"]) for path, shard in zip(paths, shards, strict=True)
    ]
    numbers = sorted(int(shard["number"]) for shard in shards)
    first, count = paths[0].relative_to(folder).as_posix(), int(shards[0]["count"])
    if other := next((path for path, kind in zip(paths, kinds, strict=True) if kind != kinds[0]), None):
        both = f"{first} and of {other.relative_to(folder).as_posix()}"
        raise ValueError(f"dataset {str(folder)!r}: ambiguous, there are shards of {both}; those of one would do")
    if missing := sorted({*range(count)} - {*numbers}):
        which = f"{len(missing)} of {count} shards missing, such as number {missing[0]:05}"
        raise ValueError(f"dataset {str(folder)!r}: {first} has {which}; all of them would do")
    return tuple(sorted(paths))


def _notes_of_several(files: Mapping[str, Sequence[Path]]) -> list[str]:
    return [
        f"{split.capitalize() or 'All'} is read from {len(paths)} files."
        for split, paths in files.items()
        if len(paths) > 1 and not _SHARD.fullmatch(paths[0].name)
    ]
