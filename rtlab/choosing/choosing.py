"""`choose`: looks at the data, tries ways within a budget, decides on validation, and looks at test once."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from rtlab.choice import FOLDER, PAGE, Choice
from rtlab.choosing.budget import Budget, seconds_of
from rtlab.choosing.commands import asked_line
from rtlab.choosing.deciding import Decision, decide
from rtlab.choosing.describing import (
    candidates_of,
    only_beside,
    say_at_chance,
    say_beside,
    say_on_fewer,
    say_why,
    timed_by,
)
from rtlab.choosing.errors import find_mistakes, find_suspects
from rtlab.choosing.folds import bounded, folds_of
from rtlab.choosing.looking import cut_by, find_encoder, look_at, max_length_of
from rtlab.choosing.places import CHOICE, digest, folder_of, keep_time, keep_unsaved, spent
from rtlab.choosing.question import Question
from rtlab.choosing.results import FailedError, Result
from rtlab.choosing.search import search
from rtlab.choosing.standing import Standing, interval_on_test
from rtlab.choosing.trials import Trials
from rtlab.choosing.ways import FAMILIES, Way, check_families, ways
from rtlab.data import load_splits
from rtlab.ending import StoppedError
from rtlab.engines.engine import Progress
from rtlab.experiment import AS_IT_IS, DEFAULT_DATASET, DEFAULT_ENCODER, DatasetOptions, Experiment
from rtlab.preparing import check_writable, usual_engine
from rtlab.recipe import ChoiceMetric
from rtlab.reporting.choice_page import choice_page
from rtlab.running import OUTPUT
from rtlab.saved_models.handing_over import check_target, hand_over
from rtlab.scheduling.jobs import fitting
from rtlab.scheduling.sharing import claim
from rtlab.values import check_one_of, check_whole, is_number
from rtlab.writing import write_whole

LARGEST_MARGIN = 50.0  # points
KEPT_BACK = 0.05  # of the budget, for labels that are probably wrong


class NoChoiceError(RuntimeError):
    """Nothing could be tried to its end; the message says of each way why."""


def choose(
    dataset: str = DEFAULT_DATASET,
    *,
    encoder: str | None = None,
    budget: str = "30m",
    margin: float = 1.0,
    metric: ChoiceMetric = "accuracy",
    candidates: Sequence[str] = FAMILIES,
    save_to: Path | str | None = None,
    refit: bool = False,
    anyway: bool = False,
    show_errors: int = 0,
    limit: int | None = None,
    max_length: int | None = None,
    seed: int = 42,
    device: str | None = None,
    jobs: int = 1,
    output_dir: Path | str = OUTPUT,
    options: DatasetOptions = AS_IT_IS,
    progress: Progress | None = None,
    begun: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Find out which way to take for a data set, within a budget.

    Validation alone selects; where it has few sentences, ways are compared on folds of it and train, on as many as
    there is time for. Recommended is the cheapest way whose estimate by validation is within the margin of the best.
    Test is looked at for that way and its runners-up, once they are chosen. Records lie in `output_dir`/choices/, where
    no table looks; a choice that was killed goes on from them when it is asked for again.

    Args:
        dataset: Hub id, file, directory, or `corpus`.
        encoder: What to adapt; by default the hub's default where it can be had, else `minilm`, else none.
        budget: Time that it may take, such as `30m`, `90s` or `1.5h`.
        margin: By how many points the estimate of the cheapest way may be below the best.
        metric: `accuracy`, or `macro-f1`.
        candidates: What to compare, of `words`, `svm`, `contrastive`, `lora` and `full`.
        save_to: Folder to save the recommended model to.
        refit: Whether the saved model is trained on train and validation.
        anyway: Whether to go on where the data make any answer void.
        show_errors: How many of the surest mistakes on test, and of probable wrong labels in train, to give.
        limit: Sentences kept per split, `None` for all.
        max_length: Word pieces kept of a sentence by ways that read the encoder; by default 512, or as many as it has
            positions.
        seed: Of the first run of each way.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        jobs: How many runs of what is trained in steps there may be at once, each in a process of its own, where that
            is sooner. A program that asks for more than 1 has its own first lines under `if __name__ == "__main__"`.
        output_dir: Folder of results.
        options: How the data set is read where its files leave that open.
        progress: Called with a phase, its units done and their number.
        begun: Called with each trial that is begun, in a line.
        say: Called with what was assumed, a sentence each.

    Returns:
        The choice. If it was interrupted by Ctrl-C, the best so far, and `interrupted` is set.

    Raises:
        ValueError: If the request cannot work, or the data make any answer void.
        NoChoiceError: If nothing could be tried to its end.
        KeyboardInterrupt: If it was interrupted before anything was.
    """
    allowed = Budget(seconds_of(budget))
    asked = _Asked(
        metric=metric,
        margin=margin,
        save_to=None if save_to is None else Path(save_to),
        refit=refit,
        errors=show_errors,
    )
    check_families(candidates)
    jobs, fewer = fitting((), jobs, device=device)
    check_writable(Path(output_dir), within=(FOLDER,))
    usual = Experiment(
        encoder=encoder or DEFAULT_ENCODER,
        dataset=dataset,
        dataset_options=options,
        max_length=Experiment.max_length if max_length is None else max_length,
        seed=seed,
        limit=limit,
    )
    splits = load_splits(dataset, limit=limit, options=options)
    warnings = [*splits.notes, *look_at(splits, anyway=anyway), *([] if fewer is None else [fewer])]
    found, note = find_encoder(encoder) if set(candidates) - {"words"} else (None, None)
    warnings += [] if note is None else [note]
    if found is not None:
        usual = replace(usual, encoder=found.source, max_length=max_length_of(found, max_length))
        warnings += cut_by(found, splits, usual.max_length)
    splits, notes = bounded(splits)
    warnings += notes
    for sentence in warnings:
        say(sentence)
    engine = None if found is None else usual_engine(found.source, device)
    standings = [Standing(way=way) for way in ways(tuple(candidates), engine)]
    question = Question(
        usual=usual,
        splits=splits,
        folds=folds_of(splits),
        encoder=found,
        device=device,
    )
    known_by = digest(
        *(splits.sha256, found and found.sha256, usual.max_length, seed),
        *(budget, margin, metric, candidates, save_to is not None, *(["refitted"] if refit else [])),
        *([] if jobs == 1 else [f"{jobs} jobs"]),
    )
    with claim(Path(output_dir) / FOLDER, known_by) as ours, contextlib.ExitStack() as ended:
        if not ours:
            raise ValueError(
                f"output_dir must be another; got {output_dir}, where another process is at the same choice"
            )
        folder = folder_of(Path(output_dir) / FOLDER, known_by)
        allowed = Budget(allowed.seconds, spent=allowed.spent + spent(folder))
        ended.callback(lambda: keep_time(folder, allowed.spent))  # however it ends
        trials = Trials(
            question=question,
            budget=allowed,
            folder=folder,
            save_models=save_to is not None,
            refit=refit,
            kept_back=KEPT_BACK * allowed.seconds if show_errors else 0.0,
            jobs=jobs,
            progress=progress or _ignore,
            begun=begun,
        )
        interrupted = False
        try:
            search(standings, trials, metric=metric, margin=margin / 100, seed=seed)
        except KeyboardInterrupt:
            if not any(one.results for one in standings):
                raise
            interrupted = True
        decision = decide(standings, metric, margin / 100)
        if decision is None:
            ended.pop_all()
            keep_time(folder, 0.0)  # there is nothing to go on from: asked for again it has the whole budget
            raise NoChoiceError(_nothing(standings))
        say_why(standings, decision, metric, margin / 100)
        at_chance = say_at_chance(decision.recommended, metric, splits.label_names)
        for sentence in (*say_on_fewer(standings, question, metric), *([] if at_chance is None else [at_chance])):
            warnings.append(sentence)
            say(sentence)
        choice = Choice(
            asked=asked_line(usual, encoder, budget, margin, metric, candidates, jobs),
            dataset=splits.name,
            classes=splits.label_names,
            sentences={name: len(split) for name, split in splits.items()},
            encoder=None if found is None else found.name,
            metric=metric,
            margin=margin / 100,
            budget_s=allowed.seconds,
            seconds=allowed.spent,
            folds=len(question.folds) if len(question.folds) > 1 else 0,
            recommended=decision.recommended.way.name,
            cheaper=None if decision.cheaper is None else decision.cheaper.way.name,
            better=None if decision.better is None else decision.better.way.name,
            candidates=candidates_of(standings, question, metric),
            undecided=decision.undecided,
            interrupted=interrupted,
            warnings=tuple(warnings),
        )
        tested: dict[str, list[Result]] = {}
        if not interrupted:
            for step in _afterwards(standings, decision, trials, asked, tested):
                try:
                    choice = step(choice)
                except KeyboardInterrupt:
                    choice = replace(choice, interrupted=True)
                    break
        if choice.interrupted and asked.save_to is not None and choice.saved_to is None:
            choice = _warned(choice, "The model was not saved: the choice was ended early; asked for again, it goes on")
        if (beside := say_beside(standings, tested)) is not None:
            choice = _warned(choice, beside)
        return _written(replace(choice, seconds=allowed.spent), folder, asked.save_to, unsaved=trials.unsaved)


