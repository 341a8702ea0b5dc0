"""A run: its record, its reproducibility, how it ends when it fails, and what is refused before it begins."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import small
import torch
import transformers
from sklearn.metrics import precision_recall_fscore_support

import rtlab
from rtlab import environment
from rtlab.data import load_splits
from rtlab.encoders import Encoder, load_encoder
from rtlab.engines import trainer
from rtlab.engines.linear import Linear
from rtlab.engines.svm import SvmEngine
from rtlab.engines.trainer import TrainerEngine
from rtlab.experiment import identity
from rtlab.methods import RESULTS
from rtlab.preparing import prepare
from rtlab.records import Source, load
from rtlab.running import model_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("running") / "reviews")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("running") / "three", small.THREE)


def run(dataset, output_dir, *, progress=None, on_log=None, save_model=False, **fields):
    return rtlab.run(
        small.experiment(dataset, **{"method": "full"} | fields),
        output_dir=output_dir,
        device="cpu",
        save_model=save_model,
        progress=progress,
        on_log=on_log,
    )


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module", params=["svm", "full", "lora"])
def ran(request, data, tmp_path_factory):
    """A finished run: its record, the folder it wrote to."""
    folder = tmp_path_factory.mktemp("ran") / "new" / "results"
    return run(data, folder, method=request.param), folder


# The record


def test_the_record_lies_where_it_should_and_nothing_else_does(ran):
    record, folder = ran
    [path] = files(folder)
    assert path.parent == folder / "records"
    assert load(path) == record


def leaves(value):
    """Names of nested fields and the values at their ends."""
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def test_the_record_is_complete(ran):
    [path] = files(ran[1])
    written = json.loads(path.read_text())
    assert set(written) == {
        *("schema", "experiment", "id", "results", "status", "error", "scores", "predictions", "timing", "counts"),
        *("memory", "history", "train_loss", "final_loss", "dataset", "encoder", "testbed", "environment"),
        *("created_at", "chosen", "strongest", "validated"),
    }
    version = RESULTS[rtlab.Experiment.from_json(written["experiment"]).engine]
    assert (written["schema"], written["results"], written["status"], written["error"]) == (2, version, "ok", None)
    assert re.fullmatch("[0-9a-f]{16}", written["id"])
    assert re.fullmatch("[0-9a-f]{16}", written["testbed"]["code"])
    assert written["testbed"]["device"] == written["environment"]["device"]
    assert (written["testbed"]["threads"], written["testbed"]["ranks"]) == (1, 1)
    environment = {
        *("device", "device_type", "driver", "cuda", "processor", "cores", "threads", "matmul_precision", "platform"),
        *("python", "versions", "commit", "dirty"),
    }
    assert set(written["environment"]) == environment
    assert written["environment"]["threads"] == 1
    versions = written["environment"]["versions"]
    assert (versions["torch"], versions["transformers"]) == (torch.__version__, transformers.__version__)
    assert {"tokenizers", "peft", "accelerate", "datasets", "scikit-learn", "numpy"} <= set(versions)
    age = datetime.now(UTC) - datetime.fromisoformat(written["created_at"])
    assert timedelta() <= age < timedelta(hours=1)
    assert all(math.isfinite(leaf) for leaf in leaves(written) if isinstance(leaf, float))


def test_the_record_holds_every_logit_and_label(ran, data):
    record, _ = ran
    for split in ("validation", "test"):
        predictions = record.predictions[split]
        assert predictions.labels.tolist() == small.read(data, split)[1]
        assert predictions.logits.shape == (small.HELD_OUT, 2)
    assert set(record.predictions) == set(record.scores) == {"validation", "test"}


def test_the_scores_are_those_of_the_logits(ran):
    record, _ = ran
    for split, predictions in record.predictions.items():
        predicted = np.array(predictions.logits).argmax(axis=1)
        expected = precision_recall_fscore_support(predictions.labels, predicted, average="binary", zero_division=0)
        found = record.scores[split]
        assert (found.precision, found.recall, found.f1) == pytest.approx(expected[:3])
        assert found.accuracy == pytest.approx(np.mean(predicted == predictions.labels))


def test_scores_of_more_than_two_classes_are_macro_averages(three, tmp_path):
    record = run(three, tmp_path, max_steps=1)
    for split, predictions in record.predictions.items():
        logits_NC = np.array(predictions.logits)
        assert logits_NC.shape == (small.HELD_OUT, 3)
        expected = precision_recall_fscore_support(
            predictions.labels, logits_NC.argmax(axis=1), average="macro", zero_division=0
        )
        found = record.scores[split]
        assert (found.precision, found.recall, found.f1) == pytest.approx(expected[:3])


def test_timing_adds_up(ran):
    record, _ = ran
    timing, counts = record.timing, record.counts
    for phase in ("load_s", "prepare_s", "train_s", "evaluate_s"):
        assert 0 < getattr(timing, phase) < 60
    assert timing.warmup_s < 1e-3
    assert 0 <= timing.others <= 1
    assert timing.samples_per_s == pytest.approx(counts.samples / timing.train_s)
    assert timing.tokens_per_s == pytest.approx(counts.real_tokens / timing.train_s)
    computed = counts.real_tokens + counts.padding_tokens
    assert timing.padded_tokens_per_s == pytest.approx(computed / timing.train_s)
    if isinstance(record.experiment.method, rtlab.Svm):
        assert timing.steps_per_s is None
    else:
        assert timing.steps_per_s == pytest.approx(counts.steps / timing.train_s)


def test_memory_of_the_host_is_measured(ran):
    memory = ran[0].memory
    assert memory.peak_device is None
    assert 50e6 < memory.peak_host < 50e9


def test_the_record_names_what_went_in(ran, data):
    record, _ = ran
    encoder, splits = load_encoder("tiny-distilbert"), load_splits(str(data))
    assert record.encoder == Source(name="tiny-distilbert", revision=None, sha256=encoder.sha256)
    assert record.dataset == Source(
        name="reviews", revision=None, sha256=splits.sha256, notes=splits.notes, classes=splits.label_names
    )
    assert (record.experiment.encoder, record.experiment.dataset) == ("tiny-distilbert", "reviews")
    modules = ("q_lin", "k_lin", "v_lin", "out_lin") if isinstance(record.experiment.method, rtlab.Adapter) else ()
    digests = {"dataset_sha256": splits.sha256, "encoder_sha256": encoder.sha256}
    assert record.id == identity(record.experiment, **digests, target_modules=modules)


@pytest.fixture
def directories(data, tmp_path):
    """An encoder and a data set as absolute directories."""
    encoder = shutil.copytree(load_encoder("tiny-distilbert").path, tmp_path / "my-encoder")
    return {"dataset": shutil.copytree(data, tmp_path / "my-reviews"), "encoder": str(encoder)}


def check_anonymous(path, record):
    """No path of this machine, and not its name."""
    assert (record.experiment.encoder, record.experiment.dataset) == ("my-encoder", "my-reviews")
    for leaf in leaves(json.loads(path.read_text())):
        if isinstance(leaf, str):
            assert not re.search(r"(?<![\w.])/\w", leaf), leaf
            assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", leaf), leaf


@pytest.mark.parametrize("method", ["svm", "full", "lora"])
def test_a_record_holds_no_absolute_path_and_no_host_name(directories, tmp_path, method):
    record = run(output_dir=tmp_path / "out", method=method, **directories)
    check_anonymous(*files(tmp_path / "out"), record)


def test_a_failures_record_holds_none_either(directories, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path / "deep" / "model.safetensors"))

    monkeypatch.setattr(TrainerEngine, "train", fail)
    with pytest.raises(rtlab.RunFailedError) as failed:
        run(output_dir=tmp_path / "out", **directories)
    check_anonymous(failed.value.path, failed.value.record)
    assert failed.value.record.error == "OSError: [Errno 28] No space left on device: 'model.safetensors'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[Errno 17] File exists: '/home/Jane Doe/results/models/full-1'", "[Errno 17] File exists: 'full-1'"),
        ("cannot read /srv/data/reviews/train.csv", "cannot read train.csv"),
    ],
)
def test_an_error_names_files_without_their_folders(text, shown, data, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainerEngine, "train", raising(RuntimeError(text)))
    with pytest.raises(rtlab.RunFailedError) as failed:
        run(data, tmp_path)
    assert failed.value.record.error == f"RuntimeError: {shown}"


def test_a_record_names_the_checkout_as_the_run_found_it(data, tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.running.fingerprint", lambda _: {"device": "then"})
    one = rtlab.Run(small.experiment(data, max_steps=1), output_dir=tmp_path, device="cpu")
    monkeypatch.setattr("rtlab.running.fingerprint", lambda _: {"device": "now"})
    assert one.execute().environment == {"device": "then"}


def test_copied_directories_are_the_same_run(data, directories):
    named = prepare(small.experiment(data), device="cpu")
    copied = prepare(small.experiment(**directories), device="cpu")
    assert copied.id == named.id
    (directories["dataset"] / "test.csv").write_text("text,label\nfine,positive\ndull,negative\n")
    assert prepare(small.experiment(**directories), device="cpu").id != named.id


def test_running_again_adds_a_record(data, tmp_path):
    run(data, tmp_path, max_steps=1)
    [first] = files(tmp_path)
    before = first.read_bytes()
    run(data, tmp_path, max_steps=1)
    assert first.read_bytes() == before
    [one, other] = files(tmp_path)
    assert load(one).id == load(other).id


def test_no_scratch_is_left(data, tmp_path, monkeypatch):
    """Trainer wants a directory of its own; it is not this one, nor any that stays."""
    for folder in ("scratch", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path / "here")
    run(data, tmp_path / "out", save_model=True)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert list((tmp_path / "here").iterdir()) == []


def test_models_are_saved_on_request_only(data, tmp_path):
    record = run(data, tmp_path, max_steps=1)
    assert not (tmp_path / "models").exists()
    run(data, tmp_path, max_steps=1, save_model=True)
    assert model_folder(tmp_path, record) == tmp_path / "models" / f"full-{record.id}"
    assert (model_folder(tmp_path, record) / "model.safetensors").is_file()


def test_progress_and_history_are_told_as_they_come(data, tmp_path):
    told, entries = [], []
    record = run(data, tmp_path, progress=lambda *news: told.append(news), on_log=entries.append)
    assert tuple(entries) == record.history
    assert told == [
        *(("training", step, 6) for step in range(1, 7)),
        *(("evaluating validation", batch, 3) for batch in range(1, 4)),
        *(("evaluating test", batch, 3) for batch in range(1, 4)),
    ]


@pytest.mark.parametrize("method", ["svm", "full", "lora"])
def test_the_library_prints_and_logs_nothing(data, tmp_path, capfd, caplog, method):
    run(data, tmp_path, method=method, max_steps=1, save_model=True)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# Reproducibility


def test_the_same_experiment_twice_gives_the_same_bits(ran, data, tmp_path):
    first, _ = ran
    torch.manual_seed(123)  # whatever ran before must not matter
    second = run(data, tmp_path, method=first.experiment.label.partition("-")[0])
    assert second.predictions == first.predictions
    assert second.history == first.history
    assert (second.train_loss, second.final_loss) == (first.train_loss, first.final_loss)
    assert (second.id, second.testbed, second.environment) == (first.id, first.testbed, first.environment)


def first_losses(data, folder, encoder, *, batch_size):
    """The loss of the first step, and the sentences of it, under two seeds."""
    losses, batches = [], []
    step = transformers.Trainer.training_step

    def listened(self, model, inputs, *rest):
        batches.append(sorted(map(tuple, inputs["input_ids"].tolist())))
        return step(self, model, inputs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.Trainer, "training_step", listened)
        for seed in (1, 2):
            record = run(data, folder, encoder=str(encoder), seed=seed, batch_size=batch_size, max_steps=1)
            losses.append(record.history[0].loss)
    return losses, batches


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Makes an encoder's directory, with or without a head and dropout: what a seed then moves is what is left.

    A head that is there is trained on, as no run does: it draws a fresh one.
    """

    def make(*, head, dropout):
        encoder = load_encoder("tiny-distilbert")
        torch.manual_seed(0)
        model = encoder.classifier(small.TWO) if head else encoder.base()
        if not dropout:
            model.config.dropout = model.config.attention_dropout = model.config.seq_classif_dropout = 0.0
        folder = tmp_path / f"head-{head}-dropout-{dropout}"
        model.save_pretrained(folder)
        encoder.tokenizer.save_pretrained(folder)
        if head:
            monkeypatch.setattr(Encoder, "classifier", Encoder.saved_classifier)
        return folder

    return make


