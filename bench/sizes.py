"""How much the comparisons of engines measure, by study: `smoke` shows that they work, `embedded` is for two cores.

`lab` is for CUDA.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a study measures: steps against dynamic and fixed padding, sentences of features and of epochs.

    `loss_within` is how far mean losses over few steps may lie apart: a random encoder's are wild.
    """

    steps: int | None
    fixed_steps: int
    features: int | None
    epochs: tuple[int, ...]
    rounds: int = 3
    methods: tuple[str, ...] = ("full", "lora")
    loss_within: float = 0.05
    precisions: tuple[str, ...] = ("fp32",)


SIZES = {
    "smoke": Size(steps=3, fixed_steps=2, features=48, epochs=(100, 400), rounds=1, methods=("lora",), loss_within=0.6),
    "embedded": Size(steps=200, fixed_steps=5, features=None, epochs=(1_000, 10_000, 100_000)),
    "lab": Size(
        steps=None, fixed_steps=50, features=None, epochs=(1_000, 10_000, 100_000), precisions=("fp32", "tf32", "bf16")
    ),
}
