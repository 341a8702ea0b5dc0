"""A choice in words: the answer in lines that a terminal, a file and its page show alike, and how values are put."""

from collections.abc import Iterator, Sequence

from rtlab.choice import METRICS, Candidate, Choice
from rtlab.reporting.markup import Block, Span, Text, written
from rtlab.reporting.wording import NONE, difference, duration, plural, score
from rtlab.statistics import Interval
from rtlab.values import one_line

SHOWN = 3  # of what is undecided or was left out
NAME = 80  # characters of a name


def as_text(choice: Choice, *, shown: int = SHOWN) -> str:
    """The answer, what was left out, the sentences that were asked for, and what it took, in lines for a terminal.

    Args:
        choice: The answer.
        shown: How many of a kind are shown, before the rest are only counted.
    """
    return "\n".join(written(line, "text") for line in _lines(choice, shown))


def choice_block(choices: Sequence[Choice]) -> Block:
    """A choice as a file shows it: the command line, and what it answered; the last of several."""
    listing = [line for choice in choices[-1:] for line in (f"$ {choice.asked}", *_lines(choice, 1))]
    return Block(name="choice", title="A choice", listing=tuple(listing), nothing="No choice was made yet.")


def _lines(choice: Choice, shown: int) -> Iterator[Text]:
    yield from answer(choice, shown)
    left_out = choice.left_out
    for way in left_out[:shown]:
        yield f"{way.status}: {way.name}: {way.why}"
    if len(left_out) > shown:
        yield f"left out: {len(left_out) - shown} more"
    yield f"again: {choice.way.command}"
    if choice.saved_to is not None:
        yield saved(choice)
    trials = sum(len(one.trials) for one in choice.candidates)
    yield f"spent: {duration(choice.seconds)} of {duration(choice.budget_s)}, on {plural(trials, 'trial')}"
    for one in choice.mistakes:
        yield f"surely wrong on test: {one.predicted} for {one.label}, {one.probability:.2f} sure: {one.text}"
    for other in choice.suspects:
        yield f"label probably wrong: {other.label} for {other.probably}, {other.probability:.2f} sure: {other.text}"


def answer(choice: Choice, shown: int) -> Iterator[Text]:
    """What to take, what it scores and costs, what others would give, and how sure that is; a line each."""
    way = choice.way
    so_far = " so far (it was ended early)" if choice.interrupted else ""
    yield [f"recommended{so_far}: ", strong(way.name), f", {_trained(way, choice)}"]
    scores = [f"test {metric(choice)} {scored(way.test)}"] if way.test is not None else []
    scores += [_chosen_by(way, choice)] if way.validation is not None else []
    yield f"scores: {', '.join(scores) or 'not known'}"
    costs = [f"{duration(way.seconds)} of training"] if way.seconds is not None else []
    costs += [] if way.seconds_per_1000 is None else [f"{duration(way.seconds_per_1000)} to label 1,000 sentences"]
    yield f"costs: {', '.join(costs) or 'not known'}"
    for what, name in (("best of the cheaper", choice.cheaper), ("best of all", choice.better)):
        if (one := choice.candidate(name)) is not None:
            by = _chosen_by(one, choice)
            if one.test is not None:
                by = f"test {metric(choice)} {scored(one.test)}{_estimate(one)}"
            time = "" if one.seconds is None else f", {duration(one.seconds)} of training"
            yield [f"{what}: ", strong(one.name), f": {by}{time}"]
    for other in choice.undecided[:shown]:
        differs = f", {measured(choice)} differs by {difference(other.difference)}; {one_line(other.tells)}"
        yield ["undecided: ", strong(other.name), differs]
    if len(choice.undecided) > shown:
        yield f"undecided: {len(choice.undecided) - shown} more"
    if not choice.undecided:
        yield "no other way that was compared may be the better choice, by these sentences and runs"


def _chosen_by(way: Candidate, choice: Choice) -> str:
    """What a way scored where ways were compared, and what was made of it."""
    seeds = f" under {len(way.largest)} seeds" if way.folds and len(way.largest) > 1 else ""
    return f"{measured(choice, way)}{seeds} {scored(way.validation)}{_estimate(way)}"


def _estimate(way: Candidate) -> str:
    return "" if way.estimate is None else f", estimate {score([way.estimate])}"


def saved(choice: Choice) -> Text:
    """The folder of the model that was handed over, and its size."""
    size = "" if choice.size is None else f" ({choice.size / 1e6:,.1f} MB)"
    return ["model: ", strong(choice.saved_to or ""), size]


def _trained(way: Candidate, choice: Choice) -> str:
    """On how much; what was compared on folds of train is handed over trained on all of it."""
    largest = way.largest
    if not largest:
        return "which was not trained"
    epochs = "" if largest[-1].epochs is None else f", {plural(largest[-1].epochs, 'epoch')}"
    seeds = f", {len(largest)} seeds" if len(largest) > 1 and not way.folds else ""
    sentences = way.experiment.train_sentences or choice.sentences["train"]
    return f"trained on {plural(sentences, 'sentence')}{epochs}{seeds}"


def brief(name: str, most: int = NAME) -> str:
    """A name's beginning, as one line that a screen only shows."""
    line = one_line(name)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def strong(name: str) -> Span:
    """A name that stands out in a sentence."""
    return Span(brief(name), "strong")


def metric(choice: Choice) -> str:
    """What is compared, in words."""
    return METRICS[choice.metric]


def measured(choice: Choice, *of: Candidate) -> str:
    """What ways were compared on, these or all: the metric, and what it was measured on."""
    folds = {one.folds for one in of or choice.candidates if one.validation is not None}
    if not any(folds):
        return f"validation {metric(choice)}"
    fewer = [f" or {number} of them" if number else " or validation alone" for number in sorted(folds)[:-1]]
    return f"{metric(choice)} over {plural(max(folds), 'fold')}{''.join(reversed(fewer))}"


def scored(found: Interval | None) -> str:
    """A score with its 95 % interval, where these are known."""
    return NONE if found is None else score([found.value], found)
