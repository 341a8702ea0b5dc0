"""Which records share a row, which of them give scores and which times, and which stand side by side."""

import dataclasses

import numpy as np
import pytest
from lab_records import (
    FULL,
    FULL_FAST,
    FULL_FIXED,
    LORA,
    LORA_FIXED,
    LORA_MORE,
    SVM,
    SVM_MEAN,
    lost,
    made,
    some_testbed,
    with_recipe,
)

from rtlab.methods import Adapter
from rtlab.records import Predictions
from rtlab.reporting.groups import by_place, families, groups, lost_runs, machines, place_of, without_code
from rtlab.reporting.measures import on_one_testbed, quality, time_ratio

OTHER = some_testbed(torch="2.12.0")


# Groups


def test_runs_that_differ_in_the_seed_alone_are_one_group_in_its_order():
    [group] = groups([made(seed=3), made(seed=1), made(seed=2)])
    assert [record.experiment.seed for record in group.scored] == [1, 2, 3]
    assert group.place == place_of(group.scored[0])


@pytest.mark.parametrize(
    "other",
    [
        made(FULL_FAST),
        made(with_recipe(FULL, max_steps=8)),
        made(with_recipe(FULL, engine="native")),
        made(encoder="minilm"),
        made(dataset="corpus"),
        made(sha256="0" * 64),
        made(dataclasses.replace(FULL, max_length=128)),
        made(dataclasses.replace(FULL, precision="bf16")),
        dataclasses.replace(made(seed=3), results=2),
    ],
    ids=lambda record: record.id,
)
def test_what_differs_in_anything_else_is_another_group(other):
    assert sorted(len(group.scored) for group in groups([made(seed=1), made(seed=2), other])) == [1, 2]


@pytest.mark.parametrize("settings", [{"r": 4}, {"lora_alpha": 8}, {"lora_dropout": 0.2}, {"use_rslora": True}])
def test_every_setting_of_an_adapter_tells_groups_apart(settings):
    other = dataclasses.replace(LORA, method=Adapter(settings=settings))
    assert len(groups([made(LORA), made(other)])) == 2


def test_a_device_does_not_part_a_group():
    [group] = groups([made(seed=1), made(seed=2, device="a cpu")])
    assert len(group.scored) == 2
    assert {testbed.device for testbed in group.timed} == {"a cpu", "NVIDIA GeForce RTX 4060 Ti"}


@pytest.mark.parametrize("status", ["failed", "oom", "nan", "cancelled"])
def test_a_run_without_a_result_is_in_no_group(status):
    [group] = groups([made(seed=1), lost(seed=2, status=status)])
    assert len(group.scored) == 1


def test_modules_that_are_spelt_otherwise_are_one_group_where_the_run_is_one():
    spelt = dataclasses.replace(LORA, method=Adapter(target_modules=("q_lin", "k_lin")))
    again = dataclasses.replace(made(spelt, day=2), id=made(LORA).id)
    [group] = groups([made(LORA), again])
    assert group.scored == (made(LORA),)


# Scores, times


def test_of_several_records_of_one_run_the_oldest_gives_the_score_and_the_newest_the_time():
    old, new = made(test=0.8, train_s=9.0), made(test=0.9, train_s=3.0, day=2)
    for records in ([old, new], [new, old]):
        [group] = groups(records)
        assert group.values("test_accuracy") == [pytest.approx(0.8, abs=1e-3)]
        assert group.values("train_s") == [3.0]


def test_a_time_that_others_disturbed_counts_for_nothing():
    calm, busy = made(train_s=9.0, others=0.049), made(train_s=30.0, others=0.05, day=2)
    [group] = groups([calm, busy])
    assert group.values("train_s") == [9.0]
    assert group.disturbed == 0
    [group] = groups([busy, made(seed=1, train_s=10.0)])
    assert group.values("train_s") == [10.0]
    assert len(group.values("test_accuracy")) == 2
    assert group.disturbed == 1


def test_a_time_is_that_of_an_epoch_times_the_epochs_whatever_their_number():
    """Any undisturbed whole run of the setup tells it; a seed's own run goes first, and one cut short never."""
    once = [made(with_recipe(FULL, epochs=1), seed=seed, train_s=20.0, warmup_s=1.0) for seed in (1, 2)]
    own = made(FULL, seed=2, train_s=90.0, warmup_s=5.0)
    busy = made(FULL, seed=1, train_s=900.0, others=0.5)
    short = made(with_recipe(FULL, max_steps=8), seed=1, train_s=1.0)
    other = made(with_recipe(FULL, epochs=1, batch_size=32), seed=1, train_s=1.0)
    five = next(g for g in groups([*once, own, busy, short, other]) if g.fields["epochs"] == 5 and g.whole)
    assert five.values("train_s") == [100.0, 90.0]
    assert five.values("seconds") == [101.0, 95.0]  # warm-up is not by the epoch
    assert five.values("samples_per_s") == [8530 / 20, 5 * 8530 / 90]
    assert five.scaled
    assert five.disturbed == 1
    assert [seconds for seconds, _ in five.points] == [101.0, 95.0]
    [alone] = groups([own])
    assert not alone.scaled


