"""What the lab's write-up claims, as data: each sentence with the figures in it and the range that they must lie in.

Every claim comes down to quantities and ranges: "≈ 88 %" is a range around 0.88, "faster" is a ratio of times below 1,
"does not change" is a difference within a margin around 0. `rtlab.reporting.claims` judges them.

The margins are stated with each figure. An accuracy "≈" a whole percent, and accuracies that "do not differ", may
differ by a point: the lab's own measure ("within ≈ 1 point"), itself read as anything that rounds to one. The SVM's
accuracies, stated to four digits and free of chance, may differ by half a point (5 of 1,066 sentences), for versions
of the solver differ. Losses may differ by 0.01 and ratios of speed by a tenth: libraries and drivers move on.
"""

import math

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm
from rtlab.recipe import Recipe
from rtlab.reporting.claims import Claim
from rtlab.reporting.pairs import accuracy_difference, time_ratio
from rtlab.reporting.quantities import (
    Quantity,
    exact,
    lead_over_the_best,
    over_seeds,
    positives,
    ratio,
    sentences,
    stated,
)

LAB_DEVICE = "RTX 4060 Ti"
POINT = 0.01
SECONDS, THROUGHPUT = "{:.1f} s", "{:.1f} samples/s"

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

_USUAL, _FIXED, _FAST = Recipe(), Recipe(padding="fixed"), Recipe(learning_rate=2e-4)
_FASTER = (Recipe(learning_rate=5e-4), Recipe(learning_rate=1e-3))
SVM = Experiment(method=Svm())
FULL, FULL_FIXED, FULL_FAST = (Experiment(method=Full(recipe=recipe)) for recipe in (_USUAL, _FIXED, _FAST))
LORA, LORA_FIXED, LORA_FAST, *LORA_FASTER = (
    Experiment(method=Adapter(recipe=recipe)) for recipe in (_USUAL, _FIXED, _FAST, *_FASTER)
)
LORA_MORE = Experiment(method=Adapter(target_modules=("attention+mlp",)))


def _accuracies(of: Experiment, validation: float, test: float) -> tuple[Quantity, ...]:
    figures = {"validation": validation, "test": test}
    return tuple(
        Quantity(f"{split} accuracy", (of,), over_seeds(f"{split}_accuracy")).near(value, POINT)
        for split, value in figures.items()
    )


def _svm_score(split: str, name: str, value: float) -> Quantity:
    return Quantity(f"{split} {name}", (SVM,), exact(f"{split}_{name.lower()}"), runs=1).near(value, POINT / 2)


def _size(split: str, value: int) -> Quantity:
    quantity = Quantity(split, (SVM,), sentences(split), form="{:.0f}", runs=1)
    return quantity.within(value - 0.5, value + 0.5, f"{value}")


def _own(what: str, value: float, form: str) -> Quantity:
    return Quantity(what, (), stated(value), form=form, runs=0)


def _minutes(low: float, high: float, *, dynamic_s: float, fixed_s: float) -> tuple[Quantity, ...]:
    rows = {"dynamic": dynamic_s, "fixed": fixed_s}
    return tuple(
        _own(f"its table, {padding}:", s / 60, "{:.1f} minutes").within(low, high, f"{low:g} to {high:g}")
        for padding, s in rows.items()
    )


def _by_padding(column: str, form: str, dynamic: Experiment, fixed: Experiment) -> tuple[Quantity, ...]:
    rows, any_length = {"dynamic": dynamic, "fixed": fixed}, column == "samples_per_s"
    return tuple(
        Quantity(what, (of,), over_seeds(column), form=form, any_length=any_length, timed=True)
        for what, of in rows.items()
    )


def _time_ratio(what: str, a: Experiment, b: Experiment, form: str) -> Quantity:
    return Quantity(what, (a, b), time_ratio, form=form, any_length=True, timed=True)


def _speed_up(fixed: Experiment, dynamic: Experiment, value: float) -> Quantity:
    return _time_ratio("speed-up", fixed, dynamic, "{:.2f} ×").near(value, value / 10)


def _difference(what: str, a: Experiment, b: Experiment) -> Quantity:
    return Quantity(what, (a, b), accuracy_difference, form="{:+.4f}")


def _unchanged(what: str, a: Experiment, b: Experiment, margin: float = POINT) -> Quantity:
    return _difference(what, a, b).within(-margin, margin, f"within ± {margin:.4f}")


def _parameters(of: Experiment, part: str) -> Quantity:
    return Quantity(part, (of,), exact(f"parameters_{part}"), form="{:,.0f}", runs=1)


def _loss(of: Experiment, rate: float, value: float) -> Quantity:
    return Quantity(f"mean loss at {rate:.0e}", (of,), over_seeds("train_loss")).near(value, 0.01)


def _loss_ratio(what: str, field: str) -> Quantity:
    quantity = Quantity(f"{what}, 2e-05 / 2e-04", (FULL, FULL_FAST), ratio(field), form="{:.3f}")
    return quantity.within(0, 1, "below 1")


