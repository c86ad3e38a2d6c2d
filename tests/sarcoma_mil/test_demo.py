"""The demonstration has a folder of its own, is marked as synthetic, and ends with what to type next."""

import pytest

from common.calling.calls import command_here
from common.study import Study
from sarcoma_mil.beginning.demo_settings import DemonstrationConfig
from sarcoma_mil.command import main
from sarcoma_mil.demo import fit_folds


def test_it_never_lies_where_own_slides_go(tmp_path, capsys):
    assert DemonstrationConfig().study.name == "demo"
    slides = tmp_path / "study" / "slides"
    slides.mkdir(parents=True)
    (slides / "mine.svs").write_text("x")
    assert main(["demo", "--study", str(tmp_path / "study")]) == 2
    assert [path.name for path in slides.iterdir()] == ["mine.svs"]
    assert not (tmp_path / "study" / "cohort.csv").exists()


def table(folder, counts):
    folder.mkdir(exist_ok=True)
    rows = [f"{name}{i},{name}{i}{s},{name}" for name, n in counts.items() for i in range(n) for s in "ab"]
    (folder / "cohort.csv").write_text("patient_id,slide_id,subtype\n" + "\n".join(rows) + "\n")
    return Study(folder)


@pytest.mark.parametrize(
    ("counts", "folds"),
    [({"A": 9, "B": 3}, 3), ({"A": 2, "B": 4}, 2), ({"A": 5, "B": 6}, None), ({"A": 9, "B": 1}, None)],
)
def test_a_small_one_has_as_many_folds_as_its_rarest_subtype_fills(tmp_path, counts, folds):
    fit_folds(table(tmp_path, counts))
    path = tmp_path / "study.yaml"
    assert path.exists() == (folds is not None)
    if folds is not None:
        assert f"folds: {folds} " in path.read_text()
        path.write_text("mine")
        fit_folds(Study(tmp_path))
        assert path.read_text() == "mine"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_it_paints_runs_and_says_what_to_type(tmp_path, monkeypatch, capsys, code):
    called = []

    def painted(word, flags):
        called.append((word, flags))
        table(tmp_path / "a demo", {"A": 5, "B": 5})
        return 0

    monkeypatch.setattr("sarcoma_mil.whole.step_calls.call_step", painted)
    monkeypatch.setattr(
        "sarcoma_mil.whole.whole_run.run_study", lambda config, say: called.append(config.study) or code
    )
    study = tmp_path / "a demo"
    assert main(["demo", str(study), "--patients", "10", "--seed", "3"]) == code
    assert called[1:] == [study]
    assert called[0] == ("paint", ["--study", str(study), "--patients", "10", "--seed", "3", "--timeout_s", "600.0"])
    last = capsys.readouterr().out.splitlines()[-4:]
    assert "SYNTHETIC" in last[0]
    for line, word in zip(last[1:], (f"serve --study '{study}'", "init --slides FOLDER", "run --dry_run"), strict=True):
        assert f"{command_here()} {word}" in line


@pytest.mark.parametrize("code", [1, 2])
def test_painting_that_fails_ends_it(tmp_path, monkeypatch, code):
    monkeypatch.setattr("sarcoma_mil.whole.step_calls.call_step", lambda word, flags: code)
    monkeypatch.setattr("sarcoma_mil.whole.whole_run.run_study", lambda config, say: pytest.fail("it went on"))
    assert main(["demo", str(tmp_path / "s")]) == code
