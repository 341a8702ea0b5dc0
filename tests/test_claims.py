"""The lab's conclusions: what confirms, refutes and decides nothing, and what a reader sees of it."""

import dataclasses
import json
import math
import re

import pytest
from lab_records import (
    BORNE_OUT,
    FULL,
    FULL_FAST,
    FULL_FIXED,
    LAB_GPU,
    LORA,
    LORA_FAST,
    LORA_FIXED,
    LORA_MORE,
    SVM,
    evidence,
    made,
    some_testbed,
    study,
    with_recipe,
)

from rtlab import studies
from rtlab.experiment import DEFAULT_DATASET, DEFAULT_ENCODER
from rtlab.methods import Adapter
from rtlab.recipe import Recipe
from rtlab.records import save
from rtlab.reporting.claims import LEGEND, Rule, claims_block, judge_all, rule_on
from rtlab.reporting.frame import setup_fields
from rtlab.reporting.groups import groups
from rtlab.reporting.markup import as_markdown
from rtlab.reporting.measures import over_seeds, stated
from rtlab.reporting.quantities import Quantity, Range, read
from rtlab.reporting.write_up import CLAIMS
from rtlab.statistics import Interval

OWN = {"svm-parameters", "full-minutes", "lora-minutes"}
ON_RECORDS = {claim.id for claim in CLAIMS} - OWN
CPU = {"device": "a cpu", "encoder": "minilm", "dataset": "rt-polaritydata"}


def claims_table(judgements):
    return as_markdown(claims_block(judgements))


def one_line(text):
    return " ".join(text.split())


def judged(records, claims=CLAIMS):
    """Claims as they are stated."""
    return {judgement.claim.id: judgement.as_stated for judgement in judge_all(claims, records)}


def judged_here(records):
    return {judgement.claim.id: judgement.here for judgement in judge_all(CLAIMS, records)}


def changed(**places):
    """A study in which some experiments find something else."""
    return study(BORNE_OUT | {EXPERIMENTS[name]: found for name, found in places.items()})


EXPERIMENTS = {
    "svm": SVM,
    "full": FULL,
    "full_fixed": FULL_FIXED,
    "full_fast": FULL_FAST,
    "lora": LORA,
    "lora_fixed": LORA_FIXED,
    "lora_fast": LORA_FAST,
    "lora_more": LORA_MORE,
}


def with_counts(records, **counts):
    return [dataclasses.replace(r, counts=dataclasses.replace(r.counts, **counts)) for r in records]


@pytest.fixture(scope="module")
def borne_out():
    """What a study says that bears out all that can be borne out."""
    return judged(study())


# Every claim: confirmed, refuted, open

REFUTING = {
    "splits": lambda: with_counts(study({SVM: BORNE_OUT[SVM]}), samples=8000),
    "svm-scores": lambda: changed(svm=(0.8180, 0.7700, 6.0, None, None)),
    "full-accuracy": lambda: changed(full=(0.88, 0.82, 103.6, 0.19, 0.05)),
    "lora-accuracy": lambda: changed(lora=(0.84, 0.84, 58.8, 0.33, 0.28)),
    "full-padding-speed": lambda: changed(full_fixed=(0.88, 0.85, 600.0, 0.19, 0.05)),
    "lora-padding-speed": lambda: changed(lora_fixed=(0.87, 0.84, 600.0, 0.33, 0.28)),
    "padding-accuracy": lambda: changed(lora_fixed=(0.87, 0.80, 709.2, 0.33, 0.28)),
    "full-loss-order": lambda: changed(full=(0.88, 0.85, 103.6, 0.23, 0.05)),
    "full-loss": lambda: changed(full_fast=(0.85, 0.82, 103.6, 0.26, 0.08)),
    "lora-learning-rate": lambda: changed(lora_fast=(0.89, 0.88, 58.9, 0.27, 0.2)),
    "target-modules": lambda: changed(lora_more=(0.89, 0.88, 75.0, 0.32, 0.27)),
    "lora-parameters": study,
    "lora-near-full": lambda: changed(lora=(0.87, 0.80, 58.8, 0.33, 0.28)),
    "lora-time": lambda: changed(lora=(0.87, 0.84, 120.0, 0.33, 0.28)),
}


