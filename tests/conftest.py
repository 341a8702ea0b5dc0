"""Fixtures: an environment of the tests' own, and the command line in this process or in one of its own."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import browser
import pytest
from hypothesis import settings

from rtlab.environment import ENDING

# Before torch is imported, here and in children: tiny tensors are computed faster by one thread than by several that
# wait for each other, and two workers with a thread for each core would, too.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# No deadline: on a machine that is shared, an example's time says nothing about the code.
settings.register_profile("rtlab", deadline=None)
settings.load_profile("rtlab")


_looked_through = 0  # modules there were when what they hold was last put aside


def pytest_runtest_setup():
    """What imports bring is put aside: a run collects garbage several times, and would look through all of torch."""
    global _looked_through  # noqa: PLW0603 - a hook has no other place
    if len(sys.modules) > _looked_through + 50:
        gc.collect()
        gc.freeze()
        _looked_through = len(sys.modules)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory):
    """No test reaches the hub, or reads or writes the user's caches; the built-in encoders are made once a run."""
    patch = pytest.MonkeyPatch()
    cache = tmp_path_factory.mktemp("cache")
    of_the_run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_the_run = of_the_run.parent
    patch.setenv("XDG_CACHE_HOME", str(of_the_run / "shared-cache"))
    patch.setenv("HF_HOME", str(cache / "huggingface"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("TOKENIZERS_PARALLELISM", "false")
    patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the user's home
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        patch.delenv(name, raising=False)  # a child is no worker: `pytest bench` would refuse to measure in one
    yield
    patch.undo()


@pytest.fixture
def rtlab(capsys, monkeypatch, tmp_path):
    """Run a command line in this process, in an empty directory: `rtlab("svm", "--encoder", …)`."""
    from rtlab.cli import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def rtlab_process(tmp_path):
    """Run a command line in a process of its own; keyword arguments are the environment's changes."""

    def call(*arguments, timeout=120, **changes):
        command = [sys.executable, "-m", "rtlab", *map(str, arguments)]
        environment = os.environ | {name: value for name, value in changes.items() if value is not None}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return call


@pytest.fixture(scope="session")
def start_process():
    """`subprocess.Popen` whose child can be interrupted however the tests were started: `nohup … &` ignores signals.

    What is ignored stays so in a child, what is handled does not: for the moment of the start there is a handler here.
    """

    def start(command, **options):
        ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]
        for number in ignored:
            signal.signal(number, lambda *_: None)
        try:
            return subprocess.Popen(command, **options)
        finally:
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

    return start


@pytest.fixture(scope="session")
def forkserver(tmp_path_factory):
    """A process that has imported all of rtlab: `forkserver.run("rtlab", "svm", …, cwd=folder)` starts in no time."""
    from forkserver import Forkserver

    server = Forkserver(tmp_path_factory.mktemp("forked"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def real_data():
    """The original rt-polarity directory that RTLAB_DATASET names."""
    folder = Path(os.environ.get("RTLAB_DATASET", ""))
    if not (folder / "rt-polarity.pos").is_file():
        pytest.skip("RTLAB_DATASET names no directory with rt-polarity.pos and rt-polarity.neg")
    return folder.resolve()


@pytest.fixture(scope="session")
def run_python():
    """Run code in a fresh interpreter: `run_python(code, *arguments, VARIABLE="value")`; None takes a variable away."""

    def run(code, *arguments, timeout=120, **changes):
        assert all(map(str.isupper, changes)), f"only variables of the environment can be given; got {list(changes)}"
        variables = {name: value for name, value in (os.environ | changes).items() if value is not None}
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=Path(__file__).parents[1],
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def hub_stand_in():
    """The module `hub`: `serving(Repository(…), …)` and `black_hole()` are contexts whose value is an `HF_ENDPOINT`."""
    import hub

    return hub


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A headless browser; where there is none, its tests say so."""
    if names := browser.missing():
        pytest.skip(f"{' and '.join(names)} not installed (Debian: apt-get install chromium chromium-driver)")
    with browser.chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
