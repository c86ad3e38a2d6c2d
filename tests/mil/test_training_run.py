"""One call from a notebook does what the script does: the audit comes first, and a certain leak stops it."""

import subprocess
import sys

import pandas as pd
import pytest

import mil
from common.failures import StudyError
from features.store.feature_store import read_feature_bag, write_feature_bag
from mil.evaluation.metrics_record import read_metrics
from mil.runs.audit_record import read_audit
from mil.tasks.registry import TASKS
from mil.train import main as train
from mil.training.preparation import prepare
from mil.training.training_settings import TrainConfig
from mil.training_run import audit_study, train_run, train_study
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

CONFIG = TrainConfig(epochs=3, hidden=8, attention=4, bootstrap=100, threads=1)
FLAGS = ["--epochs", "3", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"]


def one_line(text):
    return text.split("\n", 1)[0]


@pytest.fixture
def study(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    return study


def leak(study):
    """Copy a training patient's slide file under a test patient's name."""
    splits = pd.read_csv(study.splits_file("default"))
    first = splits[splits["fold"] == 0].set_index("set")["patient_id"]
    one, other = first["train"].iloc[0], first["test"].iloc[0]
    bag = read_feature_bag(study.feature_file(CONFIG.encoder, f"{one}-0"))
    own = {k: v for k, v in bag.attributes.items() if k not in ("schema", "slide_id", "content_sha256")}
    copy = type(bag)(**{**vars(bag), "slide_id": f"{other}-0", "attributes": own})
    write_feature_bag(study.feature_file(CONFIG.encoder, f"{other}-0"), copy)


def test_u6_a_notebooks_training_stops_at_a_leak_and_leaves_nothing(study):
    leak(study)
    task = TASKS[CONFIG.task]
    prepared = prepare(study, CONFIG, task.training)
    texts = []
    for call in (
        lambda: train_run(prepared, task, say=texts.append),
        lambda: train_study(study, CONFIG, say=texts.append),
    ):
        with pytest.raises(StudyError, match=r"the audit found \d leak\(s\), nothing was trained"):
            call()
        assert "1 leak(s)" in one_line(texts[-1])
    assert not (study.root / "runs").exists()
    audit = audit_study(study, CONFIG, say=texts.append)  # alone it tells, and stops nothing
    assert "leak" in {each.verdict for each in audit.checks}


def test_one_call_leaves_and_returns_what_the_script_does(study, capsys):
    trained = mil.train_study(study, mil.TrainConfig(**vars(CONFIG)))
    shown = capsys.readouterr().out
    by_call = contents(trained.folder.root)
    assert trained.metrics == read_metrics(trained.folder, TASKS["subtype"].evaluation.metrics_kind)
    assert trained.audit == read_audit(trained.folder)
    assert trained.report.is_file()
    assert (trained.is_evaluated, trained.excluded, len(trained.usable)) == (True, {}, 24)
    assert train(["--study", str(study.root), *FLAGS]) == 0
    assert capsys.readouterr().out.startswith(shown)
    assert contents(trained.folder.root) == by_call


def test_the_package_offers_its_calls_without_loading_them(root):
    code = (
        "import sys, mil; print('torch' in sys.modules, sorted(mil.__all__)); mil.TrainConfig; print('torch' in sys.modules)\n"
        "for name in mil.__all__: getattr(mil, name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[0].startswith("False ['ClinicalConfig', 'EvaluateConfig', ")
    assert run.stdout.splitlines()[1] == "False"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mil.nothing  # noqa: B018


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
