"""Rows out of files: every format and compression gives the same, encodings, line ends, delimiters, and what is bad."""

import csv
import gzip
import io
import json
import os
import zipfile
from itertools import islice

import pyarrow
import pyarrow.parquet
import pytest
import strategies
from hypothesis import example, given
from hypothesis import strategies as st

from rtlab.data import streams
from rtlab.data.arrow_sizes import sizes
from rtlab.data.rows import open_rows

ROWS = [
    {"id": "1", "text": "a good film", "label": "5"},
    {"id": "2", "text": 'so "so", café', "label": "1"},
    {"id": "3", "text": "two\nlines\r\nand more", "label": "5"},
    {"id": "4", "text": " NA ", "label": "NA"},
]


def csv_bytes(rows, delimiter=",", encoding="utf-8", line_end="\n"):
    file = io.StringIO(newline="")
    # Older writers leave a carriage return without quotes, where it cannot be told from a line's end.
    quoting = csv.QUOTE_ALL if any("\r" in value for row in rows for value in row.values()) else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode(encoding, "surrogatepass")


def table_of(rows):
    return pyarrow.table({name: [row[name] for row in rows] for name in rows[0]})


def parquet_bytes(rows):
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table_of(rows), sink)
    return sink.getvalue()


def arrow_bytes(rows, open_writer):
    sink = io.BytesIO()
    with open_writer(sink, table_of(rows).schema) as writer:
        writer.write_table(table_of(rows))
    return sink.getvalue()


WRITERS = {
    "a.csv": csv_bytes,
    "a.CSV": csv_bytes,
    "a.tsv": lambda rows: csv_bytes(rows, "\t"),
    "semicolon.csv": lambda rows: csv_bytes(rows, ";"),
    "pipe.csv": lambda rows: csv_bytes(rows, "|"),
    "tab.csv": lambda rows: csv_bytes(rows, "\t"),
    "bom.csv": lambda rows: csv_bytes(rows, encoding="utf-8-sig"),
    "utf16.csv": lambda rows: csv_bytes(rows, encoding="utf-16"),
    "utf16be.csv": lambda rows: b"\xfe\xff" + csv_bytes(rows, encoding="utf-16-be"),
    "crlf.csv": lambda rows: csv_bytes(rows, line_end="\r\n"),
    "excel.csv": lambda rows: b"sep=;\r\n" + csv_bytes(rows, ";", line_end="\r\n"),
    "a.json": lambda rows: json.dumps(rows).encode(),
    "indented.json": lambda rows: json.dumps(rows, indent=2).encode("utf-8-sig"),
    "lines.json": lambda rows: b"\n".join(json.dumps(row).encode() for row in rows),
    "a.jsonl": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\r\n\n" for row in rows).encode(),
    "a.ndjson": lambda rows: b"\n".join(json.dumps(row).encode() for row in rows),
    "array.jsonl": lambda rows: json.dumps(rows).encode("utf-16"),
    "a.parquet": parquet_bytes,
    "a.arrow": lambda rows: arrow_bytes(rows, pyarrow.ipc.new_file),
    "stream.arrow": lambda rows: arrow_bytes(rows, pyarrow.ipc.new_stream),
}
TEXT_FORMATS = [name for name in WRITERS if not name.endswith((".parquet", ".arrow"))]


