"""Methods: what they hold, what they refuse, and what makes two of them equal."""

import dataclasses
import math

import numpy as np
import pytest
import strategies
from hypothesis import given

from rtlab.methods import RESULTS, Adapter, Contrastive, Full, Svm, Words
from rtlab.recipe import Recipe
from rtlab.settings import Settings
from rtlab.values import to_json

# Defaults


def test_the_defaults_are_the_designs():
    assert vars(Recipe()) == {
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
    assert vars(Words()) == {"characters": False, "classifier": "svm", "c": None}
    assert vars(Svm()) == {"pooling": "cls", "with_words": False, "classifier": "svm", "c": 1.0}
    assert vars(Full()) == {"recipe": Recipe()}
    assert vars(Contrastive()) == {"recipe": Recipe(), "temperature": 0.1}
    assert vars(Adapter()) == {
        "recipe": Recipe(),
        "peft_type": "LORA",
        "target_modules": ("attention",),
        "settings": {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1},
    }


# Each with its name, engine, what it reads, label and setup.
SAID = {
    Words(): ("words", "words", None, "words", "words, SVM"),
    Words(characters=True, classifier="logistic", c=0.3): (
        *("words", "words", None),
        *("words-characters-logistic-c0.3", "characters, logistic regression, C 0.3"),
    ),
    Svm(pooling="mean", with_words=True, classifier="logistic", c=None): (
        *("svm", "svm", "mean"),
        *("svm-mean-words-logistic-tuned", "logistic regression, mean-pooled features with words, C tuned"),
    ),
    Svm(): ("svm", "svm", "cls", "svm-cls", "SVM, [CLS] features"),
    Svm(pooling="mean"): ("svm", "svm", "mean", "svm-mean", "SVM, mean-pooled features"),
    Full(): ("full", "trainer", "logits", "full-dynamic-lr2e-05", "full, dynamic, lr 2e-05"),
    Full(recipe=Recipe(engine="native", compile=True)): (
        *("full", "native", "logits"),
        *("full-native-packed-compiled-lr2e-05", "full, packed, lr 2e-05"),
    ),
    Contrastive(): (
        *("contrastive", "trainer", "mean"),
        *("contrastive-dynamic-lr2e-05", "contrastive, dynamic, lr 2e-05"),
    ),
    Contrastive(recipe=Recipe(engine="native"), temperature=0.5): (
        *("contrastive", "native", "mean"),
        *("contrastive-native-packed-lr2e-05-t0.5", "contrastive, packed, lr 2e-05, t 0.5"),
    ),
    Adapter(recipe=Recipe(learning_rate=1e-3)): (
        *("lora", "trainer", "logits"),
        *("lora-dynamic-lr1e-03-r8-attention", "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 1e-03"),
    ),
    Adapter(peft_type="IA3", target_modules="q_lin,v_lin"): (
        *("ia3", "trainer", "logits"),
        *("ia3-dynamic-lr2e-05-q_lin+v_lin", "IA3 q_lin v_lin, dynamic, lr 2e-05"),
    ),
}


@pytest.mark.parametrize(("c", "said"), [(10, "10"), (0.3, "0.3"), (0.1234567, "0.1234567"), (1 / 3, repr(1 / 3))])
def test_cs_that_differ_are_written_differently(c, said):
    assert (Words(c=c).label, Words(c=c).setup) == (f"words-c{said}", f"words, SVM, C {said}")
    assert (Svm(c=c).label, Svm(c=c).setup) == (f"svm-cls-c{said}", f"SVM, [CLS] features, C {said}")


@pytest.mark.parametrize("method", SAID, ids=lambda method: method.label)
def test_what_a_method_says_of_itself(method):
    assert (method.name, method.engine, method.reads, method.label, method.setup) == SAID[method]
    assert method.engine in RESULTS


def test_an_engine_has_a_padding_of_its_own():
    assert Recipe().padding == "dynamic"
    assert Recipe(engine="native").padding == "packed"
    assert Recipe(engine="native", padding="dynamic").padding == "dynamic"


@pytest.mark.parametrize(
    "value", [Recipe(), Svm(), Full(), Contrastive(), Adapter()], ids=lambda value: type(value).__name__
)
def test_what_a_method_is_made_of_is_frozen_and_named(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    with pytest.raises(TypeError, match="positional argument"):
        type(value)(getattr(value, name))


def test_equal_numbers_are_written_the_same():
    assert repr(Recipe(learning_rate=1)) == repr(Recipe(learning_rate=1.0))
    dropouts = [Adapter(settings={"lora_dropout": dropout}) for dropout in (0, -0.0, 0.0)]
    assert len({repr(one) for one in dropouts}) == 1


@given(strategies.methods())
def test_a_method_can_be_hashed_and_copied(method):
    copy = dataclasses.replace(method)
    assert copy == method
    assert hash(copy) == hash(method)
    assert repr(copy) == repr(method)


# Settings


def test_settings_are_in_alphabetical_order_and_cannot_be_changed():
    given_last_first = {"b": [1, [2]], "a": {"d": None, "c": 0.5}}
    settings = Settings(given_last_first)
    given_last_first["b"].append(3)
    assert list(settings) == ["a", "b"]
    assert settings["b"] == (1, (2,))
    assert list(settings["a"]) == ["c", "d"]
    assert len(settings) == 2
    with pytest.raises(TypeError):
        settings["a"] = 1


def test_settings_are_equal_in_any_order():
    one, other = Settings({"a": 1, "b": {"c": 2, "d": 3}}), Settings({"b": {"d": 3, "c": 2}, "a": 1})
    assert one == other == {"a": 1, "b": {"c": 2, "d": 3}}
    assert hash(one) == hash(other)
    assert one != Settings({"a": 1})


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, False), (0.0, -0.0), ([1], [1.0]), ("1", 1)])
def test_settings_that_are_written_differently_are_not_equal(one, other):
    """Python calls most of these equal; PEFT does not, and their ids differ."""
    assert Adapter(settings={"x": one}) != Adapter(settings={"x": other})
    assert Adapter(settings={"x": {"y": one}}) != Adapter(settings={"x": {"y": other}})


