#!/usr/bin/env bash
# Installs the packages that Darkroom is built from, on Debian 12, Debian 13 or Ubuntu 24.04.
#
#   deploy/packages.sh build          what the daemon, the worker and the command line need
#   deploy/packages.sh build test     what the tests need besides
#   deploy/packages.sh build test lint
#   deploy/packages.sh build test fuzz   and clang with libFuzzer, for tests/fuzz/run.sh
#
# Does nothing, and needs no privilege, when everything is there. Packages of the group `lint` are
# optional: where clang 16 or newer is not packaged, that is said and lint is skipped later.
set -euo pipefail

build=(
  g++ cmake ninja-build ccache mold pkg-config
  libgrpc++-dev protobuf-compiler-grpc protobuf-compiler libprotobuf-dev libprotoc-dev
  libabsl-dev libspdlog-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev
  libdnnl-dev libsqlite3-dev libpng-dev libjpeg-dev libwebp-dev libssl-dev
  libicu-dev
)
test=(libgtest-dev libgmock-dev libbenchmark-dev python3 git procps)

# The clang whose formatting and checks are the reference, then newer ones.
clang_versions=(16 17 18 19 20)

is_installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$1" 2>/dev/null)" == ii* ]]
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "packages: root or sudo is needed to run: $*" >&2
    exit 1
  fi
}

# Sets `missing` to those of its arguments that are not installed.
find_missing() {
  missing=()
  local package
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
}

updated=false
update_lists() {
  [[ $updated == true ]] && return
  as_root apt-get -o DPkg::Lock::Timeout=300 -qq update
  updated=true
}

install_packages() {
  find_missing "$@"
  [[ ${#missing[@]} -eq 0 ]] && return
  echo "packages: installing ${missing[*]}"
  update_lists
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 -qq install --yes --no-install-recommends "${missing[@]}" \
    >/dev/null
}

install_lint() {
  local version
  for version in "${clang_versions[@]}"; do
    # clang's own omp.h, for the file that talks to oneDNN's OpenMP runtime.
    find_missing "clang-tidy-$version" "clang-format-$version" "libomp-$version-dev"
    [[ ${#missing[@]} -eq 0 ]] && return
  done
  update_lists
  for version in "${clang_versions[@]}"; do
    if apt-cache show "clang-tidy-$version" "clang-format-$version" >/dev/null 2>&1; then
      install_packages "clang-tidy-$version" "clang-format-$version" "libomp-$version-dev"
      return
    fi
  done
  echo "packages: clang 16 or newer is not packaged here; lint will be skipped"
}

install_fuzz() {
  local version
  for version in "${clang_versions[@]}"; do
    find_missing "clang-$version" "libclang-rt-$version-dev"
    [[ ${#missing[@]} -eq 0 ]] && return
  done
  update_lists
  for version in "${clang_versions[@]}"; do
    if apt-cache show "clang-$version" "libclang-rt-$version-dev" >/dev/null 2>&1; then
      install_packages "clang-$version" "libclang-rt-$version-dev"
      return
    fi
  done
  echo "packages: clang 16 or newer with libFuzzer is not packaged here" >&2
  exit 1
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "packages: not Debian or Ubuntu; install the equivalents of: ${build[*]} ${test[*]}" >&2
  exit 1
fi
if [[ $# -eq 0 ]]; then
  echo "usage: deploy/packages.sh build|test|lint|fuzz ..." >&2
  exit 2
fi
for group in "$@"; do
  case "$group" in
    build) install_packages "${build[@]}" ;;
    test) install_packages "${test[@]}" ;;
    lint) install_lint ;;
    fuzz) install_fuzz ;;
    *)
      echo "packages: unknown group \"$group\"; known: build, test, lint, fuzz" >&2
      exit 2
      ;;
  esac
done
