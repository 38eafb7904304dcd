#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2154  # $ in single quotes is the point; helpers set $house
# Options of a recipe (utils/options.sh).

setup() {
  load helpers
  house
  recipe 'corpus=           # folder with the recordings; empty: download it
seed=1            # random seed
rate=0.5          # share of the data
augment=false     # whether to perturb speed
unit=phone        # unit of modelling, one of: phone char bpe (char needs no lexicon)
tune=(lr=1)       # NAME=VALUE, repeatable
nj=3              # jobs at once
private=kept' <<'END'
if stage 0 "knobs: shown"; then
  printf '<%s>' "$corpus" "$seed" "$rate" "$augment" "$unit" "$nj" "$train_config" "${tune[@]}" "${set[@]}"
fi
if stage 3 "paths: shown"; then
  printf '<%s>' "$data" "$exp" "$(resolve_path "$corpus")" "${EGRET_FORCE-}" "$PWD"
fi
END
}

# knobs WORDS...: runs stage 0 alone, with these options.
knobs() {
  run -0 ./run.sh --stop-stage 0 "$@"
}

@test "a knob has its default until an option sets it" {
  knobs
  says '<><1><0.5><false><phone><3><><lr=1>'
}

@test "--name value and --name=value are the same" {
  knobs --seed 2 --unit=char
  says '<><2><0.5><false><char>'
}

@test "hyphen and underscore are the same" {
  run -0 ./run.sh --stop_stage=0
  says '=== stage 0'
  [[ $output != *'=== stage 3'* ]]
}

@test "the last of two options counts" {
  knobs --seed 2 --seed 3
  says '<><3>'
}

@test "a list collects its options behind its default" {
  knobs --tune a=1 --tune=b=2
  says '<lr=1><a=1><b=2>'
}

@test "a boolean stands alone or with its value" {
  knobs --augment --seed 2
  says '<2><0.5><true>'
  knobs --augment true
  says '<true>'
  knobs --augment=false
  says '<false>'
}

@test "a number may be negative or have an exponent" {
  knobs --seed -4 --rate 1e-3
  says '<-4><1e-3>'
}

@test "a text may be emptied" {
  knobs --corpus ""
  says '<><1>'
}

@test "a recipe gives a common knob another default" {
  knobs
  says '<3>'
  knobs --nj 4
  says '<4>'
}

@test "the environment does not set knobs" {
  train_config=stray knobs
  says '<3><><lr=1>'
}

@test "nothing in a value is evaluated" {
  local value
  for value in '$(touch pwned)' '`touch pwned`' '$HOME' '*' '~' '(x y)' 'a;b' 'two words' $'two\nlines' \
    "it's" '"' 'back\slash' '-x'; do
    knobs --corpus "$value" --set "$value" --train-config="--$value"
    says "<$value><1>"
    says "<--$value>"
    says "<lr=1><$value>"
  done
  [[ ! -e pwned ]]
}

@test "a tag becomes part of a folder's name and must be fit for it" {
  wrong --tag ../../x
  [[ $stderr == *'--tag ../../x: letters, digits'* ]]
}

@test "nothing in the name of an option is evaluated" {
  wrong '--a[$(touch pwned)]=1'
  wrong '--$(touch pwned)'
  [[ ! -e pwned ]]
}

@test "a missing value is refused" {
  wrong --corpus
  complains '--corpus needs a value'
  wrong --corpus --seed 1
  complains '--corpus needs a value'
}

@test "an unknown option is refused, and the nearest suggested" {
  wrong --stopstage 3
  complains 'unknown option --stopstage; did you mean --stop-stage?'
}

@test "no suggestion when nothing is near" {
  wrong --zzzzzzzz 3
  complains 'unknown option --zzzzzzzz'
  [[ $stderr != *'did you mean'* ]]
}

@test "a variable without a comment is no option" {
  wrong --private 1
  complains 'unknown option --private'
}

@test "an argument that is no option is refused" {
  wrong train
  complains 'unexpected argument train'
}

@test "an integer knob takes only integers" {
  wrong --seed 1.5
  complains '--seed takes an integer, not 1.5'
  wrong --seed ""
  wrong --seed 'x[$(touch pwned)]'
  [[ ! -e pwned ]]
}

