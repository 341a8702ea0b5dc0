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
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from rtlab.studies import Study

if TYPE_CHECKING:
    from rtlab.records import RunRecord

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
        if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
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
class Sweep:
    """Run a study, each run in a fresh process, leaving out what is recorded already (the lab's run_experiments.sh)."""

    study: tyro.conf.Positional[Study]
    """The matrix: smoke, embedded or lab."""
    encoder: Annotated[str | None, _optional("STR", "the study's")] = None
    """In place of the study's encoder."""
    dataset: Annotated[str | None, _optional("STR", "RTLAB_DATASET, or the study's")] = None
    """In place of the study's data set."""
    engine: Annotated[Engine | None, _optional("{trainer}", "all")] = None
    """Only the experiments of this engine."""
    seeds: int = 1
    """Seeds per case, counted from 42."""
    epochs: Annotated[int | None, _optional("INT", "the study's")] = None
    """In place of the study's epochs."""
    limit: Annotated[int | None, _optional("INT", "the study's")] = None
    """Sentences kept per split."""
    device: _Device = None
    """Where to compute."""
    output_dir: Path = Path("results")
    """Folder for the records (records/)."""
    dry_run: bool = False
    """List what would be done, and do nothing."""
    output: tyro.conf.Suppress[Output] = Output()

    def __call__(self) -> int:
        from rtlab.studies import study
        from rtlab.sweep import plan, sweep

        experiments = study(
            self.study,
            encoder=self.encoder,
            dataset=self.dataset or (os.environ.get("RTLAB_DATASET") if self.study != "smoke" else None),
            engine=self.engine,
            seeds=self.seeds,
            epochs=self.epochs,
            limit=self.limit,
        )
        planned = plan(experiments, output_dir=self.output_dir, device=self.device)
        for one in planned:
            print(f"{one.recorded or 'to do':9}  {one.path.stem[:16]}  {one.experiment.title}")
        to_do = [one for one in planned if one.recorded is None]
        print(f"{len(planned) - len(to_do)} recorded already, {len(to_do)} to do")
        if self.dry_run:
            return DONE
        failed = 0
        with Bars(sys.stderr) as bars:
            for number, one in enumerate(sweep(to_do, output_dir=self.output_dir, device=self.device), start=1):
                failed += one.recorded != "ok"
                print(f"{one.recorded or 'died':9}  {one.path.stem[:16]}  {one.experiment.title}", flush=True)
                bars.update("runs", number, len(to_do))
        print(f"{len(to_do) - failed} done, {failed} failed; records in {self.output_dir / 'records'}")
        return FAILED if failed else DONE


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
        from rtlab.reporting.readme import update_readme
        from rtlab.reporting.tables import as_text, tables

        if self.readme != "-" and not Path(self.readme).is_file():
            raise ValueError(f"readme must be a file to rebuild, or - to print the tables; got {self.readme}, no file")
        made = tables(_records(self.results))
        if self.readme == "-":
            print(as_text(made))
            return DONE
        stale = update_readme(Path(self.readme), {table.name: table.text for table in made}, check=self.check)
        if stale and self.check:
            print(f"rtlab: {self.readme} is stale; rebuild it with: rtlab tables", file=sys.stderr)
            return FAILED
        print(f"{self.readme} {'rebuilt' if stale else 'is up to date'}")
        return DONE


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare recorded runs sentence by sentence: accuracy and F1 with intervals, McNemar's test, speed.

    A name is the label of an experiment, such as full-dynamic-lr2e-05, for its runs under all seeds, or the beginning
    of a record's id for one run. NAME@PART tells several of one name apart: PART is a piece of what the error that
    lists them says of one, such as @minilm or "@5 epochs".
    """

    a: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """What the others are compared to."""
    b: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="B [B ...]", help_behavior_hint="(required)")
    ]
    """What is compared to it; p-values of several are adjusted (Holm)."""
    results: Path = Path("results")
    """Folder of results."""
    output: Output

    def __call__(self) -> None:
        from rtlab.reporting.comparing import as_text, compare, find

        if not self.b:
            raise ValueError(f"b must name at least one label or record id to compare to {self.a}; got none")
        records = _records(self.results)
        a, *others = (find(name, records) for name in (self.a, *self.b))
        found = compare(a, others)
        self.output.emit([comparison.to_json() for comparison in found], as_text(found))


@dataclass(frozen=True, kw_only=True)
class Report:
    """Build DIR/report.html: runs, tables, claims, curves and disagreements in one file that needs no network."""

    results: Annotated[Path, _optional("DIR", "results")] = Path("results")
    """Folder of results."""
    dataset: Annotated[str | None, _optional("STR", "none, the report holds no sentences")] = None
    """Data set that the records were made with, to show its sentences beside disagreements."""
    output: tyro.conf.Suppress[Output] = Output()

    def __call__(self) -> None:
        from rtlab.records import load_records, write_whole
        from rtlab.reporting.report import report

        if not self.results.is_dir():
            raise ValueError(f"results must be a folder of results; got {self.results}, which is no directory")
        records, broken = load_records(self.results / "records", compact=True)
        for reason in broken.values():
            print(f"rtlab: left out: {reason}", file=sys.stderr)
        texts = {} if self.dataset is None else _sentences(self.dataset, records)
        path = self.results / "report.html"
        write_whole(path, report(records, texts=texts))
        print(f"{path} written, {len(records)} record{'s' * (len(records) != 1)}")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Judge the lab's written conclusions by the records of a results folder: confirmed, refuted or undecided."""

    results: Path = Path("results")
    """Folder of results."""
    readme: str = "README.md"
    """File to rebuild the table in; - prints it instead."""
    check: bool = False
    """Leave the file as it is; exit with status 1 if it is stale."""
    output: Output

    def __call__(self) -> int:
        from rtlab.reporting.claims import claims_table, judge_all
        from rtlab.reporting.readme import update_readme
        from rtlab.reporting.write_up import CLAIMS

        judgements = judge_all(CLAIMS, _records(self.results))
        found = [judgement.to_json() for judgement in judgements]
        table = claims_table(judgements)
        if self.readme == "-":
            self.output.emit(found, table)
            return DONE
        stale = update_readme(Path(self.readme), {"claims": table}, check=self.check)
        if stale and self.check:
            print(f"rtlab: the claims in {self.readme} are stale; rebuild them with: rtlab claims", file=sys.stderr)
            return FAILED
        self.output.emit(found, f"claims in {self.readme} {'rebuilt' if stale else 'up to date'}")
        return DONE


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw the records of a results folder into DIR/figures, as SVG; figures that they no longer make are removed."""

    results: Annotated[Path, _optional("DIR", "results")] = Path("results")
    """Folder of results."""
    output: tyro.conf.Suppress[Output] = Output()

    def __call__(self) -> None:
        from rtlab.reporting.figures import write_figures

        written, removed = write_figures(_records(self.results), self.results / "figures")
        for path in written:
            print(path)
        for path in removed:
            print(f"{path} removed")
        print(f"{len(written)} figure{'s' * (len(written) != 1)} in {self.results / 'figures'}")


Verb = (
    Explore | Probe | Svm | Tokenize | Finetune | Lora | Predict | Sweep | Tables | Compare | Report | Claims | Figures
)


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


def _records(results: Path) -> "tuple[RunRecord, ...]":
    """The records of a results folder, for reading alone; a broken one is named on standard error."""
    from rtlab.records import load_records

    if not results.is_dir():  # a slip of the pen must not empty the README's tables
        raise ValueError(f"results must be a folder of results; got {results}, which is no directory")
    records, broken = load_records(results / "records", compact=True)
    for reason in broken.values():
        print(f"rtlab: left out: {reason}", file=sys.stderr)
    return records


def _experiment(method: Method, data: Data, running: Running, **fields: Any) -> Experiment:
    common: dict[str, Any] = {"max_length": running.max_length, "precision": running.precision, "seed": running.seed}
    return Experiment(method=method, **vars(data), **common, **fields)


def _sentences(dataset: str, records: "Sequence[RunRecord]") -> dict[str, dict[str, tuple[str, ...]]]:
    """Held-out texts of a data set by digest and split: whole, and cut to each limit that records were made with."""
    from rtlab.data import load_splits

    splits = load_splits(dataset)
    limits = {record.experiment.limit for record in records}
    cuts = [splits, *(splits.limited(limit) for limit in limits if limit is not None and limit >= splits.num_labels)]
    used = {record.dataset.sha256 for record in records}
    held_out = ({"validation": cut.validation.texts, "test": cut.test.texts} for cut in cuts)
    texts = {cut.sha256: part for cut, part in zip(cuts, held_out, strict=True) if cut.sha256 in used}
    if not texts:
        raise ValueError(f"dataset must be what records were made with; got {dataset}, whose contents are others")
    return texts


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
