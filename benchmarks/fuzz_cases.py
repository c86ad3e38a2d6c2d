"""What `fuzz_readers.py` damages: small good files of every kind that is read, and the reader of each."""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

MADE_BY = {
    "encoder": "e", "weights_sha256": "0", "licence": "none", "transform": "none", "stain": "none", "stain_reference": "none",
    "tile_um": 128.0, "tile_px": 256, "runtime": "none", "precision": "float32",
}  # fmt: skip
COHORT = "patient_id,slide_id,subtype,time,event,site,age,mpp\n" + "".join(
    f"P{n // 2},S{n},{('LMS', 'UPS')[n // 2 % 2]},{12.5 + n // 2},{n // 2 % 2},site {n // 2 % 3},{40 + n // 2},0.5\n"
    for n in range(12)
)
CONDITIONS = (
    "subtype == 'LMS' and 40 <= age < 70", "site in ['site 1', 'B'] or not `age`.isna()", "age.between(40, 44)",
    "subtype.str.startswith('L') & ~(event == 1)", "(time + 2) * 3 / 4 - 1 > 12 or site != 'A'", "age.isin([41, 42])",
)  # fmt: skip
YAML = """tile_slides:
  tile_um: 128
  where: "subtype == 'LMS'"
  min_tissue: 0.3
make_splits: {folds: 3, stratify: subtype}
columns:
  patient_id: patient_id
  event: {column: event, values: {'0': 0, '1': 1}}
  time: {column: [time, age]}
  time_unit: days
"""


def _nothing(_study: Path, _rng: random.Random) -> None:
    """Leave the files as they were damaged."""


