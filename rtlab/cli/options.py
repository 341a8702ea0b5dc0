"""The options that verbs share, in groups, and how results are given."""

import json
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER, DatasetOptions, Precision
from rtlab.recipe import ClassWeights, Engine, Keep, Metric, Padding, Recipe, Schedule
from rtlab.values import Json

if TYPE_CHECKING:
    from rtlab.records import RunRecord

DONE, FAILED, WRONG, HUNG_UP, INTERRUPTED, TERMINATED = 0, 1, 2, 129, 130, 143


def alias(*names: str) -> object:
    """Other names of an option."""
    return tyro.conf.arg(aliases=names)


def optional(value: str, without: str) -> object:
    """How help shows an option that is None by default: what it takes, and what happens without it."""
    return tyro.conf.arg(metavar=value, help_behavior_hint=f"(default: {without})")


Device = Annotated[Literal["cpu", "cuda"] | None, optional("{cpu,cuda}", "cuda where there is one, else cpu")]


def check_file(option: str, file: Path | str, *, or_else: str = "") -> None:
    """Refuse (`ValueError`) a file that cannot be written, before anything is computed for it."""
    refusal = f"{option} must be a file in a writable directory{or_else}; got {str(file)!r}"
    path = Path(file).absolute()
    folder = Path(os.path.realpath(path)).parent
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # also where a link leads to nothing yet
        writable = folder.is_dir() and os.access(folder, os.W_OK)
    except (OSError, ValueError) as error:  # a name too long, a link to itself
        raise ValueError(f"{refusal} ({getattr(error, 'strerror', error)})") from error
    else:
        replaced = stat.S_ISREG(kind) and os.access(folder, os.W_OK)
        writable = os.access(path, os.W_OK) and (replaced or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)))
    if not writable:
        raise ValueError(refusal)


@dataclass(frozen=True, kw_only=True)
class Output:
    """How the result is given."""

    json: Annotated[str | None, optional("FILE", "text")] = None
    """File to write the result to as JSON; - for standard output, which then holds nothing else."""
    debug: bool = False
    """Show the traceback of an error."""

    def check(self) -> None:
        """Refuse a file that cannot be written before anything is computed for it."""
        if self.json is not None and self.json != "-":
            check_file("json", self.json, or_else=", or -")

    def emit(self, result: Json, text: str) -> None:
        """Print a result as text, or as JSON where that was asked for; if the one fails, the other is still given."""
        if self.json == "-":
            print(json.dumps(result, allow_nan=False), flush=True)
            return
        try:
            if self.json is not None:
                from rtlab.records import write_whole

                write_whole(Path(self.json), json.dumps(result, allow_nan=False) + "\n")
        finally:
            print(text, flush=True)


