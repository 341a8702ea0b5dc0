"""The native engine trains as the reference does: step by step, weight by weight, where dropout leaves them no choice.

`fixed` and `dynamic` are held against the reference engine; `packed` and `bucketed`, which Hugging Face does not have
so, against a padded loop that is written out here and is handed the native engine's plan of batches.
"""

import dataclasses
import itertools
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import odd_encoders as odd
import peft
import pytest
import small
import torch
import transformers
from safetensors.torch import load_file

import rtlab
from rtlab.batches import plan_epoch
from rtlab.encoders import load_encoder, target_modules
from rtlab.engines import attention, layouts, native, operations, packing, step
from rtlab.engines.dropout import Masks
from rtlab.engines.layouts import Packer
from rtlab.engines.native import NativeEngine
from rtlab.engines.trainer import TrainerEngine
from rtlab.records import load
from rtlab.running import model_folder
from rtlab.tokens import TokenizedSplits, Tokens, token_arrays

TINY = ("tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra")
PADDINGS = ("fixed", "dynamic", "bucketed", "packed")
RECIPES = {"full 2e-5": ("full", 2e-5), "full 2e-4": ("full", 2e-4), "lora 1e-3": ("lora", 1e-3)}
MAX_LENGTH = 24  # cuts some sentences
SEED = 1  # 42 meets a gradient of 8e-10 in its first step, and AdamW makes such noise as large as a signal
BATCH = 4
TRAIN = 49 * BATCH + 2  # 50 steps, the last on a partial batch


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    return torch.device(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="module")
def data(folder):
    return {
        names: small.data_folder(folder / f"data-{len(names)}", names, TRAIN, 20) for names in (small.TWO, small.THREE)
    }


@pytest.fixture(scope="module")
def without_dropout(folder):
    """Copies of encoders whose configuration has no dropout."""
    return lambda name: small.without_dropout(name, folder)


def experiment(data, encoder, recipe, padding, names=small.TWO, **fields):
    method, rate = RECIPES[recipe]
    common = {"method": method, "learning_rate": rate, "padding": padding, "seed": SEED}
    of_lora = {"settings": {"r": 8, "lora_alpha": 32, "lora_dropout": 0.0}} if method == "lora" else {}
    return small.experiment(
        data[names],
        encoder=str(encoder.path),
        batch_size=BATCH,
        max_length=MAX_LENGTH,
        **common | of_lora | fields,
    )


def tokens_of(data, encoder, names=small.TWO, max_length=MAX_LENGTH):
    splits = {}
    for name in ("train", "validation", "test"):
        texts, labels = small.read(data[names], name, names)
        splits[name] = token_arrays(texts, encoder.tokenizer, max_length, labels=labels)
    return TokenizedSplits(**splits)


def adapter_of(asked):
    return asked.method if isinstance(asked.method, rtlab.Adapter) else None


def by_native(asked, device, scratch):
    """A run of the native engine: losses of its steps, what it saved, its logits."""
    return results(NativeEngine(small.task(asked, device.type)), scratch / "native")


def results(engine, folder):
    training = engine.train()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    engine.save(folder)
    return SimpleNamespace(
        losses=[entry.loss for entry in training.history],
        weights=saved(folder),
        logits={split: engine.evaluate(split) for split in ("validation", "test")},
    )


def saved(folder):
    (file,) = (file for file in folder.glob("*.safetensors"))
    return load_file(file)


