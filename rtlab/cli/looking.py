"""The verbs that look at data and encoders, before anything is trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rtlab.cli.options import Data, Output, Sentences, optional, say
from rtlab.experiment import DEFAULT_ENCODER


@dataclass(frozen=True, kw_only=True)
class Explore:
    """Describe a data set: splits, balance, lengths, duplicates, samples (lab step e11)."""

    encoder: Annotated[str | None, optional("STR", "lengths in words alone, and no warning of cut sentences")] = None
    """Hub id, local directory, or a built-in encoder, whose word pieces are counted."""
    sentences: Sentences
    max_length: Annotated[int | None, optional("INT", "512")] = None
    """Word pieces beyond which a sentence would be cut, special tokens included; beside --encoder."""
    output: Output

    def __call__(self) -> None:
        from rtlab.exploring import as_text, explore

        found = explore(
            self.sentences.dataset,
            encoder=self.encoder,
            limit=self.sentences.limit,
            max_length=self.max_length,
            options=self.sentences.reading.options,
        )
        say(found.notes)
        self.output.emit(found.to_json(), as_text(found))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Send sentences through tokenizer and encoder: ids, special tokens, padding, shapes (lab step e12)."""

    sample_text: Annotated[tuple[str, ...], optional("STR [STR ...]", "four of ours")] = ()
    """Sentences, each in quotes."""
    encoder: str = DEFAULT_ENCODER
    """Hub id, local directory, or a built-in encoder."""
    max_length: int = 32
    """Where sentences are cut."""
    output: Output

    def __call__(self) -> None:
        from rtlab.probing import SENTENCES, as_text, probe

        found = probe(self.sample_text or SENTENCES, encoder=self.encoder, max_length=self.max_length)
        self.output.emit(found.to_json(), as_text(found))


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Tokenize a data set, and count what each padding strategy would compute (lab step e21)."""

    data: Data
    padding: Literal["fixed", "none"] = "none"
    """Whether every sentence is padded to max_length."""
    max_length: int = 512
    """Word pieces kept of a sentence, special tokens included."""
    batch_size: int = 16
    """Sentences per batch, for the counts."""
    seed: int = 42
    """Order of the sentences, for the counts."""
    save_to: Annotated[Path | None, optional("PATH", "not saved")] = None
    """Directory to save the DatasetDict to."""
    output: Output

    def __call__(self) -> None:
        from rtlab.tokenizing import as_text, tokenize

        found = tokenize(
            self.data.sentences.dataset,
            encoder=self.data.encoder,
            limit=self.data.sentences.limit,
            options=self.data.sentences.reading.options,
            padding=self.padding,
            max_length=self.max_length,
            batch_size=self.batch_size,
            seed=self.seed,
            save_to=self.save_to,
        )
        say(found.notes)
        saved = "" if self.save_to is None else f"\n\nsaved to {self.save_to}"
        self.output.emit(found.to_json(), as_text(found) + saved)
