#!/usr/bin/env bash
# The README's first command, on the build that is there: it must end with the path of a 64 by 64
# picture, which is the same for the same prompt, and leave nothing running or lying about. A prompt
# that is longer than the model reads must fail and clean up as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
  echo "quickstart_test: $*" >&2
  exit 1
}

nothing_left() {
  [[ ! -e build/quickstart/state && ! -e build/quickstart/port ]] || fail "state was left behind"
  if pgrep --full "^build/bin/darkroomd .*--port-file $PWD/build/quickstart/port" >/dev/null; then
    fail "a daemon was left running"
  fi
}

picture_of() {
  deploy/quickstart.sh "$1" | tee /dev/stderr | tail -n 1
}

first=$(picture_of "strawberry")
[[ -f "$first" ]] || fail "the last line is not a file: $first"
# Bytes 16 to 23 of a PNG are its width and height, big-endian.
[[ "$(od -A n -t x1 -j 16 -N 8 "$first" | tr -d ' ')" == 0000004000000040 ]] ||
  fail "$first is not 64 by 64 pixels"
nothing_left
checksum=$(sha256sum <"$first")
[[ "$(sha256sum <"$(picture_of "strawberry")")" == "$checksum" ]] || fail "the picture changed"

long="a$(printf ' very%.0s' {1..30}) red apple"
if deploy/quickstart.sh "$long"; then fail "a prompt that is too long succeeded"; fi
nothing_left
