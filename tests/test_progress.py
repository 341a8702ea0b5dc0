"""Bars on a terminal, lines at the quarters elsewhere."""

import io

import pytest

from rtlab.progress import Bars


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def shown(stream, *phases):
    """What is written on a stream while phases of (name, total) go from 1 to their end."""
    with Bars(stream) as bars:
        for name, total in phases:
            for done in range(1, total + 1):
                bars.update(name, done, total)
    return stream.getvalue()


def test_elsewhere_a_line_at_every_quarter():
    assert shown(io.StringIO(), ("training", 8)) == "training 2/8\ntraining 4/8\ntraining 6/8\ntraining 8/8\n"


@pytest.mark.parametrize(
    ("total", "lines"),
    [(1, ["1/1"]), (2, ["1/2", "2/2"]), (3, ["1/3", "2/3", "3/3"]), (5, ["2/5", "3/5", "4/5", "5/5"])],
)
def test_elsewhere_short_phases_have_no_more_lines_than_units(total, lines):
    assert shown(io.StringIO(), ("fit", total)).split("fit ")[1:] == [f"{line}\n" for line in lines]


def test_elsewhere_each_phase_has_its_own_quarters():
    text = shown(io.StringIO(), ("features of train", 4), ("features of test", 4))
    assert text.splitlines() == [f"features of {split} {n}/4" for split in ("train", "test") for n in (1, 2, 3, 4)]


def test_elsewhere_a_jump_is_one_line_and_a_step_within_a_quarter_none():
    stream = io.StringIO()
    with Bars(stream) as bars:
        for done in (1, 70, 71, 74, 75, 100, 100):
            bars.update("fit", done, 100)
    assert stream.getvalue().splitlines() == ["fit 70/100", "fit 75/100", "fit 100/100"]


def test_a_note_stands_beside_and_elsewhere_gives_each_step_its_line():
    for stream, wanted in (
        (io.StringIO(), "runs 1/9, 2 hours left\nruns 2/9, 1 hour left\n"),
        (Terminal(), "2/9 [00:00<00:00"),
    ):
        with Bars(stream) as bars:
            bars.update("runs", 1, 9, note="2 hours left")
            bars.update("runs", 2, 9, note="1 hour left")
        text = stream.getvalue()
        assert text == wanted if not stream.isatty() else "1 hour left" in text


def test_elsewhere_what_begins_is_a_line_and_a_terminal_has_its_bars():
    for stream, wanted in ((io.StringIO(), "words, 3 min left\n"), (Terminal(), "")):
        with Bars(stream) as bars:
            bars.begun("words, 3 min left")
        assert stream.getvalue() == wanted


def test_elsewhere_lines_appear_at_once():
    flushed = []
    stream = io.StringIO()
    stream.flush = lambda: flushed.append(stream.getvalue())
    with Bars(stream) as bars:
        bars.update("fit", 1, 2)
        assert flushed[-1] == "fit 1/2\n"


def test_a_terminal_has_a_bar_for_each_phase_that_ends_full():
    text = shown(Terminal(), ("training", 8), ("evaluating test", 3))
    lines = text.splitlines()
    training = [line for line in lines if "training" in line]
    evaluating = [line for line in lines if "evaluating test" in line]
    assert "100%" in training[-1]
    assert "8/8" in training[-1]
    assert "3/3" in evaluating[-1]
    assert text.index("evaluating") > text.rindex("8/8")
    assert text.endswith("\n")  # the last bar is closed


def interrupted(stream):
    with Bars(stream) as bars:
        bars.update("training", 3, 8)
        raise KeyboardInterrupt


def test_a_terminals_bar_stops_where_the_run_does():
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt):
        interrupted(stream)
    last = stream.getvalue().split("\r")[-1]
    assert "3/8" in last
    assert last.endswith("\n")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["elsewhere", "terminal"])
def test_nothing_done_is_nothing_written(stream):
    assert shown(stream) == ""


def test_a_run_goes_on_where_nobody_looks_any_more():
    stream = io.StringIO()

    def gone(_):
        raise BrokenPipeError

    stream.write = gone
    assert shown(stream, ("fit", 8)) == ""
