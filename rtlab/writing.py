"""Files and folders that are written whole or not at all, and what processes that died left of them.

While it is written, a file or a folder is called `.rtlab-PID-RANDOM.part`, beside its place, and is locked (`flock`).
A lock ends with its process, however that ends, and on a shared disk other machines see it (NFS 4 passes it on). So
what has such a name, can be locked, and is of no living process of this machine is a leftover, and whoever next writes
into the folder removes it. Where a file system knows no locks, nothing is removed.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_PART = re.compile(r"\.rtlab-(\d{1,9})-[0-9a-f]{8}\.part")


def write_whole(path: Path, text: str) -> None:
    """Write a text file at once; how, and errors, as `whole_file`."""
    with whole_file(path) as file:
        file.write(text)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file, UTF-8, for the block to write.

    A reader, or a crash at any moment, sees the old file or the new one, never a part. A symbolic link is followed,
    and a device, a pipe, or where this process's own standard output goes is written to: they stay what they are. A
    file that is there keeps its permissions and its owner. Half a surrogate pair, which is no UTF-8, is written by its
    number.

    Raises:
        OSError: If it cannot be written; the error names it, and nothing is left of it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = _stat(path)
        if there is None or (stat.S_ISREG(there.st_mode) and _descriptor(there) is None):
            with _replacing(Path(os.path.realpath(path)), there) as file:
                yield file
        else:  # a folder refuses to be opened
            own = _descriptor(there)
            with open(
                path if own is None else own,
                "w",
                closefd=own is None,
                encoding="utf-8",
                errors="backslashreplace",
                newline="",
            ) as stream:
                yield stream
    except OSError as error:
        if error.filename is None or _PART.fullmatch(Path(str(error.filename)).name):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which then becomes `place`, or is removed where the block raises.

    Raises:
        OSError: If it cannot be made, or something is at `place` by then.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.parent)
    part = _part(place.parent)
    part.mkdir()
    try:
        with _locked(os.open(part, os.O_RDONLY)):
            yield part
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that died had begun to write in a folder; what living ones write, and all else, stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.fullmatch(entry.name)
            if found is not None and not _lives(int(found[1])):
                with contextlib.suppress(OSError):  # it is locked, or another process was first
                    _remove(entry)


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed, by whatever ends the process; False if another one has it.

    Raises:
        OSError: If its file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _descriptor(there: os.stat_result) -> int | None:
    """Standard output or error, if that is where the file is written from already; replaced, it would be lost."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(there, os.fstat(descriptor)):
                return descriptor
    return None


@contextlib.contextmanager
def _replacing(path: Path, there: os.stat_result | None) -> Iterator[TextIO]:
    if there is not None and not os.access(path, os.W_OK):  # to replace it needs no permission but the folder's
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    remove_leftovers(path.parent)
    part = _part(path.parent)
    try:
        with (
            part.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file,
            _locked(os.dup(file.fileno())),
        ):
            yield file
            file.flush()
            if there is not None:
                _like(file.fileno(), there)
            os.fsync(file.fileno())
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _like(descriptor: int, there: os.stat_result) -> None:
    """Give a file the owner and the permissions of another."""
    with contextlib.suppress(OSError):  # only root may give files away
        os.fchown(descriptor, there.st_uid, there.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(there.st_mode))


def _part(folder: Path) -> Path:
    """A name that is short, whatever the place is called."""
    return folder / f".rtlab-{os.getpid()}-{secrets.token_hex(4)}.part"


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Hold a lock, where the file system knows any; the descriptor is closed in the end."""
    try:
        with contextlib.suppress(OSError):
            lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _remove(entry: os.DirEntry[str]) -> None:
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if lock(descriptor):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()
    finally:
        os.close(descriptor)
