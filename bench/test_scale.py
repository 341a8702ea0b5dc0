"""What reading many records takes: `rtlab tables` and `rtlab report`, each in a fresh process.

10,000 records, five seeds of each of 2,000 setups, of 1,066 sentences a split and 54 entries of history, on two cores:
`pytest bench/test_scale.py --study embedded`. In the study smoke there are 50 small ones, which shows that the case
works.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtlab import testbed
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full
from rtlab.metrics import scores
from rtlab.recipe import Recipe
from rtlab.records import Counts, LogEntry, Memory, Predictions, RunRecord, Source, Timing, load_records
from rtlab.reporting.groups import groups

SEEDS = 5
VARIANTS = 40  # of predictions; each is written many times, since making them takes longer than reading them
RECIPES = tuple(Recipe(padding=padding, epochs=1) for padding in ("fixed", "dynamic", "bucketed"))
METHODS = tuple(method(recipe=recipe) for recipe in RECIPES for method in (Full, Adapter))
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """A results folder of many records, written as text."""
    smoke = request.config.option.study == "smoke"
    count, sentences, entries = (50, 40, 5) if smoke else (10_000, 1066, 54)
    results = tmp_path_factory.mktemp("scale")
    (results / "records").mkdir()
    variants = [_record(variant, sentences, entries) for variant in range(VARIANTS)]
    texts = [json.dumps(fields.pop("predictions")) for fields in variants]
    for number in range(count):
        setup, seed = divmod(number, SEEDS)
        fields, text = variants[number % VARIANTS], texts[number % VARIANTS]
        method = METHODS[setup % len(METHODS)]
        recipe = dataclasses.replace(method.recipe, learning_rate=round(1e-5 * (1 + setup), 9))
        asked = Experiment(
            encoder="minilm", dataset="corpus", seed=seed, method=dataclasses.replace(method, recipe=recipe)
        )
        fields |= {"id": f"{number:016x}", "experiment": asked.to_json()}
        path = results / "records" / f"{number:016x}.json"
        path.write_text(f'{json.dumps(fields)[:-1]}, "predictions": {text}}}')
    return results


def _record(variant, sentences, entries):
    """A record as JSON types, with logits of eight digits as real ones have."""
    random = np.random.default_rng(variant)
    labels = np.arange(sentences, dtype=np.int32) % 2
    logits = random.normal(0, 1, (sentences, 2)).astype(np.float32)
    logits[np.arange(sentences), labels] += np.float32(1.5)
    said = Predictions(labels=labels, logits=logits)
    found = scores(said.labels, said.classes, num_labels=2)
    numbers = {field.name: 1.0 + 0.01 * variant for field in dataclasses.fields(Timing)} | {"others": None}
    versions = {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2", "tokenizers": "0.23.3"}
    record = RunRecord(
        experiment=Experiment(encoder="minilm", dataset="corpus", method=METHODS[0]),
        id="0" * 16,
        results=1,
        status="ok",
        dataset=Source(name="corpus", revision=None, sha256="d" * 64),
        encoder=Source(name="minilm", revision=None, sha256="e" * 64),
        testbed=testbed.Testbed(device="a processor", threads=2, code="c" * 16, **versions),
        environment={"device": "a processor", "versions": versions},
        created_at="2026-01-01T00:00:00+00:00",
        scores={"validation": found, "test": found},
        predictions={"validation": said, "test": said},
        timing=Timing(**numbers),
        counts=Counts(**dict.fromkeys((field.name for field in dataclasses.fields(Counts)), 1000)),
        memory=Memory(peak_device=None, peak_host=2**30),
        history=tuple(
            LogEntry(step=50 * n, epoch=n / 10, loss=float(random.random()), learning_rate=1e-5, gradient_norm=1.0)
            for n in range(1, entries + 1)
        ),
        train_loss=0.5,
        final_loss=0.4,
    )
    return record.to_json()


def test_each_setup_was_run_under_every_seed(folder):
    records, broken = load_records(folder / "records", logits=False, history=False)
    found = groups(records)
    assert not broken
    assert len(found) * SEEDS == len(records)
    assert {len(group.scored) for group in found} == {SEEDS}


@pytest.mark.parametrize("verb", ["tables", "report"])
def test_many_records(verb, folder, benchmark):
    done = benchmark.pedantic(_run, args=(verb, folder), rounds=1)
    assert done.returncode == 0
    count = sum(1 for _ in (folder / "records").iterdir())
    peak = int(re.search(r"peak (\d+) kB", done.stderr)[1]) * 1024 / MEGABYTE
    benchmark.extra_info.update(records=count, peak_megabytes=peak)
    if verb == "report":
        page = (folder / "report.html").stat().st_size / MEGABYTE
        benchmark.extra_info.update(page_megabytes=page)
        assert page < 30
    assert peak < 500


def _run(verb, folder):
    """A verb in a fresh process, which says its own peak: the operating system's begins with the parent's."""
    code = """
import pathlib, re, sys
from rtlab.cli import main
status = main([sys.argv[1], "--results", sys.argv[2]])
print("peak", re.search(r"VmHWM:\\s+(\\d+ kB)", pathlib.Path("/proc/self/status").read_text())[1], file=sys.stderr)
sys.exit(status)
"""
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-c", code, verb, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
