"""Follow-up of each patient, and the risk sets of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64, Int

from mil.survival.discrete_hazard import Intervals, intervals_of
from mil.survival.risk_sets import RiskSets, risk_sets


@dataclass(frozen=True, kw_only=True)
class SurvivalTargets:
    """Time of follow-up of each patient, and whether it ended with the event.

    Attributes:
        times: to the event or the end of follow-up.
        events: 1 event, 0 censored.
        entries: when a patient came under observation; empty: all from the start.
        groups: the group of each patient (the subtype, say), for figures inside groups; empty: not known.
        is_stratified: whether patients are compared inside their group alone.
        weights: of the patients; empty: all count alike.
        competing: 1 where follow-up ended with another event; empty: not known.
        ties: "efron" or "breslow".
        risk_groups: how patients are parted by their risk (mil/survival/risk_groups.py).
        time_unit: of all times; "" where it is not known.
        n_intervals: most intervals of time that a head has a log-odds for; 0: it has one log-hazard (Cox).
        intervals: as learnt of the training patients of a head; None: not yet, or Cox.
    """

    times: Mapping[str, float]
    events: Mapping[str, int]
    entries: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    is_stratified: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    competing: Mapping[str, int] = field(default_factory=dict)
    ties: str = "efron"
    risk_groups: str = "median"
    time_unit: str = ""
    n_intervals: int = 0
    intervals: Intervals | None = None

    def of(self, patients: Sequence[str]) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return the times and events of patients."""
        times = np.array([self.times[patient] for patient in patients], dtype=np.float64)
        return times, np.array([self.events[patient] for patient in patients], dtype=np.int64)

    def counts(self, patient: str) -> bool:
        """Return whether a patient had the event and has a weight."""
        return self.events[patient] == 1 and self.weights.get(patient, 1.0) > 0

    def risk_sets(self, patients: Sequence[str]) -> RiskSets | None:
        """Return who is at risk when, among these patients; None where nobody of them had the event."""
        if not any(map(self.counts, patients)):
            return None
        time, event = self.of(patients)
        strata = sorted({self.groups[patient] for patient in patients}) if self.is_stratified else []
        number = {name: index for index, name in enumerate(strata)}
        return risk_sets(
            time, event, ties=self.ties,
            entry=np.array([self.entries[patient] for patient in patients]) if self.entries else None,
            stratum=np.array([number[self.groups[patient]] for patient in patients]) if number else None,
            weight=np.array([self.weights[patient] for patient in patients]) if self.weights else None,
        )  # fmt: skip

    def learnt_of(self, train: Sequence[str]) -> SurvivalTargets:
        """Return the targets with the intervals of these training patients; as they are where they have them, or need none.

        Raises:
            ValueError: there is no event after time 0 among them.
        """
        if not self.n_intervals or self.intervals is not None:
            return self
        time, event = self.of(train)
        own = intervals_of(
            time, event, self.n_intervals,
            entry=np.array([self.entries[patient] for patient in train]) if self.entries else None,
            weight=np.array([self.weights[patient] for patient in train]) if self.weights else None,
        )  # fmt: skip
        return replace(self, intervals=own)

    def known_of(self, patients: Sequence[str]) -> list[object]:
        """Return all of it as plain values."""
        parts: list[object] = [
            [part[patient] for patient in patients if patient in part]
            for part in (self.times, self.events, self.entries, self.weights)
        ]
        strata = [self.groups[patient] for patient in patients if patient in self.groups] if self.is_stratified else []
        return [*parts, strata, self.ties, self.time_unit]
