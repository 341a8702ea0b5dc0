"""Tables of records: what shares a row, what is counted, and the blocks of files that they fill."""

import dataclasses
import json
import re

import lab_records
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_records import (
    FULL,
    FULL_FAST,
    FULL_FIXED,
    LORA,
    LORA_FIXED,
    LORA_MORE,
    SVM,
    SVM_MEAN,
    lost,
    made,
    of_classes,
    some_testbed,
    study,
    with_recipe,
)

from rtlab.methods import Adapter
from rtlab.records import Memory, save
from rtlab.reporting import wording
from rtlab.reporting.kinds import TABLES
from rtlab.reporting.markup import Block, Span, Table, as_html, as_markdown, as_text, clean
from rtlab.reporting.tables import LEGEND, README, replace_block, skeleton, summary, tables, update
from rtlab.reporting.wording import setup, setups
from rtlab.values import visible

FILE = "# A title\n\n<!-- rtlab:methods -->\nold\n<!-- /rtlab:methods -->\n\nThe end.\n"
NATIVE = with_recipe(FULL, engine="native")
CUT = with_recipe(FULL, max_steps=8)
HOSTILE = (
    "a | b",
    "<!-- /rtlab:methods -->",
    "<img src=x>",
    "\x1b[31mred",
    "\u202egnp \u2066 \u200b \ufeff \u3164",
    "a\0b \x9b2J \x07",
    "a\nb\rc\u2028d\x85e",
    "`code`",
    "[x](http://y)",
    "*em*",
)


def block(name, records):
    return next(block for block in tables(records) if block.name == name)


def columns(name, records):
    """Cells by column, of each row of all tables of one name."""
    return [dict(zip(table.titles, row, strict=True)) for table in block(name, records).tables for row in table.rows]


def captions(name, records):
    return [table.caption for table in block(name, records).tables]


def notes(name, records):
    return [note for table in block(name, records).tables for note in table.notes]


# Every table


def test_no_records_are_said_to_be_none():
    made_of_none = tables([])
    assert [block.name for block in made_of_none] == list(TABLES)
    assert not any(block.tables for block in made_of_none)
    assert as_text(made_of_none) == "No records yet."
    assert all(as_markdown(block).startswith("Nothing to show yet: it takes ") for block in made_of_none)


def test_the_runs_of_the_demo_begin_with_their_comparison():
    demo = [made(SVM), made(FULL), made(NATIVE, train_s=50.0), made(with_recipe(LORA, engine="native"))]
    text = as_text(tables(demo))
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "Methods compared"
    assert "2.00 ×" in text


def test_a_study_fills_all_tables_but_the_engines():
    assert [block.name for block in tables(study()) if not block.tables] == ["engines"]


def test_a_row_is_readable_and_aligned():
    lines = as_markdown(block("methods", study())).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert re.fullmatch(r"\| :-+ (\| -+: )+\|", table[1])
    assert max(map(len, lines)) <= 180


def test_the_caption_says_where_the_numbers_come_from():
    [caption] = captions("methods", [made(day=3, encoder="minilm"), made(seed=1, encoder="minilm")])
    assert caption == (
        f"Encoder minilm ({lab_records.sha('minilm')[:8]}), data set cornell-movie-review-data/rotten_tomatoes "
        "(139902e3), on NVIDIA GeForce RTX 4060 Ti; torch 2.13.0, transformers 5.23.0; 2026-01-01 to 2026-01-03. "
        "Common recipe: engine trainer, 5 epochs, batch size 16, max length 512."
    )
    [caption] = captions("svm", [made(SVM)])
    assert "NVIDIA" not in caption  # there is no time in it


def test_seeds_share_a_row_as_mean_and_deviation():
    records = [
        made(seed=n, validation=a, train_s=s) for n, (a, s) in enumerate(((0.7, 10.0), (0.8, 20.0), (0.9, 60.0)))
    ]
    [row] = columns("methods", records)
    assert row["training (s)"] == "30.0 ± 26.5"
    assert row["validation accuracy"].startswith("0.7999 ± 0.0999 [")
    assert row["n"] == "3"


def test_an_accuracy_without_predictions_has_no_interval():
    [row] = columns("methods", [made(predictions={}, validation=0.9)])
    assert "[" not in row["validation accuracy"]


