"""Tables of records: what shares a row, what is counted, and the blocks of the README that they fill."""

import dataclasses
import json
import re

import lab_records
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.experiment import Experiment, LoraSettings
from rtlab.metrics import Scores
from rtlab.records import Counts, Memory, RunRecord, Source, Timing, save
from rtlab.reporting.readme import replace_block, update_readme
from rtlab.reporting.tables import TABLES, as_text, summary, tables
from rtlab.reporting.wording import settings as settings_in_words

README = "# A title\n\n<!-- rtlab:methods -->\nold\n<!-- /rtlab:methods -->\n\nThe end.\n"
SVM, FULL, LORA = (Experiment(method=method) for method in ("svm", "full", "lora"))
RECIPE = "Common recipe: engine trainer, 5 epochs, batch size 16, max length 512."


def made(
    experiment=FULL, *, device="a cpu", accuracy=0.75, train_s=10.0, code="c" * 16, day=1, encoder="minilm", **changes
):
    """A finished run; its id follows from experiment and data set, as a real one's does."""
    adapter = 100_000 if experiment.method == "lora" else 0
    counts = Counts(
        parameters_total=22_000_000,
        parameters_encoder=21_000_000 if experiment.method == "full" else 0,
        parameters_adapter=adapter,
        parameters_head=770,
        steps=None,
        samples=1,
        real_tokens=1,
        padding_tokens=0,
    )
    times = dict.fromkeys((field.name for field in dataclasses.fields(Timing)), 1.0)
    fields = {
        "experiment": experiment,
        "code": code,
        "status": "ok",
        "dataset": Source(name="corpus", revision=None, sha256="d" * 64),
        "encoder": Source(name=encoder, revision=None, sha256="e" * 64),
        "environment": {"device": device, "versions": {"torch": "2.13.0", "transformers": "5.23.0"}},
        "created_at": f"2026-01-{day:02}T00:00:00+00:00",
        "scores": {
            "validation": Scores(accuracy=accuracy, precision=0.1, recall=0.2, f1=0.3),
            "test": Scores(accuracy=accuracy - 0.25, precision=0.4, recall=0.5, f1=accuracy - 0.5),
        },
        "timing": Timing(**times | {"train_s": train_s}),
        "counts": counts,
        "memory": Memory(peak_device=None, peak_host=3 * 2**29),
        "train_loss": None if experiment.method == "svm" else 0.6,
        "final_loss": None if experiment.method == "svm" else 0.5,
    } | changes
    return RunRecord(id=repr((experiment, fields["dataset"], fields["encoder"])), **fields)


def failed(experiment=FULL, *, status="failed", **changes):
    """The same without a result."""
    nothing = {"scores": {}, "timing": None, "counts": None, "memory": None, "train_loss": None, "final_loss": None}
    return made(experiment, status=status, error="RuntimeError: no", **nothing | changes)


def seeded(experiment, seed, **changes):
    return made(dataclasses.replace(experiment, seed=seed), **changes)


def rows(table):
    """The cells of each row, without the header."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "setup" and not row[0].startswith(":-")]


def named(name, records):
    """The text of one table."""
    return next(table.text for table in tables(records) if table.name == name)


def methods_table(records):
    return named("methods", records)


def columns(table):
    """Cells by column, of each row of a text's first sub-table."""
    header = next(line for line in table.splitlines() if line.startswith("|"))
    names = [cell.strip() for cell in header.strip("|").split("|")]
    return [dict(zip(names, row, strict=True)) for row in rows(table)]


def one_line(text):
    return " ".join(text.split())


# Every table


def test_no_records_are_said_to_be_none():
    made_of_none = tables([])
    assert [table.name for table in made_of_none] == list(TABLES)
    assert not any(table.shows for table in made_of_none)
    assert as_text(made_of_none) == "No records yet."
    assert methods_table([]) == "Nothing to show yet: it takes a run of any method."
    assert all(table.text.startswith("Nothing to show yet: it takes ") for table in made_of_none)


def test_three_runs_of_the_demo_make_two_short_tables():
    """What has nothing to be compared to is left out in a terminal."""
    text = as_text(tables([made(SVM), made(dataclasses.replace(LORA, learning_rate=1e-3)), made(FULL)]))
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["SVM baseline", "Methods"]
    assert max(map(len, text.splitlines())) <= 160
    assert len(text.splitlines()) < 30


