"""A run that several ranks share is the run that one process does: the same id, losses, weights, logits and counts.

Rank 0 is the test's own process, and the others are forked; a few runs are whole ones under torchrun.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import faulty_ranks
import numpy as np
import pytest
import small
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import load_file
from safetensors.torch import save as bytes_of

import rtlab as rtlab_package
from rtlab import over_ranks, testbed
from rtlab.encoders import load_encoder
from rtlab.engines import ranks as ranks_module
from rtlab.engines.dropout import Masks
from rtlab.engines.models import classifier, save
from rtlab.engines.native import NativeEngine
from rtlab.engines.planning import part_of
from rtlab.engines.ranks import ALONE, Ranks, ranks_here
from rtlab.engines.resuming import Checkpoints
from rtlab.engines.state import _draw_on, _drawn, gather, put_back, told_by_first
from rtlab.environment import seed_everything
from rtlab.records import load

ROOT = Path(__file__).parent.parent
FAULTY = Path(faulty_ranks.__file__)
UNEVEN = ("bad", "fair", "bad", "good", "bad")  # classes of these shares
SEED = 1  # see tests/test_native.py
TRAIN = ("--batch-size", "8", "--epochs", "2", "--logging-steps", "1", "--seed", SEED, "--device", "cpu")
OF_METHOD = {
    "finetune": ("--learning-rate", "2e-4"),
    "lora": ("--learning-rate", "1e-3", "--rank", "4", "--alpha", "16", "--dropout", "0"),
    "adapt": ("--learning-rate", "1e-3"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def data(folder):
    """42 sentences in batches of 8: the last batch has 2, of which three ranks have one, one and none."""
    return small.data_folder(folder / "data", UNEVEN)


@pytest.fixture(scope="module")
def encoders(folder):
    """Encoders without dropout."""
    made = {}
    for name in ("tiny-bert", "tiny-distilbert"):
        made[name] = folder / name
        shutil.copytree(load_encoder(name).path, made[name])
        file = made[name] / "config.json"
        config = json.loads(file.read_text())
        dropouts = {key: 0.0 for key, value in config.items() if "dropout" in key and isinstance(value, float)}
        file.write_text(json.dumps(config | dropouts))
    return made


def held():
    """What torchrun does for its processes: it holds keys and values for them."""
    return torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


def place(store, number, rank):
    """What it tells one of them."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(number),
        "WORLD_SIZE": str(number),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


@pytest.fixture
def shared(rtlab, forkserver, tmp_path):
    """Run a command line as several ranks: `shared(2, "finetune", …)` gives what each came to, the first one first."""

    def run(number, *command, fault=None):
        """With a fault of `faulty_ranks` in all of them, which the test has put into its own process."""
        store, program = held(), ["rtlab"] if fault is None else [FAULTY, fault]
        others = [
            forkserver.start(*program, *command, cwd=tmp_path, **place(store, number, rank))
            for rank in range(1, number)
        ]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in place(store, number, 0).items():
                patch.setenv(name, value)
            try:
                first = rtlab(*command)
            finally:
                ranks_module._connection.cache_clear()
                if torch.distributed.is_initialized():
                    torch.distributed.destroy_process_group()
        found = [other.communicate() for other in others]
        return [
            first,
            *(
                SimpleNamespace(status=other.returncode, out=out, err=err)
                for other, (out, err) in zip(others, found, strict=True)
            ),
        ]

    return run


def result(folder):
    """The one record that a run left, and the weights that it saved."""
    [record] = (folder / "records").iterdir()
    [weights] = (folder / "models").glob("*/*.safetensors")
    return load(record), load_file(weights)


def start_weights(record, data, encoder, folder):
    """What a run began with, by the names under which it is saved."""
    asked = dataclasses.replace(record.experiment, dataset=str(data), encoder=str(encoder))
    task = small.task(asked)
    seed_everything(SEED)
    folder.mkdir()
    save(classifier(task), task.encoder, folder)
    [weights] = folder.glob("*.safetensors")
    return load_file(weights)


