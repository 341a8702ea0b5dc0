"""Data sets: texts and labels in three splits, from people's files, the hub or the built-in corpus."""

from rtlab.data.reviews import load_splits
from rtlab.data.splits import Checks, Split, Splits, check

__all__ = ["Checks", "Split", "Splits", "check", "load_splits"]