def test_what_differs_in_more_than_the_seed_has_words_of_its_own():
    changes = {"learning_rate": 2.4e-5, "epochs": 1, "batch_size": 32, "logging_steps": 10, "max_steps": 100}
    others = [with_recipe(LORA, **{name: value}) for name, value in changes.items()]
    others += [dataclasses.replace(LORA, precision="bf16"), dataclasses.replace(LORA, max_length=128)]
    settings = ({"r": 4}, {"lora_alpha": 16}, {"lora_dropout": 0.0}, {"use_rslora": True})
    others += [dataclasses.replace(LORA, method=Adapter(settings=given_)) for given_ in settings]
    for other in others:
        names, _ = setups([LORA, other])
        assert names[0] != names[1]
        assert setup(LORA) != setup(other)
    assert len({*setups([LORA, *others])[0]}) == len(others) + 1


def test_a_setup_says_what_not_all_have_in_common():
    cut = dataclasses.replace(with_recipe(LORA, max_steps=8, learning_rate=1e-3, batch_size=32), limit=2000)
    names, common = setups([with_recipe(LORA, max_steps=9), cut, SVM])
    assert names == [
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 2e-05, cut at 9 steps, batch size 16",
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 1e-03, cut at 8 steps, batch size 32, "
        "2,000 sentences a split",
        "SVM, [CLS] features",
    ]
    assert common == "engine trainer, 5 epochs, max length 512"


def test_encoders_and_data_sets_have_tables_of_their_own_and_devices_do_not():
    records = [made(encoder="minilm"), made(encoder="minilm", sha256="0" * 64), made(), made(seed=1, device="a cpu")]
    assert len(captions("methods", records)) == 3
    assert sorted(row["n"] for row in columns("methods", records)) == ["1", "1", "2"]


def test_results_of_two_versions_are_never_averaged_and_say_so():
    found = columns("methods", [made(), dataclasses.replace(made(seed=1), results=2)])
    assert [row["n"] for row in found] == ["1", "1"]
    assert {row["setup"].partition(", results")[2] for row in found} == {" version 1", " version 2"}


# Testbeds


def test_testbeds_of_a_table_have_letters_and_the_caption_names_them():
    other = some_testbed("a cpu", torch="2.12.0")
    records = [made(train_s=10.0), made(LORA, train_s=20.0, testbed=other), made(SVM, train_s=5.0)]
    found = {row["setup"].partition(",")[0]: row["testbed"] for row in columns("methods", records)}
    assert found["SVM"] == found["full"] != found["LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention"]
    [caption] = captions("methods", records)
    letter = found["LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention"]
    assert f"{letter}: a cpu, 2 threads; torch 2.12.0, transformers 5.23.0" in caption
    assert "testbed" not in columns("methods", [records[0], records[2]])[0]


def test_of_testbeds_that_differ_in_code_alone_that_is_said():
    cpu = some_testbed("a cpu")
    every = {("native", cpu): "A", ("svm", some_testbed("a cpu", code="d" * 16)): "B", ("svm", some_testbed("x")): "C"}
    a, b, c = wording.legend(every)
    assert (a, c) == (f"A: {wording.versions(cpu)}", f"C: {wording.versions(some_testbed('x'))}")
    assert b == "B: as A, under other code of rtlab"


def test_engines_on_one_machine_are_one_testbed():
    both = [made(), made(NATIVE, testbed=some_testbed(code="d" * 16))]
    assert "testbed" not in columns("engines", both)[0]
    [trainer, native] = columns("engines", both)
    assert (trainer["speed-up over trainer, dynamic"], native["speed-up over trainer, dynamic"]) == ("1", "1.00 ×")
    assert "testbed" in columns("methods", [*both, made(LORA, testbed=some_testbed(code="e" * 16))])[0]  # two states


def test_runs_that_others_disturbed_are_left_out_of_times_and_counted():
    [row] = columns("methods", [made(train_s=10.0), made(seed=1, train_s=90.0, others=0.3)])
    assert (row["training (s)"], row["n"]) == ("10.0 (n = 1)", "2")
    assert notes("methods", [made(), made(seed=1, others=0.3)]) == [
        "1 run left out of times, since other processes disturbed them."
    ]
    assert notes("learning-rates", [made(), made(FULL_FAST, others=0.3)]) == []  # no time in it


