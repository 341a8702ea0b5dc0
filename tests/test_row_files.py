"""Rows in, labels beside them, rows out: no column and no row is lost, and a file is there whole or not at all."""

import csv
import gzip
import json
import os
import stat
from pathlib import Path

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

import rtlab as library
from rtlab.running import model_folder
from rtlab.saved_models.row_files import json_line, row_file, whole_file

ROWS = [
    {"id": "1", "text": 'a fine, "quiet" film', "stars": "5"},
    {"id": "2", "text": "dull;\nand\tlong", "stars": ""},
    {"id": "003", "text": "", "stars": "1"},
    {"id": "4", "text": "\u00e9t\u00e9 \x1b[31m", "stars": "2"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    asked = small.experiment(small.data_folder(place / "reviews"), method="svm")
    return model_folder(place, library.run(asked, output_dir=place, save_model=True, device="cpu"))


def as_delimited(delimiter):
    def write(path, rows):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)

    return write


def as_json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_gzip(path, rows):
    as_delimited(",")(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


def as_parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


INPUTS = {
    "mine.csv": as_delimited(","),
    "semicolons.csv": as_delimited(";"),
    "mine.tsv": as_delimited("\t"),
    "mine.jsonl": as_json_lines,
    "mine.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "mine.parquet": as_parquet,
    "mine.csv.gz": as_gzip,
}


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize(
    ("name", "out"), [*((name, "out.csv") for name in INPUTS), ("mine.tsv", "out.tsv"), ("mine.json", "out.jsonl")]
)
def test_all_columns_and_rows_come_back_with_labels(rtlab, model, tmp_path, name, out):
    INPUTS[name](tmp_path / name, ROWS)
    done = rtlab("predict", "--model", model, "--file", name, "--output", out)
    assert (done.status, done.out, done.err) == (0, f"{out} written, 4 rows\n", "")
    assert b"\r" not in (tmp_path / out).read_bytes(), "a tool that takes lines apart would find it in the last column"
    found = read(tmp_path / out)
    assert [{column: row[column] for column in ROWS[0]} for row in found] == ROWS
    texts = [row["text"] for row in ROWS if row["text"]]
    expected = {one.text: one for one in library.predict(model, texts, device="cpu")}
    for row in found:
        one = expected.get(row["text"])
        assert row["label"] == (one.label if one else (None if out == "out.jsonl" else ""))
        assert not one or float(row["probability"]) == pytest.approx(one.probabilities[one.label])
        if out == "out.jsonl":
            assert (row["probabilities"] is None) == (one is None)
        else:
            assert set(row) == {"id", "text", "stars", "label", "probability"}


def test_a_table_of_many_windows_keeps_its_order(rtlab, model, tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.saved_models.streaming.WINDOW", 2)
    rows = [{"text": f"film {number}" if number != 3 else "", "id": str(number)} for number in range(5)]
    as_delimited(",")(tmp_path / "mine.csv", rows)
    assert rtlab("predict", "--model", model, "--file", "mine.csv", "--output", "out.csv").status == 0
    assert [row["id"] for row in read(tmp_path / "out.csv")] == ["0", "1", "2", "3", "4"]


def test_a_column_that_is_called_so_already_is_kept(rtlab, model, tmp_path):
    rows = [{"text": "fine", "label": "mine", "label_2": "too", "probability": "7"}]
    as_delimited(",")(tmp_path / "mine.csv", rows)
    done = rtlab("predict", "--model", model, "--file", "mine.csv", "--output", "out.csv")
    assert done.err.splitlines() == [
        "rtlab: the model's label is column label_3: there is a column label already",
        "rtlab: the model's probability is column probability_2: there is a column probability already",
    ]
    [row] = read(tmp_path / "out.csv")
    assert {name: row[name] for name in rows[0]} == rows[0]
    assert row["label_3"] in small.TWO


def test_a_table_is_printed_as_lines_where_no_file_is_named(rtlab, model, tmp_path):
    as_delimited(",")(tmp_path / "mine.csv", [{"review": "fine", "n": "1"}, {"review": "dull", "n": "2"}])
    done = rtlab("predict", "--model", model, "--file", "mine.csv")
    assert [line.split("\t")[2] for line in done.out.splitlines()] == ["fine", "dull"]
    assert done.err == "rtlab: Texts are column 'review'.\n"
    done = rtlab("predict", "--model", model, "--file", "mine.csv", "--text-column", "n", "--json", "-")
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["1", "2"]


def test_lines_and_words_go_into_a_table_too(rtlab, model, tmp_path):
    (tmp_path / "mine.txt").write_text("fine\n\ndull\n")
    assert rtlab("predict", "moving", "--model", model, "--file", "mine.txt", "--output", "out.csv").status == 0
    assert [row["text"] for row in read(tmp_path / "out.csv")] == ["moving", "fine", "", "dull"]
    assert rtlab("predict", "moving", "--model", model, "--output", "out.csv").status == 0
    assert [row["text"] for row in read(tmp_path / "out.csv")] == ["moving"]


BAD = 'id,text\n1,fine\n2,dull,"long"\n3,moving\n4\n5,"x" y\n'


def test_a_row_that_cannot_be_read_is_named_and_nothing_is_written(rtlab, model, tmp_path):
    (tmp_path / "mine.csv").write_text(BAD)
    done = rtlab("predict", "--model", model, "--file", "mine.csv", "--output", "out.csv")
    assert done.status == 2
    assert "mine.csv: a row of another width (line 3: 3 fields for 2 columns); a row without, or --skip-bad" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    done = rtlab("predict", "--model", model, "--file", "mine.csv")
    assert (done.status, len(done.out.splitlines())) == (2, 1), "what stands before it is labelled"


def test_rows_that_cannot_be_read_are_left_out_and_counted_where_that_is_asked_for(rtlab, model, tmp_path):
    (tmp_path / "mine.csv").write_text(BAD)
    done = rtlab("predict", "--model", model, "--file", "mine.csv", "--skip-bad-rows", "--output", "out.csv")
    assert done.status == 0
    assert [row["id"] for row in read(tmp_path / "out.csv")] == ["1", "3"]
    assert "left out of mine.csv: 3 rows (of another width (line 3: 3 fields for 2 columns), of another" in done.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--output", "out.xlsx"], "--output must end in .csv, .tsv, .jsonl; got 'out.xlsx'"),
        (["--output", "mine.csv"], "--output must be another file than --file; got 'mine.csv' for both"),
        (["--output", "nowhere/out.csv"], "--output must be a file in a writable directory; got 'nowhere/out.csv'"),
        (["--text-column", "nope"], "--text-column must be a column of mine.csv; got 'nope'"),
        (["a film"], "sentences must stand in the table of --file, or be given without it; got both"),
        (["--file", "mine.xlsx"], "mine.xlsx: a spreadsheet; its sheet saved as CSV"),
        (["--file", "two.csv"], "two.csv: columns 'text' and 'review' could each be the text; --text-column"),
        (["--file", "gone.csv"], "gone.csv: no regular file"),
        (
            ["--file", "a.txt", "--text-column", "x"],
            "--text-column is for a table; got it with --file a.txt, which",
        ),
        (
            ["--file", "-", "--text-column", "x"],
            "--text-column is for a table; got it with --file -, which",
        ),
        (["--file", "-", "--skip-bad-rows"], "--skip-bad-rows is for a table; got it with --file -, which"),
    ],
)
def test_a_wrong_request_is_one_line_before_the_model_is_loaded(rtlab, tmp_path, given, message):
    (tmp_path / "mine.csv").write_text("text\nfine\n")
    (tmp_path / "two.csv").write_text("text,review\nfine,dull\n")
    (tmp_path / "mine.xlsx").write_bytes(b"PK")
    done = rtlab("predict", "--model", "nowhere", "--file", "mine.csv", *given)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtlab: {message}")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--text-column", "text", "a film"],
            "--text-column is for a table; got it with sentences alone; a --file such",
        ),
        (["-"], "sentences must be words; got -: standard input is read with --file -"),
    ],
)
def test_what_is_asked_of_sentences_alone(rtlab, given, message):
    done = rtlab("predict", "--model", "nowhere", *given)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtlab: {message}")


