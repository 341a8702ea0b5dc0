"""How a method that is trained in steps is trained: engine, padding, learning rate, epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rtlab.values import check_one_of, check_whole, is_number

Engine = Literal["trainer", "native"]
Padding = Literal["fixed", "dynamic", "bucketed", "packed"]

# What each engine can do, its usual one first.
PADDINGS: Mapping[Engine, tuple[Padding, ...]] = {
    "trainer": ("dynamic", "fixed", "bucketed"),
    "native": ("packed", "fixed", "dynamic", "bucketed"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How `Full` and `Adapter` are trained.

    Attributes:
        engine: Who trains: `trainer`, Hugging Face's `Trainer` with PEFT, or `native`, the same mathematics faster.
        padding: How sentences become batches; where none is given, `dynamic` on `trainer` and `packed` on `native`.
        learning_rate: Peak of the linear decay to 0.
        epochs: Passes over the training split.
        batch_size: Sentences per optimizer step.
        max_steps: Optimizer steps to stop after, `None` for all.
        logging_steps: Steps per entry of the loss history.
        compile: Whether `native` compiles the encoder's layers with torch.compile, which takes a minute or so and pays
            in long runs on CUDA.

    Raises:
        ValueError: If a field is out of range; the message names the field, what was given and what would do.
    """

    engine: Engine = "trainer"
    padding: Padding = None  # type: ignore[assignment]  # it is given the engine's usual one at once
    learning_rate: float = 2e-5
    epochs: int = 5
    batch_size: int = 16
    max_steps: int | None = None
    logging_steps: int = 50
    compile: bool = False

    def __post_init__(self) -> None:
        check_one_of("engine", self.engine, get_args(Engine))
        if self.padding is None:
            object.__setattr__(self, "padding", PADDINGS[self.engine][0])
        check_one_of("padding", self.padding, get_args(Padding))
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be True or False; got {self.compile!r}")
        if self.engine == "trainer" and self.compile:
            raise ValueError("compile is not possible on engine 'trainer'; got True; engine native would do")
        if self.padding not in PADDINGS[self.engine]:
            able = " or ".join(engine for engine, paddings in PADDINGS.items() if self.padding in paddings)
            raise ValueError(
                f"padding {self.padding!r} is not possible on engine {self.engine!r}, which takes "
                f"{', '.join(PADDINGS[self.engine])}; one of these would do, or engine {able}"
            )
        if not is_number(self.learning_rate) or not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be finite and above 0, such as 2e-5; got {self.learning_rate!r}")
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        for name in ("epochs", "batch_size", "logging_steps"):
            check_whole(name, getattr(self, name))
        if self.max_steps is not None:
            check_whole("max_steps", self.max_steps)

    @property
    def label(self) -> str:
        """A short readable name, such as `native-packed-lr2e-05`; the engine is named where it is not the reference."""
        engine = "" if self.engine == "trainer" else f"{self.engine}-"
        return f"{engine}{self.padding}{'-compiled' if self.compile else ''}-lr{rate_text(self.learning_rate)}"


def rate_text(rate: float) -> str:
    """A learning rate with as many digits as it has, such as `2e-05`."""
    return next(text for digits in range(17) if float(text := f"{rate:.{digits}e}") == rate)
