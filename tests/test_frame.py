"""Records as a pandas table: a row a run, every field of an experiment a column."""

import dataclasses
from typing import get_args

import pandas as pd
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_records import FULL, LORA, SVM, lost, made

import rtlab
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Method
from rtlab.recipe import Recipe
from rtlab.reporting.frame import COLUMNS, SETUP, frame
from rtlab.reporting.groups import groups


def test_it_is_rtlabs_frame():
    assert rtlab.frame is frame


def test_a_row_says_what_a_run_was_and_came_to():
    record = made(LORA, 0.87, 0.84, 60.0, 0.3, 0.2, seed=7, warmup_s=2.0, others=0.01)
    [row] = frame([record]).to_dict("records")
    said = {
        "id": record.id,
        "status": "ok",
        "method": "lora",
        "engine": "trainer",
        "padding": "dynamic",
        "learning_rate": 2e-5,
        "epochs": 5,
        "target_modules": "attention",
        "r": 8,
        "seed": 7,
        "test_accuracy": record.scores["test"].accuracy,
        "validation_f1": record.scores["validation"].f1,
        "test_macro_f1": record.scores["test"].macro_f1,
        "train_loss": 0.3,
        "seconds": 62.0,
        "train_s": 60.0,
        "samples_per_s": record.timing.samples_per_s,
        "parameters_trained": 294_912 + 592_130,
        "peak_host": 2**30,
        "others": 0.01,
        "undisturbed": True,
        "testbed": "NVIDIA GeForce RTX 4060 Ti",
        "torch": "2.13.0",
        "created_at": record.created_at,
    }
    assert {name: row[name] for name in said} == said


def test_what_a_run_does_not_have_is_missing():
    table = frame([made(SVM), lost()])
    assert table.loc[0, ["engine", "epochs", "max_steps", "peft_type", "r", "steps", "error"]].isna().all()
    assert table.loc[1, ["test_accuracy", "seconds", "train_s", "samples", "peak_host"]].isna().all()
    assert table["error"][1] == "RuntimeError: no"
    assert table["epochs"].dtype == "Int64"


def test_every_field_of_an_experiment_is_a_column():
    """One that is added later and not told here would put runs that differ in it into one row of a table."""
    fields = {field.name for of in (Experiment, Recipe, *get_args(Method)) for field in dataclasses.fields(of)}
    assert fields - {"recipe", "encoder", "dataset", "dataset_options", "seed"} <= set(SETUP)  # contents count
    assert set(SETUP) <= set(COLUMNS)


def test_other_settings_of_an_adapter_are_json():
    other = Experiment(method=Adapter(peft_type="IA3", settings={"init_ia3_weights": True, "modules": ["a"]}))
    [row] = frame([made(other)]).to_dict("records")
    assert (row["method"], row["settings"]) == ("ia3", '{"init_ia3_weights": true, "modules": ["a"]}')


def test_no_records_are_a_table_of_the_same_columns():
    assert list(frame([]).columns) == list(frame([made()]).columns)
    assert len(frame([])) == 0


@settings(max_examples=25)  # pandas takes its time
@given(st.lists(strategies.run_records(), max_size=3))
def test_any_records_are_a_table(records):
    table = frame(records)
    assert table["id"].tolist() == [record.id for record in records]
    assert sum(len(group.scored) for group in groups(records)) == len({r.id for r in records if r.status == "ok"})


def test_the_command_writes_it_as_csv(rtlab, tmp_path):
    from rtlab.records import save

    for record in (made(FULL), made(LORA), lost(SVM)):
        save(record, tmp_path / "results" / "records")
    done = rtlab("tables", "--csv", "runs.csv")
    assert (done.status, done.out) == (0, "runs.csv written, 3 rows\n")
    table = pd.read_csv(tmp_path / "runs.csv")
    assert sorted(table["method"]) == ["full", "lora", "svm"]
    assert table["test_accuracy"].count() == 2


@pytest.mark.parametrize("line", ["import rtlab", "from rtlab.cli import main; main(['--help'])"])
def test_pandas_is_not_loaded_at_the_start(run_python, line):
    done = run_python(f"import sys; {line}; print({{'pandas', 'torch'}} & {{*sys.modules}})")
    assert done.stdout.endswith("set()\n")