def by_trainer(asked, device, scratch, order):
    """The same run of the reference engine, on sentences in the same order."""
    recipe = dataclasses.replace(asked.method.recipe, engine="trainer")
    asked = dataclasses.replace(asked, method=dataclasses.replace(asked.method, recipe=recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.Trainer, "_get_train_sampler", lambda *_: small.Order(order))
        return results(TrainerEngine(small.task(asked, device.type)), scratch / "trainer")


def by_hand(asked, data, encoder, device, scratch, batches, names=small.TWO):
    """The same run as a plain padded loop. Nothing of rtlab's but the encoder's directory and the plan."""
    transformers.set_seed(asked.seed)
    model, tokenizer = classifier_by_hand(asked, encoder, names, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=asked.method.recipe.learning_rate, weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (len(batches) - step) / len(batches))
    texts, labels = small.read(data[names], "train", names)
    losses = []
    model.train()
    for rows in batches:
        inputs = padded_by_hand(tokenizer, [texts[row] for row in rows], device)
        loss = model(**inputs, labels=torch.tensor([labels[row] for row in rows], device=device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    model.eval()
    folder = scratch / "by-hand"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **({"save_embedding_layers": False} if adapter_of(asked) else {}))
    logits = {}
    for split in ("validation", "test"):
        with torch.no_grad():
            inputs = padded_by_hand(tokenizer, small.read(data[names], split, names)[0], device)
            logits[split] = model(**inputs).logits.cpu().numpy()
    return SimpleNamespace(losses=losses, weights=saved(folder), logits=logits)


def classifier_by_hand(asked, encoder, names, device):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        encoder.path, num_labels=len(names), attn_implementation="sdpa"
    )
    if adapter := adapter_of(asked):
        modules = list(target_modules(encoder, adapter.target_modules))
        config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=modules, **adapter.settings)
        model = peft.get_peft_model(model, config)
    return model.to(device), transformers.AutoTokenizer.from_pretrained(encoder.path)


def padded_by_hand(tokenizer, texts, device):
    return tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt").to(device)


def reference(asked, data, encoder, device, scratch, names=small.TWO):
    lengths = tokens_of(data, encoder, names).train.lengths
    plan = plan_epoch(lengths, padding=asked.method.recipe.padding, batch_size=BATCH, seed=asked.seed, epoch=0)
    batches = [batch.tolist() for batch in plan.batches]
    if asked.method.recipe.padding in ("fixed", "dynamic"):
        return by_trainer(asked, device, scratch, [row for batch in batches for row in batch])
    return by_hand(asked, data, encoder, device, scratch, batches, names)


def start_weights(asked, encoder, names, folder):
    """Weights before the first step, by the names that they are saved under."""
    transformers.set_seed(asked.seed)
    model, _ = classifier_by_hand(asked, encoder, names, "cpu")
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **({"save_embedding_layers": False} if adapter_of(asked) else {}))
    return saved(folder)


def check_equal(found, expected, start):
    """Losses step by step, weights parameter by parameter, logits."""
    assert len(found.losses) == len(expected.losses) == 50
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    assert found.weights.keys() == expected.weights.keys() == start.keys()
    moved = 0
    for name, weight in expected.weights.items():
        if name.endswith(("key.bias", "k_lin.bias")):  # their gradient is 0, and AdamW makes noise as large as signal
            continue
        distance = (weight - start[name]).norm()
        moved += bool(distance > 0)
        assert (found.weights[name] - weight).norm() <= 1e-2 * distance, name
    assert moved > 10
    for split, logits_NC in expected.logits.items():
        np.testing.assert_allclose(found.logits[split], logits_NC, atol=1e-4, rtol=0)


# Always: each recipe and each architecture packed, and each padding once. The rest, and minilm, when thorough.
def cells():
    for name, recipe, padding in itertools.product((*TINY, "minilm"), RECIPES, PADDINGS):
        always = name in TINY and padding == "packed" and (name == TINY[0] or recipe != "full 2e-5")
        always |= name == TINY[0] and recipe == "lora 1e-3"
        yield pytest.param(name, recipe, padding, marks=() if always else pytest.mark.thorough)


@pytest.mark.parametrize(("name", "recipe", "padding"), list(cells()))
def test_native_trains_as_the_reference_does(name, recipe, padding, data, without_dropout, device, tmp_path):
    encoder = without_dropout(name)
    asked = experiment(data, encoder, recipe, padding, engine="native")
    found = by_native(asked, device, tmp_path)
    expected = reference(asked, data, encoder, device, tmp_path)
    check_equal(found, expected, start_weights(asked, encoder, small.TWO, tmp_path / "start"))