@pytest.mark.parametrize("claim", sorted(ON_RECORDS - {"lora-parameters"}))
def test_a_study_that_bears_a_claim_out_confirms_it(borne_out, claim):
    assert borne_out[claim].verdict == "confirmed"
    assert borne_out[claim].needs == ""
    assert len(borne_out[claim].records) >= 3


def test_lora_would_train_what_is_claimed_without_a_head_of_this_size(borne_out):
    judgement = judged(with_counts(study({LORA: BORNE_OUT[LORA]}), parameters_head=1538))["lora-parameters"]
    assert judgement.verdict == "confirmed"
    assert borne_out["lora-parameters"].verdict == "refuted"
    assert [reading.text for reading in borne_out["lora-parameters"].observed] == [
        "adapter 294,912 (n = 3)",
        "head 592,130 (n = 3)",
    ]


def test_every_claim_on_records_has_a_study_that_refutes_it():
    assert set(REFUTING) == ON_RECORDS


@pytest.mark.parametrize("claim", sorted(REFUTING))
def test_a_study_that_contradicts_a_claim_refutes_it(claim):
    judgement = judged(REFUTING[claim]())[claim]
    assert (judgement.verdict, judgement.needs) == ("refuted", "")
    assert "refuted" in {finding.verdict for finding in judgement.findings}


@pytest.mark.parametrize("claim", sorted(ON_RECORDS))
def test_without_records_a_claim_is_open_and_says_what_it_needs(claim):
    judgement = judged([])[claim]
    assert (judgement.verdict, judgement.findings, judgement.observed) == ("open", (), ())
    assert judgement.needs.startswith("records of ")
    assert ("RTX 4060 Ti" in judgement.needs) == claim.endswith("padding-speed")


@pytest.mark.parametrize("claim", sorted(ON_RECORDS - {"splits", "svm-scores", "lora-parameters"}))
@pytest.mark.parametrize("seeds", [(1,), (1, 2)], ids=len)
def test_where_seeds_matter_fewer_than_three_decide_nothing(claim, seeds):
    judgement = judged(study(seeds=seeds))[claim]
    assert judgement.verdict == "open"
    assert judgement.findings
    assert "at least 3 seeds for " in judgement.needs


@pytest.mark.parametrize("claim", ["full-loss", "full-padding-speed", "lora-time", "full-loss-order"])
def test_an_interval_across_the_bound_decides_nothing(claim):
    judgement = judged(study(jitter=0.5))[claim]
    assert judgement.verdict == "open"
    assert re.search(r"about \d+ seeds for \w", judgement.needs)


def test_no_difference_found_is_no_equivalence_shown():
    restless = {**BORNE_OUT, FULL_FIXED: (0.88, 0.842, 781.5, 0.19, 0.05)}
    judgement = judged(study(restless))["padding-accuracy"]
    [finding] = [f for f in judgement.findings if f.verdict == "open"]
    assert finding.interval.low < 0.01 < finding.interval.high
    assert judgement.verdict == "open"


@pytest.mark.parametrize("claim", sorted(ON_RECORDS - {"splits", "svm-scores"}))
def test_a_missing_experiment_is_named(claim):
    judgement = judged(study({SVM: BORNE_OUT[SVM]}))[claim]
    assert judgement.verdict == "open"
    if claim in ("full-accuracy", "full-padding-speed"):
        assert "full-dynamic-lr2e-05" in judgement.needs


# Never by analogy


@pytest.mark.parametrize("place", [{"encoder": "minilm"}, {"encoder": "distilbert-base-uncased"}, {"sha256": "0" * 64}])
def test_another_encoder_or_data_set_confirms_nothing_as_it_is_stated(place):
    for claim, judgement in judged(study(**place)).items():
        bound = claim != "splits" or "sha256" in place
        if claim in ON_RECORDS and bound:
            assert (judgement.verdict, judgement.findings, judgement.observed) == ("open", (), ()), claim


