"""Delivered pixels to the network's: resized to the tile's pixels, colours mapped, resized and cropped for the encoder.

Everything runs on batches of uint8 on the device that embeds. On a CPU PyTorch's antialiased kernel gives Pillow's pixels
to within one grey level, five times faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from features.encoder import EncoderCard
from preprocessing.stain import OD_BACKGROUND, StainMap, apply_map


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How delivered pictures become tiles: the box (right, bottom) that is the tile, its colour map, which copy it is."""

    tile_px: int
    box_px: tuple[float, float]
    colour: StainMap | None = None
    copy: int = 0  # 0: as it is; from 1: in colours varied by that number

    @property
    def is_to_size(self) -> bool:
        """Whether the pictures are the tiles already."""
        return self.box_px == (self.tile_px, self.tile_px)


def prepared(tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None) -> UInt8[np.ndarray, "n px px 3"]:
    """Bring delivered pictures to the tile's pixels and the reference's colours, on the CPU."""
    if how is None:
        return tiles
    if not how.is_to_size:
        tiles = np.ascontiguousarray(resized(torch.from_numpy(tiles), how.box_px, how.tile_px).numpy())
    return tiles if how.colour is None else apply_map(tiles, how.colour)


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


def on_device(tiles: UInt8[torch.Tensor, "n h w 3"], how: Preparation | None) -> UInt8[torch.Tensor, "n px px 3"]:
    """Do what `prepared` does, on the device where the tiles are."""
    if how is None:
        return tiles
    if not how.is_to_size:
        tiles = resized(tiles, how.box_px, how.tile_px)
    return tiles if how.colour is None else mapped(tiles, how.colour)


def mapped(tiles: UInt8[torch.Tensor, "n h w 3"], to_target: StainMap) -> UInt8[torch.Tensor, "n h w 3"]:
    """Apply a colour map by arithmetic in float32, the formula of `preprocessing.stain.apply_map`."""
    glass = torch.tensor(to_target.glass, dtype=torch.float64, device=tiles.device)
    values = torch.arange(256, dtype=torch.float64, device=tiles.device)
    tables = (torch.log(glass[:, None] + 1) - torch.log(values[None] + 1)).clamp_min(0).float()
    density = torch.stack([tables[channel][tiles[..., channel].long()] for channel in range(3)], dim=-1)
    share = (density.amax(dim=-1, keepdim=True) * (2 / OD_BACKGROUND) - 1).clamp(0, 1)
    matrix = torch.tensor(to_target.matrix, dtype=torch.float32, device=tiles.device)
    moved = density + (density @ matrix - density) * share
    return (torch.exp(-moved) * 256 - 0.5).clamp(0, 255).to(torch.uint8)
