"""The page of a choice: what is on it, what never is, and how it looks in a browser."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from xml.etree import ElementTree

import pytest

from rtlab.choice import Candidate, Choice, Mistake, Suspect, Trial, Undecided, points
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm, Words
from rtlab.recipe import Recipe
from rtlab.reporting import choice_plots
from rtlab.reporting.choice_page import choice_page
from rtlab.reporting.choice_text import as_text
from rtlab.reporting.drawing import GROUND, styled
from rtlab.reporting.wording import duration
from rtlab.statistics import Interval
from rtlab.values import one_line, visible

SVG = "{http://www.w3.org/2000/svg}"


def interval(value, reach=0.02, over="sentences"):
    return Interval(value=value, low=value - reach, high=value + reach, over=over)


def lora(rate, epochs=3):
    return Experiment(method=Adapter(recipe=Recipe(learning_rate=rate, epochs=epochs, engine="native")))


def trials(points, *, epochs=None, seeds=(1,)):
    """Trials on these numbers of sentences, with these scores."""
    return tuple(
        Trial(
            sentences=size,
            epochs=epochs,
            seed=seed,
            validation=score + 0.004 * (seed - 1),
            seconds=size / 100,
            run=f"{size:016x}",
        )
        for size, score in points.items()
        for seed in seeds
    )


def way(name, experiment, score=None, seconds=None, *, status="finished", why="", points=None, **changes):
    """A candidate; without a score it was not compared."""
    method = experiment.method
    epochs = None if method.recipe is None else method.recipe.epochs
    fields = {
        "name": name,
        "method": method.name,
        "experiment": experiment,
        "command": f"rtlab {method.name} --dataset mine.csv",
        "status": status,
        "why": why or "it was given as much training as the best",
        "validation": None if score is None else interval(score),
        "estimate": None if score is None else score - 0.0029,
        "seconds": seconds,
        "seconds_per_1000": None if seconds is None else seconds / 100,
        "parameters": None if score is None else 1000,
        "trials": trials(points or {}, epochs=epochs),
    }
    return Candidate(**fields | changes)


WORDS = way("words", Experiment(method=Words()), 0.761, 0.42, points={500: 0.68, 2000: 0.73, 8530: 0.761})
SVM = way("svm", Experiment(method=Svm(pooling="mean")), 0.782, 21.5, points={500: 0.74, 2000: 0.765, 8530: 0.782})
LORA = way(
    "lora, lr 1e-03",
    lora(1e-3),
    0.842,
    251.0,
    points={500: 0.77, 2000: 0.815, 8530: 0.842},
    test=interval(0.8352, 0.022, "sentences and seeds"),
    parameters=148_994,
    command="rtlab lora --dataset mine.csv --encoder minilm --epochs 3 --lr 1e-3",
)
SLOW = way(
    "lora, lr 3e-04",
    lora(3e-4),
    0.79,
    84.0,
    status="stopped",
    why="on 2,000 sentences it scored 2.5 points less than the best",
    points={500: 0.71, 2000: 0.79},
)
FULL = way(
    "full, lr 2e-05",
    Experiment(method=Full()),
    0.848,
    980.0,
    points={500: 0.75, 2000: 0.81, 8530: 0.848},
    test=interval(0.841),
)
LEFT_OUT = way("full, lr 5e-05", Experiment(method=Full()), status="left out", why="it would take 40 min more")
FAILED = way("ia3, lr 1e-03", lora(2e-3), status="failed", why="OutOfMemoryError: 24 GiB wanted")
UNDECIDED = Undecided(
    name="full, lr 2e-05",
    difference=interval(0.006, 0.011),
    tells="about 4,200 sentences of validation, or 25 minutes of further seeds",
    sentences=4200,
    minutes=25.4,
)
WARNINGS = ("12 sentences of test are in train too", "the class neutral has 3 sentences in validation")
MADE = {}  # pages, by what they were made of
CHOICE = Choice(
    asked="rtlab choose --dataset reviews.csv",
    dataset="mine.csv",
    classes=("neg", "pos"),
    sentences={"train": 8530, "validation": 1066, "test": 1066},
    encoder="minilm",
    metric="accuracy",
    margin=0.01,
    budget_s=1800.0,
    seconds=1512.0,
    folds=0,
    recommended=LORA.name,
    cheaper="svm",
    better=FULL.name,
    candidates=(WORDS, SVM, SLOW, LORA, FULL, LEFT_OUT, FAILED),
    undecided=(UNDECIDED,),
    warnings=WARNINGS,
    size=91_000_000,
    saved_to="chosen",
    mistakes=(Mistake(text="not as bad as it sounds", label="pos", predicted="neg", probability=0.9934),),
    suspects=(Suspect(text="a triumph from start to finish", label="neg", probably="pos", probability=0.9871),),
)


class Page(HTMLParser):
    """A page's elements, and its texts by the section that they stand in; outside of all by ""."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.section = [], [], {}, ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.texts.setdefault(self.section, []).append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, section):
        """A section's texts as one; of a section that is not there nothing."""
        return " ".join(self.texts.get(section, ()))

    @property
    def figures(self):
        """The texts of each figure."""
        sources = [base64.b64decode(image["src"].partition(",")[2]).decode() for image in self.all("img")]
        return [["".join(e.itertext()) for e in ElementTree.fromstring(one).iter(f"{SVG}text")] for one in sources]


