"""The native engine against the reference as a user meets them: fresh processes by turns, quality beside speed.

And how far from the floor it is, how its time grows, and what memory it takes. Ratios are of total training time,
warm-up included, and speak of this machine in this run alone.
"""

import time
from dataclasses import replace
from statistics import mean, median

import numpy as np
import pytest
import torch

from rtlab.data import Split, Splits, corpus, load_splits
from rtlab.encoders import load_encoder
from rtlab.engines.engine import Task
from rtlab.engines.native import NativeEngine
from rtlab.engines.products import fastest
from rtlab.engines.reading import read, readable
from rtlab.environment import Stopwatch, find_device, set_precision
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full
from rtlab.preparing import prepare
from rtlab.recipe import Recipe
from rtlab.records import load
from rtlab.scheduling.planning import plan
from rtlab.scheduling.sweep import sweep
from rtlab.statistics import paired_difference, ratio_of_times
from rtlab.tokens import token_arrays

RATES = {"full": 2e-5, "lora": 1e-3}
WORSE = 0.02  # accuracy: what the interval of the difference must reach up to, for the engines not to differ
FILE_ORDER_BATCH = 64  # sentences


def asked(base, method, engine, padding, precision="fp32", limit=None, **fields):
    recipe = replace(base.method.recipe, engine=engine, padding=padding, learning_rate=RATES[method], **fields)
    of = Full(recipe=recipe) if method == "full" else Adapter(recipe=recipe)
    return replace(base, method=of, precision=precision, limit=limit or base.limit)


def test_native_packed_against_trainer_dynamic(
    benchmark, base, size, device, output_dir, kept, notes, method, precision
):
    slow = asked(base, method, "trainer", "dynamic", precision, max_steps=size.steps)
    fast = asked(base, method, "native", "packed", precision, max_steps=size.steps)
    found = alternate(benchmark, slow, fast, size.rounds, device, output_dir)
    kept += [record for records in found.values() for record in records]
    difference = paired_difference(*(right(found[engine]) for engine in ("native", "trainer")))
    assert difference.high > -WORSE, f"native is worse: {difference}"
    assert difference.low < WORSE, f"the reference is worse: {difference}"
    floor_s = floor(found["native"][0], prepare(fast, device=device))
    times = seconds(found)
    report(
        benchmark,
        notes,
        times,
        steady=ratio_of_times(*([r.timing.train_s for r in found[name]] for name in ("trainer", "native"))).value,
        accuracy_native=mean(record.scores["test"].accuracy for record in found["native"]),
        accuracy_trainer=mean(record.scores["test"].accuracy for record in found["trainer"]),
        accuracy_difference_low=difference.low,
        accuracy_difference_high=difference.high,
        floor_s=floor_s,
        times_the_floor=median(times["native"]) / floor_s,
    )


def test_native_packed_against_trainer_fixed(benchmark, base, size, device, notes, tmp_path, method, precision):
    limit = size.fixed_steps * base.method.recipe.batch_size
    base = replace(base, max_length=512)
    slow = asked(base, method, "trainer", "fixed", precision, limit, epochs=1)
    fast = asked(base, method, "native", "packed", precision, limit, epochs=1)
    found = alternate(benchmark, slow, fast, size.rounds, device, tmp_path)
    losses = {engine: mean(record.train_loss for record in records) for engine, records in found.items()}
    assert losses["native"] == pytest.approx(losses["trainer"], abs=size.loss_within)
    report(benchmark, notes, seconds(found), loss_native=losses["native"], loss_trainer=losses["trainer"])


def test_features_packed_against_padded_in_file_order(benchmark, base, size, device, notes):
    splits = load_splits(base.dataset, limit=size.features)
    texts = [text for _, split in splits.items() for text in split.texts]
    encoder = load_encoder(base.encoder)
    where = find_device(device)
    plain = encoder.base().to(where)
    packed = readable(encoder.base().to(where), encoder, "cls")
    times = {"padded": [], "packed": []}
    features = {}

    def padded():
        batches = [texts[start : start + FILE_ORDER_BATCH] for start in range(0, len(texts), FILE_ORDER_BATCH)]
        rows = []
        with torch.inference_mode():
            for batch in batches:
                inputs = encoder.tokenizer(batch, padding=True, truncation=True, max_length=512, return_tensors="pt")
                rows.append(plain(**inputs.to(where)).last_hidden_state[:, 0].cpu().numpy())
        return np.concatenate(rows)

    def extract():
        tokens = token_arrays(texts, encoder.tokenizer, 512)
        return read(packed, tokens, encoder, what="cls", precision="fp32")[0]

    def set_up():
        begin = time.perf_counter()
        features["padded"] = padded()
        times["padded"].append(time.perf_counter() - begin)

    def timed():
        begin = time.perf_counter()
        features["packed"] = extract()
        times["packed"].append(time.perf_counter() - begin)

    benchmark.group = "features"
    benchmark.pedantic(timed, setup=set_up, rounds=size.rounds)
    np.testing.assert_allclose(features["packed"], features["padded"], atol=1e-4, rtol=0)
    report(benchmark, notes, times, slow="padded", fast="packed", sentences=len(texts))


