#!/usr/bin/env bash
# Fails when a program holds gRPC: among its libraries, its dynamic symbols or those of its own
# code. usage: no_grpc.sh PROGRAM
set -euo pipefail
readonly program=$1
[[ -x "$program" ]] || { echo "$program is not there"; exit 1; }

libraries=$(ldd "$program")
# Each list must hold what it must, or the search below would prove nothing.
[[ "$libraries" == *libprotobuf* ]] || { echo "ldd lists no libprotobuf: $libraries"; exit 1; }
symbols=$(nm -C "$program" && nm -DC "$program")
[[ "$symbols" == *darkroom::Worker::Run* ]] || { echo "nm lists no worker"; exit 1; }

found=$(grep -iE 'libgrpc|libgpr|grpc::|grpc_|gpr_' <<<"$libraries"$'\n'"$symbols" || true)
if [[ -n "$found" ]]; then
  echo "$program holds gRPC:"
  head -20 <<<"$found"
  exit 1
fi
