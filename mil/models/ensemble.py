"""The model of a run: the outputs of the heads of its folds, and what they say together.

Class logits are averaged over the heads, each less its own mean over the classes (what a softmax does not see), and divided
by one temperature; log-hazards are averaged after each head's own mean among its training patients is taken off. Both are
sums, so that contributions of tiles add up through the ensemble. Of heads with a log-odds for each interval of time the mean over
intervals is such a sum too; their risks and curves are made of each head's own outputs and averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Num

from common.failures import StudyError
from features.store.provenance import MUST_AGREE, Provenance
from mil.heads.head import Head
from mil.heads.registry import rebuild_head
from mil.metrics.conformal import prediction_sets
from mil.models.familiarity import Cloud
from mil.models.record import SCHEMA, EnsembleRecord, FoldModel
from mil.models.sealed_tensors import read_sealed_tensors, write_sealed_tensors
from mil.runs.facts import IntervalFacts
from mil.runs.record import plain, record_of
from mil.survival.discrete_hazard import cumulative_hazard, log_mean_hazard
from mil.survival.prognosis import median_survival, relative_hazard, restricted_mean
from mil.survival.risk_groups import agreed_groups, group_names, group_of

REMEDY = "train again with the same python mil/train.py (folds that are whole are kept), which writes it"
LOG_ODDS_RATIO = "log_odds_ratio"
CLOUDS = ("embedding", "stain")


@dataclass(frozen=True)
class Ensemble:
    """Heads in the order of `record.folds`, the record, and the clouds of the training slides that are known."""

    record: EnsembleRecord
    heads: tuple[Head, ...]
    clouds: Mapping[str, Cloud]

    def check_features(self, provenance: Provenance, *, what: str = "these features") -> None:
        """Refuse features made otherwise than the model's.

        Raises:
            StudyError: names every difference.
        """
        wanted, found = Provenance.of_record(self.record.encoder).record(), provenance.record()
        names = (*MUST_AGREE, "n_features")
        differing = [name for name in names if wanted.get(name) != found.get(name)]
        if differing:
            listed = "; ".join(f"{name} {wanted.get(name)!r}, and {found.get(name)!r} here" for name in differing)
            raise StudyError(
                f"{what} are not made as those the model was trained on: {listed}. Make features with the model's settings "
                "(python mil/predict.py --slides does)"
            )

    def outputs(self, tiles: Num[np.ndarray, "tile dim"]) -> Float64[np.ndarray, "fold out"]:
        """Return what each head says of a bag: logits, a log-hazard, or of intervals of time; NaN for one that a head has not."""
        bag = torch.from_numpy(tiles)
        widest = max(head.n_outputs for head in self.heads)
        said = np.full((len(self.heads), widest), np.nan)
        with torch.inference_mode():
            for row, head in zip(said, self.heads, strict=True):
                row[: head.n_outputs] = head.of_bag(bag).double().numpy()
        return said

    def told(self, outputs: Float64[np.ndarray, "fold out"]) -> Float64[np.ndarray, "fold told"]:
        """Return what each head says under `output_names`: its outputs, or the mean of those of intervals."""
        return np.nanmean(outputs, axis=1, keepdims=True) if self.has_intervals else outputs

    @property
    def is_survival(self) -> bool:
        """Whether the outputs are hazards."""
        return not self.record.classes

    @property
    def has_intervals(self) -> bool:
        """Whether the heads have a log-odds for each interval of time."""
        return any(intervals_of(fold) is not None for fold in self.record.folds)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The classes, the log-hazard, or the log-odds ratio to the training cohort, averaged over intervals of time."""
        return self.record.classes or ((LOG_ODDS_RATIO,) if self.has_intervals else ("log_hazard",))

    @property
    def levels(self) -> Float64[np.ndarray, " fold"]:
        """What is taken off each head's log-hazard before they are averaged; 0 for classes and intervals."""
        return np.array(
            [
                0.0 if fold.scale is None or fold.scale.intervals is not None else fold.scale.mean
                for fold in self.record.folds
            ]
        )


