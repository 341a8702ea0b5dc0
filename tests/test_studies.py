from collections import Counter

import pytest

from rtlab.studies import TIMED, study


def test_the_lab_study_holds_the_original_matrix():
    found = study("lab")
    assert {e.encoder for e in found} == {"distilbert/distilbert-base-uncased"}
    assert {(e.batch_size, e.epochs) for e in found if e.method != "svm"} == {(16, 5)}
    full = {(e.padding, e.learning_rate) for e in found if e.method == "full"}
    assert full >= {(padding, rate) for padding in ("dynamic", "fixed") for rate in (2e-5, 2e-4)}
    lora = {
        (e.lora.rank, e.lora.alpha, e.padding, e.learning_rate, e.lora.target_modules)
        for e in found
        if e.method == "lora"
    }
    assert lora >= {
        (rank, alpha, padding, rate, (modules,))
        for rank, alpha in ((8, 32), (16, 64))
        for padding in ("dynamic", "fixed")
        for rate in (2e-5, 2e-4)
        for modules in ("attention", "attention+mlp")
    }
    assert {e.learning_rate for e in found if e.method == "lora"} >= {5e-4, 1e-3}
    assert {e.method for e in found if e.padding == "bucketed"} == {"full", "lora"}


def test_smoke_has_the_shape_of_the_lab():
    assert [e.label for e in study("smoke")] == [e.label for e in study("lab")]
    assert {(e.encoder, e.dataset) for e in study("smoke")} == {("tiny-distilbert", "corpus")}


def test_embedded_times_fixed_padding_against_dynamic_on_few_sentences():
    timed = {(e.method, e.padding) for e in study("embedded") if e.limit == TIMED}
    assert timed == {(method, padding) for method in ("full", "lora") for padding in ("dynamic", "fixed")}


@pytest.mark.parametrize("name", ["smoke", "embedded", "lab"])
def test_no_experiment_occurs_twice_and_seeds_stand_together(name):
    found = study(name, seeds=3)
    assert max(Counter(found).values()) == 1
    assert [e.seed for e in found] == [42, 43, 44] * (len(found) // 3)
    assert [e.title for e in found[::3]] == [e.title for e in study(name)]


def test_what_is_given_replaces_what_the_study_has():
    found = study("lab", encoder="minilm", dataset="corpus", epochs=1, limit=100)
    assert {(e.encoder, e.dataset, e.limit) for e in found} == {("minilm", "corpus", 100)}
    assert {e.epochs for e in found} == {1, None}
    assert {e.limit for e in study("embedded", limit=500)} == {500, TIMED}


def test_an_engine_keeps_its_cases_and_the_svm():
    for name in ("smoke", "embedded", "lab"):
        by_engine = {engine: study(name, engine=engine) for engine in ("trainer", "native")}
        for engine, found in by_engine.items():
            assert {e.engine for e in found} == {engine, None}
        assert len(by_engine["trainer"]) + len(by_engine["native"]) == len(study(name)) + 2  # the SVM's two are in both


@pytest.mark.parametrize("name", ["smoke", "embedded", "lab"])
def test_the_native_engine_runs_what_the_reference_runs(name):
    """Packed at the same rates, and padded in one case of each method, so that the engines can be compared."""
    found = study(name)
    trainer, native = (
        {(e.method, e.learning_rate, e.lora) for e in found if e.engine == engine and e.limit == found[0].limit}
        for engine in ("trainer", "native")
    )
    assert native <= trainer
    assert {(e.method, e.padding) for e in found if e.engine == "native"} == {
        (method, padding) for method in ("full", "lora") for padding in ("packed", "dynamic")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "labs"}, "study must be one of smoke, embedded, lab; got 'labs'"),
        ({"name": "smoke", "seeds": 0}, "seeds must be at least 1; got 0"),
        ({"name": "smoke", "epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
    ],
)
def test_a_study_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        study(**arguments)
