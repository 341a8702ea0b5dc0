"""The original lab's command lines (`--step e23 --lr 2e-5 --batch_size 16 …`), as verbs of ours."""

import argparse
import re
from collections.abc import Sequence

from rtlab.experiment import DEFAULT_ENCODER

STEPS = {
    "e11": "explore",
    "e12": "probe",
    "e13": "svm",
    "e21": "tokenize",
    "e23": "finetune",
    "e31": "lora",
}
_RUN = ("output_dir", "use_wandb", "run_name")
_TRAINING = ("lr", "epochs", "batch_size", "use_fixed_padding", *_RUN)
# What the lab did, where we do otherwise by default: it trained with Hugging Face's Trainer, and counted word pieces.
_AS_THE_LAB = {
    "e11": ("--encoder", DEFAULT_ENCODER),
    "e23": ("--engine", "trainer"),
    "e31": ("--engine", "trainer"),
}
# The lab had one parser for all steps and ignored what a step did not use.
USED = {
    "e11": (),
    "e12": ("sample_text",),
    "e13": _RUN,
    "e21": ("batch_size", "use_fixed_padding"),
    "e23": _TRAINING,
    "e31": (*_TRAINING, "lora_alpha", "lora_rank", "target_modules"),
}


def translate(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Turn a command line of the lab into one of ours; ours pass through.

    Args:
        arguments: The words behind the program's name.

    Returns:
        Our command line, and a note for each option of the lab that its step does not use.
    """
    if not any(word == "--step" or word.startswith("--step=") for word in arguments):
        return list(arguments), []
    given, ours = _parser().parse_known_args([_with_underscores(word) for word in arguments])
    options = {name: value for name, value in vars(given).items() if name != "step" and value not in (None, False)}
    words = [STEPS[given.step], *_AS_THE_LAB.get(given.step, ())]
    for name, value in options.items():
        if name not in USED[given.step]:
            continue
        if name == "use_fixed_padding":
            words += ["--padding", "fixed"]
        elif value is True:
            words.append(f"--{name}")
        else:
            words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    notes = [
        f"--{name} was left out: step {given.step} ({STEPS[given.step]}) does not use it"
        for name in options
        if name not in USED[given.step]
    ]
    return words + ours, notes


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    if not re.fullmatch(r"--[\w-]+", name):  # a sentence may begin with dashes, too
        return word
    return "--" + name[2:].replace("-", "_") + equals + value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rtlab", add_help=False, allow_abbrev=False)
    parser.add_argument("--step", choices=STEPS, required=True)
    parser.add_argument("--sample_text", nargs="+")
    parser.add_argument("--target_modules", nargs="+")
    for name in ("lr", "epochs", "batch_size", "lora_alpha", "lora_rank", "output_dir", "run_name"):
        parser.add_argument(f"--{name}")
    for name in ("use_fixed_padding", "use_wandb"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser
