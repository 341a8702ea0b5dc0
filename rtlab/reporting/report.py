"""The report: every run, table, claim, curve and disagreement in one HTML file that opens anywhere.

Tables are plain HTML and need no script; `report.js` draws the table of runs and what moves, from data that stand in
the file. The same records give the same bytes: no build time is in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import Template

from rtlab.records import RunRecord
from rtlab.reporting.claims import claims_block, judge_all
from rtlab.reporting.evidence import findings_block
from rtlab.reporting.frame import COLUMNS
from rtlab.reporting.groups import lost_runs
from rtlab.reporting.learning_curves import NAME, SHOWS, TITLE, labels_block
from rtlab.reporting.markup import PAIR, Block, Table, as_html, embedded_json, escape
from rtlab.reporting.page import figure, folded, page, section, static
from rtlab.reporting.report_data import Texts, environments, in_full, page_data
from rtlab.reporting.tables import LEGEND, tables
from rtlab.reporting.wording import NONE, dates, listed, plural
from rtlab.reporting.write_up import CLAIMS
from rtlab.values import Json

MOST_ROWS = 300  # of a table; the run table below takes any number
ENVIRONMENTS = 50


def report(records: Iterable[RunRecord], *, texts: Texts | None = None) -> str:
    """The report as one HTML file.

    Args:
        records: Records of any kind.
        texts: Sentences to show beside disagreements. Without them the report holds none.
    """
    # Runs that were cut short for a bench, or drew their sentences, stand at the end.
    parts = [COLUMNS[name] for name in ("limit", "train_sentences", "max_steps")]
    shown = sorted(records, key=lambda record: any(part(record) is not None for part in parts))
    sentences = texts or {}
    about = "Their texts are not in this file; rtlab report --dataset puts them in."
    if sentences:
        about = f"Texts are shown for {listed(r.dataset.name for r in shown if r.dataset.sha256 in sentences)}."
    known, full, left_out = sum(bool(r.predictions or r.history) for r in shown), len(in_full(shown)), ""
    if full < known:
        left_out = (
            f"Losses and predictions of {full:,} of {known:,} runs are in this page, one of each setup first, without "
            "logits. All numbers: rtlab tables --csv FILE; a report of a folder with fewer records shows them all."
        )
    script = static("report.js")
    labels = _labels(shown)
    body = Template(static("report.html")).substitute(
        script=script,
        summary=_summary(shown),
        left_out=escape(left_out),
        sentences=escape(about),
        labels=labels,
        labels_link=f' <a href="#{NAME}">{TITLE}</a>' if labels else "",
        tables=_tables(shown),
        findings=as_html(findings_block(shown), most=MOST_ROWS),
        claims=as_html(claims_block(judge_all(CLAIMS, shown)), most=MOST_ROWS),
        environments=_environments(shown),
        data=embedded_json(page_data(shown, sentences)),
    )
    return page(body, title="rtlab report", style=static("report.css"), script=script)


def _summary(records: Sequence[RunRecord]) -> str:
    if not records:
        return "No records yet."
    lost = len(lost_runs(records))
    parts = [
        plural(len(records), "record"),
        f"{plural(lost, 'run')} without a result" if lost else "",
        "encoders " + listed(record.encoder.name for record in records if record.encoder is not None),
        "data sets " + listed(record.dataset.name for record in records),
        "testbeds " + listed(record.testbed.name for record in records),
        f"made {dates(records)}",
    ]
    return escape("; ".join(part for part in parts if part) + ".")


def _tables(records: Sequence[RunRecord]) -> str:
    shown = [block for block in tables(records) if block.tables and block.name != "seeds"]  # seeds: the run table
    parts = [f"<h3>{escape(block.title)}</h3>\n{as_html(block, most=MOST_ROWS)}" for block in shown]
    return "\n".join([*parts, f"<p>{escape(LEGEND)}</p>"]) if parts else "<p>No records yet.</p>"


def _labels(records: Sequence[RunRecord]) -> str:
    """The section of what training sentences buy, with its figure; nothing where no records hold it."""
    block = labels_block(records)
    if not block.tables:
        return ""
    from rtlab.reporting.figures import first_figure  # here, not above: drawing takes a second to load

    image = figure(first_figure(NAME, records) or "", text=SHOWS)
    return section(NAME, TITLE, f"{image}\n{as_html(block, most=MOST_ROWS)}") + "\n"


def _environments(records: Sequence[RunRecord]) -> str:
    """One expandable entry for each environment."""
    found = environments(records)
    parts = []
    for number, (environment, runs) in enumerate(found[:ENVIRONMENTS], 1):
        rows = dict(_flat(environment))
        title = f"{number}: {rows['device']}, torch {rows.get('versions.torch', 'unknown')} ({plural(runs, 'run')})"
        table = Table(caption="Environment", titles=PAIR, texts=PAIR, rows=tuple(rows.items()))
        shown = as_html(Block(title=f"Environment {number}", tables=(table,)), most=MOST_ROWS)
        parts.append(folded(title, shown, name=f"environment-{number}"))
    more = len(found) - ENVIRONMENTS
    parts += [f"<p>{plural(more, 'more environment')} not shown.</p>"] if more > 0 else []
    return "\n".join(parts)


def _flat(values: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values, those within values by `name.name`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", NONE if value is None else str(value)
