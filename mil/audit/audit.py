"""The leak audit of a run, before it trains: gathers patients, slides, embeddings and sites, and lets the checks judge.

    {"checks": [{"name": ..., "verdict": "ok" | "warning" | "leak", "text": ..., "table": {"columns", "rows"} | null}]}

Every bag is read once. Nothing here changes a result: no patient is moved or left out, and the audit holds no clock times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import read_attributes
from common.failures import StudyError
from mil.audit.checks import (
    LEAK,
    OK,
    WARNING,
    check,
    check_covariates,
    check_patients,
    check_slides,
    copied_slides,
    nearly_copied_slides,
)
from mil.audit.fitted_statistics import OF_INTERVALS, OF_SEARCH, OF_TARGETS, check_statistics
from mil.audit.leakage import SlideSummary, summarise
from mil.audit.site_checks import Sites, check_site_by_class, check_site_from_embeddings, check_sites_across_folds
from mil.runs.audit_record import Audit, Check
from mil.training.task import RecordsTargets
from splits.fold_plan import FoldPlan
from splits.split_store import cohort_sha256, read_record

if TYPE_CHECKING:
    from common.cohort import Cohort
    from common.study import Study
    from mil.bags.bags import BagStore
    from mil.training.preparation import PreparedRun


def audit_run(prepared: PreparedRun) -> Audit:
    """Audit the folds of a run: of the patients that take part, their slides and embeddings, as the run takes them."""
    folds, bags, study = prepared.split_plans, prepared.bags, prepared.study
    patients = sorted({patient for plan in folds for patient in (*plan.train, *plan.val, *plan.test)})
    slides_of = {patient: bags.slides_of(patient) for patient in patients}
    patient_of = {slide: patient for patient, slides in slides_of.items() for slide in slides}
    persons, of_persons = folds, slides_of
    if prepared.patient_of:  # bags are slides, and what must not stand on two sides is a patient
        patient_of = {slide: prepared.patient_of[slide] for slide in patient_of}
        persons = [_of_persons(plan, patient_of) for plan in folds]
        of_persons = {
            each: sorted(s for s, own in patient_of.items() if own == each) for each in sorted({*patient_of.values()})
        }
    summaries, means = _read_bags(bags, patients)
    copies = copied_slides(_contents(study, bags, slides_of))
    near = nearly_copied_slides(summaries, copies)
    outcome = prepared.task.audit_outcome(prepared.targets, patients)
    checks = (
        check_splits(study.splits_file(prepared.config.splits), prepared.table),
        check_patients(persons, of_persons),
        check_slides("copied slides", copies, persons, patient_of, len(patient_of)),
        check_slides("slides that are nearly copies", near, persons, patient_of, len(patient_of)),
        *_site_checks(prepared, patients, means, outcome.class_of),
        *(_site_by_target(prepared, name, groups) for name, groups in outcome.others.items()),
        check_covariates(prepared.covariates, outcome.is_so, outcome.times),
        check_statistics(study, bags.provenance, persons, patient_of, _further(prepared)),
    )
    return Audit(checks=checks)


def _further(prepared: PreparedRun) -> tuple[tuple[str, str, str], ...]:
    """Return what is fitted on top where the run predicts columns that the user named, or searches settings."""
    of_targets: tuple[tuple[str, str, str], ...] = OF_TARGETS if isinstance(prepared.task, RecordsTargets) else ()
    of_targets += OF_INTERVALS if getattr(prepared.targets, "n_intervals", 0) else ()
    return of_targets if prepared.search is None else (*of_targets, OF_SEARCH)


def _of_persons(plan: FoldPlan, patient_of: Mapping[str, str]) -> FoldPlan:
    """Return a fold of slides as one of their patients."""
    parts = {
        part: tuple(sorted({patient_of[slide] for slide in getattr(plan, part)})) for part in ("train", "val", "test")
    }
    return FoldPlan(repeat=plan.repeat, fold=plan.fold, **parts)


def stop_at_leaks(audit: Audit) -> None:
    """Refuse to go on where the audit is certain of a leak.

    Raises:
        StudyError: names each leak.
    """
    leaks = [f"{each.name}: {each.text}" for each in audit.checks if each.verdict == LEAK]
    if leaks:
        raise StudyError(
            f"the audit found {len(leaks)} leak(s), nothing was trained:\n  "
            + "\n  ".join(leaks)
            + "\n  Unite the patients, "
            "remove the copy, or make the splits again (splits/make_splits.py); --audit prints the whole audit"
        )


def audit_text(audit: Audit, *, in_full: bool) -> str:
    """Return the audit as text: verdict and words of each check, and its table; not in full, what is to be read."""
    counts = {verdict: sum(each.verdict == verdict for each in audit.checks) for verdict in (OK, WARNING, LEAK)}
    parts = [f"audit: {counts[OK]} checks ok, {counts[WARNING]} warning(s), {counts[LEAK]} leak(s)"]
    for each in audit.checks:
        if not in_full and each.verdict != WARNING:
            continue
        parts.append(f"[{each.verdict}] {each.name}: {each.text}")
        if in_full and each.table is not None and each.table.rows:
            rows = [[str(cell) for cell in row] for row in (each.table.columns, *each.table.rows)]
            widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
            lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
            parts += [f"    {line.rstrip()}" for line in lines]
    return "\n".join(parts)


def check_splits(splits_file: Path, cohort: Cohort) -> Check:
    """What is known of the making of the folds, and whether the table they were made from still says the same."""
    record = read_record(splits_file)
    if record is None:
        return check(
            "making of the folds", OK, f"{splits_file.name} has no record of how it was made (a table by hand)"
        )
    text = f"{record['method']} ({record['why']}), seed {record['settings']['seed']}"
    text += "".join(f". {note}" for note in record["notes"])
    made_of = cohort_sha256(cohort, str(record["settings"].get("stratify", "subtype")))
    is_same = record["settings"]["where"] is not None or record["cohort_sha256"] == made_of
    if not is_same and record["n_patients"] == len(cohort.patients):
        text += (
            ". Subtypes, times, events or sites in the clinical table changed since: the folds may no longer be even"
        )
        return check("making of the folds", WARNING, text)
    return check("making of the folds", WARNING if record["notes"] else OK, text)


def _read_bags(bags: BagStore, patients: Sequence[str]) -> tuple[dict[str, SlideSummary], np.ndarray]:
    """Return a summary of each slide and the mean embedding of each patient, reading each bag once."""
    summaries, means = {}, []
    for patient in patients:
        bag = bags.read(patient)
        for number, slide in enumerate(bag.slide_ids):
            tiles = bag.tiles[bag.slide_of_tile == number]
            if len(tiles):
                summaries[slide] = summarise(tiles)
        means.append(bag.mean_tile)
    return summaries, np.stack(means)


def _contents(study: Study, bags: BagStore, slides_of: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return checksums of the slides: of their files (from tile files, where there are any) and of their features."""
    features: dict[str, str] = {}
    files: dict[str, str] = {}
    for patient, slides in slides_of.items():
        features.update(zip(slides, bags.fingerprint(patient), strict=True))
        for slide in slides:
            if study.tile_file(slide).is_file():
                files[slide] = _slide_fingerprint(study.tile_file(slide), slide)
    return {"the slide files are the same": files, "the features are the same": features}


