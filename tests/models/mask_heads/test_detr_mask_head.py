"""DETR's mask head: equal to the authors', in chunks too, on every DETR, trained along or alone."""

import numpy as np
import pytest
import torch
from golden import panoptic_cases
from helpers.batches import add_masks, ragged_batch
from helpers.configs import MASK_CHANNELS, small_model_cfg
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS

from mmdet_setdet.errors import InputError
from mmdet_setdet.models.mask_heads.image_sizes import ImageSizes
from mmdet_setdet.models.mask_heads.panoptic_fusion import panoptic_map

MASK_HEAD = dict(type='mmdet_setdet.DETRMaskHead', in_channels=MASK_CHANNELS)
FINER = {'backbone.out_indices': (0, 1, 2, 3)}


def build(config='detr_r50_panoptic.py', **changes):
    model = MODELS.build(small_model_cfg(config, **changes))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    return model


def batch_with_masks(**kwargs):
    inputs, samples = ragged_batch(**kwargs)
    add_masks(samples)
    return inputs, samples


def test_equals_the_authors():
    expected = panoptic_cases.load()
    actual = panoptic_cases.ours()
    assert expected['mask_logits'].std() > 0.1
    assert len(np.unique(expected['panoptic'])) > 2, 'one segment would prove nothing'
    for key, value in actual.items():
        if key in ('masks', 'panoptic'):
            np.testing.assert_array_equal(value, expected[key], err_msg=key)
            continue
        atol = 1e-4 * np.abs(expected[key]).max()
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=atol, err_msg=key)


@pytest.mark.parametrize('seed', panoptic_cases.FUSION_SEEDS)
def test_panoptic_map_is_the_authors(seed):
    expected = panoptic_cases.load()[f'fused {seed}']
    np.testing.assert_array_equal(panoptic_cases.fused(seed), expected)


def test_stuff_is_merged_and_things_are_counted():
    logits = torch.full((4, 2, 20), -5.0)
    for mask, columns in enumerate((slice(0, 5), slice(5, 10), slice(10, 15), slice(15, 20))):
        logits[mask, :, columns] = 5.0
    labels = torch.tensor([2, 0, 2, 0])
    sizes = ImageSizes(padded=(2, 20), image=(2, 20), result=(4, 40))
    segments = panoptic_map(logits, labels, num_things=1, void=3, sizes=sizes)
    assert segments.dtype == torch.int32
    assert segments[:, ::10].tolist() == [[2, INSTANCE_OFFSET, 2, 2 * INSTANCE_OFFSET]] * 4


def test_chunks_change_nothing():
    model = build(freeze_detector=False)
    inputs, samples = batch_with_masks()
    results = []
    for chunk_size in (100, 3):
        model.mask_head.chunk_size = chunk_size
        model.zero_grad()
        model.train()
        losses = model.loss(inputs, samples)
        (losses['loss_mask'] + losses['loss_dice']).backward()
        gradient = model.encoder.layers[0].ffn.layers[1].weight.grad.clone()
        with torch.no_grad():
            predicted = model.eval().predict(inputs, samples)
        masks = [sample.pred_instances.masks for sample in predicted]
        maps = [sample.pred_panoptic_seg.sem_seg for sample in predicted]
        results.append((losses['loss_mask'], losses['loss_dice'], gradient, *masks, *maps))
    for whole, chunked in zip(*results):
        torch.testing.assert_close(whole, chunked, rtol=1e-4, atol=1e-7)


OTHERS = {
    'conditional': ('dn_conditional_detr_r50_50e.py', {'neck.in_channels': [128]}),
    'several levels': ('dn_deformable_detr_r50_50e.py', {}),
    'denoising': ('dn_detr_r50_50e.py', {}),
}


@pytest.mark.parametrize('name', OTHERS)
def test_any_detr_gets_masks_by_the_same_option(name):
    config, changes = OTHERS[name]
    model = build(config, mask_head=MASK_HEAD, **FINER, **changes)
    inputs, samples = batch_with_masks()
    losses = model.train().loss(inputs, samples)
    assert losses['loss_dn'] > 0, 'the detector is trained along'
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.mask_head.parameters())
    with torch.no_grad():
        [first, *_] = model.eval().predict(inputs, samples)
    predicted = first.pred_instances
    assert predicted.masks.shape == (len(predicted), 128, 120)
    assert predicted.masks.dtype == torch.bool
    assert 'queries' not in predicted
    assert 'pred_panoptic_seg' not in first


def test_only_the_mask_head_learns_on_a_frozen_detector():
    model = build('dn_detr_r50_instance.py')
    losses = model.train().loss(*batch_with_masks())
    assert 'loss_dn' not in losses, 'denoising would train nothing'
    sum(losses.values()).backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {f'mask_head.{name}' for name, _ in model.mask_head.named_parameters()}


def test_a_batch_without_objects():
    model = build()
    losses = model.train().loss(*batch_with_masks(counts=(0, 0, 0)))
    assert losses['loss_mask'] == losses['loss_dice'] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.mask_head.parameters()), 'DDP waits for each'


def test_results_are_things_and_masks_those_of_wanted_queries():
    model = build()
    inputs, samples = batch_with_masks()
    model.mask_head.panoptic_score = 0.0
    with torch.no_grad():
        model.bbox_head.fc_cls.bias[:80:2] += 3  # some queries are things
        [everything, *_] = model.eval().predict(inputs, samples)
        assert everything.pred_instances.labels.max() < 80
        size = everything.pred_panoptic_seg.sem_seg.shape
        assert size == (1, 128, 120)
        model.mask_head.instance_score = model.mask_head.panoptic_score = 1.0
        [nothing, *_] = model.predict(inputs, samples)
    assert nothing.pred_instances.masks.shape == (0, 128, 120)
    assert (nothing.pred_panoptic_seg.sem_seg == 133).all(), 'void'


def test_errors():
    model = build()
    with pytest.raises(InputError, match='the data has none'):
        model.train().loss(*ragged_batch())
    with pytest.raises(InputError, match='requires a mask_head'):
        build('detr_r50_150e.py', freeze_detector=True)
    with pytest.raises(InputError, match='embed_dims=192'):
        MODELS.build(dict(MASK_HEAD, embed_dims=192))