def check_same(found, expected, start, number):
    """Losses within 1e-5, weights as in the equality tests, logits, counts over all ranks."""
    (record, weights), (one, of_one) = found, expected
    assert record.id == one.id
    assert record.experiment == one.experiment
    assert (record.testbed.ranks, one.testbed.ranks) == (number, 1)
    assert len(record.history) == len(one.history) > 5
    for name in ("loss", "gradient_norm", "learning_rate"):
        moved = [getattr(entry, name) for entry in record.history]
        np.testing.assert_allclose(moved, [getattr(entry, name) for entry in one.history], rtol=1e-5, atol=1e-5)
    assert [entry.epoch for entry in record.history] == [entry.epoch for entry in one.history]
    assert record.train_loss == pytest.approx(one.train_loss, abs=1e-5)
    assert record.final_loss == pytest.approx(one.final_loss, abs=1e-5)
    assert record.chosen == one.chosen
    assert [entry.step for entry in record.validated] == [entry.step for entry in one.validated]
    np.testing.assert_allclose([v.loss for v in record.validated], [v.loss for v in one.validated], atol=1e-5)
    changed = {"padding_tokens": 0}
    assert dataclasses.replace(record.counts, **changed) == dataclasses.replace(one.counts, **changed)
    if record.experiment.method.recipe.padding == "fixed" and number == 2:  # and no rank is without a sentence
        assert record.counts == one.counts
    assert weights.keys() == of_one.keys() == start.keys()
    moved = 0
    for name, weight in of_one.items():
        if name.endswith(("key.bias", "k_lin.bias")):  # their gradient is 0, and AdamW makes noise as large as signal
            continue
        distance = (weight - start[name]).norm()
        moved += bool(distance > 0)
        assert (weights[name] - weight).norm() <= 1e-2 * distance, name
    assert moved > 5
    for split, predictions in one.predictions.items():
        np.testing.assert_allclose(record.predictions[split].logits, predictions.logits, atol=1e-4, rtol=0)


BEST = ("--evaluate", "2", "--keep", "best", "--metric", "loss")
EVERYTHING = ("--class-weights", "balanced", "--accumulate", "2", "--weight-decay", "0.01", "--warmup", "0.2", *BEST)
CASES = {
    ("native", "finetune", 3, "tiny-bert"): EVERYTHING,
    ("trainer", "lora", 3, "tiny-distilbert"): EVERYTHING,
}
GRID = {
    ("native", "lora", 2, "tiny-distilbert"): ("--padding", "dynamic"),
    ("trainer", "finetune", 2, "tiny-bert"): (),
    ("native", "finetune", 2, "tiny-distilbert"): (),
    ("native", "finetune", 2, "tiny-bert"): ("--padding", "bucketed", "--class-weights", "balanced"),
    ("native", "lora", 3, "tiny-bert"): (*EVERYTHING, "--patience", "2"),
    ("native", "finetune", 3, "tiny-distilbert"): ("--padding", "fixed", "--max-length", "40", "--freeze-layers", "1"),
    ("trainer", "finetune", 3, "tiny-bert"): (*EVERYTHING, "--padding", "bucketed", "--patience", "1"),
    ("trainer", "finetune", 2, "tiny-distilbert"): ("--padding", "bucketed", "--label-smoothing", "0.1"),
    ("trainer", "lora", 2, "tiny-bert"): ("--padding", "fixed", "--max-length", "40"),
    ("trainer", "lora", 3, "tiny-bert"): ("--class-weights", "balanced"),
}


@pytest.mark.parametrize(
    ("case", "options"),
    [*CASES.items(), *(pytest.param(*cell, marks=pytest.mark.thorough) for cell in GRID.items())],
    ids=lambda part: "-".join(map(str, part)),
)
def test_a_shared_run_is_the_run_of_one_process(case, options, rtlab, shared, data, encoders, tmp_path):
    check_case(case, options, rtlab, shared, data, encoders, tmp_path)


