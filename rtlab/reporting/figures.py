"""Figures of records as SVG: one set for each encoder and data set, and for each machine where times are in them.

File names say which; `headline.svg` is the accuracy over time at the place of most runs, `labels.svg` that over
training sentences. A figure without anything to show is not written. The folder holds what the records say and nothing
older: figures that this module wrote earlier and that the records no longer make are removed; files of others are left
alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias

from matplotlib.figure import Figure

from rtlab.records import RunRecord, write_whole
from rtlab.reporting import plots
from rtlab.reporting.drawing import MARK, styled, svg
from rtlab.reporting.groups import Group, Place, by_place, groups, machines
from rtlab.reporting.learning_curves import FIGURE
from rtlab.testbed import Testbed

Draw: TypeAlias = Callable[[Sequence[Group], str], Figure | None]
SCORES: Mapping[str, Draw] = {"loss": plots.loss, "labels": plots.labels}
TIMES: Mapping[str, Draw] = {"padding": plots.padding, "accuracy": plots.accuracy, "throughput": plots.throughput}
RATES = "{}-learning-rate"  # of a kind of adapter
HEADLINE = "headline.svg"


class Written(NamedTuple):
    """Files written, and files removed for records no longer make them."""

    written: tuple[Path, ...]
    removed: tuple[Path, ...]


def write_figures(records: Iterable[RunRecord], folder: Path) -> Written:
    """Draw all figures of records of any kind into a folder, which is made if it is not there."""
    texts: dict[str, str] = {}
    for place, here in by_place(groups(records)).items():
        for name, draw in SCORES.items():
            _draw(texts, name, draw, place, here)
        for method in dict.fromkeys(group.method for group in here if group.fields["peft_type"]):
            of_method = [group for group in here if group.method == method]
            _draw(texts, RATES.format(method), plots.rates, place, of_method)
        for machine in machines(here):
            timed = [group.timed_on(machine) for group in here]
            for name, draw in TIMES.items():
                _draw(texts, name, draw, place, timed, machine)
    for first, name in (("accuracy-", HEADLINE), ("labels-", FIGURE)):
        if (text := next((text for file, text in texts.items() if file.startswith(first)), None)) is not None:
            texts[name] = text
    written = {folder / name: text for name, text in texts.items()}
    for path, text in written.items():
        write_whole(path, text)
    stale = [path for path in sorted(folder.glob("*.svg")) if path not in written and _ours(path)]
    for path in stale:
        path.unlink()
    return Written(tuple(written), tuple(stale))


def first_figure(name: str, records: Iterable[RunRecord]) -> str | None:
    """A figure of `SCORES` as SVG, of the first place that has something to show in it."""
    texts: dict[str, str] = {}
    for place, here in by_place(groups(records)).items():
        _draw(texts, name, SCORES[name], place, here)
    return next(iter(texts.values()), None)


def _draw(
    texts: dict[str, str], name: str, draw: Draw, place: Place, here: Sequence[Group], machine: Testbed | None = None
) -> None:
    """Add a figure of a place, or of a machine there, by its file's name, if it has something to show."""
    limits = {group.experiment.limit for group in here}
    limit = "" if None in limits else f"{min(filter(None, limits))} sentences a split"
    more = (limit, "" if machine is None else machine.name)
    where = " · ".join(filter(None, (place.encoder, place.dataset, *more)))
    with styled():
        figure = draw(here, where)
    if figure is not None:
        names = (place.encoder.rpartition("/")[2], place.dataset.rpartition("/")[2], *more)
        slug = re.sub(r"[^a-z0-9]+", "-", " ".join(names).lower()).strip("-")[:150]
        stem = f"{re.sub(r'[^a-z0-9]+', '-', name)}-{slug}"
        if f"{stem}.svg" in texts:  # of two places whose names come to the same, the later one's has a digest
            stem += f"-{sha256(repr((place, machine)).encode()).hexdigest()[:8]}"
        texts[f"{stem}.svg"] = svg(figure, title=f"{name}: {where}")


def _ours(path: Path) -> bool:
    return path.is_file() and f">{MARK}<" in path.read_text(encoding="utf-8", errors="replace")[:4000]
