"""The study `evidence`: its setups, the quantities that compare them, and ten findings with numbers read off records.

A finding is judged by rules like those of claims, on the encoder and data set of most runs. Its sentence stands as it
is only while every interval bears it out; else it says that it is not shown, or not so. The sentences and their ranges
were written before the study's runs of five seeds; which way most would go, single runs of one epoch had suggested, and
of the SVM, which has no chance in it, the records were there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm
from rtlab.recipe import Padding, Recipe
from rtlab.records import RunRecord
from rtlab.reporting import measures
from rtlab.reporting.claims import Claim, Rule, Ruling, rule_on, sites_of
from rtlab.reporting.frame import TIMES
from rtlab.reporting.groups import groups
from rtlab.reporting.markup import Block, Span, Table
from rtlab.reporting.measures import SEEDS_FOR_EQUALITY, Measure, time_ratio
from rtlab.reporting.quantities import FEWEST_RUNS, SHOWN, Quantity, Range, Reading, home
from rtlab.reporting.wording import begun, contents
from rtlab.statistics import MARGIN
from rtlab.studies import LONGEST, TIMED

LEGEND = (
    "A finding stands if the 95 % interval of every number that it rests on lies wholly where the sentence says: a "
    "difference above 0, a speed-up above 1, a share below 1, a gain below a point, an equal accuracy within ± 2 "
    "points. It takes three seeds or more where seeds matter, five for an equal accuracy. Else it is not shown, or "
    "not so. What stands beside it decides nothing."
)

POINT = 0.01
ABOVE_0, ABOVE_1 = Range(low=0, text="above 0"), Range(low=1, text="above 1")
LESS, NO_GAIN = Range(0, 1, "below 1"), Range(high=POINT, text=f"below {POINT:+.4f}")
NATIVE = Recipe(engine="native")
ENGINES = {"trainer": Recipe(), "native": NATIVE}
ONCE = replace(NATIVE, epochs=1)
CLS, MEAN = (Experiment(method=Svm(pooling=pooling)) for pooling in ("cls", "mean"))


def full(recipe: Recipe = NATIVE, rate: float = 2e-5) -> Experiment:
    """Full fine-tuning, by default as the lab's recipe has it, on the native engine."""
    return Experiment(method=Full(recipe=replace(recipe, learning_rate=rate)))


def lora(recipe: Recipe = NATIVE, rate: float = 1e-3, modules: str = "attention", r: int = 8) -> Experiment:
    """LoRA, by default at its best known rate, on the native engine."""
    settings = {"r": r, "lora_alpha": 4 * r}
    return Experiment(
        method=Adapter(recipe=replace(recipe, learning_rate=rate), target_modules=(modules,), settings=settings)
    )


BOTH = {"full": full, "LoRA": lora}


def once(engine: str) -> Recipe:
    """One whole epoch with an engine's usual padding, which is run for its time."""
    return ONCE if engine == "native" else Recipe(epochs=1)


def padded(name: str, padding: Padding, engine: str = "native") -> Experiment:
    """Few sentences under a padding, for its time."""
    recipe = replace(once(engine), padding=padding)
    return replace(BOTH[name](recipe), limit=TIMED)


def short(name: str, padding: Padding) -> Experiment:
    """Two epochs of sentences that fixed padding fills to the longest of all: for what padding does to accuracy."""
    recipe = Recipe(engine="native", padding=padding, epochs=2)
    return replace(BOTH[name](recipe), max_length=LONGEST)


def difference(what: str, a: Experiment, b: Experiment, stated: Range = SHOWN, *, runs: int = FEWEST_RUNS) -> Quantity:
    """Test accuracy of `a` less that of `b`."""
    return Quantity(what, (a, b), measures.accuracy_difference, form="{:+.4f}", runs=runs, stated=stated)


def alike(what: str, a: Experiment, b: Experiment, margin: float, *, runs: int = FEWEST_RUNS) -> Quantity:
    """The same, which must lie within a margin around 0."""
    return difference(what, a, b, Range(-margin, margin, f"within ± {margin:.4f}"), runs=runs)


