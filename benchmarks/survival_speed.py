"""Cox's loss and gradient beside torchsurv's, regression and C-index beside lifelines': milliseconds, and what they are apart.

    OMP_NUM_THREADS=1 python benchmarks/survival_speed.py [--n 30 300 3000 30000] [--repeats 20] [--json FILE]

Follow-up in whole months (many ties) and in days as they come (none); Efron; float64; one thread. Each is timed in turn, the median
of the repeats counts, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.rows import add_json, record, write_rows
from mil.metrics.concordance import concordances
from mil.survival.cox_regression import cox_regression
from mil.survival.partial_likelihood import loss_and_gradient
from mil.survival.risk_sets import risk_sets

N_RESAMPLES = 200


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[30, 300, 3000, 30000])
    parser.add_argument("--repeats", type=int, default=20)
    add_json(parser)
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # torchsurv compiles by torch.jit, which PyTorch calls deprecated
    print(
        f"{'n':>6s}  {'ties':4s}  {'own, ms':>8s}  {'torchsurv, ms':>13s}  {'times':>6s}  largest difference of a gradient"
    )
    for n in args.n:
        for with_ties in (True, False):
            rng = np.random.default_rng(n)
            eta, event = rng.normal(size=n), rng.integers(0, 2, n)
            follow_up = np.ceil(rng.exponential(60, n)) if with_ties else rng.exponential(60, n)
            own, theirs = _own(eta, follow_up, event), _torchsurv(eta, follow_up, event)
            apart = np.abs(own() - theirs()).max()
            mine, other = _milliseconds([own, theirs], args.repeats)
            ratio = other / mine
            print(f"{n:6d}  {'yes' if with_ties else 'no':4s}  {mine:8.3f}  {other:13.3f}  {ratio:6.1f}  {apart:.1e}")
            record(
                "survival.torchsurv", f"Cox loss and gradient, {n:,} patients, {'with' if with_ties else 'without'} ties",
                f"{mine:.2f} ms", against=f"torchsurv: {other:.2f} ms (gradients apart by {apart:.0e})", ratio=ratio,
            )  # fmt: skip
    for n in (300, 3000):
        _beside_lifelines(n, max(3, args.repeats // 4))
    write_rows(args.json)
    return 0


def _beside_lifelines(n: int, repeats: int) -> None:
    import pandas as pd
    from lifelines import CoxPHFitter
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(n)
    inputs = rng.normal(size=(n, 3))
    follow_up = np.ceil(rng.exponential(60 * np.exp(-0.5 * inputs[:, 0])))
    event = rng.integers(0, 2, n)
    table = pd.DataFrame(inputs, columns=list("abc")).assign(time=follow_up, event=event)
    drawn = rng.integers(0, n, (n, N_RESAMPLES))
    weights = np.stack([np.bincount(column, minlength=n) for column in drawn.T], axis=1).astype(float)

    def own_regression() -> np.ndarray:
        return cox_regression(inputs, risk_sets(follow_up, event)).coefficients

    def their_regression() -> np.ndarray:
        return CoxPHFitter().fit(table, "time", "event").params_.to_numpy()

    def own_indices() -> np.ndarray:
        return concordances(inputs[:, 0], follow_up, event, weights)

    def their_indices() -> np.ndarray:
        own = drawn.T[: N_RESAMPLES // 10]  # a tenth of them; the time is taken tenfold
        return np.array([concordance_index(follow_up[rows], -inputs[rows, 0], event[rows]) for rows in own])

    pairs = (
        (
            "Cox regression of 3 covariates", 1.0, own_regression,
            their_regression,
        ),
        (f"C-index of {N_RESAMPLES} bootstrap resamples", 10.0, own_indices, their_indices),
    )  # fmt: skip
    for what, factor, own, theirs in pairs:
        other_values = theirs()
        apart = float(np.abs(own()[: len(other_values)] - other_values).max())
        mine, other = _milliseconds([own, theirs], repeats)
        other *= factor
        print(
            f"{what}, {n} patients: own {mine:.2f} ms, lifelines {other:.2f} ms: {other / mine:.1f} times; apart by {apart:.1e}"
        )
        record(
            "survival.lifelines", f"{what}, {n:,} patients", f"{mine:.2f} ms",
            against=f"lifelines: {other:.2f} ms (apart by {apart:.0e})", ratio=other / mine,
        )  # fmt: skip


def _own(eta: np.ndarray, follow_up: np.ndarray, event: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: loss_and_gradient(eta, risk_sets(follow_up, event))[1]


def _torchsurv(eta: np.ndarray, follow_up: np.ndarray, event: np.ndarray) -> Callable[[], np.ndarray]:
    import torch
    from torchsurv.loss.cox import neg_partial_log_likelihood

    torch.set_num_threads(1)
    times, events = torch.tensor(follow_up), torch.tensor(event, dtype=torch.bool)

    def call() -> np.ndarray:
        risks = torch.tensor(eta, requires_grad=True)
        neg_partial_log_likelihood(risks, events, times, ties_method="efron", reduction="sum").backward()
        return risks.grad.numpy() / event.sum()

    return call


def _milliseconds(calls: Sequence[Callable[[], np.ndarray]], repeats: int) -> list[float]:
    """Return the median time of each call, in turn."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for own, call in zip(spent, calls, strict=True):
            start = time.thread_time()
            call()
            own.append((time.thread_time() - start) * 1000)
    return [statistics.median(own) for own in spent]


if __name__ == "__main__":
    sys.exit(main())