@pytest.mark.parametrize("recipe", ["full 2e-4", "lora 1e-3"])
def test_three_classes(recipe, data, without_dropout, device, tmp_path):
    encoder = without_dropout("tiny-bert")
    asked = experiment(data, encoder, recipe, "packed", small.THREE, engine="native")
    found = by_native(asked, device, tmp_path)
    expected = reference(asked, data, encoder, device, tmp_path, small.THREE)
    check_equal(found, expected, start_weights(asked, encoder, small.THREE, tmp_path / "start"))


# The tests bite: what a faulty engine might do, done to it


def leaking(monkeypatch):
    """Each sentence attends to the next one's first token as well."""
    blocks = layouts._blocks

    def longer(lengths_S, first_S, total, heads):
        return blocks(np.where(first_S == first_S.max(), lengths_S, lengths_S + 1), first_S, total, heads)

    monkeypatch.setattr(layouts, "_blocks", longer)


def asking(method, **other):
    return dataclasses.replace(method, recipe=dataclasses.replace(method.recipe, **other))


def unclipped(monkeypatch):
    plain = native.Step
    other = {"max_grad_norm": 0.0}
    monkeypatch.setattr(native, "Step", lambda method, *p, **n: plain(asking(method, **other), *p, **n))


def late_schedule(monkeypatch):
    plain = native.Step
    monkeypatch.setattr(native, "Step", lambda *parts, steps, **named: plain(*parts, steps=steps + 1, **named))


def decaying(monkeypatch):
    plain = native.Step
    other = {"weight_decay": 0.01}
    monkeypatch.setattr(native, "Step", lambda method, *p, **n: plain(asking(method, **other), *p, **n))


def running_positions(monkeypatch):
    layout = layouts.Packer.layout

    def running(self, rows_S, **named):
        made = layout(self, rows_S, **named)
        made.positions_1T.copy_(torch.arange(made.positions_1T.shape[1]))
        return made

    monkeypatch.setattr(layouts.Packer, "layout", running)


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", [leaking, unclipped, late_schedule, decaying, running_positions])
def test_a_faulty_engine_is_found_out(mutant, data, without_dropout, tmp_path, monkeypatch):
    encoder = without_dropout("tiny-distilbert")
    asked = experiment(data, encoder, "full 2e-5", "packed", engine="native")
    expected = reference(asked, data, encoder, torch.device("cpu"), tmp_path)
    start = start_weights(asked, encoder, small.TWO, tmp_path / "start")
    monkeypatch.setattr(native, "check", lambda *_: None)  # it finds some of them before the first step
    mutant(monkeypatch)
    found = by_native(asked, torch.device("cpu"), tmp_path)
    with pytest.raises(AssertionError):
        check_equal(found, expected, start)


# One batch


@pytest.mark.parametrize("recipe", ["full 2e-5", "lora 1e-3"])
@pytest.mark.parametrize("padding", ["dynamic", "packed"])
@pytest.mark.parametrize("name", [*TINY, "minilm"])
def test_gradients_of_one_batch(name, padding, recipe, data, without_dropout, device):
    encoder = without_dropout(name)
    asked = experiment(data, encoder, recipe, padding, engine="native")
    texts, labels = small.read(data[small.TWO], "train")
    rows = np.arange(16)
    transformers.set_seed(1)
    expected, tokenizer = classifier_by_hand(asked, encoder, small.TWO, device)
    if adapter_of(asked):  # an adapter begins at 0, and half its gradients with it
        for key, weight in expected.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.05)
    found, _ = classifier_by_hand(asked, encoder, small.TWO, device)
    found.load_state_dict(expected.state_dict())
    target = torch.tensor(labels[:16], device=device)
    expected.train()(**padded_by_hand(tokenizer, texts[:16], device), labels=target).loss.backward()
    packing.pack(found.train())
    if device.type == "cpu":
        operations.install(found, Masks())
    packer = Packer(tokens_of(data, encoder).train, encoder, device=device)
    layout = packer.layout(rows, slot=MAX_LENGTH if padding == "dynamic" else None)
    torch.nn.functional.cross_entropy(packing.forward(found, layout).logits, target).backward()
    pairs = list(zip(found.named_parameters(), expected.parameters(), strict=True))
    largest = max(float(wanted.grad.abs().max()) for _, wanted in pairs if wanted.grad is not None)
    for (key, parameter), wanted in pairs:
        assert (parameter.grad is None) == (wanted.grad is None), key
        if wanted.grad is not None:
            assert float((parameter.grad - wanted.grad).abs().max()) <= 1e-5 * largest, key


