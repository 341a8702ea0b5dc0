"""A linear SVM on features of the frozen encoder: the cheapest way to adapt, and the baseline for the others.

Features are extracted without gradients (`rtlab.engines.reading`), and without padding where the encoder can be packed.
What is fitted is saved without pickle: coefficients in safetensors.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import PaddingCost
from rtlab.engines.engine import Task, Training
from rtlab.engines.reading import read, readable
from rtlab.environment import seed_everything
from rtlab.methods import Svm
from rtlab.records import Counts, HeldOut
from rtlab.tokens import Tokens, tokenize

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC

WEIGHTS = "svm.safetensors"


class SvmEngine:
    """Fits a linear SVM on the encoder's features; the encoder runs on the device, the SVM on the CPU.

    Args:
        task: Of method `Svm`.
    """

    def __init__(self, task: Task) -> None:
        experiment, method = task.experiment, task.experiment.method
        assert isinstance(method, Svm), "the other methods are trained in steps"
        self._task, self._pooling = task, method.pooling
        with task.watch.phase("prepare"):
            self._tokens = tokenize(task.splits, task.encoder.tokenizer, max_length=experiment.max_length)
        seed_everything(experiment.seed)
        with task.watch.phase("load"):
            self._model = readable(task.encoder.base().to(task.device), task.encoder, method.pooling)
        self._logits: dict[HeldOut, NDArray[np.float32]] = {}

    def train(self) -> Training:
        """Extract the features of the training split and fit; see `rtlab.engines.engine.Engine`."""
        tokens = self._tokens.train
        with self._task.watch.phase("train"):
            train_ND, cost = self._extract("train", tokens)
            self._svm = fit_svm(train_ND, tokens.labels, seed=self._task.experiment.seed)
        head = self._svm.coef_.size + self._svm.intercept_.size
        return Training(
            counts=Counts(
                parameters_total=sum(p.numel() for p in self._model.parameters()) + head,
                parameters_encoder=0,
                parameters_adapter=0,
                parameters_head=head,
                steps=None,
                samples=len(tokens),
                real_tokens=cost.real_tokens,
                padding_tokens=cost.padding_tokens,
            )
        )

    def evaluate(self, split: HeldOut) -> NDArray[np.float32]:
        """Logits of a split; those of two classes are (-d/2, d/2), whose softmax is the logistic function of d."""
        if split not in self._logits:  # saving takes those of validation once more
            with self._task.watch.phase("evaluate"):
                features_ND, _ = self._extract(split, getattr(self._tokens, split))
                self._logits[split] = decision_logits(features_ND, self._svm.coef_, self._svm.intercept_)
        return self._logits[split]

    def save(self, folder: Path) -> None:
        """Write coefficients and temperature; see `rtlab.engines.engine.Engine`."""
        temperature = fit_temperature(self.evaluate("validation"), self._tokens.validation.labels)
        save(folder, self._svm.coef_, self._svm.intercept_, temperature)

    def _extract(self, name: str, split: Tokens) -> tuple[NDArray[np.float32], PaddingCost]:
        return read(
            self._model,
            split,
            self._task.encoder,
            what=self._pooling,
            precision=self._task.experiment.precision,
            progress=lambda done, of: self._task.progress(f"features of {name}", done, of),
        )


def fit_svm(features_ND: NDArray[np.float32], labels_N: NDArray[np.int64], *, seed: int) -> "LinearSVC":
    """scikit-learn's linear SVM (squared hinge, C = 1, one against the rest), fitted on features (N, D)."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=1.0, dual="auto", random_state=seed, max_iter=10_000).fit(features_ND, labels_N)


def decision_logits(
    features_ND: NDArray[np.float32], coef_CD: NDArray[np.float64], intercept_C: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Decision values as one score per class, (N, C) fp32; two classes share one row of `coef_CD`."""
    decision_NC = features_ND.astype(np.float64) @ coef_CD.T + intercept_C
    if decision_NC.shape[1] == 1:
        decision_NC = np.concatenate([-decision_NC / 2, decision_NC / 2], axis=1)
    return decision_NC.astype(np.float32)


def fit_temperature(logits_NC: NDArray[np.float32], labels_N: NDArray[np.int64]) -> float:
    """The temperature that turns logits into probabilities: softmax(logits / T) of least log loss on these sentences.

    An SVM gives no probabilities; dividing by one temperature keeps its labels (Guo et al., "On Calibration of
    Modern Neural Networks", 2017).

    Args:
        logits_NC: Logits of the validation split, (N, C).
        labels_N: Its classes, (N,).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(labels_N))

    def log_loss(log_temperature: float) -> float:
        scaled_NC = logits_NC.astype(np.float64) / np.exp(log_temperature)
        return float(-log_softmax(scaled_NC, axis=1)[rows, labels_N].mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-5.0, 5.0), method="bounded").x))


def save(folder: Path, coef_CD: NDArray[np.float64], intercept_C: NDArray[np.float64], temperature: float) -> None:
    """Write the SVM into `folder` as safetensors: `coef`, `intercept`, `temperature`, fp64."""
    from safetensors.numpy import save_file

    tensors = {"coef": coef_CD, "intercept": intercept_C, "temperature": np.array([temperature])}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / WEIGHTS)


def load(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Read what `save` wrote: coefficients (C or 1, D), intercepts (C or 1,), temperature.

    Raises:
        ValueError: If the file holds anything else.
    """
    from safetensors.numpy import load_file

    tensors = load_file(folder / WEIGHTS)
    if tensors.keys() != {"coef", "intercept", "temperature"} or tensors["temperature"].shape != (1,):
        raise ValueError(f"{WEIGHTS} must hold coef, intercept and one temperature; got {', '.join(sorted(tensors))}")
    return tensors["coef"], tensors["intercept"], float(tensors["temperature"][0])
