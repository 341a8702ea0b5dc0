"""The report: what is in the file, what never is, and what it does in a browser."""

import base64
import csv
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import lab_records
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_records import with_recipe

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm
from rtlab.metrics import scores
from rtlab.recipe import Recipe
from rtlab.records import LogEntry, Memory, Predictions, Source, load_records, save
from rtlab.reporting import report_data
from rtlab.reporting.markup import embedded_json
from rtlab.reporting.report import report
from rtlab.reporting.report_data import CURVE_POINTS, page_data, run_names
from rtlab.statistics import accuracy_interval
from rtlab.values import visible

SENTENCES = 40
LABELS = [row % 2 for row in range(SENTENCES)]
SVM = Experiment(method=Svm())
FULL = Experiment(method=Full(recipe=Recipe(epochs=1)))
LORA = Experiment(method=Adapter(recipe=Recipe(epochs=1, learning_rate=1e-3)))
LORA_NAME = "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 1e-03"
STUDY = [(SVM, 0.70, 3.0), (LORA, 0.85, 60.0), (FULL, 0.90, 100.0), (with_recipe(FULL, padding="fixed"), 0.89, 700.0)]
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
    return Predictions(labels=np.array(labels, dtype=np.int32), logits=logits.astype(np.float32))


def made(experiment=FULL, accuracy=0.8, train_s=10.0, *, labels=LABELS, steps=20, seed=42, **changes):
    """A finished run with predictions for both splits, a second of warm-up, and a falling loss."""
    random = np.random.default_rng(seed)
    losses = 0.9 - 0.8 * accuracy + 0.5 * np.exp(-np.arange(steps) / 8) + random.normal(0, 0.02, steps)
    history = [
        LogEntry(step=50 * (i + 1), epoch=1, loss=float(abs(x)), learning_rate=1, gradient_norm=1)
        for i, x in enumerate(losses)
    ]
    said = {split: predictions(labels, accuracy, seed) for split in ("validation", "test")}
    fields = {
        "encoder": "minilm",
        "dataset": "corpus",
        "sha256": "d" * 64,
        "device": "a cpu",
        "environment": {"device": "a cpu", "driver": None, "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
        "predictions": said,
        "scores": {split: scores(p.labels, p.classes, num_labels=2) for split, p in said.items()},
        "history": () if experiment.method == Svm() else tuple(history),
        "warmup_s": 1.0,
    }
    return lab_records.made(experiment, accuracy, accuracy, train_s, 0.5, 0.4, seed=seed, **fields | changes)


def failed(experiment=FULL, error="RuntimeError: no", **changes):
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None, "history": ()}
    return made(experiment, **{"status": "oom", "error": error} | nothing | changes)


def study(seeds=2, **changes):
    """The methods with some seeds each, and a run out of memory."""
    runs = [
        made(experiment, accuracy + 0.01 * seed, seconds * (1 + 0.05 * seed), seed=seed, **changes)
        for experiment, accuracy, seconds in STUDY
        for seed in range(seeds)
    ]
    return [*runs, failed(with_recipe(FULL, batch_size=4096), "OutOfMemoryError: 24 GiB wanted")]


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


def table(records):
    """The run table's cells by column, a dictionary for each run."""
    *columns, errors = page_data(records, {})["table"]

    def text(column, row):
        if "texts" in column:
            return column["texts"][row]
        if "values" in column:
            value = column["values"][row]
            return "" if value is None else f"{value:.{column['digits']}f}"
        code = column["codes"][row]
        return "" if code < 0 else column["known"][code]

    return [
        {column["title"]: text(column, row) for column in columns} | {"error": errors["errors"].get(str(row))}
        for row in range(len(records))
    ]


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
    page = Page(report(records))
    assert not page.open
    assert len(page.data["table"][0]["texts"]) == len(set(page.data["table"][0]["texts"])) == len(records)
    assert len(page.all("script")) == 2


def test_a_hundred_records_stay_below_three_megabytes():
    labels = [row % 2 for row in range(1066)]
    records = [made(seed=seed, labels=labels, steps=53) for seed in range(100)]
    assert len(report(records).encode()) < 3e6


