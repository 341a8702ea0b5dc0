"""The reference engine is Hugging Face's `Trainer` and nothing more: held against one that is written out here."""

import math
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import small
import torch
import transformers
from safetensors.torch import load_file

import rtlab
from rtlab.data import corpus
from rtlab.encoders import load_encoder
from rtlab.records import load, load_records
from rtlab.running import model_folder

ATTENTION = {
    "tiny-distilbert": ["q_lin", "k_lin", "v_lin", "out_lin"],
    "tiny-bert": ["query", "key", "value", "attention.output.dense"],
    "tiny-roberta": ["query", "key", "value", "attention.output.dense"],
}
MAX_LENGTH = 40  # cuts some sentences
LORA = {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1}

# encoder, names of the classes, fields of the experiment
CASES = {
    "full-dynamic": ("tiny-distilbert", small.TWO, {"method": "full", "padding": "dynamic"}),
    "full-fixed": ("tiny-distilbert", small.TWO, {"method": "full", "padding": "fixed"}),
    "full-bucketed": ("tiny-distilbert", small.TWO, {"method": "full", "padding": "bucketed"}),
    "lora-dynamic": ("tiny-distilbert", small.TWO, {"method": "lora", "padding": "dynamic", "settings": LORA}),
    "lora-fixed": ("tiny-bert", small.TWO, {"method": "lora", "padding": "fixed", "settings": LORA}),
    "lora-bucketed": ("tiny-roberta", small.TWO, {"method": "lora", "padding": "bucketed", "settings": LORA}),
    "full-electra": ("tiny-electra", small.TWO, {"method": "full", "padding": "dynamic", "seed": 7}),
    "full-bert-bf16": ("tiny-bert", small.TWO, {"method": "full", "padding": "dynamic", "precision": "bf16"}),
    "full-three-classes": ("tiny-distilbert", small.THREE, {"method": "full", "padding": "dynamic"}),
    "lora-three-classes": ("tiny-distilbert", small.THREE, {"method": "lora", "padding": "dynamic", "settings": LORA}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainer")
    return {names: small.data_folder(folder / str(len(names)), names) for names in (small.TWO, small.THREE)}


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


def run(data, output_dir, encoder="tiny-distilbert", names=small.TWO, **fields):
    experiment = small.experiment(data[names], encoder=encoder, **{"epochs": 2, "max_length": MAX_LENGTH} | fields)
    return rtlab.run(experiment, output_dir=output_dir, device="cpu", save_model=True)


@pytest.fixture(scope="module", params=CASES)
def case(request, data, output_dir):
    """One training through `rtlab`, and the same one by hand."""
    encoder, names, fields = CASES[request.param]
    record = run(data, output_dir, encoder, names, **fields)
    return SimpleNamespace(
        name=request.param, record=record, by_hand=by_hand(data[names], names, encoder, output_dir, **fields)
    )


@pytest.fixture(scope="module")
def full(data, output_dir):
    """12 steps of full fine-tuning: two epochs of 5 whole batches and one of 2 sentences."""
    return run(data, output_dir, method="full")


@pytest.fixture(scope="module")
def lora(data, output_dir):
    return run(data, output_dir, method="lora", settings=LORA)


# The same by hand: what a reader of Hugging Face's manual would write. Nothing of rtlab's but the encoder's directory.


def by_hand(folder, names, encoder, scratch, *, method, padding, seed=42, precision="fp32", settings=None):
    path = load_encoder(encoder).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    collator = transformers.DataCollatorWithPadding(tokenizer)
    seen = []

    def counting_collator(rows):
        batch = collator(rows)
        seen.append(batch["attention_mask"])
        return batch

    def split(name):
        texts, labels = small.read(folder, name, names)
        how = "max_length" if padding == "fixed" else False
        encoded = tokenizer(texts, truncation=True, max_length=MAX_LENGTH, padding=how)
        return [
            {"input_ids": ids, "attention_mask": mask, "label": label}
            for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
        ]

    transformers.set_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, num_labels=len(names))
    if method == "lora":
        config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=ATTENTION[encoder], **settings)
        model = peft.get_peft_model(model, config)
    common = {
        "output_dir": str(scratch / "by-hand"),
        "per_device_eval_batch_size": 8,
        "bf16": precision == "bf16",
        "report_to": "none",
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    training = transformers.TrainingArguments(
        **common,
        learning_rate=1e-3,
        num_train_epochs=2,
        per_device_train_batch_size=8,
        weight_decay=0.0,
        max_grad_norm=1.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        lr_scheduler_type="linear",
        logging_steps=1,
        save_strategy="no",
        train_sampling_strategy="group_by_length" if padding == "bucketed" else "random",
        seed=seed,
    )
    trainer = transformers.Trainer(model, training, train_dataset=split("train"), data_collator=counting_collator)
    train_loss = trainer.train().training_loss
    evaluation = transformers.Trainer(model, transformers.TrainingArguments(**common), data_collator=collator)
    fields = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    return SimpleNamespace(
        history=[tuple(entry[field] for field in fields) for entry in trainer.state.log_history if "loss" in entry],
        train_loss=train_loss,
        logits={name: evaluation.predict(split(name)).predictions for name in ("validation", "test")},
        samples=sum(len(mask_BL) for mask_BL in seen),
        real_tokens=sum(int(mask_BL.sum()) for mask_BL in seen),
        computed_tokens=sum(mask_BL.numel() for mask_BL in seen),
    )


def test_dropout_is_on_so_that_the_seed_matters():
    assert load_encoder("tiny-distilbert").config.dropout == 0.1
    assert load_encoder("tiny-bert").config.hidden_dropout_prob == 0.1


def test_the_loss_history_is_bit_identical(case):
    history = [
        (entry.step, entry.epoch, entry.loss, entry.learning_rate, entry.gradient_norm) for entry in case.record.history
    ]
    assert len(history) == 12
    assert history == case.by_hand.history
    assert case.record.train_loss == case.by_hand.train_loss


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_logits_are_bit_identical(case, split):
    np.testing.assert_array_equal(case.record.predictions[split].logits, case.by_hand.logits[split], strict=True)


def test_tokens_are_counted_as_they_are_fed(case):
    counts = case.record.counts
    assert (counts.steps, counts.samples) == (12, case.by_hand.samples)
    assert counts.real_tokens == case.by_hand.real_tokens
    assert counts.real_tokens + counts.padding_tokens == case.by_hand.computed_tokens


def test_padding_strategies_compute_different_amounts(data, output_dir):
    """The counts by hand could be wrong together with ours; these follow from the sentences alone."""
    texts, _ = small.read(data[small.TWO], "train")
    tokenizer = load_encoder("tiny-distilbert").tokenizer
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert max(lengths) > MAX_LENGTH
    real = 2 * sum(min(length, MAX_LENGTH) for length in lengths)
    padding = {}
    for strategy in ("fixed", "dynamic", "bucketed"):
        counts = run(data, output_dir, method="full", padding=strategy).counts
        assert counts.real_tokens == real
        padding[strategy] = counts.padding_tokens
    assert padding["fixed"] == 2 * small.TRAIN * MAX_LENGTH - real
    assert 0 < padding["bucketed"] < padding["dynamic"] < padding["fixed"]


# Steps, learning rate and losses


def test_the_learning_rate_falls_linearly_to_zero(full):
    """An entry states the rate of its last step; it would be 0 in the step after the last."""
    rates = [entry.learning_rate for entry in full.history]
    assert rates == pytest.approx([1e-3 * (12 - step) / 12 for step in range(12)], rel=1e-12)


def test_an_epoch_keeps_its_last_partial_batch(full):
    assert full.counts.steps == 2 * math.ceil(small.TRAIN / 8) == 12
    assert full.counts.samples == 2 * small.TRAIN
    assert [entry.epoch for entry in full.history] == pytest.approx([step / 6 for step in range(1, 13)])


def test_mean_losses(full):
    losses = [entry.loss for entry in full.history]
    assert full.train_loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert full.final_loss == pytest.approx(np.mean(losses[6:]), rel=1e-6)
    assert full.final_loss != pytest.approx(full.train_loss, rel=1e-3)


def test_an_entry_is_the_mean_of_its_interval_and_the_last_may_be_short(full, data, output_dir):
    losses = [entry.loss for entry in full.history]
    history = run(data, output_dir, method="full", logging_steps=5).history
    assert [entry.step for entry in history] == [5, 10, 12]
    means = [np.mean(losses[:5]), np.mean(losses[5:10]), np.mean(losses[10:])]
    assert [entry.loss for entry in history] == pytest.approx(means, rel=1e-6)
    for entry in history:
        assert entry.gradient_norm == full.history[entry.step - 1].gradient_norm
        assert entry.learning_rate == full.history[entry.step - 1].learning_rate


@pytest.mark.parametrize(("max_steps", "last_epoch"), [(1, 0), (5, 0), (6, 0), (7, 6), (8, 6)])
def test_max_steps_ends_the_run_and_the_decay(data, output_dir, max_steps, last_epoch):
    record = run(data, output_dir, method="full", max_steps=max_steps)
    assert record.counts.steps == len(record.history) == max_steps
    rates = [1e-3 * (max_steps - step) / max_steps for step in range(max_steps)]
    assert [entry.learning_rate for entry in record.history] == pytest.approx(rates, rel=1e-12)
    losses = [entry.loss for entry in record.history]
    assert record.final_loss == pytest.approx(np.mean(losses[last_epoch:]), rel=1e-6)
    assert record.counts.samples == (max_steps * 8 if max_steps < 6 else (max_steps - 6) * 8 + small.TRAIN)


def test_more_max_steps_than_there_are_change_nothing(full, data, output_dir):
    """Hugging Face's `Trainer` alone would run more epochs to reach them."""
    record = run(data, output_dir, method="full", max_steps=1000)
    assert record.history == full.history
    assert record.predictions == full.predictions


# A loss that is not finite


def refused_run(data, output_dir, **fields):
    with pytest.raises(rtlab.RunFailedError) as failed:
        run(data, output_dir, method="full", **fields)
    record = load(failed.value.path)
    assert record == failed.value.record
    assert record.status == "nan"
    assert str(failed.value) == f"the run ended with status 'nan': {record.error}"
    assert (record.history, record.scores, record.predictions) == ((), {}, {})
    assert (record.train_loss, record.final_loss, record.timing, record.counts) == (None, None, None, None)
    assert not model_folder(output_dir, record).exists()
    assert load_records(failed.value.path.parent).broken == {}
    return record.error


@pytest.mark.parametrize("logging_steps", [1, 3, 50])
def test_the_first_step_without_a_finite_loss_is_named(data, tmp_path, logging_steps):
    error = refused_run(data, tmp_path, learning_rate=1e30, logging_steps=logging_steps)
    assert error == ("NonFiniteLossError: the loss of step 2 is nan; a lower learning rate or precision fp32 may do")


def test_a_poisoned_encoder_has_no_finite_loss_from_the_start(data, tmp_path):
    """Its weights are finite, else it would not be read; what it computes is not."""
    poisoned = tmp_path / "poisoned"
    model = load_encoder("tiny-distilbert").base()
    with torch.no_grad():
        model.transformer.layer[1].ffn.lin1.weight.mul_(1e38)
    model.save_pretrained(poisoned)
    load_encoder("tiny-distilbert").tokenizer.save_pretrained(poisoned)
    assert "the loss of step 1 is nan" in refused_run(data, tmp_path / "out", encoder=str(poisoned))


def test_an_update_that_ruins_the_weights_in_the_last_step_is_no_result(data, tmp_path):
    error = refused_run(data, tmp_path, learning_rate=1e30, max_steps=1)
    assert "the logits of validation are not finite; a lower learning rate" in error


def test_a_gradient_that_is_not_finite_is_no_result(data, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    assert "the gradient norm of step 1 is inf" in refused_run(data, tmp_path)


# Parameters


def linear(inputs, outputs):
    return inputs * outputs + outputs


WORDS = len(corpus.vocabulary()) + 5  # and the special tokens
NORM = 2 * 64
LAYER = 4 * linear(64, 64) + NORM + linear(64, 128) + linear(128, 64) + NORM
ENCODERS = {
    "tiny-distilbert": (WORDS + 512) * 64 + NORM + 2 * LAYER,
    "tiny-bert": (WORDS + 512 + 2) * 64 + NORM + 2 * LAYER + linear(64, 64),  # token types, and the pooler
}
HEADS = {"tiny-distilbert": linear(64, 64) + linear(64, 2), "tiny-bert": linear(64, 2)}


def parameters(counts):
    return (
        counts.parameters_total,
        counts.parameters_encoder,
        counts.parameters_adapter,
        counts.parameters_head,
        counts.parameters_trained,
    )


@pytest.mark.parametrize("encoder", ["tiny-distilbert", "tiny-bert"])
def test_parameters_of_full_fine_tuning(encoder, data, output_dir):
    counts = run(data, output_dir, encoder, method="full", max_steps=1).counts
    everything = ENCODERS[encoder] + HEADS[encoder]
    assert parameters(counts) == (everything, ENCODERS[encoder], 0, HEADS[encoder], everything)


@pytest.mark.parametrize("encoder", ["tiny-distilbert", "tiny-bert"])
@pytest.mark.parametrize(
    ("modules", "per_layer"),
    [("attention", 4 * (64 + 64)), ("attention+mlp", 4 * (64 + 64) + 2 * (64 + 128))],
)
def test_parameters_of_lora(encoder, modules, per_layer, data, output_dir):
    fields = {"method": "lora", "settings": {"r": 3}, "target_modules": modules}
    counts = run(data, output_dir, encoder, **fields, max_steps=1).counts
    adapter, head = 2 * 3 * per_layer, HEADS[encoder]
    assert parameters(counts) == (ENCODERS[encoder] + adapter + head, 0, adapter, head, adapter + head)


def test_the_head_has_a_row_for_each_class(data, output_dir):
    counts = run(data, output_dir, names=small.THREE, method="full", max_steps=1).counts
    assert counts.parameters_head == linear(64, 64) + linear(64, 3)


def test_lora_trains_adapter_and_head_and_saves_only_them(lora, data, output_dir):
    transformers.set_seed(42)
    fresh = load_encoder("tiny-distilbert").classifier(small.TWO).state_dict()
    saved = load_file(model_folder(output_dir, lora) / "adapter_model.safetensors")
    heads = {name: saved[f"base_model.model.{name}"] for name in fresh if "classifier" in name}
    assert sorted(heads) == ["classifier.bias", "classifier.weight", "pre_classifier.bias", "pre_classifier.weight"]
    for name, weights in heads.items():
        assert weights.shape == fresh[name].shape
        assert not torch.equal(weights, fresh[name]), name
    adapter = {name for name in saved if ".lora_" in name}
    assert len(adapter) == 2 * 4 * 2
    assert all(saved[name].abs().max() > 0 for name in adapter)
    assert len(saved) == len(adapter) + len(heads)


def test_full_fine_tuning_trains_every_weight_that_the_loss_reaches(full, output_dir):
    fresh = load_encoder("tiny-distilbert").base().state_dict()
    saved = load_file(model_folder(output_dir, full) / "model.safetensors")
    unmoved = [name for name, weights in fresh.items() if torch.equal(saved[f"distilbert.{name}"], weights)]
    assert unmoved == []
