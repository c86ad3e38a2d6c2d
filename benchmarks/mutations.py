"""Single changes of the code, one at a time, against the tests of the changed module: what goes unnoticed lacks a test.

    python benchmarks/mutations.py --n 300 --seed 1 --out survivors.json
    python benchmarks/mutations.py --n 40 --seed 7 --only splits mil/metrics

A seeded sample over all product modules: a comparison turned, a sign, an axis, a guard taken away, a sort left out, a bound
removed. Each change is written into a copy of the project, where the tests of the module run (its own test file; without one,
those that import it in the nearest folder that has any; without these, the tests of the modules that import it) until the first
fails, without the slow ones where there are others. A change that no test notices is printed with its place; whether it is an
equivalent of the original is for a reader to say.

Libraries are loaded once and tests run in forks; the unchanged tests run first, and set the time after which a change that
hangs counts as noticed. For machines with fork (Linux, macOS).
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("common", "preprocessing", "features", "splits", "mil")
LIMIT_S = 300  # of one run of tests
QUICK = "not slow and not browser and not gpu"
LIBRARIES = (
    "numpy", "pandas", "torch", "h5py", "scipy.stats", "scipy.ndimage", "scipy.optimize", "sklearn.linear_model",
    "sklearn.metrics", "skimage.color", "PIL.Image", "tifffile", "openslide", "shapely", "lifelines", "sksurv.metrics", "beartype",
    "openpyxl", "pyarrow", "yaml",
)  # fmt: skip
TURNED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.In: "not in",
    ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
SIGNS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}


@dataclass(frozen=True)
class Change:
    """One change: characters `start` to `end` of a file become `text`."""

    path: str
    line: int
    kind: str
    start: int
    end: int
    old: str
    text: str


def changes_of(path: Path) -> Iterator[Change]:
    """Yield every single change that this script knows of a file."""
    source = path.read_text(encoding="utf-8")
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    raw = source.encode()

    def change(node: ast.expr, kind: str, text: str) -> Change:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        return Change(str(path.relative_to(ROOT)), node.lineno, kind, start, end, raw[start:end].decode(), f"({text})")

    of = ast.unparse
    for node in _code(ast.parse(source)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            turned = TURNED[type(node.ops[0])]
            yield change(node, "comparison", f"{of(node.left)} {turned} {of(node.comparators[0])}")
        elif isinstance(node, ast.BinOp) and type(node.op) in SIGNS and not _is_text(node):
            yield change(node, "sign", f"({of(node.left)}) {SIGNS[type(node.op)]} ({of(node.right)})")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield change(node, "sign" if isinstance(node.op, ast.USub) else "guard", of(node.operand))
        elif isinstance(node, ast.BoolOp):
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield change(node, "guard", word.join(f"({of(value)})" for value in node.values))
        elif isinstance(node, ast.If) and all(
            isinstance(each, (ast.Raise, ast.Return, ast.Continue)) for each in node.body
        ):
            yield change(node.test, "guard", "False")
        elif isinstance(node, ast.keyword) and node.arg == "axis" and isinstance(node.value, ast.Constant):
            axis = node.value.value
            if axis in (0, 1):
                yield change(node.value, "axis", str(1 - axis))
        elif isinstance(node, ast.Call):
            name = of(node.func)
            if name == "sorted":
                yield change(node, "sort", f"list({of(node.args[0])})")
            elif name in ("min", "max", "np.maximum", "np.minimum") and len(node.args) == 2 and not node.keywords:
                yield change(
                    node, "bound", of(node.args[0] if not isinstance(node.args[0], ast.Constant) else node.args[1])
                )
            elif name == "np.clip":
                yield change(node, "bound", of(node.args[0]))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs: no annotations, no blocks for type checkers."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)) and child is tree.returns:
            continue
        if isinstance(child, ast.arg) or (isinstance(tree, ast.AnnAssign) and child is tree.annotation):
            continue
        yield child
        yield from _code(child)


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


@cache
def tests_of(module: str) -> tuple[str, ...]:
    """Return the test files of a module: its own; without one, those that import it, of the nearest folder; or its users'."""
    path = Path(module)
    own = Path("tests") / path.parent / f"test_{path.name}"
    if (ROOT / own).is_file():
        return (str(own),)
    dotted = module.removesuffix(".py").replace("/", ".")
    found = [test for test in _all_tests() if dotted in _imported(test)]
    for folder in (path.parent, path.parents[-2], Path()):
        near = tuple(str(test) for test in found if test.is_relative_to(Path("tests") / folder))
        if near:
            return near
    users = [user for user in _all_modules() if dotted in _imported(user)]
    return tuple(sorted({test for user in users for test in tests_of(str(user))}))


@cache
def _all_modules() -> tuple[Path, ...]:
    return tuple(path.relative_to(ROOT) for stage in STAGES for path in sorted((ROOT / stage).rglob("*.py")))


