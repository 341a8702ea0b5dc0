"""Figures: what is drawn and what is not, files that do not change by themselves, colours that can be told apart."""

import dataclasses
import itertools
import re
import shutil
from xml.etree import ElementTree

import pytest
from lab_records import (
    BORNE_OUT,
    FULL,
    FULL_FIXED,
    LORA,
    LORA_FASTEST,
    LORA_FIXED,
    SVM,
    evidence,
    made,
    study,
    watched,
    with_recipe,
)

from rtlab.experiment import Experiment
from rtlab.methods import TITLES, Adapter, Svm, Words
from rtlab.records import save
from rtlab.reporting.drawing import COLOURS, DARK, GRID, GROUND, HATCHES, INK, LINES, MARKERS, bars, canvas
from rtlab.reporting.figures import HEADLINE, SCORES, TIMES, write_figures
from rtlab.reporting.learning_curves import FIGURE

CONTENTS = "distilbert-base-uncased-rotten-tomatoes"
PLACE = f"{CONTENTS}-nvidia-geforce-rtx-4060-ti"
CPU = {"device": "a cpu", "encoder": "minilm", "dataset": "rt-polaritydata"}
LORA_FAST = LORA_FASTEST
OF_SCORES = (*SCORES, "lora-learning-rate")
FIGURES = (*OF_SCORES, *TIMES)
STUDIED = tuple(name for name in FIGURES if name != "labels")  # of runs on all sentences
ADAPTED = "LoRA r8 \N{GREEK SMALL LETTER ALPHA}32 attention"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(folder, records):
    """Name of each figure without its place, to its texts in order."""
    written = write_figures(records, folder).written
    return {name_of(path): texts(path) for path in written if path.name != HEADLINE}


def name_of(path):
    if "-learning-rate-" in path.name:
        return path.name.partition("-learning-rate-")[0] + "-learning-rate"
    return next((name for name in FIGURES if path.name.startswith(f"{name}-")), "headline")


def file_of(name):
    return f"{name}-{CONTENTS if name in OF_SCORES else PLACE}.svg"


def texts(path):
    root = ElementTree.parse(path).getroot()
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def only(*experiments, seeds=(1, 2, 3), **changes):
    usual = {type(e.method): BORNE_OUT[e] for e in (SVM, FULL, LORA)}
    found = {experiment: BORNE_OUT.get(experiment, usual[type(experiment.method)]) for experiment in experiments}
    return study(found, seeds=seeds, **changes)


