"""How many training sentences a way takes: its groups by their number, and the table of who is better from where on.

Absent, heading and all, where no records hold runs on drawn sentences.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, takewhile

from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, Place, by_place, grouped, groups
from rtlab.reporting.markup import Block, Table
from rtlab.reporting.measures import accuracy_difference, sentences
from rtlab.reporting.quantities import FEWEST_RUNS
from rtlab.reporting.wording import NONE, begun, contents, dates, difference, order, setups, spread

NAME, TITLE = "labels", "How many sentences it takes"
FIGURE = "labels.svg"  # that of the place of most runs
SHOWS = "Test accuracy against training sentences, a line for each way; validation and test are whole."
TEXTS = ("setup", "better than")
_APART = ("train_sentences", "epochs", "logging_steps")

Way = dict[int, Group]  # one way: its groups by training sentences, fewest first


def largest(way: Way) -> Group:
    """Its group of most sentences."""
    return way[max(way)]


def ways(here: Iterable[Group]) -> list[Way]:
    """The ways that were run on drawn sentences, out of the groups of one place, the cheapest first.

    Of each method one: that on most numbers of sentences, of several that of most runs, then the best on validation
    with most sentences. Words beside features are a method of their own. A group that was trained for more epochs goes
    before others of its size. Where times are not known of all, ways are in the usual order of methods.
    """
    sets: dict[tuple[object, ...], dict[int, Group]] = {}
    for group in sorted(here, key=lambda group: (int(group.fields["epochs"] or 1), len(group.scored))):
        size = group.experiment.train_sentences
        if size is None and (whole := sentences("train")(group)) is not None:
            size = round(whole.value)
        if group.whole and size is not None and group.has_predictions("test"):
            sets.setdefault((group.place, group.results, group.but_for(*_APART)), {})[size] = group
    every = [dict(sorted(by_size.items())) for by_size in sets.values() if len(by_size) > 1]
    drawn = [way for way in every if any(group.experiment.train_sentences for group in way.values())]
    of_method = grouped(drawn, lambda way: (largest(way).method, largest(way).fields["with_words"]))
    found = sorted((max(several, key=_worth) for several in of_method.values()), key=lambda way: order(largest(way)))
    common = set.intersection(*(set(way) for way in found)) if found else set()
    if not common or not all(way[max(common)].timed for way in found):
        return found
    return sorted(found, key=lambda way: way[max(common)].mean("seconds"))


def labels_block(records: Iterable[RunRecord]) -> Block:
    """The figure of the first place, and two tables of each place: accuracies, and from where on they differ."""
    every = tuple(records)
    drawn = any(record.experiment.train_sentences for record in every)  # else there is nothing to group them for
    found = {place: ways(here) for place, here in by_place(groups(every if drawn else ())).items()}
    tables = [table for place, there in found.items() if there for table in _of(place, there)]
    return Block(name=NAME, title=TITLE, tables=tuple(tables), picture=(f"figures/{FIGURE}", SHOWS))


def _worth(way: Way) -> tuple[float, ...]:
    runs = sum(len(group.scored) for group in way.values())
    return len(way), runs, largest(way).mean("validation_accuracy")


def _of(place: Place, found: Sequence[Way]) -> list[Table]:
    """The accuracies of the ways of one place by training sentences, and from where on they differ."""
    names, common = setups([replace(largest(way).experiment, train_sentences=None) for way in found])
    every = [(size, group) for way in found for size, group in way.items()]
    sizes = sorted({size for size, _ in every})
    seeds = sorted({len(group.scored) for _, group in every})
    span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    shared = f" Common recipe with most sentences: {common}." if common else ""
    first = Table(
        caption=f"{begun(contents(place))}; {dates(record for _, group in every for record in group.scored)}.{shared} "
        "Test accuracy by training sentences, which the seed draws; mean ± standard deviation over "
        f"{span} seeds. Validation and test are whole.",
        titles=("setup", *(f"{size:,}" for size in sizes)),
        texts=TEXTS,
        rows=tuple(
            (name, *(spread(of[size].values("test_accuracy"), 3) if size in of else NONE for size in sizes))
            for name, of in zip(names, found, strict=True)
        ),
        notes=tuple(f"Epochs{of}: {lengths}." for lengths, of in _epochs(names, found)),
    )
    second = Table(
        caption="From how many training sentences on a way is more accurate than a cheaper one: at that number and at "
        "every larger one that both were run on, the 95 % interval of the difference, over sentences and seeds, lies "
        f"above 0, with {FEWEST_RUNS} seeds or more of each where seeds matter.",
        titles=("setup", "better than", "from", "difference there", "at most sentences", "difference then"),
        texts=TEXTS,
        rows=tuple(
            (name, cheaper, *_lead(more, less))
            for (cheaper, less), (name, more) in combinations(zip(names, found, strict=True), 2)
        ),
    )
    return [first, second] if second.rows else [first]


def _epochs(names: Sequence[str], found: Sequence[Way]) -> list[tuple[str, str]]:
    """How long ways were trained on each number of sentences, and which; nothing where that is one and the same."""
    of: dict[str, list[str]] = {}
    trained = 0
    for name, way in zip(names, found, strict=True):
        epochs = {size: group.fields["epochs"] for size, group in way.items()}
        trained += None not in epochs.values()
        if len(set(epochs.values())) > 1:
            of.setdefault(", ".join(f"{each} on {size:,}" for size, each in epochs.items()), []).append(name)
    return [
        (lengths, "" if len(several) == trained else f" of {' and '.join(several)}") for lengths, several in of.items()
    ]


def _lead(more: Way, less: Way) -> tuple[str, str, str, str]:
    """From how many sentences on the dearer way is better, by how much there, and by how much on the most."""
    both = sorted(less.keys() & more.keys(), reverse=True)
    pairs = {size: (more[size], less[size]) for size in both}
    found = {size: accuracy_difference(*pair) for size, pair in pairs.items()}

    def ahead(size: int) -> bool:
        lead = found[size]
        return lead is not None and lead.low > 0 and all(group.seeded(FEWEST_RUNS) for group in pairs[size])

    def cells(sizes: Sequence[int]) -> tuple[str, str]:
        if not sizes:
            return NONE, NONE
        known = found[sizes[-1]]
        return f"{sizes[-1]:,}", NONE if known is None else difference(known)

    return *cells([*takewhile(ahead, both)]), *cells(both[:1])
