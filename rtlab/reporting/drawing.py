"""How figures look, and how groups are drawn in them: seeds as dots, means as markers or bars, intervals as bars.

One style for every eye, as SVG that follows the reader's light or dark theme: no colour of text has a contrast of 4.5
on a white and on a dark page both, so a figure brings its own ground, and a style sheet in it swaps ground, ink and
grid where the reader prefers dark. The data's colours are the four of Okabe and Ito (2008) with a contrast of 3 on
either ground; marker, line and hatching say the same again.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, log10
from operator import attrgetter
from statistics import mean
from typing import TypeAlias

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from rtlab.methods import TITLES
from rtlab.recipe import rate_text
from rtlab.reporting.groups import Group
from rtlab.reporting.markup import clean
from rtlab.statistics import Interval

MARK = "rtlab figures"  # who made a file, in its metadata
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a67c00")
HOLLOW = ":o"  # what is found on validation
DECADES = 1.6  # of time; over more of them, ticks are powers of ten alone
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx")
INK, GRID, GROUND = "#1f2328", "#d1d9e0", "#ffffff"
DARK = {INK: "#e6edf3", GRID: "#30363d", GROUND: "#0d1117"}

Points: TypeAlias = Sequence[tuple[float, float]]
Style: TypeAlias = tuple[str, str, str]  # colour, marker, and what fills it

STYLE = {
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "figure.facecolor": GROUND,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 1.2,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "svg.fonttype": "none",  # text stays text: to be read aloud, searched and copied
    "svg.hashsalt": "rtlab",  # ids that do not change from one time to the next
    "text.parse_math": False,  # a dollar in a name is a dollar
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "legend.labelcolor"), INK),
    **dict.fromkeys(("text.color", "xtick.color", "ytick.color"), INK),
}


@contextmanager
def styled() -> Iterator[None]:
    """The style, for as long as something is drawn."""
    with rc_context(STYLE), warnings.catch_warnings():
        # Text stays text, so whoever reads it has the characters that the font here has not.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font", UserWarning)
        yield


def canvas(
    heading: str, where: str, *, panels: int = 1, width: float = 9, height: float = 4.4, columns: int = 2
) -> tuple[Figure, list[Axes]]:
    """A figure with a heading, the place below it, and panels, `columns` of them side by side; sizes in inches."""
    columns = min(panels, columns)
    rows = -(-panels // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.09, wspace=0.05)
    figure = Figure(figsize=(width, height * rows), layout=layout)
    # The layout makes room for this title alone; its first, empty line is where the heading goes.
    figure.suptitle(
        "\n".join(("", *textwrap.wrap(clean(where), int(12.5 * width), break_on_hyphens=False))),
        fontsize=9,
        x=0.013,
        ha="left",
        linespacing=1.5,
    )
    figure.text(0.013, 1 - 0.08 / (height * rows), heading, fontsize=11.5, weight="bold", va="top")
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, panels + 1)]


def svg(figure: Figure, *, title: str) -> str:
    """A figure as SVG, the same bytes every time, with the colours of both themes."""
    file = io.BytesIO()
    with styled():
        FigureCanvasSVG(figure).print_svg(file, metadata={"Creator": MARK, "Date": None, "Title": clean(title)})
    text = file.getvalue().decode()
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)  # matplotlib leaves blanks that editors and git complain of
    rules = "\n".join(
        f'  [style*="{role}: {light}"] {{ {role}: {dark} !important }}'
        for light, dark in DARK.items()
        for role in ("fill", "stroke")
    )
    return text.replace("</style>", f"\n@media (prefers-color-scheme: dark) {{\n{rules}\n}}\n</style>", 1)


def curve(panel: Axes, group: Group, number: int) -> None:
    """The mean loss of the seeds over steps, and each seed's own as a thin line, with its loss on validation.

    A ring is about the loss on validation at the step whose weights were kept.
    """
    colour = COLOURS[number]
    curves = [{entry.step: entry.loss for entry in record.history} for record in group.scored]
    for curve in curves if len(curves) > 1 else ():
        panel.plot(list(curve), list(curve.values()), color=colour, linewidth=0.7, alpha=0.5)
    steps = sorted(set.intersection(*map(set, curves)))
    every = max(1, len(steps) // 8)
    panel.plot(
        steps,
        [mean(curve[step] for curve in curves) for step in steps],
        color=colour,
        linestyle=LINES[number],
        marker=MARKERS[number],
        markevery=(number * every // len(COLOURS), every),
        label=f"{rate_text(rate(group))} (n = {len(curves)})",
    )
    for record in filter(attrgetter("validated"), group.scored):
        losses = {entry.step: entry.loss for entry in record.validated}
        panel.plot(list(losses), list(losses.values()), HOLLOW, color=colour, markerfacecolor=GROUND, markersize=4)
        if (kept := losses.get(int(record.chosen.get("step", 0)))) is not None:
            panel.plot([record.chosen["step"]], [kept], "o", color=colour, fillstyle="none", markersize=9)


def rate(group: Group) -> float:
    """The learning rate of a group that has one."""
    return float(group.fields["learning_rate"] or 0)


def bars(panel: Axes, names: Sequence[str], rows: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Bars of means with seeds as dots on them, a row of bars for each key; an empty cell has no bar."""
    width = 0.8 / len(rows)
    for number, (label, cells) in enumerate(rows.items()):
        filled = {i - 0.4 + width * (number + 0.5): cell for i, cell in enumerate(cells) if cell}
        heights = [mean(cell) for cell in filled.values()]
        colour, hatch = COLOURS[number % len(COLOURS)], HATCHES[number % len(HATCHES)]
        panel.bar(
            list(filled), heights, width * 0.92, label=label, color=colour, hatch=hatch, edgecolor=GROUND, linewidth=0
        )
        for (place, cell), height in zip(filled.items(), heights, strict=True):
            dots(panel, [place] * len(cell), cell, INK)
            text = f"{height:,.0f}" if height >= 100 else f"{height:.3g}"
            above = (place, max(cell))  # all dots
            panel.annotate(text, above, (0, 4), textcoords="offset points", ha="center", color=INK, fontsize=9)
    panel.set_xticks(range(len(names)), names)
    panel.grid(visible=False, axis="x")
    panel.margins(y=0.15)


