"""The files of an encoder's directory: which are read, their digest, and the weights in them.

What is read is what the digest is taken of: plain files in the directory, weights as safetensors alone. Nothing is
unpickled, and no code that a directory brings is run.
"""

import fnmatch
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rtlab.values import Json, one_line, shown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
NEEDED = {
    "config.json": ("config.json",),
    "vocabulary": ("tokenizer.json", "vocab*", "*.model"),  # without one, transformers makes an empty one in silence
    "safetensors": ("*.safetensors",),
}
_READ = ("*.json", "*.safetensors", "vocab*", "merges.txt", "*.model")
_CODE = ("config.json", "tokenizer_config.json")  # where `auto_map` names a directory's own code
# A tokenizer's settings may overrule its vocabulary's file (case, accents, spaces): what comes of this shows it.
_TELLING = " A Good Film:  the café's déjà-vu, e\u0301té \u2014 3.5 STARS \u96fb\u5f71 \u2026"


def check_files(path: Path, name: str) -> None:
    """Refuse (`ValueError`) a directory that lacks a file, or that asks for code of its own.

    Args:
        path: The directory.
        name: The encoder's name, for messages.
    """
    there = [file.name for file in path.iterdir() if file.is_file()]
    missing = [part for part, patterns in NEEDED.items() if not any(fnmatch.filter(there, p) for p in patterns)]
    if missing:
        raise ValueError(
            f"encoder must hold config.json, tokenizer files and model.safetensors; got {name!r}, which has "
            f"no {' and no '.join(missing)} (pickled weights are not read)"
        )
    for file in sorted(name for name in there if any(fnmatch.fnmatch(name, pattern) for pattern in _READ)):
        if (what := no_whole_file(path / file)) is not None:
            raise ValueError(f"encoder must hold its files whole; got {name!r}, whose {one_line(file)} {what}")
    if (settings := _settings(path / "config.json")) is not None and not (isinstance(settings, dict) and settings):
        raise ValueError(
            f"encoder must be described by its config.json; got {name!r}, whose config.json holds {shown(settings)}; "
            "the file downloaded or saved again would do"
        )
    for file in _CODE:
        if _names_code(path / file):
            raise ValueError(
                f"encoder must need no code but transformers'; got {name!r}, whose {file} asks for Python code of its "
                "own (auto_map), which is not run; an encoder of a type that transformers knows would do"
            )


def no_whole_file(file: Path) -> str | None:
    """What lies in a file's place where it was not downloaded, and what would do; `None` where nothing tells that.

    A clone without Git LFS has small texts that point to the large files; a page of a web site is what one gets that
    was saved from a browser, or asked for without leave.

    Args:
        file: Configuration, vocabulary or weights; none of these begins so.
    """
    try:
        with file.open("rb") as stream:
            begins = stream.read(200).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    except OSError:
        return None  # whoever reads it says why
    if begins.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS in its place; git lfs pull, in that directory, would do"
    if begins.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "is a page of a web site in its place; the file itself, downloaded again, would do"
    if not begins:
        return "is empty; the file downloaded or saved again would do"
    return None


def _names_code(file: Path) -> bool:
    settings = _settings(file)
    return isinstance(settings, dict) and bool(settings.get("auto_map"))


def _settings(file: Path) -> Json:
    """What a file of JSON holds; nothing where it is none: transformers says what is wrong with it."""
    try:
        settings: Json = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return settings


