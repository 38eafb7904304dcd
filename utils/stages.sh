# shellcheck shell=bash disable=SC2154  # knobs come from utils/options.sh
# The stages of a recipe, sourced by utils/recipe.sh.
#
#   if stage 1 "features: fbank of every cut"; then ...; fi
#   finish
#
# A stage runs when its number lies within [--stage, --stop-stage]. A command that fails ends the recipe, and the last
# lines then say which stage it was and how to continue from it. With --status every stage is entered, and every
# step only records its state in the file $EGRET_STATUS, which utils/status.py shows at the end. With EGRET_CHECK=1 in
# the environment stages are entered without a word, and every step only reads its options.

_stage_numbers=() # of this recipe, in order
_stage_texts=()
_last_stage=-1    # the last number seen
_current_stage=   # the stage that is running, if any
_stage_began=0
_finished=false

_stage_line='^[[:space:]]*if[[:space:]]+stage[[:space:]]+([0-9]+)[[:space:]]+"([^"]*)"'

# read_stages FILE: finds the stages by their lines, so that --help can list them without running anything.
read_stages() {
  local _line
  while IFS= read -r _line; do
    if [[ $_line =~ $_stage_line ]]; then
      check_order "${BASH_REMATCH[1]}"
      _stage_numbers+=("${BASH_REMATCH[1]}")
      _stage_texts+=("${BASH_REMATCH[2]}")
    fi
  done <"$1"
  _last_stage=-1
}

check_order() {
  if (($1 <= _last_stage)); then
    printf '%s: stage %d comes after stage %d; a recipe numbers its stages upwards\n' "$0" "$1" "$_last_stage" >&2
    exit 2
  fi
  _last_stage=$1
}

list_stages() {
  local _i
  for _i in "${!_stage_numbers[@]}"; do
    printf '  %2d  %s\n' "${_stage_numbers[_i]}" "${_stage_texts[_i]}"
  done
}

check_stage_range() {
  local _number
  if [[ $status == true ]]; then
    return
  fi
  if ((stage > stop_stage)); then
    usage_error "--stage $stage lies after --stop-stage $stop_stage; give a later --stop-stage"
  fi
  for _number in "${_stage_numbers[@]}"; do
    if in_range "$_number"; then
      return
    fi
  done
  usage_error "no stage lies from --stage $stage to --stop-stage $stop_stage; there are ${_stage_numbers[*]}"
}

in_range() {
  (($1 >= stage && $1 <= stop_stage))
}

# begin_stages: from here on, every way out of the recipe passes through end_recipe.
begin_stages() {
  SECONDS=0
  trap 'end_recipe $?' EXIT
  trap 'exit 130' INT
  trap 'exit $(($? == 75 ? 75 : 143))' TERM # a step that was told, too, may have saved: run it again
  if [[ $status == true ]]; then
    EGRET_STATUS=$(mktemp)
    export EGRET_STATUS
    exec 3>&1 >/dev/null # the table is all that --status prints
  fi
}

stage() {
  check_order "$1"
  end_stage
  if [[ $status == false ]] && ! in_range "$1"; then
    return 1
  fi
  _current_stage=$1
  _stage_began=$SECONDS
  export EGRET_STAGE=$1
  say "=== stage $1: $2 === $(now)"
}

end_stage() {
  if [[ -n $_current_stage ]]; then
    say "=== stage $_current_stage finished in $((SECONDS - _stage_began)) s"
  fi
  _current_stage=
}

# finish [EXPERIMENT]: the closing lines, with what the experiment came to when it has been scored.
# shellcheck disable=SC2120  # recipes pass it
finish() {
  end_stage
  if [[ -n ${1-} && -f $1/best.json && -z ${EGRET_CHECK-} ]] && ((stop_stage >= 5)); then
    "$EGRET_ROOT/utils/result.py" "$1"
  fi
  say "=== ${0##*/} finished in $SECONDS s === $(now)"
  _finished=true
}

# end_recipe CODE: what the user sees last, whichever way the recipe ended.
end_recipe() {
  if [[ -n ${EGRET_CHECK-} ]]; then
    return
  fi
  if [[ $status == true ]]; then
    show_status "$1"
  elif (($1 != 0)); then
    explain_failure "$1" >&2
  elif [[ $_finished == false ]]; then
    # shellcheck disable=SC2119
    finish
  fi
}

explain_failure() {
  local _verb=failed
  if (($1 == 130 || $1 == 143 || $1 == 75)); then # 75: a warning came, what was done is saved
    _verb=interrupted
  fi
  if [[ -z $_current_stage ]]; then
    if (($1 != 2)); then # wrong usage has been said
      printf '=== %s %s outside its stages, exit code %d\n' "${0##*/}" "$_verb" "$1"
    fi
    return
  fi
  printf '=== stage %d %s after %d s, exit code %d\n' \
    "$_current_stage" "$_verb" $((SECONDS - _stage_began)) "$1"
  if (($1 == 2)); then # the same options would be refused again
    printf '=== mend the options, and add --stage %d to continue\n' "$_current_stage"
    return
  fi
  printf '=== to continue:'
  printf ' %q' "$(program)" --stage "$_current_stage" "${_other_options[@]}"
  printf '\n'
}

# program: this script, as a shell would find it.
program() {
  if [[ $0 == */* ]]; then
    printf '%s' "$0"
  else
    printf './%s' "$0"
  fi
}

show_status() {
  local _i _stages=()
  if (($1 == 2 && _last_stage < 0)); then # called wrongly, and that has been said; nothing was looked at
    rm -f "$EGRET_STATUS"
    return
  fi
  for _i in "${!_stage_numbers[@]}"; do
    _stages+=("${_stage_numbers[_i]}: ${_stage_texts[_i]}")
  done
  "$EGRET_ROOT/utils/status.py" "$EGRET_STATUS" "${_stages[@]}" >&3
  rm -f "$EGRET_STATUS"
  if (($1 != 0)); then
    printf '%s: could not look beyond stage %s, exit code %d\n' "${0##*/}" "${_current_stage:-(none)}" "$1" >&2
  fi
}

say() {
  if [[ $status == false && -z ${EGRET_CHECK-} ]]; then
    printf '%s\n' "$1"
  fi
}

now() {
  printf '%(%F %T)T' -1
}
