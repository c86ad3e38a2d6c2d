"""Bags to predictions: attention heads, Cox, evaluation, baselines, model files and the report.

For notebooks, without the weight of the rooms until they are used:

    from pathlib import Path

    from mil import TrainConfig, train_study

    trained = train_study(Path("study"), TrainConfig(task="survival"))
    trained.metrics, trained.folder
"""

from common.public_names import lazily

_PLACES = {  # name: the module that has it
    "ClinicalConfig": "mil.clinical_run",
    "EvaluateConfig": "mil.evaluation_run",
    "EvaluatedRun": "mil.evaluation_run",
    "ExplainConfig": "mil.explanation.settings",
    "PredictConfig": "mil.prediction.settings",
    "TrainConfig": "mil.training.training_settings",
    "TrainedRun": "mil.training_run",
    "audit_study": "mil.training_run",
    "clinical_models": "mil.clinical_run",
    "evaluate_study": "mil.evaluation_run",
    "explain_run": "mil.explanation.explained_run",
    "predict_slides": "mil.prediction.prediction_run",
    "train_heads": "mil.heads_run",
    "train_study": "mil.training_run",
}
__all__ = list(_PLACES)
__getattr__, __dir__ = lazily(__name__, _PLACES)
