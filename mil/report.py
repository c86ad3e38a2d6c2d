"""The report: one HTML file that opens offline and prints, made from what the run folder holds and nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.artifacts import write_text
from mil.evaluation import NAMES, verdict
from mil.image_results import image_section

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2530; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #d5dae1; }
p.lead { font-size: 1.08rem; background: #f2f5f9; border-left: 4px solid #4269d0; padding: .7rem 1rem; }
p.use { color: #7a2d12; font-weight: 600; margin: .2rem 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e8ebef; }
th { font-weight: 600; color: #46505e; } td.n, th.n { text-align: right; }
figure { display: inline-block; margin: .3rem 1.2rem 1rem 0; vertical-align: top; max-width: 100%; }
figure svg { max-width: 100%; height: auto; } figcaption { font-size: .86rem; color: #55606e; max-width: 30rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: #f5f6f8; } pre { padding: .6rem .8rem; overflow-x: auto; }
details { margin: .4rem 0; } small { color: #55606e; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } figure, table { break-inside: avoid; } }
"""

CAPTIONS = {
    "confusion": "Confusion matrix, out of fold, patients. Colour: share of the true class.",
    "roc": "ROC curves, one class against the rest, out of fold, by patient.",
    "kaplan_meier": "Kaplan-Meier curves of patients above and below the median log-hazard of their fold's training patients.",
    "scores": "Risk score and follow-up of every patient, out of fold.",
    "training": "Training of each fold: loss on the training part (pale), on the inner validation part (dashed), epoch kept (dot).",
}


def write_report(run_dir: Path) -> None:
    """Write report.html from run.json, metrics.json and figures/ of a run folder."""
    facts = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    found = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    figures = {path.stem: path.read_text(encoding="utf-8") for path in sorted((run_dir / "figures").glob("*.svg"))}
    task = {"subtype": "Subtype", "survival": "Survival"}[facts["task"]]
    sections = [
        f"<h1>{task} from whole slides by attention MIL</h1>",
        "<p class='use'>Research use only. Not a medical device.</p>",
        f"<p class='lead'>{_text(_headline(found))}</p>",
        *(_results(found, figures) if found["evaluated"] else []),
        *image_section(found, _table, _value),
        _cohort(facts, found),
        _folds(facts, figures),
        _how(facts),
        _repeat(facts),
    ]
    page = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{task} report</title>"
    page += f"<style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    write_text(run_dir / "report.html", page)


def _headline(found: Mapping[str, Any]) -> str:
    if not found["evaluated"]:
        return "Nothing was evaluated: no patient is in a test set. The model was trained on all patients and its worth is unknown."
    return verdict(found)


def _results(found: Mapping[str, Any], figures: Mapping[str, str]) -> list[str]:
    rows = [
        [
            NAMES[name],
            _value(figure),
            _value(found["mean_pool"][name]),
            _value(found["difference"][name], signed=True),
            _short(found["chance"].get(name)),
        ]
        for name, figure in found["attention"].items()
    ]
    head = ["", "attention MIL", "mean-pool baseline", "difference (paired)", "chance"]
    parts = [
        "<h2>Discrimination, out of fold, by patient</h2>",
        _table(head, rows),
        f"<p><small>{found['n_patients']} test patients. In brackets the 95 % interval of the patient bootstrap, drawn inside "
        "each class (subtype) or among events and censored patients (survival). The baseline is the mean of a patient's tiles "
        "into a penalised logistic or Cox regression with a penalty fixed beforehand.</small></p>",
        *(f"<p>Note: {_text(note)}.</p>" for note in found["notes"]),
    ]
    if "per_class" in found:
        rows = [[name, str(own["n"]), _value(own["auroc"])] for name, own in found["per_class"].items()]
        parts.append(_table(["class", "patients", "AUROC against the rest"], rows))
    if "risk_groups" in found:
        groups = found["risk_groups"]
        p = groups["log_rank_p"]
        parts.append(
            f"<p>High risk: {groups['n_high']} patients, {groups['events_high']} events; low risk: {groups['n_low']} patients, "
            f"{groups['events_low']} events; log-rank p {'not defined' if p is None else f'{p:.2g}'}. The cut-off of each fold "
            "is the median log-hazard of its training patients. Scores of different folds are put on one scale by the mean "
            "and SD of their training patients; the C-index within folds needs no such scale.</p>"
        )
    parts += [_figure(name, figures) for name in ("confusion", "roc", "kaplan_meier", "scores") if name in figures]
    return parts


