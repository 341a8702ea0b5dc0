"""Two runs or groups side by side: who is meant, what differs, and how surely."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
import scipy.stats
from lab_records import FULL, FULL_FIXED, LORA, LORA_FIXED, SVM, lost, made, of_classes, predictions, sha, with_recipe

from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER, Experiment
from rtlab.methods import Words
from rtlab.metrics import scores
from rtlab.records import Predictions, load_records, save
from rtlab.reporting.comparing import as_text, compare, find
from rtlab.reporting.groups import groups
from rtlab.statistics import holm, mcnemar, paired_difference, paired_f1_difference, ratio_of_times

FIXED = FULL_FIXED


def run(experiment=FULL, accuracy=0.85, seconds=100.0, seed=1, **changes):
    losses = (None, None) if experiment == SVM else (0.2, 0.1)
    return made(experiment, accuracy, accuracy, seconds, *losses, seed=seed, **changes)


def numbered(records):
    """The same with ids such as real ones: 00aaaaaaaaaaaaaa, 01aaaaaaaaaaaaaa, …"""
    return [dataclasses.replace(record, id=f"{number:02x}" + "a" * 14) for number, record in enumerate(records)]


def seeds(experiment, accuracies, times, **changes):
    return [run(experiment, a, t, seed, **changes) for seed, (a, t) in enumerate(zip(accuracies, times, strict=True))]


STUDY = numbered(
    [
        *seeds(FULL, (0.85, 0.86, 0.84), (100, 101, 99)),
        *seeds(FIXED, (0.85, 0.86, 0.85), (800, 810, 790)),
        *seeds(LORA, (0.80, 0.81), (60, 61)),
        run(SVM, 0.79, 6),
    ]
)


# Who is meant


def test_a_label_means_the_runs_under_all_seeds():
    group = find("full-fixed-lr2e-05", STUDY)
    assert [record.experiment.seed for record in group.scored] == [0, 1, 2]
    assert group.fields["padding"] == "fixed"


@pytest.mark.parametrize("name", ["04", "04a", "04" + "a" * 14])
def test_an_id_or_its_beginning_means_one_run(name):
    group = find(name, STUDY)
    assert group.scored == (STUDY[4],)
    assert group.experiment.seed == 1


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ValueError, match="there are") as caught:
        find("full", STUDY)
    assert str(caught.value) == (
        "'full' is no label or record id; there are: full-dynamic-lr2e-05, full-fixed-lr2e-05, "
        "lora-dynamic-lr2e-05-r8-attention, svm-cls"
    )


def test_many_labels_are_not_all_listed():
    many = [run(with_recipe(FULL, learning_rate=n / 1000)) for n in range(1, 10)]
    many += [run(with_recipe(LORA, learning_rate=n / 1000)) for n in range(1, 10)]
    with pytest.raises(ValueError, match=r"are: full-dynamic-lr1e-03, .*-lr3e-03-r8-attention, and 6 more$"):
        find("nothing", many)


@pytest.mark.parametrize("name", ["", "@", "@distilbert"])
def test_an_empty_name_means_nothing(name):
    with pytest.raises(ValueError, match="is no label or record id"):
        find(name, STUDY)


def test_no_records_are_said_to_be_none():
    with pytest.raises(ValueError, match=r"there are: no runs with a result$"):
        find("full", [])


def test_several_of_one_name_are_listed_and_told_apart_by_a_part():
    short = with_recipe(FULL, epochs=1)
    records = numbered([run(FULL), run(short), run(FULL, dataset="corpus"), run(FULL, encoder="minilm")])
    with pytest.raises(ValueError, match="means 4") as caught:
        find("full-dynamic-lr2e-05", records)
    message = str(caught.value)
    assert message.startswith("'full-dynamic-lr2e-05' means 4 of these; tell them apart by id or @PART: ")
    assert "\n" not in message
    assert "1 epoch, batch size 16" in message
    assert all(record.id in message for record in records)
    assert find("full-dynamic-lr2e-05@data set CORPUS", records).scored == (records[2],)
    assert find("full-dynamic-lr2e-05@minilm", records).scored == (records[3],)
    assert find("full-dynamic-lr2e-05@1 epoch,", records).scored == (records[1],)
    with pytest.raises(ValueError, match="means 3 of these"):
        find("full-dynamic-lr2e-05@5 epochs", records)
    with pytest.raises(ValueError, match="means 0 of these"):
        find("full-dynamic-lr2e-05@bert-large", records)


def test_a_run_that_reads_no_encoder_is_one_beside_those_of_two():
    asked = [Experiment(method=Words(c=c)) for c in (None, 1)]
    words = [dataclasses.replace(run(SVM), experiment=experiment, encoder=None) for experiment in asked]
    tuned, _, first, second = records = numbered([*words, run(SVM), run(SVM, encoder="minilm")])
    assert find("words", records).scored == find(tuned.id, records).scored == (tuned,)
    for other in (first, second):
        [found] = compare(find("words", records), [find(other.id, records)])
        assert found.to_json()["a"]["encoder"] == ""
    [found] = compare(find("words", records), [find("words-c1", records)])
    assert as_text([found]).startswith("A   words, SVM; data set cornell-movie-review-data/rotten_tomatoes (")


def test_an_ambiguous_beginning_of_an_id_is_refused():
    with pytest.raises(ValueError, match=r"^'0' means 9 of these"):
        find("0", STUDY)


def test_records_of_one_run_on_two_testbeds_are_one():
    """Their score is the oldest one's, and each testbed has its time."""
    records = [run(device=device, day=day, seconds=day * 100) for day, device in ((1, "a cpu"), (2, "a gpu"))]
    group = find(records[0].id, records)
    assert group.scored == (records[0],)
    assert {testbed.device: runs for testbed, runs in group.timed.items()} == {
        "a cpu": (records[0],),
        "a gpu": (records[1],),
    }


