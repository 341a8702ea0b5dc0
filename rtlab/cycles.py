"""Python's search for cycles of objects, put off where it finds none and takes long.

Each search goes through all objects that there are: hundreds of thousands once torch and transformers are imported. In
a fresh process that labels one sentence they would take longer than the sentence.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def not_sought() -> Iterator[None]:
    """Look for no cycles within the block: for imports, models and records, which leave hardly any."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