def intervals_of(fold: FoldModel) -> IntervalFacts | None:
    """Return the intervals of time of a fold's head; None where it has classes or one log-hazard."""
    return None if fold.scale is None else fold.scale.intervals


@dataclass(frozen=True, kw_only=True)
class ClassOpinion:
    """What an ensemble says of a patient's class."""

    logits: Float64[np.ndarray, " k"]  # mean over heads, each centred
    probabilities: Float64[np.ndarray, " k"]  # calibrated
    in_set: Bool[np.ndarray, " k"] | None  # None: nobody was held out to set limits by

    @property
    def is_told(self) -> bool:
        """Whether one class alone is left; else the model cannot tell."""
        return self.in_set is not None and int(self.in_set.sum()) == 1


@dataclass(frozen=True, kw_only=True)
class HazardOpinion:
    """What an ensemble says of a patient's hazard."""

    log_hazard: float  # mean over heads (of intervals: log_mean_hazard of each), less each head's mean among its training patients
    score: float  # the same in standard deviations among training patients
    group: int  # 0 the lowest: that of most heads
    group_name: str
    survival: Float64[np.ndarray, " t"]  # S(t) on the grid, the mean over heads
    median: float | None  # time at which S(t) is half; None where it is more to the end of the grid
    restricted_mean: float | None  # mean time until the end of the grid; None without a grid


def class_opinion(record: EnsembleRecord, outputs: Float[np.ndarray, "fold k"]) -> ClassOpinion:
    """Return calibrated probabilities and the set of classes that cannot be ruled out."""
    logits = (outputs - outputs.mean(axis=1, keepdims=True)).mean(axis=0)
    scaled = logits / (1.0 if record.calibration is None else record.calibration.temperature)
    powers = np.exp(scaled - scaled.max())
    probabilities = powers / powers.sum()
    in_set = None
    if record.prediction_sets is not None:
        limits = [record.prediction_sets.thresholds[name] for name in record.classes]
        values = np.array([np.inf if limit is None else limit for limit in limits])
        in_set = prediction_sets(probabilities[None], values)[0]
    return ClassOpinion(logits=logits, probabilities=probabilities, in_set=in_set)


def hazard_opinion(record: EnsembleRecord, outputs: Float[np.ndarray, "fold out"]) -> HazardOpinion:
    """Return log-hazard, score, risk group and survival on the model's grid."""
    scales = [fold.scale for fold in record.folds]
    times = np.array([] if record.survival is None else record.survival.times)
    said = [_said_by(fold, own, times) for fold, own in zip(record.folds, outputs, strict=True)]
    risks, groups, scores = np.array([risk for risk, _ in said]), [], []
    for risk, scale in zip(risks, scales, strict=True):
        assert scale is not None, "a survival head has a scale"
        scores.append((risk - scale.mean) / scale.sd)
        groups.append(group_of(float(risk), scale.cutoffs))
    score = float(np.mean(scores))
    group = int(agreed_groups(np.array([np.mean(groups)]), np.array([score]))[0])
    curves = [curve for _, curve in said if curve is not None]
    levels = np.array([scale.mean for scale in scales if scale is not None])
    cutoffs = scales[0].cutoffs if scales[0] is not None else ()
    survival: Float64[np.ndarray, " t"] = np.mean(curves, axis=0) if curves else np.empty(0)
    return HazardOpinion(
        log_hazard=float((risks - levels).mean()), score=score, group=group,
        group_name=group_names(1 + len(cutoffs))[group],
        survival=survival, median=median_survival(times, survival) if len(survival) else None,
        restricted_mean=restricted_mean(times, survival) if len(survival) else None,
    )  # fmt: skip


def _said_by(
    fold: FoldModel, outputs: Float[np.ndarray, " out"], times: Float64[np.ndarray, " t"]
) -> tuple[float, Float64[np.ndarray, " t"] | None]:
    """Return the risk of a patient by one head, and survival at the times of the grid; None without a grid."""
    own = intervals_of(fold)
    if own is None:
        ratio = relative_hazard(outputs[:1], shift=fold.hazard_shift or 0.0, slope=fold.hazard_slope)
        return float(outputs[0]), None if fold.hazard_shift is None else np.exp(-ratio * np.array(fold.hazard))
    log_odds = (outputs[: len(own.ends)] + np.array(own.base))[None]
    curve = np.exp(-cumulative_hazard(log_odds, np.array(own.ends), times)[0]) if len(times) else None
    return float(log_mean_hazard(log_odds)[0]), curve


