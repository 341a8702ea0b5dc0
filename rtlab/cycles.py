"""Python's search for cycles of objects, put off where it finds none and takes long.

Each search goes through all objects that there are: hundreds of thousands once torch and transformers are imported. To
predict with a fine-tuned minilm took 5.1 s of a processor in a fresh process, 1.0 of them such searches while it
started, and 1.0 the last one, at its end (n = 4, AMD EPYC, both cores busy).
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
