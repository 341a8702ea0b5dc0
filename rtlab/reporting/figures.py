"""Figures of records as SVG: one set for each encoder, data set and device, which the file names say.

A figure without anything to show is not written. The folder holds what the records say and nothing older: figures that
this module wrote earlier and that the records no longer make are removed; files of others are left alone.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from rtlab.records import RunRecord, write_whole
from rtlab.reporting import plots
from rtlab.reporting.drawing import MARK, styled, svg
from rtlab.reporting.groups import Group, Place, groups

FIGURES: dict[str, Callable[[Sequence[Group], str], Figure | None]] = {
    "loss": plots.loss,
    "padding": plots.padding,
    "pareto": plots.pareto,
    "throughput": plots.throughput,
    "lora-learning-rate": plots.rates,
}


class Written(NamedTuple):
    """Files written, and files removed for records no longer make them."""

    written: tuple[Path, ...]
    removed: tuple[Path, ...]


def write_figures(records: Iterable[RunRecord], folder: Path) -> Written:
    """Draw all figures of records of any kind, in order of creation, into a folder.

    Args:
        records: What to draw.
        folder: Where to write; made if it is not there.
    """
    places: dict[Place, list[Group]] = {}
    for group in groups(records):
        places.setdefault(group.place, []).append(group)
    texts: dict[Path, str] = {}
    for place, here in places.items():
        where = _where(place, here)
        for name, draw in FIGURES.items():
            with styled():
                figure = draw(here, where)
            if figure is not None:
                texts[_path(folder, name, place, here, texts)] = svg(figure, title=f"{name}: {where}")
    for path, text in texts.items():
        write_whole(path, text)
    stale = [path for path in sorted(folder.glob("*.svg")) if path not in texts and _ours(path)]
    for path in stale:
        path.unlink()
    return Written(tuple(texts), tuple(stale))


def _where(place: Place, here: Sequence[Group]) -> str:
    return " · ".join(filter(None, (place.encoder, place.dataset, _limit(here), place.device)))


def _path(folder: Path, name: str, place: Place, here: Sequence[Group], taken: Iterable[Path]) -> Path:
    """Where a figure goes; of two places whose names come to the same, the later one's has a digest of the place."""
    names = (place.encoder.rpartition("/")[2], place.dataset.rpartition("/")[2], _limit(here), place.device)
    slug = re.sub(r"[^a-z0-9]+", "-", " ".join(names).lower()).strip("-")
    path = folder / f"{name}-{slug}.svg"
    return path if path not in taken else path.with_stem(f"{path.stem}-{sha256(repr(place).encode()).hexdigest()[:8]}")


def _limit(here: Sequence[Group]) -> str:
    """Sentences a split, if they were limited."""
    limits = {group.experiment.limit for group in here}
    return "" if None in limits else f"{min(filter(None, limits))} sentences a split"


def _ours(path: Path) -> bool:
    return f">{MARK}<" in path.read_text(encoding="utf-8", errors="replace")[:4000]
