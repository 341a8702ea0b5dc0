"""An encoder that was trained on pairs of sentences, and a logistic regression on the features that it gives then.

The encoder is trained by an engine as any other, with another loss (`rtlab.engines.losses`). What labels sentences is
fitted once that is done, on the training sentences themselves. Its C is not chosen by cross-validation: the encoder has
seen all of them, and so their features fall apart into classes as those of no others do.

Shapes: N sentences, D features.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.engines import linear
from rtlab.engines.engine import Encoding, NonFiniteLossError, Task, Training
from rtlab.engines.linear import Linear
from rtlab.records import HeldOut

CLASSIFIER = "head.safetensors"
C = 1.0  # inverse strength of its regularisation, for features of length 1


class ContrastiveEngine:
    """Trains an encoder, and fits a classifier on its features.

    Args:
        task: Of method `Contrastive`.
        encoding: The engine that trains the encoder.
    """

    def __init__(self, task: Task, encoding: Encoding) -> None:
        self._task, self._encoding = task, encoding
        self._classifier: Linear | None = None
        self._logits: dict[HeldOut, NDArray[np.float32]] = {}

    def train(self) -> Training:
        """Train the encoder, and fit; errors as `rtlab.engines.engine.Engine`, also where features are not finite."""
        training, features_ND = self._encoding.train(), self._encoding.training_features()
        steps = training.counts.steps
        assert steps is not None, "it is trained in steps"
        if not np.isfinite(features_ND).all():
            raise NonFiniteLossError(steps, f"the features of train are not finite after step {steps}")
        with self._task.watch.phase("train"):
            squared_length = float((features_ND.astype(np.float64) ** 2).sum(axis=1).mean())
            self._classifier = linear.fit(
                features_ND,
                np.asarray(self._task.splits.train.labels),
                classifier="logistic",
                c=C / (squared_length or 1.0),
                seed=self._task.experiment.seed,
            )
        counts, head = training.counts, self._classifier.parameters
        with_head = replace(counts, parameters_total=counts.parameters_total + head, parameters_head=head)
        return replace(training, counts=with_head)

    def evaluate(self, split: HeldOut) -> NDArray[np.float32]:
        """Logits of a split; see `rtlab.engines.engine.Engine`."""
        if split not in self._logits:
            features_ND = self._encoding.evaluate(split)
            with self._task.watch.phase("evaluate"):
                self._logits[split] = self._fitted.logits(features_ND)
        return self._logits[split]

    def save(self, folder: Path) -> None:
        """Write the encoder and the classifier; see `rtlab.engines.engine.Engine`."""
        self._encoding.save(folder)
        labels_N = np.asarray(self._task.splits.validation.labels)
        # Features of sentences that the encoder was trained on make it far too sure of others.
        temperature = linear.fit_temperature(self.evaluate("validation"), labels_N)
        linear.save(folder / CLASSIFIER, replace(self._fitted, temperature=temperature))

    @property
    def _fitted(self) -> Linear:
        assert self._classifier is not None, "`train` comes first"
        return self._classifier
