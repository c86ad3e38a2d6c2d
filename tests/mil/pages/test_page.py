import pytest

from mil.pages.page import Drawing, Link, Listing, Page, Part, Picture, Words, cells, shown, write_page
from tests.helpers.browser import WIDER, axe_findings
from tests.helpers.browser import shown as opened

BAD = "<script>alert(1)</script> & 'x' \"y\""


def a_page():
    rows = (cells([Link(words=BAD, place=("..", "a/b", "c d.html")), 0.123456, None]), cells(["x" * 60, 1e-17, ""]))
    parts = (
        Part(title=BAD, blocks=(Words(words=BAD, kind="note"), Listing(caption=BAD, head=("a", "b", "c"), rows=rows))),
        Part(
            title="Pictures",
            blocks=(
                Picture(place=("maps", "x'y.png"), says=BAD, caption=BAD),
                Drawing(svg="<svg role='img' aria-label='a line' width='20' height='20'></svg>", caption="a line"),
            ),
        ),
    )
    return Page(
        title=BAD, lead=BAD, parts=parts, warnings=(BAD,), is_synthetic=True, back=Link(words="all", place=("i.html",))
    )


def test_everything_is_escaped_and_no_name_leads_elsewhere(tmp_path):
    write_page(tmp_path / "p.html", a_page())
    text = (tmp_path / "p.html").read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 8
    assert "href='../a%2Fb/c%20d.html'" in text
    assert "src='maps/x%27y.png'" in text
    assert "SYNTHETIC DATA" in text
    assert "Research use only" in text


def test_a_synthetic_model_does_not_make_the_slides_painted(tmp_path):
    for name, own in (("data", {"is_synthetic": True}), ("model", {"is_by_synthetic_model": True}), ("none", {})):
        write_page(tmp_path / name, Page(title="t", lead="l", parts=(), **own))
    texts = {name: (tmp_path / name).read_text() for name in ("data", "model", "none")}
    assert [texts[name].count("SYNTHETIC DATA") for name in texts] == [1, 0, 0]
    assert [texts[name].count("SYNTHETIC MODEL: it was trained on") for name in texts] == [0, 1, 0]
    write_page(tmp_path / "both", Page(title="t", lead="l", parts=(), is_synthetic=True, is_by_synthetic_model=True))
    assert "SYNTHETIC DATA" in (tmp_path / "both").read_text()  # a synthetic study by its own model


def test_cells_are_short_and_what_is_empty_says_so():
    assert [shown(value) for value in (0.123456, 1e-17, None, "", float("nan"), 3, "x")] == [
        "0.1235", "0", "none", "none", "none", "3", "x",
    ]  # fmt: skip


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1250])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(tmp_path, width):
    write_page(tmp_path / "p.html", a_page())
    with opened(tmp_path / "p.html", width) as view:
        assert axe_findings(view) == []
        assert view.evaluate(WIDER) == []
