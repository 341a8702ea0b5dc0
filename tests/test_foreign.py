"""Files that hold no rows under names of data: each is called what it is, in one line that says what would do."""

import gzip
import io
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
import pytest

from rtlab.data.rows import open_rows

PAGE = b"\xef\xbb\xbf\n<!DOCTYPE HTML>\n<title>text, label</title>"


def zip_of(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else "x")
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return file.getvalue()


def parquet():
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": ["b"]}), sink)
    return sink.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FOREIGN = {
    "a Git LFS pointer": POINTER,
    "a git-annex pointer": b"/annex/objects/MD5E-s4398--abc.csv\n",
    "a web page (HTML)": PAGE,
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a PDF": b"%PDF-1.7\n1 0 obj",
    "a spreadsheet": zip_of("[Content_Types].xml", "xl/workbook.xml"),
    "a spreadsheet; ": zip_of("mimetype", "content.xml"),
    "a document": zip_of("[Content_Types].xml", "word/document.xml"),
    "an SQLite database": b"SQLite format 3\0\x10\0",
    "a pickle": b"\x80\x04\x95\x17\0\0\0",
    "a file of PyTorch's": zip_of("archive/data.pkl", "archive/version"),
    "NumPy arrays": zip_of("text.npy"),
    "a data file of R": gzip.compress(b"X\n\0\0\0\3\0\4"),
    "a zip of 2 files": zip_of("a.csv", "b.csv"),
    "a program": b"\x7fELF\x02\x01",
    "a program; ": b"MZ\x90\0\x03\0\0\0",
    "a tar archive": gzip.compress(tar()),
    "compressed by xz": b"\xfd7zXZ\0\0",
    "an image": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize(("what", "data"), FOREIGN.items(), ids=FOREIGN)
def test_what_a_file_is_that_holds_no_rows(tmp_path, what, data):
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
            open_rows(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {what}")


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.parquet", POINTER, "a Git LFS pointer"),
        ("a.arrow", PAGE, "a web page"),
        ("a.csv", parquet(), "a file of format .parquet, under another name; the same file named .parquet would do"),
        ("a.arrow", parquet(), "a file of format .parquet, under another name"),
        ("a.csv", b'[{"text": "a", "label": 1}]', "JSON, under another name; the same file named .json would do"),
        ("a.csv", b"__label__good a fine film\n", "lines of fastText"),
        ("a.json", b" \n", "empty; an array of objects, or one a line, would do"),
    ],
)
def test_what_is_under_another_name(tmp_path, name, data, what):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        open_rows(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {what}")


@pytest.mark.parametrize("name", ["ORCID", "MZ", "BZh", "PARK", "version", "#!", "X"])
def test_columns_may_be_called_as_formats_begin(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"{name},text,label\n1,a,b\n")
    assert open_rows(tmp_path / "a.csv").columns == (name, "text", "label")
