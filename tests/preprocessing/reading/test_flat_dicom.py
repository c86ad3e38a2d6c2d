"""DICOM that OpenSlide refuses: every coding gives the pixels written, frames lie where they say, faults are named."""

import warnings

import imagecodecs
import numpy as np
import openslide
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import apply_windowing, convert_color_space, pixel_array
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from common.failures import SlideError
from common.slide_files import dicom_series
from preprocessing.reading import flat_dicom
from preprocessing.reading.dicom_frames import FrameKind, read_frame
from preprocessing.reading.flat_dicom import FlatDicom
from preprocessing.reading.handles import open_handle
from preprocessing.reading.slide import open_slide
from preprocessing.reading.survey import survey_slide

RNG = np.random.default_rng(0)
WIDTH, HEIGHT, SIDE = 50, 37, 16
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 4096, (HEIGHT, WIDTH, 1), dtype=np.uint16)  # 12 bits


def frames_of(image):
    """Cut into frames row by row, the last ones filled with zeros."""
    padded = np.pad(image, ((0, -HEIGHT % SIDE), (0, -WIDTH % SIDE), (0, 0)))
    return [
        padded[top : top + SIDE, left : left + SIDE] for top in range(0, HEIGHT, SIDE) for left in range(0, WIDTH, SIDE)
    ]


def dicom(path, frames, *, syntax=ExplicitVRLittleEndian, encode=None, table=True, **elements):
    """Write frames as a whole-slide file; without ImageType, which OpenSlide refuses."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = flat_dicom.WHOLE_SLIDE, syntax
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    image, n_samples, bits = Dataset(), frames[0].shape[2], 8 * frames[0].itemsize
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = flat_dicom.WHOLE_SLIDE, "1.2.3", "1.2"
    image.Rows, image.Columns, image.NumberOfFrames = SIDE, SIDE, len(frames)
    image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns = HEIGHT, WIDTH
    image.SamplesPerPixel, image.BitsAllocated = n_samples, bits
    image.PixelRepresentation, image.PlanarConfiguration = 0, 0
    image.PhotometricInterpretation = "RGB" if n_samples == 3 else "MONOCHROME2"
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005, 0.00025]  # rows, columns
    shared.PixelMeasuresSequence, image.SharedFunctionalGroupsSequence = [measures], [shared]
    image.BitsStored = 8 if bits == 8 else 12
    for name, value in elements.items():
        setattr(image, name, value)
    image.HighBit = image.BitsStored - 1
    if encode is None:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        image.PixelData = b"".join(frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in frames)
    elif table == "extended":
        image.PixelData, image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths = encapsulate_extended(
            [encode(frame) for frame in frames]
        )
    else:
        image.PixelData = encapsulate([encode(frame) for frame in frames], has_bot=table)
    image["PixelData"].VR = "OW" if bits == 16 else "OB"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save_as(path, enforce_file_format=True)
    return path


def test_a_frame_takes_its_own_bytes_of_the_file_and_no_more(tmp_path):
    """A whole slide has thousands of frames: what lies before the frame's place is not its length."""

    frames = frames_of(RGB)
    kind = FrameKind(
        syntax=ExplicitVRLittleEndian, width=SIDE, height=SIDE, n_samples=3, bits_allocated=8, bits_stored=8,
        photometric="RGB", planar=0, window=None,
    )  # fmt: skip
    path, size = tmp_path / "frames", 3 * SIDE * SIDE
    path.write_bytes(b"".join(frame.tobytes() for frame in frames))
    with path.open("rb") as file:
        assert np.array_equal(read_frame(file, (2 * size, 3 * size), kind), frames[2])
        assert file.tell() == 3 * size


def pixels_of(path):
    with open_slide(path) as slide:
        assert slide.reader == "pydicom"
        assert (slide.mpp_x, slide.mpp_y, slide.mpp_source) == (0.25, 0.5, "file")
        return slide.read_area((0, 0), (slide.width, slide.height), (slide.width, slide.height))


def rle(frame):
    return RLELosslessEncoder.encode(
        frame.tobytes(), rows=SIDE, columns=SIDE, number_of_frames=1, samples_per_pixel=frame.shape[2],
        bits_allocated=8 * frame.itemsize, bits_stored=8 if frame.itemsize == 1 else 12, pixel_representation=0,
        photometric_interpretation="RGB" if frame.shape[2] == 3 else "MONOCHROME2", planar_configuration=0,
    )  # fmt: skip


