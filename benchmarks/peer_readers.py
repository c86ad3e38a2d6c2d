"""Files this project writes, read by the reader code of CLAM, TRIDENT, STAMP and slideflow; and theirs, read by ours.

The code of the peers is taken from checkouts at run time (--peers DIR with CLAM/, TRIDENT/, STAMP/, slideflow/: a
`git clone` of each). Where importing a peer would need its whole environment, the functions named below are compiled out
of its source file as they stand there; nothing of a peer is copied into this project.

    python benchmarks/peer_readers.py --peers ../peers
"""

import argparse
import ast
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.failures import StudyError
from features.convert_features import main as convert
from features.exchange.folder import open_folder
from features.store.feature_store import FeatureBag, write_feature_bag

MPP, TILE_UM, TILE_PX, DIM = 0.2527, 256.0, 256, 1024
SIDE = round(TILE_UM / MPP)
SIZES = {"one": 1, "small": 50, "large": 2000}
SLIDES_OF = {"A": ["large", "one"], "B": ["small"]}
Bags = dict[str, tuple[np.ndarray, np.ndarray]]  # slide: float16 embeddings, level-0 corners


def make_bags(folder: Path) -> Bags:
    """Write feature files of this project, and return what they hold."""
    rng, bags = np.random.default_rng(0), {}
    for slide, n_tiles in SIZES.items():
        features = rng.normal(size=(n_tiles, DIM)).astype(np.float16)
        corners = np.round(rng.integers(0, 300, (n_tiles, 2)) * TILE_UM / MPP).astype(np.int64)
        attributes = {
            "encoder": "uni", "licence": "CC-BY-NC-ND-4.0", "weights_sha256": "0", "transform": "t", "stain": "none",
            "stain_reference": "none", "tile_um": TILE_UM, "tile_px": TILE_PX, "mpp_x": MPP, "mpp_y": MPP,
            "mpp_source": "file", "precision": "float32",
        }  # fmt: skip
        beside = {"patch_size_level0": SIDE, "level0_width": 320000, "level0_height": 320000}
        bag = FeatureBag(
            slide_id=slide, features=features, coords=corners, unreadable=np.empty(0, np.int64), attributes=attributes
        )
        write_feature_bag(folder / f"{slide}.h5", bag, coords_attributes=beside)
        bags[slide] = (features, corners)
    rows = [["A", "large", "LMS"], ["B", "small", "SS"], ["A", "one", "LMS"]]  # a patient's rows are not adjacent
    pd.DataFrame(rows, columns=["patient_id", "slide_id", "subtype"]).to_csv(
        folder.parents[1] / "cohort.csv", index=False
    )
    return bags


def compiled(path: Path, names: list[str], known: dict[str, Any]) -> dict[str, Any]:
    """Compile functions (or Class.method) out of a source file, without running the rest of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    space = dict(known)
    for name in names:
        body: Any = tree.body
        for part in name.split("."):
            node = next(own for own in body if getattr(own, "name", None) == part)
            body = getattr(node, "body", [])
        node.returns, node.decorator_list = None, []  # type: ignore[attr-defined]
        for argument in (*node.args.args, *node.args.kwonlyargs):  # type: ignore[attr-defined]
            argument.annotation = None
        exec(compile(ast.Module([node], []), str(path), "exec"), space)
    return space


def clam(root: Path, there: Path, bags: Bags) -> str:
    """CLAM's training dataset, imported; both of its ways to read."""
    sys.path.insert(0, str(root))
    from dataset_modules.dataset_generic import Generic_MIL_Dataset

    options = {"csv_path": str(there / "dataset.csv"), "label_dict": {"LMS": 0, "SS": 1}, "print_info": False}
    dataset = Generic_MIL_Dataset(data_dir=str(there), **options)
    assert sorted(dataset.slide_data["slide_id"]) == sorted(bags)
    for index, slide in enumerate(dataset.slide_data["slide_id"]):
        features, corners = bags[slide]
        dataset.load_from_h5(False)
        assert np.array_equal(dataset[index][0].numpy(), features.astype(np.float32))
        dataset.load_from_h5(True)
        found, _, coords = dataset[index]
        assert np.array_equal(found.numpy(), features.astype(np.float32))
        assert np.array_equal(coords, corners)
    return "Generic_MIL_Dataset, dataset.csv, .pt and .h5 (imported)"