def zipped(name, data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._" + name, b"\0\0")
        archive.writestr(f"folder/{name}", data)
    return file.getvalue()


COMPRESSIONS = {
    ".gz": lambda _, data: gzip.compress(data),
    ".zst": lambda _, data: pyarrow.compress(data, codec="zstd", asbytes=True),
    ".zip": zipped,
}


def read(path):
    return [dict(row.values) for row in open_rows(path).read()]


def bad(path):
    """The rows that cannot be used: their line, and why."""
    return [(row.number, *row.fault) for row in open_rows(path).read() if row.fault]


def save(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


# Formats


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path, name):
    assert read(save(tmp_path, name, WRITERS[name](ROWS))) == ROWS


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_every_compression_gives_the_same_rows(tmp_path, name, suffix):
    data = COMPRESSIONS[suffix](name, WRITERS[name](ROWS))
    assert read(save(tmp_path, name + suffix, data)) == ROWS


@given(strategies.file_rows())
@example([{"a": "x", "b": "\n"}, {"a": '"', "b": "\r\n,;|\t"}])
def test_whatever_a_writer_writes_comes_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("written")
    for name in ("a.csv", "crlf.csv", "a.json", "a.jsonl", "a.parquet", "a.arrow"):
        assert read(save(folder, name, WRITERS[name](rows))) == rows, name
    name = "a.csv.zst"
    assert read(save(folder, name, COMPRESSIONS[".zst"](name, csv_bytes(rows)))) == rows


@given(st.lists(st.text('ab,\n\r" ;', max_size=12), max_size=6))
def test_no_line_of_a_broken_csv_file_is_lost(tmp_path_factory, lines):
    """Whatever the quotes do, each line that is not blank is in a row that is read or in one that is named."""
    path = tmp_path_factory.mktemp("broken") / "a.csv"
    path.write_bytes(("text,label\n" + "".join(f"{line}\n" for line in lines)).encode())
    physical = path.read_bytes().decode().split("\n")[1:-1]
    rows = [*open_rows(path).read()]
    covered = set()
    for row in rows:
        breaks = sum(value.count("\n") for value in map(str, row.values.values()))
        covered |= {*range(row.number, row.number + breaks + 1)}
    wide = {row.number for row in rows if row.fault and row.fault.kind == "of another width"}
    if not wide:  # the lines of a row that is too wide are not known from its values
        assert all(number in covered for number, line in enumerate(physical, 2) if line.strip(" \r"))


@pytest.mark.parametrize("name", ["a.json", "indented.json", "array.jsonl"])
def test_an_array_is_read_piece_by_piece(tmp_path, monkeypatch, name):
    monkeypatch.setattr("rtlab.data.json_rows.CHUNK", 7)
    assert read(save(tmp_path, name, WRITERS[name](ROWS))) == ROWS
    assert read(save(tmp_path, "a.json", b" [ ] ")) == []


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"a\.csv: no regular file; a file on disk would do"):
        open_rows(tmp_path / "a.csv")


def test_gzip_of_several_members_is_read_whole(tmp_path):
    data = csv_bytes(ROWS)
    assert read(save(tmp_path, "a.csv.gz", gzip.compress(data[:20]) + gzip.compress(data[20:]))) == ROWS


def test_what_a_file_is_decides_and_not_its_name(tmp_path):
    assert read(save(tmp_path, "a.csv", gzip.compress(csv_bytes(ROWS)))) == ROWS
    assert read(save(tmp_path, "a.csv.gz", csv_bytes(ROWS))) == ROWS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.xlsx", "a spreadsheet; its sheet saved as CSV (in Excel: File, Save As, CSV UTF-8) would do"),
        ("a.ods", "a spreadsheet; "),
        ("a.txt", "a file of format .txt; .csv, .tsv, .json, .jsonl, .parquet or .arrow, "),
        ("a.pkl", "a file of format .pkl; "),
        ("a.csv.bz2", "a file of format .bz2; "),
        ("a.tar", "a file of format .tar; "),
        ("a.parquet.gz", "a file of format .parquet; "),
        ("a", "a file without a suffix that tells its format; "),
    ],
)
def test_other_formats_are_refused_in_one_line(tmp_path, name, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        open_rows(save(tmp_path, name, b"\x80\x04"))
    assert expected in str(caught.value)


def encrypted():
    data = bytearray(zipped("a.csv", b"text,label\n"))
    for start in (data.find(b"PK\x01\x02") + 8, data.rfind(b"PK\x01\x02") + 8, data.rfind(b"PK\x03\x04") + 6):
        data[start] |= 1
    return bytes(data)


def two_columns_of_one_name():
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table([["a"], ["b"]], names=["text", "text"]), sink)
    return sink.getvalue()


def sheet():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", b"<xml/>")
        archive.writestr("xl/workbook.xml", b"<xml/>")
    return file.getvalue()


