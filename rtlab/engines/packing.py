"""Sentences without padding: packed into one row, each attending to itself alone, its first token read.

The model is Hugging Face's own, unchanged. It is given all tokens of a batch as one row, with positions that restart at
each sentence, and an attention function, registered with transformers, that knows where sentences begin and end. The
last layer computes its output for each sentence's first token alone, where nothing else is read: it is called with
those rows as if each were a sentence of one token, and its keys and values come from all tokens.

A padded batch is the same row with filler tokens behind each sentence, computed and never attended to; so the
strategies differ in nothing but the filler.

Shapes: S sentences, T tokens with filler, H heads, D width, d = D / H; L the longest sentence of a block, B its number
of sentences times H.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AttentionInterface

from rtlab.encoders import KEY_VALUE, Encoder
from rtlab.engines.operations import keep_mask
from rtlab.tokens import Tokens

ATTENTION = "rtlab_packed"
BLOCK_SPREAD = 1.5  # a block's longest sentence is at most so many times its shortest: see `_blocks`


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One batch, laid out.

    Attributes:
        ids_1T: Token ids, int64; the padding token where there is filler.
        positions_1T: Position of each token in its sentence, as the architecture counts, int64.
        first_S: Where each sentence begins.
        dense: On CUDA, where each sentence's tokens are.
        blocks: On the CPU, the sentences in groups of similar length.
    """

    ids_1T: torch.Tensor
    positions_1T: torch.Tensor
    first_S: torch.Tensor
    dense: "Dense | None"
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True, kw_only=True)
class Dense:
    """The sentences side by side, all padded to one length, for attention alone.

    CUDA's kernels that take offsets instead drop other weights backward than forward (the efficient one of torch 2.13),
    or know no fp32; and a batch's attention is a hundredth of its matrix products.

    Attributes:
        gather: Token for each place, (S·L,); any one where there is padding.
        mask_S11L: Whether a place is a token.
        back_T: Place of each token; any one for filler.
        real_T: Whether it is a sentence's.
    """

    gather: torch.Tensor
    mask_S11L: torch.Tensor
    back_T: torch.Tensor
    real_T: torch.Tensor


@dataclass(frozen=True)
class Rows:
    """Which rows of a tensor (T·H, d) make up a block (B·Q, d), and back.

    Attributes:
        gather: Row for each place in the block; any row where the block has padding.
        real: Places without padding; `None` where all are.
        gather_real: Row for each of those.
    """

    gather: torch.Tensor
    real: torch.Tensor | None
    gather_real: torch.Tensor

    def take(self, rows_Rd: torch.Tensor) -> torch.Tensor:
        """The block, with anything finite in its padding."""
        return rows_Rd.index_select(0, self.gather)

    def take_real(self, rows_Rd: torch.Tensor) -> torch.Tensor:
        """The block, with 0 in its padding."""
        if self.real is None:
            return rows_Rd.index_select(0, self.gather)
        block = rows_Rd.new_zeros(len(self.gather), rows_Rd.shape[1])
        return block.index_copy_(0, self.real, rows_Rd.index_select(0, self.gather_real))

    def put(self, block: torch.Tensor, rows_Rd: torch.Tensor) -> None:
        """Write a block's real places to where they come from."""
        rows_Rd.index_copy_(0, self.gather_real, block if self.real is None else block.index_select(0, self.real))


@dataclass(frozen=True)
class Block:
    """Sentences that are attended to together, padded to their longest.

    Attributes:
        tokens: Rows of queries, keys and values.
        firsts: Rows of queries, where only first tokens ask.
        bias_B1L: 0 at real keys and -inf at padding; `None` where there is no padding.
    """

    tokens: Rows
    firsts: Rows
    bias_B1L: torch.Tensor | None


