"""Records: their JSON, their folder, which only grows, and what becomes of both when something goes wrong."""

import contextlib
import dataclasses
import inspect
import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rtlab import testbed  # not its names, which pytest would take for tests
from rtlab.experiment import Experiment
from rtlab.metrics import Scores
from rtlab.records import (
    Classes,
    Counts,
    LogEntry,
    Memory,
    Predictions,
    RunRecord,
    Source,
    Timing,
    checking,
    files,
    load,
    load_records,
    save,
    write_whole,
)
from rtlab.values import to_json

ENDINGS = ("failed", "oom", "nan", "cancelled")


@pytest.fixture
def record():
    """A finished run, every field filled."""
    return strategies.example_record()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A file that property tests write over and over."""
    return tmp_path_factory.mktemp("records") / "drawn.json"


def unfinished(record, **changes):
    """The same run without a result."""
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None, "history": ()}
    ending = {"status": "failed", "error": "RuntimeError: no", "train_loss": None, "final_loss": None}
    return dataclasses.replace(record, **nothing | ending | changes)


def read(place, content):
    """The record that these bytes make, and else the message that names them, which is one line."""
    place.write_bytes(content)
    loaded = load_records(place.parent)
    if loaded.records:
        assert loaded.broken == {}
        return loaded.records[0]
    message = loaded.broken[place]
    assert message.startswith(f"{place} is no readable record (")
    assert message.endswith("); move it away")
    assert message.isprintable()
    assert len(message) < 1000
    return message


# JSON


@given(strategies.run_records())
def test_a_file_gives_the_same_record_back(place, record):
    text = json.dumps(record.to_json(), allow_nan=False)
    back = read(place, text.encode())
    assert back == record
    assert json.dumps(back.to_json()) == text


def test_json_holds_every_field_of_the_design_the_schema_first(record):
    fields = record.to_json()
    assert next(iter(fields)) == "schema"
    assert fields["schema"] == 2
    assert set(fields) == {"schema", *(field.name for field in dataclasses.fields(RunRecord))}
    assert fields["experiment"] == record.experiment.to_json()
    assert fields["scores"]["test"] == to_json(record.scores["test"])
    assert set(fields["scores"]["test"]) == {
        *("accuracy", "precision", "recall", "f1"),
        *("macro_f1", "by_class", "confusion"),
    }
    assert fields["memory"] == {"peak_device": None, "peak_host": 2**30, "peak_reserved": None}
    assert fields["predictions"]["test"]["labels"] == [0, 1, 1, 0]


@given(strategies.finite_fp32(3, 3))
def test_fp32_logits_survive_exactly(logits_NC):
    said = Predictions(labels=np.zeros(3, dtype=np.int32), logits=logits_NC)
    text = json.dumps(said.to_json(), allow_nan=False)
    assert np.array(json.loads(text)["logits"], dtype=np.float32).tobytes() == logits_NC.tobytes()


def test_logits_are_the_shortest_decimals():
    logits_NC = np.array([[0.1, -1 / 3], [1e-45, 16777216.0]], dtype=np.float32)
    written = Predictions(labels=np.zeros(2, dtype=np.int32), logits=logits_NC).to_json()["logits"]
    assert written == [[0.1, -0.33333334], [1e-45, 16777216.0]]
    assert {type(value) for row in written for value in row} == {float}


@pytest.mark.parametrize(
    "kind", [Source, Predictions, Classes, Timing, Counts, Memory, LogEntry, RunRecord, Scores, testbed.Testbed]
)
def test_what_a_record_is_made_of_is_frozen_and_named(kind, record):
    names = [field.name for field in dataclasses.fields(kind)]
    with pytest.raises(TypeError, match="positional argument"):
        kind(*names)
    made = record if kind is RunRecord else kind(**dict.fromkeys(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, names[0], None)


def test_parameters_trained_are_those_of_encoder_adapter_and_head(record):
    counts = dataclasses.replace(record.counts, parameters_encoder=100, parameters_adapter=20, parameters_head=3)
    assert counts.parameters_trained == 123


def test_predictions_are_equal_by_their_numbers(record):
    said = record.predictions["test"]
    assert said == Predictions(labels=said.labels.copy(), logits=said.logits.copy())
    assert said != Predictions(labels=1 - said.labels, logits=said.logits)
    assert said != Predictions(labels=said.labels, logits=-said.logits)
    assert said.classes.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("others", "undisturbed"), [(None, True), (0.0, True), (0.049, True), (0.05, False)])
def test_a_time_stands_in_a_table_where_others_took_little(record, others, undisturbed):
    timed = dataclasses.replace(record, timing=dataclasses.replace(record.timing, others=others))
    assert timed.undisturbed is undisturbed
    assert not unfinished(timed).undisturbed


# The folder


def test_a_saved_record_loads_again(record, tmp_path):
    path = save(record, tmp_path / "deep" / "records")
    assert path.parent == tmp_path / "deep" / "records"
    assert path.name.startswith("0123456789abcdef-20260102030405-")
    assert load(path) == record
    assert path.read_bytes().endswith(b"}\n")
    assert load_records(tmp_path) == ((record,), {})
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("status", ENDINGS)
def test_a_run_without_a_result_is_saved_like_any_other(record, tmp_path, status):
    failed = unfinished(record, status=status)
    assert load(save(failed, tmp_path)) == failed


def test_a_run_without_a_result_has_no_scores_of_other_splits(record, place):
    of_train = {"scores": {"train": record.scores["test"]}, "predictions": {"train": record.predictions["test"]}}
    message = read(place, text_of(unfinished(record, **of_train)).encode())
    assert "scores and predictions must be those of validation and test" in message


def test_a_run_whose_model_was_not_saved_keeps_its_scores(record, tmp_path):
    ok = dataclasses.replace(record, error="No space left on device")
    assert load(save(ok, tmp_path)) == ok


def untouched(path):
    about = path.stat()
    return path.read_bytes(), about.st_mtime_ns, about.st_ino, about.st_mode


def test_saving_adds_and_touches_nothing_that_is_there(record, tmp_path):
    first = save(record, tmp_path)
    before = untouched(first)
    later = [record, *(unfinished(record, status=status) for status in ENDINGS)]
    paths = {save(one, tmp_path) for one in later}
    assert untouched(first) == before
    assert len(paths | {first}) == 6
    assert len(load_records(tmp_path).records) == 6


SAVER = """
import sys; from pathlib import Path
from rtlab.records import load, save
record = load(Path(sys.argv[1]))
print("ready", flush=True); sys.stdin.readline()
for _ in range(20):
    save(record, Path(sys.argv[2]))
