"""Training's smaller operations, as a CPU does them fastest: dropout, embeddings, adapters.

Hugging Face's modules stay; what they compute is computed another way. On two cores torch draws one random number in
double precision for each value that dropout may drop, on one thread (1 ms for 438 × 384, against 0.25 ms here); fills
an embedding's whole gradient with zeros at each step; and runs an adapter as seven operations with their gradients.
`tests/test_operations.py` holds each against torch's own.
"""

from functools import partial
from typing import Any

import torch
from torch import nn


def keep_mask(like: torch.Tensor, probability: float) -> torch.Tensor:
    """Dropout's factors: 0 with the probability, else what keeps the mean.

    Four values share a random number of 64 bits, so the probability is a multiple of 2⁻¹⁶: for 0.1 it is 0.100006.

    Args:
        like: Tensor whose shape, device and type the mask gets.
        probability: In [0, 1).
    """
    dropped = round(probability * 2**16)
    many = like.numel()
    bits = torch.empty((many + 3) // 4, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    kept = bits.view(torch.int16)[:many] >= dropped - 2**15
    return kept.view(like.shape).to(like.dtype).mul_(2**16 / (2**16 - dropped))


def install(model: Any, *, adapters: bool) -> None:
    """Have a model's modules compute in these ways, in place.

    Args:
        model: One of transformers', with or without PEFT's adapter.
        adapters: Whether to replace adapters as well; they are for fp32 alone.
    """
    from peft.tuners.lora import Linear as LoraLinear

    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            module.forward = partial(_dropout, module)
        elif isinstance(module, nn.Embedding) and module.weight.requires_grad:
            module.forward = partial(
                _Embedding.apply, module.weight, EmbeddingGradient(module.weight, module.padding_idx)
            )
        elif adapters and isinstance(module, LoraLinear):
            module.forward = partial(_adapted, module)


def _dropout(module: nn.Dropout, values: torch.Tensor) -> torch.Tensor:
    return values * keep_mask(values, module.p) if module.training else values


class EmbeddingGradient:
    """The gradient of an embedding, in memory that is filled with zeros once, and then where it was written to.

    Args:
        weight: The embedding's parameter.
        padding: The row that gets no gradient, if there is one.
    """

    def __init__(self, weight: nn.Parameter, padding: int | None = None) -> None:
        self._weight = weight
        self._padding = padding
        self._dense: torch.Tensor | None = None
        self._written: torch.Tensor | None = None

    def add(self, ids_T: torch.Tensor, rows_TD: torch.Tensor) -> None:
        """Add to the parameter's gradient; after `zero_grad(set_to_none=True)` a new one is begun."""
        if self._dense is None:
            self._dense = torch.zeros_like(self._weight)
        if self._weight.grad is None:
            if self._written is not None:
                self._dense.index_fill_(0, self._written, 0)
            self._weight.grad, self._written = self._dense, ids_T
        else:
            self._written = ids_T if self._written is None else torch.cat([self._written, ids_T])
        if self._padding is not None:
            rows_TD = rows_TD.masked_fill(ids_T[:, None] == self._padding, 0)
        self._weight.grad.index_add_(0, ids_T, rows_TD)


class _Embedding(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, gradient: EmbeddingGradient, ids: torch.Tensor) -> torch.Tensor:
        ctx.gradient = gradient
        ctx.save_for_backward(ids)
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, d_output: torch.Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.gradient.add(ids.flatten(), d_output.reshape(-1, d_output.shape[-1]))
        return None, None, None


def _adapted(module: Any, values: torch.Tensor) -> torch.Tensor:
    (name,) = module.active_adapters
    dropout, scale = module.lora_dropout[name], module.scaling[name]
    rows = values.reshape(-1, values.shape[-1])
    probability = dropout.p if dropout.training and isinstance(dropout, nn.Dropout) else 0.0
    keep = keep_mask(rows, probability) if probability else None
    base, down, up = module.base_layer, module.lora_A[name].weight, module.lora_B[name].weight
    return _Adapted.apply(rows, keep, base.weight, base.bias, down, up, scale).view(*values.shape[:-1], -1)


class _Adapted(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    """y = x·Wᵀ + b + s·(x ∘ keep)·Aᵀ·Bᵀ with W and b frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: torch.Tensor,
        keep_TI: torch.Tensor | None,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        down_RI: torch.Tensor,
        up_OR: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        kept_TI = x_TI if keep_TI is None else x_TI * keep_TI
        low_TR = kept_TI @ down_RI.T
        ctx.save_for_backward(kept_TI, keep_TI, weight_OI, down_RI, up_OR, low_TR)
        ctx.scale = scale
        return nn.functional.linear(x_TI, weight_OI, bias_O).addmm_(low_TR, up_OR.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, d_TO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kept_TI, keep_TI, weight_OI, down_RI, up_OR, low_TR = ctx.saved_tensors
        d_low_TR = (d_TO @ up_OR).mul_(ctx.scale)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_kept_TI = d_low_TR @ down_RI
            d_x = (d_kept_TI if keep_TI is None else d_kept_TI.mul_(keep_TI)).addmm_(d_TO, weight_OI)
        return d_x, None, None, None, d_low_TR.T @ kept_TI, (d_TO.T @ low_TR).mul_(ctx.scale), None
