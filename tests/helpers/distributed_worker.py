"""One of the processes of test_distributed.py: train and test with the tools, and save the results.

Arguments: a launcher, a folder for the results, the configs to train, and last the one to test with its checkpoint.
"""

import sys
from pathlib import Path

import torch

from helpers.tiny_detector import new_name, tool


def weights_after_training(config: str, launcher: str, work_dir: Path) -> dict:
    model = tool('train').main(
        [
            config,
            '--launcher',
            launcher,
            '--work-dir',
            str(work_dir),
            '--cfg-options',
            f'experiment_name={new_name()}',
        ]
    )
    return getattr(model, 'module', model).state_dict()


def main(launcher: str, folder: str, *arguments: str) -> dict:
    """Return {config: weights} of every training, ``draws`` of a random number after each, ``metrics`` of the test.

    They are saved as ``FOLDER/RANK.pt``.
    """
    *configs, tested, checkpoint = arguments
    results = dict(draws=[])
    for config in configs:
        work_dir = Path(folder) / Path(config).stem
        results[config] = weights_after_training(config, launcher, work_dir)
        results['draws'].append(torch.rand(()).item())
    results['metrics'] = tool('test').main(
        [
            tested,
            checkpoint,
            '--launcher',
            launcher,
            '--work-dir',
            folder,
            '--cfg-options',
            f'experiment_name={new_name()}',
        ]
    )
    results['threads'] = torch.get_num_threads()
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.save(results, Path(folder) / f'{rank}.pt')
    return results


if __name__ == '__main__':
    main(*sys.argv[1:])
