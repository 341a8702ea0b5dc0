"""Tables of records: what shares a row, what is counted, and the block of the README that they fill."""

import dataclasses
import re

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rtlab.experiment import Experiment, LoraSettings
from rtlab.metrics import Scores
from rtlab.records import Counts, Memory, RunRecord, Source, Timing, save
from rtlab.reporting.tables import methods_table, replace_block, summary, update_readme
from rtlab.reporting.tables import settings as settings_in_words

README = "# A title\n\n<!-- rtlab:methods -->\nold\n<!-- /rtlab:methods -->\n\nThe end.\n"
SVM, FULL, LORA = (Experiment(method=method) for method in ("svm", "full", "lora"))


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
    return [row for row in cells if row[0] != "method" and set(row[0]) != {":", "-"}]


# The table of methods


def test_no_records_are_said_to_be_none():
    assert methods_table([]) == "No records yet."


def test_the_table_as_a_whole():
    table = methods_table([made(SVM, train_s=2.5, day=3), seeded(SVM, 1, train_s=3.5, accuracy=0.85)])
    squeezed = re.sub(r"-{3,}", "---", re.sub(r" {2,}", " ", table))
    assert squeezed.splitlines() == [
        "Encoder `minilm`, data set `corpus`, on a cpu; torch 2.13.0, transformers 5.23.0; 2026-01-01 to 2026-01-03.",
        "",
        "| method | settings | parameters trained | training time (s) "
        "| validation accuracy | test accuracy | test F1 | seeds |",
        "|:---|:---|---:|---:|---:|---:|---:|---:|",
        "| linear SVM | [CLS] features | 770 | 3.0 ± 0.7 | 0.8000 ± 0.0707 | 0.5500 ± 0.0707 | 0.3000 ± 0.0707 | 2 |",
    ]


