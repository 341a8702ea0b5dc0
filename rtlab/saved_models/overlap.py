"""Whether a model is evaluated on sentences that it was trained on, whatever their data set is called by now.

A saved model keeps a digest of the sentences of each of its splits, not the sentences: it may be given away. So the
same sentences are known again in any order, format or file; some of them only where the run's own data still lie there.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rtlab.data import Splits
from rtlab.experiment import Experiment
from rtlab.preparing import splits_of


def sentence_digests(splits: Splits) -> dict[str, str]:
    """SHA-256 over the different sentences of each split, by its name; neither order nor labels matter."""
    return {name: _digest(split.texts) for name, split in splits.items()}


def _digest(texts: Iterable[str]) -> str:
    total = hashlib.sha256()
    for one in sorted(hashlib.sha256(text.encode()).digest() for text in {*texts}):
        total.update(one)
    return total.hexdigest()


def seen_in_training(
    texts: Sequence[str], dataset: str, trained_by: Experiment, digests: Mapping[str, str]
) -> int | None:
    """How many of some sentences a model was trained on; `None` where that cannot be told.

    Args:
        texts: The sentences.
        dataset: What they were read from.
        trained_by: The run that trained the model.
        digests: What `sentence_digests` gave for it; nothing of a model that was saved before there were any.
    """
    if "train" not in digests:
        return None
    if _digest(texts) == digests["train"]:
        return len(texts)
    train = _train(dataset, trained_by)
    if train is None or _digest(train) != digests["train"]:
        return None
    return sum(text in train for text in texts)


def _train(dataset: str, trained_by: Experiment) -> frozenset[str] | None:
    """The training sentences of a run, if its data set is still there; nothing is downloaded for that."""
    name = trained_by.dataset
    if name not in (dataset, "corpus") and not Path(name).exists():
        return None
    try:
        splits = splits_of(trained_by)
    except (OSError, ValueError):  # another one by now
        return None
    return frozenset(splits.train.texts)
