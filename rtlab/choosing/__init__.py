"""A budget and a data set in, a choice out."""

from rtlab.choosing.choosing import NoChoiceError as NoChoiceError
from rtlab.choosing.choosing import choose as choose

__all__ = ["NoChoiceError", "choose"]
