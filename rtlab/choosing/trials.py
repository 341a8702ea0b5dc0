"""Trials: runs of a way on so many sentences, each recorded."""

import contextlib
import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from rtlab.choosing.at_once import at_once, room_for, soonest
from rtlab.choosing.budget import SPENT, Budget
from rtlab.choosing.costs import Costs, Pace, paced_alike
from rtlab.choosing.folds import FOLDS, Part
from rtlab.choosing.places import keep_time, planned
from rtlab.choosing.question import Question
from rtlab.choosing.results import FailedError, Result, Tried, one_by_one
from rtlab.choosing.ways import Extent, Rungs, Way
from rtlab.data import Splits
from rtlab.encoders import Encoder
from rtlab.ending import StoppedError
from rtlab.engines.engine import Progress
from rtlab.engines.features import KnownFeatures
from rtlab.experiment import Experiment
from rtlab.preparing import Checks, Prepared, prepare
from rtlab.records import Predictions, RunRecord, load_records
from rtlab.running import Run, RunFailedError, model_folder

SAMPLE, SAMPLE_CHARACTERS = 2_000, 500_000  # of a first trial of words, where there are many more: a second or so
PROBED = 96  # sentences, at most, of a probe
PROBE_STEPS = 6
WARM_UP = 2  # steps of a probe that are not timed
REST_S = 1.0  # of a run that is trained in steps, beside what a probe times: its record, the last of its checks


