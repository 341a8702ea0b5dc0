"""What choices lose, simulated (`simulated.py`) on the records of the study in `choices.py`: a page beside them.

    python bench/regret.py

Regret is how many points of test accuracy, the mean over seeds, the best setup that fits into the budget has more than
the recommended one. Of a size those setups count that have all of their seeds, and sizes of which a family of ways is
missing then are left out.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from altered import FLIPPED, TO_ONE
from choices import ALTERED, RIVALS, SEEDS, SIZES, USUAL, WAYS, lengths
from numpy.typing import NDArray
from simulated import Outcome, Setup, paces_of, seconds_of, setups_of, simulate
from tabulate import tabulate

from rtlab.choosing.costs import Pace
from rtlab.choosing.ways import FAMILIES, Way
from rtlab.recipe import ChoiceMetric
from rtlab.records import RunRecord, load_records
from rtlab.writing import write_whole

RESULTS = Path(__file__).parents[1] / "results"
PAGE = RESULTS / "choosing" / "README.md"
BUDGETS_S = (120.0, 600.0)
DRAWS = 40  # of what is known of validation, a size and a budget
COMPARED = (112, 562, 1066)  # sentences: 100 and 500 with an eighth of them, and validation of all
CLEARLY = 0.02  # of a regret whose interval lies above it
BEGINNING = f"""# What `rtlab choose` recommends, and what that loses

Records of what it tries (`bench/choices.py`), and choices simulated on them (`bench/regret.py` writes this page):
{DRAWS} draws of each number of training sentences, of which validation has an eighth; times are those of a quiet
machine with two cores. Regret is how many points of test accuracy, the mean over seeds, the best setup that fits into
the budget has more than the recommended one: its mean over draws, the largest, and in how many draws its 95 % interval
lies wholly above 2 points. Then what is recommended minus what a person would do instead, the longest of it that fits
into the budget (SetFit: `bench/setfit_runs.py`; –: not recorded). The margin is 1 point, but for the column that names
another."""


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
    Data(name="uneven", said=f"{TO_ONE} negative to 1 positive, by macro-F1", metric="macro-f1"),
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
class _SetFitRun:
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
        sentences: How many there are.
        budget: Seconds.
        setups: What is recorded of what `choose` tries.
        rivals: By its name what is recorded of each, the quickest first.
    """

    data: Data
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
            Case(data=data, sentences=sentences, budget=budget, setups=setups, rivals=rivals) for budget in BUDGETS_S
        ]
    return made


def _known(records: Sequence[RunRecord], ways: Sequence[Way], size: int | None) -> list[Setup]:
    """Setups with all of their seeds."""
    found = setups_of(records, ways, size)
    return [one for one in found if len(one.records) >= SEEDS or not one.records[0].experiment.chance]


def _timed(setups: Sequence[Setup], paces: dict[str, Pace], metric: ChoiceMetric) -> list[Rival]:
    return [Rival(seconds=seconds_of(one, paces), scores=partial(one.scores, metric)) for one in setups]


def _setfit(size: int | None) -> list[Rival]:
    runs = _setfit_runs(size)
    if len(runs) < SEEDS:
        return []
    right_SN = np.array([[*one.validation, *one.test] for one in runs], dtype=np.float64)
    return [Rival(seconds=runs[0].train + runs[0].evaluate, scores=lambda rows: right_SN[:, rows])]


def _setfit_runs(size: int | None) -> list[_SetFitRun]:
    """The runs of `setfit_runs.py` on so many sentences, the least disturbed first."""
    files = sorted((RESULTS / "choosing" / "setfit").glob(f"{size}-*.json"))
    found = [json.loads(file.read_text()) for file in files]
    return [_SetFitRun(**one["seconds"], **one["right"]) for one in sorted(found, key=lambda one: float(one["others"]))]


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


