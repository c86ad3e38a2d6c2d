"""The folder of exported tiles: whole or not there, known again by what it was made of, and never somebody else's."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from common.failures import SlideError
from preprocessing.tiling.export_folder import ExportRecord, read_export, remove_export, tile_names, write_export

MADE_OF = {"slide_id": "s", "n": 3}


def images(*numbers):
    for number in numbers:
        yield f"s_x{number}_y0", np.full((8, 8, 3), 10 * number, np.uint8)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("kind", "ending"), [("png", "png"), ("jpeg", "jpg")])
def test_what_was_written_is_known_again_in_its_order(tmp_path, kind, ending):
    folder = tmp_path / "p" / "s"
    wanted = ExportRecord((f"s_x2_y0.{ending}", f"s_x1_y0.{ending}"), 1)
    assert write_export(folder, images(2, 1), MADE_OF, n_wanted=3, kind=kind) == wanted
    assert read_export(folder, MADE_OF) == wanted
    assert tile_names(folder) == list(wanted.tiles)
    assert names_in(folder) == ["record.json", f"s_x1_y0.{ending}", f"s_x2_y0.{ending}"]
    assert names_in(tmp_path / "p") == ["s"]
    with Image.open(folder / f"s_x2_y0.{ending}") as image:
        assert image.getpixel((3, 3)) == (20, 20, 20)
    assert read_export(folder, MADE_OF | {"n": 4}) is None


@pytest.mark.parametrize("damage", ["tile", "gone", "swapped", "record", "no record", "key"])
def test_a_folder_that_is_not_what_was_written_is_made_anew(tmp_path, damage):
    folder = tmp_path / "s"
    write_export(folder, images(2, 1), MADE_OF, n_wanted=2, kind="png")
    record = folder / "record.json"
    if damage == "tile":
        (folder / "s_x1_y0.png").write_bytes(b"x")
    elif damage == "gone":
        (folder / "s_x1_y0.png").unlink()
    elif damage == "swapped":
        content = json.loads(record.read_text())
        record.write_text(json.dumps(content | {"tiles": content["tiles"][::-1]}))
    elif damage == "record":
        record.write_text("{")
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text(json.dumps({"made_of": MADE_OF}))
    assert read_export(folder, MADE_OF) is None


def test_an_export_replaces_an_earlier_one_and_fails_without_a_trace(tmp_path):
    folder = tmp_path / "s"
    write_export(folder, images(1, 2), MADE_OF, n_wanted=2, kind="png")
    write_export(folder, images(3), MADE_OF, n_wanted=1, kind="png")
    assert names_in(folder) == ["record.json", "s_x3_y0.png"]

    def broken():
        yield from images(4)
        raise SlideError("no", "none")

    with pytest.raises(SlideError, match="no"):
        write_export(folder, broken(), MADE_OF, n_wanted=2, kind="png")
    assert names_in(folder) == ["record.json", "s_x3_y0.png"]
    assert names_in(tmp_path) == ["s"]


@pytest.mark.parametrize("n_foreign", [5, 6])
def test_a_folder_with_files_of_others_is_left_and_five_are_named(tmp_path, n_foreign):
    folder = tmp_path / "s"
    write_export(folder, images(1), MADE_OF, n_wanted=1, kind="png")
    for number in range(n_foreign):
        (folder / f"{n_foreign - number}.txt").touch()
    named = ", ".join(f"{number}.txt" for number in range(1, 6))
    with pytest.raises(SlideError) as error:
        write_export(folder, images(2), MADE_OF, n_wanted=1, kind="png")
    assert error.value.reason == f"{folder} holds what was not exported: {named}"
    remove_export(folder)
    assert "1.txt" in names_in(folder)


def test_a_folder_that_was_not_exported_and_a_link_are_left(tmp_path):
    plain, target, link = (tmp_path / name for name in ("plain", "target", "link"))
    plain.mkdir()
    (plain / "s_x1_y0.png").touch()
    write_export(target, images(1), MADE_OF, n_wanted=1, kind="png")
    link.symlink_to(target)
    for folder in (plain, link):
        with pytest.raises(SlideError, match="is there and was not exported"):
            write_export(folder, images(2), MADE_OF, n_wanted=1, kind="png")
        remove_export(folder)
        assert folder.exists()
    assert names_in(target) == ["record.json", "s_x1_y0.png"]
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(SlideError, match="was not exported"):
        write_export(tmp_path / "nowhere", images(2), MADE_OF, n_wanted=1, kind="png")
    remove_export(target)
    assert not target.exists()
    remove_export(tmp_path / "never")


def test_what_a_killed_process_left_beside_the_folder_goes(tmp_path):
    folder = tmp_path / "s"
    for kind in ("new", "old"):
        left = tmp_path / f".s.{kind}.999999.partial"
        left.mkdir()
        (left / "x").touch()
    write_export(folder, images(1), MADE_OF, n_wanted=1, kind="png")
    assert "s" in names_in(tmp_path)
    assert not any(name.startswith(f"s.new.{os.getpid()}") for name in names_in(tmp_path))
