"""Data sets: texts and labels in three splits, from the hub, a directory or the built-in corpus."""

from rtlab.data.reviews import load_splits
from rtlab.data.splits import Checks, Split, Splits, check

__all__ = ["Checks", "Split", "Splits", "check", "load_splits"]
