"""What the lab's write-up claims, as data: each sentence with the figures in it and the range that they must lie in.

Every claim comes down to quantities and ranges: "≈ 88 %" is a range around 0.88, "faster" is a ratio of times below 1,
"does not change" is a difference within a margin around 0. `rtlab.reporting.claims` judges them, as they are stated and
here: by their direction or size, where their figures do not tie them to DistilBERT or its device.

The margins are stated with each figure. An accuracy "≈" a whole percent, and accuracies that "do not differ", may
differ by a point: the lab's own measure ("within ≈ 1 point"), itself read as anything that rounds to one. The SVM's
accuracies, stated to four digits and free of chance, may differ by half a point (5 of 1,066 sentences), for versions
of the solver differ. Losses may differ by 0.01 and ratios of speed by a tenth: libraries and drivers move on. The rules
for here have the margins of the claims themselves, and were written before the runs of five seeds and epochs that judge
them; single runs of one epoch were known.
"""

from dataclasses import replace

from rtlab.experiment import Experiment
from rtlab.recipe import Recipe
from rtlab.reporting.claims import BETTER, EQUAL, EXACT, FIGURE, OWN, RATIO, TIED, Claim, Rule
from rtlab.reporting.evidence import (
    BOTH,
    CLS,
    ENGINES,
    LESS,
    MEAN,
    NO_GAIN,
    POINT,
    alike,
    difference,
    faster,
    full,
    lead,
    lora,
    once,
    padded,
    share,
    short,
    shown,
)
from rtlab.reporting.measures import exact, over_seeds, positives, ratio, sentences, stated
from rtlab.reporting.quantities import Quantity, Range
from rtlab.reporting.wording import FIGURES

LAB_DEVICE = "RTX 4060 Ti"
SECONDS, THROUGHPUT = "{:.1f} s", "{:.1f} samples/s"

MILLION = Range(0.5e6, 1.5e6, "1 M ± 0.5 M")

# The lab's setups, on the reference engine.
SVM = CLS
FULL, FULL_FIXED, FULL_FAST = full(Recipe()), full(Recipe(padding="fixed")), full(Recipe(), 2e-4)
LORA, LORA_FAST, *LORA_FASTER = (lora(Recipe(), rate) for rate in (2e-5, 2e-4, 5e-4, 1e-3))
LORA_FIXED, LORA_MORE = lora(Recipe(padding="fixed"), 2e-5), lora(Recipe(), 2e-5, "attention+mlp")
PADDED = {"full": {"dynamic": FULL, "fixed": FULL_FIXED}, "LoRA": {"dynamic": LORA, "fixed": LORA_FIXED}}
TAKEN = {"full": {"dynamic": 103.6, "fixed": 781.5}, "LoRA": {"dynamic": 58.8, "fixed": 709.2}}  # seconds, in its table


def _accuracies(of: Experiment, validation: float, test: float) -> tuple[Quantity, ...]:
    figures = {"validation": validation, "test": test}
    return tuple(
        Quantity(f"{split} accuracy", (of,), over_seeds(f"{split}_accuracy")).near(value, POINT)
        for split, value in figures.items()
    )


def _own(what: str, value: float, form: str, range_: Range) -> Quantity:
    return Quantity(what, (), stated(value), form=form, runs=0, stated=range_)


def _tied(column: str, form: str, **of: Experiment) -> Rule:
    return Rule("", text=TIED, beside=shown(column, form, **of))


def _takes(name: str, title: str, low: int, high: int) -> Claim:
    """How many minutes a method takes, which the lab's own table contradicts or bears out."""
    between = Range(low, high, f"{low} to {high}")
    own = (_own(f"its table, {padding}:", s / 60, "{:.1f} minutes", between) for padding, s in TAKEN[name].items())
    return Claim(
        f"{name.lower()}-minutes",
        f"{title} takes {low}–{high} minutes.",
        Rule(OWN, tuple(own), beside=shown("train_s", SECONDS, **PADDED[name])),
        _tied("train_s", SECONDS, **{engine: BOTH[name](recipe) for engine, recipe in ENGINES.items()}),
    )


