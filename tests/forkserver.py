"""A process that has imported all of rtlab and forks others: each starts in milliseconds, where torch takes seconds.

For tests of what a whole process does: its streams, its status, its death. What depends on a fresh interpreter (which
modules are imported, variables that a library reads as it is imported) is tested in one.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path

PATIENCE_S = 600  # a forked process that hangs is ended, and with it its test


class Forkserver:
    """Starts processes of a server."""

    def __init__(self, folder):
        self.folder, self.started = folder, 0
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
        self.process = subprocess.Popen([sys.executable, __file__], env=variables, **pipes)

    def ask(self, **question):
        self.process.stdin.write(f"{json.dumps(question)}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, program, *arguments, cwd, stdin=os.devnull, out=None, **changes):
        """Start `rtlab`, `pytest` or a script, leading a session of its own; None takes a variable away.

        Returns:
            The process, with the methods of `subprocess.Popen`; its output is in files, if `out` is not a named pipe.
        """
        self.started += 1
        out, err = out or self.folder / f"{self.started}.out", self.folder / f"{self.started}.err"
        variables = {name: value for name, value in (os.environ | changes).items() if value is not None}
        words = [str(word) for word in (program, *arguments)]
        out.touch()  # there to be read before the process has opened it
        err.touch()
        files = [str(path) for path in (stdin, out, err)]
        return Forked(self, self.ask(start=words, cwd=str(cwd), files=files, variables=variables), out, err)

    def run(self, program, *arguments, cwd, **changes):
        """Start it, and wait for its end: as `subprocess.run` with text."""
        process = self.start(program, *arguments, cwd=cwd, **changes)
        out, err = process.communicate()
        return subprocess.CompletedProcess([program, *arguments], process.returncode, out, err)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Forked:
    """A process of the server; its id is no other's until its end was asked for."""

    def __init__(self, server, pid, out, err):
        self.server, self.pid, self.out, self.err = server, pid, out, err
        self.returncode = None

    def poll(self, options=os.WNOHANG):
        if self.returncode is None:
            self.returncode = self.server.ask(status=self.pid, options=options)
        return self.returncode

    def wait(self):
        return self.poll(0)

    def communicate(self):
        self.wait()
        return self.out.read_text(), self.err.read_text()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)


# The server


def import_all() -> None:
    import rtlab

    for module in pkgutil.walk_packages(rtlab.__path__, "rtlab."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # one that needs an extra: no command line here does
                importlib.import_module(module.name)
    import peft  # noqa: F401 - imported by the functions that use it, as those below
    import pytest  # noqa: F401
    from sklearn.svm import LinearSVC  # noqa: F401
    from transformers import BertForSequenceClassification, DistilBertForSequenceClassification, Trainer  # noqa: F401


def serve() -> None:
    import_all()
    gc.freeze()  # what they share, no collection in one of them looks through
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            pid = os.fork()
            if pid == 0:
                run(**asked)
            answer(pid)
        else:
            pid, status = os.waitpid(asked["status"], asked["options"])
            answer(os.waitstatus_to_exitcode(status) if pid else None)


def run(start, cwd, files, variables) -> None:
    """Be that program, from its first statement to its exit."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        for descriptor, path in enumerate(files):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT if descriptor else os.O_RDONLY)
            os.dup2(opened, descriptor)
            os.close(opened)
        sys.stdin = os.fdopen(0)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(variables)
        status = called(*start)
    except SystemExit as error:
        status = error.code or 0
    except BaseException:  # noqa: BLE001 - as an interpreter does; a test shows it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # nothing of the process that it was forked from may run at its end


def called(program, *arguments) -> int:
    match program:
        case "rtlab":
            from rtlab.cli import main

            return main(list(arguments))
        case "pytest":
            import pytest

            return pytest.main(["--assert=plain", *arguments])  # plugins were imported before they could be rewritten
        case script:
            sys.argv = [script, *arguments]
            runpy.run_path(script, run_name="__main__")
            return 0


def answer(value) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
