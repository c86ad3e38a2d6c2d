"""A study over Dask workers, tiling to training, prediction and explanation: its files are those of one machine, to the byte."""

import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.dask_machines import Machines
from tests.helpers.tiny_slides import (
    EXPLAIN,
    EXTRACT,
    PREDICT,
    SPLIT,
    TILE,
    TRAIN,
    difference,
    ended,
    make_tiny_study,
    run,
    started,
)

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

ROOT = Path(__file__).resolve().parents[2]
FULL_TRAIN = (*TRAIN, "--learning_curve", "0.5")
# a slide of this name ends the process that tiles it, or never ends
SITE = """
import os, signal, sys, time
if "common" not in sys.modules and os.environ.get("BAD_SLIDES"):
    import importlib.abc, importlib.machinery
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "preprocessing.tiling.tiled_slide":
                return None
            sys.meta_path.remove(self)
            import importlib
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            own = spec.loader.exec_module
            def exec_module(module):
                own(module)
                tile = module.tile_open_slide
                def wrapped(slide, source, origin, config):
                    if origin.slide_id == "S02": os.abort()
                    if origin.slide_id == "S03": os.kill(os.getpid(), signal.SIGKILL)
                    if origin.slide_id == "S05": time.sleep(600)
                    return tile(slide, source, origin, config)
                module.tile_open_slide = wrapped
            spec.loader.exec_module = exec_module
            return spec
    sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a study that this machine made."""
    study = make_tiny_study(tmp_path_factory.mktemp("whole") / "study", 10)
    (study / "slides" / "S07.tif").write_bytes(b"no slide")
    run(*TILE, "--workers", "1", "--study", study, code=1)
    run(*EXTRACT, "--study", study, code=1)
    run(*SPLIT, "--study", study)
    run(*FULL_TRAIN, "--study", study)
    run(*EXPLAIN, "--workers", "0", "--study", study)
    return study


def copied(whole, tmp_path):
    study = make_tiny_study(tmp_path / "study", 10)
    (study / "slides" / "S07.tif").write_bytes(b"no slide")
    return study


def test_a_study_over_workers_is_that_of_one_machine_to_the_byte_and_finds_all_the_second_time(whole, tmp_path):
    study = copied(whole, tmp_path)
    with Machines(tmp_path) as machines:
        own = ("--study", study, "--scheduler", machines.address)
        run(*TILE, *own, code=1)
        run(*EXTRACT, *own, code=1)
        run(*SPLIT, "--study", study)
        run(*FULL_TRAIN, *own)
        run(*EXPLAIN, *own)
        assert difference(whole, study) == []
        model = ("--model", study / "runs" / "subtype" / "default" / "model.safetensors", "--slides", study / "slides")
        run(*PREDICT, *model, "--out", tmp_path / "here", code=1)
        run(*PREDICT, *model, "--out", tmp_path / "there", *own[2:], code=1)
        assert difference(tmp_path / "here", tmp_path / "there") == []
        times = {path: path.stat().st_mtime_ns for path in study.rglob("*.h5")}
        run(*TILE, *own, code=1)
        run(*EXTRACT, *own, code=1)
        assert {path: path.stat().st_mtime_ns for path in study.rglob("*.h5")} == times
        run(*FULL_TRAIN, *own)
        assert difference(whole, study) == []