def html_of(choice=CHOICE, **changes):
    """The page of a choice, which is drawn once."""
    choice = replace(choice, **changes)
    key = repr(choice)
    if key not in MADE:
        MADE[key] = choice_page(choice)
    return MADE[key]


def page_of(choice=CHOICE, **changes):
    return Page(html_of(choice, **changes))


# The file


def test_the_page_loads_nothing_and_runs_nothing():
    text = html_of()
    page = Page(text)
    [policy] = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"style-src 'sha256-{digest}'; img-src data:"
    assert policy == f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import", style)
    assert not page.all("script")
    assert not page.all("link")
    assert not [attributes for _, attributes in page.elements if {"style", "onclick", "action"} & {*attributes}]
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    assert not page.open


def test_every_link_leads_somewhere_and_every_section_has_one():
    page = page_of()
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in page.all("a")]
    assert links == ["#content", *(f"#{section['id']}" for section in page.all("section"))]
    assert {link[1:] for link in links} <= set(ids)
    assert {label for _, a in page.elements if (label := a.get("aria-labelledby"))} <= set(ids)


def test_the_same_choice_makes_the_same_bytes():
    assert choice_page(CHOICE) == html_of()


def test_what_is_not_there_has_no_section():
    alone = {"candidates": (replace(WORDS, seconds=None, trials=()),), "recommended": "words"}
    bare = page_of(cheaper=None, better=None, undecided=(), warnings=(), mistakes=(), suspects=(), **alone)
    assert [section["id"] for section in bare.all("section")] == ["answer", "ways", "facts"]
    whole = ["answer", "cost", "curves", "ways", "left-out", "undecided", "data", "mistakes", "suspects", "facts"]
    assert [section["id"] for section in page_of().all("section")] == whole


def test_it_needs_no_torch_and_draws_only_what_there_is(run_python):
    code = """
import sys
from rtlab.reporting import choice_page
print({"torch", "transformers", "datasets", "peft", "sklearn", "matplotlib"} & {*sys.modules})
"""
    assert run_python(code).stdout == "set()\n"


# The answer


