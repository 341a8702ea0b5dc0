"""The part of a model's word embedding that a run trains.

Of a small encoder's parameters half are word embeddings, and a training split uses a part of them: rotten_tomatoes
12,884 of BERT's 30,522. A row that no sentence uses gets no gradient, and AdamW without weight decay then leaves it as
it is, to the last bit. So a run trains a smaller embedding of the rows that it uses, renumbered, and the whole is put
back when it ends: the same weights, for less memory and a shorter optimizer step.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from rtlab.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UsedRows:
    """Puts a smaller word embedding into a model, until `restore`.

    Args:
        model: One of transformers', whose word embedding is trained by an optimizer that leaves alone what never had a
            gradient.
        tokens: The training split.
        rows_S: Its sentences that the run reads.
        padding: The padding token. It and all before it keep their numbers, as the model knows it by its own.

    Attributes:
        tokens: The split in the smaller embedding's numbers; a token that the run does not read has -1, which no
            embedding takes.
    """

    def __init__(self, model: "PreTrainedModel", tokens: Tokens, rows_S: NDArray[np.int64], *, padding: int) -> None:
        self._module = model.get_input_embeddings()
        self._whole = self._module.weight
        read_N = np.zeros(len(tokens), dtype=np.bool_)
        read_N[rows_S] = True
        used_V = np.zeros(len(self._whole), dtype=np.bool_)
        used_V[tokens.ids[np.repeat(read_N, tokens.lengths)]] = True
        used_V[: padding + 1] = True
        number_V = np.where(used_V, np.cumsum(used_V, dtype=np.int32) - 1, np.int32(-1))
        self.tokens = dataclasses.replace(tokens, ids=number_V[tokens.ids])
        self._used_U = torch.from_numpy(np.flatnonzero(used_V)).to(self._whole.device)
        self._module.weight = torch.nn.Parameter(self._whole.detach().index_select(0, self._used_U))

    def restore(self) -> None:
        """Put the whole embedding back, with the rows that were trained."""
        with torch.no_grad():
            self._whole.index_copy_(0, self._used_U, self._module.weight)
        self._module.weight = self._whole

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Meanwhile the whole is there, as `restore` puts it back, to be read."""
        smaller = self._module.weight
        self.restore()
        try:
            yield
        finally:
            self._module.weight = smaller
