"""Help: what it costs, however many verbs there are, and what it says where docstrings are gone."""

import dataclasses
import sys
from typing import Union, get_args

import pytest
import tyro

from rtlab import cli

VERBS = [verb.__name__.lower() for verb in get_args(cli.Verb)]


@pytest.fixture
def parsers(monkeypatch):
    """The classes that the parser is asked for."""
    asked, whole = [], tyro.cli
    monkeypatch.setattr(tyro, "cli", lambda of, **options: asked.append(of) or whole(of, **options))
    return asked


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_builds_no_parser_of_another(rtlab, parsers, verb):
    rtlab(verb, "--help")
    assert [of.__name__.lower() for of in parsers] == [verb]


def test_what_is_wrong_is_said_by_all_verbs_together(rtlab, parsers):
    done = rtlab("finetune", "--lora-alpha", "4")
    assert (done.status, done.out) == (2, "")
    assert "lora --help" in done.err
    assert parsers[-1] == cli.Verb


def calls(arguments):
    """How many functions a command line calls: what it takes, on a busy machine too."""
    number = 0

    def count(_frame, event, _argument):
        nonlocal number
        number += event == "call"

    sys.setprofile(count)
    try:
        assert cli.main(arguments) == 0
    finally:
        sys.setprofile(None)
    return number


def test_help_stays_cheap_however_many_verbs_there_are(monkeypatch, capsys):
    """A quarter of a million calls take some 0.2 s; most of them are the imports that the first one makes."""
    few, one = calls(["--help"]), calls(["svm", "--help"])
    more = [
        dataclasses.make_dataclass(f"More{number}", [("field", int, 1)], namespace={"__doc__": "Does more."})
        for number in range(40)
    ]
    monkeypatch.setattr(cli, "Verb", Union[(*get_args(cli.Verb), *more)])
    many = calls(["--help"])
    assert few < 250_000
    assert many - few < 40 * 3000
    assert calls(["svm", "--help"]) < 2 * one
    assert "more39" in capsys.readouterr().out


def test_help_under_oo_is_the_same(run_python):
    """It takes the docstrings away."""
    code = "import sys; from rtlab.cli import main; sys.exit(main(sys.argv[1:]))"
    for words in (["--help"], ["lora", "--help"]):
        plain, stripped = run_python(code, *words), run_python(code, *words, PYTHONOPTIMIZE="2")
        assert stripped.returncode == 0
        assert stripped.stdout == plain.stdout