def _padding_pays(name: str, title: str, speed_up: float, throughputs: str) -> Claim:
    """Here on few sentences, for fixed padding costs hours; the direction alone, since the ratio is the encoder's."""
    taken, (dynamic, fixed) = TAKEN[name], PADDED[name].values()
    here = (
        faster(f"speed-up, {engine}", padded(name, "fixed", engine), padded(name, "dynamic", engine))
        for engine in ENGINES
    )
    return Claim(
        f"{name.lower()}-padding-speed",
        f"Dynamic padding makes {title} {speed_up:g} × faster than fixed padding "
        f"({taken['dynamic']} s against {taken['fixed']} s, {throughputs} samples/s).",
        Rule(
            RATIO,
            (faster("speed-up", fixed, dynamic).near(speed_up, speed_up / 10),),
            beside=shown("samples_per_s", THROUGHPUT, **PADDED[name]),
        ),
        Rule(RATIO, tuple(here), text="Direction: dynamic padding is faster than fixed, on either engine."),
        device=LAB_DEVICE,
    )


def _parameters(of: Experiment, part: str) -> Quantity:
    return Quantity(part, (of,), exact(f"parameters_{part}"), form="{:,.0f}", runs=1)


def _loss(of: Experiment, rate: float, value: float) -> Quantity:
    return Quantity(f"mean loss at {rate:.0e}", (of,), over_seeds("train_loss")).near(value, 0.01)


def _loss_ratios(low: Experiment, high: Experiment) -> tuple[Quantity, ...]:
    names = {"train_loss": "mean loss", "final_loss": "loss of the last epoch"}
    return tuple(
        Quantity(f"{what}, 2e-05 / 2e-04", (low, high), ratio(column), form="{:.3f}", stated=LESS)
        for column, what in names.items()
    )


