#!/usr/bin/env bash
# Run the tests, in one of three tiers (docs/design.md, section 10).
#
#   tests/run.sh           what CI runs: from a bare machine, installation included, in at most 40 minutes
#   tests/run.sh --fast    every day: no whole recipes and no second environment
#   tests/run.sh --full    also what is measured: the recipes' bars, and a clone installed from nothing; leaves the
#                          figures in tests/FULL.md
#
# EGRET_CORPORA names the folder of the real recordings (default: ../shared/corpora); tests that need them are
# skipped, saying so, where they are absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tier=middle
case ${1-} in
  '') ;;
  --fast) tier=fast ;;
  --full) tier=full ;;
  --help | -h)
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0"
    exit 0
    ;;
  *)
    echo "tests/run.sh: unknown option $1; there are --fast and --full" >&2
    exit 2
    ;;
esac

passed=() failed=()

# check NAME COMMAND...: run one part of the tests; a failure is remembered and the rest goes on.
check() {
  local name=$1 began=$SECONDS
  shift
  echo "=== $name"
  if "$@"; then
    passed+=("$name ($((SECONDS - began)) s)")
  else
    failed+=("$name")
    echo "=== FAILED: $name"
  fi
}

style() {
  ruff check . && ruff format --check . && mapfile -t scripts < <(git ls-files '*.sh' '*.bash' .ci/run) &&
    shellcheck "${scripts[@]}" && mypy egret steps/*.py utils/*.py local/*.py || return
  local program
  for program in egs/*/local/*.py bench/*.py; do # some have the name of another, so one at a time
    mypy "$program" || return
  done
}

# second_torch: what needs neither k2 nor kaldifeat, on torch 2 and a newer Python.
second_torch() {
  local/install.sh --profile no-k2 --venv .venv-no-k2 --dev &&
    EGRET_VENV=$PWD/.venv-no-k2 bash -c '. ./path.sh && pytest tests -m "not k2"'
}

# recipe NAME BAR COMMAND...: a recipe on its miniature, which must reach a word error rate.
recipe() {
  local name=$1 bar=$2
  shift 2
  rm -rf "egs/$name/mini" && (cd "egs/$name" && "$@") &&
    python tests/check_best.py "egs/$name"/mini/exp/*/best.json --max-wer "$bar"
}

# bare_clone: a clone, with nothing installed or cached, to a word error rate in at most fifteen minutes, five of them
# after the installation.
bare_clone() {
  local place took began=$SECONDS
  place=$(mktemp -d)
  git clone --quiet . "$place/egret" &&
    env -u EGRET_VENV EGRET_CACHE="$place/cache" PIP_CACHE_DIR="$place/pip" \
      "$place/egret/egs/an4/run.sh" --mini true | tee "$place/said" &&
    took=$(awk '/^=== stage .* finished in/ {sum += $6} END {print sum}' "$place/said") && rm -rf "$place" &&
    echo "from nothing to a word error rate: $((SECONDS - began)) s, $took s of them after the installation" &&
    ((SECONDS - began <= 900 && took <= 300))
}

corpora=${EGRET_CORPORA:-$PWD/../shared/corpora}

if [[ ${EGRET_NO_INSTALL:-0} != 1 ]]; then
  local/install.sh --dev
fi
# shellcheck source=path.sh
. ./path.sh

check "style and types" style
check "shell" bats tests/shell
if [[ $tier == fast ]]; then
  check "python" pytest tests -m "not slow"
else
  check "python" pytest tests
  check "python without k2" second_torch
  while IFS=$'\t' read -r name when bar command; do
    [[ $name == \#* || ($when == full && $tier != full) ]] && continue
    read -ra words <<<"$command"
    check "recipe $name: ${command#./run.sh }" recipe "$name" "$bar" "${words[@]}"
  done <tests/recipes.tsv
fi
if [[ $tier == full ]]; then
  figures=$(mktemp)
  check "bars of yesno" bench/yesno.py --corpus "$corpora/yesno" --bars > >(tee -a "$figures")
  check "bars of an4" bench/an4.py --corpus "$corpora/an4" --bars > >(tee -a "$figures")
  check "bars of stage 1" bench/features.py --corpus "$corpora/an4" --bars > >(tee -a "$figures")
  check "bars of training" bench/training.py --bars > >(tee -a "$figures")
  check "speed of training" bench/train_throughput.py --bars > >(tee -a "$figures")
  check "speed of streaming" bench/streaming.py --bars > >(tee -a "$figures")
  check "models" bench/models.py --bars > >(tee -a "$figures")
  check "bare clone" bare_clone > >(tee >(tail -n 1 >>"$figures"))
fi

echo "=== tests/run.sh, $tier tier: $SECONDS s"
printf '    passed: %s\n' "${passed[@]}"
if ((${#failed[@]})); then
  printf '    FAILED: %s\n' "${failed[@]}"
fi
if [[ $tier == full ]]; then
  {
    printf '# The full tier\n\nMade by tests/run.sh --full: what passed, with its seconds, and the figures.\n\n'
    printf '| commit | %s |\n|---|---|\n' "$(git describe --always --dirty)"
    printf '| date | %s |\n| cores | %s |\n' "$(date +%F)" "$(nproc)"
    printf '| passed | %s |\n' "${passed[@]}"
    if ((${#failed[@]})); then
      printf '| FAILED | %s |\n' "${failed[@]}"
    fi
    echo
    sed 's/^/    /' "$figures"
  } >tests/FULL.md
fi
echo "${#passed[@]} passed, ${#failed[@]} failed"
((${#failed[@]} == 0))
