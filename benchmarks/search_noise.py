"""Whether a search for settings by inner folds invents skill: labels shuffled, so the nested AUROC must stay at chance.

    python benchmarks/search_noise.py [seeds] [trials]

Each seed is a study of its own, 36 patients with three shuffled classes, 3 folds, searched anew in each; prints the macro AUROC of
every seed with its interval, then their mean, its standard error, and how many intervals lie above or below 0.5.
"""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from mil.train import main as train
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

SPACE = """search:
  learning_rate: {low: 0.001, high: 0.03, log: true}
  dropout: [0.0, 0.25, 0.5]
  hidden: [8, 16, 32]
  head: [gated_attention, mean_mlp, max_pool]
"""


def searched(root: Path, seed: int, n_trials: int) -> tuple[dict, float]:
    """Return the nested AUROC of a study of noise, and by how much the chosen trials' inner losses are below the first's."""
    study = make_feature_study(root, n_patients=36, seed=seed, is_shuffled=True)
    (study.root / "study.yaml").write_text(SPACE)
    flags = [
        "--epochs",
        "8",
        "--hidden",
        "16",
        "--attention",
        "8",
        "--bootstrap",
        "500",
        "--threads",
        "1",
        "--cross_fit",
        "0",
    ]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        make_splits(["--study", str(root), "--folds", "3", "--val_fraction", "0"])
        train(["--study", str(root), *flags, "--search", str(n_trials), "--search_folds", "3"])
    found = json.loads((study.run("subtype", "default") / "metrics.json").read_text())["attention"]["macro_auroc"]
    folds = json.loads((study.run("subtype", "default") / "search.json").read_text())["folds"]
    gains = [fold["trials"][0]["loss"] - fold["trials"][fold["chosen"]]["loss"] for fold in folds]
    return found, float(np.mean(gains))


def main() -> None:
    n_seeds, n_trials = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 20), (2, 8)))
    values, gains, above, below = [], [], 0, 0
    for seed in range(1000, 1000 + n_seeds):
        with tempfile.TemporaryDirectory() as folder:
            found, gain = searched(Path(folder) / "study", seed, n_trials)
        values.append(found["value"])
        gains.append(gain)
        above, below = above + (found["low"] > 0.5), below + (found["high"] < 0.5)
        print(
            f"seed {seed}: {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f}), inner gain {gain:.3f}",
            flush=True,
        )
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(
            f"  {len(values)} seeds: mean {np.mean(values):.3f} (standard error {error:.3f}), above 0.5: {above}, below: {below}, "
            f"inner gain {np.mean(gains):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
