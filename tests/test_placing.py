"""A folder in the place of another one: the former or the new one, whole, and nothing beside it."""

import errno

import pytest

from rtlab.saved_models import placing
from rtlab.saved_models.placing import replacing_folder


@pytest.fixture(params=["exchanged", "in turns"])
def both_ways(request, monkeypatch):
    if request.param == "in turns":
        monkeypatch.setattr(placing, "_exchange", lambda *_: False)


def filled(folder, name):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(name)
    (folder / "within").mkdir()
    return folder


def fail(error):
    raise error


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there", ["missing", "empty", "another"])
def test_a_folder_gets_its_place(tmp_path, both_ways, there):
    place = tmp_path / "deep" / "place"
    if there != "missing":
        place.mkdir(parents=True)
    if there == "another":
        filled(place, "old")
    with replacing_folder(place) as part:
        filled(part, "new")
        if there == "another":
            assert contents(place) == ["old", "within"]
    assert contents(place) == ["new", "within"]
    assert contents(place.parent) == ["place"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_an_error_leaves_the_former(tmp_path, both_ways, error):
    place = filled(tmp_path / "place", "old")
    with pytest.raises(type(error)), replacing_folder(place) as part:
        filled(part, "new").joinpath("new").write_text(fail(error))
    assert (contents(place), contents(tmp_path)) == (["old", "within"], ["place"])


def test_where_the_second_turn_fails_the_former_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "_exchange", lambda *_: False)
    place = filled(tmp_path / "place", "old")
    with pytest.raises(OSError, match="No such file"), replacing_folder(place) as part:
        filled(part, "new").rename(tmp_path / "gone")
    assert contents(place) == ["old", "within"]
    assert contents(tmp_path) == ["gone", "place"]


def test_an_exchange_that_fails_is_an_error_that_names_the_place(tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"No such file or directory.*there") as failed:
        placing._exchange(tmp_path / "here", tmp_path / "there")
    assert failed.value.errno == errno.ENOENT


def test_a_system_that_cannot_exchange_says_so(tmp_path, monkeypatch):
    one, other = filled(tmp_path / "one", "one"), filled(tmp_path / "other", "other")
    monkeypatch.setattr(placing, "_EXCHANGE", 2**20)  # a flag that no Linux knows: EINVAL
    assert placing._exchange(one, other) is False
    monkeypatch.setattr(placing.ctypes, "CDLL", lambda *_, **__: object())
    assert placing._exchange(one, other) is False
    assert contents(one) == ["one", "within"]