WHOLE = 64  # more than there are: one batch holds every sentence, so their order means nothing


def test_without_head_order_and_dropout_the_seed_moves_nothing(data, tmp_path, checkpoint):
    losses, batches = first_losses(data, tmp_path, checkpoint(head=True, dropout=False), batch_size=WHOLE)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert batches[0] == batches[1]


def test_the_seed_moves_the_heads_initialisation(data, tmp_path, checkpoint):
    losses, batches = first_losses(data, tmp_path, checkpoint(head=False, dropout=False), batch_size=WHOLE)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)
    assert batches[0] == batches[1]


def test_the_seed_moves_dropout(data, tmp_path, checkpoint):
    losses, batches = first_losses(data, tmp_path, checkpoint(head=True, dropout=True), batch_size=WHOLE)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)
    assert batches[0] == batches[1]


def test_the_seed_moves_the_data_order(data, tmp_path, checkpoint):
    losses, batches = first_losses(data, tmp_path, checkpoint(head=True, dropout=False), batch_size=8)
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)
    assert batches[0] != batches[1]


def test_padding_does_not_change_a_trained_models_logits(data, tmp_path, monkeypatch):
    """The learning rate is too small to move an fp32 weight, so each run evaluates the model it was given."""
    trained = run(data, tmp_path, save_model=True)
    monkeypatch.setattr(Encoder, "classifier", Encoder.saved_classifier)  # no fresh head, as a run draws
    given = {"encoder": str(model_folder(tmp_path, trained)), "learning_rate": 1e-30, "max_steps": 1, "max_length": 100}
    runs = {name: run(data, tmp_path, padding=name, **given) for name in ("fixed", "dynamic", "bucketed")}
    for split, predictions in trained.predictions.items():
        for record in runs.values():
            np.testing.assert_allclose(record.predictions[split].logits, predictions.logits, atol=1e-5, rtol=0)
    assert runs["fixed"].counts.padding_tokens > 2 * runs["dynamic"].counts.padding_tokens