def test_a_study_fills_all_tables_but_the_engines():
    made_of_study = tables(lab_records.study())
    assert [table.name for table in made_of_study if not table.shows] == ["engines"]


@pytest.mark.parametrize(("seeds", "width"), [((1,), 160), ((1, 2, 3), 180)])
def test_a_study_fits_a_wide_terminal(seeds, width):
    lines = as_text(tables(lab_records.study(seeds=seeds))).splitlines()
    assert max(map(len, lines)) <= width


def test_runs_cut_short_are_left_out_of_methods_where_there_are_whole_ones():
    """They stand in the tables that compare them."""
    cut = [made(dataclasses.replace(FULL, max_steps=8, padding=padding)) for padding in ("fixed", "dynamic")]
    whole = [made(LORA), made(FULL)]
    assert named("methods", [*cut, *whole]) == named("methods", whole)
    assert named("padding-full", [*cut, *whole]).count("\n| full") == 2
    for others in ([], [made(LORA), made(SVM)], [made(FULL, device="another cpu")]):
        assert "full, fixed, lr 2e-05" in named("methods", [*cut, *others])


def test_a_row_is_readable_and_aligned():
    lines = methods_table(lab_records.study()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert re.fullmatch(r"\| :-+ (\| -+: )+\|", table[1])


def test_the_caption_says_where_the_numbers_come_from():
    caption = one_line(methods_table([made(SVM, day=3), seeded(SVM, 1)]).partition("\n\n|")[0])
    assert caption == (
        "Encoder `minilm` (eeeeeeee), data set `corpus` (dddddddd), on a cpu; torch 2.13.0, transformers 5.23.0; "
        "2026-01-01 to 2026-01-03. Common recipe: max length 512."
    )
    assert one_line(methods_table([made(FULL)])).partition(" |")[0].endswith("; 2026-01-01. " + RECIPE)


def test_the_caption_names_every_version_once():
    versions = {"torch": "2.12.0", "transformers": "5.20.0"}
    other = seeded(FULL, 2, environment={"device": "a cpu", "versions": versions}, day=1)
    caption = one_line(methods_table([made(), seeded(FULL, 1), other]))
    assert "; torch 2.12.0, transformers 5.20.0; torch 2.13.0, transformers 5.23.0; 2026-01-01." in caption


def test_names_cannot_break_a_table_or_the_readme():
    odd = made(device="a | <!-- /rtlab:methods --> gpu", encoder="`odd`")
    text = methods_table([odd])
    assert "<" not in text
    assert len(rows(text)) == 1
    once = replace_block(README, "methods", text)
    assert replace_block(once, "methods", text) == once


def test_seeds_share_a_row_as_mean_and_deviation():
    values = ((0.7, 10.0), (0.8, 20.0), (0.9, 60.0))
    records = [seeded(FULL, seed, accuracy=a, train_s=s) for seed, (a, s) in enumerate(values)]
    [row] = columns(methods_table(records))
    assert list(row.values())[2:] == ["30.0 ± 26.5", "0.8000 ± 0.1000", "0.5500 ± 0.1000", "0.3000 ± 0.1000", "3"]


def test_an_accuracy_carries_its_interval_over_sentences_and_seeds():
    [row] = columns(named("methods", lab_records.study({lab_records.FULL: lab_records.BORNE_OUT[lab_records.FULL]})))
    value, low, high = map(float, re.fullmatch(r"(\S+) ± 0.0000 \[(\S+), (\S+)\]", row["test accuracy"]).groups())
    assert value == pytest.approx(0.85, abs=1e-3)
    assert (low, high) == pytest.approx((0.828, 0.871), abs=0.003)  # 1.96 standard errors of 1,066 sentences


def test_an_accuracy_without_predictions_has_no_interval():
    assert columns(methods_table([made(accuracy=0.9)]))[0]["validation accuracy"] == "0.9000"


@pytest.mark.parametrize(
    "change",
    [
        {"padding": "fixed"},
        {"max_length": 128},
        {"learning_rate": 1e-5},
        {"learning_rate": 2.4e-5},
        {"epochs": 1},
        {"batch_size": 32},
        {"precision": "bf16"},
        {"logging_steps": 10},
        {"max_steps": 100},
        {"limit": 100},
        {"lora": LoraSettings(rank=4)},
        {"lora": LoraSettings(alpha=16)},
        {"lora": LoraSettings(dropout=0.0)},
        {"lora": LoraSettings(target_modules=("q_lin",))},
    ],
    ids=str,
)
def test_what_differs_in_more_than_the_seed_has_a_row_and_words_of_its_own(change):
    cut = dataclasses.replace(LORA, max_steps=10)
    other = dataclasses.replace(cut, **change)
    table = rows(methods_table([made(cut), seeded(cut, 1), made(other)]))
    assert sorted(row[-1] for row in table) == ["1", "2"]
    assert table[0][0] != table[1][0]


def test_a_row_says_what_not_all_rows_have_in_common():
    cut = dataclasses.replace(LORA, max_steps=8, learning_rate=1e-3, batch_size=32, limit=2000)
    text = methods_table([made(dataclasses.replace(LORA, max_steps=9)), made(cut), made(SVM)])
    assert [row[0] for row in rows(text)] == [
        "SVM, [CLS] features",
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 2e-05, cut at 9 steps, batch size 16",
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 1e-03, "
        "cut at 8 steps, batch size 32, 2,000 sentences a split",
    ]
    assert "Common recipe: engine trainer, 5 epochs, max length 512." in one_line(text)


def test_an_svms_settings_have_rows_of_their_own():
    others = [dataclasses.replace(SVM, **change) for change in ({"pooling": "mean"}, {"max_length": 64}, {"limit": 9})]
    assert sorted(row[0] for row in rows(methods_table(map(made, (SVM, *others))))) == [
        "SVM, [CLS] features, max length 512",
        "SVM, [CLS] features, max length 512, 9 sentences a split",
        "SVM, [CLS] features, max length 64",
        "SVM, mean-pooled features, max length 512",
    ]


def test_contents_of_one_name_are_never_averaged():
    changed = made(dataset=Source(name="corpus", revision=None, sha256="0" * 64))
    retrained = dataclasses.replace(made(), id="other", encoder=Source(name="minilm", revision=None, sha256="0" * 64))
    text = methods_table([made(), changed, retrained])
    assert [row[-1] for row in rows(text)] == ["1", "1", "1"]
    assert len(set(re.findall(r"^Encoder .*$", text, re.MULTILINE))) == 3


def test_encoders_data_sets_and_devices_have_tables_of_their_own():
    records = [
        made(device="a gpu"),
        made(encoder="distilbert"),
        made(dataset=Source(name="rt-polaritydata", revision=None, sha256="0" * 64)),
        made(),
    ]
    text = methods_table(records)
    assert re.findall(r"^Encoder `(\S+)` .* data set `(\S+)` .* on (a \w+);", text, re.MULTILINE) == [
        ("distilbert", "corpus", "a cpu"),
        ("minilm", "corpus", "a cpu"),
        ("minilm", "corpus", "a gpu"),
        ("minilm", "rt-polaritydata", "a cpu"),
    ]
    assert len(rows(text)) == 4


def test_of_one_run_on_one_device_the_latest_state_of_the_code_counts():
    old, new = made(accuracy=0.6, code="0" * 16, day=1), made(accuracy=0.9, code="1" * 16, day=2)
    [row] = columns(methods_table([old, new]))
    assert (row["validation accuracy"], row["n"]) == ("0.9000", "1")
    elsewhere = dataclasses.replace(old, environment=old.environment | {"device": "a gpu"})
    assert len(rows(methods_table([old, elsewhere]))) == 2


@pytest.mark.parametrize("status", ["failed", "oom", "nan", "cancelled"])
def test_runs_without_a_result_are_counted_and_not_averaged(status):
    lost = [failed(dataclasses.replace(FULL, seed=seed), status=status, day=9) for seed in (7, 8)]
    text = methods_table([made(accuracy=0.9), *lost])
    [row] = columns(text)
    assert (row["validation accuracy"], row["n"]) == ("0.9000", "1")
    assert "2026-01-01. " in one_line(text)  # the dates of what is shown
    assert text.endswith("\n\n2 runs without a result left out.")
    assert methods_table([made(), lost[0]]).endswith("\n\n1 run without a result left out.")
    assert "left out" not in methods_table([made()])


def test_failures_are_counted_in_the_tables_of_their_method_and_place():
    records = [*map(made, (FULL, dataclasses.replace(FULL, padding="fixed"), SVM)), failed(seeded(FULL, 5).experiment)]
    counted = {table.name: "1 run without" in table.text for table in tables(records)}
    assert [name for name, there in counted.items() if there] == ["padding-full", "methods"]
    elsewhere = failed(FULL, device="a gpu")
    assert "without" not in named("padding-full", [*records[:3], elsewhere])


def test_a_failure_that_a_later_run_made_good_is_not_counted():
    assert "left out" not in methods_table([failed(code="0" * 16), made(day=2)])
    again = methods_table([made(), failed(code="0" * 16, day=2)])
    assert rows(again) == []
    assert again.endswith("1 run without a result left out.")


def test_failures_alone_make_no_table():
    assert one_line(methods_table([failed()])) == (
        "Encoder `minilm` (eeeeeeee), data set `corpus` (dddddddd), on a cpu; torch 2.13.0, transformers 5.23.0; "
        "2026-01-01. 1 run without a result left out."
    )


@given(st.lists(strategies.run_records(), max_size=6))
def test_any_records_make_tables(records):
    records = [dataclasses.replace(record, id=str(number)) for number, record in enumerate(records)]
    text = methods_table(records)
    counted = sum(map(int, re.findall(r"^(\d+) runs? without a result left out\.$", text, re.MULTILINE)))
    assert counted == sum(record.status != "ok" for record in records)


# Each table


def test_the_table_of_the_svm_has_a_row_for_each_split():
    records = [made(SVM, accuracy=0.8), seeded(SVM, 1, accuracy=0.9), made(FULL)]
    assert columns(named("svm", records)) == [
        {
            "setup": "SVM, [CLS] features",
            "split": split,
            "accuracy": accuracy,
            "precision": precision,
            "recall": recall,
            "F1": f1,
            "n": "2",
        }
        for split, accuracy, precision, recall, f1 in (
            ("validation", "0.8500 ± 0.0707", "0.1000 ± 0.0000", "0.2000 ± 0.0000", "0.3000 ± 0.0000"),
            ("test", "0.6000 ± 0.0707", "0.4000 ± 0.0000", "0.5000 ± 0.0000", "0.3500 ± 0.0707"),
        )
    ]


def padded(padding, seconds, experiment=FULL, **changes):
    experiment = dataclasses.replace(experiment, padding=padding, **changes)
    return [
        lab_records.made(dataclasses.replace(experiment, seed=seed), 0.8, 0.8, s, 0.2, 0.1)
        for seed, s in enumerate(seconds)
    ]


def test_the_tables_of_padding():
    records = [*padded("dynamic", [100.0, 102.0]), *padded("fixed", [800.0, 820.0]), *padded("bucketed", [90.0])]
    [fixed, dynamic, bucketed] = columns(named("padding-full", records))
    assert fixed == {
        "setup": "full, fixed, lr 2e-05",
        "training (s)": "810.0 ± 14.1",
        "samples/s": "52.7 ± 0.9",
        "steps/s": "3.30 ± 0.06",
        "peak host GiB": "1.00 ± 0.00",
        "padding tokens": "94.7 ± 0.0 %",
        "speed-up over fixed": "1",
        "n": "2",
    }
    assert re.fullmatch(r"8\.02 × \[7\.\d\d, 8\.\d\d\]", dynamic["speed-up over fixed"])
    assert bucketed["speed-up over fixed"] == "9.00 ×"  # one run: no interval
    assert bucketed["padding tokens"] == "3.6 %"
    assert named("padding-lora", records).startswith("Nothing to show yet")


def test_a_speed_up_is_over_what_differs_in_padding_alone():
    cut = {"max_steps": 8}
    records = [
        *padded("fixed", [50.0], **cut),
        *padded("dynamic", [5.0], **cut),
        *padded("dynamic", [100.0]),  # nothing fixed to be compared to
        *padded("fixed", [70.0], LORA),
        *padded("dynamic", [10.0], LORA),
    ]
    assert [(row["setup"], row["speed-up over fixed"]) for row in columns(named("padding-full", records))] == [
        ("full, fixed, lr 2e-05", "1"),
        ("full, dynamic, lr 2e-05", "10.0 ×"),
    ]
    assert "cut at 8 steps" in one_line(named("padding-full", records))
    assert [row["speed-up over fixed"] for row in columns(named("padding-lora", records))] == ["1", "7.00 ×"]


def test_without_fixed_padding_there_is_no_speed_up():
    records = [*padded("bucketed", [50.0]), *padded("dynamic", [60.0])]
    assert [row["speed-up over fixed"] for row in columns(named("padding-full", records))] == ["–", "–"]


def test_paddings_are_compared_within_an_engine():
    native = {"engine": "native"}
    records = [
        *padded("fixed", [80.0]),
        *padded("dynamic", [40.0]),
        *(r for kind, s in (("fixed", 50.0), ("dynamic", 20.0), ("packed", 10.0)) for r in padded(kind, [s], **native)),
        *padded("packed", [5.0], **native, compile=True),  # nothing fixed to be compared to
    ]
    found = columns(named("padding-full", records))
    assert [(row["setup"], row["speed-up over fixed"]) for row in found] == [
        ("full, fixed, lr 2e-05, engine trainer", "1"),
        ("full, dynamic, lr 2e-05, engine trainer", "2.00 ×"),
        ("full, fixed, lr 2e-05, engine native", "1"),
        ("full, dynamic, lr 2e-05, engine native", "2.50 ×"),
        ("full, packed, lr 2e-05, engine native", "5.00 ×"),
    ]
    assert found[-1]["padding tokens"] == "0.0 %"


def test_warm_up_counts_in_a_speed_up():
    slow, fast = padded("fixed", [100.0])[0], padded("dynamic", [10.0])[0]
    fast = dataclasses.replace(fast, timing=dataclasses.replace(fast.timing, warmup_s=10.0))
    assert columns(named("padding-full", [slow, fast]))[1]["speed-up over fixed"] == "5.00 ×"


def test_peak_memory_is_the_devices_where_there_is_one():
    records = [*padded("fixed", [100.0]), *padded("dynamic", [10.0])]
    records = [dataclasses.replace(r, memory=Memory(peak_device=3 * 2**29, peak_host=2**33)) for r in records]
    assert [row["peak device GiB"] for row in columns(named("padding-full", records))] == ["1.50", "1.50"]


def test_the_table_of_methods():
    text = methods_table([made(LORA, accuracy=0.8, train_s=100.06), made(SVM, train_s=2.5), made(FULL, accuracy=1.0)])
    assert list(columns(text)[0]) == [
        *("setup", "encoder/adapter + head", "training (s)"),
        *("validation accuracy", "test accuracy", "test F1", "n"),
    ]
    assert rows(text) == [
        ["SVM, [CLS] features", "0 + 770", "2.5", "0.7500", "0.5000", "0.2500", "1"],
        ["full, dynamic, lr 2e-05", "21,000,000 + 770", "10.0", "1.0000", "0.7500", "0.5000", "1"],
        [
            "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 2e-05",
            "100,000 + 770",
            "100.1",
            "0.8000",
            "0.5500",
            "0.3000",
            "1",
        ],
    ]


def test_the_table_of_learning_rates():
    fast = dataclasses.replace(FULL, learning_rate=2e-4)
    assert columns(named("learning-rates", [made(fast, final_loss=0.25), seeded(FULL, 1, train_loss=0.8), made()])) == [
        {
            "setup": f"full, dynamic, lr {rate}",
            "training loss": loss,
            "loss of last epoch": last,
            "validation accuracy": accuracy,
            "test accuracy": test,
            "n": n,
        }
        for rate, loss, last, accuracy, test, n in (
            ("2e-05", "0.7000 ± 0.1414", "0.5000 ± 0.0000", "0.7500 ± 0.0000", "0.5000 ± 0.0000", "2"),
            ("2e-04", "0.6000", "0.2500", "0.7500", "0.5000", "1"),
        )
    ]


def test_a_loss_that_no_run_has_is_a_dash():
    fast = dataclasses.replace(FULL, learning_rate=2e-4)
    found = columns(named("learning-rates", [made(fast, train_loss=None), made()]))
    assert [row["training loss"] for row in found] == ["0.6000", "–"]


def test_the_table_of_target_modules():
    wide = dataclasses.replace(LORA, lora=LoraSettings(target_modules=("attention+mlp",)))
    found = columns(named("target-modules", [made(wide), made(LORA), made(FULL)]))
    assert [row["setup"] for row in found] == [
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention, dynamic, lr 2e-05",
        "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention+mlp, dynamic, lr 2e-05",
    ]
    assert found[0] | {"setup": ""} == {
        "setup": "",
        "adapter + head": "100,000 + 770",
        "samples/s": "1.0",
        "validation accuracy": "0.7500",
        "test accuracy": "0.5000",
        "test F1": "0.2500",
        "n": "1",
    }


def timed(experiment, train_s, warmup_s=0.0):
    record = made(experiment, train_s=train_s)
    return dataclasses.replace(record, timing=dataclasses.replace(record.timing, warmup_s=warmup_s))


def test_the_table_of_engines():
    """The native engine stands beside the reference with whatever padding, and is measured against its dynamic one."""
    native = dataclasses.replace(FULL, engine="native", padding="packed")
    rows = columns(
        named(
            "engines",
            [
                timed(FULL, 10.0),
                timed(dataclasses.replace(FULL, padding="fixed"), 40.0),
                timed(native, 4.0, warmup_s=1.0),
                timed(dataclasses.replace(native, padding="dynamic"), 8.0),
                timed(dataclasses.replace(native, compile=True), 2.0, warmup_s=3.0),
            ],
        )
    )
    assert [(row["setup"], row["speed-up over trainer, dynamic"]) for row in rows] == [
        ("full, fixed, lr 2e-05, engine trainer", "0.250 ×"),
        ("full, dynamic, lr 2e-05, engine trainer", "1"),
        ("full, dynamic, lr 2e-05, engine native", "1.25 ×"),
        ("full, packed, lr 2e-05, engine native", "2.00 ×"),
        ("full, packed, lr 2e-05, engine native, compiled", "2.00 ×"),
    ]
    assert rows[3]["warm-up (s)"] == "1.0"
    assert rows[3]["test accuracy"] == "0.5000"


def test_the_table_of_engines_takes_two_engines():
    alone = [timed(FULL, 10.0), timed(dataclasses.replace(FULL, padding="fixed"), 40.0)]
    [table] = [table for table in tables(alone) if table.name == "engines"]
    assert not table.shows
    fixed_alone = [alone[1], timed(dataclasses.replace(FULL, engine="native"), 4.0)]
    assert {row["speed-up over trainer, dynamic"] for row in columns(named("engines", fixed_alone))} == {"–"}


# Settings in words


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (SVM, "[CLS] features"),
        (Experiment(method="svm", pooling="mean", precision="bf16"), "mean-pooled features, precision bf16"),
        (Experiment(engine="native"), "packed padding, lr 2e-05, 5 epochs, engine native"),
        (Experiment(engine="native", compile=True), "packed padding, lr 2e-05, 5 epochs, engine native, compiled"),
        (Experiment(epochs=1), "dynamic padding, lr 2e-05, 1 epoch"),
        (Experiment(max_steps=100), "dynamic padding, lr 2e-05, at most 100 steps"),
        (
            Experiment(padding="bucketed", learning_rate=1e-3, batch_size=32, max_length=64),
            "bucketed padding, lr 0.001, 5 epochs, batch size 32, max length 64",
        ),
        (
            Experiment(method="lora", lora=LoraSettings(rank=4, alpha=8, dropout=0.0, target_modules="q_lin v_lin")),
            "rank 4, alpha 8, dropout 0 on q_lin v_lin, dynamic padding, lr 2e-05, 5 epochs",
        ),
    ],
)
def test_settings_in_words(experiment, words):
    assert settings_in_words(experiment) == words


