"""Records: their JSON, their file, and what becomes of both when something goes wrong."""

import dataclasses
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.experiment import Experiment
from rtlab.metrics import Scores
from rtlab.records import (
    Counts,
    LogEntry,
    Memory,
    Predictions,
    RunRecord,
    Source,
    Timing,
    load,
    load_records,
    logits_as_json,
    save,
    write_whole,
)

DEVICE = "NVIDIA H200 (TM), 2 threads"


@pytest.fixture
def record():
    """A finished run, every field filled."""
    half = Scores(accuracy=0.5, precision=0.25, recall=0.75, f1=0.375)
    said = Predictions(labels=[0, 1], logits=[[0.5, -0.5], [0.25, 1.0]])
    return RunRecord(
        experiment=Experiment(encoder="minilm", dataset="corpus", method="lora"),
        id="0123456789abcdef",
        code="fedcba9876543210",
        status="ok",
        dataset=Source(name="corpus", revision=None, sha256="d" * 64),
        encoder=Source(name="minilm", revision="main", sha256="e" * 64),
        environment={"device": DEVICE, "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
        created_at="2026-01-02T03:04:05+00:00",
        scores={"validation": half, "test": half},
        predictions={"validation": said, "test": said},
        timing=Timing(**dict.fromkeys((field.name for field in dataclasses.fields(Timing)), 1.5)),
        counts=Counts(**dict.fromkeys((field.name for field in dataclasses.fields(Counts)), 7)),
        memory=Memory(peak_device=None, peak_host=2**30),
        history=(LogEntry(step=50, epoch=0.5, loss=0.7, learning_rate=1e-5, gradient_norm=1.25),),
        train_loss=0.6,
        final_loss=0.5,
    )


def unfinished(record, **changes):
    """The same run without a result."""
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None, "history": ()}
    ending = {"status": "failed", "error": "RuntimeError: no", "train_loss": None, "final_loss": None}
    return dataclasses.replace(record, **nothing | ending | changes)


