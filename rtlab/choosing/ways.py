"""The ways that are compared, the cheapest first, and what is tried of each: settings and learning rates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtlab.methods import Adapter, Contrastive, Full, Method, Svm, Words
from rtlab.recipe import Engine, Recipe
from rtlab.values import shown

FAMILIES = ("words", "svm", "contrastive", "lora", "full")
TRAINED = ("contrastive", "full", "lora")  # in steps: in this order, where there is no room for all
# The first is where to begin; what comes after it is tried where the budget allows. LoRA at 2e-3 fell to chance in two
# of 16 runs, with warm-up (500 sentences, seed 44; 2,000, seed 43).
RATES = {"contrastive": (5e-5, 2e-5, 1e-4), "lora": (1e-3, 5e-4, 2e-4), "full": (5e-5, 2e-5, 1e-4)}
WARM_UP = 0.06  # of the steps: without it LoRA at 1e-3 fell back to chance once (4,000 sentences, seed 43)


@dataclass(frozen=True)
class Way:
    """A method with its settings; how long it is trained, on how many sentences and under which seed, is a trial's.

    Attributes:
        family: One of `FAMILIES`.
        method: The method, with a recipe of one epoch where it has one.
        rank: Which of its family it is, from 0: in the order in which they are tried.
    """

    family: str
    method: Method
    rank: int = 0

    @property
    def name(self) -> str:
        """Such as `words, SVM`; no two ways have the same."""
        return self.method.setup

    @property
    def fitted(self) -> bool:
        """Whether it is fitted at once, instead of in steps."""
        return self.method.recipe is None

    @property
    def reads_again(self) -> bool:
        """Whether it reads the sentences that it was trained on once more, to fit a classifier on their features."""
        return isinstance(self.method, Contrastive)

    def passes(self, epochs: int) -> int:
        """How often it goes through its sentences in a trial in which ways do that so often."""
        return Contrastive.passes(epochs) if isinstance(self.method, Contrastive) else epochs

    def lasting(self, epochs: int) -> Method:
        """The method as it is trained in such a trial."""
        match self.method:
            case Full(recipe=recipe) | Adapter(recipe=recipe) | Contrastive(recipe=recipe):
                return replace(self.method, recipe=replace(recipe, epochs=self.passes(epochs)))
            case _:
                return self.method


@dataclass(frozen=True)
class Extent:
    """How much a trial does.

    Attributes:
        sentences: It is trained on.
        epochs: Passes over them, of which some ways need fewer (`Way.passes`); 1 of a way that is fitted.
        folds: On how many folds it is done, where there are several: `None` for all, 0 for the data set as it is.
    """

    sentences: int
    epochs: int = 1
    folds: int | None = None

    @property
    def seen(self) -> int:
        """Sentences that go through training, each as often as it does."""
        return self.sentences * self.epochs


@dataclass(frozen=True)
class Rungs:
    """A plan of successive halving.

    Attributes:
        names: Of the ways that begin.
        seen: How many sentences a run of each rung sees.
        folds: On how many folds they are compared, where there are several; 0 for the data set as it is.
    """

    names: tuple[str, ...]
    seen: tuple[int, ...]
    folds: int | None = None


def check_families(families: Sequence[str]) -> None:
    """Raise (`ValueError`) if one is unknown, or there is none."""
    if isinstance(families, str) or not isinstance(families, Sequence) or not families:
        raise ValueError(
            f"candidates must be some of {', '.join(FAMILIES)}; got {shown(families) if families else 'none'}"
        )
    if unknown := [name for name in families if name not in FAMILIES]:
        raise ValueError(f"candidates must be among {', '.join(FAMILIES)}; got {shown(unknown[0])}")


def ways(families: Sequence[str], engine: Engine | None) -> tuple[Way, ...]:
    """What is compared, the cheapest first.

    Args:
        families: Some of `FAMILIES`.
        engine: Of what is trained in steps; `None` where there is no encoder, for words alone.

    Raises:
        ValueError: If there is none that can be tried.
    """
    found: list[Way] = []
    if "words" in families:
        found += [Way("words", Words()), Way("words", Words(characters=True), 1)]
    if "svm" in families and engine is not None:
        found += [Way("svm", Svm(pooling="mean", c=None)), Way("svm", Svm(pooling="mean", with_words=True, c=None), 1)]
    for family, of in (("contrastive", Contrastive), ("lora", Adapter), ("full", Full)):
        if family in families and engine is not None:
            recipes = (Recipe(engine=engine, learning_rate=rate, warmup=WARM_UP, epochs=1) for rate in RATES[family])
            found += [Way(family, of(recipe=recipe), rank) for rank, recipe in enumerate(recipes)]
    if not found:
        raise ValueError(
            f"candidates must hold one that needs no encoder, such as words, where there is none; got "
            f"{', '.join(families) or 'none'}"
        )
    return tuple(found)
