#!/bin/sh
# Fails when a program holds gRPC: among its libraries, its dynamic symbols or those of its own code.
# usage: no_grpc.sh PROGRAM
set -u
program=$1
[ -x "$program" ] || { echo "$program is not there"; exit 1; }

libraries=$(ldd "$program") || { echo "ldd failed"; exit 1; }
# Each list must hold what it must, or the search below would prove nothing.
echo "$libraries" | grep -q libprotobuf || { echo "ldd lists no libprotobuf: $libraries"; exit 1; }
symbols=$(nm -C "$program"; nm -DC "$program")
echo "$symbols" | grep -q 'darkroom::Worker::Run' || { echo "nm lists no worker"; exit 1; }

found=$( (echo "$libraries"; echo "$symbols") | grep -iE 'libgrpc|libgpr|grpc::|grpc_|gpr_')
if [ -n "$found" ]; then
  echo "$program holds gRPC:"
  echo "$found" | head -20
  exit 1
fi
