"""TF-IDF of a sentence's terms: words and pairs of words, or characters within words; saved without pickle.

Shapes: N sentences, T terms.
"""

import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.values import Json, shown

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILES = TERMS, WEIGHTS = "words.json", "words.safetensors"
STRONGEST = 20  # terms of a class that a record names
_WORD = re.compile(r"\b\w\w+\b")
_SIZES = range(2, 6)  # of terms of characters


class Tfidf:
    """scikit-learn's TF-IDF: sublinear counts, rows of length 1.

    Terms and weights are fitted by scikit-learn. What they make of sentences is computed here, to the same numbers: to
    import it takes longer than to load a model and label a sentence.

    Args:
        texts: Sentences that terms and their weights are taken from.
        characters: Whether terms are 2 to 5 characters within words, in place of words and pairs of words.

    Attributes:
        characters: Likewise.
        terms: The T terms, in the order of the columns.
        idf_T: Their weights, (T,) fp64.
    """

    def __init__(self, texts: Sequence[str], *, characters: bool) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        analyzer, sizes = ("char_wb", (_SIZES[0], _SIZES[-1])) if characters else ("word", (1, 2))
        fitted = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, sublinear_tf=True).fit(texts)
        self._know(characters, [str(term) for term in fitted.get_feature_names_out()], fitted.idf_)

    def _know(self, characters: bool, terms: list[str], idf_T: NDArray[np.float64]) -> None:
        self.characters, self.terms, self.idf_T = characters, terms, idf_T
        self._columns = {term: column for column, term in enumerate(terms)}

    def features(self, texts: Sequence[str]) -> "csr_matrix":
        """TF-IDF of sentences, (N, T) fp64; a sentence of unknown terms is a row of zeros."""
        from scipy.sparse import csr_matrix

        columns, counts, ends = array("i"), array("i"), [0]
        for text in texts:
            found = Counter(map(self._columns.get, terms_of(text, characters=self.characters)))
            del found[None]
            columns.extend(found)  # type: ignore[arg-type]  # what is not known is gone
            counts.extend(found.values())
            ends.append(len(columns))
        columns_K, counts_K = np.array(columns, dtype=np.int32), np.array(counts, dtype=np.float64)
        found_NT = csr_matrix((counts_K, columns_K, ends), shape=(len(texts), len(self.terms)))
        found_NT.sort_indices()
        weights_K = (np.log(found_NT.data) + 1) * self.idf_T[found_NT.indices]
        for start, end in pairwise(ends):
            if end > start:  # squares are added one after another, as scikit-learn does
                weights_K[start:end] /= math.sqrt(np.cumsum(weights_K[start:end] ** 2)[-1])
        found_NT.data = weights_K
        return found_NT

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
        save_file({"idf": np.ascontiguousarray(self.idf_T)}, folder / WEIGHTS)

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
        if len(set(terms)) < len(terms):
            twice = next(term for term, count in Counter(terms).items() if count > 1)
            raise ValueError(f"{TERMS} must hold each term once; got {shown(twice)} twice")
        tensors = load_file(folder / WEIGHTS)
        if tensors.keys() != {"idf"} or tensors["idf"].shape != (len(terms),) or not np.isfinite(tensors["idf"]).all():
            raise ValueError(f"{WEIGHTS} must hold idf, a finite weight for each of {len(terms)} terms")
        found = cls.__new__(cls)
        found._know(said["characters"], terms, tensors["idf"])
        return found


def terms_of(text: str, *, characters: bool) -> list[str]:
    """The terms of a sentence, each as often as it occurs: what scikit-learn's analyzers `word` and `char_wb` find."""
    if not characters:
        words = _WORD.findall(text.lower())
        return words + [f"{one} {next_one}" for one, next_one in pairwise(words)]
    found: list[str] = []
    for word in text.lower().split():
        padded = f" {word} "
        for size in _SIZES:
            found += [padded[at : at + size] for at in range(max(1, len(padded) - size + 1))]
            if len(padded) <= size:
                break
    return found


def check_terms(texts: Sequence[str], *, characters: bool, option: str, would_do: str) -> None:
    """Refuse (`ValueError`) sentences of which none has a term, and say what would do."""
    if not any(terms_of(text, characters=characters) for text in texts):
        what = "a character that is no blank" if characters else "a word of two letters or more"
        raise ValueError(f"{option} must hold {what} in some sentence; got none in {len(texts):,}; {would_do}")
