"""The card of a model that is handed over: metadata that the hub reads, tables that no name breaks, true numbers."""

import dataclasses
import re
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import small
from huggingface_hub import ModelCard

import rtlab
from rtlab.encoders import load_encoder
from rtlab.metrics import confusion
from rtlab.records import Predictions, Source
from rtlab.running import model_folder
from rtlab.saved_models.calibrating import calibrated
from rtlab.saved_models.description import read_description
from rtlab.saved_models.hub_card import Handed, hub_card
from rtlab.statistics import Interval, accuracy_interval, macro_f1_interval

HOSTILE = (
    "a | b \\| c `code` ``` **bold** _it_ <b>x</b> [link](http://x.y) ![i](j) $m$ &amp; www.example.com @who :smile:",
    "---\nlicense: mit\n---\n# heading\n- item: 'x\": {y}",
    "\u202egnp.exe\x1b[31m\r\n| | |\n| --- |\ntab\there",
    "long " * 100,
    "long " * 100 + "but another",
    "null",
    "1.",
    "#",
    " ",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of an SVM and one of an adapter, with their descriptions."""
    folder, found = tmp_path_factory.mktemp("cards"), {}
    data = small.data_folder(folder / "reviews", small.THREE, held_out=60)
    for name in ("svm", "lora"):
        record = rtlab.run(
            small.experiment(data, method=name, learning_rate=1e-2), output_dir=folder, device="cpu", save_model=True
        )
        description = read_description(model_folder(folder, record))
        found[name] = SimpleNamespace(record=record, description=description)
    return found


@pytest.fixture
def card(ran, tmp_path):
    """The card of a run, written and loaded as huggingface_hub does, with changes of what it speaks of."""

    def make(name="svm", *, record=None, choice=None, called="to", **changes):
        record, description = record or ran[name].record, ran[name].description
        fields = {
            "name": called,
            "description": description,
            "encoder": load_encoder("tiny-distilbert") if name == "lora" else None,
            "choice": choice or small.choice(record),
            "record": record,
            "calibration": calibrated(record),
            "refit": False,
        }
        path = tmp_path / "README.md"
        path.write_text(hub_card(Handed(**fields | changes)), encoding="utf-8")
        return ModelCard.load(path)

    return make


def named(record, names):
    """A record of a data set with these classes, of which as many are there as there are names."""
    draws = np.random.default_rng(1)
    predictions = {
        split: Predictions(
            labels=draws.integers(0, len(names), size=80).astype(np.int32),
            logits=draws.normal(size=(80, len(names))).astype(np.float32),
        )
        for split in ("validation", "test")
    }
    return dataclasses.replace(
        record, predictions=predictions, dataset=dataclasses.replace(record.dataset, classes=names)
    )


def check_metadata(data):
    """What the hub's own check asks of metadata, as far as they have these fields."""
    assert set(data) <= {
        *("base_model", "datasets", "library_name", "metrics", "model-index", "pipeline_tag", "tags"),
    }
    for name in ("library_name", "pipeline_tag"):
        assert isinstance(data[name], str)
    for name in ("metrics", "tags"):
        assert all(isinstance(one, str) for one in data[name])
    (index,) = data["model-index"]
    assert (isinstance(index["name"], str), bool(index["name"])) == (True, True)
    for result in index["results"]:
        assert result["task"]["type"] == "text-classification"
        assert all(isinstance(result["dataset"][name], str) and result["dataset"][name] for name in ("name", "type"))
        for metric in result["metrics"]:
            assert (isinstance(metric["type"], str), isinstance(metric["value"], float)) == (True, True)
            assert isinstance(metric["name"], str)


def tables(text):
    """The tables of a markdown text: rows of cells, parted at pipes without a backslash before them."""
    found, lines = [], []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            lines.append([cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]])
        elif lines:
            found.append(lines)
            lines = []
    return found


def plain(cell):
    return re.sub(r"\\(.)", r"\1", cell)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_metadata_hold_the_scores_of_test(card, ran):
    for name, library in (("svm", "rtlab"), ("lora", "peft")):
        found, record = card(name), ran[name].record
        data = found.data.to_dict()
        check_metadata(data)
        assert (data["library_name"], data["tags"]) == (library, ["rtlab", name])
        assert ("base_model" in data, "datasets" in data) == (False, False)
        (result,) = data["model-index"][0]["results"]
        assert result["dataset"] == {"name": "reviews", "type": "reviews", "split": "test"}
        values = {metric["name"]: metric["value"] for metric in result["metrics"]}
        test = record.predictions["test"]
        assert values == {
            "accuracy": pytest.approx(record.scores["test"].accuracy, abs=1e-4),
            "macro-F1": pytest.approx(macro_f1_interval(test.labels, test.classes).value, abs=1e-4),
        }


