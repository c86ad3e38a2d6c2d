"""What heads share: the first layer over bags of any size, block by block, and pooling by attention.

projection.py         the first layer: half-precision tiles cast, clipped and multiplied in blocks that stay in the cache
projected.py          heads on top of it: packs, bags as they are held, bags larger than memory
attention_pooling.py  attention pooling with one or several branches, and its running maximum over blocks
"""
