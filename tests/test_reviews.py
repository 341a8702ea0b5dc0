"""Loading data sets: directories of every form, their faults, the corpus, and the hub (a stand-in on this machine)."""

import itertools
import json
import re
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from rtlab import hub
from rtlab.data import Split, check, load_splits
from rtlab.data.reviews import HUB_REVISION
from rtlab.experiment import DEFAULT_DATASET

TRAIN = [("good", 1), ("bad", 0), ("fine", 1), ("dull", 0)]
VALIDATION = [("nice", 1), ("poor", 0)]
TEST = [("weak", 0), ("great", 1)]
CLASS_LABEL = {
    "info": {
        "features": {
            "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
            "text": {"dtype": "string", "_type": "Value"},
        }
    }
}


def csv_bytes(rows):
    return "".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows]).encode()


def jsonl_bytes(rows):
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows).encode()


def parquet_bytes(rows, metadata=None, **columns):
    columns = columns or dict(zip(("text", "label"), map(list, zip(*rows, strict=True)), strict=True))
    table = pyarrow.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


GOOD = {"train.csv": csv_bytes(TRAIN), "validation.csv": csv_bytes(VALIDATION), "test.csv": csv_bytes(TEST)}
POLARITY = {
    "rt-polarity.pos": "".join(f"good {row} \n" for row in range(10)).encode(),
    "rt-polarity.neg": "".join(f"bad {row} \n" for row in range(10)).encode(),
}


def write(folder, files):
    """Write files, a path to its bytes; None leaves one out."""
    for name, data in files.items():
        if data is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return str(folder)


def refusal(dataset, **options):
    """The message of the ValueError, which must be one line and end with what would do."""
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        load_splits(dataset, **options)
    return str(caught.value)


# The original files


def test_polarity_files_are_cut_per_class_with_the_positives_first(tmp_path):
    splits = load_splits(write(tmp_path / "rt", POLARITY))
    assert (splits.name, splits.revision, splits.label_names) == ("rt", None, ("neg", "pos"))
    assert splits.train.texts == (*(f"good {row}" for row in range(8)), *(f"bad {row}" for row in range(8)))
    assert splits.train.labels == (1,) * 8 + (0,) * 8
    assert splits.validation == Split(("good 8", "bad 8"), (1, 0))
    assert splits.test == Split(("good 9", "bad 9"), (1, 0))


def test_polarity_bounds_round_half_up(tmp_path):
    files = {name: b"".join(b"%d\n" % row for row in range(13)) for name in POLARITY}
    splits = load_splits(write(tmp_path, files))
    assert [len(split) for _, split in splits.items()] == [2 * 10, 2 * 2, 2 * 1]  # 10.4 and 11.7, + 0.5


def test_polarity_lines_end_at_line_feeds_only_and_are_latin_1(tmp_path):
    lines = [b"caf\xe9 \x85 one \n", b"\x85two\x85 \n", b"\xa0 three\r\n", b"a\x1cb\x0bc\x0cd\x1ee\n"] * 4
    files = {"rt-polarity.pos": b"".join(lines), "rt-polarity.neg": POLARITY["rt-polarity.neg"]}
    splits = load_splits(write(tmp_path, files))
    assert splits.train.texts[:4] == ("café \x85 one", "two", "three", "a\x1cb\x0bc\x0cd\x1ee")


def test_the_real_files_give_the_hubs_splits(real_data):
    splits = load_splits(str(real_data))
    checks = check(splits)
    found = [(split.size, split.label_counts, split.hub_bytes) for _, split in checks.items()]
    assert found == [(8530, (4265, 4265), 1_074_806), (1066, (533, 533), 134_675), (1066, (533, 533), 135_968)]
    assert [(split.empty, split.duplicates) for _, split in checks.items()] == [(0, 0)] * 3
    assert [count for _, _, count in checks.shared] == [0, 0, 0]
    assert splits.sha256 == "139902e31bdfd9d34a616b2c5f8e66a07be3947f7095dc6fdf841ed5d071c9f0"


# Files per split


