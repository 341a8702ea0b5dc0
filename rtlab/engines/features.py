"""Features that were read off sentences before, for who fits again and again on the same ones."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import PaddingCost
from rtlab.methods import Reads


class Found(NamedTuple):
    """Features of N sentences.

    Attributes:
        features: They, (N, D).
        padding_tokens: Computed beside the tokens of those that were read now.
        known_s: Seconds that those took which were known.
    """

    features: NDArray[np.float32]
    padding_tokens: int
    known_s: float


class KnownFeatures:
    """Features of sentences, by one encoder that cuts them at one length, and the seconds that each of them took."""

    def __init__(self) -> None:
        self._known: dict[tuple[Reads, str], tuple[NDArray[np.float32], float]] = {}

    def know(self, texts: Sequence[str], what: Reads) -> bool:
        """Whether nothing of these sentences is left to be read."""
        return all((what, text) in self._known for text in texts)

    def of(
        self,
        texts: Sequence[str],
        what: Reads,
        read: Callable[[Sequence[str]], tuple[NDArray[np.float32], PaddingCost]],
    ) -> Found:
        """The features of sentences, those that are not known read now.

        Args:
            texts: N sentences.
            what: What is read off them.
            read: Reads M sentences, and gives their features, (M, D), and what that took.
        """
        missing = list(dict.fromkeys(text for text in texts if (what, text) not in self._known))
        known_s, padding = sum(self._known[what, text][1] for text in texts if (what, text) in self._known), 0
        if missing:
            start = time.perf_counter()
            features_MD, cost = read(missing)
            each, padding = (time.perf_counter() - start) / len(missing), cost.padding_tokens
            for text, features_D in zip(missing, features_MD, strict=True):
                self._known[what, text] = features_D, each
        return Found(np.stack([self._known[what, text][0] for text in texts]), padding, known_s)
