"""Jobs on Dask workers fail as they do on one machine: each alone; a worker or scheduler that dies loses nothing."""

import importlib.util
import os
import signal
import threading
import time

import pytest

from common.cluster import dask_engine as engine_module
from common.cluster.cluster_settings import EngineConfig, SharedConfig
from common.cluster.engine import engine_of
from common.failures import StudyError
from common.parallel import over_slides
from tests.helpers.dask_machines import Machines, end_badly, written

pytest.importorskip("distributed", reason="Dask is not installed")
slow = pytest.mark.slow  # seconds a test: processes that start processes
quiet = pytest.mark.filterwarnings("default")  # of tornado's and asyncio's own making


def outcomes(address, function, jobs, timeout_s=60.0):
    with engine_of(EngineConfig(scheduler=address)) as engine:
        return list(over_slides(function, jobs, workers=1, timeout_s=timeout_s, title="test", engine=engine))


@slow
@quiet
def test_every_other_job_is_done_in_order_and_no_worker_dies(tmp_path):
    kinds = ["a", "abort", "b", "hang", "kill", "c", "memory", "slide error", "d"]
    jobs = [(f"{index} {kind}", (kind,)) for index, kind in enumerate(kinds)]
    with Machines(tmp_path) as machines:
        by_dask = outcomes(machines.address, end_badly, jobs, timeout_s=5.0)
        assert all(worker.poll() is None for worker in machines.workers)
    here = list(over_slides(end_badly, jobs, workers=2, timeout_s=5.0, title="test"))
    assert [own.name for own in by_dask] == [name for name, _ in jobs]
    assert [own.value for own in by_dask] == [own.value for own in here]
    assert [str(own.error) for own in by_dask] == [str(own.error) for own in here]
    reasons = {own.name.split(" ", 1)[1]: own.error.reason for own in by_dask if own.error}
    assert "died" in reasons["abort"]
    assert "died" in reasons["kill"]
    assert "time limit of 5 s" in reasons["hang"]
    assert "memory ran out" in reasons["memory"]
    assert reasons["slide error"] == "found this"


@slow
@quiet
def test_a_worker_that_is_killed_loses_no_job(tmp_path):
    jobs = [(f"s{number}", (str(tmp_path), f"s{number}", 0.4)) for number in range(16)]
    with Machines(tmp_path) as machines:
        killer = threading.Thread(target=kill_after, args=(machines.workers[0], tmp_path, 4))
        killer.start()
        found = outcomes(machines.address, written, jobs)
        killer.join()
        assert machines.workers[0].poll() is not None
        assert machines.workers[1].poll() is None
    assert all(own.error is None for own in found)
    assert sum((tmp_path / name).is_file() for name, _ in jobs) == 16


def kill_after(process, folder, n_files):
    while len(list(folder.glob("s*"))) < n_files:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)


