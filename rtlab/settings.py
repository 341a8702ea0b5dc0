"""Settings of a library by its own names, as a value: JSON that cannot be changed, so that it can be hashed."""

import types
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias, Union, get_args, get_origin

from rtlab.values import LARGEST_WHOLE, Json, is_number, shown

Setting: TypeAlias = "bool | int | float | str | tuple[Setting, ...] | Settings | None"


def fits(value: Json, hint: object) -> bool:
    """Whether a JSON value is of a type, as an annotation names it; of a library's own class any value may be.

    Any number is an `int` or a `float`, null is of every type, and a truth value is no number. Names in a `Literal` may
    have a part in brackets, such as `niter_[number]`, which stands for any text: then any text fits.
    """
    parts = get_args(hint)
    match get_origin(hint) or hint:
        case _ if value is None:
            return True
        case origin if origin in (Union, types.UnionType):
            return any(fits(value, part) for part in parts)
        case origin if origin is Literal:
            open_ended = isinstance(value, str) and any("[" in str(part) for part in parts)
            return open_ended or any(type(value) is type(part) and value == part for part in parts)
        case origin if origin is list:
            return isinstance(value, list) and all(fits(one, part) for one in value for part in parts[:1])
        case origin if origin is dict:
            return isinstance(value, Mapping)
        case origin if origin is bool or origin is str:
            return isinstance(value, origin)
        case origin if origin is int or origin is float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case origin:
            return origin is not types.NoneType


def in_words(hint: object) -> str:
    """What an annotation asks for in JSON, such as `true or false` or `a number or a list`."""
    parts = get_args(hint)
    match get_origin(hint) or hint:
        case origin if origin in (Union, types.UnionType):
            return " or ".join(dict.fromkeys(in_words(part) for part in parts if part is not types.NoneType))
        case origin if origin is Literal:
            return " or ".join(map(str, parts))
        case origin if origin is int or origin is float:
            return "a number"
        case origin:
            named: dict[object, str] = {bool: "true or false", str: "a text", list: "a list", dict: "an object"}
            return named.get(origin) or str(getattr(origin, "__name__", origin))


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
