"""Whether an adapter can be put on an encoder, trained, saved and read again: tried on two sentences before a run.

PEFT's adapters refuse sizes that do not suit them when they are put on a model or called, some change settings that
they were given, and some mix the sentences of a batch. Each would end a run late, or train what no saved model is. So
the adapter takes one step here, and is then read as `predict` would.

Shapes: S sentences, C classes.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.encoders import Encoder
from rtlab.encoders.built_in import quiet
from rtlab.engines.adapters import keeps
from rtlab.engines.agreement import LEAST, allowed, disagreement
from rtlab.engines.engine import out_of_memory
from rtlab.engines.models import with_adapter
from rtlab.engines.reading import read, readable
from rtlab.methods import LORA, Adapter
from rtlab.tokens import token_arrays
from rtlab.values import one_line, shown, to_json

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

CLASSES = ("0", "1")
STEP = 0.02  # how far the weight of the largest gradient goes: a zero that stays one would hide what it adds


def check_adapter(
    encoder: Encoder, adapter: Adapter, target_modules: tuple[str, ...], texts: Sequence[str], max_length: int
) -> None:
    """Refuse (`ValueError`) an adapter that cannot be trained on an encoder, or not be saved as it was trained.

    LoRA of the usual settings on an encoder that can be packed is known to do. Memory that does not suffice is left to
    the run, whose record says so. torch's generator stays as it is.

    Args:
        encoder: The encoder, as `checked` gave it.
        adapter: Its kind and settings.
        target_modules: What its target modules resolve to.
        texts: Sentences of the run.
        max_length: Where they are cut.
    """
    import torch

    if adapter.peft_type == "LORA" and adapter.settings.keys() == LORA.keys() and encoder.packs:
        return
    two = (min(texts, key=len), max(texts, key=len))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"), quiet():
        try:
            said = _tried(encoder, adapter, target_modules, two, max_length)
        except Exception as error:  # noqa: BLE001  # whatever PEFT and the model raise
            if out_of_memory(error):
                return
            said = one_line(str(error)) or type(error).__name__
    if said is not None:
        asked = {name: to_json(value) for name, value in adapter.settings.items() if value != LORA.get(name)}
        raise ValueError(
            f"settings of a {adapter.peft_type} adapter must suit encoder {encoder.name} and its target modules; got "
            f"{shown(asked)}: {said}"
        )


def _tried(
    encoder: Encoder, adapter: Adapter, target_modules: tuple[str, ...], texts: Sequence[str], max_length: int
) -> str | None:
    """What speaks against the adapter, if anything."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    model = _adapted(encoder, adapter, target_modules, seed=0)
    config = model.peft_config["default"]
    if (changed := _changed(config, adapter)) is not None:
        return changed
    _take_step(model, encoder, texts, max_length)
    alone_SC = np.concatenate([_logits(model, encoder, [text], max_length) for text in texts])
    beside_SC = _logits(model, encoder, texts, max_length)
    if (said := _apart(alone_SC, beside_SC)) is not None:
        return f"it gives a sentence another result beside another sentence ({said})"
    again = _adapted(encoder, adapter, target_modules, seed=1)
    set_peft_model_state_dict(again, get_peft_model_state_dict(model, save_embedding_layers=False))
    tokens = token_arrays(texts, encoder.tokenizer, max_length)
    found_SC, _ = read(readable(again, encoder, "logits"), tokens, encoder, what="logits", precision="fp32")
    if (said := _apart(alone_SC, found_SC)) is not None:
        return f"it gives other results once it is saved and read again ({said})"
    return None


def _adapted(encoder: Encoder, adapter: Adapter, target_modules: tuple[str, ...], *, seed: int) -> "PreTrainedModel":
    import torch

    torch.manual_seed(seed)
    return with_adapter(encoder.classifier(CLASSES), encoder, adapter, target_modules)


def _changed(config: "PeftConfig", adapter: Adapter) -> str | None:
    """What PEFT made another setting of than was asked for: a saved adapter would not say how it was trained."""
    saved = config.to_dict()
    for name, value in adapter.settings.items():
        if not keeps(name, to_json(value), saved.get(name)):
            return f"PEFT has {name} {shown(saved.get(name))} for {shown(to_json(value))}; that, or none, would do"
    return None


def _take_step(model: "PreTrainedModel", encoder: Encoder, texts: Sequence[str], max_length: int) -> None:
    import torch

    inputs = encoder.tokenizer(list(texts), truncation=True, max_length=max_length, padding=True, return_tensors="pt")
    model.train()
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.numel():
                raise ValueError(f"its {name.rpartition('.layer.')[2]} would hold no numbers")
            if parameter.grad is not None and (largest := float(parameter.grad.abs().max())) > 0:
                parameter.sub_(parameter.grad, alpha=STEP / largest)
    model.eval()


def _logits(model: "PreTrainedModel", encoder: Encoder, texts: Sequence[str], max_length: int) -> NDArray[np.float32]:
    import torch

    inputs = encoder.tokenizer(list(texts), truncation=True, max_length=max_length, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return np.asarray(model(**inputs).logits.float())


def _apart(expected_SC: NDArray[np.float32], found_SC: NDArray[np.float32]) -> str | None:
    return disagreement(found_SC, expected_SC, allowed(expected_SC, expected_SC, "fp32", least=LEAST))
