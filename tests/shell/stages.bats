#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2154  # $ in single quotes is meant for the recipe; helpers set $house
# The stage loop of a recipe (utils/stages.sh) and the table of --status (utils/status.py).

setup() {
  load helpers
  house
  recipe 'breaks=none     # the stage that fails
corpus=         # any text' <<'END'
if stage 0 "corpus: cuts"; then
  echo "in stage $EGRET_STAGE"
fi
if stage 1 "features: fbank"; then
  echo "in stage $EGRET_STAGE"
  if [[ $breaks == 1 ]]; then bash -c 'exit 7'; fi
  if [[ $breaks == wait ]]; then touch waiting; sleep 30; fi
  if [[ $breaks == told ]]; then bash -c 'trap "exit 75" TERM; touch waiting; sleep 30 & wait'; fi
fi
if stage 6 "rescoring: optional"; then
  echo "in stage $EGRET_STAGE"
fi
finish
END
}

# steps_recipe: two stages with three steps, whose states the test sets with `step`.
steps_recipe() {
  recipe '' <<'END'
if stage 0 "corpus: cuts"; then
  echo "preparing the corpus"
  "$steps/prepare"
  "$steps/validate"
fi
if stage 6 "rescoring: optional"; then
  "$steps/rescore"
fi
finish
END
  step prepare 'done'
  step validate 'done'
  step rescore 'not run'
}

@test "stages from --stage to --stop-stage run, in order" {
  run -0 ./run.sh
  says $'in stage 0\n'
  says $'in stage 1\n'
  [[ $output != *'in stage 6'* ]]
  run -0 ./run.sh --stage 6 --stop-stage 6
  [[ $output != *'in stage 0'* ]]
  says 'in stage 6'
}

@test "a stage has a heading with its text and the time" {
  run -0 ./run.sh
  [[ ${lines[0]} =~ ^'=== stage 0: corpus: cuts === '[0-9]{4}-[0-9]{2}-[0-9]{2}' '[0-9:]{8}$ ]]
}

@test "a finished stage says how long it took" {
  run -0 ./run.sh
  [[ ${lines[2]} =~ ^'=== stage 0 finished in '[0-9]+' s'$ ]]
}

@test "the last line says how long the recipe took" {
  run -0 ./run.sh
  [[ ${lines[-1]} =~ ^'=== run.sh finished in '[0-9]+' s === ' ]]
}

@test "a recipe that forgets finish ends with the same line, once" {
  sed -i '/^finish$/d' run.sh
  run -0 ./run.sh
  [[ $(grep -c 'run.sh finished' <<<"$output") == 1 && ${lines[-1]} == '=== run.sh finished'* ]]
}

@test "a failing command ends the recipe with its exit code" {
  run -7 ./run.sh --breaks 1 --stop-stage 6
  [[ $output != *'in stage 6'* ]]
}

@test "the last lines of a failure name the stage, the code and the command to continue" {
  run --separate-stderr -7 ./run.sh --breaks 1 --stage 0 --corpus "a b" --stop_stage=6
  [[ ${stderr_lines[-2]} == '=== stage 1 failed after '*' s, exit code 7' ]]
  [[ ${stderr_lines[-1]} == '=== to continue: ./run.sh --stage 1 --breaks 1 --corpus a\ b --stop_stage=6' ]]
}

@test "the command to continue can be pasted, whatever its values hold" {
  local value=$'it\'s $(touch pwned) * "\n'
  run --separate-stderr -7 ./run.sh --breaks 1 --corpus "$value" --stop-stage 1
  sed -i 's/bash -c .exit 7./printf "<%s>" "$corpus"/' run.sh
  run -0 bash -c "${stderr_lines[-1]#=== to continue:}"
  says "<$value>"
  [[ ! -e pwned ]]
}

@test "after wrong usage of a step the same options are not offered again" {
  sed -i 's/exit 7/exit 2/' run.sh
  run --separate-stderr -2 ./run.sh --breaks 1
  [[ ${stderr_lines[-1]} == '=== mend the options, and add --stage 1 to continue' && $stderr != *'--breaks 1'* ]]
}

# training_recipe: a corpus, and a step that takes no setting but lr.
training_recipe() {
  recipe '' <<'END'
if stage 0 "corpus: cuts"; then
  touch prepared
fi
if stage 4 "train"; then
  touch "entered${EGRET_CHECK-}"
  "$steps/train" "${set[@]/#/--}"
fi
finish
END
  cat >"$house/steps/train" <<'END'
#!/usr/bin/env bash
if [[ $1 != --lr=* ]]; then
  echo "train: error: unknown option $1" >&2
  exit 2
fi
[[ -n ${EGRET_CHECK-} ]] || echo "training"
END
  chmod +x "$house/steps/train"
}

@test "wrong settings of training are refused before any stage has run" {
  training_recipe
  run --separate-stderr -2 ./run.sh --set lrr=3
  [[ $stderr == 'train: error: unknown option --lrr=3' && -z $output && ! -e prepared ]]
}

