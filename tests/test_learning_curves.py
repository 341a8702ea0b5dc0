"""How many training sentences a way takes: tables, figure, the report's section, all absent without records of it."""

import base64
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from lab_records import FULL, LORA, labels, made

from rtlab.cli import main
from rtlab.records import save
from rtlab.reporting.figures import first_figure, write_figures
from rtlab.reporting.groups import groups
from rtlab.reporting.learning_curves import FIGURE, NAME, labels_block, largest, ways
from rtlab.reporting.markup import as_markdown, as_text
from rtlab.reporting.report import report
from rtlab.reporting.tables import skeleton, update

SIZES = (50, 100, 200, 500, 1000, 2000, 4000, 8530)


@pytest.fixture(scope="module")
def study():
    return labels()


def kept(records, *numbers):
    return [record for record in records if record.experiment.train_sentences in numbers]


def names(found):
    return [f"{g.fields['method']}{' words' * bool(g.fields['with_words'])}" for g in map(largest, found)]


def leads(records):
    """Who is better than whom from how many sentences on."""
    *_, table = labels_block(records).tables
    return {(row[0].split()[0].strip(","), row[1].split()[0].strip(",")): row[2] for row in table.rows}


# Ways


def test_ways_have_all_sizes_and_the_cheapest_comes_first(study):
    found = ways(groups(study))
    assert names(found) == ["svm", "words", "svm words", "contrastive", "lora", "full"]
    assert all(tuple(way) == SIZES for way in found)
    assert {len(group.scored) for way in found for group in way.values()} == {1, 3}


def test_without_times_ways_are_in_the_usual_order(study):
    busy = [replace(record, timing=replace(record.timing, others=0.5)) for record in study]
    assert names(ways(groups(busy))) == ["words", "svm", "svm words", "full", "lora", "contrastive"]


def test_of_a_size_the_longest_training_counts_and_of_a_method_the_way_on_most_sizes(study):
    full = next(r.experiment for r in kept(study, 1000) if r.experiment.method.name == "full")
    short = replace(full, method=replace(full.method, recipe=replace(full.method.recipe, epochs=1)))
    other = replace(full, method=replace(full.method, recipe=replace(full.method.recipe, learning_rate=2e-4)))
    place = {"encoder": "minilm", "dataset": "rt-polaritydata", "device": "a cpu"}
    more = [made(short, 0.99, 0.99, seed=n, **place) for n in range(9)] + [
        made(replace(other, train_sentences=n), 0.99, 0.99, **place) for n in (50, 100)
    ]
    found = ways(groups([*study, *more]))
    assert names(found) == names(ways(groups(study)))
    assert found[-1][1000].fields["epochs"] == 5
    assert tuple(found[-1]) == SIZES


@pytest.mark.parametrize("few", [[], [made(FULL), made(LORA)], [made(replace(FULL, train_sentences=50))]])
def test_without_two_numbers_of_sentences_there_is_no_way(few):
    assert ways(groups(few)) == []


def test_two_numbers_of_which_one_is_all_are_enough():
    [way] = ways(groups([made(replace(FULL, train_sentences=50)), made(FULL)]))
    assert tuple(way) == (50, 8530)


# Tables


def test_the_first_table_has_a_column_for_each_number(study):
    first, second = labels_block(study).tables
    assert first.titles == ("setup", *(f"{size:,}" for size in SIZES))
    ways = [row[0].partition(",")[0].split()[0] for row in first.rows]
    assert ways == ["SVM", "words", "SVM", "contrastive", "LoRA", "full"]
    assert all(re.fullmatch(r"0\.\d{3}( ± 0\.\d{3})?", cell) for row in first.rows for cell in row[1:])
    assert "Validation and test are whole." in first.caption
    assert "over 1 to 3 seeds" in first.caption
    *_, pairs, lora, full = (row[0] for row in first.rows)
    assert first.notes == (
        f"Epochs of {pairs}: 9 on 50, 7 on 100, 5 on 200, 4 on 500, 3 on 1,000, 3 on 2,000, 3 on 4,000, 3 on 8,530.",
        f"Epochs of {lora} and {full}: "
        "75 on 50, 43 on 100, 24 on 200, 10 on 500, 5 on 1,000, 5 on 2,000, 5 on 4,000, 5 on 8,530.",
    )
    assert len(second.rows) == 15


