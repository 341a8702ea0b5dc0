"""The report: what is in the file, what never is, and what it does in a browser."""

import base64
import csv
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import browser
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rtlab.experiment import Experiment, LoraSettings
from rtlab.metrics import Scores
from rtlab.records import Counts, LogEntry, Memory, Predictions, RunRecord, Source, Timing, logits_as_json, save
from rtlab.reporting.markup import as_html, embedded_json
from rtlab.reporting.report import report
from rtlab.reporting.report_data import CURVE_POINTS, on_front, page_data, run_names
from rtlab.reporting.run_table import COLUMNS

SENTENCES = 40
LABELS = [row % 2 for row in range(SENTENCES)]
SVM = Experiment(method="svm")
FULL = Experiment(epochs=1)
LORA = Experiment(method="lora", epochs=1, learning_rate=1e-3)
STUDY = [
    (SVM, 0.70, 3.0),
    (LORA, 0.85, 60.0),
    (FULL, 0.90, 100.0),
    (dataclasses.replace(FULL, padding="fixed"), 0.89, 700.0),
]
MARKUP = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "<!--<script>",
)


def predictions(labels, accuracy, seed):
    """Logits that are right for about this share of the sentences."""
    random = np.random.default_rng(seed)
    right = random.random(len(labels)) < accuracy
    predicted = np.where(right, labels, 1 - np.asarray(labels))
    logits = random.normal(0, 1, (len(labels), 2))
    logits[np.arange(len(labels)), predicted] = logits.max(axis=1) + random.random(len(labels)) + 0.01
    return Predictions(labels=list(labels), logits=logits_as_json(logits.astype(np.float32)))


def made(experiment=FULL, accuracy=0.8, train_s=10.0, *, labels=LABELS, steps=20, day=1, **changes):
    """A finished run with predictions for both splits and a falling loss."""
    times = dict.fromkeys((field.name for field in dataclasses.fields(Timing)), 1.0)
    counts = dict.fromkeys((field.name for field in dataclasses.fields(Counts)), 1)
    random = np.random.default_rng(experiment.seed)
    losses = 0.9 - 0.8 * accuracy + 0.5 * np.exp(-np.arange(steps) / 8) + random.normal(0, 0.02, steps)
    history = [
        LogEntry(step=50 * (i + 1), epoch=1, loss=float(x), learning_rate=1, gradient_norm=1)
        for i, x in enumerate(losses)
    ]
    fields = {
        "code": "c" * 16,
        "status": "ok",
        "dataset": Source(name="corpus", revision=None, sha256="d" * 64),
        "encoder": Source(name="minilm", revision="r" * 40, sha256="e" * 64),
        "environment": {"device": "a cpu", "driver": None, "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
        "created_at": f"2026-01-{day:02}T12:34:56.789+00:00",
        "scores": dict.fromkeys(
            ("validation", "test"), Scores(accuracy=accuracy, precision=0.1, recall=0.2, f1=accuracy)
        ),
        "predictions": {split: predictions(labels, accuracy, experiment.seed) for split in ("validation", "test")},
        "timing": Timing(**times | {"train_s": train_s}),
        "counts": Counts(**counts),
        "memory": Memory(peak_device=None, peak_host=3 * 2**29),
        "history": () if experiment.method == "svm" else tuple(history),
        "train_loss": 0.5,
        "final_loss": 0.4,
    } | changes
    digest = hashlib.sha256(repr((experiment, fields["dataset"], fields["encoder"])).encode()).hexdigest()
    return RunRecord(experiment=experiment, id=digest[:16], **fields)


def failed(experiment=FULL, error="RuntimeError: no", **changes):
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None, "history": ()}
    return made(
        experiment, **{"status": "oom", "error": error, "train_loss": None, "final_loss": None} | nothing | changes
    )


def study(seeds=2, **changes):
    """The methods with some seeds each, and a run out of memory."""
    runs = [
        made(dataclasses.replace(experiment, seed=seed), accuracy + 0.01 * seed, seconds * (1 + 0.05 * seed), **changes)
        for experiment, accuracy, seconds in STUDY
        for seed in range(seeds)
    ]
    return [*runs, failed(dataclasses.replace(FULL, batch_size=4096), "OutOfMemoryError: 24 GiB wanted")]


