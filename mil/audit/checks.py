"""The checks of patients, slides and covariates, each a verdict, a text and a table: plain values in, plain values out.

A verdict is "ok", "warning" (to be read) or "leak" (training stops). Only what is certain is a leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mil.audit.leakage import (
    SlideSummary,
    near_duplicates,
    one_patient_under_two_ids,
    patients_in_two_parts,
    shared_tiles,
    sharers,
)
from mil.metrics.concordance import c_index
from mil.runs.audit_record import Check, CheckTable
from mil.training.covariates import Covariates
from splits.fold_plan import FoldPlan

OK, WARNING, LEAK = "ok", "warning", "leak"
MAX_NAMED = 5
TELLING, MIN_TELLING = 0.95, 5  # AUROC or C of a suspicious covariate; patients on each side


def check(
    name: str, verdict: str, text: str, table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
) -> Check:
    """Return a check of audit.json."""
    shown = None if table is None else CheckTable(columns=tuple(table[0]), rows=tuple(tuple(row) for row in table[1]))
    return Check(name=name, verdict=verdict, text=text, table=shown)


def check_covariates(
    covariates: Covariates, outcomes: Mapping[str, Mapping[str, float]], time: Mapping[str, float]
) -> Check:
    """Warn of a clinical covariate that alone all but tells the outcome: a running number, or what follows from it.

    That a value is missing counts as a level: the clinical baseline learns of it, too.

    Args:
        covariates: those of the clinical baseline.
        outcomes: what is predicted (a subtype, the event) to 1 or 0 of each patient.
        time: follow-up of each patient; empty for a task without.
    """
    rows: list[tuple[str, str, float]] = []
    for name in covariates.names:
        for shown, score in _scores(name, covariates):
            strength, target = max(_strengths(score, outcomes, time), default=(0.0, ""))
            rows.append((shown, target, round(strength, 3)))
    telling = [f"{name} tells {target} ({strength:.2f})" for name, target, strength in rows if strength >= TELLING]
    if not telling:
        return check("covariates and outcome", OK, f"no clinical covariate alone reaches {TELLING:g} (AUROC or C)")
    text = f"{'; '.join(telling)}: if it is known only after the outcome, or numbers the patients in its order, leave it out"
    return check("covariates and outcome", WARNING, text, (["covariate", "outcome", "AUROC or C"], rows))


def _scores(name: str, covariates: Covariates) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what a model may learn of a covariate, each as a number of each patient: number, levels, missing or not."""
    values = covariates.values(name)
    known = {patient: value for patient, value in values.items() if value is not None}
    if name in covariates.categorical:
        for level in sorted({str(value) for value in known.values()}):
            yield f"{name} = {level}", {patient: float(str(value) == level) for patient, value in known.items()}
    else:
        yield name, {patient: float(value) for patient, value in known.items()}
    if len(known) < len(values):
        yield f"{name} = missing", {patient: float(value is None) for patient, value in values.items()}


def _strengths(
    score: Mapping[str, float], outcomes: Mapping[str, Mapping[str, float]], time: Mapping[str, float]
) -> Iterator[tuple[float, str]]:
    """Yield how well a score tells each outcome, in either direction (AUROC; of times C), where enough is known."""
    from sklearn.metrics import roc_auc_score

    for target, is_so in outcomes.items():
        patients = sorted(set(score) & set(is_so))
        truth = [is_so[patient] for patient in patients]
        if min(truth.count(0), truth.count(1)) >= MIN_TELLING:
            auroc = float(roc_auc_score(truth, [score[patient] for patient in patients]))
            yield max(auroc, 1 - auroc), target
        if time:
            values = [np.array([part[patient] for patient in patients]) for part in (score, time, is_so)]
            c = c_index(*values) if sum(truth) >= MIN_TELLING else float("nan")
            yield (0.0 if np.isnan(c) else max(c, 1 - c)), "time"


def separated(folds: Sequence[FoldPlan], one: str, other: str) -> str:
    """Return where two patients stand in different parts, for the first such fold, or an empty text."""
    for plan in folds:
        first, second = plan.part_of(one), plan.part_of(other)
        if first and second and first != second:
            return f"{first} and {second} of {plan.place}"
    return ""


