"""Makes tests/golden/*.npz: what the authors' DETRs compute with the weights and inputs of golden/cases.py.

Run by hand, when a case is added. It needs plain checkouts of facebookresearch/detr, IDEA-Research/DN-DETR and
IDEA-Research/DINO and megvii-research/AnchorDETR below ``$SETDET_REF``, in folders named ``owner+name``, and
torchvision and, for DINO, timm installed with ``--no-deps`` beside this project's environment (a plain
``pip install torchvision`` would replace torch)::

    SETDET_REF=~/checkouts python tests/golden/make_golden.py [CASE ...]

Prints for each case the largest difference to ours, relative to the spread of the values. Their code runs unchanged on
a CPU; all use the names ``models`` and ``util`` for their modules, so each case has a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from mmdet_setdet.checkpoints.key_maps import our_name

TESTS = Path(__file__).parents[1]
CODE = {
    'detr': 'facebookresearch+detr',
    'dn-detr': 'IDEA-Research+DN-DETR',
    'dino': 'IDEA-Research+DINO',
    'anchor-detr': 'megvii-research+AnchorDETR',
}
# By the beginning of a case's name, the longest first: the key map for its weights.
SOURCES = {
    'dn_deformable_detr_encoder': 'dn-deformable-detr-encoder',
    'dn_deformable_detr': 'dn-deformable-detr',
    'dn_detr': 'dn-detr',
    'dn_dino': 'dn-dino',
    'anchor_detr': 'anchor-detr',
    'detr': 'detr',
    'dino': 'dino',
}
BUILDERS = {
    'dn-detr': 'build_DABDETR',
    'dn-deformable-detr': 'build_dab_deformable_detr',
    'dn-deformable-detr-encoder': 'build_dab_deformable_detr_deformable_encoder_only',
    'dn-dino': 'build_dab_dino_deformable_detr',
}
# How a case of DN-DETR's code is denoised: without noise, or, as its contrastive denoising requires, with hardly any.
DENOISING = ['--use_dn', '--label_noise_scale', '0', '--box_noise_scale', '0', '-m', 'dn_dab_detr']
CONTRASTIVE = ['--use_dn', '--label_noise_scale', '0', '--box_noise_scale', '1e-9', '--contrastive']
CONTRASTIVE += ['--scalar', '100', '--two_stage', '--use_mqs', '--use_lft', '--dec_layers', '6']
CONTRASTIVE += ['-m', 'dn_dab_dino_deformable_detr']


def authors_on_cpu(checkout: Path) -> None:
    """Lets the authors' modules be imported on a machine without GPU, network and compiled operators."""
    for operator in (
        'nms',
        'qnms',
    ):  # A CPU torch lacks them, and torchvision does not import without.
        torch.library.define(
            f'torchvision::{operator}',
            '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
        )
    import torchvision

    for name in ('resnet50', 'resnet101'):
        resnet = getattr(torchvision.models, name)
        setattr(
            torchvision.models,
            name,
            lambda pretrained=None, resnet=resnet, **kwargs: resnet(**kwargs),
        )
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    to = torch.Tensor.to
    torch.Tensor.to = lambda self, *args, **kwargs: to(
        self, *('cpu' if a == 'cuda' else a for a in args), **kwargs
    )
    operator = types.ModuleType('MultiScaleDeformableAttention')
    sys.modules[operator.__name__] = (
        operator  # Imported by DN-DETR; see use_torch_twin for what calls it.
    )
    sys.path.insert(0, str(checkout))


def use_torch_twin() -> None:
    """Replaces the authors' compiled deformable attention by the torch function that they test it against."""
    for name, module in list(sys.modules.items()):
        if name.endswith('ops.modules.ms_deform_attn'):
            twin = sys.modules[
                name.replace('modules.ms_deform_attn', 'functions.ms_deform_attn_func')
            ]
            module.MSDeformAttnFunction = types.SimpleNamespace(
                apply=lambda value, shapes, starts, points, weights, step, core=twin.ms_deform_attn_core_pytorch: (
                    core(value, shapes, points, weights)
                )
            )


