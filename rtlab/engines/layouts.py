"""Where a batch's sentences lie in the one row of tokens that holds them all.

A packed batch is all tokens of its sentences, one sentence after another; a padded one is the same row with filler
tokens behind each sentence, computed and never attended to. So the strategies differ in nothing but the filler, of
which a packed row may have some at its end, to make up a round number.

Shapes: S sentences, T tokens with filler, H heads, d width of a head; P places in blocks, L the longest sentence of a
block, B its number of sentences times H.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.encoders import Encoder
from rtlab.tokens import Tokens

BLOCK_SPREAD = 1.5  # a block's longest sentence is at most so many times its shortest: see `Blocks`


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One batch, laid out.

    Attributes:
        ids_1T: Token ids, int64; the padding token where there is filler.
        positions_1T: Position of each token in its sentence, as the architecture counts, int64.
        first_S: Where each sentence begins.
        lengths_S: Tokens of each sentence.
        within: What attention within sentences needs: `Blocks` for the CPU, `Dense` for CUDA.
    """

    ids_1T: torch.Tensor
    positions_1T: torch.Tensor
    first_S: torch.Tensor
    lengths_S: torch.Tensor
    within: "Blocks | Dense"


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


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The sentences in groups of similar length, each group's padded to its longest, for attention alone.

    Padding all to the longest of the batch would triple the work; a group for each sentence, the calls. The places of
    all groups lie one after another, so that whatever is done to each place is done to all in one go.

    Attributes:
        tokens: Places of queries, keys and values.
        firsts: Places of queries where only first tokens ask.
        groups: The groups, in the order of their places.
    """

    tokens: "Places"
    firsts: "Places"
    groups: "tuple[Group, ...]"


@dataclass(frozen=True)
class Places:
    """Which rows of a tensor (R·H, d) make up the places (P, d), and back.

    Attributes:
        gather: Row for each place; any row where there is padding.
        padding: Places that are padding; `None` where none is.
        back: Place of each row; P for filler.
    """

    gather: torch.Tensor
    padding: torch.Tensor | None
    back: torch.Tensor

    def take(self, rows_Rd: torch.Tensor) -> torch.Tensor:
        """The places, with anything finite in the padding."""
        return rows_Rd.index_select(0, self.gather)

    def take_padded(self, rows_Rd: torch.Tensor) -> torch.Tensor:
        """The places, with 0 in the padding."""
        taken_Pd = self.take(rows_Rd)
        return taken_Pd if self.padding is None else taken_Pd.index_fill_(0, self.padding, 0)

    def empty(self, like: torch.Tensor) -> torch.Tensor:
        """Places to be filled and given to `put`, with a last one more that holds what filler gets: 0."""
        more_Pd = like.new_empty(len(self.gather) + 1, like.shape[1])
        more_Pd[-1] = 0
        return more_Pd

    def put(self, more_Pd: torch.Tensor) -> torch.Tensor:
        """The rows (R·H, d) of places that `empty` gave and that were filled since."""
        return more_Pd.index_select(0, self.back)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sentences that are attended to together.

    Attributes:
        batch: B.
        longest: L.
        tokens: Its part of the places of tokens, B·L.
        firsts: Its part of the places of first tokens, B.
        bias_B1L: 0 at real keys and -inf at padding; `None` where there is no padding.
    """

    batch: int
    longest: int
    tokens: slice
    firsts: slice
    bias_B1L: torch.Tensor | None

    def of_tokens(self, places_Pd: torch.Tensor) -> torch.Tensor:
        """Its tokens, (B, L, d), out of the places of all groups."""
        return places_Pd[self.tokens].view(self.batch, self.longest, -1)

    def of_firsts(self, places_Pd: torch.Tensor) -> torch.Tensor:
        """Its first tokens, (B, 1, d), out of the places of all groups."""
        return places_Pd[self.firsts].view(self.batch, 1, -1)


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
        assert encoder.max_positions is not None, "an encoder that packs counts its positions"
        self._positions = encoder.max_positions
        counted_T = _positions_without_padding(tokens, self._first_position - 1)
        self._counted = None if counted_T is None else torch.from_numpy(counted_T).to(device)
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
        ends_S = np.cumsum(lengths_S if slot is None else np.full_like(lengths_S, slot))
        if total is None:
            total = int(ends_S[-1])
        return self.layout_on_device(
            torch.from_numpy(rows_S).to(self.device),
            slot=slot,
            total=total,
            longest=int(lengths_S.max()),
            blocks=_blocks(lengths_S, np.append(0, ends_S[:-1]), total, self._heads) if self._blocks else None,
        )

    def layout_on_device(
        self,
        rows_S: torch.Tensor,
        *,
        slot: int | None,
        total: int,
        longest: int,
        blocks: Blocks | None = None,
    ) -> Layout:
        """Lay out a batch whose rows lie on the device, without waiting for it: shapes follow from the arguments.

        Args:
            rows_S: As `layout`.
            slot: As `layout`.
            total: As `layout`.
            longest: Tokens of the longest sentence, or more.
            blocks: For the CPU's attention; `None` lays out what CUDA's takes.
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
        if self._counted is not None:
            position_T = torch.where(real_T, self._counted.index_select(0, source_T), position_T)
        within: Blocks | Dense | None = blocks
        if within is None:
            at_L = torch.arange(longest, device=rows_S.device)
            real_SL = at_L < lengths_S[:, None]
            within = Dense(
                gather=torch.where(real_SL, first_S[:, None] + at_L, first_S[:, None]).flatten(),
                mask_S11L=real_SL[:, None, None],
                back_T=sentence_T * longest + offset_T.clamp(max=longest - 1),
                real_T=real_T,
            )
        return Layout(
            ids_1T=ids_T[None],
            positions_1T=position_T[None],
            first_S=first_S,
            lengths_S=lengths_S,
            within=within,
        )


def _positions_without_padding(tokens: Tokens, padding: int) -> NDArray[np.int64] | None:
    """Positions of all tokens where some are padding that stands in a text; `None` where none is, which is usual.

    Who counts from behind the padding index (RoBERTa) gives such a token that index, and counts the others alone.
    """
    word_T = tokens.ids != padding
    if padding < 0 or word_T.all():
        return None
    counted_T = np.append(0, np.cumsum(word_T))
    begin_T = np.repeat(counted_T[tokens.offsets[:-1]], tokens.lengths)
    return np.where(word_T, counted_T[1:] - begin_T, 0) + padding


def _blocks(lengths_S: NDArray[np.int64], first_S: NDArray[np.int64], total: int, heads: int) -> Blocks:
    """Blocks of sentences that begin at `first_S` in a row of `total` tokens."""
    order = np.argsort(-lengths_S, kind="stable")
    head_H = np.arange(heads)
    rows, real, groups = [], [], []
    token = first = 0
    for part in _similar(lengths_S[order]):
        at_L = np.arange(int(lengths_S[order[part.start]]))
        real_NL = at_L < lengths_S[order[part], None]
        row_NL = np.where(real_NL, first_S[order[part], None] + at_L, first_S[order[part], None])
        row_NHL = row_NL[:, None] * heads + head_H[:, None]
        real_NHL = np.broadcast_to(real_NL[:, None], row_NHL.shape)
        bias = None
        if not real_NL.all():
            bias = torch.from_numpy(np.where(real_NHL, np.float32(0), np.float32(-np.inf)).reshape(-1, 1, len(at_L)))
        many = len(real_NL) * heads
        groups.append(
            Group(
                batch=many,
                longest=len(at_L),
                tokens=slice(token, token + row_NHL.size),
                firsts=slice(first, first + many),
                bias_B1L=bias,
            )
        )
        rows.append(row_NHL.reshape(-1))
        real.append(real_NHL.reshape(-1))
        token, first = token + row_NHL.size, first + many
    firsts = (order[:, None] * heads + head_H).reshape(-1)
    return Blocks(
        tokens=_places(np.concatenate(rows), np.concatenate(real), total * heads),
        firsts=_places(firsts, np.ones(len(firsts), dtype=np.bool_), len(firsts)),
        groups=tuple(groups),
    )


def _similar(lengths_S: NDArray[np.int64]) -> Iterator[slice]:
    """Groups of falling lengths, none more than `BLOCK_SPREAD` times another of its group."""
    begin = 0
    while begin < len(lengths_S):
        end = int(np.searchsorted(-lengths_S * BLOCK_SPREAD, -lengths_S[begin], side="right"))
        yield slice(begin, end)
        begin = end


def _places(row_P: NDArray[np.int64], real_P: NDArray[np.bool_], rows: int) -> Places:
    back_R = np.full(rows, len(row_P), dtype=np.int64)
    places = np.flatnonzero(real_P)
    back_R[row_P[places]] = places
    padding = None if len(places) == len(row_P) else torch.from_numpy(np.flatnonzero(~real_P))
    return Places(torch.from_numpy(row_P), padding, torch.from_numpy(back_R))
