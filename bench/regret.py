"""What choices lose, simulated (`simulated.py`) on the records of the study in `choices.py`.

Regret is how many points on test, the mean over seeds, the best setup that fits into the budget has more than the
recommended one. Of a size those setups count that have all of their seeds, and sizes of which a family of ways is
missing then are left out.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from altered import FLIPPED, METRICS, TO_ONE
from choices import ALTERED, RIVALS, SEEDS, SIZES, USUAL, WAYS
from numpy.typing import NDArray
from simulated import Outcome, Setup, paces_of, seconds_of, setups_of, simulate

from rtlab.choosing.costs import Pace
from rtlab.choosing.ways import FAMILIES, Way
from rtlab.recipe import ChoiceMetric
from rtlab.records import RunRecord, load_records

RESULTS = Path(__file__).parents[1] / "results"
BUDGETS_S = (120.0, 600.0)
DRAWS = 40  # of what is known of validation, a size and a budget
CLEARLY = 0.02  # of a regret whose interval lies above it


@dataclass(frozen=True, kw_only=True)
class Data:
    """Sentences that are chosen for.

    Attributes:
        name: As records have it.
        said: As the page has it.
        ways: That are recorded.
        sizes: Training sentences that there are.
        metric: What is compared.
        flipped: Share of wrong labels in train.
    """

    name: str
    said: str
    ways: Sequence[Way] = USUAL
    sizes: Sequence[int | None] = (ALTERED,)
    metric: ChoiceMetric = "accuracy"
    flipped: float = 0.0


DATA = (
    Data(name="rt-polaritydata", said="as they are", ways=WAYS, sizes=SIZES),
    Data(name="flipped", said=f"{FLIPPED:.0%} of training labels flipped", flipped=FLIPPED),
    Data(name="uneven", said=f"{TO_ONE} negative to 1 positive, by macro-F1", metric=METRICS["uneven"]),
    Data(name="three-classes", said="three classes, generated"),
)


@dataclass(frozen=True, kw_only=True)
class Rival:
    """What a person would do instead.

    Attributes:
        seconds: That it takes.
        scores: Gives what some of the held-out sentences, validation's and then test's, score under each seed, (S, N).
    """

    seconds: float
    scores: Callable[[NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class SetFitRun:
    """Seconds of training and of labelling, and 1 for each sentence of a split that is labelled rightly, else 0."""

    train: float
    evaluate: float
    validation: list[int]
    test: list[int]


@dataclass(frozen=True, kw_only=True)
class Case:
    """So many training sentences, and a budget.

    Attributes:
        data: The sentences.
        size: How many the study was asked for; `None` for all.
        sentences: How many there are.
        budget: Seconds.
        setups: What is recorded of what `choose` tries.
        rivals: By its name what is recorded of each, the quickest first.
    """

    data: Data
    size: int | None
    sentences: int
    budget: float
    setups: list[Setup]
    rivals: dict[str, list[Rival]]

    def choices(self, paces: dict[str, Pace], margin: float, draws: int = DRAWS) -> list[Outcome]:
        """What is chosen in some draws."""
        found = [
            simulate(
                self.setups,
                paces,
                self.sentences,
                budget=self.budget,
                draw=draw,
                margin=margin,
                metric=self.data.metric,
                flipped=self.data.flipped,
            )
            for draw in range(draws)
        ]
        return [one for one in found if one is not None]


def recorded() -> tuple[list[RunRecord], dict[str, Pace]]:
    """Runs on all of that, and what runs take."""
    of_all = [one for one in load_records(RESULTS / "records").records if _is_whole(one)]
    of_choices = [one for one in load_records(RESULTS / "choosing" / "records").records if _is_whole(one)]
    return list({one.id: one for one in (*of_choices, *of_all)}.values()), paces_of(of_all)


def _is_whole(record: RunRecord) -> bool:
    asked, recipe = record.experiment, record.experiment.method.recipe
    if record.status != "ok" or asked.limit is not None or asked.encoder not in (None, "minilm"):
        return False
    known = asked.dataset in {data.name for data in DATA}
    return known and asked.max_length == 512 and (recipe is None or recipe.max_steps is None)


def cases(records: Sequence[RunRecord], paces: dict[str, Pace]) -> list[Case]:
    """All of which enough is recorded."""
    made = []
    for data, size in [(one, size) for one in DATA for size in one.sizes]:
        of_data = [one for one in records if one.experiment.dataset == data.name]
        setups = _known(of_data, data.ways, size)
        if {one.way.family for one in setups if one.way.rank == 0} != set(FAMILIES):
            continue
        rivals = {name: _timed(_known(of_data, [way], size), paces, data.metric) for name, way in RIVALS.items()}
        rivals["SetFit"] = _setfit(size) if data is DATA[0] else []
        sentences = size or max(one.seen for one in setups if one.way.fitted)
        made += [
            Case(data=data, size=size, sentences=sentences, budget=budget, setups=setups, rivals=rivals)
            for budget in BUDGETS_S
        ]
    return made


def _known(records: Sequence[RunRecord], ways: Sequence[Way], size: int | None) -> list[Setup]:
    """Setups with all of their seeds."""
    found = setups_of(records, ways, size)
    return [one for one in found if len(one.records) >= SEEDS or not one.records[0].experiment.chance]


def _timed(setups: Sequence[Setup], paces: dict[str, Pace], metric: ChoiceMetric) -> list[Rival]:
    return [Rival(seconds=seconds_of(one, paces), scores=partial(one.scores, metric)) for one in setups]


def _setfit(size: int | None) -> list[Rival]:
    runs = setfit_runs(size)
    if len(runs) < SEEDS:
        return []
    right_SN = np.array([[*one.validation, *one.test] for one in runs], dtype=np.float64)
    return [Rival(seconds=runs[0].train + runs[0].evaluate, scores=lambda rows: right_SN[:, rows])]


def setfit_runs(size: int | None) -> list[SetFitRun]:
    """The runs of `setfit_runs.py` on so many sentences, the least disturbed first."""
    files = sorted((RESULTS / "choosing" / "setfit").glob(f"{size}-*.json"))
    found = [json.loads(file.read_text()) for file in files]
    return [SetFitRun(**one["seconds"], **one["right"]) for one in sorted(found, key=lambda one: float(one["others"]))]


def gains(case: Case, outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """By how much what is chosen is better than the longest run of each rival that fits into the budget.

    The mean over draws; `None` where none fits.
    """
    found: dict[str, float | None] = {}
    for name, several in case.rivals.items():
        able = [one for one in several if one.seconds <= case.budget]
        if several:
            found[name] = fmean(_gain(one, able[-1], case.data.metric) for one in outcomes) if able else None
    return found


def _gain(chosen: Outcome, rival: Rival, metric: ChoiceMetric) -> float:
    return float(chosen.recommended.scores(metric, chosen.test).mean() - rival.scores(chosen.test).mean())
