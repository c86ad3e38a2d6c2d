"""Which tasks a clinical table allows, told from the table alone, without loading what trains them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from common.cohort import Cohort, read_cohort
from common.failures import StudyError
from common.guards.names import nearest
from common.settings import SETTINGS_FILE, read_settings
from common.study import Study
from mil.training.training_settings import TrainConfig

OWN = ("subtype", "survival")


@dataclass(frozen=True)
class TableTask:
    """A task, the folder of its runs, and why it is left out; "" where it can be tried."""

    name: str
    run: str  # the name of its run
    why_not: str = ""
    is_of_settings: bool = False  # train.target of study.yaml names it, and no --task


def table_tasks(study: Study, config: TrainConfig, wanted: tuple[str, ...] | None) -> list[TableTask]:
    """Return subtype, survival and the tasks of study.yaml, or those that are wanted.

    Args:
        study: the study.
        config: the settings of the training, as study.yaml has them.
        wanted: names; None: all.

    Raises:
        StudyError: a wanted task is none; or the table is missing or faulty.
    """
    if config.target is not None:  # one task of columns is what study.yaml trains
        columns = "+".join(part.strip() for part in config.target.split(",") if part.strip())
        return [TableTask(columns if config.task in OWN else config.task, config.name, is_of_settings=True)]
    cohort = read_cohort(study.cohort_table, where=config.where)
    declared = _declared(study)
    if wanted is not None and (unknown := [name for name in wanted if name not in (*OWN, *declared)]):
        names = [*OWN, *declared]
        raise StudyError(f"--tasks {unknown[0]!r} is no task{nearest(unknown[0], names)}; there are {', '.join(names)}")
    found = [TableTask(name, config.name, why) for name, why in _own_tasks(cohort, config)]
    found += [TableTask(name, config.name) for name in declared if name not in OWN]
    return [task for task in found if wanted is None or task.name in wanted]


def _declared(study: Study) -> list[str]:
    content = read_settings(study.root / SETTINGS_FILE)
    known = content.get("tasks") if isinstance(content, dict) else None
    return [str(name) for name in known] if isinstance(known, dict) else []


def _own_tasks(cohort: Cohort, config: TrainConfig) -> Iterator[tuple[str, str]]:
    classes = sorted({str(row["subtype"]) for row in cohort.rows if row.get("subtype") is not None})
    table = cohort.path.name
    if "subtype" not in cohort.columns:
        yield "subtype", f"{table} has no column subtype"
    elif len(classes) < 2:
        yield (
            "subtype",
            f"the column subtype of {table} has {f'one class alone, {classes[0]}' if classes else 'no value'}",
        )
    else:
        yield "subtype", ""
    yield "survival", _why_no_survival(cohort, config)


def _why_no_survival(cohort: Cohort, config: TrainConfig) -> str:
    if config.endpoint:
        return ""  # in columns of other names, which the training finds or names
    lacking = [name for name in ("time", "event") if name not in cohort.columns]
    if lacking:
        return f"{cohort.path.name} has no column {' and no column '.join(lacking)}"
    if cohort.study.unit == "slide":
        return "unit: slide in study.yaml, and survival is of patients"
    known = [row for row in cohort.rows if row.get("time") is not None and row.get("event") is not None]
    if not known:
        return f"the columns time and event of {cohort.path.name} have no value"
    return "" if any(row["event"] == 1 for row in known) else "no event was seen, and risk is learnt from events"
