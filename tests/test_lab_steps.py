"""The original lab's command lines, as ours."""

import pytest

from rtlab import cli
from rtlab.cli.lab_steps import STEPS, USED, translate
from rtlab.experiment import DEFAULT_ENCODER

REFERENCE = ["--engine", "trainer"]  # the lab trained with Hugging Face's Trainer
AS_THE_LAB = {"e11": ["--encoder", DEFAULT_ENCODER], "e23": REFERENCE, "e31": REFERENCE}
VERBS = {step: [verb, *AS_THE_LAB.get(step, [])] for step, verb in STEPS.items()}
# Each option of the lab: how it was given, and what it becomes.
OPTIONS = {
    "sample_text": (["a film", "-- a well-made one = good"], ["--sample_text", "a film", "-- a well-made one = good"]),
    "lr": (["2e-5"], ["--lr", "2e-5"]),
    "epochs": (["5"], ["--epochs", "5"]),
    "batch_size": (["16"], ["--batch_size", "16"]),
    "use_fixed_padding": ([], ["--padding", "fixed"]),
    "lora_alpha": (["32"], ["--lora_alpha", "32"]),
    "lora_rank": (["8"], ["--lora_rank", "8"]),
    "target_modules": (["q_lin,k_lin", "v_lin"], ["--target_modules", "q_lin,k_lin", "v_lin"]),
    "output_dir": (["some-where"], ["--output_dir", "some-where"]),
    "use_wandb": ([], ["--use_wandb"]),
    "run_name": (["my-run"], ["--run_name", "my-run"]),
}


def test_the_steps_are_the_labs():
    assert STEPS == {
        "e11": "explore",
        "e12": "probe",
        "e13": "svm",
        "e21": "tokenize",
        "e23": "finetune",
        "e31": "lora",
    }
    assert set(USED) == set(STEPS)
    assert {name for names in USED.values() for name in names} == set(OPTIONS)


@pytest.mark.parametrize("write", [str, lambda name: name.replace("_", "-")], ids=["underscores", "hyphens"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("step", STEPS)
def test_an_option_is_taken_where_its_step_uses_it_and_else_noted(step, name, write):
    words, ours = OPTIONS[name]
    translated, notes = translate(["--step", step, write(f"--{name}").replace("__", "--", 1), *words])
    if name in USED[step]:
        assert translated == [*VERBS[step], *ours]
        assert notes == []
    else:
        assert translated == VERBS[step]
        assert notes == [f"--{name} was left out: step {step} ({STEPS[step]}) does not use it"]


@pytest.mark.parametrize("arguments", [["--step=e23", "--lr=2e-5"], ["--lr", "2e-5", "--step", "e23"]])
def test_the_step_stands_anywhere_and_values_may_follow_an_equals_sign(arguments):
    assert translate(arguments) == (["finetune", *REFERENCE, "--lr", "2e-5"], [])


def test_values_keep_their_hyphens_behind_an_equals_sign():
    translated, _ = translate(["--step=e12", "--sample-text=a well-made film = good"])
    assert translated == ["probe", "--sample_text", "a well-made film = good"]
    assert translate(["--step=e23", "--output-dir=my-runs/one"])[0] == [
        *("finetune", *REFERENCE, "--output_dir", "my-runs/one")
    ]


def test_options_of_ours_pass_through_in_their_order():
    ours = ["--encoder", "minilm", "--json", "-", "--max-steps=3", "--dataset", "my-data", "--debug"]
    translated, notes = translate(["--step", "e23", *ours[:4], "--epochs", "1", *ours[4:]])
    assert translated == ["finetune", *REFERENCE, "--epochs", "1", *ours[:4], "--max_steps=3", *ours[5:]]
    assert notes == []


def test_help_and_shortened_options_are_left_to_our_own_parser():
    assert translate(["--step", "e31", "--help"]) == (["lora", *REFERENCE, "--help"], [])
    assert translate(["--step", "e31", "-h"]) == (["lora", *REFERENCE, "-h"], [])
    assert translate(["--step", "e31", "--epoch", "3", "--sample", "x"]) == (
        ["lora", *REFERENCE, "--epoch", "3", "--sample", "x"],
        [],
    )


def test_all_options_at_once_and_a_note_for_each_that_is_unused():
    given = [word for name, (words, _) in OPTIONS.items() for word in (f"--{name}", *words)]
    translated, notes = translate(["--step", "e13", *given])
    assert translated == ["svm", "--output_dir", "some-where", "--run_name", "my-run", "--use_wandb"]
    assert sorted(note.split()[0] for note in notes) == sorted(f"--{name}" for name in set(OPTIONS) - set(USED["e13"]))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["svm", "--output-dir", "a-b", "--encoder=minilm"],
        ["predict", "-- a well-made film", "--model", "x"],
        ["probe", "--sample-text", "one small --step for a film"],
        ["lora", "--target-modules", "q_lin,v_lin", "--stepwise"],
    ],
    ids=" ".join,
)
def test_our_own_command_lines_are_left_alone(arguments):
    assert translate(arguments) == (arguments, [])
    assert translate(tuple(arguments)) == (arguments, [])


