"""Records as the lab's study would leave them, made up; for tests of what is read out of records."""

import dataclasses
import hashlib
from functools import cache

import numpy as np

from rtlab import studies
from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER, Experiment, identity
from rtlab.methods import Adapter, Full, Svm
from rtlab.metrics import scores
from rtlab.recipe import Recipe
from rtlab.records import Counts, LogEntry, Memory, Predictions, RunRecord, Source, Timing, Validated
from rtlab.testbed import Testbed

ROTTEN_TOMATOES = "139902e31bdfd9d34a616b2c5f8e66a07be3947f7095dc6fdf841ed5d071c9f0"
LAB_GPU = "NVIDIA GeForce RTX 4060 Ti"
TRAIN, HELD_OUT = 8530, 1066
REAL_TOKENS = 27  # a sentence, on average


def with_recipe(experiment: Experiment, **changes) -> Experiment:
    """An experiment with another recipe."""
    method = experiment.method
    if "engine" in changes and "padding" not in changes:
        changes["padding"] = None
    return dataclasses.replace(
        experiment, method=dataclasses.replace(method, recipe=dataclasses.replace(method.recipe, **changes))
    )


SVM, SVM_MEAN = Experiment(method=Svm()), Experiment(method=Svm(pooling="mean"))
FULL, LORA = Experiment(method=Full()), Experiment(method=Adapter())
FULL_FIXED, LORA_FIXED = (with_recipe(experiment, padding="fixed") for experiment in (FULL, LORA))
FULL_FAST, LORA_FAST = (with_recipe(experiment, learning_rate=2e-4) for experiment in (FULL, LORA))
LORA_FASTEST = with_recipe(LORA, learning_rate=1e-3)
LORA_MORE = Experiment(method=Adapter(target_modules=("attention+mlp",)))
# What a study finds that bears out every claim that can be borne out: accuracies, seconds, mean loss, last epoch's.
BORNE_OUT = {
    SVM: (0.8180, 0.7946, 6.0, None, None),
    FULL: (0.880, 0.850, 103.6, 0.190, 0.050),
    FULL_FIXED: (0.880, 0.850, 781.5, 0.191, 0.051),
    FULL_FAST: (0.850, 0.820, 103.9, 0.220, 0.080),
    LORA: (0.870, 0.842, 58.8, 0.330, 0.280),
    LORA_FIXED: (0.870, 0.842, 709.2, 0.331, 0.281),
    LORA_FAST: (0.840, 0.810, 58.9, 0.270, 0.200),
    LORA_FASTEST: (0.780, 0.760, 58.9, 0.300, 0.220),
    LORA_MORE: (0.870, 0.842, 75.0, 0.320, 0.270),
}


@cache
def predictions(accuracy: float, seed: int, size: int = HELD_OUT, restless: float = 0.004) -> Predictions:
    """Half of the labels are 1; the hardest sentences are labelled wrongly, and which ones varies a little by seed."""
    labels = np.arange(size, dtype=np.int32) % 2
    hardness = np.random.default_rng(0).random(size) + restless * np.random.default_rng(seed + 1).standard_normal(size)
    wrong = np.zeros(size, dtype=bool)
    wrong[np.argsort(hardness)[: round((1 - accuracy) * size)]] = True
    chosen = np.where(wrong, 1 - labels, labels)
    logits = np.stack([-(chosen - 0.5), chosen - 0.5], axis=1)
    return Predictions(labels=labels, logits=logits.astype(np.float32))


def some_testbed(device: str = LAB_GPU, **changes) -> Testbed:
    """A testbed."""
    fields = {"threads": 2, "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2", "tokenizers": "0.23.3"}
    return Testbed(device=device, **{**fields, "code": "c" * 16, **changes})


