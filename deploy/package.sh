#!/usr/bin/env bash
# Packs the daemon, its workers and the command line with every library they need except the C
# library and CUDA's, so that they run where nothing is installed: builds them if need be, copies
# them into a folder with bin/, lib/ and licenses/, and makes a .tar.xz of it. The last line printed
# is the archive's path.
#
#   deploy/package.sh [FOLDER]     default build/package
#
# The archive runs on x86-64 Linux with the build machine's C library or a newer one. Where nvcc was
# found, workers compute on GPUs too: they need the driver alone, nothing of the CUDA toolkit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly output=${1:-build/package}
readonly programs=(darkroomd darkroom-worker darkroom-media darkroom)
# The archive must stay small enough to be carried about.
readonly archive_bytes_max=$((50 * 1024 * 1024))
# What belongs to the machine: the C library, whose parts must be of one version with its loader.
readonly system_library='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|nsl|mvec))\.so'

echo "package: build"
deploy/packages.sh build
configure=(cmake --preset cpu)
if [[ ! -f build/CMakeCache.txt ]]; then
  configure+=(-DDARKROOM_WITH_TESTS=OFF)
  nvcc="$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc || true)"
  if [[ -n "$nvcc" ]]; then
    configure+=(-DDARKROOM_WITH_CUDA=ON "-DCMAKE_CUDA_COMPILER=$nvcc")
  fi
fi
"${configure[@]}" >/dev/null
cmake --build --preset cpu --parallel "$(nproc)" --target "${programs[@]}"

version=$(build/bin/darkroomd --version | awk '{print $NF}')
readonly name=darkroom-$version-$(uname -m)
readonly folder=$output/$name
rm -rf "$folder" "$folder.tar.xz"
mkdir -p "$folder/bin" "$folder/lib" "$folder/licenses"

echo "package: copy"
for program in "${programs[@]}"; do
  install -m 755 -s "build/bin/$program" "$folder/bin/"
done
# ldd lists what the libraries need in turn, too. dpkg knows the path before links are followed.
ldd "$folder"/bin/* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u >"$folder/libraries"
if ldd "$folder"/bin/* | grep 'not found'; then
  echo "package: the libraries above are missing" >&2
  exit 1
fi
while read -r library; do
  file=$(basename "$library")
  if [[ "$file" =~ $system_library ]]; then continue; fi
  install -m 644 "$(realpath "$library")" "$folder/lib/$file"
  package=$(dpkg-query --search "$library" "${library#/usr}" "/usr$library" 2>/dev/null |
    head -n 1 | cut -d: -f1 || true)
  if [[ -z "$package" || ! -f /usr/share/doc/$package/copyright ]]; then
    echo "package: $library has no package whose licence could be enclosed" >&2
    exit 1
  fi
  cp "/usr/share/doc/$package/copyright" "$folder/licenses/$package"
done <"$folder/libraries"
rm "$folder/libraries"
cp LICENSE "$folder/licenses/darkroom"
cp README.md CHANGELOG.md "$folder/"

echo "package: compress"
tar --directory "$output" --sort=name --owner=0 --group=0 --numeric-owner --mtime='@0' \
  --create "$name" | xz -2 --threads=0 >"$folder.tar.xz"
bytes=$(stat --format=%s "$folder.tar.xz")
echo "package: $(ls "$folder/lib" | wc -l) libraries, $((bytes / 1024 / 1024)) MiB compressed"
if ((bytes > archive_bytes_max)); then
  echo "package: more than $((archive_bytes_max / 1024 / 1024)) MiB" >&2
  exit 1
fi
echo "$folder.tar.xz"
