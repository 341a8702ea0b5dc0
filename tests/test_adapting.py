"""Options of lora and adapt become PEFT's settings by PEFT's names; a default moves no id, and an error is one line."""

import json
import re

import pytest
import small

from rtlab import running
from rtlab.cli import adapting
from rtlab.engines.adapters import NO_SETTINGS, known_kinds
from rtlab.methods import Adapter
from rtlab.preparing import prepare
from rtlab.recipe import Recipe
from rtlab.records import load
from rtlab.reporting.wording import setup


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("adapting") / "reviews")


@pytest.fixture
def asked(rtlab, data, monkeypatch):
    """The experiment that a command line comes to, not run."""
    made = []

    def instead_of_a_run(experiment, **_):
        made.append(experiment)
        raise ValueError("not run")

    monkeypatch.setattr(running, "Run", instead_of_a_run)

    def ask(line, *more, encoder="tiny-distilbert"):
        done = rtlab(*line.split(), *more, "--encoder", encoder, "--dataset", data)
        assert (done.status, done.err.splitlines()[-1]) == (2, "rtlab: not run")
        return made.pop()

    return ask


@pytest.fixture
def refused(rtlab, data, tmp_path):
    """The one line that a wrong request is answered with, once nothing else has come of it."""

    def call(line, *more):
        before = sorted(tmp_path.rglob("*"))
        done = rtlab(*line.split(), *more, "--encoder", "tiny-distilbert", "--dataset", data)
        assert (done.status, done.out) == (2, "")
        assert sorted(tmp_path.rglob("*")) == before
        [said] = done.err.splitlines()
        return said.removeprefix("rtlab: ")

    return call


# LoRA


LORA = {
    "--use-dora": {"use_dora": True},
    "--use-rslora": {"use_rslora": True},
    "--init-lora-weights pissa": {"init_lora_weights": "pissa"},
    "--init-lora-weights False": {"init_lora_weights": False},
    "--lora-dropout 0": {"lora_dropout": 0.0},
    "--layers-to-transform 1,0 1": {"layers_to_transform": (0, 1)},
    "--modules-to-save lin2 lin1,lin2": {"modules_to_save": ("lin1", "lin2")},
    "--bias lora_only": {"bias": "lora_only"},
}
DEFAULTS = (
    "--modules-to-save classifier",
    "--init-lora-weights true",
    "--bias none",
    "--lora-dropout 0.1",
    "--rank 8 --alpha 32",
)


@pytest.mark.parametrize("line", LORA)
def test_an_option_of_lora_is_a_setting_of_pefts_and_moves_the_id(line, asked):
    usual, other = asked("lora"), asked(f"lora {line}")
    assert other.method.settings == {**usual.method.settings, **LORA[line]}
    ids = [prepare(one, device="cpu").id for one in (usual, other)]
    assert ids[0] != ids[1]
    assert setup(other) != setup(usual)


@pytest.mark.parametrize("line", DEFAULTS)
def test_a_default_of_lora_is_none(line, asked):
    assert asked(f"lora {line}") == asked("lora")


def test_settings_are_named_in_words(asked):
    line = "lora --use-dora --layers-to-transform 0,1 --modules-to-save lin1"
    assert "layers to transform 0 1, modules to save lin1, use dora True" in setup(asked(line))


LORA_REFUSED = {
    "--layers-to-transform x": "must be numbers of layers, such as 0,1; got x",
    "--layers-to-transform": "must be numbers of layers, such as 0,1; got none",
    "--layers-to-transform -1": "must be numbers of layers, such as 0,1; got -1",
    "--layers-to-transform 2": "must be layers of encoder tiny-distilbert, 0 to 1; got (2,)",
    "--modules-to-save": "must name at least one module of the encoder; got none",
    "--modules-to-save nope": "must name modules of encoder tiny-distilbert, no patterns; got 'nope', which is none of "
    "it; q_lin, k_lin, v_lin are some",
    "--init-lora-weights eva": "must be a start that weights alone give; got eva: it needs data or gradients before "
    "the first step, which no engine gives it; true, gaussian, orthogonal, olora or pissa would do",
}


@pytest.mark.parametrize("line", LORA_REFUSED)
def test_what_cannot_work_with_lora(line, refused):
    assert refused(f"lora {line}") == f"{line.split()[0]} {LORA_REFUSED[line]}"


def test_a_start_that_peft_does_not_know(refused):
    said = refused("lora --init-lora-weights nope")
    assert "Unknown initialization init_lora_weights='nope'" in said


# Any kind


def adapter(**fields):
    return Adapter(recipe=Recipe(engine="native"), **fields)


