"""The contact sheet: well-formed and escaped, the same bytes from any order; sorted, filtered and walked in a browser."""

import random
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from common.failures import StudyError
from preprocessing.make_contact_sheet import main
from preprocessing.tiling.contact_sheet import (
    _card,
    _choices,
    _figures,
    draw_contact_sheet,
    flag_name,
    flags_of,
    write_contact_sheet,
)
from preprocessing.tiling.preview import write_preview
from tests.helpers.browser import WIDER, axe_findings, shown

ODD = 'a<b & "c" 1#2?é50%'
VOID = {"meta", "input", "img", "br", "link"}


def done(slide_id, **changes):
    row = {
        "slide_id": slide_id, "step": "tile_slides", "state": "done", "reason": "", "remedy": "", "mpp_x": 0.5,
        "mpp_y": 0.5, "mpp_source": "file", "tissue_mm2": 3.25, "n_tiles": 40, "n_excluded_blurred": 0,
        "n_excluded_pen": 0, "flags": "", "sharpness": 3.4, "stain": "vahadane", "stain_fallback": "",
    }  # fmt: skip
    return {**row, **changes}


def failed(slide_id, reason, remedy):
    blank = dict.fromkeys(done("x"), "")
    return {**blank, "slide_id": slide_id, "state": "failed", "reason": reason, "remedy": remedy}


def cohort():
    return [
        done("s10", n_tiles=10, n_excluded_blurred=20, flags="blurred 67%; few tiles", sharpness=2.5),
        done("s2", n_tiles=200, mpp_x=0.25, mpp_y=0.251, stain_fallback="too few pixels"),
        done(ODD, n_tiles="100", n_excluded_pen="5", flags=["pen 5%"], tissue_mm2="12.5"),
        failed("bad <one>", "no tissue found & nothing else", "look at 'it'"),
    ]


