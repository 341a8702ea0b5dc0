"""merge: an adapter and its encoder made one plain checkpoint, which needs neither PEFT nor the encoder.

What PEFT merges is written, loaded again by plain transformers and held against the adapter, before the folder gets its
name: whoever finds the folder finds a whole and right one.
"""

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab import environment
from rtlab.data import corpus
from rtlab.encoders import Encoder
from rtlab.encoders.built_in import quiet
from rtlab.engines.agreement import MANY, TOLERANCE, allowed, disagreement
from rtlab.engines.engine import out_of_memory
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, method_title
from rtlab.preparing import check_writable
from rtlab.records import write_whole
from rtlab.saved_models.adapters import adapter_weights
from rtlab.saved_models.card import CARD, model_card
from rtlab.saved_models.description import read_description
from rtlab.saved_models.opening import encoder_of
from rtlab.saved_models.reloading import Reloaded, load_saved
from rtlab.saved_models.saving import describe
from rtlab.values import one_line

if TYPE_CHECKING:
    import torch

_REPEATS = 20  # of the sentences, for one that is cut


class MergeFailedError(RuntimeError):
    """What was merged does not say what the adapter says; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What came of a merge.

    Attributes:
        id: Of the run that trained the adapter.
        peft_type: Its kind.
        encoder: Name of the encoder.
        label_names: Names of the classes.
        sentences: How many sentences were compared.
        apart: The largest difference of their logits, adapter and checkpoint.
    """

    id: str
    peft_type: str
    encoder: str
    label_names: tuple[str, ...]
    sentences: int
    apart: float


def merge(model_dir: Path | str, output_dir: Path | str, *, device: str | None = None) -> Merged:
    """Write an adapter, merged into its encoder, as a plain checkpoint with the names of its classes.

    `transformers.pipeline("text-classification", output_dir)` reads it, and so does `rtlab.predict`.

    Args:
        model_dir: A directory that `rtlab` saved an adapter to.
        output_dir: Where to write; it may not be there yet, or must be empty.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Raises:
        ValueError: If there is no such adapter, PEFT cannot merge its kind, its encoder is gone or another than it was
            trained on, or `output_dir` is not free.
        MergeFailedError: If the checkpoint gives other logits than the adapter.
        OSError: If it cannot be written.
    """
    source, to = Path(model_dir), Path(output_dir)
    description = read_description(source)
    method = description.experiment.method
    if not isinstance(method, Adapter):
        full = isinstance(method, Full)
        what = "a fully fine-tuned encoder, a plain checkpoint already" if full else method_title(method.name)
        raise ValueError(f"model must be an adapter to be merged; got {source}, {what}")
    _check_free(to)
    encoder = encoder_of(source, description)
    experiment = replace(description.experiment, precision="fp32")
    whole = replace(experiment, method=Full(recipe=method.recipe))
    names, where = description.label_names, environment.find_device(device)
    with _new_folder(to) as part:
        expected_SC = _merge(source, part, experiment, encoder, names, where)
        apart = _compare(part, whole, encoder, names, where, expected_SC)
        facts = {"run": description.id}
        if description.temperature != 1:
            facts["temperature"] = f"{description.temperature:.3f}, by which rtlab divides logits"
        write_whole(part / CARD, model_card(experiment, encoder, names, facts, merged=True))
        describe(
            part,
            replace(whole, precision=description.experiment.precision),
            encoder,
            names,
            run_id=description.id,
            sentences=description.sentences,
            temperature=description.temperature,
        )
    return Merged(
        id=description.id,
        peft_type=method.peft_type,
        encoder=encoder.name,
        label_names=description.label_names,
        sentences=len(expected_SC),
        apart=apart,
    )


