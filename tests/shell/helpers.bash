# shellcheck shell=bash disable=SC2154  # bats sets output and stderr
# A small house to try the shell layer in: the real utils/ and cmd.sh, a path.sh that installs nothing, and a recipe.

bats_require_minimum_version 1.5.0

house() {
  house=$BATS_TEST_TMPDIR/house
  mkdir -p "$house/egs/toy" "$house/steps"
  cp -r "$BATS_TEST_DIRNAME/../../utils" "$BATS_TEST_DIRNAME/../../cmd.sh" "$house"
  echo "touch '$house/path.sh.was.sourced'" >"$house/path.sh"
  cd "$house/egs/toy" || return
}

# recipe KNOBS < STAGES: writes ./run.sh with these knob lines and this body.
recipe() {
  {
    printf '%s\n' '#!/usr/bin/env bash' '# toy: a recipe for tests.' '# It trains nothing.' 'set -euo pipefail' ''
    printf '%s\n' "$1"
    # shellcheck disable=SC2016  # the recipe expands it
    echo '. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"'
    cat
  } >run.sh
  chmod +x run.sh
}

# step NAME STATE [WHY]: a program in steps/ that records this state for --status, and otherwise says that it works.
step() {
  cat >"$house/steps/$1" <<END
#!/usr/bin/env bash
if [[ -n \${EGRET_STATUS-} ]]; then
  printf '{"stage": "%s", "step": "$1", "output": "data/$1", "state": "$2", "why": "${3-}"}\n' \
    "\$EGRET_STAGE" >>"\$EGRET_STATUS"
else
  echo "$1 works"
fi
END
  chmod +x "$house/steps/$1"
}

# wrong WORDS...: runs the recipe with these options, which must be refused before anything else happens.
wrong() {
  run --separate-stderr -2 ./run.sh "$@"
  [[ ! -e $house/path.sh.was.sourced ]]
}

says() {
  [[ $output == *"$1"* ]] || fail "expected: $1"
}

complains() {
  [[ $stderr == *"$1"* ]] || fail "expected: $1"
}

fail() {
  printf '%s\n' "$1" "output: $output" "stderr: ${stderr-}" >&2
  return 1
}
