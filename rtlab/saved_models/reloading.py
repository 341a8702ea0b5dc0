"""Whether a saved model is the model that was trained: loaded as its user would, it gives the run's own logits.

Plain transformers and plain PEFT load it, without anything of ours, so that whatever was trained and not saved, or
saved and not found again, shows. What is held against it are the logits that the run's record keeps.

Shapes: S sentences, C classes, D width.
"""

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import plan_by_length
from rtlab.encoders import ONLY_ASKED_FOR, Encoder
from rtlab.encoders.built_in import in_this_thread, quiet
from rtlab.engines import contrastive, linear, words
from rtlab.engines.agreement import TOLERANCE, allowed, disagreement, spread
from rtlab.engines.linear import Linear
from rtlab.engines.reading import PADDED_BATCH
from rtlab.engines.svm import CLASSIFIER
from rtlab.engines.tfidf import Tfidf
from rtlab.environment import set_precision
from rtlab.experiment import Experiment, Precision
from rtlab.methods import Adapter, Contrastive, Svm
from rtlab.preparing import Prepared
from rtlab.tokens import token_lists
from rtlab.values import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# How an adapter's encoder is loaded, here and in the README.md beside the adapter: as it was for training, whatever its
# own weights are stored in, under a head of the data's classes, which the adapter then replaces by its own.
BASE: dict[str, object] = {"dtype": "float32", "ignore_mismatched_sizes": True}


class SavedModelError(RuntimeError):
    """What was saved is not what was trained."""


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """A saved model, loaded by plain libraries.

    Attributes:
        model: A classifier; under a linear classifier the encoder without a head.
        tokenizer: The one that was saved with it, or the encoder's.
        experiment: What it was trained by.
        head: The linear classifier of an encoder's features.
        tfidf: The words that stand before its features, where there are such.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"
    experiment: Experiment
    head: Linear | None = None
    tfidf: Tfidf | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names that a classifier has for its classes."""
        return tuple(map(str, self.model.config.id2label.values()))

    def logits(self, batches: Sequence[Sequence[str]], precision: Precision) -> NDArray[np.float32]:
        """Logits of sentences, (S, C), those of a batch padded together."""
        import torch

        device = self.model.device
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        set_precision(precision, device)
        try:
            with torch.inference_mode(), autocast:
                return np.concatenate([self._logits(batch) for batch in batches])
        finally:
            set_precision(self.experiment.precision, device)

    def _logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        longest, method = self.experiment.max_length, self.experiment.method
        fixed = method.recipe is not None and method.recipe.padding == "fixed"
        padding = ("max_length" if fixed else "longest") if len(texts) > 1 else "do_not_pad"
        inputs = self.tokenizer(
            list(texts), truncation=True, max_length=longest, padding=padding, return_tensors="pt"
        ).to(self.model.device)
        output = self.model(**inputs, return_dict=True)
        if self.head is None:
            return np.asarray(output.logits.float().cpu())
        hidden_SLD, mask_SL1 = output.last_hidden_state.float(), inputs["attention_mask"][..., None]
        mean = method.reads == "mean"
        features_SD = (hidden_SLD * mask_SL1).sum(1) / mask_SL1.sum(1) if mean else hidden_SLD[:, 0]
        found_SD = np.asarray(features_SD.cpu())
        return self.head.logits(found_SD if self.tfidf is None else self.tfidf.beside(texts, found_SD))


def load_saved(
    folder: Path, experiment: Experiment, encoder: Encoder, label_names: Sequence[str], device: "torch.device"
) -> Reloaded:
    """What plain transformers or PEFT reads from a folder; no generator of random numbers is moved.

    Args:
        folder: Where a model was saved.
        experiment: What it was trained by.
        encoder: What was adapted.
        label_names: Names of the classes, which an adapter's files do not hold.
        device: Where to compute.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    where = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    head, tfidf, home = None, None, folder
    with quiet(), in_this_thread(), _other_draws(experiment.seed + 1, device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they are about shows in the logits
        match experiment.method:
            case Svm(with_words=with_words):
                model = AutoModel.from_pretrained(encoder.path, dtype=BASE["dtype"], **plainly(encoder), **where)
                home = encoder.path
                head = linear.load(folder / CLASSIFIER)
                tfidf = Tfidf.load(folder) if with_words else None
            case Contrastive():
                model = AutoModel.from_pretrained(folder, **where)
                head = linear.load(folder / contrastive.CLASSIFIER)
            case Adapter():
                from peft import PeftModel

                how = classes(label_names) | BASE | plainly(encoder)
                base = AutoModelForSequenceClassification.from_pretrained(encoder.path, **how, **where)
                model = PeftModel.from_pretrained(base, str(folder), local_files_only=True)
            case _:
                model = AutoModelForSequenceClassification.from_pretrained(folder, **where)
        tokenizer = AutoTokenizer.from_pretrained(home, local_files_only=True, trust_remote_code=False)
    return Reloaded(model=model.to(device).eval(), tokenizer=tokenizer, experiment=experiment, head=head, tfidf=tfidf)


def plainly(encoder: Encoder) -> dict[str, object]:
    """What an encoder's own configuration asks for besides a result, or in another form, and is not to have here."""
    stored = json.loads((encoder.path / "config.json").read_bytes())
    return {name: usual for name, usual in ONLY_ASKED_FOR.items() if stored.get(name, usual) != usual}


