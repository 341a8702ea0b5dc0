"""Runs on a Ray cluster: the same records as here, whatever dies."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import sys
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small

import rtlab as library
from rtlab import records
from rtlab.environment import ended_by_signals
from rtlab.running import run
from rtlab.scheduling.planning import plan
from rtlab.scheduling.processes import Room
from rtlab.scheduling.sweep import sweep

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed", exc_type=ImportError)

from ray._private import services  # noqa: E402
from ray.exceptions import (  # noqa: E402 - where there is Ray
    LocalRayletDiedError,
    NodeDiedError,
    ObjectStoreFullError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from rtlab.scheduling import cluster, parcels  # noqa: E402 - likewise

PATIENCE_S = 120  # for what Ray does on a busy machine
THOROUGH = pytest.mark.thorough


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("cluster") / "reviews")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Where this process, as a worker, unpacks."""
    monkeypatch.setattr(parcels.tempfile, "tempdir", str(tmp_path))


def words(data, **fields):
    return library.Experiment(dataset=str(data), method=library.Words(), **fields)


def until(happened):
    """Wait until something has; a failure says that it did not."""
    end = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


# What each run has


def nodes(*resources):
    return [{"Alive": True, "NodeID": f"{number:056x}", "Resources": one} for number, one in enumerate(resources)]


@pytest.fixture
def made(monkeypatch):
    """A cluster of such nodes, as far as counting goes."""

    def make(*resources, device=None, jobs=None, jobs_per_gpu=None):
        monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes(*resources))
        return cluster.Cluster(device=device, jobs=jobs, jobs_per_gpu=jobs_per_gpu)

    return make


@pytest.fixture(scope="module")
def planned(data):
    return plan([words(data, seed=seed) for seed in range(6)], elsewhere=True)


def sized(planned, memory):
    return [dataclasses.replace(one, memory=memory) for one in planned]


SMALL, LARGE = {"CPU": 4.0, "memory": 8e9}, {"CPU": 16.0, "memory": 64e9}
GPUS = {"CPU": 8.0, "GPU": 4.0, "memory": 64e9}
SHARES = {
    "one run has a whole node": ((SMALL, LARGE), {}, 1, 10**9, (1, 16, 1, False)),
    "runs have equal parts": ((SMALL, LARGE), {}, 5, 10**9, (5, 4, 2, True)),
    "at least a processor": ((SMALL,), {}, 6, 10**9, (4, 1, 1, True)),
    "no more than asked for": ((SMALL, SMALL), {"jobs": 2}, 6, 10**9, (2, 4, 2, False)),
    "no more than fit into memory": ((SMALL, SMALL), {}, 6, 3 * 10**9, (4, 2, 2, True)),
    "at least one": ((SMALL,), {}, 6, 9 * 10**9, (1, 4, 1, False)),
    "a GPU each": ((GPUS, LARGE), {}, 6, 10**9, (4, 2, 1, True)),
    "a part of a GPU each": ((GPUS, LARGE), {"jobs_per_gpu": 2}, 6, 10**9, (6, 1, 1, True)),
    "not on the GPUs": ((GPUS, LARGE), {"device": "cpu"}, 2, 10**9, (2, 8, 2, True)),
}


@pytest.mark.parametrize(("there", "asked", "number", "memory", "share"), SHARES.values(), ids=SHARES)
def test_runs_share_the_cluster(made, planned, there, asked, number, memory, share):
    found = made(*there, **asked).share(sized(planned[:number], memory))
    assert (found.at_once, found.threads, found.nodes, found.beside) == share


def test_where_nothing_is_to_do_no_node_is_asked(made):
    assert made(SMALL).rooms([]) == []


def test_it_says_where_runs_are_done(made, planned):
    assert made(SMALL).fitting(planned[:1]) == (1, "Ray: 1 run at once on 1 node, 4 threads each.")
    assert made(SMALL, SMALL).fitting(planned) == (6, "Ray: 6 runs at once on 2 nodes, 1 thread each.")


