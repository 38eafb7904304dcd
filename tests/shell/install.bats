#!/usr/bin/env bats
# The installation: local/install.sh, path.sh, the lock files, utils/doctor.py.
#
# What takes minutes, installing for real, runs with EGRET_TEST_FULL=1.

setup() {
  root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  installed=${EGRET_VENV:-$root/.venv}
  # A copy of what the installation is made of, so that no test touches the real environment.
  project=$BATS_TEST_TMPDIR/project
  mkdir -p "$project" "$BATS_TEST_TMPDIR/bin"
  cp -r "$root/local" "$root/requirements" "$root/path.sh" "$project"
  unset EGRET_VENV EGRET_ROOT EGRET_NO_INSTALL PYTHONPATH
}

# pretend_installed: an environment that is complete as far as its marker says.
pretend_installed() {
  local profile=${1:-default} dev=${2:-false} lock_hashes
  export EGRET_ROOT=$project
  # shellcheck source=/dev/null
  . "$project/local/installed.sh"
  hash_locks "$profile" "$dev"
  mkdir -p "$project/.venv/bin"
  ln -sf "$(command -v python3)" "$project/.venv/bin/python"
  cat >"$project/.venv/.egret.json" <<EOF
{
  "profile": "$profile",
  "python": "$("$project/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')",
  "torch": "",
  "dev": "$dev",
  "locks": "$lock_hashes"
}
EOF
}

