"""Runs on a Ray cluster: each a task in a fresh worker process, whose record comes back to be written here.

Workers share no disk with who asks. Data and encoders that are local files go into Ray's object store once, and are
unpacked once a node; what a hub has, each worker fetches itself. Whoever asks may be killed: Ray ends the tasks of a
program that is gone, and the same sweep, started again, does what has no record.

Ray itself repeats nothing (`max_retries=0`): it would repeat without end what its memory monitor has killed.
"""

import contextlib
import dataclasses
import os
import platform
import signal
import socket
import tempfile
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Self

import ray
from ray._private import services
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtlab.environment import end_if_asked, find_device, interrupts_wait
from rtlab.experiment import Experiment
from rtlab.records import Status
from rtlab.records.checking import record_of
from rtlab.running import Run
from rtlab.scheduling.jobs import gpus
from rtlab.scheduling.parcels import READ, Packed, local_files, pack, unpacked
from rtlab.scheduling.planning import Planned
from rtlab.scheduling.processes import PATIENCE_S, Answer, Room, do, ended, leave
from rtlab.testbed import code_digest, threads
from rtlab.values import clean

LOCAL = "local"  # in an address's place: a cluster of its own on this machine
TRIES = 3  # of a run whose worker or node dies
AT_ONCE = 500  # runs that Ray has, to begin or to queue: each holds a lock's file open here
STORE = 200 * 10**6  # bytes of a cluster of its own; what is larger goes to disk
ANSWER_S = 60  # that a node has to say its versions

_DEATHS: Mapping[type[RayError], str] = {
    OutOfMemoryError: "Ray ended it, as its node's memory ran out",
    WorkerCrashedError: "its worker process died",
    NodeDiedError: "its node died",
}


class Share(NamedTuple):
    """What of the cluster each run has.

    Attributes:
        at_once: Runs that are done at once.
        threads: Threads of each.
        nodes: Nodes that have room for one.
        memory: Bytes of the largest of these.
        beside: Whether some share a node.
    """

    at_once: int
    threads: int
    nodes: int
    memory: int
    beside: bool


