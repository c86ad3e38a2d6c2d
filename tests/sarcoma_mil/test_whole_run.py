"""run: what is missing is made in order, what is done stays, and nothing is taken for done after a change."""

import os
import signal
import subprocess
import sys
import time

import pytest

from common.failures import StudyError
from sarcoma_mil.beginning.sample_table import write_sample
from sarcoma_mil.command import main
from sarcoma_mil.whole import step_calls
from sarcoma_mil.whole.code_version import code_sha256
from sarcoma_mil.whole.run_settings import RunConfig
from sarcoma_mil.whole.step_stamps import Stamp, digest_of, read_stamp, stamp_file, write_stamp
from sarcoma_mil.whole.study_steps import study_settings
from sarcoma_mil.whole.table_tasks import table_tasks
from sarcoma_mil.whole.whole_run import WholeRun, run_study

TABLE = "patient_id,slide_id,subtype,time,event\n" + "".join(
    f"p{number},s{number},{'AB'[number % 2]},{number + 1},{number % 2}\n" for number in range(6)
)


class Steps:
    """Stands for the scripts: each leaves what it leaves, and is counted."""

    def __init__(self, root):
        self.root, self.called, self.codes, self.without = root, [], {}, set()

    def __call__(self, word, flags):
        task = flags[flags.index("--task") + 1] if "--task" in flags else ""
        name = f"{word} {task}".strip()
        self.called.append(name)
        code = self.codes.get(name, 0)
        if code in (0, 1) and name not in self.without:
            for path in self.leaves(word, task):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    path.write_text(f"{name}\n")
        return code

    def leaves(self, word, task):
        run = self.root / "runs" / task / "default"
        return {
            "tile": [
                self.root / "tiles" / name for name in ("s1.h5", "s1.geojson", "status.csv", "contact_sheet.html")
            ],
            "features": [self.root / "features" / "efficientnet_lite0" / name for name in ("s1.h5", "status.csv")],
            "splits": [self.root / "splits" / name for name in ("default.csv", "default.json")],
            "train": [
                run / name
                for name in (
                    "models/f.json",
                    "predictions.csv",
                    "run.json",
                    "model.safetensors",
                    "report.html",
                    "metrics.json",
                )
            ],
            "explain": [run / "explanation" / name for name in ("index.html", "contributions.csv")],
        }.get(word, [])


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "study"
    (root / "slides").mkdir(parents=True)
    (root / "slides" / "s1.svs").write_text("pixels")
    (root / "cohort.csv").write_text(TABLE)
    return root


def run(root, steps, say=None, **options):
    from common.study import Study

    steps.called.clear()
    lines = [] if say is None else say
    config = RunConfig(study=root, **options)
    return WholeRun(study_settings(Study(root)), config, lines.append, call=steps).run()


ALL = [
    "tile",
    "features",
    "splits",
    "train subtype",
    "explain subtype",
    "train survival",
    "explain survival",
    "results",
]


def test_every_step_is_done_once_and_in_order(root):
    steps = Steps(root)
    assert run(root, steps) == 0
    assert steps.called == ALL
    said = []
    assert run(root, steps, said) == 0
    assert steps.called == ["results"]
    assert sum("done before, and nothing changed since" in line for line in said) == 7


OF_TASKS = {f"{word} {task}" for word in ("train", "explain") for task in ("subtype", "survival")}
# What is changed, and the steps that are due again; those after them find the same inputs where a fake step changes nothing.
CHANGES = {
    "slides/s1.svs": {"tile", "features", "explain subtype", "explain survival"},
    "slides/new.svs": {"tile", "features", "explain subtype", "explain survival"},
    "masks/s1.png": {"tile"},
    "tiles/s1.geojson": {"tile"},
    "tiles/s1.h5": {"tile", "features", "explain subtype", "explain survival"},
    "tiles/status.csv": {"tile", "train subtype", "train survival"},
    "features/efficientnet_lite0/s1.h5": {"features", *OF_TASKS},
    "splits/default.csv": {"splits", "train subtype", "train survival"},
    "runs/subtype/default/model.safetensors": {"train subtype", "explain subtype"},
    "runs/subtype/default/models/f.json": {"train subtype"},
    "runs/subtype/default/predictions.csv": {"train subtype", "explain subtype"},
    "runs/survival/default/explanation/contributions.csv": {"explain survival"},
    "cohort.csv": {"tile", "features", "splits", "train subtype", "train survival"},
}  # fmt: skip


