#!/usr/bin/env bash
# Renew the lock files from the .in files: requirements/compile.sh [--upgrade]
#
# Without --upgrade, pinned versions stay where the .in files still allow them. Needs uv (pip install uv).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

# lock NAME OPTION...: no header and no index in the file, so that it holds no path and no host.
lock() {
  local name=$1
  shift
  echo "$name.lock"
  uv pip compile --quiet --no-config --generate-hashes --no-header --no-annotate --no-emit-index-url \
    --no-emit-find-links --python-version 3.10 --output-file "$name.lock" "$@" "$name.in"
}

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
# Lhotse asks for torch, which install.sh installs itself where the lock has none.
echo "torch; python_version < '3'" >"$scratch/no-torch"

linux=(--python-platform x86_64-manylinux_2_28)
lock default "${linux[@]}" "$@"
lock no-k2 --universal --override "$scratch/no-torch" "$@"
lock gpu --universal --override "$scratch/no-torch" --constraint no-k2.lock "$@"
# One dev.lock serves all profiles: it holds nothing that they pin differently (tests/shell/install.bats checks).
lock dev --universal --override "$scratch/no-torch" --constraint default.lock "$@"
lock build --universal --no-deps "$@"

# The wheels of k2 1.23.4 for Python 3.7 to 3.11 all claim to fit any Python 3: keep the hash of the right one.
uv pip compile --quiet --no-config --no-header --format pylock.toml "${linux[@]}" --python-version 3.10 \
  --constraint default.lock --output-file "$scratch/pylock.toml" default.in
k2_hash=$(sed -n 's/.*k2-[0-9.]*-py3\.10-none-any\.whl.*sha256 = "\([0-9a-f]*\)".*/\1/p' "$scratch/pylock.toml")
[[ -n $k2_hash ]] || { echo "compile.sh: k2 has no wheel for Python 3.10" >&2; exit 1; }
awk -v hash="$k2_hash" '
  /^k2==/ { print; print "    --hash=sha256:" hash; skip = 1; next }
  /^[^ ]/ { skip = 0 }
  !skip' default.lock >"$scratch/default.lock"
cp "$scratch/default.lock" default.lock
