"""Directories with a folder for each class and a file for each text (`train/pos/0_9.txt`), as rows.

So the IMDb reviews, 20 Newsgroups and many collections of mails are laid out.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from rtlab.data.layout import is_beside, is_data, is_hidden, split_of_folders
from rtlab.data.row import Fault, Row, Rows
from rtlab.data.streams import MOST_BYTES, MOST_ROWS
from rtlab.hub import one_line

UNLABELLED = frozenset(("unsup", "unlabeled", "unlabelled", "unannotated"))
_ENDS = ("", ".txt", ".text", ".eml")


@dataclass(frozen=True)
class ClassFolders:
    """A directory of class folders.

    Attributes:
        opened: split to its texts, "" where none is named.
        notes: what was assumed, a sentence each.
    """

    opened: Mapping[str, Rows]
    notes: tuple[str, ...]


def open_class_folders(folder: Path) -> ClassFolders | None:
    """Open a directory that has a folder for each class and a file for each text; None where it is no such directory.

    It is one where no file of rows is in it, and two folders or more stand beside each other that hold texts alone.

    Raises:
        ValueError: folders of classes stand in several places that are no splits, or a file cannot be read.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and not is_hidden(path, folder)]
    if any(map(is_data, files)):
        return None
    of_class = _class_folders(folder, files)
    beside = defaultdict(list)
    for path in of_class:
        beside[path.parent].append(path)
    places = {place: classes for place, classes in beside.items() if len(classes) > 1}
    if not places:
        return None
    by_split: dict[str, Path] = {}
    for place in sorted(places):
        split = split_of_folders(place, folder) or ""
        if split in by_split:
            both = f"{by_split[split].relative_to(folder).as_posix()} and {place.relative_to(folder).as_posix()}"
            raise ValueError(f"dataset {str(folder)!r}: ambiguous, there are class folders in {both}; one would do")
        by_split[split] = place
    if set(by_split) > {""}:
        del by_split[""]
    found = {split: {path.name: of_class[path] for path in places[place]} for split, place in by_split.items()}
    opened = _opened(found, by_split)
    return replace(opened, notes=(*opened.notes, *_not_read(folder, files, found)))


def _class_folders(folder: Path, files: Sequence[Path]) -> dict[Path, list[Path]]:
    """Folders that hold texts alone, and stand for no split; with their texts."""
    inside: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if not is_beside(path):
            inside[path.parent].append(path)
    above = {parent for path in inside for parent in path.parents}
    return {
        path: sorted(texts)
        for path, texts in sorted(inside.items())
        if path not in (folder, *above)
        and all(text.suffix.lower() in _ENDS for text in texts)
        and not split_of_folders(path, path.parent)
    }


def _not_read(folder: Path, files: Sequence[Path], read: Mapping[str, Mapping[str, Sequence[Path]]]) -> list[str]:
    """What is said of other files that could hold texts, such as those of a test without labels."""
    known = {path for classes in read.values() for texts in classes.values() for path in texts}
    others = sorted(path for path in files if path not in known and not is_beside(path) and path.suffix in _ENDS)
    if not others:
        return []
    first = others[0].relative_to(folder).as_posix()
    return [f"Not read: {len(others):,} other file{'s' * (len(others) > 1)}, such as {first}."]


def _opened(found: Mapping[str, Mapping[str, Sequence[Path]]], places: Mapping[str, Path]) -> ClassFolders:
    names = sorted({name for classes in found.values() for name in classes})
    unlabelled = [name for name in names if name.lower() in UNLABELLED]
    opened = {
        split: _rows(places[split], {name: texts for name, texts in classes.items() if name not in unlabelled})
        for split, classes in found.items()
    }
    notes = ["A file is a text, and its folder's name the label."]
    notes += [f"Folder {name!r} was left out: its texts have no labels." for name in unlabelled]
    return ClassFolders(opened, tuple(notes))


def _rows(place: Path, classes: Mapping[str, Sequence[Path]]) -> Rows:
    number = sum(map(len, classes.values()))
    size = sum(path.stat().st_size for path in chain.from_iterable(classes.values()))
    beyond = None
    if number > MOST_ROWS or size > MOST_BYTES:
        beyond = f"{number:,} files of {size:,} bytes, more than the {MOST_ROWS:,}, or the {MOST_BYTES / 2**30:g} GiB,"
        beyond += " that are read"
    others = 0 if beyond else sum(not _text(path)[1] for path in chain.from_iterable(classes.values()))
    note = f"{others:,} of {number:,} files in {place.name} are no UTF-8 and were read as Latin-1."

    def read() -> Iterator[Row]:
        labelled = ((path, name) for name, paths in classes.items() for path in paths)
        for row, (path, name) in enumerate(labelled, 1):
            text, _ = _text(path)
            yield Row(row, {"text": text, "label": name}, None if text else Fault("without a text", path.name))

    return Rows(
        where=str(place),
        columns=("text", "label"),
        unit="file",
        read=read,
        classes={},
        beyond=beyond,
        notes=(note,) if others else (),
    )


def _text(path: Path) -> tuple[str, bool]:
    """A file's text without white space around it, which ends files and says nothing; and whether it is UTF-8."""
    data = _bytes(path)
    try:
        return data.decode("utf-8-sig").strip(), True
    except UnicodeDecodeError:
        return data.decode("latin-1").strip(), False


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)}); a readable file would do") from error
