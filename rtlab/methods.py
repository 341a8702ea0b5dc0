"""The ways of classifying sentences, as values: words alone, an encoder's features, fine-tuning it, PEFT's adapters.

A method has the fields that it has and no others, so nothing stands empty: `match` tells them apart. What `Full`,
`Adapter` and `Contrastive` have in common is their `Recipe`. Besides its fields each method says of itself:

    name     what tables and records' frames call it: `svm`, `full`, the kind of adapter such as `lora`
    engine   who does it, a module of `rtlab.engines`
    recipe   how it is trained in steps; None where it is not
    reads    what it reads off the encoder; None where it needs none
    label    a short readable name with its settings, without blanks
    setup    the same in words
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from typing import ClassVar, Literal, get_args

from rtlab.recipe import Recipe, number_text, rate_text
from rtlab.settings import Setting, Settings
from rtlab.values import Json, check_one_of, check_whole, is_number, shown

Pooling = Literal["cls", "mean"]
Classifier = Literal["svm", "logistic"]
# Logits of a classifier; of an encoder without a head the first token's vector, or the mean over the tokens' vectors.
Reads = Literal["logits", "cls", "mean"]

# Raised by hand when a change moves what an engine computes; every record of that engine is then an old one.
# `tests/test_golden.py` says when.
RESULTS: Mapping[str, int] = {"words": 2, "svm": 2, "trainer": 1, "native": 1}

# What people call the usual methods, by name, in the order in which they are shown.
TITLES: Mapping[str, str] = {
    "words": "words",
    "svm": "linear SVM",
    "full": "full fine-tuning",
    "lora": "LoRA",
    "contrastive": "contrastive fine-tuning",
}
_ALPHA = "\N{GREEK SMALL LETTER ALPHA}"  # by its name: it looks like another letter
_FEATURES: Mapping[Pooling, str] = {"cls": "[CLS] features", "mean": "mean-pooled features"}
_CLASSIFIERS: Mapping[Classifier, str] = {"svm": "SVM", "logistic": "logistic regression"}


def method_title(name: str) -> str:
    """A method's name in a sentence."""
    return TITLES.get(name, name.upper())


def _is_recipe(value: object, *, freezes: bool = False) -> None:
    if not isinstance(value, Recipe):
        raise ValueError(f"recipe must be a Recipe; got {value!r}")
    if value.freeze_layers and not freezes:
        raise ValueError(
            f"freeze_layers must be 0 for an adapter, under which all layers are frozen; got {value.freeze_layers}; "
            "method Full would do"
        )


@dataclass(frozen=True, kw_only=True)
class Words:
    """TF-IDF of a sentence's words and pairs of words, and a linear classifier on it, without an encoder.

    Attributes:
        characters: Whether its terms are 2 to 5 characters within words instead: for languages without blanks, names
            and misspellings.
        classifier: `svm`, or `logistic` regression.
        c: Inverse strength of the regularisation (scikit-learn's C); `None` for the best of five by cross-validation.

    Raises:
        ValueError: If a field is out of range.
    """

    characters: bool = False
    classifier: Classifier = "svm"
    c: float | None = None

    name: ClassVar[str] = "words"
    engine: ClassVar[str] = "words"
    recipe: ClassVar[None] = None
    reads: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not isinstance(self.characters, bool):
            raise ValueError(f"characters must be True or False; got {self.characters!r}")
        _check_linear(self)

    @property
    def label(self) -> str:
        """Such as `words` or `words-characters-logistic-c0.3`."""
        c = "" if self.c is None else f"-c{number_text(self.c)}"
        return f"words{'-characters' * self.characters}{'-logistic' * (self.classifier == 'logistic')}{c}"

    @property
    def setup(self) -> str:
        """Such as `words, SVM`."""
        c = "" if self.c is None else f", C {number_text(self.c)}"
        return f"{'characters' if self.characters else 'words'}, {_CLASSIFIERS[self.classifier]}{c}"


@dataclass(frozen=True, kw_only=True)
class Svm:
    """A linear SVM on features of the frozen encoder.

    Attributes:
        pooling: Feature of a sentence: its first token (`cls`) or the mean over its tokens.
        with_words: Whether TF-IDF of words stands beside it, its share chosen by cross-validation.
        classifier: `svm`, or `logistic` regression.
        c: Inverse strength of the regularisation (scikit-learn's C); `None` for the best of five by cross-validation.

    Raises:
        ValueError: If a field is out of range.
    """

    pooling: Pooling = "cls"
    with_words: bool = False
    classifier: Classifier = "svm"
    c: float | None = 1.0

    name: ClassVar[str] = "svm"
    engine: ClassVar[str] = "svm"
    recipe: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_one_of("pooling", self.pooling, get_args(Pooling))
        if not isinstance(self.with_words, bool):
            raise ValueError(f"with_words must be True or False; got {self.with_words!r}")
        _check_linear(self)

    @property
    def reads(self) -> Reads:
        """The feature."""
        return self.pooling

    @property
    def label(self) -> str:
        """Such as `svm-cls` or `svm-mean-words-logistic-tuned`."""
        c = "-tuned" if self.c is None else f"-c{number_text(self.c)}" * (self.c != 1)
        return f"svm-{self.pooling}{'-words' * self.with_words}{'-logistic' * (self.classifier == 'logistic')}{c}"

    @property
    def setup(self) -> str:
        """Such as `SVM, [CLS] features`."""
        c = ", C tuned" if self.c is None else f", C {number_text(self.c)}" * (self.c != 1)
        words = " with words" * self.with_words
        return f"{_CLASSIFIERS[self.classifier]}, {_FEATURES[self.pooling]}{words}{c}"


