"""The model that is trained, whoever trains it.

Hugging Face's classifier, with PEFT's adapter where asked for; or its encoder alone, of which features are read.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.encoders import Encoder
from rtlab.encoders.built_in import quiet
from rtlab.encoders.loading import head_modules
from rtlab.encoders.modules import frozen
from rtlab.engines.adapters import adapter_config
from rtlab.engines.engine import Task
from rtlab.methods import Adapter, Method

POOLER = "pooler"  # what transformers calls what computes one vector of a first token
PEFTS_HEADS = ("classifier", "score")  # what PEFT trains along with an adapter of a classifier, by the names' ends

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def to_train(task: Task) -> "PreTrainedModel":
    """The model that a task's method trains; torch's generator decides what is fresh.

    Args:
        task: Of a method that is trained in steps.
    """
    method = task.experiment.method
    if method.reads == "logits":
        return classifier(task)
    model = task.encoder.base()
    if hasattr(model, POOLER):  # features are read before it, and one that the encoder's weights lack is random
        model.pooler = None
    _freeze(model, method)
    return model


def classifier(task: Task) -> "PreTrainedModel":
    """The encoder under a fresh head, as far as it is frozen; for an adapter all of it, under a fresh one.

    torch's generator decides head and adapter.

    Args:
        task: Of method `Full` or `Adapter`.
    """
    model = task.encoder.classifier(task.splits.label_names)
    # As `Trainer` leaves them, and so saves them, whoever trains.
    model.config.problem_type, model.config.use_cache = "single_label_classification", False
    method = task.experiment.method
    if isinstance(method, Adapter):
        return with_adapter(model, task.encoder, method, task.target_modules)
    _freeze(model, method)
    return model


def _freeze(model: "PreTrainedModel", method: Method) -> None:
    """Freeze the layers of a model that a recipe says are."""
    assert method.recipe is not None, "it trains in steps"
    parameters = dict(model.base_model.named_parameters())
    for name in frozen(tuple(parameters), method.recipe.freeze_layers):
        parameters[name].requires_grad_(False)


def with_adapter(
    model: "PreTrainedModel", encoder: Encoder, adapter: Adapter, target_modules: tuple[str, ...]
) -> "PreTrainedModel":
    """The model frozen under PEFT's adapter, its classification head trained along.

    Args:
        model: Hugging Face's classifier.
        encoder: What it came from.
        adapter: Its kind and settings.
        target_modules: Names of the modules that are adapted.
    """
    import peft

    config = adapter_config(adapter, target_modules, encoder.config.model_type)
    config.modules_to_save = [*(config.modules_to_save or ()), *_not_trained_by_peft(model, encoder)] or None
    with quiet(), warnings.catch_warnings(action="ignore"):  # an adapter was tried before a run is made of it
        adapted = peft.get_peft_model(model, config)
    if encoder.revision is not None:  # a saved adapter then names the hub's encoder, not this machine's copy of it
        config.base_model_name_or_path, config.revision = encoder.name, encoder.revision
    return adapted


def _not_trained_by_peft(model: "PreTrainedModel", encoder: Encoder) -> tuple[str, ...]:
    """Modules with fresh weights that PEFT would freeze and not save: it knows heads by two names."""
    fresh = (*encoder.fresh, *head_modules(model))
    return tuple(name for name in fresh if not name.endswith(PEFTS_HEADS))


def save(model: "PreTrainedModel", encoder: Encoder, folder: Path) -> None:
    """Write a plain Hugging Face checkpoint, or PEFT's for an adapter, and the tokenizer beside it."""
    adapter = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    # Trainer makes it the tokenizer's, but models of RoBERTa's kind count positions by their own.
    model.config.pad_token_id = encoder.config.pad_token_id
    with quiet():
        model.save_pretrained(folder, **adapter)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's, a form with this machine's folders in it
        encoder.tokenizer.save_pretrained(folder)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of a model: all, and of encoder, adapter and head those that are trained."""

    parameters_total: int
    parameters_encoder: int
    parameters_adapter: int
    parameters_head: int


def parameters(model: "PreTrainedModel", encoder: Encoder) -> Parameters:
    """Count a model's parameters; a pooler that its encoder came without is trained with the head, and counts there.

    Args:
        model: The classifier, with PEFT's adapter or without, or an encoder alone.
        encoder: What it was made of.
    """
    adapted = hasattr(model, "peft_config")
    plain = model.get_base_model() if adapted else model
    heads = tuple(f"{name}." for name in (*head_modules(plain), *encoder.fresh))
    total = of_encoder = of_adapter = of_head = 0
    for name, parameter in model.named_parameters():
        if ".original_module." in name:  # PEFT's untrained twin of what is trained along
            continue
        size = parameter.numel()
        total += size
        if not parameter.requires_grad:
            continue
        if name.removeprefix("base_model.model.").startswith(heads):
            of_head += size
        elif adapted:
            of_adapter += size
        else:
            of_encoder += size
    return Parameters(
        parameters_total=total,
        parameters_encoder=of_encoder,
        parameters_adapter=of_adapter,
        parameters_head=of_head,
    )
