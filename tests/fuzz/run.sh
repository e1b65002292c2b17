#!/usr/bin/env bash
# Fuzzes every parser of outside bytes with libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer: builds the preset `fuzz` (clang 16 or newer) and runs each target.
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]     default 600 seconds each, all targets
#
# The corpus grows in build-fuzz/corpus/TARGET; what was found lies in build-fuzz/findings. The last
# lines say for each target how many inputs were run and how much of the program they reached. The
# exit status is 0 only when nothing was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-600}
shift || true
readonly input_bytes_max=65536 memory_mib_max=3072 input_seconds_max=10

deploy/packages.sh build test fuzz
clang=$(compgen -c clang++- | grep -E '^clang\+\+-[0-9]+$' | sort -t- -k2n | head -n 1)
cmake --preset fuzz "-DCMAKE_CXX_COMPILER=$clang" >/dev/null
cmake --build --preset fuzz --parallel "$(nproc)" --target fuzz
if [[ $# -gt 0 ]]; then
  targets=("$@")
else
  targets=()
  for source in tests/fuzz/*_fuzz.cc; do targets+=("$(basename "$source" _fuzz.cc)"); done
fi

status=0
summary=()
mkdir -p build-fuzz/findings
for target in "${targets[@]}"; do
  corpus=build-fuzz/corpus/$target log=build-fuzz/findings/$target.log
  mkdir -p "$corpus"
  if DARKROOM_FUZZ_SEEDS=$corpus build-fuzz/tests/fuzz/"${target}_fuzz" \
    -max_total_time="$seconds" -max_len=$input_bytes_max -rss_limit_mb=$memory_mib_max \
    -timeout=$input_seconds_max -print_final_stats=1 \
    -artifact_prefix="build-fuzz/findings/$target-" "$corpus" </dev/null >"$log" 2>&1; then
    result="no finding"
  else
    result="FINDING, see $log"
    status=1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  reached=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 || true)
  summary+=("$(printf '%-14s %12s inputs  %-12s %s' "$target" "${runs:-?}" "$reached" "$result")")
  echo "${summary[-1]}"
done
printf '\n%s\n' "fuzzed for $seconds seconds each:" "${summary[@]}"
exit "$status"