# fake NAME: a program on PATH, with its script from standard input.
fake() {
  { echo '#!/bin/sh'; cat; } >"$BATS_TEST_TMPDIR/bin/$1"
  chmod +x "$BATS_TEST_TMPDIR/bin/$1"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

@test "an unknown option is refused with the nearest name" {
  run "$project/local/install.sh" --pyhton python3
  [ "$status" -eq 2 ]
  [[ $output == *"unknown option --pyhton; did you mean --python?"* ]]
}

@test "an unknown profile is refused with the nearest name" {
  run "$project/local/install.sh" --profile=nok2
  [ "$status" -eq 2 ]
  [[ $output == *"did you mean no-k2?"* ]]
}

@test "an option without its value is refused" {
  run "$project/local/install.sh" --venv --dev
  [ "$status" -eq 2 ]
  [[ $output == *"--venv needs a value"* ]]
}

@test "help lists every option" {
  run "$project/local/install.sh" --help
  [ "$status" -eq 0 ]
  for option in --profile --python --venv --torch --dev --force; do
    [[ $output == *"$option"* ]]
  done
}

@test "another Python than the profile needs is refused" {
  fake python3.9 <<<'echo 3.9'
  run "$project/local/install.sh" --profile default --python python3.9
  [ "$status" -eq 1 ]
  [[ $output == *"is Python 3.9; profile default needs 3.10"* ]]
}

@test "where no Python fits, the message says how to get one" {
  for name in python3.10 python3; do
    fake "$name" <<<'exit 127' # as pyenv's do for a version that is not chosen
  done
  PYENV_ROOT=$BATS_TEST_TMPDIR fake pyenv <<<'exit 1'
  run env HOME="$BATS_TEST_TMPDIR" PYENV_ROOT="$BATS_TEST_TMPDIR" "$project/local/install.sh" --profile default
  [ "$status" -eq 1 ]
  [[ $output == *"pyenv install 3.10"* ]]
}

@test "a folder that is no environment is left alone" {
  mkdir "$BATS_TEST_TMPDIR/home"
  touch "$BATS_TEST_TMPDIR/home/thesis.tex"
  run "$project/local/install.sh" --profile no-k2 --venv "$BATS_TEST_TMPDIR/home"
  [ "$status" -eq 1 ]
  [[ $output == *"is not an environment"* ]]
  [ -f "$BATS_TEST_TMPDIR/home/thesis.tex" ]
}

@test "without a compiler the message names the command that brings one" {
  CXX=no-such-compiler EGRET_CACHE=$BATS_TEST_TMPDIR/cache run "$project/local/install.sh" --profile no-k2
  [ "$status" -eq 1 ]
  [[ $output == *"a C++ compiler is needed"*"apt-get install g++"* ]]
}

@test "without a network there is one clear message, and the log's last lines" {
  # The environment's own pip is asked for packages from a port where nobody listens.
  PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS='' PIP_RETRIES=0 PIP_INDEX_URL=http://127.0.0.1:9/ \
    run "$project/local/install.sh" --profile no-k2
  [ "$status" -eq 1 ]
  [[ $output == *"the package index cannot be reached"* ]]
  [[ $output == *".venv.log"* ]]
  [ ! -e "$project/.venv/.egret.json" ]
}

@test "profile gpu that was a guess falls back to no-k2 on a GPU that torch 1.13 does not know" {
  fake nvidia-smi <<<'[ $# = 0 ] || echo 9.0'
  PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS='' PIP_RETRIES=0 PIP_INDEX_URL=http://127.0.0.1:9/ \
    run "$project/local/install.sh"
  [[ $output == *"compute capability 9.0; taking profile no-k2"* ]]
  [[ $output == *"profile no-k2 into"* ]]
}

@test "profile gpu that was a guess falls back to default on an older GPU" {
  fake nvidia-smi <<<'[ $# = 0 ] || echo 8.6'
  PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS='' PIP_RETRIES=0 PIP_INDEX_URL=http://127.0.0.1:9/ \
    run "$project/local/install.sh"
  [[ $output == *"profile default into"* ]]
}

@test "what is installed is left alone, quickly" {
  pretend_installed
  run "$project/local/install.sh"
  [ "$status" -eq 0 ]
  [[ $output == *"is up to date (profile default"* ]]
}

@test "an installation waits for another one into the same folder" {
  exec 8>"$project/.venv.lock"
  flock 8
  CXX=no-such-compiler EGRET_CACHE=$BATS_TEST_TMPDIR/cache \
    "$project/local/install.sh" --profile no-k2 >"$BATS_TEST_TMPDIR/out" 2>&1 8>&- &
  sleep 1
  grep -q "waiting for it" "$BATS_TEST_TMPDIR/out"
  run grep "compiler" "$BATS_TEST_TMPDIR/out"
  [ "$status" -ne 0 ]
  flock --unlock 8
  wait $! || true
  grep -q "compiler" "$BATS_TEST_TMPDIR/out"
}

@test "path.sh works from any folder, twice, under set -euo pipefail" {
  pretend_installed
  run bash -c "set -euo pipefail; cd /; . '$project/path.sh'; once=\$PATH; . '$project/path.sh'
    [[ \$PATH == \"\$once\" && \$PATH == '$project/.venv/bin:'* ]]
    [[ \$PYTHONPATH == '$project' && \$EGRET_ROOT == '$project' ]] || [[ \$PYTHONPATH == '$project:'* ]]
    [[ \$(locale charmap) == UTF-8 ]]"
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

@test "path.sh says the command where nothing is installed and nothing may be" {
  EGRET_NO_INSTALL=1 run bash -c "set -euo pipefail; . '$project/path.sh'; echo not reached"
  [ "$status" -eq 1 ]
  [[ $output == *"not installed"*"run: $project/local/install.sh" ]]
}

@test "path.sh runs the installer where the environment is missing, half made or broken" {
  printf '#!/bin/sh\necho the installer ran\n' >"$project/local/install.sh"
  run bash -c ". '$project/path.sh'"
  [ "$output" = "the installer ran" ]

  pretend_installed
  mv "$project/.venv/.egret.json" "$project/.venv/.egret.wanted"
  run bash -c ". '$project/path.sh'"
  [ "$output" = "the installer ran" ]

  pretend_installed
  ln -sf /nowhere/python "$project/.venv/bin/python"
  run bash -c ". '$project/path.sh'"
  [ "$output" = "the installer ran" ]
}

@test "path.sh notices a changed lock file" {
  pretend_installed
  echo "# changed" >>"$project/requirements/default.lock"
  EGRET_NO_INSTALL=1 run bash -c "set -euo pipefail; . '$project/path.sh'; echo goes on"
  [[ $output == *"warning: requirements/ has changed"*"goes on" ]]

  printf '#!/bin/sh\necho the installer ran\n' >"$project/local/install.sh"
  run bash -c ". '$project/path.sh'"
  [[ $output == *"bringing it up to date"*"the installer ran" ]]
}

@test "path.sh takes an environment that someone else made as it is" {
  mkdir -p "$BATS_TEST_TMPDIR/own/bin"
  ln -s "$(command -v python3)" "$BATS_TEST_TMPDIR/own/bin/python"
  EGRET_VENV=$BATS_TEST_TMPDIR/own run bash -c "set -euo pipefail; . '$project/path.sh'; command -v python"
  [ "$output" = "$BATS_TEST_TMPDIR/own/bin/python" ]
}

@test "the lock files have a hash for every package, and name no index and no path" {
  run grep -nE '://|^-|/(home|root|tmp|opt|work)' "$root"/requirements/*.lock
  [ "$status" -ne 0 ]
  for lock in "$root"/requirements/*.lock; do
    awk '/^[a-z]/ { if (open) exit 1; open = 1 } /--hash=sha256:[0-9a-f]+/ { open = 0 } END { exit open }' "$lock"
  done
}

@test "default.lock has one hash of k2, the wheel for Python 3.10" {
  run awk '/^k2==/ { on = 1; next } /^[a-z]/ { on = 0 } on' "$root/requirements/default.lock"
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *1404589732fdb7f6f5bf62297a20dd73318b7b4f2e10dd52dc3d5b6669688a4c* ]]
}

@test "dev.lock pins nothing that a profile pins differently" {
  for profile in default no-k2 gpu; do
    # A package that both have must have one version in the two together.
    run awk '
      /^[a-z].*==/ { split($1, pin, "=="); version[FILENAME, pin[1]] = version[FILENAME, pin[1]] " " pin[2] }
      END {
        for (key in version) { split(key, part, SUBSEP); all[part[2]] = all[part[2]] "|" version[key] }
        for (name in all) if (split(all[name], v, "|") == 3 && v[2] != v[3]) print name all[name]
      }' "$root/requirements/$profile.lock" "$root/requirements/dev.lock"
    [ -z "$output" ]
  done
}

@test "the doctor finds an installed environment well" {
  [ -f "$installed/.egret.json" ] || skip "no environment that local/install.sh made"
  EGRET_VENV=$installed run python3 "$root/utils/doctor.py" --json
  [ "$status" -eq 0 ]
  [[ $output == *'"name": "lhotse"'* ]]
}

@test "the doctor says what mends a missing environment" {
  EGRET_VENV=$BATS_TEST_TMPDIR/none run python3 "$root/utils/doctor.py"
  [ "$status" -eq 1 ]
  [[ $output == *"-> local/install.sh"* ]]
}

@test "full: an interrupted installation is finished by the next, a damaged cache is rebuilt" {
  [ "${EGRET_TEST_FULL:-0}" = 1 ] || skip "EGRET_TEST_FULL=1 runs it (some ten minutes)"
  export EGRET_CACHE=$BATS_TEST_TMPDIR/cache
  timeout --signal KILL 40 "$project/local/install.sh" --profile default || true
  [ ! -e "$project/.venv/.egret.json" ]
  run "$project/local/install.sh"
  [ "$status" -eq 0 ]
  [ -x "$project/.venv/bin/lmplz" ]

  wheel=$(echo "$EGRET_CACHE"/kaldifeat-*/*.whl)
  printf 'damage' | dd of="$wheel" bs=1 seek=100 conv=notrunc
  run "$project/local/install.sh" --force
  [ "$status" -eq 0 ]
  (cd "$(dirname "$wheel")" && sha256sum --check SHA256SUMS)
  EGRET_VENV=$project/.venv python3 "$root/utils/doctor.py"
}
