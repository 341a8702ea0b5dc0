"""What values are made of: JSON's types, dataclasses out of JSON and back, and the checks that fields share.

Reading is strict: a field that is missing without a default, unknown, or of another type is refused. A message names
the field, what was given and what would do.
"""

import dataclasses
import sys
import types
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from math import inf
from typing import Literal, TypeAlias, TypeGuard, TypeVar, Union, get_args, get_origin

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Reader: TypeAlias = Callable[[Json, str, str], object]
T = TypeVar("T")

LARGEST_WHOLE = 2**63 - 1  # beyond it, readers of JSON make another number of it
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
DEEPEST = 20  # lists and objects within each other, where a field is any JSON


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number, and no bool."""
    # An integer may be finite and yet beyond all floats.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def check_whole(name: str, value: object, *, at_least: int = 1) -> None:
    """Refuse (`ValueError`) what is no whole number of at least `at_least`, or is beyond 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}; got {shown(value)}")
    if value > LARGEST_WHOLE:
        raise ValueError(f"{name} must be a whole number of at most {LARGEST_WHOLE}; got {shown(value)}")


def check_one_of(name: str, value: object, known: Sequence[object]) -> None:
    """Refuse (`ValueError`) what is none of the known values."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}; got {shown(value)}")


def check_utf8(name: str, text: str) -> None:
    """Refuse (`ValueError`) half a surrogate pair, which is how bytes that are no UTF-8 come from a command line."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text in UTF-8; got {shown(text)}") from None


def shown(value: object) -> str:
    """A value as an error shows it: its beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def visible(text: str, *, keep: str = "\n\t") -> str:
    """A text without what could move a cursor, reverse the writing, hide, or is no character: U+FFFD stands there.

    Those are Unicode's categories Cc, Cf, Cs, Co, Cn, Zl and Zp, and the letters and marks that are shown as nothing
    (Default_Ignorable_Code_Point but for variation selectors, which choose how the character before them looks).

    Args:
        text: What is to be shown.
        keep: Control characters that stay.
    """
    if text.isprintable() and (text.isascii() or _BLANK.isdisjoint(text)):
        return text
    return text.translate(_signs(keep))


class _Signs(dict[int, int]):
    """For each character that was met, the one that stands in its place; a table for `str.translate`."""

    def __missing__(self, code: int) -> int:
        self[code] = code if _is_seen(chr(code)) else 0xFFFD
        return self[code]


@cache
def _signs(keep: str) -> _Signs:
    return _Signs({ord(sign): ord(sign) for sign in keep})


def _is_seen(sign: str) -> bool:
    if sign.isascii():
        return sign.isprintable()
    kind = unicodedata.category(sign)
    return kind[0] != "C" and kind not in ("Zl", "Zp") and sign not in _BLANK


def clean(text: object) -> str:
    """A value's text as one line that a screen only shows, as `visible`; what separates words becomes one blank."""
    return visible(" ".join(str(text).split()), keep="")


def one_line(text: str) -> str:
    """A text as `clean` gives it, of no more than 500 characters."""
    line = clean(text[:10_000])
    return line if len(line) <= 500 else f"{line[:497]}..."


