"""Which files are which split, by every usual layout of a directory, and folders that `datasets` saved."""

import json

import datasets
import pytest

from rtlab.data import load_splits
from rtlab.data.layout import find_layout, split_of
from rtlab.experiment import DatasetOptions

ROWS = [(f"sentence number {row}", row % 2) for row in range(60)]


def csv_text(rows=ROWS):
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)


def write(folder, *names):
    """Files of as many sentences each; every file has its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [(f"{text} of {number}", label) for text, label in ROWS]
        path.write_text(json.dumps([{"text": t, "label": n} for t, n in rows]) if ".json" in name else csv_text(rows))
    return folder


def found(folder):
    layout = find_layout(folder)
    return {split: [path.relative_to(folder).as_posix() for path in paths] for split, paths in layout.files.items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "validation") for name in ("dev", "val", "valid", "validation", "eval", "Dev", "my-dev", "dev_v2")),
        *((name, "train") for name in ("train", "TRAIN", "my-train", "train_v2", "imdb.train", "train1", "training")),
        *(
            (name, "test")
            for name in ("test", "test_set", "Test-2", "testing", "testdata", "sst.test", "TestData", "xtest")
        ),
        *((name, "train") for name in ("traindata", "TrainSet", "myTrain", "X.train", "trainval", "2023-train")),
        *((name, None) for name in ("reviews", "contest", "latest", "development2x", "strain", "value", "devil")),
    ],
)
def test_names_of_splits(name, split):
    assert split_of(name) == ("validation" if name == "development2x" else split)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.csv", "dev.tsv"], {"train": ["train.csv"], "validation": ["dev.tsv"]}),
        (["data/train.csv", "data/test.csv"], {"train": ["data/train.csv"], "test": ["data/test.csv"]}),
        (["train/a.csv", "valid/a.csv"], {"train": ["train/a.csv"], "validation": ["valid/a.csv"]}),
        (
            ["train/part-0.csv", "train/part-1.csv", "test/part-0.csv"],
            {"train": ["train/part-0.csv", "train/part-1.csv"], "test": ["test/part-0.csv"]},
        ),
        (
            ["train-00001-of-00002.csv", "train-00000-of-00002.csv"],
            {"train": ["train-00000-of-00002.csv", "train-00001-of-00002.csv"]},
        ),
        (
            ["data-00000-of-00002.csv", "data-00001-of-00002.csv"],
            {"": ["data-00000-of-00002.csv", "data-00001-of-00002.csv"]},
        ),
        (
            ["my-train.csv", "my-test.json", "README.md", ".cache/train.csv", "dataset_infos.json"],
            {"train": ["my-train.csv"], "test": ["my-test.json"]},
        ),
        (["reviews.csv"], {"": ["reviews.csv"]}),
        (["train-00000-of-00001-b42a775f407cee45.csv"], {"train": ["train-00000-of-00001-b42a775f407cee45.csv"]}),
        (
            ["default/train/0000.csv", "default/train/0001.csv"],
            {"train": ["default/train/0000.csv", "default/train/0001.csv"]},
        ),
        (["train.csv", "sample_submission.csv"], {"train": ["train.csv"]}),
        *(
            ([*reversed(names), "test.csv"], {"train": names, "test": ["test.csv"]})
            for names in (
                ["train_0.csv", "train_1.csv"],
                ["train-1.csv", "train-2.csv", *(f"train-{number}.csv" for number in range(3, 12))],
                ["train.part1.csv", "train.part2.csv"],
                ["train_1of2.csv", "train_2of2.csv"],
                ["train1.jsonl", "train2.jsonl"],
                ["train.00.csv.gz", "train.01.csv.gz"],
            )
        ),
        (
            ["part-00000-3f2b-c000.snappy.csv", "part-00001-3f2b-c000.snappy.csv", "_SUCCESS", ".part-00000.csv.crc"],
            {"": ["part-00000-3f2b-c000.snappy.csv", "part-00001-3f2b-c000.snappy.csv"]},
        ),
        (["0.csv", "1.csv", "2.csv"], {"": ["0.csv", "1.csv", "2.csv"]}),
        (["sst.train.csv", "sst.dev.csv"], {"train": ["sst.train.csv"], "validation": ["sst.dev.csv"]}),
        (["traindata.csv", "testdata.csv"], {"train": ["traindata.csv"], "test": ["testdata.csv"]}),
    ],
)
def test_layouts(tmp_path, files, expected):
    assert found(write(tmp_path, *files)) == expected


def test_what_is_above_the_directory_has_no_say(tmp_path):
    assert found(write(tmp_path / "test" / "mine", "reviews.csv")) == {"": ["reviews.csv"]}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.csv", "train.json"], "ambiguous, there are train.csv, train.json; one file, or shards of"),
        *(
            (names, f"ambiguous, there are {', '.join(names)}")
            for names in (
                ["train_0.csv", "train_2.csv"],  # one is missing, or they are no shards
                ["train-v1.csv", "train-v2.csv"],
                ["train_2020.csv", "train_2021.csv"],
                ["fold1_train.csv", "fold2_train.csv"],
                ["train_large.csv", "train_small.csv"],
                ["train_1.csv", "train_2.json"],
                ["train (1).csv", "train.csv"],
            )
        ),
        (["X.test", "X.train"], "(there are X.test, X.train); .csv, .tsv, .json, .jsonl, .parquet or .arrow, "),
        (["X.train"], ", named X.train.csv or X.train.tsv, say, would do"),
        (["train.csv", "data/train.csv"], "ambiguous, there are data/train.csv, train.csv"),
        (["a.csv", "b.csv"], "ambiguous, there are a.csv, b.csv"),
        (["train_test.csv"], "'train_test' stands for train and test; a name for each would do"),
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "has 1 of 3 shards missing, such as number 00001"),
        (["train-00001-of-00002.csv"], "train-00001-of-00002.csv has 1 of 2 shards missing, such as number 00000"),
        (
            ["a-train-00000-of-00001.csv", "b-train-00000-of-00001.csv"],
            "ambiguous, there are shards of a-train-00000-of-00001.csv and",
        ),
        (["a/notes.txt", "b.pkl"], "no file that can be read (there are a/notes.txt, b.pkl)"),
        (["train.csv", "test.xlsx"], "test.xlsx: a spreadsheet; its sheet saved as CSV"),
        (["notes.ods"], "notes.ods: a spreadsheet; its sheet saved as CSV"),
        (["a/train-00000-of-00001.csv", "b/train-00000-of-00001.csv"], "of a/train-00000-of-00001.csv and of b/train"),
    ],
)
def test_layouts_that_will_not_do(tmp_path, files, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        find_layout(write(tmp_path, *files))
    assert expected in str(caught.value)


@pytest.mark.parametrize("second", [["pos", "neg"], None], ids=["another order", "none"])
@pytest.mark.parametrize("names", [("train-00000-of-00002", "train-00001-of-00002"), ("train/one", "train/two")])
def test_files_of_one_split_whose_classes_differ_are_refused(tmp_path, names, second):
    """The same number would be two classes, and the names of the first file would be said of both."""
    for name, classes in zip(names, (["neg", "pos"], second), strict=True):
        part = datasets.Dataset.from_dict({"text": [text for text, _ in ROWS], "label": [n for _, n in ROWS]})
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        (part.cast_column("label", datasets.ClassLabel(names=classes)) if classes else part).to_parquet(path)
    with pytest.raises(ValueError, match=r"but .* has classes neg, pos; the same classes in the same order would do"):
        load_splits(str(tmp_path))


def test_shards_are_read_in_their_order(tmp_path):
    write(tmp_path, "train-00000-of-00002.csv", "train-00001-of-00002.csv")
    texts = load_splits(str(tmp_path)).train.texts
    assert [text[-1] for text in texts] == sorted(text[-1] for text in texts)
    assert {text[-1] for text in texts} == {"0", "1"}


def test_a_file_that_names_no_split_beside_others_is_said_to_be_left_out(tmp_path):
    (tmp_path / "train.txt").write_text("a good film")
    splits = load_splits(str(write(tmp_path, "train.csv", "dev.csv", "test.csv", "extra.csv", "notes.txt")))
    assert splits.notes == ("Not read: extra.csv, train.txt.",)


def test_numbered_files_are_said(tmp_path):
    splits = load_splits(str(write(tmp_path, "part-00000.csv", "part-00001.csv")))
    assert splits.notes[0] == "All is read from 2 files."


@pytest.mark.parametrize("there", [["test.csv"], ["dev.csv", "test.csv"]])
def test_without_train_the_way_out_is_said(tmp_path, there):
    with pytest.raises(
        ValueError, match=r"no train split \(there is .*\); train among the names of its files or folders"
    ):
        load_splits(str(write(tmp_path, *there)))


def test_a_folder_of_several_files_is_said(tmp_path):
    splits = load_splits(str(write(tmp_path, "train/a.csv", "train/b.csv", "dev.csv", "test.csv")))
    assert splits.notes == ("Train is read from 2 files.",)
    assert len(splits.train) == 120


# Splits by a column


def with_splits(rows):
    return "text,label,Fold\n" + "".join(f"{text},{label},{fold}\n" for (text, label), fold in rows)


def test_splits_by_a_column(tmp_path):
    folds = ["Train", "train ", "dev", "TEST"]
    rows = [(row, folds[(number // 2) % 4] if number < 40 else "unused") for number, row in enumerate(ROWS)]
    (tmp_path / "a.csv").write_text(with_splits(rows))
    splits = load_splits(str(tmp_path / "a.csv"), options=DatasetOptions(split_column="Fold"))
    assert [len(split) for _, split in splits.items()] == [20, 10, 10]
    assert splits.notes == ("Split 'unused' was left out, 20 sentences.",)
    assert splits.validation.texts[:2] == ("sentence number 4", "sentence number 5")


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (["a", "b"], "split_column must say train of some rows; got 'Fold', which says 'a', 'b'"),
        (["dev", "test"], "split_column must say train of some rows; got 'Fold', which says 'dev', 'test'"),
        (["train", ""], "30 rows without a split (line 3; line 5; …)"),
        (
            ["train", "training", "test"],
            "split_column must say each split in one way; got 'Fold', which says 't",
        ),
        (["train", "val", "dev"], "splits 'val' and 'dev' could each be validation; one would do"),
    ],
)
def test_columns_of_splits_that_will_not_do(tmp_path, folds, expected):
    (tmp_path / "a.csv").write_text(with_splits([(row, folds[number % len(folds)]) for number, row in enumerate(ROWS)]))
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        load_splits(str(tmp_path / "a.csv"), options=DatasetOptions(split_column="Fold"))
    assert expected in str(caught.value)


# What `datasets` saved


FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})


def dataset(rows=ROWS):
    return datasets.Dataset.from_dict({"text": [t for t, _ in rows], "label": [n for _, n in rows]}, features=FEATURES)


def test_the_class_names_of_lists_of_one_are_kept(tmp_path):
    features = datasets.Features(FEATURES | {"label": datasets.Sequence(FEATURES["label"])})
    part = datasets.Dataset.from_dict({"text": [t for t, _ in ROWS], "label": [[n] for _, n in ROWS]}, features)
    datasets.disable_progress_bars()
    part.to_parquet(tmp_path / "a.parquet")
    datasets.enable_progress_bars()
    assert load_splits(str(tmp_path / "a.parquet")).label_names == ("neg", "pos")


@pytest.fixture
def saved(tmp_path):
    datasets.disable_progress_bars()
    parts = {"train": dataset(), "validation": dataset(ROWS[:10]), "test": dataset(ROWS[10:20]), "extra": dataset()}
    datasets.DatasetDict(parts).save_to_disk(
        tmp_path / "saved", num_shards={"train": 3, **dict.fromkeys(("validation", "test", "extra"), 1)}
    )
    datasets.enable_progress_bars()
    return tmp_path / "saved"


def test_a_saved_folder_is_read(saved):
    splits = load_splits(str(saved))
    assert (splits.name, splits.label_names) == ("saved", ("neg", "pos"))
    assert list(zip(splits.train.texts, splits.train.labels, strict=True)) == ROWS
    assert [len(split) for _, split in splits.items()] == [60, 10, 10]
    assert splits.notes == ("Split 'extra' was left out.",)


def test_a_saved_data_set_of_one_split_is_cut(tmp_path):
    datasets.disable_progress_bars()
    dataset().save_to_disk(tmp_path / "saved")
    datasets.enable_progress_bars()
    splits = load_splits(str(tmp_path / "saved"))
    assert [len(split) for _, split in splits.items()] == [48, 6, 6]


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            lambda folder: next((folder / "train").glob("*.arrow")).unlink(),
            "of 3 files is missing; all of them would do",
        ),
        (
            lambda folder: rewrite(folder / "train/state.json", _data_files=[{"filename": "../../x.arrow"}]),
            "lies outside",
        ),
        (
            lambda folder: rewrite(folder / "train/state.json", _data_files=[{"filename": "/etc/passwd"}]),
            "lies outside",
        ),
        (lambda folder: rewrite(folder / "train/state.json", _data_files=None), "no list of data files"),
        (lambda folder: rewrite(folder / "dataset_dict.json", splits=["../train"]), "lies outside"),
        (lambda folder: rewrite(folder / "dataset_dict.json", splits=7), "no list of splits"),
        (lambda folder: (folder / "train/state.json").write_text("{"), "state.json: cannot be read (Expecting"),
        (lambda folder: (folder / "train/state.json").write_text("[]"), "state.json: JSON, but no object"),
        (
            lambda folder: rewrite(folder / "train/state.json", _indices_files=["x"]),
            "saved by an old version of `datasets`",
        ),
    ],
)
def test_spoiled_folders_are_refused(saved, spoil, expected):
    spoil(saved)
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        load_splits(str(saved))
    assert expected in str(caught.value)
