"""The same tissue through SVS, generic TIFF and DICOM, by raw tiles and by regions: cosines of the embeddings.

    PYTHONPATH=folder-with-pydicom python benchmarks/same_features.py --source SLIDE

One square of the source is encoded once into JPEG tiles, and the very same tiles are put into an SVS, a generic TIFF and (if
pydicom is installed) a DICOM file. Tiles of 128 µm at 256 px are read from each both ways where there are two, and embedded by
the built-in encoder.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.machine import default_workers
from features.device.binding import bind
from features.device.runtime import embed
from features.device.tile_pixels import Preparation
from features.encoder.registry import build_encoder, find_card
from features.stream.tile_reader import ReadingPlan, TileRequest, close_slide, plan_reading, read_block
from preprocessing.reading.slide import open_slide

SIDE, MPP, TILE = 4096, 0.25, 256


def encoded(image: np.ndarray) -> list[bytes]:
    """Encode an image into JPEG tiles, row by row."""
    import imagecodecs

    return [
        imagecodecs.jpeg8_encode(np.ascontiguousarray(image[y : y + TILE, x : x + TILE]), level=85)
        for y in range(0, SIDE, TILE)
        for x in range(0, SIDE, TILE)
    ]


def write_tiff(path: Path, tiles: list[bytes], description: str | None) -> None:
    import tifffile

    with tifffile.TiffWriter(path) as file:
        file.write(
            iter(tiles), shape=(SIDE, SIDE, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="ycbcr", compression="jpeg",
            subsampling=(2, 2), description=description, metadata=None, resolution=(1e4 / MPP,) * 2, resolutionunit="CENTIMETER",
        )  # fmt: skip


def write_dicom(path: Path, tiles: list[bytes]) -> bool:
    """Write a whole-slide DICOM instance of the tiles; False where pydicom is missing."""
    try:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.encaps import encapsulate
        from pydicom.sequence import Sequence
        from pydicom.uid import JPEGBaseline8Bit, generate_uid
    except ImportError:
        return False

    def dataset(**values: object) -> Dataset:
        made = Dataset()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    measures = dataset(PixelSpacing=[MPP / 1000, MPP / 1000], SliceThickness=0.001)
    frame_type = dataset(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    instance = generate_uid(entropy_srcs=["same features"])
    made = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6", SOPInstanceUID=instance, StudyInstanceUID=f"{instance}.1",
        SeriesInstanceUID=f"{instance}.2", FrameOfReferenceUID=f"{instance}.3", Modality="SM", InstanceNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422",
        PlanarConfiguration=0, NumberOfFrames=len(tiles), Rows=TILE, Columns=TILE, BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelRepresentation=0, TotalPixelMatrixColumns=SIDE, TotalPixelMatrixRows=SIDE, TotalPixelMatrixFocalPlanes=1,
        DimensionOrganizationType="TILED_FULL", ImagedVolumeWidth=SIDE * MPP / 1000, ImagedVolumeHeight=SIDE * MPP / 1000,
        ImagedVolumeDepth=0.001, ImageOrientationSlide=[0, 1, 0, 1, 0, 0], LossyImageCompression="01", NumberOfOpticalPaths=1,
        OpticalPathSequence=Sequence([dataset(OpticalPathIdentifier="1")]),
        SharedFunctionalGroupsSequence=Sequence([dataset(
            PixelMeasuresSequence=Sequence([measures]), WholeSlideMicroscopyImageFrameTypeSequence=Sequence([frame_type]),
        )]),
    )  # fmt: skip
    made.PixelData = encapsulate(tiles)
    made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = made.SOPClassUID, instance
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.save_as(path, enforce_file_format=True)
    return True


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(float), b.astype(float)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    arguments = parser.parse_args()
    encoder = build_encoder(find_card("efficientnet_lite0"))
    runtime = bind(encoder, device="cpu", batch=8, tile_px=256, threads=default_workers())

    def embeddings(request: TileRequest, way: str) -> np.ndarray:
        plan = plan_reading(request)
        if way == "region":
            plan = ReadingPlan(reading="region", reason="", given_px=(256, 256), box_px=(256.0, 256.0))
        assert plan.reading == way, plan.reason
        tiles = read_block(request, plan).tiles
        close_slide()
        return embed(runtime, tiles, Preparation(tile_px=256, box_px=plan.box_px))

    coords = np.array([(x, y) for y in range(100, 3500, 900) for x in range(60, 3500, 900)], np.int64)
    request = TileRequest(
        name="s", path=arguments.source, mpp=(MPP, MPP), coords=coords, tile_um=128.0, tile_px=256, colour=None
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_slide(arguments.source, mpp=(MPP, MPP)) as slide:
            corner = ((slide.width - SIDE) // 2, (slide.height - SIDE) // 2)
            tiles = encoded(slide.read_area(corner, (SIDE, SIDE), (SIDE, SIDE)))
        write_tiff(folder / "a.svs", tiles, f"Aperio Image Library v12\n{SIDE}x{SIDE}|AppMag = 40|MPP = {MPP}")
        write_tiff(folder / "a.tif", tiles, None)
        ways = [("a.svs", "raw"), ("a.svs", "region"), ("a.tif", "raw"), ("a.tif", "region")]
        (folder / "dicom").mkdir()
        if write_dicom(folder / "dicom" / "a.dcm", tiles):
            ways.append(("dicom", "region"))
        else:
            print("DICOM not measured: pydicom is not installed")
        found = {way: embeddings(replace(request, path=folder / way[0]), way[1]) for way in ways}
    first = found["a.svs", "raw"]
    for (file, way), features in found.items():
        print(f"{file} by {way}: lowest cosine to SVS by raw tiles {cosine(first, features).min():.6f}")


if __name__ == "__main__":
    main()