# Files


CELLS = st.one_of(st.none(), st.integers(), st.booleans(), st.text(st.characters(exclude_categories=["Cs"])))


@given(
    st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), max_size=5), st.sampled_from([".csv", ".tsv", ".jsonl"])
)
def test_what_is_written_reads_the_same(tmp_path_factory, rows, suffix):
    path = tmp_path_factory.mktemp("rows") / f"out{suffix}"
    with row_file(path, ("a", "b")) as write:
        for row in rows:
            write(row)
    found = read(path)
    if suffix == ".jsonl":
        assert found == rows
    else:
        as_text = [
            {n: "" if v is None else v if isinstance(v, str) else json.dumps(v) for n, v in row.items()} for row in rows
        ]
        assert found == as_text


def test_json_has_no_word_for_nan():
    assert json.loads(json_line({"a": float("nan"), "b": float("inf"), "c": 1.5})) == {"a": None, "b": None, "c": 1.5}


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(KeyError), whole_file(path) as file:
        file.write({"new": "text"}["old"])
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("out.csv", "old")]


def test_links_devices_and_modes_stay_what_they_are(tmp_path):
    path, link = tmp_path / "out.csv", tmp_path / "link.csv"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with whole_file(link) as file:
        file.write("new\ud800")
    assert (path.read_text(), link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == ("new\\ud800", True, 0o640)
    with whole_file(Path(os.devnull)) as file:
        file.write("gone")
    assert not Path(os.devnull).is_file()
