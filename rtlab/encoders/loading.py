"""A model made of a checkpoint: every weight is read, or drawn to be trained and saved, or the encoder is refused.

transformers fills what a checkpoint lacks with random numbers, leaves out what it has too much, and says so in a report
that scrolls by. Here that report decides: the body (embeddings, layers, norms) must fit the configuration wholly. A
pooler may be missing, and a head is always fresh unless a saved model is read.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from rtlab.encoders.built_in import in_this_thread, quiet
from rtlab.encoders.checkpoints import read_weights
from rtlab.values import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

# A body without a head; one under a head that is drawn fresh; one under the head that was saved with it.
Head = Literal["none", "fresh", "saved"]


class Report(TypedDict):
    """What transformers says of a model that it loaded: names of tensors, and of those of another shape both shapes."""

    missing_keys: set[str]
    unexpected_keys: set[str]
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]


NAMED = 3  # tensors of a kind that a message names
_KIN = "a BERT or its kin would do"
_WOULD_DO = "the config.json and the weights of one model, as save_pretrained writes them, would do"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model, and where it and its checkpoint differ.

    Attributes:
        model: The model, in fp32.
        fresh: Names in the model of the poolers that the checkpoint lacks: drawn from torch's generator.
        unused: Parts of the checkpoint outside the body that are not in the model: heads.
    """

    model: "PreTrainedModel"
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def load(
    config: "PreTrainedConfig",
    path: Path,
    name: str,
    *,
    head: Head,
    label_names: Sequence[str] = (),
) -> Loaded:
    """Make a model of a directory's configuration and weights.

    Args:
        config: transformers' configuration.
        path: The directory.
        name: The encoder's name, for messages.
        head: Whether the model has a classification head, and where that comes from; fresh weights are drawn from
            torch's generator, so seed it before.
        label_names: The head's classes.

    Raises:
        ValueError: If the weights do not fit the configuration, or transformers cannot make the model.
    """
    wanted = _for_classes(config, label_names) if head != "none" else copy.deepcopy(config)
    of = head_class(wanted, name) if head != "none" else body_class(wanted)
    stored = read_weights(path, name)
    parts = _parts(of, wanted, name)
    dropped = parts.heads - parts.body if head == "fresh" else set()
    used = {key: tensor for key, tensor in stored.items() if _first(key) not in dropped}
    model, report = _made(of, wanted, used, name)
    model.name_or_path = model.config.name_or_path = str(path)
    absent = {key for key in report["missing_keys"] if head != "fresh" or key.startswith(parts.prefix)}
    poolers = {key for key in absent if "pooler" in key.split(".") and head != "saved"}
    prefixed = head != "saved" and any(key.startswith(parts.prefix) for key in stored)
    others = {key for key in report["unexpected_keys"] if prefixed and parts.lies_outside(key)}
    _check_fit(
        name,
        missing=sorted(absent - poolers),
        left=sorted(key for key in report["unexpected_keys"] - others if not parts.knows(key)),
        misshapen=sorted(f"{key}: {list(has)} for {list(needs)}" for key, has, needs in report["mismatched_keys"]),
    )
    return Loaded(
        model=model,
        fresh=tuple(sorted({_up_to_pooler(key) for key in poolers})),
        unused=tuple(sorted({_first(key) for key in {*(stored.keys() - used.keys()), *others}})),
    )


def head_modules(model: "PreTrainedModel") -> tuple[str, ...]:
    """Names of a classifier's modules that are no part of its body, and have weights; a body alone has none."""
    if model.base_model is model:
        return ()
    return tuple(
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and any(True for _ in child.parameters())
    )


def body_class(config: "PreTrainedConfig") -> "type[PreTrainedModel]":
    """The model of transformers for a configuration without a head.

    Raises:
        ValueError: If there is none.
    """
    from transformers import AutoModel

    if type(config) not in AutoModel._model_mapping:
        raise ValueError(f"encoder must be of a type that has a model of its own; got {config.model_type}; {_KIN}")
    found: type[PreTrainedModel] | tuple[type[PreTrainedModel], ...] = AutoModel._model_mapping[type(config)]
    options = found if isinstance(found, tuple) else (found,)
    named = [of for of in options if of.__name__ in (config.architectures or ())]
    return (named or options)[0]


def skeleton(of: "type[PreTrainedModel]", config: "PreTrainedConfig") -> "PreTrainedModel":
    """A model without weights, which takes no memory and draws nothing."""
    import torch

    with quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        return of(copy.deepcopy(config))


