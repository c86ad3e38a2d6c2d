"""A clinical covariate that tells the outcome is named, whether by its values or by where they are missing."""

import pandas as pd

from mil.audit.checks import LEAK, OK, WARNING, check_covariates, check_patients
from mil.training.covariates import Covariates, choose_covariates
from splits.fold_plan import FoldPlan

PATIENTS = [f"P{number:02}" for number in range(20)]
IS_SS = {patient: float(number < 8) for number, patient in enumerate(PATIENTS)}


def test_t1_a_missing_indicator_is_audited_like_any_level():
    ratio = {patient: 1.0 + number if IS_SS[patient] else None for number, patient in enumerate(PATIENTS)}
    found = check_covariates(Covariates(numeric={"fish_ratio": ratio}), {"SS": IS_SS}, {})
    assert found.verdict == WARNING
    assert "fish_ratio = missing tells SS (1.00)" in found.text
    assert ("fish_ratio = missing", "SS", 1.0) in found.table.rows
    answer = {patient: "yes" if IS_SS[patient] else None for patient in PATIENTS}
    assert check_covariates(Covariates(categorical={"fish": answer}), {"SS": IS_SS}, {}).verdict == WARNING
    anywhere = {patient: 3.0 if number % 2 else None for number, patient in enumerate(PATIENTS)}
    assert check_covariates(Covariates(numeric={"fish_ratio": anywhere}), {"SS": IS_SS}, {}).verdict == OK


def test_t1_where_tcgas_last_contact_is_missing_tells_who_died(shared_data):
    table = pd.read_csv(shared_data / "tables" / "tcga_sarc_cdr_261.csv")
    slides = table.rename(columns={"bcr_patient_barcode": "patient_id", "OS": "event", "OS.time": "time"})
    slides = slides.dropna(subset=["event", "time"])
    covariates = choose_covariates(slides, "last_contact_days_to,gender", targets=("time", "event"))
    event, time = (
        dict(zip(slides["patient_id"], slides[name].astype(float), strict=True)) for name in ("event", "time")
    )
    found = check_covariates(covariates, {"the event": event}, time)
    assert found.verdict == WARNING
    assert "last_contact_days_to = missing tells the event (1.00)" in found.text
    assert "gender" not in found.text


def test_a_covariate_that_tells_as_much_as_the_bound_is_named():
    """One of ten positives lies below five of ten negatives: 95 of 100 pairs are in order."""
    names = PATIENTS
    value = {name: float(number) for number, name in enumerate(names)} | {names[10]: 4.5}
    is_so = {name: float(number >= 10) for number, name in enumerate(names)}
    found = check_covariates(Covariates(numeric={"marker": value}), {"SS": is_so}, {})
    assert (found.verdict, found.table.rows) == (WARNING, (("marker", "SS", 0.95),))
    assert check_covariates(Covariates(numeric={"marker": value | {names[10]: 3.5}}), {"SS": is_so}, {}).verdict == OK


def test_ids_of_one_barcode_are_a_leak_in_two_parts_and_a_warning_in_one():
    slides_of = {"A": ["TCGA-DX-A1KW-01Z-00-DX1"], "B": ["TCGA-DX-A1KW-01Z-00-DX2"], "C": ["c"], "D": ["d"]}
    apart = check_patients([FoldPlan(repeat=0, fold=0, train=("A", "C"), val=("D",), test=("B",))], slides_of)
    assert apart.verdict == LEAK
    assert [row[3] for row in apart.table.rows] == ["train and test of repeat 0, fold 0"]
    together = check_patients([FoldPlan(repeat=0, fold=0, train=("A", "B"), val=("D",), test=("C",))], slides_of)
    assert together.verdict == WARNING
    assert [(*row[:2], row[3]) for row in together.table.rows] == [("A", "B", "never")]


def test_a_covariate_is_judged_from_five_patients_on_each_side():
    for n_positive, verdict in ((5, WARNING), (4, OK)):
        is_so = {name: float(number < n_positive) for number, name in enumerate(PATIENTS)}
        value = {name: float(number) for number, name in enumerate(PATIENTS)}
        assert check_covariates(Covariates(numeric={"number": value}), {"SS": is_so}, {}).verdict == verdict
