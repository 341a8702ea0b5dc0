"""Claims of a write-up, and what records say of them: confirmed, refuted, or undecided and why.

A claim is confirmed at a place if the 95 % interval of each of its quantities lies inside the range stated, refuted if
one lies outside, and undecided otherwise. Equivalence ("does not change") is thus shown, not concluded from a missing
difference: two one-sided tests by interval (Schuirmann, 1987), at 2.5 % each. A claim that speaks of an encoder or a
device is judged there only; what others show stands beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER
from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, Place, groups
from rtlab.reporting.quantities import Quantity, Reading, read
from rtlab.reporting.wording import plain

Verdict = Literal["confirmed", "refuted", "undecided"]

DATASET_SHA256 = "139902e31bdfd9d34a616b2c5f8e66a07be3947f7095dc6fdf841ed5d071c9f0"  # rotten_tomatoes, whole
LEGEND = (
    "Confirmed: the 95 % interval of every quantity lies inside the range stated for it, from three seeds or more "
    "where seeds matter; refuted: one lies outside; undecided: neither. A claim is judged on the encoder, data set and "
    "device that it speaks of, and on the lab's recipe; what other records show is given as observed."
)


@dataclass(frozen=True)
class Statement:
    """A quantity and the open range that it must lie in for a claim to hold; `wording` says the range."""

    quantity: Quantity
    low: float
    high: float
    wording: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the write-up.

    Attributes:
        id: Its short name.
        sentence: What is claimed, with every figure that the lab gives.
        statements: What must hold, all of it.
        rule: How it is judged, with the method's source.
        beside: Quantities that are shown with it and not judged.
        encoder: The encoder that it speaks of, `None` for any.
        dataset: The data set that it speaks of, told by its contents; `None` for any.
        device: Part of the name of the device that it speaks of, `None` for any.
    """

    id: str
    sentence: str
    statements: tuple[Statement, ...]
    rule: str
    beside: tuple[Quantity, ...] = ()
    encoder: str | None = DEFAULT_ENCODER
    dataset: str | None = DEFAULT_DATASET
    device: str | None = None

    @property
    def speaks_of(self) -> str:
        """Encoder, data set and device, as far as it is bound to them."""
        return " on ".join(name for name in (self.encoder, self.dataset, self.device) if name)

    def is_about(self, place: Place) -> bool:
        """Whether it speaks of what was run there."""
        return (
            self.encoder in (None, place.encoder)
            and (self.dataset is None or place.dataset_sha256 == DATASET_SHA256)
            and (self.device is None or self.device in place.device)
        )


@dataclass(frozen=True)
class Finding:
    """What a reading says of a statement."""

    statement: Statement
    reading: Reading
    verdict: Verdict


@dataclass(frozen=True)
class Judgement:
    """What records say of a claim.

    Attributes:
        claim: The claim.
        verdict: The word.
        needs: What an undecided claim waits for; empty if it is decided.
        findings: What the verdict rests on.
        observed: What is shown beside it: quantities that are not judged, and the claim's own where records are about
            another encoder, data set, device or recipe.
    """

    claim: Claim
    verdict: Verdict
    needs: str
    findings: tuple[Finding, ...]
    observed: tuple[Reading, ...]

    @property
    def records(self) -> tuple[str, ...]:
        """Ids of the records that the verdict rests on."""
        return tuple(dict.fromkeys(record for finding in self.findings for record in finding.reading.records))

    def to_json(self) -> dict[str, Any]:
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
                _reading_to_json(f.reading) | {"stated": f.statement.wording, "verdict": f.verdict}
                for f in self.findings
            ],
            "observed": [_reading_to_json(reading) for reading in self.observed],
        }


def judge_all(claims: Sequence[Claim], records: Iterable[RunRecord]) -> tuple[Judgement, ...]:
    """What records of any kind, in order of creation, say of each claim."""
    places: dict[Place, list[Group]] = {}
    for group in groups(records):
        places.setdefault(group.place, []).append(group)
    return tuple(judge(claim, places) for claim in claims)


