#!/usr/bin/env bash
# Usage: kernel_symbols_test.sh nm object...
# A kernel file compiled for one instruction set must define nothing that another file may define
# too: the linker would keep either copy, and a machine without the instructions might run it. So
# each of its symbols has its vector type in its name, and nothing in it runs before main.
set -euo pipefail
nm="$1"
shift
checked=0
for object in "$@"; do
  case "$object" in
    *kernels_avx2.*) type=Avx2 ;;
    *kernels_avx512.*) type=Avx512 ;;
    *attention_amx.*) type=Amx ;;
    *) continue ;;
  esac
  checked=$((checked + 1))
  strays=$("$nm" --demangle --defined-only --extern-only "$object" | grep -v "$type" || true)
  if [ -n "$strays" ]; then
    echo "$object defines symbols without $type in their names:"
    echo "$strays"
    exit 1
  fi
  if [[ "$("$nm" --demangle "$object")" == *GLOBAL__sub_I* ]]; then
    echo "$object runs code before main"
    exit 1
  fi
done
if [ "$checked" -ne 3 ]; then
  echo "expected 3 kernel objects, found $checked"
  exit 1
fi
