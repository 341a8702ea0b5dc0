"""Experiments: what they refuse, their JSON and their identity."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

import rtlab
from rtlab import experiment as experiments
from rtlab.experiment import DatasetOptions, Experiment, identity
from rtlab.methods import RESULTS, Adapter, Full, Svm, Words
from rtlab.recipe import Recipe

DATASET, ENCODER = "d" * 64, "e" * 64
NATIVE = Recipe(engine="native", padding="dynamic")
SVM, FULL, LORA = (Experiment(method=method) for method in (Svm(), Full(), Adapter()))
# Another valid value for each field that decides a run's result.
OTHER = {"method": Svm(), "max_length": 128, "precision": "bf16", "seed": 43, "limit": 100, "train_sentences": 50}
OTHER_RECIPE = {
    "engine": "native",
    "padding": "bucketed",
    "learning_rate": 3e-5,
    "epochs": 4,
    "batch_size": 8,
    "max_steps": 7,
    "logging_steps": 10,
    "warmup": 0.06,
    "schedule": "cosine",
    "weight_decay": 0.01,
    "max_grad_norm": 0.0,
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "accumulate": 2,
    "freeze_layers": 1,
    "evaluate": "epoch",
    "keep": "best",
    "patience": 2,
    "metric": "loss",
}
# What such a value needs beside it.
BESIDE = {"keep": {"evaluate": 9}, "patience": {"evaluate": 9}, "metric": {"evaluate": 9, "keep": "best"}}
OTHER_WORDS = {"characters": True, "classifier": "logistic", "c": 1.0}
OTHER_SVM = {"pooling": "mean", "with_words": True, "classifier": "logistic", "c": None}
OTHER_ADAPTER = {"recipe": NATIVE, "peft_type": "LOHA", "target_modules": ("q_lin",), "settings": {"r": 4}}


def digest(experiment, **changes):
    """The id with every input at a fixed value but those given; modules are taken as they are named."""
    modules = experiment.method.target_modules if isinstance(experiment.method, Adapter) else ()
    digests = {"dataset_sha256": DATASET, "encoder_sha256": ENCODER, "target_modules": modules}
    return identity(experiment, **digests | changes)


def with_recipe(experiment, **fields):
    method = experiment.method
    return dataclasses.replace(experiment, method=dataclasses.replace(method, recipe=Recipe(**fields)))


def lora(**settings):
    return Experiment(method=Adapter(settings=settings))


# The value


def test_the_defaults_are_the_designs():
    assert vars(Experiment()) == {
        "encoder": "distilbert/distilbert-base-uncased",
        "dataset": "cornell-movie-review-data/rotten_tomatoes",
        "dataset_options": DatasetOptions(),
        "method": Full(),
        "max_length": 512,
        "precision": "fp32",
        "seed": 42,
        "limit": None,
        "train_sentences": None,
    }


def test_an_experiment_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Experiment().seed = 1


def test_the_engine_is_the_recipes_or_the_svm():
    every = (Experiment(method=Words()), SVM, FULL, LORA, Experiment(method=Full(recipe=NATIVE)))
    assert [one.engine for one in every] == ["words", "svm", "trainer", "trainer", "native"]
    assert {"words", "svm", "trainer", "native"} == set(RESULTS)


# JSON


@given(strategies.experiments())
def test_json_gives_the_same_experiment_back(experiment):
    text = json.dumps(experiment.to_json(), allow_nan=False)
    back = Experiment.from_json(json.loads(text))
    assert back == experiment
    assert hash(back) == hash(experiment)
    assert back.to_json() == experiment.to_json() == json.loads(text)
    assert digest(back) == digest(experiment)


def test_json_holds_all_fields_that_the_method_has_and_no_others():
    recipe = {
        "engine": "trainer",
        "padding": "dynamic",
        "learning_rate": 2e-5,
        "epochs": 5,
        "batch_size": 16,
        "max_steps": None,
        "logging_steps": 50,
        "compile": False,
        "warmup": 0.0,
        "schedule": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "class_weights": "equal",
        "label_smoothing": 0.0,
        "accumulate": 1,
        "freeze_layers": 0,
        "evaluate": None,
        "keep": "last",
        "patience": None,
        "metric": "accuracy",
    }
    assert Experiment(method=Svm(), encoder="minilm", dataset="corpus").to_json() == {
        "encoder": "minilm",
        "dataset": "corpus",
        "dataset_options": {
            "config": None,
            "text_column": None,
            "label_column": None,
            "split_column": None,
            "skip_bad_rows": False,
        },
        "method": {"kind": "svm", "pooling": "cls", "with_words": False, "classifier": "svm", "c": 1.0},
        "max_length": 512,
        "precision": "fp32",
        "seed": 42,
        "limit": None,
        "train_sentences": None,
    }
    assert FULL.to_json()["method"] == {"kind": "full", "recipe": recipe}
    assert LORA.to_json()["method"] == {
        "kind": "adapter",
        "recipe": recipe,
        "peft_type": "LORA",
        "target_modules": ["attention"],
        "settings": {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1},
    }


def test_absent_means_default():
    assert Experiment.from_json({}) == Experiment()
    assert Experiment.from_json({"method": {"kind": "svm"}}) == SVM
    assert Experiment.from_json({"method": {"kind": "adapter", "recipe": {"epochs": 2}}, "seed": 1}) == Experiment(
        method=Adapter(recipe=Recipe(epochs=2)), seed=1
    )
    assert Experiment.from_json({"method": {"kind": "full", "recipe": {"engine": "native"}}}) == Experiment(
        method=Full(recipe=Recipe(engine="native", padding="packed"))
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"lr": 1, "epoch": 1, "seed": 1},
            "experiment has no field epoch, lr; "
            "its fields are dataset, dataset_options, encoder, limit, max_length, method, precision, seed, "
            "train_sentences",
        ),
        (
            {"method": {"kind": "svm", "recipe": {}}},
            "experiment.method has no field recipe; its fields are c, classifier, pooling, with_words",
        ),
        (
            {"method": {"kind": "full", "recipe": {"lr": 1}}},
            "experiment.method.recipe has no field lr; its fields are accumulate, batch_size, class_weights, compile, "
            "engine, epochs, evaluate, freeze_layers, keep, label_smoothing, learning_rate, logging_steps, "
            "max_grad_norm, max_steps, metric, padding, patience, schedule, warmup, weight_decay",
        ),
        (
            {"method": {"kind": "adapter", "rank": 8}},
            "experiment.method has no field rank; its fields are peft_type, recipe, settings, target_modules",
        ),
        (
            {"method": {"kind": "lora"}},
            "experiment.method.kind must be one of words, svm, full, adapter, contrastive; got 'lora'",
        ),
        ({"method": "full"}, "experiment.method must be an object with fields; got 'full'"),
        ([], "experiment must be an object with fields; got []"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unknown_fields_are_refused_with_the_known_ones(fields, message):
    with pytest.raises(ValueError, match="experiment") as error:
        Experiment.from_json(fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": True},
        {"seed": 1.0},
        {"seed": "1"},
        {"limit": 1.0},
        {"encoder": 1},
        {"method": {"kind": "full", "recipe": {"epochs": True}}},
        {"method": {"kind": "full", "recipe": {"epochs": 1.0}}},
        {"method": {"kind": "full", "recipe": {"learning_rate": True}}},
        {"method": {"kind": "full", "recipe": {"learning_rate": "1"}}},
        {"method": {"kind": "full", "recipe": {"engine": "native", "compile": 1}}},
        {"method": {"kind": "full", "recipe": {"padding": None}}},
        {"method": {"kind": "full", "recipe": None}},
        {"method": {"kind": "adapter", "settings": {"r": 8.0}}},
        {"method": {"kind": "adapter", "settings": {"r": True}}},
        {"method": {"kind": "adapter", "settings": {"lora_dropout": "0"}}},
        {"method": {"kind": "adapter", "target_modules": "q_lin"}},
        {"method": {"kind": "adapter", "target_modules": [1]}},
        {"method": {"kind": "adapter", "target_modules": []}},
    ],
    ids=str,
)
def test_types_are_strict(fields):
    with pytest.raises(ValueError, match=r"must .*; got "):
        Experiment.from_json(fields)


def test_json_is_validated():
    with pytest.raises(ValueError, match=r"^epochs must be .*; got 0$"):
        Experiment.from_json({"method": {"kind": "full", "recipe": {"epochs": 0}}})
    with pytest.raises(ValueError, match=r"^r must be .*; got 0$"):
        Experiment.from_json({"method": {"kind": "adapter", "settings": {"r": 0}}})


# Identity

# A change here makes every record that there is an old one. Ids are of data set d…, encoder e…, modules as named.
GOLDEN = {
    "svm": (SVM, "d82cab0b0e7e28ab"),
    "svm, mean": (Experiment(method=Svm(pooling="mean")), "30c3171c02ffa210"),
    "full": (FULL, "edc8ab12e1e54755"),
    "full, native": (Experiment(method=Full(recipe=Recipe(engine="native"))), "7d980e5508f735d0"),
    "full, compiled": (Experiment(method=Full(recipe=Recipe(engine="native", compile=True))), "8b06f43b7516babb"),
    "full, fixed": (with_recipe(FULL, padding="fixed"), "15d211196e1e32c0"),
    "full, every field": (
        Experiment(
            encoder="minilm",
            dataset="corpus",
            method=Full(
                recipe=Recipe(
                    engine="native",
                    padding="bucketed",
                    learning_rate=1e-3,
                    epochs=2,
                    batch_size=32,
                    max_steps=9,
                    logging_steps=1,
                )
            ),
            max_length=64,
            precision="bf16",
            seed=7,
            limit=100,
        ),
        "03948e2d90e18a49",
    ),
    "lora": (LORA, "37801023eff41008"),
    "lora, rank 4": (lora(r=4), "07f11e0b6b457253"),
    "lora, another learning rate": (with_recipe(LORA, learning_rate=1e-3), "bbc36bb37b6ecf13"),
    "lora, two modules": (Experiment(method=Adapter(target_modules="v_lin,q_lin")), "6ce5dcb716df9566"),
    "lora, a setting more": (lora(use_rslora=True, layers_to_transform=[0, 1]), "9bee0041008ba703"),
    "another kind without settings": (Experiment(method=Adapter(peft_type="IA3")), "52f2a5f2ed6b5f9e"),
    "another kind": (
        Experiment(method=Adapter(peft_type="IA3", settings={"feedforward_modules": ["lin2"]})),
        "fd5a0957aecdf4b0",
    ),
}


@pytest.mark.parametrize(("experiment", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_ids_are_what_they_were(experiment, expected):
    assert digest(experiment) == expected


def test_what_is_hashed_is_what_the_design_says(monkeypatch):
    """Only fields that are not the defaults, LoRA's three settings, contents, resolved modules, the results version."""
    hashed = []
    dumps = json.dumps
    monkeypatch.setattr(experiments.json, "dumps", lambda value, **how: hashed.append(value) or dumps(value, **how))
    digest(Experiment(method=Svm(), encoder="minilm", dataset="corpus"))
    digest(with_recipe(LORA, epochs=1), target_modules=("v_lin", "q_lin"))
    of_all = {"dataset": DATASET, "encoder": ENCODER}
    of_lora = {
        "kind": "adapter",
        "recipe": {"padding": "dynamic", "epochs": 1},
        "settings": {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1},
        "target_modules": ["q_lin", "v_lin"],
    }
    assert hashed == [
        of_all | {"method": {"kind": "svm"}, "results": RESULTS["svm"]},
        of_all | {"method": of_lora, "results": RESULTS["trainer"]},
    ]


