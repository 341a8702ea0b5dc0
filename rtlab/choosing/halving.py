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
from typing import Literal

from rtlab.choosing.standing import Standing, Trying, attempt_all, estimated, needed_after, probed, too_dear
from rtlab.choosing.ways import TRAINED, Extent, Rungs
from rtlab.recipe import ChoiceMetric

EPOCHS = 5  # of the lab's recipe: with them, or with enough steps where sentences are few, training counts as whole
STEPS_ENOUGH = 300
STEPS_LEAST = 100  # below them a comparison says nothing
LEAST_HELD_OUT = 100  # sentences to compare on, likewise: on them an accuracy of 0.8 is known to within 8 points
NEARLY = 0.75  # of whole training
APART = 1.5  # as much training as the rung before, at least
FEWER_RATES, FEWER_WAYS = (f"the budget has room for fewer {what}" for what in ("learning rates", "ways"))
ALL_OF_LEFT = 0.9  # of the time left, in plans: estimates are rough


def halve(standings: Sequence[Standing], trying: Trying, metric: ChoiceMetric, seed: int) -> Extent | None:
    """Successive halving of what is trained in steps, and how much a run of its last rung does; `None` if none fits."""
    able = [one for one in standings if one.way.rank == 0 and probed(one, trying)]
    families = sorted((one.way.family for one in able), key=TRAINED.index)
    of_family = {one.way.family: one for one in standings if one.way.rank == 0}
    for other in standings:
        if other.way.family not in families:
            first = of_family[other.way.family]
            other.status, other.why = first.status, first.why
    batch = max((one.way.method.recipe.batch_size for one in able if one.way.method.recipe is not None), default=1)
    whole = max(EPOCHS * trying.sentences, STEPS_ENOUGH * batch)
    planned = trying.planned(lambda: _planned(standings, families, trying, whole, batch, seed))
    if planned is None:
        least = _extent(trying, STEPS_LEAST * batch, folds_of(trying)[-1])
        for standing in standings:
            if standing.way.family in families:
                standing.why = too_dear(trying, standing.way, least, seed)
        return None
    begun, rungs = [one for one in standings if one.way.name in planned.names], planned.seen
    for standing in standings:
        if standing.way.family in families and standing not in begun:
            standing.why = FEWER_RATES if standing.way.family in {one.way.family for one in begun} else FEWER_WAYS
    left = list(begun)
    for number, seen in enumerate(rungs):
        extent = _extent(trying, seen, planned.folds)
        several = [[one] for one in left] if _is_final(number, rungs) else [left]
        left = [one for some in several for one in attempt_all(some, trying, extent, seed)]
        if number + 1 < len(rungs) and left:
            kept, order = _kept(begun, number, rungs), sorted(left, key=lambda one: -estimated(one.largest, metric))
            firsts = {one.way.family: one for one in reversed(order)}.values()
            order = [*(one for one in order if one in firsts), *(one for one in order if one not in firsts)]
            for one in order[kept:]:
                best = estimated(order[0].largest, metric)
                one.status = "stopped"
                through = extent.sentences * one.way.passes(extent.epochs)
                one.why = (
                    f"estimated {estimated(one.largest, metric):.3f} against {best:.3f} after {through:,} sentences"
                )
            left = order[:kept]
    return _extent(trying, rungs[-1], planned.folds)


def _is_final(number: int, rungs: Sequence[int]) -> bool:
    """Whether a rung comes after others, and is the last: its ways are tried one after another, and so timed alone."""
    return 0 < number == len(rungs) - 1


def _kept(begun: Sequence[Standing], number: int, rungs: Sequence[int]) -> int:
    """How many ways go on after a rung: a third, and to the last rung the best of each family.

    Families are not ruled out by little training, in which some have learned nothing yet.
    """
    families = len({one.way.family for one in begun})
    return families if number + 2 >= len(rungs) else max(families, round(len(begun) / 3))


@dataclass(frozen=True)
class _Plan:
    """Rungs: how many ways of each family begin, and with which share of the last rung's training each rung works.

    It is carried out if the last rung's training may be at least so much: whole, nearly so, as much as an epoch of all
    sentences, or just enough to tell anything; on all folds, or else on as many as that leaves room for.
    """

    rates: int
    families: int
    shares: tuple[float, ...]
    least: Literal["whole", "nearly", "epoch", "any"]
    all_folds: bool = False


