"""A folder of real slides as benchmarks take it: its arguments, and each slide opened at its scale."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from common.slide_files import find_slides
from preprocessing.reading.slide import Slide, open_slide


def real_slides(description: str | None) -> tuple[argparse.Namespace, Iterator[tuple[str, Slide]]]:
    """Return the arguments (slides, mpp, picture), and name and open slide of each in the order of their names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", type=Path)
    parser.add_argument("--mpp", type=Path, help="table of slide_id and mpp, for files that lack their scale")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    return arguments, _opened(arguments.slides, arguments.mpp)


def _opened(folder: Path, table: Path | None) -> Iterator[tuple[str, Slide]]:
    given = {} if table is None else pd.read_csv(table, dtype={"slide_id": str}).set_index("slide_id")["mpp"].to_dict()
    for name, path in sorted(find_slides(folder).items()):
        scale = (float(given[name]),) * 2 if name in given else None
        with open_slide(path, mpp=scale, mpp_source="given") as slide:
            yield name, slide
