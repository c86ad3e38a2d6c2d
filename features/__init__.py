"""Tiles to embeddings: a frozen CNN, its runtimes, the tile stream and the feature files."""
