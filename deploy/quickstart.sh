#!/usr/bin/env bash
# From a fresh checkout to a picture: installs the packages that are missing (root or sudo), builds
# the daemon, the worker and the command line, starts the daemon on a free loopback port, generates
# one picture with the small model that ships, and stops the daemon again. The last line printed is
# the picture's path.
#
#   deploy/quickstart.sh [PROMPT]     default "strawberry"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly prompt="${1:-strawberry}"
readonly model=deploy/models/emoji
readonly output="$PWD/build/quickstart"
readonly picture="$output/${prompt//[^A-Za-z0-9]/-}.png"
readonly log="$output/darkroomd.log"
# How long each part may take before something is wrong.
readonly start_seconds_max=60 generate_seconds_max=120 stop_seconds_max=30

daemon_pid=

is_running() { [[ -n "$daemon_pid" ]] && kill -0 "$daemon_pid" 2>/dev/null; }

clean_up() {
  local status=$?
  if is_running; then kill -KILL "$daemon_pid" 2>/dev/null || true; fi
  rm -rf "$output/state" "$output/port"
  if [[ $status -ne 0 ]]; then
    echo "quickstart: failed" >&2
    if [[ -s "$log" ]]; then
      echo "quickstart: the last lines of the daemon's log, $log:" >&2
      tail -n 20 "$log" >&2
    fi
  fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "quickstart: packages"
deploy/packages.sh build

echo "quickstart: build"
# A build folder that has tests keeps them.
configure=(cmake --preset cpu)
[[ -f build/CMakeCache.txt ]] || configure+=(-DDARKROOM_WITH_TESTS=OFF)
"${configure[@]}" >/dev/null
cmake --build --preset cpu --parallel "$(nproc)" --target darkroomd darkroom-worker darkroom

echo "quickstart: starting darkroomd"
mkdir -p "$output"
rm -rf "$output/state" "$output/port" "$picture"
build/bin/darkroomd --model "$model" --listen 127.0.0.1:0 --port-file "$output/port" \
  --state-dir "$output/state" 2>"$log" </dev/null &
daemon_pid=$!
end=$((SECONDS + start_seconds_max))
until [[ -s "$output/port" ]]; do
  if ! is_running || [[ $SECONDS -ge $end ]]; then
    echo "quickstart: the daemon does not listen" >&2
    exit 1
  fi
  sleep 0.1
done

# The command line waits until the model is loaded.
timeout "$generate_seconds_max" build/bin/darkroom generate \
  --server "127.0.0.1:$(head -n 1 "$output/port")" --model "$(basename "$model")" \
  --prompt "$prompt" --seed 7 --out "$picture" </dev/null

echo "quickstart: stopping darkroomd"
kill -TERM "$daemon_pid"
end=$((SECONDS + stop_seconds_max))
while is_running && [[ $SECONDS -lt $end ]]; do sleep 0.1; done
if is_running; then
  echo "quickstart: the daemon did not stop within $stop_seconds_max s of SIGTERM" >&2
  exit 1
fi
status=0
wait "$daemon_pid" || status=$?
if [[ $status -ne 0 ]]; then
  echo "quickstart: the daemon ended with status $status" >&2
  exit 1
fi
if [[ "$(head -c 4 "$picture" | tail -c 3)" != PNG ]]; then
  echo "quickstart: $picture is not a PNG" >&2
  exit 1
fi
echo "quickstart: done. Here is \"$prompt\":"
echo "$picture"
