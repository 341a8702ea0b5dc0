"""The README.md beside a saved model: what it is, what it was trained on, its classes, and the lines that load it.

Names come from people's data, so they stand in code alone, where markdown gives no sign a meaning. No folder is named,
since a model travels, and a README is read by others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from rtlab.encoders import Encoder
from rtlab.encoders.built_in import BUILT_IN
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Contrastive, Svm, Words
from rtlab.records import RunRecord
from rtlab.saved_models.reloading import BASE, classes, plainly
from rtlab.values import one_line

CARD = "README.md"

_OURS = """\
import rtlab

predictions = rtlab.predict(".", ["never dull ."])"""
_WHOLE = """\
from transformers import pipeline

classify = pipeline("text-classification", ".", truncation=True, max_length={max_length})
answers = classify(["never dull ."])"""
_ADAPTER = """\
from peft import {peft}
from transformers import AutoModelForSequenceClassification, AutoTokenizer

base = AutoModelForSequenceClassification.from_pretrained({encoder}, {arguments})
model = PeftModel.from_pretrained(base, ".")
tokenizer = AutoTokenizer.from_pretrained(".")"""
_DIRECTORY = 'PeftConfig.from_pretrained(".").base_model_name_or_path'
_ELSEWHERE = """\
The encoder's directory is the one that `adapter_config.json` names, on the machine that trained the adapter. Elsewhere,
put its directory there in place of it{built_in}.
`rtlab merge` makes one checkpoint of both, which needs no such thing.
"""


def run_facts(record: RunRecord) -> dict[str, str]:
    """What a card says of the run that trained the model."""
    return {
        "data set": f"{record.dataset.name} (sha256 {record.dataset.sha256[:8]})",
        **{split: f"accuracy {found.accuracy:.4f}, F1 {found.f1:.4f}" for split, found in record.scores.items()},
        "run": record.id,
    }


def model_card(
    experiment: Experiment,
    encoder: Encoder | None,
    label_names: Sequence[str],
    facts: Mapping[str, str],
    *,
    merged: bool = False,
) -> str:
    """The text of a README.md.

    Args:
        experiment: What trained the model.
        encoder: What was adapted; `None` of words alone.
        label_names: Names of the classes.
        facts: What else there is to say, a name for each.
        merged: Whether an adapter was merged into its encoder since.
    """
    alone = isinstance(experiment.method, Adapter) and not merged
    every = {
        **({} if encoder is None else {"encoder": f"{encoder.name} (sha256 {encoder.sha256[:8]})"}),
        "classes": ", ".join(map(repr, label_names)),
        **({} if encoder is None else {"sentences": f"cut to {experiment.max_length} tokens"}),
        **facts,
    }
    width = max(map(len, every)) + 2
    parts = (
        *_metadata(encoder, alone=alone, whole=experiment.method.reads == "logits"),
        f"\n# {title(experiment, merged=merged)}\n\nMade by rtlab.\n",
        *(f"    {name:{width}}{one_line(fact)}" for name, fact in every.items()),
        "",
        loading(experiment, encoder if alone else None, label_names),
    )
    return "\n".join(parts)


def loading(experiment: Experiment, encoder: Encoder | None, label_names: Sequence[str]) -> str:
    """The lines that load a model, and label with it, with what they need to be said of them.

    Args:
        experiment: What trained it.
        encoder: What an adapter lies apart from; `None` of a model that is whole, or that plain libraries do not load.
        label_names: Names of the classes.
    """
    parts = (
        "In Python, in this folder, or with its path in place of `.`:\n",
        f"```python\n{_code(experiment, encoder, label_names)}\n```\n",
        *([_elsewhere(encoder)] if encoder is not None and encoder.revision is None else []),
        'On the command line: `rtlab predict --model . "never dull ."`\n',
    )
    return "\n".join(parts)


def title(experiment: Experiment, *, merged: bool = False) -> str:
    """What a model is, in a few words."""
    match experiment.method:
        case Adapter(peft_type=kind):
            return f"An adapter of kind {kind}, {'merged into its encoder' if merged else 'without its encoder'}"
        case Words() | Svm() as method:
            return f"A linear classifier: {method.setup}"
        case Contrastive():
            return "A contrastively fine-tuned encoder, and a linear classifier on its features"
        case _:
            return "A fine-tuned encoder"


def _metadata(encoder: Encoder | None, *, alone: bool, whole: bool) -> Iterator[str]:
    """What the hub reads of a card: a model that is no whole classifier of transformers' is not to be loaded as one."""
    library = "scikit-learn" if encoder is None else "peft" if alone else "transformers" if whole else "rtlab"
    yield f"---\nlibrary_name: {library}\npipeline_tag: text-classification"
    if encoder is not None and encoder.revision is not None:
        yield f"base_model: {json.dumps(encoder.name)}"
    yield "---"


def _code(experiment: Experiment, encoder: Encoder | None, label_names: Sequence[str]) -> str:
    if experiment.method.reads != "logits":
        return _OURS
    if encoder is None:
        return _WHOLE.format(max_length=experiment.max_length)
    arguments: dict[str, object] = {**classes(label_names), **BASE, **plainly(encoder)}
    if encoder.revision is not None:
        arguments = {"revision": encoder.revision, **arguments}
    return _ADAPTER.format(
        peft="PeftModel" if encoder.revision is not None else "PeftConfig, PeftModel",
        encoder=_DIRECTORY if encoder.revision is None else repr(encoder.name),
        arguments=", ".join(f"{name}={value!r}" for name, value in arguments.items()),
    )


def _elsewhere(encoder: Encoder) -> str:
    built_in = f': `rtlab.load_encoder("{encoder.name}").path`' if encoder.source in BUILT_IN else ""
    return _ELSEWHERE.format(built_in=built_in)