@dataclass(kw_only=True)
class Trials:
    """Runs trials of one question, within a budget.

    Attributes:
        question: What is asked about.
        budget: The time that is left.
        folder: Where records and models go; what it holds of an earlier process is not run again.
        save_models: Whether models are saved.
        refit: Whether what is recommended is trained once more.
        kept_back: Seconds that the search leaves for what comes after it.
        jobs: How many runs there may be at once.
        progress: Called as by a run.
        begun: Called with each trial that is begun, in a line.
        unsaved: Whether a model is here that could not be put where it was asked for, and still may be.
    """

    question: Question
    budget: Budget
    folder: Path
    save_models: bool
    refit: bool = False
    kept_back: float = 0.0
    jobs: int = 1
    progress: Progress = lambda *_: None
    begun: Callable[[str], None] = lambda _: None
    unsaved: bool = False
    _checks: Checks = field(default_factory=Checks.remembered)
    _features: KnownFeatures = field(default_factory=KnownFeatures)
    _died: dict[str, str] = field(default_factory=dict)  # of each run that a process of its own could not do, why
    _models: dict[str, Result] = field(default_factory=dict)  # of each way the largest trial whose model is there

    @cached_property
    def _costs(self) -> Costs:
        return Costs(self.question)

    @cached_property
    def _known(self) -> dict[str, RunRecord]:
        return {record.id: record for record in self._recorded if record.status == "ok"}

    @cached_property
    def _recorded(self) -> tuple[RunRecord, ...]:
        return load_records(self.folder / "records").records

    @property
    def sentences(self) -> int:
        """Training sentences that there are."""
        return self.question.sentences

    @cached_property
    def sample(self) -> int:
        """Sentences of a first trial of words: of long ones fewer, but for some of each class and fold."""
        splits = self.question.folds[0].splits
        characters = sum(map(len, splits.train.texts)) / len(splits.train)
        return min(SAMPLE, max(4 * FOLDS, 4 * splits.num_labels, int(SAMPLE_CHARACTERS / characters)))

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.budget.left - self.kept_back

    @property
    def held_out(self) -> tuple[int, ...]:
        """Sentences that ways are compared on: of validation alone, then of one fold, of two, and so on, if any."""
        folds = [len(fold.rows) for fold in self.question.folds]
        return (len(self.question.whole.rows), *(itertools.accumulate(folds) if len(folds) > 1 else ()))

    def after(self, way: Way, extent: Extent) -> float:
        """Seconds that are needed after the search if that is recommended: for all of train, and to refit."""
        seconds = 0.0
        if self.question.folded(extent):
            seconds += self._costs.of(way, extent, (self.question.whole,)) or 0.0
        if self.refit:
            seconds += self._costs.of(way, extent, (self.question.refitted,)) or 0.0
        return seconds

    def cost(self, way: Way, extent: Extent, seed: int) -> float | None:
        """About how many seconds a trial takes, 0 of what is recorded; `None` if nothing is known yet."""
        to_do = [part for part in self.question.parts(extent) if not self._is_recorded(way, extent, seed, part)]
        return self._costs.of(way, extent, to_do) if to_do else 0.0

    def cost_on(self, way: Way, parts: Sequence[Part]) -> float | None:
        """The same of a trial on other data sets."""
        return self._costs.of(way, Extent(max(len(part.splits.train) for part in parts)), parts)

    def _is_recorded(self, way: Way, extent: Extent, seed: int, part: Part) -> bool:
        """Whether there is a record of a trial's run on one of its data sets."""
        asked = way.lasting(extent.epochs), seed, self._drawn(extent, part)
        return any(
            (there.method, there.seed, there.train_sentences) == asked and record.dataset.sha256 == part.splits.sha256
            for record in self._known.values()
            for there in (record.experiment,)
        )

    def planned(self, plan: Callable[[], Rungs | None]) -> Rungs | None:
        """The plan that a process made before it was killed, else a new one."""
        return planned(self.folder, plan)

    def probe(self, way: Way) -> None:
        """Time a few steps of a way, or a few sentences, for `cost`.

        Raises:
            FailedError: If it cannot be done.
            StoppedError: If the budget is spent.
        """
        if self._costs.know(way):
            return
        for record in self._known.values():
            if paced_alike(way, record.experiment.method) and not self._done_beside(way, record):
                self._costs.recall(way, record)
                return
        whole = self.question.folds[0].splits
        small = whole.limited(max(PROBED, 2 * whole.num_labels))
        method, features = way.method, None
        if method.reads is not None and self._features.know(whole.train.texts, method.reads):
            features = self._features  # a trial would not read them either
        if method.recipe is not None:
            method = replace(method, recipe=replace(method.recipe, max_steps=PROBE_STEPS, epochs=PROBE_STEPS))
        marks: list[float] = []

        def mark(phase: str, _done: int, _total: int) -> None:
            self.budget.check()
            if phase == "training":
                marks.append(time.perf_counter())

        with self._failing():
            run = Run(
                replace(self.question.usual, method=method),
                output_dir=self.folder,
                progress=mark,
                prepared=self._prepared(replace(self.question.usual, method=method), small, features),
            )
            start = time.perf_counter()
            run.build()
            built = time.perf_counter()
            run.train()
            trained = time.perf_counter()
        if len(marks) > WARM_UP + 1:
            batch = 1 if method.recipe is None else min(len(small.train), method.recipe.batch_size)
            each = (marks[-1] - marks[WARM_UP]) / (len(marks) - 1 - WARM_UP) / batch
            self._costs.set(way, Pace(sentence=each, held_out=each / 2, start=built - start + REST_S))
        else:
            each = (trained - built) / len(small.train)
            self._costs.set(way, Pace(sentence=each, start=built - start))

    def run(self, way: Way, extent: Extent, seed: int) -> Result:
        """Try a way.

        Args:
            way: Which.
            extent: How much; sentences are drawn by the seed where that is not all of them.
            seed: Of the run.

        Raises:
            FailedError: If it ended without a result.
            StoppedError: If the budget was spent meanwhile.
        """
        return self._try(way, extent, seed)

    def _try(self, way: Way, extent: Extent, seed: int, *, said: bool = False) -> Result:
        kept, parts = self._models.get(way.name), self.question.parts(extent)
        found = self._run(way, extent, seed, parts, save=self._is_to_save(way, extent), said=said)
        if found.model is not None:
            if kept is not None and kept.model is not None:
                shutil.rmtree(kept.model, ignore_errors=True)
            self._models[way.name] = found
        if not found.beside:
            self._costs.learn(way, found)
        return found

    def _is_to_save(self, way: Way, extent: Extent) -> bool:
        """Whether the model of a trial is kept: of folds none is handed over, and of seeds the first will do."""
        kept = self._models.get(way.name)
        larger = kept is None or extent.seen > kept.extent.seen
        return self.save_models and not self.question.folded(extent) and larger

    def run_all(self, ways: Sequence[Way], extent: Extent, seed: int) -> Iterator[tuple[Way, Tried]]:
        """Try several ways, at once where they end sooner so; each with what it came to, as soon as that is known."""
        number = 1
        if self.jobs > 1 and not any(way.fitted for way in ways):
            number, _ = self._soonest([self.cost(way, extent, seed) or 0.0 for way in ways], extent)
        runs = self._to_do(ways, extent, seed) if number > 1 else {}
        every = [one for of_way in runs.values() for one in of_way]
        number = room_for(every, self._recorded, number, self.question.device) if len(every) > 1 else 1
        if number > 1:
            yield from self._run_at_once(runs, extent, seed, number)
        else:
            yield from one_by_one(self.run, ways, extent, seed)

    def _run_at_once(
        self, runs: Mapping[Way, Sequence[Prepared]], extent: Extent, seed: int, number: int
    ) -> Iterator[tuple[Way, Tried]]:
        """Each run in a process of its own; a trial is put together once all of its runs have ended."""
        for way in runs:
            self._say(way, extent, seed, self.question.parts(extent))
        every = [one for of_way in runs.values() for one in of_way]
        waiting = {way: {one.id for one in of_way} for way, of_way in runs.items()}
        put_together = partial(self._try, said=True)
        yield from one_by_one(put_together, [way for way in runs if not waiting[way]], extent, seed)
        ended = at_once(
            every,
            number,
            folder=self.folder,
            device=self.question.device,
            records=self._recorded,
            save={one.id for way in runs for one in runs[way] if self._is_to_save(way, extent)},
            seconds=self.budget.patience,
        )
        stopped: FailedError | StoppedError = StoppedError(SPENT)
        try:
            with self._failing(), contextlib.closing(ended):
                for done, (run, found) in enumerate(ended, start=1):
                    if isinstance(found, str):
                        if self.budget.patience <= 0:  # that is why
                            break
                        self._died[run] = found
                    else:
                        self._known[run] = found
                    self.progress(f"{number} at once, {self._left_in_words()}: runs", done, len(every))
                    way = next(way for way in runs if run in waiting[way])
                    waiting[way].remove(run)
                    if not waiting[way]:
                        yield from one_by_one(put_together, [way], extent, seed)
                    if self.budget.patience <= 0:
                        break
        except FailedError as error:  # of the disk, such as that it is full
            stopped = error
        yield from ((way, stopped) for way in runs if waiting[way])

    def _to_do(self, ways: Sequence[Way], extent: Extent, seed: int) -> dict[Way, list[Prepared]]:
        """Of each way the runs that have no record; none of one that cannot be done, as trying it will say."""
        parts = self.question.parts(extent)
        found: dict[Way, list[Prepared]] = {}
        for way in ways:
            found[way] = []
            with contextlib.suppress(FailedError), self._failing():
                every = [self._prepared(self._experiment(way, extent, seed, part), part.splits, None) for part in parts]
                found[way] = [one for one in every if one.id not in self._known]
        return found

    def together(self, seconds: Sequence[float], extent: Extent) -> float:
        """Seconds until trials have ended that take so many alone, done as `run_all` does them."""
        return self._soonest(seconds, extent)[1]

    def _soonest(self, seconds: Sequence[float], extent: Extent) -> tuple[int, float]:
        if self.jobs == 1:
            return 1, sum(seconds)
        parts = len(self.question.parts(extent))
        runs = [one / parts for one in seconds for _ in range(parts)]
        return soonest(runs, self.jobs, self.question.device)

    def run_whole(self, way: Way, compared: Result) -> Result:
        """Train a way on the data set as it is, where it was compared on folds; raises as `run`."""
        return self._run(way, compared.extent, compared.experiment.seed, (self.question.whole,))

    def run_on(self, way: Way, parts: Sequence[Part], *, seed: int) -> Result:
        """Fit a way on other data sets; raises as `run`."""
        most = Extent(max(len(part.splits.train) for part in parts))
        return self._run(way, most, seed, parts, save=False)

    def train_again(self, way: Way, found: Result, *, with_validation: bool) -> Path:
        """Train once more what was found, on train alone or with validation, and give the model's folder.

        Raises:
            FailedError: If it ended without a result, or its model could not be saved.
            StoppedError: If the budget was spent meanwhile.
        """
        part = self.question.refitted if with_validation else self.question.whole
        again = self._run(way, found.extent, found.experiment.seed, (part,), needed=True)
        if again.model is None:
            raise FailedError(again.records[0].error or "its model is gone")
        return again.model

    def _run(
        self,
        way: Way,
        extent: Extent,
        seed: int,
        parts: Sequence[Part],
        *,
        save: bool = True,
        needed: bool = False,
        said: bool = False,
    ) -> Result:
        """A trial on each of some data sets, but for what is recorded; if a model is `needed`, where that is there.

        One that was `said` to be begun has ended: nothing of it is run.
        """
        if not said:
            if needed or not all(self._is_recorded(way, extent, seed, part) for part in parts):
                self.budget.check()
            self._say(way, extent, seed, parts)
        start, model, known_s, beside = time.perf_counter(), None, 0.0, False
        records: list[RunRecord] = []
        folded = self.question.number_of_folds(parts) > 0
        save = save and self.save_models and not folded  # of folds no model is handed over
        for part in parts:
            one = self._experiment(way, extent, seed, part)
            with self._failing():
                prepared = self._prepared(one, part.splits, self._features)
                if prepared.id in self._died:
                    raise FailedError(self._died[prepared.id])
                record = self._known.get(prepared.id)
                spent = known_s + time.perf_counter() - start
                if record is None and self._ends_early(way, extent, len(records), len(parts), spent):
                    break
                if record is None or (needed and not model_folder(self.folder, record).exists()):
                    record = Run(
                        one,
                        output_dir=self.folder,
                        save_model=save,
                        prepared=prepared,
                        progress=self._progress_of(way),
                    ).execute()
                    self._known[prepared.id] = record  # fewer passes of a way than of others may be as many again
                elif record.timing is not None:
                    known_s += record.timing.total
                    beside = beside or self._done_beside(way, record)
            records.append(record)
            folder = model_folder(self.folder, record)
            model = folder if save and record.error is None and folder.exists() else None
        parts = parts[: len(records)]
        held_out = [record.predictions["validation"] for record in records]
        self.budget.begun()
        keep_time(self.folder, self.budget.spent)
        return Result(
            experiment=replace(
                self.question.usual,
                method=way.lasting(extent.epochs),
                seed=seed,
                train_sentences=extent.sentences if extent.sentences < self.sentences else None,
            ),
            extent=replace(extent, folds=len(parts)) if folded and not way.fitted else extent,
            seconds=known_s + time.perf_counter() - start,
            held_out=Predictions(
                labels=np.concatenate([one.labels for one in held_out]),
                logits=np.concatenate([one.logits for one in held_out if isinstance(one, Predictions)]),
            ),
            rows=np.concatenate([part.rows for part in parts]),
            records=tuple(records),
            model=model,
            beside=beside,
        )

    def _done_beside(self, way: Way, record: RunRecord) -> bool:
        """Whether other runs were done beside one."""
        return self.jobs > 1 and not way.fitted and not record.undisturbed

    def _ends_early(self, way: Way, extent: Extent, done: int, of: int, seconds: float) -> bool:
        """Whether there is no time for another fold and what comes after, and those that are done are enough.

        Args:
            way: What is tried.
            extent: How much.
            done: Folds that are done.
            of: How many there are to do; 1 of the data set as it is.
            seconds: That they took.
        """
        if way.fitted or of == 1 or not done:
            return False
        each = seconds / done
        return self.left < each + max(each, self.after(way, extent))

    def _say(self, way: Way, extent: Extent, seed: int, parts: Sequence[Part]) -> None:
        """Say that a trial is begun."""
        most = max(self.question.trained_on(extent.sentences, part) for part in parts)
        folds = self.question.number_of_folds(parts)
        self.begun(
            f"{way.name}: {_in_words(way, most, way.passes(extent.epochs), seed, folds)}; {self._left_in_words()}"
        )

    def _experiment(self, way: Way, extent: Extent, seed: int, part: Part) -> Experiment:
        """What is run of a trial on one of its data sets; train joined with validation may be more than the limit."""
        limit = self.question.usual.limit
        return replace(
            self.question.usual,
            method=way.lasting(extent.epochs),
            seed=seed,
            limit=None if limit is not None and limit < len(part.splits.train) else limit,
            train_sentences=self._drawn(extent, part),
        )

    def _drawn(self, extent: Extent, part: Part) -> int | None:
        """How many training sentences of a data set a trial draws; `None` for all."""
        drawn = self.question.trained_on(extent.sentences, part)
        return drawn if drawn < len(part.splits.train) else None

    def _prepared(self, experiment: Experiment, splits: Splits, features: KnownFeatures | None) -> Prepared:
        encoder = self.question.encoder
        prepared = prepare(
            experiment,
            device=self.question.device,
            load_splits=lambda *_, **__: splits,
            load_encoder=lambda _: _there(encoder),
            checks=self._checks,
        )
        return replace(prepared, features=features)

    def _progress_of(self, way: Way) -> Progress:
        """What a trial reports: which way it is, and what was left of the budget when it began."""
        left = f"{way.name}, {self._left_in_words()}"

        def update(phase: str, done: int, total: int) -> None:
            self.budget.check()
            self.progress(f"{left}: {phase}", done, total)

        return update

    def _left_in_words(self) -> str:
        return f"{max(0.0, self.left) / 60:.1f} min left"

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn the ends of a run into those of a trial."""
        try:
            yield
        except RunFailedError as error:
            if isinstance(error.__cause__, StoppedError):
                raise error.__cause__ from None
            raise FailedError(error.record.error or error.record.status) from error
        except (ValueError, MemoryError, OSError) as error:
            raise FailedError("; ".join([str(error), *getattr(error, "__notes__", ())])) from error


def _in_words(way: Way, sentences: int, epochs: int, seed: int, folds: int) -> str:
    """How much of a way is tried, such as `2,844 sentences, 2 epochs, seed 42, 5 folds`."""
    passes = "" if way.fitted else f", {epochs} epoch{'s' if epochs > 1 else ''}"
    on = f", {folds} fold{'s' if folds > 1 else ''}" if folds else ""
    return f"{sentences:,} sentences{passes}, seed {seed}{on}"


def _there(encoder: Encoder | None) -> Encoder:
    assert encoder is not None, "without one no way is tried that reads one"
    return encoder