def test_metadata_name_what_is_on_the_hub(card, ran):
    record = dataclasses.replace(
        ran["svm"].record,
        encoder=Source(name="owner/encoder", revision="e" * 40, sha256="1" * 64),
        dataset=Source(name="owner/data", revision="d" * 40, sha256="2" * 64, classes=small.THREE),
    )
    data = card(record=record).data.to_dict()
    check_metadata(data)
    assert (data["base_model"], data["datasets"]) == ("owner/encoder", ["owner/data"])
    assert data["model-index"][0]["results"][0]["dataset"]["revision"] == "d" * 40


@pytest.mark.parametrize("names", [HOSTILE, HOSTILE[:2]], ids=len)
def test_no_name_breaks_metadata_or_a_table(card, ran, names):
    record = named(ran["svm"].record, names)
    record = dataclasses.replace(
        record, dataset=dataclasses.replace(record.dataset, name=HOSTILE[1], notes=HOSTILE[:3])
    )
    made = small.choice(record, warnings=HOSTILE, dataset=HOSTILE[0])
    way = dataclasses.replace(made.way, command=f"rtlab words --dataset '{HOSTILE[0]}'")
    choice = dataclasses.replace(made, candidates=(*made.candidates[:1], way, *made.candidates[2:]))
    description = dataclasses.replace(ran["svm"].description, label_names=names)
    found = card(record=record, choice=choice, description=description, called=HOSTILE[1])
    check_metadata(found.data.to_dict())
    assert found.data.model_name == "--- license: mit --- # heading - item: 'x\": {y}"
    assert found.data.eval_results[0].dataset_name == found.data.model_name

    classes, scores, by_class, matrix, calibration, ways = tables(found.text)
    for table in (classes, scores, by_class, matrix, calibration, ways):
        assert {len(row) for row in table} == {len(table[0])}
        assert set(table[1]) == {"---"}
    shown = [plain(row[0]) for row in matrix[2:]]
    assert len(set(shown)) == len(names)
    assert shown == [plain(row[0]) for row in by_class[2:]] == [plain(row[0]) for row in classes[2:]]
    assert max(map(len, shown)) <= 44
    assert [plain(cell) for cell in matrix[0][1:]] == shown
    assert [[int(cell) for cell in row[1:]] for row in matrix[2:]] == confusion(
        record.predictions["test"].labels, record.predictions["test"].classes, num_labels=len(names)
    ).tolist()

    assert all(sign.isprintable() or sign == "\n" for sign in found.text)
    headings = [line for line in found.text.split("\n") if re.match(r"\s*(#|---|===|```|<)", line)]
    fences = [line for line in headings if line.startswith("```")]
    assert [line.strip("`") for line in fences] == ["python", "", "sh", ""]
    assert [line for line in headings if line not in fences and not line.startswith(("# A linear", "## "))] == []
    outside = re.sub(r"^(`{3,})\w.*?^\1$", "", found.text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)(\*\*|<b>|\]\(http|\$m|@who|:smile|&amp|``)", outside)
    assert "www.example" not in outside
    for start in ("- 1.", "- #", "- - ", "- ---"):
        assert f"\n{start}" not in outside


def test_a_card_is_one_of_this_model(card, ran):
    record = ran["lora"].record
    text, found = card("lora").text, calibrated(record)
    for split in ("validation", "test"):
        one = record.predictions[split]
        for interval in (
            accuracy_interval((one.classes == one.labels)[None]),
            macro_f1_interval(one.labels, one.classes),
        ):
            assert f"{interval.value:.4f} [{interval.low:.3f}, {interval.high:.3f}]" in text
    assert f"| before | {found.before['validation']:.4f} | {found.before['test']:.4f} |" in text
    assert f"a temperature of {found.temperature:.4g}, that of least log loss on 60 sentences" in text
    assert "42 sentences of train, 60" not in text
    assert "42 sentences of train, 20 sentences of validation, 20 sentences of test" in text
    assert f"Run {record.id}; encoder tiny-distilbert (sha256 {record.encoder.sha256[:8]})." in text
    assert "It rests on 2 seeds: others may give other scores." in text
    assert "Over 2 seeds this way has accuracy 0.7500 [0.700, 0.800] on validation, and 0.7500 [0.700, 0.800]" in text
    assert "Whether words is better is undecided: accuracy on validation differs by 0.7500 [0.700, 0.800]; 3 " in text
    assert "\n- Not compared: full.\n" in text
    assert "estimate is up to 1 point higher" in text
    assert "\n- 2 sentences stand in train and in test.\n" in text


def test_a_card_names_no_folder(card):
    text = card("lora").text
    assert "rtlab lora --dataset 'my reviews.csv' --learning-rate 1e-3 --adapter=a.json" in text
    assert not re.search(r"(?<![\w.`~])/\w", text)