def build_authors(code: str, case: str):
    """The authors' model, their criterion, and the arguments."""
    argv = [
        '--coco_path',
        '-',
        '--device',
        'cpu',
        '--enc_layers',
        '2',
        '--dec_layers',
        '3',
        '--dropout',
        '0',
    ]
    if code == 'anchor-detr':
        argv += ['--num_query_position', '20']
    else:
        argv += ['--num_queries', '20']
    argv += ['--backbone', 'resnet101'] if 'r101' in case else []
    if code in BUILDERS:
        argv += CONTRASTIVE if code == 'dn-dino' else DENOISING
        argv += ['--num_patterns', '3'] if '3pat' in case else []
        argv += ['--transformer_activation', 'relu'] if 'deformable' in case else []
    if code == 'dino':
        return build_dino()
    import main
    import models

    args = main.get_args_parser().parse_args(argv)
    args.dilation = 'dc5' in case  # a flag of two code bases, a word of the third
    model, criterion, _ = getattr(models, BUILDERS.get(code, 'build_model'))(args)
    use_torch_twin()
    return model.train(), criterion, args


def build_dino():
    """The authors' DINO with four scales, its criterion, and the arguments."""
    import timm.layers

    sys.modules.setdefault('timm.models.layers', timm.layers)
    from models.dino import build_dino as build
    from util.slconfig import SLConfig

    args = SLConfig.fromfile('config/DINO/DINO_4scale.py')
    noise = dict(dn_number=50, dn_label_noise_ratio=0, dn_box_noise_scale=0)
    # One label more is embedded than told; ours has no row that no class uses.
    labels = dict(dn_labelbook_size=90)
    args.merge_from_dict(dict(enc_layers=2, num_queries=20, device='cpu', **noise, **labels))
    model, criterion, _ = build(args)
    use_torch_twin()
    return model.train(), criterion, args


def authors_results(code: str, case: str, weights: dict, inputs, samples) -> dict:
    """Runs the authors' model with our weights: the same entries as ``cases.ours``."""
    from golden import cases

    model, criterion, args = build_authors(code, case)
    names = {name: our_name(code, name) for name in model.state_dict()}
    unknown = sorted(set(weights) ^ set(names.values()))
    assert not unknown, f'no counterpart for {unknown}'
    model.load_state_dict({name: weights[renamed] for name, renamed in names.items()})

    from util.misc import NestedTensor

    mask, targets = torch.ones(len(inputs), *inputs.shape[-2:], dtype=torch.bool), []
    for index, sample in enumerate(samples):
        height, width = sample.img_shape
        mask[index, :height, :width] = False
        x1, y1, x2, y2 = (
            sample.gt_instances.bboxes / torch.tensor([width, height, width, height])
        ).unbind(-1)
        boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
        targets.append(dict(labels=sample.gt_instances.labels, boxes=boxes))
    images = NestedTensor(inputs, mask)
    result = {}
    denoised = 'tgt_{term}{layer}'
    if code == 'dino':
        outputs = model(images, targets)
        losses = criterion(outputs, targets)
        noised = outputs['dn_meta']['output_known_lbs_bboxes']
        noised = [*noised['aux_outputs'], noised]
        result['dn_logits'] = torch.stack([layer['pred_logits'] for layer in noised])
        result['dn_boxes'] = torch.stack([layer['pred_boxes'] for layer in noised])
        denoised = '{term}_dn{layer}'
    elif code in BUILDERS:
        dn_args = (
            targets,
            args.scalar,
            args.label_noise_scale,
            args.box_noise_scale,
            args.num_patterns,
        )
        dn_args += (True,) if code == 'dn-dino' else ()
        outputs, known = model(images, dn_args=dn_args)
        losses = criterion(outputs, targets, known)
        result['dn_logits'], result['dn_boxes'] = known['output_known_lbs_bboxes']
    else:
        outputs = model(images)
        losses = criterion(outputs, targets)
    layers = [*outputs['aux_outputs'], outputs]
    result['logits'] = torch.stack([layer['pred_logits'] for layer in layers])
    result['boxes'] = torch.stack([layer['pred_boxes'] for layer in layers])
    terms = dict(loss_cls='loss_ce', loss_bbox='loss_bbox', loss_iou='loss_giou')
    suffixes = [f'_{layer}' for layer in range(len(layers) - 1)] + ['']
    for ours, theirs in terms.items():
        keys = {ours: [theirs + suffix for suffix in suffixes]}
        if 'dn_logits' in result:
            keys[f'dn_{ours}'] = [denoised.format(term=theirs, layer=suffix) for suffix in suffixes]
        if 'dino' in code:
            keys[f'enc_{ours}'] = [theirs + ('_interm' if code == 'dino' else '_enc')]
        for term, names_of_term in keys.items():
            weighted = [losses[key] * criterion.weight_dict[key] for key in names_of_term]
            result[term] = torch.stack(weighted)
    sum(
        losses[key] * weight for key, weight in criterion.weight_dict.items() if key in losses
    ).backward()
    result['matches'] = flat_matches(criterion.matcher, layers, targets)
    return cases.pack(
        result, {names[name]: parameter for name, parameter in model.named_parameters()}
    )


