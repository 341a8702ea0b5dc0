"""Values: dataclasses out of JSON and back, strictly, and the checks that fields share."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Literal

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.values import (
    DEEPEST,
    Json,
    check_one_of,
    check_whole,
    clean,
    from_json,
    is_number,
    one_line,
    shown,
    to_json,
    visible,
)


@dataclasses.dataclass(frozen=True)
class Small:
    number: float
    size: int = 1


@dataclasses.dataclass(frozen=True)
class Large:
    name: str
    flags: tuple[bool, ...] = ()
    colour: Literal["red", "green"] = "red"


@dataclasses.dataclass(frozen=True)
class Box:
    content: Small | Large
    spare: Small | None = None
    by_name: Mapping[str, Small] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    either: int | str = 0


FULL = {
    "content": {"kind": "large", "name": "a", "flags": [True, False], "colour": "green"},
    "spare": {"number": 1.5, "size": 2},
    "by_name": {"x": {"number": 2}},
    "notes": {"deep": [{"er": [None, "text", 1, 1.5]}]},
    "either": "text",
}


def changed(path, value):
    """`FULL` with the value at a path of names replaced."""
    found = json.loads(json.dumps(FULL))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return found


# Out of JSON


def test_dataclasses_are_read_by_their_annotations():
    assert from_json(Box, FULL, "box") == Box(
        content=Large("a", (True, False), "green"),
        spare=Small(1.5, 2),
        by_name={"x": Small(2, 1)},
        notes={"deep": [{"er": [None, "text", 1, 1.5]}]},
        either="text",
    )


def test_absent_means_default():
    assert from_json(Box, {"content": {"kind": "small", "number": 0.5}}, "box") == Box(content=Small(0.5))


def test_a_field_without_a_default_is_needed():
    with pytest.raises(ValueError, match=r"^box lacks the field content$"):
        from_json(Box, {}, "box")
    with pytest.raises(ValueError, match=r"^box\.spare lacks the field number$"):
        from_json(Box, changed(("spare",), {"size": 1}), "box")


def test_unknown_fields_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^box\.spare has no field colour, weight; its fields are number, size$"):
        from_json(Box, changed(("spare",), {"number": 1, "weight": 1, "colour": 1}), "box")


def test_endless_names_leave_the_known_ones_readable():
    with pytest.raises(ValueError, match=r"; its fields are number, size$") as error:
        from_json(Small, {f"{number:0>1000}": 1 for number in range(1000)}, "small")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("value", [True, "1", None, [], {}, math.nan, math.inf, -math.inf, 10**400], ids=shown)
def test_a_number_is_finite_and_no_other_type(value):
    with pytest.raises(ValueError, match=r"^box\.spare\.number must be a finite number; got "):
        from_json(Box, changed(("spare", "number"), value), "box")


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [], {}], ids=shown)
def test_a_whole_number_is_no_other_type(value):
    with pytest.raises(ValueError, match=r"^box\.spare\.size must be a whole number; got "):
        from_json(Box, changed(("spare", "size"), value), "box")


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", None, []], ids=shown)
def test_true_and_false_are_no_other_type(value):
    with pytest.raises(ValueError, match=r"^box\.content\.flags must be true or false; got "):
        from_json(Box, changed(("content", "flags"), [True, value]), "box")


@pytest.mark.parametrize("value", [1, True, None, ["a"]], ids=shown)
def test_a_text_is_no_other_type(value):
    with pytest.raises(ValueError, match=r"^box\.content\.name must be a text; got "):
        from_json(Box, changed(("content", "name"), value), "box")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("content", "flags"), "true", r"box\.content\.flags must be a list; got 'true'"),
        (("content", "flags"), {"a": True}, r"box\.content\.flags must be a list; got \{.*\}"),
        (("content", "colour"), "blue", r"box\.content\.colour must be one of red, green; got 'blue'"),
        (("content", "colour"), ["red"], r"box\.content\.colour must be one of red, green; got \['red'\]"),
        (("content", "kind"), "huge", r"box\.content\.kind must be one of small, large; got 'huge'"),
        (("content", "kind"), None, r"box\.content\.kind must be one of small, large; got None"),
        (("content",), 3, r"box\.content must be an object with fields; got 3"),
        (("content",), None, r"box\.content must be an object with fields; got None"),
        (("spare",), [1], r"box\.spare must be an object with fields; got \[1\]"),
        (("by_name",), [], r"box\.by_name must be an object; got \[\]"),
        (("by_name", "x"), 3, r"box\.by_name\.x must be an object with fields; got 3"),
        (("notes",), "text", r"box\.notes must be an object; got 'text'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_message_names_the_field_what_was_given_and_what_would_do(path, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        from_json(Box, changed(path, value), "box")


@pytest.mark.parametrize("value", [[], 1, "text", None, True], ids=repr)
def test_a_dataclass_is_an_object(value):
    with pytest.raises(ValueError, match=r"^box must be an object with fields; got "):
        from_json(Box, value, "box")


def nested(levels):
    value = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_where_any_json_may_stand_it_is_not_nested_without_end():
    deepest = from_json(Box, changed(("notes",), {"a": nested(DEEPEST)}), "box")
    assert deepest.notes == {"a": nested(DEEPEST)}
    for levels in (DEEPEST + 1, 500):
        with pytest.raises(ValueError, match=rf"^box\.notes\.a must have at most {DEEPEST} lists and objects within"):
            from_json(Box, changed(("notes",), {"a": nested(levels)}), "box")


@given(strategies.ANY_JSON)
def test_whatever_json_is_read_or_refused_in_a_sentence(value):
    for path in ((), ("content",), ("spare",), ("by_name",), ("by_name", "x"), ("content", "flags"), ("notes", "a")):
        try:
            found = from_json(Box, changed(path, value) if path else value, "box")
        except ValueError as error:
            assert str(error).startswith("box")  # noqa: PT017 — most values are refused, some are not
        else:
            again = from_json(Box, json.loads(json.dumps(to_json(found) | {"content": FULL["content"]})), "box")
            assert dataclasses.replace(again, content=found.content) == found


# Into JSON


def test_a_dataclass_becomes_an_object_and_a_tuple_a_list():
    assert to_json(Large("a", (True,), "green")) == {"name": "a", "flags": [True], "colour": "green"}
    assert to_json({"a": (Small(1.5), None)}) == {"a": [{"number": 1.5, "size": 1}, None]}


@given(strategies.ANY_JSON)
def test_json_stays_as_it_is(value):
    assert to_json(value) == value


def test_what_is_not_json_is_refused():
    with pytest.raises(AssertionError, match="set is not JSON"):
        to_json({"a": {1, 2}})


# The checks


@pytest.mark.parametrize("value", [0, -1.5, 10**300, 5e-324, -0.0])
def test_finite_numbers_are_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize(
    "value", [True, False, math.nan, math.inf, -math.inf, 10**400, -(10**400), "1", None, [1]], ids=shown
)
def test_bools_texts_and_what_no_float_holds_are_none(value):
    assert not is_number(value)


def test_whole_numbers_fit_into_64_bits():
    check_whole("size", 2**63 - 1)
    with pytest.raises(ValueError, match=r"^size must be a whole number of at most 9223372036854775807; got 92233720"):
        check_whole("size", 2**63)
    with pytest.raises(ValueError, match=r"^size must be a whole number of at least 4; got 3$"):
        check_whole("size", 3, at_least=4)
    for value in (True, 5.0, "5", None):
        with pytest.raises(ValueError, match=r"^size must be a whole number of at least 1; got "):
            check_whole("size", value)


def test_one_of_those_known():
    check_one_of("size", "s", ("s", "m"))
    with pytest.raises(ValueError, match=r"^size must be one of s, m; got 'l'$"):
        check_one_of("size", "l", ("s", "m"))


def test_an_error_shows_the_beginning_of_a_value():
    assert shown("a") == "'a'"
    assert shown("a" * 78) == f"'{'a' * 78}'"
    assert shown(list(range(1000))) == f"{str(list(range(1000)))[:77]}..."


@given(st.text(st.characters(exclude_categories=()), max_size=600))
def test_one_line_is_one_line_that_a_terminal_only_shows(text):
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 500
    assert len(line.splitlines()) <= 1


def test_one_line_leaves_what_is_one():
    assert one_line("box lacks the field 'größe'") == "box lacks the field 'größe'"
    assert one_line("a\n  b\tc\x1b[31m") == "a b c\ufffd[31m"
    assert one_line("a" * 501) == "a" * 497 + "..."


HIDDEN = {
    "escape sequence": "\x1b[2J",
    "carriage return": "\r",
    "backspace": "\x08",
    "NUL": "\0",
    "C1 control": "\x9b31m",
    "next line": "\x85",
    "right-to-left override": "\u202e",
    "isolate": "\u2067",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "tag": "\U000e0041",
    "line separator": "\u2028",
    "half a pair": "\udc80",
    "private use": "\ue000",
    "filler": "\u3164",
    "joiner without a width": "\u034f",
}


@pytest.mark.parametrize("sign", HIDDEN.values(), ids=HIDDEN)
def test_nothing_hidden_is_shown(sign):
    text = f"a{sign}b\n\tc"
    for made in (visible(text), clean(text), one_line(text)):
        assert sign not in made.replace("\n", "")
        assert made.startswith("a")
        assert made.endswith("c")
    assert visible(text).count("\n") == 1


@pytest.mark.parametrize("text", ["größer 10 €", "日本語　全角", "naïve\xa0café", "✈️ \u0301", "| `a` |\n|---|"])
def test_what_can_be_seen_stays(text):
    assert visible(text) == text
