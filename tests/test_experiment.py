"""Experiments: what they refuse, what they normalise away, their JSON and their identity."""

import dataclasses
import json
import math

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.experiment import Experiment, LoraSettings, identity

DATASET, ENCODER = "d" * 64, "e" * 64
UNUSED = {
    "svm": (
        *("engine", "padding", "learning_rate", "epochs", "batch_size", "compile", "logging_steps", "max_steps"),
        "lora",
    ),
    "full": ("pooling", "compile", "lora"),  # compile: on the reference engine
    "lora": ("pooling", "compile"),
}
# Another valid value for each field that decides a run's result.
OTHER = {
    "padding": "bucketed",
    "max_length": 128,
    "learning_rate": 3e-5,
    "epochs": 4,
    "batch_size": 8,
    "precision": "bf16",
    "pooling": "mean",
    "logging_steps": 10,
    "seed": 43,
    "max_steps": 7,
    "limit": 100,
}


def digest(experiment, **changes):
    """The id with every input at a fixed value but those given; modules are taken as they are named."""
    modules = () if experiment.lora is None else experiment.lora.target_modules
    digests = {"dataset_sha256": DATASET, "encoder_sha256": ENCODER, "target_modules": modules}
    return identity(experiment, **digests | changes)


# Normalisation


@pytest.mark.parametrize("method", UNUSED)
def test_a_method_has_none_in_exactly_the_fields_that_it_does_not_use(method):
    given_all = Experiment(method=method, lora=LoraSettings(), max_steps=1, limit=1)
    none = {name for name, value in vars(given_all).items() if value is None}
    assert none == set(UNUSED[method])


def test_the_defaults_are_the_designs():
    assert vars(Experiment()) == {
        "encoder": "distilbert/distilbert-base-uncased",
        "dataset": "cornell-movie-review-data/rotten_tomatoes",
        "method": "full",
        "engine": "trainer",
        "padding": "dynamic",
        "max_length": 512,
        "learning_rate": 2e-5,
        "epochs": 5,
        "batch_size": 16,
        "precision": "fp32",
        "compile": None,
        "lora": None,
        "pooling": None,
        "logging_steps": 50,
        "seed": 42,
        "max_steps": None,
        "limit": None,
    }
    assert Experiment(method="svm").pooling == "cls"
    assert Experiment(method="lora").lora == LoraSettings(rank=8, alpha=32, dropout=0.1, target_modules=("attention",))


@given(strategies.experiment_fields(), st.data())
def test_unused_fields_make_neither_two_values_nor_two_ids(fields, data):
    nonsense = st.sampled_from([None, 0, -1, math.nan, "x", (), LoraSettings(rank=3)])
    unused = set(UNUSED[fields["method"]]) - ({"compile"} if fields["method"] != "svm" else set())
    changes = {name: data.draw(nonsense) for name in sorted(unused)}
    one, other = Experiment(**fields), Experiment(**fields | changes)
    assert one == other
    assert hash(one) == hash(other)
    assert one.to_json() == other.to_json()
    assert digest(one) == digest(other)


def test_an_experiment_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Experiment().seed = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        LoraSettings().rank = 1


def test_numbers_that_are_equal_are_written_the_same():
    assert repr(Experiment(learning_rate=1)) == repr(Experiment(learning_rate=1.0))
    assert repr(LoraSettings(dropout=0)) == repr(LoraSettings(dropout=-0.0)) == repr(LoraSettings(dropout=0.0))


@pytest.mark.parametrize(
    "modules",
    ["q_lin,v_lin", "q_lin v_lin", " q_lin, v_lin,", ["q_lin", "v_lin"], ("q_lin", "v_lin", "q_lin")],
)
def test_target_modules_become_a_tuple_without_repeats(modules):
    assert LoraSettings(target_modules=modules).target_modules == ("q_lin", "v_lin")


# JSON


@given(strategies.experiments())
def test_json_gives_the_same_experiment_back(experiment):
    text = json.dumps(experiment.to_json(), allow_nan=False)
    back = Experiment.from_json(json.loads(text))
    assert back == experiment
    assert back.to_json() == experiment.to_json() == json.loads(text)
    assert digest(back) == digest(experiment)


def test_json_holds_the_used_fields_only():
    assert Experiment(method="svm", encoder="minilm", dataset="corpus").to_json() == {
        "encoder": "minilm",
        "dataset": "corpus",
        "method": "svm",
        "max_length": 512,
        "precision": "fp32",
        "pooling": "cls",
        "seed": 42,
    }
    assert Experiment(method="lora").to_json()["lora"] == {
        "rank": 8,
        "alpha": 32,
        "dropout": 0.1,
        "target_modules": ["attention"],
    }


def test_json_that_names_unused_fields_is_normalised_too():
    assert Experiment.from_json({"method": "svm", "epochs": 3, "lora": {"rank": 2}}) == Experiment(method="svm")