def test_a_rows_cells():
    table = methods_table([made(LORA, accuracy=0.8, train_s=100.06), made(SVM, train_s=2.5), made(FULL, accuracy=1.0)])
    header = [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")]
    assert header == [
        *("method", "settings", "parameters trained", "training time (s)"),
        *("validation accuracy", "test accuracy", "test F1", "seeds"),
    ]
    assert rows(table) == [
        ["linear SVM", "[CLS] features", "770", "2.5", "0.7500", "0.5000", "0.2500", "1"],
        [
            "full fine-tuning",
            "dynamic padding, lr 2e-05, 5 epochs",
            "21,000,770",
            "10.0",
            "1.0000",
            "0.7500",
            "0.5000",
            "1",
        ],
        [
            "LoRA",
            "rank 8, alpha 32 on attention, dynamic padding, lr 2e-05, 5 epochs",
            "100,770 (adapter 100,000, head 770)",
            *("100.1", "0.8000", "0.5500", "0.3000", "1"),
        ],
    ]


def test_seeds_share_a_row_as_mean_and_deviation():
    values = ((0.7, 10.0), (0.8, 20.0), (0.9, 60.0))
    records = [seeded(FULL, seed, accuracy=a, train_s=s) for seed, (a, s) in enumerate(values)]
    [row] = rows(methods_table(records))
    assert row[3:] == ["30.0 ± 26.5", "0.8000 ± 0.1000", "0.5500 ± 0.1000", "0.3000 ± 0.1000", "3"]


@pytest.mark.parametrize(
    "change",
    [
        {"padding": "fixed"},
        {"max_length": 128},
        {"learning_rate": 1e-5},
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
    other = dataclasses.replace(LORA, **change)
    table = rows(methods_table([made(LORA), seeded(LORA, 1), made(other)]))
    assert sorted(row[-1] for row in table) == ["1", "2"]
    assert table[0][1] != table[1][1]


def test_an_svms_settings_have_rows_of_their_own():
    others = [dataclasses.replace(SVM, **change) for change in ({"pooling": "mean"}, {"max_length": 64}, {"limit": 9})]
    table = rows(methods_table(map(made, (SVM, *others))))
    assert [row[1] for row in table] == [
        "[CLS] features",
        "[CLS] features, 9 sentences a split",
        "[CLS] features, max length 64",
        "mean-pooled features",
    ]


def test_contents_of_one_name_are_never_averaged():
    changed = made(dataset=Source(name="corpus", revision=None, sha256="0" * 64))
    retrained = made(encoder="minilm")
    retrained = dataclasses.replace(
        retrained, id="other", encoder=Source(name="minilm", revision=None, sha256="0" * 64)
    )
    assert [row[-1] for row in rows(methods_table([made(), changed, retrained]))] == ["1", "1", "1"]


def test_encoders_data_sets_and_devices_have_tables_of_their_own():
    records = [
        made(device="a gpu"),
        made(encoder="distilbert"),
        made(dataset=Source(name="rt-polaritydata", revision=None, sha256="0" * 64)),
        made(),
    ]
    table = methods_table(records)
    captions = [line.partition(";")[0] for line in table.splitlines() if line.startswith("Encoder")]
    assert captions == [
        "Encoder `distilbert`, data set `corpus`, on a cpu",
        "Encoder `minilm`, data set `corpus`, on a cpu",
        "Encoder `minilm`, data set `corpus`, on a gpu",
        "Encoder `minilm`, data set `rt-polaritydata`, on a cpu",
    ]
    assert len(rows(table)) == 4


def test_of_one_run_on_one_device_the_latest_state_of_the_code_counts():
    old, new = made(accuracy=0.6, code="0" * 16, day=1), made(accuracy=0.9, code="1" * 16, day=2)
    [row] = rows(methods_table([old, new]))
    assert (row[4], row[-1]) == ("0.9000", "1")
    elsewhere = dataclasses.replace(old, environment=old.environment | {"device": "a gpu"})
    assert len(rows(methods_table([old, elsewhere]))) == 2


@pytest.mark.parametrize("status", ["failed", "oom", "nan", "cancelled"])
def test_runs_without_a_result_are_counted_and_not_averaged(status):
    lost = [failed(dataclasses.replace(FULL, seed=seed), status=status, day=9) for seed in (7, 8)]
    table = methods_table([made(accuracy=0.9), *lost])
    [row] = rows(table)
    assert (row[4], row[-1]) == ("0.9000", "1")
    assert table.endswith("\n\n2 runs without a result left out.")
    assert methods_table([made(), lost[0]]).endswith("\n\n1 run without a result left out.")
    assert "left out" not in methods_table([made()])


def test_a_failure_that_a_later_run_made_good_is_not_counted():
    assert "left out" not in methods_table([failed(code="0" * 16), made(day=2)])
    again = methods_table([made(), failed(code="0" * 16, day=2)])
    assert rows(again) == []
    assert again.endswith("1 run without a result left out.")


def test_failures_alone_make_no_table():
    assert methods_table([failed()]) == (
        "Encoder `minilm`, data set `corpus`, on a cpu; torch 2.13.0, transformers 5.23.0; 2026-01-01."
        "\n\n1 run without a result left out."
    )


def test_the_caption_names_every_version_once():
    versions = {"torch": "2.12.0", "transformers": "5.20.0"}
    other = seeded(FULL, 2, environment={"device": "a cpu", "versions": versions}, day=1)
    caption = methods_table([made(), seeded(FULL, 1), other]).splitlines()[0]
    assert "; torch 2.12.0, transformers 5.20.0; torch 2.13.0, transformers 5.23.0; 2026-01-01." in caption


@given(st.lists(strategies.run_records(), max_size=6))
def test_any_records_make_a_table(records):
    records = [dataclasses.replace(record, id=str(number)) for number, record in enumerate(records)]
    table = methods_table(records)
    counted = sum(map(int, re.findall(r"^(\d+) runs? without a result left out\.$", table, re.MULTILINE)))
    assert counted == sum(record.status != "ok" for record in records)


# Settings in words


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (SVM, "[CLS] features"),
        (Experiment(method="svm", pooling="mean", precision="bf16"), "mean-pooled features, precision bf16"),
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
        update_readme(path, [made()], check=check)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", ["nothing", "a folder", "no text"])
def test_a_readme_that_cannot_be_read_is_named(tmp_path, there):
    path = tmp_path / "README.md"
    if there == "a folder":
        path.mkdir()
    elif there == "no text":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=rf"^{path} cannot be updated: "):
        update_readme(path, [], check=False)


def test_a_readme_is_rebuilt_once_and_then_up_to_date(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README, encoding="utf-8")
    records = [made(), seeded(FULL, 1, accuracy=0.9)]
    assert update_readme(path, records, check=False) is True
    text = path.read_text(encoding="utf-8")
    assert text == README.replace("old", methods_table(records))
    assert "±" in text
    assert update_readme(path, records, check=True) is False
    assert update_readme(path, records, check=False) is False
    assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_check_tells_that_a_readme_is_stale_and_writes_nothing(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README)
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert update_readme(path, [made()], check=True) is True
    assert path.read_text() == README
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written


def test_a_table_is_built_without_torch_or_anything_as_heavy(tmp_path, run_python):
    save(dataclasses.replace(made(LORA), id="0" * 16), tmp_path)
    code = """
import sys
from pathlib import Path
from rtlab.records import load_records
from rtlab.reporting.tables import methods_table, summary
[record] = load_records(Path(sys.argv[1])).records
assert "LoRA" in methods_table([record]) and "LoRA" in summary(record)
print({"torch", "transformers", "datasets", "peft", "sklearn"} & {*sys.modules})
"""
    done = run_python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("set()\n", "")