def j2k(frame, **options):
    return imagecodecs.jpeg2k_encode(frame.squeeze(), level=0, reversible=True, codecformat="j2k", **options)


CODINGS = {
    "explicit": (ExplicitVRLittleEndian, None),
    "implicit": (ImplicitVRLittleEndian, None),
    "big-endian": (ExplicitVRBigEndian, None),
    "RLE": (RLELossless, rle),
    "JPEG-LS": (JPEGLSLossless, lambda frame: imagecodecs.jpegls_encode(frame.squeeze())),
    "JPEG 2000": (JPEG2000Lossless, j2k),
    "HTJ2K": (HTJ2KLossless, lambda frame: imagecodecs.htj2k_encode(frame.squeeze(), reversible=True)),
    "lossless JPEG": (JPEGLosslessSV1, lambda frame: imagecodecs.ljpeg_encode(frame.squeeze(), bitspersample=12)),
}


@pytest.mark.parametrize("coding", [name for name in CODINGS if name != "lossless JPEG"])
def test_every_coding_gives_the_colours_written(tmp_path, coding):
    syntax, encode = CODINGS[coding]
    assert (pixels_of(dicom(tmp_path / "s.dcm", frames_of(RGB), syntax=syntax, encode=encode)) == RGB).all()


@pytest.mark.parametrize("coding", CODINGS)
def test_deep_grey_keeps_its_high_bits(tmp_path, coding):
    syntax, encode = CODINGS[coding]
    if coding == "JPEG 2000":
        encode = lambda frame: j2k(frame, bitspersample=12)  # noqa: E731
    found = pixels_of(dicom(tmp_path / "s.dcm", frames_of(DEEP), syntax=syntax, encode=encode))
    assert (found == np.repeat(DEEP >> 4, 3, axis=2)).all()


@pytest.mark.parametrize("table", [True, False, "extended"])
def test_frames_are_found_with_and_without_an_offset_table(tmp_path, table):
    path = dicom(tmp_path / "s.dcm", frames_of(RGB), syntax=RLELossless, encode=rle, table=table)
    assert (pixels_of(path) == RGB).all()


def test_jpeg_decodes_as_pydicom_does_and_ybr_becomes_rgb(tmp_path):
    smooth = np.broadcast_to(np.linspace(60, 200, WIDTH)[None, :, None] * [1, 0.5, 0.8], RGB.shape).astype(np.uint8)
    path = dicom(tmp_path / "s.dcm", frames_of(smooth), syntax=JPEGBaseline8Bit, encode=imagecodecs.jpeg_encode,
                 PhotometricInterpretation="YBR_FULL_422")  # fmt: skip
    found = pixels_of(path)
    for index, frame in enumerate(pixel_array(path)[:3]):
        assert (found[:SIDE, index * SIDE : (index + 1) * SIDE] == frame).all()
    assert np.abs(found[:32, :48].astype(int) - smooth[:32, :48]).max() < 30


def test_ybr_in_jpeg_ls_becomes_rgb_as_pydicom_converts_it(tmp_path):
    path = dicom(tmp_path / "s.dcm", frames_of(RGB), syntax=JPEGLSLossless, encode=imagecodecs.jpegls_encode,
                 PhotometricInterpretation="YBR_FULL")  # fmt: skip
    assert (pixels_of(path) == convert_color_space(RGB, "YBR_FULL", "RGB")).all()