"""


def test_processes_that_save_the_same_run_at_once_lose_nothing(record, tmp_path):
    path = save(record, tmp_path / "records")
    before = untouched(path)
    command = [sys.executable, "-c", SAVER, str(path), str(path.parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[1]}
    savers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for saver in savers:
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        saver.stdin.write("go\n")
        saver.stdin.flush()
    for saver in savers:
        saver.communicate()
        assert saver.returncode == 0
    assert untouched(path) == before
    loaded = load_records(path.parent)
    assert len(loaded.records) == 41
    assert loaded.broken == {}
    assert {one == record for one in loaded.records} == {True}


def test_records_load_oldest_first(record, tmp_path):
    moments = [
        ("2026-01-03T00:00:00+00:00", "a" * 16),
        ("2026-01-01T00:00:00.500000+00:00", "b" * 16),
        ("2026-01-02T00:00:00+00:00", "c" * 16),
        ("2026-01-01T00:00:00+00:00", "d" * 16),
        ("2026-01-01T00:00:00+00:00", "0" * 16),
    ]
    for moment, id_ in moments:
        save(dataclasses.replace(record, created_at=moment, id=id_), tmp_path)
    loaded = load_records(tmp_path).records
    assert [one.id[0] for one in loaded] == ["0", "d", "b", "c", "a"]


def test_records_are_found_at_any_depth(record, tmp_path):
    deep = tmp_path / "a" / "b.json" / ".c" / "d e"
    paths = [save(dataclasses.replace(record, id=f"{n:016}"), deep.parents[n]) for n in range(4)]
    loaded = load_records(tmp_path)
    assert [one.id for one in loaded.records] == [f"{n:016}" for n in range(4)]
    assert list(loaded.broken) == [tmp_path / "a" / "b.json"]
    assert len(paths) == 4


def test_folders_within_each_other_are_searched_without_end(record, tmp_path):
    """Without a call within a call for each level, of which Python has a thousand."""
    path = save(record, tmp_path.joinpath(*"a" * 150))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        loaded = load_records(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert loaded == ((record,), {})
    assert path.is_file()


def test_a_link_to_where_nobody_may_look_is_no_error(record, tmp_path, monkeypatch):
    class Entry:
        def __init__(self, path):
            self.path, self.name = str(path), path.name

        def __fspath__(self):
            return self.path

        def is_symlink(self):
            return True

        def is_dir(self):
            raise PermissionError(13, "Permission denied", self.path)

    path = save(record, tmp_path)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: [*scandir(folder), Entry(tmp_path / "link")])
    assert load_records(tmp_path) == ((record,), {})
    assert path.is_file()


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


def test_a_path_that_is_no_utf8_makes_no_record_that_cannot_be_read(record, tmp_path):
    """A folder called `café` in Latin-1, as Python names it."""
    odd = b"caf\xe9".decode(errors="surrogateescape")
    experiment = dataclasses.replace(record.experiment, dataset=odd)
    saved = save(dataclasses.replace(record, experiment=experiment, error=f"no {odd}", id="f" * 16), tmp_path)
    back = load(saved)
    assert back.experiment.dataset == "caf\ufffd"
    assert back.error == "no caf\ufffd"


def test_without_logits_the_classes_are_the_same(record, tmp_path):
    path = save(record, tmp_path)
    short = load(path, logits=False)
    for split, said in record.predictions.items():
        assert isinstance(short.predictions[split], Classes)
        assert short.predictions[split].classes.tolist() == said.classes.tolist()
        assert short.predictions[split].labels.tolist() == said.labels.tolist()
    assert dataclasses.replace(short, predictions={}) == dataclasses.replace(record, predictions={})
    with pytest.raises(AssertionError, match="without its logits is not written"):
        save(short, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=25)
@given(record=strategies.run_records(statuses=("ok",)))
def test_without_logits_drawn_classes_are_the_same(place, record):
    place.write_text(json.dumps(record.to_json()))
    short = load_records(place.parent, logits=False).records[0]
    for split, said in record.predictions.items():
        assert short.predictions[split].classes.tolist() == said.classes.tolist()


def test_equal_labels_are_kept_once(record, tmp_path):
    for id_ in ("1" * 16, "2" * 16):
        save(dataclasses.replace(record, id=id_), tmp_path)
    one, other = load_records(tmp_path).records
    assert one.predictions["test"].labels is other.predictions["validation"].labels
    assert one.predictions["test"].logits is not other.predictions["test"].logits


def test_a_saved_record_is_read_by_the_fast_reader_alone(record, tmp_path, monkeypatch):
    """The other one, which finds keys that stand twice, takes several times as long."""
    path = save(record, tmp_path)
    monkeypatch.setattr(files, "json", None)
    assert load(path) == record


def test_predictions_as_save_writes_them_are_read_without_a_list_for_each_sentence(record, tmp_path, monkeypatch):
    path = save(record, tmp_path)
    monkeypatch.setattr(checking, "_predictions", None)
    assert load(path) == record


def test_reading_needs_neither_torch_nor_pandas(record, tmp_path, run_python):
    save(record, tmp_path)
    code = (
        "import sys; from pathlib import Path; from rtlab.records import load_records;"
        "print(len(load_records(Path(sys.argv[1])).records), {'torch', 'pandas', 'sklearn'} & {*sys.modules})"
    )
    done = run_python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("1 set()\n", "")


# Written whole or not at all


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "put",
    [
        lambda record, value: dataclasses.replace(record, train_loss=value),
        lambda record, value: dataclasses.replace(
            record, scores={**record.scores, "test": dataclasses.replace(record.scores["test"], f1=value)}
        ),
        lambda record, value: dataclasses.replace(
            record,
            predictions={"test": Predictions(labels=np.zeros(1, np.int32), logits=np.array([[value, 0]], np.float32))},
        ),
        lambda record, value: dataclasses.replace(
            record, history=(dataclasses.replace(record.history[0], gradient_norm=value),)
        ),
    ],
    ids=["loss", "score", "logit", "history"],
)
def test_numbers_that_json_has_no_word_for_are_refused_and_nothing_is_written(record, tmp_path, put, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(put(record, value), tmp_path)
    assert list(tmp_path.iterdir()) == []


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
def test_a_failed_write_leaves_what_is_there_and_no_part(record, tmp_path, monkeypatch, step, failure):
    path = save(record, tmp_path)
    before = untouched(path)

    def fail(*_):
        raise failure

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(type(failure)):
        save(unfinished(record), tmp_path)
    assert untouched(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_in_the_middle_leaves_no_part(record, tmp_path):
    """The system itself refuses to write more than a thousand bytes to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = save(record, tmp_path)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(OSError, match="File too large"):
            save(record, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == [path]
    assert load(path) == record


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(record, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save(record, tmp_path / "file" / "records")
    assert (tmp_path / "file").read_text() == ""


def test_writers_of_one_file_do_not_share_a_part(tmp_path, monkeypatch):
    names = []
    fsync = os.fsync

    def observed(descriptor):
        names.extend(path.name for path in tmp_path.iterdir() if path.suffix == ".part")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", observed)
    for _ in range(3):
        write_whole(tmp_path / "file", "text")
    assert len(set(names)) == 3
    assert all(name.startswith(f".rtlab-{os.getpid()}-") for name in names)


KILLED_AT = """
import os, signal, sys; from pathlib import Path
from rtlab.records import load, save

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

record = load(Path(sys.argv[1]))
if sys.argv[2] == "fsync":
    os.fsync = die
else:
    Path.replace = die
save(record, Path(sys.argv[1]).parent)
"""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_process_killed_in_the_middle_leaves_a_part_that_is_no_record(record, tmp_path, run_python, step):
    path = save(record, tmp_path)
    before = untouched(path)
    done = run_python(KILLED_AT, path, step)
    assert done.returncode == -signal.SIGKILL
    assert [one.suffix for one in tmp_path.iterdir() if one != path] == [".part"]
    assert untouched(path) == before
    assert load_records(tmp_path) == ((record,), {})


# Children save without end and are killed at a random moment each.
KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from rtlab.records import files, load, load_records, save

folder = Path(sys.argv[1])
first = next(folder.iterdir())
record, before = load(first), first.read_bytes()
text = before.decode().rstrip("\\n").replace("0.5", "0.5" + " " * 1_000_000, 1)
files.json.dumps = lambda *_, **__: text  # nearly all of the time is the writing's
size, killed, parts = len(text) + 1, random.Random(0), 0
for child in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        while True:
            save(record, folder)
    time.sleep(killed.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert first.read_bytes() == before
    for path in folder.iterdir():
        if path.suffix == ".part":
            parts += 1
            path.unlink()
        elif path != first:
            assert path.stat().st_size == size, f"{path.stat().st_size} bytes after child {child}"
            if child % 10 == 0:
                assert load(path) == record
            path.unlink()
print("parts", parts)
"""


@pytest.mark.parametrize("kills", [30, pytest.param(300, marks=pytest.mark.thorough)])
def test_killed_processes_leave_whole_records_only(record, tmp_path, run_python, kills):
    save(record, tmp_path)
    done = run_python(KILLED_WRITERS, tmp_path, kills, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("parts ")
    assert load_records(tmp_path) == ((record,), {})


# Strict reading: bytes that are no record


def text_of(record):
    return json.dumps(record.to_json())


def repeated(text):
    """The text with a key of its outer object once more."""
    return text.replace('"id":', '"status": "ok", "id":', 1)


BYTES = {
    "empty": (lambda _: "", "empty document"),
    "blank": (lambda _: " \n", "is empty"),
    "truncated": (lambda text: text[: len(text) // 2], ""),
    "without its last sign": (lambda text: text[:-1], ""),
    "two documents": (lambda text: text + text, "unexpected content"),
    "something behind it": (lambda text: text + "x", "unexpected content"),
    "Latin-1": (lambda text: text.replace("corpus", "café").encode("latin-1"), "UTF-8"),
    "UTF-16": (lambda text: text.encode("utf-16"), ""),
    "a byte order mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), "BOM"),
    "half a surrogate, escaped": (lambda text: text.replace("corpus", "\\ud800"), "surrogate"),
    "half a surrogate, raw": (lambda text: text.replace("corpus", "x").encode() + b"\xed\xa0\x80", ""),
    "a control character": (lambda text: text.replace("corpus", "a\x01b"), "control character"),
    "zeros": (lambda _: b"\0" * 10_000, ""),
    "NaN": (lambda text: text.replace("0.7", "NaN"), ""),
    "Infinity": (lambda text: text.replace("0.7", "-Infinity"), ""),
    "1e999": (lambda text: text.replace("0.7", "1e999"), "infinity"),
    "an endless number": (lambda text: text.replace("0.7", "7" * 5000), "infinity"),
    "a comma too many": (lambda text: text.replace("[[", "[[,", 1), ""),
    "deep lists": (lambda _: "[" * 100_000, "depth"),
    "deep objects": (lambda text: text.replace('"corpus"', '{"a":' * 900 + "1" + "}" * 900, 1), ""),
    "deep lists in a record": (lambda text: text.replace('"NVIDIA H200"', "[" * 900 + "]" * 900), ""),
    "deep lists in a place for anything": (
        lambda text: text.replace('{"torch": "2.13.0", "transformers": "5.23.0"}', "[" * 100 + "]" * 100),
        "environment.versions must have at most 20 lists and objects within each other",
    ),
    "a list": (lambda _: "[]", "a record is an object"),
    "a number": (lambda _: "1", "a record is an object"),
    "null": (lambda _: "null", "a record is an object"),
    "a key twice": (repeated, "a key stands twice"),
    "a key twice, with another value": (
        lambda text: text.replace('"id":', '"id": "ffffffffffffffff", "id":', 1),
        "a key stands twice",
    ),
    "a key twice, once spaced": (
        lambda text: repeated(text).replace('"status":', '"status" \t:', 1),
        "a key stands twice",
    ),
    "a key twice, all spaced": (lambda text: repeated(text).replace('":', '"\n:'), "a key stands twice"),
    "a key twice, escaped": (
        lambda text: repeated(text).replace('"status":', '"st\\u0061tus":', 1),
        "a key stands twice",
    ),
    "a key twice, within": (
        lambda text: text.replace('"labels":', '"labels": [0, 1, 1, 0], "labels":', 1),
        "a key stands twice",
    ),
    "a key twice, in a list": (lambda text: text.replace('"step": 50', '"step": 50, "step": 50'), "a key stands twice"),
    "a key twice, in a list of lists": (
        lambda text: text.replace('"2.13.0"', '[[{"a":1,"a":1}]]'),
        "a key stands twice",
    ),
    "a key twice, beside a text that looks like one": (
        lambda text: repeated(text).replace('"error": null', r'"error": "\"x\":"'),
        "a key stands twice",
    ),
}


@pytest.mark.parametrize(("breaking", "reason"), BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_record_are_named(record, place, breaking, reason):
    content = breaking(text_of(record))
    message = read(place, content if isinstance(content, bytes) else content.encode())
    assert isinstance(message, str), "it was read"
    assert reason in message


@pytest.mark.parametrize(
    "written",
    [
        lambda fields: json.dumps(fields, indent=2),
        lambda fields: json.dumps(fields, separators=(",", ":")),
        lambda fields: json.dumps(fields, separators=(" , ", " : ")),
        lambda fields: json.dumps(dict(sorted(fields.items(), reverse=True))),
        lambda fields: json.dumps(fields).replace('"id"', '"\\u0069d"'),
        lambda fields: "\n\t " + json.dumps(fields) + " \r\n",
        lambda fields: json.dumps(fields, ensure_ascii=False),
    ],
    ids=["indented", "dense", "spaced", "in another order", "escaped", "in blanks", "not escaped"],
)
def test_json_may_be_written_in_any_way(record, place, written):
    said = dataclasses.replace(record, error='größer: "id":"x", "id": {"a" : 1} \\ 😀')
    assert read(place, written(said.to_json()).encode()) == said


NEARLY_AS_SAVED = {
    "rows of other lengths, as many numbers in all": ("[0.5, -0.5], [0.25, 1.0]", "[0.5, -0.5, 0.25], [1.0]"),
    "a row of three": ("[0.25, 1.0]", "[0.25, 1.0, 2.0]"),
    "rows within rows": ("[0.25, 1.0]", "[[0.25, 1.0]]"),
    "no number": ("[0.25, 1.0]", "[, 1.0]"),
    "two numbers in one place": ("[0.25, 1.0]", "[0.25 1.0, ]"),
    "a leading zero": ("[0.25, 1.0]", "[00.25, 1.0]"),
    "no digits": ("[0.25, 1.0]", "[-, 1.0]"),
    "a whole number": ("[0.25, 1.0]", "[0, 1]"),
    "an exponent": ("[0.25, 1.0]", "[2.5e-1, 1E0]"),
    "beyond 32 bits": ("[0.25, 1.0]", "[0.25, 1e39]"),
    "beyond 64 bits": ("[0.25, 1.0]", "[0.25, 1e999]"),
    "true as a logit": ("[0.25, 1.0]", "[0.25, true]"),
    "true as a label": ("[0, 1, 1, 0]", "[0, true, 1, 0]"),
    "null as a label": ("[0, 1, 1, 0]", "[0, null, 1, 0]"),
    "a label with a point": ("[0, 1, 1, 0]", "[0, 1.0, 1, 0]"),
    "a label below 0": ("[0, 1, 1, 0]", "[0, -1, 1, 0]"),
    "a label too many": ("[0, 1, 1, 0]", "[0, 1, 1, 0, 1]"),
    "a label that is no class": ("[0, 1, 1, 0]", "[0, 2, 1, 0]"),
    "a label of 40 digits": ("[0, 1, 1, 0]", f"[0, {'1' * 40}, 1, 0]"),
    "no labels": ("[0, 1, 1, 0]", "[]"),
    "a number changed": ("[0.25, 1.0]", "[1.25, 1.0]"),
    "a list closed within": ("[0.25, 1.0]", '[0.25, 1.0]]}, "more": {"labels": [0], "logits": [[1.0, 2.0]'),
    "predictions before": ('"error": null', '"error": null, "predictions": {}'),
    "predictions deeper": ('"device": "NVIDIA H200", "versions"', '"predictions": {"validation": {}}, "versions"'),
    "a field after": ("]]}}}", ']]}}, "error": null}'),
    "a brace after": ("]]}}}", "]]}}}}"),
    "a brace less": ("]]}}}", "]]}}"),
    "a text after": ("]]}}}", "]]}}} x"),
    "blanks after": ("]]}}}", "]]}}} \t\r\n"),
    "a form feed after": ("]]}}}", "]]}}}\f"),
    "nothing before": ('{"schema"', '{, "schema"'),
}


@pytest.mark.parametrize(("there", "instead"), NEARLY_AS_SAVED.values(), ids=NEARLY_AS_SAVED)
@pytest.mark.parametrize("times", [1, -1], ids=["once", "everywhere"])
def test_what_is_nearly_as_save_writes_it_is_read_as_any_other_json(record, place, monkeypatch, there, instead, times):
    text = text_of(record)
    assert there in text
    content = text.replace(there, instead, times).encode()
    quickly = read(place, content)
    monkeypatch.setattr(checking, "_as_saved", lambda _: None)
    assert read(place, content) == quickly


# Strict reading: JSON that is no record


def at(*path):
    """A change of a record's JSON: another value at a path of names; without a value, none."""

    def change(fields, *value):
        inner = fields
        for name in path[:-1]:
            inner = inner[name]
        if value:
            inner[path[-1]] = value[0]
        else:
            del inner[path[-1]]

    return change


METHOD, TEST = ("experiment", "method"), ("predictions", "test")
MISSING = object()
NO_NUMBER = (True, "1", None, [], {})
NO_WHOLE_NUMBER = (True, "1", None, 1.0, 1.5, [], 2**64)
ONE_CLASS = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}
FIELDS = [
    (("schema",), (MISSING, 1, 3, 2.0, "2", None, True, [2]), "it is of schema "),
    (("experiment",), (MISSING,), "record lacks the field experiment"),
    (("experiment",), (None, [], "x"), "record.experiment must be an object with fields"),
    (
        ("experiment", "lr"),
        (1,),
        "record.experiment has no field lr; its fields are dataset, dataset_options,",
    ),
    (
        (*METHOD, "kind"),
        (MISSING, "lora", None, 1, ["svm"]),
        "record.experiment.method.kind must be one of words, svm, full",
    ),
    ((*METHOD, "pooling"), ("cls",), "record.experiment.method has no field pooling"),
    ((*METHOD, "recipe", "epochs"), (0, -1), "epochs must be a whole number of at least 1"),
    ((*METHOD, "recipe", "epochs"), NO_WHOLE_NUMBER, "record.experiment.method.recipe.epochs must be a whole number"),
    ((*METHOD, "recipe", "learning_rate"), NO_NUMBER, "learning_rate must be a finite number"),
    ((*METHOD, "recipe", "learning_rate"), (0, -1.0), "learning_rate must be finite and above 0"),
    ((*METHOD, "settings", "r"), (8.0, True, "8", None, 0), "r must be a whole number of at least 1"),
    ((*METHOD, "settings"), ([], None, "x"), "record.experiment.method.settings must be an object"),
    (("experiment", "seed"), NO_WHOLE_NUMBER, "record.experiment.seed must be a whole number"),
    (("experiment", "seed"), (-1, 2**32), "seed must be "),
    (("id",), (MISSING,), "record lacks the field id"),
    (("id",), (3, None), "record.id must be a text"),
    (("id",), ("", "0" * 15, "0" * 17, "G" * 16, "A" * 16, "../../../../../a", "0" * 16 + "\n"), "id must be 16 hex"),
    (("results",), NO_WHOLE_NUMBER, "record.results must be a whole number"),
    (("results",), (-1,), "record.results must not be negative"),
    (("status",), ("fine", "OK", None, 1), "record.status must be one of ok, failed, oom, nan, cancelled"),
    (("colour",), ("red",), "record has no field colour; its fields are chosen, counts, created_at, dataset, "),
    (("dataset", "sha256"), (MISSING,), "record.dataset lacks the field sha256"),
    (("encoder", "name"), (None, 1), "record.encoder.name must be a text"),
    (("testbed",), (MISSING, None, []), "testbed"),
    (("testbed", "threads"), NO_WHOLE_NUMBER, "record.testbed.threads must be a whole number"),
    (("testbed", "threads"), (-1,), "testbed.threads must not be negative"),
    (("testbed", "host"), ("x",), "record.testbed has no field host"),
    (("environment",), (None, [], "cpu"), "record.environment must be an object"),
    (("environment", "device"), (MISSING, None, 1), "environment.device must be a text"),
    (("created_at",), (None, 1), "record.created_at must be a text"),
    (
        ("created_at",),
        (
            "",
            "yesterday",
            "2026-13-01T00:00:00+00:00",
            "2026-01-02T03:04:05",
            "2026-01-02",
            "2026-01-02T03:04:05+01:00",
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05+00:00",
            "20260102T030405+0000",
        ),
        "created_at must be in UTC and written as ",
    ),
    (("error",), (1, ["x"]), "record.error must be a text"),
    (("timing",), (MISSING, None), "a run with a result has timing, counts, memory"),
    (("counts",), (MISSING, None), "a run with a result has timing, counts, memory"),
    (("memory",), (MISSING, None), "a run with a result has timing, counts, memory"),
    (("timing", "colour"), (1.0,), "record.timing has no field colour"),
    (("timing", "train_s"), NO_NUMBER, "record.timing.train_s must be a finite number"),
    (("timing", "train_s"), (-1e-9, -5), "timing.train_s must not be negative"),
    (("timing", "steps_per_s"), (-1.0,), "timing.steps_per_s must not be negative"),
    (("timing", "others"), (-0.1,), "timing.others must not be negative"),
    (("timing", "others"), (1.01, 2), "timing.others must lie in 0 … 1"),
    (("counts", "steps"), (True, 1.0, "1", 2**64), "record.counts.steps must be a whole number"),
    (("counts", "samples"), NO_WHOLE_NUMBER, "record.counts.samples must be a whole number"),
    (("counts", "samples"), (-1,), "counts.samples must not be negative"),
    (("memory", "peak_device"), (MISSING,), "record.memory lacks the field peak_device"),
    (("memory", "peak_host"), (-1,), "memory.peak_host must not be negative"),
    (("history",), (3, None, {}), "record.history must be a list"),
    (("history", 0), (3, None, []), "record.history must be an object with fields"),
    (("history", 0, "step"), NO_WHOLE_NUMBER, "record.history.step must be a whole number"),
    (("history", 0, "step"), (-1,), "history.step must not be negative"),
    (("history", 0, "loss"), (-0.5,), "history.loss must not be negative"),
    (("train_loss",), (True, "1", []), "record.train_loss must be a finite number"),
    (("train_loss",), (-0.5,), "record.train_loss must not be negative"),
    (("scores",), ([1], None, 1), "record.scores must be an object"),
    (("scores",), (MISSING, {}), "scores and predictions must be those of validation and test"),
    (("scores", "test"), (MISSING,), "scores and predictions must be those of validation and test"),
    (("scores", "train"), ({"accuracy": 1, "precision": 1, "recall": 1, "f1": 1},), "those of validation and test"),
    (("scores", "test", "f1"), NO_NUMBER, "record.scores.test.f1 must be a finite number"),
    (("scores", "test", "accuracy"), (0.75 + 1e-8, 0, 1, -1, 1.5), "and the logits give 0.75"),
    (("scores", "test", "macro_f1"), (0.5, 2, -1), "scores.test.macro_f1 is "),
    (("scores", "test", "macro_f1"), (True, "1", []), "record.scores.test.macro_f1 must be a finite number"),
    (("scores", "test", "by_class"), (None, {}, 1), "record.scores.test.by_class must be a list"),
    (("scores", "test", "by_class"), ([ONE_CLASS], [ONE_CLASS] * 3), "scores.test.by_class is "),
    (("scores", "test", "by_class", 1, "f1"), (0.5,), "scores.test.by_class is "),
    (("scores", "test", "by_class", 1, "support"), (3, -1), "scores.test.by_class is "),
    (("scores", "test", "by_class", 1, "support"), (2.0, True), "support must be a whole number"),
    (("scores", "test", "by_class", 1, "f1"), (MISSING,), "by_class lacks the field f1"),
    (
        ("scores", "test", "confusion"),
        ([[2, 0]], [[1, 1], [1, 1]], [[2, 0, 0], [1, 1, 0]]),
        "scores.test.confusion is ",
    ),
    (("scores", "test", "confusion", 0), ([2, False], [2.0, 0], ["2", 0]), "confusion must be a whole number"),
    (("dataset", "classes"), (["a"], ["a", "b", "c"], ["a", "a"]), "dataset.classes must be a name for each class"),
    (("dataset", "classes"), ("ab", [1, 2], None), "record.dataset.classes must be a "),
    (("predictions",), (MISSING, {}), "scores and predictions must be those of validation and test"),
    (("predictions",), (None, [], "x"), "predictions must be an object"),
    (TEST, (MISSING,), "scores and predictions must be those of validation and test"),
    (TEST, (None, [], {}, {"labels": [0]}), "predictions.test must be an object with labels and logits"),
    ((*TEST, "more"), (1,), "predictions.test must be an object with labels and logits"),
    ((*TEST, "labels"), ([], None, "0110", [0, 1, 1, True], [0, 1, 1, 0.0], [0, 1, 1, [0]]), "list of whole numbers"),
    ((*TEST, "labels"), ([0, 1, 1], [0, 1, 1, 0, 0]), "predictions.test.logits must be a list of numbers for each"),
    ((*TEST, "labels", 0), (2, -1), "predictions.test.labels must be below 2"),
    ((*TEST, "labels", 0), (2**31, 2**63, -(2**40)), ""),
    ((*TEST, "labels", 0), (1,), "and the logits give"),
    ((*TEST, "logits"), ([], None, {}, "x", 1, [0.5] * 4), "predictions.test.logits must be a list of numbers for"),
    ((*TEST, "logits", 0), (None, 1.5, "ab", {}, [0.5, True], [0.5, "1"], [0.5, None], [[0.5, 1]]), "logits must be a"),
    ((*TEST, "logits", 0), ([0.5], [0.5, 0.5, 0.5], []), ""),
    ((*TEST, "logits", 0), ([0.5, 3.5e38], [1e300, 0.5]), "predictions.test.logits must be finite in 32 bits"),
    ((*TEST, "logits", 0), ([-0.5, 0.5],), "and the logits give"),
    ((*TEST, "logits"), ([[1]] * 4, [[]] * 4), "predictions.test.logits must be two scores or more"),
    ((*TEST, "logits"), ([[1, 0, -1]] * 4,), "predictions must be of the same classes in each split"),
    (
        (*TEST, "logits"),
        ([[0.5, -0.5], [0.25, 1.0], [0.1, -0.3], [2.0, 1.5], None],),
        "logits must be a list of numbers",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        pytest.param(
            path, value, reason, id=f"{'.'.join(map(str, path))}-{'none' if value is MISSING else value!r:.40}"
        )
        for path, values, reason in FIELDS
        for value in values
    ],
)
def test_json_that_is_no_record_is_named(record, place, path, value, reason):
    fields = json.loads(text_of(record))
    at(*path)(fields, *(() if value is MISSING else (value,)))
    message = read(place, json.dumps(fields).encode())
    assert isinstance(message, str), "it was read"
    assert reason in message


ABSENT = [
    (("error",), None),
    (("train_loss",), None),
    (("history",), ()),
    (("testbed", "ranks"), 1),
    (("timing", "others"), None),
    (("experiment", "limit"), None),
    ((*METHOD, "recipe", "compile"), False),
]


@pytest.mark.parametrize(("path", "default"), ABSENT, ids=[".".join(path) for path, _ in ABSENT])
def test_absent_means_default(record, place, path, default):
    fields = json.loads(text_of(record))
    at(*path)(fields)
    found = read(place, json.dumps(fields).encode())
    for name in path:
        found = getattr(found, name)
    assert found == default


def test_a_record_without_scores_by_class_has_those_that_its_logits_give(record, place):
    """Older records state four numbers a split; they are read as they were, and to the digit."""
    fields = json.loads(text_of(record))
    for split in fields["scores"].values():
        for name in ("macro_f1", "by_class", "confusion"):
            del split[name]
        split["f1"] += 1e-12  # of another version of numpy
    del fields["dataset"]["classes"]
    found = read(place, json.dumps(fields).encode())
    assert vars(found.scores["test"]) == vars(record.scores["test"]) | {"f1": fields["scores"]["test"]["f1"]}
    assert found.dataset.classes == ()


def test_without_logits_a_record_keeps_its_macro_f1_and_the_number_of_its_classes(record, tmp_path):
    save(dataclasses.replace(record, dataset=dataclasses.replace(record.dataset, classes=("no", "yes"))), tmp_path)
    [found] = load_records(tmp_path, logits=False).records
    scores = found.scores["test"]
    assert scores.macro_f1 == record.scores["test"].macro_f1
    assert (scores.by_class, scores.confusion) == ((), ())
    assert found.predictions["test"].num_labels == 2
    assert found.dataset.classes == ("no", "yes")


# Strict reading: whatever bytes


def says(written, said):
    """Whether the JSON that a record writes holds all that was said in its file."""
    if isinstance(said, dict):
        return isinstance(written, dict) and all(name in written and says(written[name], said[name]) for name in said)
    if isinstance(said, list):
        if said and all(isinstance(part, str) for part in said):
            return list(dict.fromkeys(written)) == list(dict.fromkeys(said))  # target modules stand once
        return isinstance(written, list) and len(written) == len(said) and all(map(says, written, said))
    if isinstance(said, float | int) and not isinstance(said, bool):
        as_logit = abs(said) < 1e38 and np.float32(written) == np.float32(said)
        return not isinstance(written, bool) and bool(written == said or as_logit)
    return type(written) is type(said) and written == said


def keeps_its_word(place, content):
    """A file is a record that says what the file says, or it is named in a line."""
    found = read(place, content)
    if isinstance(found, RunRecord):
        assert says(found.to_json(), json.loads(content))
        assert read(place, json.dumps(found.to_json()).encode()) == found


ODD_VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        -0.0,
        0.5,
        1e-300,
        1e300,
        2**31,
        2**63,
        2**64,
        10**30,
        "",
        "1",
        "ok",
        "test",
        [],
        {},
    ]
)


