"""The tokenized data set, and what each padding strategy computes of it, counted on the batches themselves."""

import json
from typing import get_args

import datasets
import numpy as np
import pytest
import small
from datasets import ClassLabel, List, Value
from transformers import AutoTokenizer, DataCollatorWithPadding

from rtlab.batches import plan_epoch
from rtlab.encoders import load_encoder
from rtlab.recipe import Padding
from rtlab.tokenizing import as_text, tokenize

COLUMNS = ["text", "label", "input_ids", "attention_mask"]
SIZES = {"train": small.TRAIN, "validation": small.HELD_OUT, "test": small.HELD_OUT}
ENCODER = "tiny-distilbert"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("tokenized") / "reviews")


@pytest.fixture(scope="module")
def found(folder):
    return tokenize(str(folder), encoder=ENCODER, batch_size=8)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(load_encoder(ENCODER).path)


@pytest.mark.parametrize("padding", ["none", "fixed"])
def test_columns_sizes_and_types(folder, padding):
    data = tokenize(str(folder), encoder=ENCODER, padding=padding, max_length=64).data
    assert isinstance(data, datasets.DatasetDict)
    assert {name: len(split) for name, split in data.items()} == SIZES
    for split in data.values():
        assert split.column_names == COLUMNS
        assert split.features["label"] == ClassLabel(names=["negative", "positive"])
        assert split.features["text"] == Value("string")
        assert isinstance(split.features["input_ids"], List)
        assert isinstance(split.features["attention_mask"], List)


@pytest.mark.parametrize("split", SIZES)
def test_rows_are_the_sentences_in_order_without_padding(found, folder, tokenizer, split):
    texts, labels = small.read(folder, split)
    data = found.data[split]
    assert data["text"][:] == texts
    assert data["label"][:] == labels
    assert data["input_ids"][:] == [tokenizer(text)["input_ids"] for text in texts]
    assert data["attention_mask"][:] == [[1] * len(ids) for ids in data["input_ids"]]


def test_fixed_padding_goes_to_max_length_and_is_masked(folder, tokenizer):
    data = tokenize(str(folder), encoder=ENCODER, padding="fixed", max_length=30).data
    cut = 0
    for split in data.values():
        for row in split:
            real = tokenizer(row["text"], truncation=True, max_length=30)["input_ids"]
            padding = 30 - len(real)
            assert row["input_ids"] == real + [tokenizer.pad_token_id] * padding
            assert row["attention_mask"] == [1] * len(real) + [0] * padding
            cut += len(tokenizer(row["text"])["input_ids"]) > 30
    assert cut


@pytest.mark.parametrize("padding", ["none", "fixed"])
def test_what_is_saved_loads_again_as_it_was(folder, tmp_path, padding):
    place = tmp_path / "saved" / "tokens"
    data = tokenize(str(folder), encoder=ENCODER, padding=padding, max_length=40, save_to=place).data
    loaded = datasets.load_from_disk(str(place))
    assert list(loaded) == list(data) == list(SIZES)
    for name in SIZES:
        assert loaded[name].features == data[name].features
        assert loaded[name][:] == data[name][:]


def test_the_libraries_bars_come_back_after_saving(folder, tmp_path):
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    before = is_progress_bar_enabled()
    try:
        for enabled, switch in ((True, enable_progress_bar), (False, disable_progress_bar)):
            switch()
            tokenize(str(folder), encoder=ENCODER, save_to=tmp_path / str(enabled))
            assert is_progress_bar_enabled() is enabled
    finally:
        (enable_progress_bar if before else disable_progress_bar)()


def on_the_batches(data, tokenizer, *, padding, batch_size, seed, max_length):
    """Real and padding tokens of Hugging Face's collator on every batch of the epoch."""
    lengths = np.array([len(ids) for ids in data["input_ids"]], dtype=np.int64)
    plan = plan_epoch(lengths, padding=padding, batch_size=batch_size, seed=seed, epoch=0)
    how = {"padding": "max_length", "max_length": max_length} if padding == "fixed" else {}
    collator = DataCollatorWithPadding(tokenizer, **how)
    rows = data.remove_columns(["text", "label"])
    real = computed = 0
    for batch in plan.batches:
        mask = collator([rows[int(row)] for row in batch])["attention_mask"]
        real += int(mask.sum())
        computed += mask.numel()
    return real, computed - real


@pytest.mark.parametrize("max_length", [512, 24])
@pytest.mark.parametrize("batch_size", [1, 8, 100])
@pytest.mark.parametrize("padding", ["fixed", "dynamic", "bucketed"])
def test_costs_are_those_of_the_batches(folder, tokenizer, padding, batch_size, max_length):
    found = tokenize(str(folder), encoder=ENCODER, batch_size=batch_size, max_length=max_length, seed=7)
    cost = found.costs[padding]
    counted = on_the_batches(
        found.data["train"], tokenizer, padding=padding, batch_size=batch_size, seed=7, max_length=max_length
    )
    assert (cost.real_tokens, cost.padding_tokens) == counted
    assert cost.ratio == pytest.approx(sum(counted) / counted[0])