def drawn_few():
    """Two ways on few sentences."""
    return only(*(dataclasses.replace(e, train_sentences=50) for e in (FULL, LORA)))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures of a whole study of three seeds, and of two ways on few sentences beside it."""
    folder = tmp_path_factory.mktemp("figures")
    write_figures([*study(), *drawn_few()], folder)
    return folder


@pytest.fixture(scope="module")
def shown(figures):
    return {name_of(path): texts(path) for path in figures.glob("*-*.svg")}


# What is drawn


def test_a_study_has_all_figures_and_their_names_say_where(figures):
    assert {path.name for path in figures.iterdir()} == {HEADLINE, FIGURE, *map(file_of, FIGURES)}


def test_the_headline_is_of_the_place_of_most_runs(figures, tmp_path):
    assert (figures / HEADLINE).read_bytes() == (figures / file_of("accuracy")).read_bytes()
    cut = only(*(dataclasses.replace(e, limit=160) for e in BORNE_OUT), sha256="0" * 64)
    write_figures([*cut, *only(SVM, FULL, seeds=(1,))], tmp_path)
    assert (tmp_path / HEADLINE).read_bytes() == (tmp_path / file_of("accuracy")).read_bytes()


def test_a_figure_of_times_is_of_one_machine(tmp_path):
    """Two machines have a figure each, with the scores of all runs and the times of their own."""
    records = [*only(SVM, FULL, FULL_FIXED), *only(SVM, FULL, FULL_FIXED, device="a cpu", jitter=0.1)]
    names = sorted(path.name for path in write_figures(records, tmp_path).written)
    assert names == sorted(
        [
            *(HEADLINE, f"loss-{CONTENTS}.svg"),
            *(
                f"{name}-{place}.svg"
                for name in ("padding", "accuracy", "throughput")
                for place in (PLACE, f"{CONTENTS}-a-cpu-2-threads")
            ),
        ]
    )


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_names_encoder_data_set_and_device(shown, name):
    where = "distilbert/distilbert-base-uncased · cornell-movie-review-data/rotten_tomatoes"
    where += "" if name in OF_SCORES else " · NVIDIA GeForce RTX 4060 Ti"
    assert where in " ".join(shown[name])  # of a narrow figure over two lines


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("loss", ["optimizer step", "training loss (cross-entropy, nats)", "learning rate", "2e-05 (n = 3)"]),
        ("padding", ["training time for 1,000 sentences (s)", "dynamic: 7.5 ×,", "accuracy not shown"]),
        ("accuracy", ["training time (s, logarithmic), seconds an epoch × epochs", "test accuracy", "linear SVM"]),
        ("throughput", ["padding", "training throughput (samples/s)", "engine trainer", "fixed", "dynamic"]),
        ("labels", ["test accuracy", "band: lowest to highest seed; validation and test are whole", "50", "8,530"]),
        ("lora-learning-rate", ["learning rate (logarithmic)", "validation accuracy", "test accuracy", "1e-03"]),
    ],
)
def test_axes_have_units_and_series_have_names(shown, name, labels):
    assert set(labels) <= set(shown[name])


def test_what_was_found_on_validation_stands_beside_the_loss(tmp_path, shown):
    found = drawn(tmp_path, [watched(made(FULL, train_loss=0.3), 0.5, 0.4, 0.6)])
    assert "on validation; ring: kept" in found["loss"]
    assert "on validation; ring: kept" not in shown["loss"]


def test_the_loss_has_a_panel_for_each_method_and_a_curve_for_each_rate(shown):
    entries = [text for text in shown["loss"] if "(n = 3)" in text]
    assert entries == ["2e-05 (n = 3)", "2e-04 (n = 3)", "2e-05 (n = 3)", "2e-04 (n = 3)", "1e-03 (n = 3)"]
    assert "full, dynamic, engine trainer" in shown["loss"]
    assert f"{ADAPTED}, dynamic, engine trainer" in shown["loss"]


def test_padding_shows_the_figures_of_both_methods(shown):
    assert {"full", ADAPTED, "fixed padding", "dynamic padding", "dynamic: 12.1 ×,"} <= set(shown["padding"])
    assert {"54.5", "411", "60", "724"} <= set(shown["padding"])


def test_the_accuracy_figure_shows_what_the_first_table_compares(tmp_path):
    """Methods by colour and marker, engines of one recipe joined, what needs no training by its name."""
    write_figures(evidence(parts=(1, 4)), tmp_path)
    found = texts(tmp_path / HEADLINE)
    assert {"linear SVM", "full fine-tuning", "LoRA", "hollow: reference engine", "mean", "[CLS]"} <= set(found)


def test_what_needs_no_training_is_told_apart_and_shown_with_its_best_c(tmp_path):
    methods = [Words(), Words(characters=True), Svm(), Svm(pooling="mean"), Svm(pooling="mean", with_words=True)]
    every = [dataclasses.replace(SVM, method=method) for method in methods]
    tuned = dataclasses.replace(SVM, method=dataclasses.replace(methods[-1], c=None))
    found = dict.fromkeys((*every, tuned), BORNE_OUT[SVM]) | {FULL: BORNE_OUT[FULL]}
    write_figures(study(found, seeds=(1,)), tmp_path)
    beside = [one for one in texts(tmp_path / HEADLINE) if one in ("characters", "[CLS]", "mean", "mean + words")]
    assert sorted(beside) == ["[CLS]", "characters", "mean", "mean + words"]


def test_what_is_not_drawn_has_no_entry(tmp_path):
    write_figures([one for one in evidence(parts=(1, 4)) if one.experiment.engine != "trainer"], tmp_path)
    assert "hollow: reference engine" not in texts(tmp_path / HEADLINE)


def test_a_run_of_one_seed_is_drawn_too(tmp_path):
    assert set(drawn(tmp_path, study(seeds=(1,)))) == set(STUDIED)


def test_records_without_predictions_are_drawn_without_their_interval(tmp_path):
    records = [dataclasses.replace(record, predictions={}) for record in study()]
    assert set(drawn(tmp_path, records)) == set(STUDIED)


def test_rates_tell_ranks_and_modules_apart(tmp_path):
    wide = {"target_modules": ("attention+mlp",), "settings": {"r": 16, "lora_alpha": 64}}
    more = [dataclasses.replace(e, method=dataclasses.replace(e.method, **wide)) for e in (LORA, LORA_FAST)]
    labels = drawn(tmp_path, only(LORA, LORA_FAST, *more))["lora-learning-rate"]
    assert f"{ADAPTED}, dynamic, engine trainer" in labels
    assert "LoRA r16 \N{GREEK SMALL LETTER ALPHA}64 attention+mlp, dynamic, engine trainer" in labels


def test_every_kind_of_adapter_is_drawn(tmp_path):
    """Not LoRA alone: each kind has its panel of losses and of throughput, its bars, and its figure of rates."""
    kinds = [Experiment(method=Adapter(peft_type=kind, settings={})) for kind in ("IA3", "X-Y/Z")]
    found = {LORA: BORNE_OUT[LORA], LORA_FIXED: BORNE_OUT[LORA_FIXED]}
    for kind in kinds:
        others = with_recipe(kind, padding="fixed"), with_recipe(kind, learning_rate=2.5e-5)
        found |= {kind: BORNE_OUT[LORA], others[0]: BORNE_OUT[LORA_FIXED], others[1]: BORNE_OUT[LORA]}
    shown = drawn(tmp_path, study(found, seeds=(1,)))
    for kind in ("IA3", "X-Y/Z"):
        assert f"{kind} attention, dynamic, engine trainer" in shown["loss"]
        assert f"{kind} attention" in shown["throughput"]
        assert f"{kind} attention" in shown["padding"]
    assert {"2e-05 (n = 1)", "2.5e-05 (n = 1)"} <= set(shown["loss"])
    assert "Accuracy of IA3 by learning rate" in shown["ia3-learning-rate"]
    assert "2.5e-05" in shown["x-y-z-learning-rate"]
    assert "lora-learning-rate" not in shown


def test_paddings_stand_in_the_order_of_their_cost(tmp_path):
    bucketed = with_recipe(FULL, padding="bucketed")
    labels = drawn(tmp_path, only(bucketed, FULL, FULL_FIXED))["throughput"]
    assert [text for text in labels if text in ("bucketed", "dynamic", "fixed")] == ["fixed", "dynamic", "bucketed"]


def test_engines_stand_side_by_side_and_compiled_layers_apart(tmp_path):
    native = with_recipe(FULL, engine="native")
    compiled = with_recipe(native, compile=True)
    found = {e: (0.88, 0.85, seconds, 0.19, 0.05) for e, seconds in {FULL: 100, native: 50, compiled: 20}.items()}
    labels = drawn(tmp_path, study(found, seeds=(1,)))
    engines = ["engine trainer", "engine native", "engine native, compiled"]
    assert [text for text in labels["throughput"] if text.startswith("engine ")] == engines
    assert {"426", "853", "2,132"} <= set(labels["throughput"])
    assert "padding" not in labels  # of the reference alone
    alone = drawn(tmp_path, study({compiled: found[compiled]}, seeds=(1,)))
    assert "full, packed, engine native, compiled" in alone["loss"]


def test_throughput_of_a_short_run_stands_beside_a_whole_one(tmp_path):
    short = made(with_recipe(FULL_FIXED, max_steps=8), 0.5, 0.5, 128.0, 0.7, 0.7, **CPU)
    whole = made(with_recipe(FULL, epochs=1), 0.8, 0.8, 853.0, 0.5, 0.5, **CPU)
    found = drawn(tmp_path, [short, whole])
    assert set(found) == {"padding", "throughput", "loss"}
    assert "dynamic: 10.0 ×," in found["padding"]


# What is not


@pytest.mark.parametrize(
    ("experiments", "names"),
    [
        ((), set()),
        ((SVM,), set()),
        ((FULL,), {"loss"}),
        ((SVM, FULL), {"loss", "accuracy"}),
        ((FULL, FULL_FIXED), {"loss", "padding", "throughput"}),
        ((FULL, with_recipe(FULL, padding="bucketed")), {"loss", "throughput"}),
        ((LORA, LORA_FAST), {"loss", "lora-learning-rate"}),
        (
            (
                LORA,
                dataclasses.replace(
                    LORA_FAST, method=dataclasses.replace(LORA_FAST.method, target_modules=("attention+mlp",))
                ),
            ),
            {"loss"},
        ),
        ((FULL, with_recipe(FULL_FIXED, batch_size=32)), {"loss"}),
        ((with_recipe(FULL, max_steps=8),), set()),
    ],
)
def test_a_figure_with_nothing_to_show_is_not_written(tmp_path, experiments, names):
    assert set(drawn(tmp_path, only(*experiments, seeds=(1,)))) == names


def test_a_run_without_a_history_has_no_curve(tmp_path):
    assert drawn(tmp_path, [dataclasses.replace(r, history=()) for r in only(FULL)]) == {}


def test_failed_runs_are_not_drawn(tmp_path):
    failed = [dataclasses.replace(record, status="nan") for record in study(seeds=(1,))]
    assert drawn(tmp_path, failed) == {}


# Files


def test_figures_do_not_differ_from_one_time_to_the_next(figures, tmp_path):
    write_figures(reversed([*study(), *drawn_few()]), tmp_path)
    for path in figures.iterdir():
        text = path.read_bytes()
        assert (tmp_path / path.name).read_bytes() == text
        assert b"<dc:date>" not in text
        assert not re.search(rb"[ \t]\n", text)
        assert len(text) < 150_000


def test_every_place_has_a_set_of_its_own(tmp_path):
    written = write_figures([*study(seeds=(1,)), *study(seeds=(1,), **CPU)], tmp_path).written
    there = {f"{name}-minilm-rt-polaritydata{'' if name in OF_SCORES else '-a-cpu-2-threads'}.svg" for name in STUDIED}
    assert {path.name for path in written} == {HEADLINE, *there, *map(file_of, STUDIED)}


def test_contents_of_one_name_have_files_of_their_own(tmp_path):
    both = [*only(SVM, FULL), *only(SVM, FULL, sha256="0" * 64)]
    names = sorted(path.name for path in write_figures(both, tmp_path).written if path.name.startswith("accuracy"))
    assert len(names) == 2
    assert all(re.fullmatch(rf"accuracy-{PLACE}(-[0-9a-f]{{8}})?\.svg", name) for name in names)


def test_a_limit_is_in_name_and_title(tmp_path):
    limited = only(dataclasses.replace(SVM, limit=200), dataclasses.replace(FULL, limit=200), sha256="0" * 64)
    [path] = [path for path in write_figures(limited, tmp_path).written if path.name.startswith("accuracy")]
    assert "rotten-tomatoes-200-sentences-a-split-nvidia" in path.name
    assert "· 200 sentences a split ·" in " ".join(texts(path))


def test_figures_that_are_no_longer_made_are_removed_and_others_stay(figures, tmp_path):
    shutil.copytree(figures, tmp_path, dirs_exist_ok=True)
    own = tmp_path / "own.svg"
    own.write_text("<svg>mine</svg>")
    (tmp_path / "binary.svg").write_bytes(b"\xff\xfe\x00")
    done = write_figures(only(FULL), tmp_path)
    assert [name_of(path) for path in done.written] == ["loss"]
    assert {name_of(path) for path in done.removed} == {*FIGURES, "headline"} - {"loss"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary.svg", file_of("loss"), "own.svg"]


def test_names_are_text_and_nothing_more(tmp_path):
    place = {"encoder": "../a & <b>$x^2$</b>\x1b[31m", "dataset": "_d", "device": "$ & %"}
    [path] = [path for path in write_figures(only(SVM, FULL, **place), tmp_path).written if "accuracy" in path.name]
    assert path.parent == tmp_path
    assert "../a & <b>$x^2$</b>\ufffd[31m · _d · $ & %, 2 threads" in texts(path)


def test_a_long_name_of_a_place_goes_over_lines(tmp_path):
    found = drawn(tmp_path, only(FULL, encoder="a device of many words " * 6))["loss"]
    lines = [text for text in found if "of many words" in text]
    assert len(lines) == 2
    assert all(len(line) <= 112 for line in lines)


# Looks


# At 400 pixels: the boxes of all texts, and the colours of the first text and of the ground.
AT_400 = """
const root = document.documentElement;
root.setAttribute("width", 400);
root.removeAttribute("height");
const colour = (node) => getComputedStyle(node).fill;
return [
  [...document.querySelectorAll("text")].filter((text) => text.textContent.trim()).map((text) => {
    const { left, right, top, bottom } = text.getBoundingClientRect();
    return [text.textContent.trim(), left, right, top, bottom];
  }),
  colour(document.querySelector("text")), colour(document.querySelector("path")),
];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_headline_is_readable_at_400_pixels(chromium, tmp_path, scheme):
    ia3 = {with_recipe(Experiment(method=Adapter(peft_type="IA3", settings={})), epochs=5): BORNE_OUT[LORA]}
    write_figures([*evidence(), *study(ia3, seeds=(1, 2), **CPU)], tmp_path)
    chromium.open(tmp_path / HEADLINE, width=400, scheme=scheme)
    boxes, ink, ground = chromium.script(AT_400)
    assert all(left >= 0 and right <= 400 and bottom - top >= 9 for _, left, right, top, bottom in boxes)
    for (a, *one), (b, *other) in itertools.combinations(boxes, 2):
        apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
        assert apart, f"{a} overlaps {b}"
    channels = [[int(number) for number in re.findall(r"\d+", colour)] for colour in (ink, ground)]
    assert contrast(*("#" + "".join(f"{channel:02x}" for channel in colour) for colour in channels)) > 10


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    """WCAG 2.2's contrast ratio."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_data_stand_out_in_light_and_dark():
    for ink, ground in ((INK, GROUND), (DARK[INK], DARK[GROUND])):
        assert contrast(ink, ground) >= 4.5
        assert all(contrast(colour, ground) >= 3 for colour in COLOURS)


def test_colour_is_never_alone():
    assert len(set(COLOURS)) == len(set(MARKERS)) == len(TITLES)  # a method each
    assert len(set(LINES)) == len(set(HATCHES)) == 4


@pytest.mark.parametrize("name", FIGURES)
def test_the_dark_theme_reaches_every_colour_that_is_not_the_datas(figures, name):
    text = (figures / file_of(name)).read_text()
    style, drawing = text.split("</style>")
    assert "@media (prefers-color-scheme: dark)" in style
    for light, dark in DARK.items():
        for role in ("fill", "stroke"):
            assert f'[style*="{role}: {light}"] {{ {role}: {dark} !important }}' in style
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawing))
    assert used <= {*COLOURS, INK, GRID, GROUND}
    assert {INK, GRID, GROUND} <= used


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_text_and_its_colour_is_said(figures, name):
    root = ElementTree.parse(figures / file_of(name)).getroot()
    assert root.find(f"{SVG}title").text.startswith(f"{name}: distilbert/")
    for element in root.iter(f"{SVG}text"):
        assert f"fill: {INK}" in element.get("style"), "".join(element.itertext())


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_tiny(figures, name):
    for element in ElementTree.parse(figures / file_of(name)).getroot().iter(f"{SVG}text"):
        assert float(re.search(r"([\d.]+)px", element.get("style")).group(1)) >= 9, "".join(element.itertext())


# The verb


def test_the_verb_writes_and_removes(rtlab, tmp_path):
    folder = tmp_path / "results"
    records = only(SVM, FULL, seeds=(1,))
    for number, record in enumerate(records):
        save(dataclasses.replace(record, id=f"{number:016}"), folder / "records")
    done = rtlab("figures")
    names = [f"results/figures/{file_of(name)}" for name in ("loss", "accuracy")]
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [*names, f"results/figures/{HEADLINE}", "3 figures in results/figures"]
    for path in (folder / "records").glob("*.json"):
        if '"kind": "svm"' in path.read_text():
            path.unlink()
    again = rtlab("figures", "--results", "results")
    gone = [f"{names[1]} removed", f"results/figures/{HEADLINE} removed"]
    assert again.out.splitlines() == [names[0], *gone, "1 figure in results/figures"]


def test_a_folder_that_is_not_there_is_refused(rtlab, tmp_path):
    done = rtlab("figures", "--results", "typo")
    assert (done.status, done.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_ours_imports_matplotlib_but_figures(run_python):
    code = """
import sys
import rtlab.reporting.claims, rtlab.reporting.tables, rtlab.reporting.write_up, rtlab.cli
print("matplotlib" in sys.modules)
import rtlab.reporting.figures
print({"torch", "matplotlib.pyplot", "transformers"} & {*sys.modules})
"""
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("False\nset()\n", "")


def test_a_bars_number_stands_above_the_seeds_on_it():
    figure, [panel] = canvas("heading", "place")
    bars(panel, ["one", "two"], {"a": [[150.0, 162.0, 147.0], [3.0]], "b": [[], [40.0, 50.0]]})
    figure.draw_without_rendering()
    dots = {float(x): max(line.get_ydata()) for line in panel.lines for x in line.get_xdata()}
    numbers = {text.get_text(): text for text in panel.texts}
    assert list(numbers) == ["153", "3", "45"]
    for number in ("153", "45"):
        place, height = numbers[number].xy
        assert height == dots[place]
        assert numbers[number].get_window_extent().y0 > panel.transData.transform((place, height))[1]
