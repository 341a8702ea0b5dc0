"""The report: every run, table, claim, curve and disagreement in one HTML file that opens anywhere.

Nothing is loaded when it is viewed: style, script and data stand in the file, and its Content-Security-Policy lets
only that one script run, by its hash. Tables are plain HTML, made and escaped here, and need no script; `report.js`
filters and sorts them and draws what moves. The same records give the same bytes: no build time is in it.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from rtlab.records import RunRecord, Source
from rtlab.reporting.claims import claims_table, judge_all
from rtlab.reporting.groups import latest
from rtlab.reporting.markup import NONE, as_html, embedded_json, escape, pairs_table, scrolling
from rtlab.reporting.report_data import Texts, page_data, run_names
from rtlab.reporting.run_table import distinct_environments, run_table
from rtlab.reporting.tables import LEGEND, tables
from rtlab.reporting.write_up import CLAIMS


def report(records: Iterable[RunRecord], *, texts: Texts | None = None) -> str:
    """The report as one HTML file.

    Args:
        records: Records of any kind, in order of creation; of several of one run on one device the latest is shown.
        texts: Sentences to show beside disagreements. Without them the report holds none.
    """
    given = tuple(records)
    kept = latest(given)
    names = run_names(kept)
    shown = texts or {}
    script, style = _static("report.js"), _static("report.css")
    page = Template(_static("report.html")).substitute(
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
        summary=_summary(kept, superseded=len(given) - len(kept)),
        runs=run_table(kept, names),
        sentences=escape(_about_sentences(kept, shown)),
        tables=_tables(kept),
        claims=as_html(claims_table(judge_all(CLAIMS, kept)), title="Claims"),
        environments=_environments(kept, names),
        data=embedded_json(page_data(kept, shown)),
    )
    return page.encode(errors="replace").decode()  # half a surrogate pair is JSON, but no UTF-8


def _static(name: str) -> str:
    return resources.files("rtlab.reporting").joinpath(name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """How a Content-Security-Policy names the one inline element that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _summary(records: Sequence[RunRecord], *, superseded: int) -> str:
    if not records:
        return "No records yet."
    lost = sum(record.status != "ok" for record in records)
    parts = [
        _plural(len(records), "run"),
        f"{lost} without a result" if lost else "",
        f"{_plural(superseded, 'older record')} of the same runs left out" if superseded else "",
        "encoders " + _listed(record.encoder.name for record in records),
        "data sets " + _listed(record.dataset.name for record in records),
        "devices " + _listed(record.environment["device"] for record in records),
        "made " + " to ".join(dict.fromkeys(pick(r.created_at[:10] for r in records) for pick in (min, max))),
    ]
    return escape("; ".join(part for part in parts if part) + ".")


def _plural(count: int, noun: str) -> str:
    """Such as `1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _about_sentences(records: Sequence[RunRecord], texts: Texts) -> str:
    if not texts:
        return "Their texts are not in this file; rtlab report --dataset puts them in."
    return f"Texts are shown for {_listed(r.dataset.name for r in records if r.dataset.sha256 in texts)}."


def _tables(records: Sequence[RunRecord]) -> str:
    parts = [f"<h3>{escape(t.title)}</h3>\n{as_html(t.text, title=t.title)}" for t in tables(records) if t.shows]
    return "\n".join([*parts, f"<p>{escape(LEGEND)}</p>"]) if parts else "<p>No records yet.</p>"


def _environments(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    """One expandable entry for each environment, with the runs that were made in it."""
    parts = []
    for number, environment in enumerate(distinct_environments(records), 1):
        here = [(name, r) for name, r in zip(names, records, strict=True) if r.environment == environment]
        versions = environment["versions"]
        title = f"{number}: {environment['device']}, torch {versions['torch']}, transformers {versions['transformers']}"
        runs = [
            (name, f"run {r.id}, code {r.code}, data {_source(r.dataset)}, encoder {_source(r.encoder)}")
            for name, r in here
        ]
        parts.append(
            f'<details id="environment-{number}">\n'
            f"<summary>{escape(title)} ({_plural(len(here), 'run')})</summary>\n"
            + scrolling(pairs_table(_flat(environment), caption="Environment"), title=f"Environment {number}")
            + scrolling(pairs_table(runs, caption="Runs"), title=f"Runs in environment {number}")
            + "\n</details>"
        )
    return "\n".join(parts)


def _source(source: Source) -> str:
    revision = "" if source.revision is None else f" at {source.revision}"
    return f"{source.name}{revision} (SHA-256 {source.sha256[:16]}…)"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested values as `name.name` and value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", NONE if value is None else value
