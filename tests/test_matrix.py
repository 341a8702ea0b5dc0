"""Studies as values: what they are made of, their file, and what stands in place of their own."""

import json
from collections import Counter

import pytest
import small
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.experiment import DatasetOptions, Experiment
from rtlab.matrix import Case, Matrix, Values, load
from rtlab.methods import Adapter, Full, Svm, Words
from rtlab.recipe import Recipe
from rtlab.studies import matrix, study


def values(*methods, **changes):
    fields = {"encoders": ("minilm",), "datasets": ("corpus",), **changes}
    return Values(methods=methods, **fields)


def made(*methods, usual="native", **changes):
    """The experiments of the first seed."""
    return [case.experiment for case in values(*methods, **changes).matrix(lambda _: usual).cases]


# Its file


@given(st.lists(st.builds(Case, experiment=strategies.experiments(), seeds=st.integers(1, 5)), min_size=1, max_size=3))
def test_json_gives_the_same_study_back(cases):
    study = Matrix(cases=tuple(cases))
    assert Matrix.from_json(json.loads(json.dumps(study.to_json()))) == study


@pytest.mark.parametrize("name", ["smoke", "labels", "evidence"])
def test_a_named_study_comes_back_out_of_its_file(tmp_path, name):
    matrix(name).save(tmp_path / "new" / "mine.json")
    assert load(tmp_path / "new" / "mine.json") == matrix(name)
    assert study(str(tmp_path / "new" / "mine.json")) == study(name)