def sentences_of(lengths, encoder):
    """Tokens of sentences of these lengths, of random words."""
    random = np.random.default_rng(0)
    ids = [
        [encoder.tokenizer.cls_token_id, *random.integers(5, 100, length - 2), encoder.tokenizer.sep_token_id]
        for length in lengths
    ]
    return ids, Tokens(
        ids=np.concatenate(ids).astype(np.int32),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        labels=np.zeros(len(lengths), dtype=np.int64),
    )


@pytest.mark.parametrize("lengths", [[2], [512], [9], [2, 2, 2], [512, 2, 30], [7] * 9, [3, 2, 40, 41, 512, 5]])
@pytest.mark.parametrize("name", TINY)
def test_batches_at_the_edges(name, lengths, device):
    encoder = load_encoder(name)
    ids, tokens = sentences_of(lengths, encoder)
    transformers.set_seed(0)
    model = encoder.classifier(small.TWO).eval().to(device)
    with torch.no_grad():
        alone = torch.cat([model(input_ids=torch.tensor([one], device=device)).logits for one in ids])
        packing.pack(model)
        packer = Packer(tokens, encoder, device=device)
        rows = np.arange(len(lengths))
        for options in ({}, {"slot": 512}, {"total": sum(lengths) + 63}):
            together = packing.forward(model, packer.layout(rows, **options)).logits
            torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


# Dropout


def losses_over_masks(model, of, target, device, masks=200):
    losses = []
    for seed in range(masks):
        torch.manual_seed(seed)
        with torch.no_grad():
            losses.append(float(torch.nn.functional.cross_entropy(of(model), target)))
    return np.array(losses)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_dropout_moves_the_loss_as_the_references_does(method, data, device):
    encoder = load_encoder("tiny-distilbert")
    asked = experiment(data, encoder, "lora 1e-3" if method == "lora" else "full 2e-5", "packed", engine="native")
    if method == "lora":
        settings = {**asked.method.settings, "lora_dropout": 0.3}
        asked = dataclasses.replace(asked, method=dataclasses.replace(asked.method, settings=settings))
    texts, labels = small.read(data[small.TWO], "train")
    target = torch.tensor(labels[:16], device=device)
    transformers.set_seed(0)
    model, tokenizer = classifier_by_hand(asked, encoder, small.TWO, device)
    for key, weight in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, std=0.3)
    model.train()
    inputs = padded_by_hand(tokenizer, texts[:16], device)
    expected = losses_over_masks(model, lambda model: model(**inputs).logits, target, device)
    packing.pack(model)
    masks = Masks()
    if device.type == "cpu":
        operations.install(model, masks)
    layout = Packer(tokens_of(data, encoder).train, encoder, device=device).layout(np.arange(16))
    found = losses_over_masks(model, lambda model: packing.forward(model, layout, masks).logits, target, device)
    assert expected.std() > 1e-3
    error = math.sqrt(expected.var(ddof=1) / 200 + found.var(ddof=1) / 200)
    assert abs(found.mean() - expected.mean()) < 4 * error
    assert 0.6 < found.var() / expected.var() < 1.6