REFUSED = {
    "device must be one of the cluster's": ((SMALL,), {"device": "cuda"}),
    "jobs_per_gpu means something on CUDA alone; got 2 on the CPU": ((SMALL,), {"jobs_per_gpu": 2}),
    "ray must be a cluster with processors for runs on cpu": (({"CPU": 0.0},), {}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_cluster_that_cannot_do_them_is_refused(made, planned, message):
    there, asked = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        made(*there, **asked).share(planned)


@pytest.mark.parametrize("field", ["jobs", "jobs_per_gpu"])
def test_numbers_below_one_are_refused(field):
    with (
        pytest.raises(ValueError, match=f"{field} must be a whole number of at least 1; got 0"),
        cluster.connected("auto", **{field: 0}),
    ):
        pass


def test_times_are_not_taken_elsewhere(rtlab):
    done = rtlab("sweep", "smoke", "--ray", "auto", "--retime")
    assert done.status == 2
    assert done.err == "rtlab: --ray must be left out for times, which are of the testbed here; got 'auto'\n"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_device_that_is_elsewhere_is_not_looked_at_here(data, precision):
    asked = small.experiment(data, precision=precision)
    [one] = plan([asked], device="cuda", elsewhere=True)
    assert one.to_do


# What goes to a worker


@pytest.fixture
def store(monkeypatch):
    """Ray's object store, as far as one process needs it."""
    there = []
    monkeypatch.setattr(cluster.ray, "put", lambda value: there.append(value) or len(there) - 1)
    monkeypatch.setattr(cluster.ray, "get", lambda place, **_: there[place])
    return there


def test_a_folder_is_unpacked_once_and_is_the_same(data, store, tmp_path):
    packed = parcels.pack(data)
    place = parcels.unpacked(packed)
    assert place.name == data.name
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        path.name: path.read_bytes() for path in data.iterdir()
    }
    store.clear()
    assert parcels.unpacked(packed) == place
    assert tmp_path in place.parents


def test_a_file_and_what_links_lead_to_is_packed(data, store, tmp_path):
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "train.csv").symlink_to(data / "train.csv")
    for path in (folder, data / "test.csv"):
        place = parcels.unpacked(parcels.pack(path))
        file = place / "train.csv" if place.is_dir() else place
        assert not file.is_symlink()
        assert file.read_bytes() == (data / file.name).read_bytes()


def test_the_same_contents_have_the_same_digest_whenever_they_were_written(data, store, tmp_path):
    copy = shutil.copytree(data, tmp_path / "again" / data.name, copy_function=shutil.copyfile)
    assert parcels.pack(copy).sha256 == parcels.pack(data).sha256


def test_of_an_encoder_what_is_read_is_packed(store, tmp_path):
    there = library.encoders.load_encoder("tiny-distilbert")
    folder = shutil.copytree(there.path, tmp_path / "mine" / "encoder")
    (folder / "pytorch_model.bin").write_bytes(b"weights that nobody reads")
    place = parcels.unpacked(parcels.pack(folder, parcels.READ["encoder"]))
    assert not (place / "pytorch_model.bin").exists()
    assert library.encoders.load_encoder(str(place)).sha256 == there.sha256


def test_what_did_not_come_as_it_was_sent_is_refused(data, store):
    packed = parcels.pack(data)
    store[0] = store[0][:-1] + b"x"
    with pytest.raises(ValueError, match="reviews did not come as it was sent"):
        parcels.unpacked(packed)


