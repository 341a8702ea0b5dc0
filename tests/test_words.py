"""Words alone: what is counted, fitted and chosen; without torch, saved without pickle; and words beside features."""

import dataclasses
import json
import os
import shutil
import stat
import weakref

import numpy as np
import pytest
import small
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.svm import LinearSVC

import rtlab
from rtlab.data import Split
from rtlab.engines import linear, tfidf
from rtlab.engines.linear import Linear
from rtlab.engines.tfidf import Tfidf
from rtlab.records import load
from rtlab.running import model_folder
from rtlab.saved_models.opening import load_model

SENTENCES, TERMS = ("a good film , and a good one", "bad", "not bad at all", "x y"), 14
FITTED = {
    "words": rtlab.Words(),
    "characters": rtlab.Words(characters=True, c=1.0),
    "logistic": rtlab.Words(classifier="logistic", c=0.3),
    "three": rtlab.Words(c=3.0),
    "beside features": rtlab.Svm(pooling="mean", with_words=True, c=None),
    "beside features, logistic": rtlab.Svm(with_words=True, classifier="logistic"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return {names: small.data_folder(folder / str(len(names)), names) for names in (small.TWO, small.THREE)}


def names_of(name):
    return small.THREE if name == "three" else small.TWO


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """The run of each method, and where its model lies."""
    found = {}
    for name, method in FITTED.items():
        folder = tmp_path_factory.mktemp("results")
        asked = rtlab.Experiment(method=method, dataset=str(data[names_of(name)]), encoder="tiny-distilbert")
        record = rtlab.run(asked, output_dir=folder, save_model=True)
        found[name] = record, model_folder(folder, record)
    return found


# Terms

# What cuts words, folds case and repeats; and anything else.
TEXT = st.one_of(st.text("aAbB bb  cc.\n\u00a0\u0130\u00df_\u0301", max_size=30), st.text(max_size=12))
TEXTS = st.lists(TEXT, min_size=1, max_size=5)


@pytest.mark.parametrize("characters", [False, True])
@given(texts=TEXTS, others=TEXTS)
def test_features_are_scikit_learns(characters, texts, others):
    analyzer, sizes = ("char_wb", (2, 5)) if characters else ("word", (1, 2))
    theirs = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, sublinear_tf=True)
    analyze = theirs.build_analyzer()
    assert [tfidf.terms_of(text, characters=characters) for text in texts] == [analyze(text) for text in texts]
    assume(any(map(analyze, texts)))
    ours = Tfidf(texts, characters=characters)
    theirs.fit(texts)
    for some in (texts, others):
        mine, expected = ours.features(some), theirs.transform(some)
        np.testing.assert_array_equal(mine.indptr, expected.indptr)
        np.testing.assert_array_equal(mine.indices, expected.indices)
        np.testing.assert_allclose(mine.data, expected.data, rtol=1e-14)
        assert (mine.shape, mine.dtype, mine.indices.dtype) == (expected.shape, expected.dtype, expected.indices.dtype)


@pytest.mark.parametrize("characters", [False, True])
def test_terms_are_scikit_learns_and_come_back_from_disk(tmp_path, characters):
    kind = {"analyzer": "char_wb", "ngram_range": (2, 5)} if characters else {"ngram_range": (1, 2)}
    expected = TfidfVectorizer(**kind, sublinear_tf=True).fit_transform(SENTENCES)
    made = Tfidf(SENTENCES, characters=characters)
    made.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(tfidf.FILES)
    for one in (made, Tfidf.load(tmp_path)):
        np.testing.assert_allclose(one.features(SENTENCES).toarray(), expected.toarray(), rtol=1e-12)
        assert one.features(["zzz"]).nnz == 0
        assert one.terms == made.terms


DAMAGE = {
    "a term twice": ("words.json", {"characters": False, "terms": ["bad"] * TERMS}),
    "no terms": ("words.json", {"characters": False, "terms": []}),
    "numbers": ("words.json", {"characters": False, "terms": [1, 2]}),
    "no flag": ("words.json", {"characters": 1, "terms": ["a"]}),
    "a list": ("words.json", ["a"]),
    "fewer terms": ("words.json", {"characters": False, "terms": ["bad"]}),
    "other weights": ("words.safetensors", {"df": np.ones(3)}),
    "weights that are not finite": (
        "words.safetensors",
        {"idf": np.full(len(Tfidf(SENTENCES, characters=False).terms), np.nan)},
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_terms_that_are_damaged_are_refused(tmp_path, damage):
    Tfidf(SENTENCES, characters=False).save(tmp_path)
    file, holds = DAMAGE[damage]
    if file.endswith("json"):
        (tmp_path / file).write_text(json.dumps(holds))
    else:
        save_file(holds, tmp_path / file)
    with pytest.raises(ValueError, match=rf"^{file.partition('.')[0]}\.\w+ must hold "):
        Tfidf.load(tmp_path)


@pytest.mark.parametrize("method", [rtlab.Words(), rtlab.Svm(with_words=True)], ids=lambda method: method.label)
def test_sentences_without_a_word_are_refused_before_the_run(tmp_path, method):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.csv").write_text("text,label\n" + "".join(f"{row} !,{row % 2}\n" for row in range(8)))
    would_do = "features alone" if method.reads else r"terms of characters \(--characters\)"
    refusal = rf"^dataset \(its train split\) must hold a word of two letters or more .* got none in 8; {would_do}"
    with pytest.raises(ValueError, match=refusal):
        rtlab.run(rtlab.Experiment(method=method, dataset=str(folder), encoder="tiny-bert"), output_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    record = rtlab.run(rtlab.Experiment(method=rtlab.Words(characters=True), dataset=str(folder)), output_dir=tmp_path)
    assert record.status == "ok"


@pytest.mark.parametrize("characters", [False, True])
def test_sentences_that_share_no_word_with_train_are_said(tmp_path, characters):
    for split in ("train", "validation", "test"):
        rows = (f"{'fine' if row % 2 else 'dull'}{split}{row},{row % 2}\n" for row in range(8))
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "".join(rows))
    asked = rtlab.Experiment(method=rtlab.Words(characters=characters), dataset=str(tmp_path))
    if characters:
        rtlab.run(asked, output_dir=tmp_path)
        return
    with pytest.warns(UserWarning, match=r"^8 of 8 sentences of validation hold no term of train.*\(--characters\)"):
        rtlab.run(asked, output_dir=tmp_path)


# Classifiers


def blobs(classes):
    random = np.random.default_rng(classes)
    labels_N = np.arange(60) % classes
    return (random.standard_normal((60, 5)) + labels_N[:, None]).astype(np.float32), labels_N


@pytest.mark.parametrize("classes", [2, 3])
def test_a_logistic_regressions_logits_are_its_probabilities(classes):
    features_ND, labels_N = blobs(classes)
    found = linear.fit(features_ND, labels_N, classifier="logistic", c=0.5, seed=0)
    expected_NC = LogisticRegression(C=0.5, max_iter=10_000).fit(features_ND, labels_N).predict_proba(features_ND)
    logits_NC = found.logits(features_ND).astype(np.float64)
    probabilities_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities_NC, expected_NC, atol=1e-6)
    assert linear.temperature("logistic", found.logits(features_ND), labels_N) == 1


def sentences(labels):
    """One of each label, no two the same."""
    return Split(tuple(map(str, range(len(labels)))), tuple(int(label) for label in labels))


def always(sign):
    return Linear(coef_CD=np.array([[sign]]), intercept_C=np.zeros(1))


def test_the_best_candidate_is_the_first_of_those_with_most_right():
    features_ND, labels_N = np.tile([[1.0], [-1.0]], (10, 1)).astype(np.float32), np.tile([1, 0], 10)
    found, fitted = linear.best(
        [(-1.0,), (1.0,), (2.0,)], lambda _, sign: always(sign), lambda: features_ND, sentences(labels_N)
    )
    assert (found, fitted.coef_CD.item()) == ((1.0,), 1.0)


def test_one_candidate_is_not_compared():
    asked, fits = [], []

    def fitted(rows, _):
        fits.append(rows)
        return always(1.0)

    linear.best([(1.0,)], fitted, asked.append, sentences([0, 1]))
    assert (asked, fits) == ([], [linear.EVERY])


def test_of_many_candidates_one_is_kept_at_a_time():
    features_ND, labels_N, made, alive = np.ones((10, 1), dtype=np.float32), np.tile([1, 0], 5), [], []

    def fitted(_, c):
        alive.append(sum(model() is not None for model in made))
        model = always(c)
        made.append(weakref.ref(model))
        return model

    linear.best([(c,) for c in (-1.0, -2.0, 1.0, 2.0, 3.0)], fitted, lambda: features_ND, sentences(labels_N))
    assert alive == [0] * (5 * linear.FOLDS + 1)


@pytest.mark.parametrize(
    ("sizes", "folds", "held_out"),
    [
        ([60, 40], 5, 100),  # all of few sentences
        ([500, 500], 3, 600),
        ([1200, 1400], 1, 520),  # one fold of many
        ([30, 30, 1], 5, 60),  # the only one of a class is always trained on
        ([2, 2], 4, 4),
        ([1, 1], 0, 0),  # nothing can be held out
    ],
)
def test_what_is_chosen_is_chosen_on_folds_of_train(sizes, folds, held_out):
    """Each sentence is held out once at most, in proportion, and never from what has no other of its class."""
    labels_N = np.repeat(np.arange(len(sizes)), sizes)
    trained, told = [], []

    def fitted(rows, c):
        trained.append((rows, c))
        return Linear(coef_CD=np.zeros((len(sizes), 1)), intercept_C=np.zeros(len(sizes)))

    features_ND = np.zeros((len(labels_N), 1))
    (c,), _ = linear.best(
        [(1.0,), (2.0,)], fitted, lambda: features_ND, sentences(labels_N), lambda *said: told.append(said)
    )
    assert (c, trained[-1]) == (1.0, (linear.EVERY, 1.0))
    assert told == [(done, 2 * folds) for done in range(1, 2 * folds + 1)]
    parts = [np.setdiff1d(np.arange(len(labels_N)), rows) for rows, c in trained[:-1] if c == 1.0]
    assert len(parts) == folds
    assert sum(map(len, parts)) == len(np.unique([row for part in parts for row in part])) == held_out
    for part in parts:
        counts = np.bincount(labels_N[part], minlength=len(sizes))
        assert all(abs(count - size / linear.FOLDS) < 1 for count, size in zip(counts, sizes, strict=True) if size > 1)
        assert set(labels_N) == set(np.delete(labels_N, part))


def test_equal_sentences_are_held_out_together():
    """Else what is trained on one would only have to remember it, and the weakest regularisation were the best."""
    train = Split(("good", "bad", "fine", "poor") * 20, (1, 0, 1, 0) * 20)
    held_out = []

    def fitted(rows, _):
        if rows is not linear.EVERY:
            held_out.append(np.setdiff1d(np.arange(80), rows))
        return always(1.0)

    linear.best([(1.0,), (2.0,)], fitted, lambda: np.zeros((80, 1)), train)
    assert all(len({train.texts[row] for row in rows}) * 20 == len(rows) for rows in held_out)


def test_c_goes_by_how_long_features_are():
    """Features that are ten times as long have a hundredth of C to choose from, and come to the same logits."""
    features_ND, labels_N = blobs(2)
    logits = []
    for factor in (1.0, 10.0):
        long_ND = (factor * features_ND).astype(np.float32)
        (c,) = linear.candidates(None, float((long_ND.astype(np.float64) ** 2).sum(axis=1).mean()))[2:3]
        logits.append(linear.fit(long_ND, labels_N, classifier="logistic", c=c, seed=0).logits(long_ND))
    np.testing.assert_allclose(logits[0], logits[1], rtol=0.02, atol=0.02)


# Runs


@pytest.mark.parametrize("name", FITTED)
def test_a_run_is_recorded_saved_and_used(fitted, data, name):
    record, folder = fitted[name]
    assert (record.status, record.error, record.results) == ("ok", None, 2)
    model = load_model(folder, device="cpu")
    texts, _ = small.read(data[names_of(name)], "test", names_of(name))
    said_NC = model.logits(texts)
    recorded_NC = np.array(record.predictions["test"].logits)
    assert np.array_equal(said_NC.argmax(axis=1), recorded_NC.argmax(axis=1))
    ratios_NC = recorded_NC / said_NC
    np.testing.assert_allclose(ratios_NC, ratios_NC[0, 0], rtol=1e-3)  # one temperature for all
    if "logistic" in name:
        assert ratios_NC[0, 0] == pytest.approx(1, rel=1e-3)
    predictions = rtlab.predict(folder, texts[:3], device="cpu")
    assert [one.label for one in predictions] == [names_of(name)[row] for row in said_NC[:3].argmax(axis=1)]
    assert not list(folder.rglob("*.pkl")) + list(folder.rglob("*.joblib"))


@pytest.mark.parametrize("name", ["words", "characters", "beside features"])
def test_terms_of_another_kind_than_the_method_counts_are_refused(fitted, tmp_path, name):
    folder = shutil.copytree(fitted[name][1], tmp_path / "model")
    said, terms = (json.loads((folder / file).read_text()) for file in ("rtlab.json", "words.json"))
    (folder / "rtlab.json").write_text(json.dumps(said | {"files": {}}))
    (folder / "words.json").write_text(json.dumps(terms | {"characters": not terms["characters"]}))
    with pytest.raises(ValueError, match=r"is mixed from two: its words\.json counts "):
        load_model(folder, device="cpu")


def test_words_alone_are_scikit_learns(fitted, data):
    """C is the one of most right sentences in cross-validation, and the logits are those of its SVM on all of train."""
    record, _ = fitted["words"]
    train, labels = small.read(data[small.TWO], "train")
    labels = np.array(labels)
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    train_NT = terms.fit_transform(train)
    svms = {c: LinearSVC(C=c, dual="auto", random_state=42, max_iter=10_000) for c in linear.GRID}
    folds = PredefinedSplit(linear._fold_of(Split(tuple(train), tuple(labels.tolist()))))
    search = GridSearchCV(
        LinearSVC(dual="auto", random_state=42, max_iter=10_000), {"C": list(linear.GRID)}, cv=folds
    ).fit(train_NT, labels)
    sizes = np.bincount(folds.test_fold)
    every = np.stack([search.cv_results_[f"split{fold}_test_score"] for fold in range(linear.FOLDS)])
    right = np.rint(sizes @ every)
    assert record.chosen == {"c": linear.GRID[int(right.argmax())]}
    svms[record.chosen["c"]].fit(train_NT, labels)
    decision_N = svms[record.chosen["c"]].decision_function(terms.transform(small.read(data[small.TWO], "test")[0]))
    np.testing.assert_allclose(np.array(record.predictions["test"].logits)[:, 1], decision_N / 2, rtol=1e-5)
    counts = record.counts
    assert (counts.parameters_total, counts.parameters_trained) == (train_NT.shape[1] + 1,) * 2
    assert (counts.samples, counts.real_tokens, counts.padding_tokens, counts.steps) == (42, train_NT.nnz, 0, None)


@pytest.mark.parametrize("name", ["words", "beside features"])
def test_what_is_chosen_does_not_depend_on_validation(fitted, data, tmp_path, name):
    """Else what it scores there would be the better for it, and beside what chooses nothing there no fair score."""
    folder = shutil.copytree(data[small.TWO], tmp_path / "data")
    text = (folder / "validation.csv").read_text()
    one, other = small.TWO
    (folder / "validation.csv").write_text(
        text.replace(f",{one}", ",*").replace(f",{other}", f",{one}").replace(",*", f",{other}")
    )
    asked = rtlab.Experiment(method=FITTED[name], dataset=str(folder), encoder="tiny-distilbert")
    record, before = rtlab.run(asked, output_dir=tmp_path / "out"), fitted[name][0]
    assert not np.array_equal(record.predictions["validation"].labels, before.predictions["validation"].labels)
    assert record.chosen == before.chosen
    np.testing.assert_array_equal(record.predictions["test"].logits, before.predictions["test"].logits)


@pytest.mark.parametrize("name", ["words", "three", "beside features"])
def test_the_strongest_words_speak_for_their_class(fitted, data, name):
    record, folder = fitted[name]
    assert tuple(record.strongest) == names_of(name)
    for number, (_, terms) in enumerate(record.strongest.items()):
        assert 0 < len(terms) <= tfidf.STRONGEST
        model = load_model(folder, device="cpu")
        classifier = model.words.classifier if name != "beside features" else model.head
        coef_CT = (
            classifier.coef_CD
            if len(classifier.coef_CD) > 1
            else np.concatenate([-classifier.coef_CD, classifier.coef_CD])
        )
        known = Tfidf.load(folder).terms
        weights = [coef_CT[number][known.index(term)] for term in terms]
        assert weights == sorted(weights, reverse=True)
        assert weights[0] == coef_CT[number][: len(known)].max() > 0
    assert fitted["beside features"][0].chosen.keys() == {"c", "words_share"}


def test_a_classifier_beside_features_reads_both(fitted):
    _, folder = fitted["beside features"]
    model = load_model(folder, device="cpu")
    terms = len(model.tfidf.terms)
    assert model.head.coef_CD.shape == (1, terms + 64)
    assert np.abs(model.head.coef_CD[:, :terms]).max() > 0
    assert np.abs(model.head.coef_CD[:, terms:]).max() > 0


def test_words_beside_features_are_counted_once_a_split(data, tmp_path, monkeypatch):
    counted, features = [], Tfidf.features
    monkeypatch.setattr(Tfidf, "features", lambda self, texts: counted.append(len(texts)) or features(self, texts))
    asked = rtlab.Experiment(method=FITTED["beside features"], dataset=str(data[small.TWO]), encoder="tiny-bert")
    rtlab.run(asked, output_dir=tmp_path)
    assert len(counted) == 3


def test_a_record_without_an_encoder_is_read_again(fitted):
    record, folder = fitted["words"]
    assert (record.encoder, record.experiment.encoder) == (None, None)
    [path] = (folder.parents[1] / "records").iterdir()
    assert load(path) == record
    written = json.loads(path.read_text())
    for field, value, wrong in (
        ("encoder", {"name": "minilm", "revision": None, "sha256": "a" * 64}, "encoder must be there where"),
        ("chosen", {"c": "1"}, r"chosen\.c must be a finite number"),
        ("chosen", {"c": -1.0}, r"chosen\.c must not be negative"),
        ("strongest", {"neither": ["dull"]}, r"strongest must be of classes in dataset\.classes; got .*neither"),
    ):
        path.with_suffix(".other").write_text(json.dumps(written | {field: value}))
        with pytest.raises(ValueError, match=wrong):
            load(path.with_suffix(".other"))


@pytest.mark.parametrize("name", ["words", "beside features"])
def test_whoever_may_read_the_card_may_read_the_weights(fitted, name):
    folder = fitted[name][1]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) > 2
    assert set(modes.values()) == {modes["README.md"]}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused_for_words_too(fitted):
    with pytest.raises(ValueError, match=r"^device "):
        load_model(fitted["words"][1], device="cuda")


def test_encoder_length_and_precision_mean_nothing_to_words():
    asked = rtlab.Experiment(method=rtlab.Words(), dataset="corpus")
    assert (
        rtlab.Experiment(method=rtlab.Words(), dataset="corpus", encoder="minilm", max_length=64, precision="bf16")
        == asked
    )
    assert dataclasses.asdict(asked)["encoder"] is None


@pytest.mark.parametrize(
    ("field", "value"), [("c", 0), ("c", "1"), ("c", float("inf")), ("classifier", "tree"), ("characters", 1)]
)
def test_a_field_out_of_range_is_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field} must be "):
        rtlab.Words(**{field: value})