# Failures


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def allocate_far_too_much(*_, **__):
    torch.empty(1 << 50)


# What an engine's phases may do, status, error
FAILURES = {
    "failed": (raising(RuntimeError("the engine\nbroke")), "failed", "RuntimeError: the engine broke"),
    "wrong value": (raising(ValueError("not that")), "failed", "ValueError: not that"),
    "no memory": (raising(MemoryError()), "oom", "MemoryError"),
    "no device memory": (raising(torch.OutOfMemoryError("CUDA out of memory.")), "oom", "OutOfMemoryError: CUDA out"),
    "no host memory": (allocate_far_too_much, "oom", "RuntimeError: [enforce fail at alloc_cpu"),
}


@pytest.mark.parametrize(
    ("method", "phase"), [("svm", "__init__"), ("full", "__init__"), ("full", "train"), ("full", "evaluate")]
)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_a_record_and_raises(data, tmp_path, monkeypatch, method, phase, failure):
    fail, status, error = FAILURES[failure]
    monkeypatch.setattr(SvmEngine if method == "svm" else TrainerEngine, phase, fail)
    with pytest.raises(rtlab.RunFailedError) as failed:
        run(data, tmp_path, method=method, save_model=True)
    record = failed.value.record
    assert record.status == status
    assert record.error.startswith(error)
    assert "\n" not in record.error
    assert isinstance(failed.value.__cause__, Exception)
    check_unfinished(tmp_path, record)


