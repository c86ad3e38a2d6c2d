"""The viewer in a browser: list, search, slide, zoom, layers, click, jump, link, survival, keyboard, hostile names, faults."""

import contextlib
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.viewer.app import viewer_app
from mil.viewer.catalogue import make_catalogue
from mil.viewer.server import free_socket
from preprocessing.tiling.tile_store import read_slide_tiles
from tests.helpers.browser import WIDER, axe_findings
from tests.helpers.viewer_study import HOSTILE, make_viewer_study

pytestmark = pytest.mark.browser
IDLE = "() => document.body.dataset.ready === 'yes' && document.body.dataset.idle === 'yes'"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_viewer_study(tmp_path_factory.mktemp("viewer") / "study")


@contextlib.contextmanager
def served(catalogue):
    """Serve a catalogue at a free port."""
    import uvicorn

    with free_socket(0) as bound:
        server = uvicorn.Server(uvicorn.Config(viewer_app(catalogue), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(study):
    with served(make_catalogue(study, task="subtype", name="default")) as own:
        yield own


def is_grave(message):
    """Whether the console's line is an error or a warning; that the tests read pixels off the canvas is none of the page's."""
    return message.type in ("error", "warning") and "willReadFrequently" not in message.text


@contextlib.contextmanager
def page_at(address, width=1400, *, takes_scripts=False):
    """Open the page: nothing may fail in it and nothing else be asked for. `takes_scripts`: the test's own are let in."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=takes_scripts)
        errors, foreign = [], []
        view.on("console", lambda message: errors.append(message.text) if is_grave(message) else None)
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
        host = address.split("#")[0].rstrip("/")
        view.on(
            "request",
            lambda asked: None if asked.url.startswith((host, "data:", "blob:")) else foreign.append(asked.url),
        )
        view.goto(address)
        view.wait_for_function(IDLE)
        yield view
        assert errors == []
        assert foreign == []
        browser.close()


def opened(view, slide):
    view.get_by_role("button", name=slide, exact=True).first.click()
    view.wait_for_function("(name) => document.getElementById('title').textContent.startsWith(name)", arg=slide)
    view.wait_for_function(IDLE)


def colour_at(view, x, y):
    """The colour of the canvas at a place of it."""
    read = "([x, y]) => Array.from(document.getElementById('slide').getContext('2d').getImageData(x, y, 1, 1).data)"
    return view.evaluate(read, [x, y])


def link(view):
    return view.evaluate("() => Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def test_list_search_and_order(address):
    with page_at(address) as view:
        rows = view.locator("#list tbody tr")
        assert rows.count() == 4
        view.fill("#search", "p01")
        assert rows.count() == 1 and "second" in rows.first.inner_text()
        view.fill("#search", "nothing like it")
        assert rows.count() == 0 and "0 of 4" in view.inner_text("#count")
        view.fill("#search", "")
        for _ in range(2):
            view.get_by_role("button", name="p_B", exact=True).click()
        shares = [
            float(row.locator("td").nth(6).inner_text()) for row in rows.all() if row.locator("td").nth(6).inner_text()
        ]
        assert shares == sorted(shares, reverse=True) and len(set(shares)) > 1
        assert view.locator("th[aria-sort=descending]").inner_text() == "p_B"


def test_a_slide_is_where_it_is_said_to_be_and_zooms(address, study):
    with page_at(address) as view:
        opened(view, "first")
        view.select_option("#layer", "")
        view.uncheck("#outline")
        first = link(view)
        view.focus("#slide")
        view.keyboard.press("+")
        view.keyboard.press("ArrowRight")
        view.wait_for_function(IDLE)
        second = link(view)
        assert float(second["scale"]) == pytest.approx(0.7 * float(first["scale"]), rel=1e-3)
        assert float(second["x"]) > float(first["x"])
        view.keyboard.press("0")
        assert float(link(view)["scale"]) == pytest.approx(float(first["scale"]), rel=1e-3)


def test_a_layer_covers_its_tiles_to_the_pixel(address, study):
    """Tile 0 is most against B: violet inside the tile, and the slide as it was one pixel outside of it."""
    tiles = read_slide_tiles(study.tile_file("first"))
    x, y = tiles.coords[0] * 0.5
    side = tiles.tile_um
    with page_at(f"{address}/#slide=first&x={x}&y={y}&scale=0.5&layer=contribution%3A+B") as view:
        view.wait_for_function("() => document.body.dataset.layer === 'contribution: B'")
        view.uncheck("#outline")
        view.fill("#opacity", "100")
        box = view.locator("#slide").bounding_box()
        centre = np.array([box["width"] / 2, box["height"] / 2])
        inside = [colour_at(view, *(centre + shift).round().tolist()) for shift in ((2, 2), (side - 4, 2))]
        view.select_option("#layer", "")
        view.wait_for_function("() => document.body.dataset.layer === ''")
        bare = [colour_at(view, *(centre + shift).round().tolist()) for shift in ((2, 2), (side - 4, 2))]
        outside = colour_at(view, *(centre - 2).round().tolist())
        view.select_option("#layer", "contribution: B")
        view.wait_for_function("() => document.body.dataset.layer === 'contribution: B'")
        assert colour_at(view, *(centre - 2).round().tolist()) == outside
    for colour, before in zip(inside, bare, strict=True):
        assert colour[2] > colour[1] + 30, colour
        assert colour != before


def test_every_layer_can_be_shown(address):
    with page_at(address) as view:
        opened(view, "first")
        for option in view.locator("#layer option").all():
            name = option.get_attribute("value")
            view.select_option("#layer", name)
            view.wait_for_function("(name) => document.body.dataset.layer === name", arg=name)
            assert view.locator("#legend").is_visible() == bool(name)
        assert "A<1>" in " ".join(view.locator("#layer option").all_inner_texts())


def test_a_click_tells_a_tile_and_its_neighbours_and_a_jump_goes_there(address, study):
    tiles = read_slide_tiles(study.tile_file("first"))
    x, y = tiles.coords[5] * 0.5 + tiles.tile_um / 2
    with page_at(f"{address}/#slide=first&x={x}&y={y}&scale=1&layer=contribution%3A+B") as view:
        box = view.locator("#slide").bounding_box()
        view.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        view.wait_for_selector("#near .tiles button")
        wanted = 5 - len(tiles.coords) / 2
        names = view.locator("#tile dt").all_inner_texts()
        values = dict(zip(names, view.locator("#tile dd").all_inner_texts(), strict=True))
        assert float(values["for B"]) == pytest.approx(wanted) and float(values["for A<1>"]) == pytest.approx(-wanted)
        assert "sharpness" in values
        view.locator("#top .tiles button").first.click()
        last = tiles.coords[-1] * 0.5 + tiles.tile_um / 2
        view.wait_for_function(
            "(x) => Math.abs(new URLSearchParams(location.hash.slice(1)).get('x') - x) < 1", arg=float(last[0])
        )
        view.wait_for_function(
            "(value) => document.querySelector('#tile dd:nth-of-type(3)')?.textContent === value",
            arg=f"{(len(tiles.coords) - 1) - len(tiles.coords) / 2:.3g}",
        )


def test_a_link_carries_the_view(address):
    with page_at(address) as view:
        opened(view, "second")
        view.select_option("#layer", "attention: attention")
        view.wait_for_function("() => document.body.dataset.layer === 'attention: attention'")
        view.focus("#slide")
        for key in ("+", "+", "ArrowDown"):
            view.keyboard.press(key)
        where = view.url
    with page_at(where) as again:
        assert again.url == where
        assert again.inner_text("#title").startswith("second")
        assert again.locator("#layer").input_value() == "attention: attention"


def test_a_slide_named_like_a_script_is_shown_like_any_other(address):
    with page_at(address) as view:
        opened(view, HOSTILE)
        assert view.inner_text("#title").startswith(HOSTILE)
        assert "A<1>" in view.inner_text("#patient")
        where = view.url
    with page_at(where) as again:
        assert again.inner_text("#title").startswith(HOSTILE)


def test_a_broken_slide_says_why_and_the_next_one_opens(address):
    with page_at(address) as view:
        view.get_by_role("button", name="broken", exact=True).first.click()
        view.wait_for_function("() => !document.getElementById('trouble').hidden")
        assert len(view.inner_text("#trouble")) > 10
        opened(view, "second")
        assert view.locator("#trouble").is_hidden()


def test_the_keyboard_alone_is_enough(address):
    with page_at(address) as view:
        view.focus("#search")
        view.keyboard.type("second")
        for _ in range(20):
            view.keyboard.press("Tab")
            if view.evaluate("() => document.activeElement.textContent") == "second":
                break
        view.keyboard.press("Enter")
        view.wait_for_function("() => document.getElementById('title').textContent.startsWith('second')")
        for _ in range(12):
            view.keyboard.press("Tab")
            if view.evaluate("() => document.activeElement.id") == "slide":
                break
        view.keyboard.press("Enter")
        view.wait_for_function("() => document.getElementById('tile').textContent !== 'Click a tile.'")


@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_and_only_frames_scroll_sideways(address, width):
    with page_at(address, width, takes_scripts=True) as view:
        opened(view, "first")
        if width < 700:
            assert view.evaluate(WIDER) == []
        assert axe_findings(view) == []


def test_survival_shows_both_groups_and_the_patients_curve(study):
    with served(make_catalogue(study, task="survival", name="default")) as address, page_at(address) as view:
        opened(view, "second")
        label = view.locator("#survival svg").get_attribute("aria-label")
        assert "low risk" in label and "high risk" in label and "p01" in label
        assert view.locator("#survival path[stroke-dasharray]").count() == 1


def test_three_risk_groups_have_a_colour_and_a_line_of_words_each(study):
    run = read_run(RunFolder(study.run("survival", "default")))
    table = run.predictions.assign(risk_group=np.arange(len(run.predictions)) % 3)
    facts = replace(run.facts, settings={**run.facts.settings, "risk_groups": "tertiles"})
    catalogue = replace(
        make_catalogue(study, task="survival", name="default"), run=replace(run, facts=facts, predictions=table)
    )
    with served(catalogue) as address, page_at(address) as view:
        opened(view, "second")
        words = view.locator("#survival text[fill]")
        assert [words.nth(index).get_attribute("fill") for index in range(3)] == ["#0b4a8f", "#8a1c00", "#3f6b1f"]
        assert "middle risk" in words.nth(1).text_content()
        height = float(view.locator("#survival svg").get_attribute("viewBox").split()[3])
        assert all(float(words.nth(index).get_attribute("y")) < height for index in range(3))
