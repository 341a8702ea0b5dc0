"""A tokenized data set as Hugging Face's `DatasetDict`, made by Hugging Face's own means.

The reference engine trains on it, so it owes nothing to `rtlab.tokens`, whose arrays are held against it.
"""

from typing import TYPE_CHECKING, Literal

from rtlab.data import Split, Splits

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerFast


def dataset_dict(
    splits: Splits, tokenizer: "PreTrainedTokenizerFast", *, max_length: int, padding: Literal["fixed", "none"] = "none"
) -> "DatasetDict":
    """The tokenized `datasets.DatasetDict` of the lab: columns text, label, input_ids, attention_mask.

    Args:
        splits: Sentences and labels.
        tokenizer: A fast tokenizer of transformers.
        max_length: Longest sequence kept.
        padding: `fixed` pads every sentence to `max_length`; `none` leaves padding to the collator.

    Returns:
        Splits `train`, `validation` and `test`; it saves with `save_to_disk` and loads with `datasets.load_from_disk`.
    """
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    features = Features(
        {
            "text": Value("string"),
            "label": ClassLabel(names=list(splits.label_names)),
            "input_ids": List(Value("int32")),
            "attention_mask": List(Value("int8")),
        }
    )

    def tokenized(split: Split) -> "Dataset":
        encoded = tokenizer(
            list(split.texts),
            truncation=True,
            max_length=max_length,
            padding="max_length" if padding == "fixed" else False,
        )
        columns = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        return Dataset.from_dict({"text": split.texts, "label": split.labels, **columns}, features=features)

    return DatasetDict({name: tokenized(split) for name, split in splits.items()})
