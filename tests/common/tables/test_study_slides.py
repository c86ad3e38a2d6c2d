import subprocess
import sys

import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.remote.remote_slide import origin_of
from common.study import Study
from common.tables.study_slides import SlideCacheConfig, slides_here, study_slides

SECRET = "https://anna:s3cret@e.org/a/S2.svs?sig=signed-by-us"


def study(folder, rows, *, files=(), settings=""):
    own = Study(folder)
    own.cohort_table.write_text("\n".join(["patient_id,slide_id,age,slide_url", *rows]) + "\n")
    if settings:
        (folder / "study.yaml").write_text(settings)
    for name in files:
        own.slides.mkdir(exist_ok=True)
        (own.slides / name).write_bytes(b"x")
    return own


def found(own, config=None, **options):
    cohort = read_cohort(own.cohort_table)
    return study_slides(
        own, cohort.addresses, [row["slide_id"] for row in cohort.rows], config or SlideCacheConfig(), **options
    )


def test_s3_addresses_are_no_column_of_the_cohort(tmp_path):
    cohort = read_cohort(study(tmp_path, ["P1,S1,50,", f"P2,S2.svs,60,{SECRET}"]).cohort_table)
    assert "slide_url" not in cohort.columns
    assert list(cohort.slides.columns) == ["patient_id", "slide_id", "age"]
    assert list(cohort.addresses) == ["S2"]
    assert "s3cret" not in repr(cohort) and "signed" not in repr(cohort)
    assert cohort.by_slide.addresses == cohort.addresses
    assert read_cohort(tmp_path / "cohort.csv", where="age < 55").addresses == {}
    with pytest.raises(StudyError) as raised:
        read_cohort(tmp_path / "cohort.csv", where="slide_url == 'x'")
    assert "signed" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("S2.svs", "row 3: slide_url is no address: wanted https://"), ("https:///s3cret", "names no server"),
        ("s3://b/S2.mrxs", "names a slide of several files (.mrxs); copy these to slides/"),
        ("https://e.org/s.zip?s3cret", "names an archive (.zip)"),
    ],
)  # fmt: skip
def test_s3_faults_have_their_row_and_no_secret(tmp_path, url, said):
    own = study(tmp_path, ["P1,S1,50,https://e.org/S1.svs", f"P2,S2,60,{url}"])
    with pytest.raises(StudyError) as raised:
        read_cohort(own.cohort_table)
    assert said in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_s3_another_name_of_the_column_and_no_words_of_it(tmp_path):
    own = study(tmp_path, [f"P2,S2,60,{SECRET}"], settings="columns: {slide_url: slide_url}")
    assert list(read_cohort(own.cohort_table).addresses) == ["S2"]
    (tmp_path / "study.yaml").write_text("columns: {slide_url: {column: slide_url, values: {a: b}}}")
    with pytest.raises(StudyError, match="has no 'values'") as raised:
        read_cohort(own.cohort_table)
    assert "s3cret" not in str(raised.value)


def test_a_file_in_the_folder_is_read_there(tmp_path):
    own = study(tmp_path, ["P1,S1,50,https://e.org/S1.svs", f"P2,S2,60,{SECRET}"], files=["S1.svs"])
    slides = found(own)
    assert list(slides) == ["S1", "S2"]
    assert slides["S1"] == own.slides / "S1.svs" and origin_of(slides["S1"]) is None
    assert list(slides_here(slides)) == ["S1"]
    origin = origin_of(slides["S2"])
    assert slides["S2"].name == "S2.svs" and origin.record == tmp_path / "slides_elsewhere" / "S2.json"
    assert origin.cache.folder == tmp_path / "cache" and origin.cache.max_bytes == 50 * 10**9


def test_without_a_folder_addresses_are_enough_and_without_both_it_is_told(tmp_path):
    assert list(found(study(tmp_path, [f"P2,S2,60,{SECRET}"]))) == ["S2"]
    with pytest.raises(StudyError, match="no folder"):
        found(study(tmp_path, ["P1,S1,50,", "P2,S2,60,"]))


def test_an_address_without_an_ending_is_taken_for_a_tiff(tmp_path):
    assert found(study(tmp_path, ["P1,S1,50,https://e.org/data/4f2c"]))["S1"].name == "S1.tif"


def test_a_file_of_this_computer_is_read_where_it_lies(tmp_path):
    (tmp_path / "far off").mkdir()
    (tmp_path / "far off" / "S1.svs").write_bytes(b"x")
    own = study(tmp_path, [f"P1,S1,50,{(tmp_path / 'far off' / 'S1.svs').as_uri()}", "P2,S2,60,file:///no/such.svs"])
    assert found(own) == {"S1": tmp_path / "far off" / "S1.svs"}


def test_the_cache_can_lie_elsewhere_and_is_bounded(tmp_path):
    own = study(tmp_path, [f"P2,S2,60,{SECRET}"])
    cache = origin_of(found(own, SlideCacheConfig(cache=tmp_path / "c", cache_gb=0.5))["S2"]).cache
    assert (cache.folder, cache.max_bytes) == (tmp_path / "c", 500_000_000)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="--cache_gb is a number of gigabytes from 0"):
            SlideCacheConfig(cache_gb=wrong).check_cache()


def test_without_addresses_nothing_of_the_network_is_imported(root):
    """What opens connections is loaded by who opens one."""
    names = ("http.client", "ssl", "urllib.request", "fsspec")
    program = f"import sys, common.cohort; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