@slow
@quiet
def test_a_scheduler_that_is_killed_ends_the_loop_with_a_message_and_no_orphan(tmp_path):
    jobs = [(f"s{number}", (str(tmp_path), f"s{number}", 0.4)) for number in range(40)]
    with Machines(tmp_path) as machines:
        killer = threading.Thread(target=kill_after, args=(machines.scheduler, tmp_path, 4))
        killer.start()
        with pytest.raises(
            StudyError, match=r"the Dask scheduler tcp://\S+ is gone; what was made is kept: start it again"
        ):
            outcomes(machines.address, written, jobs)
        killer.join()
    pids = {int((tmp_path / name).read_text()) for name, _ in jobs if (tmp_path / name).is_file()}
    for _ in range(100):
        if not any(is_running(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@slow
@quiet
def test_a_worker_under_a_nanny_is_refused(tmp_path):
    with Machines(tmp_path, 1, "--nanny") as machines, pytest.raises(StudyError, match=r"under a nanny .*--no-nanny"):
        outcomes(machines.address, end_badly, [("a", ("a",))])


@slow
@quiet
def test_where_nobody_answers_that_is_said(monkeypatch):
    monkeypatch.setattr(engine_module, "CONNECT_S", 1.0)
    with pytest.raises(StudyError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 \("):
        outcomes("tcp://127.0.0.1:9", end_badly, [])


@pytest.mark.parametrize("options", [{"scheduler": "tcp://127.0.0.1:9"}, {"slurm": "FILE"}])
def test_a_missing_package_is_one_message_with_the_command(monkeypatch, tmp_path, options):
    file = tmp_path / "slurm.yaml"
    file.write_text("jobs: 1\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    given = {name: file if value == "FILE" else value for name, value in options.items()}
    with (
        pytest.raises(StudyError, match=r"which is not installed: pip install .*\[cluster\]"),
        engine_of(EngineConfig(**given)),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "jobs is a number from 1, got None"),
        ("jobs: 0", "jobs is a number from 1, got 0"),
        ("jobs: true", "jobs is a number from 1"),
        ("- a", "wanted `jobs`"),
        ("jobs: 2\nnanny: true", "nanny is false"),
        ("jobs: 2\ncoers: 1", "'coers' is no setting of SLURMCluster; the nearest is cores"),
        ("jobs: 2\ncores: 1\nprocesses: 1", "memory of a job is missing"),
    ],
)
def test_settings_for_slurm_that_are_wrong_are_refused(tmp_path, text, told):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    file = tmp_path / "slurm.yaml"
    file.write_text(text)
    with pytest.raises(StudyError, match=told), engine_of(EngineConfig(slurm=file)):
        raise AssertionError
    with pytest.raises(StudyError, match="no such file"), engine_of(EngineConfig(slurm=tmp_path / "none.yaml")):
        raise AssertionError


def test_options_that_are_wrong_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not both"):
        EngineConfig(scheduler="tcp://a:1", slurm=tmp_path).check_cluster()
    with pytest.raises(ValueError, match="--scheduler is an address"):
        EngineConfig(scheduler="node1").check_cluster()
    with pytest.raises(ValueError, match="--shard is a part"):
        SharedConfig(shard="0/2").check_cluster()


def test_without_options_this_machine_does_the_work():
    with engine_of(EngineConfig()) as engine:
        assert engine is None


def quick_or_dead(number: int) -> int:
    if number % 10 == 7:
        os.abort()
    return number


@slow
@quiet
def test_quick_jobs_go_together_and_one_that_aborts_takes_no_other_along(tmp_path, monkeypatch):
    sizes, own = [], engine_module.in_own_process
    with Machines(tmp_path, 1) as machines, engine_of(EngineConfig(scheduler=machines.address)) as engine:
        submit = engine._client.submit

        def counted(function, jobs, **options):
            assert function is own
            sizes.append(len(jobs))
            return submit(function, jobs, **options)

        monkeypatch.setattr(engine._client, "submit", counted)
        jobs = [(str(number), (number,)) for number in range(120)]
        found = list(over_slides(quick_or_dead, jobs, workers=1, timeout_s=60, title="test", engine=engine))
    assert [outcome.value for outcome in found if outcome.error is None] == [n for n in range(120) if n % 10 != 7]
    assert all("died" in outcome.error.reason for outcome in found if outcome.error is not None)
    assert sizes[0] == 1  # nothing is known of them yet
    assert max(sizes) > 1
    assert sum(sizes) == 120


def test_workers_are_counted_now_and_then_and_each_time_while_there_are_none(monkeypatch, capsys):
    class Scheduler:
        threads, n_asked = {}, 0

        def nthreads(self):
            self.n_asked += 1
            return self.threads

    client, clock = Scheduler(), [100.0]
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: clock[0])
    engine = engine_module.DaskEngine(client, "tcp://a:1")
    assert [engine.n_ahead(), engine.n_ahead()] == [1, 1]
    assert client.n_asked == 2
    assert capsys.readouterr().err == "tcp://a:1 has no worker yet; waiting for the first\n"  # once
    client.threads = {"one": 1, "other": 2}
    assert engine.n_ahead() == 3 * engine_module.AHEAD
    client.threads = {"one": 1}
    for clock[0], wanted, n_asked in ((100 + engine_module.COUNT_S, 3, 3), (100.01 + engine_module.COUNT_S, 1, 4)):
        assert engine.n_ahead() == wanted * engine_module.AHEAD
        assert client.n_asked == n_asked
    for _ in range(engine_module.MAX_BUNDLE):
        engine.note(engine_module.BUNDLE_S / 4)
    assert engine.n_ahead() == 4 * engine_module.AHEAD  # four at a time
