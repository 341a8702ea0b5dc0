"""Labels and probabilities for sentences, from whatever `rtlab` has trained and saved."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from rtlab import environment
from rtlab.encoders import Encoder, load_encoder
from rtlab.engines.models import saved_model
from rtlab.engines.reading import read, readable
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm
from rtlab.saving import DESCRIPTION
from rtlab.tokens import Tokens, token_arrays
from rtlab.values import Json, from_json

if TYPE_CHECKING:
    import torch

WEIGHTS = {Svm: "svm.safetensors", Adapter: "adapter_model.safetensors"}  # PEFT would fall back to a pickle


@dataclass(frozen=True, kw_only=True)
class Description:
    """What lies beside a saved model: how it was made, and how to feed it."""

    id: str
    experiment: Experiment
    label_names: tuple[str, ...]
    encoder: str
    encoder_sha256: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one sentence.

    Attributes:
        text: The sentence.
        label: Name of the most probable class.
        probabilities: Name of each class to its probability; they add up to 1.
    """

    text: str
    label: str
    probabilities: Mapping[str, float]


def predict(model_dir: Path | str, sentences: Sequence[str], *, device: str | None = None) -> tuple[Prediction, ...]:
    """Label sentences with a saved model: a fine-tuned encoder, an adapter, or an SVM.

    Args:
        model_dir: A directory that `rtlab` saved a model to.
        sentences: What to label.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Returns:
        One prediction per sentence, in order. An SVM's probabilities come from temperature scaling on its
        validation split (`rtlab.engines.svm.fit_temperature`).

    Raises:
        ValueError: If the directory holds no such model, or its encoder is gone or another than it was trained on.
    """
    if not sentences:
        raise ValueError(
            "sentences must hold at least one; got none: give them as arguments, with --file, or on --file -"
        )
    folder = Path(model_dir)
    description = read_description(folder)
    where = environment.find_device(device)
    experiment = description.experiment
    environment.set_precision(experiment.precision, where)
    weights = WEIGHTS.get(type(experiment.method))
    if weights is not None and not (folder / weights).is_file():
        raise ValueError(f"model must hold {weights}, as rtlab saves it; got {folder}, without it")
    # A fully fine-tuned checkpoint is complete in itself; adapters and SVMs need the encoder that they came from.
    whole = isinstance(experiment.method, Full)
    encoder = load_encoder(str(folder.resolve()) if whole else description.encoder)
    if not whole and encoder.sha256 != description.encoder_sha256:
        raise ValueError(
            f"model {folder} was trained on encoder {description.encoder} with digest "
            f"{description.encoder_sha256[:12]}; got one with {encoder.sha256[:12]}: restore the former, "
            "or train again"
        )
    tokens = token_arrays(sentences, encoder.tokenizer, experiment.max_length)
    logits_NC = _logits(folder, description, encoder, tokens, where)
    return _predictions(sentences, logits_NC, description.label_names)


def read_sentences(file: str, standard_input: BinaryIO) -> tuple[str, ...]:
    """Sentences of a UTF-8 file, one a line, blank lines left out.

    Args:
        file: A path, or `-` for standard input.
        standard_input: What `-` reads.

    Raises:
        ValueError: If the file cannot be read or is not UTF-8.
    """
    try:
        text = (standard_input.read() if file == "-" else Path(file).read_bytes()).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"file must be a readable UTF-8 text, one sentence a line, or -; got {file} ({error})"
        ) from error
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def as_text(predictions: Sequence[Prediction]) -> str:
    """Predictions as a table for a terminal: label, its probability, sentence."""
    rows = [[p.label, f"{p.probabilities[p.label]:.3f}", p.text] for p in predictions]
    return tabulate(rows, headers=["label", "probability", "sentence"], tablefmt="simple", disable_numparse=True)


def read_description(folder: Path) -> Description:
    """What lies beside a saved model.

    Raises:
        ValueError: If it is no directory that rtlab saved a model to.
    """
    try:
        described: Json = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return from_json(Description, described, DESCRIPTION)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"model must be a directory that rtlab svm, finetune or lora saved, with {DESCRIPTION} in it; "
            f"got {folder} ({error})"
        ) from error


def _logits(
    folder: Path, description: Description, encoder: Encoder, tokens: Tokens, device: "torch.device"
) -> NDArray[np.float64]:
    method, precision = description.experiment.method, description.experiment.precision
    if isinstance(method, Svm):
        from rtlab.engines import svm

        coef_CD, intercept_C, temperature = svm.load(folder)
        base = readable(encoder.base().to(device), encoder, method.pooling)
        features_ND, _ = read(base, tokens, encoder, what=method.pooling, precision=precision)
        return svm.decision_logits(features_ND, coef_CD, intercept_C).astype(np.float64) / temperature
    model = saved_model(method, encoder, description.label_names, folder)
    model = readable(model.to(device), encoder, "logits")
    return read(model, tokens, encoder, what="logits", precision=precision)[0].astype(np.float64)


def _predictions(
    sentences: Sequence[str], logits_NC: NDArray[np.float64], label_names: Sequence[str]
) -> tuple[Prediction, ...]:
    from scipy.special import softmax

    return tuple(
        Prediction(
            text=text,
            label=label_names[int(probabilities_C.argmax())],
            probabilities=dict(zip(label_names, probabilities_C.tolist(), strict=True)),
        )
        for text, probabilities_C in zip(sentences, softmax(logits_NC, axis=1), strict=True)
    )
