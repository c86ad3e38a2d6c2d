"""The files of docs/cluster start what is there, with options that are there, and are whole as far as it can be told here."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from common.cluster.slurm import NEEDED, known_settings, read_slurm
from features.embedding.extraction_settings import ExtractionConfig
from mil.prediction.settings import PredictConfig
from mil.training.training_settings import TrainConfig
from preprocessing.tiling.tiling_settings import TilingConfig
from splits.split_settings import SplitConfig

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "cluster"
SETTINGS = {
    "preprocessing/tile_slides.py": TilingConfig,
    "features/extract_features.py": ExtractionConfig,
    "splits/make_splits.py": SplitConfig,
    "mil/train.py": TrainConfig,
    "mil/predict.py": PredictConfig,
}
FILES = ("Snakefile", "main.nf", "slurm_array.sh", "README.md")


@pytest.mark.parametrize("name", FILES)
def test_scripts_and_their_options_are_there(name):
    calls = re.findall(
        r"\b((?:preprocessing|features|splits|mil)/\w+\.py)((?:[^\n|]|\\\n)*)", (FOLDER / name).read_text()
    )
    assert calls
    for script, rest in calls:
        assert (FOLDER.parents[1] / script).is_file()
        options = set(re.findall(r"--(\w+)", rest))
        assert options <= {field.name for field in fields(SETTINGS[script])}, (script, options)


@pytest.mark.parametrize("name", ["Snakefile", "main.nf"])
def test_each_step_of_a_workflow_has_its_shard_and_lets_failed_slides_pass(name):
    text = (FOLDER / name).read_text()
    for script in ("preprocessing/tile_slides.py", "features/extract_features.py"):
        (line,) = [line for line in re.sub(r"\"\n\s*\"", "", text).splitlines() if script in line]
        assert "--shard" in line
        assert re.search(r"\|\| \[ \\?\$\? -eq 1 \]", line)
    assert text.count("{") == text.count("}")
    assert text.count('"') % 2 == 0


def test_every_process_of_nextflow_and_every_rule_of_snakemake_is_used():
    text = (FOLDER / "main.nf").read_text()
    workflow = text[text.index("workflow {") :]
    assert all(f"{name}(" in workflow for name in re.findall(r"^process (\w+) \{", text, re.MULTILINE))
    rules = re.findall(r"^rule (\w+):\n((?: .*\n|\n)+)", (FOLDER / "Snakefile").read_text(), re.MULTILINE)
    assert [name for name, _ in rules] == ["report", "tiles", "features", "folds", "training"]
    assert all("shell:" in body and "output:" in body for name, body in rules if name != "report")


def test_the_array_is_a_shell_script_and_says_what_it_lacks(tmp_path):
    script = FOLDER / "slurm_array.sh"
    subprocess.run(["bash", "-n", script], check=True)
    run = subprocess.run(["bash", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode != 0
    assert "the number of parts" in run.stderr


def test_the_settings_for_slurm_are_those_of_dask_jobqueue():
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    jobs, settings = read_slurm(FOLDER / "dask_slurm.yaml")
    assert jobs == 8
    assert set(settings) >= NEEDED
    commented = set(re.findall(r"^# (\w+): \S", (FOLDER / "dask_slurm.yaml").read_text(), re.MULTILINE))
    assert {"queue", "interface", "job_extra_directives"} <= commented
    assert set(settings) | commented <= known_settings()