def test_the_answer_is_the_lines_that_a_terminal_shows():
    said = page_of().said("answer")
    shown = re.sub(" (?=[:,])", "", said)
    [command] = [line for line in as_text(CHOICE).splitlines() if line.startswith("again: ")]
    for line in as_text(CHOICE, shown=9).splitlines():
        if not line.startswith(("again: ", "spent: ", "left out: ", "failed: ", "surely ", "label ")):
            assert line in shown
    assert command.removeprefix("again: ") in said
    assert "Answer recommended: lora, lr 1e-03, trained on 8,530 sentences, 3 epochs" in shown
    assert "model: chosen (91.0 MB)" in shown


def test_limits_that_are_not_known_are_not_shown():
    endless = replace(LORA, test=Interval(value=0.8352, low=float("-inf"), high=float("inf")))
    page = page_of(candidates=(WORDS, SVM, SLOW, endless, FULL))
    assert "test accuracy 0.8352, validation accuracy" in page.said("answer")
    assert "inf" not in page.said("answer") + page.said("ways")


def test_everything_that_is_undecided_has_a_line():
    several = tuple(replace(UNDECIDED, name=f"way {number}") for number in range(9))
    assert page_of(undecided=several).said("answer").count("undecided: ") == 9


def test_folds_and_metric_are_named():
    folded = tuple(replace(one, folds=5) for one in CHOICE.candidates)
    page = page_of(metric="macro-f1", folds=5, candidates=folded)
    assert "test macro-F1 0.8352" in page.said("answer")
    assert "macro-F1 over 5 folds 0.7820" in page.said("answer")
    assert "macro-F1 over 5 folds" in page.figures[0]
    assert "validation accuracy" not in page.said("answer") + page.said("ways") + page.said("undecided")
    mixed = page_of(folds=5, candidates=(*folded[:-1], replace(folded[-1], folds=0, validation=interval(0.7))))
    assert "accuracy over 5 folds or validation alone" in mixed.figures[0]
    one = page_of(folds=5, candidates=(*folded[:-1], replace(folded[-1], folds=1, validation=interval(0.7))))
    assert "accuracy over 5 folds or 1 of them" in one.figures[0]
    some = page_of(folds=5, candidates=(*folded[:-1], replace(folded[-1], folds=3, validation=interval(0.7))))
    assert "accuracy over 5 folds or 3 of them" in some.figures[0]
    assert "accuracy over 5 folds 0.7820" in mixed.said("answer")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *(
            (0, "0.00 s"),
            (0.0042, "0.0042 s"),
            (12.34, "12.3 s"),
            (59.4, "59.4 s"),
            (59.6, "1 min"),
            (250, "4 min 10 s"),
        ),
        *((3599.6, "1 h"), (3900, "1 h 5 min"), (7171, "2 h"), (360_000, "100 h")),
    ],
)
def test_a_time_is_put_as_people_say_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.01, "1 point"), (0.005, "0.5 points"), (0.03, "3 points"), (0, "0 points")]
)
def test_a_margin_is_put_in_points(share, text):
    assert points(share) == text
    assert text in page_of(margin=share).texts["facts"]


# Figures


def drawn(draw, choice=CHOICE, **changes):
    """The panel of a figure."""
    with styled():
        figure = draw(replace(choice, **changes))
    return None if figure is None else figure.axes[0]


def marks(panel):
    """Where each way's mark stands, by its entry in the legend."""
    found = {}
    for container in panel.containers:
        line = container.lines[0]
        found[container.get_label()] = (line.get_xdata()[0], line.get_ydata()[0])
    return found


def test_every_way_with_a_score_has_a_mark_at_its_time_and_score_and_its_interval():
    panel = drawn(choice_plots.cost)
    assert marks(panel) == {
        "1 words": (0.42, 0.761),
        "2 svm": (21.5, 0.782),
        "3 lora, lr 3e-04": (84.0, 0.79),
        "4 lora, lr 1e-03": (251.0, 0.842),
        "5 full, lr 2e-05": (980.0, 0.848),
    }
    for container in panel.containers:
        [[(_, low), (_, high)]] = container.lines[2][0].get_segments()
        middle = container.lines[0].get_ydata()[0]
        assert (low, high) == (pytest.approx(middle - 0.02), pytest.approx(middle + 0.02))


