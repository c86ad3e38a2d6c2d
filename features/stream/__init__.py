"""Tiles read ahead by worker processes, handed over in shared memory.

No torch here nor in what it imports, so that workers start quickly and stay small; pixels are resized for the encoder
and their colours mapped in `device`.

    tile_reader.py  what a reading process does: raw JPEG tiles or regions
    shared_ring.py  shared memory that nothing can leave behind
    tile_stream.py  the worker processes, and their blocks in order
"""
