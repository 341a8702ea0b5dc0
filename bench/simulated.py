"""`choose` on recorded runs in place of real ones: hundreds of choices in seconds, and what each of them loses.

A simulated trial scores what a recorded run of its setting scored, the one that saw most nearly as many sentences, and
lasts as long as such runs do. It knows as much of validation as somebody with so many training sentences would have, an
eighth of their number, and as much longer as it is compared on more folds.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rtlab.choosing.costs import Pace, pace_of
from rtlab.choosing.deciding import decide
from rtlab.choosing.expecting import estimate, expected_score, probabilities_of
from rtlab.choosing.folds import ENOUGH, FOLDS, LEAST_TEST
from rtlab.choosing.results import Result, Tried, one_by_one
from rtlab.choosing.search import search
from rtlab.choosing.standing import Standing, by_sentence
from rtlab.choosing.ways import Extent, Rungs, Way
from rtlab.ending import StoppedError
from rtlab.methods import Contrastive, Method, Svm
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

    @cached_property
    def held_out(self) -> tuple[Predictions, ...]:
        """Of each seed labels and logits of validation and test, joined, (N,) and (N, C): training knows neither."""
        every = [[logits_of(record, split) for split in ("validation", "test")] for record in self.records]
        return tuple(
            Predictions(
                labels=np.concatenate([one.labels for one in both]), logits=np.concatenate([one.logits for one in both])
            )
            for both in every
        )

    def scores(self, metric: ChoiceMetric, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What some of these sentences scored under each seed, (S, N)."""
        classes_SN = np.stack([one.classes[rows] for one in self.held_out])
        return by_sentence(self.held_out[0].labels[rows], classes_SN, metric)

    def estimated(self, metric: ChoiceMetric, number: int, rows: NDArray[np.int64]) -> float:
        """What `choose` makes of what one seed scored on some of these sentences."""
        said = self.held_out[number]
        part = Predictions(labels=said.labels[rows], logits=said.logits[rows])
        score = float(by_sentence(part.labels, part.classes[None], metric).mean())
        return estimate(score, expected_score(part.labels, part.classes, probabilities_of(part), metric), len(rows))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a choice came to.

    Attributes:
        recommended: What it recommends.
        test: Sentences at which the choice did not look, by where they stand in what is held out.
        regret: How much better the setup is that has the best mean on them of all that fit into the budget, with its
            interval over sentences and seeds.
        seconds: What was spent.
    """

    recommended: Setup
    test: NDArray[np.int64]
    regret: Interval
    seconds: float


@dataclass(kw_only=True)
class Recorded:
    """Tries ways by looking them up (a `rtlab.choosing.standing.Trying`).

    Attributes:
        setups: What is recorded.
        paces: What a run takes, by what ways of one pace have in common.
        sentences: Training sentences that there are.
        rows: Of what records hold out the sentences that are known; then those that stand for what folds of train hold
            out, where there are folds.
        labels: Of these, as whoever chooses has them.
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
    labels: NDArray[np.int32]
    known: int
    test: int
    budget: float
    first: int = 0
    jobs: int = 1
    sample: int = 2_000
    spent: float = field(default=0.0, init=False)
    _read: bool = field(default=False, init=False)  # whether features of the sentences are known

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.budget - self.spent

    @property
    def held_out(self) -> tuple[int, ...]:
        """Sentences that ways are compared on: of validation alone, then on one fold, on two and so on."""
        if self.known == len(self.rows):
            return (self.known,)
        each = (self.known + self.sentences) / FOLDS  # of more than are recorded, those that are
        return (self.known, *(min(len(self.rows), round(folds * each)) for folds in range(1, FOLDS + 1)))

    def _on(self, extent: Extent) -> int:
        """On how many folds a trial is done; 0 for validation alone."""
        most = len(self.held_out) - 1
        return most if extent.folds is None else min(most, extent.folds)

    def after(self, way: Way, extent: Extent) -> float:
        """What is compared on folds is trained on all of train at the end."""
        return self.cost(way, replace(extent, folds=0)) if self._on(extent) else 0.0

    def cost(self, way: Way, extent: Extent, _seed: int = 0) -> float:
        """Seconds of a trial; features are read once, whatever the number of folds and of ways that read them."""
        pace, folds = self.paces[pace_of(way)], self._on(extent)
        held_out = (self.known + self.sentences + folds * LEAST_TEST) if folds else self.known + self.test
        seen = extent.sentences * way.passes(extent.epochs)
        if isinstance(way.method, Svm):
            fitted = max(1, folds) * seen * max(0.0, pace.sentence - pace.held_out)
            return fitted if self._read else fitted + pace.start + (seen + held_out) * pace.held_out
        again = extent.sentences if way.reads_again else 0
        return max(1, folds) * (pace.start + seen * pace.sentence + again * pace.held_out) + held_out * pace.held_out

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
        self._read = self._read or isinstance(way.method, Svm)
        setup = nearest(self.setups, way, extent)
        number = (seed + self.first) % len(setup.records)
        record, many = setup.records[number], self.held_out[self._on(extent)]
        rows = self.rows[:many]
        return Result(
            experiment=replace(record.experiment, method=way.lasting(extent.epochs), seed=seed),
            extent=extent,
            seconds=seconds,
            held_out=Predictions(labels=self.labels[:many], logits=setup.held_out[number].logits[rows]),
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
    flipped: float = 0.0,
) -> Outcome | None:
    """One choice; `None` if nothing fits into the budget.

    Half of what records hold out is test, drawn anew for each: nobody looks at it before the choice is made.

    Args:
        setups: What is recorded of these many training sentences.
        paces: What a run takes.
        sentences: Training sentences that there are.
        budget: Seconds.
        draw: Which sentences are known, and which seed comes first.
        margin: Difference that does not count.
        metric: What is compared.
        flipped: Share of labels of train that are wrong, of two classes; folds of it hold them out as they are.
    """
    random, true = np.random.default_rng(draw), setups[0].held_out[0].labels
    rows = random.permutation(len(true))
    most = len(rows) // 2
    known = min(most, max(round(SHARE * sentences), 1))
    pooled = min(most, known + sentences) if known < ENOUGH else known  # of folds, train is held out as well
    test, labels = rows[most:], true[rows[:pooled]]
    wrong = known + np.flatnonzero(random.random(pooled - known) < flipped)
    labels[wrong] = 1 - labels[wrong]
    trying = Recorded(
        setups=setups,
        paces=paces,
        sentences=sentences,
        rows=rows[:pooled],
        labels=labels,
        known=known,
        test=len(test),
        budget=budget,
        first=draw,
    )
    standings = [Standing(way=way) for way in dict.fromkeys(one.way for one in setups)]
    search(standings, trying, metric=metric, margin=margin, seed=0)
    decision = decide(standings, metric, margin)
    if decision is None:
        return None
    last = decision.recommended.largest[0]
    recommended = nearest(setups, decision.recommended.way, last.extent)
    able = [one for one in setups if seconds_of(one, paces) <= budget or one is recommended]
    best = max(able, key=lambda one: float(one.scores(metric, test).mean()))
    regret = paired_difference(
        best.scores(metric, test),
        recommended.scores(metric, test),
        a_chance=best.records[0].experiment.chance,
        b_chance=recommended.records[0].experiment.chance,
    )
    return Outcome(recommended=recommended, test=test, regret=regret, seconds=trying.spent)


