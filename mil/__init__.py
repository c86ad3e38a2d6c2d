"""Bags to predictions: attention heads, Cox, evaluation, baselines, model files and the report.

For notebooks, without the weight of the rooms until they are used:

    from common.study import open_study
    from mil import TrainConfig, train_study

    trained = train_study(open_study("study"), TrainConfig(task="survival"))
    trained.metrics, trained.folder
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "TrainConfig": "mil.training.training_settings",
    "TrainedRun": "mil.training_run",
    "audit_study": "mil.training_run",
    "train_study": "mil.training_run",
}
__all__ = ["TrainConfig", "TrainedRun", "audit_study", "train_study"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