# One run


def test_the_summary_of_a_run():
    text = summary(made(LORA, accuracy=0.8, train_s=12.34))
    assert text.splitlines() == [
        "LoRA of minilm on corpus (rank 8, alpha 32 on attention, dynamic padding, lr 2e-05, 5 epochs, seed 42)",
        "",
        "split       accuracy    precision    recall    F1",
        "----------  ----------  -----------  --------  ------",
        "validation  0.8000      0.1000       0.2000    0.3000",
        "test        0.5500      0.4000       0.5000    0.3000",
        "",
        "trained 100,770 of 22,000,000 parameters in 12.3 s (1.0 samples/s), mean loss 0.6000, last epoch 0.5000",
        "loading 1.0 s, tokenizing 1.0 s, evaluating 1.0 s, peak host memory 1.50 GiB",
    ]


def test_the_summary_of_an_svm_has_no_loss():
    assert "samples/s)\n" in summary(made(SVM))


# The block of the README


def test_a_block_is_replaced_and_all_around_it_stays():
    assert replace_block(README, "methods", "new\ntable") == README.replace("old", "new\ntable")
    assert replace_block("<!-- rtlab:a --><!-- /rtlab:a -->", "a", "x") == "<!-- rtlab:a -->\nx\n<!-- /rtlab:a -->"


