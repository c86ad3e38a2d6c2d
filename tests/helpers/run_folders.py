"""Run folders made by hand: predictions of known skill and the facts a report reads."""

import numpy as np
import pandas as pd

from common.files import write_json

FACTS = {
    "run": "default", "n_patients": 40, "n_slides": 60, "n_tiles": 4000, "class_counts": {}, "n_events": 20,
    "excluded": [{"patient_id": "<b>x</b>", "reason": "no subtype"}], "slides_without_features": ["s1"],
    "encoder": {"encoder": "e", "licence": "Apache-2.0"}, "split": {"name": "default", "n_repeats": 1, "n_folds": 2},
    "settings": {"epochs": 3}, "seed": 0, "versions": {"torch": "2"}, "command": "python mil/train.py --task subtype",
    "folds": [
        {
            "repeat": 0, "fold": fold, "n_train": 16, "n_val": 4, "n_test": 20, "stopped_by": "inner validation",
            "best_epoch": 1, "n_epochs": 2, "model_file": f"models/repeat0_fold{fold}.safetensors",
            "history": [{"epoch": 1, "train_loss": 1.0, "val_loss": 1.1}, {"epoch": 2, "train_loss": 0.5, "val_loss": 1.2}],
        }
        for fold in (0, 1)
    ],
}  # fmt: skip


def subtype_run(folder, *, skill=2.0, baseline_skill=0.0):
    rng = np.random.default_rng(0)
    classes, rows = ["A<1>", "B", "C"], []
    for model, strength in (("attention", skill), ("mean_pool", baseline_skill)):
        for index in range(40):
            logits = rng.normal(size=3) + strength * np.eye(3)[index % 3]
            p = np.exp(logits) / np.exp(logits).sum()
            rows.append([0, index % 2, f"p{index:02d}", model, classes[index % 3], *p])
    names = ["repeat", "fold", "patient_id", "model", "truth", *(f"p_{name}" for name in classes)]
    write_run(
        folder, pd.DataFrame(rows, columns=names), FACTS | {"task": "subtype", "classes": classes, "evaluated": True}
    )


def survival_run(folder):
    rng, rows = np.random.default_rng(1), []
    risk = rng.normal(size=40)
    time, event = np.ceil(20 * np.exp(-risk) * rng.exponential(size=40)), rng.integers(0, 2, 40)
    for model in ("attention", "mean_pool"):
        for index in range(40):
            raw = risk[index] * (index % 2 + 1) + 30 * (index % 2)  # folds on two scales
            rows.append(
                [
                    0,
                    index % 2,
                    f"p{index:02d}",
                    model,
                    time[index],
                    event[index],
                    raw,
                    risk[index],
                    int(risk[index] > 0),
                ]
            )
    names = ["repeat", "fold", "patient_id", "model", "time", "event", "log_hazard", "score", "high_risk"]
    write_run(folder, pd.DataFrame(rows, columns=names), FACTS | {"task": "survival", "classes": [], "evaluated": True})
    return risk, time, event


def write_run(folder, predictions, facts):
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    write_json(folder / "run.json", facts)
