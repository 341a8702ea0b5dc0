"""Settings of a library by its own names, as a value: JSON that cannot be changed, so that it can be hashed."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from rtlab.values import LARGEST_WHOLE, Json, is_number, shown

Setting: TypeAlias = "bool | int | float | str | tuple[Setting, ...] | Settings | None"


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
