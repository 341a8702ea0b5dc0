"""Claims of a write-up, and what records say of them: confirmed, refuted, or open and what would tell.

A rule holds at a place if the 95 % interval of each of its quantities lies inside the range stated, is refuted if one
lies outside, and is open otherwise. Equivalence ("does not change") is thus shown, not concluded from a missing
difference: two one-sided tests by interval (Schuirmann, 1987), at 2.5 % each. Each claim is judged twice: as stated, on
the encoder, data set and device that it speaks of; and here, on the encoder and data set of most runs, by a rule of its
own for its direction or size. Scores may come from several testbeds, times never do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache
from operator import attrgetter

from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER, Experiment
from rtlab.records import RunRecord
from rtlab.reporting.frame import Cell, setup_fields
from rtlab.reporting.groups import Group, grouped, groups
from rtlab.reporting.markup import LINE, Block, Span, Table, Text
from rtlab.reporting.quantities import Quantity, Reading, Site, Verdict, home, read, sites
from rtlab.reporting.wording import NONE, begun, contents, listed, setup
from rtlab.studies import EVIDENCE, study
from rtlab.values import Json

DATASET_SHA256 = "139902e31bdfd9d34a616b2c5f8e66a07be3947f7095dc6fdf841ed5d071c9f0"  # rotten_tomatoes, whole
LEGEND = (
    "Confirmed: the 95 % interval of every quantity lies inside the range stated for it, from three seeds or more "
    "where seeds matter; refuted: one lies outside; open: neither, with about how many seeds would tell. As stated, a "
    "claim is judged on the encoder, data set and device that it speaks of, and on the lab's recipe. Here, it is "
    "judged on the encoder and data set of most runs, by the rule that is given; a claim that is tied to DistilBERT or "
    "its device by its figures has none, and what was measured is given."
)

# Rules: how a range and an interval are come by, and where that is from.
EXACT = "No chance in it: the figures of all runs lie in the range."
FIGURE = "Mean over seeds, t interval (Student, 1908); the sentences are the lab's own, so only the seed is chance."
EQUAL = (
    "Paired difference over sentences and seeds, two variance components (Satterthwaite, 1946), inside the margin "
    "(Schuirmann, 1987)."
)
BETTER = "Paired difference over sentences and seeds, two variance components (Satterthwaite, 1946), excluding 0."
RATIO = "Ratio of geometric means over seeds, interval on the logarithms (Welch, 1947)."
OWN = "Judged from the lab's own figures, which contradict or bear out the sentence; no record is needed."
TIED = "Its figures tie it to DistilBERT or the device: shown, not judged."


@dataclass(frozen=True)
class Rule:
    """How a claim is judged.

    Attributes:
        source: How its intervals are come by, and where that is from.
        statements: The quantities whose ranges must hold, all of them; without any nothing is judged.
        text: The rule in words; empty for the ranges of a claim as it is stated.
        beside: Quantities that are shown with them and not judged.
    """

    source: str
    statements: Sequence[Quantity] = ()
    _: KW_ONLY
    text: str = ""
    beside: Sequence[Quantity] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence of the write-up.

    Attributes:
        id: Its short name.
        sentence: What is claimed, with every figure that the lab gives.
        stated: How it is judged as it is stated.
        here: How its direction or size is judged on other encoders and devices.
        encoder: The encoder that it speaks of, `None` for any.
        dataset: The data set that it speaks of, told by its contents; `None` for any.
        device: Part of the name of the device that its times speak of, `None` for any.
    """

    id: str
    sentence: str
    stated: Rule
    here: Rule
    _: KW_ONLY
    encoder: str | None = DEFAULT_ENCODER
    dataset: str | None = DEFAULT_DATASET
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What records say by a rule.

    Attributes:
        rule: The rule.
        verdict: `None` where nothing is judged.
        needs: What an open verdict waits for; empty if it is decided.
        findings: What the verdict rests on.
        observed: What is shown beside it.
    """

    rule: Rule
    verdict: Verdict | None
    needs: str = ""
    findings: tuple[Reading, ...] = ()
    observed: tuple[Reading, ...] = ()

    @property
    def records(self) -> tuple[str, ...]:
        """Ids of the records that the verdict rests on."""
        return tuple(dict.fromkeys(record for finding in self.findings for record in finding.records))

    def to_json(self) -> dict[str, Json]:
        """The ruling as JSON types; an interval's infinite end is null."""
        return {
            "rule": " ".join(filter(None, (self.rule.text, self.rule.source))),
            "verdict": self.verdict,
            "needs": self.needs or None,
            "records": list(self.records),
            "findings": [
                _to_json(finding) | {"stated": finding.quantity.stated.text, "verdict": finding.verdict}
                for finding in self.findings
            ],
            "observed": [_to_json(reading) for reading in self.observed],
        }


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim with both of its verdicts."""

    claim: Claim
    as_stated: Ruling
    here: Ruling

    def to_json(self) -> dict[str, Json]:
        """The judgement as JSON types."""
        claim = self.claim
        return {
            "id": claim.id,
            "claim": claim.sentence,
            "speaks_of": {"encoder": claim.encoder, "dataset": claim.dataset, "device": claim.device},
            "as_stated": self.as_stated.to_json(),
            "here": self.here.to_json(),
        }


def judge_all(claims: Sequence[Claim], records: Iterable[RunRecord]) -> tuple[Judgement, ...]:
    """What records of any kind say of each claim."""
    found = groups(records)
    here = home(found)
    return tuple(
        Judgement(claim=claim, as_stated=_as_stated(claim, found), here=rule_on(claim.here, here)) for claim in claims
    )


def rule_on(rule: Rule, here: Sequence[Group], site: Site | None = None) -> Ruling:
    """What the groups of one site say by a rule; without a site, each reading says its own."""
    findings: list[Reading] = []
    waits: dict[str, list[str]] = {}
    lacking: dict[Experiment, None] = {}
    for quantity in rule.statements:
        found = read(quantity, here, site)
        if isinstance(found, Reading):
            findings.append(found)
        else:
            lacking |= dict.fromkeys(found.experiments)
        if found.needs:
            waits.setdefault(found.needs, []).append(quantity.what.rstrip(":"))
    words = [f"{need} for {' and '.join(whats)}" for need, whats in waits.items()]
    words += [_waits_for(tuple(lacking), of_lab=site is not None)] if lacking else []
    verdict: Verdict | None = None
    if rule.statements:
        refuted = any(finding.verdict == "refuted" for finding in findings)
        verdict = "refuted" if refuted else "open" if words else "confirmed"
    return Ruling(
        rule=rule,
        verdict=verdict,
        needs="; ".join(words) if verdict == "open" else "",
        findings=tuple(findings),
        observed=tuple(found for quantity in rule.beside if isinstance(found := read(quantity, here, site), Reading)),
    )


def _waits_for(experiments: Sequence[Experiment], *, of_lab: bool) -> str:
    """What would be run: parts of the study, and setups that none of them has; or the lab's setups."""
    if of_lab:
        return f"runs of {' and '.join(experiment.label for experiment in experiments)} by the lab's recipe"
    parts = [_parts().get(tuple(setup_fields(experiment).values())) for experiment in experiments]
    numbers = [f"--part {number}" for number in sorted({part for part in parts if part is not None})]
    names = [setup(experiment) for experiment, part in zip(experiments, parts, strict=True) if part is None]
    words = [f"rtlab sweep evidence {' and '.join(numbers)}"] if numbers else []
    return f"runs of {listed([*words, *names])}"


