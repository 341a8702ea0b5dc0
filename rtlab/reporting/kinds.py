"""Which tables there are: the families that stand in each, chosen at one place, and the columns of their rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from rtlab.recipe import PADDINGS
from rtlab.records import Counts
from rtlab.reporting.frame import COLUMNS, TIMES, Cell
from rtlab.reporting.groups import SPLITS, Group, families, grouped
from rtlab.reporting.markup import Text
from rtlab.reporting.measures import accuracy_difference, quality, time_ratio
from rtlab.reporting.wording import FIGURES, NONE, difference, score, spread, times

Row = dict[str, Text]
Family = Sequence[Group]  # that are compared
Rows = Callable[[Group, Family], Iterable[Row]]
Columns = Callable[[Group, Family], Row]
Chosen = Callable[[Sequence[Group]], Sequence[Family]]

TEXTS = ("setup", "split", "testbed")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a table shows.

    Attributes:
        title: Its heading.
        rows: The cells of a group, by column, given its family; the setup's name is put before them.
        needs: What to record for the table to have something to show.
        of: Whether a group can stand in it.
        chosen: The families that stand in it, out of the groups of one place; each group by itself by default.
        timed: Whether times stand in it, which its caption then names the testbed of.
        everywhere: Whether places where all runs failed are named too.
        limited: Whether data sets that were cut to a limit stand in it, where there are whole ones.
    """

    title: str
    rows: Rows
    needs: str
    of: Callable[[Group], bool] = lambda _: True
    chosen: Chosen = lambda here: [(group,) for group in here]
    timed: bool = True
    everywhere: bool = False
    limited: bool = True


def _is_trained(group: Group) -> bool:
    return group.experiment.method.recipe is not None


# Which families stand in a table or a figure


def whole(here: Sequence[Group]) -> list[Group]:
    """Runs that were cut short say nothing of the accuracy that their recipe reaches."""
    return [group for group in here if group.whole]


def _is_whole(group: Group) -> bool:
    """Whether it is neither cut short nor of drawn sentences; what these come to has a table of its own."""
    return group.whole and group.experiment.train_sentences is None


def scored(here: Sequence[Group]) -> Sequence[Family]:
    """All whole runs; those cut short, or of drawn sentences, only of a method that has no whole one."""
    known = {group.method for group in here if _is_whole(group)}
    return [(group,) for group in here if _is_whole(group) or group.method not in known]


def _of_most_sentences(here: Sequence[Group]) -> list[Group]:
    """The whole runs on all training sentences; where these are of less than two methods, on the most that are not."""
    sizes = grouped(whole(here), lambda group: group.experiment.train_sentences)
    ordered = [sizes[size] for size in sorted(sizes, key=lambda size: -(size or inf))]
    several = [found for found in ordered if len({group.method for group in found}) > 1]
    return next(iter([*several, *ordered]), [])


def compared(here: Sequence[Group]) -> Sequence[Family]:
    """For each method one recipe, on every engine that it was run on, each with its usual padding.

    Of several recipes that of most seeds, of these that on most engines, of these the best on validation.
    """

    def worth(recipe: Family) -> tuple[float, ...]:
        accuracy = max(group.mean("validation_accuracy") for group in recipe)
        return max(len(group.scored) for group in recipe), len(recipe), accuracy

    recipes = grouped(_of_most_sentences(here), lambda group: group.but_for("engine", "padding", "compile"))
    engines = (grouped(recipe, lambda group: group.experiment.engine) for recipe in recipes.values())
    of_methods = best([[max(several, key=_usual) for several in each.values()] for each in engines], worth)
    return of_methods if len(of_methods) > 1 else []


def shown_first(here: Sequence[Group]) -> list[Family]:
    """What a figure of accuracy over time shows: the methods compared, and each that trains no encoder by itself.

    Of these that with the best C on validation.
    """
    shown = _of_most_sentences(here)
    of_all_c = grouped((one for one in shown if one.fields["engine"] is None), lambda one: one.but_for("c"))
    alone = [(max(several, key=lambda one: one.mean("validation_accuracy")),) for several in of_all_c.values()]
    return [*alone, *(family for family in compared(shown) if family[0].fields["engine"] is not None)]


def _usual(group: Group) -> tuple[object, ...]:
    """Groups of one engine: with its usual padding before others, of one results version the newest."""
    fields, recipe = group.fields, group.experiment.method.recipe
    usual = recipe is not None and recipe.padding == PADDINGS[recipe.engine][0]
    return group.results, usual, not fields["compile"], len(group.scored)


def richest(here: Sequence[Group]) -> Sequence[Family]:
    """For each method the one recipe that was run with most paddings, the reference with fixed padding among them."""

    def paddings(family: Family) -> set[tuple[str, Cell]]:
        return {(group.experiment.engine, group.fields["padding"]) for group in family}

    found = families(here, "padding", "engine", "compile")
    return best(
        (family for family in found if ("trainer", "fixed") in paddings(family)),
        lambda family: (len(paddings(family)), family[0].whole, sum(len(group.scored) for group in family)),
    )


def best(found: Iterable[Family], worth: Callable[[Family], tuple[float, ...]]) -> Sequence[Family]:
    """Of each method the family of most worth, of several the first."""
    return [max(several, key=worth) for several in grouped(found, lambda family: family[0].method).values()]


# What stands in a row


def _row(*parts: Columns) -> Rows:
    """One row, of these columns."""
    return lambda group, family: [{title: cell for part in parts for title, cell in part(group, family).items()}]


def _means(*titles: str) -> Columns:
    """Means of figures."""
    return lambda group, _: {title: spread(group.values(FIGURES[title][0]), FIGURES[title][1]) for title in titles}


def _accuracy(split: str) -> Columns:
    return lambda group, _: {f"{split} accuracy": score(group.values(f"{split}_accuracy"), group.accuracies.get(split))}


def _training(group: Group, _: Family) -> Row:
    """Training time, with the number of seeds where it is not that of the row."""
    values = group.values("train_s")
    fewer = f" (n = {len(values)})" if 0 < len(values) < len(group.scored) else ""
    return {"training (s)": spread(values, 1) + fewer}


def _memory(group: Group, _: Family) -> Row:
    device = group.values("peak_device")
    gib = [value / 2**30 for value in device or group.values("peak_host")]
    return {f"peak {'device' if device else 'host'} GiB": spread(gib, 2)}


def _padding(group: Group, _: Family) -> Row:
    pairs = zip(group.values("padding_tokens"), group.values("real_tokens"), strict=True)
    shares = [100 * padding / max(1, padding + real) for padding, real in pairs]
    return {"padding tokens": f"{spread(shares, 1)} %"}


def _counted(title: str, text: Callable[[Counts], str]) -> Columns:
    return lambda group, _: {title: "" if (counts := group.scored[0].counts) is None else text(counts)}


def _parts(title: str) -> Columns:
    """Trained parameters of the encoder or the adapter, and of the head."""
    return _counted(title, lambda c: f"{c.parameters_encoder + c.parameters_adapter:,} + {c.parameters_head:,}")


def _faster(**base: str) -> Columns:
    """How many times less training time a sentence takes than in the row with these fields, and at what quality."""
    column = f"speed-up over {', '.join(base.values())}"

    def columns(group: Group, family: Family) -> Row:
        slow = next((g for g in family if all(g.fields[field] == value for field, value in base.items())), None)
        if slow is group:
            return {column: "1", "its accuracy": NONE}
        if slow is None or (ratio := time_ratio(slow, group)) is None:
            return {column: NONE, "its accuracy": NONE}
        verdict, found = quality(group, slow), accuracy_difference(group, slow)
        told = found is not None and found.over == "sentences and seeds" and group.whole  # seeds of both tell it
        return {column: times(ratio), "its accuracy": f"{verdict}: {difference(found)}" if told and found else verdict}

    return columns


def _svm_rows(group: Group, family: Family) -> Iterator[Row]:
    for split in SPLITS:
        accuracy = _accuracy(split)(group, family)[f"{split} accuracy"]
        others = {name: spread(group.values(f"{split}_{name.lower()}"), 4) for name in ("precision", "recall", "F1")}
        yield {"split": split, "accuracy": accuracy, **others}


