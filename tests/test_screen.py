"""What reaches a terminal, whatever is printed; streams that are closed, full, or of few characters."""

import io
import json
import os
import shutil
import subprocess
import sys

import lab_records
import pytest
import small

from rtlab.cli.screen import Screen
from rtlab.records import load, save

NASTY = "red \x1b[31m \x1b]0;title\x07 \u202egnp.exe \u200b \x9b2J \0 \r back \ud800 end"
RAW = set("\x1b\x07\u202e\u200b\x9b\0\r\ud800")


def screen(encoding="utf-8", errors="strict", *, bars=False, terminal=False):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors=errors, newline="")
    stream.isatty = lambda: terminal
    return Screen(stream, "standard output", bars=bars), written


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252", "utf-16"])
def test_a_terminal_only_shows_what_is_printed(encoding):
    shown, written = screen(encoding)
    print(NASTY, "10 ± 1 → 電影", sep="\n", file=shown, flush=True)
    text = written.getvalue().decode(encoding)
    assert not RAW & set(text)
    assert text.count("\n") == 2
    assert text.startswith("red ")
    assert ("±" in text) == (encoding != "ascii")
    assert ("→" in text) == encoding.startswith("utf")
    assert ("\\u2192" in text) != encoding.startswith("utf")


@pytest.mark.parametrize("terminal", [False, True])
def test_bars_may_go_back_on_a_terminal_alone(terminal):
    shown, written = screen(bars=True, terminal=terminal)
    print("50 %\r\x1b[A", end="", file=shown, flush=True)
    assert written.getvalue().decode() == ("50 %\r\ufffd[A" if terminal else "50 %\ufffd\ufffd[A")
    assert shown.isatty() == terminal


def test_an_error_of_the_system_names_the_stream():
    def full():
        raise OSError(28, "No space left on device")

    shown, _ = screen()
    shown._stream.flush = full
    with pytest.raises(OSError, match=r"No space left on device: 'standard output'"):
        print("text", file=shown, flush=True)