@cache
def _parts() -> Mapping[tuple[Cell, ...], int]:
    """The first part of the study that has a setup, whatever its encoder, data set and seed."""
    numbers = range(len(EVIDENCE), 0, -1)
    return {tuple(setup_fields(one).values()): n for n in numbers for one in study("evidence", part=n, seeds=1)}


def _as_stated(claim: Claim, found: Sequence[Group]) -> Ruling:
    """What groups of any places say of a claim as it is stated.

    Scores are judged at each place, times on each machine there. Where several are about the claim, it is refuted if
    one of them refutes it, else confirmed if one confirms it.
    """
    rule = claim.stated
    timed = any(quantity.timed for quantity in (*rule.statements, *rule.beside))
    there = sites(found, timed=timed, device=claim.device)
    rulings = [
        rule_on(rule, here, site)
        for site, here in there.items()
        if claim.encoder in (None, site.place.encoder)
        and (claim.dataset is None or site.place.dataset_sha256 == DATASET_SHA256)
    ]
    observed = tuple(reading for ruling in rulings for reading in ruling.observed)
    if not any(quantity.of for quantity in rule.statements):  # they are the lab's own figures, on no site
        return replace(rule_on(rule, ()), observed=observed)
    verdicts = {ruling.verdict for ruling in rulings}
    verdict: Verdict = "refuted" if "refuted" in verdicts else "confirmed" if "confirmed" in verdicts else "open"
    needs = "; ".join(dict.fromkeys(ruling.needs for ruling in rulings if ruling.needs))
    speaks_of = " on ".join(filter(None, (claim.encoder, claim.dataset, claim.device)))
    return Ruling(
        rule=rule,
        verdict=verdict,
        needs="" if verdict != "open" else needs or f"records of {speaks_of}",
        findings=tuple(finding for ruling in rulings for finding in ruling.findings),
        observed=observed,
    )