TEXT = Output()  # of verbs that give text alone


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a data set is read where its files leave that open."""

    dataset_config: Annotated[str | None, optional("STR", "the only one")] = None
    """Configuration of a hub data set that has several."""
    text_column: Annotated[str | None, optional("STR", "found by its name or its contents")] = None
    """Column of the sentences."""
    label_column: Annotated[str | None, optional("STR", "found by its name or its contents")] = None
    """Column of the labels."""
    split_column: Annotated[str | None, optional("STR", "splits are files, or cut")] = None
    """Column that says which split a row belongs to."""
    skip_bad_rows: bool = False
    """Leave out rows that cannot be used, and count them, instead of refusing the data set."""

    @property
    def options(self) -> DatasetOptions:
        """The options as an experiment holds them."""
        return DatasetOptions(
            config=self.dataset_config,
            text_column=self.text_column,
            label_column=self.label_column,
            split_column=self.split_column,
            skip_bad_rows=self.skip_bad_rows,
        )


AS_IT_IS = Reading()


def say(notes: Iterable[str]) -> None:
    """Say on standard error, in one paragraph, what was assumed; nothing where nothing was."""
    if paragraph := " ".join(notes):
        print(f"rtlab: {paragraph}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """The data set."""

    dataset: str = field(default_factory=lambda: os.environ.get("RTLAB_DATASET") or DEFAULT_DATASET)
    """Hub id, file or directory, or corpus, the built-in one. The environment's RTLAB_DATASET is the default."""
    limit: Annotated[int | None, optional("INT", "all")] = None
    """Sentences kept per split."""
    reading: Reading = AS_IT_IS


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is worked on."""

    encoder: str = DEFAULT_ENCODER
    """Hub id, local directory, or built in: minilm, tiny-{distilbert,bert,roberta,electra}, distilbert-random."""
    sentences: Sentences


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What a run draws, what it leaves, and where."""

    seed: int = 42
    """Moves the head's initialisation, the data order and dropout, and draws --train-sentences."""
    train_sentences: Annotated[int | None, optional("INT", "all")] = None
    """Training sentences to draw, of each class in proportion; validation and test stay whole."""
    output_dir: Path = Path("results")
    """Folder for the record (records/) and the trained model (models/)."""
    use_wandb: bool = False
    """Log to Weights & Biases (WANDB_MODE=offline keeps it on disk)."""
    run_name: Annotated[str | None, optional("STR", "made from the experiment")] = None
    """Name of the run there."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """How and where the run is done."""

    max_length: int = 512
    """Word pieces kept of a sentence, special tokens included."""
    precision: Precision = "fp32"
    """Arithmetic of the encoder; tf32 needs CUDA."""
    device: Device = None
    """Where to compute."""
    leaving: Leaving


@dataclass(frozen=True, kw_only=True)
class Training:
    """The recipe of training."""

    learning_rate: Annotated[float, alias("--lr")] = 2e-5
    """Peak learning rate."""
    epochs: int = 5
    """Passes over the training split."""
    batch_size: int = 16
    """Sentences per batch."""
    padding: Annotated[
        Padding | None, optional("{fixed,dynamic,bucketed,packed}", "packed on engine native, dynamic on trainer")
    ] = None
    """How sentences become batches: all to max_length, to the longest of the batch, batches of similar length, or
    with no padding at all (packed; not on engine trainer)."""
    engine: Annotated[
        Engine | None, optional("{trainer,native}", "native on a CPU where the encoder can be packed, else trainer")
    ] = None
    """Who trains: Hugging Face's Trainer with PEFT, or native, the same mathematics faster."""
    compile: bool = False
    """Compile the encoder's layers (engine native): a minute or so first, for long runs."""
    warmup: float = 0.0
    """Steps over which the learning rate rises from 0: below 1 a share of all, from 1 on their number."""
    schedule: Schedule = "linear"
    """How the learning rate goes on: linear to 0, half a cosine to 0, or constant."""
    weight_decay: float = 0.0
    """Decay of all weights but biases and norms."""
    max_grad_norm: float = 1.0
    """Largest norm of all gradients together; 0 for no limit."""
    class_weights: ClassWeights = "equal"
    """What a sentence counts for in the loss: all the same, or the more the rarer its class is (balanced)."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    accumulate: int = 1
    """Batches per optimizer step, taken as one: large batches in little memory."""
    freeze_layers: int = 0
    """Layers of the encoder, from the first on, that are not trained, nor are its embeddings then (not of adapters)."""
    evaluate: Annotated[Literal["epoch"] | int | None, optional("{epoch,INT}", "when training is over")] = None
    """When to evaluate validation during training: after each epoch, or each so many steps."""
    keep: Keep = "last"
    """Which weights to evaluate on test, and to save: the last, or those that were best on validation."""
    patience: Annotated[int | None, optional("INT", "all epochs are trained")] = None
    """Evaluations without a better one after which training ends."""
    metric: Metric = "accuracy"
    """What the best on validation is by: the earliest of the largest scores, or of the least loss."""
    logging_steps: int = 50
    """Steps per entry of the loss history."""
    max_steps: Annotated[int | None, optional("INT", "those of all epochs")] = None
    """Optimizer steps to stop after."""

    def recipe(self, encoder: str, device: Device) -> Recipe:
        """The recipe, on the usual engine if none was asked for."""
        from rtlab.preparing import usual_engine

        recipe = Recipe(**{**vars(self), "engine": self.engine or "native"})  # refused here before anything is loaded
        if self.engine is None and usual_engine(encoder, device) == "trainer":
            return Recipe(**{**vars(self), "engine": "trainer"})
        return recipe


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """What of a run outlives its process."""

    checkpoint_minutes: Annotated[float | None, optional("FLOAT", "never")] = None
    """Minutes after which the state of a run is written to checkpoints/, anew each time (engine native on a CPU)."""
    resume: bool = False
    """Go on from there if a run of the same id was ended before it was done."""


NO_CHECKPOINTS = Checkpointing()


def recorded(results: Path, *, logits: int = 0, history: bool = False) -> "tuple[tuple[RunRecord, ...], bool]":
    """The records of a results folder, and whether some cannot be read; these are named on standard error.

    Args:
        results: The folder.
        logits: The largest number of files whose logits are kept too.
        history: Whether loss histories are kept.
    """
    from rtlab.records import load_records
    from rtlab.reporting.markup import clean

    records, broken = load_records(
        results / "records", logits=logits > 0, up_to=logits, history=history, processes=os.cpu_count() or 1
    )
    for reason in broken.values():
        print(f"rtlab: left out: {clean(reason)}", file=sys.stderr)
    return records, bool(broken)
