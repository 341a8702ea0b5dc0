"""Weights & Biases, for those who keep their runs there: the loss history as it grows, then the record's figures."""

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.experiment import Experiment
from rtlab.records import LogEntry, RunRecord
from rtlab.values import Json

if TYPE_CHECKING:
    import wandb


class Tracker:
    """An open Weights & Biases run."""

    def __init__(self, run: "wandb.Run") -> None:
        self._run = run

    def log(self, entry: LogEntry) -> None:
        """Send one entry of the loss history."""
        fields = dataclasses.asdict(entry)
        step = fields.pop("step")
        self._run.log({f"train/{name}": value for name, value in fields.items()}, step=step)

    def finish(self, record: RunRecord) -> None:
        """Send what a run came to: scores, timing, counts, memory, losses."""
        summary: dict[str, Json] = {"status": record.status, "record": record.id}
        for split, scores in record.scores.items():
            summary |= {f"{split}/{name}": v for name, v in vars(scores).items() if isinstance(v, float)}
        for part in ("timing", "counts", "memory"):
            values = getattr(record, part)
            if values is not None:
                summary |= {f"{part}/{name}": value for name, value in dataclasses.asdict(values).items()}
        summary |= {"train_loss": record.train_loss, "final_loss": record.final_loss}
        self._run.summary.update({name: value for name, value in summary.items() if value is not None})


def require_wandb() -> None:
    """Check that Weights & Biases is installed.

    Raises:
        ValueError: If it is not; the message says how to get it.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ValueError("use_wandb needs the package wandb, which is not installed: pip install 'rtlab[wandb]'")


@contextlib.contextmanager
def wandb_run(experiment: Experiment, *, name: str | None, folder: Path) -> Iterator[Tracker]:
    """A run of project `rtlab`; ended as failed where the block raises. `WANDB_MODE=offline` keeps it on disk.

    Args:
        experiment: Becomes the run's configuration.
        name: The run's name; by default the experiment's label and seed.
        folder: Where the `wandb` folder of local files goes.
    """
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project="rtlab",
        name=name or f"{experiment.label}-seed{experiment.seed}",
        config=experiment.to_json(),
        dir=str(folder),
        settings=wandb.Settings(console="off"),  # standard output is the command line's
    )
    try:
        yield Tracker(run)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