def test_another_device_does_not_confirm_a_ratio_of_the_labs_device():
    found = judged(study(device="NVIDIA H200"))
    assert found["full-padding-speed"].verdict == "open"
    assert found["full-padding-speed"].needs.endswith("on RTX 4060 Ti")
    assert found["lora-time"].verdict == "confirmed"


def test_the_splits_are_judged_with_any_encoder():
    assert judged(study(seeds=(1,), **CPU))["splits"].verdict == "confirmed"


def other_recipe(**changes):
    return study({with_recipe(e, **changes): v for e, v in BORNE_OUT.items() if e != SVM})


@pytest.mark.parametrize("changes", [{"epochs": 1}, {"batch_size": 32}, {"max_steps": 8}], ids=str)
def test_another_recipe_confirms_nothing(changes):
    found = judged(other_recipe(**changes))
    assert {found[claim].verdict for claim in ON_RECORDS} == {"open"}
    assert not any(found[claim].findings for claim in ON_RECORDS)


def test_the_write_ups_claims_are_of_the_reference_engine():
    """Where the native engine is faster, that bears out nothing that was said of Hugging Face's trainer."""
    found = judged(other_recipe(engine="native"))
    assert {found[claim].verdict for claim in ON_RECORDS} == {"open"}
    assert not any(found[claim].observed for claim in ON_RECORDS)


@pytest.mark.parametrize("names", [("v_lin", "q_lin", "k_lin", "out_lin"), ("q_lin", "k_lin")], ids=len)
def test_target_modules_that_are_spelt_out_are_the_group_that_they_make_up(names):
    spelt = dataclasses.replace(LORA, method=Adapter(target_modules=names))
    found = judged(study({spelt: BORNE_OUT[LORA]}))["lora-accuracy"]
    assert found.verdict == ("confirmed" if len(names) == 4 else "open")


def test_one_device_that_refutes_outweighs_one_that_confirms():
    slow = study(BORNE_OUT | {LORA: (0.87, 0.842, 150.0, 0.33, 0.28)}, device="a cpu")
    judgement = judged([*study(), *slow])["lora-time"]
    assert judgement.verdict == "refuted"
    assert [finding.verdict for finding in judgement.findings] == ["confirmed", "refuted"]


def test_a_claim_about_a_device_is_judged_on_the_records_of_that_device_alone():
    """Elsewhere the ratio is another one, and the same experiment's runs there count for nothing."""
    slow = BORNE_OUT | {FULL_FIXED: (0.88, 0.85, 300.0, 0.19, 0.05)}
    found = judged([*study(), *study(slow, device="a cpu", seeds=(4, 5, 6))])["full-padding-speed"]
    assert (found.verdict, [finding.runs for finding in found.findings]) == ("confirmed", [3])


def test_a_score_pools_testbeds_and_a_time_never_does():
    """Two seeds here and one there are three for an accuracy, and too few for a ratio of times on either machine."""
    there = some_testbed(LAB_GPU, torch="2.12.0")
    records = [
        dataclasses.replace(record, testbed=there) if record.experiment.seed == 3 else record for record in study()
    ]
    found = judged(records)
    assert found["full-accuracy"].verdict == "confirmed"
    assert found["lora-time"].verdict == found["full-padding-speed"].verdict == "open"
    assert {finding.runs for finding in found["lora-time"].findings} == {1, 2}


def test_one_device_that_confirms_is_enough_beside_one_of_too_few_runs():
    judgement = judged([*study(), *study(seeds=(1,), device="a cpu")])["full-accuracy"]
    assert (judgement.verdict, judgement.needs) == ("confirmed", "")


def test_the_rival_of_a_learning_rate_is_the_best_on_validation():
    better_on_test = with_recipe(LORA, learning_rate=5e-4)
    found = {**BORNE_OUT, better_on_test: (0.80, 0.90, 58.0, 0.3, 0.2)}  # chosen by nobody who looks at validation
    assert judged(study(found))["lora-learning-rate"].verdict == "confirmed"
    found[better_on_test] = (0.875, 0.90, 58.0, 0.3, 0.2)
    assert judged(study(found))["lora-learning-rate"].verdict == "refuted"


