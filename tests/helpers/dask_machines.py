"""A Dask scheduler and its workers as processes of their own on this machine, and jobs that end badly."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from common.failures import SlideError

ROOT = Path(__file__).resolve().parents[2]


class Machines:
    """A scheduler on the loopback and some workers; a context manager that ends all of them."""

    def __init__(self, folder: Path, n_workers: int = 2, *flags: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder, self._n_workers, self._flags = folder, n_workers, flags or ("--no-nanny",)
        self.scheduler: subprocess.Popen | None = None
        self.workers: list[subprocess.Popen] = []

    def __enter__(self) -> "Machines":
        self.start_scheduler()
        self.start_workers()
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in [*self.workers, self.scheduler]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_scheduler(self) -> None:
        self.scheduler = self._started("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the scheduler does not listen")

    def start_workers(self) -> None:
        place = str(self._folder / "workers")
        more = ("--nthreads", "1", "--host", "127.0.0.1", "--local-directory", place, "--death-timeout", "60")
        self.workers += [
            self._started("dask_worker", self.address, *self._flags, *more) for _ in range(self._n_workers)
        ]

    def _started(self, module: str, *flags: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        with (self._folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *flags], env=environment, stdout=log,
                stderr=log, cwd=self._folder,
            )  # fmt: skip


def end_badly(kind: str) -> str:
    """Abort, be killed, hang, want more memory than there is, or raise."""
    if kind == "abort":
        os.abort()
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)
    if kind == "memory":
        return "x" * (1 << 60)
    if kind == "slide error":
        raise SlideError("found this", "do that")
    return kind.upper()


def written(folder: str, name: str, pause_s: float) -> int:
    """Leave a file that says which process did it."""
    time.sleep(pause_s)
    (Path(folder) / name).write_text(str(os.getpid()))
    return os.getpid()
