#!/usr/bin/env bash
# tools/dist_test.sh CONFIG CKPT GPUS [arguments of tools/test.py]; without a GPU, GPUS is the number of CPU processes.
# Several machines: the same command on each, with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR and PORT set.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
CONFIG=$1 CHECKPOINT=$2 GPUS=$3
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch_processes "$GPUS" test.py "$CONFIG" "$CHECKPOINT" "${@:4}"
