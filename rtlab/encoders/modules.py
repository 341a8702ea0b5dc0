"""The modules of an encoder by the names that adapters take: ends of their full names, as PEFT matches them.

PEFT takes many of its settings as regular expressions, some of which never end, and passes over a name that matches
nothing. Here a name is a name: it must be that of a module that is there.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rtlab.encoders.loading import body_class, head_class, said_in_one_line, skeleton
from rtlab.methods import Adapter
from rtlab.settings import Setting
from rtlab.values import one_line, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from rtlab.encoders import Encoder

NAMES = ("_modules", "_pattern", "_to_save", "_parameters")  # how PEFT's settings end that name parts of a model
NORMS = "norms"  # a group of every architecture, for the one kind that adapts norms
_MAY_BE_ONE = ("layers_pattern",)  # PEFT takes these as one text, too, and as the name that it is


def target_modules(encoder: "Encoder", names: Sequence[str], peft_type: str = "LORA") -> tuple[str, ...]:
    """Resolve an adapter's target modules: groups to this architecture's names, names checked against its layers.

    Args:
        encoder: The encoder that is adapted.
        names: Module names, or the groups `attention` and `attention+mlp`; for `LN_TUNING` also `norms`.
        peft_type: PEFT's name of the kind of adapter.

    Returns:
        Name suffixes as PEFT takes them, without repeats.

    Raises:
        ValueError: If a name matches no linear layer of the encoder, for `LN_TUNING` no norm either; the message lists
            those there are.
    """
    there, groups = _adaptable(encoder, peft_type)
    resolved = tuple(dict.fromkeys(module for name in names for module in groups.get(name, (name,))))
    unknown = [name for name in resolved if not _is_among(there, name)]
    if not there:
        raise ValueError(
            f"target_modules must be linear layers; got {', '.join(names)} for encoder {encoder.name}, of type "
            f"{encoder.config.model_type}, which has none in its transformer layers; full fine-tuning would do"
        )
    if unknown:
        raise ValueError(
            f"target_modules must be among {', '.join([*_short_names(there), *groups])} for encoder {encoder.name}; "
            f"got {', '.join(map(one_line, unknown))}"
        )
    return resolved


def are_modules(encoder: "Encoder", names: Sequence[str], peft_type: str) -> bool:
    """Whether all names are of modules that a kind of adapter can adapt."""
    there, _ = _adaptable(encoder, peft_type)
    return all(_is_among(there, name) for name in names)


def _adaptable(encoder: "Encoder", peft_type: str) -> tuple[tuple[str, ...], Mapping[str, Sequence[str]]]:
    """Full names of the modules that a kind of adapter can adapt, and the groups of them."""
    linear = _repeated(encoder, _is_linear)
    groups = _groups(encoder, linear)
    norms = _repeated(encoder, _is_norm) if peft_type == "LN_TUNING" else ()
    return (*linear, *norms), {**groups, NORMS: _short_names(norms)} if norms else groups


def _groups(encoder: "Encoder", linear: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """This architecture's groups; what its configuration leaves out, such as relative positions, is in none."""
    if encoder.architecture is None:
        return {}
    groups = encoder.architecture.groups.items()
    there = {group: [module for module in modules if _is_among(linear, module)] for group, modules in groups}
    return {group: modules for group, modules in there.items() if modules}


def _is_among(full_names: Iterable[str], name: str) -> bool:
    return any(full == name or full.endswith(f".{name}") for full in full_names)


def _repeated(encoder: "Encoder", of: "Callable[[nn.Module], bool]") -> tuple[str, ...]:
    """Full names of a kind of modules that repeat per transformer layer (so no pooler, no embedding projection)."""
    with said_in_one_line(encoder.name):
        model = skeleton(body_class(encoder.config), encoder.config)
    return tuple(name for name, module in model.named_modules() if of(module) and re.search(r"\.\d+\.", name))


def _is_linear(module: "nn.Module") -> bool:
    from torch import nn

    return isinstance(module, nn.Linear)


def _is_norm(module: "nn.Module") -> bool:
    return type(module).__name__.endswith("Norm")  # torch's, and those that architectures bring


