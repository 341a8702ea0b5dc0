"""How the budget is spent: the cheap ways first, then successive halving of what is trained in steps, then seeds.

Successive halving gives many settings a little training and the better ones several times as much, again and again
(Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016; Li et al.,
"Hyperband", 2018). Here training is sentences seen: fewer sentences at first, then all of them, then more epochs. Each
rung is a run of its own with its learning rate falling to 0, since a run that is cut short says little of one that is
not. There are a dozen settings and a handful of rungs, so this is a loop over a list. What tuners' pruners offer beyond
it, asynchronous workers and samplers of large spaces, nothing here would use, and their time-outs end a trial, not the
whole search.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtlab.choice import ChoiceMetric, Ended
from rtlab.choosing.trials import FailedError, Result
from rtlab.choosing.ways import Way
from rtlab.ending import StoppedError
from rtlab.statistics import Interval, accuracy_interval, macro_f1_by_sentence, paired_difference

EPOCHS = 5  # of the lab's recipe: with them, or with enough steps where sentences are few, training counts as whole
STEPS_ENOUGH = 300
STEPS_LEAST = 100  # below them a comparison says nothing
SEEDS = 5
ALL_OF_LEFT = 0.9  # of the time left, in plans: estimates are rough
CHEAP_SHARE = 0.25  # of the time left, for one way that is fitted
SAMPLE = 2000  # sentences of a first trial of words, where there are many more
_FIRST, _SECOND, _THIRD = 1 / 9, 1 / 3, 1.0


class Trying(Protocol):
    """What a search needs to be able to do; `rtlab.choosing.trials.Trials` does it, and a simulator may."""

    @property
    def sentences(self) -> int:
        """Training sentences that there are."""

    @property
    def left(self) -> float:
        """Seconds that are left."""

    def cost(self, way: Way, sentences: int, epochs: int) -> float | None:
        """About how many seconds a trial takes; `None` if nothing is known yet."""

    def probe(self, way: Way) -> None:
        """Find out what a sentence costs."""

    def run(self, way: Way, sentences: int, epochs: int, seed: int) -> Result:
        """Try a way."""


@dataclass(kw_only=True, eq=False)
class Standing:
    """How a way stands in the search.

    Attributes:
        way: Which.
        results: Of its trials, in order.
        status: How trying it ended, or would if the search ended now.
        why: Why, in a clause.
    """

    way: Way
    results: list[Result] = field(default_factory=list)
    status: Ended = "left out"
    why: str = "the search ended before it"

    @property
    def largest(self) -> list[Result]:
        """The trials with most training; one per seed."""
        if not self.results:
            return []
        most = max(_seen(one) for one in self.results)
        return [one for one in self.results if _seen(one) == most]


def scores_of(results: Sequence[Result], metric: ChoiceMetric) -> NDArray[np.float64]:
    """What each sentence that was held out scored under each seed, (S, N); its mean over sentences is the metric."""
    return by_sentence(results[0].held_out.labels, np.stack([one.held_out.classes for one in results]), metric)


def by_sentence(
    labels_N: NDArray[np.integer], predicted_SN: NDArray[np.integer], metric: ChoiceMetric
) -> NDArray[np.float64]:
    """What each sentence scored under each seed, (S, N); its mean over sentences is the metric."""
    if metric == "macro-f1":
        return macro_f1_by_sentence(labels_N, predicted_SN)
    return np.asarray(predicted_SN == labels_N, dtype=np.float64)


def score(results: Sequence[Result], metric: ChoiceMetric) -> float:
    """The metric, the mean over seeds; -inf without results."""
    return float(scores_of(results, metric).mean()) if results else -math.inf


def search(standings: Sequence[Standing], trying: Trying, *, metric: ChoiceMetric, margin: float, seed: int) -> None:
    """Try ways until the budget is spent, or more of it would tell nothing; what was found stands in `standings`.

    Args:
        standings: The ways, the cheapest first.
        trying: Tries them.
        metric: What they are compared by, on validation alone.
        margin: Difference that does not count.
        seed: Of the first run of each.

    Raises:
        KeyboardInterrupt: If it was interrupted; what was found by then stands.
    """
    for standing in standings:
        if standing.way.fitted:
            _fit(standing, trying, seed, first=not any(one.results for one in standings))
    trained = [standing for standing in standings if not standing.way.fitted]
    _halve(trained, trying, metric, seed)
    _repeat(standings, trying, metric, margin, seed)


def _fit(standing: Standing, trying: Trying, seed: int, *, first: bool) -> None:
    """Try a way that is fitted: on a sample where nothing is known of its cost, then on as much as fits.

    The first one is tried in any case, so that there is an answer.
    """
    way, every = standing.way, trying.sentences
    if way.method.reads is not None and not _probed(standing, trying):
        return
    if way.method.reads is None and every > 2 * SAMPLE and not _try(standing, trying, SAMPLE, 1, seed):
        return
    few = min(every, SAMPLE // 4)
    sentences = _affordable(trying, way, every, (ALL_OF_LEFT if first else CHEAP_SHARE) * trying.left)
    if sentences < few and not first:
        standing.why = standing.why if standing.results else _too_dear(trying, way, few, 1)
    elif not standing.results or sentences > standing.results[-1].sentences:
        _try(standing, trying, max(few, sentences), 1, seed)


def _affordable(trying: Trying, way: Way, every: int, seconds: float) -> int:
    """As many sentences as fit into a time: all of them where nothing is known."""
    cost = trying.cost(way, every, 1)
    if cost is None or cost <= seconds:
        return every
    nothing = trying.cost(way, 0, 1) or 0.0
    return max(0, int(every * (seconds - nothing) / (cost - nothing)))


@dataclass(frozen=True)
class _Plan:
    """Rungs: how many ways of each family begin, and with which share of the last rung's training each rung works."""

    rates: int
    families: int
    shares: tuple[float, ...]


