"""The record that a run leaves: what was asked for, what came of it, and where. It names no sentence, path or host."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtlab.experiment import Experiment
from rtlab.metrics import Scores
from rtlab.testbed import Testbed
from rtlab.values import Json, to_json

SCHEMA = 2
Status = Literal["ok", "failed", "oom", "nan", "cancelled"]
HeldOut = Literal["validation", "test"]
UNDISTURBED = 0.05  # share of processor time that others may take, for a time to stand in a table


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set or an encoder.

    Attributes:
        name: Hub id, built-in name, or the last part of a path.
        revision: Commit on the hub, if it came from there.
        sha256: Digest of its contents.
        notes: What was assumed when it was read, a sentence each.
        classes: Names of a data set's classes, in the order of their numbers; empty where nobody wrote them down.
    """

    name: str
    revision: str | None
    sha256: str
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """What a run says of one split without its logits: what most readers of many records need.

    Attributes:
        labels: True classes, (N,).
        classes: The class that each sentence was given, (N,).
        num_labels: Number of classes, C, seen or not.
    """

    labels: NDArray[np.int32]
    classes: NDArray[np.integer]
    num_labels: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a run says of one split, sentence by sentence, in the split's order.

    Attributes:
        labels: True classes, (N,).
        logits: One score per class, (N, C), as fp32 values; for a two-class SVM (-d/2, d/2) of its decision value d.
    """

    labels: NDArray[np.int32]
    logits: NDArray[np.float32]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Predictions) and all(
            np.array_equal(ours, theirs) for ours, theirs in ((self.labels, other.labels), (self.logits, other.logits))
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    @property
    def classes(self) -> NDArray[np.int32]:
        """The class that each sentence was given, (N,)."""
        return np.asarray(self.logits.argmax(axis=1), dtype=np.int32)

    @property
    def num_labels(self) -> int:
        """Number of classes, C."""
        return int(self.logits.shape[1])

    def to_json(self) -> Json:
        """Plain lists; logits as the shortest decimals that give the same fp32 values back."""
        return {
            "labels": self.labels.tolist(),
            "logits": [[float(str(value)) for value in row] for row in self.logits],
        }


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds by phase, the device synchronised at both ends of each, and training throughput.

    Attributes:
        load_s: Reading data set and encoder, building the model.
        prepare_s: Tokenizing.
        warmup_s: Compilation and capture before the first step; not part of `train_s`.
        train_s: Training; for an SVM, extracting the training features and fitting.
        evaluate_s: Logits of validation and test, and of validation during training.
        samples_per_s: Training sentences per second of `train_s`.
        steps_per_s: Optimizer steps per second; `None` for an SVM.
        tokens_per_s: Real tokens per second of training.
        padded_tokens_per_s: Tokens per second of training, padding counted.
        others: Share of all cores' time that other processes took during warm-up and training; `None` if not known.
    """

    load_s: float
    prepare_s: float
    warmup_s: float
    train_s: float
    evaluate_s: float
    samples_per_s: float
    steps_per_s: float | None
    tokens_per_s: float
    padded_tokens_per_s: float
    others: float | None = None

    @property
    def seconds(self) -> float:
        """Training with its warm-up: what speed-ups are quoted from."""
        return self.warmup_s + self.train_s

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return self.load_s + self.prepare_s + self.seconds + self.evaluate_s


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there was of what.

    Attributes:
        parameters_total: Parameters of encoder, adapter and head together.
        parameters_encoder: Parameters of the encoder that were trained: all, those not frozen, or none.
        parameters_adapter: Parameters of the adapter.
        parameters_head: Parameters of the classification head, which every method trains.
        steps: Optimizer steps; `None` for an SVM.
        samples: Sentences that went through training, each epoch counted.
        real_tokens: Tokens of those sentences.
        padding_tokens: Padding computed beside them.
    """

    parameters_total: int
    parameters_encoder: int
    parameters_adapter: int
    parameters_head: int
    steps: int | None
    samples: int
    real_tokens: int
    padding_tokens: int

    @property
    def parameters_trained(self) -> int:
        """Parameters that training changed."""
        return self.parameters_encoder + self.parameters_adapter + self.parameters_head


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak bytes over the run.

    Attributes:
        peak_device: Allocated on the device; `None` on the CPU.
        peak_host: Resident on the host.
        peak_reserved: Reserved on the device: what is allocated, what captured steps keep for their replays, and what
            the allocator holds ready; `None` on the CPU, or if it was not measured.
    """

    peak_device: int | None
    peak_host: int
    peak_reserved: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)  # there are hundreds in a record
class LogEntry:
    """One logging interval: the mean loss over it; learning rate and gradient norm (before clipping) at its end."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Scores on validation at a step of training, by the names of `Scores`, and the mean cross-entropy, in nats."""

    step: int
    epoch: float
    loss: float
    accuracy: float
    f1: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One execution of one experiment.

    Attributes:
        id: `rtlab.experiment.identity` of the run.
        results: The engine's results version (`rtlab.methods.RESULTS`) that ran.
        status: `ok`, or how the run ended: `failed`, `oom`, `nan`, `cancelled`. Then the measured fields are empty,
            but for a run that failed since the model that it saved is not the one that it trained.
        error: One line that says what went wrong; an `ok` run has one if its model could not be saved.
        scores: Split (`validation`, `test`) to scores.
        predictions: Split to logits and labels.
        history: One entry per logging interval.
        validated: One entry per evaluation of validation during training, where the recipe asks for them.
        train_loss: Mean loss over all steps, as Hugging Face's `Trainer` states it.
        final_loss: Mean loss over the steps of the last epoch that was begun.
        chosen: What was chosen: C of a linear classifier by cross-validation, or step and epoch of the weights kept.
        strongest: Of each class the words that speak for it most, the strongest first, of a method that counts words.
        testbed: What its times depend on.
        environment: `rtlab.testbed.fingerprint`.
        created_at: UTC, ISO 8601.
    """

    experiment: Experiment
    id: str
    results: int
    status: Status
    dataset: Source
    encoder: Source | None
    testbed: Testbed
    environment: Mapping[str, Json]
    created_at: str
    error: str | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    predictions: Mapping[str, Predictions | Classes] = field(default_factory=dict)
    timing: Timing | None = None
    counts: Counts | None = None
    memory: Memory | None = None
    history: tuple[LogEntry, ...] = ()
    validated: tuple[Validated, ...] = ()
    train_loss: float | None = None
    final_loss: float | None = None
    chosen: Mapping[str, float] = field(default_factory=dict)
    strongest: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def worked_on(self) -> str:
        """Encoder, where there is one, and data set: `minilm on rotten_tomatoes`."""
        return f"{self.encoder.name} on {self.dataset.name}" if self.encoder is not None else self.dataset.name

    @property
    def undisturbed(self) -> bool:
        """Whether its times may stand in a table: other processes took little of the machine, or nobody measured it."""
        return self.timing is not None and (self.timing.others is None or self.timing.others < UNDISTURBED)

    def to_json(self) -> dict[str, Json]:
        """The record as JSON types, the schema's number first, what is long last."""
        own = ("experiment", "predictions")
        fields = {f.name: to_json(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in own}
        predictions: dict[str, Json] = {}
        for split, found in self.predictions.items():
            assert isinstance(found, Predictions), "a record that was read without its logits is not written"
            predictions[split] = found.to_json()
        return {"schema": SCHEMA, "experiment": self.experiment.to_json(), **fields, "predictions": predictions}
