"""What `explore` says of a data set, against counts made by hand."""

import csv
import json
import logging
import re

import pytest

from rtlab.exploring import PERCENTILES, as_text, explore

TRAIN = [
    ("a fine , funny film .", "good"),
    ("dull", "bad"),
    ("a fine , funny film .", "good"),  # twice
    ("a fine , funny film .", "bad"),  # three times, and of another class
    (".", "bad"),
    ("a  long and\tsad story about a boxer", "bad"),
    ("never dull", "good"),
]
VALIDATION = [("dull", "good"), ("dull", "bad"), ("a fresh start .", "good"), ("Dull", "bad")]
TEST = [("dull", "bad"), ("a fresh start .", "bad"), (".", "good"), ("!", "good")]
ROWS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory of two CSV files and one JSON lines file."""
    folder = tmp_path_factory.mktemp("explored") / "reviews"
    folder.mkdir()
    for split in ("train", "validation"):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *ROWS[split]])
    lines = [json.dumps({"text": text, "label": label}) for text, label in TEST]
    (folder / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return explore(str(folder), encoder="tiny-distilbert")


def brute_force(rows):
    """Sentences, per class, empty, duplicates, bytes with 12 a row: one loop, no sets."""
    texts = [text for text, _ in rows]
    per_class = tuple(sum(label == name for _, label in rows) for name in ("bad", "good"))
    empty = sum(all(character.isspace() for character in text) for text in texts)
    duplicates = sum(text in texts[:row] for row, text in enumerate(texts))
    return len(rows), per_class, empty, duplicates, sum(len(text.encode()) for text in texts) + 12 * len(rows)


@pytest.mark.parametrize("split", ROWS)
def test_sizes_balance_empty_texts_and_duplicates(found, split):
    check = dict(found.checks.items())[split]
    counts = (check.size, check.label_counts, check.empty, check.duplicates, check.hub_bytes)
    assert counts == brute_force(ROWS[split])


def test_the_numbers_of_this_data_set(found):
    """So that the brute force is not wrong in the same way."""
    assert [(c.size, c.label_counts, c.empty, c.duplicates) for _, c in found.checks.items()] == [
        (7, (4, 3), 0, 2),
        (4, (2, 2), 0, 1),
        (4, (2, 2), 0, 0),
    ]
    assert found.checks.shared == (("train", "validation", 2), ("train", "test", 2), ("validation", "test", 2))


def test_sentences_in_two_splits(found):
    for first, second, count in found.checks.shared:
        assert count == sum(any(text == other for other, _ in ROWS[first]) for text, _ in ROWS[second])


def percentile(values, share):
    """Linear interpolation between the two nearest ranks."""
    values = sorted(values)
    rank = (len(values) - 1) * share / 100
    below = int(rank)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (rank - below)


@pytest.mark.parametrize("split", ROWS)
@pytest.mark.parametrize(
    ("unit", "length"),
    [
        ("words", lambda text: len(re.findall(r"\S+", text))),
        ("word_pieces", lambda text: len(re.findall(r"\w+|[^\w\s]", text)) + 2),  # the tiny encoders' are whole words
    ],
)
def test_lengths_in_words_and_word_pieces(found, split, unit, length):
    lengths = [length(text) for text, _ in ROWS[split]]
    said = getattr(found, unit)[split]
    assert said.mean == pytest.approx(sum(lengths) / len(lengths))
    assert said.percentiles == pytest.approx([percentile(lengths, share) for share in PERCENTILES])


def test_percentiles_run_from_the_shortest_to_the_longest(found):
    assert (PERCENTILES[0], PERCENTILES[-1]) == (0, 100)
    assert (found.words["train"].percentiles[0], found.words["train"].percentiles[-1]) == (1, 8)
    assert found.words["validation"].percentiles == (1, 1, 1, 1.75, pytest.approx(3.1), pytest.approx(3.91), 4)


def test_samples_are_the_first_of_each_class(found, folder):
    assert found.samples == {
        "bad": ("dull", "a fine , funny film .", "."),
        "good": ("a fine , funny film .", "a fine , funny film .", "never dull"),
    }
    assert explore(str(folder), encoder="tiny-distilbert", samples=1).samples == {
        "bad": ("dull",),
        "good": ("a fine , funny film .",),
    }


def test_a_sentence_beyond_the_encoders_positions_keeps_its_length(folder, tmp_path, caplog):
    long = tmp_path / "long"
    long.mkdir()
    for split in ROWS:
        (long / f"{split}.csv").write_text(
            f"text,label\n{'dull ' * 600},0\nfine,1\nfiner,1\ndull,0\n", encoding="utf-8"
        )
    transformers = logging.getLogger("transformers")
    transformers.addHandler(caplog.handler)
    try:
        found = explore(str(long), encoder="tiny-distilbert")
    finally:
        transformers.removeHandler(caplog.handler)
    assert found.word_pieces["train"].percentiles[-1] == 602
    assert caplog.messages == []  # counting is no reason to warn of positions


def test_a_limit_holds_for_everything(folder):
    found = explore(str(folder), encoder="tiny-distilbert", limit=2)
    assert [(check.size, check.label_counts) for _, check in found.checks.items()] == [(2, (1, 1))] * 3
    assert found.samples == {"bad": ("dull",), "good": ("a fine , funny film .",)}
    assert found.words["train"].mean == 3.5
    assert found.sha256 != explore(str(folder), encoder="tiny-distilbert").sha256


def test_without_an_encoder_it_is_the_same_but_for_word_pieces(found, folder, rtlab):
    alone = explore(str(folder))
    assert (alone.encoder, alone.word_pieces, alone.max_length) == (None, {}, None)
    shared = {"encoder", "word_pieces", "max_length"}
    of = [{name: value for name, value in vars(one).items() if name not in shared} for one in (alone, found)]
    assert of[0] == of[1]
    text = as_text(alone)
    assert "\nlengths (in words; --encoder NAME adds its word pieces)\n" in text
    (before, lengths, after), (before_all, all_lengths, after_all) = map(around_lengths, (text, as_text(found)))
    assert (before, after) == (before_all, after_all)
    assert [row for row in rows_of(all_lengths) if row[1:2] == ["words"]] == rows_of(lengths)[3:]
    done = rtlab("explore", "--dataset", folder)
    assert (done.status, done.out, done.err) == (0, f"{text}\n", "")


def around_lengths(text):
    """What stands before the table of lengths, the table, and what stands after it."""
    before, _, rest = text.partition("\nlengths ")
    lengths, _, after = rest.partition("\n\n")
    return before, lengths, after


def test_sentences_that_would_be_cut_are_an_encoders_affair(folder, rtlab, tmp_path):
    assert any("word pieces are cut" in one for one in explore(str(folder), encoder="tiny-bert", max_length=4).warnings)
    assert not any("word pieces" in one for one in explore(str(folder)).warnings)
    done = rtlab("explore", "--dataset", folder, "--max-length", "4")
    said = "rtlab: --max-length counts an encoder's word pieces; got 4 and no encoder; naming one would do\n"
    assert (done.status, done.out, done.err) == (2, "", said)


def test_names(found):
    assert (found.name, found.revision, found.label_names) == ("reviews", None, ("bad", "good"))
    assert found.encoder == "tiny-distilbert"
    assert re.fullmatch("[0-9a-f]{64}", found.sha256)


def rows_of(text):
    """The cells of each line, where two spaces or more part them."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