@pytest.mark.parametrize(
    ("suffix", "encoded"), [(".csv", csv_bytes), (".jsonl", jsonl_bytes), (".parquet", parquet_bytes)]
)
def test_every_format_gives_the_same(tmp_path, suffix, encoded):
    files = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    splits = load_splits(write(tmp_path, {name + suffix: encoded(rows) for name, rows in files.items()}))
    for name, rows in files.items():
        assert getattr(splits, name) == Split(*map(tuple, zip(*rows, strict=True)))
    assert (splits.name, splits.revision, splits.label_names) == (tmp_path.name, None, ("0", "1"))


def test_formats_may_be_mixed(tmp_path):
    files = {
        "train.parquet": parquet_bytes(TRAIN),
        "validation.csv": csv_bytes(VALIDATION),
        "test.jsonl": jsonl_bytes(TEST),
    }
    assert load_splits(write(tmp_path, files)).validation == Split(("nice", "poor"), (1, 0))


def test_a_relative_path_has_a_name(tmp_path, monkeypatch):
    write(tmp_path / "mine", GOOD)
    monkeypatch.chdir(tmp_path / "mine")
    assert load_splits(".").name == "mine"
    monkeypatch.chdir(tmp_path)
    assert load_splits("mine/").name == "mine"
    assert load_splits("./mine").name == "mine"