def _nothing(standings: Sequence[Standing]) -> str:
    """Why there is no answer."""
    reasons = "; ".join(f"{one.way.name}: {one.why}" for one in standings)
    if all(one.status != "left out" for one in standings):
        return reasons
    words = "" if any(one.way.family == "words" for one in standings) else ", or words among the candidates,"
    return f"{reasons}; a larger budget{words} would do"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is asked for, checked."""

    metric: ChoiceMetric
    margin: float
    save_to: Path | None
    refit: bool
    errors: int

    def __post_init__(self) -> None:
        check_one_of("metric", self.metric, get_args(ChoiceMetric))
        if not is_number(self.margin) or not 0 <= self.margin <= LARGEST_MARGIN:
            raise ValueError(f"margin must be 0 to {LARGEST_MARGIN:g} points; got {self.margin!r}")
        check_whole("show_errors", self.errors, at_least=0)
        if self.refit and self.save_to is None:
            raise ValueError("refit is for the model that is saved; save_to beside it would do")
        if self.save_to is not None:
            check_target(self.save_to)


def _afterwards(
    standings: Sequence[Standing],
    decision: Decision,
    trials: Trials,
    asked: _Asked,
    tested: dict[str, list[Result]],
) -> Iterator[Callable[[Choice], Choice]]:
    """What comes after the decision, each a step that adds to the choice: test, errors, the model.

    What is looked at on test stands in `tested` then, by name.
    """
    beside = {one.way.name for one in standings if only_beside(one.largest)}

    def look(choice: Choice) -> Choice:
        lost: dict[str, str] = {}
        tested.update(_tested(decision, trials, lost))
        for name, why in lost.items():
            choice = _warned(choice, f"There is no score on test of {name}: {why}")
        scored = {name: interval_on_test(results, asked.metric) for name, results in tested.items()}
        found = [replace(one, test=scored.get(one.name)) for one in choice.candidates]
        timed = [timed_by(one, tested[one.name]) if one.name in beside & tested.keys() else one for one in found]
        return replace(choice, candidates=tuple(timed))

    yield look
    way = decision.recommended.way
    results = tested.get(way.name, ())
    splits = trials.question.splits
    if asked.errors and results:
        yield lambda choice: replace(choice, mistakes=find_mistakes(splits, results[0].records[0], asked.errors))
        yield lambda choice: _suspected(choice, trials, standings, asked.errors)
    if asked.save_to is not None:
        yield lambda choice: _saved(choice, way, results, trials, asked)


def _tested(decision: Decision, trials: Trials, lost: dict[str, str]) -> Iterator[tuple[str, list[Result]]]:
    """What is recommended and its runners-up, with results whose test is looked at; where none, `lost` why."""
    for one in (decision.recommended, decision.cheaper, decision.better):
        if one is None:
            continue
        if not trials.question.folded(one.largest[0].extent):
            yield one.way.name, one.largest
            continue
        try:  # compared on folds: now trained on all of train
            yield one.way.name, [trials.run_whole(one.way, one.largest[0])]
        except (FailedError, StoppedError) as error:
            lost[one.way.name] = str(error)


def _suspected(choice: Choice, trials: Trials, standings: Sequence[Standing], number: int) -> Choice:
    trials.kept_back = 0.0
    found = find_suspects(trials, standings, number)
    if found is None:
        return _warned(choice, "No time was left to look for labels that are probably wrong")
    return replace(choice, suspects=found)


def _saved(choice: Choice, way: Way, results: Sequence[Result], trials: Trials, asked: _Asked) -> Choice:
    """Hand the recommended model over; a warning says where that failed."""
    assert asked.save_to is not None, "it was asked for"
    if not results:
        return _warned(choice, "The model was not saved: no time was left to train it on all of train")
    result, refit = results[0], asked.refit
    record, model = result.records[0], result.model
    if refit:
        try:
            model = trials.train_again(way, result, with_validation=True)
        except (FailedError, StoppedError) as error:
            refit = False
            choice = _warned(choice, f"The saved model knows train alone: {error}")
    if model is None and record.error is not None:
        return _warned(choice, record.error[:1].upper() + record.error[1:])
    try:
        if model is None:  # an earlier process has gone on to a longer trial, and kept that one's
            model = trials.train_again(way, result, with_validation=False)
        size = hand_over(model, asked.save_to, choice=choice, record=record, refit=refit)
    except (FailedError, StoppedError, OSError, ValueError) as error:  # its place has changed, or the disk is full
        why = error.args[0][0][-1] if isinstance(error, shutil.Error) else error  # the first of many
        trials.unsaved = isinstance(error, OSError) or not _is_free(asked.save_to)
        return _warned(choice, f"The model was not saved: {why}")
    return replace(choice, size=size, saved_to=asked.save_to.name)


def _is_free(place: Path) -> bool:
    """Whether a model can be put there."""
    try:
        check_target(place)
    except ValueError:
        return False
    return True


def _warned(choice: Choice, warning: str) -> Choice:
    return replace(choice, warnings=(*choice.warnings, f"{warning.rstrip('.')}."))


def _written(choice: Choice, folder: Path, save_to: Path | None, *, unsaved: bool) -> Choice:
    """Write the choice as JSON and as a page; a full disk is said, and loses no answer.

    Models stay where the choice goes on when it is asked for again: it was interrupted, or one is `unsaved`.
    """
    keep_unsaved(folder, unsaved=unsaved)
    if not unsaved and not choice.interrupted:
        shutil.rmtree(folder / "models", ignore_errors=True)
    try:
        for place in (folder, *([] if choice.saved_to is None or save_to is None else [save_to])):
            write_whole(place / PAGE, choice_page(choice))
        write_whole(folder / CHOICE, json.dumps(choice.to_json(), allow_nan=False, indent=1) + "\n")
    except OSError as error:
        return _warned(choice, f"The choice was not written to {folder.name}: {error.strerror or error}")
    return choice


def _ignore(*_: object) -> None:
    """Where nobody listens."""