def zip_of_two():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train.csv", b"")
        archive.writestr("test.csv", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv.gz", gzip.compress(csv_bytes(ROWS))[:-9], "cannot be read (Compressed file ended before"),
        ("a.csv.gz", gzip.compress(csv_bytes(ROWS))[:-8] + bytes(8), "cannot be read (CRC check failed"),
        ("a.csv.zst", pyarrow.compress(csv_bytes(ROWS * 9), codec="zstd", asbytes=True)[:-6], "cannot be read ("),
        ("a.zip", zipped("a.csv", csv_bytes(ROWS))[:-9], "cannot be read (File is not a zip file"),
        ("a.zip", zip_of_two(), "a zip of 2 files; a zip of one, or the unpacked directory would do"),
        ("a.zip", encrypted(), "an encrypted zip; the unpacked file would do"),
        ("a.csv", '{"é": 1}'.encode("utf-32"), "UTF-32; the same file saved as UTF-8 would do"),
        ("a.csv", csv_bytes(ROWS, encoding="utf-16-le"), "binary, or UTF-16 without a byte order mark"),
        (
            "a.csv",
            csv_bytes(ROWS, encoding="utf-16")[:-1],
            "behind line 6 there are bytes that are no UTF-16 (truncated data)",
        ),
        ("a.csv", b"text,label,text\na,1,b\n", "two columns are called 'text'; a name for each would do"),
        (
            "a.csv",
            b'0,"1","0","a b"\n4,"2","4","c"\n',
            "line 1 reads as a row, not as column names ('0', '1', '0'); a first line text,label would do",
        ),
        (
            "SMSSpamCollection",
            b"ham\tfine\n",
            "a file without a suffix that tells its format, with tabs in its lines; the",
        ),
        ("a.txt", b"__label__a fine\n", "a file of format .txt, lines of fastText"),
        ("a.csv", b'"text,label\na,1\n', "line 1: a quote that is never closed; a line of column names would do"),
        ("a.parquet", two_columns_of_one_name(), "two columns are called 'text'; a name for each would do"),
        ("a.json", b'[{"text": "a"}]\n[{"text": "b"}]', '\'[{"text": "b"}]\' behind the array\'s end'),
        ("a.csv", sheet(), "a spreadsheet; its sheet saved as CSV"),
        ("a.zip", sheet(), "a spreadsheet; its sheet saved as CSV"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "a spreadsheet; its sheet saved as CSV"),
        ("a.csv", "日本,語\n".encode("shift-jis") + "çàéùè,1\n".encode() * 9, "undecodable bytes in the column names"),
        ("a.json", b'[{"text": "a"}, {"text"', "row 2: malformed JSON ("),
        ("a.json", b'[{"text": "a"} {"text": "b"}]', "row 2: malformed JSON ("),
        ("a.json", b'{"text": ["a"],\n "label": [1]}', "no row that can be read (line 1: "),
        ("a.arrow", arrow_bytes(ROWS, pyarrow.ipc.new_file)[:-60], "no readable arrow file ("),
        ("a.arrow", b"", "no readable arrow file ("),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, data, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        read(save(tmp_path, name, data))
    assert expected in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


# Encodings


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("café", "utf-8", ()),
        ("café", "utf-8-sig", ()),
        ("café", "utf-16", ()),
        ("café à la crème", "latin-1", ("a.csv is no UTF-8 and was read as Latin-1.",)),
        ("it’s “fine” – 5 €", "cp1252", ("a.csv is no UTF-8 and was read as Latin-1 with the signs of Windows-1252.",)),
    ],
)
def test_encodings(tmp_path, text, encoding, said):
    rows = [{"text": text, "label": "1"}]
    path = save(tmp_path, "a.csv", csv_bytes(rows, encoding=encoding))
    assert (read(path), open_rows(path).notes) == (rows, said)


@pytest.mark.parametrize(
    ("text", "encoding"), [("хороший фильм", "cp1251"), ("这部电影很好看", "gbk"), ("映画はとても", "shift-jis")]
)
def test_writing_of_another_alphabet_is_not_latin_1(tmp_path, text, encoding):
    path = save(tmp_path, "a.csv", csv_bytes([{"text": text, "label": "1"}] * 3, encoding=encoding))
    with pytest.raises(
        ValueError, match=r"no UTF-8, and hardly Latin-1 \(\d+% of its bytes .*; the same file saved as"
    ):
        read(path)


def test_a_multi_byte_sign_across_pieces_of_the_file_is_one_sign(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "CHUNK", 3)
    rows = [{"text": "ééé\u2028é" * 3, "label": "1"}]
    path = save(tmp_path, "a.csv", csv_bytes(rows))
    assert (read(path), open_rows(path).notes) == (rows, ())


