#!/usr/bin/env bash
# Fails when a program holds gRPC: among its libraries, its dynamic symbols or those of its own
# code.
#
#   no_grpc.sh PROGRAM
set -euo pipefail

readonly program=$1
libraries=$(ldd "$program")
symbols=$(nm -C "$program" && nm -DC "$program")

# Each list must hold what it must, or the search below would prove nothing.
if ! grep -q libprotobuf <<<"$libraries"; then
  echo "ldd lists no libprotobuf: $libraries"
  exit 1
fi
if ! grep -q 'darkroom::Worker::Run' <<<"$symbols"; then
  echo "nm lists no worker"
  exit 1
fi

if found=$(grep -iE 'libgrpc|libgpr|grpc::|grpc_|gpr_' <<<"$libraries"$'\n'"$symbols"); then
  echo "$program holds gRPC:"
  head -20 <<<"$found"
  exit 1
fi
