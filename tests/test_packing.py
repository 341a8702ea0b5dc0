"""Layouts: every token once, none in another sentence, whatever fills a batch up."""

import numpy as np
import pytest
import small
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtlab.encoders import load_encoder
from rtlab.engines import attention, packing
from rtlab.engines.attention import attend
from rtlab.engines.layouts import BLOCK_SPREAD, Packer
from rtlab.engines.operations import keep_mask
from rtlab.engines.packing import ATTENTION, layers, mean_of_tokens, pack
from rtlab.tokens import Tokens

CPU = torch.device("cpu")
ENCODER = load_encoder("tiny-roberta")  # whose positions do not start at 0
HEADS = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with small.one_thread():
        yield


def tokens_of(lengths):
    """A split whose ids tell each token from every other."""
    return Tokens(
        ids=np.arange(1000, 1000 + lengths.sum(), dtype=np.int32),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        labels=np.zeros(len(lengths), dtype=np.int64),
    )


@st.composite
def batches(draw):
    """Lengths of a split, rows of a batch, and a slot or a total that they fit into, or neither."""
    lengths = draw(strategies.lengths(max_size=30))
    rows = np.array(draw(st.permutations(range(len(lengths))))[: draw(st.integers(1, 20))], dtype=np.int64)
    more = draw(st.integers(0, 70))
    needed = lengths[rows]
    options = draw(st.sampled_from([{}, {"slot": int(needed.max()) + more}, {"total": int(needed.sum()) + more}]))
    return lengths, rows, options


@given(batches())
def test_no_token_is_lost_or_crosses_over(drawn):
    lengths, rows, options = drawn
    tokens = tokens_of(lengths)
    layout = Packer(tokens, ENCODER, device=CPU).layout(rows, **options)
    ids_T, positions_T = layout.ids_1T[0].numpy(), layout.positions_1T[0].numpy()
    filler = np.ones(len(ids_T), dtype=bool)
    for row, first in zip(rows, layout.first_S.tolist(), strict=True):
        there = slice(first, first + lengths[row])
        assert ids_T[there].tolist() == tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
        assert positions_T[there].tolist() == [ENCODER.first_position + at for at in range(lengths[row])]
        assert filler[there].all()
        filler[there] = False
    assert (ids_T[filler] == ENCODER.tokenizer.pad_token_id).all()
    assert positions_T.max() < ENCODER.config.max_position_embeddings
    computed = options.get("slot", 0) * len(rows) or options.get("total") or lengths[rows].sum()
    assert len(ids_T) == computed


@given(batches())
def test_cudas_attention_is_given_each_sentence_alone(drawn):
    lengths, rows, options = drawn
    layout = Packer(tokens_of(lengths), ENCODER, device=CPU, blocks=False).layout(rows, **options)
    dense, longest = layout.within, int(lengths[rows].max())
    places = dense.gather.view(len(rows), longest)
    for sentence, first in enumerate(layout.first_S.tolist()):
        there = list(range(first, first + lengths[rows[sentence]]))
        real = dense.mask_S11L[sentence, 0, 0]
        assert places[sentence][real].tolist() == there
        assert dense.back_T[there].tolist() == [sentence * longest + at for at in range(len(there))]
    assert int(dense.real_T.sum()) == int(dense.mask_S11L.sum()) == int(lengths[rows].sum())


@given(batches())
def test_blocks_hold_each_token_once(drawn):
    lengths, rows, options = drawn
    layout = Packer(tokens_of(lengths), ENCODER, device=CPU).layout(rows, **options)
    tokens, firsts = layout.within.tokens, layout.within.firsts
    padding = set() if tokens.padding is None else set(tokens.padding.tolist())
    taken = [row for place, row in enumerate(tokens.gather.tolist()) if place not in padding]
    spans = [(first, first + length) for first, length in zip(layout.first_S.tolist(), lengths[rows], strict=True)]
    real = [token * HEADS + head for begin, end in spans for token in range(begin, end) for head in range(HEADS)]
    assert sorted(taken) == sorted(real)
    filler = len(tokens.gather)
    back = tokens.back.tolist()
    assert len(back) == layout.ids_1T.shape[1] * HEADS
    assert [place for place in back if place != filler and tokens.gather[place] != back.index(place)] == []
    assert sorted({row for row, place in enumerate(back) if place != filler}) == sorted(real)
    assert sorted(firsts.gather.tolist()) == list(range(len(rows) * HEADS))
    assert firsts.gather[firsts.back].tolist() == list(range(len(rows) * HEADS))