def test_the_recommended_way_is_ringed_and_named_and_others_have_their_numbers():
    panel = drawn(choice_plots.cost)
    [ring] = [line for line in panel.lines if line.get_markersize() == 14]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (251.0, 0.842)
    assert {text.get_text() for text in panel.texts} == {"1", "2", "3", "4 lora, lr 1e-03", "5"}
    assert [text.get_text() for text in panel.texts if text.get_weight() == "bold"] == ["4 lora, lr 1e-03"]


def test_what_was_not_finished_is_hollow_and_the_legend_says_so():
    [figure, _] = page_of().figures
    assert "hollow: not finished" in figure
    inside = {c.get_label(): c.lines[0].get_markerfacecolor() for c in drawn(choice_plots.cost).containers}
    assert [name for name, colour in inside.items() if colour == GROUND] == ["3 lora, lr 3e-04"]
    finished = tuple(one for one in CHOICE.candidates if one.status == "finished")
    assert "hollow: not finished" not in page_of(candidates=finished).figures[0]


def test_a_way_whose_time_is_not_known_is_named_below_the_figure():
    ways = (WORDS, replace(SVM, seconds=None), LORA, FULL)
    assert "1 words" in (page := page_of(candidates=ways)).figures[0]
    assert "2 svm" not in page.figures[0]
    assert "Not drawn, since its training time is not known: svm." in page.said("cost")
    assert "Not drawn" not in page_of().said("cost")


def test_no_time_at_all_is_drawn_too():
    panel = drawn(choice_plots.cost, candidates=(replace(WORDS, seconds=0.0), LORA, FULL))
    assert 0 < marks(panel)["1 words"][0] < 0.01
    assert panel.get_xlim()[0] > 0


def test_the_only_way_with_a_score_is_drawn():
    page = page_of(
        candidates=(replace(WORDS, trials=()), LEFT_OUT, FAILED), recommended="words", cheaper=None, better=None
    )
    [figure] = page.figures
    assert "1 words" in figure
    assert not [text for text in figure if text.startswith(("2", "3"))]


def crowded():
    """Many ways that cost and score much the same."""
    ways = tuple(
        replace(
            LORA,
            name=f"lora, lr {number}e-04",
            seconds=250.0 + 3 * number,
            validation=interval(0.842 - 0.002 * number),
            trials=trials({500: 0.77 + 0.001 * number, 8530: 0.842 - 0.002 * number}, epochs=3),
        )
        for number in range(8)
    )
    return replace(CHOICE, candidates=(WORDS, SVM, *ways), recommended=ways[2].name, better=ways[0].name)


@pytest.mark.parametrize("draw", [choice_plots.cost, choice_plots.curves])
@pytest.mark.parametrize("choice", [CHOICE, crowded()], ids=["usual", "crowded"])
def test_labels_do_not_cover_each_other_and_stay_within_the_figure(draw, choice):
    panel = drawn(draw, choice)
    boxes = [text.get_window_extent() for text in panel.texts]
    assert len(boxes) == len(marks(panel) or panel.get_legend_handles_labels()[0])
    for one, other in combinations(boxes, 2):
        across, up = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 1 or up < 4  # a box of text has empty room above and below
    width, height = panel.figure.get_size_inches() * panel.figure.dpi
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)


