"""A choice in ten lines, for a terminal and for a file."""

from collections.abc import Iterator, Sequence

from rtlab.choice import METRICS, Candidate, Choice
from rtlab.reporting.markup import Block, clean_line
from rtlab.reporting.wording import plural
from rtlab.statistics import Interval

SHOWN = 3


def as_text(choice: Choice, *, shown: int = SHOWN) -> str:
    """The recommendation, its score, what it costs, what others would give, what was left out, and how sure it is.

    Args:
        choice: The answer.
        shown: How many of a kind are shown, before the rest are only counted.
    """
    way = choice.way
    so_far = " so far (it was interrupted)" if choice.interrupted else ""
    trials = sum(len(one.trials) for one in choice.candidates)
    lines = (
        f"recommended{so_far}: {way.name}, {_trained(way)}",
        f"  {METRICS[choice.metric]} on test: {_interval(way.test)}; on validation: {_interval(way.validation)}",
        f"  costs {_seconds(way.seconds)} to train, {_seconds(way.seconds_per_1000)} for 1,000 sentences",
        *_other("best of the cheaper", choice, choice.cheaper),
        *_other("best on validation", choice, choice.better),
        *_undecided(choice, shown),
        *_left_out(choice, shown),
        f"again: {way.command}",
        *([f"model: {choice.saved_to}"] if choice.saved_to else []),
        f"{_seconds(choice.seconds)} of {_seconds(choice.budget_s)} spent on {trials} trials",
        *_errors(choice),
    )
    return "\n".join(map(clean_line, lines))


def choice_block(choices: Sequence[Choice]) -> Block:
    """A choice as a file shows it: the command line, and what it answered; the last of several."""
    listing = "" if not choices else f"$ {choices[-1].asked}\n{as_text(choices[-1], shown=1)}"
    return Block(name="choice", title="A choice", tables=(), listing=listing, nothing="No choice was made yet.")


def _trained(way: Candidate) -> str:
    last, *others = way.largest
    epochs = "" if last.epochs is None else f", {plural(last.epochs, 'epoch')}"
    several = f", {1 + len(others)} seeds" if others else ""
    return f"trained on {last.sentences:,} sentences{epochs}{several}"


def _other(what: str, choice: Choice, name: str | None) -> Iterator[str]:
    one = choice.candidate(name)
    if one is not None:
        score = _interval(one.test) if one.test is not None else f"{_interval(one.validation)} on validation"
        yield f"{what}: {one.name}: {score}; {_seconds(one.seconds)} to train"


def _undecided(choice: Choice, shown: int) -> Iterator[str]:
    for one in choice.undecided[:shown]:
        yield f"undecided: {one.name}, {100 * one.difference.value:+.1f} points on validation; {one.tells}"
    if len(choice.undecided) > shown:
        yield f"undecided: {len(choice.undecided) - shown} more"
    if not choice.undecided:
        yield "no other way that was compared may be the better choice, by these sentences and runs"


def _left_out(choice: Choice, shown: int) -> Iterator[str]:
    first, more = choice.left_out[:shown], len(choice.left_out) - shown
    for number, one in enumerate(first, start=1):
        others = f"; and {more} more" if more > 0 and number == len(first) else ""
        yield f"{one.status}: {one.name}: {one.why}{others}"


def _errors(choice: Choice) -> Iterator[str]:
    if choice.mistakes:
        yield from ("", "surest mistakes on test (said, labelled, how sure):")
    for one in choice.mistakes:
        yield f"  {one.predicted}, {one.label}, {one.probability:.2f}: {one.text}"
    if choice.suspects:
        yield from ("", "training labels that are probably wrong (seems, labelled, how sure):")
    for other in choice.suspects:
        yield f"  {other.probably}, {other.label}, {other.probability:.2f}: {other.text}"


def _interval(found: Interval | None) -> str:
    if found is None:
        return "not looked at"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "not measured"
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min"
