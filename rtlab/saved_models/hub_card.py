"""The README.md of a model that `choose` hands over: a model card as the Hugging Face hub reads it, made of records.

Names of classes and data sets are people's own, so each is one line, shortened, and escaped wherever it stands; no
folder is named, since a model travels. The metadata pass through huggingface_hub's own classes, which ask nobody.
"""

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from rtlab.choice import METRICS, Choice, points
from rtlab.encoders import Encoder
from rtlab.methods import Adapter
from rtlab.metrics import confusion
from rtlab.records import RunRecord
from rtlab.saved_models.calibrating import Calibration, logits_of
from rtlab.saved_models.card import loading, title
from rtlab.saved_models.description import Description
from rtlab.saved_models.evaluating import ClassScores, of_class
from rtlab.statistics import Interval, accuracy_interval, macro_f1_interval
from rtlab.values import clean, one_line

SHOWN_CLASSES = 12  # of more the confusion matrix is wider than a page: then the most frequent mistakes are listed
_LONGEST = 40  # characters of a name in a table
_NONE = "–"
_ALONE = " (validation alone)"
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a card speaks of.

    Attributes:
        name: What the model is called.
        description: How it was made.
        encoder: What an adapter lies apart from; `None` of any other model.
        choice: Why this one.
        record: The run whose scores it has.
        calibration: Of that run's probabilities.
        refit: Whether the model itself was then trained on train and validation together.
    """

    name: str
    description: Description
    encoder: Encoder | None
    choice: Choice
    record: RunRecord
    calibration: Calibration
    refit: bool


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Scores of one split, with intervals over its sentences."""

    accuracy: Interval
    macro_f1: Interval
    by_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


def hub_card(handed: Handed) -> str:
    """The text of a README.md, with the hub's metadata in front."""
    from huggingface_hub import ModelCard

    measured = {split: _measured(handed, split) for split in ("validation", "test")}
    body = "\n".join(
        [
            f"# {title(handed.description.experiment)}\n",
            *_chosen(handed),
            *_intended(handed),
            *_use(handed),
            *_data(handed, measured["validation"], measured["test"]),
            *_scores(handed, measured["validation"], measured["test"]),
            *_calibration(handed),
            *_recipe(handed),
            *_limits(handed),
        ]
    )
    return str(ModelCard(f"---\n{_metadata(handed, measured['test'])}\n---\n\n{body}"))


def _measured(handed: Handed, split: str) -> _Measured:
    found = logits_of(handed.record, split)
    labels_N, said_N, names = found.labels, found.classes, handed.description.label_names
    return _Measured(
        accuracy=accuracy_interval((said_N == labels_N)[None], chance=handed.record.experiment.chance),
        macro_f1=macro_f1_interval(labels_N, said_N),
        by_class=tuple(
            of_class(name, labels_N == number, said_N == number) for number, name in enumerate(_shown(names))
        ),
        confusion=tuple(map(tuple, confusion(labels_N, said_N, num_labels=len(names)).tolist())),
    )


