# shellcheck shell=bash disable=SC2034  # for the recipe that sources it
# Which launcher runs which kind of job. Every recipe sources this file, and it is the only one that has to change
# for a cluster. Rather than editing it, put your own lines into cmd.local.sh beside it, which git does not track.
#
# A launcher is any program that takes
#   [--mem 8G] [--gpu 1] [--num-threads 4] [--time 24:00:00] [--max-jobs-run 10] [--pick all|failed] [--retry 0]
#   [JOB=1:N] <log> <command> [args...]
# as utils/run.py does, which runs jobs on this machine. docs/shell.md describes the contract. On a cluster, with
# launchers of your own for its queue, cmd.local.sh could read
#
#   prep_cmd=(my-slurm-launcher --mem 4G --time 4:00:00)
#   train_cmd=(my-slurm-launcher --mem 32G --num-threads 8 --time 72:00:00)
#
# and a recipe adds the words of a single call behind them: "${train_cmd[@]}" --gpu 2 train.log steps/train.py ...

prep_cmd=("$EGRET_ROOT/utils/run.py" --mem 4G)   # corpus preparation, features
train_cmd=("$EGRET_ROOT/utils/run.py" --mem 8G)  # training of any model
graph_cmd=("$EGRET_ROOT/utils/run.py" --mem 8G)  # n-grams and decoding graphs
decode_cmd=("$EGRET_ROOT/utils/run.py" --mem 4G) # decoding, rescoring, alignment

if [[ -e $EGRET_ROOT/cmd.local.sh ]]; then
  # shellcheck source=/dev/null
  . "$EGRET_ROOT/cmd.local.sh"
fi
