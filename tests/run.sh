#!/usr/bin/env bash
# Run the tests, in one of three tiers (docs/design.md, section 10).
#
#   tests/run.sh           what CI runs: from a bare machine, installation included, in at most 40 minutes
#   tests/run.sh --fast    every day: what needs no second environment and no training run, 3 minutes
#   tests/run.sh --full    also what takes long; leaves its figures in tests/FULL.md
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
    shellcheck "${scripts[@]}" && mypy egret steps/*.py utils/*.py local/*.py
}

# second_torch: what needs neither k2 nor kaldifeat, on torch 2 and a newer Python.
second_torch() {
  local/install.sh --profile no-k2 --venv .venv-no-k2 --dev &&
    EGRET_VENV=$PWD/.venv-no-k2 bash -c '. ./path.sh && pytest tests -m "not k2 and not full"'
}

# recipe NAME BAR COMMAND...: a recipe on its miniature, which must reach a word error rate.
recipe() {
  local name=$1 bar=$2
  shift 2
  rm -rf "egs/$name/mini" && (cd "egs/$name" && "$@") &&
    python tests/check_best.py "egs/$name"/mini/exp/*/best.json --max-wer "$bar"
}

local/install.sh --dev
# shellcheck source=path.sh
. ./path.sh

check "style and types" style
check "shell" bats tests/shell
if [[ $tier == full ]]; then
  check "python" pytest tests
else
  check "python" pytest tests -m "not full"
fi
if [[ $tier != fast ]]; then
  check "python without k2" second_torch
  while IFS=$'\t' read -r name bar command; do
    [[ $name == \#* ]] && continue
    read -ra words <<<"$command"
    check "recipe $name" recipe "$name" "$bar" "${words[@]}"
  done <tests/recipes.tsv
fi

echo "=== tests/run.sh, $tier tier: $SECONDS s"
printf '    passed: %s\n' "${passed[@]}"
if ((${#failed[@]})); then
  printf '    FAILED: %s\n' "${failed[@]}"
fi
if [[ $tier == full ]]; then
  {
    printf '# The full tier\n\n| commit | %s |\n|---|---|\n' "$(git describe --always --dirty)"
    printf '| date | %s |\n' "$(date +%F)"
    printf '| passed | %s |\n' "${passed[@]}"
    if ((${#failed[@]})); then
      printf '| FAILED | %s |\n' "${failed[@]}"
    fi
    printf '\n```\n'
    cat tests/.full/*.txt 2>/dev/null || true
    printf '```\n'
  } >tests/FULL.md
fi
echo "${#passed[@]} passed, ${#failed[@]} failed"
((${#failed[@]} == 0))