class Page(HTMLParser):
    """A page's elements and texts, as a browser would find them."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.scripts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside != "style" and data.strip():
            self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])


def cells(page):
    """Texts of the run table's rows, by run."""
    text = re.search(r"<table>.*?</table>", page, re.DOTALL)[0]
    rows = re.findall(r"<tbody>\n<tr>(.*?)</tr>", text, re.DOTALL)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


# The file


def test_the_page_loads_nothing_and_runs_one_script():
    text = report(study())
    page = Page(text)
    [policy] = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'sha256-")
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "url(" not in style
    assert "@import" not in style
    assert len(page.all("script")) == 2
    assert not [attributes for _, attributes in page.elements if {"src", "style", "onclick", "action"} & {*attributes}]
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert not page.all("link")
    assert not page.open


def test_the_script_never_parses_text_as_html():
    script = Page(report([])).scripts[1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|fetch|XMLHttp|import\(", script
    )


def test_the_same_records_make_the_same_bytes():
    assert report(study()) == report(study())
    arrays = [
        dataclasses.replace(record, predictions={name: p.compact() for name, p in record.predictions.items()})
        for record in study()
    ]
    assert report(arrays) == report(study())


def test_every_link_leads_somewhere():
    page = Page(report(study()))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert {label for _, a in page.elements if (label := a.get("aria-labelledby"))} <= set(ids)


def test_no_records_make_a_page_too():
    page = Page(report([]))
    assert "No records yet." in page.texts
    assert page.data["runs"] == []


@settings(max_examples=25)  # a page of tables and claims takes its time
@given(st.lists(strategies.run_records(), max_size=3))
def test_any_records_make_a_whole_page(records):
    records = [dataclasses.replace(record, id=f"{number:016}") for number, record in enumerate(records)]
    page = Page(report(records))
    assert not page.open
    assert [run["name"] for run in page.data["runs"]] == run_names(records)
    assert len(page.all("script")) == 2


def test_a_hundred_records_stay_below_three_megabytes():
    labels = [row % 2 for row in range(1066)]
    records = [made(dataclasses.replace(FULL, seed=seed), labels=labels, steps=53) for seed in range(100)]
    assert len(report(records).encode()) < 3e6


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_records_is_text(text):
    source = Source(name=text, revision=text, sha256="d" * 64)
    lora = Experiment(method="lora", lora=LoraSettings(target_modules=(text.replace(" ", "").replace(",", ""),)))
    environment = {"device": text, "versions": {"torch": text, "transformers": text}, text: text}
    changes = {"dataset": source, "encoder": source, "environment": environment}
    records = [made(lora, **changes), failed(error=text, **changes)]
    texts = {"d" * 64: {"test": [text] * SENTENCES}}
    page = Page(report(records, texts=texts))
    plain = Page(report([made(LORA), failed()]))
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert text in page.texts
    assert page.data["texts"]["d" * 64]["test"][0] == text


def test_half_a_surrogate_pair_is_written_as_a_question_mark():
    text = report([failed(error="broken \ud800 text")])
    assert "broken ? text" in text
    text.encode()


@given(st.recursive(st.text() | st.integers(), st.lists))
def test_embedded_json_is_the_same_value_and_cannot_end_its_element(value):
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not {"<", ">", "&"} & {*text}


# Sentences


def test_a_report_holds_sentences_only_where_they_are_given():
    sentences = [f"a film, number {row}" for row in range(SENTENCES)]
    assert Page(report(study())).data["texts"] == {}
    page = Page(report(study(), texts={"d" * 64: {"test": sentences}, "f" * 64: {"test": ["of another data set"]}}))
    assert page.data["texts"] == {"d" * 64: {"test": sentences}}
    assert "Two runs on the same sentences. Texts are shown for corpus." in page.texts


# What is in it


def test_the_run_table_says_what_a_run_was_and_came_to():
    record = made(LORA, 0.85, 60.04, memory=Memory(peak_device=3 * 2**30, peak_host=1))
    [row] = cells(report([record]))
    assert dict(zip((column.title for column in COLUMNS), row, strict=True)) == {
        "run": "lora-dynamic-lr1e-03-r8-attention, seed 42",
        "status": "ok",
        "test accuracy": "0.8500 0.709 – 0.929",
        "test F1": "0.8500",
        "training (s)": "60.0",
        "samples/s": "1.0",
        "peak memory (GiB)": "3.00 device",
        "method": "lora",
        "padding": "dynamic",
        "learning rate": "0.001",
        "target modules": "attention",
        "engine": "trainer",
        "seed": "42",
        "encoder": "minilm",
        "data set": "corpus",
        "device": "a cpu",
        "created (UTC)": "2026-01-01 12:34:56",
        "environment": "1",
    }


def test_a_run_without_a_result_shows_its_error():
    text = report([failed(error="RuntimeError: no room")])
    [row] = cells(text)
    assert row[:7] == ["full-dynamic-lr2e-05, seed 42", "oom", *[""] * 5]
    assert "<span>RuntimeError: no room</span>" in text
    assert "1 run; 1 without a result; " in text


def test_a_run_without_predictions_has_no_interval():
    [row] = cells(report([made(predictions={})]))
    assert row[2] == "0.8000"


def test_of_one_run_by_several_states_of_the_code_the_latest_is_shown():
    page = report([made(accuracy=0.6, code="0" * 16), made(accuracy=0.7, day=2)])
    assert [row[2][:6] for row in cells(page)] == ["0.7000"]
    assert "1 older record of the same runs left out" in page
    assert "made 2026-01-02" in page


def test_environments_are_told_once_with_their_runs():
    other = {"device": "a gpu", "driver": "570", "versions": {"torch": "2.12.0", "transformers": "5.20.0"}}
    page = Page(report([*study(), made(LORA, environment=other)]))
    assert [details["id"] for details in page.all("details") if "id" in details] == ["environment-1", "environment-2"]
    assert "1: a cpu, torch 2.13.0, transformers 5.23.0 (9 runs)" in page.texts
    assert "2: a gpu, torch 2.12.0, transformers 5.20.0 (1 run)" in page.texts
    assert {"versions.torch", "2.12.0", "driver", "570", "–"} <= set(page.texts)


def test_tables_and_claims_are_in_it():
    texts = Page(report(study())).texts
    assert {"Methods", "SVM baseline", "verdict"} <= set(texts)


# Data for the script


def test_predictions_survive_packing():
    record = made()
    data = page_data([record], {})
    [run] = data["runs"]
    packed, given_ = run["splits"]["test"], record.predictions["test"]
    steps = np.frombuffer(base64.b64decode(packed["logits"]), "<i2").reshape(SENTENCES, 2)
    logits = np.asarray(given_.logits)
    np.testing.assert_allclose(steps / 32767 * packed["largest"], logits, atol=2e-4)
    assert [ord(c) - 48 for c in packed["predicted"]] == logits.argmax(axis=1).tolist()
    assert [ord(c) - 48 for c in data["labels"][packed["labels"]]] == LABELS


def test_labels_are_kept_once_and_tell_which_runs_can_be_compared():
    others = [1 - label for label in LABELS]
    data = page_data([*study(), made(LORA, labels=others, day=2)], {})
    assert len(data["labels"]) == 2
    assert [run["splits"]["test"]["labels"] for run in data["runs"] if run["splits"]] == [0] * 8 + [1]


def test_long_histories_are_thinned_to_means():
    [run] = page_data([made(steps=1000)], {})["runs"]
    losses = [entry.loss for entry in made(steps=1000).history]
    assert len(run["loss"]) == 334 <= CURVE_POINTS
    assert run["loss"][0] == [150, pytest.approx(np.mean(losses[:3]), rel=1e-4)]
    assert run["loss"][-1] == [50000, pytest.approx(losses[-1], rel=1e-4)]


def test_names_tell_runs_apart():
    lora = dataclasses.replace(LORA, lora=LoraSettings(alpha=64))
    records = [made(SVM), made(LORA), made(lora), made(FULL), made(dataclasses.replace(FULL, epochs=5, limit=100))]
    again = made(FULL, environment=records[0].environment | {"device": "a gpu"})
    assert run_names([*records, again]) == [
        "svm-cls, seed 42",
        "lora-dynamic-lr1e-03-r8-attention, alpha 32, seed 42",
        "lora-dynamic-lr1e-03-r8-attention, alpha 64, seed 42",
        "full-dynamic-lr2e-05, device a cpu, epochs 1, seed 42",
        "full-dynamic-lr2e-05, device a cpu, epochs 5, limit 100, seed 42",
        "full-dynamic-lr2e-05, device a gpu, epochs 1, seed 42",
    ]
    same = [made(SVM), dataclasses.replace(made(SVM), id="f" * 16)]
    assert run_names(same) == [f"svm-cls, seed 42, {record.id}" for record in same]


def test_the_front():
    points = [(1, 0.5), (2, 0.7), (3, 0.6), (3, 0.7), (4, 0.9), (4, 0.9)]
    assert on_front(points) == [True, True, False, False, True, True]


def test_points_are_means_over_seeds_at_one_place():
    cut = Source(name="corpus", revision=None, sha256="f" * 64)
    data = page_data([*study(), made(LORA, 0.6, 5.0, dataset=cut)], {})
    assert data["places"] == [f"minilm, corpus, a cpu (data {d * 8}, encoder eeeeeeee)" for d in "df"]
    here = {point["name"]: point for point in data["points"] if point["place"] == 0}
    assert here["svm-cls"]["seconds"] == pytest.approx(4.075)  # a second of warm-up counts
    assert here["svm-cls"]["accuracy"] == pytest.approx(0.705)
    assert [name for name, point in here.items() if not point["front"]] == ["full-fixed-lr2e-05"]
    for point in here.values():
        assert point["accuracySpan"][0] < point["accuracy"] < point["accuracySpan"][1]
        assert point["secondsSpan"][0] < point["seconds"] < point["secondsSpan"][1]
    [alone] = [point for point in data["points"] if point["place"] == 1]
    assert alone["accuracySpan"]
    assert alone["secondsSpan"] is None


def test_a_run_that_was_cut_short_is_no_point():
    cut = dataclasses.replace(LORA, max_steps=100)
    assert len(page_data([made(LORA, 0.6, 5.0), made(cut, 0.5, 1.0)], {})["points"]) == 1


def test_a_points_time_holds_its_warm_up():
    record = made(LORA, 0.6, 5.0)
    record = dataclasses.replace(record, timing=dataclasses.replace(record.timing, warmup_s=2.0, train_s=5.0))
    [point] = page_data([record], {})["points"]
    assert point["seconds"] == 7.0


# Markdown


def test_markdown_tables_become_html():
    text = as_html(
        "Encoder `a<b`.\n\n| x | y |\n|:--|--:|\n| 1 \\| 2 | **3** |\n\n1 run.\n\n- *P1*: a\n- b\n\nend", title="T"
    )
    assert text.splitlines() == [
        '<div class="scroll" role="region" aria-label="T" tabindex="0">',
        "<table>",
        "<caption><span>Encoder <code>a&lt;b</code>.</span></caption>",
        "<thead>",
        '<tr><th scope="col">x</th><th scope="col" class="number">y</th></tr>',
        "</thead>",
        "<tbody>",
        '<tr><td>1 | 2</td><td class="number"><strong>3</strong></td></tr>',
        "</tbody>",
        "</table>",
        "</div>",
        "<p>1 run.</p>",
        "<ul><li><em>P1</em>: a</li><li>b</li></ul>",
        "<p>end</p>",
    ]


def test_a_paragraph_before_a_paragraph_is_no_caption():
    assert as_html("one\n\ntwo\nlines", title="T") == "<p>one</p>\n<p>two lines</p>"


# The command


@pytest.fixture
def results(tmp_path):
    for record in study():
        save(record, tmp_path / "results" / "records")
    (tmp_path / "results" / "records" / "broken.json").write_text("{")
    return tmp_path / "results"


def test_the_verb_writes_the_report(rtlab, results):
    done = rtlab("report")
    assert (done.status, done.out) == (0, "results/report.html written, 9 records\n")
    assert re.fullmatch(r"rtlab: left out: \S+broken.json is not a readable record .*\n", done.err)
    assert len(cells((results / "report.html").read_text(encoding="utf-8"))) == 9


def test_a_missing_folder_is_refused(rtlab, tmp_path):
    done = rtlab("report", "--results", "nowhere")
    assert (done.status, done.out) == (2, "")
    assert done.err == "rtlab: results must be a folder of results; got nowhere, which is no directory\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.fixture
def data(tmp_path):
    """A data set of sentences that say where they stand."""
    pytest.importorskip("pyarrow", reason="data sets are read with pyarrow")
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        with (tmp_path / "data" / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *((f"{split} {i} {MARKUP[0]}", i % 2) for i in range(20))])
    return tmp_path / "data"