@given(st.text(), st.text(), st.text().filter(lambda text: "rtlab:" not in text))
def test_replacing_is_idempotent(before, after, block):
    text = f"{before}<!-- rtlab:x --><!-- /rtlab:x -->{after}".replace("\r", "")
    once = replace_block(text, "x", block)
    assert replace_block(once, "x", block) == once
    assert once.startswith(before.replace("\r", ""))
    assert once.endswith(after.replace("\r", ""))


BEGIN, END = "<!-- rtlab:methods -->", "<!-- /rtlab:methods -->"
BAD_MARKERS = {
    "none": "text",
    "no end": f"a {BEGIN} b",
    "no beginning": f"a {END} b",
    "reversed": f"{END} a {BEGIN}",
    "two beginnings": f"{BEGIN} {BEGIN} {END}",
    "two ends": f"{BEGIN} {END} {END}",
    "two pairs": f"{BEGIN} {END} {BEGIN} {END}",
    "another name": "<!-- rtlab:other --><!-- /rtlab:other -->",
}


@pytest.mark.parametrize("text", BAD_MARKERS.values(), ids=BAD_MARKERS)
@pytest.mark.parametrize("check", [True, False])
def test_a_readme_without_one_pair_of_markers_is_refused_and_stays(tmp_path, text, check):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=rf"^{path} cannot be updated: the file must hold one {BEGIN} and one {END} beh"
    ):
        update_readme(path, {"methods": "new"}, check=check)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_one_broken_pair_among_several_changes_nothing(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README + "<!-- rtlab:svm -->")
    with pytest.raises(ValueError, match=r"must hold one <!-- rtlab:svm --> and one <!-- /rtlab:svm --> behind it"):
        update_readme(path, {"methods": "new", "svm": "new"}, check=False)
    assert "old" in path.read_text()


