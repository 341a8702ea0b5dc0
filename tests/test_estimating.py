"""About how long a run will take: by what was recorded of runs like it."""

import dataclasses

import pytest
import small

from rtlab.experiment import Experiment
from rtlab.methods import Full, Svm, Words
from rtlab.preparing import prepare
from rtlab.running import run
from rtlab.scheduling.estimating import Estimate, Took, estimate, time_left

TRAIN_S = 100.0  # what the recorded run is made to have taken


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("estimating") / "reviews")


@pytest.fixture(scope="module")
def recorded(data, tmp_path_factory):
    """Makes the record of a run whose only seconds are those of training."""

    def make(experiment, train_s=TRAIN_S, **changes):
        record = run(experiment, output_dir=tmp_path_factory.mktemp("recorded"), device="cpu")
        tokens = record.counts.real_tokens + record.counts.padding_tokens
        timing = dataclasses.replace(
            record.timing,
            **dict.fromkeys(("load_s", "prepare_s", "warmup_s", "evaluate_s", "others"), 0.0),
            train_s=train_s,
            padded_tokens_per_s=tokens / train_s,
        )
        return dataclasses.replace(record, timing=timing, **changes)

    return make


def about(experiment, records):
    found = estimate(prepare(experiment, device="cpu"), records)
    return None if found is None else found.seconds


def busy(record, others, train_s, *, threads=1, cores=1):
    """The record, made while others took this share of so many cores."""
    return dataclasses.replace(
        record,
        timing=dataclasses.replace(record.timing, others=others, train_s=train_s),
        testbed=dataclasses.replace(record.testbed, threads=threads),
        environment=record.environment | {"cores": cores},
    )


def test_undisturbed_runs_go_first_and_disturbed_ones_are_scaled_by_what_was_left_of_the_machine(data, recorded):
    prepared = prepare(small.experiment(data), device="cpu")
    quiet = busy(recorded(small.experiment(data, padding="bucketed")), 0.01, 100.0)
    disturbed = [
        busy(recorded(small.experiment(data)), others, train_s) for others, train_s in ((0.75, 400), (0.5, 240))
    ]
    assert estimate(prepared, [*disturbed, quiet]) == (pytest.approx(100.0), False)
    assert estimate(prepared, disturbed) == (pytest.approx(100.0), True)
    assert estimate(prepared, [busy(disturbed[0], 1.0, 400)]) == (pytest.approx(400 * 0.05), True)
    elsewhere = dataclasses.replace(quiet, testbed=dataclasses.replace(quiet.testbed, device="another"))
    assert estimate(prepared, [disturbed[0], elsewhere]) == (pytest.approx(100.0), True)  # of this device
    older = dataclasses.replace(quiet, testbed=dataclasses.replace(quiet.testbed, device=other_generation(quiet)))
    assert estimate(prepared, [disturbed[0], older]) == (pytest.approx(100.0), False)


@pytest.mark.parametrize(
    ("threads", "cores", "others", "left"),
    [(1, 2, 0.5, 1.0), (1, 2, 0.75, 0.5), (2, 2, 0.5, 0.5), (1, 4, 0.5, 1.0), (1, None, 0.5, 0.5), (4, 2, 0.5, 0.5)],
)
def test_a_disturbed_run_is_scaled_by_what_was_left_of_the_cores_that_it_computed_on(
    data, recorded, threads, cores, others, left
):
    record = busy(recorded(small.experiment(data)), others, 100.0, threads=threads, cores=cores)
    assert about(small.experiment(data), [record]) == pytest.approx(100.0 * left)


def test_a_run_that_was_paused_is_no_measure_of_the_others(data, recorded):
    """Nothing in a record tells of a pause, and it may be the only one on as many sentences."""
    one, few = (dataclasses.replace(small.experiment(data), train_sentences=number) for number in (None, 10))
    paused, others = busy(recorded(one), 0.5, 7000.0), [busy(recorded(few), 0.5, train_s) for train_s in (12.0, 10.0)]
    assert about(one, [paused, *others]) == pytest.approx(10.0 * small.TRAIN / 10 * 0.5)


def test_runs_on_the_same_data_go_first(data, recorded, tmp_path):
    """How long sentences are decides."""
    one, other = small.experiment(data), small.experiment(small.data_folder(tmp_path / "others"))
    assert about(one, [recorded(other, 5.0), recorded(one, 50.0)]) == pytest.approx(50.0)
    assert about(other, [recorded(other, 5.0), recorded(one, 50.0)]) == pytest.approx(5.0)


def other_generation(record):
    """The name of a processor of this kind of another generation."""
    return f"{record.testbed.device.partition(' (')[0]} (family 0, model 0)"