def test_local_data_and_encoders_are_what_the_run_would_find(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "link.csv").symlink_to(data / "train.csv")
    encoder = shutil.copytree(library.encoders.load_encoder("tiny-bert").path, tmp_path / "mine")
    found = [
        parcels.local_files(library.Experiment(dataset=dataset, encoder="mine")) for dataset in ("link", "link.csv")
    ]
    assert found == [
        {"dataset": data.resolve(), "encoder": encoder},
        {"dataset": tmp_path / "link.csv", "encoder": encoder},
    ]
    monkeypatch.setattr(parcels.Path, "home", lambda: data.parent)
    assert parcels.local_files(words("~/reviews")) == {"dataset": data.resolve()}


@pytest.mark.parametrize("dataset", ["corpus", "owner/name"])
def test_what_is_not_local_is_not_sent(dataset):
    assert parcels.local_files(library.Experiment(dataset=dataset, encoder="tiny-bert")) == {}


def order(one, data, **changes):
    packed = {"dataset": parcels.pack(data)}
    versions = cluster._versions([one.experiment.engine])
    return cluster._Order(
        **{"experiment": one.experiment, "run": one.id, "room": Room("cpu", 1, beside=True)}
        | {"versions": versions, "sources": packed}
        | changes
    )


def test_a_worker_does_the_run_and_gives_its_record(planned, data, store):
    came = cluster._do(order(planned[0], data))
    record = records.checking.record_of(zlib.decompress(came.record), logits=True)
    assert (came.status, record.status, record.id) == ("ok", "ok", planned[0].id)
    assert record.experiment.dataset == data.name
    assert not record.undisturbed
    assert came.seconds > 0


def test_a_worker_with_other_data_says_so(planned, data, store):
    came = cluster._do(order(planned[0], data, run="0" * 16))
    assert (came.status, came.record) == ("failed", None)
    assert came.error.endswith("the data or the encoder here is another one than where the run was planned")


@pytest.mark.parametrize("name", ["Python", "torch", "transformers", "rtlab", "code of words"])
def test_other_versions_are_refused_with_both_named(planned, data, store, name):
    versions = cluster._versions(["words"])
    came = cluster._do(order(planned[0], data, versions=versions | {name: "0.0"}))
    assert came.record is None
    assert came.refused == (
        f"ray must be a cluster with the versions of who asks; got a worker with {name} {versions[name]} (here 0.0); "
        "the same there would do"
    )


# Whose worker dies


@pytest.fixture
def begun(planned, tmp_path, monkeypatch):
    """A run of which Ray says this, try after try: what came of it, or what ended it."""
    came = cluster._Came("failed", "by itself")

    def begin(*said):
        waiting = [came if one is None else one for one in said]

        def get(_, **__):
            found = waiting.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(cluster.ray, "wait", lambda tasks, **_: (tasks[:1], tasks[1:]))
        monkeypatch.setattr(cluster.ray, "get", get)
        tasks = iter(range(10))
        return cluster.RayRun(planned[0], tmp_path / "out", Room("cpu", 3), lambda: next(tasks))

    return begin


NODE, WORKER = NodeDiedError("10.0.0.7 is no more"), WorkerCrashedError()
MEMORY, OTHER = OutOfMemoryError("of 10.0.0.7"), ObjectStoreFullError()
SAID = {"node": "its node died", "worker": "its worker process died"}
SAID |= {"memory": "Ray ended it, as its node's memory ran out"}
ENDS = {
    "not at all": ([None], "failed", "by itself"),
    "twice": ([NODE, WORKER, None], "failed", "by itself"),
    "three times": ([NODE, WORKER, WORKER], "failed", f"{SAID['node']}; {SAID['worker']}; {SAID['worker']}"),
    "for memory": ([WORKER, MEMORY, MEMORY], "oom", f"{SAID['worker']}; {SAID['memory']}; {SAID['memory']}"),
    "by anything": ([OTHER] * 3, "failed", "; ".join(["ObjectStoreFullError"] * 3)),
}