@test "a decimal knob takes only numbers" {
  wrong --rate half
  complains '--rate takes a number, not half'
}

@test "a boolean knob takes only true and false" {
  wrong --augment maybe
  complains '--augment takes true or false, not maybe'
}

@test "a knob with choices takes only those" {
  wrong --unit word
  complains '--unit takes one of: phone char bpe; not word'
  wrong --unit 'char bpe'
  knobs --unit bpe
}

@test "--stage after --stop-stage is refused" {
  wrong --stage 4 --stop-stage 3
  complains '--stage 4 lies after --stop-stage 3'
}

@test "a range without a stage is refused" {
  wrong --stage 1 --stop-stage 2
  complains 'no stage lies from --stage 1 to --stop-stage 2; there are 0 3'
}

@test "--help shows description, usage, knobs and stages, and starts nothing" {
  run -0 ./run.sh --help
  [[ ${lines[0]} == 'toy: a recipe for tests.' && ${lines[1]} == 'It trains nothing.' ]]
  says 'Usage: ./run.sh [--name value]...'
  says $'Stages:\n   0  knobs: shown\n   3  paths: shown'
  [[ ! -e $house/path.sh.was.sourced ]]
}

@test "--help aligns names, defaults and comments, the recipe's own first" {
  run -0 ./run.sh --help
  says $'\n  --corpus        ""     folder with the recordings; empty: download it\n  --seed          1      random seed\n'
  says $'\n  --nj            3      jobs at once\n\nOptions of every recipe:\n  --stage         0      first stage to run\n'
  [[ $output != *private* ]]
}

@test "--mini keeps its files apart" {
  run -0 ./run.sh --stage 3
  says '<data><exp>'
  run -0 ./run.sh --stage 3 --mini
  says '<mini/data><mini/exp>'
}

@test "--force tells the steps" {
  run -0 ./run.sh --stage 3 --force true
  says '<1>'
}

@test "a recipe runs in its own folder, from wherever it is called" {
  cd /
  run -0 "$house/egs/toy/run.sh" --stage 3
  says "<$house/egs/toy>"
}

@test "a path is what it was where the user typed it" {
  mkdir -p "$house/elsewhere/wav" && cd "$house/elsewhere"
  run -0 ../egs/toy/run.sh --stage 3 --corpus wav
  says "<$house/elsewhere/wav>"
}

@test "a path of the recipe's folder, an absolute one and one of nothing stay as they are" {
  local path
  mkdir wav && cd "$house"
  for path in wav /nowhere/wav nowhere/wav; do
    run -0 egs/toy/run.sh --stage 3 --corpus "$path"
    says "<exp><$path>"
  done
}

@test "a file that is not there is refused before any stage" {
  recipe 'arpa= # n-gram' <<'END'
refuse_missing arpa
if stage 0 "work: hours of it"; then
  echo works
fi
END
  run --separate-stderr -2 ./run.sh --arpa no.arpa
  complains '--arpa no.arpa: no such file'
  run --separate-stderr -2 ./run.sh --arpa /
  [[ $output != *works* ]]
  touch "$house/lm.arpa" && cd "$house"
  run -0 egs/toy/run.sh --arpa lm.arpa
  says works
}

@test "cmd.local.sh beside cmd.sh has the last word" {
  recipe '' <<'END'
if stage 0 "launchers: shown"; then
  printf '<%s>' "${train_cmd[@]}"
fi
END
  run -0 ./run.sh
  says "<$house/utils/run.py><--mem><8G>"
  echo 'train_cmd=(queue --mem 32G)' >"$house/cmd.local.sh"
  run -0 ./run.sh
  says '<queue><--mem><32G>'
}

@test "jobs are as many as there are cores, whatever OMP_NUM_THREADS says of a job's threads" {
  recipe 'seed=1  # random seed' <<'END'
if stage 0 "knobs: shown"; then
  printf '<%s>' "$nj"
fi
END
  OMP_NUM_THREADS=77 OMP_THREAD_LIMIT=78 knobs
  says "<$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)>"
}
