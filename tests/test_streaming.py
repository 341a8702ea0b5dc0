"""Sentences as they come: order, places, what is not decoded, and memory that is that of a window."""

import io
import json
import os
import select
import signal
import tracemalloc

import numpy as np
import pytest
import small

import rtlab
from rtlab.running import model_folder
from rtlab.saved_models.opening import load_model
from rtlab.saved_models.predicting import NotFiniteError
from rtlab.saved_models.streaming import AT_ONCE, LONGEST_LINE, label_windows, lines, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    record = rtlab.run(
        small.experiment(small.data_folder(place / "reviews"), max_steps=2), output_dir=place, save_model=True
    )
    return model_folder(place, record)


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder, device="cpu")


def texts(stream, name="-"):
    return [item.text for window in lines(stream, name) for item in window]


# Lines


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a film", ["a film"]),
        (b"a film\n", ["a film"]),
        (b"\n", [""]),
        (b"a\n\n \t\nb\n", ["a", "", "", "b"]),
        (b"  a  \r\nb\r\n", ["a", "b"]),
        ("\ufeffa\n\ufeffb\n".encode(), ["a", "\ufeffb"]),
        (
            "dull \u0085 and\u2028long \x0b x\n\u00e9t\u00e9".encode(),
            ["dull \u0085 and\u2028long \x0b x", "\u00e9t\u00e9"],
        ),
        (b"a\rb\n", ["a\rb"]),
        (b"a\x00b\n", ["a\x00b"]),
    ],
)
def test_a_line_feed_alone_ends_a_sentence(data, expected):
    assert texts(io.BytesIO(data)) == expected
    assert texts(Trickle(data, 1)) == expected


class Trickle(io.BytesIO):
    """A stream that has so many bytes at a time, as a pipe does, and counts how often it was read."""

    def __init__(self, data, size):
        super().__init__(data)
        self.size, self.reads = size, 0

    def read1(self, size=-1):
        self.reads += 1
        return super().read1(min(self.size, size))


def test_what_is_there_is_given_before_more_is_read():
    stream = Trickle(b"a fine film\n" * 10, 36)  # three lines at a time
    found = lines(stream, "-")
    assert len(next(found)) == 3
    assert stream.reads == 1
    assert [len(window) for window in found] == [3, 3, 1]


