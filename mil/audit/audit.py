"""The leak audit of a run, before it trains: gathers patients, slides, embeddings and sites, and lets the checks judge.

    {"checks": [{"name": ..., "verdict": "ok" | "warning" | "leak", "text": ..., "table": {"columns", "rows"} | null}]}

Every bag is read once. Nothing here changes a result: no patient is moved or left out, and the audit holds no clock times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from common.arrays import read_attributes
from common.failures import StudyError
from mil.audit.checks import (
    LEAK,
    OK,
    WARNING,
    Check,
    Parts,
    Sites,
    check,
    check_covariates,
    check_patients,
    check_site_by_class,
    check_site_from_embeddings,
    check_sites_across_folds,
    check_slides,
    copied_slides,
    nearly_copied_slides,
)
from mil.audit.leakage import SlideSummary, summarise
from splits.split_store import cohort_sha256, read_record

if TYPE_CHECKING:
    from common.cohort import Cohort
    from common.study import Study
    from mil.bags.bags import BagStore
    from mil.training.covariates import Covariates

TRAINING = "training patients of the fold"
# statistic, on whom it is fitted, where in the code: a test imports each
FITTED = (
    ("stain fit of a slide", "that slide alone", "preprocessing.colour.stain.fit_stain"),
    ("division into folds", "labels, times and sites of all patients, to deal them evenly and for nothing else",
     "splits.folds.deal"),
    ("inner validation part and its time quantiles", "training patients of the fold", "splits.folds.inner_validation"),
    ("input scaling of the attention head", TRAINING, "mil.training.packed.standardise"),
    ("class weights (subtype)", TRAINING, "mil.training.classification_task.class_weights"),
    ("weights of the attention head", TRAINING, "mil.training.fitting.fit"),
    ("epoch kept", "inner validation part, which is taken from the training part; without one, the last epoch",
     "mil.training.fitting.fit"),
    ("scale and cut-off of risk scores (survival)", TRAINING, "mil.training.cross_validation.run_folds"),
    ("input scaling and weights of the baselines", TRAINING, "mil.training.baseline.fit_scaler"),
    ("coding of clinical covariates", TRAINING, "mil.training.covariates.fit_encoder"),
    ("temperature", "inner validation part", "mil.metrics.calibration.fit_temperature"),
    ("learning rate, dropout, penalties and all other settings", "nobody: fixed before the run",
     "mil.training.training_settings.TrainConfig"),
)  # fmt: skip


@runtime_checkable
class Plan(Protocol):
    """A fold as training sees it."""

    @property
    def repeat(self) -> int:
        """The number of the repeat."""

    @property
    def fold(self) -> int:
        """The number of the fold."""

    @property
    def train(self) -> tuple[str, ...]:
        """The training patients."""

    @property
    def val(self) -> tuple[str, ...]:
        """The inner validation part."""

    @property
    def test(self) -> tuple[str, ...]:
        """The test patients."""


def audit_run(
    study: Study,
    cohort: Cohort,
    *,
    bags: BagStore,
    plans: Sequence[Plan],
    splits_file: Path,
    task: str,
    seed: int,
    covariates: Covariates,
) -> dict[str, list[Check]]:
    """Audit the folds of a run.

    Args:
        study: where tile files and stain references are.
        cohort: the clinical table, as the run takes it.
        bags: the embeddings.
        plans: the folds, of the patients that take part.
        splits_file: the table of folds; its record says how they were made.
        task: subtype or survival.
        seed: of the permutation test, the random split and the bootstrap.
        covariates: of the clinical baseline.
    """
    folds = [
        Parts(repeat=plan.repeat, fold=plan.fold, train=plan.train, val=plan.val, test=plan.test) for plan in plans
    ]
    patients = sorted({patient for parts in folds for patient in (*parts.train, *parts.val, *parts.test)})
    slides_of = {patient: bags.slides_of(patient) for patient in patients}
    patient_of = {slide: patient for patient, slides in slides_of.items() for slide in slides}
    summaries, means = _read_bags(bags, patients)
    copies = copied_slides(_contents(study, bags, slides_of))
    near = nearly_copied_slides(summaries, copies)
    checks = [
        check_splits(splits_file, cohort),
        check_patients(folds, slides_of),
        check_slides("copied slides", copies, folds, patient_of, len(patient_of)),
        check_slides("slides that are nearly copies", near, folds, patient_of, len(patient_of)),
        *_site_checks(cohort, patients, means, folds, task=task, seed=seed),
        check_covariates(covariates, *_outcomes(cohort, patients, task)),
        check_statistics(study, bags.made_by, folds, patient_of),
    ]
    return {"checks": checks}


def stop_at_leaks(audit: Mapping[str, Sequence[Check]]) -> None:
    """Refuse to go on where the audit is certain of a leak.

    Raises:
        StudyError: names each leak.
    """
    leaks = [f"{each['name']}: {each['text']}" for each in audit["checks"] if each["verdict"] == LEAK]
    if leaks:
        raise StudyError(
            f"the audit found {len(leaks)} leak(s), nothing was trained:\n  "
            + "\n  ".join(leaks)
            + "\n  Unite the patients, "
            "remove the copy, or make the splits again (splits/make_splits.py); --audit prints the whole audit"
        )


def audit_text(audit: Mapping[str, Sequence[Check]], *, in_full: bool) -> str:
    """Return the audit as text: verdict and words of each check, and its table; not in full, what is to be read."""
    counts = {verdict: sum(each["verdict"] == verdict for each in audit["checks"]) for verdict in (OK, WARNING, LEAK)}
    parts = [f"audit: {counts[OK]} checks ok, {counts[WARNING]} warning(s), {counts[LEAK]} leak(s)"]
    for each in audit["checks"]:
        if not in_full and each["verdict"] != WARNING:
            continue
        parts.append(f"[{each['verdict']}] {each['name']}: {each['text']}")
        if in_full and each["table"] is not None and each["table"]["rows"]:
            rows = [[str(cell) for cell in row] for row in (each["table"]["columns"], *each["table"]["rows"])]
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
    is_same = record["settings"]["where"] is not None or record["cohort_sha256"] == cohort_sha256(cohort)
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
        means.append(bag.tiles.mean(axis=0, dtype=np.float64))
    return summaries, np.stack(means)


def _contents(study: Study, bags: BagStore, slides_of: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return checksums of the slides: of their files (from tile files, where there are any) and of their features."""
    features: dict[str, str] = {}
    files: dict[str, str] = {}
    for patient, slides in slides_of.items():
        features.update(zip(slides, bags.fingerprint(patient), strict=True))
        for slide in slides:
            if study.tile_file(slide).is_file():
                files[slide] = str(read_attributes(study.tile_file(slide)).get("slide_fingerprint", slide))
    return {"the slide files are the same": files, "the features are the same": features}


