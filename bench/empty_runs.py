"""What driver, object store and records folder carry: many runs on a Ray cluster of this machine that compute nothing.

`python bench/empty_runs.py 10000` plans so many runs, each with a seed of its own, and sweeps them on a cluster whose
workers give back the record of a run that was done once, under each run's id. Only what is around the runs is timed.
With `--fresh` each has a process of its own, as it has in a sweep: then that process's start is what is timed. What was
measured is printed as JSON.
"""

import argparse
import dataclasses
import json
import os
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
from rtlab.testbed import testbed


def template(record: RunRecord, folder: Path) -> bytes:
    """The record's text, with marks for seed and id."""
    text = save(record, folder).read_bytes().replace(record.id.encode(), b"ID" * 8)
    return zlib.compress(text.replace(f'"seed": {record.experiment.seed}'.encode(), b'"seed": "SEED"'))


def used() -> int:
    """Bytes of the object store that hold something."""
    return round(ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"])


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int)
    parser.add_argument("--dataset", default="corpus")
    parser.add_argument("--fresh", action="store_true")
    asked = parser.parse_args()
    begin, before, phases = time.monotonic(), time.process_time(), {}

    def done(phase: str) -> None:
        nonlocal begin, before
        now, busy = time.monotonic(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        phases[phase] = {"seconds": now - begin, "driver_processor_s": busy - before, "driver_peak_bytes": peak}
        begin, before = now, busy

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        one = rtlab.Experiment(dataset=asked.dataset, method=rtlab.Words())
        texts = template(rtlab.run(one, output_dir=folder / "one"), folder)
        done("one run, with its imports")
        planned = plan([dataclasses.replace(one, seed=seed) for seed in range(asked.runs)], elsewhere=True)
        done("planning")

        def task(order: cluster._Order) -> cluster._Came:
            from rtlab.scheduling.cluster import _Came

            record = zlib.decompress(texts).replace(b'"SEED"', str(order.experiment.seed).encode())
            return _Came("ok", "", zlib.compress(record.replace(b"ID" * 8, order.run.encode())), 0.0)

        with cluster.connected("local") as connected:
            calls = {"max_calls": 1} if asked.fresh else {}
            connected._do = ray.remote(max_retries=0, **calls)(task)
            done("beginning the cluster")
            runs = sum(1 for _ in sweep(planned, output_dir=folder / "many", cluster=connected))
            done("runs")
            files = list((folder / "many" / "records").iterdir())
            found = {
                "testbed": dataclasses.asdict(testbed(None, one.engine)) | {"ray": ray.__version__},
                "load": os.getloadavg()[1],
                "runs": runs,
                "fresh": asked.fresh,
                "phases": phases,
                "files": len(files),
                "bytes": sum(path.stat().st_size for path in files),
                "bytes_of_an_answer": len(texts),
                "bytes_in_the_store": used(),
            }
            print(json.dumps(found, indent=1))  # noqa: T201 - a program of its own


if __name__ == "__main__":
    main()