@pytest.mark.parametrize("broken", [b"caf\xe9", b"\xc3", b"\xff\xff", b"\xed\xa0\x80"])
def test_a_broken_line_of_a_utf_8_file_is_not_latin_1(tmp_path, broken):
    """In a file of many signs that are UTF-8, one byte that is none is damage."""
    path = save(tmp_path, "a.csv", "text,label\nçà et là,1\nété à Zürich,0\n".encode() + broken + b",1\n")
    assert open_rows(path).notes == ()
    assert [row["text"] for row in read(path)][:2] == ["çà et là", "été à Zürich"]
    assert any("\udc80" <= sign <= "\udcff" for sign in read(path)[2]["text"])


# Lines and delimiters


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"text,label\ngood,1\nbad,0", 2),  # no end of line at the end
        (b"text,label\rgood,1\rbad,0\r", 2),
        (b"text,label\r\ngood,1\r\nbad,0\r\n", 2),
        (b"\n\ntext,label\n\ngood,1\n \n\r\n\nbad,0\n\n\n", 2),
        (b"text,label\n", 0),
    ],
)
def test_line_ends_and_blank_lines(tmp_path, data, rows):
    path = save(tmp_path, "a.csv", data)
    assert read(path) == [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}][:rows]
    assert not bad(path)


def test_signs_that_end_no_line_are_kept(tmp_path):
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f"
    assert read(save(tmp_path, "a.csv", f"text,label\n{text},1\n".encode()))[0]["text"] == text


@pytest.mark.parametrize(
    ("name", "start", "delimiter"),
    [
        ("a.csv", 'text;label\n"a, b, c";1\nd, e;0\n', ";"),
        ("a.csv", "text,label\na; b,1\nc; d; e,0\n", ","),
        ("a.csv", "label\ttext\n1\ta, b\n0\tc, d\n", "\t"),
        ("a.tsv", "text, in English\tlabel\na, b\t1\nc, d\t0\n", "\t"),
        ("a.tsv", "text,label\na b,1\nc,0\n", ","),
        ("a.csv", "label|text\n1|a, b; c\n0|d\n", "|"),
    ],
)
def test_the_delimiter_is_found(tmp_path, name, start, delimiter):
    assert open_rows(save(tmp_path, name, start.encode())).columns == tuple(start.split("\n")[0].split(delimiter))


def test_column_names_are_stripped_and_those_without_one_have_a_number(tmp_path):
    rows = open_rows(save(tmp_path, "a.csv", b'v1, "v2" ,,\nham,"a, b",,\n'))
    assert rows.columns == ("v1", '"v2"', "column 3", "column 4")


def test_a_space_behind_each_delimiter_is_no_part_of_the_fields(tmp_path):
    path = save(tmp_path, "a.csv", b'id, "text", label\n1, "a, b", x\n2, c d, y\n')
    assert read(path) == [{"id": "1", "text": "a, b", "label": "x"}, {"id": "2", "text": "c d", "label": "y"}]
    path = save(tmp_path, "a.csv", b"text\n  c d\n")
    assert read(path) == [{"text": "  c d"}]


# Bad rows


def test_column_names_once_more_are_no_row(tmp_path):
    """As in files that were joined."""
    data = csv_bytes(ROWS[:2], encoding="utf-8-sig")
    assert bad(save(tmp_path, "a.csv", data + data)) == [(4, "with the column names once more", "")]
    assert read(save(tmp_path, "a.csv", b"\xef\xbb\xbf" + data)) == ROWS[:2]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "a,1\nb,0,\nc\n",
            [(3, "of another width", "3 fields for 2 columns"), (4, "of another width", "1 field for 2 columns")],
        ),
        ('"a,1\nb,0\n', [(2, "with a quote out of place", "a quote that is never closed")]),
        ('"a" b,1\nc,0\n', [(2, "with a quote out of place", "text behind a closing quote")]),
        (
            '"two\nlines" b,1\nc,0\n',
            [
                (2, "with a quote out of place", "text behind a closing quote"),
            ],
        ),
    ],
)
def test_bad_rows_of_csv_are_named_by_line(tmp_path, lines, expected):
    path = save(tmp_path, "a.csv", b"text,label\n" + lines.encode())
    assert bad(path)[: len(expected)] == expected


def test_a_stray_quote_costs_its_own_row_alone(tmp_path):
    lines = [f"text {row},{row % 2}" for row in range(5000)]
    lines[2500] = '"text,1'
    path = save(tmp_path, "a.csv", ("text,label\n" + "\n".join(lines)).encode())
    assert [number for number, *_ in bad(path)] == [2502]
    assert sum(row.fault is None for row in open_rows(path).read()) == 4999