def test_a_command_that_no_shell_takes_is_shown_as_it_is(card, ran):
    made = small.choice(ran["svm"].record)
    way = dataclasses.replace(made.way, command="rtlab words --dataset 'half\na quote")
    assert "\nrtlab words --dataset 'half a quote\n" in card(choice=dataclasses.replace(made, candidates=(way,))).text


def test_a_card_loads_the_model_as_that_of_a_run_does(card, ran):
    text = card("lora").text
    assert "from peft import PeftConfig, PeftModel" in text
    assert "`rtlab merge` makes one checkpoint" in text
    assert "rtlab.predict(" in card("svm").text


def test_what_a_card_says_only_where_it_is_so(card, ran):
    record = ran["lora"].record
    usual = card("lora").text
    hot = dataclasses.replace(ran["lora"].description, temperature=2.5)
    made = small.choice(record)
    folded = dataclasses.replace(
        made, candidates=tuple(dataclasses.replace(one, folds=5) for one in made.candidates), folds=5
    )
    alone = dataclasses.replace(made, folds=5)
    few = dataclasses.replace(ran["lora"].description.experiment, train_sentences=20)
    drawn = dataclasses.replace(ran["lora"].description, experiment=few)
    said = {
        "which divide logits by 2.5; those of plain": {"description": hot},
        "trained on train and validation together": {"refit": True},
        "The choice was ended early": {"choice": small.choice(record, interrupted=True)},
        "validation, pooled over 5 folds,": {"choice": folded},
        "| accuracy over folds |": {"choice": folded},
        "| the way, lr 1e-03 | 0.7500 [0.700, 0.800] (validation alone) |": {"choice": alone},
        "The model was trained on 20 of those of train, of each class in proportion.": {"description": drawn},
        "The model was trained on 20 of those of train and validation, of": {"description": drawn, "refit": True},
        "macro-F1 on validation": {"choice": small.choice(record, metric="macro-f1")},
        "estimate is up to 2.5 points higher": {"choice": small.choice(record, margin=0.025)},
    }
    for text, changes in said.items():
        assert (text in card("lora", **changes).text, text in usual) == (True, False), text


def test_one_seed_and_intervals_that_nobody_knows(card, ran):
    made = small.choice(ran["lora"].record)
    way = dataclasses.replace(
        made.way, trials=(), seconds=None, validation=Interval(value=0.5, low=-np.inf, high=np.inf)
    )
    text = card("lora", choice=dataclasses.replace(made, candidates=(way,), undecided=(), warnings=())).text
    assert "It rests on 1 seed: what other seeds would give is not known." in text
    assert "| the way, lr 1e-03 | 0.5000 | 0.7450 | 0.7500 [0.700, 0.800] | – | finished: scores best |" in text
    assert "undecided" not in text
    assert "Not compared" not in text


def test_validation_that_is_all_right_tells_no_temperature(card, ran):
    record = ran["svm"].record
    sure = Predictions(labels=np.array([0, 1, 2], dtype=np.int32), logits=np.eye(3, dtype=np.float32))
    text = card(record=dataclasses.replace(record, predictions={**record.predictions, "validation": sure})).text
    assert "all of 3 sentences of validation are labelled rightly, and so tell no temperature" in text


def test_of_many_classes_the_most_frequent_mistakes_are_listed(card, ran):
    names = tuple(f"class {number}" for number in range(30))
    record = named(ran["svm"].record, names)
    for found in record.predictions.values():  # most are right
        found.logits[np.arange(80), found.labels] += 2
    text = card(record=record, description=dataclasses.replace(ran["svm"].description, label_names=names)).text
    (table,) = (one for one in tables(text) if one[0] == ["is", "taken for", "sentences"])
    test = record.predictions["test"]
    wrong_CC = confusion(test.labels, test.classes, num_labels=30)
    np.fill_diagonal(wrong_CC, 0)
    assert [int(row[2]) for row in table[2:]] == sorted(wrong_CC.ravel().tolist(), reverse=True)[:12]
    for is_, said, count in table[2:]:
        assert wrong_CC[names.index(is_), names.index(said)] == int(count)


def test_two_classes_have_the_f1_of_the_second(card, ran):
    names = ("no", "yes")
    record = named(ran["svm"].record, names)
    found = card(record=record, description=dataclasses.replace(ran["svm"].description, label_names=names))
    test = record.predictions["test"]
    hits = (test.labels == 1) & (test.classes == 1)
    f1 = 2 * hits.sum() / ((test.labels == 1).sum() + (test.classes == 1).sum())
    (result,) = found.data.to_dict()["model-index"][0]["results"]
    assert {metric["name"]: metric["value"] for metric in result["metrics"]}["F1 of yes"] == round(float(f1), 4)


def test_the_front_matter_is_yaml_alone(card, ran):
    text = str(card())
    first, front, _ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert (first, "\npipeline_tag: text-classification\n" in front) == ("", True)
    assert text.endswith("\n")