ADAPT = {
    "--peft-type loha": {"peft_type": "LOHA"},
    "--peft-type LOHA --set r=4 alpha=16": {"peft_type": "LOHA", "settings": {"r": 4, "alpha": 16}},
    "--peft-type LOHA --set r=4 --set alpha=16": {"peft_type": "LOHA", "settings": {"r": 4, "alpha": 16}},
    "--peft-type LOHA --set r=8": {"peft_type": "LOHA"},  # PEFT's default
    "--peft-type LOKR --set init_weights=lycoris": {"peft_type": "LOKR", "settings": {"init_weights": "lycoris"}},
    '--peft-type HRA --set modules_to_save=["lin1","classifier"]': {
        "peft_type": "HRA",
        "settings": {"modules_to_save": ("lin1",)},
    },
    '--peft-type HRA --set modules_to_save=["pre_classifier"]': {"peft_type": "HRA"},
    "--peft-type OFT --target-modules q_lin,v_lin": {"peft_type": "OFT", "target_modules": ("q_lin", "v_lin")},
    "--peft-type IA3": {
        "peft_type": "IA3",
        "target_modules": ("attention", "lin2"),
        "settings": {"feedforward_modules": ("lin2",)},
    },
    "--peft-type IA3 --target-modules q_lin": {"peft_type": "IA3", "target_modules": ("q_lin",)},
    "--peft-type LN_TUNING": {"peft_type": "LN_TUNING", "target_modules": ("norms",)},
    "--peft-type LORA --set lora_alpha=8": {"settings": {"lora_alpha": 8}},  # PEFT's default, and not the one here
    "--peft-type LORA": {},
}


@pytest.mark.parametrize("line", ADAPT)
def test_pefts_configuration_is_an_adapter(line, asked):
    assert asked(f"adapt {line}").method == adapter(**ADAPT[line])


def test_what_peft_names_for_an_architecture_is_adapted(asked):
    assert asked("adapt --peft-type HRA", encoder="tiny-bert").method.target_modules == ("query", "value")


def written(folder, **fields):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(fields))
    return file


def test_a_file_is_taken_and_set_stands_over_it(asked, tmp_path):
    file = written(tmp_path, peft_type="LOHA", r=4, alpha=16, target_modules=["v_lin", "q_lin"], task_type=None)
    line = f"adapt --peft-config {file}"
    modules = ("q_lin", "v_lin")
    whole = adapter(peft_type="LOHA", target_modules=modules, settings={"r": 4, "alpha": 16})
    assert asked(line).method == whole
    assert asked(f"{line} --peft-type LOHA --target-modules q_lin,v_lin").method == whole
    assert asked(f"{line} --set r=2").method.settings == {"r": 2, "alpha": 16}


@pytest.mark.parametrize("kind", ["LOHA", "LORA", "IA3", "LN_TUNING"])
def test_a_configuration_that_peft_saved_is_the_one_it_was_saved_of(kind, asked, tmp_path):
    """With all of its defaults, names of heads, and what the run decided."""
    from rtlab.engines.adapters import adapter_config

    first = asked(f"adapt --peft-type {kind}")
    prepared = prepare(first, device="cpu")
    config = adapter_config(first.method, prepared.target_modules, "distilbert")
    config.modules_to_save = ["classifier", "score", "pre_classifier"]
    config.base_model_name_or_path, config.inference_mode = "somewhere", True
    config.save_pretrained(tmp_path)
    second = asked(f"adapt --peft-config {tmp_path / 'adapter_config.json'}")
    assert prepare(second, device="cpu").id == prepared.id


def test_every_kinds_defaults_are_no_settings():
    for kind, of in known_kinds().items():
        usual = of().to_dict()
        known = {
            name: value for name, value in usual.items() if name in of.__dataclass_fields__ and name not in NO_SETTINGS
        }
        left = adapting._unusual(kind, json.loads(json.dumps(known, default=list)))
        assert set(left) == ({"r", "lora_alpha", "lora_dropout"} if kind == "LORA" else set())