def test_of_many_records_the_page_holds_few_in_full_and_says_so(monkeypatch):
    monkeypatch.setattr(report_data, "IN_FULL", 3)
    text = report(study())
    page = Page(text)
    assert len(page.data["table"][0]["texts"]) == 9
    names = [page.data["table"][0]["texts"][run["run"]] for run in page.data["runs"]]
    assert len({name.partition(", seed")[0] for name in names}) == 3  # one of each setup first
    assert "Losses and predictions of 3 of 8 runs are in this page" in text
    assert "rtlab tables --csv FILE" in text
    assert "Losses and predictions of" not in report(study()[:3])


def test_the_page_holds_the_names_of_classes_once_and_clean():
    names = ("no", "a\x1b[31m\n<b>")
    data = page_data([lab_records.of_classes(made(seed=seed), names) for seed in (1, 2)] + [made(seed=3)], {})
    assert data["classes"] == [["no", "a\ufffd[31m <b>"], ["0", "1"]]
    assert [run["classes"] for run in data["runs"]] == [0, 0, 1]


def test_without_logits_the_page_has_classes_alone(tmp_path):
    for record in study():
        save(record, tmp_path)
    records = load_records(tmp_path, logits=False).records
    for run in page_data(records, {})["runs"]:
        assert all(set(split) == {"labels", "predicted"} for split in run["splits"].values())


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_records_is_text(text):
    changes = hostile(text)
    lora = Experiment(method=Adapter(target_modules=(text.replace(" ", "").replace(",", ""),)))
    records = [made(lora, **changes), failed(error=text, **changes)]
    page = Page(report(records, texts={"d" * 64: {"test": [text] * SENTENCES}}))
    plain = Page(report([made(LORA), failed()]))
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert text in page.texts
    assert page.data["texts"]["d" * 64]["test"][0] == text


def hostile(text):
    """What a record may be told in words, all of it this text."""
    environment = {"device": text, "versions": {"torch": text, "transformers": text}, text: text}
    return {
        "dataset": text,
        "encoder": text,
        "environment": environment,
        "testbed": lab_records.some_testbed(text, torch=text, transformers=text),
    }


def test_half_a_surrogate_pair_is_written_as_no_character():
    text = report([failed(error="broken \ud800 text")])
    assert Page(text).data["table"][-1]["errors"] == {"0": "broken \ufffd text"}
    text.encode()


def seen(value):
    """A value whose texts are as a page may show them."""
    return list(map(seen, value)) if isinstance(value, list) else visible(value) if isinstance(value, str) else value


@given(st.recursive(st.text() | st.integers(), st.lists))
def test_embedded_json_is_the_same_value_made_visible_and_cannot_end_its_element(value):
    text = embedded_json(value)
    assert json.loads(text) == seen(value)
    assert not {"<", ">", "&"} & {*text}


# Sentences


def test_a_report_holds_sentences_only_where_they_are_given():
    sentences = [f"a film, number {row}" for row in range(SENTENCES)]
    assert Page(report(study())).data["texts"] == {}
    page = Page(report(study(), texts={"d" * 64: {"test": sentences}, "f" * 64: {"test": ["of another data set"]}}))
    assert page.data["texts"] == {"d" * 64: {"test": sentences}}
    assert any(text.endswith("is no chance of a seed. Texts are shown for corpus.") for text in page.texts)


# What is in it


def test_the_run_table_says_what_a_run_was_and_came_to():
    record = made(LORA, 0.85, 60.04, memory=Memory(peak_device=3 * 2**30, peak_host=1))
    [row] = table([record])
    accuracy = record.scores["test"].accuracy
    assert row.pop("test F1") == f"{record.scores['test'].f1:.4f}"
    low, high = map(float, row.pop("95 %").split(" – "))
    assert low < accuracy < high
    assert row == {
        "run": f"{LORA_NAME}, seed 42",
        "status": "ok",
        "test accuracy": f"{accuracy:.4f}",
        "training (s)": "60.0",
        "samples/s": "142.1",
        "peak memory (GiB)": "3.00",
        "method": "lora",
        "padding": "dynamic",
        "learning rate": "0.001",
        "target modules": "attention",
        "engine": "trainer",
        "seed": "42",
        "encoder": "minilm",
        "data set": "corpus",
        "testbed": "a cpu, 2 threads",
        "created (UTC)": "2026-01-01 00:00:00",
        "environment": "1",
        "id": record.id,
        "error": None,
    }


def test_the_interval_of_a_run_is_that_of_the_tables():
    record = made()
    known = accuracy_interval((record.predictions["test"].classes == LABELS)[None])
    assert table([record])[0]["95 %"] == f"{known.low:.3f} – {known.high:.3f}"