def test_an_epochs_time_grows_with_its_sentences(benchmark, size, device):
    texts, labels = corpus.generate(max(size.epochs))
    recipe = Recipe(engine="native", epochs=1, logging_steps=10**6)
    experiment = Experiment(
        encoder="tiny-distilbert", dataset="corpus", method=Full(recipe=recipe), max_length=96, limit=16
    )
    prepared = prepare(experiment, device=device)
    trained_s = {}

    def epoch(sentences):
        part = Split(tuple(texts[:sentences]), tuple(labels[:sentences]))
        few = prepared.splits
        task = Task(
            experiment=experiment,
            splits=Splits("corpus", None, few.label_names, part, few.validation, few.test),
            encoder=prepared.encoder,
            target_modules=(),
            device=prepared.device,
            progress=lambda *_: None,
            on_log=lambda _: None,
            watch=Stopwatch(prepared.device),
        )
        NativeEngine(task).train()
        trained_s[sentences] = task.watch.seconds["train"]

    benchmark.group = "linear"
    benchmark.pedantic(lambda: [epoch(sentences) for sentences in size.epochs], rounds=1)
    per_sentence = {sentences: seconds / sentences for sentences, seconds in trained_s.items()}
    few, many = min(per_sentence), max(per_sentence)
    benchmark.extra_info.update({f"epoch_s_{sentences}": seconds for sentences, seconds in trained_s.items()})
    benchmark.extra_info["time_of_a_sentence_most_over_fewest"] = per_sentence[many] / per_sentence[few]
    assert per_sentence[many] < 2 * per_sentence[few]


def test_peak_memory_is_not_above_the_references(benchmark, base, device, tmp_path, method):
    slow, fast = (
        asked(base, method, engine, padding, max_steps=20)
        for engine, padding in (("trainer", "dynamic"), ("native", "packed"))
    )
    found = alternate(benchmark, slow, fast, 1, device, tmp_path)
    benchmark.group = "memory"
    peaks = {engine: record.memory.peak_device or record.memory.peak_host for engine, [record] in found.items()}
    benchmark.extra_info.update({f"peak_bytes_{engine}": peak for engine, peak in peaks.items()})
    assert peaks["native"] <= 1.02 * peaks["trainer"]


def alternate(benchmark, slow, fast, rounds, device, output_dir):
    """Rounds of the slow engine and the fast one, each run in a fresh process; the records by engine."""
    found = {slow.engine: [], fast.engine: []}
    seeds = iter(range(rounds))

    def run(experiment):
        [done] = sweep(plan([experiment], device=device), output_dir=output_dir, device=device)
        assert done.recorded == "ok", done
        found[experiment.engine].append(load(done.path))

    def set_up():
        seed = next(seeds)
        run(replace(slow, seed=slow.seed + seed))
        return (replace(fast, seed=fast.seed + seed),), {}

    benchmark.group = "engines"
    benchmark.pedantic(run, setup=set_up, rounds=rounds)
    return found


def seconds(found):
    """Warm-up and training of every run, by engine."""
    return {engine: [r.timing.warmup_s + r.timing.train_s for r in records] for engine, records in found.items()}


def right(records):
    """Whether each test sentence was labelled rightly, under each seed: (S, N)."""
    predictions = [record.predictions["test"] for record in records]
    return np.stack([found.classes == found.labels for found in predictions])


def report(benchmark, notes, times, *, slow="trainer", fast="native", **more):
    ratio = ratio_of_times(times[slow], times[fast])
    pairs = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
    benchmark.extra_info.update(
        {
            "ratio": ratio.value,
            "ratio_low": ratio.low,
            "ratio_high": ratio.high,
            "ratio_least": min(pairs),
            "ratio_most": max(pairs),
            f"{slow}_s": median(times[slow]),
            f"{fast}_s": median(times[fast]),
            **more,
        }
    )
    words = ", ".join(f"{name} {value:.4g}" for name, value in benchmark.extra_info.items())
    notes.append(f"{benchmark.name}: {words}")


def floor(record, prepared):
    """Seconds that the run's matrix products and AdamW alone take here, at the rates measured here.

    AdamW of all that is trained, though native leaves out what never has a gradient.
    """
    config, experiment = prepared.encoder.config, prepared.experiment
    width, inner, layers = config.hidden_size, _inner(config), config.num_hidden_layers
    tokens, sentences = record.counts.real_tokens, record.counts.samples
    per_token = 2 * (4 * width**2 + 2 * width * inner)
    last = tokens * 2 * 2 * width**2 + sentences * 2 * (2 * width**2 + 2 * width * inner)
    passes = 3 if isinstance(experiment.method, Full) else 2  # forward, towards the inputs, towards the weights
    product_s = (
        passes
        * ((layers - 1) * tokens * per_token + last)
        / _product_rate(max(1, round(tokens / record.counts.steps)), width, inner, prepared)
    )
    update_s = record.counts.steps * _update_s(record.counts.parameters_trained, prepared.device)
    return product_s + update_s


def _inner(config):
    return getattr(config, "intermediate_size", None) or config.hidden_dim


def _product_rate(rows, width, inner, prepared):
    """FLOP/s of one batch through the larger of a layer's matrices, in the run's precision, as fast as there is."""
    device, precision = prepared.device, prepared.experiment.precision
    set_precision(precision, device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(many, width, device=device, dtype=dtype) for many in (rows, inner))
    product = fastest().forward if device.type == "cpu" else torch.nn.functional.linear
    return 2 * rows * width * inner / _seconds(lambda: product(left, right), device)


def _update_s(parameters, device):
    weight = torch.nn.Parameter(torch.randn(parameters, device=device))
    weight.grad = torch.randn_like(weight)
    return _seconds(torch.optim.AdamW([weight], fused=True).step, device, times=10)


def _seconds(call, device, times=50):
    """Median time of a call."""
    taken = []
    for _ in range(times):
        if device.type == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return median(taken)