def test_settings_of_numpy_are_plain_numbers():
    numpys = Settings({"x": np.float64(0.1)})
    assert numpys == Settings({"x": 0.1})
    assert repr(numpys) == "{'x': 0.1}"


@given(strategies.adapters())
def test_settings_are_json(adapter):
    assert Settings(to_json(adapter.settings)) == adapter.settings


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, 2**63, object(), {1, 2}, b"a", [math.nan], {"a": [2**64]}],
    ids=lambda value: type(value).__name__ + str(value)[:12] if type(value) is not object else "object",
)
def test_settings_hold_what_json_holds(value):
    with pytest.raises(
        ValueError, match=r"^settings must hold finite numbers, texts, lists and mappings of them; got "
    ):
        Adapter(settings={"x": value})


@pytest.mark.parametrize("value", [None, [], "r=8", 8, {1: 2}, {"a": {1: 2}}, {"a": {None: 2, "b": 1}}], ids=repr)
def test_settings_go_by_name(value):
    with pytest.raises(ValueError, match=r"^settings must be PEFT's settings by name; got "):
        Adapter(settings=value)


def test_target_modules_are_no_setting():
    with pytest.raises(ValueError, match=r"^settings must not hold target_modules; the field target_modules would do$"):
        Adapter(settings={"target_modules": ["q_lin"]})


def test_loras_three_settings_are_always_there_and_no_other_kinds():
    assert Adapter(settings={"r": 4, "use_rslora": True}).settings == {
        "r": 4,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
        "use_rslora": True,
    }
    assert Adapter(peft_type="IA3").settings == {}
    assert Adapter(peft_type="LOHA", settings={"r": 4, "alpha": 8}).settings == {"r": 4, "alpha": 8}


# Errors: one line that names the field, what was given, and what would do


def refusal(make, **fields):
    """The message of the error that making it raises."""
    with pytest.raises(ValueError, match=r"^\S+ .+ (got|would do)") as error:
        make(**fields)
    assert "\n" not in str(error.value)
    return str(error.value)


NOT_WHOLE = [0, -1, 1.5, 2.0, True, "8", None, math.nan, math.inf, [1]]


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize("field", ["epochs", "batch_size", "logging_steps", "max_steps"])
def test_a_recipes_numbers_are_whole_and_positive(field, value):
    if (field, value) != ("max_steps", None):
        message = f"{field} must be a whole number of at least 1; got {value!r}"
        assert refusal(Recipe, **{field: value}) == message


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
@pytest.mark.parametrize("name", ["r", "lora_alpha"])
def test_loras_rank_and_alpha_are_whole_and_positive(name, value):
    message = f"{name} must be a whole number of at least 1; got {value!r}"
    assert refusal(Adapter, settings={name: value}) == message


@pytest.mark.parametrize(
    "value", [0, 0.0, -2e-5, math.nan, math.inf, -math.inf, 10**400, True, "2e-5", None, [1]], ids=lambda v: repr(v)[:9]
)
def test_the_learning_rate_is_finite_and_positive(value):
    assert refusal(Recipe, learning_rate=value) == (
        f"learning_rate must be finite and above 0, such as 2e-5; got {value!r}"
    )