def setups_of(records: Iterable[RunRecord], ways: Sequence[Way], sentences: int | None) -> list[Setup]:
    """What is recorded of ways on so many training sentences (`None`: on all), in their order, the shortest first."""
    of_size = [one for one in records if one.experiment.train_sentences == sentences]
    found: dict[tuple[Way, int], list[RunRecord]] = {}
    for way in ways:
        for record in of_size:
            if way.method == _of_one_epoch(record.experiment.method):
                assert record.counts is not None, "a run with a result has them"
                found.setdefault((way, record.counts.samples), []).append(record)
    made = [Setup(way=way, seen=seen, records=tuple(of_seeds)) for (way, seen), of_seeds in found.items()]
    return sorted(made, key=lambda one: (ways.index(one.way), one.seen))


def _of_one_epoch(method: Method) -> Method:
    """A method as a way has it."""
    return method if method.recipe is None else replace(method, recipe=replace(method.recipe, epochs=1))


def seconds_of(setup: Setup, paces: Mapping[str, Pace]) -> float:
    """What a run of a setup takes, with labelling all that its records hold out."""
    pace, record = paces[pace_of(setup.way)], setup.records[0]
    held_out = sum(len(one.labels) for one in record.predictions.values()) + _read_again(record)
    return pace.start + setup.seen * pace.sentence + held_out * pace.held_out


def _read_again(record: RunRecord) -> float:
    """Training sentences that are read once more when training is over."""
    method, counts = record.experiment.method, record.counts
    assert counts is not None, "a run with a result has them"
    return counts.samples / method.recipe.epochs if isinstance(method, Contrastive) else 0.0


def nearest(setups: Sequence[Setup], way: Way, extent: Extent) -> Setup:
    """The setup of a way that saw most nearly as many sentences as a trial."""
    own, seen = [one for one in setups if one.way.name == way.name], extent.sentences * way.passes(extent.epochs)
    return min(own, key=lambda one: abs(math.log(one.seen / seen)))


def paces_of(records: Iterable[RunRecord]) -> dict[str, Pace]:
    """What runs take on a quiet machine: medians; what others took of a disturbed run's time is left out.

    All are of one machine, the one with most undisturbed runs; only a way that never ran there has its pace from
    another.
    """
    parts: dict[tuple[str, int], dict[str, list[Pace]]] = {}
    undisturbed: Counter[tuple[str, int]] = Counter()
    for record in records:
        timing, counts, testbed, method = record.timing, record.counts, record.testbed, record.experiment.method
        if record.status != "ok" or timing is None or counts is None or testbed is None:
            continue
        if method.recipe is not None and (method.recipe.engine, method.recipe.padding) != ("native", "packed"):
            continue
        own = 1.0 - (timing.others or 0.0)
        held_out = sum(len(one.labels) for one in record.predictions.values())
        each = timing.evaluate_s / held_out
        sentence = (timing.seconds - each * _read_again(record)) / counts.samples
        found = Pace(sentence=own * sentence, held_out=own * each, start=own * timing.load_s)
        machine = testbed.device, testbed.threads
        undisturbed[machine] += record.undisturbed
        parts.setdefault(machine, {}).setdefault(pace_of(Way(method.name, method)), []).append(found)
    paces: dict[str, Pace] = {}
    for machine in sorted(parts, key=lambda machine: undisturbed[machine]):
        for name, every in parts[machine].items():
            paces[name] = Pace(
                sentence=median(one.sentence for one in every),
                held_out=median(one.held_out for one in every),
                start=median(one.start for one in every),
            )
    return paces