def check_unfinished(folder, record):
    """A record of its own, and nothing measured in it."""
    [path] = files(folder)
    assert load(path) == record
    assert (record.scores, record.predictions, record.history) == ({}, {}, ())
    assert (record.timing, record.counts, record.memory) == (None, None, None)
    assert (record.train_loss, record.final_loss) == (None, None)
    assert record.environment["threads"] == 1
    assert record.encoder.sha256


def test_a_model_that_cannot_be_saved_loses_no_scores(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "save", raising(OSError("disk full")))
    record = run(data, tmp_path, max_steps=1, save_model=True)
    assert (record.status, record.error) == ("ok", "the model was not saved: OSError: disk full")
    assert record.scores
    [path] = files(tmp_path)
    assert load(path) == record


def test_an_interrupt_while_the_model_is_saved_loses_no_scores(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "save", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, max_steps=1, save_model=True)
    [path] = files(tmp_path)
    assert (load(path).status, load(path).error) == ("ok", "the model was not saved: KeyboardInterrupt")


def test_logits_that_are_not_finite_are_no_result(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Linear, "logits", lambda *_: np.full((small.HELD_OUT, 2), np.nan, dtype=np.float32))
    with pytest.raises(rtlab.RunFailedError, match="the logits of validation are not finite") as failed:
        run(data, tmp_path, method="svm")
    assert failed.value.record.status == "nan"
    check_unfinished(tmp_path, failed.value.record)