# On recorded runs (bench/test_choosing.py) whole training of one way, on as many folds as there is room for, chose
# better than more ways and learning rates on fewer folds or with less training: those come where all folds have room.
# Only two families, nearly whole, go before it on any folds: where the first is not the better one, much is lost.
_PLANS = (
    _Plan(rates=3, families=3, shares=(1 / 9, 1 / 3, 1.0), least="whole", all_folds=True),
    _Plan(rates=1, families=3, shares=(1.0,), least="whole", all_folds=True),
    _Plan(rates=1, families=2, shares=(1.0,), least="whole", all_folds=True),
    _Plan(rates=1, families=2, shares=(1.0,), least="nearly"),
    _Plan(rates=1, families=1, shares=(1.0,), least="whole"),
    _Plan(rates=1, families=1, shares=(1.0,), least="epoch"),
    _Plan(rates=1, families=1, shares=(1.0,), least="any"),
)


def _planned(
    standings: Sequence[Standing], families: Sequence[str], trying: Trying, whole: int, batch: int, seed: int
) -> Rungs | None:
    """Who begins, and how many sentences a run of each rung sees; `None` if nothing that tells anything fits."""
    least = STEPS_LEAST * batch
    needed = {
        "whole": whole,
        "nearly": NEARLY * whole,
        "epoch": min(whole, max(trying.sentences, STEPS_ENOUGH * batch)),
        "any": least,
    }
    for plan in _PLANS:
        begun = [one for one in standings if one.way.family in families[: plan.families] and one.way.rank < plan.rates]
        for folds in folds_of(trying)[: 1 if plan.all_folds else None]:
            most = _most(standings, begun, plan, trying, whole, least, folds, seed)
            if begun and most >= needed[plan.least]:
                return Rungs(tuple(one.way.name for one in begun), _rungs(plan, trying, most, least), folds)
    return None


def folds_of(trying: Trying) -> list[int]:
    """On how many folds ways may be compared, the most first; 0 for validation alone.

    All there are, and fewer if they hold out enough to tell something. One takes as long as validation alone and
    training afterwards, and is for a validation that tells nothing.
    """
    alone, *on_folds = trying.held_out
    least = 2 if alone >= LEAST_HELD_OUT else 1
    fewer = [folds for folds in range(len(on_folds) - 1, least - 1, -1) if on_folds[folds - 1] >= LEAST_HELD_OUT]
    several = [len(on_folds), *fewer] if on_folds else []
    return [*several, 0] if alone >= LEAST_HELD_OUT or not several else several


def _rungs(plan: _Plan, trying: Trying, most: int, least: int) -> tuple[int, ...]:
    """How many sentences a run of each rung sees; where sentences are few, rungs would be much alike: one is enough."""
    seen = [_extent(trying, max(round(share * most), min(least, most))).seen for share in plan.shares]
    return (*(one for one, following in itertools.pairwise(seen) if APART * one <= following), seen[-1])


def _most(
    standings: Sequence[Standing],
    begun: Sequence[Standing],
    plan: _Plan,
    trying: Trying,
    whole: int,
    least: int,
    folds: int,
    seed: int,
) -> int:
    """How many sentences the last rung's run may see, so that all rungs fit into the time that is left; 0 for none."""
    seconds, kept_back = ALL_OF_LEFT * trying.left, needed_after(standings, trying)

    def fits(most: int) -> bool:
        kept, total, after = len(begun), 0.0, kept_back
        rungs = _rungs(plan, trying, most, least)
        for number, seen in enumerate(rungs):
            extent = _extent(trying, seen, folds)
            costs = sorted((trying.cost(one.way, extent, seed) or 0.0 for one in begun), reverse=True)
            several = [[cost] for cost in costs[:kept]] if _is_final(number, rungs) else [costs[:kept]]
            total += sum(trying.together(some, extent) for some in several)
            after = max(after, *(trying.after(one.way, extent) for one in begun))
            kept = _kept(begun, number, rungs)
        return total + after <= seconds

    low, high = 0, whole
    if not begun or fits(whole):
        return whole if begun else 0
    while high - low > max(1, whole // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _extent(trying: Trying, seen: int, folds: int | None = None) -> Extent:
    """That of a run that sees so many sentences: fewer sentences rather than no epoch of all."""
    sentences = max(1, min(trying.sentences, seen))
    return Extent(sentences, max(1, round(seen / sentences)), folds)
