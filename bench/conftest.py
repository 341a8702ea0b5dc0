"""The lab's experiment under pytest-benchmark: its options, its cases, where results go, and the scores beside times.

pytest-benchmark writes once, at the end of a session; records are written by `rtlab` the moment a run ends, so a
session that is killed loses the run in flight and nothing else.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from sizes import SIZES, Size

from rtlab import environment
from rtlab.experiment import Experiment, Precision
from rtlab.methods import RESULTS, Adapter, Full
from rtlab.records import RunRecord
from rtlab.reporting.markup import as_text
from rtlab.reporting.tables import LEGEND, tables
from rtlab.studies import FIRST_SEED, Study, study
from rtlab.testbed import code_digest, fingerprint, testbed

ROOT = Path(__file__).parent.parent
STORAGE = "results/benchmarks"
RECORDS = pytest.StashKey[list[RunRecord]]()
NOTES = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Case:
    """One case: experiments that differ in the seed alone, each a round."""

    id: str
    experiments: tuple[Experiment, ...]

    @property
    def first(self) -> Experiment:
        return self.experiments[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    options = parser.getgroup("rtlab", "what is measured")
    options.addoption("--study", choices=get_args(Study), default="smoke", help="the matrix of cases (smoke)")
    options.addoption("--encoder", help="in place of the study's encoder")
    options.addoption("--dataset", help="in place of the study's data set; RTLAB_DATASET but for smoke")
    options.addoption("--engine", help="only the cases of this engine")
    options.addoption("--part", type=int, help="only one part of the study evidence, 1 to 4")
    options.addoption("--seeds", type=int, help="seeds per case, each a round (the study's: 1, up to 5 in evidence)")
    options.addoption("--device", choices=("cpu", "cuda"), help="where to compute (cuda where there is one)")
    options.addoption("--precision", choices=get_args(Precision), help="compare engines in it (fp32; in lab, in each)")
    options.addoption("--epochs", type=int, help="in place of the study's epochs")
    options.addoption("--limit", type=int, help="sentences kept per split")
    options.addoption("--output-dir", help="where records go (results; results/smoke for the study smoke)")
    options.addoption("--other-devices", action="store_true", help="compare with benchmarks of another device as well")


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark opens its storage
def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORDS] = []
    config.stash[NOTES] = []
    if config.option.benchmark_storage == "file://./.benchmarks":
        slug = re.sub(r"[^a-z0-9]+", "-", _device_name(config).lower()).strip("-")
        config.option.benchmark_storage = f"file://{ROOT / STORAGE / slug}"
    if config.option.benchmark_disable:
        raise pytest.UsageError("pytest bench always measures; without --benchmark-disable it would")
    _cases(config)  # what cannot be is said before anything runs


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cases of a study first: what runs the native engine in this process changes how its memory is allocated after.

    A study that says no sizes of other comparisons has none.
    """
    items.sort(key=lambda item: item.path.name != "test_study.py")
    if config.option.study not in SIZES:
        config.hook.pytest_deselected(items=[item for item in items if item.path.name != "test_study.py"])
        items[:] = [item for item in items if item.path.name == "test_study.py"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:  # it is a comparison of engines
        size, precision = SIZES.get(metafunc.config.option.study, SIZES["smoke"]), metafunc.config.option.precision
        every = {"precision": size.precisions if precision is None else (precision,), "method": size.methods}
        for name in set(every).intersection(metafunc.fixturenames):
            metafunc.parametrize(name, every[name])
        return
    found = _cases(metafunc.config)
    # Parameters of their own, so that --benchmark-group-by=param:padding and the like work.
    names = ("method", "padding", "learning_rate", "target_modules", "engine")
    metafunc.parametrize(
        ("case_id", *names), [(case.id, *_parameters(case.first)) for case in found], ids=[case.id for case in found]
    )


@pytest.fixture
def case(request: pytest.FixtureRequest, case_id: str) -> Case:
    _skip_lab_without_cuda(request.config)
    return next(case for case in _cases(request.config) if case.id == case_id)


@pytest.fixture
def base(request: pytest.FixtureRequest) -> Experiment:
    """Full fine-tuning on the reference engine as the study has it: what comparisons of engines start from."""
    _skip_lab_without_cuda(request.config)
    firsts = (case.first for case in _cases(request.config))
    found = next((first for first in firsts if isinstance(first.method, Full) and first.engine == "trainer"), None)
    if found is None:
        pytest.skip("engines are compared where --engine leaves both in")
    return found


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    """How much comparisons of engines measure."""
    return SIZES[request.config.option.study]


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str | None:
    return request.config.option.device


@pytest.fixture
def output_dir(request: pytest.FixtureRequest) -> Path:
    given = request.config.option.output_dir
    if given is not None:
        return Path(given)
    return ROOT / "results" / ("smoke" if request.config.option.study == "smoke" else "")


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> list[RunRecord]:
    """The records of this session; what is added to it stands in the closing table."""
    return request.config.stash[RECORDS]


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> list[str]:
    """What comparisons came to; each stands as a line at the end of the session."""
    return request.config.stash[NOTES]


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)  # a saved benchmark names no host
    device = environment.find_device(config.option.device)
    code = {engine: code_digest(engine) for engine in RESULTS}
    machine_info["rtlab"] = fingerprint(device) | {"testbed": testbed(device, "native").name, "code": code}


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    here = machine_info["rtlab"]["testbed"]
    there = compared_benchmark["machine_info"].get("rtlab", {}).get("testbed", "an unknown testbed")
    if here != there and not config.option.other_devices:
        raise pytest.UsageError(
            f"--benchmark-compare would compare {here} with {there}; --other-devices does so all the same"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Drop frames that were interrupted before their first line: pytest fails to show them, and ends in a traceback."""
    frame = excinfo.tb
    while frame is not None and frame.tb_next is not None:
        if frame.tb_next.tb_lineno is None:
            frame.tb_next = frame.tb_next.tb_next
        else:
            frame = frame.tb_next


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[NOTES]:
        terminalreporter.section("engines compared")
        terminalreporter.write_line("\n\n".join(config.stash[NOTES]))
    if not config.stash[RECORDS]:
        return
    terminalreporter.section("methods compared")
    shown = [block for block in tables(config.stash[RECORDS]) if block.name in ("comparison", "padding", "methods")]
    terminalreporter.write_line(as_text(shown, LEGEND))


def _skip_lab_without_cuda(config: pytest.Config) -> None:
    if config.option.study == "lab" and config.option.device is None and environment.find_device().type != "cuda":
        pytest.skip("the study lab is for CUDA, and there is no CUDA device; --device cpu runs it all the same")


def _device_name(config: pytest.Config) -> str:
    try:
        return testbed(environment.find_device(config.option.device), "native").name
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _cases(config: pytest.Config) -> list[Case]:
    given = config.option
    dataset = given.dataset or (os.environ.get("RTLAB_DATASET") if given.study != "smoke" else None)
    try:
        experiments = study(
            given.study,
            encoder=given.encoder,
            dataset=dataset,
            engine=given.engine,
            part=given.part,
            seeds=given.seeds,
            epochs=given.epochs,
            limit=given.limit,
        )
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    cases: dict[Experiment, list[Experiment]] = {}
    for experiment in experiments:
        cases.setdefault(replace(experiment, seed=FIRST_SEED), []).append(experiment)
    named = Counter(map(_case_id, cases))
    return [
        Case(_case_id(first) if named[_case_id(first)] == 1 else _long_id(first), tuple(members))
        for first, members in cases.items()
    ]


def _case_id(experiment: Experiment) -> str:
    limit = "" if experiment.limit is None else f"-of{experiment.limit}"
    return f"{experiment.label}{limit}"


def _long_id(experiment: Experiment) -> str:
    """With epochs and lengths, where a study has cases that differ in them alone."""
    return "-".join(experiment.title.replace(" sentences a split", "").replace(" ", "").split(",")[:-1])


def _parameters(experiment: Experiment) -> tuple[object, ...]:
    method, recipe = experiment.method, experiment.method.recipe
    modules = "+".join(method.target_modules) if isinstance(method, Adapter) else "-"
    if recipe is None:
        return (method.name, "-", "-", modules, "-")
    return (method.name, recipe.padding, recipe.learning_rate, modules, recipe.engine)
