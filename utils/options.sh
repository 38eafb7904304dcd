# shellcheck shell=bash
# The options of a recipe, sourced by utils/recipe.sh.
#
#   read_knobs FILE     finds the recipe's knobs: its lines `name=default   # comment`
#   parse_options ARGS  sets the knobs from the command line, or ends the script with exit code 2
#   print_help FILE     shows the recipe's description, its knobs and its stages
#
# Variables here begin with an underscore and knobs with a letter, so that no local variable can hide a knob.
# Nothing in a value is ever evaluated: knobs are set by name, with printf -v.

_recipe_knobs=()         # names, in the order of the recipe
_common_knobs=()         # names of the others, which every recipe has
declare -A _knob_type    # integer, number, boolean, list or text
declare -A _knob_default
declare -A _knob_comment
declare -A _knob_choices # from `one of: a b c` in the comment
_other_options=()        # the command line without --stage and --force, for the message that says how to continue

# The common knobs, named for shellcheck, which cannot see that read_knobs sets them.
# shellcheck disable=SC2034
declare stage stop_stage nj decode_nj num_gpus tag mini train_config set decode_set force status help

_integer='^-?(0|[1-9][0-9]*)$'
_number='^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$'
_knob_line='^([a-z][a-z0-9_]*)=.*[[:space:]]#[[:space:]]+(.*)$'
_recipe_line='^[[:space:]]*(\.|source)[[:space:]].*utils/recipe\.sh'
_choices_in_comment='one of: ([^;()]*)'

read_knobs() {
  local _line
  while IFS= read -r _line && [[ ! $_line =~ $_recipe_line ]]; do
    if [[ $_line =~ $_knob_line ]]; then
      _recipe_knobs+=("${BASH_REMATCH[1]}")
      describe_knob "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    fi
  done <"$1"
  common_knob stage 0 "first stage to run"
  common_knob stop_stage 5 "last stage to run"
  # nproc would follow OMP_NUM_THREADS, which says how many threads a job takes and not how many jobs there may be.
  common_knob nj "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" "jobs that a step may be split into"
  common_knob decode_nj 1 "jobs that decoding is split into, each with the model and the graph in memory"
  common_knob num_gpus 0 "GPUs to train on; 0: the CPU"
  common_knob tag "" "ending of the experiment's name, to keep it apart from others"
  common_knob mini false "run on a small synthetic copy of the corpus, under mini/"
  common_knob train_config "" "YAML file with the configuration of steps/train.py"
  common_knob set "()" "NAME=VALUE of the training configuration, repeatable"
  common_knob decode_set "()" "NAME=VALUE of the decoding configuration, repeatable"
  common_knob force false "run steps again even when they are up to date"
  common_knob status false "show what is done, stale, failed or not run, and run nothing"
  common_knob help false "show this text"
}

# common_knob NAME DEFAULT COMMENT: a recipe that declares the knob itself keeps its own default and comment.
common_knob() {
  if [[ -n ${_knob_type[$1]-} ]]; then
    return
  fi
  unset -v "$1"
  if [[ $2 == "()" ]]; then
    declare -ga "$1=()"
  else
    printf -v "$1" '%s' "$2"
  fi
  _common_knobs+=("$1")
  describe_knob "$1" "$3"
}

