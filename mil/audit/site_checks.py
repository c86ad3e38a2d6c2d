"""The checks of sites: what the site tells of the class, who is tested at a site of training, what embeddings tell of the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from mil.audit.checks import OK, WARNING, check
from mil.audit.site_confounding import (
    MIN_SITE_PATIENTS,
    concentrated_classes,
    cramers_v,
    cross_table,
    permutation_p,
    predict_sites,
)
from mil.runs.audit_record import Check
from splits.fold_plan import FoldPlan
from splits.folds import Strata, deal, k_fold_sets

INNER_FOLDS = 5  # of the site prediction, where the run's own folds never have a site on both sides


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


def check_sites_across_folds(known: Sites, folds: Sequence[FoldPlan], *, is_confounded: bool, seed: int) -> Check:
    """Which test patients come from sites that the model trained on, and the same for a random split beside it."""
    row_of = {patient: row for row, patient in enumerate(known.patients)}
    divisions = [("these splits", plan.repeat, plan.fold, *_sides(plan, row_of)) for plan in folds]
    n_folds = len({plan.fold for plan in folds})
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


def _sides(plan: FoldPlan, row_of: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the development (training and validation) and test patients."""
    sides = (*plan.train, *plan.val), plan.test
    train, test = (np.array(sorted(row_of[each] for each in side if each in row_of), dtype=np.int64) for side in sides)
    return train, test


def _seen(known: Sites, divisions: Sequence[tuple[Any, ...]]) -> int:
    return sum(int(np.isin(known.sites[test], known.sites[train]).sum()) for *_, train, test in divisions)


def check_site_from_embeddings(
    known: Sites, means: Float64[np.ndarray, "n dim"], folds: Sequence[FoldPlan], *, is_confounded: bool, seed: int
) -> Check:
    """How well mean embeddings tell the site of patients that a regression did not see."""
    row_of = {patient: row for row, patient in enumerate(known.patients)}
    first = [_sides(plan, row_of) for plan in folds if plan.repeat == folds[0].repeat]
    is_inner = not _seen(known, first) or len(first) < 2
    if is_inner:
        fold_of = deal(known.sites[:, None], INNER_FOLDS, np.random.default_rng([seed, 82]))
        first = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(INNER_FOLDS)]
    masks = [tuple(np.isin(np.arange(len(means)), side) for side in sides) for sides in first]
    skill = predict_sites(means, known.sites, [(m[0], m[1]) for m in masks], np.random.default_rng([seed, 83]))
    name = "site from mean embeddings"
    if skill is None:
        return check(name, OK, f"not measured: fewer than two sites have {MIN_SITE_PATIENTS} patients")
    is_above = skill.low > skill.chance
    text = (
        f"a logistic regression on mean embeddings names the site with balanced accuracy {skill.balanced_accuracy:.2f} "
        f"({skill.low:.2f} to {skill.high:.2f}; chance {skill.chance:.2f}; {skill.n_sites} sites with {MIN_SITE_PATIENTS} or "
        f"more patients, {skill.n_patients} patients), "
        + (
            f"in {INNER_FOLDS} random folds made for this, since the run's own never test a site they trained on"
            if is_inner else "on the test patients of the run's own folds"
        )
        + (": the embeddings carry the site" if is_above else ": above chance is not shown")
        + (", and the site goes with the class, so skill inside a site cannot be told from it in random folds"
           if is_above and is_confounded else "")
    )  # fmt: skip
    return check(name, WARNING if is_above and is_confounded else OK, text)
