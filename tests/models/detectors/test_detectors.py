"""DETR and DN-DETR as a whole: a training step, results in pixels, padding, mixed precision, reads from the host."""

import pytest
import torch
from benchmarks.models import perturb_weights
from helpers.batches import ragged_batch, random_samples
from helpers.configs import small_model_cfg
from helpers.host_reads import HostReads
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmdet.registry import MODELS

SINGLE_LEVEL = ['detr_r50_150e.py', 'dn_detr_r50_50e.py']
NAMES = [*SINGLE_LEVEL, 'dn_deformable_detr_r50_50e.py', 'dn_deformable_detr_encoder_r50_50e.py']
LOSSES = {'loss_cls', 'loss_bbox', 'loss_iou', 'loss_aux'}


def small_model(name, awake=True, **changes):
    model = MODELS.build(small_model_cfg(name, **changes))
    model.init_weights()
    return perturb_weights(model) if awake else model


@pytest.mark.parametrize('name', NAMES)
def test_a_training_step_reaches_every_parameter(name):
    model = small_model(name)
    model.train()
    inputs, samples = ragged_batch()
    losses = model(inputs, samples, mode='loss')
    assert losses.keys() == (LOSSES | {'loss_dn'} if name.startswith('dn') else LOSSES)
    assert all(loss.isfinite() and loss > 0 and loss.dim() == 0 for loss in losses.values())
    sum(losses.values()).backward()
    silent = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    frozen = {
        key
        for key in dict(model.named_parameters())
        if key.startswith(('backbone.conv1', 'backbone.layer1'))
    }
    assert silent == frozen


def test_detr_without_objects_trains():
    model = small_model('detr_r50_150e.py')
    inputs, samples = ragged_batch((0, 0, 0))
    losses = model.loss(inputs, samples)
    assert losses['loss_cls'] > 0
    assert losses['loss_bbox'] == 0
    assert losses['loss_iou'] == 0
    sum(losses.values()).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all()
        for p in model.parameters()
        if p.requires_grad
    )


@pytest.mark.parametrize('name', NAMES)
def test_results_are_in_pixels_of_the_original_image(name):
    model = small_model(name, **{'test_cfg.max_per_img': 15})
    model.eval()
    inputs, samples = ragged_batch()
    for sample, scale in zip(samples, [(2.0, 0.5), (0.25, 0.25), (1.0, 1.0)]):
        height, width = sample.img_shape
        sample.set_metainfo(
            dict(scale_factor=scale, ori_shape=(round(height / scale[1]), round(width / scale[0])))
        )
    with torch.no_grad():
        scaled = model.predict(inputs, [sample.clone() for sample in samples], rescale=False)
        results = model.predict(inputs, [sample.clone() for sample in samples])
    for sample, before, after in zip(samples, scaled, results):
        assert after.pred_instances.bboxes.shape == (15, 4)
        assert after.pred_instances.labels.max() < 80
        assert after.pred_instances.scores.diff().max() <= 0
        factor = torch.tensor(sample.scale_factor).repeat(2)
        torch.testing.assert_close(
            after.pred_instances.bboxes * factor, before.pred_instances.bboxes
        )
        for result, shape in ((before, sample.img_shape), (after, sample.ori_shape)):
            boxes, (height, width) = result.pred_instances.bboxes, shape
            assert boxes.min() >= 0
            assert boxes[:, 0::2].max() <= width + 0.5
            assert boxes[:, 1::2].max() <= height + 0.5
            assert (boxes[:, 2:] >= boxes[:, :2]).all()
            assert boxes.std() > 1


@pytest.mark.parametrize('name', SINGLE_LEVEL)
def test_what_lies_in_the_padding_does_not_matter(name):
    """The same feature map alone, and as the upper left part of a larger batch full of noise."""
    model = small_model(name)
    model.eval()
    feat = torch.randn(1, 256, 3, 4)
    batch = torch.randn(2, 256, 4, 5) * 3
    batch[:1, :, :3, :4] = feat
    alone = random_samples([(96, 128)], (96, 128), [1])
    together = random_samples([(96, 128), (128, 160)], (128, 160), [1, 1])
    with torch.no_grad():
        expected = model.bbox_head(**model.forward_transformer((feat,), alone))
        got = model.bbox_head(**model.forward_transformer((batch,), together))
    for a, b in zip(got, expected):
        torch.testing.assert_close(a[:, :1], b, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_is_that_of_images_as_they_go_into_the_model():
    model = small_model('dn_detr_r50_50e.py').eval()
    inputs, samples = ragged_batch()
    expected = model(inputs, samples, mode='tensor')
    for sample in samples:
        sample.set_metainfo(dict(ori_shape=(300, 20)))
    torch.testing.assert_close(model(inputs, samples, mode='tensor'), expected)


@pytest.mark.parametrize('name', NAMES)
def test_mixed_precision_on_cpu(name):
    # Narrow, for a CPU that only imitates bfloat16 takes long.
    changes = {'encoder.layer_cfg.ffn_cfg.feedforward_channels': 256}
    if name.startswith('dn'):
        changes['denoising.box_noise_scale'] = 0.0
    model = small_model(name, **changes)
    inputs, samples = ragged_batch()
    expected = model.eval().loss(inputs, samples)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(inputs, samples)
        results = model.predict(inputs, samples)
    assert all(result.pred_instances.bboxes.isfinite().all() for result in results)
    sum(losses.values()).backward()
    for key, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected[key], rtol=0.15, atol=0.05)


