"""The verbs that read records: tables, comparisons, claims, figures, the report. None of them imports torch."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rtlab.cli.options import DONE, FAILED, TEXT, Output, check_file, optional, recorded, say

if TYPE_CHECKING:
    from rtlab.records import RunRecord
    from rtlab.reporting.markup import Block


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Print the tables of the records of a results folder, or write them into the README and the folder's README.md."""

    results: Path = Path("results")
    """Folder of results."""
    readme: Annotated[str | None, optional("FILE", "tables are printed")] = None
    """File to rebuild the tables in that it has markers for; - prints them."""
    write: bool = False
    """Rebuild README.md and the README.md of the results folder."""
    check: bool = False
    """Change nothing; exit with status 1 if such a file is stale, or a record cannot be read."""
    csv: Annotated[Path | None, optional("FILE", "none is written")] = None
    """File to write a row for every record to, with all its numbers."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> int:
        from rtlab.choice import read_all
        from rtlab.reporting.choice_text import choice_block
        from rtlab.reporting.learning_curves import labels_block
        from rtlab.reporting.markup import as_text
        from rtlab.reporting.tables import LEGEND, tables

        if self.csv is not None:
            check_file("csv", self.csv)
        records, broken = _records(self.results)
        if self.csv is not None:
            from rtlab.records import write_whole
            from rtlab.reporting.frame import frame
            from rtlab.reporting.wording import plural

            write_whole(self.csv, frame(records).to_csv(index=False))
            print(f"{self.csv} written, {plural(len(records), 'row')}")
            if not (self.readme or self.write or self.check):
                return DONE
        choices, bad = read_all(self.results)
        for why in bad.values():
            say([why])
        made = (choice_block(choices), labels_block(records), *tables(records))
        files = _files(self.readme, self.results, write=self.write, check=self.check)
        if files:
            status, said = _rebuild(files, made, self.results, "tables", check=self.check)
            print(said)
            return FAILED if self.check and (broken or bad) else status
        shown = [block for block in made if block.name != "seeds"]  # they are in the file and in --csv
        print(f"{as_text(shown, LEGEND)}\n\nrecords in {self.results / 'records'}")
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
        records, _ = _records(self.results)
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
        from rtlab.reporting.report_data import IN_FULL
        from rtlab.reporting.wording import plural

        records, _ = _records(self.results, logits=IN_FULL, history=True)
        texts = {} if self.dataset is None else _sentences(self.dataset, records)
        path = self.results / "report.html"
        write_whole(path, report(records, texts=texts))
        print(f"{path} written, {plural(len(records), 'record')}")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Judge findings and the lab's conclusions by the records of a results folder: confirmed, refuted or open."""

    results: Path = Path("results")
    """Folder of results."""
    readme: Annotated[str | None, optional("FILE", "claims are printed")] = None
    """File to rebuild findings and claims in that it has markers for; - prints them."""
    write: bool = False
    """Rebuild both in README.md or the README.md of the results folder, wherever their markers are."""
    check: bool = False
    """Change nothing; exit with status 1 if such a file is stale, or a record cannot be read."""
    output: Output

    def __call__(self) -> int:
        from rtlab.reporting.claims import claims_block, judge_all
        from rtlab.reporting.evidence import findings_block
        from rtlab.reporting.markup import as_text
        from rtlab.reporting.write_up import CLAIMS

        records, broken = _records(self.results)
        judgements = judge_all(CLAIMS, records)
        blocks = [findings_block(records), claims_block(judgements)]
        files = _files(self.readme, self.results, write=self.write, check=self.check)
        if files:
            status, text = _rebuild(files, blocks, self.results, "claims", check=self.check)
        else:
            status, text = DONE, as_text(blocks)
        self.output.emit([judgement.to_json() for judgement in judgements], text)
        return FAILED if self.check and broken else status


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw the records of a results folder into DIR/figures, as SVG; figures that they no longer make are removed."""

    results: Annotated[Path, optional("DIR", "results")] = Path("results")
    """Folder of results."""
    output: tyro.conf.Suppress[Output] = TEXT

    def __call__(self) -> None:
        from rtlab.reporting.figures import write_figures
        from rtlab.reporting.wording import plural

        written, removed = write_figures(_records(self.results, history=True)[0], self.results / "figures")
        for path in written:
            print(path)
        for path in removed:
            print(f"{path} removed")
        print(f"{plural(len(written), 'figure')} in {self.results / 'figures'}")
        if not written:
            print("figures show whole epochs, and times of runs that nothing disturbed: there are none here")


def _records(results: Path, *, logits: int = 0, history: bool = False) -> "tuple[tuple[RunRecord, ...], bool]":
    """As `recorded`, of a folder that is there: a slip of the pen must not empty the README's tables."""
    if not results.is_dir():
        raise ValueError(f"results must be a folder of results; got {results}, which is no directory")
    return recorded(results, logits=logits, history=history)


def _files(readme: str | None, results: Path, *, write: bool, check: bool) -> list[Path]:
    """The files to rebuild or to check; none if what they hold is to be printed."""
    if readme == "-":
        return []
    if readme is None:
        return [Path("README.md"), results / "README.md"] if write or check else []
    if not Path(readme).is_file():
        raise ValueError(f"readme must be a file to rebuild, or - to print; got {readme}, no file")
    return [Path(readme)]


def _rebuild(
    files: "Sequence[Path]", blocks: "Sequence[Block]", results: Path, verb: str, *, check: bool
) -> tuple[int, str]:
    """Rebuild or check files, and say what became of each; a README.md that a results folder lacks is begun."""
    from rtlab.records import write_whole
    from rtlab.reporting.tables import skeleton, update

    status, said = DONE, []
    for path in files:
        missing = path == results / "README.md" and not path.exists()
        if missing and not check:
            write_whole(path, skeleton())
        stale = True if missing and check else update(path, blocks, check=check)
        if stale and check:
            print(f"rtlab: {path} is stale; rebuild it with: rtlab {verb} --write", file=sys.stderr)
            status = FAILED
        said.append(f"{path} {'is stale' if stale and check else 'rebuilt' if stale else 'is up to date'}")
    return status, "\n".join(said)


def _sentences(dataset: str, records: "Sequence[RunRecord]") -> dict[str, dict[str, tuple[str, ...]]]:
    """Held-out texts of a data set by digest and split: whole, and cut to each limit that records were made with."""
    from rtlab.data import load_splits

    limits = {record.experiment.limit for record in records}
    cuts = []
    for options in dict.fromkeys(record.experiment.dataset_options for record in records):
        # A record of another data set may have been read in a way that this one cannot be.
        with contextlib.suppress(ValueError):
            splits = load_splits(dataset, options=options)
            cuts += [splits, *(splits.limited(limit) for limit in limits if limit and limit >= splits.num_labels)]
    if not cuts:
        load_splits(dataset)  # whose error says what is wrong with it
    used = {record.dataset.sha256 for record in records}
    held_out = ({"validation": cut.validation.texts, "test": cut.test.texts} for cut in cuts)
    texts = {cut.sha256: part for cut, part in zip(cuts, held_out, strict=True) if cut.sha256 in used}
    if not texts:
        raise ValueError(f"dataset must be what records were made with; got {dataset}, whose contents are others")
    return texts