def check_case(case, options, rtlab, shared, data, encoders, folder, fault=None):
    """Do a run in one process and in several, and compare them."""
    engine, verb, number, encoder = case
    fixed = (verb, "--engine", engine, "--encoder", encoders[encoder], "--dataset", data, *TRAIN, *OF_METHOD[verb])
    alone = rtlab(*fixed, *options, "--output-dir", folder / "one")
    assert alone.status == 0, alone.err
    first, *others = shared(number, *fixed, *options, "--output-dir", folder / "all", fault=fault)
    assert first.status == 0, first.err
    for other in others:
        assert (other.status, other.out, other.err) == (0, "", "")
    expected, found = result(folder / "one"), result(folder / "all")
    start = start_weights(expected[0], data, encoders[encoder], folder / "start")
    check_same(found, expected, start, number)


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["native", "trainer"])
@pytest.mark.parametrize("verb", ["finetune", "lora"])
def test_fewer_sentences_than_ranks(engine, verb, rtlab, shared, encoders, tmp_path):
    """In a batch, and in a whole split."""
    few = small.data_folder(tmp_path / "few", small.TWO, train=5, held_out=2)
    case, options = (engine, verb, 3, "tiny-bert"), ("--batch-size", "2")
    check_case(case, options, rtlab, shared, few, encoders, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["native", "trainer"])
@pytest.mark.parametrize("kind", ["IA3", "LOHA", "VERA", "BOFT"])
def test_other_adapters(engine, kind, rtlab, shared, data, encoders, tmp_path):
    check_case((engine, "adapt", 2, "tiny-bert"), ("--peft-type", kind), rtlab, shared, data, encoders, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["native", "trainer"])
def test_a_loss_that_is_not_finite_is_one_record(engine, shared, data, encoders, tmp_path):
    words = ("finetune", "--engine", engine, "--encoder", encoders["tiny-bert"], "--dataset", data, *TRAIN)
    found = shared(2, *words, "--learning-rate", "1e30", "--output-dir", tmp_path / "out")
    record, path = ended(tmp_path / "out")
    assert record.status == "nan"
    assert [rank.status for rank in found] == [1, 1]
    said = "".join(rank.err for rank in found)
    assert said.count("rtlab: ") == 1
    assert f"rtlab: the run ended with status 'nan': {record.error}; record {path}" in said


# Going on from a checkpoint

WITH_DROPOUT = ("finetune", "--encoder", "tiny-bert", *TRAIN, "--learning-rate", "1e-3", "--engine", "native", *BEST)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [2, 3])
def test_ranks_go_on_as_if_they_had_not_been_ended(number, shared, data, tmp_path, monkeypatch):
    """Bit for bit, and each with its own draws of dropout."""
    words = (*WITH_DROPOUT, "--dataset", data)
    whole = shared(number, *words, "--output-dir", tmp_path / "whole")
    assert [rank.status for rank in whole] == [0] * number
    with monkeypatch.context() as patch:
        faulty_ranks.ENDS["interrupted"](patch.setattr)
        checkpointed = (*words, "--output-dir", tmp_path / "parts", "--checkpoint-minutes", "1e-9")
        ended = shared(number, *checkpointed, fault="interrupted")
    assert [rank.status for rank in ended] == [130] * number
    assert [path.name for path in tmp_path.glob("parts/checkpoints/*/*")] == ["3"]
    [cancelled] = (tmp_path / "parts" / "records").iterdir()
    assert load(cancelled).status == "cancelled"
    cancelled.unlink()
    resumed = shared(number, *words, "--output-dir", tmp_path / "parts", "--resume")
    assert [rank.status for rank in resumed] == [0] * number, resumed[0].err
    assert "begins anew" not in resumed[0].err
    (found, weights), (expected, others) = result(tmp_path / "parts"), result(tmp_path / "whole")
    for name in ("id", "history", "validated", "chosen", "predictions", "counts", "train_loss", "final_loss"):
        assert getattr(found, name) == getattr(expected, name), name
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
    assert list(tmp_path.glob("parts/checkpoints/*")) == []


# How it ends when a rank does not go on


def ended(folder):
    """The one record of a run that did not come to its end."""
    [path] = (folder / "records").iterdir()
    record = load(path)
    assert not (folder / "models").exists()
    return record, path


@pytest.mark.parametrize("fault", ["killed_1", "run_out_1"])
def test_a_rank_that_ends_ends_all_with_one_record(fault, shared, data, tmp_path, monkeypatch):
    faulty_ranks.ENDS[fault](monkeypatch.setattr)
    words = (*WITH_DROPOUT, "--dataset", data, "--output-dir", tmp_path / "out")
    first, second = shared(2, *words, fault=fault)
    record, path = ended(tmp_path / "out")
    assert first.status == 1
    if fault == "killed_1":
        assert (record.status, second.status) == ("failed", -9)
        assert record.error == "rank 1 of 2 died without a word, as a process does that is killed"
        assert first.err.splitlines()[-1] == f"rtlab: the run ended with status 'failed': {record.error}; record {path}"
    else:
        assert (record.status, record.error, second.status) == ("oom", "MemoryError", 1)
        assert second.err == f"rtlab: the run ended with status 'oom': MemoryError; record {path}\n"
        assert "rtlab:" not in first.err


