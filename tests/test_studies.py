from collections import Counter

import pytest

from rtlab.methods import Adapter, Full, Svm
from rtlab.studies import TIMED, study


def trained(experiments, *kinds):
    """The methods of experiments that are trained in steps, or those of some kinds."""
    return [e.method for e in experiments if isinstance(e.method, kinds or (Full, Adapter))]


def shape(method):
    """All of a method but its engine and padding."""
    return (
        type(method),
        method.recipe.learning_rate,
        *((method.target_modules, method.settings) if isinstance(method, Adapter) else ()),
    )


def test_the_lab_study_holds_the_original_matrix():
    found = study("lab")
    assert {e.encoder for e in found} == {"distilbert/distilbert-base-uncased"}
    assert {method.pooling for method in trained(found, Svm)} == {"cls", "mean"}
    assert {(method.recipe.batch_size, method.recipe.epochs) for method in trained(found)} == {(16, 5)}
    full = {(method.recipe.padding, method.recipe.learning_rate) for method in trained(found, Full)}
    assert full >= {(padding, rate) for padding in ("dynamic", "fixed") for rate in (2e-5, 2e-4)}
    assert {(m.peft_type, m.settings["lora_dropout"]) for m in trained(found, Adapter)} == {("LORA", 0.1)}
    lora = {
        (m.settings["r"], m.settings["lora_alpha"], m.recipe.padding, m.recipe.learning_rate, m.target_modules)
        for m in trained(found, Adapter)
    }
    assert lora >= {
        (rank, alpha, padding, rate, (modules,))
        for rank, alpha in ((8, 32), (16, 64))
        for padding in ("dynamic", "fixed")
        for rate in (2e-5, 2e-4)
        for modules in ("attention", "attention+mlp")
    }
    assert {method.recipe.learning_rate for method in trained(found, Adapter)} >= {5e-4, 1e-3}
    assert {type(method) for method in trained(found) if method.recipe.padding == "bucketed"} == {Full, Adapter}


def test_smoke_has_the_shape_of_the_lab():
    assert [e.label for e in study("smoke")] == [e.label for e in study("lab")]
    assert {(e.encoder, e.dataset) for e in study("smoke")} == {("tiny-distilbert", "corpus")}


def test_embedded_times_fixed_padding_against_dynamic_on_few_sentences():
    timed = [e for e in study("embedded") if e.limit == TIMED]
    assert {(type(method), method.recipe.padding) for method in trained(timed)} == {
        (kind, padding) for kind in (Full, Adapter) for padding in ("dynamic", "fixed")
    }
    assert len(trained(timed)) == len(timed) == 4


@pytest.mark.parametrize("name", ["smoke", "embedded", "lab"])
def test_no_experiment_occurs_twice_and_seeds_stand_together(name):
    found = study(name, seeds=3)
    assert max(Counter(found).values()) == 1
    assert [e.seed for e in found] == [42, 43, 44] * (len(found) // 3)
    assert [e.title for e in found[::3]] == [e.title for e in study(name)]


def test_what_is_given_replaces_what_the_study_has():
    found = study("lab", encoder="minilm", dataset="corpus", epochs=1, limit=100)
    assert {(e.encoder, e.dataset, e.limit) for e in found} == {("minilm", "corpus", 100)}
    assert {method.recipe.epochs for method in trained(found)} == {1}
    assert {e.limit for e in study("embedded", limit=500)} == {500, TIMED}


def test_an_engine_keeps_its_cases_and_the_svm():
    for name in ("smoke", "embedded", "lab"):
        by_engine = {engine: study(name, engine=engine) for engine in ("trainer", "native")}
        for engine, found in by_engine.items():
            assert {e.engine for e in found} == {engine, "svm"}
        assert len(by_engine["trainer"]) + len(by_engine["native"]) == len(study(name)) + 2  # the SVM's two are in both


@pytest.mark.parametrize("name", ["smoke", "embedded", "lab"])
def test_the_native_engine_runs_what_the_reference_runs(name):
    """Packed at the same rates, and padded in one case of each method, so that the engines can be compared."""
    found = study(name)
    trainer, native = (
        {shape(e.method) for e in found if e.engine == engine and e.limit == found[0].limit}
        for engine in ("trainer", "native")
    )
    assert native <= trainer
    assert {(type(e.method), e.method.recipe.padding) for e in found if e.engine == "native"} == {
        (kind, padding) for kind in (Full, Adapter) for padding in ("packed", "dynamic")
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
