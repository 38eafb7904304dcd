#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2154  # $ in single quotes is meant for the recipe; helpers set $house and $stderr
# Which configuration a recipe trains with (choose_model and training_config of utils/recipe.sh).

setup() {
  load helpers
  house
  mkdir -p conf/mini "$house"/conf/{mini,models}
  touch conf/{own,features,decode}.yaml conf/mini/tdnn.yaml "$house"/conf/mini/{zipformer,conformer}.yaml \
    "$house"/conf/models/{conformer,zipformer_s,zipformer_m}.yaml
  recipe 'model=          # of conf/' <<'END'
choose_model
if stage 0 "train: the model"; then
  echo "trains with $(training_config)"
fi
finish
END
}

# trains WITH WORDS...: with these options the recipe takes this configuration.
trains() {
  run -0 ./run.sh "${@:2}"
  [[ $output == *"trains with $1"* ]]
}

@test "a model's configuration is the recipe's own, or that of all recipes" {
  trains "$PWD/conf/own.yaml" --model own
  trains "$house/conf/models/zipformer_s.yaml" --model zipformer_s
  trains "$house/conf/models/conformer.yaml"
}

@test "with --mini it is the small one, one for all sizes" {
  trains "$PWD/conf/mini/tdnn.yaml" --mini true
  trains "$house/conf/mini/zipformer.yaml" --mini true --model zipformer_m
}

@test "with --mini no other model is trained in the place of one that has no small one" {
  run --separate-stderr -2 ./run.sh --mini true --model conformer_mmi
  [[ $stderr == *"--model conformer_mmi: conf/mini and the recipe have conformer tdnn zipformer"* ]]
}

@test "what is no model's configuration is not taken for one" {
  run --separate-stderr -2 ./run.sh --model features
  [[ $stderr == *"--model features: conf/models and the recipe have conformer own zipformer_m zipformer_s"* ]]
}
