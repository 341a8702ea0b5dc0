"""Tables of records, for a terminal and for the README."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from tabulate import tabulate

from rtlab.experiment import Experiment, LoraSettings
from rtlab.records import RunRecord, write_whole

METHODS = {"svm": "linear SVM", "full": "full fine-tuning", "lora": "LoRA"}
USUAL = {name: getattr(Experiment(), name) for name in ("batch_size", "max_length", "precision", "logging_steps")}


def methods_table(records: Iterable[RunRecord]) -> str:
    """The lab's comparison of methods as markdown: one table for each encoder, data set and device.

    Records that differ in the seed alone share a row, as mean ± standard deviation. Of several records of one run on
    one device, made by different states of the code, the latest counts. Failed runs are counted below, not averaged.

    Args:
        records: Records of any kind, in order of creation.
    """
    latest = {(record.id, record.environment["device"]): record for record in records}
    places: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in latest.values():
        place = (record.encoder.name, record.dataset.name, str(record.environment["device"]))
        places.setdefault(place, []).append(record)
    return "\n\n".join(_methods_at(place, here) for place, here in sorted(places.items())) or "No records yet."


def summary(record: RunRecord) -> str:
    """What one finished run came to, for a terminal."""
    timing, counts, memory = record.timing, record.counts, record.memory
    assert timing, "a run with a result has all three"
    assert counts, "a run with a result has all three"
    assert memory, "a run with a result has all three"
    rows = [
        [split, *(f"{value:.4f}" for value in (s.accuracy, s.precision, s.recall, s.f1))]
        for split, s in record.scores.items()
    ]
    table = tabulate(
        rows, headers=["split", "accuracy", "precision", "recall", "F1"], tablefmt="simple", disable_numparse=True
    )
    losses = (
        "" if record.train_loss is None else f", mean loss {record.train_loss:.4f}, last epoch {record.final_loss:.4f}"
    )
    return (
        f"{METHODS[record.experiment.method]} of {record.encoder.name} on {record.dataset.name} "
        f"({settings(record.experiment)}, seed {record.experiment.seed})\n\n{table}\n\n"
        f"trained {counts.parameters_trained:,} of {counts.parameters_total:,} parameters "
        f"in {timing.train_s:.1f} s ({timing.samples_per_s:.1f} samples/s){losses}\n"
        f"loading {timing.load_s:.1f} s, tokenizing {timing.prepare_s:.1f} s, evaluating {timing.evaluate_s:.1f} s, "
        f"peak host memory {memory.peak_host / 2**30:.2f} GiB"
    )


def settings(experiment: Experiment) -> str:
    """What tells an experiment from others of its method, in words; `USUAL` values go without saying."""
    if experiment.method == "svm":
        parts = [{"cls": "[CLS] features", "mean": "mean-pooled features"}[str(experiment.pooling)]]
    else:
        parts = [f"{experiment.padding} padding", f"lr {experiment.learning_rate:g}"]
        epochs = f"{experiment.epochs} epoch{'s' if experiment.epochs != 1 else ''}"
        parts.append(epochs if experiment.max_steps is None else f"at most {experiment.max_steps} steps")
    if experiment.lora is not None:
        lora = experiment.lora
        dropout = "" if lora.dropout == LoraSettings().dropout else f", dropout {lora.dropout:g}"
        parts.insert(0, f"rank {lora.rank}, alpha {lora.alpha}{dropout} on {' '.join(lora.target_modules)}")
    given = {name: getattr(experiment, name) for name in USUAL}
    parts += [f"{n.replace('_', ' ')} {v}" for n, v in given.items() if v not in (None, USUAL[n])]
    return ", ".join(parts)


def replace_block(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers `<!-- rtlab:NAME -->` and `<!-- /rtlab:NAME -->` replaced.

    Raises:
        ValueError: If there is not exactly one such pair, in this order.
    """
    begin, end = f"<!-- rtlab:{name} -->", f"<!-- /rtlab:{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(
            f"the file must hold one {begin} and one {end} behind it; add the pair where the table belongs"
        )
    before, rest = text.split(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def update_readme(path: Path, records: Sequence[RunRecord], *, check: bool) -> bool:
    """Rebuild the generated block of a README.

    Args:
        path: The file.
        records: What the tables are made of.
        check: Whether to leave the file as it is.

    Returns:
        Whether the file was stale.

    Raises:
        ValueError: If the file is missing or has no pair of markers; it is not changed.
    """
    try:
        old = path.read_text(encoding="utf-8")
        new = replace_block(old, "methods", methods_table(records))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be updated: {error}") from error
    if new != old and not check:
        write_whole(path, new)
    return new != old


def _methods_at(place: tuple[str, str, str], records: Sequence[RunRecord]) -> str:
    encoder, dataset, device = place
    done = [record for record in records if record.status == "ok"]
    groups: dict[tuple[Experiment, str, str], list[RunRecord]] = {}
    for record in done:
        but_seed = dataclasses.replace(record.experiment, seed=0)
        groups.setdefault((but_seed, record.dataset.sha256, record.encoder.sha256), []).append(record)
    headers = ("method", "settings", "parameters trained", "training time (s)")
    table = tabulate(
        [_row(group) for group in sorted(groups.values(), key=_order)],
        headers=[*headers, "validation accuracy", "test accuracy", "test F1", "seeds"],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", "left", *("right",) * 6),
    )
    versions = sorted(
        {
            f"torch {r.environment['versions']['torch']}, transformers {r.environment['versions']['transformers']}"
            for r in records
        }
    )
    dates = sorted(record.created_at[:10] for record in records)
    failed = len(records) - len(done)
    note = f"\n\n{failed} run{'s' if failed != 1 else ''} without a result left out." if failed else ""
    caption = f"Encoder `{encoder}`, data set `{dataset}`, on {device}; {'; '.join(versions)}; {_span(dates)}."
    return f"{caption}\n\n{table}{note}" if done else f"{caption}{note}"


def _order(records: Sequence[RunRecord]) -> tuple[int, str, int]:
    experiment = records[0].experiment
    return list(METHODS).index(experiment.method), settings(experiment), experiment.limit or 0


def _row(records: Sequence[RunRecord]) -> list[str]:
    first = records[0]
    experiment, counts = first.experiment, first.counts
    assert counts is not None, "a finished run has counts"
    trained = f"{counts.parameters_trained:,}"
    if counts.parameters_adapter:
        trained += f" (adapter {counts.parameters_adapter:,}, head {counts.parameters_head:,})"
    limit = "" if experiment.limit is None else f", {experiment.limit} sentences a split"
    return [
        METHODS[experiment.method],
        settings(experiment) + limit,
        trained,
        _spread([record.timing.train_s for record in records if record.timing], 1),
        _spread([record.scores["validation"].accuracy for record in records], 4),
        _spread([record.scores["test"].accuracy for record in records], 4),
        _spread([record.scores["test"].f1 for record in records], 4),
        str(len(records)),
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _span(dates: Sequence[str]) -> str:
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