def test_a_training_time_is_seconds_an_epoch_times_epochs_and_the_table_says_so():
    """Five epochs beside others' work have no time of their own; an undisturbed epoch, run apart, tells it."""
    once = [made(with_recipe(FULL, epochs=1), seed=seed, train_s=20.0 + seed) for seed in (1, 2, 3)]
    busy = [made(FULL, seed=seed, train_s=300.0, others=0.5) for seed in (1, 2, 3)]
    rows = {row["setup"].rpartition(", ")[2]: row["training (s)"] for row in columns("methods", [*once, *busy])}
    assert rows == {"1 epoch": "22.0 ± 1.0", "5 epochs": "110.0 ± 5.0"}
    [note] = notes("methods", [*once, *busy])
    assert note.endswith(
        "Training time of runs of another number of epochs is stated as seconds an epoch times the row's epochs."
    )
    assert notes("methods", once) == []


def test_the_engines_quality_and_speed_up_stand_in_one_row():
    """Scores of five disturbed epochs, times of one undisturbed one."""
    [_, full, _, lora] = columns("comparison", lab_records.evidence(parts=(1, 4)))[1:]
    for row in (full, lora):
        assert "engine native" in row["setup"]
        assert re.fullmatch(r"2\.\d\d × \[2\.\d\d, 2\.\d\d\]", row["speed-up over trainer"])
        assert row["its accuracy"].startswith("equal: ")
        assert row["n"] == "5"


def test_a_row_without_any_time_shows_none():
    [row] = columns("methods", [made(others=0.3)])
    assert "training (s)" not in row  # an empty column is left out
    found = columns("methods", [made(others=0.3), made(LORA)])
    assert sorted(row["training (s)"] for row in found) == ["100.0", "–"]


# Runs without a result


@pytest.mark.parametrize("status", ["failed", "oom", "nan", "cancelled"])
def test_runs_without_a_result_are_counted_and_not_averaged(status):
    without = [lost(seed=seed, status=status, day=9) for seed in (7, 8)]
    [row] = columns("methods", [made(validation=0.9), *without])
    assert (row["validation accuracy"][:6], row["n"]) == ("0.8996", "1")
    assert notes("methods", [made(), *without]) == ["2 runs without a result left out."]
    assert "2026-01-01." in captions("methods", [made(), *without])[0]  # the dates of what is shown


@pytest.mark.parametrize("day", [1, 9])
def test_a_failure_beside_a_finished_record_hides_nothing_and_is_not_counted(day):
    records = [made(day=5), lost(status="cancelled", day=day), lost(status="oom", day=day)]
    assert len(columns("methods", records)) == 1
    assert notes("methods", records) == []


def test_failures_are_counted_in_the_tables_of_their_method_and_place():
    records = [*map(made, (FULL, FULL_FIXED, SVM)), lost(seed=5)]
    assert [b.name for b in tables(records) if any("without a result" in n for t in b.tables for n in t.notes)] == [
        *("comparison", "padding", "padding-full", "methods"),
    ]
    assert notes("padding-full", [*records[:3], lost(encoder="minilm")]) == []


def test_failures_alone_make_no_rows():
    [table] = block("methods", [lost(encoder="minilm")]).tables
    assert (table.rows, table.notes) == ((), ("1 run without a result left out.",))


# Each table


def test_the_comparison_has_each_method_at_its_best_whole_recipe():
    records = [
        *(made(SVM, 0.7, 0.7, 5.0), made(SVM_MEAN, 0.75, 0.75, 5.0)),
        *(made(FULL, 0.85, 0.84, 100.0), made(FULL_FAST, 0.80, 0.90, 100.0)),
        *(made(CUT, 0.99, 0.99, 1.0), made(with_recipe(NATIVE, padding="dynamic"), 0.99, 0.9, 70.0)),
        *(made(NATIVE, 0.85, 0.84, 50.0), made(LORA, 0.82, 0.82, 60.0)),
    ]
    found = columns("comparison", records)
    assert [row["setup"] for row in found] == [
        "SVM, mean-pooled features",
        "full, dynamic, lr 2e-05, engine trainer",
        "full, packed, lr 2e-05, engine native",
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 2e-05, engine trainer",
    ]
    assert [row["speed-up over trainer"] for row in found] == ["–", "1", "2.00 ×", "1"]
    assert [row["its accuracy"] for row in found] == ["–", "–", "not shown", "–"]
    assert list(found[0]) == [
        *("setup", "trained parameters", "training (s)", "speed-up over trainer", "its accuracy"),
        *("validation accuracy", "validation F1", "test accuracy", "test F1", "n"),
    ]
    assert found[0]["trained parameters"] == "769"


