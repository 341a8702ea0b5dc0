"""Checkpoints of a run: all of its state at a step, from which it goes on as if nothing had happened.

One lies in a folder of its own that is named by the step, is whole or not there, and holds safetensors and JSON; the
folder of the run goes when the run is done.
"""

import json
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.environment import OtherProcesses
from rtlab.records import LogEntry, Validated
from rtlab.testbed import Testbed
from rtlab.values import Json, from_json, is_number, one_line, to_json
from rtlab.writing import new_folder, write_whole

if TYPE_CHECKING:
    import torch

TENSORS, FACTS = "state.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a run's state is beside tensors.

    Attributes:
        testbed: Where and by what it was computed: elsewhere a run would not go on as it began.
        done: Optimizer steps.
        logged: The step of the last entry of the history.
        history: As of `rtlab.engines.engine.Training`.
        validated: Likewise.
        best: Which of `validated` is the best.
        seconds: By phase, until now.
        others: Share of processor time that other processes took, until now.
    """

    testbed: Testbed
    done: int
    logged: int
    history: tuple[LogEntry, ...]
    validated: tuple[Validated, ...]
    best: int | None
    seconds: Mapping[str, float]
    others: float | None


@dataclass(frozen=True, kw_only=True)
class State:
    """A run's state: tensors by name, and what else there is."""

    tensors: "Mapping[str, torch.Tensor]"
    facts: Facts


def asked_for(*, minutes: float | None, resume: bool) -> str | None:
    """The field that asks for checkpoints, if one does.

    Raises:
        ValueError: If the minutes are no number above 0.
    """
    if minutes is not None and (not is_number(minutes) or not minutes > 0):
        raise ValueError(f"checkpoint_minutes must be finite and above 0; got {minutes!r}")
    return "checkpoint_minutes" if minutes is not None else "resume" if resume else None


def check_able(asked: str, engine: str, device: "torch.device | None") -> None:
    """Refuse (`ValueError`) checkpoints where none are written.

    Trainer's own hold pickles; and on CUDA nobody has shown that a run goes on as it began.

    Args:
        asked: The field that asks for them.
        engine: Who trains.
        device: Where it computes.
    """
    kind = "cpu" if device is None else device.type
    if engine != "native" or kind != "cpu":
        raise ValueError(f"{asked} is for engine native on device cpu; got engine {engine} on {kind}")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they lie.
        minutes: After how many a new one is written; `None` for never.
        resume: Whether the run goes on from the last one.
        testbed: Where the run is computed now.

    Attributes:
        others: Who else was busy, in all parts of the run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        minutes: float | None,
        resume: bool,
        testbed: Testbed,
    ) -> None:
        self.testbed, self.others = testbed, OtherProcesses()
        self._folder, self._minutes, self._resume = folder, minutes, resume
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether a new one is to be written."""
        return self._minutes is not None and time.monotonic() - self._last >= 60 * self._minutes

    def write(self, state: State) -> None:
        """Write one, and remove those before it; where that cannot be done, it is said, and the run goes on."""
        from safetensors.torch import save_file

        place = self._folder / str(state.facts.done)
        try:
            with new_folder(place) as folder:
                save_file(dict(state.tensors), folder / TENSORS)
                write_whole(folder / FACTS, json.dumps(to_json(state.facts), allow_nan=False))
        except OSError as error:
            _say(f"the checkpoint of step {state.facts.done} was not written: {one_line(str(error))}")
        else:
            for other in self._there():
                if other != place:
                    shutil.rmtree(other, ignore_errors=True)
        self._last = time.monotonic()

    def read(self) -> State | None:
        """The last one that can be read, if the run is to go on from it; why it does not is said."""
        there = self._there()
        if not self._resume:
            if there:
                _say(
                    "there is a checkpoint of this run, from which it does not go on; --resume would do, until the next"
                )
            return None
        for folder in there:
            try:
                state = _read(folder)
            except Exception as error:  # noqa: BLE001  # safetensors has an error of its own
                _say(f"the checkpoint of step {folder.name} cannot be read: {one_line(str(error))}")
                continue
            if state.facts.testbed != self.testbed:
                differ = _differences(state.facts.testbed, self.testbed)
                _say(f"the checkpoint of step {folder.name} is of {differ}; the run begins anew")
                return None
            self.others.begin(state.facts.others)
            return state
        _say("there is no checkpoint of this run to go on from; it begins anew")
        return None

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _there(self) -> list[Path]:
        """Their folders, the last one first."""
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        return sorted((one for one in found if one.name.isdecimal()), key=lambda one: -int(one.name))


def _read(folder: Path) -> State:
    from safetensors.torch import load_file

    facts: Json = json.loads((folder / FACTS).read_bytes())
    return State(tensors=load_file(folder / TENSORS), facts=from_json(Facts, facts, "checkpoint"))


def _differences(one: Testbed, other: Testbed) -> str:
    """What two testbeds do not have in common, in words."""
    names = {"code": "another code of rtlab"}
    differ = [name for name, value in vars(one).items() if value != getattr(other, name)]
    return ", ".join(names.get(name, f"{name} {getattr(one, name)}, not {getattr(other, name)}") for name in differ)


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=3)