@dataclass(frozen=True)
class Case:
    """A reader: its good files by name, how it is called, and which errors beside the project's ValueErrors it may raise."""

    make: Callable[[Path], Mapping[str, bytes]]
    read: Callable[[Path], object]
    is_text: bool = False
    targets: tuple[str, ...] = ()  # of the files; (): any
    also: tuple[type[BaseException], ...] = ()
    prepare: Callable[[Path, random.Random], None] = (
        _nothing  # seals a damaged file anew, so that what lies behind is met
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _made(write: Callable[[Path], object]) -> Callable[[Path], Mapping[str, bytes]]:
    """Return files that are written into a folder of their own."""

    def make(_study: Path) -> Mapping[str, bytes]:
        with tempfile.TemporaryDirectory() as place:
            write(Path(place))
            return _files(Path(place))

    return make


def _table(ending: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import pandas as pd

        table = pd.read_csv(io.StringIO(COHORT))
        (table.to_excel if ending == "xlsx" else table.to_parquet)(folder / f"cohort.{ending}", index=False)

    return write


def _read_cohort(ending: str) -> Callable[[Path], object]:
    def read(study: Path) -> object:
        from common.cohort import read_cohort

        cohort = read_cohort(study / f"cohort.{ending}", columns={})
        return cohort.patients, cohort.slides

    return read


def _read_settings(study: Path) -> object:
    from common.cohort import read_cohort
    from common.settings import parse_config
    from preprocessing.tiling.tiling_settings import TilingConfig
    from splits.split_settings import SplitConfig

    config = parse_config(TilingConfig, ["--study", str(study)], section="tile_slides", description=None)
    parse_config(SplitConfig, ["--study", str(study)], section="make_splits", description=None)
    return read_cohort(study / "cohort.csv", where=config.where)


def _make_splits(study: Path) -> Mapping[str, bytes]:
    (study / "cohort.csv").write_text(COHORT, encoding="utf-8")
    from splits.make_splits import main

    assert main(["--study", str(study), "--folds", "2", "--name", "default"]) == 0
    (study / "study.yaml").unlink(missing_ok=True)
    return {f"splits/{path.name}": path.read_bytes() for path in (study / "splits").iterdir()}


def _read_splits(study: Path) -> object:
    from common.cohort import read_cohort
    from splits.split_store import check_against_cohort, read_plans, read_splits

    path = study / "splits" / "default.csv"
    check_against_cohort(path, read_splits(path), read_cohort(study / "cohort.csv", columns={}))
    return read_plans(path)


def _drop_record(study: Path, rng: random.Random) -> None:
    if rng.random() < 0.5:  # a table made by hand has none
        (study / "splits" / "default.json").unlink()


def _write_run(folder: Path) -> None:
    from tests.helpers.run_folders import subtype_run

    subtype_run(folder / "run")


def _reseal_tables(study: Path, rng: random.Random) -> None:
    """Take a damaged table into run.json, half of the times."""
    from mil.runs.facts import RUN_SCHEMA, RunFacts
    from mil.runs.record import read_sealed, write_sealed
    from mil.runs.run_folder import RunFolder
    from mil.runs.run_tables import table_sums

    if rng.random() < 0.5:
        from dataclasses import replace

        facts = read_sealed(study / "run" / "run.json", RunFacts, RUN_SCHEMA, "")
        sums = table_sums(RunFolder(study / "run"), [])
        write_sealed(study / "run" / "run.json", replace(facts, tables=sums), RUN_SCHEMA)


def _reseal(path: str) -> Callable[[Path, random.Random], None]:
    """Return what writes a new checksum into a record that is still JSON, most of the times."""

    def prepare(study: Path, rng: random.Random) -> None:
        import hashlib

        from mil.runs.record import SEAL

        try:
            values = json.loads((study / path).read_bytes())
        except (ValueError, RecursionError):
            return
        if not isinstance(values, dict) or rng.random() < 0.2:
            return
        values.pop(SEAL, None)
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        seal = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        (study / path).write_text(json.dumps({**values, SEAL: seal}), encoding="utf-8")

    return prepare


def _read_run(study: Path) -> object:
    from mil.runs.run_folder import RunFolder
    from mil.runs.run_store import read_run

    run = read_run(RunFolder(study / "run"))
    return run.models, run.probability_columns, [run.codes(run.predictions["truth"])]


def _write_fold(folder: Path) -> None:
    from mil.heads.registry import make_head
    from mil.runs.facts import FoldPatients, FoldRecord
    from mil.runs.run_folder import RunFolder
    from mil.training.fold_store import write_fold
    from mil.training.training_settings import TrainConfig
    from splits.fold_plan import FoldPlan
    from tests.helpers.run_folders import FOLDS

    run = RunFolder(folder / "run")
    run.models.mkdir(parents=True)
    record = FoldRecord(
        **{field.name: getattr(FOLDS[0], field.name) for field in fields(FOLDS[0])} | {"fingerprint": "f"},
        patients=FoldPatients(train=("a",), val=(), test=("b",)), training=None, validation=(),
        predictions=({"repeat": 0, "fold": 0, "patient_id": "b", "model": "attention", "truth": "A", "p_A": 0.25},),
    )  # fmt: skip
    plan = FoldPlan(repeat=0, fold=0, train=("a",), val=(), test=("b",))
    write_fold(
        run,
        plan,
        make_head("gated_attention", TrainConfig().with_widths(128), n_inputs=3, n_outputs=2),
        {"encoder": MADE_BY},
        record,
    )


def _read_fold(study: Path) -> object:
    from mil.runs.facts import FOLD_SCHEMA, TRAIN_AGAIN, FoldRecord
    from mil.runs.record import read_sealed
    from mil.runs.run_folder import RunFolder
    from mil.training.fold_store import finished_record
    from splits.fold_plan import FoldPlan

    folder, plan = RunFolder(study / "run"), FoldPlan(repeat=0, fold=0, train=("a",), val=(), test=("b",))
    finished_record(folder, plan, "f")
    return read_sealed(folder.fold_record(plan.stem), FoldRecord, FOLD_SCHEMA, TRAIN_AGAIN)


def _read_model(study: Path) -> object:
    from mil.runs.model_file import read_model
    from mil.runs.run_folder import RunFolder

    return read_model(RunFolder(study / "run").model_file("repeat0_fold0"))


def _geojson(_study: Path) -> Mapping[str, bytes]:
    from shapely.geometry import Polygon

    from preprocessing.tissue.outline import geojson

    square = Polygon([(10, 10), (300, 10), (300, 300), (10, 300)], [[(50, 50), (90, 50), (90, 90)]])
    ours = geojson([square], [square.buffer(-100)], origin=(0, 0))
    edited = json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "id": "x", "geometry": {"type": kind, "coordinates": coordinates},
         "properties": {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}, "isLocked": False}}
        for kind, coordinates, name in (
            ("Polygon", [[[0, 0], [99, 0], [99, 99], [0, 0]]], "Tumor"),
            ("MultiPolygon", [[[[200, 200], [299, 200], [299, 299], [200, 200]]]], "Ignore*"), ("Point", [3, 4, 0], "x"),
        )
    ]})  # fmt: skip
    return {"a.geojson": ours.encode(), "b.geojson": edited.encode()}


