"""A saved model, loaded to label sentences: every weight of it was read, or it is refused.

transformers and PEFT draw what a checkpoint lacks at random and go on. Here what they read is compared with what the
model needs, so a damaged, mixed or foreign folder is an error of one line, and never a label.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtlab import environment
from rtlab.cycles import not_sought
from rtlab.encoders import Encoder, load_encoder
from rtlab.engines import contrastive, linear, svm, tfidf, words
from rtlab.engines.engine import out_of_memory
from rtlab.engines.linear import Linear
from rtlab.engines.reading import read, readable
from rtlab.engines.tfidf import Tfidf
from rtlab.engines.words import WordsClassifier
from rtlab.experiment import Precision
from rtlab.methods import Adapter, Contrastive, Full, Method, Svm, Words
from rtlab.saved_models import adapters
from rtlab.saved_models.adapters import open_adapter
from rtlab.saved_models.description import Description, read_description
from rtlab.saved_models.long_texts import cut
from rtlab.soundness import check_sentences
from rtlab.tokens import token_arrays
from rtlab.values import one_line, shown

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class EncoderModel:
    """A saved model that reads an encoder, on its device.

    Attributes:
        description: How it was made, and the names of its classes.
        encoder: What it was made from; of a model whose own weights were all trained the checkpoint itself.
        model: The classifier, or the encoder alone under a linear classifier of its features.
        head: That classifier.
        tfidf: The words that stand before its features, where there are such.
        precision: What it computes in: as it was trained, or fp32 where the device has no tf32.
    """

    description: Description
    encoder: Encoder
    model: "PreTrainedModel"
    head: Linear | None
    tfidf: Tfidf | None
    precision: Precision

    def logits(self, sentences: Sequence[str]) -> NDArray[np.float64]:
        """One score per class of N sentences, (N, C), of which softmax makes probabilities.

        Raises:
            ValueError: If the encoder cannot take a sentence.
        """
        experiment = self.description.experiment
        tokenizer, max_length, reads = self.encoder.tokenizer, experiment.max_length, experiment.method.reads
        assert reads is not None, "it reads an encoder"
        texts = [cut(text, tokenizer, max_length) for text in sentences]
        check_sentences(self.encoder, texts, max_length, option="sentences")
        tokens = token_arrays(texts, tokenizer, max_length)
        read_NC, _ = read(self.model, tokens, self.encoder, what=reads, precision=self.precision)
        if self.head is None:
            return read_NC.astype(np.float64) / self.description.temperature
        return self.head.calibrated(read_NC if self.tfidf is None else self.tfidf.beside(sentences, read_NC))


@dataclass(frozen=True, kw_only=True)
class WordsModel:
    """A saved model of words alone.

    Attributes:
        description: How it was made, and the names of its classes.
        words: What it knows.
    """

    description: Description
    words: WordsClassifier

    def logits(self, sentences: Sequence[str]) -> NDArray[np.float64]:
        """One score per class of N sentences, (N, C), of which softmax makes probabilities."""
        return self.words.classifier.calibrated(self.words.tfidf.features(sentences))


LoadedModel: TypeAlias = EncoderModel | WordsModel


@not_sought()
def load_model(model_dir: Path | str, *, device: str | None = None) -> LoadedModel:
    """Load what `rtlab` saved.

    Args:
        model_dir: The directory: of a fine-tuned encoder, an adapter, an SVM, or words.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Raises:
        ValueError: If the directory holds no such model, is damaged or mixed from two, or its encoder is gone or
            another than it was trained on; one line.
    """
    folder = Path(model_dir)
    description = read_description(folder)
    _check_parts(folder, description.experiment.method)
    if description.experiment.method.reads is None:
        if device is not None:
            environment.find_device(device)  # it computes on no device, but one that is not there is no answer
        with _opening(folder):
            return WordsModel(description=description, words=_checked(folder, description))
    return _with_encoder(folder, description, device)


def _with_encoder(folder: Path, description: Description, device: str | None) -> EncoderModel:
    where = environment.find_device(device)
    asked = description.experiment.precision
    precision: Precision = "fp32" if asked == "tf32" and where.type == "cpu" else asked  # of the two the more exact
    environment.set_precision(precision, where)
    method = description.experiment.method
    assert method.reads is not None, "it reads an encoder"
    with _opening(folder):
        encoder = encoder_of(folder, description)
        tfidf = Tfidf.load(folder) if isinstance(method, Svm) and method.with_words else None
        head = None if method.reads == "logits" else _head(folder, description, encoder, tfidf)
        model = readable(_model(folder, description, encoder).to(where), encoder, method.reads)
    return EncoderModel(
        description=description, encoder=encoder, model=model, head=head, tfidf=tfidf, precision=precision
    )


def _check_parts(folder: Path, method: Method) -> None:
    """What a folder must hold, and what transformers would take an adapter from unasked."""
    match method:
        case Words():
            needed = [*tfidf.FILES, words.CLASSIFIER]
        case Svm(with_words=with_words):
            needed = [svm.CLASSIFIER, *(tfidf.FILES if with_words else ())]
        case Contrastive():
            needed = [contrastive.CLASSIFIER]
        case Adapter():
            needed = [*adapters.FILES]
        case _:
            needed = []
    if not isinstance(method, Adapter) and (folder / adapters.CONFIG).exists():
        raise ValueError(
            f"model {folder} is no adapter, and yet holds {adapters.CONFIG}; move that away, or train again"
        )
    for name in needed:
        if not (folder / name).is_file():
            raise ValueError(f"model must hold {name}, as rtlab saves it; got {folder}, without it")


@contextlib.contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Say in one line what transformers, PEFT and safetensors raise: whatever their parsers do."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        said = one_line(str(error)) or type(error).__name__
        if isinstance(error, ValueError):  # it says what would do
            raise ValueError(
                said if said.startswith("model ") else f"model {folder} cannot be loaded: {said}"
            ) from error
        raise ValueError(f"model {folder} cannot be loaded ({said}); a whole copy of it would do") from error


def encoder_of(folder: Path, description: Description) -> Encoder:
    """The encoder that a saved model needs.

    Raises:
        ValueError: If it is gone, or another than the model was trained on.
    """
    # A checkpoint of all weights is complete in itself; adapters and SVMs need the encoder that they came from.
    if isinstance(description.experiment.method, Full | Contrastive):
        return load_encoder(str(folder.resolve()))
    assert description.encoder is not None, "a model that reads an encoder names it"
    encoder = load_encoder(description.encoder)
    if encoder.sha256 != description.encoder_sha256:
        raise ValueError(
            f"model {folder} was trained on encoder {description.encoder} with digest "
            f"{(description.encoder_sha256 or '')[:12]}; got one with {encoder.sha256[:12]}: restore the former, "
            "or train again"
        )
    return encoder


def _model(folder: Path, description: Description, encoder: Encoder) -> "PreTrainedModel":
    match description.experiment.method:
        case Adapter() as method:
            return open_adapter(folder, method, encoder, description.label_names)
        case Full():
            return _fine_tuned(folder, description, encoder)
        case _:
            return encoder.base()


def _fine_tuned(folder: Path, description: Description, encoder: Encoder) -> "PreTrainedModel":
    names = tuple(str(name) for _, name in sorted(encoder.config.id2label.items()))
    if names != description.label_names:
        raise ValueError(
            f"model {folder} is mixed from two: its config.json names the classes {shown(list(names))}, its "
            f"rtlab.json {shown(list(description.label_names))}"
        )
    return encoder.saved_classifier(description.label_names)


def _checked(folder: Path, description: Description) -> WordsClassifier:
    found = words.load(folder)
    _check_terms(folder, description, found.tfidf)
    _check_linear(folder, description, found.classifier, len(found.tfidf.terms), "terms")
    return found


def _head(folder: Path, description: Description, encoder: Encoder, tfidf: Tfidf | None) -> Linear:
    file = contrastive.CLASSIFIER if isinstance(description.experiment.method, Contrastive) else svm.CLASSIFIER
    found, features = linear.load(folder / file), int(encoder.config.hidden_size)
    if tfidf is not None:
        _check_terms(folder, description, tfidf)
    terms = 0 if tfidf is None else len(tfidf.terms)
    _check_linear(folder, description, found, features + terms, f"features of encoder {encoder.name}")
    return found


def _check_terms(folder: Path, description: Description, found: Tfidf) -> None:
    method = description.experiment.method
    if found.characters != (isinstance(method, Words) and method.characters):
        counts = "characters" if found.characters else "words"
        raise ValueError(f"model {folder} is mixed from two: its words.json counts {counts}, its rtlab.json does not")


def _check_linear(folder: Path, description: Description, found: Linear, features: int, what: str) -> None:
    classes = len(description.label_names)
    rows = 1 if classes == 2 else classes
    if found.coef_CD.shape != (rows, features) or found.intercept_C.shape != (rows,):
        raise ValueError(
            f"model {folder} has a linear classifier of shape {found.coef_CD.shape}; {classes} classes on {features} "
            f"{what} take {(rows, features)}"
        )
    if not 0 < found.temperature < np.inf:
        raise ValueError(
            f"model {folder} has a linear classifier of temperature {found.temperature}; it must be above 0, and finite"
        )
    if not (np.isfinite(found.coef_CD).all() and np.isfinite(found.intercept_C).all()):
        raise ValueError(f"model {folder} must hold finite weights; got NaN or infinity in its classifier; train again")