def test_the_text_holds_it_all(found):
    text = as_text(found)
    rows = rows_of(text)
    assert text.startswith(f"reviews\nsha256 {found.sha256}\n")
    assert ["split", "sentences", "bad", "good", "empty", "duplicates", "bytes"] in rows
    for split, part in ROWS.items():
        size, per_class, empty, duplicates, size_bytes = brute_force(part)
        assert [split, *map(str, (size, *per_class, empty, duplicates, size_bytes))] in rows
    assert "sentences in two splits: train and validation 2, train and test 2, validation and test 2\n" in text
    assert ["split", "unit", "mean", "min", "25 %", "50 %", "75 %", "90 %", "99 %", "max"] in rows
    assert ["validation", "words", "1.8", "1", "1", "1", "2", "3", "4", "4"] in rows
    assert ["validation", "word pieces", "3.8", "3", "3", "3", "4", "5", "6", "6"] in rows
    assert "bad:\n  dull\n  a fine , funny film .\n  .\n" in text
    assert text.endswith("good:\n  a fine , funny film .\n  a fine , funny film .\n  never dull")


def test_the_text_keeps_the_digits_of_a_whole_mean(folder):
    """A mean of 3.0 would be a bare 3 beside 5.2, were the table to guess at numbers."""
    text = as_text(explore(str(folder), encoder="tiny-distilbert", limit=2))
    assert ["validation", "words", "1.0", *["1"] * 7] in rows_of(text)


def test_the_command_line_says_the_same(found, folder, rtlab, tmp_path):
    command = ("explore", "--dataset", folder, "--encoder", "tiny-distilbert")
    assert rtlab(*command).out == as_text(found) + "\n"
    done = rtlab(*command, "--json", "-")
    assert done.status == 0
    assert done.err == ""
    assert json.loads(done.out) == json.loads(json.dumps(found.to_json()))
    done = rtlab(*command, "--json", tmp_path / "explored.json")
    assert done.out == as_text(found) + "\n"
    assert json.loads((tmp_path / "explored.json").read_text()) == json.loads(json.dumps(found.to_json()))


def test_the_json_holds_every_field(found):
    fields = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert fields["checks"]["train"] == {
        "size": 7,
        "label_counts": [4, 3],
        "empty": 0,
        "duplicates": 2,
        "hub_bytes": brute_force(TRAIN)[-1],
    }
    assert fields["checks"]["shared"] == [["train", "validation", 2], ["train", "test", 2], ["validation", "test", 2]]
    assert fields["words"]["validation"]["mean"] == 1.75
    assert len(fields["word_pieces"]["test"]["percentiles"]) == len(PERCENTILES)
    assert fields["samples"]["good"][2] == "never dull"
    assert fields["label_names"] == ["bad", "good"]


def test_the_built_in_corpus(rtlab):
    done = rtlab("explore", "--dataset", "corpus", "--encoder", "tiny-bert", "--limit", "40")
    assert done.status == 0
    assert ["train", "40", "20", "20"] in [row[:4] for row in rows_of(done.out)]


def test_the_real_data(real_data):
    found = explore(str(real_data), encoder="minilm")
    assert [(c.size, c.label_counts, c.empty, c.duplicates, c.hub_bytes) for _, c in found.checks.items()] == [
        (8530, (4265, 4265), 0, 0, 1_074_806),
        (1066, (533, 533), 0, 0, 134_675),
        (1066, (533, 533), 0, 0, 135_968),
    ]
    assert found.checks.shared == (("train", "validation", 0), ("train", "test", 0), ("validation", "test", 0))
    pieces = found.word_pieces["train"]
    assert round(pieces.mean, 1) == 27.4
    percentiles = dict(zip(PERCENTILES, pieces.percentiles, strict=True))
    assert {share: percentiles[share] for share in (50, 90, 99, 100)} == {50: 27, 90: 43, 99: 56, 100: 78}
    assert "8,530" in as_text(found)