def _check_linear(method: Words | Svm) -> None:
    check_one_of("classifier", method.classifier, get_args(Classifier))
    if method.c is not None:
        if not is_number(method.c) or not method.c > 0:
            raise ValueError(f"c must be finite and above 0; got {method.c!r}")
        object.__setattr__(method, "c", float(method.c))


@dataclass(frozen=True, kw_only=True)
class Full:
    """The weights of the encoder are trained, all unless the recipe freezes some, under a fresh classification head.

    Attributes:
        recipe: How it is trained.
    """

    recipe: Recipe = Recipe()

    name: ClassVar[str] = "full"
    reads: ClassVar[Reads] = "logits"

    def __post_init__(self) -> None:
        _is_recipe(self.recipe, freezes=True)

    @property
    def engine(self) -> str:
        """The recipe's engine."""
        return self.recipe.engine

    @property
    def label(self) -> str:
        """Such as `full-dynamic-lr2e-05`."""
        return f"full-{self.recipe.label}"

    @property
    def setup(self) -> str:
        """Such as `full, dynamic, lr 2e-05`; engine, epochs and what else the recipe has are named apart."""
        return f"full, {self.recipe.padding}, lr {rate_text(self.recipe.learning_rate)}"


# What a recipe may not ask for where the loss is over pairs of sentences and there is no head while it trains: what it
# is there, and why.
_NOT_OF_PAIRS: Mapping[str, tuple[object, str]] = {
    "class_weights": ("equal", "weighs single sentences"),
    "label_smoothing": (0.0, "spreads labels of single sentences"),
    "accumulate": (1, "joins batches, and the loss is over pairs of sentences of one batch"),
    "evaluate": (None, "asks for labels, which are known once the linear classifier is fitted"),
}


@dataclass(frozen=True, kw_only=True)
class Contrastive:
    """The encoder is trained to put sentences of a class close together; then a classifier is fitted on its features.

    For a few hundred sentences and fewer: each batch of them has many pairs to learn from. The loss is the supervised
    contrastive one (Khosla et al., "Supervised contrastive learning", 2020) over all pairs of a batch, of features that
    are the mean over a sentence's tokens; training an encoder of sentences on pairs first, and a logistic regression on
    its features then, is SetFit's way (Tunstall et al., "Efficient few-shot learning without prompts", 2022).

    Attributes:
        recipe: How the encoder is trained.
        temperature: What cosine similarities are divided by in the loss; the smaller, the more it is about the
            sentences of other classes that lie closest.

    Raises:
        ValueError: If a field is out of range, or the recipe asks for what means nothing to pairs.
    """

    recipe: Recipe = Recipe()
    temperature: float = 0.1

    name: ClassVar[str] = "contrastive"
    reads: ClassVar[Reads] = "mean"

    def __post_init__(self) -> None:
        _is_recipe(self.recipe, freezes=True)
        for field, (usual, why) in _NOT_OF_PAIRS.items():
            if (given := getattr(self.recipe, field)) != usual:
                raise ValueError(f"{field} must be left out for method contrastive: it {why}; got {given!r}")
        if self.recipe.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2 for method contrastive, a pair; got {self.recipe.batch_size}"
            )
        if not is_number(self.temperature) or not self.temperature > 0:
            raise ValueError(f"temperature must be finite and above 0, such as 0.1; got {self.temperature!r}")
        object.__setattr__(self, "temperature", float(self.temperature))

    @staticmethod
    def passes(epochs: int) -> int:
        """How often it goes through its sentences where other ways, to be compared with it, do that so often.

        Pairs need fewer: a batch has more of them than sentences. The root is what they need, by the records of
        `bench/choices.py`: 5 to 15 epochs score the same on 100 sentences, 3 more than 2 on 2,000.
        """
        return ceil(sqrt(epochs))

    @property
    def engine(self) -> str:
        """The recipe's engine."""
        return self.recipe.engine

    @property
    def label(self) -> str:
        """Such as `contrastive-native-packed-lr5e-05`."""
        temperature = "" if self.temperature == Contrastive.temperature else f"-t{number_text(self.temperature)}"
        return f"contrastive-{self.recipe.label}{temperature}"

    @property
    def setup(self) -> str:
        """Such as `contrastive, packed, lr 5e-05`; engine, epochs and what else the recipe has are named apart."""
        temperature = "" if self.temperature == Contrastive.temperature else f", t {number_text(self.temperature)}"
        return f"contrastive, {self.recipe.padding}, lr {rate_text(self.recipe.learning_rate)}{temperature}"


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

    reads: ClassVar[Reads] = "logits"

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

    @property
    def name(self) -> str:
        """Its kind in lower case, such as `lora`."""
        return self.peft_type.lower()

    @property
    def engine(self) -> str:
        """The recipe's engine."""
        return self.recipe.engine

    @property
    def label(self) -> str:
        """Such as `lora-dynamic-lr1e-03-r8-attention`."""
        rank = f"-r{self.settings['r']}" if "r" in self.settings else ""
        return f"{self.name}-{self.recipe.label}{rank}-{'+'.join(self.target_modules)}"

    @property
    def setup(self) -> str:
        """Such as `LoRA r8 … attention, dynamic, lr 1e-03`; what else it has is named apart."""
        size = f" r{self.settings['r']}" if "r" in self.settings else ""
        size += f" {_ALPHA}{self.settings['lora_alpha']}" if "lora_alpha" in self.settings else ""
        rate = rate_text(self.recipe.learning_rate)
        return f"{method_title(self.name)}{size} {' '.join(self.target_modules)}, {self.recipe.padding}, lr {rate}"


Method = Words | Svm | Full | Adapter | Contrastive
