"""The report's cohort and methods: flow with every exclusion, folds, audit, settings, encoder, versions, commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mil.report.blocks import figure, folded, number, paragraph, section, table, text

ELSEWHERE = (
    ("1, 2, 3, 4", "title, abstract, background, objectives"),
    (
        "5, 6a, 6c, 8, 9",
        "where and when patients were seen, how they were treated, how outcome and predictors were measured",
    ),
    ("10", "why the study has this size"),
    ("17, 18, 19", "ethics, funding, protocol, registration, sharing, public involvement"),
    ("24, 27", "updating and use of the model: it is for research only"),
)
CHOSEN = {
    "covariates": "named by the user; left out: every column that is no id or target",
    "where": "named by the user before training",
    "splits": "made before training",
    "task": "named by the user",
}
ENCODER_ROWS = (
    "encoder", "encoder_source", "licence", "weights_sha256", "transform", "stain", "stain_reference", "tile_um", "tile_px",
    "runtime", "precision", "layout",
)  # fmt: skip


def cohort_section(facts: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return the flow from the table to the analysis, and who left where and why."""
    body = [_flow(facts, found)]
    if facts["excluded"]:
        rows = [[each["patient_id"], each["reason"]] for each in facts["excluded"]]
        body.append(table(["patient left out", "reason"], rows))
    losses = facts.get("slide_losses") or [
        {"slide_id": slide, "step": "", "reason": "see status.csv of the earlier steps"}
        for slide in facts["slides_without_features"]
    ]
    if losses:
        rows = [[each["slide_id"], each["step"], each["reason"]] for each in losses]
        body += ["<h3>Slides without features</h3>", table(["slide", "lost in", "reason"], rows)]
    counts = [[f"subtype {name}", count] for name, count in facts["class_counts"].items()]
    if facts["task"] == "survival":
        counts.append(["events", facts["n_events"]])
    counts += [["slides", facts["n_slides"]], ["tiles", facts["n_tiles"]]]
    body += ["<h3>In the analysis</h3>", table(["", "number"], counts)]
    return section("Cohort", body, key="cohort", items="6b, 11, 20a, 20b, 21")


