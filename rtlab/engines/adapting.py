"""The model that is trained, whoever trains it: Hugging Face's classifier, with PEFT's adapter where asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtlab.built_in import quiet
from rtlab.encoders import Encoder
from rtlab.experiment import Experiment


def classifier(
    experiment: Experiment, encoder: Encoder, label_names: Sequence[str], target_modules: Sequence[str]
) -> Any:
    """The encoder under a fresh head, for `lora` frozen under a fresh adapter; torch's generator decides both.

    Args:
        experiment: An experiment of method `full` or `lora`.
        encoder: The encoder that is adapted.
        label_names: The classes.
        target_modules: Names of the modules that LoRA adapts; unused by `full`.
    """
    model = encoder.classifier(label_names)
    # As `Trainer` leaves them, and so saves them, whoever trains.
    model.config.problem_type, model.config.use_cache = "single_label_classification", False
    return with_adapter(model, encoder, experiment, target_modules) if experiment.method == "lora" else model


def with_adapter(model: Any, encoder: Encoder, experiment: Experiment, target_modules: Sequence[str]) -> Any:
    """The model frozen under PEFT's LoRA adapter, its classification head trained along."""
    import peft

    assert experiment.lora is not None, "a normalised lora experiment has LoRA settings"
    config = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_CLS,
        r=experiment.lora.rank,
        lora_alpha=experiment.lora.alpha,
        lora_dropout=experiment.lora.dropout,
        target_modules=list(target_modules),
    )
    with quiet():
        adapted = peft.get_peft_model(model, config)
    if encoder.revision is not None:  # a saved adapter then names the hub's encoder, not this machine's copy of it
        config.base_model_name_or_path, config.revision = encoder.name, encoder.revision
    return adapted


def save(model: Any, encoder: Encoder, folder: Path) -> None:
    """Write a plain Hugging Face checkpoint, or PEFT's for an adapter, and the tokenizer beside it."""
    adapter = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    with quiet():
        model.save_pretrained(folder, **adapter)
        encoder.tokenizer.save_pretrained(folder)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of a model: all, and of encoder, adapter and head those that are trained."""

    parameters_total: int
    parameters_encoder: int
    parameters_adapter: int
    parameters_head: int


def parameters(model: Any) -> Parameters:
    """Count a model's parameters."""
    total = encoder = adapter = head = 0
    base = f"{model.base_model_prefix}." if not hasattr(model, "peft_config") else None
    for name, parameter in model.named_parameters():
        if ".original_module." in name:  # PEFT's untrained twin of the head
            continue
        size = parameter.numel()
        total += size
        if not parameter.requires_grad:
            continue
        if ".lora_" in name:
            adapter += size
        elif base is not None and name.startswith(base):
            encoder += size
        else:
            head += size
    return Parameters(
        parameters_total=total, parameters_encoder=encoder, parameters_adapter=adapter, parameters_head=head
    )


def mean_of_last_epoch(losses: Sequence[float], per_epoch: int) -> float:
    """Mean loss over the steps of the last epoch that was begun.

    Args:
        losses: Of each step.
        per_epoch: Steps of a whole epoch.
    """
    last = losses[(len(losses) - 1) // per_epoch * per_epoch :]
    return sum(last) / len(last)
