"""A run that is ended on the way and goes on from its checkpoint is, bit for bit, one that was not."""

import dataclasses
import json
import random
import signal
import time

import numpy as np
import pytest
import small
import torch

from rtlab import testbed as testbeds
from rtlab.engines import resuming
from rtlab.engines.native import NativeEngine
from rtlab.engines.resuming import FACTS, TENSORS, Checkpoints
from rtlab.engines.state import gather, put_back
from rtlab.records import load
from rtlab.running import Run

AT_ONCE = 1e-9  # minutes: after each step
EVERYTHING = {
    "epochs": 3,
    "learning_rate": 1e-2,
    "logging_steps": 5,
    "accumulate": 2,
    "weight_decay": 0.01,
    "warmup": 0.2,
    "class_weights": "balanced",
    "evaluate": 2,
    "keep": "best",
    "metric": "loss",
}
RUNS = {
    "full": ("full", {"epochs": 2, "logging_steps": 5}),
    "lora": ("lora", {"epochs": 2, "padding": "dynamic"}),
    "everything": ("full", EVERYTHING),
    "contrastive": ("contrastive", {"epochs": 2}),
}


class EndedError(BaseException):
    """As a signal ends a run: by no Exception."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("checkpoints") / "data", small.THREE)


def asked(data, name="full", **fields):
    """A run with dropout, whose draws are a part of its state."""
    method, usual = RUNS[name]
    return small.experiment(data, method, encoder="tiny-bert", engine="native", **usual | fields)


def run(experiment, folder, *, end_at=None, **named):
    """The record of a run, unless it is to end at a step."""

    def progress(phase, done, _):
        if (phase, done) == ("training", end_at):
            raise EndedError

    return Run(experiment, output_dir=folder, device="cpu", progress=progress, **named).execute()


def ended(experiment, folder, step, **named):
    """End a run after a step, before its checkpoint."""
    with pytest.raises(EndedError):
        run(experiment, folder, end_at=step, checkpoint_minutes=AT_ONCE, **named)


def there(folder):
    return sorted(path.name for path in folder.glob("checkpoints/*/*"))


def same(found, expected):
    """All but what a clock or a machine says."""
    moved = {"created_at", "timing", "memory", "environment"}
    for field in dataclasses.fields(expected):
        if field.name not in moved:
            assert getattr(found, field.name) == getattr(expected, field.name), field.name


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_as_if_it_had_not_been_ended(data, tmp_path, name):
    expected = run(asked(data, name), tmp_path / "whole")
    for step in (4, 7):
        ended(asked(data, name), tmp_path / "parts", step, resume=step > 4)
        assert there(tmp_path / "parts") == [str(step - 1)]
    found = run(asked(data, name), tmp_path / "parts", resume=True)
    same(found, expected)
    assert there(tmp_path / "parts") == []
    assert not (tmp_path / "parts" / "checkpoints" / found.id).exists()


def test_checkpoints_change_nothing_of_a_run(data, tmp_path):
    expected = run(asked(data), tmp_path / "without")
    found = run(asked(data), tmp_path / "with", checkpoint_minutes=AT_ONCE)
    same(found, expected)
    assert there(tmp_path / "with") == []


def test_the_seconds_of_all_parts_add_up(data, tmp_path):
    ended(asked(data), tmp_path, 9)
    [folder] = (tmp_path / "checkpoints").glob("*/8")
    facts = json.loads((folder / FACTS).read_text())
    facts["seconds"]["train"], facts["others"] = 1000.0, 0.75
    (folder / FACTS).write_text(json.dumps(facts))
    timing = run(asked(data), tmp_path, resume=True).timing
    assert 1000 < timing.train_s < 1100
    assert timing.others >= 0.75  # the part that was most disturbed says whether its time may stand in a table


def test_without_being_asked_a_run_begins_anew(data, tmp_path):
    """And what an earlier one left stays until there is a new checkpoint: who forgot to ask can still do so."""
    ended(asked(data), tmp_path, 4)
    for step, left in ((1, ["3"]), (3, ["2"])):
        with pytest.warns(UserWarning, match="a checkpoint of this run, from which it does not go on; --resume would"):
            ended(asked(data), tmp_path, step)
        assert there(tmp_path) == left


def test_another_run_has_other_checkpoints(data, tmp_path):
    ended(asked(data), tmp_path, 4)
    with pytest.warns(UserWarning, match="there is no checkpoint of this run to go on from; it begins anew"):
        ended(asked(data, seed=7), tmp_path, 3, resume=True)
    assert there(tmp_path) == ["2", "3"]


@pytest.mark.parametrize(
    ("field", "value", "said"), [("code", "0" * 16, "another code of rtlab"), ("torch", "2.0", "torch 2.0, not ")]
)
def test_a_checkpoint_of_other_code_is_not_gone_on_from(data, tmp_path, field, value, said):
    ended(asked(data), tmp_path, 4)
    [folder] = (tmp_path / "checkpoints").glob("*/3")
    facts = json.loads((folder / FACTS).read_text())
    facts["testbed"][field] = value
    (folder / FACTS).write_text(json.dumps(facts))
    with pytest.warns(UserWarning, match=f"the checkpoint of step 3 is of {said}.*; the run begins anew"):
        found = run(asked(data), tmp_path, resume=True)
    assert found.counts.steps == 12


@pytest.mark.parametrize("file", [TENSORS, FACTS])
def test_what_cannot_be_read_is_left_for_the_one_before(data, tmp_path, file):
    expected = run(asked(data), tmp_path / "whole")
    ended(asked(data), tmp_path, 4)
    [good] = (tmp_path / "checkpoints").glob("*/3")
    bad = good.with_name("5")
    bad.mkdir()
    for name in (TENSORS, FACTS):
        (bad / name).write_bytes(b"{" if name == file else (good / name).read_bytes())
    with pytest.warns(UserWarning, match="the checkpoint of step 5 cannot be read: "):
        found = run(asked(data), tmp_path, resume=True)
    same(found, expected)


def test_a_full_disk_ends_no_run(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resuming, "write_whole", full)
    with pytest.warns(UserWarning, match=r"the checkpoint of step \d+ was not written: .*No space left on device"):
        record = run(asked(data, epochs=1), tmp_path, checkpoint_minutes=AT_ONCE)
    assert record.status == "ok"
    assert there(tmp_path) == []


def test_one_is_written_after_so_many_minutes(monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setattr(resuming.time, "monotonic", lambda: now[0])
    here = testbeds.testbed(torch.device("cpu"), "native")
    found = Checkpoints(tmp_path, minutes=2, resume=False, testbed=here)
    due = []
    for seconds in (0, 119, 120):
        now[0] = float(seconds)
        due.append(found.due())
    assert due == [False, False, True]
    assert not Checkpoints(tmp_path, minutes=None, resume=True, testbed=here).due()


def test_every_generator_goes_on_where_it_was(data, tmp_path):
    """Also those that the native engine does not draw from today."""
    task = small.task(asked(data))
    engine = NativeEngine(task)
    found = Checkpoints(tmp_path, minutes=None, resume=True, testbed=testbeds.testbed(torch.device("cpu"), "native"))
    parts = (engine._step, engine._validation, task.watch)
    random.gauss(0, 1)
    np.random.normal()  # noqa: NPY002  # each then keeps the second of two normal numbers
    found.write(gather(*parts, found, history=[], logged=0))

    def drawn():
        return random.gauss(0, 1), random.random(), *np.random.normal(size=3), *torch.rand(3).tolist()  # noqa: NPY002

    expected = drawn()
    assert drawn() != expected
    put_back(found.read(), *parts)
    assert drawn() == expected


def test_a_checkpoint_holds_nothing_that_must_be_unpickled(data, tmp_path):
    ended(asked(data, "everything"), tmp_path, 6)
    assert sorted(path.name for path in tmp_path.glob("checkpoints/*/*/*")) == [FACTS, TENSORS]


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), True, "5"])
def test_minutes_out_of_range_are_refused(data, tmp_path, minutes):
    with pytest.raises(ValueError, match=r"^checkpoint_minutes must be finite and above 0; got "):
        Run(asked(data), output_dir=tmp_path, device="cpu", checkpoint_minutes=minutes)


@pytest.mark.parametrize(
    ("named", "field"), [({"checkpoint_minutes": 1}, "checkpoint_minutes"), ({"resume": True}, "resume")]
)
@pytest.mark.parametrize("method", ["full", "svm"])
def test_other_engines_have_no_checkpoints(data, tmp_path, named, field, method):
    experiment = small.experiment(data, method)
    with pytest.raises(
        ValueError, match=rf"^{field} is for engine native on device cpu; got engine {experiment.engine} on"
    ):
        Run(experiment, output_dir=tmp_path, device="cpu", **named)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_gone_on_from(data, tmp_path, forkserver):
    """SIGKILL, at a moment of the machine's choice."""
    options = ("--encoder", "tiny-bert", "--dataset", data, "--device", "cpu", "--batch-size", "2", "--epochs", "4")
    command = ("rtlab", "finetune", *options, "--checkpoint-minutes", "1e-9", "--output-dir")
    assert forkserver.start(*command, tmp_path / "whole", cwd=tmp_path).wait() == 0
    process = forkserver.start(*command, tmp_path / "parts", cwd=tmp_path)
    while not there(tmp_path / "parts"):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() != 0
    assert there(tmp_path / "parts")
    again = forkserver.start(*command, tmp_path / "parts", "--resume", cwd=tmp_path)
    assert again.wait() == 0, again.communicate()
    [expected], [found] = (list((tmp_path / part / "records").iterdir()) for part in ("whole", "parts"))
    same(load(found), load(expected))
    assert there(tmp_path / "parts") == []