def check_patients(folds: Sequence[FoldPlan], slides_of: Mapping[str, Sequence[str]]) -> Check:
    """No patient in two parts of a fold, by id, and by what ids and barcodes say."""
    rows: list[list[Any]] = []
    for plan in folds:
        double = patients_in_two_parts({"train": plan.train, "val": plan.val, "test": plan.test})
        rows += [[patient, patient, "the same id", plan.place] for patient in double]
    twins = one_patient_under_two_ids(slides_of)
    certain = [[*twin, separated(folds, twin[0], twin[1])] for twin in twins if "barcode" in twin[2]]
    rows += [row for row in certain if row[3]]
    n_certain = len(rows)
    rows += [[*twin, separated(folds, twin[0], twin[1])] for twin in twins if "barcode" not in twin[2]]
    rows += [[*row[:3], "never"] for row in certain if not row[3]]
    n_patients = len({patient for plan in folds for patient in (*plan.train, *plan.val, *plan.test)})
    if n_certain:
        named = "; ".join(f"{one} and {other} ({why}: {where})" for one, other, why, where in rows[:MAX_NAMED])
        text = f"{n_certain} patient(s) stand in two parts: {named}"
    elif rows:
        named = "; ".join(f"{one} and {other} ({why})" for one, other, why, _ in rows[:MAX_NAMED])
        text = f"{len(rows)} pair(s) of ids may be one patient: {named}"
    else:
        text = f"none of {n_patients} patients is in two parts of any of {len(folds)} fold(s)"
    verdict = LEAK if n_certain else WARNING if rows else OK
    return check("patients in two parts", verdict, text, (["patient", "patient", "why", "in different parts"], rows))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two slides that seem to be one."""

    one: str
    other: str
    why: str
    is_certain: bool


def copied_slides(contents: Mapping[str, Mapping[str, str]]) -> list[Pair]:
    """Return pairs of slides with one content, for each kind of checksum."""
    pairs: dict[tuple[str, str], Pair] = {}
    for why, values in contents.items():
        for group in sharers(values):
            for at, one in enumerate(group):
                for other in group[at + 1 :]:
                    pairs.setdefault((one, other), Pair(one=one, other=other, why=why, is_certain=True))
    return [pairs[key] for key in sorted(pairs)]


def nearly_copied_slides(summaries: Mapping[str, SlideSummary], known: Sequence[Pair]) -> list[Pair]:
    """Return pairs of slides with many identical tiles, then those too alike, without those known already."""
    pairs: dict[tuple[str, str], Pair] = {}
    for one, other, share in shared_tiles({name: own.sketch for name, own in summaries.items()}):
        why = f"{100 * share:.0f} % of the tiles have identical embeddings"
        pairs[one, other] = Pair(one=one, other=other, why=why, is_certain=True)
    for one, other, cosine, distance in near_duplicates(summaries):
        why = f"mean embeddings agree (cosine {cosine:.6f}, {distance:.2g} of the distance between two samples of one tissue)"
        pairs.setdefault((one, other), Pair(one=one, other=other, why=why, is_certain=False))
    seen = {(pair.one, pair.other) for pair in known}
    return [pairs[key] for key in sorted(pairs) if key not in seen]


def check_slides(
    name: str, pairs: Sequence[Pair], folds: Sequence[FoldPlan], patient_of: Mapping[str, str], n_slides: int
) -> Check:
    """Name pairs of slides that are one: a leak where it is certain and their patients are in different plan."""
    rows, worst, texts = [], OK, []
    for pair in pairs:
        patients = patient_of[pair.one], patient_of[pair.other]
        where = separated(folds, *patients) if patients[0] != patients[1] else ""
        is_leak = bool(where) and pair.is_certain
        worst = LEAK if is_leak or worst == LEAK else WARNING
        place = where or ("one patient" if patients[0] == patients[1] else "never in different parts")
        rows.append([pair.one, patients[0], pair.other, patients[1], pair.why, place])
        texts.append(
            (
                not is_leak,
                not where,
                f"{pair.one} ({patients[0]}) and {pair.other} ({patients[1]}): {pair.why}; {place}",
            )
        )
    named = "; ".join(text for *_, text in sorted(texts, key=lambda each: each[:2])[:MAX_NAMED])
    text = f"{len(pairs)} pair(s) among {n_slides} slides: {named}" if pairs else f"none among {n_slides} slides"
    return check(name, worst, text, (["slide", "patient", "slide", "patient", "why", "in different parts"], rows))
