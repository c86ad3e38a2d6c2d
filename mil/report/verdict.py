"""What was found, in words and as text for the screen."""

from __future__ import annotations

from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.metrics.bootstrap import TOO_FEW, Interval
from mil.runs.comparison_record import Comparison, FoldTest
from mil.runs.figure_names import MEAN_POOL, MODEL_NAMES, NAMES, OF_TARGET
from mil.runs.heads_record import HeadResult, Heads

MAX_P = 0.05  # of a difference between heads that is not called noise, adjusted for their number
SHOWN = (
    "macro_auroc", "macro_average_precision", "balanced_accuracy", "accuracy", "macro_f1", "log_loss", "ece",
    "c_index", "c_index_within_folds", "uno_c", "integrated_brier",
    "quadratic_kappa", "step_error", "threshold_auroc", "r2", "mae", "rmse", "pearson", "spearman", "slope", "skill",
)  # fmt: skip


def results_table(metrics: RunMetrics | NotEvaluated) -> str:
    """Return the main metrics as text: value, 95 % interval over patients, baselines, chance."""
    if isinstance(metrics, NotEvaluated):
        return "nothing was evaluated: no patient is in a test set"
    shown = [name for name in metrics.attention if name.rpartition(OF_TARGET)[2] in SHOWN]
    width = max([26, *(len(NAMES[name]) for name in shown)])
    head = f"{f'out of fold, by {metrics.unit}':{width}s} {'value':>6s}   95 % interval  "
    lines = [head + "".join(f"  {_column(model):>9s}" for model in metrics.baselines) + f"  {'chance':>6s}"]
    for name in shown:
        own = metrics.attention[name]
        line = f"{NAMES[name]:{width}s} {_number(own.value):>6s}   {_number(own.low)} to {_number(own.high)} "
        line += "".join(f"  {_number(other[name].value):>9s}" for other in metrics.baselines.values())
        lines.append(f"{line}  {_number(metrics.chance.get(name)):>6s}")
    return "\n".join(lines)


def _column(model: str) -> str:
    return model.replace("_", " ")


def _number(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def verdict(metrics: RunMetrics | NotEvaluated) -> str:
    """Say in words whether the attention model beats chance and each baseline, or why that cannot be said.

    Nothing where nothing was evaluated.
    """
    if isinstance(metrics, NotEvaluated):
        return ""
    name = metrics.main
    own = metrics.attention[name]
    if own.value is None:
        return f"The {NAMES[name]} is not defined for these test {metrics.unit}s."
    if own.method == TOO_FEW:
        words = f"of too few patients for an interval or a verdict: {metrics.tested}, and it takes {metrics.needed}"
        return f"The {NAMES[name]} is {own.value:.3f}, {words}."
    span = f"{NAMES[name]} {own.value:.3f}, {_span(own)}"
    chance = metrics.chance.get(name, 0.5)
    is_worse = own.high is not None and own.high < chance
    words = "better" if own.low is not None and own.low > chance else "worse" if is_worse else "not shown to be better"
    parts = [f"The attention model is {words} than chance ({span})."]
    is_idle = _attention_is_idle(metrics)
    parts += [
        _against(MODEL_NAMES[model], other[name], metrics.differences[model][name])
        for model, other in metrics.baselines.items()
        if not (is_idle and model == MEAN_POOL)
    ]
    return " ".join(filter(None, [*parts, _one_tile_words(metrics), metrics.remarks]))


def _attention_is_idle(metrics: RunMetrics) -> bool:
    """Return whether every bag has one tile, so that attention weighs nothing."""
    return 0 < metrics.bags.n == metrics.bags.n_of_one_tile


def _one_tile_words(metrics: RunMetrics) -> str:
    """Say how many bags have one tile, among which attention has nothing to choose; empty where none has."""
    bags = metrics.bags
    if not bags.n_of_one_tile:
        return ""
    if not _attention_is_idle(metrics):
        return f"{bags.n_of_one_tile} of {bags.n} {metrics.unit}s have one tile, where attention has nothing to choose."
    words = f"Every {metrics.unit} has one tile, so attention has nothing to choose and was not tested"
    if metrics.mean_pool is None:
        return f"{words}."
    baseline, difference = metrics.mean_pool[metrics.main], metrics.differences[MEAN_POOL][metrics.main]
    return (
        f"{words}: the difference to the {MODEL_NAMES[MEAN_POOL]} ({_number(baseline.value)}), {_number(difference.value)} "
        f"({_span(difference)}), is that of a non-linear head to a linear one."
    )


def _span(own: Interval) -> str:
    return "without an interval" if own.low is None else f"{_number(own.low)} to {_number(own.high)}"


def _against(model: str, other: Interval, difference: Interval) -> str:
    if difference.low is not None and difference.low > 0:
        return f"It beats the {model} ({_number(other.value)}) by {difference.value:.3f}."
    is_above = difference.value is not None and difference.value > 0
    is_worse = difference.high is not None and difference.high < 0
    words = "is worse than" if is_worse else "is not shown to beat" if is_above else "does not beat"
    return f"It {words} the {model} ({_number(other.value)}): the difference is {_number(difference.value)} ({_span(difference)})."


def heads_words(own: HeadResult) -> str:
    """Say whether chance explains the difference of a head to the first."""
    difference = own.difference
    if difference is None or difference.low is None or difference.high is None:
        return "not tested"
    if difference.low <= 0 <= difference.high or (own.p_holm is not None and own.p_holm > MAX_P):
        return "within noise"
    return "better" if difference.low > 0 else "worse"


def heads_table(heads: Heads) -> str:
    """Return the comparison of several heads as text."""
    lines = [f"\nheads on the same folds: {NAMES[heads.metric]}, difference to the first (95 % interval)"]
    for own in heads.heads:
        figure = f"{own.head[:28]:28s} {_number(own.figure.value):>6s} ({_span(own.figure)})"
        difference = own.difference
        paired = (
            "" if difference is None else f"   {_number(difference.value)} ({_span(difference)}): {heads_words(own)}"
        )
        lines.append(figure + paired)
    return "\n".join(lines)


def comparison_table(compared: Comparison) -> str:
    """Return a comparison of two runs as text."""
    lines = [
        f"\n{compared.first} less {compared.second}, {compared.n_patients} patients, paired bootstrap",
        f"{'':28s} {compared.first[:9]:>9s} {compared.second[:9]:>9s}   difference (95 % interval)      p   p (Holm)",
    ]
    for own in compared.bootstrap:
        difference = own.difference
        span = f"{difference.value:+.3f} ({_number(difference.low)} to {_number(difference.high)})"
        lines.append(
            f"{NAMES[own.name]:28s} {_number(own.first):>9s} {_number(own.second):>9s}   {span:26s} "
            f"{_number(own.p):>6s}   {_number(own.p_holm):>6s}"
        )
    lines += [
        f"AUROC of {test.class_name:19s} {_number(test.first):>9s} {_number(test.second):>9s}   DeLong's test"
        f"{'':14s}{_number(test.p):>6s}   {_number(test.p_holm):>6s}"
        for test in compared.delong or ()
    ]
    return "\n".join([*lines, *map(_fold_line, compared.folds)])


def _fold_line(test: FoldTest) -> str:
    what = test.why or f"corrected t over {test.n_folds} folds"
    p = "" if test.why else f"{_number(test.p):>6s}   {_number(test.p_holm):>6s}"
    return f"{NAMES[test.name]:28s} {what:42s} {'':5s}{p}"
