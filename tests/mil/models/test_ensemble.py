import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from features.store.provenance import Provenance
from mil.bags.bags import open_bags
from mil.metrics.calibration import fit_temperature, scale_temperature
from mil.metrics.conformal import COVERAGE, class_thresholds
from mil.models.ensemble import class_opinion, hazard_opinion, read_ensemble, write_ensemble
from mil.models.known_patients import known_patients
from mil.models.making import model_of_run, stain_point
from mil.models.record import SCHEMA
from mil.models.sealed_tensors import read_sealed_tensors, write_sealed_tensors
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.survival.prognosis import prognosis_of
from mil.train import main as train
from preprocessing.colour.stain_store import reference_text, write_reference
from preprocessing.tiling.tile_store import write_slide_tiles
from tests.helpers.feature_study import ENCODER
from tests.helpers.painted_stains import some_fit
from tests.helpers.tiled_slides import TILES
from tests.helpers.trained_runs import FAST


def folder_of(study, task):
    return RunFolder(study.run(task, "default"))


def bags_of(study):
    return open_bags(study, read_cohort(study.cohort_table), ENCODER)[0]


@pytest.fixture(params=["subtype", "survival"])
def task(request):
    return request.param


def test_training_leaves_a_model_that_says_all_a_prediction_needs(trained_study, task):
    record = read_ensemble(folder_of(trained_study, task).model).record
    assert record.task == task
    assert record.encoder["weights_sha256"] == "0"
    assert (record.encoder["tile_um"], record.encoder["tile_px"]) == (256.0, 256)
    assert record.licence == "none"
    assert len(record.folds) == 2
    assert record.cohort.n_patients == 30
    assert record.familiarity.embedding.n_patients == 30
    assert record.familiarity.stain is None  # there are no slides
    if task == "subtype":
        assert record.classes == ("DDLPS", "LMS", "UPS")
        assert record.calibration.n_patients == 30
        assert record.prediction_sets.n_patients == {"DDLPS": 10, "LMS": 10, "UPS": 10}
        assert record.worth["macro_auroc"].value > 0.5
    else:
        assert len(record.survival.times) == 20
        assert all(len(fold.hazard) == 20 for fold in record.folds)
        assert all(fold.scale is not None for fold in record.folds)


def test_no_patient_and_no_slide_stands_in_the_bytes(trained_study, task):
    content = folder_of(trained_study, task).model.read_bytes()
    rows = read_cohort(trained_study.cohort_table).rows
    names = {row["patient_id"] for row in rows} | {row["slide_id"] for row in rows}
    assert len(names) == 75
    assert not [name for name in names if name.encode() in content]
    assert str(trained_study.root).encode() not in content


def test_a_condition_that_names_a_patient_does_not_stand_in_it(trained_study, tmp_path):
    shutil.copytree(trained_study.root, tmp_path / "s")
    flags = ["--study", str(tmp_path / "s"), *FAST, "--name"]
    assert train([*flags, "without", "--where", "patient_id != 'P07'"]) == 0
    assert train([*flags, "two", "--where", "subtype != 'UPS'"]) == 0
    read = {name: tmp_path / "s/runs/subtype" / name / "model.safetensors" for name in ("without", "two")}
    assert b"P07" not in read["without"].read_bytes()
    assert "names patients" in read_ensemble(read["without"]).record.cohort.restriction
    assert read_ensemble(read["two"]).record.cohort.restriction == "subtype != 'UPS'"


def test_every_head_says_what_its_fold_said_of_those_it_tested(trained_study, task):
    folder = folder_of(trained_study, task)
    model, run, bags = read_ensemble(folder.model), read_run(folder), bags_of(trained_study)
    own = run.predictions[run.predictions["model"] == "attention"]
    for place, fold in enumerate(model.record.folds):
        rows = own[(own["repeat"] == fold.repeat) & (own["fold"] == fold.fold)]
        assert len(rows) == 15
        for row in rows.to_dict("records"):
            outputs = model.outputs(bags.read(row["patient_id"]).tiles)[place]
            if task == "survival":
                assert outputs[0] == pytest.approx(row["log_hazard"], abs=1e-6)
            else:
                shares = np.exp(outputs) / np.exp(outputs).sum()
                assert shares == pytest.approx([row[f"p_{name}"] for name in model.record.classes], abs=1e-6)