@st.composite
def mutations(draw):
    """A record's JSON with one to three values, names or elements changed, taken out, added or put elsewhere."""
    fields = json.loads(EXAMPLE)
    for _ in range(draw(st.integers(1, 3))):
        parent, inner = None, fields
        while isinstance(inner, dict | list) and inner and (parent is None or draw(st.integers(0, 3))):
            name = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
            parent, inner = inner, inner[name]
        if parent is None:
            continue
        value = draw(ODD_VALUES | strategies.ANY_JSON)
        match draw(st.sampled_from(("replace", "remove", "add", "swap"))):
            case "replace":
                parent[name] = value
            case "remove":
                del parent[name]
            case "add" if isinstance(parent, list):
                parent.append(value)
            case "add":
                parent[draw(st.text(max_size=5))] = value
            case "swap":
                other = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
                parent[name], parent[other] = parent[other], parent[name]
    return fields


EXAMPLE = text_of(strategies.example_record())


@given(mutations())
def test_a_changed_record_is_read_as_it_stands_or_named(place, fields):
    keeps_its_word(place, json.dumps(fields).encode())


@st.composite
def damaged(draw):
    """A record's bytes, some of them changed, taken out or put in."""
    content = bytearray(EXAMPLE.encode())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = start + draw(st.sampled_from((0, 0, 1, 1, 2, 10, 1000)))
        parts = st.sampled_from(
            (b"", b'"', b",", b":", b"0", b"9", b"-", b"e9", b"[", b"}", b'{"', b"\\u", b"\xff", b" ")
        )
        content[start:stop] = draw(parts | st.binary(max_size=3))
    return bytes(content)


