"""The second run of a command says who is at work and does nothing; a killed run blocks nobody."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.failures import StudyError
from common.files import UnwritableError
from common.guards import one_at_a_time
from common.guards.one_at_a_time import RunningError, alone, lock_file
from common.sharing.claims import Claims
from features.convert_features import main as convert
from features.extract_features import main as extract
from mil.evaluate import main as evaluate
from mil.train import main as train
from preprocessing.export_tiles import main as export
from preprocessing.make_demo_study import main as paint
from preprocessing.tile_slides import main as tile
from splits.make_splits import main as split
from tests.helpers.feature_study import make_feature_study

ROOT = Path(__file__).resolve().parents[3]
HOLD = (
    "import sys, time; from pathlib import Path; from common.guards.one_at_a_time import alone\n"
    "with alone(Path(sys.argv[1]), *sys.argv[2:], what='own.py'):\n    print('holding', flush=True); time.sleep(60)"
)


def held(folder, *results):
    """Start a process that holds the lock of a result."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *results], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    return process


def shared(folder, result, *, what):
    """Be a run with other settings that lets those with its own share the work."""
    return Claims(folder, {result: "other settings"}, what=what)


def end(process, how=signal.SIGKILL):
    process.send_signal(how)
    process.wait()
    process.stdout.close()


def test_d7_a_second_run_names_the_first_and_a_killed_one_blocks_nobody(tmp_path):
    other = held(tmp_path, "tiles")
    try:
        with pytest.raises(RunningError) as told, alone(tmp_path, "tiles", what="own.py"):
            raise AssertionError
        text = rf"own\.py is running on \S+ already: .* on .*, process {other.pid}, since 20\d\d-\d\d-\d\dT[\d:]+\+.*; nothing"
        assert re.match(text, str(told.value))
        assert "\n" not in str(told.value)
        with alone(tmp_path, "other", what="own.py"):
            pass
    finally:
        end(other)
    assert lock_file(tmp_path, "tiles").is_file()
    with alone(tmp_path, "tiles", what="own.py"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_d7_threads_of_one_process_are_kept_apart_too_and_one_goes_after_the_other(tmp_path, monkeypatch):
    inside, refused = [], []

    def work():
        for _ in range(50):
            try:
                with alone(tmp_path, "tiles", what="own.py"):
                    inside.append(1)
                    assert len(inside) == 1
                    inside.pop()
            except RunningError:
                refused.append(1)

    monkeypatch.setattr(one_at_a_time, "LOOKS", 1)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not inside
    assert list(tmp_path.iterdir()) == []


def test_d7_folders_made_for_the_lock_go_where_they_stay_empty(tmp_path):
    with pytest.raises(StudyError), alone(tmp_path / "a" / "b", "x", what="own.py"):
        raise StudyError("wrong")
    assert not (tmp_path / "a").exists()
    with alone(tmp_path / "a", "x", what="own.py"):
        (tmp_path / "a" / "result").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


def test_d7_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UnwritableError, match=r"/a cannot be written"), alone(tmp_path / "a", "x", what="own.py"):
        raise AssertionError


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_d7_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys, number):
    import fcntl

    def without(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", without)
    with alone(tmp_path, "tiles", what="own.py"):
        pass
    assert "takes no locks" in capsys.readouterr().err


def test_d7_every_command_that_writes_refuses_while_its_result_is_written(tmp_path, capsys):
    study = make_feature_study(tmp_path / "study", n_patients=12)
    (study.slides).mkdir()
    study.tiles.mkdir()
    own = ["--study", str(study.root)]
    locks = (
        (lambda: paint([*own, "--patients", "2"]), study.root, "slides", alone),
        (lambda: tile(own), study.root, "tiles", shared),
        (lambda: export([*own, "--out", str(tmp_path / "out")]), tmp_path / "out", "export", alone),
        (
            lambda: convert([*own, "--to", "clam", "--out", str(tmp_path / "clam")]),
            tmp_path / "clam",
            "features",
            alone,
        ),
        (lambda: split(own), study.root, "splits default", alone),
        (lambda: train([*own, "--task", "survival"]), study.root, "run survival default", shared),
        (lambda: evaluate([*own, "--task", "survival"]), study.root, "run survival default", alone),
        (lambda: evaluate([*own, "--task", "survival"]), study.root, "run survival default", shared),
    )
    for run, folder, result, kept_off in locks:
        before = sorted(study.root.rglob("*"))
        with kept_off(folder, result, what="own.py"):
            assert run() == 2, result
        told = capsys.readouterr()
        assert told.out == ""
        assert re.fullmatch(r"error: own\.py is running on .*\n", told.err), result
        assert sorted(study.root.rglob("*")) == before


def test_d7_another_encoder_or_run_is_not_kept_off(tmp_path, capsys):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    table = tmp_path / "key.csv"
    table.write_text("patient_ID,Path,Label\nA,a.png,x\n")
    (tmp_path / "a.png").touch()  # a table none of whose images is there is refused before anything is locked
    own = ["--study", str(tmp_path / "new"), "--tiles", str(table), "--encoder", "efficientnet_lite0"]
    (tmp_path / "new").mkdir()
    with shared(tmp_path / "new", "features of efficientnet_lite0", what="own.py"):
        assert extract(own) == 2
    assert "own.py is running" in capsys.readouterr().err
    with (
        shared(study.root, "run survival default", what="own.py"),
        alone(study.root, "splits other", what="own.py"),
    ):
        assert split(["--study", str(study.root)]) == 0


@pytest.mark.slow
def test_d7_two_painters_at_once_leave_what_one_leaves(tmp_path):
    command = [sys.executable, "preprocessing/make_demo_study.py", "--patients", "2", "--workers", "1", "--study"]
    both = [
        subprocess.Popen(
            [*command, str(tmp_path / "s")], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=200) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), told
    assert all("Traceback" not in err for _, err in told)
    assert not list((tmp_path / "s").rglob(".*"))


def test_d7_an_ended_run_gives_way_at_once(tmp_path):
    other = held(tmp_path, "tiles")
    end(other, signal.SIGTERM)
    start = time.monotonic()
    with alone(tmp_path, "tiles", what="own.py"):
        pass
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(("number", "is_said"), [(errno.EROFS, True), (errno.EACCES, True), (errno.EIO, False)])
def test_d7_a_folder_that_takes_no_file_is_said_and_a_broken_disk_is_an_error(
    tmp_path, monkeypatch, capsys, number, is_said
):
    own_open = os.open

    def refusing(path, *given, **more):
        if ".running-" in str(path):
            raise OSError(number, os.strerror(number))
        return own_open(path, *given, **more)

    monkeypatch.setattr(os, "open", refusing)
    if not is_said:
        with pytest.raises(OSError, match=os.strerror(number)), alone(tmp_path, "tiles", what="own.py"):
            raise AssertionError
        return
    with alone(tmp_path, "tiles", what="own.py"):
        pass
    assert f"takes no locks ({os.strerror(number)})" in capsys.readouterr().err
