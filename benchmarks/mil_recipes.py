"""Training recipes and heads against each other on synthetic bags: macro AUROC, log loss or C-index on fresh patients.

    python benchmarks/mil_recipes.py run --arms default,mean_mlp --kinds hot,sites --seeds 3 --out results.jsonl
    python benchmarks/mil_recipes.py table --out results.jsonl --against default

Arms are settings of training; `old` is the default of the code that `--code DIR` names (a checkout of another version). Each arm
sees the same bags, so differences are paired. Nothing is chosen on the test patients by any arm.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
HERE = Path(__file__).resolve().parents[1]
sys.path[0] = str(HERE)

ARMS: dict[str, dict[str, object]] = {
    "default": {}, "old": {},
    "rate 1e-3": {"learning_rate": 1e-3}, "rate 1e-2": {"learning_rate": 1e-2},
    "60 epochs": {"epochs": 60}, "100 epochs": {"epochs": 100}, "15 epochs": {"epochs": 15}, "30 epochs": {"epochs": 30},
    "no smoothing": {"label_smoothing": 0.0},
    "64/32": {"hidden": 64, "attention": 32}, "256/128": {"hidden": 256, "attention": 128},
    "512/256": {"hidden": 512, "attention": 256},
    "no dropout": {"dropout": 0.0},
    "evenness 0": {"evenness": 0.0}, "evenness 0.1": {"evenness": 0.1}, "evenness 1": {"evenness": 1.0},
    "batch 4": {"batch_patients": 4}, "batch 16": {"batch_patients": 16},
    "decay 0.1": {"weight_decay": 0.1},
    "4096 tiles": {"max_tiles": 4096}, "1024 tiles": {"max_tiles": 1024}, "512 tiles": {"max_tiles": 512},
    "256 tiles": {"max_tiles": 256},
    "exact, 30 steps": {"risk_set_patients": 0}, "exact, 60 steps": {"risk_set_patients": 0, "epochs": 60},
    "risk sets of 8": {"risk_set_patients": 8}, "risk sets of 16": {"risk_set_patients": 16},
    "risk sets of 64": {"risk_set_patients": 64},
    "rate 3e-2": {"learning_rate": 3e-2}, "rate 1e-2, 60 epochs": {"learning_rate": 1e-2, "epochs": 60},
    "rate 3e-2, exact, 60 steps": {"learning_rate": 3e-2, "risk_set_patients": 0, "epochs": 60},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--arms", default="default")
    parser.add_argument("--kinds", default="hot,sites,needle,mix,diffuse")
    parser.add_argument("--task", choices=["subtype", "survival"], default="subtype")
    parser.add_argument("--seeds", type=int, default=3, help="replicates, from --first_seed on")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=120)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--tiles", default="30,120", help="fewest and most tiles of a patient")
    parser.add_argument("--code", type=Path, default=HERE, help="the version whose training is run")
    parser.add_argument("--against", default="default")
    parser.add_argument("--shuffled", action="store_true", help="training labels that say nothing")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "table":
        print(table(options.out, options.against))
    else:
        sys.path.insert(0, str(options.code.resolve()))
        run(options)


def run(options: argparse.Namespace) -> None:
    import numpy as np

    sys.path.append(str(HERE / "benchmarks"))
    from synthetic_bags import make_bags

    low, high = map(int, options.tiles.split(","))
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for kind in options.kinds.split(","):
            bags = make_bags(
                kind, seed, n_train=options.train, n_test=options.test, dim=options.dim, tiles=(low, high),
                is_survival=options.task == "survival",
            )  # fmt: skip
            if options.shuffled:
                rng = np.random.default_rng([seed, 99])
                bags.labels[: bags.n_train] = rng.permutation(bags.labels[: bags.n_train])
            for arm in options.arms.split(","):
                started = time.process_time()
                found = one_fit(bags, arm, seed, options)
                row = {
                    "task": options.task, "kind": kind, "seed": seed, "arm": arm, "train": options.train, "dim": options.dim,
                    "tiles": options.tiles, "shuffled": options.shuffled, **found,
                    "seconds": round(time.process_time() - started, 1),
                }  # fmt: skip
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def one_fit(bags, arm, seed, options):  # type: ignore[no-untyped-def]
    """Train one arm and return its figures on the test patients."""
    import numpy as np

    from mil.bags.bags import Bag
    from mil.tasks.registry import task_named
    from mil.training.classification_task import ClassTargets, softmax
    from mil.training.fitting import fit
    from mil.training.packed import predict
    from mil.training.survival_task import SurvivalTargets
    from mil.training.task import FoldInputs
    from mil.training.training_settings import TrainConfig

    names = [f"p{index:04d}" for index in range(len(bags.tiles))]
    train, test = names[: bags.n_train], names[bags.n_train :]
    if options.task == "subtype":
        targets = ClassTargets(labels=dict(zip(names, map(int, bags.labels), strict=True)), classes=list("ABCDE"))
    else:
        times, events = (
            dict(zip(names, map(kind, own), strict=True)) for kind, own in ((float, bags.times), (int, bags.events))
        )
        targets = SurvivalTargets(times=times, events=events)
    if arm == "linear mean":
        return linear(bags, bags.tiles, options)
    if arm == "oracle":
        return linear(bags, None, options)
    own = ARMS.get(arm, {"head": arm})
    config = TrainConfig(threads=1, **own)
    val: list[str] = []
    if arm == "old":  # a fifth of the patients, of every class or of events and censored alike, decides when to stop
        rng = np.random.default_rng([seed, 5])
        strata = np.array([targets.labels[p] if options.task == "subtype" else targets.events[p] for p in train])
        for stratum in np.unique(strata):
            members = rng.permutation(np.flatnonzero(strata == stratum))
            val += [train[index] for index in members[: round(0.2 * len(members))]]
        train = [patient for patient in train if patient not in set(val)]

    def read(patient: str) -> Bag:
        tiles = bags.tiles[int(patient[1:])]
        nothing = np.zeros(len(tiles), np.int64)
        return Bag(
            patient_id=patient, slide_ids=("s",), tiles=tiles, slide_of_tile=nothing, coords=np.zeros((0, 2), np.int64)
        )

    fold = FoldInputs(read=read, train=train, val=sorted(val), targets=targets, config=config)
    try:
        fitted = fit(task_named(options.task).training, fold, seed=[seed])
    except ValueError as error:
        return {"score": 0.5, "log_loss": None, "failed": str(error)}
    outputs = predict(fitted.head, read, test)
    scored = score(softmax(outputs) if options.task == "subtype" else outputs[:, 0], bags, options)
    return scored | {"epoch": fitted.best_epoch}


def score(predicted, bags, options):  # type: ignore[no-untyped-def]
    import numpy as np
    from sklearn.metrics import log_loss, roc_auc_score

    from mil.metrics.concordance import c_index

    if options.task == "survival":
        return {"score": c_index(predicted, bags.times[bags.n_train :], bags.events[bags.n_train :]), "log_loss": None}
    truth = bags.labels[bags.n_train :]
    present = [k for k in range(predicted.shape[1]) if 0 < (truth == k).sum() < len(truth)]
    return {
        "score": float(np.mean([roc_auc_score(truth == k, predicted[:, k]) for k in present])),
        "log_loss": float(log_loss(truth, predicted, labels=range(predicted.shape[1]))),
    }


def linear(bags, tiles, options):  # type: ignore[no-untyped-def]
    """Fit the product's linear baseline on the mean tile, or (oracle) on the mean of the truly informative tiles."""
    import numpy as np

    from mil.training.baseline import fit_classifier, fit_cox

    means = bags.informative if tiles is None else np.stack([own.mean(axis=0, dtype=np.float64) for own in tiles])
    n = bags.n_train
    if options.task == "survival":
        cox = fit_cox(means[:n], bags.times[:n], bags.events[:n])
        return score(cox.log_hazard(means[n:]), bags, options)
    model = fit_classifier(means[:n], bags.labels[:n], 5)
    return score(model.probabilities(means[n:]), bags, options)


