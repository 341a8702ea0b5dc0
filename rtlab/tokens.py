"""Sentences as tokens, one flat array per split: what our own code computes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.data import Split, Splits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """One split's tokens, end to end.

    Attributes:
        ids: Token ids of all sentences, special tokens included, (T,) int32.
        offsets: Where each sentence begins, and T at the end, (N + 1,) int64.
        labels: Classes, (N,) int64.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per sentence, (N,) int64."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class TokenizedSplits:
    """The tokens of the three splits."""

    train: Tokens
    validation: Tokens
    test: Tokens


def tokenize(splits: Splits, tokenizer: "PreTrainedTokenizerFast", *, max_length: int) -> TokenizedSplits:
    """Tokenize every sentence, cut to `max_length` word pieces, special tokens included.

    Args:
        splits: Sentences and labels.
        tokenizer: A fast tokenizer of transformers.
        max_length: Longest sequence kept.
    """

    def split_tokens(split: Split) -> Tokens:
        return token_arrays(split.texts, tokenizer, max_length, labels=split.labels)

    return TokenizedSplits(
        train=split_tokens(splits.train), validation=split_tokens(splits.validation), test=split_tokens(splits.test)
    )


def token_lists(texts: Sequence[str], tokenizer: "PreTrainedTokenizerFast", max_length: int) -> list[list[int]]:
    """Token ids of each sentence, cut to `max_length`, unpadded."""
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, return_attention_mask=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def token_arrays(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerFast", max_length: int, *, labels: Sequence[int] | None = None
) -> Tokens:
    """Sentences as one flat array of tokens; their labels are 0 where none are given."""
    ids = token_lists(texts, tokenizer, max_length) if texts else []
    return Tokens(
        ids=np.fromiter((token for sentence in ids for token in sentence), dtype=np.int32),
        offsets=np.cumsum([0, *map(len, ids)], dtype=np.int64),
        labels=np.zeros(len(ids), dtype=np.int64) if labels is None else np.asarray(labels, dtype=np.int64),
    )
