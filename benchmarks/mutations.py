"""Single changes of the code, one at a time, against the tests of the changed module: what goes unnoticed lacks a test.

    python benchmarks/mutations.py --n 300 --seed 1 --out survivors.json

A seeded sample over all product modules: a comparison turned, a sign, an axis, a guard taken away, a sort left out, a bound
removed. Each change is written into a copy of the project, where the tests of the module run (its own test file; without one,
those that import it in the nearest folder that has any) until the first fails. A change that no test notices is printed with
its place; whether it is an equivalent of the original is for a reader to say.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("common", "preprocessing", "features", "splits", "mil")
LIMIT_S = 240  # of one change's tests; one that hangs is noticed
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


def tests_of(module: str) -> list[str]:
    """Return the test files of a module: its own; without one, those that import it, of the nearest folder that has any."""
    path = Path(module)
    own = Path("tests") / path.parent / f"test_{path.name}"
    if (ROOT / own).is_file():
        return [str(own)]
    dotted = module.removesuffix(".py").replace("/", ".")
    found = [test for test in _all_tests() if dotted in _imported(test)]
    for folder in (path.parent, path.parents[-2], Path()):
        near = [str(test) for test in found if test.is_relative_to(Path("tests") / folder)]
        if near:
            return near
    room = ROOT / "tests" / path.parent
    return [str(room.relative_to(ROOT))] if room.is_dir() and list(room.glob("test_*.py")) else []


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


def is_noticed(copy: Path, change: Change, tests: list[str]) -> bool:
    """Write the change into the copy, run the tests, take it back."""
    target = copy / change.path
    before = target.read_bytes()
    target.write_bytes(before[: change.start] + change.text.encode() + before[change.end :])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--durations=0",
        *tests,
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".h"),
    }
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
        return run.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        target.write_bytes(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="a folder or file, such as mil/metrics")
    parser.add_argument("--out", type=Path, default=Path("survivors.json"))
    arguments = parser.parse_args()
    files = [path for stage in STAGES for path in sorted((ROOT / stage).rglob("*.py"))]
    pool = [
        change
        for path in files
        if str(path.relative_to(ROOT)).startswith(arguments.only)
        for change in changes_of(path)
    ]
    drawn = random.Random(arguments.seed).sample(pool, min(arguments.n, len(pool)))
    print(f"{len(pool)} changes of {len(files)} files, {len(drawn)} drawn with seed {arguments.seed}", flush=True)
    copies: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        for job in range(arguments.jobs):
            copy = Path(folder) / f"copy{job}" / "project"
            shutil.copytree(
                ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "study", "__pycache__", ".*_cache")
            )
            if (ROOT.parent / "shared").is_dir():
                (copy.parent / "shared").symlink_to(ROOT.parent / "shared")
            copies.put(copy)

        def run(change: Change) -> tuple[Change, bool | None, float]:
            tests, start, copy = tests_of(change.path), time.monotonic(), copies.get()
            try:
                noticed = is_noticed(copy, change, tests) if tests else None
            finally:
                copies.put(copy)
            return change, noticed, time.monotonic() - start

        survivors, n_noticed = [], 0
        with ThreadPoolExecutor(arguments.jobs) as threads:
            for number, (change, noticed, seconds) in enumerate(threads.map(run, drawn), start=1):
                n_noticed += bool(noticed)
                print(f"{number}/{len(drawn)}", end="\r", file=sys.stderr, flush=True)
                if not noticed:
                    survivors.append(asdict(change) | {"tests": tests_of(change.path)})
                    print(
                        f"UNNOTICED {change.path}:{change.line} {change.kind}: {change.old!r} -> {change.text!r} ({seconds:.0f} s)",
                        flush=True,
                    )
                    arguments.out.write_text(json.dumps(survivors, indent=1))
    print(f"noticed {n_noticed} of {len(drawn)} ({n_noticed / len(drawn):.0%})")


if __name__ == "__main__":
    main()
