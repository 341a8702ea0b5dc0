"""The command line: one verb for each thing the lab does. The only place that prints.

Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1 the run failed (its
record is written), 2 the request was wrong (nothing was run), 130 interrupted.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rtlab.experiment import (
    DEFAULT_DATASET,
    DEFAULT_ENCODER,
    Engine,
    Experiment,
    LoraSettings,
    Method,
    Padding,
    Pooling,
    Precision,
)
from rtlab.lab_steps import translate
from rtlab.progress import Bars

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def _alias(*names: str) -> Any:
    return tyro.conf.arg(aliases=names)


def _optional(value: str, without: str) -> Any:
    """How help shows an option that is None by default: what it takes, and what happens without it."""
    return tyro.conf.arg(metavar=value, help_behavior_hint=f"(default: {without})")


_Device = Annotated[Literal["cpu", "cuda"] | None, _optional("{cpu,cuda}", "cuda where there is one, else cpu")]


@dataclass(frozen=True, kw_only=True)
class Output:
    """How the result is given."""

    json: Annotated[str | None, _optional("FILE", "text")] = None
    """File to write the result to as JSON; - for standard output, which then holds nothing else."""
    debug: bool = False
    """Show the traceback of an error."""

    def check(self) -> None:
        """Refuse a file that cannot be written before anything is computed for it."""
        if self.json is None or self.json == "-":
            return
        path = Path(self.json).absolute()
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"json must be a file in a writable directory, or -; got {self.json!r}")

    def emit(self, result: Any, text: str) -> None:
        """Print a result as text, or as JSON where that was asked for."""
        if self.json == "-":
            print(json.dumps(result, allow_nan=False))
            return
        if self.json is not None:
            from rtlab.records import write_whole

            write_whole(Path(self.json), json.dumps(result, allow_nan=False) + "\n")
        print(text)


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is worked on."""

    encoder: str = DEFAULT_ENCODER
    """Hub id, local directory, or built in: minilm, tiny-{distilbert,bert,roberta,electra}, distilbert-random."""
    dataset: str = field(default_factory=lambda: os.environ.get("RTLAB_DATASET") or DEFAULT_DATASET)
    """Hub id, local directory, or corpus, the built-in one. The environment's RTLAB_DATASET is the default."""
    limit: Annotated[int | None, _optional("INT", "all")] = None
    """Sentences kept per split."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """How and where the run is done."""

    max_length: int = 512
    """Word pieces kept of a sentence, special tokens included."""
    precision: Precision = "fp32"
    """Arithmetic of the encoder; tf32 needs CUDA."""
    seed: int = 42
    """Moves the head's initialisation, the data order and dropout."""
    device: _Device = None
    """Where to compute."""
    output_dir: Path = Path("results")
    """Folder for the record (records/) and the trained model (models/)."""
    use_wandb: bool = False
    """Log to Weights & Biases (WANDB_MODE=offline keeps it on disk)."""
    run_name: Annotated[str | None, _optional("STR", "made from the experiment")] = None
    """Name of the run there."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The recipe of training."""

    learning_rate: Annotated[float, _alias("--lr")] = 2e-5
    """Peak learning rate; it falls linearly to 0."""
    epochs: int = 5
    """Passes over the training split."""
    batch_size: int = 16
    """Sentences per optimizer step."""
    padding: Padding = "dynamic"
    """How sentences become batches: all to max_length, to the longest of the batch, batches of similar length, or
    with no padding at all (packed; not on engine trainer)."""
    engine: Engine = "trainer"
    """Who trains: Hugging Face's Trainer with PEFT."""
    logging_steps: int = 50
    """Steps per entry of the loss history."""
    max_steps: Annotated[int | None, _optional("INT", "those of all epochs")] = None
    """Optimizer steps to stop after."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The LoRA adapter."""

    rank: Annotated[int, _alias("--lora-rank")] = 8
    """Rank of the update."""
    alpha: Annotated[int, _alias("--lora-alpha")] = 32
    """Scale of the update: alpha / rank."""
    dropout: Annotated[float, _alias("--lora-dropout")] = 0.1
    """Dropout on the adapter's input."""
    target_modules: tuple[str, ...] = ("attention",)
    """Modules to adapt, separated by commas or spaces: attention, attention+mlp, or the encoder's own names."""


