"""rtlab: how to adapt a small pretrained encoder to your sentences, and what each choice costs and buys.

    import rtlab

    recipe = rtlab.Recipe(engine="native", learning_rate=1e-3, epochs=1)
    experiment = rtlab.Experiment(encoder="minilm", dataset="corpus", method=rtlab.Adapter(recipe=recipe))
    record = rtlab.run(experiment)
    record.scores["test"].accuracy, record.timing.samples_per_s

Names are loaded when they are first used, so that `import rtlab` costs nothing and imports no torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtlab.choice import Choice
    from rtlab.choosing import choose
    from rtlab.data import Splits, load_splits
    from rtlab.encoders import Encoder, load_encoder
    from rtlab.experiment import Experiment
    from rtlab.exploring import explore
    from rtlab.methods import Adapter, Contrastive, Full, Svm, Words
    from rtlab.probing import probe
    from rtlab.recipe import Recipe
    from rtlab.records import RunRecord, load_records
    from rtlab.reporting.frame import frame
    from rtlab.running import Run, RunFailedError, run
    from rtlab.saved_models.evaluating import evaluate
    from rtlab.saved_models.merging import merge
    from rtlab.saved_models.predicting import predict
    from rtlab.tokenizing import tokenize

_HOMES = {
    "Adapter": "methods",
    "Choice": "choice",
    "Contrastive": "methods",
    "Encoder": "encoders",
    "DatasetOptions": "experiment",
    "Experiment": "experiment",
    "Full": "methods",
    "Recipe": "recipe",
    "Run": "running",
    "RunFailedError": "running",
    "RunRecord": "records",
    "Splits": "data",
    "Svm": "methods",
    "Words": "methods",
    "choose": "choosing",
    "evaluate": "saved_models.evaluating",
    "explore": "exploring",
    "frame": "reporting.frame",
    "load_encoder": "encoders",
    "load_records": "records",
    "load_splits": "data",
    "merge": "saved_models.merging",
    "predict": "saved_models.predicting",
    "probe": "probing",
    "run": "running",
    "tokenize": "tokenizing",
}

__all__ = [
    "Adapter",
    "Choice",
    "Contrastive",
    "DatasetOptions",
    "Encoder",
    "Experiment",
    "Full",
    "Recipe",
    "Run",
    "RunFailedError",
    "RunRecord",
    "Splits",
    "Svm",
    "Words",
    "choose",
    "evaluate",
    "explore",
    "frame",
    "load_encoder",
    "load_records",
    "load_splits",
    "merge",
    "predict",
    "probe",
    "run",
    "tokenize",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("rtlab")
    if name not in _HOMES:
        raise AttributeError(f"module 'rtlab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rtlab.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