# Here: another encoder and device, by a rule of its own

JUDGED_HERE = {claim.id for claim in CLAIMS if claim.here.statements}
CONTRARY = {
    "splits": {"parts": (1,), "counts": {"samples": 8000}},
    "svm-parameters": {"parts": (1,)},
    "full-padding-speed": {"parts": (4,), "seconds": lambda e, s: s / 40 if padded(e, "full", "fixed") else s},
    "lora-padding-speed": {"parts": (4,), "seconds": lambda e, s: s / 40 if padded(e, "adapter", "fixed") else s},
    "padding-accuracy": {"parts": (4,), "accuracy": lambda e, a: a - 0.04 if padded(e, "adapter", "fixed") else a},
    "full-loss-order": {
        "parts": (1, 2),
        "loss": lambda e, loss: loss + 0.1 if recipe(e).learning_rate == 2e-5 else loss,
    },
    "lora-learning-rate": {"parts": (1, 2), "accuracy": lambda e, a: a + 0.1 if recipe(e).learning_rate == 1e-3 else a},
    "target-modules": {"parts": (1, 2, 3), "accuracy": lambda e, a: a + 0.04 if "mlp" in str(e.method) else a},
    "lora-near-full": {"parts": (1, 2), "accuracy": lambda e, a: a - 0.05 if kind(e) == "adapter" else a},
    "lora-time": {"parts": (4,), "seconds": lambda e, s: 2 * s if kind(e) == "adapter" else s},
}


def kind(experiment):
    return type(experiment.method).__name__.lower()


def recipe(experiment):
    return experiment.method.recipe or Recipe()


def padded(experiment, name, padding):
    return kind(experiment) == name and recipe(experiment).padding == padding


def test_a_claim_that_its_figures_do_not_tie_has_a_rule_for_here():
    tied = {claim.id for claim in CLAIMS} - JUDGED_HERE
    assert tied == {
        *("svm-scores", "full-accuracy", "lora-accuracy", "full-minutes", "lora-minutes", "full-loss"),
        "lora-parameters",
    }
    assert set(CONTRARY) == JUDGED_HERE


def test_the_rules_for_here_are_about_runs_of_the_study():
    planned = {json.dumps(setup_fields(e), sort_keys=True) for e in studies.study("evidence")}
    for claim in CLAIMS:
        for quantity in (*claim.here.statements, *claim.here.beside):
            for experiment in (*quantity.of, *quantity.rivals):
                assert json.dumps(setup_fields(experiment), sort_keys=True) in planned, (claim.id, quantity.what)


def test_a_study_that_bears_a_rule_out_confirms_it_here_and_leaves_it_open_as_stated():
    records = evidence(counts={"parameters_head": 1_000_000})
    here, stated = judged_here(records), judged(records)
    assert {claim: here[claim].verdict for claim in JUDGED_HERE} == dict.fromkeys(JUDGED_HERE, "confirmed")
    assert {stated[claim].verdict for claim in ON_RECORDS - {"splits"}} == {"open"}
    assert [here[claim.id].verdict for claim in CLAIMS if claim.id not in JUDGED_HERE] == [None] * 7
    assert all(here[claim.id].observed for claim in CLAIMS if claim.id not in JUDGED_HERE)


@pytest.mark.parametrize("claim", sorted(CONTRARY))
def test_a_study_that_contradicts_a_rule_refutes_it_here(claim):
    ruling = judged_here(evidence(**CONTRARY[claim]))[claim]
    assert (ruling.verdict, ruling.needs) == ("refuted", "")


def test_what_is_not_run_yet_is_named_by_the_part_of_the_study_that_has_it():
    found = judged_here(evidence(parts=(1,)))
    assert found["full-loss-order"].needs == "runs of rtlab sweep evidence --part 2"
    assert found["target-modules"].needs == "runs of rtlab sweep evidence --part 2 and --part 3"
    assert found["lora-time"].needs == "runs of rtlab sweep evidence --part 4"
    assert found["splits"].verdict == "confirmed"