# describe_knob NAME COMMENT: the default is what the variable holds now, and the type follows from it.
describe_knob() {
  local -n _knob=$1
  _knob_comment[$1]=$2
  _knob_default[$1]=${_knob[*]-}
  if [[ $(declare -p "$1") == "declare -a"* ]]; then
    _knob_type[$1]=list
  elif [[ $_knob =~ $_integer ]]; then
    _knob_type[$1]=integer
  elif [[ $_knob =~ $_number ]]; then
    _knob_type[$1]=number
  elif [[ $_knob == true || $_knob == false ]]; then
    _knob_type[$1]=boolean
  else
    _knob_type[$1]=text
  fi
  if [[ $2 =~ $_choices_in_comment ]]; then
    _knob_choices[$1]=${BASH_REMATCH[1]//,/ }
  fi
}

parse_options() {
  local _words _name _value
  while (($# > 0)); do
    _words=("$1")
    knob_name "$1"
    if [[ $1 == *=* ]]; then
      _value=${1#*=}
    elif [[ $# -gt 1 && $2 != --* ]]; then
      _value=$2
      _words+=("$2")
    elif [[ ${_knob_type[$_name]} == boolean ]]; then
      _value=true
    else
      usage_error "$1 needs a value (one that begins with -- is written $1=--value)"
    fi
    check_value "$_name" "$_value"
    set_knob "$_name" "$_value"
    if [[ $_name != stage && $_name != force ]]; then # --force would make anew what this run has made
      _other_options+=("${_words[@]}")
    fi
    shift ${#_words[@]}
  done
}

# knob_name WORD: sets _name to the knob that an option such as --stop-stage or --stop_stage=5 is about.
knob_name() {
  if [[ $1 != --?* ]]; then
    usage_error "unexpected argument $(quoted "$1"); options are written --name value"
  fi
  _name=${1%%=*}
  _name=${_name#--}
  _name=${_name//-/_}
  if [[ ! $_name =~ ^[a-z0-9_]+$ || -z ${_knob_type[$_name]-} ]]; then
    usage_error "unknown option ${1%%=*}$(suggestion "$_name")"
  fi
}

check_value() {
  local _option=--${1//_/-} _choices _choice
  case ${_knob_type[$1]} in
    integer) [[ $2 =~ $_integer ]] || usage_error "$_option takes an integer, not $(quoted "$2")" ;;
    number) [[ $2 =~ $_number ]] || usage_error "$_option takes a number, not $(quoted "$2")" ;;
    boolean) [[ $2 == true || $2 == false ]] || usage_error "$_option takes true or false, not $(quoted "$2")" ;;
  esac
  if [[ -z ${_knob_choices[$1]-} || $2 == "${_knob_default[$1]}" ]]; then
    return
  fi
  read -ra _choices <<<"${_knob_choices[$1]}"
  for _choice in "${_choices[@]}"; do
    if [[ $2 == "$_choice" ]]; then
      return
    fi
  done
  usage_error "$_option takes one of: ${_choices[*]}; not $(quoted "$2")"
}

set_knob() {
  local -n _knob=$1
  if [[ ${_knob_type[$1]} == list ]]; then
    _knob+=("$2")
  else
    printf -v "$1" '%s' "$2"
  fi
}

# suggestion NAME: the known option nearest to a misspelt one, unless none is near.
suggestion() {
  local _known _distance _least=$((${#1} / 3 + 2)) _nearest=
  for _known in "${!_knob_type[@]}"; do
    _distance=$(edit_distance "${1:0:40}" "$_known")
    if ((_distance < _least)); then
      _least=$_distance
      _nearest=$_known
    fi
  done
  if [[ -n $_nearest ]]; then
    printf '; did you mean --%s?' "${_nearest//_/-}"
  fi
}

# edit_distance A B: insertions, deletions and substitutions between two words (Wagner and Fischer, one row kept).
edit_distance() {
  local _row=() _i _j _diagonal _above
  for ((_j = 0; _j <= ${#2}; _j++)); do
    _row[_j]=$_j
  done
  for ((_i = 1; _i <= ${#1}; _i++)); do
    _diagonal=${_row[0]}
    _row[0]=$_i
    for ((_j = 1; _j <= ${#2}; _j++)); do
      _above=${_row[_j]}
      if [[ ${1:_i-1:1} != "${2:_j-1:1}" ]]; then
        ((_above >= _diagonal)) || _diagonal=$_above
        ((_row[_j - 1] >= _diagonal)) || _diagonal=${_row[_j - 1]}
        _diagonal=$((_diagonal + 1))
      fi
      _row[_j]=$_diagonal
      _diagonal=$_above
    done
  done
  printf '%d' "${_row[-1]}"
}

usage_error() {
  printf '%s: %s\n' "${0##*/}" "$1" "${0##*/}" "--help lists the options" >&2
  exit 2
}

quoted() {
  printf '%q' "$1"
}

print_help() {
  local _program=./${0##*/}
  describe_recipe "$1"
  printf '\nUsage: %s [--name value]...\n' "$_program"
  printf '  for example: %s --stage 4 --tag lr3e-4 --set optim.lr=3e-4\n' "$_program"
  printf '\nOptions of this recipe:\n'
  list_knobs "${_recipe_knobs[@]}"
  printf '\nOptions of every recipe:\n'
  list_knobs "${_common_knobs[@]}"
  printf '\nStages:\n'
  list_stages
}

# describe_recipe FILE: its head comment, without the line that names the interpreter.
describe_recipe() {
  local _line
  while IFS= read -r _line && [[ $_line == "#"* ]]; do
    case $_line in
      "#!"* | "# shellcheck"*) ;;
      *) _line=${_line#"#"} && printf '%s\n' "${_line# }" ;;
    esac
  done <"$1"
}

# list_knobs NAME...: option, default and comment, in columns as wide as the widest knob needs.
list_knobs() {
  local _name _default _name_width=0 _default_width=2
  for _name in "${!_knob_type[@]}"; do
    _default=${_knob_default[$_name]}
    ((_name_width >= ${#_name})) || _name_width=${#_name}
    ((_default_width >= ${#_default})) || _default_width=${#_default}
  done
  for _name in "$@"; do
    printf '  --%-*s  %-*s  %s\n' "$_name_width" "${_name//_/-}" \
      "$_default_width" "${_knob_default[$_name]:-\"\"}" "${_knob_comment[$_name]}"
  done
}
