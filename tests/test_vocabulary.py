"""A run that trains the rows of the word embedding it uses leaves the same model behind as one that trains all."""

import numpy as np
import pytest
import small
import torch
import transformers

import rtlab
from rtlab.data import load_splits
from rtlab.encoders import load_encoder
from rtlab.engines import native
from rtlab.engines.vocabulary import UsedRows
from rtlab.tokens import Tokens, token_arrays

ENCODERS = ("tiny-bert", "tiny-distilbert", "tiny-electra", "tiny-roberta")


def tokens_of(sentences):
    return Tokens(
        ids=np.concatenate(sentences).astype(np.int32),
        offsets=np.cumsum([0, *map(len, sentences)], dtype=np.int64),
        labels=np.zeros(len(sentences), dtype=np.int64),
    )


def model_of(encoder):
    transformers.set_seed(0)
    return encoder.classifier(small.TWO)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_smaller_embedding_gives_each_token_its_vector(name):
    encoder = load_encoder(name)
    model, padding = model_of(encoder), encoder.tokenizer.pad_token_id
    whole = model.get_input_embeddings().weight.detach().clone()
    tokens = tokens_of([[7, 90, 40, 90], [8, 300], [40, 41, 7]])
    used = UsedRows(model, tokens, np.array([2, 0]), padding=padding)
    weight = model.get_input_embeddings().weight
    assert weight.requires_grad
    assert len(weight) == padding + 1 + len({7, 90, 40, 41})
    assert torch.equal(weight[: padding + 1], whole[: padding + 1])
    for sentence in (0, 2):
        there = slice(tokens.offsets[sentence], tokens.offsets[sentence + 1])
        assert torch.equal(weight[used.tokens.ids[there]], whole[tokens.ids[there]])
    assert np.array_equal(used.tokens.offsets, tokens.offsets)


def test_a_token_that_the_run_does_not_read_is_refused_and_never_another():
    encoder = load_encoder("tiny-bert")
    model = model_of(encoder)
    used = UsedRows(model, tokens_of([[7, 90], [8, 90]]), np.array([0]), padding=0)
    assert used.tokens.ids.tolist() == [1, 2, -1, 2]
    with pytest.raises(IndexError):
        model.get_input_embeddings()(torch.tensor([-1]))


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_put_back_is_what_training_all_rows_gives(name):
    """Over steps of AdamW and clipping, with padding among the tokens; rows that no sentence uses stay as they were."""
    encoder = load_encoder(name)
    padding = encoder.tokenizer.pad_token_id
    tokens = tokens_of([[7, 90, 40, 90, padding], [8, 300, 12], [9, 500]])
    models = [model_of(encoder).eval() for _ in range(2)]
    whole = models[1].get_input_embeddings().weight
    before = whole.detach().clone()
    used = UsedRows(models[1], tokens, np.array([0, 1]), padding=padding)
    for model, ids in ((models[0], tokens.ids), (models[1], used.tokens.ids)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
        for begin, end in ((0, 5), (5, 8), (0, 5)):
            optimizer.zero_grad()
            positions = torch.arange(end - begin)[None] + encoder.first_position
            logits = model(input_ids=torch.from_numpy(ids[begin:end]).long()[None], position_ids=positions).logits
            torch.nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    used.restore()
    assert models[1].get_input_embeddings().weight is whole
    assert whole.requires_grad
    moved = (whole != before).any(1).nonzero().flatten().tolist()
    assert moved == sorted({7, 90, 40, 8, 300, 12})
    for (key, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5, msg=key)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_trains_the_rows_that_its_steps_read(method, tmp_path, monkeypatch):
    """Fewer steps, fewer rows; an embedding that is frozen stays whole; afterwards it is whole in any case."""
    whole = load_encoder("tiny-bert").config.vocab_size
    sizes, models = [], []
    eager = native.Step.eager

    def watched(step, *batch):
        sizes.append(len(step.model.get_input_embeddings().weight))
        models.append(step.model)
        eager(step, *batch)

    monkeypatch.setattr(native.Step, "eager", watched)
    folder = small.data_folder(tmp_path / "data", small.TWO, 40, 20)
    for steps in (1, 4):
        asked = small.experiment(folder, encoder="tiny-bert", method=method, engine="native", max_steps=steps)
        rtlab.run(asked, output_dir=tmp_path, device="cpu")
        assert len(models[-1].get_input_embeddings().weight) == whole
    if method == "full":
        assert 1 < sizes[0] < sizes[1] == sizes[-1] < whole
    else:
        assert set(sizes) == {whole}


def test_the_real_data_uses_as_many_rows_as_the_source_says(real_data):
    tokens = token_arrays(load_splits(str(real_data)).train.texts, load_encoder("minilm").tokenizer, 512)
    assert len(np.unique(tokens.ids)) == 12_884
    assert load_encoder("minilm").config.vocab_size == 30_522
