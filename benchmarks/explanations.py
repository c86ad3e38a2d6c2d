"""Are contributions of tiles faithful, and do they find planted tiles? Over seeds, beside attention and random order.

    python benchmarks/explanations.py [--seeds 20] [--survival]

Each seed plants bags anew, trains a head, and explains 30 patients it never saw. Printed: the area between the flipping
curves of each order, the AUROC of the map for planted tiles, and the metric (macro AUROC, or C-index) of the top 5 % of
tiles alone beside that of all; each with the paired p over seeds (Wilcoxon, one-sided).
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from mil.explanation.contributions import contributions
from mil.explanation.flipping import flip
from mil.explanation.subsets import of_rows
from mil.metrics.concordance import c_index
from tests.helpers.planted_bags import planted


def softmax(outputs):
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def worth(outputs, truth):
    """Return macro AUROC of logits, or the C-index of log-hazards."""
    if outputs.shape[1] > 1:
        return roc_auc_score(np.array(truth), softmax(outputs), multi_class="ovr")
    time, event = (np.array(part, float) for part in zip(*truth, strict=True))
    return c_index(outputs[:, 0], time, event.astype(int))


def of_seed(seed, *, is_survival):
    known = planted(seed, n_test=30, is_survival=is_survival)
    names = ["log_hazard"] if is_survival else [f"c{k}" for k in range(known.head.n_outputs)]
    gains, aurocs, whole, top = {}, {"contributions": [], "attention": []}, [], []
    for patient, bag in known.bags.items():
        parts = contributions([known.head], bag.tiles, names, np.zeros(1))
        scores = {"contributions": parts.of_tiles[:, parts.told], "attention": parts.attention}
        outputs_of = of_rows([known.head], bag.tiles, np.zeros(1))
        found = flip(outputs_of, scores, parts.told, np.random.default_rng([seed, len(whole)]))
        for name, curves in found.curves.items():
            gains.setdefault(name, []).append(curves.gain)
        whole.append(found.whole)
        if is_survival:  # what counts most either way: a low hazard is told by tiles that lower it
            size = np.abs(parts.of_tiles[:, 0])
            ranked = np.argsort(-size)[: max(1, round(0.05 * len(size)))]
            top.append(outputs_of(np.sort(ranked)))
        else:
            top.append(found.top_alone)
        for name, own in scores.items():
            aurocs[name].append(roc_auc_score(known.is_planted[patient], own))
    truth = list(known.truth.values())
    means = {f"area {name}": np.mean(own) for name, own in gains.items()}
    means |= {f"AUROC {name}": np.mean(own) for name, own in aurocs.items()}
    return means | {"worth of all": worth(np.stack(whole), truth), "worth of top 5 %": worth(np.stack(top), truth)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--survival", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [of_seed(seed, is_survival=options.survival) for seed in range(options.seeds)]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        print(f"{name:22s} mean {values.mean():.3f}, least {values.min():.3f}, most {values.max():.3f}")
    for measure, other in (("area", "attention"), ("area", "random"), ("AUROC", "attention")):
        differences = np.array([row[f"{measure} contributions"] - row[f"{measure} {other}"] for row in rows])
        p = wilcoxon(differences, alternative="greater").pvalue
        print(f"{measure}: contributions over {other}: {differences.mean():+.3f}, paired p {p:.2g}")
    apart = np.array([abs(row["worth of all"] - row["worth of top 5 %"]) for row in rows])
    print(f"top 5 % alone from all tiles: mean {apart.mean():.3f}, most {apart.max():.3f}")


if __name__ == "__main__":
    main()