def test_the_comparison_takes_the_recipe_of_most_seeds_before_a_lucky_one():
    records = [made(SVM), *(made(FULL, seed=n) for n in range(3)), made(FULL_FAST, 0.99, 0.99)]
    assert [row["n"] for row in columns("comparison", records)] == ["1", "3"]


def test_runs_on_drawn_sentences_are_compared_only_where_none_are_on_all():
    few, fewer = ([made(dataclasses.replace(e, train_sentences=n)) for e in (FULL, LORA, SVM)] for n in (100, 50))
    assert len(columns("comparison", [*few, *fewer])) == 3
    assert "100 training sentences" in captions("comparison", [*few, *fewer])[0]
    assert "training sentences" not in captions("comparison", [*few, made(FULL), made(SVM)])[0]
    assert len(columns("methods", [*few, *fewer])) == 6
    setups = [row["setup"] for row in columns("methods", [*few, made(FULL), made(LORA)])]
    assert ["100 training sentences" in setup for setup in setups] == [True, False, False]
    assert len(columns("svm", [*few, made(SVM)])) == 2  # its two splits
    assert len(columns("svm", few)) == 2


def test_runs_on_different_numbers_of_sentences_are_no_seeds_of_one_row():
    records = [made(dataclasses.replace(FULL, train_sentences=n), seed=42 + n) for n in (50, 100)]
    assert [row["n"] for row in columns("methods", records)] == ["1", "1"]
    assert [row["setup"].rpartition(", ")[2] for row in columns("methods", records)] == [
        "50 training sentences",
        "100 training sentences",
    ]


def test_data_that_were_cut_to_a_limit_are_not_compared_beside_whole_ones():
    cut = [made(dataclasses.replace(e, limit=160), sha256="0" * 64) for e in (FULL, LORA, SVM)]
    assert len(columns("comparison", cut)) == 3
    assert len(columns("comparison", [*cut, made(FULL), made(SVM)])) == 2
    assert len(captions("methods", [*cut, made(FULL)])) == 2
    assert "limit" not in captions("methods", [*cut, made(FULL)])[0]  # the whole ones come first
    assert "160 sentences" in captions("methods", [*cut, made(FULL)])[1]


def test_runs_cut_short_stand_at_the_end_or_in_no_table_of_scores():
    cut = [made(CUT), made(with_recipe(FULL_FIXED, max_steps=8)), made(with_recipe(CUT, learning_rate=1e-3))]
    whole = [made(LORA), made(FULL)]
    assert columns("methods", [*cut, *whole]) == columns("methods", whole)
    assert columns("learning-rates", cut) == []
    engines = columns("engines", [*cut, *whole, made(NATIVE), made(with_recipe(NATIVE, max_steps=8))])
    assert ["cut" in row["setup"] for row in engines] == [False, False, True, True, True]
    assert engines[-1]["test accuracy"] == "–"
    assert len(columns("methods", cut)) == 3  # there is no whole one


def padded(experiment, seconds, **changes):
    return [made(experiment, seed=seed, train_s=s, **changes) for seed, s in enumerate(seconds)]


def test_the_tables_of_padding():
    bucketed = with_recipe(FULL, padding="bucketed")
    records = [*padded(FULL, [100.0, 102.0]), *padded(FULL_FIXED, [800.0, 820.0]), *padded(bucketed, [90.0])]
    [fixed, dynamic, short] = columns("padding-full", records)
    assert fixed == {
        "setup": "full, fixed, lr 2e-05",
        "training (s)": "810.0 ± 14.1",
        "samples/s": "52.7 ± 0.9",
        "steps/s": "3.30 ± 0.06",
        "peak host GiB": "1.00 ± 0.00",
        "padding tokens": "94.7 ± 0.0 %",
        "speed-up over fixed": "1",
        "its accuracy": "–",
        "n": "2",
    }
    assert re.fullmatch(r"8\.02 × \[7\.\d\d, 8\.\d\d\]", dynamic["speed-up over fixed"])
    assert short["speed-up over fixed"] == "9.00 ×"  # one run: no interval
    assert short["padding tokens"] == "3.6 %"
    assert columns("padding-lora", records) == []