def test_a_learning_curve_is_the_mean_of_its_seeds_with_most_epochs():
    short = Trial(sentences=500, epochs=1, seed=9, validation=0.1, seconds=1.0, run="a")
    several = replace(LORA, trials=(short, *trials({8530: 0.84, 500: 0.77}, epochs=3, seeds=(1, 2))))
    panel = drawn(choice_plots.curves, candidates=(replace(WORDS, trials=WORDS.trials[:1]), several, FULL))
    curves = {line.get_label(): line for line in panel.lines if not line.get_label().startswith("_")}
    assert {*curves} == {"2 lora, lr 1e-03", "3 full, lr 2e-05"}  # on one number of sentences there is no curve
    line = curves["2 lora, lr 1e-03"]
    assert [*line.get_xdata()] == [500, 8530]
    assert [*line.get_ydata()] == pytest.approx([0.772, 0.842])
    assert line.get_linewidth() > curves["3 full, lr 2e-05"].get_linewidth()
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["500", "2,000", "8,530"]


def test_ways_of_one_method_have_lines_of_their_own():
    panel = drawn(choice_plots.curves)
    styles = [(line.get_color(), line.get_linestyle()) for line in panel.lines]
    assert len(styles) == len(set(styles)) == 5


def test_without_several_sizes_there_is_no_learning_curve():
    ways = tuple(replace(one, trials=one.trials[-1:]) for one in CHOICE.candidates)
    assert drawn(choice_plots.curves, candidates=ways) is None
    assert page_of(candidates=ways).said("curves") == ""
    assert len(page_of(candidates=ways).figures) == 1


def test_figures_say_what_they_show_without_being_seen():
    cost, curves = (image["alt"] for image in page_of().all("img"))
    assert "svm 0.7820 [0.762, 0.802] in 21.5 s; " in cost
    assert curves.endswith("words, svm, lora, lr 3e-04, lora, lr 1e-03, full, lr 2e-05.")


# Tables


def cells(section, choice=CHOICE):
    """The rows of a section's first table."""
    [text] = re.findall(rf'<section id="{section}".*?<tbody>(.*?)</tbody>', html_of(choice), re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in text.strip().splitlines()
    ]


def joined(rows):
    return [[" ".join(cell) for cell in row] for row in rows]


def test_the_table_of_ways_has_all_of_them_the_cheapest_first():
    rows = joined(cells("ways"))
    assert [row[1] for row in rows] == [
        *("words", "svm", "lora, lr 3e-04", "lora, lr 1e-03 (recommended)"),
        *("full, lr 2e-05", "full, lr 5e-05", "ia3, lr 1e-03"),
    ]
    assert rows[3] == [
        *("4", "lora, lr 1e-03 (recommended)", "finished", "0.8420 [0.822, 0.862]", "0.8391"),
        *("0.8352 [0.813, 0.857]", "251", "2.51", "148,994", "3", LORA.why),
    ]
    assert rows[2][2::8] == ["stopped", SLOW.why]
    assert rows[6] == ["7", "ia3, lr 1e-03", "failed", "–", "–", "–", "–", "–", "–", "0", FAILED.why]


def test_every_trial_and_every_command_line_is_there():
    said = page_of().said("ways")
    assert said.count("0000000000002152") == 4
    assert "lora, lr 3e-04 2,000 3 1 0.7900 20.0 00000000000007d0" in said
    assert "words 500 – 1 0.6800 5.00" in said
    assert [said.count(one.command) for one in (WORDS, LORA)] == [1, 1]


def test_what_was_left_out_says_why():
    assert joined(cells("left-out")) == [
        ["full, lr 5e-05", "left out", LEFT_OUT.why],
        ["ia3, lr 1e-03", "failed", FAILED.why],
    ]


def test_what_is_undecided_says_what_would_tell():
    never = replace(UNDECIDED, name="svm", sentences=None, minutes=None)
    rows = joined(cells("undecided", replace(CHOICE, undecided=(UNDECIDED, never))))
    assert rows[0] == ["full, lr 2e-05", UNDECIDED.tells, "+0.0060 [-0.005, +0.017]", "4,200", "25.4"]
    assert rows[1][3:] == ["–", "–"]


