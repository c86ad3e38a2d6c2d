"""From a cohort to its table of folds, by each method, with a record of how they were made.

The record stands beside the table (splits/<name>.json): method and why, settings, the value of the site programme with its
bound and gap, classes that live at few sites, and checksums of the patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.cohort import Cohort, rows_where
from common.failures import StudyError
from common.settings import settings_of
from common.tables.cohort_columns import number_fault
from splits.cohort_strata import dealt_cohort, strata_of
from splits.folds import MIN_PATIENTS_TO_SHARE, Fold, given_sets, inner_sets, k_fold_sets, monte_carlo_sets
from splits.site_methods import leave_one_site_out, site_obstacle, site_preserved
from splits.split_settings import WITHOUT_EFFECT, SplitConfig
from splits.split_store import COLUMNS, RECORD_SCHEMA, cohort_sha256, table_sha256

if TYPE_CHECKING:
    import pandas as pd

Made = tuple[list[Fold], dict[str, Any]]  # the folds, and what the record says of them


def make_splits(cohort: Cohort, config: SplitConfig) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of folds and its record.

    Raises:
        StudyError: the method does not fit the cohort; the message says what to do.
    """
    method, why = choose_method(cohort, config)
    makers: dict[str, Callable[[Cohort, SplitConfig], Made]] = {
        "k_fold": _k_fold, "monte_carlo": _monte_carlo, "given": _given, "external": _external,
        "site_preserved": site_preserved, "leave_one_site_out": leave_one_site_out,
    }  # fmt: skip
    folds, facts = makers[method](cohort if method == "external" else dealt_cohort(cohort, config.stratify), config)
    if config.repeats > 1 and len({repeat for repeat, *_ in folds}) == 1:
        facts["notes"] = [*facts.get("notes", []), f"made once: there is nothing to deal anew for {method}"]
    without = sum(not (sets == "val").any() for *_, sets in folds)
    if config.val_fraction > 0 and without:
        facts["notes"] = [
            *facts.get("notes", []),
            f"no inner validation part can be had in {without} of {len(folds)} fold(s): no class has patients to spare for it "
            f"(wanted {MIN_PATIENTS_TO_SHARE} to train on); training runs to its last epoch there",
        ]
    if several := cohort.patients_of_several_subtypes:
        facts["notes"] = [
            *facts.get("notes", []),
            f"{len(several)} patient(s) have slides of several subtypes: each is dealt by the rarest of them",
        ]
    table = _table(cohort.patients, folds)
    record = {
        "schema": RECORD_SCHEMA, "method": method, "why": why, "settings": settings_of(config, without=WITHOUT_EFFECT),
        "n_patients": len(cohort.patients), "notes": [], **facts, "cohort_sha256": cohort_sha256(cohort, config.stratify),
        "table_sha256": table_sha256(table),
    }  # fmt: skip
    return table, record