def test_json_with_unknown_fields_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"^an experiment has no field epoch, lr; its fields are batch_size, .*, seed$"
    ):
        Experiment.from_json({"lr": 1, "epoch": 1, "seed": 1})
    with pytest.raises(ValueError, match=r"^lora has no field r; its fields are alpha, dropout, rank, target_modules$"):
        Experiment.from_json({"method": "lora", "lora": {"r": 8}})


def test_json_is_validated():
    with pytest.raises(ValueError, match=r"^epochs must be .*; got 0$"):
        Experiment.from_json({"epochs": 0})
    with pytest.raises(ValueError, match=r"^lora\.rank must be .*; got 0$"):
        Experiment.from_json({"method": "lora", "lora": {"rank": 0}})


# Identity


@given(st.data())
def test_ids_are_equal_exactly_where_experiments_are(data):
    """From a few values each, so that equal ones are drawn often."""
    few = {name: st.sampled_from((getattr(Experiment(), name), value)) for name, value in OTHER.items()}
    few |= {"method": st.sampled_from(tuple(UNUSED)), "pooling": st.sampled_from(("cls", "mean"))}
    few |= {"lora": st.sampled_from((None, LoraSettings(rank=4)))}
    one, other = (Experiment(**data.draw(st.fixed_dictionaries(few))) for _ in range(2))
    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize("method", UNUSED)
@pytest.mark.parametrize("field", OTHER)
def test_every_used_field_moves_the_id_and_no_other(method, field):
    one = Experiment(method=method)
    other = dataclasses.replace(one, **{field: OTHER[field]})
    assert (digest(one) != digest(other)) == (field not in UNUSED[method])


@pytest.mark.parametrize("change", [{"rank": 4}, {"alpha": 16}, {"dropout": 0.0}, {"target_modules": ("q_lin",)}])
def test_every_setting_of_the_adapter_moves_the_id(change):
    one = Experiment(method="lora")
    assert digest(one) != digest(dataclasses.replace(one, lora=LoraSettings(**change)))


def test_every_field_is_either_in_the_tests_above_or_no_part_of_the_id():
    named = {field.name for field in dataclasses.fields(Experiment)}
    assert named == set(OTHER) | {"encoder", "dataset", "method", "engine", "compile", "lora"}


def test_engines_have_ids_of_their_own_and_compiling_too():
    padded = {"padding": "dynamic"}
    native = Experiment(engine="native", **padded)
    assert len({digest(one) for one in (Experiment(**padded), native, dataclasses.replace(native, compile=True))}) == 3


def test_methods_have_ids_of_their_own():
    assert len({digest(Experiment(method=method), target_modules=()) for method in UNUSED}) == 3


def test_data_set_and_encoder_count_as_contents_not_as_names():
    one = Experiment(encoder="minilm", dataset="corpus")
    copied = Experiment(encoder="/some/copy/of/minilm", dataset="/some/copy/of/corpus")
    assert digest(one) == digest(copied)
    ids = {digest(one), digest(one, dataset_sha256="0" * 64), digest(one, encoder_sha256="0" * 64)}
    assert len(ids) == 3
    assert digest(one) != digest(one, dataset_sha256=ENCODER, encoder_sha256=DATASET)


def test_target_modules_count_as_what_they_resolve_to_in_any_order():
    group = Experiment(method="lora", lora=LoraSettings(target_modules=("attention",)))
    spelt_out = Experiment(method="lora", lora=LoraSettings(target_modules=("v_lin", "q_lin")))
    resolved = ("q_lin", "v_lin")
    assert digest(group, target_modules=resolved) == digest(spelt_out, target_modules=resolved[::-1])
    assert digest(group, target_modules=resolved) != digest(group, target_modules=(*resolved, "k_lin"))


def test_an_id_is_the_same_in_every_process_and_version():
    """A change here makes every record that there is stale."""
    assert digest(Experiment(method="svm")) == "1f326350630b15b2"
    assert digest(Experiment()) == "2ee1eada44909a82"
    assert digest(Experiment(method="lora")) == "4bc07ac3c0301382"


# Errors: one line that names the field, what was given, and what would do


def refusal(make, **fields):
    """The message of the error that making it raises."""
    with pytest.raises(ValueError, match=r"^\S+ .+ (got|would do)") as error:
        make(**fields)
    assert "\n" not in str(error.value)
    return str(error.value)


NOT_WHOLE = [0, -1, 1.5, 2.0, True, "8", None, math.nan, math.inf, [1]]


IN_RANGE = {("max_steps", "None"), ("limit", "None"), ("seed", "0")}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}-{value!r}")
        for field in ("epochs", "batch_size", "logging_steps", "max_length", "max_steps", "limit", "seed")
        for value in NOT_WHOLE
        if (field, repr(value)) not in IN_RANGE
    ],
)
def test_numbers_of_things_are_whole_and_in_range(field, value):
    least = {"max_length": 3, "seed": 0}.get(field, 1)
    assert refusal(Experiment, **{field: value}) == f"{field} must be a whole number of at least {least}; got {value!r}"


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize("field", ["rank", "alpha"])
def test_rank_and_alpha_are_whole_and_positive(field, value):
    assert refusal(LoraSettings, **{field: value}) == (
        f"lora.{field} must be a whole number of at least 1; got {value!r}"
    )


