"""The state of a native run between two steps, as tensors and facts, and back: what has any part in how it goes on.

Several ranks have the same but for what they draw, which the first one keeps for them all.
"""

import json
import math
import random
from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of

from rtlab.engines.dropout import Masks
from rtlab.engines.ranks import ALONE, Ranks
from rtlab.engines.resuming import Checkpoints, Facts, State
from rtlab.engines.step import Step
from rtlab.engines.validating import Validation
from rtlab.environment import Stopwatch
from rtlab.records import LogEntry
from rtlab.values import from_json, to_json

CARRIED = ("train", "evaluate")  # phases whose seconds add up over the parts of a run


def gather(
    step: Step,
    validation: Validation,
    watch: Stopwatch,
    checkpoints: Checkpoints,
    *,
    history: list[LogEntry],
    logged: int,
    ranks: Ranks = ALONE,
) -> State:
    """The state as it is now; all ranks gather it at once.

    Args:
        step: The step, with the weights, the optimizer, and dropout's factors that are left over.
        validation: What was found, and the weights that are kept.
        watch: The seconds of the run.
        checkpoints: Of the run.
        history: Of the run.
        logged: Steps that are in it.
        ranks: Who shares the run.
    """
    done = int(step.done)
    best, kept = validation.best()
    moments = {
        f"optimizer.{number}.{name}": value
        for number, parameter in enumerate(step.trained)
        for name, value in step.optimizer.state[parameter].items()
    }
    tensors = {
        **_numbered("trained", step.trained),
        **moments,
        **_numbered("kept", kept),
        "losses": step.losses_N[:done],
        "norms": step.norms_N[:done],
        **_drawn_by_all(step.masks, ranks),
    }
    facts = Facts(
        testbed=checkpoints.testbed,
        done=done,
        logged=logged,
        history=tuple(history),
        validated=tuple(validation.found),
        best=best,
        seconds={name: value for name, value in watch.so_far().items() if name in CARRIED},
        others=checkpoints.others.share(),
    )
    return State(tensors={name: value.detach().clone() for name, value in tensors.items()}, facts=facts)


def put_back(state: State, step: Step, validation: Validation, watch: Stopwatch, ranks: Ranks = ALONE) -> None:
    """Make the state that of a run that has just been built; the generators' come last, as building draws.

    Raises:
        KeyError, RuntimeError: If it is of another run.
    """
    tensors, facts = state.tensors, state.facts
    with torch.no_grad():
        for number, parameter in enumerate(step.trained):
            parameter.copy_(tensors[f"trained.{number}"])
            begin = f"optimizer.{number}."
            step.optimizer.state[parameter] = {
                name.removeprefix(begin): value for name, value in tensors.items() if name.startswith(begin)
            }
        step.losses_N[: facts.done] = tensors["losses"]
        step.norms_N[: facts.done] = tensors["norms"]
    step.done.fill_(facts.done)
    kept = [tensors[f"kept.{number}"] for number in range(len(step.trained)) if f"kept.{number}" in tensors]
    validation.put_back(facts.validated, facts.best, kept)
    for name, seconds in facts.seconds.items():
        watch.seconds[name] = watch.seconds.get(name, 0.0) + seconds
    begin = f"rank.{ranks.rank}."
    own = {name.removeprefix(begin): part for name, part in tensors.items() if name.startswith(begin)}
    _draw_on(own, step.masks)


def _numbered(name: str, tensors: "list[torch.Tensor] | list[torch.nn.Parameter]") -> dict[str, torch.Tensor]:
    return {f"{name}.{number}": tensor for number, tensor in enumerate(tensors)}


def told_by_first(state: State | None, ranks: Ranks) -> State | None:
    """The state that the first rank has read, if any."""
    if ranks.alone:
        return state
    facts = ranks.bytes_from_first(b"" if state is None else json.dumps(to_json(state.facts)).encode())
    if not facts:
        return None
    tensors = tensors_of(ranks.bytes_from_first(b"" if state is None else bytes_of(dict(state.tensors))))
    return State(tensors=tensors, facts=from_json(Facts, json.loads(facts), "checkpoint"))


def _drawn_by_all(masks: Masks, ranks: Ranks) -> dict[str, torch.Tensor]:
    """What each rank has drawn, and will draw, by its number."""
    own = _drawn(masks)
    told = [own] if ranks.alone else [tensors_of(one) for one in ranks.bytes_of_all(bytes_of(own))]
    return {f"rank.{rank}.{name}": part for rank, one in enumerate(told) for name, part in one.items()}


def _drawn(masks: Masks) -> dict[str, torch.Tensor]:
    """The generators of this rank, and dropout's factors that are left over, as tensors."""
    drawn, left = masks.state()
    version, python, python_normal = random.getstate()
    assert version == 3, "Python has had no other state for as long as rtlab exists"
    _, keys, place, normals, numpy_normal = np.random.get_state(legacy=True)  # noqa: NPY002  # libraries draw from it
    return {
        "drawn": torch.tensor([drawn]),
        "dropouts": torch.tensor([probability for probability, _ in left], dtype=torch.float64),
        **_numbered("left", [factors.clone() for _, factors in left]),
        "python": torch.tensor(python),
        "python_normal": torch.tensor([math.nan if python_normal is None else python_normal], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray([*keys, place, normals], dtype=np.int64)),
        "numpy_normal": torch.tensor([numpy_normal], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }


def _draw_on(drawn: Mapping[str, torch.Tensor], masks: Masks) -> None:
    """Go on from what `_drawn` gave."""
    dropouts = enumerate(drawn["dropouts"].tolist())
    masks.put_back(int(drawn["drawn"]), [(probability, drawn[f"left.{number}"]) for number, probability in dropouts])
    normal = float(drawn["python_normal"])
    random.setstate((3, tuple(drawn["python"].tolist()), None if math.isnan(normal) else normal))
    *keys, place, normals = drawn["numpy"].tolist()
    at = "MT19937", np.asarray(keys, dtype=np.uint32), place, normals, float(drawn["numpy_normal"])
    np.random.set_state(at)  # noqa: NPY002  # likewise
    torch.set_rng_state(drawn["torch"])