def claims_block(judgements: Sequence[Judgement]) -> Block:
    """Judgements as a table: a row for each claim, and below the sites of the records and what the words mean."""
    used = sites_of(ruling for judgement in judgements for ruling in (judgement.as_stated, judgement.here))
    names = {site: f"P{number}" for number, site in enumerate(used, start=1)}
    rows = [
        (
            judgement.claim.sentence,
            _said(judgement.as_stated),
            _evidence(judgement.as_stated, names),
            [*_said(judgement.here), LINE, Span(judgement.here.rule.text, "em")],
            _evidence(judgement.here, names),
        )
        for judgement in judgements
    ]
    keys = [f"{name}: {begun(contents(site.place, [site.machine]))}." for site, name in names.items()]
    titles = ("claim", "as stated", "evidence", "here", "evidence here")
    table = Table(titles=titles, texts=titles, rows=tuple(rows), notes=(*keys, LEGEND))
    return Block(name="claims", title="Claims", tables=(table,))


def sites_of(rulings: Iterable[Ruling]) -> list[Site]:
    """Where the records are that rulings were read off."""
    return sorted({one.site for ruling in rulings for one in (*ruling.findings, *ruling.observed) if one.site})


def _said(ruling: Ruling) -> list[str | Span]:
    """The verdict, and what an open one waits for."""
    if ruling.verdict is None:
        return [NONE]
    return [Span(ruling.verdict, "strong"), *([f": needs {ruling.needs}"] if ruling.needs else [])]


def _evidence(ruling: Ruling, names: Mapping[Site, str]) -> Text:
    """What the verdict rests on, then what is observed beside it, a line for each site."""
    judged, observed = (grouped(readings, attrgetter("site")) for readings in (ruling.findings, ruling.observed))
    lines: list[list[str | Span]] = []
    for site, readings in judged.items():
        text = "; ".join(f"{reading.text}, stated {reading.quantity.stated.text}" for reading in readings)
        lines.append([f"{names[site]}: {text}" if site else text])
    for site, readings in observed.items():
        text = "; ".join(reading.text for reading in readings)
        lines += [[Span("observed", "em"), f" {names[site]}: {text}"]] if site else []
    return [part for line in lines for part in (LINE, *line)][1:] or "none"


def _to_json(reading: Reading) -> dict[str, Json]:
    site, place = reading.site, None
    if site is not None:
        place = {"encoder": site.place.encoder, "dataset": site.place.dataset, "testbed": site.machine or None}
    return {
        "what": reading.quantity.what.rstrip(":"),
        "place": place,
        **reading.interval.to_json(),
        "runs": reading.runs,
        "note": reading.note or None,
        "records": list(reading.records),
    }