def test_the_edges_of_the_ranges_are_within():
    fields = {"epochs": 1, "batch_size": 1, "logging_steps": 1, "max_length": 3, "max_steps": 1, "limit": 1}
    Experiment(**fields, seed=0, learning_rate=5e-324)
    Experiment(seed=2**32 - 1)
    LoraSettings(rank=1, alpha=1, dropout=0.0, target_modules=("q_lin",))
    assert refusal(Experiment, max_length=2) == "max_length must be a whole number of at least 3; got 2"
    assert refusal(Experiment, seed=2**32) == "seed must be at most 4294967295; got 4294967296"


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(
    "value", [0, 0.0, -2e-5, math.nan, math.inf, -math.inf, 10**400, True, "2e-5", None, [1]], ids=lambda v: repr(v)[:9]
)
def test_the_learning_rate_is_finite_and_positive(method, value):
    assert refusal(Experiment, method=method, learning_rate=value) == (
        f"learning_rate must be finite and above 0, such as 2e-5; got {value!r}"
    )


@pytest.mark.parametrize(
    "value", [1, 1.0, -0.1, math.nan, math.inf, 10**400, True, "0.1", None], ids=lambda v: repr(v)[:9]
)
def test_dropout_is_below_one(value):
    assert refusal(LoraSettings, dropout=value) == f"lora.dropout must be at least 0 and below 1; got {value!r}"


@pytest.mark.parametrize("value", [(), [], "", " , ", ("",), ("q_lin", 1), None, 5, {"q_lin": 1}], ids=repr)
def test_target_modules_are_named(value):
    assert refusal(LoraSettings, target_modules=value) == (
        f"lora.target_modules must name at least one module or group (attention); got {value!r}"
    )


NAMES = [
    ("method", "svm, full, lora", None),
    ("engine", "trainer, native", "full"),
    ("padding", "fixed, dynamic, bucketed, packed", "lora"),
    ("precision", "fp32, tf32, bf16", "svm"),
    ("pooling", "cls, mean", "svm"),
]


@pytest.mark.parametrize(
    ("field", "known", "method", "value"),
    [
        pytest.param(*name, value, id=f"{name[0]}-{value!r}")
        for name in NAMES
        for value in ("Nope", "", None, 1, ["full"])
        if (name[0], value) != ("padding", None)  # the engine's own
    ],
)
def test_names_are_among_those_known(field, known, method, value):
    fields = {"method": method, field: value}
    assert refusal(Experiment, **fields) == f"{field} must be one of {known}; got {value!r}"


@pytest.mark.parametrize("value", ["", "  ", None, 3, b"minilm"], ids=repr)
@pytest.mark.parametrize("field", ["encoder", "dataset"])
@pytest.mark.parametrize("method", UNUSED)
def test_encoder_and_data_set_are_named(method, field, value):
    assert refusal(Experiment, method=method, **{field: value}) == (
        f"{field} must be a hub id, a directory or a built-in name; got {value!r}"
    )


@pytest.mark.parametrize("value", [{"rank": 8}, "attention", 8], ids=repr)
def test_lora_is_a_lora_settings(value):
    assert refusal(Experiment, method="lora", lora=value) == f"lora must be a LoraSettings; got {value!r}"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_trainer_cannot_pack(method):
    message = refusal(Experiment, method=method, padding="packed", engine="trainer")
    assert message.startswith("padding 'packed' is not possible on engine 'trainer'")
    assert message.endswith("fixed, dynamic or bucketed would do, or engine native")
    assert Experiment(method="svm", padding="packed").padding is None


def test_an_engine_has_a_padding_of_its_own():
    assert Experiment().padding == "dynamic"
    assert Experiment(engine="native").padding == "packed"
    assert Experiment(engine="native", padding="dynamic").padding == "dynamic"


def test_compiling_is_for_the_native_engine():
    assert Experiment(engine="native").compile is False
    assert Experiment(engine="native", compile=True).compile is True
    assert Experiment(method="svm", compile=True).compile is None
    assert refusal(Experiment, compile=True) == (
        "compile is not possible on engine 'trainer'; got True; engine native would do"
    )
    assert refusal(Experiment, engine="native", compile=3) == "compile must be True or False; got 3"


# The label


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"method": "svm"}, "svm-cls"),
        ({"method": "svm", "pooling": "mean"}, "svm-mean"),
        ({"padding": "bucketed"}, "full-bucketed-lr2e-05"),
        ({"engine": "native"}, "full-native-packed-lr2e-05"),
        ({"engine": "native", "padding": "fixed", "compile": True}, "full-native-fixed-compiled-lr2e-05"),
        ({"method": "lora", "learning_rate": 1e-3}, "lora-dynamic-lr1e-03-r8-attention"),
        (
            {"method": "lora", "lora": LoraSettings(rank=4, target_modules="q_lin,v_lin")},
            "lora-dynamic-lr2e-05-r4-q_lin+v_lin",
        ),
    ],
)
def test_the_label_names_the_point_in_the_matrix(fields, label):
    assert Experiment(**fields).label == label
