#!/usr/bin/env bash
# A corpus of your own: a table of recordings and transcripts, a Kaldi data directory or ASRT's lists becomes a
# recogniser. docs/own_corpus.md takes you through it.
set -euo pipefail

# Knobs
table=                # CSV or TSV with columns path and text, and if there are any speaker, start, end, id, part, channel
kaldi_dir=            # in its place: a Kaldi data directory, or a folder with some called train, dev and test
asrt=                 # in its place: a folder of ASRT's lists (*.wav.lst, *.syllable.txt), or its asrt_config.json
audio_dir=            # folder in which relative paths begin; empty: that of the table, or found by looking
lang=                 # one of: zh en other; language of the transcripts; empty: that of the last time
unit=                 # one of: char char_bpe syllable phone bpe word; empty: zh char, en phone, other char, asrt word
lexicon=              # your dictionary, `word phone phone ...` a line; phones of languages other than English need one
vocab_size=500        # pieces of --unit bpe
latin_bpe=200         # pieces at most that --unit char_bpe writes Latin words in
normaliser=           # what texts pass through; empty: zh mandarin, en english, other lower, asrt lower
encoding=auto         # one of: auto utf-8 gbk; of lists that are no UTF-8; auto: GBK for zh, else they are refused
sampling_rate=16000   # Hz; recordings of other rates are resampled, into data/audio
channel=mix           # of recordings with several: mix, their mean, or the number of one, from 0
allow_pipes=false     # run the commands in Kaldi's wav.scp, after you have looked at them
dev_share=10.0        # percent of the utterances for dev, where the corpus says nothing of parts
test_share=10.0       # percent of them for test
divide=auto           # one of: auto speakers utterances; auto: whole speakers, where there are enough of them
max_reject_percent=5.0 # stop when more utterances cannot be used
lm_text=              # text to train the n-gram on beside the transcripts, a sentence a line
lm_mix=interpolate    # one of: interpolate pool; a model of each, the weight chosen on dev, or one of both together
lm_order=3            # order of the n-gram
model=                # tdnn, conformer, conformer_large or a name in conf/models; empty: by the hours of speech
rescore_order=        # order of a larger n-gram of the same text, to rescore lattices with; empty: none
neural_lm=lstm        # of stage 6: lstm, gru, transformer, or a YAML file of steps/train_lm.py
lm_set=()             # NAME=VALUE of its configuration, repeatable
seed=1                # of weights, batches and dropout
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/recipe.sh"

refuse_missing lexicon lm_text
[[ -z $model$train_config ]] || choose_model
given=()
for name in table kaldi_dir asrt; do
  [[ -z ${!name} ]] || given+=("--${name//_/-}")
