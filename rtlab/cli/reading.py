"""The verbs that read records: tables, comparisons, claims, figures, the report. None of them imports torch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rtlab.cli.options import DONE, FAILED, TEXT, Output, optional

if TYPE_CHECKING:
    from rtlab.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Rebuild the README's tables from the records of a results folder."""

    results: Path = Path("results")
    """Folder of results."""
    readme: str = "README.md"
    """File to rebuild; - prints the tables instead."""
    check: bool = False
    """Change nothing; exit with status 1 if the file is stale."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> int:
        from rtlab.reporting.readme import update_readme
        from rtlab.reporting.tables import as_text, tables

        if self.readme != "-" and not Path(self.readme).is_file():
            raise ValueError(f"readme must be a file to rebuild, or - to print the tables; got {self.readme}, no file")
        made = tables(_records(self.results))
        if self.readme == "-":
            print(f"{as_text(made)}\n\nrecords in {self.results / 'records'}")
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

    results: Annotated[Path, optional("DIR", "results")] = Path("results")
    """Folder of results."""
    dataset: Annotated[str | None, optional("STR", "none, the report holds no sentences")] = None
    """Data set that the records were made with, to show its sentences beside disagreements."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> None:
        from rtlab.records import write_whole
        from rtlab.reporting.report import report

        records = _records(self.results)
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

    results: Annotated[Path, optional("DIR", "results")] = Path("results")
    """Folder of results."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> None:
        from rtlab.reporting.figures import write_figures

        written, removed = write_figures(_records(self.results), self.results / "figures")
        for path in written:
            print(path)
        for path in removed:
            print(f"{path} removed")
        print(f"{len(written)} figure{'s' * (len(written) != 1)} in {self.results / 'figures'}")


def _records(results: Path) -> "tuple[RunRecord, ...]":
    """The records of a results folder, for reading alone; a broken one is named on standard error."""
    from rtlab.records import load_records

    if not results.is_dir():  # a slip of the pen must not empty the README's tables
        raise ValueError(f"results must be a folder of results; got {results}, which is no directory")
    records, broken = load_records(results / "records", compact=True)
    for reason in broken.values():
        print(f"rtlab: left out: {reason}", file=sys.stderr)
    return records


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