@pytest.fixture
def torchrun(start_process, tmp_path):
    """Start a command line under torchrun, in fresh processes."""

    def start(number, *words, fault=None):
        program = ["-m", "rtlab"] if fault is None else [FAULTY, fault]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", number]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return start_process(
            [*map(str, (*command, *program, *words))], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, **pipes
        )

    return start


def test_torchrun_starts_a_shared_run(torchrun, data, tmp_path):
    words = (*WITH_DROPOUT, "--dataset", data, "--max-steps", "1", "--output-dir", "out", "--json", "-")
    process = torchrun(2, *words, fault="telling")
    out, err = process.communicate()
    assert process.returncode == 0, err
    left = [line for line in err.splitlines() if line.startswith("threads left:")]
    assert len(left) == 2
    assert not [line for line in left if "gloo" in line], "one of them may abort its process"
    record, _ = result(tmp_path / "out")
    assert json.loads(out)["id"] == record.id
    assert record.testbed.ranks == 2
    assert err.count("training 1/1") == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fault", "number"),
    [("killed_0", 3), ("killed_2", 3), ("killed_0", 2), ("run_out_1", 3), ("deaf", 2), ("pending", 2)],
)
def test_torchrun_ends_with_one_record(fault, number, torchrun, data, tmp_path):
    process = torchrun(number, *WITH_DROPOUT, "--dataset", data, "--output-dir", "out", fault=fault)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    record, path = ended(tmp_path / "out")
    if fault in ("run_out_1", "pending"):
        assert (record.status, record.error) == ("oom", "MemoryError")
    else:
        dead = 1 if fault == "deaf" else int(fault[-1])
        assert record.status == "failed"
        assert record.error == f"rank {dead} of {number} died without a word, as a process does that is killed"
    if fault != "deaf":  # that one can say nothing any more
        line = (
            f"rtlab: the run ended with status {record.status!r}: {record.error}; record {path.relative_to(tmp_path)}"
        )
        assert [said for said in err.splitlines() if said.startswith("rtlab: ")] == [line]


@pytest.mark.thorough
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_torchrun_that_is_ended_leaves_a_cancelled_record(sent, torchrun, data, tmp_path):
    process = torchrun(2, *WITH_DROPOUT, "--dataset", data, "--output-dir", "out", "--epochs", "100")
    for line in process.stderr:
        if "training " in line:
            break
    process.send_signal(sent)
    process.communicate()
    assert process.returncode != 0
    assert ended(tmp_path / "out")[0].status == "cancelled"


