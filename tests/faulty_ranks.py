"""Faults that an engine of several ranks might have, and ends of ranks: `python faulty_ranks.py FAULT WORD …`.

A forked rank is started so, and the test's own process calls the function.
"""

import atexit
import contextlib
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import torch

from rtlab import running
from rtlab.engines import native, trainer
from rtlab.engines.ranks import Ranks, ranks_here


def mean_over_ranks(patch):
    """Each rank's mean loss counts alike, however many sentences it has."""

    def shares(step, part):
        of = sum(len(rows_S) for rows_S, _ in part.batches)
        return [0.0 if part.idle else len(rows_S) / of / step._ranks.number for rows_S, _ in part.batches]

    patch(native.Step, "shares", shares)


def repeating(patch):
    """A rank without a sentence has the first one again, and it counts."""

    def part(ranks, rows_S):
        own_S = rows_S[ranks.rank :: ranks.number]
        return own_S if len(own_S) else rows_S[:1]

    patch(Ranks, "part", part)


def trainers_mean(patch):
    """As Trainer has it: the mean over ranks of each one's mean."""
    plain = trainer._Loss._weight_of_all

    def weight(loss, batches):
        plain(loss, batches)
        return sum(int((batch["labels"] != trainer.IGNORED).sum()) or 1 for batch in batches) * loss._ranks.number

    patch(trainer._Loss, "_weight_of_all", weight)


def trainers_repeats(patch):
    """As Trainer has it: a rank without a sentence has the first one again, and it counts."""
    patch(trainer, "_collating", lambda collator, dataset: lambda rows: collator(rows or [dataset[0]]))


def at_step(step, do):
    """Have a rank do something after a step of the native engine, before a checkpoint of it."""

    def fault(patch):
        plain = native.NativeEngine._checkpoint

        def checkpoint(engine, *given):
            if int(engine._step.done) == step:
                do(engine._ranks.rank)
            plain(engine, *given)

        patch(native.NativeEngine, "_checkpoint", checkpoint)

    return fault


def interrupt(rank):
    raise KeyboardInterrupt


def kill(rank):
    os.kill(os.getpid(), signal.SIGKILL)


def run_out(rank):
    raise MemoryError


def of_rank(wanted, do):
    """Only that rank does it."""

    def only(rank):
        if rank == wanted:
            do(rank)

    return only


def deaf(rank):
    """As one that waits in a library for what a dead one was to send: it hears of no signal."""
    if rank == 1:
        time.sleep(0.5)
        kill(rank)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(600)


def pending(rank):
    """The first rank fails with an exchange under way that the other never joins."""
    if rank:
        time.sleep(600)
    torch.distributed.all_reduce(torch.ones(1), async_op=True)
    raise MemoryError


def other_seed_1(patch):
    """The second rank is given another run."""
    plain = running.Run.__init__

    def begin(run, experiment, **named):
        other = dataclasses.replace(experiment, seed=7) if ranks_here().rank == 1 else experiment
        plain(run, other, **named)

    patch(running.Run, "__init__", begin)


def telling(patch):
    """Last of all before the interpreter ends, each rank says which threads of its process are left."""

    def tell():
        left = []
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                left.append(thread.joinpath("comm").read_text().strip())
        sys.stderr.write(f"threads left: {sorted(left)}\n")

    atexit.register(tell)


ENDS = {
    "telling": telling,
    "other_seed_1": other_seed_1,
    "interrupted": at_step(4, interrupt),
    "killed_0": at_step(3, of_rank(0, kill)),
    "killed_1": at_step(3, of_rank(1, kill)),
    "killed_2": at_step(3, of_rank(2, kill)),
    "run_out_1": at_step(3, of_rank(1, run_out)),
    "deaf": at_step(3, deaf),
    "pending": at_step(3, pending),
}

FAULTS = {
    "native": (mean_over_ranks, repeating),
    "trainer": (trainers_mean, trainers_repeats),
}
BY_NAME = ENDS | {fault.__name__: fault for faults in FAULTS.values() for fault in faults}


def main(fault, *words):
    BY_NAME[fault](setattr)
    from rtlab.cli import main as rtlab

    return rtlab(list(words))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
