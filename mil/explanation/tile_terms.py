"""The contribution of each tile to the outputs of one head.

An output is taken apart as that of a bag of average training tiles (`base`) and a term a tile, whose sum is the output:

- attention pooling with a linear last layer is a weighted sum over tiles: the term is attention x weights . (h - h of an average
  tile), exact (Javed et al. 2022, arXiv 2206.01794, for additive heads; xMIL, Hense et al. 2024, arXiv 2406.04280, on why
  attention itself is none);
- the mean of tiles, the maximum (the tile that decides a hidden number has it) and prototypes are sums too;
- any other head on hidden vectors: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) from average tiles to the
  bag; any head at all: what the output loses without the tile. Their terms need not add up: `residual` is what they miss.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Num
from torch import Tensor

from mil.heads.attention_pooling import AttentionPooledHead
from mil.heads.head import Head, Rows
from mil.heads.library.linear import LinearHead
from mil.heads.library.max_pool import MaxHead
from mil.heads.library.prototypes import PRIOR_TILES, PrototypeHead
from mil.heads.projected import ProjectedHead

EXACT, GRADIENTS, LEFT_OUT = "exact", "integrated gradients", "leave-out"
STEPS = 32  # of integrated gradients, at the nodes of Gauss and Legendre
MOST_LEFT_OUT = 512  # blocks of tiles that are left out in turn
LINEAR = 1e-9  # a last layer that differs by less from its linear part is linear
Terms = tuple[Tensor, Tensor, str]  # a row a tile, base, method


@dataclass(frozen=True)
class TileTerms:
    """The outputs of one head for a bag, taken apart; base + terms + residual = outputs."""

    outputs: Float64[np.ndarray, " out"]
    base: Float64[np.ndarray, " out"]
    terms: Float64[np.ndarray, "tile out"]
    attention: Float64[np.ndarray, " tile"]
    method: str

    @property
    def residual(self) -> Float64[np.ndarray, " out"]:
        """What the terms miss; rounding alone where the method is exact."""
        return self.outputs - self.base - self.terms.sum(axis=0)


def tile_terms(head: Head, tiles: Num[np.ndarray, "tile dim"]) -> TileTerms:
    """Take the outputs of a head for one bag apart, in double precision."""
    exact = copy.deepcopy(head).double().eval()
    bag = torch.from_numpy(tiles)
    with torch.no_grad():
        outputs, attention = exact.of_bag(bag), exact.attention_of_bag(bag)
        found = _exact(exact, bag)
    terms, base, method = found or _approximate(exact, bag)
    return TileTerms(
        outputs=outputs.double().numpy(), base=base.detach().double().numpy(), terms=terms.detach().double().numpy(),
        attention=attention.double().numpy(), method=method,
    )  # fmt: skip


def _exact(head: Head, bag: Float[Tensor, "tile dim"]) -> Terms | None:
    """Return the terms of a head that is a sum over tiles; None for another."""
    if isinstance(head, AttentionPooledHead) and type(head).read_out is AttentionPooledHead.read_out:
        return _pooled(head, bag)
    if isinstance(head, LinearHead):
        terms = head.standardised(bag.to(head.mean.dtype)) @ head.output.weight.T / len(bag)
        return terms, head.output.bias, EXACT
    if isinstance(head, MaxHead):
        return _decided(head, bag)
    return _described(head, bag) if isinstance(head, PrototypeHead) else None


def _average(head: ProjectedHead) -> Float[Tensor, "1 hidden"]:
    """Return the hidden vector of an average training tile."""
    return head.hidden_of([Rows(head.mean[None])])


def _pooled(head: AttentionPooledHead, bag: Float[Tensor, "tile dim"]) -> Terms | None:
    hidden = torch.cat(list(head.hidden_blocks(bag)))
    weights, values = torch.softmax(head.scores(hidden), dim=0), head.values(hidden)
    n_branches, width = weights.shape[1], values.shape[1]
    unit = torch.eye(n_branches * width, dtype=values.dtype).reshape(-1, n_branches, width).permute(1, 0, 2)
    start = head.of_pooled(values.new_zeros((n_branches, 1, width)))[0]
    slopes = (head.of_pooled(unit) - start).reshape(n_branches, width, -1)
    pooled = weights.T @ values
    of_layer, of_slopes = head.of_pooled(pooled[:, None])[0], start + torch.einsum("bh,bho->o", pooled, slopes)
    if float((of_layer - of_slopes).abs().max()) > LINEAR * max(1.0, float(of_layer.abs().max())):
        return None
    average = head.values(_average(head))[0]
    apart = values - average
    terms = torch.stack([weights[:, branch, None] * (apart @ slopes[branch]) for branch in range(n_branches)]).sum(
        dim=0
    )
    return terms, start + torch.einsum("h,bho->o", average, slopes), EXACT


def _decided(head: MaxHead, bag: Float[Tensor, "tile dim"]) -> Terms:
    hidden = torch.cat(list(head.hidden_blocks(bag)))
    average, top = _average(head)[0], hidden.amax(dim=0)
    is_top = (hidden == top).to(hidden.dtype)
    share = is_top / is_top.sum(dim=0)  # tiles alike in a hidden number share it
    return share @ ((top - average)[:, None] * head.output.weight.T), head.output(average), EXACT


def _described(head: PrototypeHead, bag: Float[Tensor, "tile dim"]) -> Terms:
    """Return the terms of a description: shares, and means drawn to the component, both sums over tiles at given shares."""
    own, reference = head.memberships(bag), head.memberships(head.mean[None])

    def said(parts: tuple[Tensor, Tensor], counts: Tensor) -> Tensor:
        belongs, apart = parts
        shares = belongs * belongs.shape[1] / len(bag)
        means = belongs[:, :, None] * apart / (counts + PRIOR_TILES)[:, None]
        return torch.cat([shares, means.reshape(len(belongs), -1)], dim=1) @ head.output.weight.T

    average = said(reference, len(bag) * reference[0][0])[0]
    return said(own, own[0].sum(dim=0)) - average, head.output.bias + len(bag) * average, EXACT


def _approximate(head: Head, bag: Float[Tensor, "tile dim"]) -> Terms:
    if isinstance(head, ProjectedHead):
        try:
            return _gradients(head, bag)
        except NotImplementedError:  # a head of one's own that reads tiles otherwise
            pass
    with torch.no_grad():
        return _left_out(head, bag)


def _gradients(head: ProjectedHead, bag: Float[Tensor, "tile dim"]) -> Terms:
    with torch.no_grad():
        hidden = torch.cat(list(head.hidden_blocks(bag)))
        start = _average(head).expand_as(hidden)
        place = torch.zeros(len(hidden), dtype=torch.int64)
        base = head.read_out(start.clone(), place, 1)[0]
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    terms = hidden.new_zeros((len(hidden), len(base)))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = (start + float(node) * (hidden - start)).requires_grad_()
        outputs = head.read_out(point, place, 1)[0]
        for index, output in enumerate(outputs):
            (slope,) = torch.autograd.grad(output, point, retain_graph=index + 1 < len(outputs))
            terms[:, index] += float(weight) * (slope * (hidden - start)).sum(dim=1)
    return terms, base, GRADIENTS


def _left_out(head: Head, bag: Float[Tensor, "tile dim"]) -> Terms:
    """Return what the output loses without each tile, or, of large bags, without each of some hundred blocks, shared in it."""
    base, whole = head.of_bag(head.mean[None]), head.of_bag(bag)
    terms = whole.new_zeros((len(bag), len(whole)))
    for rows in torch.tensor_split(torch.arange(len(bag)), min(len(bag), MOST_LEFT_OUT)):
        is_kept = torch.ones(len(bag), dtype=torch.bool)
        is_kept[rows] = False
        without = head.of_bag(bag[is_kept]) if is_kept.any() else base
        terms[rows] = (whole - without) / len(rows)
    return terms, base, LEFT_OUT