@pytest.mark.parametrize("changed", CHANGES)
def test_what_was_changed_is_looked_at_again(root, changed):
    steps = Steps(root)
    run(root, steps)
    path = root / changed
    path.parent.mkdir(exist_ok=True)
    path.write_text(TABLE + "p9,s9,A,1,1\n" if changed == "cohort.csv" else "changed")
    run(root, steps)
    assert set(steps.called) - {"results"} == CHANGES[changed]


def test_what_is_missing_is_made_again(root):
    steps = Steps(root)
    run(root, steps)
    for word, task in (("tile", ""), ("features", ""), ("splits", ""), ("train", "subtype"), ("explain", "survival")):
        for path in steps.leaves(word, task):
            if path.name in ("f.json", "contributions.csv", "s1.geojson", "default.json", "run.json"):
                continue
            path.unlink()
            run(root, steps)
            assert f"{word} {task}".strip() in steps.called, path
            assert path.exists()


def test_a_new_report_by_evaluate_is_not_trained_over(root):
    steps = Steps(root)
    run(root, steps)
    for name in ("report.html", "metrics.json", "comparison.json"):
        (root / "runs" / "subtype" / "default" / name).write_text("evaluated again")
    run(root, steps)
    assert steps.called == ["results"]


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("tile_slides:\n  tile_um: 128\n", {"tile"}),
        ("train:\n  epochs: 3\n", {"train subtype", "train survival"}),
        ("make_splits:\n  folds: 3\n", {"splits"}),
        ("unit: patient\n", {"tile", "features", "splits", *OF_TASKS}),
        ("serve:\n  port: 9000\n", set()),
    ],
)  # fmt: skip
def test_settings_count_for_their_own_step(root, text, due):
    steps = Steps(root)
    run(root, steps)
    (root / "study.yaml").write_text(text)
    run(root, steps)
    assert set(steps.called) - {"results"} == due


def test_another_version_of_the_program_starts_all_but_the_folds(root, monkeypatch):
    steps = Steps(root)
    run(root, steps)
    monkeypatch.setattr("sarcoma_mil.whole.step_stamps.code_sha256", lambda: "another")
    run(root, steps)
    assert steps.called == [name for name in ALL if name != "splits"]
    assert len(code_sha256()) == 64