done
if ((${#given[@]} > 1)); then
  usage_error "${given[*]}: give one of them"
fi
if [[ $mini == true ]]; then
  ((${#given[@]} == 0)) || usage_error "--mini makes its own table; leave out ${given[*]}"
  lang=${lang:-en}
  [[ $lang != other ]] || usage_error "--mini speaks --lang en or --lang zh"
fi
last=
if [[ ${#given[@]} == 0 && $mini == false && -f $data/cuts/listed.json ]]; then
  last=$(<"$data/cuts/listed.json")
  if [[ -z $lang && $last =~ \"lang\":\ \"(zh|en|other)\" ]]; then
    lang=${BASH_REMATCH[1]}
  fi
fi
if [[ -z $lang ]]; then
  usage_error "--lang: say zh, en or other; units and text normalisation follow from it"
fi
default_unit=char default_normaliser=lower
case $lang in
  zh) default_normaliser=mandarin ;;
  en) default_unit=phone default_normaliser=english ;;
esac
if [[ -n $asrt || $last == *'"source": "asrt"'* ]]; then # its transcripts are syllables, and a number in them is a tone
  default_unit=word default_normaliser=lower
fi
unit=${unit:-$default_unit}
normaliser=${normaliser:-$default_normaliser}
if [[ $unit == phone && $lang != en && -z $lexicon ]]; then
  usage_error "--unit phone: --lang $lang needs --lexicon, your dictionary of phones"
fi
if [[ $unit == syllable && ($lang != zh || $default_unit == word) ]]; then
  usage_error "--unit syllable goes with --lang zh and transcripts in characters; syllables themselves are --unit word"
fi
if [[ $mini == true && $vocab_size == 500 ]]; then
  vocab_size=100 # its texts have no more
fi
name=$unit
case $unit in
  bpe) name=bpe_$vocab_size ;;
  char_bpe) name=char_bpe_$latin_bpe ;;
esac
lang_dir=$data/lang_$name
lm=$data/lm_$name
rescoring_with "$lm"
graph=$data/graph_${name}_${lm_order}gram

if stage 0 "corpus: read the lists, divide off dev and test, bring recordings to one rate and channel, write cuts"; then
  if [[ $mini == true ]]; then
    layout=own
    [[ $lang == en ]] || layout=own_zh
    "$EGRET_ROOT/local/mini_corpus.py" --layout "$layout" --workers "$nj" --out "mini/corpus_$lang"
    table=mini/corpus_$lang/table.csv
  else
    table=$(resolve_path "$table") kaldi_dir=$(resolve_path "$kaldi_dir") asrt=$(resolve_path "$asrt")
  fi
  local/prepare.py --cmd "${prep_cmd[*]@Q}" --table "$table" --kaldi-dir "$kaldi_dir" --asrt "$asrt" \
    --audio-dir "$(resolve_path "$audio_dir")" --lang "$lang" --normaliser "$normaliser" --encoding "$encoding" \
    --sampling-rate "$sampling_rate" --channel "$channel" --audio "$data/audio" --allow-pipes "$allow_pipes" \
    --dev-share "$dev_share" --test-share "$test_share" --divide "$divide" \
    --max-reject-percent "$max_reject_percent" --out "$data/cuts" --workers "$nj"
fi

choose_model "$(local/model.py "$data/cuts/report.json")" # by the hours that stage 0 has found

if stage 1 "features: filter banks (or what the model wants) of all parts, of the training part at three speeds"; then
  "$steps/extract_features.py" --cmd "${prep_cmd[*]@Q}" --config conf/features.yaml "${feature_kind[@]}" --nj "$nj" \
    --features.sampling-rate "$sampling_rate" --train-cuts "$data/cuts/train.jsonl" \
    --cuts "$data"/cuts/{dev,test}.jsonl --out "$features"
fi

if stage 2 "lang: the words of the transcripts, and the units that they are made of"; then
  dictionary=$(resolve_path "$lexicon")
  texts=(${lm_text:+--text "$(resolve_path "$lm_text")"})
  if [[ $unit == phone && $lang == en ]]; then
    "$steps/prepare_lexicon.py" --cmd "${prep_cmd[*]@Q}" --source cmudict --extra none --normaliser "$normaliser" \
      --cuts "$data/cuts/train.jsonl" "${texts[@]}" ${lexicon:+--lexicon "$dictionary"} --out "$data/lexicon_phone"
    dictionary=$data/lexicon_phone/lexicon.txt
  elif [[ $unit == syllable && -z $lexicon ]]; then
    "$steps/prepare_lexicon.py" --cmd "${prep_cmd[*]@Q}" --source pinyin --kind syllable --extra none \
      --normaliser "$normaliser" --cuts "$data/cuts/train.jsonl" "${texts[@]}" --out "$data/lexicon_syllable"
    dictionary=$data/lexicon_syllable/lexicon.txt
  fi
  units=(--kind "${unit%_bpe}" ${dictionary:+--lexicon "$dictionary"})
  case $unit in
    char) [[ $lang != zh ]] || units+=(--boundary "") ;;
    char_bpe) units+=(--boundary "" --latin-bpe "$latin_bpe") ;;
    syllable) units+=(--spoken syllables) ;;
    phone) units+=(--silence SIL) ;;
    bpe) units+=(--vocab-size "$vocab_size") ;;
  esac
  "$steps/prepare_lang.py" --cmd "${prep_cmd[*]@Q}" "${units[@]}" --normaliser "$normaliser" \
    --cuts "$data/cuts/train.jsonl" --out "$lang_dir"
fi

if stage 3 "graph: n-gram of the training transcripts and of --lm-text, G, HLG"; then
  texts=()
  if [[ -n $lm_text && $lm_mix == interpolate ]]; then
    texts=(--other-text "$(resolve_path "$lm_text")" --weight-cuts "$data/cuts/dev.jsonl")
  elif [[ -n $lm_text ]]; then
    texts=(--text "$(resolve_path "$lm_text")")
  fi
  texts+=(--lang "$lang_dir" --cuts "$data/cuts/train.jsonl" --dev-cuts "$data"/cuts/{dev,test}.jsonl)
  "$steps/train_ngram.py" --cmd "${graph_cmd[*]@Q}" --order "$lm_order" "${texts[@]}" --out "$lm"
  larger_ngram "$lm" "${texts[@]}"
  "$steps/compile_graph.py" --cmd "${graph_cmd[*]@Q}" --lang "$lang_dir" \
    --grammar "$lm/G_${lm_order}gram.safetensors" --out "$graph"
fi

experiment=$exp/${model}_$name${tag:+_$tag}
neural=lm_${neural_lm##*/}
neural=${neural%.y*ml}_$name${tag:+_$tag}

# By the TDNN pieces of words are learnt more slowly than phones, and Chinese characters later still, which ask for a lower rate at
# the beginning.
if [[ $mini == true && $model == tdnn && $unit == bpe ]]; then
  set=(epochs=24 "${set[@]}")
elif [[ $mini == true && $model == tdnn && $lang == zh ]]; then
  set=(epochs=20 optim.warmup=0.3 "${set[@]}")
fi

if stage 4 "train: the model of --model"; then
  config=$(training_config)
  loss=()
  if [[ $unit == phone && $with_ctc == true ]]; then # over all pronunciations, and silence where there is some
    loss=(--loss ctc_graph)
  fi
  "$steps/train.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --cuts "$features/train.jsonl" --stats "$features/train.stats.safetensors" \
    --dev-cuts "$features/dev.jsonl" --lang "$lang_dir" "${loss[@]}" \
    --seed "$seed" "${set[@]/#/--}" --out "$experiment"
fi

if stage 5 "decode, score, report: the graph's scale, the words' score and the method are chosen on dev"; then
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --experiment "$experiment" --lang "$lang_dir" \
    --graph "$graph" --dev-cuts "$features/dev.jsonl" --test-cuts "$features/test.jsonl" \
    "${rescoring[@]}" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/decode"
  "$steps/score.py" --decode "$experiment/decode" --cuts "$data"/cuts/{dev,test}.jsonl --dev-part dev
  "$steps/report.py" --cmd "${decode_cmd[*]@Q}" --experiment "$experiment" --lang "$lang_dir" \
    --cuts "$features"/{dev,test}.jsonl
fi

if stage 6 "neural language model, on demand: train it on the n-gram's text, weigh n-best lists with it, score"; then
  config=$(neural_lm_config)
  "$steps/train_lm.py" --cmd "${train_cmd[*]@Q} --gpu $num_gpus" --num-gpus "$num_gpus" --config "$config" \
    --lang "$lang_dir" --cuts "$data/cuts/train.jsonl" ${lm_text:+--text "$(resolve_path "$lm_text")"} \
    --dev-cuts "$data/cuts/dev.jsonl" --test-cuts "$data/cuts/test.jsonl" \
    --seed "$seed" "${lm_set[@]/#/--}" --out "$exp/$neural"
  "$steps/decode.py" --cmd "${decode_cmd[*]@Q}" --config conf/decode.yaml --method "$lists" neural_lm_rescore \
    --neural-lm "$exp/$neural" --nbest.neural-lm-scale 0 0.1 0.2 0.3 0.5 0.7 1.0 \
    --experiment "$experiment" --lang "$lang_dir" --graph "$graph" --dev-cuts "$features/dev.jsonl" \
    --test-cuts "$features/test.jsonl" --nj "$decode_nj" "${decode_set[@]/#/--}" --out "$experiment/$neural/decode"
  "$steps/score.py" --decode "$experiment/$neural/decode" --cuts "$data"/cuts/{dev,test}.jsonl --dev-part dev \
    --lang "$lang_dir" --normaliser "$normaliser"
fi

((stop_stage < 6)) || experiment+=/$neural
finish "$experiment"
