"""An adapter that PEFT, the model or a saved folder would not bear is refused before a run; what is taken is right."""

import numpy as np
import odd_encoders as odd
import pytest
import small
import torch
from scipy.special import softmax

import rtlab
from rtlab.engines import trial
from rtlab.preparing import prepare
from rtlab.running import model_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("trial") / "data", train=16, held_out=8)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return odd.write(tmp_path_factory.mktemp("trial") / "narrow", "bert")


def asked(data, encoder, kind, settings, **fields):
    fields = {"target_modules": ("attention",), "max_length": 16, "max_steps": 2, "learning_rate": 0.05} | fields
    return small.experiment(data, encoder=str(encoder), method="lora", peft_type=kind, settings=settings, **fields)


REFUSED = [
    ("C3A", {"block_size": 7}, "block size should be a factor of the input size"),
    ("FOURIERFT", {}, "`n_frequency` should be less"),
    ("LOHA", {"r": 0}, "`r` should be a positive"),
    ("VERA", {"r": 0}, "division by zero"),
    ("LORA", {"init_lora_weights": "loftq"}, "`loftq_config` must be specified"),
    ("LORA", {"init_lora_weights": "pissa_niter_4"}, "other results once it is saved and read again"),
    ("LORA", {"init_lora_weights": "nonsense"}, "Unknown initialization"),
    ("LORA", {"bias": "some"}, "must be of PEFT's types; got 'some' for bias; none or all or lora_only would do"),
    ("LORA", {"rank_pattern": {"query": "x"}}, "not supported between"),
    ("LORA", {"trainable_token_indices": [10**6]}, "out of bounds"),
    ("LORA", {"exclude_modules": ["query", "key", "value", "attention.output.dense"]}, "No modules were targeted"),
    ("LORA", {"fan_in_fan_out": True}, "PEFT has fan_in_fan_out False for True; that, or none, would do"),
    ("LORA", {"modules_to_save": ["embeddings"]}, "embeddings"),
    ("LORA", {"task_type": "CAUSAL_LM"}, "must not hold task_type, which the run decides"),
    ("LORA", {"base_model_name_or_path": "a/b"}, "must not hold base_model_name_or_path"),
]


@pytest.mark.parametrize(("kind", "settings", "said"), REFUSED)
def test_what_would_fail_later_is_refused_before_the_run(kind, settings, said, data, encoder):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"^settings .*{said}") as refusal:
        prepare(asked(data, encoder, kind, settings), device="cpu")
    assert "\n" not in str(refusal.value)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("GRALORA", {}),  # its layers are made from torch's own
        ("VERA", {}),
        ("LORA", {"use_dora": True}),
        ("LORA", {"init_lora_weights": "pissa"}),
        ("LORA", {"modules_to_save": ["pooler"], "exclude_modules": ["layer.0.attention.self.key", "value"]}),
    ],
)
def test_what_is_taken_labels_as_it_was_evaluated(kind, settings, data, encoder, tmp_path):
    record = rtlab.run(asked(data, encoder, kind, settings), output_dir=tmp_path, device="cpu", save_model=True)
    found = rtlab.predict(model_folder(tmp_path, record), small.read(data, "test")[0], device="cpu")
    expected_SC = softmax(np.asarray(record.predictions["test"].logits, dtype=np.float64), axis=1)
    found_SC = [[prediction.probabilities[name] for name in small.TWO] for prediction in found]
    np.testing.assert_allclose(found_SC, expected_SC, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("POLY", {}, "task_ids should not be None"),
        ("ADALORA", {"total_step": 9, "init_r": 0}, "would hold no numbers"),
        ("LILY", {}, "another result beside another sentence"),
    ],
)
def test_a_kind_that_nobody_named_is_found_too(kind, settings, said, data, encoder, monkeypatch):
    """Such as PEFT may bring."""
    monkeypatch.setattr("rtlab.engines.adapters.REFUSED_KINDS", {})
    with pytest.raises(ValueError, match=rf"^settings .*{said}"):
        prepare(asked(data, encoder, kind, settings), device="cpu")


def test_what_is_not_saved_is_found(data, encoder, monkeypatch):
    """Such as weights that PEFT draws and leaves out."""
    adapted = trial._adapted

    def drawn(*given, seed):
        model = adapted(*given, seed=seed)
        with torch.no_grad():
            words = model.get_input_embeddings().weight
            words.copy_(words.roll(seed, 0))
        return model

    monkeypatch.setattr(trial, "_adapted", drawn)
    with pytest.raises(ValueError, match="gives other results once it is saved and read again"):
        prepare(asked(data, encoder, "VERA", {}), device="cpu")


def test_usual_lora_is_not_tried_and_memory_is_left_to_the_run(data, encoder, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(trial, "_tried", full)
    prepare(asked(data, encoder, "VERA", {}), device="cpu")
    monkeypatch.setattr(trial, "_tried", lambda *_: pytest.fail("it was tried"))
    prepare(asked(data, encoder, "LORA", {"r": 4}), device="cpu")
