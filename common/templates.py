"""Pages written from template files beside the code that fills them: values are escaped, missing ones refused."""

from pathlib import Path


def render(package_folder: Path, name: str, /, **values: object) -> str:
    """Return a template, filled.

    Args:
        package_folder: the folder of the room that owns the template; its templates lie in `templates/` there.
        name: the template's file name.
        values: what the template names. Text is escaped for HTML, unless it is markupsafe.Markup.

    Raises:
        jinja2.UndefinedError: the template names a value that was not given.
        jinja2.TemplateNotFound: there is no such template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(package_folder / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(name).render(**values)
