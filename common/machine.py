"""What this machine has, processors to work on and memory, and how threads wait on it."""

from __future__ import annotations

import os
from pathlib import Path


def default_workers() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_passively() -> None:
    """Let threads that wait for work sleep, before PyTorch starts; what the user set stays.

    By default they spin, and two trainings at once on two processors take fifteen times as long as one.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def memory_gb() -> float | None:
    """Return the memory this process may use, a container's limit included; None where the system does not say."""
    sizes = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
        sizes.append(int(text))
    return min(sizes) / 1e9 if sizes else None
