"""Pages of the site that do not lie in docs/: the README as its start, benchmarks, changelog; links between all of them follow."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

BESIDE = {
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
AS_TEXT = {"LICENSE": "licence.md"}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from beside docs/."""
    root = Path(config["config_file_path"]).parent
    for place, page in {**BESIDE, **AS_TEXT}.items():
        text = (root / place).read_text(encoding="utf-8")
        if place in AS_TEXT:
            text = f"# Licence\n\n```\n{text}```\n"
        files.append(File.generated(config, page, content=_relinked(text, place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links of pages in docs/ to files beside it into links to their pages."""
    own = page.file.src_uri
    return markdown if own in {*BESIDE.values(), *AS_TEXT.values()} else _relinked(markdown, f"docs/{own}")


def _relinked(text: str, place: str) -> str:
    """Return a file's text with its relative links as the site has them.

    Args:
        text: Markdown.
        place: of the file, from the project's folder.
    """
    here = posixpath.dirname(_page(place))

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), match[2]))
        page = _page(target)
        return f"{match[1]}{posixpath.relpath(page, here or '.')}{match[3]}" if page else match[0]

    return LINK.sub(link, text)


def _page(place: str) -> str:
    """Return where a file of the project is on the site; "" where it is not."""
    known = {**BESIDE, **AS_TEXT}.get(place)
    return known or (place.removeprefix("docs/") if place.startswith("docs/") else "")
