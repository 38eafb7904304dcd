#!/usr/bin/env bash
# AISHELL-1: 400 people read Mandarin news and commands, 178 hours, 16 kHz (OpenSLR 33). A conformer with CTC over
# characters, toned syllables, phones, or characters with pieces of Latin words; a character or a word n-gram.
set -euo pipefail

# Knobs
corpus=               # folder that holds data_aishell, or is it; empty: that of the last time, else a download
download=download     # folder to download into
unit=char             # one of: char syllable phone char_bpe
latin_bpe=            # pieces that --unit char_bpe writes Latin words in; empty: 200, with --mini 20
lm=char               # one of: char word; what the n-gram counts
segment=lexicon       # one of: lexicon jieba; where --lm word takes its words from
lm_order=3            # order of the n-gram
model=                # a configuration: conformer, tdnn, or a name in conf/models; empty: conformer, with --mini tdnn
rescore_order=        # order of a larger n-gram of the same text, to rescore lattices with; empty: none
neural_lm=lstm        # of stage 6: lstm, gru, transformer, or a YAML file of steps/train_lm.py
lm_set=()             # NAME=VALUE of its configuration, repeatable
seed=1                # of weights, batches and dropout
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

if [[ -n $latin_bpe && $unit != char_bpe ]]; then
  usage_error "--latin-bpe goes with --unit char_bpe"
fi
if [[ $lm == char && $segment != lexicon ]]; then
  usage_error "--segment goes with --lm word"
fi
if [[ -z $latin_bpe ]]; then
  latin_bpe=200
  [[ $mini == false ]] || latin_bpe=20
fi
choose_model
# What can be recognised are characters, with --lm word longer words too. A model is trained on the former; its units are
# the same with both.
vocabularies=(char)
if [[ $lm == word ]]; then
  vocabularies+=("word_$segment")
fi
words=${vocabularies[-1]}
lang=$data/lang_$unit
decode_lang=$lang
experiment=$exp/${model}_$unit${tag:+_$tag}
result=$experiment
if [[ $lm == word ]]; then
  decode_lang+=_$words
  result+=/$words
fi
ngram=$data/lm_${unit}_$words
rescoring_with "$ngram"
graph=$data/graph_${unit}_${words}_${lm_order}gram
neural=lm_${neural_lm##*/}
neural=${neural%.y*ml}_${unit}_$words${tag:+_$tag}
cut=none # how text is cut into words for language models
if [[ $lm == word ]]; then
  cut=$segment
fi

if stage 0 "corpus: unpack the speakers' archives, join recordings and transcripts, read and check each, write cuts"; then
  if [[ $mini == true ]]; then
    "$EGRET_ROOT/local/mini_corpus.py" --layout aishell --utterances 20 --workers "$nj" --out mini/corpus
    corpus=mini/corpus
  else
    corpus=$(resolve_path "$corpus")
  fi
  local/prepare.py --cmd "${prep_cmd[*]@Q}" --corpus "$corpus" --download "$download" --unpacked "$data/wav" \
    --out "$data/cuts" --workers "$nj"
fi

if stage 1 "features: filter banks (or what the model wants), the training part at three speeds (the miniature at one)"; then
  speeds=()
  if [[ $mini == true ]]; then
    speeds=(--speeds 1.0)
  fi
  "$steps/extract_features.py" --cmd "${prep_cmd[*]@Q}" --config conf/features.yaml "${feature_kind[@]}" --nj "$nj" \
    "${speeds[@]}" --train-cuts "$data/cuts/train.jsonl" --cuts "$data"/cuts/{dev,test}.jsonl --out "$features"
fi

if stage 2 "lang: characters, with --lm word also words, in units; what of dev and test was never seen in training"; then
  given=()
  if [[ -f $data/cuts/lexicon.txt ]]; then
    given=(--lexicon "$data/cuts/lexicon.txt")
  fi
  case $unit in
    char) kind=(--kind char --boundary "") ;;
    char_bpe) kind=(--kind char --boundary "" --latin-bpe "$latin_bpe") ;;
    syllable | phone) kind=(--kind "$unit" --spoken "${unit}s") ;;
  esac
  for vocabulary in "${vocabularies[@]}"; do
    dictionary=$data/dictionary_${unit}_$vocabulary
    out=$lang by=() # characters are the same whatever cuts text into words
    if [[ $vocabulary != char ]]; then
      out=$decode_lang by=(--segment "$segment")
    fi
    local/dictionary.py --cmd "${prep_cmd[*]@Q}" --cuts "$data/cuts/train.jsonl" "${given[@]}" --unit "${unit%_bpe}" \
      --words "${vocabulary%%_*}" "${by[@]}" --out "$dictionary"
    "$steps/prepare_lang.py" --cmd "${prep_cmd[*]@Q}" "${kind[@]}" --lexicon "$dictionary/lexicon.txt" \
      --cuts "$data/cuts/train.jsonl" --normaliser mandarin --out "$out"
  done
  local/unseen.py --cmd "${prep_cmd[*]@Q}" --train-cuts "$data/cuts/train.jsonl" --cuts "$data"/cuts/{dev,test}.jsonl \
    --out "$data/unseen"