def test_attention_weights_are_dropped(device):
    """With the identity for values the output is the weights: each is 0, or what it would be, scaled up."""
    encoder = load_encoder("tiny-distilbert")
    heads, size = 4, 16
    _, tokens = sentences_of([size, 9], encoder)
    layout = Packer(tokens, encoder, device=device).layout(np.arange(2))
    torch.manual_seed(3)
    query, key = (torch.randn(size + 9, heads, size, device=device) for _ in range(2))
    identity = torch.eye(size, device=device)[:, None].expand(-1, heads, -1)
    values = torch.cat([identity, identity[:9]])
    kept = attention.attend(query, key, values, layout, scale=0.25, dropout=0.0)
    assert (kept[:size] > 0).all()
    zeros = 0
    for seed in range(50):
        torch.manual_seed(seed)
        dropped = attention.attend(query, key, values, layout, scale=0.25, dropout=0.1)[:size]
        zeros += int((dropped == 0).sum())
        torch.testing.assert_close(dropped[dropped != 0], kept[:size][dropped != 0] / 0.9, rtol=1e-4, atol=0)
    share = zeros / (50 * heads * size**2)
    assert abs(share - 0.1) < 4 * math.sqrt(0.09 / (50 * heads * size**2))


def test_attention_drops_the_same_weights_backward(device):
    """The output is linear in the values: its product with their gradient is itself, if both saw one mask."""
    encoder = load_encoder("tiny-distilbert")
    _, tokens = sentences_of([9, 16, 5], encoder)
    for blocks in (device.type == "cpu", False):
        layout = Packer(tokens, encoder, device=device, blocks=blocks).layout(np.arange(3))
        torch.manual_seed(0)
        query, key, value, weights = (torch.randn(30, 4, 16, device=device, requires_grad=True) for _ in range(4))
        loss = (attention.attend(query, key, value, layout, scale=0.25, dropout=0.3) * weights).sum()
        [gradient] = torch.autograd.grad(loss, value)
        torch.testing.assert_close((gradient * value).sum(), loss, rtol=1e-4, atol=1e-4)


# Runs


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_same_run_twice_is_bit_identical(method, data, tmp_path):
    asked = small.experiment(data[small.TWO], method=method, engine="native", max_steps=8)
    first, second = (rtlab.run(asked, output_dir=tmp_path / name, device="cpu") for name in "ab")
    assert first.history == second.history
    assert first.predictions == second.predictions
    assert first.experiment.method.recipe.padding == "packed"


@pytest.mark.parametrize("engine", ["native", "trainer"])
def test_a_draw_between_building_and_training_changes_nothing(engine, data, tmp_path):
    asked = small.experiment(data[small.TWO], engine=engine, max_steps=5)
    records = []
    for draws in (0, 3):
        one = rtlab.Run(asked, output_dir=tmp_path / str(draws), device="cpu")
        one.build()
        torch.rand(draws)
        one.train()
        records.append(one.finish())
    assert records[0].history == records[1].history


def test_dropout_is_on_so_that_the_seed_matters(data, tmp_path):
    asked = small.experiment(data[small.TWO], engine="native", max_steps=3)
    other = small.experiment(data[small.TWO], engine="native", max_steps=3, seed=7)
    one, two = (rtlab.run(each, output_dir=tmp_path, device="cpu") for each in (asked, other))
    assert one.history != two.history


def test_the_history_is_the_references(data, tmp_path):
    """Steps, epochs and learning rates are the same numbers; losses are means over the interval."""
    fields = {"epochs": 2, "logging_steps": 20, "max_steps": 70, "batch_size": BATCH, "max_length": MAX_LENGTH}
    found, expected = (
        rtlab.run(small.experiment(data[small.TWO], engine=engine, **fields), output_dir=tmp_path, device="cpu")
        for engine in ("native", "trainer")
    )
    assert [entry.step for entry in found.history] == [20, 40, 60, 70]
    for name in ("step", "epoch", "learning_rate"):
        assert [getattr(entry, name) for entry in found.history] == pytest.approx(
            [getattr(entry, name) for entry in expected.history], rel=1e-12
        )
    assert found.counts.steps == expected.counts.steps == 70
    assert found.counts.samples == expected.counts.samples
    assert found.counts.padding_tokens < 16 * 70
    every = rtlab.run(
        small.experiment(data[small.TWO], engine="native", **fields | {"logging_steps": 1}),
        output_dir=tmp_path,
        device="cpu",
    ).history
    assert found.history[1].loss == pytest.approx(np.mean([entry.loss for entry in every[20:40]]), rel=1e-6)
    assert found.train_loss == pytest.approx(np.mean([entry.loss for entry in every]), rel=1e-6)
    assert found.final_loss == pytest.approx(np.mean([entry.loss for entry in every[50:]]), rel=1e-6)


