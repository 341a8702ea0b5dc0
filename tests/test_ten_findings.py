"""The ten findings: each stands on records that bear it out, and says that it is not so, or not shown, on others."""

import dataclasses
import json
import re

import pytest
from lab_records import FULL, evidence, lost, made

from rtlab import studies
from rtlab.methods import Adapter
from rtlab.recipe import Recipe
from rtlab.records import Memory, save
from rtlab.reporting.evidence import FINDINGS, LEGEND, findings_block
from rtlab.reporting.frame import setup_fields
from rtlab.reporting.markup import as_html, as_markdown, as_text
from rtlab.reporting.tables import skeleton

RATES = {2e-5: -0.10, 2e-4: -0.03, 5e-4: -0.01, 1e-3: 0.02}


def recipe(experiment):
    return experiment.method.recipe or Recipe()


def is_lora(experiment):
    return isinstance(experiment.method, Adapter)


def usual(experiment, score):
    """LoRA is best at 1e-3."""
    return (
        0.81 + RATES[recipe(experiment).learning_rate] + 0.002 * recipe(experiment).epochs
        if is_lora(experiment)
        else score
    )


def found(**changes):
    """The study as it bears all ten out, but for what is changed."""
    less = changes.pop("memory", 0.7)
    records = evidence(**{"accuracy": usual, **changes})
    sizes = {True: int(less * 2**31), False: 2**31}
    return [
        dataclasses.replace(record, memory=Memory(peak_device=None, peak_host=sizes[is_lora(record.experiment)]))
        for record in records
    ]


CONTRARY = {
    "lab-rate": {
        "parts": (1, 2),
        "accuracy": lambda e, a: a + 0.1 if is_lora(e) and recipe(e).learning_rate == 2e-5 else a,
    },
    "epochs": {"parts": (1, 4), "accuracy": lambda e, a: usual(e, a) + 0.1 * (recipe(e).epochs == 1)},
    "seeds": {"parts": (1,), "seed_noise": 0.05, "accuracy": lambda *_: 0.77},
    "capacity": {"parts": (1, 2, 3), "accuracy": lambda e, a: usual(e, a) + 0.04 * ("'r': 16" in str(e.method))},
    "fixed-padding": {"parts": (4,), "accuracy": lambda e, a: usual(e, a) - 0.05 * (recipe(e).padding == "fixed")},
    "frozen": {"parts": (1,), "accuracy": lambda e, a: usual(e, a) - 0.2 * is_lora(e)},
    "pooling": {"parts": (1,), "accuracy": lambda e, a: usual(e, a) + 0.1 * (setup_fields(e)["pooling"] == "cls")},
    "engines": {"parts": (1, 4), "accuracy": lambda e, a: usual(e, a) - 0.05 * (recipe(e).engine == "native")},
    "memory": {"parts": (4,), "memory": 1.2},
    "batches": {"parts": (4,), "seconds": lambda e, s: 2 * s if recipe(e).padding == "packed" else s},
}


def sentences(records):
    """The sentence of each finding, as markdown."""
    text = as_markdown(findings_block(records))
    found = re.findall(r"^(\d+)\. (.*?)(?=\n\n)", text, re.DOTALL | re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(FINDINGS) + 1))
    return {finding.id: " ".join(text.split()) for finding, (_, text) in zip(FINDINGS, found, strict=True)}


def test_there_are_ten_and_a_study_can_bear_out_each():
    said = sentences(found())
    assert len(said) == 10
    for finding in FINDINGS:
        assert said[finding.id].startswith(f"**{finding.sentence}**: "), said
        assert re.search(r"\d\.\d\d", said[finding.id])


@pytest.mark.parametrize("finding", [finding.id for finding in FINDINGS])
def test_a_finding_that_the_records_contradict_says_so(finding):
    said = sentences(found(**CONTRARY[finding]))[finding]
    assert said.startswith("Not shown: *" if finding == "seeds" else "Not so by these records: *")
    assert "**" not in said


def test_a_finding_without_records_says_which_runs_it_waits_for():
    for said in sentences([]).values():
        assert re.fullmatch(r"Not shown: \*.*\*\. It needs runs of rtlab sweep evidence( and)?( --part \d)+.*\.", said)
    some = sentences(found(parts=(1,)))
    assert some["capacity"].endswith("It needs runs of rtlab sweep evidence --part 3.")
    assert some["batches"].endswith("It needs runs of rtlab sweep evidence --part 4.")
    assert some["frozen"].startswith("**")


def test_of_single_seeds_a_finding_shows_nothing_and_says_how_many_it_takes():
    said = sentences([record for record in found() if record.experiment.seed == 42])
    assert said["frozen"].startswith("Not shown: ")
    assert said["frozen"].endswith("It needs at least 3 seeds for full − SVM and LoRA − SVM.")
    assert said["seeds"].endswith("It needs at least 3 seeds for standard deviation over seeds / (full − SVM).")
    assert said["pooling"].startswith("**")  # there is no chance in it
    four = sentences([record for record in found() if record.experiment.seed < 46])
    assert four["frozen"].startswith("**")
    assert four["engines"].endswith(
        "It needs at least 5 seeds for full, native − reference and LoRA, native − reference."
    )


def test_an_open_finding_says_about_how_many_seeds_would_tell():
    shaky = found(accuracy=lambda e, a: usual(e, a) + 0.002 * ("'r': 16" in str(e.method)), seed_noise=0.01)
    assert re.search(r"^Not shown: .* It needs about \d+ seeds for r16 − r8", sentences(shaky)["capacity"])


def test_findings_are_about_runs_of_the_study():
    planned = {json.dumps(setup_fields(e), sort_keys=True) for e in studies.study("evidence")}
    assert len({finding.id for finding in FINDINGS}) == len(FINDINGS)
    for finding in FINDINGS:
        for quantity in (*finding.here.statements, *finding.here.beside):
            for experiment in quantity.of:
                assert json.dumps(setup_fields(experiment), sort_keys=True) in planned, (finding.id, quantity.what)
        assert all(quantity.stated.text for quantity in finding.here.statements)


def test_what_stands_below_says_where_numbers_are_from_and_what_the_words_mean():
    text = " ".join(as_text([findings_block(found())]).split())
    assert "data set rt-polaritydata (139902e3), on a cpu, 2 threads; torch 2.13.0, transformers 5.23.0." in text
    assert text.endswith(" ".join(LEGEND.split()))
    assert "Findings" in skeleton()


def test_runs_without_a_result_and_other_places_change_nothing():
    there = found()
    others = [made(FULL, 0.5, 0.5, seed=1), lost(there[0].experiment, seed=99, encoder="minilm")]
    assert sentences([*there, *others]) == sentences(there)


@pytest.mark.parametrize("text", ["a|b <!-- /rtlab:findings -->", "<img src=x>"])
def test_names_in_findings_cannot_break_a_page(text):
    block = findings_block(found(parts=(1,), encoder=text))
    assert "<img" not in as_html(block, most=9) + as_markdown(block)
    assert "<!--" not in as_html(block, most=9) + as_markdown(block)


def test_the_verb_writes_them_above_the_claims(rtlab, tmp_path):
    for record in found(parts=(1,)):
        save(record, tmp_path / "results" / "records")
    (tmp_path / "README.md").write_text("<!-- rtlab:comparison -->\n<!-- /rtlab:comparison -->\n")
    assert rtlab("claims", "--write").status == 0
    text = (tmp_path / "results" / "README.md").read_text(encoding="utf-8")
    assert text.index("1. Not shown: ") < text.index("| claim | as stated |")
    assert rtlab("claims", "--check").status == 0