def test_files_named_by_settings_count(root, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_text("w")
    (root / "study.yaml").write_text(f"extract_features:\n  weights: {weights}\n")
    steps = Steps(root)
    run(root, steps)
    weights.write_text("others")
    run(root, steps)
    assert "features" in steps.called


def test_a_study_that_moved_is_still_done(root):
    steps = Steps(root)
    run(root, steps)
    moved = root.with_name("moved")
    root.rename(moved)
    steps = Steps(moved)
    run(moved, steps)
    assert steps.called == ["results"]


def test_slides_that_failed_carry_the_exit_code_and_the_rest_goes_on(root):
    steps, said = Steps(root), []
    steps.codes["tile"] = 1
    assert run(root, steps) == 1
    assert steps.called == ALL
    assert run(root, steps, said) == 1  # still: nothing was repaired
    assert steps.called == ["results"]
    assert "slides that failed" in " ".join(said)
    steps.codes.clear()
    assert run(root, steps, retry=True) == 0
    assert steps.called == ["tile", "results"]


@pytest.mark.parametrize(
    ("codes", "without", "called", "code", "why"),
    [
        ({"tile": 2}, set(), ["tile"], 2, "tile ended with exit code 2"),
        ({"tile": 1}, {"tile"}, ["tile"], 1, "no slide has tiles"),
        ({"features": 1}, {"features"}, ["tile", "features"], 1, "no slide has features"),
        ({"splits": 2}, set(), ["tile", "features", "splits"], 2, "no folds were made"),
        ({"train subtype": 2}, set(), [name for name in ALL if name != "explain subtype"], 2, ""),
        ({"explain subtype": 2}, set(), ALL, 2, ""),
        ({"train subtype": -9}, set(), [name for name in ALL if name != "explain subtype"], 2, ""),
        ({"explain subtype": 70}, set(), ALL, 2, ""),
    ],
)
def test_it_stops_where_nothing_is_left_to_go_on_with(root, codes, without, called, code, why):
    steps, said = Steps(root), []
    steps.codes, steps.without = codes, without
    assert run(root, steps, said) == code
    assert [name for name in steps.called if name != "results"] == [name for name in called if name != "results"]
    assert why in " ".join(said)
    steps.codes, steps.without = {}, set()
    run(root, steps)
    assert {name for name in codes if name not in ("tile", "features") or without or codes[name] == 2} <= set(
        steps.called
    )


def test_ctrl_c_ends_it(root):
    steps = Steps(root)
    steps.codes["features"] = 130
    with pytest.raises(KeyboardInterrupt):
        run(root, steps)
    assert steps.called == ["tile", "features"]


def test_folds_that_their_owner_made_stay(root):
    steps, said = Steps(root), []
    (root / "splits").mkdir()
    (root / "splits" / "default.csv").write_text("mine")
    run(root, steps, said)
    assert "splits" not in steps.called
    assert (root / "splits" / "default.csv").read_text() == "mine"


def test_a_file_that_changes_while_its_step_is_at_work_is_not_taken_for_seen(root):
    steps = Steps(root)

    def changing(word, flags):
        if word == "tile":
            (root / "cohort.csv").write_text(TABLE + "p9,s9,A,1,1\n")
        return steps(word, flags)

    from common.study import Study

    WholeRun(study_settings(Study(root)), RunConfig(study=root), lambda text: None, call=changing).run()
    run(root, steps)
    assert "tile" in steps.called


def test_features_without_slides_are_gone_on_with(root):
    steps, said = Steps(root), []
    (root / "slides" / "s1.svs").unlink()
    features = root / "features" / "efficientnet_lite0" / "s1.h5"
    features.parent.mkdir(parents=True)
    features.write_text("made elsewhere")
    run(root, steps, said)
    assert steps.called == [name for name in ALL if name not in ("tile", "features")]
    assert "tile: left out, no slides are here, and features are" in said


def test_the_encoder_that_embeds_is_the_one_that_is_trained_on(root):
    (root / "study.yaml").write_text("extract_features:\n  encoder: resnet50,densenet121\n")
    calls = []

    def call(word, flags):
        calls.append((word, flags))
        for name in ("tiles/s1.h5", "features/resnet50/s1.h5", "splits/default.csv"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("")
        return 0

    from common.study import Study

    WholeRun(study_settings(Study(root)), RunConfig(study=root), print, call=call).run()
    (flags,) = [flags for word, flags in calls if word == "train" and "subtype" in flags]
    assert flags[-2:] == ("--encoder", "resnet50")
    (root / "study.yaml").write_text("extract_features:\n  encoder: resnet50\ntrain:\n  encoder: densenet121\n")
    assert study_settings(Study(root)).encoder == "densenet121"


@pytest.mark.parametrize(
    ("table", "why_subtype", "why_survival"),
    [
        ("patient_id,slide_id,subtype\na,1,X\nb,2,Y\n", "", "no column time and no column event"),
        ("patient_id,slide_id,time,event\na,1,3,0\nb,2,4,1\n", "no column subtype", ""),
        ("patient_id,slide_id,subtype,time,event\na,1,,,\nb,2,,,\n", "has no value", "have no value"),
        ("patient_id,slide_id,subtype,time,event\na,1,X,1,0\nb,2,X,2,0\n", "one class alone, X", "no event was seen"),
    ],
)
def test_the_table_says_what_can_be_predicted(root, table, why_subtype, why_survival):
    from common.study import Study

    (root / "cohort.csv").write_text(table)
    subtype, survival = table_tasks(Study(root), study_settings(Study(root)).train, None)
    assert why_subtype in subtype.why_not and bool(why_subtype) == bool(subtype.why_not)
    assert why_survival in survival.why_not and bool(why_survival) == bool(survival.why_not)


def test_tasks_of_study_yaml_are_trained_too_and_can_be_chosen(root):
    (root / "study.yaml").write_text("tasks:\n  grade: {target: subtype}\ntrain:\n  name: first\n")
    steps = Steps(root)
    from common.study import Study

    names = [(task.name, task.run) for task in table_tasks(Study(root), study_settings(Study(root)).train, None)]
    assert names == [("subtype", "first"), ("survival", "first"), ("grade", "first")]
    run(root, steps, tasks="grade, survival")
    assert [name for name in steps.called if name.startswith("train")] == ["train survival", "train grade"]
    with pytest.raises(
        StudyError, match=r"--tasks 'survial' is no task; the nearest is survival; there are subtype, survival, grade"
    ):
        run_study(RunConfig(study=root, tasks="survial"))


def test_slides_with_subtypes_of_their_own_leave_survival_out(root):
    (root / "study.yaml").write_text("unit: slide\n")
    from common.study import Study

    _, survival = table_tasks(Study(root), study_settings(Study(root)).train, None)
    assert "unit: slide" in survival.why_not


def test_a_target_of_study_yaml_is_the_one_task(root):
    (root / "study.yaml").write_text("train:\n  target: subtype,time\n")
    steps = Steps(root)
    run(root, steps)
    assert [name for name in steps.called if name.startswith("train")] == ["train"]


def test_examples_and_faults_stop_it_before_any_work(root, capsys):
    (root / "cohort.csv").unlink()
    write_sample(root / "cohort.csv", ())
    assert main(["run", "--study", str(root)]) == 2
    assert "still holds the examples of init" in capsys.readouterr().err
    (root / "cohort.csv").write_text("patient_id,slide_id,event\na,1,maybe\n")
    assert main(["run", str(root)]) == 2
    assert "maybe" in capsys.readouterr().err
    (root / "cohort.csv").write_text(TABLE)
    (root / "study.yaml").write_text("explain:\n  exports: jpg\n")  # of the last step
    assert main(["run", str(root)]) == 2
    assert "--exports are of" in capsys.readouterr().err
    assert not (root / "tiles").exists()


def test_a_stamp_that_is_none_counts_as_none(tmp_path):
    path = stamp_file(tmp_path, "tile")
    assert read_stamp(path) is None
    write_stamp(path, "tile", Stamp(0, "a", "b"))
    assert read_stamp(path) == Stamp(0, "a", "b")
    for text in (
        "",
        "{",
        "[]",
        '{"schema": "step/1"}',
        '{"schema": "step/0", "exit_code": 0, "reads": "", "leaves": ""}',
        "null",
    ):
        path.write_text(text)
        assert read_stamp(path) is None
    assert stamp_file(tmp_path, "train a b") != stamp_file(tmp_path, "train a-b")


def test_digests_tell_what_a_file_is(tmp_path):
    large, table = tmp_path / "a.h5", tmp_path / "t.csv"
    large.write_bytes(b"x" * 10)
    table.write_text("1")
    first = digest_of([large, table], root=tmp_path)
    os.utime(table, ns=(1, 1))
    assert digest_of([table, large], root=tmp_path) == first  # the same content, in another order
    os.utime(large, ns=(1, 1))
    assert digest_of([large, table], root=tmp_path) != first
    assert digest_of([tmp_path / "gone"], root=tmp_path) != digest_of([], root=tmp_path)
    assert digest_of([tmp_path], {"a": 1}, root=tmp_path) != digest_of([tmp_path], {"a": 2}, root=tmp_path)


@pytest.mark.slow
def test_a_step_is_a_process_of_its_own(capfd, root):
    assert step_calls.call_step("splits", ["--study", str(root), "--folds", "2"]) == 0
    assert "$ sarcoma-mil splits --study" in capfd.readouterr().out
    assert (root / "splits" / "default.csv").is_file()
    assert step_calls.call_step("splits", ["--study", str(root), "--folds", "9"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_ends_the_run_ends_its_step(tmp_path, number):
    """No orphan goes on to write."""
    program = tmp_path / "program"
    program.mkdir()
    (program / "__main__.py").write_text(
        "import os, sys, time\nopen(sys.argv[2], 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "from pathlib import Path\nfrom sarcoma_mil.whole import step_calls\nstep_calls.TOLD_AFTER_S = 0.2\n"
        f"step_calls.PROGRAM = Path({str(program)!r})\nstep_calls.call_step('x', [{str(tmp_path / 'pid')!r}])"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    end = time.monotonic() + 30
    while not (pid.is_file() and pid.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    caller.send_signal(number)
    assert caller.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_what_folds_will_stumble_over_is_said_before_any_work(root, monkeypatch):
    said = []
    monkeypatch.setattr(WholeRun, "run", lambda self: said.append("work") or 0)
    assert run_study(RunConfig(study=root), say=said.append) == 0
    text = " ".join(" ".join(said).split())
    assert "subtype A has 3 patient(s), fewer than the 5 folds" in text
    assert f"under make_splits in {root / 'study.yaml'}" in text
    assert said[-1] == "work"
    (root / "study.yaml").write_text("make_splits:\n  folds: 3\n")
    said.clear()
    run_study(RunConfig(study=root), say=said.append)
    assert said == ["work"]
    (root / "study.yaml").unlink()
    (root / "splits").mkdir()
    (root / "splits" / "default.csv").write_text("made")
    said.clear()
    run_study(RunConfig(study=root), say=said.append)
    assert said == ["work"]