REFUSED = {
    "": "peft_type must be PEFT's name of a kind of adapter; got none; IA3 or LOHA would do",
    "--peft-type LOHAA": "--peft-type must be one of PEFT's adapters, .*; got 'LOHAA'; LOHA would do",
    "--peft-type PREFIX_TUNING": "--peft-type must be a kind that can be trained here; got PREFIX_TUNING: it adds",
    "--peft-type ADALORA --engine trainer": "--peft-type must be .* got ADALORA: it gives out ranks anew by a call",
    "--peft-type LOHA --set alhpa=3": "--set must be fields of PEFT's LOHA adapters; got 'alhpa'; alpha would do",
    "--peft-type LOHA --set r": "--set must be given as NAME=VALUE, such as r=4; got 'r'",
    "--peft-type LOHA --set =3": "--set must be given as NAME=VALUE",
    "--peft-type LOHA --set r=4 --set r=5": "--set must name each setting once; got r twice",
    "--peft-type LOHA --set rank_dropout=NaN": "--set must hold finite numbers",
    f"--peft-type LOHA --set rank_pattern={'[' * 30}{']' * 30}": r"--set \(rank_pattern\) must have at most 20 lists",
    "--peft-type LOHA --set task_type=CAUSAL_LM": "--set must not hold task_type, which the run decides",
    '--peft-type LOHA --set target_modules=["q_lin"]': "--set must not hold target_modules; the field target_modules",
    "--peft-type LOHA --set r=0": "--set of a LOHA adapter must suit encoder tiny-distilbert .* `r` should be",
    "--peft-type LOHA --set r=many": "--set must be of PEFT's types; got 'many' for r; a number would do$",
    "--peft-type LOHA --set r=true": "--set must be of PEFT's types; got True for r; a number would do$",
    "--peft-type LORA --set use_dora=False": "--set must be of PEFT's types; got 'False' for use_dora; true",
    "--peft-type BOFT --set boft_block_size=7": "--set of a BOFT adapter must suit encoder tiny-distilbert",
    '--peft-type IA3 --set feedforward_modules=["lin1"]': "--set of a IA3 adapter are refused by PEFT: .*subset",
    "--peft-type LOHA --target-modules nope": "--target-modules must be among q_lin, .*; got nope",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_work(line, refused):
    assert re.match(REFUSED[line], refused(f"adapt {line}"))


LOHA_FILE = {"peft_type": "LOHA", "target_modules": ["q_lin"]}
FILES = {
    "another kind": (json.dumps(LOHA_FILE), "--peft-type IA3", "--peft-type must be that of .* got IA3, and LOHA$"),
    "other modules": (
        json.dumps(LOHA_FILE),
        "--target-modules v_lin",
        "--target-modules must be those of .* be left out; got v_lin, and q_lin$",
    ),
    "a pattern": (
        json.dumps(LOHA_FILE | {"target_modules": ".*"}),
        "",
        "target_modules must be a list of module names",
    ),
    "no module": (json.dumps(LOHA_FILE | {"target_modules": []}), "", "target_modules must be a list of module names"),
    "a kind that is no text": ('{"peft_type": 3}', "", "peft_type must be that of .* got None, and 3$"),
    "another task": (
        json.dumps(LOHA_FILE | {"task_type": "CAUSAL_LM"}),
        "",
        "--peft-config must be of task_type SEQ_CLS, or of none; got 'CAUSAL_LM'$",
    ),
    "no setting": (
        json.dumps(LOHA_FILE | {"rr": 1}),
        "",
        "--peft-config must be fields of PEFT's LOHA adapters; got 'rr'",
    ),
    "twice": ('{"r": 1, "r": 2}', "", "--peft-config must be a file of JSON, .*: it has r twice$"),
    "cut off": ("{", "", "--peft-config must be a file of JSON, as PEFT's adapter_config.json; got "),
    "deep": ("[" * 100_000, "", "--peft-config must be a file of JSON"),
    "a list": ("[]", "", r"--peft-config must be an object with PEFT's settings; got \[\]$"),
    "no text": (b"\xff\xfe\x00", "", "--peft-config must be a file of JSON"),
    "none": (None, "", "--peft-config must be a file of JSON, .*: No such file or directory$"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_taken(case, refused, tmp_path):
    contents, line, said = FILES[case]
    if contents is not None:
        (tmp_path / "c.json").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    assert re.match(said, refused(f"adapt --peft-config c.json {line}"))


def test_a_folder_in_place_of_a_file(refused, tmp_path):
    assert "Is a directory" in refused(f"adapt --peft-config {tmp_path}")


# End to end


@pytest.mark.parametrize("kind", ["IA3", pytest.param("LN_TUNING", marks=pytest.mark.thorough)])
def test_what_adapt_trained_is_predicted_evaluated_and_merged(kind, rtlab, data, tmp_path):
    common = ("--encoder", "tiny-distilbert", "--dataset", data, "--device", "cpu")
    done = rtlab("adapt", "--peft-type", kind, *common, "--epochs", "1", "--lr", "1e-2", "--max-steps", "2")
    assert done.status == 0, done.err
    assert done.err.count("rtlab:") == 0
    [file] = (tmp_path / "results" / "records").glob("*.json")
    record = load(file)
    assert (record.experiment.method.engine, record.experiment.method.peft_type) == ("native", kind)
    model = f"results/models/{kind.lower()}-{record.id}"
    test = record.scores["test"]
    evaluated = rtlab("evaluate", "--model", model, "--dataset", data, "--device", "cpu", "--json", "-")
    assert json.loads(evaluated.out)["accuracy"]["value"] == pytest.approx(test.accuracy)
    assert rtlab("merge", "--model", model, "--output-dir", "merged", "--device", "cpu").status == 0
    said = [rtlab("predict", "fine", "--model", one, "--json", "-").out for one in (model, "merged")]
    assert json.loads(said[0])[0]["label"] == json.loads(said[1])[0]["label"]
