import errno
import os

import h5py
import numpy as np
import pytest

from common.arrays import read_arrays, stale_reason, write_arrays
from common.failures import SlideError, command
from common.files import UnwritableError
from common.guards import hdf5_writing
from common.guards.hdf5_writing import writing_hdf5
from common.parallel import guarded


def filled(file):
    file.create_dataset("a", data=np.arange(100_000), chunks=(1000,))
    file["b"] = np.ones(3)
    file.attrs["x"] = "y"


def test_what_is_written_is_what_the_library_writes_by_itself_and_the_same_each_time(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        filled(file)
    for name in ("own.h5", "again.h5"):
        with writing_hdf5(tmp_path / name) as file:
            filled(file)
    with h5py.File(tmp_path / "own.h5") as own, h5py.File(tmp_path / "plain.h5") as plain:
        assert list(own) == list(plain) and own["a"].chunks == plain["a"].chunks
        assert all((own[name][()] == plain[name][()]).all() for name in own) and dict(own.attrs) == dict(plain.attrs)
    assert (tmp_path / "own.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
    sizes = [(tmp_path / name).stat().st_size for name in ("own.h5", "plain.h5")]
    assert abs(sizes[0] - sizes[1]) < 4096


class FullDisk:
    """A file on a disk that takes so many bytes."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)


@pytest.mark.parametrize("room", [0, 100, 3000, 200_000, 700_000])
def test_a_disk_that_fills_up_is_told_once_and_leaves_nothing(tmp_path, monkeypatch, room):
    original = hdf5_writing.FirstError.__init__

    def made(self, path):
        original(self, path)
        self._file = FullDisk(self._file, room)

    monkeypatch.setattr(hdf5_writing.FirstError, "__init__", made)
    with pytest.raises(UnwritableError, match=r"a\.h5 cannot be written .No space left on device.*make room"):
        write_arrays(tmp_path / "a.h5", {"a": np.arange(100_000)}, {"x": "y"})
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_caller_passes_as_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), writing_hdf5(tmp_path / "a.h5"):
        raise ZeroDivisionError


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_is_no_damage_of_the_file(tmp_path, monkeypatch, number):
    path = tmp_path / "a.h5"
    write_arrays(path, {"a": np.arange(10)}, {"x": "y"})

    def failing(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("common.guards.hdf5_files.check_seal", failing)
    for read in (read_arrays, lambda path: stale_reason(path, {})):
        with pytest.raises(OSError, match=r"a\.h5") as raised:
            read(path)
        assert raised.value.errno == number


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_failing_disk_is_one_message_of_a_command_and_of_a_slide(number, capsys):
    def failing(_):
        raise OSError(number, os.strerror(number), "/share/S1.svs")

    assert command(failing)([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: /share/S1.svs cannot be read or written (")
    assert "then run the same command again" in said and "Traceback" not in said
    with pytest.raises(SlideError, match=r"/share/S1\.svs cannot be read or written"):
        guarded(failing, 1)


def test_other_errors_of_the_system_keep_their_trace():
    def failing(_):
        raise FileNotFoundError(errno.ENOENT, "no such file", "x")

    with pytest.raises(FileNotFoundError):
        command(failing)([])


def test_memory_that_runs_out_is_seen_behind_the_words_of_a_library():
    wrapped = ImportError("The install you are using seems to be broken")
    wrapped.__cause__ = ImportError("libx.so: failed to map segment from shared object")

    def failing(_):
        raise wrapped

    assert command(failing)([]) == 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        ImportError("x.so: failed to map segment"),
    ],
)
def test_memory_that_runs_out_is_one_message_of_a_command_and_of_a_slide(error, capsys):
    def failing(_):
        raise error

    assert command(failing)([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory ran out; give fewer --workers") and "Traceback" not in said
    with pytest.raises(SlideError, match="memory ran out"):
        guarded(failing, 1)