_SIZES = (
    *(
        Quantity(split, (SVM,), sentences(split), form="{:.0f}", runs=1, stated=Range(n - 0.5, n + 0.5, f"{n}"))
        for split, n in {"train": 8530, "validation": 1066, "test": 1066}.items()
    ),
    Quantity("share of positives, held out:", (SVM,), positives, runs=1).near(0.5, 1e-4),
)
_SVM_SCORES = {"validation accuracy": 0.8180, "test accuracy": 0.7946, "validation F1": 0.8142, "test F1": 0.7908}

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "splits",
        "The data set's splits hold 8530, 1066 and 1066 sentences, half of them of each class.",
        Rule(EXACT, _SIZES),
        Rule(EXACT, _SIZES, text="The same figures: they are the data set's."),
        encoder=None,
    ),
    Claim(
        "svm-scores",
        "The SVM reaches accuracy 0.8180 / 0.7946 and F1 0.8142 / 0.7908 (validation / test).",
        Rule(
            EXACT,
            tuple(
                Quantity(what, (SVM,), exact(FIGURES[what][0]), runs=1).near(value, POINT / 2)
                for what, value in _SVM_SCORES.items()
            ),
        ),
        _tied("test_accuracy", "{:.4f}", **{"test, [CLS]": CLS, "test, mean": MEAN}),
    ),
    Claim(
        "svm-parameters",
        "The SVM trains ≈ 1 M parameters.",
        Rule(OWN, (_own("a weight for each of 768 features and a bias:", 768 + 1, "{:,.0f} parameters", MILLION),)),
        Rule(EXACT, (replace(_parameters(CLS, "trained"), stated=MILLION),), text="Size: from 0.5 to 1.5 M."),
    ),
    Claim(
        "full-accuracy",
        "Full fine-tuning reaches ≈ 88 / 85 % accuracy (validation / test).",
        Rule(FIGURE, _accuracies(FULL, 0.88, 0.85)),
        _tied("test_accuracy", "{:.4f}", **{e: full(r) for e, r in ENGINES.items()}),
    ),
    Claim(
        "lora-accuracy",
        "LoRA reaches ≈ 87 / 84 % accuracy (validation / test).",
        Rule(FIGURE, _accuracies(LORA, 0.87, 0.84)),
        _tied("test_accuracy", "{:.4f}", **{f"lr {r:.0e}": lora(rate=r) for r in (2e-5, 2e-4, 1e-3)}),
    ),
    _takes("full", "Full fine-tuning", 15, 30),
    _takes("LoRA", "LoRA", 5, 10),
    _padding_pays("full", "full fine-tuning", 7.5, "412 against 54.6"),
    _padding_pays("LoRA", "LoRA", 12, "726 against 60"),
    Claim(
        "padding-accuracy",
        "Padding does not change accuracy.",
        Rule(
            EQUAL,
            tuple(alike(f"{name}, dynamic − fixed", of["dynamic"], of["fixed"], POINT) for name, of in PADDED.items()),
        ),
        Rule(
            EQUAL,
            tuple(
                alike(f"{name}, dynamic − fixed", short(name, "dynamic"), short(name, "fixed"), POINT) for name in BOTH
            ),
            text="Size: within a point after two epochs, padded to 96 tokens, the longest sentence.",
        ),
    ),
    Claim(
        "full-loss-order",
        "Full fine-tuning ends at a lower loss with learning rate 2e-5 than with 2e-4.",
        Rule(RATIO, _loss_ratios(FULL, FULL_FAST)),
        Rule(RATIO, _loss_ratios(full(), full(rate=2e-4)), text="Direction, on the native engine."),
    ),
    Claim(
        "full-loss",
        "Those losses are ≈ 0.19 and ≈ 0.22 (as the Trainer states them: means over the run).",
        Rule(FIGURE, (_loss(FULL, 2e-5, 0.19), _loss(FULL_FAST, 2e-4, 0.22))),
        _tied("train_loss", "{:.4f}", **{f"loss at {r:.0e}": full(rate=r) for r in (2e-5, 2e-4)}),
    ),
    Claim(
        "lora-learning-rate",
        "LoRA too is best with learning rate 2e-5.",
        Rule(BETTER, (lead(LORA, LORA_FAST, *LORA_FASTER),)),
        Rule(
            BETTER,
            (lead(*(lora(rate=rate) for rate in (2e-5, 2e-4, 5e-4, 1e-3))),),
            text="Direction, on the native engine; the best other rate is chosen on validation.",
        ),
    ),
    Claim(
        "target-modules",
        "More target modules bring no substantial gain.",
        Rule(EQUAL, (difference("attention+mlp − attention", LORA_MORE, LORA, NO_GAIN),)),
        Rule(
            EQUAL,
            tuple(
                difference(
                    f"attention+mlp − attention, lr {rate:.0e}",
                    lora(rate=rate, modules="attention+mlp"),
                    lora(rate=rate),
                    NO_GAIN,
                )
                for rate in (2e-5, 1e-3)
            ),
            text="Size: less than a point, at the lab's rate and at 1e-3, on the native engine.",
        ),
    ),
    Claim(
        "lora-parameters",
        "LoRA trains ≈ 0.3 M parameters.",
        Rule(
            EXACT,
            (_parameters(LORA, "trained").near(0.3e6, 0.05e6),),
            beside=(_parameters(LORA, "adapter"), _parameters(LORA, "head")),
        ),
        Rule("", text=TIED, beside=tuple(_parameters(lora(), part) for part in ("trained", "adapter", "head"))),
    ),
    Claim(
        "lora-near-full",
        "LoRA comes within ≈ 1 point of full fine-tuning.",
        Rule(EQUAL, (alike("LoRA − full", LORA, FULL, 1.5 * POINT),)),
        Rule(
            EQUAL,
            (alike("LoRA − full, both at 2e-05", lora(rate=2e-5), full(), 1.5 * POINT),),
            text="Size: within a point (anything that rounds to one) at the lab's rate of 2e-5, on the native engine.",
            beside=(difference("LoRA at 1e-03 − full at 2e-05", lora(), full()),),
        ),
    ),
    Claim(
        "lora-time",
        "LoRA takes less time than full fine-tuning.",
        Rule(RATIO, (share("time, LoRA / full", LORA, FULL),)),
        Rule(
            RATIO,
            tuple(share(f"time, LoRA / full, {engine}", lora(once(engine)), full(once(engine))) for engine in ENGINES),
            text="Direction: whole epochs in fresh processes, on either engine.",
        ),
    ),
)
