"""TF-IDF of a sentence's terms: words and pairs of words, or characters within words; saved without pickle.

Shapes: N sentences, T terms.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.values import Json, shown

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

FILES = TERMS, WEIGHTS = "words.json", "words.safetensors"
STRONGEST = 20  # terms of a class that a record names


class Tfidf:
    """scikit-learn's TF-IDF: sublinear counts, rows of length 1.

    Args:
        texts: Sentences that terms and their weights are taken from.
        characters: Whether terms are 2 to 5 characters within words, in place of words and pairs of words.
    """

    def __init__(self, texts: Sequence[str], *, characters: bool) -> None:
        self.characters = characters
        self._vectorizer = _vectorizer(characters=characters).fit(texts)

    @property
    def terms(self) -> list[str]:
        """The T terms, in the order of the columns."""
        return [str(term) for term in self._vectorizer.get_feature_names_out()]

    def features(self, texts: Sequence[str]) -> "csr_matrix":
        """TF-IDF of sentences, (N, T) fp64; a sentence of unknown terms is a row of zeros."""
        from scipy.sparse import csr_matrix

        return csr_matrix(self._vectorizer.transform(texts))

    def beside(self, texts: Sequence[str], features_ND: NDArray[np.float32]) -> "csr_matrix":
        """TF-IDF of N sentences and other features behind it, (N, T + D)."""
        from scipy.sparse import csr_matrix, hstack

        return csr_matrix(hstack([self.features(texts), csr_matrix(features_ND)]))

    def strongest(self, coef_CD: NDArray[np.float64], label_names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Of each of C classes the terms that speak for it most, the strongest first.

        Args:
            coef_CD: Coefficients of a linear classifier, (C, D) or of two classes (1, D), the terms' before others.
            label_names: Names of the classes.
        """
        terms = self.terms
        coef_CT = coef_CD[:, : len(terms)]
        if len(coef_CT) == 1:
            coef_CT = np.concatenate([-coef_CT, coef_CT])
        return {
            name: tuple(terms[row] for row in np.argsort(-coef_T, kind="stable")[:STRONGEST] if coef_T[row] > 0)
            for name, coef_T in zip(label_names, coef_CT, strict=True)
        }

    def save(self, folder: Path) -> None:
        """Write terms (JSON) and their weights (safetensors) into `folder`."""
        from safetensors.numpy import save_file

        terms: Json = {"characters": self.characters, "terms": self.terms}
        (folder / TERMS).write_text(json.dumps(terms, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file({"idf": np.ascontiguousarray(self._vectorizer.idf_)}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> "Tfidf":
        """Read what `save` wrote.

        Raises:
            ValueError: If the files hold anything else.
        """
        from safetensors.numpy import load_file

        said: Json = json.loads((folder / TERMS).read_bytes())
        if not isinstance(said, dict) or set(said) != {"characters", "terms"} or type(said["characters"]) is not bool:
            raise ValueError(f"{TERMS} must hold characters (true or false) and terms; got {shown(said)}")
        terms = said["terms"]
        if not isinstance(terms, list) or not terms or not all(isinstance(term, str) for term in terms):
            raise ValueError(f"{TERMS} must hold terms, a list of texts; got {shown(terms)}")
        tensors = load_file(folder / WEIGHTS)
        if tensors.keys() != {"idf"} or tensors["idf"].shape != (len(terms),) or not np.isfinite(tensors["idf"]).all():
            raise ValueError(f"{WEIGHTS} must hold idf, a finite weight for each of {len(terms)} terms")
        found = cls.__new__(cls)
        found.characters = said["characters"]
        found._vectorizer = _vectorizer(characters=found.characters, vocabulary=terms)
        found._vectorizer.idf_ = tensors["idf"]
        return found


def check_terms(texts: Sequence[str], *, characters: bool, option: str, would_do: str) -> None:
    """Refuse (`ValueError`) sentences of which none has a term, and say what would do."""
    terms_of = _vectorizer(characters=characters).build_analyzer()
    if not any(map(terms_of, texts)):
        what = "a character that is no blank" if characters else "a word of two letters or more"
        raise ValueError(f"{option} must hold {what} in some sentence; got none in {len(texts):,}; {would_do}")


def _vectorizer(*, characters: bool, vocabulary: Sequence[str] | None = None) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer

    if characters:
        return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, vocabulary=vocabulary)
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=vocabulary)