class Packer:
    """Makes layouts out of a split whose tokens lie on the device.

    Args:
        tokens: The split.
        encoder: Whose tokenizer and positions are used.
        device: torch device; the tokens are copied to it once.
        blocks: Whether to lay out blocks for the CPU's attention, and not what CUDA's takes.
    """

    def __init__(self, tokens: Tokens, encoder: Encoder, *, device: torch.device, blocks: bool | None = None) -> None:
        self.lengths = tokens.lengths
        self._ids = torch.from_numpy(tokens.ids).to(device)
        self._offsets = torch.from_numpy(tokens.offsets).to(device)
        self.device = device
        self._pad = int(encoder.tokenizer.pad_token_id)
        self._first_position = encoder.first_position
        self._positions = encoder.max_positions
        self._heads = int(encoder.config.num_attention_heads)
        self._blocks = device.type == "cpu" if blocks is None else blocks

    def layout(self, rows_S: NDArray[np.int64], *, slot: int | None = None, total: int | None = None) -> Layout:
        """Lay out a batch.

        Args:
            rows_S: Its sentences.
            slot: Tokens to give each sentence, at least as many as it has; `None` for as many as it has.
            total: Tokens of the row, at least as many as needed; `None` for as many as needed.
        """
        lengths_S = self.lengths[rows_S]
        needed = int(lengths_S.sum()) if slot is None else slot * len(rows_S)
        return self.layout_on_device(
            torch.from_numpy(rows_S).to(self.device),
            slot=slot,
            total=needed if total is None else total,
            longest=int(lengths_S.max()),
            blocks=_blocks(lengths_S, slot, self._heads) if self._blocks else (),
        )

    def layout_on_device(
        self,
        rows_S: torch.Tensor,
        *,
        slot: int | None,
        total: int,
        longest: int,
        blocks: tuple[Block, ...] = (),
    ) -> Layout:
        """Lay out a batch whose rows lie on the device, without waiting for it: shapes follow from the arguments.

        Args:
            rows_S: As `layout`.
            slot: As `layout`.
            total: As `layout`.
            longest: Tokens of the longest sentence, or more.
            blocks: For the CPU's attention.
        """
        begin_S = self._offsets.index_select(0, rows_S)
        lengths_S = self._offsets.index_select(0, rows_S + 1) - begin_S
        slots_S = lengths_S if slot is None else torch.full_like(lengths_S, slot)
        ends_S = slots_S.cumsum(0)
        first_S = ends_S - slots_S
        at_T = torch.arange(total, device=rows_S.device)
        sentence_T = torch.searchsorted(ends_S, at_T, right=True).clamp_(max=len(rows_S) - 1)
        offset_T = at_T - first_S.index_select(0, sentence_T)
        real_T = offset_T < lengths_S.index_select(0, sentence_T)
        source_T = (begin_S.index_select(0, sentence_T) + offset_T).clamp_(max=len(self._ids) - 1)
        ids_T = torch.where(real_T, self._ids.index_select(0, source_T), self._pad).long()
        position_T = offset_T.clamp(max=self._positions - 1) + self._first_position
        dense = None
        if not blocks:
            at_L = torch.arange(longest, device=rows_S.device)
            real_SL = at_L < lengths_S[:, None]
            dense = Dense(
                gather=torch.where(real_SL, first_S[:, None] + at_L, first_S[:, None]).flatten(),
                mask_S11L=real_SL[:, None, None],
                back_T=sentence_T * longest + offset_T.clamp(max=longest - 1),
                real_T=real_T,
            )
        return Layout(
            ids_1T=ids_T[None],
            positions_1T=position_T[None],
            first_S=first_S,
            dense=dense,
            blocks=blocks,
        )


def _blocks(lengths_S: NDArray[np.int64], slot: int | None, heads: int) -> tuple[Block, ...]:
    """Sentences in groups of similar length: padding to the longest of all would triple the work of attention."""
    first_S = np.cumsum(lengths_S if slot is None else np.full_like(lengths_S, slot))
    first_S = first_S - (lengths_S if slot is None else slot)
    order = np.argsort(-lengths_S, kind="stable")
    blocks = []
    while len(order):
        many = int(np.searchsorted(-lengths_S[order] * BLOCK_SPREAD, -lengths_S[order[0]], side="right"))
        blocks.append(_block(order[:many], first_S[order[:many]], lengths_S[order[:many]], heads))
        order = order[many:]
    return tuple(blocks)


