"""The documents are true: links lead somewhere, named files exist, and formats.md names all that stands in a study's files."""

import fnmatch
import importlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from common.failures import StudyError
from common.settings import SECTIONS, options_of, parse_config
from tests.helpers.documented_calls import DOCUMENTS, calls, spans

STAGES = "common|preprocessing|features|splits|mil|sarcoma_mil|tests|docs|benchmarks"


def test_the_readme_is_short(root):
    assert len((root / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_resolve(root, document):
    path = root / document
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text()):
        linked = (path.parent / target) if target else path
        assert linked.exists(), f"{document} links {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in {_slug(heading) for heading in headings}, f"{document} links {target}#{anchor}"


def _slug(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_of_the_project_that_are_named_exist(root, document):
    text = (root / document).read_text()
    named = set(re.findall(rf"(?<![\w/<.])((?:{STAGES})/[\w/]*(?:\.\w+|/))(?![\w<*])", text))
    missing = sorted(name for name in named if not (root / name).exists() and not _is_of_a_study(name))
    assert not missing


def _is_of_a_study(name):
    """Features and splits are folders of a study too."""
    return Path(name).suffix in (".h5", ".csv", ".json") or name in ("features/", "splits/")


@dataclass
class Kind:
    """What formats.md says of one kind of file: patterns of its paths, and names with what stands beside them."""

    globs: list[str]
    names: dict[str, str] = field(default_factory=dict)


@cache
def documented(path):
    """Return the kinds of files; names whose type is a shape of another heading are filled with that shape's names."""
    kinds, shapes, own = [], {}, None
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            globs = re.findall(r"`([^`]+)`", line)
            own = None
            if globs:
                kinds.append(Kind(globs))
                own = kinds[-1].names
            elif line.startswith("### Shape: "):
                own = shapes[line.removeprefix("### Shape: ").strip()] = {}
        elif own is not None and line.startswith("| `"):
            names, type_, _ = (cell.strip() for cell in line.strip("|").split(" | ", 2))
            for name in re.findall(r"`([^`]+)`", names):
                own[name] = type_
    for kind in kinds:
        kind.names = dict(_without_shapes(kind.names, shapes))
    return kinds


def _without_shapes(names, shapes):
    for name, type_ in names.items():
        shape = type_.removesuffix(" or null")
        if shape in shapes:
            yield from ((f"{name}.{part}", its) for part, its in _without_shapes(shapes[shape], shapes))
            if shape != type_:
                yield name, "null, optional"
        else:
            yield name, type_


def _pattern(text):
    """Turn <words> into what stands for one key (a <file> may hold points), and keep the rest to the letter."""
    parts = re.split(r"(<[^>]+>)", text)
    kinds = {True: r"[^\[\]]+", False: r"[^\[\].@]+"}
    return re.compile("".join(kinds[part == "<file>"] if part.startswith("<") else re.escape(part) for part in parts))


def _glob(text):
    return re.sub(r"<[^>]+>", "*", text)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    from tests.helpers import whole_study

    root = tmp_path_factory.mktemp("whole")
    makers = (
        whole_study.make_slide_study, whole_study.make_tile_table_study, whole_study.make_run_study,
        whole_study.make_image_study, whole_study.make_target_runs,
    )  # fmt: skip
    return [make(root / make.__name__).root for make in makers]


@pytest.mark.slow
def test_formats_names_everything_in_the_files_of_a_study_and_nothing_else(root, studies):
    from tests.helpers.whole_study import names_in

    kinds = documented(root / "docs" / "formats.md")
    found, unknown_files, unknown_names = defaultdict(set), [], []
    for study in studies:
        for path in sorted(path for path in study.rglob("*") if path.is_file()):
            place = path.relative_to(study).as_posix()
            own = [
                index
                for index, kind in enumerate(kinds)
                if any(fnmatch.fnmatchcase(place, _glob(g)) for g in kind.globs)
            ]
            if not own:
                unknown_files += [] if place.startswith("as_") else [place]  # files that other tools document
                continue
            patterns = [(index, name, _pattern(name)) for index in own for name in kinds[index].names]
            for name in sorted(names_in(path)):
                fitting = [(index, text) for index, text, pattern in patterns if pattern.fullmatch(name)]
                if not fitting:
                    unknown_names.append(f"{place}: {name}")
                for index, text in fitting:
                    found[index].add(text)
    assert not unknown_files
    assert not unknown_names
    absent = [
        f"{kind.globs[0]}: {name}"
        for index, kind in enumerate(kinds)
        for name, type_ in kind.names.items()
        if name not in found[index] and "optional" not in type_
    ]
    assert not absent


def test_the_site_is_built_without_a_warning_and_its_pages_are_there(root, tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", "mkdocs.yml", "-d", str(tmp_path)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    start, faq = ((tmp_path / name).read_text() for name in ("index.html", "faq.html"))
    assert 'href="guide.html"' in start
    assert 'href="benchmarks.html"' in faq
    assert (tmp_path / "demo_slides.jpg").is_file()


@pytest.mark.slow
def test_the_notebook_of_python_md_runs_from_slides_to_a_report(root, tmp_path):
    """As it stands there, but for a smaller study: in a folder of its own, by a Python that imports the project."""
    code = re.search(r"```python\n(.*?)```", (root / "docs" / "python.md").read_text(), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line]) <= 15
    smaller = code.replace("patients=30", "patients=10").replace("folds=3", "folds=2").replace("epochs=20", "epochs=3")
    assert smaller.count("=10") == smaller.count("=2)") == 1
    (tmp_path / "notebook.py").write_text(
        "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in smaller.splitlines())
    )
    environment = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "notebook.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "report.html" in run.stdout.splitlines()[-1]
    assert (tmp_path / "study" / "runs" / "subtype" / "default" / "report.html").is_file()


def test_the_names_of_python_md_are_offered(root):
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", (root / "docs" / "python.md").read_text(), re.MULTILINE)
    assert [stage for stage, _, _ in rows] == ["preprocessing", "features", "splits", "mil"]
    for stage, functions, settings in rows:
        offered = importlib.import_module(stage)
        for name in re.findall(r"`(\w+)`", functions + settings):
            assert callable(getattr(offered, name)), name


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, "benchmarks/README.md", "Makefile", "environment.yml", "apptainer.def"]
)
def test_commands_in_documents_have_options_and_values_that_there_are(root, document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # no study of anybody's
    found = list(calls((root / document).read_text()))
    assert found or document not in ("README.md", "docs/guide.md")
    for part, word, step, flags in found:
        assert step is not None, f"{document}: {part}: {word} is no command"
        options, kept = options_of(step.config_class()), []
        for name, value in pairs(flags, is_led_by_folder=word in ("init", "run", "demo")):
            assert name.replace("-", "_") in options, f"{document}: {part}: no option {name!r}"
            kept += [] if STANDS_FOR.search(value) or not value else [f"--{name}={value}"]
        try:
            parse_config(step.config_class(), kept, section=step.section, description="")
        except (SystemExit, StudyError) as error:
            pytest.fail(f"{document}: {part}: {error} {capsys.readouterr().err}")


STANDS_FOR = re.compile(r"[A-Z]{2,}|\.\.\.|<")  # a value that is none: DIR, FILE


def pairs(flags, *, is_led_by_folder):
    """Yield the options of a call with their values; "" for one that stands alone or for a value without an option."""
    left = flags[1:] if is_led_by_folder and flags and not flags[0].startswith("--") else list(flags)
    while left:
        flag = left.pop(0)
        name, _, value = flag.removeprefix("--").partition("=")
        if flag.startswith("--") and not value and left and not left[0].startswith("--"):
            value = left.pop(0)
        yield (name, value) if flag.startswith("--") else ("", "")


@pytest.mark.parametrize("document", [*DOCUMENTS, "benchmarks/README.md"])
def test_programs_in_documents_are_there_and_have_these_options(root, document):
    for span in spans((root / document).read_text()):
        for path, flags in re.findall(r"python3? ((?:benchmarks|tests)/[\w/]+\.py)([^|&;]*)", span):
            text = (root / path).read_text()
            for flag in re.findall(r"--\w+", flags):
                assert f'"{flag}"' in text, f"{document}: {span}: {path} has no {flag}"


def test_targets_of_make_in_documents_are_there(root):
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for span in spans((root / document).read_text()):
            for target in re.findall(r"^make ([a-z]+)", span):
                assert target in targets, f"{document}: make {target}"


def test_the_guide_begins_with_the_first_hour(root):
    headings = re.findall(r"^## (.*)$", (root / "docs" / "guide.md").read_text(), re.MULTILINE)
    assert headings[0] == "The first hour"
    for word in ("init", "check", "run", "serve", "predict", "demo", "doctor"):
        for document in ("README.md", "docs/guide.md"):
            assert f"sarcoma-mil {word}" in (root / document).read_text(), (document, word)


def test_every_section_of_the_settings_file_is_named(root):
    text = (root / "docs" / "formats.md").read_text()
    for section in SECTIONS:
        assert f"`{section}`" in text
