"""Delivered pixels to the network's: resized to the tile's pixels, colours mapped, resized and cropped for the encoder.

Everything runs on batches of uint8 on the device that embeds. On a CPU PyTorch's antialiased kernel gives Pillow's pixels
to within one grey level, five times faster. Colours are looked up in a table of all 256^3, made once a slide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from features.device.colour_tables import table_of
from features.encoder.card import EncoderCard
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.colour_map import TABLE_PAYS_PX, apply_map
from preprocessing.colour.optical_density import OD_BACKGROUND, log_tables
from preprocessing.colour.stain import StainFit
from preprocessing.colour.stain_augmentation import stain_basis, stain_jitter


@dataclass(frozen=True, kw_only=True)
class StainVariation:
    """A copy of tiles in varied stains: whose, which copy, how strongly; `rows` are the tiles' numbers on the slide."""

    slide_id: str
    stains: StainFit
    copy: int
    strength: float
    rows: Int[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How delivered pictures become tiles: the box (right, bottom) that is the tile, its colour map, its variation."""

    tile_px: int
    box_px: tuple[float, float]
    colour: StainMap | None = None
    n_tiles: int = 0  # of the slide: from some number on a table of its colours pays
    variation: StainVariation | None = None

    @property
    def is_to_size(self) -> bool:
        """Whether the pictures are the tiles already."""
        return self.box_px == (self.tile_px, self.tile_px)

    def part(self, start: int, stop: int) -> Preparation:
        """Return the preparation of some of the tiles."""
        if self.variation is None:
            return self
        return replace(self, variation=replace(self.variation, rows=self.variation.rows[start:stop]))


def prepared(tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None) -> UInt8[np.ndarray, "n px px 3"]:
    """Bring delivered pictures to the tile's pixels and the reference's colours, on the CPU."""
    if how is None:
        return tiles
    if not how.is_to_size:
        tiles = np.ascontiguousarray(resized(torch.from_numpy(tiles), how.box_px, how.tile_px).numpy())
    if how.colour is not None:
        pays = how.n_tiles * how.tile_px**2 >= TABLE_PAYS_PX
        tiles = apply_map(tiles, how.colour, table=table_of(how.colour).numpy().view(np.uint32) if pays else None)
    return tiles if how.variation is None else varied(torch.from_numpy(tiles), how.variation).numpy()


def resized(
    tiles: UInt8[torch.Tensor, "n h w 3"], box_px: tuple[float, float], side_px: int, mode: str = "bilinear"
) -> UInt8[torch.Tensor, "n px px 3"]:
    """Resize the box from the top left corner to (right, bottom) of each picture to a square, antialiased.

    Args:
        tiles: pictures; all of the box lies on them.
        box_px: right and bottom edge of the box, pixels.
        side_px: side of the result.
        mode: "bilinear" or "bicubic".
    """
    planes = tiles.permute(0, 3, 1, 2)
    if planes.shape[3] == side_px:  # PyTorch copies where the sizes agree, whatever the box; the edge added lies off it
        planes = torch.cat([planes, planes[:, :, :, -1:]], dim=3)
    if planes.shape[2] == side_px:
        planes = torch.cat([planes, planes[:, :, -1:]], dim=2)
    if tiles.device.type == "cpu":
        return _kernel(planes, box_px, side_px, mode).permute(0, 2, 3, 1)
    return _resized_in_float(planes, box_px, side_px, mode).permute(0, 2, 3, 1)


def _resized_in_float(planes: torch.Tensor, box_px: tuple[float, float], side_px: int, mode: str) -> torch.Tensor:
    """Return the same where the device has no kernel for uint8 (a GPU)."""
    return _kernel(planes.float(), box_px, side_px, mode).round_().clamp_(0, 255).to(torch.uint8)


def _kernel(planes: torch.Tensor, box_px: tuple[float, float], side_px: int, mode: str) -> torch.Tensor:
    ops = torch.ops.aten
    kernel = {"bilinear": ops._upsample_bilinear2d_aa, "bicubic": ops._upsample_bicubic2d_aa}[mode].default
    return kernel(planes, [side_px, side_px], False, side_px / box_px[1], side_px / box_px[0])


def field_of_encoder(tiles: UInt8[np.ndarray, "n h w 3"], card: EncoderCard) -> UInt8[np.ndarray, "n px px 3"]:
    """Resize and crop tiles to what the encoder wants to see, on the CPU."""
    if card.input_px is None or (card.resize_px is None and tiles.shape[1] == card.input_px):
        return tiles
    return np.ascontiguousarray(encoder_field(torch.from_numpy(np.ascontiguousarray(tiles)), card).numpy())


def encoder_field(tiles: UInt8[torch.Tensor, "n h w 3"], card: EncoderCard) -> UInt8[torch.Tensor, "n px px 3"]:
    """Resize square tiles and crop their centre as the encoder's own transform does."""
    if card.input_px is None:
        return tiles
    side = card.resize_px or card.input_px
    if tiles.shape[1] != side:
        tiles = resized(tiles, (tiles.shape[2], tiles.shape[1]), side, card.interpolation)
    edge = (side - card.input_px) // 2
    return tiles[:, edge : edge + card.input_px, edge : edge + card.input_px]


def table_for(how: Preparation | None, device: torch.device) -> Int[torch.Tensor, " colours"] | None:
    """Return the table that `on_device` needs; None where no colours are mapped."""
    return None if how is None or how.colour is None else table_of(how.colour, str(device))


def on_device(
    tiles: UInt8[torch.Tensor, "n h w 3"], how: Preparation | None, table: Int[torch.Tensor, " colours"] | None
) -> UInt8[torch.Tensor, "n px px 3"]:
    """Do what `prepared` does, on the device where the tiles are; `table` is that of `table_for`."""
    if how is None:
        return tiles
    if not how.is_to_size:
        tiles = resized(tiles, how.box_px, how.tile_px)
    if table is not None:
        tiles = looked_up(tiles, table)
    return tiles if how.variation is None else varied(tiles, how.variation)


def looked_up(
    tiles: UInt8[torch.Tensor, "n h w 3"], table: Int[torch.Tensor, " colours"]
) -> UInt8[torch.Tensor, "n h w 3"]:
    """Take every pixel's entry of a `colour_table`."""
    red, green, blue = tiles.int().unbind(-1)
    entries = table[(red + (green << 8) + (blue << 16)).long()]
    return torch.stack([entries & 255, entries >> 8 & 255, entries >> 16 & 255], dim=-1).to(torch.uint8)


def varied(tiles: UInt8[torch.Tensor, "n h w 3"], how: StainVariation) -> UInt8[torch.Tensor, "n h w 3"]:
    """Scale and shift each tile's stains by its own jitter: `preprocessing.colour.stain_augmentation.augment_stains`, batched."""
    white = how.stains.glass
    tables = torch.from_numpy(log_tables(white)).to(tiles.device)
    density = torch.stack([tables[channel][tiles[..., channel].long()] for channel in range(3)], dim=-1)
    share = (density.amax(dim=-1, keepdim=True) * (2 / OD_BACKGROUND) - 1).clamp(0, 1)
    jitters = [stain_jitter(how.slide_id, row, copy=how.copy, strength=how.strength) for row in how.rows.tolist()]
    jitters += [(np.ones(3), np.zeros(3))] * (len(tiles) - len(jitters))  # of tiles that only fill up a batch
    factors, shifts = (_per_tile([one[index] for one in jitters], tiles.device) for index in (0, 1))
    basis = stain_basis(how.stains)
    mix, unmix = (torch.tensor(m, dtype=torch.float32, device=tiles.device) for m in (basis, np.linalg.inv(basis)))
    moved = density + share * (((density @ unmix) * factors + shifts) @ mix - density)
    light = (torch.tensor(white, device=tiles.device) + 1) * torch.exp(-moved) - 1
    return torch.where(share == 0, tiles, (light + 0.5).clamp(0, 255).to(torch.uint8))


def _per_tile(values: list[np.ndarray], device: torch.device) -> Float[torch.Tensor, "n 1 1 3"]:
    return torch.tensor(np.array(values), dtype=torch.float32, device=device)[:, None, None, :]
