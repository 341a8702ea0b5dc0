"""A saved model, loaded to label sentences: every weight of it was read, or it is refused.

transformers and PEFT draw what a checkpoint lacks at random and go on. Here what they read is compared with what the
model needs, so a damaged, mixed or foreign folder is an error of one line, and never a label.
"""

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab import environment
from rtlab.encoders import Encoder, load_encoder, target_modules
from rtlab.encoders.built_in import quiet
from rtlab.encoders.checkpoints import not_finite
from rtlab.encoders.loading import head_modules, load
from rtlab.engines.engine import out_of_memory
from rtlab.engines.models import keeps
from rtlab.engines.reading import What, read, readable
from rtlab.experiment import Precision
from rtlab.methods import Adapter, Full, Svm
from rtlab.saved_models.description import Description, read_description
from rtlab.tokens import Tokens
from rtlab.values import Json, one_line, shown, to_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WEIGHTS = {Svm: "svm.safetensors", Adapter: "adapter_model.safetensors"}  # PEFT would fall back to a pickle
ADAPTER = "adapter_config.json"


@dataclass(frozen=True, kw_only=True)
class SvmHead:
    """What an SVM does with features: coefficients (C or 1, D), intercepts (C or 1,), temperature."""

    coef_CD: NDArray[np.float64]
    intercept_C: NDArray[np.float64]
    temperature: float


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A saved model on its device.

    Attributes:
        description: How it was made, and the names of its classes.
        encoder: What it was made from; of a fully fine-tuned model the checkpoint itself.
        model: The classifier, or the encoder alone under an SVM.
        head: The SVM.
        precision: What it computes in: as it was trained, or fp32 where the device has no tf32.
    """

    description: Description
    encoder: Encoder
    model: "PreTrainedModel"
    head: SvmHead | None
    precision: Precision

    def logits(self, tokens: Tokens) -> NDArray[np.float64]:
        """One score per class of N sentences, (N, C); an SVM's are divided by its temperature."""
        if self.head is None:
            return self._read(tokens, "logits").astype(np.float64)
        from rtlab.engines.svm import decision_logits

        method = self.description.experiment.method
        assert isinstance(method, Svm), "no other method has such a head"
        features_ND = self._read(tokens, method.pooling)
        logits_NC = decision_logits(features_ND, self.head.coef_CD, self.head.intercept_C)
        return logits_NC.astype(np.float64) / self.head.temperature

    def _read(self, tokens: Tokens, what: What) -> NDArray[np.float32]:
        return read(self.model, tokens, self.encoder, what=what, precision=self.precision)[0]


def load_model(model_dir: Path | str, *, device: str | None = None) -> LoadedModel:
    """Load what `rtlab` saved.

    Args:
        model_dir: The directory: of a fully fine-tuned encoder, an adapter, or an SVM.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Raises:
        ValueError: If the directory holds no such model, is damaged or mixed from two, or its encoder is gone or
            another than it was trained on; one line.
    """
    folder = Path(model_dir)
    description = read_description(folder)
    where = environment.find_device(device)
    asked = description.experiment.precision
    precision: Precision = "fp32" if asked == "tf32" and where.type == "cpu" else asked  # of the two the more exact
    environment.set_precision(precision, where)
    method = description.experiment.method
    _check_parts(folder, method)
    with _opening(folder):
        encoder = encoder_of(folder, description)
        what: What = method.pooling if isinstance(method, Svm) else "logits"
        head = _svm(folder, description, encoder) if isinstance(method, Svm) else None
        model = readable(_model(folder, description, encoder).to(where), encoder, what)
    return LoadedModel(description=description, encoder=encoder, model=model, head=head, precision=precision)


def _check_parts(folder: Path, method: Svm | Full | Adapter) -> None:
    """What a folder must hold, and what transformers would take an adapter from unasked."""
    weights = WEIGHTS.get(type(method))
    needed = [weights] if weights is not None else []
    if isinstance(method, Adapter):
        needed.append(ADAPTER)
    elif (folder / ADAPTER).exists():
        raise ValueError(f"model {folder} is no adapter, and yet holds {ADAPTER}; move that away, or train again")
    for name in needed:
        if not (folder / name).is_file():
            raise ValueError(f"model must hold {name}, as rtlab saves it; got {folder}, without it")


@contextlib.contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Say in one line what transformers, PEFT and safetensors raise: whatever their parsers do."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        said = one_line(str(error)) or type(error).__name__
        if isinstance(error, ValueError):  # it says what would do
            raise ValueError(
                said if said.startswith("model ") else f"model {folder} cannot be loaded: {said}"
            ) from error
        raise ValueError(f"model {folder} cannot be loaded ({said}); a whole copy of it would do") from error


def encoder_of(folder: Path, description: Description) -> Encoder:
    """The encoder that a saved model needs.

    Raises:
        ValueError: If it is gone, or another than the model was trained on.
    """
    # A fully fine-tuned checkpoint is complete in itself; adapters and SVMs need the encoder that they came from.
    if isinstance(description.experiment.method, Full):
        return load_encoder(str(folder.resolve()))
    encoder = load_encoder(description.encoder)
    if encoder.sha256 != description.encoder_sha256:
        raise ValueError(
            f"model {folder} was trained on encoder {description.encoder} with digest "
            f"{description.encoder_sha256[:12]}; got one with {encoder.sha256[:12]}: restore the former, "
            "or train again"
        )
    return encoder


