"""How the runner builds data loaders."""

from mmdet_setdet.engine import CheckingRunner, runner

LOADER = dict(
    batch_size=2,
    num_workers=0,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ShapesDataset', num_images=4, image_size=64, pipeline=[]),
)


def test_all_processes_order_the_images_by_one_seed(monkeypatch):
    seeds = []
    for rank in (0, 3):
        monkeypatch.setattr(runner, 'get_rank', lambda rank=rank: rank)
        # With diff_rank_seed the seed of a process is that of the first plus its rank.
        loader = CheckingRunner.build_dataloader(LOADER, seed=7 + rank, diff_rank_seed=True)
        seeds.append(loader.sampler.seed)
    assert seeds == [7, 7]


def test_nothing_is_pinned_without_a_gpu(monkeypatch):
    monkeypatch.setattr(runner, 'get_device', lambda: 'cpu')
    assert not CheckingRunner.build_dataloader(LOADER).pin_memory
    assert LOADER['pin_memory']
