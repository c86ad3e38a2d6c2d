"""Slides to tiles: reading, tissue, tile grid, stain fit, and the synthetic study with known truth."""