def flat_matches(matcher, layers: list, targets: list) -> torch.Tensor:
    """(prediction, object) in the flat numbering of :class:`mmdet_setdet.models.assignment.Matches`, (P, 2)."""
    pairs, most = [], max(len(target['labels']) for target in targets)
    for index, layer in enumerate(layers):
        queries = layer['pred_logits'].shape[1]
        prediction = dict(pred_logits=layer['pred_logits'], pred_boxes=layer['pred_boxes'])
        for image, (query, target) in enumerate(matcher(prediction, targets)):
            first = (index * len(targets) + image) * queries
            pairs.append(torch.stack([query + first, target + image * most], 1))
    return torch.cat(pairs)


def make(case: str) -> None:
    """Makes one golden file and says how far ours is from it."""
    code = next(code for prefix, code in SOURCES.items() if case.startswith(prefix))
    checkout = Path(os.environ['SETDET_REF']) / CODE['dn-detr' if code in BUILDERS else code]
    os.chdir(checkout)
    sys.path.insert(0, str(TESTS))
    from golden import cases
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    ours = cases.ours(case)
    weights = cases.build(case).state_dict()
    authors_on_cpu(checkout)
    with mock.patch.object(argparse.ArgumentParser, 'exit', side_effect=RuntimeError):
        theirs = authors_results(code, case, weights, *cases.batch(case))
    theirs = {
        key: value.astype(np.float32) if value.dtype == np.float64 else value
        for key, value in theirs.items()
    }
    assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
    np.savez_compressed(
        TESTS / 'golden' / f'{case}.npz',
        **{
            key: value.round(6) if key.endswith(('logits', 'boxes')) else value
            for key, value in theirs.items()
        },
    )
    order = {
        key: np.lexsort(value['matches'].T) for key, value in (('ours', ours), ('theirs', theirs))
    }
    assert (ours['matches'][order['ours']] == theirs['matches'][order['theirs']]).all(), (
        'the matches differ'
    )
    for key in theirs:
        if key != 'matches':
            difference = np.abs(ours[key] - theirs[key]).max()
            print(
                f'{case}: {key}: {difference:.1e} of {np.abs(theirs[key]).max():.3g}, spread {theirs[key].std():.2g}'
            )


def revisions() -> dict:
    """The revision of each checkout, if git or a file ``.commit`` in it knows."""
    found = {}
    for folder in CODE.values():
        checkout = Path(os.environ['SETDET_REF']) / folder
        note = checkout / '.commit'
        command = ['git', '-C', str(checkout), 'rev-parse', 'HEAD']
        found[folder.replace('+', '/')] = (
            note.read_text().strip()
            if note.exists()
            else subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )
    return found


if __name__ == '__main__':
    if os.environ.get('SETDET_GOLDEN_CASE'):
        make(os.environ['SETDET_GOLDEN_CASE'])
    else:
        sys.path.insert(0, str(TESTS))
        from golden import cases

        (TESTS / 'golden/sources.json').write_text(json.dumps(revisions(), indent=1) + '\n')
        for case in sys.argv[1:] or cases.CASES:
            environment = {**os.environ, 'SETDET_GOLDEN_CASE': case}
            subprocess.run([sys.executable, '-W', 'ignore', __file__], env=environment, check=True)