fi

if stage 3 "graph: n-gram of the training transcripts' characters or words, G, HLG"; then
  text=(--lang "$decode_lang" --segment "$cut" --cuts "$data/cuts/train.jsonl" --dev-cuts "$data"/cuts/{dev,test}.jsonl)
  "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$lm_order" "${text[@]}" --out "$ngram"
  larger_ngram "$ngram" "${text[@]}"
  "$steps/compile_graph.py" --cmd "${graph_cmd[*]@Q}" --lang "$decode_lang" \
    --grammar "$ngram/G_${lm_order}gram.safetensors" --out "$graph"
fi

# Of the TDNN: with the rate at its highest as early as for the other units, the miniature's pieces of Latin words and its syllables
# are learnt badly (a character error of 26 and 17 %, where it can be 5 and 2 %).
if [[ $mini == true && $model == tdnn && ($unit == char_bpe || $unit == syllable) ]]; then
  set=(epochs=45 optim.warmup=0.3 "${set[@]}")
fi

if stage 4 "train: the model of --model"; then
  config=$(training_config)
  "$steps/train.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --cuts "$features/train.jsonl" --stats "$features/train.stats.safetensors" \
    --dev-cuts "$features/dev.jsonl" --lang "$lang" --seed "$seed" \
    "${set[@]/#/--}" --out "$experiment"
fi

decode_config=conf/decode.yaml
if [[ $mini == true ]]; then
  decode_config=conf/decode_mini.yaml
fi

if stage 5 "decode, score, report: the graph's scale, the words' score and the method are chosen on dev"; then
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config "$decode_config" --experiment "$experiment" --lang "$decode_lang" \
    --graph "$graph" --dev-cuts "$features/dev.jsonl" --test-cuts "$features/test.jsonl" \
    "${rescoring[@]}" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$result/decode"
  "$steps/score.py" --decode "$result/decode" --cuts "$data"/cuts/{dev,test}.jsonl --dev-part dev \
    --normaliser mandarin
  if [[ $lm == char ]]; then
    "$steps/report.py" --cmd "${decode_cmd[*]@Q}" --experiment "$experiment" --lang "$lang" \
      --cuts "$features"/{dev,test}.jsonl
  fi
fi

if stage 6 "neural language model, on demand: train it on the n-gram's text, weigh n-best lists with it, score"; then
  config=$(neural_lm_config)
  "$steps/train_lm.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --lang "$decode_lang" --segment "$cut" --cuts "$data/cuts/train.jsonl" --dev-cuts "$data/cuts/dev.jsonl" \
    --test-cuts "$data/cuts/test.jsonl" --seed "$seed" "${lm_set[@]/#/--}" --out "$exp/$neural"
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config "$decode_config" --method "$lists" neural_lm_rescore \
    --neural-lm "$exp/$neural" --nbest.neural-lm-scale 0 0.1 0.2 0.3 0.5 0.7 1.0 \
    --experiment "$experiment" --lang "$decode_lang" --graph "$graph" --dev-cuts "$features/dev.jsonl" \
    --test-cuts "$features/test.jsonl" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$result/$neural/decode"
  "$steps/score.py" --decode "$result/$neural/decode" --cuts "$data"/cuts/{dev,test}.jsonl --dev-part dev \
    --lang "$decode_lang" --normaliser mandarin
fi

((stop_stage < 6)) || result+=/$neural
finish "$result"
