#!/usr/bin/env bash
# What deploy/package.sh packs runs where nothing is installed: in a root folder that holds the C
# library, the package, the model that ships and no other file, the daemon starts and makes a
# picture. Exit status 77: this machine does not let us make such a root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly wait_seconds_max=60

if ! unshare --mount --pid --fork true 2>/dev/null; then
  echo "package_test: skipped: namespaces are not allowed here"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
deploy/package.sh "$work/package"
archive=("$work"/package/*.tar.xz)

root=$work/root
mkdir -p "$root"/{opt,tmp,proc,dev,state}
tar --directory "$root/opt" --strip-components=1 --extract --file "${archive[0]}"
cp -r deploy/models/emoji "$root/emoji"
# The C library, where its loader looks for it.
ldd "$root"/opt/bin/* |
  awk '/\/ld-linux/ {print $1} $2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
  while read -r library; do
    case "$library" in
      "$root"/*) ;;
      *) install -D "$(realpath "$library")" "$root$library" ;;
    esac
  done
if find "$root" -path "$root/opt" -prune -o -name '*.so*' -print |
  grep -E 'stdc|grpc|ssl|cuda'; then
  echo "package_test: the root is to hold the C library alone"
  exit 1
fi

# In namespaces of its own, so that whatever is started ends with it and nothing stays mounted.
readonly inside='
set -euo pipefail
root=$1
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
run=(env -i HOME=/state PATH=/usr/sbin:/usr/bin chroot "$root")
"${run[@]}" /opt/bin/darkroomd --model /emoji --listen 127.0.0.1:0 --port-file /state/port \
  --state-dir /state/store 2>"$root/state/log" &
daemon=$!
end=$((SECONDS + $2))
until [[ -s "$root/state/port" ]]; do
  if ! kill -0 "$daemon" || ((SECONDS > end)); then cat "$root/state/log"; exit 1; fi
  sleep 0.1
done
port=$(head -n 1 "$root/state/port")
"${run[@]}" /opt/bin/darkroom generate --server "127.0.0.1:$port" --model emoji \
  --prompt strawberry --seed 7 --out /state/picture.png || { cat "$root/state/log"; exit 1; }
kill -TERM "$daemon"
wait "$daemon"
'
unshare --mount --pid --fork --kill-child bash -c "$inside" inside "$root" "$wait_seconds_max"

if [[ "$(head -c 4 "$root/state/picture.png" | tail -c 3)" != PNG ]]; then
  echo "package_test: no picture"
  exit 1
fi
echo "package_test: a picture of $(stat --format=%s "$root/state/picture.png") bytes"
