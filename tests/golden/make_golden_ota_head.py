"""Write tests/golden/ota_head.npz: what OTA's authors' detectors compute with the weights and images of
tests/golden/ota_head_cases.py, and what their test-time augmentation makes of its views.

Wants plain checkouts of Megvii-BaseDetection/OTA and cvpods below ``$SETDET_REF``, in folders named ``owner+name``:

    SETDET_REF=~/checkouts python tests/golden/make_golden_ota_head.py

Prints the largest difference to ours for each case. On the way the authors' weights go through a file as their training
writes it, tools/convert_checkpoint.py and ``init_detector``, and must come out as the weights that ours had.
``--names`` writes tests/golden/ota_names.json instead: names and shapes of the weights of the authors' four models.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from unittest import mock

import numpy as np
import torch

sys.path[:0] = [str(folder) for folder in Path(__file__).parents[1:3]]

from golden import ota_head_cases as cases  # noqa: E402
from helpers import author_names, cvpods_stand_ins  # noqa: E402
from helpers.tiny_detector import tool  # noqa: E402
from mmdet.apis import init_detector  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from mmdet_setdet.checkpoints.key_maps import our_name  # noqa: E402

FOLDER = 'playground/detection/coco/ota.{}.fpn.coco.800size.1x'
# By case: the authors' folder, and what of its config is changed. Theirs names the weights of ResNeXt 64x4d but leaves
# the width of a group at 64, with which those would not fit.
MODELS = {
    'r50': ('res50', {}),
    'r101': ('res101', {}),
    'x101': ('x101', dict(WIDTH_PER_GROUP=4)),
    'x101_dcn': ('x101.dcnv2', dict(WIDTH_PER_GROUP=4)),
    'x50_dcn': ('x101.dcnv2', dict(WIDTH_PER_GROUP=4, DEPTH=50)),
}
OUR_LOSSES = dict(loss_cls='loss_cls', loss_box_reg='loss_bbox', loss_iou='loss_iou')


def load(path: Path) -> types.ModuleType:
    """A module from a file, as ``path.stem``, since net.py imports ``fcos``."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def authors_model(checkout: Path, case: str) -> torch.nn.Module:
    """The authors' detector on a CPU, by their own config."""
    folder, resnet = MODELS[case]
    folder = checkout / FOLDER.format(folder)
    config = load(folder / 'config.py').config
    config.MODEL.DEVICE = 'cpu'
    config.MODEL.FCOS.NORM_SYNC = False  # one process; on integers it would need an older torch
    config.MODEL.RESNETS.update(resnet)
    load(folder / 'fcos.py')
    return load(folder / 'net.py').build_model(config)


def give(model: torch.nn.Module, ours: torch.nn.Module, preprocessor: dict) -> None:
    """Gives the authors' model our weights."""
    weights, theirs = ours.state_dict(), model.state_dict()
    counted = {name for name in weights if not name.endswith('num_batches_tracked')}
    assert counted == {our_name('ota', name) for name in theirs}, 'names differ'
    theirs = {
        name: weights[our_name('ota', name)].reshape(value.shape) for name, value in theirs.items()
    }
    first = (
        theirs['backbone.bottom_up.stem.conv1.weight']
        / torch.tensor(preprocessor.std)[:, None, None]
    )
    theirs['backbone.bottom_up.stem.conv1.weight'] = (
        first.flip(1) if preprocessor.bgr_to_rgb else first
    )
    model.load_state_dict(theirs)


def convert(model: torch.nn.Module, case: str) -> torch.nn.Module:
    """Our detector from a checkpoint of the authors' model."""
    with tempfile.TemporaryDirectory() as folder:
        source, target, config = (
            str(Path(folder, name)) for name in ('model_final.pth', 'ours.pth', 'config.py')
        )
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01)
        torch.save(
            dict(model=model.state_dict(), optimizer=optimizer.state_dict(), iteration=89999),
            source,
        )
        cases.config(case).dump(config)
        tool('convert_checkpoint').main([source, target, '--from', 'ota', '--config', config])
        return init_detector(config, target, device='cpu')


def authors_results(model: torch.nn.Module, boxes, instances) -> dict[str, np.ndarray]:
    """All that is compared, from the authors' code."""
    images, samples = cases.batch()
    batched = []
    for image, sample in zip(images, samples):
        objects = instances(sample.img_shape)
        objects.gt_boxes, objects.gt_classes = (
            boxes(sample.gt_instances.bboxes),
            sample.gt_instances.labels,
        )
        height, width = sample.ori_shape
        batched.append(dict(image=image, instances=objects, height=height, width=width))
    model.train()
    losses = model(batched)
    sum(losses.values()).backward()
    model.eval()
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(batched).tensor)
        levels = model.head([features[name] for name in model.in_features])
        results = [result['instances'] for result in model(batched)]
    found = [(result.pred_boxes.tensor, result.scores, result.pred_classes) for result in results]
    parameters = {our_name('ota', name): parameter for name, parameter in model.named_parameters()}
    return cases.pack(
        levels, {OUR_LOSSES[name]: value for name, value in losses.items()}, parameters, found
    )