class Reader(HTMLParser):
    """Checks that tags close in order; keeps texts, links and attributes."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.links, self.rows = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr" and dict(attrs).get("tabindex"):
            self.rows.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture
def page(tmp_path):
    for number, slide_id in enumerate(("s10", "s2", ODD)):
        write_preview(tmp_path / "previews" / f"{slide_id}.jpg", np.full((60, 90, 3), 60 * number + 60, np.uint8))
    path = tmp_path / "contact_sheet.html"
    write_contact_sheet(path, cohort(), tmp_path / "previews")
    return path


def test_the_page_is_well_formed_and_needs_nothing_from_outside(page):
    text = page.read_text(encoding="utf-8")
    found = Reader(text)
    assert "https:" not in text and "http:" not in text and "@import" not in text
    assert len(found.rows) == 4
    assert found.texts.count("no preview") == 1  # the failed slide's


def test_names_are_escaped_in_texts_and_links(page):
    text = page.read_text(encoding="utf-8")
    found = Reader(text)
    assert ODD in found.texts and ODD not in text
    assert "bad <one>" in found.texts
    assert "<one>" not in text
    assert "no tissue found & nothing else" in found.texts and "look at 'it'" in found.texts
    links = sorted({unquote(link) for link in found.links})
    assert links == sorted(f"previews/{name}.jpg" for name in ("s10", "s2", ODD))
    assert all(re.fullmatch(r"[A-Za-z0-9/._%-]+", link) for link in found.links)
    assert all((page.parent / link).is_file() for link in links)


def test_failures_come_first_then_flags_and_the_order_of_rows_does_not_matter(page):
    found = Reader(page.read_text(encoding="utf-8"))
    assert [row["data-slide_id"] for row in found.rows] == ["bad <one>", "s10", ODD, "s2"]
    shuffled = cohort()
    random.Random(1).shuffle(shuffled)
    other = page.with_name("other.html")
    write_contact_sheet(other, shuffled, page.parent / "previews")
    assert other.read_bytes() == page.read_bytes()


def test_what_was_not_measured_is_blank_and_not_zero(page):
    row = Reader(page.read_text(encoding="utf-8")).rows[0]
    assert "data-n_tiles" not in row and "data-n_out" not in row
    assert row["data-names"] == "failed"


def test_flags_are_read_from_lists_and_text():
    assert flags_of({"flags": "blurred 34%; pen 2%;"}) == flags_of({"flags": ["blurred 34%", "pen 2%"]})
    assert flags_of({}) == []
    assert flag_name("necrosis-like 30 %") == "necrosis-like" and flag_name("few tiles") == "few tiles"


def test_the_script_reads_the_status_table(tmp_path, capsys):
    assert main(["--study", str(tmp_path)]) == 2
    assert "tile_slides.py" in capsys.readouterr().err
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "status.csv").write_text("slide_id,state,n_tiles,flags\ns1,done,12,pen 3%\n")
    assert main(["--study", str(tmp_path)]) == 0
    text = (tmp_path / "tiles" / "contact_sheet.html").read_text()
    assert "pen 3%" in Reader(text).texts and "1 slides, 0 failed, 1 with flags" in text


def test_a_large_cohort_stays_a_small_page(tmp_path):
    write_contact_sheet(tmp_path / "page.html", (done(f"s{i}") for i in range(2000)), tmp_path / "previews")
    assert (tmp_path / "page.html").stat().st_size < 2000 * 1200


@pytest.mark.browser
def test_a_browser_sorts_filters_and_walks_the_sheet(page):
    from playwright import sync_api

    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1300, "height": 900})
        faults = []
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.goto(page.as_uri())

        def shown():
            return view.eval_on_selector_all("#rows tr:not([hidden])", "rows => rows.map(row => row.dataset.slide_id)")

        assert shown() == ["bad <one>", "s10", ODD, "s2"]
        view.wait_for_function("Array.from(document.images).every(image => image.naturalWidth > 0)")
        view.click("th button[data-key=n_tiles]")
        assert shown() == ["s10", ODD, "s2", "bad <one>"]  # not measured: last, both ways round
        view.click("th button[data-key=n_tiles]")
        assert shown() == ["s2", ODD, "s10", "bad <one>"]
        view.click("th button[data-key=slide_id]")
        assert shown().index("s2") < shown().index("s10")
        view.select_option("#flag", "blurred")
        assert shown() == ["s10"]
        view.select_option("#flag", "*")
        assert set(shown()) == {"s10", ODD, "bad <one>"}
        view.select_option("#flag", "")
        view.keyboard.press("Tab")
        view.eval_on_selector("body", "body => document.activeElement.blur()")
        view.keyboard.press("/")
        view.keyboard.type("NO TISSUE")
        assert shown() == ["bad <one>"]
        assert view.text_content("#shown") == "1 shown"
        view.fill("#text", "")
        view.keyboard.press("Escape")
        view.keyboard.press("j")
        first = view.evaluate("document.activeElement.dataset.slide_id")
        view.keyboard.press("j")
        assert [first, view.evaluate("document.activeElement.dataset.slide_id")] == shown()[:2]
        view.check("#list")
        assert view.evaluate("document.body.classList.contains('cards')") is False
        assert faults == []
        browser.close()


def test_u3_a_sheet_of_a_painted_study_says_so(tmp_path):
    pages = []
    for is_synthetic in (True, False):
        write_contact_sheet(tmp_path / "page.html", [done("s1")], tmp_path / "previews", is_synthetic=is_synthetic)
        pages.append((tmp_path / "page.html").read_text())
    assert ["SYNTHETIC DATA" in page for page in pages] == [True, False]
    write_contact_sheet(tmp_path / "page.html", [done("s1")], tmp_path / "previews")
    assert (tmp_path / "page.html").read_text() == pages[1]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_in_the_sheet_and_nothing_is_wider_than_the_window(page, width):
    with shown(page, width) as view:
        assert axe_findings(view) == []
        assert view.evaluate(WIDER) == []


def cells(row):
    return {figure.label: (figure.text, figure.title) for figure in _figures(row)}


def test_the_cells_say_what_was_measured():
    found = cells(done("s", n_excluded_necrosis_like=3, n_excluded_blurred=20, sharpness=2.456, tissue_mm2=3.25))
    assert found == {
        "tiles": ("40", ""), "left out": ("23", "blurred 20, necrosis-like 3"), "mm²": ("3.2", ""),
        "µm/px": ("0.5", "from: file"), "sharpness": ("2.46", ""), "stain": ("vahadane", ""),
    }  # fmt: skip
    found = cells(done("s", stain_fallback="few", stain="reference", mpp_source="", n_tiles=0))
    assert (found["stain"], found["µm/px"]) == (("reference (fallback)", "few"), ("0.5", ""))
    assert (found["tiles"], found["left out"]) == (("0", ""), ("0", ""))
    blank = cells({"slide_id": "s"})
    assert set(blank.values()) == {("", "")}
    assert cells(done("s", sharpness="nan"))["sharpness"] == ("", "")


@pytest.mark.parametrize(
    ("scales", "text"),
    [((0.5, 0.5), "0.5"), ((0.5, 0.5024), "0.5"), ((0.5, 0.5026), "0.5 × 0.5026"), ((0.5, 0.4974), "0.5 × 0.4974"),
     ((0.25, ""), "0.25"), (("", 0.5), "")],
)  # fmt: skip
def test_two_scales_are_shown_where_they_differ_by_half_a_percent(scales, text):
    assert cells(done("s", mpp_x=scales[0], mpp_y=scales[1]))["µm/px"][0] == text


def test_numbers_to_sort_by_count_flags_and_put_failures_above_all():
    rows = {card.slide_id: card.sort_values for card in (_card(row, None) for row in cohort())}
    assert rows["s10"]["n_flags"] == "2"
    assert rows["s10"]["n_out"] == "20"
    assert rows["s2"]["n_flags"] == "0"
    assert rows["bad <one>"]["n_flags"] == "100"
    assert "n_out" not in rows["bad <one>"]


def test_the_choices_count_flags_and_failures(page):
    choices = _choices([_card(row, None) for row in cohort()], 1, 2)
    assert choices == [
        ("", "all 4"), ("*", "any flag or failure (3)"), ("failed", "failed (1)"), ("blurred", "blurred (1)"),
        ("few tiles", "few tiles (1)"), ("pen", "pen (1)"),
    ]  # fmt: skip
    fine = _choices([_card(done("s", flags="b 2%; a 3%; a 5%"), None)], 0, 1)
    assert [value for value, _ in fine] == ["", "*", "a", "b"]
    assert fine[2][1] == "a (1)"


def test_a_table_of_another_kind_is_refused_and_an_empty_one_is_a_page(tmp_path):
    (tmp_path / "tiles").mkdir()
    status = tmp_path / "tiles" / "status.csv"
    status.write_text("name,state\ns1,done\n")
    with pytest.raises(StudyError, match="has no column slide_id"):
        draw_contact_sheet(tmp_path)
    status.write_text("slide_id,state\n")
    assert draw_contact_sheet(tmp_path).n_slides == 0
    assert "0 slides, 0 failed" in (tmp_path / "tiles" / "contact_sheet.html").read_text()
