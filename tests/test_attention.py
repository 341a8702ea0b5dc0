"""Attention within sentences against torch's own of each sentence alone, forward and backward, with dropout too."""

import numpy as np
import pytest
import small
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtlab.encoders import load_encoder
from rtlab.engines.attention import attend
from rtlab.engines.dropout import Masks
from rtlab.engines.layouts import Packer

CPU = torch.device("cpu")
ENCODER = load_encoder("tiny-roberta")  # whose positions do not start at 0
HEADS = 4


@pytest.mark.parametrize("blocks", [True, False], ids=["blocks", "dense"])
@pytest.mark.parametrize("firsts", [False, True])
@given(strategies.lengths(max_size=8), st.integers(0, 9))
def test_attention_is_that_of_each_sentence_alone(blocks, firsts, lengths, more):
    """Outputs and gradients; in blocks as on a CPU, and side by side as on CUDA."""
    torch.manual_seed(0)
    rows = np.arange(len(lengths))
    packer = Packer(small.numbered(lengths), ENCODER, device=CPU, blocks=blocks)
    layout = packer.layout(rows, total=int(lengths.sum()) + more)
    total = layout.ids_1T.shape[1]
    parts = [torch.randn(total, HEADS, 6, dtype=torch.float32, requires_grad=True) for _ in range(3)]
    query = parts[0][layout.first_S] if firsts else parts[0]
    found = attend(query, *parts[1:], layout, firsts=firsts, scale=0.4, dropout=0.0)
    expected = torch.zeros_like(found)
    for sentence, (first, length) in enumerate(zip(layout.first_S.tolist(), lengths.tolist(), strict=True)):
        there = slice(first, first + length)
        asked = slice(first, first + 1) if firsts else there
        one = torch.nn.functional.scaled_dot_product_attention(
            *(part.transpose(0, 1) for part in (parts[0][asked], parts[1][there], parts[2][there])), scale=0.4
        ).transpose(0, 1)
        expected[slice(sentence, sentence + 1) if firsts else there] = one
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), parts)
    theirs = torch.autograd.grad((expected * weights).sum(), parts, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("firsts", [False, True])
@given(strategies.lengths(max_size=8), st.integers(0, 9))
def test_dropouts_gradients_are_those_of_the_mask_that_was_drawn(firsts, lengths, more):
    """Of queries, keys and values, against torch's own of one group after another, with the mask held."""
    layout = Packer(small.numbered(lengths), ENCODER, device=CPU).layout(
        np.arange(len(lengths)), total=lengths.sum() + more
    )
    blocks, total = layout.within, layout.ids_1T.shape[1]
    torch.manual_seed(0)
    parts = [torch.randn(total, HEADS, 6, requires_grad=True) for _ in range(3)]
    query = parts[0][layout.first_S] if firsts else parts[0]
    torch.manual_seed(1)
    found = attend(query, *parts[1:], layout, firsts=firsts, scale=0.4, dropout=0.4)

    sizes = [group.batch * group.longest * (1 if firsts else group.longest) for group in blocks.groups]
    torch.manual_seed(1)
    masks = Masks().keep(torch.empty(sum(sizes)), 0.4).split(sizes)
    asked, asked_of = (blocks.firsts, "of_firsts") if firsts else (blocks.tokens, "of_tokens")
    rows = [part.reshape(-1, 6) for part in (query, *parts[1:])]
    expected = torch.zeros_like(rows[0])
    places = [asked.take(rows[0]), *(blocks.tokens.take(row) for row in rows[1:])]
    numbers = asked.take(torch.arange(len(rows[0]))[:, None])
    for group, mask in zip(blocks.groups, masks, strict=True):
        q, k, v = getattr(group, asked_of)(places[0]), group.of_tokens(places[1]), group.of_tokens(places[2])
        scores = 0.4 * q @ k.mT + (0 if group.bias_B1L is None else group.bias_B1L)
        output = (scores.softmax(-1) * mask.view_as(scores)) @ v
        real = torch.ones_like(output[..., 0], dtype=torch.bool)
        if not firsts and group.bias_B1L is not None:
            real = group.bias_B1L[:, 0] == 0
        expected = expected.index_copy(0, getattr(group, asked_of)(numbers)[..., 0][real], output[real])
    torch.testing.assert_close(found.flatten(0, 1), expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), parts, retain_graph=True)
    theirs = torch.autograd.grad((expected.view_as(found) * weights).sum(), parts)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