def _block(
    sentences_N: NDArray[np.int64], first_N: NDArray[np.int64], lengths_N: NDArray[np.int64], heads: int
) -> Block:
    at_L = np.arange(int(lengths_N[0]))
    real_NL = at_L < lengths_N[:, None]
    token_NL = np.where(real_NL, first_N[:, None] + at_L, first_N[:, None])
    head_H = np.arange(heads)
    tokens_NHL = token_NL[:, None] * heads + head_H[:, None]
    real_NHL = np.broadcast_to(real_NL[:, None], tokens_NHL.shape)
    firsts = torch.from_numpy((sentences_N[:, None] * heads + head_H).reshape(-1))
    bias = None
    if not real_NL.all():
        bias = torch.from_numpy(np.where(real_NHL, np.float32(0), np.float32(-np.inf)).reshape(-1, 1, len(at_L)))
    return Block(_rows(tokens_NHL, None if bias is None else real_NHL), Rows(firsts, None, firsts), bias)


def _rows(rows: NDArray[np.int64], real: NDArray[np.bool_] | None) -> Rows:
    gather = torch.from_numpy(rows.reshape(-1))
    if real is None:
        return Rows(gather, None, gather)
    places = torch.from_numpy(np.flatnonzero(real))
    return Rows(gather, places, gather.index_select(0, places))


