"""The five figures, each drawn from the groups of one place; `None` where there is nothing to show.

Seeds are dots, means are markers or bars, and bars on markers are 95 % intervals: of an accuracy over sentences and
seeds (with one seed over sentences alone), of a time Student's t over seeds. Times are of one machine and include
warm-up, throughputs do not. A speed-up has its quality beside it.
"""

from collections.abc import Iterable, Sequence
from statistics import mean

import numpy as np
from matplotlib.figure import Figure

from rtlab.experiment import Experiment
from rtlab.methods import Adapter
from rtlab.reporting.drawing import COLOURS, INK, canvas
from rtlab.reporting.groups import Group, families
from rtlab.reporting.marks import accuracy_reach, bars, curve, dots, log_axis, marks, method_style, point
from rtlab.reporting.pairs import pareto_front, quality, time_ratio
from rtlab.reporting.wording import METHODS, PADDINGS, method_title, setups

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
            curve(panel, group, number)
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
    bars(axes[0], names, times)
    bars(axes[1], [f"{name}\n{gain}" for name, gain in zip(names, gains, strict=True)], speeds)
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
        colour, marker = method_style(method)
        panel.plot([], [], linestyle="", color=colour, marker=marker, label=method_title(method))
    for index, (group, at) in enumerate(zip(shown, points, strict=True)):
        point(panel, group, at, on_front=index in front)
    steps = zip(*(points[index] for index in front), strict=True)
    panel.step(*steps, where="post", color=INK, linestyle=":", linewidth=1.3, zorder=1, label="Pareto front (filled):")
    for number, index in enumerate(front[:MOST_LABELS], start=1):  # above and to the left of the front is no point
        at = points[index]
        panel.annotate(str(number), at, (-5, 5), textcoords="offset points", ha="right", weight="bold", color=INK)
        panel.plot([], [], " ", label=f"{number}  {names[index]}")
    log_axis(panel)
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
        bars(panel, kinds, cells)
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
            reach = np.hstack([accuracy_reach(group, split) for group in family])
            for rate, values in zip(x, seeds, strict=True):
                dots(panel, [rate] * len(values), values, COLOURS[number])
            label = _settings(family[0]).replace("\n", ", ")
            marks(panel, x, [mean(values) for values in seeds], number, label=label, yerr=reach)
        log_axis(panel, sorted({float(g.fields["learning_rate"] or 0) for family in shown for g in family}))
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
