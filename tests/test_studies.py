from collections import Counter
from dataclasses import replace

import pytest

from rtlab.methods import Adapter, Contrastive, Full, Svm, Words
from rtlab.recipe import Recipe
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
def test_no_experiment_occurs_twice_and_cases_alternate(name):
    found = study(name, seeds=3)
    assert max(Counter(found).values()) == 1
    cases = len(found) // 3
    assert [e.seed for e in found] == [42] * cases + [43] * cases + [44] * cases
    assert found[:cases] == study(name)
    assert {e.title for e in found} == {replace(e, seed=42 + seed).title for e in study(name) for seed in range(3)}


def seeds_of(experiments):
    """Each case of the first seed, and how many seeds it has."""
    return Counter(replace(e, seed=42) for e in experiments)


def rates(experiments):
    """Of each kind of method the learning rates, and the seeds of each."""
    return {
        (type(e.method), e.method.recipe.learning_rate): seeds
        for e, seeds in seeds_of(experiments).items()
        if isinstance(e.method, Full | Adapter)
    }


def test_the_headline_is_five_seeds_of_both_methods_on_both_engines_and_one_of_what_has_no_chance():
    headline = seeds_of(study("evidence", part=1))
    trained = {e.method: seeds for e, seeds in headline.items() if not isinstance(e.method, Svm)}
    assert set(trained.values()) == {5}
    assert {(type(m), m.recipe.engine, m.recipe.padding, m.recipe.learning_rate) for m in trained} == {
        (kind, engine, padding, rate)
        for kind, rate in ((Full, 2e-5), (Adapter, 1e-3))
        for engine, padding in (("trainer", "dynamic"), ("native", "packed"))
    }
    assert {(m.recipe.epochs, m.recipe.batch_size) for m in trained} == {(5, 16)}
    assert {e.method.pooling: seeds for e, seeds in headline.items() if isinstance(e.method, Svm)} == {
        "cls": 1,
        "mean": 1,
    }


def test_the_other_parts_of_the_evidence():
    assert rates(study("evidence", part=2)) == {
        (Full, 2e-4): 5,
        (Full, 5e-5): 3,
        (Adapter, 2e-5): 5,
        (Adapter, 2e-4): 5,
        (Adapter, 5e-4): 3,
    }
    capacity = seeds_of(study("evidence", part=3))
    assert {(e.method.settings["r"], e.method.settings["lora_alpha"], *e.method.target_modules) for e in capacity} == {
        (16, 64, "attention"),
        (8, 32, "attention+mlp"),
    }
    assert {e.method.recipe.learning_rate for e in capacity} == {1e-3, 2e-5}
    assert set(capacity.values()) == {5}
    last = study("evidence", part=4)
    assert set(seeds_of(last).values()) == {5}
    fixed = {(e.limit, e.max_length, e.engine) for e in last if e.method.recipe.padding == "fixed"}
    assert fixed == {(TIMED, 512, "trainer"), (TIMED, 512, "native"), (None, 96, "native")}


def test_its_parts_are_the_evidence_and_every_case_has_a_title_of_its_own():
    parts = [e for part in (1, 2, 3, 4, 5) for e in study("evidence", part=part)]
    assert Counter(parts) == Counter(study("evidence"))
    assert len({e.title for e in parts}) == len(parts)
    assert {e.encoder for e in parts} == {"minilm", None}  # words alone read none
    assert len(study("evidence", part=1, seeds=10)) == 10 * len(seeds_of(study("evidence", part=1)))


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
        ({"name": "labs"}, "study must be one of smoke, embedded, lab, evidence, labels, or a file"),
        ({"name": "smoke", "seeds": 0}, "seeds must be a whole number of at least 1; got 0"),
        ({"name": "lab", "part": 1}, "part must be 1 to 5, of the study evidence; got 1 of lab"),
        ({"name": "evidence", "part": 6}, "part must be 1 to 5, of the study evidence; got 6 of evidence"),
        ({"name": "smoke", "epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
    ],
)
def test_a_study_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        study(**arguments)


def test_labels_has_every_way_on_every_number_of_sentences():
    found = seeds_of(study("labels"))
    numbers = (50, 100, 200, 500, 1000, 2000, 4000, None)
    ways = {
        "words",
        "svm-mean",
        "svm-mean-words",
        "contrastive-native-packed-lr5e-05-warm-up-0.06",
        "full-native-packed-lr2e-05",
        "lora-native-packed-lr1e-03-r8-attention",
    }
    assert {(e.train_sentences, e.label) for e in found} == {(number, way) for number in numbers for way in ways}
    assert {(e.chance, seeds) for e, seeds in found.items()} == {(True, 3), (False, 1)}


def test_few_sentences_are_trained_for_as_many_steps_as_it_takes_and_no_fewer_epochs():
    """Pairs go through fewer epochs: the root of what others go through."""
    pairs = {
        e.train_sentences: e.method.recipe.epochs for e in study("labels", seeds=1) if e.method.name == "contrastive"
    }
    assert pairs == {50: 9, 100: 7, 200: 5, 500: 4, 1000: 3, 2000: 3, 4000: 3, None: 3}
    for one in study("labels", seeds=1):
        if isinstance(one.method, Full | Adapter):
            recipe = one.method.recipe
            steps = -(-(one.train_sentences or 8530) // recipe.batch_size)
            assert recipe.epochs >= 5
            assert recipe.epochs * steps >= 300
            assert recipe.epochs == 5 or (recipe.epochs - 1) * steps < 300


def test_all_sentences_of_labels_are_runs_of_the_evidence():
    every = {e for e in study("labels") if e.train_sentences is None}
    assert every <= {e for part in (1, 5) for e in study("evidence", part=part)}


def test_the_last_part_of_the_evidence_is_other_ways_and_another_recipe():
    found = seeds_of(study("evidence", part=5))
    once, often = (Words, Svm), (Contrastive, Full, Adapter)
    assert {(type(e.method), seeds) for e, seeds in found.items()} == {(o, 1) for o in once} | {(o, 5) for o in often}
    recipe = Recipe(engine="native", warmup=0.06, weight_decay=0.01, evaluate="epoch", keep="best")
    fine_tuned = [e.method for e in found if isinstance(e.method, Full | Adapter)]
    assert all(method.engine == "native" for method in fine_tuned)
    assert {(method.name, method.recipe.learning_rate) for method in fine_tuned if method.recipe.warmup} == {
        ("full", 2e-5),
        ("lora", 1e-3),
    }
    assert all(replace(m.recipe, learning_rate=2e-5) in (recipe, Recipe(engine="native")) for m in fine_tuned)
    others = {method.name: method for method in fine_tuned if not method.recipe.warmup}
    assert others["lora"].settings["use_dora"] is True
    assert others["ia3"].peft_type == "IA3"