def classes(label_names: Sequence[str]) -> dict[str, object]:
    """How transformers is told the names of the classes, and so their number."""
    return {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
    }


def check_saved(folder: Path, prepared: Prepared, logits_NC: NDArray[np.float32]) -> None:
    """Load a saved model again, and compare its logits of a few validation sentences with the run's.

    Args:
        folder: Where it was saved.
        prepared: The run.
        logits_NC: The run's logits of the validation split.

    Raises:
        SavedModelError: If the model cannot be loaded, knows other label names, or gives other logits.
    """
    label_names, texts = prepared.splits.label_names, prepared.splits.validation.texts
    try:
        if prepared.encoder is None or prepared.device is None:
            _check_words(folder, texts, logits_NC)
            return
        found = load_saved(folder, prepared.experiment, prepared.encoder, label_names, prepared.device)
        if found.head is None and found.label_names != label_names:
            raise SavedModelError(f"its classes are called {', '.join(found.label_names)}")
        _check_logits(found, texts, logits_NC)
    except SavedModelError as error:
        raise SavedModelError(one_line(f"the saved model is not the trained one: {error}")) from None
    except Exception as error:  # whatever the libraries raise
        raise SavedModelError(one_line(f"the saved model cannot be loaded: {type(error).__name__}: {error}")) from error


def _check_words(folder: Path, texts: Sequence[str], logits_NC: NDArray[np.float32]) -> None:
    found = words.load(folder)
    found_NC = found.classifier.logits(found.tfidf.features(texts))
    if (said := disagreement(found_NC, logits_NC, TOLERANCE["fp32"])) is not None:
        raise SavedModelError(said)


def _check_logits(found: Reloaded, texts: Sequence[str], logits_NC: NDArray[np.float32]) -> None:
    rows_S = spread(np.asarray([len(text) for text in texts]))
    said = _apart(found, texts, [row[None] for row in rows_S], logits_NC)
    # With some architectures padding moves logits a little, as it should not: then the batch that the run made decides.
    if said is not None and _apart(found, texts, [_padded_together(found, texts)], logits_NC) is not None:
        raise SavedModelError(said)


def _apart(
    found: Reloaded, texts: Sequence[str], batches: Sequence[NDArray[np.int64]], logits_NC: NDArray[np.float32]
) -> str | None:
    precision = found.experiment.precision
    sentences = [[texts[row] for row in rows] for rows in batches]
    found_SC = found.logits(sentences, precision)
    in_fp32_SC = found_SC if precision == "fp32" else found.logits(sentences, "fp32")
    most = allowed(found_SC, in_fp32_SC, precision, least=TOLERANCE["fp32"])
    return disagreement(found_SC, logits_NC[np.concatenate(batches)], most)


def _padded_together(found: Reloaded, texts: Sequence[str]) -> NDArray[np.int64]:
    """A batch of sentences that the run evaluated together."""
    experiment = found.experiment
    if (recipe := experiment.method.recipe) is not None:
        return np.arange(min(len(texts), recipe.batch_size))
    lengths_N = np.asarray([len(ids) for ids in token_lists(texts, found.tokenizer, experiment.max_length)])
    return plan_by_length(lengths_N, batch_size=PADDED_BATCH).batches[0]


@contextlib.contextmanager
def _other_draws(seed: int, device: "torch.device") -> Iterator[None]:
    """Draws from another seed than the run's, so that what was trained and not saved cannot come out the same."""
    import torch

    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield
