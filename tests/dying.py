"""Ways in which the process of a sweep's run ends, in place of the run; a fresh process finds them here by name."""

import os
import signal
import time
from pathlib import Path


def killed(*_):
    """As the kernel does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def segmentation_fault(*_):
    """As a library's fault does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def aborted(*_):
    """As C++ and Rust do."""
    os.abort()


def left(*_):
    """Without a word."""
    os._exit(3)


def silent(*_):
    """Without having done anything."""


def killed_after_its_record(_, folder, *__):
    """The record lies ready beside the folder."""
    place = Path(folder) / "records"
    place.mkdir()
    [ready] = (Path(folder).parent / "ready").iterdir()
    ready.rename(place / ready.name)
    killed()


def deaf(_, folder, *__):
    """It ends by no signal that can be ignored, and says so by a file."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    (Path(folder) / "deaf").touch()
    time.sleep(600)


def _at_first(error, arguments):
    from rtlab.scheduling import processes

    def fail(*_, **__):
        raise error

    processes.Run = fail
    processes._run_one(*arguments)


def no_memory(*arguments):
    """Before it can record anything."""
    _at_first(MemoryError(), arguments)


def no_file(*arguments):
    """Likewise."""
    _at_first(ValueError("no file '/home/somebody/x.csv'\x1b[2J"), arguments)
