"""The command lines that repeat an experiment, and a choice."""

import shlex
from collections.abc import Mapping, Sequence

from rtlab.choosing.ways import FAMILIES
from rtlab.experiment import Experiment
from rtlab.methods import LORA, Adapter, Contrastive, Full, Method, Svm, Words
from rtlab.recipe import Recipe, number_text, rate_text


def command(experiment: Experiment) -> str:
    """The experiment as a line for a shell, with what differs from the options' defaults."""
    return _line(
        _verb(experiment.method),
        {
            "encoder": experiment.encoder,
            **_data(experiment),
            "train-sentences": experiment.train_sentences,
            **_of(experiment.method),
            "max-length": _max_length(experiment),
            "precision": None if experiment.precision == Experiment.precision else experiment.precision,
            "seed": None if experiment.seed == Experiment.seed else experiment.seed,
        },
    )


def asked_line(
    usual: Experiment,
    encoder: str | None,
    budget: str,
    margin: float,
    metric: str,
    candidates: Sequence[str],
    jobs: int,
) -> str:
    """A choice as a line for a shell: what decides it."""
    return _line(
        "choose",
        {
            "encoder": encoder,
            **_data(usual),
            "budget": budget,
            "margin": None if margin == 1 else number_text(margin),
            "metric": None if metric == "accuracy" else metric,
            "candidates": None if tuple(candidates) == FAMILIES else ",".join(candidates),
            "max-length": _max_length(usual),
            "seed": None if usual.seed == Experiment.seed else usual.seed,
            "jobs": None if jobs == 1 else jobs,
        },
    )


def _data(experiment: Experiment) -> dict[str, object]:
    options = experiment.dataset_options
    return {
        "dataset": experiment.dataset,
        "dataset-config": options.config,
        "text-column": options.text_column,
        "label-column": options.label_column,
        "split-column": options.split_column,
        "skip-bad-rows": options.skip_bad_rows,
        "limit": experiment.limit,
    }


def _max_length(experiment: Experiment) -> int | None:
    return None if experiment.max_length == Experiment.max_length else experiment.max_length


def _line(verb: str, named: Mapping[str, object]) -> str:
    return shlex.join(["rtlab", verb, *(word for name, value in named.items() for word in _words(name, value))])


def _verb(method: Method) -> str:
    return "finetune" if isinstance(method, Full) else method.name


def _words(name: str, value: object) -> list[str]:
    if value is None or value is False:
        return []
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def _of(method: Method) -> dict[str, object]:
    match method:
        case Words(characters=characters, classifier=classifier, c=c):
            return {"characters": characters, **_linear(classifier), "c": None if c is None else number_text(c)}
        case Svm(pooling=pooling, with_words=with_words, classifier=classifier, c=c):
            tuned = {"tune-c": True} if c is None else {"c": None if c == Svm.c else number_text(c)}
            return {"pooling": pooling, "with-words": with_words, **_linear(classifier), **tuned}
        case Adapter(recipe=recipe, settings=settings):
            lora = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
            given = {lora[name]: settings[name] for name in LORA if settings[name] != LORA[name]}
            return {**given, **_recipe(recipe)}
        case Contrastive(recipe=recipe, temperature=temperature):
            usual = temperature == Contrastive.temperature
            return {"temperature": None if usual else number_text(temperature), **_recipe(recipe)}
        case Full(recipe=recipe):
            return _recipe(recipe)


def _linear(classifier: str) -> dict[str, object]:
    return {"classifier": None if classifier == "svm" else classifier}


def _recipe(recipe: Recipe) -> dict[str, object]:
    return {
        "engine": recipe.engine,
        "lr": rate_text(recipe.learning_rate),
        "warmup": None if recipe.warmup == Recipe.warmup else number_text(recipe.warmup),
        "epochs": recipe.epochs,
    }