# What is refused


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two, which torchrun started."""
    store = held()
    for name, value in place(store, 2, 1).items():
        monkeypatch.setenv(name, value)
    yield store
    ranks_module._connection.cache_clear()


REFUSED = {
    "words": ("words",),
    "svm": ("svm", "--encoder", "tiny-bert"),
    "predict": ("predict", "--model", "none", "a sentence"),
    "choose": ("choose",),
}


@pytest.mark.parametrize("verb", REFUSED)
def test_other_verbs_are_refused_in_one_line(verb, second, rtlab, data):
    options = () if verb == "predict" else ("--dataset", data)
    found = rtlab(*REFUSED[verb], *options)
    line = f"rtlab: {verb} is of one process; got 2 ranks; rtlab {verb} without torchrun would do\n"
    assert (found.status, found.out, found.err) == (2, "", line)
    again = rtlab(*REFUSED[verb], *options)  # as if it were another rank
    assert (again.status, again.out, again.err) == (2, "", "")


def test_only_the_first_rank_shows_help_and_usage(second, rtlab):
    for words, status in ((("finetune", "--help"), 0), (("finetune", "--nonsense"), 2)):
        found = rtlab(*words)
        assert (found.status, found.out, found.err) == (status, "", "")


@pytest.mark.parametrize("method", ["words", "svm"])
def test_so_are_methods_that_are_not_trained_in_steps(method, second, data, tmp_path):
    asked = (
        small.experiment(data, "svm")
        if method == "svm"
        else rtlab_package.Experiment(dataset=str(data), method=rtlab_package.Words())
    )
    with pytest.raises(ValueError, match=f"^method '?{method}'? is of one process; got 2 ranks; without torchrun it"):
        rtlab_package.run(asked, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_for_each_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"^device cuda takes a GPU for each rank; got 2 ranks or more"):
        Ranks(number=2, rank=1, local=1).take_gpu(torch.device("cuda"))
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    Ranks(number=2, rank=1, local=0).take_gpu(torch.device("cuda"))
    ALONE.take_gpu(torch.device("cuda"))
    assert taken == [0]


@pytest.mark.thorough
def test_ranks_that_are_given_different_runs_are_refused(shared, data, tmp_path, monkeypatch):
    """Here by the data that each finds in its place."""
    faulty_ranks.ENDS["other_seed_1"](monkeypatch.setattr)
    first, second = shared(2, *WITH_DROPOUT, "--dataset", data, fault="other_seed_1")
    assert (first.status, second.status) == (2, 2)
    said = first.err + second.err
    assert said.count("rtlab: all ranks must be given the same run; got those of the ids ") == 1
    assert not (tmp_path / "results").exists()


# Parts


def test_a_process_is_alone_where_torchrun_did_not_start_it(monkeypatch):
    names = place(held(), 3, 2)
    assert ranks_here() == ALONE
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert ranks_here() == Ranks(number=3, rank=2, local=2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert ranks_here() == ALONE
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.delenv("LOCAL_RANK")  # some schedulers set the others
    assert ranks_here() == ALONE


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("weights", ["equal", "balanced"])
def test_each_sentence_is_in_one_part_and_the_shares_are_one(number, weights, data):
    asked = small.experiment(data, engine="native", class_weights=weights, accumulate=2, batch_size=4)
    engine = NativeEngine(small.task(asked))
    for whole in engine._plan:
        parts = [part_of(whole, ranks, engine._shape) for ranks in Ranks(number=number).all()]
        rows = [row for part in parts if not part.idle for rows_S, _ in part.batches for row in rows_S]
        assert sorted(rows) == sorted(row for rows_S, _ in whole for row in rows_S)
        assert sum(share for part in parts for share in engine._step.shares(part)) == pytest.approx(1)
        assert all(shape.sentences == len(rows_S) for part in parts for rows_S, shape in part.batches)
    assert any(part.idle for part in parts) == (number > sum(len(rows_S) for rows_S, _ in whole))


@pytest.mark.parametrize("weights", ["equal", "balanced"])
def test_what_cuda_captures_ends_before_the_exchange(weights, data, monkeypatch):
    """Done eagerly here, by two ranks in one process, whose rows are added by hand."""
    task = small.task(small.experiment(data, engine="native", class_weights=weights))
    one, *two = (NativeEngine(task, ranks) for ranks in (ALONE, *Ranks(number=2).all()))
    for engine in (one, *two):
        engine._model.eval()  # without dropout
    monkeypatch.setattr(Ranks, "add", lambda *_: None)
    for whole in (one._plan[0], one._plan[-1]):
        one._step.eager(one._part(whole))
        for engine in two:
            step, part = engine._step, engine._part(whole)
            [(rows_S, shape)], [share] = part.batches, step.shares(part)
            step.share.fill_(share)
            step(step.packer.layout(rows_S, slot=shape.slot, total=shape.total), torch.from_numpy(rows_S))
            assert all(parameter.grad is None for parameter in step.trained)
        row = sum(engine._step._row for engine in two)
        for engine in two:
            engine._step._row.copy_(row)
            engine._step.exchange()
    for engine in two:
        np.testing.assert_allclose(engine._step.losses(), one._step.losses(), rtol=1e-5)
        np.testing.assert_allclose(engine._step.norms_N[:2], one._step.norms_N[:2], rtol=1e-4)


def test_ranks_draw_differently_and_the_first_as_one_process_does():
    seeds = [ranks.seed(42) for ranks in Ranks(number=4).all()]
    assert seeds[0] == 42
    assert len({*seeds, Ranks(number=2, rank=1).seed(43)}) == 5


def test_what_a_rank_drew_is_put_back():
    masks = Masks()
    masks.keep(torch.ones(5), 0.1)
    random.gauss(0, 1)
    np.random.normal()  # noqa: NPY002  # each then keeps the second of two normal numbers

    def drawn(masks):
        normal = np.random.normal()  # noqa: NPY002  # libraries draw from it
        return random.gauss(0, 1), normal, torch.rand(3).tolist(), masks.keep(torch.ones(9), 0.1).tolist()

    state = tensors_of(bytes_of(_drawn(masks)))
    expected = drawn(masks)
    assert drawn(masks) != expected
    again = Masks()
    _draw_on(state, again)
    assert drawn(again) == expected


class Echo:
    """The second of two ranks, to which the first one says what it says itself."""

    alone, first, number, rank = False, False, 2, 1

    def bytes_of_all(self, own):
        return [own, own]

    def bytes_from_first(self, own):
        return own


def test_a_rank_has_what_the_first_one_read(data, tmp_path):
    task, ranks = small.task(small.experiment(data, engine="native")), Echo()
    engine, here = NativeEngine(task), testbed.testbed(torch.device("cpu"), "native")
    parts = engine._step, engine._validation, task.watch
    kept = Checkpoints(tmp_path, minutes=None, resume=True, testbed=here)
    state = gather(*parts, kept, history=[], logged=0, ranks=ranks)
    expected = torch.rand(3).tolist()
    told = told_by_first(state, ranks)
    assert told.facts == state.facts
    assert told.tensors.keys() == state.tensors.keys()
    assert all(torch.allclose(value, state.tensors[name], equal_nan=True) for name, value in told.tensors.items())
    put_back(told, *parts, ranks)
    assert torch.rand(3).tolist() == expected
    assert told_by_first(None, ranks) is None
    assert told_by_first(state, ALONE) is state


def test_bytes_and_answers_of_the_first_rank():
    """Here of a group of one, as if there were others."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        first = Ranks(number=2)
        assert [first.bytes_from_first(said) for said in (b"", b"said")] == [b"", b"said"]
        assert [first.as_first(said) for said in (False, True)] == [False, True]
        first.join(torch.device("cpu"))  # which is done once
    finally:
        torch.distributed.destroy_process_group()
    assert [ALONE.as_first(said) for said in (False, True)] == [False, True]