def test_memory_is_that_of_a_window():
    """10 MB of lines, and what is held is a window of them."""
    line = b"never dull , and for all its length a quietly moving film\n"
    windows = 40

    class Endless(io.BytesIO):
        left = windows

        def read1(self, size=-1):
            self.left -= 1
            return line * (size // len(line)) if self.left >= 0 else b""

    tracemalloc.start()
    try:
        many = sum(len(window) for window in lines(Endless(), "-"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert many == windows * (AT_ONCE // len(line))
    assert peak < 2**23


@pytest.mark.parametrize(
    ("data", "before", "where"),
    [
        (b"caf\xe9\n", [], "line 1, byte 4: 0xe9 is not UTF-8"),
        (b"a\nb\ncaf\xe9\nc\n", ["a", "b"], "line 3, byte 4: 0xe9 is not UTF-8"),
        (b"a\nb\n\xc3", ["a", "b"], "line 3, byte 1: 0xc3 is not UTF-8"),
        ("a\n".encode("utf-16"), [], "line 1, byte 1: 0xff is not UTF-8"),
        (b"a\n" + b"x" * (LONGEST_LINE + 2), ["a"], "line 2 has more than 16,777,216 bytes"),
    ],
    ids=["latin-1", "third line", "cut off", "utf-16", "endless line"],
)
@pytest.mark.parametrize("size", [3, AT_ONCE])
def test_a_line_that_is_no_text_is_named_and_those_before_it_are_given(data, before, where, size):
    found, given = [], lines(Trickle(data, size if len(data) < 100 else AT_ONCE), "name.txt")
    with pytest.raises(ValueError, match=rf"^file must be a readable UTF-8 text, .*; got name.txt \({where}\)$"):
        found.extend(item.text for window in given for item in window)
    assert found == before


def test_a_stream_that_cannot_be_read():
    class Broken(io.BytesIO):
        def read1(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(ValueError, match=r"^file must be a readable .*; got - \(\[Errno 5\] Input/output error\)$"):
        texts(Broken())


# Labels


def labelled(model, data, size=AT_ONCE):
    return [pair for window in label_windows(model, lines(Trickle(data, size), "-")) for pair in window]


@pytest.mark.parametrize("size", [1, 50, AT_ONCE])
def test_labels_are_those_of_the_sentences_one_by_one_in_their_order(model, folder, size):
    sentences = ["never dull .", "a", "a long two hours that never come to an end , and a dull film .", "moving"] * 5
    found = labelled(model, "\n".join(sentences).encode(), size)
    assert [item.text for item, _ in found] == sentences
    for (item, one), expected in zip(found, rtlab.predict(folder, sentences, device="cpu"), strict=True):
        assert (one.text, one.label) == (item.text, expected.label)
        assert one.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


@pytest.mark.parametrize("size", [1, AT_ONCE])
def test_blank_lines_keep_their_place(model, size):
    found = labelled(model, b"\n\na\n \nb\n\n", size)
    assert [item.text for item, _ in found] == ["", "", "a", "", "b", ""]
    assert [one is None for _, one in found] == [True, True, False, True, False, True]


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\n\t\n"])
def test_no_sentence_at_all_is_an_error_before_anything_is_given(model, data):
    with pytest.raises(ValueError, match="sentences must hold at least one; got none"):
        next(label_windows(model, lines(io.BytesIO(data), "-")))


def test_a_sentence_without_scores_is_named_by_its_line_and_those_before_it_are_given(model, monkeypatch):
    def scores(sentences):
        return np.array([[np.nan if "odd" in text else 1.0, 0.0] for text in sentences])

    monkeypatch.setattr("rtlab.saved_models.opening.EncoderModel.logits", lambda _, sentences: scores(sentences))
    found = []
    with pytest.raises(NotFiniteError, match=r"scores of line 4 are not finite"):
        found.extend(
            pair for window in label_windows(model, lines(io.BytesIO(b"a\n\nb\nodd\nc\n"), "-")) for pair in window
        )
    assert [item.text for item, _ in found] == ["a", "", "b"]


def test_words_are_windows_of_their_own():
    assert [[item.text for item in window] for window in words(["a", "b"])] == [["a"], ["b"]]
    with pytest.raises(ValueError, match=r"^sentences must be texts of valid Unicode; got for sentence 2 '\\udce9'"):
        list(words(["a", "\udce9"]))


# The command line


def test_a_line_of_output_for_each_line_of_input(rtlab, folder, tmp_path):
    (tmp_path / "s.txt").write_bytes("\ufeffa fine film\n\n dull \x1b[31m\tand\u202e \x9b long\n".encode())
    done = rtlab("predict", "--model", folder, "--file", "s.txt")
    assert (done.status, done.err) == (0, "")
    first, blank, last = done.out.split("\n")[:-1]
    assert blank == ""
    assert [len(line.split("\t")) for line in (first, last)] == [3, 3]
    assert last.split("\t")[2] == "dull �[31m and� � long"
    assert done.out.replace("\n", "").replace("\t", "").isprintable()

    done = rtlab("predict", "--model", folder, "--file", "s.txt", "--json", "-")
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert [one["text"] for one in objects] == ["a fine film", "", "dull \x1b[31m\tand\u202e \x9b long"]
    assert (objects[1]["label"], objects[1]["probabilities"]) == (None, None)
    assert [f"{one['label']}" for one in objects if one["label"]] == [first.split("\t")[0], last.split("\t")[0]]


def test_a_json_file_has_a_line_for_each_and_is_written_whole_or_not_at_all(rtlab, folder, tmp_path):
    (tmp_path / "s.txt").write_bytes(b"fine\ndull\n")
    done = rtlab("predict", "--model", folder, "--file", "s.txt", "--json", "out.json")
    assert done.status == 0
    assert len(done.out.splitlines()) == 2
    before = (tmp_path / "out.json").read_text()
    assert [json.loads(line)["text"] for line in before.splitlines()] == ["fine", "dull"]
    (tmp_path / "s.txt").write_bytes(b"fine\n\xff\n")
    done = rtlab("predict", "--model", folder, "--file", "s.txt", "--json", "out.json")
    assert done.status == 2
    assert (tmp_path / "out.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "s.txt"]


def test_scores_that_are_not_finite_end_with_status_1(rtlab, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rtlab.saved_models.opening.EncoderModel.logits", lambda _, tokens: np.full((len(tokens), 2), np.nan)
    )
    (tmp_path / "s.txt").write_bytes(b"fine\n")
    for given in (["fine"], ["--file", "s.txt"]):
        done = rtlab("predict", "--model", folder, *given)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("rtlab: the model's scores of ")
        assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("holds", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer, not the data"),
        (b"<!DOCTYPE html>\n<html>", "a web page (HTML), not the data"),
        (b"%PDF-1.7\n", "a PDF"),
    ],
)
def test_a_file_that_holds_no_sentences_is_called_what_it_is(rtlab, tmp_path, holds, what):
    (tmp_path / "s.txt").write_bytes(holds)
    done = rtlab("predict", "--model", "nowhere", "--file", "s.txt")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtlab: --file s.txt: {what}")


def test_a_file_that_is_not_there_is_refused_before_the_model_is_loaded(rtlab, tmp_path):
    done = rtlab("predict", "--model", "nowhere", "--file", "gone.txt")
    assert (done.status, done.err.split(";")[0]) == (
        2,
        "rtlab: --file must be a readable UTF-8 text, one sentence a line, or -",
    )


@pytest.fixture
def stream(folder, forkserver, tmp_path):
    """`rtlab predict --file -` with pipes at both ends."""
    pipes = tmp_path / "in", tmp_path / "out"
    for pipe in pipes:
        os.mkfifo(pipe)
    words = ("predict", "--model", folder, "--file", "-")
    process = forkserver.start("rtlab", *words, cwd=tmp_path, stdin=pipes[0], out=pipes[1])
    with pipes[0].open("wb") as process.stdin, pipes[1].open("rb") as process.stdout:
        yield process
        process.send_signal(signal.SIGKILL)
        process.wait()


def answer(process):
    """The next line of output, while input is still open; without one the test fails, and does not wait for ever."""
    there, _, _ = select.select([process.stdout], [], [], 120)
    assert there, "nothing came"
    return process.stdout.readline().strip()


def test_a_slow_producer_has_its_answers_while_it_goes_on_and_whoever_has_enough_ends_it_quietly(stream):
    for text in (b"a fine film", b"dull"):
        stream.stdin.write(text + b"\n")
        stream.stdin.flush()
        assert answer(stream).endswith(text)
    stream.stdout.close()
    stream.stdin.write(b"moving\n")
    stream.stdin.close()
    assert (stream.wait(), stream.err.read_text()) == (0, "")


def test_an_interrupt_is_one_line(stream):
    stream.stdin.write(b"a fine film\n")
    stream.stdin.flush()
    assert answer(stream)
    stream.send_signal(signal.SIGINT)
    assert stream.wait() == 130
    assert stream.err.read_text() == "rtlab: interrupted\n"


def test_what_is_not_needed_is_not_imported(folder, run_python):
    """PEFT is for adapters; data sets, tables and training are not read or made here."""
    code = (
        "import sys; from rtlab.cli import main; main(['predict', 'fine', '--model', sys.argv[1]]); "
        "print([name for name in ('peft', 'datasets', 'pandas', 'sklearn', 'matplotlib', 'wandb', 'pyarrow', "
        "'rtlab.engines.native', 'rtlab.reporting', 'rtlab.statistics') if name in sys.modules])"
    )
    done = run_python(code, folder)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