def test_every_strategy_has_a_cost_and_packed_has_none(found):
    assert tuple(found.costs) == get_args(Padding)
    real = sum(map(len, found.data["train"]["input_ids"]))
    assert {cost.real_tokens for cost in found.costs.values()} == {real}
    assert found.costs["packed"].padding_tokens == 0
    assert found.costs["packed"].ratio == 1
    assert found.costs["fixed"].padding_tokens == 512 * small.TRAIN - real
    ratios = [found.costs[padding].ratio for padding in ("fixed", "dynamic", "bucketed", "packed")]
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == 4


def test_costs_do_not_depend_on_the_padding_of_the_rows(folder, found):
    fixed = tokenize(str(folder), encoder=ENCODER, batch_size=8, padding="fixed")
    assert fixed.costs == found.costs


def test_a_batch_of_one_has_nothing_to_pad(folder):
    found = tokenize(str(folder), encoder=ENCODER, batch_size=1)
    assert found.costs["dynamic"].padding_tokens == found.costs["bucketed"].padding_tokens == 0


def test_the_seed_moves_the_costs(folder, found):
    others = {tokenize(str(folder), encoder=ENCODER, batch_size=8, seed=seed).costs["dynamic"] for seed in range(4)}
    assert len(others) > 1
    assert tokenize(str(folder), encoder=ENCODER, batch_size=8).costs == found.costs


def test_a_limit_keeps_so_many_sentences(folder):
    found = tokenize(str(folder), encoder=ENCODER, limit=10)
    assert {name: len(split) for name, split in found.data.items()} == dict.fromkeys(SIZES, 10)


def test_the_text_shows_sizes_columns_and_costs(found):
    text = as_text(found)
    assert text.startswith("sentences: train 42  validation 20  test 20\n")
    assert "\ncolumns: text, label, input_ids, attention_mask\n" in text
    assert "\none training epoch at batch size 8, fixed padding to 512\n" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    for padding, cost in found.costs.items():
        assert rows[padding] == [padding, f"{cost.real_tokens:,}", f"{cost.padding_tokens:,}", f"{cost.ratio:.2f}"]
    assert rows["packed"][2:] == ["0", "1.00"]


def test_the_json_holds_the_same(found):
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["sizes"] == SIZES
    assert said["columns"] == COLUMNS
    assert (said["batch_size"], said["max_length"]) == (8, 512)
    dynamic = found.costs["dynamic"]
    assert said["padding"]["dynamic"] == {
        "real_tokens": dynamic.real_tokens,
        "padding_tokens": dynamic.padding_tokens,
        "ratio": dynamic.ratio,
    }


def test_the_command_line_says_the_same_and_saves(found, folder, rtlab, tmp_path):
    command = ("tokenize", "--dataset", folder, "--encoder", ENCODER, "--batch-size", "8")
    done = rtlab(*command)
    assert (done.status, done.out, done.err) == (0, as_text(found) + "\n", "")
    done = rtlab(*command, "--json", "-")
    assert json.loads(done.out) == json.loads(json.dumps(found.to_json()))
    done = rtlab(*command, "--padding", "fixed", "--max-length", "50", "--save-to", "tokens")
    assert done.status == 0
    assert done.out.endswith("\nsaved to tokens\n")
    saved = datasets.load_from_disk(str(tmp_path / "tokens"))
    assert {len(ids) for ids in saved["test"]["input_ids"]} == {50}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 513}, "max_length must be at most 512, the positions of encoder tiny-distilbert; got 513"),
        ({"max_length": 2}, "max_length must be a whole number of at least 3; got 2"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"limit": 0}, "limit must be a whole number of at least 1; got 0"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused_and_nothing_saved(folder, tmp_path, fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        tokenize(str(folder), encoder=ENCODER, save_to=tmp_path / "tokens", **fields)
    assert not (tmp_path / "tokens").exists()


def test_a_file_is_no_place_to_save_to(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"^save_to must be a directory; got .*, where file is a file$"):
            tokenize(str(folder), encoder=ENCODER, save_to=place)


def test_a_file_of_any_name_may_lie_beside_what_is_saved(folder, tmp_path):
    (tmp_path / "records").write_text("")
    tokenize(str(folder), encoder=ENCODER, save_to=tmp_path)
    assert (tmp_path / "dataset_dict.json").is_file()


def test_the_real_data(real_data):
    found = tokenize(str(real_data), encoder="minilm")
    assert {name: len(split) for name, split in found.data.items()} == {"train": 8530, "validation": 1066, "test": 1066}
    assert found.costs["dynamic"].ratio == pytest.approx(1.78, abs=0.01)
    assert found.costs["fixed"].ratio == pytest.approx(18.7, abs=0.05)
    assert found.costs["dynamic"].real_tokens == pytest.approx(8530 * 27.4, rel=0.002)
    assert 1 < found.costs["bucketed"].ratio < 1.1
