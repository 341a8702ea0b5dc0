"""Where a training step of the native engine spends its time: `python bench/profile_steps.py OUT [options]`.

Writes for full fine-tuning and LoRA what each kernel took (METHOD.txt) and a trace that chrome://tracing opens
(METHOD.json.gz): of `STEPS` steps, warmed up and captured as a run has them.
"""

import argparse
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full
from rtlab.recipe import Recipe
from rtlab.running import Run

STEPS = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--encoder", default="distilbert-random")
    parser.add_argument("--dataset", default="corpus")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="bf16", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(engine="native", max_steps=STEPS)
    for method in (Full(recipe=recipe), Adapter(recipe=recipe)):
        experiment = Experiment(
            encoder=asked.encoder, dataset=asked.dataset, method=method, precision=asked.precision, limit=asked.limit
        )
        _profile(experiment, asked.device, asked.out)


def _profile(experiment, device, out):
    with tempfile.TemporaryDirectory() as results:
        run = Run(experiment, output_dir=results, device=device)
        run.build()
        cuda = run.prepared.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with profile(activities=activities) as found:
            run.train()
        record = run.finish()
    name = experiment.method.name
    head = (
        f"{experiment.label}, {experiment.precision}: {record.counts.steps} steps in {record.timing.train_s:.3f} s, "
        f"warm-up {record.timing.warmup_s:.3f} s, with the profiler on"
    )
    by = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    (out / f"{name}.txt").write_text(f"{head}\n{found.key_averages().table(sort_by=by, row_limit=40)}\n")
    found.export_chrome_trace(str(out / f"{name}.json.gz"))


if __name__ == "__main__":
    main()