@pytest.mark.parametrize(("said", "status", "error"), ENDS.values(), ids=ENDS)
def test_a_run_whose_worker_dies_is_begun_three_times_at_most(begun, recwarn, said, status, error):
    run = begun(*said)
    assert type(run).first([run]) == [run]
    ended = run.done()
    record = records.load(ended.path)
    assert (ended.recorded, record.status, ended.to_do, ended.seconds) == (status, status, True, None)
    assert record.error == (error if said[-1] is None else f"tried 3 times: {error}")
    assert record.testbed.threads == 3
    died = error.split("; ") if said[-1] is not None else [SAID["node"], SAID["worker"]]
    again = {f"run {record.id}: {one}; it is begun again" for one in died[: len(said) - 1]}
    assert {str(one.message) for one in recwarn} == again


def test_what_a_worker_raises_is_recorded_at_once(begun):
    run = begun(RayTaskError("_do", "a trace with /home/somebody/x.py in it", ValueError("no file '/home/me/x.csv'")))
    type(run).first([run])
    assert records.load(run.done().path).error == "ValueError: no file 'x.csv'"


def test_without_the_node_here_nothing_is_tried(begun, tmp_path):
    run = begun(LocalRayletDiedError())
    with pytest.raises(ConnectionError, match="Ray's node on this machine died"):
        type(run).first([run])
    assert not (tmp_path / "out").exists()


def test_what_was_done_before_it_was_cancelled_keeps_its_record(begun, monkeypatch):
    cancelled = []
    monkeypatch.setattr(cluster.ray, "cancel", lambda task, **how: cancelled.append((task, how)))
    done, lost = begun(), begun(None, TaskCancelledError())
    monkeypatch.setattr(cluster.ray, "wait", lambda tasks, **_: ([], list(tasks)))
    cluster.RayRun.end([done, lost])
    assert cancelled == [(0, {"force": force}) for force in (False, False, True, True)]
    assert records.load(done.cancelled("SystemExit").path).error == "by itself"
    record = records.load(lost.cancelled("SystemExit").path)
    assert (record.status, record.error) == ("cancelled", "SystemExit")


def test_on_gpus_each_run_has_one_or_a_part_of_it(made, planned, data, tmp_path, monkeypatch):
    asked, task = [], SimpleNamespace(remote=lambda _: 0)
    for part in (None, 4):
        there = made(GPUS, device="cuda", jobs_per_gpu=part)
        monkeypatch.setattr(there, "_check", lambda *_: None)
        monkeypatch.setattr(cluster.ray, "put", lambda _: 0)
        monkeypatch.setattr(there, "_do", SimpleNamespace(options=lambda **options: asked.append(options) or task))
        [room, *_] = there.rooms(sized(planned, 10**9))
        assert (room.device, room.gpu) == ("cuda", None)
        there.begin(planned[0], tmp_path, room)
    assert [one["num_gpus"] for one in asked] == [1, 0.25]
    assert [one["num_cpus"] for one in asked] == [2, 1]
    assert all(one["memory"] == planned[0].memory for one in asked)


def test_a_node_of_other_versions_or_without_rtlab_is_refused_before_anything_is_run(made, planned, monkeypatch):
    there = made(SMALL, SMALL, SMALL)
    answers = [WorkerCrashedError(), RayTaskError("_versions", "", ModuleNotFoundError("No module named 'rtlab'"))]

    def get(task, timeout):
        raise answers[task]

    tasks = iter(range(3))
    remote = SimpleNamespace(remote=lambda _: next(tasks))
    monkeypatch.setattr(cluster.ray, "remote", lambda **_: lambda _: remote)
    monkeypatch.setattr(cluster.ray, "get", get)
    with pytest.raises(ValueError, match=r"got node 0{8} with rtlab none \(ModuleNotFoundError: .*\) \(here "):
        there.rooms(planned)


# A cluster of its own