def _cohort(facts: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    rows = [
        ["patients in the analysis", str(facts["n_patients"])],
        ["their slides", str(facts["n_slides"])],
        ["their tiles", str(facts["n_tiles"])],
        ["patients left out", str(len(facts["excluded"]))],
        ["slides without features", str(len(facts["slides_without_features"]))],
    ]
    rows += [[f"subtype {name}", str(count)] for name, count in facts["class_counts"].items()]
    if facts["task"] == "survival":
        rows.append(["events", str(facts["n_events"])])
    text = "<h2>Cohort</h2>" + _table(["", "number"], rows)
    if facts["excluded"]:
        text += _table(
            ["patient left out", "reason"], [[each["patient_id"], each["reason"]] for each in facts["excluded"]]
        )
    if facts["slides_without_features"]:
        listed = ", ".join(facts["slides_without_features"])
        text += f"<p>Slides without features (see status.csv of the earlier steps): {_text(listed)}.</p>"
    if found["evaluated"] and found["n_patients"] < facts["n_patients"]:
        text += f"<p>{facts['n_patients'] - found['n_patients']} patients are in no test set.</p>"
    return text


def _folds(facts: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    names = ["repeat", "fold", "n_train", "n_val", "n_test", "stopped_by", "best_epoch", "n_epochs", "model_file"]
    head = ["repeat", "fold", "train", "validation", "test", "stopped by", "epoch kept", "epochs run", "model"]
    rows = [[str(fold[name]) for name in names] for fold in facts["folds"]]
    split = facts["split"]
    return (
        f"<h2>Folds</h2><p>Splits “{_text(split['name'])}”: {split['n_repeats']} repeat(s) of {split['n_folds']} fold(s), by "
        "patient. The epoch kept was chosen on the inner validation part, which is taken from the training patients; no test "
        "patient chose an epoch, a setting, a cut-off or a scale.</p>"
        + _table(head, rows)
        + (_figure("training", figures) if "training" in figures else "")
    )


def _how(facts: Mapping[str, Any]) -> str:
    encoder = facts["encoder"]
    shown = ["encoder", "encoder_source", "licence", "weights_sha256", "transform", "stain", "tile_um", "tile_px"]
    shown += ["runtime", "precision", "layout"]
    rows = [[name, str(encoder[name])] for name in shown if name in encoder]
    settings = [[name, str(value)] for name, value in facts["settings"].items()]
    return (
        "<h2>How it was made</h2>" + _table(["encoder and tiles", ""], rows)
        + "<details open><summary>Settings of the training</summary>" + _table(["setting", "value"], settings) + "</details>"
    )  # fmt: skip


def _repeat(facts: Mapping[str, Any]) -> str:
    versions = [[name, version] for name, version in facts["versions"].items()]
    return (
        f"<h2>To repeat it</h2><pre>{_text(facts['command'])}</pre>"
        + "<details><summary>Versions</summary>" + _table(["package", "version"], versions) + "</details>"
        + "<p class='use'>Research use only. Not a medical device.</p>"
    )  # fmt: skip


def _figure(name: str, figures: Mapping[str, str]) -> str:
    svg = figures[name]
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{_text(CAPTIONS[name])}</figcaption></figure>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cell(tag: str, text: str) -> str:
        is_number = text.replace(".", "", 1).replace("-", "", 1).isdigit()
        return f"<{tag}{' class=n' if is_number else ''}>{_text(text)}</{tag}>"

    body = "".join(f"<tr>{''.join(cell('td', text) for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{''.join(cell('th', text) for text in head)}</tr></thead><tbody>{body}</tbody></table>"


def _value(figure: Mapping[str, float | None], *, signed: bool = False) -> str:
    if figure["value"] is None:
        return "not defined"
    sign = "+" if signed else ""
    span = "" if figure["low"] is None else f" ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"
    return f"{figure['value']:{sign}.3f}{span}"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(value: object) -> str:
    return html.escape(str(value))