@pytest.mark.parametrize("limit", [None, 10])
def test_sentences_come_from_the_data_set_of_the_records(rtlab, tmp_path, data, limit):
    from rtlab.data import load_splits

    source = Source(name="data", revision=None, sha256=load_splits(str(data), limit=limit).sha256)
    save(made(Experiment(limit=limit), dataset=source), tmp_path / "results" / "records")
    assert rtlab("report", "--dataset", data).status == 0
    texts = Page((tmp_path / "results" / "report.html").read_text(encoding="utf-8")).data["texts"]
    count = limit or 20
    assert texts == {source.sha256: {s: [f"{s} {i} {MARKUP[0]}" for i in range(count)] for s in ("test", "validation")}}


def test_sentences_of_another_data_set_are_refused(rtlab, results, data):
    done = rtlab("report", "--dataset", data)
    assert done.status == 2
    assert done.err.endswith(
        f"rtlab: dataset must be what records were made with; got {data}, whose contents are others\n"
    )
    assert not (results / "report.html").exists()


def test_the_environment_puts_no_sentences_in(rtlab, results, data, monkeypatch):
    monkeypatch.setenv("RTLAB_DATASET", str(data))
    assert rtlab("report").status == 0
    assert Page((results / "report.html").read_text(encoding="utf-8")).data["texts"] == {}


