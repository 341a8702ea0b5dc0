"""What can be read off the records of one site, each with an interval: the quantities that claims and findings judge.

A site is a place, for figures that testbeds share, or a place and one machine, for times. A quantity names the
experiments that it is about in full, but for encoder, data set and seed: the site decides these.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from operator import attrgetter
from typing import Literal, NamedTuple

from rtlab.experiment import Experiment
from rtlab.recipe import Recipe
from rtlab.reporting.frame import setup_fields
from rtlab.reporting.groups import Group, Place, by_place, without_code
from rtlab.reporting.measures import Measure, on_one_testbed, quality, time_ratio
from rtlab.reporting.wording import plural, versions
from rtlab.statistics import Interval, seeds_to_tell

Verdict = Literal["confirmed", "refuted", "open"]

FEWEST_RUNS = 3  # a side: below it no interval knows how much the seed matters
NOT_COMPARED = frozenset({"logging_steps"})


class Range(NamedTuple):
    """The open range that a quantity must lie in for a claim to hold, and how it is put; `SHOWN` is all numbers."""

    low: float = -math.inf
    high: float = math.inf
    text: str = ""


SHOWN = Range()


@dataclass(frozen=True, order=True)
class Site:
    """Where a quantity is read: a place, and for times one machine with its versions."""

    place: Place
    machine: str = ""


@dataclass(frozen=True)
class Quantity:
    """A figure of one or several groups of records, and what a claim says of it.

    Attributes:
        what: Its name, for people.
        of: The experiments that it is about, in the order in which `measure` takes their groups; empty for a figure
            that the lab itself states.
        measure: The figure and its interval, from the groups; `None` if the records do not hold it.
        form: How its numbers are written.
        rivals: Experiments whose groups are handed to `measure` too, as far as there are any.
        runs: Runs of every experiment with chance that a verdict needs.
        timed: Whether it is a time, which belongs to one testbed.
        stated: Where it must lie.
    """

    what: str
    of: tuple[Experiment, ...]
    measure: Measure
    _: KW_ONLY
    form: str = "{:.4f}"
    rivals: tuple[Experiment, ...] = ()
    runs: int = FEWEST_RUNS
    timed: bool = False
    stated: Range = SHOWN

    def number(self, value: float) -> str:
        """A number in its form, without the unit."""
        return (self.form.partition("}")[0] + "}").format(value)

    def near(self, value: float, margin: float) -> "Quantity":
        """The quantity with the value that it must come near to."""
        text = f"{self.number(value)} ± {self.form.format(margin)}"
        return replace(self, stated=Range(value - margin, value + margin, text))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A quantity as one site's records have it.

    Attributes:
        quantity: What was read.
        site: Where; `None` for a figure that the lab itself states.
        interval: The figure and its 95 % interval, infinite where one run gives none.
        records: Ids of the records that it was read off.
        runs: Runs of the experiment that has the fewest, of those with chance if there are such.
        note: How the runs differ from the lab's recipe, and the quality beside a ratio of times.
    """

    quantity: Quantity
    site: Site | None
    interval: Interval
    records: tuple[str, ...] = ()
    runs: int = 0
    note: str = ""

    @property
    def figure(self) -> str:
        """Such as `speed-up 7.40 × [7.31, 7.49]`."""
        form, number, interval = self.quantity.form, self.quantity.number, self.interval
        text = f"{self.quantity.what} {form.format(interval.value)}"
        if interval.low < interval.high and math.isfinite(interval.high - interval.low):
            text += f" [{number(interval.low)}, {number(interval.high)}]"  # the unit once is enough
            text += " over sentences alone" if interval.over == "sentences" else ""
        return text

    @property
    def details(self) -> str:
        """Such as ` (n = 5, 1 epoch)`; nothing for a figure of the lab's own."""
        details = [f"n = {self.runs}"] * bool(self.records) + [self.note] * bool(self.note)
        return f" ({', '.join(details)})" if details else ""

    @property
    def text(self) -> str:
        """Both."""
        return self.figure + self.details

    @property
    def verdict(self) -> Verdict:
        """What it says of the range that is claimed: its whole interval must lie inside, or outside."""
        low, high, _ = self.quantity.stated
        interval = self.interval
        if self.runs < self.quantity.runs:
            return "open"
        if low < interval.low and interval.high < high:
            return "confirmed"
        return "refuted" if interval.high < low or high < interval.low else "open"

    @property
    def needs(self) -> str:
        """What would decide it: about how many seeds, or that no number of them would; nothing if it is decided."""
        quantity = self.quantity
        if self.verdict != "open":
            return ""
        if self.runs < quantity.runs:
            return f"at least {quantity.runs} seeds"
        covered = "seeds" in self.interval.over
        seeds = seeds_to_tell(self.interval, *quantity.stated[:2], self.runs) if covered else None
        if seeds is not None:
            return f"about {seeds} seeds"
        more = "more sentences" if self.interval.remains else "other evidence"
        return f"{more} (no number of seeds would tell)"


