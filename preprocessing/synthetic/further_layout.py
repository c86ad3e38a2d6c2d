"""Where the further kinds lie on a synthetic slide: red cells, hyaline and myxoid ground, open fat, lumina, pale pieces, shadows.

They are drawn from a generator of their own, so a slide without them has the same bytes as ever, and with them the same
tumour, stroma and glass around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from preprocessing.synthetic.looks import LOOK_ALIKES, SUBTYPES
from preprocessing.synthetic.painter import COARSE_UM, smooth_noise

STREAM = 91  # beside a recipe's seed: the generator of what is laid out and painted here
SCALES_UM = {
    "second_haematoxylin": 120.0,
    "clot": 130.0,
    "red_cells": 100.0,
    "hyaline": 170.0,
    "myxoid": 180.0,
    "open_fat": 260.0,
}
LOOK_ALIKE_UM = 300.0  # patches of benign tissue that looks like a tumour; never in place of one
SCALES_UM |= dict.fromkeys(LOOK_ALIKES, LOOK_ALIKE_UM)
SECOND_UM = 150.0  # patches of a tumour that look like another one
FURTHER = (*SCALES_UM, "lumen", "pale_piece", "shadow", "second_tumour")  # the names of the fields laid out here
LUMEN_EDGE = 0.10  # raggedness of a lumen, as a share of its radius
CLEFT_UM = (100.0, 190.0)  # width; a narrower one is closed as a gap between cells
SHADOW_UM = (110.0, 200.0)  # reach from the scan's edge
SHADOW_GAP_UM = 56.0  # between a shadow and tissue


@dataclass(frozen=True, kw_only=True)
class FurtherKinds:
    """What real slides have beside tumour, stroma, necrosis and fat. Shares are of the tissue; 0: none."""

    clot_share: float = 0.0  # red cells without gaps
    red_cells_share: float = 0.0  # ground strewn with single red cells
    hyaline_share: float = 0.0  # pink, smooth, hardly a nucleus
    myxoid_share: float = 0.0  # pale, faintly fibrillar, few nuclei
    open_fat_share: float = 0.0  # empty cells of about 100 µm, walls of 3 to 4 µm with gaps
    second_haematoxylin_share: float = 0.0  # crushed nuclei and mucin: a purple ground of a colour of its own
    smooth_muscle_share: float = 0.0  # look-alikes (looks.py): benign, on the ground of LMS,
    loose_stroma_share: float = 0.0  # MFS,
    septal_fat_share: float = 0.0  # DDLPS,
    lymphoid_share: float = 0.0  # SS,
    granulation_share: float = 0.0  # UPS
    second_subtype: str = ""  # whose look a part of the tumour has: a mixed or dedifferentiated one
    second_tumour_share: float = 0.0  # of the tumour
    lumen_share: float = 0.0  # clear lumina and clefts, with stray light in them; they are no tissue
    n_pale_pieces: int = 0  # of the pieces, from the left: hardly stained, texture kept
    shadow: float = 0.0  # largest optical density (natural logarithm) of a shadow at the scan's edge

    def __post_init__(self) -> None:
        """Check the ranges."""
        shares = {f"{kind}_share": getattr(self, f"{kind}_share") for kind in (*SCALES_UM, "lumen")}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, got {share}")
        self._check_second()
        total = sum(shares.values()) - self.lumen_share
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of the further kinds are together 1 at most, got {total:g}")
        for name in ("n_pale_pieces", "shadow"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number from 0, got {getattr(self, name)}")

    def _check_second(self) -> None:
        is_set, share = self.second_subtype != "", self.second_tumour_share
        if not 0 <= share <= 1 or is_set != (share > 0) or (is_set and self.second_subtype not in SUBTYPES):
            raise ValueError(
                f"second_subtype, one of {', '.join(SUBTYPES)}, goes with a second_tumour_share of up to 1, "
                f"got {self.second_subtype!r} and {share}"
            )


def lay_out_further(
    kinds: FurtherKinds,
    n_pieces: int,
    tissue: Float32[np.ndarray, "h w"],
    necrosis: Float32[np.ndarray, "h w"],
    tumour: Float32[np.ndarray, "h w"],
    rng: np.random.Generator,
) -> dict[str, Float32[np.ndarray, "h w"]]:
    """Return a coarse field, positive inside, for each kind the slide has; a lumen is to be cut out of the tissue.

    No two kinds overlap, but a pale piece may hold any of them. Necrosis stays as large as it was: survival hangs on it.
    """
    fields = dict[str, Float32[np.ndarray, "h w"]]()
    free = np.minimum(tissue, -necrosis)
    if kinds.lumen_share > 0:
        fields["lumen"] = _lumina(tissue, kinds.lumen_share, rng)
        free = np.minimum(free, -fields["lumen"])
    n_tissue = int((np.minimum(tissue, -fields["lumen"]) > 0).sum()) if "lumen" in fields else int((tissue > 0).sum())
    for kind, scale_um in SCALES_UM.items():
        share = float(getattr(kinds, f"{kind}_share"))
        where = np.minimum(free, -tumour) if kind in LOOK_ALIKES else free
        if share <= 0 or not (where > 0).any():
            continue
        fields[kind] = _patches(where, share * n_tissue, scale_um, rng)
        free = np.minimum(free, -fields[kind])
    inside = np.minimum(free, tumour)
    if kinds.second_tumour_share > 0 and (inside > 0).any():
        fields["second_tumour"] = _patches(inside, kinds.second_tumour_share * (inside > 0).sum(), SECOND_UM, rng)
    if kinds.n_pale_pieces > 0:
        x = np.arange(tissue.shape[1], dtype=np.float32)[None, :]
        fields["pale_piece"] = np.minimum(tissue, tissue.shape[1] * kinds.n_pale_pieces / n_pieces - x - 0.5)
    if kinds.shadow > 0:
        fields["shadow"] = _shadow(tissue, rng)
    return fields


def _patches(
    where: Float32[np.ndarray, "h w"], n_wanted: float, scale_um: float, rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """Return a field that is positive in patches of about this scale, on so many of the pixels where `where` is positive."""
    is_free = where > 0
    noise = smooth_noise(where.shape, scale_um / COARSE_UM, rng)
    level = np.quantile(noise[is_free], 1 - min(n_wanted / is_free.sum(), 1.0))
    return np.minimum((noise - level).astype(np.float32), where)


def _lumina(tissue: Float32[np.ndarray, "h w"], share: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return lumina of 0.3 to 0.6 mm2 and clefts between them, until they cover the share of the tissue."""
    field = np.full(tissue.shape, -1.0, np.float32)
    y, x = np.mgrid[: tissue.shape[0], : tissue.shape[1]].astype(np.float32)
    edge = LUMEN_EDGE * smooth_noise(tissue.shape, 6, rng)
    inside = np.argwhere(tissue > 0)
    n_wanted = share * len(inside)
    for number in range(12):
        if (np.minimum(field, tissue) > 0).sum() >= n_wanted or not len(inside):
            break
        centre_y, centre_x = inside[rng.integers(len(inside))]
        angle = rng.uniform(0, np.pi)
        along = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
        across = -(x - centre_x) * np.sin(angle) + (y - centre_y) * np.cos(angle)
        if number % 2 == 0:  # a lumen
            area = min(rng.uniform(0.32, 0.6) * (1000 / COARSE_UM) ** 2, n_wanted)
            long = np.sqrt(area / np.pi) * rng.uniform(1.0, 1.4)
            across_radius = area / np.pi / long
        else:  # a cleft, bent
            long, across_radius = rng.uniform(250, 450) / COARSE_UM, rng.uniform(*CLEFT_UM) / 2 / COARSE_UM
            across = across + 4 * np.sin(along / 18)
        shape = 1 - np.hypot(along / long, across / across_radius) + edge
        field = np.maximum(field, shape.astype(np.float32))
    return field


def _shadow(tissue: Float32[np.ndarray, "h w"], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return a band along one edge of the scan, of wavy reach, that keeps away from the tissue; in units of 8 µm."""
    from scipy.ndimage import distance_transform_edt

    height, width = tissue.shape
    edge = int(rng.integers(4))
    from_edge = np.mgrid[:height, :width][edge % 2].astype(np.float32)
    if edge >= 2:
        from_edge = from_edge.max() - from_edge
    reach = rng.uniform(*SHADOW_UM) / COARSE_UM * (1 + 0.2 * smooth_noise(tissue.shape, 25, rng))
    to_tissue = distance_transform_edt(tissue <= 0) - SHADOW_GAP_UM / COARSE_UM
    return np.minimum(reach - from_edge, to_tissue).astype(np.float32)