def test_warnings_mistakes_and_suspects_are_there():
    page = page_of()
    assert page.texts["data"] == ["Data", *WARNINGS]
    assert joined(cells("mistakes")) == [["not as bad as it sounds", "pos", "neg", "0.993"]]
    assert joined(cells("suspects")) == [["a triumph from start to finish", "neg", "pos", "0.987"]]


def test_facts_say_what_was_compared_and_on_what():
    assert joined(cells("facts")) == [
        *(["data set", "mine.csv"], ["classes (2)", "neg, pos"]),
        ["sentences", "train 8,530, validation 1,066, test 1,066"],
        *(["encoder", "minilm"], ["metric", "accuracy"], ["margin", "1 point"]),
        *(["time allowed", "30 min"], ["time taken", "25 min 12 s"], ["validation", "the split as it is"]),
    ]
    other = dict(joined(cells("facts", replace(CHOICE, encoder=None, folds=5, classes=tuple(map(str, range(99)))))))
    assert (other["encoder"], other["validation"]) == ("–", "5 folds, pooled")
    assert other["classes (99)"].endswith("and 87 more")


def test_of_many_mistakes_the_page_holds_the_surest_and_says_where_the_others_are():
    many = tuple(replace(CHOICE.mistakes[0], text=f"sentence {number}") for number in range(250))
    page = page_of(mistakes=many)
    assert "sentence 199" in page.texts["mistakes"]
    assert "sentence 200" not in page.texts["mistakes"]
    assert "50 more rows in the choice as JSON." in page.texts["mistakes"]


# What comes out of a data set


NASTY = "a\x1b[2Jb \u202egnp \u2066c \u200bd \0e \x9bf \ufeff <b>\"'&</b> </script><script>alert(1)</script> ]]> $x$"
HOSTILE = {
    "nasty": NASTY,
    "half a pair": "broken \ud800 text",
    "long": "very " * 2000,
    "no blanks": "x" * 10_000,
    "Hebrew": "\u05e1\u05e8\u05d8 \u05e0\u05d4\u05d3\u05e8, 10/10!",
    "Chinese": "\u7535\u5f71\u5f88\u597d",
    "image": '"><img src=x onerror=alert(1)>',
    "attribute": "' onmouseover='alert(1)",
    "comment": "<!--<script>",
    "formula": "$\\frac{1$ % {title} $policy",
    "nothing": "",
}


def hostile(text):
    """A choice in which all that may come out of a data set or an error is this text."""
    ways = tuple(
        replace(one, name=f"{number} {text}", method=f"m{number}{text}", why=text, command=f"rtlab words {text}")
        for number, one in enumerate(CHOICE.candidates)
    )
    return replace(
        CHOICE,
        dataset=text,
        encoder=text,
        classes=(text, f"{text} too"),
        sentences={"train": 1, text: 2},
        recommended=ways[3].name,
        cheaper=ways[1].name,
        better=ways[4].name,
        candidates=ways,
        undecided=(replace(UNDECIDED, name=ways[4].name, tells=text),),
        warnings=(text, text),
        saved_to=text,
        mistakes=(Mistake(text=text, label=text, predicted=text, probability=1.0),),
        suspects=(Suspect(text=text, label=text, probably=text, probability=1.0),),
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_is_shown_and_nothing_else_comes_of_it(text):
    html = html_of(hostile(text))
    html.encode()
    assert visible(html) == html
    page, plain = Page(html), page_of()
    assert not page.open
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    attributes = [{*found} for _, found in page.elements]
    assert attributes == [{*found} for _, found in plain.elements]
    assert one_line(text).replace("\ufffd", "") in page.said("mistakes").replace("\ufffd", "")
    assert one_line(text).replace("\ufffd", "") in page.said("data").replace("\ufffd", "")
    for figure in page.figures:
        assert visible("".join(figure)) == "".join(figure)


def test_of_long_texts_the_beginning_is_shown():
    page = page_of(hostile(HOSTILE["no blanks"]))
    of_mistakes = [len(text) for text in page.texts["mistakes"] if text.startswith("xxx")]
    assert of_mistakes == [500, 80, 80]
    assert max(len(text) for figure in page.figures for text in figure) <= 60


# In a browser


@pytest.fixture
def show(chromium, tmp_path):
    """Open the page of a choice; when the test is over, the console must have stayed empty."""

    def opened(choice=CHOICE, **window):
        path = tmp_path / "choice.html"
        path.write_text(html_of(choice), encoding="utf-8")
        chromium.open(path, **window)
        return chromium

    yield opened
    assert chromium.log() == []


def with_hostile_texts():
    """The usual choice, one of many ways, and one for each hostile text."""
    return {"usual": CHOICE, "crowded": crowded(), **{name: hostile(text) for name, text in HOSTILE.items()}}


@pytest.mark.parametrize("choice", with_hostile_texts().values(), ids=with_hostile_texts())
def test_the_page_is_no_wider_than_its_window(show, choice):
    for width in (360, 400, 1100):
        page = show(choice, width=width)
        page.script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1100])
