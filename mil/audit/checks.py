"""The checks of the leak audit, each a verdict, a text and a table: plain values in, plain values out.

A verdict is "ok", "warning" (to be read) or "leak" (training stops). Only what is certain is a leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from mil.audit.leakage import (
    SlideSummary,
    near_duplicates,
    one_patient_under_two_ids,
    patients_in_two_parts,
    shared_tiles,
    sharers,
)
from mil.audit.site_confounding import (
    MIN_SITE_PATIENTS,
    concentrated_classes,
    cramers_v,
    cross_table,
    permutation_p,
    predict_sites,
)
from mil.metrics.concordance import c_index
from mil.training.covariates import Covariates
from splits.folds import Strata, deal, k_fold_sets

OK, WARNING, LEAK = "ok", "warning", "leak"
MAX_NAMED = 5
TELLING, MIN_TELLING = 0.95, 5  # AUROC or C of a suspicious covariate; patients on each side
INNER_FOLDS = 5  # of the site prediction, where the run's own folds never have a site on both sides
Check = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Who trains, decides when to stop, and is tested in one fold."""

    repeat: int
    fold: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def part_of(self, patient: str) -> str:
        """Return the part of a patient, or an empty text."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return next((name for name, patients in named.items() if patient in patients), "")


def check(
    name: str, verdict: str, text: str, table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
) -> Check:
    """Return a check in the form of audit.json."""
    shown = None if table is None else {"columns": list(table[0]), "rows": [list(row) for row in table[1]]}
    return {"name": name, "verdict": verdict, "text": text, "table": shown}


def check_covariates(
    covariates: Covariates, outcomes: Mapping[str, Mapping[str, float]], time: Mapping[str, float]
) -> Check:
    """Warn of a clinical covariate that alone all but tells the outcome: a running number, or what follows from it.

    Args:
        covariates: those of the clinical baseline.
        outcomes: what is told (a subtype, the event) to 1 or 0 of each patient.
        time: follow-up of each patient; empty for subtypes.
    """
    rows: list[tuple[str, str, float]] = []
    for name in covariates.names:
        known = {patient: value for patient, value in covariates.values(name).items() if value is not None}
        for level in sorted({str(value) for value in known.values()}) if name in covariates.categorical else [""]:
            score = {p: float(str(v) == level) if level else float(str(v)) for p, v in known.items()}
            strength, target = max(_strengths(score, outcomes, time), default=(0.0, ""))
            rows.append((f"{name} = {level}" if level else name, target, round(strength, 3)))
    told = [f"{name} tells {target} ({strength:.2f})" for name, target, strength in rows if strength >= TELLING]
    if not told:
        return check("covariates and outcome", OK, f"no clinical covariate alone reaches {TELLING:g} (AUROC or C)")
    text = (
        f"{'; '.join(told)}: if it is known only after the outcome, or numbers the patients in its order, leave it out"
    )
    return check("covariates and outcome", WARNING, text, (["covariate", "outcome", "AUROC or C"], rows))


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


def separated(folds: Sequence[Parts], one: str, other: str) -> str:
    """Return where two patients stand in different parts, for the first such fold, or an empty text."""
    for parts in folds:
        first, second = parts.part_of(one), parts.part_of(other)
        if first and second and first != second:
            return f"{first} and {second} of repeat {parts.repeat}, fold {parts.fold}"
    return ""


def check_patients(folds: Sequence[Parts], slides_of: Mapping[str, Sequence[str]]) -> Check:
    """No patient in two parts of a fold, by id, and by what ids and barcodes say."""
    rows: list[list[Any]] = []
    for parts in folds:
        double = patients_in_two_parts({"train": parts.train, "val": parts.val, "test": parts.test})
        rows += [[patient, patient, "the same id", f"repeat {parts.repeat}, fold {parts.fold}"] for patient in double]
    twins = one_patient_under_two_ids(slides_of)
    certain = [[*twin, separated(folds, twin[0], twin[1])] for twin in twins if "barcode" in twin[2]]
    rows += [row for row in certain if row[3]]
    n_certain = len(rows)
    rows += [[*twin, separated(folds, twin[0], twin[1])] for twin in twins if "barcode" not in twin[2]]
    rows += [[*row[:3], "never"] for row in certain if not row[3]]
    n_patients = len({patient for parts in folds for patient in (*parts.train, *parts.val, *parts.test)})
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
    name: str, pairs: Sequence[Pair], folds: Sequence[Parts], patient_of: Mapping[str, str], n_slides: int
) -> Check:
    """Name pairs of slides that are one: a leak where it is certain and their patients are in different parts."""
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
    found = "; ".join(text for *_, text in sorted(texts, key=lambda each: each[:2])[:MAX_NAMED])
    text = f"{len(pairs)} pair(s) among {n_slides} slides: {found}" if pairs else f"none among {n_slides} slides"
    return check(name, worst, text, (["slide", "patient", "slide", "patient", "why", "in different parts"], rows))


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Patients with known site and class, and their mean embeddings."""

    patients: Sequence[str]
    site_names: Sequence[str]
    class_names: Sequence[str]
    sites: np.ndarray
    classes: np.ndarray
    n_unknown: int  # patients without a site


