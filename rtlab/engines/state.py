"""The state of a native run between two steps, as tensors and facts, and back: what has any part in how it goes on."""

import random

import numpy as np
import torch

from rtlab.engines.resuming import Checkpoints, Facts, State
from rtlab.engines.step import Step
from rtlab.engines.validating import Validation
from rtlab.environment import Stopwatch
from rtlab.records import LogEntry

CARRIED = ("train", "evaluate")  # phases whose seconds add up over the parts of a run


def gather(
    step: Step,
    validation: Validation,
    watch: Stopwatch,
    checkpoints: Checkpoints,
    *,
    history: list[LogEntry],
    logged: int,
) -> State:
    """The state as it is now.

    Args:
        step: The step, with the weights, the optimizer, and dropout's factors that are left over.
        validation: What was found, and the weights that are kept.
        watch: The seconds of the run.
        checkpoints: Of the run.
        history: Of the run.
        logged: Steps that are in it.
    """
    done = int(step.done)
    best, kept = validation.best()
    drawn, left = step.masks.state()
    moments = {
        f"optimizer.{number}.{name}": value
        for number, parameter in enumerate(step.trained)
        for name, value in step.optimizer.state[parameter].items()
    }
    version, python, python_normal = random.getstate()
    assert version == 3, "Python has had no other state for as long as rtlab exists"
    _, numpy, *numpy_at, numpy_normal = np.random.get_state(legacy=True)  # noqa: NPY002  # libraries draw from it
    tensors = {
        **_numbered("trained", step.trained),
        **moments,
        **_numbered("kept", kept),
        **_numbered("left", [factors for _, factors in left]),
        "losses": step.losses_N[:done],
        "norms": step.norms_N[:done],
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(numpy, dtype=np.int64)),
    }
    facts = Facts(
        testbed=checkpoints.testbed,
        done=done,
        logged=logged,
        history=tuple(history),
        validated=tuple(validation.found),
        best=best,
        drawn=drawn,
        dropouts=tuple(probability for probability, _ in left),
        python=python,
        python_normal=python_normal,
        numpy=tuple(map(int, numpy_at)),
        numpy_normal=float(numpy_normal),
        seconds={name: value for name, value in watch.so_far().items() if name in CARRIED},
        others=checkpoints.others.share(),
    )
    return State(tensors={name: value.detach().clone() for name, value in tensors.items()}, facts=facts)


def put_back(state: State, step: Step, validation: Validation, watch: Stopwatch) -> None:
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
    step.masks.put_back(facts.drawn, [(p, tensors[f"left.{number}"]) for number, p in enumerate(facts.dropouts)])
    for name, seconds in facts.seconds.items():
        watch.seconds[name] = watch.seconds.get(name, 0.0) + seconds
    random.setstate((3, facts.python, facts.python_normal))
    place, normals = facts.numpy
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, place, normals, facts.numpy_normal))  # noqa: NPY002  # likewise
    torch.set_rng_state(tensors["torch"])


def _numbered(name: str, tensors: "list[torch.Tensor] | list[torch.nn.Parameter]") -> dict[str, torch.Tensor]:
    return {f"{name}.{number}": tensor for number, tensor in enumerate(tensors)}