@given(st.data())
def test_ids_are_equal_exactly_where_experiments_are(data):
    """From a few values each, so that equal ones are drawn often."""

    def one():
        recipe = {name: data.draw(st.sampled_from((getattr(Recipe(), name), OTHER_RECIPE[name]))) for name in few}
        method = data.draw(st.sampled_from((Svm(), Full(recipe=Recipe(**recipe)), Adapter(recipe=Recipe(**recipe)))))
        return Experiment(method=method, seed=data.draw(st.sampled_from((42, 43))))

    few = data.draw(st.sampled_from((("epochs", "max_steps"), ("padding", "learning_rate"))))
    first, second = one(), one()
    assert (digest(first) == digest(second)) == (first == second)


@given(strategies.experiments(), strategies.NAMES, strategies.NAMES)
def test_names_move_no_id(experiment, encoder, dataset):
    renamed = dataclasses.replace(experiment, encoder=encoder, dataset=dataset)
    assert digest(renamed) == digest(experiment)


@pytest.mark.parametrize("field", OTHER)
def test_every_field_of_an_experiment_moves_the_id(field):
    assert digest(FULL) != digest(dataclasses.replace(FULL, **{field: OTHER[field]}))


@pytest.mark.parametrize(
    ("one", "field"),
    [(FULL, field) for field in OTHER_RECIPE] + [(LORA, field) for field in OTHER_RECIPE if field != "freeze_layers"],
    ids=lambda value: value if isinstance(value, str) else value.method.name,
)
def test_every_field_of_a_recipe_moves_the_id(one, field):
    beside = BESIDE.get(field, {})
    assert digest(with_recipe(one, **beside)) != digest(with_recipe(one, **beside, **{field: OTHER_RECIPE[field]}))