def test_a_sweep_on_a_cluster_of_its_own(rtlab, data, tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    done = rtlab(
        "sweep",
        "--methods",
        "words",
        "--seeds",
        2,
        "--train-sentences",
        30,
        "--dataset",
        data,
        "--ray",
        "local",
        "--jobs",
        2,
    )
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "2 done, 0 failed; records in results/records"
    assert "Ray: 2 runs at once on 1 node, 1 thread each." in done.err
    assert signal.getsignal(signal.SIGTERM) == handler
    assert not ray.is_initialized()
    found = library.load_records(tmp_path / "results" / "records").records
    assert [record.status for record in found] == ["ok", "ok"]
    for record in found:
        alone = run(words(data, seed=record.experiment.seed, train_sentences=30), output_dir=tmp_path / "alone")
        assert (alone.id, alone.predictions) == (record.id, record.predictions)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["records"]


def test_sigterm_while_ray_begins_ends_as_ever(monkeypatch):
    """Ray's handler, which is there meanwhile, would end with status 15."""

    def init(*_, **__):
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(cluster.ray, "init", init)
    with pytest.raises(SystemExit) as stop, ended_by_signals(), cluster.connected("local", jobs=1):
        pass
    assert stop.value.code == 143


def test_what_ray_starts_is_in_a_group_of_its_own(monkeypatch):
    """`test_interrupted_it_leaves_no_task` looks at what it does start."""

    def init(*_, **__):
        with services.ConsolePopen(["sleep", "0"]) as started:
            groups.append((started.pid, os.getpgid(started.pid)))
        raise ConnectionError

    groups, usual = [], services.ConsolePopen
    monkeypatch.setattr(cluster.ray, "init", init)
    with pytest.raises(ValueError, match=r"^ray must be"), cluster.connected("local", jobs=1):
        pass
    assert len({*groups[0]}) == 1
    assert services.ConsolePopen is usual


@pytest.mark.parametrize("address", ["", "none", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_one_line(rtlab, address):
    done = rtlab("sweep", "smoke", "--ray", address)
    assert done.status == 2
    assert done.err.startswith("rtlab: --ray must be local, auto, or the address of a cluster that this machine is a")
    assert done.err.count("\n") == 1


# Two nodes


@pytest.fixture(scope="session")
def two_nodes(tmp_path_factory):
    """The address of a cluster of two nodes, a processor each; whatever is left of it is killed in the end."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": cluster.STORE}
    there = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    there.add_node(**node)
    yield there
    ending = threading.Thread(target=there.shutdown, daemon=True)
    ending.start()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()


def workers():
    """Processes of Ray that do a run, by their ids and titles."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            title = path.read_bytes().partition(b"\0")[0].decode(errors="replace")
            if re.match(r"ray::(?!IDLE|\w+Agent$)", title):
                found[int(path.parent.name)] = title
    return found


def in_group(group):
    """Names of the processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[2]) == group:
                found.append(name)
    return found


def on(there, planned, folder):
    """Do runs on a cluster."""
    with cluster.connected(there.address) as connected:
        return list(sweep(planned, output_dir=folder, cluster=connected))


@THOROUGH
def test_two_nodes_come_to_what_this_machine_does(two_nodes, data, tmp_path):
    experiments = [small.experiment(data, method=name) for name in ("svm", "full", "lora")] + [words(data)]
    planned = plan(experiments, elsewhere=True)
    done = on(two_nodes, planned, tmp_path / "there")
    assert [one.recorded for one in done] == ["ok"] * 4
    here = {one.id: records.load(one.path) for one in sweep(plan(experiments), output_dir=tmp_path / "here")}
    for one in done:
        there, alone = records.load(one.path), here[one.id]
        assert there.environment.keys() == alone.environment.keys()
        assert (there.testbed.threads, there.testbed.code) == (1, alone.testbed.code)
        for split, said in alone.predictions.items():
            np.testing.assert_allclose(there.predictions[split].logits, said.logits, atol=1e-4)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["records"]
    assert not workers()


@THOROUGH
def test_a_run_has_the_threads_that_its_share_says_whatever_its_node_sets(data, tmp_path, monkeypatch):
    assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(cluster, "threads", lambda: 2)
    with cluster.connected("local", jobs=1) as connected:
        [one] = sweep(plan([small.experiment(data, method="svm")]), output_dir=tmp_path, cluster=connected)
    record = records.load(one.path)
    there = min(2, len(os.sched_getaffinity(0)))  # torch takes no more
    assert (record.testbed.threads, record.environment["threads"]) == (there, there)


def dying(folder, deaths):
    """A run whose worker dies so many times first; Ray takes it to its workers by its contents."""

    def task(order):
        from rtlab.scheduling.cluster import _do

        (folder / f"{os.getpid()}").touch()
        if len(list(folder.iterdir())) <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return _do(order)

    return task


@THOROUGH
@pytest.mark.parametrize(("deaths", "status", "tried"), [(2, "ok", 3), (9, "failed", 3)])
def test_a_worker_that_dies_is_survived_three_times(two_nodes, data, tmp_path, monkeypatch, deaths, status, tried):
    (tmp_path / "tried").mkdir()
    monkeypatch.setattr(cluster, "_do", dying(tmp_path / "tried", deaths))
    with pytest.warns(UserWarning, match=r"run \w+: its worker process died; it is begun again"):
        [one] = on(two_nodes, plan([words(data)], elsewhere=True), tmp_path / "there")
    record = records.load(one.path)
    assert (one.recorded, record.status) == (status, status)
    assert len(list((tmp_path / "tried").iterdir())) == tried
    if status == "failed":
        assert record.error == f"tried 3 times: {'; '.join(['its worker process died'] * 3)}"
        assert one.to_do


def on_one_node_waiting(folder, doomed):
    """A run that waits for its end where it is begun on one node."""

    def task(order):
        import ray

        from rtlab.scheduling.cluster import _do

        if ray.get_runtime_context().get_node_id() == doomed:
            (folder / "waits").touch()
            time.sleep(600)
        return _do(order)

    return task


@THOROUGH
def test_a_node_that_dies_is_survived(two_nodes, data, tmp_path, monkeypatch):
    node = two_nodes.add_node(num_cpus=1, object_store_memory=cluster.STORE)
    monkeypatch.setattr(cluster, "_do", on_one_node_waiting(tmp_path, node.node_id))

    def kill():
        until((tmp_path / "waits").exists)
        two_nodes.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.warns(UserWarning, match=r"run \w+: its .* died; it is begun again"):
        done = on(two_nodes, plan([words(data, seed=seed) for seed in range(5)], elsewhere=True), tmp_path / "there")
    killer.join()
    assert [one.recorded for one in done] == ["ok"] * 5
    assert len(library.load_records(tmp_path / "there" / "records").records) == 5


@THOROUGH
def test_a_run_out_of_memory_is_recorded_at_once(two_nodes, data, tmp_path, monkeypatch):
    def task(order):
        from rtlab.running import Run
        from rtlab.scheduling.cluster import _do

        def build(self):
            raise MemoryError

        Run.build = build
        return _do(order)

    monkeypatch.setattr(cluster, "_do", task)
    [one] = on(two_nodes, plan([words(data)], elsewhere=True), tmp_path)
    assert (one.recorded, records.load(one.path).error) == ("oom", "MemoryError")


@THOROUGH
def test_what_rays_memory_monitor_ends_is_tried_three_times(data, tmp_path, monkeypatch):
    """Of a machine that is always too full for it."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")

    def task(order):
        time.sleep(600)

    monkeypatch.setattr(cluster, "_do", task)
    monkeypatch.setattr(cluster.Cluster, "_check", lambda *_: None)
    ended = pytest.warns(UserWarning, match="Ray ended it, as its node's memory ran out; it is begun again")
    with ended, cluster.connected("local", jobs=1) as connected:
        [one] = sweep(plan([words(data)], elsewhere=True), output_dir=tmp_path, cluster=connected)
    assert one.recorded == "oom"
    reasons = "; ".join(["Ray ended it, as its node's memory ran out"] * 3)
    assert records.load(one.path).error == f"tried 3 times: {reasons}"


@THOROUGH
def test_a_worker_of_other_versions_ends_the_sweep(two_nodes, data, tmp_path, monkeypatch):
    planned = plan([words(data, seed=seed) for seed in range(3)], elsewhere=True)
    whole = cluster._versions
    monkeypatch.setattr(cluster, "_versions", lambda engines: whole(engines) | {"torch": "0.0"})
    monkeypatch.setattr(cluster.Cluster, "_check", lambda *_: None)
    with pytest.raises(ValueError, match=r"got a worker with torch .* \(here 0.0\)"):
        on(two_nodes, planned, tmp_path)
    found = library.load_records(tmp_path / "records").records
    assert {record.status for record in found} == {"cancelled"}


SWEEP = """
import sys, time
from pathlib import Path
from rtlab.cli import main
from rtlab.scheduling import cluster

folder = Path(sys.argv[1])

def task(order):
    from rtlab.scheduling.cluster import _do
    while order.experiment.seed == 44 and (folder / "hold").exists():
        (folder / "waits").touch()
        time.sleep(0.1)
    return _do(order)

if __name__ == "__main__":
    cluster._do = task
    sys.exit(main(["sweep", *sys.argv[2:]]))
"""


@pytest.fixture(params=["local", "two nodes"])
def start(request, data, tmp_path, start_process):
    """Starts a sweep of three runs, of which the last waits while there is a file `hold`."""
    address = "local" if request.param == "local" else request.getfixturevalue("two_nodes").address
    (tmp_path / "sweep.py").write_text(SWEEP)

    def begin():
        command = [sys.executable, tmp_path / "sweep.py", tmp_path, "--methods", "words", "--seeds", 3]
        command += ["--train-sentences", 30, "--dataset", data, "--output-dir", tmp_path / "out", "--ray", address]
        with (tmp_path / "out.txt").open("w") as out, (tmp_path / "err.txt").open("w") as err:
            return start_process(
                [str(word) for word in command],
                stdout=out,
                stderr=err,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )

    return begin


@THOROUGH
def test_a_sweep_that_is_killed_goes_on_when_it_is_started_again(start, tmp_path):
    (tmp_path / "hold").touch()
    process = start()
    until((tmp_path / "waits").exists)
    until(lambda: len(list((tmp_path / "out" / "records").glob("*.json"))) == 2)
    process.kill()
    process.wait()
    until(lambda: not workers())
    (tmp_path / "hold").unlink()
    assert start().wait() == 0, (tmp_path / "err.txt").read_text()
    assert "2 recorded already, 1 to do" in (tmp_path / "out.txt").read_text()
    found = library.load_records(tmp_path / "out" / "records").records
    assert [record.status for record in found] == ["ok"] * 3
    assert len({record.id for record in found}) == 3


@THOROUGH
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_leaves_no_task(start, tmp_path, sent, status):
    """The signal reaches all processes of its group, as a terminal and `timeout` send it; Ray's are not in it."""
    (tmp_path / "hold").touch()
    process = start()
    until((tmp_path / "waits").exists)
    until(lambda: len(list((tmp_path / "out" / "records").glob("*.json"))) == 2)
    assert len(in_group(process.pid)) == 1
    os.killpg(process.pid, sent)
    assert process.wait() == status, (tmp_path / "err.txt").read_text()
    assert not workers()
    found = library.load_records(tmp_path / "out" / "records").records
    assert sorted(record.status for record in found) == ["cancelled", "ok", "ok"]
    assert "Traceback" not in (tmp_path / "err.txt").read_text()
    assert "Worker ID" not in (tmp_path / "out.txt").read_text()