@pytest.mark.parametrize("error", [RuntimeError("broke"), MemoryError(), KeyboardInterrupt()], ids=repr)
def test_a_finished_record_stays_beside_what_goes_wrong_later(error, data, tmp_path, monkeypatch):
    run(data, tmp_path, max_steps=1)
    [path] = files(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(TrainerEngine, "train", raising(error))
    with pytest.raises((rtlab.RunFailedError, KeyboardInterrupt)):
        run(data, tmp_path, max_steps=1)
    assert path.read_bytes() == before
    assert sorted(load(each).status != "ok" for each in files(tmp_path)) == [False, True]


@pytest.mark.parametrize("method", ["svm", "full", "lora"])
def test_an_interrupt_leaves_a_record_and_goes_on(data, tmp_path, method):
    def interrupt(phase, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, method=method, progress=interrupt, save_model=True)
    (path,) = tmp_path.rglob("*.json")
    assert load(path).status == "cancelled"
    assert load(path).error == "KeyboardInterrupt"
    check_unfinished(tmp_path, load(path))


@pytest.mark.parametrize("between", ["build", "train", "finish"])
def test_an_interrupt_between_two_phases_leaves_a_record(monkeypatch, between, data, tmp_path):
    def interrupt(self):
        raise SystemExit(143)

    monkeypatch.setattr(rtlab.Run, between, interrupt)
    with pytest.raises(SystemExit):
        run(data, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    assert load(path).status == "cancelled"


@pytest.mark.parametrize(
    ("sent", "status", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_leaves_a_record_and_its_exit_status(sent, status, said, forkserver, data, tmp_path):
    options = {"encoder": "tiny-distilbert", "dataset": data, "device": "cpu", "batch-size": 2, "epochs": 100}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = forkserver.start("rtlab", "finetune", *given, "--output-dir", "out", "--json", "-", cwd=tmp_path)
    while process.poll() is None and "training " not in process.err.read_text():  # a quarter of 2,100 steps is done
        time.sleep(0.02)
    process.send_signal(sent)
    out, err = process.communicate()
    first, *_, last = err.splitlines()
    assert first.startswith("training 525/2100"), err
    assert (process.returncode, out) == (status, "")
    assert last == f"rtlab: {said}"
    assert "Traceback" not in err
    (path,) = (tmp_path / "out").rglob("*.json")
    assert load(path).status == "cancelled"


# What is refused


REFUSED = {
    "positions": ({"max_length": 513}, "max_length must be at most 512, the positions of encoder tiny-distilbert"),
    "modules": (
        {"method": "lora", "target_modules": ("q_lin", "query", "c_attn")},
        "target_modules must be among q_lin, k_lin, v_lin, out_lin, lin1, lin2, attention, attention+mlp for encoder "
        "tiny-distilbert; got query, c_attn",
    ),
    "peft_type": ({"method": "lora", "peft_type": "LORAX"}, "peft_type must be one of PEFT's adapters, ADAMSS, "),
    "an adapter that adds tokens": (
        {"method": "lora", "peft_type": "PROMPT_TUNING"},
        "peft_type must be a kind that can be trained here; got PROMPT_TUNING: it adds tokens before each sentence",
    ),
    "an adapter that is not to be trained": (
        {"method": "lora", "settings": {"inference_mode": True}},
        "settings must not hold inference_mode, which the run decides",
    ),
    "settings": (
        {"method": "lora", "settings": {"rank": 3}},
        "settings must be fields of PEFT's LORA adapters; got 'rank'; its fields are alora_invocation_tokens, ",
    ),
    "limit": ({"limit": 1}, "limit 1: too few for 2 classes"),
    "too few training sentences": (
        {"train_sentences": 1},
        "train_sentences must be at least 2, one of each class; got 1",
    ),
    "too many training sentences": (
        {"train_sentences": small.TRAIN + 1},
        f"train_sentences must be at most {small.TRAIN}, all there are; got {small.TRAIN + 1}",
    ),
    "no pair": (
        {"method": "contrastive", "train_sentences": 2},
        "dataset (its train split) must have two sentences of a class for method contrastive, a pair; got 2 of as many",
    ),
    "a warm-up of the only step": (
        {"warmup": 0.5, "max_steps": 1},
        "warmup must leave a step after it, for in its first step the rate is 0; got 0.5 with 1 step; warmup 0, ",
    ),
    "encoder": ({"encoder": "no-such-encoder"}, "no-such-encoder"),
    "tf32": ({"precision": "tf32"}, "precision 'tf32' needs an NVIDIA GPU"),
}


@pytest.mark.parametrize("request_", REFUSED)
def test_a_request_that_cannot_work_writes_nothing(data, tmp_path, monkeypatch, request_):
    fields, message = REFUSED[request_]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        run(data, tmp_path / "out", **fields)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_does_not_reach_its_peak_is_said(data):
    said = "the learning rate does not reach its peak: warmup is 3, and the training has 3 steps"
    with pytest.warns(UserWarning, match=f"^{said}$"):
        prepare(small.experiment(data, warmup=3, train_sentences=24), device="cpu")  # batches of 8
    prepare(small.experiment(data, warmup=2, train_sentences=24), device="cpu")


def test_a_data_set_that_is_not_there_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no such file or directory"):
        run(tmp_path / "nowhere", "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"device must be one of those here \(cpu\); got 'cuda'"):
        rtlab.run(small.experiment(data), output_dir=tmp_path / "out", device="cuda")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["out", "out/below", "out/deep/below"])
def test_an_output_directory_that_is_a_file_is_refused(data, tmp_path, where):
    (tmp_path / "out").write_text("kept")
    with pytest.raises(ValueError, match=r"output_dir must be a directory; got .*, where out is a file"):
        run(data, tmp_path / where)
    assert (tmp_path / "out").read_text() == "kept"


@pytest.mark.parametrize("part", ["records", "models"])
def test_a_file_in_place_of_a_folder_in_the_output_directory_is_refused(data, tmp_path, part):
    """Before hours of training, not after them."""
    (tmp_path / part).write_text("kept")
    with pytest.raises(ValueError, match=rf"output_dir must be a directory; got .*, where {part} is a file"):
        run(data, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [part]


@pytest.mark.parametrize("where", ["", "below", "deep/below"])
def test_an_output_directory_without_permission_is_refused(data, tmp_path, monkeypatch, where):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or mode != os.W_OK | os.X_OK)
    with pytest.raises(ValueError, match=r"output_dir must be writable; got .*: no permission to write in"):
        run(data, tmp_path / where)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_read_only_is_refused(data, tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ValueError, match="output_dir must be writable"):
            run(data, tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["train", "evaluate"])
def test_a_second_interrupt_waits_for_the_record(data, tmp_path, monkeypatch, phase, first, second):
    """An impatient Ctrl-C Ctrl-C: the second comes while the record of the first is written."""
    from rtlab import records

    whole = records.save

    def save(*arguments):
        signal.raise_signal(second)
        return whole(*arguments)

    monkeypatch.setattr(SvmEngine, phase, lambda *_: signal.raise_signal(first))
    monkeypatch.setattr(records, "save", save)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(data, tmp_path, method="svm")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    [path] = (tmp_path / "records").iterdir()
    assert load(path).status == "cancelled"


def test_a_run_that_is_prepared_is_not_prepared_again(data, tmp_path, monkeypatch):
    asked = small.experiment(data, method="svm")
    prepared = prepare(asked, device="cpu")
    monkeypatch.setattr("rtlab.running.prepare", raising(AssertionError()))
    one = rtlab.Run(asked, output_dir=tmp_path, prepared=prepared)
    record = load(one.leave("oom", "its process\nwas '/home/somebody/killed'"))
    assert (record.id, record.status, record.error) == (prepared.id, "oom", "its process was 'killed'")


@pytest.mark.parametrize("kind", ["../../LORA", "/tmp/x", "LORA/../..", "a\0b"])
def test_a_kind_of_adapter_is_no_path(data, tmp_path, kind):
    adapter = rtlab.Adapter(recipe=rtlab.Recipe(), peft_type=kind)
    with pytest.raises(ValueError, match="peft_type must be"):
        rtlab.run(
            rtlab.Experiment(encoder="tiny-distilbert", dataset=str(data), method=adapter),
            output_dir=tmp_path / "out",
            save_model=True,
        )
    assert not (tmp_path / "out").exists()


def test_a_record_that_cannot_be_written_is_kept_elsewhere_and_it_is_said_where(data, tmp_path, monkeypatch):
    """A disk that is full after hours of training."""
    from rtlab import records

    whole = records.save

    def full(record, folder):
        if folder.is_relative_to(tmp_path / "out"):
            raise OSError(28, "No space left on device", str(folder))
        return whole(record, folder)

    monkeypatch.setattr(records, "save", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()
    with pytest.raises(OSError, match="No space left on device") as caught:
        run(data, tmp_path / "out", method="svm")
    [path] = (tmp_path / "spare").glob("*/*.json")
    assert caught.value.__notes__ == [f"the record is {path}; move it to {tmp_path / 'out' / 'records'}"]
    assert load(path).status == "ok"


def test_a_signal_whose_exception_is_lost_ends_the_run_at_its_next_progress(data, tmp_path, monkeypatch):
    plain = SvmEngine.train

    def loses(self):
        with contextlib.suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        return plain(self)

    monkeypatch.setattr(SvmEngine, "train", loses)
    with pytest.raises(SystemExit), environment.ended_by_signals():
        run(data, tmp_path, method="svm")
    [path] = (tmp_path / "records").iterdir()
    assert load(path).status == "cancelled"
