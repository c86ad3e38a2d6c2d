"""The settings of training: the outermost values are taken, what lies beyond is refused by name."""

import pytest

from mil.training.training_settings import TrainConfig


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        *((name, (1,), (0, -1)) for name in ("max_tiles", "batch_patients", "threads")),
        *((name, (0, 1), (-1,)) for name in ("hidden", "attention")),
        ("workers", (None, 0, 1), (-1,)),
        *((name, (0, 0.9), (-0.01, 0.91)) for name in ("dropout", "label_smoothing")),
        ("epochs", (0, 1), (-1,)),
        ("patience", (0, 1), (-1,)),
        ("cross_fit", (0, 2), (-1, 1)),
        ("risk_set_patients", (0, 2), (-1, 1)),
        ("learning_rate", (1e-9,), (0, -1e-3)),
        ("weight_decay", (0, 1), (-1e-9,)),
        ("search", (0, 1), (-1,)),
        ("search_folds", (2,), (1,)),
        ("evenness", (0, 10), (-0.01, 10.01)),
        ("horizon", (0, 1e9), (-1, float("inf"))),
        ("ridge", (None, 0, 1e9), (-1e-9, float("inf"))),
        ("bootstrap", (100,), (99,)),
        ("seed", (0,), (-1,)),
    ],
)
def test_ranges(name, taken, refused):
    for value in taken:
        assert getattr(TrainConfig(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"--{name}"):
            TrainConfig(**{name: value})


def test_widths_that_are_left_out_are_the_tasks_and_named_ones_stay():
    def widths(*, task=128, **given):
        own = TrainConfig(**given).with_widths(task)
        return own.hidden, own.attention

    assert widths() == (128, 64)
    assert widths(task=64) == (64, 32)
    assert widths(hidden=16) == (16, 8)
    assert widths(hidden=1) == (1, 1)
    assert widths(attention=5) == (128, 5)
    assert widths(hidden=16, attention=64) == (16, 64)
    assert TrainConfig(seed=3).with_widths(8) == TrainConfig(seed=3, hidden=8, attention=4)
    assert TrainConfig().with_widths(8).with_widths(9).hidden == 8
