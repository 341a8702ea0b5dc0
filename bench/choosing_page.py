"""The page beside the records of what `choose` tries: what it recommends, and what that loses.

python bench/choosing_page.py
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from choices import SIZES, WAYS, lengths
from distances import Distance, distances
from real_choices import Asked, Made, made
from regret import CLEARLY, DATA, DRAWS, RESULTS, Case, cases, gains, recorded, setfit_runs
from simulated import seconds_of
from tabulate import tabulate

from rtlab.choosing.costs import Pace
from rtlab.records import RunRecord
from rtlab.writing import write_whole

PAGE = RESULTS / "choosing" / "README.md"
BEGINNING = f"""# What `rtlab choose` recommends, and what that loses

Records of what it tries (`bench/choices.py`), and choices simulated on them; `bench/choosing_page.py` writes this page.
{DRAWS} draws of each number of training sentences, of which validation has an eighth; times are those of a quiet
machine with two cores. Regret is how many points on test, the mean over seeds, the best setup that fits into the budget
has more than the recommended one: its mean over draws, the largest, and in how many draws its 95 % interval lies wholly
above 2 points. Then what is recommended minus what a person would do instead, the longest of it that fits into the
budget (SetFit: `bench/setfit_runs.py`; –: not recorded). The margin is 1 point, but for the column that names another.
The data are `rt-polaritydata`, and what `bench/altered.py` makes of it and of the built-in corpus."""


def table(found: Sequence[Case], paces: dict[str, Pace]) -> str:
    """A row a case, in Markdown; points on test."""
    rows = []
    for case in found:
        outcomes, without = case.choices(paces, 0.01), case.choices(paces, 0.0)
        recommended = Counter(one.recommended.way.family for one in outcomes)
        regrets = [one.regret.value for one in outcomes]
        rows.append(
            {
                "data": case.data.said,
                "sentences": f"{case.sentences:,}",
                "budget (min)": f"{case.budget / 60:.0f}",
                "recommended": ", ".join(f"{family} {number}" for family, number in recommended.most_common()),
                "regret": f"{100 * fmean(regrets):.2f}",
                "at most": f"{100 * max(regrets):.2f}",
                "wholly above 2": str(sum(one.regret.low > CLEARLY for one in outcomes)),
                "regret, margin 0": f"{100 * fmean(one.regret.value for one in without):.2f}",
                **{f"minus {name}": _said(gains(case, outcomes), name) for name in case.rivals},
            }
        )
    sides = ["left", "right", "right", "left", *["right"] * (len(rows[0]) - 4)] if rows else None
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=sides)


def _said(found: dict[str, float | None], name: str) -> str:
    if name not in found:
        return "–"
    gain = found[name]
    return "takes longer" if gain is None else f"{100 * gain:+.2f}"


def made_table(every: Sequence[Made], cases: Sequence[Case], paces: dict[str, Pace]) -> str:
    """A row for all draws of a case, in Markdown."""
    rows = []
    for case in cases:
        own = [one for one in every if _is_of(one.asked, case)]
        if not own:
            continue
        recommended = Counter(one.choice.way.method for one in own)
        mean, best = fmean(one.test for one in own), _best(case, paces)
        rows.append(
            {
                "data": case.data.said,
                "sentences": f"{case.sentences:,}",
                "budget (min)": f"{case.budget / 60:.0f}",
                "recommended": ", ".join(f"{family} {number}" for family, number in recommended.most_common()),
                "test": f"{mean:.4f}",
                "best setup": f"{best:.4f}",
                "regret": f"{100 * (best - mean):.2f}",
                "longest (s)": f"{max(one.seconds for one in own):.0f}",
            }
        )
    sides = ["left", "right", "right", "left", *["right"] * 4] if rows else None
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=sides)


def _is_of(asked: Asked, case: Case) -> bool:
    return (asked.data, asked.sentences, 60.0 * asked.budget) == (case.data.name, case.size, case.budget)


def _best(case: Case, paces: dict[str, Pace]) -> float:
    """What the best setup that fits into the budget scores on test, the mean over seeds."""
    first = case.setups[0]
    validation = len(first.records[0].predictions["validation"].labels)
    test = np.arange(validation, len(first.held_out[0].labels))
    able = [one for one in case.setups if seconds_of(one, paces) <= case.budget]
    return max(float(one.scores(case.data.metric, test).mean()) for one in able)


def distance_table(found: Sequence[Distance]) -> str:
    """A row each, in Markdown; points."""
    rows = [
        {
            "data": one.data.said,
            "trained on": "all" if one.trained is None else f"{one.trained:,}",
            "compared on": f"{one.compared:,}",
            "by the score": f"{100 * one.scored:.2f}",
            "by the estimate": f"{100 * one.estimated:.2f}",
        }
        for one in found
    ]
    sides = ["left", *["right"] * 4] if rows else None
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True, colalign=sides)


def on_pairs(records: Sequence[RunRecord], size: int) -> str:
    """What both ways of training on pairs come to on so many sentences, and their training times least disturbed."""
    way = next(way for way in WAYS if way.family == "contrastive")
    longest = way.lasting(lengths(way, size)[-1])
    of_size = [
        one for one in records if (one.experiment.dataset, one.experiment.train_sentences) == (DATA[0].name, size)
    ]
    ours = [one for one in of_size if one.experiment.method == longest]
    theirs = setfit_runs(size)
    timed = min((one.timing for one in ours if one.timing is not None), key=lambda timing: timing.others or 0.0)
    accuracy = fmean(one.scores["test"].accuracy for one in ours)
    of_setfit = fmean(fmean(one.test) for one in theirs)
    return (
        f"On {size} sentences, the mean over {len(ours)} seeds: contrastive fine-tuning has a test accuracy of "
        f"{accuracy:.4f} after {timed.seconds:.1f} s of training, SetFit one of {of_setfit:.4f} after "
        f"{theirs[0].train:.1f} s."
    )


def page(records: Sequence[RunRecord], paces: dict[str, Pace], found: Sequence[Case], near: Sequence[Distance]) -> str:
    """All of it."""
    return f"""{BEGINNING}

{table(found, paces)}

{on_pairs(records, SIZES[0])}

## Choices that were made

`bench/real_choices.py`: drawn sentences, each choice in a process of its own. The score on test of what was
recommended, the mean over draws; that of the best recorded setup that fits into the budget, the mean over seeds; and
the difference in points. The longest choice, from its start to its end.

{made_table(made(), found, paces)}

## What ways are compared by

How far the difference of two ways on some held-out sentences is from that on all of them, in points: the root of the
mean square over all pairs of ways and {DRAWS} draws. By what was scored alone, and by the estimate that `choose` makes
of it and of how probable each label is (`rtlab/choosing/expecting.py`).

{distance_table(near)}
"""


if __name__ == "__main__":
    runs, taken = recorded()
    found = cases(runs, taken)
    write_whole(PAGE, page(runs, taken, found, distances(found)))
