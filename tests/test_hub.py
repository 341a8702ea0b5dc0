"""Encoders from a stand-in of the hub, and the default run on them: `rtlab.hub` itself is tested with the data sets."""

import csv
import io
import json

import pytest

from rtlab.data.reviews import HUB_REVISION
from rtlab.encoders.built_in import BUILT_IN, locate
from rtlab.encoders.encoder import PINNED
from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER
from rtlab.hub import ANSWER_S

LOAD = """
import json, sys
from rtlab.encoders import load_encoder
for name in sys.argv[1:]:
    if name == "write":
        for beside in ("README.md", "vocab.txt", "pytorch_model.bin", "model.fp16.safetensors"):
            (encoder.path / beside).write_text("what other programs load of it")
        continue
    try:
        encoder = load_encoder(name)
        files = sorted(path.name for path in encoder.path.iterdir())
        found = {"revision": encoder.revision, "sha256": encoder.sha256, "files": files}
    except ValueError as error:
        found = {"error": str(error)}
    print(json.dumps(found))
"""
PLAIN_PEFT = """
import sys
from peft import AutoPeftModelForSequenceClassification
model = AutoPeftModelForSequenceClassification.from_pretrained(sys.argv[1])
print(model.get_base_model().config.n_layers, model.peft_config["default"].base_model_name_or_path)
from rtlab.cli import main
sys.exit(main(["predict", "a good film", "--model", sys.argv[1]]))
"""


def reviews(rows):
    text = io.StringIO(newline="")
    csv.writer(text).writerows(
        [("text", "label"), *((f"{word} film {i}", i % 2) for i in range(rows) for word in ["a"])]
    )
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def model_files():
    """DistilBERT in small, with what else such repositories hold."""
    files = {path.name: path.read_bytes() for path in locate("tiny-distilbert").iterdir()}
    return files | {
        "pytorch_model.bin": b"a pickle",
        "README.md": b"A card.",
        "modeling.py": b"raise SystemExit('ran')",
    }


@pytest.fixture(scope="module")
def stand_in(hub_stand_in, model_files):
    repository = hub_stand_in.Repository
    splits = {f"{name}.csv": reviews(rows) for name, rows in (("train", 40), ("validation", 8), ("test", 8))}
    pickled = {name: data for name, data in model_files.items() if not name.endswith(".safetensors")}
    with hub_stand_in.serving(
        repository(DEFAULT_ENCODER, model_files, kind="model", commit=PINNED[DEFAULT_ENCODER]),
        repository("acme/pickled", pickled, kind="model"),
        repository("acme/card", {"README.md": b"A card."}, kind="model"),
        repository("acme/gated", model_files, kind="model", gated=True),
        repository(DEFAULT_DATASET, splits, commit=HUB_REVISION),
    ) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture
def load(run_python, cache):
    def call(endpoint, *encoders, folder=cache):
        done = run_python(LOAD, *encoders, HF_ENDPOINT=endpoint, HF_HOME=str(folder), HF_HUB_OFFLINE=None)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call


def test_an_encoder_comes_from_the_hub_and_then_from_the_cache(load, stand_in, hub_stand_in):
    (found,) = load(stand_in, DEFAULT_ENCODER)
    assert found["revision"] == PINNED[DEFAULT_ENCODER]
    assert found["files"] == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    with hub_stand_in.black_hole() as gone:
        cached, again = load(gone, DEFAULT_ENCODER, "write", DEFAULT_ENCODER)
    assert cached == found
    assert again["sha256"] == found["sha256"]
    assert len(again["files"]) == len(found["files"]) + 4


def test_what_the_hub_has_of_no_use(load, stand_in):
    pickled, card, gated, nowhere = load(stand_in, "acme/pickled", "acme/card", "acme/gated", "acme/nowhere")
    assert "'acme/pickled', which has no safetensors (pickled weights are not read)" in pickled["error"]
    assert "the hub has no file of it like config.json, " in card["error"]
    assert "gated on the hub" in gated["error"]
    assert "nothing on the hub that is open to you" in nowhere["error"]


def test_a_hub_that_never_answers_is_given_up_after_8_seconds(load, hub_stand_in, tmp_path):
    asked = []
    with hub_stand_in.black_hole(asked) as gone:
        (found,) = load(gone, DEFAULT_ENCODER, folder=tmp_path)
    assert len(asked) in (1, 2)  # more would be tries that were waited for; a second may begin as the first ends
    assert ANSWER_S == 8
    assert found["error"].startswith(f"encoder {DEFAULT_ENCODER!r}: the hub cannot be reached")
    assert "\n" not in found["error"]
    assert all(name in found["error"] for name in BUILT_IN)


def test_the_default_run_on_the_hub_s_names(rtlab_process, run_python, stand_in, cache, tmp_path):
    hub = {"HF_ENDPOINT": stand_in, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "RTLAB_DATASET": ""}
    done = rtlab_process("lora", "--epochs", 1, "--json", "-", **hub)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["encoder"]["name"] == DEFAULT_ENCODER
    assert record["encoder"]["revision"] == PINNED[DEFAULT_ENCODER]
    assert (record["dataset"]["name"], record["dataset"]["revision"]) == (DEFAULT_DATASET, HUB_REVISION)
    adapter = tmp_path / "results" / "models" / f"lora-{record['id']}"
    written = json.loads((adapter / "adapter_config.json").read_text())
    assert (written["base_model_name_or_path"], written["revision"]) == (DEFAULT_ENCODER, PINNED[DEFAULT_ENCODER])
    offline = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    plain = run_python(PLAIN_PEFT, adapter, **offline)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.splitlines()[0].split() == ["2", DEFAULT_ENCODER]
