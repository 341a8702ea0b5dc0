"""A linear classifier on features of the frozen encoder, and of the sentence's words beside them where asked for.

The cheapest way to adapt an encoder, and the baseline for the others. Features are extracted without gradients
(`rtlab.engines.reading`), and without padding where the encoder can be packed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.batches import PaddingCost
from rtlab.engines import linear
from rtlab.engines.engine import Task, Training
from rtlab.engines.features import KnownFeatures
from rtlab.engines.linear import Features, Linear, Rows
from rtlab.engines.reading import read, readable
from rtlab.engines.tfidf import Tfidf
from rtlab.environment import seed_everything
from rtlab.methods import Svm
from rtlab.records import Counts, HeldOut
from rtlab.tokens import Tokens, token_arrays, tokenize

CLASSIFIER = "svm.safetensors"
SHARES = (0.25, 0.5, 0.75)  # of words in a sentence's squared length, where they stand beside features


class SvmEngine:
    """Fits a linear classifier on the encoder's features; the encoder runs on the device, the fit on the CPU.

    Args:
        task: Of method `Svm`.
        known: Features that need not be read again; their seconds count as if they were.
    """

    def __init__(self, task: Task, known: KnownFeatures | None = None) -> None:
        experiment, method = task.experiment, task.experiment.method
        assert isinstance(method, Svm), "the other methods are trained in steps"
        self._task, self._method, self._known, self._known_s = task, method, known, 0.0
        with task.watch.phase("load"):
            linear.import_scikit_learn()
        with task.watch.phase("prepare"):
            self._tokens = tokenize(task.splits, task.encoder.tokenizer, max_length=experiment.max_length)
            self._tfidf = Tfidf(task.splits.train.texts, characters=False) if method.with_words else None
        seed_everything(experiment.seed)
        with task.watch.phase("load"):
            self._model = readable(task.encoder.base().to(task.device), task.encoder, method.pooling)
        self._features: dict[str, NDArray[np.float32]] = {}
        self._joined: dict[str, Features] = {}
        self._costs: dict[str, PaddingCost] = {}

    def train(self) -> Training:
        """Extract the features of the training split and fit; see `rtlab.engines.engine.Engine`."""
        method, tokens = self._method, self._tokens.train
        shares = (0.0,) if self._tfidf is None else SHARES
        with self._task.watch.phase("train"):
            squared_length = 1.0 if method.with_words else self._squared_length
            candidates = list(product(linear.candidates(method.c, squared_length), shares))
            (c, share), self._classifier = linear.best(
                candidates,
                self._fitted,
                lambda: self._both("train"),
                self._task.splits.train,
                lambda done, of: self._task.progress("fits to choose among", done, of),
            )
        self._count_known("train")
        head, cost = self._classifier.parameters, self._costs["train"]
        chosen = ({"c": c} if method.c is None else {}) | ({"words_share": share} if method.with_words else {})
        return Training(
            counts=Counts(
                parameters_total=sum(p.numel() for p in self._model.parameters()) + head,
                parameters_encoder=0,
                parameters_adapter=0,
                parameters_head=head,
                steps=None,
                samples=len(tokens),
                real_tokens=cost.real_tokens,
                padding_tokens=cost.padding_tokens,
            ),
            chosen=chosen,
            strongest=self._strongest(),
        )

    def evaluate(self, split: HeldOut) -> NDArray[np.float32]:
        """Logits of a split; see `rtlab.engines.engine.Engine`."""
        with self._task.watch.phase("evaluate"):
            logits_NC = self._classifier.logits(self._both(split))
        self._count_known("evaluate")
        return logits_NC

    def save(self, folder: Path) -> None:
        """Write the classifier, and what words it knows; see `rtlab.engines.engine.Engine`."""
        labels_N = self._tokens.validation.labels
        temperature = linear.temperature(self._method.classifier, self.evaluate("validation"), labels_N)
        linear.save(folder / CLASSIFIER, replace(self._classifier, temperature=temperature))
        if self._tfidf is not None:
            self._tfidf.save(folder)

    def _fitted(self, rows: Rows, c: float, share: float) -> Linear:
        """A classifier of `_both`'s features, fitted with a scale of each that is in the coefficients then."""
        train_ND, scale_D = self._both("train")[rows], self._scale(share)
        found = linear.fit(
            train_ND if scale_D is None else linear.scaled(train_ND, scale_D),
            self._tokens.train.labels[rows],
            classifier=self._method.classifier,
            c=c,
            seed=self._task.experiment.seed,
        )
        return found if scale_D is None else replace(found, coef_CD=found.coef_CD * scale_D)

    def _strongest(self) -> Mapping[str, tuple[str, ...]]:
        if self._tfidf is None:
            return {}
        return self._tfidf.strongest(self._classifier.coef_CD, self._task.splits.label_names)

    def _scale(self, share: float) -> NDArray[np.float64] | None:
        """A factor for each feature, (D,), so that words have this share of a sentence's mean squared length."""
        if self._tfidf is None:
            return None
        of_words, of_encoder = np.sqrt(share), np.sqrt((1 - share) / (self._squared_length or 1.0))
        return np.repeat([of_words, of_encoder], [len(self._tfidf.terms), self._extract("train").shape[1]])

    @cached_property
    def _squared_length(self) -> float:
        """Of the encoder's features of a training sentence, the mean."""
        return float((self._extract("train").astype(np.float64) ** 2).sum(axis=1).mean())

    def _both(self, split: str) -> Features:
        """TF-IDF of a split's sentences, where it is asked for, and the encoder's features behind it."""
        if self._tfidf is None:
            return self._extract(split)
        if split not in self._joined:
            texts = getattr(self._task.splits, split).texts
            self._joined[split] = self._tfidf.beside(texts, self._extract(split))
        return self._joined[split]

    def _extract(self, split: str) -> NDArray[np.float32]:
        if split not in self._features:
            tokens: Tokens = getattr(self._tokens, split)
            if self._known is None:
                self._features[split], self._costs[split] = self._read(split, tokens)
            else:
                texts = getattr(self._task.splits, split).texts
                found = self._known.of(texts, self._method.reads, partial(self._read_some, split))
                self._features[split], self._known_s = found.features, self._known_s + found.known_s
                self._costs[split] = PaddingCost(
                    real_tokens=int(tokens.lengths.sum()), padding_tokens=found.padding_tokens
                )
        return self._features[split]

    def _read_some(self, split: str, texts: Sequence[str]) -> tuple[NDArray[np.float32], PaddingCost]:
        task = self._task
        return self._read(split, token_arrays(texts, task.encoder.tokenizer, task.experiment.max_length))

    def _read(self, split: str, tokens: Tokens) -> tuple[NDArray[np.float32], PaddingCost]:
        return read(
            self._model,
            tokens,
            self._task.encoder,
            what=self._method.reads,
            precision=self._task.experiment.precision,
            progress=lambda done, of: self._task.progress(f"features of {split}", done, of),
        )

    def _count_known(self, phase: str) -> None:
        """Count what was known to a phase that has ended, as if it had been read in it."""
        self._task.watch.seconds[phase] += self._known_s
        self._known_s = 0.0
