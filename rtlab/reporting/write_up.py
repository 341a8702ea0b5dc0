"""What the lab's write-up claims, as data: each sentence with the figures in it and the range that they must lie in.

Every claim comes down to quantities and ranges: "≈ 88 %" is a range around 0.88, "faster" is a ratio of times below 1,
"does not change" is a difference within a margin around 0. `rtlab.reporting.claims` judges them.

The margins are stated with each figure. An accuracy "≈" a whole percent, and accuracies that "do not differ", may
differ by a point: the lab's own measure ("within ≈ 1 point"), itself read as anything that rounds to one. The SVM's
accuracies, stated to four digits and free of chance, may differ by half a point (5 of 1,066 sentences), for versions
of the solver differ. Losses may differ by 0.01 and ratios of speed by a tenth: libraries and drivers move on.
"""

import math
from typing import Any

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Recipe, Svm
from rtlab.reporting.claims import Claim, Statement
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
MILLION = (0.5e6, 1.5e6, "1 M ± 0.5 M")

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

SVM = Experiment(method=Svm())


def _full(**recipe: Any) -> Experiment:  # what a recipe takes
    return Experiment(method=Full(recipe=Recipe(**recipe)))


def _lora(target_modules: str = "attention", **recipe: Any) -> Experiment:  # likewise
    return Experiment(method=Adapter(recipe=Recipe(**recipe), target_modules=(target_modules,)))


FULL, FULL_FIXED, FULL_FAST = _full(), _full(padding="fixed"), _full(learning_rate=2e-4)
LORA, LORA_FIXED, LORA_MORE = _lora(), _lora(padding="fixed"), _lora("attention+mlp")
LORA_FAST, *LORA_FASTER = (_lora(learning_rate=rate) for rate in (2e-4, 5e-4, 1e-3))


def _near(quantity: Quantity, value: float, margin: float) -> Statement:
    form = quantity.form
    number = form.partition("}")[0] + "}"
    return Statement(quantity, value - margin, value + margin, f"{number.format(value)} ± {form.format(margin)}")


def _accuracies(of: Experiment, validation: float, test: float) -> tuple[Statement, ...]:
    figures = {"validation": validation, "test": test}
    return tuple(
        _near(Quantity(what=f"{split} accuracy", of=(of,), measure=over_seeds(f"{split}_accuracy")), value, POINT)
        for split, value in figures.items()
    )


def _svm_score(split: str, score: str, value: float) -> Statement:
    name = {"f1": "F1"}.get(score, score)
    measure = exact(f"{split}_{score}")
    return _near(Quantity(what=f"{split} {name}", of=(SVM,), measure=measure, runs=1), value, POINT / 2)


def _size(split: str, value: int) -> Statement:
    quantity = Quantity(what=split, of=(SVM,), measure=sentences(split), form="{:.0f}", runs=1)
    return Statement(quantity, value - 0.5, value + 0.5, f"{value}")


def _own(what: str, value: float, form: str) -> Quantity:
    return Quantity(what=what, of=(), measure=stated(value), form=form, runs=0)


def _minutes(low: float, high: float, *, dynamic_s: float, fixed_s: float) -> tuple[Statement, ...]:
    rows = {"dynamic": dynamic_s, "fixed": fixed_s}
    return tuple(
        Statement(
            _own(f"its table, {padding}:", s / 60, "{:.1f} minutes"),
            low,
            high,
            f"{low:g} to {high:g}",
        )
        for padding, s in rows.items()
    )


def _seconds(of: Experiment, what: str) -> Quantity:
    return Quantity(what=what, of=(of,), measure=over_seeds("train_s"), form="{:.1f} s", timed=True)


def _throughput(of: Experiment) -> Quantity:
    assert isinstance(of.method, Full | Adapter), "an SVM is not trained in batches"
    measure, form = over_seeds("samples_per_s"), "{:.1f} samples/s"
    return Quantity(what=of.method.recipe.padding, of=(of,), measure=measure, form=form, any_length=True, timed=True)


def _speed_up(fixed: Experiment, dynamic: Experiment, value: float) -> Statement:
    of = (fixed, dynamic)
    quantity = Quantity(what="speed-up", of=of, measure=time_ratio, form="{:.2f} ×", any_length=True, timed=True)
    return _near(quantity, value, value / 10)


def _unchanged(what: str, a: Experiment, b: Experiment, margin: float = POINT) -> Statement:
    quantity = Quantity(what=what, of=(a, b), measure=accuracy_difference, form="{:+.4f}")
    return Statement(quantity, -margin, margin, f"within ± {margin:.4f}")


def _parameters(of: Experiment, part: str) -> Quantity:
    return Quantity(what=part, of=(of,), measure=exact(f"parameters_{part}"), form="{:,.0f}", runs=1)


def _loss(of: Experiment, rate: float, value: float) -> Statement:
    what = f"mean loss at {rate:.0e}"
    return _near(Quantity(what=what, of=(of,), measure=over_seeds("train_loss")), value, 0.01)


