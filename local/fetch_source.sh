#!/usr/bin/env bash
# Download one package that requirements/build.lock pins, checked against its hash.
#
#   local/fetch_source.sh PYTHON NAME DIRECTORY
#
# PYTHON has setuptools beside it: pip asks a source archive for its metadata even when it only downloads it.
set -euo pipefail

python=$1
name=$2
directory=$3
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# The one entry of the lock file: its first line to the first line that does not end in a backslash.
entry=$(awk -v first="$name==" 'index($0, first) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' \
          "$root/requirements/build.lock")
options=(--no-deps --require-hashes --no-build-isolation --dest "$directory")
if [[ $name == cmeel-boost ]]; then
  # Only its C++ libraries are of interest, and there is none for the newest Pythons.
  options+=(--python-version 3.10 --only-binary :all:)
fi
"$python" -m pip download "${options[@]}" -r <(printf '%s\n' "$entry")
