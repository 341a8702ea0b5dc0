"""Whether two ways to compute the same logits agree, and on which sentences that is asked.

Packed and padded, or before saving and after, a model's logits are the same sums in another order: right ones differ by
rounding and no more. Shapes: N sentences, C classes.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtlab.experiment import Precision

MANY = 6  # sentences that are asked about
# The largest difference, relative to the largest logit. In fp32 rounding stays below a tenth of it. In the others each
# product rounds what goes into it to 11 or 8 bits, by up to u = 2^-11 or 2^-8 of its size. A token passes some 64
# products in 12 layers, and errors that are independent add up as the square root of their number: 8 u.
TOLERANCE: Mapping[Precision, float] = {"fp32": 1e-4, "tf32": 2**-8, "bf16": 2**-5}
# Where logits are small because large parts of them cancel, rounding is larger than that. How large shows where the
# same is computed in fp32: under 12 seeds, minilm and the tiny encoders packed came to at most 1.5 times as much.
TIMES_ROUNDING = 8
LEAST = 1e-5  # of a fresh head's logits, which are small: what fp32 makes of vectors of size 1


def spread(lengths_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `MANY` sentences of all lengths, in the order of these, the shortest and the longest among them."""
    places = np.linspace(0, len(lengths_N) - 1, min(MANY, len(lengths_N)))
    return np.argsort(lengths_N, kind="stable")[places.astype(np.int64)]


def allowed(
    logits_NC: NDArray[np.float32], in_fp32_NC: NDArray[np.float32], precision: Precision, *, least: float
) -> float:
    """How far apart rounding may put two right computations of the same logits.

    Args:
        logits_NC: One of them, in `precision`.
        in_fp32_NC: The same in fp32; in fp32 the logits themselves.
        precision: What both compute in.
        least: What is allowed of small logits, too.
    """
    relative = TOLERANCE[precision] * float(np.abs(logits_NC).max())
    return max(least, relative, TIMES_ROUNDING * float(np.abs(logits_NC - in_fp32_NC).max()))


def disagreement(found_NC: NDArray[np.float32], expected_NC: NDArray[np.float32], allowed: float) -> str | None:
    """What is to be said of logits that are not those expected, give or take `allowed`; `None` where they are."""
    if found_NC.shape != expected_NC.shape:
        return f"{found_NC.shape[1]} logits for each sentence instead of {expected_NC.shape[1]}"
    apart = float(np.abs(found_NC - expected_NC).max())
    if apart <= allowed:  # not so for NaN
        return None
    return f"logits of {len(found_NC)} sentences differ by up to {apart:.2g}, and rounding explains {allowed:.2g}"