def test_an_open_verdict_says_about_how_many_seeds_would_tell_or_that_none_would():
    few = judged_here(evidence(seed_noise=0.006))["padding-accuracy"]
    assert re.search(r"about \d+ seeds for full, dynamic − fixed", few.needs)
    edge = Quantity("x", (), lambda: Interval(value=0.5, low=0.3, high=0.7, over="sentences and seeds", remains=0.15))
    ruling = rule_on(Rule("", (dataclasses.replace(edge, runs=0, stated=Range(0.4, 1, "above 0.4")),)), ())
    assert ruling.needs == "more sentences (no number of seeds would tell) for x"


def test_times_of_two_machines_are_no_ratio_here():
    """Full fine-tuning was timed on one machine, LoRA on another: each has its runs, and none a ratio."""
    there = some_testbed("a gpu")
    records = [dataclasses.replace(r, testbed=there) if kind(r.experiment) == "adapter" else r for r in evidence()]
    ruling = judged_here(records)["lora-time"]
    assert (ruling.verdict, ruling.findings) == ("open", ())
    assert ruling.needs == "times on one testbed for time, LoRA / full, trainer and time, LoRA / full, native"


def test_here_is_the_encoder_and_data_set_of_most_runs():
    records = evidence()
    elsewhere = evidence(parts=(1,), encoder="another", accuracy=lambda _, a: a - 0.1)
    for order in ([*records, *elsewhere], [*elsewhere, *records]):
        readings = [
            reading for ruling in judged_here(order).values() for reading in (*ruling.findings, *ruling.observed)
        ]
        assert {reading.site.place.encoder for reading in readings} == {"minilm"}


# The lab's own figures


@pytest.mark.parametrize("claim", sorted(OWN))
def test_what_the_labs_own_figures_contradict_needs_no_record(claim):
    judgement = judged([])[claim]
    assert (judgement.verdict, judgement.needs, judgement.records) == ("refuted", "", ())


def test_the_labs_own_figures_are_given():
    found = judged([])
    assert [f.text for f in found["full-minutes"].findings] == [
        "its table, dynamic: 1.7 minutes",
        "its table, fixed: 13.0 minutes",
    ]
    assert [f.text for f in found["lora-minutes"].findings] == [
        "its table, dynamic: 1.0 minutes",
        "its table, fixed: 11.8 minutes",
    ]
    assert "769 parameters" in found["svm-parameters"].findings[0].text


@pytest.mark.parametrize("minutes", [103.6 / 60, 20.0, 781.5 / 60])
def test_own_figures_would_confirm_a_sentence_that_fits(minutes):
    [claim] = [claim for claim in CLAIMS if claim.id == "full-minutes"]
    [first, _] = claim.stated.statements
    statement = dataclasses.replace(first, measure=stated(minutes))
    [judgement] = judge_all([dataclasses.replace(claim, stated=Rule("", (statement,)))], [])
    assert judgement.as_stated.verdict == ("confirmed" if minutes == 20.0 else "refuted")


def test_records_stand_beside_the_labs_own_figures(borne_out):
    assert borne_out["full-minutes"].observed[0].text.startswith("dynamic 103.8 s [103.")


# Intervals and ranges


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 1.9, "confirmed"),
        (0.5, 0.9, "refuted"),
        (2.1, 3.0, "refuted"),
        (0.9, 1.5, "open"),
        (1.5, 2.1, "open"),
        (0.5, 2.5, "open"),
        (1.0, 1.5, "open"),
        (0.0, 1.0, "open"),
        (-math.inf, math.inf, "open"),
    ],
)
def test_an_interval_lies_inside_outside_or_across(low, high, verdict):
    quantity = Quantity("x", (), lambda: Interval(value=1.5, low=low, high=high), runs=0)
    ruling = rule_on(Rule("", (dataclasses.replace(quantity, stated=Range(1.0, 2.0, "1 to 2")),)), ())
    assert ruling.verdict == verdict
    assert (verdict == "open") == bool(ruling.needs)