def test_the_report_needs_no_torch(tmp_path, results, run_python):
    code = """
import sys
from rtlab.cli import main
status = main(["report", "--results", sys.argv[1]])
print(status, {"torch", "transformers", "datasets", "peft", "sklearn", "matplotlib"} & {*sys.modules})
"""
    assert run_python(code, results).stdout.endswith("\n0 set()\n")


# In a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if names := browser.missing():
        pytest.skip(f"{' and '.join(names)} not installed (Debian: apt-get install chromium chromium-driver)")
    with browser.chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def show(chromium, tmp_path):
    """Open the report of some records; when the test is over, the console must have stayed empty."""

    def opened(records, *, texts=None, **window):
        path = tmp_path / "report.html"
        path.write_text(report(records, texts=texts), encoding="utf-8")
        chromium.open(path, **window)
        return chromium

    yield opened
    assert chromium.log() == []


VISIBLE = "return [...document.querySelectorAll('#runs tbody:not([hidden]) th')].map((cell) => cell.textContent)"
COUNT = "return document.querySelector('#runs-count').textContent"
# What places or draws something, as text: SVG's own properties drop what it cannot read.
DRAWN = """
return [...document.querySelectorAll(`${arguments[0]} svg *`)].flatMap((node) =>
  ["d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "transform"].map((name) => node.getAttribute(name)))
  .filter((value) => value !== null)
"""


