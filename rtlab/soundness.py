"""Whether an encoder whose sentences we do not pack can be trained on padded batches, tried on two sentences.

Some architectures mix padding into a sentence (Fourier transforms, convolutions, landmarks), read its last token
wherever that is, or take no attention mask; a decoder's first token sees no other. Each would train, to results that
depend on which sentences were batched together. So a sentence is computed alone and padded, before a run.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rtlab.encoders import Encoder
from rtlab.encoders.built_in import quiet
from rtlab.methods import Reads
from rtlab.tokens import token_lists
from rtlab.values import one_line, shown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOLERANCE = 1e-4  # of the largest number; padding alone moves the last digits of fp32
SAME = 1e-6  # likewise; what two sentences differ by at least is fifty times that, even under untrained weights
_WOULD_DO = "an encoder of the BERT kind would do"


def check_sentences(encoder: Encoder, texts: Sequence[str], max_length: int, *, option: str) -> None:
    """Refuse (`ValueError`) sentences that the encoder cannot take: of no tokens, or of tokens that it has no row for.

    Tokens are counted only where a tokenizer can give such.

    Args:
        encoder: The encoder.
        texts: Sentences.
        max_length: Where they are cut.
        option: What gave the sentences, for messages.
    """
    tokenizer, rows, entries = encoder.tokenizer, encoder.config.vocab_size, encoder.entries
    if tokenizer.pad_token_id >= rows:
        raise ValueError(
            f"encoder must have a row for each token; got {encoder.name}, whose padding token is number "
            f"{tokenizer.pad_token_id}, with {rows} rows of embeddings for {entries} entries of its tokenizer; the "
            "tokenizer that it was trained with would do"
        )
    if entries <= rows and tokenizer("").input_ids:
        return
    for number, ids in enumerate(token_lists(texts, tokenizer, max_length), start=1):
        if not ids:
            raise ValueError(
                f"{option} must hold sentences of at least one token; got sentence {number}, "
                f"{shown(texts[number - 1])}, of none for encoder {encoder.name}; a tokenizer that adds special tokens "
                "would do"
            )
        if max(ids) >= rows:
            token = tokenizer.convert_ids_to_tokens(max(ids))
            raise ValueError(
                f"encoder must have a row for each token; got {encoder.name}, with {rows} rows of embeddings for "
                f"{entries} entries of its tokenizer: sentence {number} holds {one_line(str(token))!r}, number "
                f"{max(ids)}; the tokenizer that it was trained with would do"
            )


def check_first_token(encoder: Encoder, reads: Reads) -> None:
    """Refuse (`ValueError`) an SVM on the first token's vector where the tokenizer puts no token before a sentence."""
    if reads != "cls":
        return
    ids = encoder.tokenizer("").input_ids
    if not ids or ids[0] == encoder.tokenizer.eos_token_id:
        raise ValueError(
            f"pooling 'cls' needs a tokenizer that puts a token of its own before a sentence; got encoder "
            f"{encoder.name}, whose first token is the sentence's first word; mean would do"
        )


def check_padding(encoder: Encoder, texts: Sequence[str], max_length: int, reads: Reads) -> None:
    """Refuse (`ValueError`) an encoder that gives a sentence another result when it is padded.

    Args:
        encoder: The encoder; of one that can be packed, nothing is tried.
        texts: Sentences of the run.
        max_length: Where they are cut.
        reads: What is read off the encoder.
    """
    import torch

    _check_token_types(encoder)
    if encoder.packs:
        return
    (long,) = token_lists([max(texts, key=len)], encoder.tokenizer, max_length)
    # One of an even and one of an odd number of tokens: some architectures take tokens two by two.
    shorter = [long[:kept] + long[-1:] for kept in (len(long) // 2 - 1, len(long) // 2) if kept > 0]
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), quiet():
        torch.manual_seed(0)
        model = encoder.classifier(("0", "1")).eval() if reads == "logits" else encoder.base()
        try:
            beside = _read(model, reads, encoder, [*shorter, long])
            alone = [_read(model, reads, encoder, [ids])[0] for ids in shorter]
        except Exception as error:
            reason = one_line(str(error)) or type(error).__name__
            raise ValueError(
                f"encoder must take sentences of any length, padded; got {encoder.name}, of type "
                f"{encoder.config.model_type}, which does not ({reason}); {_WOULD_DO}"
            ) from error
    *padded, whole = beside
    if any(map(_differ, alone, padded)):
        raise ValueError(
            f"encoder must give a sentence the same result with padding behind it; got {encoder.name}, of type "
            f"{encoder.config.model_type}, whose result depends on it; {_WOULD_DO}"
        )
    if any(bool((of[0] - whole[0]).abs().max() <= SAME * whole[0].abs().max()) for of in padded):
        raise ValueError(
            f"encoder must read a sentence from a token that sees all others; got {encoder.name}, of type "
            f"{encoder.config.model_type}, whose result is the same for sentences that begin alike; {_WOULD_DO}"
        )


def _check_token_types(encoder: Encoder) -> None:
    types = encoder.tokenizer("a film").get("token_type_ids", [])
    if any(types):
        raise ValueError(
            f"encoder must take one sentence as tokens of type 0, which is all that is passed; got {encoder.name}, "
            f"whose tokenizer gives types {', '.join(map(str, sorted(set(types))))}; {_WOULD_DO}"
        )


# Of a sentence: what a method reads, (C,) or (D,), and the last hidden states of its tokens, (L, D).
Found = tuple["torch.Tensor", "torch.Tensor"]


def _read(model: "PreTrainedModel", what: Reads, encoder: Encoder, ids: list[list[int]]) -> list[Found]:
    """What becomes of each sentence, all padded to the longest."""
    batch = encoder.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    mask_SL = batch["attention_mask"]
    output = model(input_ids=batch["input_ids"], attention_mask=mask_SL, output_hidden_states=True)
    hidden_SLD = output.hidden_states[-1]
    if what == "logits":
        read_SC = output.logits
    elif what == "cls":
        read_SC = output.last_hidden_state[:, 0]
    else:
        read_SC = (output.last_hidden_state * mask_SL[..., None]).sum(1) / mask_SL.sum(1, keepdim=True)
    return [(read_C, hidden_LD[: len(of)]) for read_C, hidden_LD, of in zip(read_SC, hidden_SLD, ids, strict=True)]


def _differ(alone: Found, padded: Found) -> bool:
    """Whether a sentence's numbers differ; hidden states of an architecture that shortens sentences are left out."""
    pairs = [pair for pair in zip(alone, padded, strict=True) if pair[0].shape == pair[1].shape]
    return any(bool((one - other).abs().max() > TOLERANCE * one.abs().max()) for one, other in pairs)
