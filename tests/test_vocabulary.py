"""A run that trains the rows of the word embedding it uses leaves the same model behind as one that trains all."""

import numpy as np
import pytest
import small
import torch
import transformers

from rtlab.encoders import load_encoder
from rtlab.engines.vocabulary import UsedRows
from rtlab.tokens import Tokens

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
