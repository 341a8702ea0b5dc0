"""What a time depends on: the device's name, versions, and the digest of the code; and what else a record tells."""

import ast
import dataclasses
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rtlab import testbed  # not its names, which pytest would take for tests
from rtlab.methods import RESULTS

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
PACKAGE = Path(testbed.__file__).parent
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")


@pytest.fixture
def caches():
    """What is read once per process is read again, in the test and after it."""
    names = ("_processor", "_versions", "_nvidia_driver", "_checkout", "code_digest")
    cached = [getattr(testbed, name) for name in names]
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def pretended_gpu(monkeypatch, caches):
    """torch names a GPU that is not there."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")


# The device's name

EPYC = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
NAMES = {
    "AMD EPYC (family 25, model 17)": EPYC.format(family=25, model=17) + EPYC.format(family=1, model=2),
    "AMD EPYC (family 25, model 1)": EPYC.format(family=25, model=1),
    "AMD EPYC (family 23, model 1)": EPYC.format(family=23, model=1),
    "a-machine (implementer 0x41, part 0xd0c)": ARM.format(part="0xd0c"),
    "a-machine (implementer 0x41, part 0xd40)": ARM.format(part="0xd40"),
    "Xeon: the second": "model name\t: Xeon: the second\nmodel name\t: another\n",
    "a-machine": "processor\t: 0\nBogoMIPS\t: 50\n",
    "a-machine ": None,
}


@pytest.mark.parametrize(("name", "cpuinfo"), NAMES.items(), ids=NAMES)
def test_two_generations_of_a_processor_differ(monkeypatch, caches, cpuinfo, name):
    def read_text(self):
        assert self == Path("/proc/cpuinfo")
        if cpuinfo is None:
            raise FileNotFoundError(self)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "a-machine")
    assert testbed.device_name(CPU) == name.strip()


def test_a_gpu_is_named_by_its_product(pretended_gpu):
    assert testbed.device_name(CUDA) == "NVIDIA H200"


# The testbed


def test_the_testbed_of_this_process(monkeypatch):
    threads = torch.get_num_threads()
    found = testbed.testbed(CPU, "trainer")
    assert dataclasses.asdict(found) == {
        "device": testbed.device_name(CPU),
        "threads": threads,
        "torch": torch.__version__,
        **{name: testbed.importlib.metadata.version(name) for name in ("transformers", "peft", "tokenizers")},
        "code": testbed.code_digest("trainer"),
        "ranks": 1,
        "by_blas": "",
    }
    assert found == testbed.testbed(CPU, "trainer")
    assert found != testbed.testbed(CPU, "native")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert found != testbed.testbed(CPU, "trainer")


def test_a_processors_testbed_is_named_with_its_threads_and_a_gpus_without(pretended_gpu):
    threads = torch.get_num_threads()
    assert testbed.testbed(CPU, "svm").name == f"{testbed.device_name(CPU)}, {threads} threads"
    assert testbed.testbed(CUDA, "svm").name == "NVIDIA H200"


# The fingerprint


def test_the_fingerprint_tells_what_the_design_asks_for():
    found = testbed.fingerprint(CPU)
    assert set(found) == {
        *("device", "device_type", "driver", "cuda", "processor", "cores", "threads", "matmul_precision"),
        *("platform", "python", "versions", "commit", "dirty"),
    }
    assert found["device"] == found["processor"] == testbed.device_name(CPU) != ""
    assert found["device_type"] == "cpu"
    assert found["driver"] is found["cuda"] is None
    assert found["cores"] == os.cpu_count()
    assert found["threads"] == torch.get_num_threads()
    assert found["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert {"transformers", "peft", "datasets", "scikit-learn", "numpy"} <= set(found["versions"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_testbed_and_fingerprint_hold_no_host_name_and_no_path(monkeypatch, caches, tmp_path):
    names = {socket.gethostname(), platform.node()} - {""}
    monkeypatch.setattr(socket, "gethostname", lambda: "an-unlikely-host")
    monkeypatch.setattr(platform, "node", lambda: "an-unlikely-host")
    monkeypatch.chdir(tmp_path)
    text = json.dumps([testbed.fingerprint(CPU), dataclasses.asdict(testbed.testbed(CPU, "native"))])
    for word in ("an-unlikely-host", *names):
        assert not re.search(rf"\b{re.escape(word)}\b", text)
    for path in (Path.home(), Path.cwd(), PACKAGE.parent, Path(sys.prefix)):
        assert str(path) not in text
    assert not re.search(r'["\s]/\w', text)


def test_the_fingerprint_of_a_gpu_names_its_driver(pretended_gpu, monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && echo 570.1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = testbed.fingerprint(CUDA)
    assert (found["device"], found["device_type"], found["driver"]) == ("NVIDIA H200", "cuda", "570.1")
    assert found["cuda"] == torch.version.cuda
    assert found["processor"] != "NVIDIA H200"


def test_without_the_drivers_tool_the_driver_is_unknown(pretended_gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert testbed.fingerprint(CUDA)["driver"] is None


# The checkout


def git(folder, *arguments):
    who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(monkeypatch, caches, tmp_path):
    """A checkout of one source, its commit, and a function that gives what the fingerprint says: commit and dirty."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    package = tmp_path / "rtlab"
    package.mkdir()
    (package / "source.py").write_text("")
    monkeypatch.setattr(testbed, "_PACKAGE", package)

    def state():
        testbed._checkout.cache_clear()
        found = testbed.fingerprint(CPU)
        return found["commit"], found["dirty"]

    assert state() == (None, None)  # an installed package
    git(tmp_path, "init", "--quiet")
    assert state() == (None, True)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert state() == (commit, False)
    return tmp_path, commit, state


