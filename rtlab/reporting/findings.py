"""Ten findings: what the study `evidence` has to say, a sentence each, with numbers that are read off records.

A finding is judged by rules like those of claims, on the encoder and data set of most runs. Its sentence stands as it
is only while every interval bears it out; else it says that it is not shown, or not so. The sentences and their ranges
were written before the study's runs of five seeds; which way most would go, single runs of one epoch had suggested, and
of the SVM, which has no chance in it, the records were there.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter

from rtlab.experiment import Experiment
from rtlab.recipe import Padding
from rtlab.records import RunRecord
from rtlab.reporting.claims import Claim, Rule, Ruling, rule_on, ruled
from rtlab.reporting.evidence import (
    ABOVE_0,
    BOTH,
    CLS,
    ENGINES,
    MEAN,
    NO_GAIN,
    ONCE,
    as_good,
    difference,
    faster,
    full,
    lora,
    once,
    padded,
    share,
    short,
    shown,
)
from rtlab.reporting.groups import groups
from rtlab.reporting.markup import Block, Span, Table
from rtlab.reporting.measures import deviation, deviation_to_difference, memory_ratio
from rtlab.reporting.quantities import Quantity, Range, Reading, home
from rtlab.reporting.wording import begun, contents

LEGEND = (
    "A finding stands if the 95 % interval of every number that it rests on lies wholly where the sentence says: a "
    "difference above 0, a speed-up above 1, a share below 1, a gain below a point, an equal accuracy within ± 2 "
    "points. It takes three seeds or more where seeds matter, five for an equal accuracy. Else it is not shown, or "
    "not so. What stands beside it decides nothing."
)


def _finding(id_: str, says: str, *rests_on: Quantity, beside: Sequence[Quantity] = ()) -> Claim:
    """A claim of our own, which is judged here alone."""
    return Claim(id_, says, Rule("", ""), ruled("", *rests_on, beside=beside))


def _accuracies(**of: Experiment) -> tuple[Quantity, ...]:
    return shown("test_accuracy", "{:.4f}", **of)


_FROM_FIXED: tuple[Padding, ...] = ("fixed", "dynamic")
_STEPS: tuple[tuple[Padding, Padding], ...] = (("dynamic", "bucketed"), ("bucketed", "packed"))

FINDINGS: tuple[Claim, ...] = (
    _finding(
        "lab-rate",
        "LoRA is less accurate at the lab's learning rate of 2e-5 than at 1e-3",
        difference("1e-03 − 2e-05", lora(), lora(rate=2e-5), ABOVE_0),
        beside=_accuracies(**{f"test accuracy at {rate:.0e}": lora(rate=rate) for rate in (2e-5, 1e-3)}),
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
            deviation_to_difference,
            form="{:.3f}",
            stated=Range(high=1, text="below 1"),
        ),
        beside=(
            *(Quantity(f"standard deviation, {name}", (of(),), deviation) for name, of in BOTH.items()),
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
            faster(f"{name}, dynamic over fixed", *(padded(name, padding, "trainer") for padding in _FROM_FIXED))
            for name in BOTH
        ),
        *(as_good(f"{name}, dynamic − fixed", short(name, "dynamic"), short(name, "fixed")) for name in BOTH),
    ),
    _finding(
        "frozen",
        "Fine-tuning is more accurate than an SVM on frozen features",
        *(difference(f"{name} − SVM", of(), MEAN, ABOVE_0) for name, of in BOTH.items()),
        beside=_accuracies(**{"test accuracy, SVM": MEAN, "full": full(), "LoRA": lora()}),
    ),
    _finding(
        "pooling",
        "Mean-pooled features serve the SVM better than [CLS]",
        difference("mean − [CLS]", MEAN, CLS, ABOVE_0, runs=1),
        beside=_accuracies(**{"test accuracy, [CLS]": CLS, "mean": MEAN}),
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
            share(f"peak memory, LoRA / full, {engine}", lora(once(engine)), full(once(engine)), memory_ratio)
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
    readings = chain.from_iterable((*ruling.findings, *ruling.observed) for _, ruling in rulings)
    used = sorted({reading.site for reading in readings if reading.site})
    sites = groupby(used, attrgetter("place"))
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