# The command line, in a process of its own


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results whose one record has names that no terminal should get."""
    folder = tmp_path_factory.mktemp("results")
    record = lab_records.made(lab_records.SVM, encoder=NASTY.replace("\ud800", ""))
    save(record, folder / "records")
    return folder


def shell(line, folder, **changes):
    """A line for the shell, in which `rtlab` is this program."""
    command = f'rtlab() {{ {sys.executable} -m rtlab "$@"; }}; {line}'
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | changes
    variables = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=variables, capture_output=True, check=False)


def in_short(cases, *always):
    """Parameters of which only some are in the quick tests: each is a process of its own."""
    return [
        pytest.param(case, id=name, marks=() if name in always else pytest.mark.thorough)
        for name, case in cases.items()
    ]


ENCODINGS = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "UTF-8": {"PYTHONIOENCODING": "utf-8"},
}


@pytest.mark.parametrize("variables", in_short(ENCODINGS, "C"))
def test_tables_in_any_locale(results, variables):
    done = shell("rtlab tables --results .", results, **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(variables["PYTHONIOENCODING"] or "ascii")
    assert not RAW & set(text)
    assert "red " in text


FULL = {
    "rtlab tables --results . >/dev/full": "rtlab: [Errno 28] No space left on device: 'standard output'\n",
    "rtlab claims --results . --json - >/dev/full": "rtlab: [Errno 28] No space left on device: 'standard output'\n",
    "rtlab claims --results . --json /dev/full": "rtlab: [Errno 28] No space left on device: '/dev/full'\n",
    "rtlab tables --results . --csv /dev/full": "rtlab: [Errno 28] No space left on device: '/dev/full'\n",
    "rtlab tables --results . >&-": "rtlab: [Errno 9] Bad file descriptor: 'standard output'\n",
}


@pytest.mark.parametrize("line", in_short({line: line for line in FULL}, *list(FULL)[2:4:1], list(FULL)[4]))
def test_a_full_or_closed_stream_is_a_line(results, line):
    done = shell(line, results)
    assert (done.returncode, done.stderr.decode()) == (1, FULL[line])


@pytest.mark.parametrize(
    "line", ["rtlab claims --results . --json out.json {}", "rtlab claims --results . --json - {}"]
)
@pytest.mark.parametrize("closed", in_short({streams: streams for streams in ("<&-", "2>&-", "<&- 2>&-")}, "<&- 2>&-"))
def test_streams_that_are_closed_and_not_needed_do_not_matter(results, line, closed):
    done = shell(line.format(closed), results)
    assert done.returncode == 0
    if "out.json" in line:
        assert json.loads((results / "out.json").read_text())
        (results / "out.json").unlink()
    else:
        assert json.loads(done.stdout)


def test_a_result_that_cannot_be_printed_is_still_in_its_file(results):
    done = shell("rtlab claims --results . --json out.json >/dev/full", results)
    assert done.returncode == 1
    assert json.loads((results / "out.json").read_text())
    (results / "out.json").unlink()


def test_a_result_that_cannot_be_written_is_still_printed(results):
    done = shell("rtlab claims --results . --json /dev/full", results)
    assert (done.returncode, b"claim" in done.stdout) == (1, True)


def test_a_run_whose_result_cannot_be_written_is_printed_and_names_its_record(rtlab, tmp_path):
    data = small.data_folder(tmp_path / "reviews")
    done = rtlab("svm", "--encoder", "tiny-distilbert", "--dataset", data, "--device", "cpu", "--json", "/dev/full")
    [path] = (tmp_path / "results" / "records").glob("*.json")
    where = path.relative_to(tmp_path)
    last = f"rtlab: [Errno 28] No space left on device: '/dev/full'; record {where}"
    assert (done.status, done.err.splitlines()[-1]) == (1, last)
    assert f"record  {where}" in done.out


@pytest.mark.thorough
def test_a_run_whose_result_cannot_be_printed_names_its_record(tmp_path):
    data = small.data_folder(tmp_path / "reviews")
    line = f"rtlab svm --encoder tiny-distilbert --dataset {data} --device cpu --json - >&- 2>err"
    done = shell(line, tmp_path)
    assert done.returncode == 1
    [path] = (tmp_path / "results" / "records").glob("*.json")
    assert load(path).status == "ok"
    last = (tmp_path / "err").read_text().splitlines()[-1]
    assert last == f"rtlab: [Errno 9] Bad file descriptor: 'standard output'; record {path.relative_to(tmp_path)}"


@pytest.mark.parametrize(
    ("words", "status"),
    [(("words", "--dataset", "whole.csv"), 0), (("explore", "--nope"), 2), (("svm", "--dataset", "gone"), 2)],
)
def test_nobody_reads_standard_error(tmp_path, words, status):
    """A note, progress or an error that nobody reads ends nothing and changes no status."""
    folder = small.data_folder(tmp_path / "reviews")
    shutil.copy(folder / "train.csv", tmp_path / "whole.csv")  # its splits are cut, which is said
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "rtlab", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=writer, check=False
    )
    os.close(writer)
    assert done.returncode == status
    if status == 0:
        [path] = (tmp_path / "results" / "records").glob("*.json")
        assert load(path).status == "ok"


def test_a_working_directory_that_is_gone(tmp_path):
    (tmp_path / "gone").mkdir()
    done = shell("cd gone; rmdir ../gone; rtlab svm", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"rtlab: the working directory is no longer there; cd to one that is\n"


def test_a_name_of_a_file_in_an_error_is_only_shown(tmp_path):
    done = shell(
        "rtlab explore --dataset $'nope\\e[2J' --nope $'\\e[31m'; rtlab tables --results $'nope\\e[2J'", tmp_path
    )
    assert done.returncode == 2
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stderr.count("\ufffd[2J".encode()) == 1


def test_words_that_are_no_utf8_are_refused(rtlab):
    done = rtlab("probe", "--encoder", "tiny-distilbert", "--sample-text", os.fsdecode(b"a \xff\xfe b"))
    assert (done.status, done.out) == (2, "")
    assert done.err == "rtlab: --sample-text must be text in UTF-8; got 'a \\udcff\\udcfe b'\n"


@pytest.mark.parametrize(
    "line",
    in_short(
        {line: line for line in ("svm", "explore", "probe", "sweep smoke --dry-run", "predict x --model x")}, "svm"
    ),
)
def test_under_oo_what_needs_transformers_is_refused(tmp_path, line):
    done = shell(f"rtlab {line}", tmp_path, PYTHONOPTIMIZE="2")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"rtlab: python -OO takes away docstrings")
    assert list(tmp_path.iterdir()) == []


def test_under_oo_tables_are_the_same(results):
    plain, stripped = (shell("rtlab tables --results .", results, PYTHONOPTIMIZE=level) for level in ("0", "2"))
    assert (stripped.returncode, stripped.stdout) == (0, plain.stdout)


IMPORT_INTERRUPTED = """
import builtins, sys
plain = builtins.__import__
def interrupted(name, *rest):
    if name == "rtlab.cli":
        raise KeyboardInterrupt
    return plain(name, *rest)
from rtlab.__main__ import main
builtins.__import__ = interrupted
sys.exit(main())
"""


def test_an_interrupt_while_the_program_is_loaded_is_no_traceback(run_python):
    done = run_python(IMPORT_INTERRUPTED)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_while_words_are_read_is_no_traceback(rtlab, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.cli", interrupt)
    done = rtlab("svm")
    assert (done.status, done.out, done.err) == (130, "", "rtlab: interrupted\n")