def marks(
    panel: Axes, points: Points, style: Style, *, up: Points, across: Points = (), line: str = "", label: str = ""
) -> ErrorbarContainer:
    """Marks with bars that `reach` so far below and above each, and to its left and right, and a line through them."""
    (colour, marker, inside), (x, y) = style, zip(*points, strict=True)
    return panel.errorbar(
        *(x, y),
        yerr=[*zip(*up, strict=True)],
        xerr=[*zip(*across, strict=True)] or None,
        linestyle=line,
        elinewidth=1,
        capsize=2.5,
        color=colour,
        marker=marker,
        markerfacecolor=inside,
        label=label or None,
    )


def band(
    panel: Axes, seeds_by_x: Mapping[int, Sequence[float]], style: Style, line: str, label: str, *, width: float = 1.5
) -> Line2D:
    """Means as a line of markers, and a band from the lowest to the highest seed."""
    (colour, marker, inside), x = style, list(seeds_by_x)
    lowest, highest = (list(map(end, seeds_by_x.values())) for end in (min, max))
    panel.fill_between(x, lowest, highest, color=colour, alpha=0.2, linewidth=0)
    means = [mean(seeds) for seeds in seeds_by_x.values()]
    [drawn] = panel.plot(
        *(x, means, line), color=colour, marker=marker, markerfacecolor=inside, linewidth=width, label=label
    )
    return drawn


def method_styles(methods: Iterable[str]) -> Mapping[str, Style]:
    """The style of each method: the usual methods' own, then those of others; no two alike of 25."""
    every, kinds = [*TITLES, *sorted(set(methods) - set(TITLES))], len(COLOURS)
    return {
        name: (colour := COLOURS[number % kinds], MARKERS[(number + number // kinds) % kinds], colour)
        for number, name in enumerate(every)
    }


def hollow(style: Style) -> Style:
    """The style with nothing within its marker."""
    return (*style[:2], GROUND)


def dots(panel: Axes, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    """Seeds, where there are several."""
    if len(y) > 1:
        panel.plot(x, y, ".", color=colour, markersize=4, zorder=3)


def reach(interval: Interval | None) -> tuple[float, float]:
    """How far an interval reaches below and above; 0 where it is not known."""
    if interval is None or not isfinite(interval.high - interval.low):
        return 0.0, 0.0
    return max(0.0, interval.value - interval.low), max(0.0, interval.high - interval.value)


def log_axis(panel: Axes, values: Sequence[float], text: Callable[[float], str], *, rotation: int = 0) -> None:
    """A logarithmic x axis with these values as texts."""
    panel.set_xscale("log")
    panel.set_xticks(values, [text(value) for value in values], rotation=rotation)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())


def time_axis(panel: Axes, seconds: Sequence[float]) -> None:
    """A logarithmic x axis of times, with room at both ends: 1, 2 and 5 of every power of ten, of many these alone."""
    low, high = log10(min(seconds)), log10(max(seconds))
    room = max(0.1 * (high - low), 0.25)
    log_axis(panel, [], str)
    panel.set_xlim(10 ** (low - room), 10 ** (high + room))
    panel.xaxis.set_major_locator(LogLocator(subs=(1,) if high - low > DECADES else (1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