@pytest.mark.parametrize("arguments", [["--step", "e99"], ["--step"], ["--step=e23", "--lr"]], ids=" ".join)
def test_a_wrong_line_of_the_labs_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        translate(arguments)
    assert stop.value.code == 2
    assert "\nrtlab: error: argument --" in capsys.readouterr().err


@pytest.fixture
def parsed(monkeypatch):
    """What the command line understands of words, without running it."""

    def parse(*arguments):
        verbs = []
        monkeypatch.setattr(cli, "_done", lambda verb: verbs.append(verb) or 0)
        assert cli.main(arguments) == 0
        return verbs[0]

    return parse


def test_the_labs_options_reach_the_fields_that_they_name(parsed):
    verb = parsed(
        *("--step", "e31", "--lr", "1e-3", "--epochs", "3", "--batch_size", "8", "--use_fixed_padding"),
        *("--lora_alpha", "16", "--lora_rank", "4", "--target_modules", "q_lin,k_lin", "v_lin"),
        *("--output_dir", "out", "--use_wandb", "--run_name", "mine", "--limit", "20"),
    )
    assert isinstance(verb, cli.Lora)
    training, adapter, leaving = verb.training, verb.adapter, verb.running.leaving
    assert (training.learning_rate, training.epochs, training.batch_size, training.padding) == (1e-3, 3, 8, "fixed")
    assert (adapter.alpha, adapter.rank, adapter.target_modules) == (16, 4, ("q_lin,k_lin", "v_lin"))
    assert (str(leaving.output_dir), leaving.use_wandb, leaving.run_name) == ("out", True, "mine")
    assert verb.data.sentences.limit == 20


@pytest.mark.parametrize("step", ["e23", "e31"])
def test_the_labs_training_is_the_references_unless_an_engine_is_named(parsed, step):
    assert parsed("--step", step).training.engine == "trainer"
    assert parsed(STEPS[step]).training.engine is None
    assert parsed("--step", step, "--engine", "native").training.engine == "native"
    assert parsed("--engine", "native", "--step", step).training.engine == "native"


def test_the_lab_explores_with_an_encoder(parsed):
    assert parsed("--step", "e11").encoder == DEFAULT_ENCODER
    assert parsed("explore").encoder is None
    for given in (("--step", "e11", "--encoder", "minilm"), ("--encoder=minilm", "--step", "e11")):
        assert parsed(*given).encoder == "minilm"


def test_the_labs_tokenize_and_probe_reach_theirs(parsed):
    tokenize = parsed("--step", "e21", "--use-fixed-padding", "--batch-size", "4")
    assert (tokenize.padding, tokenize.batch_size) == ("fixed", 4)
    probe = parsed("--step", "e12", "--sample_text", "a well-made film", "-- a well-made film")
    assert probe.sample_text == ("a well-made film", "-- a well-made film")