def trident(root: Path, there: Path, bags: Bags) -> str:
    """TRIDENT's coordinate reader, and the method that reads tile features for a slide encoder."""
    io_code = compiled(root / "trident" / "IO.py", ["read_coords", "save_h5"], {"h5py": h5py, "json": json})
    method = compiled(
        root / "trident" / "wsi_objects" / "WSI.py", ["WSI.extract_slide_features"],
        {"torch": torch, "np": np, "os": os, "warnings": warnings, "save_h5": io_code["save_h5"]},
    )["extract_slide_features"]  # fmt: skip
    seen: dict[str, Any] = {}

    class Recorder(torch.nn.Module):
        precision = torch.float32

        def forward(self, batch: dict[str, Any], _device: str) -> torch.Tensor:
            seen.update(batch)
            return batch["features"].mean(dim=1)

    (folder,) = there.glob("*x_*px_*px_overlap/features_uni")
    for slide, (features, corners) in bags.items():
        attributes, coords = io_code["read_coords"](str(folder / f"{slide}.h5"))
        assert np.array_equal(coords, corners)
        assert attributes["patch_size_level0"] == SIDE
        with tempfile.TemporaryDirectory() as out:
            self = types.SimpleNamespace(name=slide)
            method(self, str(folder / f"{slide}.h5"), Recorder(), out, "cpu")
        assert np.array_equal(seen["features"][0].numpy(), features.astype(np.float32))
        assert np.array_equal(seen["coords"][0].numpy(), corners)
        assert seen["attributes"]["patch_size_level0"] == SIDE
    return "IO.read_coords, WSI.extract_slide_features (compiled out of their files; a recording encoder)"


def stamp(root: Path, there: Path, bags: Bags) -> str:
    """STAMP's bag dataset, coordinate reader, type check and slide table, imported."""
    data = import_stamp(root)
    files = {slide: there / "uni" / f"{slide}.h5" for slide in bags}
    assert data.detect_feature_type(there) == "tile"
    dataset = data.BagDataset(
        bags=[[path] for path in files.values()], ground_truths=torch.zeros(len(files), 1), transform=None
    )
    for index, (slide, (features, corners)) in enumerate(bags.items()):
        found, coords_um, n_tiles, _ = dataset[index]
        assert np.array_equal(found.numpy(), features.astype(np.float32))
        assert n_tiles == len(features)
        assert np.array_equal(np.round(coords_um.numpy() / MPP).astype(int), corners)
        with h5py.File(files[slide]) as file:
            known = data.get_coords(file)
        assert (known.tile_size_um, known.tile_size_px) == (TILE_UM, TILE_PX)
    options = {"feature_dir": there / "uni", "patient_label": "PATIENT", "filename_label": "FILENAME"}
    slides = data.slide_to_patient_from_slide_table_(slide_table_path=there / "slide.csv", **options)
    truths = data.patient_to_ground_truth_from_clini_table_(
        clini_table_path=there / "clini.csv", patient_label="PATIENT", ground_truth_label="subtype"
    )
    patients = data.filter_complete_patient_data_(
        patient_to_ground_truth=truths, slide_to_patient=slides, drop_patients_with_missing_ground_truth=True
    )
    assert {patient: sorted(p.stem for p in own.feature_files) for patient, own in patients.items()} == SLIDES_OF
    return (
        "BagDataset, get_coords, detect_feature_type, slide and clini tables (imported; its package version is stubbed)"
    )


