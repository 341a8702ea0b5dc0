"""The command line: one verb for each thing the lab does. The only place that prints.

Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1 the run failed (its
record is written), 2 the request was wrong (nothing was run), 129 hung up, 130 interrupted, 143 terminated.
"""

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import get_args

import tyro

from rtlab.cli.choosing import Choose
from rtlab.cli.docstrings import restore_docstrings
from rtlab.cli.lab_steps import translate
from rtlab.cli.looking import Explore, Probe, Tokenize
from rtlab.cli.options import DONE, FAILED, HUNG_UP, INTERRUPTED, TERMINATED, WRONG
from rtlab.cli.reading import Claims, Compare, Figures, Report, Tables
from rtlab.cli.screen import OUTPUT, drop, only_first, screens
from rtlab.cli.sweeping import Sweep
from rtlab.cli.using import Evaluate, Merge, Predict
from rtlab.cli.working import Adapt, Contrastive, Finetune, Lora, Svm, Words
from rtlab.engines.ranks import Ranks, ranks_here
from rtlab.environment import ended_by_signals
from rtlab.values import clean

Verb = (
    Explore
    | Probe
    | Words
    | Svm
    | Tokenize
    | Finetune
    | Contrastive
    | Lora
    | Adapt
    | Choose
    | Predict
    | Merge
    | Evaluate
    | Sweep
    | Tables
    | Compare
    | Report
    | Claims
    | Figures
)
SHARED = (Finetune, Lora, Adapt)  # verbs whose run several ranks can share
# Options that are called otherwise than the fields that they set.
FIELDS = {
    "lr": "learning_rate",
    **dict.fromkeys(("rank", "lora_rank"), "r"),
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    **dict.fromkeys(("set", "peft_config"), "settings"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: The words behind the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    ranks = ranks_here()
    with screens(), _said_before_the_end(ranks):
        try:
            with only_first(ranks), ended_by_signals(), warnings.catch_warnings():
                warnings.showwarning = _warn  # type: ignore[assignment]  # it takes what Python hands over
                status = _command(given)
                sys.stdout.flush()  # here, where an end of the pipe is no traceback
                return status
        except KeyboardInterrupt:
            if ranks.first:
                _say("interrupted")
            return INTERRUPTED
        except SystemExit as stop:
            if stop.code in (TERMINATED, HUNG_UP) and ranks.first:
                _say("terminated")
            return int(stop.code or 0)  # else the parser has said what was wrong, or shown its help
        except Exception as error:  # noqa: BLE001  # said, with its traceback where it is a fault of ours
            return _failed(error, given)


@contextlib.contextmanager
def _said_before_the_end(ranks: Ranks) -> Iterator[None]:
    """Meanwhile what ended a run is said, though torchrun asks all of several ranks to end once one has ended."""
    if ranks.alone or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(given: Sequence[str]) -> int:
    if list(given) == ["--version"]:
        from importlib.metadata import version

        print(f"rtlab {version('rtlab')}")
        return DONE
    words, notes = translate(given)
    for note in notes:
        _say(note)
    return _done(_parsed(words))


def _done(verb: Verb) -> int:
    ranks = ranks_here()
    if not ranks.alone and not isinstance(verb, SHARED):
        name = type(verb).__name__.lower()
        raise ValueError(f"{name} is of one process; got {ranks.number} ranks; rtlab {name} without torchrun would do")
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd() is the same, and says no more
    except FileNotFoundError:
        raise ValueError("the working directory is no longer there; cd to one that is") from None
    if sys.flags.optimize > 1 and type(verb).__module__ != Tables.__module__:  # it works with more than records
        from rtlab.environment import check_docstrings

        check_docstrings()
    verb.output.check()
    return verb() or DONE


def _parsed(words: Sequence[str]) -> Verb:
    """The verb that the first word names, with its options.

    The parsers of the others are not built, but for an error, which then names options of theirs that are alike.
    """
    if sys.flags.optimize > 1:
        restore_docstrings()
    verbs = {verb.__name__.lower(): verb for verb in get_args(Verb)}
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    if words and words[0] in verbs:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                found: Verb = tyro.cli(verbs[words[0]], args=words[1:], prog=f"rtlab {words[0]}", config=config)
                return found
        except SystemExit as stop:
            if not stop.code:  # that was help
                raise
    about = "Adapt a small pretrained encoder to your sentences, and measure what each way costs and buys."
    return tyro.cli(Verb, args=words, prog="rtlab", description=about, config=config)


def _failed(error: Exception, given: Sequence[str]) -> int:
    """Say what ended the verb, in one line if it is no fault of ours, and give the exit status."""
    if not _is_to_tell():
        return WRONG if isinstance(error, ValueError) else FAILED
    if isinstance(error, BrokenPipeError) and error.filename == OUTPUT:  # whoever read has read enough, such as `head`
        drop(sys.stdout)
        return DONE
    if "--debug" in given:
        traceback.print_exc()
    if isinstance(error, ValueError):
        _say(_as_typed(clean(error), given))
        return WRONG
    from rtlab.engines.engine import out_of_memory  # here, not above: start-up stays light
    from rtlab.running import RunFailedError

    if isinstance(error, RunFailedError):
        _say(f"{error}; record {error.path}")
    elif isinstance(error, OSError) or out_of_memory(error):  # a full disk, a folder in a file's place
        _say("; ".join([str(error) or "out of memory", *getattr(error, "__notes__", ())]))
    elif "--debug" not in given:  # what nobody expected is not dressed up
        traceback.print_exc()
    if isinstance(error, OSError) and error.filename == OUTPUT:
        drop(sys.stdout)
    return FAILED


def _is_to_tell() -> bool:
    """Whether of several ranks this is the first that something went wrong on: the others would say it again."""
    ranks = ranks_here()
    if ranks.alone:
        return True
    from rtlab.rank_endings import first_to  # here, not above: start-up stays light

    return first_to("errors", or_else=ranks.first)


def _say(text: str) -> None:
    """A line on standard error."""
    print("rtlab:", clean(text), file=sys.stderr, flush=True)


def _as_typed(message: str, given: Sequence[str]) -> str:
    """A message that begins with a field's name, with the option in its place that the person typed for it."""
    field, _, rest = message.partition(" ")
    for word in given:
        option = word.partition("=")[0]
        name = option.removeprefix("--").replace("-", "_")
        if option.startswith("--") and field in (name, FIELDS.get(name)):
            return f"{option} {rest}"
    return message


def _warn(message: Warning | str, *_: object) -> None:
    """A warning in one line, without the place in the source that Python would print with it."""
    _say(str(message))