GOOD = {"schema": 1, "cases": [{"experiment": {"method": {"kind": "words"}}, "seeds": 3}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expecting value"),
        ("[]", "study must be an object with fields; got []"),
        ("{}", "study lacks the field cases"),
        (json.dumps(GOOD | {"cases": []}), "cases must hold at least one experiment; got none"),
        (json.dumps(GOOD | {"schema": 2}), "schema must be 1; got 2"),
        (
            json.dumps({"cases": [{"experiment": {}, "seeds": 10**9}, {"experiment": {}}]}),
            "cases must come to at most 100,000 runs, with fewer seeds; got 1,000,000,001",
        ),
        (json.dumps(GOOD | {"more": 1}), "study has no field more; its fields are cases, schema"),
        (json.dumps({"cases": [{"seeds": 1}]}), "study.cases lacks the field experiment"),
        (json.dumps({"cases": [{"experiment": {}, "seeds": 0}]}), "seeds must be a whole number of at least 1; got 0"),
        (json.dumps({"cases": [{"experiment": {"sed": 1}}]}), "study.cases.experiment has no field sed; its fields"),
        (json.dumps({"cases": [{"experiment": {"method": {"kind": "wrds"}}}]}), "study.cases.experiment.method.kind"),
        ("[" * 100_000, "recursion"),
        (" " * (2**24 + 1), "it has more than 16,777,216 bytes"),
        (b"\xff", "utf-8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_study_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="study must be a file that --save-study wrote; got") as error:
        load(path)
    assert message in str(error.value)


def test_a_field_that_is_not_there_has_its_default(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"cases": [{"experiment": {"method": {"kind": "words"}}}]}))
    assert load(path) == small.matrix(Experiment(method=Words()))


def test_a_folder_is_no_study(tmp_path):
    with pytest.raises(ValueError, match="Is a directory"):
        load(tmp_path)


# What it runs


def test_cases_alternate_and_count_their_seeds_from_their_own():
    first, second = Experiment(method=Words(), seed=3), Experiment(method=Svm())
    found = Matrix(cases=(Case(experiment=first, seeds=2), Case(experiment=second))).experiments
    assert [(type(one.method), one.seed) for one in found] == [(Words, 3), (Svm, 42), (Words, 4)]


def test_what_is_given_stands_in_place_of_its_own():
    options = DatasetOptions(text_column="text")
    lab = matrix("labels").changed(
        encoder="tiny-bert", dataset="mine", options=options, engine="native", seeds=2, epochs=1, train_sentences=20
    )
    assert {case.seeds for case in lab.cases} == {2}
    assert {(one.encoder, one.dataset, one.dataset_options, one.train_sentences) for one in lab.experiments} == {
        (encoder, "mine", options, 20) for encoder in ("tiny-bert", None)
    }
    assert {one.method.recipe.epochs for one in lab.experiments if one.method.recipe} == {1}
    assert len(lab.experiments) == 2 * 6  # what is now the same is run once
    assert lab.changed().experiments == lab.experiments


def test_arithmetic_is_changed_where_there_is_an_encoder():
    lab = matrix("labels").changed(precision="bf16")
    assert {(one.encoder is None, one.precision) for one in lab.experiments} == {(False, "bf16"), (True, "fp32")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_sentences": 0}, "train_sentences must be a whole number of at least 1; got 0"),
        ({"limit": 100}, "train_sentences must be at most the limit, 100 sentences a split"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1; got 0"),
    ],
)
def test_values_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        matrix("labels").changed(**changes)


def test_an_engine_that_a_study_has_no_cases_of_is_refused():
    with pytest.raises(ValueError, match="engine must be one that the study has cases of; got trainer"):
        study("evidence", part=2, engine="trainer")


# Made of values


def test_what_means_nothing_to_a_method_is_not_multiplied():
    found = made(
        *("words", "svm", "lora", "full"),
        learning_rates=(2e-5, 1e-3),
        paddings=("packed", "fixed"),
        target_modules=(("attention",), ("query", "value")),
        epochs=(1, 2),
    )
    assert Counter(one.method.name for one in found) == {"words": 1, "svm": 1, "full": 8, "lora": 16}
    assert len(set(found)) == len(found)
    assert {one.method.target_modules for one in found if isinstance(one.method, Adapter)} == {
        ("attention",),
        ("query", "value"),
    }
    encoders = made("words", "svm", encoders=("minilm", "tiny-bert"), datasets=("corpus", "mine"))
    assert Counter((one.method.name, one.dataset) for one in encoders) == {
        ("words", "corpus"): 1,
        ("words", "mine"): 1,
        ("svm", "corpus"): 2,
        ("svm", "mine"): 2,
    }


def test_each_engine_takes_the_paddings_that_it_can():
    assert [one.method.recipe for one in made("full")] == [Recipe(engine="native")]
    assert [one.method.recipe for one in made("full", usual="trainer")] == [Recipe()]
    both = made("full", engines=("trainer", "native"), paddings=("packed", "dynamic"))
    assert [(one.engine, one.method.recipe.padding) for one in both] == [
        ("trainer", "dynamic"),
        ("native", "packed"),
        ("native", "dynamic"),
    ]


def test_seeds_are_of_methods_with_chance():
    def seeds(**changes):
        return [case.seeds for case in values("words", "full", seeds=3, **changes).matrix(lambda _: "native").cases]

    assert seeds() == [1, 3]
    assert seeds(train_sentences=(10, None)) == [3, 3, 1, 3]


@pytest.mark.parametrize(
    ("methods", "changes", "message"),
    [
        (("wrds",), {}, "methods must be of words, svm, full, lora, contrastive, separated by commas; got 'wrds'"),
        (("words", "svm"), {"learning_rates": (1e-3,)}, "learning_rate means nothing to words, svm; beside it full or"),
        (("words",), {"encoders": ("minilm", "a")}, "encoder means nothing to words; beside it svm or full or lora"),
        (("full",), {"target_modules": (("query",),)}, "target_modules means nothing to full; beside it lora would do"),
        (("svm",), {"epochs": (1,)}, "epochs means nothing to svm"),
        (("svm",), {"engines": ("native",)}, "engine means nothing to svm"),
        (("svm",), {"paddings": ("fixed",)}, "padding means nothing to svm"),
        (("full",), {"engines": ("trainer",), "paddings": ("packed",)}, "padding 'packed' is not possible on engine"),
        (("full",), {"learning_rates": (0.0,)}, "learning_rate must be finite and above 0"),
        (("words",), {"seeds": 0}, "seeds must be a whole number of at least 1; got 0"),
    ],
)
def test_what_cannot_be_made(methods, changes, message):
    with pytest.raises(ValueError, match=message):
        made(*methods, **changes)


def test_one_encoder_may_stand_beside_words_alone():
    assert made("words") == [Experiment(dataset="corpus", method=Words())]
    assert made("full") == [Experiment(encoder="minilm", dataset="corpus", method=Full(recipe=Recipe(engine="native")))]
