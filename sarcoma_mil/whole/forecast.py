"""run --dry_run: what of a study is there, what is missing, and about what that will take in tiles, time and disk.

Tissue is told from coarse overviews of the slides; times are tried on this machine for some seconds each, on the smallest slide
and with noise. Nothing is written.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.arrays import read_attributes
from common.cohort import Cohort, read_cohort
from common.failures import EXIT_DONE, EXIT_SOME_FAILED, wrapped_lines
from common.machine import default_workers
from common.running.progress import duration
from common.slide_files import find_slides, named_as_in_table
from common.study import open_study
from features.encoder.registry import find_card
from mil.training.fold_crew import workers_for
from mil.training.training_settings import TrainConfig
from sarcoma_mil.whole.rates import WIDTH, try_embedding, try_training
from sarcoma_mil.whole.run_settings import RunConfig
from sarcoma_mil.whole.slide_forecast import MAX_LOOKED_AT, SlideLook, look_at_slides, try_tiling
from sarcoma_mil.whole.study_steps import (
    StudySettings,
    StudyStep,
    embedding_step,
    explaining_step,
    splits_step,
    study_settings,
    tiling_step,
    training_step,
)
from sarcoma_mil.whole.table_tasks import table_tasks
from sarcoma_mil.whole.whole_run import done_before, warn_of_folds

INNER = 2.0  # inner folds (3, each of two thirds of the patients) beside the head itself
STEPS_OF_SMALL = 450  # fewest steps of a subtype's training
NOT_TRIED = "explain: not tried, for it needs a trained model; it reads every slide once more, and writes maps of it"
Say = Callable[[str], None]


@dataclass
class Forecast:
    """A row a step, and what its figures rest on."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    basis: list[str] = field(default_factory=list)
    seconds: float = 0.0
    n_bytes: float = 0.0

    def add(self, step: str, state: str, what: str = "", seconds: float | None = None, n_bytes: float = 0.0) -> None:
        """Add a step."""
        self.rows.append((step, state, what, _time(seconds), _size(n_bytes)))
        self.seconds += seconds or 0.0
        self.n_bytes += n_bytes


def forecast_study(config: RunConfig, *, say: Say = print) -> int:
    """Say what run would do and what it takes; returns 1 where a slide cannot be read or the disk will not do.

    Raises:
        StudyError: the study, its table or its settings have a fault.
    """
    study = open_study(config.study)
    own = study_settings(study)
    forecast = Forecast()
    if own.extraction.tiles is not None:
        say(f"features come from the images of {own.extraction.tiles}: what they take is not told beforehand")
        return EXIT_DONE
    cohort = read_cohort(study.cohort_table, where=own.tiling.where)
    warn_of_folds(own, say)
    n_tiles, n_lost = _slides(own, cohort, forecast, say)
    _patients(own, config, cohort, n_tiles, forecast)
    say(_table(forecast))
    for line in forecast.basis:
        say("\n".join(wrapped_lines(line)))
    free = shutil.disk_usage(study.root).free
    is_full = forecast.n_bytes > free
    say(f"free on this disk: {_size(free)}{', TOO LITTLE: make room, or move the study' if is_full else ''}")
    return EXIT_SOME_FAILED if n_lost or is_full else EXIT_DONE


def _state(own: StudySettings, step: StudyStep) -> str:
    if step.why_not:
        return f"left out: {step.why_not}"
    code = done_before(own, step)
    return "due" if code is None else "done" if code == EXIT_DONE else "done, some slides failed"


def _slides(own: StudySettings, cohort: Cohort, forecast: Forecast, say: Say) -> tuple[float, int]:
    """Add tiling and embedding; returns the tiles of all slides, and how many slides cannot be read."""
    tiling, embedding = tiling_step(own), embedding_step(own)
    if tiling.why_not:
        forecast.add("tile", _state(own, tiling))
        forecast.add("features", _state(own, embedding))
        return 0.0, 0
    rows = {str(row["slide_id"]): row for row in cohort.rows}
    files = {
        name: path for name, path in named_as_in_table(find_slides(own.study.slides), rows).items() if name in rows
    }
    known = {name: n for name in files if (n := _known_tiles(own.study.tile_file(name))) is not None}
    to_tile = {name: path for name, path in files.items() if name not in known}
    looked_at = dict(list(to_tile.items())[:: max(1, math.ceil(len(to_tile) / MAX_LOOKED_AT))])
    looks, lost = look_at_slides(looked_at, cohort.rows, own.tiling)
    for name, error in lost:
        say("\n".join(wrapped_lines(f"{name}: {error}")))
    per_slide = sum(look.n_tiles for look in looks) / max(1, len(looks))
    n_new = per_slide * len(to_tile) * len(looks) / max(1, len(looked_at))
    n_tiles = sum(known.values()) + n_new
    state = f"{len(known)} of {len(rows)} slides there" if known and to_tile else _state(own, tiling)
    what = f"{len(rows)} slides, {'about ' if to_tile else ''}{n_tiles:.0f} tiles"
    seconds, n_bytes = _tiling(own, forecast, files, rows, looks, n_new)
    forecast.add("tile", state, what, seconds, n_bytes)
    n_embedded = sum(count for name, count in known.items() if own.study.feature_file(own.encoder, name).is_file())
    _embedding(own, forecast, embedding, n_tiles, n_embedded)
    return n_tiles, len(lost)


