#!/usr/bin/env bash
# THCHS-30: 25 hours of training speech, Mandarin sentences from newspapers read at Tsinghua University, 16 kHz. A
# conformer with CTC; phones, toned syllables or characters, decoded to words with the corpus's own 3-gram, or to phones.
set -euo pipefail

# Knobs
corpus=               # folder that holds data_thchs30, or is it; empty: that of the last time, else a download of 6.4 GB
download=download     # folder to download into
task=word             # one of: word phone; what is recognised: words, of which characters are scored, or phones
unit=phone            # one of: phone syllable char; what the encoder tells apart (of --task word)
dev=published         # one of: published sentences; the corpus's own, or sentences that train does not have
model=                # a configuration: conformer, tdnn, or a name in conf/models; empty: conformer, with --mini tdnn
arpa=                 # n-gram: an ARPA file, or none (the training transcripts); empty: the corpus's own where it has one
lm_order=3            # order of the n-gram
neural_lm=lstm        # of stage 6: lstm, gru, transformer, or a YAML file of steps/train_lm.py
lm_set=()             # NAME=VALUE of its configuration, repeatable
seed=1                # of weights, batches and dropout
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

if [[ $task == phone && $unit != phone ]]; then
  usage_error "--task phone: its units are phones; leave out --unit $unit"
fi
[[ $arpa == none || $arpa == own ]] || refuse_missing arpa
choose_model
# The two tasks have other transcripts for the same recordings, and so other cuts.
cuts=$data/cuts
name=$unit
normaliser=mandarin
if [[ $task == phone ]]; then
  cuts=$data/cuts_phone
  features+=_phone
  name=phone_task
  normaliser=plain
fi
lang=$data/lang_$name
experiment=$exp/${model}_$name${tag:+_$tag}

if stage 0 "corpus: list the parts, read and check each recording, write cuts and dictionaries"; then
  if [[ $mini == true ]]; then
    "$EGRET_ROOT/local/mini_corpus.py" --layout thchs30 --workers "$nj" --out mini/corpus
    corpus=mini/corpus
  else
    corpus=$(resolve_path "$corpus")
  fi
  local/prepare.py --cmd "${prep_cmd[*]@Q}" --corpus "$corpus" --download "$download" --task "$task" --dev "$dev" \
    --normaliser "$normaliser" --out "$cuts" --workers "$nj"
fi

if stage 1 "features: filter banks (or what the model wants) of all parts, of the training part at three speeds"; then
  "$steps/extract_features.py" --cmd "${prep_cmd[*]@Q}" --config conf/features.yaml "${feature_kind[@]}" --nj "$nj" \
    --train-cuts "$cuts/train.jsonl" --cuts "$cuts"/{dev,test}.jsonl --out "$features"
fi

if stage 2 "lang: the dictionary's words in phones, syllables or characters; or each phone a word"; then
  units=(--kind "$unit" --lexicon "$cuts/lexicon_$unit.txt" --spoken "${unit}s")
  if [[ $task == phone ]]; then
    units=(--kind word)
  elif [[ $unit == char ]]; then
    units=(--kind char --lexicon "$cuts/lexicon_phone.txt" --boundary "")
  fi
  "$steps/prepare_lang.py" --cmd "${prep_cmd[*]@Q}" "${units[@]}" --normaliser "$normaliser" \
    --cuts "$cuts/train.jsonl" --out "$lang"
fi

# The n-grams differ, and so do the folders of what is made with each.
source=${arpa:-own}
if [[ $source == own && ! -s $cuts/corpus.arpa ]]; then
  source=none
fi
case $source in
  own) made_from=(--arpa "$cuts/corpus.arpa") ;;
  none) made_from=(--cuts "$cuts/train.jsonl") ;;
  *) made_from=(--arpa "$(resolve_path "$arpa")") source=given ;;
esac
lm=$data/lm_${name}_$source
graph=$data/graph_${name}_${source}_${lm_order}gram
neural=lm_${neural_lm##*/}
neural=${neural%.y*ml}_$name${tag:+_$tag}

if stage 3 "graph: the corpus's 3-gram, or one of the training transcripts; G, HLG"; then
  if [[ $task == word ]]; then
    made_from+=(--segment lexicon)
  fi
  "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$lm_order" --lang "$lang" "${made_from[@]}" \
    --dev-cuts "$cuts"/{dev,test}.jsonl --out "$lm"
  "$steps/compile_graph.py" --cmd "${graph_cmd[*]@Q}" --lang "$lang" --grammar "$lm/G_${lm_order}gram.safetensors" \
    --out "$graph"
fi

# Of the TDNN: with the rate at its highest as early as for the other units, the miniature's syllables are learnt badly (a character
# error of 33 %, where it can be 5 %).
if [[ $mini == true && $model == tdnn && $unit == syllable ]]; then
  set=(epochs=18 optim.warmup=0.3 "${set[@]}")
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
    --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/decode"
  "$steps/score.py" --decode "$experiment/decode" --cuts "$cuts"/{dev,test}.jsonl --dev-part dev
  "$steps/report.py" --cmd "${decode_cmd[*]@Q}" --experiment "$experiment" --lang "$lang" \
    --cuts "$features"/{dev,test}.jsonl
fi

if stage 6 "neural language model, on demand: train it on the training transcripts, weigh n-best lists with it, score"; then
  config=$(neural_lm_config)
  cut=()
  [[ $task == phone ]] || cut=(--segment lexicon)
  "$steps/train_lm.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --lang "$lang" "${cut[@]}" --cuts "$cuts/train.jsonl" --dev-cuts "$cuts/dev.jsonl" \
    --test-cuts "$cuts/test.jsonl" --seed "$seed" "${lm_set[@]/#/--}" --out "$exp/$neural"
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --method "$lists" neural_lm_rescore \
    --neural-lm "$exp/$neural" --nbest.neural-lm-scale 0 0.1 0.2 0.3 0.5 0.7 1.0 \
    --experiment "$experiment" --lang "$lang" --graph "$graph" --dev-cuts "$features/dev.jsonl" \
    --test-cuts "$features/test.jsonl" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/$neural/decode"
  "$steps/score.py" --decode "$experiment/$neural/decode" --cuts "$cuts"/{dev,test}.jsonl --dev-part dev \
    --lang "$lang" --normaliser "$normaliser"
fi

((stop_stage < 6)) || experiment+=/$neural
finish "$experiment"