@pytest.mark.parametrize("there", ["nothing", "a folder", "no text"])
def test_a_readme_that_cannot_be_read_is_named(tmp_path, there):
    path = tmp_path / "README.md"
    if there == "a folder":
        path.mkdir()
    elif there == "no text":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=rf"^{path} cannot be updated: "):
        update_readme(path, {}, check=False)


def test_a_readme_is_rebuilt_once_and_then_up_to_date(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README, encoding="utf-8")
    block = methods_table([made(), seeded(FULL, 1, accuracy=0.9)])
    assert update_readme(path, {"methods": block}, check=False) is True
    text = path.read_text(encoding="utf-8")
    assert text == README.replace("old", block)
    assert "±" in text
    assert update_readme(path, {"methods": block}, check=True) is False
    assert update_readme(path, {"methods": block}, check=False) is False
    assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_check_tells_that_a_readme_is_stale_and_writes_nothing(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README)
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert update_readme(path, {"methods": "new"}, check=True) is True
    assert path.read_text() == README
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written


# The command


@pytest.fixture
def results(tmp_path):
    """A results folder of a study, and a README with all markers beside it."""
    for number, record in enumerate(lab_records.study()):
        save(dataclasses.replace(record, id=f"{number:016x}"), tmp_path / "results" / "records")
    blocks = "\n\n".join(f"### {name}\n\n<!-- rtlab:{name} -->\n<!-- /rtlab:{name} -->" for name in TABLES)
    (tmp_path / "README.md").write_text(f"# A title\n\n{blocks}\n\nThe end.\n")
    return tmp_path / "results"


