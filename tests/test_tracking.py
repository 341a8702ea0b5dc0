"""Weights & Biases: what is sent to it, offline mode for real, and what happens without the package."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest
import small

from rtlab.records import load_records


@pytest.fixture
def data(tmp_path):
    return small.data_folder(tmp_path / "data" / "reviews")


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package that remembers what it is told."""
    told = SimpleNamespace(init=None, logs=[], summary={}, finished=[])

    def init(**arguments):
        told.init = arguments
        return SimpleNamespace(
            log=lambda values, step: told.logs.append((step, values)),
            summary=told.summary,
            finish=lambda exit_code=0: told.finished.append(exit_code),
        )

    package = SimpleNamespace(init=init, Settings=lambda **settings: settings, __spec__=None)
    monkeypatch.setitem(sys.modules, "wandb", package)
    look_up(monkeypatch, "wandb", found=package)
    return told


def look_up(monkeypatch, wanted, *, found):
    """Decide what is found when somebody asks whether a package is installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == wanted else find_spec(name))


def options(data, **more):
    given = {"encoder": "tiny-distilbert", "dataset": data, "device": "cpu", "output-dir": "out", **more}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def training(data, **more):
    return options(data, **{"epochs": 1, "batch-size": 8, "logging-steps": 4} | more)


def test_history_and_results_are_sent(rtlab, wandb, data, tmp_path):
    done = rtlab("finetune", *training(data), "--use-wandb", "--json", "-")
    assert done.status == 0, done.err
    record = json.loads(done.out)
    assert wandb.logs == [
        (entry["step"], {f"train/{name}": value for name, value in entry.items() if name != "step"})
        for entry in record["history"]
    ]
    assert [step for step, _ in wandb.logs] == [4, 6]
    expected = {"status": "ok", "record": record["id"]}
    for split in ("validation", "test"):
        numbers = ("accuracy", "precision", "recall", "f1", "macro_f1")  # a chart has no place for a matrix
        expected |= {f"{split}/{name}": record["scores"][split][name] for name in numbers}
    for part in ("timing", "counts", "memory"):
        expected |= {f"{part}/{name}": value for name, value in record[part].items() if value is not None}
    assert wandb.summary == expected | {name: record[name] for name in ("train_loss", "final_loss")}
    assert wandb.finished == [0]
    assert wandb.init["project"] == "rtlab"
    assert wandb.init["dir"] == "out"
    assert wandb.init["config"]["method"]["recipe"]["learning_rate"] == 2e-5
    assert wandb.init["settings"] == {"console": "off"}


@pytest.mark.parametrize(
    ("verb", "words", "name"),
    [
        ("svm", ["--pooling", "mean"], "svm-mean-seed7"),
        ("finetune", ["--max-steps", "1"], "full-native-packed-lr2e-05-seed7"),
        ("lora", ["--max-steps", "1", "--rank", "2"], "lora-native-packed-lr2e-05-r2-attention-seed7"),
        ("finetune", ["--max-steps", "1", "--run-name", "my run"], "my run"),
    ],
)
def test_a_run_is_named_after_its_experiment_unless_it_is_given_a_name(rtlab, wandb, data, verb, words, name):
    done = rtlab(verb, *options(data, seed=7), "--use-wandb", *words)
    assert done.status == 0, done.err
    assert wandb.init["name"] == name
    assert wandb.finished == [0]
    assert all(value is not None for value in wandb.summary.values())


def test_a_run_that_fails_is_marked_as_failed(rtlab, wandb, data):
    done = rtlab("finetune", *training(data, lr=1e30), "--use-wandb")
    assert done.status == 1
    assert "status 'nan'" in done.err
    assert (wandb.finished, wandb.summary) == ([1], {})


def test_a_run_that_is_interrupted_is_marked_as_failed(rtlab, wandb, data, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("rtlab.engines.native.NativeEngine.__init__", interrupt)
    assert rtlab("finetune", *training(data), "--use-wandb").status == 130
    assert wandb.finished == [1]


def test_without_it_nothing_is_sent(rtlab, wandb, data):
    assert rtlab("finetune", *training(data)).status == 0
    assert wandb.init is None


@pytest.mark.parametrize("verb", ["svm", "finetune", "lora"])
def test_a_package_that_is_not_installed(rtlab, data, tmp_path, monkeypatch, verb):
    look_up(monkeypatch, "wandb", found=None)
    done = rtlab(verb, *options(data), "--use-wandb")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "rtlab: --use-wandb needs the package wandb, which is not installed: pip install 'rtlab[wandb]'\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_wrong_request_opens_no_run(rtlab, wandb, data, tmp_path):
    assert rtlab("finetune", *options(data, **{"max-length": 513}), "--use-wandb").status == 2
    assert wandb.init is None
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_offline_mode_keeps_the_run_on_disk(forkserver, data, tmp_path):
    """With the real package: nothing is sent anywhere, and standard output is still the record alone."""
    pytest.importorskip("wandb", reason="the extra rtlab[wandb] is not installed")
    home = {name: str(tmp_path / "home") for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")}
    words = (*training(data, seed=7), "--use-wandb", "--json", "-", "--run-name", "../../out of the folder/\x1b[2J")
    done = forkserver.run("rtlab", "finetune", *words, cwd=tmp_path, WANDB_MODE="offline", **home)
    assert done.returncode == 0, done.stderr
    [record] = load_records(tmp_path / "out" / "records").records
    assert json.loads(done.stdout) == record.to_json()
    (folder,) = (tmp_path / "out" / "wandb").glob("offline-run-*")
    (log,) = folder.glob("*.wandb")
    kept = log.read_bytes()
    for text in (
        *("../../out of the folder/", "tiny-distilbert"),
        *("train/loss", "train/learning_rate", "test/accuracy"),
    ):
        assert text.encode() in kept, text
    assert record.id.encode() in kept
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "home", "out"}  # a name is no path
    assert not list(tmp_path.parent.glob("out of*"))