@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_is_counted_as_it_is_computed(padding, data, tmp_path):
    asked = small.experiment(data[small.TWO], engine="native", padding=padding, batch_size=BATCH, max_length=MAX_LENGTH)
    counts = rtlab.run(asked, output_dir=tmp_path, device="cpu").counts
    lengths = tokens_of(data, load_encoder("tiny-distilbert")).train.lengths
    plan = plan_epoch(lengths, padding=padding, batch_size=BATCH, seed=asked.seed, epoch=0)
    computed = {
        "fixed": TRAIN * MAX_LENGTH,
        "packed": sum(16 * math.ceil(lengths[rows].sum() / 16) for rows in plan.batches),
    }.get(padding, sum(len(rows) * 2 * math.ceil(lengths[rows].max() / 2) for rows in plan.batches))
    assert (counts.real_tokens, counts.real_tokens + counts.padding_tokens) == (int(lengths.sum()), computed)


@pytest.mark.parametrize("logging_steps", [1, 3, 50])
def test_the_first_step_without_a_finite_loss_is_named(data, tmp_path, logging_steps):
    asked = small.experiment(data[small.TWO], engine="native", learning_rate=1e30, logging_steps=logging_steps)
    with pytest.raises(rtlab.RunFailedError) as failed:
        rtlab.run(asked, output_dir=tmp_path, device="cpu")
    record = load(failed.value.path)
    assert record.status == "nan"
    assert record.error.startswith("NonFiniteLossError: the loss of step 2 is nan; a lower learning rate")


