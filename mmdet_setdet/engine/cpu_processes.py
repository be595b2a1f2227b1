"""Several processes without an accelerator: gloo instead of nccl, and an equal share of the cores for each."""

import datetime
import os
import subprocess

import torch
from torch import distributed


def init_cpu_group(launcher: str, timeout: float = 1800, port: int = 29500) -> None:
    """Start the default process group on gloo, so that mmengine does not start one that requires CUDA.

    Args:
        launcher (str): ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.
        timeout (float): Seconds after which a collective operation fails.
        port (int): Port of the first process, if the environment has no ``MASTER_PORT``.
    """
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_slurm_host()
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', str(port))
    distributed.init_process_group('gloo', timeout=datetime.timedelta(seconds=timeout))


def _first_slurm_host() -> str:
    command = ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']]
    hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return hosts[0]


def share_cores() -> None:
    """Limit this process to its share of the cores that the machine lets it use."""
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    cores = len(os.sched_getaffinity(0)) // processes
    # Slurm has divided them already.
    threads = int(os.environ.get('SLURM_CPUS_PER_TASK', cores))
    torch.set_num_threads(max(1, threads))
