"""Operations inside the bags of a pack equal those on each bag alone."""

import torch

from mil.heads.segments import segment_softmax


def test_segment_softmax_equals_softmax_bag_by_bag():
    scores, sizes = torch.randn(11) * 50, [3, 1, 7]
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    expected = torch.cat([torch.softmax(part, 0) for part in torch.split(scores, sizes)])
    assert torch.allclose(segment_softmax(scores, owner, 3), expected, atol=1e-6)
