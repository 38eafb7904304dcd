#!/usr/bin/env bash
# LibriSpeech: English novels read aloud by volunteers; 960 hours of training speech of 2,338 speakers, 16 kHz, upper case
# without punctuation. Any of its seven parts to train and test on; SentencePiece pieces, characters or phones.
set -euo pipefail

# Knobs
corpus=               # folder LibriSpeech/, or the one that holds it; empty: that of the last time, else a download
download=download     # folder to download into
train_parts="train-clean-100 train-clean-360 train-other-500" # parts to train on, all as one
dev_parts="dev-clean dev-other"    # parts to choose parameters on; the first also chooses the checkpoints
test_parts="test-clean test-other" # parts to test on; one that is a dev part too is divided by chapters
unit=bpe              # one of: bpe char phone; pieces of words, characters, phones without stress
vocab_size=500        # pieces of --unit bpe
lexicon=              # the corpus's librispeech-lexicon.txt (OpenSLR 11); empty: the CMU dictionary, a network for the rest
extra=dictionary      # one of: dictionary none; whether a graph has the dictionary's words that no text has, too
arpa=                 # n-gram model from elsewhere, such as the corpus's 3-gram.pruned.1e-7.arpa.gz; empty: one is made
lm_text=              # text to make it from, such as librispeech-lm-norm.txt.gz; empty: the training transcripts
lm_vocabulary=200000  # words of --lm-text that are taken, the most frequent
lm_mix=text           # one of: text interpolate; --lm-text alone, or mixed with the transcripts, the weight chosen on dev
lm_order=3            # order of the n-gram, also that of --arpa
lm_prune=             # of an n-gram that is made: leave out those seen no more often, by order, as "0 0 1"
model=                # a configuration: conformer, tdnn, or a name in conf/models; empty: conformer, with --mini tdnn
rescore_order=        # order of a larger n-gram of the same text, or of --rescore-arpa, to rescore lattices with; empty: none
rescore_arpa=         # the larger n-gram, such as the corpus's 4-gram.arpa.gz
neural_lm=lstm        # of stage 6: lstm, gru, transformer, or a YAML file of steps/train_lm.py
lm_set=()             # NAME=VALUE of its configuration, repeatable
seed=1                # of weights, batches and dropout
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

if [[ $mini == true ]]; then
  train_parts=train-clean-100 dev_parts=dev-clean test_parts=test-clean
  extra=none # a graph of 125,000 words takes longer than all the rest
  [[ $vocab_size != 500 ]] || vocab_size=100
fi
if [[ -n $arpa && -n $lm_text ]]; then
  usage_error "--arpa is a model already; leave out --lm-text"
fi
if [[ -n $arpa && -n $rescore_order && -z $rescore_arpa ]]; then
  usage_error "--rescore-order with --arpa: say which model is the larger one, by --rescore-arpa"
elif [[ -n $rescore_arpa && -z $rescore_order ]]; then
  usage_error "--rescore-arpa: say its order, --rescore-order 4"
fi
refuse_missing lexicon arpa lm_text rescore_arpa
choose_model
read -ra train <<<"$train_parts"
read -ra dev <<<"$dev_parts"
read -ra test <<<"$test_parts"
parts=(--train-parts "${train[@]}" --dev-parts "${dev[@]}" --test-parts "${test[@]}")

# Stage 0 makes `dev` and `test` of a part that is both; the others keep their names.
both=() only_dev=() only_test=() note=
for part in "${dev[@]}"; do
  if [[ " $test_parts " == *" $part "* ]]; then both+=("$part"); else only_dev+=("$part"); fi
done
for part in "${test[@]}"; do
  [[ " $dev_parts " == *" $part "* ]] || only_test+=("$part")