def test_runs_that_had_patience_keep_their_own_times():
    """They are of as many epochs as they came to: those of others, scaled, would say nothing."""
    asked = with_recipe(FULL, evaluate="epoch", patience=1)
    own, other = made(asked, train_s=40.0), made(with_recipe(asked, epochs=1), seed=1, train_s=20.0)
    [five] = [group for group in groups([own, other]) if group.fields["epochs"] == 5]
    assert five.values("train_s") == [40.0]
    assert not five.scaled


def test_a_mean_of_times_is_of_one_testbed_that_of_most_seeds():
    here = [made(seed=seed, train_s=10.0) for seed in (1, 2)]
    there = [made(seed=seed, train_s=20.0, testbed=OTHER, day=2) for seed in (1, 2, 3)]
    [group] = groups([*here, *there])
    assert group.testbed == OTHER
    assert group.values("train_s") == [20.0] * 3
    assert group.values("samples_per_s") == [pytest.approx(5 * 8530 / 20)] * 3
    assert len(group.values("test_f1")) == 3


def test_of_testbeds_with_equally_many_seeds_the_newest_is_taken():
    [group] = groups([made(train_s=10.0, testbed=OTHER), made(train_s=20.0, day=2)])
    assert group.values("train_s") == [20.0]
    [group] = groups([made(train_s=10.0, testbed=OTHER, day=3), made(train_s=20.0, day=2)])
    assert group.values("train_s") == [10.0]


def test_a_ratio_is_taken_on_a_testbed_that_both_have():
    """Not on the one that each has most seeds of."""
    fixed = [made(FULL_FIXED, seed=seed, train_s=800.0) for seed in (1, 2)]
    dynamic = [made(seed=seed, train_s=100.0) for seed in (1, 2)]
    elsewhere = [made(seed=seed, train_s=1.0, testbed=OTHER, day=2) for seed in (1, 2, 3)]
    slow, fast = (next(g for g in groups([*fixed, *dynamic, *elsewhere]) if g.fields["padding"] == p) for p in PADDED)
    assert fast.testbed == OTHER
    assert time_ratio(slow, fast).value == pytest.approx(8)


PADDED = ("fixed", "dynamic")


def test_without_a_testbed_in_common_there_is_no_ratio():
    slow, fast = groups([made(FULL_FIXED), made(testbed=OTHER)])
    assert on_one_testbed(slow, fast) == []
    assert time_ratio(slow, fast) is None


def test_engines_share_a_testbed_though_not_their_code():
    native = with_recipe(FULL, engine="native")
    both = [made(train_s=100.0), made(native, train_s=50.0, testbed=some_testbed(code="d" * 16))]
    assert time_ratio(*sorted(groups(both), key=lambda g: g.experiment.engine, reverse=True)).value == pytest.approx(2)
    paddings = [made(FULL_FIXED), made(testbed=some_testbed(code="d" * 16))]
    assert time_ratio(*groups(paddings)) is None  # one engine in two states


def test_a_ratio_counts_the_warm_up():
    slow, fast = made(FULL_FIXED, train_s=100.0, warmup_s=28.0), made(train_s=64.0)
    by_padding = {group.fields["padding"]: group for group in groups([slow, fast])}
    assert time_ratio(by_padding["fixed"], by_padding["dynamic"]).value == pytest.approx(2)


def test_a_run_that_took_no_time_has_none():
    record = made()
    timing = dataclasses.replace(record.timing, train_s=0.0)
    [group] = groups([dataclasses.replace(record, timing=timing)])
    assert group.timed == {}


def test_runs_are_lost_where_no_record_has_their_result():
    both = [lost(), lost(status="cancelled", day=2), made(seed=1), lost(seed=1, day=3), lost(LORA, day=4)]
    assert lost_runs(both) == (both[1], both[4])


def test_machines_come_by_their_runs():
    found = groups([made(), made(LORA, testbed=OTHER), made(FULL_FIXED, testbed=OTHER)])
    assert machines(found) == [without_code(OTHER), without_code(some_testbed())]


# What a group holds


def test_values_are_those_of_the_frame_in_every_run_that_has_them():
    [group] = groups([made(SVM, seed=1, train_s=5.0), made(SVM, seed=2, train_s=7.0)])
    assert group.values("train_s") == [5.0, 7.0]
    assert group.values("parameters_trained") == [769.0, 769.0]
    assert group.values("steps_per_s") == []
    assert group.values("test_f1") == [record.scores["test"].f1 for record in group.scored]


def test_an_svm_has_no_chance_in_it():
    [svm], [full] = groups([made(SVM)]), groups([made()])
    assert (svm.chance, full.chance) == (False, True)
    assert (svm.seeded(2), full.seeded(2), full.seeded(1)) == (True, False, True)
    assert svm.accuracies["test"].over == "sentences and seeds"
    assert full.accuracies["test"].over == "sentences"


