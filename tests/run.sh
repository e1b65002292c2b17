#!/usr/bin/env bash
# Builds everything and runs every test, from nothing: installs the packages that are missing (root
# or sudo), configures the preset `cpu` in build/, builds, and runs ctest, whose summary comes last.
# Lint and the style budgets are tests among the others. The CUDA sources are compiled too when nvcc
# is there. The exit status is 0 only when everything passed.
#
#   tests/run.sh                    everything
#   tests/run.sh -R scheduler       arguments go to ctest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

section() { printf '\n== %s (at %d s)\n' "$1" "$SECONDS"; }

section packages
deploy/packages.sh build test lint

section configure
# Without a home to keep it in, the compiler cache lives in the build folder.
if [[ -z "${CCACHE_DIR:-}" && ! -w "${HOME:-/nonexistent}" ]]; then
  export CCACHE_DIR="$PWD/build/ccache"
fi
arguments=(--preset cpu -DDARKROOM_WITH_TESTS=ON)
nvcc="$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc || true)"
if [[ -n "$nvcc" ]]; then
  echo "CUDA sources are compiled with $nvcc"
  arguments+=(-DDARKROOM_WITH_CUDA=ON "-DCMAKE_CUDA_COMPILER=$nvcc")
else
  echo "no nvcc: CUDA sources are not compiled"
  arguments+=(-DDARKROOM_WITH_CUDA=OFF)
fi
cmake "${arguments[@]}"

section build
# A compiler takes up to 1.5 GiB: no more of them than the memory holds.
cores=$(nproc)
memory_gib=$(($(awk '/^MemAvailable/ {print $2}' /proc/meminfo) / 1024 / 1024))
jobs=$((memory_gib / 2 < cores ? memory_gib / 2 : cores))
cmake --build --preset cpu --parallel "$((jobs > 0 ? jobs : 1))"

section tests
ctest --preset cpu "$@"