def made(
    experiment: Experiment = FULL,
    validation: float = 0.85,
    test: float = 0.85,
    train_s: float = 100.0,
    train_loss: float | None = None,
    final_loss: float | None = None,
    *,
    seed: int | None = None,
    encoder: str = DEFAULT_ENCODER,
    dataset: str = DEFAULT_DATASET,
    sha256: str = ROTTEN_TOMATOES,
    device: str = LAB_GPU,
    day: int = 1,
    others: float | None = None,
    warmup_s: float = 0.0,
    size: int = HELD_OUT,
    **changes,
) -> RunRecord:
    """A finished run with scores, logits and times that agree with each other."""
    experiment = dataclasses.replace(experiment, encoder=encoder, dataset=dataset)
    experiment = experiment if seed is None else dataclasses.replace(experiment, seed=seed)
    method = experiment.method
    recipe = method.recipe or Recipe(epochs=1)
    train = experiment.train_sentences or TRAIN
    steps = recipe.epochs * -(-train // 16) if recipe.max_steps is None else recipe.max_steps
    samples = recipe.epochs * train if recipe.max_steps is None else 16 * recipe.max_steps
    tokens = REAL_TOKENS * samples
    padding = {"fixed": 512 - REAL_TOKENS, "dynamic": 14, "bucketed": 1, "packed": 0}[recipe.padding] * samples
    chance = method.recipe is not None
    said = {
        split: predictions(accuracy, experiment.seed + shift if experiment.chance else shift, size)
        for split, accuracy, shift in (("validation", validation, 0), ("test", test, 1000))
    }
    modules = 294_912 * (2 if method == LORA_MORE.method else 1) if isinstance(method, Adapter) else 0
    names = method.target_modules if isinstance(method, Adapter) else ()
    fields = {
        "id": identity(experiment, dataset_sha256=sha256, encoder_sha256=sha(encoder), target_modules=names),
        "results": 1,
        "status": "ok",
        "dataset": Source(name=dataset, revision=None, sha256=sha256),
        "encoder": None if method.reads is None else Source(name=encoder, revision=None, sha256=sha(encoder)),
        "testbed": some_testbed(device),
        "environment": {"device": device, "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
        "created_at": f"2026-01-{day:02}T00:00:00+00:00",
        "scores": {split: scores(p.labels, p.classes, num_labels=2) for split, p in said.items()},
        "predictions": said,
        "timing": Timing(
            load_s=1.0,
            prepare_s=1.0,
            warmup_s=warmup_s,
            train_s=train_s,
            evaluate_s=1.0,
            samples_per_s=samples / train_s,
            steps_per_s=steps / train_s if chance else None,
            tokens_per_s=tokens / train_s,
            padded_tokens_per_s=(tokens + padding) / train_s,
            others=others,
        ),
        "counts": Counts(
            parameters_total=67_000_000,
            parameters_encoder=66_362_880 if isinstance(method, Full) else 0,
            parameters_adapter=modules,
            parameters_head=592_130 if chance else 769,
            steps=steps if chance else None,
            samples=samples,
            real_tokens=tokens,
            padding_tokens=padding,
        ),
        "memory": Memory(peak_device=None, peak_host=2**30),
        "history": history(experiment.seed, recipe, steps, train_loss),
        "train_loss": train_loss,
        "final_loss": final_loss,
    }
    return RunRecord(experiment=experiment, **fields | changes)


def lost(
    experiment: Experiment = FULL, status: str = "failed", error: str = "RuntimeError: no", **changes
) -> RunRecord:
    """A run without a result."""
    nothing = {"scores": {}, "predictions": {}, "timing": None, "counts": None, "memory": None, "history": ()}
    return made(experiment, **{"status": status, "error": error, **nothing, **changes})


def watched(record: RunRecord, *losses: float) -> RunRecord:
    """The run with these losses on validation after each of its epochs, the least of them kept."""
    found = tuple(
        Validated(step=534 * epoch, epoch=epoch, loss=loss, accuracy=0.8, f1=0.8, macro_f1=0.8)
        for epoch, loss in enumerate(losses, start=1)
    )
    best = min(found, key=lambda entry: entry.loss)
    return dataclasses.replace(record, validated=found, chosen={"step": best.step, "epoch": best.epoch})


def sha(name: str) -> str:
    """A digest for a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def history(seed: int, recipe: Recipe, steps: int, mean_loss: float | None) -> tuple[LogEntry, ...]:
    """A loss that falls from 0.69 and has about this mean."""
    if mean_loss is None:
        return ()
    random = np.random.default_rng(seed)
    marks = [*range(recipe.logging_steps, steps, recipe.logging_steps), steps]
    return tuple(
        LogEntry(
            step=step,
            epoch=step / 534,
            loss=float(
                0.15 * mean_loss + (0.69 - 0.15 * mean_loss) * np.exp(-max(0.3, 3.5 - 7 * mean_loss) * step / 534)
            )
            + 0.01 * float(random.random()),
            learning_rate=recipe.learning_rate * (1 - step / steps),
            gradient_norm=1.0,
        )
        for step in marks
    )


def study(found=BORNE_OUT, *, seeds=(1, 2, 3), jitter: float = 0.002, **place) -> list[RunRecord]:
    """All runs of a study: for each experiment what it finds, with little differences between the seeds."""
    return [
        made(
            experiment,
            validation,
            test,
            seconds * (1 + jitter * number),
            None if mean_loss is None else mean_loss * (1 + jitter * number),
            None if last_loss is None else last_loss * (1 + jitter * number),
            seed=seed,
            **place,
        )
        for experiment, (validation, test, seconds, mean_loss, last_loss) in found.items()
        for number, seed in enumerate(seeds)
    ]


def evidence(
    *, parts=(1, 2, 3, 4), accuracy=None, seconds=None, loss=None, counts=None, seed_noise=0.001, **place
) -> list[RunRecord]:
    """The runs of the study `evidence`, on which every rule that can hold there holds; the arguments change figures.

    Whole runs of five epochs were disturbed, so that their times are those of one epoch.
    """
    place = {"encoder": "minilm", "dataset": "rt-polaritydata", "device": "a cpu", **place}
    made_of = []
    for experiment in dict.fromkeys(e for part in parts for e in studies.study("evidence", part=part)):
        noise = float(np.random.default_rng([experiment.seed, len(experiment.label)]).standard_normal())
        score, time, mean_loss = _found(experiment)
        score = accuracy(experiment, score) if accuracy else score
        time = seconds(experiment, time) if seconds else time
        mean_loss = loss(experiment, mean_loss) if loss and mean_loss else mean_loss
        long = getattr(getattr(experiment.method, "recipe", None), "epochs", 1) == 5
        losses = (None, None) if mean_loss is None else (mean_loss + 0.001 * noise, 0.7 * mean_loss + 0.001 * noise)
        cut = {"sha256": sha("cut"), "size": 160} if experiment.limit else {}
        record = made(
            experiment,
            score - 0.002,
            score + seed_noise * noise,
            time * (1 + 0.01 * noise),
            *losses,
            others=0.6 if long else 0.01,
            **{"sha256": ROTTEN_TOMATOES, **cut, **place},
        )
        made_of.append(dataclasses.replace(record, counts=dataclasses.replace(record.counts, **counts or {})))
    return made_of


def labels(*, accuracy=None, **place) -> list[RunRecord]:
    """The runs of the study `labels`: each way learns with the logarithm of its sentences, the dear ones faster."""
    place = {"encoder": "minilm", "dataset": "rt-polaritydata", "device": "a cpu", **place}
    rise = {"words": 0.03, "svm": 0.02, "svm words": 0.035, "contrastive": 0.05, "lora": 0.055, "full": 0.06}
    records = []
    for experiment in studies.study("labels"):
        way = f"{experiment.method.name}{' words' * getattr(experiment.method, 'with_words', False)}"
        noise = float(np.random.default_rng([experiment.seed, len(way)]).standard_normal())
        doublings = np.log2((experiment.train_sentences or TRAIN) / 50)
        score = 0.6 - rise[way] + rise[way] * doublings * 0.7 + 0.01 * noise / (1 + doublings)
        score = accuracy(experiment, score) if accuracy else score
        epochs = 1 if experiment.method.recipe is None else experiment.method.recipe.epochs
        seconds = epochs * (experiment.train_sentences or TRAIN) * rise[way] + 1
        records.append(made(experiment, score, score, seconds, **{"sha256": ROTTEN_TOMATOES, **place}))
    return records


def _found(experiment: Experiment) -> tuple[float, float, float | None]:
    """Accuracy, seconds and mean loss of a run."""
    method = experiment.method
    if isinstance(method, Svm):
        return 0.73 if method.pooling == "cls" else 0.77, 30.0, None
    recipe = method.recipe
    score = {2e-5: 0.84, 5e-5: 0.83, 2e-4: 0.82, 5e-4: 0.81, 1e-3: 0.80}[recipe.learning_rate]
    score += {1: -0.02, 2: -0.01, 5: 0.0}[recipe.epochs]
    speed = {"trainer": 38, "native": 60}[recipe.engine] * (1.2 if isinstance(method, Adapter) else 1)
    speed *= {"fixed": 0.06, "dynamic": 1, "bucketed": 1.3, "packed": 1.5}[recipe.padding]
    return score, recipe.epochs * TRAIN / speed, 0.3 + recipe.learning_rate * 100


def of_classes(record: RunRecord, names: tuple[str, ...], *, shares=None, accuracy: float = 0.8, size: int = 300):
    """A record of a data set of other classes: how common each is by `shares`, and this share of them told rightly."""
    count = len(names)
    labels = np.random.default_rng(0).choice(count, size, p=shares).astype(np.int32)
    random = np.random.default_rng(record.experiment.seed)
    said = np.where(random.random(size) < accuracy, labels, random.integers(0, count, size))
    found = Predictions(labels=labels, logits=np.eye(count, dtype=np.float32)[said])
    split = scores(labels, said, num_labels=count)
    return dataclasses.replace(
        record,
        dataset=dataclasses.replace(record.dataset, classes=names, sha256=sha(f"{names}{shares}{size}")),
        scores={"validation": split, "test": split},
        predictions={"validation": found, "test": found},
    )
