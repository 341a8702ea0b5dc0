"""Faults that an engine of several ranks might have, and deaths of ranks: `python faulty_ranks.py FAULT WORD …`.

A forked rank is started so, and the test's own process calls the function.
"""

import sys

from rtlab.engines import native, trainer
from rtlab.engines.ranks import Ranks


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


FAULTS = {
    "native": (mean_over_ranks, repeating),
    "trainer": (trainers_mean, trainers_repeats),
}
BY_NAME = {fault.__name__: fault for faults in FAULTS.values() for fault in faults}


def main(fault, *words):
    BY_NAME[fault](setattr)
    from rtlab.cli import main as rtlab

    return rtlab(list(words))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
