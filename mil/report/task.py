"""What a task brings to the report: its pictures, its own sections, and what its folds show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from mil.evaluation.metrics_record import RunMetrics
from mil.report.blocks import Block, Section
from mil.report.drawing import Picture
from mil.runs.facts import RunFacts
from mil.runs.run_store import FinishedRun

M_contra = TypeVar("M_contra", bound=RunMetrics, contravariant=True)
Pictures = Mapping[str, str]  # name to SVG


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """What texts that every report has say of this task."""

    drawn: str  # among whom the bootstrap draws
    ranked: str  # the metric of ranking, with its article
    too_few: str  # a sentence: when there are no limits
    regressions: str  # what the baselines are
    groups: str  # a sentence on the metrics of a subgroup, with a blank; may be empty


@runtime_checkable  # the test run checks arguments
class ReportTask(Protocol[M_contra]):
    """A task as the report sees it."""

    @property
    def title(self) -> str:
        """The first word of the page."""

    @property
    def wording(self) -> Wording:
        """The task's words in texts that every report has."""

    def pictures(self, run: FinishedRun, metrics: M_contra) -> dict[str, Picture]:
        """Draw the pictures of an evaluated run."""

    def outcome_counts(self, facts: RunFacts) -> Sequence[Sequence[object]]:
        """Return how many patients of the analysis have the outcome, a row an outcome beside the classes."""

    def chance_words(self, metrics: M_contra) -> str:
        """Return a sentence or more: whose numbers stand under chance."""

    def discrimination_blocks(self, metrics: M_contra, pictures: Pictures) -> list[Block]:
        """Return what stands below the table of discrimination."""

    def own_sections(self, metrics: M_contra, pictures: Pictures) -> list[Section]:
        """Return the sections that other tasks have not."""

    def fold_table(self, metrics: M_contra) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        """Return the names of what a fold shows beside its patients, and a row of it a fold."""
