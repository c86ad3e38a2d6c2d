import numpy as np
import pytest
import torch

from common.failures import StudyError
from mil.models.sealed_tensors import read_sealed_tensors, write_sealed_tensors

TENSORS = {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.tensor([1.5], dtype=torch.float64)}
RECORD = {"schema": "x/1", "names": ["ä", "b"], "number": 0.1}


@pytest.fixture
def path(tmp_path):
    write_sealed_tensors(tmp_path / "m.safetensors", TENSORS, RECORD)
    return tmp_path / "m.safetensors"


def read(path):
    return read_sealed_tensors(path, schema="x/1", remedy="train again")


def test_what_was_written_is_read_back_and_is_the_same_bytes_each_time(path, tmp_path):
    tensors, record = read(path)
    assert set(tensors) == {"a", "b"}
    assert torch.equal(tensors["a"], TENSORS["a"])
    assert tensors["b"].dtype == torch.float64
    assert record == {"names": ["ä", "b"], "number": 0.1}
    write_sealed_tensors(tmp_path / "again.safetensors", TENSORS, RECORD)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_file_is_one_that_safetensors_reads_by_itself(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), TENSORS["a"])


def test_every_flipped_byte_is_refused(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        for flip in (0x01, 0x20, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(StudyError, match=r"m\.safetensors"):
                read(path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"{}" * 40, b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}"])
def test_what_is_no_such_file_is_refused_with_what_to_do(path, content):
    path.write_bytes(content)
    with pytest.raises(StudyError, match="train again"):
        read(path)


def test_a_cut_and_a_longer_file_are_refused(path):
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\x00", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(StudyError):
            read(path)


def test_another_schema_and_no_file_say_so(path, tmp_path):
    with pytest.raises(StudyError, match="schema x/1, not y/1"):
        read_sealed_tensors(path, schema="y/1", remedy="train again")
    with pytest.raises(StudyError, match="no model at"):
        read(tmp_path / "none.safetensors")


def test_a_number_that_json_has_not_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_sealed_tensors(tmp_path / "m", TENSORS, {"schema": "x/1", "value": np.inf})
