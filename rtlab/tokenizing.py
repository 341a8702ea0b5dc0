"""A data set as token ids, and what each padding strategy would compute of it (lab step e21)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from tabulate import tabulate

from rtlab.batches import PaddingCost, padding_costs
from rtlab.data import load_splits
from rtlab.dataset_dict import dataset_dict
from rtlab.encoders import load_encoder
from rtlab.experiment import AS_IT_IS, DEFAULT_DATASET, DatasetOptions, Experiment
from rtlab.methods import Full
from rtlab.preparing import check_writable
from rtlab.recipe import Padding, Recipe
from rtlab.values import Json

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """A tokenized data set.

    Attributes:
        data: `datasets.DatasetDict` with columns text, label, input_ids, attention_mask.
        costs: Padding strategy to what one training epoch computes under it.
        batch_size: Sentences per batch that the costs are for.
        max_length: Where sentences are cut, and what `fixed` pads to.
        notes: What was assumed when the data set was read, a sentence each.
    """

    data: "DatasetDict"
    costs: Mapping[Padding, PaddingCost]
    batch_size: int
    max_length: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Sizes and costs as JSON types."""
        return {
            "sizes": {name: len(split) for name, split in self.data.items()},
            "columns": self.data["train"].column_names,
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "padding": {
                padding: dataclasses.asdict(cost) | {"ratio": cost.ratio} for padding, cost in self.costs.items()
            },
        }


def tokenize(
    dataset: str = DEFAULT_DATASET,
    *,
    encoder: str,
    padding: Literal["fixed", "none"] = "none",
    max_length: int = 512,
    batch_size: int = 16,
    seed: int = 42,
    limit: int | None = None,
    options: DatasetOptions = AS_IT_IS,
    save_to: Path | str | None = None,
) -> Tokenized:
    """Tokenize a data set and count what each padding strategy would compute.

    Args:
        dataset: Hub id, file, directory, or `corpus`.
        encoder: The encoder whose tokenizer is used.
        padding: `fixed` pads every sentence to `max_length`; `none` leaves padding to the batches.
        max_length: Where sentences are cut.
        batch_size: Sentences per batch, for the costs.
        seed: Order of the sentences, for the costs.
        limit: Sentences kept per split, `None` for all.
        options: How the data set is read where its files leave that open.
        save_to: Directory to save the `DatasetDict` to; `datasets.load_from_disk` reads it.

    Raises:
        ValueError: If something cannot be loaded, written, or is out of range.
    """
    # An experiment validates what the arguments have in common with one.
    method = Full(recipe=Recipe(batch_size=batch_size))
    Experiment(dataset=dataset, encoder=encoder, method=method, max_length=max_length, seed=seed, limit=limit)
    if save_to is not None:
        check_writable(Path(save_to), option="save_to", within=())
    splits = load_splits(dataset, limit=limit, options=options)
    loaded = load_encoder(encoder)
    loaded.check_length(max_length)
    data = dataset_dict(splits, loaded.tokenizer, max_length=max_length, padding=padding)
    if save_to is not None:
        _save(data, Path(save_to))
    lengths = np.array([sum(mask) for mask in data["train"]["attention_mask"]], dtype=np.int64)
    costs = padding_costs(lengths, batch_size=batch_size, max_length=max_length, seed=seed)
    return Tokenized(data=data, costs=costs, batch_size=batch_size, max_length=max_length, notes=splits.notes)


def as_text(tokenized: Tokenized) -> str:
    """Sizes and costs as tables for a terminal."""
    sizes = "  ".join(f"{name} {len(split):,}" for name, split in tokenized.data.items())
    rows = [
        [padding, f"{cost.real_tokens:,}", f"{cost.padding_tokens:,}", f"{cost.ratio:.2f}"]
        for padding, cost in tokenized.costs.items()
    ]
    table = tabulate(
        rows,
        headers=["padding", "real tokens", "padding tokens", "computed / real"],
        tablefmt="simple",
        colalign=("left", "right", "right", "right"),
        disable_numparse=True,
    )
    return (
        f"sentences: {sizes}\ncolumns: {', '.join(tokenized.data['train'].column_names)}\n\n"
        f"one training epoch at batch size {tokenized.batch_size}, fixed padding to {tokenized.max_length}\n{table}"
    )


def _save(data: "DatasetDict", folder: Path) -> None:
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    bars = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        data.save_to_disk(str(folder))
    finally:
        if bars:
            enable_progress_bar()