def test_a_run_without_a_result_is_said_to_have_none():
    without = dataclasses.replace(lost(LORA, status="oom", error="OutOfMemoryError:\n\x1b[31mno"), id="ff" + "a" * 14)
    with pytest.raises(
        ValueError, match=r"^run ffa+ has no result to compare; it ended oom: OutOfMemoryError: .\[31mno$"
    ):
        find("ff", [*STUDY, without])


def test_a_cancelled_record_beside_a_finished_one_hides_nothing():
    cancelled = dataclasses.replace(lost(status="cancelled", day=9), id=STUDY[0].id)
    assert find("00", [*STUDY, cancelled]).scored == (STUDY[0],)


# What differs


def test_differences_are_those_of_the_statistics():
    a, b = find("lora-dynamic-lr2e-05-r8-attention", STUDY), find("full-dynamic-lr2e-05", STUDY)
    [found] = compare(a, [b])
    for split in ("validation", "test"):
        difference, right_a, right_b = found.differences[split], a.correct(split), b.correct(split)
        assert difference.accuracy == paired_difference(right_b, right_a)
        labels = a.held_out(split).labels
        assert difference.f1 == paired_f1_difference(labels, b.predicted(split), a.predicted(split), num_labels=2)
        assert difference.p == difference.p_holm == mcnemar(right_b, right_a)
        for name in ("accuracy", "f1"):
            means = [np.mean(group.values(f"{split}_{name}")) for group in (b, a)]
            assert getattr(difference, name).value == pytest.approx(means[0] - means[1])
    assert found.differences["test"].accuracy.value == pytest.approx(0.045, abs=0.001)


def test_speed_is_how_many_times_as_fast_b_is():
    [found] = compare(find("full-fixed-lr2e-05", STUDY), [find("full-dynamic-lr2e-05", STUDY)])
    by_hand = ratio_of_times([800, 810, 790], [100, 101, 99])
    assert dataclasses.astuple(found.speed) == pytest.approx(dataclasses.astuple(by_hand))
    assert found.speed.value == pytest.approx(8, rel=0.01)
    assert 7.7 < found.speed.low < found.speed.value < found.speed.high < 8.3


def test_what_is_settled_across_seeds_is_paired_by_seed_and_sentence():
    """Sentences that all seeds of one have right and all of the other wrong; single runs have no seeds to pair."""
    a, b = (
        groups([made(e, 0.8, accuracy, seed=seed) for seed in (1, 2, 3)])[0]
        for e, accuracy in ((FULL, 0.9), (LORA, 0.8))
    )
    [found] = compare(a, [b])
    right_a, right_b = a.correct("test"), b.correct("test")
    only_a, only_b = found.settled["test"]
    assert only_a == np.flatnonzero(right_a.all(axis=0) & ~right_b.any(axis=0)).tolist()
    assert only_b == []
    assert len(only_a) > 50
    text = as_text([found])
    assert (
        f"All seeds of A are right and all of B wrong on {len(only_a)} sentences of test, the other way round on 0."
        in text
    )
    each = [f"{rb.mean() - ra.mean():+.4f} ({seed})" for ra, rb, seed in zip(right_a, right_b, (1, 2, 3), strict=True)]
    assert f"seed by seed: {', '.join(each)}." in text
    assert found.to_json()["settled"]["test"] == {"a": only_a, "b": only_b}
    [single] = compare(*[(groups([made(FULL)])[0]), [groups([made(LORA)])[0]]])
    assert "seed by seed" not in as_text([single])


