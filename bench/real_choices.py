"""Choices of `rtlab choose` as a person makes them, on drawn sentences: what is simulated, confirmed.

    python bench/real_choices.py DATASET ALTERED

DATASET has the real sentences, ALTERED what `altered.py` made of them. Each choice that is not there yet is made in a
process of its own and written to results/choosing/real/; `choosing_page.py` reads them. An hour and a half on two cores
that do nothing else.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from altered import METRICS, write

from rtlab.choice import Choice
from rtlab.data import Splits, load_splits
from rtlab.testbed import device_name, threads
from rtlab.writing import write_whole

FOLDER = Path(__file__).parents[1] / "results" / "choosing" / "real"
SHARE = 1 / 8  # of validation in train


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A choice to be made.

    Attributes:
        data: Name of the data set.
        sentences: Training sentences that are drawn; `None` for all.
        draw: Draws them, and an eighth of their number for validation.
        budget: Minutes.
    """

    data: str
    sentences: int | None
    draw: int
    budget: int

    @property
    def file(self) -> Path:
        """What it came to."""
        return FOLDER / f"{self.data}-{self.sentences or 'all'}-{self.budget}m-{self.draw}.json"


REAL = "rt-polaritydata"
ASKED = (
    *(Asked(data=REAL, sentences=size, draw=draw, budget=2) for draw in range(5) for size in (100, 500, 2000)),
    *(Asked(data=name, sentences=500, draw=draw, budget=2) for draw in range(3) for name in METRICS),
    *(Asked(data=REAL, sentences=size, draw=draw, budget=10) for draw in range(2) for size in (100, 500, 2000)),
    Asked(data=REAL, sentences=None, draw=0, budget=2),
)


def drawn(splits: Splits, asked: Asked) -> Splits:
    """The sentences that a person would have; test stays whole."""
    if asked.sentences is None:
        return splits
    known = replace(splits, train=splits.validation).drawn(round(SHARE * asked.sentences), seed=asked.draw).train
    return replace(splits.drawn(asked.sentences, seed=asked.draw), validation=known)


def choose(splits: Splits, asked: Asked) -> dict[str, object]:
    """Make the choice.

    Returns:
        What was asked, the answer as JSON, how many seconds it took from outside, and the machine.
    """
    with tempfile.TemporaryDirectory() as place:
        write(dict(drawn(splits, asked).items()), splits.label_names, Path(place) / asked.data)
        into = ("--output-dir", "results", "--json", "choice.json")
        start = time.perf_counter()
        words = ("--dataset", asked.data, "--encoder", "minilm", "--budget", f"{asked.budget}m")
        subprocess.run(
            [sys.executable, "-m", "rtlab", "choose", *words, "--metric", METRICS.get(asked.data, "accuracy"), *into],
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        choice = json.loads((Path(place) / "choice.json").read_text())
    machine = {"device": device_name(None), "threads": threads()}
    return {"asked": asdict(asked), "choice": choice, "seconds": seconds, **machine}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A choice that was made.

    Attributes:
        asked: Data set, training sentences, draw and minutes.
        choice: The answer.
        seconds: That it took, from outside.
    """

    asked: Asked
    choice: Choice
    seconds: float

    @property
    def test(self) -> float:
        """What the recommended way scores on test."""
        assert self.choice.way.test is not None, "it was looked at"
        return self.choice.way.test.value


def made() -> list[Made]:
    """All that were made."""
    found = [json.loads(one.file.read_text()) for one in ASKED if one.file.exists()]
    return [
        Made(asked=Asked(**one["asked"]), choice=Choice.from_json(one["choice"]), seconds=one["seconds"])
        for one in found
    ]


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for one in ASKED:
        if not one.file.exists():
            where = sys.argv[1] if one.data == REAL else Path(sys.argv[2]) / one.data
            write_whole(one.file, json.dumps(choose(load_splits(str(where)), one)) + "\n")
