"""Models of several scores, each fitted on training patients alone: image and clinic together, attention and mean pool together.

An image score of a training patient enters only as a model that never saw the patient gives it (the fold's inner models). The
score of the fold's own model knows the outcomes of its training patients: beside it, clinical covariates would get
weights near 0, and a score of noise a large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64

from mil.runs.figure_names import CLINICAL, COMBINED, JOINT, MEAN_POOL
from mil.training.baseline import LinearCox, fit_cox_of
from mil.training.held_out.inner_folds import inner_folds
from mil.training.held_out.risk_scale import Scale, scale_of
from mil.training.task import Row
from mil.training.time_to_event.survival_targets import SurvivalTargets
from splits.fold_plan import FoldPlan

N_INNER_FOLDS = 3  # of the linear models, whatever the heads have: they cost nothing
Inputs = tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "m d"]]  # of training and test patients


def fit_linear_cox(inputs: Float[np.ndarray, "n d"], patients: Sequence[str], targets: SurvivalTargets) -> LinearCox:
    """Fit the penalised Cox model to patients among whom there is an event."""
    sets = targets.risk_sets(patients)
    assert sets is not None, "there is an event among training patients"
    return fit_cox_of(inputs, sets)


def held_out_risks(inputs: Float[np.ndarray, "n d"], plan: FoldPlan, targets: SurvivalTargets) -> dict[str, float]:
    """Return the log-hazard of training patients by linear models of the others, relative to the mean of these.

    Patients who cannot be held out (the only event, say) are not among them; with fewer than two of a kind there are none.

    Args:
        inputs: of the training patients, in the order of the plan.
        plan: the fold.
        targets: of all patients.
    """
    place = {patient: index for index, patient in enumerate(plan.train)}
    found: dict[str, float] = {}
    for inner in inner_folds(plan, targets.events, N_INNER_FOLDS, 0):
        if targets.risk_sets(inner.train) is None:
            continue
        own = inputs[[place[patient] for patient in inner.train]]
        cox = fit_linear_cox(own, inner.train, targets)
        risks = cox.log_hazard(inputs[[place[patient] for patient in inner.val]]) - cox.log_hazard(own).mean()
        found |= dict(zip(inner.val, map(float, risks), strict=True))
    return found


def scale_of_linear(
    cox: LinearCox, inputs: Float[np.ndarray, "n d"], held: Mapping[str, float], risk_groups: str
) -> Scale:
    """Return the scale of a linear model: of its held-out training patients, where there are any, as that of the heads is."""
    own = cox.log_hazard(inputs)
    return scale_of(np.array([held[patient] for patient in sorted(held)]) + own.mean() if held else own, risk_groups)


def joint_log_hazards(
    clinical: Inputs,
    image: tuple[Mapping[str, float], Float[np.ndarray, " m"]],
    plan: FoldPlan,
    targets: SurvivalTargets,
) -> tuple[Float64[np.ndarray, " h"], Float64[np.ndarray, " m"]] | None:
    """Return log-hazards by clinical covariates and image score together, of held-out training and of test patients.

    Args:
        clinical: covariates as numbers, of the training and test patients of the plan.
        image: scores of training patients by models that never saw them, by patient, and those of the test patients.
        plan: the fold.
        targets: of all patients.

    Returns:
        None where nobody of the held-out training patients had the event.
    """
    held, tested = image
    known = [patient for patient in plan.train if patient in held]
    if targets.risk_sets(known) is None:
        return None
    rows = [index for index, patient in enumerate(plan.train) if patient in held]
    train = np.column_stack([clinical[0][rows], [held[patient] for patient in known]])
    cox = fit_linear_cox(train, known, targets)
    return cox.log_hazard(train), cox.log_hazard(np.column_stack([clinical[1], tested]))


def combined_scores(
    plan: FoldPlan,
    targets: SurvivalTargets,
    tested: Sequence[Row],
    held: Sequence[Row],
    baselines: Sequence[Row],
    inputs: Mapping[str, Inputs],
) -> dict[str, tuple[Float64[np.ndarray, " m"], Scale]]:
    """Return log-hazard of the test patients, and their scale, by each model of several scores.

    Args:
        plan: the fold.
        targets: of all patients.
        tested: rows of the test patients by the fold's model.
        held: rows of training patients by models that never saw them.
        baselines: rows of the test patients by the baselines.
        inputs: of the baselines.
    """
    found = {}
    score = {row["patient_id"]: row["score"] for row in tested}
    image = np.array([score[patient] for patient in plan.test])
    image_held = {row["patient_id"]: row["score"] for row in held}
    mean_pool = {row["patient_id"]: row["score"] for row in baselines if row["model"] == MEAN_POOL}
    if mean_pool:
        both = (image + np.array([mean_pool[patient] for patient in plan.test])) / 2
        found[COMBINED] = (both, _combined_scale(inputs[MEAN_POOL][0], image_held, plan, targets))
    if CLINICAL in inputs and image_held:
        joint = joint_log_hazards(inputs[CLINICAL], (image_held, image), plan, targets)
        if joint is not None:
            found[JOINT] = (joint[1], scale_of(joint[0], targets.risk_groups))
    return found


def _combined_scale(
    inputs: Float[np.ndarray, "n d"], image: Mapping[str, float], plan: FoldPlan, targets: SurvivalTargets
) -> Scale:
    """Return the scale of the mean of two scores, of training patients that neither model saw; 0 and 1 without any."""
    own = held_out_risks(inputs, plan, targets)
    known = sorted(own.keys() & image.keys())
    if not known:
        return scale_of(np.array([-1.0, 1.0]), targets.risk_groups)
    scale = scale_of(np.array([own[patient] for patient in sorted(own)]), targets.risk_groups)
    return scale_of(
        np.array([(image[patient] + (own[patient] - scale["mean"]) / scale["sd"]) / 2 for patient in known]),
        targets.risk_groups,
    )