@pytest.mark.parametrize("field", OTHER_ADAPTER)
def test_every_field_of_an_adapter_moves_the_id(field):
    other = dataclasses.replace(LORA, method=Adapter(**{field: OTHER_ADAPTER[field]}))
    assert digest(LORA) != digest(other)


@pytest.mark.parametrize(("method", "field"), [(Words, field) for field in OTHER_WORDS] + [(Svm, f) for f in OTHER_SVM])
def test_every_field_of_a_linear_method_moves_the_id(method, field):
    other = method(**{field: (OTHER_WORDS if method is Words else OTHER_SVM)[field]})
    assert digest(Experiment(method=method())) != digest(Experiment(method=other))


def test_every_field_is_in_the_tests_above():
    def names(of):
        return {field.name for field in dataclasses.fields(of)}

    assert names(Experiment) == {*OTHER, "encoder", "dataset", "dataset_options"}
    assert names(Recipe) == {*OTHER_RECIPE, "compile"}
    assert names(Adapter) == {*OTHER_ADAPTER}
    assert (names(Words), names(Svm)) == ({*OTHER_WORDS}, {*OTHER_SVM})


def test_how_a_data_set_is_read_moves_no_id():
    assert digest(SVM) == digest(dataclasses.replace(SVM, dataset_options=DatasetOptions(text_column="review")))


