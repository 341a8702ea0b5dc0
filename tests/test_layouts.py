"""Layouts: every token once, none in another sentence, whatever fills a batch up."""

import numpy as np
import small
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtlab.encoders import load_encoder
from rtlab.engines.layouts import BLOCK_SPREAD, Packer

CPU = torch.device("cpu")
ENCODER = load_encoder("tiny-roberta")  # whose positions do not start at 0
HEADS = 4


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
    tokens = small.numbered(lengths)
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
    layout = Packer(small.numbered(lengths), ENCODER, device=CPU, blocks=False).layout(rows, **options)
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
    layout = Packer(small.numbered(lengths), ENCODER, device=CPU).layout(rows, **options)
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
    layout = Packer(small.numbered(lengths), ENCODER, device=CPU).layout(rows, **options)
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
    blocks = Packer(small.numbered(lengths), ENCODER, device=CPU).layout(np.arange(7)).within
    assert [group.longest for group in blocks.groups] == [78, 31, 12]
    assert len(blocks.tokens.gather) <= BLOCK_SPREAD * lengths.sum() * HEADS