def test_a_speed_up_is_over_what_differs_in_padding_alone():
    records = [
        *padded(with_recipe(FULL_FIXED, max_steps=8), [50.0]),
        *padded(CUT, [5.0]),
        *padded(FULL, [100.0]),  # nothing fixed to be compared to
        *padded(LORA_FIXED, [70.0]),
        *padded(LORA, [10.0]),
    ]
    assert [row["speed-up over fixed"] for row in columns("padding-full", records)] == ["1", "10.0 ×"]
    assert [row["speed-up over fixed"] for row in columns("padding-lora", records)] == ["1", "7.00 ×"]
    readme = columns("padding", records)
    assert [row["setup"].partition(",")[0][:4] for row in readme] == ["LoRA", "LoRA", "full", "full"]  # cut short
    assert columns("padding", [made(FULL), made(with_recipe(FULL, padding="bucketed"))]) == []  # nothing fixed


def test_a_speed_up_without_a_testbed_in_common_is_not_stated():
    elsewhere = [made(seed=n, train_s=1.0, testbed=some_testbed("a cpu")) for n in range(3)]
    [_, dynamic] = columns("padding-full", [*padded(FULL_FIXED, [50.0]), *elsewhere])
    assert "speed-up over fixed" not in dynamic or dynamic["speed-up over fixed"] == "–"


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.85, "equal"), (0.70, "not equal"), (0.835, "not shown")])
def test_a_speed_up_has_its_quality_beside_it(accuracy, verdict):
    fixed = [made(FULL_FIXED, test=0.85, seed=n, train_s=800.0 + n) for n in range(5)]
    dynamic = [made(FULL, test=accuracy, seed=n, train_s=100.0 + n) for n in range(5)]
    for name in ("padding", "padding-full"):
        said = rf"{verdict}: [+-]0\.\d{{4}} \[[+-]0\.\d{{3}}, [+-]0\.\d{{3}}\]"
        assert re.fullmatch(said, columns(name, [*fixed, *dynamic])[1]["its accuracy"])
        assert columns(name, [*fixed, *dynamic[:4]])[1]["its accuracy"].startswith("not shown: ")
        assert columns(name, [*fixed, *dynamic[:1]])[1]["its accuracy"] == "not shown"  # of one run, no seed is known


def test_wherever_a_speed_up_is_stated_its_quality_is_too():
    records = [*study(seeds=(1,)), made(NATIVE), made(CUT), made(with_recipe(NATIVE, max_steps=8))]
    for found in tables(records):
        for table in found.tables:
            titles = [*table.titles]
            for at, title in enumerate(titles):
                if title.startswith("speed-up"):
                    assert all(
                        "×" not in row[at] or row[at + 1] in ("equal", "not equal", "not shown") for row in table.rows
                    )


def test_peak_memory_is_the_devices_where_there_is_one():
    memory = Memory(peak_device=3 * 2**29, peak_host=2**33)
    records = [made(FULL_FIXED, memory=memory), made(memory=memory)]
    assert [row["peak device GiB"] for row in columns("padding-full", records)] == ["1.50", "1.50"]


def test_the_other_tables_have_their_rows():
    records = study(seeds=(1, 2))
    assert [row["split"] for row in columns("svm", records)] == ["validation", "test"]
    assert [row["adapter + head"] for row in columns("target-modules", records)] == [
        "294,912 + 592,130",
        "589,824 + 592,130",
    ]
    rates = [row["setup"].rpartition("lr ")[2] for row in columns("learning-rates", records)]
    assert rates == ["2e-05", "2e-04", "2e-05", "2e-04", "1e-03"]
    seeds = columns("seeds", records)
    assert len(seeds) == len(records)
    assert [row["seed"] for row in seeds[:2]] == ["1", "2"]
    assert "n" not in seeds[0]
    assert "encoder/adapter + head" in columns("methods", records)[0]
    assert "589,824" in str(columns("methods", [made(LORA_MORE)]))


