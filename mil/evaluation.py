"""From saved out-of-fold predictions to metrics.json: every figure by patient, with an interval and a baseline beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.artifacts import write_json
from mil import metrics
from mil.bootstrap import draw, interval, resamples
from mil.survival import concordance, concordance_pairs, log_rank_p

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("attention", "mean_pool")
NAMES = {
    "macro_auroc": "macro AUROC", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1",
    "c_index": "C-index", "c_index_within_folds": "C-index within folds",
}  # fmt: skip

Figure = Callable[[np.ndarray], float]


def evaluate_run(run_dir: Path, *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Evaluate a run folder and write its metrics.json and figures.

    Args:
        run_dir: holds predictions.csv and run.json.
        n_bootstrap: number of patient bootstraps.
        seed: of the bootstrap.
    """
    import pandas as pd

    from mil.figures import draw_figures
    from mil.image_results import image_metrics

    facts = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    predictions = pd.read_csv(
        run_dir / "predictions.csv", dtype={"patient_id": str, "truth": str}, keep_default_na=False
    )
    found: dict[str, Any] = {"task": facts["task"], "evaluated": bool(len(predictions)), "notes": []}
    if len(predictions):
        evaluate = evaluate_subtype if facts["task"] == "subtype" else evaluate_survival
        found |= evaluate(predictions, facts["classes"], n_bootstrap=n_bootstrap, seed=seed)
    found |= image_metrics(run_dir, facts["classes"], n_bootstrap=n_bootstrap, seed=seed)
    write_json(run_dir / "metrics.json", found)
    draw_figures(run_dir, facts, found, predictions)
    return found


def by_patient(predictions: pd.DataFrame, model: str, values: Sequence[str], keep: Sequence[str]) -> pd.DataFrame:
    """Return one row a patient of a model: `values` averaged over repeats, `keep` as they are, sorted by patient."""
    own = predictions[predictions["model"] == model]
    return own.groupby("patient_id", sort=True).agg({**dict.fromkeys(values, "mean"), **dict.fromkeys(keep, "first")})