def check_site_by_class(known: Sites, seed: int) -> Check:
    """How far the site gives the class away."""
    table = cross_table(known.sites, known.classes)
    strength, p = cramers_v(table), permutation_p(table, np.random.default_rng([seed, 81]))
    of_all = table.sum(axis=1)
    by_site: dict[int, list[str]] = {}
    for site, name in concentrated_classes(table):
        total = int(table[:, name].sum())
        by_site.setdefault(site, []).append(f"{table[site, name]} of {total} {known.class_names[name]}")
    texts = [
        f"{known.site_names[site]} gave {' and '.join(gave)} patients (and {of_all[site]} of all {of_all.sum()})"
        for site, gave in sorted(by_site.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    is_shown = p < 0.05
    words = "a model that reads the site knows something of the class" if is_shown else "no association is shown"
    if texts and not is_shown:
        words = "over all sites together no association is shown, but one stands out"
    size = "not defined" if strength is None else f"{strength:.2f}"
    text = (
        f"Cramér's V of site and class is {size} (bias-corrected; permutation p {p:.2g}, {len(of_all)} sites, "
        f"{of_all.sum()} patients): {words}"
        + "".join(f". Confounded: {each}" for each in texts)
        + (f". {known.n_unknown} patient(s) have no site" if known.n_unknown else "")
    )
    order = np.lexsort((np.arange(len(of_all)), -of_all))
    rows = [[known.site_names[site], *map(int, table[site]), int(of_all[site])] for site in order]
    rows.append(["all", *map(int, table.sum(axis=0)), int(table.sum())])
    return check(
        "site by class", WARNING if is_shown or texts else OK, text, (["site", *known.class_names, "all"], rows)
    )


def check_sites_across_folds(known: Sites, folds: Sequence[Parts], *, is_confounded: bool, seed: int) -> Check:
    """Which test patients come from sites that the model trained on, and the same for a random split beside it."""
    row_of = {patient: row for row, patient in enumerate(known.patients)}
    divisions = [("these splits", parts.repeat, parts.fold, *_sides(parts, row_of)) for parts in folds]
    n_folds = len({parts.fold for parts in folds})
    own_seen = _seen(known, divisions)
    if not own_seen and 2 <= n_folds <= len(known.patients):
        unknown = np.full(len(known.patients), np.nan)
        strata = Strata(classes=known.classes, events=np.full(len(unknown), -1), times=unknown)
        for repeat, fold, sets in k_fold_sets(strata, n_folds=n_folds, n_repeats=1, val_fraction=0.0, seed=seed):
            divisions.append(
                ("a random split", repeat, fold, np.flatnonzero(sets != "test"), np.flatnonzero(sets == "test"))
            )
    rows = []
    for name, repeat, fold, train, test in divisions:
        counts = np.bincount(known.classes[test], minlength=len(known.class_names))
        n_seen = int(np.isin(known.sites[test], known.sites[train]).sum())
        rows.append([name, repeat, fold, len(test), len(np.unique(known.sites[test])), n_seen, *counts.tolist()])
    n_tested = sum(len(test) for name, *_, test in divisions if name == "these splits")
    text = f"{own_seen} of {n_tested} test patients come from a site with training patients in their fold"
    if not own_seen:
        random = [row for row in rows if row[0] == "a random split"]
        text = "no test patient comes from a site that the model trained on" if n_tested else "there is no test patient"
        if random:
            text += (
                f"; in a random split it would be {sum(row[5] for row in random)} of {sum(row[3] for row in random)}"
            )
    columns = ["splits", "repeat", "fold", "test patients", "their sites", "of a site in training", *known.class_names]
    return check("sites across folds", WARNING if own_seen and is_confounded else OK, text, (columns, rows))


def _sides(parts: Parts, row_of: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the development (training and validation) and test patients."""
    sides = (*parts.train, *parts.val), parts.test
    train, test = (np.array(sorted(row_of[each] for each in side if each in row_of), dtype=np.int64) for side in sides)
    return train, test


def _seen(known: Sites, divisions: Sequence[tuple[Any, ...]]) -> int:
    return sum(int(np.isin(known.sites[test], known.sites[train]).sum()) for *_, train, test in divisions)


def check_site_from_embeddings(
    known: Sites, means: Float64[np.ndarray, "n dim"], folds: Sequence[Parts], *, is_confounded: bool, seed: int
) -> Check:
    """How well mean embeddings tell the site of patients that a regression did not see."""
    row_of = {patient: row for row, patient in enumerate(known.patients)}
    first = [_sides(parts, row_of) for parts in folds if parts.repeat == folds[0].repeat]
    is_inner = not _seen(known, first) or len(first) < 2
    if is_inner:
        parts = deal(known.sites[:, None], INNER_FOLDS, np.random.default_rng([seed, 82]))
        first = [(np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)) for fold in range(INNER_FOLDS)]
    masks = [tuple(np.isin(np.arange(len(means)), side) for side in sides) for sides in first]
    found = predict_sites(means, known.sites, [(m[0], m[1]) for m in masks], np.random.default_rng([seed, 83]))
    name = "site from mean embeddings"
    if found is None:
        return check(name, OK, f"not measured: fewer than two sites have {MIN_SITE_PATIENTS} patients")
    is_above = found.low > found.chance
    text = (
        f"a logistic regression on mean embeddings names the site with balanced accuracy {found.balanced_accuracy:.2f} "
        f"({found.low:.2f} to {found.high:.2f}; chance {found.chance:.2f}; {found.n_sites} sites with {MIN_SITE_PATIENTS} or "
        f"more patients, {found.n_patients} patients), "
        + (
            f"in {INNER_FOLDS} random folds made for this, since the run's own never test a site they trained on"
            if is_inner else "on the test patients of the run's own folds"
        )
        + (": the embeddings carry the site" if is_above else ": above chance is not shown")
        + (", and the site goes with the class, so skill inside a site cannot be told from it in random folds"
           if is_above and is_confounded else "")
    )  # fmt: skip
    return check(name, WARNING if is_above and is_confounded else OK, text)