def parts(folder):
    """Names of unfinished files."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part")]


# JSON


@given(strategies.run_records())
def test_json_gives_the_same_record_back(record):
    text = json.dumps(record.to_json(), allow_nan=False)
    back = RunRecord.from_json(json.loads(text))
    assert back == record
    assert json.dumps(back.to_json()) == text


def test_json_holds_every_field_of_the_design_the_schema_first(record):
    fields = record.to_json()
    assert next(iter(fields)) == "schema"
    assert fields["schema"] == 1
    assert set(fields) == {field.name for field in dataclasses.fields(RunRecord)}
    assert fields["experiment"] == record.experiment.to_json()
    assert fields["scores"]["test"] == {"accuracy": 0.5, "precision": 0.25, "recall": 0.75, "f1": 0.375}
    assert fields["memory"] == {"peak_device": None, "peak_host": 2**30}


@given(st.data())
def test_fp32_logits_survive_exactly(data):
    logits_NC = data.draw(strategies.finite_fp32(data.draw(st.integers(1, 4)), data.draw(st.integers(2, 4))))
    text = json.dumps(logits_as_json(logits_NC), allow_nan=False)
    assert np.array(json.loads(text), dtype=np.float32).tobytes() == logits_NC.tobytes()


def test_logits_are_the_shortest_decimals():
    logits_NC = np.array([[0.1, -1 / 3], [1e-45, 16777216.0]], dtype=np.float32)
    assert logits_as_json(logits_NC) == [[0.1, -0.33333334], [1e-45, 16777216.0]]
    assert {type(value) for row in logits_as_json(logits_NC) for value in row} == {float}


@pytest.mark.parametrize("kind", [Source, Predictions, Timing, Counts, Memory, LogEntry, RunRecord, Scores])
def test_what_a_record_is_made_of_is_frozen_and_named(kind, record):
    names = [field.name for field in dataclasses.fields(kind)]
    with pytest.raises(TypeError, match="positional argument"):
        kind(*names)
    made = record if kind is RunRecord else kind(**dict.fromkeys(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, names[0], None)


def test_parameters_trained_are_those_of_encoder_adapter_and_head():
    counts = Counts(
        parameters_total=1000,
        parameters_encoder=100,
        parameters_adapter=20,
        parameters_head=3,
        steps=None,
        samples=1,
        real_tokens=1,
        padding_tokens=0,
    )
    assert counts.parameters_trained == 123


# The file


def test_a_saved_record_loads_again(record, tmp_path):
    path = save(record, tmp_path / "deep" / "records")
    assert path == tmp_path / "deep" / "records" / record.file_name
    assert load(path) == record
    assert path.read_bytes().endswith(b"}\n")
    assert load_records(path.parent) == ((record,), {})
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_run_is_saved_like_any_other(record, tmp_path):
    for status in ("failed", "oom", "nan", "cancelled"):
        failed = unfinished(record, status=status, id=f"{status:0<16}")
        assert load(save(failed, tmp_path)) == failed
    assert len(load_records(tmp_path).records) == 4


def test_the_file_is_named_after_id_device_and_code(record):
    assert record.file_name == "0123456789abcdef-nvidia-h200-tm-2-threads-fedcba9876543210.json"
    others = [
        dataclasses.replace(record, id="0" * 16),
        dataclasses.replace(record, code="0" * 16),
        dataclasses.replace(record, environment={**record.environment, "device": "NVIDIA H200, 4 threads"}),
    ]
    assert len({one.file_name for one in (record, *others)}) == 4


def test_another_device_or_code_is_another_record_and_the_same_is_written_over(record, tmp_path):
    save(record, tmp_path)
    save(dataclasses.replace(record, code="0" * 16), tmp_path)
    save(dataclasses.replace(record, environment={**record.environment, "device": "cpu"}), tmp_path)
    assert len(load_records(tmp_path).records) == 3
    again = unfinished(record)
    assert load(save(again, tmp_path)) == again
    assert len(load_records(tmp_path).records) == 3


def test_records_load_oldest_first(record, tmp_path):
    moments = [("2026-01-03", "a"), ("2026-01-01", "c"), ("2026-01-02", "b"), ("2026-01-01", "0")]
    for day, id_ in moments:
        save(dataclasses.replace(record, created_at=day, id=id_), tmp_path)
    loaded = load_records(tmp_path).records
    assert [(one.created_at, one.id) for one in loaded] == sorted(moments)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_follow_the_umask(record, tmp_path, mask):
    before = os.umask(mask)
    try:
        path = save(record, tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_no_folder_holds_no_records(tmp_path):
    assert load_records(tmp_path / "none") == ((), {})


# Written whole or not at all


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "put",
    [
        lambda record, value: dataclasses.replace(record, train_loss=value),
        lambda record, value: dataclasses.replace(
            record, scores={**record.scores, "test": dataclasses.replace(record.scores["test"], f1=value)}
        ),
        lambda record, value: dataclasses.replace(
            record, predictions={"test": Predictions(labels=[0], logits=[[value, 0.0]])}
        ),
        lambda record, value: dataclasses.replace(
            record, history=(dataclasses.replace(record.history[0], gradient_norm=value),)
        ),
    ],
    ids=["loss", "score", "logit", "history"],
)
def test_numbers_that_json_has_no_word_for_are_refused_and_the_old_file_stays(record, tmp_path, put, value):
    path = save(record, tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(put(record, value), tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_text_is_on_the_disk_before_it_takes_the_files_place(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    seen = []
    fsync, replace = os.fsync, Path.replace

    def observed_fsync(descriptor):
        fsync(descriptor)
        seen.append(("fsync", os.fstat(descriptor).st_size, path.read_text()))

    def observed_replace(self, target):
        seen.append(("replace", len(self.read_text()), target.read_text()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", observed_fsync)
    monkeypatch.setattr(Path, "replace", observed_replace)
    write_whole(path, "brand-new")
    assert seen == [("fsync", 9, "old"), ("replace", 9, "old")]
    assert path.read_text() == "brand-new"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_part(record, tmp_path, monkeypatch, step, failure):
    path = save(record, tmp_path)
    before = path.read_bytes()

    def fail(*_):
        raise failure

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(type(failure)):
        save(unfinished(record), tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(record, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save(record, tmp_path / "file" / "records")
    assert (tmp_path / "file").read_text() == ""


def test_parts_that_a_killed_process_left_are_no_records(record, tmp_path):
    path = save(record, tmp_path)
    (tmp_path / f".{path.name}.0a1b2c3d.part").write_text('{"schema": 1,')
    assert load_records(tmp_path) == ((record,), {})


def test_writers_of_one_file_do_not_share_a_part(tmp_path, monkeypatch):
    names = []
    fsync = os.fsync

    def observed(descriptor):
        names.extend(parts(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", observed)
    for _ in range(3):
        write_whole(tmp_path / "file", "text")
    assert len(set(names)) == 3
    assert all(name.startswith(".file.") for name in names)


# Children save without end, in turn two versions of one record, and are killed at a random moment each.
KILLED_WRITERS = """
import dataclasses, os, random, signal, sys, time
from pathlib import Path
from rtlab import records