def test_the_command_fills_the_readme_and_its_check_agrees(rtlab, results):
    readme = results.parent / "README.md"
    stale = rtlab("tables", "--check")
    assert (stale.status, stale.out) == (1, "")
    assert stale.err == "rtlab: README.md is stale; rebuild it with: rtlab tables\n"
    assert "±" not in readme.read_text()
    assert (rtlab("tables").status, rtlab("tables", "--check").status) == (0, 0)
    text = readme.read_text()
    assert text.startswith("# A title\n\n### svm\n\n<!-- rtlab:svm -->\nEncoder `distilbert/")
    assert text.endswith("\n<!-- /rtlab:engines -->\n\nThe end.\n")
    assert rtlab("tables").out == "README.md is up to date\n"
    assert readme.read_text() == text


def test_the_command_prints_what_has_something_to_show(rtlab, results):
    printed = rtlab("tables", "--readme", "-")
    assert printed.status == 0
    assert "## Engines" not in printed.out
    assert printed.out.count("\n## ") == 5
    assert "±" not in (results.parent / "README.md").read_text()


def test_the_command_refuses_a_readme_with_a_broken_pair(rtlab, results):
    readme = results.parent / "README.md"
    readme.write_text(readme.read_text().replace("<!-- /rtlab:methods -->", ""))
    before = readme.read_text()
    refused = rtlab("tables")
    assert refused.status == 2
    assert refused.err.startswith("rtlab: README.md cannot be updated: the file must hold one <!-- rtlab:methods -->")
    assert readme.read_text() == before


