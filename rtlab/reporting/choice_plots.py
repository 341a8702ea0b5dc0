"""The two figures of a choice: what a way scored for its training time, and what it scored by training sentences.

A way has one number, that of its row in the page's table, and one colour and marker, those of its method, in both.
They are made to be read at 400 pixels. Where labels would cover marks, bars or each other, they stand elsewhere about
their mark.
"""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from statistics import mean
from typing import NamedTuple, TypeAlias

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from rtlab.choice import Candidate, Choice
from rtlab.reporting import drawing
from rtlab.reporting.choice_text import brief, measured, metric
from rtlab.reporting.drawing import GROUND, INK, LINES, canvas
from rtlab.reporting.wording import begun
from rtlab.statistics import Interval

Entry: TypeAlias = Artist | ErrorbarContainer

WIDTH = 4.5  # inches: on a screen of 400 pixels its text is not shrunk
NAME = 40  # characters of a way's name in a legend
BESIDE = 22  # in two columns, and beside a mark
BRIEFEST = 0.001  # seconds: a logarithmic axis has no place for 0
TEXT = 9.5  # points
# Where a label may stand about its mark, in points from it, the preferred first.
PLACES = tuple(
    (across * reach, up * reach)
    for reach in (9.0, 16.0, 24.0)
    for across, up in ((1, 0), (-1, 0), (1, 0.8), (-1, 0.8), (1, -0.8), (-1, -0.8), (0, 1.2), (0, -1.2))
)


class Label(NamedTuple):
    """A text that stands beside a point, whose bar reaches so far below and above it."""

    text: str
    at: tuple[float, float]
    reach: tuple[float, float]
    strong: bool


def costed(choice: Choice) -> dict[int, tuple[Candidate, float, Interval]]:
    """The ways that were scored and whose training time is known, by number, with time and score."""
    return {
        number: (one, max(one.seconds, BRIEFEST), one.validation)
        for number, one in enumerate(choice.candidates, 1)
        if one.validation is not None and one.seconds is not None
    }


def curved(choice: Choice) -> dict[int, dict[int, list[float]]]:
    """By number, of each way that was tried on several numbers of sentences, the scores of its seeds by that number.

    Fewest sentences first; of each number only the trials of most epochs.
    """
    found = {}
    for number, one in enumerate(choice.candidates, 1):
        longest: dict[int, dict[int, list[float]]] = {}  # by sentences and epochs
        for trial in sorted(one.trials, key=attrgetter("sentences")):
            longest.setdefault(trial.sentences, {}).setdefault(trial.epochs or 0, []).append(trial.validation)
        if len(longest) > 1:
            found[number] = {size: by_epochs[max(by_epochs)] for size, by_epochs in longest.items()}
    return found


def cost(choice: Choice) -> Figure | None:
    """The metric on validation against training time, a mark for each way that has both; `None` where none has.

    What was not finished is hollow.
    """
    if not (numbered := costed(choice)):
        return None
    ways = [one for one, *_ in numbered.values()]
    figure, panel = _panel(choice, "training time", ways, more=2)
    styles = drawing.method_styles(one.method for one in choice.candidates)
    entries: list[Entry] = []
    labels = []
    for number, (one, seconds, score) in numbered.items():
        at, reach, recommended = (seconds, score.value), drawing.reach(score), one.name == choice.recommended
        style = styles[one.method] if one.status == "finished" else drawing.hollow(styles[one.method])
        entries.append(drawing.marks(panel, [at], style, up=[reach], label=f"{number} {brief(one.name, NAME)}"))
        if recommended:
            panel.plot(*at, "o", color=INK, fillstyle="none", markersize=14, markeredgewidth=1.4)
        beside = f"{number} {brief(one.name, BESIDE)}" if recommended else str(number)
        labels.append(Label(beside, at, reach, recommended))
    if any(one.status != "finished" for one in ways):
        entries += panel.plot([], [], "o", color=INK, markerfacecolor=GROUND, label="hollow: not finished")
    drawing.time_axis(panel, [seconds for _, seconds, _ in numbered.values()])
    panel.margins(y=0.1)
    panel.set(xlabel="training time (s, logarithmic)", ylabel=measured(choice))
    figure.legend(handles=entries, loc="outside lower center", ncols=_columns(ways))
    _place(figure, panel, labels)
    return figure


