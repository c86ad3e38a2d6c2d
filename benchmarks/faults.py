"""Hundreds of injected faults: what each step says of them, and whether a rerun ends with the bytes of a quiet run.

    python benchmarks/faults.py --n 400 --seed 1 [--steps tile,train] [--table docs/faults.md]

Faults: every call of the system that a full, failing or shared disk lets fail (write, create, rename, fsync, open, read: ENOSPC,
EDQUOT, EIO, ESTALE, EROFS, EINTR), short reads and writes, a clock that goes back, memory that ends, kills and hangs of parents and
workers, a slide replaced while it is read, two runs at once, a folder that takes no files. After each: the run ended by itself,
with a message and no traceback, or with the right bytes; run again it ends with 0 and the bytes of a run without a fault, and
leaves nothing behind. A compiler is needed for the first kinds (benchmarks/fault_shim.c).
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.fault_steps import STEPS, Fault, Ran, Runner, Step, compile_shim

SHARED_MEMORY = Path("/dev/shm")
HARMLESS = ("short_read", "short_write", "clock", "EINTR")  # nothing may come of them
CALLS = (
    ("full disk", "write", errno.ENOSPC, True), ("full disk for a moment", "write", errno.ENOSPC, False),
    ("quota", "write", errno.EDQUOT, True), ("write error", "write", errno.EIO, False),
    ("disk that became read-only", "create", errno.EROFS, True), ("folder closed", "create", errno.EACCES, True),
    ("flush error", "fsync", errno.EIO, False), ("rename refused", "rename", errno.EACCES, False),
    ("rename on a full disk", "rename", errno.ENOSPC, False), ("stale handle on opening", "open", errno.ESTALE, False),
    ("error on opening", "open", errno.EIO, True), ("read error", "read", errno.EIO, False),
    ("read errors from here on", "read", errno.EIO, True), ("stale handle on reading", "read", errno.ESTALE, False),
    ("EINTR on reading", "read", errno.EINTR, False), ("short reads", "short_read", 0, True),
    ("short writes", "short_write", 0, True), ("clock goes back", "clock", 0, True),
)  # fmt: skip
BESIDE = ("kill of the parent", "kill of all", "kill of a worker", "worker aborted", "worker hangs", "memory ends",
          "two runs at once", "slide replaced", "folder without leave to write", "Ctrl-C")  # fmt: skip


def drawn(step: Step, seconds: float, rng: random.Random, wanted: Sequence[str]) -> Fault:
    """Draw a fault for a step that takes so many seconds, of these names."""
    beside = [name for name in BESIDE if name in wanted and _fits(name, step)]
    calls = [call for call in CALLS if call[0] in wanted]
    if calls and (not beside or rng.random() < 0.7):
        name, kind, number, is_sticky = rng.choice(calls)
        nth = 1 + int(rng.expovariate(1 / 12)) if kind not in ("rename", "fsync") else rng.randint(1, 6)
        part = step.reads if kind in ("read", "open", "short_read") else ""
        return Fault(name, kind, nth, is_sticky, number, part)
    name = rng.choice(beside)
    if name == "memory ends":
        return Fault(name, "memory", nth=rng.choice((8, 24, 64, 128)))
    return Fault(name, name, after_s=max(0.01, rng.uniform(0, seconds)))


def _fits(name: str, step: Step) -> bool:
    has_workers = step.name in ("tile by workers", "extract", "explain by workers")
    if name in ("kill of a worker", "worker aborted", "worker hangs"):
        return has_workers
    if name == "slide replaced":
        return step.base in ("slides", "tiled")
    return name != "folder without leave to write" or os.geteuid() != 0  # root writes anywhere


def strike(runner: Runner, step: Step, fault: Fault) -> list[str]:
    """Inject one fault, look at what came of it, run the step again, and return what was wrong."""
    runner.reset(step)
    shared = set(SHARED_MEMORY.iterdir())
    ran = runner.run(step, fault) if fault.kind == "memory" or not fault.after_s else beside(runner, step, fault)
    faults = list(ran.faults) + judged(runner, step, fault, ran)
    for path in (runner.study, *runner.study.rglob("*")):
        path.chmod(path.stat().st_mode | 0o700)
    again = runner.run(step)
    if again.code != 0:
        faults.append(f"rerun ends with {again.code}: {again.said.strip().splitlines()[-1:]}")
    faults += again.faults + differences(runner.wanted[step.name], runner.hashes(step))
    faults += [f"left behind: {name}" for name in runner.left_behind()]
    left = {path.name for path in set(SHARED_MEMORY.iterdir()) - shared if not path.name.startswith("sem.")}
    faults += [f"left in memory: {name}" for name in sorted(left - in_use(left))]
    return faults


def in_use(names: set[str]) -> set[str]:
    """Return which of these pieces of shared memory a process has: others may be at work beside."""
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps") if names else ():
        with suppress(OSError):
            text = maps.read_text(encoding="utf-8", errors="replace")
            found |= {name for name in names if f"{SHARED_MEMORY}/{name}" in text}
    return found


def judged(runner: Runner, step: Step, fault: Fault, ran: Ran) -> list[str]:
    """Return what is wrong with how a run under a fault ended."""
    faults = []
    is_killed = fault.kind in ("kill of the parent", "kill of all")
    if "Traceback" in ran.said and not is_killed:
        trace = ran.said.partition("Traceback")[2].strip().splitlines()
        faults.append(f"traceback: {' / '.join(line.strip() for line in trace[-9:])[-900:]}")
    if ran.code not in (0, 1, 2, 130) and not is_killed:
        faults.append(f"exit code {ran.code}")
    if ran.code in (1, 2) and not ran.said.strip():
        faults.append(f"exit code {ran.code} without a word")
    if ran.code == 0 and fault.kind != "slide replaced":
        faults += [
            f"{words}, though it said that all is well"
            for words in differences(runner.wanted[step.name], runner.hashes(step))
        ]
    if ran.code != 0 and (fault.kind in HARMLESS or fault.number == errno.EINTR):
        faults.append(f"harmless, but exit code {ran.code}: {ran.said.strip().splitlines()[-1:]}")
    return faults


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    names = sorted(wanted.keys() | found.keys())
    kinds = {(True, False): "is missing", (False, True): "is too much", (True, True): "has other bytes"}
    return [f"{name} {kinds[name in wanted, name in found]}" for name in names if wanted.get(name) != found.get(name)][
        :5
    ]


def beside(runner: Runner, step: Step, fault: Fault) -> Ran:
    """Let a step begin, do something to it or beside it, and wait for its end."""
    import psutil

    if fault.kind == "folder without leave to write":
        runner.study.chmod(0o500)
        return runner.run(step)
    child, said = runner.begin(step)
    end = time.monotonic() + fault.after_s
    while time.monotonic() < end and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.005)
    other: Ran | None = None
    if fault.kind == "two runs at once":
        other = runner.run(step)
    elif fault.kind == "slide replaced":
        shutil.copyfile(runner.study / "slides" / "S1.tif", runner.study / "slides" / "S0.new")
        (runner.study / "slides" / "S0.new").replace(runner.study / "slides" / "S0.tif")
    elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        _signal(fault.kind, psutil.Process(child))
    ran = runner.end(child, said)
    if other is not None and other.code == 2 and "is running on" not in other.said:
        ran.faults.append(f"the second run says {other.said.strip()[-200:]!r}")
    if other is not None and other.code not in (0, 2):
        ran.faults.append(f"the second run ends with {other.code}")
    if fault.kind == "slide replaced":  # the study as it was, for the rerun
        shutil.copyfile(runner.folder / "bases" / step.base / "slides" / "S0.tif", runner.study / "slides" / "S0.tif")
    return ran


def _signal(kind: str, process: object) -> None:
    import psutil

    assert isinstance(process, psutil.Process)
    if kind in ("kill of the parent", "kill of all"):
        (os.killpg if kind == "kill of all" else os.kill)(process.pid, signal.SIGKILL)
        return
    if kind == "Ctrl-C":
        process.send_signal(signal.SIGINT)
        return
    workers = [own for own in process.children(recursive=True) if not any("tracker" in word for word in own.cmdline())]
    sign = {"kill of a worker": signal.SIGKILL, "worker aborted": signal.SIGABRT, "worker hangs": signal.SIGSTOP}[kind]
    for worker in workers[:1]:
        worker.send_signal(sign)


def table_of(counts: dict[str, Counter[str]], n_wrong: dict[str, Counter[str]]) -> list[str]:
    """Return faults and steps as the lines of a table; wrong ones stand behind a slash."""
    steps = list(counts)
    names = [
        name
        for name in dict.fromkeys([*(call[0] for call in CALLS), *BESIDE])
        if any(counts[step][name] for step in steps)
    ]
    lines = [f"| fault | {' | '.join(steps)} |", f"|---|{'---|' * len(steps)}"]
    for name in names:
        cells = [f"{counts[step][name]} / {n_wrong[step][name]}" if counts[step][name] else "" for step in steps]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    total = [f"{counts[step].total()} / {n_wrong[step].total()}" for step in steps]
    return [*lines, f"| together | {' | '.join(total)} |"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default="", help="names with commas; unset: all")
    parser.add_argument("--faults", default="", help="names with commas; unset: all")
    parser.add_argument("--table", type=Path, help="file between whose two marks the table is written")
    parser.add_argument("--minutes", type=float, default=1e9, help="no fault is begun after so long")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes that share the faults, of seeds one after the other"
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            library = compile_shim(Path(folder))
            if library is None:
                sys.exit("no compiler here, or no Linux: faults of the system's calls cannot be injected")
            own = dict(os.environ, LD_PRELOAD=str(library), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
            return shared_out(arguments, Path(folder), own)
    (arguments.folder / "counts.json").write_text(json.dumps(struck(arguments)))
    return 0


def shared_out(arguments: argparse.Namespace, folder: Path, environment: dict[str, str]) -> int:
    """Run the jobs, and write one table of all."""
    jobs = []
    for job in range(arguments.jobs):
        place = folder / f"job{job}"
        place.mkdir()
        n = arguments.n // arguments.jobs + (job < arguments.n % arguments.jobs)
        own = [
            "--n",
            str(n),
            "--seed",
            str(arguments.seed + job),
            "--minutes",
            str(arguments.minutes),
            "--folder",
            str(place),
        ]
        command = [sys.executable, __file__, *own, "--steps", arguments.steps, "--faults", arguments.faults]
        jobs.append((place, subprocess.Popen(command, env=environment)))
    counts: dict[str, Counter[str]] = {}
    n_wrong: dict[str, Counter[str]] = {}
    for place, process in jobs:
        if process.wait():
            sys.exit(f"a job ended with code {process.returncode}")
        for total, told in zip((counts, n_wrong), json.loads((place / "counts.json").read_text()), strict=True):
            for step, own_counts in told.items():
                total.setdefault(step, Counter()).update(own_counts)
    lines = table_of(counts, n_wrong)
    n, wrong = sum(own.total() for own in counts.values()), sum(own.total() for own in n_wrong.values())
    seeds = ", ".join(str(arguments.seed + job) for job in range(arguments.jobs))
    print("\n".join([*lines, f"{n} faults, {wrong} wrong; seed {seeds}"]))
    if arguments.table is not None:
        text = arguments.table.read_text(encoding="utf-8")
        start, end = "<!-- table -->\n", "<!-- end -->"
        before, after = text.partition(start)[0], text.partition(end)[2]
        words = f"{n} faults of seed {seeds}, {time.strftime('%Y-%m-%d')}; faults / wrong outcomes:\n\n"
        arguments.table.write_text(before + start + words + "\n".join(lines) + "\n" + end + after, encoding="utf-8")
    return 1 if wrong else 0


def struck(arguments: argparse.Namespace) -> list[dict[str, Counter[str]]]:
    """Inject the faults of one job; return how many of each kind, and how many of these went wrong, by step."""
    rng, started = random.Random(arguments.seed), time.monotonic()
    names = arguments.steps.split(",") if arguments.steps else list(STEPS)
    runner, seconds = Runner(arguments.folder), {}
    runner.make_bases(names)
    for name in names:
        runner.reset(STEPS[name])
        began = time.monotonic()
        runner.run(STEPS[name])
        seconds[name] = time.monotonic() - began
    print(", ".join(f"{name} {took:.1f} s" for name, took in seconds.items()), flush=True)
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    n_wrong: dict[str, Counter[str]] = {name: Counter() for name in names}
    wanted = arguments.faults.split(",") if arguments.faults else [*(call[0] for call in CALLS), *BESIDE]
    weights = [(0.5 + seconds[name]) ** -1.5 for name in names]  # most of what is quick
    for _ in range(arguments.n):
        if time.monotonic() - started > arguments.minutes * 60:
            break
        name = rng.choices(names, weights)[0]
        fault = drawn(STEPS[name], seconds[name], rng, wanted)
        counts[name][fault.name] += 1
        if found := strike(runner, STEPS[name], fault):
            n_wrong[name][fault.name] += 1
            print(
                f"{name}, {fault.name} (call {fault.nth}, {fault.part}, after {fault.after_s:.2f} s):",
                *found,
                sep="\n    ",
                flush=True,
            )
    return [counts, n_wrong]


if __name__ == "__main__":
    sys.exit(main())