def test_two_single_runs_have_mcnemars_binomial_p():
    made_up = [{split: predictions(0.8, seed, restless=0.3) for split in ("validation", "test")} for seed in (1, 2)]
    records = numbered([run(FULL, predictions=made_up[0]), run(LORA, predictions=made_up[1])])
    a, b = find("00", records), find("01", records)
    [found] = compare(a, [b])
    right_a, right_b = a.correct("test")[0], b.correct("test")[0]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    assert min(only_a, only_b) > 20
    exact = scipy.stats.binomtest(only_a, only_a + only_b).pvalue
    assert found.differences["test"].p == pytest.approx(exact, rel=1e-6)


def test_several_are_adjusted_split_by_split():
    a = find("full-dynamic-lr2e-05", STUDY)
    found = compare(a, [find(name, STUDY) for name in ("full-fixed-lr2e-05", "01", "02")])
    for split in ("validation", "test"):
        raw = [comparison.differences[split].p for comparison in found]
        adjusted = [comparison.differences[split].p_holm for comparison in found]
        assert adjusted == holm(raw)
        assert adjusted != raw


def test_other_sentences_cannot_be_compared():
    elsewhere = run(sha256="0" * 64, dataset="corpus")
    with pytest.raises(ValueError, match="same sentences") as caught:
        compare(find("svm-cls", STUDY), [find("00", STUDY), find("full-dynamic-lr2e-05", [elsewhere])])
    encoder = f"encoder {DEFAULT_ENCODER} ({sha(DEFAULT_ENCODER)[:8]})"
    assert str(caught.value) == (
        f"only runs on the same sentences can be compared; got {encoder}, data set {DEFAULT_DATASET} (139902e3) "
        f"for svm-cls and {encoder}, data set corpus (00000000) for full-dynamic-lr2e-05"
    )


def test_records_without_predictions_cannot_be_compared():
    empty = run(predictions={"validation": predictions(0.8, 1)})
    with pytest.raises(ValueError, match=r"^the records of full, dynamic, .* hold no predictions to compare$"):
        compare(find("svm-cls", STUDY), [find("full-dynamic-lr2e-05", [empty])])


# The text


def test_the_text_of_one_comparison():
    text = as_text(compare(find("full-fixed-lr2e-05", STUDY), [find("lora-dynamic-lr2e-05-r8-attention", STUDY)]))
    lines = text.splitlines()
    assert lines[0].startswith("A   full, fixed, lr 2e-05, engine trainer, 5 epochs, batch size 16, max length 512; ")
    assert lines[0].endswith("; NVIDIA GeForce RTX 4060 Ti; seeds 0, 1, 2")
    assert lines[1].startswith("B   LoRA r8 ")
    assert lines[3].split() == [
        "split",
        "accuracy",
        "F1",
        "accuracy",
        "less",
        "A's",
        "F1",
        "less",
        "A's",
        "McNemar",
        "p",
    ]
    b_test = lines[6].split("  ")
    assert lines[6].startswith("B   test ")
    assert [cell.strip() for cell in b_test if cell.strip()][4].startswith("-0.04")
    assert lines[6].rstrip().endswith("< 0.0001")
    assert "B trains at 13.2 × [12." in text
    assert "Holm" not in text


def test_the_text_of_several_names_and_adjusts_each():
    others = [find(name, STUDY) for name in ("full-fixed-lr2e-05", "svm-cls")]
    text = as_text(compare(find("full-dynamic-lr2e-05", STUDY), others))
    assert "Holm p" in text
    assert text.count("\nB1") == text.count("\nB2") == 4  # who, two splits, speed
    assert "B1 trains at 0.125 × [0.12" in text
    assert "(one run: no interval), accuracy not shown to be equal." in text
    assert "svm" not in text
    assert max(len(line) for line in text.splitlines()[4:]) <= 160


def test_devices_that_differ_have_no_speed_ratio():
    there = numbered([run(device="a cpu")])
    [found] = compare(find("svm-cls", STUDY), [find("00", there)])
    assert found.speed is None
    assert found.to_json()["speed"] is None
    text = as_text([found])
    assert "No speed ratio for B: A was timed on NVIDIA GeForce RTX 4060 Ti, B on a cpu, 2 threads." in text


