"""Heads: packed bags of embeddings to one output vector a patient, by name.

What a head is trained for, and by which loss, stands in `training`.

    head.py             the contract: packed tiles in, outputs and attention out, standardisation inside
    segments.py         operations inside the bags of a pack
    gated_attention.py  gated attention pooling, the default
    registry.py         name to head and its own settings; made from a run's settings, rebuilt from a model file
"""