def test_a_run_without_a_result_shows_its_error():
    records = [failed(error="RuntimeError:\x1b no room")]
    [row] = table(records)
    assert (row["status"], row["test accuracy"], row["95 %"]) == ("oom", "", "")
    assert row["error"] == "RuntimeError:\ufffd no room"
    assert "1 record; 1 run without a result; " in report(records)


def texts_of(value):
    """Every text in JSON, names too."""
    match value:
        case str():
            yield value
        case dict():
            for name, part in value.items():
                yield name
                yield from texts_of(part)
        case list():
            for part in value:
                yield from texts_of(part)


def test_what_is_hidden_in_names_errors_and_sentences_is_nowhere_in_the_page():
    nasty = "a\x1b[2Jb \u202egnp \u2066c \u200bd \0e \x9bf \ufeff \u3164"
    places = {"encoder": nasty, "dataset": nasty, "environment": {"device": nasty, nasty: {"torch": nasty}}}
    records = [made(**places), made(LORA, **places), failed(error=nasty)]
    sentences = {split: [nasty] * SENTENCES for split in ("validation", "test")}
    html = report(records, texts={records[0].dataset.sha256: sentences})
    assert visible(html) == html
    shown = list(texts_of(Page(html).data))
    assert len([text for text in shown if text.startswith("a\ufffd[2Jb")]) >= 2 * SENTENCES
    assert [text for text in shown if visible(text) != text] == []


def test_a_failure_beside_a_finished_record_is_not_counted():
    assert "without a result" not in report([made(), failed(day=2)])


def test_runs_cut_short_stand_at_the_end():
    cut = [made(with_recipe(FULL, max_steps=8)), made(dataclasses.replace(FULL, limit=160), sha256="0" * 64)]
    names = Page(report([*cut, made(LORA)])).data["table"][0]["texts"]
    assert names[0].startswith("LoRA")


def test_environments_are_told_once_with_their_runs():
    other = {"device": "a gpu", "driver": "570", "versions": {"torch": "2.12.0", "transformers": "5.20.0"}}
    page = Page(report([*study(), made(LORA, environment=other)]))
    assert [details["id"] for details in page.all("details") if "id" in details] == ["environment-1", "environment-2"]
    assert "1: a cpu, torch 2.13.0 (9 runs)" in page.texts
    assert "2: a gpu, torch 2.12.0 (1 run)" in page.texts
    assert {"versions.torch", "2.12.0", "driver", "570", "–"} <= set(page.texts)


def test_tables_and_claims_are_in_it():
    texts = Page(report(study())).texts
    assert {"Methods compared", "Methods", "Words and features", "as stated", "here"} <= set(texts)
    assert texts.index("Findings") < texts.index("Runs")


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


def test_a_term_as_long_as_a_text_without_blanks_is_shown_by_its_beginning():
    [run] = page_data([made(strongest={"neg": ("dull", "x" * 100_000), "pos": ("a\x1bb",)})], {})["runs"]
    assert run["strongest"] == [["neg", f"dull, {'x' * 497}..."], ["pos", "a\N{REPLACEMENT CHARACTER}b"]]


def test_the_loss_on_validation_is_told_with_what_was_kept():
    [run] = page_data([lab_records.watched(made(), 0.5, 0.41234567, 0.6)], {})["runs"]
    assert run["validated"] == [[534, 0.5], [1068, 0.412346], [1602, 0.6]]
    assert run["kept"] == 1068
    [run] = page_data([made()], {})["runs"]
    assert (run["validated"], run["kept"]) == ([], None)


def test_long_histories_are_thinned_to_means():
    [run] = page_data([made(steps=1000)], {})["runs"]
    losses = [entry.loss for entry in made(steps=1000).history]
    assert len(run["loss"]) == CURVE_POINTS
    assert run["loss"][0] == [250, pytest.approx(np.mean(losses[:5]), rel=1e-4)]
    assert run["loss"][-1] == [50000, pytest.approx(np.mean(losses[-5:]), rel=1e-4)]


