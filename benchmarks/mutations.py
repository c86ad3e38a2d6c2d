"""Single changes of the code, one at a time, against the tests of the changed module: what goes unnoticed lacks a test.

    python benchmarks/mutations.py --n 300 --seed 1 --out survivors.json
    python benchmarks/mutations.py --n 40 --seed 7 --only splits mil/metrics
    python benchmarks/mutations.py --again survivors.json --out still.json        # after tests were added

A seeded sample over all product modules: a comparison turned, a sign, an axis, a guard taken away, a sort left out, a bound
removed. Each change is written into a copy of the project, where the tests of the module run (its own test file; without one,
those that import or name it in the nearest folder that has any; without these, the tests of the modules that import it) until
the first fails, without the slow ones where there are others. A change that no test notices is printed with its place; whether
it is an equivalent of the original is for a reader to say.

Libraries are loaded once and tests run in forks, one at a time. The unchanged tests of a module run once: they tell which of
them come to which line (these go first, quick ones before, then all the others: what a test starts or keeps is not seen), and
set the time after which a change that hangs counts as noticed. This is kept in a folder until the code, the tests or their
helpers change. For machines with fork (Linux, macOS).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # not this folder, whose coverage.py is not the library

from benchmarks.reached_lines import Order, Reached, Watch

STAGES = ("common", "preprocessing", "features", "splits", "mil", "sarcoma_mil")
LIMIT_S = 300  # of one run of tests
NO_TESTS = 5  # pytest's exit code
ANY = "not browser and not gpu"
QUICK = f"not slow and {ANY}"
LIBRARIES = (
    "numpy", "pandas", "torch", "h5py", "scipy.stats", "scipy.ndimage", "scipy.optimize", "sklearn.linear_model",
    "sklearn.metrics", "skimage.color", "PIL.Image", "tifffile", "openslide", "shapely", "lifelines", "sksurv.metrics", "beartype",
    "openpyxl", "pyarrow", "yaml", "coverage", "matplotlib.figure", "skimage.segmentation",
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
    """Return the test files of a module: its own, or those that import or name it, of the nearest folder, or its users'."""
    path = Path(module)
    own = Path("tests") / path.parent / f"test_{path.name}"
    if (ROOT / own).is_file():
        return (str(own),)
    dotted = module.removesuffix(".py").replace("/", ".")
    found = [test for test in _all_tests() if dotted in _imported(test)] or [
        test
        for test in _all_tests()
        if any(name in (ROOT / test).read_text(encoding="utf-8") for name in (module, dotted))
    ]
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


@contextmanager
def copy_of_project() -> Iterator[Path]:
    """Yield a copy of the project in a folder that goes away again."""
    left_out = (".git", ".venv", "study", "__pycache__", ".*_cache")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
        if (ROOT.parent / "shared").is_dir():
            (copy.parent / "shared").symlink_to(ROOT.parent / "shared")
        yield copy


@contextmanager
def changed(copy: Path, change: Change, number: int) -> Iterator[None]:
    """Write a change into the copy and take it back. Compiled files know a source by its time: each change has one of its own."""
    path = copy / change.path
    raw, when = path.read_bytes(), path.stat().st_mtime
    path.write_bytes(raw[: change.start] + change.text.encode() + raw[change.end :])
    os.utime(path, (when + 1 + number, when + 1 + number))
    try:
        yield
    finally:
        path.write_bytes(raw)
        os.utime(path, (when, when))


@dataclass(frozen=True)
class Ended:
    """How a run of tests ended: passed, the test that failed first, seconds."""

    passed: bool
    by: str
    seconds: float
    is_empty: bool  # there were no such tests


def run_tests(copy: Path, tests: tuple[str, ...], plugin: object, limit_s: float, *, slow: bool) -> Ended:
    """Run tests in a fork until the first fails; past the limit they count as failed."""
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _test(copy, tests, plugin, slow=slow)
    late, ended, status = False, 0, 0
    try:
        while not ended and not late:
            time.sleep(0.02)
            ended, status = os.waitpid(pid, os.WNOHANG)
            late = time.monotonic() - start > limit_s
    finally:  # also where this is interrupted
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # and what its tests started
        if not ended:
            os.waitpid(pid, 0)
    failed = re.search(r"^(?:FAILED|ERROR) (.*)", (copy / "tests.log").read_text(errors="replace"), re.MULTILINE)
    by = f"no end in {limit_s:.0f} s" if late and not ended else failed[1] if failed else "no collection"
    code = os.waitstatus_to_exitcode(status) if ended else 1
    return Ended(code == 0, by, time.monotonic() - start, is_empty=code == NO_TESTS)


