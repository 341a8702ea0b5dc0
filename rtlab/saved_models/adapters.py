"""An adapter out of its folder: every weight of it was read, or it is refused.

PEFT draws what is missing at random, and takes what it finds; here both are compared with what the adapter needs.
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.encoders import Encoder, target_modules
from rtlab.encoders.built_in import quiet
from rtlab.encoders.checkpoints import not_finite
from rtlab.encoders.loading import head_modules, load
from rtlab.engines.adapters import keeps
from rtlab.methods import Adapter
from rtlab.values import Json, one_line, shown, to_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FILES = WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"  # without the former PEFT would unpickle


def open_adapter(folder: Path, method: Adapter, encoder: Encoder, label_names: Sequence[str]) -> "PreTrainedModel":
    """The adapter that a folder holds, on its encoder.

    Args:
        folder: Where it was saved.
        method: What it was trained by.
        encoder: What it was trained on.
        label_names: Names of the classes.

    Raises:
        ValueError: If it is another adapter, or is damaged; so do the libraries' errors say, each in its way.
    """
    import peft

    _check_adapter(folder, method, encoder)
    there = {name: tuple(tensor.shape) for name, tensor in adapter_weights(folder).items()}
    plain = load(encoder.config, encoder.path, encoder.name, head="fresh", label_names=label_names)
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

    weights: dict[str, torch.Tensor] = load_file(folder / WEIGHTS)
    if (spoilt := not_finite(weights)) is not None:
        raise ValueError(
            f"model {folder} must hold finite weights; got NaN or infinity in {one_line(spoilt)}; train again"
        )
    return weights


def _check_adapter(folder: Path, method: Adapter, encoder: Encoder) -> None:
    """Refuse PEFT's configuration of another adapter than the one that was trained."""
    try:
        saved: Json = json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{CONFIG} must be JSON, as PEFT saves it; got {one_line(str(error))}") from error
    if not isinstance(saved, Mapping):
        raise ValueError(f"{CONFIG} must be an object with fields; got {shown(saved)}")
    expected = {"peft_type": method.peft_type, **{name: to_json(value) for name, value in method.settings.items()}}
    for name, value in expected.items():
        if not keeps(name, value, saved.get(name)):
            raise ValueError(
                f"model {folder} is mixed from two: its {CONFIG} has {name} {shown(saved.get(name))}, its rtlab.json "
                f"{shown(value)}"
            )
    modules, adapted = target_modules(encoder, method.target_modules, method.peft_type), saved.get("target_modules")
    if not isinstance(adapted, list) or sorted(map(str, adapted)) != sorted(modules):
        raise ValueError(
            f"model {folder} is mixed from two: its {CONFIG} has target_modules {shown(adapted)}, its rtlab.json "
            f"{shown(list(modules))}"
        )


def _refuse(folder: Path, fresh: Sequence[str], left_over: Iterable[str]) -> None:
    """Refuse a model with weights that were not read, or that belong to another."""
    for names, what in ((fresh, "lacks or has in another shape"), (sorted(left_over), "does not need")):
        if names:
            some = ", ".join(map(one_line, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ValueError(
                f"model {folder} has weights of another model: it {what} {some}; copy it again whole, or train again"
            )