def test_the_summary_of_a_run():
    text = summary(made(LORA, 0.87, 0.84, 60.04, 0.3, 0.2))
    assert text.startswith(
        "LoRA of distilbert/distilbert-base-uncased on cornell-movie-review-data/rotten_tomatoes (LoRA r8"
    )
    assert "trained 887,042 of 67,000,000 parameters in 60.0 s" in text
    assert "mean loss 0.3000, last epoch 0.2000" in text
    assert "kept" not in text
    assert "\nkept the weights of epoch 2, the best of 3\n" in summary(lab_records.watched(made(LORA), 0.5, 0.4, 0.6))


@pytest.mark.parametrize(
    ("names", "shares", "accuracy", "warned"),
    [
        (("ham", "spam"), (0.9, 0.1), 0.5, True),
        (("ham", "spam"), (0.9, 0.1), 0.99, False),
        (("a", "b", "c"), None, 0.8, False),
        (("a", "b", "c"), (0.6, 0.2, 0.2), 0.0, True),
    ],
)
def test_the_text_of_a_run_names_the_classes_where_accuracy_says_little(names, shares, accuracy, warned):
    record = of_classes(made(LORA, 0.87, 0.84, 60.0, 0.3, 0.2), names, shares=shares, accuracy=accuracy)
    text, test = summary(record), record.scores["test"]
    assert re.search(rf"^test .*  {test.macro_f1:.4f}$", text, re.MULTILINE)
    for name, found in zip(names, test.by_class, strict=True):
        row = f"{name} +{found.support} +{found.precision:.4f} +{found.recall:.4f} +{found.f1:.4f}  "
        assert re.search(rf"^{row}", text, re.MULTILINE)
    interval, said = r"\[0\.\d+, 0\.\d+\]", f"always saying {names[0]}: 0"
    warning = rf"^warning: accuracy on test, {test.accuracy:.4f} {interval}, does not beat {said}"
    assert bool(re.search(warning, text, re.MULTILINE)) == ("warning" in text) == warned


@pytest.mark.parametrize(("accuracy", "warned"), [(0.0, "does not beat"), (0.1, "is not shown to beat"), (0.4, None)])
def test_the_text_of_a_run_says_where_it_learned_nothing_that_is_shown(accuracy, warned):
    """Two common classes of 300 sentences: a run that came to one of them for all is no result like others."""
    record = of_classes(made(LORA, 0.87, 0.84, 60.0, 0.3, 0.2), ("no", "yes"), shares=(0.5, 0.5), accuracy=accuracy)
    text = summary(record)
    assert (f" {warned} always saying" in text) == ("warning" in text) == (warned is not None)


def test_the_text_of_a_run_on_two_common_classes_is_short():
    text = summary(of_classes(made(LORA, 0.87, 0.84, 60.0, 0.3, 0.2), ("no", "yes"), shares=(0.65, 0.35)))
    assert "macro" not in text
    assert "class" not in text


def test_the_text_of_a_run_on_many_classes_shows_the_worst():
    names = tuple(f"intent {number}" for number in range(150))
    text = summary(of_classes(made(LORA, 0.87, 0.84, 60.0, 0.3, 0.2), names, size=600))
    assert len(re.findall(r"^intent \d", text, re.MULTILINE)) == 12
    assert "and 138 more classes, which are better or have no sentences" in text


@settings(max_examples=25)  # all tables take their time
@given(st.lists(strategies.run_records(), max_size=6))
def test_any_records_make_tables(records):
    text = as_markdown(block("methods", records))
    counted = sum(map(int, re.findall(r"^(\d+) runs? without a result left out\.$", text, re.MULTILINE)))
    finished = {record.id for record in records if record.status == "ok"}
    assert counted == len({record.id for record in records} - finished)
    assert clean(as_text(tables(records))) == " ".join(as_text(tables(records)).split())


# Markdown, text, HTML


def test_a_table_is_written_three_ways():
    rich = ("a|b", (Span("yes", "strong"), ": <c>", Span("", "line"), Span("d", "em")), "3")
    table = Table(caption="A caption", titles=("x", "y", "n"), texts=("x", "y"), rows=(rich,))
    made_ = Block(name="t", title="T", tables=(dataclasses.replace(table, notes=("A note",)),))
    assert as_markdown(made_).startswith("A caption\n\n| x ")
    assert "| a\\|b |" in as_markdown(made_)
    assert "**yes**: &lt;c><br>*d*" in as_markdown(made_)
    assert "## T" in as_text([made_])
    assert "yes: <c>; d" in as_text([made_])
    assert as_html(made_, most=9).splitlines() == [
        '<div class="scroll" role="region" aria-label="T" tabindex="0">',
        "<table>",
        "<caption><span>A caption</span></caption>",
        "<thead>",
        '<tr><th scope="col">x</th><th scope="col">y</th><th scope="col" class="number">n</th></tr>',
        "</thead>",
        "<tbody>",
        '<tr><td>a|b</td><td><strong>yes</strong>: &lt;c&gt;<br><em>d</em></td><td class="number">3</td></tr>',
        "</tbody>",
        "</table>",
        "</div>",
        "<p>A note</p>",
    ]


