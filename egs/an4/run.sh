#!/usr/bin/env bash
# AN4: 74 speakers spell names and addresses, say numbers and dates, and give commands to a typewriter; 0.7 hours,
# 16 kHz, 101 words. For phones LSTM layers by lattice-free MMI with an attention decoder, for characters a conformer with
# CTC; a 3-gram of the training transcripts.
set -euo pipefail

# Knobs
corpus=               # folder that holds an4, or is it; empty: that of the last time, else a download
download=download     # folder to download into
dev=seeded            # one of: seeded first100; whole speakers of both sexes, or what others use
unit=phone            # one of: phone char; of the lexicon
model=                # tdnn, conformer, or a name in conf/models; empty: las_mmi, for char conformer, with --mini tdnn
lm_order=3            # order of the n-gram
rescore_order=        # order of a larger n-gram of the same text, to rescore lattices with; empty: none
neural_lm=lstm        # of stage 6: lstm, gru, transformer, or a YAML file of steps/train_lm.py
lm_set=()             # NAME=VALUE of its configuration, repeatable
seed=1                # of weights, batches and dropout
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

if [[ $unit == phone ]]; then
  choose_model las_mmi
else
  choose_model # CTC, whose greedy search needs no graph
fi
lang=$data/lang_$unit
lm=$data/lm_$unit
rescoring_with "$lm"
graph=$data/graph_${unit}_${lm_order}gram
experiment=$exp/${model}_$unit${tag:+_$tag}
neural=lm_${neural_lm##*/}
neural=${neural%.y*ml}_$unit${tag:+_$tag}

if stage 0 "corpus: list the recordings, divide off the dev part, read and check each recording, write cuts"; then
  if [[ $mini == true ]]; then
    "$EGRET_ROOT/local/mini_corpus.py" --layout an4 --speakers 48 --workers "$nj" --out mini/corpus
    corpus=mini/corpus
  else
    corpus=$(resolve_path "$corpus")
  fi
  local/prepare.py --cmd "${prep_cmd[*]@Q}" --corpus "$corpus" --download "$download" --dev "$dev" \
    --out "$data/cuts" --workers "$nj"
fi

if stage 1 "features: filter banks (or what the model wants) of all parts, of the training part at three speeds"; then
  "$steps/extract_features.py" --cmd "${prep_cmd[*]@Q}" --config conf/features.yaml "${feature_kind[@]}" --nj "$nj" \
    --train-cuts "$data/cuts/train.jsonl" --cuts "$data"/cuts/{dev,test}.jsonl --out "$features"
fi

if stage 2 "lang: the dictionary's words in phones with silence between them, or in characters"; then
  silence=()
  if [[ $unit == phone ]]; then
    silence=(--silence SIL)
  fi
  "$steps/prepare_lang.py" --cmd "${prep_cmd[*]@Q}" --kind "$unit" --lexicon "$data/cuts/an4.dic" "${silence[@]}" \
    --cuts "$data/cuts/train.jsonl" --out "$lang"
fi

if stage 3 "graph: n-gram of the training transcripts, G, HLG"; then
  text=(--lang "$lang" --cuts "$data/cuts/train.jsonl" --dev-cuts "$data"/cuts/{dev,test}.jsonl)
  "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$lm_order" "${text[@]}" --out "$lm"
  larger_ngram "$lm" "${text[@]}"
  "$steps/compile_graph.py" --cmd "${graph_cmd[*]@Q}" --lang "$lang" --grammar "$lm/G_${lm_order}gram.safetensors" \
    --out "$graph"
fi

if stage 4 "train: the model of --model"; then
  config=$(training_config)
  "$steps/train.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --cuts "$features/train.jsonl" --stats "$features/train.stats.safetensors" \
    --dev-cuts "$features/dev.jsonl" --lang "$lang" --seed "$seed" \
    "${set[@]/#/--}" --out "$experiment"
fi

if stage 5 "decode, score, report: the graph's scale, the words' score and the method are chosen on dev"; then
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --experiment "$experiment" --lang "$lang" \
    --graph "$graph" --dev-cuts "$features/dev.jsonl" --test-cuts "$features/test.jsonl" \
    "${rescoring[@]}" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/decode"
  "$steps/score.py" --decode "$experiment/decode" --cuts "$data"/cuts/{dev,test}.jsonl --dev-part dev
  "$steps/report.py" --cmd "${decode_cmd[*]@Q}" --experiment "$experiment" --lang "$lang" \
    --cuts "$features"/{dev,test}.jsonl
fi

if stage 6 "neural language model, on demand: train it on the n-gram's text, weigh n-best lists with it, score"; then
  config=$(neural_lm_config)
  "$steps/train_lm.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --lang "$lang" --cuts "$data/cuts/train.jsonl" --dev-cuts "$data/cuts/dev.jsonl" \
    --test-cuts "$data/cuts/test.jsonl" --seed "$seed" "${lm_set[@]/#/--}" --out "$exp/$neural"
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --method "$lists" neural_lm_rescore \
    --neural-lm "$exp/$neural" --nbest.neural-lm-scale 0 0.1 0.2 0.3 0.5 0.7 1.0 \
    --experiment "$experiment" --lang "$lang" --graph "$graph" --dev-cuts "$features/dev.jsonl" \
    --test-cuts "$features/test.jsonl" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/$neural/decode"
  "$steps/score.py" --decode "$experiment/$neural/decode" --cuts "$data"/cuts/{dev,test}.jsonl --dev-part dev \
    --lang "$lang" --normaliser plain
fi

((stop_stage < 6)) || experiment+=/$neural
finish "$experiment"
