"""Look over a study before hours of compute; reads only. Without a study: look over the installation.

Opens every slide, tries to read it, and compares scales, contents, clinical table, folds, disk and time; prints a table
and a list of findings, each with what to do. Exit code 0: nothing found; 1: findings; 2: the clinical table is wrong.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import EXIT_DONE, EXIT_SOME_FAILED, command, wrapped_lines
from common.files import write_table
from common.machine import default_workers
from common.settings import option, parse_config
from common.slide_files import find_slides
from common.study import open_study

COLUMNS = (
    "slide_id", "state", "reader", "width_px", "height_px", "mpp_x", "mpp_y", "mpp_source", "width_mm", "height_mm",
    "levels", "reason", "remedy",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """The settings of check_study.py."""

    study: Path = option(
        Path("study"), help="study folder; the installation is checked if there is none", group="study"
    )
    where: str | None = option(
        None,
        help="only slides of rows for which this holds, such as \"site == 'A'\"; of a missing value nothing holds",
        group="study",
    )
    mpp: str | None = option(
        None, help="µm a pixel of every slide, one number or x,y; loses to columns of cohort.csv", group="study"
    )
    folds: int = option(5, help="number of folds that the classes must fill", group="study")
    tile_um: float = option(256.0, help="side of a tile on the slide, micrometres", group="study")
    out: Path | None = option(None, help="CSV file for the table of slides", group="study")
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(120.0, help="time limit of a slide, seconds", group="work")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.mpp is not None:
            from preprocessing.reading.scale import parse_scale

            parse_scale(self.mpp)
        if self.folds < 2:
            raise ValueError(f"--folds is a number from 2, got {self.folds}")
        if self.tile_um <= 0:
            raise ValueError(f"--tile_um is a length above 0 µm, got {self.tile_um}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Check the study, or the installation where there is none."""
    flags = list(sys.argv[1:] if argv is None else argv)
    config = parse_config(CheckConfig, flags, section="check_study", description=__doc__)
    is_asked = any(flag.split("=")[0] == "--study" for flag in flags)
    if not is_asked and not config.study.is_dir():
        return _check_installation()
    return _check_study(config)


def _check_installation() -> int:
    from preprocessing.checks.installation import check_installation

    n_faults = 0
    for what, found, remedy in check_installation(Path.cwd()):
        print("\n".join(wrapped_lines(f"{what}: {found}")))
        if remedy:
            n_faults += 1
            print("\n".join(wrapped_lines(f"  -> {remedy}")))
    print(f"installation: {n_faults} finding(s)" if n_faults else "installation: all well")
    print("no study folder here; check one with --study DIR, or make one: python preprocessing/make_demo_study.py")
    return EXIT_SOME_FAILED if n_faults else EXIT_DONE


def _check_study(config: CheckConfig) -> int:
    study = open_study(config.study)
    from common.cohort import read_cohort
    from preprocessing.checks import slide_checks as preflight

    cohort = read_cohort(study.cohort_table, where=config.where)
    files = find_slides(study.slides)
    rows = {row["slide_id"]: row for row in cohort.rows}
    workers = default_workers() if config.workers is None else config.workers
    jobs = _jobs(config, files, rows)
    outcomes = preflight.check_slides(jobs, tile_um=config.tile_um, workers=workers, timeout_s=config.timeout_s)
    checks = [outcome.value for outcome in outcomes if outcome.value is not None]
    effort = preflight.estimated_effort(checks, tile_um=config.tile_um, workers=workers)
    findings = [
        *preflight.table_findings(files, rows.keys(), is_whole_table=config.where is None),
        *preflight.slide_findings(outcomes, {name: row["patient_id"] for name, row in rows.items()}),
        *preflight.cohort_findings(cohort.patients, n_folds=config.folds),
        *preflight.space_findings(study.root, effort),
    ]
    table = [[row.get(name, "") for name in COLUMNS] for row in map(preflight.slide_row, outcomes)]
    print(aligned([COLUMNS[:-2], *(row[:-2] for row in table)]))
    print(cohort_line(cohort.patients, cohort.slides))
    print(
        f"about {effort.n_tiles} tiles of {config.tile_um:g} µm (at 30 % tissue): {effort.feature_bytes / 1e6:.0f} MB of "
        f"features, {effort.hours:.1g} h on {workers} worker(s) without a GPU (tiles timed here, 50 embedded a second)"
    )
    if config.out is not None:
        write_table(config.out, COLUMNS, table)
    print("\n".join([*_scale_notes(checks), *_finding_lines(findings)]))
    return EXIT_SOME_FAILED if findings else EXIT_DONE


def _jobs(config: CheckConfig, files: Mapping[str, Path], rows: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return slide id, file and given scale of every slide to look at."""
    from preprocessing.reading.scale import given_scale, parse_scale

    flag = None if config.mpp is None else parse_scale(config.mpp)
    checked = sorted(name for name in files if name in rows or config.where is None)
    return [(name, files[name], given_scale(rows.get(name, {}), flag)) for name in checked]


def _scale_notes(checks: Sequence[Any]) -> list[str]:
    from preprocessing.checks import slide_checks as preflight

    _, in_company = preflight.off_scale(checks)
    if not in_company:
        return []
    scales = ", ".join(sorted({f"{check.mpp_x:.3g}" for check in in_company}))
    median = preflight.median_mpp(checks)
    return [
        f"note: {len(in_company)} slides have another scale ({scales}) than the median ({median:.3g}): two scanners?"
    ]


def _finding_lines(findings: Sequence[Any]) -> list[str]:
    lines = [
        line for finding in findings for line in wrapped_lines(f"{finding.where}: {finding.found}; {finding.remedy}")
    ]
    last = f"{len(findings)} finding(s)" if findings else "nothing found: go on with preprocessing/tile_slides.py"
    return [*lines, last]


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as text in columns."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in texts
    )


def cohort_line(patients: Any, slides: Any) -> str:
    """Return one line: patients, slides, classes and events."""
    parts = [f"{len(patients)} patients, {len(slides)} slides"]
    if "subtype" in patients.columns:
        counts = patients["subtype"].value_counts().sort_index()
        parts.append(", ".join(f"{subtype} {count}" for subtype, count in counts.items()))
    if "event" in patients.columns:
        parts.append(f"{int(patients['event'].sum())} events")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
