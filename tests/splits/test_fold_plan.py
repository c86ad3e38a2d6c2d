"""Plans of folds: who is where, sorted, in the order of repeats and folds."""

import pandas as pd
import pytest

from splits.fold_plan import FoldPlan, plan_folds

PATIENTS = [f"P{number:02d}" for number in range(30)]


def table():
    """Two repeats of three folds, rows in no order."""
    rows = [
        (repeat, fold, patient, "test" if (at + repeat) % 3 == fold else "val" if at % 5 == 4 else "train")
        for repeat in range(2)
        for fold in range(3)
        for at, patient in enumerate(PATIENTS)
    ]
    return pd.DataFrame(rows, columns=["repeat", "fold", "patient_id", "set"]).sample(frac=1, random_state=5)


@pytest.mark.parametrize("usable", [None, set(PATIENTS[3:25])])
def test_plans_hold_the_patients_of_each_set_sorted_and_only_the_usable(usable):
    plans = plan_folds(table(), usable)
    assert [(plan.repeat, plan.fold) for plan in plans] == [(r, f) for r in range(2) for f in range(3)]
    for plan in plans:
        wanted = {"train": [], "val": [], "test": []}
        for at, patient in enumerate(PATIENTS):
            if usable is None or patient in usable:
                is_test = (at + plan.repeat) % 3 == plan.fold
                wanted["test" if is_test else "val" if at % 5 == 4 else "train"].append(patient)
        assert {name: list(getattr(plan, name)) for name in wanted} == wanted


def test_a_plan_says_its_place_and_the_part_of_a_patient():
    plan = FoldPlan(repeat=2, fold=1, train=("a", "b"), val=("c",), test=("d",))
    assert (plan.stem, plan.place) == ("repeat2_fold1", "repeat 2, fold 1")
    assert [plan.part_of(patient) for patient in "abcde"] == ["train", "train", "val", "test", ""]
