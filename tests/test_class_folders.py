"""A folder for each class and a file for each text."""

import pytest

from rtlab.data import load_splits
from rtlab.experiment import DatasetOptions

SAID = "A file is a text, and its folder's name the label."


def write(folder, *places, number=20, text="{place}, text {row}, of it.\n\nAll.\n", name="{row}_7.txt"):
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        for row in range(number):
            (folder / place / name.format(row=row)).write_text(text.format(place=place, row=row), encoding="utf-8")
    return str(folder)


def test_splits_of_class_folders(tmp_path):
    """As the IMDb reviews come."""
    write(tmp_path, "train/pos", "train/neg", "test/pos", "test/neg", "train/unsup")
    (tmp_path / "README").write_text("x")
    (tmp_path / "train" / "urls_pos.txt").write_text("x")
    splits = load_splits(str(tmp_path))
    assert splits.label_names == ("neg", "pos")
    assert [len(split) for _, split in splits.items()] == [36, 4, 40]
    assert splits.test.texts[0] == "test/neg, text 0, of it.\n\nAll."
    assert all(
        text.split(",")[0] == f"test/{('neg', 'pos')[label]}"
        for text, label in zip(splits.test.texts, splits.test.labels, strict=True)
    )
    assert splits.notes[:3] == (
        SAID,
        "Folder 'unsup' was left out: its texts have no labels.",
        "Not read: 1 other file, such as train/urls_pos.txt.",
    )


@pytest.mark.parametrize(
    ("places", "name", "sizes"),
    [
        (("pos", "neg"), "{row}.txt", [32, 4, 4]),
        (("news-train/sci.space", "news-train/rec", "news-test/sci.space", "news-test/rec"), "{row}", [36, 4, 40]),
        (("data/5", "data/1"), "{row}.txt", [32, 4, 4]),
    ],
)
def test_layouts_of_class_folders(tmp_path, places, name, sizes):
    splits = load_splits(write(tmp_path, *places, name=name))
    assert [len(split) for _, split in splits.items()] == sizes
    assert splits.label_names == tuple(sorted({place.split("/")[-1] for place in places}))


def test_texts_without_a_class_are_said_not_to_be_read(tmp_path):
    splits = load_splits(write(tmp_path, "train/pos", "train/neg", "test"))
    assert splits.notes[1] == "Not read: 20 other files, such as test/0_7.txt."


def test_an_empty_file_is_a_bad_row_and_latin_1_is_said(tmp_path):
    write(tmp_path, "pos", "neg")
    (tmp_path / "neg" / "3_7.txt").write_bytes(b" \n")
    (tmp_path / "neg" / "4_7.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"1 row without a text \(file \d+: 3_7\.txt\); rows without these, or --skip"):
        load_splits(str(tmp_path))
    splits = load_splits(str(tmp_path), options=DatasetOptions(skip_bad_rows=True))
    assert f"1 of 40 files in {tmp_path.name} are no UTF-8 and were read as Latin-1." in splits.notes
    assert "café" in {text for _, split in splits.items() for text in split.texts}


def test_too_many_bytes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("rtlab.data.class_folders.MOST_BYTES", 100)
    with pytest.raises(
        ValueError, match=r"40 files of [0-9,]+ bytes, more than the .* that are read; a smaller file, or"
    ):
        load_splits(write(tmp_path, "pos", "neg"))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("en/pos", "en/neg", "de/pos", "de/neg"), "ambiguous, there are class folders in de and en; one would do"),
        (("train", "test"), "no file that can be read (there are test/0_7.txt"),
        (("pos",), "no file that can be read (there are pos/0_7.txt"),
    ],
)
def test_folders_of_texts_that_will_not_do(tmp_path, places, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        load_splits(write(tmp_path, *places))
    assert expected in str(caught.value)


def test_a_file_of_rows_goes_first(tmp_path):
    write(tmp_path, "pos", "neg")
    (tmp_path / "all.csv").write_text("text,label\n" + "".join(f"text {row},{row % 2}\n" for row in range(40)))
    assert load_splits(str(tmp_path)).label_names == ("0", "1")
