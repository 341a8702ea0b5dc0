"""What training makes small: a function of what is read off a batch's sentences, the same one on either engine.

Shapes: S sentences, C classes, D features.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch.nn import functional

from rtlab.methods import Contrastive, Method

# Gives the loss of logits (S, C) or features (S, D), fp32, of sentences of the classes (S,).
Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def loss_of(method: Method, weights_C: torch.Tensor | None = None) -> Loss:
    """The loss that a method is trained by, a mean over a batch's sentences.

    Args:
        method: One that is trained in steps.
        weights_C: What a sentence of each class counts for, where that is the method's; `None` for all the same.
    """
    assert method.recipe is not None, "it is trained in steps"
    if isinstance(method, Contrastive):
        return partial(supervised_contrastive, temperature=method.temperature)
    return partial(functional.cross_entropy, weight=weights_C, label_smoothing=method.recipe.label_smoothing)


def supervised_contrastive(features_SD: torch.Tensor, labels_S: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """How much likelier a batch's sentences take others of their class for their like than they do.

    Each sentence has a softmax over all others of the batch, of cosine similarities divided by the temperature; its
    loss is minus the mean logarithm of what those of its class get, as L_out of Khosla et al. (2020). The mean is over
    sentences that have another of their class in the batch; 0 where none has.
    """
    unit_SD = functional.normalize(features_SD, dim=1)
    itself_SS = torch.eye(len(labels_S), dtype=torch.bool, device=labels_S.device)
    similar_SS = (unit_SD @ unit_SD.T / temperature).masked_fill(itself_SS, torch.finfo(unit_SD.dtype).min)
    alike_SS = (labels_S[:, None] == labels_S) & ~itself_SS
    number_S = alike_SS.sum(dim=1)
    of_alike_S = torch.where(alike_SS, similar_SS.log_softmax(dim=1), 0.0).sum(dim=1)
    return -(of_alike_S / number_S.clamp(min=1)).sum() / (number_S > 0).sum().clamp(min=1)
