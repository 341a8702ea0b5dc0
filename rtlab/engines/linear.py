"""Linear classifiers on any features: fitted by scikit-learn, chosen by cross-validation, saved without pickle.

Shapes: N sentences, D features, C classes; two classes share one row of coefficients.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtlab.data import Split
from rtlab.methods import Classifier

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

GRID = (0.3, 0.1, 1.0, 0.03, 3.0)  # of C, where it is chosen, for features of length 1; of equal ones the first
FOLDS = 5  # of the training sentences, where something is chosen
ENOUGH = 500  # sentences to hold out for that: of many sentences one fold has as many
EVERY = slice(None)
Features: TypeAlias = "NDArray[np.float32] | csr_matrix"
Rows: TypeAlias = "NDArray[np.int64] | slice"


def candidates(c: float | None, squared_length: float = 1.0) -> tuple[float, ...]:
    """What C there is to choose from: the one given, or the grid, which goes by how long features are.

    Features that are twice as long, fitted with a quarter of C, come to the same logits but for the intercept, which
    scikit-learn's SVM counts among the coefficients.

    Args:
        c: The one given, if any.
        squared_length: Of a sentence's features, the mean.
    """
    return tuple(one / (squared_length or 1.0) for one in GRID) if c is None else (c,)


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


def import_scikit_learn() -> None:
    """Import what `fit` and the terms of words take of scikit-learn: whoever is timed does that before."""
    import sklearn.feature_extraction.text
    import sklearn.linear_model
    import sklearn.svm  # noqa: F401  # for what importing it does


def scaled(features_ND: Features, scale_D: NDArray[np.float64]) -> "csr_matrix":
    """Features, each times a factor."""
    from scipy.sparse import csr_matrix, diags

    return csr_matrix(features_ND @ diags(scale_D))


def best(
    candidates: Sequence[tuple[float, ...]],
    fitted: Callable[..., Linear],
    features_ND: Callable[[], Features],
    train: Split,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[tuple[float, ...], Linear]:
    """The candidate of most right labels in cross-validation, and what is fitted for it on all training sentences.

    Validation is not looked at: what a way scores there would be the better for having been chosen there, and where it
    is small little can be chosen on it. Of equal candidates it is the first.

    Args:
        candidates: Settings; a single one is fitted and not compared.
        fitted: Gives what is fitted on some of the training sentences (`Rows`) with one candidate's settings.
        features_ND: Gives the features of the training sentences.
        train: These sentences.
        progress: Called with the candidates that were fitted on folds, and how many will be.
    """
    if len(candidates) == 1:
        return candidates[0], fitted(EVERY, *candidates[0])
    labels_N, fold_of_N = np.asarray(train.labels), _fold_of(train)
    folds = [fold for fold in range(min(FOLDS, math.ceil(ENOUGH * FOLDS / len(train)))) if (fold_of_N == fold).any()]
    right = dict.fromkeys(candidates, 0)
    for number, fold in enumerate(folds):
        (others,), (rows,) = np.nonzero(fold_of_N != fold), np.nonzero(fold_of_N == fold)
        held_out_ND = features_ND()[rows]
        for done, candidate in enumerate(candidates, start=1 + number * len(candidates)):
            model = fitted(others, *candidate)
            right[candidate] += _right(model, held_out_ND, labels_N[rows])
            del model  # those of many classes and terms are large
            progress(done, len(folds) * len(candidates))
    found = max(candidates, key=lambda candidate: right[candidate])
    return found, fitted(EVERY, *found)


def _fold_of(train: Split) -> NDArray[np.int64]:
    """The fold that each sentence is held out in, (N,); -1 where no other sentence of its class would be left."""
    labels_N, found_N = np.asarray(train.labels), np.array(train.fold_of(FOLDS))
    for label in np.unique(labels_N):
        if len(np.unique(found_N[labels_N == label])) == 1:
            found_N[labels_N == label] = -1
    return found_N


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