@dataclass(frozen=True, kw_only=True)
class Explore:
    """Describe a data set: splits, balance, lengths, duplicates, samples (lab step e11)."""

    data: Data
    output: Output

    def __call__(self) -> None:
        from rtlab.exploring import as_text, explore

        found = explore(self.data.dataset, encoder=self.data.encoder, limit=self.data.limit)
        self.output.emit(found.to_json(), as_text(found))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Send sentences through tokenizer and encoder: ids, special tokens, padding, shapes (lab step e12)."""

    sample_text: Annotated[tuple[str, ...], _optional("STR [STR ...]", "four of ours")] = ()
    """Sentences, each in quotes."""
    encoder: str = DEFAULT_ENCODER
    """Hub id, local directory, or a built-in encoder."""
    max_length: int = 32
    """Where sentences are cut."""
    output: Output

    def __call__(self) -> None:
        from rtlab.probing import SENTENCES, as_text, probe

        found = probe(self.sample_text or SENTENCES, encoder=self.encoder, max_length=self.max_length)
        self.output.emit(found.to_json(), as_text(found))


@dataclass(frozen=True, kw_only=True)
class Svm:
    """Fit a linear SVM on features of the frozen encoder (lab step e13)."""

    pooling: Pooling = "cls"
    """Feature of a sentence: its first token, or the mean over its tokens."""
    data: Data
    running: Running
    output: Output

    def __call__(self) -> None:
        _run(_experiment("svm", self.data, self.running, pooling=self.pooling), self.running, self.output)


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Tokenize a data set, and count what each padding strategy would compute (lab step e21)."""

    data: Data
    padding: Literal["fixed", "none"] = "none"
    """Whether every sentence is padded to max_length."""
    max_length: int = 512
    """Word pieces kept of a sentence, special tokens included."""
    batch_size: int = 16
    """Sentences per batch, for the counts."""
    seed: int = 42
    """Order of the sentences, for the counts."""
    save_to: Annotated[Path | None, _optional("PATH", "not saved")] = None
    """Directory to save the DatasetDict to."""
    output: Output

    def __call__(self) -> None:
        from rtlab.tokenizing import as_text, tokenize

        found = tokenize(
            self.data.dataset,
            encoder=self.data.encoder,
            limit=self.data.limit,
            padding=self.padding,
            max_length=self.max_length,
            batch_size=self.batch_size,
            seed=self.seed,
            save_to=self.save_to,
        )
        saved = "" if self.save_to is None else f"\n\nsaved to {self.save_to}"
        self.output.emit(found.to_json(), as_text(found) + saved)


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Train every weight of the encoder and a classification head (lab step e23)."""

    training: Training
    data: Data
    running: Running
    output: Output

    def __call__(self) -> None:
        _run(_experiment("full", self.data, self.running, **vars(self.training)), self.running, self.output)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Train a LoRA adapter and a classification head on the frozen encoder (lab step e31)."""

    adapter: Adapter
    training: Training
    data: Data
    running: Running
    output: Output

    def __call__(self) -> None:
        modules = tuple(name for given in self.adapter.target_modules for name in given.replace(",", " ").split())
        lora = LoraSettings(**{**vars(self.adapter), "target_modules": modules})
        experiment = _experiment("lora", self.data, self.running, lora=lora, **vars(self.training))
        _run(experiment, self.running, self.output)


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Label sentences with a saved model: a fine-tuned encoder, an adapter, or an SVM."""

    sentences: Annotated[tyro.conf.Positional[tuple[str, ...]], _optional("[SENTENCE ...]", "those of --file")] = ()
    """Sentences to label, each in quotes."""
    model: Path
    """Directory that svm, finetune or lora saved its model to."""
    file: Annotated[str | None, _optional("FILE", "none")] = None
    """File of sentences, one a line; - for standard input."""
    device: _Device = None
    """Where to compute."""
    output: Output

    def __call__(self) -> None:
        from rtlab.predicting import as_text, predict, read_sentences

        sentences = (*self.sentences, *(read_sentences(self.file, sys.stdin.buffer) if self.file else ()))
        found = predict(self.model, sentences, device=self.device)
        self.output.emit([vars(prediction) for prediction in found], as_text(found))


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Rebuild the README's tables from the records of a results folder."""

    results: Path = Path("results")
    """Folder of results."""
    readme: str = "README.md"
    """File to rebuild; - prints the tables instead."""
    check: bool = False
    """Change nothing; exit with status 1 if the file is stale."""
    output: tyro.conf.Suppress[Output] = Output()

    def __call__(self) -> int:
        from rtlab.records import load_records
        from rtlab.reporting.tables import methods_table, update_readme

        if not self.results.is_dir():  # a slip of the pen must not empty the README's tables
            raise ValueError(f"results must be a folder of results; got {self.results}, which is no directory")
        if self.readme != "-" and not Path(self.readme).is_file():
            raise ValueError(f"readme must be a file to rebuild, or - to print the tables; got {self.readme}, no file")
        records, broken = load_records(self.results / "records")
        for reason in broken.values():
            print(f"rtlab: left out: {reason}", file=sys.stderr)
        if self.readme == "-":
            print(methods_table(records))
            return DONE
        stale = update_readme(Path(self.readme), records, check=self.check)
        if stale and self.check:
            print(f"rtlab: {self.readme} is stale; rebuild it with: rtlab tables", file=sys.stderr)
            return FAILED
        print(f"{self.readme} {'rebuilt' if stale else 'is up to date'}")
        return DONE


