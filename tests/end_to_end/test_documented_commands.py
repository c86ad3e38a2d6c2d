"""Every command that the documents show is run, as it stands there, on studies of tiny slides.

A command that a document gains has to be added here: the first test says which is missing.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pandas as pd
import pytest
import tifffile

from common.calling.calls import WORDS
from sarcoma_mil.steps import STEPS
from tests.helpers.documented_calls import DOCUMENTS, calls

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SUBTYPES = ("DDLPS", "LMS", "MFS", "SS", "UPS")
FIVE = "subtype in ['DDLPS', 'LMS', 'MFS', 'SS', 'UPS']"
MPP, SIDE_PX = 2.0, 320
QUICK = """
train: {epochs: 6, hidden: 16, attention: 8, bootstrap: 100, cross_fit: 2}
evaluate: {bootstrap: 100}
clinical: {bootstrap: 100}
predict: {bootstrap: 100}
"""
# What is typed, in order, with all the words of `sarcoma-mil`; a pair: as it stands in the documents, and with real
# names for words in capitals and with what a line of prose leaves out.
FIRST_HOUR = (
    "doctor", ("init --slides FOLDER", "init --slides new_slides"), "init", "check", "run --dry_run", "run",
    ("predict --slides DIR", "predict --slides more_slides"), "tile", "features", "splits", "train --task subtype",
    "train --task survival", "explain",
)  # fmt: skip
STEP_BY_STEP = (
    "explain --task survival", ("explain --task TASK", "explain --task subtype"), "clinical --task survival",
    ("clinical --task TASK", "clinical --task subtype"),
    ("evaluate --task TASK --name RUN", "evaluate --task subtype --name default"),
    ("evaluate --model true", "evaluate --task subtype --model true"),
    ("convert-features --to clam", "convert-features --to clam --out clam"),
    ("convert-features --to TOOL --out DIR", "convert-features --to trident --out as_trident"),
    ("train --features DIR", "train --features clam --task subtype --name other"),
    ("evaluate --against OTHER", "evaluate --task subtype --against other"),
    ("train --heads", "train --heads linear,mean_mlp --task subtype --name heads"),
    ("train --search", "train --search 2 --task subtype --name searched"),
    ("features --tiles key.csv", "features --tiles key.csv --study keyed"),
    ("features --tiles", "features --tiles key.csv --study keyed"),
)  # fmt: skip
TCGA = (
    f'splits --study tcga --where "{FIVE}"',
    f'clinical --study tcga --where "{FIVE}" --task survival --covariates age,sex,subtype,residual_tumor',
    f'clinical --study tcga --where "{FIVE}" --task survival --endpoint DSS --covariates age,sex,subtype,residual_tumor',
    f'clinical --study tcga --where "{FIVE}" --task subtype --covariates age,sex', "check --study tcga", "tile --study tcga",
    "features --study tcga", f'train --study tcga --where "{FIVE}" --task subtype',
    f'train --study tcga --where "{FIVE}" --task survival --covariates age,sex,residual_tumor',
    f'train --study tcga --where "{FIVE}" --task survival --endpoint DSS --name dss',
    """train --study tcga --where "subtype == 'LMS'" --task survival --endpoint DSS --name dss_lms""",
)  # fmt: skip
NAMED_ALONE = (
    "contact-sheet", "stain-reference", ("export-tiles", "export-tiles --out exported"), "encoders", ("results", "results"),
    "completion bash", "--version", "--help",
)  # fmt: skip
SERVED = ("serve", "serve --study demo")
DEMO = (("demo", "demo --patients 10 --seed 1311"),)  # a sixth of its patients, and tiles four times as large
# Run with a scheduler and workers, and with an array's parts, by test_dask_study.py and tests/common/cluster.
SEVERAL_MACHINES = (
    "tile --study /shared/study --scheduler tcp://10.0.0.1:8786",
    "features --study /shared/study --slurm docs/cluster/dask_slurm.yaml",
)
ALL = (*FIRST_HOUR, *STEP_BY_STEP, *TCGA, *NAMED_ALONE, *SERVED, *DEMO, *SEVERAL_MACHINES)


def test_no_command_of_a_document_is_left_out(root):
    by_script = {script: word for word, script in WORDS.items()}
    shown = {
        (by_script.get(word, word), *flags)
        for document in DOCUMENTS
        for _, word, step, flags in calls((root / document).read_text())
        if flags or word in STEPS
    }
    assert shown - {tuple(shlex.split(line if isinstance(line, str) else line[0])) for line in ALL} == set()


def paint(folder, names, subtypes, rng):
    """Write slides of a few tiles, whose colour tells the subtype."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    is_tissue = ((x - SIDE_PX / 2) ** 2 + (y - SIDE_PX / 2) ** 2 < (0.47 * SIDE_PX) ** 2)[..., None]
    for name, subtype in zip(names, subtypes, strict=True):
        colour = np.array([150.0, 90, 190]) + 14 * SUBTYPES.index(subtype) * np.array([1, 0.2, -0.6])
        pixels = np.where(is_tissue, colour + rng.normal(0, 25, (SIDE_PX, SIDE_PX, 1)), 244.0)
        tifffile.imwrite(
            folder / f"{name}.tif", np.clip(pixels, 0, 255).astype(np.uint8), photometric="rgb", tile=(160, 160),
            compression="deflate", resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit="CENTIMETER", metadata=None,
        )  # fmt: skip


