"""Haematoxylin and eosin densities of tissue as a microscope would meet them, painted at 0.5 µm a pixel.

Ground substance is noise filtered along an orientation field (collagen, fascicles); nuclei are sprites stamped at seeded
places; vacuoles clear what lies under them. Densities are stain amounts: 1 is a well-stained nucleus or muscle fibre.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from preprocessing.synthetic.looks import FAT_LOOK, NECROSIS_LOOK, NUCLEI, STROMA_LOOK, TUMOUR_LOOKS, Look, Nucleus

PAINT_MPP = 0.5  # µm a pixel of everything painted here
COARSE_UM = 8.0  # µm a pixel of a layout
GLASS, STROMA, TUMOUR, NECROSIS, FAT, SECOND_TUMOUR = range(6)  # region codes
TEXTURE_PX = 1024
BLOCK_PX = 128  # what is worked on at once: it stays in the processor's cache
N_ORIENTATIONS = 16
N_VARIANTS = 6


def smooth_noise(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return noise of mean 0 and standard deviation 1 that changes over about `scale_px` pixels."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape).astype(np.float32), scale_px, mode="reflect")
    return ((field - field.mean()) / field.std()).astype(np.float32)


def enlarge(field: Float32[np.ndarray, "h w"], shape: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Resample a coarse field to `shape` (rows, columns), bilinearly."""
    return cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=1)
