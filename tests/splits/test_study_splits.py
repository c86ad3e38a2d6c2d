"""The folds of a study from Python: a value comes back, files are left, other folds are refused, plans are read."""

import json

import pandas as pd
import pytest

import splits
from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from splits.split_settings import SplitConfig
from splits.split_store import cohort_sha256, read_plans, read_record, read_splits, record_file
from splits.study_splits import make_study_splits
from tests.helpers.feature_study import make_feature_study


@pytest.fixture
def study(tmp_path):
    rows = [
        {"patient_id": f"P{n:02d}", "slide_id": f"S{n:02d}", "subtype": "LMS" if n % 2 else "UPS"} for n in range(20)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    return Study(tmp_path)


@pytest.mark.parametrize("kind", ["study", "folder"])
def test_folds_are_made_and_returned_with_their_record_and_plans(study, kind):
    made = make_study_splits(study if kind == "study" else study.root, SplitConfig(folds=4))
    assert made.path == study.splits_file("default")
    assert read_splits(made.path).equals(made.table)
    assert made.record["method"] == "k_fold"
    assert made.plans == read_plans(made.path)
    assert [(plan.repeat, plan.fold) for plan in made.plans] == [(0, fold) for fold in range(4)]
    assert sorted(patient for plan in made.plans for patient in plan.test) == [f"P{n:02d}" for n in range(20)]
    assert made.summary.endswith(f"{made.path}: 20 patients")


def test_plans_over_usable_patients_leave_out_the_others(study):
    path = make_study_splits(study, SplitConfig(folds=4)).path
    usable = {f"P{n:02d}" for n in range(15)}
    for plan, whole in zip(read_plans(path, usable), read_plans(path), strict=True):
        for own, every in ((plan.train, whole.train), (plan.val, whole.val), (plan.test, whole.test)):
            assert own == tuple(patient for patient in every if patient in usable)


def test_other_folds_of_the_name_are_refused_and_stay(study):
    path = make_study_splits(study, SplitConfig(folds=4)).path
    before = path.read_bytes()
    with pytest.raises(StudyError, match="exists and differs"):
        make_study_splits(study, SplitConfig(folds=5))
    assert path.read_bytes() == before


def test_the_package_offers_its_functions_and_no_others():
    assert splits.make_study_splits is make_study_splits
    assert all(getattr(splits, name) for name in splits.__all__)
    with pytest.raises(AttributeError, match="no attribute 'deal_cards'"):
        splits.deal_cards  # noqa: B018


def test_t3_t4_what_is_odd_in_the_table_is_said_with_the_folds(study):
    table = pd.read_csv(study.cohort_table)
    table.loc[0, "patient_id"], table["grade"] = "P01\u200b", "[Unknown]"
    table.to_csv(study.cohort_table, index=False)
    with pytest.raises(StudyError, match="patient P01 has two values of subtype"):
        make_study_splits(study, SplitConfig(folds=4))
    table.loc[0, "patient_id"] = "P019\u200b"
    table.to_csv(study.cohort_table, index=False)
    summary = make_study_splits(study, SplitConfig(folds=4)).summary
    assert summary.startswith(
        "note: invisible characters (U+200B) were taken off in 1 cell(s): row 2\nnote: read as missing: "
    )
    assert "'[Unknown]' (20)" in summary


def write_rare(study):
    table = pd.read_csv(study.cohort_table)
    table["subtype"] = ["rare", *["LMS"] * 19]
    table["time"], table["event"] = range(20), [1, 0] * 10
    table.to_csv(study.cohort_table, index=False)


def test_t11_hints_can_be_followed_and_folds_are_made_for_a_task(study):
    write_rare(study)
    with pytest.raises(StudyError, match="rare \\(1\\)") as error:
        make_study_splits(study, SplitConfig(folds=2))
    assert "--folds" not in str(error.value)
    assert "--stratify event" in str(error.value)
    made = make_study_splits(study, SplitConfig(folds=2, stratify="event"))
    tested = made.table[made.table["set"] == "test"].join(made.patients, on="patient_id", rsuffix="_given")
    assert tested.groupby("fold")["event"].sum().tolist() == [5, 5]
    table = pd.read_csv(study.cohort_table).drop(columns=["time", "event"])
    table.to_csv(study.cohort_table, index=False)
    with pytest.raises(StudyError, match="--stratify event, and there is no column event"):
        make_study_splits(study, SplitConfig(folds=2, stratify="event"))
    with pytest.raises(StudyError) as error:
        make_study_splits(study, SplitConfig(folds=2))
    assert "--stratify" not in str(error.value)


def test_t11_an_inner_validation_part_that_cannot_be_had_is_said(tmp_path):
    table = pd.DataFrame({"patient_id": range(8), "slide_id": range(8), "subtype": list("aabbccdd")})
    table.to_csv(tmp_path / "cohort.csv", index=False)
    made = make_study_splits(tmp_path, SplitConfig(folds=2))
    assert not (made.table["set"] == "val").any()
    assert "no inner validation part can be had in 2 of 2 fold(s)" in made.summary
    assert make_study_splits(tmp_path, SplitConfig(folds=2, val_fraction=0, name="none")).record["notes"] == []


def test_t15_fewer_folds_by_whole_sites_are_proposed(study):
    table = pd.read_csv(study.cohort_table).assign(site=[number // 2 % 4 for number in range(20)])
    table.to_csv(study.cohort_table, index=False)
    made = make_study_splits(study, SplitConfig(folds=5))
    assert made.record["method"] == "k_fold"
    assert made.record["why"].endswith("4 site(s) cannot fill 5 folds; --folds 4 would keep whole sites together")
    assert make_study_splits(study, SplitConfig(folds=4, name="sites")).record["method"] == "site_preserved"


def test_t9_folds_of_a_column_of_numbers_are_refused_in_a_line(study):
    table = pd.read_csv(study.cohort_table).assign(subtype=[f"{40 + number}.5" for number in range(20)])
    table.to_csv(study.cohort_table, index=False)
    with pytest.raises(
        StudyError, match=r"subtype is a column of numbers \(20 different, 40\.5 to 59\.5\), no classes"
    ):
        make_study_splits(study, SplitConfig(folds=4))


@pytest.mark.parametrize("key", ["table_sha256", "method", "settings"])
@pytest.mark.parametrize("change", ["gone", "number"])
def test_d5_a_record_of_folds_without_a_key_is_damaged(study, key, change):
    path = make_study_splits(study, SplitConfig(folds=4)).path
    record = json.loads(record_file(path).read_text())
    if change == "gone":
        del record[key]
    else:
        record[key] = 7
    record_file(path).write_text(json.dumps(record))
    with pytest.raises(StudyError, match=rf"default\.json: damaged, {key} is .*make the splits again"):
        read_splits(path)


@pytest.mark.parametrize("kind", ["folder", "brackets", "bytes"])
def test_d5_a_record_of_folds_that_cannot_be_read_is_named(study, kind):
    path = make_study_splits(study, SplitConfig(folds=4)).path
    record_file(path).unlink()
    if kind == "folder":
        record_file(path).mkdir()
    else:
        record_file(path).write_bytes(b"[" * 200_000 if kind == "brackets" else b"\xff\x00{")
    with pytest.raises(StudyError, match=r"default\.json: not readable as JSON .*make the splits again"):
        read_record(path)


def with_columns(study):
    table = pd.read_csv(study.cohort_table)
    number = table["patient_id"].str[1:].astype(int)
    table["size_mm"] = 10 + 1.5 * number
    table["grade"] = ["G1" if n % 6 == 0 else "G2" for n in number]
    table.loc[table["patient_id"] == "P03", "size_mm"] = None
    table.to_csv(study.cohort_table, index=False)
    return table


def test_any_column_can_be_kept_even(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=36)
    with_columns(study)
    made = make_study_splits(study, SplitConfig(folds=3, stratify="grade", method="k_fold"))
    tested = made.table[made.table["set"] == "test"]
    grades = pd.read_csv(study.cohort_table).drop_duplicates("patient_id").set_index("patient_id")["grade"]
    assert [(grades[own["patient_id"]] == "G1").sum() for _, own in tested.groupby("fold")] == [2, 2, 2]
    assert "test G1" in made.summary
    by_size = make_study_splits(study, SplitConfig(folds=3, stratify="size_mm", method="k_fold", name="size"))
    sizes = pd.read_csv(study.cohort_table).drop_duplicates("patient_id").set_index("patient_id")["size_mm"]
    tested = by_size.table[by_size.table["set"] == "test"]
    for low, high in ((0, 23), (23, 37), (37, 50), (50, 99)):
        counts = [sizes[own["patient_id"]].between(low, high).sum() for _, own in tested.groupby("fold")]
        assert max(counts) - min(counts) <= 1
    assert by_size.record["settings"]["stratify"] == "size_mm"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("grad", "--stratify 'grad': no such column; the nearest is grade"),
        ("patient_id", "--stratify patient_id: an id says nothing"),
        ("time", "--stratify time: a follow-up"),
    ],
)
def test_a_column_that_cannot_be_kept_even_is_refused(tmp_path, column, message):
    study = make_feature_study(tmp_path / "study", n_patients=12)
    with_columns(study)
    with pytest.raises(StudyError, match=message):
        make_study_splits(study, SplitConfig(folds=2, stratify=column))


def test_a_class_of_the_column_that_is_too_rare_is_named(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    with_columns(study)
    with pytest.raises(StudyError, match=r"fewer patients than the 5 folds in G1 \(4\)"):
        make_study_splits(study, SplitConfig(folds=5, stratify="grade", method="k_fold"))


def test_a_change_of_the_column_is_noticed(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    table = with_columns(study)
    made = make_study_splits(study, SplitConfig(folds=3, stratify="grade", method="k_fold"))
    assert made.record["cohort_sha256"] == cohort_sha256(read_cohort(study.cohort_table), "grade")
    table["grade"] = "G2"
    table.to_csv(study.cohort_table, index=False)
    assert made.record["cohort_sha256"] != cohort_sha256(read_cohort(study.cohort_table), "grade")