def test_an_update_that_ruins_the_weights_in_the_last_step_is_no_result(data, tmp_path):
    asked = small.experiment(data[small.TWO], engine="native", learning_rate=1e30, max_steps=1)
    with pytest.raises(rtlab.RunFailedError) as failed:
        rtlab.run(asked, output_dir=tmp_path, device="cpu")
    assert failed.value.record.status == "nan"
    assert "the logits of validation are not finite" in failed.value.record.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError("Unable to allocate 8 GiB for an array"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_batch_that_does_not_fit_says_what_was_tried(error, data, tmp_path, monkeypatch):
    def too_large(*_, **__):
        raise error

    monkeypatch.setattr(step.Step, "_loss", too_large)
    asked = small.experiment(data[small.TWO], engine="native")
    with pytest.raises(rtlab.RunFailedError) as failed:
        rtlab.run(asked, output_dir=tmp_path, device="cpu")
    assert failed.value.record.status == "oom"
    assert "step 1, a batch of 8 sentences and" in failed.value.record.error
    assert "a smaller batch_size or max_length would do" in failed.value.record.error


def test_another_error_stays_what_it_is(data, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(step.Step, "_loss", broken)
    with pytest.raises(rtlab.RunFailedError) as failed:
        rtlab.run(small.experiment(data[small.TWO], engine="native"), output_dir=tmp_path, device="cpu")
    assert (failed.value.record.status, failed.value.record.error) == ("failed", "RuntimeError: shapes do not match")


def test_an_encoder_that_cannot_be_packed_is_refused(data, tmp_path):
    config = transformers.MPNetConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.MPNetModel(config).save_pretrained(tmp_path / "mpnet")
    load_encoder("tiny-roberta").tokenizer.save_pretrained(tmp_path / "mpnet")
    asked = small.experiment(data[small.TWO], encoder=str(tmp_path / "mpnet"), engine="native", max_length=64)
    with pytest.raises(ValueError, match=r"engine 'native' takes encoders of type distilbert, bert.*mpnet.*trainer"):
        rtlab.run(asked, output_dir=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_decoder_of_a_type_that_packs_is_called_one(data, tmp_path):
    encoder = odd.write(tmp_path / "bert", "bert", is_decoder=True)
    asked = small.experiment(data[small.TWO], encoder=str(encoder), engine="native", max_length=64)
    with pytest.raises(ValueError, match=r"whose tokens see all others .* got bert, whose .* says is_decoder"):
        rtlab.run(asked, output_dir=tmp_path / "out", device="cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_saved_loads_in_plain_libraries_and_predicts_the_same(method, precision, data, tmp_path):
    asked = small.experiment(data[small.TWO], method=method, engine="native", precision=precision, max_steps=20)
    record = rtlab.run(asked, output_dir=tmp_path, device="cpu", save_model=True)
    folder = model_folder(tmp_path, record)
    if method == "lora":
        model = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder)
    else:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts, _ = small.read(data[small.TWO], "test")
    with torch.no_grad():
        plain = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    tolerance = 1e-4 if precision == "fp32" else 0.1
    np.testing.assert_allclose(record.predictions["test"].logits, plain, atol=tolerance, rtol=0)
    found = rtlab.predict(folder, texts[:3], device="cpu")
    expected = torch.tensor(plain[:3]).softmax(1).numpy()
    for prediction, row in zip(found, expected, strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(row, abs=tolerance)


def test_a_checkpoint_is_the_references_but_for_its_numbers(data, tmp_path):
    folders = {}
    for engine in ("native", "trainer"):
        for method in ("full", "lora"):
            asked = small.experiment(data[small.TWO], engine=engine, method=method, max_steps=1)
            record = rtlab.run(asked, output_dir=tmp_path / engine, device="cpu", save_model=True)
            folders[engine, method] = model_folder(tmp_path / engine, record)
    for method, config in (("full", "config.json"), ("lora", "adapter_config.json")):
        ours, theirs = (folders[engine, method] for engine in ("native", "trainer"))
        assert sorted(file.name for file in ours.iterdir()) == sorted(file.name for file in theirs.iterdir())
        found, expected = (json.loads((one / config).read_text()) for one in (ours, theirs))
        for order in (found, expected):
            if "target_modules" in order:
                order["target_modules"] = sorted(order["target_modules"])  # PEFT keeps a set
        assert found == expected
        assert {k: v.shape for k, v in saved(ours).items()} == {k: v.shape for k, v in saved(theirs).items()}


def test_bf16_trains_near_fp32_with_fp32_weights(data, without_dropout, device, tmp_path):
    encoder = without_dropout("tiny-bert")
    asked = experiment(data, encoder, "full 2e-4", "packed", engine="native")
    exact = by_native(asked, device, tmp_path)
    coarse = by_native(dataclasses.replace(asked, precision="bf16"), device, tmp_path)
    assert all(weight.dtype == torch.float32 for weight in coarse.weights.values())
    assert coarse.losses != exact.losses
    np.testing.assert_allclose(coarse.losses, exact.losses, atol=0.05)


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_it_is_the_same_run(data, without_dropout, rtlab_process):
    """In processes of their own: torch.compile leaves its traces, and warns of torch's and transformers' own code."""
    command = [
        "finetune",
        "--engine",
        "native",
        "--encoder",
        without_dropout("tiny-distilbert").path,
        "--dataset",
        data[small.TWO],
        "--lr",
        "1e-3",
    ]
    command += ["--max-steps", 6, "--batch-size", 8, "--logging-steps", 1, "--device", "cpu", "--json", "-"]
    records = []
    for more in ([], ["--compile"]):
        done = rtlab_process(*command, *more, timeout=300, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        records.append(json.loads(done.stdout))
    plain, compiled = records
    assert compiled["timing"]["warmup_s"] > plain["timing"]["warmup_s"] + 0.1
    losses = [[entry["loss"] for entry in record["history"]] for record in (plain, compiled)]
    assert len(losses[0]) == 6
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert compiled["id"] != plain["id"]
