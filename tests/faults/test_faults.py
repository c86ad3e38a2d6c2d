"""Faults of the system, injected: one message, nothing lost, the same bytes after a rerun (benchmarks/faults.py runs hundreds)."""

import re
import shutil
import subprocess
import sys

import pytest

from benchmarks.fault_steps import STEPS, Fault, Ran
from benchmarks.faults import BESIDE, CALLS, differences, judged

NAMES = (*(call[0] for call in CALLS), *BESIDE)

pytestmark = [
    pytest.mark.slow,  # whole scripts, hundreds of processes
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs a compiler and Linux"),
    pytest.mark.timeout(1200),
]


@pytest.mark.parametrize(("steps", "n"), [("tile,export,extract", 16), ("splits,convert,evaluate,explain", 20)])
def test_faults_are_named_and_a_rerun_has_the_bytes_of_a_quiet_run(root, steps, n):
    command = [sys.executable, root / "benchmarks" / "faults.py", "--n", str(n), "--seed", "3", "--steps", steps]
    command += [
        "--faults",
        ",".join(name for name in NAMES if name != "memory ends"),
    ]  # what it does hangs on the machine
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert re.search(rf"^{n} faults, 0 wrong", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("fault", ["short writes", "short reads", "full disk", "stale handle on reading"])
def test_pictures_and_arrays_bear_a_disk_that_fails(root, fault):
    command = [
        sys.executable,
        root / "benchmarks" / "faults.py",
        "--n",
        "4",
        "--seed",
        "1",
        "--steps",
        "export,convert",
    ]
    done = subprocess.run([*command, "--faults", fault], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f"| {fault} | " in done.stdout


class Same:
    """A runner whose study has the right bytes, or not."""

    def __init__(self, is_same):
        self.wanted, self._found = {"tile": {"a": "1"}}, {"a": "1" if is_same else "2"}

    def hashes(self, _):
        return self._found


@pytest.mark.parametrize(
    ("ran", "is_same", "wrong"),
    [
        (Ran(0, "3 slides"), True, []), (Ran(0, "3 slides"), False, ["other bytes"]), (Ran(2, "error: full"), False, []),
        (Ran(2, ""), False, ["without a word"]), (Ran(1, "Traceback (most recent call last)\nValueError"), True, ["traceback"]),
        (Ran(-11, "x"), True, ["exit code -11"]),
    ],
)  # fmt: skip
def test_the_judge_sees_what_is_wrong(ran, is_same, wrong):
    name, kind, number, is_sticky = CALLS[0]
    found = judged(Same(is_same), STEPS["tile"], Fault(name, kind, 1, is_sticky, number), ran)
    assert len(found) == len(wrong) and all(words in own for words, own in zip(wrong, found, strict=True))
    assert differences({"a": "1"}, {"b": "1"}) == ["a is missing", "b is too much"]
