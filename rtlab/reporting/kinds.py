"""Which tables there are: the groups that stand in each, chosen at one place, and the cells of their rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rtlab.methods import USUAL_PADDING
from rtlab.reporting.groups import SPLITS, Group, families
from rtlab.reporting.markup import Text
from rtlab.reporting.pairs import quality, time_ratio
from rtlab.reporting.wording import (
    NONE,
    score,
    spread,
    times,
)

Row = dict[str, Text]
Family = Sequence[Group]

TEXTS = ("setup", "split", "testbed")
_REFERENCE = {"engine": "trainer", "padding": "dynamic"}
_FIXED = {"engine": "trainer", "padding": "fixed"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a table shows.

    Attributes:
        title: Its heading.
        rows: The cells of a group, by column, given its family; the setup's name is put before them.
        needs: What to record for the table to have something to show.
        of: Whether a group can stand in it.
        chosen: The families that stand in it, out of the groups of one place; each group by itself by default.
        timed: Whether times stand in it, which its caption then names the testbed of.
        everywhere: Whether places where all runs failed are named too.
        limited: Whether data sets that were cut to a limit stand in it, where there are whole ones.
    """

    title: str
    rows: Callable[[Group, Family], Iterable[Row]]
    needs: str
    of: Callable[[Group], bool] = lambda _: True
    chosen: Callable[[Sequence[Group]], Sequence[Family]] = lambda here: [(group,) for group in here]
    timed: bool = True
    everywhere: bool = False
    limited: bool = True


# What is chosen of the groups of a place


def _contrast(field: str, *with_it: str) -> Callable[[Sequence[Group]], Sequence[Family]]:
    """Families of groups that differ in this alone."""
    return lambda here: families(here, field, *with_it)


def _whole(here: Sequence[Group]) -> list[Group]:
    """Runs that were cut short say nothing of the accuracy that their recipe reaches."""
    return [group for group in here if group.whole]


def _scored(here: Sequence[Group]) -> Sequence[Family]:
    """All whole runs; those cut short only of a method that has no whole one."""
    whole = {group.fields["method"] for group in _whole(here)}
    return [(group,) for group in here if group.whole or group.fields["method"] not in whole]


def _compared(here: Sequence[Group]) -> Sequence[Family]:
    """For each method one recipe, on every engine that it was run on, each with its usual padding.

    Of several recipes that of most seeds, of these that on most engines, of these the best on validation.
    """
    recipes: dict[tuple[object, ...], dict[str, list[Group]]] = {}
    for group in _whole(here):
        rest = tuple(v for k, v in group.fields.items() if k not in ("engine", "padding", "compile", "pooling"))
        if isinstance(group.fields["pooling"], str):
            rest = (*rest, group.fields["pooling"])
        recipes.setdefault(rest, {}).setdefault(group.experiment.engine, []).append(group)
    best: dict[str, tuple[tuple[float, ...], list[Group]]] = {}
    for engines in recipes.values():
        chosen = [max(found, key=_usual) for found in engines.values()]
        worth = (
            float(max(len(group.scored) for group in chosen)),
            float(len(chosen)),
            max(group.mean("validation_accuracy") for group in chosen),
        )
        method = str(chosen[0].fields["method"])
        best[method] = max(best.get(method, ((), [])), (worth, chosen), key=lambda item: item[0])
    return [chosen for _, chosen in best.values()] if len(best) > 1 else []


def _usual(group: Group) -> tuple[object, ...]:
    """Groups of one engine: with its usual padding before others, of one results version the newest."""
    fields = group.fields
    usual = fields["padding"] == USUAL_PADDING.get(group.experiment.engine)  # type: ignore[call-overload]  # svm has none
    return group.results, usual, not fields["compile"], len(group.scored)


def _richest(here: Sequence[Group]) -> Sequence[Family]:
    """For each method the one recipe that was run with most paddings, fixed padding before all."""
    best: dict[object, Family] = {}
    for family in families(here, "padding", "engine", "compile"):
        known = best.get(family[0].fields["method"], family)
        best[family[0].fields["method"]] = max(known, family, key=_paddings)
    return list(best.values())


