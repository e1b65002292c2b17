#!/usr/bin/env bash
# The kernels on a GPU, on a machine that has nvcc, CMake, a C++ compiler, PyTorch and no network:
# builds them, runs every check in a process of its own, twice (the bits must agree), then
# compute-sanitizer, then the benchmark beside cuBLASLt and SDPA; a short table comes last.
#
#   tests/gpu/run.sh [FOLDER]     JSON and logs go into FOLDER, $OUT, or build-gpu/results
#
# PARTS="check sanitize bench" chooses; ARCHITECTURES (90a-real) is what is compiled for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
results=${1:-${OUT:-build-gpu/results}}
parts=${PARTS:-check sanitize bench}
mkdir -p "$results"
export PATH="$PATH:/usr/local/cuda/bin"
failures=0

section() { printf '\n== %s (at %d s)\n' "$1" "$SECONDS"; }

section build
nvidia-smi --query-gpu=name,driver_version,clocks.sm,temperature.gpu --format=csv,noheader \
  >"$results/device.txt" 2>&1 || echo "nvidia-smi does not answer" >"$results/device.txt"
cat "$results/device.txt"
generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi
cmake -S tests/gpu -B build-gpu "${generator[@]}" \
  -DDARKROOM_GPU_ARCHITECTURES="${ARCHITECTURES:-90a-real}" >"$results/configure.log" 2>&1 ||
  { tail -30 "$results/configure.log"; exit 1; }
# What does not compile hides nothing that does.
cmake --build build-gpu --parallel "$(nproc)" -- -k $([[ ${#generator[@]} -gt 0 ]] && echo 0) \
  >"$results/build.log" 2>&1 || { failures=1; grep -E 'error|FAILED' "$results/build.log"; }

# One line of JSON per case and round.
check_round() {
  local name
  while read -r name; do
    timeout 60 build-gpu/check_kernels run "$name" </dev/null 2>>"$results/check.log" ||
      printf '{"case": "%s", "passed": false, "status": %d}\n' "$name" $?
  done
}

if [[ " $parts " == *" check "* ]]; then
  section checks
  names=$(build-gpu/check_kernels list)
  for round in 1 2; do
    check_round <<<"$names" >"$results/check$round.jsonl"
  done
  sed 's/"passed": true.*"error": \([^,]*\), "bound": \([^,]*\),.*/passed, error \1 of \2/' \
    "$results/check1.jsonl" | sort | tail -80
fi

if [[ " $parts " == *" sanitize "* ]]; then
  section compute-sanitizer
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
      timeout 100 compute-sanitizer --tool "$tool" build-gpu/check_kernels small \
        >"$results/$tool.log" 2>&1 || failures=1
      echo "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|not supported' "$results/$tool.log" |
        tail -1)"
    done
  else
    echo "compute-sanitizer is not installed"
  fi
fi

table=$results/bench.txt
if [[ " $parts " == *" bench "* ]]; then
  section benchmark
  library=$(find build-gpu -name 'libkernels_for_python.so' | head -1)
  timeout 240 python3 tests/gpu/bench.py "$library" "$results" >"$table" 2>"$results/bench.log" ||
    { failures=1; tail -20 "$results/bench.log"; }
fi

section summary
cat "$results/device.txt"
if [[ -f "$results/check1.jsonl" ]]; then
  total=$(wc -l <"$results/check1.jsonl")
  passed=$(grep -c '"passed": true' "$results/check1.jsonl" || true)
  echo "checks: $passed of $total passed"
  if ! grep -v '"passed": true' "$results/check1.jsonl"; then :; else failures=1; fi
  if diff -q "$results/check1.jsonl" "$results/check2.jsonl" >/dev/null; then
    echo "two runs of every check gave the same bits"
  else
    echo "TWO RUNS DIFFER:"
    diff "$results/check1.jsonl" "$results/check2.jsonl" | head -6 || true
    failures=1
  fi
fi
if [[ -f "$table" ]]; then cat "$table"; fi
exit "$failures"