_LEAD = Quantity(
    "2e-05 − the best other rate", (LORA, LORA_FAST), lead_over_the_best, rivals=(*LORA_FASTER,), form="{:+.4f}"
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "splits",
        "The data set's splits hold 8530, 1066 and 1066 sentences, half of them of each class.",
        EXACT,
        (
            _size("train", 8530),
            _size("validation", 1066),
            _size("test", 1066),
            Quantity("share of positives, held out:", (SVM,), positives, runs=1).near(0.5, 1e-4),
        ),
        encoder=None,
    ),
    Claim(
        "svm-scores",
        "The SVM reaches accuracy 0.8180 / 0.7946 and F1 0.8142 / 0.7908 (validation / test).",
        EXACT,
        (
            _svm_score("validation", "accuracy", 0.8180),
            _svm_score("test", "accuracy", 0.7946),
            _svm_score("validation", "F1", 0.8142),
            _svm_score("test", "F1", 0.7908),
        ),
    ),
    Claim(
        "svm-parameters",
        "The SVM trains ≈ 1 M parameters.",
        OWN,
        (
            _own("a weight for each of 768 features and a bias:", 768 + 1, "{:,.0f} parameters").within(
                0.5e6, 1.5e6, "1 M ± 0.5 M"
            ),
        ),
        beside=(_parameters(SVM, "trained"),),
    ),
    Claim(
        "full-accuracy",
        "Full fine-tuning reaches ≈ 88 / 85 % accuracy (validation / test).",
        FIGURE,
        _accuracies(FULL, 0.88, 0.85),
    ),
    Claim(
        "lora-accuracy",
        "LoRA reaches ≈ 87 / 84 % accuracy (validation / test).",
        FIGURE,
        _accuracies(LORA, 0.87, 0.84),
    ),
    Claim(
        "full-minutes",
        "Full fine-tuning takes 15–30 minutes.",
        OWN,
        _minutes(15, 30, dynamic_s=103.6, fixed_s=781.5),
        beside=_by_padding("train_s", SECONDS, FULL, FULL_FIXED),
    ),
    Claim(
        "lora-minutes",
        "LoRA takes 5–10 minutes.",
        OWN,
        _minutes(5, 10, dynamic_s=58.8, fixed_s=709.2),
        beside=_by_padding("train_s", SECONDS, LORA, LORA_FIXED),
    ),
    Claim(
        "full-padding-speed",
        "Dynamic padding makes full fine-tuning 7.5 × faster than fixed padding "
        "(103.6 s against 781.5 s, 412 against 54.6 samples/s).",
        RATIO,
        (_speed_up(FULL_FIXED, FULL, 7.5),),
        beside=_by_padding("samples_per_s", THROUGHPUT, FULL, FULL_FIXED),
        device=LAB_DEVICE,
    ),
    Claim(
        "lora-padding-speed",
        "Dynamic padding makes LoRA 12 × faster than fixed padding (58.8 s against 709.2 s, 726 against 60 samples/s).",
        RATIO,
        (_speed_up(LORA_FIXED, LORA, 12),),
        beside=_by_padding("samples_per_s", THROUGHPUT, LORA, LORA_FIXED),
        device=LAB_DEVICE,
    ),
    Claim(
        "padding-accuracy",
        "Padding does not change accuracy.",
        EQUAL,
        (
            _unchanged("full, dynamic − fixed", FULL, FULL_FIXED),
            _unchanged("LoRA, dynamic − fixed", LORA, LORA_FIXED),
        ),
    ),
    Claim(
        "full-loss-order",
        "Full fine-tuning ends at a lower loss with learning rate 2e-5 than with 2e-4.",
        RATIO,
        (_loss_ratio("mean loss", "train_loss"), _loss_ratio("loss of the last epoch", "final_loss")),
    ),
    Claim(
        "full-loss",
        "Those losses are ≈ 0.19 and ≈ 0.22 (as the Trainer states them: means over the run).",
        FIGURE,
        (_loss(FULL, 2e-5, 0.19), _loss(FULL_FAST, 2e-4, 0.22)),
    ),
    Claim(
        "lora-learning-rate",
        "LoRA too is best with learning rate 2e-5.",
        BETTER,
        (_LEAD.within(0, math.inf, "above 0"),),
    ),
    Claim(
        "target-modules",
        "More target modules bring no substantial gain.",
        EQUAL,
        (_difference("attention+mlp − attention", LORA_MORE, LORA).within(-math.inf, POINT, f"below {POINT:+.4f}"),),
    ),
    Claim(
        "lora-parameters",
        "LoRA trains ≈ 0.3 M parameters.",
        EXACT,
        (_parameters(LORA, "trained").near(0.3e6, 0.05e6),),
        beside=(_parameters(LORA, "adapter"), _parameters(LORA, "head")),
    ),
    Claim(
        "lora-near-full",
        "LoRA comes within ≈ 1 point of full fine-tuning.",
        EQUAL,
        (_unchanged("LoRA − full", LORA, FULL, 1.5 * POINT),),
    ),
    Claim(
        "lora-time",
        "LoRA takes less time than full fine-tuning.",
        RATIO,
        (_time_ratio("time, LoRA / full", LORA, FULL, "{:.3f}").within(0, 1, "below 1"),),
    ),
)