def test_the_same_run_makes_the_same_bytes_and_they_read_back_alike(trained_study, task, tmp_path):
    path = folder_of(trained_study, task).model
    write_ensemble(tmp_path / "again.safetensors", read_ensemble(path))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    before = path.read_bytes()
    assert train(["--study", str(trained_study.root), "--task", task, *FAST]) == 0
    assert path.read_bytes() == before


def test_a_finished_run_gets_its_model_by_evaluation(trained_study, task, tmp_path):
    from mil.evaluate import main as evaluate

    shutil.copytree(trained_study.root, tmp_path / "s")
    path = tmp_path / "s" / "runs" / task / "default" / "model.safetensors"
    before = path.read_bytes()
    path.unlink()
    flags = ["--study", str(tmp_path / "s"), "--task", task, "--bootstrap", "100"]
    assert evaluate(flags) == 0
    assert not path.exists()
    assert evaluate([*flags, "--model", "true"]) == 0
    assert path.read_bytes() == before


def test_features_made_otherwise_are_refused_with_every_difference(trained_study):
    model = read_ensemble(folder_of(trained_study, "subtype").model)
    made = Provenance.of_record(model.record.encoder)
    model.check_features(made)
    for name, value in {
        "encoder": "uni", "weights_sha256": "1" * 64, "tile_um": 128.0, "stain_reference": "other", "transform": "resize",
        "n_features": 7,
    }.items():  # fmt: skip
        with pytest.raises(StudyError, match=f"{name} .* and {value!r} here"):
            model.check_features(replace(made, **{name: value}))
    with pytest.raises(StudyError, match=r"encoder .*; tile_um"):
        model.check_features(replace(made, encoder="uni", tile_um=128.0))


@pytest.mark.parametrize("lost", ["axes", "rest"])
def test_d2_a_model_that_lacks_a_part_of_what_is_familiar_is_named(trained_study, tmp_path, lost):
    whole = folder_of(trained_study, "subtype").model
    tensors, record = read_sealed_tensors(whole, schema=SCHEMA, remedy="")
    kind = next(name.rpartition(".")[0] for name in tensors if name.endswith(".axes"))
    less = {name: value for name, value in tensors.items() if name != f"{kind}.{lost}"}
    write_sealed_tensors(tmp_path / "less.safetensors", less, record | {"schema": SCHEMA})
    with pytest.raises(StudyError, match=rf"less\.safetensors: what is familiar to the model \({kind}\) .*{lost}"):
        read_ensemble(tmp_path / "less.safetensors")


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("subtype", lambda own: own["prediction_sets"]["thresholds"].popitem(), "prediction sets of .*, classes "),
        ("survival", lambda own: own["folds"][1].update(scale=None), "repeat0_fold1 has no scale"),
        (
            "survival",
            lambda own: own["folds"][0]["hazard"].pop(),
            "repeat0_fold0 has a hazard at .* times, survival is given at",
        ),
    ],
)
def test_d2_a_model_whose_parts_contradict_each_other_is_named(trained_study, tmp_path, task, change, said):
    tensors, record = read_sealed_tensors(folder_of(trained_study, task).model, schema=SCHEMA, remedy="")
    change(record)
    write_sealed_tensors(tmp_path / "odd.safetensors", tensors, record | {"schema": SCHEMA})
    with pytest.raises(StudyError, match=rf"odd\.safetensors: {said}.*train again"):
        read_ensemble(tmp_path / "odd.safetensors")


def test_a_model_of_one_fold_is_told_from_that_of_a_run(trained_study):
    fold = folder_of(trained_study, "subtype").models / "repeat0_fold0.safetensors"
    with pytest.raises(StudyError, match="one fold's model"):
        read_ensemble(fold)