def _slide_fingerprint(tile_file: Path, slide: str) -> str:
    try:
        return str(read_attributes(tile_file).get("slide_fingerprint", slide))
    except ValueError as error:
        raise StudyError(str(error)) from error


def _site_checks(
    prepared: PreparedRun, patients: Sequence[str], means: np.ndarray, class_of: Mapping[str, str]
) -> list[Check]:
    sites = _sites(prepared, patients, class_of)
    if isinstance(sites, str):
        return [check("site by class", OK, f"not measured: {sites}")]
    is_known = np.isin(np.array(patients), np.array(sites.patients))
    folds, seed = prepared.split_plans, prepared.config.seed
    by_class = check_site_by_class(sites, seed)
    is_confounded = by_class.verdict != OK
    across = check_sites_across_folds(sites, folds, is_confounded=is_confounded, seed=seed)
    from_embeddings = check_site_from_embeddings(sites, means[is_known], folds, is_confounded=is_confounded, seed=seed)
    return [by_class, across, from_embeddings]


def _site_by_target(prepared: PreparedRun, name: str, groups: Mapping[str, str]) -> Check:
    """Weigh the sites against a further target, among the patients who have it."""
    sites, shown = _sites(prepared, sorted(groups), groups), f"site by {name}"
    if isinstance(sites, str):
        return check(shown, OK, f"not measured: {sites}")
    return replace(check_site_by_class(sites, prepared.config.seed), name=shown)


def _sites(prepared: PreparedRun, patients: Sequence[str], class_of: Mapping[str, str]) -> Sites | str:
    """Return sites and classes of the patients whose site is known; in words why not, where there are no two sites."""
    table = prepared.cohort.patients.loc[list(patients)]
    if "site" not in table.columns or table["site"].nunique() < 2:
        return "the table names no sites" if "site" not in table.columns else "all patients are of one site"
    is_known = table["site"].notna().to_numpy()
    known = table[is_known]
    names, site_codes = np.unique(known["site"].to_numpy(dtype=str), return_inverse=True)
    class_names, class_codes = np.unique([class_of[patient] for patient in known.index], return_inverse=True)
    return Sites(
        patients=list(known.index), site_names=names.tolist(), class_names=class_names.tolist(),
        sites=site_codes.astype(np.int64), classes=class_codes.astype(np.int64), n_unknown=int((~is_known).sum()),
    )  # fmt: skip
