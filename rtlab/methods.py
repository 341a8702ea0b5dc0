"""The ways of adapting an encoder, as values: an SVM on its features, full fine-tuning, PEFT's adapters.

A method has the fields that it has and no others, so nothing stands empty: `match` tells them apart. What `Full` and
`Adapter` have in common is their `Recipe`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from rtlab.values import LARGEST_WHOLE, Json, check_one_of, check_whole, is_number, shown

Engine = Literal["trainer", "native"]
Padding = Literal["fixed", "dynamic", "bucketed", "packed"]
Pooling = Literal["cls", "mean"]
Setting: TypeAlias = "bool | int | float | str | tuple[Setting, ...] | Settings | None"

USUAL_PADDING: Mapping[Engine, Padding] = {"trainer": "dynamic", "native": "packed"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How `Full` and `Adapter` are trained.

    Attributes:
        engine: Who trains: `trainer`, Hugging Face's `Trainer` with PEFT, or `native`, the same mathematics faster.
        padding: How sentences become batches; where none is given, `dynamic` on `trainer` and `packed` on `native`.
        learning_rate: Peak of the linear decay to 0.
        epochs: Passes over the training split.
        batch_size: Sentences per optimizer step.
        max_steps: Optimizer steps to stop after, `None` for all.
        logging_steps: Steps per entry of the loss history.
        compile: Whether `native` compiles the encoder's layers with torch.compile, which takes a minute or so and pays
            in long runs on CUDA.

    Raises:
        ValueError: If a field is out of range; the message names the field, what was given and what would do.
    """

    engine: Engine = "trainer"
    padding: Padding = None  # type: ignore[assignment]  # it is given the engine's usual one at once
    learning_rate: float = 2e-5
    epochs: int = 5
    batch_size: int = 16
    max_steps: int | None = None
    logging_steps: int = 50
    compile: bool = False

    def __post_init__(self) -> None:
        check_one_of("engine", self.engine, get_args(Engine))
        if self.padding is None:
            object.__setattr__(self, "padding", USUAL_PADDING[self.engine])
        check_one_of("padding", self.padding, get_args(Padding))
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be True or False; got {self.compile!r}")
        if self.engine == "trainer" and self.compile:
            raise ValueError("compile is not possible on engine 'trainer'; got True; engine native would do")
        if self.engine == "trainer" and self.padding == "packed":
            raise ValueError(
                "padding 'packed' is not possible on engine 'trainer', which feeds the model padded batches; "
                "fixed, dynamic or bucketed would do, or engine native"
            )
        if not is_number(self.learning_rate) or not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be finite and above 0, such as 2e-5; got {self.learning_rate!r}")
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        for name in ("epochs", "batch_size", "logging_steps"):
            check_whole(name, getattr(self, name))
        if self.max_steps is not None:
            check_whole("max_steps", self.max_steps)


def _is_recipe(value: object) -> None:
    if not isinstance(value, Recipe):
        raise ValueError(f"recipe must be a Recipe; got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Svm:
    """A linear SVM on features of the frozen encoder.

    Attributes:
        pooling: Feature of a sentence: its first token (`cls`) or the mean over its tokens.

    Raises:
        ValueError: If the pooling is unknown.
    """

    pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        check_one_of("pooling", self.pooling, get_args(Pooling))


@dataclass(frozen=True, kw_only=True)
class Full:
    """Every weight of the encoder is trained, under a fresh classification head.

    Attributes:
        recipe: How it is trained.
    """

    recipe: Recipe = Recipe()

    def __post_init__(self) -> None:
        _is_recipe(self.recipe)


def _frozen(value: Json) -> Setting:
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) <= LARGEST_WHOLE:
            return value
        case float() if is_number(value):
            return float(value)  # numpy's, too, is a float
        case Mapping():
            return Settings(value)
        case list() | tuple():
            return tuple(map(_frozen, value))
    raise ValueError(f"settings must hold finite numbers, texts, lists and mappings of them; got {shown(value)}")


class Settings(Mapping[str, Setting]):
    """Settings by name, in alphabetical order; a mapping that cannot be changed, so that it can be hashed.

    Two are equal if they are written the same: 1, 1.0 and True are three values to PEFT, and three ids.

    Args:
        given: JSON values by name; lists become tuples, and mappings `Settings`.

    Raises:
        ValueError: If a name is no text, or a value is not JSON.
    """

    def __init__(self, given: Mapping[str, Json]) -> None:
        if not all(isinstance(name, str) for name in given):
            raise ValueError(f"settings must be PEFT's settings by name; got {shown(given)}")
        self._values = {name: _frozen(given[name]) for name in sorted(given)}

    def __getitem__(self, name: str) -> Setting:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other) if isinstance(other, Settings) else super().__eq__(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return repr(self._values)


LORA = Settings({"r": 8, "lora_alpha": 32, "lora_dropout": 0.1})


def _checked_lora(given: Mapping[str, Json]) -> Settings:
    for name in ("r", "lora_alpha"):
        check_whole(name, given[name])
    dropout = given["lora_dropout"]
    if not is_number(dropout) or not 0 <= dropout < 1:
        raise ValueError(f"lora_dropout must be at least 0 and below 1; got {dropout!r}")
    return Settings({**given, "lora_dropout": abs(float(dropout))})  # -0.0 equals 0.0, but not in JSON


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One of PEFT's adapters on the frozen encoder, beside a fresh classification head.

    By default low-rank adaptation (Hu et al., 2021): W + lora_alpha / r · B·A beside each target module, W frozen.

    Attributes:
        recipe: How it is trained.
        peft_type: PEFT's name of its kind.
        target_modules: Module names of the encoder (`q_lin`), or the groups `attention`, `attention+mlp`, which
            `rtlab.encoders.target_modules` resolves per architecture. A string is split at commas and spaces.
        settings: PEFT's settings by PEFT's names. LoRA's `r`, `lora_alpha` and `lora_dropout` are always there, 8, 32
            and 0.1 where they are not given.

    Raises:
        ValueError: If a field is out of range.
    """

    recipe: Recipe = Recipe()
    peft_type: str = "LORA"
    target_modules: tuple[str, ...] = ("attention",)
    settings: Mapping[str, Setting] = Settings({})

    def __post_init__(self) -> None:
        _is_recipe(self.recipe)
        if not isinstance(self.peft_type, str) or not self.peft_type.strip():
            raise ValueError(
                f"peft_type must be PEFT's name of a kind of adapter, such as LORA; got {self.peft_type!r}"
            )
        names: object = self.target_modules
        names = names.replace(",", " ").split() if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) and n for n in names):
            raise ValueError(
                f"target_modules must name at least one module or group (attention); got {self.target_modules!r}"
            )
        if not isinstance(self.settings, Mapping):
            raise ValueError(f"settings must be PEFT's settings by name; got {shown(self.settings)}")
        if "target_modules" in self.settings:
            raise ValueError("settings must not hold target_modules; the field target_modules would do")
        object.__setattr__(self, "target_modules", tuple(dict.fromkeys(names)))
        settings = {**(LORA if self.peft_type == "LORA" else {}), **self.settings}
        object.__setattr__(
            self, "settings", _checked_lora(settings) if self.peft_type == "LORA" else Settings(settings)
        )


Method = Svm | Full | Adapter
