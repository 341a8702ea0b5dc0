"""The verb that answers: which way to take."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rtlab.cli.options import DONE, FAILED, INTERRUPTED, Device, Output, Sentences, optional, say
from rtlab.progress import Bars
from rtlab.recipe import ChoiceMetric


@dataclass(frozen=True, kw_only=True)
class Choose:
    """Find out which way to take for your sentences, within a budget of time: the cheapest that scores like the best.

    Validation alone selects; test is looked at for what is recommended, and for its runners-up, once they are chosen.
    """

    encoder: Annotated[str | None, optional("STR", "the hub's default where it can be had, else minilm, else none")] = (
        None
    )
    """Hub id, local directory, or built in: minilm, tiny-{distilbert,bert,roberta,electra}, distilbert-random."""
    budget: str = "30m"
    """Time that it may take, such as 90s, 30m or 1.5h."""
    margin: float = 1.0
    """Points by which the estimate of the cheapest way may be below the best."""
    metric: ChoiceMetric = "accuracy"
    """What ways are compared by."""
    candidates: str = "words,svm,contrastive,lora,full"
    """What to compare, separated by commas."""
    save_to: Annotated[Path | None, optional("DIR", "not saved")] = None
    """Folder to save the recommended model to, with a card."""
    refit: bool = False
    """Train the saved model on train and validation."""
    anyway: bool = False
    """Go on where the data make any answer void."""
    show_errors: int = 0
    """Show so many of the surest mistakes on test, and of training labels that are probably wrong."""
    sentences: Sentences
    max_length: Annotated[int | None, optional("INT", "512, or the encoder's positions if they are fewer")] = None
    """Word pieces kept of a sentence, special tokens included."""
    seed: int = 42
    """Of the first run of each way."""
    device: Device = None
    """Where to compute."""
    jobs: int = 1
    """Runs of what is trained in steps at once, where that is sooner; they share the cores, or have a GPU each."""
    output_dir: Path = Path("results")
    """Folder for the choice and its records (choices/), which enter no table."""
    output: Output

    def __call__(self) -> int:
        from rtlab.choosing import NoChoiceError, choose
        from rtlab.reporting.choice_text import as_text

        said: list[str] = []

        def tell(sentence: str) -> None:
            said.append(sentence)
            say([sentence])

        try:
            with Bars(sys.stderr) as bars:
                found = choose(
                    self.sentences.dataset,
                    encoder=self.encoder,
                    budget=self.budget,
                    margin=self.margin,
                    metric=self.metric,
                    candidates=tuple(name.strip() for name in self.candidates.split(",") if name.strip()),
                    save_to=self.save_to,
                    refit=self.refit,
                    anyway=self.anyway,
                    show_errors=self.show_errors,
                    limit=self.sentences.limit,
                    max_length=self.max_length,
                    seed=self.seed,
                    device=self.device,
                    jobs=self.jobs,
                    output_dir=self.output_dir,
                    options=self.sentences.reading.options,
                    progress=bars.update if sys.stderr.isatty() else None,
                    begun=bars.begun,
                    say=tell,
                )
        except NoChoiceError as error:
            say([f"nothing could be tried to its end: {error}"])
            return FAILED
        for sentence in found.warnings[len(said) :]:  # what came up meanwhile
            say([sentence])
        self.output.emit(found.to_json(), as_text(found))
        if found.interrupted:
            return INTERRUPTED
        return DONE if self.save_to is None or found.saved_to is not None else FAILED
