"""Which columns hold sentences and labels: by name, by look, as asked for; and what is refused."""

import pytest

from rtlab.data.columns import choose_columns
from rtlab.data.rows import open_rows
from rtlab.experiment import DatasetOptions

TEXTS = ["a good film", "a bad film", "so so", "never dull at all", "worth a look", "no , just no"]


def opened(folder, header, rows, name="a.csv"):
    """A CSV file of texts and what stands beside each; `rows` are of words parted by spaces, T a sentence."""
    lines = [
        ",".join(f'"{TEXTS[number % len(TEXTS)]} {number}"' if cell == "T" else cell for cell in row.split())
        for number, row in enumerate(rows)
    ]
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return open_rows(path)


def chosen(folder, header, rows, **asked):
    found = choose_columns(opened(folder, header, rows), DatasetOptions(**asked))
    return found.text, found.label


PAIR = ["T 1", "T 0", "T 1", "T 0"]


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        *(
            (f"{text},label", PAIR, (text, "label"))
            for text in ("text", "Sentence", "REVIEW", "comment", "tweet", "body")
        ),
        *(
            (f"text,{label}", PAIR, ("text", label))
            for label in ("Class", "category", "SENTIMENT", "stars", "rating", "target")
        ),
        ("Review Text,Star-Rating", PAIR, ("Review Text", "Star-Rating")),
        ("id,what,kind", ["1 T x", "2 T y", "3 T x", "4 T y"], ("what", "kind")),  # by look
        ("text,mood", ["T x", "T y", "T x", "T y"], ("text", "mood")),
        ("what,label,url", ["T 1 http://a", "T 0 http://b", "T 1 http://c", "T 0 http://d"], ("what", "label")),
        (
            "label,what,when",
            ["1 T 2020-01-01", "0 T 2020-01-02", "1 T 2020-01-03", "0 T 2020-01-04"],
            ("what", "label"),
        ),
        ("what,kind,score2", ["T x 0.5", "T y 0.25", "T x 0.5", "T y 0.25"], ("what", "kind")),  # real numbers are none
        (
            "coarse,fine",
            ["wonderful x", "dreadful y", "unforgettable x", "nice y"],
            ("coarse", "fine"),
        ),  # of one word each
        ("text,score,label", ["T 0.5 x", "T 0.2 y", "T 0.5 x", "T 0.2 y"], ("text", "label")),  # score: real numbers
        ("label,query,text", ["1 NONE T", "0 NONE T", "1 NONE T", "0 NONE T"], ("text", "label")),
        ("text,label,title", ["T 1 T", "T 0 T", "T 1 T", "T 0 T"], ("text", "label")),
    ],
)
def test_columns_are_found(tmp_path, header, rows, expected):
    assert chosen(tmp_path, header, rows) == expected


def test_columns_without_a_name_that_hold_next_to_nothing_are_no_candidates(tmp_path):
    """As in the best known set of spam messages."""
    lines = ["v1,v2,,,", *(f"{'ham' if n % 3 else 'spam'},message number {n},,," for n in range(30))]
    lines[3] = "ham,an odd one,with more,of it,"
    (tmp_path / "spam.csv").write_text("\n".join(lines))
    found = choose_columns(open_rows(tmp_path / "spam.csv"), DatasetOptions())
    assert (found.text, found.label) == ("v2", "v1")
    assert found.notes == ("Texts are column 'v2'.", "Labels are column 'v1'.")


def test_what_is_asked_for_goes_first(tmp_path):
    rows = ["T T 1 x", "T T 0 y", "T T 1 x", "T T 0 y"]
    header = "text,review,label,stars"
    assert chosen(tmp_path, header, rows, text_column="review", label_column="stars") == ("review", "stars")
    both = ["T T 1", "T T 0", "T T 1", "T T 0"]
    assert chosen(tmp_path, "sentence1,sentence2,label", both, text_column="sentence2") == ("sentence2", "label")


