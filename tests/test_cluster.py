"""Runs on a Ray cluster: the same records as here, whatever dies."""

import dataclasses
import shutil
import signal
import time
import zlib

import pytest
import small

import rtlab as library
from rtlab import records
from rtlab.running import run
from rtlab.scheduling.planning import plan
from rtlab.scheduling.processes import Room

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed", exc_type=ImportError)
cluster = pytest.importorskip("rtlab.scheduling.cluster", exc_type=ImportError)

PATIENCE_S = 120  # for what Ray does on a busy machine
THOROUGH = pytest.mark.thorough


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.data_folder(tmp_path_factory.mktemp("cluster") / "reviews")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Where this process, as a worker, unpacks."""
    monkeypatch.setattr(cluster.tempfile, "tempdir", str(tmp_path))


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
    return [{"Alive": True, "NodeID": f"node{number}", "Resources": one} for number, one in enumerate(resources)]


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
    packed = cluster._pack(data)
    place = cluster._unpacked(packed)
    assert place.name == data.name
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        path.name: path.read_bytes() for path in data.iterdir()
    }
    store.clear()
    assert cluster._unpacked(packed) == place
    assert tmp_path in place.parents


def test_a_file_and_what_links_lead_to_is_packed(data, store, tmp_path):
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "train.csv").symlink_to(data / "train.csv")
    for path in (folder, data / "test.csv"):
        place = cluster._unpacked(cluster._pack(path))
        file = place / "train.csv" if place.is_dir() else place
        assert not file.is_symlink()
        assert file.read_bytes() == (data / file.name).read_bytes()


def test_the_same_contents_have_the_same_digest_whenever_they_were_written(data, store, tmp_path):
    copy = shutil.copytree(data, tmp_path / "again" / data.name, copy_function=shutil.copyfile)
    assert cluster._pack(copy).sha256 == cluster._pack(data).sha256


def test_of_an_encoder_what_is_read_is_packed(store, tmp_path):
    there = library.encoders.load_encoder("tiny-distilbert")
    folder = shutil.copytree(there.path, tmp_path / "mine" / "encoder")
    (folder / "pytorch_model.bin").write_bytes(b"weights that nobody reads")
    place = cluster._unpacked(cluster._pack(folder))
    assert not (place / "pytorch_model.bin").exists()
    assert library.encoders.load_encoder(str(place)).sha256 == there.sha256


def test_what_did_not_come_as_it_was_sent_is_refused(data, store):
    packed = cluster._pack(data)
    store[0] = store[0][:-1] + b"x"
    with pytest.raises(ValueError, match="reviews did not come as it was sent"):
        cluster._unpacked(packed)


@pytest.mark.parametrize("dataset", ["corpus", "owner/name"])
def test_what_is_not_local_is_not_sent(dataset):
    assert cluster._local(library.Experiment(dataset=dataset, encoder="tiny-bert")) == {}


def order(one, data, **changes):
    packed = {"dataset": cluster._pack(data)}
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


def test_a_cluster_that_is_not_there_is_one_line(rtlab, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = rtlab("sweep", "smoke", "--ray", "auto")
    assert done.status == 2
    assert done.err.startswith("rtlab: --ray must be local, auto, or the address of a cluster that this machine is a")
    assert done.err.count("\n") == 1