def test_slides_that_abort_are_killed_or_hang_cost_themselves_only(whole, tmp_path, monkeypatch):
    study = copied(whole, tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    monkeypatch.setattr("tests.helpers.dask_machines.ROOT", f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("BAD_SLIDES", "1")
    with Machines(tmp_path) as machines:
        monkeypatch.delenv("BAD_SLIDES")
        told = run(*TILE, "--timeout_s", "8", "--study", study, "--scheduler", machines.address, code=1)
        assert "4 of 10 slides failed" in told
        assert "the worker process died" in told
        assert "no result within the time limit of 8 s" in told
        assert all(worker.poll() is None for worker in machines.workers)
    unlike = difference(whole, study, "tiles")
    bad = {f"{folder}{slide}.{end}" for slide in ("S02", "S03", "S05")
           for folder, end in (("tiles/", "h5"), ("tiles/", "geojson"), ("tiles/previews/", "jpg"))}  # fmt: skip
    assert set(unlike) - {"tiles/status.csv", "tiles/contact_sheet.html"} == bad


def test_a_scheduler_that_dies_is_told_and_a_rerun_completes(whole, tmp_path):
    study = copied(whole, tmp_path)
    with Machines(tmp_path) as machines:
        own = ("--study", study, "--scheduler", machines.address)
        process = started(*TILE, *own)
        while not list((study / "tiles").glob("*.h5")):
            assert process.poll() is None
            time.sleep(0.02)
        machines.scheduler.send_signal(signal.SIGKILL)
        machines.scheduler.wait()
        code, told = ended(process)
        assert code == 2
        assert "is gone; what was made is kept: start it again" in told
        assert "Traceback" not in told
        assert not (study / ".claims").exists()
        for worker in machines.workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        machines.start_scheduler()
        machines.start_workers()
        run(*TILE, *own, code=1)
    assert difference(whole, study, "tiles") == []


SBATCH = """#!{python}
# runs what is submitted: an array's tasks one after the other, a single job beside
import os, subprocess, sys
words, array, script = sys.argv[1:], [], None
while words:
    word = words.pop(0)
    if word.startswith("--array="):
        first, _, last = word.removeprefix("--array=").partition("-")
        array = range(int(first), int(last or first) + 1)
    elif not word.startswith("--"):
        script, flags, words = word, words, []
environment = {{**os.environ, "SLURM_SUBMIT_DIR": os.getcwd(), "SLURM_JOB_ID": "7", "JOB_ID": "7"}}
print("Submitted batch job 7", flush=True)
if not array:
    with open({log!r}, "ab") as log:
        own = subprocess.Popen(["bash", script, *flags], env=environment, stdout=log, stderr=log, start_new_session=True)
    with open({pids!r}, "a") as file:
        file.write(str(own.pid) + "\\n")
    sys.exit(0)
codes = [subprocess.run(["bash", script, *flags], env=environment | {{"SLURM_ARRAY_TASK_ID": str(task)}}).returncode
         for task in array]
print("codes", *codes, flush=True)
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put commands of Slurm on the path that run what they are given on this machine."""
    commands, pids = tmp_path / "bin", tmp_path / "pids"
    commands.mkdir()
    texts = {
        "sbatch": SBATCH.format(python=sys.executable, log=str(tmp_path / "jobs.log"), pids=str(pids)),
        "scancel": "#!/bin/sh\nexit 0\n",
    }
    for name, text in texts.items():
        (commands / name).write_text(text)
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHON", sys.executable)
    yield commands / "sbatch"
    for pid in pids.read_text().split() if pids.is_file() else []:
        try:
            os.killpg(int(pid), signal.SIGTERM)
        except ProcessLookupError:
            continue


def test_an_array_of_slurm_makes_the_whole(whole, tmp_path, slurm):
    study = copied(whole, tmp_path)
    for step in (TILE, EXTRACT):
        told = run(slurm, "--parsable", "--array=1-3", "docs/cluster/slurm_array.sh", 3, *step, "--study", study)
        codes = told.rsplit("codes ", 1)[1].split()[:3]
        assert set(codes) == {"0", "1"}, told
    assert difference(whole, study, "tiles") == []
    assert difference(whole, study, "features") == []


def test_workers_that_slurm_starts_make_the_whole(whole, tmp_path, slurm):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    study, settings = copied(whole, tmp_path), tmp_path / "slurm.yaml"
    settings.write_text(
        "jobs: 2\ncores: 1\nprocesses: 1\nmemory: 2GB\nwalltime: '00:10:00'\ninterface: lo\n"
        f"local_directory: {tmp_path / 'workers'}\njob_script_prologue: ['export PYTHONPATH={ROOT}', 'cd {ROOT}']\n"
    )
    told = run(*TILE, "--study", study, "--slurm", settings, code=1)
    assert "Traceback" not in told
    assert difference(whole, study, "tiles") == []
