"""`choose`: looks at the data, tries ways within a budget, decides on validation, and looks at test once."""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from rtlab.choice import Candidate, Choice, ChoiceMetric, Trial
from rtlab.choosing.budget import Budget, seconds_of
from rtlab.choosing.commands import command
from rtlab.choosing.deciding import Decision, decide
from rtlab.choosing.errors import find_mistakes, find_suspects
from rtlab.choosing.folds import bounded, folds_of
from rtlab.choosing.search import Standing, interval, score, search, test_interval
from rtlab.choosing.trials import FailedError, Question, Result, Trials
from rtlab.choosing.ways import FAMILIES, Way, ways
from rtlab.data import Splits, check, load_splits
from rtlab.data.findings import find_warnings
from rtlab.encoders import Encoder, load_encoder
from rtlab.ending import StoppedError
from rtlab.engines.engine import Progress
from rtlab.experiment import AS_IT_IS, DEFAULT_DATASET, DEFAULT_ENCODER, DatasetOptions, Experiment
from rtlab.preparing import check_writable, usual_engine
from rtlab.reporting.choice_page import choice_page
from rtlab.running import OUTPUT
from rtlab.saved_models.handing_over import check_target, hand_over
from rtlab.scheduling.sharing import claim
from rtlab.values import check_one_of, check_whole, is_number, one_line
from rtlab.writing import write_whole

