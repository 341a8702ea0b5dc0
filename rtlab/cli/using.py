"""The verbs that use a saved model: predict and evaluate."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import tyro

from rtlab.cli.options import AS_IT_IS, DONE, FAILED, Device, Output, Reading, check_file, optional, say
from rtlab.experiment import DEFAULT_DATASET, DatasetOptions
from rtlab.progress import Bars
from rtlab.values import to_json

if TYPE_CHECKING:
    from rtlab.saved_models.predicting import Prediction
    from rtlab.saved_models.streaming import Item, Labelled, Window

    Write = Callable[[Labelled], None]


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Label sentences with a saved model: words, an SVM, a fine-tuned encoder or an adapter.

    Sentences given as words are labelled in a table. Those of a file or of standard input are labelled as they come:
    a line each with label, probability and sentence between tabs, or with --json an object. A blank line has a blank
    line, or an object without a label.
    """

    sentences: Annotated[tyro.conf.Positional[tuple[str, ...]], optional("[SENTENCE ...]", "those of --file")] = ()
    """Sentences to label, each in quotes."""
    model: Path
    """Directory that a verb which trains saved its model to."""
    file: Annotated[str | None, optional("FILE", "none")] = None
    """File of sentences, one a line, or table of them (.csv, .tsv, .json, .jsonl, .parquet …); - for standard input."""
    text_column: Annotated[str | None, optional("STR", "found by its name or its contents")] = None
    """Column of the sentences, in a table."""
    skip_bad_rows: bool = False
    """Leave out rows of a table that cannot be read, and name them, instead of stopping at the first."""
    table: Annotated[Path | None, tyro.conf.arg(name="output"), optional("FILE", "none")] = None
    """File to write all columns with label and probability to, instead of printing: .csv, .tsv or .jsonl."""
    device: Device = None
    """Where to compute."""
    output: Output

    def __call__(self) -> int:
        from rtlab.saved_models.predicting import NotFiniteError

        self._check_given()
        if self.table is not None:
            self._check_table(self.table)
        try:
            if self.file is None and self.table is None:
                self._label_words()
            else:
                self._label_stream()
        except NotFiniteError as error:
            sys.stdout.flush()  # what was labelled before it
            _say(str(error))
            return FAILED
        return DONE

    def _check_given(self) -> None:
        """Refuse sentences that nothing names, and options of a table where there is none."""
        from rtlab.saved_models.predicting import NONE_GIVEN
        from rtlab.saved_models.streaming import is_table

        if not self.sentences and self.file is None:
            raise ValueError(NONE_GIVEN if sys.stdin.isatty() else f"{NONE_GIVEN}, which reads what is piped in")
        if self.sentences == ("-",) and self.file is None:
            raise ValueError("sentences must be words; got -: standard input is read with --file -")
        if self.file is not None and self.file != "-" and is_table(self.file):
            if self.sentences:
                raise ValueError("sentences must stand in the table of --file, or be given without it; got both")
            return
        what = "sentences alone" if self.file is None else f"--file {self.file}, which is read one sentence a line"
        for name, given in (("text_column", self.text_column is not None), ("skip_bad_rows", self.skip_bad_rows)):
            if given:
                raise ValueError(f"{name} is for a table; got it with {what}; a --file such as .csv or .jsonl would do")

    def _check_table(self, table: Path) -> None:
        from rtlab.saved_models.row_files import check_format

        check_format("output", table)
        check_file("output", table)
        if self.file is not None and self.file != "-" and table.resolve() == Path(self.file).resolve():
            raise ValueError(f"output must be another file than --file; got {str(table)!r} for both")

    def _label_words(self) -> None:
        from rtlab.saved_models.predicting import as_text, predict

        found = predict(self.model, self.sentences, device=self.device)
        self.output.emit(to_json(found), as_text(found))

    def _label_stream(self) -> None:
        from rtlab.saved_models.opening import load_model
        from rtlab.saved_models.streaming import label_windows

        with contextlib.ExitStack() as stack:
            columns, windows = self._source(stack)  # refused here, before the model is loaded, if it cannot be read
            model = load_model(self.model, device=self.device)
            writers = self._writers(stack, columns)
            count = 0
            for labelled in label_windows(model, windows):
                count += len(labelled)
                for write in writers:
                    write(labelled)
        if self.table is not None and self.output.json != "-":
            print(f"{self.table} written, {count} row{'' if count == 1 else 's'}")

    def _source(self, stack: contextlib.ExitStack) -> "tuple[tuple[str, ...], Iterator[Window]]":
        """Columns of what is to be labelled, and its windows."""
        from rtlab.saved_models.streaming import TEXT, is_table, lines, open_lines, rows, words

        if self.file is None:
            return (TEXT,), words(self.sentences)
        if self.file != "-" and is_table(self.file):
            options = DatasetOptions(text_column=self.text_column, skip_bad_rows=self.skip_bad_rows)
            return rows(self.file, options, _say)
        stream = sys.stdin.buffer if self.file == "-" else stack.enter_context(open_lines(self.file))
        return (TEXT,), itertools.chain(words(self.sentences), lines(stream, self.file))

    def _writers(self, stack: contextlib.ExitStack, columns: Sequence[str]) -> "Sequence[Write]":
        """Where labels go: to a table, as JSON, and as text unless one of these takes its place."""
        from rtlab.saved_models.row_files import json_line
        from rtlab.saved_models.streaming import as_json, as_line
        from rtlab.writing import whole_file

        writers = []
        if self.table is not None:
            writers.append(stack.enter_context(_table(self.table, columns)))
        if self.output.json is not None:
            as_file = stack.enter_context(
                contextlib.nullcontext(sys.stdout) if self.output.json == "-" else whole_file(Path(self.output.json))
            )
            writers.append(_lines_to(as_file, lambda item, found: json_line(as_json(item, found))))
        if self.table is None and self.output.json != "-":
            writers.append(_lines_to(sys.stdout, as_line))
        return writers


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a saved model on labelled sentences: scores with intervals, by class, confusion matrix, surest errors.

    The result is added to evaluations/ in the folder of results, and is no record of a run.
    """

    model: Path
    """Directory that a verb which trains saved its model to."""
    dataset: str = field(default_factory=lambda: os.environ.get("RTLAB_DATASET") or DEFAULT_DATASET)
    """Hub id, file or directory, or corpus, the built-in one. The environment's RTLAB_DATASET is the default."""
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        optional("{train,validation,test}", "test, or all of a data set without splits"),
    ] = None
    """Which split; one that the data set lacks is cut as for training."""
    reading: Reading = AS_IT_IS
    show_errors: int = 10
    """Errors that are shown and kept, the surest first."""
    device: Device = None
    """Where to compute."""
    output_dir: Path = Path("results")
    """Folder for the result (evaluations/)."""
    output: Output

    def __call__(self) -> int:
        from rtlab.preparing import check_writable
        from rtlab.saved_models.evaluating import evaluate, save
        from rtlab.saved_models.evaluation_text import as_text
        from rtlab.saved_models.predicting import NotFiniteError

        check_writable(self.output_dir, within=("evaluations",))
        try:
            with Bars(sys.stderr) as bars:
                found = evaluate(
                    self.model,
                    self.dataset,
                    split=self.split,
                    options=self.reading.options,
                    output_dir=None,
                    device=self.device,
                    show_errors=self.show_errors,
                    progress=bars.update,
                )
        except NotFiniteError as error:
            _say(str(error))
            return FAILED
        say(found.dataset.notes)
        path = save(found, self.output_dir)
        self.output.emit(found.to_json(), f"{as_text(found)}\n\nevaluation  {path}")
        return DONE


