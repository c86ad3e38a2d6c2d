"""A page as Chromium shows it: what axe-core finds, and what is wider than the window."""

import contextlib
import shutil
from pathlib import Path

import pytest

GRAVE = ("moderate", "serious", "critical")
# what scrolls inside a frame of its own counts no further
WIDER = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) return ["the page itself: " + document.documentElement.scrollWidth + " px"];
  return Array.from(document.querySelectorAll("body *")).filter(each => {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(each).overflowX);
    return scrolls && each.scrollWidth > each.clientWidth + 1 && !each.querySelector("table");
  }).map(each => each.tagName + "." + each.className);
}"""


def axe_script():
    """Return axe-core's script as the development package brings it; skip where it is not installed."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    (script,) = Path(package.__file__).parent.glob("**/axe.min.js")
    return script


@contextlib.contextmanager
def shown(page, width):
    """Open a page file in a window of a width; skip where there is no Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        view.goto(page.as_uri())
        yield view
        browser.close()


def axe_findings(view):
    """Return what axe-core finds of moderate and graver impact, a text each."""
    view.add_script_tag(path=axe_script())
    found = view.evaluate("async () => (await axe.run()).violations")
    return [
        f"{each['impact']} {each['id']}: {each['help']} ({each['nodes'][0]['html'][:120]}, {len(each['nodes'])} places)"
        for each in found
        if each["impact"] in GRAVE
    ]