def fibre_textures() -> Float32[np.ndarray, "orientation n n"]:
    """Return periodic fibre textures at each orientation (mean 0, standard deviation 1), the same in every process."""
    rng = np.random.default_rng(20210607)
    frequency = np.fft.fftfreq(TEXTURE_PX).astype(np.float32)
    spectrum = np.fft.rfft2(rng.standard_normal((TEXTURE_PX, TEXTURE_PX)))
    fy, fx = frequency[:, None], np.abs(frequency[None, : TEXTURE_PX // 2 + 1])
    textures = np.empty((N_ORIENTATIONS, TEXTURE_PX, TEXTURE_PX), dtype=np.float32)
    for index, angle in enumerate(np.arange(N_ORIENTATIONS) * np.pi / N_ORIENTATIONS):
        along = fx * np.cos(angle) + fy * np.sin(angle)
        across = -fx * np.sin(angle) + fy * np.cos(angle)
        coarse = np.exp(-2 * np.pi**2 * ((26 * along) ** 2 + (2.2 * across) ** 2))
        fine = np.exp(-2 * np.pi**2 * ((12 * along) ** 2 + (1.0 * across) ** 2))
        for strength, transfer in ((1.0, coarse), (0.5, fine)):
            texture = np.fft.irfft2(spectrum * transfer, s=(TEXTURE_PX, TEXTURE_PX))
            texture = strength * texture / texture.std()
            textures[index] = texture if strength == 1.0 else textures[index] + texture
        textures[index] /= textures[index].std()
    return textures


@functools.lru_cache(maxsize=1)
def grain_texture() -> Float32[np.ndarray, "n n"]:
    """Return a periodic, fine, directionless texture (mean 0, standard deviation 1)."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(11).standard_normal((TEXTURE_PX, TEXTURE_PX))
    texture = gaussian_filter(noise, 1.1, mode="wrap") + 2.2 * gaussian_filter(noise.T, 3.5, mode="wrap")
    return (texture / texture.std()).astype(np.float32)


@functools.lru_cache(maxsize=256)
def sprites(kind: str, orientation: int) -> tuple[np.ndarray, ...]:
    """Return a few haematoxylin sprites of a nucleus kind at one orientation."""
    nucleus = NUCLEI[kind]
    rng = np.random.default_rng([7, list(NUCLEI).index(kind), orientation])
    return tuple(_sprite(nucleus, orientation * np.pi / N_ORIENTATIONS, rng) for _ in range(N_VARIANTS))


def _sprite(nucleus: Nucleus, angle: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    size = max(0.4, 1 + nucleus.size_spread * rng.standard_normal())
    length, width = nucleus.length_um * size / PAINT_MPP, nucleus.width_um * size / PAINT_MPP
    reach = int(np.ceil(length * (1 + nucleus.irregularity))) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    theta = np.arctan2(across / width, along / length)
    outline = np.ones_like(x)
    for order in (2, 3, 5):
        outline += (
            nucleus.irregularity * rng.normal() * np.cos(order * theta + rng.uniform(0, 2 * np.pi)) / np.sqrt(order)
        )
    radius = np.hypot(along / length, across / width) / np.maximum(outline, 0.35)
    inside = 1 / (1 + np.exp((radius - 1) * min(length, width) * 1.6))  # an edge about one pixel wide
    chromatin = smooth_noise(x.shape, 1.3, rng)
    rim = np.exp(-(((radius - 0.88) / 0.16) ** 2))
    density = nucleus.density * (0.78 + 0.16 * chromatin + 0.25 * rim) * inside
    return np.maximum(density, 0).astype(np.float32)


@dataclass
class Canvas:
    """The two stain densities of a slide while it is painted, and the direction of its fibres (radians)."""

    haematoxylin: Float32[np.ndarray, "h w"]
    eosin: Float32[np.ndarray, "h w"]
    orientation: UInt8[np.ndarray, "h w"]  # index into fibre_textures


def paint(
    regions: UInt8[np.ndarray, "h w"],
    subtype: str,
    *,
    mitotic_density: float,
    rng: np.random.Generator,
    second_subtype: str = "",
) -> Canvas:
    """Paint the regions of a slide.

    Args:
        regions: GLASS, STROMA, TUMOUR, NECROSIS, FAT or SECOND_TUMOUR for each pixel of 0.5 µm.
        subtype: one of SUBTYPES; decides the tumour's look only.
        mitotic_density: 0 (quiet) to 1 (very active); crowds and darkens tumour nuclei and adds mitoses.
        rng: the slide's generator.
        second_subtype: one of SUBTYPES, the look of SECOND_TUMOUR; none where there is no such region.
    """
    canvas = Canvas(
        np.zeros(regions.shape, np.float32), np.zeros(regions.shape, np.float32), np.zeros(regions.shape, np.uint8)
    )
    looks = {STROMA: STROMA_LOOK, TUMOUR: _varied(TUMOUR_LOOKS[subtype], rng), NECROSIS: NECROSIS_LOOK, FAT: FAT_LOOK}
    tumours = {TUMOUR: subtype}
    if second_subtype:
        looks[SECOND_TUMOUR] = _varied(TUMOUR_LOOKS[second_subtype], rng)
        tumours[SECOND_TUMOUR] = second_subtype
    for code, look in looks.items():
        is_here = regions == code
        if is_here.any():
            paint_ground(canvas, is_here, look, rng)
    if (regions == FAT).any():
        clear_vacuoles(canvas, regions == FAT, radius_um=(26, 48), spacing_um=74, rng=rng)
    for code, own in tumours.items():
        if own == "DDLPS":
            clear_vacuoles(canvas, regions == code, radius_um=(9, 32), spacing_um=66, rng=rng)
        if own == "MFS":
            _paint_vessels(canvas, regions == code, rng)
    for code, look in looks.items():
        crowding = 0.75 + 0.6 * mitotic_density if code in tumours else 1.0
        darkness = 0.92 + 0.25 * mitotic_density if code in tumours else 1.0
        for kind, number in look.nuclei:
            stamp_nuclei(canvas, regions == code, kind, number * crowding, darkness, rng)
    for code in tumours:
        stamp_nuclei(canvas, regions == code, "mitosis", 15 + 420 * mitotic_density, 1.0, rng)
    return canvas


def _varied(look: Look, rng: np.random.Generator) -> Look:
    """Return a tumour's look as it is on one slide: no two are alike."""
    return replace(
        look,
        eosin=look.eosin * rng.uniform(0.75, 1.25),
        fibre=look.fibre * rng.uniform(0.6, 1.3),
        turn_um=look.turn_um * rng.uniform(0.7, 1.4),
        nuclei=tuple((kind, number * float(np.exp(rng.normal(0, 0.25)))) for kind, number in look.nuclei),
    )


def paint_ground(canvas: Canvas, is_here: Bool[np.ndarray, "h w"], look: Look, rng: np.random.Generator) -> None:
    """Paint the ground of a look where it is, in place: fibres, slow and fine unevenness."""
    shape = is_here.shape
    step = 16  # coarse fields at 8 µm a pixel
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    turn = look.turn_um / PAINT_MPP / step
    angles = enlarge(smooth_noise(coarse, turn / 2, rng) * 0.9 + np.float32(rng.uniform(0, np.pi)), shape)
    mottles = enlarge(smooth_noise(coarse, 4, rng), shape)
    for block, of_texture in _blocks(is_here):
        here, angle = is_here[block], angles[block]
        rows, columns = of_texture
        grain = grain_texture()[rows, columns]
        if look.is_fascicular:  # bundles that meet at sharp angles, along a ragged line
            angle = np.round(angle * 2.2 + 0.06 * grain) * np.float32(1.1)
        index = np.mod(np.round(angle * np.float32(N_ORIENTATIONS / np.pi)), N_ORIENTATIONS).astype(np.uint8)
        texture = np.take(fibre_textures(), index * np.int32(TEXTURE_PX**2) + (rows * TEXTURE_PX + columns))
        texture *= look.fibre
        texture += look.mottle * mottles[block]
        texture += look.grain * grain
        np.copyto(canvas.orientation[block], index, where=here)
        np.copyto(canvas.eosin[block], np.maximum(look.eosin + texture, 0.02), where=here)
        np.copyto(canvas.haematoxylin[block], np.maximum(look.haematoxylin * (1 + texture), 0), where=here)


def _blocks(
    is_here: Bool[np.ndarray, "h w"],
) -> Iterator[tuple[tuple[slice, slice], tuple[Int32[np.ndarray, "h 1"], Int32[np.ndarray, "1 w"]]]]:
    """Yield small squares where the region has pixels, with their rows and columns in a texture."""
    height, width = is_here.shape
    for top in range(0, height, BLOCK_PX):
        for left in range(0, width, BLOCK_PX):
            block = (slice(top, min(top + BLOCK_PX, height)), slice(left, min(left + BLOCK_PX, width)))
            if is_here[block].any():
                rows, columns = np.ogrid[block]
                yield block, ((rows % TEXTURE_PX).astype(np.int32), (columns % TEXTURE_PX).astype(np.int32))


def places(
    is_here: Bool[np.ndarray, "h w"], spacing_px: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of a jittered grid inside a region: even, never regular."""
    height, width = is_here.shape
    y, x = np.mgrid[0 : height : max(spacing_px, 1.0), 0 : width : max(spacing_px, 1.0)]
    y = (y + rng.uniform(-0.5, 0.5, y.shape) * spacing_px * 0.9).ravel().round().astype(int)
    x = (x + rng.uniform(-0.5, 0.5, x.shape) * spacing_px * 0.9).ravel().round().astype(int)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y, x = y[inside], x[inside]
    kept = is_here[y, x]
    return y[kept], x[kept]


def stamp_nuclei(
    canvas: Canvas,
    is_here: Bool[np.ndarray, "h w"],
    kind: str,
    per_mm2: float,
    darkness: float,
    rng: np.random.Generator,
) -> None:
    """Stamp nuclei of a kind (of NUCLEI) into a region, in place, along its fibres; none over a vacuole."""
    rows, columns = places(is_here, 1000 / np.sqrt(per_mm2) / PAINT_MPP, rng)
    orientation = canvas.orientation[rows, columns].astype(int) + rng.integers(-1, 2, len(rows))
    variants = rng.integers(0, N_VARIANTS, len(rows))
    height, width = is_here.shape
    strength = (darkness * rng.uniform(0.8, 1.15, len(rows))).astype(np.float32)
    # a nucleus does not lie in the middle of a vacuole
    on_ground = canvas.eosin[rows, columns] > 0.04
    stamps = [each.tolist() for each in (rows, columns, orientation, variants, strength, on_ground)]
    for y, x, angle, variant, dark, is_on in zip(*stamps, strict=True):
        sprite = sprites(kind, angle % N_ORIENTATIONS)[variant]
        reach = sprite.shape[0] // 2
        if not is_on or y < reach or x < reach or y + reach >= height or x + reach >= width:
            continue
        view = canvas.haematoxylin[y - reach : y + reach + 1, x - reach : x + reach + 1]
        np.maximum(view, sprite * np.float32(dark), out=view)


def clear_vacuoles(
    canvas: Canvas,
    is_here: Bool[np.ndarray, "h w"],
    *,
    radius_um: tuple[float, float],
    spacing_um: float,
    rng: np.random.Generator,
) -> None:
    """Clear round vacuoles with a thin wall in a region, in place."""
    rows, columns = places(is_here, spacing_um / PAINT_MPP, rng)
    height, width = is_here.shape
    for y, x in zip(rows, columns, strict=True):
        radius = rng.uniform(*radius_um) / PAINT_MPP
        reach = int(radius * 1.3) + 3
        if y < reach or x < reach or y + reach >= height or x + reach >= width:
            continue
        dy, dx = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        squeeze = rng.uniform(0.85, 1.18)
        distance = np.sqrt((dy * squeeze) ** 2 + (dx / squeeze) ** 2).astype(np.float32) - radius
        place = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
        kept = 1 / (1 + np.exp(np.clip(-distance * 1.2, -30, 30)))
        wall = 0.35 * np.exp(-((distance / 2.2) ** 2))
        canvas.eosin[place] = canvas.eosin[place] * kept + wall
        canvas.haematoxylin[place] *= kept


def _paint_vessels(canvas: Canvas, is_here: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> None:
    """Draw the curved, thick-walled vessels of myxofibrosarcoma with nuclei along them."""
    height, width = is_here.shape
    rows, columns = places(is_here, 170 / PAINT_MPP, rng)
    reach = 9
    dy, dx = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    wall = (0.42 * np.exp(-((np.hypot(dy, dx) / 6.5) ** 4))).astype(np.float32)
    for y0, x0 in zip(rows, columns, strict=True):
        angle, turn = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]) / rng.uniform(60, 160)
        n_steps = int(rng.uniform(90, 220) / PAINT_MPP / 4)
        angles = angle + turn * 4 * np.arange(n_steps)
        orientations = np.round(angles / np.pi * N_ORIENTATIONS).astype(int).tolist()
        ys = (y0 + np.cumsum(4 * np.sin(angles))).astype(int)
        xs = (x0 + np.cumsum(4 * np.cos(angles))).astype(int)
        for step, (y, x) in enumerate(zip(ys, xs, strict=True)):
            if not (reach <= y < height - reach and reach <= x < width - reach) or not is_here[y, x]:
                continue
            view = canvas.eosin[y - reach : y + reach + 1, x - reach : x + reach + 1]
            np.maximum(view, wall, out=view)
            if step % 6 == 0:
                sprite = sprites("fibroblast", orientations[step] % N_ORIENTATIONS)[step % N_VARIANTS]
                half = sprite.shape[0] // 2
                if half <= y < height - half and half <= x < width - half:
                    spot = canvas.haematoxylin[y - half : y + half + 1, x - half : x + half + 1]
                    np.maximum(spot, sprite, out=spot)
