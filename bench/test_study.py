"""Every case of a study, timed and scored in one go: a round is a seed, its set-up and its evaluation untimed."""

from statistics import mean

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
        benchmark.pedantic(Run.train, setup=set_up, teardown=evaluate, rounds=len(case.experiments))
    except BaseException:
        benchmark.has_error = True  # else Ctrl-C leaves a case without a round, and saving the others fails on it
        raise
    assert [record.status for record in records] == ["ok"] * len(case.experiments)
    benchmark.extra_info.update(figures(records))


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