@given(batches())
def test_a_group_holds_whole_sentences(drawn):
    """Each head of each sentence is a row of its group, its first token the one that asks."""
    lengths, rows, options = drawn
    layout = Packer(tokens_of(lengths), ENCODER, device=CPU).layout(rows, **options)
    blocks = layout.within
    by_row = torch.arange(layout.ids_1T.shape[1] * HEADS)[:, None]
    seen = []
    for group in blocks.groups:
        token_BL = group.of_tokens(blocks.tokens.take(by_row))[..., 0] // HEADS
        sentence_B = group.of_firsts(blocks.firsts.take(by_row))[:, 0, 0] // HEADS
        for one, (sentence, tokens) in enumerate(zip(sentence_B.tolist(), token_BL.tolist(), strict=True)):
            first, length = int(layout.first_S[sentence]), int(lengths[rows[sentence]])
            assert tokens[:length] == list(range(first, first + length))
            masked = [0.0] * group.longest if group.bias_B1L is None else group.bias_B1L[one, 0].tolist()
            assert masked == [0.0] * length + [-np.inf] * (group.longest - length)
        seen += sentence_B.tolist()
    assert sorted(seen) == sorted(list(range(len(rows))) * HEADS)


def test_a_group_wastes_little():
    """A batch's longest sentence does not decide what the shortest costs."""
    lengths = np.array([78, 12, 11, 10, 10, 30, 31])
    blocks = Packer(tokens_of(lengths), ENCODER, device=CPU).layout(np.arange(7)).within
    assert [group.longest for group in blocks.groups] == [78, 31, 12]
    assert len(blocks.tokens.gather) <= BLOCK_SPREAD * lengths.sum() * HEADS


@pytest.mark.parametrize("blocks", [True, False], ids=["blocks", "dense"])
@pytest.mark.parametrize("firsts", [False, True])
@given(strategies.lengths(max_size=8), st.integers(0, 9))
def test_attention_is_that_of_each_sentence_alone(blocks, firsts, lengths, more):
    """Outputs and gradients; in blocks as on a CPU, and side by side as on CUDA."""
    torch.manual_seed(0)
    rows = np.arange(len(lengths))
    packer = Packer(tokens_of(lengths), ENCODER, device=CPU, blocks=blocks)
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
    layout = Packer(tokens_of(lengths), ENCODER, device=CPU).layout(np.arange(len(lengths)), total=lengths.sum() + more)
    blocks, total = layout.within, layout.ids_1T.shape[1]
    torch.manual_seed(0)
    parts = [torch.randn(total, HEADS, 6, requires_grad=True) for _ in range(3)]
    query = parts[0][layout.first_S] if firsts else parts[0]
    torch.manual_seed(1)
    found = attend(query, *parts[1:], layout, firsts=firsts, scale=0.4, dropout=0.4)

    sizes = [group.batch * group.longest * (1 if firsts else group.longest) for group in blocks.groups]
    torch.manual_seed(1)
    masks = keep_mask(torch.empty(sum(sizes)), 0.4).split(sizes)
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


@given(strategies.lengths(max_size=20), st.integers(0, 9))
def test_the_mean_is_over_a_sentences_own_tokens(lengths, filler):
    real = int(lengths.sum())
    layout = Packer(tokens_of(lengths), ENCODER, device=CPU).layout(np.arange(len(lengths)), total=real + filler)
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
    layout = Packer(tokens_of(np.array([5, 9, 2])), encoder, device=CPU).layout(np.arange(3))
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
    layout = Packer(tokens_of(np.array([5, 9])), encoder, device=CPU).layout(np.arange(2))
    layout.ids_1T.clamp_(max=50)
    packing.forward(model, layout)
    assert calls == [14] * encoder.config.num_hidden_layers
