"""Models on packed rows: through our attention, and in the last layer for first tokens alone."""

import numpy as np
import pytest
import small
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtlab.encoders import load_encoder
from rtlab.engines import attention, packing
from rtlab.engines.layouts import Packer
from rtlab.engines.packing import ATTENTION, layers, mean_of_tokens, pack

CPU = torch.device("cpu")
ENCODER = load_encoder("tiny-roberta")  # whose positions do not start at 0


@given(strategies.lengths(max_size=20), st.integers(0, 9))
def test_the_mean_is_over_a_sentences_own_tokens(lengths, filler):
    real = int(lengths.sum())
    layout = Packer(small.numbered(lengths), ENCODER, device=CPU).layout(np.arange(len(lengths)), total=real + filler)
    hidden = torch.randn(1, real + filler, 3, dtype=torch.float64)
    expected = torch.stack([part.mean(0) for part in hidden[0, :real].split(lengths.tolist())])
    torch.testing.assert_close(mean_of_tokens(hidden, layout), expected)


@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra"])
def test_the_last_layer_computes_first_tokens_alone(name):
    encoder = load_encoder(name)
    model = pack(encoder.classifier(small.TWO))
    assert model.config._attn_implementation == ATTENTION
    rows_seen = []
    for layer in layers(model):
        layer.register_forward_hook(lambda *given: rows_seen.append(given[-1].shape[:2]))
    layout = Packer(small.numbered(np.array([5, 9, 2])), encoder, device=CPU).layout(np.arange(3))
    layout.ids_1T.clamp_(max=50)
    packing.forward(model.eval(), layout)
    assert rows_seen == [(1, 16), (3, 1)]


@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-bert"])
def test_every_layer_attends_through_us(name, monkeypatch):
    """An encoder that ignored the attention it was given would compute something else in silence."""
    calls = []
    monkeypatch.setattr(attention, "attend", lambda query, *_, **__: calls.append(len(query)) or query)
    encoder = load_encoder(name)
    model = pack(encoder.base(), first_tokens=False).eval()
    layout = Packer(small.numbered(np.array([5, 9])), encoder, device=CPU).layout(np.arange(2))
    layout.ids_1T.clamp_(max=50)
    packing.forward(model, layout)
    assert calls == [14] * encoder.config.num_hidden_layers
