"""`choose` on recorded runs in place of real ones: hundreds of choices in seconds, and what each of them loses.

A simulated trial scores what a recorded run of its setting scored, the one that saw most nearly as many sentences, and
lasts as long as such runs do. It knows as much of validation as somebody with so many training sentences would have, an
eighth of their number, and takes five times as long where it is compared on folds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rtlab.choosing.costs import Pace, pace_of
from rtlab.choosing.deciding import decide
from rtlab.choosing.folds import ENOUGH, FOLDS, LEAST_TEST
from rtlab.choosing.results import Result, Tried, one_by_one
from rtlab.choosing.search import search
from rtlab.choosing.standing import Standing, by_sentence
from rtlab.choosing.ways import FAMILIES, Extent, Rungs, Way
from rtlab.ending import StoppedError
from rtlab.methods import Adapter, Full, Method, Svm
from rtlab.recipe import ChoiceMetric
from rtlab.records import Predictions, RunRecord
from rtlab.saved_models.calibrating import logits_of
from rtlab.statistics import Interval, paired_difference

SHARE = 1 / 8  # of validation in train: 80 % and 10 %


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A way, trained on so many sentences for so long, as records have it.

    Attributes:
        way: Which.
        seen: Sentences that go through training.
        records: Of its seeds.
    """

    way: Way
    seen: int
    records: tuple[RunRecord, ...]

    def on_test(self, metric: ChoiceMetric) -> NDArray[np.float64]:
        """What each sentence of test scored under each seed, (S, N)."""
        tests = [one.predictions["test"] for one in self.records]
        return by_sentence(tests[0].labels, np.stack([one.classes for one in tests]), metric)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a choice came to.

    Attributes:
        recommended: What it recommends.
        best: The setup with the best mean on test, of all that fit into the budget.
        regret: How much better that is, with its interval over sentences and seeds.
        seconds: What was spent.
    """

    recommended: Setup
    best: Setup
    regret: Interval
    seconds: float


@dataclass(kw_only=True)
class Recorded:
    """Tries ways by looking them up (a `rtlab.choosing.standing.Trying`).

    Attributes:
        setups: What is recorded.
        paces: What a run takes, by what ways of one pace have in common.
        sentences: Training sentences that there are.
        rows: Of the recorded validation split those that are known; then those that stand for what folds of train hold
            out, where there are folds.
        known: How many are known.
        test: Sentences of test, which a run labels as well.
        budget: Seconds.
        first: The seed whose records come first.
        jobs: Trials at once.
        spent: Seconds that were spent.
    """

    setups: Sequence[Setup]
    paces: Mapping[str, Pace]
    sentences: int
    rows: NDArray[np.int64]
    known: int
    test: int
    budget: float
    first: int = 0
    jobs: int = 1
    spent: float = field(default=0.0, init=False)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.budget - self.spent

    @property
    def held_out(self) -> tuple[int, int]:
        """Sentences that ways are compared on: on folds, and of validation alone."""
        return len(self.rows), self.known

    def after(self, way: Way, extent: Extent) -> float:
        """What is compared on folds is trained on all of train at the end."""
        return self.cost_of_one(way, extent.seen) if self._on_folds(extent) else 0.0

    def cost_of_one(self, way: Way, seen: int) -> float:
        """Seconds of a run that is not compared on folds."""
        return self._cost(way, seen, self.known + self.test)

    def cost(self, way: Way, extent: Extent) -> float:
        """Seconds of a trial."""
        if not self._on_folds(extent):
            return self.cost_of_one(way, extent.seen)
        if way.method.reads in ("cls", "mean"):  # features are read once, whatever the number of folds
            return self._cost(way, extent.seen, len(self.rows) - extent.seen + LEAST_TEST)
        return FOLDS * self._cost(way, extent.seen, len(self.rows) / FOLDS + LEAST_TEST)

    def _on_folds(self, extent: Extent) -> bool:
        return extent.folded and self.known < len(self.rows)

    def _cost(self, way: Way, seen: int, held_out: float) -> float:
        pace = self.paces[pace_of(way)]
        return pace.start + seen * pace.sentence + held_out * pace.held_out

    def planned(self, plan: Callable[[], Rungs | None]) -> Rungs | None:
        """A new plan: nothing is killed here."""
        return plan()

    def probe(self, way: Way) -> None:
        """Costs as much as a start."""
        self._spend(self.paces[pace_of(way)].start)

    def run(self, way: Way, extent: Extent, seed: int) -> Result:
        """Look a trial up."""
        seconds = self.cost(way, extent)
        self._spend(seconds)
        setup = nearest(self.setups, way, extent.seen)
        record = setup.records[(seed + self.first) % len(setup.records)]
        said, rows = logits_of(record, "validation"), self.rows if self._on_folds(extent) else self.rows[: self.known]
        return Result(
            experiment=replace(record.experiment, method=way.lasting(extent.epochs), seed=seed),
            extent=extent,
            seconds=seconds,
            held_out=Predictions(labels=said.labels[rows], logits=said.logits[rows]),
            rows=rows,
            records=(record,),
        )

    def run_all(self, ways: Sequence[Way], extent: Extent, seed: int) -> Iterator[tuple[Way, Tried]]:
        """One after another."""
        return one_by_one(self.run, ways, extent, seed)

    def together(self, seconds: Sequence[float], _extent: Extent) -> float:
        """The same."""
        return sum(seconds)

    def _spend(self, seconds: float) -> None:
        if seconds > self.left:
            self.spent = self.budget
            raise StoppedError("the budget was spent")
        self.spent += seconds


def simulate(
    setups: Sequence[Setup],
    paces: Mapping[str, Pace],
    sentences: int,
    *,
    budget: float,
    draw: int,
    margin: float = 0.01,
    metric: ChoiceMetric = "accuracy",
) -> Outcome | None:
    """One choice; `None` if nothing fits into the budget.

    Args:
        setups: What is recorded of these many training sentences.
        paces: What a run takes.
        sentences: Training sentences that there are.
        budget: Seconds.
        draw: Which sentences of validation are known, and which seed comes first.
        margin: Difference that does not count.
        metric: What is compared.
    """
    held_out, test = (len(setups[0].records[0].predictions[split].labels) for split in ("validation", "test"))
    known = min(held_out, max(round(SHARE * sentences), 1))
    pooled = min(held_out, known + sentences) if known < ENOUGH else known  # of folds, train is held out as well
    trying = Recorded(
        setups=setups,
        paces=paces,
        sentences=sentences,
        rows=np.random.default_rng(draw).permutation(held_out)[:pooled],
        known=known,
        test=test,
        budget=budget,
        first=draw,
    )
    standings = [Standing(way=way) for way in ranked(setups)]
    search(standings, trying, metric=metric, margin=margin, seed=0)
    decision = decide(standings, metric, margin)
    if decision is None:
        return None
    last = decision.recommended.largest[0]
    recommended = nearest(setups, decision.recommended.way, last.extent.seen)
    able = [one for one in setups if trying.cost_of_one(one.way, one.seen) <= budget or one is recommended]
    best = max(able, key=lambda one: float(one.on_test(metric).mean()))
    regret = paired_difference(
        best.on_test(metric),
        recommended.on_test(metric),
        a_chance=best.records[0].experiment.chance,
        b_chance=recommended.records[0].experiment.chance,
    )
    return Outcome(recommended=recommended, best=best, regret=regret, seconds=trying.spent)


def setups_of(records: Iterable[RunRecord], sentences: int | None) -> list[Setup]:
    """What is recorded of ways on so many training sentences (`None`: on all), the cheapest first."""
    found: dict[tuple[str, int], list[RunRecord]] = {}
    for record in records:
        if record.status == "ok" and record.counts is not None and record.experiment.train_sentences == sentences:
            found.setdefault((record.experiment.method.setup, record.counts.samples), []).append(record)
    made = []
    for (_, seen), of_seeds in found.items():
        method = of_seeds[0].experiment.method
        if isinstance(method, Full | Adapter):
            method = replace(method, recipe=replace(method.recipe, epochs=1))
        made.append(Setup(way=Way(method.name, method), seen=seen, records=tuple(of_seeds)))
    methods = {one.way.method for one in made}
    made = [one for one in made if _tuned(one.way.method) not in methods - {one.way.method}]
    return sorted(made, key=lambda one: (FAMILIES.index(one.way.family), one.way.name, one.seen))


def _tuned(method: Method) -> Method:
    """An SVM with C tuned, as `choose` tries it; others as they are."""
    return replace(method, c=None) if isinstance(method, Svm) else method


def ranked(setups: Sequence[Setup]) -> list[Way]:
    """The ways of some setups, each once, with their ranks in their families."""
    named = dict.fromkeys(one.way for one in setups)
    families: dict[str, int] = {}
    ways = []
    for way in named:
        rank = families.get(way.family, 0)
        families[way.family] = rank + 1
        ways.append(replace(way, rank=rank))
    return ways


def nearest(setups: Sequence[Setup], way: Way, seen: int) -> Setup:
    """The setup of a way that saw most nearly as many sentences."""
    own = [one for one in setups if one.way.name == way.name]
    return min(own, key=lambda one: abs(math.log(one.seen / seen)))


def paces_of(records: Iterable[RunRecord]) -> dict[str, Pace]:
    """What runs take on a quiet machine: medians; what others took of a disturbed run's time is left out.

    All are of one machine, the one with most runs; only a way that never ran there has its pace from another.
    """
    parts: dict[tuple[str, int], dict[str, list[Pace]]] = {}
    for record in records:
        timing, counts, testbed = record.timing, record.counts, record.testbed
        if record.status != "ok" or timing is None or counts is None or testbed is None:
            continue
        own = 1.0 - (timing.others or 0.0)
        held_out = sum(len(one.labels) for one in record.predictions.values())
        each = timing.seconds / counts.samples
        method = record.experiment.method
        found = Pace(sentence=own * each, held_out=own * timing.evaluate_s / held_out, start=own * timing.load_s)
        of_machine = parts.setdefault((testbed.device, testbed.threads), {})
        of_machine.setdefault(pace_of(Way(method.name, method)), []).append(found)
    paces: dict[str, Pace] = {}
    for of_machine in sorted(parts.values(), key=lambda ways: sum(map(len, ways.values()))):
        for name, every in of_machine.items():
            paces[name] = Pace(
                sentence=median(one.sentence for one in every),
                held_out=median(one.held_out for one in every),
                start=median(one.start for one in every),
            )
    return paces