def _known_tiles(path: Path) -> int | None:
    """Return how many tiles a tile file has; None where there is none, or it is none."""
    import h5py

    try:
        read_attributes(path)
        with h5py.File(path) as file:
            return int(file["coords"].shape[0])
    except (ValueError, OSError, KeyError):
        return None


def _tiling(
    own: StudySettings, forecast: Forecast, files: Mapping[str, Path], rows: Mapping[str, Mapping[str, Any]],
    looks: list[SlideLook], n_new: float,
) -> tuple[float | None, float]:  # fmt: skip
    with_tissue = sorted((look for look in looks if look.n_tiles >= 1), key=lambda look: look.n_tiles)
    if not with_tissue:
        return None, 0.0
    smallest = with_tissue[0].slide_id
    rate = try_tiling(smallest, files[smallest], rows[smallest], own.tiling)
    if rate is None:
        return None, 0.0
    workers = max(1, min(own.tiling.workers or default_workers(), len(files)))
    forecast.basis.append(
        f"tile: tissue on overviews of 16 µm a pixel; tiling of {smallest} took {rate.seconds:.1f} s for {rate.n_tiles} tiles "
        f"here; {workers} worker(s)"
    )
    return rate.seconds / rate.n_tiles * n_new / workers, rate.n_bytes / rate.n_tiles * n_new


def _embedding(own: StudySettings, forecast: Forecast, step: StudyStep, n_tiles: float, n_embedded: int) -> None:
    n_left, config = max(0.0, n_tiles - n_embedded), own.extraction
    state = _state(own, step)
    if step.why_not or state != "due":
        forecast.add("features", state)
        return
    numbers = sum(find_card(name).dimension for name in config.encoders)
    numbers *= max(1, len(config.scales_um)) * (1 + config.hed_copies)
    what = f"{', '.join(config.encoders)}: about {n_left:.0f} tiles{f', {n_embedded} are there' if n_embedded else ''}"
    if n_left < 1:
        forecast.add("features", state, what, 0.0)
        return
    rate = try_embedding(config, own.tiling.tile_px)
    forecast.basis.append(
        f"features: {config.encoders[0]} embedded {rate.tiles_a_second:.0f} tiles a second here ({rate.device}), tried for some "
        "seconds on noise; slides that are read slowly take longer"
    )
    factor = len(config.encoders) * max(1, len(config.scales_um)) * (1 + config.hed_copies)
    forecast.add("features", state, what, factor * n_left / rate.tiles_a_second, n_left * (2 * numbers + 16))


def _patients(own: StudySettings, config: RunConfig, cohort: Cohort, n_tiles: float, forecast: Forecast) -> None:
    """Add folds, training and maps."""
    n_patients = len({row["patient_id"] for row in cohort.rows})
    folds = own.splits.folds * own.splits.repeats
    forecast.add("splits", _state(own, splits_step(own)), f"{n_patients} patients, {folds} folds")
    step_s: float | None = None
    for task in table_tasks(own.study, own.train, config.wanted):
        step = training_step(own, task)
        state = _state(own, step)
        seconds = None
        if state == "due" and n_tiles:
            bag, dimension = n_tiles / max(1, n_patients), find_card(own.encoder).dimension
            if step_s is None:
                step_s = try_training(own.train, tiles_a_bag=bag, dimension=dimension)
                forecast.basis.append(
                    f"train: a step of {own.train.batch_patients} bags of {min(bag, own.train.max_tiles):.0f} tiles took "
                    f"{1000 * step_s:.0f} ms here; baselines, intervals and report come to it"
                )
            steps = max(1, round(n_patients * (1 - 1 / own.splits.folds) / own.train.batch_patients))
            n_steps = max(30 * steps, STEPS_OF_SMALL) if not own.train.epochs else own.train.epochs * steps
            seconds = folds * n_steps * step_s * (1 + (INNER if own.train.cross_fit else 0))
            seconds /= _side_by_side(
                own.train, [bag] * n_patients, n_folds=folds, n_epochs=n_steps // steps, dimension=dimension
            )
        forecast.add(f"train {task.name}", state, "", seconds)
        if config.explain and not task.why_not:
            state = _state(own, explaining_step(own, task))
            forecast.add(f"explain {task.name}", state, "")
            if state == "due" and NOT_TRIED not in forecast.basis:
                forecast.basis.append(NOT_TRIED)


def _side_by_side(config: TrainConfig, tiles: Sequence[float], *, n_folds: int, n_epochs: int, dimension: int) -> int:
    """Return how many folds train at once."""
    sizes = [round(own) for own in tiles]
    workers = workers_for(
        config.with_widths(WIDTH),
        sizes,
        dimension,
        bag_bytes=2 * dimension * sum(sizes),
        n_folds=n_folds,
        n_epochs=n_epochs,
    )
    return max(1, min(workers, n_folds))


def _table(forecast: Forecast) -> str:
    rows = [("step", "state", "what", "time", "disk"), *forecast.rows]
    rows.append(("in all", "", "", _time(forecast.seconds), _size(forecast.n_bytes)))
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    return "\n".join(
        "  ".join(f"{cell:{width}s}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"about {duration(seconds)}"


def _size(n_bytes: float) -> str:
    return "" if not n_bytes else f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