def _paddings(family: Family) -> tuple[bool, int, bool, int]:
    kinds = {(group.experiment.engine, group.fields["padding"]) for group in family}
    runs = sum(len(group.scored) for group in family)
    return ("trainer", "fixed") in kinds, len(kinds), family[0].whole, runs


def _is_trained(group: Group) -> bool:
    return group.fields["method"] != "svm"


def _is(method: str) -> Callable[[Group], bool]:
    return lambda group: group.fields["method"] == method


# What stands in a row


def _comparison_row(row: Group, family: Family) -> Iterator[Row]:
    counts = row.scored[0].counts
    first: Row = {"trained parameters": "" if counts is None else f"{counts.parameters_trained:,}"}
    yield {**first, **_time(row), **_faster(row, family, {"engine": "trainer"}), **_both_scores(row)}


def _both_scores(row: Group) -> Row:
    return {
        f"{split} {name}": cell
        for split in SPLITS
        for name, cell in (("accuracy", _accuracy(row, split)), ("F1", _mean(row, f"{split}_f1", 4)))
    }


def _svm_row(row: Group, _: Family) -> Iterator[Row]:
    for split in SPLITS:
        others = {name: _mean(row, f"{split}_{name.lower()}", 4) for name in ("precision", "recall", "F1")}
        yield {"split": split, "accuracy": _accuracy(row, split), **others}


def _runtime_row(row: Group, family: Family) -> Iterator[Row]:
    yield {
        **_time(row),
        "samples/s": _mean(row, "samples_per_s", 1),
        "padding tokens": _padding_share(row),
        **_faster(row, family, _FIXED),
    }


def _padding_row(row: Group, family: Family) -> Iterator[Row]:
    yield {**_speed(row), "padding tokens": _padding_share(row), **_faster(row, family, {"padding": "fixed"})}


def _methods_row(row: Group, _: Family) -> Iterator[Row]:
    yield {
        "encoder/adapter + head": _parameters(row),
        **_time(row),
        **_accuracies(row),
        "test F1": _mean(row, "test_f1", 4),
    }


def _rates_row(row: Group, _: Family) -> Iterator[Row]:
    losses = {"training loss": _mean(row, "train_loss", 4), "loss of last epoch": _mean(row, "final_loss", 4)}
    yield {**losses, **_accuracies(row)}


def _modules_row(row: Group, _: Family) -> Iterator[Row]:
    first = {"adapter + head": _parameters(row), "samples/s": _mean(row, "samples_per_s", 1)}
    yield {**first, **_accuracies(row), "test F1": _mean(row, "test_f1", 4)}


def _engines_row(row: Group, family: Family) -> Iterator[Row]:
    first = {"warm-up (s)": _mean(row, "warmup_s", 1), **_speed(row)}
    score_: Row = {"test accuracy": _accuracy(row, "test")} if row.whole else {}
    yield {**first, **score_, **_faster(row, family, _REFERENCE)}


def _seeds_row(row: Group, _: Family) -> Iterator[Row]:
    timed = {record.id: record.timing for record in row.on_testbed}
    for record in row.scored:
        timing, said = timed.get(record.id), record.scores
        seed: Row = {"seed": str(record.experiment.seed)}
        seed |= {"training (s)": NONE if timing is None else f"{timing.train_s:,.1f}"}
        seed |= {"samples/s": NONE if timing is None else f"{timing.samples_per_s:,.1f}"}
        for split in SPLITS:
            seed |= {f"{split} accuracy": f"{said[split].accuracy:.4f}", f"{split} F1": f"{said[split].f1:.4f}"}
        yield seed


def _accuracy(row: Group, split: str) -> str:
    return score(row.values(f"{split}_accuracy"), row.accuracies.get(split))


def _accuracies(row: Group) -> Row:
    return {f"{split} accuracy": _accuracy(row, split) for split in SPLITS}