def test_sentences_that_are_read_during_training_count(data, recorded):
    watched, plain = small.experiment(data, evaluate=3, engine="native"), small.experiment(data, engine="native")
    record = recorded(watched)
    record = dataclasses.replace(record, timing=dataclasses.replace(record.timing, evaluate_s=40.0))
    assert len(record.validated) == watched.method.recipe.evaluations(small.TRAIN) == 2
    assert about(watched, [record]) == pytest.approx(TRAIN_S + 40.0)
    assert about(plain, [record]) == pytest.approx(TRAIN_S + 40.0 / 2)


def test_sentences_that_go_through_training_decide(data, recorded):
    one = small.experiment(data)
    record = recorded(one)
    per_sentence = TRAIN_S / record.counts.samples
    assert about(one, [record]) == pytest.approx(TRAIN_S)
    assert about(small.experiment(data, epochs=3), [record]) == pytest.approx(3 * TRAIN_S)
    assert about(small.experiment(data, max_steps=2), [record]) == pytest.approx(2 * 8 * per_sentence)
    assert about(small.experiment(data, method="svm"), [recorded(small.experiment(data, method="svm"))]) == (
        pytest.approx(TRAIN_S)
    )


def test_reading_what_is_held_out_counts_for_its_sentences(data, recorded):
    one = small.experiment(data, max_steps=1)
    record = recorded(one)
    slow = dataclasses.replace(record, timing=dataclasses.replace(record.timing, load_s=5.0, evaluate_s=40.0))
    assert about(one, [slow]) - about(one, [record]) == pytest.approx(45.0)


def test_fixed_padding_is_told_by_its_tokens(data, recorded):
    record = recorded(small.experiment(data, max_length=64))
    fixed = small.experiment(data, max_length=64, padding="fixed")
    tokens = record.counts.samples * 64
    assert about(fixed, [record]) == pytest.approx(tokens / record.timing.padded_tokens_per_s)


def test_runs_that_are_more_alike_go_first(data, recorded):
    one = small.experiment(data, "lora")
    alike = [recorded(one, train_s) for train_s in (10.0, 20.0, 90.0)]
    other_modules = recorded(small.experiment(data, "lora", target_modules=("q_lin",)), 500.0)
    other_padding = recorded(small.experiment(data, "lora", padding="bucketed"), 600.0)
    assert about(one, [*alike, other_modules, other_padding]) == pytest.approx(20.0)
    assert about(one, [other_modules, other_padding]) == pytest.approx(500.0)
    assert about(one, [other_padding]) == pytest.approx(600.0)
    elsewhere = dataclasses.replace(alike[0], testbed=dataclasses.replace(alike[0].testbed, device="another"))
    assert about(one, [elsewhere, other_padding]) == pytest.approx(600.0)
    assert about(one, [elsewhere]) == pytest.approx(10.0)


def test_the_sentences_that_are_drawn_decide(data, recorded):
    one, few = (dataclasses.replace(small.experiment(data), train_sentences=number) for number in (None, 10))
    whole = recorded(one)
    assert about(few, [whole]) == pytest.approx(TRAIN_S * 10 / small.TRAIN)
    assert about(few, [whole, recorded(few, 30.0)]) == pytest.approx(30.0)
    assert about(one, [whole, recorded(few, 30.0)]) == pytest.approx(TRAIN_S)


def test_the_time_left_is_told_by_what_was_done():
    words, svm, full = (Experiment(method=method) for method in (Words(), Svm(), Full()))
    again = dataclasses.replace(full, seed=7)
    told = Estimate(100.0, disturbed=False)
    assert time_left([], [(words, told), (full, told)]) == 200.0
    assert time_left([], [(words, told), (full, None)]) is None
    assert time_left([], []) == 0.0
    assert time_left([], [(words, told), (full, told)], jobs=2, work=1.25) == pytest.approx(160.0)
    assert time_left([], [(words, told)], jobs=2, work=1.25) == pytest.approx(160.0)  # on its part, to its end
    assert time_left([], [(words, told), (full, told)], jobs=2, work=2.0) == 100.0  # each on a GPU
    at_once = Took(svm, told, 150.0)  # which says what two at once took of their estimates
    assert time_left([at_once], [(words, told), (full, told)], jobs=2, work=1.25) == pytest.approx(150.0)
    slower = Took(full, told, 300.0)
    assert time_left([slower], [(again, told)]) == 300.0  # as under the other seed
    assert time_left([slower], [(words, Estimate(10.0, disturbed=False))]) == pytest.approx(30.0)  # at this pace
    assert time_left([Took(full, None, 300.0), Took(svm, None, 100.0)], [(words, None)]) == 200.0  # as the others
    assert time_left([Took(full, None, 300.0)], [(again, told), (words, told), (svm, None)]) == 300.0 + 100.0 + 300.0


def test_nothing_alike_says_nothing(data, recorded):
    one = small.experiment(data)
    assert about(one, []) is None
    assert about(one, [recorded(small.experiment(data, "lora"))]) is None
    assert about(one, [dataclasses.replace(recorded(one), status="failed", timing=None)]) is None
    assert about(small.experiment(data, encoder="tiny-bert"), [recorded(one)]) is None
