"""Words alone: TF-IDF and a linear classifier, in seconds and without an encoder; what all else has to beat."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.data import Splits
from rtlab.engines import linear
from rtlab.engines.engine import Training
from rtlab.engines.linear import Linear, Rows
from rtlab.engines.tfidf import Tfidf
from rtlab.environment import Stopwatch
from rtlab.methods import Words
from rtlab.records import Counts, HeldOut

CLASSIFIER = "classifier.safetensors"


class WordsEngine:
    """Fits a linear classifier on TF-IDF, on the CPU and without torch.

    Args:
        method: What to fit.
        splits: Sentences and labels.
        seed: Of the solver.
        watch: Takes the seconds of the phases.
    """

    def __init__(self, method: Words, splits: Splits, *, seed: int, watch: Stopwatch) -> None:
        self._method, self._seed, self._watch = method, seed, watch
        self._label_names, self._train = splits.label_names, splits.train
        self._labels = {name: np.asarray(split.labels, dtype=np.int64) for name, split in splits.items()}
        with watch.phase("load"):
            linear.import_scikit_learn()
        with watch.phase("prepare"):
            self._tfidf = Tfidf(splits.train.texts, characters=method.characters)
            self._features = {name: self._tfidf.features(split.texts) for name, split in splits.items()}

    def train(self) -> Training:
        """Fit, for each C that there is to choose from; see `rtlab.engines.engine.Engine`."""
        train_NT = self._features["train"]
        self._say_unknown()
        candidates = [(c,) for c in linear.candidates(self._method.c)]
        with self._watch.phase("train"):
            (c,), self._model = linear.best(candidates, self._fitted, lambda: train_NT, self._train)
        return Training(
            counts=Counts(
                parameters_total=self._model.parameters,
                parameters_encoder=0,
                parameters_adapter=0,
                parameters_head=self._model.parameters,
                steps=None,
                samples=train_NT.shape[0],
                real_tokens=int(train_NT.nnz),
                padding_tokens=0,
            ),
            chosen={"c": c},
            strongest=self._tfidf.strongest(self._model.coef_CD, self._label_names),
        )

    def _say_unknown(self) -> None:
        """Warn where most sentences to be labelled hold no term of train: they all get the same label."""
        held_out_NT = self._features["validation"]
        unknown = int((np.diff(held_out_NT.indptr) == 0).sum())
        if 2 * unknown > held_out_NT.shape[0]:
            would_do = "" if self._method.characters else "; terms of characters (--characters) may do"
            warnings.warn(
                f"{unknown:,} of {held_out_NT.shape[0]:,} sentences of validation hold no term of train, so they "
                f"all get one label{would_do}",
                stacklevel=2,
            )

    def _fitted(self, rows: Rows, c: float) -> Linear:
        return linear.fit(
            self._features["train"][rows],
            self._labels["train"][rows],
            classifier=self._method.classifier,
            c=c,
            seed=self._seed,
        )

    def evaluate(self, split: HeldOut) -> NDArray[np.float32]:
        """Logits of a split; see `rtlab.engines.engine.Engine`."""
        with self._watch.phase("evaluate"):
            return self._model.logits(self._features[split])

    def save(self, folder: Path) -> None:
        """Write terms, their weights and the classifier; see `rtlab.engines.engine.Engine`."""
        temperature = linear.temperature(
            self._method.classifier, self.evaluate("validation"), self._labels["validation"]
        )
        self._tfidf.save(folder)
        linear.save(folder / CLASSIFIER, replace(self._model, temperature=temperature))


@dataclass(frozen=True, kw_only=True)
class WordsClassifier:
    """What `WordsEngine` saved.

    Attributes:
        tfidf: The terms that it knows.
        classifier: What they say.
    """

    tfidf: Tfidf
    classifier: Linear


def load(folder: Path) -> WordsClassifier:
    """Read it.

    Raises:
        ValueError: If the files hold anything else.
    """
    return WordsClassifier(tfidf=Tfidf.load(folder), classifier=linear.load(folder / CLASSIFIER))