def _seed_rows(group: Group, _: Family) -> Iterator[Row]:
    timed = {record.id: record for record in group.on_testbed}
    titles = ("training (s)", "samples/s", *(f"{split} {name}" for split in SPLITS for name in ("accuracy", "F1")))
    for record in group.scored:
        row: Row = {"seed": str(record.experiment.seed)}
        for title in titles:
            column, digits = FIGURES[title]
            of = timed.get(record.id) if column in TIMES else record
            value = None if of is None else COLUMNS[column](of)
            row[title] = NONE if value is None else f"{value:,.{digits}f}"
        yield row


_SPEED = (_training, _means("samples/s", "steps/s"), _memory)
_ACCURACIES = (_accuracy("validation"), _accuracy("test"))


def _padding_of(method: str, title: str) -> Kind:
    """The table of a method's paddings."""
    return Kind(
        title=f"Padding, {title}",
        rows=_row(*_SPEED, _padding, _faster(padding="fixed")),
        of=lambda group: group.method == method,
        chosen=lambda here: families(here, "padding"),
        needs=f"runs of {title} that differ in `--padding` alone",
    )


TABLES: Mapping[str, Kind] = {
    "comparison": Kind(
        title="Methods compared",
        rows=_row(
            _counted("trained parameters", lambda counts: f"{counts.parameters_trained:,}"),
            *(_training, _faster(engine="trainer")),
            *(_accuracy("validation"), _means("validation F1"), _accuracy("test"), _means("test F1")),
        ),
        chosen=compared,
        limited=False,
        needs="whole runs of two methods or more on one encoder and data set",
    ),
    "padding": Kind(
        title="Runtime by padding",
        rows=_row(_training, _means("samples/s"), _padding, _faster(engine="trainer", padding="fixed")),
        of=_is_trained,
        chosen=richest,
        needs="runs that differ in `--padding` alone, fixed padding on the reference engine among them",
    ),
    "svm": Kind(
        title="Words and features",
        rows=_svm_rows,
        of=lambda group: not _is_trained(group),
        chosen=scored,
        timed=False,
        needs="a run of `rtlab words` or `rtlab svm`",
        everywhere=True,
    ),
    "padding-full": _padding_of("full", "full fine-tuning"),
    "padding-lora": _padding_of("lora", "LoRA"),
    "methods": Kind(
        title="Methods",
        rows=_row(_parts("encoder/adapter + head"), _training, *_ACCURACIES, _means("test F1")),
        chosen=scored,
        needs="a run of any method",
        everywhere=True,
    ),
    "learning-rates": Kind(
        title="Learning rates",
        rows=_row(_means("training loss", "loss of last epoch"), *_ACCURACIES),
        of=_is_trained,
        chosen=lambda here: families(whole(here), "learning_rate"),
        timed=False,
        needs="whole runs that differ in `--lr` alone",
    ),
    "target-modules": Kind(
        title="Target modules",
        rows=_row(_parts("adapter + head"), _means("samples/s"), *_ACCURACIES, _means("test F1")),
        of=lambda group: group.fields["peft_type"] is not None,
        chosen=lambda here: families(whole(here), "target_modules"),
        needs="whole runs of an adapter that differ in `--target-modules` alone",
    ),
    "engines": Kind(
        title="Engines",
        rows=_row(
            *(_means("warm-up (s)"), *_SPEED),
            lambda group, family: _accuracy("test")(group, family) if group.whole else {},
            _faster(engine="trainer", padding="dynamic"),
        ),
        of=_is_trained,
        chosen=lambda here: families(here, "engine", "padding", "compile"),
        needs="runs that differ in `--engine`, and in nothing else but its `--padding` and `--compile`",
    ),
    "seeds": Kind(
        title="Every seed",
        rows=_seed_rows,
        chosen=lambda here: [(group,) for group in here if len(group.scored) > 1],
        needs="runs of one experiment under two seeds or more",
    ),
}
