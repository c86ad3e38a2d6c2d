"""init: a folder to begin with, in which nothing is written over and every default stays what it is."""

import re
import shutil

import pytest
import yaml

from common.cohort import read_cohort
from common.failures import StudyError
from common.settings import SECTIONS, parse_config
from sarcoma_mil.beginning.new_study import InitConfig, begin_study
from sarcoma_mil.beginning.sample_table import COLUMNS, EXAMPLES, is_examples, write_sample
from sarcoma_mil.beginning.settings_file import NOT_OF_STUDY, settings_text
from sarcoma_mil.command import main
from sarcoma_mil.steps import STEPS


def uncommented(text):
    """Take away the one # of what may be set; prose has two."""
    lines = [re.sub(r"^( *)# ", r"\1", line) for line in text.splitlines() if not re.match(r" *##", line)]
    return "\n".join(line.partition("    ##")[0] for line in lines)


def test_every_option_stands_in_study_yaml_with_its_default(tmp_path):
    """Taken in all at once, they are the settings that there are without the file."""
    text = settings_text()
    named = yaml.safe_load(uncommented(text))
    assert set(named) >= SECTIONS - set(NOT_OF_STUDY)
    file = tmp_path / "study" / "study.yaml"
    file.parent.mkdir()
    for step in STEPS.values():
        if step.word in NOT_OF_STUDY:
            continue
        own = step.config_class()
        fields = {name for name in own.__dataclass_fields__ if name != "study"}
        assert set(named[step.section] or {}) == fields, step.word
        file.write_text(yaml.safe_dump({step.section: named[step.section]}))
        flags = ["--study", str(file.parent)]
        with_file = parse_config(own, flags, section=step.section, description="")
        file.unlink()
        assert with_file == parse_config(own, flags, section=step.section, description=""), step.word


def test_as_it_stands_it_sets_nothing(tmp_path):
    assert main(["init", str(tmp_path / "s")]) == 0
    known = yaml.safe_load((tmp_path / "s" / "study.yaml").read_text())
    assert set(known) == SECTIONS - set(NOT_OF_STUDY) - {"columns"}
    assert not any(known.values())
    for step in STEPS.values():
        own, flags = step.config_class(), ["--study", str(tmp_path / "s")]
        bare = parse_config(own, ["--study", str(tmp_path)], section=step.section, description="")
        set_ = parse_config(own, flags, section=step.section, description="")
        assert {**vars_of(set_), "study": None} == {**vars_of(bare), "study": None}


def vars_of(config):
    return {name: getattr(config, name) for name in type(config).__dataclass_fields__}


def test_examples_are_a_table_that_can_be_read(tmp_path):
    begun = begin_study(InitConfig(study=tmp_path / "s"))
    assert begun.has_examples
    assert begun.made == ("slides/", "study.yaml", "cohort.csv")
    cohort = read_cohort(tmp_path / "s" / "cohort.csv")
    assert [row["slide_id"] for row in cohort.rows] == [row[1] for row in EXAMPLES]


def test_a_second_call_writes_nothing(tmp_path):
    begin_study(InitConfig(study=tmp_path / "s"))
    (tmp_path / "s" / "cohort.csv").write_text("patient_id,slide_id\nmine,1\n")
    (tmp_path / "s" / "study.yaml").write_text("unit: slide\n")
    (tmp_path / "s" / "slides" / "1.svs").write_text("x")
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    begun = begin_study(InitConfig(study=tmp_path / "s"))
    assert begun.made == ()
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("ending", [".tsv", ".xlsx", ".parquet"])
def test_a_table_of_another_ending_is_the_table(tmp_path, ending):
    (tmp_path / f"cohort{ending}").write_bytes(b"mine")
    assert f"cohort{ending}" in begin_study(InitConfig(study=tmp_path)).kept
    assert not (tmp_path / "cohort.csv").exists()
    assert (tmp_path / f"cohort{ending}").read_bytes() == b"mine"