def authors_merge(warper, boxes) -> dict[str, np.ndarray]:
    """What their test-time augmentation makes of the views."""
    height, width = cases.IMAGE_SIZE
    inputs = [
        dict(file_name='', height=height, width=width, horiz_flip=bool(view % 2), view=view)
        for view in range(2 * len(cases.RANGES))
    ]

    def detect(batched):
        found = cases.views()[batched[0]['view']]
        fields = dict(
            pred_boxes=boxes(found.bboxes), scores=found.scores, pred_classes=found.labels
        )
        return types.SimpleNamespace(get=fields.get)

    test = cvpods_stand_ins.Attributes(
        DETECTIONS_PER_IMAGE=100, AUG=dict(SCALE_FILTER=True, SCALE_RANGES=cases.RANGES)
    )
    cfg = cvpods_stand_ins.Attributes(
        MODEL=dict(KEYPOINT_ON=False, LOAD_PROPOSALS=False), TEST=test
    )
    mapper = mock.MagicMock(return_value=inputs, flip=True)
    result = warper(cfg, types.SimpleNamespace(_inference_for_ms_test=detect), mapper)([{}])[0][
        'instances'
    ]
    return dict(
        bboxes=result.pred_boxes.tensor.numpy(),
        scores=result.scores.numpy(),
        labels=result.pred_classes.numpy().astype(np.int64),
    )


def revision(checkout: Path) -> str:
    """Of a checkout, from git or from a file ``.commit`` in it."""
    note = checkout / '.commit'
    command = ['git', '-C', str(checkout), 'rev-parse', 'HEAD']
    return (
        note.read_text().strip()
        if note.exists()
        else subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )


def main() -> None:
    """Runs the authors' code."""
    folders = [
        Path(os.environ.get('SETDET_REF', ''), f'Megvii-BaseDetection+{name}')
        for name in ('OTA', 'cvpods')
    ]
    if 'SETDET_REF' not in os.environ or not all(folder.is_dir() for folder in folders):
        raise SystemExit(
            'set SETDET_REF to a folder with checkouts Megvii-BaseDetection+OTA and ...+cvpods'
        )
    init_default_scope('mmdet')
    cvpods_stand_ins.install(folders[1])
    if '--names' in sys.argv:
        names = {}
        for case in list(MODELS)[:4]:
            weights = authors_model(folders[0], case).state_dict()
            names[case] = author_names.fold(
                {name: list(value.shape) for name, value in weights.items()}
            )
        Path(__file__).with_name('ota_names.json').write_text(json.dumps(names) + '\n')
        return
    structures = importlib.import_module('cvpods.structures')
    boxes, instances = structures.Boxes, structures.Instances
    arrays = {'revisions': np.array([revision(folder) for folder in folders])}
    for case in cases.CASES:
        model, ours = authors_model(folders[0], case), cases.build(case)
        give(model, ours, cases.config(case).model.data_preprocessor)
        converted, wanted = convert(model, case).state_dict(), ours.state_dict()
        assert converted.keys() == wanted.keys()
        off = max((converted[name] - wanted[name]).abs().max().item() for name in wanted)
        print(f'{case}: converted weights: {off:.1e}')
        theirs, found = authors_results(model, boxes, instances), cases.ours(case)
        assert theirs.keys() == found.keys(), theirs.keys() ^ found.keys()
        for key, value in theirs.items():
            same = value.shape == found[key].shape
            difference = (
                f'{np.abs(value - found[key]).max():.1e}' if same else f'shape {found[key].shape}'
            )
            print(
                f'{case}: {key}: {difference} of {np.abs(value).max():.3g}, spread {value.std():.2g}, {value.shape}'
            )
        arrays.update({f'{case}/{key}': value for key, value in theirs.items()})
    warper = importlib.import_module('cvpods.modeling.test_time_augmentation').TTAWarper
    arrays.update({f'tta/{key}': value for key, value in authors_merge(warper, boxes).items()})
    np.savez_compressed(
        cases.FILE,
        **{
            key: value.round(6) if value.dtype == np.float32 and '/gradient/' not in key else value
            for key, value in arrays.items()
        },
    )


if __name__ == '__main__':
    main()
