"""How well `choose` chooses: simulated on the runs that are recorded of the study `labels` (`simulated.py`).

Regret is how many points of test accuracy, the mean over seeds, the best setup that fits into the budget has more than
the recommended one. Sizes of which a way has fewer than three seeds are left out, and that is said.
"""

from statistics import fmean

import pytest
from conftest import ROOT
from simulated import Setup, paces_of, setups_of, simulate

from rtlab.methods import Svm, Words
from rtlab.records import RunRecord, load_records
from rtlab.studies import LABELLED

BUDGETS_S = (120.0, 600.0)
DRAWS = 20  # of what is known of validation, a size and a budget
SEEDS = 3
ENOUGH = 500  # training sentences from which on a regret of one point is the bar
MOST = {"few": 0.025, "enough": 0.01}


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    found, _ = load_records(ROOT / "results" / "records")
    return [one for one in found if one.status == "ok" and _may_be_chosen(one)]


def _may_be_chosen(record: RunRecord) -> bool:
    """Whether `choose` would try it on this machine: on the real sentences, as they are, natively and packed."""
    asked, method = record.experiment, record.experiment.method
    if asked.dataset != "rt-polaritydata" or asked.limit is not None or asked.encoder not in (None, "minilm"):
        return False
    match method:
        case Words():
            return True
        case Svm(pooling=pooling):
            return pooling == "mean"
        case _:
            return asked.engine == "native" and method.recipe.padding == "packed" and asked.max_length == 512


def _whole(setups: list[Setup]) -> bool:
    families = {one.way.family for one in setups}
    return families == {"words", "svm", "lora", "full"} and all(
        len(one.records) >= SEEDS or not one.records[0].experiment.chance for one in setups
    )


def test_regret(records, benchmark, notes, request):
    """On average a point at most from 500 sentences on, two and a half below; and no less without a margin."""
    draws = 2 if request.config.option.study == "smoke" else DRAWS
    of_size = {size: setups_of(records, size) for size in LABELLED}
    sizes = [size for size, setups in of_size.items() if _whole(setups)]
    if not sizes:
        pytest.skip("the study labels is not recorded with three seeds; `rtlab sweep labels` records it")
    paces, every = paces_of(records), max(one.seen for one in of_size[None] if one.way.fitted)

    def all_of_them(margin):
        return {
            (size or every, budget): [
                simulate(of_size[size], paces, size or every, budget=budget, draw=draw, margin=margin)
                for draw in range(draws)
            ]
            for size in sizes
            for budget in BUDGETS_S
        }

    found = benchmark.pedantic(all_of_them, args=(0.01,), rounds=1)
    for (size, budget), outcomes in found.items():
        regrets = [one.regret.value for one in outcomes]
        notes.append(
            f"choose, {size} sentences, {budget:.0f} s: regret {fmean(regrets):.4f}, at most {max(regrets):.4f}"
        )
    assert not [one for outcomes in found.values() for one in outcomes if one.regret.low > 0.02]
    groups = {"few": [], "enough": []}
    for (size, _), outcomes in found.items():
        groups["few" if size < ENOUGH else "enough"] += [one.regret.value for one in outcomes]
    for name, regrets in groups.items():
        assert not regrets or fmean(regrets) <= MOST[name]
    without = fmean(one.regret.value for outcomes in all_of_them(0.0).values() for one in outcomes)
    assert without <= fmean(groups["few"] + groups["enough"])