def test_many_stray_quotes_are_not_read_again_without_end(tmp_path, monkeypatch):
    """Each quote that is never closed costs a bounded number of lines, not the rest of the file."""
    taken = 0
    before = streams.lines_of

    def counted(*arguments):
        nonlocal taken
        for line in before(*arguments):
            taken += 1
            yield line

    monkeypatch.setattr("rtlab.data.delimited.lines_of", counted)
    monkeypatch.setattr("rtlab.data.csv_records.MOST_LINES", 10)
    path = save(tmp_path, "a.csv", b"text,label\n" + b'"text,1\nb,0\n' * 300)
    assert sum(row.fault is None for row in open_rows(path).read()) >= 300
    assert taken <= 601 + 200  # once each, and the beginning to find the delimiter


@pytest.mark.parametrize(
    ("header", "lines", "within"),
    [
        ("text,label", '"bad film,0\ndull",0\n', [2]),
        ("text,label", '"bad film,0\ngood film,1\ndull",0\n', [2, 3]),
        ("label,text", '0,"bad film\n1,good film\n0,dull"\n', [3, 4]),
        ("id,text,label", '1,"bad film,0\n2,dull",0\n', [2]),
        ("label,text,id", '0,"bad film,1\n0,dull",2\n', [3]),
        ("text,label", '"a long text\nof three lines\n\nand more",0\n', []),
        ("text,label", '"a text, with a comma,\nand another",0\n', []),
    ],
)
def test_lines_within_a_quote_that_read_as_rows(tmp_path, header, lines, within):
    path = save(tmp_path, "a.csv", f"{header}\n{lines}".encode())
    (row,) = open_rows(path).read()
    found = [line for line, values in row.within if values["label"].strip() in ("0", "1")]
    assert found == within


# Dialects, by rows of "a, b" and 1, then "c" and 0. What the file holds, how the note begins; plain CSV has none.
DIALECTS = {
    "single quotes": ("text,label\n'a, b',1\n'c',0\n", "a, b", "Fields of a.csv stand in single quotes."),
    "single quotes, doubled": ("'text','label'\n'it''s, b','1'\n'c','0'\n", "it's, b", "Fields of"),
    "single quotes, escaped": ("text,label\n'it\\'s, b',1\n'c',0\n", "it's, b", "Fields of"),
    "single quotes, no need": ("text,label\n'a',1\n'c',0\n", "a", "Fields of"),
    "apostrophes": ("text,label\n'tis,1\n'c' and d,0\n", "'tis", None),
    "escaped": ('text,label\n"a \\"so\\", b",1\n"c",0\n', 'a "so", b', "A backslash in a.csv takes the meaning"),
    "escaped, others kept": ('text,label\n"a \\"so\\", \\n \\\\ b",1\n"c",0\n', 'a "so", \\n \\ b', "A backslash"),
    "escaped delimiter": ("text,label\na\\, b,1\nc,0\n", "a, b", "A backslash"),
    "backslashes": ('text,label\n"C:\\",1\nc\\d,0\n', "C:\\", None),
    "doubled": ('text,label\n"a ""so"", b",1\n"c",0\n', 'a "so", b', None),
    "spaces before": ('label,text\n1, "a, b"\n0, "c"\n', "a, b", None),
    "spaces before, no need": ('label,text\n1, "a"\n0, "c"\n', "a", None),
    "spaces around": ('text , label\n"a "" , b" , 1\n"c" , 0\n', 'a " , b', None),
    "excel, quoted": ('"sep=;"\r\ntext;label\r\na, b;1\r\nc;0\r\n', "a, b", None),
    "rows end with a delimiter": ("text;label\na, b;1;\nc;0;\n", "a, b", None),
    "names end with a delimiter": ("text;label;\na, b;1\nc;0\n", "a, b", None),
    "comments": ("# one\n\n# two, and more, of it\ntext;label\na, b;1\nc;0\n", "a, b", "Comments above the columns of"),
    "a column called #": ("#,text,label\n1,a,1\n2,c,0\n", "a", None),
    "quotes as signs": ('text\tlabel\n"a" b\t1\n"c\t0\nd\t1\ne\t0\n', '"a" b', "Quotes in a.csv enclose no fields"),
    "quotes as quotes": ('text\tlabel\n"a, b"\t1\n"c"\t0\n', "a, b", None),
}