@pytest.mark.parametrize(
    ("header", "rows", "asked", "expected"),
    [
        (
            "text,review,label",
            ["T T 1"] * 4,
            {},
            "columns 'text' and 'review' could each be the text; --text-column with",
        ),
        (
            "text,stars,label",
            ["T 5 1"] * 4,
            {},
            "columns 'stars' and 'label' could each be the label; --label-column with",
        ),
        (
            "what,also,label",
            ["T T 1", "T T 0"],
            {},
            "columns 'what' and 'also' could each be the text; --text-column with",
        ),
        (
            "text,a1,b1",
            ["T x u", "T y v"] * 3,
            {},
            "columns 'a1' and 'b1' could each be the label; --label-column with",
        ),
        (
            "sentence1,sentence2,label",
            ["T T 1"] * 4,
            {},
            "two texts a row (columns 'sentence1' and 'sentence2'), and one is",
        ),
        ("Premise,Hypothesis,label", ["T T 1"] * 4, {}, "two texts a row (columns 'Premise' and 'Hypothesis')"),
        ("question,answer,label", ["T T 1"] * 4, {}, "two texts a row (columns 'question' and 'answer')"),
        ("text,rude,toxic", ["T 0 1", "T 1 0"] * 3, {}, "several labels a row (columns 'rude', 'toxic' hold 0 and 1)"),
        (
            "label,number",
            ["1 1", "0 2"] * 3,
            {},
            "no column 'text', nor another that is surely the text (columns: 'label', ",
        ),
        ("text,number", ["T 1", "T 2", "T 3", "T 4"], {}, "no column 'label', nor another that is surely the label"),
        (
            "what^kind",
            ["T^x"] * 4,
            {},
            "one column alone ('what^kind'); two, parted by comma, tab, semicolon or pipe, ",
        ),
        ("A,B", ["text label", "T 1", "T 0"], {}, "line 2 reads as column names, and so does what stands above; one"),
        ("text", ["T"] * 4, {}, "no column 'label', nor another that is surely the label (columns: 'text')"),
        ("text,label", PAIR, {"text_column": "Text"}, "text_column must be a column of "),
        ("text,label", PAIR, {"label_column": "stars"}, "label_column must be a column of "),
        ("text,label", PAIR, {"split_column": "split"}, "split_column must be a column of "),
    ],
)
def test_nothing_is_guessed(tmp_path, header, rows, asked, expected):
    with pytest.raises(ValueError, match=r"\A[^\n]*would do\Z") as caught:
        chosen(tmp_path, header, rows, **asked)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "first",
    [
        *("a good film,1", "a good film,good", "1,a good film", "never before was a film as good as this one,pos"),
        *("good,x", "the story so far,topic"),
    ],
)
def test_a_file_without_column_names_is_refused(tmp_path, first):
    label = first.split(",")[0 if first[0] == "1" else 1]
    rows = [f"{label} T" if first[0] == "1" else f"T {label}"] * 4
    with pytest.raises(
        ValueError, match=r"line 1 reads as a row, not as column names \('.*\); a first line text,label would"
    ):
        chosen(tmp_path, first, rows)


def test_names_that_are_asked_for_are_column_names(tmp_path):
    assert chosen(tmp_path, "1,2", PAIR, text_column="1", label_column="2") == ("1", "2")


def test_labels_may_be_missing_where_they_are_not_needed(tmp_path):
    for header, rows in (("what", ["T"] * 4), ("text,id", ["T 1", "T 2"]), ("review,stars", ["T 1", "T 2"])):
        assert (
            choose_columns(opened(tmp_path, header, rows), DatasetOptions(), labelled=False).text
            == header.split(",")[0]
        )


def test_a_column_of_splits_that_is_not_used_is_said(tmp_path):
    rows = opened(tmp_path, "text,label,Split", ["T 1 train", "T 0 train", "T 1 test", "T 0 dev"])
    assert choose_columns(rows, DatasetOptions()).notes == (
        "Column 'Split' was not used; --split-column Split would take the splits from it.",
    )
    assert choose_columns(rows, DatasetOptions(split_column="Split")).notes == ()