def test_names_tell_runs_apart():
    lora = dataclasses.replace(LORA, method=Adapter(recipe=LORA.method.recipe, settings={"lora_alpha": 64}))
    limited = dataclasses.replace(with_recipe(FULL, epochs=5), limit=100)
    names = run_names([made(SVM), made(LORA), made(lora), made(FULL), made(limited)])
    assert names == [
        "SVM, [CLS] features, seed 42",
        f"{LORA_NAME}, 1 epoch, seed 42",
        f"{LORA_NAME.replace('32', '64')}, 1 epoch, seed 42",
        "full, dynamic, lr 2e-05, 1 epoch, seed 42",
        "full, dynamic, lr 2e-05, 5 epochs, 100 sentences a split, seed 42",
    ]
    again = [made(SVM), made(SVM, day=2)]
    assert run_names(again) == [f"SVM, [CLS] features, seed 42, record {n} of 2" for n in (1, 2)]
    assert run_names([made(SVM), made(SVM, encoder="b")])[1].endswith(", b on corpus")


def test_points_are_means_over_seeds_at_one_place():
    data = page_data([*study(), made(LORA, 0.6, 5.0, sha256="f" * 64)], {})
    encoder = lab_records.sha("minilm")[:8]
    where = "encoder minilm ({}), data set corpus ({}), on a cpu, 2 threads"
    assert data["places"] == [where.format(encoder, d * 8) for d in "df"]
    here = {point["name"]: point for point in data["points"] if point["place"] == 0}
    svm = here["SVM, [CLS] features"]
    assert svm["seconds"] == pytest.approx(4.075)  # a second of warm-up counts
    assert svm["accuracy"] == pytest.approx(np.mean([accuracy for _, accuracy in svm["seeds"]]))
    for point in here.values():
        assert point["accuracySpan"][0] < point["accuracy"] < point["accuracySpan"][1]
        assert point["secondsSpan"][0] < point["seconds"] < point["secondsSpan"][1]
    [alone] = [point for point in data["points"] if point["place"] == 1]
    assert alone["accuracySpan"]
    assert alone["secondsSpan"] is None


def test_a_time_of_another_machine_is_another_place():
    data = page_data([made(), made(seed=1, train_s=30.0, testbed=lab_records.some_testbed("a gpu"))], {})
    assert [point["seconds"] for point in data["points"]] == [11.0, 31.0]
    assert len(data["places"]) == 2


def test_the_engines_of_a_recipe_share_its_number():
    native = with_recipe(FULL, engine="native")
    records = [made(SVM), made(FULL), made(native), made(LORA), made(with_recipe(FULL, padding="fixed"))]
    points = {(p["name"], p["reference"]): p["recipe"] for p in page_data(records, {})["points"]}
    [a, b] = [recipe for (name, _), recipe in points.items() if "full" in name and "fixed" not in name]
    assert a == b is not None
    assert [recipe for (name, _), recipe in points.items() if "fixed" in name] == [None]
    assert {reference for (name, reference) in points if "engine native" in name or "SVM" in name} == {False}


def test_a_run_that_was_cut_short_is_no_point():
    cut = with_recipe(LORA, max_steps=100)
    assert len(page_data([made(LORA, 0.6, 5.0), made(cut, 0.5, 1.0)], {})["points"]) == 1


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
    assert re.fullmatch(r"rtlab: left out: \S+broken.json is no readable record .*\n", done.err)
    assert len(Page((results / "report.html").read_text(encoding="utf-8")).data["table"][0]["texts"]) == 9


def test_a_missing_folder_is_refused(rtlab, tmp_path):
    done = rtlab("report", "--results", "nowhere")
    assert (done.status, done.out) == (2, "")
    assert done.err == "rtlab: --results must be a folder of results; got nowhere, which is no directory\n"
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
    record = made(dataclasses.replace(FULL, limit=limit))
    save(dataclasses.replace(record, dataset=source), tmp_path / "results" / "records")
    assert rtlab("report", "--dataset", data).status == 0
    texts = Page((tmp_path / "results" / "report.html").read_text(encoding="utf-8")).data["texts"]
    count = limit or 20
    assert texts == {source.sha256: {s: [f"{s} {i} {MARKUP[0]}" for i in range(count)] for s in ("test", "validation")}}