def _model(folder: Path, description: Description, encoder: Encoder) -> "PreTrainedModel":
    match description.experiment.method:
        case Svm():
            return encoder.base()
        case Adapter() as method:
            return _adapted(folder, description, method, encoder)
        case Full():
            return _fine_tuned(folder, description, encoder)


def _fine_tuned(folder: Path, description: Description, encoder: Encoder) -> "PreTrainedModel":
    names = tuple(str(name) for _, name in sorted(encoder.config.id2label.items()))
    if names != description.label_names:
        raise ValueError(
            f"model {folder} is mixed from two: its config.json names the classes {shown(list(names))}, its "
            f"rtlab.json {shown(list(description.label_names))}"
        )
    return encoder.saved_classifier(description.label_names)


def _adapted(folder: Path, description: Description, method: Adapter, encoder: Encoder) -> "PreTrainedModel":
    import peft

    _check_adapter(folder, method, encoder)
    there = {name: tuple(tensor.shape) for name, tensor in adapter_weights(folder).items()}
    plain = load(encoder.config, encoder.path, encoder.name, head="fresh", label_names=description.label_names)
    drawn = (*plain.fresh, *head_modules(plain.model))  # with an adapter these are trained along, and saved
    _refuse(
        folder, [one for one in drawn if not any(name.startswith(f"base_model.model.{one}.") for name in there)], ()
    )
    try:
        with quiet(), warnings.catch_warnings(action="ignore"):  # what it warns of is refused below
            adapted = peft.PeftModel.from_pretrained(plain.model, str(folder))
    except KeyError as error:  # PEFT's word for a module that it was to find, and did not
        _refuse(folder, [str(error.args[0])], ())
        raise
    saved = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    needed = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    _refuse(folder, [name for name, shape in needed.items() if there.get(name) != shape], there.keys() - needed.keys())
    return adapted


def adapter_weights(folder: Path) -> "dict[str, torch.Tensor]":
    """All tensors of a saved adapter, by PEFT's names.

    Raises:
        ValueError: If a number of theirs is NaN or infinite.
    """
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = load_file(folder / WEIGHTS[Adapter])
    if (spoilt := not_finite(weights)) is not None:
        raise ValueError(
            f"model {folder} must hold finite weights; got NaN or infinity in {one_line(spoilt)}; train again"
        )
    return weights


def _check_adapter(folder: Path, method: Adapter, encoder: Encoder) -> None:
    """Refuse PEFT's configuration of another adapter than the one that was trained."""
    try:
        saved: Json = json.loads((folder / ADAPTER).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{ADAPTER} must be JSON, as PEFT saves it; got {one_line(str(error))}") from error
    if not isinstance(saved, Mapping):
        raise ValueError(f"{ADAPTER} must be an object with fields; got {shown(saved)}")
    expected = {"peft_type": method.peft_type, **{name: to_json(value) for name, value in method.settings.items()}}
    for name, value in expected.items():
        if not keeps(name, value, saved.get(name)):
            raise ValueError(
                f"model {folder} is mixed from two: its {ADAPTER} has {name} {shown(saved.get(name))}, its rtlab.json "
                f"{shown(value)}"
            )
    modules, adapted = target_modules(encoder, method.target_modules), saved.get("target_modules")
    if not isinstance(adapted, list) or sorted(map(str, adapted)) != sorted(modules):
        raise ValueError(
            f"model {folder} is mixed from two: its {ADAPTER} has target_modules {shown(adapted)}, its rtlab.json "
            f"{shown(list(modules))}"
        )


def _svm(folder: Path, description: Description, encoder: Encoder) -> SvmHead:
    from rtlab.engines import svm

    coef_CD, intercept_C, temperature = svm.load(folder)
    classes = len(description.label_names)
    rows = 1 if classes == 2 else classes
    features = int(encoder.config.hidden_size)
    if coef_CD.shape != (rows, features) or intercept_C.shape != (rows,):
        raise ValueError(
            f"model {folder} has an SVM of shape {coef_CD.shape}; {classes} classes on the {features} features of "
            f"encoder {encoder.name} take {(rows, features)}"
        )
    if not 0 < temperature < np.inf:
        raise ValueError(f"model {folder} has an SVM of temperature {temperature}; it must be above 0, and finite")
    if not (np.isfinite(coef_CD).all() and np.isfinite(intercept_C).all()):
        raise ValueError(f"model {folder} must hold finite weights; got NaN or infinity in its SVM; train again")
    return SvmHead(coef_CD=coef_CD, intercept_C=intercept_C, temperature=temperature)


def _refuse(folder: Path, fresh: Sequence[str], left_over: Iterable[str]) -> None:
    """Refuse a model with weights that were not read, or that belong to another."""
    for names, what in ((fresh, "lacks or has in another shape"), (sorted(left_over), "does not need")):
        if names:
            some = ", ".join(map(one_line, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ValueError(
                f"model {folder} has weights of another model: it {what} {some}; copy it again whole, or train again"
            )
