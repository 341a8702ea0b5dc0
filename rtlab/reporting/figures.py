"""Figures of records as SVG: one set for each encoder and data set, and for each machine where times are in them.

Seeds are dots, means are markers or bars, and bars on markers are 95 % intervals: of an accuracy over sentences and
seeds (with one seed over sentences alone), of a time Student's t over seeds. Times are of one machine and include
warm-up, throughputs do not. A speed-up has its quality beside it.

File names say which; `headline.svg` is the accuracy over time at the place of most runs, `labels.svg` that over
training sentences. A figure without anything to show is not written. The folder holds what the records say and nothing
older: figures that this module wrote earlier and that the records no longer make are removed; files of others are left
alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import NamedTuple, TypeAlias, get_args

from matplotlib.figure import Figure

from rtlab.methods import LORA, Method, Svm, Words, method_title
from rtlab.recipe import Padding, rate_text
from rtlab.records import RunRecord, write_whole
from rtlab.reporting import drawing
from rtlab.reporting.drawing import COLOURS, GROUND, INK, LINES, MARK, MARKERS, canvas
from rtlab.reporting.groups import SPLITS, Group, Place, by_place, families, grouped, groups, machines
from rtlab.reporting.kinds import shown_first
from rtlab.reporting.learning_curves import FIGURE, largest, ways
from rtlab.reporting.measures import quality, time_ratio
from rtlab.reporting.wording import adapted, method_order, order
from rtlab.statistics import mean_interval
from rtlab.testbed import Testbed

Draw: TypeAlias = Callable[[Sequence[Group], str], Figure | None]
RATES = "{}-learning-rate"  # of a kind of adapter
HEADLINE = "headline.svg"
REFERENCE = "trainer"
LENGTH = ("epochs", "max_steps", "logging_steps")
ADAPTER = ("target_modules", *LORA, "settings")


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
            _draw(texts, RATES.format(method), rates, place, of_method)
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
    with drawing.styled():
        figure = draw(here, where)
    if figure is not None:
        names = (place.encoder.rpartition("/")[2], place.dataset.rpartition("/")[2], *more)
        slug = re.sub(r"[^a-z0-9]+", "-", " ".join(names).lower()).strip("-")[:150]
        stem = f"{re.sub(r'[^a-z0-9]+', '-', name)}-{slug}"
        if f"{stem}.svg" in texts:  # of two places whose names come to the same, the later one's has a digest
            stem += f"-{sha256(repr((place, machine)).encode()).hexdigest()[:8]}"
        texts[f"{stem}.svg"] = drawing.svg(figure, title=f"{name}: {where}")


def _ours(path: Path) -> bool:
    return path.is_file() and f">{MARK}<" in path.read_text(encoding="utf-8", errors="replace")[:4000]


def loss(here: Sequence[Group], where: str) -> Figure | None:
    """Training loss over steps for the four lowest learning rates, and that on validation, a panel for each method."""
    logged = [group for group in here if group.whole and all(record.history for record in group.scored)]
    shown = [_families(found, "learning_rate")[0][: len(LINES)] for found in _by_method(logged)]
    if not shown:
        return None
    figure, axes = canvas("Training loss by learning rate", where, panels=len(shown))
    for panel, family in zip(axes, shown, strict=True):
        for number, group in enumerate(family):
            drawing.curve(panel, group, number)
        if any(record.validated for group in family for record in group.scored):
            panel.plot([], [], drawing.HOLLOW, color=INK, markerfacecolor=GROUND, label="on validation; ring: kept")
        panel.set(xlabel="optimizer step", ylabel="training loss (cross-entropy, nats)", title=_recipe(family[0]))
        panel.set_ylim(bottom=0)
        panel.legend(title="learning rate", title_fontsize=9, loc="lower left")  # losses begin high
    return figure


def padding(here: Sequence[Group], where: str) -> Figure | None:
    """Fixed against dynamic padding on the reference engine, for each method: time and throughput."""
    sides = ((REFERENCE, "fixed"), (REFERENCE, "dynamic"))
    found = [_by_engine(of_method) for of_method in _by_method(here)]
    pairs = [[rows[side] for side in sides] for rows in found if rows.keys() >= {*sides}]
    if not pairs:
        return None
    columns = 2 if len(pairs) < 3 else 1
    figure, axes = canvas("Fixed against dynamic padding", where, panels=2, height=4.8, columns=columns)
    speeds = {
        f"{kind} padding": [group.values("samples_per_s") for group in cells]
        for (_, kind), cells in zip(sides, zip(*pairs, strict=True), strict=True)
    }
    seconds = {label: [[1000 / speed for speed in cell] for cell in cells] for label, cells in speeds.items()}
    names = [adapted(fixed.experiment) for fixed, _ in pairs]
    drawing.bars(axes[0], names, seconds)
    for number, pair in enumerate(pairs):
        if (ratio := time_ratio(*pair)) is not None:
            names[number] += f"\ndynamic: {ratio.value:.1f} ×,\naccuracy {quality(*pair)}"
    drawing.bars(axes[1], names, speeds)
    axes[0].set(ylabel="training time for 1,000 sentences (s)")
    axes[1].set(ylabel="training throughput (samples/s)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def accuracy(here: Sequence[Group], where: str) -> Figure | None:
    """Test accuracy against training time of the methods compared, the engines of one recipe joined by a line.

    It is made to be read at 400 pixels: what is compared in the first table, and every method that needs no training.
    """
    shown = shown_first([group for group in here if group.whole and group.timed])
    if len(shown) < 2:
        return None
    figure, [panel] = canvas("Test accuracy against training time", where, width=5.2, height=4.3)
    styles = drawing.method_styles(family[0].method for family in shown)
    for family in shown:
        style, at = styles[family[0].method], []
        for group in family:
            seconds = group.mean("seconds")
            below, above = drawing.reach(mean_interval(group.values("seconds")))
            at.append((seconds, group.mean("test_accuracy")))
            drawing.marks(
                *(panel, at[-1:], drawing.hollow(style) if _engine(group) == REFERENCE else style),
                up=[drawing.reach(group.accuracies.get("test"))],
                across=[(min(below, 0.9 * seconds), above)],  # a logarithmic axis has no place for 0
            )
        panel.plot(*zip(*at, strict=True), color=style[0], linewidth=1.2, zorder=1)
        if (text := _features(family[0].experiment.method)) is not None:
            # To the left: what is dearer lies to the right. Characters have words to the left, and nothing near beyond.
            beyond = family[0].experiment.method.reads is None
            place, side = ((9, 0), "left") if beyond else ((-9, 0), "right")
            panel.annotate(text, at[0], place, textcoords="offset points", ha=side, va="center", fontsize=9)
    for method in sorted({family[0].method for family in shown}, key=method_order):
        colour, marker, _ = styles[method]
        panel.plot([], [], linestyle="", color=colour, marker=marker, label=method_title(method))
    if any(_engine(group) == REFERENCE for family in shown for group in family):
        panel.plot([], [], "o", color=INK, markerfacecolor=GROUND, label="hollow: reference engine")
    drawing.time_axis(panel, [value for family in shown for group in family for value in group.values("seconds")])
    panel.margins(y=0.08)
    panel.set(xlabel="training time (s, logarithmic), seconds an epoch × epochs", ylabel="test accuracy")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _features(method: Method) -> str | None:
    """What a linear classifier reads, beside a mark of its colour; of words, what is not usual."""
    match method:
        case Svm(pooling=pooling, with_words=with_words):
            return f"{'[CLS]' if pooling == 'cls' else pooling}{' + words' if with_words else ''}"
        case Words(characters=True):
            return "characters"
        case _:
            return None


def throughput(here: Sequence[Group], where: str) -> Figure | None:
    """Training throughput by padding and engine, a panel for each method."""
    shown = [rows for found in _by_method(here) if len(rows := _by_engine(found)) > 1]
    if not shown:
        return None
    figure, axes = canvas("Training throughput by padding and engine", where, panels=len(shown))
    engines = sorted({engine for rows in shown for engine, _ in rows}, key=lambda engine: (engine != REFERENCE, engine))
    for panel, rows in zip(axes, shown, strict=True):
        kinds = [kind for kind in get_args(Padding) if any(kind == padding for _, padding in rows)]
        speeds = {
            f"engine {engine}": [
                rows[engine, kind].values("samples_per_s") if (engine, kind) in rows else [] for kind in kinds
            ]
            for engine in engines
        }
        drawing.bars(panel, kinds, speeds)
        title = adapted(next(iter(rows.values())).experiment)
        panel.set(xlabel="padding", ylabel="training throughput (samples/s)", title=title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(engines))
    return figure


def rates(here: Sequence[Group], where: str) -> Figure | None:
    """An adapter's accuracy over the learning rate, a line for each size and set of target modules, four at most.

    Args:
        here: Groups of one kind of adapter.
        where: Their place, in words.
    """
    found = [family for family in _families([group for group in here if group.whole], "learning_rate") if family[1:]]
    by_adapter = grouped(found, lambda family: tuple(family[0].fields[name] for name in ADAPTER))
    first = [several[0] for several in by_adapter.values()]
    shown = sorted(first[: len(LINES)], key=lambda family: order(family[0]))
    if not shown:
        return None
    title = method_title(here[0].method)
    figure, axes = canvas(f"Accuracy of {title} by learning rate", where, panels=2, height=4.8)
    for panel, split in zip(axes, SPLITS, strict=True):
        for number, family in enumerate(shown):
            shift = 1.05 ** (2 * number - len(shown) + 1)  # side by side, not on top of each other
            x = [shift * drawing.rate(group) for group in family]
            seeds = [group.values(f"{split}_accuracy") for group in family]
            for rate, values in zip(x, seeds, strict=True):
                drawing.dots(panel, [rate] * len(values), values, COLOURS[number])
            drawing.marks(
                panel,
                [(rate, mean(values)) for rate, values in zip(x, seeds, strict=True)],
                (COLOURS[number], MARKERS[number], COLOURS[number]),
                up=[drawing.reach(group.accuracies.get(split)) for group in family],
                line=LINES[number],
                label=_recipe(family[0]),
            )
        drawing.log_axis(panel, sorted({drawing.rate(group) for family in shown for group in family}), rate_text)
        panel.set(xlabel="learning rate (logarithmic)", ylabel=f"{split} accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


def labels(here: Sequence[Group], where: str) -> Figure | None:
    """Test accuracy against training sentences, a line for each way, a band from its lowest to its highest seed."""
    shown = ways(here)
    if not shown:
        return None
    figure, [panel] = canvas("Test accuracy against training sentences", where, width=5.2, height=4.6)
    styles = drawing.method_styles(largest(way).method for way in shown)
    for number, way in enumerate(shown):
        method, beside_words = largest(way).method, bool(largest(way).fields["with_words"])
        seeds = {size: group.values("test_accuracy") for size, group in way.items()}
        label, line = f"{method_title(method)}{' with words' * beside_words}", LINES[number % len(LINES)]
        style = drawing.hollow(styles[method]) if beside_words else styles[method]
        drawing.band(panel, seeds, style, line, label)
    sizes = sorted({size for way in shown for size in way})
    drawing.log_axis(panel, sizes, "{:,}".format, rotation=45)
    panel.set(
        xlabel="training sentences (logarithmic), drawn by the seed;\nband: lowest to highest seed; "
        "validation and test are whole",
        ylabel="test accuracy",
    )
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _by_method(here: Iterable[Group]) -> list[list[Group]]:
    """The groups of each method that has a recipe, in the usual order."""
    found = grouped((group for group in here if group.fields["engine"] is not None), lambda group: group.method)
    return [found[method] for method in sorted(found, key=method_order)]


def _families(here: Sequence[Group], field: str, *with_it: str) -> list[Sequence[Group]]:
    """Families as `families` has them, each by learning rate; the groups by themselves where there are none.

    The largest family comes first; of equal ones that with dynamic padding, the reference engine, the most training.
    """

    def rank(family: Sequence[Group]) -> tuple[object, ...]:
        fields = family[0].fields
        return -len(family), fields["padding"] != "dynamic", fields["engine"] != REFERENCE, -sum(map(_samples, family))

    found = families(here, field, *with_it) or [(group,) for group in here]
    return sorted((sorted(family, key=drawing.rate) for family in found), key=rank)


def _by_engine(here: Sequence[Group]) -> dict[tuple[str, str], Group]:
    """By engine and padding the group trained longest, all of one recipe: that with most of such pairs."""
    found = _families([group for group in here if group.timed], "padding", "engine", "compile", *LENGTH)
    pairs = [{(_engine(g), str(g.fields["padding"])): g for g in sorted(family, key=_samples)} for family in found]
    return max(pairs, key=len, default={})


def _engine(group: Group) -> str:
    """The engine in words: what compiles its layers stands apart from what does not."""
    return f"{group.fields['engine']}{', compiled' if group.fields['compile'] else ''}"


def _samples(group: Group) -> float:
    return sum(group.values("samples"))


def _recipe(group: Group) -> str:
    """What a panel or a line of several learning rates is about."""
    return f"{adapted(group.experiment)}, {group.fields['padding']}, engine {_engine(group)}"


SCORES: Mapping[str, Draw] = {"loss": loss, "labels": labels}
TIMES: Mapping[str, Draw] = {"padding": padding, "accuracy": accuracy, "throughput": throughput}
