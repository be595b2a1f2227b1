"""Rank, number of processes and meeting point, as each launcher tells them."""

import os

import pytest

from mmdet_setdet.engine.launchers import name_process
from mmdet_setdet.errors import InputError

NAMES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
OPEN_MPI = dict(
    OMPI_COMM_WORLD_RANK='5',
    OMPI_COMM_WORLD_SIZE='8',
    OMPI_COMM_WORLD_LOCAL_RANK='1',
    OMPI_COMM_WORLD_LOCAL_SIZE='4',
)
MPICH = dict(PMI_RANK='5', PMI_SIZE='8', MPI_LOCALRANKID='1', MPI_LOCALNRANKS='4')
SLURM = dict(SLURM_PROCID='5', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_NTASKS_PER_NODE='4')


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables of a launcher, and no others; returns what torch reads."""
    for name in (*NAMES, *OPEN_MPI, *MPICH, *SLURM, 'SLURM_JOB_ID', 'SLURM_STEP_ID'):
        monkeypatch.setenv(name, 'removed afterwards')
        monkeypatch.delenv(name)

    def name(launcher, **variables):
        os.environ.update(variables)
        name_process(launcher)
        return [os.environ.get(name) for name in NAMES]

    return name


@pytest.mark.parametrize('variables', [OPEN_MPI, MPICH], ids=['Open MPI', 'MPICH'])
def test_mpi(environment, variables):
    # As an option that nobody gave; under MPI it would put all processes on the first GPU.
    got = environment('mpi', LOCAL_RANK='0', MASTER_ADDR='10.0.0.1', **variables)
    assert got == ['5', '8', '1', '4', '10.0.0.1', None]


def test_mpi_on_several_machines_has_to_be_told_where_they_meet(environment):
    with pytest.raises(InputError, match='--launcher mpi: MASTER_ADDR is not set'):
        environment('mpi', **OPEN_MPI)


def test_mpi_on_one_machine(environment):
    got = environment('mpi', **{**OPEN_MPI, 'OMPI_COMM_WORLD_LOCAL_SIZE': '8'})
    assert got[4] == '127.0.0.1'


def test_slurm_jobs_meet_at_ports_of_their_own(environment):
    ports = set()
    for job, step in (('1000', '0'), ('1000', '1'), ('1001', '0')):
        os.environ.pop('MASTER_PORT', None)
        got = environment('slurm', SLURM_JOB_ID=job, SLURM_STEP_ID=step, **SLURM)
        assert got[:4] == ['5', '8', '1', '4']
        ports.add(int(got[5]))
    assert len(ports) == 3
    assert all(16000 <= port < 32000 for port in ports)
    assert environment('slurm', MASTER_PORT='29511', **SLURM)[5] == '29511'
