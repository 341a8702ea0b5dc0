"""Linear classifiers on any features: fitted by scikit-learn, chosen on validation, saved without pickle.

Shapes: N sentences, D features, C classes; two classes share one row of coefficients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtlab.methods import Classifier

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

GRID = (0.1, 0.3, 1.0, 3.0, 10.0)  # of C, where it is chosen
Features: TypeAlias = "NDArray[np.float32] | csr_matrix"


def candidates(c: float | None) -> tuple[float, ...]:
    """What C there is to choose from: the one given, or the grid."""
    return GRID if c is None else (c,)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear classifier.

    Attributes:
        coef_CD: Coefficients, (C or 1, D) fp64.
        intercept_C: Intercepts, (C or 1,).
        temperature: What logits are divided by to be probabilities' logits; 1 where they are such already.
    """

    coef_CD: NDArray[np.float64]
    intercept_C: NDArray[np.float64]
    temperature: float = 1.0

    @property
    def parameters(self) -> int:
        """Coefficients and intercepts."""
        return self.coef_CD.size + self.intercept_C.size

    def logits(self, features_ND: Features) -> NDArray[np.float32]:
        """Decision values as one score per class, (N, C) fp32; those of two classes are (-d/2, d/2)."""
        wide_ND = features_ND.astype(np.float64)
        decision_NC = np.asarray(wide_ND @ self.coef_CD.T) + self.intercept_C
        if decision_NC.shape[1] == 1:
            decision_NC = np.concatenate([-decision_NC / 2, decision_NC / 2], axis=1)
        return decision_NC.astype(np.float32)

    def calibrated(self, features_ND: Features) -> NDArray[np.float64]:
        """Logits divided by the temperature, (N, C) fp64: softmax makes probabilities of them."""
        return self.logits(features_ND).astype(np.float64) / self.temperature


def fit(features_ND: Features, labels_N: NDArray[np.int64], *, classifier: Classifier, c: float, seed: int) -> Linear:
    """Fit scikit-learn's linear SVM (squared hinge, one against the rest) or logistic regression (softmax).

    Args:
        features_ND: Of the training sentences, dense or sparse.
        labels_N: Their classes.
        classifier: Which.
        c: Inverse strength of the regularisation.
        seed: Of the SVM's solver.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    if classifier == "svm":
        model = LinearSVC(C=c, dual="auto", random_state=seed, max_iter=10_000)
    else:
        model = LogisticRegression(C=c, max_iter=10_000)
    model.fit(features_ND, labels_N)
    return Linear(coef_CD=model.coef_, intercept_C=model.intercept_)


def scaled(features_ND: Features, scale_D: NDArray[np.float64]) -> "csr_matrix":
    """Features, each times a factor."""
    from scipy.sparse import csr_matrix, diags

    return csr_matrix(features_ND @ diags(scale_D))


def best(
    candidates: Sequence[tuple[float, ...]],
    fitted: Callable[..., Linear],
    features_ND: Callable[[], Features],
    labels_N: NDArray[np.int64],
) -> tuple[tuple[float, ...], Linear]:
    """The candidate of highest accuracy on validation, the first of several equal ones, and what was fitted for it.

    Args:
        candidates: Settings; a single one is fitted and not compared.
        fitted: Gives what is fitted with one candidate's settings.
        features_ND: Gives the features of the validation split.
        labels_N: Its classes.
    """
    first, *others = candidates
    found = first, fitted(*first)
    if not others:
        return found
    held_out_ND = features_ND()
    most = _right(found[1], held_out_ND, labels_N)
    for candidate in others:  # one is kept beside the best so far, as those of many classes and terms are large
        model = fitted(*candidate)
        if (right := _right(model, held_out_ND, labels_N)) > most:
            most, found = right, (candidate, model)
        del model
    return found


def _right(model: Linear, features_ND: Features, labels_N: NDArray[np.int64]) -> int:
    return int((model.logits(features_ND).argmax(axis=1) == labels_N).sum())


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


def temperature(classifier: Classifier, logits_NC: NDArray[np.float32], labels_N: NDArray[np.int64]) -> float:
    """What a classifier's logits are divided by: 1 where they are probabilities' already, else as `fit_temperature`."""
    return 1.0 if classifier == "logistic" else fit_temperature(logits_NC, labels_N)


def save(file: Path, model: Linear) -> None:
    """Write a classifier as safetensors: `coef`, `intercept`, `temperature`, fp64."""
    from safetensors.numpy import save_file

    tensors = {"coef": model.coef_CD, "intercept": model.intercept_C, "temperature": np.array([model.temperature])}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, file)


def load(file: Path) -> Linear:
    """Read what `save` wrote.

    Raises:
        ValueError: If the file holds anything else. Who opens a model checks shapes, and that all is finite.
    """
    from safetensors.numpy import load_file

    tensors = load_file(file)
    if tensors.keys() != {"coef", "intercept", "temperature"} or tensors["temperature"].shape != (1,):
        raise ValueError(f"{file.name} must hold coef, intercept and one temperature; got {', '.join(sorted(tensors))}")
    return Linear(
        coef_CD=tensors["coef"], intercept_C=tensors["intercept"], temperature=float(tensors["temperature"][0])
    )