def table(found: Sequence[Case], paces: dict[str, Pace]) -> str:
    """A row a case, in Markdown; points on test."""
    rows = []
    for case in found:
        outcomes, without = case.choices(paces, 0.01), case.choices(paces, 0.0)
        recommended = Counter(one.recommended.way.family for one in outcomes)
        regrets = [one.regret.value for one in outcomes]
        rows.append(
            {
                "data": case.data.said,
                "sentences": f"{case.sentences:,}",
                "budget (min)": f"{case.budget / 60:.0f}",
                "recommended": ", ".join(f"{family} {number}" for family, number in recommended.most_common()),
                "regret": f"{100 * fmean(regrets):.2f}",
                "at most": f"{100 * max(regrets):.2f}",
                "wholly above 2": str(sum(one.regret.low > CLEARLY for one in outcomes)),
                "regret, margin 0": f"{100 * fmean(one.regret.value for one in without):.2f}",
                **{f"minus {name}": _said(gains(case, outcomes), name) for name in case.rivals},
            }
        )
    sides = ["left", "right", "right", "left", *["right"] * (len(rows[0]) - 4)] if rows else None
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=sides)


def _said(found: dict[str, float | None], name: str) -> str:
    if name not in found:
        return "–"
    gain = found[name]
    return "takes longer" if gain is None else f"{100 * gain:+.2f}"


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


def distances(records: Sequence[RunRecord], draws: int = DRAWS) -> list[Distance]:
    """For each number of sentences on which ways are compared that are trained on so many, and for a smaller one."""
    found = []
    for data, size in [(one, size) for one in DATA for size in one.sizes]:
        setups = _known([one for one in records if one.experiment.dataset == data.name], data.ways, size)
        longest = list({one.way.name: one for one in setups}.values())
        for compared in COMPARED:
            if longest and 2 * compared <= len(longest[0].held_out[0].labels):
                of_draws = [_off(longest, data.metric, compared, draw) for draw in range(draws)]
                scored, estimated = np.sqrt(np.mean(of_draws, axis=0))
                found.append(Distance(data=data, trained=size, compared=compared, scored=scored, estimated=estimated))
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


def distance_table(found: Sequence[Distance]) -> str:
    """A row each, in Markdown; points."""
    rows = [
        {
            "data": one.data.said,
            "trained on": "all" if one.trained is None else f"{one.trained:,}",
            "compared on": f"{one.compared:,}",
            "by the score": f"{100 * one.scored:.2f}",
            "by the estimate": f"{100 * one.estimated:.2f}",
        }
        for one in found
    ]
    sides = ["left", *["right"] * 4] if rows else None
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=sides)


def on_pairs(records: Sequence[RunRecord], size: int) -> str:
    """What both ways of training on pairs come to on so many sentences, and their training times least disturbed."""
    way = next(way for way in WAYS if way.family == "contrastive")
    longest = way.lasting(lengths(way, size)[-1])
    ours = [one for one in records if one.experiment.train_sentences == size and one.experiment.method == longest]
    theirs = _setfit_runs(size)
    timed = min((one.timing for one in ours if one.timing is not None), key=lambda timing: timing.others or 0.0)
    accuracy = fmean(one.scores["test"].accuracy for one in ours)
    of_setfit = fmean(fmean(one.test) for one in theirs)
    return (
        f"On {size} sentences, the mean over {len(ours)} seeds: contrastive fine-tuning has a test accuracy of "
        f"{accuracy:.4f} after {timed.seconds:.1f} s of training, SetFit one of {of_setfit:.4f} after "
        f"{theirs[0].train:.1f} s."
    )


def page(records: Sequence[RunRecord], paces: dict[str, Pace], near: Sequence[Distance]) -> str:
    """The README of the records of what `choose` tries."""
    return f"""{BEGINNING}

{table(cases(records, paces), paces)}

{on_pairs(records, SIZES[0])}

## What ways are compared by

How far the difference of two ways on some held-out sentences is from that on all of them, in points: the root of the
mean square over all pairs of ways and {DRAWS} draws. By what was scored alone, and by the estimate that `choose` makes
of it and of how probable each label is (`rtlab/choosing/expecting.py`).

{distance_table(near)}
"""


if __name__ == "__main__":
    runs, taken = recorded()
    write_whole(PAGE, page(runs, taken, distances(runs)))
