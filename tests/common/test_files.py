"""What a full, read-only or closed disk does: one message that names the file, exit 2, and no partial file stays."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from common import files
from common.arrays import write_arrays
from common.failures import command
from common.files import UnwritableError, replacing, write_json, write_table, write_text
from common.parallel import over_slides

REASONS = {errno.ENOSPC: "No space left", errno.EROFS: "Read-only file system", errno.EACCES: "Permission denied"}


PROGRAM = """import os, sys, time
from pathlib import Path
from common.files import replacing
with replacing(Path(sys.argv[1])) as p:
    """


def refusing(number):
    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize("at", ["write", "sync", "rename", "folder"])
@pytest.mark.parametrize("kind", ["text", "json", "table", "arrays"])
def test_d6_a_disk_that_takes_no_file_is_one_message_and_exit_2(tmp_path, monkeypatch, capsys, number, at, kind):
    path = tmp_path / "sub" / "a.out"
    writers = {
        "text": lambda: write_text(path, "x"), "json": lambda: write_json(path, [1]),
        "table": lambda: write_table(path, ["a"], [[1]]), "arrays": lambda: write_arrays(path, {"a": np.zeros(3)}, {}),
    }  # fmt: skip
    places = {
        "write": (Path, "open"),
        "sync": (files.os, "fsync"),
        "rename": (Path, "replace"),
        "folder": (Path, "mkdir"),
    }
    if at == "write" and kind == "arrays":
        monkeypatch.setattr(h5py, "File", refusing(number))
    else:
        monkeypatch.setattr(*places[at], refusing(number))

    @command
    def main(_argv=None):
        writers[kind]()
        return 0

    assert main([]) == 2
    said = capsys.readouterr().err
    monkeypatch.undo()
    assert said.startswith(f"error: {path} cannot be written ({REASONS[number]}")
    assert said.count("\n") == 1
    assert ("bytes are free" in said) == (number == errno.ENOSPC)
    assert not list(tmp_path.rglob("*.*"))


def test_d6_an_error_that_hdf5_tells_as_text_is_the_systems(tmp_path):
    with pytest.raises(UnwritableError, match=r"a\.h5 cannot be written \(No space left"), replacing(tmp_path / "a.h5"):
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")


def test_d6_an_error_of_another_file_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/slide.svs")


def full_disk(_name):
    raise UnwritableError("the file cannot be written")


@pytest.mark.parametrize("workers", [0, 2])
def test_d6_a_full_disk_in_a_worker_ends_the_run_and_not_slide_after_slide(workers):
    with pytest.raises(UnwritableError, match="the file cannot be written"):
        list(over_slides(full_disk, [("a", ("a",)), ("b", ("b",))], workers=workers, timeout_s=60.0, title="test"))


def test_d7_two_processes_write_the_same_file_beside_each_other(tmp_path):
    path = tmp_path / "a.txt"
    code = f"{PROGRAM}p.write_text('other'); print('here', flush=True); time.sleep(1)"
    root = Path(__file__).resolve().parents[2]
    other = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "here\n"
    write_text(path, "own")
    assert path.read_text() == "own"
    assert other.wait(30) == 0
    other.stdout.close()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_d7_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "a.txt"
    code = f"{PROGRAM}p.write_text('half'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).resolve().parents[2], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_text(path, "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_d8_a_name_of_240_letters_is_written(tmp_path):
    path = tmp_path / f"{'x' * 240}.geojson"
    write_text(path, "a")
    assert path.read_text() == "a"