def text_of(page, selector):
    return page.script("return document.querySelector(arguments[0]).textContent", selector)


def choose(page, selector, text):
    """Choose a menu's entry by its text, as a user does."""
    page.script(
        """
        const [menu, text] = [document.querySelector(arguments[0]), arguments[1]];
        menu.selectedIndex = [...menu.options].findIndex((option) => option.textContent === text);
        if (menu.selectedIndex < 0) throw new Error(`no ${text} among ${[...menu.options].map((o) => o.textContent)}`);
        menu.dispatchEvent(new Event("change", {bubbles: true}));
        """,
        selector,
        text,
    )


def test_the_filter_shows_the_runs_that_match(show):
    page = show(study())
    assert page.script(COUNT) == "9 of 9 runs"
    page.type("#runs-find", "trainer FIXED")
    assert page.script(VISIBLE) == ["full-fixed-lr2e-05, seed 0", "full-fixed-lr2e-05, seed 1"]
    assert page.script(COUNT) == "2 of 9 runs"
    page.click("#runs-reset")
    assert len(page.script(VISIBLE)) == 9
    page.script("document.querySelectorAll('#runs .controls select').forEach((menu, i) => (menu.id = `menu-${i}`))")
    menus = page.script(
        "return [...document.querySelectorAll('#runs label')].map((label) => label.firstChild.data.trim())"
    )
    assert menus == ["Find", "status", "method", "padding", "learning rate", "seed"]  # what differs, and no other
    choose(page, "#menu-0", "oom")
    assert page.script(VISIBLE) == ["full-dynamic-lr2e-05, batch size 4096, seed 42"]
    page.click("#runs-reset")
    choose(page, "#menu-1", "full")
    choose(page, "#menu-2", "fixed")
    assert page.script(VISIBLE) == ["full-fixed-lr2e-05, seed 0", "full-fixed-lr2e-05, seed 1"]


