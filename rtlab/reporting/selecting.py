"""Which of the groups of one place stand beside each other in a table or a figure: families that are compared."""

from collections.abc import Callable, Iterable, Sequence
from math import inf

from rtlab.recipe import PADDINGS
from rtlab.reporting.frame import Cell
from rtlab.reporting.groups import Group, families, grouped

Family = Sequence[Group]


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
    """What a figure of accuracy over time shows: the methods compared, and each that trains no encoder by itself."""
    shown = _of_most_sentences(here)
    alone = [(group,) for group in shown if group.fields["engine"] is None]
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
