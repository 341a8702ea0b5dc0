"""Validation during training: when it is due, what it came to, which weights are kept, and when it was enough."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.engines.engine import NonFiniteLossError
from rtlab.metrics import log_loss, scores
from rtlab.recipe import Recipe
from rtlab.records import Validated

if TYPE_CHECKING:
    import torch


class Validation:
    """What training comes to on validation, as a recipe asks for it.

    Args:
        recipe: How to train.
        labels: Classes of validation, (N,).
        trained: The parameters that are trained.
        per_epoch: Optimizer steps of an epoch.
        steps: Of the run.

    Attributes:
        found: What each evaluation came to.
    """

    def __init__(
        self,
        recipe: Recipe,
        labels: Sequence[int] | NDArray[np.int64],
        trained: "Sequence[torch.nn.Parameter]",
        *,
        per_epoch: int,
        steps: int,
    ) -> None:
        self.found: list[Validated] = []
        self._recipe, self._trained, self._steps = recipe, trained, steps
        self._every = per_epoch if recipe.evaluate == "epoch" else recipe.evaluate
        self._labels_N = np.asarray(labels, dtype=np.int64)
        self._best: Validated | None = None
        self._kept: list[torch.Tensor] = []

    def due(self, step: int) -> bool:
        """Whether it is to be evaluated after a step, counted from 1."""
        return self._every is not None and (step % self._every == 0 or step == self._steps)

    def take(self, logits_NC: NDArray[np.float32], *, step: int, epoch: float) -> None:
        """Take down an evaluation; if none was better, the weights as they are now.

        Args:
            logits_NC: Of validation.
            step: Optimizer steps done.
            epoch: Epochs done.

        Raises:
            NonFiniteLossError: If they are not finite.
        """
        if not np.isfinite(logits_NC).all():
            raise NonFiniteLossError(step, f"the logits of validation are not finite after step {step}")
        all_scores = scores(self._labels_N, logits_NC.argmax(axis=1), num_labels=logits_NC.shape[1])
        assert all_scores.macro_f1 is not None, "it is None in older records alone"
        now = Validated(
            step=step,
            epoch=epoch,
            loss=log_loss(self._labels_N, logits_NC),
            accuracy=all_scores.accuracy,
            f1=all_scores.f1,
            macro_f1=all_scores.macro_f1,
        )
        self.found.append(now)
        if self._best is None or self._worth(now) > self._worth(self._best):
            self._best = now
            if self._recipe.keep == "best":
                self._kept = [parameter.detach().to("cpu", copy=True) for parameter in self._trained]

    @property
    def enough(self) -> bool:
        """Whether so many evaluations in a row were no better that training ends."""
        if self._recipe.patience is None or self._best is None:
            return False
        return len(self.found) - 1 - self.found.index(self._best) >= self._recipe.patience

    def restore(self) -> Mapping[str, float]:
        """Put the weights back that are kept, and say of when they are; the last ones are there already."""
        import torch

        if self._recipe.keep == "last" or self._best is None:
            return {}
        with torch.no_grad():
            for parameter, value in zip(self._trained, self._kept, strict=True):
                parameter.copy_(value)
        self._kept.clear()
        return {"step": self._best.step, "epoch": self._best.epoch}

    def best(self) -> "tuple[int | None, list[torch.Tensor]]":
        """Which of `found` is the best so far, and the weights that are kept."""
        return None if self._best is None else self.found.index(self._best), self._kept

    def put_back(self, found: Sequence[Validated], best: int | None, kept: "list[torch.Tensor]") -> None:
        """Go on from there."""
        self.found[:] = found
        self._best, self._kept = None if best is None else found[best], kept

    def _worth(self, found: Validated) -> float:
        return -found.loss if self._recipe.metric == "loss" else getattr(found, self._recipe.metric.replace("-", "_"))