def to_json(value: object) -> Json:
    """A dataclass, or what its fields hold, as JSON types; tuples become lists."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    assert value is None or isinstance(value, bool | int | float | str), f"{type(value).__name__} is not JSON"
    return value


def from_json(of: type[T], value: Json, name: str) -> T:
    """The dataclass that `to_json` wrote; a field that is not there has its default.

    A union of dataclasses is told apart by a field `kind`, the class's name in lower case.

    Args:
        of: The dataclass.
        value: What was read.
        name: What the value is called in messages.

    Raises:
        ValueError: If the value does not fit the class's annotations, or the class refuses it.
    """
    found: T = _dataclass(of, value, name)
    return found


def _dataclass(of: type[T], value: Json, name: str) -> T:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object with fields; got {shown(value)}")
    readers, needed = _fields(of)  # type: ignore[arg-type]  # a class can be hashed
    if unknown := value.keys() - readers.keys():
        named = ", ".join(field[:40] for field in sorted(unknown)[:5])
        raise ValueError(f"{name} has no field {named}; its fields are {', '.join(sorted(readers))}")
    if missing := needed - value.keys():
        raise ValueError(f"{name} lacks the field {', '.join(sorted(missing))}")
    return of(**{field: readers[field](part, name, field) for field, part in value.items()})


@cache
def _fields(of: type) -> tuple[Mapping[str, Reader], frozenset[str]]:
    """What reads each field, and the fields without a default."""
    fields = dataclasses.fields(of)
    unset = dataclasses.MISSING
    needed = frozenset(field.name for field in fields if field.default is unset and field.default_factory is unset)
    readers = {field.name: _reader(field.type) for field in fields}  # type: ignore[arg-type]  # and so can a type
    return readers, needed


@cache
def _reader(of: object) -> Reader:
    """What reads a value of this type: made once, as a folder of records holds a million values.

    It is given the value, what holds it and its name there, which are put together only where they are needed.
    """
    if isinstance(of, str):  # a type that is named by a text is any JSON
        return _any_json
    if of is float:
        return _float
    if of in (str, bool, int):
        return partial(_plain, of)
    if isinstance(of, type) and dataclasses.is_dataclass(of):
        return lambda value, holder, field: _dataclass(of, value, f"{holder}.{field}")
    origin, parts = get_origin(of), get_args(of)
    if origin is Literal:
        return partial(_literal, parts)
    if origin in (Union, types.UnionType):
        return _one_of_several(parts)
    if origin is tuple:
        return partial(_tuple, _reader(parts[0]), of)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return partial(_mapping, _reader(parts[1]), of)
    raise AssertionError(f"no JSON is read as {of}")


def _refused(of: object, value: Json, holder: str, field: str) -> ValueError:
    return ValueError(f"{holder}.{field} must be {_called(of)}; got {shown(value)}")


def _any_json(value: Json, holder: str, field: str) -> Json:
    if isinstance(value, list | Mapping):
        _check_depth(value, f"{holder}.{field}", DEEPEST)
    return value


def _float(value: Json, holder: str, field: str) -> float:
    if (type(value) is float and -inf < value < inf) or is_number(value):
        return value
    raise _refused(float, value, holder, field)


def _plain(of: object, value: Json, holder: str, field: str) -> Json:
    if type(value) is of:
        return value
    raise _refused(of, value, holder, field)


def _literal(known: Sequence[object], value: Json, holder: str, field: str) -> Json:
    if type(value) is str and value in known:
        return value
    check_one_of(f"{holder}.{field}", value, known)
    return value


def _tuple(part: Reader, of: object, value: Json, holder: str, field: str) -> tuple[object, ...]:
    if isinstance(value, list):
        return tuple([part(one, holder, field) for one in value])
    raise _refused(of, value, holder, field)


def _mapping(part: Reader, of: object, value: Json, holder: str, field: str) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return {key: part(one, f"{holder}.{field}", key) for key, one in value.items()}
    raise _refused(of, value, holder, field)


def _one_of_several(kinds: Sequence[object]) -> Reader:
    """What reads a union: `None` and one other type, dataclasses by their kind, or JSON of several types."""
    others = [kind for kind in kinds if kind is not type(None)]
    empty = len(others) < len(kinds)
    if len(others) == 1:
        only = _reader(others[0])
        return lambda value, holder, field: None if empty and value is None else only(value, holder, field)
    classes = {
        kind.__name__.lower(): kind for kind in others if dataclasses.is_dataclass(kind) and isinstance(kind, type)
    }

    def read(value: Json, holder: str, field: str) -> object:
        if not classes or (empty and value is None):
            return value  # JSON of several types, which the class that holds it checks
        name = f"{holder}.{field}"
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be an object with fields; got {shown(value)}")
        kind = value.get("kind")
        check_one_of(f"{name}.kind", kind, tuple(classes))
        return _dataclass(classes[str(kind)], {key: part for key, part in value.items() if key != "kind"}, name)

    return read


def _check_depth(value: Json, name: str, deepest: int) -> None:
    if deepest < 0:
        raise ValueError(f"{name} must have at most {DEEPEST} lists and objects within each other")
    if isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            _check_depth(part, name, deepest - 1)


def _called(of: object) -> str:
    names = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false"}
    if of in names:
        return names[of]
    return "a list" if get_origin(of) is tuple else "an object"