def test_of_ways_that_are_trained_alike_the_epochs_are_said_once(study):
    alike = [record for record in study if record.experiment.method.name in ("words", "lora", "full")]
    [note] = labels_block(alike).tables[0].notes
    assert note.startswith("Epochs: 75 on 50, ")


def test_a_way_is_better_from_where_it_stays_so():
    """Full fine-tuning is better than LoRA on 50 sentences and from 500 on, but not between."""

    def accuracy(experiment, _):
        ahead = (experiment.train_sentences or 8530) not in (100, 200)
        return 0.8 if experiment.method.name == "full" and ahead else 0.7

    records = [r for r in labels(accuracy=accuracy) if r.experiment.method.name in ("full", "lora")]
    assert leads(records) == {("full", "LoRA"): "500"}
    assert leads(kept(records, 50, 100)) == {("full", "LoRA"): "–"}


def test_what_is_never_better_has_no_number(study):
    level = labels(accuracy=lambda *_: 0.75)
    assert set(leads(level).values()) == {"–"}
    _, second = labels_block(level).tables
    assert all(row[3] == "–" for row in second.rows)
    assert all("[" in row[5] for row in second.rows)


def test_two_seeds_show_nothing_where_seeds_matter(study):
    few = [record for record in study if record.experiment.seed < 44]
    assert set(leads(kept(few, *SIZES)).values()) == {"–"}
    assert leads(few)["words", "SVM"] == "8,530"  # on all sentences there is no chance in either
    assert leads(few)["full", "LoRA"] == "–"


# Where they stand


def test_nothing_of_it_is_said_where_no_records_hold_it(tmp_path):
    records = [made(FULL), made(LORA)]
    block = labels_block(records)
    assert (block.tables, as_markdown(block)) == ((), "")
    assert block.title not in as_text([block])
    assert block.title not in report(records)
    assert "img-src" not in report(records)
    assert first_figure(NAME, records) is None
    assert not [path for path in write_figures(records, tmp_path).written if NAME in path.name]


def test_the_results_readme_gets_figure_and_tables_with_their_heading(study, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(skeleton())
    assert update(path, [labels_block(study)], check=False)
    text = path.read_text()
    assert f"](figures/{FIGURE})" in text
    assert text.index(labels_block(study).title) < text.index("## Findings")
    assert not update(path, [labels_block(study)], check=True)
    assert update(path, [labels_block([])], check=False)
    assert path.read_text().replace("\n", "") == skeleton().replace("\n", "")


def test_the_figure_has_a_line_for_each_way_and_says_what_is_whole(study, tmp_path):
    written = write_figures(study, tmp_path).written
    assert tmp_path / FIGURE in written
    root = ElementTree.parse(tmp_path / FIGURE).getroot()
    texts = ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"words", "linear SVM", "linear SVM with words", "LoRA", "full fine-tuning"} <= set(texts)
    assert [text for text in texts if text in {f"{size:,}" for size in SIZES}] == [f"{size:,}" for size in SIZES]
    assert "band: lowest to highest seed; validation and test are whole" in texts
    assert (tmp_path / FIGURE).read_text() == first_figure(NAME, study)
    write_figures(study[:1], tmp_path)
    assert not (tmp_path / FIGURE).exists()


def test_the_report_holds_the_figure_and_allows_no_image_but_those_within(study):
    page = report(study)
    assert "img-src data:;" in page
    [image] = re.findall(r'<img [^>]*src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert base64.b64decode(image).decode() == first_figure(NAME, study)
    assert page.count('<section id="labels"') == 1
    assert '<a href="#labels">' in page


def test_the_command_prints_and_writes_them(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for record in kept(study, 50, 100):
        save(record, tmp_path / "results" / "records")
    assert main(["tables"]) == 0
    assert "## How many sentences it takes" in capsys.readouterr().out
    (tmp_path / "README.md").write_text("<!-- rtlab:labels -->\n<!-- /rtlab:labels -->\n")
    assert main(["tables", "--write"]) == 0
    assert "## How many sentences it takes" in (tmp_path / "results" / "README.md").read_text()
    assert main(["tables", "--check"]) == 0
