#!/usr/bin/env bash
# tools/slurm_test.sh PARTITION JOB_NAME CONFIG CKPT [arguments of tools/test.py]
# GPUS, GPUS_PER_NODE (both 8), CPUS_PER_TASK (5) and SRUN_ARGS come from the environment; GPUS_PER_NODE=0 for CPU nodes.
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
