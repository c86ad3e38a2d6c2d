"""The guide from TCGA-SARC to a report: its commands run without slides, on invented tables and, where they are, on the real."""

import importlib
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest

from common.cohort import read_cohort

FIVE = ["DDLPS", "LMS", "MFS", "SS", "UPS"]


def settings_of(root):
    return re.search(r"```yaml\n(.*?)```", (root / "docs" / "tcga_sarc.md").read_text(), re.DOTALL)[1]


def commands(root, *, before):
    """Return the guide's commands of a section's part as (module, arguments), for a study elsewhere."""
    text = (root / "docs" / "tcga_sarc.md").read_text()
    part = text[: text.index("## The slides")] if before else text[text.index("## The slides") :]
    lines = re.findall(r"^    python (\S+)\.py (.*)$", part, re.MULTILINE)
    return [(name.replace("/", "."), shlex.split(flags)) for name, flags in lines]


def invented(folder, n=110, seed=1):
    """Tables in the form of TCGA's, of nobody."""
    rng = np.random.default_rng(seed)
    sites = np.array(["3B", "DX", "IW", "QQ", "X6", "Z4"])[np.arange(n) % 6]
    patients = [f"TCGA-{site}-A{index:03d}" for index, site in enumerate(sites)]
    kinds = np.array([*FIVE, "DES"])[np.arange(n) * 7 % 11 % 6]
    slides = [
        (f"{patient}-01Z-00-DX{k}.ABC", patient) for patient, k in zip(patients, rng.integers(1, 3, n), strict=True)
    ]
    pd.DataFrame(slides, columns=["slide_id", "case_id"]).assign(tss=sites).to_csv(folder / "cohort.csv", index=False)
    age = rng.normal(60, 12, n).round()
    time = (rng.exponential(1500 * np.exp(-0.06 * (age - 60))) + 1).round()
    clinical = pd.DataFrame(
        {
            "Unnamed: 0": np.arange(n), "bcr_patient_barcode": patients, "subtype": kinds,
            "age_at_initial_pathologic_diagnosis": age, "gender": rng.choice(["MALE", "FEMALE"], n),
            "residual_tumor": rng.choice(["R0", "R1", "[Not Available]"], n),
            **{end: (rng.random(n) < 0.6).astype(float) for end in ("OS", "DSS", "PFI")},
            **{f"{end}.time": time for end in ("OS", "DSS", "PFI")},
        }
    )  # fmt: skip
    clinical.drop(index=3).to_csv(folder / "clinical.csv", index=False)


@pytest.fixture
def tables(tmp_path, root):
    invented(tmp_path)
    (tmp_path / "study.yaml").write_text(settings_of(root))
    return tmp_path


def run(folder, root, capsys):
    said = []
    for name, flags in commands(root, before=True):
        place = [str(folder) if flag == "tcga" else flag for flag in flags]
        extra = ["--bootstrap", "100"] if name == "mil.clinical" else []
        assert importlib.import_module(name).main([*place, *extra]) == 0, capsys.readouterr().err
        said.append(capsys.readouterr().out)
    return said


def test_the_commands_before_the_slides_run_and_say_what_comes_next(tables, root, capsys):
    folds, os_, dss, subtype = run(tables, root, capsys)
    assert "site_preserved" in folds
    for said, words in ((os_, "survival: "), (dss, "survival: "), (subtype, "subtype: ")):
        assert words in said
        assert "age" in said
        assert "next: put the slides into" in said
    cohort = read_cohort(tables / "cohort.csv")
    assert any("have no row in clinical.csv: TCGA-QQ-A003" in note for note in cohort.notes)
    assert sorted(path.name for path in (tables / "clinical").iterdir()) == [
        "subtype.csv", "subtype.json", "survival.csv", "survival.json", "survival_DSS.csv", "survival_DSS.json",
    ]  # fmt: skip


def test_the_commands_with_slides_have_the_options_they_name(tables, root, capsys):
    for name, flags in commands(root, before=False):
        place = [str(tables) if flag == "tcga" else flag for flag in flags]
        assert importlib.import_module(name).main(place) in (1, 2)  # there is no slide
        said = capsys.readouterr().err
        assert "unrecognized" not in said
        assert "no option" not in said


@pytest.mark.slow
def test_the_real_tables_give_the_figures_of_the_guide(tmp_path, root, shared_data, capsys):
    shutil.copy(shared_data / "tables" / "tcga_sarc_dx_slides_566.csv", tmp_path / "cohort.csv")
    shutil.copy(shared_data / "tables" / "tcga_sarc_cdr_261.csv", tmp_path / "clinical.csv")
    (tmp_path / "study.yaml").write_text(settings_of(root))
    folds, os_, dss, subtype = run(tmp_path, root, capsys)
    assert "239 patients" in folds
    assert "116 of 239 patients" in folds
    text = (root / "docs" / "tcga_sarc.md").read_text()
    for said, name, events in ((os_, "OS", 93), (dss, "DSS", 75)):
        assert f"with {events} events" in said
        rows = {line.split("  ")[0]: line.split()[1] for line in said.splitlines() if " to " in line}
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        ours = [rows["age"], rows["residual_tumor"], re.search(r"all together +([\d.]+)", said)[1]]
        assert re.findall(r"(0\.\d{3}) \(", row) == ours
    assert re.search(r"all together +0\.652", subtype)
