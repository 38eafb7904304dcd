#!/usr/bin/env bash
# yesno: sixty recordings of one speaker who says ken (yes) and lo (no) in Hebrew, eight words in each.
# A pipeline in seconds: cuts, filter banks, lexicon, unigram, decoding graph, CTC model, word error rate.
set -euo pipefail

# Knobs
corpus=               # folder that holds waves_yesno, or is it; empty: that of the last time, else a download
download=download     # folder to download into
lm_order=1            # order of the n-gram
seed=1                # of weights, batches and dropout
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

lang=$data/lang_phone
lm=$data/lm
graph=$data/graph_phone_${lm_order}gram
experiment=$exp/tdnn_phone${tag:+_$tag}

if stage 0 "corpus: list the recordings, read and check each of them, write cuts"; then
  if [[ $mini == true ]]; then
    "$EGRET_ROOT/local/mini_corpus.py" --layout yesno --workers "$nj" --out mini/corpus
    corpus=mini/corpus
  else
    corpus=$(resolve_path "$corpus")
  fi
  local/prepare.py --cmd "${prep_cmd[*]@Q}" --corpus "$corpus" --download "$download" \
    --out "$data/cuts" --workers "$nj"
fi

if stage 1 "features: filter banks of both parts, their mean and variance"; then
  "$steps/extract_features.py" --cmd "${prep_cmd[*]@Q}" --config conf/features.yaml --nj "$nj" \
    --cuts "$data"/cuts/{train,test}.jsonl --out "$data/fbank"
fi

if stage 2 "lang: two words, a phone each, and silence between them"; then
  "$steps/prepare_lang.py" --cmd "${prep_cmd[*]@Q}" --lexicon conf/lexicon.txt --silence SIL \
    --cuts "$data/cuts/train.jsonl" --out "$lang"
fi

if stage 3 "graph: n-gram of the training transcripts, G, HLG"; then
  "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$lm_order" --lang "$lang" \
    --cuts "$data/cuts/train.jsonl" --out "$lm"
  "$steps/compile_graph.py" --cmd "${graph_cmd[*]@Q}" --lang "$lang" --grammar "$lm/G_${lm_order}gram.safetensors" \
    --out "$graph"
fi

if stage 4 "train: a small time-delay network with CTC"; then
  config=$(resolve_path "${train_config:-$PWD/conf/train.yaml}")
  "$steps/train.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --cuts "$data/fbank/train.jsonl" --stats "$data/fbank/train.stats.safetensors" --lang "$lang" \
    --seed "$seed" "${set[@]/#/--}" --out "$experiment"
fi

if stage 5 "decode and score: there is no dev part, so every value is fixed in conf/decode.yaml"; then
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --experiment "$experiment" --lang "$lang" \
    --graph "$graph" --test-cuts "$data/fbank/test.jsonl" --nj "$decode_nj" "${decode_set[@]/#/--}" \
    --out "$experiment/decode"
  "$steps/score.py" --decode "$experiment/decode" --cuts "$data/cuts/test.jsonl" --main-method hlg_1best
fi

finish "$experiment"