def judge(claim: Claim, places: Mapping[Place, Sequence[Group]]) -> Judgement:
    """What the groups of each place say of a claim.

    Where several places are about it, it is refuted if one of them refutes it, else confirmed if one confirms it.
    """
    own = not any(statement.quantity.of for statement in claim.statements)
    about: list[Sequence[Group]] = [here for place, here in places.items() if claim.is_about(place)]
    judged = [_judge_at(claim, here) for here in ([()] if own else about)]
    verdicts = {verdict for verdict, _, _ in judged}
    verdict: Verdict = next((word for word in ("refuted", "confirmed") if word in verdicts), "undecided")
    findings = tuple(finding for _, _, found in judged for finding in found)
    needs = "; ".join(dict.fromkeys(need for _, waits, _ in judged for need in waits))
    seen = {(finding.reading.place, finding.reading.quantity.what) for finding in findings}
    quantities = (*(statement.quantity for statement in claim.statements), *claim.beside)
    beside = (
        read(quantity, here, strictly=True) or read(quantity, here, strictly=False)
        for place, here in places.items()
        for quantity in quantities
        if quantity.of and (place, quantity.what) not in seen
    )
    return Judgement(
        claim=claim,
        verdict=verdict,
        needs="" if verdict != "undecided" else needs or f"records of {claim.speaks_of}",
        findings=findings,
        observed=tuple(reading for reading in beside if reading),
    )


def claims_table(judgements: Sequence[Judgement]) -> str:
    """Judgements as markdown: a row for each claim, and below the places of the records and what the words mean."""
    readings = (r for j in judgements for r in (*(finding.reading for finding in j.findings), *j.observed))
    places = sorted({reading.place for reading in readings if reading.place})
    names = {place: f"P{number}" for number, place in enumerate(places, start=1)}
    lines = ["| claim | verdict | evidence | records |", "|:--|:--|:--|--:|"]
    for judgement in judgements:
        verdict = f"**{judgement.verdict}**" + (f": needs {judgement.needs}" if judgement.needs else "")
        cells = (judgement.claim.sentence, verdict, _evidence(judgement, names), str(len(judgement.records)))
        lines.append(f"| {' | '.join(cells)} |")
    keys = [
        plain(f"- {name}: {p.encoder} on {p.dataset} ({p.dataset_sha256[:8]}), {p.device}") for p, name in names.items()
    ]
    return "\n".join((*lines, "", *keys, *([""] if keys else []), LEGEND))


def _judge_at(claim: Claim, here: Sequence[Group]) -> tuple[Verdict, list[str], list[Finding]]:
    """The verdict at one place, what it waits for, and what it rests on."""
    findings, waits = [], []
    for statement in claim.statements:
        reading = read(statement.quantity, here, strictly=True)
        if reading is None:
            runs = " and ".join(experiment.label for experiment in statement.quantity.of)
            waits.append(f"runs of {runs} by the lab's recipe")
            continue
        verdict = _verdict(statement, reading)
        findings.append(Finding(statement, reading, verdict))
        if verdict == "undecided":
            fewest = f"at least {statement.quantity.runs}" if reading.runs < statement.quantity.runs else "more"
            waits.append(f"{fewest} seeds for {statement.quantity.what.rstrip(':')}")
    if any(finding.verdict == "refuted" for finding in findings):
        return "refuted", [], findings
    return "undecided" if waits else "confirmed", waits, findings


def _verdict(statement: Statement, reading: Reading) -> Verdict:
    interval = reading.interval
    if reading.runs < statement.quantity.runs:
        return "undecided"
    if statement.low < interval.low and interval.high < statement.high:
        return "confirmed"
    if interval.high < statement.low or statement.high < interval.low:
        return "refuted"
    return "undecided"


def _evidence(judgement: Judgement, names: Mapping[Place, str]) -> str:
    """What the verdict rests on, then what is observed beside it, a line for each place."""
    judged = [(f.reading.place, f"{f.reading.text}, stated {f.statement.wording}") for f in judgement.findings]
    observed = [(reading.place, reading.text) for reading in judgement.observed]
    lines = [names[place] + ": " + text if place else text for place, text in _by_place(judged)]
    lines += [f"*observed* {names[place]}: {text}" for place, text in _by_place(observed) if place]
    return "<br>".join(lines) or "none"


def _by_place(texts: Iterable[tuple[Place | None, str]]) -> list[tuple[Place | None, str]]:
    places: dict[Place | None, list[str]] = {}
    for place, text in texts:
        places.setdefault(place, []).append(text)
    return [(place, "; ".join(found)) for place, found in places.items()]


def _reading_to_json(reading: Reading) -> dict[str, Any]:
    limits = {name: getattr(reading.interval, name) for name in ("value", "low", "high")}
    interval = {name: value if isfinite(value) else None for name, value in limits.items()}
    place = reading.place and {name: getattr(reading.place, name) for name in ("encoder", "dataset", "device")}
    return {
        "what": reading.quantity.what.rstrip(":"),
        "place": place,
        **interval,
        "runs": reading.runs,
        "note": reading.note or None,
        "records": list(reading.records),
    }