def _say(note: str) -> None:
    print(f"rtlab: {note}", file=sys.stderr)


def _lines_to(file: TextIO, line: "Callable[[Item, Prediction | None], str]") -> "Write":
    """What writes a line for each item of a window, and sends it off."""

    def write(labelled: "Labelled") -> None:
        for item, found in labelled:
            print(line(item, found), file=file)
        file.flush()

    return write


@contextlib.contextmanager
def _table(path: Path, columns: Sequence[str]) -> "Iterator[Write]":
    """What writes rows with their labels into a file; a new column whose name is taken gets another, which is said."""
    from rtlab.saved_models.row_files import row_file

    label, probability, probabilities = (_free(name, columns) for name in ("label", "probability", "probabilities"))
    with row_file(path, (*columns, label, probability)) as write_row:  # all probabilities go into JSON lines alone

        def write(labelled: "Labelled") -> None:
            for item, found in labelled:
                row = {**item.fields, label: None, probability: None, probabilities: None}
                if found is not None:
                    row |= {label: found.label, probability: found.probabilities[found.label]}
                    row[probabilities] = found.probabilities
                write_row(row)

        yield write


def _free(name: str, columns: Sequence[str]) -> str:
    if name not in columns:
        return name
    free = next(f"{name}_{number}" for number in itertools.count(2) if f"{name}_{number}" not in columns)
    _say(f"the model's {name} is column {free}: there is a column {name} already")
    return free


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Write an adapter, merged into its encoder, as a plain checkpoint that needs neither PEFT nor the encoder."""

    model: Path
    """Directory that lora saved its adapter to."""
    output_dir: Path
    """Directory for the checkpoint: a new or an empty one."""
    device: Device = None
    """Where to compute."""
    output: Output

    def __call__(self) -> int:
        from rtlab.saved_models.merging import MergeFailedError, as_text, merge

        try:
            found = merge(self.model, self.output_dir, device=self.device)
        except MergeFailedError as error:
            print(f"rtlab: {error}", file=sys.stderr)
            return FAILED
        self.output.emit(to_json(found), f"{as_text(found)}\nmodel   {self.output_dir}")
        return DONE