def _site_checks(
    cohort: Cohort, patients: Sequence[str], means: np.ndarray, folds: Sequence[Parts], *, task: str, seed: int
) -> list[Check]:
    table = cohort.patients.loc[list(patients)]
    if "site" not in table.columns or table["site"].nunique() < 2:
        reason = "the table names no sites" if "site" not in table.columns else "all patients are of one site"
        return [check("site by class", OK, f"not measured: {reason}")]
    is_known = table["site"].notna().to_numpy()
    known = table[is_known]
    names, sites = np.unique(known["site"].to_numpy(dtype=str), return_inverse=True)
    outcome = known["subtype"] if task == "subtype" else known["event"].map({0: "censored", 1: "event"})
    class_names, classes = np.unique(outcome.to_numpy(dtype=str), return_inverse=True)
    found = Sites(
        patients=list(known.index), site_names=names.tolist(), class_names=class_names.tolist(),
        sites=sites.astype(np.int64), classes=classes.astype(np.int64), n_unknown=int((~is_known).sum()),
    )  # fmt: skip
    by_class = check_site_by_class(found, seed)
    is_confounded = by_class["verdict"] != OK
    across = check_sites_across_folds(found, folds, is_confounded=is_confounded, seed=seed)
    from_embeddings = check_site_from_embeddings(found, means[is_known], folds, is_confounded=is_confounded, seed=seed)
    return [by_class, across, from_embeddings]


