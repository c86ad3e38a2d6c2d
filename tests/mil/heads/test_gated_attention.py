"""Gated attention over packed bags equals the paper's equation bag by bag."""

import torch

from mil.heads.gated_attention import GatedAttentionHead, GatedAttentionSettings

SETTINGS = GatedAttentionSettings(hidden=16, attention=8, dropout=0.0)


def test_packed_bags_give_what_single_bags_give():
    torch.manual_seed(0)
    head = GatedAttentionHead(SETTINGS, n_inputs=12, n_outputs=3).eval()
    parts = [torch.randn(n, 12) for n in (5, 1, 9)]
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor([5, 1, 9]))
    packed = head(torch.cat(parts), owner, 3)
    for index, part in enumerate(parts):
        hidden = torch.relu(head.project(part))
        gate = torch.tanh(head.tanh_branch(hidden)) * torch.sigmoid(head.gate_branch(hidden))
        weights = torch.softmax(head.score(gate)[:, 0], 0)  # equation 9 of Ilse et al. 2018, written out
        assert torch.allclose(packed[index], head.output((weights[:, None] * hidden).sum(0)), atol=1e-5)
        assert torch.allclose(head.attention(part), weights, atol=1e-6)
        assert torch.allclose(
            head(part.flip(0), torch.zeros(len(part), dtype=torch.int64), 1)[0], packed[index], atol=1e-5
        )
