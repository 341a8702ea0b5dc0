"""What a trial takes, told before it is begun: by a few timed steps, then by what trials of its pace took."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rtlab.choosing.folds import Part
from rtlab.choosing.question import Question
from rtlab.choosing.results import Result
from rtlab.choosing.ways import Extent, Way
from rtlab.methods import Method
from rtlab.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that a way takes.

    Attributes:
        sentence: For a sentence to go through training once; of a way that is fitted, for one to go through all.
        held_out: For one to be labelled, by a way that is trained in steps.
        start: For the rest of a run.
    """

    sentence: float
    held_out: float = 0.0
    start: float = 0.0


class Costs:
    """What trials of one question take, as far as that is known."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._paces: dict[str, Pace] = {}

    def know(self, way: Way) -> bool:
        """Whether anything is known of ways of its pace."""
        return pace_of(way) in self._paces

    def set(self, way: Way, pace: Pace) -> None:
        """From now on that is the pace of a way, and of all of the same."""
        self._paces[pace_of(way)] = pace

    def learn(self, way: Way, found: Result) -> None:
        """The pace of a way is that of a trial from now on."""
        if way.fitted:
            parts = self._question.parts(found.extent)
            self.set(way, Pace(sentence=found.seconds / self._fitted_on(way, found.extent.sentences, parts)))
        else:
            self._learn_steps(way, found.records, found.seconds)

    def recall(self, way: Way, record: RunRecord) -> None:
        """The pace of a way is that of a run which an earlier process recorded."""
        assert record.timing is not None, "it came to a result"
        seconds = record.timing.total
        if way.fitted:
            assert record.counts is not None, "likewise"
            self.set(way, Pace(sentence=seconds / (record.counts.samples + _held_out([record]))))
        else:
            self._learn_steps(way, [record], seconds)

    def _learn_steps(self, way: Way, runs: Sequence[RunRecord], seconds: float) -> None:
        """The pace of a way that is trained in steps is that of some runs, which took so many seconds together."""
        recipe = runs[0].experiment.method.recipe
        assert recipe is not None, "what is trained in steps has one"
        timings = [record.timing for record in runs if record.timing is not None]
        samples = sum(record.counts.samples for record in runs if record.counts is not None)
        trained, evaluated = sum(one.seconds for one in timings), sum(one.evaluate_s for one in timings)
        rest = max(0.0, seconds - trained - evaluated) / len(runs)
        each = evaluated / _held_out(runs)
        again = each * samples / recipe.epochs if way.reads_again else 0.0
        self.set(way, Pace(sentence=max(0.0, trained - again) / samples, held_out=each, start=rest))

    def of(self, way: Way, extent: Extent, parts: Sequence[Part]) -> float | None:
        """About how many seconds a trial on some data sets takes; `None` if nothing is known yet."""
        pace = self._paces.get(pace_of(way))
        if pace is None:
            return None
        if way.fitted:
            return len(parts) * pace.start + self._fitted_on(way, extent.sentences, parts) * pace.sentence
        seconds = 0.0
        for part in parts:
            trained = self._question.trained_on(extent.sentences, part)
            read = len(part.splits.validation) + len(part.splits.test) + (trained if way.reads_again else 0)
            seconds += pace.start + trained * way.passes(extent.epochs) * pace.sentence + read * pace.held_out
        return seconds

    def _fitted_on(self, way: Way, sentences: int, parts: Sequence[Part]) -> int:
        """Sentences that a way which is fitted goes through; features are read once, whatever the number of folds."""
        held_out = [len(part.splits.validation) + len(part.splits.test) for part in parts]
        of_each = [self._question.trained_on(sentences, part) + its for part, its in zip(parts, held_out, strict=True)]
        if way.method.reads is None:
            return sum(of_each)
        return min(sum(of_each), len(parts[0].splits.train) + held_out[0])  # the same in all of several folds


def pace_of(way: Way) -> str:
    """What ways of the same pace have in common."""
    return way.name if way.fitted else way.family


def paced_alike(way: Way, method: Method) -> bool:
    """Whether a method that was run is of a way's pace: the same one, or trained in steps at another rate."""
    return method == way.method if way.fitted else type(method) is type(way.method)


def _held_out(runs: Iterable[RunRecord]) -> int:
    return sum(len(record.predictions[split].labels) for record in runs for split in record.predictions)
