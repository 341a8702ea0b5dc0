"""PEFT's kinds of adapter: which of them can be trained here, and their configurations, checked by PEFT's own fields.

A kind that PEFT adds needs no code here as long as it adapts modules and computes a token's output from that token:
`rtlab.engines.trial` tries it before a run. What would train something else without an error is named below.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, get_type_hints

from rtlab.encoders.modules import NORMS, are_modules
from rtlab.methods import Adapter
from rtlab.settings import fits, in_words
from rtlab.values import Json, shown, to_json

if TYPE_CHECKING:
    from peft import PeftConfig

    from rtlab.encoders import Encoder

# Fields of PEFT's configurations that the run decides, and no setting of an adapter.
NO_SETTINGS = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
)
_TOKENS = "it adds tokens before each sentence: packed rows have no place for them, and the head reads the first token"
REFUSED_KINDS: Mapping[str, str] = {
    "ADALORA": "it gives out ranks anew by a call after each step, which no engine makes",
    "ADAPTION_PROMPT": "it adds tokens of its own to the attention, and to that of Llama alone",
    "CARTRIDGE": _TOKENS,
    "CPT": _TOKENS,
    "LILY": "it chooses by a mean over all tokens of a batch: a sentence's result would depend on those beside it",
    "MULTITASK_PROMPT_TUNING": _TOKENS,
    "POLY": "it needs the number of a task beside each sentence",
    "PREFIX_TUNING": _TOKENS,
    "PROMPT_TUNING": _TOKENS,
    "P_TUNING": _TOKENS,
    "SHADOW": "it hands a second state from layer to layer, which an encoder's layers do not take",
    "TRAINABLE_TOKENS": "it trains no head along; trainable_token_indices of LORA does both",
    "XLORA": "it mixes adapters that were trained before",
}
_LOSS = "it needs a term of its own in the loss, which no engine adds"
_DATA = "it needs data or gradients before the first step, which no engine gives it"
# Settings that PEFT takes and then leaves to its caller: trained here, they would be without effect, or half of it.
_REFUSED: Mapping[str, Mapping[str, str]] = {
    "ADAMSS": {"use_asa": "it chooses subspaces anew by a call after each step, which no engine makes"},
    "LORA": {
        "corda_config": _DATA,
        "eva_config": _DATA,
        "kasa_config": _LOSS,
        "lora_ga_config": _DATA,
        "monteclora_config": _LOSS,
        "use_qalora": "it is for quantized weights alone",
    },
}
_NEED_DATA = ("corda", "eva", "lora_ga")  # values of init_lora_weights


def known_kinds() -> "Mapping[str, type[PeftConfig]]":
    """PEFT's kinds that can be trained here, by name, with their configurations."""
    import peft

    return {
        str(kind.value): of
        for kind, of in sorted(peft.PEFT_TYPE_TO_CONFIG_MAPPING.items(), key=lambda one: str(one[0].value))
        if kind.value not in REFUSED_KINDS
        and {"target_modules", "modules_to_save"} <= of.__dataclass_fields__.keys()  # a head is trained along
    }


def check_kind(peft_type: str) -> None:
    """Refuse (`ValueError`) a kind of adapter that cannot be trained here, with the reason."""
    if (why := REFUSED_KINDS.get(peft_type)) is not None:
        raise ValueError(f"peft_type must be a kind that can be trained here; got {peft_type}: {why}; LORA would do")
    if peft_type not in (known := known_kinds()):
        raise ValueError(
            f"peft_type must be one of PEFT's adapters, {', '.join(known)}; got {peft_type!r}"
            f"{_nearest(peft_type.upper(), known)}"
        )