def test_engines_have_ids_of_their_own_and_compiling_too():
    padded = {"padding": "dynamic"}
    compiled = {"engine": "native", "compile": True}
    ids = {digest(with_recipe(FULL, **padded | more)) for more in ({}, {"engine": "native"}, compiled)}
    assert len(ids) == 3


def test_methods_have_ids_of_their_own():
    assert len({digest(one, target_modules=()) for one in (SVM, FULL, LORA)}) == 3


@pytest.mark.parametrize("change", [{"r": 4}, {"lora_alpha": 16}, {"lora_dropout": 0.0}, {"use_rslora": False}])
def test_every_setting_of_an_adapter_moves_the_id(change):
    """Those too that PEFT has by default: they are hashed as they are given."""
    assert digest(LORA) != digest(lora(**change))


@pytest.mark.parametrize("settings", [{}, {"r": 8}, {"lora_dropout": 0.1, "lora_alpha": 32}])
def test_loras_settings_count_where_they_are_the_defaults_given_or_not(settings):
    assert digest(LORA) == digest(lora(**settings))


def test_settings_that_are_written_differently_have_ids_of_their_own():
    assert len({digest(lora(x=value)) for value in (1, 1.0, True, "1", [1])}) == 5


def test_data_set_and_encoder_count_as_contents_not_as_names():
    one = Experiment(encoder="minilm", dataset="corpus")
    copied = Experiment(encoder="/some/copy/of/minilm", dataset="/some/copy/of/corpus")
    assert digest(one) == digest(copied)
    ids = {digest(one), digest(one, dataset_sha256="0" * 64), digest(one, encoder_sha256="0" * 64)}
    assert len(ids) == 3
    assert digest(one) != digest(one, dataset_sha256=ENCODER, encoder_sha256=DATASET)


