#!/usr/bin/env bash
# Trains everything on a GPU in about half an hour and exports the folder.
#
#   train_all.sh DATA RUN OUTPUT [SHARE]     SHARE: of the minutes below, for a trial (default 1)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly data=$1 run=$2 output=$3 share=${4:-1}
stage() {
  local name=$1 minutes
  minutes=$(python3 -c "print($2 * $share)")
  shift 2
  python3 train.py "$name" --data "$data" --run "$run" --size 128 --minutes "$minutes" "$@"
}
stage autoencoder 6 --batch 128
stage tokenizers 0
stage conditioning 1 --batch 512
stage generator 14 --batch 512
stage scorer 3 --batch 512
python3 train.py export --data "$data" --run "$run" --size 128 --output "$output"