def test_html_says_how_many_rows_it_leaves_out():
    table = Table(titles=("x",), rows=(("1",), ("2",), ("3",)))
    assert "<p>1 more row in the results&#x27; README.md.</p>" in as_html(
        Block(name="t", title="T", tables=(table,)), most=2
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_names_cannot_break_a_table_a_file_or_a_terminal(text):
    odd = made(encoder=text, device=text)
    for name in ("methods", "seeds"):
        markdown = as_markdown(block(name, [odd, made(seed=1, encoder=text)]))
        once = replace_block(FILE, "methods", markdown)
        assert replace_block(once, "methods", markdown) == once
        lines = [line for line in markdown.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert not re.search(r"<(?!br>)|(?<!\\)\]\(", markdown)
        assert markdown == visible(markdown, keep="\n")
    assert as_text(tables([odd])) == visible(as_text(tables([odd])), keep="\n")


# Files


def test_only_what_is_between_the_markers_changes():
    assert replace_block(FILE, "methods", "new") == FILE.replace("old", "new")


@pytest.mark.parametrize(
    "text", ["", "<!-- rtlab:methods -->", FILE + FILE, "<!-- /rtlab:methods --><!-- rtlab:methods -->"]
)
def test_a_file_without_one_pair_of_markers_is_refused(text):
    with pytest.raises(ValueError, match="the file must hold one"):
        replace_block(text, "methods", "new")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no markers", "it has no marker"),
        (
            "<!-- rtlab:unknown -->\n<!-- /rtlab:unknown -->",
            "it has a marker of unknown; there are choice, labels, findings, comparison, ",
        ),
        (FILE.replace("<!-- /rtlab:methods -->", ""), "the file must hold one"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_updated_is_named_and_left_alone(tmp_path, text, words):
    path = tmp_path / "README.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"README\.md cannot be updated: ") as caught:
        update(path, tables([]), check=False)
    assert words in str(caught.value)
    assert text is None or path.read_text() == text


def test_a_check_writes_nothing(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(FILE)
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert update(path, tables([]), check=True) is True
    assert (path.read_text(), (path.stat().st_mtime_ns, path.stat().st_ino)) == (FILE, written)


def test_the_skeleton_has_a_place_for_everything_but_what_the_readme_holds():
    names = set(re.findall(r"<!-- rtlab:([\w-]+) -->", skeleton()))
    assert names == {"labels", "findings", *TABLES, "claims"} - {*README}
    assert " ".join(LEGEND.split()) in " ".join(skeleton().split())


# The command


@pytest.fixture
def results(tmp_path):
    """A results folder of a study, and a README with markers beside it."""
    for record in study(seeds=(1, 2)):
        save(record, tmp_path / "results" / "records")
    blocks = "\n\n".join(f"<!-- rtlab:{name} -->\n<!-- /rtlab:{name} -->" for name in README)
    (tmp_path / "README.md").write_text(f"# A title\n\n{blocks}\n\nThe end.\n")
    return tmp_path / "results"


def test_the_command_writes_both_files_and_its_check_agrees(rtlab, results):
    readme = results.parent / "README.md"
    stale = rtlab("tables", "--check")
    assert stale.status == 1
    assert stale.err.splitlines() == [
        f"rtlab: {path} is stale; rebuild it with: rtlab tables --write" for path in ("README.md", "results/README.md")
    ]
    assert "±" not in readme.read_text()
    assert not (results / "README.md").exists()
    assert rtlab("tables", "--write").out == "README.md rebuilt\nresults/README.md rebuilt\n"
    assert rtlab("claims", "--write").status == 0
    assert (rtlab("tables", "--check").status, rtlab("claims", "--check").status) == (0, 0)
    text = readme.read_text()
    assert text.startswith("# A title\n\n<!-- rtlab:comparison -->\nEncoder distilbert/")
    assert "### " not in text
    assert text.count("| setup") == 2
    rest = (results / "README.md").read_text()
    assert rest.count("Nothing to show yet") == 1  # engines
    assert "## Every seed" in rest
    assert rtlab("tables", "--write").out == "README.md is up to date\nresults/README.md is up to date\n"


def test_the_command_prints_and_changes_nothing(rtlab, results):
    before = (results.parent / "README.md").read_text()
    printed = rtlab("tables")
    assert printed.status == 0
    assert printed.out == rtlab("tables", "--readme", "-").out
    assert printed.out.startswith("## Methods compared\n")
    assert "## Engines" not in printed.out
    assert "## Every seed" not in printed.out
    assert printed.out.endswith("records in results/records\n")
    assert (results.parent / "README.md").read_text() == before


def test_one_file_is_rebuilt_as_far_as_it_has_markers(rtlab, results):
    mine = results.parent / "mine.md"
    mine.write_text("<!-- rtlab:svm -->\n<!-- /rtlab:svm -->\n")
    assert rtlab("tables", "--readme", "mine.md").out == "mine.md rebuilt\n"
    assert mine.read_text().count("| setup") == 1
    assert rtlab("tables", "--readme", "mine.md", "--check").status == 0
    assert "±" not in (results.parent / "README.md").read_text()


@pytest.mark.parametrize("bad", [b"{", b"\xff\xfe\x00", b'{"schema": 2, "id": "\\u001b[31m"}', b"[" * 100_000, b""])
def test_a_bad_record_is_named_and_stops_nothing_but_a_check(rtlab, results, bad):
    good = rtlab("tables")
    rtlab("tables", "--write")
    rtlab("claims", "--write")
    (results / "records" / "b\x1bad.json").write_bytes(bad)
    for verb in (("tables",), ("claims",), ("figures",), ("report",), ("compare", "svm-cls", "full-dynamic-lr2e-05")):
        done = rtlab(*verb)
        assert done.status == 0, verb
        assert done.err.count("\n") == 1
        assert done.err.startswith("rtlab: left out: ")
        assert "is no readable record" in done.err
        assert "\x1b" not in done.err
    assert rtlab("tables").out == good.out
    for verb in ("tables", "claims"):
        assert rtlab(verb, "--check").status == 1


def test_a_table_is_built_without_torch_or_anything_as_heavy(results, run_python):
    code = """
import sys
from rtlab.cli import main
assert main(["tables", "--results", sys.argv[1]]) == 0
print({"torch", "transformers", "datasets", "peft", "sklearn", "matplotlib", "scipy.stats"} & {*sys.modules})
"""
    done = run_python(code, results)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("set()", "")


def test_many_records_are_read_without_their_logits(results, monkeypatch, rtlab):
    """What tables of 10,000 records take is measured by `bench/test_scale.py`."""
    from rtlab import records

    asked = []
    real = records.load_records

    def load(folder, **how):
        asked.append(how["logits"])
        return real(folder, **how)

    monkeypatch.setattr(records, "load_records", load)
    for verb in (("tables",), ("claims",), ("figures",), ("compare", "svm-cls", "full-dynamic-lr2e-05"), ("report",)):
        assert rtlab(*verb).status == 0
    assert asked == [False, False, False, False, True]


def test_json_of_claims_and_tables_of_hostile_records_stand_in_files(rtlab, tmp_path):
    for text in HOSTILE:
        save(made(encoder=text, device=text), tmp_path / "results" / "records")
        save(lost(encoder=text, error=text), tmp_path / "results" / "records")
    assert rtlab("claims", "--json", "claims.json").status == 0
    assert json.loads((tmp_path / "claims.json").read_text())
    assert rtlab("report").status == rtlab("figures").status == 0


def test_two_processes_read_the_same(results, monkeypatch):
    from rtlab.records import files

    (results / "records" / "bad.json").write_text("{")
    alone = files.load_records(results / "records", logits=False, history=False)
    monkeypatch.setattr(files, "MANY", 2)
    together = files.load_records(results / "records", logits=False, history=False, processes=2)
    assert together.broken == alone.broken
    assert [record.id for record in together.records] == [record.id for record in alone.records]
    assert as_text(tables(together.records)) == as_text(tables(alone.records))
    assert {record.history for record in together.records} == {()}