@contextlib.contextmanager
def connected(
    address: str, *, device: str | None = None, jobs: int | None = None, jobs_per_gpu: int | None = None
) -> Iterator["Cluster"]:
    """A cluster, for as long as the block.

    Args:
        address: `local` for one of its own on this machine, `auto` for one that runs here, or the address of one that
            this machine is a node of.
        device: `cpu` or `cuda`; CUDA where the cluster has any by default.
        jobs: Runs at once; `None` for as many as there is room for.
        jobs_per_gpu: Runs that may share a GPU; `None` for one.

    Raises:
        ValueError: If there is none, or it has no such device, or a number is below 1.
    """
    for name, value in (("jobs", jobs), ("jobs_per_gpu", jobs_per_gpu)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {value}")
    own: dict[str, object] = {}
    if address == LOCAL:
        own = {
            "num_cpus": max(threads(), jobs or 1),
            "num_gpus": len(gpus()) if find_device(None).type == "cuda" else 0,
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
    # Where a worker dies Ray prints so, with the node's address, on standard output; there is no setting for it.
    ray._private.worker.print_to_stdstream = _ignore
    try:
        with _same_handler(), _groups_of_their_own():
            if address != LOCAL:
                _check_answers(address)
            ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise ValueError(
            f"ray must be {LOCAL}, auto, or the address of a cluster that this machine is a node of, such as "
            f"10.0.0.1:6379; got {address!r} ({clean(str(error).partition(chr(10))[0])})"
        ) from error
    try:
        yield Cluster(device=device, jobs=jobs, jobs_per_gpu=jobs_per_gpu)
    except SystemExit:
        end_if_asked()  # Ray, where a signal finds it waiting, raises it anew with a status of its own
        raise
    finally:
        with interrupts_wait():
            ray.shutdown()


class Cluster:
    """The cluster that this process is connected to; arguments and errors as `connected`.

    Attributes:
        device: `cpu` or `cuda`.
    """

    def __init__(self, *, device: str | None, jobs: int | None, jobs_per_gpu: int | None) -> None:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        with_gpus = [node for node in nodes if node["Resources"].get("GPU")]
        self.device = device or ("cuda" if with_gpus else "cpu")
        if self.device == "cuda" and not with_gpus:
            raise ValueError("device must be one of the cluster's (cpu); got 'cuda'")
        if jobs_per_gpu is not None and self.device == "cpu":
            raise ValueError(f"jobs_per_gpu means something on CUDA alone; got {jobs_per_gpu} on the CPU")
        self._nodes = {node["NodeID"]: node["Resources"] for node in (with_gpus if self.device == "cuda" else nodes)}
        self._jobs, self._jobs_per_gpu = jobs, jobs_per_gpu or 1
        self._do = ray.remote(max_calls=1, max_retries=0)(_do)
        self._packed: dict[tuple[str, Path], Packed] = {}
        self._versions: Mapping[str, str] = {}
        self._memory = 0

    def share(self, planned: Iterable[Planned]) -> Share:
        """What each of these runs has: an equal part of the processors, and a GPU or a part of one.

        No more are done at once than have the memory that the largest of them needs.
        """
        needs = [one.memory for one in planned if one.to_do]
        most = max(needs, default=0)
        cores, places = [], []
        for node in self._nodes.values():
            cores.append(int(node.get("CPU", 0)))
            fit = cores[-1] if self.device == "cpu" else int(node["GPU"] * self._jobs_per_gpu)
            in_memory = max(1, int(node.get("memory", 0) // most)) if most else fit
            places.append(min(cores[-1], fit, in_memory))
        if not sum(places):
            raise ValueError(f"ray must be a cluster with processors for runs on {self.device}; got one without")
        at_once = min(sum(places), self._jobs or sum(places), max(1, len(needs)))

        def runs(each: int) -> list[int]:
            """On each node, if each run has so many threads."""
            return [min(place, core // each) for place, core in zip(places, cores, strict=True)]

        each = max(number for number in range(1, max(cores) + 1) if sum(runs(number)) >= at_once)
        having = [node for node, number in zip(self._nodes.values(), runs(each), strict=True) if number]
        memory = max(int(node.get("memory", 0)) for node in having)
        return Share(at_once, each, len(having), memory, beside=at_once > 1 and max(runs(each)) > 1)

    def fitting(self, planned: Iterable[Planned]) -> tuple[int, str]:
        """How many of these runs are done at once, and a sentence that says where."""
        at_once, each, nodes, *_ = self.share(planned)
        several, threads_, nodes_ = ("" if number == 1 else "s" for number in (at_once, each, nodes))
        return at_once, f"Ray: {at_once} run{several} at once on {nodes} node{nodes_}, {each} thread{threads_} each."

    def rooms(self, planned: Sequence[Planned]) -> list[Room]:
        """What each of so many runs has that Ray gets at once; data and encoders are brought into its store.

        Raises:
            ValueError: If a node has other versions than this process; the message names both.
        """
        if not planned:
            return []
        share = self.share(planned)
        self._memory = share.memory
        engines = sorted({one.experiment.engine for one in planned})
        self._versions = _versions(engines)
        self._check(engines)
        for one in planned:
            for field, path in local_files(one.experiment).items():
                if (field, path) not in self._packed:
                    self._packed[field, path] = pack(path, READ[field])
        room = Room(self.device, share.threads, beside=share.beside)
        return [room] * min(self._jobs or AT_ONCE, AT_ONCE, len(planned))

    def begin(self, one: Planned, folder: Path, room: Room) -> "RayRun":
        """Hand a run to Ray, which begins it where there is room."""
        sources = {field: self._packed[field, path] for field, path in local_files(one.experiment).items()}
        order = _Order(one.experiment, one.id, room, self._versions, sources)
        task = self._do.options(
            num_cpus=room.threads,
            num_gpus=1 / self._jobs_per_gpu if self.device == "cuda" else 0,
            memory=min(one.memory, self._memory) or None,
        )
        return RayRun(one, folder, room, lambda: task.remote(order))

    def _check(self, engines: Sequence[str]) -> None:
        asked = {}
        for node in self._nodes:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            task = ray.remote(max_calls=1, max_retries=0, num_cpus=0, scheduling_strategy=there)(_versions)
            asked[node] = task.remote(engines)
        for node, task in asked.items():
            try:
                found = ray.get(task, timeout=ANSWER_S)
            except RayTaskError as error:
                found = {"rtlab": f"none ({clean(_cause(error))})"}
            except RayError:  # it died, or is slow: its runs say the same, if it comes to any
                continue
            _check_same(self._versions, found, f"node {node[:8]}")


class RayRun:
    """A run that a cluster has.

    Args:
        one: The run.
        folder: Folder of results.
        room: What of its machine it has.
        submit: Hands it to Ray.
    """

    def __init__(self, one: Planned, folder: Path, room: Room, submit: "Callable[[], ray.ObjectRef]") -> None:
        self._one, self._folder, self._room, self._submit = one, folder, room, submit
        self._deaths: list[str] = []
        self._came: _Came | None = None
        self._task = submit()

    def done(self) -> Planned:
        """The run with how it ended, its record written.

        Raises:
            ValueError: If its worker's versions are not those of this process.
        """
        came = self._came
        assert came is not None, "it is among the first"
        if came.refused is not None:
            raise ValueError(came.refused)
        return self._recorded(came)

    def cancelled(self, why: str) -> Planned:
        """The run with its record, after `end`."""
        return self._recorded(self._came or _Came("cancelled", why))

    @classmethod
    def first(cls, begun: Iterable[Self]) -> list[Self]:
        """The one that has ended first; waits for it. What its worker's death ended is begun again."""
        waiting = list(begun)
        while True:
            of = {one._task: one for one in waiting}
            [task], _ = ray.wait(list(of), num_returns=1)
            if of[task]._ended():
                return [of[task]]

    @classmethod
    def end(cls, begun: Iterable[Self]) -> None:
        """End runs that were interrupted, all at once; what does not end is killed."""
        runs = list(begun)
        left = [one._task for one in runs]
        for force in (False, True):
            for task in left:
                ray.cancel(task, force=force)
            _, left = ray.wait(left, num_returns=len(left), timeout=PATIENCE_S) if left else ([], [])
        for one in runs:
            with contextlib.suppress(RayError):  # it was cancelled; of one that was done before, there is the record
                one._came = ray.get(one._task, timeout=0)

    def _ended(self) -> bool:
        """Whether it has; if its worker or node died, it is begun again."""
        try:
            self._came = ray.get(self._task)
        except RayTaskError as error:
            self._came = _Came("failed", _cause(error))
        except LocalRayletDiedError as error:
            raise ConnectionError("Ray's node on this machine died") from error
        except RayError as error:
            self._deaths.append(next((said for kind, said in _DEATHS.items() if isinstance(error, kind)), _name(error)))
            if len(self._deaths) < TRIES:
                warnings.warn(f"run {self._one.id}: {self._deaths[-1]}; it is begun again", stacklevel=2)
                self._task = self._submit()
                return False
            status: Status = "oom" if isinstance(error, OutOfMemoryError) else "failed"
            self._came = _Came(status, f"tried {TRIES} times: {'; '.join(self._deaths)}")
        return True

    def _recorded(self, came: "_Came") -> Planned:
        one = self._one
        if came.record is None or came.refused is not None:
            path = leave(one, self._folder, self._room, Answer(came.status, None, came.error))
        else:
            run = Run(one.experiment, output_dir=self._folder, device=self._room.device, prepared=one.prepared)
            path = run.keep(record_of(zlib.decompress(came.record), logits=True))
        return ended(one, came.status, path, came.seconds)


# What goes to a worker, and what comes back


@dataclass(frozen=True)
class _Order:
    """A run, the id that it must have, what it has of its machine, and the versions and sources of who asks."""

    experiment: Experiment
    run: str
    room: Room
    versions: Mapping[str, str]
    sources: Mapping[str, Packed]


@dataclass(frozen=True)
class _Came:
    """How a run ended: its record, compressed, or why there is none, and what it took; or why it was refused."""

    status: Status
    error: str = ""
    record: bytes | None = None
    seconds: float | None = None
    refused: str | None = None


def _do(order: _Order) -> _Came:
    """Do a run in this process, which is a worker's, and a fresh one."""
    start = time.monotonic()
    os.environ.update(order.room.variables)  # Ray's own OMP_NUM_THREADS gives way to what a node's environment has
    try:
        _check_same(order.versions, _versions([order.experiment.engine]), "a worker")
    except ValueError as error:
        return _Came("cancelled", refused=str(error))
    with tempfile.TemporaryDirectory(prefix="rtlab-") as folder:
        here, asked = {field: str(unpacked(packed)) for field, packed in order.sources.items()}, order.experiment
        dataset, encoder = here.get("dataset", asked.dataset), here.get("encoder", asked.encoder)
        answer = do(dataclasses.replace(asked, dataset=dataset, encoder=encoder), folder, order.room, order.run)
        record = None if answer.path is None else zlib.compress(answer.path.read_bytes())
    return _Came(answer.status, answer.error, record, time.monotonic() - start)


def _versions(engines: Iterable[str]) -> dict[str, str]:
    """What who asks and workers must have in common; a build (`+cpu`) is none of it."""
    libraries = {name: version(name).partition("+")[0] for name in ("torch", "transformers", "rtlab")}
    return {"Python": platform.python_version(), **libraries, **{f"code of {one}": code_digest(one) for one in engines}}


def _check_same(ours: Mapping[str, str], theirs: Mapping[str, str], who: str) -> None:
    """Refuse (`ValueError`) a worker whose versions are not those of who asks, as far as it names them."""
    differ = [f"{name} {theirs[name]} (here {ours[name]})" for name in theirs if theirs[name] != ours.get(name)]
    if differ:
        raise ValueError(
            f"ray must be a cluster with the versions of who asks; got {who} with {', '.join(differ)}; the same there "
            "would do"
        )


def _cause(error: RayTaskError) -> str:
    """What was raised in a worker."""
    cause = error.cause or error
    return f"{type(cause).__name__}: {str(cause).strip().rpartition(chr(10))[2]}"


def _name(error: RayError) -> str:
    return type(error).__name__


def _ignore(*_: object, **__: object) -> None:
    """What Ray would print."""


def _check_answers(address: str) -> None:
    """Refuse (`OSError`, `ValueError`) an address where nothing listens: Ray would try it for a quarter of an hour."""
    host, _, port = (ray._private.services.canonicalize_bootstrap_address(address) or "").rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()


@contextlib.contextmanager
def _groups_of_their_own() -> Iterator[None]:
    """Meanwhile processes that Ray starts are not in the group of this one.

    Else a signal to the whole group, as `timeout` sends it, ends Ray's node as well, and at its next call this process
    with it, by an exit of Ray's own, before runs have left their records.
    """
    usual = services.ConsolePopen
    services.ConsolePopen = partial(usual, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = usual


@contextlib.contextmanager
def _same_handler() -> Iterator[None]:
    """Keep who handles SIGTERM: Ray puts a handler of its own in its place, which ends with a status of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    came = False
    try:
        yield
    except SystemExit as stop:
        came = stop.code == signal.SIGTERM
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if came:
            signal.raise_signal(signal.SIGTERM)
