"""Reports in a browser: nothing that axe-core calls moderate or worse, nothing wider than a telephone."""

import pytest

from tests.helpers.browser import WIDER, axe_findings, shown
from tests.helpers.run_folders import evaluated, subtype_run, survival_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=[subtype_run, survival_run])
def report(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.__name__) / "run"
    request.param(folder)
    evaluated(folder, n_bootstrap=50)
    return folder / "report.html"


def test_axe_finds_nothing_in_a_report(report):
    with shown(report, 1400) as view:
        assert axe_findings(view) == []


def test_only_tables_scroll_sideways_on_a_telephone(report):
    with shown(report, 390) as view:
        assert view.evaluate(WIDER) == []
        assert axe_findings(view) == []


def test_no_column_is_cut_off_in_print(report):
    with shown(report, 718) as view:  # A4 less a centimetre on each side
        view.emulate_media(media="print")
        too_wide = """() => Array.from(document.querySelectorAll("table, svg, pre"))
          .filter(each => each.getBoundingClientRect().right > 719).map(each => each.textContent.slice(0, 60))"""
        assert view.evaluate(too_wide) == []