@pytest.mark.parametrize(
    "value", [1, 1.0, -0.1, math.nan, math.inf, 10**400, True, "0.1", None], ids=lambda v: repr(v)[:9]
)
def test_dropout_is_below_one(value):
    assert refusal(Adapter, settings={"lora_dropout": value}) == (
        f"lora_dropout must be at least 0 and below 1; got {value!r}"
    )


def test_the_edges_of_the_ranges_are_within():
    Recipe(epochs=1, batch_size=1, logging_steps=1, max_steps=1, learning_rate=5e-324)
    Adapter(settings={"r": 1, "lora_alpha": 1, "lora_dropout": 0.0}, target_modules=("q_lin",))


@pytest.mark.parametrize(
    "modules", ["q_lin,v_lin", "q_lin v_lin", " q_lin, v_lin,", ["q_lin", "v_lin"], ("q_lin", "v_lin", "q_lin")]
)
def test_target_modules_become_a_tuple_without_repeats(modules):
    assert Adapter(target_modules=modules).target_modules == ("q_lin", "v_lin")


@pytest.mark.parametrize("value", [(), [], "", " , ", ("",), ("q_lin", 1), None, 5, {"q_lin": 1}], ids=repr)
def test_target_modules_are_named(value):
    assert refusal(Adapter, target_modules=value) == (
        f"target_modules must name at least one module or group (attention); got {value!r}"
    )


@pytest.mark.parametrize("value", ["", "  ", None, 3], ids=repr)
def test_an_adapter_has_a_kind(value):
    assert refusal(Adapter, peft_type=value) == (
        f"peft_type must be PEFT's name of a kind of adapter, such as LORA; got {value!r}"
    )


NAMES = [
    (Recipe, "engine", "trainer, native"),
    (Recipe, "padding", "fixed, dynamic, bucketed, packed"),
    (Svm, "pooling", "cls, mean"),
]


@pytest.mark.parametrize("value", ["Nope", "", None, 1, ["full"]], ids=repr)
@pytest.mark.parametrize(("of", "field", "known"), NAMES, ids=[name[1] for name in NAMES])
def test_names_are_among_those_known(of, field, known, value):
    if (field, value) != ("padding", None):  # the engine's own
        assert refusal(of, **{field: value}) == f"{field} must be one of {known}; got {value!r}"


@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, 10**400, True, "0.1", None], ids=lambda v: repr(v)[:9])
def test_a_temperature_is_finite_and_positive(value):
    assert refusal(Contrastive, temperature=value) == (
        f"temperature must be finite and above 0, such as 0.1; got {value!r}"
    )


NOT_OF_PAIRS = {
    "class_weights": ("balanced", "weighs single sentences"),
    "label_smoothing": (0.1, "spreads labels of single sentences"),
    "accumulate": (2, "joins batches, and the loss is over pairs of sentences of one batch"),
    "evaluate": ("epoch", "asks for labels, which are known once the linear classifier is fitted"),
}


@pytest.mark.parametrize("field", NOT_OF_PAIRS)
def test_a_recipe_for_pairs_asks_for_nothing_else(field):
    given, why = NOT_OF_PAIRS[field]
    assert refusal(Contrastive, recipe=Recipe(**{field: given})) == (
        f"{field} must be left out for method contrastive: it {why}; got {given!r}"
    )


def test_a_pair_takes_two():
    Contrastive(recipe=Recipe(batch_size=2))
    assert refusal(Contrastive, recipe=Recipe(batch_size=1)) == (
        "batch_size must be at least 2 for method contrastive, a pair; got 1"
    )


@pytest.mark.parametrize("of", [Full, Contrastive, Adapter])
@pytest.mark.parametrize("value", [{"epochs": 1}, None, "recipe", Svm()], ids=repr)
def test_a_recipe_is_a_recipe(of, value):
    with pytest.raises(ValueError, match=r"^recipe must be a Recipe; got "):
        of(recipe=value)


def test_the_trainer_cannot_pack():
    message = refusal(Recipe, padding="packed")
    assert message.startswith("padding 'packed' is not possible on engine 'trainer'")
    assert message.endswith("which takes dynamic, fixed, bucketed; one of these would do, or engine native")


def test_compiling_is_for_the_native_engine():
    assert Recipe(engine="native", compile=True).compile is True
    assert refusal(Recipe, compile=True) == (
        "compile is not possible on engine 'trainer'; got True; engine native would do"
    )


@pytest.mark.parametrize("value", [0, 1, 1.0, "yes", None], ids=repr)
def test_compile_is_true_or_false_and_nothing_that_equals_them(value):
    """1 equals True and is written differently, so that two equal recipes would have two ids."""
    assert refusal(Recipe, engine="native", compile=value) == f"compile must be True or False; got {value!r}"