@pytest.mark.parametrize(("data", "text", "note"), DIALECTS.values(), ids=DIALECTS)
def test_dialects(tmp_path, data, text, note):
    path = save(tmp_path, "a.csv", data.encode())
    assert not bad(path)
    first, second, *_ = read(path)
    assert (first["text"], first["label"].strip(), second["label"].strip()) == (text, "1", "0")
    notes = open_rows(path).notes
    assert notes[:1] == () if note is None else notes[0].startswith(note)


@pytest.mark.parametrize(
    "broken", ['"a "b" c"\t1', '"never closed\t1'], ids=["text behind a closing quote", "never closed"]
)
@pytest.mark.parametrize("other", ['"a ""b"" c"\t1\nd\t0\ne\t0', '"a"\t1', '"of two\nlines"\t1\nd\t0\ne\t0'])
def test_a_broken_quote_among_whole_ones_is_damage(tmp_path, broken, other):
    path = save(tmp_path, "a.tsv", f"text\tlabel\n{other}\n{broken}\n".encode())
    assert [kind for _, kind, _ in bad(path)] == ["with a quote out of place"]


def test_lines_above_the_columns_count(tmp_path):
    path = save(tmp_path, "a.csv", b"# one\n\n# two\n\nsentence,label\na,1\nb\n")
    assert open_rows(path).header_line == 5
    assert bad(path) == [(7, "of another width", "1 field for 2 columns")]


# Bounds


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.zst", "a.json.gz", "a.csv.zip"])
def test_a_file_that_unfolds_beyond_the_bound_is_seen_before_it_is_kept(tmp_path, monkeypatch, name):
    monkeypatch.setattr(streams, "MOST_ROWS", 1000)
    inner, suffix = name.rsplit(".", 1)
    rows = [{"text": "good", "label": "1"}] * 4800
    data = WRITERS["a.json" if "json" in name and "jsonl" not in name else f"a.{inner.split('.')[1]}"](rows)
    path = save(tmp_path, name, COMPRESSIONS[f".{suffix}"](inner, data))
    assert open_rows(path).beyond == "more than the 1,000 rows that are read"
    assert len([*islice(open_rows(path).read(), 10)]) == 10


def test_a_file_of_too_many_bytes_is_read_no_further(tmp_path, monkeypatch):
    path, asked = save(tmp_path, "a.csv", b""), []

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            asked.append(size)
            return b"text,label\n" if len(asked) == 1 else b"a" * min(size, 2**20)

    monkeypatch.setattr(streams, "MOST_BYTES", 5 * 2**20)
    monkeypatch.setattr(streams, "unfolded", lambda _: Endless())
    found = streams.survey(path)
    assert "GiB that are read" in found.beyond
    assert len(asked) <= 8


def test_what_unfolds_to_a_hundred_times_its_size_is_read_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "FREELY_UNFOLDED", 2**16)
    monkeypatch.setattr(streams, "CHUNK", 2**16)
    path = save(tmp_path, "a.csv.gz", gzip.compress(b"text,label\n" + b"good,1\n" * 100_000))
    assert open_rows(path).beyond == "unfolds to more than 100 times its size"


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "LONGEST_LINE", 100)
    path = save(tmp_path, "a.csv", b"text,label\n" + b"a" * 200 + b",1\n")
    with pytest.raises(ValueError, match=r"a\.csv, line 2: longer than 100 characters; shorter texts would do"):
        read(path)