def test_calibrated_probabilities_and_sets_come_from_mean_logits():
    from mil.models.record import Calibration, PredictionSets

    record = _record(
        calibration=Calibration(temperature=2.0, n_patients=9),
        prediction_sets=PredictionSets(
            coverage=0.9, thresholds={"A": 0.6, "B": 0.9, "C": None}, n_patients={"A": 9, "B": 9, "C": 2}
        ),
    )
    outputs = np.array([[3.0, 1.0, 0.0], [5.0, 7.0, 0.0]])
    opinion = class_opinion(record, outputs)
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    powers = np.exp(centred.mean(axis=0) / 2)
    assert opinion.probabilities == pytest.approx(powers / powers.sum())
    assert opinion.in_set.tolist() == [True, True, True]  # C has too few patients to be ruled out
    assert not opinion.is_told
    sure = class_opinion(replace(record, prediction_sets=replace(
        record.prediction_sets, thresholds={"A": 0.6, "B": 0.3, "C": 0.3})), outputs)  # fmt: skip
    assert sure.in_set.tolist() == [True, False, False]
    assert sure.is_told
    assert class_opinion(replace(record, prediction_sets=None), outputs).in_set is None


def test_survival_is_the_mean_over_heads_each_on_its_own_scale():
    from mil.models.record import SurvivalGrid
    from mil.runs.facts import ScaleFacts

    fold = {"n_train": 1, "sha256": "", "head": {}}
    from mil.models.record import FoldModel

    folds = (
        FoldModel(
            repeat=0, fold=0, scale=ScaleFacts(mean=5.0, sd=2.0, cutoffs=(5.5,)), hazard_shift=5.0, hazard_slope=0.5,
            hazard=(0.1, 0.4), **fold,
        ),
        FoldModel(
            repeat=0, fold=1, scale=ScaleFacts(mean=-1.0, sd=1.0, cutoffs=(0.0,)), hazard_shift=-1.0,
            hazard=(0.2, 0.2), **fold,
        ),
    )  # fmt: skip
    record = _record(classes=(), folds=folds, survival=SurvivalGrid(times=(1.0, 2.0), unit="months"))
    opinion = hazard_opinion(record, np.array([[7.0], [-2.0]]))
    assert opinion.log_hazard == pytest.approx((2 - 1) / 2)
    assert opinion.score == pytest.approx((1 - 1) / 2)
    assert (opinion.group, opinion.group_name) == (0, "low risk")  # one of two, and a score of 0
    wanted = [
        (np.exp(-0.1 * np.exp(0.5 * 2)) + np.exp(-0.2 * np.exp(-1))) / 2,
        (np.exp(-0.4 * np.exp(0.5 * 2)) + np.exp(-0.2 * np.exp(-1))) / 2,
    ]
    assert opinion.survival == pytest.approx(wanted)
    a, b = wanted
    assert opinion.median is None  # 0.63 at the end of the grid
    assert opinion.restricted_mean == pytest.approx((1 + a) / 2 + (a + b) / 2)
    in_thirds = replace(record, folds=tuple(replace(own, scale=replace(own.scale, cutoffs=cuts)) for own, cuts in zip(
        folds, ((5.5, 6.5), (-3.0, -1.0)), strict=True)))  # fmt: skip
    opinion = hazard_opinion(in_thirds, np.array([[7.0], [-2.0]]))
    assert (opinion.group, opinion.group_name) == (1, "middle risk")  # 2 and 1, and a score of 0


def test_survival_of_a_head_equals_breslow_of_its_training_patients(trained_study):
    folder = folder_of(trained_study, "survival")
    model, run = read_ensemble(folder.model), read_run(folder)
    fold, known = model.record.folds[0], run.follow_up[run.follow_up["fold"] == 0]
    risk = fold.hazard_slope * (known["log_hazard"].to_numpy(float) - fold.hazard_shift)
    assert 0 <= fold.hazard_slope <= 1
    for moment, hazard in zip(model.record.survival.times, fold.hazard, strict=True):
        total = 0.0
        for time, event in zip(known["time"], known["event"], strict=True):
            if event and time <= moment:
                total += 1 / np.exp(risk[(known["time"] >= time).to_numpy()]).sum()
        assert hazard == pytest.approx(total)


