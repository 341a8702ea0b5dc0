"""A layer's operations as a CPU does them fastest: matrix products, dropout, embeddings, adapters.

Hugging Face's modules stay; what they compute is computed another way. torch takes products in fp32 to one library,
which need not be the faster of its two (`rtlab.engines.products`); draws slow masks (`rtlab.engines.dropout`); fills an
embedding's whole gradient with zeros at each step; and runs an adapter as seven operations with their gradients.
`tests/test_operations.py` holds each against torch's own.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from rtlab.engines.dropout import Masks
from rtlab.engines.products import Products, fastest

if TYPE_CHECKING:
    from peft.tuners.lora import Linear as LoraLinear
    from torch.autograd.function import FunctionCtx


def install(model: nn.Module, masks: Masks) -> None:
    """Have a model's modules compute in these ways, in place; under autocast, products and adapters remain torch's.

    Args:
        model: One of transformers', with or without PEFT's adapter.
        masks: Where dropout takes its factors from.
    """
    adapted, products = _lora_layers(), fastest()
    gradients: dict[nn.Parameter, EmbeddingGradient] = {}  # one for a weight, also where two modules share it
    for module in model.modules():  # exactly of these classes: one made from them, as PEFT's are, computes more
        if type(module) is nn.Dropout and module.p > 0:
            module.forward = partial(_dropout, module, masks)
        elif type(module) is nn.Embedding and module.weight.requires_grad:
            gradient = gradients.setdefault(module.weight, EmbeddingGradient(module.weight))
            module.forward = partial(_embedding, module, gradient)
        elif type(module) in adapted:
            module.forward = partial(_adapted, module, masks, products, module.forward)
        elif type(module) is nn.Linear:
            module.forward = partial(_linear, module, products)


def _lora_layers() -> "tuple[type[LoraLinear], ...]":
    """PEFT's class of them: there is none in a process that has not imported PEFT, which takes a while."""
    lora = sys.modules.get("peft.tuners.lora")
    return () if lora is None else (lora.Linear,)


def _dropout(module: nn.Dropout, masks: Masks, values: torch.Tensor) -> torch.Tensor:
    return values * masks.keep(values, module.p) if module.training else values


class EmbeddingGradient:
    """The gradient of an embedding, in memory that is filled with zeros once, and then where it was written to.

    Nothing else may write the parameter's gradient.

    Args:
        weight: The embedding's parameter.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self._weight = weight
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
        self._weight.grad.index_add_(0, ids_T, rows_TD)


def _embedding(module: nn.Embedding, gradient: EmbeddingGradient, ids: torch.Tensor) -> torch.Tensor:
    return _Embedding.apply(module.weight, gradient, ids, module.padding_idx)


class _Embedding(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    @staticmethod
    def forward(
        ctx: "FunctionCtx", weight: torch.Tensor, gradient: EmbeddingGradient, ids: torch.Tensor, padding: int | None
    ) -> torch.Tensor:
        ctx.gradient, ctx.padding = gradient, padding
        ctx.save_for_backward(ids)
        return nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch's types are not read
    def backward(ctx: "FunctionCtx", d_output: torch.Tensor) -> tuple[None, None, None, None]:
        ids_T = ctx.saved_tensors[0].flatten()
        rows_TD = d_output.reshape(-1, d_output.shape[-1])
        if ctx.padding is not None:
            rows_TD = rows_TD.masked_fill(ids_T[:, None] == ctx.padding, 0)
        ctx.gradient.add(ids_T, rows_TD)
        return None, None, None, None


def _linear(module: nn.Linear, products: Products, values: torch.Tensor) -> torch.Tensor:
    if torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(values, module.weight, module.bias)
    rows = values.reshape(-1, values.shape[-1])
    return _Linear.apply(rows, module.weight, module.bias, products).view(*values.shape[:-1], -1)


class _Linear(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    """y = x·Wᵀ + b."""

    @staticmethod
    def forward(
        ctx: "FunctionCtx",
        x_TI: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        products: Products,
    ) -> torch.Tensor:
        ctx.save_for_backward(x_TI if ctx.needs_input_grad[1] else None, weight_OI)
        ctx.products = products
        return products.forward(x_TI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch's types are not read
    def backward(ctx: "FunctionCtx", d_TO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TI, weight_OI = ctx.saved_tensors
        d_TO = d_TO.contiguous()
        d_x = ctx.products.towards_inputs(d_TO, weight_OI) if ctx.needs_input_grad[0] else None
        d_weight = None if x_TI is None else ctx.products.towards_weights(d_TO, x_TI)
        return d_x, d_weight, d_TO.sum(0) if ctx.needs_input_grad[2] else None, None


def _adapted(
    module: "LoraLinear", masks: Masks, products: Products, pefts: Callable[..., torch.Tensor], values: torch.Tensor
) -> torch.Tensor:
    if torch.is_autocast_enabled("cpu") or not _is_plain(module):
        return pefts(values)
    (name,) = module.active_adapters
    dropout, scale = module.lora_dropout[name], module.scaling[name]
    rows = values.reshape(-1, values.shape[-1])
    probability = dropout.p if dropout.training and isinstance(dropout, nn.Dropout) else 0.0
    keep = masks.keep(rows, probability) if probability else None
    base, down, up = module.base_layer, module.lora_A[name].weight, module.lora_B[name].weight
    return _Adapted.apply(rows, keep, base.weight, base.bias, down, up, scale, products).view(*values.shape[:-1], -1)


def _is_plain(module: "LoraLinear") -> bool:
    """Whether it is a frozen layer under one adapter of the first kind (Hu et al., 2021), neither merged nor off."""
    names, base = module.active_adapters, module.base_layer
    return (
        len(names) == 1
        and names[0] not in module.lora_variant
        and not (module.lora_bias[names[0]] or module.merged or module.disable_adapters)
        and not any(parameter.requires_grad for parameter in base.parameters())
    )


class _Adapted(torch.autograd.Function):  # type: ignore[misc]  # torch's types are not read
    """y = x·Wᵀ + b + s·(x ∘ keep)·Aᵀ·Bᵀ with W and b frozen."""

    @staticmethod
    def forward(
        ctx: "FunctionCtx",
        x_TI: torch.Tensor,
        keep_TI: torch.Tensor | None,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        down_RI: torch.Tensor,
        up_OR: torch.Tensor,
        scale: float,
        products: Products,
    ) -> torch.Tensor:
        kept_TI = x_TI if keep_TI is None else x_TI * keep_TI
        low_TR = products.forward(kept_TI, down_RI)
        ctx.save_for_backward(kept_TI, keep_TI, weight_OI, down_RI, up_OR, low_TR)
        ctx.scale, ctx.products = scale, products
        return products.forward(x_TI, weight_OI, bias_O).addmm_(low_TR, up_OR.T, alpha=scale)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch's types are not read
    def backward(ctx: "FunctionCtx", d_TO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kept_TI, keep_TI, weight_OI, down_RI, up_OR, low_TR = ctx.saved_tensors
        d_low_TR = ctx.products.towards_inputs(d_TO, up_OR).mul_(ctx.scale)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_kept_TI = d_low_TR @ down_RI
            d_x = ctx.products.towards_inputs(d_TO, weight_OI).add_(
                d_kept_TI if keep_TI is None else d_kept_TI.mul_(keep_TI)
            )
        return d_x, None, None, None, d_low_TR.T @ kept_TI, (low_TR.T @ d_TO).T.mul(ctx.scale), None, None