def test_figures_are_drawn_and_their_text_is_large_enough(show, width):
    page = show(width=width)
    shown = page.script("return [...document.images].map((one) => [one.complete, one.naturalWidth, one.width])")
    assert len(shown) == 2
    for complete, natural, here in shown:
        assert complete
        assert natural > 0
        assert 9 * here / 72 / choice_plots.WIDTH >= 9  # pixels of the smallest text, which has 9 points


def test_figures_stand_beside_each_other_where_there_is_room(show):
    tops = "return [...document.images].map((one) => Math.round(one.getBoundingClientRect().top))"
    assert len({*show(width=1100).script(tops)}) == 1
    assert len({*show(width=400).script(tops)}) == 2


def test_scores_are_seen_at_400_pixels_without_scrolling_sideways(show):
    ends = """
    return [...document.querySelectorAll("#ways tbody tr")].filter((row) => row.cells.length === 11)
      .map((row) => row.cells[3].getBoundingClientRect().right)
    """
    found = show(width=400).script(ends)
    assert len(found) == 7
    assert max(found) <= 400


def test_the_colours_follow_the_system(show):
    colours = """
    return ["body", ".lead", ".note", "caption", "pre", "a"].map((one) => document.querySelector(one)).map((one) => {
      let behind = one;
      while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
      return [getComputedStyle(one).color, getComputedStyle(behind ?? document.body).backgroundColor];
    })
    """
    grounds = []
    for scheme in ("light", "dark"):
        found = show(scheme=scheme).script(colours)
        assert all(contrast(*pair) >= 4.5 for pair in found)
        grounds.append(found[0][1])
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def contrast(one, other):
    """WCAG's contrast of two colours."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["nasty", "image", "attribute", "comment"])
def test_markup_is_shown_and_not_run(show, name):
    # A dialog would make the next call fail, a refused script would be in the console.
    page = show(hostile(HOSTILE[name]))
    sentence = page.script("return document.querySelector('#mistakes td').textContent")
    assert sentence == one_line(HOSTILE[name])
    assert page.script("return [document.scripts.length, document.images.length]") == [0, 2]


def test_a_sentence_is_written_in_its_own_direction_and_the_page_in_its(show):
    page = show(hostile(HOSTILE["Hebrew"]))
    places = """
    const node = document.querySelector(arguments[0]).childNodes[arguments[1]];
    const range = document.createRange();
    const at = (start) => {
      range.setStart(node, start);
      range.setEnd(node, start + 1);
      return range.getBoundingClientRect().x;
    };
    return [at(0), at(node.data.length - 1)];
    """
    start, end = page.script(places, "#mistakes td", 0)
    assert start > end
    name = page.script(places, "header p strong", 0)
    assert name[0] > name[1]
    assert page.script(places, "header p", 1)[0] > name[0]  # what follows a name in a sentence stands to its right
