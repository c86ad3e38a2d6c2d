"""What age, sex, subtype and margin alone tell of the survival of the TCGA sarcomas: the bar of any model of their slides.

    python benchmarks/sarcoma_cox.py FOLDER [--repeats 20]

FOLDER holds tcga_sarc_cdr_261.csv (TCGA-CDR, Liu et al. 2018, Cell 173:400). The five subtypes of the study; end points OS, DSS
and PFI as `--endpoint` finds them; the product's penalised Cox model (Efron); folds: 5 by patient, dealt `repeats` times, and whole
sites (TSS codes) to 5 folds. C-index of pairs of one fold (no common scale is needed), with 95 % bootstrap intervals over
patients, who keep their folds; and C of pairs of one fold and subtype, where a model that only tells subtypes apart is at 0.5.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.cohort import Cohort, read_cohort
from mil.metrics.bootstrap import Interval, intervals, plan_resampling, resample
from mil.metrics.concordance import concordances_within
from mil.metrics.cross_validated import widening
from mil.training.covariates import Covariates, choose_covariates, fit_encoder
from mil.training.time_to_event.end_points import EndPoint, find_end_point
from mil.training.time_to_event.joint_models import fit_linear_cox
from mil.training.time_to_event.survival_targets import SurvivalTargets
from splits.fold_plan import FoldPlan, plan_folds
from splits.split_methods import make_splits
from splits.split_settings import SplitConfig

FIVE = ("LMS", "DDLPS", "UPS", "MFS", "SS")
MARGINS = {"R0": "R0", "R1": "R1", "R2": "R2"}  # RX and the rest are missing
MODELS = {
    "age and sex": "age,sex", "age, sex, subtype": "age,sex,subtype",
    "age, sex, subtype, margin": "age,sex,subtype,margin",
}  # fmt: skip


def study_table(path: Path) -> pd.DataFrame:
    """Return the table as a study has it, one slide a patient."""
    table = pd.read_csv(path)
    table = table[table["subtype"].isin(FIVE)]
    return pd.DataFrame(
        {
            "patient_id": table["bcr_patient_barcode"], "slide_id": table["bcr_patient_barcode"] + "-slide",
            "subtype": table["subtype"], "site": table["tss"], "age": table["age_at_initial_pathologic_diagnosis"],
            "sex": table["gender"], "margin": table["residual_tumor"].map(MARGINS),
            **{name: table[name] for end in ("OS", "DSS", "PFI") for name in (end, f"{end}.time")},
        }
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--bootstrap", type=int, default=1000)
    args = parser.parse_args(argv)
    whole = study_table(args.folder / "tcga_sarc_cdr_261.csv")
    print("| end point (patients, events) | inputs | by patient | whole sites | inside one subtype, by patient |")
    print("|---|---|---|---|---|")
    for end in ("OS", "DSS", "PFI"):
        with tempfile.TemporaryDirectory() as folder:
            cohort = written(whole, end, Path(folder))
            targets, _ = find_end_point(cohort, EndPoint(name=end), task="survival")
            sites = plans_of(cohort, "site_preserved", 1)
            folds = plans_of(cohort, "k_fold", args.repeats)
            for words, names in MODELS.items():
                covariates = choose_covariates(cohort.slides, names, targets=("time", "event"), allowed=("subtype",))
                by_patient = concordance(folds, covariates, targets, args.bootstrap)
                by_site = concordance(sites, covariates, targets, args.bootstrap)
                inside = concordance(folds, covariates, targets, args.bootstrap, is_inside=True)
                counts = f"{end} ({len(targets.times)}, {sum(targets.events.values())})"
                print(f"| {counts} | {words} | {shown(by_patient)} | {shown(by_site)} | {shown(inside)} |", flush=True)
    return 0


def written(whole: pd.DataFrame, end: str, folder: Path) -> Cohort:
    """Return the cohort of one end point, read from a table as a study's is; times in months."""
    path = folder / "cohort.csv"
    own = whole.assign(event=whole[end], time=whole[f"{end}.time"])  # what folds keep even
    own.dropna(subset=["event"]).to_csv(path, index=False)
    (folder / "study.yaml").write_text("columns:\n  time_unit: days\n")
    return read_cohort(path)


def plans_of(cohort: Cohort, method: str, repeats: int) -> list[FoldPlan]:
    settings = SplitConfig(method=method, folds=5, repeats=repeats, val_fraction=0.0)
    return plan_folds(make_splits(cohort, settings)[0])


def concordance(
    plans: Sequence[FoldPlan],
    covariates: Covariates,
    targets: SurvivalTargets,
    n_bootstrap: int,
    *,
    is_inside: bool = False,
) -> Interval:
    """Return C of pairs of one fold (and subtype), over all repeats, with its interval over patients."""
    patients = sorted(targets.times)
    place = {patient: index for index, patient in enumerate(patients)}
    rows, risks, strata = [], [], []
    for number, plan in enumerate(plans):
        encode = fit_encoder(covariates, plan.train)
        cox = fit_linear_cox(encode(covariates, plan.train), plan.train, targets)
        risks.append(cox.log_hazard(encode(covariates, plan.test)))
        rows += [place[patient] for patient in plan.test]
        strata += [(number, targets.groups[patient] if is_inside else "") for patient in plan.test]
    n_train = float(np.mean([len(plan.train) for plan in plans]))
    time, event = targets.of(patients)
    at, risk = np.array(rows), np.concatenate(risks)
    codes = np.unique([f"{number} {group}" for number, group in strata], return_inverse=True)[1]
    samples = resample(
        lambda weights: {"c_index": concordances_within(risk, time[at], event[at], codes, weights[at])},
        plan_resampling(event, n_bootstrap, np.random.default_rng(0), widening(len(patients), n_train)),
    )
    return intervals(samples)["c_index"]


def shown(own: Interval) -> str:
    return f"{own.value:.3f} ({own.low:.3f} to {own.high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
