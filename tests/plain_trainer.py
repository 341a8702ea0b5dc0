"""What a person would write without rtlab: Hugging Face's Trainer, with PEFT for LoRA, on Pang and Lee's sentences.

    python plain_trainer.py full,lora ENCODER DATASET STEPS

The encoder is a directory in Hugging Face's format, the data set one with rt-polarity.pos and rt-polarity.neg. Prints
the loss of each step of each method, as JSON. It imports nothing of rtlab: `tests/test_plain_trainer.py` holds the
reference engine against it.
"""

import json
import sys
import tempfile
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

ATTENTION = {
    "bert": ["query", "key", "value", "attention.output.dense"],
    "distilbert": ["q_lin", "k_lin", "v_lin", "out_lin"],
}
RATES = {"full": 2e-5, "lora": 1e-3}
SEED = 42


def training_sentences(folder: Path) -> Dataset:
    """The first 80 % of each file, the positive ones first."""
    texts, labels = [], []
    for name, label in (("rt-polarity.pos", 1), ("rt-polarity.neg", 0)):
        lines = (folder / name).read_bytes().decode("latin-1").removesuffix("\n").split("\n")
        kept = [line.strip() for line in lines[: int(len(lines) * 0.8 + 0.5)]]
        texts += kept
        labels += [label] * len(kept)
    return Dataset.from_dict({"text": texts, "label": labels})


def main(method: str, encoder: str, dataset: str, steps: int) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    data = training_sentences(Path(dataset)).map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=512), batched=True
    )
    set_seed(SEED)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    if method == "lora":
        modules = ATTENTION[model.config.model_type]
        settings = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": modules}
        model = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, **settings))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            learning_rate=RATES[method],
            per_device_train_batch_size=16,
            max_steps=steps,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=SEED,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=data, data_collator=DataCollatorWithPadding(tokenizer)
        )
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    losses = {method: main(method, sys.argv[2], sys.argv[3], int(sys.argv[4])) for method in sys.argv[1].split(",")}
    sys.stdout.write(f"\n{json.dumps(losses)}\n")
