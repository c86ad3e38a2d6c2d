"""What a full, read-only or closed disk does: one message that names the file, exit 2, and no partial file stays."""

import errno
import os
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
