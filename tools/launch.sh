# Sourced by dist_*.sh and slurm_*.sh: which Python, where the package is, how processes are started.
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TOOLS")
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# PYTHON if set; else that of an active environment; else this repository's own; else what PATH has.
if [ -z "${PYTHON:-}" ]; then
  if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then
    PYTHON=$ROOT/.venv/bin/python
  elif command -v python >/dev/null; then
    PYTHON=python
  else
    PYTHON=python3
  fi
fi

launch_processes() { # processes_on_this_machine script arguments...
  # torchrun passes these signals on, and then waits so many seconds for the checkpoint that they ask for.
  export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
  export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-120}
  exec "$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$1" "$TOOLS/$2" "${@:3}" --launcher pytorch
}

launch_slurm() { # partition job_name script arguments...
  local tasks=${GPUS:-8} devices=()
  local per_node=${GPUS_PER_NODE:-$((tasks < 8 ? tasks : 8))}
  if [ "$per_node" -gt 0 ]; then
    devices=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
  fi
  # Without PORT each process derives the port from the number of the job.
  [ -z "${PORT:-}" ] || export MASTER_PORT=$PORT
  # SRUN_ARGS is a list of words.
  # shellcheck disable=SC2086
  exec srun -p "$1" --job-name="$2" --ntasks="$tasks" "${devices[@]}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$PYTHON" -u "$TOOLS/$3" "${@:4}" --launcher slurm
}