class Told:
    """Ranks of which the others are known to say this."""

    alone, number = False, 2

    def __init__(self, others):
        self.others = others

    def bytes_of_all(self, own):
        return [own, *(json.dumps(one).encode() for one in self.others)]


def test_ranks_of_a_machine_are_no_others(monkeypatch):
    times = iter([(1.0, 0, 0, 0, 0), (3.0, 0, 0, 0, 0)])
    clock = iter([10.0, 20.0])
    monkeypatch.setattr(over_ranks.os, "times", lambda: next(times))
    monkeypatch.setattr(over_ranks.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(over_ranks.time, "perf_counter", lambda: next(clock))
    own = over_ranks.OwnTime()
    told = Told([[over_ranks.machine(), 10.0], ["elsewhere", 10.0]])
    assert own.others_share(0.45, told) == pytest.approx(0.2)  # 10 of 40 seconds were the other rank's
    assert own.others_share(0.45, ALONE) == 0.45
    assert own.others_share(None, told) is None


def test_the_largest_of_each_number():
    assert over_ranks.largest((None, 5, 3), Told([[None, 4, 7]])) == [None, 5, 7]
    assert over_ranks.largest((None, 5), ALONE) == (None, 5)


def test_times_of_several_ranks_are_of_another_testbed():
    one = testbed.testbed(torch.device("cpu"), "native")
    two = dataclasses.replace(one, ranks=2)
    assert two != one
    assert two.name == f"{one.name}, 2 ranks"


# The tests bite


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("engine", "fault"), [(engine, fault) for engine, faults in faulty_ranks.FAULTS.items() for fault in faults]
)
def test_a_fault_is_found_out(engine, fault, rtlab, shared, data, encoders, tmp_path, monkeypatch):
    fault(monkeypatch.setattr)
    case = engine, "finetune", 3, "tiny-bert"
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_case(case, (), rtlab, shared, data, encoders, tmp_path, fault.__name__)
