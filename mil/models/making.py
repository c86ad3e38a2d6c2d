"""The model of a finished run, from what stands in its folder and its features; nothing is trained.

Temperature and limits of prediction sets are fitted on the out-of-fold predictions of the run's own patients: each was
predicted by heads that never saw it. Where nobody was tested, on those held out of training by inner folds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from common.arrays import read_attributes
from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from features.store.provenance import Provenance
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.heads.registry import head_record
from mil.metrics import conformal
from mil.metrics.calibration import fit_temperature, log_odds, scale_temperature
from mil.models.ensemble import Ensemble, mean_embeddings, write_ensemble
from mil.models.familiarity import LEAST_POINTS, Cloud, fit_cloud, fit_limits
from mil.models.known_patients import patients_of_run
from mil.models.record import (
    Calibration,
    CohortSummary,
    EnsembleRecord,
    FamiliarityFacts,
    FoldModel,
    Limits,
    PredictionSets,
    StainReference,
    SurvivalGrid,
    Worth,
)
from mil.runs.facts import RunFacts
from mil.runs.figure_names import ATTENTION
from mil.runs.model_file import read_model
from mil.runs.run_store import FinishedRun, by_fold
from mil.survival.prognosis import prognosis_of
from preprocessing.colour.stain import StainFit
from preprocessing.colour.stain_store import read_reference, reference_text
from preprocessing.tiling.tile_store import tiles_if_whole

GRID_QUANTILES, N_TIMES = (0.1, 0.8), 20  # of the training patients' follow-up, as in the evaluation
NOT_SETTINGS = ("study", "name", "features", "where", "encoder", "audit", "heads", "memory_gb", "threads", "bootstrap")


def write_model_of_run(
    run: FinishedRun, study: Study, bags: BagStore, worth: Mapping[str, Any] | None = None
) -> Path | None:
    """Write the model of a run and return its file; a task with neither classes nor hazards has none, and an older one goes."""
    if not run.facts.classes and any(fold.scale is None for fold in run.facts.folds):
        run.folder.model.unlink(missing_ok=True)
        return None
    write_ensemble(run.folder.model, model_of_run(run, study, bags, worth))
    return run.folder.model


def model_of_run(run: FinishedRun, study: Study, bags: BagStore, worth: Mapping[str, Any] | None = None) -> Ensemble:
    """Return the model of a run.

    Args:
        run: as read from its folder.
        study: where its tile files and stain references lie; features of other tools have none.
        bags: the features that it was trained on.
        worth: its metrics out of fold with their intervals, by name.

    Raises:
        ValueError: a model of a fold is missing or damaged.
    """
    facts = run.facts
    folds, heads = _folds(run)
    patients = _trained_on(run, bags)
    measured, clouds = _familiarity(study, bags, patients)
    calibration, sets = _certainty(run)
    record = EnsembleRecord(
        task=facts.task, classes=facts.classes, unit=facts.unit, encoder=_encoder(facts), licence=facts.encoder_licence,
        tiling=_tiling(study, bags, patients), stain_reference=_stain_reference(study, facts), folds=folds,
        calibration=calibration, prediction_sets=sets, survival=_grid(run), cohort=_cohort(facts, study),
        familiarity=measured, worth={name: _worth(own) for name, own in (worth or {}).items()},
        settings={name: value for name, value in facts.settings.items() if name not in NOT_SETTINGS},
        versions=facts.versions,
    )  # fmt: skip
    return Ensemble(record, heads, clouds)


def _folds(run: FinishedRun) -> tuple[tuple[FoldModel, ...], tuple[Head, ...]]:
    """Return every fold's record and head; a fold with one log-hazard with its baseline hazard."""
    grid, trained = _grid(run), dict(by_fold(run.follow_up, ATTENTION))
    folds, heads = [], []
    for own in run.facts.folds:
        model = read_model(run.folder.root / own.model_file)
        shift: float | None = None
        slope = 1.0
        hazard: tuple[float, ...] = ()
        if grid is not None and (own.scale is None or own.scale.intervals is None):
            known = trained[own.repeat, own.fold]
            prognosis = prognosis_of(
                known["log_hazard"].to_numpy(float), known["time"].to_numpy(float), known["event"].to_numpy(int)
            )
            shift, slope = prognosis.shift, prognosis.slope
            hazard = tuple(float(value) for value in prognosis.baseline(np.array(grid.times)))
        folds.append(
            FoldModel(
                repeat=own.repeat, fold=own.fold, n_train=own.n_train, sha256=own.model_sha256,
                head=head_record(model.head), scale=own.scale, hazard_shift=shift, hazard_slope=slope,
                hazard=hazard,
            )
        )  # fmt: skip
        heads.append(model.head)
    return tuple(folds), tuple(heads)