def test_the_header_sorts_up_and_down_with_empty_cells_last(show):
    page = show(study(seeds=1))
    column = [column.title for column in COLUMNS].index("training (s)") + 1
    button, head = f"#runs th:nth-child({column}) button", f"#runs th:nth-child({column})"
    values = f"return [...document.querySelectorAll('#runs tr > :nth-child({column}):not(th)')].map((c) => c.innerText)"
    page.click(button)
    assert page.script(values) == ["3.0", "60.0", "100.0", "700.0", ""]
    assert page.script("return document.querySelector(arguments[0]).ariaSort", head) == "ascending"
    page.click(button)
    assert page.script(values) == ["700.0", "100.0", "60.0", "3.0", ""]
    page.click("#runs th:first-child button")
    assert page.script("return [...document.querySelectorAll('#runs [aria-sort]')].map((head) => head.innerText)") == [
        "run"
    ]
    assert page.script(VISIBLE)[-1] == "svm-cls, seed 0"
    assert page.script("return document.querySelector('#runs .error').parentNode.rows[0].innerText").count("4096") == 1


def test_the_header_sorts_by_keyboard(show):
    page = show(study(seeds=1))
    page.script("document.querySelector('#runs th button').focus()")
    page.press("\ue007")  # Enter
    assert page.script(VISIBLE)[0] == "full-dynamic-lr2e-05, batch size 16, seed 0"