def outcomes(subtypes, rng):
    """Return times and events that hang on the subtype."""
    rank = np.array([SUBTYPES.index(subtype) for subtype in subtypes])
    return (rng.exponential(40 * np.exp(-0.4 * rank)) + 1).round(1), (rng.random(len(rank)) < 0.7).astype(int)


class Desk:
    """A folder where commands are typed, as in a shell with the environment activated."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        (folder / "home").mkdir()

    def start(self, line):
        command = [sys.executable, "-m", "sarcoma_mil", *shlex.split(line)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def type(self, *lines):
        said = ""
        for line in lines:
            process = self.start(line if isinstance(line, str) else line[1])
            out, err = process.communicate(timeout=900)
            assert process.returncode == 0, f"{line}: exit code {process.returncode}\n{out}\n{err}"
            said += out + err
        return said


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(4)
    subtypes = [SUBTYPES[number % 2] for number in range(24)]
    names = [f"S{number:02d}" for number in range(24)]
    paint(folder / "new_slides", names, subtypes, rng)
    paint(folder / "more_slides", ["N1", "N2"], ["LMS", "DDLPS"], rng)
    desk = Desk(folder)
    said = desk.type(*FIRST_HOUR[:2])
    assert "study/cohort.csv" in said
    # the part of the user: whose the slides are, and what became of them
    table = pd.read_csv(folder / "study" / "cohort.csv").set_index("slide_id").loc[names]
    time, event = outcomes(subtypes, rng)
    filled = table.assign(
        patient_id=[f"P{name}" for name in names],
        subtype=subtypes,
        time=time,
        event=event,
        age=rng.integers(30, 80, 24),
    )
    filled.to_csv(folder / "study" / "cohort.csv")
    with (folder / "study" / "study.yaml").open("a", encoding="utf-8") as file:
        file.write("make_splits: {folds: 2}" + QUICK)
    return desk


@pytest.fixture(scope="module")
def first_hour(desk):
    return desk, desk.type(*FIRST_HOUR[2:])


def test_the_first_hour_ends_with_reports_maps_and_predictions(first_hour):
    desk, said = first_hour
    for task in ("subtype", "survival"):
        run = desk.folder / "study" / "runs" / task / "default"
        assert (run / "report.html").is_file()
        assert (run / "explanation" / "index.html").is_file()
    assert said.count("report.html")
    assert len(list(desk.folder.glob("**/predictions.csv"))) >= 3


def test_steps_one_by_one_and_what_is_named_alone(first_hour):
    desk, _ = first_hour
    (desk.folder / "keyed").mkdir()
    said = desk.type("export-tiles --out exported")
    key = pd.read_csv(desk.folder / "exported" / "key.csv")
    key.assign(Path=[str(desk.folder / "exported" / path) for path in key["Path"]]).to_csv(
        desk.folder / "key.csv", index=False
    )
    said += desk.type(*STEP_BY_STEP, *NAMED_ALONE)
    assert (desk.folder / "study" / "runs" / "subtype" / "searched" / "report.html").is_file()
    assert list((desk.folder / "keyed" / "features").rglob("*.h5"))
    assert "sarcoma-mil" in said


@pytest.fixture(scope="module")
def demo(desk):
    (desk.folder / "demo").mkdir()
    (desk.folder / "demo" / "study.yaml").write_text("make_splits: {folds: 2}\ntile_slides: {tile_um: 512}" + QUICK)
    return desk.type(*DEMO)


def test_the_demonstration_ends_with_what_to_type_next(desk, demo):
    assert re.search(r"serve --study demo .*\n.* init --slides FOLDER .*\n.* run --dry_run", demo)
    assert "SYNTHETIC" in (desk.folder / "demo" / "runs" / "subtype" / "default" / "report.html").read_text()


@pytest.mark.parametrize("line", SERVED)
def test_the_viewer_says_its_address_and_answers_there(first_hour, demo, line):
    desk, _ = first_hour
    process = desk.start(f"{line} --port 0")
    try:
        said = ""
        while not (address := re.search(r"http://127\.0\.0\.1:\d+\S*", said)):
            more = process.stdout.readline()
            assert more, said + process.stderr.read()
            said += more
        with urllib.request.urlopen(address[0], timeout=60) as page:
            assert page.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_the_guide_to_tcga_from_tables_and_slides_to_reports(tmp_path, root):
    desk, study, rng = Desk(tmp_path), tmp_path / "tcga", np.random.default_rng(6)
    subtypes = ["LMS"] * 24 + [SUBTYPES[number % 5] for number in range(40)]
    patients = [f"TCGA-{('3B', 'DX', 'IW', 'QQ')[k % 4]}-A{k:03d}" for k in range(len(subtypes))]
    slides = [f"{patient}-01Z-00-DX1.{k}" for k, patient in enumerate(patients)]
    paint(study / "slides", slides, subtypes, rng)
    pd.DataFrame({"slide_id": slides, "case_id": patients, "tss": [p[5:7] for p in patients]}).to_csv(
        study / "cohort.csv", index=False
    )
    time, event = outcomes(subtypes, rng)
    pd.DataFrame(
        {
            "bcr_patient_barcode": patients, "subtype": subtypes, "OS": event, "OS.time": time * 30, "DSS": event,
            "DSS.time": time * 30, "age_at_initial_pathologic_diagnosis": rng.normal(60, 10, len(patients)).round(),
            "gender": rng.choice(["MALE", "FEMALE"], len(patients)), "residual_tumor": rng.choice(["R0", "R1"], len(patients)),
        }
    ).to_csv(study / "clinical.csv", index=False)  # fmt: skip
    settings = re.search(r"```yaml\n(.*?)```", (root / "docs" / "tcga_sarc.md").read_text(), re.DOTALL)[1]
    (study / "study.yaml").write_text(settings + "make_splits: {folds: 3}" + QUICK)
    desk.type(*TCGA)
    runs = {path.parent.relative_to(study / "runs").as_posix() for path in (study / "runs").rglob("report.html")}
    assert runs == {"subtype/default", "survival/default", "survival/dss", "survival/dss_lms"}
    shutil.rmtree(study / "slides")
