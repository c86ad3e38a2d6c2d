"""Heads beside the default, one short file each; each says whose idea it is, and where it differs.

linear.py       one linear layer on the mean of the tiles: penalised regression; for bags of one vector
attention.py    attention without a gate
mean_mlp.py     the mean of hidden vectors
max_pool.py     the maximum of each hidden number
mean_sd.py      mean and standard deviation of hidden vectors
additive.py     outputs of tiles, averaged by attention
clam.py         CLAM with one branch and with a branch a class: attention, and a loss on its extreme tiles
dsmil.py        DSMIL: the most telling tile of each class, and attention by likeness to it
transformer.py  exact self-attention between the tiles of capped bags
acmil.py        ACMIL: several branches that shall differ, the strongest tiles masked at random
prototypes.py   a mixture of Gaussians fitted on training tiles, its shares and means per bag, and a linear layer
"""