def test_a_broken_record_is_named_and_stops_no_table(rtlab, results):
    good = rtlab("tables", "--readme", "-")
    [first, *_] = sorted((results / "records").iterdir())
    fields = json.loads(first.read_text())
    ragged = {"labels": [0, 1], "logits": [[0.0, 1.0], [0.0]]}
    huge = {"labels": [0], "logits": [[0.0, 1e300]]}
    unequal = {"labels": [0, 1], "logits": [[0.0, 1.0]]}
    for name, broken in {"ragged": ragged, "huge": huge, "unequal": unequal}.items():
        (results / "records" / f"{name}.json").write_text(
            json.dumps(fields | {"predictions": {"test": broken, "validation": broken}})
        )
    printed = rtlab("tables", "--readme", "-")
    assert printed.status == 0
    assert printed.out == good.out
    assert re.findall(r"(\w+)\.json is not a readable record", printed.err) == ["huge", "ragged", "unequal"]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """1,000 records: 200 experiments under 5 seeds, with 2 x 1,066 pairs of logits each, of eight digits as real ones.

    Put together as text, since `save` flushes each to the disk.
    """
    folder = tmp_path_factory.mktemp("thousand") / "records"
    folder.mkdir()
    found = {experiment: of for experiment, of in lab_records.BORNE_OUT.items() if experiment.method != "svm"}
    written = 0
    for record in lab_records.study(found, seeds=(1, 2, 3, 4, 5)):
        fields = record.to_json()
        predictions = json.dumps(fields.pop("predictions")).replace("0.5", "0.51234567")
        for batch_size in range(1, 26):
            fields["id"] = f"{written:016x}"
            fields["experiment"]["batch_size"] = batch_size
            path = folder / f"{written}.json"
            path.write_text(f'{json.dumps(fields)[:-1]}, "predictions": {predictions}}}')
            written += 1
    assert written == 1000
    assert path.stat().st_size > 60_000
    return folder.parent


