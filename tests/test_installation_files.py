"""Recipes of containers, citation, forms and workflow are what their readers take, and name what there is."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from common import __version__
from common.settings import options_of
from sarcoma_mil.steps import STEPS

SECTIONS = ("labels", "help", "files", "post", "test", "runscript")
IMAGE = re.compile(r"python:3\.(\d+)-slim")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def of_image(name, project):
    """Check that the image is an official Python of the range, without the name of a registry."""
    minor = int(IMAGE.fullmatch(name)[1])
    assert minor >= int(project["requires-python"].removeprefix(">=3."))


@pytest.fixture
def dockerfile(root, tmp_path):
    (tmp_path / "Dockerfile").write_bytes((root / "Dockerfile").read_bytes())  # the parser may write
    return DockerfileParser(path=str(tmp_path))


def test_the_dockerfile_is_one(dockerfile, project):
    steps = [(each["instruction"], each["value"]) for each in dockerfile.structure if each["instruction"] != "COMMENT"]
    assert {name for name, _ in steps} <= {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert steps[0][0] == "FROM"
    of_image(dockerfile.baseimage, project)
    values = dict(steps)
    assert json.loads(values["ENTRYPOINT"])[0] in project["scripts"]
    assert json.loads(values["CMD"]) == ["--help"]
    assert values["USER"] != "root"  # patients' slides are read by nobody in particular
    assert f"useradd --create-home {values['USER']}" in values["RUN"]
    own = values["COPY"].split()[-1]
    assert f"pip install -e {own}" in values["RUN"]
    assert all(shlex.split(line) for line in values["RUN"].split("&&"))


def test_what_is_nobodys_business_does_not_go_into_the_image(root):
    ignored = (root / ".dockerignore").read_text().split()
    assert {".git", ".venv", "demo", "study", "runs"} <= set(ignored)


def sections_of(text):
    header, *parts = re.split(r"^%(\w+)$", text, flags=re.MULTILINE)
    return header, dict(zip(parts[::2], (part.strip("\n") for part in parts[1::2]), strict=True))


def test_the_apptainer_recipe_is_one(root, project):
    header, sections = sections_of((root / "apptainer.def").read_text())
    known = dict(line.split(": ", 1) for line in header.splitlines() if line and not line.startswith("#"))
    assert known["Bootstrap"] == "docker"
    of_image(known["From"], project)
    assert tuple(sections) == SECTIONS
    copied = [line.split() for line in sections["files"].splitlines()]
    for source, target in copied:
        assert (root / source).exists()
        assert Path(target).name == source
    packages = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    wanted = {name.rstrip("*") for name in packages["find"]["include"]} | {
        "pyproject.toml",
        project["readme"],
        *project["license-files"],
    }
    assert {source for source, _ in copied} == wanted
    assert f"-e {Path(copied[0][1]).parent}" in sections["post"]
    assert sections["runscript"].split() == ["exec", "sarcoma-mil", '"$@"']


@pytest.mark.parametrize("file", ["Dockerfile", "apptainer.def"])
def test_commands_in_recipes_have_options_that_there_are(root, file):
    text = (root / file).read_text()
    called = re.findall(r"sarcoma-mil(?:\.sif)? (\w+)((?: --\w+ \S+)*)", text)
    assert called
    for word, flags in called:
        if word in STEPS:
            options = options_of(STEPS[word].config_class())
            assert set(re.findall(r"--(\w+)", flags)) <= set(options), (word, flags)


def test_the_citation_names_this_version_and_the_study_behind_it(root, project):
    known = yaml.safe_load((root / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(known)  # what the format demands
    assert known["cff-version"] == "1.2.0"
    assert known["version"] == __version__
    assert known["license"] == project["license"]
    (study,) = known["references"]
    assert study["title"] == "Deep learning for diagnosis and survival prediction in soft tissue sarcoma"
    assert (study["journal"], study["year"], study["volume"], study["start"]) == ("Annals of Oncology", 2021, 32, 1178)
    assert all({"name"} <= set(own) or {"family-names", "given-names"} <= set(own) for own in study["authors"])


def test_the_workflow_calls_the_projects_own_check(root):
    known = yaml.safe_load((root / ".github" / "workflows" / "check.yml").read_text())
    (job,) = known["jobs"].values()
    assert job["steps"][-1]["run"] == "bash .ci/run"
    assert known["permissions"] == {"contents": "read"}
    assert job["timeout-minutes"] == 90


@pytest.mark.parametrize("name", ["fault", "wish"])
def test_the_forms_are_forms(root, name):
    form = yaml.safe_load((root / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    assert all(each["type"] in kinds for each in form["body"])
    assert len({each["id"] for each in fields}) == len(fields)
    assert all(each["attributes"]["label"] for each in fields)
    if name == "fault":
        assert "No patients here" in form["body"][0]["attributes"]["value"]


REGISTRIES = tuple(  # in parts, since this file names none either
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("pythonhosted",), ("anaconda", "org"), ("download", "pytorch", "org"), ("docker", "io"), ("ghcr", "io"),
        ("quay", "io"), ("registry", "npmjs"),
    )
)  # fmt: skip


def test_no_file_names_the_host_of_a_registry(root):
    for path in (
        *root.glob("*"),
        *(root / "docs").glob("*.md"),
        *(root / ".github").rglob("*.yml"),
        *(root / ".ci").glob("*"),
    ):
        if path.is_file() and path.suffix not in (".jpg", ".pyc"):
            text = path.read_text()
            assert not [host for host in REGISTRIES if host in text], path


def test_the_changelog_is_in_versions(root):
    headings = re.findall(r"^## (.*)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+.*", each) for each in headings[1:])
    assert headings[1].split()[0] == __version__
