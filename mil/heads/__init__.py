"""Heads: packed bags of embeddings to one output vector a patient, by name.

What a head is trained for, and by which loss, stands in `training`. Heads beside the default stand in `library`.

    head.py               the contract: packed tiles in, outputs and attention out, standardisation inside
    projection.py         the first layer: half-precision tiles cast, clipped and multiplied in blocks that stay in the cache
    projected.py          heads on top of it: packs, bags as they are held, bags larger than memory
    principal_axes.py     where training tiles differ most: a first layer begins there
    attention_pooling.py  attention pooling with one or several branches, and its running maximum over blocks
    even_attention.py     attention that starts near the mean of the tiles: a loss on how uneven it is
    gate.py               gated attention scores, for the heads that have them
    segments.py           operations inside the bags of a pack
    gated_attention.py    gated attention pooling, the default
    registry.py           name to head and its own settings; made from a run's settings, rebuilt from a model file
"""
