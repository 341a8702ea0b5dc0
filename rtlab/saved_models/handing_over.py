"""What `choose` hands over: the folder of a saved run, with its temperature and its card, moved to where it was asked.

The folder is filled beside its place, and gets its name when nothing is left to do. So whoever is killed meanwhile
leaves the former model there, or the new one.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from rtlab.choice import PAGE, Choice
from rtlab.engines import contrastive, linear, svm, words
from rtlab.methods import Adapter, Contrastive, Svm, Words
from rtlab.preparing import check_writable
from rtlab.records import RunRecord, write_whole
from rtlab.saved_models.calibrating import calibrated
from rtlab.saved_models.card import CARD
from rtlab.saved_models.description import (
    DESCRIPTION,
    Description,
    description_alone,
    digests,
    read_description,
    write_description,
)
from rtlab.saved_models.hub_card import Handed, hub_card
from rtlab.saved_models.opening import encoder_of
from rtlab.saved_models.placing import replacing_folder
from rtlab.saved_models.saving import share
from rtlab.values import one_line

_WOULD_DO = "a new or an empty directory, or one that holds nothing but an earlier model of rtlab"


def check_target(to: Path) -> None:
    """Refuse a place that no model can be put at; nothing is written.

    Raises:
        ValueError: If it is no directory, is in use, cannot be written, or holds anything but a model that rtlab saved.
    """
    place = _place(to)
    if place.exists() and not place.is_dir():
        raise ValueError(f"save_to must be {_WOULD_DO}; got {to}, a file")
    if place.exists() and (os.path.ismount(place) or Path.cwd().is_relative_to(place)):
        what = "where a file system is mounted" if os.path.ismount(place) else "in which this process runs"
        raise ValueError(f"save_to must be a directory that can be replaced; got {to}, {what}; one within it would do")
    check_writable(place, option="save_to", within=())
    check_writable(place.parent, option="save_to", within=())
    if place.is_dir() and (others := _others(place)):
        raise ValueError(f"save_to must be {_WOULD_DO}; got {to}, which holds {one_line(', '.join(others[:3]))}")


def hand_over(model: Path, to: Path, *, choice: Choice, record: RunRecord, refit: bool) -> int:
    """Move a saved model to where it was asked for, with its temperature and its card; whole or not at all.

    Args:
        model: The folder of a finished run that saved its model; it is gone then.
        to: Where it is to be. What is there is replaced if `check_target` lets it.
        choice: Why this one.
        record: The run whose logits tell temperature and scores: the model's own, or with `refit` that of the same
            recipe trained on train alone. It was read with its logits, and is of the model's classes.
        refit: Whether the model was trained on train and validation together.

    Returns:
        Bytes of the folder.

    Raises:
        ValueError: If `to` cannot be replaced, or the model is damaged or lacks its encoder; nothing has changed then.
        OSError: If it cannot be written; likewise.
    """
    check_target(to)
    source, place = model.resolve(), _place(to)
    if place.is_relative_to(source):
        raise ValueError(f"save_to must lie outside the folder of the run's own model; got {to}")
    calibration = calibrated(record)
    with replacing_folder(place) as part:
        shutil.copytree(source, part, copy_function=_link, dirs_exist_ok=True)
        description = _with_temperature(part, read_description(part), calibration.temperature)
        assert description.label_names == record.dataset.classes, "scores and model are of the same classes"
        encoder = encoder_of(part, description) if isinstance(description.experiment.method, Adapter) else None
        card = hub_card(
            Handed(
                name=place.name,
                description=description,
                encoder=encoder,
                choice=choice,
                record=record,
                calibration=calibration,
                refit=refit,
            )
        )
        write_whole(part / CARD, card)
        write_description(part, description)
        share(part)
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
    shutil.rmtree(source, ignore_errors=True)
    return size


def _place(to: Path) -> Path:
    """Where a link leads."""
    return Path(os.path.realpath(to))


def _others(folder: Path) -> list[str]:
    """What a folder holds besides a model that rtlab saved; all of it where there is none."""
    there = sorted(path.name for path in folder.iterdir())
    try:
        ours = {DESCRIPTION, CARD, PAGE, *(description_alone(folder).files or digests(folder))}
    except ValueError:
        return there
    return [name for name in there if name not in ours or not (folder / name).is_file()]


def _with_temperature(folder: Path, description: Description, temperature: float) -> Description:
    """The description with a model's temperature; a linear classifier's own file gets it in its place."""
    match description.experiment.method:
        case Words():
            file = folder / words.CLASSIFIER
        case Svm():
            file = folder / svm.CLASSIFIER
        case Contrastive():
            file = folder / contrastive.CLASSIFIER
        case _:
            return replace(description, temperature=temperature)
    classifier = replace(linear.load(file), temperature=temperature)
    file.unlink()  # it may be a link to the run's own
    linear.save(file, classifier)
    return description


def _link(source: str, to: str) -> None:
    """A file under another name as well, at no cost; a copy where the file system is another one, or has no links."""
    try:
        os.link(os.path.realpath(source), to)
    except OSError:
        shutil.copyfile(source, to)
