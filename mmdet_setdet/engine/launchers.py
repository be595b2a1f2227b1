"""What a launcher tells each process: its rank, how many there are, and where they meet."""

import os

from ..errors import InputError

_TORCH = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE')
# launcher: its names for torch's four
LAUNCHER_VARIABLES = dict(
    pytorch=_TORCH,
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NTASKS_PER_NODE'),
    mpi=(
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_LOCAL_SIZE',
    ),
)
# the same in MPICH and Intel MPI
_MPICH = ('PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID', 'MPI_LOCALNRANKS')


def name_process(launcher: str) -> None:
    """Set torch's environment variables for this process as its launcher says.

    mmengine does so too, but leaves out ``LOCAL_RANK`` under MPI, knows no MPI but Open MPI, and lets all Slurm jobs of
    a node meet at the same port.

    Args:
        launcher (str): ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.

    Raises:
        InputError: The launcher's variables are not set, or it does not say where the processes of several machines
            meet.
    """
    names = LAUNCHER_VARIABLES[launcher]
    if launcher == 'mpi':
        _copy_variables(_MPICH, names)
    missing = [name for name in names[:3] if name not in os.environ]
    if missing:
        raise InputError(
            f'--launcher {launcher}: this process was not started by it ({", ".join(missing)} not set); '
            'use tools/dist_train.sh, tools/dist_test.sh or their slurm counterparts'
        )
    _copy_variables(names, _TORCH)
    if launcher == 'slurm':
        os.environ.setdefault('MASTER_PORT', str(_port_of_slurm_job()))
    if launcher == 'mpi' and 'MASTER_ADDR' not in os.environ:
        if os.environ.get('LOCAL_WORLD_SIZE') != os.environ['WORLD_SIZE']:
            raise InputError(
                '--launcher mpi: MASTER_ADDR is not set; set it to the address of the first machine '
                'for all processes'
            )
        os.environ['MASTER_ADDR'] = '127.0.0.1'


def _copy_variables(sources: tuple[str, ...], targets: tuple[str, ...]) -> None:
    for source, target in zip(sources, targets):
        if source in os.environ:
            os.environ[target] = os.environ[source]


def _port_of_slurm_job() -> int:
    """Return a port that other jobs, and other steps of this one, on the same node are unlikely to use.

    From 16000 to 31999: below those that the system gives to outgoing connections.
    """
    job = int(os.environ.get('SLURM_JOB_ID', '0'))
    step = int(os.environ.get('SLURM_STEP_ID', '0'))
    return 16000 + (16 * job + step) % 16000