def test_sentences_of_another_data_set_are_refused(rtlab, results, data):
    done = rtlab("report", "--dataset", data)
    assert done.status == 2
    assert done.err.endswith(
        f"rtlab: --dataset must be what records were made with; got {data}, whose contents are others\n"
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


FIXED = [f"full, fixed, lr 2e-05, batch size 16, seed {seed}" for seed in (0, 1)]
VISIBLE = "return [...document.querySelectorAll('#runs tbody th')].map((cell) => cell.textContent)"
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
    assert page.script(VISIBLE) == FIXED
    assert page.script(COUNT) == "2 of 9 runs"
    page.click("#runs-reset")
    assert len(page.script(VISIBLE)) == 9
    page.script("document.querySelectorAll('#runs .controls select').forEach((menu, i) => (menu.id = `menu-${i}`))")
    menus = page.script(
        "return [...document.querySelectorAll('#runs label')].map((label) => label.firstChild.data.trim())"
    )
    assert menus == ["Find", "status", "method", "padding", "learning rate", "seed"]  # what differs, and no other
    choose(page, "#menu-0", "oom")
    assert page.script(VISIBLE) == ["full, dynamic, lr 2e-05, batch size 4096, seed 42"]
    page.click("#runs-reset")
    choose(page, "#menu-1", "full")
    choose(page, "#menu-2", "fixed")
    assert page.script(VISIBLE) == FIXED


def test_the_header_sorts_up_and_down_with_empty_cells_last(show):
    page = show(study(seeds=1))
    titles = [column["title"] for column in page_data(study(), {})["table"]]
    column = titles.index("training (s)") + 1
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
    assert page.script(VISIBLE)[-1] == "SVM, [CLS] features, seed 0"
    assert page.script("return document.querySelector('#runs .error').parentNode.rows[0].innerText").count("4096") == 1


def test_the_header_sorts_by_keyboard(show):
    page = show(study(seeds=1))
    page.script("document.querySelector('#runs th button').focus()")
    page.press("\ue007")  # Enter
    assert page.script(VISIBLE)[0] == "full, dynamic, lr 2e-05, batch size 16, seed 0"


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
    choose(page, "#pareto-shown", "all setups")
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
          .map((bar) => [getComputedStyle(bar).stroke, getComputedStyle(point.querySelector('.dot')).color]))
        """
        pairs = show(study(), scheme=scheme).script(colours)
        assert len(pairs) == 6
        assert all(bar == dot for bar, dot in pairs)


def test_an_interval_that_reaches_to_no_time_at_all_leaves_the_plot_its_width(show):
    """Two seeds' t interval is 12.7 times their half range: here from 1 ms, or from below 0, to 26 s."""
    middles = "return [...document.querySelectorAll('.point')].map((point) => point.querySelector('.dot').getBBox().x)"
    for low in (0.001, -1.0):
        reach = (13 - low) / 12.706205
        times = {seed: 13 + sign * reach for seed, sign in enumerate((-1, 1))}
        wide = [made(LORA, seed=seed, train_s=time - 1) for seed, time in times.items()]
        page = show([*wide, made(FULL, 0.9, 130.0)])
        left, right = sorted(page.script(middles))
        assert right - left > 300


def test_a_point_says_its_name_and_figures(show):
    page = show(study())
    choose(page, "#pareto-shown", "all setups")
    points = page.script("return [...document.querySelectorAll('.point')].map((point) => point.ariaLabel)")
    assert len(points) == 4
    assert any(re.fullmatch(r"SVM, \[CLS\] features: 0\.\d{4} in 4\.1 s \(2 seeds\)", point) for point in points)
    assert page.script("return document.querySelector('.tip').hidden")
    page.hover(".point .dot")
    assert text_of(page, ".tip") == points[0].replace(": ", "")
    page.hover("#pareto-title")
    assert page.script("return document.querySelector('.tip').hidden")
    page.script("document.querySelectorAll('.point')[1].focus()")
    assert text_of(page, ".tip") == points[1].replace(": ", "")
    assert page.script("return document.querySelector('.front').getAttribute('d').match(/[MHV]/g).join('')") == "MHVHV"


def test_the_engines_of_a_recipe_are_joined_and_other_setups_are_shown_when_asked_for(show):
    records = [*study(), *(made(with_recipe(FULL, engine="native"), 0.9, 50.0, seed=seed) for seed in (0, 1))]
    page = show(records)
    count = (
        "return ['.point', '.join', '.hollow'].map((kind) => document.querySelectorAll(`#pareto-plot ${kind}`).length)"
    )
    assert page.script(count) == [4, 1, 2]
    choose(page, "#pareto-shown", "all setups")
    assert page.script(count) == [5, 1, 3]