def write_ensemble(path: Path, ensemble: Ensemble) -> None:
    """Write a model, atomically; the same model is the same bytes."""
    tensors = {
        f"{fold.key}.{name}": value
        for fold, head in zip(ensemble.record.folds, ensemble.heads, strict=True)
        for name, value in head.state_dict().items()
    }
    for kind, cloud in ensemble.clouds.items():
        for name in ("mean", "scale", "axes", "variances"):
            tensors[f"{kind}.{name}"] = torch.from_numpy(getattr(cloud, name).copy())
        tensors[f"{kind}.rest"] = torch.tensor([cloud.rest], dtype=torch.float64)
    write_sealed_tensors(path, tensors, {"schema": SCHEMA, **plain(ensemble.record)})


def read_ensemble(path: Path) -> Ensemble:
    """Read a model.

    Raises:
        StudyError: there is none, it is of another kind, a byte of it is not what was written, or its head is code of its
            maker's own.
    """
    tensors, record = read_sealed_tensors(path, schema=SCHEMA, remedy=REMEDY)
    known = record_of(EnsembleRecord, record, path, REMEDY)
    if (fault := _contradiction(known)) is not None:
        raise StudyError(f"{path}: {fault}; {REMEDY}")
    heads = tuple(_head(path, fold.head, tensors, fold.key) for fold in known.folds)
    clouds = {kind: _cloud(path, tensors, kind) for kind in CLOUDS if f"{kind}.mean" in tensors}
    return Ensemble(known, heads, clouds)


def _contradiction(record: EnsembleRecord) -> str | None:
    """Return what parts of a record say against each other, as no file that was written here does; None: nothing."""
    sets, grid = record.prediction_sets, () if record.survival is None else record.survival.times
    if sets is not None and set(sets.thresholds) != set(record.classes):
        return f"prediction sets of {', '.join(sorted(sets.thresholds))}, classes {', '.join(sorted(record.classes))}"
    for fold in record.folds:
        if record.survival is not None and fold.scale is None:
            return f"{fold.key} has no scale of hazards"
        if fold.hazard_shift is not None and len(fold.hazard) != len(grid):
            return f"{fold.key} has a hazard at {len(fold.hazard)} times, survival is given at {len(grid)}"
    return None


def _head(path: Path, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], key: str) -> Head:
    own = {name.removeprefix(f"{key}."): value for name, value in tensors.items() if name.startswith(f"{key}.")}
    try:
        head = rebuild_head(record)
        head.load_state_dict(own)
    except (RuntimeError, KeyError, TypeError) as error:  # torch's, of weights that are not the head's
        first = str(error).strip().splitlines()[0]
        raise StudyError(f"{path}: the weights of {key} are not those of its head ({first}); {REMEDY}") from error
    return head.eval()


def _cloud(path: Path, tensors: Mapping[str, torch.Tensor], kind: str) -> Cloud:
    try:
        mean, scale, axes, variances, rest = (
            tensors[f"{kind}.{name}"].double().numpy() for name in ("mean", "scale", "axes", "variances", "rest")
        )
        return Cloud(mean=mean, scale=scale, axes=axes, variances=variances, rest=float(rest[0]))
    except (KeyError, IndexError) as error:
        raise StudyError(f"{path}: what is familiar to the model ({kind}) is not whole: {error}; {REMEDY}") from error


def mean_embeddings(
    tiles: Num[np.ndarray, "tile dim"], slide_of_tile: Num[np.ndarray, " tile"], n_slides: int
) -> Float64[np.ndarray, "slide dim"]:
    """Return the mean tile of each slide of a bag."""
    parts: Sequence[np.ndarray] = [tiles[slide_of_tile == index] for index in range(n_slides)]
    return np.stack([part.mean(axis=0, dtype=np.float64) for part in parts])
