"""The part of a very long text that decides its label, so that the rest is never tokenized."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHORT = 2**15  # characters; such a text goes to the tokenizer whole, which takes some 200 bytes a character
LONGEST = 2**20  # characters that may hold fewer than max_length tokens


def cut(text: str, tokenizer: "PreTrainedTokenizerFast", max_length: int) -> str:
    """The part of a very long text that its tokens come from, up to a blank, so that the rest is never tokenized.

    Raises:
        ValueError: If a million characters hold fewer than `max_length` tokens, such as one endless word.
    """
    size, enough = SHORT, max_length + 16  # some more, lest the cut itself make a token
    while size < len(text):
        part = _end(text, size) if tokenizer.truncation_side == "left" else _beginning(text, size)
        if len(tokenizer(part, truncation=True, max_length=enough).input_ids) >= enough:
            return part
        if size >= LONGEST:
            raise ValueError(
                f"sentences must have words; got one of {len(text):,} characters that begins {text[:20]!r} and has "
                f"fewer than {max_length} tokens in a million of them"
            )
        size *= 2
    return text


def _beginning(text: str, size: int) -> str:
    """Its first characters, without a part of a word."""
    words = text[:size].rsplit(maxsplit=1)
    return words[0] if len(words) > 1 else text[:size]


def _end(text: str, size: int) -> str:
    words = text[-size:].split(maxsplit=1)
    return words[1] if len(words) > 1 else text[-size:]
