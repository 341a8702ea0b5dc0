"""Captured steps on CUDA: replayed, they are the eager ones; on a CPU, what they refuse."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import small
import torch

from rtlab.batches import Shape
from rtlab.encoders import load_encoder
from rtlab.engines import native
from rtlab.engines.capture import CapturedSteps
from rtlab.engines.dropout import Masks
from rtlab.engines.layouts import Packer
from rtlab.engines.packing import pack
from rtlab.engines.planning import Part
from rtlab.engines.step import Step
from rtlab.tokens import token_arrays

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
SHAPE = Shape(sentences=4, slot=None, total=64)
FEW = Shape(sentences=2, slot=None, total=64)


class Callable(SimpleNamespace):
    def __call__(self, *_):
        """A step that does nothing."""


class NoStep:
    """What a captured step needs to know to refuse a batch."""

    class packer:
        lengths = np.full(10, 20)


def captured(graphs):
    steps = object.__new__(CapturedSteps)
    steps._step, steps._graphs, steps._longest = NoStep, graphs, dict.fromkeys(graphs, 18)
    return steps


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        (4, Shape(sentences=4, slot=None, total=128)),  # not captured
        (3, SHAPE),  # fewer sentences than captured
        (4, SHAPE),  # 80 tokens, and the shape holds 64
        (2, FEW),  # 20 tokens in the longest, and attention was captured for 18
    ],
)
def test_a_batch_of_another_shape_is_refused(rows, shape):
    with pytest.raises(ValueError, match=r"a captured step takes batches of one of the shapes .*total=64.*; got"):
        captured({SHAPE: None, FEW: None})(np.arange(rows), shape)


def capturing(monkeypatch, capture):
    """Begin to capture, without CUDA."""
    monkeypatch.setattr(CapturedSteps, "_capture", capture)
    for name in ("graph_pool_handle", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    step = SimpleNamespace(packer=NoStep.packer, trained=[], model=torch.nn.Identity(), device=torch.device("cuda"))
    CapturedSteps(step, [(np.arange(4), SHAPE)])


def test_attention_is_padded_to_each_shapes_own_longest_sentence(monkeypatch):
    lengths = np.array([3, 7, 20, 5])
    plan = [(np.array([0, 1]), FEW), (np.array([1, 3]), FEW), (np.array([2, 3]), replace(FEW, total=128))]
    laid_out = []
    packer = SimpleNamespace(lengths=lengths, layout_on_device=lambda *_, **named: laid_out.append(named))

    def capture(self, shape, example_S):
        self._once(torch.from_numpy(example_S), shape)

    monkeypatch.setattr(CapturedSteps, "_capture", capture)
    monkeypatch.setattr(CapturedSteps, "_restore", lambda *_: None)
    for name in ("graph_pool_handle", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    step = Callable(packer=packer, trained=[], model=torch.nn.Identity(), device=torch.device("cuda"))
    CapturedSteps(step, plan)
    assert {named["total"]: named["longest"] for named in laid_out} == {64: 8, 128: 24}


def test_a_step_that_does_not_fit_while_it_is_captured_says_what_was_tried(monkeypatch):
    """torch then raises the error of a capture that was cut short, with the reason behind it."""

    def cut_short(*_):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    with pytest.raises(MemoryError, match="a step to be captured, a batch of 4 sentences and 64 tokens, did not fit"):
        capturing(monkeypatch, cut_short)


def test_another_error_of_a_capture_stays_what_it_is(monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        capturing(monkeypatch, broken)


def step_on_cuda(name, folder, *, method="full", steps=1000, without_dropout=True, padding="packed", precision="fp32"):
    device = torch.device("cuda")
    encoder = load_encoder(name)
    texts, labels = small.read(folder, "train")
    tokens = token_arrays(texts, encoder.tokenizer, 40, labels=labels)
    asked = small.experiment(folder, encoder=name, method=method, engine="native", padding=padding, max_length=40)
    recipe = asked.method.recipe
    torch.manual_seed(0)
    model = encoder.classifier(small.TWO)
    if method == "lora":
        from rtlab.encoders import target_modules
        from rtlab.engines.models import with_adapter

        model = with_adapter(model, encoder, asked.method, target_modules(encoder, ["attention"]))
    if without_dropout:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    model = pack(model.to(device)).train()
    packer = Packer(tokens, encoder, device=device)
    step = Step(asked.method, precision, model, packer, tokens.labels, Masks(), steps=steps, device=device)
    plan = native.plan_run(recipe, tokens.lengths, max_length=40, seed=asked.seed, shape_step=native.SHAPE_STEP["cuda"])
    return step, [batch for (batch,) in plan]


@needs_cuda
@pytest.mark.parametrize("padding", ["packed", "dynamic", "fixed"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-bert"])
def test_a_replay_is_the_eager_step_bit_for_bit(name, method, padding, tmp_path):
    folder = small.data_folder(tmp_path / "data", train=202)
    eager, plan = step_on_cuda(name, folder, method=method, padding=padding)
    replayed, _ = step_on_cuda(name, folder, method=method, padding=padding)
    graphs = CapturedSteps(replayed, plan)
    for rows, shape in plan:
        eager.eager(Part(batches=((rows, shape),), whole=((rows, shape),)))
        graphs(rows, shape)
    assert eager.losses() == replayed.losses()
    for one, other in zip(eager.trained, replayed.trained, strict=True):
        assert torch.equal(one, other)


@needs_cuda
def test_a_thousand_replays_over_changing_shapes(tmp_path):
    folder = small.data_folder(tmp_path / "data", train=402)
    step, plan = step_on_cuda("tiny-bert", folder, without_dropout=False)
    graphs = CapturedSteps(step, plan)
    assert len({shape for _, shape in plan}) > 2
    for number in range(1000):
        graphs(*plan[number % len(plan)])
    losses = step.losses()
    assert len(losses) == 1000
    assert all(map(math.isfinite, losses))
    assert np.mean(losses[-100:]) < np.mean(losses[:100])


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_waits_for_the_device(precision, tmp_path):
    """Neither an eager one nor a replay: torch refuses to wait meanwhile."""
    folder = small.data_folder(tmp_path / "data")
    step, plan = step_on_cuda("tiny-bert", folder, without_dropout=False, precision=precision)
    graphs = CapturedSteps(step, plan)
    rows, shape = plan[0]
    on_device = torch.from_numpy(rows).cuda()
    longest = int(step.packer.lengths[rows].max())
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        layout = step.packer.layout_on_device(on_device, slot=shape.slot, total=shape.total, longest=longest)
        step(layout, on_device)
        graphs(rows, shape)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_captured_steps_gradients_are_clipped_by_its_own_norm(precision, tmp_path):
    """AdamW divides by `grad_scale`, which a replay has to compute anew: with a norm far above 1 it shows."""
    folder = small.data_folder(tmp_path / "data", train=202)
    eager, plan = step_on_cuda("tiny-bert", folder, precision=precision)
    replayed, _ = step_on_cuda("tiny-bert", folder, precision=precision)
    graphs = CapturedSteps(replayed, plan)
    for rows, shape in plan[:4]:
        eager.eager(Part(batches=((rows, shape),), whole=((rows, shape),)))
        graphs(rows, shape)
    assert (eager.norms_N[:4] != eager.norms_N[0]).any()
    assert torch.equal(eager.norms_N, replayed.norms_N)
    assert torch.equal(eager.learning_rate, replayed.learning_rate)
    for one, other in zip(eager.trained, replayed.trained, strict=True):
        assert torch.equal(one, other)


@needs_cuda
def test_capturing_leaves_no_trace(tmp_path):
    folder = small.data_folder(tmp_path / "data")
    step, plan = step_on_cuda("tiny-distilbert", folder)
    before = [parameter.clone() for parameter in step.trained]
    CapturedSteps(step, plan)
    assert all(torch.equal(one, other) for one, other in zip(step.trained, before, strict=True))
    assert int(step.done) == 0
    assert not step.losses_N.any()
