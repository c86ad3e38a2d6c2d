"""The benchmarks' rows, promises and table; the figures themselves are taken by `make bench`."""

import contextlib
import re
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks import mutations
from benchmarks.bench import PARTS, Part, main, run_part, table_of, unmeasured
from benchmarks.peers import Peers, checkout, look
from benchmarks.reached_lines import SHARED, Reached
from benchmarks.rows import Row, promises, read_rows

SCRIPTS = sorted({part.script for part in PARTS} | {"bench.py", "peers.py", "faults.py"})


def test_every_key_of_a_row_that_a_script_records_is_promised_or_known_to_be_free(root):
    free = {"limits", "colour.fit", "training.products_other", "tissue.hs2p", "tissue.tiatoolbox"}
    told = set()
    for script in SCRIPTS:
        told |= set(re.findall(r'(?:record|lacking)\(\s*"([a-z0-9_.]+)"', (root / "benchmarks" / script).read_text()))
    assert told - free <= set(promises())
    assert {"tissue.clam", "tissue.reading", "survival.torchsurv", "reading.limit"} <= told


def test_rows_know_whether_their_promise_is_kept():
    assert Row(key="tissue.clam", what="x", ratio=0.6).met == "yes"
    assert Row(key="tissue.clam", what="x", ratio=1.1).met == "no"
    assert Row(key="survival.torchsurv", what="x", ratio=1.1).met == "no"
    assert Row(key="tissue.clam", what="x", missing="no checkout").met == ""
    assert Row(key="limits", what="x", ratio=3.0).met == ""


def test_the_table_has_a_line_for_each_row_and_says_what_is_missing():
    rows = [
        Row(key="tissue.clam", what="tissue | grid", figure="1 s", against="CLAM: 2 s", ratio=0.5),
        Row(key="colour.torchstain", what="colour", missing="no module\nnamed torchstain"),
        Row(key="limits", what="memory", figure="13 GB/s"),
    ]
    lines = table_of(rows).splitlines()
    assert lines[2] == "| tissue / grid | 1 s | CLAM: 2 s | 0.50 | at most 0.7 | yes |"
    assert lines[3] == "| colour | not measured: no module named torchstain |  |  | at least 10 |  |"
    assert lines[4] == "| memory | 13 GB/s |  |  |  |  |"


def test_what_is_promised_and_no_part_measures_is_a_row():
    rows = [Row(key=key, what="x", figure="1") for key in promises() if key != "training.study"]
    (row,) = unmeasured(rows)
    assert (row.key, row.missing) == ("training.study", "by a script of its own")
    assert row.what.startswith("minutes of a study")
    assert str(row.promise) == "at most 1"


def test_a_part_that_fails_is_a_row(tmp_path):
    from dataclasses import replace

    part = replace(PARTS[0], arguments=("--no-such-flag",))
    (row,) = run_part(part, tmp_path, tmp_path / "s.tif")
    assert row.missing == "it ended with code 2"
    (row,) = run_part(replace(PARTS[0], limit_s=0.01), tmp_path, tmp_path / "s.tif")
    assert "not done within" in row.missing


def test_what_a_part_started_ends_with_it(tmp_path, monkeypatch):
    script, told = tmp_path / "part.py", tmp_path / "child"
    script.write_text(
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(told)!r}).write_text(str(child.pid))\n"
        "child.wait()\n"
    )

    class Impatient(subprocess.Popen):
        """Is out of time as soon as the child is there, however busy the machine is."""

        def wait(self, timeout=None):
            while timeout is not None and not (told.is_file() and told.read_text()):
                time.sleep(0.01)
            if timeout is not None:
                raise subprocess.TimeoutExpired(self.args, timeout)
            return super().wait()

    monkeypatch.setattr(subprocess, "Popen", Impatient)
    (row,) = run_part(Part("slow", str(script), (), 3.0), tmp_path, tmp_path / "s.tif")
    assert row.missing == "not done within 3 s"
    child, end = int(told.read_text()), time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):  # or dead, and nobody asked after it
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end, "it goes on"
            time.sleep(0.01)


def test_one_part_after_the_other_fills_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.bench.make_inputs", lambda folder: folder / "s.tif")
    out = tmp_path / "table.md"
    assert main(["--folder", str(tmp_path / "b"), "--only", "limits", "--out", str(out), "--no-install"]) == 0
    assert len(read_rows(tmp_path / "b" / "rows" / "limits.json")) == 3
    assert "memory copied" in out.read_text() and "GB/s" in out.read_text()
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])


def test_peers_that_are_not_there_say_so(tmp_path, monkeypatch):
    assert look(tmp_path) == Peers(None)
    assert Peers(None).lacks("torchstain") == "no environment of peers"
    assert Peers(tmp_path, {"cucim": "no wheel"}).lacks("cucim") == "no wheel"
    monkeypatch.setenv("CLAM", str(tmp_path))
    assert checkout("CLAM") == tmp_path
    monkeypatch.delenv("CLAM")
    assert checkout("CLAM") is None


def test_tests_that_come_to_a_changed_line_go_first_and_quick_ones_before(root):
    reached = Reached(
        costs={
            "a.py::slow": 2.0,
            "a.py::quick": 0.1,
            "b.py::by_fixture": 0.2,
            "b.py::elsewhere": 0.0,
            SHARED + "study": 5.0,
        },
        fixtures={"a.py::slow": [], "a.py::quick": [], "b.py::by_fixture": ["study"], "b.py::elsewhere": []},
        lines={"mil/x.py": {"7": ["a.py::slow", "a.py::quick", SHARED + "study"], "8": [""]}},
    )
    order = reached.order("mil/x.py", [6, 7])
    assert sorted(order, key=order.__getitem__) == ["a.py::quick", "a.py::slow", "b.py::by_fixture", "b.py::elsewhere"]
    order = reached.order("mil/x.py", [8])  # at import: every test comes there
    assert sorted(order, key=order.__getitem__)[0] == "b.py::elsewhere"


def test_a_module_is_tried_with_its_own_tests_and_scripts_with_those_that_name_them(root):
    assert mutations.tests_of("common/tables/patient_table.py") == ("tests/common/tables/test_patient_table.py",)
    assert all("mil/serve.py" in (root / test).read_text() for test in mutations.tests_of("mil/serve.py"))
    assert mutations.tests_of("sarcoma_mil/whole/forecast.py") == ("tests/sarcoma_mil/test_forecast.py",)


def test_every_kind_of_change_is_known(root):
    kinds = {change.kind for path in sorted((root / "splits").glob("*.py")) for change in mutations.changes_of(path)}
    assert kinds >= {"comparison", "sign", "guard", "sort", "axis", "bound"}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_of_the_table_say_how_they_are_called(root, script):
    done = subprocess.run(
        [sys.executable, root / "benchmarks" / script, "--help"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "usage" in done.stdout