def test_a_changed_source_makes_the_tree_dirty(checkout):
    folder, commit, state = checkout
    (folder / "rtlab" / "source.py").write_text("changed")
    assert state() == (commit, True)


@pytest.mark.parametrize("name", ["rtlab/new.py", "new.json", "rtlab/results/new.json", "results-old/new.json"])
def test_a_new_file_makes_the_tree_dirty(checkout, name):
    folder, commit, state = checkout
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("new")
    assert state() == (commit, True)


def test_records_under_results_make_nothing_dirty(checkout):
    folder, commit, state = checkout
    record = folder / "results" / "records" / "2026" / "new.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert state() == (commit, False)
    (folder / "rtlab" / "source.py").write_text("changed")
    assert state() == (commit, True)


def test_without_git_the_state_is_unknown(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert checkout[2]() == (None, None)


# The digest of the code


def sources():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.fixture
def copied(tmp_path, monkeypatch, caches):
    """A copy of the package's sources that `code_digest` reads."""
    for path in sources():
        target = tmp_path / "rtlab" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / path, target)
    monkeypatch.setattr(testbed, "_PACKAGE", tmp_path / "rtlab")
    return tmp_path / "rtlab"


def digest(engine="native"):
    return testbed.code_digest.__wrapped__(engine)


def modules(engine):
    return {path.relative_to(testbed._PACKAGE).as_posix() for path in testbed.modules_of(engine)}


def test_the_modules_are_those_that_train_and_evaluate():
    native = {f"engines/{name}.py" for name in ("native", "attention", "operations", "packing", "capture")}
    assert {"environment.py", "batches.py", "tokens.py"} | native <= modules("native")
    assert {"environment.py", "engines/svm.py", "engines/reading.py"} <= modules("svm")
    assert {"environment.py", "dataset_dict.py", "engines/trainer.py"} <= modules("trainer")
    assert not {"batches.py", "tokens.py", "engines/attention.py", *native} & modules("trainer")
    assert not {"engines/native.py", "engines/trainer.py"} & modules("svm")
    assert not {"engines/svm.py", "engines/trainer.py"} & modules("native")