def test_of_single_runs_nothing_is_shown_across_seeds():
    [found] = compare(find("00", STUDY), [find("06", STUDY)])
    assert found.differences["test"].accuracy.high < 0
    assert found.differences["test"].accuracy.over == "sentences"
    assert "no difference is shown to hold across seeds" in as_text([found])
    assert found.to_json()["differences"]["test"]["accuracy"]["over"] == "sentences"
    several = compare(find("full-dynamic-lr2e-05", STUDY), [find("full-fixed-lr2e-05", STUDY)])
    assert "across seeds" not in as_text(several)


def test_a_speed_has_its_quality_beside_it():
    fast = seeds(LORA, (0.85,) * 5, (60,) * 5)
    slow = seeds(LORA_FIXED, (0.85,) * 5, (600,) * 5)
    records = numbered([*fast, *slow])
    a, b = find("lora-fixed-lr2e-05-r8-attention", records), find("lora-dynamic-lr2e-05-r8-attention", records)
    [found] = compare(a, [b])
    assert found.quality == "equal"
    assert "B trains at 10.0 × the speed of A, accuracy equal." in as_text([found])


# Classes

SIX = ("sadness", "joy", "love", "anger", "fear", "surprise")
MANY = tuple(f"intent {number}" for number in range(150))


def both(names, shares=None, **options):
    """A compared to B on a data set of these classes: two seeds of A, one of B."""
    a = [of_classes(run(FULL, seed=seed), names, shares=shares, **options) for seed in (1, 2)]
    b = [of_classes(run(SVM, seed=3), names, shares=shares, accuracy=0.6, **options)]
    [group_a], [group_b] = groups(a), groups(b)
    return compare(group_a, [group_b])


def test_of_two_classes_f1_and_counts_stand_in_one_small_table():
    text = as_text(both(("ham", "spam"), shares=(0.9, 0.1)))
    lines = text[text.index("By class, test") :].splitlines()
    assert lines[0] == "By class, test; counts are means over seeds:"
    assert re.split(r"  +", lines[1]) == ["class", "sentences", "F1 of A", "A: ham / spam", "F1 of B", "B: ham / spam"]
    assert len(lines) == 5
    [found] = both(("ham", "spam"), shares=(0.9, 0.1))
    a = [record.scores["test"] for record in found.a.scored]
    cells = re.split(r"  +", lines[4])
    assert cells[:3] == ["spam", str(a[0].by_class[1].support), f"{np.mean([s.by_class[1].f1 for s in a]):.4f}"]
    counts = [float(count) for count in cells[3].split(" / ")]
    assert counts == pytest.approx(np.mean([s.confusion[1] for s in a], axis=0).tolist(), abs=0.05)


def test_of_a_few_classes_each_side_has_its_confusion_matrix():
    text = as_text(both(SIX))
    for name in ("A", "B"):
        matrix = text[text.index(f"\n{name} took a class (row) for a class (column):") :].splitlines()[2:10]
        assert matrix[0].split() == list(SIX)
        assert [line.split()[0] for line in matrix[2:]] == list(SIX)
    assert max(map(len, text.splitlines()[4:])) <= 160


def test_of_many_classes_the_worst_are_shown_and_the_rest_is_counted():
    lines = as_text(both(MANY, size=600)).splitlines()
    at = lines.index("By class, test; counts are means over seeds:")
    assert lines[-1] == "and 138 more classes, which are better or have no sentences"
    assert len(lines) - at == 1 + 2 + 12 + 1
    lowest = [min(map(float, re.findall(r"\b[01]\.\d{4}\b", line))) for line in lines[at + 3 : -1]]
    assert lowest == sorted(lowest)
    assert max(map(len, lines[4:])) <= 160


@pytest.mark.parametrize("names", [("no", "yes"), SIX, MANY], ids=len)
def test_json_holds_the_scores_by_class_and_both_confusion_matrices(names):
    [found] = both(names, size=600)
    told = found.to_json()["classes"]
    for split, (side, group) in itertools.product(("test", "validation"), (("a", found.a), ("b", found.b))):
        every = [record.scores[split] for record in group.scored]
        part = told[split][side]
        assert [row["class"] for row in part["by_class"]] == list(names)
        assert [row["support"] for row in part["by_class"]] == [row.support for row in every[0].by_class]
        for score in ("precision", "recall", "f1"):
            means = np.mean([[getattr(row, score) for row in scores.by_class] for scores in every], axis=0)
            assert [row[score] for row in part["by_class"]] == pytest.approx(means.tolist())
        assert np.array(part["confusion"]) == pytest.approx(np.mean([scores.confusion for scores in every], axis=0))
    json.dumps(told, allow_nan=False)


