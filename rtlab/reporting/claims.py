"""Claims of a write-up, and what records say of them: confirmed, refuted, or undecided and why.

A claim is confirmed at a place if the 95 % interval of each of its quantities lies inside the range stated, refuted if
one lies outside, and undecided otherwise. Equivalence ("does not change") is thus shown, not concluded from a missing
difference: two one-sided tests by interval (Schuirmann, 1987), at 2.5 % each. A claim that speaks of an encoder or a
device is judged there only; what others show stands beside it. Scores may come from several testbeds, times never do.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER
from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, Place, groups
from rtlab.reporting.markup import LINE, Block, Column, Span, Table, Text
from rtlab.reporting.quantities import Quantity, Reading, Site, Verdict, read, sites
from rtlab.reporting.wording import contents
from rtlab.values import Json

DATASET_SHA256 = "139902e31bdfd9d34a616b2c5f8e66a07be3947f7095dc6fdf841ed5d071c9f0"  # rotten_tomatoes, whole
LEGEND = (
    "Confirmed: the 95 % interval of every quantity lies inside the range stated for it, from three seeds or more "
    "where seeds matter; refuted: one lies outside; undecided: neither. A claim is judged on the encoder, data set and "
    "device that it speaks of, and on the lab's recipe; what other records show is given as observed."
)


@dataclass(frozen=True)
class Claim:
    """A sentence of the write-up.

    Attributes:
        id: Its short name.
        sentence: What is claimed, with every figure that the lab gives.
        rule: How it is judged, with the method's source.
        statements: The quantities whose ranges must hold, all of them.
        beside: Quantities that are shown with it and not judged.
        encoder: The encoder that it speaks of, `None` for any.
        dataset: The data set that it speaks of, told by its contents; `None` for any.
        device: Part of the name of the device that it speaks of, `None` for any.
    """

    id: str
    sentence: str
    rule: str
    statements: tuple[Quantity, ...]
    _: KW_ONLY
    beside: tuple[Quantity, ...] = ()
    encoder: str | None = DEFAULT_ENCODER
    dataset: str | None = DEFAULT_DATASET
    device: str | None = None

    def is_about(self, place: Place) -> bool:
        """Whether it speaks of what was run there; on which device is for `sites` to choose."""
        return self.encoder in (None, place.encoder) and (
            self.dataset is None or place.dataset_sha256 == DATASET_SHA256
        )


@dataclass(frozen=True)
class Judgement:
    """What records say of a claim.

    Attributes:
        needs: What an undecided claim waits for; empty if it is decided.
        findings: What the verdict rests on.
        observed: What is shown beside it: quantities that are not judged, and the claim's own where records are about
            another encoder, data set, device or recipe.
    """

    claim: Claim
    verdict: Verdict
    needs: str
    findings: tuple[Reading, ...]
    observed: tuple[Reading, ...]

    @property
    def records(self) -> tuple[str, ...]:
        """Ids of the records that the verdict rests on."""
        return tuple(dict.fromkeys(record for finding in self.findings for record in finding.records))

    def to_json(self) -> dict[str, Json]:
        """The judgement as JSON types; an interval's infinite end is null."""
        claim = self.claim
        return {
            "id": claim.id,
            "claim": claim.sentence,
            "speaks_of": {"encoder": claim.encoder, "dataset": claim.dataset, "device": claim.device},
            "rule": claim.rule,
            "verdict": self.verdict,
            "needs": self.needs or None,
            "records": list(self.records),
            "findings": [
                _to_json(finding) | {"stated": finding.quantity.stated, "verdict": finding.verdict}
                for finding in self.findings
            ],
            "observed": [_to_json(reading) for reading in self.observed],
        }


def judge_all(claims: Sequence[Claim], records: Iterable[RunRecord]) -> tuple[Judgement, ...]:
    """What records of any kind say of each claim."""
    found = groups(records)
    return tuple(judge(claim, found) for claim in claims)


