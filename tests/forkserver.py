"""A process that has imported all of rtlab and forks command lines: each starts in milliseconds, for tests of kills.

A line of standard input is a command line, as JSON, and is answered with the process id; the next line asks for the
exit status, and until then the id is no other process's. Its output goes to the file that the first argument names.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import sys
from pathlib import Path


def import_all() -> None:
    import rtlab

    for module in pkgutil.walk_packages(rtlab.__path__, "rtlab."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # one that needs an extra: no command line here does
                importlib.import_module(module.name)
    from sklearn.svm import LinearSVC  # noqa: F401 - imported by the functions that use it, as those below
    from transformers import DistilBertForSequenceClassification, Trainer  # noqa: F401


def run(arguments: list[str], log: Path) -> None:
    """Be that command line, from its first statement to its exit."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(into, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        from rtlab.cli import main

        status = main(arguments)
    finally:
        os._exit(status)  # nothing of the process that it was forked from may run at its end


def serve(log: Path) -> None:
    import_all()
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            run(json.loads(line), log)
        answer(pid)
        sys.stdin.readline()
        _, status = os.waitpid(pid, 0)
        answer(os.waitstatus_to_exitcode(status))


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
