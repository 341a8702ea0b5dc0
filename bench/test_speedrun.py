"""From the start of a process to an evaluated, saved model, as a person meets it: seconds by phase, engines by turns.

The lab's recipe by the command line. `other` is what no phase has: Python's start and imports before, and saving the
model and checking what was saved after.
"""

import json
import subprocess
import sys
import time
from statistics import median

PHASES = ("load", "prepare", "warmup", "train", "evaluate")
VERBS = {"full": ("finetune", "2e-5"), "lora": ("lora", "1e-3")}


def test_from_start_to_a_saved_model(benchmark, base, size, device, precision, method, notes, tmp_path):
    taken = {"trainer": [], "native": []}

    def run(engine):
        file = tmp_path / f"{engine}{len(taken[engine])}.json"
        verb, rate = VERBS[method]
        words = [verb, "--engine", engine, "--lr", rate, "--encoder", base.encoder, "--dataset", base.dataset]
        words += ["--epochs", str(base.method.recipe.epochs), "--max-length", str(base.max_length)]
        words += ["--precision", precision, "--output-dir", str(tmp_path / "results"), "--json", str(file)]
        words += ["--limit", str(base.limit)] if base.limit else []
        words += ["--device", device] if device else []
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rtlab", *words], check=True, capture_output=True)
        taken[engine].append((time.perf_counter() - begin, json.loads(file.read_text())["timing"]))

    benchmark.group = "speedrun"
    benchmark.pedantic(run, setup=lambda: (run("trainer"), (("native",), {}))[1], rounds=size.rounds)
    for engine, runs in taken.items():
        phases = {phase: median(timing[f"{phase}_s"] for _, timing in runs) for phase in PHASES}
        phases["other"] = median(whole - sum(timing[f"{phase}_s"] for phase in PHASES) for whole, timing in runs)
        whole = median(whole for whole, _ in runs)
        benchmark.extra_info.update({f"{engine}_s": whole, **{f"{engine}_{name}_s": s for name, s in phases.items()}})
        notes.append(
            f"speedrun {method} {precision}, {engine}: {whole:.1f} s, of these "
            + ", ".join(f"{name} {seconds:.2f}" for name, seconds in phases.items())
        )
