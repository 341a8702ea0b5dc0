"""The files of a hub data set as rows, as `datasets` reads them: it knows its card's file patterns and class names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rtlab.data.arrow_rows import BATCH, numbered
from rtlab.data.row import Rows
from rtlab.hub import one_line, quiet

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


@contextmanager
def opened_snapshot(path: Path, dataset: str, config: str | None) -> Iterator[dict[str, Rows]]:
    """Open a hub data set's files.

    Args:
        path: the directory of the files.
        dataset: the hub id, for messages.
        config: the configuration to read, None for the only one.

    Yields:
        Split name to rows, for all the splits there are; they can be read within the context only.

    Raises:
        ValueError: there is no such configuration, or several where none was asked for, or the files cannot be read.
    """
    import datasets
    import huggingface_hub.utils

    # Its Arrow files go to a scratch directory: they take 0.2 s, and no stale or half-written copy can ever be met.
    with (
        quiet(datasets.utils),
        quiet(huggingface_hub.utils),  # which reads the card
        TemporaryDirectory(prefix="rtlab-") as scratch,
    ):
        _check_config(path, dataset, config)
        try:
            splits = datasets.load_dataset(str(path), name=config, cache_dir=scratch)
        # Somebody else's files and card: it raises everything, down to AttributeError for a feature oddly described.
        except Exception as error:
            found = one_line(error.__cause__ or error).replace(str(path), dataset)
            raise ValueError(f"dataset {dataset!r}: {found}; what `datasets` reads without options would do") from error
        yield {name: _rows(f"dataset {dataset!r}, {name}", split) for name, split in splits.items()}


def _check_config(path: Path, dataset: str, config: str | None) -> None:
    """Refuse to guess at one of several configurations."""
    import datasets

    try:
        names = datasets.get_dataset_config_names(str(path))
    except Exception:  # noqa: BLE001  # loading it says what is wrong
        return
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if config is not None and config not in names:
        raise ValueError(f"dataset_config must be one of {shown}; got {config!r}; one of these would do")
    if config is None and len(names) > 1 and "default" not in names:
        raise ValueError(f"dataset {dataset!r}: has the configurations {shown}; --dataset-config with one would do")


def _rows(where: str, split: "Dataset") -> Rows:
    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for table in split.with_format("arrow").iter(batch_size=BATCH):
            yield from table.to_batches()

    return Rows(
        where=where,
        columns=tuple(split.column_names),
        unit="row",
        read=lambda: numbered(batches()),
        classes=_class_names(split.features),
    )


def _class_names(features: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    # `ClassLabel`, or a list of it.
    names = {name: getattr(getattr(of, "feature", of), "names", None) for name, of in features.items()}
    return {name: tuple(its) for name, its in names.items() if its}