def test_a_mean_over_seeds_has_students_interval():
    times = {1: 10.0, 2: 11.0, 3: 12.0}
    records = [made(FULL, 0.8, 0.8, t, 0.3, 0.2, seed=s) for s, t in times.items()]
    quantity = Quantity("time", (FULL,), over_seeds("train_s"), timed=True)
    interval = read(quantity, groups(records), None).interval
    assert interval.value == 11
    assert interval.high - 11 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)  # t(0.975, 2), s = 1
    assert 11 - interval.low == pytest.approx(interval.high - 11)


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ({"predictions": {}}, {"padding-accuracy", "target-modules", "lora-near-full", "lora-learning-rate", "splits"}),
        ({"train_loss": None, "final_loss": None}, {"full-loss", "full-loss-order"}),
        ({"final_loss": 0.0}, {"full-loss-order"}),
    ],
    ids=["no predictions", "no loss", "a loss of 0"],
)
def test_records_without_a_measurement_decide_nothing_about_it(changes, silent):
    found = judged([dataclasses.replace(record, **changes) for record in study()])
    assert {claim for claim in ON_RECORDS - {"lora-parameters"} if found[claim].verdict != "confirmed"} == silent


# What a reader sees


def test_the_table():
    records = [*study(), *study(seeds=(1,), **CPU)]
    lines = claims_table(judge_all(CLAIMS, records)).splitlines()
    assert lines[0] == "| claim | as stated | evidence | here | evidence here |"
    rows = [row.removeprefix("| ").split(" | ") for row in lines[2 : 2 + len(CLAIMS)]]
    assert {len(row) for row in rows} == {5}
    assert [row[0] for row in rows] == [claim.sentence for claim in CLAIMS]
    [speed] = [row for row in rows if "7.5 × faster" in row[0]]
    assert "(103.6 s against 781.5 s, 412 against 54.6 samples/s)" in speed[0]
    assert speed[1] == "**confirmed**"
    assert re.match(r"P\d: speed-up 7.54 × \[7.5.*\(n = 3, accuracy not shown\), stated 7.50 ± 0.75 ×<br>", speed[2])
    assert re.search(r"<br>\*observed\* P\d: dynamic 4", speed[2])
    assert speed[3].startswith(
        "**open**: needs runs of rtlab sweep evidence --part 4<br>*Direction: dynamic padding is "
    )
    below = one_line("\n".join(lines[2 + len(CLAIMS) :]))
    assert f"Encoder {DEFAULT_ENCODER} (" in below
    assert below.endswith(LEGEND)


def test_the_table_without_records_says_what_is_needed():
    lines = claims_table(judge_all(CLAIMS, [])).splitlines()
    assert next(line for line in lines if not line.startswith("|")) == ""
    assert f"| **open**: needs records of {DEFAULT_ENCODER} on " in lines[3]
    assert " | none | –<br>*Its figures tie it to DistilBERT" in lines[3]


def test_names_in_the_table_cannot_break_it():
    records = study({SVM: BORNE_OUT[SVM]}, encoder="a|b <!-- /rtlab:claims -->")
    table = claims_table(judge_all(CLAIMS, records))
    assert "<!--" not in table
    assert "a\\|b &lt;!-- /rtlab:claims -->" in table


def test_every_claim_says_its_rules_in_one_line():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) == 17
    for claim in CLAIMS:
        assert claim.stated.source.endswith(".")
        assert claim.here.text.endswith(".")
        for rule in (claim.stated, claim.here):
            assert "\n" not in rule.text + rule.source
            for statement in rule.statements:
                assert statement.stated.low < statement.stated.high
                assert statement.stated.text
        assert {statement.runs == 0 for statement in claim.stated.statements} == {claim.id in OWN}


