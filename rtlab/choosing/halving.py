"""Successive halving of what is trained in steps.

It gives many settings a little training and the better ones several times as much, again and again (Jamieson and
Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016; Li et al., "Hyperband",
2018). Here training is sentences seen: fewer sentences at first, then all of them, then more epochs. Each rung is a run
of its own with its learning rate falling to 0, since a run that is cut short says little of one that is not. There are
a dozen settings and a handful of rungs, so this is a loop over a list. What tuners' pruners offer beyond it,
asynchronous workers and samplers of large spaces, nothing here would use, and their time-outs end a trial, not the
whole search.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rtlab.choosing.standing import Standing, Trying, attempt_all, needed_after, probed, score, too_dear
from rtlab.choosing.ways import Extent, Rungs
from rtlab.recipe import ChoiceMetric

EPOCHS = 5  # of the lab's recipe: with them, or with enough steps where sentences are few, training counts as whole
STEPS_ENOUGH = 300
STEPS_LEAST = 100  # below them a comparison says nothing
LEAST_HELD_OUT = 50  # sentences of validation, likewise
ALL_OF_LEFT = 0.9  # of the time left, in plans: estimates are rough


def halve(standings: Sequence[Standing], trying: Trying, metric: ChoiceMetric, seed: int) -> None:
    """Successive halving of what is trained in steps."""
    able = [one for one in standings if one.way.rank == 0 and probed(one, trying)]
    families = [one.way.family for one in able]
    of_family = {one.way.family: one for one in standings if one.way.rank == 0}
    for other in standings:
        if other.way.family not in families:
            first = of_family[other.way.family]
            other.status, other.why = first.status, first.why
    batch = max((one.way.method.recipe.batch_size for one in able if one.way.method.recipe is not None), default=1)
    whole = max(EPOCHS * trying.sentences, STEPS_ENOUGH * batch)
    planned = trying.planned(lambda: _planned(standings, families, trying, whole, batch))
    if planned is None:
        least = _extent(trying, STEPS_LEAST * batch, folded=not _may_be_alone(trying))
        for standing in standings:
            if standing.way.family in families:
                standing.why = too_dear(trying, standing.way, least)
        return
    begun, rungs = [one for one in standings if one.way.name in planned.names], planned.seen
    for standing in standings:
        if standing.way.family in families and standing not in begun:
            standing.why = "the budget has room for fewer learning rates"
    left = list(begun)
    for number, seen in enumerate(rungs):
        extent = _extent(trying, seen, folded=planned.folded)
        left = attempt_all(left, trying, extent, seed)
        if number + 1 < len(rungs) and left:
            kept = 1 if number + 2 == len(rungs) else max(1, round(len(begun) / 3))
            order = sorted(left, key=lambda one: -score(one.largest, metric))
            for one in order[kept:]:
                best = score(order[0].largest, metric)
                one.status = "stopped"
                one.why = f"{score(one.largest, metric):.3f} against {best:.3f} after {extent.seen:,} sentences"
            left = order[:kept]


@dataclass(frozen=True)
class _Plan:
    """Rungs: how many ways of each family begin, and with which share of the last rung's training each rung works."""

    rates: int
    families: int
    shares: tuple[float, ...]


_PLANS = (
    _Plan(rates=3, families=2, shares=(1 / 9, 1 / 3, 1.0)),
    _Plan(rates=2, families=2, shares=(1 / 4, 1.0)),
    _Plan(rates=1, families=2, shares=(1 / 4, 1.0)),
    _Plan(rates=1, families=1, shares=(1.0,)),
)


def _planned(
    standings: Sequence[Standing], families: Sequence[str], trying: Trying, whole: int, batch: int
) -> Rungs | None:
    """Who begins, and how many sentences a run of each rung sees; `None` if nothing that tells anything fits."""
    least = STEPS_LEAST * batch
    wanted = min(whole, max(trying.sentences, STEPS_ENOUGH * batch))
    for plan, folded in itertools.product(_PLANS, (True, False) if _may_be_alone(trying) else (True,)):
        begun = [one for one in standings if one.way.family in families[: plan.families] and one.way.rank < plan.rates]
        most = _most(standings, begun, plan, trying, whole, least, folded=folded)
        if begun and most >= (least if plan == _PLANS[-1] else wanted):
            names = tuple(one.way.name for one in begun)
            return Rungs(names, _rungs(plan, trying, most, least), folded)
    return None


def _may_be_alone(trying: Trying) -> bool:
    """Whether there are folds, and validation alone would tell something, too."""
    on_folds, alone = trying.held_out
    return LEAST_HELD_OUT <= alone < on_folds


def _rungs(plan: _Plan, trying: Trying, most: int, least: int) -> tuple[int, ...]:
    """How many sentences a run of each rung sees; where sentences are few, rungs would be alike, and are one then."""
    seen = (max(round(share * most), min(least, most)) for share in plan.shares)
    return tuple(dict.fromkeys(_extent(trying, one, folded=True).seen for one in seen))


def _most(
    standings: Sequence[Standing],
    begun: Sequence[Standing],
    plan: _Plan,
    trying: Trying,
    whole: int,
    least: int,
    *,
    folded: bool,
) -> int:
    """How many sentences the last rung's run may see, so that all rungs fit into the time that is left; 0 for none."""
    seconds, kept_back = ALL_OF_LEFT * trying.left, needed_after(standings, trying)

    def fits(most: int) -> bool:
        kept, total, after = len(begun), 0.0, kept_back
        rungs = _rungs(plan, trying, most, least)
        for number, seen in enumerate(rungs):
            extent = _extent(trying, seen, folded=folded)
            costs = sorted((trying.cost(one.way, extent) or 0.0 for one in begun), reverse=True)
            total += trying.together(costs[:kept], extent)
            after = max(after, *(trying.after(one.way, extent) for one in begun))
            kept = 1 if number + 2 >= len(rungs) else max(1, round(len(begun) / 3))
        return total + after <= seconds

    low, high = 0, whole
    if not begun or fits(whole):
        return whole if begun else 0
    while high - low > max(1, whole // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _extent(trying: Trying, seen: int, *, folded: bool) -> Extent:
    """That of a run that sees so many sentences: fewer sentences rather than no epoch of all."""
    sentences = max(1, min(trying.sentences, seen))
    return Extent(sentences, max(1, round(seen / sentences)), folded)
