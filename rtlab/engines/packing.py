"""Sentences without padding: packed into one row, each attending to itself alone, its first token read.

The model is Hugging Face's own, unchanged. It is given all tokens of a batch as one row, with positions that restart at
each sentence, and an attention function, registered with transformers, that knows where sentences begin and end. The
last layer computes its output for each sentence's first token alone, where nothing else is read: it is called with
those rows as if each were a sentence of one token, and its keys and values come from all tokens.

Shapes: S sentences, T tokens with filler, D width.
"""

from typing import TYPE_CHECKING

import torch
from transformers import AttentionInterface

from rtlab.architectures import ARCHITECTURES
from rtlab.engines.attention import packed_attention
from rtlab.engines.dropout import Masks
from rtlab.engines.layouts import Layout

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel
    from transformers.utils import ModelOutput

ATTENTION = "rtlab_packed"

# A layer is compiled around it, as the number of blocks changes from batch to batch.
AttentionInterface.register(ATTENTION, torch.compiler.disable(packed_attention))


def pack(model: "PreTrainedModel", *, first_tokens: bool = True) -> "PreTrainedModel":
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


def layers(model: "PreTrainedModel") -> "nn.ModuleList":
    """The transformer layers of a model, in order."""
    base = _plain(model).base_model
    return base.get_submodule(ARCHITECTURES[base.config.model_type].layers)


def _plain(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model of transformers' inside PEFT's, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _first_tokens(
    _: "nn.Module", arguments: tuple[torch.Tensor, ...], named: dict[str, object]
) -> tuple[tuple[torch.Tensor, ...], dict[str, object]]:
    hidden_1TD, *others = arguments
    layout = named["packing"]
    assert isinstance(layout, Layout), "`forward` gives it"
    firsts_S1D = hidden_1TD[0].index_select(0, layout.first_S)[:, None]
    return (firsts_S1D, *others), named | {"all_tokens": hidden_1TD}


def forward(model: "PreTrainedModel", layout: Layout, masks: Masks | None = None) -> "ModelOutput":
    """What transformers' model gives for a packed row; its attention takes dropout's factors from `masks`."""
    return model(input_ids=layout.ids_1T, position_ids=layout.positions_1T, packing=layout, masks=masks)


def mean_of_tokens(hidden_1TD: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Mean over each sentence's tokens, (S, D), wherever there is filler.

    It does not wait for the device; CUDA adds in no fixed order, so that last digits differ from run to run.
    """
    at_T = torch.arange(hidden_1TD.shape[1], device=hidden_1TD.device)
    sentence_T = torch.searchsorted(layout.first_S, at_T, right=True) - 1
    offset_T = at_T - layout.first_S.index_select(0, sentence_T)
    real_T = offset_T < layout.lengths_S.index_select(0, sentence_T)
    sums_SD = hidden_1TD.new_zeros(len(layout.lengths_S), hidden_1TD.shape[2])
    hidden_TD = torch.where(real_T[:, None], hidden_1TD[0], 0)
    return sums_SD.index_add(0, sentence_T, hidden_TD) / layout.lengths_S[:, None]
