"""Shards of a study: each run in exactly one of them, whatever is recorded by then, and about as much to do in each."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtlab.experiment import Experiment
from rtlab.methods import Method
from rtlab.scheduling import dealing
from rtlab.scheduling.dealing import Shard, cost, dealt
from rtlab.scheduling.planning import plan
from rtlab.studies import study


@pytest.fixture(scope="module")
def smoke():
    return plan(study("smoke", limit=8))


def ids(runs):
    return [one.id for one in runs]


@given(of=st.integers(1, 40), recorded=st.sets(st.integers(0, 32)))
def test_each_run_is_in_exactly_one_shard_whatever_is_recorded(smoke, of, recorded):
    later = [replace(one, to_do=number not in recorded) for number, one in enumerate(smoke)]
    shards = [ids(dealt(smoke, Shard(number, of))) for number in range(1, of + 1)]
    assert sorted(run for shard in shards for run in shard) == sorted(ids(smoke))
    assert [ids(dealt(later, Shard(number, of))) for number in range(1, of + 1)] == shards
    assert [sorted(ids(dealt(smoke[::-1], Shard(number, of)))) for number in range(1, of + 1)] == [
        sorted(shard) for shard in shards
    ]


@given(costs=st.lists(st.floats(1, 1000), min_size=33, max_size=33), of=st.integers(1, 8))
def test_no_shard_has_more_to_do_than_another_but_for_one_run(smoke, costs, of):
    told = dict(zip(ids(smoke), costs, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "cost", lambda prepared: told[prepared.id])
        loads = [sum(told[run] for run in ids(dealt(smoke, Shard(number, of)))) for number in range(1, of + 1)]
    assert max(loads) - min(loads) <= max(costs) * (1 + 1e-9)


def test_more_sentences_padding_and_weights_cost_more(smoke):
    by_label = {one.experiment.label: cost(one.prepared) for one in smoke}
    order = ["svm-cls", "full-native-packed-lr2e-05", "full-dynamic-lr2e-05", "full-fixed-lr2e-05"]
    assert sorted(order, key=by_label.__getitem__) == order
    [longer] = plan([replace(next(one for one in smoke if one.experiment.label == "svm-cls").experiment, limit=40)])
    assert cost(longer.prepared) > by_label["svm-cls"]


def test_every_method_has_a_cost():
    """One that is added later, too."""
    for method in get_args(Method):
        [one] = plan([Experiment(encoder="tiny-bert", dataset="corpus", method=method(), limit=8)])
        assert cost(one.prepared) > 0


@pytest.mark.parametrize("text", ["3/2", "0/2", "a/b", "1", "1/2/3", "-1/2", "1/0", " 1/2", "\u0661/2"])
def test_what_names_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="shard must be I/N, such as 1/4, with I from 1 to N; got"):
        Shard.parse(text)


def test_a_dry_run_shows_the_deal(rtlab):
    runs = []
    for number in (1, 2):
        said = rtlab("sweep", "smoke", "--limit", 8, "--dry-run", "--shard", f"{number}/2")
        assert (said.status, said.err) == (0, "")
        runs += said.out.splitlines()[:-1]
    assert sorted(runs) == sorted(rtlab("sweep", "smoke", "--limit", 8, "--dry-run").out.splitlines()[:-1])