def as_good(what: str, a: Experiment, b: Experiment) -> Quantity:
    """The same, within the margin and resting on as many seeds as everywhere where accuracy is equal."""
    return alike(what, a, b, MARGIN, runs=SEEDS_FOR_EQUALITY)


def faster(what: str, slow: Experiment, fast: Experiment) -> Quantity:
    """How many times as fast the second is, which must be more than once."""
    return Quantity(what, (slow, fast), time_ratio, form="{:.2f} ×", timed=True, stated=ABOVE_1)


def share(what: str, a: Experiment, b: Experiment, of: Measure = time_ratio) -> Quantity:
    """The first one's time, or peak memory, over that of the second, which must be less than all of it."""
    return Quantity(what, (a, b), of, form="{:.3f}", timed=True, stated=LESS)


def lead(chosen: Experiment, other: Experiment, *rivals: Experiment) -> Quantity:
    """Test accuracy of `chosen` less that of the best other one, which must lie above 0."""
    best = difference("2e-05 − the best other rate", chosen, other, ABOVE_0)
    return replace(best, measure=measures.lead_over_the_best, rivals=rivals)


def shown(column: str, form: str, **of: Experiment) -> tuple[Quantity, ...]:
    """Figures that are only shown, by their names."""
    return tuple(
        Quantity(what, (one,), measures.over_seeds(column), form=form, timed=column in TIMES)
        for what, one in of.items()
    )


def _finding(id_: str, says: str, *rests_on: Quantity, beside: Sequence[Quantity] = ()) -> Claim:
    """A claim of our own, which is judged here alone."""
    return Claim(id_, says, Rule(""), Rule("", rests_on, beside=beside))


_STEPS: tuple[tuple[Padding, Padding], ...] = (("dynamic", "bucketed"), ("bucketed", "packed"))

FINDINGS: tuple[Claim, ...] = (
    _finding(
        "lab-rate",
        "LoRA is less accurate at the lab's learning rate of 2e-5 than at 1e-3",
        difference("1e-03 − 2e-05", lora(), lora(rate=2e-5), ABOVE_0),
        beside=shown(
            "test_accuracy", "{:.4f}", **{f"test accuracy at {rate:.0e}": lora(rate=rate) for rate in (2e-5, 1e-3)}
        ),
    ),
    _finding(
        "epochs",
        "Five epochs are more accurate than one",
        *(difference(f"{name}, 5 epochs − 1", of(), of(ONCE), ABOVE_0) for name, of in BOTH.items()),
        # Two epochs were run padded, and cut at 96 tokens, which no sentence exceeds: the mathematics are the same.
        beside=[
            difference(f"{name}, {epochs}", a, b)
            for name, of in BOTH.items()
            for epochs, a, b in (
                ("2 epochs − 1", short(name, "dynamic"), of(ONCE)),
                ("5 epochs − 2", of(), short(name, "dynamic")),
            )
        ],
    ),
    _finding(
        "seeds",
        "Seeds differ by less than methods do",
        Quantity(
            "standard deviation over seeds / (full − SVM)",
            (full(), MEAN, lora()),
            measures.deviation_to_difference,
            form="{:.3f}",
            stated=Range(high=1, text="below 1"),
        ),
        beside=(
            *(Quantity(f"standard deviation, {name}", (of(),), measures.deviation) for name, of in BOTH.items()),
            difference("full − LoRA", full(), lora()),
            difference("full − SVM", full(), MEAN),
        ),
    ),
    _finding(
        "capacity",
        "More rank or more target modules buy LoRA less than a point at 1e-3",
        difference("r16 − r8", lora(r=16), lora(), NO_GAIN),
        difference("attention+mlp − attention", lora(modules="attention+mlp"), lora(), NO_GAIN),
        beside=(
            difference("at 2e-05, r16 − r8", lora(rate=2e-5, r=16), lora(rate=2e-5)),
            difference(
                "at 2e-05, attention+mlp − attention", lora(rate=2e-5, modules="attention+mlp"), lora(rate=2e-5)
            ),
        ),
    ),
    _finding(
        "fixed-padding",
        "Padding to a fixed length costs time and changes no accuracy",
        *(
            faster(f"{name}, dynamic over fixed", padded(name, "fixed", "trainer"), padded(name, "dynamic", "trainer"))
            for name in BOTH
        ),
        *(as_good(f"{name}, dynamic − fixed", short(name, "dynamic"), short(name, "fixed")) for name in BOTH),
    ),
    _finding(
        "frozen",
        "Fine-tuning is more accurate than an SVM on frozen features",
        *(difference(f"{name} − SVM", of(), MEAN, ABOVE_0) for name, of in BOTH.items()),
        beside=shown("test_accuracy", "{:.4f}", **{"test accuracy, SVM": MEAN, "full": full(), "LoRA": lora()}),
    ),
    _finding(
        "pooling",
        "Mean-pooled features serve the SVM better than [CLS]",
        difference("mean − [CLS]", MEAN, CLS, ABOVE_0, runs=1),
        beside=shown("test_accuracy", "{:.4f}", **{"test accuracy, [CLS]": CLS, "mean": MEAN}),
    ),
    _finding(
        "engines",
        "The native engine is faster than the reference, and as accurate",
        *(faster(f"{name}, speed-up", of(once("trainer")), of(once("native"))) for name, of in BOTH.items()),
        *(as_good(f"{name}, native − reference", of(), of(ENGINES["trainer"])) for name, of in BOTH.items()),
    ),
    _finding(
        "memory",
        "LoRA takes less memory than full fine-tuning",
        *(
            share(f"peak memory, LoRA / full, {engine}", lora(once(engine)), full(once(engine)), measures.memory_ratio)
            for engine in ENGINES
        ),
    ),
    _finding(
        "batches",
        "On the native engine bucketed batches are faster than dynamic ones, and packed ones faster still",
        *(
            faster(f"{name}, {quick} over {slow}", padded(name, slow), padded(name, quick))
            for name in BOTH
            for slow, quick in _STEPS
        ),
    ),
)


def findings_block(records: Iterable[RunRecord]) -> Block:
    """The findings as a numbered list, and below where their numbers come from."""
    here = home(groups(records))
    rulings = [(finding, rule_on(finding.here, here)) for finding in FINDINGS]
    sites = groupby(sites_of(ruling for _, ruling in rulings), attrgetter("place"))
    where = " ".join(f"{begun(contents(place, (site.machine for site in there)))}." for place, there in sites)
    sentences = tuple([f"{n}. ", *_sentence(finding, ruling)] for n, (finding, ruling) in enumerate(rulings, start=1))
    table = Table(notes=(*sentences, *([where] if where else []), LEGEND))
    return Block(name="findings", title="Findings", tables=(table,))


def _sentence(finding: Claim, ruling: Ruling) -> list[str | Span]:
    """The finding with its numbers, or what the records say of it instead."""
    numbers, beside = _numbers(ruling.findings), _numbers(ruling.observed)
    text = f": {numbers}" * bool(numbers) + f". Beside it: {beside}" * bool(beside)
    needs = f". It needs {ruling.needs}" if ruling.needs else ""
    match ruling.verdict:
        case "confirmed":
            return [Span(finding.sentence, "strong"), f"{text}."]
        case "refuted":
            return ["Not so by these records: ", Span(finding.sentence, "em"), f"{text}."]
        case _:
            return ["Not shown: ", Span(finding.sentence, "em"), f"{text}{needs}."]


def _numbers(readings: Sequence[Reading]) -> str:
    """Readings one after another; what is said in parentheses behind several alike, once."""
    parts = [
        "; ".join(reading.figure for reading in alike) + said
        for said, alike in groupby(readings, attrgetter("details"))
    ]
    return "; ".join(parts)
