"""What is compared with the authors' code: models of ours whose weights and inputs come from seeds.

Weights are drawn parameter after parameter in the order of our state dict's names, so the golden files hold outputs
only. ``make_golden.py`` gives the authors' models the same weights.
"""

import json
import re
from pathlib import Path

import numpy as np
import torch
from helpers.batches import ragged_batch
from helpers.configs import shallow_model_cfg
from mmdet.registry import MODELS
from torch import nn

from mmdet_setdet.models.detectors import AnchorDETR
from mmdet_setdet.models.ground_truths import GroundTruths

SIZE = {
    'backbone.depth': 50,
    'neck.in_channels': [2048],
    'decoder.num_layers': 3,
    'bbox_head.num_classes': 91,
}
DC5 = {
    'backbone.strides': (1, 2, 2, 1),
    'backbone.dilations': (1, 1, 1, 2),
    'backbone.contract_dilation': True,
}
LEVELS = {'neck.in_channels': [512, 1024, 2048]}
R101 = {'backbone.depth': 101}
# Without noise denoising is the same in every run: noised queries are the objects themselves.
NOISELESS = {'denoising.label_noise_scale': 0.0, 'denoising.box_noise_scale': 0.0}
# DN-DETR's contrastive denoising works with noise only. Half of what the groups share are negative queries.
DN_DINO = {
    'denoising.label_noise_scale': 0.0,
    'denoising.box_noise_scale': 1e-9,
    'denoising.num_queries': 100,
    'decoder.num_layers': 6,
}
DINO = {
    'dn_cfg.label_noise_scale': 0.0,
    'dn_cfg.box_noise_scale': 0.0,
    'dn_cfg.group_cfg.num_dn_queries': 50,
    'decoder.num_layers': 6,
}
CASES = {
    'detr_r50': ('detr_r50_150e.py', SIZE),
    'detr_r50_dc5': ('detr_r50_150e.py', {**SIZE, **DC5}),
    'detr_r101': ('detr_r101_500e.py', {**SIZE, **R101}),
    'dn_detr_r50': ('dn_detr_r50_50e.py', {**SIZE, **NOISELESS}),
    'dn_detr_r50_dc5_3pat': ('dn_detr_r50_50e.py', {**SIZE, **NOISELESS, **DC5, 'num_patterns': 3}),
    'dn_detr_r101': ('dn_detr_r101_50e.py', {**SIZE, **NOISELESS, **R101}),
    'dn_deformable_detr_r50': ('dn_deformable_detr_r50_50e.py', {**SIZE, **NOISELESS, **LEVELS}),
    'dn_deformable_detr_encoder_r50_3pat': (
        'dn_deformable_detr_encoder_r50_50e.py',
        {**SIZE, **NOISELESS, **LEVELS},
    ),
    'dn_dino_r50': ('dn_dino_r50_36e.py', {**SIZE, **LEVELS, **DN_DINO}),
    'dino_r50': ('dino_r50_4scale_12e.py', {**SIZE, **LEVELS, **DINO}),
    'anchor_detr_r50': ('anchor_detr_r50_50e.py', SIZE),
    'anchor_detr_r50_dc5': ('anchor_detr_r50_50e.py', {**SIZE, **DC5}),
}
# With the weights of seed 7 a rectifier of these models lies so near zero that gradients hang on rounding.
SEEDS = {'detr_r101': 8, 'anchor_detr_r50': 8, 'anchor_detr_r50_dc5': 8}
# One parameter of each part, whose gradient is compared.
WATCHED = (
    'backbone.layer2.0.conv1.weight',
    'backbone.layer4.2.conv2.weight',
    'neck.convs.0.conv.weight',
    'encoder.layers.0.self_attn.attn.in_proj_weight',
    'encoder.query_scale.layers.1.weight',
    'decoder.layers.0.ffn.layers.0.0.weight',
    'decoder.layers.2.self_attn.attn.in_proj_weight',
    'decoder.layers.2.cross_attn.qpos_sine_proj.weight',
    'decoder.ref_point_head.layers.0.weight',
    'decoder.post_norm.weight',
    'bbox_head.fc_cls.weight',
    'bbox_head.reg_ffn.layers.0.0.weight',
    'bbox_head.fc_reg.layers.0.weight',
    'query_embedding.weight',
    'denoising.label_enc.weight',
    'patterns.weight',
    'level_embed',
    'tgt_embed.weight',
    'neck.convs.0.gn.weight',
    'neck.extra_convs.0.conv.bias',
    'encoder.layers.0.self_attn.sampling_offsets.weight',
    'encoder.layers.1.self_attn.value_proj.weight',
    'encoder.layers.1.self_attn.attention_weights.weight',
    'decoder.layers.1.cross_attn.sampling_offsets.bias',
    'decoder.layers.2.cross_attn.attention_weights.weight',
    'decoder.layers.0.cross_attn.output_proj.weight',
    'decoder.layers.0.lvl_attn.weight',
    'decoder.layers.2.lvl_attn.bias',
    'bbox_head.cls_branches.1.weight',
    'bbox_head.reg_branches.0.0.weight',
    'bbox_head.reg_branches.2.4.bias',
    'memory_trans_fc.weight',
    'memory_trans_norm.bias',
    'dn_query_generator.label_embedding.weight',
    'decoder.norm.weight',
    'bbox_head.cls_branches.6.weight',
    'bbox_head.reg_branches.6.0.weight',
    'encoder.layers.0.self_attn.in_proj_weight',
    'encoder.layers.1.self_attn.out_proj.weight',
    'decoder.layers.2.cross_attn.in_proj_weight',
    'adapt_pos1d.layers.0.weight',
    'adapt_pos2d.layers.1.weight',
)
QUERIES = slice(0, None, 5)  # Every fifth matching query is kept, and with it half of its logits.
CLASSES = slice(0, None, 2)
EMBEDDING = re.compile(r'embedding|label_enc|patterns|level_embed|tgt_embed')


