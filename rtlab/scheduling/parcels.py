"""Files and folders of this machine that workers on others need: packed once, unpacked once a node.

They go through Ray's object store as one archive each, whose digest is looked at where it arrives.
"""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import ray

from rtlab.encoders.built_in import BUILT_IN
from rtlab.encoders.encoder import FILES
from rtlab.experiment import Experiment
from rtlab.writing import lock, new_folder

READ = {"dataset": ("*",), "encoder": FILES}  # of a folder, by their names


@dataclass(frozen=True)
class Packed:
    """A file or folder in Ray's store: its name, the digest of its archive, and where that is."""

    name: str
    sha256: str
    archive: "ray.ObjectRef"


def local_files(experiment: Experiment) -> dict[str, Path]:
    """The fields of an experiment that name a file or folder of this machine."""
    found = {}
    dataset = experiment.dataset
    path = Path.home() / dataset[2:] if dataset.startswith("~/") else Path(dataset)
    if dataset != "corpus" and path.exists():
        found["dataset"] = path.resolve() if path.is_dir() else path.absolute()  # a link's name tells a file's format
    if experiment.encoder is not None and experiment.encoder not in BUILT_IN and Path(experiment.encoder).is_dir():
        found["encoder"] = Path(experiment.encoder).resolve()
    return found


def pack(path: Path, read: Sequence[str] = ("*",)) -> Packed:
    """Put a file, or a folder's files of such names, into Ray's store."""
    archive = _archive(path, read)
    return Packed(path.name, hashlib.sha256(archive).hexdigest(), ray.put(archive))


def _archive(path: Path, read: Sequence[str]) -> bytes:
    """A file, or a folder's files of such names with what links lead to, as a zip.

    The same contents make the same bytes, so that a node that has unpacked them need not do so again.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    files = [one for one in files if any(fnmatch(one.relative_to(path).as_posix(), name) for name in read)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in files:
            name = (Path(path.name) / file.relative_to(path)).as_posix()
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes())  # without when it was changed
    return buffer.getvalue()


def unpacked(packed: Packed) -> Path:
    """Where a file or folder lies on this node, in its temporary folder; the first that asks unpacks it.

    Raises:
        ValueError: If what came is not what was sent.
    """
    home = Path(tempfile.gettempdir()) / f"rtlab-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    place = home / packed.sha256[:32]
    with (home / f"{place.name}.lock").open("w") as waiting:
        lock(waiting.fileno(), wait=True)
        if not place.exists():
            archive = ray.get(packed.archive)
            if hashlib.sha256(archive).hexdigest() != packed.sha256:
                raise ValueError(f"{packed.name} did not come as it was sent")
            with new_folder(place) as part, zipfile.ZipFile(io.BytesIO(archive)) as files:
                files.extractall(part)
    return place / packed.name