def _short_names(modules: Sequence[str]) -> list[str]:
    """Short names of one layer's modules: the last part where that says which one it is."""
    within = dict.fromkeys(re.split(r"\.\d+\.", name, maxsplit=1)[1] for name in modules)
    last = Counter(name.rpartition(".")[2] for name in within)
    return [name.rpartition(".")[2] if last[name.rpartition(".")[2]] == 1 else name for name in within]


def check_settings(encoder: "Encoder", adapter: Adapter) -> None:
    """Refuse (`ValueError`) settings of an adapter that name a module or a layer that the encoder does not have.

    Args:
        encoder: The encoder that is adapted.
        adapter: Its kind and settings.
    """
    named = {name: value for name, value in adapter.settings.items() if name.endswith(NAMES) and value is not None}
    layers = adapter.settings.get("layers_to_transform")
    if not named and layers is None:
        return
    with said_in_one_line(encoder.name):
        model = skeleton(head_class(encoder.config, encoder.name), encoder.config)
    there = {name for name, _ in (*model.named_modules(), *model.named_parameters()) if name}
    for setting, value in named.items():
        for name in _names(setting, value):
            if not _is_among(there, name):
                raise ValueError(
                    f"{setting} must name modules of encoder {encoder.name}, no patterns; got {shown(name)}, which is "
                    f"none of it; {', '.join(_short_names(_repeated(encoder, _is_linear))[:3])} are some"
                )
    if layers is not None:
        _check_layers(encoder, layers)


def frozen(parameters: Sequence[str], layers: int) -> tuple[str, ...]:
    """Of the parameters of an encoder those of its first layers, and of what comes before these: its embeddings.

    Args:
        parameters: Their names, in the encoder's order.
        layers: Number of layers; with 0 nothing is frozen.
    """
    of_layer = [_layer(name) for name in parameters]
    first = next((at for at, number in enumerate(of_layer) if number is not None), len(parameters))
    return tuple(
        name
        for at, (name, number) in enumerate(zip(parameters, of_layer, strict=True))
        if layers and (at < first or (number is not None and number < layers))
    )


def check_frozen(encoder: "Encoder", layers: int, *, head: bool = True) -> None:
    """Refuse (`ValueError`) to freeze more layers than an encoder has, or such as it does not have one by one.

    Args:
        encoder: The encoder that is trained.
        layers: Number of layers.
        head: Whether a head is trained along; without one there has to be a layer that is.
    """
    with said_in_one_line(encoder.name):
        model = skeleton(body_class(encoder.config), encoder.config)
    there = {number for name, _ in model.named_parameters() if (number := _layer(name)) is not None}
    if there != set(range(getattr(encoder.config, "num_hidden_layers", 0))):
        raise ValueError(
            f"freeze_layers needs an encoder whose layers have weights of their own, one after another; got "
            f"{encoder.name}, of type {encoder.config.model_type}; 0 would do"
        )
    if layers > len(there):
        raise ValueError(
            f"freeze_layers must be at most {len(there)}, the layers of encoder {encoder.name}; got {layers}"
        )
    if layers == len(there) and not head:
        raise ValueError(
            f"freeze_layers must be at most {len(there) - 1}, the layers of encoder {encoder.name} but one, where no "
            f"head is trained along; got {layers}"
        )


def _layer(name: str) -> int | None:
    """Number of the transformer layer that a parameter is of."""
    number = re.search(r"\.(\d+)\.", name)
    return None if number is None else int(number[1])


def _names(setting: str, value: Setting) -> Iterable[str]:
    """The names in a setting: a list of them, or numbers by name."""
    match value:
        case str() if setting in _MAY_BE_ONE:
            return (value,)
        case Mapping():
            return value.keys()
        case tuple() if all(isinstance(name, str) for name in value):
            return tuple(name for name in value if isinstance(name, str))
    raise ValueError(f"{setting} must be a list of module names, or numbers by module name; got {shown(value)}")


def _check_layers(encoder: "Encoder", layers: Setting) -> None:
    there = {int(number) for name in _repeated(encoder, _is_linear) for number in re.findall(r"\.(\d+)\.", name)[:1]}
    asked = layers if isinstance(layers, tuple) else (layers,)
    if any(isinstance(number, bool) or number not in there for number in asked):
        raise ValueError(
            f"layers_to_transform must be layers of encoder {encoder.name}, 0 to {max(there)}; got {shown(layers)}"
        )
