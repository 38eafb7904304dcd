# shellcheck shell=bash
# The skeleton of every recipe; egs/<corpus>/run.sh sources it below its knobs. docs/shell.md is its manual.
#
# It parses the recipe's options, goes to the recipe's folder, sources path.sh and cmd.sh, and leaves
#   $steps $utils       where the programs are
#   $data $exp          where this run keeps its files, relative to the recipe's folder
#   stage, finish       the stage loop (utils/stages.sh)
#   resolve_path VALUE  a path that the user gave, as seen from the recipe's folder
#   refuse_missing KNOB...  ends the recipe where one of these names a file that is not there
#   choose_model [NAME] sets $model where it is empty: NAME, else the conformer, but with --mini the fast tdnn; and
#                       $features, the folder of features, and feature_kind, options of stage 1, as a model may want its
#                       own; $with_ctc, false for a model without CTC; and $lists, what stage 6 compares the
#                       language model with: the method that chooses from the same n-best lists without it
#   training_config     the path of the configuration to train with
#   larger_ngram FOLDER OPTION...  where --rescore-order asks for one, an n-gram of that order beside that of FOLDER
#   rescoring_with FOLDER          sets rescoring, the options of stage 5 to rescore lattices with it
#   neural_lm_config    as training_config, for the language model of stage 6
#
# Bad options and --help are answered before path.sh, which may have to install something first.
set -euo pipefail
shopt -s inherit_errexit

_recipe=${BASH_SOURCE[1]}
_caller_dir=$PWD
EGRET_ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export EGRET_ROOT

# shellcheck source=utils/options.sh
. "$EGRET_ROOT/utils/options.sh"
# shellcheck source=utils/stages.sh
. "$EGRET_ROOT/utils/stages.sh"

