"""Every case of a study, timed and scored in one go: a round is a seed, its set-up and its evaluation untimed."""

import contextlib
import sys
from statistics import mean

import pytest

from rtlab import environment
from rtlab.running import Run


# `benchmark` comes last: an interrupt while another fixture is made then leaves no case without a round.
def test_run(case, device, output_dir, kept, method, padding, learning_rate, target_modules, engine, benchmark):
    seeds = iter(case.experiments)
    records = []

    def set_up():
        run = Run(next(seeds), output_dir=output_dir, device=device)
        run.build()
        return (run,), {}

    def evaluate(run):
        records.append(run.finish())
        kept.append(records[-1])

    benchmark.group = method
    try:
        with environment.ended_by_signals(), without_word_of_lost_interrupts():
            benchmark.pedantic(Run.train, setup=set_up, teardown=evaluate, rounds=len(case.experiments))
            environment.end_if_asked()
    except BaseException as error:
        benchmark.has_error = True  # else Ctrl-C leaves a case without a round, and saving the others fails on it
        if isinstance(error, SystemExit):  # terminated: pytest takes that for a failure, and would go on
            pytest.exit("terminated", returncode=error.code)
        raise
    assert [record.status for record in records] == ["ok"] * len(case.experiments)
    benchmark.extra_info.update(figures(records))


@contextlib.contextmanager
def without_word_of_lost_interrupts():
    """Meanwhile pytest hears of no interrupt that is lost in a destructor: a run's next step raises it again."""
    told = sys.unraisablehook

    def tell(lost):
        if not isinstance(lost.exc_value, KeyboardInterrupt | SystemExit):
            told(lost)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = told


def figures(records):
    """What a case's runs came to, as means over their seeds."""
    fields = {
        "validation_accuracy": [record.scores["validation"].accuracy for record in records],
        "test_accuracy": [record.scores["test"].accuracy for record in records],
        "test_f1": [record.scores["test"].f1 for record in records],
        "samples_per_s": [record.timing.samples_per_s for record in records],
        "tokens_per_s": [record.timing.tokens_per_s for record in records],
        "padded_tokens_per_s": [record.timing.padded_tokens_per_s for record in records],
        "peak_host_bytes": [record.memory.peak_host for record in records],
        "peak_device_bytes": [record.memory.peak_device for record in records],
        "parameters_trained": [record.counts.parameters_trained for record in records],
        "parameters_adapter": [record.counts.parameters_adapter for record in records],
        "parameters_head": [record.counts.parameters_head for record in records],
    }
    return {name: mean(values) for name, values in fields.items() if None not in values}
