"""What tokenizer and encoder make of a few sentences (lab step e12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tabulate import tabulate

from rtlab import environment
from rtlab.encoders import load_encoder
from rtlab.experiment import DEFAULT_ENCODER, SHORTEST
from rtlab.values import Json, check_utf8, to_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SENTENCES = (
    "a quietly moving film that earns every tear .",
    "the plot is thin , the jokes are thinner .",
    "despite a slow start , it finds its rhythm and never lets go .",
    "it runs for two hours , and somewhere between the third chase and the fourth speech about destiny you begin to "
    "wish that someone had told the director when to stop .",
)
MAX_LENGTH = 32  # short enough to cut the last of the sentences, so that truncation is seen


@dataclass(frozen=True, kw_only=True)
class ProbedSentence:
    """One sentence as a row of the batch.

    Attributes:
        text: The sentence.
        tokens: Its row as tokens, special and padding tokens included, (L,).
        input_ids: The same as ids.
        attention_mask: 1 at real tokens, 0 at padding.
        word_pieces: Tokens that the whole sentence has, special ones included, before truncation.
    """

    text: str
    tokens: tuple[str, ...]
    input_ids: tuple[int, ...]
    attention_mask: tuple[int, ...]
    word_pieces: int


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Sentences on their way through an encoder.

    Attributes:
        encoder: Its name.
        special_tokens: Role (`cls_token`, `sep_token`, …) to token and id.
        max_length: Where sentences are cut.
        max_positions: The most that the encoder could take; `None` where there is no limit.
        vocabulary_size: Entries of the tokenizer.
        sentences: The batch, row by row.
        hidden_shape: Shape of the encoder's last hidden state for the batch: (B, L, D).
        parameters: Part of a classifier on this encoder to its number of parameters.
    """

    encoder: str
    special_tokens: Mapping[str, tuple[str, int]]
    max_length: int
    max_positions: int | None
    vocabulary_size: int
    sentences: tuple[ProbedSentence, ...]
    hidden_shape: tuple[int, ...]
    parameters: Mapping[str, int]

    def to_json(self) -> Json:
        """The probe as JSON types."""
        return to_json(self)


def probe(
    sentences: Sequence[str] = SENTENCES,
    *,
    encoder: str = DEFAULT_ENCODER,
    max_length: int = MAX_LENGTH,
    device: str | None = None,
) -> Probe:
    """Send sentences through tokenizer and encoder as one batch, padded to its longest and cut at `max_length`.

    Raises:
        ValueError: If there is no sentence, the encoder cannot be loaded, or `max_length` is beyond its positions.
    """
    import torch

    for text in sentences:
        check_utf8("sample_text", text)
    if not sentences:
        raise ValueError("sample_text must hold at least one sentence; got none")
    where = environment.find_device(device)
    loaded = load_encoder(encoder)
    if max_length < SHORTEST or (loaded.max_positions is not None and max_length > loaded.max_positions):
        most = loaded.max_positions or "any length"
        raise ValueError(f"max_length must lie in {SHORTEST} … {most} for encoder {loaded.name}; got {max_length}")
    tokenizer = loaded.tokenizer
    batch = tokenizer(list(sentences), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    whole = tokenizer(list(sentences), verbose=False)["input_ids"]
    inputs = {name: batch[name].to(where) for name in ("input_ids", "attention_mask")}
    model = loaded.classifier(["0", "1"]).to(where).eval()
    with torch.inference_mode():
        hidden_BLD = model.base_model(**inputs).last_hidden_state
    return Probe(
        encoder=loaded.name,
        special_tokens={
            role: (token, tokenizer.convert_tokens_to_ids(token))
            for role, token in tokenizer.special_tokens_map.items()
            if isinstance(token, str)
        },
        max_length=max_length,
        max_positions=loaded.max_positions,
        vocabulary_size=len(tokenizer),
        sentences=tuple(
            ProbedSentence(
                text=text,
                tokens=tuple(tokenizer.convert_ids_to_tokens(ids)),
                input_ids=tuple(ids),
                attention_mask=tuple(mask),
                word_pieces=len(uncut),
            )
            for text, ids, mask, uncut in zip(
                sentences, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), whole, strict=True
            )
        ),
        hidden_shape=tuple(hidden_BLD.shape),
        parameters=_parameters(model),
    )


def as_text(found: Probe) -> str:
    """The probe as tables for a terminal."""
    specials = "  ".join(f"{token} {index}" for token, index in dict.fromkeys(found.special_tokens.values()))
    most = "any number of" if found.max_positions is None else f"up to {found.max_positions}"
    parts = [f"{found.encoder}: {found.vocabulary_size:,} tokens, {most} positions\nspecial tokens: {specials}"]
    for sentence in found.sentences:
        kept, padding = sum(sentence.attention_mask), sentence.attention_mask.count(0)
        cut = f", {sentence.word_pieces - kept} cut off at {found.max_length}" if kept < sentence.word_pieces else ""
        parts.append(
            f"{sentence.text}\n"
            f"  {sentence.word_pieces} tokens{cut}; {padding} of padding\n"
            f"  tokens          {' '.join(sentence.tokens)}\n"
            f"  input_ids       {' '.join(map(str, sentence.input_ids))}\n"
            f"  attention_mask  {' '.join(map(str, sentence.attention_mask))}"
        )
    parts.append(f"hidden state: {found.hidden_shape} (sentences, tokens, hidden size)")
    rows = [[part, f"{number:,}"] for part, number in found.parameters.items()]
    parts.append(tabulate(rows, headers=["part", "parameters"], tablefmt="simple", colalign=("left", "right")))
    return "\n\n".join(parts)


def _parameters(model: "PreTrainedModel") -> dict[str, int]:
    """Parameters of each part of the encoder, and of each part of the head on it."""
    base = model.base_model
    heads = {name: part for name, part in model.named_children() if part is not base}
    parts = {f"encoder: {name}": part for name, part in base.named_children()}
    parts |= {f"head: {name}": part for name, part in heads.items()}
    numbers = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return {name: number for name, number in numbers.items() if number} | {"all": sum(numbers.values())}
