"""Which statistic is fitted on whom: a fixed list, and the stain reference of this study, looked up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mil.audit.checks import OK, WARNING, check
from mil.runs.audit_record import Check
from splits.fold_plan import FoldPlan

if TYPE_CHECKING:
    from common.study import Study
    from features.store.provenance import Provenance

TRAINING = "training patients of the fold"
# statistic, on whom it is fitted, where in the code: a test imports each
FITTED = (
    ("stain fit of a slide", "that slide alone", "preprocessing.colour.stain.fit_stain"),
    ("division into folds", "labels, times and sites of all patients, to deal them evenly and for nothing else",
     "splits.folds.deal"),
    ("inner validation part and its time quantiles", "training patients of the fold; it trains like them unless --patience is "
     "given", "splits.folds.inner_validation"),
    ("inner folds", TRAINING, "mil.training.held_out.inner_folds.inner_folds"),
    ("input scaling of the attention head", TRAINING, "mil.training.packed.standardise"),
    ("class weights (subtype)", TRAINING, "mil.training.classification_task.class_weights"),
    ("weights of the attention head", TRAINING, "mil.training.fitting.fit"),
    ("epoch kept", "nobody: the last one; with --patience the inner validation part, which is taken from the training part",
     "mil.training.fitting.fit"),
    ("scale and cut-off of risk scores (survival)", "training patients of the fold, predicted by inner models that never saw them",
     "mil.training.held_out.risk_scale.scale_of"),
    ("input scaling and weights of the baselines", TRAINING, "mil.training.baseline.fit_scaler"),
    ("coding of clinical covariates", TRAINING, "mil.training.covariates.fit_encoder"),
    ("temperature and prediction sets", "training patients of the fold, predicted by inner models that never saw them; with "
     "--patience the inner validation part", "mil.metrics.calibration.fit_temperature"),
    ("learning rate, dropout, penalties and all other settings", "nobody: fixed before the run",
     "mil.training.training_settings.TrainConfig"),
)  # fmt: skip
OF_SEARCH = ("settings that were searched", "training patients of the fold, by inner folds of them",
             "mil.training.search.inner_search.search_fold")  # fmt: skip
OF_INTERVALS = (("intervals of time and the log-odds of the event in each (survival)",
                 "training patients of each model, fold or inner", "mil.survival.discrete_hazard.intervals_of"),)  # fmt: skip
OF_TARGETS = (("scale of numbers that are predicted", TRAINING, "mil.training.targets.parts.scale_of"),)


def check_statistics(
    study: Study, provenance: Provenance, folds: Sequence[FoldPlan], patient_of: Mapping[str, str],
    further: Sequence[tuple[str, str, str]] = (),
) -> Check:  # fmt: skip
    """Which statistic is fitted on whom; all on training patients, but for the stain reference, which is looked up."""
    source = str(provenance.encoder_source or "unknown source")
    is_imagenet = "imagenet" in source.lower()
    seen = (
        "no patient of this study"
        if is_imagenet
        else "not in this study; whether it saw these slides is not known here"
    )
    whom, verdict = _stain_reference(study, str(provenance.stain_reference or "none"), folds, patient_of)
    rows = [
        ["encoder", f"{seen} (frozen; {source})", "features.encoder.registry"],
        ["stain reference", whom, "preprocessing.colour.stain.REFERENCE"],
        *(FITTED if OF_SEARCH not in further else (*FITTED[:-1], ("settings that were not searched", *FITTED[-1][1:]))),
        *further,
    ]
    text = "every fitted statistic comes from the training patients of its fold"
    if verdict != OK:
        text += f", except the stain reference: {whom}"
    return check("where statistics were fitted", verdict, text, (["statistic", "fitted on", "where"], rows))


def _stain_reference(
    study: Study, text: str, folds: Sequence[FoldPlan], patient_of: Mapping[str, str]
) -> tuple[str, str]:
    """Return on whom the stain reference of the features was fitted, and the verdict."""
    from preprocessing.colour.stain import REFERENCE

    if text == "none":
        return "nobody: colours were not mapped", OK
    try:
        used = json.loads(text)
        if _is_alike(used, {"matrix": REFERENCE.matrix.tolist(), "p99": REFERENCE.p99.tolist()}):
            return "nobody of this study: built in", OK
        for path in sorted((study.root / "stain_references").glob("*.json")):
            made = json.loads(path.read_text(encoding="utf-8"))
            if _is_alike(used, made):
                return _reference_of_slides(path.name, made.get("slides", ()), folds, patient_of)
    except (ValueError, KeyError, TypeError):
        pass  # a reference of another form: its origin is not known
    return (
        "not built in, and no file in stain_references/ says which slides made it: test patients may be among them",
        WARNING,
    )


def _reference_of_slides(
    name: str, slides: Iterable[str], folds: Sequence[FoldPlan], patient_of: Mapping[str, str]
) -> tuple[str, str]:
    used = {patient_of[slide] for slide in slides if slide in patient_of}
    tested = [plan for plan in folds if used & set(plan.test)]
    if not tested:
        return f"{name}: {len(used)} patients, none of them in a test part", OK
    n_tested = len(used & {patient for plan in tested for patient in plan.test})
    return (
        f"{name}: {len(used)} patients, of whom {n_tested} are test patients (in {len(tested)} fold(s)): their slides helped "
        "to choose the colours all slides were mapped to, though not their labels"
    ), WARNING


def _is_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two references are the same to the digits that features keep."""
    return all(
        np.shape(one[name]) == np.shape(other[name]) and np.allclose(one[name], other[name], rtol=0, atol=1.1e-4)
        for name in ("matrix", "p99")
    )
