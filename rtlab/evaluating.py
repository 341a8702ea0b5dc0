"""How good a saved model is on labelled sentences: scores with intervals, by class, and its surest errors.

Nothing is trained, so a file without splits counts as a whole. A result lies in `evaluations/`, never among the records
of runs: it says how one model does on one set of sentences, and of other seeds it knows nothing.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from rtlab.data import load_splits
from rtlab.data.labels import named
from rtlab.data.sources import load_tables
from rtlab.data.splits import SPLIT_NAMES, Split
from rtlab.experiment import DatasetOptions
from rtlab.opening import load_model
from rtlab.predicting import WINDOW, Prediction, label, not_finite
from rtlab.preparing import check_writable
from rtlab.records import write_whole
from rtlab.saved_models import Description
from rtlab.statistics import Interval, accuracy_interval, f1_intervals
from rtlab.values import Json, one_line, shown, to_json

FOLDER = "evaluations"
WHOLE = "all"  # the split of a data set that has none
SHOWN_ERRORS = 10
_AS_IT_IS = DatasetOptions()
