"""Settings are searched by inner folds of training patients alone, logged, gone on with, and told; of noise they find nothing."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from common.failures import StudyError
from mil.heads.registry import make_head
from mil.runs.model_file import read_model
from mil.runs.run_folder import RunFolder
from mil.runs.search_record import (
    FoldSearch,
    Search,
    Trial,
    read_fold_search,
    read_search,
    write_fold_search,
    write_search,
)
from mil.tasks.registry import TASKS
from mil.train import main as train
from mil.training.cross_validation import run_folds
from mil.training.preparation import prepare
from mil.training.search import inner_search
from mil.training.search.space import plan_search
from mil.training.training_settings import TrainConfig
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

pytestmark = pytest.mark.slow
SPACE = """search:
  learning_rate: {low: 1e-3, high: 3e-2, log: true}
  dropout: [0.0, 0.25]
  head: [gated_attention, mean_mlp]
"""
FLAGS = [
    "--epochs",
    "3",
    "--hidden",
    "8",
    "--attention",
    "4",
    "--bootstrap",
    "100",
    "--threads",
    "1",
    "--cross_fit",
    "0",
]
FLAGS += ["--search", "4", "--search_folds", "2"]
CONFIG = TrainConfig(
    epochs=3, hidden=8, attention=4, bootstrap=100, threads=1, cross_fit=0, search=4, search_folds=2, save_seconds=-1.0
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("searched") / "study", n_patients=18)
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    (study.root / "study.yaml").write_text(SPACE)
    return study


@pytest.fixture
def study(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "study")
    return type(made)(tmp_path / "study")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(study, folder, config=CONFIG, n_folds=1):
    prepared = prepare(study, config, TASKS[config.task].training)
    run_folds(RunFolder(folder), prepared.plans[:n_folds], prepared.inputs)
    return contents(folder)


def search_of(folder, fold=0):
    return json.loads((folder / "models" / f"repeat0_fold{fold}_search.json").read_text())


def test_each_fold_searches_by_itself_and_the_run_tells_it(study):
    assert train(["--study", str(study.root), *FLAGS]) == 0
    folder = study.run("subtype", "default")
    known = json.loads((folder / "search.json").read_text())
    assert known["n_trials"] == 4
    assert [(own["repeat"], own["fold"], len(own["trials"])) for own in known["folds"]] == [(0, 0, 4), (0, 1, 4)]
    table = pd.read_csv(folder / "search.csv")
    assert list(table.columns) == [
        "repeat",
        "fold",
        "trial",
        "dropout",
        "head",
        "learning_rate",
        "loss",
        "is_chosen",
        "why",
    ]
    assert table.groupby("fold")["is_chosen"].sum().tolist() == [1, 1]
    for fold, own in table.groupby("fold"):
        chosen = own[own["is_chosen"] == 1].iloc[0]
        assert chosen["loss"] == own["loss"].min()
        model = read_model(folder / "models" / f"repeat0_fold{fold}.safetensors")
        assert model.metadata["head"]["name"] == chosen["head"]
        assert model.metadata["settings"]["learning_rate"] == chosen["learning_rate"]
    first = table[table["trial"] == 0]
    assert set(first["learning_rate"]) == {0.003}  # the settings as given
    page = (folder / "report.html").read_text()
    for words in (
        "Search for settings",
        "4 trials a fold",
        "nested cross-validation",
        "trial chosen",
        "settings that were searched",
    ):
        assert words in page
    audit = (folder / "audit.json").read_text()
    assert "settings that were not searched" in audit


def test_no_test_patient_is_read_or_known_in_a_search(study, tmp_path, monkeypatch):
    seen = set()
    prepared = prepare(study, CONFIG, TASKS["subtype"].training)
    plan, whole = prepared.plans[0], inner_search.fit

    def watched(task, fold, **named):
        seen.update(fold.train, fold.val)
        return whole(task, fold, **named)

    monkeypatch.setattr(inner_search, "fit", watched)
    before = run(study, tmp_path / "one")
    assert seen == set(plan.train)
    table = pd.read_csv(study.cohort_table)
    tested = table["patient_id"].isin(plan.test)
    table.loc[tested, "subtype"] = table.loc[tested, "subtype"].map({"DDLPS": "LMS", "LMS": "UPS", "UPS": "DDLPS"})
    table.to_csv(study.cohort_table, index=False)
    after = run(study, tmp_path / "two")
    trials = [search_of(tmp_path / name)["trials"] for name in ("one", "two")]
    assert trials[0] == trials[1]
    assert before["models/repeat0_fold0.safetensors"] == after["models/repeat0_fold0.safetensors"]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_search_goes_on_to_the_same_bytes(study, tmp_path, monkeypatch, sampler):
    config = replace(CONFIG, search=8, search_sampler=sampler)
    whole = run(study, tmp_path / "whole", config)
    tried, count = inner_search._tried, []

    def dying(*given, **named):
        count.append(1)
        if len(count) == 7:
            raise KeyboardInterrupt
        return tried(*given, **named)

    monkeypatch.setattr(inner_search, "_tried", dying)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "killed", config)
    assert len(search_of(tmp_path / "killed")["trials"]) == 6
    assert run(study, tmp_path / "killed", config) == whole
    assert len(count) == 7 + 2
    count.clear()
    assert run(study, tmp_path / "killed", config) == whole
    assert not count


def test_a_search_can_be_made_longer_or_shorter_and_other_settings_begin_anew(study, tmp_path, monkeypatch):
    eight = run(study, tmp_path / "eight", replace(CONFIG, search=8))
    run(study, tmp_path / "grown")
    tried, count = inner_search._tried, []
    monkeypatch.setattr(inner_search, "_tried", lambda *given: count.append(1) or tried(*given))
    assert run(study, tmp_path / "grown", replace(CONFIG, search=8)) == eight
    assert len(count) == 4
    run(study, tmp_path / "four")
    count.clear()
    assert run(study, tmp_path / "grown") == contents(tmp_path / "four")
    assert not count
    run(study, tmp_path / "grown", replace(CONFIG, seed=1))
    assert len(count) == 4
    path = tmp_path / "grown" / "models" / "repeat0_fold0_search.json"
    path.write_text(path.read_text()[:-30])
    count.clear()
    run(study, tmp_path / "grown", replace(CONFIG, seed=1))
    assert len(count) == 4
    run(study, tmp_path / "grown", replace(CONFIG, search=0))
    assert not path.exists()


def test_failed_trials_are_told_and_all_failed_is_an_error(study, tmp_path):
    (study.root / "study.yaml").write_text("search: {learning_rate: [1e30, 3e-3]}")
    run(study, tmp_path / "run")
    trials = search_of(tmp_path / "run")["trials"]
    assert all(
        trial["loss"] is None and "diverged" in trial["why"]
        for trial in trials
        if trial["values"]["learning_rate"] == 1e30
    )
    assert trials[search_of(tmp_path / "run")["chosen"]]["values"] == {"learning_rate": 3e-3}
    (study.root / "study.yaml").write_text("search: {learning_rate: [1e30]}")
    with pytest.raises(StudyError, match=r"fold 0.*all 4 trials failed; the last: inner fold 0: training diverged"):
        run(study, tmp_path / "other")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("search: [a]", "wanted settings and their values"),
        ("search: {learning_rat: [1]}", "'learning_rat' is not searched; the nearest is learning_rate"),
        ("search: {seed: [1, 2]}", "'seed' is not searched"),
        ("search: {dropout: 0.5}", "wanted a list of values, or"),
        ("search: {dropout: []}", "1 to 50 values"),
        ("search: {dropout: [0.5, 2.0]}", "--dropout is a fraction"),
        ("search: {dropout: {low: 0.5, high: 0.1}}", "low is below high"),
        ("search: {learning_rate: {low: 0, high: 0.1, log: true}}", "a logarithmic range begins above 0"),
        ("search: {hidden: [64.5]}", "64.5 is no whole number"),
        ("search: {hidden: [many]}", "'many' is no whole number"),
        ("search: {head: [nothing]}", "nothing"),
        ("search: {head: {low: 1, high: 2}}", "wanted a list of values"),
    ],
)
def test_a_space_that_is_none_is_refused_with_the_place(study, space, message):
    (study.root / "study.yaml").write_text(space)
    with pytest.raises(StudyError, match=r"study\.yaml: search|head") as error:
        prepare(study, CONFIG, TASKS["subtype"].training)
    assert message in str(error.value)


def test_a_space_of_a_file_comes_first_and_the_default_fits_the_task(study):
    path = study.root / "space.yaml"
    path.write_text("epochs: {low: 4, high: 8, step: 2}\n")
    prepared = prepare(study, replace(CONFIG, search_space=path), TASKS["subtype"].training)
    assert prepared.search.words == {"epochs": "4 to 8, step 2"}
    (study.root / "study.yaml").unlink()
    for task, has in (("subtype", True), ("survival", False)):
        own = TASKS[task].training
        targets = own.find_targets(prepared.cohort)[0]
        assert ("label_smoothing" in plan_search(study, replace(CONFIG, task=task), own, targets).space) == has
    with pytest.raises(StudyError, match="no such file"):
        prepare(study, replace(CONFIG, search_space=path.with_name("x.yaml")), TASKS["subtype"].training)
    with pytest.raises(StudyError, match="give the number of trials a fold with --search"):
        prepare(study, replace(CONFIG, search=0, search_space=path), TASKS["subtype"].training)


def test_without_optuna_the_message_says_what_to_install(study, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install -e '\.\[search\]'"):
        prepare(study, CONFIG, TASKS["subtype"].training)


def test_a_log_of_another_fingerprint_or_a_damaged_one_is_not_used(tmp_path):
    own = FoldSearch(
        repeat=0,
        fold=0,
        fingerprint="f",
        n_inner_folds=2,
        trials=(Trial(number=0, values={"a": 1}, loss=0.5),),
        chosen=0,
    )
    path = tmp_path / "x.json"
    inner_search.write_fold_search(path, own)
    assert read_fold_search(path, "f") == own
    assert read_fold_search(path, "g") is None
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert read_fold_search(path, "f") is None
    assert make_head("mean_mlp", CONFIG, n_inputs=2, n_outputs=1) is not None


def test_what_is_searched_on_noise_stays_at_chance(tmp_path):
    """Two studies of shuffled labels: the nested interval of a searched run may not lie above chance in both."""
    above = 0
    for seed in range(2):
        study = make_feature_study(tmp_path / str(seed), n_patients=30, seed=seed, is_shuffled=True)
        assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
        (study.root / "study.yaml").write_text(SPACE)
        assert train(["--study", str(study.root), *FLAGS, "--search", "6"]) == 0
        found = json.loads((study.run("subtype", "default") / "metrics.json").read_text())["attention"]["macro_auroc"]
        above += found["low"] > 0.5
    assert above < 2


@pytest.mark.parametrize("chosen", [7, None])
def test_a_search_that_chose_a_trial_it_has_not_is_none(tmp_path, chosen):
    own = FoldSearch(
        repeat=0, fold=0, fingerprint="f", n_inner_folds=2, chosen=chosen,
        trials=(Trial(number=0, values={"dropout": 0.0}, loss=0.7),),
    )  # fmt: skip
    write_fold_search(tmp_path / "fold.json", own)
    known = read_fold_search(tmp_path / "fold.json", "f")
    assert (known is None) is (chosen == 7)  # one that goes on has chosen none yet
    write_search(RunFolder(tmp_path), Search(n_trials=1, sampler="tpe", space={"dropout": "0 to 0.5"}, folds=(own,)))
    with pytest.raises(StudyError, match=f"fold 0 chose trial {chosen}, which it has not"):
        read_search(RunFolder(tmp_path))