def test_sentences_are_right_where_the_largest_logit_is_the_labels():
    logits = np.array([[3, 1, 2], [0, 1, 2], [0, 1, 2], [-3, -1, -2]], dtype=np.float32)
    said = Predictions(labels=np.array([0, 1, 2, 1], dtype=np.int32), logits=logits)
    [group] = groups([made(predictions={"test": said})])
    assert group.predicted("test").tolist() == [[0, 2, 2, 1]]
    assert group.correct("test").tolist() == [[True, False, True, True]]
    assert group.has_predictions("test")
    assert not group.has_predictions("validation")


def test_runs_that_speak_of_other_sentences_have_no_interval_together():
    [group] = groups([made(seed=1), made(seed=2, size=10)])
    assert not group.has_predictions("test")
    assert group.accuracies == {}


# Quality


def five(experiment, accuracy, seeds=range(5)):
    return [made(experiment, test=accuracy, seed=seed) for seed in seeds]


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (five(FULL, 0.85), five(FULL_FIXED, 0.85), "equal"),
        (five(FULL, 0.90), five(FULL_FIXED, 0.80), "not equal"),
        (five(FULL, 0.85), five(FULL_FIXED, 0.835), "not shown"),
        (five(FULL, 0.85), five(FULL_FIXED, 0.85, range(4)), "not shown"),
        (five(with_recipe(FULL, max_steps=8), 0.85), five(FULL_FIXED, 0.85), "not shown"),
        (five(FULL, 0.85), five(SVM, 0.85, range(1)), "equal"),
    ],
    ids=["equal", "unequal", "between", "four seeds", "cut short", "an SVM once"],
)
def test_quality_is_shown_by_five_seeds_of_whole_epochs(a, b, verdict):
    [first], [second] = groups(a), groups(b)
    assert quality(first, second) == verdict


def test_records_without_predictions_show_no_quality():
    [a], [b] = (
        groups([dataclasses.replace(r, predictions={}) for r in five(FULL, 0.85)]),
        groups(five(FULL_FIXED, 0.85)),
    )
    assert quality(a, b) == "not shown"


# Families


def members(found):
    return sorted(sorted(group.experiment.label for group in family) for family in found)


def test_a_family_differs_in_one_field_alone():
    records = [made(e) for e in (FULL, FULL_FIXED, FULL_FAST, with_recipe(FULL_FAST, batch_size=8), LORA)]
    assert members(families(groups(records), "padding")) == [["full-dynamic-lr2e-05", "full-fixed-lr2e-05"]]
    assert members(families(groups(records), "learning_rate")) == [["full-dynamic-lr2e-04", "full-dynamic-lr2e-05"]]
    assert families(groups(records), "epochs") == ()


def test_target_modules_make_families_too():
    both = dataclasses.replace(LORA, method=Adapter(target_modules=("attention+mlp",), settings={"r": 4}))
    found = families(groups([made(e) for e in (LORA, LORA_MORE, both, FULL)]), "target_modules")
    assert members(found) == [["lora-dynamic-lr2e-05-r8-attention", "lora-dynamic-lr2e-05-r8-attention+mlp"]]


def test_other_fields_may_differ_with_the_one_that_must():
    native = with_recipe(FULL, engine="native")
    there = [FULL, FULL_FIXED, native, with_recipe(native, compile=True), with_recipe(native, epochs=1)]
    records = [made(e) for e in there]
    assert families(groups(records), "engine") == ()
    [family] = members(families(groups(records), "engine", "padding", "compile"))
    kinds = ("dynamic", "fixed", "native-packed-compiled", "native-packed")
    assert family == [f"full-{kind}-lr2e-05" for kind in kinds]
    assert families(groups(records[:2]), "engine", "padding", "compile") == ()  # of one engine


def test_families_stay_at_one_place_and_one_results_version():
    assert families(groups([made(), made(FULL_FIXED, encoder="minilm")]), "padding") == ()
    assert families(groups([made(), dataclasses.replace(made(FULL_FIXED), results=2)]), "padding") == ()


def test_a_method_without_the_field_is_in_no_family():
    records = [made(SVM), made(SVM_MEAN)]
    assert families(groups(records), "padding") == ()
    assert len(families(groups(records), "pooling")) == 1


# Places


def test_whole_data_come_before_cut_ones_and_most_runs_first():
    cut = [made(dataclasses.replace(e, limit=160), sha256="0" * 64) for e in (FULL, LORA, SVM, LORA_FIXED)]
    found = groups([*cut, made(encoder="a"), made(encoder="b"), made(LORA, encoder="b")])
    assert [(place.encoder[0], place.dataset_sha256[0]) for place in by_place(found)] == [
        ("b", "1"),
        ("a", "1"),
        ("d", "0"),
    ]