def positions(config: "PreTrainedConfig") -> tuple[int, int | None]:
    """Position of a sentence's first token, and the most tokens that positions reach; `None` where they have no end.

    Of an architecture that is not known; embeddings of positions with a padding index are counted from behind it.
    """
    from torch import nn

    for name, module in skeleton(body_class(config), config).named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings") and module.padding_idx is not None:
            first = int(module.padding_idx) + 1
            return first, module.num_embeddings - first
    most = getattr(config, "max_position_embeddings", None)
    return 0, int(most) if isinstance(most, int) and most > 0 else None


def head_class(config: "PreTrainedConfig", name: str) -> "type[PreTrainedModel]":
    """The model of transformers for a configuration with a sequence-classification head.

    Raises:
        ValueError: If there is none.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        of: type[PreTrainedModel] = AutoModelForSequenceClassification._model_mapping[type(config)]
    except KeyError as error:
        raise ValueError(
            f"encoder must be of a type that transformers classifies sequences with; got {name!r}, of type "
            f"{config.model_type}; {_KIN}"
        ) from error
    return of


def _for_classes(config: "PreTrainedConfig", label_names: Sequence[str]) -> "PreTrainedConfig":
    wanted = copy.deepcopy(config)
    wanted.id2label = dict(enumerate(label_names))  # which sets their number, too
    wanted.label2id = {label: index for index, label in enumerate(label_names)}
    wanted.problem_type = None  # what another task's checkpoint may name
    return wanted


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What an architecture is made of.

    Attributes:
        prefix: What the names of a classifier's body begin with.
        body: Modules of the body, also those that a classifier leaves out (a pooler).
        heads: Modules of the classifier beside its body.
        known: Names of the body's weights and buffers, without the prefix.
    """

    prefix: str
    body: frozenset[str]
    heads: frozenset[str]
    known: frozenset[str]

    def lies_outside(self, key: str) -> bool:
        """Whether a tensor is no part of the body, where a checkpoint's names tell body and head apart."""
        return not key.startswith(self.prefix) and _first(key) not in self.body

    def knows(self, key: str) -> bool:
        """Whether a tensor that a model does not take is one that it leaves out, or computes today."""
        bare = key.removeprefix(self.prefix)
        return bare in self.known or "pooler" in bare.split(".")


def _parts(of: "type[PreTrainedModel]", config: "PreTrainedConfig", name: str) -> _Parts:
    with said_in_one_line(name):
        model, bare = skeleton(of, config), skeleton(body_class(config), config)
    if model.base_model is model and of is not body_class(config):
        raise ValueError(
            f"encoder must be of a type whose classifier holds its body apart; got {name!r}, of type "
            f"{config.model_type}; {_KIN}"
        )
    bodies = (model.base_model, bare)
    return _Parts(
        prefix=f"{model.base_model_prefix}.",
        body=frozenset(child for body in bodies for child, _ in body.named_children()),
        heads=frozenset(child for child, _ in model.named_children() if child != model.base_model_prefix),
        known=frozenset(key for body in bodies for key in (*body.state_dict(), *dict(body.named_buffers()))),
    )


def _first(key: str) -> str:
    return key.partition(".")[0]


def _made(
    of: "type[PreTrainedModel]", config: "PreTrainedConfig", weights: "Mapping[str, torch.Tensor]", name: str
) -> "tuple[PreTrainedModel, Report]":
    """The model, by transformers' own loading, and its report of what did not fit."""
    import torch

    with said_in_one_line(name), in_this_thread():
        model, report = of.from_pretrained(
            None,
            config=config,
            state_dict=dict(weights),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # `_check_fit` says all that does not fit, not the first alone
            output_loading_info=True,
            trust_remote_code=False,
        )
    return model, report


def _up_to_pooler(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[: parts.index("pooler") + 1])


def _check_fit(name: str, *, missing: Sequence[str], left: Sequence[str], misshapen: Sequence[str]) -> None:
    said = []
    if missing:
        said.append(f"lack {len(missing)} of the tensors that its config.json asks for ({_some(missing)})")
    if left:
        said.append(f"hold {len(left)} that it does not ask for ({_some(left)})")
    if misshapen:
        said.append(f"hold {len(misshapen)} of another shape ({_some(misshapen)})")
    if said:
        raise ValueError(
            f"encoder must hold all weights of its body, and no others; got {name!r}, whose weights "
            f"{' and '.join(said)}; {_WOULD_DO}"
        )


def _some(names: Sequence[str]) -> str:
    return one_line(", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else ""))


@contextlib.contextmanager
def said_in_one_line(name: str) -> Iterator[None]:
    """What transformers raises while it makes a model, whatever it is, in one line."""
    try:
        with quiet():
            yield
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise
        reason = one_line(str(error)) or type(error).__name__
        raise ValueError(f"encoder {name!r} cannot be made into a model ({reason}); {_WOULD_DO}") from error
