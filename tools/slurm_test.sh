#!/usr/bin/env bash
# tools/slurm_test.sh PARTITION JOB_NAME CONFIG CKPT [arguments of tools/test.py]
# From the environment: GPUS (8), GPUS_PER_NODE (at most 8; 0 for CPU nodes), CPUS_PER_TASK (5), PORT, SRUN_ARGS.
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