Verb = Explore | Probe | Svm | Tokenize | Finetune | Lora | Predict | Tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: The words behind the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        given, notes = translate(given)
        for note in notes:
            print(f"rtlab: {note}", file=sys.stderr)
        verb: Any = tyro.cli(
            Verb,
            args=given,
            prog="rtlab",
            description="Adapt a small pretrained encoder to your sentences, and measure what each way costs and buys.",
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    except SystemExit as stop:  # the parser has said what was wrong, or shown its help
        return int(stop.code or 0)
    return _guarded(verb)


def _guarded(verb: Any) -> int:
    try:
        verb.output.check()
        return verb() or DONE
    except KeyboardInterrupt:
        print("rtlab: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if verb.output.debug:
            traceback.print_exc()
        if isinstance(error, ValueError):
            print("rtlab:", " ".join(str(error).split()), file=sys.stderr)
            return WRONG
        from rtlab.running import RunFailedError  # here, not above: start-up stays light

        if not isinstance(error, RunFailedError):
            raise
        print(f"rtlab: {error}; record {error.path}", file=sys.stderr)
        return FAILED


def _experiment(method: Method, data: Data, running: Running, **fields: Any) -> Experiment:
    common: dict[str, Any] = {"max_length": running.max_length, "precision": running.precision, "seed": running.seed}
    return Experiment(method=method, **vars(data), **common, **fields)


def _run(experiment: Experiment, running: Running, output: Output) -> None:
    """Run an experiment with a bar, save what it trained, and print what came of it."""
    import contextlib

    from rtlab.reporting.tables import summary
    from rtlab.running import check_writable, execute, model_folder, prepare, record_path
    from rtlab.tracking import require_wandb, wandb_run

    if running.use_wandb:
        require_wandb()
    check_writable(running.output_dir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # whatever a library likes to print
        prepared = prepare(experiment, device=running.device)
        bars = stack.enter_context(Bars(sys.stderr))
        tracker = None
        if running.use_wandb:
            tracker = stack.enter_context(wandb_run(experiment, name=running.run_name, folder=running.output_dir))
        record = execute(
            prepared,
            output_dir=running.output_dir,
            save_model=True,
            progress=bars.update,
            on_log=None if tracker is None else tracker.log,
        )
        if tracker is not None:
            tracker.finish(record)
    where = f"record  {record_path(running.output_dir, record)}\nmodel   {model_folder(running.output_dir, record)}"
    output.emit(record.to_json(), f"{summary(record)}\n\n{where}")
