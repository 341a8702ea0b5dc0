"""How near what `choose` compares ways by comes to what more sentences would say, on recorded runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from regret import BUDGETS_S, DRAWS, Case, Data
from simulated import Setup

from rtlab.recipe import ChoiceMetric

COMPARED = (112, 562, 1066)  # sentences: 100 and 500 with an eighth of them, and validation of all


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far the difference of two ways on some sentences is from that on all that are held out.

    Attributes:
        data: The sentences.
        trained: On how many ways were trained; `None` for all.
        compared: On how many they are compared.
        scored: The root of the mean square over all pairs of ways and over draws, by what was scored there.
        estimated: The same by what `choose` makes of that.
    """

    data: Data
    trained: int | None
    compared: int
    scored: float
    estimated: float


def distances(cases: Sequence[Case], draws: int = DRAWS) -> list[Distance]:
    """Of each case, on each number in `COMPARED` of which twice as many are held out."""
    found = []
    for case in (one for one in cases if one.budget == BUDGETS_S[0]):
        longest = list({one.way.name: one for one in case.setups}.values())
        for compared in COMPARED:
            if 2 * compared <= len(longest[0].held_out[0].labels):
                of_draws = [_off(longest, case.data.metric, compared, draw) for draw in range(draws)]
                scored, estimated = np.sqrt(np.mean(of_draws, axis=0))
                found.append(
                    Distance(data=case.data, trained=case.size, compared=compared, scored=scored, estimated=estimated)
                )
    return found


def _off(setups: Sequence[Setup], metric: ChoiceMetric, compared: int, draw: int) -> tuple[float, float]:
    """The mean square over pairs by what one seed of each scored on some sentences, and by what is estimated then."""
    every = np.random.default_rng(draw).permutation(len(setups[0].held_out[0].labels))
    off = []
    for one in setups:
        number = draw % len(one.records)
        scored = one.scores(metric, every)[number].mean()
        off.append(
            (
                one.scores(metric, every[:compared])[number].mean() - scored,
                one.estimated(metric, number, every[:compared]) - scored,
            )
        )
    first, second = np.triu_indices(len(off), 1)
    by_both = np.array(off)
    squares = np.square(by_both[first] - by_both[second]).mean(axis=0)
    return float(squares[0]), float(squares[1])