def test_a_directory_goes_before_a_hub_id(tmp_path, monkeypatch):
    write(tmp_path / "owner" / "name", GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_splits("owner/name").name == "name"


def test_home_is_expanded(tmp_path, monkeypatch):
    write(tmp_path / "mine", GOOD)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_splits("~/mine").name == "mine"


def test_a_parquet_files_class_label_names_its_classes(tmp_path):
    files = {f"{name}.parquet": parquet_bytes(TRAIN, CLASS_LABEL) for name in ("train", "validation", "test")}
    assert load_splits(write(tmp_path, files)).label_names == ("neg", "pos")


def test_parquet_columns_may_be_dictionaries(tmp_path):
    """As pandas writes its categories."""
    text, label = (pyarrow.array(values).dictionary_encode() for values in (["a", "b", "a", "c"], ["x", "y", "y", "x"]))
    data = parquet_bytes([], text=text, label=label)
    splits = load_splits(write(tmp_path, {f"{name}.parquet": data for name in ("train", "validation", "test")}))
    assert splits.train == Split(("a", "b", "a", "c"), (0, 1, 1, 0))


def test_string_labels_are_sorted(tmp_path):
    rows = [("a", "sport"), ("b", "arts"), ("c", "10"), ("d", "9"), ("e", "9 lives")] * 2
    files = dict.fromkeys(GOOD, csv_bytes(rows))
    splits = load_splits(write(tmp_path, files))
    assert splits.label_names == ("10", "9", "9 lives", "arts", "sport")
    assert splits.test.labels == (4, 3, 0, 1, 2) * 2


def test_boolean_labels_are_false_and_true(tmp_path):
    rows = [("a", True), ("b", False)] * 2
    splits = load_splits(write(tmp_path, {name.replace("csv", "jsonl"): jsonl_bytes(rows) for name in GOOD}))
    assert (splits.label_names, splits.train.labels) == (("false", "true"), (1, 0) * 2)


def test_many_classes(tmp_path):
    rows = [(f"text {label}", label) for label in range(150)] * 2
    splits = load_splits(write(tmp_path, dict.fromkeys(GOOD, csv_bytes(rows))))
    assert splits.label_names == tuple(map(str, range(150)))
    assert splits.test.labels == tuple(range(150)) * 2


def test_csv_texts_are_never_guessed_at(tmp_path):
    texts = [
        "NA",
        "null",
        "None",
        "nan",
        "007",
        "1e5",
        "True",
        " spaced ",
        '"quo""ted, with comma"',
        '"two\nlines"',
        "é",
    ]
    rows = [(text, row % 2) for row, text in enumerate(texts)]
    splits = load_splits(write(tmp_path, {**GOOD, "train.csv": csv_bytes(rows)}))
    assert splits.train.texts == (*texts[:8], 'quo"ted, with comma', "two\nlines", "é")


def test_text_files_may_have_a_byte_order_mark_windows_line_ends_and_other_columns(tmp_path):
    csv = b"\xef\xbb\xbflabel,id,text\r\n1,a,good\r\n\r\n0,b,bad\r\n1,c,good\r\n0,d,bad\r\n"
    jsonl = '{"id": 1, "text": "a\u2028b\x85c", "label": 1}\r\n{"label": 0, "text": "bad"}'.encode()
    splits = load_splits(write(tmp_path, {"train.csv": csv, "validation.jsonl": jsonl, "test.csv": GOOD["test.csv"]}))
    assert splits.train == Split(("good", "bad") * 2, (1, 0) * 2)
    assert splits.validation == Split(("a\u2028b\x85c", "bad"), (1, 0))


def test_limit(tmp_path):
    dataset = write(tmp_path, GOOD)
    assert load_splits(dataset, limit=2).train == Split(("good", "bad"), (1, 0))
    assert load_splits(dataset, limit=1000) == load_splits(dataset)
    assert refusal(dataset, limit=1).startswith("limit 1: too few for 2 classes")


def test_the_corpus():
    splits = load_splits("corpus")
    assert (splits.name, splits.revision, splits.label_names) == ("corpus", None, ("negative", "positive"))
    assert [len(split) for _, split in splits.items()] == [8530, 1066, 1066]
    assert splits.sha256 == load_splits("corpus").sha256
    assert all(0.4 < sum(split.labels) / len(split) < 0.6 for _, split in splits.items())


# What is no data set


@pytest.mark.parametrize(
    "dataset",
    ["imdb", "", "~nosuchuser", "~/no where", "a/b/c", "./nowhere/at/all", "/no/where", "own--er/name", "no where"],
)
def test_what_is_neither_directory_nor_hub_id(dataset):
    message = refusal(dataset)
    assert message.startswith(
        f"dataset {dataset!r}: no such file or directory, and no hub id (owner/name); 'corpus' (built in), "
    )
    assert "rt-polarity.pos" in message


BAD = "; rows without these, or --skip-bad-rows to leave them out, would do"
LAYOUTS = {
    "nothing": ({}, ": empty; .csv, .tsv, .json, .jsonl, .parquet or .arrow"),
    "nothing that is read": (
        {"notes.txt": b"a", "model.pkl": b""},
        "no file that can be read (there are model.pkl, notes",
    ),
    "half": ({"rt-polarity.pos": b"a"}, "no file rt-polarity.neg (there is rt-polarity.pos); 'corpus'"),
    "no train": ({**GOOD, "train.csv": None}, "no train split (there is validation, test); train among the names"),
    "one twice": (
        {**GOOD, "train.jsonl": jsonl_bytes(TRAIN)},
        "ambiguous, there are train.csv, train.jsonl; one file, or",
    ),
    "both forms": (
        {**GOOD, **POLARITY},
        "ambiguous, there are rt-polarity.pos, rt-polarity.neg, test.csv, train.csv, ",
    ),
    "empty polarity": ({**POLARITY, "rt-polarity.pos": b""}, ", train: the only label is 'neg'"),
    "small polarity": (dict.fromkeys(POLARITY, b"a\nb\nc\nd\n"), ", test: no sentences; some of each class"),
    "too few to cut": (
        {**GOOD, "test.csv": None},
        "4 sentences (4 different, of the rarest class 2) are too few to cut test",
    ),
}
FAULTS = {
    "no columns": (
        {"train.csv": b""},
        "train.csv: empty; a line of column names and a row for each sentence would do",
    ),
    "json column": ({"test.jsonl": b'{"text": "a", "y": 1}\n'}, "test.jsonl: no column 'label' (columns: 'text', 'y')"),
    "no lines": ({"test.jsonl": b""}, "test.jsonl: empty; an array of objects, or one a line"),
    "parquet column": (
        {"test.parquet": parquet_bytes([], x=[1])},
        "test.parquet: no column 'text' and no 'label' (columns: 'x')",
    ),
    "no rows": ({"validation.csv": b"text,label\n"}, "validation.csv: no sentences; some of each class would do"),
    "no train": ({"train.csv": b"text,label\n"}, "train.csv: no sentences; some of each class would do"),
    "one class": ({"train.csv": csv_bytes([("a", 0), ("b", 0)])}, "train.csv: the only label is '0'; sentences of two"),
    "one test class": (
        {"test.csv": csv_bytes([("a", 1)])},
        "test.csv: the only label is '1'; sentences of two or more",
    ),
    "csv text": ({"test.csv": b"text,label\na,1\n,0\n"}, "test.csv: 1 row without a text (line 3)" + BAD),
    "null text": ({"test.jsonl": jsonl_bytes([("a", 1), (None, 0)])}, "test.jsonl: 1 row without a text (line 2)"),
    "no text": (
        {"test.jsonl": b'{"text": "a", "label": 1}\n{"label": 0}\n'},
        "test.jsonl: 1 row without a text (line 2)",
    ),
    "parquet text": (
        {"test.parquet": parquet_bytes([("a", 1), (None, 0)])},
        "test.parquet: 1 row without a text (row 2)",
    ),
    "NaN text": ({"test.parquet": parquet_bytes([(float("nan"), 1)])}, "test.parquet: 1 row without a text (row 1)"),
    "blank texts": (
        {"test.csv": csv_bytes([("  ", 1), ("b", 0), ("\u00a0", 1), ("", 0)])},
        "test.csv: 3 rows without a text (line 2; line 4; …)",
    ),
    "number text": (
        {"test.jsonl": jsonl_bytes([("a", 1), (7, 0)])},
        "test.jsonl: 1 row with a text that is no string (line 2: 7 is of type int)",
    ),
    "bytes text": (
        {"test.parquet": parquet_bytes([(b"a\xff", 1)])},
        "test.parquet: 1 row with undecodable bytes (row 1)",
    ),
    "surrogate": (
        {"test.jsonl": jsonl_bytes([("a\ud800b", 1)])},
        "test.jsonl: 1 row with half of a surrogate pair (line 1)",
    ),
    "csv label": ({"train.csv": b"text,label\na,1\nb,\n"}, "train.csv: 1 row without a label (line 3)" + BAD),
    "null label": ({"test.jsonl": jsonl_bytes([("a", 1), ("b", None)])}, "test.jsonl: 1 row without a label (line 2)"),
    "NaN label": (
        {"train.parquet": parquet_bytes([("a", 1.0), ("b", float("nan"))])},
        "train.parquet: 1 row without a label (row 2)",
    ),
    "csv NaN": ({"train.csv": csv_bytes([("a", 0), ("b", "nan")])}, "train.csv: 1 row without a label (line 3: 'nan')"),
    "real label": (
        {"train.csv": csv_bytes([("a", 0), ("b", "0.37")])},
        "train.csv, line 3: label 0.37 is a real number, as for a regression; whole numbers or texts as",
    ),
    "real json label": ({"train.jsonl": jsonl_bytes([("a", 0.5)])}, "train.jsonl, line 1: label 0.5 is a real number"),
    "list label": (
        {"train.jsonl": jsonl_bytes([("a", [1, 2])])},
        "train.jsonl, line 1: several labels a row ([1, 2]); ",
    ),
    "joined labels": (
        {"train.csv": csv_bytes([("a", "toxic"), ("b", "rude"), ("c", "rude;toxic")])},
        "train.csv, line 4: several labels a row ('rude;toxic'); one label a row would do",
    ),
    "negative label": (
        {"test.csv": csv_bytes([("a", 1), ("b", -1)])},
        "test.csv, line 3: label '-1' is not in train, which has '0', '1'; one of those, or where it stands for a",
    ),
    "one of a class": (
        {"train.csv": csv_bytes([("a", 0), ("b", 2), ("c", 2)])},
        "train.csv, line 2: the only sentence of class '0' in train (classes with one sentence: 1); two or",
    ),
    "case": (
        {"train.csv": csv_bytes([("a", "Good"), ("b", "bad"), ("c", "good ")] * 2)},
        "train.csv, line 4: labels 'Good', 'good' differ in case or spaces alone ('Good' in ",
    ),
    "inner spaces": (
        {"train.csv": csv_bytes([("a", "very good"), ("b", "bad"), ("c", "very  good")] * 2)},
        "train.csv, line 4: labels 'very  good', 'very good' differ in case or spaces alone",
    ),
    "one name": (
        {"train.parquet": parquet_bytes(TRAIN, json.loads(json.dumps(CLASS_LABEL).replace("neg", "pos")))},
        "train.parquet: two classes are called 'pos'; a name for each would do",
    ),
    "many others": (
        {"train.csv": csv_bytes([("a", 2 * label) for label in range(20)] * 2)},
        "label '1' is not in train, which has '0', '2', '4', '6', '8', '10', '12', '14' and 12 more; one of those",
    ),
    "two types": (
        {"train.jsonl": jsonl_bytes([("a", 0), ("b", "1")])},
        "train.jsonl, line 2, '1'; only numbers or only texts would do",
    ),
    "bool and int": (
        {"train.jsonl": jsonl_bytes([("a", True), ("b", 0)])},
        "train.jsonl, line 1: labels of two types, True and, in ",
    ),
    "new label": (
        {"test.csv": csv_bytes([("a", 1), ("b", 2)])},
        "test.csv, line 3: label '2' is not in train, which has '0', '1'",
    ),
    "new name": (
        {"test.csv": csv_bytes([("a", 1), ("b", "x")])},
        "test.csv, line 3: label 'x' is not in train, which has '0', '1'",
    ),
    "new type": (
        {"test.jsonl": jsonl_bytes([("a", True)])},
        "test.jsonl, line 1: label 'True' is not in train, which has '0', '1'",
    ),
    "undeclared": (
        {"train.parquet": parquet_bytes([("a", 2), ("b", 0)], CLASS_LABEL)},
        "train.parquet, row 1: label 2 is none of the 2 declared classes 'neg', 'pos'; 0 to 1 would do",
    ),
    "other names": (
        {
            "train.parquet": parquet_bytes(TRAIN, CLASS_LABEL),
            "test.parquet": parquet_bytes(TEST, json.loads(json.dumps(CLASS_LABEL).replace("neg", "bad"))),
        },
        "test.parquet: classes ('bad', 'pos'), but ",
    ),
    "cut UTF-16": (
        {"test.jsonl": '{"text"'.encode("utf-16")},
        "test.jsonl: no row that can be read (line 1: Expecting",
    ),
    "fields": (
        {"test.csv": b"text,label\na,1\nb, c,0\nb\n"},
        "test.csv: 2 rows of another width (line 3: 3 fields for 2 columns; line 4: 1 field for 2 columns)",
    ),
    "open quote": (
        {"test.csv": b'text,label\n"a,1\nb,0\n'},
        "test.csv: 1 row with a quote out of place (line 2: a quote that is never closed)",
    ),
    "cut line": ({"test.jsonl": jsonl_bytes(TEST)[:-5]}, "test.jsonl: 1 row of malformed JSON (line 2: Expecting"),
    "name twice": (
        {"test.jsonl": jsonl_bytes(TEST) + b'{"text": "a", "text": "b", "label": 0}'},
        "test.jsonl: 1 row of malformed JSON (line 3: a name twice in one object)",
    ),
    "no object": ({"test.jsonl": b"1\n"}, "test.jsonl: no row that can be read (line 1: JSON of type int)"),
    "one no object": (
        {"test.jsonl": jsonl_bytes(TEST) + b"[1]"},
        "test.jsonl: 1 row that is no JSON object (line 3: JSON of type list)",
    ),
    "deep": ({"test.jsonl": b"[" * 200_000 + b"\n"}, "test.jsonl, row 1: malformed JSON ("),
    "no parquet": ({"test.parquet": b"text,label\n"}, "test.parquet: no readable parquet file (Parquet"),
    "empty parquet": ({"test.parquet": b""}, "test.parquet: no readable parquet file (Parquet"),
    "cut parquet": ({"test.parquet": parquet_bytes(TEST)[:-30]}, "test.parquet: no readable parquet file (Parquet"),
    "Latin-1 parquet": (
        {"test.parquet": parquet_bytes(TEST).replace(b"weak", b"we\xe9k")},
        "test.parquet: 1 row with undecodable bytes (row 1)",
    ),
}


@pytest.mark.parametrize(("files", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_that_will_not_do(tmp_path, files, expected):
    assert expected in refusal(write(tmp_path, files))


@pytest.mark.parametrize(("files", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_of_files(tmp_path, files, expected):
    """Each fault in an otherwise good directory."""
    faulty = {Path(name).stem for name in files}
    good = {name: data for name, data in GOOD.items() if Path(name).stem not in faulty}
    message = refusal(write(tmp_path, {**good, **files}))
    assert expected in message
    assert str(tmp_path) in message


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    for files in (GOOD, POLARITY):
        dataset = write(tmp_path / str(len(files)), files)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuse)
            patch.setattr(Path, "open", refuse)
            assert re.search(r"(\.csv|rt-polarity.pos): cannot be read \(.*Permission denied.*\); ", refusal(dataset))


# The hub

LOAD = """
import json, sys
from rtlab.data import load_splits
from rtlab.experiment import DatasetOptions

answers = []
for argument in sys.argv[1:]:
    dataset, _, config = argument.partition("@")
    try:
        splits = load_splits(dataset, options=DatasetOptions(config=config or None))
        answer = {"sizes": [len(split) for _, split in splits.items()], "names": splits.label_names}
        answer |= {"name": splits.name, "revision": splits.revision, "sha256": splits.sha256, "notes": splits.notes}
    except ValueError as error:
        answer = {"error": str(error)}
    answers.append(answer)
json.dump(answers, sys.stdout)
"""
ALTERNATIVES = (
    "'corpus' (built in), a directory with rt-polarity.pos and rt-polarity.neg, a file of sentences and labels, or "
)
README = b"""---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: validation, path: data/valid-*}
  - {split: test, path: data/test-*}
dataset_info:
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': bad, '1': good}}}}
---
A card.
"""
TWO = b"""---
configs:
- {config_name: one, data_files: train.parquet}
- {config_name: two, data_files: test.parquet}
---
"""
FILES = {
    f"{name}.parquet": parquet_bytes(rows, CLASS_LABEL)
    for name, rows in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
}
CARDED = {
    "README.md": README,
    "data/train-00.parquet": parquet_bytes(TRAIN),
    "data/valid-00.parquet": parquet_bytes(VALIDATION),
    "data/test-00.parquet": parquet_bytes(TEST),
    "reviews.py": b"raise SystemExit('ran')",
    "weights.pkl": b"pickle",
}


CONFIGURED = {
    "README.md": b"""---
configs:
- {config_name: small, data_files: [{split: train, path: small/train.csv}, {split: test, path: small/test.csv}]}
- {config_name: large, data_files: [{split: train, path: large/train.csv}]}
---
""",
    "small/train.csv": b"".join([b"sentence,label\n", *(b"text %d,%d\n" % (row, row % 2) for row in range(40))]),
    "small/test.csv": b"sentence,label\nsome text,1\nother text,0\n",
    "large/train.csv": b"sentence,label\na,1\nb,0\n",
}
MANY = [(f"text {row}", row % 2) for row in range(40)]
SECRET = {
    "train.parquet": parquet_bytes(MANY, CLASS_LABEL),
    "test.parquet": parquet_bytes([("a", -1), ("b", -1)], CLASS_LABEL),
}


@pytest.fixture(scope="module")
def load(run_python, tmp_path_factory):
    """Load data sets in a fresh process: `load(endpoint, cache, *datasets)`; its output must hold nothing else."""

    def call(endpoint, cache, *datasets, offline=None):
        variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": offline}
        done = run_python(LOAD, *datasets, **variables)
        assert not done.stderr, done.stderr
        assert done.returncode == 0
        return json.loads(done.stdout)

    return call


@pytest.fixture(scope="module")
def downloaded(hub_stand_in, load, tmp_path_factory):
    """What was loaded from a hub, by data set; the cache; and the hub's address, where nobody answers any more."""
    repository = hub_stand_in.Repository
    repositories = [
        repository(DEFAULT_DATASET, FILES, commit=HUB_REVISION),
        repository("acme/carded", CARDED),
        repository("acme/two-splits", {"train.csv": csv_bytes(MANY), "test.csv": csv_bytes(TEST)}),
        repository("acme/one-split", {"train.csv": csv_bytes(MANY)}),
        repository("acme/other-splits", {"test.csv": csv_bytes(MANY)}),
        repository("acme/columns", {f"{name}.csv": b"a1,b1\na,1\n" for name in ("train", "validation", "test")}),
        repository("acme/secret", {**FILES, **SECRET}),
        repository("acme/broken", {**FILES, "test.parquet": b"no parquet"}),
        repository("acme/two", {**FILES, "README.md": TWO}),
        repository("acme/configured", CONFIGURED),
        repository("acme/card", {"README.md": b"A card."}),
        repository("acme/script", {"script.py": b"raise SystemExit('ran')", "data.pkl": b"pickle"}),
        repository("acme/gated", FILES, gated=True),
        repository("acme/token", FILES, status=401),
        repository("acme/down", FILES, status=503),
    ]
    cache = tmp_path_factory.mktemp("hub")
    names = [*(each.name for each in repositories), "acme/nowhere"]
    names += ["acme/configured@small", "acme/configured@none"]
    with hub_stand_in.serving(*repositories) as endpoint:
        answers = load(endpoint, cache, *names)
    return dict(zip(names, answers, strict=True)), cache, endpoint


def test_the_default_comes_from_the_hub(downloaded, tmp_path):
    answers, _, _ = downloaded
    found = answers[DEFAULT_DATASET]
    assert (found["name"], found["revision"]) == (DEFAULT_DATASET, HUB_REVISION)
    assert (found["sizes"], found["names"]) == ([4, 2, 2], ["neg", "pos"])
    assert found["sha256"] == load_splits(write(tmp_path, FILES)).sha256


def test_a_hub_data_sets_card_is_followed(downloaded):
    answers, cache, _ = downloaded
    found = answers["acme/carded"]
    assert (found["sizes"], found["names"], found["revision"]) == (
        [4, 2, 2],
        ["bad", "good"],
        "0123456789abcdef" * 2 + "01234567",
    )
    names = {path.name for path in cache.rglob("datasets--acme--carded/snapshots/**/*") if path.is_file()}
    assert names == {"README.md", "train-00.parquet", "valid-00.parquet", "test-00.parquet"}


@pytest.mark.parametrize(
    ("dataset", "sizes", "said"),
    [
        (DEFAULT_DATASET, [4, 2, 2], []),
        ("acme/carded", [4, 2, 2], []),
        ("acme/two-splits", [36, 4, 2], ["A tenth of train is validation"]),
        ("acme/configured@small", [36, 4, 2], ["Texts are column 'sentence'.", "A tenth of train is validation"]),
        ("acme/one-split", [32, 4, 4], ["There is no validation and no test: a tenth of train each"]),
        (
            "acme/secret",
            [36, 4, 2],
            ["The labels of test are hidden: validation serves as test.", "A tenth of train is val"],
        ),
    ],
)
def test_a_hub_data_set_without_all_splits(downloaded, dataset, sizes, said):
    found = downloaded[0][dataset]
    assert found["sizes"] == sizes
    assert len(found["notes"]) == len(said)
    assert all(note.startswith(start) for note, start in zip(found["notes"], said, strict=True))


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("acme/other-splits", "no train split (there is test); 'corpus'"),
        ("acme/columns", "train: no column 'label', nor another that is surely the label (columns: 'a1', 'b1'); "),
        (
            "acme/broken",
            "Parquet magic bytes not found in footer. Either the file is corrupted or this is not a parquet file; ",
        ),
        ("acme/two", "has the configurations one, two; --dataset-config with one would do"),
        ("acme/configured", "has the configurations small, large; --dataset-config with one would do"),
        ("acme/card", "The directory at acme/card doesn't contain any data files; what `datasets` reads without"),
        ("acme/script", "the hub has no file of it like *.parquet, *.csv, "),
        ("acme/gated", "gated on the hub: its terms accepted there, and HF_TOKEN set, would open it; 'corpus'"),
        ("acme/token", "refused by the hub with HTTP 401: a wrong name, or a wrong HF_TOKEN; 'corpus'"),
        ("acme/down", "the hub cannot be reached, and its cache holds no copy (Server error '503"),
        ("acme/nowhere", "no directory here, and nothing on the hub that is open to you "),
    ],
)
def test_what_the_hub_has_not(downloaded, dataset, expected):
    message = downloaded[0][dataset]["error"]
    assert message.startswith(f"dataset {dataset!r}")
    assert expected in message
    assert message.endswith("would do")
    assert "\n" not in message


def test_a_configuration_that_is_not_there(downloaded):
    message = downloaded[0]["acme/configured@none"]["error"]
    assert message == "dataset_config must be one of small, large; got 'none'; one of these would do"


@pytest.mark.parametrize("offline", [None, "1"], ids=["hub gone", "offline"])
def test_without_the_hub_the_cache_serves(downloaded, load, offline):
    answers, cache, endpoint = downloaded
    names = [DEFAULT_DATASET, "acme/carded", "acme/nowhere"]
    *cached, unknown = load(endpoint, cache, *names, offline=offline)
    for name, found in zip(names, cached, strict=False):
        assert found == answers[name]
    assert unknown["error"].startswith(
        "dataset 'acme/nowhere': the hub cannot be reached, and its cache holds no copy ("
    )
    assert ALTERNATIVES in unknown["error"]
    assert "no answer within" not in unknown["error"]  # refused at once, which nobody waits for


def test_a_cached_copy_with_a_split_missing_is_completed(downloaded, load, hub_stand_in, tmp_path):
    """Another program has fetched one file only; or a download was interrupted."""
    answers, _, gone = downloaded
    with hub_stand_in.serving(hub_stand_in.Repository(DEFAULT_DATASET, FILES, commit=HUB_REVISION)) as endpoint:
        load(endpoint, tmp_path, DEFAULT_DATASET)
        for file in tmp_path.rglob("snapshots/*/validation.parquet"):
            file.unlink()
        assert "error" in load(gone, tmp_path, DEFAULT_DATASET)[0]
        (again,) = load(endpoint, tmp_path, DEFAULT_DATASET)
    assert again["sha256"] == answers[DEFAULT_DATASET]["sha256"]


def test_a_hub_that_never_answers_is_given_up(hub_stand_in, load, downloaded, tmp_path):
    _, cache, _ = downloaded
    asked, asked_for_cached = [], []
    with hub_stand_in.black_hole(asked) as endpoint:
        (found,) = load(endpoint, tmp_path, DEFAULT_DATASET)
        assert found["error"].startswith(
            f"dataset {DEFAULT_DATASET!r}: the hub cannot be reached, and its cache holds no copy ("
        )
        assert ALTERNATIVES in found["error"]
    assert len(asked) in (1, 2)  # more would be tries that were waited for; a second may begin as the first ends
    with hub_stand_in.black_hole(asked_for_cached) as endpoint:
        assert "error" not in load(endpoint, cache, DEFAULT_DATASET)[0]
    assert asked_for_cached == []  # pinned and cached


def test_waiting_ends_where_progress_does():
    assert hub._within(0.05, lambda: time.sleep(0.3) or "done", itertools.count().__next__) == "done"
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        hub._within(0.05, lambda: time.sleep(0.3))
    with pytest.raises(ZeroDivisionError):
        hub._within(5, lambda: 1 / 0)


def test_bars_and_logs_are_restored():
    from huggingface_hub import utils

    before = utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    with hub.quiet(utils), hub.quiet(utils):
        assert utils.are_progress_bars_disabled()
    assert before == (utils.are_progress_bars_disabled(), utils.logging.get_verbosity())


SNAPSHOT = """
import sys
from rtlab import hub

for revision, name in zip(sys.argv[1::2], sys.argv[2::2]):
    options = {"kind": "model", "option": "encoder", "files": ["*"], "alternatives": "…", "stall_s": 1}
    try:
        hub.snapshot(name, revision=revision or None, **options)
    except ValueError as error:
        print(error)
"""


def test_a_download_that_stalls_is_given_up_and_the_process_ends(hub_stand_in, run_python, tmp_path):
    stalled = hub_stand_in.Repository("acme/stalled", {"config.json": b"{}"}, kind="model", stalled=True)
    with hub_stand_in.serving(stalled) as endpoint:
        variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": None}
        done = run_python(SNAPSHOT, "f" * 40, "acme/stalled", "", "acme/stalled", **variables)
    assert done.stdout.splitlines() == [
        "encoder 'acme/stalled': the hub does not have the pinned revision; …",
        "encoder 'acme/stalled': the hub cannot be reached, and its cache holds no copy (no answer within 1 s); …",
    ]