@given(damaged())
def test_a_damaged_file_is_read_as_it_stands_or_named(place, content):
    keeps_its_word(place, content)


@given(st.binary(max_size=200))
def test_random_bytes_are_named(place, content):
    assert isinstance(read(place, content), str)


@given(strategies.ANY_JSON)
def test_any_json_is_named(place, value):
    assert isinstance(read(place, json.dumps(value).encode()), str)


@pytest.mark.thorough
@pytest.mark.parametrize("size", range(0, len(EXAMPLE), 7))
def test_a_file_cut_anywhere_is_named(place, size):
    assert isinstance(read(place, EXAMPLE.encode()[:size]), str)


# What is no plain file


OPENED = """
import os, stat, sys; from pathlib import Path
from rtlab.records import load_records

folder, opened = Path(sys.argv[1]), set()
sys.addaudithook(lambda event, what: event == "open" and opened.add(str(what[0])))
loaded = load_records(folder)
print(*sorted(Path(path).name for path in opened if path.startswith(str(folder.parent))))
for path, message in loaded.broken.items():
    print(path.name, message)
"""


def test_what_is_no_plain_file_or_leads_out_is_named_and_never_opened(record, tmp_path, run_python):
    """In a process of its own: whoever opens a FIFO waits without end."""
    folder, outside = tmp_path / "records", tmp_path / "outside"
    good = save(record, folder)
    (folder / "directory.json").mkdir()
    os.mkfifo(folder / "fifo.json")
    with contextlib.suppress(PermissionError):
        os.mknod(folder / "device.json", 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # zeros without end
    with (folder / "huge.json").open("wb") as file:
        file.truncate(2**30)
    save(record, outside)
    (folder / "file.json").symlink_to(next(outside.iterdir()))
    (folder / "folder.json").symlink_to(outside)
    (folder / "folder").symlink_to(outside)
    (folder / "parent").symlink_to("..")
    (folder / "null.json").symlink_to("/dev/null")
    (folder / "broken.json").symlink_to("nowhere")
    (folder / "broken-out.json").symlink_to("/nowhere/at/all")
    (folder / "itself.json").symlink_to("itself.json")
    (folder / "to-fifo.json").symlink_to("fifo.json")
    there = {path.name for path in folder.iterdir()} - {good.name}
    done = run_python(OPENED, folder)
    assert done.returncode == 0, done.stderr
    first, *broken = done.stdout.splitlines()
    assert first == good.name
    found = dict(line.split(" ", 1) for line in broken)
    assert set(found) == there
    assert len(broken) == len(there)
    for name in ("directory.json", "fifo.json", "to-fifo.json", *({"device.json"} & there)):
        assert "it is no plain file" in found[name]
    for name in ("file.json", "folder.json", "folder", "parent", "null.json", "broken-out.json"):
        assert "it is a link that leads out of" in found[name]
    assert "1,073,741,824 bytes" in found["huge.json"]


def test_a_socket_is_named(record, tmp_path, monkeypatch):
    import socket

    save(record, tmp_path)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.json")
        loaded = load_records(tmp_path)
    assert loaded.records == (record,)
    assert "it is no plain file" in loaded.broken[tmp_path / "socket.json"]


def test_links_within_the_folder_are_followed_to_files_and_no_further(record, tmp_path):
    path = save(record, tmp_path / "2026")
    (tmp_path / "latest.json").symlink_to(path)
    (tmp_path / "latest").symlink_to("2026")
    loaded = load_records(tmp_path)
    assert loaded.records == (record, record)
    assert loaded.broken == {}


def test_a_record_that_is_named_may_be_a_link_within_its_folder_only(record, tmp_path):
    path = save(record, tmp_path / "outside")
    inside, leading_out = tmp_path / "outside" / "link.json", tmp_path / "records" / "link.json"
    leading_out.parent.mkdir()
    for link in (inside, leading_out):
        link.symlink_to(path)
    assert load(inside) == record
    assert load(leading_out, within=tmp_path) == record
    with pytest.raises(ValueError, match="it is a link that leads out of"):
        load(leading_out)


def test_the_folder_itself_may_be_a_link(record, tmp_path):
    save(record, tmp_path / "there")
    (tmp_path / "here").symlink_to("there")
    assert load_records(tmp_path / "here") == ((record,), {})


def test_a_file_that_may_not_be_read_is_named_and_the_others_still_load(record, tmp_path, monkeypatch):
    path = save(record, tmp_path)
    other = save(dataclasses.replace(record, id="0" * 16), tmp_path)
    read_bytes = Path.read_bytes

    def refused(self):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refused)  # root may read whatever its mode
    loaded = load_records(tmp_path)
    assert [one.id for one in loaded.records] == ["0" * 16]
    assert str(path) in loaded.broken[path]
    assert other not in loaded.broken