def file_digests(path: Path) -> dict[str, str]:
    """SHA-256 of each file that is read of a directory, by its name there: configuration, weights, vocabulary."""
    digests = {}
    for file in (path / "config.json", *weight_files(path), *_vocabulary(path)):
        with file.open("rb") as stream:
            digests[file.relative_to(path).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def digest(path: Path, files: Mapping[str, str], tokenizer: "PreTrainedTokenizerFast") -> str:
    """Over what is read of a directory, so that it does not matter which other files a cache holds of a repository.

    Weights, configuration and vocabulary count as they are stored; a tokenizer's settings as what they come to.

    Args:
        path: The directory.
        files: What `file_digests` gave.
        tokenizer: What transformers made of the directory.
    """
    total = hashlib.sha256("".join(f"{name}\0{part}\0" for name, part in files.items()).encode())
    settled: dict[str, object] = {
        "specials": {role: tokenizer.convert_tokens_to_ids(it) for role, it in tokenizer.special_tokens_map.items()},
        "sides": {"padding": tokenizer.padding_side, "truncation": tokenizer.truncation_side},
        "ids": tokenizer(_TELLING).input_ids,
    }
    if added := _added(path, tokenizer):
        settled["added"] = added
    total.update(json.dumps(settled, sort_keys=True).encode())
    return total.hexdigest()


def _added(path: Path, tokenizer: "PreTrainedTokenizerFast") -> dict[str, int]:
    """Tokens that other files than `tokenizer.json` add to it (`added_tokens.json`, `tokenizer_config.json`)."""
    try:
        told = {str(token["content"]) for token in json.loads((path / "tokenizer.json").read_bytes())["added_tokens"]}
    except (OSError, ValueError, KeyError, TypeError):
        told = set()
    known = {*told, *tokenizer.all_special_tokens}
    return {token: number for token, number in sorted(tokenizer.get_added_vocab().items()) if token not in known}


def weight_files(path: Path) -> list[Path]:
    """The files that hold a directory's weights: one, or an index and its shards.

    Raises:
        ValueError: If the index is broken, or names a shard that is not there or lies elsewhere.
    """
    whole, index = path / WEIGHTS, path / INDEX
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else sorted(path.glob("*.safetensors"))
    try:
        shards = sorted({str(shard) for shard in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"encoder must have a weight_map in {INDEX}; got {path.name}, without one") from error
    for shard in shards:
        _check_shard(path, shard)
    return [index, *(path / shard for shard in shards)]


def _check_shard(path: Path, shard: str) -> None:
    where = (path / shard).resolve()
    if ".." in Path(shard).parts or Path(shard).is_absolute() or not any(where.is_relative_to(p) for p in _homes(path)):
        raise ValueError(
            f"encoder must hold all that its {INDEX} names; got {path.name}, whose {one_line(shard)} lies outside of it"
        )
    if where.suffix != ".safetensors" and Path(shard).suffix != ".safetensors":
        raise ValueError(
            f"encoder must have its weights as safetensors; got {path.name}, whose {INDEX} names {one_line(shard)}"
        )
    if not where.is_file():
        raise ValueError(f"encoder must hold all that its {INDEX} names; got {path.name}, without {one_line(shard)}")


def _homes(path: Path) -> Iterable[Path]:
    """Where a directory's files may lie: in it, or where the hub's cache keeps what its snapshots link to."""
    yield path.resolve()
    if path.resolve().parent.name == "snapshots":
        yield path.resolve().parents[1] / "blobs"


def _vocabulary(path: Path) -> list[Path]:
    """`tokenizer.json`, which holds all that a fast tokenizer is; else what transformers makes one from."""
    whole = path / "tokenizer.json"
    parts = (file for pattern in ("vocab*", "merges.txt", "*.model") for file in path.glob(pattern) if file.is_file())
    return [whole] if whole.is_file() else sorted(parts)


def read_weights(path: Path, name: str) -> "dict[str, torch.Tensor]":
    """All tensors of a directory's weights, by the names under which they are stored; they are mapped, not copied.

    Raises:
        ValueError: If a file is not there, cannot be read, or holds weights that were quantized.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = weight_files(path)
    if files[0].name not in (WEIGHTS, INDEX):
        raise ValueError(
            f"encoder must hold {WEIGHTS}, or {INDEX} and what it names; got {name!r}, which has {files[0].name}; "
            "the file under that name would do"
        )
    weights: dict[str, torch.Tensor] = {}
    for file in files:
        if file.name == INDEX:
            continue
        try:
            weights |= load_file(file)
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"encoder must hold whole safetensors; got {name!r}, whose {file.name} cannot be read "
                f"({one_line(str(error))}); the file downloaded or saved again would do"
            ) from error
    _check_floats(weights, name)
    if (spoilt := not_finite(weights)) is not None:
        raise ValueError(
            f"encoder must hold finite weights; got {name!r}, whose {one_line(spoilt)} has NaN or infinity among its "
            "numbers; a checkpoint from before its training failed would do"
        )
    return weights


def not_finite(weights: "Mapping[str, torch.Tensor]") -> str | None:
    """Name of the first tensor of floats in which a number is NaN or infinite in fp32, if there is one; reads all."""
    import torch

    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.dtype.itemsize > 1 and tensor.numel():
            least, most = (float(end.float()) for end in torch.aminmax(tensor))  # NaN, both, where any number is
            if not (math.isfinite(least) and math.isfinite(most)):
                return name
    return None


def _check_floats(weights: "dict[str, torch.Tensor]", name: str) -> None:
    """Refuse numbers of 8 bits: what they stand for depends on scales, which transformers would leave out."""
    for tensor_name, tensor in weights.items():
        if tensor.dtype.itemsize == 1 and tensor.dim() > 1:
            raise ValueError(
                f"encoder must hold weights as floats of 16 bits or more; got {name!r}, whose {one_line(tensor_name)} "
                f"is {str(tensor.dtype).removeprefix('torch.')}; the weights before they were quantized would do"
            )
