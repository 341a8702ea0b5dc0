"""The study of what `choose` tries, and of what a person would do without it, under three seeds.

    python bench/choices.py FOLDER
    rtlab sweep FOLDER/as-it-is.json --dataset DIR --output-dir results/choosing
    rtlab sweep FOLDER/altered.json --dataset ALTERED --output-dir results/choosing

Every way, short and whole, on few sentences and on all; and the usual rates on 500 of each data set of `altered.py`.
Its records lie by themselves, so that they are in no table.
"""

import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from rtlab.choosing.halving import EPOCHS, STEPS_ENOUGH, STEPS_LEAST
from rtlab.choosing.ways import FAMILIES, Way, ways
from rtlab.experiment import Experiment
from rtlab.matrix import Case, Matrix
from rtlab.methods import Adapter, Full, Words
from rtlab.recipe import Recipe

SIZES = (100, 500, 2000, None)  # training sentences, `None` for all
ALTERED = 500  # of altered data
SEEDS = 3
WAYS = ways(FAMILIES, "native")
USUAL = tuple(way for way in WAYS if way.rank == 0 or way.fitted)
RIVALS = {
    "words alone": Way("words", Words()),
    "full fine-tuning with the defaults": Way("full", Full(recipe=Recipe(engine="native", epochs=1))),
    "LoRA at the write-up's rate": Way("lora", Adapter(recipe=Recipe(engine="native", epochs=1))),
}
MANY = 100_000  # sentences, of which one epoch is enough


def lengths(way: Way, sentences: int | None) -> tuple[int, ...]:
    """Epochs of a short trial, as the first rung of successive halving has, and of a whole one; 1 of what is fitted.

    At the usual rates two epochs as well, where they are between the two.
    """
    recipe = way.method.recipe
    if recipe is None:
        return (1,)
    steps = ceil((sentences or MANY) / recipe.batch_size)
    least, whole = ceil(STEPS_LEAST / steps), max(EPOCHS, ceil(STEPS_ENOUGH / steps))
    return (least, 2, whole) if least < 2 and way.rank == 0 else (least, whole)


def study(ways: Sequence[Way] = WAYS, sizes: Sequence[int | None] = SIZES) -> Matrix:
    """The study, of the packaged encoder; rivals are whole."""
    found = []
    for size in sizes:
        for way in (*ways, *RIVALS.values()):
            for epochs in lengths(way, size)[0 if way in ways else -1 :]:
                one = Experiment(encoder="minilm", dataset="corpus", train_sentences=size, method=way.lasting(epochs))
                found.append(Case(experiment=one, seeds=SEEDS if one.chance else 1))
    return Matrix(cases=tuple(dict.fromkeys(found)))


def altered() -> Matrix:
    """The study of each altered data set."""
    return study(USUAL, (ALTERED,))


if __name__ == "__main__":
    study().save(Path(sys.argv[1]) / "as-it-is.json")
    altered().save(Path(sys.argv[1]) / "altered.json")