def _read_geojson(study: Path) -> object:
    from preprocessing.tissue.outline import clipped, filled
    from preprocessing.tissue.source import find_source

    for name in ("a.geojson", "b.geojson"):
        outline = find_source(study / name, None, (0, 0)).outline
        if outline is not None:
            pieces = clipped(outline.pieces, (400, 400), tolerance=1.0)
            filled(pieces, (50, 50), slide_px=(400, 400))
    return None


def _write_masks(folder: Path) -> None:
    import tifffile
    from PIL import Image

    mask = np.zeros((40, 50), np.uint8)
    mask[5:20, 10:30] = 255
    Image.fromarray(mask).save(folder / "a.png")
    Image.fromarray(mask // 255).convert("P").save(folder / "b.png")
    tifffile.imwrite(folder / "c.tif", mask, compression="deflate")
    tifffile.imwrite(folder / "d.tif", mask.astype(np.float32) / 300)
    Image.fromarray(np.dstack([mask] * 4)).save(folder / "e.png")


def _read_each(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Read all files of a study; the first that is refused is the end."""

    def each(study: Path) -> object:
        return [read(path) for path in sorted(study.iterdir())]

    return each


def _read_mask(path: Path) -> object:
    from preprocessing.tissue.mask_image import stored_mask

    return stored_mask(path, 0.5)


def _write_tiles(folder: Path) -> None:
    from preprocessing.colour.stain import REFERENCE
    from preprocessing.tiling.slide_tiles import SlideTiles
    from preprocessing.tiling.tile_store import write_slide_tiles

    tiles = SlideTiles(
        slide_id="s", coords=np.array([[0, 0], [256, 0]]), tissue_fraction=np.ones(2, np.float32), mpp_x=0.5, mpp_y=0.5,
        mpp_source="file", tile_um=128.0, tile_px=256, slide_width=576, slide_height=576, tissue_mm2=0.1, stain=REFERENCE,
        slide_fingerprint="x", settings="{}", piece=np.ones(2, np.int32), n_pieces=1, stride_um=128.0,
        tissue_source="segmented", tissue_fingerprint="",
    )  # fmt: skip
    write_slide_tiles(folder / "s.h5", tiles)


def _reseal_hdf5(study: Path, rng: random.Random) -> None:
    """Leave the checksum at the end of a file away, or make it anew, now and then: what lies behind it is met."""
    from common.guards.sealed_files import LENGTH, seal

    if rng.random() < 0.3:
        for path in study.iterdir():
            path.write_bytes(path.read_bytes()[:-LENGTH])
            seal(path)


def _read_tiles(path: Path) -> object:
    from preprocessing.tiling.tile_store import read_slide_tiles

    return read_slide_tiles(path)


def _write_bag(folder: Path) -> None:
    from features.store.feature_store import FeatureBag, write_feature_bag

    bag = FeatureBag(
        slide_id="s", features=np.ones((5, 4), np.float16), coords=np.arange(10, dtype=np.int64).reshape(5, 2),
        unreadable=np.empty(0, np.int64), attributes=MADE_BY,
    )  # fmt: skip
    write_feature_bag(folder / "s.h5", bag)


def _read_bag(path: Path) -> object:
    from features.store.feature_store import read_feature_bag

    return read_feature_bag(path)


def _write_tensors(folder: Path) -> None:
    import torch

    torch.save(torch.ones(6, 4), folder / "s.pt")
    torch.save(torch.ones(6, 4), folder / "t.pt")
    np.savez(folder / "t.index.npz", arr_0=np.arange(12).reshape(6, 2))
    (folder / "bags_config.json").write_text(json.dumps({"tile_um": 128, "tile_px": 256, "extractor": {"class": "x"}}))


def _read_tensors(study: Path) -> object:
    return [_read_foreign(study / name) for name in ("s.pt", "t.pt")]


def _write_foreign(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "clam.h5", "w") as file:
        file["features"], file["coords"] = np.ones((6, 4), np.float32), np.arange(12).reshape(6, 2)
        file["coords"].attrs.update({"patch_size": 256, "patch_level": 0})
    with h5py.File(folder / "stamp.h5", "w") as file:
        file["feats"], file["coords"] = np.ones((6, 4), np.float32), np.arange(12.0).reshape(6, 2)
        file.attrs.update(
            {"unit": "um", "tile_size_um": 256.0, "extractor": "x", "stamp_version": "2.3", "feat_type": "tile"}
        )


def _read_foreign(path: Path) -> object:
    from features.exchange.bag import Source
    from features.exchange.layout_readers import read_exchange_bag

    return read_exchange_bag(Source(path=path, slide_id="s", mpp=(0.5, 0.5), is_header=False))


def _dicom(folder: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    image, measures, shared = Dataset(), Dataset(), Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.TransferSyntaxUID = WHOLE_SLIDE, ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = WHOLE_SLIDE, "1.2.3", "1.2"
    image.Rows = image.Columns = 32
    image.NumberOfFrames, image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns = 4, 60, 50
    image.SamplesPerPixel, image.BitsAllocated, image.BitsStored, image.HighBit = 3, 8, 8, 7
    image.PixelRepresentation, image.PlanarConfiguration, image.PhotometricInterpretation = 0, 0, "RGB"
    measures.PixelSpacing = [0.0005, 0.0005]
    shared.PixelMeasuresSequence, image.SharedFunctionalGroupsSequence = [measures], [shared]
    image.PixelData = bytes(range(256)) * 48
    image["PixelData"].VR = "OB"
    image.save_as(folder / "s.dcm", enforce_file_format=True)


WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def _read_slide(path: Path) -> object:
    from preprocessing.reading.slide import open_slide

    with open_slide(path, mpp=(0.5, 0.5)) as slide:
        side = (min(64, slide.width), min(64, slide.height))
        return slide.outline_origin, slide.read_area((0, 0), side, side)


def _read_dicom(study: Path) -> object:
    from common.slide_files import dicom_series, file_fingerprint

    dicom_series([study / "s.dcm"])
    return file_fingerprint(study / "s.dcm"), _read_slide(study / "s.dcm")


def _write_pictures(folder: Path) -> None:
    import tifffile
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "b.jpg")
    tifffile.imwrite(folder / "c.tif", pixels, photometric="rgb", compression="deflate", rowsperstrip=16)
    tifffile.imwrite(folder / "d.tif", pixels, photometric="rgb", compression="jpeg", tile=(32, 32))
    with tifffile.TiffWriter(folder / "e.ome.tif", ome=True) as file:
        options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32)}
        file.write(pixels.astype(np.uint16) * 16, subifds=1, metadata={"axes": "YXS", "PhysicalSizeX": 0.5}, **options)
        file.write((pixels.astype(np.uint16) * 16)[::2, ::2], subfiletype=1, **options)


def _read_where(study: Path) -> object:
    from common.cohort import read_cohort

    text = (study / "where.txt").read_text(encoding="utf-8", errors="surrogateescape")
    return read_cohort(study / "cohort.csv", where=text.split("\n")[0], columns={})


def _conditions(_study: Path) -> Mapping[str, bytes]:
    return {"cohort.csv": COHORT.encode(), "where.txt": CONDITIONS[0].encode()}


def _other_condition(study: Path, rng: random.Random) -> None:
    """Join a damaged condition and another, so that all of the grammar is met."""
    path = study / "where.txt"
    if rng.random() < 0.8:
        from benchmarks.fuzz_readers import mutated

        path.write_bytes(mutated(rng.choice(CONDITIONS).encode(), rng.choice(CONDITIONS).encode(), rng, is_text=True))


def _write_map(folder: Path) -> None:
    from mil.explanation.map_store import SlideMap, write_slide_map

    rng = np.random.default_rng(0)
    write_slide_map(
        folder / "map.h5",
        SlideMap(
            slide_id="S1", patient_id="P1", outputs=("LMS", "UPS"), told="LMS", contributions=rng.normal(size=(5, 2)),
            attention=np.full(5, 0.2), coords=np.arange(10).reshape(5, 2), coords_unit="level 0 px",
            known={"task": "subtype", "base": [0.1, 0.2], "model_sha256": "0" * 64},
        ),
    )  # fmt: skip


def _read_map(path: Path) -> object:
    from mil.explanation.map_store import read_slide_map

    return read_slide_map(path)


def _write_task(folder: Path) -> None:
    from common.tables.target_columns import Target
    from mil.runs.run_folder import RunFolder
    from mil.runs.targets_record import Targets, write_targets

    (folder / "run").mkdir()
    targets = (
        Target(column="grade", kind="ordered", classes=("1", "2", "3"), why="words"), Target(column="size", kind="number"),
    )  # fmt: skip
    write_targets(RunFolder(folder / "run"), Targets(task="both", targets=targets))


def _read_task(study: Path) -> object:
    from mil.runs.run_folder import RunFolder
    from mil.runs.targets_record import columns_of, read_targets

    known = read_targets(RunFolder(study / "run"))
    return known and [(own.truth, own.predicted) for own in columns_of(known.targets)]


def _write_searches(folder: Path) -> None:
    from mil.runs.run_folder import RunFolder
    from mil.runs.search_record import FoldSearch, Search, Trial, write_fold_search, write_search

    trials = (
        Trial(number=0, values={"dropout": 0.0}, loss=0.7),
        Trial(number=1, values={"dropout": 0.5}, loss=None, why="diverged"),
    )
    own = FoldSearch(repeat=0, fold=0, fingerprint="f", n_inner_folds=2, trials=trials, chosen=0)
    (folder / "run").mkdir()
    write_fold_search(folder / "run" / "fold.json", own)
    write_search(
        RunFolder(folder / "run"), Search(n_trials=2, sampler="tpe", space={"dropout": "0 to 0.5"}, folds=(own,))
    )


def _read_searches(study: Path) -> object:
    from mil.runs.run_folder import RunFolder
    from mil.runs.search_record import read_fold_search, read_search

    found = read_fold_search(study / "run" / "fold.json", "f")
    whole = read_search(RunFolder(study / "run"))
    return found and found.trials, whole and [own.taken for own in whole.folds]


def _reseal_searches(study: Path, rng: random.Random) -> None:
    for name in ("fold", "search"):
        _reseal(f"run/{name}.json")(study, rng)


def _training() -> tuple[Any, Any]:
    import torch

    from mil.heads.registry import make_head
    from mil.training.training_settings import TrainConfig

    torch.manual_seed(0)
    head = make_head("gated_attention", TrainConfig(hidden=4, attention=2), n_inputs=3, n_outputs=2)
    return head, torch.optim.AdamW(head.parameters())


def _write_state(folder: Path) -> None:
    import torch

    from mil.runs.facts import Epoch
    from mil.training.recipe.epoch_store import EpochStore, Progress

    head, optimiser = _training()
    head.of_bag(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    progress = Progress().after(Epoch(epoch=1, train_loss=0.5, val_loss=0.6), head, may_choose=True)
    keeper = EpochStore(folder=folder, stem="repeat0_fold0", fingerprint="f", every_s=0.0).keeper("model")
    assert keeper is not None
    keeper.offer(progress, head, optimiser, np.random.default_rng(0), is_over=False)


def _read_state(study: Path) -> object:
    from mil.training.recipe.epoch_store import EpochStore

    keeper = EpochStore(folder=study, stem="repeat0_fold0", fingerprint="f", every_s=0.0).keeper("model")
    assert keeper is not None
    said: list[str] = []
    keeper.say = said.append
    head, optimiser = _training()
    return keeper.restore(
        head, optimiser, np.random.default_rng(1)
    ), said  # of a damaged one the beginning, and it is said


def _write_ensemble(folder: Path) -> None:
    from mil.heads.registry import head_record
    from mil.models.ensemble import Ensemble, write_ensemble
    from mil.models.familiarity import Cloud
    from mil.models.record import (
        Calibration,
        CohortSummary,
        EnsembleRecord,
        FamiliarityFacts,
        FoldModel,
        Limits,
        PredictionSets,
        Worth,
    )

    head, _ = _training()
    cohort = CohortSummary(
        n_patients=4, n_slides=4, n_tiles=40, class_counts={"LMS": 2, "UPS": 2}, n_events=0, is_synthetic=True, restriction="",
        source="", date="",
    )  # fmt: skip
    limits = Limits(slide=2.0, patient=2.5, level=0.975, n_slides=4, n_patients=4)
    record = EnsembleRecord(
        task="subtype", classes=("LMS", "UPS"), unit="patient", encoder=MADE_BY, licence="none", tiling={"tile_um": 128.0},
        stain_reference=None, calibration=Calibration(temperature=1.5, n_patients=4),
        folds=(FoldModel(repeat=0, fold=0, n_train=3, sha256="0" * 64, head=head_record(head.eval())),),
        prediction_sets=PredictionSets(coverage=0.9, thresholds={"LMS": 0.7, "UPS": None}, n_patients={"LMS": 2, "UPS": 2}),
        survival=None, cohort=cohort, worth={"macro_auroc": Worth(value=0.8, low=0.7, high=0.9)}, settings={"hidden": 4},
        familiarity=FamiliarityFacts(embedding=limits, stain=None, least_tiles=5, most_tiles=20), versions={"torch": "2"},
    )  # fmt: skip
    cloud = Cloud(mean=np.zeros(3), scale=np.ones(3), axes=np.eye(3)[:2], variances=np.ones(2), rest=0.5)
    write_ensemble(folder / "model.safetensors", Ensemble(record, (head,), {"embedding": cloud}))


def _read_ensemble(study: Path) -> object:
    from mil.models.ensemble import class_opinion, read_ensemble

    model = read_ensemble(study / "model.safetensors")
    return class_opinion(model.record, model.outputs(np.ones((4, 3), np.float32)))


def _reseal_ensemble(study: Path, rng: random.Random) -> None:
    """Seal a damaged model anew, most of the times, so that what lies behind the seal is met."""
    import hashlib
    import re

    path = study / "model.safetensors"
    content = path.read_bytes()
    place = re.search(rb'"sarcoma_mil":\s*"([0-9a-f]{64}) ', content)
    if place is None or rng.random() < 0.2:
        return
    start, end = place.span(1)
    blank = content[:start] + b"0" * 64 + content[end:]
    path.write_bytes(content[:start] + hashlib.sha256(blank).hexdigest().encode() + content[end:])


CASES = {
    "cohort as CSV": Case(lambda _: {"cohort.csv": COHORT.encode()}, _read_cohort("csv"), is_text=True),
    "cohort as xlsx": Case(_made(_table("xlsx")), _read_cohort("xlsx")),
    "cohort as Parquet": Case(_made(_table("parquet")), _read_cohort("parquet")),
    "study.yaml": Case(
        lambda _: {"study.yaml": YAML.encode(), "cohort.csv": COHORT.encode()}, _read_settings, is_text=True,
        targets=("study.yaml",), also=(SystemExit,),
    ),
    "conditions": Case(_conditions, _read_where, is_text=True, targets=("where.txt",), prepare=_other_condition),
    "splits, table": Case(_make_splits, _read_splits, is_text=True, targets=("splits/default.csv",), prepare=_drop_record),
    "splits, record": Case(_make_splits, _read_splits, is_text=True, targets=("splits/default.json",)),
    "run.json": Case(
        _made(_write_run), _read_run, is_text=True, targets=("run/run.json",), prepare=_reseal("run/run.json")
    ),
    "tables of a run": Case(
        _made(_write_run), _read_run, is_text=True, targets=("run/predictions.csv",), prepare=_reseal_tables
    ),
    "fold records": Case(
        _made(_write_fold), _read_fold, is_text=True, targets=("run/models/repeat0_fold0.json",),
        prepare=_reseal("run/models/repeat0_fold0.json"),
    ),
    "model files": Case(_made(_write_fold), _read_model, targets=("run/models/repeat0_fold0.safetensors",)),
    "models to predict with": Case(
        _made(_write_ensemble), _read_ensemble, targets=("model.safetensors",), prepare=_reseal_ensemble
    ),
    "states of a training": Case(_made(_write_state), _read_state),
    "task.json": Case(
        _made(_write_task), _read_task, is_text=True, targets=("run/task.json",), prepare=_reseal("run/task.json")
    ),
    "searches": Case(
        _made(_write_searches), _read_searches, is_text=True, targets=("run/fold.json", "run/search.json"),
        prepare=_reseal_searches,
    ),
    "maps of slides": Case(_made(_write_map), _read_each(_read_map), prepare=_reseal_hdf5),
    "outlines (GeoJSON)": Case(_geojson, _read_geojson, is_text=True),
    "masks": Case(_made(_write_masks), _read_each(_read_mask)),
    "DICOM": Case(_made(_dicom), _read_dicom),
    "TIFF, PNG, JPEG": Case(_made(_write_pictures), _read_each(_read_slide)),
    "foreign features (.pt)": Case(_made(_write_tensors), _read_tensors),
    "tile files": Case(_made(_write_tiles), _read_each(_read_tiles), prepare=_reseal_hdf5),
    "feature files": Case(_made(_write_bag), _read_each(_read_bag), prepare=_reseal_hdf5),
    "foreign features (HDF5)": Case(_made(_write_foreign), _read_each(_read_foreign)),
}  # fmt: skip