def curves(choice: Choice) -> Figure | None:
    """The metric on validation against training sentences, a line for each way that was tried on several numbers."""
    if not (shown := curved(choice)):
        return None
    ways = [choice.candidates[number - 1] for number in shown]
    figure, panel = _panel(choice, "training sentences", ways)
    styles = drawing.method_styles(one.method for one in choice.candidates)
    lines = Counter[str]()  # that a method has
    entries: list[Entry] = []
    labels = []
    for one, (number, by_size) in zip(ways, shown.items(), strict=True):
        recommended, line = one.name == choice.recommended, LINES[lines[one.method] % len(LINES)]
        width, label = 2.8 if recommended else 1.5, f"{number} {brief(one.name, NAME)}"
        drawn = drawing.band(panel, by_size, styles[one.method], line, label, width=width)
        entries.append(drawn)
        lines[one.method] += 1
        labels.append(Label(str(number), (max(by_size), mean(by_size[max(by_size)])), (0.0, 0.0), recommended))
    sizes = _apart({size for by_size in shown.values() for size in by_size})
    drawing.log_axis(panel, sizes, "{:,}".format, rotation=45)
    panel.margins(x=0.1, y=0.1)
    panel.set(xlabel="training sentences (logarithmic)", ylabel=measured(choice))
    figure.legend(handles=entries, loc="outside lower center", ncols=_columns(ways))
    _place(figure, panel, labels)
    return figure


def _panel(choice: Choice, against: str, ways: Sequence[Candidate], *, more: int = 0) -> tuple[Figure, Axes]:
    """A figure with one panel, and room for these ways and `more` in the legend below it."""
    rows = -(-(len(ways) + more) // _columns(ways))
    where = " · ".join(filter(None, (choice.dataset, choice.encoder)))
    figure, [panel] = canvas(
        f"{begun(metric(choice))} by {against}", brief(where, 120), width=WIDTH, height=3.7 + 0.2 * rows
    )
    return figure, panel


def _columns(ways: Sequence[Candidate]) -> int:
    """Of a legend that names these ways."""
    return 2 if all(len(brief(one.name)) < BESIDE for one in ways) else 1


def _apart(sizes: set[int]) -> list[int]:
    """Those of some numbers whose labels do not touch on a logarithmic axis, the largest among them."""
    kept: list[int] = []
    least = (max(sizes) / min(sizes)) ** 0.07
    for size in sorted(sizes, reverse=True):
        if not kept or kept[-1] / size >= least:
            kept.append(size)
    return kept[::-1]


def _place(figure: Figure, panel: Axes, labels: Sequence[Label]) -> None:
    """Put each label where it covers least of marks, bars and other labels; outside of the panel counts most."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)  # places the panel, which then stays there
    figure.set_layout_engine("none")
    inside, taken, point = panel.get_window_extent(), [], figure.dpi / 72
    for _, (x, y), (below, above), _ in labels:
        ends = panel.transData.transform([(x, y - below), (x, y), (x, y + above)])
        taken += [Bbox(ends[[1, 1]]).padded(5 * point), Bbox(ends[[0, 2]]).padded(2.5 * point, 0)]
    for text, at, _, strong in sorted(labels, key=lambda label: not label.strong):
        weight = "bold" if strong else "normal"
        label = panel.annotate(text, at, (0, 0), textcoords="offset points", va="center", fontsize=TEXT, weight=weight)
        offset = min(PLACES, key=lambda offset: _covered(_moved(label, offset), taken, inside))
        taken.append(_moved(label, offset))


def _moved(label: Annotation, offset: tuple[float, float]) -> Bbox:
    """What a label takes up, with room about it, at an offset from its point, its nearer side towards it."""
    label.xyann = offset
    label.set_horizontalalignment("left" if offset[0] > 0 else "right" if offset[0] < 0 else "center")
    return label.get_window_extent().padded(2, 0)


def _covered(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """The area of others that a box covers; its own outside of the panel counts most."""
    shared = [Bbox.intersection(box, other) for other in (Bbox(box), inside, *taken)]
    whole, within, *covered = (0.0 if both is None else both.width * both.height for both in shared)
    return float(sum(covered) + 100 * (whole - within))
