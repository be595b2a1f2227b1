"""Several processes without an accelerator: gloo instead of nccl, and cores shared out fairly."""
import datetime
import os
import subprocess

import torch
from torch import distributed

from ..errors import InputError

# launcher: (rank, world size, rank on this machine, processes on this machine), as each names them.
_VARIABLES = dict(
    pytorch=('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'),
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NTASKS_PER_NODE'),
    mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_SIZE'))


def init_cpu_group(launcher: str, timeout: float = 1800, port: int = 29500) -> None:
    """Starts the default process group on gloo; mmengine, which would ask for a CUDA device, then leaves it alone.

    Args:
        launcher (str): ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.
        timeout (float): Seconds after which a collective operation gives up.
        port (int): Port of the first process, where the environment has no ``MASTER_PORT``.

    Raises:
        InputError: The launcher's environment variables are not set.
    """
    names = _VARIABLES[launcher]
    absent = [name for name in names[:3] if name not in os.environ]
    if absent:
        raise InputError(f'--launcher {launcher}: this process was not started by it ({", ".join(absent)} not set); '
                         'use tools/dist_train.sh, tools/dist_test.sh or their slurm counterparts')
    os.environ.update({name: os.environ[theirs] for name, theirs in zip(_VARIABLES['pytorch'], names)
                       if theirs in os.environ})
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']],
                               capture_output=True, text=True, check=True).stdout.split()
        os.environ['MASTER_ADDR'] = hosts[0]
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', str(port))
    distributed.init_process_group('gloo', timeout=datetime.timedelta(seconds=timeout))


def share_cores() -> None:
    """Gives each process of this machine its part of the cores that the machine lets it use."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    # Slurm has shared them out already.
    torch.set_num_threads(max(1, int(os.environ.get('SLURM_CPUS_PER_TASK', cores))))