done
if ((${#both[@]})); then
  note="dev and test are different chapters of ${both[*]}, by the same speakers"
  dev=(dev "${only_dev[@]}") test=(test "${only_test[@]}")
fi
cuts=("${dev[@]/#/$data/cuts/}" "${test[@]/#/$data/cuts/}")
cuts=("${cuts[@]/%/.jsonl}") dev_features=("${dev[@]/#/$features/}") test_features=("${test[@]/#/$features/}")
dev_features=("${dev_features[@]/%/.jsonl}") test_features=("${test_features[@]/%/.jsonl}")

lang=$data/lang_$unit
[[ $unit != bpe ]] || lang+=_$vocab_size
lm=$data/lm_${lang#*lang_}
rescoring_with "$lm"
graph=$data/graph_${lang#*lang_}_${lm_order}gram
experiment=$exp/${model}_${lang#*lang_}${tag:+_$tag}
neural=lm_${neural_lm##*/}
neural=${neural%.y*ml}_${lang#*lang_}${tag:+_$tag}

if stage 0 "corpus: list the recordings of all parts, divide what is dev and test, read and check each, write cuts"; then
  if [[ $mini == true ]]; then
    "$EGRET_ROOT/local/mini_corpus.py" --layout librispeech --workers "$nj" --out mini/corpus
    corpus=mini/corpus
  else
    corpus=$(resolve_path "$corpus")
  fi
  local/prepare.py --cmd "${prep_cmd[*]@Q}" --corpus "$corpus" --download "$download" "${parts[@]}" \
    --out "$data/cuts" --workers "$nj"
fi

if stage 1 "features: filter banks (or what the model wants) of all parts, of the training parts at three speeds"; then
  "$steps/extract_features.py" --cmd "${prep_cmd[*]@Q}" --config conf/features.yaml "${feature_kind[@]}" --nj "$nj" \
    --train-cuts "$data/cuts/train.jsonl" --cuts "${cuts[@]}" --out "$features"
fi

if stage 2 "lang: the words that can be found, how they are pronounced, and the units"; then
  words=(--extra "$extra")
  [[ -z $lm_text ]] || words+=(--text "$(resolve_path "$lm_text")" --vocabulary "$lm_vocabulary")
  [[ -z $lexicon ]] || words+=(--lexicon "$(resolve_path "$lexicon")")
  "$steps/prepare_lexicon.py" --cmd "${prep_cmd[*]@Q}" --source cmudict --cuts "$data/cuts/train.jsonl" "${words[@]}" \
    --out "$data/lexicon"
  units=()
  [[ $unit != phone ]] || units=(--silence SIL)
  [[ $unit != bpe ]] || units=(--vocab-size "$vocab_size")
  "$steps/prepare_lang.py" --cmd "${prep_cmd[*]@Q}" --kind "$unit" --lexicon "$data/lexicon/lexicon.txt" "${units[@]}" \
    --cuts "$data/cuts/train.jsonl" --normaliser upper --out "$lang"
fi

if stage 3 "graph: the n-gram given, or one of the text or of the training transcripts; G, HLG"; then
  source=(--cuts "$data/cuts/train.jsonl")
  if [[ -n $lm_text && $lm_mix == text ]]; then
    source=(--text "$(resolve_path "$lm_text")")
  elif [[ -n $lm_text ]]; then
    source+=(--other-text "$(resolve_path "$lm_text")" --weight-cuts "${cuts[@]:0:${#dev[@]}}")
  fi
  if [[ -n $lm_prune ]]; then
    read -ra counts <<<"$lm_prune"
    source+=(--prune "${counts[@]}")
  fi
  [[ -z $arpa ]] || source=(--arpa "$(resolve_path "$arpa")")
  text=(--lang "$lang" "${source[@]}" --dev-cuts "${cuts[@]}")
  "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$lm_order" "${text[@]}" --out "$lm"
  [[ -z $rescore_arpa ]] || text=(--lang "$lang" --arpa "$(resolve_path "$rescore_arpa")" --dev-cuts "${cuts[@]}")
  larger_ngram "$lm" "${text[@]}"
  "$steps/compile_graph.py" --cmd "${graph_cmd[*]@Q}" --lang "$lang" --grammar "$lm/G_${lm_order}gram.safetensors" \
    --out "$graph"
fi

if stage 4 "train: the model of --model"; then
  config=$(training_config)
  loss=()
  if [[ $unit == phone && -z $train_config && $with_ctc == true ]]; then
    loss=(--loss ctc_graph) # every pronunciation and optional silence; words in pieces and characters have but one
  fi
  "$steps/train.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --cuts "$features/train.jsonl" --stats "$features/train.stats.safetensors" \
    --dev-cuts "${dev_features[0]}" --lang "$lang" --seed "$seed" \
    "${loss[@]}" "${set[@]/#/--}" --out "$experiment"
fi

if stage 5 "decode, score, report: the graph's scale, the words' score and the method are chosen on dev"; then
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --experiment "$experiment" --lang "$lang" \
    --graph "$graph" --dev-cuts "${dev_features[@]}" --test-cuts "${test_features[@]}" \
    "${rescoring[@]}" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/decode"
  "$steps/score.py" --decode "$experiment/decode" --cuts "${cuts[@]}" --dev-part "${dev[@]}" --note "$note"
  "$steps/report.py" --cmd "${decode_cmd[*]@Q}" --experiment "$experiment" --lang "$lang" \
    --cuts "${dev_features[@]}" "${test_features[@]}"
fi

if stage 6 "neural language model, on demand: train it on --lm-text or the transcripts, weigh n-best lists with it, score"; then
  config=$(neural_lm_config)
  source=(--cuts "$data/cuts/train.jsonl")
  [[ -z $lm_text ]] || source=(--text "$(resolve_path "$lm_text")")
  "$steps/train_lm.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --lang "$lang" "${source[@]}" --dev-cuts "${cuts[@]:0:${#dev[@]}}" \
    --test-cuts "${cuts[@]:${#dev[@]}}" --seed "$seed" "${lm_set[@]/#/--}" --out "$exp/$neural"
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --method "$lists" neural_lm_rescore \
    --neural-lm "$exp/$neural" --nbest.neural-lm-scale 0 0.1 0.2 0.3 0.5 0.7 1.0 \
    --experiment "$experiment" --lang "$lang" --graph "$graph" --dev-cuts "${dev_features[@]}" \
    --test-cuts "${test_features[@]}" \
    --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/$neural/decode"
  "$steps/score.py" --decode "$experiment/$neural/decode" --cuts "${cuts[@]}" \
    --dev-part "${dev[@]}" --lang "$lang" --normaliser upper --note "$note"
fi

((stop_stage < 6)) || experiment+=/$neural
finish "$experiment"
