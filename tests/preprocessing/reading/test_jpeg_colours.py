"""Colours of JPEG streams that are declared wrongly: the stream's own markers decide, or the file is named."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from common.failures import SlideError
from preprocessing.reading.jpeg_colours import colours_of_jpeg
from preprocessing.reading.slide import open_slide

PINK = np.full((64, 64, 3), (230, 120, 180), np.uint8)


def encoded(colours, **how):
    return imagecodecs.jpeg8_encode(PINK, level=95, colorspace="RGB", outcolorspace=colours, **how)


def test_the_markers_of_a_stream_tell_its_colours():
    assert colours_of_jpeg(encoded("YCBCR"), trust_jfif=True)[0] == "YCBCR"
    assert colours_of_jpeg(encoded("YCBCR", subsampling="444"), trust_jfif=False) is None
    assert colours_of_jpeg(encoded("RGB"), trust_jfif=False)[0] == "RGB"
    assert colours_of_jpeg(b"\xff\xd8\xff\xe0\x00", trust_jfif=True) is None
    assert colours_of_jpeg(b"", trust_jfif=True) is None


def test_r4_a_dicom_slide_declared_rgb_whose_jpegs_are_none_is_read_right(shared_data):
    with (
        open_slide(shared_data / "formats" / "dicom_jcupitt_cmu1") as slide,
        open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as true,
    ):
        assert "declared RGB" in slide.remarks[0]
        area = ((600, 600), (500, 500), (500, 500))
        difference = np.abs(slide.read_area(*area).astype(int) - true.read_area(*area))
    assert difference.mean() < 5


def test_r4_a_dicom_slide_of_rgb_declared_ybr_is_read_right(tmp_path):
    write_dicom(tmp_path / "s.dcm", encoded("RGB"), "YBR_FULL_422")
    with open_slide(tmp_path / "s.dcm") as slide:
        assert np.abs(slide.read_area((8, 8), (32, 32), (32, 32)).astype(int) - PINK[0, 0]).max() < 6
        assert "declared YBR_FULL_422" in slide.remarks[0]


def write_dicom(path, frame, photometric):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = Dataset()
    header.file_meta = meta
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.SeriesInstanceUID, header.Modality = generate_uid(), "SM"
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    header.Rows = header.Columns = header.TotalPixelMatrixRows = header.TotalPixelMatrixColumns = 64
    header.NumberOfFrames, header.SamplesPerPixel, header.PhotometricInterpretation = 1, 3, photometric
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelRepresentation, header.PlanarConfiguration = 7, 0, 0
    header.DimensionOrganizationType = "TILED_FULL"
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    groups.PixelMeasuresSequence = [measures]
    header.SharedFunctionalGroupsSequence = [groups]
    header.PixelData = encapsulate([frame])
    header["PixelData"].VR = "OB"
    header.save_as(path, enforce_file_format=True)


def test_r4_a_tiff_of_rgb_tiles_declared_ycbcr_is_named(tmp_path):
    path = tmp_path / "s.tif"
    image = np.tile(PINK, (4, 4, 1))
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", compression="jpeg",
                     compressionargs={"outcolorspace": "rgb"}, metadata=None,
                     resolution=(20000, 20000), resolutionunit="CENTIMETER")  # fmt: skip
    with open_slide(path) as slide:
        assert np.abs(slide.read_area((8, 8), (32, 32), (32, 32)).astype(int) - PINK[0, 0]).max() < 6
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags["PhotometricInterpretation"].overwrite(6)
    with pytest.raises(SlideError, match="declared YCBCR") as error, open_slide(path):
        pass
    assert "convert" in error.value.remedy


def test_r4_any_level_of_a_series_opens_the_largest(shared_data):
    with open_slide(shared_data / "formats" / "dicom_jcupitt_cmu1" / "level-2-frames-0-4.dcm") as slide:
        assert (slide.width, slide.height) == (2220, 2967)
