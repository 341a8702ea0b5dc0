"""Dropout's factors on a CPU: 0 for what is dropped, and for the rest what keeps the mean.

torch's own dropout draws one random number in double precision for each value, on one thread. Here torch's generator
gives a seed and numpy's SFC64, which is faster, the numbers, four values sharing one of 64 bits; and as a training step
needs dozens of masks, each a call that takes longer than its numbers, they are cut from long draws.
`bench/test_operations.py` measures masks so against torch's.
"""

from collections.abc import Sequence

import numpy as np
import torch

LONGEST_DRAW = 2**22  # values


def draw(many: int, probability: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Factors of as many values.

    Args:
        many: Number of values.
        probability: Of a value to be dropped, in (0, 1). It is rounded to a multiple of 2⁻¹⁶, for 0.1 to 0.100006, but
            never to 0 or 1.
        dtype: Of the factors.
    """
    dropped = min(max(1, round(probability * 2**16)), 2**16 - 1)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    bits = torch.from_numpy(np.random.SFC64(seed).random_raw((many + 3) // 4).view(np.int16))
    kept = torch.ge(bits[:many], dropped - 2**15, out=torch.empty(many, dtype=dtype))
    return kept.mul_(2**16 / (2**16 - dropped))


class Masks:
    """The factors of one run, one mask after another.

    What is drawn and not yet used is used next, so a run that is to be repeated begins with new `Masks`.
    """

    def __init__(self) -> None:
        self._left: dict[tuple[float, torch.dtype], torch.Tensor] = {}
        self._draw = 0

    def keep(self, values: torch.Tensor, probability: float) -> torch.Tensor:
        """Factors in the shape and type of `values`, each used once; `probability` as `draw` takes it."""
        many, kind = values.numel(), (probability, values.dtype)
        left = self._left.get(kind)
        if left is None or len(left) < many:
            self._draw = min(2 * max(self._draw, many), LONGEST_DRAW)
            left = draw(max(self._draw, many), *kind)
        self._left[kind] = left[many:]
        return left[:many].view(values.shape)

    def state(self) -> tuple[int, list[tuple[float, torch.Tensor]]]:
        """Length of the last draw, and what is drawn and not yet used, with its probability."""
        return self._draw, [(probability, factors) for (probability, _), factors in self._left.items()]

    def put_back(self, drawn: int, left: Sequence[tuple[float, torch.Tensor]]) -> None:
        """Go on from there."""
        self._draw = drawn
        self._left = {(probability, factors.dtype): factors for probability, factors in left}
