"""What was found, in words and as text for the screen."""

from collections.abc import Mapping
from typing import Any

from mil.metrics.bootstrap import TOO_FEW
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.runs.figure_names import BASELINES, MAIN, MEAN_POOL, MODEL_NAMES, NAMES

SHOWN = (
    "macro_auroc", "macro_average_precision", "balanced_accuracy", "accuracy", "macro_f1", "log_loss", "ece",
    "c_index", "c_index_within_folds", "uno_c", "integrated_brier",
)  # fmt: skip


def results_table(found: Mapping[str, Any]) -> str:
    """Return the main figures as text: value, 95 % interval over patients, baselines, chance."""
    if not found["evaluated"]:
        return "nothing was evaluated: no patient is in a test set"
    others = [model for model in BASELINES if model in found]
    head = f"{'out of fold, by patient':26s} {'value':>6s}   95 % interval  "
    lines = [head + "".join(f"  {_column(model):>9s}" for model in others) + f"  {'chance':>6s}"]
    for name, figure in found["attention"].items():
        if name not in SHOWN:
            continue
        line = (
            f"{NAMES[name]:26s} {_number(figure['value']):>6s}   {_number(figure['low'])} to {_number(figure['high'])} "
        )
        line += "".join(f"  {_number(found[model][name]['value']):>9s}" for model in others)
        lines.append(f"{line}  {_number(found['chance'].get(name)):>6s}")
    return "\n".join(lines)


def _column(model: str) -> str:
    return model.replace("_", " ")


def _number(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def verdict(found: Mapping[str, Any]) -> str:
    """Say in words whether the attention model beats chance and each baseline; or why that cannot be said."""
    name = MAIN[found["task"]]
    own = found["attention"][name]
    if own["value"] is None:
        return f"The {NAMES[name]} is not defined for these test patients."
    if own["method"] == TOO_FEW:
        return f"The {NAMES[name]} is {own['value']:.3f}, of too few patients for an interval or a verdict: {too_few(found)}."
    span = f"{NAMES[name]} {own['value']:.3f}, {_span(own)}"
    is_better = own["low"] is not None and own["low"] > 0.5
    parts = [f"The attention model is {'better' if is_better else 'not shown to be better'} than chance ({span})."]
    is_choosing = not attention_is_idle(found)
    parts += [
        _against(MODEL_NAMES[model], found[model][name], found["differences"][model][name])
        for model in BASELINES
        if model in found and (is_choosing or model != MEAN_POOL)
    ]
    return " ".join([*parts, one_tile_words(found)]).rstrip()


def attention_is_idle(found: Mapping[str, Any]) -> bool:
    """Return whether every bag has one tile, so that attention weighs nothing."""
    bags = found.get("bags", {})
    return bool(bags.get("n")) and bags["n_of_one_tile"] == bags["n"]


def one_tile_words(found: Mapping[str, Any]) -> str:
    """Say how many bags have one tile, among which attention has nothing to choose; empty where none has."""
    bags = found.get("bags", {})
    if not bags.get("n_of_one_tile"):
        return ""
    if not attention_is_idle(found):
        return f"{bags['n_of_one_tile']} of {bags['n']} patients have one tile, where attention has nothing to choose."
    words = "Every patient has one tile, so attention has nothing to choose and was not tested"
    baseline, difference = found.get(MEAN_POOL), found.get("differences", {}).get(MEAN_POOL)
    if baseline is None or difference is None:
        return f"{words}."
    name = MAIN[found["task"]]
    return (
        f"{words}: the difference to the {MODEL_NAMES[MEAN_POOL]} ({_number(baseline[name]['value'])}), "
        f"{_number(difference[name]['value'])} ({_span(difference[name])}), is that of a non-linear head to a linear one."
    )


def too_few(found: Mapping[str, Any]) -> str:
    """Say how many patients were tested and how many it takes."""
    if found["task"] == "survival":
        return (
            f"{found['n_patients']} test patients with {found['n_events']} events, and it takes {MIN_PATIENTS} patients and "
            f"{MIN_EVENTS} events"
        )
    classes = ", ".join(f"{name} {own['n']}" for name, own in found["per_class"].items())
    return (
        f"{found['n_patients']} test patients ({classes}), and it takes {MIN_PATIENTS}, with a class of {MIN_EVENTS} beside "
        f"{MIN_EVENTS} others"
    )


def _span(own: Mapping[str, Any]) -> str:
    return "without an interval" if own["low"] is None else f"{_number(own['low'])} to {_number(own['high'])}"


def _against(model: str, other: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    if difference["low"] is not None and difference["low"] > 0:
        return f"It beats the {model} ({_number(other['value'])}) by {difference['value']:.3f}."
    is_above = difference["value"] is not None and difference["value"] > 0
    return (
        f"It {'is not shown to beat' if is_above else 'does not beat'} the {model} ({_number(other['value'])}): the difference "
        f"is {_number(difference['value'])} ({_span(difference)})."
    )


def comparison_table(compared: Mapping[str, Any]) -> str:
    """Return a comparison of two runs as text."""
    lines = [
        f"\n{compared['first']} less {compared['second']}, {compared['n_patients']} patients, paired bootstrap",
        f"{'':28s} {compared['first'][:9]:>9s} {compared['second'][:9]:>9s}   difference (95 % interval)      p   p (Holm)",
    ]
    for row in compared["bootstrap"]:
        own = row["difference"]
        span = f"{own['value']:+.3f} ({_number(own['low'])} to {_number(own['high'])})"
        lines.append(
            f"{NAMES[row['figure']]:28s} {_number(row['first']):>9s} {_number(row['second']):>9s}   {span:26s} "
            f"{_number(row['p']):>6s}   {_number(row['p_holm']):>6s}"
        )
    lines += [
        f"AUROC of {row['class']:19s} {_number(row['first']):>9s} {_number(row['second']):>9s}   DeLong's test"
        f"{'':14s}{_number(row['p']):>6s}   {_number(row['p_holm']):>6s}"
        for row in compared.get("delong", [])
    ]
    for row in compared["folds"]:
        what = row.get("why") or f"corrected t over {row['n_folds']} folds"
        p = "" if "why" in row else f"{_number(row['p']):>6s}   {_number(row['p_holm']):>6s}"
        lines.append(f"{NAMES[row['figure']]:28s} {what:42s} {'':5s}{p}")
    return "\n".join(lines)