def _test(copy: Path, tests: tuple[str, ...], plugin: object, *, slow: bool) -> None:
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
            "PYTHONPATH": str(copy),  # scripts that tests start: the copy's, not what is installed
            "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
        }
        sys.path[0] = str(copy)
        import pytest

        options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
        code = pytest.main([*options, "-m", ANY if slow else QUICK], plugins=[plugin])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Maps:
    """What the tests of a module reach when nothing is changed: measured when first asked for, kept in a folder."""

    def __init__(self, copy: Path, folder: Path, *, slow: bool) -> None:
        self.copy, self.folder, self.slow = copy, folder, slow
        self.known: dict[tuple[str, ...], Reached | None] = {}
        self.modules: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for module in _all_modules():
            self.modules[tests_of(str(module))].append(str(module))
        helpers = sorted(path for path in (copy / "tests").rglob("*.py") if not path.name.startswith("test_"))
        product = (*(copy / module for module in _all_modules()), *helpers)
        self.state = hashlib.sha256(b"".join(path.read_bytes() for path in product)).hexdigest()

    def of(self, tests: tuple[str, ...]) -> Reached | None:
        """Return what these tests reach; None where they fail as it is, which is printed."""
        if tests not in self.known:
            self.known[tests] = self._kept(tests)
        return self.known[tests]

    def _kept(self, tests: tuple[str, ...]) -> Reached | None:
        texts = b"".join((self.copy / test).read_bytes() for test in tests)
        key = hashlib.sha256(f"{self.state} {tests} {self.slow}".encode() + texts).hexdigest()[:20]
        file = self.folder / f"{key}.json"
        if not file.is_file():
            made = self.copy.parent / "reached.json"
            watch = Watch(self.copy, self.modules[tests], made, slow=self.slow)
            ended = run_tests(self.copy, tests, watch, LIMIT_S, slow=self.slow)
            if ended.is_empty and not self.slow:  # all are slow
                watch = Watch(self.copy, self.modules[tests], made, slow=True)
                ended = run_tests(self.copy, tests, watch, LIMIT_S, slow=True)
            if not ended.passed:
                print(f"UNCHANGED, these fail: {ended.by}\n{(self.copy / 'tests.log').read_text()}", flush=True)
                return None
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.move(made, file)
        return Reached.read(file)


def room_of(path: str) -> str:
    """Return stage and room of a file; a stage's own files are one room."""
    return "/".join(Path(path).parts[:-1][:2])


def drawn_changes(n: int, seed: int, only: list[str], without: list[str]) -> list[Change]:
    """Draw changes of the files under `only`, in an order that is drawn as well: what is done when time ends is a fair sample."""
    pool = [
        change
        for path in _all_modules()
        if str(path).startswith(tuple(only)) and not str(path).startswith(tuple(without))
        for change in changes_of(ROOT / path)
    ]
    drawn = random.Random(seed).sample(pool, min(n, len(pool)))
    print(f"{len(pool)} changes, {len(drawn)} drawn with seed {seed}", flush=True)
    return drawn


def changes_again(file: Path) -> list[Change]:
    """Return the changes of a file of survivors that still stand where they stood."""
    own = {field.name for field in fields(Change)}
    known = [Change(**{name: row[name] for name in own}) for row in json.loads(file.read_text(encoding="utf-8"))]
    return [each for each in known if (ROOT / each.path).is_file() and each in changes_of(ROOT / each.path)]


def tried_changes(drawn: list[Change], maps: Maps, until: float) -> Iterator[tuple[Change, Ended | None]]:
    """Try one change after the other until the time is over; yield each with how its tests ended, None if there are none."""
    for number, change in enumerate(drawn):
        if time.monotonic() > until:
            return
        tests = tests_of(change.path)
        reached = maps.of(tests) if tests else None
        if reached is None:
            yield change, None
            continue
        lines = range(change.line, change.line + change.old.count("\n") + 1)
        order = Order(reached.order(change.path, lines))
        with changed(maps.copy, change, number):
            yield change, run_tests(maps.copy, tests, order, 20 + 4 * reached.seconds, slow=reached.slow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="no change is begun after these")
    parser.add_argument("--only", nargs="+", default=[""], help="folders or files, such as mil/metrics")
    parser.add_argument("--without", nargs="+", default=[], help="folders or files to leave out")
    parser.add_argument("--again", type=Path, help="a file of survivors: these are tried, nothing is drawn")
    parser.add_argument("--slow", action="store_true", help="slow tests too")
    parser.add_argument("--maps", type=Path, default=Path(tempfile.gettempdir()) / "reached_lines", help="kept maps")
    parser.add_argument("--out", type=Path, default=Path("survivors.json"))
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    if arguments.again is not None:
        drawn = changes_again(arguments.again)
    else:
        drawn = drawn_changes(arguments.n, arguments.seed, arguments.only, arguments.without)
    os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries: forks have one thread
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    survivors: list[dict[str, object]] = []
    tried: dict[str, list[bool]] = defaultdict(list)
    n_left_out = 0
    with copy_of_project() as copy, suppress(KeyboardInterrupt):
        maps = Maps(copy, arguments.maps, slow=arguments.slow)
        for change, ended in tried_changes(drawn, maps, until):
            what = f"{change.path}:{change.line} {change.kind}: {change.old!r} -> {change.text!r}"
            if ended is None:
                n_left_out += 1
                print(f"LEFT OUT {what}", flush=True)
                continue
            tried[room_of(change.path)].append(not ended.passed)
            if ended.passed:
                survivors.append(asdict(change) | {"tests": tests_of(change.path)})
                arguments.out.write_text(json.dumps(survivors, indent=1))
            how = "UNNOTICED" if ended.passed else "noticed"
            print(f"{how} {what} ({ended.seconds:.1f} s{'' if ended.passed else ', ' + ended.by[:150]})", flush=True)
    for room, noticed in sorted(tried.items()):
        print(f"{room}: {sum(noticed)} of {len(noticed)}")
    n_noticed, n_tried = sum(map(sum, tried.values())), sum(map(len, tried.values()))
    print(f"{n_left_out} left out: no tests, or such as fail as it is")
    print(f"noticed {n_noticed} of {n_tried} tried ({n_noticed / max(1, n_tried):.0%})")


if __name__ == "__main__":
    main()
