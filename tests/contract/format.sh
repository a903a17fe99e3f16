#!/usr/bin/env bash
# Is every source file as clang-format would write it? Lists those that are not; exit 1 when there are any.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v clang-format >/dev/null || { echo "format: clang-format is not installed (apt-get install clang-format)" >&2; exit 2; }
mapfile -d '' files < <(git ls-files -z -- 'common/*.cc' 'common/*.h' 'services/*.cc' 'services/*.h' 'tests/*.cc' 'tests/*.h')
bad=()
for file in "${files[@]}"; do
  clang-format --dry-run -Werror "$file" 2>/dev/null || bad+=("$file")
done
echo "format: ${#bad[@]} of ${#files[@]} files differ from .clang-format"
[ ${#bad[@]} -eq 0 ] || { printf '  %s\n' "${bad[@]}"; exit 1; }
