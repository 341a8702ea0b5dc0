"""Fixtures: an environment of the tests' own, and the command line in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

# No deadline: on a machine that is shared, an example's time says nothing about the code.
settings.register_profile("rtlab", deadline=None)
settings.load_profile("rtlab")


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory):
    """No test reaches the hub, or reads or writes the user's caches."""
    patch = pytest.MonkeyPatch()
    cache = tmp_path_factory.mktemp("cache")
    patch.setenv("XDG_CACHE_HOME", str(cache))
    patch.setenv("HF_HOME", str(cache / "huggingface"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("TOKENIZERS_PARALLELISM", "false")
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