class _BlockAttention(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    """softmax(q·k / √d) · v within each sentence, with dropout on the weights, block by block, in fp32.

    Queries (R·H, d), keys and values (T·H, d); `firsts` says that queries are first tokens alone. A sentence's filler
    takes no part; where queries are its rows, its output is 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: tuple[Block, ...],
        firsts: bool,
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        # Filler is in no block, so it has to be 0 from the start.
        output = torch.zeros_like(query)
        saved: list[torch.Tensor | None] = []
        for block in blocks:
            asked = block.firsts if firsts else block.tokens
            heads = len(block.firsts.gather)
            q_BQd, k_BLd, v_BLd = (
                rows.take(part).view(heads, -1, part.shape[1])
                for rows, part in ((asked, query), (block.tokens, key), (block.tokens, value))
            )
            scores_BQL = _scores(q_BQd, k_BLd, block.bias_B1L, scale)
            weights_BQL = scores_BQL.softmax(-1)
            keep_BQL = keep_mask(weights_BQL, dropout) if dropout else None
            kept_BQL = weights_BQL if keep_BQL is None else weights_BQL * keep_BQL
            asked.put(torch.bmm(kept_BQL, v_BLd).view(-1, query.shape[1]), output)
            saved += [q_BQd, k_BLd, v_BLd, weights_BQL, kept_BQL, keep_BQL]
        ctx.save_for_backward(*saved)
        ctx.blocks, ctx.firsts, ctx.scale, ctx.rows = blocks, firsts, scale, (len(query), len(key))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient = gradient.contiguous()
        d_query = gradient.new_zeros(ctx.rows[0], gradient.shape[1])
        d_key, d_value = (gradient.new_zeros(ctx.rows[1], gradient.shape[1]) for _ in range(2))
        parts = iter(ctx.saved_tensors)
        for block in ctx.blocks:
            q_BQd, k_BLd, v_BLd, weights_BQL, kept_BQL, keep_BQL = (next(parts) for _ in range(6))
            asked = block.firsts if ctx.firsts else block.tokens
            d_output = asked.take_real(gradient).view_as(q_BQd)
            block.tokens.put(torch.bmm(kept_BQL.mT, d_output).view(-1, gradient.shape[1]), d_value)
            d_weights = torch.bmm(d_output, v_BLd.mT)
            if keep_BQL is not None:
                d_weights.mul_(keep_BQL)
            d_scores = torch._softmax_backward_data(d_weights, weights_BQL, -1, weights_BQL.dtype).mul_(ctx.scale)
            asked.put(torch.bmm(d_scores, k_BLd).view(-1, gradient.shape[1]), d_query)
            block.tokens.put(torch.bmm(d_scores.mT, q_BQd).view(-1, gradient.shape[1]), d_key)
        return d_query, d_key, d_value, None, None, None, None


def _scores(q_BQd: torch.Tensor, k_BLd: torch.Tensor, bias_B1L: torch.Tensor | None, scale: float) -> torch.Tensor:
    if bias_B1L is None:
        return torch.bmm(q_BQd, k_BLd.mT).mul_(scale)
    return torch.baddbmm(bias_B1L, q_BQd, k_BLd.mT, alpha=scale)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, *, scale: float, dropout: float
) -> torch.Tensor:
    """Attention within sentences.

    Args:
        query: (T, H, d), or (S, H, d) where first tokens alone ask.
        key: (T, H, d).
        value: (T, H, d).
        layout: Where sentences are.
        scale: Factor of the scores.
        dropout: Probability with which a weight is dropped.

    Returns:
        (T, H, d) or (S, H, d), as the queries.
    """
    firsts = len(query) == len(layout.first_S)
    if layout.dense is None:
        parts = (part.reshape(-1, part.shape[-1]).float() for part in (query, key, value))
        with torch.autocast(query.device.type, enabled=False):
            output = _BlockAttention.apply(*parts, layout.blocks, firsts, scale, dropout)
        return output.view_as(query).to(value.dtype)
    dense, sentences = layout.dense, len(layout.first_S)

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
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packing: Layout,
    scaling: float,
    dropout: float = 0.0,
    all_tokens: torch.Tensor | None = None,
    **_: Any,
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
        all_tokens: In the last layer, hidden states of all tokens, (1, T, D).

    Returns:
        (1, T, H, d) or (S, 1, H, d), and no weights.
    """
    assert attention_mask is None, "a packed row comes without a mask"
    query_NHd = query.transpose(1, 2).flatten(0, 1)
    if all_tokens is None:
        key_THd, value_THd = key.transpose(1, 2)[0], value.transpose(1, 2)[0]
    else:
        projections = (getattr(module, name) for name in KEY_VALUE[module.config.model_type])
        key_THd, value_THd = (project(all_tokens)[0].view(-1, *query_NHd.shape[1:]) for project in projections)
    output_NHd = attend(query_NHd, key_THd, value_THd, packing, scale=scaling, dropout=dropout)
    return output_NHd.view(query.shape[0], query.shape[2], *query_NHd.shape[1:]), None


# A layer is compiled around it, as the number of blocks changes from batch to batch.
AttentionInterface.register(ATTENTION, torch.compiler.disable(packed_attention))


def pack(model: Any, *, first_tokens: bool = True) -> Any:
    """Make a model take packed rows, in place.

    Args:
        model: One of transformers', with or without a head or PEFT's adapter, of an encoder that `packs`.
        first_tokens: Whether nothing is read but each sentence's first token; then the last layer computes no more.

    Returns:
        The model; `forward` runs it.
    """
    plain = _plain(model)
    plain.set_attn_implementation(ATTENTION)
    assert plain.config._attn_implementation == ATTENTION, f"{type(plain).__name__} did not take the attention"
    if first_tokens:
        layers(model)[-1].register_forward_pre_hook(_first_tokens, with_kwargs=True)
    return model


def layers(model: Any) -> Any:
    """The transformer layers of a model, in order."""
    base = _plain(model).base_model
    return (base.transformer if hasattr(base, "transformer") else base.encoder).layer


def _plain(model: Any) -> Any:
    """The model of transformers' inside PEFT's, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _first_tokens(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    hidden_1TD, *others = arguments
    firsts_S1D = hidden_1TD[0].index_select(0, named["packing"].first_S)[:, None]
    return (firsts_S1D, *others), named | {"all_tokens": hidden_1TD}


def forward(model: Any, layout: Layout) -> Any:
    """What transformers' model gives for a packed row."""
    return model(input_ids=layout.ids_1T, position_ids=layout.positions_1T, packing=layout)


def mean_of_tokens(hidden_1TD: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Mean over each sentence's tokens, (S, D), of a layout without filler."""
    ends_S = torch.cat([layout.first_S[1:], layout.first_S.new_full((1,), hidden_1TD.shape[1])])
    lengths_S = ends_S - layout.first_S
    sentence_T = torch.repeat_interleave(lengths_S, output_size=hidden_1TD.shape[1])
    sums_SD = hidden_1TD.new_zeros(len(lengths_S), hidden_1TD.shape[2]).index_add_(0, sentence_T, hidden_1TD[0])
    return sums_SD / lengths_S[:, None]
