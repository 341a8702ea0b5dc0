"""The lab's tables, out of records: values that become markdown, a terminal's text or HTML.

Each is made of one table for every place (encoder and data set), whose caption says where its numbers come from. A row
is a group of runs that differ in the seed alone: mean ± standard deviation over its n seeds, an accuracy with its 95 %
interval. The tables that compare hold only rows with something to compare them to, which differs from them in nothing
but the thing compared. A speed-up never stands without its quality. In a markdown file tables, findings, claims and a
choice stand between pairs of markers; nothing else of the file is generated.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rtlab.methods import method_title
from rtlab.records import RunRecord, write_whole
from rtlab.reporting import wording
from rtlab.reporting.classes import by_class, of_one
from rtlab.reporting.frame import COLUMNS
from rtlab.reporting.groups import Group, Place, by_place, grouped, groups, lost_runs, place_of, would_be
from rtlab.reporting.kinds import TABLES, TEXTS, Family, Kind, Row
from rtlab.reporting.learning_curves import NAME
from rtlab.reporting.markup import Block, Table, as_markdown, simple, wrapped
from rtlab.reporting.measures import SEEDS_FOR_EQUALITY
from rtlab.reporting.wording import NONE, plural
from rtlab.statistics import MARGIN

LEGEND = (
    "A row is n runs that differ in the seed alone: mean ± standard deviation; in brackets the 95 % interval of the "
    "mean, of an accuracy over sentences and seeds, with one seed over sentences alone. A training time is seconds an "
    "epoch, of undisturbed whole runs of any number of epochs, times the row's epochs. Times include no warm-up, "
    "speed-ups do. Beside a speed-up stands its test accuracy: equal if the interval of the difference lies within "
    f"± {100 * MARGIN:.0f} points, from {SEEDS_FOR_EQUALITY} seeds or more on each side and whole epochs; else not "
    "equal, or not shown."
)
SCALED = "Training time of runs of another number of epochs is stated as seconds an epoch times the row's epochs."
KNOWN = ("choice", NAME, "findings", *TABLES, "claims")  # what a file can have markers of
README = ("comparison", "padding")  # what the README holds; the results' README.md holds the others


def tables(records: Iterable[RunRecord]) -> tuple[Block, ...]:
    """All tables of `TABLES`, in its order.

    Runs without a result are counted below the tables that they would have been in, and averaged in none.

    Args:
        records: Records of any kind.
    """
    every = tuple(records)
    places = {place: sorted(here, key=wording.order) for place, here in by_place(groups(every)).items()}
    lost = lost_runs(every)
    return tuple(_block(name, kind, places, lost) for name, kind in TABLES.items())


def _block(name: str, kind: Kind, places: Mapping[Place, Sequence[Group]], lost: Sequence[RunRecord]) -> Block:
    without = grouped((record for record in lost if kind.of(would_be(record))), place_of)
    nowhere = sorted(without.keys() - places.keys()) if kind.everywhere else []
    some_whole = any(group.experiment.limit is None for here in places.values() for group in here)
    made = []
    for place in (*places, *nowhere):
        here = [
            group
            for group in places.get(place, ())
            if kind.of(group) and (kind.limited or not some_whole or group.experiment.limit is None)
        ]
        failed = without.get(place, [])
        if (chosen := kind.chosen(here)) or (failed and kind.everywhere):
            made.append(_table(place, kind, chosen, failed))
    return Block(
        name=name, title=kind.title, tables=tuple(made), nothing=f"Nothing to show yet: it takes {kind.needs}."
    )


def _table(place: Place, kind: Kind, found: Sequence[Family], lost: Sequence[RunRecord]) -> Table:
    """The table of a place: above where its numbers come from and what its rows have in common, below its failures."""
    families = [(group, family) for family in found for group in family]
    chosen = [group for group, _ in families]
    names, common = wording.setups([group.experiment for group in chosen])
    testbeds = [(g.experiment.engine, g.testbed) for g in chosen if g.testbed and kind.timed]
    letters = wording.letters(testbeds)
    several = Counter(engine for engine, _ in {(group.experiment.engine, group.results) for group in chosen})
    cells: list[Row] = []
    for name, (group, family) in zip(names, families, strict=True):
        version = f", results version {group.results}" if several[group.experiment.engine] > 1 else ""
        testbed = letters[group.experiment.engine, group.testbed] if letters and group.testbed else NONE
        first: Row = {"setup": name + version, **({"testbed": testbed} if letters else {})}
        last: Row = {"n": str(len(group.scored))}
        cells += [first | row | ({} if "seed" in row else last) for row in kind.rows(group, family)]
    every = dict.fromkeys(title for row in cells for title in row)
    titles = [title for title in every if any(row.get(title, NONE) != NONE for row in cells)]
    where = wording.legend(letters) if letters else [*{wording.versions(testbed) for _, testbed in testbeds}]
    of = [record for group in chosen for record in group.scored] or lost
    caption = f"{wording.begun(wording.contents(place, where))}; {wording.dates(of)}."
    disturbed = sum(group.disturbed for group in chosen) if kind.timed else 0
    notes = [
        f"{plural(disturbed, 'run')} left out of times, since other processes disturbed them." if disturbed else "",
        f"{plural(len(lost), 'run')} without a result left out." if lost else "",
        SCALED if kind.timed and any(group.scaled for group in chosen) else "",
    ]
    return Table(
        caption=caption + (f" Common recipe: {common}." if common else ""),
        titles=tuple(titles),
        texts=TEXTS,
        rows=tuple(tuple(row.get(title, NONE) for title in titles) for row in cells),
        notes=tuple(filter(None, [" ".join(filter(None, notes))])),
    )


def summary(record: RunRecord) -> str:
    """What one finished run came to, for a terminal."""
    timing, counts, memory = record.timing, record.counts, record.memory
    assert timing and counts and memory, "a run with a result has all three"  # noqa: PT018  # as mypy needs it
    one = would_be(record)
    found = by_class(one, "test") if one.has_predictions("test") else None
    classes, titles = "", ["accuracy", "precision", "recall", "F1"]
    if found is not None:
        if found.needed:
            classes = f"By class, test:\n{of_one(found)}\n\n"
            titles.append("macro-F1")
        if (accuracy := one.accuracies["test"]).low <= found.largest:
            beats = "does not" if accuracy.value <= found.largest else "is not shown to"
            largest = f"{found.names[int(found.support_C.argmax())]}: {found.largest:.4f}"
            classes += (
                f"warning: accuracy on test, {wording.score([accuracy.value], accuracy)}, {beats} beat always saying "
                f"{largest}\n\n"
            )
    rows = []
    for split in record.scores:
        cells = [COLUMNS[f"{split}_{title.lower().replace('-', '_')}"](record) for title in titles]
        shown = (NONE if cell is None else f"{cell:.4f}" for cell in cells)
        rows.append({"split": split, **dict(zip(titles, shown, strict=True))})
    lossy = record.train_loss is not None
    losses = f", mean loss {record.train_loss:.4f}, last epoch {record.final_loss:.4f}" if lossy else ""
    kept = record.chosen.get("epoch")
    best = f"kept the weights of epoch {kept:.3g}, the best of {len(record.validated)}\n" if kept is not None else ""
    return (
        f"{method_title(record.experiment.method.name)} of {record.worked_on} "
        f"({wording.setup(record.experiment)}, seed {record.experiment.seed})\n\n{simple(rows)}\n\n{classes}"
        f"trained {counts.parameters_trained:,} of {counts.parameters_total:,} parameters "
        f"in {timing.train_s:.1f} s ({timing.samples_per_s:.1f} samples/s){losses}\n"
        f"{best}loading {timing.load_s:.1f} s, tokenizing {timing.prepare_s:.1f} s, "
        f"evaluating {timing.evaluate_s:.1f} s, peak host memory {memory.peak_host / 2**30:.2f} GiB"
    )


def replace_block(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers `<!-- rtlab:NAME -->` and `<!-- /rtlab:NAME -->` replaced.

    Raises:
        ValueError: If there is not exactly one such pair, in this order.
    """
    begin, end = _markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(
            f"the file must hold one {begin} and one {end} behind it; add the pair where the table belongs"
        )
    before, rest = text.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def skeleton() -> str:
    """What a results folder's README.md begins as: headings and markers, all else is generated."""
    there = {name: kind.title for name, kind in TABLES.items() if name not in README}
    titles = {"findings": "Findings"} | there | {"claims": "Claims"}
    parts = ["\n".join([f"## {title}\n", *_markers(name)]) for name, title in titles.items()]
    headed = "\n".join(_markers(NAME))  # with its heading within
    return "\n\n".join(["# Results", wrapped(LEGEND), headed, *parts]) + "\n"


def update(path: Path, blocks: Iterable[Block], *, check: bool) -> bool:
    """Rebuild what stands between the markers of blocks in a file, all or none, and tell whether it was stale.

    With `check` the file is left as it is.

    Raises:
        ValueError: If the file cannot be read, has no marker, one of nothing that is known, or half a pair.
    """
    by_name = {block.name: block for block in blocks}
    try:
        old = new = path.read_text(encoding="utf-8")
        there = dict.fromkeys(re.findall(r"<!-- /?rtlab:([\w-]+) -->", old))
        if not there:
            raise ValueError(f"it has no marker; add pairs such as {' and '.join(_markers('comparison'))}")
        for name in there:
            if name in by_name:
                new = replace_block(new, name, as_markdown(by_name[name]))
            elif name not in KNOWN:
                raise ValueError(f"it has a marker of {name}; there are {', '.join(KNOWN)}")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be updated: {error}") from error
    if new != old and not check:
        write_whole(path, new)
    return new != old


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- rtlab:{name} -->", f"<!-- /rtlab:{name} -->"
