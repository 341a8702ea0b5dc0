"""A folder put in the place of another one in one step: whoever looks finds the former or the new one, whole.

Linux exchanges two folders' names at once (`renameat2`). Where a file system cannot (NFS), the former gets another name
first, and lies whole under that one if the process is killed between the two.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from rtlab.environment import interrupts_wait
from rtlab.writing import new_folder

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EXDEV)  # EXDEV: an overlay, of what lies in its lower layer


class _ExchangedError(Exception):
    """The new folder has its place already, and what is to be removed is the former."""


@contextlib.contextmanager
def replacing_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which then takes the place of the one that is there, if any; removed where the block raises.

    The former is removed with all that it holds. Where the process is killed at any moment, what is at `place` is the
    former or the new one, and what is left beside it is removed by whoever next writes there.

    Raises:
        OSError: If it cannot be made or put there.
    """
    with contextlib.suppress(_ExchangedError), new_folder(place) as part:
        yield part
        if place.is_dir() and any(place.iterdir()):
            with interrupts_wait():
                if not _exchange(part, place):
                    _take_turns(part, place)
            raise _ExchangedError


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; `False` where system or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one.absolute()), _HERE, os.fsencode(other.absolute()), _EXCHANGE) == 0:
        return True
    failed = ctypes.get_errno()
    if failed in _CANNOT:
        return False
    raise OSError(failed, os.strerror(failed), str(other))


def _take_turns(part: Path, place: Path) -> None:
    """Put a folder in another's place in two steps, between which the former has another name."""
    former = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}.former")
    place.rename(former)
    try:
        part.rename(place)
    except OSError:
        former.rename(place)
        raise
    shutil.rmtree(former, ignore_errors=True)