def make_given(cohort: Cohort, *, val_fraction: float, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Turn the table's own `set` column into one fold and its record; there may be no test patient.

    Raises:
        StudyError: no patient is in the set "train".
    """
    return make_splits(cohort, SplitConfig(method="given", val_fraction=val_fraction, seed=seed))


def choose_method(cohort: Cohort, config: SplitConfig) -> tuple[str, str]:
    """Return the method and, in words, why."""
    if config.method != "auto":
        return config.method, "asked for"
    if config.external is not None:
        return "external", f"--external names the test patients: {config.external}"
    if "set" in cohort.slides.columns:
        return "given", "the table has a column set"
    patients = dealt_cohort(cohort, config.stratify).patients
    obstacle = site_obstacle(patients, config.folds)
    n_sites = patients["site"].nunique() if "site" in patients.columns else 0
    if obstacle is None:
        return "site_preserved", f"sites are known, and {n_sites} of them can fill {config.folds} folds"
    proposal = ""
    if 2 <= n_sites < config.folds and site_obstacle(patients, n_sites) is None:
        proposal = f"; --folds {n_sites} would keep whole sites together"
    return "k_fold", f"sites cannot be kept whole: {obstacle}{proposal}"


def _k_fold(cohort: Cohort, config: SplitConfig) -> Made:
    patients = cohort.patients
    if "subtype" in patients.columns:
        counts = patients["subtype"].value_counts()
        small = counts[counts < config.folds].sort_index()
        if len(small):
            if fault := number_fault(patients["subtype"].dropna().tolist()):
                raise StudyError(
                    f"{cohort.path}: subtype {fault}; map the column of classes under columns in study.yaml"
                )
            named = ", ".join(f"{name} ({count})" for name, count in small.items())
            ways = [f"use --folds {int(small.min())} or fewer"] if small.min() >= 2 else []
            ways += ["leave the class out (--where)", "unite it with another"]
            ways += ["use --stratify event for survival alone"] if "event" in patients.columns else []
            raise StudyError(
                f"{cohort.path}: fewer patients than the {config.folds} folds in {named}; {', '.join(ways[:-1])}, or {ways[-1]}"
            )
    if len(patients) < config.folds:
        raise StudyError(f"{cohort.path}: {len(patients)} patients cannot fill {config.folds} folds; use fewer --folds")
    folds = k_fold_sets(
        strata_of(patients), n_folds=config.folds, n_repeats=config.repeats, val_fraction=config.val_fraction,
        seed=config.seed,
    )  # fmt: skip
    return folds, {}


def _monte_carlo(cohort: Cohort, config: SplitConfig) -> Made:
    try:
        folds = monte_carlo_sets(
            strata_of(cohort.patients), n_draws=config.repeats, test_fraction=config.test_fraction,
            val_fraction=config.val_fraction, seed=config.seed,
        )  # fmt: skip
    except ValueError as error:
        raise StudyError(f"{cohort.path}: {error}; choose another --test_fraction") from error
    tested = np.any([sets == "test" for _, _, sets in folds], axis=0)
    notes = [f"{int((~tested).sum())} of {len(tested)} patients are in no test part"] if not tested.all() else []
    return folds, {"notes": notes}


def _given(cohort: Cohort, config: SplitConfig) -> Made:
    patients = cohort.patients
    if "set" not in patients.columns or not (patients["set"] == "train").any():
        raise StudyError(f"{cohort.path}: no patient is in the set 'train'; wanted a column set with train, val, test")
    given = patients["set"].tolist()
    return given_sets(strata_of(patients), given, val_fraction=config.val_fraction, seed=config.seed), {}


def _external(cohort: Cohort, config: SplitConfig) -> Made:
    """Test some patients once, by a model made from all the others."""
    assert config.external is not None
    chosen = cohort.slides.loc[rows_where(cohort, config.external, flag="--external"), "patient_id"]
    all_rows = cohort.slides[cohort.slides["patient_id"].isin(chosen)]
    half = sorted(set(all_rows.loc[all_rows.index.difference(chosen.index), "patient_id"]))
    if half:
        raise StudyError(f"--external {config.external!r} holds for some slides of {half[0]} only; name whole patients")
    is_test = cohort.patients.index.isin(chosen)
    if is_test.all() or not is_test.any():
        raise StudyError(f"--external {config.external!r} holds for {is_test.sum()} of {len(is_test)} patients")
    sets = inner_sets(
        strata_of(dealt_cohort(cohort, config.stratify).patients), is_test, config.val_fraction, [config.seed, 0, 0, 1]
    )
    return [(0, 0, sets)], {}


def _table(patients: pd.DataFrame, folds: Sequence[Fold]) -> pd.DataFrame:
    import pandas as pd

    parts = [
        pd.DataFrame({"repeat": repeat, "fold": fold, "patient_id": patients.index, "set": sets})
        for repeat, fold, sets in folds
    ]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
