"""How well `choose` chooses: simulated on the runs that are recorded of the study `labels` (`simulated.py`).

Regret is how many points of test accuracy, the mean over seeds, the best setup that fits into the budget has more than
the recommended one. Setups with fewer than three seeds are left out, and sizes of which a family of ways is missing
then. The bars hold for `CASES`; of the other sizes that are recorded, regret is said.
"""

from statistics import fmean

import pytest
from conftest import ROOT
from simulated import Setup, paces_of, setups_of, simulate

from rtlab.choosing.ways import FAMILIES
from rtlab.methods import Svm, Words
from rtlab.records import RunRecord, load_records
from rtlab.studies import LABELLED, matrix

CASES = (100, 500, 2000, None)  # training sentences, `None` for all
BUDGETS_S = (120.0, 600.0)
DRAWS = 20  # of what is known of validation, a size and a budget
LABELS = {case.experiment.method for case in matrix("labels").cases}
SEEDS = 3
ENOUGH = 500  # training sentences from which on a regret of one point is the bar
MOST = {"few": 0.025, "enough": 0.01}


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    found, _ = load_records(ROOT / "results" / "records")
    return [one for one in found if one.status == "ok" and _may_be_chosen(one)]


def _may_be_chosen(record: RunRecord) -> bool:
    """Whether `choose` would try it on this machine: on the real sentences, as they are, natively and packed.

    On few sentences these are the runs of `labels`, which have no warm-up; of what is tried in truth (`choices.py`) too
    little is recorded yet.
    """
    asked, method = record.experiment, record.experiment.method
    if asked.dataset != "rt-polaritydata" or asked.limit is not None or asked.encoder not in (None, "minilm"):
        return False
    if asked.train_sentences is not None and method not in LABELS:
        return False
    match method:
        case Words():
            return not method.characters
        case Svm(pooling=pooling):
            return pooling == "mean"
        case _:
            recipe = method.recipe
            plain = recipe.engine == "native" and recipe.padding == "packed" and not recipe.warmup
            return plain and asked.max_length == 512


def _known(setups: list[Setup]) -> list[Setup]:
    """Those that were run under enough seeds, or have no chance in them; none if a family of ways is not among them."""
    known = [one for one in setups if len(one.records) >= SEEDS or not one.records[0].experiment.chance]
    return known if {one.way.family for one in known} == set(FAMILIES) else []


def test_regret(records, benchmark, notes, request):
    """On average a point at most from 500 sentences on, two and a half below; and no less without a margin."""
    draws = 2 if request.config.option.study == "smoke" else DRAWS
    of_size = {size: known for size in LABELLED if (known := _known(setups_of(records, size)))}
    if not set(CASES) <= set(of_size):
        pytest.skip("the study labels is not recorded with three seeds; `rtlab sweep labels` records it")
    paces, every = paces_of(records), max(one.seen for one in of_size[None] if one.way.fitted)

    def all_of_them(margin):
        return {
            (size or every, budget): [
                simulate(setups, paces, size or every, budget=budget, draw=draw, margin=margin) for draw in range(draws)
            ]
            for size, setups in of_size.items()
            for budget in BUDGETS_S
        }

    found = benchmark.pedantic(all_of_them, args=(0.01,), rounds=1)
    for (size, budget), outcomes in found.items():
        regrets = [one.regret.value for one in outcomes]
        notes.append(
            f"choose, {size} sentences, {budget:.0f} s: regret {fmean(regrets):.4f}, at most {max(regrets):.4f}"
        )
    cases = [(size or every, budget) for size in CASES for budget in BUDGETS_S]
    assert not [one for case in cases for one in found[case] if one.regret.low > 0.02]
    few, enough = (
        [one.regret.value for size, budget in cases if (size < ENOUGH) == small for one in found[size, budget]]
        for small in (True, False)
    )
    assert fmean(few) <= MOST["few"]
    assert fmean(enough) <= MOST["enough"]
    without = all_of_them(0.0)
    assert fmean(one.regret.value for case in cases for one in without[case]) <= fmean(few + enough)