def test_places_are_drawn_apart(show):
    """And the legend names what is drawn there alone."""
    page = show([*study(), made(LORA, seed=9, testbed=lab_records.some_testbed("a gpu"))])
    legend = "return [...document.querySelectorAll('#pareto-legend li')].map((item) => item.innerText.trim())"
    assert page.script("return document.querySelectorAll('.point').length") == 3  # where there is most to see
    assert len(page.script(legend)) == 3
    places = page.script("return [...document.querySelectorAll('#pareto-place option')].map((o) => o.textContent)")
    choose(page, "#pareto-place", next(place for place in places if "a gpu" in place))
    [label] = page.script("return [...document.querySelectorAll('.point')].map((point) => point.ariaLabel)")
    assert re.fullmatch(rf"{LORA_NAME}: 0\.\d{{4}} in 11\.0 s \(1 seed\)", label)
    assert page.script(legend) == ["LoRA"]


LEGEND = "return [...document.querySelectorAll('#loss-legend li')].map((item) => item.innerText.split('\\n').join(' '))"
CURVES = "return [...document.querySelectorAll('.curve')].map((curve) => curve.getAttribute('class'))"


def test_curves_of_chosen_runs_are_drawn(show):
    page = show(study())
    names = [f"{name}, batch size 16" for name in (LORA_NAME, "full, dynamic, lr 2e-05", "full, fixed, lr 2e-05")]
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
    assert page.script(LEGEND) == [f"{LORA_NAME}, seed 42 {entry.loss:.4f}"]
    page.script("document.querySelector('#loss-plot svg').focus()")
    page.press("\ue014")  # arrow to the right
    assert text_of(page, "#loss-step") == f"Step {step + 50}"
    page.press("\ue012")  # arrow to the left
    assert text_of(page, "#loss-step") == f"Step {step}"


def verdicts(record):
    """Per sentence of the test split: whether the run is right."""
    return np.asarray(record.predictions["test"].logits).argmax(axis=1) == LABELS


def test_disagreements_are_counted_and_listed(show):
    a, b = made(LORA, 0.7), made(FULL, 0.6, seed=3)
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
        np.testing.assert_allclose(np.reshape(logits, (-1, 2)), a.predictions["test"].logits[where], atol=0.0051)
    choose(page, "#pair-split", "validation")
    assert "40 sentences of validation" in text_of(page, "#pair-counts")
    assert page.script(rows)[0][6:] == []  # its texts were not given


def test_what_all_seeds_of_one_setup_have_right_and_all_of_another_wrong_is_listed(show):
    sides = {
        "A": [made(LORA, 0.8, seed=seed) for seed in (0, 1, 2)],
        "B": [made(FULL, 0.5, seed=seed + 9) for seed in (0, 1, 2)],
    }
    page = show([*sides["A"], *sides["B"]])
    options = "return [...document.querySelector(arguments[0]).options].map((option) => option.textContent)"
    names = {"A": f"{LORA_NAME}, all 3 seeds", "B": "full, dynamic, lr 2e-05, all 3 seeds"}
    assert page.script(options, "#pair-a")[:2] == sorted(names.values())  # before the single runs
    for side, name in names.items():
        choose(page, f"#pair-{side.lower()}", name)
    right = {side: np.array([verdicts(record) for record in records]) for side, records in sides.items()}
    where = right["A"].all(axis=0) & ~right["B"].any(axis=0)
    assert where.any()
    choose(page, "#pair-kind", "only A right")
    rows = """
    return [...document.querySelectorAll("#pair-rows tbody tr")].map((row) => [...row.cells].map((c) => c.textContent))
    """
    found = page.script(rows)
    assert [int(row[0]) for row in found] == np.flatnonzero(where).tolist()
    assert all(row[2].endswith("✓") and row[4].endswith("✗") for row in found)
    counts = page.script(
        "return [...document.querySelectorAll('#pair-counts [data-kind]')].map((c) => parseInt(c.textContent))"
    )
    assert sum(counts) == SENTENCES
    choose(page, "#pair-kind", "seeds of one disagree")
    assert any(re.fullmatch(r"[12] of 3 ✓", cell) for row in page.script(rows) for cell in (row[2], row[4]))


CLASSES = """
return [...document.querySelectorAll(`#classes-${arguments[0]} tr`)]
  .map((row) => [...row.cells].map((cell) => cell.textContent))
"""