# The command line


def test_words_take_no_torch(data, tmp_path, run_python):
    """Neither training nor predicting: what takes a second is over before torch is imported."""
    code = """
import sys
from rtlab.cli import main
_, dataset, results = sys.argv
assert main(["words", "--dataset", dataset, "--output-dir", results]) == 0
from pathlib import Path
[folder] = Path(results, "models").iterdir()
assert main(["predict", "--model", str(folder), "a good film"]) == 0
assert main(["evaluate", "--model", str(folder), "--dataset", dataset, "--output-dir", results]) == 0
assert not {"torch", "transformers", "peft"} & set(sys.modules), set(sys.modules)
"""
    done = run_python(code, data[small.TWO], tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_saved_model_takes_no_scikit_learn_either(fitted, data, tmp_path, run_python):
    """Its import is nine tenths of what labelling a sentence would take."""
    code = """
import sys
from rtlab.cli import main
_, folder, dataset, results = sys.argv
assert main(["predict", "--model", folder, "a good film"]) == 0
assert main(["evaluate", "--model", folder, "--dataset", dataset, "--output-dir", results]) == 0
print({"torch", "transformers", "sklearn", "pandas", "datasets", "pyarrow", "scipy.stats", "tqdm"} & {*sys.modules})
"""
    for name in ("words", "characters"):
        done = run_python(code, fitted[name][1], data[small.TWO], tmp_path)
        assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr


def test_importing_scikit_learn_is_no_part_of_fitting(data, tmp_path, run_python):
    """It takes longer than to fit a few hundred sentences: the first run of a process would look the dearer."""
    code = """
import contextlib, sys
from rtlab import environment, run, Experiment, Words
phases = {}
real = environment.Stopwatch.phase
def phase(self, name):
    phases.setdefault(name, {"sklearn.feature_extraction.text", "sklearn.svm"} <= {*sys.modules})
    return real(self, name)
environment.Stopwatch.phase = phase
run(Experiment(dataset=sys.argv[1], method=Words()), output_dir=sys.argv[2])
print(phases["prepare"], phases["train"])
"""
    done = run_python(code, data[small.TWO], tmp_path)
    assert done.stdout.splitlines()[-1] == "True True", done.stdout + done.stderr


def test_the_threads_of_a_testbed_are_torchs(run_python):
    code = (
        "from rtlab.testbed import threads; before = threads(); import torch; print(before == torch.get_num_threads())"
    )
    for number in (None, "1", "3"):
        done = run_python(code, OMP_NUM_THREADS=number, MKL_NUM_THREADS=None)
        assert done.stdout.split() == ["True"], done.stderr


@pytest.mark.thorough
def test_words_on_real_sentences(tmp_path):
    """As people report of this data set: 0.775 to 0.805 on test."""
    if not os.environ.get("RTLAB_DATASET"):
        pytest.skip("RTLAB_DATASET names no rotten_tomatoes here")
    record = rtlab.run(rtlab.Experiment(method=rtlab.Words(), dataset=os.environ["RTLAB_DATASET"]), output_dir=tmp_path)
    assert 0.775 <= record.scores["test"].accuracy <= 0.805
    assert {"dull", "boring"} <= set(record.strongest["neg"])
