"""Which of several sweeps into one folder does a run: the one that has its lock.

A lock is a file `.running/ID.lock` of the output folder, which its sweep holds locked (`flock`) as long as it does the
run. The lock ends with the sweep's process, however that ends. On a shared disk other machines see it where the file
system passes locks on, as NFS 4 does; where there are no locks, that is said, and each sweep does all of its runs.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from rtlab.writing import lock

FOLDER = ".running"  # not `records`, where it could be taken for one


@contextlib.contextmanager
def claim(output_dir: Path, run: str, *, wait: bool = False) -> Iterator[bool]:
    """Have a run to oneself within the block, if no other sweep has it; yields whether that is so.

    Args:
        output_dir: Folder of results.
        run: The run's id.
        wait: Whether to wait until no other sweep has it.
    """
    path = output_dir / FOLDER / f"{run}.lock"
    descriptor = _open_locked(path, wait=wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            with contextlib.suppress(OSError):  # others are in it
                path.parent.rmdir()


def remove_dead_claims(output_dir: Path) -> None:
    """Remove the lock files of sweeps that were killed."""
    for path in (output_dir / FOLDER).glob("*.lock"):
        with claim(output_dir, path.stem):
            pass


def _open_locked(path: Path, *, wait: bool) -> int | None:
    """The lock file, open and locked; `None` if another sweep has it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder was removed meanwhile
            continue
        if not _holds(descriptor, path, wait=wait):
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # whoever had it has removed it


def _holds(descriptor: int, path: Path, *, wait: bool) -> bool:
    try:
        return lock(descriptor, wait=wait)
    except OSError as error:
        warnings.warn(
            f"{path.parent.parent} is on a file system without locks ({error.strerror}): another sweep into it would "
            "do the same runs",
            stacklevel=2,
        )
        return True
    except BaseException:  # interrupted while it waits
        os.close(descriptor)
        raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
