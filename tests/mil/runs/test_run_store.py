"""A run folder read back: one read gives all, and a run of an earlier version is refused with what to do."""

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.torch import load, save

from common.failures import StudyError
from common.files import UnwritableError, write_json
from common.study import Study
from mil.evaluate import main as evaluate
from mil.heads.registry import make_head
from mil.runs.comparison_record import Comparison, current_comparison, write_comparison
from mil.runs.model_file import read_model, write_model
from mil.runs.facts import FoldRecord, FoldPatients, ShareFacts
from mil.runs.run_folder import RunFolder, evaluated_runs
from mil.runs.run_store import by_fold, by_patient, read_run
from mil.runs.run_tables import check_rows, check_sums, table_sums
from mil.training.fold_store import finished_record, write_fold
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan
from tests.helpers.run_folders import FACTS, FOLDS, evaluated, reseal, subtype_run, survival_run, write_facts


def test_one_read_holds_facts_tables_and_shares(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    facts = replace(FACTS, classes=("A<1>", "B", "C"), learning_curve=(ShareFacts(share=0.5, n_train=8.0),))
    folder.share(0.5).root.mkdir(parents=True)
    predictions = pd.read_csv(folder.predictions)
    predictions.iloc[:6].to_csv(folder.share(0.5).predictions, index=False)
    write_facts(folder.root, facts)
    run = read_run(folder)
    assert replace(run.facts, tables={}) == facts
    assert sorted(run.facts.tables) == ["learning_curve/0.5/predictions.csv", "predictions.csv"]
    assert len(run.predictions) == len(predictions)
    assert len(run.shares[0.5]) == 6
    assert run.images.empty
    assert run.predictions_sha256 == folder.predictions_sha256()
    assert run.models == ["attention", "mean_pool"]


def test_a_run_of_an_earlier_version_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    known = json.loads(folder.facts.read_text())
    folder.facts.write_text(json.dumps({name: value for name, value in known.items() if name != "schema"}))
    with pytest.raises(StudyError, match=r"run\.json: schema missing, not run/3; train again"):
        read_run(folder)
    folder.facts.write_text(json.dumps({name: value for name, value in known.items() if name != "folds"}))
    with pytest.raises(StudyError, match=r"run\.json: the file lacks folds; train again"):
        read_run(folder)


def test_runs_with_metrics_are_found_by_task(tmp_path):
    study = Study(tmp_path)
    subtype_run(study.run("subtype", "one"))
    subtype_run(study.run("subtype", "unfinished"))
    survival_run(study.run("survival", "two"))
    for task, name in (("subtype", "one"), ("survival", "two")):
        evaluated(study.run(task, name))
    assert evaluated_runs(study) == [
        ("subtype", RunFolder(study.run("subtype", "one"))),
        ("survival", RunFolder(study.run("survival", "two"))),
    ]


@pytest.mark.parametrize("name", ["../../victim", "a/b", ".."])
def test_another_run_is_named_by_one_part_of_a_path_also_in_a_file(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(StudyError, match="is one name, without folder and ending"):
        folder.beside(name)
    compared = Comparison(
        task="subtype", first="run", second=name, n_patients=3, n_bootstrap=100, bootstrap=(), folds=(), delong=None,
        against=name, predictions_sha256=None, second_predictions_sha256=None,
    )  # fmt: skip
    write_comparison(folder, compared)
    assert current_comparison(folder) is None
    write_comparison(folder, replace(compared, against="other"))
    assert current_comparison(folder) is not None


@pytest.mark.parametrize("name", ["predictions", "validation", "follow_up", "patients", "image_predictions"])
@pytest.mark.parametrize("change", ["digit", "half", "gone"])
def test_d4_a_table_that_was_changed_since_is_named(tmp_path, capsys, name, change):
    folder = RunFolder(Study(tmp_path).run("subtype", "default"))
    subtype_run(folder.root)
    path = getattr(folder, name)
    if name != "predictions":
        path.write_text("patient_id,repeat,fold,model,image\np01,0,0,attention,i\np02,0,0,attention,i\n")
        facts = replace(FACTS, classes=("A<1>", "B", "C"))
        write_facts(folder.root, facts)
    lines = path.read_text().splitlines(keepends=True)
    if change == "gone":
        path.unlink()
    else:
        text = "".join(lines[: len(lines) // 2 + 1]) if change == "half" else path.read_text().replace("p01", "p07", 1)
        path.write_text(text)
    assert evaluate(["--study", str(tmp_path), "--bootstrap", "100"]) == 2
    said = capsys.readouterr().err
    assert path.name in said
    assert "train" in said
    assert "Traceback" not in said


def resealed(root, make, row, column, value):
    """Make a run, change one cell of its predictions, and take the change into its checksums."""
    folder = RunFolder(root)
    make(folder.root)
    table = pd.read_csv(folder.predictions, dtype=str)
    table.loc[row, column] = str(value)
    table.to_csv(folder.predictions, index=False)
    reseal(folder.root)
    return folder


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("p_B", 7.5, "a probability lies between 0 and 1"),
        ("p_B", -0.1, "a probability lies between 0 and 1"),
        ("p_B", 0.99999, "the probabilities of the classes make 1"),
        ("p_B", "", "p_B is a number"),
        ("p_B", "NaN", "p_B is a number"),
        ("p_B", "inf", "p_B is a number"),
        ("repeat", "x", "repeat is a number"),
        ("truth", "D", "truth is one of A<1>, B, C"),
        ("patient_id", "p02", "name one row, and here two"),
    ],
)
def test_d4_predictions_that_cannot_be_are_refused_by_their_rule(tmp_path, column, value, rule):
    folder = resealed(tmp_path / "run", subtype_run, 0, column, value)
    with pytest.raises(StudyError, match=f"predictions.csv: .*{rule}.*line .*train again"):
        read_run(folder)


@pytest.mark.parametrize(("column", "value", "rule"), [("event", 2, "0 or 1"), ("time", -1, "not negative"), ("score", "nan", "number")])
def test_d4_a_survival_that_cannot_be_is_refused(tmp_path, column, value, rule):
    folder = resealed(tmp_path / "run", survival_run, 3, column, value)
    with pytest.raises(StudyError, match=rf"predictions.csv: {column if column != 'time' else 'a time'} is .*{rule}.*line 5 "):
        read_run(folder)


@pytest.mark.parametrize("damage", [b"\xb2", b"\n1,2,3,4,5,6,7,8,9,10,11,12\n", b'\n"no end'])
def test_d4_a_table_that_is_none_is_named_even_where_its_checksum_was_made_anew(tmp_path, damage):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    whole = folder.predictions.read_bytes()
    folder.predictions.write_bytes(whole[: len(whole) // 2] + damage + whole[len(whole) // 2 :])
    reseal(folder.root)
    with pytest.raises(StudyError, match=r"predictions\.csv: .*train again"):
        read_run(folder)


def test_d4_a_table_of_which_only_half_a_header_is_left_is_named(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    folder.predictions.write_text("repeat,fold,patient_id,mod")
    reseal(folder.root)
    with pytest.raises(StudyError, match=r"predictions\.csv: it lacks the column model"):
        read_run(folder)


@pytest.mark.parametrize("number", ["0.03E761234898022165", "0E99999999999999999999", "1e-761234898022165"])
def test_d4_an_exponent_without_measure_does_not_end_the_process(tmp_path, number):
    """The parser of pandas in its default precision crashed on it."""
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    lines = folder.predictions.read_text().splitlines()
    lines[5] = ",".join([*lines[5].split(",")[:-1], number])
    folder.predictions.write_text("\n".join(lines) + "\n")
    reseal(folder.root)
    with pytest.raises(StudyError, match=r"predictions\.csv: "):
        read_run(folder)


def test_d4_run_json_with_one_changed_digit_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    folder.facts.write_text(folder.facts.read_text().replace('"n_tiles": 4000', '"n_tiles": 4001'))
    with pytest.raises(StudyError, match=r"run\.json: its content is not what was written .*train again"):
        read_run(folder)


def test_d4_a_fold_record_with_one_changed_digit_is_trained_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.models.mkdir(parents=True)
    head = make_head("gated_attention", TrainConfig().with_widths(128), n_inputs=3, n_outputs=2)
    plan = FoldPlan(repeat=0, fold=0, train=("a",), val=(), test=("b",))
    record = FoldRecord(
        **{field.name: getattr(FOLDS[0], field.name) for field in fields(FOLDS[0])} | {"fingerprint": "f"},
        patients=FoldPatients(train=("a",), val=(), test=("b",)), training=None, validation=(),
        predictions=({"repeat": 0, "fold": 0, "patient_id": "b", "model": "attention", "truth": "A", "p_A": 0.25},),
    )  # fmt: skip
    written = write_fold(folder, plan, head, {}, record)
    assert finished_record(folder, plan, "f") == written
    path = folder.fold_record(plan.stem)
    path.write_text(path.read_text().replace("0.25", "0.35"))
    assert finished_record(folder, plan, "f") is None


def test_d5_any_damage_of_run_json_is_one_message(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    whole = folder.facts.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        at = int(rng.integers(len(whole)))
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            del damaged[at:]
        else:
            damaged[at] = int(rng.integers(256))
        if bytes(damaged) == whole or json_of(damaged) == json_of(whole):
            continue
        folder.facts.write_bytes(bytes(damaged))
        with pytest.raises(StudyError, match=r"run\.json: .*train again"):
            read_run(folder)


def json_of(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_d5_a_folder_in_the_place_of_a_fold_record_is_named(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    place = folder.fold_record("repeat0_fold0")
    (place / "x").mkdir(parents=True)
    assert finished_record(folder, FoldPlan(repeat=0, fold=0, train=(), val=(), test=()), "f") is None
    with pytest.raises(UnwritableError, match=r"repeat0_fold0\.json cannot be written \(Is a directory"):
        write_json(place, {})


def test_weights_that_are_not_the_heads_are_named(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model(path, make_head("gated_attention", TrainConfig().with_widths(128), n_inputs=3, n_outputs=2), {})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load(path.read_bytes())
    first = sorted(tensors)[0]
    path.write_bytes(save({"other" if name == first else name: value for name, value in tensors.items()}, metadata))
    with pytest.raises(ValueError, match="its weights are not those of its head"):
        read_model(path)


def test_rows_of_a_model_come_by_repeat_and_fold():
    folds = [(1, 0), (0, 1), (0, 0), (0, 1)]
    table = pd.DataFrame(
        {"model": ["attention"] * 4 + ["prior"], "repeat": [r for r, _ in folds] + [0], "fold": [f for _, f in folds] + [0]}
    )
    found = [(key, rows.index.tolist()) for key, rows in by_fold(table, "attention")]
    assert found == [((0, 0), [2]), ((0, 1), [1, 3]), ((1, 0), [0])]
    assert by_fold(table, "clinical") == []


@pytest.mark.parametrize("name", ["run.json", "predictions.csv"])
def test_a_folder_without_a_finished_run_says_what_is_missing(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    (folder.root / name).unlink()
    with pytest.raises(StudyError, match=f"no finished run in .*: {name} is missing; train it with python mil/train.py"):
        read_run(folder)


@pytest.mark.parametrize("values", [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.5, 0.5 + 9e-7, 0.0)])
def test_probabilities_may_be_0_and_1_and_their_sum_may_be_rounded(tmp_path, values):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    table = pd.read_csv(folder.predictions)
    table.loc[0, ["p_A<1>", "p_B", "p_C"]] = values
    table.to_csv(folder.predictions, index=False)
    reseal(folder.root)
    assert read_run(folder).predictions["p_B"].iloc[0] == values[1]


@pytest.mark.parametrize(("values", "rule"), [((0.5, 0.5 + 2e-6, 0.0), "make 1"), ((1.0 + 1e-9, -1e-9, 0.0), "between 0 and 1")])
def test_probabilities_a_little_beyond_are_refused_with_how_many_rows_and_which(tmp_path, values, rule):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    table = pd.read_csv(folder.predictions)
    for row in (7, 9):
        table.loc[row, ["p_A<1>", "p_B", "p_C"]] = values
    table.to_csv(folder.predictions, index=False)
    reseal(folder.root)
    place = r"\(repeat 0, fold 1, patient_id p07, model attention\)"
    with pytest.raises(StudyError, match=f"{rule}; 2 rows break this, the first in line 9 {place}"):
        read_run(folder)


def test_a_time_of_0_and_an_event_of_0_and_1_are_read(tmp_path):
    folder = resealed(tmp_path / "run", survival_run, 0, "time", 0)
    run = read_run(folder)
    assert run.predictions["time"].iloc[0] == 0
    assert set(run.predictions["event"]) == {0, 1}
    folder = resealed(tmp_path / "other", survival_run, 0, "risk_group", 0.5)
    with pytest.raises(StudyError, match="risk_group is a whole number from 0"):
        read_run(folder)


def test_models_stand_in_their_order_and_codes_and_patients_are_numbers(tmp_path):
    subtype_run(tmp_path / "run")
    run = read_run(RunFolder(tmp_path / "run"))
    own = run.predictions[run.predictions["model"] == "attention"]
    more = [own.assign(model=name) for name in ("prior", "other", "clinical", "mean_pool", "attention")]
    assert replace(run, predictions=pd.concat(more)).models == ["attention", "mean_pool", "clinical", "prior"]
    assert run.classes == ("A<1>", "B", "C")
    assert run.probability_columns == ["p_A<1>", "p_B", "p_C"]
    assert run.codes(pd.Series(["C", "A<1>", "C"])).tolist() == [2, 0, 2]
    assert run.patient_codes(["p01"]) is None
    slides = replace(run, facts=replace(run.facts, patient_of={"a": "y", "b": "x", "c": "y"}))
    assert slides.patient_codes(["a", "b", "c"]).tolist() == [1, 0, 1]


def test_rows_of_a_patient_are_averaged_over_repeats_and_sorted():
    table = pd.DataFrame(
        {"patient_id": ["b", "a", "b", "a"], "model": ["attention"] * 3 + ["prior"], "p_A": [0.2, 0.5, 0.4, 0.9],
         "truth": ["A", "B", "A", "B"]}
    )  # fmt: skip
    found = by_patient(table, "attention", ["p_A"], ["truth"])
    assert found.index.tolist() == ["a", "b"]
    assert found["p_A"].tolist() == pytest.approx([0.5, 0.3])
    assert found["truth"].tolist() == ["B", "A"]


def test_the_first_of_several_faulty_tables_by_name_is_said_with_what_is_wrong(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    sums = table_sums(folder, [])
    assert list(sums) == ["predictions.csv"]
    folder.patients.write_text("patient_id\n")
    with pytest.raises(StudyError, match=r"patients\.csv is not of this run"):
        check_sums(folder, [], sums)
    folder.patients.unlink()
    with pytest.raises(StudyError, match=r"a\.csv is missing"):
        check_sums(folder, [], sums | {"z.csv": "x", "a.csv": "x"})
    folder.predictions.write_text("x")
    with pytest.raises(StudyError, match=r"predictions\.csv is not what the run wrote"):
        check_sums(folder, [], sums)


def test_tables_of_shares_are_summed_too(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for name in ("predictions", "validation", "follow_up"):
        path = getattr(folder.share(0.25), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    wanted = [f"learning_curve/0.25/{name}.csv" for name in ("predictions", "training_follow_up", "validation_predictions")]
    assert sorted(table_sums(folder, [0.25])) == wanted
    assert table_sums(folder, [0.5]) == {}


def test_a_table_lacks_every_column_that_is_named(tmp_path):
    table = pd.DataFrame({"patient_id": ["a"], "model": ["attention"], "p_A": [1.0]})
    with pytest.raises(StudyError, match="t.csv: it lacks the column repeat, fold, p_B"):
        check_rows(tmp_path / "t.csv", table, ["A", "B"])
    empty = pd.DataFrame({"patient_id": [], "model": []})
    assert check_rows(tmp_path / "t.csv", empty, ["A", "B"]) is None
    with pytest.raises(StudyError, match="it lacks the column model"):
        check_rows(tmp_path / "t.csv", empty[["patient_id"]], ["A"])


def compared_with(tmp_path):
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    subtype_run(one.root)
    subtype_run(two.root, skill=0.5)
    return one, two


def test_a_comparison_holds_while_both_runs_are_what_they_were(tmp_path):
    one, two = compared_with(tmp_path)
    assert current_comparison(one) is None
    compared = Comparison(
        task="subtype", first="one", second="two", n_patients=3, n_bootstrap=100, bootstrap=(), folds=(), delong=None,
        against="two", predictions_sha256=one.predictions_sha256(), second_predictions_sha256=two.predictions_sha256(),
    )  # fmt: skip
    write_comparison(one, compared)
    assert current_comparison(one) == compared
    for wrong in ({"predictions_sha256": "x"}, {"second_predictions_sha256": "x"}, {"against": "gone"}):
        write_comparison(one, replace(compared, **wrong))
        assert current_comparison(one) is None
    one.comparison.write_text(json.dumps({"schema": "comparison/0"}))
    assert current_comparison(one) is None
    one.comparison.write_text("{")
    with pytest.raises(StudyError, match="compare again with python mil/evaluate.py --against"):
        current_comparison(one)


def test_the_model_of_a_fold_is_read_with_its_record_and_others_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    head = make_head("gated_attention", TrainConfig().with_widths(128), n_inputs=3, n_outputs=2)
    write_model(path, head, {"task": "subtype"})
    model = read_model(path)
    assert model.metadata["task"] == "subtype"
    assert not model.head.training
    tiles = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    model.head.train()
    assert model.attention(tiles).sum() == pytest.approx(1)
    assert not model.head.training
    for record, found in (({"schema": "model/2"}, "model/2"), ([1], None), (None, None)):
        path.write_bytes(save(dict(head.state_dict()), {"sarcoma_mil": json.dumps(record)}))
        with pytest.raises(ValueError, match=f"format {found}, not model/3; train again"):
            read_model(path)
    path.write_bytes(save(dict(head.state_dict())))
    with pytest.raises(ValueError, match="format None, not model/3"):
        read_model(path)
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="not a readable model file"):
        read_model(path)
