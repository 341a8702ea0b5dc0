"""Options of the verbs that train an adapter: LoRA's by names of their own, any kind's as PEFT's configuration."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro

from rtlab.cli.options import alias, optional
from rtlab.methods import LORA, Adapter
from rtlab.recipe import Recipe
from rtlab.settings import Setting, Settings
from rtlab.values import Json, check_depth, one_line, shown

if TYPE_CHECKING:
    from rtlab.encoders import Encoder

T = TypeVar("T")
Pairs = tuple[tuple[str, ...], ...]  # words behind each --set


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """The LoRA adapter."""

    rank: Annotated[int, alias("--lora-rank")] = 8
    """Rank of the update."""
    alpha: Annotated[int, alias("--lora-alpha")] = 32
    """Scale of the update: alpha / rank."""
    dropout: Annotated[float, alias("--lora-dropout")] = 0.1
    """Dropout on the adapter's input."""
    target_modules: tuple[str, ...] = ("attention",)
    """Modules to adapt, separated by commas or spaces: attention, attention+mlp, or the encoder's own names."""
    use_dora: bool = False
    """Train magnitude and direction of each weight apart (DoRA)."""
    use_rslora: bool = False
    """Scale by alpha / the square root of the rank."""
    init_lora_weights: str = "true"
    """What the adapter starts as: true, false, gaussian, orthogonal, olora, pissa or mica."""
    layers_to_transform: Annotated[tuple[str, ...] | None, optional("INT …", "all")] = None
    """Layers to adapt, counted from 0, separated by commas or spaces."""
    modules_to_save: Annotated[tuple[str, ...] | None, optional("STR …", "the head alone")] = None
    """Modules to train whole and save with the adapter, by the encoder's own names."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases to train along: of no module, of all, or of those that are adapted."""

    def adapter(self, recipe: Recipe, encoder: str) -> Adapter:
        """The adapter, trained by a recipe, for an encoder, whose head is trained along in any case."""
        usual = {"use_dora": False, "use_rslora": False, "init_lora_weights": True, "bias": "none"}
        others: Mapping[str, Setting] = {
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
            "init_lora_weights": {"true": True, "false": False}.get(
                self.init_lora_weights.lower(), self.init_lora_weights
            ),
            "bias": self.bias,
            "layers_to_transform": None if self.layers_to_transform is None else _layers(self.layers_to_transform),
            "modules_to_save": None if self.modules_to_save is None else self._saved(encoder),
        }
        return Adapter(
            recipe=recipe,
            target_modules=_split(self.target_modules),
            settings={
                "r": self.rank,
                "lora_alpha": self.alpha,
                "lora_dropout": self.dropout,
                **{name: value for name, value in others.items() if value is not None and value != usual.get(name)},
            },
        )

    def _saved(self, encoder: str) -> tuple[str, ...] | None:
        from rtlab.encoders import load_encoder

        given = _split(self.modules_to_save or ())
        if not given:
            raise ValueError("modules_to_save must name at least one module of the encoder; got none")
        return tuple(sorted(set(_but_heads(load_encoder(encoder), given)))) or None


@dataclass(frozen=True, kw_only=True)
class PeftOptions:
    """The adapter."""

    peft_type: Annotated[str | None, optional("STR", "that of --peft-config")] = None
    """PEFT's name of its kind: IA3, LOHA, LOKR, OFT, BOFT, VERA, FOURIERFT, HRA, …; docs/adapters.md has all."""
    peft_config: Annotated[Path | None, optional("FILE", "PEFT's defaults")] = None
    """PEFT's configuration of it as JSON, such as the adapter_config.json of a saved adapter."""
    settings: Annotated[
        tyro.conf.UseAppendAction[Pairs],
        tyro.conf.arg(name="set", metavar="NAME=VALUE …", help_behavior_hint="(default: those of --peft-config)"),
    ] = ()
    """PEFT's settings by PEFT's names, such as r=4; a value is JSON where it can be, else text."""
    target_modules: Annotated[
        tuple[str, ...] | None, optional("STR …", "those of --peft-config, PEFT's for the architecture, or attention")
    ] = None
    """Modules to adapt, separated by commas or spaces: attention, attention+mlp, or the encoder's own names."""

    def adapter(self, recipe: Recipe, encoder: str) -> Adapter:
        """The adapter, trained by a recipe.

        Args:
            recipe: How to train.
            encoder: What it is for: its architecture decides what is adapted where nobody says.
        """
        from rtlab.encoders import load_encoder
        from rtlab.engines.adapters import check_fields, check_kind, usual_modules

        file = {} if self.peft_config is None else read_config(self.peft_config)
        kind = self._kind(file.pop("peft_type", None))
        check_kind(kind)
        modules = self._modules(file.pop("target_modules", None))
        settings = {**file, **_pairs(word for words in self.settings for word in words)}
        for name, value in settings.items():
            check_depth(value, f"settings ({one_line(name)})")
        check_fields(kind, settings)
        adapted = load_encoder(encoder)
        settings = _unusual(kind, _without_heads(adapted, settings))
        if modules is None:
            modules, beside = usual_modules(adapted, kind)
            settings = {**beside, **settings}
        return Adapter(recipe=recipe, peft_type=kind, target_modules=modules, settings=Settings(settings))

    def _kind(self, in_file: Json) -> str:
        typed = None if self.peft_type is None else self.peft_type.strip().upper()
        if in_file is not None and (not isinstance(in_file, str) or typed not in (None, in_file)):
            raise ValueError(f"peft_type must be that of {self.peft_config} or be left out; got {typed}, and {in_file}")
        found = typed if in_file is None else str(in_file)
        if not found:
            raise ValueError("peft_type must be PEFT's name of a kind of adapter; got none; IA3 or LOHA would do")
        return found

    def _modules(self, in_file: Json) -> tuple[str, ...] | None:
        typed = None if self.target_modules is None else _split(self.target_modules)
        if in_file is None:
            return typed
        if isinstance(in_file, str) or not isinstance(in_file, Sequence) or not in_file:
            raise ValueError(
                f"target_modules must be a list of module names in {self.peft_config}; got {shown(in_file)}"
            )
        names = tuple(sorted(map(str, in_file)))
        if typed is not None and {*typed} != {*names}:
            raise ValueError(
                f"target_modules must be those of {self.peft_config} or be left out; got {', '.join(typed)}, and "
                f"{', '.join(names)}"
            )
        return names