def test_grey_that_is_white_at_zero_is_inverted(tmp_path):
    path = dicom(tmp_path / "s.dcm", frames_of(DEEP), PhotometricInterpretation="MONOCHROME1")
    assert (pixels_of(path)[..., 0] == 255 - (DEEP[..., 0] >> 4)).all()


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
def test_a_stored_window_is_applied_as_pydicom_does(tmp_path, function):
    window = {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": function}
    found = pixels_of(dicom(tmp_path / "s.dcm", frames_of(DEEP), **window))[..., 0]
    shown = Dataset()
    shown.update(dict(window, PhotometricInterpretation="MONOCHROME2", BitsStored=12, PixelRepresentation=0))
    wanted = apply_windowing(DEEP[..., 0], shown) / 4095 * 255
    assert np.abs(found - wanted).max() <= 1
    assert len(np.unique(found)) > 100


def test_sparse_frames_lie_at_their_positions_and_the_rest_is_ground(tmp_path):
    corners = [(32, 16), (0, 0), (5, 21)]  # in no order, one off the grid
    groups = []
    for left, top in corners:
        place, group = Dataset(), Dataset()
        place.ColumnPositionInTotalImagePixelMatrix, place.RowPositionInTotalImagePixelMatrix = left + 1, top + 1
        group.PlanePositionSlideSequence = [place]
        groups.append(group)
    frames = [RGB[top : top + SIDE, left : left + SIDE] for left, top in corners]
    described = {"PerFrameFunctionalGroupsSequence": groups, "DimensionOrganizationType": "TILED_SPARSE"}
    wanted = np.full_like(RGB, 255)
    for (left, top), frame in zip(corners, frames, strict=True):
        wanted[top : top + SIDE, left : left + SIDE] = frame
    assert (pixels_of(dicom(tmp_path / "s.dcm", frames, **described)) == wanted).all()
    groups[1].PlanePositionSlideSequence = groups[0].PlanePositionSlideSequence
    with pytest.raises(SlideError, match="3 frames at 2 positions"):
        open_handle(dicom(tmp_path / "s.dcm", frames, **described))


def test_areas_across_frames_and_off_the_image_equal_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(flat_dicom, "CACHE_BYTES", 3 * SIDE * SIDE * 3)
    handle = FlatDicom(dicom(tmp_path / "s.dcm", frames_of(RGB)))
    found = np.asarray(handle.read_region((-4, 10), 0, (70, 40)))
    assert (found[:27, 4:54, :3] == RGB[10:]).all()
    assert (found[:27, 4:54, 3] == 255).all()
    assert found[..., 3].sum() == 255 * 27 * 50
    assert len(handle._frames) == 3
    handle.close()


def test_a_broken_frame_is_marked_and_the_rest_is_read(tmp_path):
    frames = [
        np.pad(RGB, ((0, 11), (0, 14), (0, 0)))[y : y + 16, x : x + 16] for y in (0, 16, 32) for x in range(0, 50, 16)
    ]
    codes = [imagecodecs.jpegls_encode(frame) for frame in frames]
    codes[5] = b"\xff\xd8" + b"no JPEG " * 5
    supply = iter(codes)
    path = dicom(tmp_path / "s.dcm", frames, syntax=JPEGLSLossless, encode=lambda _: next(supply))
    with open_slide(path) as slide:
        survey = survey_slide(slide, 0.5)
        with pytest.raises(SlideError, match="cannot be read") as error:
            slide.read_area((16, 16), (16, 16), (16, 16))
    assert "frame 5 of s.dcm" in str(error.value)
    assert survey.is_unreadable.any()
    assert not survey.is_unreadable.all()


def test_a_truncated_file_loses_only_what_is_missing(tmp_path):
    path = dicom(tmp_path / "s.dcm", frames_of(RGB))
    path.write_bytes(path.read_bytes()[: -2 * SIDE * SIDE * 3])
    handle = FlatDicom(path)
    assert (np.asarray(handle.read_region((0, 0), 0, (50, 32)))[..., :3] == RGB[:32]).all()
    with pytest.raises(SlideError, match=r"frame 10 of s\.dcm cannot be read .the file ends within it"):
        handle.read_region((40, 33), 0, (4, 4))
    handle.close()


FAULTS = {
    "signed": ({"PixelRepresentation": 1}, "kind that is not read.*signed"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "kind that is not read"),
    "sigmoid": ({"WindowCenter": 9, "WindowWidth": 9, "VOILUTFunction": "SIGMOID"}, "window of form SIGMOID"),
    "planes": ({"TotalPixelMatrixRows": 16}, "12 frames where its image takes 4 x 1"),
    "part": ({"ConcatenationUID": "1.2.4"}, "part of a concatenation"),
    "label": ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "is the label of a slide"),
    "other": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "no whole-slide image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_read_is_named(tmp_path, fault):
    elements, message = FAULTS[fault]
    path = dicom(tmp_path / "s.dcm", frames_of(DEEP), **elements)
    with pytest.raises(SlideError, match=message):
        open_handle(path)
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(SlideError, match=r"text\.dcm is not readable as DICOM"):
        open_handle(tmp_path / "text.dcm")


def test_the_largest_image_of_a_folder_is_taken(tmp_path):
    large = dicom(tmp_path / "a.dcm", frames_of(RGB), syntax=RLELossless, encode=lambda _: rle(frames_of(RGB * 0)[0]))
    small = dicom(tmp_path / "b.dcm", frames_of(RGB)[:1], TotalPixelMatrixRows=16, TotalPixelMatrixColumns=16)
    small.write_bytes(small.read_bytes() + bytes(99_999))
    assert flat_dicom.largest_instance([small, large]) == large
    handle = open_handle(tmp_path)
    assert handle.dimensions == (WIDTH, HEIGHT)
    handle.close()
    large.rename(tmp_path / "A.DCM")  # as scanners name it on other systems
    small.rename(tmp_path / ".b.dcm")
    handle = open_handle(tmp_path)
    assert handle.dimensions == (WIDTH, HEIGHT)
    handle.close()


def test_shared_files_are_read_as_openslide_and_pydicom_read_them(shared_data):
    formats = shared_data / "formats"
    for name in ("dicom_google/camelyon_jp2k", "dicom_google/camelyon_jpeg", "dicom_highdicom/sm_image"):
        path = formats / f"{name}.dcm"
        ours, theirs = FlatDicom(path), openslide.OpenSlide(path)
        assert ours.dimensions == theirs.dimensions
        assert float(ours.properties["openslide.mpp-x"]) == pytest.approx(float(theirs.properties["openslide.mpp-x"]))
        pixels = [np.asarray(slide.read_region((0, 0), 0, ours.dimensions)) for slide in (ours, theirs)]
        assert np.abs(pixels[0].astype(int) - pixels[1]).max() <= 1
        ours.close()
        theirs.close()
    handles = [open_handle(formats / "dicom_highdicom" / f"sm_image_{name}.dcm") for name in ("jpegls", "grayscale")]
    with openslide.OpenSlide(formats / "dicom_highdicom" / "sm_image.dcm") as same:
        wanted = np.asarray(same.read_region((0, 0), 0, (50, 50)))
    assert (np.asarray(handles[0].read_region((0, 0), 0, (50, 50))) == wanted).all()
    assert handles[1].dimensions == (50, 50)
    for handle in handles:
        handle.close()
    with open_slide(formats / "dicom_pathml" / "small_dicom.dcm", mpp=(0.5, 0.5)) as slide:
        assert (slide.width, slide.height) == (3236, 2638)
        area = slide.read_area((1000, 1000), (500, 500), (500, 500))
        assert not survey_slide(slide, 8.0).is_unreadable.any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its header says RGB, its JPEG says YBR
        assert (area == pixel_array(formats / "dicom_pathml" / "small_dicom.dcm", index=16)).all()
    with pytest.raises(SlideError, match="mpp"), open_slide(formats / "dicom_pathml" / "small_dicom.dcm"):
        pass


@pytest.mark.parametrize("kind", [b"WI", b"Up", b"K\xec"])
def test_s6_a_dicom_header_of_which_pydicom_raises_anything_stands_alone_and_is_refused_by_name(tmp_path, kind):
    for name in "ab":
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = "1.2.3.4"
        header.file_meta.TransferSyntaxUID, header.SeriesInstanceUID = ExplicitVRLittleEndian, "1.2.3"
        header.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    content = (tmp_path / "b.dcm").read_bytes()
    assert content.count(b"\x20\x00\x0e\x00UI") == 1
    (tmp_path / "b.dcm").write_bytes(content.replace(b"\x20\x00\x0e\x00UI", b"\x20\x00\x0e\x00" + kind))
    series = dicom_series([tmp_path / "a.dcm", tmp_path / "b.dcm"])
    assert [[path.name for path in members] for _, members in series] == [["a.dcm"], ["b.dcm"]]
    with pytest.raises(SlideError, match=r"b\.dcm"):
        open_handle(tmp_path / "b.dcm")