def test_a_thousand_records_take_a_few_times_their_reading_and_300_mb(thousand, run_python):
    """Computing, in units of what reading the same files as JSON takes in the same process: no machine's seconds."""
    code = """
import json, pathlib, re, sys, time
from rtlab.cli import main
begin = time.process_time()
for path in pathlib.Path(sys.argv[1]).rglob("*.json"):
    json.loads(path.read_bytes())
reading = time.process_time() - begin
begin = time.process_time()
status = main(["tables", "--results", sys.argv[1], "--readme", "-"])
used = time.process_time() - begin
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1)
print(status, used / reading, int(peak) / 1024, file=sys.stderr)
heavy = {"torch", "pandas", "transformers", "sklearn", "matplotlib", "scipy.stats"}
print(heavy & {*sys.modules}, file=sys.stderr)
"""
    untraced = {"COVERAGE_PROCESS_CONFIG": None, "COVERAGE_PROCESS_START": None}  # coverage's time is not the command's
    done = run_python(code, thousand, **untraced)
    measured, loaded = done.stderr.splitlines()
    status, times, megabytes = map(float, measured.split())
    assert status == 0
    assert len(rows(done.stdout.partition("## Methods")[2].partition("## ")[0])) == 200
    assert loaded == "set()"
    assert times < 3  # 1.9 where it was written
    assert megabytes < 300


def test_a_table_is_built_without_torch_or_anything_as_heavy(tmp_path, run_python):
    save(dataclasses.replace(made(LORA), id="0" * 16), tmp_path)
    code = """
import sys
from pathlib import Path
from rtlab.records import load_records
from rtlab.reporting.tables import as_text, summary, tables
[record] = load_records(Path(sys.argv[1])).records
assert "LoRA" in as_text(tables([record])) and "LoRA" in summary(record)
print({"torch", "transformers", "datasets", "peft", "sklearn"} & {*sys.modules})
"""
    done = run_python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("set()\n", "")