def test_json_holds_both_verdicts_the_records_and_no_infinity():
    found = [judgement.to_json() for judgement in judge_all(CLAIMS, study(seeds=(1,)))]
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    [full] = [claim for claim in found if claim["id"] == "full-accuracy"]
    assert full["speaks_of"] == {"encoder": DEFAULT_ENCODER, "dataset": DEFAULT_DATASET, "device": None}
    assert full["as_stated"]["verdict"] == "open"
    assert full["as_stated"]["records"] == [made(FULL, *BORNE_OUT[FULL], seed=1).id]
    first = full["as_stated"]["findings"][0]
    assert (first["what"], first["low"], first["high"], first["runs"]) == ("validation accuracy", None, None, 1)
    assert first["stated"] == "0.8800 ± 0.0100"
    assert (full["here"]["verdict"], full["here"]["rule"].split()[0]) == (None, "Its")
    assert full["here"]["observed"][0]["place"]["encoder"] == DEFAULT_ENCODER
    [svm] = [claim for claim in found if claim["id"] == "svm-parameters"]
    assert svm["as_stated"]["findings"][0]["place"] is None


# The verb


@pytest.fixture
def results(tmp_path):
    """A folder of results with one SVM and one full fine-tuning on the lab's data."""
    for number, record in enumerate(study({SVM: BORNE_OUT[SVM], FULL: BORNE_OUT[FULL]}, seeds=(1,))):
        save(dataclasses.replace(record, id=f"{number:016}"), tmp_path / "results" / "records")
    return tmp_path / "results"


def test_the_verb_prints_the_table(rtlab, results):
    done = rtlab("claims", "--readme", "-")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("## Findings\n\n1. ")
    assert "\n## Claims\n\n| claim | as stated |" in done.out
    assert "| confirmed |" in done.out
    assert rtlab("claims").out == done.out


def test_the_verb_rebuilds_and_checks_a_file(rtlab, results, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- rtlab:claims -->\nold\n<!-- /rtlab:claims -->\nafter\n", encoding="utf-8")
    stale = rtlab("claims", "--check", "--readme", "README.md")
    assert (stale.status, stale.out) == (1, "README.md is stale\n")
    assert stale.err == "rtlab: README.md is stale; rebuild it with: rtlab claims --write\n"
    assert "old" in path.read_text(encoding="utf-8")
    assert rtlab("claims", "--write").out == "README.md rebuilt\nresults/README.md rebuilt\n"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- rtlab:claims -->\n| claim |")
    assert text.endswith("<!-- /rtlab:claims -->\nafter\n")
    fresh = rtlab("claims", "--check", "--json", "claims.json")
    assert (fresh.status, fresh.out) == (0, "README.md is up to date\nresults/README.md is up to date\n")
    assert [claim["id"] for claim in json.loads((tmp_path / "claims.json").read_text())] == [c.id for c in CLAIMS]
    assert path.read_text(encoding="utf-8") == text


def test_the_verbs_json_stands_alone_on_standard_output(rtlab, results):
    done = rtlab("claims", "--readme", "-", "--json", "-")
    assert [claim["id"] for claim in json.loads(done.out)] == [claim.id for claim in CLAIMS]


@pytest.mark.parametrize("text", [None, "no markers"])
def test_a_readme_without_a_place_for_claims_is_refused(rtlab, results, tmp_path, text):
    if text:
        (tmp_path / "README.md").write_text(text)
    done = rtlab("claims", "--write")
    assert done.status == 2
    assert done.err.startswith("rtlab: README.md cannot be updated: ")


def test_a_folder_that_is_not_there_is_refused(rtlab, tmp_path):
    done = rtlab("claims", "--results", "typo", "--readme", "-")
    assert (done.status, done.out) == (2, "")


def test_claims_need_neither_torch_nor_matplotlib(results, run_python):
    code = """
import sys
from rtlab.cli import main
assert main(["claims", "--results", sys.argv[1], "--readme", "-"]) == 0
print({"torch", "transformers", "datasets", "peft", "sklearn", "matplotlib"} & {*sys.modules})
"""
    done = run_python(code, results)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("set()", "")