def _outcomes(
    cohort: Cohort, patients: Sequence[str], task: str
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return each outcome as 1 or 0 of each patient, and the times of a survival task."""
    table = cohort.patients.loc[list(patients)]
    columns = {name: table[name].tolist() for name in table.columns}
    if task == "subtype":
        of_patient = list(zip(patients, columns["subtype"], strict=True))
        return {name: {p: float(own == name) for p, own in of_patient} for name in sorted(set(columns["subtype"]))}, {}
    events, times = (dict(zip(patients, map(float, columns[name]), strict=True)) for name in ("event", "time"))
    return {"the event": events}, times


def check_statistics(
    study: Study, made_by: Mapping[str, Any], folds: Sequence[Parts], patient_of: Mapping[str, str]
) -> Check:
    """Which statistic is fitted on whom; all on training patients, but for the stain reference, which is looked up."""
    source = str(made_by.get("encoder_source", "unknown source"))
    is_imagenet = "imagenet" in source.lower()
    seen = (
        "no patient of this study"
        if is_imagenet
        else "not in this study; whether it saw these slides is not known here"
    )
    whom, verdict = _stain_reference(study, str(made_by.get("stain_reference", "none")), folds, patient_of)
    rows = [
        ["encoder", f"{seen} (frozen; {source})", "features.encoder.registry"],
        ["stain reference", whom, "preprocessing.colour.stain.REFERENCE"],
        *FITTED,
    ]
    text = "every fitted statistic comes from the training patients of its fold"
    if verdict != OK:
        text += f", except the stain reference: {whom}"
    return check("where statistics were fitted", verdict, text, (["statistic", "fitted on", "where"], rows))


def _stain_reference(study: Study, text: str, folds: Sequence[Parts], patient_of: Mapping[str, str]) -> tuple[str, str]:
    """Return on whom the stain reference of the features was fitted, and the verdict."""
    from preprocessing.colour.stain import REFERENCE

    if text == "none":
        return "nobody: colours were not mapped", OK
    try:
        used = json.loads(text)
        if _is_alike(used, {"matrix": REFERENCE.matrix.tolist(), "p99": REFERENCE.p99.tolist()}):
            return "nobody of this study: built in", OK
        for path in sorted((study.root / "stain_references").glob("*.json")):
            made = json.loads(path.read_text(encoding="utf-8"))
            if _is_alike(used, made):
                return _reference_of_slides(path.name, made.get("slides", ()), folds, patient_of)
    except (ValueError, KeyError, TypeError):
        pass  # a reference of another form: its origin is not known
    return (
        "not built in, and no file in stain_references/ says which slides made it: test patients may be among them",
        WARNING,
    )


def _reference_of_slides(
    name: str, slides: Iterable[str], folds: Sequence[Parts], patient_of: Mapping[str, str]
) -> tuple[str, str]:
    used = {patient_of[slide] for slide in slides if slide in patient_of}
    tested = [parts for parts in folds if used & set(parts.test)]
    if not tested:
        return f"{name}: {len(used)} patients, none of them in a test part", OK
    n_tested = len(used & {patient for parts in tested for patient in parts.test})
    return (
        f"{name}: {len(used)} patients, of whom {n_tested} are test patients (in {len(tested)} fold(s)): their slides helped "
        "to choose the colours all slides were mapped to, though not their labels"
    ), WARNING


def _is_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two references are the same to the digits that features keep."""
    return all(
        np.shape(one[name]) == np.shape(other[name]) and np.allclose(one[name], other[name], rtol=0, atol=1.1e-4)
        for name in ("matrix", "p99")
    )