def judge(claim: Claim, found: Sequence[Group]) -> Judgement:
    """What groups of any places say of a claim.

    Scores are judged at each place, times on each machine there. Where several are about the claim, it is refuted if
    one of them refutes it, else confirmed if one confirms it.
    """
    own = not any(quantity.of for quantity in claim.statements)
    there = sites(found, timed=any(quantity.timed for quantity in claim.statements), device=claim.device)
    about = [(site, here) for site, here in there.items() if claim.is_about(site.place)]
    judged = [_judge_at(claim, here, site) for site, here in ([(None, ())] if own else about)]
    verdicts = {verdict for verdict, _, _ in judged}
    verdict: Verdict = "refuted" if "refuted" in verdicts else "confirmed" if "confirmed" in verdicts else "undecided"
    findings = tuple(finding for _, _, of_site in judged for finding in of_site)
    needs = "; ".join(dict.fromkeys(need for _, waits, _ in judged for need in waits))
    speaks_of = " on ".join(filter(None, (claim.encoder, claim.dataset, claim.device)))
    return Judgement(
        claim=claim,
        verdict=verdict,
        needs="" if verdict != "undecided" else needs or f"records of {speaks_of}",
        findings=findings,
        observed=_observed(claim, found, {(finding.site, finding.quantity.what) for finding in findings}),
    )


def _judge_at(claim: Claim, here: Sequence[Group], site: Site | None) -> tuple[Verdict, list[str], list[Reading]]:
    """The verdict at one site, what it waits for, and what it rests on."""
    findings, waits = [], []
    for quantity in claim.statements:
        reading = read(quantity, here, site, strictly=True)
        if reading is None:
            runs = " and ".join(experiment.label for experiment in quantity.of)
            waits.append(f"runs of {runs} by the lab's recipe{' on one testbed' * quantity.timed}")
            continue
        findings.append(reading)
        if reading.verdict == "undecided":
            fewest = f"at least {quantity.runs}" if reading.runs < quantity.runs else "more"
            waits.append(f"{fewest} seeds for {quantity.what.rstrip(':')}")
    if any(finding.verdict == "refuted" for finding in findings):
        return "refuted", [], findings
    return "undecided" if waits else "confirmed", waits, findings


def _observed(claim: Claim, found: Sequence[Group], seen: Container[tuple[Site | None, str]]) -> tuple[Reading, ...]:
    """What stands beside the verdict: every quantity wherever it can be read and was not judged."""
    readings: dict[Site, list[Reading]] = {}
    for quantity in (*claim.statements, *claim.beside):
        there = sites(found, timed=quantity.timed, device=None) if quantity.of else {}
        for site, here in there.items():
            if (site, quantity.what) not in seen:
                reading = read(quantity, here, site, strictly=True) or read(quantity, here, site, strictly=False)
                readings.setdefault(site, []).extend([reading] if reading else [])
    return tuple(reading for site in sorted(readings) for reading in readings[site])


def claims_block(judgements: Sequence[Judgement]) -> Block:
    """Judgements as a table: a row for each claim, and below the sites of the records and what the words mean."""
    used = {reading.site for j in judgements for reading in (*j.findings, *j.observed) if reading.site}
    names = {site: f"P{number}" for number, site in enumerate(sorted(used), start=1)}
    rows = []
    for judgement in judgements:
        verdict = (Span(judgement.verdict, "strong"), f": needs {judgement.needs}" if judgement.needs else "")
        rows.append((judgement.claim.sentence, verdict, _evidence(judgement, names), str(len(judgement.records))))
    keys = [
        f"{name}: {contents(site.place)}{', on ' * bool(site.machine)}{site.machine}." for site, name in names.items()
    ]
    columns = (Column("claim", False), Column("verdict", False), Column("evidence", False), Column("records"))
    table = Table(columns=columns, rows=tuple(rows), notes=(*keys, LEGEND))
    return Block(name="claims", title="Claims", tables=(table,))


def _evidence(judgement: Judgement, names: Mapping[Site, str]) -> Text:
    """What the verdict rests on, then what is observed beside it, a line for each site."""
    judged = _by_site((f.site, f"{f.text}, stated {f.quantity.stated}") for f in judgement.findings)
    observed = _by_site((reading.site, reading.text) for reading in judgement.observed)
    lines: list[list[str | Span]] = [[f"{names[site]}: {text}" if site else text] for site, text in judged.items()]
    lines += [[Span("observed", "em"), f" {names[site]}: {text}"] for site, text in observed.items() if site]
    return [part for line in lines for part in (LINE, *line)][1:] or "none"


def _by_site(texts: Iterable[tuple[Site | None, str]]) -> dict[Site | None, str]:
    found: dict[Site | None, list[str]] = {}
    for site, text in texts:
        found.setdefault(site, []).append(text)
    return {site: "; ".join(several) for site, several in found.items()}


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