def adapter_config(adapter: Adapter, target_modules: tuple[str, ...], model_type: str) -> "PeftConfig":
    """PEFT's own configuration of an adapter.

    Args:
        adapter: Its kind and settings.
        target_modules: Names of the modules that are adapted.
        model_type: What transformers calls the encoder's architecture.

    Raises:
        ValueError: If there is no such kind of adapter, it cannot be trained here, or PEFT refuses a setting.
    """
    import peft

    check_kind(adapter.peft_type)
    settings = {name: to_json(setting) for name, setting in adapter.settings.items()}
    check_fields(adapter.peft_type, settings)
    if adapter.peft_type == "IA3" and "feedforward_modules" not in settings:
        # PEFT fills in names of its own, which it then refuses to load where they are no target modules.
        settings |= _feedforward(model_type, target_modules)
    if adapter.peft_type == "FROD":
        settings.setdefault("progressbar", False)  # bars are the command line's
    of = known_kinds()[adapter.peft_type]
    try:
        return of(task_type=peft.TaskType.SEQ_CLS, target_modules=list(target_modules), **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings of a {adapter.peft_type} adapter are refused by PEFT: {error}") from error


def usual_modules(encoder: "Encoder", peft_type: str) -> tuple[tuple[str, ...], Mapping[str, Json]]:
    """What a kind of adapter adapts where nobody names modules: what PEFT names for the architecture, if it does.

    Else the group `attention`; for LoRA always, as everywhere here; for `LN_TUNING` the group `norms`.

    Args:
        encoder: The encoder that is adapted.
        peft_type: A kind that can be trained here.

    Returns:
        Target modules, and settings that belong to them. IA3 (Liu et al., 2022) scales what goes into the second layer
        of the feed-forward part, too, which is then a target and one of its `feedforward_modules`.
    """
    named = _named_by_peft(peft_type).get(encoder.config.model_type)
    if named and peft_type != "LORA" and are_modules(encoder, named, peft_type):
        return tuple(named), _feedforward(encoder.config.model_type, named) if peft_type == "IA3" else {}
    if peft_type == "IA3" and encoder.architecture is not None:
        second = encoder.architecture.mlp[-1]
        return ("attention", second), {"feedforward_modules": [second]}
    return (NORMS if peft_type == "LN_TUNING" else "attention",), {}


def _named_by_peft(peft_type: str) -> Mapping[str, list[str]]:
    """Target modules that PEFT has for a kind, by what transformers calls the architecture."""
    import peft

    if peft_type == "IA3":
        ia3: Mapping[str, list[str]] = peft.utils.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
        return ia3
    return getattr(peft.PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType(peft_type)], "target_module_mapping", None) or {}


def _feedforward(model_type: str, target_modules: Sequence[str]) -> Mapping[str, Json]:
    """IA3's setting for those of its target modules that PEFT counts to the feed-forward part."""
    import peft

    usual = peft.utils.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(model_type, [])
    return {
        "feedforward_modules": [
            module for module in target_modules if any(module == end or module.endswith(f".{end}") for end in usual)
        ]
    }


def check_fields(peft_type: str, settings: Mapping[str, Json]) -> None:
    """Refuse (`ValueError`) settings that a kind does not have, or has as another type, or that need more of the run.

    Args:
        peft_type: A kind that can be trained here.
        settings: PEFT's settings by PEFT's names.
    """
    of = known_kinds()[peft_type]
    fields = [name for name in of.__dataclass_fields__ if name not in NO_SETTINGS]
    types = get_type_hints(of)
    refused = _REFUSED.get(peft_type, {})
    for name, value in settings.items():
        if name in NO_SETTINGS:
            raise ValueError(f"settings must not hold {name}, which the run decides; a setting of the adapter would do")
        if name not in fields:
            near = _nearest(name, fields) or f"; its fields are {', '.join(sorted(fields))}"
            raise ValueError(f"settings must be fields of PEFT's {peft_type} adapters; got {shown(name)}{near}")
        if name in refused and value not in (None, False):
            raise ValueError(
                f"{name} must be left out; got {shown(value)}: {refused[name]}; an adapter without it would do"
            )
        if not fits(value, types[name]):
            would_do = in_words(types[name])
            raise ValueError(f"settings must be of PEFT's types; got {shown(value)} for {name}; {would_do} would do")
    if (init := settings.get("init_lora_weights")) in _NEED_DATA:
        raise ValueError(
            f"init_lora_weights must be a start that weights alone give; got {init}: {_DATA}; true, gaussian, "
            "orthogonal, olora or pissa would do"
        )


def _nearest(name: str, known: Iterable[str]) -> str:
    """What a name may have been meant to be, as the end of a message; empty if nothing is like it."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; {near[0]} would do" if near else ""


def keeps(name: str, asked: Json, saved: object) -> bool:
    """Whether a saved adapter has a setting as it was asked for.

    Args:
        name: The setting.
        asked: What the run asked for.
        saved: What PEFT made of it: names in no order, heads beside the modules to save.
    """
    if not isinstance(asked, list) or not isinstance(saved, list | set | tuple):
        return asked == saved
    if not all(isinstance(part, str) for part in asked):
        return asked == list(saved)
    names = sorted(map(str, asked)), sorted(map(str, saved))
    return {*names[0]} <= {*names[1]} if name == "modules_to_save" else names[0] == names[1]