def _mean(row: Group, column: str, digits: int) -> str:
    return spread(row.values(column), digits)


def _time(row: Group) -> Row:
    """Training time, with the number of seeds where it is not that of the row."""
    values = row.values("train_s")
    fewer = f" (n = {len(values)})" if 0 < len(values) < len(row.scored) else ""
    return {"training (s)": spread(values, 1) + fewer}


def _speed(row: Group) -> Row:
    device = row.values("peak_device")
    memory = device or row.values("peak_host")
    return {
        **_time(row),
        "samples/s": _mean(row, "samples_per_s", 1),
        "steps/s": _mean(row, "steps_per_s", 2),
        f"peak {'device' if device else 'host'} GiB": spread([value / 2**30 for value in memory], 2),
    }


def _padding_share(row: Group) -> str:
    pairs = zip(row.values("padding_tokens"), row.values("real_tokens"), strict=True)
    return f"{spread([100 * padding / max(1, padding + real) for padding, real in pairs], 1)} %"


def _parameters(row: Group) -> str:
    counts = row.scored[0].counts
    return (
        ""
        if counts is None
        else f"{counts.parameters_encoder + counts.parameters_adapter:,} + {counts.parameters_head:,}"
    )


def _faster(row: Group, family: Family, base: Mapping[str, str]) -> Row:
    """How many times less training time a sentence takes than in the row with these fields, and at what quality."""
    column = f"speed-up over {', '.join(base.values())}"
    slow = next((g for g in family if all(g.fields[field] == value for field, value in base.items())), None)
    if slow is None or slow is row:
        return {column: NONE if slow is None else "1", "its accuracy": NONE}
    ratio = time_ratio(slow, row)
    if ratio is None:
        return {column: NONE, "its accuracy": NONE}
    return {column: times(ratio), "its accuracy": quality(row, slow)}


TABLES: Mapping[str, Kind] = {
    "comparison": Kind(
        title="Methods compared",
        rows=_comparison_row,
        chosen=_compared,
        limited=False,
        needs="whole runs of two methods or more on one encoder and data set",
    ),
    "padding": Kind(
        title="Runtime by padding",
        rows=_runtime_row,
        of=_is_trained,
        chosen=_richest,
        needs="runs that differ in `--padding` alone",
    ),
    "svm": Kind(title="SVM", rows=_svm_row, of=_is("svm"), timed=False, needs="a run of `rtlab svm`", everywhere=True),
    "padding-full": Kind(
        title="Padding, full fine-tuning",
        rows=_padding_row,
        of=_is("full"),
        chosen=_contrast("padding"),
        needs="runs of full fine-tuning that differ in `--padding` alone",
    ),
    "padding-lora": Kind(
        title="Padding, LoRA",
        rows=_padding_row,
        of=_is("lora"),
        chosen=_contrast("padding"),
        needs="runs of LoRA that differ in `--padding` alone",
    ),
    "methods": Kind(title="Methods", rows=_methods_row, chosen=_scored, needs="a run of any method", everywhere=True),
    "learning-rates": Kind(
        title="Learning rates",
        rows=_rates_row,
        of=_is_trained,
        chosen=lambda here: families(_whole(here), "learning_rate"),
        timed=False,
        needs="whole runs that differ in `--lr` alone",
    ),
    "target-modules": Kind(
        title="Target modules",
        rows=_modules_row,
        of=lambda group: group.fields["peft_type"] is not None,
        chosen=lambda here: families(_whole(here), "target_modules"),
        needs="whole runs of an adapter that differ in `--target-modules` alone",
    ),
    "engines": Kind(
        title="Engines",
        rows=_engines_row,
        of=_is_trained,
        chosen=_contrast("engine", "padding", "compile"),
        needs="runs that differ in `--engine`, and in nothing else but its `--padding` and `--compile`",
    ),
    "seeds": Kind(
        title="Every seed",
        rows=_seeds_row,
        chosen=lambda here: [(group,) for group in here if len(group.scored) > 1],
        needs="runs of one experiment under two seeds or more",
    ),
}
