"""Folders that `datasets` saved with `save_to_disk`, read by their own lists of Arrow files; no code of theirs runs."""

import json
from collections.abc import Mapping
from pathlib import Path

from rtlab.data.layout import Layout, by_synonym
from rtlab.hub import one_line


def is_saved(folder: Path) -> bool:
    """Whether a folder is what `DatasetDict.save_to_disk` or `Dataset.save_to_disk` leaves."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved_layout(folder: Path) -> Layout:
    """The Arrow files of each split; those of a `Dataset`, which has none, under "".

    Raises:
        ValueError: a list or a file is missing, damaged, or points out of the folder.
    """
    if not (folder / "dataset_dict.json").is_file():
        return Layout({"": _files(folder)})
    names = _object(folder / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{folder / 'dataset_dict.json'}: no list of splits; a folder saved anew would do")
    chosen, notes = by_synonym(str(folder), names)
    return Layout({split: _files(_within(folder, name)) for split, name in chosen.items()}, notes)


def _files(folder: Path) -> tuple[Path, ...]:
    state = _object(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ValueError(
            f"{folder}: a selection of rows saved by an old version of `datasets`; one saved anew would do"
        )
    listed = state.get("_data_files")
    names = (
        [one.get("filename") if isinstance(one, dict) else None for one in listed] if isinstance(listed, list) else []
    )
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{folder / 'state.json'}: no list of data files; a folder saved anew would do")
    files = tuple(_within(folder, str(name)) for name in names)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{folder}: {', '.join(missing[:3])} of {len(files)} files is missing; all of them would do")
    return files


def _within(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{folder}: lists {name!r:.80}, which lies outside; files within it would do")
    return path


def _object(path: Path) -> Mapping[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)}); a folder saved anew would do") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: JSON, but no object; a folder saved anew would do")
    return value