def table(path: Path, against: str) -> str:
    """Return the mean score of each arm by kind, and its paired difference to one arm with a bootstrap interval."""
    import numpy as np

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    cells = {(r["arm"], (r["task"], r["kind"], r["dim"], r["tiles"], r["train"], r["seed"])): r for r in rows}
    arms = list(dict.fromkeys(r["arm"] for r in rows))
    kinds = list(dict.fromkeys((r["task"], r["kind"], r["dim"]) for r in rows))
    lines = [
        "| arm | "
        + " | ".join(f"{kind} {dim}" for _, kind, dim in kinds)
        + f" | less {against} | log loss less | collapsed | s |"
    ]
    lines.append("|---" * (len(kinds) + 5) + "|")
    rng = np.random.default_rng(0)
    for arm in arms:
        own = {place: row for (name, place), row in cells.items() if name == arm}
        means = [
            np.mean([r["score"] for p, r in own.items() if (p[0], p[1], p[2]) == kind] or [np.nan]) for kind in kinds
        ]
        both = [place for place in own if (against, place) in cells]
        shown = []
        for name in ("score", "log_loss"):
            pairs = [(own[p][name], cells[against, p][name]) for p in both]
            gaps = np.array([a - b for a, b in pairs if a is not None and b is not None])
            if arm == against or not len(gaps):
                shown.append("")
                continue
            resampled = gaps[rng.integers(len(gaps), size=(4000, len(gaps)))].mean(axis=1)
            low, high = np.quantile(resampled, [0.025, 0.975])
            shown.append(f"{gaps.mean():+.3f} ({low:+.3f}, {high:+.3f}), n {len(gaps)}")
        # collapsed: a fit below half of the way from chance to the best arm of its replicate, where that is well above chance
        best = {p: max(r["score"] for (_, q), r in cells.items() if q == p) for p in own}
        n_collapsed = sum(r["score"] - 0.5 < 0.5 * (best[p] - 0.5) for p, r in own.items() if best[p] > 0.8)
        seconds = np.median([r["seconds"] for r in own.values()])
        values = " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in means)
        lines.append(f"| {arm} | {values} | {shown[0]} | {shown[1]} | {n_collapsed} of {len(own)} | {seconds:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
