"""Networks from a bag of embeddings to a prediction.

What a head is trained for, and by which loss, stands in `training`.

    head.py             what every head shares
    segments.py         operations inside the bags of a pack
    gated_attention.py  gated attention over packed bags
"""