folder = Path(sys.argv[1])
one = records.load(next(folder.iterdir()))
said = records.Predictions(labels=[0, 1] * 20_000, logits=[[0.123456, -0.654321]] * 40_000)
versions = [dataclasses.replace(one, train_loss=loss, predictions={"test": said}) for loss in (1.0, 2.0)]
texts = [records.json.dumps(version.to_json()) for version in versions]
records.json.dumps = lambda fields, **_: texts[int(fields["train_loss"]) - 1]  # nearly all of the time is the writing's
versions = [dataclasses.replace(version, predictions={}) for version in versions]
path = records.save(versions[0], folder)
sizes = {len(text) + 1 for text in texts}
killed = random.Random(int(sys.argv[2]))
for child in range(60):
    pid = os.fork()
    if pid == 0:
        while True:
            for version in versions:
                records.save(version, folder)
    time.sleep(killed.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.stat().st_size in sizes, f"{path.stat().st_size} bytes after child {child}"
    if child % 10 == 0:
        records.load(path)
loaded = records.load_records(folder)
assert len(loaded.records) == 1, loaded.broken
print("parts", len(list(folder.glob(".*.part"))))
"""


def test_a_killed_process_leaves_whole_records_only(record, tmp_path, run_python):
    save(record, tmp_path)
    done = run_python(KILLED_WRITERS, tmp_path, 0, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("parts ")
    loaded = load_records(tmp_path)
    assert loaded.broken == {}
    assert len(loaded.records) == 1


# Broken files


def without(*names):
    return lambda fields: {name: value for name, value in fields.items() if name not in names}


def changed(**changes):
    return lambda fields: fields | changes


BROKEN = {
    "empty": (lambda _: "", "JSONDecodeError"),
    "truncated": (lambda text: text[: len(text) // 2], "JSONDecodeError"),
    "not utf-8": (lambda text: text.replace("corpus", "café").encode("latin-1"), "UnicodeDecodeError"),
    "NaN": (lambda text: text.replace("0.7", "NaN"), "NaN is not JSON"),
    "Infinity": (lambda text: text.replace("0.7", "-Infinity"), "-Infinity is not JSON"),
    "too deep": (lambda _: "[" * 100_000, "RecursionError"),
    "a list": (lambda _: "[]", "TypeError"),
    "a number": (lambda _: "1", "TypeError"),
}
BROKEN_FIELDS = {
    "another schema": (changed(schema=2), "the record is of schema 2, and this rtlab reads schema 1"),
    "no schema": (without("schema"), "KeyError: 'schema'"),
    "no experiment": (without("experiment"), "KeyError: 'experiment'"),
    "no id": (without("id"), "'id'"),
    "an unknown field": (changed(colour="red"), "'colour'"),
    "an unknown part of a field": (changed(timing={"load_s": 1.0, "colour": 2.0}), "'colour'"),
    "half of a field": (changed(memory={"peak_host": 1}), "'peak_device'"),
    "an invalid experiment": (changed(experiment={"epochs": 0}), "epochs must be"),
    "an unknown field of the experiment": (changed(experiment={"lr": 1}), "an experiment has no field lr"),
    "an unknown setting of the adapter": (
        changed(experiment={"method": "lora", "lora": {"r": 8}}),
        "lora has no field r",
    ),
    "scores as a list": (changed(scores=[1]), "AttributeError"),
    "history as a number": (changed(history=3), "TypeError"),
    "an unknown status": (
        changed(status="fine"),
        "status must be one of ok, failed, oom, nan, cancelled; got 'fine'",
    ),
    "no moment": (changed(created_at=None), "must be text"),
    "a number as id": (changed(id=3), "must be text"),
    "no environment": (changed(environment=None), "TypeError"),
    "no device": (changed(environment={"versions": {}}), "KeyError: 'device'"),
    "no versions": (changed(environment={"device": "cpu"}), "KeyError: 'versions'"),
    "ok without timing": (changed(timing=None), "a run with a result has"),
    "ok without counts": (changed(counts=None), "a run with a result has"),
    "ok without memory": (changed(memory=None), "a run with a result has"),
    "ok without scores": (changed(scores={}), "a run with a result has"),
}


def on_fields(change):
    return lambda text: json.dumps(change(json.loads(text)))


@pytest.mark.parametrize(
    ("breaking", "reason"),
    [
        *(pytest.param(*case, id=name) for name, case in BROKEN.items()),
        *(pytest.param(on_fields(change), reason, id=name) for name, (change, reason) in BROKEN_FIELDS.items()),
    ],
)
def test_a_broken_file_is_named_and_the_others_still_load(record, tmp_path, breaking, reason):
    path = save(record, tmp_path)
    text = breaking(path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    others = [dataclasses.replace(record, id=id_) for id_ in ("0" * 16, "f" * 16)]
    for other in others:
        save(other, tmp_path)
    loaded = load_records(tmp_path)
    assert list(loaded.records) == others
    assert list(loaded.broken) == [path]
    message = loaded.broken[path]
    assert message.startswith(f"{path} is not a readable record (")
    assert message.endswith("; move it away or run its experiment again")
    assert reason in message
    assert "\n" not in message
    with pytest.raises(ValueError, match="is not a readable record"):
        load(path)


def test_a_directory_named_like_a_record_is_named_and_the_others_still_load(record, tmp_path):
    save(record, tmp_path)
    (tmp_path / "folder.json").mkdir()
    loaded = load_records(tmp_path)
    assert loaded.records == (record,)
    assert list(loaded.broken) == [tmp_path / "folder.json"]
    assert "folder.json" in loaded.broken[tmp_path / "folder.json"]


def test_a_file_that_may_not_be_read_is_named_and_the_others_still_load(record, tmp_path, monkeypatch):
    path = save(record, tmp_path)
    other = save(dataclasses.replace(record, id="0" * 16), tmp_path)
    read = Path.read_bytes

    def refused(self):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refused)  # root may read whatever its mode
    loaded = load_records(tmp_path)
    assert [one.id for one in loaded.records] == ["0" * 16]
    assert str(path) in loaded.broken[path]
    assert other not in loaded.broken


def test_reading_needs_neither_torch_nor_pandas(record, tmp_path, run_python):
    save(record, tmp_path)
    code = (
        "import sys; from pathlib import Path; from rtlab.records import load_records;"
        "print(len(load_records(Path(sys.argv[1])).records), {'torch', 'pandas', 'sklearn'} & {*sys.modules})"
    )
    done = run_python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("1 set()\n", "")
