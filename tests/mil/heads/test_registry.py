"""A head is a name: one of its own file alone is trained, written and read back; unknown ones are refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from common.failures import StudyError
from mil.heads import registry
from mil.heads.head import Head
from mil.heads.registry import HEADS, head_named, head_record, make_head, rebuild_head, register_head
from mil.runs.model_file import read_model
from mil.runs.run_folder import RunFolder
from mil.tasks.subtype import SUBTYPE
from mil.training.cross_validation import run_folds
from mil.training.packed import predict
from mil.training.preparation import prepare
from mil.training.training_settings import TrainConfig
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

CONFIG = TrainConfig(epochs=4, hidden=8, attention=4, threads=1)


@dataclass(frozen=True)
class MeanSettings:
    """One setting of the run, and one that no run has."""

    dropout: float
    scale: float = 2.0


class MeanHead(Head):
    """The mean tile, and a linear layer."""

    name = "mean_of_tiles"

    def __init__(self, settings, *, n_inputs, n_outputs):
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.output = torch.nn.Linear(n_inputs, n_outputs)

    def forward(self, tiles, bag_of_tile, n_bags):
        own = self.standardised(tiles) * self.settings.scale
        sums = own.new_zeros((n_bags, self.n_inputs)).index_add(0, bag_of_tile, own)
        return self.output(sums / torch.bincount(bag_of_tile, minlength=n_bags)[:, None])

    def attention(self, tiles):
        return torch.full((len(tiles),), 1 / len(tiles))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr("mil.heads.registry.HEADS", dict(HEADS))
    register_head(MeanHead, MeanSettings)


def test_a_head_is_trained_written_and_read_back_by_its_name(registered, tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    prepared = prepare(study, replace(CONFIG, head="mean_of_tiles", dropout=0.125), SUBTYPE.training)
    (record,) = run_folds(RunFolder(tmp_path / "run"), prepared.plans[:1], prepared.inputs)
    model = read_model(tmp_path / "run" / record.model_file)
    assert type(model.head) is MeanHead
    assert model.metadata["head"] == {
        "name": "mean_of_tiles", "n_inputs": 12, "n_outputs": 3, "settings": {"dropout": 0.125, "scale": 2.0},
    }  # fmt: skip
    tested = prepared.plans[0].test
    outputs = predict(model.head, prepared.bags.read, tested)
    written = {row["patient_id"]: row for row in record.predictions if row["model"] == "attention"}
    for patient, row in zip(tested, torch.softmax(torch.from_numpy(outputs), 1).numpy(), strict=True):
        assert [written[patient][f"p_{name}"] for name in prepared.classes] == pytest.approx(row)
    assert model.attention(prepared.bags.read(tested[0]).tiles).sum() == pytest.approx(1.0, abs=1e-6)


def test_every_head_keeps_the_contract(registered):
    rng = np.random.default_rng(0)
    tiles = torch.from_numpy(rng.normal(size=(7, 5)).astype(np.float32))
    owner = torch.tensor([0, 0, 1, 1, 1, 1, 1])
    assert set(registry.HEADS) > {"mean_of_tiles"}
    for name in registry.HEADS:
        torch.manual_seed(0)
        head = make_head(name, CONFIG, n_inputs=5, n_outputs=2).eval()
        packed = head(tiles, owner, 2)
        alone = head(tiles[owner == 1], torch.zeros(5, dtype=torch.int64), 1)
        assert packed.shape == (2, 2)
        assert torch.allclose(packed[1], alone[0], atol=1e-6)
        assert head.attention(tiles).sum().item() == pytest.approx(1.0, abs=1e-6)
        again = rebuild_head(head_record(head))
        again.load_state_dict(head.state_dict())
        assert torch.equal(again.eval()(tiles, owner, 2), packed)
        with torch.no_grad():
            head.mean += 3.0  # the head works on standardised tiles
        assert torch.allclose(head(tiles + 3.0, owner, 2), packed, atol=1e-5)


def test_what_is_no_head_or_cannot_be_made_is_refused_by_name(registered, tmp_path):
    with pytest.raises(
        StudyError, match=r"--head 'gated' is no head; there are acmil, .*, gated_attention, .*, mean_of_tiles, "
    ):
        head_named("gated")
    with pytest.raises(StudyError, match="the head gated_attention needs attention, hidden, which is no setting"):
        make_head("gated_attention", MeanSettings(dropout=0.0), n_inputs=2, n_outputs=1)

    class Other(MeanHead):
        pass

    with pytest.raises(ValueError, match="two heads are named 'mean_of_tiles'"):
        register_head(Other, MeanSettings)


def test_an_unknown_head_is_refused_before_anything_is_read(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=3)
    with pytest.raises(StudyError, match="--head 'none' is no head"):
        prepare(study, replace(CONFIG, head="none"), SUBTYPE.training)


def test_a_head_of_no_width_is_not_made():
    """Settings leave the widths to the task; made before they are known a head would have none, and say the same of everybody."""
    with pytest.raises(ValueError, match="with_widths"):
        make_head("gated_attention", TrainConfig(), n_inputs=3, n_outputs=2)
    assert make_head("mean_mlp", TrainConfig(hidden=2), n_inputs=3, n_outputs=2).project.out_features == 2
    assert make_head("gated_attention", TrainConfig().with_widths(6), n_inputs=3, n_outputs=2).project.out_features == 6