@cache
def _all_tests() -> tuple[Path, ...]:
    return tuple(path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py")))


@cache
def _imported(test: Path) -> frozenset[str]:
    """Return what a file imports: modules, and what may be a module of a package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / test).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return frozenset(found)


@dataclass(frozen=True)
class Run:
    """One change under test, in a process of its own."""

    change: Change | None
    tests: tuple[str, ...]
    copy: Path
    pid: int
    start: float


def started(copy: Path, tests: tuple[str, ...], change: Change | None) -> Run:
    """Write the change into the copy and start its tests there."""
    if change is not None:
        raw = (ROOT / change.path).read_bytes()
        (copy / change.path).write_bytes(raw[: change.start] + change.text.encode() + raw[change.end :])
    pid = os.fork()
    if pid == 0:
        _test(copy, tests)
    return Run(change, tests, copy, pid, time.monotonic())


def _test(copy: Path, tests: tuple[str, ...]) -> None:
    """Run the tests in this fork and end it."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        out = os.open(copy / "tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(copy)
        os.environ |= {
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(copy),  # scripts that tests start: the copy's, not what is installed
            "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
        }
        sys.dont_write_bytecode = True
        sys.path[0] = str(copy)
        import pytest

        options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--durations=0", "--hypothesis-seed=0", *tests]
        code = pytest.main([*options, "-m", QUICK])
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:  # all are slow
            code = pytest.main([*options, "-m", "not browser and not gpu"])
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(runs: list[Run], limits: dict[tuple[str, ...], float]) -> tuple[Run, bool]:
    """Wait for the first run that ends or reaches its limit, take its change back; return it, and whether its tests passed."""
    while True:
        for run in runs:
            pid, status = os.waitpid(run.pid, os.WNOHANG)
            late = time.monotonic() - run.start > limits.get(run.tests, LIMIT_S)
            if not pid and not late:
                continue
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)  # and what its tests started
            if not pid:
                os.waitpid(run.pid, 0)
            if run.change is not None:
                shutil.copyfile(ROOT / run.change.path, run.copy / run.change.path)
            runs.remove(run)
            return run, pid != 0 and os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)


def results(jobs: Iterable[tuple[Change | None, tuple[str, ...]]], copies: list[Path], limits: dict) -> Iterator:
    """Run the tests of every change, as many at a time as there are copies; yield run and whether its tests passed."""
    free: list[Path] = list(copies)
    runs: list[Run] = []
    try:
        for change, tests in jobs:
            if not free:
                run, passed = ended(runs, limits)
                free.append(run.copy)
                yield run, passed
            runs.append(started(free.pop(), tests, change))
        while runs:
            yield ended(runs, limits)
    finally:
        for run in runs:  # interrupted
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            os.waitpid(run.pid, 0)


@contextmanager
def copies_of_project(number: int) -> Iterator[list[Path]]:
    """Yield copies of the project in a folder that goes away again."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"copy{job}" / "project" for job in range(number)]
        for copy in copies:
            shutil.copytree(
                ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "study", "__pycache__", ".*_cache")
            )
            if (ROOT.parent / "shared").is_dir():
                (copy.parent / "shared").symlink_to(ROOT.parent / "shared")
        yield copies


def room_of(path: str) -> str:
    """Return stage and room of a file; a stage's own files are one room."""
    return "/".join(Path(path).parts[:-1][:2])


def drawn_changes(n: int, seed: int, only: list[str], without: list[str]) -> list[Change]:
    """Draw changes of the files under `only`, in the order of these."""
    pool = [
        change
        for stage in STAGES
        for path in sorted((ROOT / stage).rglob("*.py"))
        for change in changes_of(path)
        if change.path.startswith(tuple(only)) and not change.path.startswith(tuple(without))
    ]
    drawn = random.Random(seed).sample(pool, min(n, len(pool)))
    print(f"{len(pool)} changes, {len(drawn)} drawn with seed {seed}", flush=True)
    place = {each.path: next(at for at, folder in enumerate(only) if each.path.startswith(folder)) for each in drawn}
    return sorted(drawn, key=lambda change: (place[change.path], change.path, change.line))


def limits_of(kinds: Iterable[tuple[str, ...]], copies: list[Path]) -> dict[tuple[str, ...], float]:
    """Run unchanged tests; return the time, in seconds, that they may take on a change. Those that fail are printed."""
    limits: dict[tuple[str, ...], float] = {}
    for run, passed in results(((None, tests) for tests in kinds), copies, {}):
        if passed:
            limits[run.tests] = min(LIMIT_S, 20 + 4 * (time.monotonic() - run.start))
        else:
            print(f"UNCHANGED, these fail: {' '.join(run.tests)}\n{(run.copy / 'tests.log').read_text()}", flush=True)
    return limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[""], help="folders or files, such as mil/metrics")
    parser.add_argument("--without", nargs="+", default=[], help="folders or files to leave out")
    parser.add_argument("--out", type=Path, default=Path("survivors.json"))
    arguments = parser.parse_args()
    drawn = drawn_changes(arguments.n, arguments.seed, arguments.only, arguments.without)
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    tests = {change.path: tests_of(change.path) for change in drawn}
    survivors: list[dict[str, object]] = []
    tried: dict[str, list[bool]] = defaultdict(list)
    with copies_of_project(arguments.jobs) as copies, suppress(KeyboardInterrupt):
        limits = limits_of(sorted(set(tests.values()) - {()}), copies)
        jobs = [(change, tests[change.path]) for change in drawn if tests[change.path] in limits]
        print(f"{len(drawn) - len(jobs)} left out: no tests, or such as fail", flush=True)
        for run, passed in results(jobs, copies, limits):
            change = run.change
            tried[room_of(change.path)].append(not passed)
            if passed:
                survivors.append(asdict(change) | {"tests": run.tests})
                seconds = time.monotonic() - run.start
                what = f"{change.path}:{change.line} {change.kind}: {change.old!r} -> {change.text!r}"
                print(f"UNNOTICED {what} ({seconds:.0f} s)", flush=True)
                arguments.out.write_text(json.dumps(survivors, indent=1))
    for room, noticed in tried.items():
        print(f"{room}: {sum(noticed)} of {len(noticed)}")
    n_noticed, n_tried = sum(map(sum, tried.values())), sum(map(len, tried.values()))
    print(f"noticed {n_noticed} of {n_tried} tried ({n_noticed / max(1, n_tried):.0%})")


if __name__ == "__main__":
    main()
