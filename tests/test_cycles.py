"""The search for cycles is put off while a model is loaded and at a process's end, and goes on after it."""

import gc

import pytest
import small

from rtlab.cycles import not_sought
from rtlab.running import model_folder, run
from rtlab.saved_models import opening
from rtlab.saved_models.opening import load_model


def test_within_the_block_nothing_is_sought_and_after_it_as_before():
    assert gc.isenabled()
    with not_sought():
        assert not gc.isenabled()
        with not_sought():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_after_an_error_it_is_as_before():
    with pytest.raises(ValueError, match="no"), not_sought():
        raise ValueError("no")
    assert gc.isenabled()


def test_where_somebody_has_turned_it_off_it_stays_so():
    gc.disable()
    try:
        with not_sought():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_model_is_loaded_without_it_and_a_refused_one_leaves_it_on(tmp_path, monkeypatch):
    record = run(small.experiment(small.data_folder(tmp_path / "data"), "svm"), output_dir=tmp_path, save_model=True)
    seen, whole = [], opening.load_encoder
    monkeypatch.setattr(opening, "load_encoder", lambda name: seen.append(gc.isenabled()) or whole(name))
    load_model(model_folder(tmp_path, record), device="cpu")
    assert seen == [False]
    assert gc.isenabled()
    with pytest.raises(ValueError, match="model must be a directory"):
        load_model(tmp_path / "nothing")
    assert gc.isenabled()


def test_at_the_end_of_a_process_it_has_nothing_to_look_through(run_python):
    code = (
        "import gc, sys; from rtlab.__main__ import main; sys.argv = ['rtlab', '--version']; "
        "assert main() == 0; print(gc.get_freeze_count() > 0, len(gc.get_objects()) < 1000)"
    )
    done = run_python(code)
    assert done.stdout.splitlines()[-1] == "True True", done.stderr
