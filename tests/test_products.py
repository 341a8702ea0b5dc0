"""Products by the faster of two libraries: right in both, measured once for a machine, and kept."""

import json

import pytest
import torch

from rtlab.engines import products
from rtlab.engines.products import KINDS, Products
from rtlab.experiment import Experiment
from rtlab.methods import Full, Words
from rtlab.preparing import prepare
from rtlab.recipe import Recipe

needs_onednn = pytest.mark.skipif(not products.ONEDNN, reason="torch was built without oneDNN")
pytestmark = needs_onednn


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A user's cache that is empty, and a process that knows nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    products._fastest.cache_clear()
    yield tmp_path / "rtlab" / "products"
    products._fastest.cache_clear()


@pytest.mark.parametrize("by_blas", [(), KINDS, *((kind,) for kind in KINDS)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 20), (20, 12), (16, 16)])
def test_a_product_is_what_it_says(inputs, outputs, dtype, by_blas):
    torch.manual_seed(0)
    x, d, weight, bias = (
        torch.randn(*of, dtype=dtype) for of in ((7, inputs), (7, outputs), (outputs, inputs), (outputs,))
    )
    found = Products(by_blas)
    for ours, theirs in (
        (found.forward(x, weight, bias), torch.nn.functional.linear(x, weight, bias)),
        (found.forward(x, weight), x @ weight.T),
        (found.towards_inputs(d, weight), d @ weight),
        (found.towards_weights(d, x), d.T @ x),
    ):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("slow", [(), ("forward",), ("inputs", "narrow weights"), KINDS], ids=str)
def test_the_faster_library_is_taken_for_each_kind(slow, monkeypatch, cache):
    """Time is counted in products: where oneDNN is slow it takes ten times the steps of a clock that only they move."""
    now, of = [0.0], {"forward": "forward", "inputs": "towards_inputs"}
    monkeypatch.setattr(products.time, "perf_counter", lambda: now[0])

    def counted(kind, method):
        def product(self, *arguments):
            narrow = method == "towards_weights" and arguments[0].shape[1] < arguments[1].shape[1]
            onednn = not self.by_blas
            now[0] += 10 if onednn and ("narrow weights" if narrow else kind) in slow else 1
            return torch.ones(1)

        monkeypatch.setattr(Products, method, product)

    for kind in ("forward", "inputs", "weights"):
        counted(kind, of.get(kind, "towards_weights"))
    assert products.fastest() == Products(tuple(kind for kind in KINDS if kind in slow))


def test_a_library_that_is_hardly_faster_is_not_taken(monkeypatch, cache):
    now = [0.0]
    monkeypatch.setattr(products.time, "perf_counter", lambda: now[0])

    def product(self, *_):
        now[0] += 1 if self.by_blas else 1.04

    for method in ("forward", "towards_inputs", "towards_weights"):
        monkeypatch.setattr(Products, method, product)
    assert products.fastest() == Products(())


def test_it_is_measured_once_and_kept_for_others(monkeypatch, cache):
    measured = []
    monkeypatch.setattr(products, "_measured", lambda: measured.append(1) or ["inputs"])
    assert products.fastest() == products.fastest() == Products(("inputs",))
    products._fastest.cache_clear()  # as in another process
    monkeypatch.setattr(products, "_measured", lambda: measured.append(1) or ["weights"])
    assert products.fastest() == Products(("inputs",))
    assert len(measured) == 1
    [kept] = cache.rglob("*.json")
    told = json.loads(kept.read_text())
    assert told["threads"] == torch.get_num_threads()
    assert told["torch"] == torch.__version__


def test_it_is_measured_anew_for_other_threads(monkeypatch, cache):
    monkeypatch.setattr(products, "_measured", list)
    products.fastest()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    products.fastest()
    assert len(list(cache.rglob("*.json"))) == 2


def test_of_two_processes_at_once_both_take_what_the_first_found(monkeypatch, cache):
    def slower_than_another():
        monkeypatch.setattr(products, "_measured", lambda: ["forward"])
        assert products._fastest.__wrapped__(torch.get_num_threads()) == Products(("forward",))
        return ["weights"]

    monkeypatch.setattr(products, "_measured", slower_than_another)
    assert products.fastest() == Products(("forward",))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"by_blas": 3}', '{"by_blas": ["sideways"]}', "{}"])
def test_what_cannot_be_read_is_onednns(text, monkeypatch, cache):
    """And so it is in the next process: equal runs are equal."""
    monkeypatch.setattr(products, "_measured", lambda: ["inputs"])
    products.fastest()
    [kept] = cache.rglob("*.json")
    kept.write_text(text)
    for _ in range(2):
        products._fastest.cache_clear()
        assert products.fastest() == Products(())


@pytest.mark.parametrize("home", ["/proc/1", "/dev/null"])
def test_where_nothing_can_be_kept_it_is_onednn_for_all(home, monkeypatch, cache):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setattr(products, "_measured", lambda: ["inputs"])
    assert products.fastest() == Products(())


def test_a_measurement_draws_no_random_number(cache):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    products.fastest()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_testbed_says_which(monkeypatch):
    monkeypatch.setattr(products, "fastest", lambda: Products(("inputs", "weights")))
    found = {
        name: prepare(
            Experiment(encoder=encoder, dataset="corpus", method=method, limit=8), device="cpu"
        ).testbed.by_blas
        for name, encoder, method in (
            ("native", "tiny-bert", Full(recipe=Recipe(engine="native"))),
            ("trainer", "tiny-bert", Full(recipe=Recipe())),
            ("words", None, Words()),
        )
    }
    assert found == {"native": "inputs, weights", "trainer": "", "words": ""}


def test_without_onednn_blas_takes_all(monkeypatch):
    monkeypatch.setattr(products, "ONEDNN", False)
    assert products.fastest() == Products(KINDS)
