"""The report's results: discrimination, calibration, prediction sets, selective prediction, subgroups, comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.report.blocks import figure, number, p_value, paragraph, section, table, with_interval
from mil.report.comparison_section import comparison_section
from mil.runs.figure_names import BASELINES, CALIBRATION, MODEL_NAMES, NAMES, time_text

Figures = Mapping[str, str]


def result_sections(found: Mapping[str, Any], figures: Figures, compared: Mapping[str, Any] | None) -> list[str]:
    """Return the sections of an evaluated run."""
    parts = [_discrimination(found, figures)]
    if found["task"] == "subtype":
        parts += [_calibration(found, figures), _sets(found), _selective(found, figures)]
    elif found.get("over_time"):
        parts.append(_over_time(found["over_time"], figures))
    parts += [_folds(found), _subgroups(found), _learning_curve(found, figures)]
    if compared is not None:
        parts.append(comparison_section(compared))
    return [part for part in parts if part]


def _discrimination(found: Mapping[str, Any], figures: Figures) -> str:
    others = [model for model in BASELINES if model in found]
    head = ["", MODEL_NAMES["attention"]]
    head += [words for model in others for words in (MODEL_NAMES[model], "difference (paired)")]
    rows = []
    for name, own in found["attention"].items():
        if name in CALIBRATION:
            continue
        row = [NAMES[name], with_interval(own)]
        for model in others:
            row += [with_interval(found[model][name]), with_interval(found["differences"][model][name], signed=True)]
        rows.append([*row, number(found["chance"].get(name))])
    body = [
        table([*head, "chance"], rows),
        paragraph(
            f"{found['n_patients']} test patients, each predicted by models that never saw it. In brackets the 95 % interval "
            f"of {found['bootstrap']['n']} patient bootstraps, drawn inside each class (subtype) or among events and censored "
            "patients (survival): BCa where bias and acceleration are defined, else percentiles. Where every resample is alike, "
            "a share has its exact limits (Clopper and Pearson) and an AUROC or C-index a conservative bound from the number of "
            f"independent pairs; other figures have none. Under {MIN_PATIENTS} patients, {MIN_EVENTS} events, or {MIN_EVENTS} "
            "patients of a class only shares have limits, and such a class is left out of macro averages. metrics.json says "
            "which is which. The "
            "baselines are penalised logistic or Cox regressions, of the mean of a patient's tiles and of clinical covariates "
            f"alone, with penalties fixed beforehand. {_chance(found)}",
            "note",
        ),
        *(paragraph(f"Note: {note}.") for note in found["notes"]),
    ]
    if "per_class" in found:
        body.append(
            table(
                ["class", "patients", "AUROC against the rest", "average precision"],
                [
                    [name, own["n"], with_interval(own["auroc"]), with_interval(own["average_precision"])]
                    for name, own in found["per_class"].items()
                ],
            )
        )
    if "risk_groups" in found:
        body.append(_risk_groups(found["risk_groups"]))
    captions = {
        "confusion": "Confusion matrix, out of fold, patients. Colour: share of the true class.",
        "roc": "ROC curves, one class against the rest, out of fold, by patient.",
        "kaplan_meier": "Kaplan-Meier curves of patients above and below the median log-hazard of their fold's training patients.",
        "scores": "Risk score and follow-up of every patient, out of fold.",
    }
    body += [figure(name, caption, figures) for name, caption in captions.items()]
    return section("Discrimination, out of fold, by patient", body, key="discrimination", items="12e, 23a")


def _chance(found: Mapping[str, Any]) -> str:
    if found["task"] == "survival":
        return "Chance is a risk that is the same for everyone."
    counts = {name: own["n"] for name, own in found["per_class"].items()}
    largest = max(counts, key=lambda name: counts[name])
    return (
        f"Chance: accuracy and F1 of naming the largest class of the test patients each time ({largest}, {counts[largest]} of "
        f"{found['n_patients']}); balanced accuracy of naming one class, whichever; AUROC of ranking nobody above another; Brier "
        "score, log loss and calibration error of class shares among training patients."
    )


def _risk_groups(groups: Mapping[str, Any]) -> str:
    return paragraph(
        f"High risk: {groups['n_high']} patients, {groups['events_high']} events; low risk: {groups['n_low']} patients, "
        f"{groups['events_low']} events; log-rank p {p_value(groups['log_rank_p'])}. The cut-off of each fold is the median "
        "log-hazard of its training patients. Scores of different folds are put on one scale by the mean and SD of their "
        "training patients; the C-index within folds needs no such scale."
    )


def _calibration(found: Mapping[str, Any], figures: Figures) -> str:
    own, others = found["calibration"], [model for model in BASELINES if model in found]
    scaled = own["calibrated"]
    head = [
        "",
        "as the model gives them",
        "temperature-scaled",
        *(MODEL_NAMES[model] for model in others),
        "class prior",
    ]
    rows = [
        [
            NAMES[name],
            with_interval(found["attention"][name]),
            "no inner validation" if scaled is None else with_interval(scaled[name]),
            *(with_interval(found[model][name]) for model in others),
            number(found["chance"].get(name)),
        ]
        for name in CALIBRATION
    ]
    body = [
        table(head, rows),
        paragraph(
            "Brier score: squared distance from the truth over all classes, 0 to 2. Calibration error: of the predicted class, "
            f"over {own['n_bins']} bins of equal mass. Calibration slope: the common slope of a multinomial logistic regression "
            "of the truth on log probabilities with an intercept a class; 1 is right, below 1 over-confident. A class's "
            "intercept below is that with the slope held at 1: above 0, the class is predicted too rarely. Training weighs the "
            "classes alike, so probabilities lean towards rare classes.",
            "note",
        ),
        figure("reliability", "Reliability: accuracy against confidence of the predicted class.", figures),
        table(
            ["class", "calibration intercept"],
            [[name, number(each["calibration_intercept"])] for name, each in found["per_class"].items()],
        ),
    ]
    if own["temperatures"]:
        rows = [
            [each["repeat"], each["fold"], each["n_val"], number(each["temperature"])] for each in own["temperatures"]
        ]
        body.append(table(["repeat", "fold", "validation patients", "temperature"], rows))
    if scaled is not None:
        body.append(
            paragraph(
                "Temperatures are fitted on the inner validation part of each fold, held near 1 by a prior where it is "
                "small. They change no decision and no AUROC inside a "
                "fold. Fixed beforehand: discrimination is that of the unscaled probabilities; pooled over folds, the macro AUROC "
                f"of the scaled ones is {with_interval(scaled['macro_auroc'])}.",
                "note",
            )
        )
    return section("Calibration", body, key="calibration", items="12e, 13, 23a")


def _over_time(own: Mapping[str, Any], figures: Figures) -> str:
    rows = [
        ["integrated Brier score", with_interval(own["integrated_brier"])],
        ["of the Kaplan-Meier curve of training patients", with_interval(own["reference"])],
        ["difference (paired)", with_interval(own["difference"], signed=True)],
        *([f"AUC at time {time_text(each['time'])}", with_interval(each)] for each in own["auc"]),
    ]
    is_better = own["difference"]["high"] is not None and own["difference"]["high"] < 0
    body = [
        paragraph(
            "The predicted probabilities are "
            + ("better than" if is_better else "not shown to be better than")
            + " a curve that is the same for everyone (lower Brier scores are better)."
        ),
        table(["", MODEL_NAMES["attention"]], rows),
        figure(
            "brier", "Brier score over time, out of fold; dashed: the Kaplan-Meier curve of training patients.", figures
        ),
        paragraph(
            "Probabilities are those of Cox's model with Breslow's baseline hazard of each fold's training patients. Brier score, "
            "AUC (events until a time against those followed beyond it) and Uno's C (pairs before time "
            f"{time_text(own['horizon'])}) "
            "weigh patients by the chance of not being censored, from training patients. AUCs are at quartiles of the times of "
            "events.",
            "note",
        ),
    ]
    return section("Survival probabilities over time", body, key="over-time", items="12e, 15, 23a")


def _sets(found: Mapping[str, Any]) -> str:
    own = found["conformal"]
    if own is None:
        return ""
    wanted, classes = own["coverage_wanted"], list(found["per_class"])
    kinds = {"by_class": "a threshold a class", "common": "one threshold for all"}
    rows = [
        [
            words,
            with_interval(own[kind]["covered"]),
            with_interval(own[kind]["size"]),
            with_interval(own[kind]["single"]),
            f"{own[kind]['always_included']} of {own[kind]['n_thresholds']}",
            *(number(value, 2) for value in own[kind]["covered_by_class"]),
        ]
        for kind, words in kinds.items()
    ]
    head = [
        "",
        "sets with the truth",
        "mean size",
        "share of one subtype",
        "never ruled out",
        *(f"{name}: sets with it" for name in classes),
    ]
    body = [
        table(head, rows),
        paragraph(
            f"The subtypes that cannot be ruled out for a patient, so that {wanted:.0%} of the sets hold the truth: in each class, "
            "or on average with one threshold. Thresholds come from the inner validation part of each fold. A class with fewer "
            f"than {own['least_patients']} validation patients in a fold stands in every set of that fold: coverage comes first, "
            "and the sets become large (counted under “never ruled out”: classes times folds). The promise takes test and "
            "validation patients for exchangeable; the same validation part also chose the epoch, so the coverage found here "
            "is the one to trust.",
            "note",
        ),
    ]
    return section(f"Prediction sets, {wanted:.0%} coverage", body, key="sets", items="15, 23a")


def _selective(found: Mapping[str, Any], figures: Figures) -> str:
    own = found["selective"]
    rows = [[f"{each['coverage']:.0%}", number(each["accuracy"])] for each in own["at"]]
    body = [
        table(["patients kept, the most certain first", "accuracy among them"], rows),
        paragraph(f"Area under the curve of error against coverage: {own['area_under_risk']:.3f} (0 is perfect)."),
        figure("selective", "Accuracy among the patients kept.", figures),
    ]
    return section("Selective prediction", body, key="selective", items="15, 23a")


def _folds(found: Mapping[str, Any]) -> str:
    rows = found["folds_tested"]
    names = [name for name in rows[0] if name not in ("repeat", "fold", "n")]
    head = ["repeat", "fold", "test patients", *(NAMES.get(name, name) for name in names)]
    cells = [
        [row["repeat"], row["fold"], row["n"]]
        + [number(row[name]) if isinstance(row[name], float) or row[name] is None else row[name] for name in names]
        for row in rows
    ]
    words = "A fold's figures are of few patients and show the spread; the pooled ones above are the result."
    return section("By fold", [table(head, cells), paragraph(words, "note")], key="folds-tested", items="23b")


def _subgroups(found: Mapping[str, Any]) -> str:
    rows = found.get("subgroups") or []
    if not rows:
        return ""
    names = next((list(row["figures"]) for row in rows if row["figures"]), [])
    has_events = any("events" in row for row in rows)
    head = ["column", "group", "patients", *(["events"] if has_events else []), *(NAMES[name] for name in names), ""]
    cells = [
        [row["column"], row["group"], row["n"], *([row["events"]] if has_events else [])]
        + [with_interval(row["figures"][name]) if row["figures"] else "" for name in names]
        + [row["why"]]
        for row in rows
    ]
    words = (
        "Numbers are parted at the median of each fold's training patients. The macro AUROC of a group is over the subtypes it "
        "has. No test was made: groups are small, and intervals that overlap or not are no test either."
    )
    return section(
        "Subgroups", [table(head, cells), paragraph(words, "note")], key="subgroups", items="12d, 14, 23a, 23b"
    )


def _learning_curve(found: Mapping[str, Any], figures: Figures) -> str:
    points = found.get("learning_curve") or []
    if not points:
        return ""
    rows = [
        [
            f"{point['share']:.0%}",
            number(point["n_train"], 1),
            with_interval(point["attention"]),
            with_interval(point["mean_pool"]),
        ]
        for point in points
    ]
    body = [
        table(["training patients", "a fold", MODEL_NAMES["attention"], MODEL_NAMES["mean_pool"]], rows),
        figure("learning_curve", "Result against training patients; band: 95 % interval.", figures),
        paragraph(
            "Smaller shares are parts of larger ones, every class alike. The test part and the inner validation part stay the "
            "same, so the curve is a little kind to small shares.",
            "note",
        ),
    ]
    return section("Learning curve", body, key="learning-curve", items="10, 21")
