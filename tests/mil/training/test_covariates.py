"""Clinical covariates: which columns are taken, how they are coded from training patients, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from sklearn.preprocessing import OneHotEncoder

from common.failures import StudyError
from mil.training.covariates import Covariates, choose_covariates, fit_encoder

SUBTYPE = {"targets": ("subtype",)}
SURVIVAL = {"targets": ("time", "event"), "allowed": ("subtype",)}
SLIDES = pd.DataFrame(
    {
        "patient_id": ["a", "a", "b", "c", "d"], "slide_id": list("vwxyz"), "subtype": ["L", "L", "U", "U", "L"],
        "time": [1, 1, 2, 3, 4], "event": [1, 1, 0, 1, 0], "site": ["s"] * 5, "mpp": [0.5] * 5,
        "mpp_x": [0.5, 0.5, 0.25, 0.25, 0.5], "mpp_y": [0.5, 0.5, 0.25, 0.25, 0.5],
        "age": [40.0, 40.0, 60.0, np.nan, 80.0],
        "grade": ["1", "1", "2", None, "3"], "block": ["k", "l", "k", "k", "k"], "country": ["x"] * 5,
    }
)  # fmt: skip


def test_what_is_no_id_target_or_constant_is_taken_and_the_rest_is_told():
    found = choose_covariates(SLIDES, None, **SUBTYPE)
    assert found.names == ["age", "grade"]
    assert found.numeric["age"] == {"a": 40.0, "b": 60.0, "c": None, "d": 80.0}
    assert found.of("c") == [None, None]
    assert found.left_out == {"block": "differs between slides of one patient", "country": "has one value or none"}
    many = SLIDES.drop_duplicates("patient_id")
    many = pd.concat([many.assign(patient_id=f"p{i}", note=f"text {i}") for i in range(9)])
    assert choose_covariates(many, None, **SUBTYPE).left_out["note"] == "has 9 levels, more than 8"


def test_named_columns_are_taken_or_refused_by_name():
    assert choose_covariates(SLIDES, "age", **SUBTYPE).names == ["age"]
    assert choose_covariates(SLIDES, "none", **SUBTYPE).names == []
    assert choose_covariates(SLIDES, "age, subtype", **SURVIVAL).names == ["age", "subtype"]
    for wanted, task, message in (
        ("size", SUBTYPE, "size: no such column"),
        ("subtype", SUBTYPE, "is no covariate"),
        ("time", SURVIVAL, "is no covariate"),
        ("block", SUBTYPE, "differs between slides"),
    ):
        with pytest.raises(StudyError, match=message):
            choose_covariates(SLIDES, wanted, **task)


def test_coding_is_learned_of_training_patients_alone():
    covariates = choose_covariates(SLIDES, None, **SUBTYPE)
    encode = fit_encoder(covariates, ["a", "b", "c"])
    found = encode(covariates, ["a", "b", "c", "d"])
    # age, grade 1, grade 2, age missing, grade missing
    assert found.tolist() == [[40, 1, 0, 0, 0], [60, 0, 1, 0, 0], [50, 0, 0, 1, 1], [80, 0, 0, 0, 0]]
    assert covariates.medians(["a", "b", "c"]) == {"age": 50.0}
    theirs = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit([["1"], ["2"]])
    assert found[[0, 1, 3], 1:3] == approx(theirs.transform([["1"], ["2"], ["3"]]))
    whole = fit_encoder(covariates, ["a", "b"])(covariates, ["c"])
    assert whole.tolist() == [[50, 0, 0]]  # nothing was missing in training: no indicator


def test_what_is_named_like_an_outcome_is_left_out_unless_named():
    names = ["vital_status", "pfi_time", "OS", "DSS.time", "days_to_death", "days_to_last_follow_up"]
    table = SLIDES.assign(**dict.fromkeys(names, SLIDES["age"]), er_status=SLIDES["grade"], dose=SLIDES["age"])
    found = choose_covariates(table, None, **SURVIVAL)
    assert found.names == ["age", "dose", "er_status", "grade"]
    assert all("named like an outcome" in found.left_out[name] for name in names)
    assert choose_covariates(table, "OS", **SURVIVAL).names == ["OS"]


OUTCOMES = (
    "new_tumor_event_type", "new_tumor_event_dx_days_to", "tumor_status", "tumour_status", "Disease Free (Months)",
    "Disease Free Status", "Progression Free Status", "Progress Free Survival (Months)",
    "New Neoplasm Event Post Initial Therapy Indicator",
    "Last Communication Contact from Initial Pathologic Diagnosis Date",
    "Last Alive Less Initial Pathologic Diagnosis Date Calculated Day Value", "Person Neoplasm Cancer Status", "relapse",
    "relapsed", "recurrence", "local_recurrence", "censored", "is_censored", "censorship", "exitus", "OSEvent", "OS_MONTHS",
    "osTime", "dfsmonths", "treatment_outcome_first_course", "last_contact_days_to", "death_days_to", "cause_of_death",
    "died", "is_dead", "isAlive", "time_to_progression", "disease_free", "last_seen", "status", "MetastasisFreeSurvival",
    "Months of disease-specific survival", "PFI.time.1",
)  # fmt: skip
NO_OUTCOMES = (
    "age", "er_status", "margin_status", "residual_tumor", "dose", "performance_status", "progesterone_receptor",
    "tumor_size", "tumor_site", "ipos", "positive_nodes", "diagnosis_year", "menopause_status", "race", "grade",
    "smoking_status", "cell_free_dna", "contact_with_bone", "Primary Lymph Node Presentation Assessment", "Deadwood score",
    "previous_tumor", "new_classification", "Patient Weight", "Aneuploidy Score", "Fraction Genome Altered",
)  # fmt: skip


def test_t2_outcomes_by_many_names_are_no_default_covariates():
    table = SLIDES.assign(**dict.fromkeys((*OUTCOMES, *NO_OUTCOMES), SLIDES["age"]))
    found = choose_covariates(table, None, **SURVIVAL)
    assert {name for name in OUTCOMES if name not in found.left_out} == set()
    assert {name for name in NO_OUTCOMES if name in found.left_out} == set()


@pytest.mark.parametrize(
    ("name", "key", "outcomes"),
    [
        (
            "tcga_sarc_cdr_261.csv",
            "bcr_patient_barcode",
            ("tumor_status", "last_contact_days_to", "new_tumor_event_type"),
        ),
        (
            "cbioportal_sarc_tcga_pan_can_atlas_2018_255.csv",
            "Patient ID",
            (
                "Disease Free (Months)",
                "Disease Free Status",
                "Progression Free Status",
                "Person Neoplasm Cancer Status",
            ),
        ),
    ],
)
def test_t2_no_outcome_of_a_real_table_is_a_default_covariate(shared_data, name, key, outcomes):
    slides = pd.read_csv(shared_data / "tables" / name).rename(columns={key: "patient_id"})
    found = choose_covariates(slides.drop_duplicates("patient_id"), None, **SUBTYPE)
    assert not set(outcomes) & set(found.names)
    words = (
        "event",
        "free",
        "last",
        "death",
        "alive",
        "surv",
        "cancer status",
        "tumor_status",
        "os.",
        "dss",
        "dfi",
        "pfi",
    )
    assert [each for each in found.names if any(word in each.lower() for word in words)] == []


def test_eight_levels_are_allowed_of_a_text_and_any_number_of_a_number():
    for n_levels, is_taken in ((8, True), (9, False)):
        table = pd.DataFrame(
            {
                "patient_id": [f"p{n}" for n in range(9)],
                "slide_id": range(9),
                "word": [f"w{n % n_levels}" for n in range(9)],
            }
        )
        found = choose_covariates(table.assign(size=np.arange(9.0)), None, **SUBTYPE)
        assert ("word" in found.names) == is_taken
        assert "size" in found.names
    two = SLIDES.assign(flag=["a", "a", "b", "b", None])
    assert "flag" in choose_covariates(two, None, **SUBTYPE).names
    mixed = SLIDES.assign(half=["a", None, "b", "b", "c"])  # a value and none on two slides of one patient
    assert choose_covariates(mixed, None, **SUBTYPE).left_out["half"] == "differs between slides of one patient"


def test_names_are_sorted_blanks_are_passed_over_and_the_nearest_is_told():
    found = choose_covariates(SLIDES, " grade ,, age", **SUBTYPE)
    assert found.names == ["age", "grade"]
    assert found.of("a") == [40.0, "1"]
    assert found.values("grade") == {"a": "1", "b": "2", "c": None, "d": "3"}
    assert choose_covariates(SLIDES, " NONE ", **SUBTYPE).names == []
    with pytest.raises(
        StudyError, match="--covariates ages: no such column; the nearest is age; the table has patient_id"
    ):
        choose_covariates(SLIDES, "ages", **SUBTYPE)
    with pytest.raises(StudyError, match="--covariates block: differs between slides of one patient; the table has"):
        choose_covariates(SLIDES, "block", **SUBTYPE)
    assert "subtype" not in choose_covariates(SLIDES, None, **SURVIVAL).names


def test_columns_of_the_coding_are_numbers_levels_and_what_is_missing_in_their_order():
    numeric = {"z": {"p": 1.0, "q": None, "r": 4.0}, "b": {"p": None, "q": None, "r": 9.0}}
    categorical = {"k": {"p": "y", "q": "x", "r": None}, "a": {"p": "u", "q": "u", "r": "v"}}
    own = Covariates(numeric=numeric, categorical=categorical)
    assert own.names == ["a", "b", "k", "z"]
    encode = fit_encoder(own, ["p", "q"])
    assert (encode.means, encode.levels) == ({"b": 0.0, "z": 1.0}, {"a": ("u",), "k": ("x", "y")})
    assert encode.with_missing == ("b", "z")
    found = encode(own, ["p", "q", "r"])  # b, z, a=u, k=x, k=y, no b, no z
    assert found.tolist() == [[0, 1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 1, 1], [9, 4, 0, 0, 0, 0, 0]]
    assert own.medians(["p", "q"]) == {"z": 1.0}
    assert encode(own, []).shape == (0, 7)
    assert fit_encoder(Covariates(), ["p"])(Covariates(), ["p", "q"]).shape == (2, 0)