def as_text(merged: Merged) -> str:
    """What came of a merge, in a sentence."""
    return (
        f"{merged.peft_type} adapter {merged.id} merged into {one_line(merged.encoder)}: logits of {merged.sentences} "
        f"sentences differ by at most {merged.apart:.2g}"
    )


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds something, or that cannot be made."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ValueError(f"output_dir must be a new or an empty directory; got {folder}, which holds something")
    check_writable(folder.absolute().parent, within=())


@contextlib.contextmanager
def _new_folder(to: Path) -> Iterator[Path]:
    """A folder beside another one, which gets its name when all went well, and is gone when not."""
    to = to.absolute()
    part = to.with_name(f".{to.name[:200]}.{secrets.token_hex(4)}.part")
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _merge(
    source: Path,
    to: Path,
    experiment: Experiment,
    encoder: Encoder,
    label_names: Sequence[str],
    device: "torch.device",
) -> NDArray[np.float32]:
    """Write the merged checkpoint, and give what the adapter says of `_sentences`."""
    from peft.utils.other import AuxiliaryTrainingWrapper

    adapter = _loaded(source, experiment, encoder, label_names, device)
    expected_SC = adapter.logits(_sentences(), "fp32")
    with quiet():
        try:
            merged = adapter.model.merge_and_unload(safe_merge=True)
        except Exception as error:
            if out_of_memory(error):
                raise
            said = one_line(str(error)) or type(error).__name__
            raise ValueError(f"model must be an adapter that PEFT can merge; got {source}: {said}") from error
        for name, along in [one for one in merged.named_modules() if isinstance(one[1], AuxiliaryTrainingWrapper)]:
            # LN_TUNING leaves what was trained along beside what it began as.
            merged.set_submodule(name, along.unload_and_optionally_merge_module(True, True, None))
        merged.config.problem_type = "single_label_classification"  # whatever the encoder was saved for
        merged.save_pretrained(to)
        adapter.tokenizer.save_pretrained(to)
    return expected_SC


def _loaded(
    folder: Path, experiment: Experiment, encoder: Encoder, label_names: Sequence[str], device: "torch.device"
) -> Reloaded:
    """The adapter, all that was trained along read from its file."""
    from peft import get_peft_model_state_dict

    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():  # PEFT would read a pickle instead
        raise ValueError(f"model must hold {weights.name}, as rtlab saves it; got {folder}, without it")
    try:
        found = load_saved(folder, experiment, encoder, label_names, device)
        needed = set(get_peft_model_state_dict(found.model, save_embedding_layers=False))
        there = adapter_weights(folder).keys()
    except Exception as error:
        if out_of_memory(error):
            raise
        said = one_line(str(error)) or type(error).__name__
        raise ValueError(f"model must be an adapter that rtlab saved; got {folder} ({said})") from error
    if missing := sorted(needed - there):
        raise ValueError(f"model must hold all that was trained; got {folder}, without {one_line(missing[0])}")
    return found


def _compare(
    folder: Path,
    experiment: Experiment,
    encoder: Encoder,
    label_names: Sequence[str],
    device: "torch.device",
    expected_SC: NDArray[np.float32],
) -> float:
    """How far the checkpoint's logits are from the adapter's."""
    found = load_saved(folder, experiment, encoder, label_names, device)
    if found.label_names != tuple(label_names):
        raise MergeFailedError(f"the merged checkpoint calls its classes {one_line(', '.join(found.label_names))}")
    found_SC = found.logits(_sentences(), "fp32")
    most = allowed(expected_SC, expected_SC, "fp32", least=TOLERANCE["fp32"])
    if (said := disagreement(found_SC, expected_SC, most)) is not None:
        raise MergeFailedError(f"the merged checkpoint does not say what the adapter says: {said}; nothing was written")
    return float(np.abs(found_SC - expected_SC).max())


def _sentences() -> list[list[str]]:
    """Sentences to compare on, each by itself: a folder holds none of those that it was trained on."""
    texts, _ = corpus.generate(MANY - 1)
    return [[text] for text in (*texts, " ".join([*texts] * _REPEATS))]
