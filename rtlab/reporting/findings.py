"""Ten findings: what the study `evidence` has to say, a sentence each, with numbers that are read off records.

A finding is judged by rules like those of claims, on the encoder and data set of most runs. Its sentence stands as it
is only while every interval bears it out; else it says that it is not shown, or not so. Each was written down, with
the ranges that its numbers must lie in, before the study was run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

from rtlab.methods import Padding
from rtlab.records import RunRecord
from rtlab.reporting.claims import BETTER, EQUAL, RATIO, Rule, Ruling, rule_on
from rtlab.reporting.evidence import (
    BOTH,
    CLS,
    ENGINES,
    MEAN,
    ONCE,
    alike,
    better,
    difference,
    faster,
    full,
    lora,
    memory_share,
    no_gain,
    once,
    padded,
    seeds_share,
    short,
    shown,
)
from rtlab.reporting.groups import Place, groups
from rtlab.reporting.markup import Block, Span, Table
from rtlab.reporting.measures import deviation
from rtlab.reporting.quantities import Quantity, Reading, home
from rtlab.reporting.wording import contents

LEGEND = (
    "A finding stands if the 95 % interval of every number that it rests on lies in the range that was written down "
    "for it before the runs, from three seeds or more where seeds matter; else it is not shown, or not so. What stands "
    "beside it decides nothing."
)


@dataclass(frozen=True)
class Finding:
    """What the records may show.

    Attributes:
        id: Its short name.
        says: The sentence that holds if its rule does.
        rule: How it is judged.
    """

    id: str
    says: str
    rule: Rule


_STEPS: tuple[tuple[Padding, Padding], ...] = (("dynamic", "bucketed"), ("bucketed", "packed"))

FINDINGS: tuple[Finding, ...] = (
    Finding(
        "lab-rate",
        "LoRA is less accurate at the lab's learning rate of 2e-5 than at 1e-3",
        Rule(
            "",
            BETTER,
            (better("1e-03 − 2e-05", lora(), lora(rate=2e-5)),),
            shown("test_accuracy", "{:.4f}", **{f"test accuracy at {r:.0e}": lora(rate=r) for r in (2e-5, 1e-3)}),
        ),
    ),
    # Two epochs were run padded and cut to 96 tokens, which no sentence exceeds: the mathematics are the same.
    Finding(
        "epochs",
        "Five epochs are more accurate than one",
        Rule(
            "",
            BETTER,
            tuple(better(f"{name}, 5 epochs − 1", of(), of(ONCE)) for name, of in BOTH.items()),
            tuple(
                difference(f"{name}, {epochs}", a, b)
                for name, of in BOTH.items()
                for epochs, a, b in (
                    ("2 epochs − 1", short(name, "dynamic"), of(ONCE)),
                    ("5 epochs − 2", of(), short(name, "dynamic")),
                )
            ),
        ),
    ),
    Finding(
        "seeds",
        "Seeds differ by less than methods do",
        Rule(
            "",
            "Standard deviation over seeds (chi-squared) over the paired difference of methods.",
            (seeds_share("standard deviation over seeds / (full − SVM)", full(), MEAN, lora()),),
            (
                *(Quantity(f"standard deviation, {name}", (of(),), deviation) for name, of in BOTH.items()),
                difference("full − LoRA", full(), lora()),
                difference("full − SVM", full(), MEAN),
            ),
        ),
    ),
    Finding(
        "capacity",
        "More rank or more target modules buy LoRA less than a point at 1e-3",
        Rule(
            "",
            EQUAL,
            (
                no_gain("r16 − r8", lora(r=16), lora()),
                no_gain("attention+mlp − attention", lora(modules="attention+mlp"), lora()),
            ),
            (
                difference("at 2e-05, r16 − r8", lora(rate=2e-5, r=16), lora(rate=2e-5)),
                difference(
                    "at 2e-05, attention+mlp − attention", lora(rate=2e-5, modules="attention+mlp"), lora(rate=2e-5)
                ),
            ),
        ),
    ),
    Finding(
        "fixed-padding",
        "Padding to a fixed length costs time and changes no accuracy",
        Rule(
            "",
            f"{RATIO} {EQUAL}",
            (
                *(
                    faster(
                        f"{name}, dynamic over fixed",
                        padded(name, "fixed", "trainer"),
                        padded(name, "dynamic", "trainer"),
                    )
                    for name in BOTH
                ),
                *(alike(f"{name}, dynamic − fixed", short(name, "dynamic"), short(name, "fixed")) for name in BOTH),
            ),
        ),
    ),
    Finding(
        "frozen",
        "Fine-tuning is more accurate than an SVM on frozen features",
        Rule(
            "",
            BETTER,
            tuple(better(f"{name} − SVM", of(), MEAN) for name, of in BOTH.items()),
            shown("test_accuracy", "{:.4f}", **{"test accuracy, SVM": MEAN, "full": full(), "LoRA": lora()}),
        ),
    ),
    Finding(
        "pooling",
        "Mean-pooled features serve the SVM better than [CLS]",
        Rule(
            "",
            BETTER,
            (replace(better("mean − [CLS]", MEAN, CLS), runs=1),),
            shown("test_accuracy", "{:.4f}", **{"test accuracy, [CLS]": CLS, "mean": MEAN}),
        ),
    ),
    Finding(
        "engines",
        "The native engine is faster than the reference, and as accurate",
        Rule(
            "",
            f"{RATIO} {EQUAL}",
            (
                *(faster(f"{name}, speed-up", of(once("trainer")), of(once("native"))) for name, of in BOTH.items()),
                *(alike(f"{name}, native − reference", of(), of(ENGINES["trainer"])) for name, of in BOTH.items()),
            ),
        ),
    ),
    Finding(
        "memory",
        "LoRA takes less memory than full fine-tuning",
        Rule(
            "",
            RATIO,
            tuple(
                memory_share(f"peak memory, LoRA / full, {engine}", lora(once(engine)), full(once(engine)))
                for engine in ENGINES
            ),
        ),
    ),
    Finding(
        "batches",
        "On the native engine bucketed batches are faster than dynamic ones, and packed ones faster still",
        Rule(
            "",
            RATIO,
            tuple(
                faster(f"{name}, {quick} over {slow}", padded(name, slow), padded(name, quick))
                for name in BOTH
                for slow, quick in _STEPS
            ),
        ),
    ),
)


def findings_block(records: Iterable[RunRecord]) -> Block:
    """The findings as a numbered list, and below where their numbers come from."""
    here = home(groups(records))
    rulings = [(finding, rule_on(finding.rule, here)) for finding in FINDINGS]
    readings = chain.from_iterable((*ruling.findings, *ruling.observed) for _, ruling in rulings)
    machines: dict[Place, set[str]] = {}
    for reading in readings:
        if reading.site:
            machines.setdefault(reading.site.place, set()).add(reading.site.machine)
    where = " ".join(f"{contents(place)}{_on(found)}." for place, found in sorted(machines.items()))
    sentences = tuple([f"{n}. ", *_sentence(finding, ruling)] for n, (finding, ruling) in enumerate(rulings, start=1))
    table = Table(notes=(*sentences, *([where] if where else []), LEGEND))
    return Block(name="findings", title="Findings", tables=(table,))


def _sentence(finding: Finding, ruling: Ruling) -> list[str | Span]:
    """The finding with its numbers, or what the records say of it instead."""
    numbers, beside = _numbers(ruling.findings), _numbers(ruling.observed)
    text = f": {numbers}" * bool(numbers) + f". Beside it: {beside}" * bool(beside)
    needs = f". It needs {ruling.needs}" if ruling.needs else ""
    match ruling.verdict:
        case "confirmed":
            return [Span(finding.says, "strong"), f"{text}."]
        case "refuted":
            return ["Not so by these records: ", Span(finding.says, "em"), f"{text}."]
        case _:
            return ["Not shown: ", Span(finding.says, "em"), f"{text}{needs}."]


def _numbers(readings: Sequence[Reading]) -> str:
    """Readings one after another; what is said in parentheses behind several alike, once."""
    parts = ["; ".join(reading.figure for reading in alike) + said for said, alike in groupby(readings, _details)]
    return "; ".join(parts)


def _details(reading: Reading) -> str:
    return reading.details


def _on(machines: set[str]) -> str:
    named = "; ".join(sorted(machines - {""}))
    return f", times on {named}" if named else ""