@pytest.mark.parametrize("engine", RESULTS)
def test_what_asks_records_and_shows_is_none_of_the_modules(engine):
    rooms = {name.split("/")[0].removesuffix(".py") for name in modules(engine)}
    no_part = (
        "records",
        "reporting",
        "cli",
        "data",
        "experiment",
        "values",
        "testbed",
        "running",
        "studies",
        "encoders",
    )
    assert not rooms & set(no_part)


@pytest.mark.parametrize("engine", RESULTS)
def test_every_import_among_the_modules_is_followed_or_named_as_not_timed(engine):
    """Also one that is written in another way, or of a package: these would be left out in silence."""
    found = modules(engine)
    for name in found:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.split(".")[0] == "rtlab"], name
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rtlab":
                for alias in node.names:
                    room, *rest = [*node.module.split(".")[1:], alias.name]
                    files = {"/".join([room, *rest[:depth]]) + ".py" for depth in range(len(rest) + 1)}
                    assert room in testbed._NOT_TIMED or files & found, f"{name} imports {node.module}.{alias.name}"


@pytest.mark.parametrize("engine", RESULTS)
def test_the_digest_does_not_depend_on_where_the_package_lies(copied, monkeypatch, engine):
    (copied / "engines" / "notes.txt").write_text("no source")
    there = digest(engine)
    assert re.fullmatch(r"[0-9a-f]{16}", there)
    monkeypatch.setattr(testbed, "_PACKAGE", PACKAGE)
    assert digest(engine) == there


def test_engines_have_digests_of_their_own():
    assert len({digest(engine) for engine in RESULTS}) == len(RESULTS)


def test_the_digest_is_of_no_version_of_python():
    """What later versions add to a tree, and what is empty, is not in the text that the digest is taken of."""
    tree = ast.parse("def f(a, *, b=0):\n    return f'{a:>3}' if b else None\nclass C:\n    x: int = 1\n")
    before = testbed._written(tree)
    for node in ast.walk(tree):
        node.type_params = []  # as of Python 3.12
        node._fields = (*node._fields, "type_params")
    assert testbed._written(tree) == before
    assert testbed._written(ast.parse("x = 0")) != testbed._written(ast.parse("x = 1"))


@pytest.mark.parametrize("name", ["engines/native.py", "engines/attention.py", "batches.py", "environment.py"])
def test_the_digest_changes_with_the_code_that_trains(copied, name):
    before = digest()
    with (copied / name).open("a") as file:
        file.write("\nx = 1\n")
    assert digest() != before


@pytest.mark.parametrize("engine", RESULTS)
def test_the_digest_does_not_change_with_any_other_code(copied, engine):
    before, timed = digest(engine), modules(engine)
    others = [path for path in sources() if path.as_posix() not in timed]
    assert len(others) > 20
    for path in others:
        with (copied / path).open("a") as file:
            file.write("\nx = 1\n")
    assert digest(engine) == before


def test_comments_docstrings_and_blank_lines_do_not_change_the_digest(copied):
    source = copied / "engines" / "native.py"
    code = 'import os\n\n\nclass A:\n    def f(self):\n        return "text"\n\n    async def g(self):\n        pass\n'
    source.write_text(code)
    before = digest()
    source.write_text(
        '"""A module."""\n# a comment\nimport os  # another\n\n\n\nclass A:\n    """A class."""\n\n    def f(self):\n'
        '        """A method."""\n        return "text"\n\n    async def g(self):\n        """A coroutine."""\n'
    )
    assert digest() == before
    source.write_text(code.replace('"text"', '"another text"'))
    assert digest() != before


def test_the_digest_is_taken_once_a_process(copied):
    before = testbed.code_digest("native")
    (copied / "engines" / "native.py").write_text("x = 1\n")
    assert testbed.code_digest("native") == before != digest()


# On a real GPU


@needs_cuda
def test_the_gpu_is_named():
    found = testbed.fingerprint(CUDA)
    assert found["device"] == torch.cuda.get_device_name()
    assert re.fullmatch(r"[\d.]+", found["driver"])
    assert found["cuda"] == torch.version.cuda
    json.dumps(found, allow_nan=False)
