"""Templates: values are escaped, missing values and missing templates are refused."""

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from common.templates import render


@pytest.fixture
def package(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text("<b>{{ name }}</b>\n{% if is_long %}\nmore\n{% endif %}\nend\n")
    return tmp_path


def test_values_are_escaped_and_tags_leave_no_lines(package):
    assert render(package, "page.html", name="<i>", is_long=True) == "<b>&lt;i&gt;</b>\nmore\nend\n"
    assert render(package, "page.html", name="x", is_long=False) == "<b>x</b>\nend\n"


def test_a_value_that_was_not_given_is_refused(package):
    with pytest.raises(UndefinedError, match="name"):
        render(package, "page.html", is_long=True)


def test_a_template_that_is_not_there_is_refused(package):
    with pytest.raises(TemplateNotFound):
        render(package, "other.html")
