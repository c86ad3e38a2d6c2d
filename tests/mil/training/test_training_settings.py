"""The settings of training: the outermost values are taken, what lies beyond is refused by name."""

import pytest

from mil.training.training_settings import TrainConfig


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        *((name, (1,), (0, -1)) for name in ("hidden", "attention", "max_tiles", "batch_patients", "threads")),
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