@pytest.mark.parametrize('name', NAMES)
def test_weights_make_the_round_trip(name, tmp_path):
    first, second = small_model(name), small_model(name, awake=False)
    torch.save(first.state_dict(), tmp_path / 'weights.pth')
    second.load_state_dict(torch.load(tmp_path / 'weights.pth'))
    inputs, samples = ragged_batch()
    with torch.no_grad():
        outputs = [model.eval()(inputs, samples, mode='tensor') for model in (first, second)]
    logits, boxes = outputs[0]
    queries = 20 * max(getattr(first, 'num_patterns', 0), 1)
    assert logits.shape == (2, 3, queries, 80 if name.startswith('dn') else 81)
    assert boxes.shape == (2, 3, queries, 4)
    torch.testing.assert_close(*outputs)


def test_classes_start_rare_and_boxes_at_their_anchors():
    model = small_model('dn_detr_r50_50e.py', awake=False)
    torch.testing.assert_close(model.bbox_head.fc_cls.bias.sigmoid(), torch.full((80,), 0.01))
    inputs, samples = ragged_batch()
    with torch.no_grad():
        boxes = model.eval()(inputs, samples, mode='tensor')[1]
    anchors = model.query_embedding.weight.sigmoid()
    torch.testing.assert_close(boxes, anchors.expand_as(boxes), atol=2e-3, rtol=0)


def test_random_centres_are_spread_and_fixed():
    model = small_model(
        'dn_detr_r50_50e.py', awake=False, num_queries=200, with_random_refpoints=True
    )
    centres = model.query_embedding.weight[:, :2].sigmoid()
    torch.testing.assert_close(centres.mean(0), torch.full((2,), 0.5), atol=0.1, rtol=0)
    assert centres.min() < 0.1
    assert centres.max() > 0.9
    inputs, samples = ragged_batch()
    sum(perturb_weights(model).loss(inputs, samples).values()).backward()
    gradient = model.query_embedding.weight.grad
    assert not gradient[:, :2].any()
    assert gradient[:, 2:].all(1).any()


def test_patterns_multiply_queries_and_train():
    model = small_model('dn_detr_r50_50e.py', num_patterns=3)
    model.train()
    inputs, samples = ragged_batch()
    queries, _ = model.pre_decoder(torch.zeros(3, 4, 256))
    assert queries['query'].shape == (3, 60, 256)
    torch.testing.assert_close(queries['anchors'][:, :20], queries['anchors'][:, 40:])
    assert (queries['query'][:, 0] != queries['query'][:, 20]).any()
    sum(model.loss(inputs, samples).values()).backward()
    assert model.patterns.weight.grad.any(1).all()


def test_host_reads_are_seen():
    x = torch.rand(5)
    for read in (
        lambda: x[x > 0.5],
        lambda: bool(x.sum() > 0),
        lambda: x.cpu(),
        lambda: x.nonzero(),
        lambda: x.new_tensor([1.0]),
        lambda: torch.unique(x),
        lambda: x.masked_select(x > 0.5),
    ):
        with HostReads() as reads:
            read()
        assert reads.seen
    with HostReads() as reads:
        torch.where(x > 0.5, x, 0 * x).index_add(0, torch.arange(5), x).clamp(min=1)
    assert not reads.seen


@pytest.mark.parametrize('counts', [(3, 0, 7), (0, 0, 0)], ids=str)
@pytest.mark.parametrize('name', NAMES)
def test_one_copy_to_the_host_in_a_training_step(name, counts):
    model = small_model(name)
    model.train()
    inputs, samples = ragged_batch(counts)
    with HostReads() as reads:
        model.loss(inputs, samples)
    # mmdet's IoU and cross entropy send a constant to the device; on the host nobody waits for its result.
    ours = [
        read for read in reads.seen if read[0] != 'new_tensor' or read[1].startswith('mmdet_setdet')
    ]
    matching = 'mmdet_setdet.models.assignment.hungarian', 'assign_batch'
    assert ours == [('cpu', *matching), ('numpy', *matching)]


def test_dropout_of_models_built_before_does_not_come_along():
    try:
        MultiheadAttention(
            8, 1, dropout=0.1
        )  # as in mmdet's Conditional DETR; mmcv keeps it as its default
        model = MODELS.build(small_model_cfg('dn_detr_r50_50e.py'))
        assert not any(
            module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)
        )
    finally:
        MultiheadAttention(8, 1, dropout=0.0)