def _grid(run: FinishedRun) -> SurvivalGrid | None:
    if run.facts.classes or not len(run.follow_up):
        return None
    times = np.quantile(run.follow_up["time"].to_numpy(float), GRID_QUANTILES)
    return SurvivalGrid(
        times=tuple(float(t) for t in np.linspace(times[0], times[1], N_TIMES)), unit=run.facts.time_unit
    )


def _certainty(run: FinishedRun) -> tuple[Calibration | None, PredictionSets | None]:
    """Return temperature and limits of prediction sets, as the ensemble uses them: from mean logits over repeats."""
    if not run.facts.classes:
        return None, None
    known = run.predictions if len(run.predictions) else run.validation
    known = known[known["model"] == ATTENTION] if len(known) else known
    if not len(known):
        return None, None
    logits = pd.DataFrame(
        log_odds(known[run.probability_columns].to_numpy(float)), index=known["patient_id"].to_numpy()
    )
    mean = logits.groupby(level=0, sort=True).mean()
    labels = run.codes(known.groupby("patient_id", sort=True)["truth"].first())
    powers = np.exp(mean.to_numpy())
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    temperature = fit_temperature(probabilities, labels)
    assert temperature is not None, "there are patients"
    scaled = scale_temperature(probabilities, temperature)
    limits = conformal.class_thresholds(scaled, labels, conformal.COVERAGE)
    n_of = np.bincount(labels, minlength=len(run.classes))
    sets = PredictionSets(
        coverage=conformal.COVERAGE,
        thresholds={
            name: float(limit) if np.isfinite(limit) else None for name, limit in zip(run.classes, limits, strict=True)
        },
        n_patients={name: int(n) for name, n in zip(run.classes, n_of, strict=True)},
    )
    return Calibration(temperature=temperature, n_patients=len(labels)), sets


def _trained_on(run: FinishedRun, bags: BagStore) -> list[str]:
    """Return the patients of the run: every fold's are among them."""
    return sorted(patients_of_run(run.folder, run.facts) & set(bags.patients))


@dataclass(frozen=True)
class _SlidePoints:
    """What is measured of each training slide."""

    patients: list[str]
    means: Float64[np.ndarray, "slide dim"]
    n_tiles: list[int]
    slides: list[str]


def _familiarity(study: Study, bags: BagStore, patients: Sequence[str]) -> tuple[FamiliarityFacts, dict[str, Cloud]]:
    points = _points(bags, patients)
    embedding = fit_limits(points.means, points.patients)
    clouds = {} if embedding is None else {"embedding": fit_cloud(points.means)}
    stains = {slide: fit for slide in points.slides if (fit := stain_point_of_slide(study, slide)) is not None}
    is_known = [slide in stains for slide in points.slides]
    stain: Limits | None = None
    if sum(is_known) >= LEAST_POINTS:
        rows = np.stack([stains[slide] for slide, known in zip(points.slides, is_known, strict=True) if known])
        owners = [patient for patient, known in zip(points.patients, is_known, strict=True) if known]
        stain = fit_limits(rows, owners)
        clouds |= {} if stain is None else {"stain": fit_cloud(rows)}
    facts = FamiliarityFacts(
        embedding=embedding, stain=stain, least_tiles=min(points.n_tiles), most_tiles=max(points.n_tiles)
    )
    return facts, clouds