def test_slides_that_are_there_are_named_and_nobody_guesses_their_patients(tmp_path):
    slides = tmp_path / "s" / "slides"
    slides.mkdir(parents=True)
    for name in ("B 2.svs", "é.tif", "=1+1.tif", "TCGA-CR-7395-01A-01-TS1.svs", "notes.txt"):
        (slides / name).write_text("x")
    begun = begin_study(InitConfig(study=tmp_path / "s"))
    assert begun.slide_ids == ("=1+1", "B 2", "TCGA-CR-7395-01A-01-TS1", "é")
    table = tmp_path / "s" / "cohort.csv"
    assert not is_examples(table)
    with pytest.raises(StudyError, match=r"rows 2, 3, 5: no patient_id"):
        read_cohort(table)
    text = table.read_text()
    assert "TCGA-CR-7395,TCGA-CR-7395-01A-01-TS1,,,,CR" in text
    for row, patient in ((1, "p1"), (2, "p2"), (4, "p4")):
        lines = text.splitlines()
        lines[row] = patient + lines[row]
        text = "\n".join(lines)
    table.write_text(text)
    assert {row["slide_id"] for row in read_cohort(table).rows} == set(begun.slide_ids)


def test_slides_that_come_later_take_the_place_of_examples_only(tmp_path):
    study = tmp_path / "s"
    begin_study(InitConfig(study=study))
    (study / "slides" / "a.svs").write_text("x")
    assert begin_study(InitConfig(study=study)).made == ("cohort.csv",)
    assert (study / "cohort.csv").read_text() == f"{','.join(COLUMNS)}\n,a,,,,\n"
    (study / "slides" / "b.svs").write_text("x")
    assert begin_study(InitConfig(study=study)).made == ()  # it is not one of examples any more


def test_examples_that_were_changed_are_somebodys(tmp_path):
    table = tmp_path / "cohort.csv"
    write_sample(table, ())
    assert is_examples(table)
    table.write_text(table.read_text().replace("LMS", "UPS"))
    assert not is_examples(table)


def test_slides_stay_where_they_are(tmp_path, capsys):
    own = tmp_path / "archive"
    own.mkdir()
    (own / "a.svs").write_text("x")
    assert main(["init", "--study", str(tmp_path / "s"), "--slides", str(own)]) == 0
    link = tmp_path / "s" / "slides"
    assert link.is_symlink() and link.samefile(own)
    assert sorted(path.name for path in own.iterdir()) == ["a.svs"]
    assert main(["init", str(tmp_path / "s"), "--slides", str(own)]) == 0  # the same again
    assert main(["init", str(tmp_path / "s"), "--slides", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "t"), "--slides", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "u")]) == 0
    assert main(["init", str(tmp_path / "u"), "--slides", str(own)]) == 0  # empty: nothing lies there
    assert (tmp_path / "u" / "slides").samefile(own)


def test_it_says_what_to_do_next(tmp_path, capsys):
    study = tmp_path / "a study"
    study.mkdir()
    (study / "a.svs").write_text("x")  # beside slides/, where no step looks
    assert main(["init", "--study", str(study)]) == 0
    shown = capsys.readouterr().out
    assert "(a.svs)" in " ".join(shown.split())
    for word in ("check", "run"):
        line = next(line for line in shown.splitlines() if f" {word} --study" in line)
        assert line.endswith((f"{word} --study '{study}'", "--dry_run"))  # whole, to be copied
    (study / "x").write_text("")
    assert main(["init", "--study", str(study / "x")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_study_of_links_can_be_moved_with_its_slides_gone(tmp_path, capsys):
    own = tmp_path / "archive"
    own.mkdir()
    assert main(["init", str(tmp_path / "s"), "--slides", str(own)]) == 0
    shutil.rmtree(own)
    assert main(["init", str(tmp_path / "s")]) == 2
    assert "slides" in capsys.readouterr().err
