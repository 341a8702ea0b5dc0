"""What lies beside a saved model: how it was made, how to feed it, and digests of its files.

A folder that was damaged, mixed from two or half copied is found by these digests, before anything of it is opened.
"""

import fnmatch
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rtlab.encoders import FILES
from rtlab.encoders.checkpoints import no_whole_file
from rtlab.experiment import Experiment
from rtlab.records import write_whole
from rtlab.values import Json, from_json, one_line

DESCRIPTION = "rtlab.json"
# What decides a saved model's labels, or would be read instead of it; a README or notes of a user's do not.
READ = (*FILES, "words.json", "adapter_config.json", "added_tokens.json", "*.bin", "*.py")

_SAVED_BY_OTHERS = {  # the file that tells it, and what it then is
    "adapter_config.json": "a PEFT adapter that rtlab did not save",
    "modules.json": "a sentence-transformers model",
    "config.json": "a Hugging Face checkpoint that rtlab did not save",
}
_WHY = "its labels, max_length and precision are not known"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `rtlab.json` holds.

    Attributes:
        id: Of the run that trained the model.
        experiment: What that run did.
        label_names: Class index to class name.
        encoder: What `rtlab.encoders.load_encoder` finds the encoder by; `None` of a model without one.
        encoder_sha256: Its digest.
        files: Digest of each file that the model is read from; empty where it was saved before there were digests.
        sentences: Digest of the sentences of each split of its data, by which they are known again; likewise.
        temperature: What logits are divided by before softmax makes probabilities of them; labels stay. 1 of a linear
            classifier, whose own file holds it.
    """

    id: str
    experiment: Experiment
    label_names: tuple[str, ...]
    encoder: str | None
    encoder_sha256: str | None
    files: Mapping[str, str] = field(default_factory=dict)
    sentences: Mapping[str, str] = field(default_factory=dict)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.label_names) < 2 or len(set(self.label_names)) < len(self.label_names):
            raise ValueError(f"label_names must be two or more different names; got {list(self.label_names)}")
        reads = self.experiment.method.reads is not None
        if (self.encoder is not None, self.encoder_sha256 is not None) != (reads, reads):
            raise ValueError("encoder and encoder_sha256 must be there for a method that reads one, and only there")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and above 0; got {self.temperature}")
        if self.temperature != 1 and self.experiment.method.reads != "logits":
            raise ValueError(
                f"temperature must be 1 of a linear classifier, whose own file holds it; got {self.temperature}"
            )

    @property
    def encoder_name(self) -> str | None:
        """The encoder without a folder."""
        if self.encoder is None or not Path(self.encoder).is_absolute():
            return self.encoder
        return Path(self.encoder).name


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a saved model that decides its labels, by name."""
    return {path.name: _digest(path) for path in _read_from(folder)}


def write_description(folder: Path, description: Description) -> None:
    """Write `rtlab.json`, with digests of the folder's files as they are now.

    A temperature of 1 is left out, so that what never had one reads as before.
    """
    written: dict[str, Json] = {
        "id": description.id,
        "experiment": description.experiment.to_json(),
        "label_names": list(description.label_names),
        "encoder": description.encoder,
        "encoder_sha256": description.encoder_sha256,
        "files": digests(folder),
        "sentences": dict(description.sentences),
    }
    if description.temperature != 1:
        written["temperature"] = description.temperature
    write_whole(folder / DESCRIPTION, json.dumps(written, indent=2) + "\n")


def read_description(folder: Path) -> Description:
    """Read and check what lies beside a saved model.

    Args:
        folder: The directory that the model was saved to.

    Raises:
        ValueError: If it is no directory that rtlab saved a model to, or one of its files is missing, was added or
            changed since.
    """
    _check_whole(folder)
    description = description_alone(folder)
    if description.files:
        _check_files(folder, description.files)
    return description


def description_alone(folder: Path) -> Description:
    """Read what lies beside a saved model, whatever became of the model.

    Raises:
        ValueError: If there is no description that rtlab wrote.
    """
    try:
        if not (folder / DESCRIPTION).is_file():  # a pipe of that name would be waited for
            raise FileNotFoundError(f"no file {DESCRIPTION}")
        described: Json = json.loads((folder / DESCRIPTION).read_bytes())
        return from_json(Description, described, DESCRIPTION)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"model must be a directory that rtlab words, svm, finetune or lora saved, with {DESCRIPTION} in it; "
            f"got {folder} ({_found(folder) or one_line(str(error))})"
        ) from error


def _found(folder: Path) -> str | None:
    """What a directory holds that somebody else saved."""
    if (folder / DESCRIPTION).exists():
        return None
    what = next((what for name, what in _SAVED_BY_OTHERS.items() if (folder / name).is_file()), None)
    return what and f"{what}: {_WHY}"


def _check_whole(folder: Path) -> None:
    """Refuse a folder that was cloned without its large files, or downloaded as pages of a web site."""
    for file in (folder / DESCRIPTION, *(_read_from(folder) if folder.is_dir() else ())):
        if file.is_file() and (what := no_whole_file(file)) is not None:
            raise ValueError(f"model {folder} is not as it was saved: {one_line(file.name)} {what}")


def _check_files(folder: Path, saved: Mapping[str, str]) -> None:
    there = {path.name: path for path in _read_from(folder)}
    if missing := saved.keys() - there.keys():
        raise ValueError(f"model must hold {_listed(missing)}, as rtlab saved it; got {folder}, without it")
    if added := there.keys() - saved.keys():
        raise ValueError(
            f"model {folder} was saved without {_listed(added)}, which is there now; move that away, or train again"
        )
    if changed := [name for name, digest in saved.items() if _digest(there[name]) != digest]:
        raise ValueError(
            f"model {folder} is not as it was saved: {_listed(changed)} has changed; a whole copy would do"
        )


def _read_from(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in READ)
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(one_line(name) for name in sorted(names)[:3])
