#!/usr/bin/env bash
# clang-format on every source file, then clang-tidy on those that changed. Needs a configured build
# folder, for its compile commands. ctest runs this as `lint`.
#
#   tests/lint.sh            files changed since the branch left its upstream, or in the last commit
#   tests/lint.sh --all      every file
#   tests/lint.sh --format   clang-format only
#   tests/lint.sh --fix      rewrites files as clang-format wants them
#   BUILD=build-asan tests/lint.sh
#
# Exit status: 0 clean, 1 findings, 77 skipped because clang 16 or newer is not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The versions whose findings are errors; a newer clang formats and warns a little differently.
readonly reference_version=16
# Without --all, clang-tidy takes the files with the most changed lines, up to this many: about
# twelve seconds each, so that the whole test command stays short.
readonly changed_files_max=12
readonly build="${BUILD:-build}"

find_tool() {
  local version
  for version in 16 17 18 19 20; do
    if command -v "$1-$version" >/dev/null; then
      echo "$1-$version"
      return
    fi
  done
  return 1
}

sources() { git ls-files --cached --others --exclude-standard "$@" | sort -u | existing; }

existing() {
  local file
  while read -r file; do
    if [[ -f "$file" ]]; then echo "$file"; fi
  done
}

# The commit to compare with: where this branch left its upstream, or else the commit before.
base_commit() {
  local upstream base
  for upstream in '@{upstream}' origin/HEAD origin/main; do
    if base=$(git merge-base HEAD "$upstream" 2>/dev/null) &&
      [[ "$base" != "$(git rev-parse HEAD)" || -n "$(git status --porcelain)" ]]; then
      echo "$base"
      return
    fi
  done
  git rev-parse --verify --quiet HEAD~1 || true
}

# Changed C++ files, the most changed first. A header is checked through the source file of the same
# name, since only that has a compile command.
changed_files() {
  local base=$1 count file
  {
    git diff --numstat --diff-filter=d "$base" -- '*.cc' '*.h' | awk '{print $1 + $2, $3}'
    git ls-files --others --exclude-standard -- '*.cc' '*.h' | while read -r file; do
      echo "$(wc -l <"$file") $file"
    done
  } | sort -k1,1nr -k2 | while read -r count file; do echo "${file%.h}"; done |
    sed 's/$/.cc/; s/\.cc\.cc$/.cc/' | awk '!seen[$0]++' | existing
}

# Only files with a compile command: the others are not built here (CUDA's side without nvcc).
compiled() {
  local file
  while read -r file; do
    if grep -qF "\"file\": \"$PWD/$file\"" "$build/compile_commands.json"; then echo "$file"; fi
  done
}

if ! tidy=$(find_tool clang-tidy) || ! format=$(find_tool clang-format); then
  echo "lint: skipped: clang-tidy and clang-format 16 or newer are not installed"
  exit 77
fi
advisory=false
if [[ "$tidy" != *-$reference_version || "$format" != *-$reference_version ]]; then
  echo "lint: $tidy and $format are not version $reference_version: findings are shown, not errors"
  advisory=true
fi
if ! git rev-parse --git-dir >/dev/null 2>&1; then
  echo "lint: skipped: not a git checkout"
  exit 77
fi

mode=${1:---changed}
mapfile -t formatted < <(sources '*.cc' '*.h' '*.cu' '*.cuh')
if [[ "$mode" == --fix ]]; then
  "$format" -i "${formatted[@]}"
  exit 0
fi

status=0
echo "lint: $format, ${#formatted[@]} files"
unformatted=$({ "$format" --dry-run -Werror "${formatted[@]}" 2>&1 || true; } |
  sed -n 's/: error: code should.*//p' | sort -t: -k1,1 -u)
if [[ -n "$unformatted" ]]; then
  printf 'lint: not formatted, first at %s\n' $unformatted
  echo "lint: tests/lint.sh --fix formats"
  status=1
fi

case "$mode" in
  --format) files=() ;;
  --all) mapfile -t files < <(sources '*.cc' | compiled) ;;
  --changed)
    base=$(base_commit)
    files=()
    if [[ -z "$base" ]]; then
      echo "lint: no earlier commit to compare with: clang-tidy has nothing to check"
    else
      mapfile -t files < <(changed_files "$base" | compiled)
    fi
    if [[ ${#files[@]} -gt $changed_files_max ]]; then
      echo "lint: ${#files[@]} files changed, the $changed_files_max most changed are checked"
      files=("${files[@]:0:$changed_files_max}")
    fi
    ;;
  *)
    echo "usage: tests/lint.sh [--all|--format|--fix]" >&2
    exit 2
    ;;
esac
if [[ ${#files[@]} -gt 0 ]]; then
  echo "lint: $tidy, ${#files[@]} files"
  # Standard error holds only counts of suppressed warnings, and real failures repeat on output.
  printf '%s\0' "${files[@]}" |
    xargs -0 -n 1 -P "$(nproc)" "$tidy" -p "$build" --quiet 2>/dev/null || status=1
fi
if [[ $status -ne 0 ]]; then
  echo "lint: findings above"
  if [[ "$advisory" == true ]]; then status=0; fi
fi
exit "$status"
