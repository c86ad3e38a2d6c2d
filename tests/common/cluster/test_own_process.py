"""A Dask worker whose pool is lost says so, and goes on with a new one."""

import multiprocessing

import pebble.pool.process as pool_threads
import pytest

from common.cluster import own_process
from common.cluster.own_process import in_own_process
from common.failures import StudyError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]  # processes are started

JOBS = [("a", str.upper, ("a",), 30.0), ("b", str.upper, ("b",), 30.0)]


@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (pool_threads.PoolManager, "update_status", MemoryError()),
        (pool_threads, "launch_thread", RuntimeError("can't start new thread")),
    ],
)
def test_memory_that_ends_what_watches_the_process_is_told_and_the_next_job_is_done(place, name, error):
    def die(*_):
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, die)
        with pytest.raises(StudyError, match=r"the Dask worker on .*: memory ran out; give fewer"):
            in_own_process(JOBS)
    assert [outcome.value for outcome, _ in in_own_process(JOBS)] == ["A", "B"]
    own_process._end()
    own_process._pools.clear()
    del own_process._of_thread.pool
    assert not [own for own in multiprocessing.active_children() if own.name == pool_threads.WORKERS_NAME]