def _flow(facts: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    flow, steps = facts.get("flow"), []
    if flow is not None:
        steps.append(("", f"clinical table: {flow['table_patients']} patients, {flow['table_slides']} slides"))
        if flow["kept_slides"] != flow["table_slides"]:
            n_lost = flow["table_patients"] - flow["kept_patients"]
            n_slides = flow["table_slides"] - flow["kept_slides"]
            steps.append(("lost", f"{n_lost} patients, {n_slides} slides not chosen: {facts['settings'].get('where')}"))
        steps += [("lost", f"{count} slides lost in {step}") for step, count in flow["slides_lost"].items()]
        steps += [("lost", f"{count} patients left out: {reason}") for reason, count in flow["patients_lost"].items()]
    elif facts["excluded"]:
        steps.append(("lost", f"{len(facts['excluded'])} patients left out"))
    steps.append(
        ("", f"in the analysis: {facts['n_patients']} patients, {facts['n_slides']} slides, {facts['n_tiles']} tiles")
    )
    if found["evaluated"]:
        n_lost = facts["n_patients"] - found["n_patients"]
        if n_lost:
            steps.append(("lost", f"{n_lost} patients are in no test set"))
        steps.append(("", f"predicted out of fold and evaluated: {found['n_patients']} patients"))
    return f"<ol class='flow'>{''.join(f'<li class={kind or chr(39) * 2}>{text(words)}</li>' for kind, words in steps)}</ol>"


def folds_section(facts: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return how patients were folded and how each fold was trained."""
    names = ["repeat", "fold", "n_train", "n_val", "n_test", "stopped_by", "best_epoch", "n_epochs", "model_file"]
    head = ["repeat", "fold", "train", "validation", "test", "stopped by", "epoch kept", "epochs run", "model"]
    split = facts["split"]
    body = [
        paragraph(
            f"Splits “{split['name']}”: {split['n_repeats']} repeat(s) of {split['n_folds']} fold(s), by patient. "
            f"{_stopping(facts)} No test patient chose an epoch, a setting, a cut-off, a temperature or a scale."
        ),
        table(head, [[fold[name] for name in names] for fold in facts["folds"]]),
        figure(
            "training",
            "Training of each fold: loss on the training part (pale), on the inner validation part (dashed), epoch kept (dot).",
            figures,
        ),
    ]
    return section("Folds", body, key="folds", items="12a, 12c, 21")


def _stopping(facts: Mapping[str, Any]) -> str:
    """Say how the epoch of each fold was kept."""
    n_folds, n_judged = len(facts["folds"]), sum(fold["n_val"] > 0 for fold in facts["folds"])
    if n_judged == 0:
        return "Training ran to a last epoch that was fixed beforehand; there was no inner validation part."
    kept = "The epoch kept was chosen on the inner validation part, which is taken from the training patients"
    return f"{kept}." if n_judged == n_folds else f"{kept}, in {n_judged} folds; the others ran to the last epoch."


def _chosen_epochs(facts: Mapping[str, Any]) -> dict[str, str]:
    if not any(fold["n_val"] for fold in facts["folds"]):
        return {"epochs": "fixed beforehand: all were run", "patience": "not used: no inner validation part"}
    return {
        "epochs": "most epochs; the epoch kept was chosen on the inner validation part",
        "patience": "fixed beforehand; acts on the inner validation part",
    }


def audit_section(audit: Mapping[str, Any] | None) -> str:
    """Return what was checked for leaks."""
    if audit is None:
        words = "No audit.json lies in the run folder: what could have leaked was not checked for this run."
        return section("Leak audit", [paragraph(words)], key="audit", items="12a")
    rows = [[check["verdict"], check["name"], check["text"]] for check in audit["checks"]]
    body = [table(["verdict", "check", ""], rows, verdict_column=0)]
    body += [
        folded(check["name"], table(check["table"]["columns"], check["table"]["rows"]))
        for check in audit["checks"]
        if check.get("table")
    ]
    return section("Leak audit", body, key="audit", items="12a")


def methods_section(facts: Mapping[str, Any]) -> str:
    """Return encoder and licence, settings and where each was chosen, and the covariates of the clinical baseline."""
    encoder = facts["encoder"]
    rows = [[name, encoder[name]] for name in ENCODER_ROWS if name in encoder]
    defaults, chosen = facts.get("defaults", {}), CHOSEN | _chosen_epochs(facts)
    settings = [
        [
            name,
            value,
            chosen.get(name)
            or ("default, fixed beforehand" if defaults.get(name, value) == value else "set by the user"),
        ]
        for name, value in facts["settings"].items()
    ]
    body = [
        paragraph(
            "The licence of the encoder binds the models trained on its features: "
            f"{encoder.get('licence', 'unknown')}. Features are frozen; only the head is trained."
        ),
        table(["encoder and tiles", ""], rows),
    ]
    covariates = facts.get("covariates")
    if covariates is not None:
        used = ", ".join(covariates["used"]) or "none"
        left_out = "; ".join(f"{name} ({reason})" for name, reason in covariates["left_out"].items())
        body.append(
            paragraph(
                f"Clinical baseline from: {used}.{f' Left out: {left_out}.' if left_out else ''} Means, levels and missing values "
                "are those of training patients; a missing value has an indicator of its own."
            )
        )
    body.append(
        paragraph(
            "Nothing was chosen on test patients by this software. How values set by the user were found it cannot know: if by "
            "comparing reports of this cohort, the numbers above are too good.",
            "note",
        )
    )
    body.append(folded("Settings of the training", table(["setting", "value", "chosen"], settings), is_open=True))
    return section("How it was made", body, key="methods", items="7, 9a, 11, 12b, 12c, 13, 15, 22")


def repeat_section(facts: Mapping[str, Any]) -> str:
    """Return the commands that repeat the run, and versions."""
    split, encoder = facts["split"]["name"], facts["encoder"].get("encoder", "")
    commands = [
        "python preprocessing/tile_slides.py", f"python features/extract_features.py --encoder {encoder}",
        f"python splits/make_splits.py --name {split}", facts["command"],
        f"python mil/evaluate.py --task {facts['task']} --name {facts['run']}",
    ]  # fmt: skip
    body = [
        f"<pre>{text(chr(10).join(commands))}</pre>",
        paragraph(
            "Settings of the first three stand in the tile, feature and split files. The numbers of this page stand in "
            "metrics.json, run.json and audit.json beside it, every patient's prediction in predictions.csv, those of the "
            "inner validation parts in validation_predictions.csv, and the data of each figure in figures/.",
            "note",
        ),
        folded("Versions", table(["package", "version"], facts["versions"].items())),
    ]
    return section("To repeat it", body, key="repeat", items="12g, 18f, 22")


def limits_section(facts: Mapping[str, Any]) -> str:
    """Return what the numbers do not say, and what of TRIPOD+AI authors add themselves."""
    smallest = min(facts["class_counts"].values(), default=facts["n_events"])
    kind = "patients of the smallest subtype" if facts["class_counts"] else "events"
    body = [
        paragraph(
            f"Cross-validation inside one cohort ({facts['n_patients']} patients, {number(smallest, 0)} {kind}) says nothing of "
            "other hospitals, scanners and stains; an external cohort does. Folds share training patients, so intervals over "
            "patients do not hold the variation of training anew. Small subgroups prove little."
        ),
        paragraph(
            "The numbers beside the headings are the items of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) to which a section "
            "contributes. Authors add:"
        ),
        table(["items", "subject"], ELSEWHERE),
    ]
    return section("Limits", body, key="limits", items="16, 25, 26")