_PLANS = (
    _Plan(rates=3, families=2, shares=(_FIRST, _SECOND, _THIRD)),
    _Plan(rates=2, families=2, shares=(1 / 4, 1.0)),
    _Plan(rates=1, families=2, shares=(1 / 4, 1.0)),
    _Plan(rates=1, families=1, shares=(1.0,)),
)


def _halve(standings: Sequence[Standing], trying: Trying, metric: ChoiceMetric, seed: int) -> None:
    """Successive halving of what is trained in steps."""
    able = [one for one in standings if one.way.rank == 0 and _probed(one, trying)]
    families = [one.way.family for one in able]
    of_family = {one.way.family: one for one in standings if one.way.rank == 0}
    for other in standings:
        if other.way.family not in families:
            first = of_family[other.way.family]
            other.status, other.why = first.status, first.why
    batch = max((one.way.method.recipe.batch_size for one in able if one.way.method.recipe is not None), default=1)
    whole = max(EPOCHS * trying.sentences, STEPS_ENOUGH * batch)
    planned = _planned(standings, families, trying, whole, batch)
    if planned is None:
        for standing in standings:
            if standing.way.family in families:
                standing.why = _too_dear(trying, standing.way, *_point(trying, STEPS_LEAST * batch))
        return
    begun, rungs = planned
    for standing in standings:
        if standing.way.family in families and standing not in begun:
            standing.why = "the budget has room for fewer learning rates"
    left = list(begun)
    for number, seen in enumerate(rungs):
        sentences, epochs = _point(trying, seen)
        left = [one for one in left if _try(one, trying, sentences, epochs, seed)]
        if number + 1 < len(rungs) and left:
            kept = 1 if number + 2 == len(rungs) else max(1, round(len(begun) / 3))
            order = sorted(left, key=lambda one: -score(one.largest, metric))
            for one in order[kept:]:
                best = score(order[0].largest, metric)
                one.status = "stopped"
                one.why = f"{score(one.largest, metric):.3f} against {best:.3f} after {sentences * epochs:,} sentences"
            left = order[:kept]


def _planned(
    standings: Sequence[Standing], families: Sequence[str], trying: Trying, whole: int, batch: int
) -> tuple[list[Standing], list[int]] | None:
    """Who begins, and how many sentences a run of each rung sees; `None` if nothing that tells anything fits."""
    least = STEPS_LEAST * batch
    wanted = min(whole, max(trying.sentences, STEPS_ENOUGH * batch))
    for plan in _PLANS:
        begun = [one for one in standings if one.way.family in families[: plan.families] and one.way.rank < plan.rates]
        most = _most(begun, plan, trying, whole, least)
        if begun and most >= (least if plan == _PLANS[-1] else wanted):
            return begun, [_rung(share, most, least) for share in plan.shares]
    return None


def _rung(share: float, most: int, least: int) -> int:
    return max(round(share * most), min(least, most))


