"""What driver, object store and records folder carry: many runs on a Ray cluster of this machine that compute nothing.

`python bench/empty_runs.py 10000` plans so many runs, each with a seed of its own, and sweeps them on a cluster whose
workers give back the record of a run that was done once, under each run's id. Only what is around the runs is timed.
With `--fresh` each has a process of its own, as it has in a sweep: then that process's start is what is timed.
"""

import argparse
import dataclasses
import resource
import tempfile
import time
import zlib
from pathlib import Path

import ray

import rtlab
from rtlab.records import RunRecord, save
from rtlab.scheduling import cluster
from rtlab.scheduling.planning import plan
from rtlab.scheduling.sweep import sweep


def template(record: RunRecord, folder: Path) -> bytes:
    """The record's text, with marks for seed and id."""
    text = save(record, folder).read_bytes().replace(record.id.encode(), b"ID" * 8)
    return zlib.compress(text.replace(f'"seed": {record.experiment.seed}'.encode(), b'"seed": "SEED"'))


def used() -> int:
    """Bytes of the object store that hold something."""
    return round(ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"])


def say(line: str) -> None:
    """Print a line now."""
    print(line, flush=True)  # noqa: T201 - a program of its own


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int)
    parser.add_argument("--dataset", default="corpus")
    parser.add_argument("--fresh", action="store_true")
    asked = parser.parse_args()
    begin, before = time.monotonic(), time.process_time()

    def said(what: str) -> None:
        nonlocal begin, before
        now, busy = time.monotonic(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(f"{what}: {now - begin:.1f} s; of the driver {busy - before:.1f} s of processor, {peak:,.0f} MB at most")
        begin, before = now, busy

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        one = rtlab.Experiment(dataset=asked.dataset, method=rtlab.Words())
        texts = template(rtlab.run(one, output_dir=folder / "one"), folder)
        said("one run, with its imports")
        planned = plan([dataclasses.replace(one, seed=seed) for seed in range(asked.runs)], elsewhere=True)
        said(f"{asked.runs:,} runs planned")

        def task(order: cluster._Order) -> cluster._Came:
            from rtlab.scheduling.cluster import _Came

            record = zlib.decompress(texts).replace(b'"SEED"', str(order.experiment.seed).encode())
            return _Came("ok", "", zlib.compress(record.replace(b"ID" * 8, order.run.encode())), 0.0)

        with cluster.connected("local") as connected:
            calls = {"max_calls": 1} if asked.fresh else {}
            connected._do = ray.remote(max_retries=0, **calls)(task)
            said("cluster begun")
            done = sum(1 for _ in sweep(planned, output_dir=folder / "many", cluster=connected))
            seconds = time.monotonic() - begin
            said(f"{done:,} runs, {done / seconds:.1f} a second")
            files = list((folder / "many" / "records").iterdir())
            total = sum(path.stat().st_size for path in files)
            say(f"{len(files):,} files, {total:,} bytes; a record comes back as {len(texts):,}")
            say(f"object store: {used():,} bytes in use")


if __name__ == "__main__":
    main()