def test_f1_is_of_all_classes_also_where_logits_were_not_read_and_one_class_is_never_met(tmp_path):
    """The number of classes is that of the logits, not the largest label that occurs plus 1."""
    records = [of_classes(run(FULL, seed=seed), ("a", "b", "c"), shares=(0.5, 0.5, 0)) for seed in (1, 2)]
    records = [with_logits(record) for record in records]
    for record in records:
        save(record, tmp_path)
    loaded = load_records(tmp_path, logits=False).records
    [a], [b] = (groups([record]) for record in loaded)
    [found] = compare(a, [b])
    means = [group.values("test_f1")[0] for group in (b, a)]
    assert found.differences["test"].f1.value == pytest.approx(means[0] - means[1])


def with_logits(record):
    """The same, in which nothing was taken for the last class."""
    said = {split: Predictions(labels=p.labels, logits=p.logits * [1, 1, 0]) for split, p in record.predictions.items()}
    said = {split: Predictions(labels=p.labels, logits=p.logits.astype(np.float32)) for split, p in said.items()}
    found = {split: scores(p.labels, p.classes, num_labels=3) for split, p in said.items()}
    return dataclasses.replace(record, predictions=said, scores=found)


def test_runs_of_other_classes_cannot_be_compared():
    a, b = (of_classes(run(seed=seed), names) for seed, names in ((1, ("a", "b")), (2, SIX)))
    b = dataclasses.replace(b, dataset=a.dataset)
    [group_a], [group_b] = groups([a]), groups([b])
    with pytest.raises(ValueError, match="same classes can be compared; got 2 and 6"):
        compare(group_a, [group_b])


def test_names_of_classes_reach_a_terminal_clean():
    text = as_text(both(("a\x1b[31m\nb", "\u202e" + "c" * 500)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
    assert "a\ufffd[31m b" in text
    assert max(map(len, text.splitlines()[4:])) <= 200


# The command


@pytest.fixture
def results(tmp_path):
    for record in STUDY:
        save(record, tmp_path / "results" / "records")
    return tmp_path / "results"


def test_the_command_prints_a_table(rtlab, results):
    done = rtlab("compare", "full-fixed-lr2e-05", "full-dynamic-lr2e-05")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("A   full, fixed, lr 2e-05")


def test_the_command_gives_json(rtlab, results):
    done = rtlab("compare", "full-dynamic-lr2e-05", "00", "svm-cls", "--json", "-")
    assert done.status == 0
    one, svm = json.loads(done.out)
    assert one["a"]["label"] == "full-dynamic-lr2e-05"
    assert one["a"]["seeds"] == [0, 1, 2]
    assert one["b"]["ids"] == ["00" + "a" * 14]
    assert svm["b"]["label"] == "svm-cls"
    assert svm["b"]["testbeds"] == ["NVIDIA GeForce RTX 4060 Ti"]
    assert svm["differences"]["test"]["accuracy"]["high"] < 0
    assert svm["differences"]["test"]["p"] <= svm["differences"]["test"]["p_holm"] < 1e-6
    assert set(svm["differences"]) == {"test", "validation"}
    assert set(svm["speed"]) == {"value", "low", "high", "over"}
    assert svm["speed"]["low"] is svm["speed"]["high"] is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("full", "00"), "'full' is no label or record id; there are: full-dynamic-lr2e-05, "),
        (("00", "0"), "'0' means 9 of these"),
        (("00",), "b must name at least one label or record id to compare to 00; got none"),
        (
            ("00", "01", "--results", "nowhere"),
            "--results must be a folder of results; got nowhere, which is no directory",
        ),
    ],
)
def test_the_command_says_in_one_line_what_was_wrong(rtlab, results, names, words):
    done = rtlab("compare", *names)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"rtlab: {words}")
    assert done.err.count("\n") == 1


def test_the_command_refuses_other_sentences(rtlab, results):
    save(dataclasses.replace(run(sha256="0" * 64, dataset="corpus"), id="ee" + "a" * 14), results / "records")
    done = rtlab("compare", "svm-cls", "ee")
    assert done.status == 2
    assert done.err.startswith("rtlab: only runs on the same sentences can be compared; got ")


def test_it_compares_without_torch_or_anything_as_heavy(results, run_python):
    code = """
import sys
from rtlab.cli import main
assert main(["compare", "full-fixed-lr2e-05", "svm-cls", "--results", sys.argv[1]]) == 0
print({"torch", "transformers", "matplotlib", "sklearn", "scipy.stats"} & {*sys.modules}, file=sys.stderr)
"""
    assert run_python(code, results).stderr == "set()\n"
