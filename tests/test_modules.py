"""Settings of an adapter name modules that are there: no patterns, and no names of nothing."""

import re

import odd_encoders as odd
import pytest
import small

from rtlab.encoders import load_encoder, target_modules
from rtlab.encoders.modules import check_frozen, frozen
from rtlab.preparing import prepare

ENDLESS = "(.*.*.*.*.*.*)*x"  # a pattern that PEFT would match for longer than anyone waits


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("modules") / "data")


def prepared(data, settings, **fields):
    return prepare(
        small.experiment(data, encoder="tiny-bert", method="lora", settings=settings, **fields), device="cpu"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ("pooler",)},
        {"exclude_modules": ("layer.0.attention.self.query",)},
        {"layers_to_transform": (1,), "layers_pattern": "layer"},
        {"layers_to_transform": 0},
        {"rank_pattern": {"query": 4}, "alpha_pattern": {"layer.1.attention.self.key": 16}},
    ],
)
def test_names_of_modules_are_taken(settings, data):
    from rtlab.engines.models import classifier

    asked = small.experiment(data, encoder="tiny-bert", method="lora", settings=settings)
    assert classifier(small.task(asked)).peft_config["default"].r == 8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modules_to_save": (ENDLESS,)}, "modules_to_save must name modules of encoder tiny-bert, no patterns"),
        ({"modules_to_save": ("nothing",)}, "modules_to_save must name modules .* got 'nothing'"),
        ({"modules_to_save": "pooler"}, "modules_to_save must be a list of module names"),
        ({"exclude_modules": ENDLESS}, "exclude_modules must be a list of module names"),
        ({"exclude_modules": ".*query"}, "exclude_modules must be a list of module names"),
        ({"exclude_modules": (1,)}, "exclude_modules must be a list of module names"),
        ({"layers_to_transform": (0,), "layers_pattern": ENDLESS}, "layers_pattern must name modules"),
        ({"layers_to_transform": (0,), "layers_pattern": (ENDLESS,)}, "layers_pattern must name modules"),
        (
            {"layers_to_transform": (0, 9)},
            r"layers_to_transform must be layers of encoder tiny-bert, 0 to 1; got \(0, 9",
        ),
        ({"layers_to_transform": "0"}, "layers_to_transform must be layers"),
        ({"rank_pattern": {ENDLESS: 4}}, "rank_pattern must name modules"),
        ({"alpha_pattern": {"quer": 4}}, "alpha_pattern must name modules .* got 'quer'"),
        ({"target_parameters": (ENDLESS,)}, "target_parameters must name modules"),
    ],
)
def test_patterns_and_names_of_nothing_are_refused(settings, said, data, monkeypatch):
    monkeypatch.setattr("peft.get_peft_model", lambda *_, **__: pytest.fail("PEFT was asked"))
    with pytest.raises(ValueError, match=said) as refusal:
        prepared(data, settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", [ENDLESS, ".*", "quer", "^query$", "all-linear"])
def test_target_modules_are_no_patterns(name):
    with pytest.raises(ValueError, match=rf"target_modules must be among .*; got {re.escape(name)}$"):
        target_modules(load_encoder("tiny-bert"), [name])


@pytest.mark.parametrize("kind", ["squeezebert", "gpt2"])
def test_an_encoder_without_linear_layers_takes_no_adapter(kind, tmp_path):
    with pytest.raises(ValueError, match=rf"target_modules must be linear layers; got query .* of type {kind}, which"):
        target_modules(load_encoder(str(odd.write(tmp_path / kind, kind))), ["query"])


# Frozen layers

NAMES = ("embeddings.word.weight", "encoder.layer.0.a.weight", "encoder.layer.1.a.weight", "pooler.weight")


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_first_layers_are_frozen_and_the_embeddings_before_them(layers):
    assert frozen(NAMES, layers) == (NAMES[: layers + 1] if layers else ())


@pytest.mark.parametrize("name", ["tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra"])
def test_every_architecture_has_embeddings_before_its_layers(name):
    names = [parameter for parameter, _ in load_encoder(name).base().named_parameters()]
    found = frozen(names, 1)
    assert {one for one in names if "embeddings" in one} | {one for one in names if ".layer.0." in one} == {*found}
    check_frozen(load_encoder(name), 2)


def test_no_more_layers_are_frozen_than_there_are():
    with pytest.raises(
        ValueError, match=r"^freeze_layers must be at most 1, the layers of encoder tiny-bert but one, "
    ):
        check_frozen(load_encoder("tiny-bert"), 2, head=False)
    with pytest.raises(ValueError, match=r"^freeze_layers must be at most 2, the layers of encoder tiny-bert; got 3$"):
        check_frozen(load_encoder("tiny-bert"), 3)


def test_layers_that_share_weights_are_not_frozen_one_by_one(tmp_path):
    encoder = load_encoder(str(odd.write(tmp_path / "it", "albert")))
    with pytest.raises(
        ValueError, match=r"^freeze_layers needs an encoder whose layers have weights of their own, .*albert"
    ):
        check_frozen(encoder, 1)