@torch.no_grad()
def seeded_weights(model: nn.Module, seed: int = 7) -> nn.Module:
    """Fill every parameter and buffer from one generator, at a scale at which every branch shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.state_dict().items()):
        random = torch.randn(tensor.shape, generator=generator)
        if name.endswith('running_var'):
            tensor.copy_(random.abs() * 0.3 + 0.7)
        elif EMBEDDING.search(name):
            tensor.copy_(random)
        elif tensor.dim() > 1:
            gain = 2**0.5 if 'backbone' in name else 1.0
            fan_in = tensor[0].numel()
            tensor.copy_(random * gain * fan_in**-0.5)
        elif name.endswith('weight'):
            ends_branch = 'bn3' in name or 'downsample.1' in name  # of a residual block
            tensor.copy_((1 + random * 0.1) * (0.3 if ends_branch else 1.0))
        else:
            tensor.copy_(random * 0.1)
    return model


def build(name: str) -> nn.Module:
    """Our model of a case, in training mode without dropout."""
    config, changes = CASES[name]
    model = MODELS.build(shallow_model_cfg(config, **changes))
    if name == 'dino_r50':
        share_predictors(model.bbox_head)
    seeded_weights(model, SEEDS.get(name, 7))
    if isinstance(model, AnchorDETR):
        model.query_embedding.weight.data.sigmoid_()  # anchor points lie in [0, 1]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    model.train()
    return model


def share_predictors(head: nn.Module) -> None:
    """Make decoder layers share their predictors, as in the authors' DINO; proposals have their own."""
    for branches in (head.cls_branches, head.reg_branches):
        for layer in range(1, head.num_pred_layer):
            branches[layer] = branches[0]


def batch(name: str = ''):
    """Three images of different sizes in one padded batch, and their ground truths.

    DN-DETR's contrastive denoising takes the wrong halves of a batch for negative: there it is the last image alone.
    """
    inputs, samples = ragged_batch((3, 1, 7), seed=3)
    return (inputs[2:], samples[2:]) if name == 'dn_dino_r50' else (inputs, samples)


def ours(name: str) -> dict:
    """Everything that is compared, computed by our code; the authors' results are given the same names and shapes."""
    model = build(name)
    inputs, samples = batch(name)
    gts = GroundTruths.from_samples(samples)
    states = model.forward_transformer(model.extract_feat(inputs), samples, gts)
    groups = states.pop('groups', [])
    proposals = states.pop('proposals', None)
    logits, boxes = model.bbox_head(**states)
    head, result = model.bbox_head, {}
    for denoising in groups:
        noised = len(denoising)
        dn_logits, dn_boxes = logits[:, :, :noised], boxes[:, :, :noised]
        result.update(dn_logits=dn_logits, dn_boxes=dn_boxes)
        losses = head.group_losses(dn_logits, dn_boxes, gts, denoising)
        result.update({f'dn_{term}': value for term, value in losses.items()})
        logits, boxes = logits[:, :, noised:], boxes[:, :, noised:]
    of_proposals, losses, _ = head.losses_with_proposals(logits, boxes, gts, proposals)
    for term, value in (of_proposals or {}).items():
        result[f'enc_{term}'] = value
    matches = head.assigner.match(logits, boxes, gts)
    result.update(
        logits=logits, boxes=boxes, **losses, matches=torch.stack([matches.pred, matches.gt], 1)
    )
    sum(value.sum() for term, value in result.items() if 'loss' in term).backward()
    return pack(result, dict(model.named_parameters()))


def pack(result: dict, parameters: dict) -> dict:
    """Keep a part of the outputs, add gradients and the number of trained parameters; all as numpy arrays."""
    result = dict(result)
    for part in ('', 'dn_'):
        if f'{part}logits' in result:
            result[f'{part}logits'] = result[f'{part}logits'][:, :, QUERIES, CLASSES]
            result[f'{part}boxes'] = result[f'{part}boxes'][:, :, QUERIES]
    for name in WATCHED:
        gradient = getattr(parameters.get(name), 'grad', None)
        if gradient is not None:
            result[f'gradient of {name}'] = norm_and_entries(gradient)
    trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    result['trained parameters'] = torch.tensor(trained)
    return {key: value.detach().numpy() for key, value in result.items()}


def norm_and_entries(gradient: torch.Tensor) -> torch.Tensor:
    """Return the norm and some 20 entries of a tensor, at even distances."""
    step = max(gradient.numel() // 20, 1)
    entries = gradient.flatten()[::step]
    return torch.cat([gradient.norm()[None], entries])


def load(name: str) -> dict:
    """Load a golden file."""
    folder = Path(__file__).parent
    with np.load(folder / f'{name}.npz') as arrays:
        return dict(arrays)


def sources() -> dict:
    """Return {repository: revision} of the code that the golden files come from."""
    text = (Path(__file__).parent / 'sources.json').read_text()
    return json.loads(text)
