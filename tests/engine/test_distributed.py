"""Two gloo processes against one: the same weights after training, the same metrics."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.configs import REPOSITORY, small_model_cfg
from helpers.fresh import run_fresh
from helpers.tiny_detector import coco_dict, write_annotations, write_config, write_dataset
from mmdet.apis import init_detector
from mmengine.config import Config

# Share of the way that training went. float32 on CPU: two processes add in another order than one does, and where a
# rectifier's input is zero but for that, a gradient passes in the one and not in the other.
TOLERANCE = 0.01


def dn_detr_config(folder: Path, counts: tuple) -> str:
    """Five SGD steps of a small DN-DETR on two images of one size with ``counts`` objects; no dropout, no noise."""
    write_dataset(folder / 'data', 2)
    coco = coco_dict(6)
    objects = coco['annotations']
    coco['images'] = coco['images'][:2]
    for annotation, image in zip(
        objects, [i + 1 for i, count in enumerate(counts) for _ in range(count)]
    ):
        annotation['image_id'] = image
    coco['annotations'] = objects[: sum(counts)]
    write_annotations(folder / 'data', coco)
    cfg = Config.fromfile(write_config(folder, folder / 'data'))
    width = dict(embed_dims=32)
    layer = {'self_attn_cfg': width, 'ffn_cfg': dict(width, feedforward_channels=64)}
    cfg.model = small_model_cfg(
        'dn_detr_r50_50e.py',
        **{
            'backbone.base_channels': 8,
            'neck.in_channels': [64],
            'neck.out_channels': 32,
            'encoder.layer_cfg': layer,
            'decoder.layer_cfg': dict(layer, cross_attn_cfg=width),
            'positional_encoding.num_feats': 16,
            'bbox_head.num_classes': 3,
            'bbox_head.embed_dims': 32,
            'denoising.label_noise_scale': 0.0,
            'denoising.box_noise_scale': 0.0,
        },
    )
    cfg.merge_from_dict(
        {
            'train_cfg.max_epochs': 5,
            'randomness.diff_rank_seed': True,
            'train_dataloader.sampler.shuffle': False,
            'optim_wrapper.optimizer.lr': 0.01,
            'optim_wrapper.clip_grad': dict(max_norm=0.1),
        }
    )
    path = folder / f'dn_detr_{"_".join(map(str, counts))}.py'
    cfg.dump(str(path))
    # The same batch of two images, in one process or one for each.
    path.write_text(
        path.read_text() + "\ntrain_dataloader['batch_size'] = 2 // int('{{$WORLD_SIZE:1}}')\n"
    )
    return str(path)


@pytest.fixture(scope='module')
def outcome(tmp_path_factory):
    """(results of one process, results of each of two processes, the two configs that were trained).

    Each in processes of their own: an earlier test must not leave a trace in one of the two sides.
    """
    folder = tmp_path_factory.mktemp('distributed')
    configs = [
        dn_detr_config(folder / name, counts)
        for name, counts in (('equal', (2, 2)), ('empty', (3, 0)))
    ]
    write_dataset(folder / 'tested' / 'data', 5)
    tested = write_config(folder / 'tested', folder / 'tested' / 'data')
    checkpoint = str(folder / 'random.pth')
    torch.manual_seed(0)
    torch.save(dict(state_dict=init_detector(tested, device='cpu').state_dict()), checkpoint)
    arguments = [*configs, tested, checkpoint]
    for name in ('one', 'two'):
        (folder / name).mkdir()
    worker = REPOSITORY / 'tests/helpers/distributed_worker.py'
    environment = {
        **os.environ,
        'CUDA_VISIBLE_DEVICES': '',
        'PYTHONPATH': f'{REPOSITORY}:{REPOSITORY / "tests"}',
    }
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    two = [
        '-m',
        'torch.distributed.run',
        '--nproc_per_node=2',
        f'--master_port={port}',
        worker,
        'pytorch',
    ]
    options = dict(cwd=folder, env=environment)
    for result in (
        run_fresh(worker, 'none', folder / 'one', *arguments, **options),
        subprocess.run(
            [sys.executable, *two, folder / 'two', *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        ),
    ):
        assert result.returncode == 0, '\n'.join(
            line for line in result.stderr.splitlines() if '[rank' in line
        )
    one, first, second = (
        torch.load(folder / f'{name}.pt', weights_only=False)
        for name in ('one/0', 'two/0', 'two/1')
    )
    return one, (first, second), configs


@pytest.mark.parametrize('case', [0, 1], ids=['as many objects in each', 'no object in one'])
def test_two_processes_train_like_one(outcome, case):
    one, (first, second), configs = outcome
    config = configs[case]
    start = torch.load(
        Path(config).parents[1] / 'one' / Path(config).stem / 'epoch_1.pth', weights_only=False
    )
    for name, weight in first[config].items():
        assert torch.equal(weight, second[config][name]), name

    def way(weights):
        return torch.cat(
            [(weight - start['state_dict'][name]).flatten() for name, weight in weights.items()]
        )

    expected, got = way(one[config]), way(first[config])
    assert expected.norm() > 1e-4
    assert (got - expected).norm() < TOLERANCE * expected.norm()


def test_evaluation_is_the_same_to_the_last_digit(outcome):
    one, (first, _), _ = outcome
    assert first['metrics'] == one['metrics']
    assert len(first['metrics']) == 6


def test_each_process_draws_its_own_random_numbers(outcome):
    """Also where both have made as many draws: after the training with equally many objects."""
    _, (first, second), _ = outcome
    assert first['draws'][0] != second['draws'][0]


def test_cores_are_shared(outcome):
    assert outcome[1][0]['threads'] == max(1, len(os.sched_getaffinity(0)) // 2)
