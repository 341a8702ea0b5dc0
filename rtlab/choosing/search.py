"""How the budget is spent: the cheap ways first, then successive halving of what is trained in steps, then seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rtlab.choosing.halving import ALL_OF_LEFT, FEWER_RATES, folds_of, halve
from rtlab.choosing.standing import (
    Standing,
    Trying,
    attempt,
    attempt_all,
    difference,
    estimated,
    levels,
    needed_after,
    probed,
    too_dear,
)
from rtlab.choosing.ways import Extent, Way
from rtlab.methods import Svm
from rtlab.recipe import ChoiceMetric

SEEDS = 5
SHARES = {"words": 0.1, "svm": 0.25}  # of the time left, for one way that is fitted
CHARACTERS_TAKE = 5  # times as long as words
FEW = 500  # sentences: of many, fewer are not worth reading an encoder's features of


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
    fitted = sorted((one for one in standings if one.way.fitted), key=_features_alone)
    for standing in fitted:
        first = not any(one.results for one in standings)
        _fit(standing, standings, trying, seed, ALL_OF_LEFT if first else SHARES[standing.way.family], first=first)
    trained = [standing for standing in standings if not standing.way.fitted]
    planned = halve(trained, trying, metric, seed)
    for standing in fitted:  # what was too dear for its share, where nothing else took the time
        if standing.status == "left out":
            _fit(standing, standings, trying, seed, ALL_OF_LEFT)
    if planned is not None:
        _repeat(standings, trying, metric, margin, seed, planned)


def _features_alone(standing: Standing) -> bool:
    """Whether it reads an encoder's features and no words: with words beside them they cost the same and tell more."""
    method = standing.way.method
    return isinstance(method, Svm) and not method.with_words


def _fit(
    standing: Standing, standings: Sequence[Standing], trying: Trying, seed: int, share: float, *, first: bool = False
) -> None:
    """Try a way that is fitted: on a sample where nothing is known of its cost, then on as much as fits into its share.

    The first one is tried in any case, so that there is an answer.
    """
    way, every = standing.way, trying.sentences
    if way.method.reads is not None and not probed(standing, trying):
        return
    if way.method.reads is None and every > 2 * trying.sample:
        before = [one.results[0].seconds for one in standings if one.way.family == way.family and one.results]
        to_do = trying.cost(way, Extent(trying.sample), seed) != 0
        if before and to_do and CHARACTERS_TAKE * before[0] > share * trying.left:
            standing.why = f"about {CHARACTERS_TAKE * before[0]:,.0f} s, with {max(0.0, trying.left):,.0f} s left"
            return
        if not attempt(standing, trying, Extent(trying.sample), seed):
            return
    few = min(every, FEW if way.method.reads is not None else trying.sample // 4)
    sentences = _affordable(trying, way, every, seed, share, kept_back=needed_after(standings, trying))
    if sentences < few and not first:
        standing.why = standing.why if standing.results else too_dear(trying, way, Extent(few), seed)
    elif not standing.results or sentences > standing.results[-1].extent.sentences:
        attempt(standing, trying, Extent(max(few, sentences)), seed)


def _affordable(trying: Trying, way: Way, every: int, seed: int, share: float, *, kept_back: float) -> int:
    """As many sentences as fit into a share of the time left, and into all of it with what comes after.

    All of them where nothing is known, and where they cost nothing, since that is recorded.
    """
    all_of_them = trying.cost(way, Extent(every), seed)
    if not all_of_them:
        return every
    after = max(kept_back, trying.after(way, Extent(every)))
    seconds = min(share * trying.left, ALL_OF_LEFT * trying.left - after)
    if all_of_them <= seconds:
        return every
    nothing = trying.cost(way, Extent(0), seed) or 0.0
    if seconds <= nothing:  # so they are where features are known, which leaves nothing that grows with the sentences
        return 0
    return int(every * (seconds - nothing) / (all_of_them - nothing))


def _repeat(
    standings: Sequence[Standing], trying: Trying, metric: ChoiceMetric, margin: float, seed: int, planned: Extent
) -> None:
    """Give what is left of the time to families that were not tried, the best of others, other rates, then to seeds."""
    finished = [one for one in standings if not one.way.fitted and one.status == "finished"]
    most = finished[0].largest[0].extent if finished else planned
    for other in _untried(standings):
        fewer = [most] if finished else [replace(most, folds=folds) for folds in folds_of(trying)]
        room = next((extent for extent in fewer if _fits([other], standings, trying, extent, seed)), None)
        if room is not None and attempt(other, trying, room, seed):
            for same in standings:
                if same.way.family == other.way.family and not same.results:
                    same.why = FEWER_RATES
    if not finished:
        return
    for rival in _best_of_other_families(standings, finished, metric):
        if _fits([rival], standings, trying, most, seed):
            attempt(rival, trying, most, seed)
    for other in _other_rates(standings, finished, metric):
        if _fits([other], standings, trying, most, seed):
            attempt(other, trying, most, seed)
    for number in range(1, SEEDS):
        trained = [one for one in standings if not one.way.fitted and one.status == "finished"]
        contenders = [one for one in trained if one.largest[0].extent == most]  # seeds hold out the same sentences
        left = [one for one in contenders if _may_win(one, standings, metric, margin)]
        while left:
            several = left[: trying.jobs]
            while several and not _fits(several, standings, trying, most, seed + number):
                several.pop()
            attempt_all(several, trying, most, seed + number)
            left = left[max(1, len(several)) :]


def _untried(standings: Iterable[Standing]) -> list[Standing]:
    """Of each family that is trained in steps and was not tried its usual way."""
    trained = [one for one in standings if not one.way.fitted]
    tried = {one.way.family for one in trained if one.results}
    return [one for one in trained if one.way.family not in tried and one.way.rank == 0 and one.status == "left out"]


def _best_of_other_families(
    standings: Iterable[Standing], finished: Sequence[Standing], metric: ChoiceMetric
) -> list[Standing]:
    families, stopped = {one.way.family for one in finished}, dict[str, list[Standing]]()
    for one in standings:
        if one.status == "stopped" and one.way.family not in families:
            stopped.setdefault(one.way.family, []).append(one)
    return [max(each, key=lambda one: estimated(one.largest, metric)) for each in stopped.values()]


def _other_rates(standings: Sequence[Standing], finished: Sequence[Standing], metric: ChoiceMetric) -> list[Standing]:
    """Of the family that is the best so far what was not tried; seeds of one way alone would decide nothing."""
    family = max(finished, key=lambda one: estimated(one.largest, metric)).way.family
    return [one for one in standings if one.way.family == family and one.status == "left out" and not one.results]


def _may_win(one: Standing, standings: Sequence[Standing], metric: ChoiceMetric, margin: float) -> bool:
    """Whether its interval allows it to be the best, or within the margin of it."""
    level = levels(standings, metric)
    best = max(level, key=lambda other: level[other])
    if best is one:
        return True
    return difference(one, best, metric).high >= -margin


def _fits(
    several: Sequence[Standing], standings: Sequence[Standing], trying: Trying, extent: Extent, seed: int
) -> bool:
    """Whether there is time for trials of some ways, and for what comes after them; what is recorded takes none."""
    costs = [cost for one in several if (cost := trying.cost(one.way, extent, seed)) is not None]
    if len(costs) < len(several) or not any(costs):
        return len(costs) == len(several)
    after = max(needed_after(standings, trying), *(trying.after(one.way, extent) for one in several))
    return trying.together(costs, extent) + after <= ALL_OF_LEFT * trying.left