def import_stamp(root: Path) -> Any:
    """Import stamp.modeling.data from a checkout that is not installed: its version is what is missing."""
    sys.path.insert(0, str(root / "src"))
    version = importlib.metadata.version
    text = (root / "pyproject.toml").read_text(encoding="utf-8") if (root / "pyproject.toml").is_file() else ""
    own = next((line.split('"')[1] for line in text.splitlines() if line.startswith("version")), "2.4.0")
    importlib.metadata.version = lambda name: own if name == "stamp" else version(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("stamp.modeling.data")
    finally:
        importlib.metadata.version = version


def slideflow(root: Path, there: Path, bags: Bags) -> str:
    """slideflow's bag dataset (its file needs NumPy and PyTorch alone) and its index reader."""
    spec = importlib.util.spec_from_file_location("slideflow_mil_data", root / "slideflow" / "mil" / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    index_code = slideflow_index(root)
    paths = [str(there / f"{slide}.pt") for slide in bags]
    dataset = module.BagDataset(paths, bag_size=None)
    side = int(TILE_UM / MPP)
    for index, (slide, (features, corners)) in enumerate(bags.items()):
        assert np.array_equal(dataset._load(index).numpy(), features.astype(np.float32))
        centres = index_code["load_index"](str(there / f"{slide}.tfrecords"))
        assert centres.tolist() == [[int(x + side / 2), int(y + side / 2)] for x, y in corners.tolist()]
    config = json.loads((there / "bags_config.json").read_text())
    assert (config["tile_px"], config["tile_um"], config["num_features"]) == (TILE_PX, TILE_UM, DIM)
    return (
        "mil.data.BagDataset (imported by path), tfrecord2idx.load_index and find_index (compiled out of their files)"
    )


def slideflow_index(root: Path) -> dict[str, Any]:
    names = compiled(root / "slideflow" / "util" / "__init__.py", ["path_to_name"], {"os": os, "SUPPORTED_FORMATS": []})
    known = {
        "np": np, "os": os, "exists": os.path.exists, "join": os.path.join, "dirname": os.path.dirname,
        "sf": types.SimpleNamespace(util=types.SimpleNamespace(path_to_name=names["path_to_name"], zip_allowed=lambda: True)),
    }  # fmt: skip
    return compiled(root / "slideflow" / "util" / "tfrecord2idx.py", ["find_index", "load_index", "save_index"], known)


def written_by_peers(peers: Path, out: Path, bags: Bags) -> dict[str, Callable[[], None]]:
    """Return, for each peer, what writes the bags with the peer's own writing code."""

    def by_clam() -> None:
        code = compiled(peers / "CLAM" / "utils" / "file_utils.py", ["save_hdf5"], {"h5py": h5py})
        (out / "clam" / "h5_files").mkdir(parents=True)
        for slide, (features, corners) in bags.items():
            assets = {"features": features.astype(np.float32), "coords": corners.astype(np.int32)}
            code["save_hdf5"](str(out / "clam" / "h5_files" / f"{slide}.h5"), assets, attr_dict=None, mode="w")

    def by_trident() -> None:
        known = {"h5py": h5py, "json": json, "np": np}
        code = compiled(peers / "TRIDENT" / "trident" / "IO.py", ["save_h5", "coords_to_h5", "read_coords"], known)
        folder = out / "trident" / "20x_256px_0px_overlap" / "features_uni"
        folder.mkdir(parents=True)
        for slide, (features, corners) in bags.items():
            patches = str(folder.parent / f"{slide}_patches.h5")
            code["coords_to_h5"](corners.tolist(), patches, TILE_PX, 40, 20, "", 9, 9, slide, 0)
            attributes, coords = code["read_coords"](patches)
            Path(patches).unlink()
            of = {"features": {"name": slide, "savetodir": "", "encoder": "uni"}, "coords": attributes}
            assets = {"features": features.astype(np.float32), "coords": coords}
            code["save_h5"](str(folder / f"{slide}.h5"), assets, of, mode="w")

    def by_slideflow() -> None:
        code = slideflow_index(peers / "slideflow")
        (out / "slideflow").mkdir(parents=True)
        side = int(TILE_UM / MPP)
        for slide, (features, corners) in bags.items():
            torch.save(torch.from_numpy(features.astype(np.float32)), out / "slideflow" / f"{slide}.pt")
            code["save_index"]((corners + side / 2).astype(int), str(out / "slideflow" / f"{slide}.index"))
        config = {
            "extractor": {"class": "x.uni", "kwargs": {}},
            "normalizer": None,
            "tile_px": TILE_PX,
            "tile_um": TILE_UM,
        }
        (out / "slideflow" / "bags_config.json").write_text(json.dumps(config))

    return {"clam": by_clam, "trident": by_trident, "slideflow": by_slideflow}


def read_ours(folder: Path, bags: Bags, footprint: int | None) -> None:
    """Check that our reader finds in a peer's files what was written."""
    found = open_folder(folder, mpp_of=dict.fromkeys(bags, (MPP, MPP)))
    for slide, (features, corners) in bags.items():
        bag = found.read(slide)
        assert np.array_equal(bag.features, features.astype(np.float32))
        assert np.array_equal(bag.coords, corners)
        assert bag.footprint_level0 == footprint


READERS = {
    "clam": ("CLAM", clam),
    "trident": ("TRIDENT", trident),
    "stamp": ("STAMP", stamp),
    "slideflow": ("slideflow", slideflow),
}
FOOTPRINTS = {"clam": None, "trident": 512, "slideflow": int(TILE_UM / MPP)}


def main() -> int:
    """Run every reader for which there is a checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    peers = parser.parse_args().peers.resolve()
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        bags = make_bags(root / "features" / "own")
        writers = written_by_peers(peers, root / "theirs", bags)
        for to, (checkout, reader) in READERS.items():
            if not (peers / checkout).is_dir():
                print(f"{to}: not run, no checkout at {checkout}/")
                continue
            with contextlib.redirect_stdout(io.StringIO()):
                code = convert(["--study", str(root), "--encoder", "own", "--to", to, "--out", str(root / to)])
            if code:
                raise StudyError(f"conversion to {to} failed")
            try:
                print(f"{to}: ours read by {reader(peers / checkout, root / to, bags)}: identical", flush=True)
                if to in writers:
                    writers[to]()
                    read_ours(root / "theirs" / to, bags, FOOTPRINTS[to])
                    print(f"{to}: its own writing code's files read by ours: identical", flush=True)
            except Exception as error:  # a peer's code may raise anything; the others still run
                failures += 1
                print(f"{to}: FAILED: {type(error).__name__}: {error}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