@pytest.mark.parametrize("names", [(), ("ham", "<b>spam</b>"), ("a", "b", "c", "d")], ids=len)
def test_the_scores_by_class_and_the_confusion_matrix_of_a_run_are_the_records(show, names):
    records = [made(LORA, seed=1), made(FULL, seed=2)]
    records = [lab_records.of_classes(record, names) for record in records] if names else records
    page = show(records)
    for record, name in zip(records, run_names(records), strict=True):
        choose(page, "#classes-run", name)
        for split in ("validation", "test"):
            choose(page, "#classes-split", split)
            found = record.scores[split]
            shown = names or ("0", "1")
            assert page.script(CLASSES, "scores")[1:] == [
                [title, str(s.support), f"{s.precision:.4f}", f"{s.recall:.4f}", f"{s.f1:.4f}"]
                for title, s in zip(shown, found.by_class, strict=True)
            ]
            assert page.script(CLASSES, "confusion") == [
                ["", *shown],
                *([title, *map(str, row)] for title, row in zip(shown, found.confusion, strict=True)),
            ]
            assert f"Accuracy {found.accuracy:.4f}, macro-F1 {found.macro_f1:.4f}; " in text_of(page, "#classes-note")


def test_of_many_classes_the_worst_and_the_most_frequent_confusions_are_shown(show):
    names = tuple(f"intent {number}" for number in range(150))
    record = lab_records.of_classes(made(LORA), names, size=600)
    page = show([record], width=400)
    rows = page.script(CLASSES, "scores")[1:]
    assert len(rows) == 20
    worst = sorted(s.f1 for s in record.scores["test"].by_class if s.support)[:20]
    assert [float(row[-1]) for row in rows] == pytest.approx(worst, abs=1e-4)
    pairs = page.script(CLASSES, "confusion")
    assert pairs[0] == ["class", "taken for", "sentences"]
    counts = np.array(record.scores["test"].confusion)
    for name, other, count in pairs[1:]:
        assert counts[names.index(name), names.index(other)] == int(count)
    assert int(pairs[1][2]) == (counts - np.diag(np.diag(counts))).max()
    page.click("#classes-more")
    assert len(page.script(CLASSES, "scores")) == 151
    assert page.script("return document.documentElement.scrollWidth") <= 400


def test_an_accuracy_that_saying_the_largest_class_would_reach_is_said_to_be_one(show):
    lazy = lab_records.of_classes(made(LORA), ("ham", "spam"), shares=(0.9, 0.1), accuracy=0.0)
    assert "saying it every time would do as well" in text_of(show([lazy]), "#classes-note")
    keen = lab_records.of_classes(made(LORA), ("ham", "spam"), shares=(0.9, 0.1), accuracy=1.0)
    assert "the largest class, ham, has 86.0 % of the sentences." in text_of(show([keen]), "#classes-note")
    assert "would do as well" not in text_of(show([keen]), "#classes-note")


def test_only_runs_on_the_same_sentences_are_compared(show):
    others = [1 - label for label in LABELS]
    page = show([made(LORA), made(FULL), made(SVM, labels=others), failed(seed=1)])
    options = "return [...document.querySelector(arguments[0]).options].map((option) => option.textContent)"
    names = [f"{LORA_NAME}, seed 42", "full, dynamic, lr 2e-05, seed 42"]
    assert page.script(options, "#pair-a") == names
    assert page.script(options, "#pair-b") == names[1:]
    choose(page, "#pair-a", names[1])
    assert page.script(options, "#pair-b") == names[:1]


def test_many_rows_are_shown_when_asked_for(show):
    labels = [row % 2 for row in range(200)]
    page = show([made(LORA, 0.9, labels=labels), made(FULL, 0.9, seed=1, labels=labels)])
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
    assert text_of(page, "#classes-note") == "No run has predictions."


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_and_not_run(show, text):
    changes = hostile(text)
    lora = Experiment(method=Adapter(target_modules=(text.replace(" ", "").replace(",", ""),)))
    records = [made(lora, **changes), made(FULL, seed=9, **changes), failed(error=text, **changes)]
    # A dialog would make the next call fail, a refused script would be in the console.
    page = show(records, texts={"d" * 64: {"test": [text] * SENTENCES}})
    page.hover(".point .dot")
    assert lora.method.target_modules[0] in page.script("return document.body.innerText")
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