@pytest.mark.parametrize("selector", ["#pareto-plot", "#loss-plot"])
@pytest.mark.parametrize("width", [1280, 360])
def test_plots_are_drawn_with_finite_coordinates(show, selector, width):
    page = show(study(), width=width)
    values = page.script(DRAWN, selector)
    assert len(values) > 40
    assert not [value for value in values if re.search("NaN|Infinity|undefined|null", value)]
    numbers = [float(number) for value in values for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", value)]
    assert all(-100 <= number <= 1300 for number in numbers)


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_page_is_no_wider_than_its_window(show, width):
    page = show(study(), width=width)
    assert page.script("return document.documentElement.scrollWidth") <= width


def test_points_have_their_intervals_as_bars(show):
    """Of accuracy and time, where there are seeds; within the plot, and as long as the interval is."""
    page = show(study())
    bars = page.script(
        "return [...document.querySelectorAll('.point')].map((point) => [...point.querySelectorAll('.interval')]"
        ".map((bar) => { const box = bar.getBBox(); return [box.width, box.height]; }))"
    )
    assert len(bars) == 4
    for upright, across in bars:
        assert upright[1] > upright[0]
        assert across[0] > across[1]


def test_intervals_have_the_colour_of_their_point(show):
    for scheme in ("light", "dark"):
        colours = """
        return [...document.querySelectorAll('.point')].flatMap((point) => [...point.querySelectorAll('.interval')]
          .map((bar) => [getComputedStyle(bar).stroke, getComputedStyle(point.querySelector('.dot')).fill]))
        """
        pairs = show(study(), scheme=scheme).script(colours)
        assert len(pairs) == 8
        assert all(bar == dot for bar, dot in pairs)


def test_an_interval_that_reaches_to_no_time_at_all_leaves_the_plot_its_width(show):
    """Two seeds' t interval is 12.7 times their half range: here from 1 ms, or from below 0, to 26 s."""
    middles = "return [...document.querySelectorAll('.point')].map((point) => point.querySelector('.dot').getBBox().x)"
    for low in (0.001, -1.0):
        reach = (13 - low) / 12.706205
        times = {seed: 13 + sign * reach for seed, sign in enumerate((-1, 1))}
        wide = [made(dataclasses.replace(LORA, seed=seed), train_s=time - 1) for seed, time in times.items()]
        page = show([*wide, made(FULL, 0.9, 130.0)])
        left, right = sorted(page.script(middles))
        assert right - left > 300


def test_a_point_says_its_name_and_figures(show):
    page = show(study())
    points = page.script("return [...document.querySelectorAll('.point')].map((point) => point.ariaLabel)")
    assert len(points) == 4
    assert "svm-cls: 0.7050 in 4.1 s (2 seeds)" in points
    assert page.script("return document.querySelector('.tip').hidden")
    page.hover(".point .dot")
    assert text_of(page, ".tip") == points[0].replace(": ", "")
    page.hover("#pareto-title")
    assert page.script("return document.querySelector('.tip').hidden")
    page.script("document.querySelectorAll('.point')[1].focus()")
    assert text_of(page, ".tip") == points[1].replace(": ", "")
    assert page.script("return document.querySelector('.front').getAttribute('d').match(/[MHV]/g).join('')") == "MHVHV"


def test_places_are_drawn_apart(show):
    there = {"device": "a gpu", "versions": {"torch": "2", "transformers": "5"}}
    page = show([*study(), made(LORA, environment=there)])
    assert page.script("return document.querySelectorAll('.point').length") == 4  # where there is most to see
    choose(page, "#pareto-place", "minilm, corpus, a gpu")
    assert page.script("return [...document.querySelectorAll('.point')].map((point) => point.ariaLabel)") == [
        "lora-dynamic-lr1e-03-r8-attention, device a gpu: 0.8000 in 11.0 s (1 seed)"
    ]


LEGEND = "return [...document.querySelectorAll('#loss-legend li')].map((item) => item.innerText.split('\\n').join(' '))"
CURVES = "return [...document.querySelectorAll('.curve')].map((curve) => curve.getAttribute('class'))"


def test_curves_of_chosen_runs_are_drawn(show):
    page = show(study())
    names = ["lora-dynamic-lr1e-03-r8-attention", "full-dynamic-lr2e-05, batch size 16", "full-fixed-lr2e-05"]
    assert [item.rpartition(", seed 0")[0] for item in page.script(LEGEND)] == names  # one of each to begin with
    assert page.script(CURVES) == ["curve series-0", "curve series-1", "curve series-2"]
    page.click("#loss summary")
    page.type("#loss-find", "fixed")
    assert page.script("return document.querySelectorAll('#loss-runs label:not([hidden])').length") == 2
    page.click("#loss-runs label:not([hidden]) input")
    assert page.script(CURVES) == ["curve series-0", "curve series-1"]
    page.click("#loss-runs label:not([hidden]) + label input")
    assert page.script(CURVES) == ["curve series-0", "curve series-1", "curve series-2"]
    page.click("#loss-none")
    assert page.script(CURVES) == []
    assert text_of(page, "#loss-plot") == "Nothing to draw."


def test_losses_are_read_by_pointer_and_by_keyboard(show):
    record = made(LORA)
    page = show([record])
    page.hover("#loss-plot svg", 5)
    step = int(text_of(page, "#loss-step").removeprefix("Step "))
    [entry] = [entry for entry in record.history if entry.step == step]
    assert 400 <= step <= 600
    assert page.script(LEGEND) == [f"lora-dynamic-lr1e-03-r8-attention, seed 42 {entry.loss:.4f}"]
    page.script("document.querySelector('#loss-plot svg').focus()")
    page.press("\ue014")  # arrow to the right
    assert text_of(page, "#loss-step") == f"Step {step + 50}"
    page.press("\ue012")  # arrow to the left
    assert text_of(page, "#loss-step") == f"Step {step}"


def verdicts(record):
    """Per sentence of the test split: whether the run is right."""
    return np.asarray(record.predictions["test"].logits).argmax(axis=1) == LABELS


def test_disagreements_are_counted_and_listed(show):
    a, b = made(LORA, 0.7), made(dataclasses.replace(FULL, seed=3), 0.6)
    page = show([a, b], texts={"d" * 64: {"test": [f"sentence {row}" for row in range(SENTENCES)]}})
    right_a, right_b = verdicts(a), verdicts(b)
    expected = {
        "both right": right_a & right_b,
        "only A right": right_a & ~right_b,
        "only B right": ~right_a & right_b,
        "both wrong": ~right_a & ~right_b,
    }
    cells = page.script(
        "return [...document.querySelectorAll('#pair-counts [data-kind]')].map((c) => [c.dataset.kind, c.textContent])"
    )
    assert dict(cells) == {kind: f"{rows.sum()} ({100 * rows.mean():.1f} %)" for kind, rows in expected.items()}
    rows = "return [...document.querySelectorAll('#pair-rows td:first-child')].map((cell) => [...cell.parentNode.cells]"
    rows += ".map((other) => other.textContent))"
    for kind, where in expected.items():
        choose(page, "#pair-kind", kind)
        found = page.script(rows)
        assert [int(row[0]) for row in found] == np.flatnonzero(where).tolist()
        assert all(row[1] == str(LABELS[int(row[0])]) and row[6] == f"sentence {row[0]}" for row in found)
        logits = [[float(x) for x in row[3].replace("−", "-").split(" / ")] for row in found]
        np.testing.assert_allclose(logits, np.asarray(a.predictions["test"].logits)[where], atol=0.0051)
    choose(page, "#pair-split", "validation")
    assert "40 sentences of validation" in text_of(page, "#pair-counts")
    assert page.script(rows)[0][6:] == []  # its texts were not given


def test_only_runs_on_the_same_sentences_are_compared(show):
    others = [1 - label for label in LABELS]
    page = show([made(LORA), made(FULL), made(SVM, labels=others), failed(Experiment(seed=1))])
    options = "return [...document.querySelector(arguments[0]).options].map((option) => option.textContent)"
    names = ["lora-dynamic-lr1e-03-r8-attention, seed 42", "full-dynamic-lr2e-05, epochs 1, seed 42"]
    assert page.script(options, "#pair-a") == names
    assert page.script(options, "#pair-b") == names[1:]
    choose(page, "#pair-a", names[1])
    assert page.script(options, "#pair-b") == names[:1]


def test_many_rows_are_shown_when_asked_for(show):
    labels = [row % 2 for row in range(200)]
    page = show([made(LORA, 0.9, labels=labels), made(dataclasses.replace(FULL, seed=1), 0.9, labels=labels)])
    choose(page, "#pair-kind", "both right")
    rows = "return document.querySelectorAll('#pair-rows tbody tr').length"
    assert page.script(rows) == 50
    total = int(text_of(page, "#pair-more").removeprefix("Show all "))
    page.click("#pair-more")
    assert page.script(rows) == total > 50
    assert page.script("return document.querySelector('#pair-more').hidden")


def test_a_link_opens_its_environment(show):
    page = show(study())
    page.script("document.querySelector('#runs a').click()")
    assert page.script(
        "return new Promise((done) => setTimeout(() => done(document.querySelector('#environment-1').open)))"
    )


@pytest.mark.parametrize(
    "records", [[], [failed()], [made(predictions={}, history=())]], ids=["none", "failed", "bare"]
)
def test_a_page_with_little_in_it_works(show, records):
    page = show(records)
    assert page.script(COUNT) == f"{len(records)} of {len(records)} runs"
    assert "No two runs" in text_of(page, "#disagreements")
    assert text_of(page, "#loss-plot") == "Nothing to draw."


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_and_not_run(show, text):
    source = Source(name=text, revision=text, sha256="d" * 64)
    lora = Experiment(method="lora", lora=LoraSettings(target_modules=(text.replace(" ", "").replace(",", ""),)))
    environment = {"device": text, "versions": {"torch": text, "transformers": text}, text: text}
    changes = {"dataset": source, "encoder": source, "environment": environment}
    records = [made(lora, **changes), made(dataclasses.replace(FULL, seed=9), **changes), failed(error=text, **changes)]
    # A dialog would make the next call fail, a refused script would be in the console.
    page = show(records, texts={"d" * 64: {"test": [text] * SENTENCES}})
    page.hover(".point .dot")
    assert lora.lora.target_modules[0] in page.script("return document.body.innerText")
    assert text_of(page, "#runs .error span") == text
    assert text_of(page, "#pair-rows td:last-child") == text
    assert text in text_of(page, "#environments")
    assert page.script("return [document.scripts.length, document.images.length]") == [2, 0]


def test_the_colours_follow_the_system(show):
    background = "return getComputedStyle(document.body).backgroundColor"
    assert show(study(), scheme="light").script(background) == "rgb(255, 255, 255)"
    assert show(study(), scheme="dark").script(background) == "rgb(20, 23, 27)"


def test_every_control_has_a_name(show):
    page = show(study())
    nameless = """
    return [...document.querySelectorAll("input, select, button, [tabindex]")]
      .filter((node) => !node.labels?.length && !node.textContent.trim())
      .filter((node) => !node.ariaLabel && !node.getAttribute("aria-labelledby"))
      .map((node) => node.outerHTML)
    """
    assert page.script(nameless) == []
