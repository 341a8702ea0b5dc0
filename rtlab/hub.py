"""Files from the Hugging Face hub, in huggingface_hub's own cache, with an end to waiting.

`snapshot_download` alone would do but for a machine without internet: its first requests have no timeout, and it tries
a refused connection again for 23 s (huggingface_hub 1.33 and 2.4). Here one request, with a timeout and no retries,
asks whether the hub answers and which files there are; the download after it is given up once nothing more arrives.
Both run in a daemon thread, because some waits (name resolution, a proxy's handshake) have no timeout to set.

A pinned revision never changes, so its cached copy is used without asking. Whatever is not pinned is asked for each
time, and falls back to its cached copy when the hub cannot be reached.
"""

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from textwrap import shorten
from threading import Thread
from types import ModuleType
from typing import Literal, TypeVar

ANSWER_S = 8.0
STALL_S = 300.0  # files grow by 10 MB at a time, which on a slow line takes a while

# huggingface_hub's own rules (utils/_validators.py), but with an owner required.
_ID = re.compile(r"(?=.{1,96}$)(?!.*(--|\.\.))(?!.*\.git$)\b[\w.-]+\b/\b[\w.-]+\b", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A repository's files on this machine.

    Attributes:
        path: the directory that holds them, in the cache.
        revision: the commit that they are of.
    """

    path: Path
    revision: str


def is_id(name: str) -> bool:
    """Whether a name has the form of a hub id, `owner/name`."""
    return _ID.fullmatch(name) is not None


def snapshot(
    name: str,
    *,
    kind: Literal["dataset", "model"],
    option: str,
    revision: str | None,
    files: Sequence[str],
    needed: Sequence[str] = (),
    alternatives: str,
    answer_s: float = ANSWER_S,
    stall_s: float = STALL_S,
) -> Snapshot:
    """Download files of a repository, or find them in the cache.

    Honours `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.

    Args:
        name: hub id, `owner/name`.
        kind: what the repository holds.
        option: the option that gave the name, for messages.
        revision: the commit to use (all 40 digits), None for the newest.
        files: patterns (`fnmatch`) of the files that are wanted; no others are downloaded.
        needed: patterns that must each have a file in a cached copy. Other programs cache single files, so without this
            a copy of one file would pass for the whole.
        alternatives: the end of every message: what would do instead.
        answer_s: seconds that the hub has for its first answer.
        stall_s: seconds after which a download that brings nothing more is given up.

    Returns:
        The files and their commit.

    Raises:
        ValueError: no such repository, no access to it, none of the files in it, or the hub cannot be reached and the
            cache holds no copy.
    """
    from huggingface_hub import utils

    with quiet(utils):
        cached = _cached(name, kind, revision, needed)
        if cached is not None and revision is not None:
            return cached
        try:
            commit = _download(name, kind, revision, files, answer_s, stall_s)
        # What a failed request raises has no class in common: httpx's or httpx2's errors, ssl's, json's, hf_xet's.
        except Exception as error:
            refusal = _refusal(error)
            if cached is not None and refusal is None:
                return cached
            why = refusal or f"the hub cannot be reached, and its cache holds no copy ({one_line(error)})"
            raise ValueError(f"{option} {name!r}: {why}; {alternatives}") from error
        found = _cached(name, kind, commit, ()) if commit else None
    if found is None:
        raise ValueError(f"{option} {name!r}: the hub has no file of it like {', '.join(files)}; {alternatives}")
    return found


@contextmanager
def quiet(utils: ModuleType) -> Iterator[None]:
    """Without bars and log lines of `huggingface_hub` or `datasets` (their `utils` have the same functions).

    What they log comes back as an exception, so that the one line of its message says it.
    """
    bars, verbosity = not utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.logging.set_verbosity(logging.CRITICAL)
    with warnings.catch_warnings():
        # Where the environment insists on bars, this only warns, and they are shown (on standard error).
        warnings.simplefilter("ignore")
        if bars:
            utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(verbosity)
        if bars:
            utils.enable_progress_bars()


def one_line(error: BaseException) -> str:
    """An error's message in one line of at most 200 characters, or its type where it has none."""
    return shorten(str(error), 200, placeholder=" …").rstrip(".:; ") or type(error).__name__


def _cached(name: str, kind: str, revision: str | None, needed: Sequence[str]) -> Snapshot | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    files = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    whole = all(any(fnmatch(file, pattern) for file in files) for pattern in needed)
    return Snapshot(path, path.name) if whole else None


def _download(
    name: str, kind: str, revision: str | None, files: Sequence[str], answer_s: float, stall_s: float
) -> str | None:
    """Bring the wanted files into the cache; returns the commit, or None where the repository has none of them."""
    from huggingface_hub import HfApi, hf_hub_download

    info = _within(answer_s, lambda: HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=answer_s))
    there = [sibling.rfilename for sibling in info.siblings or ()]
    wanted = [file for file in there if any(fnmatch(file, pattern) for pattern in files)]

    def bring() -> None:
        # File by file, not `snapshot_download`: a process cannot end before the worker threads of that, stalled or not.
        for file in wanted:
            hf_hub_download(name, file, repo_type=kind, revision=info.sha)
        if revision is None:
            # Asked for by branch, a file makes the cache note the branch's commit. Last, so that it notes a whole copy.
            hf_hub_download(name, wanted[0], repo_type=kind)

    if not wanted:
        return None
    _within(stall_s, bring, lambda: _arrived(name, kind))
    return str(info.sha)


def _arrived(name: str, kind: str) -> object:
    """What changes while a download makes progress: the sizes of the repository's files in the cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        with os.scandir(Path(HF_HUB_CACHE, f"{kind}s--{name.replace('/', '--')}", "blobs")) as files:
            return {file.name: file.stat().st_size for file in files}
    except OSError:
        return None  # not there yet, or a file was renamed just now


def _within(seconds: float, call: Callable[[], T], progress: Callable[[], object] = lambda: None) -> T:
    """The result of `call`; TimeoutError once `seconds` pass without a change of what `progress` returns."""
    future: futures.Future[T] = futures.Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # raised again by `future.result()`, in the thread that asked
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    seen = progress()
    while not futures.wait([future], seconds).done:
        if (now := progress()) == seen:
            raise TimeoutError(f"no answer within {seconds:g} s")
        seen = now
    return future.result()


def _refusal(error: Exception) -> str | None:
    """Why the hub refused; None where it did not answer, or with a fault of its own."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    match error:
        case GatedRepoError():
            return "gated on the hub: its terms accepted there, and HF_TOKEN set, would open it"
        case RevisionNotFoundError():
            return "the hub does not have the pinned revision"
        case RepositoryNotFoundError():
            return "no directory here, and nothing on the hub that is open to you (HF_TOKEN would open what is private)"
        case HfHubHTTPError() if error.response.status_code in (401, 403, 404):
            return f"refused by the hub with HTTP {error.response.status_code}: a wrong name, or a wrong HF_TOKEN"
    return None
