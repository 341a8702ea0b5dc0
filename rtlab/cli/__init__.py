"""The command line: one verb for each thing the lab does. The only place that prints.

Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1 the run failed (its
record is written), 2 the request was wrong (nothing was run), 130 interrupted, 143 terminated.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence

import tyro

from rtlab.cli.lab_steps import translate
from rtlab.cli.options import DONE, FAILED, INTERRUPTED, TERMINATED, WRONG
from rtlab.cli.reading import Claims, Compare, Figures, Report, Tables
from rtlab.cli.using import Evaluate, Merge, Predict
from rtlab.cli.working import Explore, Finetune, Lora, Probe, Svm, Sweep, Tokenize

Verb = (
    Explore
    | Probe
    | Svm
    | Tokenize
    | Finetune
    | Lora
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
# Options that are called otherwise than the fields that they set.
FIELDS = {
    "lr": "learning_rate",
    **dict.fromkeys(("rank", "lora_rank"), "r"),
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: The words behind the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from importlib.metadata import version

        print(f"rtlab {version('rtlab')}")
        return DONE
    try:
        words, notes = translate(given)
        for note in notes:
            print(f"rtlab: {note}", file=sys.stderr)
        verb = tyro.cli(
            Verb,
            args=words,
            prog="rtlab",
            description="Adapt a small pretrained encoder to your sentences, and measure what each way costs and buys.",
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    except SystemExit as stop:  # the parser has said what was wrong, or shown its help
        return int(stop.code or 0)
    return _guarded(verb, given)


def _guarded(verb: Verb, given: Sequence[str]) -> int:
    try:
        verb.output.check()
        with _terminable(), warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]  # it takes what Python hands over
            status = verb() or DONE
            sys.stdout.flush()  # here, where an end of the pipe is no traceback
            return status
    except KeyboardInterrupt:
        print("rtlab: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        print("rtlab: terminated", file=sys.stderr)
        return int(stop.code or 0)
    except BrokenPipeError:  # whoever read has read enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere, and quietly
        return DONE
    except Exception as error:
        if verb.output.debug:
            traceback.print_exc()
        if isinstance(error, ValueError):
            print("rtlab:", _as_typed(" ".join(str(error).split()), given), file=sys.stderr)
            return WRONG
        from rtlab.running import RunFailedError  # here, not above: start-up stays light

        if isinstance(error, RunFailedError):
            print(f"rtlab: {error}; record {error.path}", file=sys.stderr)
        elif isinstance(error, OSError):  # a full disk, a folder in a file's place
            print(f"rtlab: {' '.join(str(error).split())}", file=sys.stderr)
        else:
            raise
        return FAILED


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Meanwhile SIGTERM ends this process as Ctrl-C does, by an exception: a run then leaves its record."""
    if threading.current_thread() is not threading.main_thread():  # only that one may
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
    print("rtlab:", " ".join(str(message).split()), file=sys.stderr)
