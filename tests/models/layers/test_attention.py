"""The fused attention: its two masks together, against mmcv's module, and its dropout."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention as OfMMCV

from mmdet_setdet.models.layers import ConditionalAttention, MultiheadAttention


@pytest.mark.parametrize('masked_pairs', [False, True])
@pytest.mark.parametrize('padded_keys', [False, True])
def test_it_equals_mmcvs_with_either_mask_and_with_both(masked_pairs, padded_keys):
    ours = MultiheadAttention(16, 2, batch_first=True).eval()
    mmcvs = OfMMCV(16, 2, batch_first=True).eval()
    mmcvs.load_state_dict(ours.state_dict())
    query, key = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    masks = {}
    if masked_pairs:
        masks['attn_mask'] = torch.rand(5, 7) < 0.4
        masks['attn_mask'][:, 0] = False
    if padded_keys:
        masks['key_padding_mask'] = torch.arange(7) >= torch.tensor([[7], [3]])
    torch.testing.assert_close(ours(query, key, **masks), mmcvs(query, key, **masks))


@pytest.mark.parametrize(
    ('kind', 'options'), [(MultiheadAttention, dict(batch_first=True)), (ConditionalAttention, {})]
)
def test_weights_are_dropped_in_training_alone(kind, options):
    attention = kind(16, 2, attn_drop=0.5, **options)
    x, pos = torch.randn(2, 1, 5, 16)

    def attend():
        return attention(x, x, query_pos=pos, key_pos=pos)

    attention.train()
    assert (attend() - attend()).abs().max() > 1e-3
    attention.eval()
    assert torch.equal(attend(), attend())