def _points(bags: BagStore, patients: Sequence[str]) -> _SlidePoints:
    owners, means, sizes, slides = [], [], [], []
    for patient in patients:
        bag = bags.read(patient)
        means.append(mean_embeddings(bag.tiles, bag.slide_of_tile, len(bag.slide_ids)))
        sizes += np.bincount(bag.slide_of_tile, minlength=len(bag.slide_ids)).tolist()
        owners += [patient] * len(bag.slide_ids)
        slides += list(bag.slide_ids)
    return _SlidePoints(owners, np.concatenate(means), sizes, slides)


def stain_point(fit: StainFit) -> Float64[np.ndarray, " 11"]:
    """Return a slide's stains as a point: both unit vectors, the logarithms of both amounts, and the glass."""
    return np.concatenate([fit.matrix.ravel(), np.log(np.maximum(fit.p99, 1e-3)), np.array(fit.glass) / 255])


def stain_point_of_slide(study: Study, slide: str) -> Float64[np.ndarray, " 11"] | None:
    """Return the stains of a slide's tile file as a point; None without one, or without a fit of the slide's own."""
    tiles = tiles_if_whole(study.tile_file(slide))
    return None if tiles is None or tiles.stain.method in ("none", "reference") else stain_point(tiles.stain)


def _tiling(study: Study, bags: BagStore, patients: Sequence[str]) -> dict[str, Any] | None:
    """Return the settings behind the slides' tiles, where they are known and alike."""
    found = set()
    for slide in (slide for patient in patients for slide in bags.slides_of(patient)):
        try:
            found.add(str(read_attributes(study.tile_file(slide))["settings"]))
        except (ValueError, KeyError):
            continue  # a slide without a tile file says nothing
    if len(found) != 1:
        return None
    settings = json.loads(found.pop())
    return settings if isinstance(settings, dict) and settings else None


def _encoder(facts: RunFacts) -> dict[str, Any]:
    """Return how the features were made, without what else files say: that may name a patient or a slide."""
    return dict(replace(Provenance.of_record(facts.encoder), others={}).record())


def _stain_reference(study: Study, facts: RunFacts) -> StainReference | None:
    """Return the colours that slides were mapped to, in full where the study has the reference's file or it is built in."""
    text = str(facts.encoder.get("stain_reference", "none"))
    if not text.startswith("{"):
        return None
    for path in (None, *sorted((study.root / "stain_references").glob("*.json"))):
        fit = _reference(path)
        if fit is not None and reference_text(fit) == text:
            return _as_record(fit.matrix, fit.basis[1], fit.p99, fit.lab, is_exact=True)
    rounded = json.loads(text)
    lab = None if rounded.get("lab") is None else np.array(rounded["lab"])
    matrix, pink, p99 = (np.array(rounded[name]) for name in ("matrix", "pink", "p99"))
    return _as_record(matrix, pink, p99, lab, is_exact=False)


def _reference(path: Path | None) -> StainFit | None:
    try:
        return read_reference(path)
    except StudyError:
        return None  # another reference of the study, of no matter here


def _as_record(
    matrix: np.ndarray, pink: np.ndarray, p99: np.ndarray, lab: np.ndarray | None, *, is_exact: bool
) -> StainReference:
    def rows(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(value) for value in row) for row in values)

    return StainReference(
        matrix=rows(matrix), pink=rows(pink[None])[0], p99=rows(p99[None])[0], lab=None if lab is None else rows(lab),
        is_exact=is_exact,
    )  # fmt: skip


def _cohort(facts: RunFacts, study: Study) -> CohortSummary:
    condition = facts.chosen_rows or ""
    rows = read_cohort(study.cohort_table).rows if condition else ()
    if any(str(row[name]) in condition for row in rows for name in ("patient_id", "slide_id")):
        condition = "some rows of the table, by a condition that names patients or slides"
    return CohortSummary(
        n_patients=facts.n_patients, n_slides=facts.n_slides, n_tiles=facts.n_tiles, class_counts=facts.class_counts,
        n_events=facts.n_events, is_synthetic=facts.is_synthetic, restriction=condition, source=facts.data_source,
        date=facts.data_date,
    )  # fmt: skip


def _worth(own: Any) -> Worth:
    return Worth(value=own.value, low=own.low, high=own.high)