@test "settings that are right are looked at without a word" {
  training_recipe
  run -0 ./run.sh --set lr=3
  [[ -e entered1 && $(grep -c '=== stage 4: train' <<<"$output") == 1 && $(grep -c training <<<"$output") == 1 ]]
}

@test "what goes wrong otherwise when settings are looked at is left to the stage" {
  training_recipe
  echo 'exit 1' >"$house/steps/train"
  run -1 ./run.sh --set lr=3
  [[ -e prepared ]]
  says '=== stage 4 failed after '
}

@test "without settings nothing is looked at beforehand" {
  training_recipe
  run ./run.sh
  [[ ! -e entered1 ]]
}

@test "a failure outside the stages says so" {
  echo 'false' >>run.sh
  run --separate-stderr -1 ./run.sh
  complains 'run.sh failed outside its stages, exit code 1'
}

@test "Ctrl-C ends with code 130 and the command to continue" {
  run --separate-stderr -130 timeout --preserve-status -s INT 1 ./run.sh --breaks wait
  [[ -e waiting ]]
  complains '=== stage 1 interrupted after '
  complains '=== to continue: ./run.sh --stage 1 --breaks wait'
}

@test "told to stop with its step, which saved, it ends with 75: run me again" {
  run --separate-stderr -75 timeout --preserve-status -s TERM 1 ./run.sh --breaks told
  [[ -e waiting ]]
  complains '=== stage 1 interrupted after '
  complains '=== to continue: ./run.sh --stage 1 --breaks told'
}

@test "told to stop with a step that saved nothing it ends with 143" {
  run --separate-stderr -143 timeout --preserve-status -s TERM 1 ./run.sh --breaks wait
  complains '=== stage 1 interrupted after '
}

@test "stages out of order or twice are the author's mistake, found at once" {
  sed -i 's/stage 6/stage 1/' run.sh
  run --separate-stderr -2 ./run.sh --help
  complains 'stage 1 comes after stage 1; a recipe numbers its stages upwards'
}

@test "--status runs no step and prints only the table" {
  steps_recipe
  run --separate-stderr -0 ./run.sh --status
  [[ $output == '0  done     corpus: cuts
   done     prepare   data/prepare
   done     validate  data/validate
6  not run  rescoring: optional
   not run  rescore   data/rescore' ]]
}

@test "--status: a stage is done only when all its steps are" {
  steps_recipe
  step validate stale 'option seed was 1, is 2'
  run -0 ./run.sh --status
  says '0  stale    corpus: cuts'
  says 'data/validate      option seed was 1, is 2'
}

@test "--status: a failed step outweighs a stale one" {
  steps_recipe
  step prepare stale
  step validate failed 'disk full'
  run -0 ./run.sh --status
  says '0  failed   corpus: cuts'
}

@test "--status: a stage that records nothing has not run" {
  run -0 ./run.sh --status
  [[ $output == *$'\n1  not run  features: fbank\n6  not run  rescoring: optional' ]]
}

@test "--status: a recipe that cannot be looked through says where it stopped" {
  steps_recipe
  rm "$house/steps/validate"
  run --separate-stderr -127 ./run.sh --status
  says '0  done     corpus: cuts'
  complains 'could not look beyond stage 0, exit code 127'
}

@test "--status: after wrong usage there is no table" {
  recipe 'corpus= # folder' <<'END'
usage_error "--corpus: say which"
if stage 0 "corpus: cuts"; then
  prepare
fi
END
  run --separate-stderr -2 ./run.sh --status
  [[ -z $output && $stderr != *'could not look'* ]]
  complains '--corpus: say which'
}

@test "--status shows when a step finished and how long it took" {
  echo '{"stage": "0", "step": "x", "state": "done", "finished": "2026-11-21T05:00:00", "seconds": 1.23}' >steps.jsonl
  run -0 "$house/utils/status.py" steps.jsonl "0: corpus"
  says 'x    2026-11-21 05:00  1.2 s'
}

@test "the closing lines say what the experiment came to and where its report is" {
  mkdir -p exp/m
  echo '{"method": "hlg_1best", "metric": "wer", "chosen_on": "dev", "dev": {"wer": 8.8235, "ci95": {"wer": [5, 13]}},
    "test": {"test": {"wer": 8, "ci95": {"wer": [4.9, 11.5]}}}}' >exp/m/best.json
  touch exp/m/report.html
  sed -i 's#^finish$#finish exp/m#' run.sh
  run ./run.sh --stop-stage 5
  [[ $output == *'dev: WER 8.82 % [5.00, 13.00] by hlg_1best'*'test: WER 8.00 % [4.90, 11.50] by hlg_1best'* ]]
  [[ $output == *"open in a browser: $PWD/exp/m/report.html"*'run.sh finished'* ]]
}