FOLDER = "choices"  # within the folder of results
LEAST = 20  # sentences of a class, below which no answer holds
LARGEST_MARGIN = 50.0  # points


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
    seed: int = 42,
    device: str | None = None,
    output_dir: Path | str = OUTPUT,
    options: DatasetOptions = AS_IT_IS,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Find out which way to take for a data set, within a budget.

    Validation alone selects; where it has few sentences, ways are compared on folds of it and train. Recommended is the
    cheapest way whose mean on validation is within the margin of the best. Test is looked at for that way and its
    runners-up, once they are chosen. Records lie in `output_dir`/choices/, where no table looks; a choice that was
    killed goes on from them when it is asked for again.

    Args:
        dataset: Hub id, file, directory, or `corpus`.
        encoder: What to adapt; by default the hub's default where it can be had, else `minilm`, else none.
        budget: Time that it may take, such as `30m`, `90s` or `1.5h`.
        margin: By how many points of the metric the cheapest way may score less than the best.
        metric: `accuracy`, or `macro-f1`.
        candidates: What to compare, of `words`, `svm`, `lora` and `full`.
        save_to: Folder to save the recommended model to.
        refit: Whether the saved model is trained on train and validation.
        anyway: Whether to go on where the data make any answer void.
        show_errors: How many of the surest mistakes on test, and of probable wrong labels in train, to give.
        limit: Sentences kept per split, `None` for all.
        seed: Of the first run of each way.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        output_dir: Folder of results.
        options: How the data set is read where its files leave that open.
        progress: Called with a phase, its units done and their number.
        say: Called with what was assumed, a sentence each.

    Returns:
        The choice. If it was interrupted by Ctrl-C, the best so far, and `interrupted` is set.

    Raises:
        ValueError: If the request cannot work, or the data make any answer void.
        NoChoiceError: If nothing could be tried to its end.
        KeyboardInterrupt: If it was interrupted before anything was.
    """
    allowed = Budget(seconds_of(budget))
    check_one_of("metric", metric, get_args(ChoiceMetric))
    if not is_number(margin) or not 0 <= margin <= LARGEST_MARGIN:
        raise ValueError(f"margin must be 0 to {LARGEST_MARGIN:g} points; got {margin!r}")
    check_whole("show_errors", show_errors, at_least=0)
    if refit and save_to is None:
        raise ValueError("refit is for the model that is saved; save_to beside it would do")
    check_writable(Path(output_dir), within=(FOLDER,))
    if save_to is not None:
        check_target(Path(save_to))
    usual = Experiment(
        encoder=encoder or DEFAULT_ENCODER, dataset=dataset, dataset_options=options, seed=seed, limit=limit
    )
    splits = load_splits(dataset, limit=limit, options=options)
    warnings = [*splits.notes, *_sound(splits, anyway=anyway)]
    found, note = _encoder(encoder) if set(candidates) - {"words"} else (None, None)
    warnings += [] if note is None else [note]
    splits, notes = bounded(splits)
    warnings += notes
    for sentence in warnings:
        say(sentence)
    engine = None if found is None else usual_engine(found.source, device)
    standings = [Standing(way=way) for way in ways(tuple(candidates), engine)]
    question = Question(
        usual=usual if found is None else replace(usual, encoder=found.source),
        splits=splits,
        folds=folds_of(splits),
        encoder=found,
        device=device,
    )
    asked = _digest(question, budget, margin, metric, candidates, save_to is not None)
    with claim(Path(output_dir) / FOLDER, asked) as ours:
        if not ours:
            raise ValueError(
                f"output_dir must be another; got {output_dir}, where another process is at the same choice"
            )
        folder = _folder(Path(output_dir) / FOLDER, asked)
        allowed = Budget(allowed.seconds, spent=allowed.spent + _spent(folder))
        trials = Trials(
            question=question,
            budget=allowed,
            folder=folder,
            save_models=save_to is not None,
            progress=progress or _ignore,
            ended=lambda: write_whole(folder / "spent.json", json.dumps({"seconds": allowed.spent}) + "\n"),
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
            raise NoChoiceError("; ".join(f"{one.way.name}: {one.why}" for one in standings))
        tested = {} if interrupted else dict(_tested(decision, trials))
        _say_why(standings, decision, metric, margin)
        choice = Choice(
            dataset=splits.name,
            classes=splits.label_names,
            sentences={name: len(split) for name, split in splits.items()},
            encoder=None if found is None else found.name,
            metric=metric,
            margin=margin / 100,
            budget_s=allowed.seconds,
            seconds=allowed.spent,
            folds=len(question.folds),
            recommended=decision.recommended.way.name,
            cheaper=None if decision.cheaper is None else decision.cheaper.way.name,
            better=None if decision.better is None else decision.better.way.name,
            candidates=tuple(_candidate(one, tested.get(one.way.name, ()), question, metric) for one in standings),
            undecided=decision.undecided,
            interrupted=interrupted,
            warnings=tuple(warnings),
        )
        results = tested.get(decision.recommended.way.name, ())
        if show_errors and results and not interrupted:
            choice = replace(
                choice,
                mistakes=find_mistakes(splits, results[0].records[0], show_errors),
                suspects=find_suspects(trials, standings, show_errors),
            )
        if save_to is not None and results:
            choice = _saved(choice, decision.recommended.way, results[0], trials, Path(save_to), refit=refit)
        choice = replace(choice, seconds=allowed.spent)
        shutil.rmtree(folder / "models", ignore_errors=True)
        for place in (folder, *([] if choice.saved_to is None else [Path(str(save_to))])):
            write_whole(place / "choice.html", choice_page(choice))
        write_whole(folder / "choice.json", json.dumps(choice.to_json(), allow_nan=False, indent=1) + "\n")
    return choice


def _sound(splits: Splits, *, anyway: bool) -> Iterator[str]:
    """What was found in the data.

    Raises:
        ValueError: If it makes any answer void, unless that is wanted anyway.
    """
    void = [
        f"{count:,} sentences of {second} are in {first}, too" for first, second, count in check(splits).shared if count
    ]
    counts = Counter(splits.train.labels + splits.validation.labels)
    void += [
        f"class {one_line(name)!r} has {counts[label]} sentences in train and validation, of {LEAST} that it takes"
        for label, name in enumerate(splits.label_names)
        if counts[label] < LEAST
    ]
    if void and not anyway:
        raise ValueError(
            f"dataset {splits.name!r} would make any answer void: {'; '.join(void[:3])}; other data would do, or "
            "--anyway"
        )
    yield from (f"The answer may be void: {one}." for one in void)
    yield from find_warnings(splits, {name: [0] * len(split) for name, split in splits.items()}, 1)


def _encoder(asked: str | None) -> tuple[Encoder | None, str | None]:
    """The encoder, and what is to be said of it: the one asked for, or the best that can be had."""
    if asked is not None:
        try:
            return load_encoder(asked), None
        except ValueError as error:
            return None, f"The encoder cannot be had, so words alone are compared: {error}"
    for name, more in ((DEFAULT_ENCODER, ""), ("minilm", " --encoder names another")):
        try:
            return load_encoder(name), f"No encoder was named: {name} is taken.{more and f'{more}.'}"
        except ValueError:
            continue
    return None, (
        f"No encoder can be had, so words alone are compared: {DEFAULT_ENCODER} from the hub, or minilm, which the "
        "extra `embedded` installs, would give more ways."
    )


def _digest(question: Question, *asked: object) -> str:
    """What a choice is known again by: 16 hexadecimal digits."""
    encoder = None if question.encoder is None else question.encoder.sha256
    parts = [question.splits.sha256, encoder, question.usual.seed, *(str(one) for one in asked)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _folder(choices: Path, asked: str) -> Path:
    """Where a choice is made: where a process was killed at it, or a new folder."""
    for there in sorted(choices.glob(f"{asked}-*")):
        if not (there / "choice.json").exists():
            return there
    folder = choices / f"{asked}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    folder.mkdir(parents=True)
    return folder


def _spent(folder: Path) -> float:
    """Seconds that a process spent here before it was killed."""
    try:
        seconds = json.loads((folder / "spent.json").read_text())["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return float(seconds) if is_number(seconds) and seconds >= 0 else 0.0


def _tested(decision: Decision, trials: Trials) -> Iterator[tuple[str, list[Result]]]:
    """What is recommended and its runners-up, with the results whose test is looked at."""
    for one in (decision.recommended, decision.cheaper, decision.better):
        if one is None:
            continue
        if len(trials.question.folds) == 1:
            yield one.way.name, one.largest
            continue
        try:  # compared on folds: now trained on all of train
            yield one.way.name, [trials.run_whole(one.way, one.largest[0])]
        except (FailedError, StoppedError):
            continue


def _say_why(standings: Sequence[Standing], decision: Decision, metric: ChoiceMetric, margin: float) -> None:
    """Say of each way that was compared to the end how it came out."""
    undecided = {one.name for one in decision.undecided}
    best = decision.better or decision.recommended
    for one in standings:
        if one.status != "finished":
            continue
        behind = 100 * (score(best.largest, metric) - score(one.largest, metric))
        if one is decision.recommended:
            one.why = "recommended" if one is best else f"recommended: within {margin:g} points of the best"
        elif one is best:
            ahead = 100 * (score(one.largest, metric) - score(decision.recommended.largest, metric))
            one.why = f"the best, by {ahead:.1f} points"
        else:
            one.why = f"{behind:.1f} points behind the best"
        one.why += ", undecided" if one.way.name in undecided else ""


def _candidate(standing: Standing, tested: Sequence[Result], question: Question, metric: ChoiceMetric) -> Candidate:
    way, largest = standing.way, standing.largest
    experiment = largest[0].experiment if largest else replace(question.usual, method=way.method)
    records = [record for one in largest for record in one.records]
    timed = [(record.timing, record) for record in records if record.timing is not None]
    held_out = (
        ("test",) if way.family == "svm" else ("validation", "test")
    )  # an SVM reads validation while it is trained
    labelled = sum(len(record.predictions[split].labels) for _, record in timed for split in held_out)
    recipe = experiment.method.recipe
    return Candidate(
        name=way.name,
        method=way.family,
        experiment=experiment,
        command=command(experiment),
        status=standing.status,
        why=standing.why,
        validation=interval(standing, metric) if largest else None,
        test=test_interval(tested, metric) if tested else None,
        seconds=sum(timing.seconds for timing, _ in timed) / len(timed) if timed else None,
        seconds_per_1000=1000 * sum(timing.evaluate_s for timing, _ in timed) / labelled if labelled else None,
        parameters=next((record.counts.parameters_trained for record in records if record.counts is not None), None),
        trials=tuple(
            Trial(
                sentences=one.sentences,
                epochs=None if recipe is None else one.epochs,
                seed=one.experiment.seed,
                validation=score([one], metric),
                seconds=one.seconds,
                run=one.records[0].id,
            )
            for one in standing.results
        ),
    )


def _saved(choice: Choice, way: Way, result: Result, trials: Trials, to: Path, *, refit: bool) -> Choice:
    """Hand the recommended model over; a warning says where that failed."""
    record, model = result.records[0], result.model
    if refit:
        try:
            model = trials.refit(way, result)
        except (FailedError, StoppedError) as error:
            refit = False
            choice = replace(choice, warnings=(*choice.warnings, f"The saved model knows train alone: {error}."))
    if model is None:
        return replace(choice, warnings=(*choice.warnings, f"The model was not saved: {record.error}."))
    return replace(choice, size=hand_over(model, to, choice=choice, record=record, refit=refit), saved_to=to.name)


def _ignore(*_: object) -> None:
    """Where nobody listens."""