def evaluate_subtype(
    predictions: pd.DataFrame, classes: Sequence[str], *, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the figures of a subtype run."""
    columns = [f"p_{name}" for name in classes]
    tables = {model: by_patient(predictions, model, columns, ["truth"]) for model in MODELS}
    labels = np.array([list(classes).index(name) for name in tables[MODELS[0]]["truth"]])
    absent = [name for index, name in enumerate(classes) if index not in labels]
    notes = [f"no test patient of {', '.join(absent)}: left out of macro averages"] if absent else []
    indices = list(resamples(labels, n_bootstrap, np.random.default_rng([seed, 71])))
    figures = {model: _subtype_figures(table[columns].to_numpy(), labels) for model, table in tables.items()}
    chance = {"macro_auroc": 0.5, "balanced_accuracy": 1 / (len(classes) - len(absent))}
    found = _compare(figures, indices, len(labels)) | {"chance": chance, "notes": notes, "n_patients": len(labels)}
    attention = tables["attention"][columns].to_numpy()
    aurocs = metrics.class_aurocs(attention, labels)
    found["per_class"] = {}
    for index, name in enumerate(classes):
        draws = draw(lambda drawn, index=index: _one_auroc(attention, labels, drawn, index), indices)  # type: ignore[misc]
        n_class = int((labels == index).sum())
        found["per_class"][name] = {"n": n_class, "auroc": asdict(interval(float(aurocs[index]), draws))}
    confusion = metrics.confusion_matrix(attention.argmax(axis=1), labels, len(classes))
    found["confusion"] = {"classes": list(classes), "counts": confusion.tolist()}
    return found


def _one_auroc(probabilities: np.ndarray, labels: np.ndarray, drawn: np.ndarray, index: int) -> float:
    is_class = labels[drawn] == index
    if is_class.all() or not is_class.any():
        return float("nan")
    return metrics.auroc(probabilities[drawn, index], is_class)


def _subtype_figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Figure]:
    n_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)

    def confusion(drawn: np.ndarray) -> np.ndarray:
        return metrics.confusion_matrix(predicted[drawn], labels[drawn], n_classes)

    return {
        "macro_auroc": lambda drawn: metrics.macro_auroc(probabilities[drawn], labels[drawn]),
        "balanced_accuracy": lambda drawn: metrics.balanced_accuracy(confusion(drawn)),
        "accuracy": lambda drawn: metrics.accuracy(confusion(drawn)),
        "macro_f1": lambda drawn: metrics.macro_f1(confusion(drawn)),
    }


def evaluate_survival(
    predictions: pd.DataFrame, _classes: Sequence[str], *, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the figures of a survival run.

    Risks of different folds are not on one scale, so the C-index is of the score standardised by each fold's training
    patients; the C-index within folds compares only pairs of one fold and needs no common scale.
    """
    keep = ["time", "event", "fold"]
    tables = {model: by_patient(predictions, model, ["score", "high_risk"], keep) for model in MODELS}
    first = tables["attention"]
    time, event = first["time"].to_numpy(float), first["event"].to_numpy(int)
    indices = list(resamples(event, n_bootstrap, np.random.default_rng([seed, 72])))
    figures = {
        model: _survival_figures(table["score"].to_numpy(), time, event, predictions, model)
        for model, table in tables.items()
    }
    found = _compare(figures, indices, len(time)) | {"notes": [], "n_patients": len(time), "n_events": int(event.sum())}
    found["chance"] = {"c_index": 0.5, "c_index_within_folds": 0.5}
    is_high = first["high_risk"].to_numpy() > 0.5
    found["risk_groups"] = {
        "n_high": int(is_high.sum()), "n_low": int((~is_high).sum()),
        "events_high": int(event[is_high].sum()), "events_low": int(event[~is_high].sum()),
        "log_rank_p": log_rank_p(time, event, is_high),
    }  # fmt: skip
    return found


def _survival_figures(
    score: np.ndarray, time: np.ndarray, event: np.ndarray, predictions: pd.DataFrame, model: str
) -> dict[str, Figure]:
    pooled = concordance_pairs(score, time, event)
    own = predictions[predictions["model"] == model].sort_values(["repeat", "patient_id"], kind="stable")
    within = []
    for _, rows in own.groupby("repeat", sort=True):
        risk, fold = rows["log_hazard"].to_numpy(float), rows["fold"].to_numpy(int)
        within.append(concordance_pairs(risk, rows["time"].to_numpy(float), rows["event"].to_numpy(int), fold))
    weights_of = lambda drawn: np.bincount(drawn, minlength=len(score)).astype(float)  # noqa: E731
    return {
        "c_index": lambda drawn: concordance(pooled, weights_of(drawn)),
        "c_index_within_folds": lambda drawn: float(
            np.mean([concordance(pairs, weights_of(drawn)) for pairs in within])
        ),
    }


def _compare(figures: Mapping[str, Mapping[str, Figure]], indices: list[np.ndarray], n_patients: int) -> dict[str, Any]:
    """Return each model's figures with intervals, and attention minus baseline on the same resamples."""
    everyone = np.arange(n_patients)
    found: dict[str, Any] = {model: {} for model in figures} | {"difference": {}}
    for name in figures["attention"]:
        values = {model: own[name](everyone) for model, own in figures.items()}
        draws = {model: draw(own[name], indices) for model, own in figures.items()}
        for model in figures:
            found[model][name] = asdict(interval(values[model], draws[model]))
        difference = interval(values["attention"] - values["mean_pool"], draws["attention"] - draws["mean_pool"])
        found["difference"][name] = asdict(difference)
    return found


def results_table(found: Mapping[str, Any]) -> str:
    """Return the main figures as text: value, 95 % interval over patients, baseline, chance."""
    if not found["evaluated"]:
        return "nothing was evaluated: no patient is in a test set"
    lines = [f"{'out of fold, by patient':26s} {'value':>6s}   95 % interval   {'mean pool':>9s}   {'chance':>6s}"]
    for name, figure in found["attention"].items():
        chance = found["chance"].get(name)
        lines.append(
            f"{NAMES[name]:26s} {_number(figure['value']):>6s}   {_number(figure['low'])} to {_number(figure['high'])}  "
            f"{_number(found['mean_pool'][name]['value']):>9s}   {_number(chance):>6s}"
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def verdict(found: Mapping[str, Any]) -> str:
    """Say in words whether the attention model beats the mean-pool baseline and chance."""
    name = "macro_auroc" if found["task"] == "subtype" else "c_index"
    own, other, difference = found["attention"][name], found["mean_pool"][name], found["difference"][name]
    if own["value"] is None:
        return f"The {NAMES[name]} is not defined for these test patients."
    span = f"{NAMES[name]} {own['value']:.3f}, {_number(own['low'])} to {_number(own['high'])}"
    is_better = own["low"] is not None and own["low"] > 0.5
    start = f"The attention model is {'better' if is_better else 'not shown to be better'} than chance ({span})."
    if difference["low"] is not None and difference["low"] > 0:
        return f"{start} It beats the mean-pool baseline ({_number(other['value'])}) by {difference['value']:.3f}."
    word = "It does not beat" if difference["value"] is None or difference["value"] <= 0 else "It is not shown to beat"
    return (
        f"{start} {word} the mean-pool baseline ({_number(other['value'])}): the difference is "
        f"{_number(difference['value'])} ({_number(difference['low'])} to {_number(difference['high'])})."
    )
