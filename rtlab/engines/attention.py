"""Attention within the sentences of a packed row, with dropout on its weights.

Shapes: S sentences, T tokens with filler, H heads, d width of a head, R rows that ask (T or S). As
`rtlab.engines.layouts` puts sentences into groups: P places, of which a group's are B sentences times heads, Q queries
and L keys of each; W weights of all groups.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from rtlab.architectures import ARCHITECTURES
from rtlab.engines.dropout import Masks
from rtlab.engines.layouts import Blocks, Group, Layout

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx


class _BlockAttention(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    """softmax(scale · q·k) · v within each sentence, with dropout on the weights, in fp32.

    Queries (R·H, d), keys and values (T·H, d); `firsts` says that queries are first tokens alone. A sentence's filler
    takes no part; where queries are its rows, its output is 0. Products and softmax go group by group; whatever is done
    to each place or weight alone is done to those of all groups in one go.
    """

    @staticmethod
    def forward(
        ctx: "FunctionCtx",
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: Blocks,
        firsts: bool,
        scale: float,
        dropout: float,
        masks: Masks,
    ) -> torch.Tensor:
        asked, asked_of = (blocks.firsts, Group.of_firsts) if firsts else (blocks.tokens, Group.of_tokens)
        q_Pd, k_Pd, v_Pd = asked.take(query), blocks.tokens.take(key), blocks.tokens.take(value)
        weights_W = query.new_empty(sum(_sizes(blocks, firsts)))
        for group, (weights_BQL,) in _by_group(blocks, firsts, weights_W):
            scores_BQL = _scores(asked_of(group, q_Pd), group.of_tokens(k_Pd), group.bias_B1L, scale)
            torch.softmax(scores_BQL, -1, out=weights_BQL)
        keep_W = masks.keep(weights_W, dropout) if dropout else None
        kept_W = weights_W if keep_W is None else weights_W * keep_W
        output_Pd = asked.empty(query)
        for group, (kept_BQL,) in _by_group(blocks, firsts, kept_W):
            torch.bmm(kept_BQL, group.of_tokens(v_Pd), out=asked_of(group, output_Pd))
        ctx.save_for_backward(q_Pd, k_Pd, v_Pd, weights_W, keep_W)
        ctx.blocks, ctx.firsts, ctx.asked, ctx.asked_of, ctx.scale = blocks, firsts, asked, asked_of, scale
        return asked.put(output_Pd)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch's types are not read
    def backward(ctx: "FunctionCtx", gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q_Pd, k_Pd, v_Pd, weights_W, keep_W = ctx.saved_tensors
        kept_W = weights_W if keep_W is None else weights_W * keep_W  # once more: to keep it would take a third more
        tokens, asked, asked_of = ctx.blocks.tokens, ctx.asked, ctx.asked_of
        d_output_Pd = asked.take_padded(gradient.contiguous())
        d_query_Pd, d_key_Pd, d_value_Pd = asked.empty(q_Pd), tokens.empty(k_Pd), tokens.empty(v_Pd)
        d_weights_W, d_scores_W = torch.empty_like(weights_W), torch.empty_like(weights_W)
        by_group = partial(_by_group, ctx.blocks, ctx.firsts)
        for group, (kept_BQL, d_weights_BQL) in by_group(kept_W, d_weights_W):
            d_output_BQd = asked_of(group, d_output_Pd)
            torch.bmm(kept_BQL.mT, d_output_BQd, out=group.of_tokens(d_value_Pd))
            torch.bmm(d_output_BQd, group.of_tokens(v_Pd).mT, out=d_weights_BQL)
        if keep_W is not None:
            d_weights_W.mul_(keep_W)
        for _, (weights_BQL, d_weights_BQL, d_scores_BQL) in by_group(weights_W, d_weights_W, d_scores_W):
            torch._softmax_backward_data(d_weights_BQL, weights_BQL, -1, weights_W.dtype, grad_input=d_scores_BQL)
        d_scores_W.mul_(ctx.scale)
        for group, (d_scores_BQL,) in by_group(d_scores_W):
            torch.bmm(d_scores_BQL, group.of_tokens(k_Pd), out=asked_of(group, d_query_Pd))
            torch.bmm(d_scores_BQL.mT, asked_of(group, q_Pd), out=group.of_tokens(d_key_Pd))
        return asked.put(d_query_Pd), tokens.put(d_key_Pd), tokens.put(d_value_Pd), None, None, None, None, None


def _sizes(blocks: Blocks, firsts: bool) -> list[int]:
    """Numbers of weights, B·Q·L, of the groups."""
    return [group.batch * (1 if firsts else group.longest) * group.longest for group in blocks.groups]


def _by_group(
    blocks: Blocks, firsts: bool, *wholes_W: torch.Tensor
) -> Iterator[tuple[Group, tuple[torch.Tensor, ...]]]:
    """Each group with its part of whatever there is for all weights, as (B, Q, L)."""
    for group, *parts in zip(
        blocks.groups, *(whole_W.split(_sizes(blocks, firsts)) for whole_W in wholes_W), strict=True
    ):
        yield group, tuple(part.view(group.batch, -1, group.longest) for part in parts)


def _scores(q_BQd: torch.Tensor, k_BLd: torch.Tensor, bias_B1L: torch.Tensor | None, scale: float) -> torch.Tensor:
    if bias_B1L is None:
        return torch.bmm(q_BQd, k_BLd.mT).mul_(scale)
    return torch.baddbmm(bias_B1L, q_BQd, k_BLd.mT, alpha=scale)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    firsts: bool = False,
    scale: float,
    dropout: float,
    masks: Masks | None = None,
) -> torch.Tensor:
    """Attention within sentences.

    Args:
        query: (T, H, d), or (S, H, d) with `firsts`.
        key: (T, H, d).
        value: (T, H, d).
        layout: Where sentences are.
        firsts: Whether only first tokens ask.
        scale: Factor of the scores.
        dropout: Probability with which a weight is dropped.
        masks: Where blocks take dropout's factors from; `None` for new ones.

    Returns:
        (T, H, d) or (S, H, d), as the queries.
    """
    if isinstance(layout.within, Blocks):
        parts = (part.reshape(-1, part.shape[-1]).float() for part in (query, key, value))
        with torch.autocast(query.device.type, enabled=False):
            output = _BlockAttention.apply(*parts, layout.within, firsts, scale, dropout, masks or Masks())
        return output.view_as(query).to(value.dtype)
    dense, sentences = layout.within, len(layout.first_S)

    def side_by_side(part: torch.Tensor) -> torch.Tensor:
        return part.index_select(0, dense.gather).unflatten(0, (sentences, -1)).transpose(1, 2)  # (S, H, L, d)

    output_SHQd = nn.functional.scaled_dot_product_attention(
        query[:, :, None] if firsts else side_by_side(query),
        side_by_side(key),
        side_by_side(value),
        attn_mask=dense.mask_S11L,
        dropout_p=dropout,
        scale=scale,
    )
    if firsts:
        return output_SHQd[:, :, 0]
    output_THd = output_SHQd.transpose(1, 2).flatten(0, 1).index_select(0, dense.back_T)
    return torch.where(dense.real_T[:, None, None], output_THd, 0)


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packing: Layout,
    scaling: float,
    dropout: float = 0.0,
    masks: Masks | None = None,
    all_tokens: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in place of its own attention.

    Args:
        module: The self-attention, whose projections made the next three.
        query: (1, H, T, d); in the last layer (S, H, 1, d).
        key: As `query`; in the last layer taken from `all_tokens` instead.
        value: As `key`.
        attention_mask: None: which tokens belong together is the layout's to say.
        packing: The batch's layout.
        scaling: Factor of the scores.
        dropout: Probability with which a weight is dropped.
        masks: As `attend`.
        all_tokens: In the last layer, hidden states of all tokens, (1, T, D).

    Returns:
        (1, T, H, d) or (S, 1, H, d), and no weights.
    """
    assert attention_mask is None, "a packed row comes without a mask"
    query_NHd = query.transpose(1, 2).flatten(0, 1)
    if all_tokens is None:
        key_THd, value_THd = key.transpose(1, 2)[0], value.transpose(1, 2)[0]
    else:
        names = ARCHITECTURES[module.config.model_type].key_value
        assert names is not None, "an encoder that packs has these"
        projections = (getattr(module, name) for name in names)
        key_THd, value_THd = (project(all_tokens)[0].view(-1, *query_NHd.shape[1:]) for project in projections)
    firsts = all_tokens is not None
    output_NHd = attend(
        query_NHd, key_THd, value_THd, packing, firsts=firsts, scale=scaling, dropout=dropout, masks=masks
    )
    return output_NHd.view(query.shape[0], query.shape[2], *query_NHd.shape[1:]), None