def test_target_modules_count_as_what_they_resolve_to_in_any_order():
    spelt_out = Experiment(method=Adapter(target_modules=("v_lin", "q_lin")))
    resolved = ("q_lin", "v_lin")
    assert digest(LORA, target_modules=resolved) == digest(spelt_out, target_modules=resolved[::-1])
    assert digest(LORA, target_modules=resolved) != digest(LORA, target_modules=(*resolved, "k_lin"))


@pytest.mark.parametrize("engine", ["svm", "trainer", "native"])
def test_the_results_version_of_its_engine_moves_an_id_and_no_other(monkeypatch, engine):
    every = {"svm": SVM, "trainer": FULL, "native": with_recipe(FULL, engine="native")}
    before = {name: digest(one) for name, one in every.items()}
    monkeypatch.setattr(experiments, "RESULTS", {**RESULTS, engine: RESULTS[engine] + 1})
    assert {name for name, one in every.items() if digest(one) != before[name]} == {engine}


TOMORROW = """
import json, sys
from pathlib import Path
from rtlab.experiment import Experiment, identity
from rtlab.methods import Full
from rtlab.recipe import Recipe
from rtlab.records import load

def digest(experiment):
    modules = getattr(experiment.method, "target_modules", ())
    return identity(experiment, dataset_sha256="d" * 64, encoder_sha256="e" * 64, target_modules=modules)

record = load(Path(sys.argv[1]))
smooth = Experiment(method=Full(recipe=Recipe(momentum=0.1)))
print(json.dumps({
    "ids": [digest(Experiment.from_json(fields)) for fields in json.load(sys.stdin)],
    "changed": digest(smooth),
    "written": smooth.to_json()["method"]["recipe"],
    "record": [record.id, record.experiment.method.recipe.momentum],
}))
"""


