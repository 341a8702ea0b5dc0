"""The five figures, each drawn from the groups of one place; `None` where there is nothing to show.

Seeds are dots, means are markers or bars, and bars on markers are 95 % intervals: of an accuracy over sentences and
seeds (with one seed over sentences alone), of a time Student's t over seeds. Times are of one machine and include
warm-up, throughputs do not. A speed-up has its quality beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from rtlab.experiment import Experiment
from rtlab.methods import Adapter
from rtlab.reporting.drawing import COLOURS, GROUND, HATCHES, INK, LINES, MARKERS, canvas
from rtlab.reporting.groups import Group, families, pareto_front, quality, time_ratio
from rtlab.reporting.wording import METHODS, PADDINGS, method_title, setups
from rtlab.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINED = ("full", "lora")
REFERENCE = "trainer"
LENGTH = ("epochs", "max_steps", "logging_steps")
MOST_LABELS = 8  # of the Pareto front: as many as stand beside it


def loss(here: Sequence[Group], where: str) -> Figure | None:
    """Training loss over steps for the four lowest learning rates, a panel for each method."""
    logged = [group for group in _whole(here) if all(record.history for record in group.scored)]
    families = {method: _families(logged, method, "learning_rate") for method in TRAINED}
    shown = [found[0][: len(COLOURS)] for found in families.values() if found]
    if not shown:
        return None
    figure, axes = canvas("Training loss by learning rate", where, panels=len(shown))
    for panel, family in zip(axes, shown, strict=True):
        for number, group in enumerate(family):
            _curve(panel, group, number)
        panel.set(xlabel="optimizer step", ylabel="training loss (cross-entropy, nats)", title=_settings(family[0]))
        panel.set_ylim(bottom=0)
        panel.legend(title="learning rate", title_fontsize=9, loc="lower left")  # losses begin high
    return figure


def padding(here: Sequence[Group], where: str) -> Figure | None:
    """Fixed against dynamic padding, for full fine-tuning and LoRA, on the reference engine: time and throughput."""
    found = [_by_engine(here, method).get(REFERENCE, {}) for method in TRAINED]
    pairs = [row for row in found if {"fixed", "dynamic"} <= set(row)]
    if not pairs:
        return None
    figure, axes = canvas("Fixed against dynamic padding", where, panels=2, height=4.8)
    kinds = {f"{kind} padding": [row[kind] for row in pairs] for kind in ("fixed", "dynamic")}
    speeds = {label: [group.values("samples_per_s") for group in cells] for label, cells in kinds.items()}
    times = {label: [[1000 / speed for speed in cell] for cell in cells] for label, cells in speeds.items()}
    names = ["\n".join(_adapted(row["fixed"].experiment)) for row in pairs]
    gains = [_gain(row["fixed"], row["dynamic"]) for row in pairs]
    _bars(axes[0], names, times)
    _bars(axes[1], [f"{name}\n{gain}" for name, gain in zip(names, gains, strict=True)], speeds)
    axes[0].set(ylabel="training time for 1,000 sentences (s)")
    axes[1].set(ylabel="training throughput (samples/s)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def pareto(here: Sequence[Group], where: str) -> Figure | None:
    """Test accuracy against training time: seeds as dots, 95 % intervals as bars, and the Pareto front, numbered."""
    shown = [group for group in _whole(here) if group.timed]
    if len(shown) < 2:
        return None
    figure, [panel] = canvas("Test accuracy against training time", where, height=5)
    points = [(group.mean("seconds"), group.mean("test_accuracy")) for group in shown]
    front = pareto_front(points)
    names, _ = setups([group.experiment for group in shown])
    for method in dict.fromkeys(str(group.fields["method"]) for group in shown):
        colour, marker = _method_style(method)
        panel.plot([], [], linestyle="", color=colour, marker=marker, label=method_title(method))
    for index, (group, point) in enumerate(zip(shown, points, strict=True)):
        _point(panel, group, point, on_front=index in front)
    steps = zip(*(points[index] for index in front), strict=True)
    panel.step(*steps, where="post", color=INK, linestyle=":", linewidth=1.3, zorder=1, label="Pareto front (filled):")
    for number, index in enumerate(front[:MOST_LABELS], start=1):  # above and to the left of the front is no point
        at = points[index]
        panel.annotate(str(number), at, (-5, 5), textcoords="offset points", ha="right", weight="bold", color=INK)
        panel.plot([], [], " ", label=f"{number}  {names[index]}")
    _log_axis(panel)
    panel.margins(x=0.08, y=0.08)
    panel.set(xlabel="training time (s, logarithmic)", ylabel="test accuracy")
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def throughput(here: Sequence[Group], where: str) -> Figure | None:
    """Training throughput by padding and engine, a panel for each method."""
    found = [_by_engine(here, method) for method in TRAINED]
    shown = [rows for rows in found if sum(map(len, rows.values())) > 1]
    if not shown:
        return None
    figure, axes = canvas("Training throughput by padding and engine", where, panels=len(shown))
    engines = sorted({engine for rows in shown for engine in rows}, key=lambda engine: (engine != REFERENCE, engine))
    for panel, rows in zip(axes, shown, strict=True):
        kinds = [kind for kind in PADDINGS if any(kind in row for row in rows.values())]
        cells = {
            f"engine {engine}": [row[kind].values("samples_per_s") if kind in row else [] for kind in kinds]
            for engine in engines
            for row in [rows.get(engine, {})]
        }
        _bars(panel, kinds, cells)
        first = next(group for row in rows.values() for group in row.values())
        panel.set(
            xlabel="padding", ylabel="training throughput (samples/s)", title=", ".join(_adapted(first.experiment))
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(engines))
    return figure


def rates(here: Sequence[Group], where: str) -> Figure | None:
    """LoRA's accuracy over the learning rate, a line for each rank and set of target modules, four at most."""
    by_adapter: dict[tuple[object, ...], Sequence[Group]] = {}
    for family in _families(_whole(here), "lora", "learning_rate"):
        if len(family) > 1:
            by_adapter.setdefault(_size(family), family)
    shown = sorted(list(by_adapter.values())[: len(COLOURS)], key=_size)
    if not shown:
        return None
    figure, axes = canvas("Accuracy of LoRA by learning rate", where, panels=2, height=4.8)
    for panel, split in zip(axes, ("validation", "test"), strict=True):
        for number, family in enumerate(shown):
            shift = 1.05 ** (2 * number - len(shown) + 1)  # side by side, not on top of each other
            x = [shift * float(group.fields["learning_rate"] or 0) for group in family]
            seeds = [group.values(f"{split}_accuracy") for group in family]
            reach = np.hstack([_accuracy_reach(group, split) for group in family])
            for rate, values in zip(x, seeds, strict=True):
                _dots(panel, [rate] * len(values), values, COLOURS[number])
            label = _settings(family[0]).replace("\n", ", ")
            _marks(panel, x, [mean(values) for values in seeds], number, label=label, yerr=reach)
        _log_axis(panel, sorted({float(g.fields["learning_rate"] or 0) for family in shown for g in family}))
        panel.set(xlabel="learning rate (logarithmic)", ylabel=f"{split} accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


def _whole(here: Iterable[Group]) -> list[Group]:
    """Those that trained to the end."""
    return [group for group in here if group.whole]


def _size(family: Sequence[Group]) -> tuple[object, ...]:
    """What tells adapters apart, in an order."""
    fields = family[0].fields
    modules = str(fields["target_modules"])
    return *(float(fields[name] or 0) for name in ("r", "lora_alpha", "lora_dropout")), modules.count("+"), modules


def _families(here: Iterable[Group], method: str, *fields: str) -> list[Sequence[Group]]:
    """Groups of a method that differ in `fields` alone, each family in the first field's order.

    The largest family comes first; of equal ones that with dynamic padding, the reference engine, the most training.
    A group that differs from all others is a family of its own.
    """
    of_method = [group for group in here if group.fields["method"] == method]
    found: list[Sequence[Group]] = [*families(of_method, *fields)]
    known = {id(group) for family in found for group in family}
    found += [(group,) for group in of_method if id(group) not in known]
    ordered = [sorted(family, key=lambda group: _plain(group, fields[0])) for family in found]
    return sorted(ordered, key=_rank)


def _plain(group: Group, field: str) -> tuple[float, str]:
    """A key for numbers and texts alike."""
    value = group.fields[field]
    return (0.0, value) if isinstance(value, str) else (float(value or 0), "")


def _rank(family: Sequence[Group]) -> tuple[object, ...]:
    fields = family[0].fields
    return -len(family), fields["padding"] != "dynamic", fields["engine"] != REFERENCE, -sum(map(_samples, family))


def _by_engine(here: Iterable[Group], method: str) -> dict[str, dict[str, Group]]:
    """For each engine and padding the group trained longest, all of one recipe: that with most of such pairs."""
    found = _families((g for g in here if g.timed), method, "padding", "engine", "compile", *LENGTH)
    best = max(found, key=lambda family: len({(_engine(g), g.fields["padding"]) for g in family}), default=())
    rows: dict[str, dict[str, Group]] = {}
    for group in sorted(best, key=_samples):
        rows.setdefault(_engine(group), {})[str(group.fields["padding"])] = group
    return rows


def _engine(group: Group) -> str:
    """The engine in words: what compiles its layers stands apart from what does not."""
    return f"{group.fields['engine']}{', compiled' if group.fields['compile'] else ''}"


def _samples(group: Group) -> float:
    return sum(group.values("samples"))


def _settings(group: Group) -> str:
    """What a panel or a line is about, on two lines at most."""
    method, *adapter = _adapted(group.experiment)
    words = f"{method}, {group.fields['padding']} padding, engine {_engine(group)}"
    return "\n".join((words, *filter(None, [", ".join(adapter)])))


def _adapted(experiment: Experiment) -> tuple[str, ...]:
    """The method, the size of its adapter, and the modules that it adapts."""
    method = experiment.method
    if not isinstance(method, Adapter):
        return (METHODS["full"],)
    size = [
        f"{word} {method.settings[n]}" for n, word in (("r", "rank"), ("lora_alpha", "alpha")) if n in method.settings
    ]
    return (method_title(method.peft_type.lower()), *filter(None, [", ".join(size)]), " ".join(method.target_modules))


def _gain(fixed: Group, dynamic: Group) -> str:
    """The speed-up with its quality; nothing where they were not timed on one testbed."""
    ratio = time_ratio(fixed, dynamic)
    return "" if ratio is None else f"dynamic: {ratio.value:.1f} ×,\naccuracy {quality(dynamic, fixed)}"


def _curve(panel: "Axes", group: Group, number: int) -> None:
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


def _bars(panel: "Axes", names: Sequence[str], rows: Mapping[str, Sequence[Sequence[float]]]) -> None:
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
            _dots(panel, [place] * len(cell), cell, INK)
    panel.set_xticks(range(len(names)), names)
    panel.grid(visible=False, axis="x")
    panel.margins(y=0.15)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _point(panel: "Axes", group: Group, point: tuple[float, float], *, on_front: bool) -> None:
    """The mean of a group with its intervals and seeds: filled if it is on the front, else hollow."""
    colour, marker = _method_style(str(group.fields["method"]))
    scores = {record.id: record.scores["test"].accuracy for record in group.scored}
    _dots(panel, group.values("seconds"), [scores[record.id] for record in group.on_testbed], colour)
    panel.errorbar(
        [point[0]],
        [point[1]],
        yerr=_accuracy_reach(group, "test"),
        xerr=_time_reach(group, point[0]),
        linestyle="",
        elinewidth=1,
        capsize=2.5,
        color=colour,
        marker=marker,
        markerfacecolor=colour if on_front else GROUND,
    )


def _marks(
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


def _method_style(method: str) -> tuple[str, str]:
    """Colour and marker."""
    number = (list(METHODS).index(method) if method in METHODS else len(METHODS)) % len(COLOURS)
    return COLOURS[number], MARKERS[number]


def _dots(panel: "Axes", x: Sequence[float], y: Sequence[float], colour: str) -> None:
    """Seeds, where there are several."""
    if len(y) > 1:
        panel.plot(x, y, ".", color=colour, markersize=4, zorder=3)


def _accuracy_reach(group: Group, split: str) -> NDArray[np.float64]:
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


def _log_axis(panel: "Axes", values: Sequence[float] = ()) -> None:
    """A logarithmic x axis with plain numbers: `values` themselves, or 1, 2 and 5 of every power of ten."""
    panel.set_xscale("log")
    if values:
        panel.set_xticks(values, [f"{value:.0e}" for value in values])
    else:
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
