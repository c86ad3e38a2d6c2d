"""Whether the maps of a run can be believed: the measures of its bags together, tests, and the verdict that stands on the page."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from mil.explanation.flipping import SHARES, BagFaithfulness
from mil.heads.head import Head

SCHEMA = "faithfulness/1"
LEVEL = 0.01
MOST_ALIKE = (
    0.5  # rank correlation with the maps of an untrained head, above which a map shows the tiles and not the training
)
LEAST_BAGS = 7  # fewer cannot show a difference: the smallest p of the test is 2 ** -n


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """The map's gain beside that of another order: the mean difference, and Wilcoxon's one-sided p over patients."""

    gain: float  # of the other
    difference: float
    p: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    """The measures of a run. Curves are means over patients of the told output, by order."""

    n_patients: int
    shares: tuple[float, ...]
    most_first: dict[str, tuple[float, ...]]
    least_first: dict[str, tuple[float, ...]]
    gain: float  # of the contributions
    against: dict[str, Against]  # random, attention
    whole: float  # the told output of all tiles, the mean over patients
    top_alone: float
    without_top: float
    same_told: (
        float  # share of patients of whom the top tiles alone tell the same class; of hazards, the rank correlation
    )
    untrained_likeness: float | None  # rank correlation with maps of heads with random weights
    most_residual: float  # the largest part of an output that contributions miss
    faults: tuple[str, ...]  # why a map is not to be believed; none: it is faithful

    @property
    def is_faithful(self) -> bool:
        """Whether no fault was found."""
        return not self.faults


def judge(bags: Sequence[BagFaithfulness], likenesses: Sequence[float], residuals: Sequence[float]) -> Faithfulness:
    """Return the measures of all bags together.

    Args:
        bags: of the patients; at least one.
        likenesses: of each map to that of an untrained head; none that is not defined.
        residuals: of each patient, absolute, relative to the spread of the outputs over patients.
    """
    names = list(bags[0].curves)
    gains = {name: np.array([bag.curves[name].gain for bag in bags]) for name in names}
    own, others = names[0], names[1:]
    against = {name: _against(gains[own], gains[name]) for name in others}
    alike = float(np.median(likenesses)) if len(likenesses) else None
    told = np.array([bag.told for bag in bags])
    whole, top = np.stack([bag.whole for bag in bags]), np.stack([bag.top_alone for bag in bags])
    most_residual = float(max(residuals, default=0.0))
    return Faithfulness(
        n_patients=len(bags), shares=SHARES,
        most_first={name: _mean([bag.curves[name].most_first for bag in bags]) for name in names},
        least_first={name: _mean([bag.curves[name].least_first for bag in bags]) for name in names},
        gain=float(gains[own].mean()), against=against,
        whole=float(whole[np.arange(len(bags)), told].mean()), top_alone=float(top[np.arange(len(bags)), told].mean()),
        without_top=float(np.mean([bag.without_top[bag.told] for bag in bags])),
        same_told=_same(whole, top), untrained_likeness=alike, most_residual=most_residual,
        faults=_faults(against, alike, len(bags), most_residual),
    )  # fmt: skip


def _faults(against: dict[str, Against], alike: float | None, n: int, most_residual: float) -> tuple[str, ...]:
    faults, random = [], against["random"]
    if n < LEAST_BAGS:
        faults.append(f"{n} patients are too few to show it (from {LEAST_BAGS} on)")
    elif random.p is None or random.p >= LEVEL:
        faults.append("tiles taken away in its order change the output no more than tiles drawn at random")
    if alike is not None and abs(alike) > MOST_ALIKE:
        faults.append(f"heads with random weights draw much the same map (rank correlation {alike:.2f})")
    if most_residual > 0.1:
        faults.append(f"contributions miss up to {most_residual:.0%} of an output's spread over patients")
    return tuple(faults)


def _against(own: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"]) -> Against:
    return Against(gain=float(other.mean()), difference=float((own - other).mean()), p=paired_p(own - other))


def paired_p(differences: Float64[np.ndarray, " n"]) -> float | None:
    """Return the one-sided p of Wilcoxon's signed ranks that differences lie above 0; None where none differs."""
    from scipy.stats import wilcoxon

    differences = differences[np.abs(differences) > 1e-12]
    if not len(differences):
        return None
    return float(
        wilcoxon(differences, alternative="greater", method="approx" if len(differences) > 50 else "auto").pvalue
    )


def _mean(rows: Sequence[Float64[np.ndarray, " share"]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.mean(rows, axis=0))


def _same(whole: Float64[np.ndarray, "n out"], top: Float64[np.ndarray, "n out"]) -> float:
    if whole.shape[1] > 1:
        return float((whole.argmax(axis=1) == top.argmax(axis=1)).mean())
    return likeness(whole[:, 0], top[:, 0]) or 0.0


def likeness(one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"]) -> float | None:
    """Return the rank correlation; None where one does not vary."""
    from scipy.stats import rankdata

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def untrained(head: Head, seed: int) -> Head:
    """Return a head whose learnt weights are drawn anew (Adebayo et al. 2018, arXiv 1810.03292); its input scale stays."""
    drawn = copy.deepcopy(head)
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    for module in drawn.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()
    if head.name == "linear":  # it starts at zero
        nn.init.normal_(drawn.output.weight)  # type: ignore[arg-type,union-attr]
    torch.random.set_rng_state(state)
    return drawn.eval()