class Lacking(NamedTuple):
    """Why a quantity could not be read: experiments that have no runs, or no times; else what the runs lack."""

    experiments: tuple[Experiment, ...]
    needs: str = ""


def read(quantity: Quantity, groups: Sequence[Group], site: Site | None) -> Reading | Lacking:
    """Read a quantity off all groups of one site; without a site, it is where the groups are."""
    of = {experiment: _find(experiment, groups) for experiment in quantity.of}
    if absent := tuple(e for e, group in of.items() if group is None or (quantity.timed and not group.timed)):
        return Lacking(absent)
    found = [*of.values(), *(_find(experiment, groups) for experiment in quantity.rivals)]
    used = [group for group in found if group is not None]
    if quantity.timed and len(used) == 2:
        used = on_one_testbed(*used)
    interval = quantity.measure(*used) if used or not quantity.of else None
    if interval is None:
        few = not all(group.seeded(quantity.runs) for group in used)
        needs = f"at least {quantity.runs} seeds" if few else "records that hold it"
        return Lacking((), "times on one testbed" if quantity.timed else needs)
    if site is None and used:
        testbed = used[0].testbed if quantity.timed else None
        site = Site(used[0].place, "" if testbed is None else versions(without_code(testbed)))
    runs = [(group, group.on_testbed if quantity.timed else group.scored) for group in used]
    counted = [len(members) for group, members in runs if quantity.timed or group.chance]
    return Reading(
        quantity=quantity,
        site=site,
        interval=interval,
        records=tuple(record.id for _, members in runs for record in members),
        runs=min(counted or (len(members) for _, members in runs), default=0),
        note=_note(quantity, used),
    )


def home(groups: Sequence[Group]) -> list[Group]:
    """The groups of the encoder and data set of most runs, whole or cut to a limit: what is meant by here."""
    places, named = by_place(groups), attrgetter("encoder_sha256", "dataset")
    first = next(iter(places), None)
    return [
        group
        for place, members in places.items()
        for group in members
        if place == first or (group.experiment.limit is not None and named(place) == named(first))
    ]


def sites(groups: Sequence[Group], *, timed: bool, device: str | None) -> dict[Site, list[Group]]:
    """The groups of each site; where they are read for times, with those of one machine, which has this device."""
    found: dict[Site, list[Group]] = {}
    for group in groups:
        for machine in dict.fromkeys(map(without_code, group.timed)) if timed else ():
            if (device or "") in machine.device:
                found.setdefault(Site(group.place, versions(machine)), []).append(group.timed_on(machine))
        if not timed:
            found.setdefault(Site(group.place), []).append(group)
    return found


def _find(experiment: Experiment, groups: Sequence[Group]) -> Group | None:
    """The group of an experiment; of several, that of the newest results version, then of most runs."""
    wanted = {name: value for name, value in setup_fields(experiment).items() if name not in NOT_COMPARED}
    found = [group for group in groups if wanted.items() <= group.fields.items()]
    return max(found, key=lambda group: (group.results, len(group.scored)), default=None)


def _note(quantity: Quantity, groups: Sequence[Group]) -> str:
    lengths = {int(group.fields["epochs"]) for group in groups if group.fields["epochs"]}
    limits = {int(group.fields["limit"]) for group in groups if group.fields["limit"]}
    words = [plural(epochs, "epoch") for epochs in lengths - {Recipe.epochs} if len(lengths) == 1]
    words += [f"{plural(limit, 'sentence')} a split" for limit in limits]
    beside = [f"accuracy {quality(*groups)}"] if quantity.measure is time_ratio else []
    return ", ".join([*words, *beside])
