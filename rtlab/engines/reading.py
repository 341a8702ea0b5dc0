"""Reading something off each sentence without gradients: its logits, or its features.

Sentences are packed where the encoder allows it, in batches of as many as a number of tokens holds, which on a CPU are
rounded up a little; else they are padded, in batches of similar length.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import PaddingCost, padded, plan_by_length, plan_by_tokens, round_up
from rtlab.encoders import Encoder
from rtlab.experiment import Precision
from rtlab.methods import Reads
from rtlab.tokens import Tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.utils import ModelOutput

PADDED_BATCH = 64  # sentences, where the encoder cannot be packed
PACKED_TOKENS = {"cpu": 2048, "cuda": 16384}
PACKED_STEP = {"cpu": 64, "cuda": 1}  # tokens; see `rtlab.engines.native.SHAPE_STEP`


def readable(model: "PreTrainedModel", encoder: Encoder, what: Reads) -> "PreTrainedModel":
    """Prepare a model for `read`, in place: evaluation, packed where the encoder allows it, faster on a CPU."""
    if encoder.packs:
        from rtlab.engines import operations
        from rtlab.engines.dropout import Masks
        from rtlab.engines.packing import pack

        pack(model, first_tokens=what != "mean")
        if model.device.type == "cpu":
            operations.install(model, Masks())
    return model.eval()


def read(
    model: "PreTrainedModel",
    tokens: Tokens,
    encoder: Encoder,
    *,
    what: Reads,
    precision: Precision,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], PaddingCost]:
    """Read something off every sentence of a split.

    Args:
        model: What `readable` gave for `what`, on its device.
        tokens: N sentences.
        encoder: The model's encoder.
        what: What to read.
        precision: `bf16` runs under autocast.
        progress: Called with sentences done and N.

    Returns:
        (N, C) logits or (N, D) features, fp32, in the split's order, and what padding they took.
    """
    import torch

    parts = _packed(model, tokens, encoder, what) if encoder.packs else _padded(model, tokens, encoder, what)
    found: NDArray[np.float32] | None = None
    done = computed = 0
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for rows_S, many, part_SC in parts:
            if found is None:
                found = np.empty((len(tokens), part_SC.shape[1]), dtype=np.float32)
            found[rows_S] = part_SC.float().cpu().numpy()
            done += len(rows_S)
            computed += many
            if progress is not None:
                progress(done, len(tokens))
    assert found is not None, "a split has sentences"
    real = int(tokens.lengths.sum())
    return found, PaddingCost(real_tokens=real, padding_tokens=computed - real)


# Rows of a batch, tokens computed for it, and what was read off each row, (S, C).
Part = tuple[NDArray[np.int64], int, "torch.Tensor"]


def _packed(model: "PreTrainedModel", tokens: Tokens, encoder: Encoder, what: Reads) -> Iterator[Part]:
    from rtlab.engines.layouts import Packer
    from rtlab.engines.packing import forward, mean_of_tokens

    packer = Packer(tokens, encoder, device=model.device)
    for rows_S in plan_by_tokens(tokens.lengths, budget=PACKED_TOKENS[model.device.type]).batches:
        total = round_up(int(tokens.lengths[rows_S].sum()), PACKED_STEP[model.device.type])
        layout = packer.layout(rows_S, total=total)
        yield rows_S, total, taken(forward(model, layout), what, partial(mean_of_tokens, layout=layout))


def _padded(model: "PreTrainedModel", tokens: Tokens, encoder: Encoder, what: Reads) -> Iterator[Part]:
    import torch

    for rows_S in plan_by_length(tokens.lengths, batch_size=PADDED_BATCH).batches:
        ids_SL, mask_SL = (
            torch.from_numpy(part).to(model.device)
            for part in padded(tokens, rows_S, pad_id=encoder.tokenizer.pad_token_id)
        )
        output = model(input_ids=ids_SL, attention_mask=mask_SL)
        yield rows_S, ids_SL.numel(), taken(output, what, partial(masked_mean, mask_SL=mask_SL))


def masked_mean(hidden_SLD: "torch.Tensor", *, mask_SL: "torch.Tensor") -> "torch.Tensor":
    """Mean over each sentence's tokens, (S, D), of a padded batch."""
    return (hidden_SLD * mask_SL[..., None]).sum(1) / mask_SL.sum(1, keepdim=True)


def taken(output: "ModelOutput", what: Reads, mean: "Callable[[torch.Tensor], torch.Tensor]") -> "torch.Tensor":
    """What is read off a batch's sentences, (S, C).

    Args:
        output: Of the model.
        what: What to read.
        mean: Gives the mean over each sentence's tokens of the last hidden states.
    """
    match what:
        case "logits":
            return output.logits
        case "cls":
            return output.last_hidden_state[:, 0]
        case "mean":
            return mean(output.last_hidden_state.float())