def _most(begun: Sequence[Standing], plan: _Plan, trying: Trying, whole: int, least: int) -> int:
    """How many sentences the last rung's run may see, so that all rungs fit into the time that is left; 0 for none."""
    seconds = ALL_OF_LEFT * trying.left

    def fits(most: int) -> bool:
        kept, total = len(begun), 0.0
        dearest = [one.way for one in begun]
        for number, share in enumerate(plan.shares):
            costs = sorted(
                (trying.cost(way, *_point(trying, _rung(share, most, least))) or 0.0 for way in dearest), reverse=True
            )
            total += sum(costs[:kept])
            kept = 1 if number + 2 >= len(plan.shares) else max(1, round(len(begun) / 3))
        return total <= seconds

    low, high = 0, whole
    if not begun or fits(whole):
        return whole if begun else 0
    while high - low > max(1, whole // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _point(trying: Trying, seen: int) -> tuple[int, int]:
    """Sentences and epochs of a run that sees so many sentences: fewer sentences rather than no epoch of all."""
    sentences = max(1, min(trying.sentences, seen))
    return sentences, max(1, round(seen / sentences))


def _repeat(standings: Sequence[Standing], trying: Trying, metric: ChoiceMetric, margin: float, seed: int) -> None:
    """Give what is left of the time to the best of each family that may still win: as much training, then seeds."""
    finished = [one for one in standings if not one.way.fitted and one.status == "finished"]
    if not finished:
        return
    most = finished[0].largest[0]
    point = most.sentences, most.epochs
    for rival in _best_of_other_families(standings, finished[0], metric):
        if _fits(rival, trying, point):
            _try(rival, trying, *point, seed)
    for number in range(1, SEEDS):
        contenders = [one for one in standings if one.way.method.recipe is not None and one.status == "finished"]
        for one in [one for one in contenders if _may_win(one, standings, metric, margin)]:
            if _fits(one, trying, point):
                _try(one, trying, *point, seed + number)


def _best_of_other_families(standings: Iterable[Standing], first: Standing, metric: ChoiceMetric) -> list[Standing]:
    stopped: dict[str, list[Standing]] = {}
    for one in standings:
        if one.status == "stopped" and one.way.family != first.way.family:
            stopped.setdefault(one.way.family, []).append(one)
    return [max(each, key=lambda one: score(one.largest, metric)) for each in stopped.values()]


def _may_win(one: Standing, standings: Sequence[Standing], metric: ChoiceMetric, margin: float) -> bool:
    """Whether its interval allows it to be the best, or within the margin of it."""
    best = max((other for other in standings if other.results), key=lambda other: score(other.largest, metric))
    if best is one:
        return True
    return difference(one, best, metric).high >= -margin


def difference(one: Standing, other: Standing, metric: ChoiceMetric) -> Interval:
    """Metric of one way minus that of another, on the same sentences, with its interval."""
    return paired_difference(
        scores_of(one.largest, metric),
        scores_of(other.largest, metric),
        a_chance=one.largest[0].experiment.chance,
        b_chance=other.largest[0].experiment.chance,
    )


def interval(standing: Standing, metric: ChoiceMetric) -> Interval:
    """Its metric over all seeds of its largest trial, with its interval."""
    return accuracy_interval(scores_of(standing.largest, metric), chance=standing.largest[0].experiment.chance)


def test_interval(results: Sequence[Result], metric: ChoiceMetric) -> Interval:
    """The metric on test over all seeds, with its interval."""
    tests = [one.records[0].predictions["test"] for one in results]
    scores_SN = by_sentence(tests[0].labels, np.stack([one.classes for one in tests]), metric)
    return accuracy_interval(scores_SN, chance=results[0].experiment.chance)


def _fits(one: Standing, trying: Trying, point: tuple[int, int]) -> bool:
    cost = trying.cost(one.way, *point)
    return cost is not None and cost <= ALL_OF_LEFT * trying.left


def _probed(standing: Standing, trying: Trying) -> bool:
    """Whether a way can be done, and what it costs is known now."""
    try:
        trying.probe(standing.way)
    except FailedError as error:
        standing.status, standing.why = "failed", str(error)
        return False
    except StoppedError as error:
        standing.why = str(error)
        return False
    return True


def _try(standing: Standing, trying: Trying, sentences: int, epochs: int, seed: int) -> bool:
    """Try a way, and say whether there is a result."""
    before = (standing.status, standing.why)
    try:
        standing.results.append(trying.run(standing.way, sentences, epochs, seed))
    except FailedError as error:
        if not standing.results:
            before = ("failed", str(error))
        standing.status, standing.why = before
        return False
    except StoppedError as error:
        if not standing.results:
            before = ("left out", str(error))
        standing.status, standing.why = before
        return False
    standing.status, standing.why = "finished", "compared"
    return True


def _too_dear(trying: Trying, way: Way, sentences: int, epochs: int) -> str:
    cost = trying.cost(way, sentences, epochs)
    return f"about {cost:,.0f} s, with {max(0.0, trying.left):,.0f} s left" if cost else "no time was left"


def _seen(result: Result) -> int:
    return result.sentences * result.epochs
