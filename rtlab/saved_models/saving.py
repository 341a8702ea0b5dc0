"""A trained model's folder: written, loaded again as its user would, and only then described.

`rtlab.json` comes last. A folder without it was not finished, or holds another model than was trained, and nothing of
ours reads it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rtlab.encoders import Encoder
from rtlab.engines.engine import Engine
from rtlab.experiment import Experiment
from rtlab.preparing import Prepared
from rtlab.records import Predictions, RunRecord, write_whole
from rtlab.saved_models.card import CARD, model_card, run_facts
from rtlab.saved_models.description import DESCRIPTION, Description, write_description
from rtlab.saved_models.overlap import sentence_digests
from rtlab.saved_models.reloading import check_saved


def write(engine: Engine, folder: Path) -> None:
    """Write what an engine trained; a description of an earlier one is taken away first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DESCRIPTION, CARD):
        (folder / name).unlink(missing_ok=True)
    engine.save(folder)


def check_and_describe(folder: Path, prepared: Prepared, record: RunRecord) -> None:
    """Load what was written again, and say beside it what it is.

    Args:
        folder: Where it was written.
        prepared: The run.
        record: Its record.

    Raises:
        SavedModelError: If what was written is not what was trained; then it has no description.
    """
    validation = record.predictions["validation"]
    assert isinstance(validation, Predictions), "a run's own record has its logits"
    check_saved(folder, prepared, validation.logits)
    label_names = prepared.splits.label_names
    write_whole(folder / CARD, model_card(prepared.experiment, prepared.encoder, label_names, run_facts(record)))
    share(folder)
    sentences = sentence_digests(prepared.splits)
    describe(folder, prepared.experiment, prepared.encoder, label_names, run_id=record.id, sentences=sentences)


def share(folder: Path) -> None:
    """Give all files the card's mode, which the user's umask made: safetensors lets nobody else read what it writes."""
    mode = (folder / CARD).stat().st_mode
    for file in folder.iterdir():
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def describe(
    folder: Path,
    experiment: Experiment,
    encoder: Encoder | None,
    label_names: Sequence[str],
    *,
    run_id: str,
    sentences: Mapping[str, str],
    temperature: float = 1.0,
) -> None:
    """Write `rtlab.json`: how the model was made, by a run of this id on these sentences, and how to feed it."""
    description = Description(
        id=run_id,
        experiment=experiment,
        label_names=tuple(label_names),
        encoder=None if encoder is None else encoder.source,
        encoder_sha256=None if encoder is None else encoder.sha256,
        sentences=sentences,
        temperature=temperature,
    )
    write_description(folder, description)