def test_a_folder_that_may_not_be_read_is_named_and_the_others_still_load(record, tmp_path, monkeypatch):
    save(record, tmp_path / "open")
    save(record, tmp_path / "shut")
    scandir = os.scandir

    def refused(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    loaded = load_records(tmp_path)
    assert loaded.records == (record,)
    assert "Permission denied" in loaded.broken[tmp_path / "shut"]


def test_a_file_that_vanishes_is_named_and_the_others_still_load(record, tmp_path, monkeypatch):
    first, second = sorted(save(dataclasses.replace(record, id=id_ * 16), tmp_path) for id_ in "01")
    record_of = files.record_of

    def one_and_the_other_is_gone(text, **options):
        second.unlink()
        return record_of(text, **options)

    monkeypatch.setattr(files, "record_of", one_and_the_other_is_gone)
    loaded = load_records(tmp_path)
    assert [one.id for one in loaded.records] == ["0" * 16]
    assert "No such file" in loaded.broken[second]
    assert first not in loaded.broken


@pytest.mark.parametrize("name", [b"a\nb.json", b"a\x1b[31mb.json", b"caf\xe9.json", "grün\u2028.json".encode()])
def test_odd_names_are_named_in_one_line(record, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    for content in (b"{}", b"", None):
        if content is None:
            path.unlink()
            path.symlink_to("nowhere")
        else:
            path.write_bytes(content)
        message = load_records(tmp_path).broken[path]
        assert message.isprintable()


def test_odd_contents_are_named_in_one_line(record, place):
    fields = json.loads(EXAMPLE)
    for odd in ("a\n\n\x1b[31m\u2028b", "x" * 100_000):
        for change in ({odd: 1}, {"status": odd}, {"scores": {odd: {odd: 1}}}, {"environment": {odd: 1}}):
            assert isinstance(read(place, json.dumps(fields | change).encode()), str)


def test_bad_files_stop_none_of_the_others(record, tmp_path):
    bad = {tmp_path / f"{number}.json" for number in range(len(BYTES))}
    for path, (breaking, _) in zip(sorted(bad), BYTES.values(), strict=True):
        content = breaking(EXAMPLE)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    good = [dataclasses.replace(record, id=id_ * 16) for id_ in "0f"]
    for one in good:
        save(one, tmp_path)
    loaded = load_records(tmp_path)
    assert list(loaded.records) == good
    assert set(loaded.broken) == bad


def test_bad_files_are_errors_where_one_is_asked_for(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"bad\.json is no readable record \(it is of schema None, and this rtlab"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.json")


def test_reading_leaves_the_garbage_collector_as_it_was(record, tmp_path):
    import gc

    save(record, tmp_path)
    load_records(tmp_path)
    assert gc.isenabled()
    gc.disable()
    try:
        load_records(tmp_path)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_experiment_in_a_record_is_an_experiment(record, tmp_path):
    assert isinstance(load(save(record, tmp_path)).experiment, Experiment)
