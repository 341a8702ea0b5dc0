"""Which records share a row, and which stand side by side."""

import dataclasses
import gc

import numpy as np
import pytest
from lab_records import FULL, LORA, SVM, made

from rtlab.experiment import Experiment, LoraSettings
from rtlab.records import Predictions, load_records, save
from rtlab.reporting.groups import families, groups, latest, place_of


def run(experiment=FULL, seed=1, accuracy=0.85, seconds=100.0, **changes):
    losses = (None, None) if experiment.method == "svm" else (0.2, 0.1)
    return made(dataclasses.replace(experiment, seed=seed), accuracy, accuracy, seconds, *losses, **changes)


def lost(record, status="failed"):
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None}
    return dataclasses.replace(record, status=status, error="no", **nothing)


def changed(experiment, **fields):
    return dataclasses.replace(experiment, **fields)


# Groups


def test_runs_that_differ_in_the_seed_alone_are_one_group_in_its_order():
    [group] = groups([run(seed=3), run(seed=1), run(seed=2)])
    assert [record.experiment.seed for record in group.records] == [1, 2, 3]
    assert group.place == place_of(group.records[0])


@pytest.mark.parametrize(
    "other",
    [
        {"experiment": changed(FULL, learning_rate=1e-3)},
        {"experiment": changed(FULL, max_steps=8)},
        {"device": "a cpu"},
        {"encoder": "minilm"},
        {"dataset": "corpus"},
        {"sha256": "0" * 64},
    ],
    ids=str,
)
def test_what_differs_in_anything_else_is_another_group(other):
    assert sorted(len(group.records) for group in groups([run(seed=1), run(seed=2), run(**other)])) == [1, 2]


@pytest.mark.parametrize("status", ["failed", "oom", "nan", "cancelled"])
def test_a_run_without_a_result_is_in_no_group(status):
    [group] = groups([run(seed=1), lost(run(seed=2), status)])
    assert len(group.records) == 1


def test_the_latest_record_of_a_run_on_a_device_counts():
    old, new, elsewhere = run(seconds=9.0), run(seconds=3.0, code="d" * 16), run(device="a cpu")
    assert latest([old, elsewhere, new]) == (new, elsewhere)
    assert groups([run(), lost(run())]) == ()


def test_the_order_of_records_does_not_matter():
    records = [run(), run(LORA), run(SVM), run(device="a cpu"), run(seed=2)]
    assert groups(records) == groups(records[::-1])


# What a group holds


def test_values_are_looked_up_in_every_run_that_has_them():
    [group] = groups([run(SVM, seed=1, seconds=5.0), run(SVM, seed=2, seconds=7.0)])
    assert group.values("timing.train_s") == [5.0, 7.0]
    assert group.values("counts.parameters_trained") == [769.0, 769.0]
    assert group.values("timing.steps_per_s") == []
    assert group.values("scores.test.f1") == [record.scores["test"].f1 for record in group.records]


def test_sentences_are_right_where_the_largest_logit_is_the_labels():
    predictions = Predictions(labels=[0, 1, 2, 1], logits=[[3, 1, 2], [0, 1, 2], [0, 1, 2], [-3, -1, -2]])
    [group] = groups([run(predictions={"test": predictions})])
    assert group.predicted("test").tolist() == [[0, 2, 2, 1]]
    assert group.labels("test").tolist() == [0, 1, 2, 1]
    assert group.correct("test").tolist() == [[True, False, True, True]]
    assert group.has_predictions("test")
    assert not group.has_predictions("validation")


def test_accuracies_agree_with_the_scores():
    [group] = groups([run(seed=seed, accuracy=0.8 + seed / 100) for seed in (1, 2, 3)])
    for split in ("validation", "test"):
        assert group.correct(split).mean(axis=1).tolist() == pytest.approx(group.values(f"scores.{split}.accuracy"))


def test_compact_predictions_say_the_same():
    record = run()
    compact = {split: found.compact() for split, found in record.predictions.items()}
    [a], [b] = groups([record]), groups([dataclasses.replace(record, predictions=compact)])
    assert np.array_equal(a.predicted("test"), b.predicted("test"))
    assert np.array_equal(a.correct("test"), b.correct("test"))


def test_time_for_a_sentence_counts_the_warm_up():
    record = run(seconds=100.0)
    timing = dataclasses.replace(record.timing, warmup_s=28.0)
    [group] = groups([dataclasses.replace(record, timing=timing)])
    assert group.seconds_per_sentence() == [128.0 / record.counts.samples]


# Families


def members(found):
    return sorted(sorted(group.experiment.label for group in family) for family in found)


def test_a_family_differs_in_one_field_alone():
    fixed, fast = changed(FULL, padding="fixed"), changed(FULL, learning_rate=2e-4)
    records = [run(e) for e in (FULL, fixed, fast, changed(fast, batch_size=8), LORA)]
    assert members(families(groups(records), "padding")) == [["full-dynamic-lr2e-05", "full-fixed-lr2e-05"]]
    assert members(families(groups(records), "learning_rate")) == [["full-dynamic-lr2e-04", "full-dynamic-lr2e-05"]]
    assert families(groups(records), "epochs") == ()


def test_a_nested_field_makes_families_too():
    wide = changed(LORA, lora=LoraSettings(target_modules=("attention+mlp",)))
    both = changed(LORA, lora=LoraSettings(target_modules=("attention+mlp",), rank=4))
    found = families(groups([run(e) for e in (LORA, wide, both, FULL)]), "lora.target_modules")
    assert members(found) == [["lora-dynamic-lr2e-05-r8-attention", "lora-dynamic-lr2e-05-r8-attention+mlp"]]


def test_other_fields_may_differ_with_the_one_that_must():
    native = changed(FULL, engine="native", padding="packed")
    there = [FULL, changed(FULL, padding="fixed"), native, changed(native, compile=True), changed(native, epochs=1)]
    records = [run(e) for e in there]
    assert families(groups(records), "engine") == ()
    [family] = members(families(groups(records), "engine", "padding", "compile"))
    kinds = ("dynamic", "fixed", "native-packed-compiled", "native-packed")
    assert family == [f"full-{kind}-lr2e-05" for kind in kinds]
    assert families(groups(records[:2]), "engine", "padding", "compile") == ()  # of one engine


def test_families_stay_at_one_place():
    records = [run(), run(changed(FULL, padding="fixed"), device="a cpu")]
    assert families(groups(records), "padding") == ()


def test_a_method_without_the_field_is_in_no_family():
    records = [run(SVM), run(Experiment(method="svm", pooling="mean"))]
    assert families(groups(records), "padding") == ()
    assert len(families(groups(records), "pooling")) == 1


# Reading many records


@pytest.mark.parametrize("collecting", [True, False])
def test_reading_leaves_garbage_collection_as_it_was(tmp_path, collecting):
    save(dataclasses.replace(run(), id="a" * 16), tmp_path)
    (tmp_path / "broken.json").write_text("{")
    was = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        records, broken = load_records(tmp_path, compact=True)
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()
    assert (len(records), len(broken)) == (1, 1)
    assert records[0].predictions["test"].logits.nbytes == 1066 * 2 * 4