def test_the_run_beside_says_who_trained_which_head(trained_study, tmp_path):
    path = folder_of(trained_study, "subtype").model
    model = read_ensemble(path)
    known = known_patients(path, model)
    assert len(known.patients) == 30
    assert known.match("P03", ()) == "P03"
    assert known.match("P03-1", ("P03-1",)) == "P03"
    assert known.match("new", ("new",)) is None
    table = pd.read_csv(folder_of(trained_study, "subtype").predictions)
    tested = table[(table["patient_id"] == "P03") & (table["model"] == "attention")]["fold"].tolist()
    assert [model.record.folds[place].fold for place in known.unseen_by("P03")] == tested
    shutil.copy(path, tmp_path / "m.safetensors")
    assert not known_patients(tmp_path / "m.safetensors", model).is_known


def test_a_model_beside_another_training_is_refused(trained_study, tmp_path):
    run = tmp_path / "runs" / "subtype" / "default"
    shutil.copytree(folder_of(trained_study, "subtype").root, run)
    model = read_ensemble(run / "model.safetensors")
    folds = tuple(replace(fold, sha256="0") for fold in model.record.folds)
    other = replace(model, record=replace(model.record, folds=folds))
    write_ensemble(run / "model.safetensors", other)
    with pytest.raises(StudyError, match="trained anew since"):
        known_patients(run / "model.safetensors", other)


def tiled(tmp_path, slides, **changes):
    """Return a study with tile files alone: each slide's with stains of its own."""
    study = Study(tmp_path / "tiled")
    for number, slide in enumerate(slides):
        own = replace(TILES, slide_id=slide, stain=some_fit(number, "macenko"), settings='{"tile_um": 256}')
        write_slide_tiles(study.tile_file(slide), replace(own, **changes.get(slide, {})))
    return study


def test_stains_and_settings_of_tiles_come_from_the_slides_that_have_them(trained_study, tmp_path):
    folder, bags = folder_of(trained_study, "subtype"), bags_of(trained_study)
    run = read_run(folder)
    patients = bags.patients[:7]
    slides = [slide for patient in patients for slide in bags.slides_of(patient)]
    last = bags.slides_of(patients[-1])
    no_fit = {slide: {"stain": replace(some_fit(0), method="none")} for slide in last}
    model = model_of_run(run, tiled(tmp_path, slides, **no_fit), bags)
    assert model.record.tiling == {"tile_um": 256}
    n_known = len(slides) - len(last)
    assert (model.record.familiarity.stain.n_patients, model.record.familiarity.stain.n_slides) == (6, n_known)
    points = np.array([stain_point(some_fit(number, "macenko")) for number in range(n_known)])
    assert model.clouds["stain"].mean == pytest.approx(points.mean(axis=0), abs=1e-6)
    fit = some_fit(0)
    assert points[0] == pytest.approx([*fit.matrix.ravel(), *np.log(fit.p99), *(np.array(fit.glass) / 255)])
    assert stain_point(replace(fit, p99=np.zeros(2)))[6:8] == pytest.approx(np.log([1e-3, 1e-3]))
    sizes = [n for patient in bags.patients for n in np.bincount(bags.read(patient).slide_of_tile)]
    measured = model.record.familiarity
    assert (measured.least_tiles, measured.most_tiles) == (min(sizes), max(sizes))
    assert measured.embedding.n_slides == len(sizes)
    assert model.record.worth == {}
    other = tiled(tmp_path, slides[:6], **{slides[3]: {"settings": '{"tile_um": 128}'}})
    assert model_of_run(run, other, bags).record.tiling is None  # not alike
    few = Study(tmp_path / "few")
    for number, slide in enumerate(slides[:4]):
        write_slide_tiles(few.tile_file(slide), replace(TILES, slide_id=slide, stain=some_fit(number, "macenko")))
    found = model_of_run(run, few, bags)
    assert found.record.familiarity.stain is None and "stain" not in found.clouds
    assert found.record.tiling is None  # settings that say nothing