def test_parquet_of_many_rows_is_known_by_its_description(tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.data.arrow_rows.MOST_ROWS", 1000)
    path = save(tmp_path, "a.parquet", parquet_bytes([{"text": "good", "label": "1"}] * 2000))
    assert open_rows(path).beyond == "2,000 rows, more than the 1,000 that are read"


@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
@pytest.mark.parametrize("opened", [pyarrow.ipc.new_file, pyarrow.ipc.new_stream])
def test_an_arrow_files_sizes_are_known_before_it_is_unfolded(tmp_path, monkeypatch, codec, opened):
    repeated = pyarrow.array(["x", "y"] * 1000).dictionary_encode()
    table = pyarrow.table({"text": ["good " * 100] * 2000, "label": ["1", "0"] * 1000, "more": repeated})
    options = pyarrow.ipc.IpcWriteOptions(compression=codec)
    with opened(str(tmp_path / "a.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=700)
    assert len([*open_rows(tmp_path / "a.arrow").read()]) == 2000
    with pyarrow.memory_map(str(tmp_path / "a.arrow")) as source:
        found = [*sizes(source)]
    plain = [batch.nbytes for batch in table.to_batches(max_chunksize=700)]
    batches = [each for each in found if not each.is_dictionary]
    assert [each.rows for each in batches] == [700, 700, 600]
    for each, bytes_unfolded in zip(batches, plain, strict=True):
        assert bytes_unfolded * 0.99 < each.size < bytes_unfolded * 1.01

    monkeypatch.setattr("rtlab.data.arrow_rows.MOST_BYTES", 700_000)
    rows = open_rows(tmp_path / "a.arrow")
    assert "bytes unfolded, more than the" in rows.beyond
    assert len([*islice(rows.read(), 700)]) == 700  # a batch that fits is read, where a limit asks for no more
    monkeypatch.setattr("rtlab.data.arrow_rows.MOST_BYTES", 300_000)
    unfolded = pyarrow.total_allocated_bytes()
    with pytest.raises(ValueError, match=r"a batch of rows of \d+,\d+ bytes unfolded, .*; smaller batches would do"):
        next(open_rows(tmp_path / "a.arrow").read())
    assert pyarrow.total_allocated_bytes() - unfolded < 300_000


def test_arrow_rows_without_bytes_are_counted(tmp_path, monkeypatch):
    """A column of nothing takes no memory, however many rows it has."""
    monkeypatch.setattr("rtlab.data.arrow_rows.MOST_ROWS", 1000)
    table = pyarrow.table({"text": pyarrow.nulls(10**9)})
    with pyarrow.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert open_rows(tmp_path / "a.arrow").beyond == "1,000,000,000 rows, more than the 1,000 that are read"


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary(), pyarrow.large_string()])
def test_texts_that_were_written_as_bytes_are_texts(tmp_path, kind):
    table = pyarrow.table({"text": pyarrow.array(["café", None], kind), "label": ["a", "b"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [row["text"] for row in read(tmp_path / "a.parquet")] == ["café", None]
    notes = open_rows(tmp_path / "a.parquet").column_notes
    assert notes == ({} if "string" in str(kind) else {"text": "Column 'text' holds bytes and was read as UTF-8."})


def test_a_repeated_text_of_parquet_is_held_once(tmp_path):
    path = save(tmp_path, "a.parquet", parquet_bytes([{"text": "good " * 1000, "label": "1"}] * 500))
    assert len({id(row.values["text"]) for row in [*open_rows(path).read()]}) == 1


def test_a_damaged_arrow_file_is_refused_and_never_followed(tmp_path):
    """Offsets that point out of their buffer would read other memory."""
    data = arrow_bytes([{"text": "good", "label": "a"}, {"text": "bad", "label": "b"}], pyarrow.ipc.new_stream)
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 4, 7))
    assert data.count(offsets) == 1
    path = save(tmp_path, "a.arrow", data.replace(offsets, offsets[:8] + b"\0\0\0\x40"))
    with pytest.raises(ValueError, match=r"no readable arrow file \(.*; a whole one would do"):
        read(path)


ROW = {"text": "good", "label": "1"}


@pytest.mark.parametrize(
    ("name", "contents", "expected"),
    [
        (
            "a.json",
            json.dumps({"train": [ROW], "test": [ROW]}),
            "one object that holds all rows ('train', 'test'); ",
        ),
        (
            "a.json",
            json.dumps({"text": ["good"], "label": ["1"]}),
            "one object that holds all rows ('text', 'label')",
        ),
        ("a.jsonl", json.dumps({"text": {"0": "good"}, "label": {"0": 1}}), "one object that holds all rows ("),
        ("a.csv", "", "a.csv: empty; a line of column names and a row for each sentence would do"),
        ("a.tsv", "\n \n\n", "a.tsv: empty; a line of column names and a row for each sentence would do"),
    ],
)
def test_files_that_are_no_rows_are_called_what_they_are(tmp_path, name, contents, expected):
    (tmp_path / name).write_text(contents)
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        open_rows(tmp_path / name)
    assert expected in str(caught.value)
