"""Bad rows: counted, named by line, refused or left out; several files as one; what the command line makes of it."""

import gzip
import json

import pytest

from rtlab.data import load_splits
from rtlab.data.labels import Places
from rtlab.experiment import DatasetOptions

SKIP = DatasetOptions(skip_bad_rows=True)
GOOD = [f"sentence number {row},{'pos' if row % 2 else 'neg'}" for row in range(60)]


def write(folder, lines, name="a.csv"):
    (folder / name).write_bytes(("text,label\n" + "\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    return str(folder / name)


# A line, how many rows of the file are lost to it, what is said of it.
BAD = {
    "too wide": ("a, b,pos", "1 row of another width (line 42: 3 fields for 2 columns)"),
    "too narrow": ("a", "1 row of another width (line 42: 1 field for 2 columns)"),
    "no text": (",pos", "1 row without a text (line 42)"),
    "blank text": ('"  \t",pos', "1 row without a text (line 42)"),
    "no label": ("a,", "1 row without a label (line 42)"),
    "blank label": ("a, ", "1 row without a label (line 42)"),
    "neither": (",", "1 row without a text (line 42)"),
    "NUL": ("a\0b,pos", "1 row with a NUL character (line 42)"),
    "bytes": ("çà été \udcff,pos", "1 row with undecodable bytes (line 42)"),
    "label bytes": ("çà été,po\udcff", "1 row with undecodable bytes (line 42)"),
    "open quote": ('"a,pos', "1 row with a quote out of place (line 42: a quote that is never closed)"),
    "text behind": ('"a" b,pos', "1 row with a quote out of place (line 42: text behind a closing quote)"),
}


@pytest.mark.parametrize(("line", "said"), BAD.values(), ids=BAD)
def test_a_bad_row_is_refused_or_left_out(tmp_path, line, said):
    path = write(tmp_path, [*GOOD[:40], line, *GOOD[40:]])
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        load_splits(path)
    assert str(caught.value) == f"{path}: {said}; rows without these, or --skip-bad-rows to leave them out, would do"
    splits = load_splits(path, options=SKIP)
    assert splits.notes[0] == f"Left out of a.csv: {said}."
    texts = sorted(text for _, split in splits.items() for text in split.texts)
    assert texts == sorted(good.split(",")[0] for good in GOOD)
    assert splits.sha256 == load_splits(write(tmp_path, GOOD)).sha256


def test_a_stray_quote_that_swallows_rows_is_found(tmp_path):
    """The quote of line 12 is closed by that of line 14: as CSV this is one long text."""
    lines = [*GOOD[:10], '"an open quote,neg', "a swallowed row,pos", 'and the "end" of it,pos', *GOOD[10:]]
    path = write(tmp_path, lines)
    with pytest.raises(ValueError, match=r"with a quote out of place \(line 12: "):
        load_splits(path)
    path = write(tmp_path, [*GOOD[:10], '"an open quote,neg', "a swallowed row,pos", 'end",pos', *GOOD[10:]])
    with pytest.raises(
        ValueError, match=r"1 row with a quote that is not closed \(line 12: line 13 within it reads as a row"
    ):
        load_splits(path)
    splits = load_splits(path, options=SKIP)
    assert sum(len(split) for _, split in splits.items()) == 60
    assert "1 row with a quote that is not closed (line 12: " in splits.notes[0]


def test_a_text_of_several_lines_is_a_text(tmp_path):
    texts = ["first line\nsecond line", "a list:\n- one, two\n- three", "a\r\n\r\nb", "ends with a break\n"]
    path = write(tmp_path, [*GOOD, *(f'"{text}",pos' for text in texts)])
    splits = load_splits(path)
    assert splits.notes[0].startswith("No splits are named")
    assert {*texts} <= {text for _, split in splits.items() for text in split.texts}


def test_blank_lines_are_no_rows(tmp_path):
    path = write(tmp_path, [line for good in GOOD for line in (good, "", "  ")])
    assert load_splits(path).sha256 == load_splits(write(tmp_path, GOOD)).sha256


def test_each_kind_is_counted_and_the_first_two_are_named(tmp_path):
    path = write(tmp_path, ["a", "b", *GOOD, ",pos", "c", "d,"])
    with pytest.raises(ValueError, match="rows without these") as caught:
        load_splits(path)
    assert (
        "3 rows of another width (line 2: 1 field for 2 columns; line 3: 1 field for 2 columns; …), "
        "1 row without a text (line 64), 1 row without a label (line 66); "
    ) in str(caught.value)


def test_rows_of_several_files_are_named_with_their_file(tmp_path):
    write(tmp_path, GOOD, "train-00000-of-00002.csv")
    write(tmp_path, [*(line.replace("number", "of the other") for line in GOOD), "a"], "train-00001-of-00002.csv")
    with pytest.raises(ValueError, match=r"1 row of another width \(train-00001-of-00002.csv, line 62: 1 field"):
        load_splits(str(tmp_path))


def test_all_rows_bad_leaves_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z"):
        load_splits(write(tmp_path, [",pos", ",neg"]), options=SKIP)


def test_a_place_is_a_file_and_a_line():
    places = Places(("a.csv", "b.csv"), "line", [0, 0, 1], [2, 3, 2])
    assert (places.of(1), places.of(2), str(places)) == ("a.csv, line 3", "b.csv, line 2", "a.csv")


# Bounds


def test_a_file_beyond_the_bound_is_refused_or_read_up_to_the_limit(tmp_path, monkeypatch):
    for name in ("streams.MOST_ROWS", "arrow_rows.MOST_ROWS", "tables.MOST_ROWS", "tables.ROWS_FOR_A_LIMIT"):
        monkeypatch.setattr(f"rtlab.data.{name}", 500)
    lines = [f"sentence number {row},{row % 2}" for row in range(3000)]
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(("text,label\n" + "\n".join(lines)).encode()))
    with pytest.raises(
        ValueError, match=r"a\.csv\.gz: more than the 500 rows that are read; a smaller file, or --limit N, .* would do"
    ):
        load_splits(str(path))
    splits = load_splits(str(path), limit=20)
    assert [len(split) for _, split in splits.items()] == [20, 20, 20]
    assert splits.notes[0] == "Of a.csv.gz the first 500 rows were read (more than the 500 rows that are read)."


def test_shards_that_are_too_many_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.data.tables.MOST_ROWS", 100)
    for number in range(2):
        write(tmp_path, [f"{number} {line}" for line in GOOD], f"train-{number:05}-of-00002.csv")
    with pytest.raises(ValueError, match="more than the 100 rows, or the 2 GiB, that are read"):
        load_splits(str(tmp_path))


# The command line


@pytest.fixture
def reviews(tmp_path):
    """A file that needs every option but one, and says so by its notes."""
    fold = ("train", "train", "dev", "test")
    lines = [f"sentence number {row};{row % 2};x y;{fold[row // 2 % 4]}" for row in range(80)]
    (tmp_path / "mine.csv").write_text("\n".join(["review;stars;comment;fold", *lines, "a;b"]))
    return tmp_path / "mine.csv"


OPTIONS = ("--text-column", "review", "--label-column", "stars", "--split-column", "fold", "--skip-bad-rows")
TINY = ("--encoder", "tiny-distilbert")
SAID = "Left out of mine.csv: 1 row of another width (line 82: 2 fields for 4 columns)."


def test_explore_takes_the_options_and_says_what_was_assumed(rtlab, reviews):
    done = rtlab("explore", *TINY, "--dataset", reviews, *OPTIONS, "--json", "-")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert [found["checks"][name]["size"] for name in ("train", "validation", "test")] == [40, 20, 20]
    assert found["notes"] == [SAID]
    assert done.err == f"rtlab: {SAID}\n"
    done = rtlab("explore", *TINY, "--dataset", reviews, *OPTIONS)
    assert (done.out + done.err).count(SAID) == 1, "said once"


def test_runs_take_the_options_and_record_what_was_assumed(rtlab, reviews):
    done = rtlab("svm", *TINY, "--dataset", reviews, *OPTIONS, "--json", "-")
    assert done.status == 0, done.err
    record = json.loads(done.out)
    assert record["dataset"]["notes"] == [SAID]
    assert record["dataset"]["name"] == "mine.csv"
    assert record["experiment"]["dataset_options"]["text_column"] == "review"
    assert done.err.count(SAID) == 1


def test_a_report_reads_the_sentences_as_the_runs_did(rtlab, reviews):
    assert rtlab("svm", *TINY, "--dataset", reviews, *OPTIONS).status == 0
    done = rtlab("report", "--dataset", reviews)
    assert done.status == 0, done.err
    done = rtlab("report", "--dataset", reviews.parent / "nowhere.csv")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "no such file or directory" in done.err


def test_tokenize_and_sweep_take_the_options(rtlab, reviews):
    done = rtlab("tokenize", *TINY, "--dataset", reviews, *OPTIONS)
    assert (done.status, done.err) == (0, f"rtlab: {SAID}\n")
    done = rtlab("sweep", "smoke", "--dataset", reviews, *OPTIONS, "--dry-run")
    assert done.status == 0, done.err
    assert done.err.count(SAID) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            (),
            "mine.csv: columns 'review' and 'comment' could each be the text; --text-column with one of them would do",
        ),
        (("--text-column", "text"), "rtlab: --text-column must be a column of "),
        (("--text_column=text",), "rtlab: --text_column must be a column of "),
        (
            ("--dataset-config", "x"),
            "rtlab: --dataset-config must name a configuration of a hub data set; got 'x' for ",
        ),
        (
            OPTIONS[:-1],
            "1 row of another width (line 82: 2 fields for 4 columns); rows without these, or --skip-bad-rows",
        ),
    ],
)
def test_wrong_requests_are_one_line_and_write_nothing(rtlab, reviews, options, expected):
    done = rtlab("svm", *TINY, "--dataset", reviews, *options)
    assert (done.status, done.out) == (2, "")
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in reviews.parent.iterdir()) == ["mine.csv"]


def test_the_corpus_has_no_columns(rtlab):
    done = rtlab("explore", *TINY, "--dataset", "corpus", "--text-column", "text")
    assert done.status == 2
    assert done.err == "rtlab: --text-column must be left out for corpus, which has no columns; got 'text'\n"