def _loss_ratio(what: str, field: str) -> Statement:
    quantity = Quantity(what=f"{what}, 2e-05 / 2e-04", of=(FULL, FULL_FAST), measure=ratio(field), form="{:.3f}")
    return Statement(quantity, 0, 1, "below 1")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="splits",
        sentence="The data set's splits hold 8530, 1066 and 1066 sentences, half of them of each class.",
        statements=(
            _size("train", 8530),
            _size("validation", 1066),
            _size("test", 1066),
            _near(Quantity(what="share of positives, held out:", of=(SVM,), measure=positives, runs=1), 0.5, 1e-4),
        ),
        rule=EXACT,
        encoder=None,
    ),
    Claim(
        id="svm-scores",
        sentence="The SVM reaches accuracy 0.8180 / 0.7946 and F1 0.8142 / 0.7908 (validation / test).",
        statements=(
            _svm_score("validation", "accuracy", 0.8180),
            _svm_score("test", "accuracy", 0.7946),
            _svm_score("validation", "f1", 0.8142),
            _svm_score("test", "f1", 0.7908),
        ),
        rule=EXACT,
    ),
    Claim(
        id="svm-parameters",
        sentence="The SVM trains ≈ 1 M parameters.",
        statements=(
            Statement(_own("a weight for each of 768 features and a bias:", 768 + 1, "{:,.0f} parameters"), *MILLION),
        ),
        rule=OWN,
        beside=(_parameters(SVM, "trained"),),
    ),
    Claim(
        id="full-accuracy",
        sentence="Full fine-tuning reaches ≈ 88 / 85 % accuracy (validation / test).",
        statements=_accuracies(FULL, 0.88, 0.85),
        rule=FIGURE,
    ),
    Claim(
        id="lora-accuracy",
        sentence="LoRA reaches ≈ 87 / 84 % accuracy (validation / test).",
        statements=_accuracies(LORA, 0.87, 0.84),
        rule=FIGURE,
    ),
    Claim(
        id="full-minutes",
        sentence="Full fine-tuning takes 15–30 minutes.",
        statements=_minutes(15, 30, dynamic_s=103.6, fixed_s=781.5),
        rule=OWN,
        beside=(_seconds(FULL, "dynamic"), _seconds(FULL_FIXED, "fixed")),
    ),
    Claim(
        id="lora-minutes",
        sentence="LoRA takes 5–10 minutes.",
        statements=_minutes(5, 10, dynamic_s=58.8, fixed_s=709.2),
        rule=OWN,
        beside=(_seconds(LORA, "dynamic"), _seconds(LORA_FIXED, "fixed")),
    ),
    Claim(
        id="full-padding-speed",
        sentence="Dynamic padding makes full fine-tuning 7.5 × faster than fixed padding "
        "(103.6 s against 781.5 s, 412 against 54.6 samples/s).",
        statements=(_speed_up(FULL_FIXED, FULL, 7.5),),
        rule=RATIO,
        beside=(_throughput(FULL), _throughput(FULL_FIXED)),
        device=LAB_DEVICE,
    ),
    Claim(
        id="lora-padding-speed",
        sentence="Dynamic padding makes LoRA 12 × faster than fixed padding "
        "(58.8 s against 709.2 s, 726 against 60 samples/s).",
        statements=(_speed_up(LORA_FIXED, LORA, 12),),
        rule=RATIO,
        beside=(_throughput(LORA), _throughput(LORA_FIXED)),
        device=LAB_DEVICE,
    ),
    Claim(
        id="padding-accuracy",
        sentence="Padding does not change accuracy.",
        statements=(
            _unchanged("full, dynamic − fixed", FULL, FULL_FIXED),
            _unchanged("LoRA, dynamic − fixed", LORA, LORA_FIXED),
        ),
        rule=EQUAL,
    ),
    Claim(
        id="full-loss-order",
        sentence="Full fine-tuning ends at a lower loss with learning rate 2e-5 than with 2e-4.",
        statements=(_loss_ratio("mean loss", "train_loss"), _loss_ratio("loss of the last epoch", "final_loss")),
        rule=RATIO,
    ),
    Claim(
        id="full-loss",
        sentence="Those losses are ≈ 0.19 and ≈ 0.22 (as the Trainer states them: means over the run).",
        statements=(_loss(FULL, 2e-5, 0.19), _loss(FULL_FAST, 2e-4, 0.22)),
        rule=FIGURE,
    ),
    Claim(
        id="lora-learning-rate",
        sentence="LoRA too is best with learning rate 2e-5.",
        statements=(
            Statement(
                Quantity(
                    what="2e-05 − the best other rate",
                    of=(LORA, LORA_FAST),
                    rivals=tuple(LORA_FASTER),
                    measure=lead_over_the_best,
                    form="{:+.4f}",
                ),
                0,
                math.inf,
                "above 0",
            ),
        ),
        rule=BETTER,
    ),
    Claim(
        id="target-modules",
        sentence="More target modules bring no substantial gain.",
        statements=(
            Statement(
                Quantity(
                    what="attention+mlp − attention",
                    of=(LORA_MORE, LORA),
                    measure=accuracy_difference,
                    form="{:+.4f}",
                ),
                -math.inf,
                POINT,
                f"below {POINT:+.4f}",
            ),
        ),
        rule=EQUAL,
    ),
    Claim(
        id="lora-parameters",
        sentence="LoRA trains ≈ 0.3 M parameters.",
        statements=(_near(_parameters(LORA, "trained"), 0.3e6, 0.05e6),),
        rule=EXACT,
        beside=(_parameters(LORA, "adapter"), _parameters(LORA, "head")),
    ),
    Claim(
        id="lora-near-full",
        sentence="LoRA comes within ≈ 1 point of full fine-tuning.",
        statements=(_unchanged("LoRA − full", LORA, FULL, 1.5 * POINT),),
        rule=EQUAL,
    ),
    Claim(
        id="lora-time",
        sentence="LoRA takes less time than full fine-tuning.",
        statements=(
            Statement(
                Quantity(
                    what="time, LoRA / full",
                    of=(LORA, FULL),
                    measure=time_ratio,
                    form="{:.3f}",
                    any_length=True,
                    timed=True,
                ),
                0,
                1,
                "below 1",
            ),
        ),
        rule=RATIO,
    ),
)
