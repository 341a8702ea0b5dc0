"""What a run is asked to do: one frozen, validated value that decides its result, and nothing else.

Two equal experiments are the same run. Fields that a method does not use become `None` (an SVM has no learning
rate), so they can make neither two values nor two ids of one run. Where a run computes (device, threads) and where
it writes are no part of an experiment: they do not decide its result.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeGuard, get_args

Method = Literal["svm", "full", "lora"]
Engine = Literal["trainer", "native"]
Padding = Literal["fixed", "dynamic", "bucketed", "packed"]
Precision = Literal["fp32", "tf32", "bf16"]
Pooling = Literal["cls", "mean"]

DEFAULT_ENCODER = "distilbert/distilbert-base-uncased"
DEFAULT_DATASET = "cornell-movie-review-data/rotten_tomatoes"

SHORTEST = 3  # [CLS], one word piece, [SEP]
LARGEST_SEED = 2**32 - 1  # what numpy's generators take

_TRAINING = ("engine", "padding", "learning_rate", "epochs", "batch_size", "compile", "logging_steps", "max_steps")
_UNUSED: Mapping[Method, tuple[str, ...]] = {
    "svm": (*_TRAINING, "lora"),
    "full": ("pooling", "lora"),
    "lora": ("pooling",),
}


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adaptation (Hu et al., 2021): W + alpha / rank · B·A beside each target module, W frozen.

    Attributes:
        rank: Rank of the update, at least 1.
        alpha: Scale; the update is multiplied by alpha / rank.
        dropout: Dropout on the adapter's input, in [0, 1).
        target_modules: Module names of the encoder (`q_lin`), or the groups `attention`, `attention+mlp`, which
            `rtlab.encoders.target_modules` resolves per architecture. A string is split at commas and spaces.

    Raises:
        ValueError: If a field is out of range.
    """

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    target_modules: tuple[str, ...] = ("attention",)

    def __post_init__(self) -> None:
        _whole("lora.rank", self.rank)
        _whole("lora.alpha", self.alpha)
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must be at least 0 and below 1; got {self.dropout!r}")
        names: object = self.target_modules
        names = names.replace(",", " ").split() if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) and n for n in names):
            raise ValueError(
                f"lora.target_modules must name at least one module or group (attention); got {self.target_modules!r}"
            )
        object.__setattr__(self, "dropout", abs(float(self.dropout)))  # -0.0 equals 0.0, but not in JSON
        object.__setattr__(self, "target_modules", tuple(dict.fromkeys(names)))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One point of the lab's matrix. See the module for what "unused" means.

    Attributes:
        encoder: Hub id, local directory, or built-in name (`rtlab.encoders`).
        dataset: Hub id, local directory, or `corpus` (`rtlab.data`).
        method: What is trained: `svm` on frozen features, `full` fine-tuning, or `lora` adapters.
        engine: Who trains: `trainer`, Hugging Face's `Trainer` with PEFT, or `native`, the same mathematics faster.
            Unused by `svm`.
        padding: How sentences become batches; where none is given, `dynamic` on `trainer` and `packed` on `native`.
            Unused by `svm`, whose features are extracted without padding.
        max_length: Word pieces kept of a sentence, special tokens included.
        learning_rate: Peak of the linear decay to 0. Unused by `svm`.
        epochs: Passes over the training split. Unused by `svm`.
        batch_size: Sentences per optimizer step. Unused by `svm`.
        precision: Arithmetic of the encoder: `fp32`, `tf32` (CUDA) or `bf16` (autocast, fp32 master weights).
        compile: Whether `native` compiles the encoder's layers with torch.compile, which takes a minute or so and pays
            in long runs. Unused by `trainer` and `svm`.
        lora: Settings of the adapter; `LoraSettings()` where `lora` is given none, unused by the other methods.
        pooling: Feature of a sentence for `svm`: its first token (`cls`) or the mean over its tokens.
        logging_steps: Steps per entry of the loss history. Unused by `svm`.
        seed: Moves the head's initialisation, the data order, dropout and the SVM's solver.
        max_steps: Optimizer steps to stop after, `None` for all. Unused by `svm`.
        limit: Sentences kept per split, `None` for all.

    Raises:
        ValueError: If a field is unknown or out of range; the message names the field, what was given and what
            would do.
    """

    encoder: str = DEFAULT_ENCODER
    dataset: str = DEFAULT_DATASET
    method: Method = "full"
    engine: Engine | None = "trainer"
    padding: Padding | None = None
    max_length: int = 512
    learning_rate: float | None = 2e-5
    epochs: int | None = 5
    batch_size: int | None = 16
    precision: Precision = "fp32"
    compile: bool | None = False
    lora: LoraSettings | None = None
    pooling: Pooling | None = "cls"
    logging_steps: int | None = 50
    seed: int = 42
    max_steps: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        _one_of("method", self.method, get_args(Method))
        for name in _UNUSED[self.method]:
            object.__setattr__(self, name, None)
        if self.method == "lora" and self.lora is None:
            object.__setattr__(self, "lora", LoraSettings())
        for name in ("encoder", "dataset"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(
                    f"{name} must be a hub id, a directory or a built-in name; got {getattr(self, name)!r}"
                )
        _one_of("precision", self.precision, get_args(Precision))
        _whole("max_length", self.max_length, at_least=SHORTEST)
        _whole("seed", self.seed, at_least=0)
        if self.seed > LARGEST_SEED:
            raise ValueError(f"seed must be at most {LARGEST_SEED}; got {self.seed!r}")
        if self.limit is not None:
            _whole("limit", self.limit)
        if self.method == "svm":
            _one_of("pooling", self.pooling, get_args(Pooling))
        else:
            self._check_training()

    def _check_training(self) -> None:
        _one_of("engine", self.engine, get_args(Engine))
        if self.padding is None:
            object.__setattr__(self, "padding", "packed" if self.engine == "native" else "dynamic")
        if self.compile not in (None, False, True):
            raise ValueError(f"compile must be True or False; got {self.compile!r}")
        if self.engine == "trainer" and self.compile:
            raise ValueError("compile is not possible on engine 'trainer'; got True; engine native would do")
        object.__setattr__(self, "compile", bool(self.compile) if self.engine == "native" else None)
        _one_of("padding", self.padding, get_args(Padding))
        if self.engine == "trainer" and self.padding == "packed":
            raise ValueError(
                "padding 'packed' is not possible on engine 'trainer', which feeds the model padded batches; "
                "fixed, dynamic or bucketed would do, or engine native"
            )
        if not _is_number(self.learning_rate) or not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be finite and above 0, such as 2e-5; got {self.learning_rate!r}")
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        for name in ("epochs", "batch_size", "logging_steps"):
            _whole(name, getattr(self, name))
        if self.max_steps is not None:
            _whole("max_steps", self.max_steps)
        if self.lora is not None and not isinstance(self.lora, LoraSettings):
            raise ValueError(f"lora must be a LoraSettings; got {self.lora!r}")

    @property
    def label(self) -> str:
        """A short readable name of the point in the matrix, such as `lora-dynamic-lr1e-03-r8-attention`.

        The engine is named where it is not the reference.
        """
        if self.method == "svm":
            return f"svm-{self.pooling}"
        rate = next(
            text for digits in range(17) if float(text := f"{self.learning_rate:.{digits}e}") == self.learning_rate
        )
        engine = "" if self.engine == "trainer" else f"-{self.engine}"
        compiled = "-compiled" if self.compile else ""
        training = f"{self.method}{engine}-{self.padding}{compiled}-lr{rate}"
        if self.lora is None:
            return training
        return f"{training}-r{self.lora.rank}-{'+'.join(self.lora.target_modules)}"

    @property
    def title(self) -> str:
        """The label with what tells runs of one label apart: sentences per split where limited, and the seed."""
        limit = "" if self.limit is None else f", {self.limit} sentences a split"
        return f"{self.label}{limit}, seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """The fields this method uses, as JSON types; an unused or unlimited (`None`) one is left out."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        if self.lora is not None:
            fields["lora"]["target_modules"] = list(self.lora.target_modules)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The experiment that `to_json` wrote.

        Raises:
            ValueError: If a field is not an experiment's, or its value is out of range.
        """
        _known("an experiment", cls, fields)
        lora = fields.get("lora")
        if lora is None:
            return cls(**fields)
        _known("lora", LoraSettings, lora)
        return cls(**{**fields, "lora": LoraSettings(**lora)})


def identity(
    experiment: Experiment, *, dataset_sha256: str, encoder_sha256: str, target_modules: tuple[str, ...] = ()
) -> str:
    """The id of a run: 16 hexadecimal digits of the SHA-256 over what decides its result.

    Data set and encoder count as contents, not as names or paths, and target modules as the modules that they
    resolve to, in any order; so a copied directory or a spelt-out group is the same run.

    Args:
        experiment: What is asked for.
        dataset_sha256: Digest of the sentences and labels that are used.
        encoder_sha256: Digest of the encoder's weights, configuration and tokenizer.
        target_modules: What `experiment.lora.target_modules` resolves to; empty without LoRA.
    """
    fields = experiment.to_json() | {"dataset": dataset_sha256, "encoder": encoder_sha256}
    if experiment.lora is not None:
        fields["lora"]["target_modules"] = sorted(target_modules)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def _known(what: str, of: type, fields: Mapping[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(of)}
    if unknown := sorted(set(fields) - known):
        raise ValueError(f"{what} has no field {', '.join(unknown)}; its fields are {', '.join(sorted(known))}")


def _is_number(value: object) -> TypeGuard[float]:
    # An integer may be finite and yet beyond all floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _whole(name: str, value: object, *, at_least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}; got {value!r}")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