def _metadata(handed: Handed, test: _Measured) -> str:
    """What the hub reads, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    record, method = handed.record, handed.description.experiment.method
    encoder, dataset = record.encoder, one_line(record.dataset.name) or _NONE
    values = {("accuracy", "accuracy"): test.accuracy.value, ("f1", "macro-F1"): test.macro_f1.value}
    if len(test.by_class) == 2 and (f1 := test.by_class[1].f1) is not None:
        values["f1", f"F1 of {one_line(handed.description.label_names[1])}"] = f1.value
    library = "peft" if isinstance(method, Adapter) else "transformers" if method.reads == "logits" else "rtlab"
    data = ModelCardData(
        base_model=encoder.name if encoder is not None and encoder.revision is not None else None,
        datasets=[record.dataset.name] if record.dataset.revision is not None else None,
        library_name=library,
        pipeline_tag="text-classification",
        tags=["rtlab", method.name],
        metrics=["accuracy", "f1"],
        model_name=one_line(handed.name) or _NONE,
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split="test",
                dataset_revision=record.dataset.revision,
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for (kind, name), value in values.items()
        ],
    )
    return str(data.to_yaml())


def _chosen(handed: Handed) -> Iterator[str]:
    choice = handed.choice
    compared = [one for one in choice.candidates if one.status in ("finished", "stopped")]
    yield (
        f"Made by rtlab, whose `choose` recommends this way, {_escaped(choice.way.name)}, for the data set "
        f"{_escaped(choice.dataset)}: of {_plural(len(compared), 'way')} compared the cheapest whose "
        f"{_measure(choice)}, as it is estimated by validation, is at most {points(choice.margin)} below the best.\n"
    )


def _intended(handed: Handed) -> Iterator[str]:
    names = ", ".join(map(_escaped, _shown(handed.description.label_names)))
    yield "## Intended use\n"
    yield f"To label sentences like those of {_escaped(handed.choice.dataset)} with one of its classes: {names}."
    if handed.record.encoder is not None:
        yield f"Of a longer text the encoder reads no more than {handed.description.experiment.max_length} tokens."
    yield "Every sentence gets a label, also one that is of none of these classes.\n"


def _use(handed: Handed) -> Iterator[str]:
    description = handed.description
    yield "## How to use it\n"
    yield loading(description.experiment, handed.encoder, description.label_names)
    if description.experiment.method.reads == "logits" and description.temperature != 1:
        yield (
            f"Labels are the same either way. Probabilities are calibrated by `rtlab predict` and `rtlab.predict` "
            f"alone, which divide logits by {description.temperature:.4g}; those of plain libraries are not "
            "calibrated.\n"
        )


def _data(handed: Handed, validation: _Measured, test: _Measured) -> Iterator[str]:
    choice, dataset = handed.choice, handed.record.dataset
    yield "## Data\n"
    yield (
        f"{_escaped(choice.dataset)}, sha256 {dataset.sha256[:8]}"
        + ("" if dataset.revision is None else f", revision {_escaped(dataset.revision)}")
        + ": "
        + ", ".join(
            f"{choice.sentences[split]:,} sentences of {split}" for split in _SPLITS if split in choice.sentences
        )
        + f".{_drawn(handed)}\n"
    )
    rows = [
        (one.label, *(_share(of.support, part) for of, part in ((one, validation), (other, test))))
        for one, other in zip(validation.by_class, test.by_class, strict=True)
    ]
    yield _table(("class", "of validation", "of test"), rows)
    yield from ([*map(_item, dataset.notes), ""] if dataset.notes else ())


def _drawn(handed: Handed) -> str:
    """How many sentences the model was trained on, where these are not all."""
    drawn = handed.description.experiment.train_sentences
    of = "train and validation" if handed.refit else "train"
    return (
        "" if drawn is None else f" The model was trained on {drawn:,} of those of {of}, of each class in proportion."
    )


def _scores(handed: Handed, validation: _Measured, test: _Measured) -> Iterator[str]:
    choice = handed.choice
    yield "## Scores\n"
    if handed.refit:
        yield (
            "The model was trained on train and validation together. These scores, and the temperature, are those of "
            "the same recipe trained on train alone, since nothing is left to measure it on but test.\n"
        )
    yield "In brackets the 95 % interval over sentences; validation is what the way was chosen on.\n"
    rows = [
        ("accuracy", _interval(validation.accuracy), _interval(test.accuracy)),
        ("macro-F1", _interval(validation.macro_f1), _interval(test.macro_f1)),
    ]
    yield _table(("", "validation", "test"), rows)
    seeds = max(1, len(choice.way.largest))
    if seeds > 1 or choice.way.folds:
        folds = f", pooled over {_plural(choice.way.folds, 'fold')}" if choice.way.folds else ""
        yield (
            f"Over {_plural(seeds, 'seed')} this way has {_measure(choice)} {_interval(choice.way.validation)} on "
            f"validation{folds}, and {_interval(choice.way.test)} on test; the model is that of one seed.\n"
        )
    yield "By class, on test:\n"
    yield _table(
        ("class", "precision", "recall", "F1", "sentences"),
        [
            (one.label, _interval(one.precision), _interval(one.recall), _interval(one.f1), f"{one.support:,}")
            for one in test.by_class
        ],
    )
    yield from _confusion(test)


def _confusion(test: _Measured) -> Iterator[str]:
    names = [one.label for one in test.by_class]
    if len(names) <= SHOWN_CLASSES:
        yield "Sentences of test by their class (a row) and the class that they were taken for:\n"
        rows = [(name, *map(str, counts)) for name, counts in zip(names, test.confusion, strict=True)]
        yield _table(("", *names), rows)
        return
    counts_CC = np.array(test.confusion)
    np.fill_diagonal(counts_CC, 0)
    worst = [divmod(place, len(names)) for place in np.argsort(-counts_CC, axis=None, kind="stable").tolist()]
    yield "The most frequent mistakes on test:\n"
    yield _table(
        ("is", "taken for", "sentences"),
        [(names[is_], names[said], str(counts_CC[is_, said])) for is_, said in worst[:SHOWN_CLASSES]],
    )


def _calibration(handed: Handed) -> Iterator[str]:
    found = handed.calibration
    yield "## Calibration\n"
    if found.told:
        yield (
            f"Logits are divided by a temperature of {found.temperature:.4g}, that of least log loss on "
            f"{_plural(found.sentences, 'sentence')} of validation. No label moves by that."
        )
    else:
        yield (
            f"Logits are left as they are: all of {_plural(found.sentences, 'sentence')} of validation are labelled "
            "rightly, and so tell no temperature."
        )
    yield "The expected calibration error is how far probabilities are from the share that is right, in 15 bins:\n"
    yield _table(
        ("", "validation", "test"),
        [
            ("before", *(f"{found.before[split]:.4f}" for split in ("validation", "test"))),
            ("after", *(f"{found.after[split]:.4f}" for split in ("validation", "test"))),
        ],
    )


def _recipe(handed: Handed) -> Iterator[str]:
    record = handed.record
    yield "## How it was made\n"
    yield f"```sh\n{_without_folders(handed.choice.way.command)}\n```\n"
    encoder = "no encoder"
    if record.encoder is not None:
        encoder = f"encoder {_escaped(record.encoder.name)} (sha256 {record.encoder.sha256[:8]})"
    refit = f", and that of its scores {record.id}" if handed.refit else ""
    yield f"Run {handed.description.id}{refit}; {encoder}.\n"
    yield "What it was chosen from:\n"
    on, alone = ("over folds", _ALONE) if handed.choice.folds else ("on validation", "")
    yield _table(
        ("way", f"{_measure(handed.choice)} {on}", "estimate", "on test", "training", "how it ended"),
        [
            (
                one.name,
                _interval(one.validation) + (alone if one.validation is not None and not one.folds else ""),
                _NONE if one.estimate is None else f"{one.estimate:.4f}",
                _interval(one.test),
                _NONE if one.seconds is None else f"{one.seconds:,.1f} s",
                f"{one.status}: {one.why}",
            )
            for one in handed.choice.candidates
        ],
    )


def _limits(handed: Handed) -> Iterator[str]:
    choice = handed.choice
    yield "## Limits\n"
    yield "- Sentences of another domain, time or language than the data's were not tested."
    seeds = max(1, len(choice.way.largest))
    if choice.way.experiment.chance:
        other = "what other seeds would give is not known" if seeds < 2 else "others may give other scores"
        yield f"- It rests on {_plural(seeds, 'seed')}: {other}."
    yield (
        f"- A way whose estimate is up to {points(choice.margin)} higher, and which costs more, would not have been "
        "taken: that is the margin of the choice."
    )
    for one in choice.undecided:
        yield (
            f"- Whether {_escaped(one.name)} is better is undecided: {_measure(choice)} on validation differs by "
            f"{_interval(one.difference)}; {_escaped(one.tells)}."
        )
    if choice.interrupted:
        yield "- The choice was ended early: it is the best of what was compared by then."
    if choice.left_out:
        yield f"- Not compared: {', '.join(_escaped(one.name) for one in choice.left_out)}."
    yield from (*map(_item, choice.warnings), "")


def _measure(choice: Choice) -> str:
    return METRICS[choice.metric]


def _without_folders(command: str) -> str:
    """A command line in one line, with the names of files in place of their places on this machine."""
    try:
        words = shlex.split(command)
    except ValueError:  # no shell would take it either
        return clean(command)
    return clean(shlex.join(map(_without_folder, words)))


def _without_folder(word: str) -> str:
    option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return f"{option}{sign}{PurePath(value).name if value.startswith(('/', '~')) else value}"


def _shown(names: Sequence[str]) -> tuple[str, ...]:
    """Names as a table shows them: one line, shortened, and with their number where two then look alike."""
    lines = [clean(name) or _NONE for name in names]
    short = [line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…" for line in lines]
    return tuple(name if short.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(short))


def _escaped(text: str) -> str:
    """A text as one line of markdown in which no sign means anything: each that could has a backslash before it."""
    return re.sub(r"([#$&*<>@\[\\\]^_`|~]|:(?=\S)|(?<=[A-Za-z])\.(?=\w))", r"\\\1", one_line(text))


def _item(text: str) -> str:
    """A text as an item of a list, which begins no list of its own."""
    return "- " + re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", _escaped(text))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as markdown, its cells escaped, with a blank line behind it."""
    lines = [[_cell(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """Numbers and intervals stay readable in the source; everything else is escaped."""
    return text if re.fullmatch(rf"[\d.,%() \[\]-]*({re.escape(_ALONE)})?", text) else _escaped(text)


def _interval(found: Interval | None) -> str:
    if found is None:
        return _NONE
    known = math.isfinite(found.low) and math.isfinite(found.high)
    return f"{found.value:.4f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if known else "")


def _share(support: int, of: _Measured) -> str:
    return f"{support:,} ({support / sum(one.support for one in of.by_class):.1%})"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