# resolve_path VALUE: a relative path means what it meant where the user typed it, if there is such a file;
# otherwise it is left to the recipe's folder, and to the step to complain.
resolve_path() {
  if [[ -n $1 && $1 != /* && -e $_caller_dir/$1 ]]; then
    printf '%s\n' "$_caller_dir/$1"
  else
    printf '%s\n' "$1"
  fi
}

# choose_model [NAME]: the model's name where none was given: that of --train-config, else NAME, else the conformer, but
# with --mini the fast tdnn; beside --train-config it is but a name. Wrong usage where there is no such configuration.
# A configuration with a section of features has a folder of features that others with the same section share.
# shellcheck disable=SC2034  # features, feature_kind, with_ctc and lists are for the recipe
choose_model() {
  refuse_missing train_config
  if [[ -z $model && -n $train_config ]]; then
    model=${train_config##*/}
    model=${model%.*}
  elif [[ -z $model && $mini == true ]]; then
    model=tdnn
  elif [[ -z $model ]]; then
    model=${1:-conformer}
  fi
  features=$data/fbank feature_kind=() with_ctc=true lists=hlg_nbest
  local _config _section
  _config=$(training_config)
  _section=$(sed -n '/^features:/,/^[^ #]/{/^ /p}' "$_config")
  if [[ -n $_section ]]; then
    _section=$(sha256sum <<<"$_section")
    features=$data/features_${_section:0:8}
    feature_kind=(--features "$_config")
  fi
  if grep -qE '^ +ctc_weight: *0(\.0*)? *(#.*)?$' "$_config"; then
    with_ctc=false lists=attention_beam
  elif grep -qE '^ +decoder: *(speller|transformer_decoder)' "$_config"; then
    lists=attention_rescore
  fi
}

# training_config: --train-config, else the configuration of $model, the recipe's own before that of all recipes.
training_config() {
  local _folder _folders=("$PWD/conf" "$EGRET_ROOT/conf/models") _name _names=("$model") _known
  if [[ -n $train_config ]]; then
    resolve_path "$train_config"
    return
  fi
  if [[ $mini == true ]]; then
    _folders=("$PWD/conf/mini" "$EGRET_ROOT/conf/mini")
    _names+=("${model%_[sml]}" "${model%_large}") # one size for zipformer_s and zipformer_m
  fi
  for _name in "${_names[@]}"; do
    for _folder in "${_folders[@]}"; do
      if [[ -f $_folder/$_name.yaml && $_name != features && $_name != decode* ]]; then
        printf '%s\n' "$_folder/$_name.yaml"
        return
      fi
    done
  done
  _known=("${_folders[0]}"/*.yaml "${_folders[1]}"/*.yaml)
  _known=("${_known[@]##*/}")
  mapfile -t _known < <(printf '%s\n' "${_known[@]%.yaml}" | grep -vxE 'features|decode.*' | sort -u)
  usage_error "--model $model: ${_folders[1]#"$EGRET_ROOT/"} and the recipe have ${_known[*]}"
}

# larger_ngram FOLDER OPTION...: with --rescore-order, an n-gram of that order in FOLDER_rescore, by the options of
# steps/train_ngram.py with which that of FOLDER was made.
# shellcheck disable=SC2154  # the recipe declares the knob
larger_ngram() {
  if [[ -n $rescore_order ]]; then
    "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$rescore_order" "${@:2}" --out "$1_rescore"
  fi
}

# rescoring_with FOLDER: $rescoring, options of steps/decode.py; the share of the larger n-gram is chosen on dev.
# shellcheck disable=SC2034,SC2154
rescoring_with() {
  rescoring=()
  if [[ -n $rescore_order ]]; then
    ((rescore_order > lm_order)) || usage_error "--rescore-order $rescore_order: must be above --lm-order ($lm_order)"
    rescoring=(--rescore-lm "$1_rescore/G_${rescore_order}gram.safetensors" --rescore-scale 0 0.3 0.5 0.7 1)
    rescoring+=(--first-lm "$1/G_${lm_order}gram.safetensors")
  fi
}

# neural_lm_config: the configuration of $neural_lm, a YAML file or a name, the recipe's own before that of all recipes.
# shellcheck disable=SC2154  # the recipe declares the knob
neural_lm_config() {
  local _folder=conf/lm _path _known
  [[ $mini == false ]] || _folder=conf/mini/lm
  for _path in "$(resolve_path "$neural_lm")" "$PWD/$_folder/$neural_lm.yaml" "$EGRET_ROOT/$_folder/$neural_lm.yaml"; do
    if [[ $_path == *.y*ml && -f $_path ]]; then
      printf '%s\n' "$_path"
      return
    fi
  done
  _known=("$EGRET_ROOT/$_folder"/*.yaml)
  _known=("${_known[@]##*/}")
  usage_error "--neural-lm $neural_lm: no such file, and $_folder has ${_known[*]%.yaml}"
}

# refuse_missing KNOB...: wrong usage where one of these knobs is set to what is no file, before any stage runs for hours.
refuse_missing() {
  local _name
  for _name in "$@"; do
    if [[ -n ${!_name} && (! -e $(resolve_path "${!_name}") || -d $(resolve_path "${!_name}")) ]]; then
      usage_error "--${_name//_/-} ${!_name}: no such file"
    fi
  done
}

# check_settings OPTION...: wrong usage where the steps of stage 4 and later do not take what these options of the recipe
# would give them, before earlier stages run for hours. The recipe goes through the later stages with EGRET_CHECK=1.
check_settings() {
  local _complaints _code=0
  if [[ -n ${EGRET_CHECK-} || $status == true || ${#set[@]}${#decode_set[@]}$train_config${lm_set[*]-} == 00 ]]; then
    return
  fi
  if ((stage >= 4 || stop_stage < 4 || _stage_numbers[-1] < 4)); then
    return
  fi
  _complaints=$(cd "$_caller_dir" && EGRET_CHECK=1 "$BASH" "$_recipe" "$@" --stage 4 2>&1 >/dev/null) || _code=$?
  if ((_code == 2)); then # anything else is left to the stage itself
    printf '%s\n' "$_complaints" >&2
    exit 2
  fi
}

read_knobs "$_recipe"
read_stages "$_recipe"
parse_options "$@"
if [[ $help == true ]]; then
  print_help "$_recipe"
  exit 0
fi
check_stage_range
if [[ ! ${tag-} =~ ^[A-Za-z0-9._+-]*$ ]]; then
  usage_error "--tag $tag: letters, digits, dots, hyphens, underscores and plus signs only; it becomes part of a folder's name"
fi

CDPATH='' cd -- "$(dirname -- "$_recipe")"
# shellcheck source=/dev/null
. "$EGRET_ROOT/path.sh"
# shellcheck source=cmd.sh
. "$EGRET_ROOT/cmd.sh"

# shellcheck disable=SC2034  # for the recipe
{
  steps=$EGRET_ROOT/steps
  utils=$EGRET_ROOT/utils
  data=data
  exp=exp
}
if [[ $mini == true ]]; then
  data=mini/$data
  exp=mini/$exp
fi
if [[ $force == true ]]; then
  export EGRET_FORCE=1
fi
begin_stages
if [[ $mini == true && -n ${corpus-} ]]; then
  usage_error "--mini makes its own corpus; leave out --corpus"
fi
check_settings "$@"