def read_config(file: Path) -> dict[str, Json]:
    """Settings out of a file like PEFT's adapter_config.json, without what the run decides; its `peft_type` stays.

    Args:
        file: JSON, an object.

    Raises:
        ValueError: If it cannot be read, or is of another task than the classification of sentences.
    """
    from rtlab.engines.adapters import NO_SETTINGS

    try:
        text = file.read_text(encoding="utf-8")
        found: Json = json.loads(text, object_pairs_hook=_object)
    except (OSError, ValueError, RecursionError) as error:
        said = getattr(error, "strerror", None) or one_line(str(error))
        raise ValueError(
            f"peft_config must be a file of JSON, as PEFT's adapter_config.json; got {file}: {said}"
        ) from None
    if not isinstance(found, Mapping):
        raise ValueError(f"peft_config must be an object with PEFT's settings; got {shown(found)}")
    if (task := found.get("task_type")) not in (None, "SEQ_CLS"):
        raise ValueError(f"peft_config must be of task_type SEQ_CLS, or of none; got {shown(task)}")
    return {name: value for name, value in found.items() if name == "peft_type" or name not in NO_SETTINGS}


def _object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    names = [name for name, _ in pairs]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"it has {one_line(repeated[0])} twice")
    return dict(pairs)


def _pairs(words: Iterable[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise ValueError(f"settings must be given as NAME=VALUE, such as r=4; got {shown(word)}")
        if name in found:
            raise ValueError(f"settings must name each setting once; got {name} twice")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = text
    return found


def _without_heads(encoder: "Encoder", settings: Mapping[str, Json]) -> dict[str, Json]:
    """Settings whose modules to save name no head."""
    named = settings.get("modules_to_save")
    if not isinstance(named, list):
        return dict(settings)
    return {**settings, "modules_to_save": _but_heads(encoder, named) or None}


def _but_heads(encoder: "Encoder", modules: Iterable[T]) -> list[T]:
    """Modules without the encoder's heads, which are trained along and saved in any case."""
    from rtlab.encoders.loading import head_class, head_modules, said_in_one_line, skeleton
    from rtlab.engines.models import PEFTS_HEADS

    with said_in_one_line(encoder.name):
        heads = head_modules(skeleton(head_class(encoder.config, encoder.name), encoder.config))
    return [name for name in modules if name not in (*heads, *PEFTS_HEADS)]


def _unusual(kind: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """Settings that are not PEFT's defaults; LoRA's three that have others here stay."""
    from rtlab.engines.adapters import known_kinds

    usual = known_kinds()[kind]().to_dict()
    return {
        name: value
        for name, value in settings.items()
        if (kind == "LORA" and name in LORA) or name not in usual or repr(value) != repr(usual[name])
    }


def _split(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for word in words for name in word.replace(",", " ").split())


def _layers(words: Iterable[str]) -> tuple[int, ...]:
    given = _split(words)
    if not given or not all(name.isdecimal() for name in given):
        raise ValueError(f"layers_to_transform must be numbers of layers, such as 0,1; got {' '.join(given) or 'none'}")
    return tuple(sorted({int(name) for name in given}))
