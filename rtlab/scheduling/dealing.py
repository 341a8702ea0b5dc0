"""Shards: a study dealt out to machines that know nothing of each other.

Who gets which run depends on the study alone, and not on records: these change while shards run, and two shards that
began at different times would each leave a run to the other. So what a run costs is told here from its experiment, in
proportion and roughly; what is recorded is left out after the deal.
"""

import heapq
import re
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from rtlab.methods import Adapter, Contrastive, Full, Svm
from rtlab.preparing import Prepared
from rtlab.scheduling.estimating import samples
from rtlab.scheduling.planning import Planned

_START = 4_000  # what a process takes for its start, in sentences through the reference encoder
_REFERENCE = 6 * 384**2  # its layers, and its width squared
_USUAL_TOKENS = 32  # of a sentence, where it is not padded to a fixed length
_PASSES = {
    Full: 3,
    Contrastive: 3,
    Adapter: 2,
    Svm: 1,
}  # through the layers: forward, towards the inputs, towards the weights
_REFERENCE_ENGINE = 2  # times what the native engine takes, about


class Shard(NamedTuple):
    """One of several equal parts of a study.

    Attributes:
        number: Which, from 1.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that `I/N` names.

        Raises:
            ValueError: If it names none.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"shard must be I/N, such as 1/4, with I from 1 to N; got {text!r}")
        return cls(int(found[1]), int(found[2]))


def dealt(planned: Sequence[Planned], shard: Shard) -> list[Planned]:
    """The runs of a shard, in their order: the dearest first, each is given to the shard that has least to do."""
    costs = {one.id: 0.0 if one.prepared is None else cost(one.prepared) for one in planned}
    loads = [(0.0, number) for number in range(1, shard.of + 1)]
    ours = set()
    for run in sorted(costs, key=lambda run: (-costs[run], run)):
        load, number = loads[0]
        heapq.heapreplace(loads, (load + costs[run], number))
        if number == shard.number:
            ours.add(run)
    return [one for one in planned if one.id in ours]


def cost(prepared: Prepared) -> float:
    """About what a run costs, in sentences through the layers of the packaged encoder."""
    experiment, splits, encoder = prepared.experiment, prepared.splits, prepared.encoder
    if encoder is None:
        return float(_START)
    config, recipe = encoder.config, experiment.method.recipe
    width, layers = (getattr(config, name, None) for name in ("hidden_size", "num_hidden_layers"))
    size = prod((layers, width, width)) / _REFERENCE if width and layers else 1.0
    held_out = len(splits.validation) * (1 + (recipe.evaluations(len(splits.train)) if recipe else 0))
    tokens = experiment.max_length / _USUAL_TOKENS if recipe is not None and recipe.padding == "fixed" else 1.0
    trained = samples(experiment, len(splits.train)) * _PASSES[type(experiment.method)] * tokens
    slower = _REFERENCE_ENGINE if experiment.engine == "trainer" else 1
    return _START + size * (trained * slower + held_out + len(splits.test))
