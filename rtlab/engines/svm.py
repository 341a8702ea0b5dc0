"""A linear SVM on features of the frozen encoder: the cheapest way to adapt, and the baseline for the others.

Features are extracted without gradients (`rtlab.engines.reading`), and without padding where the encoder can be packed.
What is fitted is saved without pickle: coefficients in safetensors.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import PaddingCost
from rtlab.encoders import Encoder
from rtlab.engines.outcome import Evaluate, Outcome, Progress, Train
from rtlab.engines.reading import read, readable
from rtlab.environment import Stopwatch, seed_everything
from rtlab.experiment import Experiment
from rtlab.records import Counts
from rtlab.tokens import TokenizedSplits, Tokens

WEIGHTS = "svm.safetensors"


def build(
    experiment: Experiment, encoder: Encoder, tokens: TokenizedSplits, *, device: Any, progress: Progress
) -> Train:
    """Load the encoder whose features the SVM is fitted on.

    Args:
        experiment: An experiment of method `svm`.
        encoder: The encoder whose features are taken.
        tokens: The three splits.
        device: torch device of the encoder; the SVM itself is fitted on the CPU.
        progress: Called after each batch.

    Returns:
        The function that extracts the features of `train` and fits. Logits of two classes are (-d/2, d/2) of the
        decision value d, so that their softmax is the logistic function of d.
    """
    pooling = experiment.pooling
    assert pooling is not None, "a normalised svm experiment has a pooling"
    watch = Stopwatch(device)
    seed_everything(experiment.seed)
    with watch.phase("load"):
        model = readable(encoder.base().to(device), encoder, pooling)

    def extract(name: str, split: Tokens) -> tuple[NDArray[np.float32], PaddingCost]:
        return read(
            model,
            split,
            encoder,
            what=pooling,
            precision=experiment.precision,
            progress=lambda done, of: progress(f"features of {name}", done, of),
        )

    def train() -> Evaluate:
        with watch.phase("train"):
            train_ND, cost = extract("train", tokens.train)
            svm = fit_svm(train_ND, tokens.train.labels, seed=experiment.seed)

        def evaluate() -> Outcome:
            logits = {}
            with watch.phase("evaluate"):
                for name, split in (("validation", tokens.validation), ("test", tokens.test)):
                    logits[name] = decision_logits(extract(name, split)[0], svm.coef_, svm.intercept_)
            temperature = fit_temperature(logits["validation"], tokens.validation.labels)
            return Outcome(
                logits=logits,
                counts=_counts(model, svm, len(tokens.train), cost),
                seconds=watch.seconds,
                save=lambda folder: save(folder, svm.coef_, svm.intercept_, temperature),
            )

        return evaluate

    return train


def _counts(model: Any, svm: Any, samples: int, cost: PaddingCost) -> Counts:
    head = svm.coef_.size + svm.intercept_.size
    return Counts(
        parameters_total=sum(p.numel() for p in model.parameters()) + head,
        parameters_encoder=0,
        parameters_adapter=0,
        parameters_head=head,
        steps=None,
        samples=samples,
        real_tokens=cost.real_tokens,
        padding_tokens=cost.padding_tokens,
    )


def fit_svm(features_ND: NDArray[np.float32], labels_N: NDArray[np.int64], *, seed: int) -> Any:
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
    """Read what `save` wrote: coefficients (C or 1, D), intercepts (C or 1,), temperature."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / WEIGHTS)
    return tensors["coef"], tensors["intercept"], float(tensors["temperature"][0])