def test_the_colours_of_the_features_are_known_in_full_where_their_reference_is(trained_study, tmp_path):
    run, bags = read_run(folder_of(trained_study, "subtype")), bags_of(trained_study)
    fit, study = some_fit(3), Study(tmp_path / "s")
    encoder = run.facts.encoder | {"stain_reference": reference_text(fit)}
    mapped = replace(run, facts=replace(run.facts, encoder=encoder))
    rounded = model_of_run(mapped, study, bags).record.stain_reference
    assert not rounded.is_exact
    assert np.array(rounded.matrix) == pytest.approx(fit.matrix.round(4)) and rounded.p99 == tuple(fit.p99.round(4))
    (study.root / "stain_references").mkdir(parents=True)
    write_reference(study.root / "stain_references" / "a.json", some_fit(4), name="other", made_of={})
    (study.root / "stain_references" / "b.json").write_text("{")
    assert not model_of_run(mapped, study, bags).record.stain_reference.is_exact
    write_reference(study.root / "stain_references" / "c.json", fit, name="own", made_of={})
    exact = model_of_run(mapped, study, bags).record.stain_reference
    assert exact.is_exact
    assert np.array(exact.matrix) == pytest.approx(fit.matrix, abs=1e-9) and np.array(exact.lab) == pytest.approx(
        fit.lab
    )
    assert model_of_run(run, study, bags).record.stain_reference is None  # colours as they were


def test_temperature_and_limits_are_those_of_mean_logits_out_of_fold(trained_study):
    run, bags = read_run(folder_of(trained_study, "subtype")), bags_of(trained_study)
    record = model_of_run(run, Study(trained_study.root / "none"), bags).record
    names = run.probability_columns
    again = run.predictions.assign(repeat=1)
    again[names] = 1 / 3  # a second repeat that knows nothing halves every logit
    both = replace(run, predictions=pd.concat([run.predictions, again], ignore_index=True))
    halved = model_of_run(both, Study(trained_study.root / "none"), bags).record
    own = run.predictions.query("model == 'attention'").sort_values("patient_id")
    labels, shares = run.codes(own["truth"]), own[names].to_numpy(float)
    roots = np.sqrt(shares) / np.sqrt(shares).sum(axis=1, keepdims=True)
    for found, wanted in ((record, shares), (halved, roots)):
        temperature = fit_temperature(wanted, labels)
        assert found.calibration.temperature == pytest.approx(temperature, rel=1e-5)
        limits = class_thresholds(scale_temperature(wanted, temperature), labels, COVERAGE)
        assert list(found.prediction_sets.thresholds.values()) == pytest.approx(limits, rel=1e-5)
    nobody = replace(run, predictions=run.predictions[:0], validation=run.validation[:0])
    unknown = model_of_run(nobody, Study(trained_study.root / "none"), bags).record
    assert (unknown.calibration, unknown.prediction_sets) == (None, None)


def test_the_grid_of_a_hazard_runs_over_the_follow_up_of_training_patients(trained_study):
    run, bags = read_run(folder_of(trained_study, "survival")), bags_of(trained_study)
    record = model_of_run(run, Study(trained_study.root / "none"), bags).record
    low, high = np.quantile(run.follow_up["time"], [0.1, 0.8])
    assert record.survival.times == pytest.approx(np.linspace(low, high, 20))
    known = run.follow_up.query("model == 'attention' and fold == 1")
    prognosis = prognosis_of(
        known["log_hazard"].to_numpy(float), known["time"].to_numpy(float), known["event"].to_numpy(int)
    )
    fold = record.folds[1]
    assert (fold.hazard_shift, fold.hazard_slope) == (prognosis.shift, prognosis.slope)
    assert fold.hazard == pytest.approx(prognosis.baseline(np.array(record.survival.times)))
    without = model_of_run(replace(run, follow_up=run.follow_up[:0]), Study(trained_study.root / "none"), bags).record
    assert without.survival is None and without.folds[0].hazard == ()


def _record(**changes):
    from mil.models.record import CohortSummary, EnsembleRecord, FamiliarityFacts

    known = {
        "task": "t", "classes": ("A", "B", "C"), "unit": "patient", "encoder": {}, "licence": "", "tiling": None,
        "stain_reference": None, "folds": (), "calibration": None, "prediction_sets": None, "survival": None,
        "cohort": CohortSummary(
            n_patients=1, n_slides=1, n_tiles=1, class_counts={}, n_events=0, is_synthetic=True, restriction="", source="",
            date="",
        ),
        "familiarity": FamiliarityFacts(embedding=None, stain=None, least_tiles=1, most_tiles=1), "worth": {},
        "settings": {}, "versions": {},
    }  # fmt: skip
    return EnsembleRecord(**known | changes)