def test_a_field_that_is_added_tomorrow_leaves_todays_ids_and_records_valid(tmp_path, run_python):
    """On a copy of the package in which a recipe has one field more."""
    package = Path(rtlab.__file__).parent
    shutil.copytree(package, tmp_path / "rtlab", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "rtlab" / "recipe.py"
    last_field = "    label_smoothing: float = 0.0\n"
    assert source.read_text().count(last_field) == 1
    source.write_text(source.read_text().replace(last_field, f"{last_field}    momentum: float = 0.0\n"))
    old = strategies.example_record()
    record = tmp_path / "record.json"
    record.write_text(json.dumps(old.to_json()))
    todays = tmp_path / "todays.json"
    todays.write_text(json.dumps([one.to_json() for one, _ in GOLDEN.values()]))

    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.stdin = open({str(todays)!r})\n{TOMORROW}"
    done = run_python(code, record)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ids"] == [expected for _, expected in GOLDEN.values()]
    assert found["changed"] not in found["ids"]
    assert found["written"]["momentum"] == 0.1
    assert found["record"] == [old.id, 0.0]


# Errors: one line that names the field, what was given, and what would do


def refusal(**fields):
    """The message of the error that making the experiment raises."""
    with pytest.raises(ValueError, match=r"^\S+ .+ got") as error:
        Experiment(**fields)
    assert "\n" not in str(error.value)
    return str(error.value)


NOT_WHOLE = [0, -1, 1.5, 2.0, True, "8", None, math.nan, math.inf, [1]]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize(("field", "least"), [("max_length", 3), ("limit", 1), ("seed", 0), ("train_sentences", 1)])
def test_numbers_of_things_are_whole_and_in_range(field, least, value):
    if (field, repr(value)) not in {("limit", "None"), ("seed", "0"), ("train_sentences", "None")}:
        assert refusal(**{field: value}) == f"{field} must be a whole number of at least {least}; got {value!r}"


def test_the_edges_of_the_ranges_are_within():
    Experiment(max_length=3, limit=1, seed=0)
    Experiment(seed=2**32 - 1)
    Experiment(limit=50, train_sentences=50)
    assert refusal(limit=50, train_sentences=51) == (
        "train_sentences must be at most the limit, 50 sentences a split, of which they are drawn; got 51"
    )
    assert refusal(max_length=2) == "max_length must be a whole number of at least 3; got 2"
    assert refusal(seed=2**32) == "seed must be at most 4294967295; got 4294967296"


@pytest.mark.parametrize("value", ["Nope", "", None, 1, ["full"]], ids=repr)
def test_precision_is_among_those_known(value):
    assert refusal(precision=value) == f"precision must be one of fp32, tf32, bf16; got {value!r}"


@pytest.mark.parametrize("value", ["", "  ", None, 3, b"minilm"], ids=repr)
@pytest.mark.parametrize("field", ["encoder", "dataset"])
def test_encoder_and_data_set_are_named(field, value):
    assert refusal(**{field: value}) == f"{field} must be a hub id, a directory or a built-in name; got {value!r}"


@pytest.mark.parametrize("value", ["lora", None, Recipe(), {"kind": "svm"}, Svm], ids=str)
def test_a_method_is_a_value(value):
    assert (
        refusal(method=value)
        == f"method must be a Words, Svm, Full, Contrastive or Adapter, such as Full(); got {value!r}"
    )


# The label


@pytest.mark.parametrize(
    ("method", "label"),
    [
        (Svm(), "svm-cls"),
        (Svm(pooling="mean"), "svm-mean"),
        (Full(recipe=Recipe(padding="bucketed")), "full-bucketed-lr2e-05"),
        (Full(recipe=Recipe(engine="native")), "full-native-packed-lr2e-05"),
        (
            Full(recipe=Recipe(engine="native", padding="fixed", compile=True)),
            "full-native-fixed-compiled-lr2e-05",
        ),
        (Full(recipe=Recipe(learning_rate=1.25e-5)), "full-dynamic-lr1.25e-05"),
        (Adapter(recipe=Recipe(learning_rate=1e-3)), "lora-dynamic-lr1e-03-r8-attention"),
        (Adapter(settings={"r": 4}, target_modules="q_lin,v_lin"), "lora-dynamic-lr2e-05-r4-q_lin+v_lin"),
        (Adapter(peft_type="IA3"), "ia3-dynamic-lr2e-05-attention"),
    ],
)
def test_the_label_names_the_point_in_the_matrix(method, label):
    assert Experiment(method=method).label == label


def test_the_title_tells_runs_of_one_label_apart():
    assert SVM.title == "svm-cls, seed 42"
    assert dataclasses.replace(SVM, limit=100, seed=1).title == "svm-cls, 100 sentences a split, seed 1"
    assert dataclasses.replace(SVM, train_sentences=50).title == "svm-cls, 50 training sentences, seed 42"
