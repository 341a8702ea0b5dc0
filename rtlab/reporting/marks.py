"""How groups are drawn: seeds as dots, means as markers or bars, 95 % intervals as bars on them."""

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from rtlab.reporting.drawing import COLOURS, GROUND, HATCHES, INK, LINES, MARKERS
from rtlab.reporting.groups import Group
from rtlab.reporting.wording import METHODS
from rtlab.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curve(panel: "Axes", group: Group, number: int) -> None:
    """The mean loss of the seeds over steps, and each seed's own as a thin line."""
    curves = [{entry.step: entry.loss for entry in record.history} for record in group.scored]
    if len(curves) > 1:
        for curve in curves:
            panel.plot(list(curve), list(curve.values()), color=COLOURS[number], linewidth=0.7, alpha=0.5)
    steps = sorted(set.intersection(*map(set, curves)))
    every = max(1, len(steps) // 8)
    panel.plot(
        steps,
        [mean(curve[step] for curve in curves) for step in steps],
        color=COLOURS[number],
        linestyle=LINES[number],
        marker=MARKERS[number],
        markevery=(number * every // len(COLOURS), every),
        label=f"{group.fields['learning_rate']:.0e} (n = {len(curves)})",
    )


def bars(panel: "Axes", names: Sequence[str], rows: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Bars of means with seeds as dots on them, a row of bars for each key; an empty cell has no bar."""
    width = 0.8 / len(rows)
    for number, (label, cells) in enumerate(rows.items()):
        x = [i - 0.4 + width * (number + 0.5) for i, cell in enumerate(cells) if cell]
        filled = [cell for cell in cells if cell]
        heights = [mean(cell) for cell in filled]
        colour, hatch = COLOURS[number], HATCHES[number]
        bars = panel.bar(
            x, heights, width * 0.92, label=label, color=colour, hatch=hatch, edgecolor=GROUND, linewidth=0
        )
        panel.bar_label(bars, [_number(mean(cell)) for cell in filled], padding=4, color=INK, fontsize=9)
        for place, cell in zip(x, filled, strict=True):
            dots(panel, [place] * len(cell), cell, INK)
    panel.set_xticks(range(len(names)), names)
    panel.grid(visible=False, axis="x")
    panel.margins(y=0.15)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def point(panel: "Axes", group: Group, at: tuple[float, float], *, on_front: bool) -> None:
    """The mean of a group with its intervals and seeds: filled if it is on the front, else hollow."""
    colour, marker = method_style(str(group.fields["method"]))
    scores = {record.id: record.scores["test"].accuracy for record in group.scored}
    dots(panel, group.values("seconds"), [scores[record.id] for record in group.on_testbed], colour)
    panel.errorbar(
        [at[0]],
        [at[1]],
        yerr=accuracy_reach(group, "test"),
        xerr=_time_reach(group, at[0]),
        linestyle="",
        elinewidth=1,
        capsize=2.5,
        color=colour,
        marker=marker,
        markerfacecolor=colour if on_front else GROUND,
    )


def marks(
    panel: "Axes", x: Sequence[float], y: Sequence[float], number: int, *, label: str, yerr: NDArray[np.float64]
) -> None:
    """A line of markers with bars, in the style of its number."""
    panel.errorbar(
        x,
        y,
        yerr=yerr,
        capsize=2.5,
        elinewidth=1.1,
        label=label,
        color=COLOURS[number],
        marker=MARKERS[number],
        linestyle=LINES[number],
    )


def method_style(method: str) -> tuple[str, str]:
    """Colour and marker."""
    number = (list(METHODS).index(method) if method in METHODS else len(METHODS)) % len(COLOURS)
    return COLOURS[number], MARKERS[number]


def dots(panel: "Axes", x: Sequence[float], y: Sequence[float], colour: str) -> None:
    """Seeds, where there are several."""
    if len(y) > 1:
        panel.plot(x, y, ".", color=colour, markersize=4, zorder=3)


def accuracy_reach(group: Group, split: str) -> NDArray[np.float64]:
    """How far the interval of an accuracy reaches below and above, (2, 1); 0 for records without predictions."""
    interval = group.accuracies.get(split)
    if interval is None:
        return np.zeros((2, 1))
    ends = (interval.value - interval.low, interval.high - interval.value)
    return np.array([[max(0.0, end)] for end in ends])


def _time_reach(group: Group, seconds: float) -> NDArray[np.float64]:
    """The same of training time; 0 with one seed."""
    interval = mean_interval(group.values("seconds"))
    reach = interval.high - interval.value if isfinite(interval.high) else 0.0
    return np.array([[min(reach, 0.9 * seconds)], [reach]])  # a logarithmic axis has no place for 0


def log_axis(panel: "Axes", values: Sequence[float] = ()) -> None:
    """A logarithmic x axis with plain numbers: `values` themselves, or 1, 2 and 5 of every power of ten."""
    panel.set_xscale("log")
    if values:
        panel.set_xticks(values, [f"{value:.0e}" for value in values])
    else:
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
