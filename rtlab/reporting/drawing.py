"""How figures look: one style for every eye, and SVG that follows the reader's light or dark theme.

No colour of text has a contrast of 4.5 on white and on a dark page both, so a figure brings its own ground, and a style
sheet in it swaps ground, ink and grid where the reader prefers dark. The data's colours are the four of Okabe and Ito
(2008) with a contrast of 3 on either ground; marker, line and hatching say the same again.
"""

import io
import re
import textwrap
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rtlab.reporting.markup import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARK = "rtlab figures"  # who made a file, in its metadata
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKERS = ("o", "s", "^", "D")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx")
INK, GRID, GROUND = "#1f2328", "#d1d9e0", "#ffffff"
DARK = {INK: "#e6edf3", GRID: "#30363d", GROUND: "#0d1117"}

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "figure.facecolor": GROUND,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 1.2,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "svg.fonttype": "none",  # text stays text: to be read aloud, searched and copied
    "svg.hashsalt": "rtlab",  # ids that do not change from one time to the next
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


def styled() -> AbstractContextManager[None]:
    """The style, for as long as something is drawn."""
    style: AbstractContextManager[None] = rc_context(STYLE)
    return style


def canvas(
    heading: str, where: str, *, panels: int = 1, height: float = 4.4, columns: int = 2
) -> tuple[Figure, list["Axes"]]:
    """A figure with a heading, the place below it, and panels, `columns` of them side by side."""
    columns = min(panels, columns)
    rows = -(-panels // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.09, wspace=0.05)
    figure = Figure(figsize=(9, height * rows), layout=layout)
    # The layout makes room for this title alone; its first, empty line is where the heading goes.
    figure.suptitle("\n".join(("", *textwrap.wrap(clean(where), 112))), fontsize=9, x=0.013, ha="left", linespacing=1.5)
    figure.text(0.013, 1 - 0.08 / (height * rows), heading, fontsize=11.5, weight="bold", va="top")
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, panels + 1)]


def svg(figure: Figure, *, title: str) -> str:
    """A figure as SVG, the same bytes every time, with the colours of both themes."""
    file = io.BytesIO()
    with styled():
        FigureCanvasSVG(figure).print_svg(file, metadata={"Creator": MARK, "Date": None, "Title": clean(title)})
    text = file.getvalue().decode()
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)  # matplotlib leaves blanks that editors and git complain of
    return text.replace("</style>", _dark_theme() + "</style>", 1)


def _dark_theme() -> str:
    rules = "\n".join(
        f'  [style*="{role}: {light}"] {{ {role}: {dark} !important }}'
        for light, dark in DARK.items()
        for role in ("fill", "stroke")
    )
    return f"\n@media (prefers-color-scheme: dark) {{\n{rules}\n}}\n"
